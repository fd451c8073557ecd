//! A file → everything about it that matters in a call, in numbers and in words.
//!
//! Unlike the plan of a [`Reader`](super::Reader), which looks at the first packets only, a probe
//! reads the whole file: it finds the B-frame in the middle and the longest wait for a keyframe.

use std::path::Path;

use serde::Serialize;

use super::demux::{self, DemuxError, Demuxer, foreign, generated};
use super::plan::{self, Obstacle, Places, Plan, PlanOptions, Planner, Refusal, TrackPlan};
use super::source::opening::{self, Opening};
use super::source::{self, Source, SourceError, SourceOptions};
use super::{Codec, MediaError};
use crate::time::MediaTime;

use self::loudness::Meter;
use self::scan::Scan;
use self::viewer::Viewer;

mod loudness;
mod report;
mod scan;
mod viewer;

/// A wait for a picture that nobody minds; the command that repairs a file makes keyframes every two
/// seconds, and the picture behind that is up to 100 ms later.
const SHORT_WAIT: MediaTime = MediaTime::from_millis(2100);
/// What FFmpeg converts is looked at for so long, because the rest is converted the same way; so is
/// what comes live, because it has no end.
const ENOUGH: MediaTime = MediaTime::from_secs(10);
/// A generated source that never ends is looked at for so long.
const ENOUGH_OF_A_TEST: MediaTime = MediaTime::from_secs(5);
/// So many bytes of an address may take as long as its opening: sound that is worth hearing has more.
const PIECE: u64 = 128 << 10;
/// Kinds of damage that are told; the others are only counted.
const MAX_DAMAGE_TOLD: usize = 3;

/// What a file is and how it will play.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Probe {
    /// The path as it was given.
    pub file: String,
    /// Length in bytes; 0 where nobody knows, as of standard input.
    pub size_bytes: u64,
    /// The container: `mp4`, `matroska`, `ogg`, `mp3` …, `ffmpeg` for what only that reads, `test`.
    pub format: &'static str,
    /// From the first sound or picture to the last.
    pub duration_ms: i64,
    /// It plays as it is.
    pub playable: bool,
    /// How each track is played, and why.
    pub plan: PlanProbe,
    /// All tracks of the file.
    pub tracks: Vec<TrackProbe>,
    /// The pictures that are played or refused; `null` when they are not H.264,
    /// VP8 or VP9.
    pub pictures: Option<PictureProbe>,
    /// How loud the sound is that is played, by EBU R 128 in LUFS; `null` for none, and for silence.
    pub loudness_lufs: Option<f64>,
    /// What playing costs.
    pub cpu: CpuClass,
    /// What people in the call will notice, in sentences.
    pub viewer: Vec<String>,
    /// Places where the container is damaged.
    pub damaged_places: u64,
    /// What the damage is, as far as it was told apart.
    pub damage: Vec<String>,
    /// The command that writes a file which is copied and shows a picture quickly; `null` when
    /// this one does already.
    pub remedy: Option<String>,
}

/// The plan for both tracks.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PlanProbe {
    /// The sound.
    pub audio: TrackPlanProbe,
    /// The picture.
    pub video: TrackPlanProbe,
}

/// The plan for one track.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TrackPlanProbe {
    /// `copy`, `transcode: aac`, `none`, `refused: h264`.
    pub plan: String,
    /// Why, as a sentence.
    pub reason: String,
    /// Which of the file's tracks; `null` for `none`.
    pub track: Option<usize>,
}

/// One track of a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TrackProbe {
    /// `audio` or `video`.
    pub kind: &'static str,
    /// Its codec, named as FFmpeg does.
    pub codec: String,
    /// The profile of H.264.
    pub profile: Option<&'static str>,
    /// ISO 639-2.
    pub language: Option<String>,
    /// When it begins, on the clock of the file.
    pub start_ms: i64,
    /// From its first packet to the end of its last one.
    pub duration_ms: i64,
    /// Packets.
    pub n_packets: u64,
    /// Bits per second on average.
    pub bitrate_bps: u64,
    /// Bits per second in the busiest second.
    pub peak_bps: u64,
    /// Pixels.
    pub width: Option<u32>,
    /// Pixels.
    pub height: Option<u32>,
    /// Clockwise, in degrees.
    pub rotation: Option<u16>,
    /// Pictures per second on average; `null` of a codec that is not read here.
    pub fps: Option<f64>,
    /// Samples per second.
    pub sample_rate: Option<u32>,
    /// 1 is mono, 2 is stereo.
    pub channels: Option<u16>,
}

