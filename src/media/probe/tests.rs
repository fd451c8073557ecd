use std::path::PathBuf;

use expect_test::{Expect, expect};

use super::*;
use crate::media::script::{
    Picture, Script, baseline, h264_track, in_order, opus_packets, opus_track, pictures, sps,
};

fn probe_clip(name: &str) -> Probe {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("media").join(name);
    let mut probe = Probe::of(path).unwrap();
    // Where the checkout lies is nobody's business in a golden text.
    let short = |text: &str| text.replace(concat!(env!("CARGO_MANIFEST_DIR"), "/"), "");
    (probe.file, probe.remedy) = (short(&probe.file), probe.remedy.as_deref().map(short));
    probe
}

fn check(name: &str, expected: &Expect) {
    let mut text = Vec::new();
    probe_clip(name).write_report(&mut text).unwrap();
    expected.assert_eq(&String::from_utf8(text).unwrap());
}

fn probe_script(script: Script) -> Probe {
    Probe::scan(Box::new(script), "clip.mp4".to_owned(), 1000, |_, _| {}).unwrap()
}

#[test]
fn the_usual_clip() {
    check("clip.mp4", &expect![]);
}

#[test]
fn a_clip_that_is_copied_altogether() {
    check("clip.mkv", &expect![]);
}

#[test]
fn a_long_gop() {
    check("long-gop.mp4", &expect![]);
}

#[test]
fn b_frames() {
    check("bframes.mp4", &expect![]);
}

#[test]
fn sound_alone() {
    check("music.mp3", &expect![]);
}

#[test]
fn programs_read_json() {
    let json = serde_json::to_string_pretty(&probe_clip("bframes.mp4")).unwrap();
    expect![].assert_eq(&json);
}

#[test]
fn a_b_frame_far_behind_the_plan_is_found() {
    let main = sps(77, true);
    let order: Vec<_> = in_order(200, 25).into_iter().chain([(Picture::P, 202), (Picture::B, 201)]).collect();
    let probe = probe_script(Script::new(&[h264_track(&main)], &[&pictures(0, &main, &order)]));
    assert_eq!((probe.playable, &*probe.plan.video.plan), (false, "refused: h264"));
    assert_eq!(probe.pictures.unwrap().first_b_frame_ms, Some(201 * 40));
    assert!(probe.remedy.unwrap().contains("libx264"));
}

#[test]
fn groups_of_pictures_are_measured() {
    let sps = baseline();
    // Keyframes at 0, 10, 40 and 50 of 60 pictures of 40 ms.
    let kind = |n| if [0, 10, 40, 50].contains(&n) { Picture::Idr } else { Picture::P };
    let order: Vec<_> = (0..60).map(|n| (kind(n), n)).collect();
    let probe = probe_script(Script::new(&[h264_track(&sps)], &[&pictures(0, &sps, &order)]));
    let pictures = probe.pictures.unwrap();
    assert_eq!((pictures.n_pictures, pictures.n_keyframes), (60, 4));
    assert_eq!((pictures.gop_min_ms, pictures.gop_median_ms, pictures.gop_max_ms), (400, 400, 1200));
    assert!(
        probe.viewer.iter().any(|s| s == "A viewer who joins sees a picture within 1.2 s."),
        "{:?}",
        probe.viewer
    );
    assert!(probe.viewer.iter().any(|s| s.contains("no sound")), "{:?}", probe.viewer);
    assert_eq!((probe.remedy, probe.duration_ms), (None, 2400));
}

#[test]
fn the_peak_is_the_busiest_second() {
    let sps = baseline();
    let mut pictures = pictures(0, &sps, &in_order(100, 25));
    // 25 pictures a second: 1000 bytes each, 30 000 each from 1.5 s to 2.5 s.
    for (index, packet) in pictures.iter_mut().enumerate() {
        let n_bytes = if (38..63).contains(&index) { 30_000 } else { 1000 };
        let mut data = packet.data.to_vec();
        data.resize(n_bytes, 0xff);
        packet.data = data.into();
    }
    let probe = probe_script(Script::new(&[h264_track(&sps)], &[&pictures]));
    let track = &probe.tracks[0];
    assert_eq!((track.peak_bps, track.bitrate_bps), (25 * 30_000 * 8, (25 * 30_000 + 75 * 1000) * 8 / 4));
    assert!((track.fps.unwrap() - 25.0).abs() < 1e-9);
    assert!(probe.viewer.iter().any(|s| s.contains("6.0 Mbit/s")), "{:?}", probe.viewer);
}

#[test]
fn tracks_that_do_not_begin_or_end_together_are_told() {
    let sps = baseline();
    let mut sound = opus_packets(1, &vec![0.0; 48_000 * 2 * 2]);
    sound.iter_mut().for_each(|packet| packet.pts += MediaTime::from_secs(3));
    let script =
        Script::new(&[h264_track(&sps), opus_track(0)], &[&pictures(0, &sps, &in_order(250, 25)), &sound]);
    let probe = probe_script(script);
    assert!(
        probe.viewer.iter().any(|s| s == "The sound begins 3.0 s after the picture."),
        "{:?}",
        probe.viewer
    );
    assert!(
        probe.viewer.iter().any(|s| s == "The sound ends 5.0 s before the picture."),
        "{:?}",
        probe.viewer
    );
}

#[test]
fn damage_is_told_and_nothing_but_damage_is_an_error() {
    let mut script = Script::new(&[opus_track(0)], &[&opus_packets(0, &[0.0; 19_200])]);
    script.damaged_before = vec![3, 5];
    let probe = probe_script(script);
    assert_eq!((probe.damaged_places, probe.damage.len()), (2, 2));
    let mut text = Vec::new();
    probe.write_report(&mut text).unwrap();
    assert!(String::from_utf8(text).unwrap().contains("Damaged in 2 places"));
    let mut script = Script::new(&[opus_track(0)], &[]);
    script.damaged_before = vec![0];
    let error = Probe::scan(Box::new(script), "x".to_owned(), 0, |_, _| {}).unwrap_err();
    assert!(matches!(error, MediaError::Demux(DemuxError::Damaged { .. })));
}

#[test]
fn progress_rises_to_the_whole_file() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("media/music.ogg");
    let mut seen = Vec::new();
    let probe = Probe::with_progress(&path, |done, total| seen.push((done, total))).unwrap();
    assert!(seen.is_sorted() && seen.len() > 100);
    assert_eq!(seen.last(), Some(&(probe.size_bytes, std::fs::metadata(&path).unwrap().len())));
}
