//! Variants of a clip, made by rewriting its index.

use std::io::Cursor;

use super::*;
use crate::media::Codec;

/// A clip with `moov` at the end, so that it can grow without moving any sample.
fn clip() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/media/bframes.mp4")).unwrap()
}

fn boxed(name: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32 + 8).to_be_bytes()[..], name, payload].concat()
}

fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// Where `moov` begins, and its payload.
fn index_of(clip: &[u8]) -> (usize, Bytes) {
    let at = clip.windows(4).position(|window| window == b"moov").unwrap() - 4;
    (at, Bytes::copy_from_slice(&clip[at + 8..]))
}

/// What takes the place of a box: its name and payload → whole boxes, or `None` to keep it.
type Change<'a> = dyn FnMut(&[u8; 4], &Bytes) -> Option<Vec<u8>> + 'a;

fn rewrite(payload: &Bytes, change: &mut Change<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, payload) in Boxes::of(payload.clone()) {
        out.extend(match change(&kind.0, &payload) {
            Some(boxes) => boxes,
            None if matches!(&kind.0, b"trak" | b"mdia" | b"minf" | b"stbl") => {
                boxed(&kind.0, &rewrite(&payload, change))
            }
            None => boxed(&kind.0, &payload),
        });
    }
    out
}

/// The clip with another index.
fn changed(change: &mut Change<'_>) -> Vec<u8> {
    let mut clip = clip();
    let (at, moov) = index_of(&clip);
    clip.truncate(at);
    clip.extend(boxed(b"moov", &rewrite(&moov, change)));
    clip
}

fn open_bytes(bytes: Vec<u8>) -> Result<Mp4, DemuxError> {
    Mp4::open(Reader::new(Box::new(Cursor::new(bytes))).unwrap())
}

fn packets(bytes: Vec<u8>, track: usize) -> Vec<Packet> {
    let mut mp4 = open_bytes(bytes).unwrap();
    std::iter::from_fn(|| mp4.next_packet().unwrap()).filter(|packet| packet.track == track).collect()
}

const VIDEO: usize = 0;
const AUDIO: usize = 1;
/// The movie of the clip counts milliseconds.
const WHOLE: u32 = 10_000;

/// An edit list of `(duration, media_time)` for both tracks.
fn with_edits(video: &[(u32, i32)], audio: &[(u32, i32)]) -> Vec<u8> {
    let mut lists = [video, audio].into_iter();
    changed(&mut |name, _| {
        let edits = lists.clone().next()?;
        (name == b"edts").then(|| {
            lists.next();
            let mut elst = numbers(&[0, edits.len() as u32]);
            for (duration, media_time) in edits {
                elst.extend(numbers(&[*duration, *media_time as u32, 1 << 16]));
            }
            boxed(b"edts", &boxed(b"elst", &elst))
        })
    })
}

#[test]
fn without_an_edit_list_aac_has_a_frame_of_priming() {
    let bytes = changed(&mut |name, _| (name == b"edts").then(Vec::new));
    let sound = packets(bytes.clone(), AUDIO);
    assert_eq!((sound[0].pts.to_ticks(48_000), sound[0].trim_start), (-1024, 1024));
    assert_eq!((sound[1].pts, sound[1].trim_start), (MediaTime::ZERO, 0));
    assert_eq!(packets(bytes, VIDEO)[0].pts.to_ticks(15_360), 1024, "two frames of composition offset");
}

#[test]
fn an_edit_list_that_skips_nothing_means_no_priming() {
    let sound = packets(with_edits(&[(WHOLE, 1024)], &[(WHOLE + 22, 0)]), AUDIO);
    assert_eq!((sound[0].pts, sound[0].trim_start), (MediaTime::ZERO, 0));
}

#[test]
fn an_empty_edit_waits() {
    let bytes = with_edits(&[(500, -1), (WHOLE, 1024)], &[(250, -1), (250, -1), (WHOLE, 1024)]);
    let half = MediaTime::from_millis(500);
    let plain = packets(clip(), VIDEO);
    for (late, plain) in packets(bytes.clone(), VIDEO).iter().zip(&plain) {
        assert_eq!((late.pts, late.dts), (plain.pts + half, plain.dts.map(|dts| dts + half)));
    }
    let sound = packets(bytes.clone(), AUDIO);
    assert_eq!((sound[0].pts + MediaTime::from_ticks(1024, 48_000), sound[0].trim_start), (half, 1024));
    let mp4 = open_bytes(bytes).unwrap();
    assert_eq!(mp4.tracks()[VIDEO].duration, Some(MediaTime::from_millis(10_500)));
}

