//! Sequence numbers in, packets lost and repaired out.
//!
//! Counts by what a receiver can know: a packet is *lost* when it is still missing although
//! [`REORDER_DEPTH`] later ones have come, or when it came only by retransmission; a lost packet
//! that comes after all, by retransmission or late, is *repaired*.

use std::collections::BTreeMap;

/// So many later packets make a missing one lost. Three is TCP's threshold for duplicate
/// acknowledgments (RFC 5681 §3.2): less confuses reordering with loss.
const REORDER_DEPTH: u64 = 3;

/// A jump over more packets than this is a sender that started anew, not loss.
const MAX_GAP: u64 = 3000;

/// Packets missing for longer than this many numbers are not waited for any more.
const MEMORY: u64 = 4096;

/// The packets of one SSRC (and of the SSRC that repairs it).
#[derive(Debug, Default)]
pub(crate) struct LossCounter {
    /// Extended to 64 bits, so that order is plain `<`.
    highest: Option<u64>,
    /// Not seen yet; `true` once counted as lost.
    missing: BTreeMap<u64, bool>,
    counts: LossCounts,
}

/// What a [`LossCounter`] has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LossCounts {
    /// Packets that came, each once, however they came.
    pub(crate) received: u64,
    /// Packets that did not come when they should have.
    pub(crate) lost: u64,
    /// Those of `lost` that came later.
    pub(crate) repaired: u64,
}

impl std::ops::AddAssign for LossCounts {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.lost += other.lost;
        self.repaired += other.repaired;
    }
}

impl LossCounter {
    /// The packet `sequence_number` has come; `resent` when by retransmission (RFC 4588).
    pub(crate) fn handle_packet(&mut self, sequence_number: u16, resent: bool) {
        let Some(highest) = self.highest else {
            // What was sent before the first original packet was never meant for this receiver.
            if !resent {
                self.highest = Some(u64::from(sequence_number) + (1 << 16));
                self.counts.received += 1;
            }
            return;
        };
        let seq = extend(highest, sequence_number);
        if seq > highest {
            if resent {
                return;
            }
            if seq - highest <= MAX_GAP {
                self.missing.extend((highest + 1..seq).map(|missing| (missing, false)));
            } else {
                self.missing.clear();
            }
            self.highest = Some(seq);
            self.counts.received += 1;
            self.settle(seq);
        } else if let Some(lost) = self.missing.remove(&seq) {
            self.counts.received += 1;
            self.counts.lost += u64::from(resent && !lost);
            self.counts.repaired += u64::from(resent || lost);
        }
    }

    /// The counts so far.
    pub(crate) fn counts(&self) -> LossCounts {
        self.counts
    }

    fn settle(&mut self, highest: u64) {
        let late = highest.saturating_sub(REORDER_DEPTH);
        for (_, lost) in self.missing.range_mut(..=late).filter(|(_, lost)| !**lost) {
            *lost = true;
            self.counts.lost += 1;
        }
        while let Some(oldest) = self.missing.first_entry() {
            if *oldest.key() + MEMORY >= highest {
                break;
            }
            oldest.remove();
        }
    }
}

/// The number with these low 16 bits that is nearest to `highest`.
fn extend(highest: u64, sequence_number: u16) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "the low 16 bits are what is compared")]
    let ahead = sequence_number.wrapping_sub(highest as u16);
    if ahead < 1 << 15 {
        highest + u64::from(ahead)
    } else {
        highest.saturating_sub(u64::from(ahead.wrapping_neg()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(packets: impl IntoIterator<Item = (u16, bool)>) -> (u64, u64, u64) {
        let mut counter = LossCounter::default();
        for (seq, resent) in packets {
            counter.handle_packet(seq, resent);
        }
        let LossCounts { received, lost, repaired } = counter.counts();
        (received, lost, repaired)
    }

    #[test]
    fn nothing_missing_across_the_wrap() {
        let packets = (0..70_000_u32).map(|n| ((n + 60_000) as u16, false));
        assert_eq!(count(packets), (70_000, 0, 0));
    }

    #[test]
    fn reordering_is_not_loss() {
        assert_eq!(count([1, 3, 2, 4, 6, 7, 5, 8, 8].map(|seq| (seq, false))), (8, 0, 0));
    }

    #[test]
    fn lost_and_repaired_across_the_wrap() {
        // 65 535 and 1 never come as themselves; 65 535 is resent, 1 stays lost.
        let seqs = [65_533, 65_534, 0, 2, 3, 4].map(|seq| (seq, false));
        assert_eq!(count(seqs), (6, 2, 0));
        assert_eq!(count(seqs.into_iter().chain([(65_535, true)])), (7, 2, 1));
        // Resent twice is repaired once.
        assert_eq!(count(seqs.into_iter().chain([(65_535, true), (65_535, true)])), (7, 2, 1));
    }

    #[test]
    fn a_quick_retransmission_was_a_loss_all_the_same() {
        assert_eq!(count([(1, false), (3, false), (2, true), (4, false)]), (4, 1, 1));
    }

    #[test]
    fn probes_and_restarts_are_not_loss() {
        // Padding probes resend what already came, also before anything else came.
        assert_eq!(count([(9, true), (10, false), (10, true), (11, false)]), (2, 0, 0));
        assert_eq!(count([(1, false), (2, false), (30_000, false), (30_001, false)]), (4, 0, 0));
    }
}
