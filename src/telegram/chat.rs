//! Finding a chat by whatever people call it, and the video chat in it.

use std::collections::HashSet;
use std::ops::ControlFlow;

use grammers_tl_types as tl;

use super::client::Client;
use super::error::TelegramError;

/// Channels and supergroups are written as −100…, which is minus this minus their id.
pub(super) const CHANNEL_BASE: i64 = 1_000_000_000_000;
/// Dialogs fetched at once.
const DIALOGS: i32 = 100;
/// Dialogs that are looked through at most; accounts in more are rare.
const MAX_DIALOGS: usize = 10_000;
/// No text that names a chat is longer.
const MAX_NAME: usize = 256;

/// Names a video chat: TL's call id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VideoChatId(pub i64);

/// What somebody typed, understood: a chat and, from a link, the right to speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatName {
    place: Place,
    /// From `?voicechat=`, `?videochat=` and `?livestream=`.
    pub invite_hash: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Username(String),
    Id(i64),
    /// The hash of an invite link.
    Invite(String),
    Me,
}

/// What kind of chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChatKind {
    /// One person; no video chats.
    User,
    /// A basic group.
    Group,
    /// A supergroup.
    Supergroup,
    /// A broadcast channel.
    Channel,
}

/// A chat.
#[derive(Clone, Debug, PartialEq)]
pub struct Chat {
    /// As people and programs write it: −100… for channels and supergroups, negative for groups.
    pub id: i64,
    /// What kind it is.
    pub kind: ChatKind,
    /// What people read.
    pub title: String,
    /// Its @name, without the sign.
    pub username: Option<String>,
    /// The video chat in it, running or scheduled; only [`Client::get_chat`] finds it out. A list
    /// of chats tells no more than [`Chat::call_active`].
    pub video_chat: Option<VideoChatId>,
    /// Telegram says that it has a video chat: a running one, empty or not, or a scheduled one.
    pub call_active: bool,
    /// This account is in it.
    pub is_member: bool,
    /// This account may begin, change and end its video chats, and is never muted in them.
    pub can_manage_video_chats: bool,
    pub(super) input: tl::enums::InputPeer,
}

impl std::str::FromStr for ChatName {
    type Err = TelegramError;

    fn from_str(text: &str) -> Result<Self, TelegramError> {
        let bad = || TelegramError::BadName(text.chars().take(MAX_NAME).collect());
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.len() > MAX_NAME {
            return Err(bad());
        }
        if trimmed == "me" {
            return Ok(Self { place: Place::Me, invite_hash: None });
        }
        if let Ok(id) = trimmed.parse::<i64>()
            && id > i64::MIN
        {
            return Ok(Self { place: Place::Id(id), invite_hash: None });
        }
        let bare = trimmed.strip_prefix("https://").or_else(|| trimmed.strip_prefix("http://"));
        let bare = bare.unwrap_or(trimmed);
        let linked =
            ["t.me/", "telegram.me/", "telegram.dog/"].iter().find_map(|host| bare.strip_prefix(host));
        let (place, query) = if let Some(query) = bare.strip_prefix("tg://resolve?") {
            (value(query, "domain").and_then(username), query)
        } else if let Some(query) = bare.strip_prefix("tg://join?") {
            (value(query, "invite").and_then(invite), query)
        } else if let Some(query) = bare.strip_prefix("tg://privatepost?") {
            (value(query, "channel").and_then(channel), query)
        } else if let Some(path) = linked {
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let path = path.split('#').next().unwrap_or_default();
            // What follows names a message in the chat.
            let place = match path.split('/').collect::<Vec<_>>()[..] {
                ["c", number, ..] => channel(number),
                ["joinchat", hash] | ["joinchat", hash, ""] => invite(hash),
                [name, ..] => match name.strip_prefix('+') {
                    // With digits alone it is somebody's phone number.
                    Some(hash) => invite(hash).filter(|_| !hash.bytes().all(|byte| byte.is_ascii_digit())),
                    None => username(name),
                },
                [] => None,
            };
            (place, query)
        } else {
            (trimmed.strip_prefix('@').and_then(username), "")
        };
        let query = query.split('#').next().unwrap_or_default();
        Ok(Self { place: place.ok_or_else(bad)?, invite_hash: speaker_hash(query) })
    }
}

