//! How much the program says on stderr, and in which form.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

/// The ICE agents of the call and of the emulator write the other side's password into their
/// debug logs; this is the most that they may say.
const MUTE: &[(&str, LevelFilter)] = &[("rtc_ice", LevelFilter::INFO), ("is", LevelFilter::INFO)];

/// Logging options, the same for every command.
#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// Say more on stderr; twice for every decision
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Log")]
    verbose: u8,

    /// Say nothing on stderr but errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Log")]
    quiet: bool,

    /// The form of log lines; RUST_LOG filters them
    #[arg(long, global = true, value_enum, default_value = "compact", help_heading = "Log")]
    log_format: LogFormat,

    /// Colors; auto means on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, default_value = "auto", help_heading = "Log")]
    color: Color,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Pretty,
    Compact,
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

impl LogArgs {
    /// Begins to write logs to stderr.
    pub(super) fn install(&self) {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(self.level()));
        let ansi = match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => colors_on_stderr(),
        };
        subscriber(filter, lines(self.log_format, ansi, std::io::stderr)).init();
    }

    const fn level(&self) -> &'static str {
        match (self.quiet, self.verbose) {
            (true, _) => "error",
            // What the engines warn of, nobody who just plays a file can do anything about.
            (false, 0) => "telecast=warn,error",
            // The emulator's engine warns of every codec that a browser offers in vain.
            (false, 1) => "telecast=info,warn,str0m=error",
            (false, 2) => "telecast=debug,info",
            (false, _) => "telecast=trace,debug",
        }
    }
}

/// Lines in the wanted form.
fn lines<S, W>(format: LogFormat, ansi: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // Else it would tell of a line that cannot be written by a macro that panics then.
    let layer = fmt::layer().with_writer(writer).log_internal_errors(false);
    match format {
        LogFormat::Pretty => layer.with_ansi(ansi).pretty().boxed(),
        LogFormat::Compact => layer.with_ansi(ansi).compact().boxed(),
        LogFormat::Json => layer.json().boxed(),
    }
}

/// What `filter` lets through, without what no filter may let through.
fn subscriber(
    filter: EnvFilter,
    lines: impl Layer<tracing_subscriber::Registry> + Send + Sync,
) -> impl Subscriber + Send + Sync {
    tracing_subscriber::registry().with(lines.with_filter(filter_fn(harmless))).with(filter)
}

/// Is this from a place that prints no secrets? `RUST_LOG` has no say in it.
fn harmless(metadata: &Metadata<'_>) -> bool {
    let mut muted = MUTE.iter().filter(|(krate, _)| {
        metadata.target().strip_prefix(krate).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    });
    muted.all(|(_, most)| metadata.level() <= most)
}

/// May stderr be colored?
pub(super) fn colors_on_stderr() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests;
