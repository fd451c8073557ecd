//! `AudioSpecificConfig` → what kind of AAC a track is (ISO/IEC 14496-3, 1.6.2.1).

/// Samples per second by `samplingFrequencyIndex`.
const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
/// Channels by `channelConfiguration`; 0 would mean a program config element.
const CHANNELS: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 8];
/// Audio object type of spectral band replication, "HE-AAC".
const SBR: u8 = 5;
/// Audio object type of parametric stereo, "HE-AAC v2".
const PS: u8 = 29;
/// `syncExtensionType` that announces SBR in a way that old decoders skip.
const SYNC_EXTENSION: u32 = 0x2b7;

/// Why an `AudioSpecificConfig` says nothing useful.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AacConfigError {
    /// It ends too early.
    #[error("it is cut off")]
    CutOff,
    /// A sample rate that the standard reserves.
    #[error("its sample rate is reserved")]
    SampleRate,
    /// A channel configuration that the standard reserves, or a program config element.
    #[error("its channel layout is not one of the standard ones")]
    Channels,
}

/// The kind of AAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AacConfig {
    /// Audio object type of the core: 2 is low complexity.
    pub object_type: u8,
    /// Samples per second of the core.
    pub sample_rate: u32,
    /// Channels of the core.
    pub channels: u8,
    /// Spectral band replication is announced.
    pub sbr: bool,
    /// Frames have 960 samples instead of 1024.
    pub short_frames: bool,
}

impl AacConfig {
    /// The audio object type of AAC-LC.
    pub const LOW_COMPLEXITY: u8 = 2;

    /// Reads a config.
    ///
    /// # Errors
    /// When it is cut off or uses reserved values.
    pub fn parse(bytes: &[u8]) -> Result<Self, AacConfigError> {
        let mut bits = Bits { bytes, at: 0 };
        let mut object_type = bits.object_type()?;
        let sample_rate = bits.rate()?;
        let channel_config = bits.take(4)?;
        let mut sbr = object_type == SBR || object_type == PS;
        if sbr {
            bits.rate()?;
            object_type = bits.object_type()?;
        }
        let short_frames = bits.take(1)? == 1;
        if bits.take(1)? == 1 {
            bits.take(14)?;
        }
        bits.take(1)?;
        let channels = match CHANNELS.get(channel_config as usize) {
            None | Some(0) => return Err(AacConfigError::Channels),
            Some(&channels) => channels,
        };
        sbr = sbr || bits.announces_sbr() == Some(true);
        Ok(Self { object_type, sample_rate, channels, sbr, short_frames })
    }
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, n_bits: u8) -> Result<u32, AacConfigError> {
        let mut value = 0;
        for _ in 0..n_bits {
            let byte = self.bytes.get(self.at / 8).ok_or(AacConfigError::CutOff)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Ok(value)
    }

    fn object_type(&mut self) -> Result<u8, AacConfigError> {
        let value = self.take(5)?;
        let value = if value == 31 { 32 + self.take(6)? } else { value };
        Ok(value as u8)
    }

    fn rate(&mut self) -> Result<u32, AacConfigError> {
        match self.take(4)? {
            15 => match self.take(24)? {
                0 => Err(AacConfigError::SampleRate),
                rate => Ok(rate),
            },
            index => RATES.get(index as usize).copied().ok_or(AacConfigError::SampleRate),
        }
    }

    /// The backward compatible announcement behind the core's config; `None` when there is none.
    fn announces_sbr(&mut self) -> Option<bool> {
        if self.take(11).ok()? != SYNC_EXTENSION || self.object_type().ok()? != SBR {
            return None;
        }
        Some(self.take(1).ok()? == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(bytes: &[u8]) -> AacConfig {
        AacConfig::parse(bytes).unwrap()
    }

    #[test]
    fn low_complexity() {
        let config =
            AacConfig { object_type: 2, sample_rate: 44_100, channels: 2, sbr: false, short_frames: false };
        assert_eq!(parsed(&[0x12, 0x10]), config);
        // FFmpeg appends the announcement of "no SBR".
        assert_eq!(parsed(&[0x12, 0x10, 0x56, 0xe5, 0x00]), config);
        assert_eq!(parsed(&[0x11, 0x90]), AacConfig { sample_rate: 48_000, ..config });
        assert_eq!(parsed(&[0x11, 0x88]), AacConfig { sample_rate: 48_000, channels: 1, ..config });
        assert_eq!(parsed(&[0x12, 0x30]).channels, 6);
        assert!(parsed(&[0x12, 0x14]).short_frames);
    }

    #[test]
    fn spectral_band_replication_is_seen_in_both_forms() {
        // Hierarchical: object type 5, core 24 kHz, then 48 kHz and object type 2.
        let hierarchical = parsed(&[0x2b, 0x11, 0x88, 0x00]);
        assert!(hierarchical.sbr);
        assert_eq!((hierarchical.object_type, hierarchical.sample_rate), (2, 24_000));
        // Backward compatible: the core's config, then 0x2b7, 5, 1.
        assert!(parsed(&[0x13, 0x10, 0x56, 0xe5, 0x80]).sbr);
        assert!(parsed(&[0xeb, 0x09, 0x88, 0x00]).sbr, "parametric stereo");
    }

    #[test]
    fn damage_is_an_error() {
        assert_eq!(AacConfig::parse(&[]), Err(AacConfigError::CutOff));
        assert_eq!(AacConfig::parse(&[0x12]), Err(AacConfigError::CutOff));
        assert_eq!(AacConfig::parse(&[0x16, 0x90]), Err(AacConfigError::SampleRate));
        assert_eq!(AacConfig::parse(&[0x12, 0x00]), Err(AacConfigError::Channels));
        assert_eq!(AacConfig::parse(&[0x12, 0x40]), Err(AacConfigError::Channels));
    }
}
