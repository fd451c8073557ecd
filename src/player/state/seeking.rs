//! Where in the current item people want to go, and what they are answered.

use tracing::debug;

use super::{LEAD, Output, State, Ticket};
use crate::player::deck::Deck;
use crate::player::item::ItemError;
use crate::player::{EndReason, PlayError};
use crate::time::MediaTime;

impl State {
    /// Goes to a place in the current item; the answer comes as [`Output::Sought`].
    pub(in crate::player) fn seek(&mut self, to: MediaTime) -> Result<Ticket, PlayError> {
        let Some(deck) = &self.current else { return Err(PlayError::NothingPlaying) };
        if self.tries.is_waiting() && (deck.opened.is_none() || deck.is_abandoned()) {
            return Ok(self.retry_from(to));
        }
        if deck.is_abandoned() {
            return Err(PlayError::Seek(ItemError::Crashed));
        }
        let duration = deck.opened.as_ref().and_then(|opened| opened.duration);
        let end = duration.unwrap_or(MediaTime::MAX).min(deck.until().unwrap_or(MediaTime::MAX));
        let to = to.max(MediaTime::ZERO).min(end);
        debug!(item = deck.id.0, ?to, "seek");
        self.fade_out();
        self.end_crossfade(EndReason::Finished);
        // There is no place any more that it had to wait for.
        self.succeed();
        // What goes may have failed, and that may end the programme.
        let Some(deck) = &mut self.current else { return Err(PlayError::NothingPlaying) };
        deck.seek(to);
        // Whoever could not be read on may be readable there.
        self.tries.end_waiting();
        self.timeline.cue();
        (self.stalling, self.starved_for) = (false, MediaTime::ZERO);
        let ticket = self.new_ticket();
        self.arrange();
        Ok(ticket)
    }

    /// For the seek that counts from now on.
    pub(super) fn new_ticket(&mut self) -> Ticket {
        self.answer_seek(Err(PlayError::Superseded));
        self.sought_at = self.timeline.slot_at();
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.ticket = Some(ticket);
        ticket
    }

    /// Goes that far from what is heard now; back before the beginning means the beginning.
    pub(in crate::player) fn seek_by(&mut self, offset: MediaTime) -> Result<Ticket, PlayError> {
        let ahead = MediaTime::from_duration(LEAD);
        // Right after a seek, what it went to counts and not what is still heard before it.
        let told = self.status.position;
        let place = |deck: &Deck| Some(deck.media_at(self.timeline.position()? - ahead));
        let heard = self.current.as_ref().and_then(place).map_or(told, |place| place.max(told));
        self.seek(heard + offset)
    }

    pub(super) fn answer_seek(&mut self, result: Result<MediaTime, PlayError>) {
        if let Some(ticket) = self.ticket.take() {
            self.out.push_back(Output::Sought { ticket, result });
        }
    }
}
