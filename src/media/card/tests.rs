//! A card shows what it should, when it should.

use std::path::Path;

use super::cover::tests::png;
use super::spectrum::tests::tone;
use super::*;
use crate::media::Reader;
use crate::media::codec::h264::coder::Decoder;
use crate::media::picture::Picture;

/// A decoded card: luma and both chromas of every pixel.
struct Seen {
    width: usize,
    planes: [Vec<u8>; 3],
}

impl Seen {
    fn of(picture: &Picture<'_>) -> Self {
        let (width, height) = (picture.width as usize, picture.height as usize);
        assert_eq!((width, height), SIZE);
        let plane = |nth: usize, width: usize, height: usize| -> Vec<u8> {
            let rows = picture.planes[nth].chunks(picture.strides[nth]).take(height);
            rows.flat_map(|row| &row[..width]).copied().collect()
        };
        let half = (width / 2, height / 2);
        Self { width, planes: [plane(0, width, height), plane(1, half.0, half.1), plane(2, half.0, half.1)] }
    }

    fn luma(&self, x: usize, y: usize) -> u8 {
        self.planes[0][y * self.width + x]
    }

    /// Whether it has about this color there.
    fn is(&self, (x, y): (usize, usize), [r, g, b]: [u8; 3]) -> bool {
        let [r, g, b] = [r, g, b].map(f64::from);
        let luma = 0.2126 * r + 0.7152 * g + 0.0722 * b;
        let expected = [
            16.0 + luma * 219.0 / 255.0,
            128.0 + (b - luma) / 1.8556 * 224.0 / 255.0,
            128.0 + (r - luma) / 1.5748 * 224.0 / 255.0,
        ];
        let half = y / 2 * (self.width / 2) + x / 2;
        let seen = [self.luma(x, y), self.planes[1][half], self.planes[2][half]];
        seen.iter().zip(expected).all(|(seen, expected)| (f64::from(*seen) - expected).abs() < 14.0)
    }

    /// Pixels brighter than this in an area.
    fn bright(&self, x: std::ops::Range<usize>, y: std::ops::Range<usize>, than: u8) -> usize {
        y.flat_map(|y| x.clone().map(move |x| (x, y))).filter(|(x, y)| self.luma(*x, *y) > than).count()
    }

    /// How far the progress bar goes, in pixels.
    fn progress(&self) -> usize {
        (32..608).take_while(|x| self.luma(*x, 295) > 120).count()
    }
}

fn decode(frames: &[Frame]) -> Vec<Seen> {
    let mut decoder = Decoder::new().unwrap();
    let mut seen = Vec::new();
    for frame in frames {
        decoder.decode(frame.pts, &frame.data, |_, picture| seen.push(Seen::of(picture))).unwrap();
    }
    decoder.flush(|_, picture| seen.push(Seen::of(picture)));
    seen
}

fn sketch(title: &str, cover: Option<Vec<u8>>) -> Sketch {
    let words = Words { title: title.to_owned(), artist: Some("Кино".to_owned()), album: None };
    Sketch { words, cover: cover.map(Bytes::from) }
}

/// Plays a tone of so many seconds; gives the pictures.
fn play(card: &mut Card, from: MediaTime, millis: i64, volume: impl Fn(MediaTime) -> f32) -> Vec<Frame> {
    let mut frames = Vec::new();
    for nth in 0..millis / 20 {
        let pts = from + FRAME * nth;
        frames.extend(card.poll());
        card.hear(pts, (&tone(440.0, volume(pts), nth as usize), 1.0)).unwrap();
    }
    frames.extend(card.poll());
    frames
}

#[test]
fn the_cover_is_on_the_left_and_the_words_are_on_the_right() {
    let cover = png(300, 300, [220, 30, 30], [30, 30, 220]);
    let mut card = Card::new(&sketch("Группа крови", Some(cover)), Some(MediaTime::from_secs(100))).unwrap();
    let seen = decode(&play(&mut card, MediaTime::ZERO, 400, |_| 0.0));
    assert_eq!(seen.len(), 2);
    for seen in &seen {
        assert!(seen.is((80, 150), [220, 30, 30]) && seen.is((220, 150), [30, 30, 220]), "the cover");
        assert!(seen.bright(296..608, 30..64, 180) > 300, "the title");
        assert!(seen.bright(296..608, 70..95, 120) > 50, "the artist");
        assert_eq!(seen.bright(296..608, 110..170, 120), 0, "and nothing below");
        assert!(seen.luma(630, 20) < 70 && seen.luma(10, 350) < 70, "all around it is dark");
    }
}

