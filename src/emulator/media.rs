//! Who gets which packets: the half of the [`Sfu`] that deals in RTP and data-channel messages.
//!
//! Sound goes to everybody in the chat. Pictures go to those who asked for them on the data
//! channel, and the sender hears the largest height that anybody asked for. A publisher with
//! several layers is shown by the one that fits, always under the SSRC of its first.

use std::time::{Duration, Instant};

use str0m::Event;
use str0m::format::{Codec, detect_h264_nalu, detect_vp8_keyframe, detect_vp9_keyframe};
use str0m::media::{KeyframeRequestKind, MediaKind, Mid};
use str0m::rtp::{RtpPacket, RtpWrite};

use super::ParticipantId;
use super::colibri::{self, Constraints};
use super::forward::{Forward, Report};
use super::participant::{Participant, Slot, Track};
use super::sfu::Sfu;
use super::stats::Seen;
use super::transport::{Drained, codec_of};

/// The only label that clients open a channel with.
const CHANNEL_LABEL: &str = "data";

/// A layer without packets for this long is not being sent.
const LAYER_SILENT: Duration = Duration::from_secs(1);

/// From these heights on the second and the third layer are shown.
const LAYER_HEIGHTS: [u32; 2] = [360, 720];

/// The NAL unit types that a decoder can start at: IDR slice and sequence parameters.
const H264_STARTS: [u8; 2] = [5, 7];

/// A packet on its way to several receivers.
#[derive(Debug)]
struct Parcel {
    from: ParticipantId,
    kind: MediaKind,
    codec: Codec,
    packet: RtpPacket,
    captured_at: Instant,
    /// The SSRCs that receivers know the publisher's stream by.
    shown_as: (u32, Option<u32>),
    n_layers: usize,
}

impl Sfu {
    pub(super) fn handle_event(&mut self, id: ParticipantId, event: Event, now: Instant) {
        match event {
            Event::RtpPacket(packet) => self.handle_packet(id, packet, now),
            Event::KeyframeRequest(request) => self.handle_keyframe_request(id, request.mid, now),
            // A report on nothing sent ties a time to a timestamp that was never used.
            Event::SenderFeedback(feedback) if feedback.sender_info.sender_packet_count > 0 => {
                let info = feedback.sender_info;
                let Some(participant) = self.participants.get_mut(&id) else { return };
                #[expect(clippy::cast_possible_truncation, reason = "RTP timestamps are the low 32 bits")]
                let report = Report { ntp: info.ntp_time, rtp: info.rtp_time.numer() as u32 };
                participant.clock.handle_report(&report, feedback.received_at);
                let Some(track) = participant.track_mut(*info.ssrc) else { return };
                track.report = Some(report);
                track.counter.count_report();
                for packet in track.held.take() {
                    self.pass_on(id, packet, now);
                }
            }
            Event::ChannelOpen(channel, label) if label == CHANNEL_LABEL => {
                let Some(participant) = self.participants.get_mut(&id) else { return };
                participant.channel = Some(channel);
                participant.told_height = None;
                let chat = participant.chat.clone();
                self.update_demand(&chat, now);
                self.tell_slots(&chat, now);
            }
            Event::ChannelClose(channel) => {
                if let Some(participant) =
                    self.participants.get_mut(&id).filter(|p| p.channel == Some(channel))
                {
                    participant.channel = None;
                }
            }
            Event::ChannelData(message) if !message.binary => {
                let text = String::from_utf8_lossy(&message.data);
                tracing::trace!(participant = id.0, %text, "message");
                let (Some(wants), Some(participant)) =
                    (Constraints::parse(&text), self.participants.get_mut(&id))
                else {
                    return;
                };
                participant.wants = wants;
                let chat = participant.chat.clone();
                self.update_demand(&chat, now);
            }
            Event::Closed => self.handle_closed(id, now),
            Event::MediaAdded(media) => {
                let Some(participant) = self.participants.get_mut(&id) else { return };
                let Some(viewer) = &mut participant.viewer else { return };
                match media.kind {
                    MediaKind::Audio => viewer.audio.push(media.mid),
                    MediaKind::Video => viewer.video.push(media.mid),
                }
                let taken = participant.transport.take_stream(media.mid);
                viewer.announced.extend(taken.map(|ssrcs| (media.mid, ssrcs)));
            }
            Event::MediaIngressStats(stats) => {
                let Some(participant) = self.participants.get_mut(&id) else { return };
                participant.rtt = stats.rtt.or(participant.rtt);
                if let Some(track) = participant.tracks.iter_mut().find(|track| track.mid == stats.mid) {
                    track.counter.set_nacks(stats.nacks);
                }
            }
            _ => {}
        }
    }

