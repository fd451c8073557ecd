//! One chat: who is in the call and what the others are told about them. Pure: nothing is sent.
//!
//! Every change that Telegram counts ("versioned": joined, left, new source) raises the version
//! by one; a mute or a paused camera does not.

use super::ParticipantId;
use super::rpc::RpcError;
use crate::call::signaling::{Edit, ParticipantRow, ParticipantsPage, SourceGroup, VideoRow};

/// How many rows one page of `getGroupParticipants` has.
const PAGE_ROWS: usize = 100;

/// 20 000 is 200 %.
const VOLUMES: std::ops::RangeInclusive<u32> = 1..=20_000;

/// One participant as the server knows them.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) id: ParticipantId,
    pub(super) name: String,
    /// Audio SSRC.
    pub(super) source: u32,
    pub(super) endpoint: String,
    pub(super) groups: Vec<SourceGroup>,
    pub(super) muted: bool,
    pub(super) muted_by_admin: bool,
    pub(super) video_stopped: bool,
    pub(super) video_paused: bool,
    pub(super) volume: Option<u32>,
    pub(super) raise_hand_rating: Option<i64>,
}

/// Rows to tell everybody, with the version of the list after them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) rows: Vec<ParticipantRow>,
    pub(super) version: i32,
}

/// The call of one chat.
#[derive(Debug, Default)]
pub(super) struct Room {
    members: Vec<Member>,
    version: i32,
    hands_raised: i64,
}

impl Room {
    /// Adds `member`, replacing an earlier connection of the same name. The second value is the
    /// connection that was replaced.
    pub(super) fn join(&mut self, member: Member) -> (Change, Option<ParticipantId>) {
        let (rejoin, mut row) = (self.remove_by_name(&member.name), member.row());
        row.just_joined = rejoin.is_none();
        self.members.push(member);
        (self.versioned(row), rejoin)
    }

    /// Removes the connection whose audio SSRC is `source`, or whichever there is for 0. A late
    /// leave of a connection that was replaced finds nothing and is no error.
    pub(super) fn leave(
        &mut self,
        name: &str,
        source: u32,
    ) -> Result<Option<(ParticipantId, Change)>, RpcError> {
        let member = self.by_name(name)?;
        if source != 0 && source != member.source {
            return Ok(None);
        }
        let id = member.id;
        Ok(self.remove(id).map(|change| (id, change)))
    }

    /// Removes one connection, whatever the reason.
    pub(super) fn remove(&mut self, id: ParticipantId) -> Option<Change> {
        let idx = self.members.iter().position(|member| member.id == id)?;
        let mut row = self.members.remove(idx).row();
        row.left = true;
        Some(self.versioned(row))
    }

    /// Those of `sources` that are in the call.
    pub(super) fn check(&self, name: &str, sources: &[i32]) -> Result<Vec<i32>, RpcError> {
        self.by_name(name)?;
        let known = |source: &i32| self.members.iter().any(|member| member.source == source.cast_unsigned());
        Ok(sources.iter().copied().filter(known).collect())
    }

    /// Changes a member's own row. Only muting, the camera, the volume and the hand can change.
    pub(super) fn edit(&mut self, name: &str, edit: &Edit) -> Result<Change, RpcError> {
        if edit.volume.is_some_and(|volume| !VOLUMES.contains(&volume)) {
            return Err(RpcError::volume_invalid());
        }
        self.hands_raised += i64::from(edit.raise_hand == Some(true));
        let hands_raised = self.hands_raised;
        let member =
            self.members.iter_mut().find(|member| member.name == name).ok_or_else(RpcError::join_missing)?;
        if edit.muted == Some(false) && member.muted_by_admin {
            return Err(RpcError::forbidden());
        }
        member.muted = edit.muted.unwrap_or(member.muted);
        member.volume = edit.volume.or(member.volume);
        member.video_stopped = edit.video_stopped.unwrap_or(member.video_stopped);
        member.video_paused = edit.video_paused.unwrap_or(member.video_paused);
        if let Some(raised) = edit.raise_hand {
            // Who asked earlier stands higher.
            member.raise_hand_rating = raised.then(|| i64::MAX - hands_raised);
        }
        let rows = vec![member.row()];
        Ok(Change { rows, version: self.version })
    }

