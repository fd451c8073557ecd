//! Servers that are never silent and send next to nothing: opening has an end, playing has none.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use telecast::media::demux::{self, DemuxError};
use telecast::media::plan::PlanOptions;
use telecast::media::probe::Probe;
use telecast::media::source::{SourceError, SourceOptions, hls};
use telecast::media::{MediaError, Reader, ReaderOptions};

use crate::formats::ffmpeg;
use crate::live::serve;

/// So long a server of these tests keeps its clients waiting, who have less patience.
const TRICKLING: Duration = Duration::from_secs(4);

#[expect(clippy::disallowed_methods, reason = "a server's mood changes with the real clock")]
fn now() -> Instant {
    Instant::now()
}

/// Sends so many bytes at once, then a byte now and then, and in the end the rest.
fn trickle(bytes: Vec<u8>, n_at_once: usize, knows_ranges: bool) -> String {
    serve(move |mut connection, lines| {
        let range = lines.iter().find_map(|line| {
            let line = line.to_ascii_lowercase();
            line.strip_prefix("range: bytes=")?.split('-').next()?.parse::<usize>().ok()
        });
        let len = bytes.len();
        let mut rest = match range.filter(|_| knows_ranges) {
            Some(from) => {
                let range = format!("bytes {from}-{}/{len}", len - 1);
                write!(connection, "HTTP/1.1 206 Partial Content\r\nContent-Range: {range}\r\n")?;
                &bytes[from..]
            }
            None => {
                write!(connection, "HTTP/1.1 200 OK\r\n")?;
                &bytes[..]
            }
        };
        write!(connection, "Content-Length: {}\r\nConnection: close\r\n\r\n", rest.len())?;
        let (mut piece, began) = (n_at_once.min(rest.len()), now());
        while !rest.is_empty() {
            connection.write_all(&rest[..piece])?;
            rest = &rest[piece..];
            piece = if began.elapsed() < TRICKLING { 1.min(rest.len()) } else { rest.len() };
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Ok(())
    })
}

fn hurried(opening: Duration) -> SourceOptions {
    let mut options = SourceOptions::default();
    options.opening = opening;
    options
}

fn open(address: &str, opening: Duration) -> Result<Reader, MediaError> {
    let mut options = ReaderOptions::default();
    options.source.opening = opening;
    Reader::open(address, options)
}

fn clip(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("media").join(name)).unwrap()
}

#[track_caller]
fn assert_slow<T>(opened: Result<T, MediaError>, address: &str) {
    let Err(error) = opened else { panic!("it was waited for") };
    assert!(matches!(error, MediaError::Source(SourceError::Slow { .. })), "{error:?}");
    let said = error.to_string();
    assert!(said.starts_with(address) && said.contains("within 1 s; try again later"), "{said}");
}

#[test]
fn a_server_that_sends_a_byte_now_and_then_is_given_up() {
    let limit = Duration::from_secs(1);
    for (name, n_at_once, knows_ranges) in [
        ("clip.mkv", 100, true),
        ("clip.mkv", 5_000, false),
        ("bframes.mp4", 20_000, true),
        ("music.mp3", 600, false),
    ] {
        let address = trickle(clip(name), n_at_once, knows_ranges);
        assert_slow(open(&address, limit), &address);
    }
    // It opens, and would be read to its end for a day.
    let address = trickle(clip("music.ogg"), 100_000, false);
    drop(open(&address, limit).unwrap());
    assert_slow(Probe::with_source(&address, &hurried(limit), PlanOptions::default(), |_, _| {}), &address);
}

#[cfg(target_os = "linux")]
#[test]
fn ffmpeg_does_not_wait_for_such_a_server_either() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("old.avi");
    let picture = ["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=5"];
    ffmpeg(&[&picture[..], &["-c:v", "mpeg4"]].concat(), &path);
    let address = trickle(std::fs::read(&path).unwrap(), 9_000, true);
    let limit = Duration::from_secs(1);
    assert_slow(open(&address, limit), &address);
    assert_slow(Probe::with_source(&address, &hurried(limit), PlanOptions::default(), |_, _| {}), &address);

    // A playlist on this disk, of pieces on such a server.
    let path = dir.path().join("a.ts");
    ffmpeg(&[&picture[..], &["-c:v", "mpeg2video"]].concat(), &path);
    let piece = trickle(std::fs::read(&path).unwrap(), 9_000, true);
    let list = dir.path().join("a.m3u8");
    let text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{piece}/a.ts\n#EXT-X-ENDLIST\n");
    std::fs::write(&list, text).unwrap();
    let list = list.to_str().unwrap();
    assert_slow(open(list, limit), list);
    assert_slow(Probe::with_source(list, &hurried(limit), PlanOptions::default(), |_, _| {}), list);
}

#[test]
fn what_has_begun_may_take_its_time() {
    let address = trickle(clip("music.ogg"), 100_000, false);
    let began = now();
    let mut reader = open(&address, Duration::from_secs(2)).unwrap();
    assert!(began.elapsed() < Duration::from_secs(2));
    let n_frames = std::iter::from_fn(|| reader.next_frame().unwrap()).count();
    assert!(began.elapsed() > TRICKLING, "the end has come after the limit of the beginning");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/music.ogg");
    let mut file = Reader::open(file, ReaderOptions::default()).unwrap();
    assert_eq!(n_frames, std::iter::from_fn(|| file.next_frame().unwrap()).count());
}

#[test]
fn a_playlist_that_trickles_is_given_up() {
    let text = b"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\na.ts\n";
    let mut options = SourceOptions::default();
    let address = trickle(text.to_vec(), 1000, true);
    assert!(hls::liveness(Path::new(&address), &options).is_some(), "it is live, and comes at once");
    options.patience = Duration::from_secs(1);
    let address = trickle(text.to_vec(), 10, true);
    assert_eq!(hls::liveness(Path::new(&address), &options), None);
}

/// A server that is gone for good after so many bytes.
struct Gone {
    bytes: io::Cursor<Vec<u8>>,
    n_left: usize,
    can_seek: bool,
}

impl Read for Gone {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = buf.len().min(self.n_left);
        let n = self.bytes.read(&mut buf[..most])?;
        self.n_left -= n;
        if n == 0 && !buf.is_empty() { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(n) }
    }
}

impl Seek for Gone {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            SeekFrom::End(_) if !self.can_seek => Err(io::ErrorKind::NotSeekable.into()),
            to => self.bytes.seek(to),
        }
    }
}

#[test]
fn a_source_that_breaks_for_good_comes_to_an_end() {
    for name in ["clip.mp4", "clip.mkv", "music.ogg", "music.mp3", "vp8.ivf", "clip.h264"] {
        for can_seek in [false, true] {
            let source = Gone { bytes: io::Cursor::new(clip(name)), n_left: 90_000, can_seek };
            let Ok(mut demuxer) = demux::open(Box::new(source)) else { continue };
            let (mut n_packets, mut errors) = (0, Vec::new());
            loop {
                match demuxer.next_packet() {
                    Ok(Some(_)) => n_packets += 1,
                    Ok(None) => break,
                    Err(error) => errors.push(error),
                }
                assert!(errors.len() < 5, "{name}, {can_seek}: {errors:?}");
            }
            assert!(n_packets > 0, "{name}, {can_seek}");
            let is_told = errors.iter().any(|error| matches!(error, DemuxError::Io(_)));
            assert!(is_told, "{name}, {can_seek}: {errors:?}");
        }
    }
}
