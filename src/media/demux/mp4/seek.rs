//! Going to a time: by the sample tables, or by the fragments.

use super::fragments::Fragments;
use super::samples::Sample;
use super::track::Mp4Track;
use super::{DemuxError, Mp4, damaged, is_key};
use crate::media::MediaKind;
use crate::media::demux::audio::PRE_ROLL;
use crate::time::MediaTime;

/// How many sync samples that turn out to be no IDR a seek looks behind.
const MAX_OPEN_GOPS: u32 = 64;

/// Where a fragment begins.
struct Place {
    at: u64,
    /// Where the tracks before it ended, for those that do not say where they go on.
    ends: Vec<i64>,
}

impl Mp4 {
    pub(super) fn seek_to(&mut self, to: MediaTime) -> Result<MediaTime, DemuxError> {
        self.pending = None;
        self.ended = false;
        let known = |kind| self.readers.iter().position(|track| track.track.kind == kind && track.is_known());
        let video = known(MediaKind::Video);
        if let Some(reference) = video.or_else(|| known(MediaKind::Audio))
            && let Some(places) = self.places(reference, to)?
        {
            return match video {
                Some(video) => self.seek_fragments(video, &places, to),
                None => self.resume_at(&places, places.len() - 1, None, to - PRE_ROLL),
            };
        }
        self.seek_tables(video, to)
    }

    fn seek_tables(&mut self, video: Option<usize>, to: MediaTime) -> Result<MediaTime, DemuxError> {
        let mut landed = None;
        if let Some(video) = video {
            let key = self.key_before(video, to)?;
            let track = &self.readers[video];
            landed = Some(track.line.at(track.table.times(key).1));
        }
        let near = landed.unwrap_or(to);
        for idx in 0..self.readers.len() {
            let track = &self.readers[idx];
            let index = match track.track.kind {
                MediaKind::Video if track.is_known() => self.key_before(idx, near)?,
                _ => track.table.at_or_before(track.line.ticks(near - PRE_ROLL)),
            };
            self.readers[idx].restart(index, None).map_err(damaged)?;
        }
        if let Some(fragments) = &mut self.fragments {
            fragments.go_to(fragments.first());
        }
        Ok(landed.or_else(|| self.earliest()).unwrap_or(to))
    }

    fn earliest(&self) -> Option<MediaTime> {
        self.readers.iter().filter_map(|track| track.next.map(|next| track.line.at(next.cts))).min()
    }

