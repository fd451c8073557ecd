//! OpenH264: access units ⇄ raw pictures.
//!
//! The decoder gives pictures in the order they are shown in, with their times; the encoder makes
//! constrained baseline that every receiver decodes. Both work on the caller's thread.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytes::Bytes;
use openh264::OpenH264API;
use openh264::decoder::{DecodedYUV, DecoderConfig, Flush};
use openh264::encoder::{
    BitRate, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, Level, Profile, RateControlMode,
};
use openh264::formats::YUVSource;
use openh264_sys2::{
    ENCODER_OPTION, ENCODER_OPTION_BITRATE, ENCODER_OPTION_TRACE_LEVEL, SPATIAL_LAYER_ALL, TagBitrateInfo,
    WELS_LOG_QUIET,
};
use tracing::debug;

use super::{NAL_SPS, nal_type, nal_units};
use crate::media::picture::Picture;
use crate::time::MediaTime;

/// Pictures that H.264 may hold back for reordering.
const MAX_REORDERED: usize = 16;
/// What level 3.1 allows: 3600 macroblocks in a picture and 108 000 a second.
const LEVEL_3_1: (u32, f32) = (3600, 108_000.0);

/// OpenH264 refused to work.
#[derive(Debug, thiserror::Error)]
#[error("OpenH264 failed to {doing}")]
pub struct CoderError {
    doing: &'static str,
    #[source]
    cause: openh264::Error,
}

fn failed(doing: &'static str) -> impl FnOnce(openh264::Error) -> CoderError {
    move |cause| CoderError { doing, cause }
}

/// Decodes one stream, from a keyframe on.
pub(crate) struct Decoder {
    decoder: openh264::decoder::Decoder,
    /// When the pictures are shown that are not out yet.
    inside: BinaryHeap<Reverse<MediaTime>>,
    /// Of the stream so far.
    sps: Vec<u8>,
}

impl Decoder {
    pub(crate) fn new() -> Result<Self, CoderError> {
        // Flushing after every call makes pictures of streams with B-frames fail.
        let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
        let api = OpenH264API::from_source();
        let decoder = openh264::decoder::Decoder::with_api_config(api, config);
        let decoder = decoder.map_err(failed("start a decoder"))?;
        Ok(Self { decoder, inside: BinaryHeap::new(), sps: Vec::new() })
    }

    /// Takes the next access unit in decoding order; hands over the picture whose turn it is,
    /// which may be an earlier one, or none yet.
    ///
    /// # Errors
    /// When the unit cannot be decoded. Later ones may be.
    pub(crate) fn decode(
        &mut self,
        pts: MediaTime,
        annex_b: &[u8],
        mut sink: impl FnMut(MediaTime, &Picture<'_>),
    ) -> Result<(), CoderError> {
        self.flush_before(annex_b, &mut sink);
        self.inside.push(Reverse(pts));
        match self.decoder.decode(annex_b) {
            Ok(Some(decoded)) => {
                let Reverse(pts) = self.inside.pop().expect("a unit was pushed above");
                lend(&decoded, pts, sink);
                Ok(())
            }
            Ok(None) => {
                // A unit without a picture must not move the times of those after it.
                if self.inside.len() > MAX_REORDERED {
                    self.inside.pop();
                }
                Ok(())
            }
            Err(cause) => {
                self.inside.clear();
                Err(failed("decode an access unit")(cause))
            }
        }
    }

    /// Where another stream begins, the library forgets what it has not given yet.
    fn flush_before(&mut self, annex_b: &[u8], sink: impl FnMut(MediaTime, &Picture<'_>)) {
        let Some(sps) = nal_units(annex_b).find(|nal| nal_type(nal) == NAL_SPS) else { return };
        if self.sps != sps {
            if !self.inside.is_empty() {
                self.flush(sink);
            }
            self.sps = sps.to_vec();
        }
    }

    /// Gives what is still inside, in order. After that, decoding starts at a keyframe again.
    pub(crate) fn flush(&mut self, mut sink: impl FnMut(MediaTime, &Picture<'_>)) {
        // An empty unit is the end of the stream for the library. That it has no picture is fine.
        let _no_picture = self.decoder.decode(&[]);
        for decoded in self.decoder.flush_remaining().unwrap_or_default() {
            let Some(Reverse(pts)) = self.inside.pop() else { break };
            lend(&decoded, pts, &mut sink);
        }
        self.inside.clear();
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("inside", &self.inside.len()).finish_non_exhaustive()
    }
}

/// Hands over the decoder's picture in our type, unless it is smaller than it says.
fn lend(decoded: &DecodedYUV<'_>, pts: MediaTime, sink: impl FnOnce(MediaTime, &Picture<'_>)) {
    let (width, height) = decoded.dimensions();
    let (Ok(width), Ok(height)) = (u32::try_from(width), u32::try_from(height)) else { return };
    let (y, u, v) = decoded.strides();
    let planes = [decoded.y(), decoded.u(), decoded.v()];
    let picture = Picture { width, height, planes, strides: [y, u, v] };
    if picture.is_sound() {
        sink(pts, &picture);
    } else {
        debug!(width, height, "a picture that cannot be used");
    }
}

/// What an encoder is made for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct EncoderOptions {
    /// Pixels, both even.
    pub(crate) size: (u32, u32),
    /// Pictures per second, about.
    pub(crate) fps: f32,
    pub(crate) bitrate_bps: u32,
    /// A keyframe at least after so many pictures; 0 is only when asked.
    pub(crate) key_every: u32,
}

/// An encoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// It is an IDR, behind SPS and PPS.
    pub(crate) key: bool,
    /// In Annex B form.
    pub(crate) data: Bytes,
}

