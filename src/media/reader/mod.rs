//! A file → frames that are ready for RTP: both tracks on one clock, in the order of their times.
//!
//! ```text
//!                      ┌─► Sound:    packets ─ decode ─ resample ─ grid ─ copy or encode ─┐
//! Demuxer ─► Reader ───┤                                                                  ├─► Frame
//!                      └─► Pictures: packets ─ watch for B-frames ────────────────────────┘
//! ```
//!
//! The item's clock starts with its first sound or picture, whichever comes first; the tracks
//! are never moved against each other. Sound lies on a grid of 20 ms from the start of the item.
//! Copied Opus packets dictate where that grid lies, because they cannot be cut: the clock then
//! starts up to 20 ms earlier, for both tracks.

use std::path::{Path, PathBuf};

use super::cache::Cache;
use super::card::{Card, Sketch};
use super::codec::opus::FRAME;
use super::demux::{self, DemuxError, Demuxer, MediaSource, Packet, Track};
use super::pace::{Pace, Paces, SPEEDS};
use super::plan::{Plan, TrackPlan, remedy};
use super::{Frame, MediaError};
use crate::time::MediaTime;

use self::pictures::Pictures;
use self::sound::Sound;

pub use self::options::{ReaderOptions, ReaderStats};

mod begin;
mod clock;
mod open;
mod options;
mod pictures;
mod sound;

/// How much of one track is held while the other one has nothing. Muxers keep tracks within a
/// second or two of each other; longer means that the other track pauses or has ended.
const PATIENCE: MediaTime = MediaTime::from_secs(10);
/// The same in bytes: ten seconds of the highest bitrate that makes sense.
const PATIENCE_BYTES: usize = 32 << 20;
/// No honest file is silent and dark for longer. A packet further away from the one before has
/// a damaged time and is thrown away: waiting for it would be playing nothing for years.
const LONGEST_PAUSE: MediaTime = MediaTime::from_secs(3600);

/// Whether a track has a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Yes, of this time.
    At(MediaTime),
    /// Not before more packets come.
    Starved,
    /// Never again.
    End,
}

/// An opened item.
///
/// Nothing here reads a clock; every call does just the work for its frame.
pub struct Reader {
    demuxer: Box<dyn Demuxer>,
    /// How the command that repairs the file calls it.
    input: String,
    plan: Plan,
    /// Where the item's clock starts, on the clock of the file.
    origin: MediaTime,
    duration: Option<MediaTime>,
    sound: Option<Sound>,
    pictures: Option<Pictures>,
    /// Made beside the sound where the item has no pictures and some are wanted.
    card: Option<Card>,
    /// Who keeps the loudness of which file, once all of it has been heard.
    measuring_for: Option<(Cache, PathBuf)>,
    at_end: bool,
    /// Damage that nothing readable followed so far.
    damage: Option<DemuxError>,
    n_damaged: u64,
    /// The time of the last packet.
    latest: MediaTime,
    /// How media goes by.
    paces: Paces,
    /// Where the last picture ends, on the clock of the item.
    shown: MediaTime,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { input, plan, origin, duration, .. } = self;
        f.debug_struct("Reader")
            .field("input", input)
            .field("plan", plan)
            .field("origin", origin)
            .field("duration", duration)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens a source: a file, `-`, an address, or pictures and sound made for a test.
    ///
    /// # Errors
    /// When it cannot be opened, is damaged, has nothing to play, or has a track that cannot be
    /// played.
    pub fn open(path: impl AsRef<Path>, options: ReaderOptions) -> Result<Self, MediaError> {
        open::open(path.as_ref(), &options)
    }

    /// Also opens images, which nobody would play.
    #[cfg(feature = "openh264")]
    pub(crate) fn open_picture(path: impl AsRef<Path>, options: &ReaderOptions) -> Result<Self, MediaError> {
        open::open_picture(path.as_ref(), options)
    }

