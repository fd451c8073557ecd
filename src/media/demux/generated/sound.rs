//! Time → samples: a tone of 440 Hz, and a beep at the beginning of every second.

use std::f64::consts::{SQRT_2, TAU};

use bytes::Bytes;

use super::Packet;
use crate::time::MediaTime;

/// Samples per second and channel.
pub(super) const RATE: u32 = 48_000;
/// Left and right.
pub(super) const CHANNELS: u16 = 2;
/// Samples per channel of a packet: 20 ms, as they are sent.
const PACKET: u64 = 960;
/// Bytes of one sample of both channels.
const SAMPLE_BYTES: u64 = 4;

/// Partials of the tone: how often per second, and how strong. All of them fit a second, so that
/// one second after the other makes no seam.
const PARTIALS: [(f64, f64); 3] = [(440.0, 1.0), (880.0, 0.12), (220.0, 0.15)];
/// How loud the tone is on either side, as RMS in dBFS: nobody can swap the sides unseen.
const TONE_DBFS: [f64; 2] = [-18.0, -24.0];
/// The beep: on both sides, from its zero crossing at the full second on.
const BEEP_HZ: f64 = 1000.0;
const BEEP_DBFS: f64 = -12.0;
const BEEP_SECS: f64 = 0.1;
/// It ends without a click.
const BEEP_FADE_SECS: f64 = 0.01;

/// The sound of every second, and where it is.
pub(super) struct Sound {
    second: Bytes,
    next: u64,
}

impl Sound {
    pub(super) fn new() -> Self {
        let power: f64 = PARTIALS.iter().map(|(_, strength)| strength * strength / 2.0).sum();
        let volume = TONE_DBFS.map(|dbfs| amplitude(dbfs) / power.sqrt());
        let mut samples = Vec::with_capacity((u64::from(RATE) * SAMPLE_BYTES) as usize);
        for n in 0..RATE {
            let at = f64::from(n) / f64::from(RATE);
            let tone: f64 = PARTIALS.iter().map(|(hz, strength)| strength * (TAU * hz * at).sin()).sum();
            for volume in volume {
                let level = (tone * volume + beep(at)).clamp(-1.0, 1.0) * f64::from(i16::MAX);
                #[expect(clippy::cast_possible_truncation, reason = "clamped to what a sample holds")]
                samples.extend_from_slice(&(level.round() as i16).to_le_bytes());
            }
        }
        Self { second: samples.into(), next: 0 }
    }

    /// When the next sample is heard.
    pub(super) fn next_at(&self) -> MediaTime {
        at(self.next)
    }

    /// The next 20 ms, or less at the end.
    pub(super) fn next(&mut self, track: usize, end: MediaTime) -> Packet {
        let left = (end - self.next_at()).to_ticks(RATE);
        // Packets divide a second, so none reaches into the next one.
        let begin = self.next % u64::from(RATE);
        let n_samples = u64::try_from(left).unwrap_or(0).clamp(1, PACKET).min(u64::from(RATE) - begin);
        let [from, to] = [begin, begin + n_samples].map(|sample| (sample * SAMPLE_BYTES) as usize);
        let pts = self.next_at();
        self.next += n_samples;
        Packet {
            track,
            pts,
            dts: Some(pts),
            duration: self.next_at() - pts,
            key: true,
            trim_start: 0,
            trim_end: 0,
            data: self.second.slice(from..to),
        }
    }

    /// Goes to the packet that `to` falls into.
    pub(super) fn seek(&mut self, to: MediaTime) -> MediaTime {
        let sample = u64::try_from(to.to_ticks(RATE)).unwrap_or(0);
        self.next = sample - sample % PACKET;
        self.next_at()
    }
}

fn at(sample: u64) -> MediaTime {
    MediaTime::from_ticks(i64::try_from(sample).unwrap_or(i64::MAX), RATE)
}

fn beep(at: f64) -> f64 {
    if at >= BEEP_SECS {
        return 0.0;
    }
    let fade = ((BEEP_SECS - at) / BEEP_FADE_SECS).min(1.0);
    SQRT_2 * amplitude(BEEP_DBFS) * fade * (TAU * BEEP_HZ * at).sin()
}

fn amplitude(dbfs: f64) -> f64 {
    10_f64.powf(dbfs / 20.0)
}