    /// Brings what everybody in `chat` gets and is told in line with what everybody wants.
    pub(super) fn update_demand(&mut self, chat: &str, now: Instant) {
        let Some(room) = self.rooms.get(chat) else { return };
        let shown: Vec<(ParticipantId, String)> = room
            .members()
            .iter()
            .filter(|member| member.row().video.is_some())
            .map(|member| (member.id, member.endpoint.clone()))
            .collect();
        let mut newly_wanted = Vec::new();
        let mut ideal = std::collections::HashMap::<ParticipantId, u32>::new();
        for (id, receiver) in self.participants.iter_mut().filter(|(_, p)| p.chat == chat) {
            let connected = receiver.unconnected_since.is_none();
            for (publisher, endpoint) in shown.iter().filter(|(publisher, _)| publisher != id) {
                let height = if connected { receiver.wants.height_of(endpoint) } else { 0 };
                let before = receiver.demand.insert(*publisher, height).unwrap_or(0);
                if before == 0 && height > 0 {
                    newly_wanted.push(*publisher);
                }
                let highest = ideal.entry(*publisher).or_default();
                *highest = height.max(*highest);
            }
            receiver.demand.retain(|publisher, _| shown.iter().any(|(id, _)| id == publisher));
            for ((publisher, kind), forward) in &mut receiver.forwards {
                if kind.is_video() && receiver.demand.get(publisher).is_none_or(|height| *height == 0) {
                    forward.pause();
                }
            }
        }
        for publisher in newly_wanted {
            self.ask_for_keyframe(publisher, None, now);
        }
        for (publisher, height) in ideal {
            self.tell_height(publisher, height, now);
        }
    }

    /// Forgets the streams of a publisher that is gone.
    pub(super) fn stop_forwarding(&mut self, chat: &str, gone: ParticipantId, now: Instant) {
        for receiver in self.participants.values_mut().filter(|p| p.chat == chat) {
            receiver.demand.remove(&gone);
            for kind in [MediaKind::Audio, MediaKind::Video] {
                let Some(forward) = receiver.forwards.remove(&(gone, kind)) else { continue };
                match &mut receiver.viewer {
                    Some(viewer) => drop(viewer.idle.insert(forward.mid, forward)),
                    None => receiver.transport.undeclare(forward.mid),
                }
            }
            if let Some(viewer) = &mut receiver.viewer {
                viewer.slots.iter_mut().filter(|slot| **slot == Some(gone)).for_each(|slot| *slot = None);
            }
        }
        self.tell_slots(chat, now);
    }

    /// Asks for the key frames that had to wait.
    pub(super) fn send_due_plis(&mut self, id: ParticipantId, now: Instant) {
        let Some(publisher) = self.participants.get_mut(&id) else { return };
        let mut out = Drained::default();
        for track in &mut publisher.tracks {
            if track.take_pli(now) {
                let ssrc = track.ssrc;
                publisher.transport.change(now, &mut out, |rtc| {
                    if let Some(stream) = rtc.direct_api().stream_rx(&ssrc.into()) {
                        stream.request_keyframe(KeyframeRequestKind::Pli);
                    }
                });
            }
        }
        self.absorb(id, out, now);
    }

