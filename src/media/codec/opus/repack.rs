//! Opus packets of any length → packets of 20 ms, without decoding, where Opus allows it: frames
//! of 2.5, 5, 10 and 20 ms can be put together and taken apart, frames of 40 and 60 ms cannot.

use bytes::Bytes;

use super::{FRAME_SAMPLES, MAX_FRAME_BYTES, SAMPLE_RATE, Shape};
use crate::media::demux::Packet;
use crate::time::MediaTime;

/// Samples of one frame of 20 ms.
const WANTED: u32 = FRAME_SAMPLES as u32;
/// Packets further apart do not follow each other; Matroska rounds their times to milliseconds.
const TOLERANCE: MediaTime = MediaTime::from_millis(2);
/// How far a packet may be off the grid of 20 ms and still begin a new one: half a frame of the
/// shortest kind.
const OFF_GRID: i64 = 60;
/// Frames of 2.5 ms in 20 ms.
const MAX_FRAMES: usize = 8;

/// Whether packets of this shape become packets of 20 ms without being decoded.
pub fn is_repackable(shape: Shape) -> bool {
    WANTED.is_multiple_of(shape.frame_samples)
}

/// Collects short packets, cuts long ones.
#[derive(Debug)]
pub struct Repacker {
    inner: ::opus::Repacketizer,
    /// Where the grid of 20 ms begins, on the clock of the packets.
    origin: MediaTime,
    /// Short packets that follow each other and are less than 20 ms together.
    begun: Vec<Packet>,
}

