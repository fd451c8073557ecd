//! What the fuzz targets do with their bytes. `tests/it/fuzz.rs` does the same with the kept corpus,
//! so nothing here needs a fuzzer.

use std::collections::VecDeque;
use std::io::Cursor;

use bytes::Bytes;
use telecast::media::codec::h264::{self, AnnexB, AvcConfig, ReorderWatch, Sps};
use telecast::media::codec::opus::{self, Repacker};
use telecast::media::codec::pcm::PcmLayout;
use telecast::media::demux::{self, DemuxError, Demuxer, Packet, Shape, Track};
use telecast::media::{Codec, MediaKind, Reader, ReaderOptions};
use telecast::rtp::packetize;
use telecast::time::MediaTime;

/// Every target; its corpus has its name.
#[allow(dead_code, reason = "a target runs itself, the gate runs all")]
pub(crate) const TARGETS: [&str; 12] = [
    "demux_mp4",
    "demux_matroska",
    "demux_ogg",
    "demux_mp3",
    "demux_flac",
    "demux_wav",
    "demux_aiff",
    "demux_ivf",
    "demux_h264",
    "plan",
    "packetize",
    "bits",
];

/// Errors that may follow each other while nothing is read.
const MAX_ERRORS: usize = 200_000;
/// Frames that are read of an item.
const N_FRAMES: usize = 300;

/// Runs one target.
pub(crate) fn run(target: &str, data: &[u8]) {
    match target {
        "demux_mp4" => demux(&[(4, b"ftyp")], data),
        "demux_matroska" => demux(&[(0, b"\x1a\x45\xdf\xa3")], data),
        "demux_ogg" => demux(&[(0, b"OggS")], data),
        "demux_mp3" => demux(&[(0, b"ID3")], data),
        "demux_flac" => demux(&[(0, b"fLaC")], data),
        "demux_wav" => demux(&[(0, b"RIFF"), (8, b"WAVE")], data),
        "demux_aiff" => demux(&[(0, b"FORM"), (8, b"AIFF")], data),
        "demux_ivf" => demux(&[(0, b"DKIF")], data),
        "demux_h264" => demux(&[(0, b"\0\0\0\x01\x67")], data),
        "plan" => plan(data),
        "packetize" => packetize(data),
        "bits" => bits(data),
        unknown => panic!("there is no target {unknown}"),
    }
}

/// Reads a file with the demuxer that its first bytes choose: `magic` puts them where they belong.
fn demux(magic: &[(usize, &[u8])], data: &[u8]) {
    let mut bytes = data.to_vec();
    for (at, word) in magic {
        let Some(place) = bytes.get_mut(*at..at + word.len()) else { return };
        place.copy_from_slice(word);
    }
    let bytes: Bytes = bytes.into();
    let Ok(mut demuxer) = demux::open(Box::new(Cursor::new(bytes.clone()))) else { return };
    let n_tracks = demuxer.tracks().len();
    let read = |demuxer: &mut dyn Demuxer, most: usize| {
        let (mut n_errors, mut n_bytes) = (0, 0);
        for _ in 0..most {
            match demuxer.next_packet() {
                Ok(Some(packet)) => {
                    assert!(packet.track < n_tracks, "a packet of no track");
                    n_bytes += packet.data.len();
                    n_errors = 0;
                }
                Ok(None) => return n_bytes,
                Err(_) => n_errors += 1,
            }
            assert!(n_errors < MAX_ERRORS, "errors without end");
        }
        n_bytes
    };
    read(demuxer.as_mut(), usize::MAX);
    for to in [0, 1, -1, 500, i64::MAX / 1_000_000] {
        // After an end, after errors, to nowhere.
        if demuxer.seek(MediaTime::from_millis(to)).is_ok() {
            read(demuxer.as_mut(), 20);
        }
    }
    let mut options = ReaderOptions::default();
    options.plan.video = false;
    if let Ok(mut reader) = Reader::from_source(Box::new(Cursor::new(bytes)), "fuzz", options) {
        play(&mut reader);
    }
}

/// Frames come in order and are none without bytes.
fn play(reader: &mut Reader) {
    let (mut heard, mut seen) = (None, None);
    for nth in 0..N_FRAMES {
        let Ok(Some(frame)) = reader.next_frame() else { break };
        assert!(!frame.data.is_empty(), "a frame of nothing");
        let last = if frame.kind == MediaKind::Audio { &mut heard } else { &mut seen };
        assert!(last.is_none_or(|last| last < frame.pts), "{:?} after {last:?}", frame.pts);
        *last = Some(frame.pts);
        if nth == N_FRAMES / 2 && reader.seek(MediaTime::ZERO).is_ok() {
            (heard, seen) = (None, None);
        }
    }
}

/// A container that the bytes describe.
struct Script {
    tracks: Vec<Track>,
    packets: Vec<Packet>,
    next: usize,
}

impl Demuxer for Script {
    fn format(&self) -> &'static str {
        "script"
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, DemuxError> {
        self.next += 1;
        Ok(self.packets.get(self.next - 1).cloned())
    }

    fn seek(&mut self, to: MediaTime) -> Result<MediaTime, DemuxError> {
        self.next = self.packets.iter().position(|packet| packet.pts >= to).unwrap_or(0);
        Ok(self.packets.get(self.next).map_or(MediaTime::ZERO, |packet| packet.pts))
    }
}

/// Takes `n` bytes; fewer at the end.
fn take<'a>(data: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (front, rest) = data.split_at(n.min(data.len()));
    *data = rest;
    front
}

