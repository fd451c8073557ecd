//! All packets of one track → its figures.

use std::collections::VecDeque;

use super::{GopCount, PictureProbe, TrackProbe};
use crate::media::codec::h264::{NAL_SPS, ReorderWatch, Sps, nal_type, nal_units};
use crate::media::demux::{Packet, Shape, Track};
use crate::media::{Codec, MediaKind};
use crate::time::MediaTime;

/// The window in which the peak of a bitrate is measured.
const PEAK_WINDOW: MediaTime = MediaTime::from_secs(1);
/// Lengths of groups of pictures that are counted apart.
const GOP_BOUNDS_MS: [i64; 6] = [250, 500, 1000, 2000, 5000, 10_000];

/// What the packets of one track tell.
#[derive(Debug)]
pub(super) struct Scan {
    kind: MediaKind,
    is_h264: bool,
    /// Of sound; what is trimmed is counted in it.
    sample_rate: u32,
    pub(super) n_packets: u64,
    n_bytes: u64,
    /// The first instant that is heard or seen.
    pub(super) start: Option<MediaTime>,
    pub(super) end: MediaTime,
    /// Packets of the last second and their bytes.
    window: VecDeque<(MediaTime, u64)>,
    window_bytes: u64,
    pub(super) peak_bytes: u64,
    keys: Vec<MediaTime>,
    /// The sequence parameter set in force, and whether it promises that nothing is reordered.
    sps: Vec<u8>,
    order_is_promised: bool,
    watch: ReorderWatch,
    first_reordered: Option<MediaTime>,
    /// How long the pictures before zero are, which are decoded but not shown.
    pub(super) hidden: MediaTime,
}

impl Scan {
    pub(super) fn new(track: &Track) -> Self {
        let sample_rate = match track.shape {
            Shape::Audio { sample_rate, .. } => sample_rate,
            Shape::Video { .. } => 0,
        };
        let mut scan = Self {
            kind: track.kind,
            is_h264: track.codec == Codec::H264,
            sample_rate,
            n_packets: 0,
            n_bytes: 0,
            start: None,
            end: MediaTime::ZERO,
            window: VecDeque::new(),
            window_bytes: 0,
            peak_bytes: 0,
            keys: Vec::new(),
            sps: Vec::new(),
            // VP8 and VP9 have no other order than that of their packets.
            order_is_promised: track.codec != Codec::H264,
            watch: ReorderWatch::new(),
            first_reordered: None,
            hidden: MediaTime::ZERO,
        };
        if scan.is_h264 {
            scan.learn(&track.config);
        }
        scan
    }

    /// Takes a changed parameter set into account, as whoever plays it does.
    fn learn(&mut self, annex_b: &[u8]) {
        let is_set = |nal: &&[u8]| nal_type(nal) == NAL_SPS;
        if let Some(set) = nal_units(annex_b).find(is_set).filter(|set| *set != self.sps) {
            self.sps = set.to_vec();
            if let Some(sps) = Sps::parse(set) {
                self.order_is_promised = sps.keeps_order();
            }
        }
    }

    pub(super) fn add(&mut self, packet: &Packet) {
        let n_bytes = packet.data.len() as u64;
        self.n_packets += 1;
        self.n_bytes += n_bytes;
        let begin = packet.pts.max(MediaTime::ZERO);
        self.start = Some(self.start.map_or(begin, |start| start.min(begin)));
        let padding = MediaTime::from_ticks(i64::from(packet.trim_end), self.sample_rate);
        self.end = self.end.max(packet.pts + packet.duration - padding);
        let at = packet.dts.unwrap_or(packet.pts);
        self.window.push_back((at, n_bytes));
        self.window_bytes += n_bytes;
        while let Some((first, n_bytes)) = self.window.front().copied()
            && at - first >= PEAK_WINDOW
        {
            self.window_bytes -= n_bytes;
            self.window.pop_front();
        }
        self.peak_bytes = self.peak_bytes.max(self.window_bytes);
        if self.kind == MediaKind::Video {
            self.hidden = self.hidden.max(-packet.pts);
            if packet.key {
                self.keys.push(packet.pts);
                if self.is_h264 {
                    self.learn(&packet.data);
                }
            }
            let is_sure = self.order_is_promised || self.watch.found().is_some();
            if !is_sure && self.watch.push(packet.pts, &packet.data).is_some() {
                self.first_reordered = Some(packet.pts);
            }
        }
    }