    /// Tells every sender of video how much the server takes.
    pub(super) fn announce_bitrate(&mut self, now: Instant) {
        let bitrate = self.config.remb_bps;
        let ids: Vec<ParticipantId> = self.participants.keys().copied().collect();
        for id in ids {
            let Some(sender) = self.participants.get_mut(&id).filter(|p| p.unconnected_since.is_none())
            else {
                continue;
            };
            let active =
                sender.video_tracks().find(|track| track.last_packet.is_some()).map(|track| track.ssrc);
            let Some(ssrc) = active else { continue };
            let mut out = Drained::default();
            sender.transport.change(now, &mut out, |rtc| {
                if let Some(stream) = rtc.direct_api().stream_rx(&ssrc.into()) {
                    stream.request_remb(bitrate.into());
                }
            });
            self.absorb(id, out, now);
        }
    }

    /// What a page shows where.
    pub(super) fn slots_of(&self, page: &Participant) -> Vec<Slot> {
        let Some(viewer) = &page.viewer else { return Vec::new() };
        let taken = viewer
            .slots
            .iter()
            .enumerate()
            .filter_map(|(slot, id)| Some((slot, self.participants.get(&(*id)?)?)));
        let mid = |slot, kind| viewer.mid(slot, kind).map(|mid: Mid| mid.to_string());
        taken
            .map(|(slot, participant)| Slot {
                slot,
                name: participant.name.clone(),
                endpoint: participant.endpoint.clone(),
                audio_mid: mid(slot, MediaKind::Audio),
                video_mid: mid(slot, MediaKind::Video),
            })
            .collect()
    }

    fn handle_packet(&mut self, from: ParticipantId, packet: RtpPacket, now: Instant) {
        let Some(publisher) = self.participants.get_mut(&from) else { return };
        let ssrc = *packet.header.ssrc;
        let payload_type = *packet.header.payload_type;
        let repaired = publisher.repairing;
        let Some(idx) = publisher.tracks.iter().position(|track| track.ssrc == ssrc) else { return };
        let track = &mut publisher.tracks[idx];
        let seen = Seen {
            seq: *packet.seq_no,
            payload_type,
            len: packet.payload.len(),
            marker: packet.header.marker,
            repaired,
        };
        track.counter.handle_packet(seen, now);
        track.last_packet = Some(now);
        if track.report.is_some() {
            self.pass_on(from, packet, now);
        } else {
            for packet in track.held.handle_packet(packet, now) {
                self.pass_on(from, packet, now);
            }
        }
    }

    /// Sends a packet to everybody who gets it.
    fn pass_on(&mut self, from: ParticipantId, packet: RtpPacket, now: Instant) {
        let Some(publisher) = self.participants.get_mut(&from) else { return };
        let ssrc = *packet.header.ssrc;
        let n_layers = publisher.video_tracks().count();
        let Some(track) = publisher.tracks.iter().find(|track| track.ssrc == ssrc) else { return };
        let kind = track.kind;
        let captured_at = publisher.clock.captured_at(track.report.as_ref(), packet.time, now);
        let muted = self
            .rooms
            .get(&publisher.chat)
            .and_then(|room| room.member(from))
            .is_some_and(|m| m.muted_by_admin);
        if muted && kind.is_audio() {
            publisher.muted_packets += 1;
            return;
        }
        let Some(codec) = codec_of(*packet.header.payload_type) else { return };
        let Some(shown) = publisher.tracks.iter().find(|track| track.kind == kind) else { return };
        let shown_as = (shown.ssrc, shown.rtx);
        let chat = publisher.chat.clone();
        let parcel = Parcel { from, kind, codec, packet, captured_at, shown_as, n_layers };
        let wants = |(id, p): &(&ParticipantId, &Participant)| {
            let wanted = kind.is_audio() || p.demand.get(&from).is_some_and(|height| *height > 0);
            **id != from && p.chat == chat && p.unconnected_since.is_none() && wanted
        };
        let receivers: Vec<ParticipantId> =
            self.participants.iter().filter(wants).map(|(id, _)| *id).collect();
        for receiver in receivers {
            self.forward(receiver, &parcel, now);
        }
    }

