//! Frame number → one picture of the clips: a radio mast above drifting ridges at dusk.
//!
//! The picture is drawn here and not by FFmpeg's filters so that it is the same in every
//! FFmpeg, and so that what a program has to read (the mark, the flash) is exact.
//! Everything repeats after [`LOOP`] pictures, so a player that loops the clip shows no seam.

use std::f32::consts::TAU;

/// Pictures per second.
pub(crate) const FPS: u32 = 30;
/// Pictures until the scene repeats.
pub(crate) const LOOP: u32 = 20 * FPS;
/// Size of the drawn picture in pixels.
pub(crate) const WIDTH: usize = 1280;
pub(crate) const HEIGHT: usize = 720;
/// The sky is white in pictures `30·n … 30·n + 2`: exactly as long as the beep.
pub(crate) const FLASH_FRAMES: u32 = 3;

/// The mark: 36 modules in a row on macroblock borders, so that a module that does not change
/// costs the encoder nothing. What is black lies on the dark of the nearest ridge.
const MODULE_WIDTH: usize = 32;
const MODULE_HEIGHT: usize = 16;
const MARK_X: usize = 64;
const MARK_Y: usize = 672;
/// White, black, white × 3, black: nothing else in the picture has these proportions. The
/// right end has the same in reverse.
const FINDER: [bool; 6] = [true, false, true, true, true, false];

/// The horizon of each ridge, far to near, as a share of the height.
const RIDGES: [Ridge; 4] = [
    Ridge { base: 0.53, swell: 0.052, laps: 0, seed: 3, haze: 0.62, trees: (0, 0.0) },
    Ridge { base: 0.60, swell: 0.046, laps: 0, seed: 8, haze: 0.42, trees: (0, 0.0) },
    Ridge { base: 0.69, swell: 0.034, laps: 1, seed: 5, haze: 0.20, trees: (210, 9.0) },
    Ridge { base: 0.80, swell: 0.022, laps: 2, seed: 1, haze: 0.03, trees: (110, 34.0) },
];
/// The ridge that carries the mast.
const MAST_RIDGE: usize = 2;
/// Where the mast stands on its ridge, and how high it is.
const MAST_X: f32 = 830.0;
const MAST_HEIGHT: f32 = 196.0;

const MOON: (f32, f32, f32) = (262.0, 138.0, 40.0);

type Rgb = [f32; 3];

/// Dusk, night and dawn: the sky's color at the top, in the middle and at the horizon.
const SKIES: [[Rgb; 3]; 3] = [
    [[27.0, 26.0, 66.0], [104.0, 62.0, 118.0], [244.0, 142.0, 104.0]],
    [[8.0, 13.0, 38.0], [24.0, 44.0, 92.0], [72.0, 112.0, 150.0]],
    [[20.0, 40.0, 84.0], [76.0, 104.0, 150.0], [250.0, 190.0, 134.0]],
];

struct Ridge {
    base: f32,
    swell: f32,
    /// Picture widths that it travels in one loop; the far ones stand still.
    laps: u32,
    seed: u32,
    /// How much of the horizon's color the air puts in front of it.
    haze: f32,
    /// How many trees stand on one picture width, and how high the highest is in pixels.
    trees: (u32, f32),
}

struct Star {
    x: usize,
    y: usize,
    light: f32,
    beat: f32,
}

