//! Coded sound → samples at the instant they are heard: Opus by libopus, all else by Symphonia.
//!
//! No decoder knows about time: priming, padding and damage are settled here, so that
//! what comes out is exactly as long as what went in says.

use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::audio::{Channels, Position};
use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_AAC, CODEC_ID_ALAC, CODEC_ID_FLAC, CODEC_ID_MP3, CODEC_ID_VORBIS,
};
use symphonia::core::codecs::audio::{
    AudioCodecId, AudioCodecParameters, AudioDecoder as SymphoniaDecoder, AudioDecoderOptions,
};
use symphonia::core::codecs::registry::RegisterableAudioDecoder;
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};
use symphonia::default::codecs::{
    AacDecoder, AlacDecoder, FlacDecoder, MpaDecoder, PcmDecoder, VorbisDecoder,
};

use super::aac::{AacConfig, AacConfigError};
use super::opus;
use super::pcm::PcmLayout;
use crate::media::audio::{AudioBuffer, Downmix, Place, ResampleError, Resampler};
use crate::media::demux::{Packet, Shape, Track};
use crate::media::{Codec, MediaKind};

/// Samples per channel of one AAC-LC packet.
const AAC_PACKET_SAMPLES: u32 = 1024;
/// Samples per channel of one MPEG-1 layer III packet; MPEG-2 (24 kHz and less) has half.
const MP3_PACKET_SAMPLES: u32 = 1152;
/// Samples per channel of a lossless packet, as encoders choose it.
const LOSSLESS_PACKET_SAMPLES: u32 = 4096;
/// More channels than any loudspeaker set of a home has are refused.
const MAX_CHANNELS: usize = 8;
/// The lowest sample rate of MPEG-1.
const MPEG1_LOWEST_RATE: u32 = 32_000;

/// Telephones have 8,000 samples a second, and no sound is known that has less than this.
const LEAST_RATE: u32 = 1000;

/// Why a sound track cannot be decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Undecodable {
    /// The track is no sound.
    #[error("the track carries no sound")]
    NotSound,
    /// No decoder for this codec.
    #[error("telecast has no {codec} decoder")]
    Codec {
        /// Its name.
        codec: String,
    },
    /// Surround sound.
    #[error("the sound has {channels} channels, which telecast cannot mix down for this codec")]
    Channels {
        /// How many.
        channels: u16,
    },
    /// HE-AAC.
    #[error("the sound is HE-AAC (spectral band replication); telecast decodes AAC-LC")]
    Sbr,
    /// Another kind of AAC.
    #[error("the sound is AAC object type {object_type}; telecast decodes AAC-LC (2)")]
    AacProfile {
        /// The audio object type of ISO/IEC 14496-3.
        object_type: u8,
    },
    /// AAC frames of 960 samples.
    #[error("the sound is AAC in frames of 960 samples; telecast decodes frames of 1024")]
    AacFrameLength,
    /// The `AudioSpecificConfig` is damaged.
    #[error("the AAC configuration is damaged")]
    AacConfig(#[from] AacConfigError),
    /// The `OpusHead` is damaged, or libopus failed.
    #[error("the Opus configuration is unusable")]
    Opus(#[from] opus::OpusError),
    /// No rate that sound has.
    #[error("the sound cannot be resampled")]
    Rate(#[from] ResampleError),
    /// Symphonia refuses the configuration.
    #[error("the decoder refuses the {codec} configuration")]
    Symphonia {
        /// Its name.
        codec: &'static str,
        /// What the decoder says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Undecodable {
    /// Nobody can make sound of it: at such a rate, a few bytes would become hours.
    pub(in crate::media) fn is_absurd(&self) -> bool {
        matches!(self, Self::Rate(ResampleError::Rate { rate }) if *rate < LEAST_RATE)
    }
}

enum Inner {
    Opus(opus::Decoder),
    Symphonia(Box<dyn SymphoniaDecoder>),
}

/// Packets of one track → [`AudioBuffer`]s.
///
/// A damaged packet becomes silence of the right length and is counted: one bad packet is no
/// reason to end a song.
pub struct AudioDecoder {
    inner: Inner,
    /// What a damaged packet is taken for.
    packet_samples: u32,
    rate: u32,
    channels: u16,
    failures: u64,
    failures_in_row: u32,
    /// A packet without sound is no damage.
    may_be_empty: bool,
}

impl std::fmt::Debug for AudioDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rate, channels, failures, .. } = self;
        f.debug_struct("AudioDecoder")
            .field("rate", rate)
            .field("channels", channels)
            .field("failures", failures)
            .finish_non_exhaustive()
    }
}

