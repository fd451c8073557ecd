//! What is known of a file on disk, kept beside the prepared files: its content and how loud it is.
//!
//! Reading all of a film takes its time, so a file is known by what the file system says of it.
//! Whoever writes into a file changes that.

use std::fmt::Write as _;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::media::audio::Loudness;

/// The ending of a note that says which content a file has.
pub(super) const CONTENT: &str = "of";
/// The ending of a note that says how loud it is.
pub(super) const LOUDNESS: &str = "lufs";
/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;
/// No note is longer.
const MAX_NOTE: u64 = 256;

/// What the file system says of a file, in 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity(String);

impl Identity {
    /// Of a regular file.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn of(source: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(source)?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut hash = Sha256::new();
        hash.update(place(source, &metadata)?);
        hash.update(metadata.len().to_le_bytes());
        let changed = metadata.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        hash.update(changed.as_nanos().to_le_bytes());
        Ok(Self(digits(hash)))
    }

    /// The content of the file, where it has been read.
    pub(super) fn content(&self, folder: &Path) -> Option<String> {
        let content = read(&self.note(folder, CONTENT))?;
        (content.len() == 64 && content.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(content)
    }

    /// Reads all of the file and keeps what it is; nothing when `stop` says so before the end, or
    /// when somebody writes into the file meanwhile.
    ///
    /// # Errors
    /// When it cannot be read, or nothing can be kept.
    pub(super) fn learn(
        &self,
        folder: &Path,
        source: &Path,
        stop: impl Fn() -> bool,
    ) -> io::Result<Option<String>> {
        if let Some(content) = self.content(folder) {
            return Ok(Some(content));
        }
        let (mut file, mut chunk, mut hash) = (File::open(source)?, vec![0; CHUNK], Sha256::new());
        loop {
            let n = file.read(&mut chunk)?;
            if n == 0 {
                break;
            }
            if stop() {
                return Ok(None);
            }
            hash.update(&chunk[..n]);
        }
        if Self::of(source)? != *self {
            return Ok(None);
        }
        let content = digits(hash);
        write(&self.note(folder, CONTENT), &content)?;
        Ok(Some(content))
    }

    /// How loud the file is, where that has been measured.
    pub(super) fn loudness(&self, folder: &Path) -> Option<Loudness> {
        let note = read(&self.note(folder, LOUDNESS))?;
        let (lufs, peak) = note.split_once(' ')?;
        let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
        Some(Loudness { lufs: number(lufs)?, peak: number(peak)? })
    }

    /// # Errors
    /// When nothing can be kept.
    pub(super) fn keep_loudness(&self, folder: &Path, loudness: Loudness) -> io::Result<()> {
        write(&self.note(folder, LOUDNESS), &format!("{:.2} {:.6}", loudness.lufs, loudness.peak))
    }

    fn note(&self, folder: &Path, ending: &str) -> PathBuf {
        folder.join(format!("{}.{ending}", self.0))
    }
}

/// Where a file lies: it may be renamed, but not be replaced by another.
#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere the system has to be asked")]
fn place(_source: &Path, metadata: &Metadata) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::MetadataExt as _;
    Ok([metadata.dev().to_le_bytes(), metadata.ino().to_le_bytes()].concat())
}

/// Where a file lies: a file that is renamed is another.
#[cfg(not(unix))]
fn place(source: &Path, _metadata: &Metadata) -> io::Result<Vec<u8>> {
    Ok(fs::canonicalize(source)?.into_os_string().into_encoded_bytes())
}

fn digits(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::with_capacity(64), |mut digits, byte| {
        // A string takes whatever is written.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

/// A note that is read counts as used.
fn read(note: &Path) -> Option<String> {
    if !super::touch(note) {
        return None;
    }
    let mut text = String::new();
    File::open(note).ok()?.take(MAX_NOTE).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Whole or not at all.
fn write(note: &Path, text: &str) -> io::Result<()> {
    let name = note.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = note.with_file_name(format!(".{name}{}", super::UNFINISHED));
    fs::write(&unfinished, text)?;
    fs::rename(unfinished, note)
}
