use proptest::prelude::*;

use super::*;
use crate::call::signaling::SourceGroup;

#[expect(clippy::disallowed_methods, reason = "a test has to begin somewhere")]
fn start() -> Instant {
    Instant::now()
}

fn row(peer: &str, source: i32) -> ParticipantRow {
    ParticipantRow { peer: peer.to_owned(), source, ..ParticipantRow::default() }
}

fn joined(peer: &str, source: i32) -> ParticipantRow {
    ParticipantRow { just_joined: true, ..row(peer, source) }
}

fn left(peer: &str, source: i32) -> ParticipantRow {
    ParticipantRow { left: true, ..row(peer, source) }
}

fn muted(peer: &str, source: i32) -> ParticipantRow {
    ParticipantRow { muted: true, ..row(peer, source) }
}

fn page(participants: Vec<ParticipantRow>, version: i32, next_offset: &str) -> ParticipantsPage {
    ParticipantsPage { participants, version, next_offset: next_offset.to_owned() }
}

fn first() -> Fetch {
    Fetch::Page { offset: String::new() }
}

/// A list that knows `a` and `b` at version 7, and the time.
fn synced() -> (Participants, Instant) {
    let now = start();
    let mut list = Participants::default();
    list.refetch(now);
    assert_eq!(told(&mut list), ["fetch \"\""]);
    list.handle_page(&first(), page(vec![row("a", 1), row("b", 2)], 7, ""), now);
    assert_eq!(told(&mut list), ["joined a", "joined b"]);
    assert_eq!(list.poll_timeout(), None);
    (list, now)
}

/// Everything that came out, in words.
fn told(list: &mut Participants) -> Vec<String> {
    let output = |output| match output {
        Output::Fetch(Fetch::Page { offset }) => format!("fetch {offset:?}"),
        Output::Fetch(Fetch::Sources(sources)) => format!("fetch {sources:?}"),
        Output::Changed(Change::Joined(row)) => format!("joined {}", row.peer),
        Output::Changed(Change::Updated(row)) => format!("updated {}", row.peer),
        Output::Changed(Change::Left(row)) => format!("left {} {}", row.peer, row.source),
    };
    std::iter::from_fn(|| list.poll_output()).map(output).collect()
}

fn peers(list: &Participants) -> Vec<&str> {
    list.iter().map(|row| row.peer.as_str()).collect()
}

#[test]
fn updates_in_order_are_applied() {
    let (mut list, now) = synced();
    list.handle_update(vec![joined("c", 3)], 8, now);
    list.handle_update(vec![muted("a", 1)], 8, now);
    list.handle_update(vec![left("b", 2)], 9, now);
    assert_eq!(told(&mut list), ["joined c", "updated a", "left b 2"]);
    assert_eq!((list.version(), peers(&list)), (Some(9), vec!["a", "c"]));
    assert!(list.get("a").unwrap().muted);
    assert!(!list.get("c").unwrap().just_joined, "what describes the update is not kept");
    assert_eq!(list.poll_timeout(), None);
}

#[test]
fn an_update_that_changes_nothing_is_not_told() {
    let (mut list, now) = synced();
    list.handle_update(vec![row("a", 1)], 7, now);
    assert_eq!(told(&mut list), Vec::<String>::new());
}

#[test]
fn an_update_of_the_past_is_ignored() {
    let (mut list, now) = synced();
    list.handle_update(vec![joined("c", 3)], 8, now);
    list.handle_update(vec![left("a", 1)], 8, now);
    list.handle_update(vec![left("b", 2)], 5, now);
    assert_eq!(told(&mut list), ["joined c"]);
    assert_eq!(list.version(), Some(8));
}

#[test]
fn the_version_of_the_page_may_come_once_more() {
    let (mut list, now) = synced();
    list.handle_update(vec![joined("c", 3)], 7, now);
    list.handle_update(vec![joined("d", 4)], 7, now);
    assert_eq!(told(&mut list), ["joined c"]);
    assert_eq!(list.version(), Some(7));
}

