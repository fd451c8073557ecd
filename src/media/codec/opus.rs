//! Opus packets ↔ sound: what a packet's first bytes tell, libopus for the rest (RFC 6716, RFC 7845).
//!
//! Everything is 48 kHz stereo in 20 ms frames, because that is what a video chat carries;
//! decoding accepts whatever Opus allows.

use bytes::Bytes;

use crate::time::MediaTime;

/// Samples per second and channel of everything this module encodes and decodes.
pub const SAMPLE_RATE: u32 = 48_000;
/// Left and right.
pub const CHANNELS: usize = 2;
/// Samples per channel in one frame of 20 ms.
pub const FRAME_SAMPLES: usize = 960;
/// Length of one frame.
pub const FRAME: MediaTime = MediaTime::from_millis(20);
/// How many samples libopus' output lags behind its input at 48 kHz: 4 ms of its delay buffer
/// and 2.5 ms of overlap. A caller feeds the encoder this far ahead (RFC 7845, pre-skip).
pub const LOOKAHEAD: usize = 312;
/// 20 ms of digital silence: fullband CELT, stereo, one frame whose payload says "silence".
pub const SILENCE: [u8; 3] = [0xfc, 0xff, 0xfe];

/// The longest frame (RFC 6716, 3.1) and so the most that one encoded 20 ms packet needs.
const MAX_FRAME_BYTES: usize = 1275;
/// 120 ms (RFC 6716, 3.2.5).
const MAX_PACKET_SAMPLES: usize = 5760;

/// Why a packet or the codec failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpusError {
    /// The bytes are no Opus packet.
    #[error("not an Opus packet: {0}")]
    Packet(&'static str),
    /// The `OpusHead` is damaged.
    #[error("damaged OpusHead: {0}")]
    Head(&'static str),
    /// libopus refused.
    #[error("libopus failed")]
    Codec(#[from] ::opus::Error),
}

/// Which half of Opus made a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Linear prediction, for voice.
    Silk,
    /// Both.
    Hybrid,
    /// Transform, for music.
    Celt,
}

/// What a packet says about itself without being decoded (RFC 6716, 3.1 and 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Which codec made it.
    pub mode: Mode,
    /// 1 or 2. A decoder for stereo plays both.
    pub channels: u8,
    /// Samples per channel of one frame at 48 kHz: 120 (2.5 ms) to 2880 (60 ms).
    pub frame_samples: u32,
    /// 1 to 48 frames, 120 ms at most.
    pub n_frames: u8,
}

impl Shape {
    /// Reads the table of contents and checks every length that the packet states.
    ///
    /// # Errors
    /// When the packet breaks one of the rules R1 to R7 of RFC 6716, 3.4.
    pub fn of(packet: &[u8]) -> Result<Self, OpusError> {
        let (&toc, rest) = packet.split_first().ok_or(OpusError::Packet("it is empty"))?;
        let config = toc >> 3;
        let (mode, frame_samples) = match config {
            0..=11 => (Mode::Silk, [480, 960, 1920, 2880][usize::from(config % 4)]),
            12..=15 => (Mode::Hybrid, [480, 960][usize::from(config % 2)]),
            _ => (Mode::Celt, [120, 240, 480, 960][usize::from(config % 4)]),
        };
        let channels = if toc & 0x04 == 0 { 1 } else { 2 };
        let n_frames = match toc & 0x03 {
            0 => one_frame(rest)?,
            1 => two_equal_frames(rest)?,
            2 => two_frames(rest)?,
            _ => many_frames(rest, frame_samples)?,
        };
        Ok(Self { mode, channels, frame_samples, n_frames })
    }

    /// Samples per channel of the whole packet at 48 kHz.
    pub const fn samples(self) -> u32 {
        self.frame_samples * self.n_frames as u32
    }

    /// How long the packet sounds.
    pub fn duration(self) -> MediaTime {
        MediaTime::from_ticks(i64::from(self.samples()), SAMPLE_RATE)
    }
}

/// Code 0.
const fn one_frame(rest: &[u8]) -> Result<u8, OpusError> {
    if rest.len() > MAX_FRAME_BYTES {
        return Err(OpusError::Packet("its frame is longer than 1275 bytes"));
    }
    Ok(1)
}

