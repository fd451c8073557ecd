//! Going back, repeating, starting in the middle and stopping before the end, under a clock that
//! the test turns.

use super::*;
use crate::media::MediaKind;
use crate::player::testing::{Clip, Pace, Rig, number};
use crate::player::{AfterFailure, OnFailure, Repeat};

fn ms(millis: i64) -> MediaTime {
    MediaTime::from_millis(millis)
}

fn rig_with(repeat: Repeat, pace: Pace) -> Rig {
    let options = PlayerOptions { wait_for_listener: false, repeat, ..PlayerOptions::default() };
    Rig::new(options, pace)
}

fn rig() -> Rig {
    rig_with(Repeat::Off, Pace::default())
}

fn run(rig: &mut Rig, millis: u64) {
    rig.run(Duration::from_millis(millis));
}

/// The numbers of an item's sound, in order.
fn sounds(rig: &Rig, item: ItemId) -> Vec<i64> {
    let of_item = rig.frames.iter().map(|(_, due)| due);
    of_item
        .filter(|due| due.item == Some(item) && due.frame.kind == MediaKind::Audio)
        .map(|due| number(&due.frame))
        .collect()
}

/// Items in the order in which they started.
fn starts(rig: &Rig) -> Vec<u64> {
    let events = rig.events.iter().map(|(_, event)| event);
    events
        .filter_map(|event| match event {
            PlayerEvent::ItemStarted { item, .. } => Some(item.0),
            _ => None,
        })
        .collect()
}

fn count(rig: &Rig, wanted: impl Fn(&PlayerEvent) -> bool) -> usize {
    rig.events.iter().filter(|(_, event)| wanted(event)).count()
}

#[test]
fn one_item_repeats_without_a_gap_until_it_is_skipped() {
    let mut rig = rig_with(Repeat::One, Pace::default());
    let first = rig.state.enqueue(Clip::of_secs(1).item("a"));
    let second = rig.state.enqueue(Clip::of_secs(1).item("b"));
    run(&mut rig, 3500);
    let at: Vec<_> =
        rig.frames.iter().filter(|(_, due)| due.item == Some(first)).map(|(_, due)| due).collect();
    let sound: Vec<_> =
        at.iter().filter(|due| due.frame.kind == MediaKind::Audio).map(|due| due.at).collect();
    assert!(sound.windows(2).all(|pair| pair[1] - pair[0] == ms(20)), "no gap between rounds");
    rig.state.skip().unwrap();
    run(&mut rig, 2500);
    assert!(starts(&rig).starts_with(&[1, 1, 1, 1, 2, 2]), "{:?}", starts(&rig));
    rig.state.set_repeat(Repeat::Off);
    run(&mut rig, 2500);
    assert_eq!((rig.status.state, rig.status.repeat), (PlayerState::Idle, Repeat::Off));
    assert!(!sounds(&rig, second).is_empty());
}

#[test]
fn going_back_plays_the_item_before_and_then_this_one_again() {
    let mut rig = rig();
    for name in ["a", "b", "c"] {
        rig.state.enqueue(Clip::of_secs(2).item(name));
    }
    assert!(matches!(rig.state.previous(), Err(PlayError::NothingBefore)));
    run(&mut rig, 3000);
    rig.state.previous().unwrap();
    run(&mut rig, 8000);
    assert_eq!(starts(&rig), [1, 2, 1, 2, 3]);
    // Also when all is over.
    rig.state.previous().unwrap();
    run(&mut rig, 3000);
    assert_eq!(starts(&rig), [1, 2, 1, 2, 3, 3]);
}

