//! Networks that come and go, on the real wire: nothing piles up, neither tasks nor sockets, on
//! either side. An hour of the same in virtual time is in `src/call/tests/flapping.rs`.

use std::time::Duration;

use telecast::call::{CallStatus, JoinOptions};
use tokio::runtime::Handle;

use super::{Lab, ROOM, elsewhere, until};

/// Losses of the connection to Telegram, and of the one to the media server.
const N_LOSSES: u32 = 20;
const N_MOVES: u32 = 4;

/// What belongs to this test alone: the tasks of its runtime, and the sockets of its two ends.
#[derive(Debug)]
struct Holdings {
    n_tasks: usize,
    n_connections: usize,
    n_participants: usize,
}

impl Lab {
    async fn holdings(&self) -> Holdings {
        Holdings {
            n_tasks: Handle::current().metrics().num_alive_tasks(),
            n_connections: self.door.n_connections(),
            n_participants: self.emulator.stats(ROOM).await.unwrap().len(),
        }
    }

    /// Waits until this test holds no more than that again: what ends takes a moment to be gone,
    /// and so may something that was ending when this was counted first.
    async fn comes_back_to(&self, before: &Holdings) {
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        let no_more = async {
            loop {
                let now = self.holdings().await;
                let is_back = now.n_connections == before.n_connections
                    && now.n_participants == before.n_participants
                    && now.n_tasks <= before.n_tasks;
                if is_back {
                    return;
                }
                looks.tick().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(10), no_more).await;
        assert!(in_time.is_ok(), "{before:?} became {:?}", self.holdings().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flapping_network_leaves_no_task_and_no_socket_behind() {
    let lab = Lab::new().await;
    lab.begin();
    let idle = lab.holdings().await;
    let joined = lab.join_as(JoinOptions::default()).await;
    joined.call.joined().await.unwrap();
    let mut status = joined.call.status();
    let in_call = lab.holdings().await;

    for _ in 0..N_LOSSES {
        let n_states = lab.door.n_calls("updates.getState");
        lab.door.hang_up();
        until(|| lab.door.n_calls("updates.getState") > n_states).await;
    }
    for n in 0..N_MOVES {
        lab.door.push_connection(&elsewhere(&lab.emulator, n).await);
        status.wait_for(|status| *status == CallStatus::Reconnecting).await.unwrap();
        status.wait_for(|status| *status == CallStatus::Joined).await.unwrap();
    }
    lab.comes_back_to(&in_call).await;
    assert_eq!(lab.door.n_calls("phone.joinGroupCall"), u64::from(1 + N_MOVES));

    joined.leave().await;
    lab.comes_back_to(&idle).await;
    lab.client.shutdown().await;
    until(|| lab.door.n_connections() == 0).await;
    lab.end().await;
}

#[cfg(all(feature = "cli", target_os = "linux"))]
#[tokio::test(flavor = "multi_thread")]
async fn the_program_opens_no_more_files_than_it_closes() {
    let desk = super::desk::Desk::new().await;
    desk.session(true);
    desk.chat(ROOM, Some(telecast::emulator::mtproto::NewCall::default()));
    let mut play = desk.command(&["play", "media/music.ogg", "--loop", "--chat", "@demo"]);
    let play = play.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let files = || std::fs::read_dir(format!("/proc/{}/fd", play.id())).map_or(0, Iterator::count);
    let packets = async || {
        let stats = desk.emulator.stats(ROOM).await.unwrap();
        stats.first().map_or(0, |it| it.streams[0].packets)
    };
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    while packets().await < 25 {
        looks.tick().await;
    }
    let before = files();
    assert!(before > 0);
    for n in 0..N_MOVES {
        for _ in 0..5 {
            let n_states = desk.door.n_calls("updates.getState");
            desk.door.hang_up();
            until(|| desk.door.n_calls("updates.getState") > n_states).await;
        }
        let n_joins = desk.door.n_calls("phone.joinGroupCall");
        desk.door.push_connection(&elsewhere(&desk.emulator, n).await);
        until(|| desk.door.n_calls("phone.joinGroupCall") > n_joins).await;
        // The new connection counts from zero.
        while packets().await < 25 {
            looks.tick().await;
        }
    }
    until(|| files() == before).await;
    let (code, _, said) = super::desk::stop(play);
    assert_eq!(code, Some(0), "{said}");
    desk.emulator.shutdown().await;
}
