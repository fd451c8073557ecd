//! A [`MediaSource`] → bytes at a position, buffered, never more than the file has.
//!
//! A source that does not know its end (a pipe) is taken for endless until the end has come.

use std::io::{ErrorKind, Read, SeekFrom};

use bytes::Bytes;

use super::{DemuxError, MediaSource};

/// How much is read at once: large enough that system calls do not count, small enough that
/// hundreds of open items do not either.
const BLOCK: usize = 64 << 10;

/// The reader under all containers. Going to another place costs nothing until bytes are asked
/// for there, and nothing at all inside the block that is loaded.
pub(super) struct Reader {
    source: Box<dyn MediaSource>,
    format: &'static str,
    len: u64,
    pos: u64,
    /// The file position of `block[0]`.
    block_start: u64,
    block: Vec<u8>,
    /// Where `source` stands; saves a seek before reads that follow each other.
    source_pos: u64,
    /// The end is not known yet, and nothing may be asked for that is not needed now.
    streaming: bool,
}

impl Reader {
    pub(super) fn new(mut source: Box<dyn MediaSource>) -> Result<Self, DemuxError> {
        let (len, streaming) = match source.seek(SeekFrom::End(0)) {
            Ok(len) => (len, false),
            Err(error) if error.kind() == ErrorKind::NotSeekable => (u64::MAX, true),
            Err(error) => return Err(error.into()),
        };
        let source_pos = if streaming { 0 } else { len };
        let block = Vec::new();
        Ok(Self { source, format: "media", len, pos: 0, block_start: 0, block, source_pos, streaming })
    }

    /// The bytes under it from the start, and how many there are.
    pub(super) fn into_source(mut self) -> Result<(Box<dyn MediaSource>, u64), DemuxError> {
        self.go_to(0)?;
        Ok((self.source, self.len))
    }

    /// The container's name in errors.
    pub(super) const fn set_format(&mut self, format: &'static str) {
        self.format = format;
    }

    /// The length of the whole file.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// The bytes come once and in order: what stands at the end cannot be looked at.
    pub(super) const fn is_streaming(&self) -> bool {
        self.streaming
    }

    /// Where the next byte is read.
    pub(super) const fn pos(&self) -> u64 {
        self.pos
    }

    /// Bytes from here to the end.
    pub(super) const fn left(&self) -> u64 {
        self.len.saturating_sub(self.pos)
    }

    pub(super) const fn seek(&mut self, pos: u64) {
        self.pos = pos;
    }

    pub(super) const fn skip(&mut self, n: u64) {
        self.pos = self.pos.saturating_add(n);
    }

    /// Up to `n` bytes from here without going on; fewer only at the end. `n` is at most a block.
    pub(super) fn peek(&mut self, n: usize) -> Result<&[u8], DemuxError> {
        let n = n.min(BLOCK).min(usize::try_from(self.left()).unwrap_or(BLOCK));
        if !self.has(n) {
            if self.streaming {
                self.load_some(n)?;
            } else {
                self.load()?;
            }
            if !self.has(n) && !self.streaming {
                return Err(self.shrunk());
            }
        }
        let Some(start) = self.in_block() else { return Ok(&[]) };
        Ok(&self.block[start..self.block.len().min(start + n)])
    }

