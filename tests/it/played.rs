//! Every file of which something plays goes to a receiver that decodes it, and its verdict is good.
//!
//! Which files these are is read from `tests/golden/plans/`, so a new one cannot be left out: the
//! watcher judges H.264 and sound, Chromium VP8 and VP9 (`browser.rs`). What FFmpeg converts is
//! made here, a file of each container and codec.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use telecast::call::{Call, ChatId, JoinOptions, LeftReason};
use telecast::emulator::measure::{Report, Verdict, Wanted};
use telecast::emulator::watcher::{WatchOptions, Watcher};
use telecast::emulator::{Emulator, EmulatorOptions};
use telecast::player::{EndReason, Item, Player, PlayerEvent, PlayerOptions};
use tokio::task::JoinSet;

use crate::realtime_async;

/// So much of a file that goes on is judged: the beeps and flashes of three seconds.
const ENOUGH_SOUNDS: u64 = 120;
const ENOUGH_PICTURES: u64 = 72;

/// So many calls of one test at once leave time for decoders: of pictures, of sound alone.
const AT_ONCE: usize = 4;
const SOUNDS_AT_ONCE: usize = 5;

/// Sound and picture of a clip may be so far apart.
const MAX_SKEW_MS: f64 = 1.0;
/// An AVI does not say by how much the encoder of its mp3 has shifted the sound, and FFmpeg does not
/// know it either.
const MAX_AVI_SKEW_MS: f64 = 12.0;

/// What came must be there by then, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(20);

/// The level of the 440 Hz bed in every clip, RMS per channel (media/README.md).
const LEFT_DBFS: f64 = -18.0;
const RIGHT_DBFS: f64 = -24.0;

/// What a golden tells of a file.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// Its name, which for absurd files ends in `.bad`.
    pub(crate) file: String,
    /// Of 20 ms.
    pub(crate) n_sounds: u64,
    pub(crate) n_pictures: u64,
    /// How it ends.
    end: String,
    /// VP8 or VP9, which the watcher does not decode.
    pub(crate) browser_codec: Option<&'static str>,
}

impl Told {
    fn read(golden: &Path) -> Self {
        let text = std::fs::read_to_string(golden).unwrap();
        let played =
            text.lines().find_map(|line| line.strip_prefix("played: ")).expect("every golden has it");
        let number = |unit: &str| {
            let before = played.split(unit).next().filter(|before| before.len() < played.len());
            before.and_then(|before| before.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
        };
        let codec = |name| text.contains(&format!("The picture is {name}")).then_some(name);
        Self {
            file: golden.file_stem().unwrap().to_str().unwrap().to_owned(),
            n_sounds: number(" × 20 ms"),
            n_pictures: number(" pictures"),
            end: played.split("then ").nth(1).unwrap_or("nothing").to_owned(),
            browser_codec: codec("VP8").or_else(|| codec("VP9")),
        }
    }
}

/// What plays, by the goldens.
pub(crate) fn told() -> Vec<Told> {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/plans");
    let mut told: Vec<_> =
        std::fs::read_dir(goldens).unwrap().map(|entry| Told::read(&entry.unwrap().path())).collect();
    told.retain(|it| it.n_sounds + it.n_pictures > 0);
    told.sort_by(|a, b| a.file.cmp(&b.file));
    assert!(told.len() > 15, "{told:?}");
    told
}

/// A chat in which a bot plays one file to a watcher.
struct Show {
    name: String,
    watcher: Watcher,
    player: Player,
    call: Call,
    wanted: Wanted,
}

impl Show {
    async fn start(emulator: &Emulator, name: &str, wanted: Wanted, item: Option<Item>) -> Self {
        let chat = ChatId(name.to_owned());
        let options = WatchOptions { of: Some("bot".to_owned()), ..WatchOptions::default() };
        let watcher = emulator.watch(&chat, options).await.unwrap();
        let player = Player::start(PlayerOptions::default());
        if let Some(item) = item {
            player.enqueue(item).await.unwrap();
            // Before that there would be silence, which has no level.
            let mut status = player.status();
            let opened = status.wait_for(|status| status.plan.is_some());
            tokio::time::timeout(PATIENCE, opened)
                .await
                .unwrap_or_else(|_| panic!("{name}: not opened"))
                .unwrap();
        }
        let join = JoinOptions { video: wanted.video, ..JoinOptions::default() };
        let call = Call::join(chat, &*emulator.signaling("bot"), &player, join);
        call.joined().await.unwrap();
        Self { name: name.to_owned(), watcher, player, call, wanted }
    }

