//! The rows of the table: what each measures, and what was wanted.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::run::{self, Sample, Setting, quantile};
use crate::{Options, Row};

const OPUS: &str = "music.ogg";
const MP3: &str = "music.mp3";
const PICTURES: &str = "clip.mkv";

/// As Telegram's servers are from most of Europe.
const ROUND_TRIP: Duration = Duration::from_millis(40);

/// A search goes on by a quarter, and then by a half of that, until the steps are as small as
/// this share of where it stands.
const FINEST: f64 = 0.06;

/// What is asked of each call in a search: gaps of sound, and pictures a second.
const GAP_P99_MS: f64 = 25.0;
const LEAST_FPS: f64 = 29.5;

/// A row, measured.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    what: String,
    calls: usize,
    target: String,
    measured: String,
    met: bool,
    /// The measured value of every run.
    values: Vec<f64>,
    #[serde(flatten)]
    around: Option<Around>,
}

/// What else was to be seen in the run that is the median.
#[derive(Debug, Serialize)]
struct Around {
    gap_p50_ms: f64,
    gap_p99_ms: f64,
    gap_max_ms: f64,
    bare_gap_p99_ms: f64,
    bare_gap_max_ms: f64,
    lost_sound: u64,
    lost_pictures: u64,
    unread_by_emulator: u64,
    emulator_cores: f64,
    others_cores: f64,
}

impl Around {
    fn of(sample: &Sample) -> Self {
        let gap = |share| quantile(&sample.gaps, share);
        Self {
            gap_p50_ms: gap(0.5),
            gap_p99_ms: gap(0.99),
            gap_max_ms: gap(1.0),
            bare_gap_p99_ms: quantile(&sample.bare_gaps, 0.99),
            bare_gap_max_ms: quantile(&sample.bare_gaps, 1.0),
            lost_sound: sample.lost_sound,
            lost_pictures: sample.lost_pictures,
            unread_by_emulator: sample.unread,
            emulator_cores: sample.cpu.emulator / sample.seconds,
            others_cores: sample.cpu.others / sample.seconds,
        }
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, calls, target, measured, met, around, .. } = self;
        let verdict = if *met { "" } else { ", missed" };
        write!(f, "| {what} | {calls} | {target} | {measured}{verdict} |")?;
        let Some(around) = around else { return write!(f, " – | – | – | – | – |") };
        let lost = match (around.lost_sound + around.lost_pictures, around.unread_by_emulator) {
            (lost, 0) => lost.to_string(),
            (lost, unread) => format!("{lost}, {unread} of them unread by the emulator"),
        };
        write!(
            f,
            " {:.1} / {:.1} / {:.1} ms | {:.1} / {:.1} ms | {lost} | {:.2} | {:.2} |",
            around.gap_p50_ms,
            around.gap_p99_ms,
            around.gap_max_ms,
            around.bare_gap_p99_ms,
            around.bare_gap_max_ms,
            around.emulator_cores,
            around.others_cores
        )
    }
}

/// Measures a row.
pub(crate) fn measure(row: Row, options: &Options, runtime: &Runtime) -> Result<Figures> {
    let bench = Bench { options, runtime };
    match row {
        Row::Opus => bench.cpu("Opus copied, 20 ms stereo", OPUS, 400, 0.0005),
        Row::Mp3 => bench.cpu("mp3, one decode and one encode", MP3, 100, 0.0007),
        Row::Video => bench.cpu("720p30 and Opus copied", PICTURES, 40, 0.003),
        Row::AudioMemory => bench.memory("memory of one audio call more", OPUS, 400, 250.0),
        Row::VideoMemory => bench.memory("memory of one video call more", PICTURES, 40, 1200.0),
        Row::MostAudio => bench.most("most audio calls", OPUS, 400, 1000),
        Row::MostVideo => bench.most("most video calls", PICTURES, 40, 150),
        Row::Gaps => bench.gaps(),
        Row::Skew => bench.skew(),
        Row::Join => bench.join(),
        Row::Stop => bench.stop(),
    }
}

struct Bench<'a> {
    options: &'a Options,
    runtime: &'a Runtime,
}

