//! What was measured → a table for people, or JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// Wanted from the command to the first packet, in milliseconds.
const MOST_LATENCY_MS: f64 = 60.0;

/// One run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// CPU seconds of the whole process tree per second.
    pub(super) cpu: f64,
    /// PSS of the whole process tree, in MB.
    pub(super) memory: f64,
    pub(super) fps: f64,
    pub(super) video_kbps: f64,
    pub(super) sounds_per_second: f64,
    pub(super) audio_kbps: f64,
    pub(super) lost: u64,
}

/// All runs of one clip.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) key: &'static str,
    pub(super) what: &'static str,
    pub(super) clip: String,
    pub(super) most_cpu: f64,
    pub(super) most_memory: Option<f64>,
    pub(super) telecast: Vec<Measured>,
    /// Empty where it was left out.
    pub(super) ntgcalls: Vec<Measured>,
    /// CPU seconds per second that the datagrams alone take.
    pub(super) bare: Vec<f64>,
}

/// From a command to the first packet that it brings, in milliseconds, every try.
#[derive(Debug)]
pub(super) struct Latency {
    pub(super) start: Vec<f64>,
    pub(super) seek: Vec<f64>,
}

/// Everything.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) commit: String,
    pub(super) load: f64,
    pub(super) options: String,
    pub(super) rows: Vec<Row>,
    pub(super) latency: Option<Latency>,
}

impl Comparison {
    pub(super) fn text(&self) -> String {
        let mut text = format!("commit {}, load {:.2}, {}\n\n", self.commit, self.load, self.options);
        if !self.rows.is_empty() {
            text += "| what | by | CPU-s per s | PSS, MB | pictures | sound | wanted |\n|---|---|---|---|---|---|---|\n";
        }
        for row in &self.rows {
            line(&mut text, row.what, "telecast", &row.telecast, &row.verdict());
            if !row.ntgcalls.is_empty() {
                line(&mut text, "", "ntgcalls", &row.ntgcalls, &row.ratio());
            }
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| | its datagrams alone | {:.4} | – | – | – | – |", median(&row.bare));
        }
        if let Some(latency) = &self.latency {
            text += "\n| from the command to the first packet | median | max | wanted |\n|---|---|---|---|\n";
            let both = [("`play` of an mp4", &latency.start), ("seek in a file of two hours", &latency.seek)];
            for (what, tries) in both {
                let (median, max) = (median(tries), tries.iter().copied().fold(0.0, f64::max));
                let verdict = met(median <= MOST_LATENCY_MS);
                // Writing to a string cannot fail.
                let _ = writeln!(
                    text,
                    "| {what} | {median:.0} ms | {max:.0} ms | ≤ {MOST_LATENCY_MS:.0} ms: {verdict} |"
                );
            }
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        let latency = self.latency.as_ref().map(|latency| {
            let tries = |tries: &[f64]| json!({ "median_ms": median(tries), "ms": tries });
            json!({ "start": tries(&latency.start), "seek": tries(&latency.seek), "wanted_ms": MOST_LATENCY_MS })
        });
        json!({
            "commit": self.commit, "load": self.load, "runs": self.options, "rows": rows, "latency": latency,
        })
    }
}

impl Row {
    fn is_met(&self) -> bool {
        let memory = medians(&self.telecast, |run| run.memory);
        medians(&self.telecast, |run| run.cpu) <= self.most_cpu
            && self.most_memory.is_none_or(|most| memory <= most)
    }

    fn verdict(&self) -> String {
        let memory = self.most_memory.map(|most| format!(", ≤ {most:.0} MB")).unwrap_or_default();
        format!("≤ {}{memory}: {}", self.most_cpu, met(self.is_met()))
    }

    fn ratio(&self) -> String {
        let cpu = |runs: &[Measured]| medians(runs, |run| run.cpu);
        format!("{:.1} times as much", cpu(&self.ntgcalls) / cpu(&self.telecast))
    }

