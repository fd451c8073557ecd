//! Tones and numbered clips go over into each other under a clock that the test turns.

use std::time::Duration;

use super::*;
use crate::media::codec::opus::SAMPLE_RATE;
use crate::player::item::Item;
use crate::player::testing::tone::{self, Tone};
use crate::player::testing::{Clip, Pace, Rig, number};
use crate::player::{PlayerOptions, Repeat};

/// By itself, 1 kHz at −9 dBFS bends by 0.0086 from one sample to the next; the codec adds a little.
const AUDIBLE: f32 = 0.0115;

fn ms(millis: i64) -> MediaTime {
    MediaTime::from_millis(millis)
}

fn rig(crossfade: MediaTime) -> Rig {
    let options = PlayerOptions { wait_for_listener: false, crossfade, ..PlayerOptions::default() };
    Rig::new(options, Pace::default())
}

fn run(rig: &mut Rig, millis: u64) {
    rig.run(Duration::from_millis(millis));
}

/// Two tones of 4 s, and the programme up to the first slot of their fade.
fn two_tones(crossfade: MediaTime) -> Rig {
    let mut rig = rig(crossfade);
    rig.state.enqueue(Tone::of_secs(440.0, 4).item());
    rig.state.enqueue(Tone::of_secs(1000.0, 4).item());
    while rig.state.crossfade.is_none() {
        run(&mut rig, 20);
    }
    rig
}

fn told(rig: &Rig) -> Vec<String> {
    let words = rig.events.iter().filter_map(|(_, event)| match event {
        PlayerEvent::ItemStarted { item, .. } => Some(format!("{item} starts")),
        PlayerEvent::ItemEnded { item, reason, .. } => Some(format!("{item} {}", reason.as_str())),
        _ => None,
    });
    words.collect()
}

/// When an event came, on the programme's clock.
fn when(rig: &Rig, wanted: impl Fn(&PlayerEvent) -> bool) -> MediaTime {
    let (at, _) = rig.events.iter().find(|(_, event)| wanted(event)).expect("it came");
    let (_, first) = &rig.frames[0];
    MediaTime::from(*at - (first.due - first.at.to_duration()))
}

/// From the start of item 2 to the end of item 1.
fn overlap(rig: &Rig) -> MediaTime {
    when(rig, |event| matches!(event, PlayerEvent::ItemEnded { item: ItemId(1), .. }))
        - when(rig, |event| matches!(event, PlayerEvent::ItemStarted { item: ItemId(2), .. }))
}

fn is_gapless(rig: &Rig) -> bool {
    let sound = rig.frames.iter().map(|(_, due)| due).filter(|due| due.frame.kind == MediaKind::Audio);
    let at: Vec<_> = sound.map(|due| due.at).collect();
    at.windows(2).all(|two| two[1] - two[0] == SLOT)
}

#[test]
fn two_tones_go_over_into_each_other_with_equal_power() {
    let mut rig = two_tones(ms(1600));
    run(&mut rig, 8000);
    assert_eq!(told(&rig), ["1 starts", "2 starts", "1 finished", "2 finished"]);
    assert_eq!(overlap(&rig), ms(1600));
    assert!(is_gapless(&rig));
    let n_sounding = rig.frames.iter().filter(|(_, due)| due.item.is_some()).count();
    assert_eq!(n_sounding, 200 + 200 - 80, "what is heard together is heard once");
    let first = rig.frames.iter().position(|(_, due)| due.item.is_some()).expect("it sounds");
    let sound = tone::heard(&rig);
    let begun = (first + 120) * 960;
    let window = SAMPLE_RATE as usize / 10;
    for nth in 0..16 {
        let part = &sound[begun + nth * window..begun + (nth + 1) * window];
        let way = (nth as f32 + 0.5) / 16.0 * std::f32::consts::FRAC_PI_2;
        let (old, new) = (tone::loudness(part, 440.0), tone::loudness(part, 1000.0));
        let power_db = 20.0 * old.hypot(new).log10();
        assert!(power_db.abs() < 1.0, "{nth}: {power_db} dB");
        for (is, wanted) in [(old, way.cos()), (new, way.sin())] {
            assert!((is - wanted).abs() < 0.05, "{nth}: {old} and {new}");
        }
    }
    let steady = (first + 10) * 960..(first + 310) * 960;
    let click = tone::worst_click(&sound[steady]);
    assert!(click < AUDIBLE, "{click}");
    // Before and behind the fade the items' own packets go out.
    let sent = |nth: usize| &rig.frames[first + nth].1.frame.data;
    assert_eq!(sent(119), Tone::of_secs(440.0, 4).packet(119));
    assert_eq!(sent(202), Tone::of_secs(1000.0, 4).packet(82));
}

