//! What a programme does, told step by step under a clock that the test turns.

use std::time::Duration;

use super::slots::{LATE, SILENCE};
use super::*;
use crate::media::MediaKind;
use crate::player::Repeat;
use crate::player::testing::{Clip, Pace, Rig, number};
use crate::player::timeline::SLOT;

fn ms(millis: i64) -> MediaTime {
    MediaTime::from_millis(millis)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Nobody has to listen for these programmes to play.
fn options() -> PlayerOptions {
    PlayerOptions { wait_for_listener: false, ..PlayerOptions::default() }
}

fn rig() -> Rig {
    Rig::new(options(), Pace::default())
}

/// `(programme time in ms, number)` of all frames of one item and kind.
fn heard(rig: &Rig, item: ItemId, kind: MediaKind) -> Vec<(i64, i64)> {
    let of_item = rig.frames.iter().map(|(_, due)| due).filter(|due| due.item == Some(item));
    of_item.filter(|due| due.frame.kind == kind).map(|due| (due.at.as_millis(), number(&due.frame))).collect()
}

fn ends(rig: &Rig) -> Vec<(u64, EndReason)> {
    rig.events
        .iter()
        .filter_map(|(_, event)| match event {
            PlayerEvent::ItemEnded { item, reason, .. } => Some((item.0, *reason)),
            _ => None,
        })
        .collect()
}

/// The instant of the first event that `wanted` picks.
fn when(rig: &Rig, wanted: impl Fn(&PlayerEvent) -> bool) -> Instant {
    rig.events.iter().find(|(_, event)| wanted(event)).expect("it happened").0
}

#[test]
fn silence_never_stops() {
    let mut rig = rig();
    rig.run(secs(2));
    let at: Vec<_> = rig.frames.iter().map(|(_, due)| due.at).collect();
    let expected: Vec<_> = (0..=100).map(|slot| SLOT * slot).collect();
    assert_eq!(at, expected);
    assert!(rig.frames.iter().all(|(now, due)| due.due == *now + LEAD && due.item.is_none()));
    assert_eq!(rig.status.state, PlayerState::Idle);
}

#[test]
fn silence_decodes_to_silence() {
    let mut decoder = opus::Decoder::new(48_000, opus::Channels::Stereo).unwrap();
    let mut samples = [1.0_f32; 2 * 960];
    for _ in 0..3 {
        assert_eq!(decoder.decode_float(SILENCE, &mut samples, false).unwrap(), 960);
    }
    assert!(samples.iter().all(|sample| sample.abs() < 1e-6));
}

#[test]
fn items_follow_each_other_without_a_gap() {
    let mut rig = rig();
    let first = rig.state.enqueue(Clip::of_secs(1).item("a"));
    let second = rig.state.enqueue(Clip::of_secs(1).item("b"));
    rig.run(secs(4));
    let (a, b) = (heard(&rig, first, MediaKind::Audio), heard(&rig, second, MediaKind::Audio));
    assert_eq!((a.len(), b.len()), (50, 50));
    assert_eq!(b[0], (a[49].0 + 20, 0));
    let (a, b) = (heard(&rig, first, MediaKind::Video), heard(&rig, second, MediaKind::Video));
    assert_eq!((a.len(), b.len()), (25, 25));
    assert_eq!(b[0], (a[24].0 + 40, 0));
    assert_eq!(ends(&rig), [(1, EndReason::Finished), (2, EndReason::Finished)]);
    assert!(matches!(rig.events.last(), Some((_, PlayerEvent::QueueEnded))));
    assert_eq!(rig.n_workers(), 0);
}

#[test]
fn a_person_rearranges_the_queue_while_it_plays() {
    let mut rig = rig();
    let ids: Vec<_> = (0..5).map(|_| rig.state.enqueue(Clip::of_secs(1).item("a"))).collect();
    rig.run(Duration::from_millis(500));
    rig.state.move_to(ids[4], 0).unwrap();
    rig.state.remove(ids[1]).unwrap();
    let inserted = rig.state.insert(1, Clip::of_secs(1).item("b"));
    let waiting: Vec<_> = rig.state.upcoming().iter().map(|queued| queued.id).collect();
    assert_eq!(waiting, [ids[4], inserted, ids[2], ids[3]]);
    rig.state.skip_to(ids[2]).unwrap();
    assert!(matches!(rig.state.skip_to(ids[1]), Err(PlayError::NotWaiting { .. })));
    rig.run(Duration::from_millis(500));
    rig.state.clear();
    rig.run(secs(3));
    let (skipped, removed) = (EndReason::Skipped, EndReason::Removed);
    let expected =
        [(2, removed), (1, skipped), (5, skipped), (6, skipped), (4, removed), (3, EndReason::Finished)];
    assert_eq!(ends(&rig), expected);
    assert_eq!(heard(&rig, ids[2], MediaKind::Audio).len(), 50);
    assert_eq!(rig.n_workers(), 0);
}

#[test]
fn events_wait_until_the_frames_have_left() {
    let mut rig = rig();
    let id = rig.state.enqueue(Clip::of_secs(3).item("a"));
    rig.run(secs(5));
    let of_item: Vec<_> =
        rig.frames.iter().filter(|(_, due)| due.item == Some(id)).map(|f| f.1.due).collect();
    let started = when(&rig, |event| matches!(event, PlayerEvent::ItemStarted { .. }));
    let ended = when(&rig, |event| matches!(event, PlayerEvent::ItemEnded { .. }));
    assert_eq!(started, of_item[0]);
    assert_eq!(ended, *of_item.last().unwrap() + Duration::from_millis(20));
    let positions: Vec<_> = rig
        .events
        .iter()
        .filter_map(|(now, event)| match event {
            PlayerEvent::Position { position, duration, .. } => {
                assert_eq!(*duration, Some(ms(3000)));
                Some((position.as_millis(), (*now - started).as_millis()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(positions, [(0, 0), (1000, 1000), (2000, 2000)]);
}

#[test]
fn a_pause_holds_both_tracks_together() {
    let mut rig = rig();
    let id = rig.state.enqueue(Clip::of_secs(3).item("a"));
    rig.run(secs(1));
    rig.state.pause();
    rig.run(secs(10));
    assert_eq!(rig.status.state, PlayerState::Paused);
    rig.state.resume();
    rig.run(secs(4));
    for (kind, step) in [(MediaKind::Audio, 20), (MediaKind::Video, 40)] {
        let heard = heard(&rig, id, kind);
        let offsets: Vec<_> = heard.iter().map(|(at, number)| at - number * step).collect();
        let changes: Vec<_> = offsets.windows(2).filter(|pair| pair[0] != pair[1]).collect();
        assert_eq!(changes.len(), 1, "{kind:?}");
        assert_eq!(changes[0][1] - changes[0][0], 10_000, "{kind:?}");
        assert!(heard.windows(2).all(|pair| pair[1].1 == pair[0].1 + 1), "{kind:?}: nothing lost");
    }
}

#[test]
fn a_pause_is_heard_within_the_lead() {
    let mut rig = rig();
    let id = rig.state.enqueue(Clip::of_secs(3).item("a"));
    rig.run(Duration::from_millis(1010));
    let paused_at = rig.now;
    rig.state.pause();
    rig.run(secs(1));
    let last = rig.frames.iter().rfind(|(_, due)| due.item == Some(id)).unwrap();
    assert!(last.1.due < paused_at + LEAD + SLOT.to_duration());
}

#[test]
fn a_seek_goes_to_the_key_frame_before_with_the_sound_beside_it() {
    let mut rig = rig();
    let clip = Clip { audio_from: -ms(7), ..Clip::of_secs(10) };
    let id = rig.state.enqueue(clip.item("a"));
    rig.run(secs(1));
    let ticket = rig.state.seek(ms(5700)).unwrap();
    rig.frames.clear();
    rig.run(secs(1));
    assert_eq!(rig.sought.len(), 1);
    assert_eq!(rig.sought[0].0, ticket);
    assert_eq!(rig.sought[0].1.as_ref().unwrap(), &ms(5000));
    let audio = heard(&rig, id, MediaKind::Audio)[0];
    let video = heard(&rig, id, MediaKind::Video)[0];
    assert_eq!(video.1, 125, "a key frame");
    assert_eq!(clip.audio_pts(audio.1), ms(4993));
    assert_eq!(video.0 - audio.0, 7, "as far apart as in the file");
}

#[test]
fn a_seek_to_the_end_ends_the_item_and_one_back_from_there_goes_on() {
    let mut rig = rig();
    let clip = Clip { n_video: None, ..Clip::of_secs(2) };
    rig.state.enqueue(clip.item("a"));
    rig.run(Duration::from_millis(500));
    rig.state.pause();
    rig.state.seek(ms(99_000)).unwrap();
    rig.run(secs(1));
    assert!(ends(&rig).is_empty(), "a person may still come back");
    rig.state.seek(ms(1500)).unwrap();
    rig.state.resume();
    rig.run(secs(2));
    assert_eq!(ends(&rig), [(1, EndReason::Finished)]);
    assert_eq!(heard(&rig, ItemId(1), MediaKind::Audio).last().unwrap().1, 99);
}

#[test]
fn the_later_of_two_seeks_wins() {
    let mut rig = Rig::new(options(), Pace { seek: Duration::from_millis(300), ..Pace::default() });
    let id = rig.state.enqueue(Clip::of_secs(60).item("a"));
    rig.run(secs(1));
    let first = rig.state.seek(ms(10_000)).unwrap();
    rig.run(Duration::from_millis(50));
    let second = rig.state.seek(ms(20_000)).unwrap();
    rig.frames.clear();
    rig.run(secs(2));
    let answers: Vec<_> = rig.sought.iter().map(|(ticket, result)| (*ticket, result.is_ok())).collect();
    assert_eq!(answers, [(first, false), (second, true)]);
    assert_eq!(heard(&rig, id, MediaKind::Audio)[0].1, 1000);
}

#[test]
fn now_replaces_and_the_queue_goes_on_behind_it() {
    let mut rig = rig();
    for source in ["a", "b"] {
        rig.state.enqueue(Clip::of_secs(1).item(source));
    }
    rig.run(Duration::from_millis(500));
    rig.state.play_now(Clip::of_secs(1).item("c"));
    rig.run(secs(4));
    let expected = [(1, EndReason::Skipped), (3, EndReason::Finished), (2, EndReason::Finished)];
    assert_eq!(ends(&rig), expected);
}

#[test]
fn a_loop_repeats_and_leaves_out_what_failed() {
    let options = PlayerOptions { repeat: Repeat::All, ..options() };
    let mut rig = Rig::new(options, Pace::default());
    rig.state.enqueue(Clip::of_secs(1).item("a"));
    rig.state.enqueue(Clip { unreadable: true, ..Clip::of_secs(1) }.item("b"));
    rig.run(Duration::from_millis(3500));
    let expected = [(2, EndReason::Failed), (1, EndReason::Finished), (1, EndReason::Finished)];
    assert_eq!(ends(&rig)[..3], expected);
    let audio = heard(&rig, ItemId(1), MediaKind::Audio);
    assert!(audio.windows(2).all(|pair| pair[1].0 == pair[0].0 + 20), "no gap between rounds");
    rig.state.stop();
    rig.run(secs(1));
    assert_eq!(ends(&rig).last(), Some(&(1, EndReason::Stopped)));
    assert_eq!(rig.n_workers(), 0);
}

#[test]
fn what_cannot_be_played_is_told_and_the_queue_goes_on() {
    let mut rig = rig();
    rig.state.enqueue(Clip { unreadable: true, ..Clip::of_secs(1) }.item("gone"));
    rig.state.enqueue(Clip { n_audio: None, n_video: None, ..Clip::of_secs(1) }.item("no tracks"));
    rig.state.enqueue(Clip { n_audio: Some(0), n_video: None, ..Clip::of_secs(1) }.item("empty"));
    rig.state.enqueue(Clip { fails_at: Some(ms(500)), ..Clip::of_secs(1) }.item("cut off"));
    rig.state.enqueue(Clip::of_secs(1).item("good"));
    rig.run(secs(4));
    let failed = [1, 2, 3, 4].map(|item| (item, EndReason::Failed));
    assert_eq!(ends(&rig)[..4], failed);
    assert_eq!(ends(&rig)[4..], [(5, EndReason::Finished)]);
    assert_eq!(heard(&rig, ItemId(4), MediaKind::Audio).len(), 25, "what came before the damage plays");
    assert_eq!(heard(&rig, ItemId(5), MediaKind::Audio).len(), 50);
}

#[test]
fn a_track_may_start_late_end_early_or_be_absent() {
    let clips = [
        Clip { n_audio: None, ..Clip::of_secs(8) },
        Clip { n_video: None, ..Clip::of_secs(8) },
        Clip { n_audio: Some(50), ..Clip::of_secs(8) },
        Clip { n_video: Some(25), ..Clip::of_secs(8) },
        Clip { video_from: ms(4000), ..Clip::of_secs(8) },
        Clip { audio_from: ms(4010), ..Clip::of_secs(8) },
    ];
    for clip in clips {
        let mut rig = rig();
        let id = rig.state.enqueue(clip.item("a"));
        rig.run(secs(15));
        assert_eq!(ends(&rig), [(1, EndReason::Finished)], "{clip:?}");
        let (audio, video) = (heard(&rig, id, MediaKind::Audio), heard(&rig, id, MediaKind::Video));
        assert_eq!(audio.len(), usize::try_from(clip.n_audio.unwrap_or(0)).unwrap(), "{clip:?}");
        assert_eq!(video.len(), usize::try_from(clip.n_video.unwrap_or(0)).unwrap(), "{clip:?}");
        assert_eq!(rig.status.stalled, MediaTime::ZERO, "{clip:?}");
        let zeros: Vec<_> = [(audio, clip.audio_from, 20), (video, clip.video_from, 40)]
            .into_iter()
            .flat_map(|(frames, from, step)| {
                frames.into_iter().map(move |(at, number)| at - number * step - from.as_millis())
            })
            .collect();
        assert!(zeros.windows(2).all(|pair| pair[0] == pair[1]), "{clip:?}: one origin for all frames");
    }
}

#[test]
fn a_reader_that_is_too_slow_makes_silence_and_says_so() {
    // 75 frames a second are needed; one every 20 ms is two thirds of that.
    let pace = Pace { frame: Duration::from_millis(20), ..Pace::default() };
    let mut rig = Rig::new(options(), pace);
    let id = rig.state.enqueue(Clip::of_secs(2).item("a"));
    rig.run(secs(8));
    assert_eq!(ends(&rig), [(1, EndReason::Finished)]);
    assert_eq!(heard(&rig, id, MediaKind::Audio).len(), 100, "late, but all of it");
    assert!(rig.events.iter().any(|(_, event)| matches!(event, PlayerEvent::ItemStalled { .. })));
    assert!(rig.status.stalled > ms(500));
    assert!(rig.frames.iter().all(|(now, due)| due.due >= *now), "no bursts");
}

#[test]
fn a_hiccup_of_the_machine_is_filled_with_silence() {
    let mut rig = rig();
    let id = rig.state.enqueue(Clip::of_secs(3).item("a"));
    rig.run(secs(1));
    rig.freeze(Duration::from_secs(1));
    rig.run(secs(4));
    assert_eq!(heard(&rig, id, MediaKind::Audio).len(), 150, "nothing is lost");
    let late = rig.frames.iter().filter(|(now, due)| due.item.is_some() && due.due + LATE < *now).count();
    assert_eq!(late, 0, "nothing overdue is sent");
    let audio = rig.frames.iter().filter(|(_, due)| due.frame.kind == MediaKind::Audio);
    let at: Vec<_> = audio.map(|(_, due)| due.at).collect();
    assert!(at.windows(2).all(|pair| pair[1] == pair[0] + SLOT));
    assert!(rig.status.stalled >= ms(700));
}

#[test]
fn a_standstill_leaves_slots_out() {
    let mut rig = rig();
    rig.run(secs(1));
    rig.frames.clear();
    rig.freeze(Duration::from_secs(3600));
    assert!(rig.frames.len() <= 11, "an hour is not sent at once");
    rig.run(secs(1));
    assert!(rig.frames.iter().all(|(now, due)| due.due >= *now && due.at.floor_to(SLOT) == due.at));
}

#[test]
fn a_broken_time_stamp_does_not_silence_the_programme() {
    let mut rig = rig();
    let clip = Clip { n_video: Some(25), n_audio: Some(10), ..Clip::of_secs(1) };
    let id = rig.state.enqueue(Clip { audio_from: ms(86_400_000), ..clip }.item("a"));
    rig.run(secs(5));
    assert_eq!(ends(&rig), [(1, EndReason::Finished)]);
    assert_eq!(heard(&rig, id, MediaKind::Video).len(), 25);
    assert_eq!(heard(&rig, id, MediaKind::Audio).len(), 10);
}

#[test]
fn without_stay_the_programme_ends_with_the_queue() {
    let options = PlayerOptions { stay: false, ..options() };
    let mut rig = Rig::new(options, Pace::default());
    rig.run(secs(1));
    assert!(!rig.state.is_finished(), "it waits for the first item");
    rig.state.enqueue(Clip::of_secs(1).item("a"));
    rig.run(secs(3));
    assert!(rig.state.is_finished());
    assert_eq!(rig.status.state, PlayerState::Ended);
    assert!(rig.state.poll_timeout().is_none());
}

#[test]
fn what_is_queued_in_the_last_moment_follows_without_an_end() {
    let options = PlayerOptions { stay: false, ..options() };
    let mut rig = Rig::new(options, Pace::default());
    rig.state.enqueue(Clip::of_secs(1).item("a"));
    rig.run(Duration::from_millis(900));
    // Until all of it is on its way, and not yet heard.
    while rig.status.state == PlayerState::Playing {
        rig.run(Duration::from_millis(1));
    }
    assert_eq!(ends(&rig), []);
    rig.state.enqueue(Clip::of_secs(1).item("b"));
    rig.run(secs(3));
    let n_ends = rig.events.iter().filter(|(_, event)| matches!(event, PlayerEvent::QueueEnded)).count();
    assert_eq!(n_ends, 1);
    assert_eq!(ends(&rig), [(1, EndReason::Finished), (2, EndReason::Finished)]);
}

#[test]
fn a_new_volume_does_not_disturb_what_plays() {
    let mut rig = rig();
    let id = rig.state.enqueue(Clip::of_secs(2).item("a"));
    rig.state.enqueue(Clip::of_secs(1).item("b"));
    rig.run(secs(1));
    let n_opened = rig.n_opened;
    assert!(matches!(rig.state.set_volume(201), Err(PlayError::Volume { percent: 201 })));
    rig.state.set_volume(50).unwrap();
    rig.state.set_volume(50).unwrap();
    rig.run(secs(3));
    assert_eq!(rig.n_opened, n_opened + 1, "the next item is read again at its volume");
    assert_eq!(heard(&rig, id, MediaKind::Audio).len(), 100);
    assert_eq!(rig.status.volume_percent, 50);
}

#[test]
fn closing_tells_every_end_once() {
    let mut rig = rig();
    for source in ["a", "b", "c"] {
        rig.state.enqueue(Clip::of_secs(5).item(source));
    }
    rig.run(secs(1));
    rig.state.close();
    rig.state.close();
    rig.run(secs(1));
    assert_eq!(ends(&rig), [1, 2, 3].map(|item| (item, EndReason::Stopped)));
    assert!(rig.state.is_finished());
    assert_eq!(rig.n_workers(), 0);
}

#[test]
fn without_an_item_there_is_nothing_to_steer() {
    let mut rig = rig();
    assert!(matches!(rig.state.skip(), Err(PlayError::NothingPlaying)));
    assert!(matches!(rig.state.seek(ms(5)), Err(PlayError::NothingPlaying)));
    rig.state.stop();
    rig.state.pause();
    rig.state.enqueue(Clip::of_secs(1).item("a"));
    rig.run(secs(1));
    assert!(rig.frames.iter().all(|(_, due)| due.item.is_none()));
    rig.state.resume();
    rig.run(secs(2));
    assert_eq!(ends(&rig), [(1, EndReason::Finished)]);
}

#[test]
fn the_first_item_waits_for_the_first_listener() {
    let mut rig = Rig::new(PlayerOptions::default(), Pace::default());
    let id = rig.state.enqueue(Clip::of_secs(1).item("a"));
    rig.state.enqueue(Clip { unreadable: true, ..Clip::of_secs(1) }.item("b"));
    rig.run(secs(5));
    assert_eq!(rig.status.state, PlayerState::Loading);
    assert_eq!(ends(&rig), [(2, EndReason::Failed)], "what is wrong is told at once");
    rig.state.handle_listener();
    let listening_since = rig.now;
    rig.run(secs(3));
    let first = rig.frames.iter().find(|(_, due)| due.item == Some(id)).unwrap();
    assert_eq!(number(&first.1.frame), 0);
    assert!(first.0 - listening_since <= SLOT.to_duration());
    assert_eq!(ends(&rig).last(), Some(&(1, EndReason::Finished)));
}
