//! Telegram's words for what went wrong, each on the wire: what becomes of the call, how many
//! requests that costs, which exit code a person's script sees.

use std::time::Duration;

use telecast::call::signaling::Edit;
use telecast::call::{CallEvent, CallStatus, JoinOptions};
use telecast::emulator::RpcError;
use telecast::emulator::mtproto::Fault;
use telecast::telegram::TelegramError;

use super::{Joined, Lab, NAME, ROOM, until};

fn refuse(code: i32, word: &str) -> Fault {
    Fault::Refuse(RpcError::new(code, word))
}

/// An edit is answered with `word` so often; what becomes of it.
struct Row {
    word: (i32, &'static str),
    times: u32,
    /// What a check is answered with then, once; else the truth.
    check: Option<(i32, &'static str)>,
    n_edits: u64,
    n_joins: u64,
    /// The user is told that it was refused.
    is_told: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_an_edit_hears() {
    let lab = Lab::new().await;
    lab.begin();
    let row = |code, word, n_edits| Row {
        word: (code, word),
        times: 1,
        check: None,
        n_edits,
        n_joins: 1,
        is_told: false,
    };
    for row in [
        row(400, "GROUPCALL_NOT_MODIFIED", 1),
        row(420, "FLOOD_WAIT_1", 2),
        row(500, "RPC_CALL_FAIL", 2),
        Row { is_told: true, ..row(400, "RAISE_HAND_FORBIDDEN", 1) },
        Row { is_told: true, ..row(400, "VIDEO_PAUSE_FORBIDDEN", 1) },
        Row { is_told: true, ..row(403, "CHAT_WRITE_FORBIDDEN", 1) },
        // A check says that we are in: nothing is joined twice.
        row(400, "GROUPCALL_INVALID", 1),
        row(403, "GROUPCALL_FORBIDDEN", 1),
        row(400, "PARTICIPANT_JOIN_MISSING", 1),
        // A check says that we are not.
        Row {
            check: Some((400, "GROUPCALL_JOIN_MISSING")),
            n_joins: 2,
            ..row(400, "GROUPCALL_JOIN_MISSING", 1)
        },
        Row { check: Some((403, "GROUPCALL_FORBIDDEN")), n_joins: 2, ..row(403, "GROUPCALL_FORBIDDEN", 1) },
        Row { check: Some((400, "GROUPCALL_INVALID")), n_joins: 2, ..row(400, "GROUPCALL_INVALID", 1) },
    ] {
        expect_after_edit(&lab, row).await;
    }
    lab.end().await;
}

async fn expect_after_edit(lab: &Lab, row: Row) {
    let Row { word: (code, word), .. } = row;
    let n = |method: &str| lab.door.n_calls(method);
    let before = ["phone.editGroupCallParticipant", "phone.joinGroupCall", "phone.checkGroupCall"].map(n);
    let joined = lab.join_as(JoinOptions::default()).await;
    joined.call.joined().await.unwrap();
    let mut events = joined.call.events();
    lab.door.plan("phone.editGroupCallParticipant", refuse(code, word), row.times);
    if let Some((code, word)) = row.check {
        lab.door.plan("phone.checkGroupCall", refuse(code, word), 1);
    }
    // A raised hand changes nothing else.
    joined.call.raise_hand(true).await;
    until(|| n("phone.editGroupCallParticipant") - before[0] >= row.n_edits).await;
    if ["GROUPCALL_", "PARTICIPANT_"].iter().any(|gone| word.starts_with(gone)) && !word.ends_with("MODIFIED")
    {
        until(|| n("phone.checkGroupCall") > before[2]).await;
    }
    until(|| n("phone.joinGroupCall") - before[1] == row.n_joins).await;
    let mut status = joined.call.status();
    status.wait_for(|status| *status == CallStatus::Joined).await.unwrap();
    let packets = heard(lab).await;
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    while heard(lab).await < packets + 10 {
        looks.tick().await;
    }
    let mut told = 0;
    while let Ok(event) = events.try_recv() {
        if let CallEvent::EditRefused { error, .. } = event {
            assert!(error.to_string().contains(word), "{error}");
            told += 1;
        }
    }
    assert_eq!(told, i32::from(row.is_told), "{word}");
    let since = [n("phone.editGroupCallParticipant") - before[0], n("phone.joinGroupCall") - before[1]];
    // Whoever joined anew raises the hand anew.
    assert_eq!(since, [row.n_edits + u64::from(row.n_joins > 1), row.n_joins], "{word}");
    joined.leave().await;
    until(|| n("phone.leaveGroupCall") > 0).await;
    // The room is empty before the next one comes.
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    while lab.n_bots().await > 0 {
        looks.tick().await;
    }
}

async fn heard(lab: &Lab) -> u64 {
    let stats = lab.emulator.stats(ROOM).await.unwrap();
    stats.iter().find(|it| it.name == "bot").map_or(0, |it| it.streams[0].packets)
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_of_the_media_server_is_sat_out() {
    let lab = Lab::new().await;
    lab.begin();
    lab.door.plan("phone.joinGroupCall", refuse(500, "GROUPCALL_ADD_PARTICIPANTS_FAILED"), 1);
    lab.door.plan("phone.joinGroupCall", refuse(-503, "Timeout"), 1);
    let joined = lab.join().await;
    assert_eq!(joined.call.joined().await, Ok(()));
    assert_eq!((lab.door.n_calls("phone.joinGroupCall"), lab.n_bots().await), (3, 1));
    joined.leave().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_those_who_manage_hear() {
    let lab = Lab::new().await;
    let chat = lab.client.get_chat(&NAME.parse().unwrap()).await.unwrap();
    let word = |error: TelegramError| match error {
        TelegramError::Rpc { ref message, .. } => {
            assert!(!error.retryable() && error.to_string().contains('('), "{error}");
            message.clone()
        }
        other => panic!("{other}"),
    };
    let past = lab.client.schedule_video_chat(&chat, None, 1).await.unwrap_err();
    assert_eq!(word(past), "SCHEDULE_DATE_INVALID");
    let never = lab.client.schedule_video_chat(&chat, None, i64::MAX).await.unwrap_err();
    assert_eq!(word(never), "SCHEDULE_DATE_INVALID");
    let id = lab.client.start_video_chat(&chat, None).await.unwrap();
    let twice = lab.client.start_video_chat(&chat, None).await.unwrap_err();
    assert_eq!(word(twice), "CREATE_CALL_FAILED");
    // It is so already: no error.
    lab.client.start_scheduled_video_chat(id).await.unwrap();
    lab.client.toggle_join_muted(id, true).await.unwrap();
    lab.client.toggle_join_muted(id, true).await.unwrap();
    // Gone is gone.
    lab.door.plan("phone.leaveGroupCall", refuse(400, "GROUPCALL_JOIN_MISSING"), 1);
    lab.client.leave_video_chat(id).await.unwrap();

    let joined = lab.join().await;
    joined.call.joined().await.unwrap();
    let edit = |volume| Edit { volume: Some(volume), ..Edit::default() };
    lab.client.edit_participant(id, None, &edit(20_000)).await.unwrap();
    let loud = lab.client.edit_participant(id, None, &edit(20_001)).await.unwrap_err();
    assert_eq!(word(loud), "USER_VOLUME_INVALID");
    lab.client.invite(id, std::slice::from_ref(&chat)).await.unwrap_err();
    let myself = lab.client.get_chat(&"me".parse().unwrap()).await.unwrap();
    lab.client.invite(id, &[myself]).await.unwrap();
    joined.leave().await;

    lab.door.plan("phone.discardGroupCall", refuse(400, "GROUPCALL_ALREADY_DISCARDED"), 1);
    lab.client.end_video_chat(id).await.unwrap();
    lab.client.end_video_chat(id).await.unwrap();
    let over = lab.client.get_video_chat(id).await.unwrap_err();
    assert!(["GROUPCALL_INVALID", "GROUPCALL_FORBIDDEN"].contains(&&word(over)[..]));
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_video_chat_can_be_announced_and_begun() {
    let lab = Lab::new().await;
    let chat = lab.client.get_chat(&NAME.parse().unwrap()).await.unwrap();
    let at = lab.client.server_time().await.unwrap() + 3600;
    let id = lab.client.schedule_video_chat(&chat, Some("Tonight"), at).await.unwrap();
    let found = lab.client.get_video_chat(id).await.unwrap();
    assert_eq!((found.schedule_date, found.title.as_deref()), (Some(at), Some("Tonight")));
    assert!(matches!(found.joinable(), Err(TelegramError::Scheduled { at: until }) if until == at));
    lab.client.start_scheduled_video_chat(id).await.unwrap();
    assert!(lab.client.get_video_chat(id).await.unwrap().joinable().is_ok());
    let Joined { call, player } = lab.join().await;
    call.joined().await.unwrap();
    Joined { call, player }.leave().await;
    lab.end().await;
}
