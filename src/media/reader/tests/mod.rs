mod clips;
mod loudness;
mod speed;

use bytes::Bytes;

use super::*;
use crate::media::MediaKind;
use crate::media::codec::opus::{CHANNELS, Decoder, FRAME_SAMPLES, SAMPLE_RATE};
use crate::media::script::{
    Picture, Script, baseline, h264_track, in_order, opus_packets, opus_track, pictures, sps,
};

const SECOND: usize = SAMPLE_RATE as usize;

/// A melody that is nowhere like itself a little later, so that a shift can be measured.
fn melody(n_samples: usize) -> Vec<f32> {
    let mut phase = 0.0_f32;
    (0..n_samples)
        .flat_map(|n| {
            let t = n as f32 / SAMPLE_RATE as f32;
            phase += std::f32::consts::TAU * (500.0 + 300.0 * (t * 7.0).sin()) / SAMPLE_RATE as f32;
            let loud = 0.3 + 0.2 * (t * 31.0).sin();
            [loud * phase.sin(), 0.5 * loud * phase.sin()]
        })
        .collect()
}

fn open(script: Script) -> Reader {
    Reader::new(Box::new(script), "clip", ReaderOptions::default()).unwrap()
}

fn frames(reader: &mut Reader) -> Vec<Frame> {
    std::iter::from_fn(|| reader.next_frame().unwrap()).collect()
}

fn of_kind(frames: &[Frame], kind: MediaKind) -> Vec<Frame> {
    frames.iter().filter(|frame| frame.kind == kind).cloned().collect()
}

/// What a receiver hears; checks on the way that the frames lie on the grid from `first` on.
fn heard(frames: &[Frame], first: i64) -> Vec<f32> {
    let mut decoder = Decoder::new(0).unwrap();
    let sound = frames.iter().filter(|frame| frame.kind == MediaKind::Audio);
    let mut all = Vec::new();
    for (index, frame) in sound.enumerate() {
        assert_eq!((frame.pts, frame.duration), (FRAME * (first + index as i64), FRAME));
        assert!(frame.key && frame.level.is_some());
        let samples = decoder.decode(&frame.data).unwrap();
        assert_eq!(samples.len(), FRAME_SAMPLES * CHANNELS);
        all.extend_from_slice(samples);
    }
    all
}

/// By how many samples `heard` is later than `expected` within the given span of it.
fn lag(heard: &[f32], expected: &[f32], span: std::ops::Range<usize>) -> i64 {
    let at = |pcm: &[f32], n: i64| {
        usize::try_from(n).ok().and_then(|n| pcm.get(n * CHANNELS)).copied().unwrap_or(0.0)
    };
    let error = |lag: &i64| -> f64 {
        let difference = |n: usize| f64::from(at(expected, n as i64) - at(heard, n as i64 + lag));
        span.clone().step_by(7).map(|n| difference(n).powi(2)).sum()
    };
    (-1000..=1000).min_by(|a, b| error(a).total_cmp(&error(b))).unwrap()
}

fn power(pcm: &[f32]) -> f64 {
    pcm.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / pcm.len().max(1) as f64
}

/// In decibels: how far the difference lies below the sound.
fn signal_to_noise(heard: &[f32], expected: &[f32]) -> f64 {
    let difference: Vec<f32> = heard.iter().zip(expected).map(|(h, e)| h - e).collect();
    10.0 * (power(expected) / power(&difference)).log10()
}

