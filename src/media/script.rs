//! A container that a test writes down packet by packet.

use bytes::Bytes;

use super::codec::opus::{CHANNELS, Encoder, EncoderOptions, FRAME_SAMPLES, LOOKAHEAD, SAMPLE_RATE};
use super::demux::{DemuxError, Demuxer, Packet, Shape, Track};
use super::{Codec, MediaKind};
use crate::time::MediaTime;

/// How far ahead of a seek's goal sound goes on.
const PRE_ROLL: MediaTime = MediaTime::from_millis(80);

/// Plays back its packets. Track 0 and 1 are whatever the test says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(crate) tracks: Vec<Track>,
    pub(crate) packets: Vec<Packet>,
    /// Before which packets there is damage.
    pub(crate) damaged_before: Vec<usize>,
    next: usize,
    told: Option<usize>,
}

impl Script {
    /// Interleaved by decoding time.
    pub(crate) fn new(tracks: &[Track], packets: &[&[Packet]]) -> Self {
        let mut all: Vec<Packet> = packets.concat();
        all.sort_by_key(|packet| packet.dts.unwrap_or(packet.pts));
        Self::in_file_order(tracks, all)
    }

    /// As they are.
    pub(crate) fn in_file_order(tracks: &[Track], packets: Vec<Packet>) -> Self {
        Self { tracks: tracks.to_vec(), packets, ..Self::default() }
    }
}

impl Demuxer for Script {
    fn format(&self) -> &'static str {
        "script"
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, DemuxError> {
        if self.damaged_before.contains(&self.next) && self.told != Some(self.next) {
            self.told = Some(self.next);
            return Err(DemuxError::Damaged {
                format: "script",
                what: format!("before packet {}", self.next),
            });
        }
        let packet = self.packets.get(self.next).cloned();
        self.next += 1;
        Ok(packet)
    }

    fn seek(&mut self, to: MediaTime) -> Result<MediaTime, DemuxError> {
        let kind_of = |packet: &Packet| self.tracks[packet.track].kind;
        let video = |packet: &&Packet| kind_of(packet) == MediaKind::Video;
        let keys = || self.packets.iter().filter(video).filter(|packet| packet.key);
        let landed =
            keys().rfind(|packet| packet.pts <= to).or_else(|| keys().next()).map(|packet| packet.pts);
        let place = landed.unwrap_or(to);
        let wanted = |packet: &Packet| match kind_of(packet) {
            MediaKind::Video => packet.pts >= place,
            MediaKind::Audio => packet.pts + packet.duration > place - PRE_ROLL,
        };
        self.next = self.packets.iter().position(wanted).unwrap_or(self.packets.len());
        Ok(landed.or_else(|| self.packets.get(self.next).map(|packet| packet.pts)).unwrap_or(to))
    }
}

/// An Opus track as a muxer announces it.
pub(crate) fn opus_track(output_gain: i16) -> Track {
    let gain = output_gain.to_le_bytes();
    let config = [&b"OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00"[..], &gain, &[0]].concat();
    Track {
        kind: MediaKind::Audio,
        codec: Codec::Opus,
        duration: None,
        language: None,
        config: config.into(),
        shape: Shape::Audio { sample_rate: SAMPLE_RATE, channels: 2 },
    }
}

/// Stereo at 48 kHz as an encoder and a muxer make an Opus track of it: pre-skip before zero.
pub(crate) fn opus_packets(track: usize, stereo: &[f32]) -> Vec<Packet> {
    let n_samples = stereo.len() / CHANNELS;
    let n_packets = (n_samples + LOOKAHEAD).div_ceil(FRAME_SAMPLES);
    let mut input = stereo.to_vec();
    input.resize(n_packets * FRAME_SAMPLES * CHANNELS, 0.0);
    let mut encoder = Encoder::new(EncoderOptions::default()).unwrap();
    let packet = |(index, frame): (usize, &[f32])| Packet {
        track,
        pts: MediaTime::from_ticks((index * FRAME_SAMPLES) as i64 - LOOKAHEAD as i64, SAMPLE_RATE),
        dts: None,
        duration: MediaTime::from_millis(20),
        key: true,
        trim_start: if index == 0 { LOOKAHEAD as u32 } else { 0 },
        trim_end: if index + 1 == n_packets {
            (n_packets * FRAME_SAMPLES - LOOKAHEAD - n_samples) as u32
        } else {
            0
        },
        data: encoder.encode(frame).unwrap(),
    };
    input.chunks(FRAME_SAMPLES * CHANNELS).enumerate().map(packet).collect()
}

/// An H.264 track that announces `sps`.
pub(crate) fn h264_track(sps: &[u8]) -> Track {
    Track {
        kind: MediaKind::Video,
        codec: Codec::H264,
        duration: None,
        language: None,
        config: annex_b(&[sps]),
        shape: Shape::Video { width: 640, height: 368, rotation: 0, pixel: None },
    }
}

/// A sequence parameter set without VUI, so without any promise about the order of pictures.
pub(crate) fn sps(profile_idc: u8, frame_mbs_only: bool) -> Vec<u8> {
    // Id 0.
    let mut bits = "1".to_owned();
    if profile_idc >= 100 {
        // 4:2:0, 8 bits, 8 bits, no bypass, no scaling matrix.
        bits += "0101100";
    }
    // log2_max_frame_num 4, POC type 0 with 4 bits, 1 reference, no gaps.
    bits += "1110100";
    // 40 × 23 macroblocks.
    bits += "00000101000000010111";
    bits += if frame_mbs_only { "1" } else { "00" };
    // Direct 8×8 inference, no cropping, no VUI, stop bit.
    bits += "1001";
    while !bits.len().is_multiple_of(8) {
        bits.push('0');
    }
    let payload =
        bits.as_bytes().chunks(8).map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | (bit - b'0')));
    [0x67, profile_idc, 0, 31].into_iter().chain(payload).collect()
}

/// Constrained baseline.
pub(crate) fn baseline() -> Vec<u8> {
    sps(66, true)
}

/// What a picture of a script is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Picture {
    Idr,
    P,
    B,
}

/// Pictures in decoding order with the slot of 40 ms that each is shown in.
pub(crate) fn pictures(track: usize, sps: &[u8], order: &[(Picture, i64)]) -> Vec<Packet> {
    let packet = |(index, (picture, shown)): (usize, &(Picture, i64))| {
        // first_mb 0, slice_type 7, 5 or 6, and a byte that tells pictures apart.
        let number = index as u8 | 0x80;
        let data = match picture {
            Picture::Idr => annex_b(&[sps, &[0x68, 0xce, 0x3c, 0x80], &[0x65, 0x88, number]]),
            Picture::P => annex_b(&[&[0x41, 0x9a, number]]),
            Picture::B => annex_b(&[&[0x01, 0x9e, number]]),
        };
        Packet {
            track,
            pts: MediaTime::from_millis(40 * shown),
            dts: Some(MediaTime::from_millis(40 * (index as i64).min(*shown))),
            duration: MediaTime::from_millis(40),
            key: *picture == Picture::Idr,
            trim_start: 0,
            trim_end: 0,
            data,
        }
    };
    order.iter().enumerate().map(packet).collect()
}

/// `n` pictures in order, an IDR every `gop`.
pub(crate) fn in_order(n: i64, gop: i64) -> Vec<(Picture, i64)> {
    (0..n).map(|index| (if index % gop == 0 { Picture::Idr } else { Picture::P }, index)).collect()
}

fn annex_b(nals: &[&[u8]]) -> Bytes {
    nals.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect()
}
