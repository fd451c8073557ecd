//! A call in an empty chat, with the wish to leave it.

use std::time::Duration;

use super::lab::Lab;
use crate::call::{CallEvent, CallStatus, JoinOptions, LeftReason};

const PATIENCE: Duration = Duration::from_secs(10);

fn lab() -> Lab {
    Lab::with(JoinOptions { leave_when_empty: Some(PATIENCE), ..JoinOptions::default() }, "", 1)
}

/// How often the user was told that nobody is there.
fn n_told(lab: &Lab) -> usize {
    lab.events.iter().filter(|event| matches!(event, CallEvent::Alone { leaves_in: PATIENCE })).count()
}

#[test]
fn whoever_stays_alone_leaves_and_says_goodbye() {
    let mut lab = lab();
    lab.play();
    lab.join(Duration::from_secs(9));
    assert_eq!((lab.status(), n_told(&lab)), (Some(&CallStatus::Joined), 1), "{:?}", lab.events);
    lab.run(Duration::from_secs(3));
    assert_eq!(lab.left(), Some(&LeftReason::Empty));
    assert_eq!((n_told(&lab), lab.n_members()), (1, 0), "the server knows it too");
    let connected = lab.when(|status| *status == CallStatus::Connected).expect("it was up");
    let left = lab.when(|status| matches!(status, CallStatus::Left(_))).expect("it has left");
    let waited = left - connected;
    assert!(waited >= PATIENCE && waited < PATIENCE + Duration::from_millis(500), "{waited:?}");
}

#[test]
fn company_keeps_the_call_and_its_end_counts_anew() {
    let mut lab = lab();
    lab.play();
    lab.join(Duration::from_secs(6));
    lab.seat_guest();
    lab.run(PATIENCE + Duration::from_secs(5));
    assert_eq!((lab.status(), n_told(&lab)), (Some(&CallStatus::Joined), 1), "somebody listens");
    let now = lab.now;
    lab.sfu.kick("lab", "guest", now).expect("it is there");
    lab.run(PATIENCE - Duration::from_secs(1));
    assert_eq!((lab.left(), n_told(&lab)), (None, 2), "{:?}", lab.events);
    lab.run(Duration::from_secs(2));
    assert_eq!(lab.left(), Some(&LeftReason::Empty));
}

#[test]
fn whoever_does_not_know_who_is_there_stays() {
    let mut lab = lab();
    lab.listless = true;
    lab.play();
    lab.join(Duration::from_secs(30));
    assert_eq!((lab.status(), n_told(&lab)), (Some(&CallStatus::Joined), 0), "{:?}", lab.events);
}
