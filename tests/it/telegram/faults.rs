//! What the server can do to a call, fault by fault: what the client makes of it, how often it
//! asks, that nothing joins twice, and that sound flows in the end.

use std::time::Duration;

use telecast::call::{CallEvent, CallStatus, LeftReason};
use telecast::emulator::mtproto::Fault;
use telecast::emulator::{JoinRequest, RpcError};
use tokio::sync::broadcast;

use super::{Joined, Lab, ROOM, until};

const JOIN: &str = "phone.joinGroupCall";
const EDIT: &str = "phone.editGroupCallParticipant";
const LIST: &str = "phone.getGroupParticipants";

fn refuse(code: i32, word: &str) -> Fault {
    Fault::Refuse(RpcError::new(code, word))
}

impl Lab {
    async fn n_packets(&self) -> u64 {
        let stats = self.emulator.stats(ROOM).await.unwrap();
        stats.iter().find(|it| it.name == "bot").map_or(0, |it| it.streams[0].packets)
    }

    /// Waits for sound, half a second of it.
    pub(super) async fn hears(&self) {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        let before = self.n_packets().await;
        let heard = async {
            // A new connection counts from zero.
            while (self.n_packets().await).wrapping_sub(before).min(self.n_packets().await) < 25 {
                looks.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), heard).await.expect("sound arrives");
    }

    pub(super) async fn somebody_joins(&self, name: &str, ssrc: i32) {
        let params = super::PARAMS.replace("\"ssrc\":7", &format!("\"ssrc\":{ssrc}"));
        let request = JoinRequest { chat: ROOM.into(), name: name.into(), params, ..Default::default() };
        self.emulator.join_raw(request).await.unwrap();
    }

    /// A call that is joined, and whose list has been read.
    async fn in_call(&self) -> (Joined, broadcast::Receiver<CallEvent>) {
        self.begin();
        let joined = self.join().await;
        let events = joined.call.events();
        joined.call.joined().await.unwrap();
        until(|| self.door.n_calls(LIST) > 0).await;
        self.hears().await;
        (joined, events)
    }
}

