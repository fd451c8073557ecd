//! Bad input. Every file gives a typed error or plays what is playable; never a panic, never a
//! hang, never much memory. The absurd files are made here, the damaged ones in `damage.rs`.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use telecast::media::demux;
use telecast::media::{Reader, ReaderOptions};

/// Nobody waits longer.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn clip(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("media").join(name)).unwrap()
}

/// Reads a file to its end as a demuxer and its first seconds as an item. Errors are fine; gives
/// the number of packets.
fn swallow(bytes: Arc<[u8]>) -> usize {
    let mut n_packets = 0;
    if let Ok(mut demuxer) = demux::open(Box::new(Cursor::new(Arc::clone(&bytes)))) {
        let mut n_errors = 0;
        loop {
            match demuxer.next_packet() {
                Ok(Some(_)) => n_packets += 1,
                Ok(None) => break,
                Err(_) => n_errors += 1,
            }
            assert!(n_errors < 200_000, "errors without end");
        }
        // Also after an end and after errors.
        drop(demuxer.seek(telecast::time::MediaTime::from_secs(3)));
        drop(demuxer.next_packet());
    }
    let mut options = ReaderOptions::default();
    // Encoding pictures is not what is looked for, and slow.
    options.plan.video = false;
    if let Ok(mut reader) = Reader::from_source(Box::new(Cursor::new(Arc::clone(&bytes))), "bad", options) {
        for _ in 0..100 {
            if !matches!(reader.next_frame(), Ok(Some(_))) {
                break;
            }
        }
    }
    look_for_tags(bytes);
    n_packets
}

/// What is to be seen on a card is looked for before the file is known to be good.
#[cfg(feature = "card")]
fn look_for_tags(bytes: Arc<[u8]>) {
    let mut options = ReaderOptions::default();
    options.card = Some(telecast::media::CardOptions::default());
    drop(Reader::from_source(Box::new(Cursor::new(bytes)), "bad", options));
}

#[cfg(not(feature = "card"))]
fn look_for_tags(_bytes: Arc<[u8]>) {}

/// The same with a limit of time; a panic fails the test with the name of the case.
pub(crate) fn check(name: &str, bytes: Vec<u8>) -> usize {
    let (done, result) = mpsc::channel();
    let bytes: Arc<[u8]> = bytes.into();
    let thread = std::thread::spawn(move || {
        // When the patience has ended, nobody listens.
        let _ = done.send(swallow(bytes));
    });
    match result.recv_timeout(PATIENCE) {
        Ok(n_packets) => {
            thread.join().unwrap();
            n_packets
        }
        Err(RecvTimeoutError::Timeout) => panic!("{name} takes longer than {PATIENCE:?}"),
        Err(RecvTimeoutError::Disconnected) => panic!("{name} panicked"),
    }
}

/// A box of mp4.
fn atom(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let size = u32::try_from(body.len() + 8).unwrap();
    [&size.to_be_bytes()[..], kind, &body].concat()
}

/// An mp4 whose one sound track has these tables.
fn mp4(stts: &[u8], stsz: &[u8], stco: &[u8], n_tracks: usize) -> Vec<u8> {
    let zeros = |n: usize| vec![0_u8; n];
    let mdhd = atom(b"mdhd", &[&numbers(&[0, 0, 0, 48_000, 48_000, 0])]);
    let hdlr = atom(b"hdlr", &[&zeros(8), b"soun", &zeros(13)]);
    let dops = atom(b"dOps", &[&[0, 2, 1, 0x38, 0, 0, 0xbb, 0x80, 0, 0, 0]]);
    let opus = atom(b"Opus", &[&zeros(16), &[0, 2, 0, 16], &zeros(4), &[0xbb, 0x80, 0, 0], &dops]);
    let stsd = atom(b"stsd", &[&numbers(&[0, 1]), &opus]);
    let stsc = atom(b"stsc", &[&numbers(&[0, 1, 1, 1, 1])]);
    let tables =
        [stsd, atom(b"stts", &[stts]), atom(b"stsz", &[stsz]), stsc, atom(b"stco", &[stco])].concat();
    let minf = atom(b"minf", &[&atom(b"stbl", &[&tables])]);
    let mdia = atom(b"mdia", &[&mdhd, &hdlr, &minf]);
    let tkhd = atom(b"tkhd", &[&numbers(&[0, 0, 0, 1]), &zeros(68)]);
    let trak = atom(b"trak", &[&tkhd, &mdia]);
    let mvhd = atom(b"mvhd", &[&numbers(&[0, 0, 0, 1000, 1000]), &zeros(80)]);
    let moov = atom(b"moov", &[&mvhd, &trak.repeat(n_tracks)]);
    [atom(b"ftyp", &[b"isom\0\0\0\0isom"]), moov, atom(b"mdat", &[&[0xfc, 0xff, 0xfe].repeat(100)])].concat()
}