/// Code 1.
const fn two_equal_frames(rest: &[u8]) -> Result<u8, OpusError> {
    if !rest.len().is_multiple_of(2) {
        return Err(OpusError::Packet("two equal frames do not fill it evenly"));
    }
    if rest.len() / 2 > MAX_FRAME_BYTES {
        return Err(OpusError::Packet("its frames are longer than 1275 bytes"));
    }
    Ok(2)
}

/// Code 2.
fn two_frames(rest: &[u8]) -> Result<u8, OpusError> {
    let (first, rest) = frame_length(rest)?;
    match rest.len().checked_sub(first) {
        None => Err(OpusError::Packet("its first frame is longer than the packet")),
        Some(second) if second > MAX_FRAME_BYTES => {
            Err(OpusError::Packet("its second frame is longer than 1275 bytes"))
        }
        Some(_) => Ok(2),
    }
}

/// Code 3: a count byte, padding, lengths.
fn many_frames(rest: &[u8], frame_samples: u32) -> Result<u8, OpusError> {
    let (&count, mut rest) = rest.split_first().ok_or(OpusError::Packet("it ends before its frame count"))?;
    let n_frames = count & 0x3f;
    if n_frames == 0 || u32::from(n_frames) * frame_samples > MAX_PACKET_SAMPLES as u32 {
        return Err(OpusError::Packet("its frame count is zero or over 120 ms"));
    }
    if count & 0x40 != 0 {
        rest = without_padding(rest)?;
    }
    let lengths = usize::from(n_frames);
    if count & 0x80 == 0 {
        if !rest.len().is_multiple_of(lengths) || rest.len() / lengths > MAX_FRAME_BYTES {
            return Err(OpusError::Packet("its equal frames do not fill it evenly"));
        }
        return Ok(n_frames);
    }
    let mut body = 0;
    for _ in 1..lengths {
        let (length, after) = frame_length(rest)?;
        body += length;
        rest = after;
    }
    match rest.len().checked_sub(body) {
        Some(last) if last <= MAX_FRAME_BYTES => Ok(n_frames),
        _ => Err(OpusError::Packet("its frames are longer than the packet")),
    }
}

/// One or two bytes of length (RFC 6716, 3.2.1).
fn frame_length(bytes: &[u8]) -> Result<(usize, &[u8]), OpusError> {
    match *bytes {
        [short @ 0..=251, ref rest @ ..] => Ok((usize::from(short), rest)),
        [low, high, ref rest @ ..] => Ok((usize::from(high) * 4 + usize::from(low), rest)),
        _ => Err(OpusError::Packet("it ends inside a frame length")),
    }
}

/// Padding lengths stand in front, padding bytes at the end; 255 means 254 and another length.
fn without_padding(mut bytes: &[u8]) -> Result<&[u8], OpusError> {
    let mut padding = 0;
    loop {
        let (&length, rest) =
            bytes.split_first().ok_or(OpusError::Packet("it ends inside its padding length"))?;
        bytes = rest;
        if length < 255 {
            padding += usize::from(length);
            break;
        }
        padding += 254;
    }
    let kept =
        bytes.len().checked_sub(padding).ok_or(OpusError::Packet("its padding is longer than the packet"))?;
    Ok(&bytes[..kept])
}

/// The identification header that containers keep (RFC 7845, 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Channels of the decoded sound.
    pub channels: u8,
    /// Samples at 48 kHz to throw away at the start.
    pub pre_skip: u16,
    /// What a player adds to the volume, in 1/256 dB.
    pub output_gain: i16,
    /// Streams in each packet: more than one for surround sound.
    pub n_streams: u8,
}

impl Head {
    /// Reads an `OpusHead`.
    ///
    /// # Errors
    /// When it is cut off or of a later major version.
    pub fn parse(bytes: &[u8]) -> Result<Self, OpusError> {
        let fields = bytes.strip_prefix(b"OpusHead").ok_or(OpusError::Head("the magic is missing"))?;
        let [version, channels, skip0, skip1, _, _, _, _, gain0, gain1, mapping_family, ..] = *fields else {
            return Err(OpusError::Head("it is cut off"));
        };
        if version >= 16 {
            return Err(OpusError::Head("its version is unknown"));
        }
        if channels == 0 || mapping_family == 0 && channels > 2 {
            return Err(OpusError::Head("its channel count is impossible"));
        }
        // Mapping family 0 is one stream of mono or stereo; the others say how many they have.
        let n_streams = match (mapping_family, fields.get(11)) {
            (0, _) => 1,
            (_, None | Some(0)) => return Err(OpusError::Head("it is cut off")),
            (_, Some(&n_streams)) => n_streams,
        };
        Ok(Self {
            channels,
            pre_skip: u16::from_le_bytes([skip0, skip1]),
            output_gain: i16::from_le_bytes([gain0, gain1]),
            n_streams,
        })
    }
}

