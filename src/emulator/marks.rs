//! Pictures of the clips in `media/` → what they say about themselves: their number, and whether
//! they flash.
//!
//! The format is described in `docs/testing.md`, so that receivers in other languages can read it
//! too. Two ways to read a number: [`read_frame_number`] takes a whole picture of any size,
//! [`find_frame_number`] searches a larger image, such as a screenshot of a page.

/// The picture on which the positions below are given; other sizes scale.
const DRAWN_WIDTH: f32 = 1280.0;
const DRAWN_HEIGHT: f32 = 720.0;

/// Where the first module begins, and the size of one, on the drawn picture.
const MARK_X: f32 = 64.0;
const MARK_Y: f32 = 672.0;
const MODULE_WIDTH: f32 = 32.0;
const MODULE_HEIGHT: f32 = 16.0;

/// Modules of the whole mark: finder, 16 bits of the number, 8 bits of its check, finder reversed.
const N_MODULES: usize = 36;
const N_NUMBER_BITS: usize = 16;
const N_CHECK_BITS: usize = 8;

/// White, black, three white, black; the right end has the same in reverse.
const FINDER: [bool; 6] = [true, false, true, true, true, false];

/// White is at least this much brighter than black. On screen they are more than 200 apart; a
/// picture where they are closer than this is not one of ours.
const MIN_CONTRAST: f32 = 50.0;

/// Between black and white, in full as in limited range.
const MIDDLE: f32 = 128.0;

/// A module narrower than this, in pixels, cannot be told from its neighbors in a screenshot.
const MIN_MODULE: f32 = 2.0;

/// The part of the picture that is nothing but sky, as shares of its height.
const SKY: (f32, f32) = (0.05, 0.35);

/// The sky is darker than 120 between flashes and 235 or more in them.
const FLASH_LUMA: f32 = 180.0;

/// The luma plane of a picture: one byte a pixel, in full or limited range.
#[derive(Clone, Copy, Debug)]
pub struct Luma<'a> {
    samples: &'a [u8],
    stride: usize,
    width: usize,
    height: usize,
}

impl<'a> Luma<'a> {
    /// `samples` holds `height` rows of `width` pixels, each `stride` bytes after the one before;
    /// `None` when it is too short for that or has no pixels.
    pub fn new(samples: &'a [u8], stride: usize, width: usize, height: usize) -> Option<Self> {
        let needed = stride.checked_mul(height.checked_sub(1)?)?.checked_add(width)?;
        let fits = width > 0 && stride >= width && samples.len() >= needed;
        fits.then_some(Self { samples, stride, width, height })
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    fn row(&self, y: usize) -> &'a [u8] {
        &self.samples[y * self.stride..][..self.width]
    }

    /// Mean of the pixels whose coordinates lie in the ranges, at least of one.
    fn mean(&self, x: (f32, f32), y: (f32, f32)) -> f32 {
        let (left, right) = pixels(x, self.width);
        let (top, bottom) = pixels(y, self.height);
        let sum: u64 =
            (top..bottom).flat_map(|y| &self.row(y)[left..right]).map(|&luma| u64::from(luma)).sum();
        sum as f32 / ((right - left) * (bottom - top)) as f32
    }
}

/// The number of a clip's picture; `luma` is the whole picture, in any size down to 320 × 180.
///
/// `None` when the mark is not there or is damaged.
pub fn read_frame_number(luma: &Luma<'_>) -> Option<u32> {
    let (scale_x, scale_y) = (luma.width as f32 / DRAWN_WIDTH, luma.height as f32 / DRAWN_HEIGHT);
    let y = around((MARK_Y + MODULE_HEIGHT / 2.0) * scale_y, MODULE_HEIGHT * scale_y);
    let mut levels = [0.0; N_MODULES];
    for (i, level) in levels.iter_mut().enumerate() {
        let center = MARK_X + (i as f32 + 0.5) * MODULE_WIDTH;
        *level = luma.mean(around(center * scale_x, MODULE_WIDTH * scale_x), y);
    }
    let (white, black) = (finder_mean(&levels, true), finder_mean(&levels, false));
    if white - black < MIN_CONTRAST {
        return None;
    }
    decode(&levels, white.midpoint(black))
}

