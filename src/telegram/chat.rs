//! Finding a chat by whatever people call it, and the video chat in it.

use grammers_tl_types as tl;

use super::client::Client;
use super::error::TelegramError;

/// Channels and supergroups are written as −100…, which is minus this minus their id.
pub(super) const CHANNEL_BASE: i64 = 1_000_000_000_000;
/// Dialogs fetched at once.
const DIALOGS: i32 = 100;
/// Dialogs that are looked through at most.
const MAX_DIALOGS: usize = 1000;
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
        let (name, query) = match linked {
            Some(path) => path.split_once('?').unwrap_or((path, "")),
            None => (trimmed.strip_prefix('@').ok_or_else(bad)?, ""),
        };
        let (name, query) = (name.trim_end_matches('/'), query.split('#').next().unwrap_or_default());
        // t.me/c/1234 is a private supergroup by number.
        if let Some(number) = name.strip_prefix("c/") {
            let number = number.split('/').next().unwrap_or_default();
            let id: i64 = number.parse().map_err(|_| bad())?;
            let id = Some(id).filter(|id| *id > 0).and_then(|id| (-CHANNEL_BASE).checked_sub(id));
            let place = Place::Id(id.ok_or_else(bad)?);
            return Ok(Self { place, invite_hash: hash(query) });
        }
        let plausible =
            name.len() >= 3 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !plausible {
            return Err(bad());
        }
        Ok(Self { place: Place::Username(name.to_owned()), invite_hash: hash(query) })
    }
}

impl std::fmt::Display for ChatName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Username(name) => write!(f, "@{name}"),
            Place::Id(id) => write!(f, "{id}"),
            Place::Me => f.write_str("me"),
        }
    }
}

/// The speaker hash of a link, if it has one.
fn hash(query: &str) -> Option<String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, value)| ["voicechat", "videochat", "livestream"].contains(key) && !value.is_empty())
        .map(|(_, value)| value.to_owned())
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
        };
        let full = match &chat.input {
            tl::enums::InputPeer::Chat(input) => {
                self.inner.invoke(&tl::functions::messages::GetFullChat { chat_id: input.chat_id }).await?
            }
            tl::enums::InputPeer::Channel(input) => {
                let (channel_id, access_hash) = (input.channel_id, input.access_hash);
                let channel = tl::types::InputChannel { channel_id, access_hash }.into();
                self.inner.invoke(&tl::functions::channels::GetFullChannel { channel }).await?
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
        let mut found: Vec<Chat> = Vec::new();
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
        while n_seen < MAX_DIALOGS {
            let (dialogs, messages, objects, users, total) = match self.inner.invoke(&request).await? {
                tl::enums::messages::Dialogs::Dialogs(it) => (it.dialogs, it.messages, it.chats, it.users, 0),
                tl::enums::messages::Dialogs::Slice(it) => {
                    let total = usize::try_from(it.count).unwrap_or_default();
                    (it.dialogs, it.messages, it.chats, it.users, total)
                }
                tl::enums::messages::Dialogs::NotModified(_) => break,
            };
            n_seen += dialogs.len();
            let objects: Vec<Chat> = objects.iter().filter_map(Chat::of).collect();
            self.keep(&objects)?;
            let peers: Vec<String> =
                dialogs.iter().filter_map(dialog_peer).map(super::rows::peer_name).collect();
            for name in &peers {
                let chat = objects.iter().find(|chat| chat.id.to_string() == *name);
                if let Some(chat) = chat.filter(|chat| found.iter().all(|found| found.id != chat.id)) {
                    found.push(chat.clone());
                }
            }
            // The next page begins after the last dialog of this one, whoever it is with.
            let Some(next) = dialogs.last().and_then(|last| offset(last, &messages, &objects, &users)) else {
                break;
            };
            let (offset_id, offset_date, offset_peer) = next;
            if n_seen >= total || (offset_id, offset_date) == (request.offset_id, request.offset_date) {
                break;
            }
            request = tl::functions::messages::GetDialogs { offset_id, offset_date, offset_peer, ..request };
        }
        Ok(found)
    }

    async fn myself(&self) -> Result<Chat, TelegramError> {
        let id = vec![tl::enums::InputUser::UserSelf];
        let users = self.inner.invoke(&tl::functions::users::GetUsers { id }).await?;
        let user = users.first().and_then(|user| Chat::of_user(user, true));
        user.ok_or(TelegramError::NotSignedIn)
    }

    async fn chat_by_username(&self, username: &str, name: &ChatName) -> Result<Chat, TelegramError> {
        let request =
            tl::functions::contacts::ResolveUsername { username: username.to_owned(), referer: None };
        let tl::enums::contacts::ResolvedPeer::Peer(found) = match self.inner.invoke(&request).await {
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
        let chats = if id < -CHANNEL_BASE {
            let channel_id = -id - CHANNEL_BASE;
            let Some(access_hash) = self.inner.session.channel_hash(channel_id) else {
                // Only chats that were seen have a hash: those in the list are.
                return self.chats().await?.into_iter().find(|chat| chat.id == id).ok_or_else(missing);
            };
            let channel = tl::types::InputChannel { channel_id, access_hash }.into();
            self.inner.invoke(&tl::functions::channels::GetChannels { id: vec![channel] }).await
        } else if id < 0 {
            self.inner.invoke(&tl::functions::messages::GetChats { id: vec![-id] }).await
        } else {
            return Err(missing());
        };
        let chats = match chats {
            Ok(tl::enums::messages::Chats::Chats(it)) => it.chats,
            Ok(tl::enums::messages::Chats::Slice(it)) => it.chats,
            Err(TelegramError::Rpc { code: 400, .. }) => return Err(missing()),
            Err(error) => return Err(error),
        };
        chats.iter().filter_map(Chat::of).find(|chat| chat.id == id).ok_or_else(missing)
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
            "t.me/c/x",
        ] {
            assert_eq!(name(text), None, "{text}");
        }
        assert_eq!(name(&"9".repeat(300)), None);
    }
}