    /// What an admin does to somebody else: mute them, or allow them to speak again (which leaves
    /// them muted until they unmute themselves).
    pub(super) fn mute_by_admin(&mut self, name: &str, muted: bool) -> Result<Change, RpcError> {
        let member =
            self.members.iter_mut().find(|member| member.name == name).ok_or_else(RpcError::join_missing)?;
        member.muted_by_admin = muted;
        member.muted = true;
        member.raise_hand_rating = None;
        let rows = vec![member.row()];
        Ok(Change { rows, version: self.version })
    }

    /// One page of the list. A slice by `sources` is one page, whatever its length.
    pub(super) fn page(&self, sources: &[i32], offset: &str) -> ParticipantsPage {
        let start = offset.parse::<usize>().unwrap_or(0);
        let wanted =
            |member: &&Member| sources.is_empty() || sources.iter().any(|source| member.uses(*source));
        let limit = if sources.is_empty() { PAGE_ROWS } else { usize::MAX };
        let mut rows = self.members.iter().filter(wanted).map(Member::row).skip(start);
        let participants: Vec<_> = rows.by_ref().take(limit).collect();
        let next_offset = rows.next().map(|_| (start + participants.len()).to_string()).unwrap_or_default();
        ParticipantsPage { participants, version: self.version, next_offset }
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(super) fn member(&self, id: ParticipantId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// Whether any participant sends on this SSRC, of any kind.
    pub(super) fn uses(&self, ssrc: u32) -> bool {
        self.members.iter().any(|member| member.uses(ssrc.cast_signed()))
    }

    fn by_name(&self, name: &str) -> Result<&Member, RpcError> {
        self.members.iter().find(|member| member.name == name).ok_or_else(RpcError::join_missing)
    }

    fn remove_by_name(&mut self, name: &str) -> Option<ParticipantId> {
        let idx = self.members.iter().position(|member| member.name == name)?;
        Some(self.members.remove(idx).id)
    }

    fn versioned(&mut self, mut row: ParticipantRow) -> Change {
        self.version += 1;
        row.versioned = true;
        Change { rows: vec![row], version: self.version }
    }
}

impl Member {
    /// The row as a stranger sees it; whoever passes it on marks the viewer's own as `self`.
    pub(super) fn row(&self) -> ParticipantRow {
        let has_camera = !self.groups.is_empty();
        let video = (has_camera && !self.video_stopped && !self.muted_by_admin).then(|| VideoRow {
            paused: self.video_paused,
            endpoint: self.endpoint.clone(),
            source_groups: self.groups.clone(),
            audio_source: None,
        });
        ParticipantRow {
            peer: self.name.clone(),
            source: self.source.cast_signed(),
            muted: self.muted,
            can_self_unmute: !self.muted_by_admin,
            video_joined: has_camera,
            volume: self.volume,
            raise_hand_rating: self.raise_hand_rating,
            video,
            ..ParticipantRow::default()
        }
    }

    fn uses(&self, ssrc: i32) -> bool {
        self.source.cast_signed() == ssrc || self.groups.iter().any(|group| group.sources.contains(&ssrc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, name: &str, source: u32) -> Member {
        Member {
            id: ParticipantId(id),
            name: name.into(),
            source,
            endpoint: format!("{id:016x}"),
            groups: vec![SourceGroup {
                semantics: "FID".into(),
                sources: vec![source.cast_signed() + 1, source.cast_signed() + 2],
            }],
            muted: false,
            muted_by_admin: false,
            video_stopped: false,
            video_paused: false,
            volume: None,
            raise_hand_rating: None,
        }
    }

    fn room_of(names: &[&str]) -> Room {
        let mut room = Room::default();
        for (idx, name) in (0_u32..).zip(names) {
            room.join(member(idx.into(), name, 100 * (idx + 1)));
        }
        room
    }

    #[test]
    fn versions_count_comings_and_goings_only() {
        let mut room = Room::default();
        let (joined, _) = room.join(member(1, "ann", 100));
        assert_eq!((joined.version, joined.rows[0].just_joined, joined.rows[0].versioned), (1, true, true));
        let muted = room.edit("ann", &Edit { muted: Some(true), ..Edit::default() }).expect("in the call");
        assert_eq!((muted.version, muted.rows[0].muted, muted.rows[0].versioned), (1, true, false));
        let (_, left) = room.leave("ann", 100).expect("in the call").expect("is the current source");
        assert_eq!((left.version, left.rows[0].left, left.rows[0].versioned), (2, true, true));
    }

    #[test]
    fn a_rejoin_replaces_and_a_late_leave_of_the_old_source_is_ignored() {
        let mut room = room_of(&["ann"]);
        let (change, replaced) = room.join(member(7, "ann", 700));
        assert_eq!(
            (replaced, change.version, change.rows[0].just_joined),
            (Some(ParticipantId(0)), 2, false)
        );
        assert_eq!(room.leave("ann", 100), Ok(None));
        assert_eq!(room.members().len(), 1);
        assert!(room.leave("ann", 0).expect("in the call").is_some());
    }

    #[test]
    fn whoever_is_not_in_the_call_is_told_so() {
        let mut room = room_of(&["ann"]);
        assert_eq!(room.check("bob", &[100]), Err(RpcError::join_missing()));
        assert_eq!(room.leave("bob", 0), Err(RpcError::join_missing()));
        assert_eq!(room.edit("bob", &Edit::default()), Err(RpcError::join_missing()));
        assert_eq!(room.check("ann", &[100, 5]), Ok(vec![100]));
    }

    #[test]
    fn only_the_admin_lifts_an_admins_mute() {
        let mut room = room_of(&["ann"]);
        let row = room.mute_by_admin("ann", true).expect("in the call").rows.remove(0);
        assert!(row.muted && !row.can_self_unmute && row.video.is_none());
        let unmute = Edit { muted: Some(false), ..Edit::default() };
        assert_eq!(room.edit("ann", &unmute), Err(RpcError::forbidden()));
        let row = room.mute_by_admin("ann", false).expect("in the call").rows.remove(0);
        assert!(row.muted && row.can_self_unmute);
        assert!(!room.edit("ann", &unmute).expect("allowed now").rows[0].muted);
    }

    #[test]
    fn pages_are_complete_and_do_not_overlap() {
        let names: Vec<String> = (0..250).map(|n| format!("p{n}")).collect();
        let room = room_of(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let (mut seen, mut offset) = (Vec::new(), String::new());
        loop {
            let page = room.page(&[], &offset);
            assert_eq!(page.version, 250);
            seen.extend(page.participants.into_iter().map(|row| row.peer));
            offset = page.next_offset;
            if offset.is_empty() {
                break;
            }
        }
        assert_eq!(seen, names);
        assert_eq!(room.page(&[201], "").participants[0].peer, "p1", "a video SSRC finds its owner");
    }

    #[test]
    fn a_stopped_camera_has_no_video_row_but_keeps_its_slot() {
        let mut room = room_of(&["ann"]);
        let stop = Edit { video_stopped: Some(true), ..Edit::default() };
        let row = room.edit("ann", &stop).expect("in the call").rows.remove(0);
        assert!(row.video.is_none() && row.video_joined);
        assert_eq!(room.edit("ann", &Edit { volume: Some(0), ..stop }), Err(RpcError::volume_invalid()));
    }
}
