//! What the kernel says of processes and of the machine.

use std::fs::read_to_string;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Clock ticks in `/proc/PID/stat` (`USER_HZ`), 100 on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// On what, and of what, was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// As `cargo xtask bench` says it.
    commit: String,
    cores: usize,
    /// One minute's average before anything began.
    load: f64,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let load = read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            commit: std::env::var("TELECAST_COMMIT").unwrap_or_else(|_| "unknown".into()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { commit, cores, load } = self;
        write!(f, "commit {commit}, {cores} cores, load {load} at the beginning; medians")
    }
}

/// CPU seconds that were used up to a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    pub(crate) telecast: f64,
    pub(crate) emulator: f64,
    pub(crate) others: f64,
}

impl Cpu {
    pub(crate) fn now(telecast: u32) -> Result<Self> {
        let (telecast, emulator) = (of_process(&telecast.to_string())?, of_process("self")?);
        let stat = read_to_string("/proc/stat")?;
        let ticks: Vec<f64> = stat
            .lines()
            .next()
            .context("no line")?
            .split_ascii_whitespace()
            .skip(1)
            .map_while(|ticks| ticks.parse().ok())
            .collect();
        // proc(5): user, nice, system, idle, iowait, irq, softirq.
        let busy = ticks.iter().take(7).sum::<f64>() - ticks[3] - ticks[4];
        Ok(Self { telecast, emulator, others: busy / TICKS_PER_SECOND - telecast - emulator })
    }

    pub(crate) fn since(self, begin: Self) -> Self {
        Self {
            telecast: self.telecast - begin.telecast,
            emulator: self.emulator - begin.emulator,
            others: (self.others - begin.others).max(0.0),
        }
    }
}

fn of_process(pid: &str) -> Result<f64> {
    let stat = read_to_string(format!("/proc/{pid}/stat"))?;
    // proc(5): utime and stime are fields 14 and 15; the second field may have blanks in it.
    let fields: Vec<&str> = stat.rsplit_once(')').context("no name")?.1.split_ascii_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / TICKS_PER_SECOND)
}

/// Proportional set size of a process, in KB.
pub(crate) fn pss_kb(pid: u32) -> Result<f64> {
    let rollup = read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<f64>()? * 1.024)
}

/// Datagrams that the kernel had no room for, on all sockets of these ports.
pub(crate) fn socket_drops(ports: &[u16]) -> Result<u64> {
    let table = read_to_string("/proc/net/udp")?;
    let drops = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (_, port) = fields.get(1)?.split_once(':')?;
        let ours = ports.contains(&u16::from_str_radix(port, 16).ok()?);
        ours.then(|| fields.last()?.parse::<u64>().ok()).flatten()
    });
    Ok(drops.sum())
}
