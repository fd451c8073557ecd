//! Stands for the transcoder where no H.264 codec is built: there is none.

use std::collections::VecDeque;

use super::Frame;
use crate::time::MediaTime;

/// Cannot be made, so nothing here can be called.
#[derive(Debug)]
pub(super) enum Transcoder {}

/// Cannot happen.
#[derive(Debug, thiserror::Error)]
pub enum TranscodeError {}

impl Transcoder {
    pub(super) fn end(&mut self) -> Result<(), TranscodeError> {
        match *self {}
    }

    pub(super) fn peek(&mut self) -> Result<Option<MediaTime>, TranscodeError> {
        match *self {}
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        match *self {}
    }

    pub(super) fn frames(&self) -> &VecDeque<Frame> {
        match *self {}
    }

    pub(super) fn seek(&mut self, _show_from: MediaTime) -> Result<(), TranscodeError> {
        match *self {}
    }

    pub(super) fn set_not_before(&self, _at: MediaTime) {
        match *self {}
    }

    pub(super) fn request_key(&self) {
        match *self {}
    }

    pub(super) fn set_bitrate(&self, _bitrate_bps: u32) {
        match *self {}
    }

    pub(super) fn n_late(&self) -> u64 {
        match *self {}
    }

    pub(super) fn n_undecodable(&self) -> u64 {
        match *self {}
    }
}
