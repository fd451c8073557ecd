use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;

use super::backlog::{MAX_BYTES, SLACK};
use super::*;
use crate::media::demux::Shape;
use crate::media::{Codec, MediaKind};

const LATENCY: MediaTime = MediaTime::from_secs(5);
const SOUND: MediaTime = MediaTime::from_millis(20);
const PICTURE: MediaTime = MediaTime::from_millis(40);
/// What a programme reads ahead.
const AHEAD: MediaTime = MediaTime::from_millis(500);

fn ms(millis: i64) -> MediaTime {
    MediaTime::from_millis(millis)
}

fn secs(secs: i64) -> MediaTime {
    MediaTime::from_secs(secs)
}

fn track(kind: MediaKind) -> Track {
    let (codec, shape) = match kind {
        MediaKind::Audio => (Codec::Opus, Shape::Audio { sample_rate: 48_000, channels: 2 }),
        MediaKind::Video => (Codec::H264, Shape::Video { width: 16, height: 16, rotation: 0, pixel: None }),
    };
    Track { kind, codec, duration: Some(secs(3)), language: None, config: Bytes::new(), shape }
}

/// A packet that carries when it was made.
fn packet(track: usize, made: MediaTime, duration: MediaTime, key: bool) -> Packet {
    let data = Bytes::copy_from_slice(&made.as_millis().to_be_bytes());
    Packet { track, pts: made, dts: Some(made), duration, key, trim_start: 0, trim_end: 0, data }
}

fn made(packet: &Packet) -> MediaTime {
    ms(i64::from_be_bytes(*packet.data.first_chunk().unwrap()))
}

/// A source, and a programme that plays it, in a time of their own.
struct Sim {
    backlog: Backlog,
    /// A keyframe every so often; `None` without pictures.
    gop: Option<MediaTime>,
    /// When what was made at a time comes.
    comes: Box<dyn Fn(MediaTime) -> MediaTime>,
    now: MediaTime,
    next_sound: MediaTime,
    next_picture: MediaTime,
    paused: bool,
    /// How far the programme has come, on the clock of the item.
    played: MediaTime,
    taken: Vec<Packet>,
    /// How long a packet of sound is.
    step: MediaTime,
}

impl Sim {
    fn new(gop: Option<MediaTime>, comes: impl Fn(MediaTime) -> MediaTime + 'static) -> Self {
        let kinds = [MediaKind::Audio, MediaKind::Video];
        let tracks: Vec<_> =
            kinds[..if gop.is_some() { 2 } else { 1 }].iter().map(|kind| track(*kind)).collect();
        Self {
            backlog: Backlog::new(&tracks, LATENCY, secs(20)),
            gop,
            comes: Box::new(comes),
            now: MediaTime::ZERO,
            next_sound: MediaTime::ZERO,
            next_picture: MediaTime::ZERO,
            paused: false,
            played: MediaTime::ZERO,
            taken: Vec::new(),
            step: SOUND,
        }
    }

    /// Sound comes when it is made.
    fn radio() -> Self {
        Self::new(None, |made| made)
    }

    fn run(&mut self, length: MediaTime) {
        let until = self.now + length;
        while self.now < until {
            self.now += self.step;
            self.source();
            if !self.paused {
                self.programme();
            }
        }
    }

    fn source(&mut self) {
        loop {
            let is_picture = self.gop.is_some() && self.next_picture <= self.next_sound;
            let made = if is_picture { self.next_picture } else { self.next_sound };
            if (self.comes)(made) > self.now {
                return;
            }
            let packet = match self.gop.filter(|_| is_picture) {
                Some(gop) => packet(1, made, PICTURE, made == made.floor_to(gop)),
                None => packet(0, made, self.step, true),
            };
            *(if is_picture { &mut self.next_picture } else { &mut self.next_sound }) += packet.duration;
            self.backlog.handle_packet(packet, self.now);
        }
    }

    fn programme(&mut self) {
        let known = self.taken.iter().rev().take(8).map(|packet| packet.pts + packet.duration).max();
        if known.is_some_and(|known| known >= self.played + self.step) {
            self.played += self.step;
        }
        while self.taken.last().is_none_or(|last| last.pts < self.played + AHEAD) {
            let Some(packet) = self.backlog.poll_packet(self.now) else { return };
            self.taken.push(packet);
        }
    }

    fn pause(&mut self, length: MediaTime) {
        self.paused = true;
        self.run(length);
        self.paused = false;
    }

