//! One line on the terminal that shows how the streaming goes.

use std::io::IsTerminal;
use std::time::Duration;

use terminal_size::terminal_size_of;
use tokio::time::{Instant, MissedTickBehavior};

use super::say;
use super::values::clock;
use crate::call::{Call, CallStats};
use crate::emulator::Emulator;
use crate::player::{Player, PlayerState};

/// How often the line is drawn anew.
const INTERVAL: Duration = Duration::from_secs(1);
/// Of a terminal that does not say how wide it is.
const WIDTH: u16 = 80;
/// Back to the start of the line, and erase what stands there.
const ERASE: &str = "\r\x1b[2K";

/// Draws the line; on anything but a terminal it draws nothing.
pub(super) struct StatusLine<'a> {
    call: &'a Call,
    player: &'a Player,
    emulator: &'a Emulator,
    chat: &'a str,
    bot: &'a str,
    drawn: bool,
    last: Option<(Instant, u64)>,
}

impl<'a> StatusLine<'a> {
    pub(super) fn new(
        call: &'a Call,
        player: &'a Player,
        emulator: &'a Emulator,
        chat: &'a str,
        bot: &'a str,
    ) -> Self {
        Self { call, player, emulator, chat, bot, drawn: false, last: None }
    }

    /// Draws for ever.
    pub(super) async fn run(&mut self) {
        if !std::io::stderr().is_terminal() {
            return std::future::pending().await;
        }
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = interval.tick().await;
            let Some(stats) = self.call.stats().await else { return };
            let viewers = self.emulator.stats(self.chat).await.unwrap_or_default();
            let n_viewers =
                viewers.iter().filter(|viewer| viewer.name != self.bot && viewer.connected).count();
            let line = self.line(&stats, n_viewers, now);
            // A line that goes on in the next row could not be erased.
            let line = fit(&line, terminal_size_of(std::io::stderr()).map_or(WIDTH, |(width, _)| width.0));
            say::bare(format_args!("{ERASE}{line}"));
            self.drawn = true;
        }
    }

    /// Takes the line away.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            say::bare(format_args!("{ERASE}"));
        }
    }

    fn line(&mut self, stats: &CallStats, n_viewers: usize, now: Instant) -> String {
        let player = self.player.status();
        let player = player.borrow();
        let source = player.source.as_deref().unwrap_or("nothing");
        let name = source.rsplit('/').next().unwrap_or(source);
        let mark = if player.state == PlayerState::Paused { "paused" } else { "playing" };
        let position = clock(player.position.to_duration());
        let duration =
            player.duration.map_or_else(String::new, |whole| format!("/{}", clock(whole.to_duration())));
        let bitrate = self.bitrate(stats, now);
        let loss = loss(stats).map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0));
        let status = self.call.status();
        let status = status.borrow().word();
        format!(
            "{status} · {mark} {name} {position}{duration} · {bitrate} · loss {loss} · viewers {n_viewers}"
        )
    }

    fn bitrate(&mut self, stats: &CallStats, now: Instant) -> String {
        let streams = [&stats.media.audio, &stats.media.video];
        let bytes = streams.into_iter().flatten().map(|stream| stream.bytes_sent).sum();
        let before = self.last.replace((now, bytes));
        let Some((then, before)) = before else { return "-".to_owned() };
        let seconds = now.duration_since(then).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
        let kbps = bytes.saturating_sub(before) as f64 * 8.0 / 1000.0 / seconds.max(0.001);
        if kbps < 1000.0 { format!("{kbps:.0} kbit/s") } else { format!("{:.2} Mbit/s", kbps / 1000.0) }
    }
}

/// Cuts a line to so many columns of a terminal.
fn fit(line: &str, width: u16) -> String {
    let width = usize::from(width);
    if line.chars().map(columns).sum::<usize>() <= width {
        return line.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |c: &char| {
        let rest = left.checked_sub(columns(*c));
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    let mut cut: String = line.chars().take_while(fits).collect();
    cut.extend((width > 0).then_some('…'));
    cut
}

/// How wide a character is at most: beyond the scripts of Europe and the Near East it may be two
/// columns, dashes and dots left out.
const fn columns(c: char) -> usize {
    if c < '\u{1100}' || (c >= '\u{2000}' && c < '\u{2070}') { 1 } else { 2 }
}

/// The worse of both streams, by the last receiver reports.
fn loss(stats: &CallStats) -> Option<f64> {
    let streams = [&stats.media.audio, &stats.media.video];
    streams
        .into_iter()
        .flatten()
        .filter_map(|stream| stream.remote)
        .map(|remote| remote.fraction_lost)
        .reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_never_gets_longer_than_the_terminal() {
        let line = "joined · playing film.mp4 0:05/1:00";
        assert_eq!(fit(line, 80), line);
        assert_eq!(fit(line, 35), line);
        assert_eq!(fit(line, 34), "joined · playing film.mp4 0:05/1:…");
        assert_eq!(fit("映画.mp4", 8), "映画.mp4");
        assert_eq!(fit("映画.mp4", 4), "映…", "half a character is none");
        assert_eq!((fit("ab", 1), fit("ab", 0)), ("…".to_owned(), String::new()));
    }
}
