//! One call's ear on a programme: a bounded channel that a slow call fills and nobody waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};

use super::SharedFrame;
use crate::media::MediaKind;
use crate::media::plan::VideoCodecs;

/// How many frames a call may be behind: about two seconds of sound and 60 pictures a second.
/// What is older than that is of no use to anybody.
const CAPACITY: usize = 256;
/// What of it pictures leave to sound: two seconds. A call that falls behind loses its pictures
/// first, up to the next key frame that it has time for, and is heard without a gap.
const FOR_SOUND: usize = 100;

/// A call's end.
#[derive(Debug)]
pub struct Listener {
    frames: mpsc::Receiver<SharedFrame>,
    counters: Arc<Counters>,
}

impl Listener {
    /// The next frame, a little before it is due; `None` when the programme is over.
    /// Cancel safe.
    pub async fn recv(&mut self) -> Option<SharedFrame> {
        self.frames.recv().await
    }

    /// The same for a task that waits for more than this.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<SharedFrame>> {
        self.frames.poll_recv(context)
    }

    /// The next frame, if it is there already.
    ///
    /// # Errors
    /// When there is none now, or there will be none any more.
    pub fn try_recv(&mut self) -> Result<SharedFrame, TryRecvError> {
        self.frames.try_recv()
    }

    /// Frames lost because this listener did not take them in time.
    pub fn dropped(&self) -> u64 {
        self.counters.dropped.load(Ordering::Relaxed)
    }

    /// Pictures kept back because they need earlier ones that this listener does not have: after
    /// it began to listen and after every loss, until the next key frame.
    pub fn withheld(&self) -> u64 {
        self.counters.withheld.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Counters {
    dropped: AtomicU64,
    withheld: AtomicU64,
}

/// The programme's end.
#[derive(Debug)]
pub(super) struct Tap {
    /// What the listener takes.
    pub(super) codecs: VideoCodecs,
    frames: mpsc::Sender<SharedFrame>,
    counters: Arc<Counters>,
    wait_key: bool,
}

/// A listener and its tap.
pub(super) fn channel(codecs: VideoCodecs) -> (Tap, Listener) {
    let (sender, frames) = mpsc::channel(CAPACITY);
    let counters = Arc::new(Counters::default());
    let tap = Tap { codecs, frames: sender, counters: Arc::clone(&counters), wait_key: true };
    (tap, Listener { frames, counters })
}

impl Tap {
    /// Hands a frame over without waiting. False when the listener is gone.
    pub(super) fn offer(&mut self, shared: &SharedFrame) -> bool {
        let is_video = shared.frame.kind == MediaKind::Video;
        if is_video && self.wait_key && !shared.frame.key {
            self.counters.withheld.fetch_add(1, Ordering::Relaxed);
            return !self.frames.is_closed();
        }
        if is_video && self.frames.capacity() <= FOR_SOUND {
            self.count_drop(is_video);
            return !self.frames.is_closed();
        }
        match self.frames.try_send(Arc::clone(shared)) {
            Ok(()) => {
                self.wait_key &= !is_video;
                true
            }
            Err(TrySendError::Full(_)) => {
                self.count_drop(is_video);
                true
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }

    fn count_drop(&mut self, is_video: bool) {
        self.wait_key |= is_video;
        self.counters.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;

    use super::*;
    use crate::media::Frame;
    use crate::player::DueFrame;
    use crate::time::MediaTime;

    fn shared(kind: MediaKind, key: bool) -> SharedFrame {
        let frame = Frame {
            kind,
            codec: crate::media::usual_codec(kind),
            pts: MediaTime::ZERO,
            duration: MediaTime::from_millis(20),
            key,
            data: Bytes::new(),
            level: None,
            rotation: 0,
        };
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant")]
        let due = Instant::now();
        Arc::new(DueFrame { item: None, at: MediaTime::ZERO, due, frame })
    }

    #[test]
    fn pictures_begin_at_a_key_frame_and_again_after_a_loss() {
        let (mut tap, mut listener) = channel(VideoCodecs::ALL);
        assert!(tap.offer(&shared(MediaKind::Video, false)));
        assert!(listener.try_recv().is_err(), "nothing to refer to yet");
        assert!(tap.offer(&shared(MediaKind::Video, true)));
        assert!(tap.offer(&shared(MediaKind::Video, false)));
        for _ in 2..CAPACITY {
            tap.offer(&shared(MediaKind::Audio, true));
        }
        assert!(tap.offer(&shared(MediaKind::Audio, true)), "full, but alive");
        assert!(tap.offer(&shared(MediaKind::Video, false)));
        assert_eq!((listener.dropped(), listener.withheld()), (2, 1));

        while listener.try_recv().is_ok() {}
        tap.offer(&shared(MediaKind::Video, false));
        assert!(listener.try_recv().is_err(), "the picture before is missing");
        tap.offer(&shared(MediaKind::Audio, true));
        tap.offer(&shared(MediaKind::Video, true));
        tap.offer(&shared(MediaKind::Video, false));
        let kinds: Vec<_> = std::iter::from_fn(|| listener.try_recv().ok()).map(|s| s.frame.kind).collect();
        assert_eq!(kinds, [MediaKind::Audio, MediaKind::Video, MediaKind::Video]);
        assert_eq!((listener.dropped(), listener.withheld()), (2, 2));
    }

    #[test]
    fn a_call_that_falls_behind_loses_its_pictures_and_hears_on() {
        let (mut tap, mut listener) = channel(VideoCodecs::ALL);
        let (sound, picture) = (shared(MediaKind::Audio, true), shared(MediaKind::Video, false));
        tap.offer(&shared(MediaKind::Video, true));
        // Three seconds of 30 pictures and 50 pieces of sound each, and nobody takes them.
        for n in 0..240 {
            tap.offer(if n % 8 < 5 { &sound } else { &picture });
        }
        let taken: Vec<_> = std::iter::from_fn(|| listener.try_recv().ok()).map(|it| it.frame.kind).collect();
        let n_sounds = taken.iter().filter(|kind| **kind == MediaKind::Audio).count();
        assert_eq!(
            (n_sounds, taken.len() - n_sounds),
            (150, 58),
            "all of the sound, and the first two seconds"
        );
        assert_eq!((listener.dropped(), listener.withheld()), (1, 32));

        // There is room again, but what was left out is missed until the next key frame.
        tap.offer(&picture);
        assert!(listener.try_recv().is_err());
        tap.offer(&shared(MediaKind::Video, true));
        tap.offer(&picture);
        assert_eq!(std::iter::from_fn(|| listener.try_recv().ok()).count(), 2);
    }

    #[test]
    fn a_listener_that_is_gone_is_noticed() {
        let (mut tap, listener) = channel(VideoCodecs::ALL);
        drop(listener);
        assert!(!tap.offer(&shared(MediaKind::Video, false)));
        assert!(!tap.offer(&shared(MediaKind::Audio, true)));
    }
}