/// Big-endian words, as the tables of mp4 hold them.
fn numbers(all: &[u32]) -> Vec<u8> {
    all.iter().flat_map(|n| n.to_be_bytes()).collect()
}

/// Files that nobody's camera writes, by their names; the first one is good.
pub(crate) fn absurd() -> Vec<(String, Vec<u8>)> {
    let good = (numbers(&[0, 1, 3, 960]), numbers(&[0, 3, 3]), numbers(&[0, 3, 700, 703, 706]));
    let max = u32::MAX;
    let mut cases = vec![("a good table".to_owned(), mp4(&good.0, &good.1, &good.2, 1))];
    for (name, stts, stsz) in [
        ("samples of no length", numbers(&[0, 1, 3, 960]), numbers(&[0, 0, 3, 0, 0, 0])),
        ("samples of 4 GiB", numbers(&[0, 1, 3, 960]), numbers(&[0, max, 3])),
        ("4 billion samples", numbers(&[0, 1, max, 960]), numbers(&[0, 3, max])),
        ("samples that last for days", numbers(&[0, 1, 3, max]), numbers(&[0, 3, 3])),
        ("samples that last no time", numbers(&[0, 1, 3, 0]), numbers(&[0, 3, 3])),
        ("tables that end early", numbers(&[0, 9, 3]), numbers(&[0, 0, 900, 1])),
        ("tables of nothing", Vec::new(), Vec::new()),
    ] {
        cases.push((name.to_owned(), mp4(&stts, &stsz, &good.2, 1)));
        cases.push((format!("{name}, no places"), mp4(&stts, &stsz, &numbers(&[0, max]), 1)));
    }
    cases.push(("10 000 tracks".to_owned(), mp4(&good.0, &good.1, &good.2, 10_000)));
    cases.push(("a text".to_owned(), b"#include <stdio.h>\nint main() { return 0; }\n".repeat(100)));
    cases.push(("nothing at all".to_owned(), Vec::new()));
    cases.push(("nothing but zeros".to_owned(), vec![0; 1 << 20]));
    cases.push(("a bomb of fragments".to_owned(), bomb()));
    cases.push(("a bomb of good fragments".to_owned(), good_bomb()));
    cases.push(("times before zero".to_owned(), fragments(&[-96_000, -95_040, -960, 0, 960])));
    cases.push(("times that wrap".to_owned(), fragments(&[0, 960, i64::MAX - 960, i64::MAX, -1, 1920])));
    cases.push(("times of 32 bits that wrap".to_owned(), fragments(&[0xffff_fc40, 0, 960, 1920])));
    cases.push(("boxes inside boxes".to_owned(), nested()));
    cases.push(("a SeekHead that points at itself".to_owned(), circle()));
    cases
}

/// The index of a fragmented file whose samples last 20 ms and have one byte where nothing else is said.
fn front() -> Vec<u8> {
    let file = mp4(&numbers(&[0, 0]), &numbers(&[0, 0, 0]), &numbers(&[0, 0]), 1);
    let mvex = atom(b"mvex", &[&atom(b"trex", &[&numbers(&[0, 1, 1, 960, 1, 0])])]);
    let moov = file.windows(4).position(|window| window == b"moov").unwrap() - 4;
    let size = u32::from_be_bytes(file[moov..moov + 4].try_into().unwrap()) as usize;
    let body = [&file[moov + 8..moov + size], &mvex].concat();
    [&file[..moov], &atom(b"moov", &[&body])].concat()
}

