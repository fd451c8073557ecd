//! Synthetic calls: each fault is put in once and must turn up in its own figure.

use super::*;
use crate::emulator::marks::tests::Image;

const RATE: i64 = 48_000;

/// A call that would be `ok`; tests change what they are about.
#[derive(Clone)]
struct Call {
    /// Numbers of the pictures, in order; picture `i` is taken at `i / 30` s.
    numbers: Vec<Option<u32>>,
    /// Added to the arrival of this picture and all after it.
    stall: (usize, MediaTime),
    /// How much later than their flashes the beeps are.
    skew: MediaTime,
    /// RMS of the beep.
    beep: f64,
    tone_hz: f64,
    gains: [f64; 2],
    /// Pictures that arrive in a second.
    pace: u32,
    /// Of the 20 ms packets, those that are made up: as loud as it gets, at another tone.
    concealed: fn(i64) -> bool,
    /// Of the 20 ms packets, those that sound as wrong as the concealed ones and are not: what a
    /// decoder makes of the first packets after a loss.
    spoilt: fn(i64) -> bool,
    /// Of the 20 ms packets, one that nobody misses: no sound stands for it.
    skipped: Option<i64>,
    packets_lost: u64,
}

impl Default for Call {
    fn default() -> Self {
        Self {
            numbers: (0..300).map(|n| Some((n + 450) % 600)).collect(),
            stall: (0, MediaTime::ZERO),
            skew: MediaTime::ZERO,
            beep: 0.25,
            tone_hz: 440.0,
            gains: [-18.0, -24.0],
            pace: 30,
            concealed: |_| false,
            spoilt: |_| false,
            skipped: None,
            packets_lost: 0,
        }
    }
}

const BOTH: Wanted = Wanted { video: true, audio: true };

impl Call {
    fn report(&self) -> Report {
        let mut measure = Measure::new();
        self.play_pictures(&mut measure);
        self.play_sound(&mut measure);
        measure.report(&self.reception(), BOTH)
    }

    fn reception(&self) -> Reception {
        Reception {
            now: MediaTime::from_secs(10),
            join: Duration::from_millis(48),
            video: Some(Codec::H264),
            audio: Some(Codec::Opus),
            audio_packets: 500,
            packets_lost: self.packets_lost,
            packets_repaired: 0,
            frames_dropped: 0,
        }
    }

    fn play_pictures(&self, measure: &mut Measure) {
        for (i, number) in self.numbers.iter().enumerate() {
            let Some(number) = *number else { continue };
            let image = Image::clip(number, number % 30 < 3, 320, 180);
            let taken = MediaTime::from_ticks(i as i64, 30);
            let stall = if i >= self.stall.0 { self.stall.1 } else { MediaTime::ZERO };
            let arrival = MediaTime::from_ticks(i as i64, self.pace) + stall + MediaTime::from_millis(20);
            measure.handle_picture(&Picture { luma: image.as_luma(), arrival, taken: Some(taken) });
        }
    }

    fn play_sound(&self, measure: &mut Measure) {
        for packet in 0..self.numbers.len() as i64 * 5 / 3 {
            if self.skipped == Some(packet) {
                continue;
            }
            let first = packet * 960;
            let concealed = (self.concealed)(packet);
            let wrong = concealed || (self.spoilt)(packet);
            let sample =
                |i| if wrong { [wave(150.0, i as f64 / RATE as f64) as f32; 2] } else { self.sample(i) };
            let samples: Vec<f32> = (first..first + 960).flat_map(sample).collect();
            let taken = MediaTime::from_ticks(first, 48_000);
            measure.handle_sound(&Sound { samples: &samples, arrival: taken, taken: Some(taken), concealed });
        }
    }