fn username(name: &str) -> Option<Place> {
    let is_plausible =
        name.len() >= 3 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_plausible.then(|| Place::Username(name.to_owned()))
}

/// A private supergroup by number, as in t.me/c/1234567.
fn channel(number: &str) -> Option<Place> {
    let id = number.parse().ok().filter(|id: &i64| *id > 0)?;
    (-CHANNEL_BASE).checked_sub(id).map(Place::Id)
}

fn invite(hash: &str) -> Option<Place> {
    let is_plausible = hash.len() >= 8
        && hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    is_plausible.then(|| Place::Invite(hash.to_owned()))
}

impl std::fmt::Display for ChatName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Username(name) => write!(f, "@{name}"),
            Place::Id(id) => write!(f, "{id}"),
            // Whoever has the whole link can come in.
            Place::Invite(_) => f.write_str("t.me/+…"),
            Place::Me => f.write_str("me"),
        }
    }
}

/// The speaker hash of a link, if it has one.
fn speaker_hash(query: &str) -> Option<String> {
    let hash = ["voicechat", "videochat", "livestream"].iter().find_map(|key| value(query, key))?;
    Some(hash.to_owned())
}

/// A value of a link's query.
pub(super) fn value<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(of, value)| *of == key && !value.is_empty()).map(|(_, value)| value)
}

impl Client {
    /// Finds a chat and the video chat in it.
    ///
    /// # Errors
    /// When there is no such chat, or this account cannot see it.
    pub async fn get_chat(&self, name: &ChatName) -> Result<Chat, TelegramError> {
        let chat = match &name.place {
            Place::Me => self.myself().await?,
            Place::Username(username) => self.chat_by_username(username, name).await?,
            Place::Id(id) => self.chat_by_id(*id, name).await?,
            Place::Invite(hash) => self.chat_by_invite(hash).await?,
        };
        let full = match &chat.input {
            tl::enums::InputPeer::Chat(input) => {
                self.invoke(&tl::functions::messages::GetFullChat { chat_id: input.chat_id }).await?
            }
            tl::enums::InputPeer::Channel(input) => {
                let (channel_id, access_hash) = (input.channel_id, input.access_hash);
                let channel = tl::types::InputChannel { channel_id, access_hash }.into();
                self.invoke(&tl::functions::channels::GetFullChannel { channel }).await?
            }
            _ => return Ok(chat),
        };
        let tl::enums::messages::ChatFull::Full(full) = full;
        let call = match full.full_chat {
            tl::enums::ChatFull::Full(full) => full.call,
            tl::enums::ChatFull::ChannelFull(full) => full.call,
            tl::enums::ChatFull::CommunityFull(_) => None,
        };
        let video_chat = match call {
            Some(tl::enums::InputGroupCall::Call(call)) => {
                let id = VideoChatId(call.id);
                self.inner.calls().insert(call.id, call);
                Some(id)
            }
            _ => None,
        };
        Ok(Chat { video_chat, ..chat })
    }

    /// The groups and channels that this account is in, latest first.
    ///
    /// # Errors
    /// When Telegram cannot be reached or refuses.
    pub async fn chats(&self) -> Result<Vec<Chat>, TelegramError> {
        let mut found = Vec::new();
        let all = |chat| {
            found.push(chat);
            ControlFlow::Continue(())
        };
        self.look_through_dialogs(all).await?;
        Ok(found)
    }

