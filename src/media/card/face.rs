//! What a card looks like: words and cover are drawn once, clock, bar and spectrum for every picture.
//!
//! ```text
//! ┌──────────────────────────────────┐
//! │ ┌─────────┐  Title, in one line  │
//! │ │         │  or two              │
//! │ │  cover  │  Artist              │
//! │ │         │  Album               │
//! │ │         │  ▂▅▇▆▄▃▅▂▁▂▃▂▁       │
//! │ └─────────┘                      │
//! │ ━━━━━━━━━━━━━──────────────────  │
//! │ 1:23                       4:56  │
//! └──────────────────────────────────┘
//! ```

use super::canvas::{Area, Canvas, Color, Planes, Stamp};
use super::cover::Cover;
use super::spectrum::N_BARS;
use super::text::{Style, Typesetter};
use crate::media::picture::Picture;
use crate::time::MediaTime;

/// Pixels: small enough to be encoded for next to nothing, large enough to read.
pub(super) const SIZE: (usize, usize) = (640, 360);
const COVER: Area = Area { x: 32, y: 32, width: 232, height: 232 };
const CORNER: f32 = 14.0;
/// Where the words begin, and how wide they are.
const WORDS: (usize, usize) = (296, 312);
const WORDS_TOP: usize = 30;
const SPECTRUM: Area = Area { x: 296, y: 176, width: 312, height: 88 };
/// From one bar of the spectrum to the next, and its width.
const BAR: (usize, usize) = (11, 7);
const PROGRESS: Area = Area { x: 32, y: 292, width: 576, height: 6 };
/// Everything that moves at the bottom.
const BOTTOM: Area = Area { x: 28, y: 288, width: 584, height: 46 };
const CLOCK_TOP: usize = 308;

const BRIGHT: Color = [248, 249, 252];
const CALM: Color = [205, 209, 219];
const DIM: Color = [160, 166, 180];
/// What a color becomes around everything else: dark enough for white letters.
const SHADE: (u32, [u32; 3]) = (30, [14, 15, 20]);

/// What is written on a card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) title: String,
    pub(super) artist: Option<String>,
    pub(super) album: Option<String>,
}

/// The card of one item.
pub(super) struct Face {
    ground: Canvas,
    canvas: Canvas,
    planes: Planes,
    clock: Clock,
    accent: Color,
    duration: Option<MediaTime>,
}

impl Face {
    /// Draws everything that stays as it is.
    pub(super) fn new(words: &Words, cover: Option<&[u8]>, duration: Option<MediaTime>) -> Self {
        let cover = cover.and_then(|bytes| {
            let cover = Cover::decode(bytes, COVER.width, SIZE);
            cover.inspect_err(|error| tracing::debug!(%error, "the cover is not shown")).ok()
        });
        let accent = cover.as_ref().map_or_else(|| color_of(&words.title), accent_of);
        let mut ground = Canvas::new(SIZE.0, SIZE.1);
        match &cover {
            Some(cover) => {
                ground.paint(|x, y| shade(cover.ground.at(x, y)));
                ground.fill_round(COVER, CORNER, 255, |x, y| cover.front.at(x, y));
            }
            None => {
                ground.paint(|x, y| shade(faded(accent, 20 + (x + y) * 120 / (SIZE.0 + SIZE.1))));
                ground.fill_round(COVER, CORNER, 255, |_, y| faded(accent, 45 + y * 40 / COVER.height));
                draw_note(&mut ground);
            }
        }
        let mut typesetter = Typesetter::default();
        write(&mut ground, &mut typesetter, words);
        let clock = Clock::new(&mut typesetter);
        let canvas = ground.clone();
        let mut planes = Planes::new(SIZE.0, SIZE.1);
        planes.take(&canvas, canvas.area());
        let duration = duration.filter(|duration| *duration > MediaTime::ZERO);
        Self { ground, canvas, planes, clock, accent, duration }
    }

    /// The card at a time of the item, with bars from 0 to 1.
    pub(super) fn draw(&mut self, at: MediaTime, bars: &[f32; N_BARS]) -> Picture<'_> {
        self.draw_spectrum(bars);
        self.draw_progress(at);
        for area in [SPECTRUM, BOTTOM] {
            self.planes.take(&self.canvas, area);
        }
        self.planes.picture()
    }

    fn draw_spectrum(&mut self, bars: &[f32; N_BARS]) {
        self.canvas.restore(&self.ground, SPECTRUM);
        for (nth, bar) in bars.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "a hundred pixels")]
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1")]
            let height = ((bar * SPECTRUM.height as f32) as usize / 2 * 2).clamp(4, SPECTRUM.height);
            let (x, y) = (SPECTRUM.x + nth * BAR.0, SPECTRUM.y + SPECTRUM.height - height);
            let area = Area { x, y, width: BAR.1, height };
            let accent = self.accent;
            self.canvas.fill_round(area, 3.0, 235, |_, _| accent);
        }
    }

    fn draw_progress(&mut self, at: MediaTime) {
        self.canvas.restore(&self.ground, BOTTOM);
        let elapsed = self.clock.set(at);
        self.canvas.stamp(&elapsed, (PROGRESS.x, CLOCK_TOP));
        let Some(duration) = self.duration else { return };
        let total = self.clock.set(duration);
        self.canvas.stamp(&total, (PROGRESS.x + PROGRESS.width - total.width, CLOCK_TOP));
        self.canvas.fill_round(PROGRESS, 3.0, 60, |_, _| BRIGHT);
        let share = (at.as_secs_f64() / duration.as_secs_f64()).clamp(0.0, 1.0);
        #[expect(clippy::cast_precision_loss, reason = "a picture has thousands of pixels in a row")]
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the width")]
        let width = (share * PROGRESS.width as f64).round() as usize;
        let accent = self.accent;
        self.canvas.fill_round(Area { width, ..PROGRESS }, 3.0, 255, |_, _| accent);
    }
}

