//! How others see a participant: the camera that follows the programme, the raised hand, and what
//! Telegram says to both.

use std::time::Duration;

use super::lab::Lab;
use crate::call::signaling::{Edit, Incoming, Method, ParticipantRow, SignalingError, Update};
use crate::call::state::{CallStatus, Property};
use crate::call::{CallEvent, JoinOptions, LeftReason};

fn lab(options: JoinOptions) -> Lab {
    let mut lab = Lab::with(options, "", 1);
    lab.play_sound_only();
    lab.join(Duration::from_secs(1));
    assert_eq!(lab.status(), Some(&CallStatus::Joined), "{:?}", lab.statuses);
    lab
}

fn sound_first() -> JoinOptions {
    JoinOptions { video_stopped: true, ..JoinOptions::default() }
}

/// All edits so far.
fn edits(lab: &Lab) -> Vec<Edit> {
    let edit = |method: &Method| match method {
        Method::Edit(edit) => Some(edit.clone()),
        _ => None,
    };
    lab.requests.iter().filter_map(|request| edit(&request.method)).collect()
}

fn stopped(video_stopped: bool) -> Edit {
    Edit { video_stopped: Some(video_stopped), ..Edit::default() }
}

fn hand(raised: bool) -> Edit {
    Edit { raise_hand: Some(raised), ..Edit::default() }
}

fn own_row(lab: &Lab) -> ParticipantRow {
    let source = lab.requests.iter().rev().find_map(|request| match &request.method {
        Method::Join(join) => Some(join.source),
        _ => None,
    });
    ParticipantRow { source: source.expect("joined"), is_self: true, ..ParticipantRow::default() }
}

fn row(row: ParticipantRow) -> Incoming {
    Incoming::Update(Update::Participants { participants: vec![row], version: 9 })
}

fn room_for_cameras(can_start_video: bool) -> Incoming {
    Incoming::Update(Update::Call {
        join_muted: None,
        schedule_date: None,
        can_start_video: Some(can_start_video),
        unmuted_video_limit: Some(30),
    })
}

fn pictures_sent(lab: &mut Lab) -> u64 {
    lab.seen().expect("the server knows the bot").streams[1].packets
}

#[test]
fn the_camera_follows_the_programme() {
    let mut lab = lab(sound_first());
    assert_eq!(edits(&lab), [], "it entered without a camera");
    lab.play();
    lab.run(Duration::from_secs(5));
    assert_eq!(edits(&lab), [stopped(false)]);
    assert!(pictures_sent(&mut lab) > 100);
    lab.play_sound_only();
    lab.run(Duration::from_secs(1));
    assert_eq!(edits(&lab).len(), 1, "pictures may come yet");
    lab.run(Duration::from_secs(5));
    assert_eq!(edits(&lab), [stopped(false), stopped(true)]);
    // A new connection enters as the programme is.
    lab.cut = true;
    assert!(lab.run_to(Duration::from_secs(30), |status| *status == CallStatus::Reconnecting));
    lab.cut = false;
    lab.run(Duration::from_secs(5));
    let joined = lab.requests.iter().rev().find_map(|request| match &request.method {
        Method::Join(join) => Some(join.video_stopped),
        _ => None,
    });
    assert_eq!((joined, edits(&lab).len()), (Some(true), 2));
}

#[test]
fn whoever_sends_sound_only_never_shows_a_camera() {
    let mut lab = lab(JoinOptions { video: false, ..JoinOptions::default() });
    lab.play();
    lab.run(Duration::from_secs(15));
    assert_eq!(edits(&lab), []);
    assert_eq!(pictures_sent(&mut lab), 0);
}

#[test]
fn a_flood_wait_delays_the_camera_and_nothing_else() {
    let mut lab = lab(sound_first());
    let mut flood = Some(SignalingError::Rpc { code: 420, message: "FLOOD_WAIT_7".into() });
    lab.edits = Box::new(move |_| flood.take().map_or(Ok(()), Err));
    lab.play();
    lab.run(Duration::from_secs(5));
    assert_eq!(edits(&lab), [stopped(false)]);
    assert!(pictures_sent(&mut lab) > 100, "the media goes on");
    lab.run(Duration::from_secs(5));
    assert_eq!(edits(&lab), [stopped(false), stopped(false)]);
    assert_eq!(lab.status(), Some(&CallStatus::Joined));
}

#[test]
fn without_room_for_a_camera_there_is_sound_and_the_user_is_told_once() {
    let mut lab = lab(sound_first());
    // The list of the lab's server would say that we have a place.
    lab.unlisted = true;
    lab.deliver(row(own_row(&lab)));
    lab.deliver(room_for_cameras(false));
    lab.play();
    lab.run(Duration::from_secs(5));
    assert_eq!(edits(&lab), [], "who knows that there is no room does not ask");
    assert_eq!(pictures_sent(&mut lab), 0);
    let told = |lab: &Lab| {
        lab.events.iter().filter(|event| matches!(event, CallEvent::CameraNotAllowed { .. })).count()
    };
    assert_eq!(told(&lab), 1);
    assert!(lab.events.contains(&CallEvent::CameraNotAllowed { limit: Some(30) }));
    lab.deliver(room_for_cameras(true));
    lab.run(Duration::from_secs(2));
    assert_eq!(edits(&lab), [stopped(false)]);
    assert!(pictures_sent(&mut lab) > 40);
    assert_eq!(told(&lab), 1);
}

