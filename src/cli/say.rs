//! Words for whoever started the program: results on stdout, everything else on stderr.
//!
//! The macros of the standard library panic when the other end is gone or the disk is full. Here
//! a result that cannot be written is an error like any other (and a closed pipe none at all, see
//! [`super::exit::report`]), and a remark that nobody can read is no reason to end.

use std::fmt::{Arguments, Display};
use std::io::Write;

use anyhow::Context;

/// Writes a result and ends its line.
pub(super) fn result(result: impl Display) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{result}").and_then(|()| stdout.flush()).context("cannot write to stdout")
}

/// Says something beside the results, in a line of its own.
pub(super) fn remark(text: impl Display) {
    bare(format_args!("{text}\n"));
}

/// The same without the end of the line.
pub(super) fn bare(text: Arguments<'_>) {
    let mut stderr = std::io::stderr().lock();
    // Nobody reads it, and there is no other place to say so.
    let _ = stderr.write_fmt(text).and_then(|()| stderr.flush());
}
