//! Exact media time: container ticks in, RTP timestamps out, nothing lost between.
//!
//! Every clock that media files and RTP use divides one second into a whole
//! number of [flicks] (24, 25, 30, 50, 60 and 29.97 frames, 44.1 and 48 kHz, 90 kHz), so a
//! [`MediaTime`] is an integer and sums of durations do not drift. A timescale that does not
//! divide (for example 15 360) is rounded once per value, by less than a nanosecond, never
//! once per step.
//!
//! [flicks]: https://github.com/facebookarchive/Flicks

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Neg, Sub, SubAssign};
use std::time::Duration;

/// Flicks in one second: the least number that every common media clock divides.
const FLICKS_PER_SECOND: i64 = 705_600_000;

/// A point in, or a length of, media time. Signed: a priming packet starts before zero.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaTime(i64);

impl MediaTime {
    /// The origin.
    pub const ZERO: Self = Self(0);
    /// The last representable point, about four centuries away.
    pub const MAX: Self = Self(i64::MAX);

    /// `ticks` of a clock with `rate` ticks per second, rounded to the nearest flick.
    ///
    /// A rate of zero, which only a broken file has, gives zero. Saturates.
    pub fn from_ticks(ticks: i64, rate: u32) -> Self {
        Self::from_rational(ticks, 1, rate)
    }

    /// `ticks × num / den` seconds, rounded to the nearest flick. Saturates; `den == 0` gives zero.
    pub fn from_rational(ticks: i64, num: u32, den: u32) -> Self {
        if den == 0 {
            return Self::ZERO;
        }
        let flicks = i128::from(ticks) * i128::from(num) * i128::from(FLICKS_PER_SECOND);
        Self(saturate(div_round(flicks, i128::from(den))))
    }

    /// Whole seconds.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(FLICKS_PER_SECOND))
    }

    /// Whole milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(FLICKS_PER_SECOND / 1000))
    }

    /// From a length of the wall clock; one that is too long becomes the longest there is.
    pub fn from_duration(duration: Duration) -> Self {
        i64::try_from(duration.as_nanos()).map_or(Self::MAX, Self::from_nanos)
    }

    /// Nanoseconds, rounded to the nearest flick.
    pub fn from_nanos(nanos: i64) -> Self {
        Self::from_ticks(nanos, 1_000_000_000)
    }

    /// The nearest tick of a clock with `rate` ticks per second.
    pub fn to_ticks(self, rate: u32) -> i64 {
        let scaled = i128::from(self.0) * i128::from(rate);
        saturate(div_round(scaled, i128::from(FLICKS_PER_SECOND)))
    }

    /// Whole milliseconds, rounded down.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(FLICKS_PER_SECOND / 1000)
    }

    /// Seconds, for display and statistics only.
    #[expect(clippy::cast_precision_loss, reason = "shown to people, never computed with")]
    pub const fn as_secs_f64(self) -> f64 {
        self.0 as f64 / FLICKS_PER_SECOND as f64
    }

    /// As a wall-clock length; negative times give zero.
    pub fn to_duration(self) -> Duration {
        let nanos = i128::from(self.0.max(0)) * 1_000_000_000;
        let nanos = div_round(nanos, i128::from(FLICKS_PER_SECOND));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// `self - other`, stopping at the ends of the range instead of wrapping.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `self + other`, stopping at the ends of the range instead of wrapping.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// `self × num / den`, rounded to the nearest flick. Saturates; `den == 0` gives zero.
    #[must_use]
    pub fn scaled(self, num: u32, den: u32) -> Self {
        if den == 0 {
            return Self::ZERO;
        }
        Self(saturate(div_round(i128::from(self.0) * i128::from(num), i128::from(den))))
    }

    /// The distance from zero.
    #[must_use]
    pub const fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }

    /// The latest multiple of `step` that is not after `self`.
    ///
    /// # Panics
    /// When `step` is not positive: a bug of the caller.
    #[must_use]
    pub const fn floor_to(self, step: Self) -> Self {
        assert!(step.0 > 0, "a step is positive");
        Self(self.0.div_euclid(step.0).saturating_mul(step.0))
    }

    /// The first multiple of `step` that is not before `self`.
    ///
    /// # Panics
    /// When `step` is not positive: a bug of the caller.
    #[must_use]
    pub const fn ceil_to(self, step: Self) -> Self {
        let floor = self.floor_to(step);
        if floor.0 == self.0 { floor } else { Self(floor.0.saturating_add(step.0)) }
    }
}

