//! Who and what there is on the emulated Telegram: accounts, their keys, chats and their calls.
//! Who is in a call is the room's business; here is only under which name an account joined.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use grammers_tl_types as tl;

use super::crypto::AuthKey;
use super::files::StoredFile;
use super::invites::Invite;
use super::srp::{Challenge, Verifier};
use crate::emulator::RpcError;
use crate::secret::Secret;

/// Strangers, who came through another door and have no account, get ids from here on.
const FIRST_STRANGER: i64 = 7_000_000_000;
/// Accounts get ids from here on.
const FIRST_ACCOUNT: i64 = 5_000_000_000;

/// People who are written with in private get ids from here on.
const FIRST_FRIEND: i64 = 6_000_000_000;

/// Answers that are remembered until their update passes.
const MAX_TOLD: usize = 256;

/// An account of the emulated Telegram.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) id: i64,
    pub(super) access_hash: i64,
    /// Also its name in the rooms.
    pub(super) name: String,
    pub(super) username: Option<String>,
    pub(super) phone: Option<String>,
    pub(super) is_bot: bool,
}

/// What kind of chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChatKind {
    /// A basic group.
    Group,
    /// A supergroup.
    Supergroup,
    /// A broadcast channel.
    Channel,
}

#[derive(Clone, Debug)]
pub(super) struct Chat {
    pub(super) id: i64,
    pub(super) access_hash: i64,
    pub(super) kind: ChatKind,
    pub(super) title: String,
    pub(super) username: Option<String>,
    /// The room that its calls take place in.
    pub(super) room: String,
    /// Accounts that may begin and end calls, and mute others.
    pub(super) admins: BTreeSet<i64>,
    pub(super) call: Option<Call>,
}

/// The call of a chat, as far as the room does not know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) id: i64,
    pub(super) access_hash: i64,
    pub(super) title: Option<String>,
    pub(super) schedule_date: Option<i32>,
    pub(super) join_muted: bool,
    pub(super) rtmp: bool,
    pub(super) conference: bool,
    /// No further camera may be switched on.
    pub(super) cameras_taken: bool,
    /// Lets whoever joins with it speak, although newcomers are muted.
    pub(super) speaker_hash: String,
    /// Under which name in the room each account is in the call.
    pub(super) joined: BTreeMap<i64, String>,
}

/// Everything.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) accounts: BTreeMap<i64, Account>,
    keys: HashMap<i64, (AuthKey, Option<i64>)>,
    pub(super) chats: BTreeMap<i64, Chat>,
    strangers: BTreeMap<String, i64>,
    /// Calls that are over, to tell them from those that never were.
    over: Vec<i64>,
    /// Versions of rooms that a connection has learned from the answer to its own request.
    told: VecDeque<(u64, String, i32)>,
    /// QR codes that wait to be scanned, and the keys that they were made for.
    pub(super) tokens: HashMap<Vec<u8>, i64>,
    /// Keys whose QR code was scanned, and by whom.
    pub(super) scanned: HashMap<i64, i64>,
    /// Hash and code that were sent last, by phone number.
    pub(super) codes: HashMap<String, (String, String)>,
    /// Accounts whose codes come by mail.
    pub(super) by_email: BTreeSet<i64>,
    /// Whoever scans a QR code next is at home in this data center.
    pub(super) migrate_qr: Option<i32>,
    /// Tokens that are worth an authorization in another data center, and whose.
    pub(super) migrating: HashMap<Vec<u8>, i64>,
    /// How long QR codes can be scanned, in seconds, where not as usual.
    pub(super) qr_life: Option<i32>,
    pub(super) passwords: HashMap<i64, Verifier>,
    /// Keys that still owe the password of this account.
    pub(super) half_in: HashMap<i64, i64>,
    pub(super) challenges: HashMap<i64, Challenge>,
    /// How many people the accounts write with in private.
    pub(super) n_friends: i64,
    /// What the last join brought.
    pub(super) join_params: Option<Secret<String>>,
    /// What it was answered with.
    pub(super) join_answer: Option<Secret<String>>,
    /// Files are said to be at a CDN.
    pub(super) files_at_cdn: bool,
    /// Files in messages.
    pub(super) files: Vec<StoredFile>,
    /// Links into chats, by hash.
    pub(super) invites: HashMap<String, Invite>,
    /// Rights to sign in at another data center, and whose they are.
    pub(super) exported: HashMap<Vec<u8>, i64>,
}

