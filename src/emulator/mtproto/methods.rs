//! From the bytes of a TL function to the bytes of its result. The types say which result
//! belongs to which function; what is no function of the table is refused as unknown.

use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use grammers_tl_types as tl;
use tl::{Cursor, Deserializable, Identifiable, RemoteCall, Serializable};

use super::objects;
use super::world::{Account, Chat, ChatKind, World};
use crate::emulator::RpcError;
use crate::emulator::net::{Control, EmulatorError};

/// Functions that wrap a function, one in the other.
const MAX_WRAPPERS: usize = 8;
/// Dialogs on a page, at most.
const MAX_DIALOGS: usize = 100;
/// The data center that every account is at home in.
pub(super) const DC: i32 = 2;

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) connection: u64,
    pub(super) key: i64,
    /// Nobody before the key is signed in.
    pub(super) account: i64,
    /// Since 1970.
    pub(super) now: Duration,
}

/// All methods, and what they work on.
#[derive(Clone, Debug)]
pub(super) struct Methods {
    pub(super) control: Control,
    pub(super) world: Arc<Mutex<World>>,
    pub(super) pushes: super::server::Pushes,
    pub(super) local: SocketAddrV4,
}

/// Picks the function by its constructor, and lets the compiler check that the handler gives
/// what the function returns.
macro_rules! dispatch {
    ($methods:ident, $caller:ident, $body:ident;
     $($function:path => $handler:ident,)* ; $($slow:path => $waits:ident,)*) => {{
        let mut cursor = Cursor::from_slice($body);
        match u32::deserialize(&mut cursor).map_err(unreadable)? {
            $(<$function>::CONSTRUCTOR_ID => {
                let request = <$function>::deserialize(&mut cursor).map_err(unreadable)?;
                let result: <$function as RemoteCall>::Return = $methods.$handler($caller, request)?;
                Ok(result.to_bytes())
            })*
            $(<$slow>::CONSTRUCTOR_ID => {
                let request = <$slow>::deserialize(&mut cursor).map_err(unreadable)?;
                let result: <$slow as RemoteCall>::Return = $methods.$waits($caller, request).await?;
                Ok(result.to_bytes())
            })*
            _ => Err(RpcError::new(400, "INPUT_METHOD_INVALID")),
        }
    }};
}

impl Methods {
    /// Calls the function whose bytes these are.
    pub(super) async fn call(&self, caller: &Caller, body: &[u8]) -> Result<Vec<u8>, RpcError> {
        use tl::functions::{
            account, auth, channels, contacts, help, messages, phone, updates, upload, users,
        };
        self.admit(caller, name(body))?;
        dispatch!(self, caller, body;
            help::GetConfig => get_config,
            help::GetNearestDc => get_nearest_dc,
            users::GetUsers => get_users,
            users::GetFullUser => get_full_user,
            updates::GetState => get_state,
            updates::GetDifference => get_difference,
            contacts::ResolveUsername => resolve_username,
            messages::GetDialogs => get_dialogs,
            messages::GetChats => get_chats,
            messages::GetFullChat => get_full_chat,
            channels::GetChannels => get_channels,
            channels::GetFullChannel => get_full_channel,
            auth::ExportLoginToken => export_login_token,
            auth::ImportLoginToken => import_login_token,
            auth::SendCode => send_code,
            auth::SignIn => sign_in,
            auth::CheckPassword => check_password,
            auth::LogOut => log_out,
            auth::ExportAuthorization => export_authorization,
            auth::ImportAuthorization => import_authorization,
            messages::CheckChatInvite => check_chat_invite,
            messages::GetMessages => get_messages,
            channels::GetMessages => get_channel_messages,
            upload::GetFile => get_file,
            account::GetPassword => get_password,
            phone::CreateGroupCall => create_group_call,
            phone::StartScheduledGroupCall => start_scheduled_group_call,
            phone::EditGroupCallTitle => edit_group_call_title,
            phone::ToggleGroupCallSettings => toggle_group_call_settings,
            phone::GetGroupCallJoinAs => get_group_call_join_as,
            phone::ExportGroupCallInvite => export_group_call_invite,
            phone::InviteToGroupCall => invite_to_group_call,
            ;
            phone::GetGroupCall => get_group_call,
            phone::GetGroupParticipants => get_group_participants,
            phone::JoinGroupCall => join_group_call,
            phone::LeaveGroupCall => leave_group_call,
            phone::CheckGroupCall => check_group_call,
            phone::EditGroupCallParticipant => edit_group_call_participant,
            phone::DiscardGroupCall => discard_group_call,
        )
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("nothing panics while it holds the world")
    }