#[test]
fn copied_sound_is_the_file_s_own_and_in_time_with_the_picture() {
    let (sps, music) = (baseline(), melody(2 * SECOND));
    let sound = opus_packets(1, &music);
    let script =
        Script::new(&[h264_track(&sps), opus_track(0)], &[&pictures(0, &sps, &in_order(50, 25)), &sound]);
    let mut reader = open(script);
    let all = frames(&mut reader);
    assert!(all.is_sorted_by_key(|frame| frame.pts));
    // The packets begin 6.5 ms before the item's sound, and the picture moves along.
    let pre_skip = MediaTime::from_ticks(312, SAMPLE_RATE);
    for (index, frame) in of_kind(&all, MediaKind::Video).iter().enumerate() {
        assert_eq!(frame.pts, MediaTime::from_millis(40) * index as i64 + pre_skip);
        assert_eq!(frame.key, index % 25 == 0);
    }
    let copied = of_kind(&all, MediaKind::Audio);
    assert_eq!(copied.len(), sound.len());
    let last = copied.len() - 1;
    for (frame, packet) in copied[..last].iter().zip(&sound) {
        assert_eq!(frame.data, packet.data);
    }
    assert_eq!(lag(&heard(&all, 0), &music, SECOND / 2..SECOND), 312);
    assert_eq!(reader.stats(), ReaderStats::default());
}

#[test]
fn the_last_frame_is_padded_with_silence() {
    // 100.5 frames of constant loudness; the encoder's own padding is cut away.
    let music = melody(FRAME_SAMPLES * 100 + 480);
    let sound = opus_packets(0, &music);
    let all = frames(&mut open(Script::new(&[opus_track(0)], &[&sound])));
    let heard = heard(&all, 0);
    assert_eq!(heard.len() / CHANNELS, FRAME_SAMPLES * 101);
    let end = (music.len() / CHANNELS + 312) * CHANNELS;
    assert!(power(&heard[end - 480..end]) > 1e-3);
    assert!(power(&heard[end + 100..]) < 1e-5, "{}", power(&heard[end + 100..]));
}

/// 20 ms packets joined to packets of 40 ms, which is never copied.
fn long_packets(sound: &[crate::media::demux::Packet]) -> Vec<crate::media::demux::Packet> {
    let join = |pair: &[crate::media::demux::Packet]| {
        let [first, second] = pair else { panic!("an even number of packets") };
        let parts = [&first.data[..], &second.data[..]];
        let mut joined = vec![0; 3000];
        let n_bytes = ::opus::Repacketizer::new().unwrap().combine(&parts, &mut joined).unwrap();
        crate::media::demux::Packet {
            data: Bytes::copy_from_slice(&joined[..n_bytes]),
            duration: FRAME * 2,
            trim_end: second.trim_end,
            ..first.clone()
        }
    };
    sound.chunks_exact(2).map(join).collect()
}

#[test]
fn encoded_sound_is_heard_when_it_should_be() {
    let music = melody(FRAME_SAMPLES * 100 - 312);
    let sound = long_packets(&opus_packets(0, &music));
    let mut reader = open(Script::new(&[opus_track(1)], &[&sound]));
    assert_eq!(reader.plan().audio.to_string(), "transcode: opus");
    let heard = heard(&frames(&mut reader), 0);
    assert_eq!(heard.len() / CHANNELS, (FRAME_SAMPLES * 100 - 312).next_multiple_of(FRAME_SAMPLES));
    assert_eq!(lag(&heard, &music, 0..SECOND), 0);
    assert!(signal_to_noise(&heard[..SECOND], &music[..SECOND]) > 15.0);
}