#[test]
fn an_item_begins_and_ends_where_it_is_told_to() {
    let mut rig = rig();
    let item = Clip::of_secs(9).item("a").start_at(ms(2000)).stop_at(ms(5000));
    let middle = rig.state.enqueue(item.clone());
    let next = rig.state.enqueue(Clip::of_secs(1).item("b"));
    run(&mut rig, 5500);
    assert_eq!(sounds(&rig, middle), (100..250).collect::<Vec<_>>(), "2 s to 5 s, in frames of 20 ms");
    let at = |item| {
        let frames = rig.frames.iter().map(|(_, due)| due).filter(move |due| due.item == Some(item));
        frames.filter(|due| due.frame.kind == MediaKind::Audio).map(|due| due.at).collect::<Vec<_>>()
    };
    assert_eq!(*at(next).first().unwrap() - *at(middle).last().unwrap(), ms(20), "no gap behind it");
    let reasons = rig.events.iter().filter_map(|(_, event)| match event {
        PlayerEvent::ItemEnded { reason, .. } => Some(*reason),
        _ => None,
    });
    assert_eq!(reasons.collect::<Vec<_>>(), [EndReason::Finished; 2]);
    // What is wrong behind the end is nobody's business.
    let broken = Clip { fails_at: Some(ms(1100)), ..Clip::of_secs(3) };
    let cut = rig.state.enqueue(broken.item("c").stop_at(ms(1000)));
    run(&mut rig, 2000);
    assert_eq!(sounds(&rig, cut).len(), 50);
    assert_eq!(count(&rig, |event| matches!(event, PlayerEvent::ItemEnded { error: Some(_), .. })), 0);
}

#[test]
fn a_track_that_ended_early_does_not_keep_an_item_from_stopping() {
    let mut rig = rig();
    let clip = Clip { n_audio: Some(50), ..Clip::of_secs(60) };
    rig.state.enqueue(clip.item("a").stop_at(ms(4000)));
    run(&mut rig, 5000);
    assert_eq!(rig.status.state, PlayerState::Idle, "{:?}", rig.status);
}

#[test]
fn the_beginning_of_every_round_is_the_same() {
    let mut rig = rig_with(Repeat::All, Pace { seek: Duration::from_millis(100), ..Pace::default() });
    let item = rig.state.enqueue(Clip::of_secs(3).item("a").start_at(ms(2000)));
    run(&mut rig, 3500);
    let sounds = sounds(&rig, item);
    assert_eq!(sounds[..100], [(100..150), (100..150)].into_iter().flatten().collect::<Vec<_>>());
    assert!(rig.sought.is_empty(), "nobody has asked");
}

#[test]
fn one_goes_forward_and_back_from_what_is_heard() {
    let mut rig = rig();
    rig.state.enqueue(Clip::of_secs(60).item("a"));
    run(&mut rig, 10_000);
    for (offset, expected) in [(20_000, 29), (-5_000, 24), (-90_000, 0), (600_000, 60)] {
        let ticket = rig.state.seek_by(ms(offset)).unwrap();
        run(&mut rig, 100);
        let (answered, landed) = rig.sought.pop().expect("it is answered");
        assert_eq!(answered, ticket);
        let landed = landed.unwrap().as_millis() / 1000;
        assert!((landed - expected).abs() <= 1, "{offset}: {landed}");
    }
}

#[test]
fn what_is_still_told_of_the_old_place_does_not_count_after_a_seek() {
    let mut rig = rig_with(Repeat::Off, Pace { seek: Duration::from_millis(1), ..Pace::default() });
    rig.state.enqueue(Clip::of_secs(60).item("a"));
    run(&mut rig, 1000);
    for n in 0..50 {
        rig.state.seek(ms(30_000)).unwrap();
        run(&mut rig, 2 + 9 * (n % 20));
        let (_, landed) = rig.sought.pop().expect("it is answered");
        assert_eq!(landed.unwrap(), ms(30_000));
        rig.state.seek_by(ms(2000)).unwrap();
        run(&mut rig, 2);
        let (_, landed) = rig.sought.pop().expect("it is answered");
        let landed = landed.unwrap();
        assert!((landed - ms(32_000)).abs() <= ms(250), "{n}: {landed:?}");
        run(&mut rig, 900 + 7 * n);
    }
}

