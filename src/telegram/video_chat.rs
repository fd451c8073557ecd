//! Video chats: begin, join, look, change, leave, end. The methods have the names and the
//! meaning that MTKruto's have.

use std::collections::HashMap;
use std::sync::MutexGuard;

use grammers_tl_types as tl;

use super::chat::{Chat, VideoChatId};
use super::client::{Client, Inner, Patience};
use super::error::TelegramError;
use super::rows;
use crate::call::signaling::{Edit, ParticipantsPage};

/// Rows in one page of the participant list.
const PAGE: i32 = 100;

/// Telegram's word for "it is so already", which is no error.
const NOT_MODIFIED: &str = "GROUPCALL_NOT_MODIFIED";

/// How to join a video chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinVideoChat {
    /// Whom to appear as, by number, as [`Client::join_as_peers`] lists them; `None` for oneself.
    pub join_as: Option<String>,
    /// The hash of a speaker link.
    pub invite_hash: Option<String>,
    /// Enter with the microphone on.
    pub audio: bool,
    /// Enter with the camera on.
    pub video: bool,
}

impl Default for JoinVideoChat {
    fn default() -> Self {
        Self { join_as: None, invite_hash: None, audio: true, video: true }
    }
}

/// What a video chat is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoChat {
    /// Names it.
    pub id: VideoChatId,
    /// Its own title, if it has one.
    pub title: Option<String>,
    /// How many take part.
    pub n_participants: u32,
    /// Unix time of the start, for one that has not begun.
    pub schedule_date: Option<i64>,
    /// Newcomers enter muted.
    pub join_muted: bool,
    /// An RTMP stream, that nobody can join to speak.
    pub rtmp: bool,
    /// An encrypted conference.
    pub conference: bool,
    /// Whether a camera may be switched on.
    pub can_start_video: bool,
    /// The version of the participant list.
    pub version: i32,
}

/// Somebody to appear as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinAsPeer {
    /// The number for [`JoinVideoChat::join_as`].
    pub id: String,
    /// What people read.
    pub title: String,
}

/// What a joiner gets.
#[derive(Clone, Debug)]
pub(super) struct Joined {
    /// `updateGroupCallConnection.params`.
    pub(super) params: String,
}

impl VideoChat {
    /// Whether it can be joined and spoken in.
    ///
    /// # Errors
    /// When it cannot: not begun, an RTMP stream or a conference.
    pub fn joinable(&self) -> Result<(), TelegramError> {
        match (self.conference, self.rtmp, self.schedule_date) {
            (true, ..) => Err(TelegramError::Conference),
            (_, true, _) => Err(TelegramError::Rtmp),
            (.., Some(at)) => Err(TelegramError::Scheduled { at }),
            _ => Ok(()),
        }
    }
}

impl Client {
    /// Begins a video chat in `chat`.
    ///
    /// # Errors
    /// When this account may not, or there is one already.
    pub async fn start_video_chat(
        &self,
        chat: &Chat,
        title: Option<&str>,
    ) -> Result<VideoChatId, TelegramError> {
        self.create(chat, title, None).await
    }

    /// Announces a video chat for a time to come, in Unix seconds.
    ///
    /// # Errors
    /// When this account may not, there is one already, or the time will not do.
    pub async fn schedule_video_chat(
        &self,
        chat: &Chat,
        title: Option<&str>,
        at: i64,
    ) -> Result<VideoChatId, TelegramError> {
        let out_of_range = |_| TelegramError::Rpc {
            code: 400,
            message: "SCHEDULE_DATE_INVALID".to_owned(),
            method: "phone.createGroupCall",
        };
        self.create(chat, title, Some(i32::try_from(at).map_err(out_of_range)?)).await
    }

    /// Begins a scheduled video chat before its time.
    ///
    /// # Errors
    /// When this account may not.
    pub async fn start_scheduled_video_chat(&self, id: VideoChatId) -> Result<(), TelegramError> {
        let call = self.inner.reference(id)?;
        self.inner.change(&tl::functions::phone::StartScheduledGroupCall { call }).await
    }