#[test]
fn a_late_start_and_a_gap_are_silence_and_time_goes_on() {
    let music = melody(2 * SECOND);
    let mut sound = opus_packets(1, &music);
    // The sound begins 100 ms after the picture; 30 packets are missing.
    sound.iter_mut().for_each(|packet| packet.pts += MediaTime::from_millis(100));
    sound.drain(40..70);
    let sps = baseline();
    let script =
        Script::new(&[h264_track(&sps), opus_track(0)], &[&pictures(0, &sps, &in_order(50, 25)), &sound]);
    let mut reader = open(script);
    let all = frames(&mut reader);
    // Five packets of 20 ms minus the pre-skip lie between the first picture and the first packet.
    let lead = of_kind(&all, MediaKind::Video)[0].pts;
    assert!(lead < FRAME);
    let start = ((MediaTime::from_millis(100) + lead).to_ticks(SAMPLE_RATE)) as usize;
    let heard = heard(&all, 0);
    assert!(power(&heard[..(start - 500) * CHANNELS]) < 1e-6);
    let gap = (start + 40 * FRAME_SAMPLES + 400) * CHANNELS..(start + 69 * FRAME_SAMPLES) * CHANNELS;
    assert!(power(&heard[gap]) < 1e-6);
    assert_eq!(lag(&heard[start * CHANNELS..], &music, 10 * FRAME_SAMPLES..30 * FRAME_SAMPLES), 0);
    assert_eq!(lag(&heard[start * CHANNELS..], &music, 75 * FRAME_SAMPLES..95 * FRAME_SAMPLES), 0);
    let silence = reader.stats().silence;
    assert!((silence - MediaTime::from_millis(700)).abs() < MediaTime::from_millis(10), "{silence:?}");
    // On both sides of the gap packets are still the file's own.
    let copied = of_kind(&all, MediaKind::Audio);
    assert!(copied.iter().any(|frame| frame.data == sound[39].data));
    assert!(copied.iter().any(|frame| frame.data == sound[41].data));
}

#[test]
fn a_gap_that_fits_no_grid_is_bridged_by_encoding() {
    let music = melody(2 * SECOND);
    let mut sound = opus_packets(0, &music);
    let shift = MediaTime::from_millis(50);
    sound[50..].iter_mut().for_each(|packet| packet.pts += shift);
    let mut reader = open(Script::new(&[opus_track(0)], &[&sound]));
    assert!(reader.plan().audio.is_copy());
    let all = frames(&mut reader);
    let heard = heard(&all, 0);
    assert_eq!(lag(&heard, &music, SECOND / 4..SECOND / 2), 312);
    assert_eq!(lag(&heard[50 * 48 * CHANNELS..], &music, SECOND * 5 / 4..SECOND * 3 / 2), 312);
    assert_eq!(all[20].data, sound[20].data);
    assert_ne!(all[80].data, sound[78].data);
}

#[test]
fn rounded_times_are_no_gaps() {
    let music = melody(SECOND);
    let mut sound = opus_packets(0, &music);
    for (index, packet) in sound.iter_mut().enumerate() {
        let rounded = MediaTime::from_millis(packet.pts.as_millis() + (index as i64 * 7) % 3 - 1);
        packet.pts = rounded;
    }
    let mut reader = open(Script::new(&[opus_track(0)], &[&sound]));
    let all = frames(&mut reader);
    assert_eq!(all.len(), sound.len());
    assert!(all.iter().zip(&sound).take(40).all(|(frame, packet)| frame.data == packet.data));
    assert_eq!(reader.stats(), ReaderStats::default());
}

#[test]
fn an_overlap_is_dropped_and_counted() {
    let mut sound = opus_packets(0, &melody(SECOND));
    let repeated: Vec<_> = sound[10..15].to_vec();
    sound.splice(15..15, repeated);
    let mut reader = open(Script::in_file_order(&[opus_track(0)], sound.clone()));
    let all = frames(&mut reader);
    assert_eq!(all.len(), sound.len() - 5);
    assert_eq!(reader.stats().overlap, FRAME * 5);
}

