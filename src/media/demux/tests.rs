//! The clips against what ffprobe says, and against damage.

use std::io::Cursor;
use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::media::codec::{h264, opus};

const CLIPS: [&str; 10] = [
    "clip.mp4",
    "long-gop.mp4",
    "bframes.mp4",
    "clip.mkv",
    "vp8.webm",
    "vp9.webm",
    "vp8.ivf",
    "vp9.ivf",
    "music.ogg",
    "music.mp3",
];

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
        // Not every container tells it.
        duration: row[column("duration")].as_i64().unwrap_or(0),
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
        let is_matroska = clip.ends_with(".mkv") || clip.ends_with(".webm");
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
                if is_matroska {
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
                let skip = if is_matroska && track.kind == MediaKind::Audio && n == 0 {
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

/// The packets that a reader gets after a seek are those of a reading from the start, from there on.
#[test]
fn seeking_anywhere_gives_the_packets_from_there_on() {
    for clip in CLIPS {
        let mut demuxer = open_clip(clip);
        let all = rest(demuxer.as_mut());
        let tracks = demuxer.tracks().to_vec();
        let has_video = tracks[0].kind == MediaKind::Video;
        let keys: Vec<_> = all.iter().filter(|p| p.track == 0 && p.key).map(|p| p.pts).collect();
        let mut fresh = open_clip(clip);
        for to in [3_500, 0, 15_999, 9_000, -50, 100, 12_345, 1_000_000, 33] {
            let to = MediaTime::from_millis(to);
            for demuxer in [&mut demuxer, &mut fresh] {
                let landed = demuxer.seek(to).unwrap();
                let after = rest(demuxer.as_mut());
                for (idx, track) in tracks.iter().enumerate() {
                    let place = format!("{clip} to {to:?}, track {idx}");
                    let after: Vec<_> = after.iter().filter(|p| p.track == idx).collect();
                    let all: Vec<_> = all.iter().filter(|p| p.track == idx).collect();
                    assert!(after.len() <= all.len(), "{place}");
                    assert_eq!(after, all[all.len() - after.len()..], "{place}");
                    let Some(first) = after.first() else {
                        assert!(to > track.duration.unwrap(), "{place}: nothing left");
                        continue;
                    };
                    if track.kind == MediaKind::Video {
                        let expected = keys.iter().rev().find(|pts| **pts <= to).unwrap_or(&keys[0]);
                        assert_eq!((first.pts, landed), (*expected, *expected), "{place}");
                    } else if has_video {
                        let early = landed - first.pts;
                        assert!(early <= MediaTime::from_millis(130), "{place}: {early:?} early");
                        let settled = landed - MediaTime::from_millis(80);
                        assert!(
                            first.pts <= settled.max(all[0].pts),
                            "{place}: sound begins at {:?}",
                            first.pts
                        );
                    } else {
                        assert_eq!(first.pts, landed, "{place}");
                        assert!(landed <= to.max(all[0].pts), "{place}");
                        let near = to.min(all[all.len() - 1].pts) - landed;
                        assert!(near < MediaTime::from_millis(900), "{place}: {near:?} early");
                    }
                }
            }
        }
    }
}

/// A file with some bytes changed and its end cut off, without a copy of it.
#[derive(Clone)]
struct Broken {
    bytes: std::sync::Arc<[u8]>,
    len: usize,
    changes: Vec<(usize, u8)>,
    pos: u64,
}

impl std::io::Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let start = usize::try_from(self.pos).unwrap_or(usize::MAX).min(self.len);
        let n = buffer.len().min(self.len - start);
        buffer[..n].copy_from_slice(&self.bytes[start..start + n]);
        for (at, byte) in &self.changes {
            if (start..start + n).contains(at) {
                buffer[at - start] = *byte;
            }
        }
        self.pos += n as u64;
        Ok(n)
    }
}

impl std::io::Seek for Broken {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        self.pos = match to {
            std::io::SeekFrom::Start(pos) => pos,
            std::io::SeekFrom::End(offset) => (self.len as i64 + offset) as u64,
            std::io::SeekFrom::Current(offset) => (self.pos as i64 + offset) as u64,
        };
        Ok(self.pos)
    }
}

