//! Datagrams with the time of their arrival → how evenly each RTP stream comes, and what is missing.
//!
//! Only headers are read (RFC 3550 §5.1 leaves them in the clear), so it costs next to nothing and
//! sees what the network brought, whatever becomes of it afterwards. Times are those at which the
//! kernel got the datagrams: a server that reads late measures no worse.

use std::collections::HashMap;
use std::time::Duration;

use super::transport::OPUS_PT;

/// Packets of sound that are kept of one stream: eleven minutes of one every 10 ms.
const MAX_SOUNDS: usize = 1 << 16;

/// So many packets one stream of a programme may be ahead of another and still be compared.
const MAX_AHEAD: usize = 100;

/// So many of a hundred lengths have to be the same for two streams to be of one programme.
const ALIKE_PERCENT: usize = 90;

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
    /// Sound: when each packet came, in Unix time, and its length in bytes.
    pub sounds: Vec<(Duration, usize)>,
}

impl Arrivals {
    /// From each packet of sound to the next, in the order of arrival.
    pub fn gaps(&self) -> impl Iterator<Item = Duration> {
        self.sounds.windows(2).map(|pair| pair[1].0.saturating_sub(pair[0].0))
    }

    /// How far apart in time each packet of sound came here and in another chat that hears the
    /// same programme. Both carry the same Opus packets, so they are matched by their lengths,
    /// which must vary; nothing when they do not match.
    pub fn skews(&self, other: &Self) -> Vec<Duration> {
        let behind = |n: usize| (self.sounds.get(n..).unwrap_or_default(), &other.sounds[..]);
        let ahead = |n: usize| (&self.sounds[..], other.sounds.get(n..).unwrap_or_default());
        let pairs = (0..MAX_AHEAD).flat_map(|n| [behind(n), ahead(n)]).find(|(here, there)| {
            let n_both = here.len().min(there.len());
            let n_alike = here.iter().zip(*there).filter(|(a, b)| a.1 == b.1).count();
            n_both > MAX_AHEAD && n_alike * 100 >= n_both * ALIKE_PERCENT
        });
        pairs
            .into_iter()
            .flat_map(|(here, there)| here.iter().zip(there))
            .map(|(a, b)| a.0.abs_diff(b.0))
            .collect()
    }
}

/// Counts what arrives.
#[derive(Debug, Default)]
pub(super) struct Meter {
    streams: HashMap<u32, Stream>,
}

#[derive(Debug)]
struct Stream {
    arrivals: Arrivals,
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
            highest: begin - 1,
            begin: begin - 1,
        });
        // RFC 3711 §3.3.1: the nearest number to the highest is meant.
        let ahead = i64::from(number.wrapping_sub((stream.highest & 0xffff) as u16).cast_signed());
        stream.highest = stream.highest.max(stream.highest.saturating_add_signed(ahead));
        let arrivals = &mut stream.arrivals;
        if payload_type == OPUS_PT && arrivals.sounds.len() < MAX_SOUNDS {
            arrivals.sounds.push((at, bytes.len()));
        }
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
        assert_eq!((stream.gaps().collect(), stream.first_at), (vec![ms(20), ms(41)], ms(1000)));

        // What came before the window is neither a gap of it nor a loss.
        meter.handle_datagram(&rtp(7, 4, false), ms(1120));
        meter.handle_datagram(&rtp(7, 3, false), ms(1121));
        let [stream] = &meter.take()[..] else { panic!("the same stream") };
        assert_eq!((stream.packets, stream.lost, stream.gaps().collect()), (2, 1, vec![ms(1)]));
        assert_eq!(stream.first_at, ms(1000));
    }
    #[test]
    fn packets_of_one_programme_are_found_again_in_another_chat() {
        let ms = Duration::from_millis;
        let length = |nth: u64| 300 + (nth * nth % 1009) as usize;
        let hear = |from: u64, late: u64| Arrivals {
            sounds: (from..from + 200).map(|nth| (ms(1000 + nth * 20 + late), length(nth))).collect(),
            ..Arrivals::default()
        };
        let (one, other) = (hear(0, 0), hear(7, 13));
        assert_eq!(one.skews(&other), [ms(13); 193]);
        assert_eq!(other.skews(&one), [ms(13); 193]);
        assert!(one.skews(&hear(500, 13)).is_empty(), "too far apart");
    }
}
