//! A page address → media addresses, by a program of the user's (`yt-dlp -g`, for example).

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::{SourceError, is_address};
use crate::media::child::Child;

/// Lines of output that are read.
const MAX_ADDRESSES: usize = 1000;
/// Bytes of output that are read.
const MAX_OUTPUT: u64 = 1 << 20;

/// Runs `command` (split at spaces) with `page` as its last argument. Every line that it writes
/// and that is an address or a path is one thing to play, in this order.
///
/// # Errors
/// When it cannot be started, fails, takes longer than `patience` or finds nothing; the last line
/// of its standard error is told.
pub fn resolve(command: &str, page: &str, patience: Duration) -> Result<Vec<PathBuf>, SourceError> {
    let failed = |what: String| SourceError::Resolver { command: command.to_owned(), what };
    let mut words = command.split_whitespace();
    let program = words.next().ok_or_else(|| failed("is empty; name a program".to_owned()))?;
    let mut process = Command::new(program);
    process.args(words).arg(page).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Child::spawn(process).map_err(|error| failed(format!("cannot be started: {error}")))?;
    let stdout = child.take_stdout().expect("it was asked for");
    let (done, output) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.take(MAX_OUTPUT).read_to_string(&mut text).map(|_| text);
        // Nobody listens any more after the patience has ended.
        let _ = done.send(read);
    });
    let text = output.recv_timeout(patience);
    if text.is_err() {
        child.kill();
    }
    let end = child.wait();
    // Its output ends with the process, so this does too.
    reader.join().map_err(|_| failed("wrote something that cannot be read".to_owned()))?;
    let text = text
        .map_err(|_| failed(format!("took longer than {} s{}", patience.as_secs(), end.last_words())))?
        .map_err(|error| failed(format!("wrote something that cannot be read: {error}")))?;
    if !end.success() {
        return Err(failed(format!("failed{}", end.last_words())));
    }
    let lines = text.lines().map(str::trim).filter(|line| is_address(line) || line.starts_with('/'));
    let found: Vec<PathBuf> = lines.take(MAX_ADDRESSES).map(PathBuf::from).collect();
    if found.is_empty() {
        return Err(failed(format!("found no media behind {page}{}", end.last_words())));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A program that does what `body` says.
    fn program(dir: &std::path::Path, body: &str) -> String {
        let path = dir.join("resolver");
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path.display().to_string()
    }

    #[test]
    fn a_page_becomes_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let command = program(dir.path(), "echo \"[info] $1\"; echo http://host/$2.mp4; echo /tmp/x.ogg");
        let found = resolve(&format!("{command} -g"), "page", Duration::from_secs(10)).unwrap();
        assert_eq!(found, [PathBuf::from("http://host/page.mp4"), "/tmp/x.ogg".into()]);
    }

    #[test]
    fn its_last_words_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let resolved = |body: &str, patience| {
            let error = resolve(&program(dir.path(), body), "page", patience).unwrap_err();
            error.to_string()
        };
        let long = Duration::from_secs(10);
        let text = resolved("echo first >&2; echo 'no such video' >&2; exit 1", long);
        assert!(text.contains("failed") && text.ends_with("no such video"), "{text}");
        let text = resolved("exit 0", long);
        assert!(text.contains("found no media"), "{text}");
        let text = resolved("echo waiting >&2; sleep 60", Duration::from_millis(300));
        assert!(text.contains("took longer") && text.ends_with("waiting"), "{text}");
        let missing = resolve("/nowhere/at/all", "page", long).unwrap_err().to_string();
        assert!(missing.contains("cannot be started"), "{missing}");
    }
}
