//! What containers need to know of AAC: the `AudioSpecificConfig` (ISO/IEC 14496-3, 1.6.2.1).

/// Table 1.18; index 15 is followed by the rate itself.
const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000, 7350];
/// Object types that announce spectral band replication, with and without parametric stereo.
const SBR: u32 = 5;
const PARAMETRIC_STEREO: u32 = 29;

/// What the configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Config {
    /// Of the decoded sound: twice the core's with announced SBR.
    pub(super) sample_rate: u32,
    /// `None`: the stream itself describes its channels.
    pub(super) channels: Option<u16>,
    /// Samples per packet at `sample_rate`.
    pub(super) frame_length: u32,
}

impl Config {
    pub(super) fn parse(asc: &[u8]) -> Option<Self> {
        let mut bits = Bits { bytes: asc, at: 0 };
        let mut object = bits.object_type()?;
        let core_rate = bits.rate()?;
        let channels = match bits.take(4)? {
            0 => None,
            7 => Some(8),
            n @ 1..=6 => Some(n as u16),
            _ => return None,
        };
        let mut config = Self { sample_rate: core_rate, channels, frame_length: 1024 };
        let announced_sbr = object == SBR || object == PARAMETRIC_STEREO;
        if announced_sbr {
            config.sample_rate = bits.rate()?;
            if object == PARAMETRIC_STEREO {
                config.channels = Some(2);
            }
            object = bits.object_type()?;
        }
        // Main, LC, SSR, LTP and the error resilient kinds start with the frame length flag.
        if matches!(object, 1..=4 | 6 | 7 | 17 | 19..=23) && bits.take(1)? == 1 {
            config.frame_length = 960;
        }
        if announced_sbr && config.sample_rate == core_rate.saturating_mul(2) {
            config.frame_length *= 2;
        }
        Some(config)
    }
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, n: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..n {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    fn object_type(&mut self) -> Option<u32> {
        match self.take(5)? {
            31 => Some(32 + self.take(6)?),
            object => Some(object),
        }
    }

    fn rate(&mut self) -> Option<u32> {
        let rate = match self.take(4)? {
            15 => self.take(24)?,
            index => *RATES.get(index as usize)?,
        };
        (rate > 0).then_some(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_of_real_files() {
        let lc = |sample_rate, channels| Config { sample_rate, channels: Some(channels), frame_length: 1024 };
        assert_eq!(Config::parse(&[0x11, 0x90]), Some(lc(48_000, 2)));
        assert_eq!(Config::parse(&[0x12, 0x08]), Some(lc(44_100, 1)));
        // HE-AAC, announced: 24 kHz core, 48 kHz out.
        let he = Config { sample_rate: 48_000, channels: Some(2), frame_length: 2048 };
        assert_eq!(Config::parse(&[0x2b, 0x11, 0x88, 0x00]), Some(he));
        // 960 samples per frame.
        assert_eq!(Config::parse(&[0x11, 0x94]).unwrap().frame_length, 960);
        assert_eq!(Config::parse(&[0x17, 0x80]), None);
        assert_eq!(Config::parse(&[0x11]), None);
        assert_eq!(Config::parse(&[]), None);
    }
}
