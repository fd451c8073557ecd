//! Standard input, of which a process has only one.
//!
//! A source is often opened twice: to see whether it can be played, and to play it. So what was
//! read is given back as long as it is remembered from the first byte on.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Mutex, PoisonError};

use super::SourceError;
use super::stream::Stream;

enum Slot {
    Fresh,
    Returned(Stream),
    /// Somebody reads it, or its beginning is lost.
    Taken,
}

static SLOT: Mutex<Slot> = Mutex::new(Slot::Fresh);

/// Standard input while somebody reads it.
pub(super) struct Stdin(Option<Stream>);

pub(super) fn open() -> Result<Stdin, SourceError> {
    let mut slot = SLOT.lock().unwrap_or_else(PoisonError::into_inner);
    match std::mem::replace(&mut *slot, Slot::Taken) {
        Slot::Fresh => Ok(Stdin(Some(Stream::new(io::stdin())))),
        Slot::Returned(stream) => Ok(Stdin(Some(stream))),
        Slot::Taken => Err(SourceError::StdinTaken),
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take().and_then(Stream::rewound) {
            *SLOT.lock().unwrap_or_else(PoisonError::into_inner) = Slot::Returned(stream);
        }
    }
}

impl Stdin {
    fn stream(&mut self) -> &mut Stream {
        self.0.as_mut().expect("only a drop takes it")
    }
}

impl Read for Stdin {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream().read(buf)
    }
}

impl Seek for Stdin {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.stream().seek(to)
    }
}