    fn forward(&mut self, to: ParticipantId, parcel: &Parcel, now: Instant) {
        let target = self.layer_for(to, parcel, now);
        let Some(receiver) = self.participants.get_mut(&to) else { return };
        let key = (parcel.from, parcel.kind);
        if !receiver.forwards.contains_key(&key) {
            let Some(forward) = open_forward(receiver, parcel) else { return };
            receiver.forwards.insert(key, forward);
            if receiver.is_viewer() {
                let chat = receiver.chat.clone();
                self.tell_slots(&chat, now);
            }
        }
        let Some(receiver) = self.participants.get_mut(&to) else { return };
        let Some(forward) = receiver.forwards.get_mut(&key) else { return };
        let Some(pt) = receiver.transport.payload_type(forward.mid, parcel.codec) else { return };

        let ssrc = *parcel.packet.header.ssrc;
        let alone = parcel.kind.is_audio() || parcel.n_layers == 1;
        if forward.shows() != Some(ssrc) {
            let may_start =
                alone || (Some(ssrc) == target && starts_decoder(parcel.codec, &parcel.packet.payload));
            if !may_start {
                if Some(ssrc) == target {
                    self.ask_for_keyframe(parcel.from, Some(ssrc), now);
                }
                return;
            }
            forward.show(ssrc, parcel.packet.header.timestamp, parcel.captured_at);
        }
        let Some(seq) = forward.number(*parcel.packet.seq_no) else { return };
        let timestamp = forward.timestamp(parcel.packet.header.timestamp, parcel.captured_at);
        let mut ext_vals = parcel.packet.header.ext_vals.clone();
        (ext_vals.mid, ext_vals.rid, ext_vals.rid_repair) = (None, None, None);
        let packet =
            RtpWrite::new(pt, seq.into(), timestamp, parcel.captured_at, parcel.packet.payload.clone())
                .marker(parcel.packet.header.marker)
                .ext_vals(ext_vals)
                .nackable(parcel.kind.is_video());
        let mid = forward.mid;
        let mut out = Drained::default();
        receiver.transport.write(mid, packet, now, &mut out);
        self.absorb(to, out, now);
    }

    /// The SSRC of the publisher's layer that fits the receiver's wish and is being sent.
    fn layer_for(&self, to: ParticipantId, parcel: &Parcel, now: Instant) -> Option<u32> {
        let height = *self.participants.get(&to)?.demand.get(&parcel.from)?;
        let wanted = LAYER_HEIGHTS.iter().filter(|least| height >= **least).count();
        let sent = |track: &&Track| {
            track.last_packet.is_some_and(|at| now.saturating_duration_since(at) < LAYER_SILENT)
        };
        let publisher = self.participants.get(&parcel.from)?;
        let layers: Vec<u32> =
            publisher.video_tracks().take(wanted + 1).filter(sent).map(|track| track.ssrc).collect();
        layers.last().copied().or_else(|| publisher.video_tracks().find(sent).map(|track| track.ssrc))
    }

    /// The other side has said good-bye. A page is gone then; a client may come again within the
    /// time that the server gives to everybody.
    fn handle_closed(&mut self, id: ParticipantId, now: Instant) {
        if self.participants.get(&id).is_some_and(Participant::is_viewer) {
            self.remove(id, now);
        }
    }

    fn handle_keyframe_request(&mut self, from: ParticipantId, mid: Mid, now: Instant) {
        let Some(receiver) = self.participants.get(&from) else { return };
        let wanted =
            receiver.forwards.iter().find(|((_, kind), forward)| kind.is_video() && forward.mid == mid);
        if let Some(((publisher, _), forward)) = wanted {
            let (publisher, ssrc) = (*publisher, forward.shows());
            self.ask_for_keyframe(publisher, ssrc, now);
        }
    }

