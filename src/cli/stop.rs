//! When a person or the system wants us to stop.

use std::process;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::Exit;

/// Cancelled by the first SIGINT, SIGTERM or SIGHUP (a terminal that is closed); the second ends
/// the process at once.
pub(super) fn on_signal() -> anyhow::Result<CancellationToken> {
    on(&[SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()])
}

/// The same without SIGHUP: long work may be started with `nohup`, and goes on then.
pub(super) fn on_interrupt() -> anyhow::Result<CancellationToken> {
    on(&[SignalKind::interrupt(), SignalKind::terminate()])
}

fn on(kinds: &[SignalKind]) -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    for kind in kinds {
        let (mut signals, first) = (signal(*kind)?, token.clone());
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if first.is_cancelled() {
                    process::exit(Exit::Interrupted as i32);
                }
                first.cancel();
            }
        });
    }
    Ok(token)
}
