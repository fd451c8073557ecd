//! An embedded picture → the cover on a card, and the colors around it.
//!
//! It comes from anybody: what is too large is refused before it is decoded.

use std::io::Cursor;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeError, ResizeOptions, Resizer};
use image::{DynamicImage, ImageDecoder as _, ImageReader, Limits};

use super::canvas::Color;

/// Edges, pixels and decoded bytes of pictures that are read. Covers of records have 3000 × 3000
/// pixels at most; decoding a progressive JPEG takes three times its bytes for a moment.
const MAX_EDGE: u32 = 8192;
const MAX_PIXELS: u64 = 12_000_000;
const MAX_BYTES: u64 = 64 << 20;
/// The colors around the cover are those of so few pixels, made large.
const BLUR: u32 = 6;

/// Why a cover is not shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum CoverError {
    #[error("it cannot be decoded")]
    Image(#[from] image::ImageError),
    #[error("it has {width}×{height} pixels, and more than {MAX_PIXELS} are too many")]
    TooLarge { width: u32, height: u32 },
    #[error("it cannot be scaled")]
    Scale(#[from] ResizeError),
}

/// Pixels, row by row.
#[derive(Clone, Debug)]
pub(super) struct Pixels {
    pub(super) width: usize,
    bytes: Vec<u8>,
}

impl Pixels {
    /// A color, black outside.
    pub(super) fn at(&self, x: usize, y: usize) -> Color {
        let at = (y * self.width + x) * 3;
        self.bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default()
    }
}

/// A cover that is ready to be drawn.
#[derive(Clone, Debug)]
pub(super) struct Cover {
    /// Square.
    pub(super) front: Pixels,
    /// As large as the card and out of focus.
    pub(super) ground: Pixels,
}

impl Cover {
    /// Decodes a JPEG or PNG and makes it `edge` pixels wide and high, cut to a square, and a
    /// ground of `size` of it.
    ///
    /// # Errors
    /// When it is damaged, something else, or too large.
    pub(super) fn decode(bytes: &[u8], edge: usize, size: (usize, usize)) -> Result<Self, CoverError> {
        let mut reader =
            ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(image::ImageError::IoError)?;
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_EDGE);
        limits.max_image_height = Some(MAX_EDGE);
        limits.max_alloc = Some(MAX_BYTES);
        reader.limits(limits);
        let decoder = reader.into_decoder()?;
        let (width, height) = decoder.dimensions();
        if u64::from(width) * u64::from(height) > MAX_PIXELS || decoder.total_bytes() > MAX_BYTES {
            return Err(CoverError::TooLarge { width, height });
        }
        let picture = DynamicImage::from_decoder(decoder)?.into_rgb8();
        let picture = ImageRef::new(width, height, picture.as_raw(), PixelType::U8x3)
            .map_err(|_| CoverError::TooLarge { width, height })?;
        let front = scale(&picture, (edge, edge))?;
        let few = scale(&picture, (BLUR as usize, BLUR as usize))?;
        let few = ImageRef::new(BLUR, BLUR, &few.bytes, PixelType::U8x3).expect("scaled to this size");
        Ok(Self { front, ground: scale(&few, size)? })
    }
}

/// What fills the size of the middle of a picture.
fn scale(picture: &ImageRef<'_>, (width, height): (usize, usize)) -> Result<Pixels, CoverError> {
    let edge = |edge: usize| u32::try_from(edge).unwrap_or(MAX_EDGE);
    let mut scaled = Image::new(edge(width), edge(height), PixelType::U8x3);
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom))
        .fit_into_destination(Some((0.5, 0.5)));
    Resizer::new().resize(picture, &mut scaled, &options)?;
    Ok(Pixels { width, bytes: scaled.into_vec() })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A PNG of one color, left and right.
    pub(in crate::media::card) fn png(width: u32, height: u32, left: Color, right: Color) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header().unwrap();
        let row: Vec<u8> = (0..width).flat_map(|x| if x < width / 2 { left } else { right }).collect();
        writer.write_image_data(&row.repeat(height as usize)).unwrap();
        writer.finish().unwrap();
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Cover, CoverError> {
        Cover::decode(bytes, 100, (64, 36))
    }

    #[test]
    fn a_cover_is_cut_to_a_square_around_its_middle() {
        // Red and blue halves, three times as wide as high: the square is in the middle.
        let cover = decode(&png(300, 100, [255, 0, 0], [0, 0, 255])).unwrap();
        assert_eq!(cover.front.width, 100);
        assert_eq!(cover.front.at(10, 50), [255, 0, 0]);
        assert_eq!(cover.front.at(90, 50), [0, 0, 255]);
        let [left, right] = [cover.ground.at(0, 18), cover.ground.at(63, 18)];
        assert!(left[0] > 200 && right[2] > 200, "{left:?} {right:?}");
        assert_eq!(cover.front.at(0, 100), [0; 3], "outside is black");
    }

    #[test]
    fn a_tiny_cover_becomes_larger() {
        assert_eq!(decode(&png(2, 2, [9, 9, 9], [9, 9, 9])).unwrap().front.at(99, 99), [9, 9, 9]);
    }

    #[test]
    fn hostile_pictures_are_refused() {
        // A picture of 30 000 × 30 000 pixels in a few bytes.
        let mut huge = png(16, 16, [0; 3], [0; 3]);
        huge[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
        let sum = crc(&huge[12..29]);
        huge[29..33].copy_from_slice(&sum.to_be_bytes());
        let error = decode(&huge).unwrap_err();
        assert!(matches!(error, CoverError::Image(image::ImageError::Limits(_))), "{error:?}");
        // Within the edges, and still too many.
        let bomb = png(8000, 2000, [0; 3], [0; 3]);
        assert!(bomb.len() < 400_000, "{} bytes", bomb.len());
        assert!(matches!(decode(&bomb).unwrap_err(), CoverError::TooLarge { width: 8000, height: 2000 }));
        // Cut off, emptied, or something else.
        let good = png(64, 64, [1, 2, 3], [4, 5, 6]);
        for bytes in [&good[..good.len() / 2], &good[..20], b"", b"GIF89a", b"\xff\xd8\xff\xe0\0\x10JFIF"] {
            assert!(decode(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn no_flipped_bit_does_harm() {
        let good = png(48, 48, [200, 100, 50], [5, 6, 7]);
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let mut bytes = good.clone();
            for _ in 0..4 {
                let at = rng.usize(..bytes.len());
                bytes[at] ^= 1 << rng.u32(..8);
            }
            // Refused or shown, and never a panic.
            let _shown = decode(&bytes);
        }
    }

    /// As PNG has it.
    fn crc(bytes: &[u8]) -> u32 {
        let step = |crc: u32, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
        !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
    }
}
