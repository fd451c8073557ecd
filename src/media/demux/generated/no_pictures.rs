//! Stands for the pictures where no encoder is built: there are none.

use bytes::Bytes;

use super::spec::PictureSpec;
use super::{DemuxError, Packet};
use crate::time::MediaTime;

/// Cannot be made, so nothing here can be called: a [`Spec`](super::Spec) has no pictures.
pub(super) enum Pictures {}

impl Pictures {
    pub(super) fn new(_spec: PictureSpec, _bitrate_bps: Option<u32>) -> Result<Self, DemuxError> {
        Err(DemuxError::NoTracks { format: super::FORMAT })
    }

    pub(super) fn config(&self) -> Bytes {
        match *self {}
    }

    pub(super) fn next_at(&self) -> MediaTime {
        match *self {}
    }

    pub(super) fn next(&mut self, _track: usize, _end: MediaTime) -> Result<Packet, DemuxError> {
        match *self {}
    }

    pub(super) fn seek(&mut self, _to: MediaTime) -> MediaTime {
        match *self {}
    }
}
