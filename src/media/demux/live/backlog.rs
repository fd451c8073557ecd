//! What has come of a live source and was not taken yet → packets, no later than wanted.
//!
//! How late it is played is told by the clock. The source is `newest - now` ahead of it; in bursts
//! that swings, so what counts is the least of the last seconds ([`Arrivals`]): so much can be
//! relied on. The place that could be played now is `now + least`, and what is taken lies behind
//! it by
//!
//! ```text
//! late = now + least - taken
//! ```
//!
//! A burst does not change that; a pause of a minute makes it a minute more at once. When it is more
//! than wanted by [`SLACK`], what lies in between is left out, up to the last keyframe that leaves
//! the wanted latency, for all tracks at the same place. The times of all that follows are moved so
//! that they join up with what was taken, sound to sound exactly. So `late` is what is wanted from
//! then on, and nothing is left out again before it has grown by another second.

use std::collections::VecDeque;

use super::arrivals::Arrivals;
use crate::media::MediaKind;
use crate::media::demux::{Packet, Track};
use crate::time::MediaTime;

/// So much later than wanted is borne: leaving out a little again and again would be heard.
pub(super) const SLACK: MediaTime = MediaTime::from_secs(1);
/// Less is not worth a cut, even where the next keyframe is that near.
const MIN_GAIN: MediaTime = MediaTime::from_millis(500);
/// Times that leap ahead by more leave a hole: nothing came meanwhile.
const MAX_HOLE: MediaTime = MediaTime::from_secs(1);
/// A track whose times go back by more begins anew. No codec reorders pictures that far.
const MAX_BACK: MediaTime = MediaTime::from_secs(1);
/// Times are rounded by their containers; what is off by less is not.
const ROUNDING: MediaTime = MediaTime::from_millis(2);
/// A keyframe and the sound to go on with are no further apart than this, or there is no sound.
const SIDE_BY_SIDE: MediaTime = MediaTime::from_millis(200);
/// Pictures of which nothing has come for so long need not be waited for.
const FADED: MediaTime = MediaTime::from_secs(10);
/// Memory for what waits, whatever the source says.
pub(super) const MAX_BYTES: usize = 32 << 20;

/// Packets that wait, and where in time the source is.
#[derive(Debug)]
pub(super) struct Backlog {
    latency: MediaTime,
    lanes: Vec<Lane>,
    packets: VecDeque<Packet>,
    n_bytes: usize,
    /// What is taken off the times of the source: its leaps, and what was left out.
    shift: MediaTime,
    /// Where the latest that has come ends, …
    newest: Option<MediaTime>,
    /// … and the latest that was taken.
    taken: Option<MediaTime>,
    arrivals: Arrivals,
    /// All that waited is gone: what comes next follows what was taken.
    joining: bool,
    left_out: LeftOut,
}

/// One track.
#[derive(Debug)]
struct Lane {
    kind: MediaKind,
    /// Where the latest that has come ends, …
    came: Option<MediaTime>,
    /// … and the latest that was taken.
    taken: Option<MediaTime>,
    /// What begins before this has been left out, or should have been.
    floor: Option<MediaTime>,
    /// Pictures that need one which was left out.
    wants_key: bool,
    /// How long a packet lasts that does not say so.
    step: MediaTime,
}

/// What was not handed on, and why there is no hole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) time: MediaTime,
    pub(super) n_packets: u64,
    pub(super) n_bytes: u64,
}

impl LeftOut {
    fn count(&mut self, packet: &Packet) {
        self.n_packets += 1;
        self.n_bytes += packet.data.len() as u64;
    }
}

/// A place where playing can go on.
#[derive(Clone, Copy, Debug)]
struct Entrance {
    idx: usize,
    /// What would be left out.
    hole: MediaTime,
    /// What would go on waiting.
    n_bytes: usize,
}

impl Backlog {
    /// For a source with these tracks, whose bursts are shorter than `window`.
    pub(super) fn new(tracks: &[Track], latency: MediaTime, window: MediaTime) -> Self {
        let lane = |track: &Track| Lane {
            kind: track.kind,
            came: None,
            taken: None,
            floor: None,
            wants_key: false,
            step: MediaTime::ZERO,
        };
        Self {
            latency,
            lanes: tracks.iter().map(lane).collect(),
            packets: VecDeque::new(),
            n_bytes: 0,
            shift: MediaTime::ZERO,
            newest: None,
            taken: None,
            arrivals: Arrivals::new(window),
            joining: false,
            left_out: LeftOut::default(),
        }
    }

