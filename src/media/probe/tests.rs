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
    Probe::scan(Box::new(script), "clip.mp4".to_owned(), 1000, PlanOptions::default(), |_, _| {}, Part::Whole)
        .unwrap()
}

#[test]
fn the_usual_clip() {
    check(
        "clip.mp4",
        &expect![[r#"
            media/clip.mp4: mp4, 20.0 s, 3.3 MB

              1 video h264 Constrained Baseline, 1280×720, 30 fps, 20.0 s, 1.19 Mbit/s (peak 1.34 Mbit/s)
                      600 pictures, 20 keyframes, every 1.0 s; no B-frames
              2 audio aac, 48000 Hz, stereo, 20.0 s, 129 kbit/s (peak 131 kbit/s)

              picture copy
                      The picture is H.264 Constrained Baseline without B-frames, which receivers decode as it is, so it is copied.
              sound   transcode: aac
                      The sound is AAC, which a call does not carry, so it is decoded and encoded as Opus in packets of 20 ms.
              loudness -15.5 LUFS
              CPU     little: only the sound is decoded and encoded

              In the call:
                - A viewer who joins sees a picture within 1.0 s.

              To have it copied, with a picture at once:
                telecast prepare media/clip.mp4 media/clip-telecast.mp4
        "#]],
    );
}

#[test]
fn a_clip_that_is_copied_altogether() {
    check(
        "clip.mkv",
        &expect![[r#"
            media/clip.mkv: matroska, 20.0 s, 3.4 MB

              1 video h264 Constrained Baseline, 1280×720, 30 fps, 20.0 s, 1.19 Mbit/s (peak 1.34 Mbit/s)
                      600 pictures, 20 keyframes, every 1.0 s; no B-frames
              2 audio opus, 48000 Hz, stereo, 20.0 s, 170 kbit/s (peak 170 kbit/s)

              picture copy
                      The picture is H.264 Constrained Baseline without B-frames, which receivers decode as it is, so it is copied.
              sound   copy
                      The sound is Opus in packets of 20 ms without output gain, which is exactly what a call carries, so it is copied.
              loudness -15.5 LUFS
              CPU     least: packets are passed on as they are

              In the call:
                - A viewer who joins sees a picture within 1.0 s.
        "#]],
    );
}

#[test]
fn a_long_gop() {
    check(
        "long-gop.mp4",
        &expect![[r#"
            media/long-gop.mp4: mp4, 20.0 s, 1.0 MB

              1 video h264 Main, 640×360, 30 fps, 20.0 s, 279 kbit/s (peak 384 kbit/s)
                      600 pictures, 2 keyframes, every 10.0 s; no B-frames
              2 audio aac, 44100 Hz, stereo, 20.0 s, 130 kbit/s (peak 135 kbit/s)

              picture copy
                      The picture is H.264 Main without B-frames, which receivers decode as it is, so it is copied.
              sound   transcode: aac
                      The sound is AAC, which a call does not carry, so it is decoded and encoded as Opus in packets of 20 ms.
              loudness -15.5 LUFS
              CPU     little: only the sound is decoded and encoded

              In the call:
                - The file has a keyframe only every 10.0 s: for a viewer who joins between two, pictures are encoded up to the next one, so the wait is about half a second.

              To have it copied, with a picture at once:
                telecast prepare media/long-gop.mp4 media/long-gop-telecast.mp4
        "#]],
    );
}

#[test]
fn b_frames() {
    check(
        "bframes.mp4",
        &expect![[r#"
            media/bframes.mp4: mp4, 10.0 s, 487.9 kB

              1 video h264 High, 640×360, 30 fps, 10.0 s, 252 kbit/s (peak 318 kbit/s)
                      300 pictures, 5 keyframes, every 2.0 s; B-frames from 0.0 s on
              2 audio aac, 48000 Hz, stereo, 10.0 s, 129 kbit/s (peak 131 kbit/s)

              picture transcode: h264
                      The picture has B-frames, which a live call cannot carry, so it is decoded and encoded as H.264.
              sound   transcode: aac
                      The sound is AAC, which a call does not carry, so it is decoded and encoded as Opus in packets of 20 ms.
              loudness -15.5 LUFS
              CPU     much: pictures are decoded and encoded while they play

              In the call:
                - The picture is encoded while it plays, with a keyframe for every viewer who joins.

              To have it copied, with a picture at once:
                telecast prepare media/bframes.mp4 media/bframes-telecast.mp4
        "#]],
    );
}

#[test]
fn sound_alone() {
    check(
        "music.mp3",
        &expect![[r#"
            media/music.mp3: mp3, 16.0 s, 108.8 kB

              1 audio mp3, 44100 Hz, stereo, 16.0 s, 54 kbit/s (peak 61 kbit/s)

              picture none
                      The file has no picture.
              sound   transcode: mp3
                      The sound is mp3, which a call does not carry, so it is decoded and encoded as Opus in packets of 20 ms.
              loudness -15.5 LUFS
              CPU     little: only the sound is decoded and encoded

              In the call:
                - There is no picture, only sound.

              To have it copied:
                telecast prepare media/music.mp3 media/music-telecast.mp4
        "#]],
    );
}

#[test]
fn programs_read_json() {
    let json = serde_json::to_string_pretty(&probe_clip("bframes.mp4")).unwrap();
    expect![[r#"
        {
          "file": "media/bframes.mp4",
          "size_bytes": 487887,
          "format": "mp4",
          "duration_ms": 10000,
          "playable": true,
          "plan": {
            "audio": {
              "plan": "transcode: aac",
              "reason": "The sound is AAC, which a call does not carry, so it is decoded and encoded as Opus in packets of 20 ms.",
              "track": 1
            },
            "video": {
              "plan": "transcode: h264",
              "reason": "The picture has B-frames, which a live call cannot carry, so it is decoded and encoded as H.264.",
              "track": 0
            }
          },
          "tracks": [
            {
              "kind": "video",
              "codec": "h264",
              "profile": "High",
              "language": null,
              "start_ms": 0,
              "duration_ms": 10000,
              "n_packets": 300,
              "bitrate_bps": 251681,
              "peak_bps": 318432,
              "width": 640,
              "height": 360,
              "rotation": 0,
              "fps": 30.0,
              "sample_rate": null,
              "channels": null
            },
            {
              "kind": "audio",
              "codec": "aac",
              "profile": null,
              "language": null,
              "start_ms": 0,
              "duration_ms": 10000,
              "n_packets": 470,
              "bitrate_bps": 128948,
              "peak_bps": 130744,
              "width": null,
              "height": null,
              "rotation": null,
              "fps": null,
              "sample_rate": 48000,
              "channels": 2
            }
          ],
          "pictures": {
            "n_pictures": 300,
            "n_keyframes": 5,
            "gop_min_ms": 2000,
            "gop_median_ms": 2000,
            "gop_max_ms": 2000,
            "gop_histogram": [
              {
                "up_to_ms": 2000,
                "n_gops": 5
              }
            ],
            "b_frames": true,
            "first_b_frame_ms": 33
          },
          "loudness_lufs": -15.5,
          "cpu": "picture",
          "viewer": [
            "The picture is encoded while it plays, with a keyframe for every viewer who joins."
          ],
          "damaged_places": 0,
          "damage": [],
          "remedy": "telecast prepare media/bframes.mp4 media/bframes-telecast.mp4"
        }"#]].assert_eq(&json);
}

#[test]
fn a_b_frame_far_behind_the_plan_is_found() {
    let main = sps(77, true);
    let order: Vec<_> = in_order(200, 25).into_iter().chain([(Picture::P, 202), (Picture::B, 201)]).collect();
    let probe = probe_script(Script::new(&[h264_track(&main)], &[&pictures(0, &main, &order)]));
    assert_eq!((probe.playable, &*probe.plan.video.plan), (true, "transcode: h264"));
    assert_eq!(probe.pictures.unwrap().first_b_frame_ms, Some(201 * 40));
    assert!(probe.remedy.is_some());
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
    assert!(probe.plan.video.reason.contains("6.0 Mbit/s"), "{}", probe.plan.video.reason);
}

#[test]
fn no_peak_is_below_the_average() {
    for name in ["clip.mp4", "clip.mkv", "long-gop.mp4", "bframes.mp4", "music.ogg", "music.mp3"] {
        for track in probe_clip(name).tracks {
            let (peak, average) = (track.peak_bps, track.bitrate_bps);
            assert!(peak >= average, "{name}, {}: {peak} < {average}", track.codec);
        }
    }
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
    let error =
        Probe::scan(Box::new(script), "x".to_owned(), 0, PlanOptions::default(), |_, _| {}, Part::Whole)
            .unwrap_err();
    assert!(matches!(error, MediaError::Demux(DemuxError::Damaged { .. })));
}

#[test]
fn progress_rises_to_the_whole_file() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("media/music.ogg");
    let mut seen = Vec::new();
    let probe =
        Probe::with_progress(&path, PlanOptions::default(), |done, total| seen.push((done, total))).unwrap();
    assert!(seen.is_sorted() && seen.len() > 100);
    assert_eq!(seen.last(), Some(&(probe.size_bytes, std::fs::metadata(&path).unwrap().len())));
}
