//! Bytes that come once and in order (a pipe, a server without ranges) → something that can be
//! demuxed, as long as nobody asks for what is long past.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Mutex;

/// How far back a demuxer may go: tracks of one file are interleaved closer than this.
const HISTORY: usize = 8 << 20;
/// Bytes asked for at once.
const CHUNK: usize = 32 << 10;

/// Keeps the last bytes, reads on for later ones, and refuses everything else, the end too:
/// where it is is not known before it has come.
pub struct Stream {
    /// In a mutex only because readers need not be `Sync`; nobody ever waits for it.
    inner: Mutex<Box<dyn Read + Send>>,
    history: VecDeque<u8>,
    /// The position of `history[0]`.
    history_start: u64,
    pos: u64,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("pos", &self.pos).finish_non_exhaustive()
    }
}

impl Stream {
    /// From a reader that cannot be sought in.
    pub fn new(inner: impl Read + Send + 'static) -> Self {
        Self { inner: Mutex::new(Box::new(inner)), history: VecDeque::new(), history_start: 0, pos: 0 }
    }

    /// The same from its first byte on, where that is still remembered.
    pub(super) fn rewound(self) -> Option<Self> {
        (self.history_start == 0).then_some(Self { pos: 0, ..self })
    }

    fn known_to(&self) -> u64 {
        self.history_start + self.history.len() as u64
    }

    /// Reads some more; 0 at the end.
    fn pull(&mut self) -> io::Result<usize> {
        let mut chunk = [0; CHUNK];
        let inner = self.inner.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let n = loop {
            match inner.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.history.extend(&chunk[..n]);
        let excess = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..excess);
        self.history_start += excess as u64;
        Ok(n)
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.pos >= self.known_to() {
            if buf.is_empty() || self.pull()? == 0 {
                return Ok(0);
            }
        }
        let at = usize::try_from(self.pos - self.history_start).unwrap_or(usize::MAX);
        let (front, back) = self.history.as_slices();
        let part = if at < front.len() { &front[at..] } else { &back[at - front.len()..] };
        let n = part.len().min(buf.len());
        buf[..n].copy_from_slice(&part[..n]);
        self.pos += n as u64;
        Ok(n)
    }
}

impl Seek for Stream {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let wanted = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.pos.checked_add_signed(by),
            SeekFrom::End(_) => None,
        };
        match wanted.filter(|wanted| *wanted >= self.history_start) {
            Some(wanted) => {
                self.pos = wanted;
                Ok(wanted)
            }
            None => Err(io::Error::new(
                io::ErrorKind::NotSeekable,
                "these bytes come only once and cannot be gone back to; play a file instead",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn goes_back_a_little_and_forward_at_will() {
        let bytes: Vec<u8> = (0..(HISTORY + 3 * CHUNK)).map(|at| (at % 251) as u8).collect();
        let mut stream = Stream::new(Cursor::new(bytes.clone()));
        let mut byte = [0];
        for at in [0, 100_000, 5, HISTORY + 2 * CHUNK, 3 * CHUNK] {
            stream.seek(SeekFrom::Start(at as u64)).unwrap();
            stream.read_exact(&mut byte).unwrap();
            assert_eq!(byte[0], bytes[at], "{at}");
        }
        let gone = stream.seek(SeekFrom::Start(0)).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotSeekable);
        assert!(stream.seek(SeekFrom::End(0)).is_err());
        stream.seek(SeekFrom::Start(bytes.len() as u64 + 10)).unwrap();
        assert_eq!(stream.read(&mut byte).unwrap(), 0, "behind the end is nothing");
    }
}
