//! What docs/telegram.md lists as never checked, fact by fact: done with an account, seen by a
//! person where only a person can see it.

use std::time::Duration;

use telecast::call::{Call, CallEvent, CallStatus, ChatId, JoinOptions, LeftReason};
use telecast::player::{Item, Player, PlayerOptions, Repeat};
use telecast::telegram::{
    Chat, Client, JoinVideoChat, SignalingOptions, TelegramError, TelegramSignaling, VideoChatId,
};

/// A join, from the request to confirmed media.
const JOIN: Duration = Duration::from_secs(60);

/// Asks a person: yes, no, or nothing for "leave it out".
pub(crate) type Ask<'a> = &'a mut dyn FnMut(&str) -> Option<bool>;

/// What came of one fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// As docs/telegram.md numbers it.
    pub(crate) fact: u32,
    /// Nothing when it was left out.
    pub(crate) holds: Option<bool>,
    /// What was seen.
    pub(crate) seen: String,
}

/// Goes through the facts in a chat that this account is an admin of and that has no video chat.
pub(crate) async fn check(client: &Client, chat: &Chat, ask: Ask<'_>) -> Vec<Outcome> {
    let mut facts = Facts { client, chat, ask, outcomes: Vec::new() };
    facts.signing_in().await;
    facts.chats().await;
    facts.scheduled().await;
    let Some(id) = facts.begin().await else { return facts.outcomes };
    facts.identifiers(id).await;
    facts.playing().await;
    facts.links(id).await;
    facts.other_peer().await;
    facts.admins().await;
    facts.cable().await;
    facts.ask(20, "does `telecast play https://t.me/…` play files of an hour, and of other data centers?");
    facts.ask(21, "does `telecast play music.ogg --chat t.me/+…` play into a chat that this account is in?");
    facts.ask(
        25,
        "a call that had to join twice, for example after the cable: is its row still there a minute later?",
    );
    facts.ask(23, "does a login code that comes by mail work?");
    facts.ask(24, "with a wrong API_ID: does `telecast whoami` name my.telegram.org?");
    facts.ask(22, "with the session ended on another device: does `telecast login` come to a new one?");
    // What was begun is ended, whatever became of the rest.
    if let Err(error) = client.end_video_chat(id).await {
        println!("the video chat was not ended: {error}");
    }
    facts.outcomes.sort_by_key(|outcome| outcome.fact);
    facts.outcomes
}

struct Facts<'a> {
    client: &'a Client,
    chat: &'a Chat,
    ask: Ask<'a>,
    outcomes: Vec<Outcome>,
}

