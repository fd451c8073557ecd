//! Colors on pixels, and pixels → planes for an encoder.

use crate::media::picture::Picture;

/// Red, green and blue.
pub(super) type Color = [u8; 3];

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// Something to be put on a canvas: a color and how much it covers, for every pixel.
#[derive(Clone, Debug, Default)]
pub(super) struct Stamp {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<(Color, u8)>,
}

impl Stamp {
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![([0; 3], 0); width * height] }
    }

    /// Puts a pixel where there is room for one; where two meet, the one that covers more stays.
    pub(super) fn put(&mut self, (x, y): (i32, i32), color: Color, cover: u8) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        if x < self.width && y < self.height {
            let pixel = &mut self.pixels[y * self.width + x];
            if cover > pixel.1 {
                *pixel = (color, cover);
            }
        }
    }

    /// Takes another one over, so many pixels from the left.
    pub(super) fn append(&mut self, other: &Self, left: usize) {
        for (row, from) in
            self.pixels.chunks_mut(self.width.max(1)).zip(other.pixels.chunks(other.width.max(1)))
        {
            for (to, from) in row.iter_mut().skip(left).zip(from) {
                *to = *from;
            }
        }
    }
}

/// Pixels to draw on. What lies outside is not drawn.
#[derive(Clone, Debug)]
pub(super) struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<Color>,
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![[0; 3]; width * height] }
    }

    /// Gives every pixel its color, by its place.
    pub(super) fn paint(&mut self, color: impl Fn(usize, usize) -> Color) {
        for (y, row) in self.pixels.chunks_mut(self.width).enumerate() {
            for (x, pixel) in row.iter_mut().enumerate() {
                *pixel = color(x, y);
            }
        }
    }

    /// Mixes a color in; 255 replaces what was there.
    pub(super) fn blend(&mut self, x: usize, y: usize, color: Color, cover: u8) {
        if x >= self.width || y >= self.height {
            return;
        }
        let cover = u32::from(cover);
        for (under, over) in self.pixels[y * self.width + x].iter_mut().zip(color) {
            let mixed = (u32::from(*under) * (255 - cover) + u32::from(over) * cover + 127) / 255;
            *under = u8::try_from(mixed).unwrap_or(u8::MAX);
        }
    }

    /// Fills an area with round corners, with the colors that `color` gives for places in it.
    pub(super) fn fill_round(
        &mut self,
        area: Area,
        radius: f32,
        cover: u8,
        color: impl Fn(usize, usize) -> Color,
    ) {
        for y in 0..area.height {
            for x in 0..area.width {
                let share = corner_share((x, y), (area.width, area.height), radius);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a share of at most 255"
                )]
                let cover = (share * f32::from(cover)) as u8;
                self.blend(area.x + x, area.y + y, color(x, y), cover);
            }
        }
    }

    /// Puts a stamp with its upper left corner at a place.
    pub(super) fn stamp(&mut self, stamp: &Stamp, (left, top): (usize, usize)) {
        for (y, row) in stamp.pixels.chunks(stamp.width.max(1)).enumerate() {
            for (x, (color, cover)) in row.iter().enumerate() {
                if *cover > 0 {
                    self.blend(left + x, top + y, *color, *cover);
                }
            }
        }
    }

    /// Makes an area what it is on another canvas of the same size.
    pub(super) fn restore(&mut self, from: &Self, area: Area) {
        for y in area.y..(area.y + area.height).min(self.height) {
            let row = y * self.width + area.x..y * self.width + (area.x + area.width).min(self.width);
            self.pixels[row.clone()].copy_from_slice(&from.pixels[row]);
        }
    }

    /// The whole of it.
    pub(super) const fn area(&self) -> Area {
        Area { x: 0, y: 0, width: self.width, height: self.height }
    }

    #[cfg(test)]
    pub(super) fn pixel(&self, x: usize, y: usize) -> Color {
        self.pixels[y * self.width + x]
    }
}

/// How much of a pixel lies within an area with round corners, 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "a picture has thousands of pixels in a row")]
fn corner_share((x, y): (usize, usize), (width, height): (usize, usize), radius: f32) -> f32 {
    let radius = radius.min(width as f32 / 2.0).min(height as f32 / 2.0);
    let inset = |at: usize, length: usize| {
        let (at, length) = (at as f32 + 0.5, length as f32);
        (radius - at).max(at - (length - radius)).max(0.0)
    };
    let (dx, dy) = (inset(x, width), inset(y, height));
    if dx == 0.0 || dy == 0.0 { 1.0 } else { (radius + 0.5 - dx.hypot(dy)).clamp(0.0, 1.0) }
}

