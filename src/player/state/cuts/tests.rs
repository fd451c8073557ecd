//! A tone is paused, skipped, sought and stopped, and a receiver decodes what comes of it.

use std::time::Duration;

use super::*;
use crate::media::AudioLevel;
use crate::media::codec::opus::SAMPLE_RATE;
use crate::player::testing::tone::{self, Tone};
use crate::player::testing::{Pace, Rig};
use crate::player::{PlayerEvent, PlayerOptions};
use crate::time::MediaTime;

fn rig() -> Rig {
    let pace = Pace { seek: Duration::from_millis(30), ..Pace::default() };
    let mut rig = Rig::new(PlayerOptions { wait_for_listener: false, ..PlayerOptions::default() }, pace);
    rig.state.enqueue(Tone::of_secs(440.0, 4).item());
    rig.run(Duration::from_secs(1));
    rig
}

/// The worst click in all that has come out, as a receiver hears it, without the item's own start.
fn worst_click(rig: &Rig) -> f32 {
    tone::worst_click(&tone::heard(rig)[SAMPLE_RATE as usize / 2..])
}

/// Every slot has its packet, one after the other.
fn is_gapless(rig: &Rig) -> bool {
    let at: Vec<_> = rig.frames.iter().map(|(_, due)| due.at.as_millis()).collect();
    at.windows(2).all(|two| two[1] - two[0] == 20)
}

/// A sine of 440 Hz and −9 dBFS bends by 0.0017 at most by itself; codec and fade add a little.
const AUDIBLE: f32 = 0.012;

#[test]
fn a_pause_falls_silent_softly_and_comes_back_softly() {
    let mut rig = rig();
    rig.state.pause();
    rig.run(Duration::from_millis(500));
    let silent = rig.frames.last().unwrap().1.frame.data.clone();
    assert_eq!(silent[..], SILENCE);
    let n_before = rig.frames.iter().filter(|(_, due)| due.item.is_some()).count();
    rig.state.resume();
    rig.run(Duration::from_secs(1));
    assert!(worst_click(&rig) < AUDIBLE, "{}", worst_click(&rig));
    assert!(is_gapless(&rig));
    // The packet at the pause was heard for 5 ms, and again from its beginning.
    let after: Vec<_> = rig.frames.iter().filter(|(_, due)| due.item.is_some()).skip(n_before - 1).collect();
    assert_eq!(after[0].1.frame.pts, after[1].1.frame.pts);
    assert_ne!(after[0].1.frame.data, after[1].1.frame.data);
}

#[test]
fn a_seek_a_skip_and_a_stop_fall_silent_softly() {
    type Cut = fn(&mut Rig);
    let cuts: [(&str, Cut); 3] = [
        ("seek", |rig| {
            rig.state.seek(MediaTime::from_millis(3_010)).unwrap();
        }),
        ("skip", |rig| rig.state.skip().unwrap()),
        ("stop", |rig| rig.state.stop()),
    ];
    for (what, cut) in cuts {
        let mut rig = rig();
        cut(&mut rig);
        // What follows a seek rises where it is read, which is another story.
        rig.run(Duration::from_millis(45));
        assert!(worst_click(&rig) < AUDIBLE, "{what}: {}", worst_click(&rig));
        assert!(is_gapless(&rig), "{what}");
        let level = |frame: &Frame| frame.level.map_or(127, AudioLevel::neg_dbov);
        let levels: Vec<_> = rig.frames.iter().map(|(_, due)| level(&due.frame)).collect();
        assert!(
            levels.contains(&127) && levels.iter().any(|level| (15..40).contains(level)),
            "{what}: {levels:?}"
        );
    }
}

#[test]
fn an_item_that_ends_by_itself_is_not_cut() {
    let mut rig = rig();
    rig.run(Duration::from_secs(4));
    let n_heard = rig.frames.iter().filter(|(_, due)| due.item.is_some()).count();
    assert_eq!(n_heard, 200, "all of it, and no packet more");
    assert!(rig.events.iter().any(|(_, event)| matches!(event, PlayerEvent::ItemEnded { .. })));
}