    /// Bed and beep as the clips have them.
    fn sample(&self, i: i64) -> [f32; 2] {
        let t = i as f64 / RATE as f64;
        let since_beep = (i - self.skew.to_ticks(48_000)).rem_euclid(RATE) as f64 / RATE as f64;
        let beep = if since_beep < 0.1 { self.beep * wave(1000.0, since_beep) } else { 0.0 };
        self.gains.map(|dbfs| (10_f64.powf(dbfs / 20.0) * wave(self.tone_hz, t) + beep) as f32)
    }
}

/// A sine with an RMS of 1.
fn wave(hz: f64, t: f64) -> f64 {
    (std::f64::consts::TAU * hz * t).sin() * std::f64::consts::SQRT_2
}

/// The only reason contains `words`.
fn assert_only_reason(report: &Report, words: &str) {
    assert_eq!(report.verdict, Verdict::Bad);
    assert!(report.reasons.len() == 1 && report.reasons[0].contains(words), "{:?}", report.reasons);
}

#[test]
fn clean_call_is_ok() {
    let report = Call::default().report();
    assert_eq!(report.reasons, Vec::<String>::new());
    assert_eq!(report.verdict, Verdict::Ok);
    let video = report.video.unwrap();
    assert_eq!((video.width, video.height), (320, 180));
    assert_eq!((video.frames_decoded, video.fps, video.freezes), (300, 30.0, 0));
    // The numbers started again in the middle, and that is no gap.
    assert_eq!(video.frame_numbers_missing, Some(0));
    let audio = report.audio.unwrap();
    assert_eq!(audio.dominant_hz, Some(440.0));
    assert!((audio.left_dbfs.unwrap() + 18.0).abs() < 0.05, "{audio:?}");
    assert!((audio.right_dbfs.unwrap() + 24.0).abs() < 0.05, "{audio:?}");
    assert_eq!(audio.concealed_ms, 0);
    let skew = report.av_skew_ms.unwrap();
    assert!(skew.median.abs() < 0.2 && skew.max.abs() < 0.3, "{skew:?}");
}

#[test]
fn missing_pictures_are_counted() {
    let mut call = Call::default();
    call.numbers[100] = None;
    let report = call.report();
    assert_eq!(report.video.as_ref().unwrap().frame_numbers_missing, Some(1));
    assert_only_reason(&report, "although no packet was lost");
    call.packets_lost = 3;
    assert_eq!(call.report().verdict, Verdict::Ok, "loss excuses one picture of 300");
    call.numbers[200..210].fill(None);
    let report = call.report();
    assert_eq!(report.video.as_ref().unwrap().frame_numbers_missing, Some(11));
    assert_only_reason(&report, "4 % of all");
}

#[test]
fn pictures_lost_where_the_clip_starts_again_are_missing() {
    let mut call = Call::default();
    // 598 and 599 of one round, 0 and 1 of the next.
    call.numbers[148..152].fill(None);
    assert_eq!(call.report().video.unwrap().frame_numbers_missing, Some(4));
}

#[test]
fn numbers_that_run_over_their_end_are_not_missing() {
    let numbers = (0..300).map(|n| Some((n + 65_400) % 65_536)).collect();
    let mut call = Call { numbers, ..Call::default() };
    assert_eq!(call.report().video.unwrap().frame_numbers_missing, Some(0));
    // 65 534 to 1.
    call.numbers[134..138].fill(None);
    assert_eq!(call.report().video.unwrap().frame_numbers_missing, Some(4));
}

#[test]
fn repeated_pictures_are_not_missing() {
    let mut call = Call::default();
    call.numbers[100] = call.numbers[99];
    call.numbers[101] = call.numbers[99];
    assert_eq!(call.report().video.unwrap().frame_numbers_missing, Some(2), "100 and 101 never came");
}

#[test]
fn stalls_are_freezes() {
    let mut call = Call { stall: (90, MediaTime::from_millis(149)), ..Call::default() };
    assert_eq!(call.report().video.unwrap().freezes, 0, "149 ms more than the mean");
    call.stall.1 = MediaTime::from_millis(152);
    let report = call.report();
    assert_eq!(report.video.as_ref().unwrap().freezes, 1);
    assert_eq!(report.verdict, Verdict::Ok, "one short freeze in ten seconds");
    call.stall.1 = MediaTime::from_millis(800);
    let report = call.report();
    assert_eq!(report.video.as_ref().unwrap().freezes, 1);
    assert_only_reason(&report, "stood still for 0.8 of 10.8 s");
}

