//! One `TrackEntry` → a track, and its blocks → packets.

use bytes::{Bytes, BytesMut};

use super::block::Block;
use super::ebml::{Elements, Id, child, float, text, unsigned};
use super::times::{Flow, Grid, exact_frame_duration};
use crate::media::codec::h264::{AnnexB, AvcConfig};
use crate::media::codec::opus;
use crate::media::codec::pcm::PcmLayout;
use crate::media::demux::audio::{AacSound, PacketLength, stream_info, trims};
use crate::media::demux::{Packet, Shape, Track, is_key};
use crate::media::pixel::PixelAspect;
use crate::media::{Codec, MediaKind};
use crate::time::MediaTime;

const TRACK_NUMBER: Id = 0xd7;
const TRACK_TYPE: Id = 0x83;
const CODEC_ID: Id = 0x86;
const CODEC_PRIVATE: Id = 0x63a2;
const CODEC_DELAY: Id = 0x56aa;
const DEFAULT_DURATION: Id = 0x0023_e383;
const LANGUAGE: Id = 0x0022_b59c;
const VIDEO: Id = 0xe0;
const PIXEL_WIDTH: Id = 0xb0;
const PIXEL_HEIGHT: Id = 0xba;
const DISPLAY_WIDTH: Id = 0x54b0;
const DISPLAY_HEIGHT: Id = 0x54ba;
const AUDIO: Id = 0xe1;
const SAMPLING_FREQUENCY: Id = 0xb5;
const OUTPUT_SAMPLING_FREQUENCY: Id = 0x78b5;
const CHANNELS: Id = 0x9f;
const BIT_DEPTH: Id = 0x6264;
const CONTENT_ENCODINGS: Id = 0x6d80;
const CONTENT_ENCODING: Id = 0x6240;
const CONTENT_COMPRESSION: Id = 0x5034;
const CONTENT_COMP_ALGO: Id = 0x4254;
const CONTENT_COMP_SETTINGS: Id = 0x4255;
const CONTENT_ENCRYPTION: Id = 0x5035;

/// Where a block stands in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockTime {
    pub(super) time: MediaTime,
    /// One tick of the segment: how far times are rounded.
    pub(super) tick: MediaTime,
    /// What `BlockDuration` says.
    pub(super) duration: Option<MediaTime>,
}

/// A track being read.
#[derive(Debug)]
pub(super) struct MatroskaTrack {
    /// What blocks call it.
    pub(super) number: u64,
    pub(super) track: Track,
    annexb: Option<AnnexB>,
    length: Option<PacketLength>,
    /// Bytes that every frame begins with, kept once here (header stripping).
    prefix: Bytes,
    /// How much earlier sound is heard than its blocks say, for the decoder's delay.
    codec_delay: MediaTime,
    /// What is thrown away at the start: the delay, or the pre-skip where the file lacks it.
    priming: MediaTime,
    /// When sound begins to be heard; known from the first block on.
    heard_from: Option<MediaTime>,
    grid: Option<Grid>,
    flow: Flow,
}

