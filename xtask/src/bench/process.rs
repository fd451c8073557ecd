//! What the kernel says of a process and everything it has started: CPU time and memory.

use std::collections::HashMap;
use std::fs;

use anyhow::{Context, Result};

/// Clock ticks in `/proc/PID/stat` (`USER_HZ`), 100 on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process with all its descendants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree(pub(super) u32);

/// What `/proc/PID/stat` tells of one process.
#[derive(Debug, PartialEq)]
struct Stat {
    parent: u32,
    /// Of the process itself and of its children that have ended, in ticks.
    ticks: u64,
}

impl Tree {
    /// CPU time, user and system, that all of them have used so far, in seconds.
    pub(super) fn cpu(self) -> Result<f64> {
        let stats = all_stats()?;
        let ticks: u64 = members(self.0, &stats).iter().map(|pid| stats[pid].ticks).sum();
        Ok(ticks as f64 / TICKS_PER_SECOND)
    }

    /// Memory of all of them (PSS: what is shared counts in equal parts), in MB.
    pub(super) fn memory(self) -> Result<f64> {
        let mut kilobytes = 0;
        for pid in members(self.0, &all_stats()?) {
            // One that has ended meanwhile has no memory any more.
            let Ok(rollup) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
            kilobytes += pss_kilobytes(&rollup).with_context(|| format!("no Pss of process {pid}"))?;
        }
        Ok(kilobytes as f64 * 1024.0 / 1e6)
    }
}

/// How busy the machine has been in the last minute.
pub(super) fn load() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().next().context("an empty loadavg")?.parse()?)
}

fn all_stats() -> Result<HashMap<u32, Stat>> {
    let mut stats = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        let read = fs::read_to_string(format!("/proc/{pid}/stat"));
        if let Some(stat) = read.ok().and_then(|text| Stat::parse(&text)) {
            stats.insert(pid, stat);
        }
    }
    Ok(stats)
}

/// `root` and its descendants, as far as they are still there.
fn members(root: u32, stats: &HashMap<u32, Stat>) -> Vec<u32> {
    let mut found: Vec<u32> = stats.contains_key(&root).then_some(root).into_iter().collect();
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(stats.iter().filter(|(_, stat)| stat.parent == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found
}

impl Stat {
    /// proc(5): after the name, which may have anything in it, come state, parent and so on;
    /// utime, stime, cutime and cstime are fields 14 to 17.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u64>());
        Some(Self { parent: fields.get(1)?.parse().ok()?, ticks: ticks.sum::<Result<u64, _>>().ok()? })
    }
}

fn pss_kilobytes(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_moves_no_field() {
        let text = "42 (a ) b) S 7 42 42 0 -1 4194304 9 8 0 0 100 20 3 4 20 0 1 0 5 6 7";
        assert_eq!(Stat::parse(text), Some(Stat { parent: 7, ticks: 127 }));
        assert_eq!(Stat::parse("42 (cut off"), None);
    }

    #[test]
    fn grandchildren_belong_to_the_tree_and_neighbors_do_not() {
        let stat = |parent| Stat { parent, ticks: 1 };
        let stats = HashMap::from([(1, stat(0)), (2, stat(1)), (3, stat(2)), (4, stat(0))]);
        let mut found = members(1, &stats);
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3]);
        assert!(members(9, &stats).is_empty());
    }

    #[test]
    fn this_process_has_memory() {
        assert!(Tree(std::process::id()).memory().unwrap() > 0.1);
        assert_eq!(pss_kilobytes("Rss:  5 kB\nPss:   123 kB\nPss_Dirty: 9 kB\n"), Some(123));
    }
}