    /// Shows each group and channel that this account is in, latest first, until `look` has seen
    /// enough.
    async fn look_through_dialogs(
        &self,
        mut look: impl FnMut(Chat) -> ControlFlow<()> + Send,
    ) -> Result<(), TelegramError> {
        let mut shown = HashSet::new();
        let mut request = tl::functions::messages::GetDialogs {
            exclude_pinned: false,
            folder_id: None,
            offset_date: 0,
            offset_id: 0,
            offset_peer: tl::enums::InputPeer::Empty,
            limit: DIALOGS,
            hash: 0,
        };
        let mut n_seen = 0;
        loop {
            let (dialogs, messages, objects, users, total) = match self.invoke(&request).await? {
                tl::enums::messages::Dialogs::Dialogs(it) => (it.dialogs, it.messages, it.chats, it.users, 0),
                tl::enums::messages::Dialogs::Slice(it) => {
                    let total = usize::try_from(it.count).unwrap_or_default();
                    (it.dialogs, it.messages, it.chats, it.users, total)
                }
                tl::enums::messages::Dialogs::NotModified(_) => return Ok(()),
            };
            n_seen += dialogs.len();
            let objects: Vec<Chat> = objects.iter().filter_map(Chat::of).collect();
            self.keep(&objects)?;
            let peers: Vec<String> =
                dialogs.iter().filter_map(dialog_peer).map(super::rows::peer_name).collect();
            for name in &peers {
                let chat = objects.iter().find(|chat| chat.id.to_string() == *name);
                if let Some(chat) = chat.filter(|chat| shown.insert(chat.id))
                    && look(chat.clone()).is_break()
                {
                    return Ok(());
                }
            }
            // The next page begins after the last dialog of this one, whoever it is with.
            let Some(next) = dialogs.last().and_then(|last| offset(last, &messages, &objects, &users)) else {
                return Ok(());
            };
            let (offset_id, offset_date, offset_peer) = next;
            if n_seen >= total || (offset_id, offset_date) == (request.offset_id, request.offset_date) {
                return Ok(());
            }
            if n_seen >= MAX_DIALOGS {
                tracing::warn!(n_seen, total, "this account has more chats than are looked through");
                return Ok(());
            }
            request = tl::functions::messages::GetDialogs { offset_id, offset_date, offset_peer, ..request };
        }
    }

    async fn myself(&self) -> Result<Chat, TelegramError> {
        let user = tl::enums::User::User(self.inner.myself().await?);
        Chat::of_user(&user, true).ok_or(TelegramError::NotSignedIn)
    }

    async fn chat_by_username(&self, username: &str, name: &ChatName) -> Result<Chat, TelegramError> {
        let request =
            tl::functions::contacts::ResolveUsername { username: username.to_owned(), referer: None };
        let tl::enums::contacts::ResolvedPeer::Peer(found) = match self.invoke(&request).await {
            Err(error) if error.is("USERNAME_NOT_OCCUPIED") || error.is("USERNAME_INVALID") => {
                return Err(TelegramError::NoChat(name.to_string()));
            }
            other => other?,
        };
        let wanted = super::rows::peer_name(&found.peer);
        let chats = found.chats.iter().filter_map(Chat::of);
        let mut all = chats.chain(found.users.iter().filter_map(|user| Chat::of_user(user, false)));
        let chat = all.find(|chat| chat.id.to_string() == wanted);
        let chat = chat.ok_or_else(|| TelegramError::NoChat(name.to_string()))?;
        self.keep(std::slice::from_ref(&chat))?;
        Ok(chat)
    }

