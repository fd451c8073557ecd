//! Picture number → planes: a sky that flashes, bars of color, time code and number for people,
//! and the mark for programs. All places are given on 1280 × 720 pixels and scale.

use super::spec::PictureSpec;
use crate::media::picture::Picture;
use crate::time::MediaTime;

/// What the places are given on.
const DRAWN: (f32, f32) = (1280.0, 720.0);
/// The sky is white for so long at the beginning of a second.
const FLASH: MediaTime = MediaTime::from_millis(100);
/// Luma of what does not move, from the top: where it ends, and how bright it is.
const BANDS: [(f32, u8); 4] = [(260.0, 70), (310.0, 40), (400.0, 40), (720.0, 20)];
const SKY: usize = 0;
const WHITE: u8 = 235;
const GRAY: u8 = 128;

/// A block that goes from left to right in a second.
const RUNNER: Area = Area { x: (0.0, 64.0), y: (270.0, 300.0) };
/// Bars of color at 75 %: luma and both chromas of BT.709.
const BARS_Y: (f32, f32) = (310.0, 400.0);
const BARS: [[u8; 3]; 7] = [
    [180, 128, 128],
    [168, 44, 136],
    [145, 147, 44],
    [133, 63, 52],
    [63, 193, 204],
    [51, 109, 212],
    [28, 212, 120],
];

/// The time code and the number: where their first character begins, and how large a dot is.
const CODE_AT: (f32, f32, f32) = (64.0, 425.0, 11.0);
const NUMBER_AT: (f32, f32, f32) = (64.0, 530.0, 8.0);
/// From one character to the next, in dots.
const ADVANCE: f32 = 6.0;

/// The mark, as `docs/testing.md` describes it.
const MARK_AT: (f32, f32) = (64.0, 672.0);
const MODULE: (f32, f32) = (32.0, 16.0);
/// White, black, three white, black.
const FINDER: u32 = 0b10_1110;
const FINDER_REVERSED: u32 = 0b01_1101;
const FINDER_BITS: u32 = 6;
const N_MODULES: u32 = 36;

/// Digits, then `:` and `#`: seven rows of five dots, the left one in the highest bit.
const GLYPHS: [[u8; 7]; 12] = [
    [0x0e, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0e],
    [0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e],
    [0x0e, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1f],
    [0x1f, 0x02, 0x04, 0x02, 0x01, 0x11, 0x0e],
    [0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02],
    [0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e],
    [0x06, 0x08, 0x10, 0x1e, 0x11, 0x11, 0x0e],
    [0x1f, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08],
    [0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e],
    [0x0e, 0x11, 0x11, 0x0f, 0x01, 0x02, 0x0c],
    [0x00, 0x0c, 0x0c, 0x00, 0x0c, 0x0c, 0x00],
    [0x0a, 0x0a, 0x1f, 0x0a, 0x1f, 0x0a, 0x0a],
];

/// A rectangle of the drawn picture.
#[derive(Clone, Copy)]
struct Area {
    x: (f32, f32),
    y: (f32, f32),
}

/// Planes to draw on.
#[derive(Clone)]
struct Canvas {
    size: (u32, u32),
    planes: [Vec<u8>; 3],
}

/// Draws pictures; what is the same in all of them is drawn once.
pub(super) struct Scene {
    spec: PictureSpec,
    calm: Canvas,
    flashing: Canvas,
    canvas: Canvas,
}

impl Scene {
    pub(super) fn new(spec: PictureSpec) -> Self {
        let calm = Canvas::new(spec.size);
        let mut flashing = calm.clone();
        flashing.fill(0, Area { x: (0.0, DRAWN.0), y: (0.0, BANDS[SKY].0) }, WHITE);
        Self { spec, canvas: calm.clone(), calm, flashing }
    }

    /// Picture `n`.
    pub(super) fn draw(&mut self, n: u64) -> Picture<'_> {
        let second = self.spec.second_of(n);
        let since = self.spec.at(n) - MediaTime::from_secs(i64::try_from(second).unwrap_or(i64::MAX));
        let ground = if since < FLASH { &self.flashing } else { &self.calm };
        for (plane, ground) in self.canvas.planes.iter_mut().zip(&ground.planes) {
            plane.copy_from_slice(ground);
        }
        let canvas = &mut self.canvas;
        #[expect(clippy::cast_possible_truncation, reason = "a place of a picture")]
        let share = since.as_secs_f64() as f32;
        let x = share * (DRAWN.0 - (RUNNER.x.1 - RUNNER.x.0));
        canvas.fill(0, Area { x: (x + RUNNER.x.0, x + RUNNER.x.1), ..RUNNER }, WHITE);
        let nth = n - self.spec.first_of(second);
        let code = format!("{:02}:{:02}:{:02}:{nth:02}", second / 3600 % 100, second / 60 % 60, second % 60);
        canvas.write(&code, CODE_AT);
        canvas.write(&format!("#{n}"), NUMBER_AT);
        canvas.draw_mark(n);
        canvas.picture()
    }
}

