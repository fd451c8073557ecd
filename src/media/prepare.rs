//! A source → a file that is copied into calls for ever after.
//!
//! H.264 constrained baseline without B-frames, a keyframe every two seconds, encoded at 720p at
//! most unless something else is asked for; Opus in packets of 20 ms, stereo, at −16 LUFS; the
//! index in front. What is right already is copied.
//! FFmpeg encodes the pictures and writes the file.

use std::io::{self, BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ebur128::{EbuR128, Mode};
use serde::Serialize;

use self::partial::Partial;
use super::audio::Downmix;
use super::child::Child;
use super::codec::audio::downmix;
use super::codec::opus::{CHANNELS, Decoder, EncoderOptions, SAMPLE_RATE};
use super::demux::foreign;
use super::probe::Probe;
use super::{Codec, MediaError, Reader, ReaderOptions};
use crate::media::plan::{PictureOptions, Places, PlanOptions, TrackChoice, TrackPlan};
use crate::media::source::{SourceOptions, is_stdin};
use crate::time::MediaTime;

pub(in crate::media) mod partial;

/// How loud the result is (EBU R 128, in LUFS), and how loud its loudest peak may be (in dBTP).
const TARGET_LUFS: f64 = -16.0;
const HIGHEST_PEAK_DB: f64 = -1.0;
/// A correction that nobody hears is not worth a second encoding.
const INAUDIBLE_DB: f64 = 0.5;
/// What is taken for silence, which has no loudness.
const SILENCE_LUFS: f64 = -60.0;
/// So much more than asked for may pass between two keyframes of a picture that is copied.
const LATE_KEY: Duration = Duration::from_millis(100);

/// What became of a source.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Prepared {
    /// The file that was written.
    pub output: PathBuf,
    /// `copy`, `encode` or `none`.
    pub video: &'static str,
    /// `copy`, `encode` or `none`.
    pub audio: &'static str,
    /// How loud the source is; `null` for silence and for sources without sound.
    pub loudness_lufs: Option<f64>,
    /// By how much its sound was changed.
    pub gain_db: f64,
    /// What of the source is damaged or missing, where that was seen; the rest was written.
    pub damage: Option<String>,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The source cannot be played.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The name of the output does not say what it is to be.
    #[error("{} is neither .mp4 nor .mkv; the name says which of them is written", path.display())]
    Container {
        /// As given.
        path: PathBuf,
    },
    /// Standard input can be read once only.
    #[error(
        "prepare reads its source more than once, and standard input can be read only once; write it into a file first: `cat > source.mkv`, `telecast prepare source.mkv {}`",
        output.display()
    )]
    Stdin {
        /// What was to be written.
        output: PathBuf,
    },
    /// The source would be replaced.
    #[error("{} is the source itself, which would be lost; give the output another name", output.display())]
    Same {
        /// As given.
        output: PathBuf,
    },
    /// There is nowhere to write to.
    #[error("the folder {0} does not exist; make it first: `mkdir -p {0}`", folder.display())]
    NoFolder {
        /// What is missing.
        folder: PathBuf,
    },
    /// A track was chosen that is not there.
    #[error("{}: {reason}", input.display())]
    NoTrack {
        /// As given.
        input: PathBuf,
        /// Which there are, as a sentence.
        reason: String,
    },
    /// FFmpeg is not there.
    #[error(
        "prepare needs ffmpeg, which is not installed; install the package `ffmpeg` (`apt-get install ffmpeg`)"
    )]
    NoFfmpeg,
    /// FFmpeg failed.
    #[error("ffmpeg cannot write {}{what}", output.display())]
    Ffmpeg {
        /// What was to be written.
        output: PathBuf,
        /// Its last words.
        what: String,
    },
    /// The file system says no.
    #[error("cannot write {}", output.display())]
    Io {
        /// What was to be written.
        output: PathBuf,
        /// The operating system's word.
        #[source]
        cause: io::Error,
    },
    /// Two at once would spoil it.
    #[error(
        "{} is being written by somebody else; wait until it is there, or give another name",
        output.display()
    )]
    Busy {
        /// What was to be written.
        output: PathBuf,
    },
    /// Whoever is told the progress wanted no more of it.
    #[error("stopped before {} was finished", output.display())]
    Stopped {
        /// What was to be written.
        output: PathBuf,
    },
    /// The loudness cannot be measured.
    #[error("cannot measure the loudness")]
    Loudness(#[from] ebur128::Error),
}

