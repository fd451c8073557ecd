//! A picture for sound: what a file says about itself, and what is heard of it → frames.
//!
//! ```text
//! bytes ── tags, cover ─► Face ─ background ─┐
//! sound ── spectrum ────────────── bars ─────┴─► planes ── encoder ──► Frame, five a second
//! ```
//!
//! The pictures are made beside the sound and lie on its clock, so a seek, a pause or a skip means
//! to them what it means to any picture. Each is held until the sound has come as far as it is
//! seen, so the last one does not outlast the item.

use std::io;

use bytes::Bytes;

use self::face::{Face, SIZE, Words};
use self::spectrum::Spectrum;
use self::tags::Tags;
use super::codec::h264::coder::{Encoder, EncoderOptions};
use super::codec::opus::FRAME;
use super::demux::MediaSource;
use super::{Codec, Frame, MediaKind, ReaderOptions, TranscodeError};
use crate::time::MediaTime;

mod canvas;
mod cover;
mod face;
mod spectrum;
mod tags;
mod text;

/// From one picture to the next: slots of 20 ms divide it.
const PERIOD: MediaTime = MediaTime::from_millis(200);
const FPS: f32 = 5.0;
/// Pictures from one keyframe to the next: the bridge takes a group of 2 s for a short one.
const GROUP: u32 = 10;
/// Enough for a keyframe every two seconds that can be read.
const BITRATE: u32 = 300_000;

/// What is shown of an item without pictures, where it is to be something else than the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CardOptions {
    /// The title; that of the file, or its name, otherwise.
    pub title: Option<String>,
    /// The artist.
    pub artist: Option<String>,
    /// A JPEG or PNG.
    pub cover: Option<Bytes>,
    /// The name of the file, where the source goes by another.
    pub name: Option<String>,
}

/// What is to be shown of an item, before it is known whether it has pictures of its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Sketch {
    words: Words,
    cover: Option<Bytes>,
}

impl Sketch {
    /// Reads what a source says about itself and goes back to its beginning. `input` is its name.
    /// Nothing, where no card is wanted.
    ///
    /// # Errors
    /// When the source cannot be read, or cannot go back to its beginning.
    pub(super) fn read(
        source: &mut dyn MediaSource,
        input: &str,
        options: &ReaderOptions,
    ) -> io::Result<Option<Self>> {
        let Some(card) = wanted(options) else { return Ok(None) };
        Ok(Some(Self::of(Tags::read(source)?, input, card)))
    }

    /// The same of a source that is not looked into.
    pub(super) fn unread(input: &str, options: &ReaderOptions) -> Option<Self> {
        wanted(options).map(|card| Self::of(Tags::default(), input, card))
    }

    fn of(tags: Tags, input: &str, options: &CardOptions) -> Self {
        let CardOptions { title, artist, cover, name } = options.clone();
        let named = title.or(tags.title);
        let (name, performer) = names(name.as_deref().unwrap_or(input));
        let artist = artist.or(tags.artist).or_else(|| performer.filter(|_| named.is_none()));
        let words = Words { title: named.unwrap_or(name), artist, album: tags.album };
        Self { words, cover: cover.or_else(|| tags.cover.map(Bytes::from)) }
    }
}

/// Without pictures no card is wanted either.
fn wanted(options: &ReaderOptions) -> Option<&CardOptions> {
    options.card.as_ref().filter(|_| options.plan.video)
}

/// Title and artist by the name of a file: `Artist - Title.mp3`.
fn names(input: &str) -> (String, Option<String>) {
    let path = match input.split_once("://") {
        // Nor is a password for everybody to see.
        Some((_, address)) => {
            let address = address.split(['?', '#']).next().unwrap_or(address);
            let (host, path) = address.split_at(address.find('/').unwrap_or(address.len()));
            if path.trim_matches('/').is_empty() { host.rsplit('@').next().unwrap_or(host) } else { address }
        }
        None => input,
    };
    let last = path.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or(path);
    // What follows the last dot is no ending when it is long or has blanks, nor is that of a host.
    let is_file = path.len() == input.len() || path.trim_end_matches('/').contains('/');
    let stem = match last.rsplit_once('.').filter(|_| is_file) {
        Some((stem, end)) if !stem.is_empty() && end.len() <= 5 && !end.contains(' ') => stem,
        _ => last,
    };
    let name = stem.replace('_', " ");
    match name.split_once(" - ") {
        Some((artist, title)) if !artist.trim().is_empty() && !title.trim().is_empty() => {
            (title.trim().to_owned(), Some(artist.trim().to_owned()))
        }
        _ => (name, None),
    }
}

/// The pictures of one item.
pub(super) struct Card {
    face: Face,
    spectrum: Spectrum,
    encoder: Encoder,
    /// When the next picture is seen; with the next sound, if nothing is said.
    next: Option<MediaTime>,
    /// Where the sound is.
    heard: MediaTime,
    /// A picture whose length is not known yet.
    held: Option<Frame>,
    /// Pictures until the next keyframe.
    until_key: u32,
}

impl Card {
    /// Draws what stays as it is.
    ///
    /// # Errors
    /// When no encoder can be started.
    pub(super) fn new(sketch: &Sketch, duration: Option<MediaTime>) -> Result<Self, TranscodeError> {
        let size = (SIZE.0 as u32, SIZE.1 as u32);
        let options = EncoderOptions { size, fps: FPS, bitrate_bps: BITRATE, key_every: 0 };
        Ok(Self {
            face: Face::new(&sketch.words, sketch.cover.as_deref(), duration),
            spectrum: Spectrum::default(),
            encoder: Encoder::new(options)?,
            next: None,
            heard: MediaTime::ZERO,
            held: None,
            until_key: 0,
        })
    }

    /// The item has come to the sound at `pts`: 20 ms of interleaved stereo, and its volume.
    ///
    /// # Errors
    /// When the encoder fails.
    pub(super) fn hear(
        &mut self,
        pts: MediaTime,
        (samples, volume): (&[f32], f32),
    ) -> Result<(), TranscodeError> {
        self.spectrum.hear(samples, volume);
        self.heard = pts + FRAME;
        let next = *self.next.get_or_insert(pts);
        if pts < next || self.held.is_some() {
            return Ok(());
        }
        self.next = Some(next + PERIOD);
        let picture = self.face.draw(pts, self.spectrum.bars());
        let Some(encoded) = self.encoder.encode(&picture, self.until_key == 0)? else { return Ok(()) };
        self.until_key = if encoded.key { GROUP } else { self.until_key }.saturating_sub(1);
        self.held = Some(Frame {
            kind: MediaKind::Video,
            codec: Codec::H264,
            pts,
            duration: PERIOD,
            key: encoded.key,
            data: encoded.data,
            level: None,
            rotation: 0,
        });
        Ok(())
    }

    /// The next picture, once the sound has come to its end.
    pub(super) fn poll(&mut self) -> Option<Frame> {
        self.held.take_if(|held| self.heard >= held.pts + held.duration)
    }

    /// No more sound comes: the last picture, if one is left.
    pub(super) fn end(&mut self) -> Option<Frame> {
        let last = self.held.take()?;
        Some(Frame { duration: self.heard - last.pts, ..last })
    }

    /// The sound goes on elsewhere. The next picture is a keyframe.
    pub(super) fn seek(&mut self) {
        self.spectrum.restart();
        (self.next, self.held, self.until_key) = (None, None, 0);
    }

    /// Somebody waits for a keyframe.
    pub(super) fn request_key(&mut self) {
        self.until_key = 0;
    }
}

#[cfg(test)]
mod tests;
