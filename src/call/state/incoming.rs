//! What the signaling side says → what becomes of the call: replies to our requests, and updates.

use std::time::{Duration, Instant};

use super::{ATTEMPT_TIMEOUT, CONNECT_TIMEOUT, MAX_ATTEMPTS, Notice, Output, Phase, State, remember};
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
            if let Err(error @ SignalingError::Rpc { code: 401, .. }) = result {
                // The account is signed out: nobody can steer this call any more.
                return self.end(LeftReason::Failed(JoinError::Signaling(error)), false);
            }
            let unknown = match result {
                Ok(Reply::Sources(sources)) => !sources.contains(&self.source),
                Err(SignalingError::Rpc { message, .. }) => message == "GROUPCALL_JOIN_MISSING",
                // No answer says nothing: the next check asks again.
                _ => false,
            };
            if unknown && matches!(self.phase, Phase::Up { .. }) {
                self.reconnect("the server does not know us any more", now);
            }
        }
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
        if let SignalingError::Rpc { message, .. } = &error {
            if message == "GROUPCALL_SSRC_DUPLICATE_MUCH" {
                if self.tries < MAX_ATTEMPTS {
                    return self.try_once(now);
                }
                if self.was_up {
                    let why = error.to_string();
                    return self.try_again(&why, Some(JoinError::Signaling(error)), now);
                }
            }
            if let Some(wait) = flood_wait(message) {
                return self.handle_flood_wait(wait, error, now);
            }
        }
        self.handle_trouble(JoinError::Signaling(error), now);
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
            Update::Discarded => self.end(LeftReason::Discarded, false),
            Update::Participants { participants, .. } => {
                for row in participants.iter().filter(|row| row.is_self) {
                    self.handle_self_row(row, now);
                }
            }
            // We have no screen, and who enters muted or when it begins is no matter to those inside.
            Update::Connection { presentation: true, .. } | Update::Call { .. } => {}
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
                }
                self.handle_own_mute(row.muted && row.can_self_unmute);
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
        if shown && is_new && !self.muted && matches!(self.phase, Phase::Up { .. }) {
            self.set_muted(false);
        }
    }
}

/// The seconds of `FLOOD_WAIT_n`.
fn flood_wait(message: &str) -> Option<Duration> {
    let secs = message.strip_prefix("FLOOD_WAIT_")?.parse().ok()?;
    Some(Duration::from_secs(secs).max(MIN_FLOOD_WAIT))
}