/// How a file is prepared.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the source is opened.
    pub source: SourceOptions,
    /// Which sound; the first that can be played otherwise.
    pub audio_track: Option<TrackChoice>,
    /// Which picture; the first that can be played otherwise.
    pub video_track: Option<TrackChoice>,
    /// The shorter edge of pictures at most; none becomes larger. `None` copies what a call would
    /// copy, and encodes at [`ENCODED_HEIGHT`](crate::media::plan::ENCODED_HEIGHT).
    pub height: Option<u32>,
    /// How long somebody who joins waits for a picture at most.
    pub key_every: Duration,
    /// It takes one core only, because something plays meanwhile.
    pub beside: bool,
    /// The sound stays as loud as it is.
    pub as_loud: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            source: SourceOptions::default(),
            audio_track: None,
            video_track: None,
            height: None,
            key_every: foreign::KEY_EVERY,
            beside: false,
            as_loud: false,
        }
    }
}

impl Options {
    fn plan(&self) -> PlanOptions {
        let pictures = PictureOptions { height: self.height, ..PictureOptions::USUAL };
        let (audio_track, video_track) = (self.audio_track, self.video_track);
        PlanOptions { pictures, audio_track, video_track, ..PlanOptions::default() }
    }

    fn open(&self, input: &Path, plan: PlanOptions) -> Result<Reader, MediaError> {
        Reader::open(input, ReaderOptions { plan, source: self.source.clone(), ..ReaderOptions::default() })
    }

    /// Whether all of the picture is copied into a call, as the whole file tells and not its
    /// beginning, and nobody waits long for it.
    fn is_right(&self, probe: &Probe) -> bool {
        let longest_ms = MediaTime::from_duration(self.key_every + LATE_KEY).as_millis();
        let has_short_waits = probe.pictures.as_ref().is_some_and(|it| it.gop_max_ms <= longest_ms);
        probe.plan.video.plan == "copy" && has_short_waits
    }
}

