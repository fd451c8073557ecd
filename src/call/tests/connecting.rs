//! From the join request to confirmed media, in fair weather and foul.

use std::time::Duration;

use super::lab::Lab;
use crate::call::params::Setup;
use crate::call::signaling::{Incoming, Method, SignalingError, Update};
use crate::call::state::{CONNECT_TIMEOUT, CallStatus, SILENCE};
use crate::call::{CallEvent, ConnectStage, JoinError, JoinOptions, LeftReason};
use crate::emulator::AnswerSetup;

const ROLES: [Setup; 2] = [Setup::Passive, Setup::Active];

fn connected(status: &CallStatus) -> bool {
    *status == CallStatus::Connected
}

fn joined(status: &CallStatus) -> bool {
    *status == CallStatus::Joined
}

#[test]
fn both_roles_join_and_the_server_gets_every_packet() {
    for setup in ROLES {
        let mut lab = Lab::new(setup, "");
        lab.play();
        lab.join(Duration::from_secs(5));
        assert_eq!(lab.status(), Some(&CallStatus::Joined), "{setup}: {:?}", lab.statuses);
        let seen = lab.seen().expect("the server knows the bot");
        for stream in &seen.streams {
            assert!(stream.packets > 200, "{setup}: {stream:?}");
            assert_eq!(stream.lost, 0, "{setup}: {stream:?}");
            assert!(stream.sender_reports >= 4, "{setup}: {stream:?}");
        }
        assert_eq!(seen.streams.len(), 2, "{setup}");
        assert!(lab.bot.sends_directly(), "{setup}");
        // As the DTLS server the engine never opens SCTP; as the client it does.
        assert_eq!(seen.data_channel, setup == Setup::Active);
    }
}

#[test]
fn whoever_has_nothing_to_send_is_joined_all_the_same() {
    for setup in ROLES {
        // A camera is announced, but the programme has no picture.
        let options = JoinOptions { muted: true, setup, ..JoinOptions::default() };
        let mut lab = Lab::with(options, "", 1);
        lab.unlisted = true;
        lab.play_sound_only();
        lab.join(Duration::from_secs(4));
        assert_eq!(lab.status(), Some(&CallStatus::Joined), "{setup}: {:?}", lab.statuses);
        let (up, there) = (lab.when(connected).expect("connected"), lab.when(joined).expect("joined"));
        assert_eq!(there - up, SILENCE, "{setup}");
    }
}

#[test]
fn whoever_sends_is_joined_only_when_the_server_says_so() {
    let mut lab = Lab::new(Setup::Passive, "");
    lab.unlisted = true;
    lab.play_sound_only();
    lab.join(Duration::ZERO);
    assert!(lab.run_to(Duration::from_secs(1), connected));
    lab.cut = true;
    lab.run(SILENCE + Duration::from_secs(1));
    assert_eq!(lab.status(), Some(&CallStatus::Connected), "{:?}", lab.statuses);
}

#[test]
fn the_transport_is_up_within_a_few_round_trips() {
    for (weather, limit) in [("", 60), ("delay=40ms", 230)] {
        for setup in ROLES {
            let mut lab = Lab::new(setup, weather);
            lab.join(Duration::from_secs(3));
            let took = lab.when(connected).expect("connected");
            assert!(took < Duration::from_millis(limit), "{setup} {weather}: {took:?}");
        }
    }
}

#[test]
fn an_answer_that_repeats_our_role_does_not_matter() {
    for setup in ROLES {
        let options = JoinOptions { setup, ..JoinOptions::default() };
        let mut lab = Lab::against(options, "", 1, AnswerSetup::Echo);
        lab.join(Duration::ZERO);
        assert!(lab.run_to(Duration::from_secs(3), connected), "{setup}");
    }
}

#[test]
fn any_one_of_the_first_datagrams_may_get_lost() {
    for setup in ROLES {
        for direction in ["up", "down"] {
            for nth in 1..=12 {
                let weather = format!("delay=40ms,drop={direction}:{nth}");
                let mut lab = Lab::new(setup, &weather);
                lab.join(Duration::ZERO);
                let in_time = lab.run_to(Duration::from_secs(4), connected);
                assert!(in_time, "{setup} {weather}: {:?}", lab.statuses);
            }
        }
    }
}

#[test]
fn of_150_joins_in_foul_weather_every_one_connects() {
    for setup in ROLES {
        let mut took: Vec<Duration> = (0..150)
            .map(|seed| {
                let options = JoinOptions { setup, ..JoinOptions::default() };
                let mut lab = Lab::with(options, "loss=15%,delay=40ms", seed);
                lab.join(Duration::ZERO);
                let up = lab.run_to(Duration::from_secs(20), connected);
                assert!(up, "{setup}, seed {seed}: {:?}", lab.statuses);
                lab.when(connected).expect("connected")
            })
            .collect();
        took.sort_unstable();
        println!("{setup}: p50 {:?}, p90 {:?}, max {:?}", took[75], took[135], took[149]);
        assert!(took[75] < Duration::from_secs(1), "{setup}: {:?}", took[75]);
    }
}

#[test]
fn a_server_that_never_answers_is_given_up_after_ten_seconds() {
    let mut lab = Lab::new(Setup::Passive, "");
    lab.cut = true;
    lab.join(Duration::from_secs(60));
    let Some(LeftReason::Failed(JoinError::ConnectTimeout { stage, after, .. })) = lab.left() else {
        panic!("{:?}", lab.statuses)
    };
    assert_eq!((*stage, *after), (ConnectStage::Ice, CONNECT_TIMEOUT));
    assert_eq!(lab.when(|status| matches!(status, CallStatus::Left(_))), Some(CONNECT_TIMEOUT));
}

