//! Picture number → an encoded picture.

use bytes::Bytes;

use super::scene::Scene;
use super::spec::PictureSpec;
use super::{DemuxError, Packet};
use crate::media::codec::h264::coder::{CoderError, Encoder, EncoderOptions};
use crate::media::codec::h264::{AnnexB, AvcConfig};
use crate::media::transcode::bitrate_for;
use crate::time::MediaTime;

/// Draws and encodes; every second begins with a keyframe, which is the first that flashes.
pub(super) struct Pictures {
    spec: PictureSpec,
    scene: Scene,
    encoder: Encoder,
    /// Says of a picture what a demuxer has to say.
    units: AnnexB,
    config: Bytes,
    next: u64,
}

impl Pictures {
    pub(super) fn new(spec: PictureSpec, bitrate_bps: Option<u32>) -> Result<Self, DemuxError> {
        let fps = spec.fps();
        let bitrate_bps = bitrate_bps.unwrap_or_else(|| bitrate_for(spec.size, fps));
        let options = EncoderOptions { size: spec.size, fps, bitrate_bps, key_every: 0 };
        // The parameter sets are known only when a picture has been encoded: this one is for them.
        let mut first = Encoder::new(options).map_err(failed)?;
        let mut scene = Scene::new(spec);
        let encoded = first.encode(&scene.draw(0), true).map_err(failed)?;
        let sets = AvcConfig::parse(&encoded.map(|encoded| encoded.data).unwrap_or_default())
            .map_err(|error| DemuxError::Damaged { format: super::FORMAT, what: error.to_string() })?;
        let (units, config) = (AnnexB::new(&sets), sets.to_annex_b());
        Ok(Self { spec, scene, encoder: Encoder::new(options).map_err(failed)?, units, config, next: 0 })
    }

    /// SPS and PPS.
    pub(super) fn config(&self) -> Bytes {
        self.config.clone()
    }

    /// When the next picture is seen.
    pub(super) fn next_at(&self) -> MediaTime {
        self.spec.at(self.next)
    }

    pub(super) fn next(&mut self, track: usize, end: MediaTime) -> Result<Packet, DemuxError> {
        let (n, pts) = (self.next, self.next_at());
        let is_first = self.spec.first_of(self.spec.second_of(n)) == n;
        let encoded = self.encoder.encode(&self.scene.draw(n), is_first).map_err(failed)?;
        self.next += 1;
        let data = encoded.map(|encoded| encoded.data).unwrap_or_default();
        let unit = self.units.convert(&data);
        let unit =
            unit.map_err(|error| DemuxError::Damaged { format: super::FORMAT, what: error.to_string() })?;
        Ok(Packet {
            track,
            pts,
            dts: Some(pts),
            duration: self.next_at().min(end) - pts,
            key: unit.key,
            trim_start: 0,
            trim_end: 0,
            data: unit.data,
        })
    }

    /// Goes to the beginning of the second that `to` falls into.
    pub(super) fn seek(&mut self, to: MediaTime) -> MediaTime {
        let second = u64::try_from(to.floor_to(MediaTime::from_secs(1)).to_ticks(1)).unwrap_or(0);
        self.next = self.spec.first_of(second);
        self.next_at()
    }
}

fn failed(error: CoderError) -> DemuxError {
    DemuxError::Coder(error)
}
