//! What the signaling side says → what becomes of the call: replies to our requests, and updates.

use std::time::{Duration, Instant};

use super::edits::{Outcome, Property, is_gone};
use super::{
    ATTEMPT_TIMEOUT, CONNECT_TIMEOUT, LOOK_AGAIN, MAX_ATTEMPTS, Notice, Output, Phase, State, remember,
};
use crate::call::error::{JoinError, LeftReason};
use crate::call::params::Answer;
use crate::call::signaling::{Incoming, Method, ParticipantRow, Reply, RequestId, SignalingError, Update};
use crate::call::state::CallStatus;

/// The shortest flood wait: who is told to wait no time at all would ask without end.
const MIN_FLOOD_WAIT: Duration = Duration::from_secs(1);

impl State {
    /// Something from the signaling side.
    pub(in crate::call) fn handle_incoming(&mut self, incoming: Incoming, now: Instant) {
        match incoming {
            Incoming::Reply { id, result } => self.handle_reply(id, result, now),
            Incoming::Update(update) => self.handle_update(update, now),
        }
        self.tell(now);
    }

    fn handle_reply(&mut self, id: RequestId, result: Result<Reply, SignalingError>, now: Instant) {
        if let Phase::Joining { request: Some(expected), give_up } = self.phase
            && expected == id
        {
            self.phase = Phase::Joining { request: None, give_up };
            if result.is_ok() {
                // What went before is replaced by it, but for what may yet be executed.
                self.accepted = Some(self.source);
                self.abandoned.retain(|(request, _)| request.is_some());
            }
            return match result {
                Ok(Reply::Joined { params }) => self.handle_answer(params.expose(), now),
                Ok(_) => self.fail(JoinError::UnexpectedReply),
                Err(error) => self.handle_refusal(error, now),
            };
        }
        if let Some(at) = self.abandoned.iter().position(|(abandoned, _)| *abandoned == Some(id)) {
            // A join that was given up has succeeded after all: nobody may be left behind.
            let (_, source) = self.abandoned.remove(at).expect("the position was just found");
            if result.is_ok() {
                self.request(Method::Leave { source });
            }
            return;
        }
        if self.checking == Some(id) {
            self.checking = None;
            return self.handle_check(result, now);
        }
        match self.edits.handle_reply(id, &result, now) {
            Some(Outcome::Refused(Property::Camera, SignalingError::Rpc { message, .. }))
                if message == "VIDEO_STOP_FORBIDDEN" && self.edits.wants(Property::Camera) =>
            {
                self.camera.is_refused = true;
            }
            Some(Outcome::Refused(_, error @ SignalingError::Rpc { code: 401, .. })) => {
                self.handle_signed_out(error);
            }
            Some(Outcome::Refused(property, error)) => {
                self.outputs.push_back(Output::Notice(Notice::EditRefused(property, error)));
            }
            // A check tells whether that is so.
            Some(Outcome::NotThere) if self.checking.is_none() => self.next_check = Some(now),
            _ => {}
        }
    }

    fn handle_check(&mut self, result: Result<Reply, SignalingError>, now: Instant) {
        let (unknown, unwelcome) = match &result {
            Ok(Reply::Sources(sources)) => (!sources.contains(&self.source), false),
            Err(SignalingError::Rpc { code: 401, .. }) => {
                return self.handle_signed_out(result.expect_err("it was just seen"));
            }
            Err(SignalingError::Rpc { message, .. }) if is_gone(message) => {
                (true, message != "GROUPCALL_JOIN_MISSING")
            }
            // No answer says nothing: the next check asks again.
            _ => return,
        };
        if !matches!(self.phase, Phase::Up { .. }) {
            return;
        }
        self.n_unwelcome = if unwelcome { self.n_unwelcome + 1 } else { 0 };
        match result {
            // It was joined anew, and still it is no call for us.
            Err(error) if self.n_unwelcome > 1 => self.fail(JoinError::Signaling(error)),
            _ if unknown => self.reconnect("the server does not know us any more", now),
            _ => {}
        }
    }

    /// The account is signed out: nobody can steer this call any more.
    fn handle_signed_out(&mut self, error: SignalingError) {
        self.end(LeftReason::Failed(JoinError::Signaling(error)), false);
    }

