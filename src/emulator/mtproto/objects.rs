//! The TL objects that answers are made of.
//!
//! Many of them have tens of optional fields, and every layer adds some. So an object is made
//! from the bytes of its mandatory fields, which change rarely, and the few optional ones that
//! matter are set afterwards.

use std::net::SocketAddrV4;

use grammers_tl_types as tl;
use tl::{Deserializable, Identifiable, Serializable};

use super::files::StoredFile;
use super::world::{Account, Call, Chat, ChatKind};
use crate::call::signaling::{ParticipantRow, VideoRow};

/// A camera slot for this many; clients switch off their camera where there is none.
const UNMUTED_VIDEO_LIMIT: i32 = 30;

/// The bytes of mandatory fields, in the order of the schema.
struct Fields(Vec<u8>);

impl Fields {
    /// Begins with so many empty words of flags.
    fn with_flags(n: usize) -> Self {
        Self(vec![0; 4 * n])
    }

    fn put(mut self, value: &impl Serializable) -> Self {
        value.serialize(&mut self.0);
        self
    }

    fn ints(mut self, values: &[i32]) -> Self {
        values.iter().for_each(|value| value.serialize(&mut self.0));
        self
    }

    /// A bare object that has nothing in it but its constructor and `n_flags` words of flags.
    fn empty<T: Identifiable>(mut self, n_flags: usize) -> Self {
        T::CONSTRUCTOR_ID.serialize(&mut self.0);
        self.0.extend(std::iter::repeat_n(0, 4 * n_flags));
        self
    }

    fn build<T: Deserializable>(self) -> T {
        T::from_bytes(&self.0).expect("the mandatory fields of the present layer are all there")
    }
}

pub(super) fn user(account: &Account, viewer: i64) -> tl::enums::User {
    let mut user: tl::types::User = Fields::with_flags(2).put(&account.id).build();
    user.access_hash = Some(account.access_hash);
    user.first_name = Some(account.name.clone());
    user.username.clone_from(&account.username);
    user.bot = account.is_bot;
    user.bot_info_version = account.is_bot.then_some(1);
    user.is_self = account.id == viewer;
    user.phone = account.phone.clone().filter(|_| user.is_self);
    user.into()
}

pub(super) fn chat(chat: &Chat, is_admin: bool, date: i32) -> tl::enums::Chat {
    let call_active = chat.call.is_some();
    let call_not_empty = chat.call.as_ref().is_some_and(|call| !call.joined.is_empty());
    match chat.kind {
        ChatKind::Group => {
            let mut group: tl::types::Chat = Fields::with_flags(1)
                .put(&chat.id)
                .put(&chat.title)
                .empty::<tl::types::ChatPhotoEmpty>(0)
                .ints(&[2, date, 1])
                .build();
            group.creator = is_admin;
            group.call_active = call_active;
            group.call_not_empty = call_not_empty;
            group.into()
        }
        ChatKind::Supergroup | ChatKind::Channel => {
            let mut channel: tl::types::Channel = Fields::with_flags(2)
                .put(&chat.id)
                .put(&chat.title)
                .empty::<tl::types::ChatPhotoEmpty>(0)
                .put(&date)
                .build();
            channel.access_hash = Some(chat.access_hash);
            channel.username.clone_from(&chat.username);
            channel.megagroup = chat.kind == ChatKind::Supergroup;
            channel.broadcast = chat.kind == ChatKind::Channel;
            channel.creator = is_admin;
            channel.call_active = call_active;
            channel.call_not_empty = call_not_empty;
            channel.into()
        }
    }
}

