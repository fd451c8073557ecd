//! What happens to a call that is up.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::lab::{Lab, Tamper};
use crate::call::params::Setup;
use crate::call::signaling::{
    Edit, Incoming, Method, ParticipantRow, Reply, RequestId, SignalingError, Update,
};
use crate::call::state::{CallStatus, JOIN_REPLY_TIMEOUT};
use crate::call::{CallEvent, JoinError, LeftReason};
use crate::media::Codec;
use crate::secret::Secret;

fn joined_lab() -> Lab {
    let mut lab = Lab::new(Setup::Passive, "");
    lab.play();
    lab.join(Duration::from_secs(2));
    assert_eq!(lab.status(), Some(&CallStatus::Joined));
    lab
}

/// The id and the source of the newest join.
fn newest_join(lab: &Lab) -> (RequestId, i32) {
    let join = lab.requests.iter().rev().find_map(|request| match &request.method {
        Method::Join(join) => Some((request.id, join.source)),
        _ => None,
    });
    join.expect("a join was asked for")
}

fn own_row(lab: &Lab) -> ParticipantRow {
    ParticipantRow { source: newest_join(lab).1, is_self: true, ..ParticipantRow::default() }
}

fn update(row: ParticipantRow) -> Incoming {
    Incoming::Update(Update::Participants { participants: vec![row], version: 9 })
}

fn audio_packets(lab: &mut Lab) -> u64 {
    lab.seen().expect("the server knows the bot").streams[0].packets
}

#[test]
fn lost_pictures_are_repaired() {
    let mut lab = Lab::new(Setup::Passive, "loss=5%,delay=40ms");
    lab.play();
    lab.join(Duration::from_secs(30));
    let video = lab.seen().expect("the server knows the bot").streams[1].clone();
    assert!(video.repaired > 50, "{video:?}");
    assert!(video.lost * 100 <= video.repaired, "{video:?}");
}

#[test]
fn a_lost_transport_is_replaced_by_a_new_one() {
    let mut lab = joined_lab();
    lab.cut = true;
    lab.run(Duration::from_secs(60));
    assert!(lab.when(|status| *status == CallStatus::Reconnecting).is_some(), "{:?}", lab.statuses);
    assert!(lab.left().is_none(), "{:?}", lab.statuses);
    lab.cut = false;
    lab.run(Duration::from_secs(25));
    assert_eq!(lab.status(), Some(&CallStatus::Joined), "{:?}", lab.statuses);
    let before = audio_packets(&mut lab);
    lab.run(Duration::from_secs(1));
    assert!(audio_packets(&mut lab) > before + 40, "media flows again");
}

#[test]
fn a_transport_that_stays_away_ends_the_call() {
    let mut lab = joined_lab();
    lab.cut = true;
    lab.run(Duration::from_secs(360));
    let joins = lab.asked(|method| matches!(method, Method::Join(_)));
    assert!(joins < 30, "{joins} joins within five minutes");
    let Some(LeftReason::Failed(error)) = lab.left() else { panic!("{:?}", lab.statuses) };
    assert_eq!(error.code(), "ice_timeout");
}

#[test]
fn trouble_of_telegram_does_not_end_a_reconnection() {
    let mut lab = joined_lab();
    let mut n_failures = 0;
    lab.tamper = Box::new(move |answer| {
        n_failures += 1;
        let trouble = SignalingError::Rpc { code: 500, message: "RPC_CALL_FAIL".into() };
        Some(if n_failures <= 3 { Err(trouble) } else { Ok(answer) })
    });
    lab.cut = true;
    lab.run(Duration::from_secs(20));
    assert!(lab.when(|status| *status == CallStatus::Reconnecting).is_some(), "{:?}", lab.statuses);
    lab.cut = false;
    lab.run(Duration::from_secs(20));
    assert_eq!(lab.status(), Some(&CallStatus::Joined), "{:?}", lab.statuses);
    assert!(lab.asked(|method| matches!(method, Method::Join(_))) >= 5);
}