    /// A packet has come.
    pub(super) fn handle_packet(&mut self, mut packet: Packet, now: MediaTime) {
        self.place(&mut packet);
        self.note(&packet, now);
        let lane = &mut self.lanes[packet.track];
        let is_old = lane.floor.is_some_and(|floor| packet.pts < floor - ROUNDING);
        if is_old || (lane.wants_key && !packet.key) {
            self.left_out.count(&packet);
            return;
        }
        lane.wants_key = false;
        let hole = packet.pts - self.taken.unwrap_or(packet.pts);
        if std::mem::take(&mut self.joining) && hole > MediaTime::ZERO {
            self.remove(hole);
            shift(&mut packet, hole);
        }
        self.n_bytes += weight(&packet);
        self.packets.push_back(packet);
        if self.n_bytes > MAX_BYTES {
            self.shed();
        }
        self.catch_up(SLACK, now);
    }

    /// The next packet, if one waits.
    pub(super) fn poll_packet(&mut self, now: MediaTime) -> Option<Packet> {
        self.catch_up(SLACK, now);
        let packet = self.packets.pop_front()?;
        self.n_bytes -= weight(&packet);
        let lane = &mut self.lanes[packet.track];
        let end = lane.end_of(&packet);
        lane.taken = lane.taken.max(Some(end));
        self.taken = self.taken.max(Some(end));
        Some(packet)
    }

    /// Leaves out what is played later than wanted by more than `slack`, where there is a place to
    /// go on.
    pub(super) fn catch_up(&mut self, slack: MediaTime, now: MediaTime) {
        let excess = self.late(now) - self.latency;
        if excess <= slack {
            return;
        }
        let fitting = |entrance: &Entrance| (MIN_GAIN..=excess).contains(&entrance.hole);
        if let Some(last) = self.entrances().filter(fitting).last() {
            self.cut(last);
        }
    }

    /// Where the packet that comes next begins, as far as that is known.
    pub(super) fn place_of_next(&self) -> MediaTime {
        self.packets.front().map(|packet| packet.pts).or(self.taken).unwrap_or(MediaTime::ZERO)
    }

    /// What was left out since the last look.
    pub(super) fn take_left_out(&mut self) -> Option<LeftOut> {
        Some(std::mem::take(&mut self.left_out)).filter(|left_out| *left_out != LeftOut::default())
    }

    /// How far what is taken lies behind what could be played now.
    fn late(&self, now: MediaTime) -> MediaTime {
        let (Some(newest), Some(taken)) = (self.newest, self.taken) else { return MediaTime::ZERO };
        now + self.arrivals.least(newest - now) - taken
    }

    /// Puts a packet where it belongs behind those before, whatever the source says.
    fn place(&mut self, packet: &mut Packet) {
        shift(packet, self.shift);
        let Some(newest) = self.newest else { return };
        let leap = packet.pts - newest;
        let is_back = self.lanes[packet.track].came.is_some_and(|came| came - packet.pts > MAX_BACK);
        if leap > MAX_HOLE || is_back {
            self.shift += leap;
            shift(packet, leap);
        }
    }

    fn note(&mut self, packet: &Packet, now: MediaTime) {
        let end = self.lanes[packet.track].note(packet);
        self.taken.get_or_insert(packet.pts);
        // The source is least ahead just before something comes.
        let before = self.newest.unwrap_or(end);
        self.arrivals.note(before - now, now);
        self.newest = Some(before.max(end));
    }

    /// Where playing can go on, in their order: keyframes, where there are pictures.
    fn entrances(&self) -> impl Iterator<Item = Entrance> {
        let leading = self.leading();
        let taken = leading.and_then(|lead| self.lanes[lead].taken).or(self.taken);
        let mut n_bytes = self.n_bytes;
        self.packets.iter().enumerate().filter_map(move |(idx, packet)| {
            let waiting = n_bytes;
            n_bytes -= weight(packet);
            let is_entrance = Some(packet.track) == leading && packet.key;
            is_entrance.then(|| Entrance {
                idx,
                hole: packet.pts - taken.unwrap_or(packet.pts),
                n_bytes: waiting,
            })
        })
    }