#[test]
fn an_item_of_which_nothing_comes_is_told_once() {
    let mut rig = rig_with(Repeat::Off, Pace { open: Duration::from_secs(8), ..Pace::default() });
    rig.state.enqueue(Clip::of_secs(1).item("a"));
    let stuck = |rig: &Rig| count(rig, |event| matches!(event, PlayerEvent::ItemStuck { item: ItemId(1) }));
    run(&mut rig, 2900);
    assert_eq!(stuck(&rig), 0);
    run(&mut rig, 4000);
    assert_eq!(stuck(&rig), 1);
    run(&mut rig, 4000);
    assert_eq!((stuck(&rig), starts(&rig)), (1, vec![1]), "it comes after all");
}

#[test]
#[cfg(feature = "openh264")]
fn a_slate_is_wanted_when_there_is_nothing_else_to_see() {
    let mut rig = rig_with(Repeat::Off, Pace { open: Duration::from_secs(3), ..Pace::default() });
    assert!(rig.state.wants_slate(), "the queue is empty");
    rig.state.enqueue(Clip::of_secs(1).item("a"));
    run(&mut rig, 500);
    assert!(!rig.state.wants_slate(), "it may come at any moment");
    run(&mut rig, 1000);
    assert!(rig.state.wants_slate(), "it does not come");
    run(&mut rig, 2000);
    assert!(!rig.state.wants_slate(), "it plays");
    rig.state.pause();
    run(&mut rig, 2000);
    assert!(!rig.state.wants_slate(), "a pause shows where it stands");
    rig.state.resume();
    run(&mut rig, 2000);
    assert!(rig.state.wants_slate(), "it is over");
}

#[test]
fn whoever_changes_the_queue_is_heard_of_once() {
    let mut rig = rig();
    let changes = |rig: &Rig| count(rig, |event| matches!(event, PlayerEvent::QueueChanged));
    let first = rig.state.enqueue(Clip::of_secs(5).item("a"));
    run(&mut rig, 100);
    assert_eq!(changes(&rig), 1);
    let second = rig.state.enqueue(Clip::of_secs(5).item("b"));
    let third = rig.state.enqueue(Clip::of_secs(5).item("c"));
    run(&mut rig, 100);
    assert_eq!(changes(&rig), 2, "two changes at once");
    rig.state.move_to(third, 0).unwrap();
    run(&mut rig, 100);
    rig.state.remove(second).unwrap();
    run(&mut rig, 100);
    assert_eq!(changes(&rig), 4);
    run(&mut rig, 6000);
    assert_eq!((changes(&rig), starts(&rig)), (4, vec![first.0, third.0]), "a turn that comes is no change");
}

/// A clip that stops at one second so often before it can be read to its end.
fn healing(clip: Clip, n_bad: usize) -> Item {
    let opened = std::sync::atomic::AtomicUsize::new(0);
    Item::from_reader("healing", move || {
        let nth = opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let fails_at = (nth < n_bad).then(|| ms(1000));
        Clip { fails_at, ..clip }.open()
    })
}

fn rig_that(on_failure: OnFailure) -> Rig {
    let options = PlayerOptions { wait_for_listener: false, on_failure, ..PlayerOptions::default() };
    Rig::new(options, Pace::default())
}

fn failures(rig: &Rig) -> Vec<(u64, AfterFailure)> {
    let events = rig.events.iter().map(|(_, event)| event);
    events
        .filter_map(|event| match event {
            PlayerEvent::ItemFailed { item, policy, .. } => Some((item.0, *policy)),
            _ => None,
        })
        .collect()
}

const fn retry(nth: u32, secs: u64) -> AfterFailure {
    AfterFailure::Retry { nth, of: 3, pause: Duration::from_secs(secs) }
}

