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

use std::time::Duration;

use tokio::sync::oneshot;

use self::task::{Command, Job, Running};
use super::measure::{Reception, Report, Wanted};
use super::net::Control;
use crate::call::signaling::{ChatId, Link, SignalingError};

mod clock;
mod decode;
mod formats;
mod loss;
mod payload;
mod state;
mod task;
#[cfg(test)]
mod tests;
mod watched;

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

/// A participant that watches; [`Emulator::watch`](super::Emulator::watch) makes one. Dropping it
/// makes it leave.
#[derive(Debug)]
pub struct Watcher {
    running: Running,
    control: Control,
    chat: String,
}

impl Watcher {
    /// Joins the chat at the other end of `link`, muted and without a camera, and returns when
    /// the transport is up.
    pub(super) async fn join(
        link: Link,
        control: Control,
        chat: &ChatId,
        options: WatchOptions,
    ) -> Result<Self, WatchError> {
        Ok(Self { running: task::start(link, options).await?, control, chat: chat.0.clone() })
    }

    /// What has been seen and heard so far. `wanted` says which tracks must be there for the
    /// verdict to be good. `join_ms` counts from the moment when the server got the join request
    /// of whoever is watched to the arrival of their first complete frame here.
    ///
    /// # Errors
    /// When the watcher has ended; [`Watcher::stop`] says why.
    pub async fn report(&self, wanted: Wanted) -> Result<Report, WatchError> {
        let arrivals = self.arrivals().await?;
        let asked = match arrivals.peer {
            None => None,
            Some(peer) => {
                let chat = self.chat.clone();
                self.control
                    .with(move |sfu, _| sfu.joined_at(&chat, &peer))
                    .await
                    .map_err(|_| WatchError::Ended)?
            }
        };
        let join = asked.zip(arrivals.first_media);
        let reception = Reception {
            now: arrivals.now,
            join: join.map(|(asked, first)| first.saturating_duration_since(asked)).unwrap_or_default(),
            video: arrivals.video_codec,
            audio: arrivals.audio_codec,
            audio_packets: arrivals.audio.received,
            packets_lost: arrivals.audio.lost + arrivals.video.lost,
            packets_repaired: arrivals.audio.repaired + arrivals.video.repaired,
            frames_dropped: arrivals.n_dropped,
        };
        let (reply, report) = oneshot::channel();
        let job = Job::Report(Box::new(reception), wanted, reply);
        self.running.jobs.send(job).await.map_err(|_| WatchError::Ended)?;
        report.await.map_err(|_| WatchError::Ended)
    }

    /// Leaves the chat and waits until everything has ended.
    ///
    /// # Errors
    /// Why watching had ended before.
    pub async fn stop(self) -> Result<(), WatchError> {
        let Self { running: Running { commands, jobs, task }, .. } = self;
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
