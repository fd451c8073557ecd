//! What was seen and heard → the report that people and programs read, and its verdict.

use serde::{Deserialize, Serialize};

use super::hearing::Hearing;
use super::sight::Sight;
use super::{Reception, Wanted};
use crate::time::MediaTime;

/// A flash and a beep farther apart than this belong to different seconds.
const PAIRED_WITHIN: MediaTime = MediaTime::from_millis(500);

/// Of the pictures of a clip so many may be missing when packets were lost; when none were, none may.
const MAX_MISSING_SHARE: f64 = 0.02;

/// So much of the time may be frozen: a browser hides less than that from nobody.
const MAX_FROZEN_SHARE: f64 = 0.05;

/// What has not come for so long when the report is made has stopped; less may be on its way.
const STOPPED_AFTER: MediaTime = MediaTime::from_millis(500);

/// Sound is not sent again, so of 5 % lost packets 5 % are concealed; twice that is heard as damage.
const MAX_CONCEALED_SHARE: f64 = 0.10;

/// Sound and picture of a clip: the median (a constant offset) and the worst single second.
const MAX_MEDIAN_SKEW_MS: f64 = 5.0;
const MAX_SKEW_MS: f64 = 20.0;

/// The truth of the clips, and how far off it may be.
const CLIP_HZ: f64 = 440.0;
const MAX_HZ_ERROR: f64 = 1.0;
const CLIP_DBFS: [f64; 2] = [-18.0, -24.0];
const MAX_DB_ERROR: f64 = 1.0;
const MIN_FPS_SHARE: f64 = 0.9;

/// Sound without pictures is that of a clip when it has so many beeps a whole second apart.
const CLIP_BEEPS: usize = 2;
const BEEP_JITTER: MediaTime = MediaTime::from_millis(2);

/// So many seconds must pass before the lack of a flash or beep means anything.
const JUDGED_AFTER: MediaTime = MediaTime::from_secs(4);

/// What a participant saw and heard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// `ok` or `bad`.
    pub verdict: Verdict,
    /// Milliseconds from the wish to join until the first media packet.
    pub join_ms: u64,
    /// `None` when no video came, or none was wanted: what a call sends besides is not judged.
    pub video: Option<VideoReport>,
    /// `None` when no sound came, or none was wanted: a call without sound carries silence.
    pub audio: Option<AudioReport>,
    /// How far sound and picture are apart; `None` where flashes and beeps were not both found.
    pub av_skew_ms: Option<Skew>,
    /// Packets that did not come when they should have.
    pub packets_lost: u64,
    /// Those of them that came later.
    pub packets_repaired: u64,
    /// Frames that came, and that the receiver itself was too slow to decode: a busy machine,
    /// not a fault of the stream.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub frames_dropped: u64,
    /// What the sender meant to do; not measured, so filled in by whoever knows.
    pub plan: Option<serde_json::Value>,
    /// The way by which the sender joined, for whoever knows it to fill in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signaling: Option<String>,
    /// Why the verdict is bad, each in one sentence; empty when it is ok.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// Whether what was seen and heard is good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing a person would complain about.
    Ok,
    /// See [`Report::reasons`].
    Bad,
}

/// The received pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VideoReport {
    /// Name of the codec as FFmpeg has it.
    pub codec: String,
    /// Pixels in a row of the latest picture.
    pub width: usize,
    /// Rows of the latest picture.
    pub height: usize,
    /// Pictures that came out of the decoder.
    pub frames_decoded: u64,
    /// Pictures per second between the first and the last.
    pub fps: f64,
    /// As `freezeCount` of the W3C's WebRTC statistics, counted at the decoder.
    pub freezes: u64,
    /// Numbers that no decoded picture carried; `None` when the pictures carry none.
    pub frame_numbers_missing: Option<u64>,
}

/// The received sound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AudioReport {
    /// Name of the codec as FFmpeg has it.
    pub codec: String,
    /// Packets received.
    pub packets: u64,
    /// The strongest tone outside beeps; `None` when there was too little sound or only silence.
    pub dominant_hz: Option<f64>,
    /// RMS of the left channel outside beeps; 0 dBFS is an RMS of full scale.
    pub left_dbfs: Option<f64>,
    /// RMS of the right channel outside beeps.
    pub right_dbfs: Option<f64>,
    /// Milliseconds of sound that the decoder had to make up or that came too late.
    pub concealed_ms: u64,
}

