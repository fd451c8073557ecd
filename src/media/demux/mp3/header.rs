//! The bytes at the beginning of a frame of mp3 → what they say of it, and of the whole file.

/// The four bytes before each frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::media::demux) struct FrameHeader {
    mpeg1: bool,
    pub(in crate::media::demux) sample_rate: u32,
    pub(super) channels: u16,
    /// Bits per second.
    pub(super) bitrate: u32,
    /// Bytes, this header included.
    pub(super) length: usize,
    /// Bytes of the side information, which a note of the encoder follows.
    side_info: usize,
}

impl FrameHeader {
    /// `None` when the bytes are no header of layer III, or one of a free bitrate.
    pub(in crate::media::demux) fn parse(bytes: &[u8]) -> Option<Self> {
        const RATES: [u32; 3] = [44_100, 48_000, 32_000];
        const KBPS_1: [u32; 14] = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
        const KBPS_2: [u32; 14] = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
        let [0xff, b1, b2, b3, ..] = *bytes else { return None };
        // Eleven bits of sync, then the version, then layer III.
        if b1 & 0xe6 != 0xe2 {
            return None;
        }
        let (mpeg1, divisor) = match b1 >> 3 & 3 {
            0 => (false, 4),
            2 => (false, 2),
            3 => (true, 1),
            _ => return None,
        };
        let sample_rate = RATES.get(usize::from(b2 >> 2 & 3))? / divisor;
        let kbps = usize::from(b2 >> 4).checked_sub(1)?;
        let bitrate = 1000 * if mpeg1 { KBPS_1.get(kbps)? } else { KBPS_2.get(kbps)? };
        let mono = b3 >> 6 == 3;
        let padding = u32::from(b2 >> 1 & 1);
        let length = (if mpeg1 { 144 } else { 72 }) * bitrate / sample_rate + padding;
        let side_info = match (mpeg1, mono) {
            (true, false) => 32,
            (true, true) | (false, false) => 17,
            (false, true) => 9,
        };
        Some(Self {
            mpeg1,
            sample_rate,
            channels: if mono { 1 } else { 2 },
            bitrate,
            length: length as usize,
            side_info,
        })
    }

    /// Samples that the frame decodes to.
    pub(in crate::media::demux) const fn samples(&self) -> u32 {
        if self.mpeg1 { 1152 } else { 576 }
    }

    /// A frame of the same sound: what must not change in the middle of a file.
    pub(super) fn fits(&self, first: &Self) -> bool {
        (self.mpeg1, self.sample_rate, self.channels) == (first.mpeg1, first.sample_rate, first.channels)
    }
}

/// What an encoder says about the whole in the first frame.
#[derive(Debug)]
pub(super) struct EncoderNote {
    pub(super) n_frames: Option<u32>,
    /// The encoder's delay and padding in samples, the decoder's delay not included.
    pub(super) delay: Option<u32>,
    pub(super) padding: Option<u32>,
}

impl EncoderNote {
    pub(super) fn parse(frame: &[u8], header: &FrameHeader) -> Option<Self> {
        if frame.get(36..40) == Some(b"VBRI") {
            let n_frames = frame.get(50..54)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
            return Some(Self { n_frames, delay: None, padding: None });
        }
        let note = frame.get(4 + header.side_info..)?;
        if !note.starts_with(b"Xing") && !note.starts_with(b"Info") {
            return None;
        }
        let number = |at: usize| Some(u32::from_be_bytes(*note.get(at..)?.first_chunk()?));
        let flags = number(4)?;
        let has_frames = flags & 1 != 0;
        // Frames, bytes, table of contents and quality, each only with its flag.
        let lame = 8
            + if has_frames { 4 } else { 0 }
            + if flags & 2 != 0 { 4 } else { 0 }
            + if flags & 4 != 0 { 100 } else { 0 }
            + if flags & 8 != 0 { 4 } else { 0 };
        let delays = note.get(lame..).filter(|lame| lame.iter().take(4).all(u8::is_ascii_alphanumeric));
        // LAME, and Lavf and Lavc after it: 21 bytes on, two numbers of 12 bits.
        let delays = delays.and_then(|lame| lame.get(21..)?.first_chunk::<3>());
        Some(Self {
            n_frames: if has_frames { number(8) } else { None },
            delay: delays.map(|[a, b, _]| u32::from(*a) << 4 | u32::from(*b) >> 4),
            padding: delays.map(|[_, b, c]| (u32::from(*b) & 15) << 8 | u32::from(*c)),
        })
    }
}
