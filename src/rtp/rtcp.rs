//! RTCP bytes → the feedback that a sender acts on.
//!
//! A compound packet holds any number of packets. What is unknown, or broken within its own
//! length, is skipped; where the lengths themselves break, the rest is given up. What was
//! understood before that point counts.

/// One piece of feedback about a stream that we send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Feedback {
    /// Picture loss indication (RFC 4585 §6.3.1): somebody cannot decode and wants a key frame.
    Pli {
        /// The stream.
        ssrc: u32,
    },
    /// Full intra request (RFC 5104 §4.3.1): a key frame is wanted, for example by a new viewer.
    Fir {
        /// The stream.
        ssrc: u32,
        /// Who asks.
        requester: u32,
        /// Counts the requests of this requester; the same number again is the same request.
        sequence_number: u8,
    },
    /// Generic NACK (RFC 4585 §6.2.1): packets that did not arrive.
    Nack {
        /// The stream.
        ssrc: u32,
        /// Their sequence numbers, as the bits name them.
        lost: Vec<u16>,
    },
    /// Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb).
    Remb {
        /// The estimate for all the streams together, in bits per second.
        bitrate_bps: u64,
        /// The streams it covers.
        ssrcs: Vec<u32>,
    },
    /// How a stream arrives (RFC 3550 §6.4.2).
    ReceiverReport(ReceiverReport),
    /// Transport-wide congestion control (draft-holmer-rmcat-transport-wide-cc-extensions-01), summed up.
    TransportCc {
        /// The first sequence number it reports, in the space of the whole connection.
        base_sequence_number: u16,
        /// Rises by one per message; a gap is lost feedback.
        feedback_count: u8,
        /// Packets that arrived.
        n_received: u32,
        /// Packets that did not arrive, or not yet.
        n_lost: u32,
    },
}

/// One report block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiverReport {
    /// The stream it reports on.
    pub ssrc: u32,
    /// Lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Lost since the beginning; negative when there were more duplicates than losses.
    pub cumulative_lost: i32,
    /// The highest sequence number seen, its wraps in the upper half.
    pub highest_sequence_number: u32,
    /// Interarrival jitter in units of the stream's clock.
    pub jitter: u32,
    /// The middle of the NTP time of the last sender report that came in; 0 for none.
    pub last_sender_report: u32,
    /// How long ago that was when this report left, in 65536ths of a second.
    pub delay_since_last_sender_report: u32,
}

/// A NACK that names more packets than this asks for more than any history holds.
const MAX_LOST: usize = 4096;

/// RFC 3550: sender report.
const SR: u8 = 200;
/// RFC 3550: receiver report.
const RR: u8 = 201;
/// RFC 4585: feedback about the transport.
const RTPFB: u8 = 205;
/// RFC 4585: feedback about the payload.
const PSFB: u8 = 206;

/// Reads all feedback of a compound packet. Never fails: see the module's text.
pub fn parse(mut compound: &[u8]) -> Vec<Feedback> {
    let mut feedback = Vec::new();
    while let Some((first, kind, body, rest)) = split_packet(compound) {
        compound = rest;
        let count = first & 0x1f;
        match (kind, count) {
            (SR, n) => report_blocks(body.get(24..), n, &mut feedback),
            (RR, n) => report_blocks(body.get(4..), n, &mut feedback),
            (RTPFB, 1) => feedback.extend(nack(body)),
            (RTPFB, 15) => feedback.extend(transport_cc(body)),
            (PSFB, 1) => feedback.extend(word(body, 4).map(|ssrc| Feedback::Pli { ssrc })),
            (PSFB, 4) => full_intra_requests(body, &mut feedback),
            (PSFB, 15) => feedback.extend(remb(body)),
            _ => {}
        }
    }
    feedback
}

/// The first byte, the type, what follows the four bytes of header without padding, and the next packets.
fn split_packet(bytes: &[u8]) -> Option<(u8, u8, &[u8], &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<4>()?;
    let [first, kind, len_high, len_low] = *header;
    if first >> 6 != 2 {
        return None;
    }
    let len = usize::from(u16::from_be_bytes([len_high, len_low])) * 4;
    let (body, rest) = rest.split_at_checked(len)?;
    let padding = if first & 0x20 == 0 { 0 } else { usize::from(*body.last()?) };
    let body = body.get(..body.len().checked_sub(padding)?)?;
    Some((first, kind, body, rest))
}