impl Chat {
    pub(super) fn new(id: i64, kind: ChatKind, title: &str, room: &str) -> Self {
        Self {
            id,
            access_hash: fastrand::i64(1..),
            kind,
            title: title.to_owned(),
            username: None,
            room: room.to_owned(),
            admins: BTreeSet::new(),
            call: None,
        }
    }

    /// Whether somebody may do what only admins may.
    pub(super) fn require_admin(&self, account: i64) -> Result<(), RpcError> {
        let is_admin = self.admins.contains(&account);
        if is_admin { Ok(()) } else { Err(RpcError::new(400, "CHAT_ADMIN_REQUIRED")) }
    }

    pub(super) fn peer(&self) -> tl::enums::Peer {
        match self.kind {
            ChatKind::Group => tl::types::PeerChat { chat_id: self.id }.into(),
            ChatKind::Supergroup | ChatKind::Channel => tl::types::PeerChannel { channel_id: self.id }.into(),
        }
    }

    /// How the chat itself appears in a room when somebody joins as it.
    pub(super) fn name_in_rooms(&self) -> String {
        format!("chat {}", self.id)
    }
}

impl Call {
    pub(super) fn new(id: i64, access_hash: i64) -> Self {
        Self {
            id,
            access_hash,
            speaker_hash: format!("{:016x}", fastrand::u64(..)),
            title: None,
            schedule_date: None,
            join_muted: false,
            rtmp: false,
            conference: false,
            cameras_taken: false,
            joined: BTreeMap::new(),
        }
    }

    pub(super) fn random() -> Self {
        Self::new(fastrand::i64(1..), fastrand::i64(1..))
    }
}

impl World {
    /// A new account; `name` is also its name in the rooms.
    pub(super) fn add_account(&mut self, name: &str, is_bot: bool) -> i64 {
        let id = FIRST_ACCOUNT + i64::try_from(self.accounts.len()).expect("few accounts");
        let account = Account {
            id,
            access_hash: fastrand::i64(1..),
            name: name.to_owned(),
            username: None,
            phone: None,
            is_bot,
        };
        self.accounts.insert(id, account);
        id
    }

    /// A new key, that is signed in to `account` if there is one.
    pub(super) fn add_key(&mut self, account: Option<i64>) -> AuthKey {
        let key = AuthKey::random();
        self.keys.insert(key.id(), (key.clone(), account));
        key
    }

    pub(super) fn key(&self, id: i64) -> Option<AuthKey> {
        self.keys.get(&id).map(|(key, _)| key.clone())
    }

    /// Whom a key is signed in to.
    pub(super) fn signed_in(&self, key: i64) -> Option<i64> {
        self.keys.get(&key)?.1
    }

    /// Signs a key in, or out.
    pub(super) fn sign(&mut self, key: i64, account: Option<i64>) {
        if let Some(entry) = self.keys.get_mut(&key) {
            entry.1 = account;
        }
    }

    /// Forgets a key altogether.
    pub(super) fn revoke(&mut self, key: i64) {
        self.keys.remove(&key);
    }

    pub(super) fn forget_keys(&mut self) {
        self.keys.clear();
    }

    pub(super) fn add_chat(&mut self, kind: ChatKind, title: &str, room: &str) -> i64 {
        let id = 1_000_000_001 + i64::try_from(self.chats.len()).expect("few chats");
        self.chats.insert(id, Chat::new(id, kind, title, room));
        id
    }

    pub(super) fn chat_of_room(&mut self, room: &str) -> Option<&mut Chat> {
        self.chats.values_mut().find(|chat| chat.room == room)
    }

    /// The chat whose call it is, if the reference is right.
    pub(super) fn chat_of_call(&mut self, call: &tl::enums::InputGroupCall) -> Result<&mut Chat, RpcError> {
        let invalid = RpcError::new(400, "GROUPCALL_INVALID");
        let tl::enums::InputGroupCall::Call(wanted) = call else { return Err(invalid) };
        if self.over.contains(&wanted.id) {
            return Err(RpcError::new(403, "GROUPCALL_FORBIDDEN"));
        }
        self.chats
            .values_mut()
            .find(|chat| {
                chat.call
                    .as_ref()
                    .is_some_and(|call| (call.id, call.access_hash) == (wanted.id, wanted.access_hash))
            })
            .ok_or(invalid)
    }