    async fn chat_by_id(&self, id: i64, name: &ChatName) -> Result<Chat, TelegramError> {
        let missing = || TelegramError::NoChat(name.to_string());
        let of = |chats: tl::enums::messages::Chats| {
            let chats = match chats {
                tl::enums::messages::Chats::Chats(it) => it.chats,
                tl::enums::messages::Chats::Slice(it) => it.chats,
            };
            chats.iter().filter_map(Chat::of).find(|chat| chat.id == id)
        };
        if id >= 0 {
            return Err(missing());
        }
        if id >= -CHANNEL_BASE {
            let request = tl::functions::messages::GetChats { id: vec![-id] };
            return of(self.invoke(&request).await?).ok_or_else(missing);
        }
        let channel_id = -id - CHANNEL_BASE;
        let mut refusal = None;
        if let Some(access_hash) = self.inner.session.channel_hash(channel_id) {
            let channel = tl::types::InputChannel { channel_id, access_hash }.into();
            match self.invoke(&tl::functions::channels::GetChannels { id: vec![channel] }).await {
                Ok(chats) => return of(chats).ok_or_else(missing),
                Err(error @ TelegramError::Rpc { code: 400, .. }) => {
                    // What we had kept may be out of date, or another account's.
                    self.inner.session.forget_channel(channel_id)?;
                    refusal = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        // Only chats that were seen have a hash: those in the list are.
        let mut found = None;
        let wanted = |chat: Chat| {
            if chat.id != id {
                return ControlFlow::Continue(());
            }
            found = Some(chat);
            ControlFlow::Break(())
        };
        self.look_through_dialogs(wanted).await?;
        found.ok_or_else(|| refusal.unwrap_or_else(missing))
    }

    async fn chat_by_invite(&self, hash: &str) -> Result<Chat, TelegramError> {
        let request = tl::functions::messages::CheckChatInvite { hash: hash.to_owned() };
        let chat = match self.invoke(&request).await? {
            tl::enums::ChatInvite::Already(it) => it.chat,
            tl::enums::ChatInvite::Peek(it) => return Err(TelegramError::NotMember(title(&it.chat))),
            tl::enums::ChatInvite::Invite(it) => return Err(TelegramError::NotMember(it.title)),
        };
        let chat = Chat::of(&chat).ok_or_else(|| TelegramError::NotMember(title(&chat)))?;
        self.keep(std::slice::from_ref(&chat))?;
        Ok(chat)
    }

    /// Keeps the access hashes, without which a channel cannot be found by number.
    fn keep(&self, chats: &[Chat]) -> Result<(), TelegramError> {
        let hash = |chat: &Chat| match &chat.input {
            tl::enums::InputPeer::Channel(input) => Some((input.channel_id, input.access_hash)),
            _ => None,
        };
        Ok(self.inner.session.keep_channels(chats.iter().filter_map(hash))?)
    }
}

impl Chat {
    fn of(chat: &tl::enums::Chat) -> Option<Self> {
        match chat {
            tl::enums::Chat::Chat(it) if !it.deactivated && !it.left => Some(Self {
                id: -it.id,
                kind: ChatKind::Group,
                title: it.title.clone(),
                username: None,
                video_chat: None,
                call_active: it.call_active,
                is_member: true,
                can_manage_video_chats: it.creator || may_manage(it.admin_rights.as_ref()),
                input: tl::types::InputPeerChat { chat_id: it.id }.into(),
            }),
            tl::enums::Chat::Channel(it) => Some(Self {
                id: -CHANNEL_BASE - it.id,
                kind: if it.broadcast { ChatKind::Channel } else { ChatKind::Supergroup },
                title: it.title.clone(),
                username: it.username.clone(),
                video_chat: None,
                call_active: it.call_active,
                is_member: !it.left,
                can_manage_video_chats: it.creator || may_manage(it.admin_rights.as_ref()),
                input: tl::types::InputPeerChannel { channel_id: it.id, access_hash: it.access_hash? }.into(),
            }),
            _ => None,
        }
    }

    fn of_user(user: &tl::enums::User, is_me: bool) -> Option<Self> {
        let tl::enums::User::User(it) = user else { return None };
        let input = match it.access_hash {
            _ if is_me => tl::enums::InputPeer::PeerSelf,
            Some(access_hash) => tl::types::InputPeerUser { user_id: it.id, access_hash }.into(),
            None => return None,
        };
        let names = [&it.first_name, &it.last_name].into_iter().flatten().map(String::as_str);
        Some(Self {
            id: it.id,
            kind: ChatKind::User,
            title: names.collect::<Vec<_>>().join(" "),
            username: it.username.clone(),
            video_chat: None,
            call_active: false,
            is_member: true,
            can_manage_video_chats: false,
            input,
        })
    }
}

fn title(chat: &tl::enums::Chat) -> String {
    match chat {
        tl::enums::Chat::Chat(it) => it.title.clone(),
        tl::enums::Chat::Channel(it) => it.title.clone(),
        tl::enums::Chat::Forbidden(it) => it.title.clone(),
        tl::enums::Chat::ChannelForbidden(it) => it.title.clone(),
        _ => "that chat".to_owned(),
    }
}

fn may_manage(rights: Option<&tl::enums::ChatAdminRights>) -> bool {
    rights.is_some_and(|tl::enums::ChatAdminRights::Rights(rights)| rights.manage_call)
}

fn dialog_peer(dialog: &tl::enums::Dialog) -> Option<&tl::enums::Peer> {
    match dialog {
        tl::enums::Dialog::Dialog(dialog) => Some(&dialog.peer),
        _ => None,
    }
}

/// Where the page behind a dialog begins: the dialog's last message, its date, and with whom.
fn offset(
    dialog: &tl::enums::Dialog,
    messages: &[tl::enums::Message],
    chats: &[Chat],
    users: &[tl::enums::User],
) -> Option<(i32, i32, tl::enums::InputPeer)> {
    let tl::enums::Dialog::Dialog(dialog) = dialog else { return None };
    let place = |message: &tl::enums::Message| match message {
        tl::enums::Message::Message(it) => Some((it.id, it.date, it.peer_id.clone())),
        tl::enums::Message::Service(it) => Some((it.id, it.date, it.peer_id.clone())),
        tl::enums::Message::Empty(_) => None,
    };
    let mut places = messages.iter().filter_map(place);
    let (id, date, peer) = places.find(|(id, _, peer)| (*id, peer) == (dialog.top_message, &dialog.peer))?;
    let name = super::rows::peer_name(&peer);
    let with = chats.iter().find(|chat| chat.id.to_string() == name).map(|chat| chat.input.clone());
    let with = with.or_else(|| {
        let user = users.iter().filter_map(|user| Chat::of_user(user, false));
        Some(user.into_iter().find(|user| user.id.to_string() == name)?.input)
    });
    Some((id, date, with.unwrap_or(tl::enums::InputPeer::Empty)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<(Place, Option<String>)> {
        text.parse::<ChatName>().ok().map(|name| (name.place, name.invite_hash))
    }

    #[test]
    fn chats_are_named_in_many_ways() {
        let user = |name: &str| Place::Username(name.to_owned());
        for (text, place, hash) in [
            ("@durov", user("durov"), None),
            ("t.me/some_chat", user("some_chat"), None),
            ("https://t.me/some_chat/", user("some_chat"), None),
            ("https://t.me/x_y_z?voicechat=ab12", user("x_y_z"), Some("ab12")),
            ("http://telegram.me/x_y_z?videochat=ab12", user("x_y_z"), Some("ab12")),
            ("https://t.me/x_y_z?a=b&livestream=ab12#top", user("x_y_z"), Some("ab12")),
            ("https://t.me/x_y_z?videochat", user("x_y_z"), None),
            ("https://t.me/c/1234567", Place::Id(-1_000_001_234_567), None),
            ("t.me/some_chat/5", user("some_chat"), None),
            ("t.me/c/1234567/5", Place::Id(-1_000_001_234_567), None),
            ("tg://resolve?domain=some_chat&videochat=ab12", user("some_chat"), Some("ab12")),
            ("tg://privatepost?channel=1234567&post=5", Place::Id(-1_000_001_234_567), None),
            ("https://t.me/+AbCd-fGh_2", Place::Invite("AbCd-fGh_2".to_owned()), None),
            ("t.me/joinchat/AbCd-fGh_2/", Place::Invite("AbCd-fGh_2".to_owned()), None),
            ("tg://join?invite=AbCd-fGh_2", Place::Invite("AbCd-fGh_2".to_owned()), None),
            ("-1001234567890", Place::Id(-1_001_234_567_890), None),
            (" me ", Place::Me, None),
        ] {
            assert_eq!(name(text), Some((place, hash.map(str::to_owned))), "{text}");
        }
    }

    #[test]
    fn what_names_no_chat_is_refused() {
        for text in [
            "",
            "durov",
            "@",
            "@a b",
            "t.me/c/-5",
            "t.me/c/9223372036854775807",
            "-9223372036854775808",
            "https://example.org/durov",
            "t.me/",
            "t.me/+AbCdEf",
            "t.me/+491701234567",
            "tg://login?token=x",
            "tg://resolve?videochat=x",
            "t.me/c/x",
        ] {
            assert_eq!(name(text), None, "{text}");
        }
        assert_eq!(name(&"9".repeat(300)), None);
        let invite: ChatName = "t.me/+AbCd-fGh_2".parse().expect("an invite link");
        assert!(!invite.to_string().contains("AbCd"), "whoever has it can come in");
    }
}
