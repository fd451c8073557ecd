//! Rows and frames → which streams of one participant are received, and which layer is decoded.

use std::time::{Duration, Instant};

use str0m::media::{MediaData, Mid};

use super::loss::LossCounter;
use crate::call::signaling::SourceGroup;

/// A layer that has been silent for so long may be replaced by another one.
const LAYER_SILENCE: Duration = Duration::from_secs(1);

/// Whom the watcher watches.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) peer: String,
    pub(super) source: i32,
    pub(super) endpoint: Option<String>,
    pub(super) audio: Track,
    /// The camera's layers, lowest resolution first, or nothing.
    pub(super) layers: Vec<Track>,
    /// Which layer is decoded.
    pub(super) layer: usize,
    /// Nothing can be decoded before a keyframe comes.
    pub(super) awaits_key: bool,
    pub(super) asked_for_key: Option<Instant>,
}

/// One of the streams of whoever is watched.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) mid: Mid,
    pub(super) ssrc: u32,
    pub(super) rtx: Option<u32>,
    pub(super) loss: LossCounter,
    pub(super) last_frame: Option<Instant>,
}

impl Watched {
    /// Which layer is decoded once `frame` has come; `None` when `frame` is not of it. A higher
    /// one takes over with its keyframe, any one when the present one has fallen silent.
    pub(super) fn choose_layer(&mut self, frame: &MediaData, now: Instant) -> Option<usize> {
        let from = self.layers.iter().position(|layer| layer.mid == frame.mid)?;
        if from != self.layer {
            let last = self.layers[self.layer].last_frame;
            let silent = last.is_none_or(|at| now.duration_since(at) >= LAYER_SILENCE);
            if !(frame.is_keyframe() && (from > self.layer || silent)) {
                return None;
            }
            self.layer = from;
        }
        Some(from)
    }
}

/// SSRC and RTX SSRC of each layer, in `SIM` order; without `SIM` those of the first `FID`.
pub(super) fn layers_of(groups: &[SourceGroup]) -> Vec<(u32, Option<u32>)> {
    let fid = |primary: i32| {
        groups.iter().filter(|group| group.semantics == "FID").find_map(|group| match group.sources[..] {
            [first, rtx] if first == primary => Some(rtx.cast_unsigned()),
            _ => None,
        })
    };
    let of = |semantics: &str| groups.iter().find(|group| group.semantics == semantics);
    let primaries = match (of("SIM"), of("FID")) {
        (Some(sim), _) => &sim.sources[..],
        (None, Some(fid)) => fid.sources.get(..1).unwrap_or_default(),
        (None, None) => &[],
    };
    primaries.iter().map(|primary| (primary.cast_unsigned(), fid(*primary))).collect()
}