fn report_blocks(blocks: Option<&[u8]>, n_blocks: u8, feedback: &mut Vec<Feedback>) {
    let blocks = blocks.unwrap_or_default().chunks_exact(24).take(usize::from(n_blocks));
    feedback.extend(blocks.filter_map(report_block).map(Feedback::ReceiverReport));
}

fn report_block(block: &[u8]) -> Option<ReceiverReport> {
    let lost = word(block, 4)?;
    Some(ReceiverReport {
        ssrc: word(block, 0)?,
        fraction_lost: lost.to_be_bytes()[0],
        // 24 bits with a sign: shifted up and back down, the sign spreads.
        cumulative_lost: (lost << 8).cast_signed() >> 8,
        highest_sequence_number: word(block, 8)?,
        jitter: word(block, 12)?,
        last_sender_report: word(block, 16)?,
        delay_since_last_sender_report: word(block, 20)?,
    })
}

fn nack(body: &[u8]) -> Option<Feedback> {
    let ssrc = word(body, 4)?;
    let mut lost = Vec::new();
    for entry in body.get(8..)?.chunks_exact(4) {
        let (first, following) = (half(entry, 0)?, half(entry, 2)?);
        lost.push(first);
        lost.extend((0..16).filter(|bit| following & (1 << bit) != 0).map(|bit| first.wrapping_add(bit + 1)));
        if lost.len() >= MAX_LOST {
            break;
        }
    }
    Some(Feedback::Nack { ssrc, lost })
}

fn full_intra_requests(body: &[u8], feedback: &mut Vec<Feedback>) {
    let Some(requester) = word(body, 0) else { return };
    let entries = body.get(8..).unwrap_or_default().chunks_exact(8);
    feedback.extend(entries.filter_map(|entry| {
        Some(Feedback::Fir { ssrc: word(entry, 0)?, requester, sequence_number: *entry.get(4)? })
    }));
}

fn remb(body: &[u8]) -> Option<Feedback> {
    let [b'R', b'E', b'M', b'B', n_ssrcs, high, middle, low] = *body.get(8..16)? else { return None };
    // 6 bits of exponent, 18 bits of mantissa; no sum of both exceeds what saturates here.
    let mantissa = u64::from(u32::from_be_bytes([0, high & 3, middle, low]));
    let bitrate_bps = u64::try_from(u128::from(mantissa) << (high >> 2)).unwrap_or(u64::MAX);
    let ssrcs = body.get(16..)?.chunks_exact(4).take(usize::from(n_ssrcs));
    Some(Feedback::Remb { bitrate_bps, ssrcs: ssrcs.filter_map(|ssrc| word(ssrc, 0)).collect() })
}

