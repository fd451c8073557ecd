//! What a stream says of its pixels → the size of its pictures in square ones.

/// The smallest edge that pictures are encoded with.
const MIN_EDGE: u32 = 16;

/// How wide a pixel is in proportion to its height. What is said of pictures in old standards and
/// on discs; receivers in a call take all pixels for square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelAspect {
    width: u32,
    height: u32,
}

impl PixelAspect {
    /// What receivers know.
    pub const SQUARE: Self = Self { width: 1, height: 1 };
    /// Pixels that are more out of proportion are not meant.
    const MAX_RATIO: u32 = 8;

    /// `None` for what nobody means: nothing, and what cannot be looked at.
    pub fn new(width: u32, height: u32) -> Option<Self> {
        let (shorter, longer) = (width.min(height), width.max(height));
        let is_meant = shorter > 0 && longer / shorter < Self::MAX_RATIO;
        is_meant.then(|| {
            let common = greatest_common_divisor(width, height);
            Self { width: width / common, height: height / common }
        })
    }

    /// Nobody sees a difference of one percent, which containers make that round.
    pub fn is_square(self) -> bool {
        u64::from(self.width.abs_diff(self.height)) * 100 <= u64::from(self.width.max(self.height))
    }

    /// The size in square pixels of as many rows; an edge that changes is even.
    pub fn squared(self, (width, height): (u32, u32)) -> (u32, u32) {
        if self.is_square() {
            return (width, height);
        }
        let wide = u64::from(width) * u64::from(self.width) / u64::from(self.height) / 2 * 2;
        (u32::try_from(wide).unwrap_or(width).max(MIN_EDGE), height)
    }
}

impl std::fmt::Display for PixelAspect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.width, self.height)
    }
}

const fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_square_in_as_many_rows() {
        let squared = |width, height, size| PixelAspect::new(width, height).unwrap().squared(size);
        assert_eq!(squared(64, 45, (720, 576)), (1024, 576));
        assert_eq!(squared(3, 4, (1440, 1080)), (1080, 1080));
        assert_eq!(squared(1, 1, (641, 359)), (641, 359));
        assert_eq!(squared(1279, 1280, (640, 360)), (640, 360), "a rounded one");
        assert_eq!(PixelAspect::new(102_480, 76_800).unwrap().to_string(), "427:320");
        assert_eq!([(0, 1), (1, 0), (8, 1), (1, u32::MAX)].map(|(w, h)| PixelAspect::new(w, h)), [None; 4]);
    }
}
