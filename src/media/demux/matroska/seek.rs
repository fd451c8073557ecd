//! Going to a time: by the cues, or, in files without them, by the times of the clusters.
//!
//! A cue only says in which cluster to look, so the blocks from there on are read until the
//! keyframe is found. Sound that belongs to it may stand in the cluster before, so reading
//! resumes there, and what is too early is left out.

use super::ebml::{Elements, Header, Id, child, unsigned};
use super::{CLUSTER, CUES, DemuxError, Demuxer, Matroska, MediaKind, MediaTime, TIMESTAMP, read_element};
use crate::media::demux::audio::PRE_ROLL;

const CUE_POINT: Id = 0xbb;
const CUE_TIME: Id = 0xb3;
const CUE_TRACK_POSITIONS: Id = 0xb7;
const CUE_TRACK: Id = 0xf7;
const CUE_CLUSTER_POSITION: Id = 0xf1;

/// Blocks this far behind the wanted time prove that no earlier keyframe follows.
const FAR_ENOUGH: MediaTime = MediaTime::from_secs(1);
/// Blocks in which the first one of every track is looked for.
const MAX_FIRST_BLOCKS: usize = 256;
/// Clusters of a second each for two weeks.
const MAX_PLACES: usize = 1 << 20;

/// Where delivery begins after a seek.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Resume {
    /// Pictures in blocks before this position are left out.
    pub(super) pictures_from: u64,
    /// Sound that ends before this time is left out.
    pub(super) sound_from: Option<MediaTime>,
}

/// Known places in the file, in order.
#[derive(Debug, Default)]
pub(super) struct Index {
    places: Vec<Place>,
    /// The whole file is covered.
    complete: bool,
    /// Where to look for more clusters.
    scanned_to: Option<u64>,
}

/// A cluster and a time that it is good for.
#[derive(Clone, Copy, Debug)]
struct Place {
    time: MediaTime,
    at: u64,
}

/// A keyframe found.
#[derive(Clone, Copy, Debug)]
struct Key {
    time: MediaTime,
    block: u64,
}

impl Matroska {
    pub(super) fn seek_to(&mut self, to: MediaTime) -> Result<MediaTime, DemuxError> {
        self.learn_starts()?;
        let known = |kind| self.readers.iter().position(|r| r.track.kind == kind && r.is_known());
        let Some(video) = known(MediaKind::Video) else { return self.seek_sound(to) };
        let number = self.readers[video].number;
        self.index_until(to, Some(number))?;
        let mut place = self.place_before(to);
        let key = loop {
            if let Some(key) = self.find_key(video, self.at(place), to)? {
                break Some(key);
            }
            match place.checked_sub(1) {
                Some(earlier) => place = earlier,
                None => break None,
            }
        };
        // All keyframes are later than `to`: the first one.
        let key = match key {
            Some(key) => Some(key),
            None => self.find_key(video, self.layout.first_cluster, MediaTime::MAX)?,
        };
        let Some(key) = key else {
            self.jump(self.layout.first_cluster, Resume::default());
            return Ok(to);
        };
        // The last place before the cluster of the keyframe: sound may lag behind it.
        let place = self.index.places.partition_point(|place| place.at <= key.block);
        let from = self.at_or_first(place.checked_sub(2));
        self.jump(from, Resume { pictures_from: key.block, sound_from: Some(key.time - PRE_ROLL) });
        Ok(key.time)
    }

    /// Reads the first blocks, when nobody has yet: what is thrown away at the start, and the grid
    /// that times stand on, are known from there only.
    fn learn_starts(&mut self) -> Result<(), DemuxError> {
        let learned =
            |this: &Self| this.readers.iter().all(|reader| !reader.is_known() || reader.knows_its_start());
        if learned(self) {
            return Ok(());
        }
        self.jump(self.layout.first_cluster, Resume::default());
        for _ in 0..MAX_FIRST_BLOCKS {
            match self.next_packet() {
                Ok(Some(_)) if !learned(self) => {}
                Err(DemuxError::Io(error)) => return Err(error.into()),
                _ => break,
            }
        }
        Ok(())
    }

    fn seek_sound(&mut self, to: MediaTime) -> Result<MediaTime, DemuxError> {
        let from = to - PRE_ROLL;
        self.index_until(from, None)?;
        let place = self.place_before(from);
        let at = self.at(place);
        self.jump(at, Resume { pictures_from: 0, sound_from: Some(from) });
        let mut first = self.next_packet()?;
        if first.is_none() {
            // Behind the end: what the last place has.
            self.jump(at, Resume::default());
            first = self.next_packet()?;
        }
        let Some(first) = first else { return Ok(to) };
        let pts = first.pts;
        self.ready.push_front(first);
        Ok(pts)
    }

    fn jump(&mut self, at: u64, resume: Resume) {
        self.reader.seek(at);
        self.cluster_time = 0;
        self.ready.clear();
        self.ended = false;
        self.resume = resume;
        for reader in &mut self.readers {
            reader.jumped();
        }
    }