impl Canvas {
    fn new(size: (u32, u32)) -> Self {
        let luma = (size.0 * size.1) as usize;
        let mut this = Self { size, planes: [vec![0; luma], vec![GRAY; luma / 4], vec![GRAY; luma / 4]] };
        let mut top = 0.0;
        for (bottom, luma) in BANDS {
            this.fill(0, Area { x: (0.0, DRAWN.0), y: (top, bottom) }, luma);
            top = bottom;
        }
        let width = DRAWN.0 / 7.0;
        let mut left = 0.0;
        for bar in BARS {
            for (plane, sample) in bar.into_iter().enumerate() {
                this.fill(plane, Area { x: (left, left + width), y: BARS_Y }, sample);
            }
            left += width;
        }
        this
    }

    fn picture(&self) -> Picture<'_> {
        let [y, u, v] = &self.planes;
        let stride = self.size.0 as usize;
        Picture {
            width: self.size.0,
            height: self.size.1,
            planes: [y, u, v],
            strides: [stride, stride / 2, stride / 2],
        }
    }

    /// Fills an area of one plane.
    fn fill(&mut self, plane: usize, area: Area, sample: u8) {
        let half = u32::from(plane > 0);
        let (width, height) = ((self.size.0 >> half) as usize, (self.size.1 >> half) as usize);
        #[expect(clippy::cast_precision_loss, reason = "a picture has thousands of pixels in a row")]
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the picture")]
        let pixel = |at: f32, drawn: f32, size: usize| {
            (at / drawn * size as f32).round().clamp(0.0, size as f32) as usize
        };
        let (left, right) = (pixel(area.x.0, DRAWN.0, width), pixel(area.x.1, DRAWN.0, width));
        for row in pixel(area.y.0, DRAWN.1, height)..pixel(area.y.1, DRAWN.1, height) {
            self.planes[plane][row * width..][left..right].fill(sample);
        }
    }

    /// Writes digits, `:` and `#`.
    fn write(&mut self, text: &str, (left, top, dot): (f32, f32, f32)) {
        let mut x = left;
        for byte in text.bytes() {
            let glyph = match byte {
                b'0'..=b'9' => usize::from(byte - b'0'),
                b':' => 10,
                _ => 11,
            };
            let mut y = top;
            for row in GLYPHS[glyph] {
                let mut at = x;
                for bit in (0..5).rev() {
                    if row >> bit & 1 == 1 {
                        self.fill(0, Area { x: (at, at + dot), y: (y, y + dot) }, WHITE);
                    }
                    at += dot;
                }
                y += dot;
            }
            x += ADVANCE * dot;
        }
    }

    fn draw_mark(&mut self, n: u64) {
        let modules = modules(n);
        let (mut left, top) = MARK_AT;
        for bit in (0..N_MODULES).rev() {
            if modules >> bit & 1 == 1 {
                self.fill(0, Area { x: (left, left + MODULE.0), y: (top, top + MODULE.1) }, WHITE);
            }
            left += MODULE.0;
        }
    }
}

/// Finder, 16 bits of the number, 8 bits of its check, finder in reverse: the first one highest.
fn modules(n: u64) -> u64 {
    let [.., high, low] = n.to_be_bytes();
    let number = u64::from(high) << 8 | u64::from(low);
    let checked = number << 8 | u64::from(check([high, low]));
    (u64::from(FINDER) << 24 | checked) << FINDER_BITS | u64::from(FINDER_REVERSED)
}

/// CRC-8 with the polynomial x⁸ + x² + x + 1, all ones to begin with.
fn check(bytes: [u8; 2]) -> u8 {
    bytes.into_iter().fold(0xff, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc: u8, _| if crc & 0x80 == 0 { crc << 1 } else { crc << 1 ^ 0x07 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_the_one_of_the_documentation() {
        for (n, words) in [
            (0, "101110000000000000000011010111011101"),
            (367, "101110000000010110111111001000011101"),
            (65_536, "101110000000000000000011010111011101"),
        ] {
            assert_eq!(format!("{:036b}", modules(n)), words, "{n}");
        }
    }

    #[test]
    fn it_flashes_for_the_first_tenth_of_a_second() {
        for (rate, flashing) in [((30, 1), 3), ((25, 1), 3), ((60, 1), 6), ((5, 1), 1)] {
            let spec = PictureSpec { size: (320, 180), rate };
            let mut scene = Scene::new(spec);
            let bright: Vec<u64> =
                (0..u64::from(rate.0)).filter(|n| scene.draw(*n).planes[0][320 * 20] == WHITE).collect();
            assert_eq!(bright, (0..flashing).collect::<Vec<_>>(), "{rate:?}");
        }
    }

    #[test]
    fn no_size_is_drawn_over_its_edges() {
        for size in [(16, 16), (16, 4096), (4096, 16), (322, 182)] {
            let mut scene = Scene::new(PictureSpec { size, rate: (30, 1) });
            assert!(scene.draw(123_456_789).is_sound(), "{size:?}");
        }
    }
}
