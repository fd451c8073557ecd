//! What one RTP packet of a 720p picture costs: cut out of its frame, and sent through a whole sender.
//!
//! `cargo bench --bench packetize` prints nanoseconds per packet.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use telecast::media::{Codec, Frame, MediaKind};
use telecast::player::DueFrame;
use telecast::rtp::clock::NtpAnchor;
use telecast::rtp::packetize::{self, MAX_PAYLOAD};
use telecast::rtp::send::{RtxConfig, StreamConfig};
use telecast::rtp::{Sender, SenderConfig};
use telecast::time::MediaTime;

/// A picture of a stream with 1.5 Mbit/s at 30 frames per second.
const PICTURE: usize = 6250;

/// How often each is measured; the fastest counts.
const N_RUNS: usize = 7;

fn main() {
    let data = access_unit();
    report("packetize", || {
        let mut payloads = VecDeque::new();
        for _ in 0..2000 {
            packetize::h264(black_box(&data), MAX_PAYLOAD, &mut payloads);
        }
        black_box(payloads).len()
    });
    report("send", || send(&data));
}

/// Parameter sets and one slice of bytes that look like coded ones.
fn access_unit() -> Bytes {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut data = vec![0, 0, 0, 1, 0x67, 0x42, 0xe0, 0x1f, 0x8c, 0, 0, 0, 1, 0x68, 0xce, 0x3c, 0x80];
    data.extend([0, 0, 0, 1, 0x65]);
    data.extend((0..PICTURE).map(|_| rng.u8(1..)));
    data.into()
}

/// A minute of pictures, each polled at the times the sender asks for.
fn send(data: &Bytes) -> usize {
    let start = now();
    let video = StreamConfig {
        kind: MediaKind::Video,
        codec: Codec::H264,
        ssrc: 1,
        payload_type: 104,
        clock_rate: 90_000,
        rtx: Some(RtxConfig { ssrc: 2, payload_type: 105 }),
        others: vec![],
    };
    let mut sender = Sender::new(SenderConfig {
        audio: None,
        video: Some(video),
        cname: "bench".into(),
        anchor: NtpAnchor::new(start, UNIX_EPOCH),
        seed: 1,
        stagger: Duration::ZERO,
    });
    let step = MediaTime::from_rational(1, 1, 30);
    let mut n_packets = 0;
    for n in 0..1800 {
        let at = step * n;
        let frame = Frame {
            kind: MediaKind::Video,
            codec: Codec::H264,
            pts: at,
            duration: step,
            key: true,
            data: data.clone(),
            level: None,
            rotation: 0,
        };
        let due = start + at.to_duration();
        sender.handle_frame(Arc::new(DueFrame { item: None, at, due, frame }), due);
        while let Some((at, _)) = sender.poll_timeout() {
            while let Some(packet) = sender.poll_packet(at) {
                black_box(packet);
                n_packets += 1;
            }
            black_box(sender.poll_report(at));
        }
    }
    n_packets
}

fn report(name: &str, run: impl Fn() -> usize) {
    let best = (0..N_RUNS).map(|_| {
        let begin = now();
        let n_packets = u32::try_from(run()).expect("a few thousand packets");
        begin.elapsed() / n_packets
    });
    let best = best.min().unwrap_or(Duration::ZERO);
    println!("{name}: {} ns per packet", best.as_nanos());
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the wall")]
fn now() -> Instant {
    Instant::now()
}
