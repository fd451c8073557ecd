//! The phone.* methods, bound to the rooms that the other doors lead to as well.

use grammers_tl_types as tl;

use super::methods::{Caller, Methods, channel, chat_object, closed, date};
use super::objects;
use super::world::{Call, Chat, ChatKind, World};
use crate::call::signaling::{Edit, ParticipantRow};
use crate::emulator::{JoinRequest, RpcError};
use crate::secret::Secret;

/// The answer to whoever joins an RTMP stream.
const RTMP_ANSWER: &str = r#"{"stream":true,"rtmp":true}"#;

/// Where an account stands in a call.
struct Seat {
    chat: i64,
    room: String,
    name: String,
}

impl Methods {
    pub(super) fn create_group_call(
        &self,
        caller: &Caller,
        request: tl::functions::phone::CreateGroupCall,
    ) -> Result<tl::enums::Updates, RpcError> {
        let update = {
            let mut world = self.world();
            let id = chat_id(&world, &request.peer)?;
            let chat = world.chats.get_mut(&id).ok_or_else(peer_invalid)?;
            chat.require_admin(caller.account)?;
            if request.schedule_date.is_some_and(|at| at <= date(caller)) {
                return Err(RpcError::new(400, "SCHEDULE_DATE_INVALID"));
            }
            if chat.call.is_some() {
                return Err(RpcError::new(400, "CREATE_CALL_FAILED"));
            }
            let mut call = Call::random();
            (call.title, call.schedule_date) = (request.title, request.schedule_date);
            call.rtmp = request.rtmp_stream;
            let update = call_update(chat, objects::group_call(&call, 0, 0));
            chat.call = Some(call);
            update
        };
        Ok(self.announce(caller, vec![update]))
    }

    pub(super) fn start_scheduled_group_call(
        &self,
        caller: &Caller,
        request: tl::functions::phone::StartScheduledGroupCall,
    ) -> Result<tl::enums::Updates, RpcError> {
        self.change(caller, &request.call, |call| call.schedule_date.take().is_some())
    }

    pub(super) fn edit_group_call_title(
        &self,
        caller: &Caller,
        request: tl::functions::phone::EditGroupCallTitle,
    ) -> Result<tl::enums::Updates, RpcError> {
        let title = Some(request.title).filter(|title| !title.is_empty());
        self.change(caller, &request.call, |call| std::mem::replace(&mut call.title, title.clone()) != title)
    }

    pub(super) fn toggle_group_call_settings(
        &self,
        caller: &Caller,
        request: tl::functions::phone::ToggleGroupCallSettings,
    ) -> Result<tl::enums::Updates, RpcError> {
        self.change(caller, &request.call, |call| {
            if request.reset_invite_hash {
                call.speaker_hash = format!("{:016x}", fastrand::u64(..));
            }
            let muted = request.join_muted.unwrap_or(call.join_muted);
            request.reset_invite_hash || std::mem::replace(&mut call.join_muted, muted) != muted
        })
    }

    pub(super) fn get_group_call_join_as(
        &self,
        caller: &Caller,
        _: tl::functions::phone::GetGroupCallJoinAs,
    ) -> Result<tl::enums::phone::JoinAsPeers, RpcError> {
        let world = self.world();
        let own: Vec<&Chat> = world
            .chats
            .values()
            .filter(|chat| chat.kind != ChatKind::Group && chat.admins.contains(&caller.account))
            .collect();
        let myself = tl::types::PeerUser { user_id: caller.account }.into();
        let peers = std::iter::once(myself).chain(own.iter().map(|chat| chat.peer())).collect();
        let chats = own.iter().map(|chat| chat_object(chat, caller)).collect();
        Ok(tl::types::phone::JoinAsPeers { peers, chats, users: world.users(caller.account) }.into())
    }