/// How the pictures hang together.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PictureProbe {
    /// Pictures.
    pub n_pictures: u64,
    /// Pictures where a viewer can start (IDR).
    pub n_keyframes: u64,
    /// The shortest time from a keyframe to the next one.
    pub gop_min_ms: i64,
    /// The usual time from a keyframe to the next one.
    pub gop_median_ms: i64,
    /// The longest time from a keyframe to the next one: what a viewer may have to wait.
    pub gop_max_ms: i64,
    /// How many groups of pictures are how long, from short to long; lengths that do not occur are
    /// left out.
    pub gop_histogram: Vec<GopCount>,
    /// Pictures are shown in another order than they are decoded in.
    pub b_frames: bool,
    /// Where that begins.
    pub first_b_frame_ms: Option<i64>,
}

/// Groups of pictures of about one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GopCount {
    /// So long at most, and longer than the entry before; `null` is any length.
    pub up_to_ms: Option<i64>,
    /// How many there are.
    pub n_gops: u64,
}

/// What playing costs, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CpuClass {
    /// Packets are passed on.
    Copy,
    /// Sound is encoded, which a small part of a core does.
    Sound,
    /// Pictures are decoded and encoded by telecast.
    Picture,
    /// `ffmpeg` decodes and encodes.
    Ffmpeg,
}

impl CpuClass {
    fn of(plan: &Plan) -> Self {
        let is_made_by_ffmpeg = |plan: &TrackPlan| matches!(plan, TrackPlan::Transcode { from: Codec::Unknown(maker), .. } if maker == "ffmpeg");
        match (&plan.video, &plan.audio) {
            (video, audio) if is_made_by_ffmpeg(video) || is_made_by_ffmpeg(audio) => Self::Ffmpeg,
            // What is refused here is converted there.
            (TrackPlan::Refused { refusal, .. }, _) | (_, TrackPlan::Refused { refusal, .. })
                if !matches!(refusal, Refusal::BFrames) =>
            {
                Self::Ffmpeg
            }
            (TrackPlan::Transcode { .. }, _) => Self::Picture,
            (_, TrackPlan::Transcode { .. }) => Self::Sound,
            _ => Self::Copy,
        }
    }

    /// For people.
    const fn words(self) -> &'static str {
        match self {
            Self::Copy => "least: packets are passed on as they are",
            Self::Sound => "little: only the sound is decoded and encoded",
            Self::Picture => "much: pictures are decoded and encoded while they play",
            Self::Ffmpeg => "most: ffmpeg decodes and encodes everything while it plays",
        }
    }
}

/// How much of a source is read.
#[derive(Clone, Copy, PartialEq)]
enum Part<'a> {
    Whole,
    /// The beginning: it has no end.
    Live,
    /// The beginning of what FFmpeg makes of it.
    Converted {
        /// Why it does.
        why: &'a str,
        /// Of which tracks.
        places: Places,
        /// What is wanted of the whole.
        wanted: PlanOptions,
    },
}

impl Probe {
    /// Reads a whole file.
    ///
    /// # Errors
    /// When it cannot be opened or is no media file. A track that cannot be played is no error
    /// here but a finding.
    pub fn of(path: impl AsRef<Path>) -> Result<Self, MediaError> {
        Self::with_progress(path, PlanOptions::default(), |_, _| {})
    }