/// When beeps were heard after their flashes were seen, in milliseconds; negative: before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Skew {
    /// The constant offset.
    pub median: f64,
    /// The one that is farthest from zero.
    pub max: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

pub(super) fn make(sight: &Sight, hearing: &Hearing, reception: &Reception, wanted: Wanted) -> Report {
    let mut report = Report {
        verdict: Verdict::Ok,
        join_ms: u64::try_from(reception.join.as_millis()).unwrap_or(u64::MAX),
        video: reception.video.as_ref().filter(|_| wanted.video).map(|codec| VideoReport {
            codec: codec.name().to_owned(),
            width: sight.size.0,
            height: sight.size.1,
            frames_decoded: sight.n_pictures,
            fps: round(sight.fps().unwrap_or(0.0), 2),
            freezes: sight.n_freezes,
            frame_numbers_missing: (sight.n_numbered > 0).then_some(sight.n_missing),
        }),
        audio: reception.audio.as_ref().filter(|_| wanted.audio).map(|codec| {
            let levels = hearing.levels_dbfs();
            AudioReport {
                codec: codec.name().to_owned(),
                packets: reception.audio_packets,
                dominant_hz: hearing.dominant_hz().map(|hz| round(hz, 1)),
                left_dbfs: levels.map(|[left, _]| round(left, 2)),
                right_dbfs: levels.map(|[_, right]| round(right, 2)),
                concealed_ms: u64::try_from(hearing.concealed.as_millis()).unwrap_or(0),
            }
        }),
        av_skew_ms: skew(sight, hearing).filter(|_| wanted.video && wanted.audio),
        packets_lost: reception.packets_lost,
        packets_repaired: reception.packets_repaired,
        frames_dropped: reception.frames_dropped,
        plan: None,
        signaling: None,
        reasons: Vec::new(),
    };
    let mut judge = Judge { sight, hearing, now: reception.now, wanted, reasons: Vec::new() };
    judge.judge(&report);
    report.reasons = judge.reasons;
    if !report.reasons.is_empty() {
        report.verdict = Verdict::Bad;
    }
    report
}

/// Pairs each flash with the nearest beep.
fn skew(sight: &Sight, hearing: &Hearing) -> Option<Skew> {
    let nearest = |flash: &MediaTime| {
        let distances = hearing.beeps.iter().map(|beep| *beep - *flash);
        distances.min_by_key(|distance| distance.abs()).filter(|distance| distance.abs() < PAIRED_WITHIN)
    };
    let mut skews: Vec<f64> =
        sight.flashes.iter().filter_map(nearest).map(|distance| distance.as_secs_f64() * 1000.0).collect();
    skews.sort_by(f64::total_cmp);
    let worst = skews.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()))?;
    let middle = skews.len() / 2;
    let median = if skews.len() % 2 == 1 { skews[middle] } else { skews[middle - 1].midpoint(skews[middle]) };
    Some(Skew { median: round(median, 2), max: round(worst, 2) })
}

/// Collects what is wrong.
struct Judge<'a> {
    sight: &'a Sight,
    hearing: &'a Hearing,
    now: MediaTime,
    wanted: Wanted,
    reasons: Vec<String>,
}

