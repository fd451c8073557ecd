//! A Telegram on this machine: an MTProto server on the loopback interface whose video chats are
//! the emulator's rooms. A client that has never heard of it connects when its session holds the
//! server's address and one of its keys.
//!
//! ```text
//!  TCP ─► wire ─► crypto ─► session ─► methods ─► phone ──► the rooms (Sfu)
//!                              ▲          │                    │
//!                              │        faults                 │ SfuEvent
//!                              └───────── updates ◄────────────┘
//! ```
//!
//! The wire is served faithfully: transport, encryption, salts, containers, compression, service
//! messages. Of the methods there are those that a participant of video chats calls. Telegram's
//! policies (flood limits, who may see what) are not invented: where a client has to cope with
//! one, a [`Fault`] plays it. Nothing but the TL types is shared with the client.

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use grammers_tl_types as tl;
use tokio::sync::broadcast;

use super::net::{Emulator, EmulatorError};
use crate::secret::Secret;

mod auth;
mod crypto;
mod faults;
mod files;
mod invites;
mod methods;
mod objects;
mod phone;
mod server;
mod session;
mod srp;
mod wire;
mod world;

pub use faults::Fault;
pub use world::ChatKind;

use faults::Faults;
use invites::Invite;
use methods::Methods;
use server::{Pushes, Server};
use world::{Call, World};

/// Names an account of the emulated Telegram: TL's user id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub i64);

/// Names a chat of the emulated Telegram: TL's chat or channel id, without any sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TelegramChatId(pub i64);

/// A chat to be.
#[derive(Clone, Debug)]
pub struct NewChat<'a> {
    /// What kind of chat.
    pub kind: ChatKind,
    /// What people read.
    pub title: &'a str,
    /// For `@name` and `t.me/name`.
    pub username: Option<&'a str>,
    /// The emulator's room in which its calls take place.
    pub room: &'a str,
    /// Who may begin and end calls, and mute others.
    pub admins: &'a [AccountId],
}

/// A call to be, as an admin begins it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewCall {
    /// Unix time of the start, for a call that has not begun.
    pub schedule_date: Option<i32>,
    /// Newcomers enter muted by the admin.
    pub join_muted: bool,
    /// An RTMP stream.
    pub rtmp: bool,
    /// An encrypted conference.
    pub conference: bool,
    /// As many cameras are on as may be: `can_start_video` is false, and who comes gets no place
    /// for one.
    pub cameras_taken: bool,
}

/// A running MTProto server; it ends with the emulator.
#[derive(Clone, Debug)]
pub struct MtprotoDoor {
    server: Server,
}

impl Emulator {
    /// Opens the MTProto door at `addr`, which must be on the loopback interface; port 0 takes
    /// any free one.
    ///
    /// # Errors
    /// When the address is not on the loopback interface or not free.
    pub async fn serve_mtproto(&self, addr: SocketAddrV4) -> Result<MtprotoDoor, EmulatorError> {
        if !addr.ip().is_loopback() {
            return Err(EmulatorError::NotLoopback(SocketAddr::V4(addr)));
        }
        let bind = |cause| EmulatorError::Bind { addr: SocketAddr::V4(addr), cause };
        let (listener, local) = server::listen(addr).await.map_err(bind)?;
        let control = self.control().clone();
        let (cancel, events) = (control.cancel.clone(), control.subscribe());
        let (world, pushes) = (Arc::new(Mutex::new(World::default())), Pushes::default());
        let methods = Methods { control, world, pushes, local };
        let (hang_up, _) = broadcast::channel(1);
        let server = Server {
            methods,
            faults: Arc::new(Mutex::new(Faults::default())),
            cancel,
            hang_up,
            n_accepted: Arc::default(),
            n_strangers: Arc::default(),
            ahead: Arc::default(),
        };
        self.spawn(server.clone().accept(listener));
        self.spawn(server.clone().follow(events));
        Ok(MtprotoDoor { server })
    }
}

impl MtprotoDoor {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddrV4 {
        self.server.methods.local
    }

    /// A new account. The name is what others read, and also its name in the emulator's rooms.
    pub fn add_account(&self, name: &str) -> AccountId {
        AccountId(self.server.methods.world().add_account(name, false))
    }

    /// A new bot, which Telegram lets into no call.
    pub fn add_bot(&self, name: &str) -> AccountId {
        AccountId(self.server.methods.world().add_account(name, true))
    }

