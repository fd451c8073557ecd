//! Our demuxers against `ffprobe -show_packets`, for every clip and for files of every container.
//!
//! The clips' listings are kept in `tests/golden/ffprobe/`; here FFmpeg's other formats are asked
//! about as they are made, so a demuxer cannot be right for the clips alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use telecast::media::demux::{self, Packet};
use telecast::media::{MediaKind, source};
use telecast::time::MediaTime;

use crate::formats::ffmpeg;

/// One packet as ffprobe lists it.
#[derive(Debug)]
struct Listed {
    stream: usize,
    pts: Option<f64>,
    dts: Option<f64>,
    key: bool,
    /// Thrown away by an edit list.
    discarded: bool,
}

fn listing(path: &Path) -> Option<Vec<Listed>> {
    let mut command = Command::new("ffprobe");
    command.args([
        "-v",
        "error",
        "-of",
        "json",
        "-show_entries",
        "packet=stream_index,pts_time,dts_time,flags",
    ]);
    let output = command.arg(path).output().ok()?;
    assert!(output.status.success(), "ffprobe reads {path:?}");
    let listing: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let seconds =
        |packet: &serde_json::Value, key: &str| packet[key].as_str().map(|text| text.parse().unwrap());
    let packets = listing["packets"].as_array().unwrap().iter();
    let listed = |packet: &serde_json::Value| Listed {
        stream: packet["stream_index"].as_u64().unwrap() as usize,
        pts: seconds(packet, "pts_time"),
        dts: seconds(packet, "dts_time"),
        key: packet["flags"].as_str().unwrap().contains('K'),
        discarded: packet["flags"].as_str().unwrap().contains('D'),
    };
    Some(packets.map(listed).collect())
}

fn assert_same(path: &Path, tolerance: f64) {
    let listed = listing(path).expect("it was there before");
    let mut demuxer = demux::open(source::open(path).unwrap()).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    let tracks = demuxer.tracks().to_vec();
    let packets: Vec<Packet> = std::iter::from_fn(|| demuxer.next_packet().unwrap()).collect();
    for (stream, track) in tracks.iter().enumerate() {
        let found: Vec<&Packet> = packets.iter().filter(|packet| packet.track == stream).collect();
        let listed: Vec<&Listed> = listed.iter().filter(|packet| packet.stream == stream).collect();
        assert_eq!(found.len(), listed.len(), "{path:?}: packets of stream {stream}");
        // ffprobe begins an mp3 at 0 and tells its priming apart.
        let shift = match (demuxer.format(), found.first(), listed.first().and_then(|first| first.pts)) {
            ("mp3", Some(first), Some(pts)) => pts - first.pts.as_secs_f64(),
            _ => 0.0,
        };
        for (nth, (found, listed)) in found.iter().zip(&listed).enumerate() {
            let place = format!("{path:?} stream {stream} packet {nth}: {found:?} {listed:?}");
            let near =
                |ours: MediaTime, theirs: f64| (ours.as_secs_f64() + shift - theirs).abs() <= tolerance;
            if let Some(pts) = listed.pts.filter(|_| !listed.discarded) {
                assert!(near(found.pts, pts), "{place}");
            }
            if let (Some(dts), Some(listed)) = (found.dts, listed.dts) {
                assert!(near(dts, listed), "{place}");
            }
            if track.kind == MediaKind::Video {
                assert_eq!(found.key, listed.key, "{place}");
            }
        }
    }
}

#[test]
fn every_container_has_the_packets_that_ffprobe_lists() {
    if Command::new("ffprobe").arg("-version").output().is_err() {
        eprintln!("ffprobe is missing, so nothing is compared: `cargo xtask setup test` installs it");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let picture = ["-f", "lavfi", "-i", "testsrc2=d=3:s=128x72:r=25"];
    let sound = ["-f", "lavfi", "-i", "sine=d=3:r=48000"];
    let x264 = ["-c:v", "libx264", "-g", "20", "-pix_fmt", "yuv420p"];
    // The name says the container; times of Matroska are whole milliseconds. Fragments come with an
    // edit list (`delay_moov`): without one we take AAC to have a frame of priming, and FFmpeg none.
    let cases: &[(&str, &[&str], f64)] = &[
        ("a.mp4", &["-bf", "2", "-c:a", "aac"], 0.0),
        ("b.mov", &["-bf", "2", "-c:a", "aac"], 0.0),
        ("c.mp4", &["-bf", "0", "-c:a", "aac", "-movflags", "+frag_keyframe+empty_moov+delay_moov"], 0.0),
        (
            "d.mp4",
            &["-bf", "2", "-c:a", "libopus", "-movflags", "+frag_every_frame+empty_moov+delay_moov"],
            0.0,
        ),
        ("e.mp4", &["-bf", "2", "-c:a", "aac", "-movflags", "+negative_cts_offsets"], 0.0),
        ("f.mp4", &["-r", "30000/1001", "-bf", "0", "-c:a", "libmp3lame"], 0.0),
        ("g.mkv", &["-bf", "2", "-c:a", "libopus"], 0.001),
        ("h.mkv", &["-bf", "0", "-c:a", "libmp3lame"], 0.001),
        ("i.webm", &["-c:v", "libvpx", "-b:v", "200k", "-c:a", "libvorbis"], 0.001),
        ("j.webm", &["-c:v", "libvpx-vp9", "-b:v", "200k", "-c:a", "libopus"], 0.001),
        ("k.ivf", &["-c:v", "libvpx", "-b:v", "200k", "-an"], 0.0),
        ("l.ivf", &["-c:v", "libvpx-vp9", "-b:v", "200k", "-an"], 0.0),
        ("m.h264", &["-bf", "2", "-an"], 0.0),
        ("n.h264", &["-bf", "0", "-slices", "4", "-an"], 0.0),
        ("o.ogg", &["-vn", "-c:a", "libopus"], 0.0),
        ("p.ogg", &["-vn", "-c:a", "libopus", "-frame_duration", "60"], 0.0),
        ("q.mp3", &["-vn", "-c:a", "libmp3lame", "-b:a", "128k"], 0.0),
        ("r.mp3", &["-vn", "-c:a", "libmp3lame", "-q:a", "4", "-ar", "22050"], 0.0),
        ("s.m4a", &["-vn", "-c:a", "alac"], 0.0),
        ("t.flac", &["-vn", "-c:a", "flac"], 0.0),
        ("u.mka", &["-vn", "-c:a", "flac"], 0.001),
    ];
    for (name, words, tolerance) in cases {
        let path = dir.path().join(name);
        ffmpeg(&[&picture[..], &sound, &x264, words].concat(), &path);
        // Times are listed with six digits.
        assert_same(&path, tolerance + 1.1e-6);
    }
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("media")).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if extension != "md" {
            let tolerance = if matches!(extension, "mkv" | "webm") { 0.001 } else { 0.0 };
            assert_same(&path, tolerance + 1.1e-6);
        }
    }
}
