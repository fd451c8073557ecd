//! Sources that are no files: a web server with its whims, a pipe, and what only FFmpeg reads.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use telecast::media::codec::h264;
use telecast::media::codec::opus::Preset;
use telecast::media::plan::{PictureOptions, PlanOptions, TrackPlan, VideoCodecs};
use telecast::media::{Codec, MediaError, MediaKind, Reader, ReaderOptions};
#[cfg(feature = "emulator")]
use telecast::player::{Item, Player, PlayerOptions};
use telecast::time::MediaTime;

use crate::formats::ffmpeg;

fn clip(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("media").join(name)
}

/// Kinds, times and sizes of all frames: equal where the same was read.
fn frames(reader: &mut Reader) -> Vec<(MediaKind, MediaTime, usize)> {
    std::iter::from_fn(|| reader.next_frame().unwrap())
        .map(|frame| (frame.kind, frame.pts, frame.data.len()))
        .collect()
}

/// What a server does wrong.
#[derive(Clone, Copy, Default)]
struct Whims {
    /// Knows nothing of ranges.
    no_ranges: bool,
    /// Closes every connection after so many bytes.
    breaks_after: Option<usize>,
    /// Sends away to another path first, so many times.
    redirects: usize,
    /// Wants this line.
    wants: Option<&'static str>,
}

/// Serves one file until the test ends; the address and how often it was asked.
fn serve(path: &Path, whims: Whims) -> (String, Arc<AtomicUsize>) {
    let bytes: Arc<[u8]> = std::fs::read(path).unwrap().into();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/0", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            count.fetch_add(1, Ordering::Relaxed);
            let bytes = Arc::clone(&bytes);
            // A client that goes away early is no failure of the server.
            std::thread::spawn(move || drop(answer(connection, &bytes, whims)));
        }
    });
    (address, asked)
}