#[test]
fn what_is_behind_the_edit_is_not_delivered() {
    let bytes = with_edits(&[(3000, 1024)], &[(3010, 1024)]);
    let sound = packets(bytes.clone(), AUDIO);
    let last = &sound[sound.len() - 1];
    let end = last.pts + last.duration - MediaTime::from_ticks(last.trim_end.into(), 48_000);
    assert_eq!(end, MediaTime::from_millis(3010));
    // Pictures may stay behind the end only when an earlier one needs them.
    let pictures = packets(bytes, VIDEO);
    let n_shown = pictures.iter().filter(|picture| picture.pts < MediaTime::from_secs(3)).count();
    assert_eq!(n_shown, 90);
    assert!(pictures[pictures.len() - 1].pts < MediaTime::from_secs(3));
}

#[test]
fn an_edit_that_begins_later_makes_pictures_that_are_only_decoded() {
    let bytes = with_edits(&[(8000, 1024 + 15_360)], &[(8000, 1024 + 48_000)]);
    assert_eq!(packets(bytes.clone(), VIDEO)[0].pts, MediaTime::from_secs(-1));
    let sound = packets(bytes, AUDIO);
    let trimmed: u32 = sound.iter().map(|packet| packet.trim_start).sum();
    assert_eq!(trimmed, 1024 + 48_000);
    assert_eq!(
        sound.iter().find(|p| p.trim_start < 1024).map(|p| p.trim_start),
        Some((1024 + 48_000) % 1024)
    );
}

#[test]
fn itunes_notes_the_priming_of_its_own_encoder() {
    let comment = b" 00000000 00000840 000001C0 0000000000075000 00000000";
    let data = [&numbers(&[1, 0])[..], comment].concat();
    let item = [
        boxed(b"mean", b"\0\0\0\0com.apple.iTunes"),
        boxed(b"name", b"\0\0\0\0iTunSMPB"),
        boxed(b"data", &data),
    ];
    let ilst = boxed(b"ilst", &boxed(b"----", &item.concat()));
    let udta = boxed(b"udta", &boxed(b"meta", &[&[0; 4][..], &ilst].concat()));
    let bytes = changed(&mut |name, payload| match name {
        b"edts" => Some(Vec::new()),
        b"udta" => Some(udta.clone()),
        _ => {
            let _ = payload;
            None
        }
    });
    let sound = packets(bytes, AUDIO);
    assert_eq!(sound[0].pts.to_ticks(48_000), -0x840);
    let trimmed: u32 = sound.iter().map(|packet| packet.trim_start).sum();
    assert_eq!(trimmed, 0x840);
    let padding: u32 = sound.iter().map(|packet| packet.trim_end).sum();
    let short_last_frame = 256;
    assert_eq!(padding, 0x1c0 + short_last_frame);
}

#[test]
fn an_index_that_makes_no_sense_is_a_typed_error() {
    let no_tracks = changed(&mut |name, _| (name == b"trak").then(Vec::new));
    assert!(matches!(open_bytes(no_tracks).err(), Some(DemuxError::NoTracks { .. })));
    let no_clock = changed(&mut |name, payload| {
        (name == b"mdhd").then(|| boxed(b"mdhd", &[&payload[..12], &[0; 4], &payload[16..]].concat()))
    });
    assert!(matches!(open_bytes(no_clock).err(), Some(DemuxError::Damaged { .. })));
    for table in [b"stts", b"stsc", b"stsz", b"stco", b"stsd"] {
        let missing = changed(&mut |name, _| (name == table).then(Vec::new));
        assert!(matches!(open_bytes(missing).err(), Some(DemuxError::Damaged { .. })));
    }
    let many = changed(&mut |name, payload| (name == b"trak").then(|| boxed(b"trak", payload).repeat(100)));
    assert!(matches!(open_bytes(many).err(), Some(DemuxError::Limit { .. })));
}

