//! What the machine takes for the datagrams of a call alone: a thread that sleeps until each is due
//! and sends zeros to a socket that somebody reads.
//!
//! Whatever plays a clip costs at least as much here.

#![expect(clippy::disallowed_methods, reason = "it sends in real time")]

use std::fs;
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// What leaves together, and how often: 128 kbit/s of sound, and pictures of 1.2 Mbit/s.
struct Stream {
    every: Duration,
    n_datagrams: usize,
    len: usize,
}

const SOUND: Stream = Stream { every: Duration::from_millis(20), n_datagrams: 1, len: 360 };
const PICTURES: Stream = Stream { every: Duration::from_micros(33_333), n_datagrams: 5, len: 1_050 };

/// Sends for so long, in a thread of its own; gives its CPU seconds per second.
pub(super) fn cpu(with_pictures: bool, length: Duration) -> Result<f64> {
    let reader = UdpSocket::bind("127.0.0.1:0")?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(reader.local_addr()?)?;
    let read = thread::spawn(move || {
        let mut datagram = [0; 2048];
        // An empty one is the last.
        while reader.recv(&mut datagram).is_ok_and(|len| len > 0) {}
    });
    let sent = thread::spawn(move || {
        let streams: &[Stream] = if with_pictures { &[SOUND, PICTURES] } else { &[SOUND] };
        let used = send(&socket, streams, length);
        socket.send(&[])?;
        used
    });
    let used = sent.join().expect("it only sends")?;
    read.join().expect("it only reads");
    Ok(used / length.as_secs_f64())
}

fn send(socket: &UdpSocket, streams: &[Stream], length: Duration) -> Result<f64> {
    let begin = Instant::now();
    // Pictures are not due with a sound.
    let mut due: Vec<Duration> = (0..streams.len()).map(|n| Duration::from_millis(7) * n as u32).collect();
    loop {
        let (next, at) = due.iter().copied().enumerate().min_by_key(|(_, at)| *at).context("no stream")?;
        if at > length {
            return on_cpu();
        }
        thread::sleep(at.saturating_sub(begin.elapsed()));
        let stream = &streams[next];
        for _ in 0..stream.n_datagrams {
            socket.send(&vec![0; stream.len])?;
        }
        due[next] += stream.every;
    }
}

/// How long this thread has been on a CPU, in seconds.
fn on_cpu() -> Result<f64> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos: f64 = stat.split(' ').next().unwrap_or_default().parse().context("schedstat says no time")?;
    Ok(nanos / 1e9)
}
