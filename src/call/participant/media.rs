//! The short way of media: frames and feedback in, packets and reports out, while everything else
//! stays as it is.

use std::net::SocketAddr;
use std::time::Instant;

use super::{Connection, Participant};
use crate::media::plan::VideoCodecs;
use crate::media::{Codec, MediaKind};
use crate::peer::Ssrcs;
use crate::player::SharedFrame;
use crate::rtp::Sender;
use crate::rtp::rtcp::{self, Feedback};

impl Participant {
    /// Takes a datagram, but does nothing about it yet. False when it was not only feedback to the media,
    /// and everything has to be driven.
    pub(in crate::call) fn hear(
        &mut self,
        from: SocketAddr,
        payload: &[u8],
        arrived: Instant,
        now: Instant,
    ) -> bool {
        let connection = self.connection.as_mut();
        let rtcp =
            connection.and_then(|connection| connection.peer.handle_datagram(from, payload, arrived, now));
        let Some(compound) = rtcp else { return false };
        self.handle_rtcp(&compound, arrived);
        !self.state.has_output()
    }

    /// Takes the next frame of the programme, but sends nothing yet. False when it has changed more than what waits to be sent,
    /// and everything has to be driven.
    pub(in crate::call) fn queue_frame(&mut self, frame: SharedFrame, now: Instant) -> bool {
        let sender = self.connection.as_ref().and_then(|connection| connection.sender.as_ref());
        // Pictures that are not sent are none: nobody is to see an empty tile.
        if sender.is_none_or(|sender| sender.takes(frame.frame.kind, &frame.frame.codec)) {
            self.state.handle_frame(frame.frame.kind, frame.item, now);
        }
        match self.connection.as_mut().filter(|connection| connection.up) {
            Some(Connection { sender: Some(sender), .. }) => sender.handle_frame(frame, now),
            _ => self.frames_unsent += 1,
        }
        !self.state.has_output()
    }

    /// Does media flow, so that [`send_media`](Self::send_media) is enough when some is due?
    pub(in crate::call) fn is_streaming(&self) -> bool {
        let connection = self.connection.as_ref().filter(|connection| connection.up);
        self.milestones.first_rtp.is_some() && connection.is_some_and(|it| it.peer.sends_directly())
    }

    /// Sends what is due of the media, and nothing else happens. False when that has changed more
    /// than the media, and everything has to be driven.
    pub(in crate::call) fn send_media(&mut self, now: Instant) -> bool {
        let n_reports = self.send_due(now);
        n_reports == 0 && !self.state.has_output()
    }

    /// When media is due.
    pub(in crate::call) fn media_timeout(&self) -> Option<Instant> {
        let connection = self.connection.as_ref().filter(|connection| connection.up)?;
        connection.sender.as_ref()?.poll_timeout().map(|(at, _)| at)
    }

    /// Is feedback more than statistics, because there are pictures to repair?
    pub(in crate::call) fn has_shown(&self) -> bool {
        let sender = self.connection.as_ref().and_then(|connection| connection.sender.as_ref());
        sender.is_some_and(Sender::has_shown)
    }

    /// Since when a viewer waits for a keyframe that is not on its way.
    pub(in crate::call) fn keyframe_wanted(&self) -> Option<Instant> {
        let connection = self.connection.as_ref().filter(|connection| connection.up)?;
        connection.sender.as_ref()?.keyframe_wanted()
    }

    /// The codecs in which pictures reach the chat; all of them where none is to.
    pub(in crate::call) fn video_codecs(&self) -> VideoCodecs {
        let sender = self.connection.as_ref().and_then(|connection| connection.sender.as_ref());
        let takes = |codec| sender.is_some_and(|sender| sender.takes(MediaKind::Video, &codec));
        let codecs = VideoCodecs { h264: takes(Codec::H264), vp8: takes(Codec::Vp8), vp9: takes(Codec::Vp9) };
        let has_pictures = self.config.options.video && (codecs.h264 || codecs.vp8);
        if has_pictures { codecs } else { VideoCodecs::ALL }
    }

    /// Is there a connection that frames can be sent on?
    pub(in crate::call) fn wants_frames(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.up)
    }

    /// Does media go past the WebRTC engine?
    #[cfg(test)]
    pub(in crate::call) fn sends_directly(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.peer.sends_directly())
    }

    /// Sends the packets and reports that are due; gives the number of reports.
    pub(super) fn send_due(&mut self, now: Instant) -> usize {
        let (audible, visible) = (self.state.audible(), self.state.visible());
        let Some(connection) = self.connection.as_mut().filter(|connection| connection.up) else { return 0 };
        let Some(sender) = &mut connection.sender else { return 0 };
        sender.set_muted(MediaKind::Audio, !audible);
        sender.set_muted(MediaKind::Video, !visible);
        while let Some(packet) = sender.poll_packet(now) {
            let ssrc = packet.ssrc;
            match connection.peer.send_rtp(packet, now) {
                Ok(()) => {
                    self.state.handle_sent();
                    self.milestones.first_rtp.get_or_insert(now);
                }
                Err(error) => {
                    tracing::trace!(%error, "a packet was refused");
                    sender.handle_discarded(ssrc);
                }
            }
        }
        let mut n_reports = 0;
        while let Some(report) = sender.poll_report(now) {
            n_reports += 1;
            if let Err(error) = connection.peer.send_rtcp(&report.to_bytes(), now) {
                tracing::trace!(%error, "a report was refused");
            }
        }
        n_reports
    }

    pub(super) fn handle_rtcp(&mut self, compound: &[u8], now: Instant) {
        let Some(connection) = &mut self.connection else { return };
        let Some(sender) = &mut connection.sender else { return };
        for feedback in rtcp::parse(compound) {
            sender.handle_feedback(&feedback, now);
            if names_us(&feedback, connection.ssrcs) {
                self.milestones.first_feedback.get_or_insert(now);
                self.state.handle_confirmation();
            }
        }
    }
}

/// Does the server speak of something that we have sent?
fn names_us(feedback: &Feedback, ssrcs: Ssrcs) -> bool {
    let ours = |ssrc: u32| ssrc == ssrcs.audio || ssrc == ssrcs.video;
    match feedback {
        Feedback::Pli { ssrc } | Feedback::Fir { ssrc, .. } | Feedback::Nack { ssrc, .. } => ours(*ssrc),
        Feedback::ReceiverReport(report) => ours(report.ssrc),
        Feedback::Remb { ssrcs, .. } => ssrcs.iter().any(|ssrc| ours(*ssrc)),
        Feedback::TransportCc { n_received, .. } => *n_received > 0,
    }
}