#[test]
fn what_has_stopped_is_noticed_before_anything_follows() {
    let call = Call::default();
    let mut measure = Measure::new();
    call.play_pictures(&mut measure);
    call.play_sound(&mut measure);
    let at = |now| measure.report(&Reception { now: MediaTime::from_millis(now), ..call.reception() }, BOTH);
    assert_eq!(at(10_400).verdict, Verdict::Ok);
    let report = at(12_000);
    assert_eq!(report.reasons.len(), 2, "{:?}", report.reasons);
    assert!(report.reasons[0].contains("stood still for 2.0 of 12.0 s"), "{:?}", report.reasons);
    assert!(report.reasons[1].contains("2.0 of 12.0 s of sound"), "{:?}", report.reasons);
}

#[test]
fn skew_is_measured_with_its_sign() {
    for (millis, is_bad) in [(30, true), (-30, true), (7, true), (-3, false), (4, false)] {
        let call = Call { skew: MediaTime::from_millis(millis), ..Call::default() };
        let report = call.report();
        let skew = report.av_skew_ms.unwrap();
        assert!((skew.median - millis as f64).abs() < 0.3, "{millis} ms: {skew:?}");
        assert!((skew.max - millis as f64).abs() < 0.4, "{millis} ms: {skew:?}");
        let right = report.audio.as_ref().unwrap().right_dbfs.unwrap();
        assert!((right + 24.0).abs() < 0.05, "no part of a beep gets into the level: {right}");
        assert_eq!(report.verdict == Verdict::Bad, is_bad, "{:?}", report.reasons);
        assert!(report.reasons.iter().all(|reason| reason.contains("apart")), "{:?}", report.reasons);
    }
}

#[test]
fn loss_at_a_flash_or_a_beep_is_not_taken_for_skew() {
    let mut lost_flash = Call { packets_lost: 5, ..Call::default() };
    lost_flash.numbers[60] = None;
    let lost_beep = Call { concealed: |packet| packet == 100, packets_lost: 1, ..Call::default() };
    let lost_before_beep = Call { concealed: |packet| packet == 99, packets_lost: 1, ..Call::default() };
    let spoilt_beep = Call {
        concealed: |packet| packet % 50 == 0,
        spoilt: |packet| matches!(packet % 50, 1 | 2),
        packets_lost: 10,
        ..Call::default()
    };
    assert!(spoilt_beep.report().av_skew_ms.is_none(), "what is left of those beeps begins late");
    let gap_before_beep = Call { skipped: Some(99), ..Call::default() };
    for (name, call) in [
        ("flash", lost_flash),
        ("beep", lost_beep),
        ("before beep", lost_before_beep),
        ("gap before beep", gap_before_beep),
    ] {
        let report = call.report();
        assert!(report.av_skew_ms.unwrap().max.abs() < 0.3, "{name}: {report:?}");
        assert_eq!(report.verdict, Verdict::Ok, "{name}: {:?}", report.reasons);
    }
}

#[test]
fn a_beep_that_stutters_is_one_beep() {
    let mut hearing = Hearing::default();
    let samples: Vec<f32> = (0..RATE)
        .flat_map(|i| {
            let t = i as f64 / RATE as f64;
            let beeps = (0.50..0.54).contains(&t) || (0.58..0.64).contains(&t);
            [if beeps { 0.25 * wave(1000.0, t) as f32 } else { 0.0 }; 2]
        })
        .collect();
    let taken = Some(MediaTime::ZERO);
    hearing.handle_sound(&Sound { samples: &samples, arrival: MediaTime::ZERO, taken, concealed: false });
    assert_eq!(hearing.beeps.len(), 1, "{:?}", hearing.beeps);
    assert!((hearing.beeps[0].as_secs_f64() - 0.5).abs() < 0.001, "{:?}", hearing.beeps);
}