#[test]
fn volume_changes_without_a_seam_and_copying_comes_back() {
    let music = melody(3 * SECOND);
    let sound = opus_packets(0, &music);
    let mut reader = open(Script::new(&[opus_track(0)], &[&sound]));
    let mut all = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        match frame.pts.as_millis() {
            980 => reader.set_volume(0.5),
            1980 => reader.set_volume(1.0),
            _ => {}
        }
        all.push(frame);
    }
    for (index, frame) in all.iter().enumerate().take(sound.len() - 1) {
        let copied = frame.data == sound[index].data;
        assert_eq!(copied, !(50..=100).contains(&index), "frame {index}");
    }
    let copy = heard(&frames(&mut open(Script::new(&[opus_track(0)], &[&sound]))), 0);
    let changed = heard(&all, 0);
    let second = |pcm: &[f32], n: usize| pcm[n * SECOND * CHANNELS..(n + 1) * SECOND * CHANNELS].to_vec();
    let halved: Vec<f32> = second(&copy, 1).iter().map(|sample| sample * 0.5).collect();
    // The first 20 ms are the ramp.
    let ramp = FRAME_SAMPLES * CHANNELS;
    assert!(signal_to_noise(&second(&changed, 1)[2 * ramp..], &halved[2 * ramp..]) > 15.0);
    assert_eq!(second(&changed, 0), second(&copy, 0));
    // Back on the file's own packets: no worse than a lost packet, and soon the very same samples.
    let (after, expected) = (second(&changed, 2), second(&copy, 2));
    assert!(signal_to_noise(&after[ramp..], &expected[ramp..]) > 12.0);
    assert!(signal_to_noise(&after[SECOND..], &expected[SECOND..]) > 60.0);
    let loud = |index: usize| i32::from(all[index].level.unwrap().neg_dbov());
    assert!((loud(75) - loud(25) - 6).abs() <= 3, "{} {}", loud(75), loud(25));
}

#[test]
fn twice_the_volume_does_not_clip_and_nonsense_is_ignored() {
    let mut reader = open(Script::new(&[opus_track(0)], &[&opus_packets(0, &melody(SECOND))]));
    reader.set_volume(f32::NAN);
    reader.next_frame().unwrap();
    reader.set_volume(f32::INFINITY);
    let all = frames(&mut reader);
    let mut decoder = Decoder::new(0).unwrap();
    let peak = all.iter().flat_map(|frame| decoder.decode(&frame.data).unwrap().to_vec()).fold(0.0, f32::max);
    assert!((0.8..1.05).contains(&peak), "{peak}");
}

#[test]
fn seeking_is_exact_for_sound() {
    let music = melody(4 * SECOND);
    let sound = opus_packets(0, &music);
    let whole = heard(&frames(&mut open(Script::new(&[opus_track(0)], &[&sound]))), 0);
    for (to, volume) in [(0, 1.0), (1010, 1.0), (1010, 0.9), (2500, 0.9), (3990, 1.0)] {
        let mut reader = open(Script::new(&[opus_track(0)], &[&sound]));
        reader.set_volume(volume);
        for _ in 0..7 {
            reader.next_frame().unwrap();
        }
        let place = reader.seek(MediaTime::from_millis(to)).unwrap();
        assert_eq!(place, MediaTime::from_millis(to).floor_to(FRAME));
        let after = heard(&frames(&mut reader), place.as_millis() / 20);
        let expected: Vec<f32> = whole[place.as_millis() as usize * 48 * CHANNELS..]
            .iter()
            .map(|sample| sample * volume)
            .collect();
        assert_eq!(after.len(), expected.len(), "{to}");
        // A receiver's decoder needs a moment to settle.
        let settled = 4 * FRAME_SAMPLES * CHANNELS;
        if after.len() > 2 * settled {
            let quality = signal_to_noise(&after[settled..], &expected[settled..]);
            assert!(quality > 14.0, "{to} ms at {volume}: {quality} dB");
        }
    }
}