/// Reads up to `limit` packets. Every error must be one of a damaged file. Says whether the end
/// was reached.
fn exercise(demuxer: &mut dyn Demuxer, limit: usize) -> bool {
    for _ in 0..limit {
        match demuxer.next_packet() {
            Ok(Some(packet)) => {
                assert!(packet.track < demuxer.tracks().len());
                assert!(!packet.data.is_empty());
            }
            Ok(None) => return true,
            Err(
                DemuxError::Damaged { .. }
                | DemuxError::Truncated { .. }
                | DemuxError::Limit { .. }
                | DemuxError::Unsupported { .. },
            ) => {}
            Err(error) => panic!("{error:?} is no error of a damaged file"),
        }
    }
    false
}

/// Where the structure of a clip is dense: headers and indexes.
fn dense(clip: &str, bytes: &[u8]) -> std::ops::Range<usize> {
    let moov = bytes.windows(4).position(|window| window == b"moov");
    match moov {
        Some(at) if clip.ends_with("mp4") => at - 4..(at + 24_000).min(bytes.len()),
        _ => 0..2_000,
    }
}

#[test]
fn damage_is_an_error_or_an_end_and_never_a_panic() {
    let mut random = fastrand::Rng::with_seed(0x7e1e);
    for clip in CLIPS {
        let bytes: std::sync::Arc<[u8]> = bytes_of(clip).into();
        let dense = dense(clip, &bytes);
        for round in 0..60 {
            let mut broken = Broken { bytes: bytes.clone(), len: bytes.len(), changes: Vec::new(), pos: 0 };
            for _ in 0..random.usize(1..8) {
                let at =
                    if round % 3 == 0 { random.usize(0..bytes.len()) } else { random.usize(dense.clone()) };
                // Extreme values find more than random ones.
                let byte = match random.u8(0..4) {
                    0 => 0,
                    1 => 0xff,
                    2 => bytes[at] ^ 1 << random.u8(0..8),
                    _ => random.u8(..),
                };
                broken.changes.push((at, byte));
            }
            let Ok(mut demuxer) = open(Box::new(broken)) else { continue };
            exercise(demuxer.as_mut(), 60);
            let _ = demuxer.seek(MediaTime::from_millis(random.i64(-1000..20_000)));
            exercise(demuxer.as_mut(), 30);
            if round % 12 == 0 {
                // One change can at most cut packets and pages of a whole clip to small pieces.
                assert!(exercise(demuxer.as_mut(), bytes.len()), "{clip}: no end, round {round}");
            }
        }
    }
}

#[test]
fn files_cut_off_anywhere_end_with_a_typed_error() {
    let mut random = fastrand::Rng::with_seed(0xc07);
    for clip in CLIPS {
        let bytes: std::sync::Arc<[u8]> = bytes_of(clip).into();
        let n_whole = rest(open_clip(clip).as_mut()).len();
        for round in 0..16 {
            let len = if round % 2 == 0 { random.usize(1..4096) } else { random.usize(1..bytes.len()) };
            let broken = Broken { bytes: bytes.clone(), len, changes: Vec::new(), pos: 0 };
            let mut demuxer = match open(Box::new(broken)) {
                Ok(demuxer) => demuxer,
                Err(error) => {
                    assert!(!matches!(error, DemuxError::Io(_)), "{clip} cut at {len}: {error:?}");
                    continue;
                }
            };
            let (mut n_packets, mut errors) = (0, Vec::new());
            loop {
                match demuxer.next_packet() {
                    Ok(Some(_)) => n_packets += 1,
                    Ok(None) => break,
                    Err(error) => errors.push(error),
                }
                assert!(errors.len() <= 2, "{clip} cut at {len}: {errors:?}");
            }
            assert!(n_packets <= n_whole, "{clip} cut at {len}");
            // A stream of frames or pages may end anywhere; an mp4 and an mkv say how long they are.
            let tells = clip.ends_with("mp4") || clip.ends_with("mkv");
            let told = errors.iter().any(|error| matches!(error, DemuxError::Truncated { .. }));
            assert!(told || !tells, "{clip} cut at {len}: {n_packets} packets, {errors:?}");
        }
    }
}

