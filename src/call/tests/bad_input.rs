//! Answers that cannot be used: a typed error, and nothing left behind.

use std::time::Duration;

use super::lab::Lab;
use crate::call::params::Setup;
use crate::call::signaling::{Incoming, Method, Reply, SignalingError};
use crate::call::state::{CallStatus, JOIN_REPLY_TIMEOUT};
use crate::call::{CallEvent, JoinError, JoinOptions, LeftReason};
use crate::secret::Secret;

/// The source of the newest join.
fn source(lab: &Lab) -> i32 {
    let source = lab.requests.iter().rev().find_map(|request| match &request.method {
        Method::Join(join) => Some(join.source),
        _ => None,
    });
    source.expect("a join was asked for")
}

/// How often the server was told that this connection leaves, and how often any.
fn goodbyes(lab: &Lab, source: i32) -> (usize, usize) {
    let all = lab.asked(|method| matches!(method, Method::Leave { .. }));
    (lab.asked(|method| *method == Method::Leave { source }), all)
}

/// Joins with this as the server's answer; gives the error's code.
fn code_for(answer: Result<String, SignalingError>) -> String {
    let mut lab = Lab::new(Setup::Passive, "");
    let is_success = answer.is_ok();
    let mut answer = Some(answer);
    lab.tamper = Box::new(move |real| Some(answer.take().unwrap_or(Ok(real))));
    lab.join(Duration::from_secs(1));
    assert!(lab.bot.poll_timeout().is_none(), "nothing may be left running");
    // The server counts in whom it has answered, whatever that answer is worth.
    let expected = usize::from(is_success);
    assert_eq!(goodbyes(&lab, source(&lab)), (expected, expected));
    match lab.left() {
        Some(LeftReason::Failed(error)) => error.code().to_owned(),
        other => panic!("{other:?}"),
    }
}

fn refused(code: i32, message: &str) -> Result<String, SignalingError> {
    Err(SignalingError::Rpc { code, message: message.to_owned() })
}

#[test]
fn unusable_answers_are_told_apart() {
    for (answer, code) in [
        ("", "bad_answer"),
        ("not json", "bad_answer"),
        ("[]", "bad_answer"),
        ("{}", "bad_answer"),
        (r#"{"transport":{"ufrag":"abcd","pwd":"abcdabcdabcdabcdabcdabcd","candidates":[]}}"#, "bad_answer"),
        (r#"{"transport":null}"#, "bad_answer"),
        (r#"{"stream":true}"#, "broadcast_only"),
        (r#"{"stream":true,"rtmp":true}"#, "rtmp"),
    ] {
        assert_eq!(code_for(Ok(answer.to_owned())), code, "{answer}");
    }
    assert_eq!(code_for(refused(403, "GROUPCALL_FORBIDDEN")), "GROUPCALL_FORBIDDEN");
    assert_eq!(code_for(refused(420, "FLOOD_WAIT_3600")), "FLOOD_WAIT_3600");
}

#[test]
fn a_used_ssrc_and_a_short_flood_wait_are_tried_again() {
    let mut lab = Lab::new(Setup::Passive, "");
    let mut refusals =
        vec![refused(420, "FLOOD_WAIT_3"), refused(400, "GROUPCALL_SSRC_DUPLICATE_MUCH")].into_iter();
    lab.tamper = Box::new(move |answer| Some(refusals.next().unwrap_or(Ok(answer))));
    lab.join(Duration::from_secs(5));
    assert!(lab.when(|status| *status == CallStatus::Connected) > Some(Duration::from_secs(3)));
    assert!(lab.events.contains(&CallEvent::FloodWait { wait: Duration::from_secs(3) }));
    let mut sources: Vec<i32> = lab
        .requests
        .iter()
        .filter_map(|request| match &request.method {
            Method::Join(join) => Some(join.source),
            _ => None,
        })
        .collect();
    assert_eq!(sources.len(), 3);
    sources.dedup();
    assert_eq!(sources.len(), 3, "every try has SSRCs of its own");
}

#[test]
fn flood_waits_have_a_shortest_length_and_a_budget() {
    let flooded = |options: JoinOptions, wait: &str| {
        let mut lab = Lab::with(options, "", 1);
        let wait = refused(420, wait);
        lab.tamper = Box::new(move |_| Some(wait.clone()));
        lab.join(Duration::from_secs(200));
        let Some(LeftReason::Failed(error)) = lab.left() else { panic!("{:?}", lab.statuses) };
        assert!(error.code().starts_with("FLOOD_WAIT_"), "{error:?}");
        let ended = lab.when(|status| matches!(status, CallStatus::Left(_))).expect("over");
        (lab.asked(|method| matches!(method, Method::Join(_))), ended.as_secs())
    };
    let budget =
        |secs| JoinOptions { flood_wait_budget: Duration::from_secs(secs), ..JoinOptions::default() };
    assert_eq!(flooded(JoinOptions::default(), "FLOOD_WAIT_0"), (61, 60));
    assert_eq!(flooded(JoinOptions::default(), "FLOOD_WAIT_25"), (3, 50));
    assert_eq!(flooded(JoinOptions::default(), "FLOOD_WAIT_61"), (1, 0));
    assert_eq!(flooded(JoinOptions::default(), "FLOOD_WAIT_18446744073709551615"), (1, 0));
    assert_eq!(flooded(budget(120), "FLOOD_WAIT_61"), (2, 61));
    assert_eq!(flooded(budget(0), "FLOOD_WAIT_1"), (1, 0));
}

#[test]
fn flood_waits_cost_no_tries() {
    let mut lab = Lab::new(Setup::Passive, "");
    let mut n_joins = 0;
    lab.cut = true;
    lab.tamper = Box::new(move |answer| {
        n_joins += 1;
        Some(if n_joins <= 5 { refused(420, "FLOOD_WAIT_2") } else { Ok(answer) })
    });
    lab.join(Duration::from_secs(60));
    let Some(LeftReason::Failed(JoinError::ConnectTimeout { attempts, .. })) = lab.left() else {
        panic!("{:?}", lab.statuses)
    };
    assert_eq!(*attempts, 3, "as many as with no flood wait before");
}

#[test]
fn a_join_that_nobody_answers_is_undone() {
    let mut lab = Lab::new(Setup::Passive, "");
    lab.tamper = Box::new(|_| None);
    lab.join(JOIN_REPLY_TIMEOUT + Duration::from_secs(1));
    let Some(LeftReason::Failed(error)) = lab.left() else { panic!("{:?}", lab.statuses) };
    assert_eq!(error.code(), "rpc_timeout");
    // It may have succeeded, and by now nobody listens any more.
    assert_eq!(goodbyes(&lab, source(&lab)), (1, 1));
    let id = lab.requests[0].id;
    lab.deliver(Incoming::Reply { id, result: Ok(Reply::Joined { params: Secret::new("{}".into()) }) });
    assert_eq!(goodbyes(&lab, source(&lab)), (1, 1));
}

#[test]
fn a_join_that_somebody_on_the_way_gave_up_is_undone() {
    for error in [
        SignalingError::Timeout(Duration::from_secs(20)),
        SignalingError::Rpc { code: -503, message: "Timeout".into() },
    ] {
        let mut lab = Lab::new(Setup::Passive, "");
        lab.tamper = Box::new(move |_| Some(Err(error.clone())));
        lab.join(Duration::from_secs(1));
        assert!(matches!(lab.left(), Some(LeftReason::Failed(_))), "{:?}", lab.statuses);
        assert_eq!(goodbyes(&lab, source(&lab)), (1, 1));
    }
}