    pub(super) fn export_group_call_invite(
        &self,
        caller: &Caller,
        request: tl::functions::phone::ExportGroupCallInvite,
    ) -> Result<tl::enums::phone::ExportedGroupCallInvite, RpcError> {
        let mut world = self.world();
        let chat = world.chat_of_call(&request.call)?;
        let name = chat.username.clone().ok_or_else(|| RpcError::new(403, "PUBLIC_CHANNEL_MISSING"))?;
        let word = if chat.kind == ChatKind::Channel { "livestream" } else { "videochat" };
        let link = if request.can_self_unmute {
            chat.require_admin(caller.account)?;
            let hash = chat.call.as_ref().map(|call| call.speaker_hash.clone()).unwrap_or_default();
            format!("https://t.me/{name}?{word}={hash}")
        } else {
            format!("https://t.me/{name}?{word}")
        };
        Ok(tl::types::phone::ExportedGroupCallInvite { link }.into())
    }

    pub(super) fn invite_to_group_call(
        &self,
        caller: &Caller,
        request: tl::functions::phone::InviteToGroupCall,
    ) -> Result<tl::enums::Updates, RpcError> {
        self.world().chat_of_call(&request.call)?;
        Ok(updates(caller, vec![], vec![], vec![]))
    }

    pub(super) async fn get_group_call(
        &self,
        caller: &Caller,
        request: tl::functions::phone::GetGroupCall,
    ) -> Result<tl::enums::phone::GroupCall, RpcError> {
        let (room, call, chat) = {
            let mut world = self.world();
            let chat = world.chat_of_call(&request.call)?;
            let call = chat.call.clone().ok_or_else(forbidden)?;
            (chat.room.clone(), call, chat_object(chat, caller))
        };
        let (n, page) = self
            .control
            .with(move |sfu, _| {
                let page = sfu.list(&room, &[], "");
                (page.participants.len(), page)
            })
            .await
            .map_err(closed)?;
        let participants = self.rows(caller, &page.participants);
        Ok(tl::types::phone::GroupCall {
            call: objects::group_call(&call, n, page.version),
            participants,
            participants_next_offset: page.next_offset,
            chats: vec![chat],
            users: self.world().users(caller.account),
        }
        .into())
    }

    pub(super) async fn get_group_participants(
        &self,
        caller: &Caller,
        request: tl::functions::phone::GetGroupParticipants,
    ) -> Result<tl::enums::phone::GroupParticipants, RpcError> {
        let Seat { room, name, .. } = self.seat(caller, &request.call)?;
        let (sources, offset) = (request.sources, request.offset);
        let page = self
            .control
            .with(move |sfu, _| sfu.check(&room, &name, &[]).map(|_| sfu.list(&room, &sources, &offset)))
            .await
            .map_err(closed)??;
        Ok(tl::types::phone::GroupParticipants {
            count: i32::try_from(page.participants.len()).unwrap_or(i32::MAX),
            participants: self.rows(caller, &page.participants),
            next_offset: page.next_offset,
            chats: vec![],
            users: self.world().users(caller.account),
            version: page.version,
        }
        .into())
    }