pub(super) fn full_chat(chat: &Chat) -> tl::enums::ChatFull {
    let call = chat.call.as_ref().map(input_call);
    match chat.kind {
        ChatKind::Group => {
            let participants =
                tl::types::ChatParticipants { chat_id: chat.id, participants: vec![], version: 1 };
            let mut full: tl::types::ChatFull = Fields::with_flags(1)
                .put(&chat.id)
                .put(&String::new())
                .put(&tl::enums::ChatParticipants::from(participants))
                .empty::<tl::types::PeerNotifySettings>(1)
                .build();
            full.call = call;
            full.into()
        }
        ChatKind::Supergroup | ChatKind::Channel => {
            let mut full: tl::types::ChannelFull = Fields::with_flags(2)
                .put(&chat.id)
                .put(&String::new())
                .ints(&[0, 0, 0])
                .empty::<tl::types::PhotoEmpty>(0)
                .put(&0_i64)
                .empty::<tl::types::PeerNotifySettings>(1)
                .put(&Vec::<tl::enums::BotInfo>::new())
                .put(&1)
                .build();
            full.call = call;
            full.into()
        }
    }
}

/// A message that holds a file.
pub(super) fn message(file: &StoredFile, peer: &tl::enums::Peer, date: i32) -> tl::enums::Message {
    let mut document: tl::types::Document = Fields::with_flags(1)
        .put(&file.id)
        .put(&file.access_hash)
        .put(&file.reference)
        .put(&date)
        .put(&"application/octet-stream".to_owned())
        .put(&i64::try_from(file.bytes.len()).unwrap_or(i64::MAX))
        .put(&super::methods::DC)
        .put(&Vec::<tl::enums::DocumentAttribute>::new())
        .build();
    let name = tl::types::DocumentAttributeFilename { file_name: file.name.clone() };
    document.attributes.push(name.into());
    let mut media: tl::types::MessageMediaDocument = Fields::with_flags(1).build();
    media.document = Some(document.into());
    let mut message: tl::types::Message =
        Fields::with_flags(2).put(&file.message).put(peer).put(&date).put(&String::new()).build();
    message.media = Some(media.into());
    message.into()
}

pub(super) fn full_user(id: i64) -> tl::enums::UserFull {
    let full: tl::types::UserFull = Fields::with_flags(2)
        .put(&id)
        .empty::<tl::types::PeerSettings>(1)
        .empty::<tl::types::PeerNotifySettings>(1)
        .put(&0)
        .build();
    full.into()
}

/// The last message of a dialog, without any content.
pub(super) fn last_message(id: i32, peer: &tl::enums::Peer, date: i32) -> tl::enums::Message {
    let message: tl::types::Message =
        Fields::with_flags(2).put(&id).put(peer).put(&date).put(&String::new()).build();
    message.into()
}

pub(super) fn dialog(peer: &tl::enums::Peer, top_message: i32) -> tl::enums::Dialog {
    let dialog: tl::types::Dialog = Fields::with_flags(1)
        .put(peer)
        .put(&top_message)
        .ints(&[0; 6])
        .empty::<tl::types::PeerNotifySettings>(1)
        .build();
    dialog.into()
}

/// All data centers are this one; without addresses of their own the client would go to real ones.
pub(super) fn config(local: SocketAddrV4, this_dc: i32, date: i32) -> tl::enums::Config {
    let options: Vec<tl::enums::DcOption> = (1..=5)
        .map(|id| {
            let mut option: tl::types::DcOption = Fields::with_flags(1)
                .put(&id)
                .put(&local.ip().to_string())
                .put(&i32::from(local.port()))
                .build();
            option.r#static = true;
            option.into()
        })
        .collect();
    let config: tl::types::Config = Fields::with_flags(1)
        .ints(&[date, date.saturating_add(3600)])
        .put(&false)
        .put(&this_dc)
        .put(&options)
        .put(&String::new())
        // From the largest group to the limit of an edit: what clients show, not what they do.
        .ints(&[200, 200_000, 100, 120_000, 5000, 30_000, 300_000, 30_000, 1500, 60_000, 2])
        .ints(&[172_800, i32::MAX, i32::MAX, 2_419_200, 200, 604_800])
        .ints(&[20_000, 90_000, 30_000, 10_000])
        .put(&"https://t.me/".to_owned())
        .ints(&[1024, 4096, this_dc])
        .build();
    config.into()
}

