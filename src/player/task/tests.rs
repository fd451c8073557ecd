//! The real driver with real reader threads, under tokio's paused clock. The threads run in real
//! time, so nothing here depends on how fast they are: a slow one makes silence.

use std::sync::mpsc;

use tokio::sync::broadcast::error::TryRecvError;

use super::*;
use crate::media::plan::VideoCodecs;
use crate::media::{Codec, Frame, MediaKind};
use crate::player::testing::{Clip, number};
use crate::player::{
    EndReason, FrameReader, ItemError, ItemPlan, Listener, Player, PlayerState, Repeat, SharedFrame,
};

/// Virtual time is turned in steps of this length.
const TURN: Duration = Duration::from_millis(10);

/// Far more turns than any test needs.
const MAX_TURNS: usize = 1_000_000;

/// Nobody has to listen for these programmes to play.
fn options() -> PlayerOptions {
    PlayerOptions { wait_for_listener: false, ..PlayerOptions::default() }
}

/// Lets a little virtual time pass and gives the driver and the reader threads a chance to work.
async fn turn() {
    tokio::time::advance(TURN).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
        std::thread::yield_now();
    }
}

/// Turns until `wanted` says so, feeding it every event.
async fn until(
    events: &mut broadcast::Receiver<PlayerEvent>,
    mut wanted: impl FnMut(&PlayerEvent) -> bool,
) -> PlayerEvent {
    for _ in 0..MAX_TURNS {
        match events.try_recv() {
            Ok(event) if wanted(&event) => return event,
            Ok(_) => {}
            Err(TryRecvError::Empty) => turn().await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it never happened");
}

/// Closes without letting virtual time run into [`JOIN_LIMIT`] while threads end in real time.
async fn close(player: &Player) {
    let closing = player.close();
    tokio::pin!(closing);
    for n_turns in 0.. {
        let wait = async { if n_turns < 50 { turn().await } else { tokio::task::yield_now().await } };
        tokio::select! {
            biased;
            () = &mut closing => return,
            () = wait => {}
        }
    }
}

fn drain(listener: &mut Listener) -> Vec<SharedFrame> {
    std::iter::from_fn(|| listener.try_recv().ok()).collect()
}

fn of_kind(frames: &[SharedFrame], kind: MediaKind) -> Vec<SharedFrame> {
    frames.iter().filter(|shared| shared.frame.kind == kind).cloned().collect()
}

/// A reader that tells by a dropped sender that it is gone, and does `before` each frame.
struct Watched<F> {
    inner: Box<dyn FrameReader>,
    before: F,
    _alive: mpsc::Sender<()>,
}

impl<F: FnMut() + Send> FrameReader for Watched<F> {
    fn plan(&self) -> ItemPlan {
        self.inner.plan()
    }

    fn duration(&self) -> Option<MediaTime> {
        self.inner.duration()
    }

    fn next_frame(&mut self) -> Result<Option<Frame>, ItemError> {
        (self.before)();
        self.inner.next_frame()
    }

    fn seek(&mut self, to: MediaTime) -> Result<MediaTime, ItemError> {
        self.inner.seek(to)
    }

    fn set_volume(&mut self, gain: f32) {
        self.inner.set_volume(gain);
    }
}

/// An item whose readers can be watched: the receiver is disconnected when all are gone.
fn watched(clip: Clip, before: impl Fn() + Clone + Send + Sync + 'static) -> (Item, mpsc::Receiver<()>) {
    let (alive, gone) = mpsc::channel();
    let plain = clip.item("inner");
    let item = Item::from_reader("watched", move || {
        let reader = Watched { inner: plain.open()?, before: before.clone(), _alive: alive.clone() };
        Ok(Box::new(reader))
    });
    (item, gone)
}

#[tokio::test(start_paused = true)]
async fn all_calls_hear_the_same_frames() {
    let player = Player::start(PlayerOptions::default());
    let mut events = player.events();
    let (mut one, mut two) = (player.listen().await, player.listen().await);
    let id = player.enqueue(Clip::of_secs(1).item("a")).await.unwrap();
    let (mut heard_one, mut heard_two) = (Vec::new(), Vec::new());
    until(&mut events, |event| {
        heard_one.extend(drain(&mut one));
        heard_two.extend(drain(&mut two));
        matches!(event, PlayerEvent::QueueEnded)
    })
    .await;
    player.close().await;
    heard_one.extend(drain(&mut one));
    heard_two.extend(drain(&mut two));

    assert!(heard_one.len() > 75);
    assert_eq!(heard_one.len(), heard_two.len());
    assert!(heard_one.iter().zip(&heard_two).all(|(one, two)| Arc::ptr_eq(one, two)), "shared, not copied");
    let sound = of_kind(&heard_one, MediaKind::Audio);
    assert!(sound.windows(2).all(|pair| pair[1].at == pair[0].at + MediaTime::from_millis(20)));
    for (kind, count) in [(MediaKind::Audio, 50), (MediaKind::Video, 25)] {
        let of_item = heard_one.iter().filter(|shared| shared.item == Some(id) && shared.frame.kind == kind);
        let numbers: Vec<_> = of_item.map(|shared| number(&shared.frame)).collect();
        assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "{kind:?}");
    }
    assert_eq!((one.dropped(), one.withheld()), (0, 0));
    assert!(one.recv().await.is_none(), "the end");
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_no_h264_gets_what_can_be_had_otherwise_and_is_told_of_the_rest_once() {
    let player = Player::start(options());
    let mut events = player.events();
    let mut usual = player.listen().await;
    let mut other = player.listen_in(VideoCodecs { h264: false, ..VideoCodecs::ALL }).await;
    let clip = Clip::of_secs(2);
    player.enqueue(clip.adapting("a file")).await.unwrap();
    let made = player.enqueue(clip.item("made here")).await.unwrap();
    let (mut told, mut seen) = (Vec::new(), Vec::new());
    until(&mut events, |event| {
        seen.extend(drain(&mut other));
        drain(&mut usual);
        if let PlayerEvent::PicturesNotTaken { item, codec } = event {
            told.push((*item, codec.clone()));
        }
        matches!(event, PlayerEvent::QueueEnded)
    })
    .await;
    assert_eq!(told, [(made, Codec::H264)]);
    let is_vp8 = |shared: &SharedFrame| shared.frame.codec == Codec::Vp8;
    let pictures = of_kind(&seen, MediaKind::Video);
    assert!(pictures.iter().all(|shared| is_vp8(shared) == (shared.item != Some(made))));
    assert_eq!(pictures.len(), 100, "who may see them is the call's business");

    // Everybody else plays as usual once the other one is gone.
    drop(other);
    // The next frame finds out.
    for _ in 0..10 {
        turn().await;
    }
    player.enqueue(clip.adapting("a file")).await.unwrap();
    let mut seen = Vec::new();
    until(&mut events, |event| {
        seen.extend(drain(&mut usual));
        matches!(event, PlayerEvent::QueueEnded)
    })
    .await;
    close(&player).await;
    let pictures = of_kind(&seen, MediaKind::Video);
    assert!(pictures.len() >= 50 && !pictures.iter().any(is_vp8), "{}", pictures.len());
}

#[tokio::test]
async fn calls_spread_evenly_over_a_frame_and_the_first_one_waits_for_nothing() {
    let player = Player::start(options());
    let staggers: Vec<_> = (0..8).map(|_| player.clone().next_stagger().as_millis()).collect();
    // Two chats are less than a frame of sound apart, however many there are.
    assert_eq!(staggers, [0, 5, 10, 15, 0, 5, 10, 15]);
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_hears_what_is_due_next() {
    let player = Player::start(options());
    let mut first = player.listen().await;
    for _ in 0..50 {
        turn().await;
    }
    let heard = drain(&mut first);
    let mut second = player.listen().await;
    tokio::task::yield_now().await;
    let at_once = of_kind(&drain(&mut second), MediaKind::Audio);
    let now = now();
    assert!(at_once[0].due >= now && at_once[0].due < now + Duration::from_millis(20));
    assert!(at_once.windows(2).all(|pair| pair[1].at == pair[0].at + MediaTime::from_millis(20)));
    assert_eq!(at_once.last().unwrap().at, heard.last().unwrap().at, "and nothing is heard twice");
    close(&player).await;
}

#[tokio::test(start_paused = true)]
async fn a_late_call_begins_at_a_key_frame_and_a_slow_one_slows_nobody() {
    let player = Player::start(PlayerOptions::default());
    let mut events = player.events();
    let slow = player.listen().await;
    player.enqueue(Clip::of_secs(8).item("a")).await.unwrap();
    until(&mut events, |event| matches!(event, PlayerEvent::ItemStarted { .. })).await;
    for _ in 0..33 {
        turn().await;
    }
    let mut late = player.listen().await;
    let mut heard = Vec::new();
    until(&mut events, |event| {
        heard.extend(drain(&mut late));
        matches!(event, PlayerEvent::ItemEnded { .. })
    })
    .await;
    let first = of_kind(&heard, MediaKind::Video).remove(0);
    assert!(first.frame.key && number(&first.frame) > 0);
    assert_eq!(late.dropped(), 0);
    assert!(slow.dropped() > 200, "it took nothing for eight seconds");
    let sound = of_kind(&heard, MediaKind::Audio);
    assert!(sound.windows(2).all(|pair| pair[1].at == pair[0].at + MediaTime::from_millis(20)));
    player.close().await;
}

#[tokio::test(start_paused = true)]
async fn closing_leaves_no_reader() {
    let player = Player::start(PlayerOptions { repeat: Repeat::All, ..options() });
    assert_eq!(player.status().borrow().repeat, Repeat::All, "also before anything has happened");
    let mut events = player.events();
    let (item, gone) = watched(Clip::of_secs(1), || {});
    let id = player.enqueue(item).await.unwrap();
    for _ in 0..3 {
        until(&mut events, |event| matches!(event, PlayerEvent::ItemStarted { .. })).await;
    }
    let status = player.status();
    assert_eq!(status.borrow().item, Some(id));
    close(&player).await;
    assert_eq!(gone.try_recv(), Err(mpsc::TryRecvError::Disconnected), "all readers are dropped");
    assert_eq!(status.borrow().state, PlayerState::Ended);
    let mut ended = Vec::new();
    while let Ok(event) = events.recv().await {
        if let PlayerEvent::ItemEnded { reason, .. } = event {
            ended.push(reason);
        }
    }
    assert_eq!(ended.last(), Some(&EndReason::Stopped));

    player.close().await;
    assert!(matches!(player.pause().await, Err(PlayError::Closed)));
    assert!(matches!(player.enqueue(Clip::of_secs(1).item("b")).await, Err(PlayError::Closed)));
    assert!(player.listen().await.recv().await.is_none());
    assert!(player.events().recv().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_ends_the_programme() {
    let player = Player::start(options());
    let clone = player.clone();
    let mut listener = player.listen().await;
    let mut events = player.events();
    let (item, gone) = watched(Clip::of_secs(100), || {});
    player.enqueue(item).await.unwrap();
    drop(player);
    until(&mut events, |event| matches!(event, PlayerEvent::ItemStarted { .. })).await;
    drop(clone);
    while listener.recv().await.is_some() {}
    while events.recv().await.is_ok() {}
    assert_eq!(gone.recv(), Err(mpsc::RecvError));
}

#[test]
fn a_runtime_that_goes_away_takes_the_readers_along() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (item, gone) = watched(Clip::of_secs(100), || {});
    let player = runtime.block_on(async {
        let player = Player::start(options());
        player.enqueue(item).await.unwrap();
        player
    });
    drop(runtime);
    assert_eq!(gone.recv(), Err(mpsc::RecvError));
    drop(player);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_panics_ends_its_item_alone() {
    let player = Player::start(options());
    let mut events = player.events();
    let (item, gone) = watched(Clip::of_secs(5), || panic!("on purpose"));
    let bad = player.enqueue(item).await.unwrap();
    let good = player.enqueue(Clip::of_secs(1).item("good")).await.unwrap();
    let ended = until(&mut events, |event| matches!(event, PlayerEvent::ItemEnded { .. })).await;
    let PlayerEvent::ItemEnded { item, reason, error, .. } = ended else { unreachable!() };
    assert_eq!((item, reason), (bad, EndReason::Failed));
    assert!(matches!(error, Some(ItemError::Crashed)));
    let ended = until(&mut events, |event| matches!(event, PlayerEvent::ItemEnded { .. })).await;
    assert!(
        matches!(ended, PlayerEvent::ItemEnded { item, reason: EndReason::Finished, .. } if item == good)
    );
    player.close().await;
    assert_eq!(gone.recv(), Err(mpsc::RecvError));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_hangs_holds_up_neither_the_next_item_nor_the_end() {
    let player = Player::start(options());
    let mut events = player.events();
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    let (item, gone) = watched(Clip::of_secs(5), move || {
        let _released = held.lock().unwrap().recv();
    });
    let hanging = player.enqueue(item).await.unwrap();
    player.enqueue(Clip::of_secs(1).item("good")).await.unwrap();
    for _ in 0..100 {
        turn().await;
    }
    assert_eq!(player.status().borrow().state, PlayerState::Loading);
    player.skip().await.unwrap();
    let mut ended = Vec::new();
    until(&mut events, |event| {
        if let PlayerEvent::ItemEnded { item, reason, .. } = event {
            ended.push((*item, *reason));
        }
        ended.len() == 2
    })
    .await;
    assert_eq!(ended[0], (hanging, EndReason::Skipped));
    assert_eq!(ended[1].1, EndReason::Finished);
    player.close().await;
    drop(release);
    assert_eq!(gone.recv(), Err(mpsc::RecvError), "it ends when its read returns");
}

#[tokio::test(start_paused = true)]
async fn commands_are_answered() {
    let player = Player::start(options());
    let mut events = player.events();
    assert!(matches!(player.seek(MediaTime::ZERO).await, Err(PlayError::NothingPlaying)));
    assert!(matches!(player.skip().await, Err(PlayError::NothingPlaying)));
    assert!(matches!(player.set_volume(999).await, Err(PlayError::Volume { percent: 999 })));
    let id = player.enqueue(Clip::of_secs(60).item("a")).await.unwrap();
    until(&mut events, |event| matches!(event, PlayerEvent::ItemStarted { .. })).await;
    assert_eq!(player.seek(MediaTime::from_millis(30_500)).await.unwrap(), MediaTime::from_secs(30));
    let sought = until(
        &mut events,
        |event| matches!(event, PlayerEvent::Position { position, .. } if *position >= MediaTime::from_secs(30)),
    );
    assert!(matches!(sought.await, PlayerEvent::Position { item, .. } if item == id));
    player.set_volume(50).await.unwrap();
    player.pause().await.unwrap();
    turn().await;
    let status = player.status().borrow().clone();
    assert_eq!((status.state, status.paused, status.volume_percent), (PlayerState::Paused, true, 50));
    player.resume().await.unwrap();
    let now = player.play_now(Clip::of_secs(1).item("b")).await.unwrap();
    let ended = until(&mut events, |event| matches!(event, PlayerEvent::ItemEnded { .. })).await;
    assert!(matches!(ended, PlayerEvent::ItemEnded { item, reason: EndReason::Skipped, .. } if item == id));
    player.stop().await.unwrap();
    let ended = until(&mut events, |event| matches!(event, PlayerEvent::ItemEnded { .. })).await;
    assert!(matches!(ended, PlayerEvent::ItemEnded { item, reason: EndReason::Stopped, .. } if item == now));
    until(&mut events, |event| matches!(event, PlayerEvent::QueueEnded)).await;
    player.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_hears_the_end_of_every_item_and_the_queue_has_an_end() {
    let player = Player::start(options());
    let mut events = player.follow().await;
    player.pause().await.unwrap();
    let mut n_queued = 0;
    while let Ok(id) = player.enqueue(Clip::of_secs(1).item("a")).await {
        n_queued += 1;
        assert!(id.0 <= 2 * MAX_QUEUED as u64, "it never ends");
    }
    assert!((MAX_QUEUED..MAX_QUEUED + 3).contains(&n_queued), "{n_queued}");
    assert!(matches!(player.play_now(Clip::of_secs(1).item("b")).await, Err(PlayError::QueueFull)));
    player.stop().await.unwrap();
    let mut ended = Vec::new();
    // Nobody takes anything until all has been told: more than a spectator may be behind.
    while events.len() < n_queued + 1 {
        turn().await;
    }
    assert!(matches!(player.enqueue(Clip::of_secs(1).item("c")).await, Err(PlayError::QueueFull)), "untold");
    while let Ok(event) = events.try_recv() {
        if let PlayerEvent::ItemEnded { item, reason, source, .. } = event {
            assert_eq!((reason, &*source), (EndReason::Stopped, "a"));
            ended.push(item.0);
        }
    }
    assert_eq!(ended, (1..=n_queued as u64).collect::<Vec<_>>());
    player.enqueue(Clip::of_secs(1).item("d")).await.expect("there is room again");
    close(&player).await;
    let mut last = None;
    while let Some(event) = events.recv().await {
        last = Some(event);
    }
    assert!(matches!(last, Some(PlayerEvent::ItemEnded { .. })), "{last:?}");
}
