//! The codecs that all who listen take → items opened for them.
//!
//! An item whose pictures somebody could not see is opened again where it is, as after a seek.
//! What can be seen by all plays on, also when more would be taken: the next item makes use of it.

use tracing::debug;

use super::State;
use crate::media::plan::VideoCodecs;
use crate::player::EndReason;

impl State {
    /// All who listen take these from now on.
    pub(in crate::player) fn set_codecs(&mut self, codecs: VideoCodecs) {
        if std::mem::replace(&mut self.codecs, codecs) == codecs {
            return;
        }
        debug!(?codecs, "pictures may be in");
        if self.next.as_ref().and_then(|deck| deck.codecs).is_some_and(|opened_for| opened_for != codecs) {
            self.drop_next();
        }
        // What waits to be tried again is opened for them when its time comes.
        if !self.tries.is_waiting() && self.current.as_ref().is_some_and(|deck| !deck.suits(codecs)) {
            self.adapt();
        }
        self.arrange();
    }

    /// Opens the current item again where it is.
    fn adapt(&mut self) {
        self.fade_out();
        self.end_crossfade(EndReason::Finished);
        // What went may have failed, and that may have ended the programme.
        let Some(deck) = &self.current else { return };
        let played = self.timeline.position().map(|position| deck.media_at(position));
        let place = played.or_else(|| deck.begins_at());
        self.timeline.cue();
        self.open_again(place);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::media::{Codec, MediaKind};
    use crate::player::testing::{Clip, Pace, Rig};
    use crate::player::{ItemId, PlayerEvent, PlayerOptions};
    use crate::time::MediaTime;

    const WITHOUT_H264: VideoCodecs = VideoCodecs { h264: false, ..VideoCodecs::ALL };

    fn rig(pace: Pace) -> Rig {
        Rig::new(PlayerOptions { wait_for_listener: false, ..PlayerOptions::default() }, pace)
    }

    fn run(rig: &mut Rig, millis: u64) {
        rig.run(Duration::from_millis(millis));
    }

    /// Items and codecs of the pictures since the last look, each once.
    fn shown(rig: &mut Rig) -> Vec<(u64, Codec)> {
        let frames = std::mem::take(&mut rig.frames).into_iter().map(|(_, due)| due);
        let pictures = frames.filter(|due| due.frame.kind == MediaKind::Video);
        let mut shown: Vec<_> =
            pictures.map(|due| (due.item.expect("there is no slate").0, due.frame.codec)).collect();
        shown.dedup();
        shown
    }

    #[test]
    fn an_item_goes_on_in_a_codec_that_all_take_and_the_ones_after_it_are_opened_so() {
        let mut rig = rig(Pace::default());
        for name in ["a", "b", "c"] {
            rig.state.enqueue(Clip::of_secs(10).adapting(name));
        }
        run(&mut rig, 5500);
        assert_eq!(shown(&mut rig), [(1, Codec::H264)]);
        let before = rig.status.position;
        rig.state.set_codecs(WITHOUT_H264);
        run(&mut rig, 1000);
        // Its last keyframe was half a second ago.
        let after = rig.status.position;
        assert!((after - before).abs() <= MediaTime::from_millis(1100), "{before:?}, {after:?}");
        run(&mut rig, 9000);
        assert_eq!(shown(&mut rig), [(1, Codec::Vp8), (2, Codec::Vp8)]);
        // Who needed it is gone: what is seen by all goes on, and the next one is as usual.
        rig.state.set_codecs(VideoCodecs::ALL);
        run(&mut rig, 8000);
        assert_eq!(shown(&mut rig), [(2, Codec::Vp8), (3, Codec::H264)]);
        let started = rig.events.iter().filter_map(|(_, event)| match event {
            PlayerEvent::ItemStarted { item, .. } => Some(item.0),
            _ => None,
        });
        assert_eq!(started.collect::<Vec<_>>(), [1, 2, 3], "each begins once");
    }

    #[test]
    fn what_all_can_see_already_or_nobody_can_is_left_alone() {
        let vp8 = Clip { vp8: true, ..Clip::of_secs(10) }.adapting("vp8");
        let sound = Clip { n_video: None, ..Clip::of_secs(10) }.adapting("sound");
        let pushed = Clip::of_secs(10).item("pushed");
        for item in [vp8, sound, pushed] {
            let mut rig = rig(Pace::default());
            rig.state.enqueue(item);
            run(&mut rig, 3000);
            rig.state.set_codecs(WITHOUT_H264);
            run(&mut rig, 1000);
            assert_eq!(rig.n_opened, 1, "{:?}", rig.status.source);
        }
    }

    #[test]
    fn a_seek_that_is_under_way_is_answered_all_the_same() {
        for place in [0, 7000] {
            let slow = Pace {
                open: Duration::from_millis(200),
                seek: Duration::from_millis(500),
                ..Pace::default()
            };
            let mut rig = rig(slow);
            rig.state.enqueue(Clip::of_secs(20).adapting("a").start_at(MediaTime::from_secs(4)));
            run(&mut rig, 3000);
            let ticket = rig.state.seek(MediaTime::from_millis(place)).unwrap();
            run(&mut rig, 100);
            rig.state.set_codecs(WITHOUT_H264);
            run(&mut rig, 1500);
            let [(answered, landed)] = &rig.sought[..] else { panic!("{:?}", rig.sought) };
            assert_eq!((*answered, landed.clone().unwrap().as_millis()), (ticket, place));
            rig.frames.clear();
            run(&mut rig, 1000);
            assert_eq!(shown(&mut rig), [(1, Codec::Vp8)]);
        }
    }

    #[test]
    fn an_item_that_nobody_has_heard_yet_begins_at_its_beginning() {
        let mut rig = Rig::new(PlayerOptions::default(), Pace::default());
        let item = rig.state.enqueue(Clip::of_secs(10).adapting("a").start_at(MediaTime::from_secs(2)));
        run(&mut rig, 1000);
        rig.state.set_codecs(WITHOUT_H264);
        rig.state.handle_listener();
        run(&mut rig, 1000);
        let first = rig.frames.iter().find(|(_, due)| due.item == Some(ItemId(item.0)));
        let (_, first) = first.expect("it plays");
        assert_eq!(first.frame.pts, MediaTime::from_secs(2));
        assert_eq!(shown(&mut rig), [(1, Codec::Vp8)]);
    }
}