#[test]
fn what_fails_is_tried_again_where_it_stopped() {
    let mut rig = rig_that(OnFailure::Retry { times: 3 });
    let item = rig.state.enqueue(healing(Clip { n_video: None, ..Clip::of_secs(2) }, 2));
    let next = rig.state.enqueue(Clip::of_secs(1).item("next"));
    run(&mut rig, 8000);
    assert_eq!(sounds(&rig, item), (0..100).collect::<Vec<_>>(), "nothing twice, nothing lost");
    assert_eq!(failures(&rig), [(item.0, retry(1, 1)), (item.0, retry(2, 2))]);
    assert_eq!(starts(&rig), [item.0, next.0], "each begins once");
    let ends =
        count(&rig, |event| matches!(event, PlayerEvent::ItemEnded { reason: EndReason::Finished, .. }));
    assert_eq!(ends, 2);
    let at: Vec<_> =
        rig.frames.iter().map(|(_, due)| due).filter(|due| due.frame.kind == MediaKind::Audio).collect();
    assert!(at.windows(2).all(|pair| pair[1].at - pair[0].at == ms(20)), "silence meanwhile");
}

#[test]
fn what_fails_again_and_again_is_given_up() {
    let mut rig = rig_that(OnFailure::Retry { times: 3 });
    let bad = rig.state.enqueue(Clip { unreadable: true, ..Clip::of_secs(1) }.item("bad"));
    let good = rig.state.enqueue(Clip::of_secs(1).item("good"));
    run(&mut rig, 10_000);
    let expected = [retry(1, 1), retry(2, 2), retry(3, 4), AfterFailure::Skip];
    assert_eq!(failures(&rig), expected.map(|policy| (bad.0, policy)));
    assert_eq!(starts(&rig), [good.0]);
    let failed = |event: &PlayerEvent| matches!(event, PlayerEvent::ItemEnded { item, reason: EndReason::Failed, .. } if *item == bad);
    assert_eq!(count(&rig, failed), 1);
    assert_eq!(rig.n_workers(), 0);
}

#[test]
fn a_live_source_that_comes_back_is_heard_from_there() {
    let mut rig = rig_that(OnFailure::Retry { times: 3 });
    let clip = Clip { n_video: None, cannot_seek: true, ..Clip::of_secs(2) };
    let item = rig.state.enqueue(healing(clip, 1));
    run(&mut rig, 6000);
    let expected: Vec<i64> = (0..50).chain(0..100).collect();
    assert_eq!(sounds(&rig, item), expected);
    assert_eq!(failures(&rig), [(item.0, retry(1, 1))]);
}

#[test]
fn a_person_may_go_elsewhere_while_it_waits() {
    let mut rig = rig_that(OnFailure::Retry { times: 3 });
    let bad = rig.state.enqueue(healing(Clip { n_video: None, ..Clip::of_secs(3) }, 1));
    run(&mut rig, 1500);
    assert_eq!(failures(&rig).len(), 1);
    let ticket = rig.state.seek(ms(200)).expect("there is an item");
    run(&mut rig, 300);
    assert!(rig.sought.iter().any(|(of, result)| *of == ticket && result.is_ok()));
    assert_eq!(rig.status.state, PlayerState::Playing, "it need not wait");
    rig.state.skip().expect("there is an item");
    run(&mut rig, 3000);
    assert_eq!(count(&rig, |event| matches!(event, PlayerEvent::ItemEnded { item, .. } if *item == bad)), 1);
    assert_eq!((rig.n_workers(), rig.status.state), (0, PlayerState::Idle));
    // One that could never be opened begins there when it can.
    let closed = rig.state.enqueue(Clip { unreadable: true, ..Clip::of_secs(1) }.item("closed"));
    run(&mut rig, 500);
    let ticket = rig.state.seek(ms(200)).expect("there is an item");
    run(&mut rig, 100);
    assert_eq!(rig.sought.last().map(|(of, result)| (*of, result.is_ok())), Some((ticket, true)));
    rig.state.stop();
    run(&mut rig, 500);
    assert_eq!(
        count(&rig, |event| matches!(event, PlayerEvent::ItemEnded { item, .. } if *item == closed)),
        1
    );
}

