//! Going back, repeating, starting in the middle and stopping before the end, under a clock that
//! the test turns.

use super::*;
use crate::media::MediaKind;
use crate::player::testing::{Clip, Pace, Rig, number};

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
