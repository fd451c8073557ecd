//! A programme: queue → frames with a due time, for any number of calls.
//!
//! ```text
//! Item ─► worker (a thread) ─► deck ─► slots of 20 ms ─► Arc<DueFrame> ─► Listener of call 1
//!           opens, reads,      about     played, held,                 ├► Listener of call 2
//!           seeks              0.5 s     silent                        └► …
//! ```
//!
//! A chat more costs a reference count: what is read, decoded and encoded is so once.
//! The programme's own clock never stops, so the calls' RTP streams go on through pauses,
//! seeks and from item to item, in 20 ms packets of silence when nothing else is there.
//!
//! [`Player`] is the handle, `state` decides, `task` waits and carries, `worker` reads.

#[cfg_attr(not(feature = "openh264"), path = "no_bridge.rs")]
mod bridge;
mod deck;
mod file;
mod item;
#[cfg(feature = "journal")]
pub mod journal;
mod listener;
pub mod push;
mod queue;
#[cfg(feature = "openh264")]
mod slate;
mod state;
mod task;
#[cfg(test)]
mod testing;
mod timeline;
mod words;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, mpsc, oneshot, watch};

pub use self::item::{FrameReader, Item, ItemError, ItemPlan};
pub use self::listener::Listener;
#[cfg(feature = "openh264")]
pub use self::slate::{Slate, SlateError};
use self::task::Command;
pub use self::words::{
    AfterFailure, EndReason, Line, OnFailure, PlayError, PlayerEvent, PlayerOptions, PlayerState,
    PlayerStatus, QueuedItem, Repeat,
};
use crate::media::Frame;
use crate::media::plan::VideoCodecs;
use crate::time::MediaTime;

/// How many commands may wait. A full channel makes the next caller wait, and nobody else.
const COMMANDS: usize = 64;

/// How many events a slow subscriber may be behind before it is told that it missed some.
const EVENTS: usize = 256;

/// How many items may wait behind the current one, those included whose end is not told yet.
pub const MAX_QUEUED: usize = 10_000;

/// How many events a follower may be behind: a full queue that starts and ends while it looks away.
const FOLLOWED: usize = 2 * MAX_QUEUED + 1000;

/// Calls of a programme send at so many different moments within the 20 ms of a frame of sound.
const STAGGER_STEPS: u32 = 4;
/// The step between two of these moments. Shorter ones wake the process more often for less work.
const STAGGER_STEP: Duration = Duration::from_millis(5);

/// The loudest volume that can be asked for: Telegram's own sliders end here too.
pub const MAX_VOLUME_PERCENT: u16 = 200;

/// The longest crossfade that can be asked for.
pub const MAX_CROSSFADE: MediaTime = MediaTime::from_secs(12);

/// Names one entry of the queue for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemId(pub u64);

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A frame placed on the programme's clock.
///
/// The programme's clock starts when the programme starts and never stops, pauses or jumps:
/// not at a pause, not between items. RTP timestamps follow it, so they belong to the
/// stream and not to the song.
///
/// Sound comes in every slot of 20 ms without exception. (Only when the whole process has
/// stood still for seconds are the slots in between left out.)
#[derive(Clone, Debug)]
pub struct DueFrame {
    /// The item it comes from; `None` for silence and stills of the programme itself.
    pub item: Option<ItemId>,
    /// When on the programme's clock. Never before the frame handed out last. Audio: a whole
    /// number of 20 ms steps.
    pub at: MediaTime,
    /// When on the wall: the first packet leaves at this instant.
    pub due: Instant,
    /// What to send.
    pub frame: Frame,
}

/// How frames travel from the programme to the calls: shared, never copied.
pub type SharedFrame = Arc<DueFrame>;

/// A programme that any number of calls listen to. Clones share it; it ends with
/// [`Player::close`] or when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Player {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<PlayerStatus>,
    events: Arc<broadcast::Receiver<PlayerEvent>>,
    n_staggered: Arc<AtomicU32>,
}

impl Player {
    /// Starts a programme: silence, until something is queued.
    ///
    /// # Panics
    /// Outside a tokio runtime with its timer enabled.
    pub fn start(options: PlayerOptions) -> Self {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (events, first_events) = broadcast::channel(EVENTS);
        let first_status = PlayerStatus::first(&options);
        let (shown, status) = watch::channel(first_status);
        tokio::spawn(task::run(options, inbox, events, shown));
        Self { commands, status, events: Arc::new(first_events), n_staggered: Arc::default() }
    }

    /// Appends an item; it plays when its turn comes.
    ///
    /// # Errors
    /// [`PlayError::QueueFull`], [`PlayError::Closed`]. That it cannot be opened is told by
    /// [`PlayerEvent::ItemEnded`].
    pub async fn enqueue(&self, item: Item) -> Result<ItemId, PlayError> {
        self.ask(|reply| Command::Enqueue { item, now: false, reply }).await?
    }

