//! A live source → its packets, never older than wanted.
//!
//! ```text
//! source ──► thread ──► newest few seconds ──► next_packet
//!                       └─ too old: dropped up to a keyframe
//! ```
//!
//! A live source goes on while nobody takes its packets: while the programme is paused, and when
//! the network has held them back and brings them all at once. Whoever played all of them would
//! be later from then on, for ever. So a thread of its own reads whatever comes, and what lies
//! further back than the wanted latency is dropped, from one keyframe to another. The times of
//! what follows join up with what was played: there is no hole.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use super::{DemuxError, Demuxer, Packet, Track};
use crate::media::MediaKind;
use crate::time::MediaTime;

/// Times that leap ahead by more than this leave a hole: nothing came meanwhile.
const MAX_HOLE: MediaTime = MediaTime::from_secs(1);
/// Times that go back by more than this begin anew. Tracks are interleaved closer.
const MAX_BACK: MediaTime = MediaTime::from_secs(5);
/// Memory for what waits, whatever the source says.
const MAX_BYTES: usize = 32 << 20;

/// Packets of a source that does not wait.
pub(in crate::media) struct Live {
    format: &'static str,
    tracks: Vec<Track>,
    shared: Arc<Shared>,
    timeline: Timeline,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// What has come and was not taken yet, without leaps of the source.
#[derive(Default)]
struct Waiting {
    timeline: Timeline,
    packets: VecDeque<Packet>,
    n_bytes: usize,
    /// Packets that came too early to be taken in time.
    n_dropped: u64,
    /// The source's last word.
    end: Option<Result<(), DemuxError>>,
    /// Nobody takes anything any more.
    over: bool,
}

/// Times with leaps → times without.
#[derive(Default)]
struct Timeline {
    /// What is taken off the times.
    shift: MediaTime,
    /// Where the next packet belongs.
    next: Option<MediaTime>,
}

impl Live {
    /// Begins to read. What waits for longer than `latency` is dropped.
    ///
    /// The thread ends when this is dropped and the source has said one more word, or nothing for
    /// as long as its patience lasts.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub(in crate::media) fn open(source: Box<dyn Demuxer>, latency: MediaTime) -> Result<Self, DemuxError> {
        let (format, tracks) = (source.format(), source.tracks().to_vec());
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let has_pictures = tracks.iter().any(|track| track.kind == MediaKind::Video);
        let keys = if has_pictures { Keys::OfPictures } else { Keys::All };
        let video: Vec<bool> = tracks.iter().map(|track| track.kind == MediaKind::Video).collect();
        Builder::new()
            .name("live".to_owned())
            .spawn(move || read(source, &of_thread, latency, keys, &video))?;
        Ok(Self { format, tracks, shared, timeline: Timeline::default() })
    }
}

/// Where one may begin to play.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    All,
    OfPictures,
}

