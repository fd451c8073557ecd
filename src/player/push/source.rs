//! Pushed frames → packets, as a container would give them.

use std::io;

use bytes::Bytes;

use super::{FrameSource, PictureCoding, Pushed, PushedAudio, PushedVideo};
use crate::media::codec::h264::{AnnexB, AvcConfig};
use crate::media::codec::opus::{SAMPLE_RATE, Shape as OpusShape};
use crate::media::demux::{DemuxError, Demuxer, Packet, Shape, Track, is_key};
use crate::media::{Codec, MediaKind};
use crate::time::MediaTime;

#[cfg(feature = "openh264")]
use self::raw::Raw;

/// Samples are taken in pieces of at most 20 ms.
const PIECES_PER_SECOND: u32 = 50;
/// An `OpusHead` of stereo without pre-skip: what is pushed begins with its first sample.
const OPUS_HEAD: &[u8] = b"OpusHead\x01\x02\0\0\x80\xbb\0\0\0\0\0";

/// A demuxer of what comes.
pub(super) struct Source {
    frames: FrameSource,
    tracks: Vec<Track>,
    video: Option<(usize, PushedVideo)>,
    audio: Option<(usize, PushedAudio)>,
    units: AnnexB,
    #[cfg(feature = "openh264")]
    raw: Option<Raw>,
    /// Sound that is not handed out yet, and when it begins.
    rest: Option<(MediaTime, Bytes)>,
    ended: bool,
}

impl Source {
    pub(super) fn new(frames: FrameSource) -> Result<Self, DemuxError> {
        let mut tracks = Vec::new();
        let mut add = |kind, codec, config: &'static [u8], shape| {
            let config = Bytes::from_static(config);
            tracks.push(Track { kind, codec, duration: None, language: None, config, shape });
            tracks.len() - 1
        };
        let video = frames.options.video.map(|video| {
            let codec = match video.coding {
                PictureCoding::H264 | PictureCoding::I420 { .. } => Codec::H264,
                PictureCoding::Vp8 => Codec::Vp8,
                PictureCoding::Vp9 => Codec::Vp9,
            };
            let shape = Shape::Video { width: video.size.0, height: video.size.1, rotation: 0, pixel: None };
            (add(MediaKind::Video, codec, &[], shape), video)
        });
        let audio = frames.options.audio.map(|audio| {
            let (codec, config, sample_rate, channels) = match audio {
                PushedAudio::Opus => (Codec::Opus, OPUS_HEAD, SAMPLE_RATE, 2),
                PushedAudio::Pcm { layout, sample_rate, channels } => {
                    (Codec::Pcm(layout), &[][..], sample_rate, channels)
                }
            };
            (add(MediaKind::Audio, codec, config, Shape::Audio { sample_rate, channels }), audio)
        });
        let config = AvcConfig::parse(&[])
            .map_err(|error| DemuxError::Damaged { format: "h264", what: error.to_string() })?;
        #[cfg(feature = "openh264")]
        let raw = match video {
            Some((_, video @ PushedVideo { coding: PictureCoding::I420 { bitrate_bps }, .. })) => {
                Some(Raw::new(video, bitrate_bps)?)
            }
            _ => None,
        };
        Ok(Self {
            frames,
            tracks,
            video,
            audio,
            units: AnnexB::new(&config),
            #[cfg(feature = "openh264")]
            raw,
            rest: None,
            ended: false,
        })
    }

    fn picture(&mut self, frame: Pushed) -> Result<Option<Packet>, DemuxError> {
        let Some((track, video)) = self.video else { return Ok(None) };
        #[cfg(feature = "openh264")]
        let data = match &mut self.raw {
            Some(raw) => raw.encode(frame.pts, &frame.data)?,
            None => frame.data,
        };
        #[cfg(not(feature = "openh264"))]
        let data = frame.data;
        let codec = &self.tracks[track].codec;
        let (data, key) = if *codec == Codec::H264 {
            let unit = self.units.convert(&data);
            let unit =
                unit.map_err(|error| DemuxError::Damaged { format: "h264", what: error.to_string() })?;
            (unit.data, unit.key)
        } else {
            let key = is_key(codec, &data);
            (data, key)
        };
        let duration = MediaTime::from_ticks(1, video.fps);
        Ok(Some(packet(track, frame.pts, duration, key, data)))
    }

    fn sound(&mut self, frame: Pushed) -> Option<Packet> {
        let (track, audio) = self.audio?;
        match audio {
            PushedAudio::Opus => {
                let samples = OpusShape::of(&frame.data).map_or(0, OpusShape::samples);
                let duration = MediaTime::from_ticks(i64::from(samples), SAMPLE_RATE);
                Some(packet(track, frame.pts, duration, true, frame.data))
            }
            PushedAudio::Pcm { .. } => {
                self.rest = Some((frame.pts, frame.data));
                self.piece()
            }
        }
    }

    /// The next 20 ms of the samples that came last.
    fn piece(&mut self) -> Option<Packet> {
        let (track, PushedAudio::Pcm { layout, sample_rate, channels }) = self.audio? else { return None };
        let (pts, mut data) = self.rest.take().filter(|(_, data)| !data.is_empty())?;
        let sample = layout.sample_bytes() as usize * usize::from(channels);
        let most = (sample_rate / PIECES_PER_SECOND).max(1) as usize * sample;
        let piece = data.split_to(most.min(data.len()));
        let n_samples = i64::try_from(piece.len() / sample).unwrap_or(i64::MAX);
        let duration = MediaTime::from_ticks(n_samples, sample_rate);
        self.rest = Some((pts + duration, data));
        Some(packet(track, pts, duration, true, piece))
    }
}