/// The number of a clip's picture that is shown somewhere in `luma`, upright and at least
/// 100 pixels wide; the topmost one where there are several.
pub fn find_frame_number(luma: &Luma<'_>) -> Option<u32> {
    (0..luma.height).find_map(|y| find_in_row(luma.row(y)))
}

/// Whether the sky of a clip's picture is white; `luma` is the whole picture.
pub fn is_flash(luma: &Luma<'_>) -> bool {
    let height = luma.height as f32;
    let (mut sum, mut n_pixels) = (0_u64, 0_u64);
    // Every fourth row and column tells as much as all of them.
    for y in ((SKY.0 * height) as usize..(SKY.1 * height) as usize).step_by(4) {
        for &pixel in luma.row(y).iter().step_by(4) {
            sum += u64::from(pixel);
            n_pixels += 1;
        }
    }
    sum as f32 >= FLASH_LUMA * n_pixels.max(1) as f32
}

/// The mean of those finder modules that are white, or of those that are black.
fn finder_mean(levels: &[f32; N_MODULES], wanted: bool) -> f32 {
    let of_both_ends = |(i, _)| levels[i] + levels[N_MODULES - 1 - i];
    let wanted = || FINDER.iter().enumerate().filter(|(_, white)| **white == wanted);
    wanted().map(of_both_ends).sum::<f32>() / (2 * wanted().count()) as f32
}

/// Levels of the modules → the number, if finders and check agree.
fn decode(levels: &[f32; N_MODULES], threshold: f32) -> Option<u32> {
    let white = levels.map(|level| level > threshold);
    let found = FINDER.iter().enumerate().all(|(i, &bit)| white[i] == bit && white[N_MODULES - 1 - i] == bit);
    if !found {
        return None;
    }
    let bits = |from: usize, n_bits: usize| {
        white[from..from + n_bits].iter().fold(0_u32, |value, &bit| value << 1 | u32::from(bit))
    };
    let number = bits(FINDER.len(), N_NUMBER_BITS);
    (bits(FINDER.len() + N_NUMBER_BITS, N_CHECK_BITS) == check(number)).then_some(number)
}

/// CRC-8 with the polynomial x⁸ + x² + x + 1, all ones to begin with, over the number's two bytes.
fn check(number: u32) -> u32 {
    let mut crc = 0xFF_u32;
    for shift in [8, 0] {
        crc ^= number >> shift & 0xFF;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x100 != 0 {
                crc ^= 0x107;
            }
        }
    }
    crc
}

/// A row of pixels is black and white runs; the finders are runs of 1, 1 and 3 modules.
fn find_in_row(row: &[u8]) -> Option<u32> {
    let runs = runs(row);
    let starts = runs.iter().enumerate().filter(|(_, run)| run.white);
    starts.into_iter().find_map(|(i, first)| {
        let [_, _, third] = runs.get(i..i + 3)? else { return None };
        let module = (third.end - first.start) as f32 / 5.0;
        if module < MIN_MODULE || !are_modules(&runs[i..i + 3], [1.0, 1.0, 3.0], module) {
            return None;
        }
        let expected = first.start as f32 + module * N_MODULES as f32;
        let near = |run: &&Run| (run.end as f32 - expected).abs() <= 1.5 * module;
        let after = runs.iter().skip(i + 3).take_while(|run| run.start as f32 <= expected + module);
        after.filter(|run| run.white).filter(near).find_map(|last| read_between(row, first.start, last.end))
    })
}

/// Reads the mark that begins and ends at these pixels of a row.
fn read_between(row: &[u8], start: usize, end: usize) -> Option<u32> {
    let module = (end - start) as f32 / N_MODULES as f32;
    let mut levels = [0.0; N_MODULES];
    for (i, level) in levels.iter_mut().enumerate() {
        let (left, right) = pixels(around(start as f32 + (i as f32 + 0.5) * module, module), row.len());
        let sum: u32 = row[left..right].iter().map(|&luma| u32::from(luma)).sum();
        *level = sum as f32 / (right - left) as f32;
    }
    decode(&levels, MIDDLE)
}

/// Neighboring pixels of a row on the same side of [`MIDDLE`].
struct Run {
    start: usize,
    end: usize,
    white: bool,
}

