//! Random faults on the real wire: whatever happens, a call ends up joined or says why not, the
//! server never has two of it, and nobody spins.
//!
//! `TELECAST_STORMS=50 cargo test --test it storm` runs more of them; `TELECAST_STORM_SEED=17`
//! repeats one.

use std::time::Duration;

use telecast::call::{CallStatus, LeftReason};
use telecast::emulator::RpcError;
use telecast::emulator::mtproto::Fault;

use super::{Joined, Lab, ROOM, elsewhere, until};

/// As many as the gate has time for.
const STORMS: u64 = 6;
/// Methods that a call needs, and that may fail it.
const METHODS: &[&str] = &[
    "contacts.resolveUsername",
    "channels.getFullChannel",
    "phone.getGroupCall",
    "phone.joinGroupCall",
    "phone.getGroupParticipants",
    "updates.getState",
];
/// Nobody has any reason to call a method more often in one storm.
const MAX_CALLS: u64 = 24;

fn fault(dice: &mut fastrand::Rng) -> Fault {
    let refuse = |code, word: &str| Fault::Refuse(RpcError::new(code, word));
    match dice.u32(..14) {
        0 => Fault::CloseBefore,
        1 => Fault::CloseAfter,
        2 => Fault::DropAnswer,
        3 => Fault::Delay(Duration::from_millis(dice.u64(..600))),
        4 => refuse(500, "RPC_CALL_FAIL"),
        5 => refuse(-503, "Timeout"),
        6 => refuse(420, "FLOOD_WAIT_1"),
        7 => refuse(303, "USER_MIGRATE_4"),
        8 => refuse(400, "GROUPCALL_INVALID"),
        9 => refuse(403, "GROUPCALL_FORBIDDEN"),
        10 => refuse(400, "GROUPCALL_SSRC_DUPLICATE_MUCH"),
        11 => refuse(406, "CHANNEL_PRIVATE"),
        12 => refuse(401, "SESSION_REVOKED"),
        _ => refuse(400, "CHAT_ADMIN_REQUIRED"),
    }
}

/// Something happens to a call that is up. Gives whether its media goes on undisturbed.
async fn disturb(lab: &Lab, joined: &Joined, dice: &mut fastrand::Rng) -> bool {
    let nth = dice.u32(..8);
    println!("disturbance {nth}");
    match nth {
        0 => lab.door.hang_up(),
        1 => lab.door.push_pts_gap(),
        2 => lab.door.push_too_long(),
        3 => {
            lab.door.lose_updates(1);
            lab.somebody_joins("ann", 21).await;
            lab.somebody_joins("bob", 22).await;
        }
        4 => {
            lab.door.reorder_updates(2);
            lab.somebody_joins("ann", 21).await;
            lab.somebody_joins("bob", 22).await;
        }
        5 => {
            for muted in [true, false] {
                lab.emulator.mute_by_admin(ROOM, "bot", muted).await.unwrap();
            }
        }
        6 => {
            let mut status = joined.call.status();
            lab.door.push_connection(&elsewhere(&lab.emulator, 0).await);
            let moves = status.wait_for(|status| *status != CallStatus::Joined);
            tokio::time::timeout(Duration::from_secs(10), moves).await.expect("it moves").unwrap();
        }
        _ => {
            lab.door.move_call(lab.chat);
            let n_joins = lab.door.n_calls("phone.joinGroupCall");
            // Finds it out before the next check.
            joined.call.set_muted(true).await;
            until(|| lab.door.n_calls("phone.joinGroupCall") > n_joins).await;
        }
    }
    nth < 6
}

/// Packets that have come of the bot's sound.
async fn heard(lab: &Lab) -> u64 {
    let stats = lab.emulator.stats(ROOM).await.unwrap();
    stats.iter().find(|it| it.name == "bot").map_or(0, |it| it.streams[0].packets)
}

async fn storm(seed: u64) -> &'static str {
    let mut dice = fastrand::Rng::with_seed(seed);
    let lab = Lab::with(|options| options.timeout = Duration::from_millis(400)).await;
    lab.begin();
    lab.door.repeat_updates(dice.u32(..3));
    for _ in 0..dice.u32(1..6) {
        let method = METHODS[dice.usize(..METHODS.len())];
        let (fault, times) = (fault(&mut dice), dice.u32(1..3));
        println!("storm {seed}: {method} {fault:?}, {times} times");
        lab.door.plan(method, fault, times);
    }
    let joined = lab.join().await;
    let settled = joined.call.joined();
    let outcome = tokio::time::timeout(Duration::from_secs(30), settled).await;
    let outcome = outcome.unwrap_or_else(|_| panic!("seed {seed}: neither joined nor left"));
    if let Err(reason) = &outcome {
        assert!(matches!(reason, LeftReason::Failed(_)), "seed {seed}: {reason:?}");
    } else {
        assert_eq!(lab.n_bots().await, 1, "seed {seed}");
        let mut status = joined.call.status();
        let is_steady = disturb(&lab, &joined, &mut dice).await;
        let before = heard(&lab).await;
        // It may take a moment until the call has noticed; a request is answered after that.
        joined.call.stats().await;
        let at_rest = status.wait_for(|status| matches!(status, CallStatus::Joined | CallStatus::Left(_)));
        let at_rest =
            tokio::time::timeout(Duration::from_secs(30), at_rest).await.map(|at_rest| at_rest.is_ok());
        assert_eq!(at_rest, Ok(true), "seed {seed}: it does not come to rest");
        if is_steady {
            assert_eq!(lab.n_bots().await, 1, "seed {seed}");
            let mut looks = tokio::time::interval(Duration::from_millis(20));
            let goes_on = async {
                while heard(&lab).await < before + 10 {
                    looks.tick().await;
                }
            };
            let goes_on = tokio::time::timeout(Duration::from_secs(10), goes_on).await;
            goes_on.unwrap_or_else(|_| panic!("seed {seed}: nothing is heard any more"));
            // The connection goes, and with whatever is still planned it comes back.
            lab.door.hang_up();
            let over = status.wait_for(|status| matches!(status, CallStatus::Left(_)));
            let over = tokio::time::timeout(Duration::from_millis(300), over).await.is_ok();
            assert!(!over, "seed {seed}: media goes on without Telegram");
        }
    }
    joined.leave().await;
    if outcome.is_ok() {
        until(|| lab.door.n_calls("phone.leaveGroupCall") > 0).await;
    }
    for method in METHODS {
        let n = lab.door.n_calls(method);
        assert!(n <= MAX_CALLS, "seed {seed}: {n} calls of {method}");
    }
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    let gone = async {
        while lab.n_bots().await > 0 {
            looks.tick().await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(5), gone).await;
    gone.unwrap_or_else(|_| panic!("seed {seed}: somebody was left behind"));
    lab.end().await;
    if outcome.is_ok() { "joined" } else { "failed" }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_weather_any_storm() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("TELECAST_STORM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TELECAST_STORMS").unwrap_or(STORMS),
    };
    for seed in seeds {
        let outcome = storm(seed).await;
        println!("storm {seed}: {outcome}");
    }
}
