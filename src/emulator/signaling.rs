//! The in-process door: a call's requests in, replies and updates out, in the words of
//! [`crate::call::signaling`]. One task per link; it ends with the link or with the emulator.

use tokio::sync::{broadcast, mpsc};
use tokio_util::task::TaskTracker;

use super::net::{Control, EmulatorError};
use super::rpc::RpcError;
use super::sfu::{JoinRequest, SfuEvent};
use crate::call::signaling::{
    ChatId, Incoming, Join, LINK_CAPACITY, Link, Method, ParticipantRow, Reply, Request, Signaling,
    SignalingError, Update,
};
use crate::secret::Secret;

/// The emulator as one participant's way to Telegram.
#[derive(Debug)]
pub(super) struct EmulatedSignaling {
    control: Control,
    name: String,
    observer: bool,
    tasks: TaskTracker,
    runtime: tokio::runtime::Handle,
}

impl EmulatedSignaling {
    pub(super) const fn new(
        control: Control,
        name: String,
        tasks: TaskTracker,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        Self { control, name, observer: false, tasks, runtime }
    }

    /// Joins as an instrument, not as a subject: without weather on its link.
    pub(super) const fn observing(mut self) -> Self {
        self.observer = true;
        self
    }
}

impl Signaling for EmulatedSignaling {
    fn open(&self, chat: &ChatId) -> Link {
        let (requests, inbox) = mpsc::channel(LINK_CAPACITY);
        let (outbox, incoming) = mpsc::channel(LINK_CAPACITY);
        let door = Door {
            control: self.control.clone(),
            chat: chat.0.clone(),
            name: self.name.clone(),
            observer: self.observer,
            outbox,
            n_dropped: 0,
        };
        let events = self.control.subscribe();
        self.tasks.spawn_on(door.run(inbox, events), &self.runtime);
        Link { requests, incoming }
    }
}

/// The emulator's end of a link.
#[derive(Debug)]
struct Door {
    control: Control,
    chat: String,
    name: String,
    observer: bool,
    outbox: mpsc::Sender<Incoming>,
    n_dropped: u64,
}

impl Door {
    async fn run(mut self, mut inbox: mpsc::Receiver<Request>, mut events: broadcast::Receiver<SfuEvent>) {
        let cancel = self.control.cancel.clone();
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                request = inbox.recv() => {
                    let Some(Request { id, method }) = request else { return };
                    // Telegram sends updates and answer in one container, in any order.
                    let updates_first = matches!(&method, Method::Join(join) if join.attempt % 2 == 0);
                    if let Method::Join(Join { join_as: Some(name), .. }) = &method {
                        self.name.clone_from(name);
                    }
                    let result = self.answer(method).await;
                    while updates_first && let Ok(event) = events.try_recv() {
                        self.pass_on(event);
                    }
                    let reply = self.outbox.send(Incoming::Reply { id, result });
                    tokio::select! {
                        () = cancel.cancelled() => return,
                        sent = reply => if sent.is_err() { return },
                    }
                }
                event = events.recv() => match event {
                    Ok(event) => self.pass_on(event),
                    Err(broadcast::error::RecvError::Lagged(n)) => self.count_dropped(n),
                    Err(broadcast::error::RecvError::Closed) => return,
                },
            }
        }
    }

    async fn answer(&self, method: Method) -> Result<Reply, SignalingError> {
        let (chat, name) = (self.chat.clone(), self.name.clone());
        let with = &self.control;
        match method {
            Method::Join(join) => {
                let request = JoinRequest {
                    chat,
                    name,
                    params: join.params.expose().clone(),
                    muted: join.muted,
                    video_stopped: join.video_stopped,
                    observer: self.observer,
                };
                let joined = with.with(move |sfu, now| sfu.join(&request, now)).await.map_err(closed)??;
                Ok(Reply::Joined { params: Secret::new(joined.params) })
            }
            Method::Edit(edit) => {
                with.with(move |sfu, now| sfu.edit(&chat, &name, &edit, now)).await.map_err(closed)??;
                Ok(Reply::Done)
            }
            Method::Check { sources } => {
                let known =
                    with.with(move |sfu, _| sfu.check(&chat, &name, &sources)).await.map_err(closed)??;
                Ok(Reply::Sources(known))
            }
            Method::Participants { sources, offset } => {
                let own = name.clone();
                let page = with
                    .with(move |sfu, _| {
                        sfu.check(&chat, &name, &[]).map(|_| sfu.list(&chat, &sources, &offset))
                    })
                    .await
                    .map_err(closed)??;
                let participants = page.participants.into_iter().map(|row| mark_self(row, &own)).collect();
                Ok(Reply::Participants(crate::call::signaling::ParticipantsPage { participants, ..page }))
            }
            Method::Leave { source } => {
                with.with(move |sfu, now| sfu.leave(&chat, &name, source, now)).await.map_err(closed)??;
                Ok(Reply::Done)
            }
        }
    }

    fn pass_on(&mut self, event: SfuEvent) {
        let update = match event {
            SfuEvent::Participants { chat, rows, version } if chat == self.chat => {
                let participants = rows.into_iter().map(|row| mark_self(row, &self.name)).collect();
                Update::Participants { participants, version }
            }
            SfuEvent::Discarded { chat } if chat == self.chat => Update::Discarded,
            _ => return,
        };
        if self.outbox.try_send(Incoming::Update(update)).is_err() {
            self.count_dropped(1);
        }
    }

    fn count_dropped(&mut self, n: u64) {
        self.n_dropped += n;
        tracing::warn!(
            chat = self.chat,
            name = self.name,
            n_dropped = self.n_dropped,
            "a slow link misses updates"
        );
    }
}