    pub(super) async fn join_group_call(
        &self,
        caller: &Caller,
        request: tl::functions::phone::JoinGroupCall,
    ) -> Result<tl::enums::Updates, RpcError> {
        let tl::enums::DataJson::Json(tl::types::DataJson { data: params }) = request.params;
        let (chat, room, call, name, silenced) = {
            let mut world = self.world();
            world.join_params = Some(Secret::new(params.clone()));
            let name = join_as(&world, &request.join_as, caller)?;
            let chat = world.chat_of_call(&request.call)?;
            let call = chat.call.clone().ok_or_else(forbidden)?;
            if call.schedule_date.is_some() {
                return Err(forbidden());
            }
            let may_speak = !call.join_muted
                || chat.admins.contains(&caller.account)
                || request.invite_hash.as_ref() == Some(&call.speaker_hash);
            (chat.id, chat.room.clone(), call, name, !may_speak)
        };
        if call.rtmp {
            return Ok(self.joined(caller, chat, RTMP_ANSWER.to_owned(), None));
        }
        let join = JoinRequest {
            chat: room.clone(),
            name: name.clone(),
            params,
            muted: request.muted || silenced,
            video_stopped: request.video_stopped,
            observer: false,
        };
        let (world, account, connection) = (self.world.clone(), caller.account, caller.connection);
        let (params, row, version) = self
            .control
            .with(move |sfu, now| {
                let joined = sfu.join(&join, now)?;
                if silenced {
                    sfu.mute_by_admin(&room, &name, true, now)?;
                }
                let (row, version) = sfu.row(&room, &name).ok_or_else(RpcError::join_missing)?;
                // Before the room's news of it can pass.
                let mut world = world.lock().expect("nothing panics while it holds the world");
                world.tell(connection, &room, version);
                let chat = world.chats.get_mut(&chat).and_then(|chat| chat.call.as_mut());
                let was_in = chat.and_then(|call| call.joined.insert(account, name)).is_some();
                let row = ParticipantRow { just_joined: !was_in, versioned: true, ..row };
                Ok::<_, RpcError>((joined.params, row, version))
            })
            .await
            .map_err(closed)??;
        Ok(self.joined(caller, chat, params, Some((row, version))))
    }

    pub(super) async fn leave_group_call(
        &self,
        caller: &Caller,
        request: tl::functions::phone::LeaveGroupCall,
    ) -> Result<tl::enums::Updates, RpcError> {
        let Seat { room, name, .. } = self.seat(caller, &request.call)?;
        let source = request.source;
        self.control.with(move |sfu, now| sfu.leave(&room, &name, source, now)).await.map_err(closed)??;
        Ok(updates(caller, vec![], vec![], vec![]))
    }

    pub(super) async fn check_group_call(
        &self,
        caller: &Caller,
        request: tl::functions::phone::CheckGroupCall,
    ) -> Result<Vec<i32>, RpcError> {
        let Seat { room, name, .. } = self.seat(caller, &request.call)?;
        self.control.with(move |sfu, _| sfu.check(&room, &name, &request.sources)).await.map_err(closed)?
    }

    pub(super) async fn edit_group_call_participant(
        &self,
        caller: &Caller,
        request: tl::functions::phone::EditGroupCallParticipant,
    ) -> Result<tl::enums::Updates, RpcError> {
        let Seat { chat, room, name, .. } = self.seat(caller, &request.call)?;
        let whom = {
            let world = self.world();
            whom(&world, &request.participant, caller).ok_or_else(RpcError::participant_invalid)?
        };
        let volume = request.volume.map(u32::try_from).transpose().map_err(|_| RpcError::volume_invalid())?;
        if whom != name {
            self.world().chats.get(&chat).ok_or_else(forbidden)?.require_admin(caller.account)?;
            if let Some(muted) = request.muted {
                let change =
                    move |sfu: &mut crate::emulator::Sfu, now| sfu.mute_by_admin(&room, &whom, muted, now);
                self.control.with(change).await.map_err(closed)??;
            }
            return Ok(updates(caller, vec![], vec![], vec![]));
        }
        let edit = Edit {
            muted: request.muted,
            volume,
            raise_hand: request.raise_hand,
            video_stopped: request.video_stopped,
            video_paused: request.video_paused,
        };
        self.control.with(move |sfu, now| sfu.edit(&room, &name, &edit, now)).await.map_err(closed)??;
        Ok(updates(caller, vec![], vec![], vec![]))
    }