/// A lab that has lost its transport and is about to join again.
fn reconnecting_lab(tamper: Tamper) -> Lab {
    let mut lab = joined_lab();
    lab.tamper = tamper;
    lab.cut = true;
    assert!(lab.run_to(Duration::from_secs(30), |status| *status == CallStatus::Reconnecting));
    lab
}

#[test]
fn a_join_that_nobody_answers_does_not_end_a_reconnection() {
    let mut n_joins = 0;
    let mut lab = reconnecting_lab(Box::new(move |answer| {
        n_joins += 1;
        (n_joins > 1).then_some(Ok(answer))
    }));
    lab.cut = false;
    let (silent, join) = newest_join(&lab);
    lab.run(JOIN_REPLY_TIMEOUT + Duration::from_secs(5));
    assert_eq!(lab.status(), Some(&CallStatus::Joined), "{:?}", lab.statuses);
    // The one that was given up may be executed even now.
    let params = Secret::new("{}".to_owned());
    lab.deliver(Incoming::Reply { id: silent, result: Ok(Reply::Joined { params }) });
    assert_eq!(lab.asked(|method| *method == Method::Leave { source: join }), 1);
    assert_eq!(lab.status(), Some(&CallStatus::Joined));
}

#[test]
fn trouble_that_outlasts_a_reconnection_ends_it_with_its_own_name() {
    for (reply, code) in [
        (Some(SignalingError::Rpc { code: 500, message: "RPC_CALL_FAIL".into() }), "RPC_CALL_FAIL"),
        (None, "rpc_timeout"),
    ] {
        let mut lab = reconnecting_lab(Box::new(move |_| reply.clone().map(Err)));
        let lost = lab.when(|status| *status == CallStatus::Reconnecting).expect("reconnecting");
        lab.run(Duration::from_secs(400));
        let Some(LeftReason::Failed(error)) = lab.left() else { panic!("{:?}", lab.statuses) };
        assert_eq!(error.code(), code);
        let ended = lab.when(|status| matches!(status, CallStatus::Left(_))).expect("over");
        assert!(ended >= lost + Duration::from_secs(300), "{lost:?} {ended:?}");
        let joins = lab.asked(|method| matches!(method, Method::Join(_)));
        assert!(joins < 40, "{joins} joins");
    }
}

#[test]
fn a_flood_wait_has_as_long_as_the_reconnection() {
    let flooded = |secs: u64| {
        let mut wait = Some(SignalingError::Rpc { code: 420, message: format!("FLOOD_WAIT_{secs}") });
        let mut lab = reconnecting_lab(Box::new(move |answer| Some(wait.take().map_or(Ok(answer), Err))));
        lab.cut = false;
        lab.run(Duration::from_secs(secs + 5));
        lab
    };
    let lab = flooded(200);
    assert_eq!(lab.status(), Some(&CallStatus::Joined), "{:?}", lab.statuses);
    let lab = flooded(301);
    let Some(LeftReason::Failed(error)) = lab.left() else { panic!("{:?}", lab.statuses) };
    assert_eq!(error.code(), "FLOOD_WAIT_301");
    assert_eq!(lab.asked(|method| matches!(method, Method::Join(_))), 2);
}

#[test]
fn lists_that_never_come_are_not_waited_for_for_ever() {
    let mut lab = Lab::new(Setup::Passive, "");
    lab.listless = true;
    lab.play_sound_only();
    lab.join(Duration::from_secs(200));
    let asked = lab.asked(|method| matches!(method, Method::Participants { .. }));
    assert!(asked >= 6, "{asked}");
    assert!(lab.bot.n_fetches() <= 2, "{} of {asked}", lab.bot.n_fetches());
    // The newest one is still good.
    lab.listless = false;
    lab.run(Duration::from_secs(31));
    assert_eq!((lab.bot.n_fetches(), lab.bot.stats(lab.now).n_participants), (0, 1));
}