    /// Reads a whole file as it would be played with these options, and reports bytes done and
    /// bytes in total on the way.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn with_progress(
        path: impl AsRef<Path>,
        options: PlanOptions,
        progress: impl FnMut(u64, u64),
    ) -> Result<Self, MediaError> {
        Self::with_source(path, &SourceOptions::default(), options, progress)
    }

    /// The same for a source that is opened with options of its own.
    ///
    /// # Errors
    /// As [`of`](Self::of), and when an address takes longer than
    /// [`opening`](SourceOptions::opening) to begin, or for any 128 KiB after that.
    pub fn with_source(
        path: impl AsRef<Path>,
        source: &SourceOptions,
        options: PlanOptions,
        progress: impl FnMut(u64, u64),
    ) -> Result<Self, MediaError> {
        let path = path.as_ref();
        let name = path.to_string_lossy().into_owned();
        if let Some(spec) = source::test(path)? {
            let spec = spec.ending_after(ENOUGH_OF_A_TEST);
            let demuxer = generated::open(&spec, options.pictures.bitrate_bps)?;
            return Self::scan(demuxer, name, 0, options, in_time(None, progress), Part::Whole);
        }
        let (mut progress, mut size_bytes) = (progress, 0);
        let opened = match source::open_with(path, source) {
            // Only FFmpeg knows how to get there.
            Err(error @ SourceError::Scheme { .. }) => {
                let (words, opening) = (error.to_string(), Opening::of(path, source));
                return Self::converted(path, source, options, 0, opening, &words, progress);
            }
            opened => opened?,
        };
        let read = opened.opened(|Source { mut bytes, live, opening }| {
            size_bytes = match bytes.seek(std::io::SeekFrom::End(0)) {
                Ok(size_bytes) => {
                    bytes.rewind().map_err(DemuxError::from)?;
                    size_bytes
                }
                // A pipe.
                Err(error) if error.kind() == std::io::ErrorKind::NotSeekable => 0,
                Err(error) => return Err(DemuxError::from(error).into()),
            };
            let hints = demux::Hints { fps: options.pictures.fps, is_live: live.is_some() };
            let demuxer = demux::open_with(bytes, hints)?;
            let part = if live.is_some() { Part::Live } else { Part::Whole };
            let progress = in_time(opening, &mut progress);
            Self::scan(demuxer, name.clone(), size_bytes, options, progress, part)
        });
        let why = match read {
            Err(MediaError::Demux(why)) if why.may_be_foreign() && !source::is_stdin(path) => why,
            Err(MediaError::Demux(error)) if source::is_stdin(path) => return Err(error.of_stdin().into()),
            other => return other,
        };
        let (words, opening) = (why.why_foreign(), foreign::opening(path, source, &why));
        let converted = Self::converted(path, source, options, size_bytes, opening, &words, progress);
        converted.map_err(|error| match error {
            MediaError::Demux(cause) => why.also_unread(cause).into(),
            other => other,
        })
    }

    /// The beginning of what FFmpeg makes of it, because of `why`.
    fn converted(
        path: &Path,
        source: &SourceOptions,
        options: PlanOptions,
        size_bytes: u64,
        opening: Option<Opening>,
        why: &str,
        progress: impl FnMut(u64, u64),
    ) -> Result<Self, MediaError> {
        opening::limited(opening.as_ref(), || {
            let wanted = foreign::Wanted::of(path, source, &options);
            let wanted = foreign::Wanted { opening: opening.clone(), ..wanted }.numbered();
            let places = wanted.places();
            let demuxer = foreign::open(wanted)?;
            let (progress, name) = (in_time(opening.clone(), progress), path.to_string_lossy().into_owned());
            let part = Part::Converted { why, places, wanted: options };
            Self::scan(demuxer, name, size_bytes, options.converted(), progress, part)
        })
    }

    fn scan(
        mut demuxer: Box<dyn Demuxer>,
        file: String,
        size_bytes: u64,
        options: PlanOptions,
        mut progress: impl FnMut(u64, u64),
        part: Part<'_>,
    ) -> Result<Self, MediaError> {
        let mut planner = Planner::new(demuxer.tracks(), options);
        let mut scans: Vec<Scan> = demuxer.tracks().iter().map(Scan::new).collect();
        let (mut done, mut damaged_places, mut damage) = (0, 0, Vec::new());
        let mut last_error = None;
        let mut meter =
            planner.selection().audio.and_then(|index| Some((index, Meter::new(&demuxer.tracks()[index])?)));
        loop {
            match demuxer.next_packet() {
                Ok(Some(packet)) if part != Part::Whole && packet.pts > ENOUGH => break,
                Ok(Some(packet)) => {
                    if let Some((_, meter)) = meter.as_mut().filter(|(index, _)| *index == packet.track) {
                        meter.add(&packet);
                    }
                    if !planner.is_sure() {
                        planner.look_at(&packet);
                    }
                    done += packet.data.len() as u64;
                    progress(done, size_bytes);
                    if let Some(scan) = scans.get_mut(packet.track) {
                        scan.add(&packet);
                    }
                }
                Ok(None) => {
                    if !planner.is_sure() {
                        planner.end();
                    }
                    break;
                }
                Err(error) => {
                    damaged_places += 1;
                    let text = error.to_string();
                    if damage.len() < MAX_DAMAGE_TOLD && !damage.contains(&text) {
                        damage.push(text);
                    }
                    last_error = Some(error);
                }
            }
        }
        if let (true, Some(error)) = (scans.iter().all(|scan| scan.n_packets == 0), last_error) {
            return Err(error.into());
        }
        progress(size_bytes, size_bytes);
        let mut plan = planner.decide();
        if demuxer.format() == generated::FORMAT {
            plan.generate();
        }
        let mut wanted = options;
        if let Part::Converted { why, places, wanted: before } = part {
            plan.convert(why, places);
            wanted = before;
        }
        let codec = |index: usize| &demuxer.tracks()[index].codec;
        let known = |index: &usize| matches!(codec(*index), Codec::H264 | Codec::Vp8 | Codec::Vp9);
        let pictures = planner.selection().video.filter(known);
        let pictures = pictures.map(|index| (index, scans[index].pictures()));
        if let Some((track, pictures)) = &pictures
            && plan.video.is_copy()
            && *codec(*track) == Codec::H264
        {
            let peak_bps = scans[*track].peak_bytes * 8;
            let found = if pictures.b_frames {
                Some(Obstacle::BFrames)
            } else {
                (peak_bps > options.pictures.copy_bps).then_some(Obstacle::Peak { bps: peak_bps })
            };
            match found {
                Some(found) if plan::can_transcode() => plan.video = found.plan(*track),
                Some(Obstacle::BFrames) => {
                    let (track, codec) = (*track, Codec::H264);
                    plan.video = TrackPlan::Refused { track, codec, refusal: Refusal::BFrames };
                }
                _ => {}
            }
        }
        let pictures = pictures.map(|(_, pictures)| pictures);
        let tracks: Vec<TrackProbe> =
            demuxer.tracks().iter().zip(&scans).map(|(track, scan)| scan.track(track)).collect();
        let viewer =
            Viewer { plan: &plan, tracks: &tracks, pictures: pictures.as_ref(), scans: &scans }.sentences();
        Ok(Self {
            playable: is_playable(&plan),
            // Of what was only begun, the tracks know the length.
            duration_ms: (part != Part::Whole)
                .then(|| demuxer.tracks().iter().filter_map(|track| track.duration).max())
                .flatten()
                .unwrap_or_else(|| duration(&scans))
                .as_millis(),
            loudness_lufs: meter.and_then(|(_, meter)| meter.loudness()),
            cpu: CpuClass::of(&plan),
            format: demuxer.format(),
            remedy: remedy(&file, &plan, (&tracks, pictures.as_ref()), wanted)
                .filter(|_| demuxer.format() != generated::FORMAT),
            plan: PlanProbe {
                audio: TrackPlanProbe::of(&plan.audio),
                video: TrackPlanProbe::of(&plan.video),
            },
            file,
            size_bytes,
            tracks,
            pictures,
            viewer,
            damaged_places,
            damage,
        })
    }
}

