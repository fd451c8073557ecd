//! How others should see us → edits of our own row, one property in each, one at a time.
//!
//! ```text
//! want ──────────►┌───────┐── next ─► an edit that is worth asking for now
//! handle_reply ──►│ Edits │
//! told_by_server ►└───────┘── poll_timeout ─► when to look again
//! ```
//!
//! Telegram limits edits within seconds, so nothing is asked that is so already, whatever is
//! wanted and taken back meanwhile costs nothing, and a flood wait holds for every property.

use std::time::{Duration, Instant};

use crate::call::signaling::{Edit, RequestId, SignalingError};

/// An edit that nobody answers has failed after this long.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after the n-th failure that may pass: n times this.
const PAUSE: Duration = Duration::from_secs(2);
/// How often one value is asked for before it is given up.
const MAX_TRIES: u32 = 4;
/// The shortest flood wait: who is told to wait no time at all would ask without end.
const MIN_FLOOD_WAIT: Duration = Duration::from_secs(1);

/// Something of our own row that others see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Property {
    /// The microphone is on.
    Microphone,
    /// The camera is on.
    Camera,
    /// The hand is raised: we ask to speak.
    Hand,
}

/// In the order in which they are told.
const ALL: [Property; 3] = [Property::Microphone, Property::Camera, Property::Hand];

/// How one property stands.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    wanted: bool,
    told: bool,
    n_failures: u32,
    /// Telegram will not have `wanted`; until something else is wanted, nothing is asked.
    refused: bool,
}

/// The one edit that is out.
#[derive(Clone, Copy, Debug)]
struct Asked {
    id: RequestId,
    property: Property,
    on: bool,
    give_up: Instant,
}

/// What an answer to an edit means.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// It is so now, or will be asked again.
    Fine,
    /// Telegram will not have it.
    Refused(Property, SignalingError),
    /// Telegram says that we are not in the call, or that there is none.
    NotThere,
}

/// The properties of our own row.
#[derive(Debug, Default)]
pub(super) struct Edits {
    slots: [Slot; ALL.len()],
    asked: Option<Asked>,
    not_before: Option<Instant>,
}

impl Property {
    const fn idx(self) -> usize {
        match self {
            Self::Microphone => 0,
            Self::Camera => 1,
            Self::Hand => 2,
        }
    }

    /// The edit that says so.
    pub(super) fn edit(self, on: bool) -> Edit {
        match self {
            Self::Microphone => Edit { muted: Some(!on), ..Edit::default() },
            Self::Camera => Edit { video_stopped: Some(!on), ..Edit::default() },
            Self::Hand => Edit { raise_hand: Some(on), ..Edit::default() },
        }
    }
}

impl Edits {
    /// From now on this is what others should see.
    pub(super) fn want(&mut self, property: Property, on: bool) {
        let slot = &mut self.slots[property.idx()];
        if slot.wanted != on {
            *slot = Slot { wanted: on, told: slot.told, n_failures: 0, refused: false };
        }
    }

    /// What is wanted now.
    pub(super) const fn wants(&self, property: Property) -> bool {
        self.slots[property.idx()].wanted
    }

    /// This is how the server has it, whatever we have asked for; a wish that it refused before
    /// may be asked anew.
    pub(super) fn told_by_server(&mut self, property: Property, on: bool) {
        let slot = &mut self.slots[property.idx()];
        (slot.told, slot.refused, slot.n_failures) = (on, false, 0);
    }

    /// What is worth asking for now; then [`asked`](Self::asked) is to be called. `held` says what
    /// cannot be switched on for the time being.
    pub(super) fn next(&mut self, now: Instant, held: impl Fn(Property) -> bool) -> Option<(Property, bool)> {
        if let Some(asked) = self.asked.filter(|asked| asked.give_up <= now) {
            self.asked = None;
            self.handle_failure(asked, now);
        }
        if self.asked.is_some() || self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        self.not_before = None;
        ALL.into_iter().find_map(|property| {
            let Slot { wanted, told, refused, .. } = self.slots[property.idx()];
            let worth = wanted != told && !refused && !(wanted && held(property));
            worth.then_some((property, wanted))
        })
    }