    /// What a video chat is like now.
    ///
    /// # Errors
    /// When it is over, or this account cannot see it.
    pub async fn get_video_chat(&self, id: VideoChatId) -> Result<VideoChat, TelegramError> {
        let request = tl::functions::phone::GetGroupCall { call: self.inner.reference(id)?, limit: 1 };
        let tl::enums::phone::GroupCall::Call(found) = self.invoke(&request).await?;
        self.inner.remember(&found.call);
        let tl::enums::GroupCall::Call(call) = found.call else {
            return Err(over("phone.getGroupCall"));
        };
        Ok(VideoChat {
            id,
            title: call.title,
            n_participants: u32::try_from(call.participants_count).unwrap_or_default(),
            schedule_date: call.schedule_date.map(i64::from),
            join_muted: call.join_muted,
            rtmp: call.rtmp_stream,
            conference: call.conference,
            can_start_video: call.can_start_video,
            version: call.version,
        })
    }

    /// Joins a video chat that [`get_chat`](Self::get_chat), [`start_video_chat`](Self::start_video_chat)
    /// or [`schedule_video_chat`](Self::schedule_video_chat) has named. `params` are the WebRTC
    /// parameters as JSON and are sent verbatim; the result is the server's side, unparsed.
    ///
    /// # Errors
    /// When Telegram refuses. An error does not mean that nothing was done: after a lost
    /// connection the account may be in the chat all the same, until it leaves or joins anew.
    pub async fn join_video_chat(
        &self,
        id: VideoChatId,
        params: &str,
        options: JoinVideoChat,
    ) -> Result<String, TelegramError> {
        Ok(self.inner.join(id, params, options, self.patience(), &mut false).await?.params)
    }

    /// Leaves a video chat, whatever connection this account has there.
    ///
    /// # Errors
    /// When Telegram cannot be reached or refuses.
    pub async fn leave_video_chat(&self, id: VideoChatId) -> Result<(), TelegramError> {
        self.inner.leave(id, 0).await
    }

    /// Ends a video chat for everybody.
    ///
    /// # Errors
    /// When this account may not.
    pub async fn end_video_chat(&self, id: VideoChatId) -> Result<(), TelegramError> {
        let call = self.inner.reference(id)?;
        match self.inner.change(&tl::functions::phone::DiscardGroupCall { call }).await {
            Err(error) if error.is("GROUPCALL_ALREADY_DISCARDED") => Ok(()),
            other => other,
        }
    }

    /// As whom this account may appear in the video chats of `chat`.
    ///
    /// # Errors
    /// When Telegram cannot be reached or refuses.
    pub async fn join_as_peers(&self, chat: &Chat) -> Result<Vec<JoinAsPeer>, TelegramError> {
        let request = tl::functions::phone::GetGroupCallJoinAs { peer: chat.input.clone() };
        let tl::enums::phone::JoinAsPeers::Peers(found) = self.invoke(&request).await?;
        let mut titles: HashMap<String, String> = HashMap::new();
        for chat in &found.chats {
            if let tl::enums::Chat::Channel(channel) = chat {
                let peer = tl::types::PeerChannel { channel_id: channel.id }.into();
                titles.insert(rows::peer_name(&peer), channel.title.clone());
                if let Some(hash) = channel.access_hash {
                    self.inner.session.keep_channels([(channel.id, hash)])?;
                }
            }
        }
        for user in &found.users {
            if let tl::enums::User::User(user) = user {
                titles.insert(user.id.to_string(), user.first_name.clone().unwrap_or_default());
            }
        }
        let peer = |peer| {
            let id = rows::peer_name(peer);
            JoinAsPeer { title: titles.remove(&id).unwrap_or_default(), id }
        };
        Ok(found.peers.iter().map(peer).collect())
    }

    /// A link that invites to a video chat; `can_speak` for one that lets its user speak although
    /// newcomers are muted.
    ///
    /// # Errors
    /// When the chat is not public, or this account may not.
    pub async fn export_invite_link(
        &self,
        id: VideoChatId,
        can_speak: bool,
    ) -> Result<String, TelegramError> {
        let call = self.inner.reference(id)?;
        let request = tl::functions::phone::ExportGroupCallInvite { can_self_unmute: can_speak, call };
        let tl::enums::phone::ExportedGroupCallInvite::Invite(found) = self.invoke(&request).await?;
        Ok(found.link)
    }

    /// Invites people, who were found by [`get_chat`](Self::get_chat), into a video chat.
    ///
    /// # Errors
    /// When one of them is not a person, or Telegram refuses.
    pub async fn invite(&self, id: VideoChatId, people: &[Chat]) -> Result<(), TelegramError> {
        let user = |chat: &Chat| match &chat.input {
            tl::enums::InputPeer::User(user) => {
                let (user_id, access_hash) = (user.user_id, user.access_hash);
                Ok(tl::types::InputUser { user_id, access_hash }.into())
            }
            tl::enums::InputPeer::PeerSelf => Ok(tl::enums::InputUser::UserSelf),
            _ => Err(TelegramError::BadName(chat.title.clone())),
        };
        let users = people.iter().map(user).collect::<Result<_, _>>()?;
        let call = self.inner.reference(id)?;
        self.inner.change(&tl::functions::phone::InviteToGroupCall { call, users }).await
    }

