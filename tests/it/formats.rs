//! Every kind of sound file that FFmpeg writes is heard as it was recorded: from its first sample
//! to its last, at its level, on the side where it belongs.

use std::path::{Path, PathBuf};
use std::process::Command;

use telecast::media::codec::opus::Decoder;
use telecast::media::{MediaKind, Probe, Reader, ReaderOptions};
use telecast::time::MediaTime;

/// Runs FFmpeg, which the setup installs.
pub(crate) fn ffmpeg(args: &[&str], output: &Path) {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-y"]).args(args).arg(output);
    let status = command.status().expect("FFmpeg is installed (`cargo xtask setup`)");
    assert!(status.success(), "{command:?}");
}

/// Half a second of silence, half a second of a tone of 0.25 on the left and 0.125 on the right,
/// half a second of silence.
const BURST: &str =
    "aevalsrc='0.25*sin(2*PI*440*t)*between(t,0.5,1)|0.125*sin(2*PI*440*t)*between(t,0.5,1)':d=1.5:s=48000";

/// What a listener hears: 48 kHz stereo.
fn heard(path: &Path) -> (String, Vec<f32>) {
    let mut reader =
        Reader::open(path, ReaderOptions::default()).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let plan = reader.plan().audio.to_string();
    let (mut decoder, mut samples) = (Decoder::new(0).unwrap(), Vec::new());
    let mut next = MediaTime::ZERO;
    while let Some(frame) = reader.next_frame().unwrap() {
        assert_eq!((frame.kind, frame.pts), (MediaKind::Audio, next), "{path:?}");
        next += frame.duration;
        samples.extend_from_slice(decoder.decode(&frame.data).unwrap());
    }
    assert_eq!(reader.stats().damaged_sound, 0, "{path:?}");
    (plan, samples)
}

/// RMS of one ear between two milliseconds.
fn rms(stereo: &[f32], ear: usize, from_ms: usize, to_ms: usize) -> f32 {
    let part: Vec<f32> = stereo[from_ms * 96..to_ms * 96].iter().skip(ear).step_by(2).copied().collect();
    (part.iter().map(|sample| sample * sample).sum::<f32>() / part.len() as f32).sqrt()
}

fn assert_burst(path: &Path, plan: &str) {
    let (found, stereo) = heard(path);
    assert_eq!(found, plan, "{path:?}");
    let ms = stereo.len() / 96;
    assert!((1480..=1540).contains(&ms), "{path:?}: {ms} ms");
    for (ear, amplitude) in [(0, 0.25_f32), (1, 0.125)] {
        let expected = amplitude / 2.0_f32.sqrt();
        let tone = rms(&stereo, ear, 510, 990);
        assert!((tone / expected - 1.0).abs() < 0.05, "{path:?}: ear {ear} hears {tone}, not {expected}");
        for (from, to) in [(20, 490), (1010, 1460)] {
            let silence = rms(&stereo, ear, from, to);
            assert!(silence < expected / 20.0, "{path:?}: {silence} in ear {ear} from {from} ms on");
        }
    }
}

#[test]
fn every_sound_format_is_heard_as_it_was_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let cases: &[(&str, &[&str], &str)] = &[
        ("a.flac", &["-c:a", "flac"], "transcode: flac"),
        ("b.wav", &["-c:a", "pcm_s16le"], "transcode: pcm_s16le"),
        ("c.wav", &["-c:a", "pcm_s24le", "-ar", "96000"], "transcode: pcm_s24le"),
        ("d.wav", &["-c:a", "pcm_f32le", "-ar", "11025"], "transcode: pcm_f32le"),
        ("e.wav", &["-c:a", "pcm_u8"], "transcode: pcm_u8"),
        ("f.aiff", &["-c:a", "pcm_s16be", "-ar", "44100"], "transcode: pcm_s16be"),
        ("g.ogg", &["-c:a", "libvorbis", "-q:a", "5"], "transcode: vorbis"),
        ("h.webm", &["-c:a", "libvorbis", "-q:a", "5", "-ar", "44100"], "transcode: vorbis"),
        ("i.oga", &["-c:a", "flac", "-ar", "44100"], "transcode: flac"),
        ("j.m4a", &["-c:a", "alac"], "transcode: alac"),
        ("k.mka", &["-c:a", "flac"], "transcode: flac"),
        ("l.mka", &["-c:a", "alac", "-ar", "44100"], "transcode: alac"),
        ("q.mkv", &["-c:a", "pcm_s16le", "-ar", "44100"], "transcode: pcm_s16le"),
        ("r.mka", &["-c:a", "pcm_s24be"], "transcode: pcm_s24be"),
        ("s.mka", &["-c:a", "pcm_f32le"], "transcode: pcm_f32le"),
        ("t.mka", &["-c:a", "pcm_u8"], "transcode: pcm_u8"),
        ("m.mp4", &["-c:a", "flac", "-strict", "-2"], "transcode: flac"),
        ("n.m4a", &["-c:a", "aac", "-b:a", "160k"], "transcode: aac"),
        ("o.mp3", &["-c:a", "libmp3lame", "-b:a", "192k"], "transcode: mp3"),
        ("p.opus", &["-c:a", "libopus", "-b:a", "128k"], "copy"),
    ];
    for (name, options, plan) in cases {
        let path = dir.path().join(name);
        ffmpeg(&[&["-f", "lavfi", "-i", BURST][..], options].concat(), &path);
        assert_burst(&path, plan);
    }
}