#[test]
fn early_updates_wait_for_the_missing_one() {
    let (mut list, now) = synced();
    list.handle_update(vec![left("c", 3)], 9, now);
    list.handle_update(vec![muted("c", 3)], 10, now);
    list.handle_update(vec![joined("d", 4)], 10, now);
    assert_eq!(told(&mut list), Vec::<String>::new());
    assert_eq!(list.poll_timeout(), Some(now + FETCH_PAUSE), "the list was fetched just now");
    list.handle_update(vec![joined("c", 3)], 8, now);
    assert_eq!(told(&mut list), ["joined c", "left c 3", "joined c", "joined d"]);
    assert_eq!((list.version(), list.poll_timeout()), (Some(10), None));
}

#[test]
fn a_gap_that_stays_fetches_the_list_once() {
    let (mut list, now) = synced();
    let later = now + Duration::from_secs(60);
    list.handle_update(vec![joined("d", 4)], 9, later);
    assert_eq!(list.poll_timeout(), Some(later + GAP_WAIT));
    list.handle_timeout(later + GAP_WAIT - Duration::from_millis(1));
    assert_eq!(told(&mut list), Vec::<String>::new());
    let due = later + GAP_WAIT;
    list.handle_timeout(due);
    list.handle_timeout(due);
    assert_eq!(told(&mut list), ["fetch \"\""]);

    // The fetched list lacks b, has the one that was missed, and is older than the update.
    list.handle_page(&first(), page(vec![row("a", 1), row("c", 3)], 8, ""), due);
    assert_eq!(told(&mut list), ["joined c", "joined d", "left b 2"]);
    assert_eq!((list.version(), list.poll_timeout()), (Some(9), None));
}

#[test]
fn pages_follow_each_other_and_newer_updates_win() {
    let (mut list, now) = synced();
    list.refetch(now);
    list.handle_page(&first(), page(vec![row("a", 1)], 7, "p2"), now);
    list.handle_update(vec![muted("b", 2)], 7, now);
    list.handle_update(vec![joined("c", 3)], 8, now);
    let second = Fetch::Page { offset: "p2".to_owned() };
    list.handle_page(&second, page(vec![row("b", 2), row("d", 4)], 8, "p3"), now);
    let third = Fetch::Page { offset: "p3".to_owned() };
    list.handle_page(&third, page(vec![row("e", 5)], 8, ""), now);
    let expected =
        ["fetch \"\"", "fetch \"p2\"", "updated b", "joined c", "joined d", "fetch \"p3\"", "joined e"];
    assert_eq!(told(&mut list), expected);
    assert!(list.get("b").unwrap().muted);
    assert_eq!((list.version(), peers(&list)), (Some(8), vec!["a", "b", "c", "d", "e"]));
}

#[test]
fn pages_that_never_end_are_left() {
    let (mut list, now) = synced();
    list.refetch(now);
    list.handle_page(&first(), page(vec![], 7, "x"), now);
    let same = Fetch::Page { offset: "x".to_owned() };
    list.handle_page(&same, page(vec![], 7, "x"), now);
    assert_eq!(told(&mut list), ["fetch \"\"", "fetch \"x\""]);
    assert_eq!(peers(&list), ["a", "b"], "an endless list proves nobody's absence");
    list.handle_page(&same, page(vec![row("z", 9)], 7, ""), now);
    assert_eq!(told(&mut list), Vec::<String>::new(), "nobody asked for this page");

    list.refetch(now);
    let mut fetch = first();
    let mut n_pages = 0;
    while let Some(Output::Fetch(next)) = list.poll_output() {
        fetch = next;
        n_pages += 1;
        list.handle_page(&fetch, page(vec![], 7, &n_pages.to_string()), now);
    }
    assert_eq!((n_pages, list.poll_timeout()), (MAX_PAGES, None), "{fetch:?}");
}

#[test]
fn updates_before_the_first_page_are_shown_and_survive_it() {
    let now = start();
    let mut list = Participants::default();
    list.refetch(now);
    let own = ParticipantRow { is_self: true, just_joined: true, ..row("me", 9) };
    list.handle_update(vec![own], 7, now);
    list.handle_update(vec![joined("c", 3)], 8, now);
    assert_eq!(list.own().unwrap().source, 9, "the first sign of our own row confirms the join");
    assert_eq!(told(&mut list), ["fetch \"\"", "joined me", "joined c"]);
    list.handle_page(&first(), page(vec![row("a", 1), row("me", 9)], 7, ""), now);
    assert_eq!(told(&mut list), ["joined a"]);
    assert_eq!((list.version(), peers(&list)), (Some(8), vec!["a", "c", "me"]));
    assert!(list.own().is_some_and(|own| own.is_self));
}

