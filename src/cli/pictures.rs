//! What may be asked for of pictures: size, rate, and what is still copied.

use clap::Args;

use crate::media::ReaderOptions;
use crate::media::plan::{PictureOptions, PlanOptions};

/// The smallest and the largest bitrate that can be asked for.
const BITRATES: std::ops::RangeInclusive<f64> = 50_000.0..=50_000_000.0;

/// Options of all commands that play or judge pictures.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct PictureArgs {
    /// Height at most, as in 720p: larger pictures are made smaller, which needs transcoding;
    /// without it, what has to be transcoded becomes 720p
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(16..=2160))]
    height: Option<u32>,

    /// Pictures per second at most; a faster file is transcoded. Raw H.264, which has no times,
    /// plays at this rate
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=120))]
    fps: Option<u32>,

    /// Bits per second of what is transcoded, for example 800k or 2M; goes by the size otherwise
    #[arg(long, value_name = "RATE", value_parser = bitrate)]
    video_bitrate: Option<u32>,

    /// Pictures up to this height are copied
    #[arg(long, value_name = "PIXELS", default_value_t = PictureOptions::default().copy_height)]
    copy_height: u32,

    /// Pictures with at most so many bits in their busiest second are copied
    #[arg(long, value_name = "RATE", default_value = "4M", value_parser = bitrate)]
    copy_bitrate: u32,
}

impl PictureArgs {
    pub(super) fn plan(self, video: bool) -> PlanOptions {
        let pictures = PictureOptions {
            height: self.height,
            fps: self.fps,
            bitrate_bps: self.video_bitrate,
            copy_height: self.copy_height,
            copy_bps: u64::from(self.copy_bitrate),
            ..PictureOptions::default()
        };
        PlanOptions { video, pictures, ..PlanOptions::default() }
    }

    pub(super) fn reader(self, video: bool) -> ReaderOptions {
        ReaderOptions { plan: self.plan(video), ..ReaderOptions::default() }
    }
}

/// Reads `800k`, `1.5M` or a bare number of bits per second.
fn bitrate(text: &str) -> Result<u32, String> {
    let (number, unit) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1e3),
        None => text.strip_suffix('M').map_or((text, 1.0), |number| (number, 1e6)),
    };
    let number: f64 = number.parse().map_err(|_| format!("`{text}` is no bitrate; try 800k or 1.5M"))?;
    let bps = number * unit;
    if !BITRATES.contains(&bps) {
        return Err(format!("{text} is out of range; 50k to 50M bits per second are possible"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
    let bps = bps as u32;
    Ok(bps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitrates_are_read_as_people_write_them() {
        assert_eq!(bitrate("800k"), Ok(800_000));
        assert_eq!(bitrate("1.5M"), Ok(1_500_000));
        assert_eq!(bitrate("250000"), Ok(250_000));
        for wrong in ["", "fast", "1", "-1M", "1000M", "NaN"] {
            assert!(bitrate(wrong).is_err(), "{wrong}");
        }
    }
}
