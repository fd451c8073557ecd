//! The words behind `test:` → what is to be made.

use crate::time::{MediaTime, parse_duration};

/// What a name of a generated source begins with.
const PREFIX: &str = "test:";
/// The clips of `media/` have this size and rate, too.
const USUAL: PictureSpec = PictureSpec { size: (1280, 720), rate: (30, 1) };
/// Edges that OpenH264 encodes; it stops at the pixels of 4K.
const EDGES: std::ops::RangeInclusive<u32> = 16..=4096;
const MOST_PIXELS: u32 = 3840 * 2160;
/// Pictures per second: one at least, so that there is one to flash.
const RATES: std::ops::RangeInclusive<u32> = 1..=120;

/// A generated source: `test:[WIDTHxHEIGHT][@RATE][?for=LENGTH][&only=sound|picture]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The pictures, if there are to be any.
    pub(super) picture: Option<PictureSpec>,
    /// Whether there is to be sound.
    pub(super) sound: bool,
    /// When it ends; never, where nothing is said.
    pub(super) length: Option<MediaTime>,
}

/// Size and rate of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PictureSpec {
    /// Pixels, both even.
    pub(super) size: (u32, u32),
    /// Pictures in so many seconds.
    pub(super) rate: (u32, u32),
}

#[cfg(feature = "openh264")]
impl PictureSpec {
    /// When picture `n` is seen.
    pub(super) fn at(&self, n: u64) -> MediaTime {
        let (num, den) = self.rate;
        MediaTime::from_rational(i64::try_from(n).unwrap_or(i64::MAX), den, num)
    }

    /// The second in which picture `n` is seen.
    pub(super) fn second_of(&self, n: u64) -> u64 {
        let (num, den) = self.rate;
        (u128::from(n) * u128::from(den) / u128::from(num)).try_into().unwrap_or(u64::MAX)
    }

    /// The first picture of a second.
    pub(super) fn first_of(&self, second: u64) -> u64 {
        let (num, den) = self.rate;
        (u128::from(second) * u128::from(num)).div_ceil(u128::from(den)).try_into().unwrap_or(u64::MAX)
    }

    /// Pictures per second.
    #[expect(clippy::cast_precision_loss, reason = "a rate of pictures is a small number")]
    pub(super) fn fps(&self) -> f32 {
        self.rate.0 as f32 / self.rate.1 as f32
    }
}

impl Spec {
    /// Whether a name means a generated source. A file of such a name is `./test:`.
    pub fn is_meant(name: &str) -> bool {
        name.starts_with(PREFIX)
    }

    /// Reads a name. With both size and rate left out it is what the clips in `media/` are.
    ///
    /// # Errors
    /// When a word is not known, or a number is none that can be made; in words for people.
    pub fn parse(name: &str) -> Result<Self, String> {
        let spec = name.strip_prefix(PREFIX).ok_or_else(|| format!("it begins with `{PREFIX}`"))?;
        let (picture, settings) = spec.split_once('?').unwrap_or((spec, ""));
        let mut this = Self { picture: Some(read_picture(picture)?), sound: true, length: None };
        for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
            match setting.split_once('=') {
                Some(("for", length)) => {
                    let length = MediaTime::from_duration(parse_duration(length)?);
                    this.length = Some(length).filter(|length| *length > MediaTime::ZERO);
                    if this.length.is_none() {
                        return Err("it has to last longer than 0 s".to_owned());
                    }
                }
                Some(("only", "sound")) => this.picture = None,
                Some(("only", "picture")) => this.sound = false,
                _ => return Err(format!("`{setting}` is not for=LENGTH, only=sound or only=picture")),
            }
        }
        if this.picture.is_none() && !this.sound {
            return Err("it has neither sound nor picture left".to_owned());
        }
        if cfg!(not(feature = "openh264")) && this.picture.take().is_some() && !this.sound {
            return Err("this build of telecast cannot encode pictures".to_owned());
        }
        Ok(this)
    }

    /// The same, but with an end: one without would be read for ever.
    #[must_use]
    pub fn ending_after(self, length: MediaTime) -> Self {
        Self { length: self.length.or(Some(length)), ..self }
    }
}