#[test]
fn an_update_that_overtakes_the_page_is_not_lost() {
    let (mut list, now) = synced();
    list.refetch(now);
    list.handle_update(vec![left("b", 2)], 8, now);
    list.handle_page(&first(), page(vec![row("a", 1), row("b", 2)], 7, ""), now);
    assert_eq!((list.version(), peers(&list)), (Some(8), vec!["a"]));
}

#[test]
fn a_failed_or_lost_fetch_is_repeated() {
    let (mut list, now) = synced();
    list.refetch(now);
    let wait = Duration::from_secs(17);
    list.handle_fetch_failed(&first(), wait, now);
    assert_eq!(list.poll_timeout(), Some(now + wait));
    list.handle_timeout(now + wait);
    list.handle_fetch_failed(&first(), Duration::ZERO, now + wait);
    let again = now + wait + FETCH_PAUSE;
    assert_eq!(list.poll_timeout(), Some(again));
    list.handle_timeout(again);
    list.handle_timeout(again + FETCH_TIMEOUT);
    assert_eq!(told(&mut list), ["fetch \"\""; 4]);
}

#[test]
fn half_rows_keep_what_they_lack_and_strangers_are_looked_up() {
    let (mut list, now) = synced();
    let own = ParticipantRow { is_self: true, volume: Some(5000), ..row("a", 1) };
    list.handle_update(vec![own], 7, now);
    let min = |peer: &str, source| ParticipantRow { min: true, ..muted(peer, source) };
    list.handle_update(vec![min("a", 1), min("x", 21), min("y", 0)], 7, now);
    let a = list.get("a").unwrap();
    assert_eq!((a.volume, a.is_self, a.muted, a.min), (Some(5000), true, true, false));
    assert_eq!(told(&mut list), ["updated a", "updated a", "fetch [21]"]);
    assert_eq!(list.poll_timeout(), Some(now + FETCH_PAUSE), "a stranger without a source needs the list");
    let asked = Fetch::Sources(vec![21]);
    list.handle_page(&asked, page(vec![row("x", 21)], 99, "more"), now);
    assert_eq!(told(&mut list), ["joined x"]);
    assert_eq!(list.version(), Some(7), "a slice says nothing about the list");
}

#[test]
fn an_ssrc_is_looked_up_once_at_a_time() {
    let (mut list, now) = synced();
    let high = 3_410_846_965_u32;
    list.handle_unknown_ssrc(1, now);
    list.handle_unknown_ssrc(high, now);
    list.handle_unknown_ssrc(high, now);
    list.handle_unknown_ssrc(40, now);
    assert_eq!(told(&mut list), ["fetch [-884120331]"]);
    list.handle_page(&Fetch::Sources(vec![-884_120_331]), page(vec![], 7, ""), now);
    assert_eq!(told(&mut list), ["fetch [40]"]);
    list.handle_fetch_failed(&Fetch::Sources(vec![40]), Duration::ZERO, now);
    list.handle_unknown_ssrc(high, now + Duration::from_secs(9));
    assert_eq!(told(&mut list), Vec::<String>::new());
    list.handle_unknown_ssrc(high, now + Duration::from_secs(10));
    assert_eq!(told(&mut list), ["fetch [-884120331]"]);
}

