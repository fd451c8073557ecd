//! A copied file with few keyframes, and viewers who ask for one.

use std::path::Path;

use super::*;
use crate::media::codec::h264::coder::Decoder;
use crate::media::plan::PlanOptions;
use crate::media::{Frame, Reader, ReaderOptions};
use crate::player::DueFrame;

/// How early a programme hands out its frames.
const LEAD: Duration = crate::player::state::LEAD;

/// A programme that plays the pictures of one clip.
struct Show {
    bridge: Bridge,
    pictures: Vec<SharedFrame>,
    start: Instant,
    out: Vec<SharedFrame>,
}

impl Show {
    fn of(clip: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("media").join(clip);
        let plan = PlanOptions { audio: false, ..PlanOptions::default() };
        let mut reader = Reader::open(path, ReaderOptions { plan, ..ReaderOptions::default() }).unwrap();
        // Nothing is ever late in a test that runs faster than the clock.
        let start = now() + Duration::from_secs(3600);
        let due = |frame: Frame| {
            let due = start + frame.pts.to_duration();
            Arc::new(DueFrame { item: Some(ItemId(1)), at: frame.pts, due, frame })
        };
        let pictures = std::iter::from_fn(|| reader.next_frame().unwrap()).map(due).collect();
        Self { bridge: Bridge::default(), pictures, start, out: Vec::new() }
    }

    /// Plays the pictures with these numbers; somebody asks right before the picture `asked`.
    async fn play(&mut self, numbers: std::ops::Range<usize>, asked: Option<usize>) {
        for number in numbers {
            let frame = Arc::clone(&self.pictures[number]);
            let now = self.start + frame.at.to_duration() - LEAD;
            if asked == Some(number) {
                self.bridge.request(now);
            }
            self.out.extend(self.bridge.handle_frame(frame, now));
            // In a call the thread has the time of a picture for each.
            let pinged = self.bridge.thread.as_ref().is_some_and(|thread| thread.order(Order::Ping));
            let mut done = !pinged;
            while !done {
                let answer = self.bridge.recv().await;
                done = matches!(answer, Answer::Followed);
                self.out.extend(self.bridge.handle_answer(answer));
            }
            while self.bridge.n_inside > 0 {
                let answer = self.bridge.recv().await;
                let frames = self.bridge.handle_answer(answer);
                self.out.extend(frames);
            }
        }
    }

    /// What goes out is one stream: every picture once, in order, at its place.
    fn assert_whole(&self, n: usize) {
        let places: Vec<_> = self.out.iter().map(|frame| frame.at).collect();
        let expected: Vec<_> = self.pictures[..n].iter().map(|frame| frame.at).collect();
        assert!(places.is_sorted(), "{places:?}");
        let missing: Vec<_> = (0..n).filter(|number| !places.contains(&expected[*number])).collect();
        assert!(missing.is_empty(), "these pictures are missing: {missing:?}");
        assert_eq!(places.len(), n);
        assert!(self.out.iter().zip(&self.pictures).all(|(out, of_file)| out.due == of_file.due));
    }

    /// The numbers of pictures that are not the file's own.
    fn encoded(&self) -> Vec<usize> {
        let own = |(number, out): (usize, &SharedFrame)| !Arc::ptr_eq(out, &self.pictures[number]);
        self.out.iter().enumerate().filter(|each| own(*each)).map(|(number, _)| number).collect()
    }

    fn keys(&self) -> Vec<usize> {
        let keys = self.out.iter().enumerate().filter(|(_, frame)| frame.frame.key);
        keys.map(|(number, _)| number).collect()
    }
}

#[expect(clippy::disallowed_methods, reason = "the bridge's thread looks at the real clock")]
fn now() -> Instant {
    Instant::now()
}

/// Decodes from a number on, as somebody does who comes then; the luma of the pictures.
fn seen_from(frames: &[SharedFrame]) -> Vec<(MediaTime, Vec<u8>)> {
    let mut decoder = Decoder::new().unwrap();
    let mut seen = Vec::new();
    for frame in frames {
        let keep = |at, picture: &crate::media::picture::Picture<'_>| {
            let rows = picture.planes[0].chunks(picture.strides[0]).step_by(8);
            seen.push((
                at,
                rows.flat_map(|row| row[..picture.width as usize].iter().step_by(8).copied()).collect(),
            ));
        };
        decoder.decode(frame.at, &frame.frame.data, keep).unwrap();
    }
    decoder.flush(|_, _| {});
    seen
}