    /// How old is what is taken now.
    fn age(&self) -> MediaTime {
        self.now - made(self.taken.last().unwrap())
    }

    /// What is missing of a track, after each place where something is. Times have no hole anywhere.
    fn cuts(&self, track: usize) -> Vec<(i64, i64)> {
        let all: Vec<_> = self.taken.iter().filter(|packet| packet.track == track).collect();
        let mut cuts = Vec::new();
        for two in all.windows(2) {
            let [gap, missing] =
                [two[1].pts - two[0].pts, made(two[1]) - made(two[0])].map(|it| it - two[0].duration);
            // A picture lasts a little longer where that lets sound follow sound.
            let most = if track == 1 { self.step } else { MediaTime::ZERO };
            assert!((MediaTime::ZERO..=most).contains(&gap), "{gap:?} at {:?}", two[0].pts);
            assert_eq!(two[1].dts, Some(two[1].pts));
            if missing > MediaTime::ZERO {
                cuts.push((made(two[0]).as_millis(), missing.as_millis()));
            }
        }
        cuts
    }
}

#[test]
fn what_comes_in_time_is_left_alone() {
    let mut sim = Sim::radio();
    sim.run(secs(60));
    // As late as is borne.
    sim.pause(LATENCY + ms(400));
    sim.run(secs(60));
    assert_eq!(sim.cuts(0), []);
    assert_eq!(sim.backlog.take_left_out(), None);
}

#[test]
fn after_a_pause_the_very_first_packet_is_fresh_and_nothing_is_left_out_again() {
    for minutes in [1, 4] {
        let mut sim = Sim::radio();
        sim.run(secs(3));
        sim.pause(secs(60 * minutes));
        let resumed = sim.taken.len();
        sim.run(SOUND);
        let first = made(&sim.taken[resumed]);
        assert!(sim.now - first <= LATENCY + SLACK, "{:?} old", sim.now - first);
        sim.run(secs(180));
        let cuts = sim.cuts(0);
        let [(_, missing)] = cuts[..] else { panic!("{cuts:?}") };
        assert!((sim.now - LATENCY - SLACK - sim.played).as_millis() <= missing, "{missing}");
        let left_out = sim.backlog.take_left_out().unwrap();
        assert_eq!((left_out.time.as_millis(), left_out.n_packets as i64 * 20), (missing, missing));
    }
}

#[test]
fn a_pause_costs_no_memory() {
    let mut sim = Sim::new(Some(secs(2)), |made| made);
    sim.run(secs(3));
    sim.pause(secs(600));
    let mut waiting = 0;
    while sim.backlog.poll_packet(sim.now).is_some() {
        waiting += 1;
    }
    assert!(waiting <= 75 * 9, "{waiting} packets: the latency, what is borne and a keyframe's distance");
}

#[test]
fn bursts_are_not_cut() {
    for segment in [6, 10] {
        // All of a segment comes when it is made.
        let mut sim = Sim::new(Some(secs(2)), move |made| made.floor_to(secs(segment)) + secs(segment));
        sim.run(secs(180));
        assert_eq!((sim.cuts(0), sim.cuts(1)), (vec![], vec![]), "{segment}");
    }
}

#[test]
fn what_stands_far_behind_is_brought_forward_once() {
    // Begun three segments back: all of them come at once.
    let mut sim = Sim::new(Some(secs(2)), |made| (made.floor_to(secs(6)) - secs(12)).max(MediaTime::ZERO));
    sim.run(secs(180));
    let cuts = sim.cuts(1);
    let [(_, missing)] = cuts[..] else { panic!("{cuts:?}") };
    // What can be relied on stands twelve seconds behind, and there are keyframes every two.
    assert!((5000..=7000).contains(&missing), "{missing}");
    assert_eq!(sim.cuts(0).len(), 1);
}

#[test]
fn a_network_that_held_everything_back_is_made_up_for_once() {
    // Nothing comes for eight seconds, and then all of it.
    let held = |made: MediaTime| if (secs(30)..secs(38)).contains(&made) { secs(38) } else { made };
    let mut sim = Sim::new(Some(secs(2)), held);
    sim.run(secs(300));
    let cuts = sim.cuts(0);
    let [(_, missing)] = cuts[..] else { panic!("{cuts:?}") };
    assert!((1000..=4000).contains(&missing), "{missing}");
    assert!(sim.age() <= LATENCY + SLACK);
}

