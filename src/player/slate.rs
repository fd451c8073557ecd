//! A file or a color → the card or the loop that is seen while there is nothing else to see.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::media::codec::h264::coder::{CoderError, Encoder, EncoderOptions};
use crate::media::picture::Picture;
use crate::media::plan::PlanOptions;
use crate::media::{Codec, Frame, MediaError, MediaKind, Reader, ReaderOptions, bitrate_for};
use crate::player::timeline::SLOT;
use crate::time::MediaTime;

/// So much of a video is kept and goes round …
const MAX_LENGTH: MediaTime = MediaTime::from_secs(60);
/// … and so many bytes: a minute of what may be copied.
const MAX_BYTES: usize = 32 << 20;

/// What is shown while the queue is empty, and while an item has nothing to show for a second: a
/// card, or a short video that begins again at its end. It is H.264 that is read or made once,
/// whoever and however many look at it.
#[derive(Clone)]
pub struct Slate {
    /// The first is a keyframe; each has its place from the beginning of a round.
    frames: Arc<[Frame]>,
    /// Of one round.
    length: MediaTime,
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
    /// The pictures of a video, up to its first minute and 32 MiB, or an image, which is read by
    /// `ffmpeg`. What can be copied is copied. Blocks.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(path: impl AsRef<Path>, options: ReaderOptions) -> Result<Self, SlateError> {
        let plan = PlanOptions { audio: false, ..options.plan };
        let mut reader = Reader::open_picture(path, &ReaderOptions { plan, ..options })?;
        let (mut frames, mut begun, mut n_bytes) = (Vec::<Frame>::new(), None, 0);
        loop {
            let frame = match reader.next_frame() {
                Ok(Some(frame)) => frame,
                // What there is before the damage goes round.
                Err(_) if !frames.is_empty() => break,
                Ok(None) => break,
                Err(error) => return Err(error.into()),
            };
            if frame.kind != MediaKind::Video || frame.codec != Codec::H264 || begun.is_none() && !frame.key {
                continue;
            }
            let pts = frame.pts - *begun.get_or_insert(frame.pts);
            n_bytes += frame.data.len();
            if !frames.is_empty() && (pts >= MAX_LENGTH || n_bytes > MAX_BYTES) {
                break;
            }
            frames.push(Frame { pts, ..frame });
        }
        Self::of(frames).ok_or(SlateError::NoPicture)
    }

    fn of(frames: Vec<Frame>) -> Option<Self> {
        let last = frames.last()?;
        let length = (last.pts + last.duration).max(last.pts + SLOT);
        Some(Self { frames: frames.into(), length })
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
        let frame = Frame {
            kind: MediaKind::Video,
            codec: Codec::H264,
            pts: MediaTime::ZERO,
            duration: SLOT,
            key: true,
            data: data.ok_or(SlateError::NoPicture)?,
            level: None,
            rotation: 0,
        };
        Self::of(vec![frame]).ok_or(SlateError::NoPicture)
    }

    /// The pictures of one round; a card has one.
    pub(super) fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// How long a round is.
    pub(super) const fn length(&self) -> MediaTime {
        self.length
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
        let Self { frames, length } = self;
        f.debug_struct("Slate").field("n_frames", &frames.len()).field("length", length).finish()
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
        decoder.decode(MediaTime::ZERO, &slate.frames[0].data, &mut keep).unwrap();
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
    fn a_video_goes_round_and_music_has_no_pictures() {
        let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("media");
        let slate = Slate::open(media.join("clip.mp4"), ReaderOptions::default()).unwrap();
        assert_eq!(seen(&slate).0, (1280, 720));
        assert_eq!((slate.frames.len(), slate.length), (600, MediaTime::from_secs(20)), "all of it");
        assert!(slate.frames[0].key && slate.frames[0].pts == MediaTime::ZERO);
        assert!(Slate::open(media.join("music.ogg"), ReaderOptions::default()).is_err());
    }
}