impl Judge<'_> {
    fn judge(&mut self, report: &Report) {
        match &report.video {
            Some(video) => self.judge_video(video, report.packets_lost + report.frames_dropped),
            None => self.complain(self.wanted.video, || "no video came".to_owned()),
        }
        match &report.audio {
            Some(audio) => self.judge_audio(audio),
            None => self.complain(self.wanted.audio, || "no sound came".to_owned()),
        }
        self.complain(!self.wanted.video && !self.wanted.audio, || {
            "neither sound nor pictures were wanted, so there is nothing to judge".to_owned()
        });
        let n_dropped = report.frames_dropped;
        self.complain(n_dropped > 0, || {
            format!("the receiver was too slow for {n_dropped} frames; measure on a less busy machine")
        });
        self.judge_skew(report);
    }

    fn judge_video(&mut self, video: &VideoReport, n_lost: u64) {
        let n_pictures = video.frames_decoded;
        self.complain(n_pictures < 2, || {
            format!("video came, but {}", if n_pictures == 0 { "no picture" } else { "only one picture" })
        });
        let stopped = self.stopped(self.sight.last_arrival());
        let frozen = (self.sight.frozen + stopped).as_secs_f64();
        let span = (self.sight.span() + stopped).as_secs_f64();
        self.complain(frozen > span * MAX_FROZEN_SHARE, || {
            format!("the picture stood still for {frozen:.1} of {span:.1} s")
        });
        if let Some(n_missing) = video.frame_numbers_missing {
            let share = n_missing as f64 / (n_missing + n_pictures).max(1) as f64;
            self.complain(n_missing > 0 && n_lost == 0, || {
                format!("{n_missing} pictures are missing although no packet was lost")
            });
            self.complain(n_lost > 0 && share > MAX_MISSING_SHARE, || {
                format!("{n_missing} pictures are missing, {:.0} % of all", share * 100.0)
            });
            let fps = self.sight.numbered_fps();
            self.complain(n_pictures >= 2 && video.fps < fps * MIN_FPS_SHARE, || {
                format!("{} pictures came per second instead of {fps:.0}", video.fps)
            });
        }
    }

    fn judge_audio(&mut self, audio: &AudioReport) {
        let stopped = self.stopped(self.hearing.last_arrival);
        let concealed = (self.hearing.concealed + stopped).as_secs_f64();
        let heard = (self.hearing.heard + stopped).as_secs_f64();
        self.complain(heard == 0.0, || "sound came, but none that could be decoded".to_owned());
        self.complain(concealed > heard * MAX_CONCEALED_SHARE, || {
            format!("{concealed:.1} of {heard:.1} s of sound were missing")
        });
        if self.is_clip() && heard > 0.0 {
            self.judge_tone(audio);
        }
    }

    fn judge_tone(&mut self, audio: &AudioReport) {
        let hz = audio.dominant_hz;
        self.complain(hz.is_none_or(|hz| (hz - CLIP_HZ).abs() > MAX_HZ_ERROR), || {
            format!("the tone is {} instead of {CLIP_HZ} Hz", or_nothing(hz, "Hz"))
        });
        let channels = [("left", audio.left_dbfs), ("right", audio.right_dbfs)];
        for ((name, level), right) in channels.into_iter().zip(CLIP_DBFS) {
            self.complain(level.is_none_or(|level| (level - right).abs() > MAX_DB_ERROR), || {
                format!("the {name} channel has {} instead of {right} dBFS", or_nothing(level, "dBFS"))
            });
        }
    }

    fn judge_skew(&mut self, report: &Report) {
        if let Some(skew) = report.av_skew_ms {
            self.complain(skew.median.abs() > MAX_MEDIAN_SKEW_MS, || {
                format!("sound and picture are {} ms apart", skew.median)
            });
            self.complain(skew.max.abs() > MAX_SKEW_MS, || {
                format!("sound and picture are up to {} ms apart", skew.max)
            });
        } else {
            let both = self.sight.n_numbered > 0 && report.audio.is_some();
            let long = self.sight.span() >= JUDGED_AFTER && self.hearing.heard >= JUDGED_AFTER;
            self.complain(both && long, || "no flash and beep of the same second were found".to_owned());
        }
    }

    /// How long nothing has come, if that is long enough to mean anything.
    fn stopped(&self, last_arrival: Option<MediaTime>) -> MediaTime {
        let idle = last_arrival.map_or(MediaTime::ZERO, |last| self.now - last);
        if idle > STOPPED_AFTER { idle } else { MediaTime::ZERO }
    }

    /// The clips number their pictures and beep each second.
    fn is_clip(&self) -> bool {
        let beeps = &self.hearing.beeps;
        let whole = |(a, b): (&MediaTime, &MediaTime)| {
            let second = MediaTime::from_secs(1);
            let distance = *b - *a;
            (distance - (distance + MediaTime::from_millis(500)).floor_to(second)).abs() <= BEEP_JITTER
        };
        let n_whole = beeps.iter().zip(beeps.iter().skip(1)).filter(|pair| whole(*pair)).count();
        self.sight.n_numbered > 0 || n_whole + 1 >= CLIP_BEEPS.max(beeps.len().div_ceil(2))
    }

    fn complain(&mut self, wrong: bool, reason: impl FnOnce() -> String) {
        if wrong {
            self.reasons.push(reason());
        }
    }
}

fn or_nothing(value: Option<f64>, unit: &str) -> String {
    value.map_or_else(|| "not there".to_owned(), |value| format!("{value} {unit}"))
}

fn round(value: f64, n_digits: i32) -> f64 {
    let scale = 10_f64.powi(n_digits);
    (value * scale).round() / scale
}