#[test]
fn clocks_that_differ_cost_a_second_every_few_hours() {
    let drifting = |made: MediaTime| made - made.scaled(1, 10_000);
    let mut sim = Sim { step: ms(200), ..Sim::new(None, drifting) };
    sim.run(secs(600));
    // As far behind as is wanted.
    sim.pause(LATENCY);
    sim.run(secs(8 * 3600));
    let cuts = sim.cuts(0);
    assert!((2..=3).contains(&cuts.len()), "{cuts:?}");
    assert!(cuts.iter().all(|(_, missing)| (1000..=1200).contains(missing)), "{cuts:?}");
    assert!(cuts.windows(2).all(|two| two[1].0 - two[0].0 > 2 * 3_600_000), "{cuts:?}");
}

#[test]
fn both_tracks_are_cut_at_the_same_place_and_pictures_at_a_keyframe() {
    for gop in [1, 8] {
        // Packets of mp3 end nowhere near pictures.
        let mut sim = Sim { step: ms(26), ..Sim::new(Some(secs(gop)), |made| made) };
        sim.run(ms(5300));
        sim.pause(secs(60));
        sim.run(secs(60));
        let (sound, pictures) = (sim.cuts(0), sim.cuts(1));
        assert!(!pictures.is_empty() && pictures.len() <= 2, "{pictures:?}");
        for ((sound, n), (pictures, m)) in sound.iter().zip(&pictures) {
            assert!((sound - pictures).abs() <= 100 && (n - m).abs() <= 40, "{sound} {n}, {pictures} {m}");
        }
        assert_eq!(sound.len(), pictures.len());
        for two in sim.taken.iter().filter(|packet| packet.track == 1).collect::<Vec<_>>().windows(2) {
            assert!(two[1].key || made(two[1]) - made(two[0]) == PICTURE, "pictures go on at a keyframe");
        }
        // Sound and picture that are heard and seen together were made together.
        let offset =
            |track: usize| sim.taken.iter().rev().find(|it| it.track == track).map(|it| made(it) - it.pts);
        assert_eq!(offset(0), offset(1));
        assert!(sim.age() <= LATENCY + SLACK + secs(gop), "{:?}", sim.age());
    }
}

#[test]
fn without_keyframes_memory_ends_and_sound_goes_on() {
    let mut backlog = Backlog::new(&[track(MediaKind::Audio), track(MediaKind::Video)], LATENCY, secs(20));
    let big = Bytes::from(vec![0; 1 << 20]);
    let take = |backlog: &mut Backlog, now| backlog.poll_packet(now).map(|it| (it.track, it.pts.as_millis()));
    let picture = |at: i64, key| Packet { data: big.clone(), ..packet(1, secs(at), secs(1), key) };
    for at in 0..200 {
        backlog.handle_packet(packet(0, secs(at), secs(1), true), secs(at));
        backlog.handle_packet(picture(at, at == 0), secs(at));
        if at == 1 {
            assert_eq!(
                (take(&mut backlog, secs(1)), take(&mut backlog, secs(1))),
                (Some((0, 0)), Some((1, 0)))
            );
        }
    }
    let left_out = backlog.take_left_out().unwrap();
    assert!(left_out.n_bytes as usize > 150 * (1 << 20) && left_out.time > secs(150), "{left_out:?}");
    // Sound follows what was heard; there is no picture that could be seen.
    let mut waiting = 0;
    while let Some((track, at)) = take(&mut backlog, secs(200)) {
        waiting += 1;
        assert_eq!((track, at), (0, 1000 * waiting));
    }
    // A keyframe is one.
    backlog.handle_packet(picture(200, false), secs(200));
    backlog.handle_packet(picture(201, true), secs(201));
    let (track, at) = take(&mut backlog, secs(201)).unwrap();
    assert!(track == 1 && at >= 1000 * waiting, "{at}");
}

#[test]
fn memory_is_given_back_at_a_keyframe_where_there_is_one() {
    let mut backlog = Backlog::new(&[track(MediaKind::Video)], secs(3600), secs(20));
    let big = Bytes::from(vec![0; 1 << 20]);
    for at in 0..1000 {
        let picture = Packet { data: big.clone(), ..packet(0, ms(40 * at), PICTURE, at % 10 == 0) };
        backlog.handle_packet(picture, ms(40 * at));
    }
    let left: Vec<_> = std::iter::from_fn(|| backlog.poll_packet(secs(40))).collect();
    assert!(left.len() * (1 << 20) <= MAX_BYTES && left.len() >= 10, "{}", left.len());
    assert!(left[0].key);
}