#[test]
fn a_sample_of_absurd_size_is_passed() {
    let mut n_tables = 0;
    let bytes = changed(&mut |name, payload| {
        n_tables += usize::from(name == b"stsz");
        (name == b"stsz" && n_tables == 1).then(|| {
            let mut stsz = payload.to_vec();
            let tenth = 12 + 4 * 10;
            stsz[tenth..tenth + 4].copy_from_slice(&u32::MAX.to_be_bytes());
            boxed(b"stsz", &stsz)
        })
    });
    let mut mp4 = open_bytes(bytes).unwrap();
    let (mut n_errors, mut n_pictures) = (0, 0);
    loop {
        match mp4.next_packet() {
            Ok(Some(packet)) => n_pictures += usize::from(packet.track == VIDEO),
            Ok(None) => break,
            Err(error) => {
                assert!(matches!(error, DemuxError::Limit { .. }), "{error:?}");
                n_errors += 1;
            }
        }
    }
    assert_eq!((n_errors, n_pictures), (1, 299));
}

#[test]
fn a_codec_that_nobody_knows_is_listed_and_not_read() {
    let bytes = changed(&mut |name, payload| {
        let is_avc = name == b"stsd" && payload.windows(4).any(|window| window == b"avc1");
        is_avc.then(|| boxed(b"stsd", &[&payload[..12], b"hvc1", &payload[16..]].concat()))
    });
    let mut mp4 = open_bytes(bytes).unwrap();
    assert_eq!(mp4.tracks()[VIDEO].codec, Codec::Unknown("hvc1".to_owned()));
    let first = mp4.next_packet().unwrap().unwrap();
    assert_eq!(first.track, AUDIO);
}

/// What a fragment says about itself.
#[derive(Clone, Copy)]
struct Style {
    with_times: bool,
    base_is_moof: bool,
    /// Each track has fragments of its own.
    separate: bool,
}

/// The clip as a fragmented file: about a second in each fragment.
fn fragmented(style: Style) -> Vec<u8> {
    let source = clip();
    let (_, moov) = index_of(&source);
    let mut mp4 = open_bytes(source.clone()).unwrap();
    let mut moov = rewrite(&moov, &mut |name, _| match name {
        b"stts" | b"stsc" | b"stco" => Some(boxed(name, &[0; 8])),
        b"stsz" => Some(boxed(name, &[0; 12])),
        b"ctts" | b"stss" => Some(Vec::new()),
        _ => None,
    });
    let trex = |id: u32| boxed(b"trex", &numbers(&[0, id, 1, 512, 0, NON_SYNC]));
    moov.extend(boxed(b"mvex", &[trex(1), trex(2)].concat()));
    let mut out = [boxed(b"ftyp", b"iso5\0\0\x02\0"), boxed(b"moov", &moov)].concat();
    let mut sync: Vec<_> = (0..mp4.readers[VIDEO].table.n_sync()).collect();
    sync.iter_mut().for_each(|nth| *nth = mp4.readers[VIDEO].table.sync_sample(*nth));
    loop {
        let mut runs = Vec::new();
        for track in &mut mp4.readers {
            let mut run: Vec<Sample> = Vec::new();
            let rate = if track.id == 1 { 15_360 } else { 48_000 };
            while track.next.is_some_and(|next| run.is_empty() || next.dts - run[0].dts < rate) {
                run.extend(track.next);
                track.step().unwrap();
            }
            runs.push((track.id, run));
        }
        if runs.iter().all(|(_, run)| run.is_empty()) {
            break;
        }
        let groups: Vec<_> = if style.separate { runs.chunks(1).collect() } else { vec![&runs[..]] };
        for group in groups {
            let moof_at = out.len();
            // The lengths of both passes are the same; the first tells where the data begins.
            let length = moof(group, &sync, style, moof_at, 0).len();
            out.extend(moof(group, &sync, style, moof_at, length + 8));
            let samples = group.iter().flat_map(|(_, run)| run);
            let data: Vec<_> =
                samples.flat_map(|s| &source[s.offset as usize..][..s.size as usize]).copied().collect();
            out.extend(boxed(b"mdat", &data));
        }
    }
    out
}

const NON_SYNC: u32 = 0x0101_0000;