#[test]
fn a_clip_that_does_not_beep_is_bad() {
    assert_only_reason(&Call { beep: 0.0, ..Call::default() }.report(), "no flash and beep");
}

#[test]
fn slow_pictures_are_bad() {
    let report = Call { pace: 26, ..Call::default() }.report();
    assert_eq!(report.video.as_ref().unwrap().fps, 26.0);
    assert_only_reason(&report, "26 pictures came per second instead of 30");
}

#[test]
fn a_slow_rhythm_is_not_a_freeze() {
    let image = Image::gray(16, 16, 90);
    let mut sight = Sight::default();
    let mut show = |millis| {
        let arrival = MediaTime::from_millis(millis);
        sight.handle_picture(&Picture { luma: image.as_luma(), arrival, taken: None });
        sight.n_freezes
    };
    assert_eq!((0..10).map(|i| show(i * 200)).max(), Some(0), "five pictures a second");
    assert_eq!(show(1800 + 590), 0, "less than three times 200 ms, though 390 ms more");
    assert_eq!(show(1800 + 590 + 900), 1);
}

#[test]
fn wrong_tone_and_wrong_levels_are_heard() {
    let report = Call { tone_hz: 443.0, ..Call::default() }.report();
    assert_eq!(report.audio.as_ref().unwrap().dominant_hz, Some(443.0));
    assert_only_reason(&report, "443 Hz instead of 440 Hz");

    let report = Call { gains: [-18.0, -25.5], ..Call::default() }.report();
    assert_only_reason(&report, "the right channel has -25.5 dBFS instead of -24 dBFS");

    let report = Call { gains: [-24.0, -18.0], ..Call::default() }.report();
    assert_eq!(report.reasons.len(), 2, "swapped channels: {:?}", report.reasons);
}

#[test]
fn concealed_sound_counts_and_does_not_spoil_the_rest() {
    let report = Call { concealed: |packet| packet % 20 == 0, packets_lost: 25, ..Call::default() }.report();
    assert_eq!(report.verdict, Verdict::Ok, "{:?}", report.reasons);
    let audio = report.audio.unwrap();
    assert_eq!(audio.concealed_ms, 500);
    assert!((audio.left_dbfs.unwrap() + 18.0).abs() < 0.05, "{audio:?}");

    let report = Call { concealed: |packet| packet % 3 == 0, packets_lost: 167, ..Call::default() }.report();
    assert_eq!(report.audio.as_ref().unwrap().concealed_ms, 3340);
    assert_eq!(report.verdict, Verdict::Bad);
    assert!(report.reasons[0].contains("3.3 of 10.0 s"), "{:?}", report.reasons);
}

#[test]
fn a_slow_receiver_is_named_as_the_reason() {
    let call = Call::default();
    let mut measure = Measure::new();
    call.play_pictures(&mut measure);
    call.play_sound(&mut measure);
    let reception = Reception { frames_dropped: 3, ..call.reception() };
    assert_only_reason(&measure.report(&reception, BOTH), "too slow for 3 frames");
}

#[test]
fn one_track_is_enough_when_only_one_is_wanted() {
    let call = Call::default();
    let mut measure = Measure::new();
    call.play_sound(&mut measure);
    let reception = Reception { video: None, ..call.reception() };
    let report = measure.report(&reception, Wanted { video: false, audio: true });
    assert_eq!((report.verdict, &report.video, report.av_skew_ms), (Verdict::Ok, &None, None));
    assert_only_reason(&measure.report(&reception, BOTH), "no video came");

    let mut measure = Measure::new();
    call.play_pictures(&mut measure);
    let reception = Reception { audio: None, ..call.reception() };
    let report = measure.report(&reception, Wanted { video: true, audio: false });
    assert_eq!((report.verdict, &report.audio, report.av_skew_ms), (Verdict::Ok, &None, None));
    assert_only_reason(&measure.report(&reception, BOTH), "no sound came");
}