    /// Gives an account a phone number, with which it can sign in.
    pub fn set_phone(&self, account: AccountId, phone: &str) {
        if let Some(account) = self.server.methods.world().accounts.get_mut(&account.0) {
            account.phone = Some(auth::digits(phone));
        }
    }

    /// Gives an account a two-step password.
    pub fn set_password(&self, account: AccountId, password: &str, hint: &str) {
        let verifier = srp::Verifier::new(password, hint);
        self.server.methods.world().passwords.insert(account.0, verifier);
    }

    /// The code that was sent to a phone number last, as its owner reads it.
    pub fn code(&self, phone: &str) -> Option<String> {
        let world = self.server.methods.world();
        world.codes.get(&auth::digits(phone)).map(|(_, code)| code.clone())
    }

    /// Lets another device of `account` scan the QR code of a `tg://login` link; false when the
    /// code is none of ours or was scanned already.
    pub fn scan(&self, token: &[u8], account: AccountId) -> bool {
        self.server.methods.scan(token, account.0)
    }

    /// A new key that is signed in to `account`, or to nobody.
    pub fn add_key(&self, account: Option<AccountId>) -> Secret<[u8; 256]> {
        self.server.methods.world().add_key(account.map(|account| account.0)).secret().clone()
    }

    /// Forgets a key: the transport answers −404 to it from now on.
    pub fn revoke(&self, key: &Secret<[u8; 256]>) {
        self.server.methods.world().revoke(crypto::AuthKey::new(*key.expose()).id());
    }

    /// Forgets all keys.
    pub fn forget_keys(&self) {
        self.server.methods.world().forget_keys();
    }

    /// Ends the session of a key, as from another device: everything answers 401 from now on.
    pub fn sign_out(&self, key: &Secret<[u8; 256]>) {
        self.server.methods.world().sign(crypto::AuthKey::new(*key.expose()).id(), None);
    }

    /// A new chat, without a call.
    pub fn add_chat(&self, new: &NewChat<'_>) -> TelegramChatId {
        let mut world = self.server.methods.world();
        let id = world.add_chat(new.kind, new.title, new.room);
        let chat = world.chats.get_mut(&id).expect("it was just added");
        chat.username = new.username.map(str::to_owned);
        chat.admins.extend(new.admins.iter().map(|account| account.0));
        TelegramChatId(id)
    }

    /// An invite link into a chat, by its hash: for accounts that are in it already, or not yet.
    pub fn add_invite(&self, chat: TelegramChatId, hash: &str, is_member: bool) {
        let invite = Invite { chat: chat.0, is_member };
        self.server.methods.world().invites.insert(hash.to_owned(), invite);
    }

    /// Access hashes of this chat that were given out until now are good no more.
    pub fn change_access_hash(&self, chat: TelegramChatId) {
        if let Some(chat) = self.server.methods.world().chats.get_mut(&chat.0) {
            chat.access_hash = fastrand::i64(1..);
        }
    }

    /// Accounts write with so many people in private, later than in any chat: these dialogs come
    /// first in their lists.
    pub fn add_private_dialogs(&self, n: u32) {
        self.server.methods.world().n_friends += i64::from(n);
    }

    /// An admin begins a call; one that there is, is replaced.
    pub fn begin_call(&self, chat: TelegramChatId, new: &NewCall) {
        let mut world = self.server.methods.world();
        world.end_call(chat.0);
        if let Some(chat) = world.chats.get_mut(&chat.0) {
            let mut call = Call::random();
            (call.schedule_date, call.join_muted) = (new.schedule_date, new.join_muted);
            (call.rtmp, call.conference) = (new.rtmp, new.conference);
            call.cameras_taken = new.cameras_taken;
            chat.call = Some(call);
        }
    }

    /// Somebody posts a file; gives the number of the message.
    pub fn post_file(&self, chat: TelegramChatId, name: &str, bytes: impl Into<Bytes>) -> i32 {
        let mut world = self.server.methods.world();
        let message = i32::try_from(world.files.len()).expect("few files") + 1;
        world.files.push(files::StoredFile {
            chat: chat.0,
            message,
            id: fastrand::i64(1..),
            access_hash: fastrand::i64(1..),
            reference: fastrand::u64(..).to_le_bytes().to_vec(),
            name: name.to_owned(),
            bytes: bytes.into(),
        });
        message
    }

    /// References to files that were given out until now are good no more.
    pub fn expire_file_references(&self) {
        for file in &mut self.server.methods.world().files {
            file.reference = fastrand::u64(..).to_le_bytes().to_vec();
        }
    }