impl AudioDecoder {
    /// A decoder for `track`.
    ///
    /// # Errors
    /// When the track is not one that telecast can decode; the message says why.
    pub fn new(track: &Track) -> Result<Self, Undecodable> {
        let Shape::Audio { sample_rate, channels } = track.shape else {
            return Err(Undecodable::NotSound);
        };
        debug_assert_eq!(track.kind, MediaKind::Audio, "the shape belongs to the kind");
        let decoder = match &track.codec {
            Codec::Opus => Self::opus(track, channels)?,
            Codec::Aac => Self::aac(track, sample_rate)?,
            Codec::Mp3 => Self::mp3(sample_rate, channels)?,
            Codec::Flac => Self::by_config::<FlacDecoder>(track, "flac", CODEC_ID_FLAC)?,
            Codec::Vorbis => Self::by_config::<VorbisDecoder>(track, "vorbis", CODEC_ID_VORBIS)?,
            Codec::Alac => Self::by_config::<AlacDecoder>(track, "alac", CODEC_ID_ALAC)?,
            Codec::Pcm(layout) => Self::pcm(*layout, sample_rate, channels)?,
            other => return Err(Undecodable::Codec { codec: other.name().to_owned() }),
        };
        Resampler::check(decoder.rate)?;
        Ok(decoder)
    }

    fn opus(track: &Track, channels: u16) -> Result<Self, Undecodable> {
        // Old Matroska files have Opus without its head; the packets tell enough.
        let head = match &*track.config {
            [] => None,
            config => Some(opus::Head::parse(config)?),
        };
        let channels = head.map_or(channels, |head| u16::from(head.channels));
        if channels > 2 || head.is_some_and(|head| head.n_streams > 1) {
            return Err(Undecodable::Channels { channels });
        }
        let decoder = opus::Decoder::new(head.map_or(0, |head| head.output_gain))?;
        Ok(Self::with(Inner::Opus(decoder), opus::FRAME_SAMPLES as u32, opus::SAMPLE_RATE, 2))
    }

    fn aac(track: &Track, track_rate: u32) -> Result<Self, Undecodable> {
        let config = AacConfig::parse(&track.config)?;
        // Implicit SBR: the container names the rate after replication, the codec the one before.
        if config.sbr || config.sample_rate.checked_mul(2) == Some(track_rate) {
            return Err(Undecodable::Sbr);
        }
        if config.object_type != AacConfig::LOW_COMPLEXITY {
            return Err(Undecodable::AacProfile { object_type: config.object_type });
        }
        if config.short_frames {
            return Err(Undecodable::AacFrameLength);
        }
        let channels = u16::from(config.channels);
        if channels > 2 {
            return Err(Undecodable::Channels { channels });
        }
        let mut params = AudioCodecParameters::new();
        params.for_codec(CODEC_ID_AAC).with_extra_data(track.config.to_vec().into());
        let decoder = AacDecoder::try_new(&params, &AudioDecoderOptions::default())
            .map_err(|source| Undecodable::Symphonia { codec: "aac", source: source.into() })?;
        Ok(Self::with(Inner::Symphonia(Box::new(decoder)), AAC_PACKET_SAMPLES, config.sample_rate, channels))
    }

    fn mp3(sample_rate: u32, channels: u16) -> Result<Self, Undecodable> {
        if !(1..=2).contains(&channels) {
            return Err(Undecodable::Channels { channels });
        }
        let mut params = AudioCodecParameters::new();
        let positions =
            if channels == 1 { Position::FRONT_LEFT } else { Position::FRONT_LEFT | Position::FRONT_RIGHT };
        params
            .for_codec(CODEC_ID_MP3)
            .with_sample_rate(sample_rate)
            .with_channels(Channels::Positioned(positions));
        let options = AudioDecoderOptions::default().gapless(false);
        let decoder = MpaDecoder::try_new(&params, &options)
            .map_err(|source| Undecodable::Symphonia { codec: "mp3", source: source.into() })?;
        let packet_samples =
            if sample_rate < MPEG1_LOWEST_RATE { MP3_PACKET_SAMPLES / 2 } else { MP3_PACKET_SAMPLES };
        Ok(Self::with(Inner::Symphonia(Box::new(decoder)), packet_samples, sample_rate, channels))
    }

