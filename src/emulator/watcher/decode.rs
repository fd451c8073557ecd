//! Encoded frames in, pictures and sound out, with the gaps a listener would hear.
//!
//! Runs on a thread of its own behind a bounded channel: 720p is several milliseconds of work a
//! frame, and the task that reads the socket must not wait for that. Each decoded piece carries
//! two times: `arrival`, when it could be shown here, and `taken`, when the sender says it was
//! taken, on the one clock that both of its tracks share.

#[cfg(feature = "openh264")]
use std::{cmp::Reverse, collections::BinaryHeap};

use tracing::debug;

use super::clock::SenderClock;
use super::state::{AUDIO_PATIENCE, Encoded};
#[cfg(feature = "openh264")]
use crate::emulator::marks::Luma;
use crate::emulator::measure::{Picture, Sound};
use crate::media::MediaKind;
use crate::time::MediaTime;

/// Opus always decodes to this rate here.
pub(super) const SAMPLE_RATE: u32 = 48_000;

/// Samples of both channels, interleaved.
pub(super) const CHANNELS: usize = 2;

/// The longest Opus packet lasts 120 ms (RFC 6716 §2.1.4).
const MAX_PACKET_SAMPLES: usize = 5760;

/// Longer gaps are counted in full but not filled with made-up sound.
const MAX_FILLED_GAP: u64 = SAMPLE_RATE as u64;

/// Sender and receiver run on two crystals. The expected arrival recedes by one part in this
/// many (200 ppm, more than two bad crystals differ by), so that drift is not taken for delay.
const DRIFT_ALLOWANCE: i64 = 5000;

/// Timestamps of pictures inside the decoder; H.264 allows 16.
#[cfg(feature = "openh264")]
const MAX_REORDERED: usize = 16;

/// Something decoded.
#[derive(Debug)]
pub(super) enum Decoded<'a> {
    #[cfg_attr(not(feature = "openh264"), expect(dead_code, reason = "nothing decodes pictures"))]
    Picture(Picture<'a>),
    Sound(Sound<'a>),
    /// So much of the sound was not there when it had to be played, and nothing stands for it.
    Silence(MediaTime),
    /// The decoder could not use an access unit; it needs a keyframe.
    #[cfg_attr(not(feature = "openh264"), expect(dead_code, reason = "nothing decodes pictures"))]
    Failed,
}

/// Both decoders and the clocks of the two tracks.
pub(super) struct Decoding {
    audio_clock: SenderClock,
    video_clock: SenderClock,
    sound: SoundDecoder,
    #[cfg(feature = "openh264")]
    pictures: PictureDecoder,
}

impl std::fmt::Debug for Decoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoding").finish_non_exhaustive()
    }
}