fn runs(row: &[u8]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (x, &luma) in row.iter().enumerate() {
        let white = f32::from(luma) > MIDDLE;
        match runs.last_mut() {
            Some(run) if run.white == white => run.end = x + 1,
            _ => runs.push(Run { start: x, end: x + 1, white }),
        }
    }
    runs
}

fn are_modules(runs: &[Run], lengths: [f32; 3], module: f32) -> bool {
    runs.iter()
        .zip(lengths)
        .all(|(run, length)| ((run.end - run.start) as f32 / module - length).abs() <= 0.5)
}

/// The middle half of a module: its borders are blurred.
fn around(center: f32, size: f32) -> (f32, f32) {
    (center - size / 4.0, center + size / 4.0)
}

/// The pixels whose middles lie in a range of coordinates, at least one of the `n_pixels` there are.
fn pixels((from, to): (f32, f32), n_pixels: usize) -> (usize, usize) {
    let first = ((from + 0.5).floor().max(0.0) as usize).min(n_pixels - 1);
    let last = ((to + 0.5).floor().max(0.0) as usize).min(n_pixels);
    (first, last.max(first + 1))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An image painted by the description in `docs/testing.md`.
    #[derive(Clone)]
    pub(crate) struct Image {
        pub(crate) luma: Vec<u8>,
        pub(crate) width: usize,
        pub(crate) height: usize,
    }

    impl Image {
        pub(crate) fn gray(width: usize, height: usize, luma: u8) -> Self {
            Self { luma: vec![luma; width * height], width, height }
        }

        /// A picture of a clip: white or dark sky, dark ground, the mark with limited-range levels.
        pub(crate) fn clip(number: u32, flash: bool, width: usize, height: usize) -> Self {
            let mut image = Self::gray(width, height, 28);
            image.fill((0.0, 1.0), (0.0, 0.5), if flash { 235 } else { 70 });
            let check = {
                let bytes = u16::try_from(number).unwrap().to_be_bytes();
                bytes.iter().fold(0xFF_u8, |crc, byte| {
                    (0..8).fold(crc ^ byte, |crc, _| if crc >= 0x80 { (crc << 1) ^ 7 } else { crc << 1 })
                })
            };
            let text = format!("101110{number:016b}{check:08b}011101");
            for (i, bit) in text.chars().enumerate() {
                let x = (64 + 32 * i) as f32 / 1280.0;
                let luma = if bit == '1' { 235 } else { 24 };
                image.fill((x, x + 32.0 / 1280.0), (672.0 / 720.0, 688.0 / 720.0), luma);
            }
            image
        }

        pub(crate) fn as_luma(&self) -> Luma<'_> {
            Luma::new(&self.luma, self.width, self.width, self.height).unwrap()
        }

        fn fill(&mut self, x: (f32, f32), y: (f32, f32), luma: u8) {
            let (width, height) = (self.width as f32, self.height as f32);
            for row in (y.0 * height).round() as usize..(y.1 * height).round() as usize {
                let range = (x.0 * width).round() as usize..(x.1 * width).round() as usize;
                self.luma[row * self.width..][range].fill(luma);
            }
        }

        /// Averages areas, as a browser does when it makes a picture smaller.
        fn scaled(&self, width: usize, height: usize) -> Self {
            let (step_x, step_y) = (self.width as f32 / width as f32, self.height as f32 / height as f32);
            let mut scaled = Self::gray(width, height, 0);
            for y in 0..height {
                for x in 0..width {
                    let (x0, y0) = ((x as f32 * step_x) as usize, (y as f32 * step_y) as usize);
                    let x1 = (((x + 1) as f32 * step_x).ceil() as usize).min(self.width);
                    let y1 = (((y + 1) as f32 * step_y).ceil() as usize).min(self.height);
                    let sum: usize = (y0..y1)
                        .flat_map(|y| &self.luma[y * self.width..][x0..x1])
                        .map(|&luma| usize::from(luma))
                        .sum();
                    scaled.luma[y * width + x] = u8::try_from(sum / ((x1 - x0) * (y1 - y0))).unwrap();
                }
            }
            scaled
        }

        /// This image on a light page, its corner at `x`, `y`.
        fn on_page(&self, x: usize, y: usize, width: usize, height: usize) -> Self {
            let mut page = Self::gray(width, height, 244);
            for row in 0..self.height {
                page.luma[(y + row) * width + x..][..self.width]
                    .copy_from_slice(&self.luma[row * self.width..][..self.width]);
            }
            page
        }

        fn noisy(mut self, strength: i16, seed: u64) -> Self {
            let mut random = fastrand::Rng::with_seed(seed);
            for luma in &mut self.luma {
                *luma = (i16::from(*luma) + random.i16(-strength..=strength)).clamp(0, 255) as u8;
            }
            self
        }
    }

    #[test]
    fn numbers_survive_scaling_and_noise() {
        for number in [0, 1, 29, 30, 367, 599, 0x5555, 0xAAAA, 0xFFFF] {
            let drawn = Image::clip(number, number % 30 < 3, 1280, 720);
            for (width, height) in [(1280, 720), (854, 480), (640, 360), (426, 240), (333, 187), (320, 180)] {
                let image = drawn.scaled(width, height).noisy(50, u64::from(number));
                assert_eq!(read_frame_number(&image.as_luma()), Some(number), "{number} at {width}×{height}");
            }
        }
    }

    #[test]
    fn numbers_are_found_anywhere_on_a_page() {
        for (number, width, height, x, y) in [
            (0, 1280, 720, 0, 0),
            (77, 640, 360, 301, 211),
            (599, 320, 180, 13, 7),
            (0xFFFF, 711, 400, 560, 399),
        ] {
            let page = Image::clip(number, true, 1280, 720).scaled(width, height).on_page(x, y, 1280, 800);
            assert_eq!(find_frame_number(&page.as_luma()), Some(number), "{width}×{height} at {x}, {y}");
        }
    }

    #[test]
    fn what_is_no_mark_has_no_number() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut noise = Image::gray(640, 360, 0);
        noise.luma.fill_with(|| if random.bool() { 235 } else { 16 });
        let flat = Image::gray(640, 360, 90);
        let mut covered = Image::clip(123, false, 640, 360);
        covered.fill((0.4, 0.6), (0.9, 1.0), 60);
        for (name, image) in [("noise", noise), ("flat", flat), ("covered", covered)] {
            assert_eq!(read_frame_number(&image.as_luma()), None, "{name}");
            assert_eq!(find_frame_number(&image.as_luma()), None, "{name}");
        }
    }

    #[test]
    fn every_flipped_module_is_noticed() {
        let image = Image::clip(367, false, 1280, 720);
        for i in 0..N_MODULES {
            let mut broken = image.clone();
            let x = 64 + 32 * i;
            let was = broken.luma[680 * 1280 + x + 16];
            broken.fill(
                (x as f32 / 1280.0, (x + 32) as f32 / 1280.0),
                (672.0 / 720.0, 688.0 / 720.0),
                if was > 128 { 24 } else { 235 },
            );
            assert_eq!(read_frame_number(&broken.as_luma()), None, "module {i}");
        }
    }

    #[test]
    fn check_is_the_documented_one() {
        assert_eq!(check(0), 0b1101_0111);
        assert_eq!(check(367), 0b1100_1000);
    }

    #[test]
    fn flash_is_told_from_dusk() {
        assert!(is_flash(&Image::clip(30, true, 640, 360).as_luma()));
        assert!(!is_flash(&Image::clip(33, false, 640, 360).as_luma()));
        assert!(!is_flash(&Image::gray(1, 1, 255).as_luma()), "a picture without a sky");
    }

    #[test]
    fn planes_that_lie_about_their_size_are_refused() {
        assert!(Luma::new(&[0; 99], 10, 10, 10).is_none());
        assert!(Luma::new(&[0; 100], 10, 10, 10).is_some());
        assert!(Luma::new(&[0; 98], 11, 8, 9).is_some());
        assert!(Luma::new(&[], 0, 0, 0).is_none());
        assert!(Luma::new(&[0; 100], 5, 10, 1).is_none());
        assert!(Luma::new(&[0; 100], usize::MAX, 10, 3).is_none());
    }
}
