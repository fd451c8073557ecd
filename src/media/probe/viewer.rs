//! What was found → what people in the call will notice, in sentences.

use super::scan::Scan;
use super::{PictureProbe, SHORT_WAIT, TrackProbe, is_playable, seconds};
use crate::media::Codec;
use crate::media::plan::{self, Plan, Refusal, TrackPlan};
use crate::time::MediaTime;

/// Bits per second over one second that a viewer's connection may not carry.
const HIGH_PEAK_BPS: u64 = 4_000_000;
/// Pixels that receivers in a call decode everywhere: 1920 × 1088.
const MANY_PIXELS: u64 = 1920 * 1088;
/// How far the ends of sound and picture may be apart before it is worth a word.
const APART: MediaTime = MediaTime::from_secs(1);

/// What the people in the call see and hear of it.
pub(super) struct Viewer<'a> {
    pub(super) plan: &'a Plan,
    pub(super) tracks: &'a [TrackProbe],
    pub(super) pictures: Option<&'a PictureProbe>,
    pub(super) scans: &'a [Scan],
}

impl Viewer<'_> {
    pub(super) fn sentences(&self) -> Vec<String> {
        if !is_playable(self.plan) {
            let refused = [&self.plan.video, &self.plan.audio];
            let refused = refused.into_iter().filter(|track| matches!(track, TrackPlan::Refused { .. }));
            let reasons = refused.map(TrackPlan::reason);
            let is_converted = |plan: &TrackPlan| matches!(plan, TrackPlan::Refused { refusal, .. } if !matches!(refusal, Refusal::BFrames));
            let first = if is_converted(&self.plan.video) || is_converted(&self.plan.audio) {
                "It does not play as it is; where ffmpeg is installed, that converts it while it plays."
            } else {
                "It does not play as it is."
            };
            return [first.to_owned()].into_iter().chain(reasons).collect();
        }
        let mut all = Vec::new();
        let sound = self.plan.audio.played_track();
        let picture = self.plan.video.played_track();
        match (picture, self.pictures) {
            (Some(index), Some(pictures)) => self.about_pictures(&self.tracks[index], pictures, &mut all),
            (Some(_), None) => {}
            (None, _) => all.push("There is no picture, only sound.".to_owned()),
        }
        match (sound, picture) {
            (Some(sound), Some(picture)) => self.about_both(sound, picture, &mut all),
            (None, _) => all.push("There is no sound, only a picture.".to_owned()),
            _ => {}
        }
        all
    }

    fn about_pictures(&self, track: &TrackProbe, pictures: &PictureProbe, all: &mut Vec<String>) {
        if let Some(degrees @ 1..) = track.rotation {
            all.push(format!("The picture is to be turned by {degrees}°; viewers' programs do that."));
        }
        if matches!(self.plan.video, TrackPlan::Transcode { from: Codec::H264, .. }) {
            all.push(
                "The picture is encoded while it plays, with a keyframe for every viewer who joins."
                    .to_owned(),
            );
            return;
        }
        let seconds = |ms: i64| seconds(MediaTime::from_millis(ms));
        let wait = seconds(pictures.gop_max_ms);
        if pictures.gop_max_ms > SHORT_WAIT.as_millis()
            && plan::can_transcode()
            && track.codec == Codec::H264.name()
        {
            all.push(format!(
                "The file has a keyframe only every {}: for a viewer who joins between two, pictures are encoded up to the next one, so the wait is about half a second.",
                seconds(pictures.gop_median_ms)
            ));
        } else if pictures.gop_max_ms > SHORT_WAIT.as_millis() {
            all.push(format!(
                "A viewer who joins waits up to {wait} for a picture, because the file has a keyframe only every {}.",
                seconds(pictures.gop_median_ms)
            ));
        } else {
            all.push(format!("A viewer who joins sees a picture within {wait}."));
        }
        if track.peak_bps > HIGH_PEAK_BPS {
            all.push(format!(
                "The picture takes up to {:.1} Mbit/s; it freezes for a viewer whose connection carries less.",
                track.peak_bps as f64 / 1e6
            ));
        }
        let (width, height) = (track.width.unwrap_or(0), track.height.unwrap_or(0));
        if u64::from(width) * u64::from(height) > MANY_PIXELS {
            all.push(format!("The picture of {width}×{height} is more than some phones decode in time."));
        }
    }

    fn about_both(&self, sound: usize, picture: usize, all: &mut Vec<String>) {
        let (heard, seen) = (&self.scans[sound], &self.scans[picture]);
        if seen.hidden > MediaTime::ZERO {
            all.push(format!(
                "It begins in the middle of a group of pictures: {} run past quickly before it really starts.",
                seconds(seen.hidden)
            ));
        }
        let (heard_from, seen_from) = (heard.start.unwrap_or_default(), seen.start.unwrap_or_default());
        let gap = heard_from - seen_from;
        if gap.abs() > APART {
            let (first, second) =
                if gap > MediaTime::ZERO { ("picture", "sound") } else { ("sound", "picture") };
            all.push(format!("The {second} begins {} after the {first}.", seconds(gap.abs())));
        }
        let gap = heard.end - seen.end;
        if gap.abs() > APART {
            let (first, last) =
                if gap > MediaTime::ZERO { ("picture", "sound") } else { ("sound", "picture") };
            all.push(format!("The {first} ends {} before the {last}.", seconds(gap.abs())));
        }
    }
}