#[test]
fn a_fade_that_is_paused_goes_on_where_it_stood() {
    let mut rig = two_tones(ms(1600));
    run(&mut rig, 800);
    rig.state.pause();
    run(&mut rig, 1000);
    assert_eq!(told(&rig), ["1 starts", "2 starts"]);
    assert_eq!(rig.frames.last().expect("silence").1.item, None);
    rig.state.resume();
    run(&mut rig, 4500);
    assert_eq!(told(&rig), ["1 starts", "2 starts", "1 finished", "2 finished"]);
    assert!(is_gapless(&rig));
    let first = rig.frames.iter().position(|(_, due)| due.item.is_some()).expect("it sounds");
    let n_sounding = rig.frames.iter().filter(|(_, due)| due.item.is_some()).count();
    assert_eq!(n_sounding, 320 + 1, "the slot at the pause falls, and comes again");
    let sound = tone::heard(&rig);
    let last = rig.frames.iter().rposition(|(_, due)| due.item.is_some()).expect("it sounds");
    let click = tone::worst_click(&sound[(first + 10) * 960..(last - 5) * 960]);
    assert!(click < AUDIBLE, "{click}");
}

#[test]
fn whoever_steers_in_a_fade_means_the_item_that_comes() {
    type Step = fn(&mut Rig);
    let steps: [(&str, Step, &[&str]); 6] = [
        ("skip", |rig| rig.state.skip().unwrap(), &["1 finished", "2 skipped", "3 starts"]),
        ("remove", |rig| rig.state.remove(ItemId(2)).unwrap(), &["1 finished", "2 removed", "3 starts"]),
        ("skip to", |rig| rig.state.skip_to(ItemId(3)).unwrap(), &["1 finished", "2 skipped", "3 starts"]),
        ("previous", |rig| rig.state.previous().unwrap(), &["1 finished", "2 skipped", "1 starts"]),
        ("seek", |rig| assert!(rig.state.seek(ms(1010)).is_ok()), &["1 finished"]),
        ("stop", |rig| rig.state.stop(), &["1 stopped", "2 stopped", "3 stopped"]),
    ];
    for (what, step, expected) in steps {
        let mut rig = two_tones(ms(1600));
        rig.state.enqueue(Tone::of_secs(700.0, 4).item());
        run(&mut rig, 800);
        step(&mut rig);
        run(&mut rig, 300);
        let told = told(&rig);
        assert_eq!(told[..2], ["1 starts", "2 starts"], "{what}");
        assert_eq!(told[2..], *expected, "{what}");
        assert!(is_gapless(&rig), "{what}");
        if what == "stop" {
            let first = rig.frames.iter().position(|(_, due)| due.item.is_some()).expect("it sounds");
            let click = tone::worst_click(&tone::heard(&rig)[(first + 10) * 960..]);
            assert!(click < AUDIBLE, "{click}");
        }
    }
}

#[test]
fn a_fade_is_as_long_as_both_items_allow() {
    let fade = |first: Item, second: Item, seek: Option<i64>| {
        let mut rig = rig(ms(3000));
        rig.state.enqueue(first);
        rig.state.enqueue(second);
        run(&mut rig, 500);
        if let Some(to) = seek {
            rig.state.seek(ms(to)).expect("it plays");
        }
        run(&mut rig, 12_000);
        assert_eq!(told(&rig).len(), 4);
        assert!(is_gapless(&rig));
        overlap(&rig)
    };
    let tone = |secs| Tone::of_secs(440.0, secs);
    assert_eq!(fade(tone(6).item(), tone(6).item(), None), ms(3000));
    assert_eq!(fade(tone(6).item(), tone(2).item(), None), ms(1000), "half of the next one");
    assert_eq!(fade(tone(2).item(), tone(6).item(), None), ms(1000), "half of the first one");
    assert_eq!(fade(tone(6).item().stop_at(ms(3000)), tone(6).item(), None), ms(1500));
    assert_eq!(fade(tone(6).item().start_at(ms(4000)), tone(6).item(), None), ms(1000));
    assert_eq!(fade(tone(6).item(), tone(6).item(), Some(4480)), ms(1500), "what is left after a seek");
    let endless = tone(2).without_length();
    assert_eq!(fade(endless.clone().item(), tone(6).item(), None), ms(0), "nobody knows when it ends");
    assert_eq!(fade(tone(4).item(), endless.item(), None), ms(2000), "its beginning is known");
}