    fn handle_answer(&mut self, params: &str, now: Instant) {
        match Answer::parse(params) {
            Ok(Answer::WebRtc(remote)) => {
                remember(&mut self.answers, remote.transport.ice_ufrag.clone());
                let left = CONNECT_TIMEOUT.saturating_sub(self.spent);
                let left = if self.was_up { ATTEMPT_TIMEOUT } else { left };
                let give_up = now + left.min(ATTEMPT_TIMEOUT);
                self.phase = Phase::Connecting { ice: false, since: now, give_up };
                self.outputs.push_back(Output::Answer { attempt: self.attempt, remote });
                if !self.was_up {
                    self.outputs.push_back(Output::Status(CallStatus::Connecting));
                }
            }
            Ok(Answer::Stream) => self.fail(JoinError::BroadcastOnly),
            Ok(Answer::Rtmp { .. }) => self.fail(JoinError::Rtmp),
            Err(error) => self.fail(error.into()),
        }
    }

    fn handle_refusal(&mut self, error: SignalingError, now: Instant) {
        if matches!(error, SignalingError::Timeout(_) | SignalingError::Rpc { code: -503, .. }) {
            // Somebody on the way has lost patience; the join may be executed all the same.
            remember(&mut self.abandoned, (None, self.source));
        }
        let in_use = matches!(&error, SignalingError::Rpc { message, .. } if message == "GROUPCALL_SSRC_DUPLICATE_MUCH");
        if in_use && self.tries < MAX_ATTEMPTS {
            return self.try_once(now);
        }
        if in_use && self.was_up {
            let why = error.to_string();
            return self.try_again(&why, Some(JoinError::Signaling(error)), now);
        }
        if let SignalingError::Scheduled { at } = error
            && self.options.wait_for_start
        {
            return self.wait_for_start(at, now);
        }
        if let Some(wait) = error.flood_wait() {
            return self.handle_flood_wait(wait.max(MIN_FLOOD_WAIT), error, now);
        }
        self.handle_trouble(JoinError::Signaling(error), now);
    }

    /// Nothing was tried: the video chat has not begun. Says so whenever its time changes.
    fn wait_for_start(&mut self, at: i64, now: Instant) {
        if std::mem::take(&mut self.has_begun) {
            return self.try_once(now);
        }
        if self.begins_at.replace(at) != Some(at) {
            self.outputs.push_back(Output::Notice(Notice::Waiting(at)));
        }
        (self.tries, self.spent) = (0, Duration::ZERO);
        self.outputs.push_back(Output::DropPeer);
        self.phase = Phase::Waiting { look: now + LOOK_AGAIN };
    }

    /// Waits as long as Telegram wants, within what this call can spare.
    fn handle_flood_wait(&mut self, wait: Duration, error: SignalingError, now: Instant) {
        let spare = match self.lost_at {
            Some(lost_at) => (lost_at + self.options.reconnect_for).saturating_duration_since(now),
            None => self.options.flood_wait_budget.saturating_sub(self.flood_waited),
        };
        if wait > spare {
            return self.fail(JoinError::Signaling(error));
        }
        self.flood_waited += wait;
        // No peer was tried.
        self.tries = self.tries.saturating_sub(1);
        self.outputs.push_back(Output::Notice(Notice::FloodWait(wait)));
        self.outputs.push_back(Output::DropPeer);
        self.phase = Phase::Pausing { until: now + wait };
    }

    fn handle_update(&mut self, update: Update, now: Instant) {
        if self.phase == Phase::Over {
            return;
        }
        match update {
            // It was called off.
            Update::Discarded if matches!(self.phase, Phase::Waiting { .. }) => {
                let (code, message) = (400, "GROUPCALL_ALREADY_DISCARDED".to_owned());
                self.fail(JoinError::Signaling(SignalingError::Rpc { code, message }));
            }
            Update::Discarded => self.end(LeftReason::Discarded, false),
            Update::Participants { participants, .. } => {
                for row in participants.iter().filter(|row| row.is_self) {
                    self.handle_self_row(row, now);
                }
            }
            // Who enters muted or when it begins is no matter to those inside.
            Update::Call { schedule_date, .. } if matches!(self.phase, Phase::Waiting { .. }) => {
                match schedule_date {
                    Some(at) => self.wait_for_start(at, now),
                    None => self.try_once(now),
                }
            }
            Update::Call { schedule_date, can_start_video, unmuted_video_limit, .. } => {
                self.has_begun |= schedule_date.is_none();
                self.handle_camera_limit(can_start_video, unmuted_video_limit);
            }
            // We have no screen.
            Update::Connection { presentation: true, .. } => {}
            Update::Connection { params, attempt, .. } => {
                if attempt.is_none_or(|attempt| attempt == self.attempt) {
                    self.handle_move(params.expose(), now);
                }
            }
        }
    }

