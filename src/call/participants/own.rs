//! What our own row says about us.

use crate::call::signaling::ParticipantRow;

/// Whether others can hear a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Microphone {
    /// They can.
    On,
    /// Switched off, by choice.
    Off,
    /// Switched off by an admin: nothing that is sent gets forwarded until one allows it.
    OffByAdmin,
}

impl Microphone {
    /// Reads it from a row. `muted` alone means an admin did it; with `can_self_unmute` it was
    /// the participant's choice.
    pub fn of(row: &ParticipantRow) -> Self {
        match (row.muted, row.can_self_unmute) {
            (false, _) => Self::On,
            (true, true) => Self::Off,
            (true, false) => Self::OffByAdmin,
        }
    }
}

/// What a row of our own means for the connection that we have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OwnRow {
    /// It is this connection.
    Current,
    /// The server has removed this connection: join again.
    Removed,
    /// The account has joined from somewhere else: leave without a word.
    Elsewhere,
    /// About a connection that we had before, or about none.
    Stale,
}

impl OwnRow {
    /// Compares the row with the audio SSRC of the connection and those that we had before.
    pub fn of(row: &ParticipantRow, current: u32, previous: &[u32]) -> Self {
        let source = row.source.cast_unsigned();
        match row.left {
            _ if source == 0 => Self::Stale,
            false if source == current => Self::Current,
            true if source == current => Self::Removed,
            false if !previous.contains(&source) => Self::Elsewhere,
            _ => Self::Stale,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_mutes_without_a_way_back() {
        let row =
            |muted, can_self_unmute| ParticipantRow { muted, can_self_unmute, ..ParticipantRow::default() };
        assert_eq!(Microphone::of(&row(false, false)), Microphone::On);
        assert_eq!(Microphone::of(&row(false, true)), Microphone::On);
        assert_eq!(Microphone::of(&row(true, true)), Microphone::Off);
        assert_eq!(Microphone::of(&row(true, false)), Microphone::OffByAdmin);
    }

    #[test]
    fn our_row_tells_rejoin_from_elsewhere() {
        let row = |source: u32, left| ParticipantRow {
            source: source.cast_signed(),
            left,
            ..ParticipantRow::default()
        };
        let of = |source, left| OwnRow::of(&row(source, left), 3_410_846_965, &[7, 8]);
        assert_eq!(of(3_410_846_965, false), OwnRow::Current);
        assert_eq!(of(3_410_846_965, true), OwnRow::Removed);
        assert_eq!(of(9, false), OwnRow::Elsewhere);
        assert_eq!(of(8, false), OwnRow::Stale);
        assert_eq!(of(8, true), OwnRow::Stale);
        assert_eq!(of(9, true), OwnRow::Stale);
        assert_eq!(of(0, false), OwnRow::Stale);
        assert_eq!(of(0, true), OwnRow::Stale);
    }
}