/// How sound is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderOptions {
    /// Bits per second on average; the rate varies with the sound.
    pub bitrate_bps: u32,
    /// 0 (least CPU) to 10 (best sound).
    pub complexity: u8,
}

impl Default for EncoderOptions {
    fn default() -> Self {
        Self { bitrate_bps: 128_000, complexity: 9 }
    }
}

/// 20 ms of sound → one packet.
#[derive(Debug)]
pub struct Encoder {
    inner: ::opus::Encoder,
    /// The next frame must not lean on the ones before: a receiver does not have them.
    fresh: bool,
}

impl Encoder {
    /// An encoder for music, variable bitrate.
    ///
    /// # Errors
    /// When libopus refuses an option or has no memory.
    pub fn new(options: EncoderOptions) -> Result<Self, OpusError> {
        let mut inner =
            ::opus::Encoder::new(SAMPLE_RATE, ::opus::Channels::Stereo, ::opus::Application::Audio)?;
        let bitrate = i32::try_from(options.bitrate_bps).unwrap_or(i32::MAX);
        inner.set_bitrate(::opus::Bitrate::Bits(bitrate))?;
        inner.set_vbr(true)?;
        inner.set_complexity(i32::from(options.complexity))?;
        inner.set_signal(::opus::Signal::Music)?;
        Ok(Self { inner, fresh: true })
    }

    /// Starts a new run of frames for a receiver that does not know the ones before.
    ///
    /// `before` is the frame of input that precedes the first one; it fills the encoder's
    /// memory, so that the first packet sounds right from its first sample.
    ///
    /// # Errors
    /// When libopus fails.
    ///
    /// # Panics
    /// When `before` is not one frame: a bug of the caller.
    pub fn restart(&mut self, before: &[f32]) -> Result<(), OpusError> {
        self.inner.reset_state()?;
        self.encode(before)?;
        self.fresh = true;
        Ok(())
    }

    /// Encodes one frame: [`FRAME_SAMPLES`] interleaved stereo samples. What a receiver hears
    /// of this packet lags [`LOOKAHEAD`] samples behind `frame`.
    ///
    /// # Errors
    /// When libopus fails.
    ///
    /// # Panics
    /// When `frame` has another length: a bug of the caller.
    pub fn encode(&mut self, frame: &[f32]) -> Result<Bytes, OpusError> {
        assert_eq!(frame.len(), FRAME_SAMPLES * CHANNELS, "one frame of stereo");
        if self.fresh {
            self.inner.set_prediction_disabled(true)?;
        }
        let mut packet = [0; MAX_FRAME_BYTES + 1];
        let n_bytes = self.inner.encode_float(frame, &mut packet)?;
        if std::mem::take(&mut self.fresh) {
            self.inner.set_prediction_disabled(false)?;
        }
        Ok(Bytes::copy_from_slice(&packet[..n_bytes]))
    }
}

/// Packets → 48 kHz stereo.
#[derive(Debug)]
pub struct Decoder {
    inner: ::opus::Decoder,
    pcm: Vec<f32>,
}

impl Decoder {
    /// A decoder that adds `output_gain` (1/256 dB) to the volume.
    ///
    /// # Errors
    /// When libopus has no memory.
    pub fn new(output_gain: i16) -> Result<Self, OpusError> {
        let mut inner = ::opus::Decoder::new(SAMPLE_RATE, ::opus::Channels::Stereo)?;
        inner.set_gain(i32::from(output_gain))?;
        Ok(Self { inner, pcm: vec![0.0; MAX_PACKET_SAMPLES * CHANNELS] })
    }

    /// Interleaved stereo samples of one packet.
    ///
    /// # Errors
    /// When the packet is damaged; the next one can be decoded again.
    pub fn decode(&mut self, packet: &[u8]) -> Result<&[f32], OpusError> {
        // An empty packet would mean "lost" to libopus and fill the whole buffer.
        if packet.is_empty() {
            return Err(OpusError::Packet("it is empty"));
        }
        let samples = self.inner.decode_float(packet, &mut self.pcm, false)?;
        Ok(&self.pcm[..samples * CHANNELS])
    }

