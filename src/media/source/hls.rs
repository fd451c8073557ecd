//! A playlist of HTTP Live Streaming (RFC 8216) → whether it is live. FFmpeg plays it either way.

use std::io::{self, Read as _, SeekFrom};

use crate::media::demux::MediaSource;

/// No honest playlist is longer: a day of segments of two seconds has less.
const MAX_PLAYLIST: u64 = 8 << 20;
/// RFC 8216 §4.3.1.1.
const MAGIC: &[u8] = b"#EXTM3U";

/// What a playlist is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Playlist {
    /// Segments will be added.
    Live,
    /// It has all of its segments.
    Whole,
    /// It names others, this one first.
    Master(String),
}

/// Reads a playlist, if it is one, and goes back to its beginning.
pub(super) fn read(source: &mut dyn MediaSource) -> io::Result<Option<Playlist>> {
    let mut head = [0; MAGIC.len()];
    let is_playlist = source.read_exact(&mut head).is_ok() && head == MAGIC;
    let mut text = Vec::new();
    if is_playlist {
        source.take(MAX_PLAYLIST).read_to_end(&mut text)?;
    }
    source.seek(SeekFrom::Start(0))?;
    Ok(is_playlist.then(|| parse(&String::from_utf8_lossy(&text))))
}

fn parse(text: &str) -> Playlist {
    let mut lines = text.lines().map(str::trim);
    if lines.by_ref().any(|line| line.starts_with("#EXT-X-STREAM-INF")) {
        let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
        return Playlist::Master(first.unwrap_or_default().to_owned());
    }
    let has = |tag: &str| text.lines().any(|line| line.trim_start().starts_with(tag));
    // A plain m3u has no target duration: it is a list of files.
    let may_grow = has("#EXT-X-TARGETDURATION") && !has("#EXT-X-ENDLIST");
    if may_grow { Playlist::Live } else { Playlist::Whole }
}

/// The address that `name` means in the playlist at `base`.
pub(super) fn join(base: &str, name: &str) -> String {
    if name.contains("://") {
        return name.to_owned();
    }
    let path = base.split(['?', '#']).next().unwrap_or(base);
    let host = path.find("://").map_or(0, |at| at + 3);
    let host_end = path[host..].find('/').map_or(path.len(), |at| host + at);
    if let Some(rest) = name.strip_prefix("//") {
        return format!("{}{rest}", &path[..host]);
    }
    let kept = if name.starts_with('/') {
        &path[..host_end]
    } else {
        path[host_end..].rfind('/').map_or(path, |at| &path[..=host_end + at])
    };
    format!("{kept}{name}")
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const SEGMENTS: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\na.ts\n";

    #[test]
    fn a_playlist_without_an_end_is_live() {
        let whole = format!("{SEGMENTS}#EXT-X-ENDLIST\n");
        let master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\r\n\r\nlow/index.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2\nhigh.m3u8";
        for (text, expected) in [
            (SEGMENTS, Some(Playlist::Live)),
            (&whole, Some(Playlist::Whole)),
            ("#EXTM3U\n#EXTINF:1,a\na.mp3\n", Some(Playlist::Whole)),
            (master, Some(Playlist::Master("low/index.m3u8".to_owned()))),
            ("ID3 and so on", None),
            ("#EXT", None),
        ] {
            let mut source = Cursor::new(text.as_bytes().to_vec());
            assert_eq!(read(&mut source).unwrap(), expected, "{text}");
            assert_eq!(source.position(), 0, "nothing is taken away");
        }
    }

    #[test]
    fn names_in_a_playlist_belong_to_its_address() {
        for (base, name, expected) in [
            ("https://a.example/live/index.m3u8?key=1/2", "low/x.m3u8", "https://a.example/live/low/x.m3u8"),
            ("https://a.example/live/index.m3u8", "/x.m3u8?y", "https://a.example/x.m3u8?y"),
            ("https://a.example/live/index.m3u8", "//b.example/x", "https://b.example/x"),
            ("https://a.example/live/index.m3u8", "http://b.example/x", "http://b.example/x"),
        ] {
            assert_eq!(join(base, name), expected);
        }
    }
}
