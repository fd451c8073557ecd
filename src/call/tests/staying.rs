//! What happens to a call that is up.

use std::time::Duration;

use super::lab::Lab;
use crate::call::params::Setup;
use crate::call::signaling::{Edit, Incoming, Method, ParticipantRow, Update};
use crate::call::state::CallStatus;
use crate::call::{CallEvent, LeftReason};

fn joined_lab() -> Lab {
    let mut lab = Lab::new(Setup::Passive, "");
    lab.play();
    lab.join(Duration::from_secs(2));
    assert_eq!(lab.status(), Some(&CallStatus::Joined));
    lab
}

fn own_row(lab: &Lab) -> ParticipantRow {
    let source = lab.requests.iter().rev().find_map(|request| match &request.method {
        Method::Join(join) => Some(join.source),
        _ => None,
    });
    ParticipantRow {
        source: source.expect("a join was asked for"),
        is_self: true,
        ..ParticipantRow::default()
    }
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