/// Waits for an event.
async fn told(events: &mut broadcast::Receiver<CallEvent>, wanted: impl Fn(&CallEvent) -> bool) {
    let told = async { while !wanted(&events.recv().await.unwrap()) {} };
    tokio::time::timeout(Duration::from_secs(10), told).await.expect("the event comes");
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_in_the_accounts_own_sequence_disturb_no_call() {
    let lab = Lab::new().await;
    let (joined, _events) = lab.in_call().await;
    let n_lists = lab.door.n_calls(LIST);
    for _ in 0..3 {
        lab.door.push_pts_gap();
    }
    // Here nobody knows what was in it: so our own row is asked for, once.
    lab.door.push_too_long();
    until(|| lab.door.n_calls(LIST) == n_lists + 1).await;
    lab.hears().await;
    assert_eq!(*joined.call.status().borrow(), CallStatus::Joined);
    let counts = [JOIN, LIST, "updates.getDifference"].map(|method| lab.door.n_calls(method));
    assert_eq!(counts, [1, n_lists + 1, 0], "what is in that sequence is no matter to calls");
    joined.leave().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_that_overtake_each_other_are_put_in_order() {
    let lab = Lab::new().await;
    let (joined, mut events) = lab.in_call().await;
    let n_lists = lab.door.n_calls(LIST);
    lab.door.reorder_updates(3);
    lab.door.repeat_updates(1);
    for (name, ssrc) in [("ann", 21), ("bob", 22), ("cy", 23)] {
        lab.somebody_joins(name, ssrc).await;
    }
    told(&mut events, |event| *event == CallEvent::Participants { n: 4 }).await;
    assert_eq!(lab.door.n_calls(LIST), n_lists, "nothing was missing");
    lab.hears().await;
    assert_eq!(lab.door.n_calls(JOIN), 1);
    joined.leave().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_got_lost_is_made_up_for_by_the_list() {
    let lab = Lab::new().await;
    let (joined, mut events) = lab.in_call().await;
    let n_lists = lab.door.n_calls(LIST);
    lab.door.lose_updates(1);
    lab.somebody_joins("ann", 21).await;
    lab.somebody_joins("bob", 22).await;
    told(&mut events, |event| *event == CallEvent::Participants { n: 3 }).await;
    assert_eq!(lab.door.n_calls(LIST), n_lists + 1, "a gap in the versions is read once");
    lab.hears().await;
    assert_eq!(lab.door.n_calls(JOIN), 1);
    joined.leave().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_goes_on_under_another_id_is_joined_there() {
    let lab = Lab::new().await;
    let (joined, mut events) = lab.in_call().await;
    lab.door.move_call(lab.chat);
    // Whatever is asked of the old call is refused; this is what finds it out before the next check.
    joined.call.set_muted(true).await;
    told(&mut events, |event| *event == CallEvent::Status(CallStatus::Reconnecting)).await;
    told(&mut events, |event| *event == CallEvent::Status(CallStatus::Joined)).await;
    assert_eq!((lab.door.n_calls(JOIN), lab.n_bots().await), (3, 1), "once in vain, by the old id");
    joined.call.set_muted(false).await;
    lab.hears().await;
    joined.leave().await;
    assert_eq!(lab.n_bots().await, 0);
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_answers_are_waited_for() {
    let lab = Lab::new().await;
    lab.begin();
    let methods = ["contacts.resolveUsername", "channels.getFullChannel", "phone.getGroupCall", JOIN, LIST];
    for method in methods {
        lab.door.plan(method, Fault::Delay(Duration::from_millis(700)), 1);
    }
    let joined = lab.join().await;
    joined.call.joined().await.unwrap();
    lab.hears().await;
    until(|| lab.door.n_calls(LIST) > 0).await;
    assert_eq!(methods.map(|method| lab.door.n_calls(method)), [1; 5]);
    assert_eq!(lab.n_bots().await, 1);
    joined.leave().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passing_trouble_with_a_join_costs_one_more() {
    for (code, word) in [
        (400, "GROUPCALL_SSRC_DUPLICATE_MUCH"),
        (420, "FLOOD_WAIT_1"),
        (500, "GROUPCALL_ADD_PARTICIPANTS_FAILED"),
        (-503, "Timeout"),
        (303, "USER_MIGRATE_4"),
    ] {
        let lab = Lab::new().await;
        lab.begin();
        lab.door.plan(JOIN, refuse(code, word), 1);
        let joined = lab.join().await;
        assert_eq!(joined.call.joined().await, Ok(()), "{word}");
        lab.hears().await;
        assert_eq!((lab.door.n_calls(JOIN), lab.n_bots().await), (2, 1), "{word}");
        joined.leave().await;
        assert_eq!(lab.n_bots().await, 0, "{word}");
        lab.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_beside_the_join_disturb_no_call() {
    for fault in [
        Fault::CloseBefore,
        Fault::CloseAfter,
        Fault::DropAnswer,
        Fault::Delay(Duration::from_millis(200)),
        refuse(500, "RPC_CALL_FAIL"),
        refuse(-503, "Timeout"),
        refuse(303, "USER_MIGRATE_4"),
    ] {
        let lab = Lab::with(|options| options.timeout = Duration::from_millis(500)).await;
        let (joined, _events) = lab.in_call().await;
        lab.door.plan(EDIT, fault.clone(), 1);
        joined.call.set_muted(true).await;
        let n_edits = if matches!(fault, Fault::Delay(_)) { 1 } else { 2 };
        until(|| lab.door.n_calls(EDIT) == n_edits).await;
        joined.call.set_muted(false).await;
        until(|| lab.door.n_calls(EDIT) == n_edits + 1).await;
        lab.hears().await;
        assert_eq!(*joined.call.status().borrow(), CallStatus::Joined, "{fault:?}");
        assert_eq!((lab.door.n_calls(JOIN), lab.n_bots().await), (1, 1), "{fault:?}");
        // The goodbye suffers the same, and nobody is left behind.
        lab.door.plan("phone.leaveGroupCall", fault.clone(), 1);
        joined.leave().await;
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        let gone = async {
            while lab.n_bots().await > 0 {
                looks.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap_or_else(|_| panic!("{fault:?}"));
        lab.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_muted_by_an_admin_is_silent_until_allowed() {
    let lab = Lab::new().await;
    let (joined, mut events) = lab.in_call().await;
    lab.emulator.mute_by_admin(ROOM, "bot", true).await.unwrap();
    told(&mut events, |event| *event == CallEvent::MutedByAdmin { muted: true }).await;
    // What was under way when the news came has arrived when the answer to a request has.
    joined.call.stats().await.unwrap();
    lab.client.chats().await.unwrap();
    let silent_from = lab.n_packets().await;
    tokio::time::timeout(Duration::from_millis(300), std::future::pending::<()>()).await.unwrap_err();
    let n_sent = lab.n_packets().await - silent_from;
    assert!(n_sent <= 1, "{n_sent} packets although muted");
    assert_eq!(lab.door.n_calls(EDIT), 0, "nothing is asked that an admin forbids");
    lab.emulator.mute_by_admin(ROOM, "bot", false).await.unwrap();
    told(&mut events, |event| *event == CallEvent::MutedByAdmin { muted: false }).await;
    lab.hears().await;
    assert_eq!((lab.door.n_calls(EDIT), lab.door.n_calls(JOIN)), (1, 1), "we unmute ourselves, once");
    joined.leave().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_signed_out_during_a_call_leaves_it_with_the_reason() {
    let lab = Lab::new().await;
    let (joined, _events) = lab.in_call().await;
    lab.door.sign_out(&lab.key);
    joined.call.set_muted(true).await;
    let LeftReason::Failed(error) = joined.call.closed().await else { panic!("it must not end well") };
    assert!(error.to_string().contains("telecast login"), "{error}");
    assert_eq!((lab.door.n_calls(EDIT), lab.door.n_calls(JOIN)), (1, 1));
    joined.player.close().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_a_connection_and_says_nothing_is_left() {
    let lab = Lab::with(|options| options.timeout = Duration::from_millis(400)).await;
    lab.door.plan("help.getConfig", Fault::DropAnswer, 1);
    lab.door.hang_up();
    until(|| lab.door.n_calls("help.getConfig") == 2).await;
    lab.client.account().await.unwrap();
    // And one that never says anything keeps nobody from ending.
    lab.door.plan("help.getConfig", Fault::DropAnswer, u32::MAX);
    lab.door.hang_up();
    until(|| lab.door.n_calls("help.getConfig") > 3).await;
    tokio::time::timeout(Duration::from_secs(5), lab.end()).await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ahead_is_named_as_what_may_be_wrong() {
    let lab = Lab::with(|options| options.timeout = Duration::from_millis(400)).await;
    // Behind is put right in the first exchange.
    lab.door.set_clock(4000);
    lab.client.account().await.unwrap();
    // The client's message ids never go back.
    lab.door.set_clock(-400);
    let error = lab.client.account().await.unwrap_err();
    assert!(error.to_string().contains("clock"), "{error}");
    tokio::time::timeout(Duration::from_secs(5), lab.end()).await.expect("it ends");
}