#[test]
fn a_source_that_leaps_or_begins_anew_goes_on() {
    let mut sim = Sim::radio();
    for made in [5000, 5020, 0, 20, 90_000, 90_020, 90_540] {
        sim.backlog.handle_packet(packet(0, ms(made), SOUND, true), ms(0));
    }
    let times: Vec<_> =
        std::iter::from_fn(|| sim.backlog.poll_packet(ms(0))).map(|packet| packet.pts.as_millis()).collect();
    // A hole of half a second is one.
    assert_eq!(times, [5000, 5020, 5040, 5060, 5080, 5100, 5620]);
    assert_eq!(sim.backlog.take_left_out(), None);
}

#[test]
fn whatever_happens_times_go_on_and_what_is_played_is_not_old() {
    for seed in 0..8 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let (segment, gop) = (dice.i64(0..5) * 2000 + 40, dice.i64(0..4) * 1000 + 1000);
        let comes = move |made: MediaTime| made.floor_to(ms(segment)) + ms(segment);
        let mut sim = Sim::new((seed % 4 > 0).then_some(ms(gop)), comes);
        for _ in 0..8 {
            sim.run(ms(dice.i64(0..20_000)));
            sim.pause(ms(dice.i64(0..20_000)));
        }
        sim.run(secs(30));
        for track in 0..usize::from(seed % 4 > 0) + 1 {
            let cuts = sim.cuts(track);
            assert!(cuts.len() <= 24, "{seed}: {cuts:?}");
        }
        let oldest = LATENCY + SLACK + ms(gop) + ms(segment) + AHEAD;
        assert!(sim.age() <= oldest, "{seed}: {:?} of {oldest:?}", sim.age());
    }
}

/// A source that says what it is told to.
struct Told {
    tracks: Vec<Track>,
    words: Receiver<Option<Packet>>,
}

impl Demuxer for Told {
    fn format(&self) -> &'static str {
        "told"
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, DemuxError> {
        match self.words.recv() {
            Ok(Some(packet)) => Ok(Some(packet)),
            Ok(None) => panic!("as the test wants it"),
            Err(_) => Err(DemuxError::Empty),
        }
    }

    fn seek(&mut self, _: MediaTime) -> Result<MediaTime, DemuxError> {
        unreachable!("nobody seeks in it")
    }
}

/// Without room: whoever has said two words more knows that the first has been taken.
fn live() -> (Live, SyncSender<Option<Packet>>) {
    let (teller, words) = sync_channel(0);
    let told = Told { tracks: vec![track(MediaKind::Audio)], words };
    (Live::open(Box::new(told), Duration::from_secs(2), Liveness::default()).unwrap(), teller)
}

#[test]
fn a_source_is_read_to_its_end_and_a_panic_is_one() {
    for panics in [false, true] {
        let (mut live, teller) = live();
        assert_eq!(live.tracks()[0].duration, None, "it has no length");
        for at in 0..3 {
            teller.send(Some(packet(0, SOUND * at, SOUND, true))).unwrap();
        }
        if panics {
            teller.send(None).unwrap();
        }
        drop(teller);
        for at in 0..3 {
            assert_eq!(live.next_packet().unwrap().unwrap().pts, SOUND * at);
        }
        let error = live.next_packet().unwrap_err();
        assert_eq!(matches!(error, DemuxError::Crashed), panics, "{error}");
        assert!(live.next_packet().unwrap().is_none(), "that is told once");
    }
}

#[test]
fn a_seek_stays_where_it_is() {
    let (mut live, teller) = live();
    for at in 0..4 {
        teller.send(Some(packet(0, SOUND * at, SOUND, true))).unwrap();
        if at == 2 {
            assert_eq!(live.next_packet().unwrap().unwrap().pts, MediaTime::ZERO);
        }
    }
    assert_eq!(live.seek(secs(3600)).unwrap(), SOUND);
    assert_eq!(live.next_packet().unwrap().unwrap().pts, SOUND);
    drop(teller);
}

#[test]
fn whoever_stops_listening_ends_the_reading() {
    let (live, teller) = live();
    teller.send(Some(packet(0, secs(0), SOUND, true))).unwrap();
    drop(live);
    // One more word, and the thread drops its end.
    while teller.send(Some(packet(0, secs(1), SOUND, true))).is_ok() {}
}
