//! Datagrams with the time of their arrival → how evenly each RTP stream comes, and what is missing.
//!
//! Only headers are read (RFC 3550 §5.1 leaves them in the clear), so it costs next to nothing and
//! sees what the network brought, whatever becomes of it afterwards. Times are those at which the
//! kernel got the datagrams: a server that reads late measures no worse.

use std::collections::HashMap;
use std::time::Duration;

use super::transport::OPUS_PT;

/// Gaps that are kept of one stream: eleven minutes of packets every 10 ms.
const MAX_GAPS: usize = 1 << 16;

/// The fixed part of an RTP header.
const HEADER: usize = 12;

/// What came of one RTP stream since the window began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// Which.
    pub ssrc: u32,
    /// Of the latest packet.
    pub payload_type: u8,
    /// When its very first packet came, in Unix time. A new window does not change it.
    pub first_at: Duration,
    /// Packets, repetitions of the same one included.
    pub packets: u64,
    /// Numbers between the first and the last that no packet had.
    pub lost: u64,
    /// Packets with a marker: of pictures, one for each.
    pub markers: u64,
    /// Sound: microseconds from each packet to the next, in the order of arrival.
    pub gaps_us: Vec<u32>,
}

/// Counts what arrives.
#[derive(Debug, Default)]
pub(super) struct Meter {
    streams: HashMap<u32, Stream>,
}

#[derive(Debug)]
struct Stream {
    arrivals: Arrivals,
    last_at: Duration,
    /// The highest sequence number so far, counted on over wraps.
    highest: u64,
    /// `highest` when the window began.
    begin: u64,
}

impl Meter {
    /// A datagram that came at `at`, Unix time.
    pub(super) fn handle_datagram(&mut self, bytes: &[u8], at: Duration) {
        // RFC 7983: RTP and RTCP begin with 128 to 191; RFC 5761: RTCP has 192 to 223 behind it.
        let [128..=191, second, ..] = *bytes else { return };
        if bytes.len() < HEADER || (192..=223).contains(&second) {
            return;
        }
        let number = u16::from_be_bytes([bytes[2], bytes[3]]);
        let ssrc = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        let payload_type = second & 0x7f;
        let begin = u64::from(number) + 0x1_0000;
        let stream = self.streams.entry(ssrc).or_insert_with(|| Stream {
            arrivals: Arrivals { ssrc, first_at: at, ..Arrivals::default() },
            last_at: at,
            highest: begin - 1,
            begin: begin - 1,
        });
        // RFC 3711 §3.3.1: the nearest number to the highest is meant.
        let ahead = i64::from(number.wrapping_sub((stream.highest & 0xffff) as u16).cast_signed());
        stream.highest = stream.highest.max(stream.highest.saturating_add_signed(ahead));
        let arrivals = &mut stream.arrivals;
        if payload_type == OPUS_PT && arrivals.packets > 0 && arrivals.gaps_us.len() < MAX_GAPS {
            let gap = at.saturating_sub(stream.last_at).as_micros();
            arrivals.gaps_us.push(u32::try_from(gap).unwrap_or(u32::MAX));
        }
        stream.last_at = at;
        arrivals.payload_type = payload_type;
        arrivals.packets += 1;
        arrivals.markers += u64::from(second >> 7);
    }

    /// Everything since the window began; the next one begins.
    pub(super) fn take(&mut self) -> Vec<Arrivals> {
        let taken = self.streams.values_mut().map(|stream| {
            let fresh = Arrivals {
                ssrc: stream.arrivals.ssrc,
                payload_type: stream.arrivals.payload_type,
                first_at: stream.arrivals.first_at,
                ..Arrivals::default()
            };
            let mut taken = std::mem::replace(&mut stream.arrivals, fresh);
            let begin = std::mem::replace(&mut stream.begin, stream.highest);
            taken.lost = (stream.highest - begin).saturating_sub(taken.packets);
            taken
        });
        taken.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtp(ssrc: u32, number: u16, marker: bool) -> Vec<u8> {
        let mut bytes = vec![0x80, OPUS_PT | u8::from(marker) << 7];
        bytes.extend(number.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(ssrc.to_be_bytes());
        bytes.extend(b"payload");
        bytes
    }

    #[test]
    fn tells_gaps_losses_and_markers_of_each_window() {
        let (mut meter, ms) = (Meter::default(), Duration::from_millis);
        for (number, at) in [(65_534, 1000), (65_535, 1020), (1, 1061)] {
            meter.handle_datagram(&rtp(7, number, number == 1), ms(at));
        }
        meter.handle_datagram(&[0x80, 200, 0, 6, 0, 0, 0, 7, 0, 0, 0, 0], ms(1061));
        meter.handle_datagram(&[0, 1, 0, 0], ms(1061));
        let [stream] = &meter.take()[..] else { panic!("one stream: neither RTCP nor STUN is one") };
        assert_eq!((stream.ssrc, stream.packets, stream.lost, stream.markers), (7, 3, 1, 1));
        assert_eq!((&stream.gaps_us[..], stream.first_at), (&[20_000, 41_000][..], ms(1000)));

        // What came before the window is neither a gap of it nor a loss.
        meter.handle_datagram(&rtp(7, 4, false), ms(1120));
        meter.handle_datagram(&rtp(7, 3, false), ms(1121));
        let [stream] = &meter.take()[..] else { panic!("the same stream") };
        assert_eq!((stream.packets, stream.lost, &stream.gaps_us[..]), (2, 1, &[1000][..]));
        assert_eq!(stream.first_at, ms(1000));
    }
}