    /// Plays an item in place of the current one; the rest of the queue follows it.
    ///
    /// # Errors
    /// [`PlayError::QueueFull`], [`PlayError::Closed`].
    pub async fn play_now(&self, item: Item) -> Result<ItemId, PlayError> {
        self.ask(|reply| Command::Enqueue { item, now: true, reply }).await?
    }

    /// Puts an item among those that wait: 0 makes it the next one; past the end means the end.
    ///
    /// # Errors
    /// [`PlayError::QueueFull`], [`PlayError::Closed`].
    pub async fn insert(&self, idx: usize, item: Item) -> Result<ItemId, PlayError> {
        self.ask(|reply| Command::Insert { idx, item, reply }).await?
    }

    /// Moves a waiting item to place `to` of those that wait, counted without it; past the end
    /// means the end.
    ///
    /// # Errors
    /// [`PlayError::NotWaiting`], [`PlayError::Closed`].
    pub async fn move_to(&self, item: ItemId, to: usize) -> Result<(), PlayError> {
        self.ask(|reply| Command::Move { item, to, reply }).await?
    }

    /// Takes a waiting item out, or ends the current one, which then has no further round.
    ///
    /// # Errors
    /// [`PlayError::NotWaiting`], [`PlayError::Closed`].
    pub async fn remove(&self, item: ItemId) -> Result<(), PlayError> {
        self.ask(|reply| Command::Remove { item, reply }).await?
    }

    /// Takes out all items that wait; the current one plays on.
    ///
    /// # Errors
    /// [`PlayError::Closed`].
    pub async fn clear(&self) -> Result<(), PlayError> {
        self.ask(|reply| Command::Clear { reply }).await
    }

    /// Brings the items that wait into an order that only `seed` decides.
    ///
    /// # Errors
    /// [`PlayError::Closed`].
    pub async fn shuffle(&self, seed: u64) -> Result<(), PlayError> {
        self.ask(|reply| Command::Shuffle { seed, reply }).await
    }

    /// Plays a waiting item in place of the current one. Those before it end as
    /// [`EndReason::Skipped`]; in a loop they wait for the next round instead.
    ///
    /// # Errors
    /// [`PlayError::NotWaiting`], [`PlayError::Closed`].
    pub async fn skip_to(&self, item: ItemId) -> Result<(), PlayError> {
        self.ask(|reply| Command::SkipTo { item, reply }).await?
    }

    /// The items that wait, in their order.
    ///
    /// # Errors
    /// [`PlayError::Closed`].
    pub async fn queue(&self) -> Result<Vec<QueuedItem>, PlayError> {
        self.ask(|reply| Command::Queue { reply }).await
    }

    /// The current item and those that wait, all at the same moment.
    ///
    /// # Errors
    /// [`PlayError::Closed`].
    pub async fn line(&self) -> Result<Line, PlayError> {
        self.ask(|reply| Command::Line { reply }).await
    }

    /// Ends the current item and goes on with the next.
    ///
    /// # Errors
    /// [`PlayError::NothingPlaying`], [`PlayError::Closed`].
    pub async fn skip(&self) -> Result<(), PlayError> {
        self.ask(|reply| Command::Skip { reply }).await?
    }

    /// Plays the item before the current one, which comes after it. The latest 100 are known.
    ///
    /// # Errors
    /// [`PlayError::NothingBefore`], [`PlayError::Closed`].
    pub async fn previous(&self) -> Result<(), PlayError> {
        self.ask(|reply| Command::Previous { reply }).await?
    }

    /// Sets what happens to items that end from now on.
    ///
    /// # Errors
    /// [`PlayError::Closed`].
    pub async fn set_repeat(&self, repeat: Repeat) -> Result<(), PlayError> {
        self.ask(|reply| Command::Repeat { repeat, reply }).await
    }

    /// Holds the current item, or the next one to come. Heard within about 50 ms.
    ///
    /// # Errors
    /// [`PlayError::Closed`].
    pub async fn pause(&self) -> Result<(), PlayError> {
        self.ask(|reply| Command::Pause { paused: true, reply }).await
    }

    /// Goes on after a pause.
    ///
    /// # Errors
    /// [`PlayError::Closed`].
    pub async fn resume(&self) -> Result<(), PlayError> {
        self.ask(|reply| Command::Pause { paused: false, reply }).await
    }

    /// Goes to a place in the current item, or to the nearest one before it where pictures can
    /// begin, and returns that place. Past the end means the end.
    ///
    /// # Errors
    /// [`PlayError::NothingPlaying`], [`PlayError::Seek`], [`PlayError::Superseded`],
    /// [`PlayError::Closed`].
    pub async fn seek(&self, to: MediaTime) -> Result<MediaTime, PlayError> {
        self.ask(|reply| Command::Seek { to, reply }).await?
    }