    /// Only few functions are for those who have not signed in, and calls are not for bots.
    fn admit(&self, caller: &Caller, name: &str) -> Result<(), RpcError> {
        let for_all = ["help.", "auth.", "account.getPassword"].iter().any(|prefix| name.starts_with(prefix));
        match self.world().accounts.get(&caller.account) {
            None if !for_all => Err(RpcError::new(401, "AUTH_KEY_UNREGISTERED")),
            Some(account) if account.is_bot && name.starts_with("phone.") => {
                Err(RpcError::new(400, "BOT_METHOD_INVALID"))
            }
            _ => Ok(()),
        }
    }

    fn get_config(
        &self,
        caller: &Caller,
        _: tl::functions::help::GetConfig,
    ) -> Result<tl::enums::Config, RpcError> {
        Ok(objects::config(self.local, DC, date(caller)))
    }

    fn get_nearest_dc(
        &self,
        _: &Caller,
        _: tl::functions::help::GetNearestDc,
    ) -> Result<tl::enums::NearestDc, RpcError> {
        Ok(tl::types::NearestDc { country: "ZZ".into(), this_dc: DC, nearest_dc: DC }.into())
    }

    fn get_users(
        &self,
        caller: &Caller,
        request: tl::functions::users::GetUsers,
    ) -> Result<Vec<tl::enums::User>, RpcError> {
        let world = self.world();
        let user = |id: &tl::enums::InputUser| {
            let account = world.accounts.get(&user_id(id, caller)?)?;
            Some(objects::user(account, caller.account))
        };
        Ok(request.id.iter().filter_map(user).collect())
    }

    fn get_full_user(
        &self,
        caller: &Caller,
        request: tl::functions::users::GetFullUser,
    ) -> Result<tl::enums::users::UserFull, RpcError> {
        let world = self.world();
        let id = user_id(&request.id, caller).filter(|id| world.accounts.contains_key(id));
        let id = id.ok_or_else(|| RpcError::new(400, "USER_ID_INVALID"))?;
        let users = vec![objects::user(&world.accounts[&id], caller.account)];
        Ok(tl::types::users::UserFull { full_user: objects::full_user(id), chats: vec![], users }.into())
    }

    fn get_state(
        &self,
        caller: &Caller,
        _: tl::functions::updates::GetState,
    ) -> Result<tl::enums::updates::State, RpcError> {
        Ok(tl::types::updates::State { pts: 1, qts: 0, date: date(caller), seq: 0, unread_count: 0 }.into())
    }

    fn get_difference(
        &self,
        caller: &Caller,
        _: tl::functions::updates::GetDifference,
    ) -> Result<tl::enums::updates::Difference, RpcError> {
        // Nothing that counts for the state ever happens here: calls are not part of it.
        Ok(tl::types::updates::DifferenceEmpty { date: date(caller), seq: 0 }.into())
    }

