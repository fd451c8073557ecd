//! Calls and their programmes → the text format of Prometheus.
//!
//! Names end in their unit, and in `_total` where a value only grows. What a call counts begins
//! again with each of its connections; Prometheus takes that for a restart, and rates stay right.

use std::fmt::Write as _;
use std::time::Duration;

use crate::call::{CallStats, CallStatus};
use crate::player::{PlayerState, PlayerStatus};
use crate::rtp::stats::StreamStats;

/// One chat at one moment.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) chat: String,
    pub(super) status: CallStatus,
    /// What its call has counted, if it still says so.
    pub(super) stats: Option<CallStats>,
    /// The programme that it hears.
    pub(super) player: PlayerStatus,
}

/// Does a value go up only?
#[derive(Clone, Copy, Debug)]
enum Kind {
    Counter,
    Gauge,
}

use Kind::{Counter, Gauge};

/// The whole answer.
pub(super) fn render(seen: &[Seen]) -> String {
    let mut text = Text::default();
    for it in seen {
        let labels = [("chat", &it.chat[..])];
        text.about_call(&labels, it);
        text.about_player(&labels, &it.player);
        let Some(stats) = &it.stats else { continue };
        for (kind, stream) in [("audio", &stats.media.audio), ("video", &stats.media.video)] {
            if let Some(stream) = stream {
                text.about_stream(&[("chat", &it.chat), ("kind", kind)], stream);
            }
        }
    }
    text.finish()
}

