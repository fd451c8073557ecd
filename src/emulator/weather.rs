//! What the network does to datagrams: seeded loss, delay, jitter, reordering, a rate limit,
//! blackouts, and the loss of exactly the n-th datagram of a handshake. Pure: a [`Lane`] is one
//! direction of one participant's link, datagrams in, the same datagrams out later or never.

use std::collections::VecDeque;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// A rate-limited link holds this much before it drops: what a home router buffers.
const QUEUE: Duration = Duration::from_millis(300);

/// How much later than its followers a reordered datagram arrives.
const REORDER_BY: Duration = Duration::from_millis(20);

/// A link's properties. Both directions have the same, except for the listed drops.
#[derive(Clone, Debug, PartialEq)]
pub struct Weather {
    /// Share of datagrams that are lost, 0 to 1.
    pub loss: f64,
    /// Added to the round trip: half of it in each direction.
    pub delay: Duration,
    /// Each datagram is delayed by up to this much more. Order is kept.
    pub jitter: Duration,
    /// Share of datagrams that arrive 20 ms after their followers, 0 to 1.
    pub reorder: f64,
    /// Bits per second that each direction carries; what does not fit into 300 ms is dropped.
    pub rate_bps: Option<u64>,
    /// Whole intervals without any datagram: start after the participant's join, and length.
    pub blackouts: Vec<(Duration, Duration)>,
    /// The server asks for lost packets again. `false` shows what the raw loss does.
    pub repair: bool,
    /// Single handshake datagrams to lose.
    pub drops: Vec<Drop>,
    /// Where the dice start; the same seed gives the same weather.
    pub seed: u64,
}

/// "The n-th datagram of ICE and DTLS in this direction is lost."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drop {
    /// Which way it goes.
    pub direction: Direction,
    /// What is counted.
    pub kind: DropKind,
    /// 1 is the first.
    pub nth: u32,
}

/// Seen from the participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the participant to the server.
    Up,
    /// From the server to the participant.
    Down,
}

/// Which datagrams a [`Drop`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropKind {
    /// Connectivity checks and DTLS together.
    Handshake,
    /// DTLS alone.
    Dtls,
}

/// Why a description of the weather makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WeatherError {
    /// A part that is no `key=value`.
    #[error("`{0}` is not of the form key=value")]
    NotAPair(String),
    /// A key that does not exist.
    #[error(
        "there is no weather called `{0}`; there are loss, delay, jitter, reorder, rate, blackout, drop, repair and seed"
    )]
    UnknownKey(String),
    /// A value out of shape or range.
    #[error("`{value}` cannot be a {key}: {expected}")]
    BadValue {
        /// Which key.
        key: String,
        /// What was given.
        value: String,
        /// What would do.
        expected: &'static str,
    },
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            loss: 0.0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            reorder: 0.0,
            rate_bps: None,
            blackouts: Vec::new(),
            repair: true,
            drops: Vec::new(),
            seed: 0,
        }
    }
}

impl Weather {
    /// Reads `loss=5%,delay=40ms,jitter=10ms,reorder=1%,rate=2M,blackout=3s+500ms,drop=up:dtls:2,repair=off,seed=7`.
    /// Every part may be missing; `blackout` and `drop` may stand more than once.
    pub fn parse(text: &str) -> Result<Self, WeatherError> {
        let mut weather = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| WeatherError::NotAPair(part.to_owned()))?;
            weather.set(key.trim(), value.trim())?;
        }
        Ok(weather)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), WeatherError> {
        let bad = |expected| WeatherError::BadValue { key: key.into(), value: value.into(), expected };
        let share = || read_share(value).ok_or_else(|| bad("a share such as 5% or 0.05"));
        let length =
            || read_duration(value).ok_or_else(|| bad("a time such as 40ms or 1.5s, at most an hour"));
        match key {
            "loss" => self.loss = share()?,
            "reorder" => self.reorder = share()?,
            "delay" => self.delay = length()?,
            "jitter" => self.jitter = length()?,
            "rate" => {
                self.rate_bps =
                    Some(read_rate(value).ok_or_else(|| bad("bits per second such as 800k or 2M"))?)
            }
            "seed" => self.seed = value.parse().map_err(|_| bad("a whole number"))?,
            "repair" => match value {
                "on" => self.repair = true,
                "off" => self.repair = false,
                _ => return Err(bad("on or off")),
            },
            "blackout" => {
                let span = value
                    .split_once('+')
                    .and_then(|(at, len)| Some((read_duration(at)?, read_duration(len)?)));
                self.blackouts.push(span.ok_or_else(|| bad("start+length such as 3s+500ms"))?);
            }
            "drop" => {
                self.drops.push(value.parse().map_err(|()| bad("up:2, down:1, up:dtls:2 or down:dtls:1"))?)
            }
            _ => return Err(WeatherError::UnknownKey(key.into())),
        }
        Ok(())
    }
}

impl FromStr for Weather {
    type Err = WeatherError;
    fn from_str(text: &str) -> Result<Self, WeatherError> {
        Self::parse(text)
    }
}

