//! The clips against what ffprobe says, and against damage.

use std::io::Cursor;
use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::media::codec::h264;

const CLIPS: [&str; 6] = ["clip.mp4", "long-gop.mp4", "bframes.mp4", "clip.mkv", "music.ogg", "music.mp3"];

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn bytes_of(clip: &str) -> Vec<u8> {
    std::fs::read(repository("media").join(clip)).unwrap()
}

fn open_bytes(bytes: impl Into<Vec<u8>>) -> Result<Box<dyn Demuxer>, DemuxError> {
    open(Box::new(Cursor::new(bytes.into())))
}

fn open_clip(clip: &str) -> Box<dyn Demuxer> {
    open_bytes(bytes_of(clip)).unwrap()
}

fn rest(demuxer: &mut dyn Demuxer) -> Vec<Packet> {
    std::iter::from_fn(|| demuxer.next_packet().unwrap()).collect()
}

/// What ffprobe says of one packet.
struct Probed {
    pts: i64,
    dts: i64,
    duration: i64,
    size: u64,
    key: bool,
    skip_samples: i64,
    discard_padding: i64,
}

/// The packets of one stream of a clip, and the denominator of its time base.
fn probed(clip: &str, stream: usize) -> (u32, Vec<Probed>) {
    let text =
        std::fs::read_to_string(repository("tests/golden/ffprobe").join(format!("{clip}.json"))).unwrap();
    let listing: Value = serde_json::from_str(&text).unwrap();
    let columns: Vec<_> =
        listing["columns"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
    let column = |name: &str| columns.iter().position(|column| *column == name).unwrap();
    let time_base = listing["streams"][stream]["time_base"].as_str().unwrap();
    let rate = time_base.strip_prefix("1/").unwrap().parse().unwrap();
    let rows = listing["packets"].as_array().unwrap().iter();
    let rows = rows.filter(|row| row[column("stream")].as_u64() == Some(stream as u64));
    let number = |row: &Value, name: &str| row[column(name)].as_i64().unwrap();
    let probe = |row: &Value| Probed {
        pts: number(row, "pts"),
        dts: number(row, "dts"),
        duration: number(row, "duration"),
        size: number(row, "size") as u64,
        key: row[column("key")].as_bool().unwrap(),
        skip_samples: number(row, "skip_samples"),
        discard_padding: number(row, "discard_padding"),
    };
    (rate, rows.map(probe).collect())
}

#[test]
fn every_clip_agrees_with_ffprobe() {
    for clip in CLIPS {
        let mut demuxer = open_clip(clip);
        let tracks = demuxer.tracks().to_vec();
        let packets = rest(demuxer.as_mut());
        for (stream, track) in tracks.iter().enumerate() {
            let (rate, expected) = probed(clip, stream);
            let found: Vec<_> = packets.iter().filter(|packet| packet.track == stream).collect();
            assert_eq!(found.len(), expected.len(), "{clip} stream {stream}: packets");
            // ffprobe starts an mp3 at 0 and tells the priming apart.
            let priming = if clip == "music.mp3" { expected[0].skip_samples } else { 0 };
            for (n, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let place = format!("{clip} stream {stream} packet {n}");
                let sample_rate = match track.shape {
                    Shape::Audio { sample_rate, .. } => sample_rate,
                    Shape::Video { .. } => 1,
                };
                let pts = found.pts + MediaTime::from_ticks(priming, sample_rate);
                if clip == "clip.mkv" {
                    let off = (pts - MediaTime::from_ticks(expected.pts, rate)).abs();
                    assert!(off <= MediaTime::from_millis(1), "{place}: off by {off:?}");
                } else {
                    assert_eq!(pts.to_ticks(rate), expected.pts, "{place}: pts");
                }
                if let Some(dts) = found.dts {
                    assert_eq!(dts.to_ticks(rate), expected.dts, "{place}: dts");
                }
                assert_eq!(found.dts.is_some(), clip.ends_with("mp4"), "{place}: dts");
                assert_eq!(found.key, expected.key, "{place}: key");
                // In mkv, ffprobe leaves the pre-skip to the decoder.
                let skip = if clip == "clip.mkv" && track.kind == MediaKind::Audio && n == 0 {
                    i64::from(opus::Head::parse(&track.config).unwrap().pre_skip)
                } else {
                    expected.skip_samples
                };
                assert_eq!(i64::from(found.trim_start), skip, "{place}: trim_start");
                // An mp4 tells the padding by a shorter last packet.
                let padding = if clip.ends_with("mp4") && track.kind == MediaKind::Audio {
                    found.duration.to_ticks(rate) - expected.duration
                } else {
                    expected.discard_padding
                };
                assert_eq!(i64::from(found.trim_end), padding, "{place}: trim_end");
                if track.kind == MediaKind::Audio {
                    assert_eq!(found.data.len() as u64, expected.size, "{place}: size");
                }
            }
        }
    }
}

#[test]
fn every_picture_is_annex_b_and_every_idr_can_be_joined_at() {
    for clip in ["clip.mp4", "long-gop.mp4", "bframes.mp4", "clip.mkv"] {
        let mut demuxer = open_clip(clip);
        let mut watch = h264::ReorderWatch::new();
        for packet in rest(demuxer.as_mut()).iter().filter(|packet| packet.track == 0) {
            let types: Vec<_> = h264::nal_units(&packet.data).map(h264::nal_type).collect();
            let sets = types.iter().filter(|kind| matches!(**kind, h264::NAL_SPS | h264::NAL_PPS)).count();
            assert_eq!(packet.key, types.contains(&h264::NAL_IDR), "{clip}: {types:?}");
            assert_eq!(packet.key, types.starts_with(&[h264::NAL_SPS, h264::NAL_PPS]), "{clip}: {types:?}");
            assert_eq!(sets, if packet.key { 2 } else { 0 }, "{clip}: {types:?}");
            assert!(!types.contains(&h264::NAL_AUD) && !types.contains(&h264::NAL_FILLER), "{clip}");
            watch.push(packet.pts, &packet.data);
        }
        let expected = (clip == "bframes.mp4").then_some(h264::Reordering::BSlice);
        assert_eq!(watch.found().is_some(), expected.is_some(), "{clip}: {:?}", watch.found());
    }
}