#[test]
fn a_failure_may_end_the_programme() {
    let mut rig = rig_that(OnFailure::Stop);
    let bad = rig.state.enqueue(Clip { fails_at: Some(ms(500)), ..Clip::of_secs(1) }.item("bad"));
    let good = rig.state.enqueue(Clip::of_secs(1).item("good"));
    run(&mut rig, 3000);
    assert_eq!(failures(&rig), [(bad.0, AfterFailure::Stop)]);
    let reasons: Vec<_> = rig
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            PlayerEvent::ItemEnded { item, reason, .. } => Some((item.0, *reason)),
            _ => None,
        })
        .collect();
    assert_eq!(reasons, [(bad.0, EndReason::Failed), (good.0, EndReason::Stopped)]);
    assert_eq!(count(&rig, |event| matches!(event, PlayerEvent::QueueEnded)), 1);
}

/// Where the picture that is due now lies in the recording.
fn shown(rig: &Rig, clip: Clip) -> MediaTime {
    let due = rig.frames.iter().rev().map(|(_, due)| due).filter(|due| due.due <= rig.now);
    clip.video_pts(number(
        &due.into_iter().find(|due| due.frame.kind == MediaKind::Video).expect("seen").frame,
    ))
}

#[test]
fn an_item_goes_by_faster_and_slower_and_is_told_as_recorded() {
    let clip = Clip::of_secs(60);
    let options = PlayerOptions { wait_for_listener: false, speed_percent: 200, ..PlayerOptions::default() };
    let mut rig = Rig::new(options, Pace::default());
    let item = rig.state.enqueue(clip.item("a"));
    run(&mut rig, 5000);
    let is_near = |place: MediaTime, wanted| (place - ms(wanted)).abs() <= ms(1000);
    assert!(is_near(rig.status.position, 9600) && is_near(shown(&rig, clip), 9600), "{:?}", rig.status);
    assert_eq!(rig.status.duration, Some(ms(60_000)));
    // What has been read already keeps its speed.
    rig.state.set_speed(50).unwrap();
    run(&mut rig, 10_000);
    let place = shown(&rig, clip);
    assert!(is_near(place, 15_500), "{place:?}");
    assert!((rig.status.position - place).abs() <= ms(1000), "{:?} and {place:?}", rig.status.position);
    rig.state.seek(ms(50_000)).unwrap();
    run(&mut rig, 100);
    assert_eq!(rig.sought[0].1.clone().unwrap(), ms(50_000));
    rig.state.set_speed(125).unwrap();
    run(&mut rig, 3000);
    rig.state.seek_by(ms(2000)).unwrap();
    run(&mut rig, 20_000);
    assert_eq!(rig.status.state, PlayerState::Idle);
    let at: Vec<_> = rig.frames.iter().map(|(_, due)| due).filter(|due| due.item == Some(item)).collect();
    let sound: Vec<_> =
        at.iter().filter(|due| due.frame.kind == MediaKind::Audio).map(|due| due.at).collect();
    let n_gaps = sound.windows(2).filter(|two| two[1] - two[0] != ms(20)).count();
    assert!(n_gaps <= 2, "one for each seek: {n_gaps}");
    assert!(rig.state.set_speed(49).is_err() && rig.state.set_speed(201).is_err());
}

#[test]
fn faster_items_follow_each_other_and_stop_where_they_are_told_to() {
    let mut rig = rig();
    rig.state.set_speed(200).unwrap();
    let first = rig.state.enqueue(Clip::of_secs(9).item("a").start_at(ms(2000)).stop_at(ms(6000)));
    let second = rig.state.enqueue(Clip::of_secs(4).item("b"));
    run(&mut rig, 5000);
    assert_eq!((sounds(&rig, first).len(), sounds(&rig, second).len()), (100, 100), "2 s each");
    let at: Vec<_> = rig.frames.iter().map(|(_, due)| due).filter(|due| due.item.is_some()).collect();
    let sound = at.iter().filter(|due| due.frame.kind == MediaKind::Audio).map(|due| due.at);
    assert!(sound.collect::<Vec<_>>().windows(2).all(|two| two[1] - two[0] == ms(20)));
}