    fn resolve_username(
        &self,
        caller: &Caller,
        request: tl::functions::contacts::ResolveUsername,
    ) -> Result<tl::enums::contacts::ResolvedPeer, RpcError> {
        let world = self.world();
        let is_it = |name: &Option<String>| {
            name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(&request.username))
        };
        let (mut chats, mut users) = (vec![], vec![]);
        let peer = if let Some(chat) = world.chats.values().find(|chat| is_it(&chat.username)) {
            chats.push(chat_object(chat, caller));
            chat.peer()
        } else if let Some(account) = world.accounts.values().find(|account| is_it(&account.username)) {
            users.push(objects::user(account, caller.account));
            tl::types::PeerUser { user_id: account.id }.into()
        } else {
            return Err(RpcError::new(400, "USERNAME_NOT_OCCUPIED"));
        };
        Ok(tl::types::contacts::ResolvedPeer { peer, chats, users }.into())
    }

    fn get_dialogs(
        &self,
        caller: &Caller,
        request: tl::functions::messages::GetDialogs,
    ) -> Result<tl::enums::messages::Dialogs, RpcError> {
        let world = self.world();
        let friends: Vec<Account> = world.friends().collect();
        let with_friends = friends.iter().map(|friend| tl::types::PeerUser { user_id: friend.id }.into());
        let all: Vec<tl::enums::Peer> = with_friends.chain(world.chats.values().map(Chat::peer)).collect();
        let count = i32::try_from(all.len()).unwrap_or(i32::MAX);
        // The latest first: each dialog's last message is older by one, in number and in time.
        let (mut page, mut messages) = (Vec::new(), Vec::new());
        let limit = usize::try_from(request.limit).unwrap_or(0).clamp(1, MAX_DIALOGS);
        for (id, peer) in (1..=count).rev().zip(&all) {
            if request.offset_id == id && input_name(&request.offset_peer) != input_of(peer) {
                // Message, date and peer have to be those of the same dialog.
                return Err(RpcError::new(400, "OFFSET_PEER_ID_INVALID"));
            }
            if (request.offset_id == 0 || id < request.offset_id) && page.len() < limit {
                page.push(objects::dialog(peer, id));
                messages.push(objects::last_message(id, peer, date(caller) - (count - id)));
            }
        }
        let chats = world.chats.values().map(|chat| chat_object(chat, caller)).collect();
        let mut users = world.users(caller.account);
        users.extend(friends.iter().map(|friend| objects::user(friend, caller.account)));
        if page.len() == all.len() {
            return Ok(tl::types::messages::Dialogs { dialogs: page, messages, chats, users }.into());
        }
        Ok(tl::types::messages::DialogsSlice { count, dialogs: page, messages, chats, users }.into())
    }

    fn get_chats(
        &self,
        caller: &Caller,
        request: tl::functions::messages::GetChats,
    ) -> Result<tl::enums::messages::Chats, RpcError> {
        let world = self.world();
        let wanted = |chat: &&Chat| chat.kind == ChatKind::Group && request.id.contains(&chat.id);
        let chats = world.chats.values().filter(wanted).map(|chat| chat_object(chat, caller)).collect();
        Ok(tl::types::messages::Chats { chats }.into())
    }

    fn get_channels(
        &self,
        caller: &Caller,
        request: tl::functions::channels::GetChannels,
    ) -> Result<tl::enums::messages::Chats, RpcError> {
        let world = self.world();
        let chat = |input| Ok(chat_object(channel(&world, input)?, caller));
        let chats = request.id.iter().map(chat).collect::<Result<_, RpcError>>()?;
        Ok(tl::types::messages::Chats { chats }.into())
    }

    fn get_full_chat(
        &self,
        caller: &Caller,
        request: tl::functions::messages::GetFullChat,
    ) -> Result<tl::enums::messages::ChatFull, RpcError> {
        let world = self.world();
        let chat = world.chats.get(&request.chat_id).filter(|chat| chat.kind == ChatKind::Group);
        let chat = chat.ok_or_else(|| RpcError::new(400, "CHAT_ID_INVALID"))?;
        Ok(full(&world, chat, caller))
    }

    fn get_full_channel(
        &self,
        caller: &Caller,
        request: tl::functions::channels::GetFullChannel,
    ) -> Result<tl::enums::messages::ChatFull, RpcError> {
        let world = self.world();
        let chat = channel(&world, &request.channel)?;
        Ok(full(&world, chat, caller))
    }

    fn log_out(
        &self,
        caller: &Caller,
        _: tl::functions::auth::LogOut,
    ) -> Result<tl::enums::auth::LoggedOut, RpcError> {
        self.world().sign(caller.key, None);
        Ok(tl::types::auth::LoggedOut { future_auth_token: None }.into())
    }
}

/// The TL name of the function that these bytes begin with.
pub(super) fn name(body: &[u8]) -> &'static str {
    let id = body.get(..4).and_then(|id| id.try_into().ok()).map_or(0, u32::from_le_bytes);
    tl::name_for_id(id)
}