    /// The report as soon as it tells of so much.
    async fn until(&self, n_sounds: u64, n_pictures: u64) -> Report {
        let looking = async {
            let mut looks = tokio::time::interval(Duration::from_millis(100));
            loop {
                looks.tick().await;
                let report = self.watcher.report(self.wanted).await.unwrap();
                let sounds = report.audio.as_ref().map_or(0, |audio| audio.packets);
                let pictures = report.video.as_ref().map_or(0, |video| video.frames_decoded);
                if sounds >= n_sounds && pictures >= n_pictures {
                    return report;
                }
            }
        };
        match tokio::time::timeout(PATIENCE, looking).await {
            Ok(report) => report,
            Err(_) => {
                let report = self.watcher.report(self.wanted).await.unwrap();
                panic!("{}: not {n_sounds} sounds and {n_pictures} pictures: {report:#?}", self.name)
            }
        }
    }

    async fn end(self) {
        self.call.leave(LeftReason::Command).await;
        self.call.closed().await;
        self.player.close().await;
        self.watcher.stop().await.unwrap();
    }
}

/// Nothing is missing, and nothing sounds or looks other than in the clips.
fn assert_ours(name: &str, report: &Report, max_skew_ms: f64) {
    let is_skew = |reason: &String| reason.contains("ms apart");
    let skew = report.av_skew_ms.as_ref().map_or(0.0, |skew| skew.max.abs());
    let good = report.verdict == Verdict::Ok || report.reasons.iter().all(is_skew);
    assert!(good && skew <= max_skew_ms, "{name}: {report:#?}");
    assert_eq!((report.packets_lost, report.frames_dropped), (0, 0), "{name}: {report:#?}");
    if let Some(video) = &report.video {
        assert_eq!(video.frame_numbers_missing, Some(0), "{name}: {report:#?}");
    }
    if let Some(audio) = &report.audio {
        let close =
            |value: Option<f64>, wanted: f64, by: f64| value.is_some_and(|it| (it - wanted).abs() < by);
        assert!(close(audio.dominant_hz, 440.0, 2.0), "{name}: {report:#?}");
        assert!(close(audio.left_dbfs, LEFT_DBFS, 1.0), "{name}: {report:#?}");
        assert!(close(audio.right_dbfs, RIGHT_DBFS, 1.0), "{name}: {report:#?}");
    }
}

/// A file of ours, from its start on. Gives how picture and sound are played.
async fn judge_ours(emulator: &Emulator, name: &str, source: &Path, wanted: Wanted) -> [String; 2] {
    let show = Show::start(emulator, name, wanted, Some(Item::file(source))).await;
    let sounds = if wanted.audio { ENOUGH_SOUNDS } else { 0 };
    let pictures = if wanted.video { ENOUGH_PICTURES } else { 0 };
    let report = show.until(sounds, pictures).await;
    let plan = show.player.status().borrow().plan.clone().expect("it plays");
    show.end().await;
    let plan = [plan.video, plan.audio].map(|plan| plan.as_deref().unwrap_or("none").to_owned());
    assert_ours(name, &report, if name.ends_with(".avi") { MAX_AVI_SKEW_MS } else { MAX_SKEW_MS });
    plan
}

/// A few frames that nobody's camera wrote: as many arrive as are told, and it ends as is told.
async fn judge_absurd(emulator: &Emulator, told: &Told, source: &Path) {
    let name = &told.file;
    let wanted = Wanted { audio: told.n_sounds > 0, video: told.n_pictures > 0 };
    let show = Show::start(emulator, name, wanted, None).await;
    let before = show.until(1, 0).await.audio.unwrap().packets;
    let (mut heard, mut events) = (show.player.listen().await, show.player.events());
    let id = show.player.enqueue(Item::file(source)).await.unwrap();
    let (mut n_sounds, mut n_pictures) = (0, 0);
    let end = async {
        loop {
            if let Ok(PlayerEvent::ItemEnded { item, reason, error, .. }) = events.recv().await {
                assert_eq!(item, id, "{name}");
                return (reason, error);
            }
        }
    };
    tokio::pin!(end);
    let counting = async {
        loop {
            tokio::select! {
                frame = heard.recv() => {
                    let frame = frame.expect("the programme goes on");
                    if frame.item == Some(id) {
                        match frame.frame.kind {
                            telecast::media::MediaKind::Audio => n_sounds += 1,
                            telecast::media::MediaKind::Video => n_pictures += 1,
                        }
                    }
                }
                end = &mut end => return end,
            }
        }
    };
    let (reason, error) = tokio::time::timeout(PATIENCE, counting).await.expect("it ends");
    assert_eq!((n_sounds, n_pictures), (told.n_sounds, told.n_pictures), "{name}");
    match reason {
        EndReason::Finished => assert_eq!(told.end, "the end", "{name}"),
        EndReason::Failed => {
            let error = error.expect("a failure has a reason");
            assert!(error.to_string().contains(&told.end), "{name}: {error}, not {}", told.end);
        }
        other => panic!("{name}: {other:?}"),
    }
    let report = show.until(before + n_sounds, n_pictures).await;
    assert_eq!(report.verdict, Verdict::Ok, "{name}: {report:#?}");
    assert_eq!((report.packets_lost, report.frames_dropped), (0, 0), "{name}: {report:#?}");
    show.end().await;
}

/// Judges so many at once. Whatever fails is judged once more with nothing beside it: a picture
/// that stood still for the 200 ms in which the machine did is not the file's fault, and what is
/// the file's comes back.
async fn all<C, F>(at_once: usize, cases: impl IntoIterator<Item = C>, judge: impl Fn(Arc<Emulator>, C) -> F)
where
    C: Clone + std::fmt::Debug,
    F: Future<Output = ()> + Send + 'static,
{
    let emulator = Arc::new(Emulator::start(EmulatorOptions::default()).await.unwrap());
    let (mut running, mut again, mut judging) = (JoinSet::new(), Vec::new(), HashMap::new());
    let mut cases = cases.into_iter();
    loop {
        while let Some(case) = (running.len() < at_once).then(|| cases.next()).flatten() {
            let task = running.spawn(judge(Arc::clone(&emulator), case.clone()));
            judging.insert(task.id(), case);
        }
        match running.join_next_with_id().await {
            Some(Ok(_)) => {}
            Some(Err(failed)) => again.push(judging.remove(&failed.id()).expect("it was spawned here")),
            None => break,
        }
    }
    emulator.shutdown().await;
    for case in again {
        println!("once more, alone: {case:?}");
        let emulator = Arc::new(Emulator::start(EmulatorOptions::default()).await.unwrap());
        judge(Arc::clone(&emulator), case).await;
        emulator.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_plays_by_its_golden_is_seen_and_heard_by_the_watcher() {
    let dir = tempfile::tempdir().unwrap();
    for (file, bytes) in crate::goldens::absurd_files() {
        std::fs::write(dir.path().join(file), bytes).unwrap();
    }
    let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("media");
    let _alone = realtime_async().await;
    let (short, long): (Vec<_>, Vec<_>) = told().into_iter().partition(|it| {
        it.n_sounds < ENOUGH_SOUNDS && it.n_pictures < ENOUGH_PICTURES && it.file.ends_with(".bad")
    });
    assert!(!short.is_empty() && !long.is_empty());
    let dir = dir.path();
    all(SOUNDS_AT_ONCE, short, |emulator, told| {
        let source = dir.join(&told.file);
        async move { judge_absurd(&emulator, &told, &source).await }
    })
    .await;
    let wanted = |told: &Told| Wanted {
        audio: told.n_sounds > 0,
        video: told.n_pictures > 0 && told.browser_codec.is_none(),
    };
    let ours = long.into_iter().map(|told| (wanted(&told), told));
    all(AT_ONCE, ours.filter(|(wanted, _)| wanted.audio || wanted.video), |emulator, (wanted, told)| {
        let source: PathBuf = match told.file.as_str() {
            "test" => PathBuf::from(crate::goldens::GENERATED),
            bad if bad.ends_with(".bad") => dir.join(bad),
            clip => media.join(clip),
        };
        async move { drop(judge_ours(&emulator, &told.file, &source, wanted).await) }
    })
    .await;
}

/// What FFmpeg makes of the clip with B-frames: a file, its options, how its picture and its sound
/// are played.
const PICTURES: &[(&str, &[&str], &str, &str)] = &[
    ("a.mov", &["-c", "copy"], "transcode: h264", "transcode: aac"),
    ("b.mkv", &["-c:v", "copy", "-c:a", "flac"], "transcode: h264", "transcode: flac"),
    ("c.avi", &["-c:v", "mpeg4", "-q:v", "3", "-c:a", "libmp3lame", "-b:a", "192k"], FFMPEG, FFMPEG),
    ("d.ts", &["-c", "copy"], FFMPEG, FFMPEG),
    ("e.mpg", &["-c:v", "mpeg2video", "-q:v", "3", "-c:a", "mp2", "-b:a", "256k"], FFMPEG, FFMPEG),
    ("f.flv", &["-c:v", "flv", "-q:v", "3", "-c:a", "libmp3lame", "-ar", "44100"], FFMPEG, FFMPEG),
    ("g.wmv", &["-c:v", "wmv2", "-q:v", "3", "-c:a", "wmav2", "-b:a", "192k"], FFMPEG, FFMPEG),
    ("h.nut", &["-c:v", "mpeg4", "-q:v", "3", "-c:a", "flac"], FFMPEG, FFMPEG),
    ("i.mxf", &["-c:v", "mpeg2video", "-q:v", "3", "-c:a", "pcm_s16le"], FFMPEG, FFMPEG),
    ("j.ogv", &["-c:v", "libtheora", "-q:v", "8", "-c:a", "libvorbis"], FFMPEG, FFMPEG),
    ("k.mpd", &["-c", "copy"], FFMPEG, FFMPEG),
    ("m.mkv", &["-c:v", "libx265", "-preset", "ultrafast", "-c:a", "eac3"], FFMPEG, FFMPEG),
    ("n.mp4", &["-c:v", "libsvtav1", "-preset", "12", "-c:a", "copy"], FFMPEG, FFMPEG),
];

/// The same of the music.
const SOUNDS: &[(&str, &[&str], &str)] = &[
    ("a.flac", &["-c:a", "flac"], "transcode: flac"),
    ("b.wav", &["-c:a", "pcm_s16le"], "transcode: pcm_s16le"),
    ("c.aiff", &["-c:a", "pcm_s16be"], "transcode: pcm_s16be"),
    ("d.ogg", &["-c:a", "libvorbis", "-q:a", "5"], "transcode: vorbis"),
    ("e.m4a", &["-c:a", "alac"], "transcode: alac"),
    ("g.wv", &["-c:a", "wavpack"], FFMPEG),
    ("h.tta", &["-c:a", "tta"], FFMPEG),
    ("i.w64", &["-c:a", "pcm_s16le"], FFMPEG),
    ("j.au", &["-c:a", "pcm_s16be"], FFMPEG),
    ("k.caf", &["-c:a", "pcm_s16le"], FFMPEG),
    ("w.wav", &["-c:a", "pcm_s16le", "-rf64", "always"], FFMPEG),
    ("l.rm", &["-c:a", "ac3", "-b:a", "192k"], FFMPEG),
    ("m.ac3", &["-c:a", "ac3", "-b:a", "192k"], FFMPEG),
    ("n.dts", &["-c:a", "dca", "-strict", "-2"], FFMPEG),
    ("o.mp2", &["-c:a", "mp2", "-b:a", "256k"], FFMPEG),
    ("p.aac", &["-c:a", "aac", "-b:a", "192k"], FFMPEG),
    ("r.voc", &["-c:a", "pcm_s16le"], FFMPEG),
    ("s.spx", &["-c:a", "libspeex", "-q:a", "10", "-ar", "32000"], FFMPEG),
    // Nothing in telecast knows how these begin.
    ("t.adx", &["-c:a", "adpcm_adx"], FFMPEG),
    ("u.thd", &["-c:a", "truehd", "-strict", "-2"], FFMPEG),
    ("v.sox", &["-c:a", "pcm_s32le"], FFMPEG),
];

const FFMPEG: &str = "transcode: ffmpeg";

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ffmpeg_writes_is_seen_and_heard_by_the_watcher() {
    let dir = tempfile::tempdir().unwrap();
    let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("media");
    let of_clip = PICTURES
        .iter()
        .map(|(name, options, video, audio)| ("bframes.mp4", *name, *options, [*video, *audio]));
    let of_music =
        SOUNDS.iter().map(|(name, options, audio)| ("music.ogg", *name, *options, ["none", *audio]));
    let cases: Vec<_> = of_clip.chain(of_music).collect();
    for (source, name, options, _) in &cases {
        let source = media.join(source);
        let input = ["-t", "3", "-i", source.to_str().unwrap()];
        crate::formats::ffmpeg(&[&input[..], options].concat(), &dir.path().join(name));
    }
    let _alone = realtime_async().await;
    let (clips, music) = cases.split_at(PICTURES.len());
    for (cases, at_once) in [(clips, AT_ONCE), (music, SOUNDS_AT_ONCE)] {
        all(at_once, cases.iter().copied(), |emulator, (_, name, _, plan)| {
            let (source, plan) = (dir.path().join(name), plan.map(str::to_owned));
            let wanted = Wanted { video: plan[0] != "none", audio: true };
            async move { assert_eq!(judge_ours(&emulator, name, &source, wanted).await, plan, "{name}") }
        })
        .await;
    }
}