#[test]
fn surround_and_mono_reach_both_ears() {
    let dir = tempfile::tempdir().unwrap();
    // Only the center, then only the right surround, of 5.1.
    let source =
        "aevalsrc='0|0|0.5*sin(2*PI*440*t)*lt(t,0.5)|0|0|0.5*sin(2*PI*440*t)*gt(t,0.5)':d=1:s=48000:c=5.1";
    for (name, codec) in [
        ("a.flac", "flac"),
        ("b.wav", "pcm_s16le"),
        ("c.ogg", "libvorbis"),
        ("d.m4a", "alac"),
        ("e.nut", "flac"),
    ] {
        let path: PathBuf = dir.path().join(name);
        ffmpeg(&["-f", "lavfi", "-i", source, "-c:a", codec], &path);
        let (_, stereo) = heard(&path);
        let expected = 0.25 / (1.0 + 2.0_f32.sqrt());
        let close = |value: f32, wanted: f32| (value - wanted).abs() < expected * 0.08;
        let [center, behind] =
            [(50, 450), (550, 950)].map(|(from, to)| [0, 1].map(|ear| rms(&stereo, ear, from, to)));
        assert!(
            close(center[0], expected) && close(center[1], expected),
            "{name}: {center:?}, not {expected}"
        );
        assert!(close(behind[0], 0.0) && close(behind[1], expected), "{name}: {behind:?}, not {expected}");
    }
    // The second through FFmpeg.
    for name in ["mono.flac", "mono.nut"] {
        let path = dir.path().join(name);
        ffmpeg(&["-f", "lavfi", "-i", "aevalsrc='0.5*sin(2*PI*440*t)':d=1:s=22050", "-c:a", "flac"], &path);
        let (_, stereo) = heard(&path);
        for ear in [0, 1] {
            let level = rms(&stereo, ear, 50, 950);
            assert!((level - 0.3536).abs() < 0.02, "{name} reaches ear {ear} with {level}");
        }
    }
}

#[test]
fn a_seek_in_sound_alone_lands_where_it_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    for (name, codec) in
        [("a.flac", "flac"), ("b.wav", "pcm_s16le"), ("c.ogg", "libvorbis"), ("d.aiff", "pcm_s16be")]
    {
        let path = dir.path().join(name);
        let source = "aevalsrc='0.25*sin(2*PI*440*t)*gt(t,6)':d=10:s=44100";
        ffmpeg(&["-f", "lavfi", "-i", source, "-c:a", codec], &path);
        let mut reader = Reader::open(&path, ReaderOptions::default()).unwrap();
        assert_eq!(reader.duration().map(MediaTime::as_millis), Some(10_000), "{name}");
        let place = reader.seek(MediaTime::from_millis(5_500)).unwrap();
        assert_eq!(place, MediaTime::from_millis(5_500), "{name}");
        let mut decoder = Decoder::new(0).unwrap();
        let frames = std::iter::from_fn(|| reader.next_frame().unwrap());
        let mut loud = frames.filter(|frame| frame.level.is_some_and(|level| level.neg_dbov() < 30));
        let first = loud.next().unwrap();
        decoder.decode(&first.data).unwrap();
        let off = (first.pts - MediaTime::from_secs(6)).abs();
        assert!(off <= MediaTime::from_millis(20), "{name}: the tone begins at {:?}", first.pts);
    }
}

#[test]
fn pictures_that_no_receiver_decodes_say_why_and_go_through_ffmpeg() {
    let dir = tempfile::tempdir().unwrap();
    let source = ["-f", "lavfi", "-i", "testsrc2=d=2:s=128x72:r=25", "-c:v", "libx264", "-bf", "0"];
    let cases: &[(&str, &[&str], &str)] = &[
        (
            "fields.mp4",
            &["-flags", "+ilme+ildct", "-x264-params", "tff=1", "-pix_fmt", "yuv420p"],
            "interlaced",
        ),
        ("ten-bits.mkv", &["-pix_fmt", "yuv420p10le"], "H.264 High 10"),
        ("colors.mp4", &["-pix_fmt", "yuv444p"], "High 4:4:4 Predictive"),
        (
            "no-idr.mkv",
            &["-pix_fmt", "yuv420p", "-bsf:v", "filter_units=remove_types=5"],
            "no keyframe (IDR)",
        ),
    ];
    for (name, options, why) in cases {
        let path = dir.path().join(name);
        ffmpeg(&[&source[..], options].concat(), &path);
        let probe = Probe::of(&path).unwrap();
        assert_eq!(probe.plan.video.plan, "refused: h264", "{name}");
        assert!(probe.plan.video.reason.contains(why) && !probe.playable, "{name}: {probe:?}");
        assert!(probe.remedy.is_some_and(|command| command.starts_with("telecast prepare ")), "{name}");
        let Ok(mut reader) = Reader::open(&path, ReaderOptions::default()) else {
            // Nor can FFmpeg begin to decode where nothing begins.
            assert_eq!(*name, "no-idr.mkv");
            continue;
        };
        assert_eq!(reader.plan().video.to_string(), "transcode: ffmpeg", "{name}");
        assert!(reader.plan().video.reason().contains(why), "{name}: {}", reader.plan().video.reason());
        let n_pictures = std::iter::from_fn(|| reader.next_frame().unwrap()).count();
        assert!((45..=50).contains(&n_pictures) || *name == "no-idr.mkv", "{name}: {n_pictures} pictures");
    }
}
