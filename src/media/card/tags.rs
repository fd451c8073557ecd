//! The bytes of a file → what it says about itself: ID3 (mp3, AIFF), MP4, Vorbis comments, FLAC.

use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::common::Limit;
use symphonia::core::errors::Error;
use symphonia::core::formats::FormatOptions;
use symphonia::core::formats::probe::Hint;
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::{MetadataOptions, MetadataRevision, StandardTag, StandardVisualKey, Tag, Visual};

use crate::media::demux::MediaSource;

/// Bytes that are read in search of tags: a cover of some megabytes, and what lies around it.
const MAX_READ: u64 = 24 << 20;
/// The same of bytes that come once: they have to be remembered, to begin anew with them.
const MAX_READ_ONCE: u64 = 6 << 20;
/// A cover, at most.
const MAX_COVER: usize = 12 << 20;
/// A word, at most.
const MAX_WORDS: usize = 64 << 10;
/// What says which kind of file it is.
const HEAD: usize = 12;

/// What a file says about itself; each only where it is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tags {
    pub(super) title: Option<String>,
    pub(super) artist: Option<String>,
    pub(super) album: Option<String>,
    /// As it was embedded: JPEG or PNG, if it is honest.
    pub(super) cover: Option<Vec<u8>>,
}

impl Tags {
    /// Reads them, and leaves the source at its beginning. Damaged ones are as good as none.
    ///
    /// # Errors
    /// When the source cannot be read, or cannot go back to its beginning.
    pub(super) fn read(source: &mut dyn MediaSource) -> io::Result<Self> {
        let len = source.seek(SeekFrom::End(0)).ok();
        source.seek(SeekFrom::Start(0))?;
        let mut head = Vec::with_capacity(HEAD);
        source.take(HEAD as u64).read_to_end(&mut head)?;
        source.seek(SeekFrom::Start(0))?;
        if !may_have_tags(&head, len.is_some()) {
            return Ok(Self::default());
        }
        let left = if len.is_some() { MAX_READ } else { MAX_READ_ONCE };
        let tags = Self::probe(Bounded { source: &mut *source, len, left });
        source.seek(SeekFrom::Start(0))?;
        Ok(tags.unwrap_or_else(|error| {
            tracing::debug!(%error, "no tags can be read");
            Self::default()
        }))
    }

    fn probe(source: Bounded<'_>) -> Result<Self, Error> {
        let bytes = MediaSourceStream::new(Box::new(source), Default::default());
        let limits = MetadataOptions::default()
            .limit_tag_bytes(Limit::Maximum(MAX_WORDS))
            .limit_visual_bytes(Limit::Maximum(MAX_COVER));
        let probe = symphonia::default::get_probe();
        let mut reader = probe.probe(&Hint::new(), bytes, FormatOptions::default(), limits)?;
        let mut tags = Self::default();
        let mut metadata = reader.metadata();
        while let Some(revision) = metadata.current() {
            tags.add(revision);
            if metadata.pop().is_none() {
                break;
            }
        }
        Ok(tags)
    }

    /// Takes over what is not known yet.
    fn add(&mut self, revision: &MetadataRevision) {
        let all =
            || std::iter::once(&revision.media).chain(revision.per_track.iter().map(|track| &track.metadata));
        for tag in all().flat_map(|part| &part.tags) {
            let (place, words) = match tag {
                Tag { std: Some(StandardTag::TrackTitle(words)), .. } => (&mut self.title, words),
                Tag { std: Some(StandardTag::Artist(words)), .. } => (&mut self.artist, words),
                Tag { std: Some(StandardTag::Album(words)), .. } => (&mut self.album, words),
                _ => continue,
            };
            let words = words.trim_matches(|c: char| c == '\0' || c.is_whitespace());
            if place.is_none() && !words.is_empty() {
                *place = Some(words.to_owned());
            }
        }
        let visuals = || all().flat_map(|part| &part.visuals).filter(|visual| visual.data.len() <= MAX_COVER);
        let is_front = |visual: &&Visual| visual.usage == Some(StandardVisualKey::FrontCover);
        if let Some(cover) =
            visuals().find(is_front).or_else(|| visuals().next()).filter(|_| self.cover.is_none())
        {
            self.cover = Some(cover.data.to_vec());
        }
    }
}

/// Whether a file of this beginning can have tags that are read here. Of what comes once only that
/// is looked into which has them at its beginning.
fn may_have_tags(head: &[u8], can_seek: bool) -> bool {
    let in_front = [&b"ID3"[..], b"fLaC", b"OggS"].iter().any(|magic| head.starts_with(magic));
    let is_aiff = head.starts_with(b"FORM");
    let is_mp4 = head.get(4..8) == Some(b"ftyp");
    in_front || can_seek && (is_aiff || is_mp4)
}

/// Gives so many bytes and no more, however often they are asked for.
struct Bounded<'a> {
    source: &'a mut dyn MediaSource,
    /// Where it can be sought in.
    len: Option<u64>,
    left: u64,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other("the tags are larger than any honest ones"));
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        let n = self.source.read(&mut buf[..most])?;
        self.left -= n as u64;
        Ok(n)
    }
}

impl Seek for Bounded<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.source.seek(to)
    }
}