#[test]
fn whoever_has_a_place_keeps_it_when_there_is_no_room_for_more() {
    let mut lab = lab(sound_first());
    lab.play();
    lab.deliver(row(ParticipantRow { video_joined: true, ..own_row(&lab) }));
    lab.deliver(room_for_cameras(false));
    lab.run(Duration::from_secs(2));
    assert_eq!(edits(&lab), [stopped(false)]);
    assert!(pictures_sent(&mut lab) > 40);
}

#[test]
fn a_refused_camera_is_asked_for_again_with_the_next_item_only() {
    let mut lab = lab(sound_first());
    lab.edits = Box::new(|edit| match edit.video_stopped {
        Some(false) => Err(SignalingError::Rpc { code: 400, message: "VIDEO_STOP_FORBIDDEN".into() }),
        _ => Ok(()),
    });
    lab.play();
    lab.run(Duration::from_secs(10));
    assert_eq!(edits(&lab), [stopped(false)]);
    let before = pictures_sent(&mut lab);
    lab.run(Duration::from_secs(1));
    assert_eq!(pictures_sent(&mut lab), before, "nobody would get them");
    lab.play_sound_only();
    lab.run(Duration::from_secs(5));
    lab.play();
    lab.run(Duration::from_secs(5));
    assert_eq!(edits(&lab), [stopped(false), stopped(false)]);
    assert_eq!(lab.status(), Some(&CallStatus::Joined));
}

#[test]
fn the_hand_is_raised_if_asked_until_one_may_speak() {
    for raise_hand in [false, true] {
        let mut lab = lab(JoinOptions { raise_hand, ..sound_first() });
        let muted = ParticipantRow { muted: true, ..own_row(&lab) };
        lab.deliver(row(muted.clone()));
        lab.deliver(row(muted.clone()));
        lab.run(Duration::from_secs(3));
        assert_eq!(edits(&lab), if raise_hand { vec![hand(true)] } else { vec![] });
        lab.deliver(row(ParticipantRow { can_self_unmute: true, ..muted }));
        lab.run(Duration::from_secs(3));
        let unmute = Edit { muted: Some(false), ..Edit::default() };
        assert_eq!(edits(&lab).last(), Some(&unmute), "and Telegram lowers the hand by itself");
        assert_eq!(edits(&lab).len(), 1 + usize::from(raise_hand));
    }
}

#[test]
fn a_hand_that_may_not_be_raised_is_told_and_nothing_else_happens() {
    let mut lab = lab(JoinOptions { raise_hand: true, ..sound_first() });
    let refused = SignalingError::Rpc { code: 400, message: "RAISE_HAND_FORBIDDEN".into() };
    let error = refused.clone();
    lab.edits = Box::new(move |_| Err(refused.clone()));
    lab.deliver(row(ParticipantRow { muted: true, ..own_row(&lab) }));
    lab.run(Duration::from_secs(30));
    assert_eq!(edits(&lab), [hand(true)]);
    let told = lab.events.iter().filter(|event| matches!(event, CallEvent::EditRefused { .. })).count();
    assert_eq!(told, 1);
    assert!(lab.events.contains(&CallEvent::EditRefused { property: Property::Hand, error }));
    assert_eq!(lab.status(), Some(&CallStatus::Joined));
}

#[test]
fn an_edit_that_does_not_find_us_is_looked_into() {
    for word in ["PARTICIPANT_JOIN_MISSING", "GROUPCALL_JOIN_MISSING", "GROUPCALL_FORBIDDEN"] {
        let mut lab = lab(sound_first());
        lab.edits = Box::new(move |_| Err(SignalingError::Rpc { code: 400, message: word.into() }));
        let id = lab.seen().expect("known").participant;
        let checks = lab.asked(|method| matches!(method, Method::Check { .. }));
        // The server knows us still: nothing has to be joined anew.
        lab.bot.set_muted(true, lab.now);
        lab.run(Duration::from_secs(1));
        assert_eq!(lab.asked(|method| matches!(method, Method::Check { .. })), checks + 1);
        assert_eq!(lab.asked(|method| matches!(method, Method::Join(_))), 1, "{word}");
        // Now it does not.
        let now = lab.now;
        lab.sfu.remove(id, now);
        while lab.sfu.poll_event().is_some() {}
        lab.bot.set_muted(false, lab.now);
        lab.bot.set_muted(true, lab.now);
        lab.run(Duration::from_secs(12));
        assert_eq!(lab.asked(|method| matches!(method, Method::Join(_))), 2, "{word}");
        assert_eq!(lab.status(), Some(&CallStatus::Joined), "{word}");
    }
}

#[test]
fn a_call_that_is_closed_to_us_is_joined_anew_once_and_then_left() {
    let mut lab = lab(sound_first());
    lab.check_answer = Some(SignalingError::Rpc { code: 403, message: "GROUPCALL_FORBIDDEN".into() });
    lab.run(Duration::from_secs(60));
    let Some(LeftReason::Failed(error)) = lab.left() else { panic!("{:?}", lab.statuses) };
    assert_eq!(error.code(), "GROUPCALL_FORBIDDEN");
    assert_eq!(lab.asked(|method| matches!(method, Method::Join(_))), 2);
    assert!(lab.asked(|method| matches!(method, Method::Leave { .. })) <= 2);
}