/// Encodes pictures of one size as constrained baseline.
pub(crate) struct Encoder {
    encoder: openh264::encoder::Encoder,
    size: (u32, u32),
    bitrate_bps: u32,
    /// Nothing has been encoded: the library has no encoder yet that could be changed.
    fresh: bool,
}

impl Encoder {
    pub(crate) fn new(options: EncoderOptions) -> Result<Self, CoderError> {
        let EncoderOptions { size, fps, bitrate_bps, key_every } = options;
        let fps = fps.clamp(1.0, 120.0);
        let macroblocks = size.0.div_ceil(16) * size.1.div_ceil(16);
        let mut config = EncoderConfig::new()
            .profile(Profile::Baseline)
            .bitrate(BitRate::from_bps(bitrate_bps))
            .max_frame_rate(FrameRate::from_hz(fps))
            .rate_control_mode(RateControlMode::Bitrate)
            // A picture left out is a freeze; a coarser one is not.
            .skip_frames(false)
            .scene_change_detect(false)
            .intra_frame_period(IntraFramePeriod::from_num_frames(key_every))
            .num_threads(1);
        #[expect(clippy::cast_precision_loss, reason = "a picture has thousands of macroblocks")]
        if macroblocks <= LEVEL_3_1.0 && macroblocks as f32 * fps <= LEVEL_3_1.1 {
            config = config.level(Level::Level_3_1);
        }
        let encoder = openh264::encoder::Encoder::with_api_config(OpenH264API::from_source(), config);
        let mut encoder = encoder.map_err(failed("start an encoder"))?;
        // The wrapper silences the library only after it has warned of pictures not skipped.
        set_option(&mut encoder, ENCODER_OPTION_TRACE_LEVEL, &mut WELS_LOG_QUIET.clone())?;
        Ok(Self { encoder, size, bitrate_bps, fresh: true })
    }

    /// The size of the pictures.
    pub(crate) const fn size(&self) -> (u32, u32) {
        self.size
    }

    /// Encodes the next picture, which has the encoder's size; as a keyframe if that is wanted.
    /// Gives `None` when the library left it out.
    ///
    /// # Errors
    /// When the library fails.
    pub(crate) fn encode(&mut self, picture: &Picture<'_>, key: bool) -> Result<Option<Encoded>, CoderError> {
        debug_assert_eq!((picture.width, picture.height), self.size, "pictures come in the encoder's size");
        if key && !self.fresh {
            self.encoder.force_intra_frame();
        }
        let encoded = self.encoder.encode(&Source(picture)).map_err(failed("encode a picture"))?;
        self.fresh = false;
        let key = matches!(encoded.frame_type(), FrameType::IDR);
        let data = Bytes::from(encoded.to_vec());
        Ok((!data.is_empty()).then_some(Encoded { key, data }))
    }

    /// From the next picture on, so many bits per second.
    ///
    /// # Errors
    /// When the library fails.
    pub(crate) fn set_bitrate(&mut self, bitrate_bps: u32) -> Result<(), CoderError> {
        if bitrate_bps == self.bitrate_bps || self.fresh {
            return Ok(());
        }
        let bitrate = i32::try_from(bitrate_bps).unwrap_or(i32::MAX);
        let mut info = TagBitrateInfo { iLayer: SPATIAL_LAYER_ALL, iBitrate: bitrate };
        set_option(&mut self.encoder, ENCODER_OPTION_BITRATE, &mut info)?;
        self.bitrate_bps = bitrate_bps;
        Ok(())
    }
}

/// Sets what the wrapper has no function for. `value` is of the type that the option takes:
/// an integer for the trace level, a `TagBitrateInfo` for the bitrate.
fn set_option<T>(
    encoder: &mut openh264::encoder::Encoder,
    option: ENCODER_OPTION,
    value: &mut T,
) -> Result<(), CoderError> {
    // SAFETY: both callers pass the type that the library reads for their option; it outlives the
    // call, and the library keeps no pointer to it.
    #[expect(unsafe_code, reason = "the wrapper has no other way to set these options")]
    let code = unsafe { encoder.raw_api().set_option(option, std::ptr::from_mut(value).cast()) };
    if code == 0 {
        return Ok(());
    }
    Err(failed("set up the encoder")(openh264::Error::msg("the option was refused")))
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { size, bitrate_bps, .. } = self;
        f.debug_struct("Encoder")
            .field("size", size)
            .field("bitrate_bps", bitrate_bps)
            .finish_non_exhaustive()
    }
}

/// Our picture as the library wants it.
struct Source<'a>(&'a Picture<'a>);

impl YUVSource for Source<'_> {
    fn dimensions(&self) -> (usize, usize) {
        (self.0.width as usize, self.0.height as usize)
    }

    fn strides(&self) -> (usize, usize, usize) {
        let [y, u, v] = self.0.strides;
        (y, u, v)
    }

    fn y(&self) -> &[u8] {
        self.0.planes[0]
    }

    fn u(&self) -> &[u8] {
        self.0.planes[1]
    }

    fn v(&self) -> &[u8] {
        self.0.planes[2]
    }
}
