//! A folder or a playlist → the names in it, in order.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{SourceError, is_address};

/// Names that one list may have, all folders and lists in it together.
const MAX_NAMES: usize = 10_000;
/// Lists and folders inside each other.
const MAX_DEPTH: usize = 8;
/// A playlist is text; this is more than ten thousand lines of it.
const MAX_PLAYLIST: u64 = 4 << 20;
/// What is taken for media in a folder. A file that is named is played whatever it is called.
const EXTENSIONS: &[&str] = &[
    "mp4", "m4v", "m4a", "m4b", "mov", "mkv", "mka", "webm", "ogg", "oga", "ogv", "opus", "mp3", "flac",
    "wav", "aif", "aiff", "aac", "avi", "ts", "m2ts", "flv", "wmv", "wma", "mpg", "mpeg", "ivf", "h264",
];

/// What a name stands for: the media in a folder (by name, deeper folders too), the entries of an
/// m3u or m3u8 playlist, or just itself.
///
/// An m3u8 with `#EXT-X-` lines is a live or segmented stream (HLS) and stands for itself.
///
/// # Errors
/// When a folder or playlist cannot be read, names nothing, itself, or too much.
pub fn expand(name: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let mut names = Vec::new();
    Expansion { names: &mut names, open: HashSet::new() }.add(name, 0)?;
    Ok(names)
}

struct Expansion<'a> {
    names: &'a mut Vec<PathBuf>,
    /// The lists that are being read: one of them again would never end.
    open: HashSet<PathBuf>,
}

impl Expansion<'_> {
    fn add(&mut self, name: &Path, depth: usize) -> Result<(), SourceError> {
        let address = name.to_str().is_some_and(is_address);
        let is_dir = !address && name.is_dir();
        let is_list = !address && !is_dir && name.is_file() && has_extension(name, &["m3u", "m3u8"]);
        if !is_dir && !is_list {
            self.names.push(name.to_path_buf());
            return if self.names.len() > MAX_NAMES {
                Err(list_error(name, format!("more than {MAX_NAMES} things to play")))
            } else {
                Ok(())
            };
        }
        let failed = |cause| SourceError::Io { path: name.to_path_buf(), cause };
        let canonical = fs::canonicalize(name).map_err(failed)?;
        if depth == MAX_DEPTH || !self.open.insert(canonical.clone()) {
            return Err(list_error(name, "itself, or lists inside each other too deeply".to_owned()));
        }
        let before = self.names.len();
        let entries = if is_dir { entries_of_folder(name)? } else { entries_of_playlist(name)? };
        match entries {
            Some(entries) => {
                for entry in entries {
                    self.add(&entry, depth + 1)?;
                }
            }
            None => self.names.push(name.to_path_buf()),
        }
        self.open.remove(&canonical);
        if depth == 0 && self.names.len() == before {
            return Err(SourceError::NothingListed { path: name.to_path_buf() });
        }
        Ok(())
    }
}

fn list_error(path: &Path, what: String) -> SourceError {
    SourceError::List { path: path.to_path_buf(), what }
}

fn has_extension(path: &Path, known: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| known.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

fn entries_of_folder(folder: &Path) -> Result<Option<Vec<PathBuf>>, SourceError> {
    let failed = |cause| SourceError::Io { path: folder.to_path_buf(), cause };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let path = entry.path();
        // A link to a folder may lead back here.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !hidden && (is_folder || has_extension(&path, EXTENSIONS)) {
            entries.push(path);
        }
        if entries.len() > MAX_NAMES {
            return Err(list_error(folder, format!("more than {MAX_NAMES} things to play")));
        }
    }
    entries.sort();
    Ok(Some(entries))
}

/// `None` for a playlist of HLS.
fn entries_of_playlist(list: &Path) -> Result<Option<Vec<PathBuf>>, SourceError> {
    let failed = |cause| SourceError::Io { path: list.to_path_buf(), cause };
    if fs::metadata(list).map_err(failed)?.len() > MAX_PLAYLIST {
        return Err(list_error(list, format!("more than a playlist of {MAX_PLAYLIST} bytes can")));
    }
    let bytes = fs::read(list).map_err(failed)?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_start_matches('\u{feff}');
    if text.lines().any(|line| line.starts_with("#EXT-X-")) {
        return Ok(None);
    }
    let folder = list.parent().unwrap_or_else(|| Path::new(""));
    let names = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(Some(names.map(|name| if is_address(name) { name.into() } else { folder.join(name) }).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_playlists_are_spelled_out_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("b")).unwrap();
        for name in ["c.MP3", "a.mp4", "notes.txt", ".hidden.mp4", "b/inner.ogg"] {
            fs::write(at(name), b"x").unwrap();
        }
        assert_eq!(expand(dir.path()).unwrap(), [at("a.mp4"), at("b/inner.ogg"), at("c.MP3")]);
        let list = at("list.m3u8");
        fs::write(&list, "\u{feff}#EXTM3U\n#EXTINF:3,Title\na.mp4\r\n\nhttp://host/x.mp3\nb\n").unwrap();
        assert_eq!(expand(&list).unwrap(), [at("a.mp4"), "http://host/x.mp3".into(), at("b/inner.ogg")]);
        fs::write(&list, "#EXTM3U\n#EXT-X-TARGETDURATION:6\nseg0.ts\n").unwrap();
        assert_eq!(expand(&list).unwrap(), std::slice::from_ref(&list));
        assert_eq!(expand(Path::new("-")).unwrap(), [PathBuf::from("-")]);
    }

    #[test]
    fn lists_that_name_nothing_or_themselves_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(expand(dir.path()), Err(SourceError::NothingListed { .. })));
        let (one, two) = (dir.path().join("one.m3u"), dir.path().join("two.m3u"));
        fs::write(&one, "two.m3u\n").unwrap();
        fs::write(&two, "one.m3u\n").unwrap();
        assert!(matches!(expand(&one), Err(SourceError::List { .. })));
    }
}
