//! A file → everything about it that matters in a call, in numbers and in words.
//!
//! Unlike the plan of a [`Reader`](super::Reader), which looks at the first packets only, a probe
//! reads the whole file: it finds the B-frame in the middle and the longest wait for a keyframe.

use std::collections::VecDeque;
use std::path::Path;

use serde::Serialize;

use super::codec::h264::{ReorderWatch, Sps, nal_type, nal_units};
use super::demux::{self, DemuxError, Demuxer, Packet, Shape, Track, generated};
use super::plan::{self, Obstacle, Plan, PlanOptions, Planner, Refusal, TrackPlan};
use super::{Codec, MediaError, MediaKind, source};
use crate::time::MediaTime;

mod report;

/// The window in which the peak of a bitrate is measured.
const PEAK_WINDOW: MediaTime = MediaTime::from_secs(1);
/// A wait for a picture that nobody minds; the command that repairs a file makes keyframes this often.
const SHORT_WAIT: MediaTime = MediaTime::from_secs(2);
/// Bits per second over one second that a viewer's connection may not carry.
const HIGH_PEAK_BPS: u64 = 4_000_000;
/// Pixels that receivers in a call decode everywhere: 1920 × 1088.
const MANY_PIXELS: u64 = 1920 * 1088;
/// How far the ends of sound and picture may be apart before it is worth a word.
const APART: MediaTime = MediaTime::from_secs(1);
/// A generated source that never ends is looked at for so long.
const ENOUGH_OF_A_TEST: MediaTime = MediaTime::from_secs(5);
/// Kinds of damage that are told; the others are only counted.
const MAX_DAMAGE_TOLD: usize = 3;