#[test]
fn seeking_goes_to_the_keyframe_and_takes_the_sound_along() {
    let (sps, music) = (baseline(), melody(8 * SECOND));
    let sound = opus_packets(1, &music);
    let script =
        Script::new(&[h264_track(&sps), opus_track(0)], &[&pictures(0, &sps, &in_order(200, 50)), &sound]);
    let mut reader = open(script);
    let lead = MediaTime::from_ticks(312, SAMPLE_RATE);
    for (to, key) in [(5_900, 4_000), (0, 0), (1_999, 0), (2_100, 2_000), (99_000, 6_000)] {
        let place = reader.seek(MediaTime::from_millis(to)).unwrap();
        assert_eq!(place, MediaTime::from_millis(key) + lead, "{to}");
        let all: Vec<Frame> = (0..20).map_while(|_| reader.next_frame().unwrap()).collect();
        let picture = &of_kind(&all, MediaKind::Video)[0];
        assert!(picture.key);
        assert_eq!(picture.pts, place);
        let first_sound = of_kind(&all, MediaKind::Audio)[0].pts;
        assert_eq!(first_sound, place.ceil_to(FRAME));
    }
    frames(&mut reader);
    assert_eq!(reader.next_frame().unwrap(), None);
    assert_eq!(reader.seek(MediaTime::ZERO).unwrap(), lead, "also after the end");
    assert!(reader.next_frame().unwrap().is_some());
}

#[test]
fn one_track_alone_plays() {
    let sps = baseline();
    let mut silent = open(Script::new(&[h264_track(&sps)], &[&pictures(0, &sps, &in_order(10, 5))]));
    let all = frames(&mut silent);
    assert_eq!((all.len(), all[0].pts, all[9].pts), (10, MediaTime::ZERO, MediaTime::from_millis(360)));
    let mut blind = open(Script::new(&[opus_track(0)], &[&opus_packets(0, &melody(FRAME_SAMPLES * 5))]));
    assert_eq!(frames(&mut blind).len(), 6);
}

#[test]
fn both_start_where_the_earlier_one_starts() {
    let sps = baseline();
    let hour = MediaTime::from_secs(3600);
    let mut picture = pictures(0, &sps, &in_order(50, 25));
    picture.iter_mut().for_each(|packet| packet.pts += hour);
    let mut sound = long_packets(&opus_packets(1, &melody(FRAME_SAMPLES * 100 - 312)));
    sound.iter_mut().for_each(|packet| packet.pts += hour + MediaTime::from_millis(30));
    picture.iter_mut().for_each(|packet| packet.dts = None);
    let mut reader = open(Script::new(&[h264_track(&sps), opus_track(1)], &[&picture, &sound]));
    let all = frames(&mut reader);
    assert_eq!(of_kind(&all, MediaKind::Video)[1].pts, MediaTime::from_millis(40));
    let heard = heard(&all, 0);
    assert_eq!(lag(&heard[30 * 48 * CHANNELS..], &melody(SECOND), 0..SECOND / 2), 0);
    assert_eq!(reader.seek(MediaTime::from_millis(1500)).unwrap(), MediaTime::from_secs(1));
}

#[test]
fn hidden_pictures_run_fast_right_before_the_first_shown_one() {
    let sps = baseline();
    let mut picture = pictures(0, &sps, &in_order(50, 50));
    picture.iter_mut().for_each(|packet| packet.pts -= MediaTime::from_millis(800));
    let mut reader = open(Script::in_file_order(&[h264_track(&sps)], picture));
    let all = frames(&mut reader);
    assert_eq!(all.len(), 50);
    let at = |index: usize| all[index].pts.as_millis();
    assert_eq!((at(0), at(1), at(19), at(20), at(21)), (0, 5, 95, 100, 140));
}