#[test]
fn the_time_that_telegram_takes_is_not_held_against_the_server() {
    for takes in [12, 25] {
        let mut lab = Lab::new(Setup::Passive, "");
        lab.join_takes = Duration::from_secs(takes);
        lab.join(Duration::from_secs(takes + 1));
        assert_eq!(lab.when(connected).map(|at| at.as_secs()), Some(takes), "{:?}", lab.statuses);
    }
    // A flood wait neither.
    let mut lab = Lab::new(Setup::Passive, "");
    let mut wait = Some(SignalingError::Rpc { code: 420, message: "FLOOD_WAIT_15".into() });
    lab.tamper = Box::new(move |answer| Some(wait.take().map_or(Ok(answer), Err)));
    lab.join(Duration::from_secs(16));
    assert_eq!(lab.when(connected).map(|at| at.as_secs()), Some(15), "{:?}", lab.statuses);
    // Of the ten seconds themselves nothing is lost by slow answers between them.
    let mut lab = Lab::new(Setup::Passive, "");
    (lab.cut, lab.join_takes) = (true, Duration::from_secs(7));
    lab.join(Duration::from_secs(60));
    let Some(LeftReason::Failed(JoinError::ConnectTimeout { after, attempts, .. })) = lab.left() else {
        panic!("{:?}", lab.statuses)
    };
    assert_eq!((*after, *attempts), (CONNECT_TIMEOUT, 3));
    let ended = lab.when(|status| matches!(status, CallStatus::Left(_)));
    assert_eq!(ended, Some(Duration::from_secs(3 * 7 + 10)));
}

#[test]
fn a_server_that_answers_ice_but_not_dtls_is_given_up_after_ten_seconds() {
    let mut lab = Lab::new(Setup::Passive, "");
    lab.without_dtls = true;
    lab.join(Duration::from_secs(60));
    let Some(LeftReason::Failed(JoinError::ConnectTimeout { stage, after, .. })) = lab.left() else {
        panic!("{:?}", lab.statuses)
    };
    assert_eq!((*stage, *after), (ConnectStage::Dtls, CONNECT_TIMEOUT));
    assert_eq!(lab.when(|status| matches!(status, CallStatus::Left(_))), Some(CONNECT_TIMEOUT));
}

#[test]
fn a_server_with_another_certificate_is_not_trusted() {
    for setup in ROLES {
        let mut lab = Lab::new(setup, "");
        lab.play();
        lab.tamper = Box::new(|answer| {
            let at = answer.find("\"fingerprint\":\"").expect("a fingerprint") + 15;
            let mut answer = answer.into_bytes();
            answer[at] = if answer[at] == b'0' { b'1' } else { b'0' };
            Some(Ok(String::from_utf8(answer).expect("still text")))
        });
        lab.join(Duration::from_secs(60));
        let Some(LeftReason::Failed(error)) = lab.left() else { panic!("{setup}: {:?}", lab.statuses) };
        assert_eq!(error.code(), "wrong_certificate", "{setup}");
        assert!(!error.retryable(), "the next try would meet the same");
        assert_eq!(lab.asked(|method| matches!(method, Method::Join(_))), 1, "{setup}");
        assert_eq!(lab.asked(|method| matches!(method, Method::Leave { .. })), 1, "{setup}");
        let ended = lab.when(|status| matches!(status, CallStatus::Left(_)));
        assert!(ended < Some(Duration::from_secs(1)), "{setup}: {ended:?}");
        assert_eq!(lab.when(connected), None, "{setup}: it must never have been up");
        assert_eq!(lab.when(joined), None);
    }
}

#[test]
fn a_scheduled_chat_is_waited_for_and_looked_at_now_and_then() {
    let mut n_looks = 0;
    let mut lab = Lab::with(JoinOptions { wait_for_start: true, ..JoinOptions::default() }, "", 1);
    lab.tamper = Box::new(move |answer| {
        n_looks += 1;
        let at = if n_looks < 3 { 1_000 } else { 2_000 };
        Some(if n_looks <= 4 { Err(SignalingError::Scheduled { at }) } else { Ok(answer) })
    });
    lab.play();
    lab.join(Duration::from_secs(4 * 300 - 1));
    assert_eq!(lab.status(), Some(&CallStatus::Joining));
    let waits: Vec<_> =
        lab.events.iter().filter(|event| matches!(event, CallEvent::Waiting { .. })).collect();
    let [CallEvent::Waiting { until: 1_000 }, CallEvent::Waiting { until: 2_000 }] = waits[..] else {
        panic!("{waits:?}")
    };
    lab.run(Duration::from_secs(5));
    assert_eq!(lab.status(), Some(&CallStatus::Joined), "{:?}", lab.statuses);
    assert_eq!(lab.asked(|method| matches!(method, Method::Join(_))), 5);
}

#[test]
fn a_beginning_that_overtakes_the_reply_is_not_missed() {
    let mut lab = Lab::with(JoinOptions { wait_for_start: true, ..JoinOptions::default() }, "", 1);
    let mut scheduled = Some(SignalingError::Scheduled { at: 1_000 });
    lab.tamper = Box::new(move |answer| Some(scheduled.take().map_or(Ok(answer), Err)));
    lab.join_takes = Duration::from_secs(1);
    lab.play();
    lab.join(Duration::from_millis(500));
    lab.deliver(Incoming::Update(Update::Call {
        join_muted: None,
        schedule_date: None,
        can_start_video: None,
        unmuted_video_limit: None,
    }));
    lab.run(Duration::from_secs(5));
    assert_eq!(lab.status(), Some(&CallStatus::Joined), "{:?}", lab.statuses);
}