/// Draws pictures; holds what is the same in all of them.
pub(crate) struct Scene {
    stars: Vec<Star>,
    moonlight: Vec<f32>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let stars = (0..130)
            .map(|i| {
                let depth = hash(i, 2);
                Star {
                    x: (hash(i, 1) * WIDTH as f32) as usize,
                    y: (depth * depth * 0.5 * HEIGHT as f32) as usize,
                    light: 40.0 + 150.0 * hash(i, 3).powi(3),
                    beat: (1.0 + (hash(i, 4) * 4.0).floor()) * TAU,
                }
            })
            .collect();
        let mut moonlight = vec![0.0; WIDTH * HEIGHT];
        for (i, light) in moonlight.iter_mut().enumerate() {
            let (x, y) = ((i % WIDTH) as f32, (i / WIDTH) as f32);
            let distance = (x - MOON.0).hypot(y - MOON.1);
            let disc = (MOON.2 + 0.5 - distance).clamp(0.0, 1.0);
            let glow = 0.34 * (-(distance - MOON.2).max(0.0) / 70.0).exp();
            *light = disc.max(glow);
        }
        Self { stars, moonlight }
    }

    /// Draws picture `n` as packed 8-bit RGB.
    pub(crate) fn draw(&self, n: u32, rgb: &mut [u8]) {
        let phase = (n % LOOP) as f32 / LOOP as f32;
        let sky = Sky::at(phase);
        let flash = n % FPS < FLASH_FRAMES;
        let mast = Mast::at(phase);
        let mut canvas = vec![[0.0; 3]; WIDTH * HEIGHT];

        if flash {
            canvas.fill([255.0; 3]);
        } else {
            self.draw_sky(&sky, phase, &mut canvas);
            mast.draw_waves(((n % FPS) as f32) / FPS as f32, &mut canvas);
        }
        for (i, ridge) in RIDGES.iter().enumerate() {
            if i == MAST_RIDGE {
                mast.draw(flash, &sky, &mut canvas);
            }
            draw_ridge(ridge, phase, &sky, &mut canvas);
        }
        for (pixel, out) in canvas.iter().zip(rgb.chunks_exact_mut(3)) {
            for (channel, byte) in pixel.iter().zip(out) {
                *byte = (channel + 0.5).clamp(0.0, 255.0) as u8;
            }
        }
        draw_mark(n, rgb);
    }

    fn draw_sky(&self, sky: &Sky, phase: f32, canvas: &mut [Rgb]) {
        let moon: Rgb = [255.0, 240.0, 214.0];
        for (y, row) in canvas.chunks_exact_mut(WIDTH).enumerate() {
            let color = sky.color(y as f32 / (0.60 * HEIGHT as f32));
            for (x, pixel) in row.iter_mut().enumerate() {
                *pixel = mix(color, moon, self.moonlight[y * WIDTH + x] * 0.94);
            }
        }
        for star in &self.stars {
            let twinkle = 0.75 + 0.25 * (phase * star.beat + star.light).sin();
            let light = star.light * twinkle * sky.night;
            for (dx, dy, share) in [(0, 0, 1.0), (1, 0, 0.8), (0, 1, 0.8), (1, 1, 0.6)] {
                let at = (star.y + dy) * WIDTH + (star.x + dx).min(WIDTH - 1);
                let covered = self.moonlight[at];
                canvas[at] = canvas[at].map(|channel| channel + light * share * (1.0 - covered));
            }
        }
    }
}

/// The sky at one moment of the loop.
struct Sky {
    top: Rgb,
    middle: Rgb,
    horizon: Rgb,
    /// How dark it is: 1 at midnight.
    night: f32,
}

impl Sky {
    fn at(phase: f32) -> Self {
        let at = phase * SKIES.len() as f32;
        let from = (at as usize) % SKIES.len();
        let to = (from + 1) % SKIES.len();
        let share = smooth(at.fract());
        let blend = |i: usize| mix(SKIES[from][i], SKIES[to][i], share);
        let night = 0.5 - 0.5 * ((phase - 1.0 / 3.0).abs() * 3.0).min(1.0).mul_add(2.0, -1.0);
        Self { top: blend(0), middle: blend(1), horizon: blend(2), night: night.max(0.12) }
    }

    /// `height` is 0 at the top and 1 at the horizon.
    fn color(&self, height: f32) -> Rgb {
        let height = height.clamp(0.0, 1.0);
        if height < 0.55 {
            mix(self.top, self.middle, smooth(height / 0.55))
        } else {
            mix(self.middle, self.horizon, smooth((height - 0.55) / 0.45))
        }
    }
}

/// The radio mast: its tip lights up with the flash and sends waves until the next one.
struct Mast {
    x: f32,
    foot: f32,
}

impl Mast {
    fn at(phase: f32) -> Self {
        let ridge = &RIDGES[MAST_RIDGE];
        let travelled = phase * (ridge.laps as usize * WIDTH) as f32;
        let x = (MAST_X - travelled).rem_euclid(WIDTH as f32);
        Self { x, foot: ridge.top(MAST_X, 0.0) + 8.0 }
    }

    fn tip(&self) -> f32 {
        self.foot - MAST_HEIGHT
    }

    /// The mast stands on a ridge that repeats after one picture width, so what leaves the
    /// picture on one side comes in on the other.
    fn copies(&self) -> [f32; 3] {
        [self.x - WIDTH as f32, self.x, self.x + WIDTH as f32]
    }