    pub(super) fn length(&self) -> MediaTime {
        self.start.map_or(MediaTime::ZERO, |start| (self.end - start).max(MediaTime::ZERO))
    }

    pub(super) fn pictures(&self) -> PictureProbe {
        let ends = self.keys.iter().skip(1).copied().chain([self.end]);
        let mut gops: Vec<MediaTime> = self.keys.iter().zip(ends).map(|(from, to)| to - *from).collect();
        gops.sort_unstable();
        let ms = |gop: Option<&MediaTime>| gop.map_or(0, |gop| gop.as_millis());
        PictureProbe {
            n_pictures: self.n_packets,
            n_keyframes: self.keys.len() as u64,
            gop_min_ms: ms(gops.first()),
            gop_median_ms: ms(gops.get(gops.len() / 2)),
            gop_max_ms: ms(gops.last()),
            gop_histogram: histogram(&gops),
            b_frames: self.first_reordered.is_some(),
            first_b_frame_ms: self.first_reordered.map(MediaTime::as_millis),
        }
    }

    pub(super) fn track(&self, track: &Track) -> TrackProbe {
        let seconds = self.length().as_secs_f64();
        let (width, height, rotation, sample_rate, channels) = match track.shape {
            Shape::Video { width, height, rotation, .. } => {
                (Some(width), Some(height), Some(rotation), None, None)
            }
            Shape::Audio { sample_rate, channels } => (None, None, None, Some(sample_rate), Some(channels)),
        };
        let is_video = track.kind == MediaKind::Video;
        let bitrate_bps = per_second(self.n_bytes as f64 * 8.0, seconds) as u64;
        TrackProbe {
            kind: if is_video { "video" } else { "audio" },
            codec: track.codec.name().to_owned(),
            profile: (track.codec == Codec::H264).then(|| profile_of(&track.config)).flatten(),
            language: track.language.clone(),
            start_ms: self.start.unwrap_or_default().as_millis(),
            // Packets of codecs that nobody here knows are not read.
            duration_ms: self
                .start
                .map_or_else(|| track.duration.unwrap_or_default(), |_| self.length())
                .as_millis(),
            n_packets: self.n_packets,
            bitrate_bps,
            // The average is over what is heard, which is less than what is sent where sound is
            // trimmed; a track shorter than a second has all of it in one.
            peak_bps: (self.peak_bytes * 8).max(bitrate_bps),
            width,
            height,
            rotation,
            fps: (is_video && self.n_packets > 0)
                .then(|| (per_second(self.n_packets as f64, seconds) * 1000.0).round() / 1000.0),
            sample_rate,
            channels,
        }
    }
}

/// How many of them fall between the bounds.
fn histogram(gops: &[MediaTime]) -> Vec<GopCount> {
    let mut counts: Vec<GopCount> = Vec::new();
    for gop in gops {
        // A second of 29.97 pictures is a second, too.
        let up_to_ms = GOP_BOUNDS_MS.into_iter().find(|bound| gop.as_millis() <= bound + bound / 50);
        match counts.last_mut().filter(|last| last.up_to_ms == up_to_ms) {
            Some(last) => last.n_gops += 1,
            None => counts.push(GopCount { up_to_ms, n_gops: 1 }),
        }
    }
    counts
}

fn per_second(amount: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { amount / seconds } else { 0.0 }
}

fn profile_of(annex_b: &[u8]) -> Option<&'static str> {
    let mut sets = nal_units(annex_b).filter(|nal| nal_type(nal) == NAL_SPS);
    sets.find_map(Sps::parse).map(|sps| sps.profile_name())
}