fn packet(track: usize, pts: MediaTime, duration: MediaTime, key: bool, data: Bytes) -> Packet {
    Packet { track, pts, dts: None, duration, key, trim_start: 0, trim_end: 0, data }
}

impl Demuxer for Source {
    fn format(&self) -> &'static str {
        "pushed"
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, DemuxError> {
        while !self.ended {
            if let Some(piece) = self.piece() {
                return Ok(Some(piece));
            }
            let frame = self.frames.next();
            self.ended = !matches!(frame, Ok(Some(_)));
            // The one who waits in vain learns why from the cause.
            let frame = frame.map_err(|idle| io::Error::new(io::ErrorKind::TimedOut, idle))?;
            let Some(frame) = frame else { break };
            let packet = match frame.kind {
                MediaKind::Video => self.picture(frame)?,
                MediaKind::Audio => self.sound(frame),
            };
            if packet.is_some() {
                return Ok(packet);
            }
        }
        Ok(None)
    }

    fn seek(&mut self, _to: MediaTime) -> Result<MediaTime, DemuxError> {
        Err(DemuxError::Unsupported {
            what: "a seek in what a program pushes".to_owned(),
            advice: "let the program push what belongs there",
        })
    }
}

#[cfg(feature = "openh264")]
mod raw {
    //! Raw pictures → access units, with a keyframe every second.

    use bytes::Bytes;

    use crate::media::bitrate_for;
    use crate::media::codec::h264::coder::{CoderError, Encoder, EncoderOptions};
    use crate::media::demux::DemuxError;
    use crate::media::picture::Picture;
    use crate::player::push::PushedVideo;
    use crate::time::MediaTime;

    const KEY_EVERY: MediaTime = MediaTime::from_secs(1);

    pub(super) struct Raw {
        encoder: Encoder,
        last_key: Option<MediaTime>,
    }

    impl Raw {
        pub(super) fn new(video: PushedVideo, bitrate_bps: Option<u32>) -> Result<Self, DemuxError> {
            #[expect(clippy::cast_precision_loss, reason = "a rate of pictures is a small number")]
            let fps = video.fps as f32;
            let bitrate_bps = bitrate_bps.unwrap_or_else(|| bitrate_for(video.size, fps));
            let options = EncoderOptions { size: video.size, fps, bitrate_bps, key_every: 0 };
            Ok(Self { encoder: Encoder::new(options).map_err(failed)?, last_key: None })
        }

        /// The bytes are those of one picture of the encoder's size.
        pub(super) fn encode(&mut self, pts: MediaTime, i420: &[u8]) -> Result<Bytes, DemuxError> {
            let (width, height) = self.encoder.size();
            let luma = (width * height) as usize;
            let (y, chroma) = i420.split_at(luma);
            let (u, v) = chroma.split_at(luma / 4);
            let stride = width as usize;
            let strides = [stride, stride / 2, stride / 2];
            let picture = Picture { width, height, planes: [y, u, v], strides };
            let key = self.last_key.is_none_or(|last| pts - last >= KEY_EVERY);
            let encoded = self.encoder.encode(&picture, key).map_err(failed)?;
            let Some(encoded) = encoded else { return Ok(Bytes::new()) };
            if encoded.key {
                self.last_key = Some(pts);
            }
            Ok(encoded.data)
        }
    }

    fn failed(error: CoderError) -> DemuxError {
        DemuxError::Coder(error)
    }
}
