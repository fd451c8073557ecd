//! Containers that hold sound alone → packets, by Symphonia's readers: FLAC, WAV, AIFF, and
//! Ogg with Vorbis or FLAC in it.
//!
//! What is said of Symphonia's readers elsewhere (they lose composition offsets and keyframes)
//! does not touch these: their packets follow each other and are all keys.

use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known as id;
use symphonia::core::errors::Error;
use symphonia::core::formats::{self, FormatOptions, FormatReader, SeekMode, SeekTo, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::units::{TimeBase, Timestamp};
use symphonia::default::formats::{AiffReader, FlacReader, OggReader, WavReader};

use super::audio::PRE_ROLL;
use super::{DemuxError, Demuxer, MediaSource, Packet, Shape, Track};
use crate::media::codec::pcm::PcmLayout;
use crate::media::{Codec, MediaKind};
use crate::time::MediaTime;

/// Damaged places without a readable packet between them, after which the rest is given up.
const MAX_FAILURES_IN_ROW: u32 = 64;

/// Which of the containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Flac,
    Wav,
    Aiff,
    Ogg,
}

impl Container {
    const fn name(self) -> &'static str {
        match self {
            Self::Flac => "flac",
            Self::Wav => "wav",
            Self::Aiff => "aiff",
            Self::Ogg => "ogg",
        }
    }

    /// For people.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Flac => "FLAC",
            Self::Wav => "WAV",
            Self::Aiff => "AIFF",
            Self::Ogg => "Ogg",
        }
    }
}

/// A file being read.
pub(super) struct Plain {
    container: Container,
    inner: Box<dyn FormatReader>,
    tracks: Vec<Track>,
    /// Of the one that is played: Symphonia's name and its clock.
    id: u32,
    clock: Clock,
    failures: u32,
    ended: bool,
}

impl Plain {
    pub(super) fn open(
        source: Box<dyn MediaSource>,
        len: u64,
        container: Container,
    ) -> Result<Self, DemuxError> {
        let bytes = MediaSourceStream::new(Box::new(Adapter { source, len }), Default::default());
        let options = FormatOptions::default();
        let inner = guarded(|| match container {
            Container::Flac => FlacReader::try_new(bytes, options).map(boxed),
            Container::Wav => WavReader::try_new(bytes, options).map(boxed),
            Container::Aiff => AiffReader::try_new(bytes, options).map(boxed),
            Container::Ogg => OggReader::try_new(bytes, options).map(boxed),
        });
        let inner = inner.map_err(|failed| failed.told(container))?;
        let name = container.name();
        let chosen = inner.default_track(TrackType::Audio).ok_or(DemuxError::NoTracks { format: name })?;
        let track = describe(chosen).ok_or(DemuxError::NoTracks { format: name })?;
        let Shape::Audio { sample_rate, .. } = track.shape else {
            return Err(DemuxError::NoTracks { format: name });
        };
        let clock = Clock::of(chosen, sample_rate);
        let id = chosen.id;
        Ok(Self { container, inner, tracks: vec![track], id, clock, failures: 0, ended: false })
    }
}

impl Demuxer for Plain {
    fn format(&self) -> &'static str {
        self.container.name()
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, DemuxError> {
        while !self.ended {
            let packet = match guarded(|| self.inner.next_packet()) {
                Ok(Some(packet)) => packet,
                Ok(None) => {
                    self.ended = true;
                    break;
                }
                Err(failed) => {
                    self.failures += 1;
                    let may_go_on = matches!(failed, Failed::Told(Error::DecodeError(_)));
                    self.ended = !may_go_on || self.failures >= MAX_FAILURES_IN_ROW;
                    return Err(failed.told(self.container));
                }
            };
            self.failures = 0;
            if packet.track_id != self.id {
                continue;
            }
            return Ok(Some(self.clock.packet(packet)));
        }
        Ok(None)
    }

    fn seek(&mut self, to: MediaTime) -> Result<MediaTime, DemuxError> {
        let last = self.tracks[0].duration.map_or(to, |duration| to.min(duration));
        let to = (last - PRE_ROLL).max(MediaTime::ZERO);
        let ts = Timestamp::new(self.clock.ticks(to));
        let place = SeekTo::Timestamp { ts, track_id: self.id };
        let sought = guarded(|| self.inner.seek(SeekMode::Accurate, place));
        (self.ended, self.failures) = (false, 0);
        let sought = sought.map_err(|failed| failed.told(self.container))?;
        Ok(self.clock.at(sought.actual_ts))
    }
}

/// Symphonia's ticks ↔ the clock of the item.
#[derive(Clone, Copy, Debug)]
struct Clock {
    base: TimeBase,
    start: i64,
    rate: u32,
}