impl Facts<'_> {
    fn note(&mut self, fact: u32, holds: impl Into<Option<bool>>, seen: impl ToString) {
        self.outcomes.push(Outcome { fact, holds: holds.into(), seen: seen.to_string() });
    }

    fn ask(&mut self, fact: u32, question: &str) {
        let answer = (self.ask)(question);
        self.note(fact, answer, question);
    }

    async fn signing_in(&mut self) {
        match self.client.account().await {
            Ok(account) => {
                self.note(1, true, "a key was agreed upon, and it is good");
                self.note(4, true, format!("signed in as {}", account.name));
            }
            Err(error) => self.note(4, false, error),
        }
        self.ask(2, "did `telecast login` with a QR code work?");
        self.ask(3, "did `telecast login --phone` work, with the code where it said, and the password?");
    }

    async fn chats(&mut self) {
        let chats = match self.client.chats().await {
            Ok(chats) => chats,
            Err(error) => return self.note(5, false, error),
        };
        let mut ids: Vec<i64> = chats.iter().map(|chat| chat.id).collect();
        ids.sort_unstable();
        let n_twice = ids.windows(2).filter(|pair| pair[0] == pair[1]).count();
        self.note(5, n_twice == 0, format!("{} chats, {n_twice} of them twice", chats.len()));
        let live: Vec<_> = chats.iter().filter(|chat| chat.call_active).map(|chat| &chat.title[..]).collect();
        self.ask(6, &format!("are these all chats with a video chat, running or scheduled: {live:?}?"));
    }

    /// A video chat that has not begun: what a join hears, and that its beginning is told.
    async fn scheduled(&mut self) {
        let scheduled = async {
            let at = self.client.server_time().await? + 3600;
            self.client.schedule_video_chat(self.chat, None, at).await
        };
        let id = match scheduled.await {
            Ok(id) => id,
            Err(error) => return self.note(11, None, error),
        };
        let answer = self.client.join_video_chat(id, "{}", JoinVideoChat::default()).await;
        let word = word(&answer);
        let is_refused = word.as_deref() == Some("GROUPCALL_FORBIDDEN");
        let (call, player) = self.join(JoinOptions { wait_for_start: true, ..sound() });
        let mut events = call.events();
        let waits = async { while !matches!(events.recv().await, Ok(CallEvent::Waiting { .. }) | Err(_)) {} };
        let waited = tokio::time::timeout(JOIN, waits).await.is_ok();
        let started = self.client.start_scheduled_video_chat(id).await;
        let joined = started.is_ok() && joined(&call).await.is_ok();
        self.note(
            11,
            is_refused && waited && joined,
            format!("{word:?}, waited: {waited}, joined: {joined}"),
        );
        self.note(12, joined, "the beginning was told to an account that had not joined");
        end(call, player).await;
        if let Err(error) = self.client.end_video_chat(id).await {
            println!("the scheduled video chat was not ended: {error}");
        }
    }

    async fn begin(&mut self) -> Option<VideoChatId> {
        match self.client.start_video_chat(self.chat, None).await {
            Ok(id) => {
                self.note(14, true, "this account may begin a video chat");
                Some(id)
            }
            Err(error) => {
                self.note(14, false, error);
                None
            }
        }
    }

    /// The same SSRCs in two joins.
    async fn identifiers(&mut self, id: VideoChatId) {
        let fingerprint = vec!["AB"; 32].join(":");
        let params = format!(
            r#"{{"ssrc":1203778145,"ufrag":"k8Qz","pwd":"Y1nVb0oXw7c3Lr5TgJ2uKeHs","ssrc-groups":[],
               "fingerprints":[{{"hash":"sha-256","setup":"passive","fingerprint":"{fingerprint}"}}]}}"#
        );
        let options = JoinVideoChat { video: false, ..JoinVideoChat::default() };
        let first = self.client.join_video_chat(id, &params, options.clone()).await;
        let second = self.client.join_video_chat(id, &params, options).await;
        let said = (word(&first), word(&second));
        let holds = said == (None, Some("GROUPCALL_SSRC_DUPLICATE_MUCH".to_owned()));
        self.note(10, holds, format!("{said:?}"));
        if let Err(error) = self.client.leave_video_chat(id).await {
            println!("not left: {error}");
        }
    }

    /// Sound, pictures, and the same account once more.
    async fn playing(&mut self) {
        let (call, player) = self.join(JoinOptions { video_stopped: true, ..JoinOptions::default() });
        let first = joined(&call).await;
        self.note(7, first.is_ok(), format!("the answer was understood: {first:?}"));
        self.note(13, first.is_ok(), "the own row came, in the answer or as an update");
        self.ask(7, "do others hear music?");
        if let Err(error) = player.play_now(Item::file("media/clip.mp4")).await {
            println!("no clip: {error}");
        }
        self.ask(8, "do others see the clip now, though the account entered without a camera?");
        let (second, other_player) = self.join(sound());
        let again = joined(&second).await;
        let left = tokio::time::timeout(JOIN, call.closed()).await;
        self.note(9, again.is_ok(), format!("a second join: {again:?}"));
        self.note(18, left == Ok(LeftReason::Elsewhere), format!("the first was left: {left:?}"));
        player.close().await;
        end(second, other_player).await;
    }

    async fn links(&mut self, id: VideoChatId) {
        let link = self.client.export_invite_link(id, true).await;
        let name = link.as_ref().ok().and_then(|link| link.parse::<telecast::telegram::ChatName>().ok());
        let holds = link.is_ok().then(|| name.is_some_and(|name| name.invite_hash.is_some()));
        self.note(
            15,
            holds,
            link.map_or_else(|error| error.to_string(), |_| "a speaker link was read".into()),
        );
    }

    async fn other_peer(&mut self) {
        let peers = self.client.join_as_peers(self.chat).await.unwrap_or_default();
        let Some(other) = peers.into_iter().nth(1) else {
            return self.note(16, None, "there is nobody else to appear as");
        };
        let (call, player) = self.join(JoinOptions { join_as: Some(other.id), ..sound() });
        let came = joined(&call).await;
        self.note(16, came.is_ok(), format!("as {}: {came:?}", other.title));
        end(call, player).await;
    }

    async fn admins(&mut self) {
        let (call, player) = self.join(sound());
        let mut events = call.events();
        if joined(&call).await.is_ok()
            && (self.ask)("another admin is to mute this account now; answer when it is done") == Some(true)
        {
            let told = std::iter::from_fn(|| events.try_recv().ok());
            let muted = told.into_iter().any(|it| it == CallEvent::MutedByAdmin { muted: true });
            self.note(17, muted, "the mute was told");
        } else {
            self.note(17, None, "nobody muted it");
        }
        end(call, player).await;
    }

    async fn cable(&mut self) {
        let (call, player) = self.join(sound());
        if joined(&call).await.is_ok()
            && (self.ask)("pull the network cable for a minute, and answer when it is in again") == Some(true)
        {
            let mut status = call.status();
            let back = status.wait_for(|status| *status == CallStatus::Joined);
            let back = tokio::time::timeout(JOIN, back).await.is_ok_and(|status| status.is_ok());
            self.note(19, back, "the call came back");
        } else {
            self.note(19, None, "the cable stayed in");
        }
        end(call, player).await;
    }

    fn join(&self, options: JoinOptions) -> (Call, Player) {
        let signaling = TelegramSignaling::new(self.client.clone(), SignalingOptions::default());
        let player = Player::start(PlayerOptions { repeat: Repeat::All, ..PlayerOptions::default() });
        let call = Call::join(ChatId(self.chat.id.to_string()), &signaling, &player, options);
        let music = player.clone();
        tokio::spawn(async move {
            // A player that is closed plays nothing.
            let _ = music.enqueue(Item::file("media/music.ogg")).await;
        });
        (call, player)
    }
}

fn sound() -> JoinOptions {
    JoinOptions { video: false, ..JoinOptions::default() }
}

async fn joined(call: &Call) -> Result<(), String> {
    match tokio::time::timeout(JOIN, call.joined()).await {
        Ok(joined) => joined.map_err(|reason| format!("{reason:?}")),
        Err(_) => Err(format!("not within {} s", JOIN.as_secs())),
    }
}

async fn end(call: Call, player: Player) {
    call.leave(LeftReason::Command).await;
    call.closed().await;
    player.close().await;
}

/// Telegram's word, if it refused.
fn word<T>(result: &Result<T, TelegramError>) -> Option<String> {
    match result {
        Ok(_) => None,
        Err(TelegramError::Rpc { message, .. }) => Some(message.clone()),
        Err(error) => Some(error.to_string()),
    }
}
