//! An hour of a network that comes and goes, in virtual time: the call is there whenever the
//! network is, and nothing piles up.

use std::time::Duration;

use super::lab::Lab;
use crate::call::params::Setup;
use crate::call::signaling::Method;
use crate::call::state::CallStatus;

const HOUR: Duration = Duration::from_secs(3600);
/// How long the network stays as it is, at most. It is away for less than a call's patience.
const MAX_SPAN_MS: u64 = 40_000;

#[test]
fn an_hour_of_a_flapping_network_leaves_nothing_behind() {
    let mut dice = fastrand::Rng::with_seed(7);
    let mut lab = Lab::new(Setup::Passive, "");
    lab.join(Duration::from_secs(2));
    let begin = lab.now;
    while lab.now < begin + HOUR {
        lab.cut = !lab.cut;
        lab.run(Duration::from_millis(dice.u64(100..MAX_SPAN_MS)));
    }
    assert!(lab.left().is_none(), "{:?}", lab.statuses.last());
    lab.cut = false;
    lab.play_sound_only();
    lab.run(Duration::from_secs(40));
    assert_eq!(lab.status(), Some(&CallStatus::Joined), "{:?}", lab.statuses);
    let n_joins = lab.asked(|method| matches!(method, Method::Join(_)));
    let n_lost = lab.statuses.iter().filter(|(_, status)| *status == CallStatus::Reconnecting).count();
    // Every socket that was opened belongs to a join, and each was closed before the next.
    assert_eq!(lab.n_sockets, n_joins);
    assert!(n_lost > 20 && n_joins <= 8 * n_lost, "{n_joins} joins for {n_lost} losses");
    assert_eq!(lab.n_members(), 1, "the server has us once");
    assert_eq!(lab.bot.n_fetches(), 0, "no request for a list is still waited for");
    assert!(lab.requests.len() < 4000, "{} requests", lab.requests.len());
    let before = lab.seen().expect("it is there").streams[0].packets;
    lab.run(Duration::from_secs(1));
    assert!(lab.seen().expect("it is there").streams[0].packets > before + 40, "sound flows again");
}