#[tokio::test]
async fn a_keyframe_is_made_where_the_file_has_none_and_copying_goes_on_at_its_next() {
    let mut show = Show::of("long-gop.mp4");
    show.play(0..330, Some(120)).await;
    show.assert_whole(330);
    // The decoder gives a picture when the next one comes.
    assert_eq!(show.encoded(), (120..300).collect::<Vec<_>>());
    assert_eq!(show.keys(), [0, 120, 300]);

    let original = seen_from(&show.pictures[..330]);
    for (who, from) in [("who was there", 0), ("who came", 120)] {
        let seen = seen_from(&show.out[from..330]);
        assert!(seen.len() + 1 >= 330 - from, "{who}: {}", seen.len());
        for (at, luma) in &seen {
            let (_, expected) = original.iter().find(|(place, _)| place == at).unwrap();
            let off: u64 = luma.iter().zip(expected).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
            assert!(off < 4 * luma.len() as u64, "{who}: {at:?} is off by {}", off / luma.len() as u64);
        }
    }
}

/// 20 ms of a pause that began with picture `number`, `nth` slots ago.
async fn stand(show: &mut Show, number: usize, nth: i64, asked: bool) -> Option<SharedFrame> {
    let last = Arc::clone(&show.pictures[number]);
    let at = last.at + MediaTime::from_millis(20 * nth);
    let due = show.start + at.to_duration();
    let frame = Frame { kind: MediaKind::Audio, ..last.frame.clone() };
    let sound = Arc::new(DueFrame { item: None, at, due, frame });
    if asked {
        show.bridge.request(due - LEAD);
    }
    let still = show.bridge.poll_still(&sound, due - LEAD).pop();
    if show.bridge.thread.as_ref().is_some_and(|thread| thread.order(Order::Ping)) {
        loop {
            let answer = show.bridge.recv().await;
            let done = matches!(answer, Answer::Followed);
            assert!(show.bridge.handle_answer(answer).is_empty());
            if done {
                break;
            }
        }
    }
    still
}

#[tokio::test]
async fn who_comes_in_a_pause_sees_the_last_picture_and_everything_after_it() {
    for (clip, pause) in [("long-gop.mp4", 130), ("long-gop.mp4", 10), ("clip.mp4", 70)] {
        let mut show = Show::of(clip);
        show.play(0..pause, None).await;
        let mut stills = Vec::new();
        for nth in 1..200 {
            // Somebody comes in the first moment, and somebody else two seconds later.
            let asked = nth == 2 || nth == 100;
            stills.extend(stand(&mut show, pause - 1, nth, asked).await.map(|still| (nth, still)));
        }
        let slots: Vec<_> = stills.iter().map(|(nth, _)| *nth).collect();
        // The first picture is waited for until it is clear that it stands.
        assert!(
            slots.len() == 2 && (25..30).contains(&slots[0]) && (100..103).contains(&slots[1]),
            "{slots:?}"
        );
        assert!(stills.iter().all(|(_, still)| still.item.is_none() && still.frame.key), "{clip}");

        // The programme's clock went on in the pause.
        let shift = MediaTime::from_secs(4);
        for picture in &mut show.pictures[pause..] {
            let DueFrame { item, at, due, ref frame } = **picture;
            let (at, due) = (at + shift, due + shift.to_duration());
            *picture = Arc::new(DueFrame { item, at, due, frame: frame.clone() });
        }
        let end = (pause + 60).min(show.pictures.len());
        show.play(pause..end, None).await;
        let original = seen_from(&show.pictures[..end]);
        let mut late = vec![Arc::clone(&stills[1].1)];
        late.extend(show.out[pause..].iter().cloned());
        let seen = seen_from(&late);
        assert!(seen.len() + 2 >= end - pause, "{clip}: {} of {}", seen.len(), end - pause);
        for (nth, (at, luma)) in seen.iter().enumerate() {
            let of = if nth == 0 { show.pictures[pause - 1].at } else { *at };
            let (_, expected) = original.iter().find(|(place, _)| *place == of).unwrap();
            let off: u64 = luma.iter().zip(expected).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
            assert!(off < 4 * luma.len() as u64, "{clip}: {at:?} is off by {}", off / luma.len() as u64);
        }
    }
}

#[tokio::test]
async fn nobody_asks_and_nothing_is_made() {
    let mut show = Show::of("clip.mp4");
    show.play(0..70, None).await;
    for nth in 1..100 {
        assert!(stand(&mut show, 69, nth, false).await.is_none());
    }
    assert!(show.bridge.thread.is_none(), "nothing is decoded for nobody");
}

#[tokio::test]
async fn many_requests_are_answered_by_few_keyframes() {
    let mut show = Show::of("long-gop.mp4");
    show.play(0..100, None).await;
    for number in 100..160 {
        show.play(number..number + 1, Some(number)).await;
    }
    // The last one is still inside the decoder.
    show.assert_whole(159);
    // 300 ms after the one before is due, which is 25 ms after it is made; the decoder is one
    // picture behind.
    let keys = show.keys();
    assert_eq!(keys[..2], [0, 100]);
    assert!(keys.len() <= 9 && keys.windows(2).all(|pair| pair[1] - pair[0] >= 8), "{keys:?}");
}