fn byte(data: &mut &[u8]) -> u8 {
    take(data, 1).first().copied().unwrap_or(0)
}

/// The first bytes choose two tracks, each packet is six bytes of header and its bytes.
fn plan(mut data: &[u8]) {
    let [picture, sound, rate, channels] = [(); 4].map(|()| byte(&mut data));
    let video = match picture % 4 {
        0 => Codec::H264,
        1 => Codec::Vp8,
        2 => Codec::Vp9,
        _ => Codec::Unknown("hevc".to_owned()),
    };
    let audio = match sound % 6 {
        0 => Codec::Opus,
        1 => Codec::Aac,
        2 => Codec::Mp3,
        3 => Codec::Pcm(PcmLayout::S16LE),
        4 => Codec::Flac,
        _ => Codec::Unknown("ac3".to_owned()),
    };
    let config_len = usize::from(byte(&mut data));
    let config = Bytes::copy_from_slice(take(&mut data, config_len));
    let sample_rate = [48_000, 44_100, 8000, u32::from(rate) * 1000][usize::from(rate % 4)];
    let track = |kind, codec, shape| Track {
        kind,
        codec,
        duration: None,
        language: None,
        config: config.clone(),
        shape,
    };
    let tracks = vec![
        track(MediaKind::Video, video, Shape::Video { width: 320, height: 180, rotation: 90, pixel: None }),
        track(MediaKind::Audio, audio, Shape::Audio { sample_rate, channels: u16::from(channels % 9) }),
    ];
    let mut packets = Vec::new();
    let mut now = 0_i64;
    while !data.is_empty() {
        let [flags, step, duration, trim, len, more] = [(); 6].map(|()| byte(&mut data));
        now += i64::from(step.cast_signed()) * if flags & 8 == 0 { 1 } else { 100_000 };
        let body = take(&mut data, usize::from(len) + usize::from(more & 3) * 256);
        packets.push(Packet {
            track: usize::from(flags & 1),
            pts: MediaTime::from_millis(now),
            dts: (flags & 2 != 0).then_some(MediaTime::from_millis(now)),
            duration: MediaTime::from_millis(duration.into()),
            key: flags & 4 != 0,
            trim_start: if flags & 16 == 0 { 0 } else { u32::from(trim) * 8 },
            trim_end: if flags & 32 == 0 { 0 } else { u32::from(trim) * 8 },
            data: Bytes::copy_from_slice(body),
        });
    }
    let mut options = ReaderOptions::default();
    options.plan.video = picture & 0x80 == 0;
    options.plan.audio = sound & 0x80 == 0;
    let script = Script { tracks, packets, next: 0 };
    if let Ok(mut reader) = Reader::new(Box::new(script), "fuzz", options) {
        play(&mut reader);
    }
}

/// No payload is empty or longer than allowed, and VP8 and VP9 come whole.
fn packetize(mut data: &[u8]) {
    let kind = byte(&mut data);
    let max_payload = usize::from(byte(&mut data)) * 8 + 16;
    let frame = Bytes::copy_from_slice(data);
    let mut out = VecDeque::new();
    let descriptor = match kind % 4 {
        0 => {
            packetize::h264(&frame, max_payload, &mut out);
            None
        }
        1 => {
            packetize::vp8(&frame, u16::from(kind) << 8, max_payload, &mut out);
            Some(4)
        }
        2 => {
            packetize::vp9(&frame, kind & 4 != 0, u16::from(kind) << 8, max_payload, &mut out);
            Some(3)
        }
        _ => {
            packetize::opus(&frame, &mut out);
            assert!(out.len() <= 1 && out.iter().all(|payload| payload.to_bytes() == frame));
            return;
        }
    };
    for payload in &out {
        assert!(!payload.is_empty() && payload.len() <= max_payload, "{} of {max_payload}", payload.len());
    }
    if let Some(descriptor) = descriptor {
        let bodies: Vec<u8> =
            out.iter().flat_map(|payload| payload.to_bytes()[descriptor..].to_vec()).collect();
        assert_eq!(bodies, frame);
    }
}

/// What is read of coded bits: H.264 in both of its forms, and Opus.
fn bits(mut data: &[u8]) {
    let config_len = usize::from(byte(&mut data));
    let config = take(&mut data, config_len);
    let _: Option<Sps> = Sps::parse(config);
    if let Ok(config) = AvcConfig::parse(config) {
        let mut converter = AnnexB::new(&config);
        let (mut watch, mut pts) = (ReorderWatch::new(), MediaTime::ZERO);
        for sample in data.chunks(200) {
            if let Ok(unit) = converter.convert(sample) {
                assert_eq!(unit.key, converter.is_key(sample));
                watch.push(pts, &unit.data);
                h264::refreshes_slowly(&unit.data);
            }
            pts += MediaTime::from_millis(40);
        }
    }
    drop(opus::Head::parse(data));
    let mut repacker = Repacker::new(MediaTime::ZERO).expect("libopus has memory for a repacketizer");
    let mut pts = MediaTime::ZERO;
    while !data.is_empty() {
        let len = usize::from(byte(&mut data));
        let body = Bytes::copy_from_slice(take(&mut data, len));
        let duration = opus::Shape::of(&body).map_or(MediaTime::ZERO, opus::Shape::duration);
        let packet =
            Packet { track: 0, pts, dts: None, duration, key: true, trim_start: 0, trim_end: 0, data: body };
        pts += duration;
        repacker.push(packet);
    }
    repacker.flush();
}
