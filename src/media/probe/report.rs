//! A [`Probe`] → text for people.

use std::io::{self, Write};

use super::{PictureProbe, Probe, TrackPlanProbe, TrackProbe, seconds};
use crate::media::demux::foreign::PROGRAM;
use crate::time::MediaTime;

impl Probe {
    /// The findings in one line, for one of many.
    pub fn verdict(&self) -> String {
        let length = seconds(MediaTime::from_millis(self.duration_ms));
        let (video, audio) = (&self.plan.video.plan, &self.plan.audio.plan);
        format!("{}: {}, {length}; picture {video}, sound {audio}", self.file, self.format)
    }

    /// Writes the findings for people: what it is, how it plays and why, what a viewer notices,
    /// what to do about it.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write_report(&self, out: &mut dyn Write) -> io::Result<()> {
        let length = seconds(MediaTime::from_millis(self.duration_ms));
        writeln!(out, "{}: {}, {length}, {}", self.file, self.format, size(self.size_bytes))?;
        writeln!(out)?;
        if self.format == PROGRAM {
            writeln!(out, "  ffmpeg reads it, and makes this of its beginning:")?;
        }
        for (index, track) in self.tracks.iter().enumerate() {
            writeln!(out, "  {} {:<5} {}", index + 1, track.kind, describe(track))?;
            let Some(pictures) = self.pictures.as_ref().filter(|_| self.plan.video.track == Some(index))
            else {
                continue;
            };
            writeln!(out, "          {}", keyframes(pictures))?;
            if pictures.gop_histogram.len() > 1 {
                writeln!(out, "          groups of pictures: {}", histogram(pictures))?;
            }
        }
        writeln!(out)?;
        for (kind, plan) in [("picture", &self.plan.video), ("sound", &self.plan.audio)] {
            write_plan(out, kind, plan)?;
        }
        if let Some(lufs) = self.loudness_lufs {
            writeln!(out, "  loudness {lufs:.1} LUFS")?;
        }
        writeln!(out, "  CPU     {}", self.cpu.words())?;
        writeln!(out)?;
        writeln!(out, "  In the call:")?;
        for sentence in &self.viewer {
            writeln!(out, "    - {sentence}")?;
        }
        if self.damaged_places > 0 {
            writeln!(out)?;
            let times = if self.damaged_places == 1 { "place" } else { "places" };
            writeln!(out, "  Damaged in {} {times}:", self.damaged_places)?;
            for text in &self.damage {
                writeln!(out, "    - {text}")?;
            }
        }
        if let Some(command) = &self.remedy {
            writeln!(out)?;
            let gain = match (self.playable, &self.pictures) {
                (false, _) => "To make it play:",
                (true, None) => "To have it copied:",
                (true, Some(_)) => "To have it copied, with a picture at once:",
            };
            writeln!(out, "  {gain}")?;
            writeln!(out, "    {command}")?;
        }
        Ok(())
    }
}

fn write_plan(out: &mut dyn Write, kind: &str, plan: &TrackPlanProbe) -> io::Result<()> {
    writeln!(out, "  {kind:<7} {}", plan.plan)?;
    writeln!(out, "          {}", plan.reason)
}

fn describe(track: &TrackProbe) -> String {
    let mut parts =
        vec![track.profile.map_or_else(|| track.codec.clone(), |p| format!("{} {p}", track.codec))];
    if let (Some(width), Some(height)) = (track.width, track.height) {
        parts.push(format!("{width}×{height}"));
    }
    parts.extend(track.fps.map(|fps| format!("{fps} fps")));
    parts.extend(track.sample_rate.map(|rate| format!("{rate} Hz")));
    parts.extend(track.channels.map(|channels| match channels {
        1 => "mono".to_owned(),
        2 => "stereo".to_owned(),
        n => format!("{n} channels"),
    }));
    parts.extend(track.language.clone());
    parts.push(seconds(MediaTime::from_millis(track.duration_ms)));
    if track.n_packets > 0 {
        parts.push(format!("{} (peak {})", bitrate(track.bitrate_bps), bitrate(track.peak_bps)));
    }
    parts.join(", ")
}

fn keyframes(pictures: &PictureProbe) -> String {
    let PictureProbe { n_keyframes, gop_min_ms, gop_median_ms, gop_max_ms, .. } = *pictures;
    let seconds = |ms| seconds(MediaTime::from_millis(ms));
    let every = if seconds(gop_min_ms) == seconds(gop_max_ms) {
        format!("every {}", seconds(gop_median_ms))
    } else {
        format!(
            "every {} to {}, usually {}",
            seconds(gop_min_ms),
            seconds(gop_max_ms),
            seconds(gop_median_ms)
        )
    };
    let noun = if n_keyframes == 1 { "keyframe" } else { "keyframes" };
    let reordered = match pictures.first_b_frame_ms {
        Some(at) => format!("B-frames from {} on", seconds(at)),
        None => "no B-frames".to_owned(),
    };
    format!("{} pictures, {n_keyframes} {noun}, {every}; {reordered}", pictures.n_pictures)
}

fn histogram(pictures: &PictureProbe) -> String {
    let group = |count: &super::GopCount| match count.up_to_ms {
        Some(ms) => format!("{} up to {}", count.n_gops, seconds_or_less(ms)),
        None => format!("{} longer", count.n_gops),
    };
    pictures.gop_histogram.iter().map(group).collect::<Vec<_>>().join(", ")
}

fn seconds_or_less(ms: i64) -> String {
    if ms % 1000 == 0 { format!("{} s", ms / 1000) } else { format!("{ms} ms") }
}

fn bitrate(bps: u64) -> String {
    if bps >= 1_000_000 {
        format!("{:.2} Mbit/s", bps as f64 / 1e6)
    } else {
        format!("{} kbit/s", (bps + 500) / 1000)
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0 => "of unknown size".to_owned(),
        1..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