impl From<Duration> for MediaTime {
    fn from(duration: Duration) -> Self {
        let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self::from_nanos(nanos)
    }
}

impl Add for MediaTime {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

impl Sub for MediaTime {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.saturating_sub(other)
    }
}

impl Neg for MediaTime {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl Mul<i64> for MediaTime {
    type Output = Self;
    fn mul(self, factor: i64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

impl AddAssign for MediaTime {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for MediaTime {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for MediaTime {
    fn sum<I: Iterator<Item = Self>>(times: I) -> Self {
        times.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Debug for MediaTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}s", self.as_secs_f64())
    }
}

/// Division rounded to nearest, halves away from zero. `divisor` is positive.
fn div_round(value: i128, divisor: i128) -> i128 {
    let half = divisor / 2;
    if value >= 0 { (value + half) / divisor } else { (value - half) / divisor }
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// Reads a length as people write it: `500ms`, `10s`, `2m`, `1h`, `1h2m`, or a bare number of seconds.
///
/// # Errors
/// When it is none, in words for people.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (mut seconds, mut rest) = (0.0, text);
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at(digits);
        let number: f64 =
            number.parse().map_err(|_| format!("`{text}` is no duration; try 500ms, 10s, 2m, 1h or 1h2m"))?;
        let (unit, behind) =
            behind.split_at(behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len()));
        seconds += match unit.trim() {
            "ms" => number / 1000.0,
            "" | "s" => number,
            "m" | "min" => number * 60.0,
            "h" => number * 3600.0,
            other => return Err(format!("`{other}` is no unit of time; there are ms, s, m and h")),
        };
        if behind.is_empty() {
            return Duration::try_from_secs_f64(seconds).map_err(|_| format!("`{text}` is too long"));
        }
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_clocks_are_exact() {
        for (num, den) in [(1, 24), (1, 25), (1, 30), (1001, 30_000), (1, 60), (1, 48_000), (1, 44_100)] {
            let step = MediaTime::from_rational(1, num, den);
            let hour = MediaTime::from_rational(3600 * i64::from(den), num, den);
            assert_eq!(step * (3600 * i64::from(den)), hour, "{num}/{den}");
        }
    }

    #[test]
    fn ten_hours_of_odd_ticks_do_not_drift() {
        // 15 360 does not divide a second of flicks: each value is rounded once, from its ticks.
        for frame in [1_i64, 30, 1_080_000] {
            let pts = MediaTime::from_ticks(frame * 512, 15_360);
            assert_eq!(pts.to_ticks(90_000), frame * 3000);
        }
    }

    #[test]
    fn rounds_to_nearest_on_both_sides_of_zero() {
        assert_eq!(MediaTime::from_ticks(-1024, 48_000).to_ticks(48_000), -1024);
        assert_eq!(MediaTime::from_ticks(-1024, 44_100).to_ticks(90_000), -2090);
        assert_eq!(MediaTime::from_ticks(1024, 44_100).to_ticks(90_000), 2090);
        assert_eq!(MediaTime::from_millis(-1).as_millis(), -1);
    }

    #[test]
    fn hostile_values_saturate() {
        assert_eq!(MediaTime::from_ticks(5, 0), MediaTime::ZERO);
        assert_eq!(MediaTime::from_ticks(i64::MAX, 1), MediaTime::MAX);
        assert_eq!(MediaTime::MAX + MediaTime::MAX, MediaTime::MAX);
        assert_eq!((-MediaTime::MAX).to_duration(), Duration::ZERO);
    }

    #[test]
    fn steps_round_both_ways() {
        let step = MediaTime::from_millis(20);
        assert_eq!(MediaTime::from_millis(39).floor_to(step), step);
        assert_eq!(MediaTime::from_millis(21).ceil_to(step), step * 2);
        assert_eq!(MediaTime::from_millis(-1).floor_to(step), -step);
        assert_eq!(MediaTime::from_millis(40).ceil_to(step), step * 2);
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("1h2m"), Ok(Duration::from_secs(3720)));
        assert_eq!(parse_duration("1m30.5s"), Ok(Duration::from_millis(90_500)));
        for wrong in ["", "s", "10x", "-1s", "1e300h", "ten", "1hm", "1h2x"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
