//! Sequence parameter set → what a stream promises (ITU-T H.264, 7.3.2.1 and annex E).

use super::bits::Bits;
use crate::media::pixel::PixelAspect;

/// Profiles whose SPS carries chroma format, bit depth and scaling lists.
const HIGH_PROFILES: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];
/// The longest edge of a picture in macroblocks: level 6.2 allows √(139 264 × 8), table A-1.
const MAX_MACROBLOCKS: u32 = 1055;

/// Sample aspect ratios by number, table E-1; the first is "unspecified".
const ASPECTS: [(u32, u32); 17] = [
    (0, 0),
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];
/// The number behind which the ratio itself stands.
const EXTENDED_ASPECT: usize = 255;

/// What a sequence parameter set says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`: 66 Baseline, 77 Main, 100 High.
    pub profile_idc: u8,
    /// The eight bits behind the profile; the two highest of them make "constrained baseline".
    pub constraint_flags: u8,
    /// Ten times the level: 31 is level 3.1.
    pub level_idc: u8,
    /// Pixels, cropping applied.
    pub width: u32,
    /// Pixels, cropping applied.
    pub height: u32,
    /// `pic_order_cnt_type`: with 2, pictures are shown in the order they are decoded.
    pub poc_type: u8,
    /// `max_num_reorder_frames`, where the VUI gives it.
    pub max_num_reorder_frames: Option<u32>,
    /// Every picture is a whole frame. Otherwise the stream may be interlaced.
    pub frame_mbs_only: bool,
    /// Seconds per frame as a fraction (numerator, denominator), where the VUI gives it.
    pub frame_duration: Option<(u32, u32)>,
    /// How wide a pixel is, where the VUI gives it.
    pub pixel: Option<PixelAspect>,
}

impl Sps {
    /// Parses a NAL unit of type 7, with its header byte and without start code.
    ///
    /// `None` when it is damaged.
    pub fn parse(nal: &[u8]) -> Option<Self> {
        let (header, payload) = nal.split_first()?;
        if header & 0x1f != super::NAL_SPS {
            return None;
        }
        let mut bits = Bits::new(payload);
        let profile_idc = bits.bits(8)? as u8;
        let constraint_flags = bits.bits(8)? as u8;
        let level_idc = bits.bits(8)? as u8;
        bits.ue_max(31)?;
        let mut chroma_format = 1;
        if HIGH_PROFILES.contains(&profile_idc) {
            chroma_format = bits.ue_max(3)?;
            if chroma_format == 3 {
                bits.flag()?;
            }
            bits.ue_max(6)?;
            bits.ue_max(6)?;
            bits.flag()?;
            if bits.flag()? {
                skip_scaling_lists(&mut bits, if chroma_format == 3 { 12 } else { 8 })?;
            }
        }
        bits.ue_max(12)?;
        let poc_type = bits.ue_max(2)? as u8;
        skip_poc(&mut bits, poc_type)?;
        bits.ue_max(16)?;
        bits.flag()?;
        let width_mbs = bits.ue_max(MAX_MACROBLOCKS - 1)? + 1;
        let height_units = bits.ue_max(MAX_MACROBLOCKS - 1)? + 1;
        let frame_mbs_only = bits.flag()?;
        if !frame_mbs_only {
            bits.flag()?;
        }
        bits.flag()?;
        let field_factor = if frame_mbs_only { 1 } else { 2 };
        let (mut width, mut height) = (width_mbs * 16, height_units * 16 * field_factor);
        if bits.flag()? {
            let (unit_x, unit_y) = match chroma_format {
                1 => (2, 2 * field_factor),
                2 => (2, field_factor),
                _ => (1, field_factor),
            };
            let mut edge = || bits.ue_max(u32::from(u16::MAX));
            let (left, right, top, bottom) = (edge()?, edge()?, edge()?, edge()?);
            width = width.checked_sub((left + right) * unit_x).filter(|w| *w > 0)?;
            height = height.checked_sub((top + bottom) * unit_y).filter(|h| *h > 0)?;
        }
        // Many encoders end the VUI early; what stands before the cut still counts.
        let vui = if bits.flag()? { Vui::parse(&mut bits) } else { Vui::default() };
        Some(Self {
            profile_idc,
            constraint_flags,
            level_idc,
            width,
            height,
            poc_type,
            max_num_reorder_frames: vui.max_num_reorder_frames,
            frame_mbs_only,
            frame_duration: vui.frame_duration,
            pixel: vui.pixel,
        })
    }

