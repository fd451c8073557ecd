//! TL's participants → rows in the words of [`crate::call::signaling`].

use grammers_tl_types as tl;

use crate::call::signaling::{ParticipantRow, SourceGroup, VideoRow};

pub(super) fn row(participant: &tl::enums::GroupCallParticipant) -> ParticipantRow {
    let tl::enums::GroupCallParticipant::Participant(it) = participant;
    ParticipantRow {
        peer: peer_name(&it.peer),
        source: it.source,
        is_self: it.is_self,
        muted: it.muted,
        can_self_unmute: it.can_self_unmute,
        left: it.left,
        just_joined: it.just_joined,
        versioned: it.versioned,
        min: it.min,
        video_joined: it.video_joined,
        volume: it.volume.and_then(|volume| u32::try_from(volume).ok()),
        raise_hand_rating: it.raise_hand_rating,
        video: it.video.as_ref().map(video),
        presentation: it.presentation.as_ref().map(video),
    }
}

fn video(video: &tl::enums::GroupCallParticipantVideo) -> VideoRow {
    let tl::enums::GroupCallParticipantVideo::Video(it) = video;
    let group = |group: &tl::enums::GroupCallParticipantVideoSourceGroup| {
        let tl::enums::GroupCallParticipantVideoSourceGroup::Group(group) = group;
        SourceGroup { semantics: group.semantics.clone(), sources: group.sources.clone() }
    };
    VideoRow {
        paused: it.paused,
        endpoint: it.endpoint.clone(),
        source_groups: it.source_groups.iter().map(group).collect(),
        audio_source: it.audio_source,
    }
}

/// The number by which people and programs know a peer: users as they are, groups negative,
/// channels with the prefix −100.
pub(super) fn peer_name(peer: &tl::enums::Peer) -> String {
    match peer {
        tl::enums::Peer::User(user) => user.user_id.to_string(),
        tl::enums::Peer::Chat(chat) => (-chat.chat_id).to_string(),
        tl::enums::Peer::Channel(channel) => (-super::chat::CHANNEL_BASE - channel.channel_id).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_numbered_as_everywhere() {
        assert_eq!(peer_name(&tl::types::PeerUser { user_id: 7 }.into()), "7");
        assert_eq!(peer_name(&tl::types::PeerChat { chat_id: 7 }.into()), "-7");
        assert_eq!(peer_name(&tl::types::PeerChannel { channel_id: 1_234_567 }.into()), "-1000001234567");
    }
}