    /// An answer that nobody asked for. It may repeat that of a join: the updates in the result
    /// of a join hold it, too. Otherwise the server has moved us.
    fn handle_move(&mut self, params: &str, now: Instant) {
        // Before, the reply is to come, and a transport that fails is tried anew anyway.
        if !matches!(self.phase, Phase::Up { .. }) {
            return;
        }
        match Answer::parse(params) {
            Ok(Answer::WebRtc(remote)) if self.answers.contains(&remote.transport.ice_ufrag) => {}
            // A connection cannot be moved: ICE credentials come with a join only.
            Ok(Answer::WebRtc(_)) => self.reconnect("the server has moved the connection", now),
            Ok(Answer::Stream) => self.fail(JoinError::BroadcastOnly),
            Ok(Answer::Rtmp { .. }) => self.fail(JoinError::Rtmp),
            Err(error) => tracing::warn!(%error, "a move of the connection was not understood"),
        }
    }

    fn handle_self_row(&mut self, row: &ParticipantRow, now: Instant) {
        let ours = row.source == self.source;
        if !ours && (row.left || self.past_sources.contains(&row.source) || row.source == 0) {
            return;
        }
        match (ours, row.left) {
            (true, true) if matches!(self.phase, Phase::Up { .. }) => self.end(LeftReason::Kicked, false),
            (true, false) => {
                let muted_by_admin = row.muted && !row.can_self_unmute;
                if std::mem::replace(&mut self.muted_by_admin, muted_by_admin) != muted_by_admin {
                    self.outputs.push_back(Output::Notice(Notice::MutedByAdmin(muted_by_admin)));
                    self.handle_admin(muted_by_admin, row);
                }
                self.handle_own_mute(row.muted && row.can_self_unmute);
                self.camera.video_joined = Some(row.video_joined);
                self.handle_confirmation();
            }
            (false, _) if matches!(self.phase, Phase::Up { .. }) => self.end(LeftReason::Elsewhere, false),
            _ => tracing::trace!(source = row.source, ?now, "own row ignored"),
        }
    }

    /// The server shows us muted until we unmute ourselves: after a join that had to begin so, or
    /// when an admin has given us back the right to speak. Asked once, not at every row that was
    /// on its way when we did.
    fn handle_own_mute(&mut self, shown: bool) {
        let is_new = !std::mem::replace(&mut self.shown_muted, shown);
        if shown && is_new {
            self.edits.told_by_server(Property::Microphone, false);
        }
    }

    /// An admin has taken away the right to speak, or given it back.
    fn handle_admin(&mut self, muted: bool, row: &ParticipantRow) {
        if muted && row.video.is_none() {
            // The camera went with it.
            self.edits.told_by_server(Property::Camera, false);
        }
        if !muted {
            // Whoever may speak does not ask for it any more.
            self.edits.told_by_server(Property::Hand, false);
        }
        if self.options.raise_hand || !muted {
            self.edits.want(Property::Hand, muted);
        }
    }

    fn handle_camera_limit(&mut self, can_start: Option<bool>, limit: Option<u32>) {
        self.camera.limit = limit.or(self.camera.limit);
        if can_start == Some(true) && self.camera.can_start != Some(true) && self.camera.is_told {
            // There is room again: what others do not see, they can be told.
            (self.camera.is_refused, self.camera.is_told) = (false, false);
            self.edits.told_by_server(Property::Camera, false);
        }
        self.camera.can_start = can_start.or(self.camera.can_start);
    }
}
