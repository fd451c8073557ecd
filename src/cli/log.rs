//! How much the program says on stderr, and in which form.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

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
        let level = match (self.quiet, self.verbose) {
            (true, _) => "error",
            (false, 0) => "warn",
            (false, 1) => "telecast=info,warn",
            (false, 2) => "telecast=debug,info",
            (false, _) => "telecast=trace,debug",
        };
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
        let ansi = match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => colors_on_stderr(),
        };
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Pretty => builder.with_ansi(ansi).pretty().init(),
            LogFormat::Compact => builder.with_ansi(ansi).compact().init(),
            LogFormat::Json => builder.json().init(),
        }
    }
}

/// May stderr be colored?
pub(super) fn colors_on_stderr() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && std::io::stderr().is_terminal()
}
