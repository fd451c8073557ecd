//! What a connection has counted and how far it is, for the W3C dictionaries `transport`,
//! `candidate-pair` and `data-channel`.

use std::net::SocketAddr;
use std::time::Duration;

/// One connection.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerStats {
    /// Datagrams in both directions, whatever is in them.
    pub transport: Traffic,
    /// Messages on the data channel.
    pub channel: Traffic,
    /// Is the data channel open?
    pub channel_open: bool,
    /// As `RTCIceTransportState` names it.
    pub ice_state: &'static str,
    /// As `RTCDtlsTransportState` names it.
    pub dtls_state: &'static str,
    /// Our address on the way to the server.
    pub local: SocketAddr,
    /// The server's address, once ICE has found it.
    pub remote: Option<SocketAddr>,
    /// What the checks of ICE have found out, once there is a pair.
    pub checks: Option<IceChecks>,
}

/// Packets, datagrams or messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many left.
    pub sent: u64,
    /// Bytes in them.
    pub bytes_sent: u64,
    /// How many came.
    pub received: u64,
    /// Bytes in them.
    pub bytes_received: u64,
}

impl Traffic {
    pub(super) fn count_sent(&mut self, len: usize) {
        self.sent += 1;
        self.bytes_sent += len as u64;
    }

    pub(super) fn count_received(&mut self, len: usize) {
        self.received += 1;
        self.bytes_received += len as u64;
    }
}

/// The checks of the selected pair (RFC 8445, 7675).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IceChecks {
    /// Requests of ours.
    pub requests_sent: u64,
    /// Answers to them.
    pub responses_received: u64,
    /// Of the last one that was answered.
    pub round_trip_time: Duration,
    /// Of all that were answered, together.
    pub total_round_trip_time: Duration,
}