fn mark_self(mut row: ParticipantRow, name: &str) -> ParticipantRow {
    row.is_self = row.peer == name;
    row
}

impl From<RpcError> for SignalingError {
    fn from(RpcError { code, message }: RpcError) -> Self {
        Self::Rpc { code, message }
    }
}

fn closed(_: EmulatorError) -> SignalingError {
    SignalingError::Closed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::{Emulator, EmulatorOptions};

    const FINGERPRINT: &str = "3B:91:0C:5E:77:AA:14:D2:60:8F:E1:49:B3:02:CD:7A:\
                               95:6E:2F:18:C4:8D:31:F0:5B:A6:E9:13:70:4C:DE:28";

    fn join(attempt: u32, source: i32) -> Method {
        let params = serde_json::json!({
            "ssrc": source, "ufrag": "k8Qz", "pwd": "Y1nVb0oXw7c3Lr5TgJ2uKeHs",
            "fingerprints": [{ "hash": "sha-256", "setup": "passive", "fingerprint": FINGERPRINT }],
        });
        let params = Secret::new(params.to_string());
        Method::Join(Join {
            attempt,
            source,
            params,
            muted: true,
            video_stopped: true,
            join_as: None,
            invite_hash: None,
        })
    }

    async fn ask(link: &mut Link, id: u64, method: Method) -> (Result<Reply, SignalingError>, Vec<Incoming>) {
        link.requests.send(Request { id, method }).await.expect("open");
        let mut before = Vec::new();
        loop {
            match link.incoming.recv().await.expect("open") {
                Incoming::Reply { id: of, result } => {
                    assert_eq!(of, id);
                    return (result, before);
                }
                update => before.push(update),
            }
        }
    }

    #[tokio::test]
    async fn a_whole_conversation() {
        let emulator = Emulator::start(EmulatorOptions::default()).await.expect("starts");
        let mut link = emulator.signaling("bot").open(&ChatId("c".into()));
        let missing = SignalingError::Rpc { code: 400, message: "GROUPCALL_JOIN_MISSING".into() };
        assert_eq!(ask(&mut link, 1, Method::Check { sources: vec![5] }).await.0, Err(missing));

        let (joined, before) = ask(&mut link, 2, join(2, 5)).await;
        assert!(matches!(joined, Ok(Reply::Joined { params }) if params.expose().contains("H264")));
        let [Incoming::Update(Update::Participants { participants, version: 1 })] = &before[..] else {
            panic!("even attempts get their row before the answer: {before:?}");
        };
        assert!(participants[0].is_self && participants[0].just_joined && participants[0].muted);

        assert_eq!(
            ask(&mut link, 3, Method::Check { sources: vec![5, 6] }).await.0,
            Ok(Reply::Sources(vec![5]))
        );
        let (page, _) =
            ask(&mut link, 4, Method::Participants { sources: vec![], offset: String::new() }).await;
        assert!(
            matches!(page, Ok(Reply::Participants(page)) if page.participants[0].is_self && page.version == 1)
        );
        assert_eq!(ask(&mut link, 5, Method::Leave { source: 5 }).await.0, Ok(Reply::Done));
        emulator.shutdown().await;
        while link.incoming.recv().await.is_some() {}
    }

    #[tokio::test]
    async fn others_hear_of_a_newcomer() {
        let emulator = Emulator::start(EmulatorOptions::default()).await.expect("starts");
        let mut first = emulator.signaling("first").open(&ChatId("c".into()));
        let mut elsewhere = emulator.signaling("elsewhere").open(&ChatId("d".into()));
        let mut second = emulator.signaling("second").open(&ChatId("c".into()));
        ask(&mut second, 1, join(1, 7)).await.0.expect("joins");
        let Some(Incoming::Update(Update::Participants { participants, .. })) = first.incoming.recv().await
        else {
            panic!("an update was due");
        };
        assert_eq!(
            (&participants[0].peer[..], participants[0].is_self, participants[0].source),
            ("second", false, 7)
        );
        emulator.shutdown().await;
        assert!(elsewhere.incoming.recv().await.is_none(), "another chat hears nothing");
    }
}