/// Writes `output` from `input`. It appears whole or not at all. `progress` is told how far the
/// work has come, of how much where that is known, both as time of the result: the first half is
/// measuring where loudness is measured. It may end the work.
///
/// # Errors
/// When the source cannot be played, FFmpeg is missing or fails, or `progress` ends it.
pub fn prepare(
    input: &Path,
    output: &Path,
    options: &Options,
    mut progress: impl FnMut(MediaTime, Option<MediaTime>) -> ControlFlow<()>,
) -> Result<Prepared, PrepareError> {
    let stopped = || PrepareError::Stopped { output: output.to_path_buf() };
    let format = match output.extension().and_then(|extension| extension.to_str()) {
        Some(name) if name.eq_ignore_ascii_case("mp4") => "mp4",
        Some(name) if name.eq_ignore_ascii_case("mkv") => "matroska",
        _ => return Err(PrepareError::Container { path: output.to_path_buf() }),
    };
    check_names(input, output)?;
    let wanted = options.plan();
    let reader = options.open(input, wanted)?;
    let (plan, duration) = (reader.plan().clone(), reader.duration());
    let downmix = plan.audio.played_track().and_then(|index| downmix(&reader.tracks()[index]));
    drop(reader);
    for (choice, plan) in [(options.audio_track, &plan.audio), (options.video_track, &plan.video)] {
        if let (Some(_), TrackPlan::None { reason }) = (choice, plan) {
            return Err(PrepareError::NoTrack { input: input.to_path_buf(), reason: reason.clone() });
        }
    }
    let failed = |cause| PrepareError::Io { output: output.to_path_buf(), cause };
    let busy = || PrepareError::Busy { output: output.to_path_buf() };
    let partial = Partial::claim(output).map_err(failed)?.ok_or_else(busy)?;
    let (has_video, has_audio) = (plan.video.played_track().is_some(), plan.audio.played_track().is_some());
    let is_measured = has_audio && !options.as_loud;
    let sound = if is_measured {
        measure(input, options, |at| progress(half(at), duration))?.ok_or_else(stopped)?
    } else {
        Measured::default()
    };
    let before = duration.filter(|_| is_measured).unwrap_or_default();
    // VP8 and VP9 are copied into some calls only, H.264 into all.
    let is_h264 = matches!(&plan.video, TrackPlan::Copy { codec: Codec::H264, .. });
    let is_read_here = is_h264
        || matches!(&plan.video, TrackPlan::Copy { .. } | TrackPlan::Transcode { from: Codec::H264, .. });
    let pictures = if is_read_here {
        let mut is_wanted = true;
        let go_on = |_, _| is_wanted &= progress(half(before), duration).is_continue();
        let probe = Probe::with_source(input, &options.source, wanted, go_on).ok();
        if !is_wanted {
            return Err(stopped());
        }
        probe
    } else {
        None
    };
    let copy_video = is_h264 && pictures.as_ref().is_some_and(|probe| options.is_right(probe));
    let copy_audio = plan.audio.is_copy() && sound.gain_db == 0.0;
    let damage = sound.damage.or_else(|| pictures?.damage.into_iter().next());
    let words = |there: bool, copied: bool| match (there, copied) {
        (false, _) => "none",
        (true, true) => "copy",
        (true, false) => "encode",
    };
    let mut command = Command::new(foreign::PROGRAM);
    command.args(["-v", "error", "-nostdin", "-y", "-progress", "pipe:1"]);
    let mut place = foreign::source_arguments(input, &options.source);
    place.insert(place.len() - 1, "-i".into());
    command.args(place);
    if options.beside {
        command.args(["-threads", "1"]);
    }
    if has_video {
        command.args(["-map", &Places::ffmpeg('V', plan.places.video)]);
        if copy_video {
            command.args(["-c:v", "copy"]);
        } else {
            command.args(foreign::pictures(&wanted.pictures, options.key_every));
        }
    }
    if has_audio {
        command.args(["-map", &Places::ffmpeg('a', plan.places.audio)]);
        if copy_audio {
            command.args(["-c:a", "copy"]);
        } else {
            command
                .arg("-af")
                .arg(filter(downmix.as_ref(), sound.gain_db))
                .args(foreign::sound(&EncoderOptions::default()));
        }
    }
    command.args(["-sn", "-dn", "-movflags", "+faststart", "-f", format]).arg(foreign::named(partial.path()));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    run(command, output, |at| progress(if is_measured { half(before + at) } else { at }, duration))?;
    partial.finish(output).map_err(failed)?;
    Ok(Prepared {
        output: output.to_path_buf(),
        video: words(has_video, copy_video),
        audio: words(has_audio, copy_audio),
        loudness_lufs: sound.loudness_lufs,
        gain_db: sound.gain_db,
        damage,
    })
}

fn half(time: MediaTime) -> MediaTime {
    MediaTime::from_nanos(time.to_ticks(1_000_000_000) / 2)
}

fn check_names(input: &Path, output: &Path) -> Result<(), PrepareError> {
    if is_stdin(input) {
        return Err(PrepareError::Stdin { output: output.to_path_buf() });
    }
    // However they are spelled.
    let (source, there) = (input.canonicalize(), output.canonicalize());
    if source.is_ok_and(|source| there.is_ok_and(|there| source == there)) {
        return Err(PrepareError::Same { output: output.to_path_buf() });
    }
    match output.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) if !folder.is_dir() => Err(PrepareError::NoFolder { folder: folder.to_path_buf() }),
        _ => Ok(()),
    }
}