impl FromStr for Drop {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let parts: Vec<&str> = text.split(':').collect();
        let (direction, kind, nth) = match parts[..] {
            [direction, nth] => (direction, DropKind::Handshake, nth),
            [direction, "dtls", nth] => (direction, DropKind::Dtls, nth),
            _ => return Err(()),
        };
        let direction = match direction {
            "up" => Direction::Up,
            "down" => Direction::Down,
            _ => return Err(()),
        };
        let nth = nth.parse().ok().filter(|nth| *nth > 0).ok_or(())?;
        Ok(Self { direction, kind, nth })
    }
}

/// One direction of one link.
#[derive(Debug)]
pub struct Lane<T> {
    weather: Weather,
    direction: Direction,
    opened_at: Instant,
    dice: fastrand::Rng,
    /// In the order of arrival.
    waiting: VecDeque<(Instant, T)>,
    link_free_at: Instant,
    last_arrival: Instant,
    n_handshake: u32,
    n_dtls: u32,
    n_lost: u64,
}

impl<T> Lane<T> {
    /// A link that exists from `now` on. Equal seeds and inputs give equal outputs.
    pub fn new(weather: Weather, direction: Direction, now: Instant) -> Self {
        let dice = fastrand::Rng::with_seed(weather.seed.wrapping_mul(2).wrapping_add(direction as u64));
        Self {
            weather,
            direction,
            opened_at: now,
            dice,
            waiting: VecDeque::new(),
            link_free_at: now,
            last_arrival: now,
            n_handshake: 0,
            n_dtls: 0,
            n_lost: 0,
        }
    }

    /// Sends a datagram on its way. `bytes` is only looked at for its kind and length.
    pub fn push(&mut self, bytes: &[u8], item: T, now: Instant) {
        let fate = self.fate(bytes, now);
        let Some(arrival) = fate else {
            self.n_lost += 1;
            return;
        };
        let idx = self.waiting.partition_point(|(at, _)| *at <= arrival);
        self.waiting.insert(idx, (arrival, item));
    }

    /// The next datagram that has arrived by `now`.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        self.waiting.pop_front_if(|(at, _)| *at <= now).map(|(_, item)| item)
    }

    /// When the next datagram arrives.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.front().map(|(at, _)| *at)
    }

    /// How many datagrams the weather has swallowed.
    pub const fn n_lost(&self) -> u64 {
        self.n_lost
    }

    /// When the datagram arrives, if ever. The dice are thrown in the same number for every
    /// datagram, so that one fate does not change the next.
    fn fate(&mut self, bytes: &[u8], now: Instant) -> Option<Instant> {
        let (lost, late) = (self.dice.f64() < self.weather.loss, self.dice.f64() < self.weather.reorder);
        let jitter = self.weather.jitter.mul_f64(self.dice.f64());
        let listed = self.is_listed(bytes);
        let since = now.saturating_duration_since(self.opened_at);
        let dark = self.weather.blackouts.iter().any(|(at, len)| (*at..*at + *len).contains(&since));
        if lost || listed || dark {
            return None;
        }
        let mut arrival = now;
        if let Some(rate) = self.weather.rate_bps {
            let start = self.link_free_at.max(now);
            if start.duration_since(now) > QUEUE {
                return None;
            }
            let bits = u64::try_from(bytes.len()).unwrap_or(u64::MAX).saturating_mul(8);
            self.link_free_at = start + Duration::from_nanos(bits.saturating_mul(1_000_000_000) / rate);
            arrival = self.link_free_at;
        }
        arrival += self.weather.delay / 2 + jitter;
        if late {
            return Some(arrival + REORDER_BY);
        }
        self.last_arrival = self.last_arrival.max(arrival);
        Some(self.last_arrival)
    }

    fn is_listed(&mut self, bytes: &[u8]) -> bool {
        let (stun, dtls) = match bytes.first() {
            Some(0 | 1) => (true, false),
            Some(20..64) => (false, true),
            _ => return false,
        };
        self.n_handshake += u32::from(stun || dtls);
        self.n_dtls += u32::from(dtls);
        self.weather.drops.iter().any(|drop| {
            let n = match drop.kind {
                DropKind::Handshake => self.n_handshake,
                DropKind::Dtls if dtls => self.n_dtls,
                DropKind::Dtls => return false,
            };
            drop.direction == self.direction && drop.nth == n
        })
    }
}

fn read_share(text: &str) -> Option<f64> {
    let share: f64 = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().ok()? / 100.0,
        None => text.parse().ok()?,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

fn read_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let secs = number.parse::<f64>().ok()?
        * match unit {
            "ms" => 0.001,
            "s" => 1.0,
            _ => return None,
        };
    (0.0..=3600.0).contains(&secs).then(|| Duration::from_secs_f64(secs))
}