#[test]
fn what_repeats_alone_begins_anew_at_its_end() {
    let mut rig = rig(ms(500));
    rig.state.set_repeat(Repeat::One);
    rig.state.enqueue(Tone::of_secs(440.0, 2).item());
    rig.state.enqueue(Tone::of_secs(1000.0, 2).item());
    run(&mut rig, 4700);
    assert_eq!(told(&rig), ["1 starts", "1 finished", "1 starts", "1 finished", "1 starts"]);
    rig.state.set_repeat(Repeat::All);
    run(&mut rig, 5000);
    assert_eq!(
        told(&rig)[5..],
        ["2 starts", "1 finished", "1 starts", "2 finished", "2 starts", "1 finished"]
    );
}

#[test]
fn the_length_can_be_set_while_it_plays() {
    let mut rig = rig(ms(0));
    for frequency in [440.0, 1000.0, 700.0] {
        rig.state.enqueue(Tone::of_secs(frequency, 3).item());
    }
    run(&mut rig, 3500);
    assert_eq!(overlap(&rig), ms(0));
    rig.state.set_crossfade(ms(1000)).expect("it is in range");
    run(&mut rig, 100);
    assert_eq!(rig.status.crossfade, ms(1000));
    assert!(rig.state.set_crossfade(ms(12_001)).is_err());
    run(&mut rig, 2000);
    assert_eq!(told(&rig), ["1 starts", "1 finished", "2 starts", "3 starts"]);
}

#[test]
fn a_reader_that_fails_in_a_fade_ends_alone() {
    for (on_failure, ends) in [(OnFailure::Skip, "2 finished"), (OnFailure::Stop, "2 stopped")] {
        let options = PlayerOptions {
            wait_for_listener: false,
            crossfade: ms(2000),
            on_failure,
            ..PlayerOptions::default()
        };
        let mut rig = Rig::new(options, Pace::default());
        rig.state.enqueue(Clip { fails_at: Some(ms(4000)), ..Clip::of_secs(5) }.item("bad"));
        rig.state.enqueue(Clip::of_secs(5).item("good"));
        run(&mut rig, 10_000);
        assert_eq!(told(&rig), ["1 starts", "2 starts", "1 failed", ends]);
        assert!(is_gapless(&rig));
    }
}

#[test]
fn whoever_steers_while_what_goes_has_failed_breaks_nothing() {
    for delay in (0..1000).step_by(5) {
        let options = PlayerOptions {
            wait_for_listener: false,
            crossfade: ms(2000),
            on_failure: OnFailure::Stop,
            ..PlayerOptions::default()
        };
        let mut rig = Rig::new(options, Pace::default());
        rig.state.enqueue(Clip { fails_at: Some(ms(4000)), ..Clip::of_secs(5) }.item("bad"));
        rig.state.enqueue(Clip::of_secs(5).item("good"));
        while rig.state.crossfade.is_none() {
            run(&mut rig, 20);
        }
        run(&mut rig, 500 + delay);
        // Whether there is something left to seek in depends on who was first.
        let _either = rig.state.seek(ms(1000));
        run(&mut rig, 1000);
        let ends =
            |id: &str| told(&rig).iter().filter(|it| it.starts_with(id) && !it.contains("starts")).count();
        assert!(ends("1 ") == 1 && ends("2 ") <= 1, "{delay}: {:?}", told(&rig));
    }
}

#[test]
fn pictures_of_the_next_item_begin_with_its_sound() {
    let mut rig = rig(ms(2000));
    let items = [0, 1].map(|_| rig.state.enqueue(Clip::of_secs(5).item("clip")));
    run(&mut rig, 9000);
    let pictures: Vec<_> =
        rig.frames.iter().map(|(_, due)| due).filter(|due| due.frame.kind == MediaKind::Video).collect();
    let of = |item| pictures.iter().filter(move |due| due.item == Some(item));
    let numbers = |item| of(item).map(|due| number(&due.frame)).collect::<Vec<_>>();
    assert_eq!(numbers(items[0]), (0..75).collect::<Vec<_>>());
    assert_eq!(numbers(items[1]), (0..125).collect::<Vec<_>>());
    assert_eq!(
        of(items[1]).next().unwrap().at - of(items[0]).next_back().unwrap().at,
        ms(40),
        "no picture too many"
    );
}
