//! What a call can tell about itself.

use std::time::{Duration, Instant};

use super::params::Setup;
use crate::peer::PeerStats;
use crate::rtp::stats::SenderStats;

mod w3c;

/// Everything that a call has counted.
#[derive(Clone, Debug, Default)]
pub struct CallStats {
    /// When this was counted, as time since 1970.
    pub at: Duration,
    /// Both streams.
    pub media: SenderStats,
    /// The present connection, and our side of its DTLS handshake.
    pub connection: Option<(PeerStats, Setup)>,
    /// Connections that were made, or tried, so far.
    pub attempts: u32,
    /// When the present connection came how far.
    pub milestones: Milestones,
    /// The largest picture height that any viewer wants of us; 0 is nobody, `None` unknown.
    pub ideal_height: Option<u32>,
    /// How many take part, ourselves included, as far as the list has come.
    pub n_participants: usize,
    /// Frames of the programme that came while no connection was up.
    pub frames_unsent: u64,
}

/// When the present connection came how far; the methods give it as time since the join request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Milestones {
    pub(super) requested: Option<Instant>,
    pub(super) answered: Option<Instant>,
    pub(super) ice: Option<Instant>,
    pub(super) dtls: Option<Instant>,
    pub(super) data_channel: Option<Instant>,
    pub(super) first_rtp: Option<Instant>,
    pub(super) first_feedback: Option<Instant>,
}

impl Milestones {
    pub(super) fn restart(&mut self, now: Instant) {
        *self = Self { requested: Some(now), ..Self::default() };
    }

    /// From the join request to its answer.
    pub fn rpc(&self) -> Option<Duration> {
        self.since_request(self.answered)
    }

    /// From the join request to a nominated ICE pair.
    pub fn ice(&self) -> Option<Duration> {
        self.since_request(self.ice)
    }

    /// From the join request to a finished DTLS handshake.
    pub fn dtls(&self) -> Option<Duration> {
        self.since_request(self.dtls)
    }

    /// From the join request to an open data channel.
    pub fn data_channel(&self) -> Option<Duration> {
        self.since_request(self.data_channel)
    }

    /// From the join request to the first RTP packet.
    pub fn first_rtp(&self) -> Option<Duration> {
        self.since_request(self.first_rtp)
    }

    /// From the join request to the first feedback on our media.
    pub fn first_feedback(&self) -> Option<Duration> {
        self.since_request(self.first_feedback)
    }

    fn since_request(&self, at: Option<Instant>) -> Option<Duration> {
        Some(at?.saturating_duration_since(self.requested?))
    }
}
