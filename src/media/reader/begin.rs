//! An opened container → a reader: the first packets are read, the plan is made, both tracks begin.

use super::clock::{duration_of, origin_of};
use super::pictures::{Pictures, Setup};
use super::sound::Sound;
use super::{Reader, ReaderOptions};
#[cfg(feature = "card")]
use crate::media::card::Card;
use crate::media::card::Sketch;
use crate::media::demux::Demuxer;
use crate::media::pace::Paces;
use crate::media::plan::{Plan, Planner, TrackPlan, remedy};
use crate::media::{MediaError, MediaKind};
use crate::time::MediaTime;

impl Reader {
    /// Reads the first packets of an opened container and makes the plan. `input` is what the
    /// command in an error message calls the file.
    ///
    /// # Errors
    /// When the file is damaged, has nothing to play, or has a track that cannot be played.
    pub fn new(
        demuxer: Box<dyn Demuxer>,
        input: impl Into<String>,
        options: ReaderOptions,
    ) -> Result<Self, MediaError> {
        let input = input.into();
        let sketch = Sketch::unread(&input, &options);
        Self::begin(demuxer, input, options)?.show(sketch)
    }

    /// The same without a card.
    pub(super) fn begin(
        mut demuxer: Box<dyn Demuxer>,
        input: impl Into<String>,
        options: ReaderOptions,
    ) -> Result<Self, MediaError> {
        let input = input.into();
        let mut planner = Planner::new(demuxer.tracks(), options.plan);
        let selection = planner.selection();
        let (mut packets, mut at_end, mut damage, mut n_damaged) = (Vec::new(), false, None, 0);
        while !planner.is_sure() {
            match demuxer.next_packet() {
                Ok(Some(packet)) => {
                    damage = None;
                    planner.look_at(&packet);
                    packets.push(packet);
                }
                Ok(None) => {
                    at_end = true;
                    planner.end();
                    break;
                }
                Err(error) => {
                    n_damaged += 1;
                    damage = Some(error);
                }
            }
        }
        if packets.is_empty()
            && let Some(error) = damage
        {
            return Err(error.into());
        }
        let plan = planner.decide();
        tracing::debug!(%input, audio = %plan.audio, video = %plan.video, "the plan is made");
        refuse(&plan, &input)?;
        let origin = origin_of(&plan, selection, demuxer.tracks(), &packets);
        let sound = match plan.audio.played_track() {
            Some(index) => {
                Some(Sound::new(&demuxer.tracks()[index], plan.audio.is_copy(), origin, &options)?)
            }
            None => None,
        };
        let pictures = match plan.video.played_track() {
            Some(index) => {
                let (order_is_promised, fps) = (planner.order_is_promised(), planner.fps());
                let (options, pixel) = (options.plan.pictures, planner.pixel());
                let setup = Setup { origin, options, order_is_promised, fps, pixel };
                let mut pictures = Pictures::new(&demuxer.tracks()[index], setup);
                if !plan.video.is_copy() {
                    start_transcoder(&mut pictures)?;
                }
                Some(pictures)
            }
            None => None,
        };
        let duration = duration_of(&plan, demuxer.tracks(), &packets, origin);
        let mut reader = Self {
            demuxer,
            input,
            plan,
            origin,
            duration,
            sound,
            pictures,
            at_end: false,
            card: None,
            measuring_for: None,
            damage,
            n_damaged,
            latest: origin,
            paces: Paces::default(),
            shown: MediaTime::ZERO,
        };
        for packet in packets {
            reader.sort(packet);
        }
        if at_end {
            reader.end();
        }
        reader.note_obstacle();
        Ok(reader)
    }

    /// Shows a card from here on, if there is sound and no picture.
    #[cfg(feature = "card")]
    pub(super) fn show(mut self, sketch: Option<Sketch>) -> Result<Self, MediaError> {
        let has_no_picture = matches!(self.plan.video, TrackPlan::None { .. });
        let Some(sketch) = sketch.filter(|_| has_no_picture && self.sound.is_some()) else { return Ok(self) };
        self.card = Some(Card::new(&sketch, self.duration)?);
        let reason = "It has no picture, so a card is drawn and encoded as H.264.".to_owned();
        self.plan.video = TrackPlan::Card { reason };
        Ok(self)
    }

    /// Nothing can draw a card.
    #[cfg(not(feature = "card"))]
    #[expect(clippy::unnecessary_wraps, reason = "where there are cards, an encoder is started")]
    pub(super) fn show(self, _sketch: Option<Sketch>) -> Result<Self, MediaError> {
        Ok(self)
    }
}

/// The thread for pictures that are not copied.
#[cfg(feature = "openh264")]
fn start_transcoder(pictures: &mut Pictures) -> Result<(), MediaError> {
    pictures.start_transcoder().map_err(MediaError::Thread)
}

/// Without the codec no plan transcodes pictures.
#[cfg(not(feature = "openh264"))]
fn start_transcoder(_pictures: &mut Pictures) -> Result<(), MediaError> {
    Ok(())
}

/// A refused track, or no track at all, is an error.
fn refuse(plan: &Plan, input: &str) -> Result<(), MediaError> {
    for (kind, track) in [(MediaKind::Video, &plan.video), (MediaKind::Audio, &plan.audio)] {
        if let TrackPlan::Refused { refusal, .. } = track {
            let (refusal, remedy) = (refusal.clone(), remedy(input, plan));
            return Err(MediaError::Refused { kind, refusal, remedy });
        }
    }
    if plan.audio.played_track().is_none() && plan.video.played_track().is_none() {
        return Err(MediaError::Nothing { why: format!("{} {}", plan.audio.reason(), plan.video.reason()) });
    }
    Ok(())
}