fn answer(mut connection: TcpStream, bytes: &[u8], whims: Whims) -> std::io::Result<()> {
    let mut lines = Vec::new();
    for line in BufReader::new(connection.try_clone()?).lines() {
        match line? {
            line if line.is_empty() => break,
            line => lines.push(line),
        }
    }
    let number =
        |line: &String| line.split(['/', ' ']).nth(2).and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
    let hop = lines.first().map_or(0, number);
    if hop < whims.redirects {
        return write!(
            connection,
            "HTTP/1.1 302 Found\r\nLocation: /{}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            hop + 1
        );
    }
    if whims.wants.is_some_and(|wanted| !lines.iter().any(|line| line.eq_ignore_ascii_case(wanted))) {
        return write!(
            connection,
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let range = lines
        .iter()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let from = range
        .and_then(|range| range.trim_end_matches('-').parse::<usize>().ok())
        .filter(|_| !whims.no_ranges);
    let len = bytes.len();
    match from {
        Some(from) => write!(
            connection,
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{len}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            len - 1,
            len - from
        )?,
        None => write!(connection, "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n")?,
    }
    let rest = &bytes[from.unwrap_or(0)..];
    connection.write_all(&rest[..whims.breaks_after.unwrap_or(rest.len()).min(rest.len())])
}

fn open(address: &str) -> Result<Reader, MediaError> {
    Reader::open(address, ReaderOptions::default())
}

#[test]
fn the_web_plays_like_a_file() {
    for name in ["clip.mp4", "clip.mkv", "bframes.mp4", "music.ogg", "music.mp3"] {
        let options = ReaderOptions::default();
        let mut file = Reader::open(clip(name), options).unwrap();
        let (address, _) = serve(&clip(name), Whims { redirects: 2, ..Whims::default() });
        let mut web = open(&address).unwrap();
        assert_eq!(web.duration(), file.duration(), "{name}");
        let place = MediaTime::from_secs(5);
        assert_eq!(web.seek(place).unwrap(), file.seek(place).unwrap(), "{name}");
        let first = |reader: &mut Reader| {
            reader.next_frame().unwrap().map(|frame| (frame.kind, frame.pts, frame.data))
        };
        assert_eq!(first(&mut web), first(&mut file), "{name}");
    }
}

#[test]
fn a_connection_that_drops_is_made_again() {
    let whims = Whims { breaks_after: Some(300_000), ..Whims::default() };
    let (address, asked) = serve(&clip("clip.mkv"), whims);
    let all = frames(&mut open(&address).unwrap());
    assert_eq!(all, frames(&mut Reader::open(clip("clip.mkv"), ReaderOptions::default()).unwrap()));
    assert!(asked.load(Ordering::Relaxed) > 5, "it was asked {asked:?} times");
}

#[test]
fn a_server_without_ranges_is_read_once_and_in_order() {
    let whims = Whims { no_ranges: true, ..Whims::default() };
    let (address, _) = serve(&clip("clip.mp4"), whims);
    let all = frames(&mut open(&address).unwrap());
    assert_eq!(all, frames(&mut Reader::open(clip("clip.mp4"), ReaderOptions::default()).unwrap()));
    // Its index is at the end.
    let (address, _) = serve(&clip("bframes.mp4"), whims);
    let error = open(&address).unwrap_err().to_string();
    assert!(error.contains("faststart"), "{error}");
}

#[test]
fn what_a_server_refuses_is_told() {
    let (address, _) = serve(&clip("music.ogg"), Whims { redirects: 50, ..Whims::default() });
    assert!(matches!(open(&address), Err(MediaError::Source(_))));
    let wants = Some("x-key: secret-word");
    let (address, _) = serve(&clip("music.ogg"), Whims { wants, ..Whims::default() });
    let error = open(&address).unwrap_err().to_string();
    assert!(error.contains("403"), "{error}");
    let mut options = ReaderOptions::default();
    options
        .source
        .headers
        .push(("X-Key".to_owned(), telecast::secret::Secret::new("secret-word".to_owned())));
    assert!(!format!("{options:?}").contains("secret-word"));
    assert!(Reader::open(&address, options).is_ok());
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(matches!(open(&format!("http://{closed}/")), Err(MediaError::Source(_))));
}

/// Five seconds of a moving picture at 25 per second and a tone, as old cameras write it.
fn avi(dir: &Path) -> PathBuf {
    let path = dir.join("old.avi");
    let picture = ["-f", "lavfi", "-i", "testsrc=size=320x240:rate=25:duration=5"];
    let sound = ["-f", "lavfi", "-i", "sine=440:duration=5"];
    let codecs = ["-c:v", "mpeg4", "-bf", "2", "-c:a", "libmp3lame"];
    ffmpeg(&[&picture[..], &sound, &codecs].concat(), &path);
    path
}

#[test]
fn what_only_ffmpeg_reads_plays_to_its_last_picture() {
    let dir = tempfile::tempdir().unwrap();
    let mut reader = Reader::open(avi(dir.path()), ReaderOptions::default()).unwrap();
    assert_eq!(reader.plan().video.to_string(), "transcode: ffmpeg");
    let ms = reader.duration().unwrap().as_millis();
    assert!((4950..=5150).contains(&ms), "{ms} ms");
    let all = frames(&mut reader);
    let of = |kind| all.iter().filter(|(k, ..)| *k == kind).count();
    assert_eq!(of(MediaKind::Video), 125);
    assert!((249..=254).contains(&of(MediaKind::Audio)), "{}", of(MediaKind::Audio));
    let landed = reader.seek(MediaTime::from_secs(3)).unwrap();
    assert!((landed - MediaTime::from_secs(3)).abs() < MediaTime::from_millis(100), "{landed:?}");
    let rest = frames(&mut reader);
    let pictures = rest.iter().filter(|(kind, ..)| *kind == MediaKind::Video).count();
    assert!((49..=51).contains(&pictures), "{pictures} pictures from 3 s on");
}

#[test]
fn what_ffmpeg_converts_becomes_what_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("upright.avi");
    let picture = ["-f", "lavfi", "-i", "testsrc2=size=720x1280:rate=50:duration=4"];
    let sound = ["-f", "lavfi", "-i", "sine=440:duration=4"];
    let codecs = ["-c:v", "mpeg4", "-q:v", "3", "-c:a", "libmp3lame"];
    ffmpeg(&[&picture[..], &sound, &codecs].concat(), &path);
    let pictures = PictureOptions {
        height: Some(360),
        fps: Some(25),
        bitrate_bps: Some(300_000),
        ..PictureOptions::default()
    };
    let mut options = ReaderOptions::default();
    options.plan = PlanOptions { pictures, ..PlanOptions::default() };
    (options.opus.bitrate_bps, options.opus.mono, options.opus.preset) = (24_000, true, Preset::Voice);
    let mut reader = Reader::open(&path, options).unwrap();
    assert_eq!(reader.plan().video.to_string(), "transcode: ffmpeg");
    let all: Vec<_> = std::iter::from_fn(|| reader.next_frame().unwrap()).collect();
    let of = |kind| all.iter().filter(move |frame| frame.kind == kind);
    // The shorter edge is 360, whichever it is; the SPS of the first picture says so.
    let first = of(MediaKind::Video).next().unwrap();
    let sps = h264::nal_units(&first.data).find_map(h264::Sps::parse).unwrap();
    assert_eq!((sps.width, sps.height), (360, 640));
    let n_pictures = of(MediaKind::Video).count();
    assert!((99..=101).contains(&n_pictures), "{n_pictures} pictures");
    let bps = |kind| of(kind).map(|frame| frame.data.len()).sum::<usize>() * 8 / 4;
    let (video_bps, audio_bps) = (bps(MediaKind::Video), bps(MediaKind::Audio));
    assert!((200_000..400_000).contains(&video_bps), "{video_bps} bit/s of pictures");
    assert!((8_000..34_000).contains(&audio_bps), "{audio_bps} bit/s of sound");
    // RFC 6716 §3.1: the bit says stereo.
    assert!(of(MediaKind::Audio).all(|frame| frame.data[0] & 4 == 0), "mono");
}

#[test]
fn ffmpeg_makes_pixels_square() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dvd.mpg");
    let picture = ["-f", "lavfi", "-i", "testsrc2=size=720x576:rate=25:duration=1"];
    ffmpeg(&[&picture[..], &["-c:v", "mpeg2video", "-aspect", "16:9"]].concat(), &path);
    let mut reader = Reader::open(&path, ReaderOptions::default()).unwrap();
    let first = reader.next_frame().unwrap().unwrap();
    let sps = h264::nal_units(&first.data).find_map(h264::Sps::parse).unwrap();
    assert_eq!((sps.width, sps.height), (1024, 576));
}

