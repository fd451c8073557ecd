//! The real client against the MTProto server on this machine: the wire, the methods, the calls.

use std::time::Duration;

use telecast::call::{Call, ChatId, JoinOptions, LeftReason};
use telecast::emulator::measure::Wanted;
use telecast::emulator::mtproto::{AccountId, ChatKind, MtprotoDoor, NewCall, NewChat, TelegramChatId};
use telecast::emulator::{Emulator, EmulatorOptions, JoinRequest, Weather};
use telecast::player::{Item, Player, PlayerOptions, Repeat};
use telecast::secret::Secret;
use telecast::telegram::{Client, ClientOptions, Datacenter, Session, SignalingOptions, TelegramSignaling};

#[cfg(feature = "cli")]
mod account;
mod calls;
#[cfg(feature = "cli")]
mod desk;
#[cfg(feature = "cli")]
mod doctor;
mod errors;
mod faults;
mod files;
mod flapping;
mod foreign;
mod live;
#[cfg(feature = "cli")]
mod local;
mod login;
mod methods;
#[cfg(feature = "cli")]
mod metrics;
#[cfg(feature = "cli")]
mod program;
#[cfg(feature = "cli")]
mod restart;
#[cfg(feature = "cli")]
mod separate;
#[cfg(feature = "cli")]
mod steering;
mod storm;

const ROOM: &str = "demo";
const NAME: &str = "@demo_chat";
const BOTH: Wanted = Wanted { video: true, audio: true };

/// What somebody else joins with.
const PARAMS: &str = r#"{"ssrc":7,"ufrag":"k8Qz","pwd":"Y1nVb0oXw7c3Lr5TgJ2uKeHs","fingerprints":[{"hash":"sha-256",
    "setup":"passive","fingerprint":"3B:91:0C:5E:77:AA:14:D2:60:8F:E1:49:B3:02:CD:7A:95:6E:2F:18:C4:8D:31:F0:5B:A6:E9:13:70:4C:DE:28"}]}"#;

/// A Telegram of our own with one chat, an account that is admin in it, and a client that is
/// signed in to that account.
struct Lab {
    emulator: Emulator,
    door: MtprotoDoor,
    account: AccountId,
    key: Secret<[u8; 256]>,
    chat: TelegramChatId,
    client: Client,
}

impl Lab {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut ClientOptions)) -> Self {
        Self::on(EmulatorOptions::default(), change).await
    }

    async fn in_weather(weather: Option<Weather>) -> Self {
        Self::on(EmulatorOptions { weather, ..EmulatorOptions::default() }, |_| {}).await
    }

    async fn on(emulator: EmulatorOptions, change: impl FnOnce(&mut ClientOptions)) -> Self {
        let emulator = Emulator::start(emulator).await.unwrap();
        let door = emulator.serve_mtproto("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let account = door.add_account("bot");
        let key = door.add_key(Some(account));
        let chat = door.add_chat(&NewChat {
            kind: ChatKind::Supergroup,
            title: "Demo",
            username: Some("demo_chat"),
            room: ROOM,
            admins: &[account],
        });
        let mut options = options();
        change(&mut options);
        let client = Client::connect(session(&door, &key), options).await.unwrap();
        Self { emulator, door, account, key, chat, client }
    }

    fn begin(&self) {
        self.door.begin_call(self.chat, &NewCall::default());
    }

    fn signaling(&self, start: bool) -> TelegramSignaling {
        TelegramSignaling::new(self.client.clone(), SignalingOptions { start })
    }

    /// Joins with sound only.
    async fn join(&self) -> Joined {
        self.join_as(JoinOptions::default()).await
    }

    async fn join_as(&self, options: JoinOptions) -> Joined {
        self.join_to(NAME, options).await
    }

    async fn join_at(&self, chat: &str) -> Joined {
        self.join_to(chat, JoinOptions::default()).await
    }

    async fn join_to(&self, chat: &str, options: JoinOptions) -> Joined {
        let player = Player::start(PlayerOptions { repeat: Repeat::All, ..PlayerOptions::default() });
        player.enqueue(Item::file("media/music.ogg")).await.unwrap();
        let options = JoinOptions { video: false, ..options };
        let call = Call::join(ChatId(chat.into()), &self.signaling(false), &player, options);
        Joined { call, player }
    }

    /// How many connections under our name the server has.
    async fn n_bots(&self) -> usize {
        self.emulator.stats(ROOM).await.unwrap().iter().filter(|it| it.name == "bot").count()
    }

    async fn end(self) {
        self.client.shutdown().await;
        self.emulator.shutdown().await;
    }
}

struct Joined {
    call: Call,
    player: Player,
}

impl Joined {
    async fn leave(self) {
        self.call.leave(LeftReason::Command).await;
        self.call.closed().await;
        self.player.close().await;
    }

    /// The word of the error that the call ended with.
    async fn failure(&self) -> String {
        match self.call.closed().await {
            LeftReason::Failed(error) => error.code().to_owned(),
            other => panic!("{other:?}"),
        }
    }
}

fn options() -> ClientOptions {
    ClientOptions::new(1, "0123456789abcdef0123456789abcdef".to_owned())
}

/// A session as a login would have left it: the same key at every data center.
fn session(door: &MtprotoDoor, key: &Secret<[u8; 256]>) -> Session {
    let session = Session::in_memory();
    let dc = |id| Datacenter { id, addr: door.local_addr(), key: Some(key.clone()) };
    session.set_datacenters(&[1, 2, 3, 4, 5].map(dc)).unwrap();
    session.assume_signed_in().unwrap();
    session
}

/// What a join brings that is none of ours: where another media server would be.
async fn elsewhere(emulator: &Emulator, nth: u32) -> String {
    let request = JoinRequest {
        chat: format!("elsewhere {nth}"),
        name: "bot".into(),
        params: PARAMS.into(),
        ..JoinRequest::default()
    };
    emulator.join_raw(request).await.unwrap().params
}

/// Waits for something that others bring about.
async fn until(is_so: impl Fn() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    let seen = tokio::time::timeout(Duration::from_secs(10), async {
        while !is_so() {
            looks.tick().await;
        }
    });
    seen.await.expect("it comes about");
}