fn read(mut source: Box<dyn Demuxer>, shared: &Shared, latency: MediaTime, keys: Keys, video: &[bool]) {
    loop {
        let next = source.next_packet();
        let mut waiting = shared.lock();
        if waiting.over {
            return;
        }
        match next {
            Ok(Some(packet)) => {
                let is_key = |packet: &Packet| keys == Keys::All || (packet.key && video[packet.track]);
                waiting.push(packet, latency, is_key);
            }
            Ok(None) => waiting.end = Some(Ok(())),
            Err(error) => waiting.end = Some(Err(error)),
        }
        shared.changed.notify_all();
        if waiting.end.is_some() {
            return;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Takes a packet, and drops what is too old by then: up to the last place where one may begin
    /// that is at least as old as is wanted, so that what is left lasts as long as it should.
    fn push(&mut self, packet: Packet, latency: MediaTime, is_key: impl Fn(&Packet) -> bool) {
        let packet = self.timeline.place(packet);
        let newest = packet.pts;
        self.n_bytes += packet.data.len();
        self.packets.push_back(packet);
        let is_old = |packet: &Packet| newest - packet.pts >= latency;
        let mut begin = self.packets.iter().rposition(|packet| is_key(packet) && is_old(packet));
        if self.n_bytes > MAX_BYTES {
            begin = begin.filter(|at| *at > 0).or_else(|| self.packets.iter().rposition(is_key));
        }
        for packet in self.packets.drain(..begin.unwrap_or(0)) {
            self.n_bytes -= packet.data.len();
            self.n_dropped += 1;
        }
    }
}

impl Timeline {
    /// The packet where it belongs behind those before.
    fn place(&mut self, mut packet: Packet) -> Packet {
        let leap = self.next.map_or(MediaTime::ZERO, |next| packet.pts - self.shift - next);
        if leap > MAX_HOLE || leap < -MAX_BACK {
            self.shift += leap;
        }
        packet.pts -= self.shift;
        packet.dts = packet.dts.map(|dts| dts - self.shift);
        self.next = self.next.max(Some(packet.pts + packet.duration));
        packet
    }
}

impl Demuxer for Live {
    fn format(&self) -> &'static str {
        self.format
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, DemuxError> {
        let mut waiting = self.shared.lock();
        loop {
            if let Some(packet) = waiting.packets.pop_front() {
                waiting.n_bytes -= packet.data.len();
                let n_dropped = std::mem::take(&mut waiting.n_dropped);
                drop(waiting);
                if n_dropped > 0 {
                    tracing::info!(n_dropped, "left out what was played too late to be live");
                }
                return Ok(Some(self.timeline.place(packet)));
            }
            match waiting.end.take() {
                Some(Ok(())) => {
                    waiting.end = Some(Ok(()));
                    return Ok(None);
                }
                Some(Err(error)) => {
                    waiting.end = Some(Ok(()));
                    return Err(error);
                }
                None => waiting = self.shared.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn seek(&mut self, _: MediaTime) -> Result<MediaTime, DemuxError> {
        let why = "a live source has no other place than the present one";
        Err(DemuxError::Io(std::io::Error::new(std::io::ErrorKind::NotSeekable, why)))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared.lock().over = true;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use bytes::Bytes;

    use super::*;
    use crate::media::Codec;
    use crate::media::demux::Shape;

    /// A source that says what it is told to.
    struct Told {
        tracks: Vec<Track>,
        packets: Receiver<Result<Packet, DemuxError>>,
    }

    impl Demuxer for Told {
        fn format(&self) -> &'static str {
            "told"
        }

        fn tracks(&self) -> &[Track] {
            &self.tracks
        }

        fn next_packet(&mut self) -> Result<Option<Packet>, DemuxError> {
            self.packets.recv().ok().transpose()
        }

        fn seek(&mut self, _: MediaTime) -> Result<MediaTime, DemuxError> {
            unreachable!("nobody seeks in it")
        }
    }

    fn track(kind: MediaKind) -> Track {
        let (codec, shape) = match kind {
            MediaKind::Audio => (Codec::Opus, Shape::Audio { sample_rate: 48_000, channels: 2 }),
            MediaKind::Video => (Codec::H264, Shape::Video { width: 16, height: 16, rotation: 0 }),
        };
        Track { kind, codec, duration: None, language: None, config: Bytes::new(), shape }
    }

    fn packet(track: usize, ms: i64, key: bool) -> Packet {
        Packet {
            track,
            pts: MediaTime::from_millis(ms),
            dts: None,
            duration: MediaTime::from_millis(20),
            key,
            trim_start: 0,
            trim_end: 0,
            data: Bytes::from_static(b"data"),
        }
    }

    fn live(kinds: &[MediaKind]) -> (Live, SyncSender<Result<Packet, DemuxError>>) {
        // Without room: whoever has sent two more knows that the first has been taken.
        let (source, packets) = sync_channel(0);
        let told = Told { tracks: kinds.iter().map(|kind| track(*kind)).collect(), packets };
        (Live::open(Box::new(told), MediaTime::from_secs(2)).unwrap(), source)
    }

    fn times(live: &mut Live) -> Vec<(usize, i64)> {
        std::iter::from_fn(|| live.next_packet().unwrap())
            .map(|packet| (packet.track, packet.pts.as_millis()))
            .collect()
    }

    #[test]
    fn what_nobody_took_in_time_is_left_out_without_a_hole() {
        let (mut live, source) = live(&[MediaKind::Audio]);
        source.send(Ok(packet(0, 0, true))).unwrap();
        assert_eq!(live.next_packet().unwrap().unwrap().pts, MediaTime::ZERO);
        // Paused for ten seconds.
        for ms in (20..10_000).step_by(20) {
            source.send(Ok(packet(0, ms, true))).unwrap();
        }
        drop(source);
        while live.shared.lock().end.is_none() {
            std::thread::yield_now();
        }
        let times = times(&mut live);
        assert_eq!(times.len(), 101, "two seconds");
        let expected: Vec<_> = (0..101).map(|n| (0, 20 + 20 * n)).collect();
        assert_eq!(times, expected, "they follow what was played");
        assert!(live.next_packet().unwrap().is_none(), "the end stays the end");
    }

    #[test]
    fn pictures_go_on_at_a_keyframe() {
        let (mut live, source) = live(&[MediaKind::Video, MediaKind::Audio]);
        for ms in (0..10_000).step_by(500) {
            source.send(Ok(packet(0, ms, ms % 3000 == 0))).unwrap();
            source.send(Ok(packet(1, ms, true))).unwrap();
        }
        drop(source);
        while live.shared.lock().end.is_none() {
            std::thread::yield_now();
        }
        // The newest is of 9.5 s; the keyframe of 9 s is too new to leave two seconds.
        let first = live.next_packet().unwrap().unwrap();
        assert!(first.key && first.track == 0);
        assert_eq!(first.pts, MediaTime::from_secs(6), "nothing was played before: times stay");
        assert_eq!(times(&mut live).len(), 15);
    }

    #[test]
    fn a_source_that_begins_anew_goes_on_and_an_error_comes_last() {
        let (mut live, source) = live(&[MediaKind::Audio]);
        for ms in [5000, 5020, 0, 20, 90_000] {
            source.send(Ok(packet(0, ms, true))).unwrap();
        }
        source.send(Err(DemuxError::Empty)).unwrap();
        let got: Vec<i64> = (0..5).map(|_| live.next_packet().unwrap().unwrap().pts.as_millis()).collect();
        assert_eq!(got, [5000, 5020, 5040, 5060, 5080]);
        assert!(matches!(live.next_packet(), Err(DemuxError::Empty)));
        assert!(live.next_packet().unwrap().is_none());
        assert!(live.seek(MediaTime::ZERO).is_err());
    }

    #[test]
    fn whoever_stops_listening_ends_the_reading() {
        let (live, source) = live(&[MediaKind::Audio]);
        source.send(Ok(packet(0, 0, true))).unwrap();
        drop(live);
        // One more word, and the thread drops its end.
        while source.send(Ok(packet(0, 20, true))).is_ok() {}
    }
}