    /// The request `id` asks for this.
    pub(super) fn asked(&mut self, id: RequestId, property: Property, on: bool, now: Instant) {
        self.asked = Some(Asked { id, property, on, give_up: now + TIMEOUT });
    }

    /// A new join said how others see us; what was asked of the connection before is void.
    pub(super) fn restart(&mut self, microphone: bool, camera: bool) {
        self.asked = None;
        for (property, told) in ALL.into_iter().zip([microphone, camera, false]) {
            self.told_by_server(property, told);
        }
    }

    /// The answer to a request, if it was ours.
    pub(super) fn handle_reply<T>(
        &mut self,
        id: RequestId,
        result: &Result<T, SignalingError>,
        now: Instant,
    ) -> Option<Outcome> {
        let asked = self.asked.take_if(|asked| asked.id == id)?;
        let slot = &mut self.slots[asked.property.idx()];
        let Err(error) = result else {
            (slot.told, slot.n_failures) = (asked.on, 0);
            return Some(Outcome::Fine);
        };
        tracing::debug!(property = ?asked.property, on = asked.on, %error, "an edit failed");
        Some(match error {
            SignalingError::Rpc { message, .. } if message == "GROUPCALL_NOT_MODIFIED" => {
                slot.told = asked.on;
                Outcome::Fine
            }
            SignalingError::Rpc { message, .. } if is_gone(message) => {
                // Whether that is true, a check finds out.
                slot.refused = slot.wanted == asked.on;
                Outcome::NotThere
            }
            _ => match error.flood_wait() {
                Some(wait) => {
                    self.not_before = Some(now + wait.max(MIN_FLOOD_WAIT));
                    Outcome::Fine
                }
                None if error.retryable() && slot.n_failures + 1 < MAX_TRIES => {
                    self.handle_failure(asked, now);
                    Outcome::Fine
                }
                None => {
                    slot.refused = slot.wanted == asked.on;
                    Outcome::Refused(asked.property, error.clone())
                }
            },
        })
    }

    /// When [`next`](Self::next) may have something that it has not now.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let is_idle = self.slots.iter().all(|slot| slot.wanted == slot.told || slot.refused);
        match self.asked {
            Some(asked) => Some(asked.give_up),
            None => self.not_before.filter(|_| !is_idle),
        }
    }

    fn handle_failure(&mut self, asked: Asked, now: Instant) {
        let slot = &mut self.slots[asked.property.idx()];
        slot.n_failures += 1;
        slot.refused |= slot.n_failures >= MAX_TRIES;
        self.not_before = Some(now + PAUSE * slot.n_failures);
    }
}