    /// The track that says where playing can go on: pictures, as long as some come that can be seen.
    fn leading(&self) -> Option<usize> {
        let is_alive = |lane: &Lane| {
            let is_recent = |came| self.newest.is_some_and(|newest| newest - came < FADED);
            !lane.wants_key && lane.came.is_some_and(is_recent)
        };
        let of = |kind| self.lanes.iter().position(|lane| lane.kind == kind && is_alive(lane));
        of(MediaKind::Video).or_else(|| of(MediaKind::Audio))
    }

    /// Goes on at an entrance.
    fn cut(&mut self, entrance: Entrance) {
        let (lead, key) = (self.packets[entrance.idx].track, self.packets[entrance.idx].pts);
        // Where sound goes on exactly where it stopped, the picture before lasts up to a packet longer.
        let sound = self.lanes.iter().enumerate().find(|(_, lane)| lane.kind == MediaKind::Audio);
        let sound = sound.and_then(|(track, lane)| Some((track, lane.taken?)));
        let follows = sound.and_then(|(track, taken)| {
            let gaps =
                self.packets.iter().filter(|packet| packet.track == track).map(|packet| packet.pts - taken);
            gaps.filter(|gap| *gap <= entrance.hole && *gap > entrance.hole - SIDE_BY_SIDE).last()
        });
        let removed = follows.unwrap_or(entrance.hole);
        for (track, lane) in self.lanes.iter_mut().enumerate() {
            lane.floor = lane.taken.or(self.taken).map(|taken| taken + removed);
            lane.wants_key = lane.kind == MediaKind::Video;
            if track == lead {
                lane.floor = Some(key);
            }
        }
        let mut idx = 0;
        let (lanes, left_out, n_bytes) = (&mut self.lanes, &mut self.left_out, &mut self.n_bytes);
        self.packets.retain(|packet| {
            let lane = &mut lanes[packet.track];
            let is_before = packet.track == lead && idx < entrance.idx;
            idx += 1;
            let is_old = lane.floor.is_some_and(|floor| packet.pts < floor - ROUNDING);
            if is_before || is_old || (lane.wants_key && !packet.key) {
                *n_bytes -= weight(packet);
                left_out.count(packet);
                return false;
            }
            lane.wants_key = false;
            true
        });
        self.remove(removed);
    }

    /// Too much memory is used: half of it is given back, or all where there is no place to go on.
    fn shed(&mut self) {
        let ahead = |entrance: &Entrance| entrance.idx > 0 && entrance.hole > MediaTime::ZERO;
        let enough = |entrance: &Entrance| entrance.n_bytes <= MAX_BYTES / 2;
        let found =
            self.entrances().filter(ahead).find(enough).or_else(|| self.entrances().filter(ahead).last());
        if let Some(entrance) = found {
            return self.cut(entrance);
        }
        for packet in self.packets.drain(..) {
            self.left_out.count(&packet);
        }
        (self.n_bytes, self.joining) = (0, true);
        for lane in &mut self.lanes {
            lane.floor = lane.taken;
            lane.wants_key = lane.kind == MediaKind::Video;
        }
    }

    /// Takes `removed` off the times of all that is here, and of all that comes.
    fn remove(&mut self, removed: MediaTime) {
        self.shift += removed;
        self.left_out.time += removed;
        self.newest = self.newest.map(|newest| newest - removed);
        self.arrivals.remove(removed);
        for packet in &mut self.packets {
            shift(packet, removed);
        }
        for lane in &mut self.lanes {
            lane.came = lane.came.map(|came| came - removed);
            lane.floor = lane.floor.map(|floor| floor - removed);
        }
    }
}

impl Lane {
    /// Something has come; returns where it ends.
    fn note(&mut self, packet: &Packet) -> MediaTime {
        if packet.duration > MediaTime::ZERO {
            self.step = packet.duration;
        } else if let Some(came) = self.came {
            // Its end is not known, but that of the one before is by now.
            let step = packet.pts - (came - self.step);
            if step > MediaTime::ZERO && step <= MAX_HOLE {
                self.step = step;
            }
        }
        let end = self.end_of(packet);
        self.came = self.came.max(Some(end));
        end
    }

    fn end_of(&self, packet: &Packet) -> MediaTime {
        packet.pts + if packet.duration > MediaTime::ZERO { packet.duration } else { self.step }
    }
}

/// What a packet takes in memory: one without bytes is not free.
fn weight(packet: &Packet) -> usize {
    packet.data.len() + size_of::<Packet>()
}

fn shift(packet: &mut Packet, by: MediaTime) {
    packet.pts -= by;
    packet.dts = packet.dts.map(|dts| dts - by);
}
