//! Bytes → what an Opus packet or an `OpusHead` says of itself, without libopus (RFC 6716, RFC 7845).

use super::{MAX_FRAME_BYTES, MAX_PACKET_SAMPLES, OpusError, SAMPLE_RATE};
use crate::time::MediaTime;

/// Which half of Opus made a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Linear prediction, for voice.
    Silk,
    /// Both.
    Hybrid,
    /// Transform, for music.
    Celt,
}

/// What a packet says about itself without being decoded (RFC 6716, 3.1 and 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Which codec made it.
    pub mode: Mode,
    /// 1 or 2. A decoder for stereo plays both.
    pub channels: u8,
    /// Samples per channel of one frame at 48 kHz: 120 (2.5 ms) to 2880 (60 ms).
    pub frame_samples: u32,
    /// 1 to 48 frames, 120 ms at most.
    pub n_frames: u8,
}

impl Shape {
    /// Reads the table of contents and checks every length that the packet states.
    ///
    /// # Errors
    /// When the packet breaks one of the rules R1 to R7 of RFC 6716, 3.4.
    pub fn of(packet: &[u8]) -> Result<Self, OpusError> {
        let (&toc, rest) = packet.split_first().ok_or(OpusError::Packet("it is empty"))?;
        let config = toc >> 3;
        let (mode, frame_samples) = match config {
            0..=11 => (Mode::Silk, [480, 960, 1920, 2880][usize::from(config % 4)]),
            12..=15 => (Mode::Hybrid, [480, 960][usize::from(config % 2)]),
            _ => (Mode::Celt, [120, 240, 480, 960][usize::from(config % 4)]),
        };
        let channels = if toc & 0x04 == 0 { 1 } else { 2 };
        let n_frames = match toc & 0x03 {
            0 => one_frame(rest)?,
            1 => two_equal_frames(rest)?,
            2 => two_frames(rest)?,
            _ => many_frames(rest, frame_samples)?,
        };
        Ok(Self { mode, channels, frame_samples, n_frames })
    }

    /// Samples per channel of the whole packet at 48 kHz.
    pub const fn samples(self) -> u32 {
        self.frame_samples * self.n_frames as u32
    }

    /// How long the packet sounds.
    pub fn duration(self) -> MediaTime {
        MediaTime::from_ticks(i64::from(self.samples()), SAMPLE_RATE)
    }
}

/// Code 0.
const fn one_frame(rest: &[u8]) -> Result<u8, OpusError> {
    if rest.len() > MAX_FRAME_BYTES {
        return Err(OpusError::Packet("its frame is longer than 1275 bytes"));
    }
    Ok(1)
}

/// Code 1.
const fn two_equal_frames(rest: &[u8]) -> Result<u8, OpusError> {
    if !rest.len().is_multiple_of(2) {
        return Err(OpusError::Packet("two equal frames do not fill it evenly"));
    }
    if rest.len() / 2 > MAX_FRAME_BYTES {
        return Err(OpusError::Packet("its frames are longer than 1275 bytes"));
    }
    Ok(2)
}

/// Code 2.
fn two_frames(rest: &[u8]) -> Result<u8, OpusError> {
    let (first, rest) = frame_length(rest)?;
    match rest.len().checked_sub(first) {
        None => Err(OpusError::Packet("its first frame is longer than the packet")),
        Some(second) if second > MAX_FRAME_BYTES => {
            Err(OpusError::Packet("its second frame is longer than 1275 bytes"))
        }
        Some(_) => Ok(2),
    }
}

/// Code 3: a count byte, padding, lengths.
fn many_frames(rest: &[u8], frame_samples: u32) -> Result<u8, OpusError> {
    let (&count, mut rest) = rest.split_first().ok_or(OpusError::Packet("it ends before its frame count"))?;
    let n_frames = count & 0x3f;
    if n_frames == 0 || u32::from(n_frames) * frame_samples > MAX_PACKET_SAMPLES as u32 {
        return Err(OpusError::Packet("its frame count is zero or over 120 ms"));
    }
    if count & 0x40 != 0 {
        rest = without_padding(rest)?;
    }
    let lengths = usize::from(n_frames);
    if count & 0x80 == 0 {
        if !rest.len().is_multiple_of(lengths) || rest.len() / lengths > MAX_FRAME_BYTES {
            return Err(OpusError::Packet("its equal frames do not fill it evenly"));
        }
        return Ok(n_frames);
    }
    let mut body = 0;
    for _ in 1..lengths {
        let (length, after) = frame_length(rest)?;
        body += length;
        rest = after;
    }
    match rest.len().checked_sub(body) {
        Some(last) if last <= MAX_FRAME_BYTES => Ok(n_frames),
        _ => Err(OpusError::Packet("its frames are longer than the packet")),
    }
}

/// One or two bytes of length (RFC 6716, 3.2.1).
fn frame_length(bytes: &[u8]) -> Result<(usize, &[u8]), OpusError> {
    match *bytes {
        [short @ 0..=251, ref rest @ ..] => Ok((usize::from(short), rest)),
        [low, high, ref rest @ ..] => Ok((usize::from(high) * 4 + usize::from(low), rest)),
        _ => Err(OpusError::Packet("it ends inside a frame length")),
    }
}