#[test]
fn a_server_without_h264_gets_vp8_and_nothing_else() {
    let mut lab = Lab::new(Setup::Passive, "");
    lab.tamper = Box::new(|answer| Some(Ok(answer.replace("H264", "AV1"))));
    lab.codec = Codec::Vp8;
    lab.play();
    lab.join(Duration::from_secs(3));
    assert_eq!(lab.status(), Some(&CallStatus::Joined), "{:?}", lab.statuses);
    let told = |lab: &Lab| lab.events.iter().any(|it| matches!(it, CallEvent::VideoNotAccepted { .. }));
    assert!(!told(&lab), "{:?}", lab.events);
    let sent = |lab: &mut Lab| lab.bot.stats(lab.now).media.video.expect("a stream of pictures");
    let format = sent(&mut lab).format.expect("it was negotiated");
    assert_eq!((format.codec, format.payload_type), (Codec::Vp8, 100));
    let seen = |lab: &mut Lab| lab.seen().expect("the server knows the bot").streams[1].packets;
    assert!(seen(&mut lab) > 200, "{}", seen(&mut lab));

    // Others made H.264 of it: nobody there sees it, and no camera is shown for it.
    lab.codec = Codec::H264;
    lab.play();
    let before = (seen(&mut lab), sent(&mut lab).frames_dropped);
    lab.run(Duration::from_secs(5));
    let after = (seen(&mut lab), sent(&mut lab).frames_dropped);
    assert!(after.0 <= before.0 + 4 && after.1 >= before.1 + 140, "{before:?} {after:?}");
    let stopped =
        |lab: &Lab| lab.asked(|it| matches!(it, Method::Edit(Edit { video_stopped: Some(true), .. })));
    assert_eq!(stopped(&lab), 1);
    assert_eq!(lab.bot.keyframe_wanted(), None, "no keyframe would help");
    lab.codec = Codec::Vp8;
    lab.play();
    lab.run(Duration::from_secs(2));
    assert!(seen(&mut lab) > after.0 + 150);
    assert!(!told(&lab) && audio_packets(&mut lab) > 400);
}

#[test]
fn a_server_that_takes_no_pictures_of_ours_gets_sound_and_the_user_is_told_once() {
    let mut lab = Lab::new(Setup::Passive, "");
    lab.tamper = Box::new(|answer| Some(Ok(answer.replace("H264", "AV1").replace("VP8", "H265"))));
    lab.play();
    lab.join(Duration::from_secs(2));
    assert_eq!(lab.status(), Some(&CallStatus::Joined), "{:?}", lab.statuses);
    // A reconnection finds the same.
    lab.cut = true;
    assert!(lab.run_to(Duration::from_secs(30), |status| *status == CallStatus::Reconnecting));
    lab.cut = false;
    lab.run(Duration::from_secs(5));
    assert_eq!(lab.status(), Some(&CallStatus::Joined), "{:?}", lab.statuses);
    let told = lab.events.iter().filter(|event| matches!(event, CallEvent::VideoNotAccepted { .. }));
    assert_eq!(told.count(), 1, "{:?}", lab.events);
    assert!(audio_packets(&mut lab) > 0);
}

#[test]
fn an_account_that_was_signed_out_leaves_with_the_reason() {
    let mut lab = joined_lab();
    lab.check_answer = Some(SignalingError::Rpc { code: 401, message: "SESSION_REVOKED".into() });
    lab.run(Duration::from_secs(11));
    let Some(LeftReason::Failed(error)) = lab.left() else { panic!("{:?}", lab.statuses) };
    assert_eq!(error.code(), "SESSION_REVOKED");
}

#[test]
fn a_server_that_has_forgotten_us_is_joined_again() {
    let mut lab = joined_lab();
    let id = lab.seen().expect("known").participant;
    let now = lab.now;
    lab.sfu.remove(id, now);
    while lab.sfu.poll_event().is_some() {}
    lab.run(Duration::from_secs(15));
    assert_eq!(lab.asked(|method| matches!(method, Method::Join(_))), 2, "{:?}", lab.statuses);
    assert_eq!(lab.status(), Some(&CallStatus::Joined));
}