    /// What libopus makes up for `samples` lost samples per channel, a multiple of 2.5 ms and
    /// at most 120 ms.
    ///
    /// # Errors
    /// When `samples` is something else.
    pub fn conceal(&mut self, samples: usize) -> Result<&[f32], OpusError> {
        if samples > MAX_PACKET_SAMPLES {
            return Err(OpusError::Packet("more than 120 ms are lost"));
        }
        let samples = self.inner.decode_float(&[], &mut self.pcm[..samples * CHANNELS], false)?;
        Ok(&self.pcm[..samples * CHANNELS])
    }

    /// Forgets the packets so far: the next one does not follow them.
    ///
    /// # Errors
    /// When libopus fails.
    pub fn reset(&mut self) -> Result<(), OpusError> {
        Ok(self.inner.reset_state()?)
    }
}

/// Rounds off peaks over full scale, which would crackle when a receiver cuts them.
pub struct SoftClip(::opus::SoftClip);

impl std::fmt::Debug for SoftClip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SoftClip")
    }
}

impl Default for SoftClip {
    fn default() -> Self {
        Self(::opus::SoftClip::new(::opus::Channels::Stereo))
    }
}

impl SoftClip {
    /// Bends interleaved stereo into ±1.
    pub fn apply(&mut self, stereo: &mut [f32]) {
        self.0.apply(stereo);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::AudioLevel;

    /// `frames` frames of a tone that starts at sample 0, fed ahead by the look-ahead.
    fn tone(frequency: f32, frames: usize) -> Vec<f32> {
        (0..frames * FRAME_SAMPLES)
            .flat_map(|n| {
                let t = n as f32 / SAMPLE_RATE as f32;
                let sample = 0.5 * (std::f32::consts::TAU * frequency * t).sin();
                [sample, sample]
            })
            .collect()
    }

    #[test]
    fn shapes_of_known_packets() {
        let shape = |bytes: &[u8]| Shape::of(bytes).map(|s| (s.mode, s.channels, s.samples())).ok();
        assert_eq!(shape(&SILENCE), Some((Mode::Celt, 2, 960)));
        assert_eq!(shape(&[0x08, 1]), Some((Mode::Silk, 1, 960)));
        assert_eq!(shape(&[0x78, 1]), Some((Mode::Hybrid, 1, 960)));
        // Code 3: three constant 20 ms frames of two bytes, then the same with padding of one.
        assert_eq!(shape(&[0xfb, 3, 1, 2, 3, 4, 5, 6]), Some((Mode::Celt, 1, 2880)));
        assert_eq!(shape(&[0xfb, 0x43, 1, 1, 2, 3, 4, 5, 6, 0]), Some((Mode::Celt, 1, 2880)));
        for bad in [
            &[][..],
            &[0xf9, 1],
            &[0xfa, 9, 1],
            &[0xfa, 252],
            &[0xfb],
            &[0xfb, 0],
            &[0xfb, 7],
            &[0xfb, 0x41, 9],
        ] {
            assert_eq!(shape(bad), None, "{bad:02x?}");
        }
    }

    proptest! {
        /// libopus is the judge, for honest and for hostile bytes.
        #[test]
        fn shapes_agree_with_libopus(bytes in proptest::collection::vec(any::<u8>(), 0..60), code in 0_u8..4) {
            let mut bytes = bytes;
            if let Some(toc) = bytes.first_mut() {
                *toc = *toc & !3 | code;
            }
            let theirs = if bytes.is_empty() { None } else {
                ::opus::packet::parse(&bytes).ok().and_then(|_| ::opus::packet::get_nb_samples(&bytes, SAMPLE_RATE).ok())
            };
            let ours = Shape::of(&bytes).ok();
            prop_assert_eq!(ours.map(|shape| shape.samples() as usize), theirs);
            if let Some(shape) = ours {
                prop_assert_eq!(usize::from(shape.n_frames), ::opus::packet::get_nb_frames(&bytes).unwrap());
                let channels = ::opus::packet::get_nb_channels(&bytes).unwrap();
                prop_assert_eq!(shape.channels == 2, channels == ::opus::Channels::Stereo);
            }
        }

        #[test]
        fn heads_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            let _ = Head::parse(&bytes);
            let _ = Head::parse(&[&b"OpusHead"[..], &bytes].concat());
        }
    }

