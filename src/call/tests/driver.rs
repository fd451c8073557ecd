//! The task around a call, and a signaling side that is slow or gone.

use std::sync::Mutex;

use tokio::sync::mpsc;

use crate::call::signaling::{Link, Method, Request};
use crate::call::{
    Call, CallEvent, CallStatus, ChatId, Command, JoinError, JoinOptions, LeftReason, Signaling,
};
use crate::emulator::{Emulator, EmulatorOptions};
use crate::player::{Player, PlayerOptions};

/// Gives out one link that the test holds the other end of.
#[derive(Debug)]
struct OneLink(Mutex<Option<Link>>);

impl Signaling for OneLink {
    fn open(&self, _: &ChatId) -> Link {
        self.0.lock().expect("nobody panics").take().expect("one call is made")
    }
}

/// A call whose link is full before it has asked for anything.
fn call_with_a_full_link() -> (Call, mpsc::Receiver<Request>, mpsc::Sender<crate::call::signaling::Incoming>)
{
    let (requests, other_end) = mpsc::channel(1);
    let (to_call, incoming) = mpsc::channel(1);
    requests
        .try_send(Request { id: 0, method: Method::Check { sources: Vec::new() } })
        .expect("room for one");
    let signaling = OneLink(Mutex::new(Some(Link { requests, incoming })));
    let player = Player::start(PlayerOptions::default());
    let call = Call::join(ChatId("slow".into()), &signaling, &player, JoinOptions::default());
    (call, other_end, to_call)
}

#[tokio::test]
async fn a_full_link_is_waited_for_and_the_goodbye_goes_through_it() {
    let (call, mut requests, _incoming) = call_with_a_full_link();
    // Answered by the task, so by then it has come to rest.
    assert!(call.stats().await.is_some(), "{:?}", call.status().borrow());
    assert_eq!(*call.status().borrow(), CallStatus::Joining);
    assert!(requests.recv().await.is_some_and(|request| request.id == 0));
    let Some(Method::Join(join)) = requests.recv().await.map(|request| request.method) else {
        panic!("the join comes when there is room")
    };
    call.leave(LeftReason::Command).await;
    assert_eq!(call.closed().await, LeftReason::Command);
    let last = requests.recv().await.map(|request| request.method);
    assert_eq!(last, Some(Method::Leave { source: join.source }));
    assert!(requests.recv().await.is_none(), "the task has ended");
}

#[tokio::test]
async fn a_link_that_nobody_holds_ends_the_call() {
    let (call, requests, _incoming) = call_with_a_full_link();
    drop(requests);
    let LeftReason::Failed(error) = call.closed().await else { panic!("it must not end well") };
    assert_eq!(error.code(), "signaling_closed");
}

#[tokio::test]
async fn a_bug_in_one_call_ends_it_alone_and_is_told() {
    let emulator = Emulator::start(EmulatorOptions::default()).await.expect("starts");
    let player = Player::start(PlayerOptions::default());
    let signaling = emulator.signaling("bot");
    let [doomed, other] =
        ["a", "b"].map(|chat| Call::join(ChatId(chat.into()), &*signaling, &player, JoinOptions::default()));
    for call in [&doomed, &other] {
        call.joined().await.expect("joins");
    }
    let mut events = doomed.events();
    doomed.commands.send(Command::Panic).await.expect("it listens");
    let bug = LeftReason::Failed(JoinError::Interrupted);
    assert_eq!(events.recv().await, Ok(CallEvent::Status(CallStatus::Left(bug.clone()))));
    assert_eq!(doomed.closed().await, bug);

    let sent = async || other.stats().await.expect("it goes on").media.audio.expect("sound").packets_sent;
    let before = sent().await;
    while sent().await < before + 5 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*other.status().borrow(), CallStatus::Joined);
    emulator.shutdown().await;
}
