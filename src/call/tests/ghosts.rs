//! What an earlier process has left in the chat.

use std::time::Duration;

use super::lab::Lab;
use crate::call::signaling::Method;
use crate::call::{CallStatus, JoinOptions};

#[test]
fn a_ghost_leaves_before_the_join_and_only_once() {
    let ghost = u32::MAX - 6;
    let mut lab = Lab::with(JoinOptions { ghost: Some(ghost), ..JoinOptions::default() }, "", 1);
    lab.play();
    lab.join(Duration::from_secs(3));
    let first: Vec<_> = lab.requests.iter().map(|request| request.method.clone()).take(2).collect();
    assert_eq!(first[0], Method::Leave { source: -7 }, "as Telegram writes it");
    let Method::Join(join) = &first[1] else { panic!("{first:?}") };
    assert_eq!(lab.ssrcs, [join.source.cast_unsigned()]);
    // The server knew no such ghost, which is no trouble.
    assert_eq!(lab.status(), Some(&CallStatus::Joined), "{:?}", lab.statuses);

    lab.cut = true;
    lab.run(Duration::from_secs(20));
    lab.cut = false;
    lab.run(Duration::from_secs(20));
    assert_eq!(lab.status(), Some(&CallStatus::Joined), "{:?}", lab.statuses);
    assert_eq!(lab.asked(|method| *method == Method::Leave { source: -7 }), 1);
    let last = lab.requests.iter().rev().find_map(|request| match &request.method {
        Method::Join(join) => Some(join.source.cast_unsigned()),
        _ => None,
    });
    assert!(lab.ssrcs.len() > 1 && lab.ssrcs.last() == last.as_ref(), "{:?}", lab.ssrcs);
}