fn moof(
    group: &[(u32, Vec<Sample>)],
    sync: &[u32],
    style: Style,
    moof_at: usize,
    mut data: usize,
) -> Vec<u8> {
    let mut moof = boxed(b"mfhd", &[0; 8]);
    for (id, run) in group.iter().filter(|(_, run)| !run.is_empty()) {
        let mut traf = if style.base_is_moof {
            boxed(b"tfhd", &numbers(&[0x2_0000, *id]))
        } else {
            boxed(b"tfhd", &numbers(&[1, *id, 0, moof_at as u32]))
        };
        if style.with_times {
            traf.extend(boxed(b"tfdt", &numbers(&[0x0100_0000, 0, run[0].dts as u32])));
        }
        let mut trun = numbers(&[0x0100_0f01, run.len() as u32, data as u32]);
        for sample in run {
            let is_sync = *id == 2 || sync.contains(&sample.index);
            let flags = if is_sync { 0x0200_0000 } else { NON_SYNC };
            trun.extend(numbers(&[sample.delta, sample.size, flags, (sample.cts - sample.dts) as u32]));
            data += sample.size as usize;
        }
        traf.extend(boxed(b"trun", &trun));
        moof.extend(boxed(b"traf", &traf));
    }
    boxed(b"moof", &moof)
}

#[test]
fn fragments_give_the_same_packets_and_seek_to_the_same_keyframes() {
    let styles = [(true, true, false), (false, true, false), (true, false, false), (true, true, true)];
    for (with_times, base_is_moof, separate) in styles {
        let bytes = fragmented(Style { with_times, base_is_moof, separate });
        for track in [VIDEO, AUDIO] {
            assert_eq!(packets(bytes.clone(), track), packets(clip(), track));
        }
        let (mut plain, mut pieces) = (open_bytes(clip()).unwrap(), open_bytes(bytes).unwrap());
        for millis in [5500, 0, 9999, 2000, 1999, -100, 60_000] {
            let to = MediaTime::from_millis(millis);
            let landed = plain.seek(to).unwrap();
            assert_eq!(pieces.seek(to).unwrap(), landed, "to {millis}");
            let first = |mp4: &mut Mp4, track| loop {
                let packet = mp4.next_packet().unwrap().expect("both tracks go on");
                if packet.track == track {
                    return packet;
                }
            };
            assert_eq!(first(&mut pieces, VIDEO), first(&mut plain, VIDEO), "to {millis}");
            plain.seek(to).unwrap();
            pieces.seek(to).unwrap();
            let (ours, theirs) = (first(&mut pieces, AUDIO), first(&mut plain, AUDIO));
            assert!(
                (ours.pts - theirs.pts).abs() <= ours.duration,
                "to {millis}: {:?} {:?}",
                ours.pts,
                theirs.pts
            );
        }
    }
}

#[test]
fn damaged_fragments_are_an_error_or_an_end() {
    let bytes = fragmented(Style { with_times: true, base_is_moof: true, separate: false });
    let moofs: Vec<_> =
        bytes.windows(4).enumerate().filter(|(_, w)| *w == b"moof").map(|(at, _)| at).collect();
    let mut random = fastrand::Rng::with_seed(0xf4a6);
    for _ in 0..80 {
        let mut broken = bytes.clone();
        let moof = *random.choice(&moofs).unwrap();
        for _ in 0..random.usize(1..4) {
            broken[moof + random.usize(0..120)] = random.choice([0, 1, 0xff, 0x7f]).unwrap();
        }
        if random.bool() {
            broken.truncate(random.usize(moofs[0]..broken.len()));
        }
        let Ok(mut mp4) = open_bytes(broken) else { continue };
        let mut n_errors = 0;
        loop {
            match mp4.next_packet() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    assert!(!matches!(error, DemuxError::Io(_)), "{error:?}");
                    n_errors += 1;
                    assert!(n_errors < 2000, "errors without end: {error:?}");
                }
            }
        }
        let _ = mp4.seek(MediaTime::from_millis(random.i64(0..10_000)));
    }
}

#[test]
fn a_run_of_a_billion_samples_is_refused() {
    let mut bytes = fragmented(Style { with_times: true, base_is_moof: true, separate: false });
    let trun = bytes.windows(4).position(|window| window == b"trun").unwrap();
    // No field per sample, so that the count needs no room.
    bytes[trun + 4..trun + 12].copy_from_slice(&numbers(&[0x0100_0001, 1_000_000_000]));
    let mut mp4 = open_bytes(bytes).unwrap();
    assert!(matches!(mp4.next_packet(), Err(DemuxError::Damaged { .. })));
}

#[test]
fn pieces_without_their_beginning_say_so() {
    let bytes = fragmented(Style { with_times: true, base_is_moof: true, separate: false });
    let moof = bytes.windows(4).position(|window| window == b"moof").unwrap() - 4;
    let error = open_bytes(bytes[moof..].to_vec()).err().unwrap();
    assert!(matches!(error, DemuxError::Unsupported { .. }), "{error:?}");
}
