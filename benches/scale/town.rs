//! Many chats: several emulators, each with a socket and a share of the chats.
//!
//! One emulator looks at all of its participants for many a datagram; of a few dozen each it makes
//! short work.

use std::time::Duration;

use anyhow::Result;
use telecast::emulator::{Arrivals, Emulator, EmulatorOptions, JoinRequest, Weather};

#[derive(Clone)]
pub(crate) struct Town {
    shards: Vec<Emulator>,
}

impl Town {
    pub(crate) async fn found(n_shards: usize, round_trip: Duration) -> Result<Self> {
        let weather = (!round_trip.is_zero()).then(|| Weather { delay: round_trip, ..Weather::default() });
        let mut shards = Vec::with_capacity(n_shards);
        for _ in 0..n_shards {
            let options =
                EmulatorOptions { weather: weather.clone(), meter: true, ..EmulatorOptions::default() };
            shards.push(Emulator::start(options).await?);
        }
        Ok(Self { shards })
    }

    /// The server's answer to the join of a chat's only participant.
    pub(crate) async fn join(&self, chat: &str, params: String) -> Result<String> {
        let number: usize =
            chat.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or_default();
        let shard = &self.shards[number % self.shards.len()];
        let request = JoinRequest { name: "bot".into(), chat: chat.into(), params, ..JoinRequest::default() };
        Ok(shard.join_raw(request).await?.params)
    }

    /// What has come of every stream since this was asked last.
    pub(crate) async fn arrivals(&self) -> Result<Vec<Arrivals>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(shard.arrivals().await?);
        }
        Ok(all)
    }

    pub(crate) fn ports(&self) -> Vec<u16> {
        self.shards.iter().map(|shard| shard.local_addr().port()).collect()
    }

    pub(crate) async fn close(&self) {
        for shard in &self.shards {
            shard.shutdown().await;
        }
    }
}