/// Padding lengths stand in front, padding bytes at the end; 255 means 254 and another length.
fn without_padding(mut bytes: &[u8]) -> Result<&[u8], OpusError> {
    let mut padding = 0;
    loop {
        let (&length, rest) =
            bytes.split_first().ok_or(OpusError::Packet("it ends inside its padding length"))?;
        bytes = rest;
        if length < 255 {
            padding += usize::from(length);
            break;
        }
        padding += 254;
    }
    let kept =
        bytes.len().checked_sub(padding).ok_or(OpusError::Packet("its padding is longer than the packet"))?;
    Ok(&bytes[..kept])
}

/// The identification header that containers keep (RFC 7845, 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Channels of the decoded sound.
    pub channels: u8,
    /// Samples at 48 kHz to throw away at the start.
    pub pre_skip: u16,
    /// What a player adds to the volume, in 1/256 dB.
    pub output_gain: i16,
    /// Streams in each packet: more than one for surround sound.
    pub n_streams: u8,
}

impl Head {
    /// Reads an `OpusHead`.
    ///
    /// # Errors
    /// When it is cut off or of a later major version.
    pub fn parse(bytes: &[u8]) -> Result<Self, OpusError> {
        let fields = bytes.strip_prefix(b"OpusHead").ok_or(OpusError::Head("the magic is missing"))?;
        let [version, channels, skip0, skip1, _, _, _, _, gain0, gain1, mapping_family, ..] = *fields else {
            return Err(OpusError::Head("it is cut off"));
        };
        if version >= 16 {
            return Err(OpusError::Head("its version is unknown"));
        }
        if channels == 0 || mapping_family == 0 && channels > 2 {
            return Err(OpusError::Head("its channel count is impossible"));
        }
        // Mapping family 0 is one stream of mono or stereo; the others say how many they have.
        let n_streams = match (mapping_family, fields.get(11)) {
            (0, _) => 1,
            (_, None | Some(0)) => return Err(OpusError::Head("it is cut off")),
            (_, Some(&n_streams)) => n_streams,
        };
        Ok(Self {
            channels,
            pre_skip: u16::from_le_bytes([skip0, skip1]),
            output_gain: i16::from_le_bytes([gain0, gain1]),
            n_streams,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::SILENCE;
    use super::*;

    #[test]
    fn shapes_of_known_packets() {
        let shape = |bytes: &[u8]| Shape::of(bytes).map(|s| (s.mode, s.channels, s.samples())).ok();
        assert_eq!(shape(&SILENCE), Some((Mode::Celt, 2, 960)));
        assert_eq!(shape(&[0x08, 1]), Some((Mode::Silk, 1, 960)));
        assert_eq!(shape(&[0x78, 1]), Some((Mode::Hybrid, 1, 960)));
        // Code 3: three constant 20 ms frames of two bytes, then the same with padding of one.
        assert_eq!(shape(&[0xfb, 3, 1, 2, 3, 4, 5, 6]), Some((Mode::Celt, 1, 2880)));
        assert_eq!(shape(&[0xfb, 0x43, 1, 1, 2, 3, 4, 5, 6, 0]), Some((Mode::Celt, 1, 2880)));
        for bad in [
            &[][..],
            &[0xf9, 1],
            &[0xfa, 9, 1],
            &[0xfa, 252],
            &[0xfb],
            &[0xfb, 0],
            &[0xfb, 7],
            &[0xfb, 0x41, 9],
        ] {
            assert_eq!(shape(bad), None, "{bad:02x?}");
        }
    }

    proptest! {
        /// libopus is the judge, for honest and for hostile bytes.
        #[test]
        fn shapes_agree_with_libopus(bytes in proptest::collection::vec(any::<u8>(), 0..60), code in 0_u8..4) {
            let mut bytes = bytes;
            if let Some(toc) = bytes.first_mut() {
                *toc = *toc & !3 | code;
            }
            let theirs = if bytes.is_empty() { None } else {
                ::opus::packet::parse(&bytes).ok().and_then(|_| ::opus::packet::get_nb_samples(&bytes, SAMPLE_RATE).ok())
            };
            let ours = Shape::of(&bytes).ok();
            prop_assert_eq!(ours.map(|shape| shape.samples() as usize), theirs);
            if let Some(shape) = ours {
                prop_assert_eq!(usize::from(shape.n_frames), ::opus::packet::get_nb_frames(&bytes).unwrap());
                let channels = ::opus::packet::get_nb_channels(&bytes).unwrap();
                prop_assert_eq!(shape.channels == 2, channels == ::opus::Channels::Stereo);
            }
        }

        #[test]
        fn heads_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            let _ = Head::parse(&bytes);
            let _ = Head::parse(&[&b"OpusHead"[..], &bytes].concat());
        }
    }

    #[test]
    fn reads_a_head() {
        let bytes = b"OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x00\xfe\x00";
        let head = Head::parse(bytes).unwrap();
        assert_eq!(head, Head { channels: 2, pre_skip: 312, output_gain: -512, n_streams: 1 });
        let surround =
            b"OpusHead\x01\x06\x38\x01\x80\xbb\x00\x00\x00\x00\x01\x04\x02\x00\x04\x01\x02\x03\x05";
        assert_eq!(Head::parse(surround).unwrap().n_streams, 4);
        assert!(Head::parse(&surround[..19]).is_err());
        assert!(matches!(Head::parse(&bytes[..12]), Err(OpusError::Head(_))));
    }
}