fn read_picture(text: &str) -> Result<PictureSpec, String> {
    let (size, rate) = text.split_once('@').map_or((text, None), |(size, rate)| (size, Some(rate)));
    let number = |text: &str| text.parse::<u32>().map_err(|_| format!("`{text}` is no number"));
    let size = if size.is_empty() {
        USUAL.size
    } else {
        let (width, height) = size.split_once('x').ok_or_else(|| format!("`{size}` is no WIDTHxHEIGHT"))?;
        (number(width)?, number(height)?)
    };
    let right = |edge| EDGES.contains(&edge) && edge.is_multiple_of(2);
    if !right(size.0) || !right(size.1) || size.0 * size.1 > MOST_PIXELS {
        return Err(format!(
            "{}x{} is no size that can be encoded: edges are even and at least {}, and 3840x2160 is the largest",
            size.0,
            size.1,
            EDGES.start()
        ));
    }
    let rate = match rate.map(|rate| rate.split_once('/').unwrap_or((rate, "1"))) {
        None => USUAL.rate,
        Some((pictures, seconds)) => (number(pictures)?, number(seconds)?),
    };
    if rate.1 == 0 || !RATES.contains(&(rate.0 / rate.1)) || rate.0.div_ceil(rate.1) > *RATES.end() {
        return Err(format!(
            "there are {} to {} pictures per second, or a fraction such as 30000/1001",
            RATES.start(),
            RATES.end()
        ));
    }
    Ok(PictureSpec { size, rate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_can_be_left_out() {
        let whole = Spec::parse("test:640x360@25?for=1m30s").unwrap();
        #[cfg(feature = "openh264")]
        assert_eq!(whole.picture, Some(PictureSpec { size: (640, 360), rate: (25, 1) }));
        assert_eq!((whole.sound, whole.length), (true, Some(MediaTime::from_secs(90))));
        let usual = Spec::parse("test:").unwrap();
        #[cfg(feature = "openh264")]
        assert_eq!(usual.picture, Some(USUAL));
        assert_eq!(usual.length, None);
        #[cfg(feature = "openh264")]
        assert_eq!(Spec::parse("test:@30000/1001").unwrap().picture.unwrap().rate, (30_000, 1001));
        assert_eq!(Spec::parse("test:?only=sound").unwrap().picture, None);
        assert_eq!(usual.ending_after(MediaTime::from_secs(3)).length, Some(MediaTime::from_secs(3)));
        assert_eq!(whole.ending_after(MediaTime::from_secs(3)), whole);
    }

    #[test]
    fn what_cannot_be_made_is_refused_in_words() {
        for (name, words) in [
            ("test:640", "WIDTHxHEIGHT"),
            ("test:641x360", "even"),
            ("test:8x8", "at least 16"),
            ("test:4096x4096", "3840x2160"),
            ("test:4294967295x2", "3840x2160"),
            ("test:axb", "`a` is no number"),
            ("test:@0", "1 to 120"),
            ("test:@30/0", "1 to 120"),
            ("test:@241/2", "1 to 120"),
            ("test:?for=0", "longer than 0"),
            ("test:?for=10x", "no unit of time"),
            ("test:?loud=yes", "not for=LENGTH"),
            ("test:?only=sound&only=picture", "neither"),
        ] {
            let error = Spec::parse(name).expect_err(name);
            assert!(error.contains(words), "{name}: {error}");
        }
    }

    #[cfg(feature = "openh264")]
    #[test]
    fn the_first_picture_of_a_second_is_not_before_it() {
        for rate in [(30, 1), (25, 1), (30_000, 1001), (24_000, 1001), (1, 1), (7, 3)] {
            let spec = PictureSpec { size: (16, 16), rate };
            for second in 0..100_u64 {
                let first = spec.first_of(second);
                assert_eq!(spec.second_of(first), second, "{rate:?}");
                assert!(first == 0 || spec.second_of(first - 1) < second, "{rate:?}");
                assert!(spec.at(first) >= MediaTime::from_secs(second as i64), "{rate:?}");
            }
        }
    }
}