    /// The next `times` calls of `method`, such as `phone.joinGroupCall`, suffer `fault`.
    pub fn plan(&self, method: &str, fault: Fault, times: u32) {
        self.server.faults().plan(method, fault, times);
    }

    /// Every update from the rooms is sent so many times more.
    pub fn repeat_updates(&self, extra: u32) {
        self.server.faults().extra_updates = extra;
    }

    /// The next `n` changes of lists of participants are told to nobody: a gap in the versions.
    pub fn lose_updates(&self, n: u32) {
        self.server.faults().lose = n;
    }

    /// The next `n` changes of lists of participants are held back, and then told in reverse.
    pub fn reorder_updates(&self, n: usize) {
        self.server.faults().reorder(n);
    }

    /// Sends everybody an update of the account's own sequence that comes after others that
    /// nobody got: a gap in pts.
    pub fn push_pts_gap(&self) {
        let update = tl::types::UpdateDeleteMessages { messages: vec![1], pts: 100, pts_count: 1 };
        let updates = phone::container(vec![update.into()], vec![], vec![], 0);
        self.server.methods.pushes.to_all_but(0, &updates);
    }

    /// Tells everybody that there was more than can be told: `updatesTooLong`.
    pub fn push_too_long(&self) {
        self.server.methods.pushes.to_all_but(0, &tl::enums::Updates::TooLong);
    }

    /// The call of `chat` goes on under another id; who holds the old one is refused.
    pub fn move_call(&self, chat: TelegramChatId) {
        let mut world = self.server.methods.world();
        let Some(old) = world.end_call(chat.0) else { return };
        if let Some(chat) = world.chats.get_mut(&chat.0) {
            let new = Call::random();
            let (id, access_hash) = (new.id, new.access_hash);
            chat.call = Some(Call { id, access_hash, joined: Default::default(), ..old });
        }
    }

    /// Sends everybody a connection update that nobody asked for, with these parameters: the
    /// server moves a call.
    pub fn push_connection(&self, params: &str) {
        let params = tl::types::DataJson { data: params.to_owned() }.into();
        let moved = tl::types::UpdateGroupCallConnection { presentation: false, params }.into();
        let updates = phone::container(vec![moved], vec![], vec![], 0);
        self.server.methods.pushes.to_all_but(0, &updates);
    }

    /// From now on whoever asks for a file is sent to a CDN, whatever they say that they take.
    pub fn move_files_to_cdn(&self) {
        self.server.methods.world().files_at_cdn = true;
    }

    /// Sets the server's clock, in seconds ahead of the system's.
    pub fn set_clock(&self, ahead: i64) {
        self.server.ahead.store(ahead, Ordering::Relaxed);
    }

    /// The codes of an account come by mail from now on.
    pub fn send_codes_by_mail(&self, account: AccountId) {
        self.server.methods.world().by_email.insert(account.0);
    }

    /// A QR code that waits to be scanned, as the link has it before base64.
    pub fn qr_token(&self) -> Option<Vec<u8>> {
        self.server.methods.world().tokens.keys().next().cloned()
    }

    /// QR codes can be scanned for so many seconds from now on.
    pub fn set_qr_life(&self, secs: i32) {
        self.server.methods.world().qr_life = Some(secs);
    }

    /// Whoever scans a QR code next is at home in this data center, and the code is worth an
    /// authorization only there.
    pub fn migrate_qr(&self, dc: i32) {
        self.server.methods.world().migrate_qr = Some(dc);
    }

    /// What the last join was answered with.
    pub fn join_answer(&self) -> Option<Secret<String>> {
        self.server.methods.world().join_answer.clone()
    }

    /// The `params` of the last join, as they came.
    pub fn join_params(&self) -> Option<Secret<String>> {
        self.server.methods.world().join_params.clone()
    }

    /// How often a method was called.
    pub fn n_calls(&self, method: &str) -> u64 {
        self.server.faults().n_calls(method)
    }

    /// Closes every connection.
    pub fn hang_up(&self) {
        // Nobody may be connected.
        let _ = self.server.hang_up.send(());
    }

    /// How many connections wanted to agree on a key, which this server does not do: Telegram's
    /// clients encrypt what they say then for Telegram alone.
    pub fn n_strangers(&self) -> u64 {
        self.server.n_strangers.load(Ordering::Relaxed)
    }

    /// How many connections there are now.
    pub fn n_connections(&self) -> usize {
        self.server.methods.pushes.connections().len()
    }

    /// How many connections there have been.
    pub fn n_accepted(&self) -> u64 {
        self.server.n_accepted.load(Ordering::Relaxed)
    }
}