impl Repacker {
    /// For packets that lie on a grid from `origin` on.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new(origin: MediaTime) -> Result<Self, super::OpusError> {
        Ok(Self { inner: ::opus::Repacketizer::new()?, origin, begun: Vec::new() })
    }

    /// Takes the next packet and gives what is ready. What cannot be made 20 ms long comes out as
    /// it went in.
    pub fn push(&mut self, packet: Packet) -> Vec<Packet> {
        let Ok(shape) = Shape::of(&packet.data) else { return self.flush_and(packet) };
        let samples = shape.samples();
        if samples == WANTED || !is_repackable(shape) {
            return self.flush_and(packet);
        }
        if samples > WANTED {
            let pieces = self.cut(&packet, shape);
            let mut out = self.flush();
            out.extend(pieces.unwrap_or_else(|| vec![packet]));
            return out;
        }
        let mut out = Vec::new();
        if !self.follows(&packet) {
            out = self.flush();
        }
        let begins = self.begun.is_empty();
        if begins && !self.on_grid(packet.pts) {
            out.push(packet);
            return out;
        }
        self.begun.push(packet);
        let total: u32 =
            self.begun.iter().filter_map(|packet| Some(Shape::of(&packet.data).ok()?.samples())).sum();
        if total == WANTED {
            let begun = std::mem::take(&mut self.begun);
            match self.join(&begun) {
                Some(joined) => out.push(joined),
                None => out.extend(begun),
            }
        } else if total > WANTED || self.begun.len() > MAX_FRAMES {
            out.extend(self.flush());
        }
        out
    }

    /// What was begun and is not followed.
    pub fn flush(&mut self) -> Vec<Packet> {
        std::mem::take(&mut self.begun)
    }

    fn flush_and(&mut self, packet: Packet) -> Vec<Packet> {
        let mut out = self.flush();
        out.push(packet);
        out
    }

    fn on_grid(&self, pts: MediaTime) -> bool {
        let off = (pts - self.origin).to_ticks(SAMPLE_RATE).rem_euclid(i64::from(WANTED));
        off <= OFF_GRID || off >= i64::from(WANTED) - OFF_GRID
    }

    fn follows(&self, packet: &Packet) -> bool {
        self.begun.last().is_none_or(|last| {
            let same_kind = match (last.data.first(), packet.data.first()) {
                (Some(a), Some(b)) => a & 0xfc == b & 0xfc,
                _ => false,
            };
            let gap = packet.pts - (last.pts + last.duration);
            same_kind && last.trim_end == 0 && gap.abs() <= TOLERANCE
        })
    }

    fn join(&mut self, packets: &[Packet]) -> Option<Packet> {
        let mut state = self.inner.begin();
        for packet in packets {
            state.cat(&packet.data).ok()?;
        }
        let mut buffer = [0; (MAX_FRAME_BYTES + 2) * MAX_FRAMES + 2];
        let n_bytes = state.out(&mut buffer).ok()?;
        let first = packets.first()?;
        Some(Packet {
            duration: MediaTime::from_ticks(WANTED.into(), SAMPLE_RATE),
            trim_start: packets.iter().map(|packet| packet.trim_start).sum(),
            trim_end: packets.iter().map(|packet| packet.trim_end).sum(),
            data: Bytes::copy_from_slice(&buffer[..n_bytes]),
            ..first.clone()
        })
    }

    fn cut(&mut self, packet: &Packet, shape: Shape) -> Option<Vec<Packet>> {
        let per_piece = usize::try_from(WANTED / shape.frame_samples).ok()?;
        let n_frames = usize::from(shape.n_frames);
        if !n_frames.is_multiple_of(per_piece) {
            return None;
        }
        let mut state = self.inner.begin();
        state.cat(&packet.data).ok()?;
        let mut buffer = [0; (MAX_FRAME_BYTES + 2) * MAX_FRAMES + 2];
        let n_pieces = n_frames / per_piece;
        let length = MediaTime::from_ticks(WANTED.into(), SAMPLE_RATE);
        let (mut front, total) = (packet.trim_start, shape.samples());
        let mut pieces = Vec::with_capacity(n_pieces);
        for piece in 0..n_pieces {
            let n_bytes = state.out_range(piece * per_piece, (piece + 1) * per_piece, &mut buffer).ok()?;
            let end = WANTED * (piece as u32 + 1);
            let trim_start = front.min(WANTED);
            front -= trim_start;
            let trim_end = (end + packet.trim_end).saturating_sub(total).min(WANTED - trim_start);
            pieces.push(Packet {
                pts: packet.pts + length * piece as i64,
                duration: length,
                trim_start,
                trim_end,
                data: Bytes::copy_from_slice(&buffer[..n_bytes]),
                ..packet.clone()
            });
        }
        Some(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Decoder;
    use super::*;

    /// Packets of `ms` of a tone, from 0 on, with a pre-skip of 312 samples.
    fn packets(tenths_of_ms: usize, n: usize) -> Vec<Packet> {
        let mut encoder =
            ::opus::Encoder::new(SAMPLE_RATE, ::opus::Channels::Stereo, ::opus::Application::Audio).unwrap();
        let samples = tenths_of_ms * 48 / 10;
        (0..n)
            .map(|nth| {
                let tone = |at: usize| (std::f32::consts::TAU * 440.0 * at as f32 / 48_000.0).sin() * 0.25;
                let pcm: Vec<f32> = (0..samples).flat_map(|at| [tone(nth * samples + at); 2]).collect();
                let data = encoder.encode_vec_float(&pcm, 8000).unwrap();
                Packet {
                    track: 0,
                    pts: MediaTime::from_ticks((nth * samples) as i64 - 312, SAMPLE_RATE),
                    dts: None,
                    duration: MediaTime::from_ticks(samples as i64, SAMPLE_RATE),
                    key: true,
                    trim_start: if nth == 0 { 312.min(samples as u32) } else { 0 },
                    trim_end: if nth + 1 == n { 48 } else { 0 },
                    data: data.into(),
                }
            })
            .collect()
    }

    fn decoded(packets: &[Packet]) -> Vec<f32> {
        let mut decoder = Decoder::new(0).unwrap();
        packets.iter().flat_map(|packet| decoder.decode(&packet.data).unwrap().to_vec()).collect()
    }

    #[test]
    fn every_length_becomes_20_ms_and_sounds_the_same() {
        for tenths in [25, 50, 100, 400, 600, 1200] {
            let input = packets(tenths, 2400 / tenths * 5);
            let mut repacker = Repacker::new(input[0].pts).unwrap();
            let mut output: Vec<Packet> =
                input.iter().cloned().flat_map(|packet| repacker.push(packet)).collect();
            output.extend(repacker.flush());
            for (nth, packet) in output.iter().enumerate() {
                assert_eq!(Shape::of(&packet.data).unwrap().samples(), WANTED, "{tenths}");
                assert_eq!(packet.pts, input[0].pts + MediaTime::from_millis(20) * nth as i64, "{tenths}");
            }
            let trims = |packets: &[Packet]| {
                let starts: u32 = packets.iter().map(|packet| packet.trim_start).sum();
                (starts, packets.iter().map(|packet| packet.trim_end).sum::<u32>())
            };
            assert_eq!(trims(&output), trims(&input), "{tenths}");
            assert_eq!(decoded(&output), decoded(&input), "{tenths}");
        }
    }

    #[test]
    fn what_does_not_follow_is_not_put_together() {
        let mut input = packets(100, 4);
        for packet in &mut input[1..] {
            packet.pts += MediaTime::from_millis(510);
        }
        let mut repacker = Repacker::new(input[0].pts).unwrap();
        let mut output: Vec<Packet> =
            input.iter().cloned().flat_map(|packet| repacker.push(packet)).collect();
        output.extend(repacker.flush());
        let lengths: Vec<u32> =
            output.iter().map(|packet| Shape::of(&packet.data).unwrap().samples()).collect();
        // One without a second, two together, and one at the end.
        assert_eq!(lengths, [480, 960, 480]);
        let damaged = Packet { data: Bytes::from_static(&[0xfb, 0]), ..input[0].clone() };
        assert_eq!(repacker.push(damaged.clone()), [damaged]);
    }
}
