use super::planner::{MAX_PACKETS, WAIT_FOR_KEY};
use super::*;
use crate::media::demux::{Demuxer, Packet, Shape, Track};
use crate::media::script::{
    Picture, Script, baseline, h264_track, in_order, opus_packets, opus_track, pictures, sps,
};

fn plan_of(mut script: Script, options: PlanOptions) -> Plan {
    let mut planner = Planner::new(script.tracks(), options);
    while !planner.is_sure() {
        match script.next_packet().unwrap() {
            Some(packet) => planner.look_at(&packet),
            None => break,
        }
    }
    planner.decide()
}

fn plan_for(tracks: &[Track], packets: &[&[Packet]]) -> Plan {
    plan_of(Script::new(tracks, packets), PlanOptions::default())
}

fn words(plan: &Plan) -> (String, String) {
    (plan.audio.to_string(), plan.video.to_string())
}

fn silence(n_samples: usize) -> Vec<f32> {
    vec![0.0; n_samples * 2]
}

fn refusal(plan: &Plan) -> &Refusal {
    match &plan.video {
        TrackPlan::Refused { refusal, .. } => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// Transcoded for that reason, or refused for it where there is no transcoder.
fn has_b_frames(plan: &Plan) -> bool {
    if can_transcode() {
        plan.video.to_string() == "transcode: h264" && plan.video.reason().contains("B-frames")
    } else {
        matches!(refusal(plan), Refusal::BFrames)
    }
}

fn aac_track(config: &'static [u8]) -> Track {
    let shape = Shape::Audio { sample_rate: 44_100, channels: 2 };
    Track { codec: Codec::Aac, config: config.into(), shape, ..opus_track(0) }
}

#[test]
fn opus_and_baseline_are_copied() {
    let sps = baseline();
    let plan = plan_for(
        &[h264_track(&sps), opus_track(0)],
        &[&pictures(0, &sps, &in_order(20, 10)), &opus_packets(1, &silence(9600))],
    );
    assert_eq!(words(&plan), ("copy".into(), "copy".into()));
    assert!(plan.video.reason().contains("without B-frames"), "{}", plan.video.reason());
    assert!(plan.audio.reason().contains("20 ms"), "{}", plan.audio.reason());
}

#[test]
fn other_sound_is_transcoded_and_says_why() {
    let transcode = |track: Track, packets: &[Packet]| {
        let plan = plan_for(&[track], &[packets]);
        (plan.audio.to_string(), plan.audio.reason())
    };
    let (words, reason) = transcode(aac_track(&[0x12, 0x10]), &[]);
    assert_eq!(words, "transcode: aac");
    assert!(reason.contains("AAC"), "{reason}");
    let (words, reason) = transcode(opus_track(256), &opus_packets(0, &silence(9600)));
    assert_eq!(words, "transcode: opus");
    assert!(reason.contains("+1.0 dB"), "{reason}");
    let mut long = opus_packets(0, &silence(9600));
    // Code 3, constant length, two frames of nothing: 40 ms, which can be taken apart.
    long[1].data = (&[0xff, 0x02][..]).into();
    let (words, reason) = transcode(opus_track(0), &long);
    assert_eq!(words, "copy");
    assert!(reason.contains("40 ms"), "{reason}");
    // One frame of 60 ms, which cannot.
    long[1].data = (&[0x5c, 0x01][..]).into();
    let (words, reason) = transcode(opus_track(0), &long);
    assert_eq!(words, "transcode: opus");
    assert!(reason.contains("60 ms"), "{reason}");
}

#[test]
fn sound_that_cannot_be_decoded_is_refused() {
    for (config, expected) in [
        (&[0x12, 0x30][..], "6 channels"),
        (&[0x2b, 0x11, 0x88, 0x00], "HE-AAC"),
        (&[0x13, 0x90], "HE-AAC"),
        (&[0x0a, 0x10], "object type 1"),
        (&[], "damaged"),
    ] {
        let plan = plan_for(&[aac_track(config)], &[]);
        assert_eq!(plan.audio.to_string(), "refused: aac");
        let reason = plan.audio.reason();
        assert!(reason.contains(expected), "{reason}");
    }
}

#[test]
fn b_frames_are_found_by_slices_and_by_times() {
    use Picture::{B, Idr, P};
    let main = sps(77, true);
    let track = h264_track(&main);
    let plan =
        plan_for(std::slice::from_ref(&track), &[&pictures(0, &main, &[(Idr, 0), (P, 3), (B, 1), (B, 2)])]);
    assert!(has_b_frames(&plan));
    // Reordering without B-slices: P pictures shown in another order.
    let plan = plan_for(std::slice::from_ref(&track), &[&pictures(0, &main, &[(Idr, 0), (P, 2), (P, 1)])]);
    assert!(has_b_frames(&plan));
    // Proof of absence needs the whole look-ahead.
    let late: Vec<_> = in_order(63, 30).into_iter().chain([(B, 62)]).collect();
    let plan = plan_for(std::slice::from_ref(&track), &[&pictures(0, &main, &late)]);
    assert!(has_b_frames(&plan));
    let plan = plan_for(&[track], &[&pictures(0, &main, &in_order(100, 30))]);
    assert_eq!(plan.video.to_string(), "copy");
}

#[test]
fn pictures_that_receivers_do_not_decode_are_refused() {
    for (sps, expected) in
        [(sps(77, false), "interlaced"), (sps(110, true), "High 10"), (vec![0x67, 77], "SPS")]
    {
        let plan = plan_for(&[h264_track(&sps)], &[&pictures(0, &sps, &in_order(5, 5))]);
        let reason = plan.video.reason();
        assert!(reason.contains(expected), "{reason}");
    }
    let sps = baseline();
    let all_p: Vec<_> = (0..1000).map(|n| (Picture::P, n)).collect();
    let plan = plan_for(&[h264_track(&sps)], &[&pictures(0, &sps, &all_p)]);
    assert!(matches!(refusal(&plan), Refusal::NoKeyframe { n_pictures: WAIT_FOR_KEY }));
    let vp9 = Track { codec: Codec::Vp9, ..h264_track(&sps) };
    let plan = plan_for(&[vp9], &[]);
    assert_eq!(plan.video.to_string(), "refused: vp9");
}

#[test]
fn cover_art_is_no_video_and_playable_tracks_come_first() {
    let sps = baseline();
    let cover = Track { codec: Codec::Unknown("mjpeg".into()), ..h264_track(&sps) };
    let sound = opus_packets(1, &silence(9600));
    let with_cover = plan_for(&[cover, opus_track(0)], &[&sound]);
    assert_eq!(words(&with_cover), ("copy".into(), "none".into()));
    assert!(with_cover.video.reason().contains("cover art"));
    let hevc = Track { codec: Codec::Unknown("hevc".into()), ..h264_track(&sps) };
    let pictures = pictures(1, &sps, &in_order(5, 5));
    let surround = aac_track(&[0x12, 0x30]);
    let chosen = plan_for(
        &[hevc, h264_track(&sps), surround, opus_track(0)],
        &[&pictures, &opus_packets(3, &silence(960))],
    );
    assert_eq!((chosen.video.played_track(), chosen.audio.played_track()), (Some(1), Some(3)));
}

#[test]
fn what_was_not_asked_for_is_not_judged() {
    let hevc = Track { codec: Codec::Unknown("hevc".into()), ..h264_track(&baseline()) };
    let script = Script::new(&[hevc, opus_track(0)], &[&opus_packets(1, &silence(960))]);
    let plan = plan_of(script, PlanOptions { video: false, ..PlanOptions::default() });
    assert_eq!(words(&plan), ("copy".into(), "none".into()));
    assert!(plan.video.reason().contains("not asked for"));
}

#[test]
fn the_look_ahead_ends() {
    let sps = sps(77, true);
    let mut script =
        Script::new(&[h264_track(&sps), opus_track(0)], &[&pictures(0, &sps, &in_order(9000, 30))]);
    let mut planner = Planner::new(script.tracks(), PlanOptions::default());
    let mut n_packets = 0;
    while !planner.is_sure() {
        planner.look_at(&script.next_packet().unwrap().expect("sure before the end"));
        n_packets += 1;
    }
    assert_eq!(n_packets, MAX_PACKETS, "the sound never came");
}

#[test]
fn the_remedy_is_a_command() {
    let sps = sps(77, false);
    let plan = plan_for(
        &[h264_track(&sps), opus_track(0)],
        &[&pictures(0, &sps, &in_order(5, 5)), &opus_packets(1, &silence(960))],
    );
    assert_eq!(
        remedy("my clips/it's.mkv", &plan).unwrap(),
        r"ffmpeg -i 'my clips/it'\''s.mkv' -vf bwdif -c:v libx264 -bf 0 -pix_fmt yuv420p -force_key_frames 'expr:gte(t,2*n_forced)' -c:a copy 'my clips/it'\''s-telecast.mp4'"
    );
    let sound = plan_for(&[aac_track(&[0x12, 0x10])], &[]);
    assert_eq!(
        remedy("-a.b/song", &sound).unwrap(),
        "ffmpeg -i ./-a.b/song -vn -c:a libopus -b:a 128k -ac 2 ./-a.b/song-telecast.ogg"
    );
    assert_eq!(
        remedy("http://a.b/c/song.mp3?token=d", &sound).unwrap(),
        "ffmpeg -i 'http://a.b/c/song.mp3?token=d' -vn -c:a libopus -b:a 128k -ac 2 song-telecast.ogg"
    );
    assert_eq!(remedy("x", &plan_for(&[], &[])), None);
    let mut wanted = PlanOptions { audio_track: Some(TrackChoice::Number(1)), ..PlanOptions::default() };
    wanted.pictures.height = Some(480);
    assert_eq!(
        command("a:b.mkv", &plan, &wanted).unwrap(),
        "telecast prepare --height 480 --audio-track 1 ./a:b.mkv ./a:b-telecast.mp4"
    );
    assert!(command("-", &plan, &wanted).unwrap().starts_with("ffmpeg -i - -vf bwdif "));
}

#[cfg(feature = "openh264")]
#[test]
fn pictures_that_are_too_much_or_more_than_asked_for_are_transcoded() {
    let sps = baseline();
    let track = h264_track(&sps);
    let script = || Script::new(std::slice::from_ref(&track), &[&pictures(0, &sps, &in_order(10, 5))]);
    let plan = |pictures| {
        let plan = plan_of(script(), PlanOptions { pictures, ..PlanOptions::default() }).video;
        (plan.to_string(), plan.reason())
    };
    let usual = PictureOptions::default();
    assert_eq!(plan(usual).0, "copy");
    // 640×368 at 25 pictures per second.
    for (pictures, words) in [
        (PictureOptions { copy_height: 360, ..usual }, "640×368 pixels"),
        (PictureOptions { height: Some(240), ..usual }, "larger than 240p"),
        (PictureOptions { fps: Some(24), ..usual }, "the 24 pictures per second"),
    ] {
        let (plan, reason) = plan(pictures);
        assert!(plan == "transcode: h264" && reason.contains(words), "{reason}");
    }
    assert_eq!(plan(PictureOptions { height: Some(368), fps: Some(25), ..usual }).0, "copy");
}

#[test]
fn a_codec_that_a_chat_does_not_take_is_refused_and_the_track_that_it_takes_is_played() {
    let options = |codecs| {
        let pictures = PictureOptions { codecs, ..PictureOptions::default() };
        PlanOptions { pictures, ..PlanOptions::default() }
    };
    let without_h264 = VideoCodecs { h264: false, ..VideoCodecs::ALL };
    let sps = baseline();
    let (h264, pictures) = (h264_track(&sps), pictures(0, &sps, &in_order(10, 5)));
    let script = Script::new(std::slice::from_ref(&h264), &[&pictures]);
    let plan = plan_of(script, options(without_h264));
    assert_eq!(words(&plan).1, "refused: h264");
    assert_eq!(plan.video.reason(), "The picture is H.264, which one of the chats does not take.");
    assert_eq!(remedy("a.mp4", &plan), None, "no file is right for all chats");

    let vp9 = Track { codec: Codec::Vp9, config: Default::default(), ..h264.clone() };
    let key = Packet { track: 1, data: vec![0x82, 0x49].into(), ..pictures[0].clone() };
    let script = || Script::new(&[h264.clone(), vp9.clone()], &[&pictures, std::slice::from_ref(&key)]);
    for (codecs, track) in [(VideoCodecs::ALL, 0), (without_h264, 1)] {
        let plan = plan_of(script(), options(codecs));
        assert_eq!((words(&plan).1.as_str(), plan.video.played_track()), ("copy", Some(track)));
    }
    let vp8_alone = VideoCodecs { vp9: false, ..without_h264 };
    assert_eq!(words(&plan_of(script(), options(vp8_alone))).1, "refused: h264");
}

#[test]
fn pictures_before_the_first_keyframe_do_not_count() {
    use Picture::{B, Idr, P};
    let main = sps(77, true);
    let order: Vec<_> =
        [(P, 2), (B, 1)].into_iter().chain((3..80).map(|n| (if n == 3 { Idr } else { P }, n))).collect();
    let packets = pictures(0, &main, &order);
    let script = Script::in_file_order(&[h264_track(&main)], packets);
    let plan = plan_of(script, PlanOptions::default());
    assert_eq!(plan.video.to_string(), "copy");
}