#[test]
fn ssrcs_lead_to_their_participants() {
    let (mut list, now) = synced();
    let group = |semantics: &str, sources: &[i32]| SourceGroup {
        semantics: semantics.into(),
        sources: sources.into(),
    };
    let video = |endpoint: &str, groups: Vec<SourceGroup>, audio_source| VideoRow {
        endpoint: endpoint.to_owned(),
        source_groups: groups,
        audio_source,
        paused: false,
    };
    let camera =
        video("c", vec![group("SIM", &[10, 12]), group("FID", &[10, 11]), group("FID", &[12, 13])], None);
    let screen = video("s", vec![group("FID", &[-5, -4])], Some(-6));
    let full = ParticipantRow { video: Some(camera), presentation: Some(screen), ..row("a", 1) };
    list.handle_update(vec![full], 7, now);
    let of = |list: &Participants, ssrc| list.by_ssrc(ssrc).map(|(row, usage)| (row.peer.clone(), usage));
    assert_eq!(of(&list, 1), Some(("a".into(), SsrcUse::Microphone)));
    assert_eq!(of(&list, 2), Some(("b".into(), SsrcUse::Microphone)));
    for ssrc in [10, 11, 12, 13] {
        assert_eq!(of(&list, ssrc), Some(("a".into(), SsrcUse::Camera)));
    }
    assert_eq!(of(&list, (-4_i32).cast_unsigned()), Some(("a".into(), SsrcUse::Screen)));
    assert_eq!(of(&list, (-6_i32).cast_unsigned()), Some(("a".into(), SsrcUse::ScreenAudio)));

    // The camera is off, and b takes over an SSRC before a is told to have changed.
    list.handle_update(vec![row("b", 1)], 7, now);
    list.handle_update(vec![row("a", 30)], 7, now);
    assert_eq!(of(&list, 1), Some(("b".into(), SsrcUse::Microphone)));
    assert_eq!((of(&list, 10), of(&list, 2), of(&list, 0)), (None, None, None));
    list.handle_update(vec![left("b", 1)], 8, now);
    assert_eq!(of(&list, 1), None);
}

#[test]
fn the_end_of_our_old_connection_is_not_ours() {
    let (mut list, now) = synced();
    let own = |source| ParticipantRow { is_self: true, ..joined("me", source) };
    list.handle_update(vec![own(100)], 8, now);
    list.handle_update(vec![own(200)], 9, now);
    list.handle_update(vec![left("me", 100)], 10, now);
    assert_eq!(list.own().map(|own| own.source), Some(200));
    list.handle_update(vec![left("me", 200)], 11, now);
    assert_eq!(list.own(), None);
    assert_eq!(told(&mut list), ["joined me", "updated me", "left me 200"]);
}

#[test]
fn joining_as_somebody_else_moves_our_row() {
    let (mut list, now) = synced();
    list.handle_update(vec![ParticipantRow { is_self: true, ..joined("me", 100) }], 8, now);
    list.handle_update(vec![ParticipantRow { is_self: true, ..joined("channel", 200) }], 9, now);
    assert_eq!(list.own().map(|own| own.peer.as_str()), Some("channel"));
    assert!(!list.get("me").unwrap().is_self);
}

#[test]
fn a_fetched_list_without_us_does_not_throw_us_out() {
    let (mut list, now) = synced();
    list.handle_update(vec![ParticipantRow { is_self: true, ..joined("me", 100) }], 8, now);
    list.refetch(now);
    list.handle_page(&first(), page(vec![], 8, ""), now);
    assert_eq!(peers(&list), ["me"]);
}

#[test]
fn a_flood_is_dropped_and_counted() {
    let (mut list, now) = synced();
    let crowd = (0..12_000).map(|n| joined(&format!("p{n}"), n + 100)).collect();
    list.handle_update(crowd, 8, now);
    let own = ParticipantRow { is_self: true, ..joined("me", 99) };
    list.handle_update(vec![own, row("", 5)], 9, now);
    assert_eq!((list.len(), list.n_dropped_rows()), (MAX_ROWS + 1, 12_002 - 10_000 + 1));
    assert!(list.own().is_some(), "there is always room for us");
    assert!(told(&mut list).len() <= MAX_ROWS + 1);

    // Updates that can never be applied do not pile up either.
    for version in 0..20_000 {
        list.handle_update(vec![joined("q", 3)], 1000 + version, now);
    }
    assert!(list.n_waiting_rows <= MAX_WAITING_ROWS);
    assert_eq!(list.poll_timeout(), Some(now + FETCH_PAUSE));
}

/// What the server does, and what happens to its messages.
#[derive(Clone, Debug)]
enum Step {
    Join(u8),
    Leave(u8),
    Mute(u8),
    /// Delivers the waiting update with this index.
    Deliver(u8),
    /// Loses it.
    Lose(u8),
    /// Answers the oldest fetch with the list of now.
    Answer,
    Wait,
}

/// The server's truth, and updates on their way.
#[derive(Default)]
struct Server {
    rows: BTreeMap<String, ParticipantRow>,
    version: i32,
    on_the_way: Vec<(Vec<ParticipantRow>, i32)>,
    fetches: VecDeque<Fetch>,
}