    #[test]
    fn reads_a_head() {
        let bytes = b"OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x00\xfe\x00";
        let head = Head::parse(bytes).unwrap();
        assert_eq!(head, Head { channels: 2, pre_skip: 312, output_gain: -512, n_streams: 1 });
        let surround =
            b"OpusHead\x01\x06\x38\x01\x80\xbb\x00\x00\x00\x00\x01\x04\x02\x00\x04\x01\x02\x03\x05";
        assert_eq!(Head::parse(surround).unwrap().n_streams, 4);
        assert!(Head::parse(&surround[..19]).is_err());
        assert!(matches!(Head::parse(&bytes[..12]), Err(OpusError::Head(_))));
    }

    #[test]
    fn silence_decodes_to_silence() {
        let mut decoder = Decoder::new(0).unwrap();
        for _ in 0..3 {
            let pcm = decoder.decode(&SILENCE).unwrap();
            assert_eq!(pcm.len(), FRAME_SAMPLES * CHANNELS);
            assert_eq!(AudioLevel::of(pcm), AudioLevel::SILENCE);
        }
    }

    #[test]
    fn bitrate_level_and_look_ahead_are_as_told() {
        let mut encoder = Encoder::new(EncoderOptions::default()).unwrap();
        assert_eq!(encoder.inner.get_lookahead().unwrap(), LOOKAHEAD as i32);
        let mut decoder = Decoder::new(0).unwrap();
        let input = tone(440.0, 50);
        let (mut n_bytes, mut output) = (0, Vec::new());
        for frame in input.chunks(FRAME_SAMPLES * CHANNELS) {
            let packet = encoder.encode(frame).unwrap();
            assert_eq!(Shape::of(&packet).unwrap().samples(), 960);
            n_bytes += packet.len();
            output.extend_from_slice(decoder.decode(&packet).unwrap());
        }
        let bitrate = n_bytes * 8;
        assert!((90_000..170_000).contains(&bitrate), "{bitrate} bit/s");
        assert_eq!(AudioLevel::of(&output[9600..]).neg_dbov(), AudioLevel::of(&input[9600..]).neg_dbov());
        let lag = best_lag(&input, &output);
        assert_eq!(lag, LOOKAHEAD);
    }

    /// Where `output` follows `input` best, by the energy of the difference.
    fn best_lag(input: &[f32], output: &[f32]) -> usize {
        let left = |pcm: &[f32], n: usize| pcm[n * CHANNELS];
        let error = |lag: &usize| -> f32 {
            (9600..19_200).map(|n| (left(input, n) - left(output, n + lag)).powi(2)).sum()
        };
        (260..364).min_by(|a, b| error(a).total_cmp(&error(b))).unwrap()
    }

    #[test]
    fn a_restart_sounds_right_from_its_first_sample_on() {
        let input = tone(440.0, 6);
        let window = |frame: usize| {
            let from = (frame * FRAME_SAMPLES + LOOKAHEAD) * CHANNELS;
            &input[from..from + FRAME_SAMPLES * CHANNELS]
        };
        let mut encoder = Encoder::new(EncoderOptions::default()).unwrap();
        encoder.restart(window(1)).unwrap();
        let mut decoder = Decoder::new(0).unwrap();
        // The receiver's decoder has no history, so only the 2.5 ms of overlap fade in.
        for frame in 2..4 {
            let output = decoder.decode(&encoder.encode(window(frame)).unwrap()).unwrap().to_vec();
            let heard = &input[frame * FRAME_SAMPLES * CHANNELS..][..FRAME_SAMPLES * CHANNELS];
            let skip = if frame == 2 { 120 * CHANNELS } else { 0 };
            let worst =
                output[skip..].iter().zip(&heard[skip..]).map(|(o, h)| (o - h).abs()).fold(0.0, f32::max);
            assert!(worst < 0.08, "frame {frame}: {worst}");
        }
    }

    #[test]
    fn damaged_packets_are_errors_and_losses_are_concealed() {
        let mut decoder = Decoder::new(0).unwrap();
        assert!(decoder.decode(&[]).is_err());
        assert!(decoder.decode(&[0xfb, 0]).is_err());
        assert_eq!(decoder.conceal(FRAME_SAMPLES).unwrap().len(), FRAME_SAMPLES * CHANNELS);
        assert!(decoder.conceal(7).is_err());
        assert!(decoder.conceal(100_000).is_err());
    }
}
