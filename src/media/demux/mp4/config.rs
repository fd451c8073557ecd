//! A sample description (`stsd` entry) → what a track is and how its packets are read.

use bytes::{BufMut, Bytes, BytesMut};

use super::boxes::{Boxes, Fields, FourCc, child, descend};
use crate::media::codec::h264::{AnnexB, AvcConfig};
use crate::media::codec::opus;
use crate::media::demux::Shape;
use crate::media::demux::audio::{AacSound, PacketLength, stream_info};
use crate::media::pixel::PixelAspect;
use crate::media::{Codec, MediaKind};

/// What the description of one track's samples says.
#[derive(Debug)]
pub(super) struct SampleEntry {
    pub(super) codec: Codec,
    pub(super) config: Bytes,
    pub(super) shape: Shape,
    /// For H.264.
    pub(super) annexb: Option<AnnexB>,
    /// For sound that is known.
    pub(super) length: Option<PacketLength>,
    /// Samples of priming, at the track's rate, for files that have no edit list to say it.
    pub(super) priming: u32,
}

/// Bytes of a visual sample entry before its boxes.
const VISUAL_FIELDS: usize = 78;
/// Bytes of an audio sample entry before its boxes, and what QuickTime's versions add.
const AUDIO_FIELDS: usize = 28;
const QUICKTIME_V1_FIELDS: usize = 16;
const QUICKTIME_V2_FIELDS: usize = 36;

impl SampleEntry {
    /// The first entry of `stsd`; the error says what is wrong with it.
    pub(super) fn parse(stsd: &Bytes, kind: MediaKind, quicktime: bool) -> Result<Self, String> {
        let entries = stsd.get(8..).map(|rest| stsd.slice_ref(rest));
        let entry = entries.and_then(|entries| Boxes::of(entries).next());
        let (format, entry) = entry.ok_or("a track has no description of its samples (stsd)")?;
        let parsed = match kind {
            MediaKind::Video => Self::parse_video(format, &entry),
            MediaKind::Audio => Self::parse_audio(format, &entry, quicktime),
        };
        parsed.ok_or_else(|| format!("the description of the {format} track (stsd) is damaged"))
    }

    fn parse_video(format: FourCc, entry: &Bytes) -> Option<Self> {
        let mut fields = Fields(entry);
        fields.skip(24)?;
        let (width, height) = (u32::from(fields.u16()?), u32::from(fields.u16()?));
        let boxes = entry.get(VISUAL_FIELDS..).map_or_else(Bytes::new, |rest| entry.slice_ref(rest));
        let mut this = Self {
            codec: Codec::Unknown(format.to_string()),
            config: Bytes::new(),
            shape: Shape::Video { width, height, rotation: 0, pixel: None },
            annexb: None,
            length: None,
            priming: 0,
        };
        match &format.0 {
            b"avc1" | b"avc2" | b"avc3" | b"avc4" => {
                let avc = AvcConfig::parse(&child(&boxes, b"avcC")?).ok()?;
                this.codec = Codec::H264;
                this.config = avc.to_annex_b();
                this.annexb = Some(AnnexB::new(&avc));
                if let Some(sps) = avc.first_sps() {
                    this.shape =
                        Shape::Video { width: sps.width, height: sps.height, rotation: 0, pixel: None };
                }
            }
            b"vp08" => this.codec = Codec::Vp8,
            b"vp09" => this.codec = Codec::Vp9,
            _ => {}
        }
        if let (Shape::Video { pixel, .. }, Some(pasp)) = (&mut this.shape, child(&boxes, b"pasp")) {
            let mut fields = Fields(&pasp);
            *pixel =
                fields.u32().zip(fields.u32()).and_then(|(width, height)| PixelAspect::new(width, height));
        }
        Some(this)
    }

    fn parse_audio(format: FourCc, entry: &Bytes, quicktime: bool) -> Option<Self> {
        let mut fields = Fields(entry);
        fields.skip(8)?;
        let version = fields.u16()?;
        fields.skip(6)?;
        let mut channels = fields.u16()?;
        fields.skip(6)?;
        let mut sample_rate = fields.u32()? >> 16;
        let mut before_boxes = AUDIO_FIELDS;
        match version {
            1 if quicktime => before_boxes += QUICKTIME_V1_FIELDS,
            2 => {
                before_boxes += QUICKTIME_V2_FIELDS;
                fields.skip(4)?;
                let rate = f64::from_bits(fields.u64()?);
                // A cast of a float saturates, so that no number in the file can hurt.
                sample_rate = rate as u32;
                channels = u16::try_from(fields.u32()?).ok()?;
            }
            _ => {}
        }
        let boxes = entry.get(before_boxes..).map_or_else(Bytes::new, |rest| entry.slice_ref(rest));
        let mut this = Self {
            codec: Codec::Unknown(format.to_string()),
            config: Bytes::new(),
            shape: Shape::Audio { sample_rate, channels },
            annexb: None,
            length: None,
            priming: 0,
        };
        match &format.0 {
            b"mp4a" => {
                let esds = child(&boxes, b"esds").or_else(|| descend(&boxes, &[b"wave", b"esds"]))?;
                this.apply_esds(&esds)?;
            }
            b".mp3" | b"ms\0\x55" => this.become_mp3(),
            b"alac" => {
                let cookie = child(&boxes, b"alac").or_else(|| descend(&boxes, &[b"wave", b"alac"]))?;
                this.config = cookie.slice(4.min(cookie.len())..);
                this.codec = Codec::Alac;
                this.rate_of_cookie();
            }
            b"fLaC" => {
                let blocks = child(&boxes, b"dfLa")?;
                this.config = stream_info(blocks.get(4..)?)?;
                this.codec = Codec::Flac;
                this.rate_of_stream_info();
            }
            b"Opus" => {
                this.config = head_of_dops(&child(&boxes, b"dOps")?)?;
                let head = opus::Head::parse(&this.config).ok()?;
                this.codec = Codec::Opus;
                this.shape =
                    Shape::Audio { sample_rate: opus::SAMPLE_RATE, channels: u16::from(head.channels) };
                this.length = Some(PacketLength::Opus);
                this.priming = u32::from(head.pre_skip);
            }
            _ => {}
        }
        Some(this)
    }