/// Takes the function out of its wrappers: layer, connection parameters, order, no updates.
pub(super) fn unwrapped(mut body: Vec<u8>) -> Result<Vec<u8>, RpcError> {
    use tl::functions::{InitConnection, InvokeAfterMsg, InvokeWithLayer, InvokeWithoutUpdates};
    for _ in 0..MAX_WRAPPERS {
        let mut cursor = Cursor::from_slice(&body);
        let Rest(inner) = match u32::deserialize(&mut cursor).map_err(unreadable)? {
            InvokeWithLayer::<Rest>::CONSTRUCTOR_ID => {
                InvokeWithLayer::<Rest>::deserialize(&mut cursor).map_err(unreadable)?.query
            }
            InitConnection::<Rest>::CONSTRUCTOR_ID => {
                InitConnection::<Rest>::deserialize(&mut cursor).map_err(unreadable)?.query
            }
            InvokeWithoutUpdates::<Rest>::CONSTRUCTOR_ID => {
                InvokeWithoutUpdates::<Rest>::deserialize(&mut cursor).map_err(unreadable)?.query
            }
            InvokeAfterMsg::<Rest>::CONSTRUCTOR_ID => {
                InvokeAfterMsg::<Rest>::deserialize(&mut cursor).map_err(unreadable)?.query
            }
            _ => return Ok(body),
        };
        body = inner;
    }
    Err(RpcError::new(400, "INPUT_METHOD_INVALID"))
}

/// What a wrapper wraps.
struct Rest(Vec<u8>);

impl Deserializable for Rest {
    fn deserialize(cursor: &mut Cursor<'_>) -> tl::deserialize::Result<Self> {
        let mut rest = Vec::new();
        cursor.read_to_end(&mut rest)?;
        Ok(Self(rest))
    }
}

/// Seconds since 1970, as TL has them.
pub(super) fn date(caller: &Caller) -> i32 {
    i32::try_from(caller.now.as_secs()).unwrap_or(i32::MAX)
}

pub(super) fn chat_object(chat: &Chat, caller: &Caller) -> tl::enums::Chat {
    objects::chat(chat, chat.admins.contains(&caller.account), date(caller))
}

pub(super) fn closed(_: EmulatorError) -> RpcError {
    RpcError::new(500, "INTERNAL")
}

fn full(world: &World, chat: &Chat, caller: &Caller) -> tl::enums::messages::ChatFull {
    let chats = vec![chat_object(chat, caller)];
    let users = world.users(caller.account);
    tl::types::messages::ChatFull { full_chat: objects::full_chat(chat), chats, users }.into()
}

/// A channel or supergroup, for those who have its access hash.
pub(super) fn channel<'a>(world: &'a World, input: &tl::enums::InputChannel) -> Result<&'a Chat, RpcError> {
    let invalid = || RpcError::new(400, "CHANNEL_INVALID");
    let tl::enums::InputChannel::Channel(input) = input else { return Err(invalid()) };
    let chat = world.chats.get(&input.channel_id).filter(|chat| chat.kind != ChatKind::Group);
    chat.filter(|chat| chat.access_hash == input.access_hash).ok_or_else(invalid)
}

/// Whom an offset names, as far as an offset can.
fn input_name(input: &tl::enums::InputPeer) -> Option<i64> {
    match input {
        tl::enums::InputPeer::User(user) => Some(user.user_id),
        tl::enums::InputPeer::Chat(chat) => Some(chat.chat_id),
        tl::enums::InputPeer::Channel(channel) => Some(channel.channel_id),
        _ => None,
    }
}

const fn input_of(peer: &tl::enums::Peer) -> Option<i64> {
    match peer {
        tl::enums::Peer::User(user) => Some(user.user_id),
        tl::enums::Peer::Chat(chat) => Some(chat.chat_id),
        tl::enums::Peer::Channel(channel) => Some(channel.channel_id),
    }
}

fn user_id(input: &tl::enums::InputUser, caller: &Caller) -> Option<i64> {
    match input {
        tl::enums::InputUser::UserSelf => Some(caller.account),
        tl::enums::InputUser::User(user) => Some(user.user_id),
        _ => None,
    }
}

fn unreadable(error: tl::deserialize::Error) -> RpcError {
    tracing::debug!(%error, "a function that cannot be read");
    RpcError::new(400, "INPUT_REQUEST_INVALID")
}