    fn draw_waves(&self, since_flash: f32, canvas: &mut [Rgb]) {
        for x in self.copies() {
            for delay in [0.10, 0.24, 0.38] {
                let age = since_flash - delay;
                if age <= 0.0 {
                    continue;
                }
                let light = 0.55 * (1.0 - age / (1.0 - delay)).powi(2) * smooth((age * 8.0).min(1.0));
                draw_ring(canvas, (x, self.tip()), 12.0 + 300.0 * age, light);
            }
        }
    }

    fn draw(&self, flash: bool, sky: &Sky, canvas: &mut [Rgb]) {
        let steel = mix([16.0, 20.0, 34.0], sky.horizon, 0.10);
        for x in self.copies() {
            for y in self.tip() as usize..self.foot as usize {
                let down = (y as f32 - self.tip()) / MAST_HEIGHT;
                let half = 1.2 + 11.0 * down * down;
                let lattice = (down * down * 9.0).fract() * 2.0 - 1.0;
                for (offset, wide) in
                    [(-half, 1.5), (half, 1.5), (half * lattice, 0.9), (-half * lattice, 0.9)]
                {
                    draw_column(canvas, x + offset, y, wide, steel);
                }
            }
            for (down, reach) in [(0.10, 9.0), (0.20, 14.0)] {
                let y = (self.tip() + down * MAST_HEIGHT) as usize;
                for row in y..y + 3 {
                    draw_column(canvas, x, row, reach, steel);
                }
            }
            let lamp: Rgb = if flash { [255.0, 255.0, 255.0] } else { [255.0, 96.0, 72.0] };
            draw_lamp(canvas, (x, self.tip()), lamp);
        }
    }
}

impl Ridge {
    /// The first row that belongs to the ridge, at `x` on the ridge.
    fn top(&self, x: f32, jag: f32) -> f32 {
        let turn = x / WIDTH as f32 * TAU;
        let mut height = 0.0;
        for (k, harmonic) in [1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0_f32].into_iter().enumerate() {
            let shift = hash(self.seed, k as u32) * TAU;
            let size = (0.55 + 0.9 * hash(self.seed, 40 + k as u32)) / harmonic.powf(0.82);
            height += size * (turn * harmonic + shift).sin();
        }
        (self.base - self.swell * height) * HEIGHT as f32 - jag
    }

    /// How far a tree stands out of the ridge at `x`: conifers of different heights, side by side.
    fn tree(&self, x: f32) -> f32 {
        let (n_trees, highest) = self.trees;
        if n_trees == 0 {
            return 0.0;
        }
        let spacing = WIDTH as f32 / n_trees as f32;
        let mut top: f32 = 0.0;
        for neighbor in [-1.0, 0.0, 1.0] {
            let cell = (x / spacing).floor() + neighbor;
            let id = (cell as i32).rem_euclid(n_trees as i32) as u32;
            let center = (cell + 0.2 + 0.6 * hash(id, self.seed + 70)) * spacing;
            let grove = 0.5 + 0.5 * (TAU * 3.0 * id as f32 / n_trees as f32 + self.seed as f32).sin();
            let height = highest * (0.3 + 0.7 * hash(id, self.seed + 90)) * (0.3 + 0.7 * grove);
            let half = spacing * (0.45 + 0.3 * height / highest);
            top = top.max(height * (1.0 - (x - center).abs() / half));
        }
        top
    }
}

fn draw_ridge(ridge: &Ridge, phase: f32, sky: &Sky, canvas: &mut [Rgb]) {
    let travelled = phase * (ridge.laps as usize * WIDTH) as f32;
    let body = mix([10.0, 14.0, 28.0], sky.horizon, ridge.haze * 0.62);
    let body = mix(body, sky.middle, ridge.haze * 0.35);
    let foot = mix(body, sky.horizon, ridge.haze * 0.5);
    for x in 0..WIDTH {
        let along = (x as f32 + travelled).rem_euclid(WIDTH as f32);
        let top = ridge.top(along, ridge.tree(along));
        let first = top.max(0.0) as usize;
        for y in first..HEIGHT {
            let cover = (y as f32 + 1.0 - top).min(1.0);
            let mist = ((y as f32 - top) / 130.0).clamp(0.0, 1.0);
            let pixel = &mut canvas[y * WIDTH + x];
            *pixel = mix(*pixel, mix(body, foot, mist), cover);
        }
    }
}

