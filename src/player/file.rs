//! A file as an item: path → [`Reader`] → frames.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::item::{FrameReader, Item, ItemError, ItemPlan};
use crate::media::pace::Pace;
use crate::media::plan::{TrackPlan, VideoCodecs};
use crate::media::{Frame, Reader, ReaderOptions, source};
use crate::time::MediaTime;

impl Item {
    /// A media file. It is opened when its turn comes, or a little before.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::file_with(path, ReaderOptions::default())
    }

    /// A media file, read in a certain way.
    pub fn file_with(path: impl Into<PathBuf>, options: ReaderOptions) -> Self {
        Self::of_file(path.into(), options, None)
    }

    /// A media file that has been opened already, with these options: `reader`, which has given
    /// nothing yet, is what is first played of it. An address is so asked only once, and a source
    /// that serves one client only can be looked at before it plays.
    pub fn opened(path: impl Into<PathBuf>, options: ReaderOptions, reader: Reader) -> Self {
        Self::of_file(path.into(), options, Some(reader))
    }

    fn of_file(path: PathBuf, options: ReaderOptions, opened: Option<Reader>) -> Self {
        let name = path.display().to_string();
        let is_fixed = source::is_stdin(&path) || !matches!(source::test(&path), Ok(None));
        let opened = Mutex::new(opened);
        let open = move |codecs| -> Result<Box<dyn FrameReader>, ItemError> {
            let wanted = options.plan.pictures.codecs.and(codecs);
            let opened = opened.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(reader) = opened.filter(|_| wanted == options.plan.pictures.codecs) {
                return Ok(Box::new(reader));
            }
            let mut options = options.clone();
            options.plan.pictures.codecs = wanted;
            Ok(Box::new(Reader::open(&path, options)?))
        };
        // What comes only once cannot be opened again, and what is made here is what it is.
        if is_fixed {
            Self::from_reader(name, move || open(VideoCodecs::ALL))
        } else {
            Self::adapting(name, open)
        }
    }
}

impl FrameReader for Reader {
    fn plan(&self) -> ItemPlan {
        let words = |track: &TrackPlan| track.is_played().then(|| track.to_string());
        let plan = Self::plan(self);
        ItemPlan::new(words(&plan.audio), words(&plan.video))
    }

    fn duration(&self) -> Option<MediaTime> {
        Self::duration(self)
    }

    fn next_frame(&mut self) -> Result<Option<Frame>, ItemError> {
        Ok(Self::next_frame(self)?)
    }

    fn seek(&mut self, to: MediaTime) -> Result<MediaTime, ItemError> {
        Ok(Self::seek(self, to)?)
    }

    fn set_volume(&mut self, gain: f32) {
        Self::set_volume(self, gain);
    }

    fn set_speed(&mut self, percent: u16) -> Option<Pace> {
        Some(Self::set_speed(self, percent))
    }

    fn request_keyframe(&mut self) {
        self.request_key();
    }

