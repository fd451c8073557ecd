//! A playlist of HTTP Live Streaming (RFC 8216) → whether it is live. FFmpeg plays it either way.
//!
//! It is asked for once more and as a whole, apart from the bytes that told what it is: it grows,
//! so parts of it that were fetched at different times belong to different playlists.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(feature = "http")]
use super::http;
use super::{Liveness, SourceOptions, is_address};

/// No honest playlist is longer: a day of segments of two seconds has less.
const MAX_PLAYLIST: u64 = 8 << 20;
/// No honest segment is longer.
const MAX_SEGMENT: u64 = 60;
/// RFC 8216, 4.3.3.1: how long a segment is at most, in seconds.
const TARGET: &str = "#EXT-X-TARGETDURATION:";

/// What a playlist is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Playlist {
    /// Segments of at most this length will be added.
    Live(Duration),
    /// It has all of its segments.
    Whole,
    /// It names others, this one first.
    Master(String),
}

/// Whether the playlist there is live, or the first one that it names.
pub fn liveness(path: &Path, options: &SourceOptions) -> Option<Liveness> {
    let (base, text) = fetch(path, options)?;
    let playlist = match parse(&text) {
        Playlist::Master(first) => parse(&fetch(&join(&base, &first)?, options)?.1),
        other => other,
    };
    match playlist {
        Playlist::Live(piece) => Some(Liveness { piece, is_endless: false }),
        // A master names no other master.
        Playlist::Whole | Playlist::Master(_) => None,
    }
}

/// The text at a place, and what that place is called in the end. What cannot be fetched is found
/// by whoever plays it.
#[cfg_attr(not(feature = "http"), expect(unused_variables, reason = "only servers are asked with options"))]
fn fetch(path: &Path, options: &SourceOptions) -> Option<(PathBuf, String)> {
    let (base, bytes) = match path.to_str().filter(|name| is_address(name)) {
        #[cfg(feature = "http")]
        Some(url) => {
            let (url, bytes) = http::fetch(url, MAX_PLAYLIST, options).ok()?;
            (PathBuf::from(url), bytes)
        }
        #[cfg(not(feature = "http"))]
        Some(_) => return None,
        None => {
            let mut bytes = Vec::new();
            File::open(path).ok()?.take(MAX_PLAYLIST).read_to_end(&mut bytes).ok()?;
            (path.to_owned(), bytes)
        }
    };
    Some((base, String::from_utf8_lossy(&bytes).into_owned()))
}

fn parse(text: &str) -> Playlist {
    let mut lines = text.lines().map(str::trim);
    if lines.by_ref().any(|line| line.starts_with("#EXT-X-STREAM-INF")) {
        let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
        return Playlist::Master(first.unwrap_or_default().to_owned());
    }
    let is_said = |tag: &str| text.lines().any(|line| line.trim() == tag);
    let target = text.lines().find_map(|line| line.trim().strip_prefix(TARGET)?.trim().parse::<u64>().ok());
    match target {
        Some(secs) if !is_said("#EXT-X-ENDLIST") && !is_said("#EXT-X-PLAYLIST-TYPE:VOD") => {
            Playlist::Live(Duration::from_secs(secs.min(MAX_SEGMENT)))
        }
        // A plain m3u has no target duration: it is a list of files.
        _ => Playlist::Whole,
    }
}

/// What `name` means in the playlist at `base`.
fn join(base: &Path, name: &str) -> Option<PathBuf> {
    if is_address(name) {
        return Some(name.into());
    }
    match base.to_str().filter(|base| is_address(base)) {
        #[cfg(feature = "http")]
        Some(base) => Some(url::Url::parse(base).ok()?.join(name).ok()?.as_str().into()),
        #[cfg(not(feature = "http"))]
        Some(_) => None,
        None => Some(base.parent()?.join(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENTS: &str = "#EXTM3U\r\n#EXT-X-TARGETDURATION:6\r\n#EXTINF:6,\r\na.ts\r\n";

    #[test]
    fn a_playlist_without_an_end_is_live() {
        let ended = format!("{SEGMENTS}#EXT-X-ENDLIST\n");
        let of_a_film = format!("{SEGMENTS}#EXT-X-PLAYLIST-TYPE:VOD\n");
        let master =
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\r\n\r\nlow/index.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2\nb";
        for (text, expected) in [
            (SEGMENTS, Playlist::Live(Duration::from_secs(6))),
            (&ended, Playlist::Whole),
            (&of_a_film, Playlist::Whole),
            ("#EXTM3U\n#EXTINF:1,a\na.mp3\n", Playlist::Whole),
            ("#EXT-X-TARGETDURATION:99999\n", Playlist::Live(Duration::from_secs(60))),
            ("#EXT-X-TARGETDURATION:x\n", Playlist::Whole),
            (master, Playlist::Master("low/index.m3u8".to_owned())),
            ("#EXT-X-STREAM-INF", Playlist::Master(String::new())),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_master_is_followed_to_the_first_that_it_names() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("low")).unwrap();
        std::fs::write(dir.path().join("low/a.m3u8"), SEGMENTS).unwrap();
        let master = dir.path().join("master.m3u8");
        let of = |first: &str| {
            std::fs::write(&master, format!("#EXTM3U\n#EXT-X-STREAM-INF:A=1\n{first}\n")).unwrap();
            liveness(&master, &SourceOptions::default())
        };
        assert_eq!(of("low/a.m3u8"), Some(Liveness { piece: Duration::from_secs(6), is_endless: false }));
        assert_eq!([of("missing.m3u8"), of("master.m3u8"), of("")], [None; 3]);
    }

    #[cfg(feature = "http")]
    #[test]
    fn names_in_a_playlist_belong_to_its_address() {
        for (base, name, expected) in [
            ("https://a.example/live/index.m3u8?key=1/2", "low/x.m3u8", "https://a.example/live/low/x.m3u8"),
            ("https://a.example/live/index.m3u8", "/x.m3u8?y", "https://a.example/x.m3u8?y"),
            ("https://a.example/live/index.m3u8", "//b.example/x", "https://b.example/x"),
            ("https://a.example/live/index.m3u8", "http://b.example/x", "http://b.example/x"),
        ] {
            assert_eq!(join(Path::new(base), name), Some(expected.into()));
        }
    }
}