#[test]
fn of_what_ffmpeg_converts_there_are_no_more_pictures_than_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fast.ts");
    let picture = ["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=50:duration=4", "-c:v", "mpeg2video"];
    ffmpeg(&picture, &path);
    for fps in [24, 48, 60] {
        let pictures = PictureOptions { fps: Some(fps), ..PictureOptions::default() };
        let mut options = ReaderOptions::default();
        options.plan = PlanOptions { pictures, ..PlanOptions::default() };
        let mut reader = Reader::open(&path, options).unwrap();
        let n_pictures = std::iter::from_fn(|| reader.next_frame().unwrap()).count();
        let wanted = 4 * fps.min(50) as usize;
        assert!((wanted - 1..=wanted + 1).contains(&n_pictures), "{n_pictures} pictures for {fps} fps");
    }
}

#[test]
fn what_nobody_could_have_recorded_is_not_left_to_ffmpeg() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slow.wav");
    ffmpeg(&["-f", "lavfi", "-i", "sine=440:duration=1:sample_rate=8000", "-c:a", "pcm_s16le"], &path);
    let mut bytes = std::fs::read(&path).unwrap();
    // The rate in the header of a WAV file: of 8,000 samples an hour and more would become.
    bytes[24..28].copy_from_slice(&1_u32.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let error = Reader::open(&path, ReaderOptions::default()).unwrap_err();
    assert!(matches!(error, MediaError::Refused { .. }), "{error}");
}

