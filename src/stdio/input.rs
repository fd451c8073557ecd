//! stdin → notes: the caller's lines, none longer than the limit, until it closes its end.

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use tokio::sync::mpsc;

use super::session::Note;
use super::wire::{self, MAX_LINE_BYTES, Rejected};

/// Reads the caller's lines until it closes its end.
pub(super) async fn read_lines(mut input: impl AsyncBufRead + Unpin, notes: mpsc::Sender<Note>) {
    let limit = u64::try_from(MAX_LINE_BYTES + 1).expect("a megabyte");
    let mut line = Vec::new();
    let mut skipping = false;
    loop {
        line.clear();
        match (&mut input).take(limit).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let whole = line.ends_with(b"\n");
        let too_long = !whole && line.len() > MAX_LINE_BYTES;
        let rest_of_long_line = skipping;
        skipping = too_long || (skipping && !whole);
        if rest_of_long_line {
            continue;
        }
        let note = if too_long {
            let message = format!("a line of more than {MAX_LINE_BYTES} bytes was skipped");
            Err(Rejected { reference: None, chat: None, code: "line_too_long", message })
        } else {
            match wire::read(&line) {
                Ok(None) => continue,
                Ok(Some(line)) => Ok(line),
                Err(rejected) => Err(rejected),
            }
        };
        if notes.send(Note::Line(note)).await.is_err() {
            return;
        }
    }
    // The session may be over already.
    let _ = notes.send(Note::InputClosed).await;
}