    fn json(&self) -> Value {
        let side = |runs: &[Measured]| {
            let all: Vec<Value> =
                runs.iter().map(|run| json!({ "cpu": run.cpu, "pss_mb": run.memory })).collect();
            json!({
                "cpu": medians(runs, |run| run.cpu), "pss_mb": medians(runs, |run| run.memory),
                "fps": medians(runs, |run| run.fps), "video_kbps": medians(runs, |run| run.video_kbps),
                "sounds_per_second": medians(runs, |run| run.sounds_per_second),
                "audio_kbps": medians(runs, |run| run.audio_kbps),
                "lost": runs.iter().map(|run| run.lost).sum::<u64>(), "runs": all,
            })
        };
        json!({
            "row": self.key, "clip": self.clip, "telecast": side(&self.telecast),
            "ntgcalls": (!self.ntgcalls.is_empty()).then(|| side(&self.ntgcalls)),
            "datagrams_alone_cpu": median(&self.bare),
            "wanted": { "cpu": self.most_cpu, "pss_mb": self.most_memory }, "met": self.is_met(),
        })
    }
}

fn line(text: &mut String, what: &str, by: &str, runs: &[Measured], last: &str) {
    let of = |value: fn(&Measured) -> f64| medians(runs, value);
    let pictures = match of(|run| run.fps) {
        fps if fps < 1.0 => "–".to_owned(),
        fps => format!("{fps:.1} fps, {:.0} kbit/s", of(|run| run.video_kbps)),
    };
    let sound =
        format!("{:.1} per s, {:.0} kbit/s", of(|run| run.sounds_per_second), of(|run| run.audio_kbps));
    let (cpu, memory) = (of(|run| run.cpu), of(|run| run.memory));
    // Writing to a string cannot fail.
    let _ = writeln!(text, "| {what} | {by} | {cpu:.4} | {memory:.0} | {pictures} | {sound} | {last} |");
}

const fn met(is_met: bool) -> &'static str {
    if is_met { "met" } else { "missed" }
}

fn medians(runs: &[Measured], value: impl Fn(&Measured) -> f64) -> f64 {
    median(&runs.iter().map(value).collect::<Vec<_>>())
}

/// The middle one; of an even number the mean of the two in the middle.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(cpu: f64, memory: f64) -> Measured {
        Measured {
            cpu,
            memory,
            fps: 30.0,
            video_kbps: 1200.0,
            sounds_per_second: 50.0,
            audio_kbps: 128.0,
            lost: 0,
        }
    }

    fn row(telecast: Vec<Measured>) -> Row {
        Row {
            key: "copy",
            what: "copied",
            clip: "clip.mkv".into(),
            most_cpu: 0.007,
            most_memory: Some(25.0),
            telecast,
            ntgcalls: vec![run(0.42, 150.0)],
            bare: vec![0.004],
        }
    }

    #[test]
    fn one_bad_run_of_three_does_not_count_and_memory_counts_too() {
        let good = row(vec![run(0.006, 20.0), run(0.9, 99.0), run(0.005, 20.0)]);
        assert!(good.is_met() && good.ratio().starts_with("70.0 times"), "{good:?}");
        assert!(!row(vec![run(0.006, 26.0)]).is_met());
        assert!(!row(vec![run(0.008, 20.0)]).is_met());
        let table = Comparison { rows: vec![good], ..Comparison::default() };
        assert!(
            table.text().contains("| copied | telecast | 0.0060 | 20 | 30.0 fps, 1200 kbit/s |"),
            "{}",
            table.text()
        );
        assert!(table.text().contains("| | its datagrams alone | 0.0040 |"));
        assert_eq!(table.json()["rows"][0]["met"], true);
    }

    #[test]
    fn the_median_of_four_lies_between_the_two_in_the_middle() {
        assert!((median(&[9.0, 1.0, 2.0, 4.0]) - 3.0).abs() < 1e-9);
        assert!((median(&[7.0, 1.0, 3.0]) - 3.0).abs() < 1e-9);
    }
}