#[test]
fn ffmpeg_reads_transport_streams_and_hevc() {
    let dir = tempfile::tempdir().unwrap();
    let picture = ["-f", "lavfi", "-i", "testsrc=size=320x240:rate=25:duration=2"];
    for (name, codec) in [("a.ts", "mpeg2video"), ("b.mp4", "libx265"), ("c.m3u8", "mpeg2video")] {
        let path = dir.path().join(name);
        ffmpeg(&[&picture[..], &["-c:v", codec, "-pix_fmt", "yuv420p"]].concat(), &path);
        let mut reader =
            Reader::open(&path, ReaderOptions::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(frames(&mut reader).len(), 50, "{name}");
    }
}

#[test]
fn ffmpeg_makes_vp8_for_chats_without_h264_and_leaves_vp8_alone() {
    let codecs = VideoCodecs { h264: false, ..VideoCodecs::ALL };
    let pictures = PictureOptions { codecs, ..PictureOptions::default() };
    let mut options = ReaderOptions::default();
    options.plan = PlanOptions { pictures, ..PlanOptions::default() };
    let open = |path: &Path| Reader::open(path, options.clone()).unwrap();
    let mut reader = open(&clip("clip.mp4"));
    assert_eq!(reader.plan().video.to_string(), "transcode: ffmpeg");
    assert_eq!(
        reader.plan().video.reason(),
        "FFmpeg converts it while it plays, because the picture is H.264, which one of the chats does not take."
    );
    let pictures =
        std::iter::from_fn(|| reader.next_frame().unwrap()).filter(|it| it.kind == MediaKind::Video);
    let shown: Vec<_> = pictures.take_while(|frame| frame.pts < MediaTime::from_secs(5)).collect();
    assert!(shown.iter().all(|frame| frame.codec == Codec::Vp8));
    assert!((149..=151).contains(&shown.len()), "{} pictures", shown.len());
    let keys: Vec<_> = shown.iter().filter(|frame| frame.key).map(|frame| frame.pts).collect();
    let longest = keys.windows(2).map(|two| two[1] - two[0]).max().unwrap();
    assert!(longest <= MediaTime::from_millis(1040) && keys.len() == 5, "{longest:?}, {} keys", keys.len());
    let bytes: usize = shown.iter().map(|frame| frame.data.len()).sum();
    assert!(bytes * 8 < 5 * 2_800_000, "{} bit/s", bytes * 8 / 5);
    assert!(shown.iter().all(|frame| frame.data.len() < 150_000), "a keyframe is no burst");
    let landed = reader.seek(MediaTime::from_secs(15)).unwrap();
    assert_eq!(landed, MediaTime::from_secs(15));

    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(&open(&avi(dir.path())).plan().video, TrackPlan::Transcode { to: Codec::Vp8, .. }));
    assert!(open(&clip("vp8.webm")).plan().video.is_copy());
    // What is made for a test stays what it is.
    let made = open(Path::new("test:640x360")).plan().video.clone();
    assert!(matches!(&made, TrackPlan::Transcode { to: Codec::H264, .. }), "{made:?}");
}

#[cfg(feature = "emulator")]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_on_in_vp8_for_all_when_somebody_comes_who_takes_no_h264() {
    let _alone = crate::realtime_async().await;
    let player = Player::start(PlayerOptions::default());
    player.enqueue(Item::file(clip("long-gop.mp4"))).await.unwrap();
    let mut usual = player.listen().await;
    let (mut frames, mut other, mut until) = (Vec::new(), None, MediaTime::from_secs(15));
    while let Some(shared) = usual.recv().await {
        let at = shared.frame.pts;
        if shared.item.is_some() && at > until {
            break;
        }
        if other.is_none() && shared.item.is_some() && at > MediaTime::from_secs(3) {
            let codecs = VideoCodecs { h264: false, ..VideoCodecs::ALL };
            other = Some(player.listen_in(codecs).await);
        }
        if shared.frame.codec == Codec::Vp8 {
            until = until.min(at + MediaTime::from_secs(1));
        }
        frames.push(shared);
    }
    player.close().await;

    let sound: Vec<_> = frames.iter().filter(|shared| shared.frame.kind == MediaKind::Audio).collect();
    let step = MediaTime::from_millis(20);
    assert!(sound.windows(2).all(|two| two[1].at - two[0].at == step), "one clock, and silence in between");
    let shown: Vec<_> = frames.iter().filter(|shared| shared.frame.kind == MediaKind::Video).collect();
    let switched =
        shown.iter().position(|shared| shared.frame.codec == Codec::Vp8).expect("it goes on in VP8");
    let heard = sound.iter().skip_while(|it| it.item.is_none()).take_while(|it| it.at <= shown[switched].at);
    assert!(heard.into_iter().all(|shared| shared.item.is_some()), "nobody hears that it is opened anew");
    assert!(shown[switched].frame.key && shown[switched..].iter().all(|it| it.frame.codec == Codec::Vp8));
    let jump = shown[switched].frame.pts - shown[switched - 1].frame.pts;
    // Back by as much as a busy machine takes too long.
    assert!((-10_000..=100).contains(&jump.as_millis()), "it goes on where it was: {jump:?}");
}