    /// Gives a video chat a title of its own; an empty one takes it away.
    ///
    /// # Errors
    /// When this account may not.
    pub async fn set_title(&self, id: VideoChatId, title: &str) -> Result<(), TelegramError> {
        let (call, title) = (self.inner.reference(id)?, title.to_owned());
        self.inner.change(&tl::functions::phone::EditGroupCallTitle { call, title }).await
    }

    /// Lets newcomers enter muted, or not.
    ///
    /// # Errors
    /// When this account may not.
    pub async fn toggle_join_muted(&self, id: VideoChatId, join_muted: bool) -> Result<(), TelegramError> {
        let request = tl::functions::phone::ToggleGroupCallSettings {
            reset_invite_hash: false,
            call: self.inner.reference(id)?,
            join_muted: Some(join_muted),
            messages_enabled: None,
            send_paid_messages_stars: None,
        };
        self.inner.change(&request).await
    }

    /// Changes the row of a participant: one's own with `None`, or somebody else's.
    ///
    /// # Errors
    /// When nobody of that number was seen, or Telegram refuses.
    pub async fn edit_participant(
        &self,
        id: VideoChatId,
        whom: Option<&Chat>,
        edit: &Edit,
    ) -> Result<(), TelegramError> {
        let whom = whom.map_or(tl::enums::InputPeer::PeerSelf, |chat| chat.input.clone());
        self.inner.edit(id, whom, edit, self.patience()).await
    }

    async fn create(
        &self,
        chat: &Chat,
        title: Option<&str>,
        schedule_date: Option<i32>,
    ) -> Result<VideoChatId, TelegramError> {
        let request = tl::functions::phone::CreateGroupCall {
            rtmp_stream: false,
            peer: chat.input.clone(),
            // The same number in a repetition tells Telegram that it is one.
            random_id: fastrand::i32(1..),
            title: title.map(str::to_owned),
            schedule_date,
        };
        let updates = self.invoke(&request).await?;
        let call = of_updates(&updates).find_map(|update| match update {
            tl::enums::Update::GroupCall(update) => Some(&update.call),
            _ => None,
        });
        match call {
            Some(call @ tl::enums::GroupCall::Call(it)) => {
                self.inner.remember(call);
                Ok(VideoChatId(it.id))
            }
            _ => Err(TelegramError::Unreadable { method: "phone.createGroupCall" }),
        }
    }
}

