//! An independent participant that joins a chat as any client would, receives, decodes and
//! measures: what it says of a stream rests on what arrived and on nothing the sender says.
//!
//! ```text
//! signaling ──► State ──► frames ──► Decoding (own thread) ──► Measure ──► Report
//! datagrams ─►   │ str0m: ICE, DTLS, SRTP, depacketizers
//!                └─────► packets lost and repaired ──────────────────────────┘
//! ```
//!
//! The emulator's server and this participant share nothing but the types of the signaling.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use self::task::{Command, Job, Running};
use super::measure::{Reception, Report, Wanted};
use crate::call::signaling::{Link, SignalingError};

mod clock;
mod decode;
mod loss;
mod payload;
mod state;
mod task;
#[cfg(test)]
mod tests;

/// Whom to watch, and how to connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchOptions {
    /// Watch this peer only; without it, whoever sends first.
    pub of: Option<String>,
    /// Which side of the DTLS handshake the watcher takes.
    pub dtls: DtlsRole,
}

/// A side of the DTLS handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DtlsRole {
    /// Says `setup: active` and sends the ClientHello.
    #[default]
    Client,
    /// Says `setup: passive` and waits for it.
    Server,
}

/// Why watching failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The join, or the list of participants, was refused.
    #[error("the chat refused the watcher")]
    Refused(#[source] SignalingError),
    /// The signaling side did not answer.
    #[error("the chat did not answer the watcher within {} s", .0.as_secs())]
    NoReply(Duration),
    /// The answer to the watcher's join is no JSON.
    #[error("the answer to the watcher's join is not JSON")]
    AnswerJson(#[source] serde_json::Error),
    /// The answer to the watcher's join lacks something.
    #[error("the answer to the watcher's join cannot be used: {0}")]
    Answer(&'static str),
    /// The UDP socket on the loopback interface failed.
    #[error("the watcher's UDP socket failed")]
    Socket(#[source] std::io::Error),
    /// ICE, DTLS or the data channel failed.
    #[error("the watcher's connection failed")]
    Transport(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A decoder does not start.
    #[error("the watcher cannot decode")]
    Decoder(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nothing answered the watcher's ICE checks or its handshake.
    #[error("the watcher was not connected within {} s", .0.as_secs())]
    NotConnected(Duration),
    /// The chat, or the watcher, is gone.
    #[error("the watcher has left the chat")]
    Ended,
}

/// A participant that watches. Dropping it makes it leave.
#[derive(Debug)]
pub struct Watcher {
    running: Running,
}

impl Watcher {
    /// Joins the chat at the other end of `link`, muted and without a camera, and returns when
    /// the transport is up.
    ///
    /// # Errors
    /// When the chat refuses, does not answer, or no connection comes up.
    pub async fn join(link: Link, options: WatchOptions) -> Result<Self, WatchError> {
        Ok(Self { running: task::start(link, options).await? })
    }

    /// What has been seen and heard so far. `wanted` says which tracks must be there for the
    /// verdict to be good, and `asked`, when whoever is watched asked to join: the report counts
    /// `join_ms` from then to the arrival of their first frame here (zero without it).
    ///
    /// # Errors
    /// When the watcher has ended; [`Watcher::stop`] says why.
    pub async fn report(&self, wanted: Wanted, asked: Option<Instant>) -> Result<Report, WatchError> {
        let arrivals = self.arrivals().await?;
        let first_media = asked.zip(arrivals.first_media);
        let reception = Reception {
            now: arrivals.now,
            join: first_media
                .map(|(asked, first)| first.saturating_duration_since(asked))
                .unwrap_or_default(),
            video: arrivals.video_codec,
            audio: arrivals.audio_codec,
            audio_packets: arrivals.audio.received,
            packets_lost: arrivals.audio.lost + arrivals.video.lost,
            packets_repaired: arrivals.audio.repaired + arrivals.video.repaired,
        };
        let (reply, report) = oneshot::channel();
        self.running
            .jobs
            .send(Job::Report(Box::new(reception), wanted, reply))
            .await
            .map_err(|_| WatchError::Ended)?;
        report.await.map_err(|_| WatchError::Ended)
    }

    /// Leaves the chat and waits until everything has ended.
    ///
    /// # Errors
    /// Why watching had ended before.
    pub async fn stop(self) -> Result<(), WatchError> {
        let Running { commands, jobs, task } = self.running;
        // A task that has ended hears nothing; its result says why.
        let _ = commands.send(Command::Stop).await;
        drop(jobs);
        task.await.unwrap_or(Err(WatchError::Ended))
    }

    async fn arrivals(&self) -> Result<state::Arrivals, WatchError> {
        let (reply, arrivals) = oneshot::channel();
        self.running.commands.send(Command::Arrivals(reply)).await.map_err(|_| WatchError::Ended)?;
        arrivals.await.map_err(|_| WatchError::Ended)
    }
}