impl Bench<'_> {
    fn setting(&self, clip: &'static str, n_calls: usize) -> Setting<'_> {
        Setting {
            program: &self.options.program,
            clip,
            sound_only: clip != PICTURES,
            n_calls,
            length: self.options.length(),
            round_trip: Duration::ZERO,
            n_shards: self.options.shards.map_or(if clip == PICTURES { 64 } else { 16 }, usize::from),
        }
    }

    fn n_calls(&self, usual: usize) -> usize {
        self.options.calls.map_or(usual, usize::from)
    }

    /// As many runs as are wanted, in the order of `value`; the one in the middle counts.
    fn runs(&self, setting: &Setting<'_>, value: impl Fn(&Sample) -> f64) -> Result<(Vec<f64>, Sample)> {
        let mut samples = Vec::new();
        for _ in 0..self.options.runs {
            let sample = run::measure(setting, self.runtime)?;
            samples.push((value(&sample), sample));
        }
        samples.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let values = samples.iter().map(|(value, _)| *value).collect();
        let (_, middle) = samples.swap_remove(samples.len() / 2);
        Ok((values, middle))
    }

    fn cpu(&self, what: &str, clip: &'static str, usual: usize, target: f64) -> Result<Figures> {
        let n_calls = self.n_calls(usual);
        let per_call = |sample: &Sample| sample.cpu.telecast / sample.seconds / n_calls as f64;
        let (values, sample) = self.runs(&self.setting(clip, n_calls), per_call)?;
        let measured = per_call(&sample);
        Ok(Figures {
            what: format!("CPU-s per call-s, {what}"),
            calls: n_calls,
            target: format!("≤ {target}"),
            measured: format!("{measured:.5}"),
            met: measured <= target,
            values,
            around: Some(Around::of(&sample)),
        })
    }

    /// What each call adds between a quarter of them and all.
    fn memory(&self, what: &str, clip: &'static str, usual: usize, target_kb: f64) -> Result<Figures> {
        let n_calls = self.n_calls(usual);
        let few = (n_calls / 4).max(1);
        let (mut fewer, _) = self.runs(&self.setting(clip, few), |sample| sample.pss_kb)?;
        let (more, sample) = self.runs(&self.setting(clip, n_calls), |sample| sample.pss_kb)?;
        let base = fewer.swap_remove(fewer.len() / 2);
        let each = |pss_kb: f64| (pss_kb - base) / (n_calls - few).max(1) as f64;
        let measured = each(sample.pss_kb);
        Ok(Figures {
            what: format!("{what} (PSS)"),
            calls: n_calls,
            target: format!("≤ {target_kb} KB"),
            measured: format!("{measured:.0} KB, {:.1} MB in all", sample.pss_kb / 1000.0),
            met: measured <= target_kb,
            values: more.into_iter().map(each).collect(),
            around: Some(Around::of(&sample)),
        })
    }

    /// Goes up until some call is late or loses something, twice in a row.
    fn most(&self, what: &str, clip: &'static str, usual: usize, target: usize) -> Result<Figures> {
        let mut step = self.n_calls(usual) / 4;
        let (mut n_calls, mut best) = (self.n_calls(usual), None);
        while step as f64 >= n_calls as f64 * FINEST {
            let setting = self.setting(clip, n_calls);
            let good = match self.passes(&setting)? {
                None => self.passes(&setting)?,
                good => good,
            };
            eprintln!("{n_calls} calls: {}", if good.is_some() { "good" } else { "too many" });
            match good {
                Some(sample) => {
                    best = Some((n_calls, sample));
                    // The end is found by what is too much, not by small steps.
                    step = step.max((n_calls as f64 * FINEST).ceil() as usize);
                }
                None => {
                    step /= 2;
                    n_calls = best.as_ref().map_or(n_calls / 2, |(good, _)| *good);
                }
            }
            n_calls += step.max(1);
        }
        let good = best.as_ref().map_or(0, |(good, _)| *good);
        Ok(Figures {
            what: format!("{what}, each with gap p99 ≤ {GAP_P99_MS} ms and nothing lost"),
            calls: good,
            target: format!("≥ {target}"),
            measured: good.to_string(),
            met: good >= target,
            values: vec![good as f64],
            around: best.map(|(_, sample)| Around::of(&sample)),
        })
    }

    fn passes(&self, setting: &Setting<'_>) -> Result<Option<Sample>> {
        let sample = match run::measure(setting, self.runtime) {
            Ok(sample) => sample,
            Err(error) => {
                eprintln!("{} calls: {error:#}", setting.n_calls);
                return Ok(None);
            }
        };
        let on_time = if setting.sound_only {
            sample.worst_gap_p99 <= GAP_P99_MS
        } else {
            sample.worst_gap_p99 <= GAP_P99_MS && sample.least_fps >= LEAST_FPS
        };
        eprintln!(
            "{} calls: worst gap p99 {:.1} ms (a bare thread {:.1}), least {:.2} fps, lost {} + {} ({} unread), {:.2} + {:.2} cores",
            setting.n_calls,
            sample.worst_gap_p99,
            quantile(&sample.bare_gaps, 0.99),
            sample.least_fps,
            sample.lost_sound,
            sample.lost_pictures,
            sample.unread,
            sample.cpu.telecast / sample.seconds,
            sample.cpu.emulator / sample.seconds,
        );
        let good = on_time && sample.lost_sound + sample.lost_pictures == 0;
        Ok(good.then_some(sample))
    }

    fn gaps(&self) -> Result<Figures> {
        let n_calls = self.n_calls(100);
        let p99 = |sample: &Sample| quantile(&sample.gaps, 0.99);
        let (values, sample) = self.runs(&self.setting(OPUS, n_calls), p99)?;
        let (p99, max) = (p99(&sample), quantile(&sample.gaps, 1.0));
        Ok(Figures {
            what: "gap p99 / max, Opus copied".into(),
            calls: n_calls,
            target: "≤ 22 / 40 ms".into(),
            measured: format!("{p99:.1} / {max:.1} ms"),
            met: p99 <= 22.0 && max <= 40.0,
            values,
            around: Some(Around::of(&sample)),
        })
    }

    fn skew(&self) -> Result<Figures> {
        let n_calls = self.n_calls(100);
        let p99 = |sample: &Sample| quantile(&sample.skews, 0.99);
        let (values, sample) = self.runs(&self.setting(OPUS, n_calls), p99)?;
        let (p50, p99, max) = (quantile(&sample.skews, 0.5), p99(&sample), quantile(&sample.skews, 1.0));
        Ok(Figures {
            what: "skew between chats of one programme, p50 / p99 / max".into(),
            calls: n_calls,
            target: "p99 ≤ 20 ms".into(),
            measured: format!("{p50:.1} / {p99:.1} / {max:.1} ms"),
            met: p99 <= 20.0,
            values,
            around: Some(Around::of(&sample)),
        })
    }

    fn join(&self) -> Result<Figures> {
        let n_calls = self.n_calls(100);
        let setting = Setting { round_trip: ROUND_TRIP, ..self.setting(OPUS, n_calls) };
        let p50 = |sample: &Sample| nth(&sample.first_rtp, 0.5);
        let (values, sample) = self.runs(&setting, p50)?;
        let (n_joined, p50, max) = (sample.first_rtp.len(), p50(&sample), nth(&sample.first_rtp, 1.0));
        Ok(Figures {
            what: "join at 40 ms round trip, p50 / max until the first RTP".into(),
            calls: n_calls,
            target: format!("≤ 0.45 / 1.2 s, {n_calls} of {n_calls}"),
            measured: format!("{p50:.2} / {max:.2} s, {n_joined} of {n_calls}"),
            met: p50 <= 0.45 && max <= 1.2 && n_joined == n_calls,
            values,
            around: Some(Around::of(&sample)),
        })
    }

    fn stop(&self) -> Result<Figures> {
        let n_calls = self.n_calls(400);
        let took = |sample: &Sample| sample.stop.as_secs_f64();
        let (values, sample) = self.runs(&self.setting(OPUS, n_calls), took)?;
        Ok(Figures {
            what: "leaving on SIGTERM".into(),
            calls: n_calls,
            target: "< 3 s".into(),
            measured: format!("{:.2} s", took(&sample)),
            met: took(&sample) < 3.0,
            values,
            around: Some(Around::of(&sample)),
        })
    }
}

fn nth(sorted: &[Duration], share: f64) -> f64 {
    let seconds: Vec<f64> = sorted.iter().map(Duration::as_secs_f64).collect();
    quantile(&seconds, share)
}