    /// The whole rest of the loaded block from here, at least one byte unless at the end.
    pub(super) fn peek_block(&mut self) -> Result<&[u8], DemuxError> {
        if self.left() == 0 {
            return Ok(&[]);
        }
        self.peek(1)?;
        Ok(self.in_block().map_or(&[], |start| &self.block[start..]))
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DemuxError> {
        let truncated = self.truncated(N as u64);
        let bytes = self.peek(N)?.first_chunk::<N>().copied().ok_or(truncated)?;
        self.skip(N as u64);
        Ok(bytes)
    }

    /// The next `n` bytes, at most `limit`. Nothing is allocated before the file is known to
    /// have them.
    pub(super) fn take(&mut self, n: u64, limit: usize, what: &str) -> Result<Bytes, DemuxError> {
        let n_bytes = usize::try_from(n).ok().filter(|n| *n <= limit).ok_or_else(|| DemuxError::Limit {
            format: self.format,
            what: format!("{what} of {n} bytes at byte {}; at most {limit} are read", self.pos),
        })?;
        if n > self.left() {
            return Err(self.truncated(n));
        }
        let mut bytes = vec![0; n_bytes];
        let mut filled = 0;
        if let Some(start) = self.in_block() {
            filled = n_bytes.min(self.block.len() - start);
            bytes[..filled].copy_from_slice(&self.block[start..start + filled]);
        }
        if filled < n_bytes {
            let rest = n_bytes - filled;
            if rest < BLOCK {
                self.skip(filled as u64);
                let peeked = self.peek(rest)?;
                if peeked.len() < rest {
                    return Err(self.truncated(rest as u64));
                }
                bytes[filled..].copy_from_slice(peeked);
                self.skip(rest as u64);
                return Ok(bytes.into());
            }
            self.go_to(self.pos + filled as u64)?;
            self.source.read_exact(&mut bytes[filled..]).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => self.truncated(n),
                _ => error.into(),
            })?;
            self.source_pos += rest as u64;
        }
        self.skip(n);
        Ok(bytes.into())
    }

    /// The error for `wanted` bytes that the file does not have.
    pub(super) fn truncated(&self, wanted: u64) -> DemuxError {
        DemuxError::Truncated {
            format: self.format,
            what: format!(
                "{wanted} bytes are needed at byte {}, but the file ends at {}",
                self.pos, self.len
            ),
        }
    }

    fn shrunk(&self) -> DemuxError {
        DemuxError::Truncated {
            format: self.format,
            what: format!("the file had {} bytes when it was opened and has become shorter", self.len),
        }
    }

    /// Where `pos` is in the block, if it is.
    fn in_block(&self) -> Option<usize> {
        let at = usize::try_from(self.pos.checked_sub(self.block_start)?).ok()?;
        (at < self.block.len()).then_some(at)
    }

    fn has(&self, n: usize) -> bool {
        n == 0 || self.in_block().is_some_and(|at| self.block.len() - at >= n)
    }

    /// Loads the block that starts here.
    fn load(&mut self) -> Result<(), DemuxError> {
        self.go_to(self.pos)?;
        let mut block = std::mem::take(&mut self.block);
        block.clear();
        let read = self.source.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        self.source_pos += read as u64;
        self.block = block;
        self.block_start = self.pos;
        Ok(())
    }

    /// Adds to the block until it has `n` bytes from here, and no more than come by themselves:
    /// a live stream is not waited for.
    fn load_some(&mut self, n: usize) -> Result<(), DemuxError> {
        let kept = self.in_block().map_or_else(Vec::new, |at| self.block.split_off(at));
        self.go_to(self.pos.saturating_add(kept.len() as u64))?;
        let mut filled = kept.len();
        self.block = kept;
        self.block_start = self.pos;
        self.block.resize(filled + BLOCK, 0);
        let result = loop {
            if filled >= n {
                break Ok(());
            }
            match self.source.read(&mut self.block[filled..]) {
                Ok(0) => {
                    self.len = self.pos.saturating_add(filled as u64);
                    break Ok(());
                }
                Ok(read) => {
                    filled += read;
                    self.source_pos += read as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error.into()),
            }
        };
        self.block.truncate(filled);
        result
    }

    fn go_to(&mut self, pos: u64) -> Result<(), DemuxError> {
        if self.source_pos != pos {
            self.source_pos = self.source.seek(SeekFrom::Start(pos))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn numbers(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn every_way_of_reading_gives_the_same_bytes() {
        let bytes = numbers(300_000);
        let mut reader = Reader::new(Box::new(Cursor::new(bytes.clone()))).unwrap();
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..500 {
            let pos = random.usize(0..bytes.len());
            let n = random.usize(0..=(bytes.len() - pos).min(150_000));
            reader.seek(pos as u64);
            assert_eq!(reader.peek(n).unwrap(), &bytes[pos..pos + n.min(BLOCK)]);
            assert_eq!(reader.take(n as u64, 1 << 20, "test").unwrap(), &bytes[pos..pos + n]);
            assert_eq!(reader.pos(), (pos + n) as u64);
        }
    }

    #[test]
    fn a_pipe_is_read_like_a_file() {
        let bytes = numbers(300_000);
        let pipe = crate::media::source::stream::Stream::new(Cursor::new(bytes.clone()));
        let mut reader = Reader::new(Box::new(pipe)).unwrap();
        assert!(reader.is_streaming());
        let mut random = fastrand::Rng::with_seed(6);
        while reader.pos() + 70_000 < bytes.len() as u64 {
            let at = reader.pos() as usize;
            let n = random.usize(1..70_000);
            let peeked = reader.peek(n).unwrap();
            assert_eq!(peeked, &bytes[at..at + n.min(BLOCK)]);
            assert_eq!(reader.take(n as u64, 1 << 20, "test").unwrap(), &bytes[at..at + n]);
            reader.skip(random.u64(0..3_000));
        }
        reader.seek(299_998);
        assert_eq!(reader.peek(10).unwrap().len(), 2);
        assert_eq!((reader.len(), reader.left()), (300_000, 2));
        assert!(matches!(reader.take(3, 10, "test"), Err(DemuxError::Truncated { .. })));
        assert!(matches!(reader.array::<4>(), Err(DemuxError::Truncated { .. })));
    }

    #[test]
    fn the_end_is_a_typed_error() {
        let mut reader = Reader::new(Box::new(Cursor::new(numbers(10)))).unwrap();
        reader.seek(8);
        assert_eq!(reader.peek(100).unwrap().len(), 2);
        assert!(matches!(reader.array::<4>(), Err(DemuxError::Truncated { .. })));
        assert!(matches!(reader.take(3, 100, "test"), Err(DemuxError::Truncated { .. })));
        assert!(matches!(reader.take(101, 100, "test"), Err(DemuxError::Limit { .. })));
        reader.seek(u64::MAX);
        reader.skip(5);
        assert!(reader.peek(4).unwrap().is_empty());
        assert!(matches!(reader.array::<1>(), Err(DemuxError::Truncated { .. })));
    }
}