/// 4:2:0 planes in limited range by ITU-R BT.709.
#[derive(Clone, Debug)]
pub(super) struct Planes {
    width: usize,
    height: usize,
    planes: [Vec<u8>; 3],
}

impl Planes {
    /// Both edges are even.
    pub(super) fn new(width: usize, height: usize) -> Self {
        let (luma, chroma) = (width * height, width * height / 4);
        Self { width, height, planes: [vec![16; luma], vec![128; chroma], vec![128; chroma]] }
    }

    /// Takes an area over from a canvas of the same size; it grows to even pixels.
    pub(super) fn take(&mut self, canvas: &Canvas, area: Area) {
        let [luma, blue, red] = &mut self.planes;
        let half = self.width / 2;
        for y in area.y / 2..(area.y + area.height).min(self.height).div_ceil(2) {
            for x in area.x / 2..(area.x + area.width).min(self.width).div_ceil(2) {
                let mut sum = [0_i32; 3];
                for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                    let at = (2 * y + dy) * self.width + 2 * x + dx;
                    let [r, g, b] = canvas.pixels[at].map(i32::from);
                    luma[at] = sample(16, 47 * r + 157 * g + 16 * b, 8);
                    for (sum, value) in sum.iter_mut().zip([r, g, b]) {
                        *sum += value;
                    }
                }
                let [r, g, b] = sum;
                blue[y * half + x] = sample(128, -26 * r - 86 * g + 112 * b, 10);
                red[y * half + x] = sample(128, 112 * r - 102 * g - 10 * b, 10);
            }
        }
    }

    pub(super) fn picture(&self) -> Picture<'_> {
        let [y, u, v] = &self.planes;
        let (width, height) = (self.width, self.height);
        Picture {
            width: u32::try_from(width).unwrap_or(u32::MAX),
            height: u32::try_from(height).unwrap_or(u32::MAX),
            planes: [y, u, v],
            strides: [width, width / 2, width / 2],
        }
    }
}

/// A sample from a sum of weights that is too large by `bits`.
fn sample(zero: i32, sum: i32, bits: u32) -> u8 {
    u8::try_from(zero + ((sum + (1 << (bits - 1))) >> bits)).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_become_what_they_are_by_bt_709() {
        for (color, expected) in [
            ([0, 0, 0], [16, 128, 128]),
            ([255, 255, 255], [235, 128, 128]),
            ([255, 0, 0], [63, 102, 240]),
            ([0, 0, 255], [32, 240, 118]),
        ] {
            let mut canvas = Canvas::new(4, 4);
            canvas.paint(|_, _| color);
            let mut planes = Planes::new(4, 4);
            planes.take(&canvas, canvas.area());
            let picture = planes.picture();
            for (plane, expected) in picture.planes.iter().zip(expected) {
                assert!(
                    plane.iter().all(|s| s.abs_diff(expected) <= 1),
                    "{color:?}: {plane:?}, not {expected}"
                );
            }
        }
    }

    #[test]
    fn corners_are_round_and_nothing_is_drawn_outside() {
        let mut canvas = Canvas::new(16, 16);
        let area = Area { x: 4, y: 4, width: 20, height: 8 };
        canvas.fill_round(area, 3.0, 255, |_, _| [200; 3]);
        assert_eq!(canvas.pixel(4, 4), [0; 3], "a corner");
        assert_eq!(canvas.pixel(4, 8), [200; 3], "an edge");
        assert_eq!(canvas.pixel(15, 8), [200; 3]);
        assert_eq!(canvas.pixel(3, 8), [0; 3]);
        let mut stamp = Stamp::new(2, 2);
        stamp.put((-1, 0), [9; 3], 255);
        stamp.put((1, 1), [100; 3], 255);
        canvas.stamp(&stamp, (15, 15));
        canvas.stamp(&stamp, (0, 0));
        assert_eq!(canvas.pixel(1, 1), [100; 3]);
    }

    #[test]
    fn only_the_area_is_taken_over() {
        let mut canvas = Canvas::new(8, 8);
        let before = canvas.clone();
        canvas.paint(|_, _| [255; 3]);
        let mut planes = Planes::new(8, 8);
        planes.take(&canvas, Area { x: 4, y: 4, width: 4, height: 4 });
        let luma = planes.picture().planes[0];
        assert_eq!((luma[0], luma[63]), (16, 235));
        canvas.restore(&before, Area { x: 0, y: 0, width: 2, height: 2 });
        assert_eq!((canvas.pixel(1, 1), canvas.pixel(2, 2)), ([0; 3], [255; 3]));
    }
}
