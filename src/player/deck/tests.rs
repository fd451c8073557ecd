use bytes::Bytes;

use super::reach::{AHEAD, MAX_BYTES};
use super::*;
use crate::player::timeline::SLOT;

fn ms(millis: i64) -> MediaTime {
    MediaTime::from_millis(millis)
}

fn audio(pts: MediaTime) -> Frame {
    let data = Bytes::from_static(b"sound");
    Frame {
        kind: MediaKind::Audio,
        codec: crate::media::Codec::Opus,
        pts,
        duration: SLOT,
        key: true,
        data,
        level: None,
        rotation: 0,
    }
}

fn picture(pts: i64, key: bool) -> Frame {
    let data = Bytes::from_static(b"picture");
    Frame {
        kind: MediaKind::Video,
        codec: crate::media::Codec::H264,
        pts: ms(pts),
        duration: ms(40),
        key,
        data,
        level: None,
        rotation: 0,
    }
}

fn open(audio: bool, video: bool) -> Deck {
    let mut deck = Deck::new(ItemId(1), WorkerId(1), "clip".into());
    assert_eq!(deck.poll_want(), None, "nothing is read before it is open");
    let words = |track: bool| track.then(|| "copy".to_owned());
    deck.open(Opened { plan: ItemPlan::new(words(audio), words(video)), duration: None });
    deck
}

/// The `pts` in milliseconds of what a slot plays.
fn play(deck: &mut Deck, position: i64) -> (Option<i64>, Vec<i64>) {
    match deck.take_slot(ms(position)) {
        Slot::Play { audio, video } => {
            let millis = |frame: &Frame| frame.pts.as_millis();
            (audio.as_ref().map(millis), video.iter().map(millis).collect())
        }
        slot => panic!("{slot:?} at {position}"),
    }
}

#[test]
fn reads_half_a_second_ahead_and_no_further() {
    let mut deck = open(true, false);
    let mut n_owed = 0;
    let mut pts = MediaTime::ZERO;
    loop {
        while let Some(want) = deck.poll_want() {
            let Want::Read { generation: 0, n_frames, .. } = want else { panic!("{want:?}") };
            n_owed += n_frames;
            assert!(n_owed <= CREDIT + CREDIT_LOW, "few orders are open at a time");
        }
        if n_owed == 0 {
            break;
        }
        n_owed -= 1;
        deck.handle_frame(0, audio(pts));
        pts += SLOT;
    }
    assert!(pts >= AHEAD && pts <= AHEAD + SLOT * 25, "{pts:?}");
}

#[test]
fn one_seek_is_open_at_a_time_and_the_last_one_counts() {
    let mut deck = open(true, false);
    while deck.poll_want().is_some() {}
    deck.seek(ms(1000));
    assert_eq!(deck.poll_want(), Some(Want::Seek { generation: 1, to: ms(1000) }));
    deck.seek(ms(2000));
    deck.seek(ms(3000));
    assert_eq!(deck.poll_want(), None);
    deck.handle_frame(0, audio(ms(0)));
    assert!(!deck.handle_landed(1, Some(ms(1000))), "not the one that counts");
    assert_eq!(deck.poll_want(), Some(Want::Seek { generation: 3, to: ms(3000) }));
    deck.handle_frame(1, audio(ms(1000)));
    assert!(deck.handle_landed(3, Some(ms(3000))));
    assert!(deck.first_pts().is_none(), "frames of another place are not played");
    assert!(matches!(deck.poll_want(), Some(Want::Read { generation: 3, .. })));
}

#[test]
fn after_a_landing_between_keys_pictures_begin_at_the_next_key() {
    let mut deck = open(true, true);
    deck.handle_frame(0, picture(0, true));
    deck.seek(ms(1000));
    deck.poll_want();
    deck.handle_landed(1, Some(ms(1000)));
    for pts in [960, 980, 1000, 1020] {
        deck.handle_frame(1, audio(ms(pts + 5)));
    }
    for (pts, key) in [(960, true), (1000, false), (1040, false), (1080, true), (1120, false)] {
        deck.handle_frame(1, picture(pts, key));
    }
    deck.handle_end(1);
    assert_eq!(deck.start_position(), ms(985), "the sound that the landing falls into");
    let played: Vec<_> = (985..1145).step_by(20).map(|position| play(&mut deck, position)).collect();
    let sound: Vec<_> = played.iter().filter_map(|slot| slot.0).collect();
    let pictures: Vec<_> = played.iter().flat_map(|slot| slot.1.clone()).collect();
    assert_eq!((sound, pictures), (vec![985, 1005, 1025], vec![1080, 1120]));
}

#[test]
fn time_stamps_that_jitter_lose_no_sound() {
    // Half a slot off the grid and rounded to either side: the worst place to be.
    let mut deck = open(true, false);
    deck.handle_frame(0, audio(ms(0)));
    for idx in 1..200 {
        deck.handle_frame(0, audio(ms(20 * idx + 10 - idx % 3)));
    }
    deck.handle_end(0);
    let n_played = (0..200).filter(|idx| play(&mut deck, 20 * idx).0.is_some()).count();
    assert_eq!((n_played, deck.n_dropped), (200, 0));
    assert_eq!(deck.take_slot(ms(4010)), Slot::Ended);
}

#[test]
fn sound_that_overlaps_is_dropped_and_counted() {
    let mut deck = open(true, false);
    for pts in [0, 20, 0, 20, 40] {
        deck.handle_frame(0, audio(ms(pts)));
    }
    deck.handle_end(0);
    let played: Vec<_> = (0..3).map(|idx| play(&mut deck, 20 * idx).0).collect();
    assert_eq!(played, [Some(0), Some(20), Some(40)]);
    assert_eq!(deck.n_dropped, 2);
}

#[test]
fn pictures_that_come_far_too_late_are_dropped_up_to_a_key() {
    let mut deck = open(true, true);
    for idx in 0..300 {
        deck.handle_frame(0, audio(SLOT * idx));
    }
    assert_eq!(play(&mut deck, 0), (Some(0), vec![]), "the track is too far away to wait for");
    for idx in 1..100 {
        play(&mut deck, 20 * idx);
    }
    for idx in 0..60 {
        deck.handle_frame(0, picture(40 * idx, idx % 20 == 0));
    }
    deck.handle_end(0);
    let (_, pictures) = play(&mut deck, 2000);
    assert_eq!(pictures.first(), Some(&1600), "a key not too late");
    assert_eq!(deck.n_dropped, 40);
}

#[test]
fn a_single_picture_without_length_is_shown() {
    let mut deck = open(false, true);
    deck.handle_frame(0, Frame { duration: -ms(5), ..picture(70, true) });
    deck.handle_end(0);
    assert_eq!(deck.start_position(), ms(70));
    assert_eq!(play(&mut deck, 70).1, [70]);
    assert_eq!(deck.take_slot(ms(90)), Slot::Ended);
}

#[test]
fn a_crowd_of_bytes_stops_the_reading() {
    let mut deck = open(false, true);
    while deck.poll_want().is_some() {}
    let data = Bytes::from(vec![0; MAX_BYTES / 4]);
    for _ in 0..4 {
        deck.handle_frame(0, Frame { duration: ms(1), data: data.clone(), ..picture(0, true) });
    }
    deck.credit = 0;
    assert_eq!(deck.poll_want(), None);
    assert!(deck.is_ready(), "plays what it has");
    assert_eq!(play(&mut deck, 0).1.len(), 4);
    assert!(deck.poll_want().is_some());
}