#[test]
fn kicked_elsewhere_and_discarded_end_the_call_without_a_goodbye() {
    let kicked = |lab: &Lab| ParticipantRow { left: true, ..own_row(lab) };
    let elsewhere = |lab: &Lab| ParticipantRow { source: 77, ..own_row(lab) };
    for (row, reason) in [
        (Some(&kicked as &dyn Fn(&Lab) -> ParticipantRow), LeftReason::Kicked),
        (Some(&elsewhere), LeftReason::Elsewhere),
        (None, LeftReason::Discarded),
    ] {
        let mut lab = joined_lab();
        let incoming = row.map_or(Incoming::Update(Update::Discarded), |row| update(row(&lab)));
        lab.deliver(incoming);
        assert_eq!(lab.left(), Some(&reason));
        assert_eq!(lab.asked(|method| matches!(method, Method::Leave { .. })), 0);
        assert!(lab.bot.poll_timeout().is_none());
    }
}

/// `updateGroupCallConnection` on its own.
fn connection(params: &str, attempt: Option<u32>, presentation: bool) -> Incoming {
    Incoming::Update(Update::Connection { params: Secret::new(params.to_owned()), attempt, presentation })
}

/// `updateGroupCall`.
fn call_update(can_start_video: Option<bool>, unmuted_video_limit: Option<u32>) -> Incoming {
    let (join_muted, schedule_date) = (Some(true), None);
    Incoming::Update(Update::Call { join_muted, schedule_date, can_start_video, unmuted_video_limit })
}

/// A lab that is joined, and the answer of the server to its join.
fn lab_with_answer() -> (Lab, String) {
    let answers = Rc::new(RefCell::new(Vec::new()));
    let mut lab = Lab::new(Setup::Passive, "");
    let heard = answers.clone();
    lab.tamper = Box::new(move |answer| {
        heard.borrow_mut().push(answer.clone());
        Some(Ok(answer))
    });
    lab.play();
    lab.join(Duration::from_secs(2));
    assert_eq!(lab.status(), Some(&CallStatus::Joined));
    let answer = answers.borrow()[0].clone();
    (lab, answer)
}

#[test]
fn a_moved_connection_is_made_anew() {
    let (mut lab, answer) = lab_with_answer();
    let parsed: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let moved = answer.replace(parsed["transport"]["ufrag"].as_str().unwrap(), "elsewhere1");
    lab.deliver(connection(&moved, Some(1), false));
    assert_eq!(lab.status(), Some(&CallStatus::Reconnecting));
    lab.run(Duration::from_secs(3));
    assert_eq!(lab.status(), Some(&CallStatus::Joined), "{:?}", lab.statuses);
    assert_eq!(lab.asked(|method| matches!(method, Method::Join(_))), 2);
    // The answer of the connection before is nothing new.
    lab.deliver(connection(&answer, None, false));
    lab.run(Duration::from_secs(1));
    assert_eq!(lab.asked(|method| matches!(method, Method::Join(_))), 2);
}

