//! Random people at the buttons, slow disks, crashing readers and a machine that hiccups:
//! what must hold whatever they do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::slots::LATE;
use super::*;
use crate::media::MediaKind;
use crate::player::testing::{Clip, Pace, Rig, number};
use crate::player::timeline::SLOT;
use crate::player::{AfterFailure, OnFailure, Repeat};

/// Set to run more sequences than the gate does, for example 100000.
const CASES_VARIABLE: &str = "TELECAST_PROPERTY_CASES";

/// How many sequences the gate runs.
const CASES: u32 = 2000;

#[derive(Clone, Debug)]
enum Step {
    Enqueue(Clip),
    PlayNow(Clip),
    Insert(usize, Clip),
    Move(usize, usize),
    Remove(usize),
    Clear,
    Shuffle(u64),
    SkipTo(usize),
    Previous,
    Skip,
    Pause,
    Resume,
    Seek(i64),
    SeekBy(i64),
    Volume(u16),
    Crossfade(i64),
    Speed(u16),
    Codecs { h264: bool },
    Stop,
    Crash,
    Run(u64),
    Freeze(u64),
}

fn clip() -> impl Strategy<Value = Clip> {
    let millis = |from: i64, to: i64| (from..to).prop_map(MediaTime::from_millis);
    let track = |max: i64| prop_oneof![6 => (1..max).prop_map(Some), 1 => Just(None), 1 => Just(Some(0))];
    let fails_at = prop_oneof![8 => Just(None), 1 => millis(0, 3000).prop_map(Some)];
    let fps = prop_oneof![Just(24), Just(25), Just(30), Just(60)];
    (track(200), track(120), millis(-40, 60), millis(0, 60), fps, 1..70_i64, fails_at, 0..12).prop_map(
        |(n_audio, n_video, audio_from, video_from, fps, gop, fails_at, dice)| Clip {
            n_audio,
            n_video,
            audio_from,
            video_from,
            fps,
            gop,
            fails_at,
            unreadable: dice == 0,
            cannot_seek: dice == 1,
            vp8: dice == 2,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => clip().prop_map(Step::Enqueue),
        1 => clip().prop_map(Step::PlayNow),
        1 => (0_usize..6, clip()).prop_map(|(idx, clip)| Step::Insert(idx, clip)),
        1 => (0_usize..8, 0_usize..6).prop_map(|(from, to)| Step::Move(from, to)),
        1 => (0_usize..8).prop_map(Step::Remove),
        1 => Just(Step::Clear),
        1 => any::<u64>().prop_map(Step::Shuffle),
        1 => (0_usize..8).prop_map(Step::SkipTo),
        1 => Just(Step::Previous),
        1 => Just(Step::Skip),
        1 => Just(Step::Pause),
        2 => Just(Step::Resume),
        2 => (-500_i64..6000).prop_map(Step::Seek),
        1 => (-3000_i64..3000).prop_map(Step::SeekBy),
        1 => (0_u16..230).prop_map(Step::Volume),
        1 => (-100_i64..3000).prop_map(Step::Crossfade),
        1 => (40_u16..220).prop_map(Step::Speed),
        1 => any::<bool>().prop_map(|h264| Step::Codecs { h264 }),
        1 => Just(Step::Stop),
        1 => Just(Step::Crash),
        6 => (0_u64..1500).prop_map(Step::Run),
        1 => (0_u64..1900).prop_map(Step::Freeze),
    ]
}

fn pace() -> impl Strategy<Value = Pace> {
    let delay = |micros: u64| prop_oneof![2 => Just(Duration::ZERO), 1 => (0..micros).prop_map(Duration::from_micros)];
    let delays = (delay(600_000), delay(16_000), delay(600_000), delay(200_000));
    delays.prop_map(|(open, frame, seek, report)| Pace { open, frame, seek, report })
}

#[test]
fn whatever_people_do() {
    let cases = std::env::var(CASES_VARIABLE).ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let repeat = prop_oneof![2 => Just(Repeat::Off), 1 => Just(Repeat::All), 1 => Just(Repeat::One)];
    let on_failure = prop_oneof![
        2 => Just(OnFailure::Skip),
        1 => (0_u32..3).prop_map(|times| OnFailure::Retry { times }),
        1 => Just(OnFailure::Stop),
    ];
    let crossfade = prop_oneof![1 => Just(0), 2 => 0_i64..4000].prop_map(MediaTime::from_millis);
    let story = (repeat, on_failure, crossfade, pace(), prop::collection::vec(step(), 1..40));
    let told = TestRunner::new(config).run(&story, |(repeat, on_failure, crossfade, pace, steps)| {
        let wait_for_listener = false;
        let options =
            PlayerOptions { repeat, on_failure, crossfade, wait_for_listener, ..PlayerOptions::default() };
        let mut story = Story::new(options, pace);
        for step in steps {
            story.take(step);
        }
        story.end();
        Ok(())
    });
    if let Err(failure) = told {
        panic!("{failure}");
    }
}

/// Once in some ten thousand stories.
#[test]
fn a_picture_that_comes_sooner_because_it_goes_faster_is_waited_for() {
    let micros = Duration::from_micros;
    let pace = Pace { frame: micros(14_878), seek: micros(129_794), ..Pace::default() };
    let options = PlayerOptions { wait_for_listener: false, ..PlayerOptions::default() };
    let clip = Clip {
        n_audio: Some(12),
        n_video: Some(6),
        audio_from: MediaTime::from_millis(-5),
        video_from: MediaTime::from_millis(49),
        fps: 30,
        gop: 1,
        ..Clip::of_secs(1)
    };
    let mut story = Story::new(options, pace);
    for step in [
        Step::Enqueue(clip),
        Step::SeekBy(0),
        Step::Run(394),
        Step::Speed(144),
        Step::Freeze(92),
        Step::Run(34),
    ] {
        story.take(step);
    }
    story.end();
}

/// Once in a hundred thousand stories: the readers of both items of a fade crash at once.
#[test]
fn two_that_fail_together_are_told_one_after_the_other() {
    let pace = Pace { seek: Duration::from_millis(20), ..Pace::default() };
    let options = PlayerOptions {
        on_failure: OnFailure::Stop,
        crossfade: MediaTime::from_millis(920),
        wait_for_listener: false,
        ..PlayerOptions::default()
    };
    let clip = |n_audio, n_video| Clip { n_audio, n_video, fps: 24, gop: 1, ..Clip::of_secs(1) };
    let stays = |n_audio, n_video| Clip { cannot_seek: true, ..clip(n_audio, n_video) };
    let mut story = Story::new(options, pace);
    for step in [
        Step::Enqueue(stays(Some(0), Some(19))),
        Step::Enqueue(Clip { unreadable: true, ..clip(Some(1), Some(1)) }),
        Step::Seek(0),
        Step::Enqueue(Clip { audio_from: MediaTime::from_millis(-1), ..stays(Some(92), None) }),
        Step::Run(86),
        Step::Insert(0, Clip { gop: 49, vp8: true, ..clip(Some(1), Some(97)) }),
        Step::Enqueue(stays(Some(11), Some(1))),
        Step::Run(374),
        Step::Seek(2042),
        Step::Run(1344),
        Step::Crash,
        Step::Enqueue(stays(Some(91), Some(15))),
        Step::Shuffle(2_847_370_608_286_957_999),
        Step::Run(1121),
        Step::Run(395),
        Step::Crash,
        Step::Run(800),
    ] {
        story.take(step);
    }
    story.end();
}

/// Ten hours, with people at the buttons every quarter of one.
#[test]
fn sound_and_picture_stay_together_for_ten_hours() {
    let options = PlayerOptions { repeat: Repeat::All, wait_for_listener: false, ..PlayerOptions::default() };
    let mut story = Story::new(options, Pace::default());
    let film = Clip {
        audio_from: MediaTime::from_millis(-21),
        n_video: Some(2 * 3600 * 24),
        fps: 24,
        gop: 48,
        ..Clip::of_secs(2 * 3600)
    };
    let talk = Clip { video_from: MediaTime::from_millis(33), fps: 25, gop: 250, ..Clip::of_secs(1800) };
    let song = Clip { n_video: None, ..Clip::of_secs(200) };
    for clip in [film, song, talk] {
        story.take(Step::Enqueue(clip));
    }
    let moves = [
        Step::SeekBy(60_000),
        Step::Pause,
        Step::Resume,
        Step::Freeze(1500),
        Step::Volume(50),
        Step::Skip,
        Step::Freeze(1800),
        Step::SeekBy(-120_000),
    ];
    for quarter in 0..40 {
        story.take(Step::Run(900_000));
        story.take(moves[quarter % moves.len()].clone());
    }
    story.take(Step::Resume);
    story.take(Step::Run(1000));
    assert!(story.last_at > MediaTime::from_secs(9 * 3600), "{:?}", story.last_at);
    story.end();
}

/// A rig and what has been seen of it.
struct Story {
    rig: Rig,
    options: PlayerOptions,
    clips: BTreeMap<ItemId, Clip>,
    /// The waiting items as they should be. What ends or starts leaves it.
    line: Vec<ItemId>,
    tickets: Vec<Ticket>,
    answers: Vec<Ticket>,
    last_at: MediaTime,
    zero: Option<Instant>,
    next_slot: MediaTime,
    /// The latest sound of an item: when, and its programme time minus its media time.
    sound: Option<(ItemId, MediaTime, MediaTime)>,
    /// The number that each item's track should come with next; none when anything may come.
    expected: BTreeMap<(ItemId, MediaKind), i64>,
    last_due: BTreeMap<ItemId, Instant>,
    playing: BTreeSet<ItemId>,
    n_ends: BTreeMap<ItemId, usize>,
    /// It has failed for good, and its end is still to be told.
    given_up: Option<ItemId>,
    /// Something has been queued since the queue was said to have ended.
    queued: bool,
    /// Items may be played more than once.
    again: bool,
    /// Items may be opened anew while they play.
    adapts: bool,
    /// The longest fade from one item to the next that anybody has asked for.
    longest_fade: MediaTime,
    /// Readers take their time.
    is_slow: bool,
}

impl Story {
    fn new(options: PlayerOptions, pace: Pace) -> Self {
        Self {
            rig: Rig::new(options.clone(), pace),
            again: options.repeat != Repeat::Off,
            adapts: false,
            longest_fade: options.crossfade,
            is_slow: pace.frame + pace.report > Duration::ZERO,
            options,
            clips: BTreeMap::new(),
            line: Vec::new(),
            tickets: Vec::new(),
            answers: Vec::new(),
            last_at: MediaTime::ZERO,
            zero: None,
            next_slot: MediaTime::ZERO,
            sound: None,
            expected: BTreeMap::new(),
            last_due: BTreeMap::new(),
            playing: BTreeSet::new(),
            n_ends: BTreeMap::new(),
            given_up: None,
            queued: false,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Enqueue(clip) => {
                let id = self.rig.state.enqueue(clip.adapting("enqueued"));
                self.clips.insert(id, clip);
                self.line.push(id);
                self.queued = true;
            }
            Step::PlayNow(clip) => {
                let id = self.rig.state.play_now(clip.item("now"));
                self.clips.insert(id, clip);
                self.line.insert(0, id);
                self.queued = true;
            }
            Step::Insert(idx, clip) => {
                let line = self.waiting();
                let id = self.rig.state.insert(idx, clip.item("inserted"));
                self.clips.insert(id, clip);
                self.line = line;
                self.line.insert(idx.min(self.line.len()), id);
                self.queued = true;
            }
            Step::Move(from, to) => {
                self.line = self.waiting();
                let Some(id) = self.line.get(from).copied() else {
                    assert!(self.rig.state.move_to(ItemId(u64::MAX), to).is_err());
                    return;
                };
                self.rig.state.move_to(id, to).expect("it waits");
                self.line.remove(from);
                self.line.insert(to.min(self.line.len()), id);
            }
            Step::Remove(idx) => {
                self.line = self.waiting();
                let Some(id) = self.line.get(idx).copied() else { return };
                self.rig.state.remove(id).expect("it waits");
                self.line.remove(idx);
            }
            Step::Clear => {
                self.rig.state.clear();
                self.line.clear();
            }
            Step::Shuffle(seed) => {
                self.line = self.waiting();
                self.rig.state.shuffle(seed);
                fastrand::Rng::with_seed(seed).shuffle(&mut self.line);
            }
            Step::SkipTo(idx) => {
                self.line = self.waiting();
                let Some(id) = self.line.get(idx).copied() else { return };
                self.rig.state.skip_to(id).expect("it waits");
                self.line.drain(..idx);
            }
            Step::Previous => {
                self.look();
                if self.rig.state.previous().is_ok() {
                    (self.again, self.queued) = (true, true);
                    self.expected.clear();
                }
                self.line = self.waiting();
            }
            Step::Skip => drop(self.rig.state.skip()),
            Step::Pause => self.rig.state.pause(),
            Step::Resume => self.rig.state.resume(),
            Step::Seek(to) => {
                // Frames that had been handed out stay; what comes after begins elsewhere.
                self.look();
                if let Ok(ticket) = self.rig.state.seek(MediaTime::from_millis(to)) {
                    self.tickets.push(ticket);
                    self.expected.clear();
                }
            }
            Step::SeekBy(offset) => {
                self.look();
                if let Ok(ticket) = self.rig.state.seek_by(MediaTime::from_millis(offset)) {
                    self.tickets.push(ticket);
                    self.expected.clear();
                }
            }
            Step::Volume(percent) => {
                assert_eq!(self.rig.state.set_volume(percent).is_ok(), percent <= MAX_VOLUME_PERCENT);
            }
            Step::Crossfade(millis) => {
                let length = MediaTime::from_millis(millis);
                assert_eq!(self.rig.state.set_crossfade(length).is_ok(), millis >= 0);
                self.longest_fade = self.longest_fade.max(length);
            }
            Step::Speed(percent) => {
                assert_eq!(self.rig.state.set_speed(percent).is_ok(), (50..=200).contains(&percent));
            }
            Step::Codecs { h264 } => {
                self.look();
                self.rig.state.set_codecs(VideoCodecs { h264, ..VideoCodecs::ALL });
                self.adapts = true;
            }
            Step::Stop => {
                self.rig.state.stop();
                self.line.clear();
            }
            Step::Crash => self.rig.crash(),
            Step::Run(millis) => self.rig.run(Duration::from_millis(millis)),
            Step::Freeze(millis) => self.rig.freeze(Duration::from_millis(millis)),
        }
        self.look();
    }

    /// The waiting items, as the programme tells them.
    fn waiting(&self) -> Vec<ItemId> {
        self.rig.state.upcoming().iter().map(|queued| queued.id).collect()
    }

    /// What waits is what should, in that order: items leave it, and only at their turn or when
    /// they are found to be unplayable. A loop also puts back what has ended.
    fn check_line(&mut self) {
        let waiting = self.waiting();
        if self.options.repeat == Repeat::Off {
            let mut expected = self.line.iter();
            assert!(
                waiting.iter().all(|id| expected.any(|other| other == id)),
                "{waiting:?} of {:?}",
                self.line
            );
        }
        self.line = waiting;
    }

    /// Checks everything that has come out since the last look.
    fn look(&mut self) {
        self.rig.carry_out();
        self.check_line();
        for (now, frame) in std::mem::take(&mut self.rig.frames) {
            self.see_frame(now, &frame);
        }
        for (now, event) in std::mem::take(&mut self.rig.events) {
            self.see_event(now, &event);
        }
        self.answers.extend(self.rig.sought.drain(..).map(|(ticket, _)| ticket));
    }

    fn see_frame(&mut self, now: Instant, due: &DueFrame) {
        let zero = *self.zero.get_or_insert(due.due);
        assert_eq!(due.due, zero + due.at.to_duration(), "one clock for all");
        assert!(due.at >= self.last_at, "due times never go back");
        self.last_at = due.at;
        let kind = due.frame.kind;
        if kind == MediaKind::Audio {
            assert_eq!(due.at, self.next_slot, "sound in every slot");
            self.next_slot += SLOT;
        }
        let Some(item) = due.item else { return };
        assert!(due.due + LATE >= now, "nothing overdue but silence");
        self.last_due.insert(item, due.due);
        if !self.again {
            assert!(!self.n_ends.contains_key(&item), "nothing after the end");
        }

        let zero_of_item = due.at - due.frame.pts;
        if kind == MediaKind::Audio {
            self.sound = Some((item, due.at, zero_of_item));
        } else if let Some((of, at, zero_of_sound)) = self.sound
            && of == item
            && at == due.at.floor_to(SLOT)
        {
            let skew = (zero_of_item - zero_of_sound).abs();
            assert!(skew <= MediaTime::from_millis(1), "sound and picture are {skew:?} apart");
        }

        // Mixed of two items that both have no sound here; numbers make no sound, either.
        if due.frame.data.len() != size_of::<i64>() {
            return;
        }
        let number = number(&due.frame);
        if let Some(expected) = self.expected.get(&(item, kind)) {
            // What was opened again goes on where it stopped, or at a key before that.
            let retries = matches!(self.options.on_failure, OnFailure::Retry { .. });
            // Numbers cannot be mixed: of a fade, the first half is heard of one item and the second
            // half of the other.
            let most_unheard = if kind == MediaKind::Audio { self.longest_fade.to_ticks(50) / 2 } else { 0 };
            let reopens = retries || self.adapts;
            let begins_anew = (self.again && number <= most_unheard) || (reopens && due.frame.key);
            // In a fade nobody waits for a slow reader of the item that goes.
            let is_lost = self.is_slow && most_unheard > 0 && number > *expected;
            assert!(number == *expected || begins_anew || is_lost, "{number} after {expected} of {kind:?}");
        } else {
            assert!(due.frame.key, "a decoder can begin here");
        }
        self.expected.insert((item, kind), number + 1);
    }

    fn see_event(&mut self, now: Instant, event: &PlayerEvent) {
        match event {
            PlayerEvent::ItemStarted { item, .. } => {
                assert!(self.playing.insert(*item), "started twice");
                let at_most = if self.longest_fade > MediaTime::ZERO { 2 } else { 1 };
                assert!(self.playing.len() <= at_most, "{:?} at once", self.playing);
            }
            PlayerEvent::ItemEnded { item, reason, error, .. } => {
                assert_eq!(error.is_some(), *reason == EndReason::Failed);
                if error.is_some() {
                    assert_eq!(self.given_up.take(), Some(*item), "a failure is told before the end");
                }
                self.playing.remove(item);
                *self.n_ends.entry(*item).or_default() += 1;
                if !self.again {
                    assert!(self.last_due.get(item).is_none_or(|due| *due <= now), "its frames have left");
                }
            }
            PlayerEvent::QueueEnded => {
                assert!(std::mem::take(&mut self.queued), "said twice");
            }
            PlayerEvent::Position { item, position, .. } => {
                assert!(self.playing.contains(item), "between start and end");
                assert!(*position >= MediaTime::ZERO);
            }
            PlayerEvent::ItemStuck { item } => assert!(self.clips.contains_key(item)),
            // The second is told by the driver.
            PlayerEvent::QueueChanged | PlayerEvent::PicturesNotTaken { .. } => {}
            PlayerEvent::ItemFailed { policy: AfterFailure::Retry { nth, of, .. }, .. } => {
                assert!(nth <= of, "as often as was asked for");
            }
            PlayerEvent::ItemFailed { item, .. } => {
                assert_eq!(self.given_up.replace(*item), None, "each is given up once");
            }
            PlayerEvent::ItemStalled { item } => assert!(self.clips.contains_key(item)),
        }
    }

    fn end(mut self) {
        self.take(Step::Stop);
        self.take(Step::Run(1000));
        assert!(!self.queued, "the queue's end has been told");
        self.rig.state.close();
        self.take(Step::Run(1000));
        assert!(self.rig.state.is_finished());
        assert_eq!(self.rig.n_workers(), 0);
        assert_eq!(self.tickets, self.answers, "every seek is answered once, in order");
        for id in self.clips.keys() {
            let n_ends = self.n_ends.get(id).copied().unwrap_or(0);
            assert!(n_ends == 1 || (self.again && n_ends > 1), "{id} ended {n_ends} times");
        }
    }
}