impl MatroskaTrack {
    /// `Ok(None)` for tracks that are neither sound nor pictures.
    pub(super) fn parse(entry: &Bytes) -> Result<Option<Self>, String> {
        let number = |id| child(entry, id).and_then(|value| unsigned(&value));
        let track_number = number(TRACK_NUMBER).ok_or("a track has no number")?;
        let kind = match number(TRACK_TYPE) {
            Some(1) => MediaKind::Video,
            Some(2) => MediaKind::Audio,
            _ => return Ok(None),
        };
        let codec_id = text(&child(entry, CODEC_ID).ok_or("a track does not say how it is coded")?);
        let language = child(entry, LANGUAGE).map(|value| text(&value));
        let nanos = |id| number(id).and_then(|nanos| i64::try_from(nanos).ok()).map(MediaTime::from_nanos);
        let codec_delay = nanos(CODEC_DELAY).unwrap_or_default();
        let mut this = Self {
            number: track_number,
            track: Track {
                kind,
                codec: Codec::Unknown(codec_id.clone()),
                duration: None,
                language: language.filter(|language| language.len() == 3 && language != "und"),
                config: child(entry, CODEC_PRIVATE).unwrap_or_default(),
                shape: shape(kind, entry),
            },
            annexb: None,
            length: None,
            prefix: Bytes::new(),
            codec_delay,
            priming: codec_delay,
            heard_from: None,
            grid: None,
            flow: Flow::new(1),
        };
        if let Some(obstacle) = this.apply_encodings(entry) {
            this.track.codec = Codec::Unknown(format!("{codec_id}, {obstacle}"));
            return Ok(Some(this));
        }
        this.apply_codec(&codec_id, entry)
            .ok_or_else(|| format!("the configuration of the {codec_id} track is damaged"))?;
        if let Shape::Audio { sample_rate, .. } = this.track.shape {
            this.flow = Flow::new(sample_rate);
        } else if let Some(nanos) = number(DEFAULT_DURATION).filter(|nanos| *nanos > 0) {
            this.grid = Some(Grid::new(exact_frame_duration(nanos)));
        }
        Ok(Some(this))
    }

    pub(super) const fn is_known(&self) -> bool {
        !matches!(self.track.codec, Codec::Unknown(_))
    }

    /// Whether decoding can start at a block.
    pub(super) fn is_key(&self, block: &Block) -> bool {
        block.frames.first().is_some_and(|frame| {
            let frame = self.whole(frame);
            match &self.annexb {
                Some(annexb) => annexb.is_key(&frame),
                None => is_key(&self.track.codec, &frame),
            }
        })
    }

    /// The time on the clock of the item that a block's own time means, before it is made exact.
    pub(super) fn rough_pts(&self, time: MediaTime) -> MediaTime {
        time - self.codec_delay
    }

    /// The packets of a block; the error says what is wrong with a frame of it.
    pub(super) fn packets(
        &mut self,
        idx: usize,
        block: &Block,
        at: BlockTime,
    ) -> Result<Vec<Packet>, String> {
        let mut packets = Vec::with_capacity(block.frames.len());
        let mut rough = self.rough_pts(at.time);
        for (nth, frame) in block.frames.iter().enumerate() {
            let data = self.whole(frame);
            let is_last = nth + 1 == block.frames.len();
            let packet = match self.track.shape {
                Shape::Video { .. } => self.picture(idx, rough, data, at)?,
                Shape::Audio { sample_rate, .. } => {
                    let padding = if is_last { block.discard_padding } else { 0 };
                    self.sound(idx, rough, data, at, (sample_rate, padding))
                }
            };
            rough = packet.pts + packet.duration;
            if !packet.data.is_empty() {
                packets.push(packet);
            }
        }
        Ok(packets)
    }

    /// Whether the first block of the track has told where its times begin.
    pub(super) const fn knows_its_start(&self) -> bool {
        match self.track.kind {
            MediaKind::Audio => self.length.is_none() || self.heard_from.is_some(),
            MediaKind::Video => true,
        }
    }

    /// After a jump, sound does not go on where it was.
    pub(super) const fn jumped(&mut self) {
        self.flow.jumped();
    }

    fn picture(
        &mut self,
        idx: usize,
        rough: MediaTime,
        data: Bytes,
        at: BlockTime,
    ) -> Result<Packet, String> {
        let (data, key) = if let Some(annexb) = &mut self.annexb {
            let unit = annexb.convert(&data).map_err(|error| error.to_string())?;
            (unit.data, unit.key)
        } else {
            let key = is_key(&self.track.codec, &data);
            (data, key)
        };
        let step = self.grid.map(|grid| grid.step());
        let said = at.duration.filter(|said| step.is_none_or(|step| (step - *said).abs() > at.tick));
        Ok(Packet {
            track: idx,
            pts: self.grid.as_mut().map_or(rough, |grid| grid.snap(rough, at.tick)),
            dts: None,
            duration: said.or(step).unwrap_or_default(),
            key,
            trim_start: 0,
            trim_end: 0,
            data,
        })
    }

