//! What the tests of this folder share.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::media::{Frame, MediaKind};
use crate::player::{DueFrame, SharedFrame};
use crate::time::MediaTime;

/// Some instant to count from.
#[expect(clippy::disallowed_methods, reason = "an Instant cannot be made in another way")]
pub(super) fn start() -> Instant {
    Instant::now()
}

/// Twenty milliseconds of sound.
pub(super) fn sound(start: Instant, at: MediaTime) -> SharedFrame {
    shared(start, at, MediaKind::Audio, MediaTime::from_millis(20), true, Bytes::from_static(&[0xfc; 160]))
}

/// A picture with one slice of `len` bytes.
pub(super) fn picture(
    start: Instant,
    at: MediaTime,
    duration: MediaTime,
    key: bool,
    len: usize,
) -> SharedFrame {
    let mut data = vec![0xab; len + 4];
    data[..5].copy_from_slice(&[0, 0, 0, 1, if key { 0x65 } else { 0x41 }]);
    shared(start, at, MediaKind::Video, duration, key, data.into())
}

fn shared(
    start: Instant,
    at: MediaTime,
    kind: MediaKind,
    duration: MediaTime,
    key: bool,
    data: Bytes,
) -> SharedFrame {
    let frame = Frame {
        kind,
        codec: crate::media::usual_codec(kind),
        pts: at,
        duration,
        key,
        data,
        level: None,
        rotation: 0,
    };
    Arc::new(DueFrame { item: None, at, due: start + at.to_duration(), frame })
}