fn draw_ring(canvas: &mut [Rgb], (x, y): (f32, f32), radius: f32, light: f32) {
    let reach = radius + 3.0;
    let rows = (y - reach).max(0.0) as usize..((y + reach).max(0.0) as usize).min(HEIGHT);
    let columns = (x - reach).max(0.0) as usize..((x + reach).max(0.0) as usize).min(WIDTH);
    for row in rows {
        for column in columns.clone() {
            let distance = (column as f32 - x).hypot(row as f32 - y);
            let share = (1.6 - (distance - radius).abs() / 1.4).clamp(0.0, 1.0);
            if share > 0.0 {
                let pixel = &mut canvas[row * WIDTH + column];
                *pixel = mix(*pixel, [255.0, 236.0, 210.0], light * share);
            }
        }
    }
}

fn draw_column(canvas: &mut [Rgb], x: f32, y: usize, half: f32, color: Rgb) {
    for column in (x - half - 1.0).floor() as i32..=(x + half + 1.0).ceil() as i32 {
        let cover = (half + 0.5 - (column as f32 - x).abs()).clamp(0.0, 1.0);
        if cover > 0.0 && (0..WIDTH as i32).contains(&column) && y < HEIGHT {
            let pixel = &mut canvas[y * WIDTH + column as usize];
            *pixel = mix(*pixel, color, cover);
        }
    }
}

fn draw_lamp(canvas: &mut [Rgb], (x, y): (f32, f32), color: Rgb) {
    for row in (y - 40.0) as usize..(y + 40.0) as usize {
        for column in (x - 40.0) as i32..(x + 40.0) as i32 {
            if !(0..WIDTH as i32).contains(&column) {
                continue;
            }
            let distance = (column as f32 - x).hypot(row as f32 - y);
            let core = (5.5 - distance).clamp(0.0, 1.0);
            let glow = 0.5 * (-distance / 9.0).exp() * (1.0 - distance / 40.0).max(0.0);
            let pixel = &mut canvas[row * WIDTH + column as usize];
            *pixel = mix(*pixel, color, core.max(glow));
        }
    }
}

/// The frame number for programs: see "The clips carry their own truth" in `docs/testing.md`.
fn draw_mark(n: u32, rgb: &mut [u8]) {
    for (i, _) in modules(n).into_iter().enumerate().filter(|(_, white)| *white) {
        for row in MARK_Y..MARK_Y + MODULE_HEIGHT {
            let start = (row * WIDTH + MARK_X + i * MODULE_WIDTH) * 3;
            rgb[start..start + MODULE_WIDTH * 3].fill(255);
        }
    }
}

/// Finder, 16 bits of the number, 8 bits of its check, finder in reverse.
fn modules(n: u32) -> Vec<bool> {
    let number = (n % 0x1_0000) as u16;
    let word = (u32::from(number) << 8) | u32::from(check(number));
    let bits = (0..24).rev().map(|bit| word >> bit & 1 == 1);
    FINDER.into_iter().chain(bits).chain(FINDER.into_iter().rev()).collect()
}

/// CRC-8 with the polynomial x⁸ + x² + x + 1 and all ones to begin with, over two bytes, high one first.
fn check(number: u16) -> u8 {
    let mut crc = 0xFF_u8;
    for byte in number.to_be_bytes() {
        crc ^= byte;
        for _ in 0..8 {
            crc = if crc & 0x80 == 0 { crc << 1 } else { (crc << 1) ^ 0x07 };
        }
    }
    crc
}

fn mix(a: Rgb, b: Rgb, share: f32) -> Rgb {
    let share = share.clamp(0.0, 1.0);
    [a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share]
}

fn smooth(x: f32) -> f32 {
    x * x * (3.0 - 2.0 * x)
}

/// A number in 0..1 that depends on nothing but its arguments.
fn hash(a: u32, b: u32) -> f32 {
    let mut h = a.wrapping_mul(0x9E37_79B9) ^ b.wrapping_mul(0x85EB_CA6B) ^ 0x27D4_EB2F;
    for _ in 0..2 {
        h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
        h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
    }
    ((h ^ (h >> 15)) >> 8) as f32 / (1 << 24) as f32
}