/// A decoder library refused to start.
#[derive(Debug, thiserror::Error)]
pub(super) enum DecoderError {
    #[error("the Opus decoder does not start")]
    Opus(#[from] opus::Error),
    #[cfg(feature = "openh264")]
    #[error("the H.264 decoder does not start")]
    H264(#[from] openh264::Error),
}

impl Decoding {
    pub(super) fn new() -> Result<Self, DecoderError> {
        Ok(Self {
            audio_clock: SenderClock::new(SAMPLE_RATE),
            video_clock: SenderClock::new(90_000),
            sound: SoundDecoder::new()?,
            #[cfg(feature = "openh264")]
            pictures: PictureDecoder::new()?,
        })
    }

    /// What follows is of other SSRCs: timestamps start anew.
    pub(super) fn handle_new_source(&mut self) -> Result<(), DecoderError> {
        *self = Self::new()?;
        Ok(())
    }

    /// The sender has said when `timestamp` was.
    pub(super) fn handle_report(&mut self, kind: MediaKind, timestamp: u32, ntp: MediaTime) {
        match kind {
            MediaKind::Audio => self.audio_clock.handle_report(timestamp, ntp),
            MediaKind::Video => self.video_clock.handle_report(timestamp, ntp),
        }
    }

    /// Decodes one frame and hands what comes of it to `sink`.
    pub(super) fn handle_frame(&mut self, frame: &Encoded, sink: &mut impl FnMut(Decoded<'_>)) {
        match frame.kind {
            MediaKind::Audio => self.sound.decode(frame, self.audio_clock, sink),
            #[cfg(feature = "openh264")]
            MediaKind::Video => self.pictures.decode(frame, self.video_clock, sink),
            #[cfg(not(feature = "openh264"))]
            MediaKind::Video => {}
        }
    }
}

/// Opus, with the jitter buffer of a simple listener: [`AUDIO_PATIENCE`] after the fastest
/// packet so far would have come, a frame has to be played; what is not there then is concealed.
struct SoundDecoder {
    decoder: opus::Decoder,
    buffer: Box<[f32; MAX_PACKET_SAMPLES * CHANNELS]>,
    /// The timestamp that has to come next.
    expected: Option<u64>,
    /// When the packet with this timestamp comes if nothing delays it.
    anchor: Option<(u64, MediaTime)>,
    /// Samples of each channel in the last packet.
    n_samples: usize,
}

impl SoundDecoder {
    fn new() -> Result<Self, opus::Error> {
        Ok(Self {
            decoder: opus::Decoder::new(SAMPLE_RATE, opus::Channels::Stereo)?,
            buffer: Box::new([0.0; MAX_PACKET_SAMPLES * CHANNELS]),
            expected: None,
            anchor: None,
            n_samples: 960,
        })
    }

    fn decode(&mut self, frame: &Encoded, clock: SenderClock, sink: &mut impl FnMut(Decoded<'_>)) {
        if let Some(expected) = self.expected
            && !frame.contiguous
            && frame.timestamp > expected
        {
            self.conceal(expected, frame, clock, sink);
        }
        let late = self.lateness(frame);
        if late > MediaTime::from(AUDIO_PATIENCE) {
            sink(Decoded::Silence(late));
        }
        match self.decoder.decode_float(&frame.data, &mut self.buffer[..], false) {
            Ok(n_samples) => {
                let samples = &self.buffer[..n_samples * CHANNELS];
                let taken = clock.ntp(low_bits(frame.timestamp));
                sink(Decoded::Sound(Sound { samples, arrival: frame.arrival, taken, concealed: false }));
                self.n_samples = n_samples;
            }
            Err(error) => {
                debug!(%error, "an Opus packet that cannot be decoded");
                sink(Decoded::Silence(ticks(self.n_samples as u64)));
            }
        }
        self.expected = Some(frame.timestamp + self.n_samples as u64);
    }

    /// Fills the gap before `frame`: made-up sound, and for its end what `frame` says in its own
    /// redundancy, where it has any.
    fn conceal(
        &mut self,
        expected: u64,
        frame: &Encoded,
        clock: SenderClock,
        sink: &mut impl FnMut(Decoded<'_>),
    ) {
        let gap = frame.timestamp - expected;
        if gap > MAX_FILLED_GAP {
            sink(Decoded::Silence(ticks(gap)));
            return;
        }
        let mut at = expected;
        while at < frame.timestamp {
            let left = usize::try_from(frame.timestamp - at).unwrap_or(self.n_samples);
            let n_samples = self.n_samples.min(left);
            let last = n_samples == left;
            let data: &[u8] = if last { &frame.data } else { &[] };
            let buffer = &mut self.buffer[..n_samples * CHANNELS];
            // Redundancy or invention, a listener hears something else than what was sent: both
            // count as concealed. A size that Opus does not conceal stays silent.
            if self.decoder.decode_float(data, buffer, last).is_err() {
                buffer.fill(0.0);
            }
            let (arrival, taken) = (frame.arrival, clock.ntp(low_bits(at)));
            sink(Decoded::Sound(Sound { samples: buffer, arrival, taken, concealed: true }));
            at += n_samples as u64;
        }
    }

    /// How much later than expected `frame` has come. A delay beyond patience moves the
    /// expectation: the listener has heard the gap once and plays on from there.
    fn lateness(&mut self, frame: &Encoded) -> MediaTime {
        let Some((timestamp, arrival)) = self.anchor else {
            self.anchor = Some((frame.timestamp, frame.arrival));
            return MediaTime::ZERO;
        };
        let elapsed = ticks(frame.timestamp.saturating_sub(timestamp));
        let expected =
            arrival + elapsed + MediaTime::from_nanos(elapsed.to_ticks(1_000_000_000) / DRIFT_ALLOWANCE);
        let late = frame.arrival - expected;
        if late < MediaTime::ZERO || late > MediaTime::from(AUDIO_PATIENCE) {
            self.anchor = Some((frame.timestamp, frame.arrival));
        } else {
            self.anchor = Some((frame.timestamp, expected));
        }
        late
    }
}

/// OpenH264. Without B-frames each access unit gives its picture at once; with them pictures
/// come later and get the timestamps in rising order.
#[cfg(feature = "openh264")]
struct PictureDecoder {
    decoder: openh264::decoder::Decoder,
    /// Access units whose picture is not out yet: timestamp, arrival.
    inside: BinaryHeap<Reverse<(u64, MediaTime)>>,
}

#[cfg(feature = "openh264")]
impl PictureDecoder {
    fn new() -> Result<Self, openh264::Error> {
        use openh264::decoder::{Decoder, DecoderConfig, Flush};
        // Flushing after every call makes pictures of streams with B-frames fail.
        let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
        let decoder = Decoder::with_api_config(openh264::OpenH264API::from_source(), config)?;
        Ok(Self { decoder, inside: BinaryHeap::new() })
    }

    fn decode(&mut self, frame: &Encoded, clock: SenderClock, sink: &mut impl FnMut(Decoded<'_>)) {
        if !self.inside.is_empty() && begins_stream(&frame.data) {
            // The library forgets what it holds back when the parameter sets change.
            let _no_picture = self.decoder.decode(&[]);
            for picture in self.decoder.flush_remaining().unwrap_or_default() {
                let Some(Reverse(times)) = self.inside.pop() else { break };
                show(&picture, times, clock, sink);
            }
            self.inside.clear();
        }
        self.inside.push(Reverse((frame.timestamp, frame.arrival)));
        match self.decoder.decode(&frame.data) {
            Ok(Some(picture)) => {
                let Reverse(times) = self.inside.pop().expect("a unit was pushed above");
                show(&picture, times, clock, sink);
            }
            Ok(None) if self.inside.len() <= MAX_REORDERED => {}
            Ok(None) => {
                self.inside.pop();
            }
            Err(error) => {
                debug!(%error, "an access unit that cannot be decoded");
                self.inside.clear();
                sink(Decoded::Failed);
            }
        }
    }
}

#[cfg(feature = "openh264")]
fn show(
    picture: &openh264::decoder::DecodedYUV<'_>,
    (timestamp, arrival): (u64, MediaTime),
    clock: SenderClock,
    sink: &mut impl FnMut(Decoded<'_>),
) {
    use openh264::formats::YUVSource as _;
    let (width, height) = picture.dimensions();
    let Some(luma) = Luma::new(picture.y(), picture.strides().0, width, height) else {
        debug!(width, height, "the decoder gave a picture that is smaller than it says");
        return;
    };
    sink(Decoded::Picture(Picture { luma, arrival, taken: clock.ntp(low_bits(timestamp)) }));
}

/// An access unit with a sequence parameter set (NAL type 7).
#[cfg(feature = "openh264")]
fn begins_stream(annex_b: &[u8]) -> bool {
    annex_b.windows(4).any(|window| matches!(window, [0, 0, 1, header] if header & 0x1f == 7))
}

fn ticks(n_samples: u64) -> MediaTime {
    MediaTime::from_ticks(i64::try_from(n_samples).unwrap_or(i64::MAX), SAMPLE_RATE)
}

#[expect(clippy::cast_possible_truncation, reason = "the RTP timestamp is the low 32 bits")]
fn low_bits(timestamp: u64) -> u32 {
    timestamp as u32
}