#[tokio::test]
async fn a_file_with_near_keyframes_is_left_alone() {
    let mut show = Show::of("clip.mp4");
    show.play(0..70, None).await;
    for number in 70..120 {
        show.play(number..number + 1, Some(number)).await;
    }
    show.assert_whole(120);
    assert_eq!(show.encoded(), [0; 0]);
    assert!(show.bridge.thread.is_none(), "nothing is decoded for nobody");
}

#[tokio::test]
async fn a_keyframe_that_is_on_its_way_answers_a_request() {
    let mut show = Show::of("long-gop.mp4");
    show.play(0..301, None).await;
    // The file's own has been handed out, and is not due yet.
    show.bridge.request(show.start + show.pictures[300].at.to_duration() - LEAD);
    show.play(301..330, None).await;
    assert_eq!(show.encoded(), [0; 0]);
    show.assert_whole(330);
}

#[tokio::test]
async fn a_group_that_cannot_be_decoded_is_copied_on() {
    let mut show = Show::of("long-gop.mp4");
    let broken = show.pictures[50].frame.data.slice(0..20);
    let frame = Frame { data: broken, ..show.pictures[50].frame.clone() };
    let DueFrame { item, at, due, .. } = *show.pictures[50];
    show.pictures[50] = Arc::new(DueFrame { item, at, due, frame });
    show.play(0..100, None).await;
    show.play(100..330, Some(101)).await;
    assert_eq!(show.out.last().unwrap().at, show.pictures[329].at);
    assert!(show.out.windows(2).all(|pair| pair[0].at < pair[1].at));
}

/// 20 ms of silence, as the programme has them while a slate is seen.
fn silence(start: Instant, nth: i64) -> SharedFrame {
    let at = MediaTime::from_millis(20 * nth);
    let frame = Frame {
        kind: MediaKind::Audio,
        codec: Codec::Opus,
        pts: at,
        duration: MediaTime::from_millis(20),
        key: true,
        data: bytes::Bytes::new(),
        level: None,
        rotation: 0,
    };
    Arc::new(DueFrame { item: None, at, due: start + at.to_duration(), frame })
}

#[tokio::test]
async fn a_slate_of_a_video_goes_round_and_whoever_comes_gets_a_keyframe_soon() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/clip.mp4");
    let slate = Slate::open(path, ReaderOptions::default()).unwrap();
    let (n_frames, length) = (slate.frames().len(), slate.length());
    let mut bridge = Bridge::new(Some(slate));
    let start = now();
    let mut poll = |nth: i64, asked: bool| {
        let sound = silence(start, nth);
        let now = sound.due - LEAD;
        bridge.set_slate(true);
        if asked {
            bridge.request(now);
        }
        bridge.poll_still(&sound, now)
    };
    let n_slots = length.to_ticks(50) + 65;
    let seen: Vec<_> = (0..n_slots).flat_map(|nth| poll(nth, false)).collect();
    for (nth, frame) in seen.iter().enumerate() {
        let place = MediaTime::from_ticks(nth as i64, 30);
        assert!(
            (frame.at - place).abs() < MediaTime::from_millis(1),
            "{nth}: {:?} and not {place:?}",
            frame.at
        );
        assert_eq!(frame.due, start + frame.at.to_duration());
    }
    assert_eq!(seen[n_frames].frame.data, seen[0].frame.data, "it begins again with its keyframe");
    assert!(bridge_key(&seen[n_frames..]) == Some(0) && seen.len() == n_frames + 39, "{}", seen.len());

    let guest: Vec<_> = (n_slots..n_slots + 100).flat_map(|nth| poll(nth, nth == n_slots)).collect();
    let first = bridge_key(&guest).expect("a keyframe comes");
    assert!(guest[first].at - guest[0].at <= MediaTime::from_millis(500), "{first}");
    assert!(guest.windows(2).all(|two| two[0].at < two[1].at));
    assert!(seen_from(&guest[first..]).len() + 2 >= guest.len() - first, "all of it can be decoded");
}

/// Where the first keyframe is.
fn bridge_key(frames: &[SharedFrame]) -> Option<usize> {
    frames.iter().position(|frame| frame.frame.key)
}

#[tokio::test]
async fn after_a_slate_an_item_goes_on_with_what_can_be_decoded() {
    let mut show = Show::of("long-gop.mp4");
    show.play(0..100, None).await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/clip.mp4");
    show.bridge.still = Still::new(Some(Slate::open(path, ReaderOptions::default()).unwrap()));
    show.bridge.set_slate(true);
    let begun = show.pictures[99].at.to_ticks(50) + 1;
    let mut seen = Vec::new();
    for nth in begun..begun + 10 {
        let sound = silence(show.start, nth);
        let now = sound.due - LEAD;
        seen.extend(show.bridge.poll_still(&sound, now));
    }
    assert!(seen[0].frame.key && seen.len() >= 5);
    show.bridge.set_slate(false);
    let n_before = show.out.len();
    show.play(100..120, None).await;
    assert!(show.out[n_before].frame.key, "whoever has seen the slate cannot go on with less");
}
