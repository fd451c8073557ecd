//! Values that people type: durations and weather.

use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::player::Repeat;

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

/// Reads `500ms`, `10s`, `2m`, `1h`, `1h2m`, or a bare number of seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
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
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1h2m"), Ok(Duration::from_secs(3720)));
        assert_eq!(duration("1m30.5s"), Ok(Duration::from_millis(90_500)));
        for wrong in ["", "s", "10x", "-1s", "1e300h", "ten", "1hm", "1h2x"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(clock(Duration::from_secs(65)), "1:05");
        assert_eq!(clock(Duration::from_secs(3725)), "1:02:05");
    }

    #[test]
    #[cfg(feature = "telegram")]
    fn moments_are_written_for_people() {
        assert_eq!(moment(1_795_809_900), "2026-11-27 20:05 UTC");
        assert_eq!(moment(i64::MAX), format!("{} s after 1970", i64::MAX));
    }
}