/// Families of samples: all samples of one name stand together.
#[derive(Debug, Default)]
struct Text {
    families: Vec<(&'static str, String)>,
}

impl Text {
    #[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
    fn about_call(&mut self, labels: &[(&str, &str)], seen: &Seen) {
        let joined = f64::from(u8::from(seen.status == CallStatus::Joined));
        self.add("telecast_call_joined", Gauge, "The server has confirmed our media.", labels, joined);
        let Some(stats) = &seen.stats else { return };
        let mut add = |name, kind, help, value| self.add(name, kind, help, labels, value);
        add("telecast_call_attempts_total", Counter, "Connections made or tried.", f64::from(stats.attempts));
        add("telecast_call_participants", Gauge, "Who takes part.", stats.n_participants as f64);
        add(
            "telecast_call_frames_unsent_total",
            Counter,
            "Frames that came while no connection was up.",
            stats.frames_unsent as f64,
        );
        if let Some(height) = stats.ideal_height {
            add("telecast_call_ideal_height_pixels", Gauge, "What viewers want.", f64::from(height));
        }
        if let Some(bitrate) = stats.media.available_outgoing_bitrate {
            add("telecast_call_available_bits_per_second", Gauge, "By the last REMB.", bitrate as f64);
        }
        if let Some(first) = stats.milestones.first_rtp() {
            let help = "From the join request to the first packet.";
            add("telecast_call_first_packet_seconds", Gauge, help, first.as_secs_f64());
        }
        let Some((peer, _)) = &stats.connection else { return };
        let traffic = peer.transport;
        for (name, help, value) in [
            ("telecast_datagrams_sent_total", "Datagrams that left.", traffic.sent),
            ("telecast_datagrams_received_total", "Datagrams that came.", traffic.received),
            ("telecast_datagram_bytes_sent_total", "Bytes in datagrams that left.", traffic.bytes_sent),
            (
                "telecast_datagram_bytes_received_total",
                "Bytes in datagrams that came.",
                traffic.bytes_received,
            ),
        ] {
            add(name, Counter, help, value as f64);
        }
        if let Some(checks) = peer.checks.filter(|checks| checks.responses_received > 0) {
            let help = "Of the last check of ICE that was answered.";
            add("telecast_ice_round_trip_seconds", Gauge, help, checks.round_trip_time.as_secs_f64());
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
    fn about_stream(&mut self, labels: &[(&str, &str)], stream: &StreamStats) {
        for (name, help, value) in [
            ("telecast_packets_sent_total", "RTP packets, with those sent again.", stream.packets_sent),
            ("telecast_payload_bytes_sent_total", "Bytes of payload in them.", stream.bytes_sent),
            (
                "telecast_packets_retransmitted_total",
                "Packets sent again.",
                stream.retransmitted_packets_sent,
            ),
            ("telecast_packets_discarded_total", "Packets refused below.", stream.packets_discarded_on_send),
            ("telecast_frames_sent_total", "Frames of which the last packet left.", stream.frames_sent),
            ("telecast_key_frames_sent_total", "Those a viewer can start with.", stream.key_frames_sent),
            ("telecast_frames_dropped_total", "Frames that came too late to be sent.", stream.frames_dropped),
            ("telecast_nacks_total", "NACK messages.", stream.nack_count),
            ("telecast_plis_total", "PLI messages.", stream.pli_count),
            ("telecast_firs_total", "FIR requests.", stream.fir_count),
        ] {
            self.add(name, Counter, help, labels, value as f64);
        }
        let mut seconds = |name, help, value: Duration| {
            self.add(name, Gauge, help, labels, value.as_secs_f64());
        };
        seconds("telecast_key_frame_wait_max_seconds", "The longest wait.", stream.max_key_frame_wait);
        let Some(remote) = stream.remote else { return };
        seconds("telecast_jitter_seconds", "Where it arrives.", remote.jitter);
        if let Some(round_trip) = remote.round_trip_time {
            seconds("telecast_round_trip_seconds", "By the last report.", round_trip);
        }
        let help = "Since the beginning; duplicates count against it.";
        self.add("telecast_packets_lost", Gauge, help, labels, remote.packets_lost as f64);
        let help = "Share between the last two reports, 0 to 1.";
        self.add("telecast_fraction_lost", Gauge, help, labels, remote.fraction_lost);
    }

    #[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
    fn about_player(&mut self, labels: &[(&str, &str)], player: &PlayerStatus) {
        let mut add = |name, kind, help, value| self.add(name, kind, help, labels, value);
        let is = |yes: bool| f64::from(u8::from(yes));
        let playing = is(player.state == PlayerState::Playing);
        add("telecast_player_playing", Gauge, "An item is heard.", playing);
        add("telecast_player_paused", Gauge, "It is held.", is(player.paused));
        let position = player.position.to_duration().as_secs_f64();
        add("telecast_player_position_seconds", Gauge, "Where in the item.", position);
        add("telecast_player_queued", Gauge, "Items that wait.", player.n_queued as f64);
        let volume = f64::from(player.volume_percent) / 100.0;
        add("telecast_player_volume_ratio", Gauge, "1 plays as recorded.", volume);
        let stalled = player.stalled.to_duration().as_secs_f64();
        let help = "Silence because frames did not come in time.";
        add("telecast_player_stalled_seconds_total", Counter, help, stalled);
    }

    fn add(&mut self, name: &'static str, kind: Kind, help: &str, labels: &[(&str, &str)], value: f64) {
        let at = self.families.iter().position(|(known, _)| *known == name);
        let at = at.unwrap_or_else(|| {
            let kind = match kind {
                Counter => "counter",
                Gauge => "gauge",
            };
            self.families.push((name, format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")));
            self.families.len() - 1
        });
        let samples = &mut self.families[at].1;
        let labels: Vec<_> =
            labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(samples, "{name}{{{}}} {value}", labels.join(","));
    }

    fn finish(self) -> String {
        self.families.into_iter().map(|(_, samples)| samples).collect()
    }
}

/// The value of a label between its quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::stats::SenderStats;

    #[test]
    fn samples_of_one_name_stand_together_and_strange_names_do_no_harm() {
        let seen = |chat: &str, packets_sent| {
            let audio = Some(StreamStats { packets_sent, ..StreamStats::default() });
            let media = SenderStats { audio, ..SenderStats::default() };
            let stats = Some(CallStats { media, ..CallStats::default() });
            let player = PlayerStatus::default();
            Seen { chat: chat.to_owned(), status: CallStatus::Joined, stats, player }
        };
        let text = render(&[seen("@one", 50), seen("a \"b\"\\\n", 7)]);
        let packets: Vec<&str> =
            text.lines().skip_while(|line| !line.contains("packets_sent")).take(4).collect();
        assert_eq!(
            packets,
            [
                "# HELP telecast_packets_sent_total RTP packets, with those sent again.",
                "# TYPE telecast_packets_sent_total counter",
                "telecast_packets_sent_total{chat=\"@one\",kind=\"audio\"} 50",
                "telecast_packets_sent_total{chat=\"a \\\"b\\\"\\\\\\n\",kind=\"audio\"} 7",
            ]
        );
        assert!(!text.contains("round_trip"), "what nobody has measured is left out: {text}");
    }

    #[test]
    fn a_call_that_is_silent_is_shown_all_the_same() {
        let (chat, player) = ("@one".to_owned(), PlayerStatus::default());
        let text = render(&[Seen { chat, status: CallStatus::Joining, stats: None, player }]);
        assert!(text.contains("telecast_call_joined{chat=\"@one\"} 0\n"), "{text}");
        assert!(!text.contains("packets"), "{text}");
    }
}