impl Clock {
    fn of(track: &formats::Track, rate: u32) -> Self {
        let of_rate = || TimeBase::try_new(1, rate.max(1)).unwrap_or_default();
        Self { base: track.time_base.unwrap_or_else(of_rate), start: track.start_ts.get().max(0), rate }
    }

    fn time(self, ticks: i64) -> MediaTime {
        MediaTime::from_rational(ticks, self.base.numer.get(), self.base.denom.get())
    }

    fn at(self, ts: Timestamp) -> MediaTime {
        self.time(ts.get().saturating_sub(self.start))
    }

    fn ticks(self, time: MediaTime) -> i64 {
        let ticks = i128::from(time.to_ticks(self.base.denom.get())) / i128::from(self.base.numer.get());
        i64::try_from(ticks).unwrap_or(i64::MAX).saturating_add(self.start)
    }

    /// Symphonia tells the time of the first sample that is heard and how many are cut off before
    /// it; a packet of ours has the time of the first one that is decoded.
    fn packet(self, packet: symphonia::core::packet::Packet) -> Packet {
        let length = |ticks: u64| self.time(i64::try_from(ticks).unwrap_or(i64::MAX));
        let samples = |ticks: u64| u32::try_from(length(ticks).to_ticks(self.rate)).unwrap_or(0);
        Packet {
            track: 0,
            pts: self.at(packet.pts),
            dts: None,
            duration: length(packet.block_dur().get()),
            key: true,
            trim_start: samples(packet.trim_start.get()),
            trim_end: samples(packet.trim_end.get()),
            data: Bytes::from(packet.data),
        }
    }
}

/// What Symphonia says about a track of sound, in our words.
fn describe(track: &formats::Track) -> Option<Track> {
    let Some(CodecParameters::Audio(params)) = &track.codec_params else { return None };
    let codec = match params.codec {
        id::CODEC_ID_FLAC => Codec::Flac,
        id::CODEC_ID_VORBIS => Codec::Vorbis,
        id::CODEC_ID_OPUS => Codec::Opus,
        other => PcmLayout::by_id(other).map_or_else(|| Codec::Unknown(other.to_string()), Codec::Pcm),
    };
    let sample_rate = params.sample_rate.unwrap_or(0);
    let channels = params.channels.as_ref().map_or(0, |channels| channels.count());
    let frames = track.num_frames.and_then(|frames| i64::try_from(frames).ok()).filter(|frames| *frames > 0);
    Some(Track {
        kind: MediaKind::Audio,
        codec,
        duration: frames.filter(|_| sample_rate > 0).map(|frames| MediaTime::from_ticks(frames, sample_rate)),
        language: track.language.clone().filter(|language| language.len() == 3 && language != "und"),
        config: params.extra_data.as_deref().map_or_else(Bytes::new, Bytes::copy_from_slice),
        shape: Shape::Audio { sample_rate, channels: u16::try_from(channels).unwrap_or(u16::MAX) },
    })
}

/// Why a reader of Symphonia's has nothing.
enum Failed {
    Told(Error),
    Panicked,
}

/// Where a build checks its sums, damage makes Symphonia's readers panic.
fn guarded<T>(read: impl FnOnce() -> Result<T, Error>) -> Result<T, Failed> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(Failed::Told),
        Err(_told_by_the_panic_hook) => Err(Failed::Panicked),
    }
}

fn boxed<R: FormatReader + 'static>(reader: R) -> Box<dyn FormatReader> {
    Box::new(reader)
}

impl Failed {
    fn told(self, container: Container) -> DemuxError {
        match self {
            Self::Told(error) => failure(container, error),
            Self::Panicked => DemuxError::Damaged {
                format: container.name(),
                what: "its numbers go beyond what they can be".to_owned(),
            },
        }
    }
}

fn failure(container: Container, error: Error) -> DemuxError {
    let format = container.name();
    match error {
        Error::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            DemuxError::Truncated { format, what: "it ends in the middle of a packet".to_owned() }
        }
        Error::IoError(error) => DemuxError::Io(error),
        Error::Unsupported(what) => DemuxError::Unsupported {
            what: format!("this kind of {format} file ({what})"),
            advice: "convert it with ffmpeg",
        },
        Error::LimitError(what) => DemuxError::Limit { format, what: what.to_owned() },
        other => DemuxError::Damaged { format, what: other.to_string() },
    }
}

/// Our bytes as Symphonia wants them.
struct Adapter {
    source: Box<dyn MediaSource>,
    len: u64,
}

impl Read for Adapter {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.source.read(buf)
    }
}

impl Seek for Adapter {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.source.seek(to)
    }
}

impl symphonia::core::io::MediaSource for Adapter {
    fn is_seekable(&self) -> bool {
        self.len != u64::MAX
    }

    fn byte_len(&self) -> Option<u64> {
        (self.len != u64::MAX).then_some(self.len)
    }
}