pub(super) fn input_call(call: &Call) -> tl::enums::InputGroupCall {
    tl::types::InputGroupCall { id: call.id, access_hash: call.access_hash }.into()
}

/// The call as everybody sees it. `n_participants` and `version` are the room's.
pub(super) fn group_call(call: &Call, n_participants: usize, version: i32) -> tl::enums::GroupCall {
    let mut object: tl::types::GroupCall = Fields::with_flags(1)
        .put(&call.id)
        .put(&call.access_hash)
        .put(&i32::try_from(n_participants).unwrap_or(i32::MAX))
        .put(&UNMUTED_VIDEO_LIMIT)
        .put(&version)
        .build();
    object.title.clone_from(&call.title);
    object.schedule_date = call.schedule_date;
    object.join_muted = call.join_muted;
    object.rtmp_stream = call.rtmp;
    object.conference = call.conference;
    object.can_start_video = !call.cameras_taken;
    object.into()
}

pub(super) fn discarded(call: &Call) -> tl::enums::GroupCall {
    tl::types::GroupCallDiscarded { id: call.id, access_hash: call.access_hash, duration: 0 }.into()
}

pub(super) fn participant(
    row: &ParticipantRow,
    peer: tl::enums::Peer,
    is_self: bool,
    date: i32,
) -> tl::enums::GroupCallParticipant {
    let mut object: tl::types::GroupCallParticipant =
        Fields::with_flags(1).put(&peer).put(&date).put(&row.source).build();
    object.is_self = is_self;
    object.muted = row.muted;
    object.can_self_unmute = row.can_self_unmute;
    object.left = row.left;
    object.just_joined = row.just_joined;
    object.versioned = row.versioned;
    object.min = row.min;
    object.video_joined = row.video_joined;
    object.volume = row.volume.and_then(|volume| i32::try_from(volume).ok());
    object.raise_hand_rating = row.raise_hand_rating;
    object.video = row.video.as_ref().map(video);
    object.presentation = row.presentation.as_ref().map(video);
    object.into()
}

fn video(row: &VideoRow) -> tl::enums::GroupCallParticipantVideo {
    let group = |group: &crate::call::signaling::SourceGroup| {
        tl::types::GroupCallParticipantVideoSourceGroup {
            semantics: group.semantics.clone(),
            sources: group.sources.clone(),
        }
        .into()
    };
    tl::types::GroupCallParticipantVideo {
        paused: row.paused,
        endpoint: row.endpoint.clone(),
        source_groups: row.source_groups.iter().map(group).collect(),
        audio_source: row.audio_source,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_can_be_read_back() {
        let local = "127.0.0.1:4430".parse().expect("an address");
        let tl::enums::Config::Config(config) = config(local, 2, 7);
        let again = tl::enums::Config::from_bytes(&tl::enums::Config::Config(config.clone()).to_bytes());
        assert_eq!(again, Ok(tl::enums::Config::Config(config.clone())));
        assert_eq!((config.this_dc, config.webfile_dc_id, config.message_length_max), (2, 2, 4096));
        assert!(config.dc_options.iter().all(|tl::enums::DcOption::Option(option)| option.r#static
            && option.ip_address == "127.0.0.1"
            && option.port == 4430));

        for kind in [ChatKind::Group, ChatKind::Supergroup, ChatKind::Channel] {
            let mut it = Chat::new(7, kind, "Title", "room");
            it.call = Some(Call::new(1, 2));
            let object = chat(&it, true, 5);
            assert_eq!(tl::enums::Chat::from_bytes(&object.to_bytes()), Ok(object));
            let full = full_chat(&it);
            assert_eq!(tl::enums::ChatFull::from_bytes(&full.to_bytes()), Ok(full));
            let dialog = dialog(&it.peer(), 7);
            assert_eq!(tl::enums::Dialog::from_bytes(&dialog.to_bytes()), Ok(dialog));
        }
        let full = full_user(5);
        assert_eq!(tl::enums::UserFull::from_bytes(&full.to_bytes()), Ok(full));
    }
}