    /// Whether pictures are surely shown in the order they are decoded in: baseline has no B-slices
    /// at all, and the others may promise not to use them so.
    pub fn keeps_order(&self) -> bool {
        self.profile_idc == 66 || self.promises_no_reordering()
    }

    /// The profile in words, as people and FFmpeg name it.
    pub fn profile_name(&self) -> &'static str {
        match self.profile_idc {
            66 if self.constraint_flags & 0x40 != 0 => "Constrained Baseline",
            66 => "Baseline",
            77 => "Main",
            88 => "Extended",
            100 => "High",
            110 => "High 10",
            122 => "High 4:2:2",
            244 => "High 4:4:4 Predictive",
            44 => "CAVLC 4:4:4",
            _ => "unknown profile",
        }
    }

    /// The stream promises that pictures are shown in the order they are decoded.
    ///
    /// `false` proves nothing: most encoders without B-frames do not say so. Feed a
    /// [`ReorderWatch`](super::ReorderWatch) to find out.
    pub fn promises_no_reordering(&self) -> bool {
        self.poc_type == 2 || self.max_num_reorder_frames == Some(0)
    }
}

#[derive(Default)]
struct Vui {
    max_num_reorder_frames: Option<u32>,
    frame_duration: Option<(u32, u32)>,
    pixel: Option<PixelAspect>,
}

impl Vui {
    fn parse(bits: &mut Bits<'_>) -> Self {
        let mut vui = Self::default();
        vui.fill(bits);
        vui
    }

    /// `None` where the bits end; the fields found until then stay.
    fn fill(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        if bits.flag()? {
            let (width, height) = match bits.bits(8)? as usize {
                EXTENDED_ASPECT => (bits.bits(16)?, bits.bits(16)?),
                index => ASPECTS.get(index).copied().unwrap_or_default(),
            };
            self.pixel = PixelAspect::new(width, height);
        }
        if bits.flag()? {
            bits.flag()?;
        }
        if bits.flag()? {
            bits.bits(4)?;
            if bits.flag()? {
                bits.bits(24)?;
            }
        }
        if bits.flag()? {
            bits.ue()?;
            bits.ue()?;
        }
        if bits.flag()? {
            let (units, scale) = (bits.bits(32)?, bits.bits(32)?);
            bits.flag()?;
            // The clock ticks once per field, so a frame takes two ticks.
            if let Some(frame) = units.checked_mul(2).filter(|frame| *frame > 0 && scale > 0) {
                self.frame_duration = Some((frame, scale));
            }
        }
        let nal_hrd = bits.flag()?;
        if nal_hrd {
            skip_hrd(bits)?;
        }
        let vcl_hrd = bits.flag()?;
        if vcl_hrd {
            skip_hrd(bits)?;
        }
        if nal_hrd || vcl_hrd {
            bits.flag()?;
        }
        bits.flag()?;
        if bits.flag()? {
            bits.flag()?;
            for _ in 0..4 {
                bits.ue()?;
            }
            self.max_num_reorder_frames = Some(bits.ue_max(16)?);
        }
        Some(())
    }
}

fn skip_scaling_lists(bits: &mut Bits<'_>, n_lists: u8) -> Option<()> {
    for list in 0..n_lists {
        if !bits.flag()? {
            continue;
        }
        let (mut last, mut next) = (8_i64, 8_i64);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + bits.se()?).rem_euclid(256);
            }
            if next != 0 {
                last = next;
            }
        }
    }
    Some(())
}

fn skip_poc(bits: &mut Bits<'_>, poc_type: u8) -> Option<()> {
    match poc_type {
        0 => {
            bits.ue_max(12)?;
        }
        1 => {
            bits.flag()?;
            bits.se()?;
            bits.se()?;
            for _ in 0..bits.ue_max(255)? {
                bits.se()?;
            }
        }
        _ => {}
    }
    Some(())
}

fn skip_hrd(bits: &mut Bits<'_>) -> Option<()> {
    let n_schedules = bits.ue_max(31)? + 1;
    bits.bits(8)?;
    for _ in 0..n_schedules {
        bits.ue()?;
        bits.ue()?;
        bits.flag()?;
    }
    bits.bits(20)?;
    Some(())
}