#[cfg(not(feature = "openh264"))]
#[test]
fn a_b_frame_in_the_middle_ends_the_item_with_the_remedy() {
    let main = sps(77, true);
    let order: Vec<_> = in_order(100, 25).into_iter().chain([(Picture::P, 102), (Picture::B, 101)]).collect();
    let script = Script::new(&[h264_track(&main)], &[&pictures(0, &main, &order)]);
    let mut reader = open(script);
    for _ in 0..101 {
        assert!(reader.next_frame().unwrap().is_some());
    }
    let error = reader.next_frame().unwrap_err();
    let MediaError::BFrameAt { at, .. } = &error else { panic!("{error}") };
    assert_eq!(*at, MediaTime::from_millis(101 * 40));
    assert!(
        error.to_string().contains("4.040 s") && error.to_string().contains("ffmpeg -i clip -c:v libx264"),
        "{error}"
    );
    assert_eq!(reader.next_frame().unwrap(), None);
    reader.seek(MediaTime::ZERO).unwrap();
    assert!(reader.next_frame().unwrap().is_some());
}

#[cfg(feature = "openh264")]
#[test]
fn pictures_that_are_refreshed_bit_by_bit_are_transcoded_from_there() {
    let sps = baseline();
    let mut packets = pictures(0, &sps, &in_order(10, 10));
    // Recovery after 7 pictures: ue(7) = 0001000, then exact match and the rest.
    let sei = [&[0, 0, 0, 1, 0x06, 0x06, 0x02, 0b0001_0001, 0x80, 0x80][..], &packets[3].data].concat();
    packets[3].data = sei.into();
    let mut reader = open(Script::in_file_order(&[h264_track(&sps)], packets));
    assert!(reader.plan().video.is_copy());
    // The pictures of a script cannot be decoded: nothing comes after the place.
    assert_eq!(frames(&mut reader).len(), 3);
    assert!(reader.plan().video.reason().contains("bit by bit"), "{}", reader.plan().video.reason());
}

#[test]
fn refusals_carry_the_remedy() {
    let fields = sps(77, false);
    let script = Script::new(&[h264_track(&fields)], &[&pictures(0, &fields, &in_order(5, 5))]);
    let error = Reader::new(Box::new(script), "a b.mp4", ReaderOptions::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("interlaced") && text.contains("ffmpeg -i 'a b.mp4'"), "{text}");
    let error = Reader::new(Box::new(Script::new(&[], &[])), "x", ReaderOptions::default()).unwrap_err();
    assert!(matches!(error, MediaError::Nothing { .. }), "{error}");
}

#[test]
fn a_file_that_is_cut_off_plays_up_to_the_cut() {
    let sound = opus_packets(0, &melody(SECOND));
    let mut script = Script::new(&[opus_track(0)], &[&sound]);
    script.damaged_before = vec![20, sound.len()];
    let mut reader = open(script);
    for _ in 0..sound.len() {
        assert!(reader.next_frame().unwrap().is_some());
    }
    assert!(matches!(reader.next_frame(), Err(MediaError::Demux(DemuxError::Damaged { .. }))));
    assert_eq!(reader.next_frame().unwrap(), None);
    assert_eq!(reader.stats().damaged_places, 2);
    // The same with the damage within the first packets, and with nothing but damage.
    let mut script = Script::new(&[opus_track(0)], &[&sound[..2]]);
    script.damaged_before = vec![2];
    let mut reader = open(script);
    assert_eq!((0..2).filter(|_| reader.next_frame().unwrap().is_some()).count(), 2);
    assert!(reader.next_frame().is_err());
    let mut script = Script::new(&[opus_track(0)], &[]);
    script.damaged_before = vec![0];
    assert!(matches!(
        Reader::new(Box::new(script), "x", ReaderOptions::default()),
        Err(MediaError::Demux(DemuxError::Damaged { .. }))
    ));
}