#[test]
fn what_says_nothing_new_of_the_connection_is_ignored() {
    let (mut lab, answer) = lab_with_answer();
    let before = lab.statuses.len();
    for told in [
        connection(&answer, Some(1), false),
        connection(&answer, None, false),
        connection(r#"{"stream":true}"#, Some(7), false),
        connection(r#"{"stream":true}"#, Some(1), true),
        connection("{", Some(1), false),
        call_update(None, None),
    ] {
        lab.deliver(told);
    }
    lab.run(Duration::from_secs(1));
    assert_eq!(lab.statuses.len(), before, "{:?}", lab.statuses);
    assert_eq!(lab.asked(|method| matches!(method, Method::Join(_))), 1);
}

#[test]
fn a_chat_that_becomes_a_broadcast_is_left_with_a_word() {
    for (params, error) in [
        (r#"{"stream":true}"#, JoinError::BroadcastOnly),
        (r#"{"stream":true,"rtmp":true}"#, JoinError::Rtmp),
    ] {
        let mut lab = joined_lab();
        lab.deliver(connection(params, None, false));
        assert_eq!(lab.left(), Some(&LeftReason::Failed(error)));
        assert_eq!(lab.asked(|method| matches!(method, Method::Leave { .. })), 1);
    }
}

#[test]
fn an_admins_mute_stops_the_media_until_it_is_lifted() {
    let mut lab = joined_lab();
    let muted = ParticipantRow { muted: true, can_self_unmute: false, ..own_row(&lab) };
    lab.deliver(update(muted));
    lab.run(Duration::from_millis(100));
    let before = audio_packets(&mut lab);
    lab.run(Duration::from_secs(1));
    assert_eq!(audio_packets(&mut lab), before);
    let allowed = own_row(&lab);
    lab.deliver(update(allowed));
    lab.run(Duration::from_secs(1));
    assert!(audio_packets(&mut lab) > before + 40);
    assert_eq!(lab.events.iter().filter(|event| matches!(event, CallEvent::MutedByAdmin { .. })).count(), 2);
}

#[test]
fn whoever_may_speak_again_unmutes_once() {
    let mut lab = joined_lab();
    let unmutes =
        |lab: &Lab| lab.asked(|method| matches!(method, Method::Edit(Edit { muted: Some(false), .. })));
    let before = unmutes(&lab);
    let by_admin = ParticipantRow { muted: true, can_self_unmute: false, ..own_row(&lab) };
    let allowed = ParticipantRow { muted: true, can_self_unmute: true, ..own_row(&lab) };
    lab.deliver(update(by_admin));
    assert_eq!(unmutes(&lab), before);
    lab.deliver(update(allowed.clone()));
    lab.deliver(update(allowed.clone()));
    assert_eq!(unmutes(&lab), before + 1);

    // Whoever wants to be muted stays so.
    lab.bot.set_muted(true, lab.now);
    let unmuted = ParticipantRow { muted: false, ..allowed.clone() };
    lab.deliver(update(unmuted));
    lab.deliver(update(allowed));
    assert_eq!(unmutes(&lab), before + 1);
}

#[test]
fn muting_is_told_and_leaves_a_gap() {
    let mut lab = joined_lab();
    let now = lab.now;
    lab.bot.set_muted(true, now);
    lab.run(Duration::from_millis(100));
    let before = audio_packets(&mut lab);
    lab.run(Duration::from_secs(1));
    assert_eq!(audio_packets(&mut lab), before);
    let edit = Method::Edit(Edit { muted: Some(true), ..Edit::default() });
    assert_eq!(lab.asked(|method| *method == edit), 1);
}

#[test]
fn muting_before_the_transport_is_up_is_told_once_it_is() {
    let edits = |lab: &Lab, muted| {
        lab.asked(|method| *method == Method::Edit(Edit { muted: Some(muted), ..Edit::default() }))
    };
    for (changes, told) in [(&[true][..], (1, 0)), (&[true, false], (0, 0)), (&[], (0, 0))] {
        let mut lab = Lab::new(Setup::Passive, "");
        lab.play();
        lab.join_takes = Duration::from_secs(2);
        lab.join(Duration::from_secs(1));
        for muted in changes {
            let now = lab.now;
            lab.bot.set_muted(*muted, now);
        }
        lab.run(Duration::from_secs(3));
        assert!(lab.when(|status| *status == CallStatus::Connected).is_some(), "{:?}", lab.statuses);
        assert_eq!((edits(&lab, true), edits(&lab, false)), told, "{changes:?}");
    }
}

#[test]
fn a_signaling_side_that_does_not_keep_up_costs_nothing() {
    let mut lab = joined_lab();
    lab.deaf = true;
    let before = lab.requests.len();
    for n in 0..500 {
        let now = lab.now;
        lab.bot.set_muted(n % 2 == 0, now);
        lab.run(Duration::from_millis(100));
    }
    assert_eq!(lab.status(), Some(&CallStatus::Joined), "{:?}", lab.statuses);
    lab.deaf = false;
    lab.run(Duration::from_secs(1));
    let since = &lab.requests[before..];
    assert!(since.len() <= 5, "{since:?}");
    let edits: Vec<_> = since.iter().filter(|request| matches!(request.method, Method::Edit(_))).collect();
    let last = edits.last().expect("an edit waited");
    assert_eq!(last.method, Method::Edit(Edit { muted: Some(false), ..Edit::default() }));
}

#[test]
fn leaving_ends_the_streams_and_then_the_transport() {
    let mut lab = joined_lab();
    let now = lab.now;
    while lab.bot.poll_transmit().is_some() {}
    lab.bot.leave(LeftReason::Command, now);
    let last: Vec<_> = std::iter::from_fn(|| lab.bot.poll_transmit()).map(|sent| sent.payload).collect();
    let [bye, close] = &last[..] else { panic!("{} datagrams", last.len()) };
    // SRTCP hides all but the first header. The report has 28 bytes, the name 28, the end of
    // three SSRCs 16, and SRTCP adds 14 at least.
    assert_eq!(bye[..2], [0x80, 200], "a sender report comes first");
    assert!(bye.len() >= 28 + 28 + 16 + 14, "{} bytes", bye.len());
    assert_eq!(close[0], 21, "a DTLS alert comes last");
}

#[test]
fn leaving_says_goodbye_with_the_own_source() {
    let mut lab = joined_lab();
    let source = own_row(&lab).source;
    let now = lab.now;
    lab.bot.leave(LeftReason::Command, now);
    lab.run(Duration::from_secs(1));
    assert_eq!(lab.left(), Some(&LeftReason::Command));
    assert_eq!(lab.asked(|method| *method == Method::Leave { source }), 1);
    assert!(lab.seen().is_none(), "the server has forgotten the bot");
}

#[test]
fn leaving_while_coming_back_says_goodbye_too() {
    for closed in [false, true] {
        let mut lab = joined_lab();
        let known = own_row(&lab).source;
        lab.cut = true;
        // The first join of the reconnection is refused; there is a pause before the next.
        lab.tamper = Box::new(|_| Some(Err(SignalingError::Rpc { code: 500, message: "X".into() })));
        assert!(lab.run_to(Duration::from_secs(60), |status| *status == CallStatus::Reconnecting));
        assert!(lab.left().is_none(), "{:?}", lab.statuses);
        let now = lab.now;
        if closed {
            lab.bot.handle_signaling_closed(now);
        } else {
            lab.bot.leave(LeftReason::Command, now);
        }
        lab.run(Duration::from_secs(1));
        assert!(lab.left().is_some());
        let left = lab.asked(|method| *method == Method::Leave { source: known });
        assert_eq!(left, 1, "closed: {closed}, {:?}", lab.requests.last());
    }
}

#[test]
fn leaving_before_the_new_peer_is_there_says_goodbye_too() {
    let (mut lab, answer) = lab_with_answer();
    let known = own_row(&lab).source;
    // The server moves us, and before there is a socket we are told to leave.
    let parsed: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let moved = answer.replace(parsed["transport"]["ufrag"].as_str().unwrap(), "elsewhere1");
    lab.bot.handle_incoming(connection(&moved, Some(1), false), lab.now);
    lab.bot.leave(LeftReason::Command, lab.now);
    lab.run(Duration::from_secs(1));
    assert_eq!(lab.asked(|method| *method == Method::Leave { source: known }), 1);
    assert!(lab.bot.poll_timeout().is_none(), "nothing may be left running");
}
