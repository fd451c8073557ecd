//! Values that people type: durations and weather.

use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::media::pace::SPEEDS;
use crate::player::{MAX_CROSSFADE, OnFailure, Repeat};
use crate::time::MediaTime;
pub(super) use crate::time::parse_duration as duration;

/// What happens to items that have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RepeatArg {
    /// Each item once
    Off,
    /// The current item, until it is skipped
    One,
    /// All items, round and round
    All,
}

impl From<RepeatArg> for Repeat {
    fn from(what: RepeatArg) -> Self {
        match what {
            RepeatArg::Off => Self::Off,
            RepeatArg::One => Self::One,
            RepeatArg::All => Self::All,
        }
    }
}

/// Reads `#rrggbb`, `black` or `white`: red, green and blue.
#[cfg(feature = "openh264")]
pub(super) fn color(text: &str) -> Option<[u8; 3]> {
    match text {
        "black" => Some([0; 3]),
        "white" => Some([255; 3]),
        _ => {
            let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6)?;
            let [_, red, green, blue] = u32::from_str_radix(digits, 16).ok()?.to_be_bytes();
            Some([red, green, blue])
        }
    }
}

/// How often an item is tried again where no number is given.
const TRIES: u32 = 5;

/// Reads `skip`, `stop`, `retry` or `retry=10`.
pub(super) fn on_failure(text: &str) -> Result<OnFailure, String> {
    match text.split_once('=').unwrap_or((text, "")) {
        ("skip", "") => Ok(OnFailure::Skip),
        ("stop", "") => Ok(OnFailure::Stop),
        ("retry", "") => Ok(OnFailure::Retry { times: TRIES }),
        ("retry", times) => {
            let times = times.parse().map_err(|_| format!("`{times}` is no number of tries"))?;
            Ok(OnFailure::Retry { times })
        }
        _ => Err("use skip, retry, retry=N or stop".to_owned()),
    }
}

/// Reads a speed as a factor, `0.5` to `2`, into percent.
pub(super) fn speed(text: &str) -> Result<u16, String> {
    let [slowest, fastest] = [SPEEDS.start(), SPEEDS.end()].map(|percent| f64::from(*percent) / 100.0);
    match text.trim_end_matches('x').parse::<f64>() {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 50 to 200")]
        Ok(speed) if (slowest..=fastest).contains(&speed) => Ok((speed * 100.0).round() as u16),
        _ => Err(format!("`{text}` is no speed; use {slowest} to {fastest}, 1 is as recorded")),
    }
}

/// Reads how long items go over into each other: `4`, `4s`, `500ms`.
pub(super) fn crossfade(text: &str) -> Result<MediaTime, String> {
    let length = MediaTime::from_duration(duration(text)?);
    let most = MAX_CROSSFADE.as_secs_f64();
    if length > MAX_CROSSFADE { Err(format!("`{text}` is too long; use 0 to {most} s")) } else { Ok(length) }
}

/// Shows a length as `1:05` or `1:02:05`.
pub(super) fn clock(duration: Duration) -> String {
    let secs = duration.as_secs();
    let (hours, minutes, secs) = (secs / 3600, secs / 60 % 60, secs % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{secs:02}") } else { format!("{minutes}:{secs:02}") }
}

/// Shows a Unix time as `2026-11-27 20:05 UTC`.
#[cfg(feature = "telegram")]
pub(super) fn moment(unix: i64) -> String {
    match time::OffsetDateTime::from_unix_timestamp(unix) {
        Ok(at) => {
            let (date, month) = (at.date(), u8::from(at.month()));
            format!("{}-{month:02}-{:02} {:02}:{:02} UTC", date.year(), date.day(), at.hour(), at.minute())
        }
        Err(_) => format!("{unix} s after 1970"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_shown_as_on_a_clock() {
        assert_eq!(clock(Duration::from_secs(65)), "1:05");
        assert_eq!(clock(Duration::from_secs(3725)), "1:02:05");
    }

    #[test]
    #[cfg(feature = "openh264")]
    fn colors_are_told_from_files() {
        assert_eq!(color("black"), Some([0; 3]));
        assert_eq!(color("#1a2B3c"), Some([0x1a, 0x2b, 0x3c]));
        for file in ["card.png", "#card", "#12345", "#1234567", ""] {
            assert_eq!(color(file), None, "{file}");
        }
    }

    #[test]
    fn failures_are_treated_as_people_want() {
        assert_eq!(on_failure("skip"), Ok(OnFailure::Skip));
        assert_eq!(on_failure("retry"), Ok(OnFailure::Retry { times: 5 }));
        assert_eq!(on_failure("retry=9"), Ok(OnFailure::Retry { times: 9 }));
        assert_eq!(on_failure("stop"), Ok(OnFailure::Stop));
        for wrong in ["", "again", "retry=x", "stop=1"] {
            assert!(on_failure(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn speeds_are_read_as_factors() {
        assert_eq!(
            [speed("1"), speed("0.5"), speed("1.25x"), speed("2")],
            [Ok(100), Ok(50), Ok(125), Ok(200)]
        );
        for wrong in ["0", "0.4", "2.1", "125", "fast", "NaN", "-1", ""] {
            assert!(speed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn fades_are_read_up_to_the_longest() {
        assert_eq!(crossfade("0"), Ok(MediaTime::ZERO));
        assert_eq!(crossfade("4"), Ok(MediaTime::from_secs(4)));
        assert_eq!(crossfade("500ms"), Ok(MediaTime::from_millis(500)));
        assert_eq!(crossfade("12s"), Ok(MAX_CROSSFADE));
        for wrong in ["13", "-1", "long"] {
            assert!(crossfade(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    #[cfg(feature = "telegram")]
    fn moments_are_written_for_people() {
        assert_eq!(moment(1_795_809_900), "2026-11-27 20:05 UTC");
        assert_eq!(moment(i64::MAX), format!("{} s after 1970", i64::MAX));
    }
}
