//! The life of a call on the wire, and everything that can go wrong with it.

use std::time::Duration;

use telecast::call::{Call, CallEvent, CallStatus, ChatId, JoinError, JoinOptions, LeftReason};
use telecast::emulator::RpcError;
use telecast::emulator::measure::Verdict;
use telecast::emulator::mtproto::{Fault, NewCall};
use telecast::emulator::watcher::WatchOptions;
use telecast::player::{Item, Player, PlayerOptions, Repeat};
use telecast::telegram::{Client, Session, SignalingOptions, TelegramError, TelegramSignaling, VideoChatId};

use super::{BOTH, Joined, Lab, NAME, ROOM, elsewhere, options, session, until};
use crate::realtime_async;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_finds_its_chats_and_their_video_chats() {
    let lab = Lab::new().await;
    let chat = lab.client.get_chat(&NAME.parse().unwrap()).await.unwrap();
    assert_eq!((&chat.title[..], chat.video_chat), ("Demo", None));
    let listed = lab.client.chats().await.unwrap();
    assert_eq!(listed.iter().map(|chat| chat.id).collect::<Vec<_>>(), [chat.id]);
    let by_number = lab.client.get_chat(&chat.id.to_string().parse().unwrap()).await.unwrap();
    assert_eq!(by_number.title, "Demo");
    // Pages that hold nothing but people are passed over.
    lab.door.add_private_dialogs(250);
    let before = lab.door.n_calls("messages.getDialogs");
    let listed = lab.client.chats().await.unwrap();
    assert_eq!(listed.iter().map(|chat| chat.id).collect::<Vec<_>>(), [chat.id]);
    assert_eq!(lab.door.n_calls("messages.getDialogs") - before, 3, "a hundred on each page");
    let error = lab.client.get_chat(&"@nobody_there".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, TelegramError::NoChat(_)), "{error}");

    let id = lab.client.start_video_chat(&chat, Some("Tonight")).await.unwrap();
    let found = lab.client.get_video_chat(id).await.unwrap();
    assert_eq!(
        (found.title.as_deref(), found.n_participants, found.joinable().is_ok()),
        (Some("Tonight"), 0, true)
    );
    lab.client.set_title(id, "Later").await.unwrap();
    lab.client.set_title(id, "Later").await.unwrap();
    assert_eq!(lab.client.get_video_chat(id).await.unwrap().title.as_deref(), Some("Later"));
    let link = lab.client.export_invite_link(id, true).await.unwrap();
    let name: telecast::telegram::ChatName = link.parse().unwrap();
    assert!(name.to_string() == NAME && name.invite_hash.is_some(), "{link}");
    assert_eq!(lab.client.join_as_peers(&chat).await.unwrap().len(), 2);
    lab.client.end_video_chat(id).await.unwrap();
    assert_eq!(lab.client.get_chat(&NAME.parse().unwrap()).await.unwrap().video_chat, None);
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_plays_and_the_watcher_sees_it() {
    let _alone = realtime_async().await;
    let lab = Lab::new().await;
    lab.begin();
    let chat = ChatId(ROOM.into());
    let options = WatchOptions { of: Some("bot".into()), ..WatchOptions::default() };
    let watcher = lab.emulator.watch(&chat, options).await.unwrap();
    let player = Player::start(PlayerOptions { repeat: Repeat::All, ..PlayerOptions::default() });
    player.enqueue(Item::file("media/clip.mp4")).await.unwrap();
    let call = Call::join(ChatId(NAME.into()), &lab.signaling(false), &player, JoinOptions::default());
    call.joined().await.unwrap();

    let mut looks = tokio::time::interval(Duration::from_millis(100));
    let report = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            looks.tick().await;
            let report = watcher.report(BOTH).await.unwrap();
            if report.audio.as_ref().is_some_and(|audio| audio.packets >= 250) {
                return report;
            }
        }
    });
    let report = report.await.expect("the stream arrives");
    assert_eq!(report.verdict, Verdict::Ok, "{report:#?}");
    assert_eq!(report.video.unwrap().frame_numbers_missing, Some(0));

    call.leave(LeftReason::Command).await;
    assert_eq!(call.closed().await, LeftReason::Command);
    until(|| lab.door.n_calls("phone.leaveGroupCall") == 1).await;
    assert_eq!(lab.door.n_calls("phone.joinGroupCall"), 1);
    player.close().await;
    watcher.stop().await.unwrap();
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_camera_goes_on_when_pictures_follow_the_sound() {
    let _alone = realtime_async().await;
    let lab = Lab::new().await;
    lab.begin();
    // Telegram limits edits within seconds; the camera waits, the media does not.
    let wait = Fault::Refuse(RpcError::new(420, "FLOOD_WAIT_1"));
    lab.door.plan("phone.editGroupCallParticipant", wait, 1);
    let player = Player::start(PlayerOptions::default());
    player.enqueue(Item::file("media/music.ogg")).await.unwrap();
    let options = JoinOptions { video_stopped: true, ..JoinOptions::default() };
    let call = Call::join(ChatId(NAME.into()), &lab.signaling(false), &player, options);
    call.joined().await.unwrap();
    assert_eq!(lab.door.n_calls("phone.editGroupCallParticipant"), 0);
    player.play_now(Item::file("media/clip.mp4")).await.unwrap();
    until(|| lab.door.n_calls("phone.editGroupCallParticipant") == 2).await;
    let pictures = async || {
        let stats = lab.emulator.stats(ROOM).await.unwrap();
        stats.iter().find(|it| it.name == "bot").map_or(0, |it| it.streams[1].packets)
    };
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    while pictures().await < 20 {
        looks.tick().await;
    }
    assert_eq!(lab.door.n_calls("phone.joinGroupCall"), 1);
    Joined { call, player }.leave().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_a_join_leaves_one_participant() {
    for fault in [Fault::CloseBefore, Fault::CloseAfter, Fault::DropAnswer] {
        let lab = Lab::with(|options| options.timeout = Duration::from_millis(500)).await;
        lab.begin();
        lab.door.plan("phone.joinGroupCall", fault.clone(), 1);
        let joined = lab.join().await;
        assert_eq!(joined.call.joined().await, Ok(()), "{fault:?}");
        assert_eq!(lab.n_bots().await, 1, "{fault:?}");
        let n = lab.door.n_calls("phone.joinGroupCall");
        assert!((2..=3).contains(&n), "{fault:?}: {n}");
        lab.hears().await;
        joined.leave().await;
        lab.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_left_behind_by_a_join_that_failed_after_all() {
    let lab = Lab::new().await;
    lab.begin();
    lab.door.plan("phone.joinGroupCall", Fault::CloseAfter, 1);
    let refused = Fault::Refuse(RpcError::new(400, "CHAT_ADMIN_REQUIRED"));
    lab.door.plan("phone.joinGroupCall", refused, 1);
    let joined = lab.join().await;
    assert_eq!(joined.failure().await, "CHAT_ADMIN_REQUIRED");
    assert_eq!(lab.door.n_calls("phone.leaveGroupCall"), 1);
    assert_eq!(lab.n_bots().await, 0);
    joined.leave().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_end_a_join_with_telegrams_word() {
    for (code, word, n_joins) in [
        // Looked up once more, because the chat may have another call by now.
        (403, "GROUPCALL_FORBIDDEN", 1),
        (400, "GROUPCALL_INVALID", 1),
        (400, "JOIN_AS_PEER_INVALID", 1),
        (400, "DATA_JSON_INVALID", 1),
        (400, "CHAT_ADMIN_REQUIRED", 1),
        (403, "CHAT_WRITE_FORBIDDEN", 1),
        (400, "GROUPCALL_PARTICIPANTS_TOO_MUCH", 1),
        (400, "GROUPCALL_ANONYMOUS_FORBIDDEN", 1),
        (401, "SESSION_REVOKED", 1),
        (406, "CHANNEL_PRIVATE", 1),
        (420, "FLOOD_WAIT_3600", 1),
        // New identifiers, four peers in all.
        (400, "GROUPCALL_SSRC_DUPLICATE_MUCH", 4),
    ] {
        let lab = Lab::new().await;
        lab.begin();
        lab.door.plan("phone.joinGroupCall", Fault::Refuse(RpcError::new(code, word)), 9);
        let joined = lab.join().await;
        assert_eq!(joined.failure().await, word);
        assert_eq!(lab.door.n_calls("phone.joinGroupCall"), n_joins, "{word}");
        assert_eq!(lab.n_bots().await, 0, "{word}");
        joined.leave().await;
        lab.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_wait_is_told_and_sat_out() {
    let lab = Lab::new().await;
    lab.begin();
    lab.door.plan("phone.joinGroupCall", Fault::Refuse(RpcError::new(420, "FLOOD_WAIT_1")), 1);
    let joined = lab.join().await;
    let mut events = joined.call.events();
    assert_eq!(joined.call.joined().await, Ok(()));
    let mut told = false;
    while let Ok(event) = events.try_recv() {
        told |= event == CallEvent::FloodWait { wait: Duration::from_secs(1) };
    }
    assert!(told, "the user learns of the wait");
    assert_eq!(lab.door.n_calls("phone.joinGroupCall"), 2);
    joined.leave().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_wait_holds_for_later_calls_too() {
    let lab = Lab::new().await;
    lab.door.plan("messages.getDialogs", Fault::Refuse(RpcError::new(420, "FLOOD_WAIT_1")), 1);
    lab.client.chats().await.unwrap();
    assert_eq!(lab.door.n_calls("messages.getDialogs"), 2);
    lab.door.plan("messages.getDialogs", Fault::Refuse(RpcError::new(420, "FLOOD_WAIT_3600")), 1);
    for _ in 0..3 {
        let error = lab.client.chats().await.unwrap_err();
        let TelegramError::FloodWait { wait, method: "messages.getDialogs" } = error else {
            panic!("{error}")
        };
        assert!((3590..=3600).contains(&wait.as_secs()), "{wait:?}");
    }
    assert_eq!(lab.door.n_calls("messages.getDialogs"), 3, "who knows of the wait does not ask");
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_of_the_server_is_tried_again_but_not_for_ever() {
    let lab = Lab::new().await;
    lab.begin();
    let chat = lab.client.get_chat(&NAME.parse().unwrap()).await.unwrap();
    let id = chat.video_chat.unwrap();
    lab.door.plan("phone.getGroupCall", Fault::Refuse(RpcError::new(500, "RPC_CALL_FAIL")), 1);
    lab.client.get_video_chat(id).await.unwrap();
    assert_eq!(lab.door.n_calls("phone.getGroupCall"), 2);

    lab.door.plan("messages.getDialogs", Fault::CloseBefore, 9);
    let error = lab.client.chats().await.unwrap_err();
    assert!(matches!(error, TelegramError::Connection { .. }) && error.retryable(), "{error}");
    assert_eq!(lab.door.n_calls("messages.getDialogs"), 4);
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_is_given_up_in_time() {
    let lab = Lab::with(|options| options.timeout = Duration::from_millis(100)).await;
    lab.door.plan("messages.getDialogs", Fault::DropAnswer, 99);
    let error = lab.client.chats().await.unwrap_err();
    assert!(matches!(error, TelegramError::Timeout { method: "messages.getDialogs", .. }), "{error}");
    assert_eq!(lab.door.n_calls("messages.getDialogs"), 4);
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_moved_is_followed() {
    let lab = Lab::new().await;
    lab.door.plan("messages.getDialogs", Fault::Refuse(RpcError::new(303, "USER_MIGRATE_4")), 1);
    assert_eq!(lab.client.chats().await.unwrap().len(), 1);
    assert_eq!(lab.door.n_calls("messages.getDialogs"), 2);
    assert_eq!(lab.door.n_connections(), 2, "one to each data center");
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_over_says_so_once() {
    let lab = Lab::new().await;
    lab.door.sign_out(&lab.key);
    let error = lab.client.chats().await.unwrap_err();
    assert!(matches!(error, TelegramError::SignedOut(_)) && !error.retryable(), "{error}");
    assert!(error.to_string().contains("telecast login"), "{error}");
    assert_eq!(lab.door.n_calls("messages.getDialogs"), 1);
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_telegram_forgot_is_not_replaced() {
    let lab = Lab::new().await;
    lab.door.revoke(&lab.key);
    lab.door.hang_up();
    until(|| lab.door.n_connections() == 0).await;
    let error = lab.client.chats().await.unwrap_err();
    assert!(matches!(error, TelegramError::KeyUnknown), "{error}");
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_users_who_are_signed_in_may_connect() {
    let lab = Lab::new().await;
    let bot = lab.door.add_bot("helper");
    let key = lab.door.add_key(Some(bot));
    let error = Client::connect(session(&lab.door, &key), options()).await.unwrap_err();
    assert!(matches!(error, TelegramError::Bot), "{error}");
    let error = Client::connect(Session::in_memory(), options()).await.unwrap_err();
    assert!(matches!(error, TelegramError::NotSignedIn), "{error}");
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_joined_is_refused_with_the_reason() {
    let lab = Lab::new().await;
    let later = Some(i32::MAX);
    for (call, code) in [
        (None, "no_video_chat"),
        (Some(NewCall { schedule_date: later, ..NewCall::default() }), "scheduled"),
        (Some(NewCall { rtmp: true, ..NewCall::default() }), "rtmp"),
        (Some(NewCall { conference: true, ..NewCall::default() }), "conference"),
    ] {
        if let Some(call) = call {
            lab.door.begin_call(lab.chat, &call);
        }
        let joined = lab.join().await;
        assert_eq!(joined.failure().await, code);
        joined.leave().await;
    }
    assert_eq!(lab.door.n_calls("phone.joinGroupCall"), 0, "nobody asked in vain");
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_scheduled_call_is_started_on_demand() {
    let lab = Lab::new().await;
    for scheduled in [None, Some(i32::MAX)] {
        if scheduled.is_some() {
            lab.door.begin_call(lab.chat, &NewCall { schedule_date: scheduled, ..NewCall::default() });
        }
        let player = Player::start(PlayerOptions::default());
        let options = JoinOptions { video: false, ..JoinOptions::default() };
        let call = Call::join(ChatId(NAME.into()), &lab.signaling(true), &player, options);
        assert_eq!(call.joined().await, Ok(()), "{scheduled:?}");
        Joined { call, player }.leave().await;
    }
    assert_eq!(lab.door.n_calls("phone.createGroupCall"), 1);
    assert_eq!(lab.door.n_calls("phone.startScheduledGroupCall"), 1);
    lab.end().await;
}

/// A call that waits for a scheduled video chat, and another device of the admin.
async fn waiting(lab: &Lab) -> (Joined, Client, VideoChatId) {
    let later = NewCall { schedule_date: Some(i32::MAX), ..NewCall::default() };
    lab.door.begin_call(lab.chat, &later);
    let joined = lab.join_as(JoinOptions { wait_for_start: true, ..JoinOptions::default() }).await;
    until(|| lab.door.n_calls("phone.getGroupCall") == 1).await;
    let key = lab.door.add_key(Some(lab.account));
    let admin = Client::connect(session(&lab.door, &key), options()).await.unwrap();
    let id = admin.get_chat(&NAME.parse().unwrap()).await.unwrap().video_chat.unwrap();
    assert_eq!(lab.door.n_calls("phone.joinGroupCall"), 0);
    (joined, admin, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_call_is_joined_when_it_begins() {
    let lab = Lab::new().await;
    let (joined, admin, id) = waiting(&lab).await;
    admin.start_scheduled_video_chat(id).await.unwrap();
    assert_eq!(joined.call.joined().await, Ok(()));
    assert_eq!(lab.door.n_calls("phone.joinGroupCall"), 1);
    joined.leave().await;
    admin.shutdown().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beginning_that_was_missed_is_found_after_the_connection_is_back() {
    let lab = Lab::new().await;
    let (joined, admin, id) = waiting(&lab).await;
    let before = lab.door.n_accepted();
    // Nobody can come back before it has begun: the first three connections are closed again.
    lab.door.plan("updates.getState", Fault::CloseBefore, 3);
    lab.door.hang_up();
    admin.start_scheduled_video_chat(id).await.unwrap();
    assert_eq!(joined.call.joined().await, Ok(()));
    assert!(lab.door.n_accepted() > before);
    assert_eq!(lab.door.n_calls("phone.joinGroupCall"), 1);
    joined.leave().await;
    admin.shutdown().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_call_that_is_called_off_says_so() {
    let lab = Lab::new().await;
    let (joined, admin, id) = waiting(&lab).await;
    admin.end_video_chat(id).await.unwrap();
    assert_eq!(joined.failure().await, "GROUPCALL_ALREADY_DISCARDED");
    assert_eq!(lab.door.n_calls("phone.joinGroupCall"), 0);
    joined.leave().await;
    admin.shutdown().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_begins_a_call_too_late_joins_that_of_the_others() {
    let lab = Lab::new().await;
    lab.door.plan("phone.createGroupCall", Fault::Delay(Duration::from_millis(300)), 1);
    let player = Player::start(PlayerOptions::default());
    let options = JoinOptions { video: false, ..JoinOptions::default() };
    let call = Call::join(ChatId(NAME.into()), &lab.signaling(true), &player, options);
    until(|| lab.door.n_calls("phone.createGroupCall") == 1).await;
    // We have seen that there is none, and somebody else is faster.
    lab.begin();
    assert_eq!(call.joined().await, Ok(()));
    let asked = ["phone.createGroupCall", "phone.joinGroupCall"].map(|method| lab.door.n_calls(method));
    assert_eq!(asked, [1, 1]);
    Joined { call, player }.leave().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_admins_do_arrives_also_when_every_update_comes_three_times() {
    let lab = Lab::new().await;
    lab.begin();
    lab.door.repeat_updates(2);
    let joined = lab.join().await;
    joined.call.joined().await.unwrap();
    let mut events = joined.call.events();
    let mut muted = async |wanted| {
        lab.emulator.mute_by_admin(ROOM, "bot", wanted).await.unwrap();
        loop {
            if let CallEvent::MutedByAdmin { muted } = events.recv().await.unwrap() {
                return muted;
            }
        }
    };
    assert!(muted(true).await);
    assert!(!muted(false).await, "each once");
    lab.emulator.kick(ROOM, "bot").await.unwrap();
    assert_eq!(joined.call.closed().await, LeftReason::Kicked);
    let n = |method: &str| lab.door.n_calls(method);
    assert_eq!((n("phone.joinGroupCall"), lab.n_bots().await), (1, 0), "who was thrown out stays out");

    let joined = lab.join().await;
    joined.call.joined().await.unwrap();
    lab.emulator.discard(ROOM).await.unwrap();
    assert_eq!(joined.call.closed().await, LeftReason::Discarded);
    assert_eq!(n("phone.joinGroupCall"), 2, "what is over is over");
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_account_from_elsewhere_takes_over() {
    let lab = Lab::new().await;
    lab.begin();
    let joined = lab.join().await;
    joined.call.joined().await.unwrap();
    let key = lab.door.add_key(Some(lab.account));
    let other = Client::connect(session(&lab.door, &key), options()).await.unwrap();
    let signaling = TelegramSignaling::new(other.clone(), SignalingOptions::default());
    let player = Player::start(PlayerOptions::default());
    let options = JoinOptions { video: false, ..JoinOptions::default() };
    let second = Call::join(ChatId(NAME.into()), &signaling, &player, options);
    second.joined().await.unwrap();
    assert_eq!(joined.call.closed().await, LeftReason::Elsewhere);
    Joined { call: second, player }.leave().await;
    other.shutdown().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_the_server_moves_joins_again() {
    let lab = Lab::new().await;
    lab.begin();
    let joined = lab.join().await;
    joined.call.joined().await.unwrap();
    let mut status = joined.call.status();
    lab.door.push_connection(&elsewhere(&lab.emulator, 0).await);
    status.wait_for(|status| *status == CallStatus::Reconnecting).await.unwrap();
    status.wait_for(|status| *status == CallStatus::Joined).await.unwrap();
    assert_eq!((lab.door.n_calls("phone.joinGroupCall"), lab.n_bots().await), (2, 1));
    lab.hears().await;
    joined.leave().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn media_goes_on_while_the_connection_to_telegram_is_lost() {
    let lab = Lab::new().await;
    lab.begin();
    let joined = lab.join().await;
    joined.call.joined().await.unwrap();
    for _ in 0..3 {
        let (n_states, n_accepted) = (lab.door.n_calls("updates.getState"), lab.door.n_accepted());
        lab.door.hang_up();
        lab.hears().await;
        until(|| lab.door.n_calls("updates.getState") > n_states).await;
        assert_eq!(lab.door.n_accepted(), n_accepted + 1, "one connection for one that was lost");
    }
    assert_eq!(*joined.call.status().borrow(), CallStatus::Joined);
    assert_eq!(lab.door.n_calls("phone.joinGroupCall"), 1);
    // The connection carries updates again.
    lab.emulator.kick(ROOM, "bot").await.unwrap();
    assert_eq!(joined.call.closed().await, LeftReason::Kicked);
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_asked_for() {
    let lab = Lab::new().await;
    lab.begin();
    let joined = lab.join().await;
    joined.call.joined().await.unwrap();
    let mut events = joined.call.events();
    // The first attempts to come back fail, and meanwhile an admin mutes us.
    lab.door.plan("updates.getState", Fault::CloseBefore, 2);
    lab.door.hang_up();
    until(|| lab.door.n_connections() == 0).await;
    lab.emulator.mute_by_admin(ROOM, "bot", true).await.unwrap();
    loop {
        if let CallEvent::MutedByAdmin { muted } = events.recv().await.unwrap() {
            assert!(muted);
            break;
        }
    }
    joined.leave().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_that_began_another_call_is_looked_up_again() {
    let lab = Lab::new().await;
    lab.begin();
    let chat = lab.client.get_chat(&NAME.parse().unwrap()).await.unwrap();
    let stale = chat.video_chat.unwrap();
    lab.begin();
    let error = lab.client.get_video_chat(stale).await.unwrap_err();
    assert!(matches!(&error, TelegramError::Rpc { code: 403, .. }), "{error}");
    let joined = lab.join().await;
    joined.call.joined().await.unwrap();
    joined.leave().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomers_who_are_muted_speak_with_the_hash_of_a_link() {
    let lab = Lab::new().await;
    lab.door.begin_call(lab.chat, &NewCall { join_muted: true, ..NewCall::default() });
    let guest = lab.door.add_account("guest");
    let key = lab.door.add_key(Some(guest));
    let client = Client::connect(session(&lab.door, &key), options()).await.unwrap();
    let id = lab.client.get_chat(&NAME.parse().unwrap()).await.unwrap().video_chat.unwrap();
    let link = lab.client.export_invite_link(id, true).await.unwrap();
    for (name, silenced) in [(NAME.to_owned(), true), (link, false)] {
        let signaling = TelegramSignaling::new(client.clone(), SignalingOptions::default());
        let player = Player::start(PlayerOptions::default());
        let options = JoinOptions { video: false, ..JoinOptions::default() };
        let call = Call::join(ChatId(name.clone()), &signaling, &player, options);
        let mut events = call.events();
        call.joined().await.unwrap();
        let is_mute = |event: &CallEvent| matches!(event, CallEvent::MutedByAdmin { muted: true });
        if silenced {
            // Our own row may come after the first sign that media arrives.
            let told = async { while !is_mute(&events.recv().await.unwrap()) {} };
            tokio::time::timeout(Duration::from_secs(10), told).await.expect("an admin has to allow it");
        } else {
            let told: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
            assert!(!told.iter().any(is_mute), "{name}: {told:?}");
        }
        Joined { call, player }.leave().await;
    }
    client.shutdown().await;
    lab.end().await;
}

#[test]
fn errors_of_a_join_say_whether_to_try_again() {
    let unavailable = telecast::call::SignalingError::Unavailable {
        code: "no_connection",
        message: "no way".into(),
        retryable: true,
    };
    let error = JoinError::Signaling(unavailable);
    assert_eq!((error.code(), error.retryable(), &error.to_string()[..]), ("no_connection", true, "no way"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_is_answered_without_parameters_leaves_nobody_behind() {
    let lab = Lab::new().await;
    lab.begin();
    // updatesTooLong.
    lab.door.plan("phone.joinGroupCall", Fault::Answer(0xe317_af7e_u32.to_le_bytes().to_vec()), 1);
    let joined = lab.join().await;
    assert_eq!(joined.failure().await, "telegram");
    until(|| lab.door.n_calls("phone.leaveGroupCall") == 1).await;
    assert_eq!(lab.n_bots().await, 0);
    joined.player.close().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_before_the_chat_is_found_is_told() {
    let lab = Lab::new().await;
    lab.begin();
    let word = RpcError::new(420, "FLOOD_WAIT_1");
    lab.door.plan("contacts.resolveUsername", Fault::Refuse(word.clone()), 1);
    lab.door.plan("phone.getGroupCall", Fault::Refuse(word), 1);
    let player = Player::start(PlayerOptions::default());
    let options = JoinOptions { video: false, ..JoinOptions::default() };
    let call = Call::join(ChatId(NAME.into()), &lab.signaling(false), &player, options);
    let mut events = call.events();
    let mut waits = 0;
    let told = async {
        while waits < 2 {
            if let CallEvent::FloodWait { wait } = events.recv().await.unwrap() {
                assert_eq!(wait.as_secs(), 1);
                waits += 1;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), told).await.expect("each wait is told");
    assert_eq!(call.joined().await, Ok(()));
    assert_eq!(lab.door.n_calls("phone.joinGroupCall"), 1);
    Joined { call, player }.leave().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_connects_too_often_waits() {
    let lab = Lab::with(|options| options.max_flood_wait = Duration::from_secs(1)).await;
    lab.door.plan("messages.getDialogs", Fault::Transport(-429), 1);
    let error = lab.client.chats().await.unwrap_err();
    assert!(matches!(error, TelegramError::FloodWait { wait, .. } if wait.as_secs() == 10), "{error}");
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_appeared_as_is_told_with_the_choices() {
    let lab = Lab::new().await;
    lab.begin();
    let joined =
        lab.join_as(JoinOptions { join_as: Some("-1009999999999".into()), ..JoinOptions::default() }).await;
    let LeftReason::Failed(error) = joined.call.closed().await else { panic!("it cannot work") };
    assert!(
        error.to_string().contains("--as takes one of") && error.to_string().contains("(bot)"),
        "{error}"
    );
    joined.player.close().await;
    lab.end().await;
}