/// FFmpeg's filter for sound. Its own way from mono or surround to stereo has other levels than
/// ours, by which the loudness is measured.
fn filter(downmix: Option<&Downmix>, gain_db: f64) -> String {
    let volume = format!("volume={gain_db:.2}dB");
    let Some(downmix) = downmix else { return volume };
    let ear = |ear: usize| {
        let parts = downmix.matrix().iter().enumerate().map(|(n, row)| format!("{:.6}*c{n}", row[ear]));
        parts.collect::<Vec<_>>().join("+")
    };
    format!("pan=stereo|c0={}|c1={},{volume}", ear(0), ear(1))
}

fn run(
    command: Command,
    output: &Path,
    mut progress: impl FnMut(MediaTime) -> ControlFlow<()>,
) -> Result<(), PrepareError> {
    let mut child = Child::spawn(command).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => PrepareError::NoFfmpeg,
        _ => PrepareError::Io { output: output.to_path_buf(), cause },
    })?;
    let stdout = child.take_stdout().expect("it was asked for");
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let micros = line.strip_prefix("out_time_us=").and_then(|micros| micros.parse::<i64>().ok());
        if micros
            .is_some_and(|micros| progress(MediaTime::from_nanos(micros.saturating_mul(1000))).is_break())
        {
            // The child ends as it is dropped.
            return Err(PrepareError::Stopped { output: output.to_path_buf() });
        }
    }
    let end = child.wait();
    if end.success() {
        return Ok(());
    }
    Err(PrepareError::Ffmpeg { output: output.to_path_buf(), what: end.last_words() })
}

/// How loud a source is.
#[derive(Debug, Default)]
struct Measured {
    loudness_lufs: Option<f64>,
    /// The correction that it needs.
    gain_db: f64,
    /// Where it could not be read any further.
    damage: Option<String>,
}

/// The loudness of a source; nothing when it was stopped. `go_on` is told how far it has come.
fn measure(
    input: &Path,
    options: &Options,
    mut go_on: impl FnMut(MediaTime) -> ControlFlow<()>,
) -> Result<Option<Measured>, PrepareError> {
    let mut reader = options.open(input, PlanOptions { video: false, ..options.plan() })?;
    let mut meter = EbuR128::new(CHANNELS as u32, SAMPLE_RATE, Mode::I | Mode::TRUE_PEAK)?;
    let mut decoder = Decoder::new(0).map_err(MediaError::from)?;
    let (mut n_frames, mut damage) = (0_u64, None);
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => {
                if go_on(frame.pts).is_break() {
                    return Ok(None);
                }
                n_frames += 1;
                meter.add_frames_f32(decoder.decode(&frame.data).map_err(MediaError::from)?)?;
            }
            Ok(None) => break,
            // What plays up to there is written up to there.
            Err(error) if n_frames > 0 => {
                damage = Some(error.to_string());
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let loudness = meter.loudness_global()?;
    if !loudness.is_finite() || loudness < SILENCE_LUFS {
        return Ok(Some(Measured { damage, ..Measured::default() }));
    }
    let peak = meter.true_peak(0)?.max(meter.true_peak(1)?);
    let room = HIGHEST_PEAK_DB - 20.0 * peak.max(1e-6).log10();
    let wanted = (TARGET_LUFS - loudness).min(room.max(0.0));
    let gain_db = if wanted.abs() < INAUDIBLE_DB { 0.0 } else { wanted };
    Ok(Some(Measured { loudness_lufs: Some(loudness), gain_db, damage }))
}

/// Is anything of it transcoded, in the whole of it, or waited for?
///
/// # Errors
/// When it cannot be played at all.
pub(super) fn needs_it(input: &Path) -> Result<bool, PrepareError> {
    let options = Options::default();
    let reader = options.open(input, options.plan())?;
    let plan = reader.plan();
    let is_right = |plan: &TrackPlan| plan.is_copy() || plan.played_track().is_none();
    if !is_right(&plan.audio) || !is_right(&plan.video) {
        return Ok(true);
    }
    if plan.video.played_track().is_none() {
        return Ok(false);
    }
    let probe = Probe::with_source(input, &options.source, options.plan(), |_, _| {});
    Ok(!probe.is_ok_and(|probe| options.is_right(&probe)))
}

#[cfg(test)]
mod tests;