#[test]
fn what_is_no_media_is_named() {
    let found = |bytes: &[u8]| match open_bytes(bytes).err().expect("this is no media file") {
        DemuxError::UnknownFormat { found, .. } | DemuxError::Foreign { found } => found,
        other => format!("{other:?}"),
    };
    assert_eq!(found(b"A text file that somebody named film.mp4\n"), "plain text");
    assert_eq!(found(&[0x47; 1000]), "an MPEG transport stream");
    assert!(matches!(open_bytes([]).err(), Some(DemuxError::Empty)));
    let tagged = [&b"ID3\x04\0\0\0\0\0\x05hello"[..], b"fLaC\0\0\0\x22"].concat();
    assert_eq!(found(&tagged), "FLAC, behind an ID3 tag");
    assert_eq!(found(b"\xff\xfb\x90\x64 not really"), "something like mp3, but no two frames in a row");
}

#[test]
fn absurd_counts_are_refused_before_memory_is_taken() {
    // An mp4 whose index claims a billion samples in a kilobyte, and an mkv with an endless block.
    let mut clip = bytes_of("clip.mp4");
    let moov = clip.windows(4).position(|window| window == b"moov").unwrap();
    let stsz = moov + clip[moov..].windows(4).position(|window| window == b"stsz").unwrap();
    clip[stsz + 12..stsz + 16].copy_from_slice(&1_000_000_000_u32.to_be_bytes());
    assert!(matches!(open_bytes(clip.clone()).err(), Some(DemuxError::Damaged { .. })));

    clip[moov - 4..moov].copy_from_slice(&u32::MAX.to_be_bytes());
    let error = open_bytes(clip).err().unwrap();
    assert!(matches!(error, DemuxError::Limit { .. } | DemuxError::Truncated { .. }), "{error:?}");

    let mut clip = bytes_of("clip.mkv");
    let cluster = clip.windows(4).position(|window| window == b"\x1f\x43\xb6\x75").unwrap();
    let block = cluster + clip[cluster..].iter().position(|byte| *byte == 0xa3).unwrap();
    clip[block + 1..block + 9].copy_from_slice(b"\x01\0\0\xff\xff\xff\xff\xff");
    let mut demuxer = open_bytes(clip).unwrap();
    let error = demuxer.next_packet().err().unwrap();
    assert!(matches!(error, DemuxError::Damaged { .. }), "{error:?}");
    assert!(demuxer.next_packet().unwrap().is_some(), "the next cluster is whole");
}

#[test]
fn tracks_are_described() {
    let mp4 = open_clip("clip.mp4");
    let [video, audio] = mp4.tracks() else { panic!("two tracks") };
    assert_eq!(mp4.format(), "mp4");
    assert_eq!((video.kind, &video.codec), (MediaKind::Video, &Codec::H264));
    assert_eq!(video.shape, Shape::Video { width: 1280, height: 720, rotation: 0, pixel: None });
    assert_eq!(
        (&audio.codec, &audio.shape),
        (&Codec::Aac, &Shape::Audio { sample_rate: 48_000, channels: 2 })
    );
    assert!(audio.config.starts_with(&[0x11, 0x90]), "AudioSpecificConfig: {:x?}", audio.config);
    for track in [video, audio] {
        assert_eq!(track.duration, Some(MediaTime::from_secs(20)), "{:?}", track.kind);
    }
    let mkv = open_clip("clip.mkv");
    assert_eq!((mkv.format(), &mkv.tracks()[1].codec), ("matroska", &Codec::Opus));
    assert!(mkv.tracks()[1].config.starts_with(b"OpusHead"));
    let ogg = open_clip("music.ogg");
    assert_eq!((ogg.format(), &ogg.tracks()[0].codec), ("ogg", &Codec::Opus));
    assert_eq!(ogg.tracks()[0].duration, Some(MediaTime::from_secs(16)));
    let mp3 = open_clip("music.mp3");
    assert_eq!((mp3.format(), &mp3.tracks()[0].codec), ("mp3", &Codec::Mp3));
    assert_eq!(mp3.tracks()[0].duration, Some(MediaTime::from_secs(16)));
}

#[test]
fn mkv_times_are_exact_although_the_file_rounds_them() {
    let packets = rest(open_clip("clip.mkv").as_mut());
    let pictures = packets.iter().filter(|packet| packet.track == 0);
    for (n, picture) in pictures.enumerate() {
        assert_eq!(picture.pts, MediaTime::from_rational(n as i64, 1, 30));
        assert_eq!(picture.duration, MediaTime::from_rational(1, 1, 30));
    }
    let sound = packets.iter().filter(|packet| packet.track == 1);
    for (n, packet) in sound.enumerate() {
        assert_eq!(packet.pts.to_ticks(48_000), n as i64 * 960 - 312);
    }
}