#[test]
fn bar_and_clock_go_on_with_the_item() {
    let mut card = Card::new(&sketch("a", None), Some(MediaTime::from_secs(100))).unwrap();
    for (percent, at) in [(0, 0), (25, 25), (50, 50), (99, 99)] {
        card.seek();
        let frames = play(&mut card, MediaTime::from_secs(at), 200, |_| 0.0);
        let seen = decode(&frames);
        let progress = seen[0].progress();
        assert!(progress.abs_diff(576 * percent / 100) <= 4, "{percent} %: {progress} pixels");
        assert!(seen[0].bright(32..70, 308..330, 110) > 20, "the clock");
        assert!(seen[0].bright(560..608, 308..330, 110) > 20, "and how long it is");
    }
    // Of a source without an end only the time is shown.
    let mut card = Card::new(&sketch("a", None), None).unwrap();
    let seen = decode(&play(&mut card, MediaTime::ZERO, 200, |_| 0.0));
    assert_eq!(seen[0].bright(100..608, 286..332, 90), 0);
}

#[test]
fn the_spectrum_moves_with_the_sound() {
    let mut card = Card::new(&sketch("a", None), Some(MediaTime::from_secs(100))).unwrap();
    let second = MediaTime::from_secs(1);
    let seen = decode(&play(&mut card, MediaTime::ZERO, 3000, |pts| if pts < second { 0.0 } else { 0.5 }));
    let high: Vec<usize> = seen.iter().map(|seen| seen.bright(296..608, 176..250, 110)).collect();
    assert_eq!(high.len(), 15);
    assert!(high[..5].iter().all(|n| *n == 0), "silence: {high:?}");
    assert!(high[7..].iter().all(|n| *n > 300), "a tone: {high:?}");
}

#[test]
fn pictures_follow_each_other_without_a_gap_and_end_with_the_sound() {
    let mut card = Card::new(&sketch("a", None), None).unwrap();
    let mut frames = play(&mut card, MediaTime::from_millis(40), 4500, |_| 0.5);
    frames.extend(card.end());
    assert_eq!(card.end(), None);
    assert_eq!(frames.len(), 23);
    assert_eq!(frames[0].pts, MediaTime::from_millis(40));
    assert!(frames.windows(2).all(|pair| pair[1].pts == pair[0].pts + pair[0].duration));
    let last = frames.last().unwrap();
    assert_eq!(last.pts + last.duration, MediaTime::from_millis(4540));
    let keys: Vec<usize> = (0..frames.len()).filter(|nth| frames[*nth].key).collect();
    assert_eq!(keys, [0, 10, 20], "every two seconds");
    let bits: usize = frames.iter().map(|frame| frame.data.len() * 8).sum();
    assert!(bits < 4 * 400_000, "{bits} bits");
}

#[test]
fn whoever_asks_gets_a_keyframe_and_a_seek_begins_with_one() {
    let mut card = Card::new(&sketch("a", None), None).unwrap();
    play(&mut card, MediaTime::ZERO, 1000, |_| 0.5);
    card.request_key();
    let frames = play(&mut card, MediaTime::from_secs(1), 1000, |_| 0.5);
    let keys: Vec<bool> = frames.iter().map(|frame| frame.key).collect();
    assert_eq!(keys, [true, false, false, false, false]);
    card.seek();
    let frames = play(&mut card, MediaTime::from_millis(77_780), 400, |_| 0.5);
    let places: Vec<(i64, bool)> = frames.iter().map(|frame| (frame.pts.as_millis(), frame.key)).collect();
    assert_eq!(places, [(77_780, true), (77_980, false)]);
}

#[test]
fn a_broken_cover_is_left_out() {
    for cover in [b"\xff\xd8\xff\xe0 nothing".to_vec(), png(8000, 2000, [255; 3], [255; 3])] {
        let mut card = Card::new(&sketch("a", Some(cover)), None).unwrap();
        let seen = decode(&play(&mut card, MediaTime::ZERO, 200, |_| 0.0));
        assert!(seen[0].bright(98..204, 80..240, 180) > 1000, "a note in its place");
    }
}