    /// Ends the call of a chat.
    pub(super) fn end_call(&mut self, chat: i64) -> Option<Call> {
        let call = self.chats.get_mut(&chat)?.call.take()?;
        self.over.push(call.id);
        Some(call)
    }

    /// A connection learns of this version from an answer; it need not be pushed to it.
    pub(super) fn tell(&mut self, connection: u64, room: &str, version: i32) {
        if self.told.len() == MAX_TOLD {
            self.told.pop_front();
        }
        self.told.push_back((connection, room.to_owned(), version));
    }

    pub(super) fn was_told(&self, connection: u64, room: &str, version: i32) -> bool {
        self.told.iter().any(|told| (told.0, &told.1[..], told.2) == (connection, room, version))
    }

    /// Whoever has this name in a room. Everybody has an id, also those without an account.
    pub(super) fn peer_of(&mut self, name: &str) -> tl::enums::Peer {
        if let Some(account) = self.accounts.values().find(|account| account.name == name) {
            return tl::types::PeerUser { user_id: account.id }.into();
        }
        if let Some(chat) = self.chats.values().find(|chat| chat.name_in_rooms() == name) {
            return chat.peer();
        }
        let next = FIRST_STRANGER + i64::try_from(self.strangers.len()).expect("few strangers");
        let user_id = *self.strangers.entry(name.to_owned()).or_insert(next);
        tl::types::PeerUser { user_id }.into()
    }

    /// Those whom the accounts write with in private.
    pub(super) fn friends(&self) -> impl Iterator<Item = Account> {
        (0..self.n_friends).map(|nth| Account {
            id: FIRST_FRIEND + nth,
            access_hash: FIRST_FRIEND - nth,
            name: format!("friend {nth}"),
            username: None,
            phone: None,
            is_bot: false,
        })
    }

    /// Everybody who may stand in a participant list.
    pub(super) fn users(&self, viewer: i64) -> Vec<tl::enums::User> {
        let strangers = self.strangers.iter().map(|(name, id)| Account {
            id: *id,
            access_hash: *id,
            name: name.clone(),
            username: None,
            phone: None,
            is_bot: false,
        });
        let everybody = self.accounts.values().cloned().chain(strangers);
        everybody.map(|account| super::objects::user(&account, viewer)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_found_by_id_and_hash_only() {
        let mut world = World::default();
        let id = world.add_chat(ChatKind::Supergroup, "t", "room");
        world.chats.get_mut(&id).expect("just added").call = Some(Call::new(5, 6));
        let reference = |id, access_hash| tl::types::InputGroupCall { id, access_hash }.into();
        assert_eq!(world.chat_of_call(&reference(5, 6)).expect("right").id, id);
        assert_eq!(world.chat_of_call(&reference(5, 7)).expect_err("hash").message, "GROUPCALL_INVALID");
        assert_eq!(world.chat_of_call(&reference(6, 6)).expect_err("id").message, "GROUPCALL_INVALID");
        world.end_call(id);
        assert_eq!(world.chat_of_call(&reference(5, 6)).expect_err("over").code, 403);
    }

    #[test]
    fn strangers_keep_their_id() {
        let mut world = World::default();
        let bot = world.add_account("bot", false);
        let ann = world.peer_of("ann");
        assert_ne!(ann, world.peer_of("bob"));
        assert_eq!(ann, world.peer_of("ann"));
        assert_eq!(world.peer_of("bot"), tl::types::PeerUser { user_id: bot }.into());
    }

    #[test]
    fn a_revoked_key_is_unknown() {
        let mut world = World::default();
        let key = world.add_key(None);
        world.sign(key.id(), Some(3));
        assert_eq!(world.signed_in(key.id()), Some(3));
        world.revoke(key.id());
        assert!(world.key(key.id()).is_none() && world.signed_in(key.id()).is_none());
    }
}
