//! A file or a color → the card that is seen while there is nothing else to see.

use std::fmt;
use std::path::Path;

use bytes::Bytes;

use crate::media::codec::h264::coder::{CoderError, Encoder, EncoderOptions};
use crate::media::picture::Picture;
use crate::media::plan::PlanOptions;
use crate::media::{Codec, Frame, MediaError, MediaKind, Reader, ReaderOptions, bitrate_for};
use crate::time::MediaTime;

/// Pictures that are looked at for the first keyframe.
const MAX_PICTURES: usize = 1000;

/// A still card: shown while the queue is empty, and while an item has nothing to show for a
/// second. It is an H.264 keyframe that is made once, whoever and however many look at it.
#[derive(Clone)]
pub struct Slate {
    frame: Frame,
}

/// Why there is no card.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlateError {
    /// The file cannot be read.
    #[error("the slate cannot be read")]
    Media(#[from] MediaError),
    /// It has no picture that could be sent as H.264.
    #[error("the slate has no picture; use an image, or a video that is not VP8 or VP9")]
    NoPicture,
    /// The color cannot be encoded.
    #[error("the slate cannot be encoded; use another size: both edges even, 16 pixels and more")]
    Encode(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Slate {
    /// The first picture of a file. Images are read by `ffmpeg`. Blocks.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(path: impl AsRef<Path>, options: ReaderOptions) -> Result<Self, SlateError> {
        let plan = PlanOptions { audio: false, ..options.plan };
        let mut reader = Reader::open_picture(path, &ReaderOptions { plan, ..options })?;
        for _ in 0..MAX_PICTURES {
            let Some(frame) = reader.next_frame()? else { break };
            if frame.kind == MediaKind::Video && frame.key && frame.codec == Codec::H264 {
                return Ok(Self { frame });
            }
        }
        Err(SlateError::NoPicture)
    }

    /// Nothing but a color, of red, green and blue.
    ///
    /// # Errors
    /// [`SlateError::Encode`], when the size is odd or too small.
    pub fn color([red, green, blue]: [u8; 3], (width, height): (u32, u32)) -> Result<Self, SlateError> {
        let [red, green, blue] = [red, green, blue].map(|value| f64::from(value) / 255.0);
        // ITU-R BT.709, limited range.
        let luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        let values = [
            16.0 + 219.0 * luma,
            128.0 + 224.0 * (blue - luma) / 1.8556,
            128.0 + 224.0 * (red - luma) / 1.5748,
        ];
        let size = width as usize * height as usize;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 16 to 240")]
        let plane = |nth: usize, len| vec![values[nth].round() as u8; len];
        let planes = [plane(0, size), plane(1, size / 4), plane(2, size / 4)];
        let half = width as usize / 2;
        let picture = Picture {
            width,
            height,
            planes: [&planes[0], &planes[1], &planes[2]],
            strides: [width as usize, half, half],
        };
        let data = encode(&picture).map_err(|error| SlateError::Encode(Box::new(error)))?;
        Ok(Self {
            frame: Frame {
                kind: MediaKind::Video,
                codec: Codec::H264,
                pts: MediaTime::ZERO,
                duration: MediaTime::from_millis(20),
                key: true,
                data: data.ok_or(SlateError::NoPicture)?,
                level: None,
                rotation: 0,
            },
        })
    }

    /// The picture.
    pub(super) const fn frame(&self) -> &Frame {
        &self.frame
    }
}

fn encode(picture: &Picture<'_>) -> Result<Option<Bytes>, CoderError> {
    const FPS: f32 = 25.0;
    let size = (picture.width, picture.height);
    let options = EncoderOptions { size, fps: FPS, bitrate_bps: bitrate_for(size, FPS), key_every: 0 };
    let encoded = if picture.is_sound() { Encoder::new(options)?.encode(picture, true)? } else { None };
    Ok(encoded.map(|encoded| encoded.data))
}

impl fmt::Debug for Slate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slate").field("bytes", &self.frame.data.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::codec::h264::coder::Decoder;

    /// Size, and the first sample of each plane.
    fn seen(slate: &Slate) -> ((u32, u32), [u8; 3]) {
        let mut seen = None;
        let mut keep = |_, picture: &Picture<'_>| {
            seen = Some(((picture.width, picture.height), picture.planes.map(|plane| plane[0])));
        };
        let mut decoder = Decoder::new().unwrap();
        decoder.decode(MediaTime::ZERO, &slate.frame.data, &mut keep).unwrap();
        decoder.flush(&mut keep);
        seen.unwrap()
    }

    #[test]
    fn a_color_is_seen_as_it_was_named() {
        for (rgb, expected) in
            [([0, 0, 0], [16, 128, 128]), ([255, 255, 255], [235, 128, 128]), ([255, 0, 0], [63, 102, 240])]
        {
            let (size, planes) = seen(&Slate::color(rgb, (640, 360)).unwrap());
            assert_eq!(size, (640, 360));
            let is_near = planes.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 3);
            assert!(is_near, "{rgb:?}: {planes:?} and not {expected:?}");
        }
        assert!(matches!(Slate::color([0; 3], (641, 360)), Err(SlateError::NoPicture)));
    }

    #[test]
    fn an_image_is_a_card() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("card.png");
        let mut image = png::Encoder::new(std::fs::File::create(&path).unwrap(), 640, 360);
        image.set_color(png::ColorType::Rgb);
        image.write_header().unwrap().write_image_data(&[255, 0, 0].repeat(640 * 360)).unwrap();
        let (size, [luma, ..]) = seen(&Slate::open(&path, ReaderOptions::default()).unwrap());
        assert_eq!(size, (640, 360));
        // Red is 63 by ITU-R BT.709 and 81 by BT.601.
        assert!((60..=85).contains(&luma), "{luma}");
        std::fs::write(&path, "no picture").unwrap();
        assert!(Slate::open(&path, ReaderOptions::default()).is_err());
    }

    #[test]
    fn the_first_picture_of_a_file_is_a_card_and_music_has_none() {
        let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("media");
        let slate = Slate::open(media.join("clip.mp4"), ReaderOptions::default()).unwrap();
        assert_eq!(seen(&slate).0, (1280, 720));
        assert!(Slate::open(media.join("music.ogg"), ReaderOptions::default()).is_err());
    }
}