fn read_rate(text: &str) -> Option<u64> {
    let (number, factor) = match text.strip_suffix(['k', 'M']) {
        Some(number) if text.ends_with('k') => (number, 1000),
        Some(number) => (number, 1_000_000),
        None => (text, 1),
    };
    number.parse::<u64>().ok()?.checked_mul(factor).filter(|rate| *rate > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTP: [u8; 1000] = [0x80; 1000];

    /// Sends `n` datagrams one millisecond apart and returns which arrive, in order, with their delay.
    fn run(weather: &str, n: usize) -> Vec<(usize, Duration)> {
        let start = crate::emulator::test_start();
        let mut lane = Lane::new(Weather::parse(weather).expect(weather), Direction::Up, start);
        let mut arrived = Vec::new();
        let sent_at = |idx: usize| start + Duration::from_millis(u64::try_from(idx).expect("small"));
        for idx in 0..n + 2000 {
            let now = sent_at(idx);
            if idx < n {
                lane.push(&RTP, idx, now);
            }
            while let Some(item) = lane.pop(now) {
                arrived.push((item, now - sent_at(item)));
            }
        }
        arrived
    }

    #[test]
    fn reads_the_whole_language() {
        let text = "loss=5%, delay=40ms,jitter=1.5s,reorder=0.01,rate=2M,blackout=3s+500ms,drop=up:2,drop=down:dtls:1,repair=off,seed=7";
        let weather = Weather::parse(text).expect("all of it");
        assert_eq!(
            (weather.loss, weather.delay, weather.rate_bps),
            (0.05, Duration::from_millis(40), Some(2_000_000))
        );
        assert_eq!(weather.blackouts, [(Duration::from_secs(3), Duration::from_millis(500))]);
        let drops = [(Direction::Up, DropKind::Handshake, 2), (Direction::Down, DropKind::Dtls, 1)];
        assert_eq!(weather.drops, drops.map(|(direction, kind, nth)| Drop { direction, kind, nth }));
        assert!(!weather.repair && weather.seed == 7);
        assert_eq!(Weather::parse(""), Ok(Weather::default()));
    }

    #[test]
    fn nonsense_is_named() {
        for text in [
            "loss",
            "loss=101%",
            "delay=40",
            "delay=-1ms",
            "rate=0",
            "wind=3",
            "drop=up:0",
            "repair=maybe",
            "blackout=3s",
            "delay=2000000s",
            "loss=NaN",
        ] {
            let error = Weather::parse(text).expect_err(text);
            assert!(error.to_string().contains(text.split('=').next().expect("a key")), "{error}");
        }
    }

    #[test]
    fn loss_is_about_what_was_asked_and_the_same_every_time() {
        let arrived = run("loss=5%,seed=3", 10_000);
        assert!((9400..9600).contains(&arrived.len()), "{}", arrived.len());
        assert_eq!(arrived, run("loss=5%,seed=3", 10_000));
        assert_ne!(arrived, run("loss=5%,seed=4", 10_000));
    }

    #[test]
    fn delay_is_half_in_each_direction_and_jitter_keeps_the_order() {
        assert!(run("delay=40ms", 10).iter().all(|(_, delay)| *delay == Duration::from_millis(20)));
        let arrived = run("jitter=30ms,seed=1", 1000);
        assert!(arrived.is_sorted_by_key(|(idx, _)| *idx) && arrived.len() == 1000);
        assert!(arrived.iter().any(|(_, delay)| *delay > Duration::from_millis(20)));
    }

    #[test]
    fn reordering_reorders_and_loses_nothing() {
        let mut arrived: Vec<_> = run("reorder=10%,seed=1", 1000).into_iter().map(|(idx, _)| idx).collect();
        assert!(!arrived.is_sorted());
        arrived.sort_unstable();
        assert_eq!(arrived, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn a_rate_limit_carries_its_rate_and_queues_a_little() {
        // 1000 bytes per ms are 8 Mbit/s: four times too much for this link.
        let arrived = run("rate=2M", 1000);
        assert!((290..340).contains(&arrived.len()), "{}", arrived.len());
        assert!(arrived.iter().all(|(_, delay)| *delay <= QUEUE + Duration::from_millis(10)));
    }

    #[test]
    fn a_blackout_takes_everything_and_ends() {
        let arrived: Vec<_> = run("blackout=100ms+50ms", 200).into_iter().map(|(idx, _)| idx).collect();
        assert_eq!(arrived, (0..100).chain(150..200).collect::<Vec<_>>());
    }

    #[test]
    fn drops_hit_exactly_the_named_datagram() {
        let start = crate::emulator::test_start();
        let weather = Weather::parse("drop=up:2,drop=up:dtls:2,drop=down:1").expect("drops");
        let mut lane = Lane::new(weather, Direction::Up, start);
        for (idx, first) in [0_u8, 22, 0x80, 1, 22, 22].into_iter().enumerate() {
            lane.push(&[first], idx, start);
        }
        let arrived: Vec<_> = std::iter::from_fn(|| lane.pop(start)).collect();
        assert_eq!(arrived, [0, 2, 3, 5], "the second handshake datagram and the second DTLS one");
        assert_eq!(lane.n_lost(), 2);
    }
}