/// Title, artist and album below each other.
fn write(ground: &mut Canvas, typesetter: &mut Typesetter, words: &Words) {
    let title = Style { size: 28.0, bold: true, color: BRIGHT, width: WORDS.1, lines: 2 };
    let artist = Style { size: 20.0, bold: false, color: CALM, width: WORDS.1, lines: 1 };
    let album = Style { size: 16.0, bold: false, color: DIM, width: WORDS.1, lines: 1 };
    let (artist_text, album_text) = (words.artist.as_deref(), words.album.as_deref());
    let lines = [(Some(&*words.title), title, 0), (artist_text, artist, 6), (album_text, album, 4)];
    let mut top = WORDS_TOP;
    for (text, style, gap) in lines {
        let Some(text) = text else { continue };
        let stamp = typesetter.set(text, style);
        ground.stamp(&stamp, (WORDS.0, top + gap));
        top += gap + stamp.height;
    }
}

/// Two eighths, where a cover would be.
fn draw_note(ground: &mut Canvas) {
    let mut fill = |x, y, width, height, radius| {
        let area = Area { x: COVER.x + x, y: COVER.y + y, width, height };
        ground.fill_round(area, radius, 255, |_, _| BRIGHT);
    };
    fill(66, 142, 38, 30, 15.0);
    fill(134, 130, 38, 30, 15.0);
    fill(96, 64, 8, 94, 2.0);
    fill(164, 52, 8, 94, 2.0);
    // The beam rises from stem to stem.
    for x in 96..172 {
        fill(x, 64 - (x - 96) * 12 / 68, 1, 20, 0.0);
    }
}

/// Makes a color so dark that white stands out against it.
fn shade(color: Color) -> Color {
    let (percent, base) = SHADE;
    let mut shaded = [0; 3];
    for ((shaded, value), base) in shaded.iter_mut().zip(color).zip(base) {
        *shaded = u8::try_from(u32::from(value) * percent / 100 + base).unwrap_or(u8::MAX);
    }
    shaded
}

/// So many percent of a color.
fn faded(color: Color, percent: usize) -> Color {
    color.map(|value| u8::try_from(usize::from(value) * percent / 100).unwrap_or(u8::MAX))
}

/// The strongest color around a cover, bright enough to be seen on it.
fn accent_of(cover: &Cover) -> Color {
    let strength = |color: &Color| color.iter().max().zip(color.iter().min()).map_or(0, |(a, b)| a - b);
    let places = (0..6).flat_map(|y| (0..6).map(move |x| (x * SIZE.0 / 6 + 53, y * SIZE.1 / 6 + 30)));
    let strongest = places.map(|(x, y)| cover.ground.at(x, y)).max_by_key(strength).unwrap_or_default();
    let range = strength(&strongest);
    // Of a picture without colors none is made up.
    if range < 30 {
        return CALM;
    }
    let least = strongest.iter().min().copied().unwrap_or_default();
    strongest.map(|value| {
        let share = u32::from(value - least) * 145 / u32::from(range);
        u8::try_from(share + 110).unwrap_or(u8::MAX)
    })
}

/// A color for a card without a cover: always the same for the same title.
fn color_of(title: &str) -> Color {
    const COLORS: [Color; 6] = [
        [110, 168, 255],
        [255, 150, 120],
        [140, 220, 160],
        [200, 150, 255],
        [255, 200, 110],
        [110, 215, 220],
    ];
    let sum = title.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    COLORS[sum % COLORS.len()]
}

/// Digits that are set once and put together.
struct Clock {
    digits: Vec<Stamp>,
    colon: Stamp,
}

/// All digits are equally wide, so that the clock does not dance.
const DIGIT: usize = 10;
const COLON: usize = 5;

impl Clock {
    fn new(typesetter: &mut Typesetter) -> Self {
        let mut set = |text: &str, width| {
            typesetter.set(text, Style { size: 16.0, bold: false, color: CALM, width, lines: 1 })
        };
        let digits = (0..10).map(|digit| set(&digit.to_string(), DIGIT)).collect();
        Self { digits, colon: set(":", COLON) }
    }

    /// `0:05`, `12:34`, `1:02:03`.
    fn set(&self, at: MediaTime) -> Stamp {
        let seconds = at.max(MediaTime::ZERO).as_millis() / 1000;
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let text = match hours {
            0 => format!("{minutes}:{seconds:02}"),
            _ => format!("{hours}:{minutes:02}:{seconds:02}"),
        };
        let parts: Vec<&Stamp> = text
            .bytes()
            .map(|byte| self.digits.get(usize::from(byte.wrapping_sub(b'0'))).unwrap_or(&self.colon))
            .collect();
        let width = parts.iter().map(|part| part.width).sum();
        let mut whole = Stamp::new(width, self.colon.height);
        let mut left = 0;
        for part in parts {
            whole.append(part, left);
            left += part.width;
        }
        whole
    }
}
