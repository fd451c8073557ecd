//! `--metrics`: what calls and programmes have counted → Prometheus, over HTTP.
//!
//! ```text
//!  GET /metrics ─► Call::stats() of every chat at once ─► text
//! ```
//!
//! Nothing is counted for it: whoever asks gets what the calls know at that moment.

mod text;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use self::text::{Seen, render};
use super::say;
use crate::call::Call;
use crate::player::Player;

/// The chats of the moment, and what each of them hears.
pub(super) type Seats = watch::Receiver<Vec<(Call, Player)>>;

/// What Prometheus calls its text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// A call that takes longer to say what it has counted is left out.
const PATIENCE: Duration = Duration::from_secs(2);
/// Answers that are under way when the program ends get this long.
const GRACE: Duration = Duration::from_millis(500);

/// Reads `9464`, which is meant on the loopback interface, or an address with a port.
pub(super) fn addr(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text).parse::<u16>();
    match port {
        Ok(port) => Ok(SocketAddr::from(([127, 0, 0, 1], port))),
        Err(_) => text.parse().map_err(|_| "use a port, for example 9464, or ADDRESS:PORT".to_owned()),
    }
}

/// The door for Prometheus, open.
#[derive(Debug)]
pub(super) struct Metrics {
    cancel: CancellationToken,
    server: JoinHandle<()>,
}

impl Metrics {
    /// Opens it and says where.
    pub(super) async fn open(addr: SocketAddr, seats: Seats) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(addr).await;
        let listener = listener.with_context(|| format!("cannot listen on {addr} for --metrics"))?;
        say::remark(format_args!("metrics on http://{}/metrics", listener.local_addr()?));
        let cancel = CancellationToken::new();
        let router = Router::new().route("/metrics", get(answer)).with_state(seats);
        let stop = cancel.clone().cancelled_owned();
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
                tracing::error!(%error, "metrics are not served any more");
            }
        });
        Ok(Self { cancel, server })
    }

    /// Closes it.
    pub(super) async fn close(mut self) {
        self.cancel.cancel();
        if tokio::time::timeout(GRACE, &mut self.server).await.is_err() {
            self.server.abort();
        }
    }
}

async fn answer(State(seats): State<Seats>) -> ([(axum::http::HeaderName, &'static str); 1], String) {
    let seats = seats.borrow().clone();
    let mut asked = JoinSet::new();
    for (call, player) in seats {
        asked.spawn(async move {
            let stats = tokio::time::timeout(PATIENCE, call.stats()).await.ok().flatten();
            let (status, player) = (call.status().borrow().clone(), player.status().borrow().clone());
            Seen { chat: call.chat().to_string(), status, stats, player }
        });
    }
    let mut seen = asked.join_all().await;
    seen.sort_by(|a, b| a.chat.cmp(&b.chat));
    ([(CONTENT_TYPE, TEXT)], render(&seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_meant_on_this_machine() {
        let local = |port| Ok(SocketAddr::from(([127, 0, 0, 1], port)));
        assert_eq!((addr("9464"), addr(":9464"), addr("127.0.0.1:0")), (local(9464), local(9464), local(0)));
        assert_eq!(addr("[::]:9464").map(|addr| addr.to_string()), Ok("[::]:9464".to_owned()));
        for wrong in ["", "localhost:1", "70000", "127.0.0.1"] {
            assert!(addr(wrong).is_err(), "{wrong}");
        }
    }
}
