//! A name → an opened item: read by telecast itself, converted by FFmpeg, or made for a test.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use super::{Reader, ReaderOptions};
use crate::media::MediaError;
use crate::media::audio::Loudness;
use crate::media::card::Sketch;
use crate::media::demux::live::Live;
use crate::media::demux::{self, DemuxError, Demuxer, foreign, generated};
use crate::media::plan::{PlanOptions, Refusal, TrackPlan, VideoCodecs};
use crate::media::source::opening::{self, Opening};
use crate::media::source::{self, Liveness, SourceError, hls};

pub(super) fn open(path: &Path, options: &ReaderOptions) -> Result<Reader, MediaError> {
    let mut sketch = None;
    let known = known_loudness(path, options);
    let options = &ReaderOptions { known_loudness: known, ..options.clone() };
    let reader = find(path, options, &mut sketch)?;
    let sketch = sketch.or_else(|| Sketch::unread(&path.to_string_lossy(), options));
    let mut reader = reader.show(sketch)?;
    let (wanted, plan) = (&options.plan, &reader.plan);
    for (choice, found) in [(wanted.audio_track, &plan.audio), (wanted.video_track, &plan.video)] {
        if let (Some(_), TrackPlan::None { reason }) = (choice, found) {
            tracing::warn!(input = %path.display(), "{reason}");
        }
    }
    reader.measuring_for = options
        .cache
        .clone()
        .filter(|_| known.is_none() && options.plan.audio_track.is_none())
        .map(|cache| (cache, path.to_path_buf()));
    Ok(reader)
}

/// How loud the item is, where somebody has measured it. Another track may be louder.
fn known_loudness(path: &Path, options: &ReaderOptions) -> Option<Loudness> {
    let measured = || options.cache.as_ref()?.loudness(path);
    let is_usual = options.loudness_lufs.is_some() && options.plan.audio_track.is_none();
    options.known_loudness.or_else(|| if is_usual { measured() } else { None })
}

/// Opens what the name means, and sees on the way what could be shown of it.
fn find(path: &Path, options: &ReaderOptions, sketch: &mut Option<Sketch>) -> Result<Reader, MediaError> {
    if let Some(prepared) = prepared(path, options) {
        let plain = ReaderOptions { cache: None, ..options.clone() };
        match find(&prepared, &plain, &mut None) {
            Ok(reader) => {
                *sketch = look_at(path, options);
                return Ok(reader);
            }
            Err(error) => tracing::warn!(prepared = %prepared.display(), %error, "not usable"),
        }
    }
    let input = path.to_string_lossy();
    let mut as_it_is = options.clone();
    as_it_is.plan.pictures.codecs = VideoCodecs::ALL;
    if let Some(spec) = source::test(path)? {
        let demuxer = generated::open(&spec, options.plan.pictures.bitrate_bps)?;
        let mut reader = Reader::begin(demuxer, input, as_it_is)?;
        reader.plan.generate();
        return Ok(reader);
    }
    let live = Cell::new(source::live_by_scheme(path));
    let mut read = |options: &ReaderOptions| -> Result<Reader, MediaError> {
        source::open_with(path, &options.source)?.opened(|mut source| {
            live.set(source.live);
            *sketch = Sketch::read(&mut *source.bytes, &input, options).map_err(DemuxError::Io)?;
            let hints = demux::Hints { fps: options.plan.pictures.fps, is_live: source.live.is_some() };
            let demuxer = demux::open_with(source.bytes, hints).inspect_err(|error| {
                if error.is_playlist() {
                    live.set(hls::liveness(path, &options.source));
                }
            })?;
            Reader::begin(at_present(demuxer, live.get(), options)?, input.as_ref(), options.clone())
        })
    };
    if source::is_stdin(path) {
        return read(&as_it_is).map_err(|error| match error {
            MediaError::Demux(error) => error.of_stdin().into(),
            other => other,
        });
    }
    match read(options) {
        Err(error) if needs_ffmpeg(&error) => match convert(path, options, &error, live.get()) {
            // Who cannot see it can hear it, and others may see it.
            Err(cause) if is_not_taken(&error) => {
                tracing::warn!(%input, %error, %cause, "the picture stays as it is");
                read(&as_it_is)
            }
            // What it is matters more than what is missing; a refusal names the way out.
            Err(MediaError::Demux(DemuxError::NoFfmpeg { .. }))
                if matches!(error, MediaError::Refused { .. }) =>
            {
                Err(error)
            }
            Err(MediaError::Demux(cause)) => match error {
                MediaError::Demux(unknown) => Err(unknown.also_unread(cause).into()),
                _ => Err(cause.into()),
            },
            other => other,
        },
        other => other,
    }
}