fn transport_cc(body: &[u8]) -> Option<Feedback> {
    let base_sequence_number = half(body, 8)?;
    let mut missing = u32::from(half(body, 10)?);
    let feedback_count = *body.get(15)?;
    let (mut n_received, mut n_lost) = (0, 0);
    for chunk in body.get(16..)?.chunks_exact(2) {
        if missing == 0 {
            break;
        }
        let chunk = half(chunk, 0)?;
        let mut count = |n_symbols: u32, symbol: u16| {
            let n_symbols = n_symbols.min(missing);
            missing -= n_symbols;
            // Symbol 3 is reserved; 1 and 2 are received with a small and a large delta.
            if symbol == 0 { n_lost += n_symbols } else { n_received += n_symbols }
        };
        match chunk >> 14 {
            // Run length: two bits of symbol, thirteen of length.
            0 | 1 => count(u32::from(chunk & 0x1fff), (chunk >> 13) & 3),
            // Fourteen symbols of one bit.
            2 => (0..14).rev().for_each(|bit| count(1, (chunk >> bit) & 1)),
            // Seven symbols of two bits.
            _ => (0..7).rev().for_each(|pair| count(1, (chunk >> (pair * 2)) & 3)),
        }
    }
    Some(Feedback::TransportCc { base_sequence_number, feedback_count, n_received, n_lost })
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A packet of words, its length field computed.
    fn packet(count: u8, kind: u8, words: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0x80 | count, kind];
        bytes.extend(u16::try_from(words.len()).unwrap().to_be_bytes());
        bytes.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        bytes
    }

    #[test]
    fn reads_requests_for_key_frames() {
        assert_eq!(parse(&packet(1, PSFB, &[7, 42])), [Feedback::Pli { ssrc: 42 }]);
        let two = packet(4, PSFB, &[7, 0, 42, 0x0500_0000, 43, 0x0600_0000]);
        assert_eq!(
            parse(&two),
            [
                Feedback::Fir { ssrc: 42, requester: 7, sequence_number: 5 },
                Feedback::Fir { ssrc: 43, requester: 7, sequence_number: 6 },
            ]
        );
    }

    #[test]
    fn reads_lost_packets_across_the_wrap() {
        // 65535, and of the 16 that follow the first and the last; then 100 alone.
        let bytes = packet(1, RTPFB, &[7, 42, 0xffff_8001, 0x0064_0000]);
        assert_eq!(parse(&bytes), [Feedback::Nack { ssrc: 42, lost: vec![65_535, 0, 15, 100] }]);
    }

    #[test]
    fn reads_the_estimate_of_the_receiver() {
        // Mantissa 150 000, exponent 3; the length of the list comes before them.
        let bytes = packet(15, PSFB, &[7, 0, 0x5245_4d42, (2 << 24) | (3 << 18) | 150_000, 42, 43]);
        assert_eq!(parse(&bytes), [Feedback::Remb { bitrate_bps: 1_200_000, ssrcs: vec![42, 43] }]);
        let huge = packet(15, PSFB, &[7, 0, 0x5245_4d42, (63 << 18) | 0x3ffff]);
        assert_eq!(parse(&huge), [Feedback::Remb { bitrate_bps: u64::MAX, ssrcs: vec![] }]);
    }

    #[test]
    fn reads_report_blocks_of_receivers_and_senders() {
        let block = [42, 0x40ff_ffff, 0x0001_0002, 30, 0xaabb_ccdd, 0x8000];
        let expected = [Feedback::ReceiverReport(ReceiverReport {
            ssrc: 42,
            fraction_lost: 64,
            cumulative_lost: -1,
            highest_sequence_number: 0x0001_0002,
            jitter: 30,
            last_sender_report: 0xaabb_ccdd,
            delay_since_last_sender_report: 0x8000,
        })];
        assert_eq!(parse(&packet(1, RR, &[&[7], &block[..]].concat())), expected);
        assert_eq!(parse(&packet(1, SR, &[&[7, 1, 2, 3, 4, 5], &block[..]].concat())), expected);
    }

    #[test]
    fn sums_up_transport_feedback() {
        // 3 received and 2 lost as runs, then 14 single bits of which 2 are set, then 7 pairs of
        // which 3 are received, and of those only 1 still belongs to the 20 packets reported.
        let chunks =
            [(1 << 13) | 3, 2, (2 << 14) | 0b10_0000_0000_0001, (3 << 14) | (0b01_0000 << 8) | 0b10_01];
        let words =
            [7, 42, (500 << 16) | 20, 9, (chunks[0] << 16) | chunks[1], (chunks[2] << 16) | chunks[3]];
        assert_eq!(
            parse(&packet(15, RTPFB, &words)),
            [Feedback::TransportCc {
                base_sequence_number: 500,
                feedback_count: 9,
                n_received: 6,
                n_lost: 14
            }]
        );
    }

    #[test]
    fn a_compound_keeps_what_is_whole() {
        let mut bytes = packet(0, RR, &[7]);
        bytes.extend(packet(3, 204, &[7, 0x6162_6364])); // APP: unknown
        bytes.extend(packet(1, PSFB, &[7, 42]));
        bytes.extend(&packet(1, PSFB, &[7, 43])[..10]);
        assert_eq!(parse(&bytes), [Feedback::Pli { ssrc: 42 }]);
    }

    #[test]
    fn padding_is_no_content() {
        let mut bytes = packet(1, RTPFB, &[7, 42, 0x0064_0000, 0x0000_0004]);
        bytes[0] |= 0x20;
        assert_eq!(parse(&bytes), [Feedback::Nack { ssrc: 42, lost: vec![100] }]);
        *bytes.last_mut().unwrap() = 200;
        assert_eq!(parse(&bytes), []);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(
            kind in 198..210_u8, first in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..120)
        ) {
            let mut bytes = vec![0x80 | first & 0x3f, kind, 0, u8::try_from(body.len() / 4).unwrap()];
            bytes.extend(body);
            for len in 0..=bytes.len() {
                parse(&bytes[..len]);
            }
        }
    }
}
