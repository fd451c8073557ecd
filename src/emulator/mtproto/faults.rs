//! What can be made to go wrong, method by method, so that a client's ways out can be tested.

use std::collections::HashMap;
use std::time::Duration;

use grammers_tl_types as tl;

use crate::emulator::RpcError;

/// Something that goes wrong when a method is called.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The connection is closed before the method is executed.
    CloseBefore,
    /// The connection is closed after the method was executed, without an answer.
    CloseAfter,
    /// The method is executed, and nobody is told.
    DropAnswer,
    /// The method is executed, and answered with these bytes of TL instead of its result.
    Answer(Vec<u8>),
    /// The method is not executed; this is the answer. `FLOOD_WAIT_5`, `PHONE_MIGRATE_4` and
    /// everything else that Telegram refuses with.
    Refuse(RpcError),
    /// The answer takes this long.
    Delay(Duration),
    /// The transport says this instead of an answer, and closes: −404 for an unknown key.
    Transport(i32),
}

/// Faults that are still to happen, and how often each method was called.
#[derive(Debug, Default)]
pub(super) struct Faults {
    planned: HashMap<String, Vec<(Fault, u32)>>,
    calls: HashMap<String, u64>,
    /// Every update is sent so many times more.
    pub(super) extra_updates: u32,
    /// So many updates of lists of participants still get lost.
    pub(super) lose: u32,
    /// Updates of lists that are held back until so many have come.
    reorder: usize,
    held: Vec<Batch>,
}

/// One change of a list of participants: the update for each connection that hears of it.
pub(super) type Batch = Vec<(u64, tl::enums::Updates)>;

impl Faults {
    /// The next `times` calls of `method` suffer `fault`, after what was planned before.
    pub(super) fn plan(&mut self, method: &str, fault: Fault, times: u32) {
        self.planned.entry(method.to_owned()).or_default().push((fault, times));
    }

    /// A method is called: what happens to it?
    pub(super) fn strike(&mut self, method: &str) -> Option<Fault> {
        *self.calls.entry(method.to_owned()).or_default() += 1;
        let planned = self.planned.get_mut(method)?;
        planned.retain(|(_, times)| *times > 0);
        let (fault, times) = planned.first_mut()?;
        *times -= 1;
        Some(fault.clone())
    }

    /// The next `n` changes of lists are held back, and then sent in reverse order.
    pub(super) fn reorder(&mut self, n: usize) {
        self.reorder = n;
    }

    /// A list has changed: what of it, and of what was held back, is to be sent now?
    pub(super) fn pass(&mut self, batch: Batch) -> Vec<Batch> {
        if self.lose > 0 {
            self.lose -= 1;
            return Vec::new();
        }
        if self.reorder == 0 {
            return vec![batch];
        }
        self.held.push(batch);
        if self.held.len() < self.reorder {
            return Vec::new();
        }
        self.reorder = 0;
        self.held.drain(..).rev().collect()
    }

    pub(super) fn n_calls(&self, method: &str) -> u64 {
        self.calls.get(method).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_strike_in_the_order_in_which_they_were_planned() {
        let mut faults = Faults::default();
        faults.plan("phone.joinGroupCall", Fault::DropAnswer, 2);
        faults.plan("phone.joinGroupCall", Fault::CloseAfter, 1);
        let struck: Vec<_> = (0..4).map(|_| faults.strike("phone.joinGroupCall")).collect();
        let expected = [Some(Fault::DropAnswer), Some(Fault::DropAnswer), Some(Fault::CloseAfter), None];
        assert_eq!(struck, expected);
        assert_eq!((faults.strike("help.getConfig"), faults.n_calls("phone.joinGroupCall")), (None, 4));
    }

    #[test]
    fn updates_get_lost_and_overtake_each_other() {
        let mut faults = Faults::default();
        let batch = |connection| vec![(connection, tl::enums::Updates::TooLong)];
        (faults.lose, faults.extra_updates) = (1, 0);
        faults.reorder(2);
        assert!(faults.pass(batch(1)).is_empty(), "lost");
        assert!(faults.pass(batch(2)).is_empty(), "held back");
        assert_eq!(faults.pass(batch(3)), [batch(3), batch(2)]);
        assert_eq!(faults.pass(batch(4)), [batch(4)]);
    }
}
