//! Items of any loudness come out at the one that is wanted.

use ebur128::{EbuR128, Mode};

use super::*;

/// How loud a receiver hears these frames, in LUFS.
fn loudness(frames: &[Frame], first: i64) -> f64 {
    let mut meter = EbuR128::new(2, SAMPLE_RATE, Mode::I).unwrap();
    meter.add_frames_f32(&heard(frames, first)).unwrap();
    meter.loudness_global().unwrap()
}

fn at_16_lufs(script: Script) -> Reader {
    let options = ReaderOptions { loudness_lufs: Some(-16.0), ..ReaderOptions::default() };
    Reader::new(Box::new(script), "clip", options).unwrap()
}

fn quiet(by: f32) -> Vec<f32> {
    melody(5 * SECOND).iter().map(|sample| sample * by).collect()
}

#[test]
fn a_quiet_and_a_loud_copied_track_come_out_alike_and_keep_their_places() {
    for by in [0.15, 1.5] {
        let sound = opus_packets(0, &quiet(by));
        let as_it_is = frames(&mut open(Script::new(&[opus_track(0)], &[&sound])));
        let leveled = frames(&mut at_16_lufs(Script::new(&[opus_track(0)], &[&sound])));
        assert!((loudness(&as_it_is, 0) + 16.0).abs() > 3.0, "{}", loudness(&as_it_is, 0));
        assert!((loudness(&leveled, 0) + 16.0).abs() < 0.7, "{by}: {}", loudness(&leveled, 0));
        assert_eq!(leveled.len(), as_it_is.len());
        assert_eq!(lag(&heard(&leveled, 0), &heard(&as_it_is, 0), SECOND..2 * SECOND), 0);
    }
}

#[test]
fn what_is_right_already_is_copied() {
    // 3.3 dB above the target as it is.
    let sound = opus_packets(0, &quiet(1.0));
    let before = loudness(&frames(&mut open(Script::new(&[opus_track(0)], &[&sound]))), 0);
    let by = 10.0_f32.powf((-16.0 - before as f32) / 20.0);
    let sound = opus_packets(0, &quiet(by));
    let leveled = frames(&mut at_16_lufs(Script::new(&[opus_track(0)], &[&sound])));
    let copied = leveled.iter().zip(&sound).filter(|(frame, packet)| frame.data == packet.data).count();
    assert!(copied >= leveled.len() - 1, "{copied} of {}", leveled.len());
}

#[test]
fn the_correction_holds_behind_a_seek_and_beside_a_volume() {
    let sound = opus_packets(0, &quiet(0.15));
    let mut reader = at_16_lufs(Script::new(&[opus_track(0)], &[&sound]));
    reader.next_frame().unwrap();
    reader.seek(MediaTime::from_secs(3)).unwrap();
    let after = frames(&mut reader);
    assert!((loudness(&after, 150) + 16.0).abs() < 0.7, "{}", loudness(&after, 150));
    let mut reader = at_16_lufs(Script::new(&[opus_track(0)], &[&sound]));
    reader.set_volume(0.5);
    assert!((loudness(&frames(&mut reader), 0) + 22.0).abs() < 0.7);
}

#[test]
fn what_has_played_once_is_known_the_next_time() {
    let dir = tempfile::tempdir().unwrap();
    let cache = crate::media::cache::Cache::open(dir.path(), 1 << 20).unwrap();
    let song = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("media/music.ogg");
    let options =
        ReaderOptions { loudness_lufs: Some(-23.0), cache: Some(cache.clone()), ..ReaderOptions::default() };
    // Half of it says nothing, and neither does what is left of it after a seek.
    let mut reader = Reader::open(&song, options.clone()).unwrap();
    reader.next_frame().unwrap().unwrap();
    reader.seek(MediaTime::from_secs(8)).unwrap();
    frames(&mut reader);
    assert_eq!(cache.loudness(&song), None);

    let measuring = frames(&mut Reader::open(&song, options.clone()).unwrap());
    let known = cache.loudness(&song).expect("it was heard from its beginning to its end");
    let mut reader = Reader::open(&song, options).unwrap();
    let knowing = frames(&mut reader);
    assert_eq!(knowing.len(), measuring.len());
    let target = loudness(&knowing, 0);
    assert!((target + 23.0).abs() < 0.4, "{known:?} comes to {target}");
}