#[test]
fn a_track_that_nobody_wanted_is_not_judged() {
    let call = Call::default();
    let mut measure = Measure::new();
    call.play_pictures(&mut measure);
    for packet in 0..500 {
        let taken = MediaTime::from_millis(20 * packet);
        let sound = Sound { samples: &[0.0; 1920], arrival: taken, taken: Some(taken), concealed: false };
        measure.handle_sound(&sound);
    }
    let report = measure.report(&call.reception(), Wanted { video: true, audio: false });
    assert_eq!((report.verdict, report.audio, report.av_skew_ms), (Verdict::Ok, None, None));
    assert!(report.video.is_some());
    assert_eq!(measure.report(&call.reception(), BOTH).verdict, Verdict::Bad, "wanted, silence is wrong");

    let mut measure = Measure::new();
    call.play_sound(&mut measure);
    let report = measure.report(&call.reception(), Wanted { video: false, audio: true });
    assert_eq!((report.verdict, report.video, report.av_skew_ms), (Verdict::Ok, None, None));
    assert!(report.audio.is_some());
}

#[test]
fn sound_alone_is_known_as_a_clip_by_its_beeps() {
    let call = Call { gains: [-18.0, -18.0], ..Call::default() };
    let mut measure = Measure::new();
    call.play_sound(&mut measure);
    let reception = Reception { video: None, ..call.reception() };
    assert_only_reason(&measure.report(&reception, Wanted { video: false, audio: true }), "right channel");
}

#[test]
fn nothing_received_is_bad() {
    let measure = Measure::new();
    let wanted = Wanted { video: false, audio: false };
    assert_only_reason(&measure.report(&Reception::default(), wanted), "nothing to judge");
    let reception = Call::default().reception();
    let report = measure.report(&reception, BOTH);
    assert_eq!(report.reasons.len(), 2, "{:?}", report.reasons);
    assert_eq!(report.audio.unwrap().left_dbfs, None);
}

#[test]
fn other_media_is_not_judged_as_a_clip() {
    let mut measure = Measure::new();
    let image = Image::gray(320, 180, 90);
    for i in 0..250 {
        let taken = MediaTime::from_ticks(i, 25);
        measure.handle_picture(&Picture { luma: image.as_luma(), arrival: taken, taken: Some(taken) });
    }
    Call { gains: [-9.0, -9.0], tone_hz: 523.0, beep: 0.0, ..Call::default() }.play_sound(&mut measure);
    let report = measure.report(&Call::default().reception(), BOTH);
    assert_eq!(report.verdict, Verdict::Ok, "{:?}", report.reasons);
    assert_eq!(report.video.unwrap().frame_numbers_missing, None);
    assert_eq!(report.audio.unwrap().dominant_hz, Some(523.0));
}

#[test]
fn times_come_only_with_the_first_sender_report() {
    let call = Call::default();
    let mut measure = Measure::new();
    let samples: Vec<f32> = (0..RATE * 3).flat_map(|i| call.sample(i)).collect();
    measure.handle_sound(&Sound {
        samples: &samples,
        arrival: MediaTime::ZERO,
        taken: None,
        concealed: false,
    });
    assert!(measure.hearing.beeps.is_empty());
    assert!(measure.hearing.levels_dbfs().is_some(), "tone and levels need no clock");
}

#[test]
fn report_is_the_documented_json() {
    let report = Call::default().report();
    let json = serde_json::to_value(&report).unwrap();
    let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected =
        ["verdict", "join_ms", "video", "audio", "av_skew_ms", "packets_lost", "packets_repaired", "plan"];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(json["verdict"], "ok");
    assert_eq!(json["video"]["codec"], "h264");
    assert_eq!(json["plan"], serde_json::Value::Null);
    assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
}