impl Server {
    fn step(&mut self, step: &Step, list: &mut Participants, now: &mut Instant) {
        match step {
            Step::Join(n) => {
                let row = row(&format!("p{}", n % 8), i32::from(n % 8) + 1);
                if !self.rows.contains_key(&row.peer) {
                    self.rows.insert(row.peer.clone(), row.clone());
                    self.send(ParticipantRow { just_joined: true, ..row });
                }
            }
            Step::Leave(n) => {
                if let Some(row) = self.rows.remove(&format!("p{}", n % 8)) {
                    self.send(ParticipantRow { left: true, ..row });
                }
            }
            Step::Mute(n) => {
                if let Some(row) = self.rows.get_mut(&format!("p{}", n % 8)) {
                    row.muted = !row.muted;
                    let row = ParticipantRow { versioned: true, ..row.clone() };
                    self.send(row);
                }
            }
            Step::Deliver(n) if !self.on_the_way.is_empty() => {
                let (rows, version) = self.on_the_way.remove(usize::from(*n) % self.on_the_way.len());
                list.handle_update(rows, version, *now);
            }
            Step::Lose(n) if !self.on_the_way.is_empty() => {
                self.on_the_way.remove(usize::from(*n) % self.on_the_way.len());
            }
            Step::Answer => self.answer(list, *now),
            Step::Wait => {
                *now += Duration::from_millis(700);
                list.handle_timeout(*now);
            }
            Step::Deliver(_) | Step::Lose(_) => {}
        }
        while let Some(output) = list.poll_output() {
            if let Output::Fetch(fetch) = output {
                self.fetches.push_back(fetch);
            }
        }
    }

    fn send(&mut self, row: ParticipantRow) {
        self.version += 1;
        self.on_the_way.push((vec![row], self.version));
    }

    /// Pages of three rows; the offset is the last peer of the page before.
    fn answer(&mut self, list: &mut Participants, now: Instant) {
        let Some(fetch) = self.fetches.pop_front() else { return };
        let offset = if let Fetch::Page { offset } = &fetch { offset.clone() } else { String::new() };
        let mut rest = self
            .rows
            .range(offset.clone()..)
            .filter(|(peer, _)| **peer != offset)
            .map(|(_, row)| row.clone());
        let participants: Vec<_> = rest.by_ref().take(3).collect();
        let next = if rest.next().is_some() { participants.last().map(|row| row.peer.clone()) } else { None };
        list.handle_page(&fetch, page(participants, self.version, &next.unwrap_or_default()), now);
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<u8>().prop_map(Step::Join),
        any::<u8>().prop_map(Step::Leave),
        any::<u8>().prop_map(Step::Mute),
        any::<u8>().prop_map(Step::Deliver),
        any::<u8>().prop_map(Step::Deliver),
        any::<u8>().prop_map(Step::Lose),
        Just(Step::Answer),
        Just(Step::Wait),
    ]
}

proptest! {
    /// Whatever was lost, late or out of order: after one more update and some quiet the list
    /// is the server's.
    #[test]
    fn the_list_ends_as_the_server_has_it(steps in prop::collection::vec(any_step(), 0..120)) {
        let mut now = start();
        let mut list = Participants::default();
        let mut server = Server::default();
        list.refetch(now);
        for step in &steps {
            server.step(step, &mut list, &mut now);
        }
        // The last update arrives; without one nobody could know that others were lost.
        server.on_the_way.clear();
        server.step(&Step::Leave(0), &mut list, &mut now);
        server.step(&Step::Join(0), &mut list, &mut now);
        server.step(&Step::Deliver(u8::MAX), &mut list, &mut now);
        for _ in 0..200 {
            server.step(&Step::Answer, &mut list, &mut now);
            server.step(&Step::Wait, &mut list, &mut now);
        }
        let rows: BTreeMap<_, _> = list.iter().map(|row| (row.peer.clone(), row.clone())).collect();
        prop_assert_eq!(&rows, &server.rows);
        prop_assert_eq!(list.version(), Some(server.version));
        prop_assert_eq!(list.n_waiting_rows, 0);
        for row in server.rows.values() {
            prop_assert_eq!(list.by_ssrc(row.source.cast_unsigned()).map(|(row, _)| &row.peer), Some(&row.peer));
        }
        prop_assert_eq!(list.ssrcs.len(), server.rows.len());
    }
}