    fn set_position(&mut self, position: MediaTime) {
        Self::set_position(self, position);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use std::time::Duration;

    use super::*;
    use crate::media::MediaKind;
    use crate::media::plan::PlanOptions;
    use crate::player::testing::{Pace, Rig};
    use crate::player::timeline::SLOT;
    use crate::player::{DueFrame, EndReason, PlayerEvent, PlayerOptions};

    fn clip(name: &str) -> Item {
        Item::file(Path::new(env!("CARGO_MANIFEST_DIR")).join("media").join(name))
    }

    fn rig() -> Rig {
        let options = PlayerOptions { wait_for_listener: false, ..PlayerOptions::default() };
        Rig::new(options, Pace::default())
    }

    fn end_of(rig: &Rig) -> (EndReason, Option<ItemError>) {
        let end = rig.events.iter().find_map(|(_, event)| match event {
            PlayerEvent::ItemEnded { reason, error, .. } => Some((*reason, error.clone())),
            _ => None,
        });
        end.expect("the item has ended")
    }

    fn of_item(rig: &Rig, kind: MediaKind) -> Vec<&DueFrame> {
        let frames = rig.frames.iter().map(|(_, due)| due);
        frames.filter(|due| due.item.is_some() && due.frame.kind == kind).collect()
    }

    #[test]
    fn every_clip_plays_to_its_end_in_step() {
        let clips = [
            ("clip.mp4", 20, 600, "transcode: aac"),
            ("clip.mkv", 20, 600, "copy"),
            ("long-gop.mp4", 20, 600, "transcode: aac"),
            #[cfg(feature = "openh264")]
            ("bframes.mp4", 10, 300, "transcode: aac"),
            ("music.ogg", 16, 0, "copy"),
            ("music.mp3", 16, 0, "transcode: mp3"),
        ];
        for (name, secs, n_pictures, audio_plan) in clips {
            let mut rig = rig();
            rig.state.enqueue(clip(name));
            rig.run(Duration::from_secs(25));
            assert_eq!(end_of(&rig).0, EndReason::Finished, "{name}");
            let (sound, pictures) = (of_item(&rig, MediaKind::Audio), of_item(&rig, MediaKind::Video));
            assert!(sound.len().abs_diff(secs * 50) <= 3, "{name}: {} frames of sound", sound.len());
            assert_eq!(pictures.len(), n_pictures, "{name}");
            assert_eq!(rig.status.stalled, MediaTime::ZERO, "{name}");
            let mut zeros = sound.iter().chain(&pictures).map(|due| due.at - due.frame.pts);
            let zero = zeros.next().unwrap();
            assert!(zeros.all(|other| other == zero), "{name}: one clock for sound and picture");
            let plan = rig.events.iter().find_map(|(_, event)| match event {
                PlayerEvent::ItemStarted { plan, .. } => Some(plan.clone()),
                _ => None,
            });
            let way = if name == "bframes.mp4" { "transcode: h264" } else { "copy" };
            let video_plan = (n_pictures > 0).then(|| way.to_owned());
            assert_eq!(plan.unwrap(), ItemPlan::new(Some(audio_plan.to_owned()), video_plan), "{name}");
        }
    }

    #[test]
    fn files_follow_each_other_without_a_silent_slot() {
        let mut rig = rig();
        let names = ["music.ogg", "clip.mp4", "music.mp3", "clip.mkv"];
        for name in names {
            rig.state.enqueue(clip(name));
        }
        rig.run(Duration::from_secs(80));
        let sound = of_item(&rig, MediaKind::Audio);
        let gaps: Vec<_> = sound.windows(2).filter(|pair| pair[1].at != pair[0].at + SLOT).collect();
        assert!(gaps.is_empty(), "{gaps:?}");
        assert_eq!(sound.last().unwrap().item.unwrap().0, names.len() as u64);
        assert_eq!(of_item(&rig, MediaKind::Video).len(), 1200);
    }

    #[test]
    fn a_seek_stays_in_step() {
        for name in ["clip.mp4", "clip.mkv"] {
            let mut rig = rig();
            rig.state.enqueue(clip(name));
            rig.run(Duration::from_secs(1));
            rig.state.seek(MediaTime::from_millis(12_345)).unwrap();
            rig.run(Duration::from_millis(300));
            let landed = rig.sought[0].1.clone().unwrap();
            assert!((MediaTime::from_millis(12_345) - landed).abs() <= MediaTime::from_secs(1), "{name}");
            rig.frames.clear();
            rig.run(Duration::from_secs(2));
            let (sound, pictures) = (of_item(&rig, MediaKind::Audio), of_item(&rig, MediaKind::Video));
            assert!(sound.len() >= 99 && pictures.len() >= 59, "{name}");
            let zero = sound[0].at - sound[0].frame.pts;
            assert!(sound.iter().chain(&pictures).all(|due| due.at - due.frame.pts == zero), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_played_says_why() {
        for (name, wanted) in [("missing.mp4", "there is no file"), ("README.md", "")] {
            let mut rig = rig();
            rig.state.enqueue(clip(name));
            rig.run(Duration::from_secs(1));
            let (reason, error) = end_of(&rig);
            assert_eq!(reason, EndReason::Failed, "{name}");
            let error = error.unwrap();
            assert!(matches!(error, ItemError::Media(_)), "{name}: {error:?}");
            assert!(error.to_string().contains(wanted), "{name}: {error}");
        }
    }

    #[test]
    fn the_sound_alone_of_a_file_whose_pictures_are_refused_plays() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/bframes.mp4");
        let options = PlanOptions { video: false, ..PlanOptions::default() };
        let reader = ReaderOptions { plan: options, ..ReaderOptions::default() };
        let plan = Item::file_with(path, reader).plan().expect("it has sound");
        assert_eq!(plan, ItemPlan::new(Some("transcode: aac".into()), None));
    }
}