    pub(super) async fn discard_group_call(
        &self,
        caller: &Caller,
        request: tl::functions::phone::DiscardGroupCall,
    ) -> Result<tl::enums::Updates, RpcError> {
        let (chat, room) = {
            let mut world = self.world();
            let chat = world.chat_of_call(&request.call)?;
            chat.require_admin(caller.account)?;
            (chat.id, chat.room.clone())
        };
        // A room that nobody has entered does not exist; the call ends all the same.
        let ended = self.control.with(move |sfu, now| sfu.discard(&room, now)).await.map_err(closed)?;
        tracing::debug!(chat, was_empty = ended.is_err(), "call discarded");
        Ok(self.end_call(caller, chat))
    }

    /// Ends the call of `chat` and tells everybody; whoever asked learns it from the answer.
    fn end_call(&self, caller: &Caller, chat: i64) -> tl::enums::Updates {
        let update = {
            let mut world = self.world();
            let call = world.end_call(chat);
            let chat = world.chats.get(&chat);
            chat.zip(call).map(|(chat, call)| call_update(chat, objects::discarded(&call)))
        };
        self.announce(caller, update.into_iter().collect())
    }

    /// Changes something of the call itself, which only admins may do.
    fn change(
        &self,
        caller: &Caller,
        call: &tl::enums::InputGroupCall,
        change: impl FnOnce(&mut Call) -> bool,
    ) -> Result<tl::enums::Updates, RpcError> {
        let update = {
            let mut world = self.world();
            let chat = world.chat_of_call(call)?;
            chat.require_admin(caller.account)?;
            let call = chat.call.as_mut().ok_or_else(forbidden)?;
            if !change(call) {
                return Err(RpcError::new(400, "GROUPCALL_NOT_MODIFIED"));
            }
            let call = objects::group_call(call, call.joined.len(), 0);
            call_update(chat, call)
        };
        Ok(self.announce(caller, vec![update]))
    }

    /// Tells everybody else what the caller gets as the answer.
    fn announce(&self, caller: &Caller, news: Vec<tl::enums::Update>) -> tl::enums::Updates {
        let answer = updates(caller, news, vec![], vec![]);
        self.pushes.to_all_but(caller.connection, &answer);
        answer
    }

    /// The answer to a join: connection, own row and call, in an order that changes.
    fn joined(
        &self,
        caller: &Caller,
        chat: i64,
        params: String,
        own: Option<(ParticipantRow, i32)>,
    ) -> tl::enums::Updates {
        self.world().join_answer = Some(Secret::new(params.clone()));
        let params = tl::types::DataJson { data: params }.into();
        let mut news: Vec<tl::enums::Update> =
            vec![tl::types::UpdateGroupCallConnection { presentation: false, params }.into()];
        let version = own.as_ref().map_or(0, |(_, version)| *version);
        let rows = own.map(|(row, _)| self.rows(caller, &[row]));
        let world = self.world();
        let chat = world.chats.get(&chat);
        if let Some((chat, call)) = chat.and_then(|chat| Some((chat, chat.call.as_ref()?))) {
            news.push(call_update(chat, objects::group_call(call, call.joined.len(), version)));
            news.extend(rows.map(|participants| {
                let call = objects::input_call(call);
                tl::types::UpdateGroupCallParticipants { call, participants, version }.into()
            }));
        }
        fastrand::shuffle(&mut news);
        let chats = chat.map(|chat| chat_object(chat, caller)).into_iter().collect();
        updates(caller, news, world.users(caller.account), chats)
    }

    /// Rows as the caller sees them.
    fn rows(&self, caller: &Caller, rows: &[ParticipantRow]) -> Vec<tl::enums::GroupCallParticipant> {
        let mut world = self.world();
        rows.iter().map(|row| row_for(&mut world, row, caller.account, date(caller))).collect()
    }

    /// Where the caller sits; an error for who has not joined.
    fn seat(&self, caller: &Caller, call: &tl::enums::InputGroupCall) -> Result<Seat, RpcError> {
        let mut world = self.world();
        let chat = world.chat_of_call(call)?;
        let call = chat.call.as_ref().ok_or_else(forbidden)?;
        let name = call.joined.get(&caller.account).cloned().ok_or_else(RpcError::join_missing)?;
        Ok(Seat { chat: chat.id, room: chat.room.clone(), name })
    }
}