impl symphonia::core::io::MediaSource for Bounded<'_> {
    fn is_seekable(&self) -> bool {
        self.len.is_some()
    }

    fn byte_len(&self) -> Option<u64> {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use crate::media::card::cover::tests::png;
    use crate::media::source::stream::Stream;

    fn clip(name: &str) -> Vec<u8> {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("media").join(name)).unwrap()
    }

    fn frame(id: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&id[..], &size, &[0, 0], body].concat()
    }

    /// ID3 2.3 as players write it, in front of an mp3.
    fn id3(cover: &[u8]) -> Vec<u8> {
        let text = |words: &str| {
            let words: Vec<u8> = words.encode_utf16().flat_map(u16::to_le_bytes).collect();
            [&[1, 0xff, 0xfe][..], &words].concat()
        };
        let picture =
            |kind: u8, data: &[u8]| frame(b"APIC", &[b"\0image/png\0", &[kind][..], b"\0", data].concat());
        let frames = [
            frame(b"TIT2", &text("Группа крови")),
            frame(b"TPE1", &text("Кино")),
            frame(b"TALB", &text(" ")),
            picture(4, b"the back"),
            picture(3, cover),
        ]
        .concat();
        let size = frames.len();
        let size: Vec<u8> = (0..4).rev().map(|nth| (size >> (7 * nth) & 0x7f) as u8).collect();
        [b"ID3\x03\0\0", &size[..], &frames, &clip("music.mp3")].concat()
    }

    fn read(bytes: Vec<u8>) -> Tags {
        let mut source = Cursor::new(bytes);
        let tags = Tags::read(&mut source).unwrap();
        assert_eq!(source.position(), 0, "the demuxer begins at the beginning");
        tags
    }

    #[test]
    fn id3_is_read_and_the_front_cover_preferred() {
        let cover = png(8, 8, [1; 3], [2; 3]);
        let bytes = id3(&cover);
        let expected = Tags {
            title: Some("Группа крови".to_owned()),
            artist: Some("Кино".to_owned()),
            album: None,
            cover: Some(cover),
        };
        assert_eq!(read(bytes.clone()), expected);
        // What comes once is read as well, and can still be played from its beginning.
        let mut stream = Stream::new(Cursor::new(bytes.clone()));
        assert_eq!(Tags::read(&mut stream).unwrap(), expected);
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert_eq!(all, bytes);
    }

    #[test]
    fn every_container_of_sound_has_its_tags() {
        let dir = tempfile::tempdir().unwrap();
        let cover = png(64, 64, [200, 0, 0], [0, 0, 200]);
        let image = dir.path().join("cover.png");
        std::fs::write(&image, &cover).unwrap();
        // Vorbis comments have pictures as FLAC has them, in base 64.
        let block = [
            &3_u32.to_be_bytes()[..],
            &9_u32.to_be_bytes(),
            b"image/png",
            &[0; 20],
            &u32::try_from(cover.len()).unwrap().to_be_bytes(),
            &cover,
        ]
        .concat();
        let comment = format!("METADATA_BLOCK_PICTURE={}", base64(&block));
        let attached = ["-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic"];
        for (name, codec) in
            [("a.flac", "flac"), ("a.m4a", "aac"), ("a.ogg", "libvorbis"), ("a.opus", "libopus")]
        {
            let path = dir.path().join(name);
            let mut ffmpeg = Command::new("ffmpeg");
            ffmpeg.args(["-v", "error", "-f", "lavfi", "-i", "sine=d=1"]);
            match codec {
                "flac" | "aac" => ffmpeg.arg("-i").arg(&image).args(attached),
                _ => ffmpeg.args(["-metadata", &comment]),
            };
            ffmpeg.args(["-c:a", codec, "-metadata", "title=Ζορμπάς", "-metadata", "artist=Μίκης"]);
            assert!(ffmpeg.arg(&path).status().expect("ffmpeg is installed").success(), "{name}");
            let tags = read(std::fs::read(&path).unwrap());
            assert_eq!(tags.title.as_deref(), Some("Ζορμπάς"), "{name}");
            assert_eq!(tags.artist.as_deref(), Some("Μίκης"), "{name}");
            assert!(tags.cover.is_some_and(|found| found == cover), "{name}");
        }
    }

    fn base64(bytes: &[u8]) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for three in bytes.chunks(3) {
            let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
                << (8 * (3 - three.len()));
            for nth in 0..4 {
                let letter = char::from(LETTERS[(bits >> (18 - 6 * nth) & 63) as usize]);
                text.push(if nth <= three.len() { letter } else { '=' });
            }
        }
        text
    }

    #[test]
    fn what_has_no_tags_is_not_looked_through() {
        for name in ["music.mp3", "clip.mkv", "vp8.ivf", "clip.h264"] {
            assert_eq!(read(clip(name)), Tags::default(), "{name}");
        }
        assert_eq!(read(b"ID3".to_vec()), Tags::default());
        assert_eq!(read(Vec::new()), Tags::default());
    }

    #[test]
    fn a_cover_without_end_is_not_read() {
        // The sizes of tag and frame say 255 MiB, and as much comes.
        let mut bytes = b"ID3\x03\0\0\x7f\x7f\x7f\x7fAPIC\x0f\xff\xff\xff\0\0\0image/png\0\x03\0".to_vec();
        bytes.resize(64 << 20, 0x55);
        assert_eq!(read(bytes), Tags::default());
    }

    #[test]
    fn damaged_tags_do_no_harm() {
        let good = id3(&png(8, 8, [1; 3], [2; 3]));
        let good = &good[..good.len().min(20_000)];
        let mut rng = fastrand::Rng::with_seed(11);
        for _ in 0..200 {
            let mut bytes = good.to_vec();
            for _ in 0..3 {
                let at = rng.usize(..400);
                bytes[at] ^= 1 << rng.u32(..8);
            }
            bytes.truncate(rng.usize(..good.len()));
            // Some of it is read, or nothing.
            let _tags = read(bytes);
        }
    }
}
