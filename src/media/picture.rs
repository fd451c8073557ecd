//! Raw pictures: planes of 8-bit 4:2:0 samples, lent by whoever decoded them, and made smaller.

use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

/// The smallest edge that the encoder takes.
const MIN_EDGE: u32 = 16;

/// One raw picture as its owner keeps it.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Luma, then both chroma planes of half the width and height; rows of `strides` bytes.
    pub planes: [&'a [u8]; 3],
    /// Bytes from one row to the next, of each plane.
    pub strides: [usize; 3],
}

impl Picture<'_> {
    /// Pixels of a plane.
    fn plane_size(&self, plane: usize) -> (u32, u32) {
        if plane == 0 { (self.width, self.height) } else { (self.width / 2, self.height / 2) }
    }

    /// Whether every row lies within its plane, and both edges are even and long enough to be encoded.
    pub fn is_sound(&self) -> bool {
        let even = |edge: u32| edge >= MIN_EDGE && edge.is_multiple_of(2);
        let whole = |plane: usize| {
            let (width, height) = self.plane_size(plane);
            let (width, height) = (width as usize, height as usize);
            self.strides[plane] >= width
                && self.planes[plane].len() >= self.strides[plane] * (height - 1) + width
        };
        even(self.width) && even(self.height) && (0..3).all(whole)
    }
}

/// The size of a picture whose shorter edge is `height` at most (the height of the usual one, the
/// width of an upright one), in the proportions of the original. Nothing becomes larger; edges
/// that change are even.
pub fn fit(size: (u32, u32), height: u32) -> (u32, u32) {
    let (shorter, longer) = (size.0.min(size.1), size.0.max(size.1));
    let wanted = height.max(MIN_EDGE) / 2 * 2;
    if shorter <= wanted {
        return size;
    }
    let scaled = (u64::from(longer) * u64::from(wanted) + u64::from(shorter) / 2) / u64::from(shorter);
    let scaled = u32::try_from(scaled / 2 * 2).unwrap_or(longer);
    if size.0 < size.1 { (wanted, scaled) } else { (scaled, wanted) }
}

/// Makes pictures smaller; keeps its buffers from one to the next.
pub struct Scaler {
    resizer: Resizer,
    planes: [Vec<u8>; 3],
}

impl std::fmt::Debug for Scaler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scaler").finish_non_exhaustive()
    }
}

impl Default for Scaler {
    fn default() -> Self {
        Self { resizer: Resizer::new(), planes: Default::default() }
    }
}

impl Scaler {
    /// The picture in another size, which is even. `None` when it is not [sound](Picture::is_sound).
    pub fn scale(&mut self, picture: &Picture<'_>, size: (u32, u32)) -> Option<Picture<'_>> {
        if !picture.is_sound() {
            return None;
        }
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        for (plane, out) in self.planes.iter_mut().enumerate() {
            let (width, height) = picture.plane_size(plane);
            let stride = u32::try_from(picture.strides[plane]).ok()?;
            let (to_width, to_height) = if plane == 0 { size } else { (size.0 / 2, size.1 / 2) };
            // The last row may end with its pixels; the rows before are read in full strides.
            let rows = picture.planes[plane].len() / picture.strides[plane];
            let rows = u32::try_from(rows).ok()?.min(height);
            let samples = &picture.planes[plane][..(rows * stride) as usize];
            let source = ImageRef::new(stride, rows, samples, PixelType::U8).ok()?;
            out.resize((to_width * to_height) as usize, 0);
            let mut target = Image::from_slice_u8(to_width, to_height, out, PixelType::U8).ok()?;
            // What pads the rows must not shine through.
            let source = CroppedImage::new(&source, 0, 0, width, rows).ok()?;
            self.resizer.resize(&source, &mut target, &options).ok()?;
        }
        let [y, u, v] = &self.planes;
        let strides = [size.0, size.0 / 2, size.0 / 2].map(|stride| stride as usize);
        Some(Picture { width: size.0, height: size.1, planes: [y, u, v], strides })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_shrink_in_proportion_and_never_grow() {
        assert_eq!(fit((1920, 1080), 720), (1280, 720));
        assert_eq!(fit((640, 360), 720), (640, 360));
        assert_eq!(fit((1080, 1920), 720), (720, 1280));
        assert_eq!(fit((1918, 1078), 719), (1276, 718));
        assert_eq!(fit((4000, 20), 1), (3200, 16), "the encoder's smallest edge is kept");
        assert_eq!(fit((16, 4000), 20), (16, 4000));
    }

    #[test]
    fn a_picture_keeps_its_halves_and_loses_its_padding() {
        // 64×32 in rows of 80: the left half is dark, the right half bright, the padding white.
        let plane = |stride: usize, width: usize, height: usize| -> Vec<u8> {
            let sample = |x: usize| {
                if x >= width {
                    255
                } else if x < width / 2 {
                    40
                } else {
                    200
                }
            };
            (0..stride * height).map(|at| sample(at % stride)).collect()
        };
        let (y, c) = (plane(80, 64, 32), plane(40, 32, 16));
        let picture = Picture { width: 64, height: 32, planes: [&y, &c, &c], strides: [80, 40, 40] };
        let mut scaler = Scaler::default();
        let small = scaler.scale(&picture, (32, 16)).expect("a sound picture");
        assert_eq!((small.width, small.height, small.strides), (32, 16, [32, 16, 16]));
        for (plane, width) in small.planes.iter().zip([32, 16, 16]) {
            for row in plane.chunks(width) {
                assert!(row[..width / 2 - 1].iter().all(|s| *s == 40), "{row:?}");
                assert!(row[width / 2 + 1..].iter().all(|s| *s == 200), "{row:?}");
            }
        }
    }

    #[test]
    fn a_picture_that_is_shorter_than_it_says_is_not_read() {
        let (y, c) = (vec![0; 64 * 31], vec![0; 32 * 16]);
        let short = Picture { width: 64, height: 32, planes: [&y, &c, &c], strides: [64, 32, 32] };
        assert!(Scaler::default().scale(&short, (32, 16)).is_none());
    }
}
