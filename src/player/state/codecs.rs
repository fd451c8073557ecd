//! The codecs that all who listen take → items opened for them.
//!
//! An item whose pictures somebody could not see is opened once more, a little ahead of where it
//! is, and plays on until the other one has got there: nobody hears anything of it. What can be seen
//! by all plays on, also when more would be taken: the next item makes use of it.

use tracing::debug;

use super::{Output, State};
use crate::media::plan::VideoCodecs;
use crate::player::EndReason;
use crate::player::timeline::SLOT;
use crate::time::MediaTime;

/// What opening an item takes, and finding a place in it, through FFmpeg on a busy machine.
const AHEAD: MediaTime = MediaTime::from_secs(3);

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
        self.drop_successor();
        // What waits to be tried again is opened for them when its time comes.
        if !self.tries.is_waiting() && self.current.as_ref().is_some_and(|deck| !deck.suits(codecs)) {
            self.adapt();
        }
        self.arrange();
    }

    /// Somebody does not see the current item yet.
    pub(in crate::player) fn is_adapting(&self) -> bool {
        self.successor.is_some()
    }

    /// Opens the current item once more, for those who listen now.
    fn adapt(&mut self) {
        let (Some(deck), Some(entry)) = (&self.current, self.queue.current().cloned()) else { return };
        let played = self.timeline.position().map(|position| deck.media_at(position));
        if let Some(place) = played.filter(|_| !self.is_held()) {
            let mut successor = self.load(entry);
            // What comes live has one place only, and begins there.
            successor.go_on_near(place + AHEAD);
            self.successor = Some(successor);
            return;
        }
        // Nothing is heard of it now.
        let place = played.or_else(|| deck.begins_at());
        self.end_crossfade(EndReason::Finished);
        self.timeline.cue();
        self.open_again(place);
    }

    /// Lets the successor go on in place of the current item, once it can and its place has come.
    /// True when it goes back for that.
    pub(super) fn hand_over(&mut self) -> bool {
        let (Some(deck), Some(successor)) = (&self.current, &self.successor) else { return false };
        let Some(position) = self.timeline.position() else { return false };
        if self.crossfade.is_some() || !successor.is_full() {
            return false;
        }
        let late = deck.media_at(position) - successor.media_at(successor.start_position());
        if late < MediaTime::ZERO {
            return false;
        }
        debug!(item = deck.id.0, ?late, "goes on for all");
        let goes_back = late >= SLOT;
        if goes_back {
            self.fade_out();
        }
        self.succeed();
        goes_back
    }

    /// Puts the successor, however far it is, in the place of the current item.
    pub(super) fn succeed(&mut self) {
        let Some(mut successor) = self.successor.take() else { return };
        let Some(before) = self.current.take() else { return };
        self.out.push_back(Output::Retire { worker: before.worker });
        self.status.n_dropped += before.n_dropped;
        successor.started = before.started;
        self.timeline.cue();
        self.current = Some(successor);
    }

    /// The current item is over, or is opened again anyway.
    pub(super) fn drop_successor(&mut self) {
        if let Some(deck) = self.successor.take() {
            self.out.push_back(Output::Retire { worker: deck.worker });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::media::{Codec, Frame, MediaKind};
    use crate::player::testing::{Clip, Pace, Rig, number};
    use crate::player::{
        FrameReader, Item, ItemError, ItemId, ItemPlan, PlayerEvent, PlayerOptions, PlayerState,
    };

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
        run(&mut rig, 4500);
        assert_eq!(shown(&mut rig), [(1, Codec::H264)]);
        let before = rig.status.position;
        rig.state.set_codecs(WITHOUT_H264);
        run(&mut rig, 1000);
        let after = rig.status.position;
        assert_eq!((after - before).as_millis(), 1000);
        run(&mut rig, 9900);
        let sound = rig.frames.iter().map(|(_, due)| due).filter(|due| due.frame.kind == MediaKind::Audio);
        let numbers: Vec<_> = sound.map(|due| number(&due.frame)).collect();
        assert!(numbers.windows(2).all(|two| two[1] == (two[0] + 1) % 500), "not a sound is missing");
        assert_eq!(shown(&mut rig), [(1, Codec::H264), (1, Codec::Vp8), (2, Codec::Vp8)]);
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
    fn one_that_takes_long_to_open_goes_back_a_little_and_one_that_never_opens_is_not_missed() {
        let slow = Pace { open: Duration::from_secs(4), ..Pace::default() };
        let mut rig = rig(slow);
        let item = rig.state.enqueue(Clip::of_secs(20).adapting("a"));
        run(&mut rig, 7500);
        rig.frames.clear();
        rig.state.set_codecs(WITHOUT_H264);
        run(&mut rig, 6000);
        let silent = rig.frames.iter().filter(|(_, due)| due.item.is_none()).count();
        assert_eq!((silent, rig.n_workers()), (0, 1));
        assert_eq!(shown(&mut rig), [(1, Codec::H264), (1, Codec::Vp8)]);

        let opened = std::sync::atomic::AtomicUsize::new(0);
        let once = Item::adapting("once", move |codecs| {
            let unreadable = opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0;
            Clip { unreadable, vp8: !codecs.h264, ..Clip::of_secs(20) }.open()
        });
        let mut rig = super::tests::rig(Pace::default());
        assert_eq!(rig.state.enqueue(once), item);
        run(&mut rig, 3000);
        rig.state.set_codecs(WITHOUT_H264);
        run(&mut rig, 10_000);
        assert_eq!(shown(&mut rig), [(1, Codec::H264)]);
        assert!(!rig.state.is_adapting() && rig.status.state == PlayerState::Playing);
    }

    /// A source that nobody knows the end of.
    struct Live(Box<dyn FrameReader>);

    impl FrameReader for Live {
        fn plan(&self) -> ItemPlan {
            self.0.plan()
        }

        fn duration(&self) -> Option<MediaTime> {
            None
        }

        fn next_frame(&mut self) -> Result<Option<Frame>, ItemError> {
            self.0.next_frame()
        }

        fn seek(&mut self, _: MediaTime) -> Result<MediaTime, ItemError> {
            Ok(MediaTime::ZERO)
        }

        fn set_volume(&mut self, _gain: f32) {}
    }

    #[test]
    fn what_comes_live_goes_on_with_what_comes_now() {
        let mut rig = rig(Pace { open: Duration::from_secs(1), ..Pace::default() });
        rig.state.enqueue(Item::adapting("rtsp://camera/1", |codecs| {
            Ok(Box::new(Live(Clip { vp8: !codecs.h264, ..Clip::of_secs(60) }.open()?)))
        }));
        run(&mut rig, 5000);
        rig.frames.clear();
        rig.state.set_codecs(WITHOUT_H264);
        run(&mut rig, 3000);
        assert!(rig.frames.iter().all(|(_, due)| due.item.is_some()), "nobody hears that");
        assert_eq!(shown(&mut rig), [(1, Codec::H264), (1, Codec::Vp8)]);
    }

    #[test]
    fn whoever_seeks_or_skips_meanwhile_need_not_wait() {
        let mut rig = rig(Pace { open: Duration::from_millis(900), ..Pace::default() });
        for name in ["a", "b"] {
            rig.state.enqueue(Clip::of_secs(20).adapting(name));
        }
        run(&mut rig, 3000);
        rig.state.set_codecs(WITHOUT_H264);
        run(&mut rig, 100);
        rig.state.seek(MediaTime::from_secs(10)).unwrap();
        rig.frames.clear();
        run(&mut rig, 1500);
        assert_eq!(rig.sought[0].1.clone().unwrap(), MediaTime::from_secs(10));
        assert_eq!(shown(&mut rig), [(1, Codec::Vp8)]);
        rig.state.set_codecs(VideoCodecs::ALL);
        run(&mut rig, 1500);
        rig.state.skip().unwrap();
        run(&mut rig, 1000);
        rig.state.set_codecs(WITHOUT_H264);
        run(&mut rig, 100);
        rig.state.skip().unwrap();
        run(&mut rig, 1000);
        assert_eq!((rig.n_workers(), rig.status.state), (0, PlayerState::Idle));
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
