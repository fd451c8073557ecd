//! How far the work has come, as a bar on a terminal.

use std::io::IsTerminal;

use crate::cli::{say, values};
use crate::time::MediaTime;

/// Blocks of the bar.
const WIDTH: usize = 30;

/// One line of a terminal that is written over and over; nothing anywhere else.
#[derive(Debug)]
pub(super) struct Bar {
    /// What is worked on.
    what: String,
    is_terminal: bool,
    shown: Option<String>,
}

impl Bar {
    pub(super) fn new(what: String) -> Self {
        Self { what, is_terminal: std::io::stderr().is_terminal(), shown: None }
    }

    pub(super) fn show(&mut self, at: MediaTime, total: Option<MediaTime>) {
        if !self.is_terminal {
            return;
        }
        let line = line(at, total, &self.what);
        if self.shown.as_ref() != Some(&line) {
            say::bare(format_args!("\r\x1b[2K{line}"));
            self.shown = Some(line);
        }
    }

    pub(super) fn clear(&self) {
        if self.shown.is_some() {
            say::bare(format_args!("\r\x1b[2K"));
        }
    }
}

fn line(at: MediaTime, total: Option<MediaTime>, what: &str) -> String {
    let clock = |time: MediaTime| values::clock(time.max(MediaTime::ZERO).to_duration());
    let what = if what.is_empty() { String::new() } else { format!("  {what}") };
    let Some(total) = total.filter(|total| *total > MediaTime::ZERO) else {
        return format!("{}{what}", clock(at));
    };
    let share = (at.as_secs_f64() / total.as_secs_f64()).clamp(0.0, 1.0);
    let n_full = (share * WIDTH as f64).round() as usize;
    let bar = format!("{}{}", "█".repeat(n_full), "░".repeat(WIDTH - n_full));
    format!("{bar} {:3.0} %  {} of {}{what}", share * 100.0, clock(at), clock(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_as_full_as_the_work_is_done() {
        let secs = MediaTime::from_secs;
        let half = line(secs(45), Some(secs(90)), "film.avi (2 of 7)");
        assert_eq!(
            half,
            format!("{}{}  50 %  0:45 of 1:30  film.avi (2 of 7)", "█".repeat(15), "░".repeat(15))
        );
        assert!(line(secs(91), Some(secs(90)), "").contains("100 %"), "a little more than told is all");
        assert_eq!(line(secs(5), None, ""), "0:05", "the length is not always known");
    }
}