/// What a file is and how it will play.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Probe {
    /// The path as it was given.
    pub file: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// The container: `mp4`, `matroska`, `ogg`, `mp3`.
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
    /// Pictures per second on average.
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
    /// Pictures are shown in another order than they are decoded in.
    pub b_frames: bool,
    /// Where that begins.
    pub first_b_frame_ms: Option<i64>,
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
        let path = path.as_ref();
        let name = path.to_string_lossy().into_owned();
        if let Some(spec) = source::test(path)? {
            let spec = spec.ending_after(ENOUGH_OF_A_TEST);
            let demuxer = generated::open(&spec, options.pictures.bitrate_bps)?;
            return Self::scan(demuxer, name, 0, options, progress);
        }
        let mut bytes = source::open(path)?;
        let size_bytes = bytes.seek(std::io::SeekFrom::End(0)).map_err(DemuxError::from)?;
        bytes.rewind().map_err(DemuxError::from)?;
        Self::scan(demux::open_with(bytes, options.pictures.fps)?, name, size_bytes, options, progress)
    }

    fn scan(
        mut demuxer: Box<dyn Demuxer>,
        file: String,
        size_bytes: u64,
        options: PlanOptions,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Self, MediaError> {
        let mut planner = Planner::new(demuxer.tracks(), options);
        let mut scans: Vec<Scan> = demuxer.tracks().iter().map(Scan::new).collect();
        let (mut done, mut damaged_places, mut damage) = (0, 0, Vec::new());
        let mut last_error = None;
        loop {
            match demuxer.next_packet() {
                Ok(Some(packet)) => {
                    if !planner.is_sure() {
                        planner.look_at(&packet);
                    }
                    done += packet.data.len() as u64;
                    progress(done.min(size_bytes), size_bytes);
                    if let Some(scan) = scans.get_mut(packet.track) {
                        scan.add(&packet);
                    }
                }
                Ok(None) => break,
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
        let codec = |index: usize| &demuxer.tracks()[index].codec;
        let known = |index: &usize| matches!(codec(*index), Codec::H264 | Codec::Vp8 | Codec::Vp9);
        let pictures = planner.selection().video.filter(known);
        // VP8 and VP9 have no other order than that of their packets.
        let promised = |index| *codec(index) != Codec::H264 || planner.order_is_promised();
        let pictures = pictures.map(|index| (index, promised(index)));
        let pictures = pictures.map(|(index, promised)| (index, scans[index].pictures(promised)));
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
            duration_ms: duration(&scans).as_millis(),
            format: demuxer.format(),
            remedy: remedy(&file, &plan, pictures.as_ref()).filter(|_| demuxer.format() != generated::FORMAT),
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

/// What the packets of one track tell.
#[derive(Debug)]
struct Scan {
    kind: MediaKind,
    /// Of sound; what is trimmed is counted in it.
    sample_rate: u32,
    n_packets: u64,
    n_bytes: u64,
    /// The first instant that is heard or seen.
    start: Option<MediaTime>,
    end: MediaTime,
    /// Packets of the last second and their bytes.
    window: VecDeque<(MediaTime, u64)>,
    window_bytes: u64,
    peak_bytes: u64,
    keys: Vec<MediaTime>,
    watch: ReorderWatch,
    first_reordered: Option<MediaTime>,
    /// How long the pictures before zero are, which are decoded but not shown.
    hidden: MediaTime,
}

impl Scan {
    fn new(track: &Track) -> Self {
        let sample_rate = match track.shape {
            Shape::Audio { sample_rate, .. } => sample_rate,
            Shape::Video { .. } => 0,
        };
        Self {
            kind: track.kind,
            sample_rate,
            n_packets: 0,
            n_bytes: 0,
            start: None,
            end: MediaTime::ZERO,
            window: VecDeque::new(),
            window_bytes: 0,
            peak_bytes: 0,
            keys: Vec::new(),
            watch: ReorderWatch::new(),
            first_reordered: None,
            hidden: MediaTime::ZERO,
        }
    }

    fn add(&mut self, packet: &Packet) {
        let n_bytes = packet.data.len() as u64;
        self.n_packets += 1;
        self.n_bytes += n_bytes;
        let begin = packet.pts.max(MediaTime::ZERO);
        self.start = Some(self.start.map_or(begin, |start| start.min(begin)));
        let padding = MediaTime::from_ticks(i64::from(packet.trim_end), self.sample_rate);
        self.end = self.end.max(packet.pts + packet.duration - padding);
        let at = packet.dts.unwrap_or(packet.pts);
        self.window.push_back((at, n_bytes));
        self.window_bytes += n_bytes;
        while let Some((first, n_bytes)) = self.window.front().copied()
            && at - first >= PEAK_WINDOW
        {
            self.window_bytes -= n_bytes;
            self.window.pop_front();
        }
        self.peak_bytes = self.peak_bytes.max(self.window_bytes);
        if self.kind == MediaKind::Video {
            self.hidden = self.hidden.max(-packet.pts);
            if packet.key {
                self.keys.push(packet.pts);
            }
            let known = self.watch.found().is_some();
            if !known && self.watch.push(packet.pts, &packet.data).is_some() {
                self.first_reordered = Some(packet.pts);
            }
        }
    }

    fn length(&self) -> MediaTime {
        self.start.map_or(MediaTime::ZERO, |start| (self.end - start).max(MediaTime::ZERO))
    }

    fn pictures(&self, order_is_promised: bool) -> PictureProbe {
        let ends = self.keys.iter().skip(1).copied().chain([self.end]);
        let mut gops: Vec<MediaTime> = self.keys.iter().zip(ends).map(|(from, to)| to - *from).collect();
        gops.sort_unstable();
        let ms = |gop: Option<&MediaTime>| gop.map_or(0, |gop| gop.as_millis());
        let first_reordered = self.first_reordered.filter(|_| !order_is_promised);
        PictureProbe {
            n_pictures: self.n_packets,
            n_keyframes: self.keys.len() as u64,
            gop_min_ms: ms(gops.first()),
            gop_median_ms: ms(gops.get(gops.len() / 2)),
            gop_max_ms: ms(gops.last()),
            b_frames: first_reordered.is_some(),
            first_b_frame_ms: first_reordered.map(MediaTime::as_millis),
        }
    }

    fn track(&self, track: &Track) -> TrackProbe {
        let seconds = self.length().as_secs_f64();
        let (width, height, rotation, sample_rate, channels) = match track.shape {
            Shape::Video { width, height, rotation } => {
                (Some(width), Some(height), Some(rotation), None, None)
            }
            Shape::Audio { sample_rate, channels } => (None, None, None, Some(sample_rate), Some(channels)),
        };
        let is_video = track.kind == MediaKind::Video;
        let bitrate_bps = per_second(self.n_bytes as f64 * 8.0, seconds) as u64;
        TrackProbe {
            kind: if is_video { "video" } else { "audio" },
            codec: track.codec.name().to_owned(),
            profile: (track.codec == Codec::H264).then(|| profile_of(&track.config)).flatten(),
            language: track.language.clone(),
            start_ms: self.start.unwrap_or_default().as_millis(),
            duration_ms: self.length().as_millis(),
            n_packets: self.n_packets,
            bitrate_bps,
            // The average is over what is heard, which is less than what is sent where sound is
            // trimmed; a track shorter than a second has all of it in one.
            peak_bps: (self.peak_bytes * 8).max(bitrate_bps),
            width,
            height,
            rotation,
            fps: is_video.then(|| (per_second(self.n_packets as f64, seconds) * 1000.0).round() / 1000.0),
            sample_rate,
            channels,
        }
    }
}

fn per_second(amount: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { amount / seconds } else { 0.0 }
}

fn profile_of(annex_b: &[u8]) -> Option<&'static str> {
    let mut sets = nal_units(annex_b).filter(|nal| nal_type(nal) == super::codec::h264::NAL_SPS);
    sets.find_map(Sps::parse).map(|sps| sps.profile_name())
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
fn remedy(file: &str, plan: &Plan, pictures: Option<&PictureProbe>) -> Option<String> {
    let mut plan = plan.clone();
    let long_wait = pictures.is_some_and(|pictures| pictures.gop_max_ms > SHORT_WAIT.as_millis());
    if let (true, TrackPlan::Copy { track, .. }) = (long_wait, &plan.video) {
        let (track, from, to, reason) = (*track, Codec::H264, Codec::H264, String::new());
        plan.video = TrackPlan::Transcode { track, from, to, reason };
    }
    let right = |track: &TrackPlan| matches!(track, TrackPlan::Copy { .. } | TrackPlan::None { .. });
    if right(&plan.audio) && right(&plan.video) { None } else { plan::remedy(file, &plan) }
}

/// What the people in the call see and hear of it.
struct Viewer<'a> {
    plan: &'a Plan,
    tracks: &'a [TrackProbe],
    pictures: Option<&'a PictureProbe>,
    scans: &'a [Scan],
}

impl Viewer<'_> {
    fn sentences(&self) -> Vec<String> {
        if !is_playable(self.plan) {
            let refused = [&self.plan.video, &self.plan.audio];
            let refused = refused.into_iter().filter(|track| matches!(track, TrackPlan::Refused { .. }));
            let reasons = refused.map(TrackPlan::reason);
            return ["It does not play as it is.".to_owned()].into_iter().chain(reasons).collect();
        }
        let mut all = Vec::new();
        let sound = self.plan.audio.played_track();
        let picture = self.plan.video.played_track();
        match (picture, self.pictures) {
            (Some(index), Some(pictures)) => self.about_pictures(&self.tracks[index], pictures, &mut all),
            (Some(_), None) => {}
            (None, _) => all.push("There is no picture, only sound.".to_owned()),
        }
        match (sound, picture) {
            (Some(sound), Some(picture)) => self.about_both(sound, picture, &mut all),
            (None, _) => all.push("There is no sound, only a picture.".to_owned()),
            _ => {}
        }
        all
    }

    fn about_pictures(&self, track: &TrackProbe, pictures: &PictureProbe, all: &mut Vec<String>) {
        if let Some(degrees @ 1..) = track.rotation {
            all.push(format!("The picture is to be turned by {degrees}°; viewers' programs do that."));
        }
        if matches!(self.plan.video, TrackPlan::Transcode { from: Codec::H264, .. }) {
            all.push(
                "The picture is encoded while it plays, with a keyframe for every viewer who joins."
                    .to_owned(),
            );
            return;
        }
        let seconds = |ms: i64| seconds(MediaTime::from_millis(ms));
        let wait = seconds(pictures.gop_max_ms);
        if pictures.gop_max_ms > SHORT_WAIT.as_millis()
            && plan::can_transcode()
            && track.codec == Codec::H264.name()
        {
            all.push(format!(
                "The file has a keyframe only every {}: for a viewer who joins between two, pictures are encoded up to the next one, so the wait is about half a second.",
                seconds(pictures.gop_median_ms)
            ));
        } else if pictures.gop_max_ms > SHORT_WAIT.as_millis() {
            all.push(format!(
                "A viewer who joins waits up to {wait} for a picture, because the file has a keyframe only every {}.",
                seconds(pictures.gop_median_ms)
            ));
        } else {
            all.push(format!("A viewer who joins sees a picture within {wait}."));
        }
        if track.peak_bps > HIGH_PEAK_BPS {
            all.push(format!(
                "The picture takes up to {:.1} Mbit/s; it freezes for a viewer whose connection carries less.",
                track.peak_bps as f64 / 1e6
            ));
        }
        let (width, height) = (track.width.unwrap_or(0), track.height.unwrap_or(0));
        if u64::from(width) * u64::from(height) > MANY_PIXELS {
            all.push(format!("The picture of {width}×{height} is more than some phones decode in time."));
        }
    }

    fn about_both(&self, sound: usize, picture: usize, all: &mut Vec<String>) {
        let (heard, seen) = (&self.scans[sound], &self.scans[picture]);
        if seen.hidden > MediaTime::ZERO {
            all.push(format!(
                "It begins in the middle of a group of pictures: {} run past quickly before it really starts.",
                seconds(seen.hidden)
            ));
        }
        let (heard_from, seen_from) = (heard.start.unwrap_or_default(), seen.start.unwrap_or_default());
        let gap = heard_from - seen_from;
        if gap.abs() > APART {
            let (first, second) =
                if gap > MediaTime::ZERO { ("picture", "sound") } else { ("sound", "picture") };
            all.push(format!("The {second} begins {} after the {first}.", seconds(gap.abs())));
        }
        let gap = heard.end - seen.end;
        if gap.abs() > APART {
            let (first, last) =
                if gap > MediaTime::ZERO { ("picture", "sound") } else { ("sound", "picture") };
            all.push(format!("The {first} ends {} before the {last}.", seconds(gap.abs())));
        }
    }
}

/// For people.
fn seconds(time: MediaTime) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests;