    /// Opens anything that can be read, for example bytes in memory. `input` is what the command
    /// in an error message calls it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_source(
        mut source: Box<dyn MediaSource>,
        input: impl Into<String>,
        options: ReaderOptions,
    ) -> Result<Self, MediaError> {
        let input = input.into();
        let sketch = Sketch::read(&mut *source, &input, &options).map_err(DemuxError::Io)?;
        let hints = demux::Hints { fps: options.plan.pictures.fps, ..demux::Hints::default() };
        Self::begin(demux::open_with(source, hints)?, input, options)?.show(sketch)
    }

    /// How each track is played, and why. Pictures that are copied may turn out to need
    /// transcoding in the middle; the plan says so from then on.
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How long the item is, where the container knows it.
    pub const fn duration(&self) -> Option<MediaTime> {
        self.duration
    }

    /// All tracks of the file.
    pub fn tracks(&self) -> &[Track] {
        self.demuxer.tracks()
    }

    /// The track whose pictures are played.
    pub fn video_track(&self) -> Option<&Track> {
        self.plan.video.played_track().map(|index| &self.demuxer.tracks()[index])
    }

    /// What had to be repaired so far.
    pub fn stats(&self) -> ReaderStats {
        let mut stats = ReaderStats { damaged_places: self.n_damaged, ..ReaderStats::default() };
        if let Some(sound) = &self.sound {
            sound.add_stats(&mut stats);
        }
        stats.skipped_pictures = self.pictures.as_ref().map_or(0, Pictures::n_skipped);
        stats.late_pictures = self.pictures.as_ref().map_or(0, Pictures::n_late);
        stats
    }

    /// The next frame of either track in the order of their times; `Ok(None)` is the end.
    ///
    /// Sound comes every 20 ms without a gap. A file that is cut off plays up to the cut and
    /// fails there.
    ///
    /// # Errors
    /// When nothing more can be played; after that comes `Ok(None)`, and a seek is possible.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, MediaError> {
        let result = self.advance_with_card();
        self.note_obstacle();
        if result.is_err() {
            self.abandon();
        }
        result
    }

    fn advance_with_card(&mut self) -> Result<Option<Frame>, MediaError> {
        if let Some(picture) = self.card.as_mut().and_then(Card::poll) {
            return Ok(Some(self.as_played(picture)));
        }
        let frame = self.advance()?;
        if frame.is_none() {
            self.keep_loudness();
        }
        let Some(card) = &mut self.card else { return Ok(frame) };
        if let (Some(frame), Some(sound)) = (&frame, &self.sound) {
            card.hear(self.paces.media_of(frame.pts), sound.heard())?;
        }
        if frame.is_some() {
            return Ok(frame);
        }
        let last = card.end();
        Ok(last.map(|picture| self.as_played(picture)))
    }

    fn advance(&mut self) -> Result<Option<Frame>, MediaError> {
        loop {
            let sound = self.sound.as_mut().map_or(Ok(Next::End), Sound::peek)?;
            let picture = self.peek_picture()?;
            match (sound, picture) {
                (Next::End, Next::End) => {
                    return self.damage.take().map_or(Ok(None), |damage| Err(damage.into()));
                }
                (Next::At(heard), Next::At(seen)) if heard <= seen => return self.pop_sound(),
                (Next::At(_), Next::End) => return self.pop_sound(),
                (Next::At(_) | Next::End, Next::At(_)) => return Ok(self.pop_picture()),
                (Next::At(_), Next::Starved) if self.sound.as_ref().is_some_and(Sound::is_impatient) => {
                    return self.pop_sound();
                }
                (Next::Starved, Next::At(seen))
                    if self.pictures.as_ref().is_some_and(Pictures::is_impatient) =>
                {
                    let sound = self.sound.as_mut().expect("a track that is starved exists");
                    sound.fill_with_silence(seen);
                }
                (Next::Starved, _) | (_, Next::Starved) => self.pull(),
            }
        }
    }

    /// All of the item has been heard from its beginning to its end.
    fn keep_loudness(&mut self) {
        let loudness = self.sound.as_ref().and_then(Sound::loudness);
        if let (Some((cache, path)), Some(loudness)) = (self.measuring_for.take(), loudness) {
            cache.keep_loudness(&path, loudness);
        }
    }

    /// Goes to `to`, or to the last keyframe before it where pictures are played, and returns
    /// that place: the first picture is seen there, the first sound is heard within 20 ms from
    /// there. Also possible after the end and after an error. What comes live stays where it is, and
    /// that place is returned.
    ///
    /// # Errors
    /// When the file cannot be read there.
    pub fn seek(&mut self, to: MediaTime) -> Result<MediaTime, MediaError> {
        self.measuring_for = None;
        let to = to.max(MediaTime::ZERO).min(self.duration.unwrap_or(MediaTime::MAX));
        let landed = self.demuxer.seek(to + self.origin)?;
        (self.at_end, self.damage, self.latest) = (false, None, landed);
        let to = if self.demuxer.is_live() { (landed - self.origin).max(MediaTime::ZERO) } else { to };
        let place = match &mut self.pictures {
            // A decoder goes from the keyframe to the very picture.
            Some(pictures) if pictures.is_transcoding() => {
                pictures.seek(to);
                to
            }
            Some(pictures) => {
                pictures.seek(MediaTime::ZERO);
                (pictures::shown_at(landed) - self.origin).max(MediaTime::ZERO)
            }
            None => to.floor_to(FRAME),
        };
        self.paces.restart(place);
        self.shown = place;
        if let Some(sound) = &mut self.sound {
            sound.seek(place);
        }
        if let Some(card) = &mut self.card {
            card.seek();
        }
        tracing::debug!(?to, ?place, "seek");
        Ok(place)
    }

    /// How loud sound is from the next frame on: 1.0 is as recorded, 2.0 the most.
    ///
    /// A copied track is decoded and encoded for as long as the volume is not 1.0. Steps are
    /// spread over 20 ms, so that nothing clicks.
    pub fn set_volume(&mut self, volume: f32) {
        if let Some(sound) = &mut self.sound {
            sound.set_volume(volume);
        }
    }

    /// How fast it goes from the next frame on, in percent, within [`SPEEDS`]: the pitch of its sound
    /// stays. From the place that is returned on, times of frames are those in which they are played;
    /// after a seek these begin at the place that was found. Sound that could be copied is encoded
    /// from there to the next seek; pictures are copied at any speed. What comes live has its own.
    pub fn set_speed(&mut self, percent: u16) -> Pace {
        let percent = if self.demuxer.is_live() { 100 } else { percent };
        let percent = percent.clamp(*SPEEDS.start(), *SPEEDS.end());
        if percent == self.paces.last().percent {
            return self.paces.last();
        }
        let heard = self.sound.as_mut().map(Sound::begin_change);
        let pace = self.paces.change(heard.map_or(self.shown, |heard| heard.max(self.shown)), percent);
        if let Some(sound) = &mut self.sound {
            sound.set_paces(&self.paces);
        }
        pace
    }

    /// Tells where the item plays: pictures that are to be encoded and would come too late are
    /// left out.
    pub fn set_position(&mut self, position: MediaTime) {
        if let Some(pictures) = &self.pictures {
            pictures.set_position(self.paces.media_of(position));
        }
    }

    /// Asks for a keyframe as soon as possible. False when pictures are copied, so that only the
    /// file's own keyframes come.
    pub fn request_key(&mut self) -> bool {
        if let Some(card) = &mut self.card {
            card.request_key();
            return true;
        }
        self.pictures.as_ref().is_some_and(Pictures::request_key)
    }

    /// How many bits per second pictures take that are encoded from here on.
    pub fn set_video_bitrate(&mut self, bitrate_bps: u32) {
        if let Some(pictures) = &mut self.pictures {
            pictures.set_bitrate(bitrate_bps);
        }
    }

    /// The plan says from now on what happens from now on.
    fn note_obstacle(&mut self) {
        if let Some(pictures) = &self.pictures
            && let Some((obstacle, _)) = pictures.obstacle()
            && pictures.is_transcoding()
            && let TrackPlan::Copy { track, .. } = self.plan.video
        {
            self.plan.video = obstacle.plan(track);
        }
    }

    /// Reads one packet, whatever it is.
    fn pull(&mut self) {
        match self.demuxer.next_packet() {
            Ok(Some(packet)) => {
                self.damage = None;
                self.sort(packet);
            }
            Ok(None) => self.end(),
            Err(error) => {
                tracing::debug!(%error, "the container is damaged here");
                self.n_damaged += 1;
                self.damage = Some(error);
            }
        }
    }

    fn sort(&mut self, packet: Packet) {
        let track = Some(packet.track);
        let [audio, video] = [&self.plan.audio, &self.plan.video].map(TrackPlan::played_track);
        if track != audio && track != video {
            return;
        }
        if (packet.pts - self.latest).abs() > LONGEST_PAUSE {
            tracing::debug!(pts = ?packet.pts, "a packet with an absurd time is thrown away");
            self.n_damaged += 1;
            return;
        }
        self.latest = packet.pts;
        if track == audio {
            self.sound.as_mut().expect("a played track has its sound").push(packet);
        } else {
            self.pictures.as_mut().expect("a played track has its pictures").push(packet);
        }
    }

    fn end(&mut self) {
        self.at_end = true;
        if let Some(sound) = &mut self.sound {
            sound.end();
        }
        if let Some(pictures) = &mut self.pictures {
            pictures.end();
        }
    }

    /// After an error: nothing more until a seek.
    fn abandon(&mut self) {
        self.measuring_for = None;
        self.end();
        self.damage = None;
        if let Some(sound) = &mut self.sound {
            sound.abandon();
        }
        if let Some(pictures) = &mut self.pictures {
            pictures.seek(MediaTime::ZERO);
            pictures.end();
        }
        if let Some(card) = &mut self.card {
            card.seek();
        }
    }

    fn peek_picture(&mut self) -> Result<Next, MediaError> {
        let Some(pictures) = &mut self.pictures else { return Ok(Next::End) };
        if let Some(pts) = pictures.peek()? {
            return Ok(Next::At(self.paces.play_of(pts)));
        }
        match pictures.obstacle() {
            Some((_, at)) if !pictures.is_transcoding() => {
                Err(MediaError::BFrameAt { at, remedy: self.remedy() })
            }
            _ if self.at_end => Ok(Next::End),
            _ => Ok(Next::Starved),
        }
    }

    fn pop_sound(&mut self) -> Result<Option<Frame>, MediaError> {
        self.sound.as_mut().map_or(Ok(None), Sound::pop)
    }

    fn pop_picture(&mut self) -> Option<Frame> {
        let frame = self.pictures.as_mut().and_then(Pictures::pop)?;
        self.shown = frame.pts;
        Some(self.as_played(frame))
    }

    /// A picture at the time at which it is played.
    fn as_played(&self, frame: Frame) -> Frame {
        let [pts, end] = [frame.pts, frame.pts + frame.duration].map(|place| self.paces.play_of(place));
        Frame { pts, duration: end - pts, ..frame }
    }

    /// The plan took the picture for copyable; now it is known not to be.
    fn remedy(&self) -> Option<String> {
        let mut plan = self.plan.clone();
        if let TrackPlan::Copy { track, codec, .. } = &self.plan.video {
            plan.video = TrackPlan::Refused {
                track: *track,
                codec: codec.clone(),
                refusal: super::plan::Refusal::BFrames,
            };
        }
        remedy(&self.input, &plan)
    }
}

#[cfg(test)]
mod tests;