    /// A codec whose configuration tells everything.
    fn by_config<D>(track: &Track, codec: &'static str, id: AudioCodecId) -> Result<Self, Undecodable>
    where
        D: RegisterableAudioDecoder + SymphoniaDecoder + 'static,
    {
        let Shape::Audio { sample_rate, channels } = track.shape else { return Err(Undecodable::NotSound) };
        let mut params = AudioCodecParameters::new();
        params.for_codec(id).with_extra_data(track.config.to_vec().into()).with_sample_rate(sample_rate);
        if let Some(channels) = places_by_count(channels) {
            params.with_channels(channels);
        }
        let decoder = D::try_registry_new(&params, &AudioDecoderOptions::default())
            .map_err(|source| Undecodable::Symphonia { codec, source: source.into() })?;
        // Of the codecs here, only Vorbis needs a packet before it gives sound.
        let packet_samples = if id == CODEC_ID_VORBIS { 0 } else { LOSSLESS_PACKET_SAMPLES };
        let rate = decoder.codec_params().sample_rate.unwrap_or(sample_rate);
        let mut this = Self::with(Inner::Symphonia(decoder), packet_samples, rate, 2);
        this.may_be_empty = id == CODEC_ID_VORBIS;
        Ok(this)
    }

    fn pcm(layout: PcmLayout, sample_rate: u32, channels: u16) -> Result<Self, Undecodable> {
        let places = places_by_count(channels).ok_or(Undecodable::Channels { channels })?;
        let mut params = AudioCodecParameters::new();
        params.for_codec(layout.id()).with_sample_rate(sample_rate).with_channels(places);
        let decoder = PcmDecoder::try_new(&params, &AudioDecoderOptions::default())
            .map_err(|source| Undecodable::Symphonia { codec: layout.name(), source: source.into() })?;
        Ok(Self::with(Inner::Symphonia(Box::new(decoder)), 0, sample_rate, 2))
    }

    const fn with(inner: Inner, packet_samples: u32, rate: u32, channels: u16) -> Self {
        Self { inner, packet_samples, rate, channels, failures: 0, failures_in_row: 0, may_be_empty: false }
    }

    /// The sound of one packet, trimmed. Never fails: damage is silence.
    pub fn decode(&mut self, packet: &Packet) -> AudioBuffer {
        let mut buffer =
            AudioBuffer { start: packet.pts, rate: self.rate, channels: self.channels, samples: Vec::new() };
        match self.decode_into(packet, &mut buffer) {
            Ok(()) => self.failures_in_row = 0,
            Err(error) => {
                self.failures += 1;
                self.failures_in_row = self.failures_in_row.saturating_add(1);
                tracing::debug!(pts = ?packet.pts, %error, "a damaged audio packet becomes silence");
                (buffer.rate, buffer.channels) = (self.rate, self.channels);
                buffer.samples.clear();
                buffer.samples.resize(self.silence_for(packet) as usize * usize::from(self.channels), 0.0);
            }
        }
        buffer.trim(packet.trim_start as usize, packet.trim_end as usize);
        buffer
    }

    fn decode_into(&mut self, packet: &Packet, buffer: &mut AudioBuffer) -> Result<(), Failure> {
        match &mut self.inner {
            Inner::Opus(decoder) => buffer.samples.extend_from_slice(decoder.decode(&packet.data)?),
            Inner::Symphonia(decoder) => {
                // Where a build checks its sums, damage makes the FLAC decoder panic.
                let (may_be_empty, target) = (self.may_be_empty, &mut *buffer);
                let decode =
                    AssertUnwindSafe(|| by_symphonia(decoder.as_mut(), packet, may_be_empty, target));
                catch_unwind(decode).map_err(|_told_by_the_panic_hook| Failure::Panicked)??;
                (self.rate, self.channels) = (buffer.rate, buffer.channels);
            }
        }
        Ok(())
    }

    /// Samples per channel that a damaged packet stood for, never more than one honest packet.
    fn silence_for(&self, packet: &Packet) -> u32 {
        match self.inner {
            Inner::Opus(_) => opus::Shape::of(&packet.data).map_or(self.packet_samples, opus::Shape::samples),
            Inner::Symphonia(_) => self.packet_samples,
        }
    }

    /// Samples per second and channel of what comes out.
    pub const fn rate(&self) -> u32 {
        self.rate
    }

    /// Damaged packets so far.
    pub const fn failures(&self) -> u64 {
        self.failures
    }

    /// Damaged packets since the last one that could be decoded.
    pub const fn failures_in_row(&self) -> u32 {
        self.failures_in_row
    }

    /// Forgets the packets so far: the next one does not follow them.
    pub fn reset(&mut self) {
        match &mut self.inner {
            Inner::Opus(decoder) => decoder.reset().expect("libopus can always reset a decoder that it made"),
            Inner::Symphonia(decoder) => decoder.reset(),
        }
    }
}

/// How the channels of a track become the two that are heard; nothing where there are two already.
pub(in crate::media) fn downmix(track: &Track) -> Option<Downmix> {
    let Shape::Audio { channels, .. } = track.shape else { return None };
    let told = match AudioDecoder::new(track).ok()?.inner {
        // Mono or stereo: libopus makes two of either.
        Inner::Opus(_) => None,
        Inner::Symphonia(decoder) => decoder.codec_params().channels.clone(),
    };
    let n_channels = told.as_ref().map_or_else(|| usize::from(channels), Channels::count);
    match n_channels {
        1 => Some(Downmix::new(&[Place::Center])),
        3..=MAX_CHANNELS => Some(Downmix::new(&places(&told.unwrap_or_default(), n_channels))),
        _ => None,
    }
}

/// Decodes a packet and says how many channels it has, mixed down to two.
fn by_symphonia(
    decoder: &mut dyn SymphoniaDecoder,
    packet: &Packet,
    may_be_empty: bool,
    buffer: &mut AudioBuffer,
) -> Result<(), Failure> {
    let input = PacketRef::new(0, Timestamp::new(0), Duration::new(0), &packet.data);
    let decoded = decoder.decode_ref(&input)?;
    let (rate, n_planes) = (decoded.spec().rate(), decoded.num_planes());
    if decoded.is_empty() && may_be_empty {
        return Ok(());
    }
    if decoded.is_empty() || !(1..=MAX_CHANNELS).contains(&n_planes) || rate == 0 {
        return Err(Failure::Shape);
    }
    (buffer.rate, buffer.channels) = (rate, n_planes as u16);
    decoded.copy_to_vec_interleaved(&mut buffer.samples);
    if n_planes > 2 {
        buffer.samples = Downmix::new(&places(decoded.spec().channels(), n_planes)).apply(&buffer.samples);
        buffer.channels = 2;
    }
    // Damage that decodes all the same may come out as anything.
    buffer.samples.iter_mut().filter(|sample| !sample.is_finite()).for_each(|sample| *sample = 0.0);
    Ok(())
}

/// The usual places of so many channels, in the order of a WAV file.
fn places_by_count(channels: u16) -> Option<Channels> {
    let positions = match channels {
        1 => Position::FRONT_CENTER,
        other => {
            Position::from_wave_channel_count(other.into()).filter(|_| usize::from(other) <= MAX_CHANNELS)?
        }
    };
    Some(Channels::Positioned(positions))
}

/// Where the loudspeakers of the channels stand.
fn places(channels: &Channels, n_planes: usize) -> Vec<Place> {
    let by_count = u16::try_from(n_planes).ok().and_then(places_by_count);
    let positions = match (channels.clone(), by_count) {
        (Channels::Positioned(positions), _) | (_, Some(Channels::Positioned(positions))) => positions,
        _ => Position::empty(),
    };
    let mut places: Vec<_> = positions.iter().map(place).collect();
    places.resize(n_planes, Place::LeftOut);
    places
}

fn place(position: Position) -> Place {
    let left = Position::FRONT_LEFT | Position::FRONT_LEFT_CENTER | Position::FRONT_LEFT_WIDE;
    let right = Position::FRONT_RIGHT | Position::FRONT_RIGHT_CENTER | Position::FRONT_RIGHT_WIDE;
    let surround_left = Position::REAR_LEFT | Position::SIDE_LEFT;
    let surround_right = Position::REAR_RIGHT | Position::SIDE_RIGHT;
    match position {
        p if left.contains(p) => Place::Left,
        p if right.contains(p) => Place::Right,
        p if surround_left.contains(p) => Place::SurroundLeft,
        p if surround_right.contains(p) => Place::SurroundRight,
        Position::FRONT_CENTER => Place::Center,
        Position::REAR_CENTER => Place::SurroundCenter,
        _ => Place::LeftOut,
    }
}

/// Why one packet is damaged.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Opus(#[from] opus::OpusError),
    #[error(transparent)]
    Symphonia(#[from] symphonia::core::errors::Error),
    #[error("it decodes to no sound")]
    Shape,
    #[error("its decoder panicked")]
    Panicked,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::media::{demux, source};

    /// The sound track of a clip and its packets.
    fn sound_of(clip: &str) -> (Track, Vec<Packet>) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("media").join(clip);
        let mut demuxer = demux::open(source::open(&path).unwrap()).unwrap();
        let index = demuxer.tracks().iter().position(|track| track.kind == MediaKind::Audio).unwrap();
        let packets = std::iter::from_fn(|| demuxer.next_packet().unwrap());
        let packets = packets.filter(|packet| packet.track == index).take(100).collect();
        (demuxer.tracks()[index].clone(), packets)
    }