    /// Goes that far from what is heard now, forward or back, as [`Player::seek`] does.
    ///
    /// # Errors
    /// As [`Player::seek`].
    pub async fn seek_by(&self, offset: MediaTime) -> Result<MediaTime, PlayError> {
        self.ask(|reply| Command::SeekBy { offset, reply }).await?
    }

    /// Sets how loud items are; 100 plays as recorded. Heard within about 700 ms.
    ///
    /// # Errors
    /// [`PlayError::Volume`], [`PlayError::Closed`].
    pub async fn set_volume(&self, percent: u16) -> Result<(), PlayError> {
        self.ask(|reply| Command::Volume { percent, reply }).await?
    }

    /// Sets how fast items go by, in percent; 100 plays as recorded, and the pitch of the sound stays.
    /// Heard within about 700 ms, with [loudness](crate::media::ReaderOptions::loudness_lufs) 3 s
    /// later. Places and lengths are told, and sought, as recorded.
    ///
    /// # Errors
    /// [`PlayError::Speed`], [`PlayError::Closed`].
    pub async fn set_speed(&self, percent: u16) -> Result<(), PlayError> {
        self.ask(|reply| Command::Speed { percent, reply }).await?
    }

    /// Sets over how long items go over into each other, as [`PlayerOptions::crossfade`] says; a fade
    /// that has begun stays as it is.
    ///
    /// # Errors
    /// [`PlayError::Crossfade`], [`PlayError::Closed`].
    pub async fn set_crossfade(&self, length: MediaTime) -> Result<(), PlayError> {
        self.ask(|reply| Command::Crossfade { length, reply }).await?
    }

    /// Says that a viewer cannot go on without a keyframe. One comes as soon as the file or an
    /// encoder has it; requests of many calls are answered by the same one. False when so many
    /// commands wait that this one was not taken.
    pub fn request_keyframe(&self) -> bool {
        self.commands.try_send(Command::Keyframe).is_ok()
    }

    /// Ends the current item and empties the queue.
    ///
    /// # Errors
    /// [`PlayError::Closed`].
    pub async fn stop(&self) -> Result<(), PlayError> {
        self.ask(|reply| Command::Stop { reply }).await
    }

    /// Stops and ends the programme; returns when its threads have ended. Closing twice is fine.
    pub async fn close(&self) {
        // A failed send says that it is closed already.
        let _closed_already = self.commands.send(Command::Close).await;
        self.closed().await;
    }

    /// Returns when the programme is over.
    pub async fn closed(&self) {
        let mut status = self.status.clone();
        while status.changed().await.is_ok() {}
    }

    /// Starts listening: sound from the present moment on, pictures from the next key frame on.
    /// After the programme's end there is nothing to hear.
    pub async fn listen(&self) -> Listener {
        self.listen_in(VideoCodecs::ALL).await
    }

    /// The same for somebody who takes pictures in these codecs only. Files with others are
    /// converted for all who listen, from now on and as long as somebody needs it; what cannot be is
    /// told ([`PlayerEvent::PicturesNotTaken`]).
    pub async fn listen_in(&self, codecs: VideoCodecs) -> Listener {
        let (tap, listener) = listener::channel(codecs);
        // A failed send drops the tap, which the listener notices as the end.
        let _over = self.commands.send(Command::Listen { tap }).await;
        listener
    }

    /// How long after their due time one call more should send its frames: nothing for the first,
    /// and for all others such that they spread evenly over the time of a frame of sound, however
    /// many there are; 15 ms at most.
    ///
    /// Calls that all send at once have all the work of 20 ms in the same millisecond, and who
    /// comes last is late; spread, they keep their time up to a busy machine.
    pub fn next_stagger(&self) -> Duration {
        STAGGER_STEP * (self.n_staggered.fetch_add(1, Ordering::Relaxed) % STAGGER_STEPS)
    }

    /// The programme as it is now, and a way to wait for changes.
    pub fn status(&self) -> watch::Receiver<PlayerStatus> {
        self.status.clone()
    }

    /// What happens from now on, for whoever has to hear all of it; after the programme's end
    /// nothing. Of somebody who does not keep up, first positions are dropped, then no more items
    /// are queued ([`PlayError::QueueFull`]). Only a loop that goes on and on unheard loses the
    /// rest; losses are counted in the log.
    pub async fn follow(&self) -> mpsc::Receiver<PlayerEvent> {
        let (to, events) = mpsc::channel(FOLLOWED);
        // A failed send drops the sender, which the receiver notices as the end.
        let _over = self.commands.send(Command::Follow { to }).await;
        events
    }

    /// What happens from now on, for a spectator: who is slow misses some. Subscribe before queueing.
    pub fn events(&self) -> broadcast::Receiver<PlayerEvent> {
        self.events.resubscribe()
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, PlayError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| PlayError::Closed)?;
        answer.await.map_err(|_| PlayError::Closed)
    }
}