#[test]
fn a_name_stands_in_for_a_title() {
    for (input, title, artist) in [
        ("/music/Кино - Группа крови.mp3", "Группа крови", Some("Кино")),
        ("song_of_songs.flac", "song of songs", None),
        ("https://example.org/a/live.mp3?key=1", "live", None),
        ("http://radio.example.org/", "radio.example.org", None),
        ("http://source:hackme@radio.example.org:8000", "radio.example.org:8000", None),
        ("http://source:hackme@radio.example.org/live.ogg", "live", None),
        ("t.me/name/5", "5", None),
        ("-", "-", None),
        (" - .mp3", " - ", None),
        ("St. Anger", "St. Anger", None),
        ("", "", None),
    ] {
        assert_eq!(names(input), (title.to_owned(), artist.map(str::to_owned)), "{input}");
    }
}

#[test]
fn what_a_program_says_counts_more_than_the_file() {
    let tags = || Tags { title: Some("tagged".to_owned()), cover: Some(vec![1]), ..Tags::default() };
    let by_tags = Sketch::of(tags(), "A - B.mp3", &CardOptions::default());
    assert_eq!(by_tags.words, Words { title: "tagged".to_owned(), artist: None, album: None });
    let named = CardOptions {
        name: Some("Кино - Группа крови.mp3".to_owned()), ..CardOptions::default()
    };
    let by_name = Sketch::of(Tags::default(), "t.me/name/5", &named);
    assert_eq!((&*by_name.words.title, by_name.words.artist.as_deref()), ("Группа крови", Some("Кино")));
    let said = CardOptions {
        title: Some("said".to_owned()),
        artist: Some("somebody".to_owned()),
        cover: Some(Bytes::from_static(b"2")),
        name: None,
    };
    let by_word = Sketch::of(tags(), "A - B.mp3", &said);
    assert_eq!(by_word.words, Words { title: "said".to_owned(), artist: said.artist, album: None });
    assert_eq!(by_word.cover, said.cover);
}

fn clip(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("media").join(name)
}

fn with_card() -> ReaderOptions {
    ReaderOptions { card: Some(CardOptions::default()), ..ReaderOptions::default() }
}

#[test]
fn an_item_with_pictures_shows_them_and_one_without_shows_a_card() {
    let kinds = |name: &str, options: ReaderOptions| {
        let mut reader = Reader::open(clip(name), options).unwrap();
        let mut pictures = Vec::new();
        for _ in 0..200 {
            let frame = reader.next_frame().unwrap().unwrap();
            pictures.extend((frame.kind == MediaKind::Video).then_some(frame));
        }
        (reader.plan().video.to_string(), pictures)
    };
    assert_eq!(kinds("clip.mp4", with_card()).0, "copy");
    assert_eq!(kinds("music.mp3", ReaderOptions::default()).0, "none");
    let mut without = with_card();
    without.plan.video = false;
    assert_eq!(kinds("music.mp3", without).0, "none");
    let (plan, pictures) = kinds("music.mp3", with_card());
    assert_eq!(plan, "card");
    assert!(pictures.len() >= 18, "{} pictures beside 180 slots", pictures.len());
    assert_eq!(decode(&pictures).len(), pictures.len());
}

#[test]
fn a_seek_goes_on_with_a_keyframe_where_the_sound_does() {
    let mut reader = Reader::open(clip("music.ogg"), with_card()).unwrap();
    for _ in 0..100 {
        reader.next_frame().unwrap();
    }
    let landed = reader.seek(MediaTime::from_millis(7777)).unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        frames.push(frame);
    }
    let first = frames.iter().find(|frame| frame.kind == MediaKind::Video).unwrap();
    assert!(
        first.key && first.pts >= landed && first.pts - landed < FRAME,
        "{:?} after {landed:?}",
        first.pts
    );
    let end = |kind| frames.iter().filter(|f| f.kind == kind).map(|f| f.pts + f.duration).max();
    assert_eq!(end(MediaKind::Audio), end(MediaKind::Video), "both end together");
    assert!(reader.request_key());
}