    /// The last keyframe at or before `to` (the first at all for [`MediaTime::MAX`]) in the
    /// clusters from `at` on.
    fn find_key(&mut self, video: usize, at: u64, to: MediaTime) -> Result<Option<Key>, DemuxError> {
        self.jump(at, Resume::default());
        let mut found = None;
        loop {
            let (position, block) = match self.next_block() {
                Ok(Some(next)) => next,
                Ok(None) => return Ok(found),
                // What can be read before the file is cut off counts; damage is passed.
                Err(DemuxError::Io(error)) => return Err(error.into()),
                Err(_) => continue,
            };
            if self.track_of(&block) != Some(video) {
                continue;
            }
            let reader = &self.readers[video];
            let rough = reader.rough_pts(self.block_time(&block).time);
            let is_key = reader.is_key(&block);
            if rough > to + self.layout.tick() && (is_key || rough > to + FAR_ENOUGH) {
                return Ok(found);
            }
            if is_key {
                let time = self.time_of(video, &block)?;
                if time <= to {
                    found = Some(Key { time, block: position });
                }
                if to == MediaTime::MAX {
                    return Ok(found);
                }
            }
        }
    }

    /// The exact time that the packet of a block will have.
    fn time_of(&mut self, video: usize, block: &super::Block) -> Result<MediaTime, DemuxError> {
        let at = self.block_time(block);
        let packets = self.readers[video].packets(video, block, at).map_err(super::damaged)?;
        Ok(packets.first().map_or(at.time, |packet| packet.pts))
    }

    fn place_before(&self, to: MediaTime) -> usize {
        self.index.places.partition_point(|place| place.time <= to).saturating_sub(1)
    }

    fn at(&self, place: usize) -> u64 {
        self.at_or_first(Some(place))
    }

    fn at_or_first(&self, place: Option<usize>) -> u64 {
        let place = place.and_then(|place| self.index.places.get(place));
        place.map_or(self.layout.first_cluster, |place| place.at)
    }

    /// Makes the index cover the file up to a time.
    fn index_until(&mut self, to: MediaTime, track: Option<u64>) -> Result<(), DemuxError> {
        if self.index.places.is_empty() && !self.index.complete && self.index.scanned_to.is_none() {
            if let Some(cues) = self.layout.cues {
                self.index.places = self.read_cues(cues, track).unwrap_or_default();
                self.index.complete = !self.index.places.is_empty();
            }
            self.index.scanned_to = Some(self.layout.first_cluster);
        }
        let reached = |index: &Index| index.places.last().is_some_and(|place| place.time > to);
        while !self.index.complete && !reached(&self.index) {
            self.scan_cluster()?;
        }
        Ok(())
    }

    /// The cues of a track, or all of them where it has none. Damaged ones are as good as none.
    fn read_cues(&mut self, at: u64, track: Option<u64>) -> Option<Vec<Place>> {
        let cues = read_element(&mut self.reader, at, CUES).ok()?;
        let read = |only: Option<u64>| -> Vec<Place> {
            let points = Elements(cues.clone()).filter(|(id, _)| *id == CUE_POINT);
            let place = |point: &bytes::Bytes| {
                let ticks = i64::try_from(unsigned(&child(point, CUE_TIME)?)?).ok()?;
                let positions = child(point, CUE_TRACK_POSITIONS)?;
                if only.is_some() && child(&positions, CUE_TRACK).and_then(|n| unsigned(&n)) != only {
                    return None;
                }
                let at = unsigned(&child(&positions, CUE_CLUSTER_POSITION)?)?;
                let at = self.layout.segment_start.checked_add(at)?;
                Some(Place { time: self.layout.time(ticks), at })
            };
            points.take(MAX_PLACES).filter_map(|(_, point)| place(&point)).collect()
        };
        let mut places = read(track);
        if places.is_empty() {
            places = read(None);
        }
        places.retain(|place| (self.layout.first_cluster..self.reader.len()).contains(&place.at));
        places.sort_by_key(|place| (place.time, place.at));
        Some(places)
    }

    /// Adds the next cluster to the index.
    fn scan_cluster(&mut self) -> Result<(), DemuxError> {
        self.reader.seek(self.index.scanned_to.unwrap_or(self.layout.first_cluster));
        loop {
            let at = self.reader.pos();
            let full = self.index.places.len() >= MAX_PLACES;
            if full || self.reader.left() == 0 || self.layout.segment_end.is_some_and(|end| at >= end) {
                self.index.complete = true;
                return Ok(());
            }
            match Header::read(&mut self.reader)? {
                Some(Header { id: CLUSTER, size, .. }) => {
                    let inside = self.reader.pos();
                    let time = self.cluster_time_here()?;
                    self.reader.seek(inside);
                    if let Some(size) = size {
                        self.reader.skip(size);
                    }
                    self.index.scanned_to = Some(self.reader.pos());
                    if let Some(time) = time {
                        self.index.places.push(Place { time, at });
                        return Ok(());
                    }
                }
                Some(Header { size: Some(size), .. }) => self.reader.skip(size),
                _ => {
                    self.reader.seek(at + 1);
                    super::find_cluster(&mut self.reader)?;
                    if self.reader.left() < 4 {
                        self.index.complete = true;
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The time of the cluster whose first child is next.
    fn cluster_time_here(&mut self) -> Result<Option<MediaTime>, DemuxError> {
        // A checksum and the like may come first.
        for _ in 0..8 {
            match Header::read(&mut self.reader)? {
                Some(Header { id: TIMESTAMP, size: Some(size @ 0..=8), .. }) => {
                    let value = self.reader.take(size, 8, "a timestamp").ok();
                    let ticks = value.and_then(|value| i64::try_from(unsigned(&value)?).ok());
                    return Ok(ticks.map(|ticks| self.layout.time(ticks)));
                }
                Some(Header { size: Some(size), .. }) => self.reader.skip(size),
                _ => return Ok(None),
            }
        }
        Ok(None)
    }
}
