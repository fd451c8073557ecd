//! Bits of a NAL unit: emulation prevention removed, exp-Golomb numbers bounded.

/// Reads a raw NAL payload bit by bit and skips the `03` of every `00 00 03`.
///
/// Every read past the end gives `None`, so a parser is a chain of `?`.
#[derive(Clone, Debug)]
pub(super) struct Bits<'a> {
    nal: &'a [u8],
    /// The next byte of `nal` to load.
    next: usize,
    /// How many zero bytes were loaded in a row.
    zeros: u8,
    byte: u8,
    left: u8,
}

impl<'a> Bits<'a> {
    /// `payload` starts behind the NAL header byte.
    pub(super) const fn new(payload: &'a [u8]) -> Self {
        Self { nal: payload, next: 0, zeros: 0, byte: 0, left: 0 }
    }

    fn load(&mut self) -> Option<()> {
        let mut byte = *self.nal.get(self.next)?;
        self.next += 1;
        if self.zeros >= 2 && byte == 3 {
            byte = *self.nal.get(self.next)?;
            self.next += 1;
            self.zeros = 0;
        }
        self.zeros = if byte == 0 { self.zeros.saturating_add(1) } else { 0 };
        self.byte = byte;
        self.left = 8;
        Some(())
    }

    /// One bit, `u(1)`.
    pub(super) fn flag(&mut self) -> Option<bool> {
        if self.left == 0 {
            self.load()?;
        }
        self.left -= 1;
        Some(self.byte >> self.left & 1 == 1)
    }

    /// `n` bits, `u(n)` with `n <= 32`.
    pub(super) fn bits(&mut self, n: u8) -> Option<u32> {
        debug_assert!(n <= 32, "a field of H.264 has at most 32 bits");
        let mut value = 0_u32;
        for _ in 0..n {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    /// Unsigned exp-Golomb, `ue(v)`. More than 31 leading zeros is no number of H.264.
    pub(super) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = self.bits(zeros)?;
        Some((1_u32 << zeros) - 1 + rest)
    }

    /// `ue(v)` that must not exceed `max`.
    pub(super) fn ue_max(&mut self, max: u32) -> Option<u32> {
        self.ue().filter(|value| *value <= max)
    }

    /// Signed exp-Golomb, `se(v)`.
    pub(super) fn se(&mut self) -> Option<i64> {
        let code = i64::from(self.ue()?);
        Some(if code % 2 == 1 { (code + 1) / 2 } else { -code / 2 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_as_in_table_9_2() {
        // 1, 010, 011, 00100, 00111, 0001000
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0011, 0b1000_1000]);
        for expected in [0, 1, 2, 3, 6, 7] {
            assert_eq!(bits.ue(), Some(expected));
        }
        let mut bits = Bits::new(&[0b0100_1100, 0b1000_0101, 0b1000_0000]);
        for expected in [1, -1, 2, -2] {
            assert_eq!(bits.se(), Some(expected));
        }
    }

    #[test]
    fn emulation_prevention_is_removed() {
        let mut bits = Bits::new(&[0, 0, 3, 1, 0, 0, 3, 0, 3]);
        let bytes: Vec<_> = std::iter::from_fn(|| bits.bits(8)).collect();
        assert_eq!(bytes, [0, 0, 1, 0, 0, 0, 3]);
    }

    #[test]
    fn endless_zeros_and_the_end_are_none() {
        assert_eq!(Bits::new(&[0; 3]).ue(), None);
        assert_eq!(Bits::new(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]).ue(), None);
        assert_eq!(Bits::new(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]).ue(), Some(u32::MAX - 1));
        assert_eq!(Bits::new(&[0x0f]).ue_max(5), None);
        assert_eq!(Bits::new(&[]).flag(), None);
    }
}