/// Words for "you are not in this call".
pub(super) fn is_gone(word: &str) -> bool {
    let words =
        ["GROUPCALL_JOIN_MISSING", "PARTICIPANT_JOIN_MISSING", "GROUPCALL_FORBIDDEN", "GROUPCALL_INVALID"];
    words.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: fn(Property) -> bool = |_| false;

    fn rpc(code: i32, message: &str) -> Result<(), SignalingError> {
        Err(SignalingError::Rpc { code, message: message.into() })
    }

    #[expect(clippy::disallowed_methods, reason = "an arbitrary origin for a clock of our own")]
    fn now() -> Instant {
        Instant::now()
    }

    /// Asks for what is next; gives it.
    fn ask(edits: &mut Edits, id: RequestId, now: Instant) -> Option<(Property, bool)> {
        let (property, on) = edits.next(now, FREE)?;
        edits.asked(id, property, on, now);
        Some((property, on))
    }

    #[test]
    fn one_property_goes_out_at_a_time_and_what_was_taken_back_does_not() {
        let (mut edits, now) = (Edits::default(), now());
        edits.restart(true, false);
        edits.want(Property::Microphone, true);
        assert_eq!(ask(&mut edits, 1, now), None, "it is so already");
        edits.want(Property::Camera, true);
        edits.want(Property::Microphone, false);
        assert_eq!(ask(&mut edits, 1, now), Some((Property::Microphone, false)));
        assert_eq!(ask(&mut edits, 2, now), None, "one is out");
        for on in [true, false, true, false] {
            edits.want(Property::Camera, on);
        }
        assert_eq!(edits.handle_reply(1, &Ok(()), now), Some(Outcome::Fine));
        assert_eq!(ask(&mut edits, 2, now), None, "on and off again comes to nothing");
        assert_eq!(edits.handle_reply(1, &Ok(()), now), None, "answered before");
    }

    #[test]
    fn a_flood_wait_is_kept_and_then_only_the_newest_wish_goes_out() {
        let (mut edits, now) = (Edits::default(), now());
        edits.restart(true, true);
        edits.want(Property::Microphone, true);
        edits.want(Property::Camera, false);
        ask(&mut edits, 1, now).expect("camera off");
        assert_eq!(edits.handle_reply(1, &rpc(420, "FLOOD_WAIT_3"), now), Some(Outcome::Fine));
        edits.want(Property::Microphone, false);
        let due = now + Duration::from_secs(3);
        assert_eq!(edits.poll_timeout(), Some(due));
        assert_eq!(ask(&mut edits, 2, due - Duration::from_millis(1)), None);
        edits.want(Property::Camera, true);
        assert_eq!(ask(&mut edits, 2, due), Some((Property::Microphone, false)));
        edits.handle_reply(2, &Ok(()), due);
        assert_eq!((ask(&mut edits, 3, due), edits.poll_timeout()), (None, None), "the camera is on still");
    }

    #[test]
    fn what_is_refused_is_asked_once_until_something_else_is_wanted() {
        let (mut edits, now) = (Edits::default(), now());
        edits.want(Property::Camera, true);
        ask(&mut edits, 1, now).expect("camera on");
        let refused = edits.handle_reply(1, &rpc(400, "VIDEO_STOP_FORBIDDEN"), now);
        assert!(matches!(refused, Some(Outcome::Refused(Property::Camera, _))), "{refused:?}");
        assert_eq!((ask(&mut edits, 2, now), edits.poll_timeout()), (None, None));
        edits.want(Property::Camera, false);
        edits.want(Property::Camera, true);
        assert_eq!(ask(&mut edits, 2, now), Some((Property::Camera, true)));
    }

    #[test]
    fn passing_trouble_and_silence_are_tried_again_but_not_for_ever() {
        for answer in [Some(rpc(500, "RPC_CALL_FAIL")), None] {
            let (mut edits, mut now) = (Edits::default(), now());
            edits.want(Property::Hand, true);
            let mut n_asked = 0;
            let mut outcomes = Vec::new();
            for id in 1..20 {
                if ask(&mut edits, id, now).is_some() {
                    n_asked += 1;
                    outcomes.extend(answer.as_ref().and_then(|answer| edits.handle_reply(id, answer, now)));
                }
                let Some(due) = edits.poll_timeout() else { break };
                now = due;
            }
            assert_eq!(n_asked, MAX_TRIES);
            let told = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Refused(..))).count();
            assert_eq!(told, usize::from(answer.is_some()), "{outcomes:?}");
        }
    }

    #[test]
    fn what_is_held_waits_and_whoever_is_not_there_says_so() {
        let (mut edits, now) = (Edits::default(), now());
        edits.want(Property::Microphone, true);
        edits.want(Property::Hand, true);
        let held = |property| property == Property::Microphone;
        assert_eq!(edits.next(now, held), Some((Property::Hand, true)));
        edits.asked(1, Property::Hand, true, now);
        assert_eq!(
            edits.handle_reply(1, &rpc(400, "PARTICIPANT_JOIN_MISSING"), now),
            Some(Outcome::NotThere)
        );
        assert_eq!(edits.next(now, FREE), Some((Property::Microphone, true)));
    }
}