    /// Asks a publisher for a key frame, of one layer or of all.
    fn ask_for_keyframe(&mut self, publisher: ParticipantId, ssrc: Option<u32>, now: Instant) {
        let Some(participant) = self.participants.get_mut(&publisher) else { return };
        if participant.unconnected_since.is_some() {
            return;
        }
        let mut out = Drained::default();
        let wanted = |track: &&mut Track| track.kind.is_video() && ssrc.is_none_or(|ssrc| ssrc == track.ssrc);
        for track in participant.tracks.iter_mut().filter(wanted) {
            // A stream that has not begun will begin with a key frame.
            if track.last_packet.is_some() && track.want_pli(now) {
                let ssrc = track.ssrc;
                participant.transport.change(now, &mut out, |rtc| {
                    if let Some(stream) = rtc.direct_api().stream_rx(&ssrc.into()) {
                        stream.request_keyframe(KeyframeRequestKind::Pli);
                    }
                });
            }
        }
        self.absorb(publisher, out, now);
    }

    fn tell_height(&mut self, publisher: ParticipantId, height: u32, now: Instant) {
        let Some(participant) = self.participants.get_mut(&publisher) else { return };
        if participant.channel.is_some() && participant.told_height != Some(height) {
            participant.told_height = Some(height);
            self.send_text(publisher, &colibri::sender_video_constraints(height), now);
        }
    }

    /// Tells the pages in `chat` whom they show where.
    fn tell_slots(&mut self, chat: &str, now: Instant) {
        let pages: Vec<ParticipantId> = self
            .participants
            .iter()
            .filter(|(_, p)| p.chat == chat && p.is_viewer())
            .map(|(id, _)| *id)
            .collect();
        for page in pages {
            let slots = self.slots(page);
            let text = serde_json::json!({ "colibriClass": "Slots", "slots": slots }).to_string();
            self.send_text(page, &text, now);
        }
    }

    fn send_text(&mut self, to: ParticipantId, text: &str, now: Instant) {
        let Some(participant) = self.participants.get_mut(&to) else { return };
        let Some(channel) = participant.channel else { return };
        let mut out = Drained::default();
        let sent = participant.transport.change(now, &mut out, |rtc| {
            rtc.channel(channel)
                .is_some_and(|mut channel| channel.write(false, text.as_bytes()).unwrap_or(false))
        });
        if !sent {
            tracing::debug!(participant = to.0, "the data channel takes no message");
        }
        self.absorb(to, out, now);
    }
}

/// Finds or makes the m-line for a publisher's stream at a receiver; pages may have none left.
fn open_forward(receiver: &mut Participant, parcel: &Parcel) -> Option<Forward> {
    // Streams are declared with their first packet and not before: one without a packet would get
    // sender reports that map the present to the timestamp 0.
    let Some(viewer) = &mut receiver.viewer else {
        let letter = if parcel.kind.is_audio() { 'a' } else { 'v' };
        let mid = Mid::from(&format!("{letter}from{}", parcel.from.0)[..]);
        let (ssrc, rtx) = parcel.shown_as;
        receiver.transport.declare_media(mid, parcel.kind);
        receiver.transport.declare_stream(mid, ssrc, rtx);
        return Some(Forward::new(mid, parcel.kind));
    };
    let slot = viewer.seat(parcel.from)?;
    let mid = viewer.mid(slot, parcel.kind)?;
    if let Some((ssrc, rtx)) = viewer.announced.remove(&mid) {
        receiver.transport.declare_stream(mid, ssrc, rtx);
    }
    Some(viewer.idle.remove(&mid).unwrap_or_else(|| Forward::new(mid, parcel.kind)))
}

/// Whether a decoder can start with this payload.
fn starts_decoder(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::H264 => H264_STARTS.iter().any(|nalu| detect_h264_nalu(payload, *nalu)),
        Codec::Vp8 => detect_vp8_keyframe(payload),
        Codec::Vp9 => detect_vp9_keyframe(payload),
        _ => true,
    }
}