/// A fragment that begins at `dts` ticks of 1/48 000 s, with these runs of samples.
fn fragment(dts: i64, runs: &[u8], data: &[u8]) -> Vec<u8> {
    let tfhd = atom(b"tfhd", &[&numbers(&[0x0002_0000, 1])]);
    let tfdt = atom(b"tfdt", &[&numbers(&[0x0100_0000]), &dts.to_be_bytes()]);
    let moof = atom(b"moof", &[&atom(b"mfhd", &[&numbers(&[0, 1])]), &atom(b"traf", &[&tfhd, &tfdt, runs])]);
    [moof, atom(b"mdat", &[data])].concat()
}

/// Fragments with one packet of silence each, at these ticks.
fn fragments(times: &[i64]) -> Vec<u8> {
    let fragments = times.iter().map(|dts| {
        // Flags: where the data is, and how long it is.
        let run = |at: u32| atom(b"trun", &[&numbers(&[0x0000_0201, 1, at, 3])]);
        let len = fragment(*dts, &run(0), &[]).len() as u32;
        fragment(*dts, &run(len), &[0xfc, 0xff, 0xfe])
    });
    [front(), fragments.collect::<Vec<_>>().concat()].concat()
}

/// Fragments that are well formed: each has a quarter of a million samples of one byte, all of them the same.
fn good_bomb() -> Vec<u8> {
    let run = atom(b"trun", &[&numbers(&[1, 1 << 18, 0])]);
    [front(), fragment(0, &run, &[]).repeat(500)].concat()
}

/// A fragment that says it has two billion samples of one byte, many times over.
fn bomb() -> Vec<u8> {
    let front = front();
    let trun = atom(b"trun", &[&numbers(&[0x0000_0001, 0x7fff_ffff, 0])]);
    let tfhd = atom(b"tfhd", &[&numbers(&[0x0002_0000, 1])]);
    let moof = atom(b"moof", &[&atom(b"mfhd", &[&numbers(&[0, 1])]), &atom(b"traf", &[&tfhd, &trun])]);
    [front, moof.repeat(2000)].concat()
}

/// Boxes inside each other, deeper than any stack.
fn nested() -> Vec<u8> {
    let mut nested = Vec::new();
    while nested.len() <= 64_000 {
        nested = [&(nested.len() as u32 + 8).to_be_bytes()[..], b"moov", &nested].concat();
    }
    [atom(b"ftyp", &[b"isom\0\0\0\0"]), nested].concat()
}

/// A SeekHead of Matroska whose cues are the SeekHead itself.
fn circle() -> Vec<u8> {
    let mut circle = clip("clip.mkv");
    let at = circle.windows(4).position(|window| window == [0x53, 0xab, 0x84, 0x1c]);
    if let Some(at) = at {
        for byte in &mut circle[at + 4..at + 12] {
            *byte = u8::from(*byte != 0);
        }
    }
    circle
}

#[test]
fn absurd_files() {
    for (name, bytes) in absurd() {
        let n_packets = check(&name, bytes);
        match name.as_str() {
            "a good table" => assert!(n_packets > 0, "the builder builds what can be read"),
            "10 000 tracks" | "a text" | "nothing at all" => assert_eq!(n_packets, 0, "{name}"),
            _ => {}
        }
    }
}

/// A program that may have 256 MiB more than it needs for a good file still says what is wrong.
#[cfg(all(feature = "cli", target_os = "linux"))]
#[test]
fn memory_stays_small() {
    use std::process::Command;

    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in absurd() {
        let path = dir.path().join("bad.mp4");
        std::fs::write(&path, bytes).unwrap();
        // A debug build maps some 80 MiB before it reads the first byte.
        let script = "ulimit -v 340000; exec \"$0\" probe \"$1\"";
        let program = env!("CARGO_BIN_EXE_telecast");
        let output = Command::new("/bin/sh").args(["-c", script, program]).arg(&path).output().unwrap();
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 7)), "{name}: {:?}", output.status);
    }
}