#[test]
fn damaged_packets_are_silence_but_not_for_ever() {
    let mut sound = opus_packets(0, &melody(10 * SECOND));
    sound[30].data = Bytes::from_static(&[0xff, 0x00]);
    let mut reader = open(Script::new(&[opus_track(0)], &[&sound]));
    let all = frames(&mut reader);
    assert_eq!(all.len(), sound.len());
    assert_eq!(reader.stats().damaged_sound, 1);
    assert_ne!(all[30].data, sound[30].data, "what nobody can decode is not sent");
    sound[100..].iter_mut().for_each(|packet| packet.data = Bytes::from_static(&[0xff, 0x00]));
    let mut reader = open(Script::new(&[opus_track(0)], &[&sound]));
    let error = std::iter::from_fn(|| reader.next_frame().transpose()).find_map(Result::err).unwrap();
    assert!(matches!(error, MediaError::DamagedSound { n_packets: 250, .. }), "{error}");
    assert_eq!(reader.next_frame().unwrap(), None);
}

#[test]
fn a_track_that_pauses_does_not_hold_up_the_other() {
    let sps = baseline();
    let sound = opus_packets(1, &melody(SECOND));
    let tracks = [h264_track(&sps), opus_track(0)];
    // Sound for the first second only, a minute of picture.
    let mut reader = open(Script::new(&tracks, &[&pictures(0, &sps, &in_order(1500, 25)), &sound]));
    let mut held = 0;
    let mut all = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        held = held.max(reader.pictures.as_ref().unwrap().n_waiting());
        all.push(frame);
    }
    assert!(held < 300, "{held} pictures were held");
    assert!(all.is_sorted_by_key(|frame| frame.pts));
    assert_eq!(of_kind(&all, MediaKind::Video).len(), 1500);
    heard(&all, 0);
    // Picture for the first second only, a minute of sound.
    let sound = opus_packets(1, &vec![0.0; 60 * SECOND * CHANNELS]);
    let mut reader = open(Script::new(&tracks, &[&pictures(0, &sps, &in_order(25, 25)), &sound]));
    let all = frames(&mut reader);
    assert_eq!(of_kind(&all, MediaKind::Audio).len(), sound.len());
}

#[test]
fn pictures_before_the_first_keyframe_are_skipped_and_counted() {
    let sps = baseline();
    let order: Vec<_> = (0..20).map(|n| (if n == 7 { Picture::Idr } else { Picture::P }, n)).collect();
    let mut reader = open(Script::new(&[h264_track(&sps)], &[&pictures(0, &sps, &order)]));
    let all = frames(&mut reader);
    assert_eq!((all.len(), all[0].pts, all[0].key), (13, MediaTime::ZERO, true));
    assert_eq!(reader.stats().skipped_pictures, 7);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]
    /// Whatever a damaged index says about times: sound stays on its grid, pictures rise.
    #[test]
    fn hostile_times_keep_the_order(
        jumps in proptest::collection::vec(proptest::prelude::any::<i64>(), 12),
        picks in proptest::collection::vec(0_usize..60, 12),
        trims in proptest::collection::vec(proptest::prelude::any::<u32>(), 12),
    ) {
        let sps = baseline();
        let mut packets = Script::new(
            &[],
            &[&pictures(0, &sps, &in_order(25, 5)), &opus_packets(1, &melody(SECOND / 2))],
        ).packets;
        for ((jump, pick), trim) in jumps.iter().zip(&picks).zip(&trims) {
            let n_packets = packets.len();
            let packet = &mut packets[pick % n_packets];
            packet.pts = MediaTime::from_ticks(jump >> (pick % 40), SAMPLE_RATE);
            packet.trim_start = trim >> (pick % 30);
        }
        let script = Script::in_file_order(&[h264_track(&sps), opus_track(0)], packets);
        let mut reader = open(script);
        let mut last = [None, None];
        for _ in 0..2000 {
            let Some(frame) = reader.next_frame().unwrap() else { break };
            let last = &mut last[frame.kind as usize];
            let step = last.map(|last| frame.pts - last);
            if frame.kind == MediaKind::Audio {
                proptest::prop_assert!(step.is_none_or(|step| step == FRAME));
            } else {
                proptest::prop_assert!(step.is_none_or(|step| step > MediaTime::ZERO));
            }
            *last = Some(frame.pts);
        }
    }
}