    /// `rate_padding`: the track's sample rate, and nanoseconds to throw away.
    fn sound(
        &mut self,
        idx: usize,
        rough: MediaTime,
        data: Bytes,
        at: BlockTime,
        (rate, padding): (u32, i64),
    ) -> Packet {
        let mut packet = Packet {
            track: idx,
            pts: rough,
            dts: None,
            duration: at.duration.unwrap_or_default(),
            key: true,
            trim_start: 0,
            trim_end: 0,
            data,
        };
        if let Some(samples) = self.length.and_then(|length| length.samples(&packet.data)) {
            packet.pts = self.flow.snap(rough, samples, at.tick);
            packet.duration = MediaTime::from_ticks(samples.into(), rate);
            let mut heard_from = *self.heard_from.get_or_insert(packet.pts + self.priming);
            let mut until = None;
            if padding > 0 {
                until = Some(packet.pts + packet.duration - MediaTime::from_nanos(padding));
            } else if padding < 0 {
                heard_from = heard_from.max(packet.pts - MediaTime::from_nanos(padding));
            }
            (packet.trim_start, packet.trim_end) = trims(packet.pts, samples, rate, heard_from, until);
        }
        packet
    }

    /// A frame with the bytes that the file keeps once for all.
    fn whole(&self, frame: &Bytes) -> Bytes {
        if self.prefix.is_empty() {
            return frame.clone();
        }
        let mut whole = BytesMut::with_capacity(self.prefix.len() + frame.len());
        whole.extend_from_slice(&self.prefix);
        whole.extend_from_slice(frame);
        whole.freeze()
    }

    fn apply_codec(&mut self, codec_id: &str, entry: &Bytes) -> Option<()> {
        let track = &mut self.track;
        match codec_id {
            "V_MPEG4/ISO/AVC" => {
                let avc = AvcConfig::parse(&track.config).ok()?;
                if let Some(sps) = avc.first_sps() {
                    if let Shape::Video { width, height, .. } = &mut track.shape {
                        (*width, *height) = (sps.width, sps.height);
                    }
                    self.grid = sps.frame_duration.map(Grid::new);
                }
                track.codec = Codec::H264;
                track.config = avc.to_annex_b();
                self.annexb = Some(AnnexB::new(&avc));
            }
            "V_VP8" => track.codec = Codec::Vp8,
            "V_VP9" => track.codec = Codec::Vp9,
            "A_OPUS" => {
                let head = opus::Head::parse(&track.config).ok()?;
                track.codec = Codec::Opus;
                track.shape =
                    Shape::Audio { sample_rate: opus::SAMPLE_RATE, channels: u16::from(head.channels) };
                self.length = Some(PacketLength::Opus);
                self.priming =
                    self.codec_delay.max(MediaTime::from_ticks(head.pre_skip.into(), opus::SAMPLE_RATE));
            }
            "A_AAC" => {
                let Shape::Audio { sample_rate, channels } = track.shape else { return None };
                let sound = AacSound::new(&track.config, sample_rate, channels);
                track.codec = Codec::Aac;
                track.shape = Shape::Audio { sample_rate: sound.sample_rate, channels: sound.channels };
                self.length = Some(PacketLength::Fixed(sound.frame));
            }
            "A_MPEG/L3" => {
                track.codec = Codec::Mp3;
                self.length = Some(PacketLength::Mp3);
            }
            "A_VORBIS" => track.codec = Codec::Vorbis,
            "A_FLAC" => {
                track.config = stream_info(track.config.strip_prefix(b"fLaC")?)?;
                track.codec = Codec::Flac;
            }
            "A_ALAC" => track.codec = Codec::Alac,
            _ => {
                if let Some(layout) = pcm(codec_id, entry)
                    && let Shape::Audio { channels, .. } = track.shape
                {
                    track.codec = Codec::Pcm(layout);
                    self.length = Some(PacketLength::Pcm(layout.sample_bytes() * u32::from(channels)));
                }
            }
        }
        Some(())
    }