    fn apply_esds(&mut self, esds: &[u8]) -> Option<()> {
        let (object_type, asc) = parse_esds(esds)?;
        match object_type {
            // MPEG-4 audio; MPEG-2 AAC main, LC and scalable.
            0x40 | 0x66..=0x68 => {
                let Shape::Audio { sample_rate, channels } = self.shape else { return None };
                let sound = AacSound::new(asc, sample_rate, channels);
                self.codec = Codec::Aac;
                self.config = Bytes::copy_from_slice(asc);
                self.shape = Shape::Audio { sample_rate: sound.sample_rate, channels: sound.channels };
                self.length = Some(PacketLength::Fixed(sound.frame));
                // What every encoder without a word on it has at least: one frame.
                self.priming = sound.frame;
            }
            0x69 | 0x6b => self.become_mp3(),
            other => self.codec = Codec::Unknown(format!("mp4a.{other:02x}")),
        }
        Some(())
    }

    /// High rates do not fit into the sample entry, so the codec's own word counts.
    fn rate_of_cookie(&mut self) {
        if let (Some(rate), Shape::Audio { sample_rate, .. }) =
            (self.config.get(20..24).and_then(|rate| rate.first_chunk()), &mut self.shape)
        {
            *sample_rate = u32::from_be_bytes(*rate);
        }
    }

    fn rate_of_stream_info(&mut self) {
        if let (Some([high, middle, low]), Shape::Audio { sample_rate, .. }) =
            (self.config.get(10..13), &mut self.shape)
        {
            *sample_rate = u32::from_be_bytes([0, *high, *middle, *low]) >> 4;
        }
    }

    fn become_mp3(&mut self) {
        self.codec = Codec::Mp3;
        self.length = Some(PacketLength::Mp3);
    }
}

/// `esds` → object type indication and the decoder's own configuration (ISO/IEC 14496-1, 7.2.6).
fn parse_esds(esds: &[u8]) -> Option<(u8, &[u8])> {
    const ES: u8 = 3;
    const DECODER_CONFIG: u8 = 4;
    const DECODER_SPECIFIC: u8 = 5;
    let mut fields = Fields(esds);
    fields.version()?;
    let mut es = Fields(descriptor(&mut fields, ES)?);
    es.skip(2)?;
    let flags = es.u8()?;
    if flags & 0x80 != 0 {
        es.skip(2)?;
    }
    if flags & 0x40 != 0 {
        let url_length = es.u8()?;
        es.skip(usize::from(url_length))?;
    }
    if flags & 0x20 != 0 {
        es.skip(2)?;
    }
    let mut decoder = Fields(descriptor(&mut es, DECODER_CONFIG)?);
    let object_type = decoder.u8()?;
    decoder.skip(12)?;
    Some((object_type, descriptor(&mut decoder, DECODER_SPECIFIC).unwrap_or(&[])))
}

/// The contents of the next descriptor, which must have the given tag.
fn descriptor<'a>(fields: &mut Fields<'a>, tag: u8) -> Option<&'a [u8]> {
    if fields.u8()? != tag {
        return None;
    }
    let mut length = 0;
    for _ in 0..4 {
        let byte = fields.u8()?;
        length = length << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    fields.take(length.min(fields.0.len()))
}

/// `dOps`, the description of Opus in mp4 (big-endian) → `OpusHead` (little-endian).
fn head_of_dops(dops: &[u8]) -> Option<Bytes> {
    let [0, channels @ 1..=255, skip_high, skip_low, r3, r2, r1, r0, g1, g0, family, mapping @ ..] = dops
    else {
        return None;
    };
    let mut head = BytesMut::with_capacity(19 + mapping.len());
    head.put_slice(b"OpusHead\x01");
    head.put_slice(&[*channels, *skip_low, *skip_high, *r0, *r1, *r2, *r3, *g0, *g1, *family]);
    if *family != 0 {
        head.put_slice(mapping.get(..2 + usize::from(*channels))?);
    }
    Some(head.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn esds_with_long_lengths() {
        let esds = [
            &[0, 0, 0, 0, 3, 0x80, 0x80, 0x80, 0x22, 0, 2, 0, 4, 0x80, 0x80, 0x80, 0x14, 0x40][..],
            &[0x15, 0, 0, 0, 0, 1, 0xf4, 0, 0, 1, 0xf4, 0],
            &[5, 0x80, 0x80, 0x80, 2, 0x11, 0x90],
        ]
        .concat();
        assert_eq!(parse_esds(&esds), Some((0x40, &[0x11, 0x90][..])));
        for end in 0..esds.len() - 2 {
            let _ = parse_esds(&esds[..end]);
        }
    }

    #[test]
    fn opus_head_is_little_endian() {
        let dops = [0, 2, 0x01, 0x38, 0, 0, 0xbb, 0x80, 0, 0, 0];
        let head = head_of_dops(&dops).unwrap();
        assert_eq!(head[..], b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0"[..]);
        assert_eq!(opus::Head::parse(&head).unwrap().pre_skip, 312);
        assert_eq!(head_of_dops(&dops[..10]), None);
        assert_eq!(head_of_dops(&[0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 1, 4, 2, 0, 1]), None);
    }
}
