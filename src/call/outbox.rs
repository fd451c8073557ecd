//! Requests → those still worth sending, for when the signaling side does not keep up.
//!
//! A request that waits here may be overtaken by events: of two edits, checks or joins only the
//! newer one counts. So whatever is asked for while nobody reads, little is left to be sent, and
//! the end of it is right.

use std::collections::VecDeque;

use super::signaling::{Edit, Method, Request};

/// Goodbyes that may wait, each with a source of its own. More than these only pile up where
/// nothing was read for many reconnections.
const MAX_LEAVES: usize = 32;

/// Requests that wait, oldest first.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Request>,
}

impl Outbox {
    /// Adds a request, and drops what it makes pointless.
    pub(super) fn push(&mut self, mut request: Request) {
        if let Method::Edit(new) = &mut request.method {
            for old in &self.waiting {
                if let Method::Edit(old) = &old.method {
                    *new = merged(old, new);
                }
            }
        }
        self.waiting.retain(|old| !replaces(&request.method, &old.method));
        if matches!(request.method, Method::Leave { .. }) {
            self.make_room_for_a_leave();
        }
        self.waiting.push_back(request);
    }

    /// The next one to send.
    pub(super) fn pop(&mut self) -> Option<Request> {
        self.waiting.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn make_room_for_a_leave(&mut self) {
        let is_leave = |request: &Request| matches!(request.method, Method::Leave { .. });
        if self.waiting.iter().filter(|request| is_leave(request)).count() >= MAX_LEAVES
            && let Some(oldest) = self.waiting.iter().position(is_leave)
        {
            self.waiting.remove(oldest);
            tracing::warn!("the signaling side reads nothing: a goodbye was dropped");
        }
    }
}

/// Does nobody need `old` any more once `new` is asked?
fn replaces(new: &Method, old: &Method) -> bool {
    match (new, old) {
        (Method::Edit(_), Method::Edit(_))
        | (Method::Check { .. }, Method::Check { .. })
        | (Method::Join(_), Method::Join(_) | Method::Check { .. }) => true,
        // A page of the list and a look-up of SSRCs do not stand for each other.
        (Method::Participants { sources: new, .. }, Method::Participants { sources: old, .. }) => {
            new.is_empty() == old.is_empty()
        }
        // A join that was never sent leaves nobody behind, and a leave is needed once.
        (Method::Leave { source }, Method::Join(join)) => *source == join.source,
        (Method::Leave { source: new }, Method::Leave { source: old }) => new == old,
        _ => false,
    }
}

/// What two edits come to.
fn merged(old: &Edit, new: &Edit) -> Edit {
    Edit {
        muted: new.muted.or(old.muted),
        volume: new.volume.or(old.volume),
        raise_hand: new.raise_hand.or(old.raise_hand),
        video_stopped: new.video_stopped.or(old.video_stopped),
        video_paused: new.video_paused.or(old.video_paused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::signaling::Join;
    use crate::secret::Secret;

    fn outbox(methods: impl IntoIterator<Item = Method>) -> Vec<Method> {
        let mut outbox = Outbox::default();
        for (id, method) in (1..).zip(methods) {
            outbox.push(Request { id, method });
        }
        std::iter::from_fn(|| outbox.pop()).map(|request| request.method).collect()
    }

    fn join(source: i32) -> Method {
        Method::Join(Join {
            attempt: 1,
            source,
            params: Secret::new(String::new()),
            muted: false,
            video_stopped: false,
            join_as: None,
            invite_hash: None,
        })
    }

    fn muted(muted: bool) -> Method {
        Method::Edit(Edit { muted: Some(muted), ..Edit::default() })
    }

    #[test]
    fn edits_come_to_one_that_is_sent_last() {
        let volume = Method::Edit(Edit { volume: Some(5), ..Edit::default() });
        let both = Method::Edit(Edit { muted: Some(false), volume: Some(5), ..Edit::default() });
        // In the place of the first one, the join would undo it.
        assert_eq!(outbox([muted(true), volume, join(1), muted(false)]), [join(1), both]);
    }

    #[test]
    fn only_the_newest_question_of_a_kind_is_asked() {
        let check = |source| Method::Check { sources: vec![source] };
        let page = |offset: &str| Method::Participants { sources: Vec::new(), offset: offset.into() };
        let lookup = |source| Method::Participants { sources: vec![source], offset: String::new() };
        let asked = [check(1), page(""), lookup(1), check(2), lookup(2), page("a")];
        assert_eq!(outbox(asked), [check(2), lookup(2), page("a")]);
        assert_eq!(outbox([join(1), check(1), join(2)]), [join(2)]);
    }

    #[test]
    fn nobody_is_left_behind_and_nothing_grows_for_ever() {
        let leave = |source| Method::Leave { source };
        assert_eq!(outbox([leave(1), join(2), leave(1), leave(2)]), [leave(1), leave(2)]);
        assert_eq!(outbox((0..1000).map(leave)).len(), MAX_LEAVES);
        assert_eq!(outbox((0..1000).map(|n| muted(n % 2 == 0))), [muted(false)]);
    }
}