    /// Header stripping is undone; anything else is named and makes the track unreadable.
    fn apply_encodings(&mut self, entry: &Bytes) -> Option<&'static str> {
        let encodings = child(entry, CONTENT_ENCODINGS)?;
        for (id, encoding) in Elements(encodings) {
            if id != CONTENT_ENCODING {
                continue;
            }
            if child(&encoding, CONTENT_ENCRYPTION).is_some() {
                return Some("encrypted");
            }
            let compression = child(&encoding, CONTENT_COMPRESSION).unwrap_or_default();
            let algorithm = child(&compression, CONTENT_COMP_ALGO).and_then(|value| unsigned(&value));
            match algorithm.unwrap_or(0) {
                3 => self.prefix = child(&compression, CONTENT_COMP_SETTINGS).unwrap_or_default(),
                _ => return Some("compressed by the container"),
            }
        }
        None
    }
}

/// How samples lie that are not coded; nothing for all else. Those of 8 bits have no sign.
fn pcm(codec_id: &str, entry: &Bytes) -> Option<PcmLayout> {
    let bits = unsigned(&child(&child(entry, AUDIO)?, BIT_DEPTH)?)?;
    let name = match (codec_id, bits) {
        ("A_PCM/INT/LIT" | "A_PCM/INT/BIG", 8) => "pcm_u8".to_owned(),
        ("A_PCM/INT/LIT", bits) => format!("pcm_s{bits}le"),
        ("A_PCM/INT/BIG", bits) => format!("pcm_s{bits}be"),
        ("A_PCM/FLOAT/IEEE", bits) => format!("pcm_f{bits}le"),
        _ => return None,
    };
    PcmLayout::by_name(&name)
}

/// How wide a pixel is, from the size that is stored and the one that is to be shown; whatever unit
/// that is in, its proportions count.
fn pixel_aspect(stored: (u32, u32), shown: (u32, u32)) -> Option<PixelAspect> {
    let times = |a: u32, b: u32| a.checked_mul(b);
    let (width, height) = (times(shown.0, stored.1)?, times(shown.1, stored.0)?);
    PixelAspect::new(width, height)
}

fn shape(kind: MediaKind, entry: &Bytes) -> Shape {
    match kind {
        MediaKind::Video => {
            let video = child(entry, VIDEO).unwrap_or_default();
            let pixels = |id| {
                let pixels = child(&video, id).and_then(|value| unsigned(&value));
                pixels.and_then(|pixels| u32::try_from(pixels).ok()).unwrap_or(0)
            };
            let (width, height) = (pixels(PIXEL_WIDTH), pixels(PIXEL_HEIGHT));
            let shown = (pixels(DISPLAY_WIDTH), pixels(DISPLAY_HEIGHT));
            Shape::Video { width, height, rotation: 0, pixel: pixel_aspect((width, height), shown) }
        }
        MediaKind::Audio => {
            let audio = child(entry, AUDIO).unwrap_or_default();
            let rate = |id| child(&audio, id).and_then(|value| float(&value)).filter(|rate| *rate > 0.0);
            let rate = rate(OUTPUT_SAMPLING_FREQUENCY).or_else(|| rate(SAMPLING_FREQUENCY)).unwrap_or(8000.0);
            // A cast of a float saturates, so that no number in the file can hurt.
            let rate = rate as u32;
            let channels = child(&audio, CHANNELS).and_then(|value| unsigned(&value)).unwrap_or(1);
            Shape::Audio { sample_rate: rate, channels: u16::try_from(channels).unwrap_or(u16::MAX) }
        }
    }
}
