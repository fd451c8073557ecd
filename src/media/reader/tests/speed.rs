//! A clip with a beep at every second picture-wise goes by faster and slower.

use super::*;

/// Where the beep of each second is heard: the middle of its 100 ms, in seconds of playing.
fn beeps(sound: &[f32], expected: &[f64]) -> Vec<f64> {
    const STEP: usize = 240;
    let left: Vec<f32> = sound.iter().step_by(CHANNELS).copied().collect();
    // The power of 1 kHz in steps of 5 ms: five whole periods.
    let power = |at: usize| {
        let (mut re, mut im) = (0.0, 0.0);
        for (n, sample) in left[at..at + STEP].iter().enumerate() {
            let (sin, cos) = (std::f32::consts::TAU * n as f32 / 48.0).sin_cos();
            re += sample * cos;
            im += sample * sin;
        }
        f64::from(re * re + im * im)
    };
    let middle = |wanted: f64| {
        let from = ((wanted - 0.25) * SECOND as f64).max(0.0) as usize;
        let until = (((wanted + 0.25) * SECOND as f64) as usize).min(left.len() - STEP);
        let steps: Vec<_> = (from..until).step_by(STEP).map(|at| (at, power(at))).collect();
        let loudest = steps.iter().map(|(_, power)| *power).fold(0.0, f64::max);
        let loud = steps.iter().filter(|(_, power)| *power > loudest / 4.0);
        let middles: Vec<f64> = loud.map(|(at, _)| (at + STEP / 2) as f64 / SECOND as f64).collect();
        middles.iter().sum::<f64>() / middles.len() as f64
    };
    expected.iter().map(|wanted| middle(*wanted)).collect()
}

/// Beeps and the pictures that they belong to are together, those at `except` aside.
fn assert_in_step(frames: &[Frame], except: impl Fn(usize) -> bool) {
    let pictures = of_kind(frames, MediaKind::Video);
    assert_eq!(pictures.len(), 600);
    assert!(pictures.windows(2).all(|two| two[0].pts < two[1].pts));
    // The middle of the beep lies beside the picture after the next two.
    let seen: Vec<f64> = pictures
        .chunks(30)
        .map(|second| (second[1].pts.as_secs_f64() + second[2].pts.as_secs_f64()) / 2.0)
        .collect();
    let heard = beeps(&heard(frames, 0), &seen);
    for (nth, (seen, heard)) in seen.iter().zip(&heard).enumerate() {
        assert!(except(nth) || (seen - heard).abs() < 0.008, "{nth}: seen at {seen}, heard at {heard}");
    }
}

fn clip() -> Reader {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/clip.mp4");
    Reader::open(path, ReaderOptions::default()).unwrap()
}

#[test]
fn pictures_are_copied_at_any_speed_and_the_sound_stays_with_them() {
    let plain = of_kind(&frames(&mut clip()), MediaKind::Video);
    for percent in [80_u16, 200] {
        let mut reader = clip();
        let pace = reader.set_speed(percent);
        assert_eq!((pace.media, pace.play, pace.percent), (MediaTime::ZERO, MediaTime::ZERO, percent));
        let frames = frames(&mut reader);
        assert_in_step(&frames, |_| false);
        for (picture, plain) in of_kind(&frames, MediaKind::Video).iter().zip(&plain) {
            assert_eq!(picture.data, plain.data);
            assert_eq!(picture.pts, plain.pts.scaled(100, u32::from(percent)));
        }
        let n_sounds = of_kind(&frames, MediaKind::Audio).len();
        let expected = 1000 * 100 / usize::from(percent);
        assert!(n_sounds.abs_diff(expected) <= 3, "{percent}: {n_sounds} and not {expected}");
    }
}

#[test]
fn the_speed_can_change_at_any_time() {
    let mut reader = clip();
    let (mut all, mut changes) =
        (Vec::new(), vec![(3.0, 200), (5.5, 100), (8.5, 50), (15.0, 125)].into_iter());
    let mut next = changes.next();
    let mut changed_at = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        if let Some((at, percent)) = next
            && frame.pts.as_secs_f64() >= at
        {
            let pace = reader.set_speed(percent);
            assert_eq!(pace.percent, percent);
            changed_at.push(pace.media.as_secs_f64());
            next = changes.next();
        }
        all.push(frame);
    }
    assert_eq!(changed_at.len(), 4);
    assert_in_step(&all, |nth| changed_at.iter().any(|at| (at - nth as f64 - 0.05).abs() < 0.2));
}

#[test]
fn after_a_seek_it_goes_on_at_its_speed_from_the_place_that_was_found() {
    let mut reader = clip();
    reader.set_speed(200);
    let landed = reader.seek(MediaTime::from_millis(8_200)).unwrap();
    assert_eq!(landed, MediaTime::from_secs(8));
    let frames = frames(&mut reader);
    let pictures = of_kind(&frames, MediaKind::Video);
    assert_eq!((pictures.len(), pictures[0].pts), (360, landed));
    assert_eq!(pictures[30].pts, landed + MediaTime::from_millis(500));
    assert_eq!(of_kind(&frames, MediaKind::Audio)[0].pts, landed);
}

#[test]
fn slow_pictures_do_not_part_from_the_sound_wherever_the_speed_changes() {
    for n_before in 40..64 {
        let mut reader = Reader::open("test:320x180@10?for=8s", ReaderOptions::default()).unwrap();
        for _ in 0..n_before {
            reader.next_frame().unwrap().unwrap();
        }
        reader.set_speed(200);
        let rest = frames(&mut reader);
        let [sound, pictures] = [MediaKind::Audio, MediaKind::Video].map(|kind| {
            let last = of_kind(&rest, kind).pop().unwrap();
            last.pts + last.duration
        });
        assert!(
            (sound - pictures).abs() <= MediaTime::from_millis(60),
            "{n_before}: {sound:?}, {pictures:?}"
        );
    }
}