    /// The last sync sample that is shown at or before `to` and is an IDR indeed.
    fn key_before(&mut self, track: usize, to: MediaTime) -> Result<u32, DemuxError> {
        let Mp4Track { table, line, .. } = &self.readers[track];
        let to = line.ticks(to);
        let (mut low, mut high) = (0, table.n_sync());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if table.times(table.sync_sample(middle)).1 <= to {
                low = middle;
            } else {
                high = middle;
            }
        }
        let nearest = table.sync_sample(low);
        for nth in (low.saturating_sub(MAX_OPEN_GOPS)..=low).rev() {
            let reader = &mut self.readers[track];
            reader.restart(reader.table.sync_sample(nth), None).map_err(damaged)?;
            let Some(sample) = self.readers[track].next else { break };
            let data = self.read(track, &sample)?;
            if self.is_key(track, &data) {
                return Ok(sample.index);
            }
        }
        Ok(nearest)
    }

    fn is_key(&self, track: usize, data: &[u8]) -> bool {
        let reader = &self.readers[track];
        match &reader.entry.annexb {
            Some(annexb) => annexb.is_key(data),
            None => is_key(&reader.track.codec, data),
        }
    }

    /// The fragments up to the one that `to` falls into. `None`: `to` falls into the tables.
    fn places(&mut self, track: usize, to: MediaTime) -> Result<Option<Vec<Place>>, DemuxError> {
        let Some(fragments) = &mut self.fragments else { return Ok(None) };
        let id = self.readers[track].id;
        let line = self.readers[track].line;
        let mut ends: Vec<_> = self.readers.iter().map(|track| track.table.total_ticks()).collect();
        let mut places: Vec<Place> = Vec::new();
        fragments.go_to(fragments.first());
        loop {
            let (at, pieces) = match fragments.read(&mut self.reader) {
                Ok(Some(found)) => found,
                // What was found before a damaged place can still be gone to.
                Ok(None) | Err(DemuxError::Damaged { .. } | DemuxError::Truncated { .. }) => break,
                Err(error) => return Err(error),
            };
            let start = pieces.iter().find(|piece| piece.track_id == id).map(|piece| piece.start);
            let before = ends.clone();
            for piece in &pieces {
                if let Some(idx) = self.readers.iter().position(|reader| reader.id == piece.track_id) {
                    ends[idx] = piece.start.unwrap_or(ends[idx]).saturating_add(piece.ticks());
                }
            }
            let Some(start) = start else { continue };
            let time = line.at(start.unwrap_or(before[track]));
            if time > to && !(places.is_empty() && self.readers[track].table.n_samples() == 0) {
                break;
            }
            places.push(Place { at, ends: before });
        }
        Ok((!places.is_empty()).then_some(places))
    }

    /// Goes to the last keyframe before `to` in the fragments.
    fn seek_fragments(
        &mut self,
        video: usize,
        places: &[Place],
        to: MediaTime,
    ) -> Result<MediaTime, DemuxError> {
        let nearest = places.len() - 1;
        for nth in (nearest.saturating_sub(MAX_OPEN_GOPS as usize)..=nearest).rev() {
            if let Some(key) = self.key_in(video, &places[nth], to)? {
                return self.resume_at(places, nth, Some((video, key)), to);
            }
        }
        // No keyframe is early enough: the first fragment begins with one, if any does.
        let first = self.resume_at(places, 0, None, -MediaTime::MAX)?;
        let track = &self.readers[video];
        Ok(track.next.map_or(first, |next| track.line.at(next.cts)))
    }

    /// The last keyframe of a fragment that is shown at or before `to`.
    fn key_in(&mut self, video: usize, place: &Place, to: MediaTime) -> Result<Option<Sample>, DemuxError> {
        let Some(fragments) = &mut self.fragments else { return Ok(None) };
        fragments.go_to(place.at);
        let Some((_, pieces)) = fragments.read(&mut self.reader)? else { return Ok(None) };
        let track = &self.readers[video];
        let Some(piece) = pieces.iter().find(|piece| piece.track_id == track.id) else { return Ok(None) };
        let line = track.line;
        let samples = piece.shifted(piece.start.unwrap_or(place.ends[video]));
        let sync: Vec<_> =
            samples.filter(|(sample, sync)| *sync && sample.size > 0 && line.at(sample.cts) <= to).collect();
        for (sample, _) in sync.into_iter().rev() {
            let data = self.read(video, &sample)?;
            if self.is_key(video, &data) {
                return Ok(Some(sample));
            }
        }
        Ok(None)
    }

    /// Delivers from a fragment on: pictures from the keyframe, sound a little before it, or, for
    /// sound alone, from the packet that `from` falls into.
    fn resume_at(
        &mut self,
        places: &[Place],
        nth: usize,
        key: Option<(usize, Sample)>,
        from: MediaTime,
    ) -> Result<MediaTime, DemuxError> {
        // Sound that belongs to the picture may stand in the fragment before.
        let start = &places[nth.saturating_sub(1)];
        for (track, end) in self.readers.iter_mut().zip(&start.ends) {
            track.restart(u32::MAX, Some(*end)).map_err(damaged)?;
        }
        if let Some(fragments) = &mut self.fragments {
            fragments.go_to(start.at);
        }
        let landed = key.map(|(video, key)| self.readers[video].line.at(key.cts));
        let sound_from = landed.map_or(from, |landed| landed - PRE_ROLL);
        loop {
            self.fill()?;
            let too_early = |track: &Mp4Track| {
                track.next.is_some_and(|next| match (track.track.kind, key) {
                    (MediaKind::Video, Some((video, key))) => {
                        track.line.dts(&next) < self.readers[video].line.dts(&key)
                    }
                    (MediaKind::Video, None) => false,
                    (MediaKind::Audio, _) => {
                        track.line.at(next.cts) + track.line.duration(next.delta) <= sound_from
                    }
                })
            };
            let Some(idx) = self.readers.iter().position(too_early) else { break };
            // Sound that ends before `from` goes on from its last packet.
            let more =
                self.readers[idx].n_queued() > 0 || !self.fragments.as_ref().is_none_or(Fragments::ended);
            if !more {
                break;
            }
            self.readers[idx].step().map_err(damaged)?;
        }
        Ok(landed.or_else(|| self.earliest()).unwrap_or(from))
    }
}