#[test]
fn without_ffmpeg_chats_without_h264_are_left_the_sound() {
    const HERE: &str = "TELECAST_TEST_WITHOUT_FFMPEG";
    let name = "sources::without_ffmpeg_chats_without_h264_are_left_the_sound";
    if std::env::var_os(HERE).is_none() {
        // Only a process of its own can be without it.
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let again = again.args(["--exact", name]).env(HERE, "1").env("PATH", "/nowhere").output().unwrap();
        let said = String::from_utf8_lossy(&again.stdout);
        assert!(again.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let mut options = ReaderOptions::default();
    options.plan.pictures.codecs = VideoCodecs { h264: false, ..VideoCodecs::ALL };
    let mut reader = Reader::open(clip("clip.mkv"), options).unwrap();
    assert!(reader.plan().video.is_copy() && reader.plan().audio.is_copy(), "{:?}", reader.plan());
    assert!(frames(&mut reader).len() >= 1600);
}

#[cfg(feature = "cli")]
/// What `telecast probe --json` says of a source.
fn probed(source: &str, stdin: std::process::Stdio) -> serde_json::Value {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_telecast"));
    let output = command.args(["probe", "--json", source]).stdin(stdin).output().unwrap();
    assert!(output.status.success(), "{source}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[cfg(feature = "cli")]
#[test]
fn standard_input_is_probed_like_the_file_behind_it() {
    let path = clip("clip.mkv");
    let file = probed(path.to_str().unwrap(), std::process::Stdio::null());
    // A shell's `<` can be gone back in; a pipe cannot.
    let mut cat = std::process::Command::new("cat");
    let mut cat = cat.arg(&path).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let piped = probed("-", cat.stdout.take().unwrap().into());
    assert!(cat.wait().unwrap().success());
    for key in ["tracks", "plan", "pictures", "loudness_lufs", "cpu", "viewer", "duration_ms"] {
        assert_eq!(piped[key], file[key], "{key}");
    }
    assert_eq!(piped["size_bytes"], 0);
    assert_eq!(file["cpu"], "copy");
    assert_eq!(file["pictures"]["gop_histogram"], serde_json::json!([{ "up_to_ms": 1000, "n_gops": 20 }]));
    let lufs = file["loudness_lufs"].as_f64().unwrap();
    assert!((-17.0..-14.0).contains(&lufs), "{lufs}");
}

#[cfg(feature = "cli")]
#[test]
fn what_only_ffmpeg_reads_is_probed_as_it_will_play() {
    let dir = tempfile::tempdir().unwrap();
    let probe = probed(avi(dir.path()).to_str().unwrap(), std::process::Stdio::null());
    assert_eq!((&probe["format"], &probe["cpu"]), (&"ffmpeg".into(), &"ffmpeg".into()), "{probe:#}");
    for kind in ["audio", "video"] {
        let plan = &probe["plan"][kind];
        assert_eq!(plan["plan"], "transcode: ffmpeg");
        assert!(plan["reason"].as_str().unwrap().contains("AVI"), "{plan}");
    }
    assert_eq!(probe["playable"], true);
    assert!(probe["remedy"].as_str().unwrap().starts_with("telecast prepare "));
    // The tracks are not those of the file, and nobody is told so.
    let mut told = Vec::new();
    telecast::media::probe::Probe::of(avi(dir.path())).unwrap().write_report(&mut told).unwrap();
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains("ffmpeg reads it, and makes this of its beginning:\n  1 "), "{told}");
}

#[test]
fn ffmpeg_says_why_it_cannot_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broken.avi");
    let mut bytes = b"RIFF\x24\0\0\0AVI LIST".to_vec();
    bytes.extend([7; 5000]);
    std::fs::write(&path, bytes).unwrap();
    let error = Reader::open(&path, ReaderOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("ffmpeg cannot read") && error.contains(": "), "{error}");
}

#[cfg(all(feature = "cli", target_os = "linux"))]
mod program;