/// What the original of a prepared file says about itself.
fn look_at(path: &Path, options: &ReaderOptions) -> Option<Sketch> {
    let mut source = source::open_with(path, &options.source).ok()?.bytes;
    Sketch::read(&mut *source, &path.to_string_lossy(), options).ok()?
}

/// Also opens what is a picture and nothing to play, through FFmpeg.
#[cfg(feature = "openh264")]
pub(super) fn open_picture(path: &Path, options: &ReaderOptions) -> Result<Reader, MediaError> {
    match open(path, options) {
        Err(error @ MediaError::Demux(DemuxError::UnknownFormat { .. })) => {
            convert(path, options, &error, None)
        }
        other => other,
    }
}

/// The file that is to be played instead of `path`.
fn prepared(path: &Path, options: &ReaderOptions) -> Option<PathBuf> {
    let (cache, plan) = (options.cache.as_ref()?, options.plan);
    let usual = PlanOptions { video: plan.video, audio: plan.audio, ..PlanOptions::default() };
    (plan == usual).then(|| cache.find(path)).flatten()
}

/// So many pieces of a live source may be missing before it is silent.
const PIECES: u32 = 3;

/// What is live does not wait until somebody reads it, and must not be late for that.
fn at_present(
    demuxer: Box<dyn Demuxer>,
    live: Option<Liveness>,
    options: &ReaderOptions,
) -> Result<Box<dyn Demuxer>, DemuxError> {
    let Some(liveness) = live else { return Ok(demuxer) };
    Ok(Box::new(Live::open(demuxer, options.source.latency, liveness)?))
}

/// Opens a source through FFmpeg, because of `why`.
fn convert(
    path: &Path,
    options: &ReaderOptions,
    why: &MediaError,
    live: Option<Liveness>,
) -> Result<Reader, MediaError> {
    tracing::debug!(input = %path.display(), %why, "ffmpeg converts it");
    // What is live says itself how long it may be silent.
    let opening = match why {
        _ if live.is_some() => None,
        MediaError::Demux(error) => foreign::opening(path, &options.source, error),
        _ => Opening::of(path, &options.source),
    };
    let wanted = foreign::Wanted {
        patience: live.map(|liveness| options.source.patience + liveness.piece * PIECES),
        opening: opening.clone(),
        ..foreign::Wanted::of(path, &options.source, &options.plan)
    };
    let chosen = ReaderOptions { plan: options.plan.converted(), ..options.clone() };
    let (mut reader, places) = opening::limited(opening.as_ref(), || {
        let wanted = wanted.numbered();
        let places = wanted.places();
        let demuxer = at_present(foreign::open(wanted)?, live, options)?;
        let reader = Reader::begin(demuxer, path.to_string_lossy(), chosen)?;
        Ok::<_, MediaError>((reader, places))
    })?;
    let words = match why {
        MediaError::Demux(error) => error.why_foreign(),
        other => other.to_string(),
    };
    reader.plan.convert(&words, places);
    Ok(reader)
}

/// The picture could be copied, and somebody would not see it.
const fn is_not_taken(error: &MediaError) -> bool {
    matches!(error, MediaError::Refused { refusal: Refusal::NotTaken { .. }, .. })
}

/// FFmpeg can do what telecast cannot.
fn needs_ffmpeg(error: &MediaError) -> bool {
    match error {
        MediaError::Demux(error) => error.may_be_foreign(),
        MediaError::Source(SourceError::Scheme { .. }) => true,
        MediaError::Refused { refusal: Refusal::Sound(sound), .. } => !sound.is_absurd(),
        MediaError::Refused { refusal, .. } => !matches!(refusal, Refusal::BFrames),
        _ => false,
    }
}
