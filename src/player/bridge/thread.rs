//! The bridge's thread: pictures of a copied group in, encoded ones out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::Sender;
use tracing::{debug, error};

use crate::media::codec::h264::coder::{CoderError, Decoder, Encoder, EncoderOptions};
use crate::media::picture::Picture;
use crate::media::{Codec, Frame, MediaKind, bitrate_for};
use crate::player::{DueFrame, SharedFrame};
use crate::time::MediaTime;

/// Orders that may wait: two seconds of pictures. Whoever is further behind would be too late.
pub(super) const ORDERS: usize = 64;
/// The most that is spent on encoded pictures.
const MAX_BITRATE: u32 = 4_000_000;

/// A picture that leaves so late is still of use: everybody's come late by the time of decoding
/// and encoding while a keyframe is bridged to, as over a network that has become slower.
const LATE: Duration = Duration::from_millis(250);

/// What the thread is to do, in this order.
#[derive(Debug)]
pub(super) enum Order {
    /// Decode a group from its keyframe on; all of it has been handed out.
    Begin { group: Vec<SharedFrame> },
    /// Decode one more; it has been handed out.
    Follow { frame: SharedFrame },
    /// Encode it in its place. One answer.
    Encode { frame: SharedFrame, key: bool, bitrate_bps: u32 },
    /// Hand it out as it is, behind what is encoded. One answer.
    Pass { frame: SharedFrame },
    /// Encode the last picture of a group as a keyframe. Needs nothing of the orders before, and
    /// changes nothing for those after.
    Still { group: Vec<SharedFrame>, bitrate_bps: u32 },
    /// Say that everything before is done.
    #[cfg(test)]
    Ping,
}

/// What the thread says.
#[derive(Debug)]
pub(in crate::player) enum Answer {
    /// Nothing new.
    Followed,
    /// The group cannot be decoded.
    Lost,
    /// The picture in this place as a keyframe; nothing where it cannot be made.
    Still { of: MediaTime, data: Option<Bytes> },
    /// These go out now.
    Frames { frames: Vec<SharedFrame>, n_dropped: u64 },
}

/// The owner's end. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Thread {
    /// Gone only in `drop`.
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Thread {
    pub(super) fn start(answers: Sender<Answer>) -> std::io::Result<Self> {
        let (orders, inbox) = sync_channel(ORDERS);
        let thread = std::thread::Builder::new()
            .name("keyframe-bridge".to_owned())
            .spawn(move || Worker::default().run(&inbox, &answers))?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// False when too many wait.
    pub(super) fn order(&self, order: Order) -> bool {
        self.orders.as_ref().is_some_and(|orders| orders.try_send(order).is_ok())
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the keyframe bridge panicked");
        }
    }
}

#[derive(Debug, Default)]
struct Worker {
    decoder: Option<Decoder>,
    /// Present while pictures are encoded.
    encoder: Option<Encoder>,
    /// The frames whose pictures are inside the decoder, by their places.
    inside: BTreeMap<MediaTime, SharedFrame>,
    /// Up to here everything has been handed out.
    out_until: Option<MediaTime>,
    key_wanted: bool,
    bitrate_bps: u32,
    n_dropped: u64,
}

impl Worker {
    fn run(mut self, orders: &Receiver<Order>, answers: &Sender<Answer>) {
        while let Ok(order) = orders.recv() {
            let answer = match order {
                Order::Begin { group } => self.begin(&group),
                Order::Follow { frame } => self.follow(&frame),
                Order::Encode { frame, key, bitrate_bps } => {
                    self.key_wanted |= key;
                    self.bitrate_bps = bitrate_bps;
                    Some(self.encode(frame))
                }
                Order::Pass { frame } => Some(self.pass(frame)),
                Order::Still { group, bitrate_bps } => last_picture(&group, bitrate_bps),
                #[cfg(test)]
                Order::Ping => Some(Answer::Followed),
            };
            if let Some(answer) = answer
                && answers.blocking_send(answer).is_err()
            {
                return;
            }
        }
    }

    fn begin(&mut self, group: &[SharedFrame]) -> Option<Answer> {
        (self.decoder, self.encoder) = (None, None);
        self.inside.clear();
        group.iter().find_map(|frame| self.follow(frame))
    }

    fn follow(&mut self, frame: &SharedFrame) -> Option<Answer> {
        self.out_until = Some(frame.at);
        match self.decode(frame) {
            Ok(_nothing_to_encode) => None,
            Err(error) => {
                debug!(%error, at = ?frame.at, "the copied pictures cannot be followed");
                Some(Answer::Lost)
            }
        }
    }

    fn encode(&mut self, frame: SharedFrame) -> Answer {
        let started = self.encoder.is_some();
        self.key_wanted |= !started;
        if !started {
            self.bitrate_bps = self.bitrate_bps.min(MAX_BITRATE);
        }
        let frames = match self.decode_and_encode(&frame) {
            Ok(frames) => frames,
            // Nothing has taken the place of the file's pictures yet: they go on.
            Err(error) if !started => {
                debug!(%error, "no bridge");
                self.out_until = Some(frame.at);
                vec![frame]
            }
            Err(error) => {
                debug!(%error, at = ?frame.at, "a picture cannot be encoded");
                self.n_dropped += 1;
                Vec::new()
            }
        };
        self.answer(frames)
    }

