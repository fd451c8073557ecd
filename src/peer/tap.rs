//! Inbound RTCP → a queue that the peer reads.
//!
//! The engine ends the way of RTCP before the application unless an interceptor marks it, and
//! hands a marked compound to the track of its first packet only, or to nobody when that packet
//! names no track (an empty receiver report, REMB). So this interceptor takes a copy of every
//! compound as it comes off SRTCP.

use std::collections::VecDeque;
use std::sync::mpsc;
use std::time::Instant;

use bytes::Bytes;
use rtc::interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

/// Copies RTCP; everything passes unchanged.
pub(super) struct Tap {
    copies: mpsc::Sender<Bytes>,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl Tap {
    /// The interceptor, and the end where compounds come out. The peer empties it after every
    /// datagram that it reads, so it never holds more than one.
    pub(super) fn new() -> (Self, mpsc::Receiver<Bytes>) {
        let (copies, receiver) = mpsc::channel();
        (Self { copies, reads: VecDeque::new(), writes: VecDeque::new() }, receiver)
    }
}

impl Interceptor for Tap {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Tap {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(compound) = &packet.message.packet {
            let mut bytes = Vec::new();
            for part in compound {
                bytes.extend_from_slice(&part.marshal()?);
            }
            // A receiver that is gone means that the peer is being dropped.
            let _ = self.copies.send(bytes.into());
        }
        self.reads.push_back(packet);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.reads.pop_front()
    }

    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        self.writes.push_back(packet);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.writes.pop_front()
    }

    fn handle_event(&mut self, (): ()) -> Result<(), Error> {
        Ok(())
    }

    fn poll_event(&mut self) -> Option<()> {
        None
    }

    fn handle_timeout(&mut self, _: Instant) -> Result<(), Error> {
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        None
    }

    fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