impl Inner {
    pub(super) fn calls(&self) -> MutexGuard<'_, HashMap<i64, tl::types::InputGroupCall>> {
        self.calls.lock().expect("nothing panics while it holds the calls")
    }

    /// The reference to a video chat, with the latest access hash.
    pub(super) fn reference(&self, id: VideoChatId) -> Result<tl::enums::InputGroupCall, TelegramError> {
        let call = self.calls().get(&id.0).cloned();
        call.map(Into::into).ok_or_else(|| over("a method of a call"))
    }

    pub(super) async fn join(
        &self,
        id: VideoChatId,
        params: &str,
        options: JoinVideoChat,
        patience: Patience,
        is_answer_lost: &mut bool,
    ) -> Result<Joined, TelegramError> {
        let join_as = options.join_as.as_deref().map(|peer| self.input_peer(peer)).transpose()?;
        let request = tl::functions::phone::JoinGroupCall {
            muted: !options.audio,
            video_stopped: !options.video,
            call: self.reference(id)?,
            join_as: join_as.unwrap_or(tl::enums::InputPeer::PeerSelf),
            invite_hash: options.invite_hash,
            public_key: None,
            block: None,
            params: tl::types::DataJson { data: params.to_owned() }.into(),
        };
        let answer = self.invoke_telling(&request, patience, is_answer_lost).await?;
        let mut connection = None;
        for update in of_updates(&answer) {
            match update {
                tl::enums::Update::GroupCallConnection(update) if !update.presentation => {
                    let tl::enums::DataJson::Json(json) = &update.params;
                    connection = Some(json.data.clone());
                }
                // From now on this access hash counts; with an older one every later call fails.
                tl::enums::Update::GroupCall(update) => self.remember(&update.call),
                _ => {}
            }
        }
        // The rows in the answer come as news as well, as everything that holds updates does.
        Ok(Joined { params: connection.ok_or(TelegramError::NoConnection)? })
    }

    pub(super) async fn leave(&self, id: VideoChatId, source: i32) -> Result<(), TelegramError> {
        let call = self.reference(id)?;
        match self.change(&tl::functions::phone::LeaveGroupCall { call, source }).await {
            // Gone is gone.
            Err(error) if error.is("GROUPCALL_JOIN_MISSING") || error.is("GROUPCALL_ALREADY_DISCARDED") => {
                Ok(())
            }
            other => other,
        }
    }

    pub(super) async fn check(&self, id: VideoChatId, sources: Vec<i32>) -> Result<Vec<i32>, TelegramError> {
        // Zero stands for no connection, and asking about it is an error.
        let sources = sources.into_iter().filter(|source| *source != 0).collect();
        self.invoke(&tl::functions::phone::CheckGroupCall { call: self.reference(id)?, sources }).await
    }

    pub(super) async fn participants(
        &self,
        id: VideoChatId,
        sources: Vec<i32>,
        offset: String,
    ) -> Result<ParticipantsPage, TelegramError> {
        let call = self.reference(id)?;
        let request =
            tl::functions::phone::GetGroupParticipants { call, ids: vec![], sources, offset, limit: PAGE };
        let tl::enums::phone::GroupParticipants::Participants(page) = self.invoke(&request).await?;
        Ok(ParticipantsPage {
            participants: page.participants.iter().map(rows::row).collect(),
            version: page.version,
            next_offset: page.next_offset,
        })
    }

    pub(super) async fn edit(
        &self,
        id: VideoChatId,
        participant: tl::enums::InputPeer,
        edit: &Edit,
        patience: Patience,
    ) -> Result<(), TelegramError> {
        let request = tl::functions::phone::EditGroupCallParticipant {
            call: self.reference(id)?,
            participant,
            muted: edit.muted,
            volume: edit.volume.and_then(|volume| i32::try_from(volume).ok()),
            raise_hand: edit.raise_hand,
            video_stopped: edit.video_stopped,
            video_paused: edit.video_paused,
            presentation_paused: None,
        };
        match self.invoke_with(&request, patience).await {
            Err(error) if error.is(NOT_MODIFIED) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Calls a method whose result is nothing but news. "It is so already" is no error.
    async fn change<R: tl::RemoteCall<Return = tl::enums::Updates>>(
        &self,
        request: &R,
    ) -> Result<(), TelegramError> {
        match self.invoke(request).await {
            Err(error) if error.is(NOT_MODIFIED) => Ok(()),
            other => other.map(drop),
        }
    }

    /// The peer with this number, as far as it can be written without asking.
    pub(super) fn input_peer(&self, number: &str) -> Result<tl::enums::InputPeer, TelegramError> {
        use super::chat::CHANNEL_BASE;
        let unknown = || TelegramError::BadName(number.to_owned());
        if number == "me" {
            return Ok(tl::enums::InputPeer::PeerSelf);
        }
        let id: i64 = number.parse().map_err(|_| unknown())?;
        match id {
            _ if self.session.me().is_some_and(|me| me.id == id) => Ok(tl::enums::InputPeer::PeerSelf),
            id if id < -CHANNEL_BASE => {
                let channel_id = -id - CHANNEL_BASE;
                let access_hash = self.session.channel_hash(channel_id).ok_or_else(unknown)?;
                Ok(tl::types::InputPeerChannel { channel_id, access_hash }.into())
            }
            id if id < 0 => Ok(tl::types::InputPeerChat { chat_id: -id }.into()),
            _ => Err(unknown()),
        }
    }
}

/// The updates in a container.
fn of_updates(updates: &tl::enums::Updates) -> impl Iterator<Item = &tl::enums::Update> {
    match updates {
        tl::enums::Updates::Updates(all) => all.updates.iter(),
        tl::enums::Updates::Combined(all) => all.updates.iter(),
        tl::enums::Updates::UpdateShort(one) => std::slice::from_ref(&one.update).iter(),
        _ => [].iter(),
    }
}

/// A video chat that we know nothing of, or that is over.
fn over(method: &'static str) -> TelegramError {
    TelegramError::Rpc { code: 400, message: "GROUPCALL_INVALID".to_owned(), method }
}