    fn pass(&mut self, frame: SharedFrame) -> Answer {
        let mut frames = self.decode_and_encode_before(&frame);
        if frame.frame.key {
            self.encoder = None;
        }
        self.out_until = Some(frame.at);
        frames.push(frame);
        self.answer(frames)
    }

    fn answer(&mut self, frames: Vec<SharedFrame>) -> Answer {
        Answer::Frames { frames, n_dropped: std::mem::take(&mut self.n_dropped) }
    }

    /// Pictures that were still inside come out before the next one.
    fn decode_and_encode_before(&mut self, frame: &SharedFrame) -> Vec<SharedFrame> {
        if self.encoder.is_none() {
            // It is decoded for those after it; whether that works, a later order will see.
            let _unused = self.decode(frame);
            return Vec::new();
        }
        let mut made = self.decode_and_encode(frame).unwrap_or_default();
        // The file's own goes out in this place.
        made.retain(|encoded| encoded.at < frame.at);
        made
    }

    fn decode(&mut self, frame: &SharedFrame) -> Result<(), CoderError> {
        self.with_pictures(frame, |_, _, _| Ok(()))
    }

    fn decode_and_encode(&mut self, frame: &SharedFrame) -> Result<Vec<SharedFrame>, CoderError> {
        let mut made = Vec::new();
        self.with_pictures(frame, |this, place, picture| {
            made.extend(this.encode_picture(&place, picture)?);
            Ok(())
        })?;
        Ok(made)
    }

    /// Decodes a frame, and gives the pictures that have not been handed out.
    fn with_pictures(
        &mut self,
        frame: &SharedFrame,
        mut each: impl FnMut(&mut Self, SharedFrame, &Picture<'_>) -> Result<(), CoderError>,
    ) -> Result<(), CoderError> {
        let mut decoder = match self.decoder.take() {
            Some(decoder) => decoder,
            None => Decoder::new()?,
        };
        self.inside.insert(frame.at, Arc::clone(frame));
        let mut result = Ok(());
        let decoded = decoder.decode(frame.at, &frame.frame.data, |at, picture| {
            let Some(place) = self.inside.remove(&at) else { return };
            if result.is_ok() && self.out_until.is_none_or(|until| at > until) {
                result = each(self, place, picture);
            }
        });
        self.decoder = Some(decoder);
        if decoded.is_err() {
            self.inside.clear();
        }
        decoded.and(result)
    }

    /// The picture in the place of the file's.
    #[expect(clippy::disallowed_methods, reason = "whether a picture still comes in time is known only now")]
    fn encode_picture(
        &mut self,
        place: &SharedFrame,
        picture: &Picture<'_>,
    ) -> Result<Option<SharedFrame>, CoderError> {
        if !self.key_wanted && Instant::now() > place.due + LATE {
            self.n_dropped += 1;
            return Ok(None);
        }
        let size = (picture.width, picture.height);
        let encoder = match self.encoder.take().filter(|encoder| encoder.size() == size) {
            Some(encoder) => encoder,
            None => {
                let fps = fps_of(&place.frame);
                let bitrate_bps = self.bitrate_bps.max(bitrate_for(size, fps) / 2).min(MAX_BITRATE);
                Encoder::new(EncoderOptions { size, fps, bitrate_bps, key_every: 0 })?
            }
        };
        let encoder = self.encoder.insert(encoder);
        let Some(encoded) = encoder.encode(picture, self.key_wanted)? else { return Ok(None) };
        self.key_wanted &= !encoded.key;
        self.out_until = Some(place.at);
        let frame = Frame {
            kind: MediaKind::Video,
            codec: Codec::H264,
            key: encoded.key,
            data: encoded.data,
            ..place.frame.clone()
        };
        Ok(Some(Arc::new(DueFrame { item: place.item, at: place.at, due: place.due, frame })))
    }
}

/// The last picture of a group, in a decoder and an encoder of its own.
fn last_picture(group: &[SharedFrame], bitrate_bps: u32) -> Option<Answer> {
    let last = group.last()?;
    let mut made = Ok(None);
    let mut each = |at: MediaTime, picture: &Picture<'_>| {
        if at == last.at {
            let (size, fps) = ((picture.width, picture.height), fps_of(&last.frame));
            let bitrate_bps = bitrate_bps.max(bitrate_for(size, fps)).min(MAX_BITRATE);
            let encoder = Encoder::new(EncoderOptions { size, fps, bitrate_bps, key_every: 0 });
            made = encoder.and_then(|mut encoder| encoder.encode(picture, true));
        }
    };
    let decoded = Decoder::new().and_then(|mut decoder| {
        for frame in group {
            decoder.decode(frame.at, &frame.frame.data, &mut each)?;
        }
        decoder.flush(&mut each);
        Ok(())
    });
    let data = match decoded.and(made) {
        Ok(encoded) => encoded.filter(|encoded| encoded.key).map(|encoded| encoded.data),
        Err(error) => {
            debug!(%error, at = ?last.at, "no still of the copied pictures");
            None
        }
    };
    Some(Answer::Still { of: last.at, data })
}

/// Pictures per second, going by how long one lasts.
fn fps_of(frame: &Frame) -> f32 {
    const USUAL: f32 = 30.0;
    let seconds = frame.duration.as_secs_f64();
    if seconds > 0.0 { (1.0 / seconds) as f32 } else { USUAL }
}