impl TrackPlanProbe {
    fn of(plan: &TrackPlan) -> Self {
        let track = match plan {
            TrackPlan::Refused { track, .. } => Some(*track),
            other => other.played_track(),
        };
        Self { plan: plan.to_string(), reason: plan.reason(), track }
    }
}

/// Tells the progress, and goes on waiting for a source from which enough comes.
fn in_time(opening: Option<Opening>, mut progress: impl FnMut(u64, u64)) -> impl FnMut(u64, u64) {
    let mut n_pieces = 0;
    move |done, total| {
        if let Some(opening) = &opening
            && done / PIECE > n_pieces
        {
            n_pieces = done / PIECE;
            opening.extend();
        }
        progress(done.min(total), total);
    }
}

/// From the earliest start to the latest end.
fn duration(scans: &[Scan]) -> MediaTime {
    let start = scans.iter().filter_map(|scan| scan.start).min().unwrap_or_default();
    let end = scans.iter().map(|scan| scan.end).max().unwrap_or_default();
    (end - start).max(MediaTime::ZERO)
}

fn is_playable(plan: &Plan) -> bool {
    let refused = |track: &TrackPlan| matches!(track, TrackPlan::Refused { .. });
    let played = |track: &TrackPlan| track.played_track().is_some();
    !refused(&plan.audio) && !refused(&plan.video) && (played(&plan.audio) || played(&plan.video))
}

/// A command, unless everything is copied and nobody waits long for a picture.
fn remedy(
    file: &str,
    plan: &Plan,
    (tracks, pictures): (&[TrackProbe], Option<&PictureProbe>),
    mut options: PlanOptions,
) -> Option<String> {
    let mut plan = plan.clone();
    // What is copied as large as it is does not have to become smaller.
    if let (TrackPlan::Copy { track, .. }, None) = (&plan.video, options.pictures.height) {
        let shorter = tracks[*track].height.min(tracks[*track].width);
        options.pictures.height = shorter.filter(|height| *height > plan::ENCODED_HEIGHT);
    }
    let long_wait = pictures.is_some_and(|pictures| pictures.gop_max_ms > SHORT_WAIT.as_millis());
    if let (true, TrackPlan::Copy { track, .. }) = (long_wait, &plan.video) {
        let (track, from, to, reason) = (*track, Codec::H264, Codec::H264, String::new());
        plan.video = TrackPlan::Transcode { track, from, to, reason };
    }
    let right = |track: &TrackPlan| matches!(track, TrackPlan::Copy { .. } | TrackPlan::None { .. });
    if right(&plan.audio) && right(&plan.video) { None } else { plan::command(file, &plan, &options) }
}

/// For people.
fn seconds(time: MediaTime) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests;