/// A row of the list as `viewer` sees it.
pub(super) fn row_for(
    world: &mut World,
    row: &ParticipantRow,
    viewer: i64,
    date: i32,
) -> tl::enums::GroupCallParticipant {
    let peer = world.peer_of(&row.peer);
    let calls = || world.chats.values().filter_map(|chat| chat.call.as_ref());
    let is_self = calls().any(|call| call.joined.get(&viewer) == Some(&row.peer));
    let is_there = |call: &Call| call.joined.values().any(|name| *name == row.peer);
    let has_place = !calls().any(|call| call.cameras_taken && is_there(call));
    let row = ParticipantRow { video_joined: row.video_joined && has_place, ..row.clone() };
    objects::participant(&row, peer, is_self, date)
}

/// A container of updates.
pub(super) fn container(
    updates: Vec<tl::enums::Update>,
    users: Vec<tl::enums::User>,
    chats: Vec<tl::enums::Chat>,
    date: i32,
) -> tl::enums::Updates {
    tl::types::Updates { updates, users, chats, date, seq: 0 }.into()
}

pub(super) fn call_update(chat: &Chat, call: tl::enums::GroupCall) -> tl::enums::Update {
    tl::types::UpdateGroupCall { live_story: false, peer: Some(chat.peer()), call }.into()
}

fn updates(
    caller: &Caller,
    updates: Vec<tl::enums::Update>,
    users: Vec<tl::enums::User>,
    chats: Vec<tl::enums::Chat>,
) -> tl::enums::Updates {
    container(updates, users, chats, date(caller))
}

/// Under which name somebody joins.
fn join_as(world: &World, peer: &tl::enums::InputPeer, caller: &Caller) -> Result<String, RpcError> {
    let invalid = || RpcError::new(400, "JOIN_AS_PEER_INVALID");
    let name = whom(world, peer, caller).ok_or_else(invalid)?;
    let own = world.accounts.get(&caller.account).is_some_and(|account| account.name == name);
    let of_chat = world.chats.values().find(|chat| chat.name_in_rooms() == name);
    let may = own || of_chat.is_some_and(|chat| chat.admins.contains(&caller.account));
    if may { Ok(name) } else { Err(invalid()) }
}

/// The name that a peer has in the rooms.
fn whom(world: &World, peer: &tl::enums::InputPeer, caller: &Caller) -> Option<String> {
    let account = |id: &i64| Some(world.accounts.get(id)?.name.clone());
    match peer {
        tl::enums::InputPeer::PeerSelf => account(&caller.account),
        tl::enums::InputPeer::User(user) => account(&user.user_id),
        peer => chat_id(world, peer).ok().and_then(|id| Some(world.chats.get(&id)?.name_in_rooms())),
    }
}

fn chat_id(world: &World, peer: &tl::enums::InputPeer) -> Result<i64, RpcError> {
    match peer {
        tl::enums::InputPeer::Chat(chat) => {
            let chat = world.chats.get(&chat.chat_id).filter(|chat| chat.kind == ChatKind::Group);
            chat.map(|chat| chat.id).ok_or_else(peer_invalid)
        }
        tl::enums::InputPeer::Channel(input) => {
            let (channel_id, access_hash) = (input.channel_id, input.access_hash);
            let input = tl::types::InputChannel { channel_id, access_hash }.into();
            channel(world, &input).map(|chat| chat.id)
        }
        _ => Err(peer_invalid()),
    }
}

fn peer_invalid() -> RpcError {
    RpcError::new(400, "PEER_ID_INVALID")
}

fn forbidden() -> RpcError {
    RpcError::new(403, "GROUPCALL_FORBIDDEN")
}