    #[test]
    fn what_comes_out_is_as_long_as_the_file_says() {
        for (clip, samples) in
            [("clip.mp4", 1024), ("long-gop.mp4", 1024), ("music.mp3", 1152), ("music.ogg", 960)]
        {
            let (track, packets) = sound_of(clip);
            let mut decoder = AudioDecoder::new(&track).unwrap();
            for packet in &packets {
                let sound = decoder.decode(packet);
                let trimmed = packet.trim_start as usize + packet.trim_end as usize;
                assert_eq!(sound.len() + trimmed, samples, "{clip}");
                assert_eq!(sound.channels, 2);
                let skipped = crate::time::MediaTime::from_ticks(i64::from(packet.trim_start), sound.rate);
                assert_eq!(sound.start, packet.pts + skipped);
            }
            assert_eq!(decoder.failures(), 0, "{clip}");
        }
    }

    #[test]
    fn a_damaged_packet_is_silence_of_the_same_length() {
        for clip in ["clip.mp4", "music.mp3", "music.ogg"] {
            let (track, mut packets) = sound_of(clip);
            let mut decoder = AudioDecoder::new(&track).unwrap();
            for packet in &packets[..20] {
                decoder.decode(packet);
            }
            let length = decoder.decode(&packets[20]).len();
            // Two bytes are too few for AAC and mp3; for Opus, code 3 with no frames is no packet.
            packets[21].data =
                if clip == "music.ogg" { (&[0xff, 0][..]).into() } else { packets[21].data.slice(..2) };
            let silence = decoder.decode(&packets[21]);
            assert_eq!(
                (silence.len(), decoder.failures(), decoder.failures_in_row()),
                (length, 1, 1),
                "{clip}"
            );
            assert!(silence.samples.iter().all(|sample| *sample == 0.0), "{clip}");
            assert!(decoder.decode(&packets[22]).len() == length && decoder.failures_in_row() == 0, "{clip}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        /// Whatever stands in the packets: no panic, no more sound than honest packets have.
        #[test]
        fn flipped_bytes_never_panic(
            flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 100),
        ) {
            for clip in ["clip.mp4", "music.mp3", "music.ogg"] {
                let (track, packets) = sound_of(clip);
                let mut decoder = AudioDecoder::new(&track).unwrap();
                for (mut packet, (at, byte)) in packets.into_iter().zip(&flips) {
                    let mut data = packet.data.to_vec();
                    let at = at.index(data.len());
                    data[at] ^= byte;
                    packet.data = data.into();
                    let sound = decoder.decode(&packet);
                    prop_assert!(sound.len() <= 5760);
                    prop_assert!(sound.samples.iter().all(|sample| sample.is_finite()));
                }
            }
        }
    }
}
