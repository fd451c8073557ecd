//! Stands for the cards where nothing can draw them: there are none.

use std::io;

use super::demux::MediaSource;
use super::{Frame, ReaderOptions, TranscodeError};
use crate::time::MediaTime;

/// Cannot be made, so nothing here can be called.
pub(super) enum Card {}

/// The same.
pub(super) enum Sketch {}

impl Sketch {
    #[expect(clippy::unnecessary_wraps, reason = "where there are cards, a source is read")]
    pub(super) fn read(
        _source: &mut dyn MediaSource,
        _input: &str,
        _options: &ReaderOptions,
    ) -> io::Result<Option<Self>> {
        Ok(None)
    }

    pub(super) fn unread(_input: &str, _options: &ReaderOptions) -> Option<Self> {
        None
    }
}

impl Card {
    pub(super) fn hear(&mut self, _pts: MediaTime, _sound: (&[f32], f32)) -> Result<(), TranscodeError> {
        match *self {}
    }

    pub(super) fn poll(&mut self) -> Option<Frame> {
        match *self {}
    }

    pub(super) fn end(&mut self) -> Option<Frame> {
        match *self {}
    }

    pub(super) fn seek(&mut self) {
        match *self {}
    }

    pub(super) fn request_key(&mut self) {
        match *self {}
    }
}
