//! Media time ⇄ the time in which it is played: the same, unless somebody changes the speed.
//!
//! ```text
//! media  0 ────────── 10 s ──────── 20 s        at 100 % up to 10 s, at 200 % from there on
//! play   0 ────────── 10 s ── 15 s
//! ```

use std::collections::VecDeque;

use crate::time::MediaTime;

/// The slowest and the fastest that can be asked for, in percent.
pub const SPEEDS: std::ops::RangeInclusive<u16> = 50..=200;

/// So many changes of the speed are remembered: places before them have long been played.
const MAX_PACES: usize = 64;

/// From a place on, media goes by at this speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The place …
    pub media: MediaTime,
    /// … and when it is played.
    pub play: MediaTime,
    /// 100 is as recorded.
    pub percent: u16,
}

impl Pace {
    fn play_of(&self, media: MediaTime) -> MediaTime {
        self.play + (media - self.media).scaled(100, u32::from(self.percent))
    }

    fn media_of(&self, play: MediaTime) -> MediaTime {
        self.media + (play - self.play).scaled(u32::from(self.percent), 100)
    }
}

/// The way of an item since it began, or since it was last sought: there, both times are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paces(VecDeque<Pace>);

impl Default for Paces {
    fn default() -> Self {
        Self(VecDeque::from([Pace { media: MediaTime::ZERO, play: MediaTime::ZERO, percent: 100 }]))
    }
}

impl Paces {
    /// The latest.
    pub fn last(&self) -> Pace {
        *self.0.back().expect("there is always one")
    }

    /// Goes on at `place`, at the speed that it has.
    pub fn restart(&mut self, place: MediaTime) {
        let percent = self.last().percent;
        self.0.clear();
        self.0.push_back(Pace { media: place, play: place, percent });
    }

    /// From `media` on, which is not before the last change, it goes at another speed.
    pub fn change(&mut self, media: MediaTime, percent: u16) -> Pace {
        let last = self.last();
        let media = media.max(last.media);
        let pace = Pace { media, play: last.play_of(media), percent };
        self.push(pace);
        pace
    }

    /// Takes a change over.
    pub fn push(&mut self, pace: Pace) {
        if self.last().play >= pace.play {
            self.0.pop_back();
        } else if self.0.len() == MAX_PACES {
            self.0.pop_front();
        }
        self.0.push_back(pace);
    }

    /// When a place is played.
    pub fn play_of(&self, media: MediaTime) -> MediaTime {
        self.at(|pace| pace.media <= media).play_of(media)
    }

    /// What is played then.
    pub fn media_of(&self, play: MediaTime) -> MediaTime {
        self.at(|pace| pace.play <= play).media_of(play)
    }

    /// The speed at a place, in percent.
    pub fn percent_at(&self, media: MediaTime) -> u16 {
        self.at(|pace| pace.media <= media).percent
    }

    fn at(&self, has_begun: impl Fn(&Pace) -> bool) -> &Pace {
        let latest = self.0.iter().rev().find(|pace| has_begun(pace));
        latest.or_else(|| self.0.front()).expect("there is always one")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: i64) -> MediaTime {
        MediaTime::from_millis(millis)
    }

    #[test]
    fn both_ways_lead_to_the_same_place_through_every_change() {
        let mut paces = Paces::default();
        assert_eq!(paces.change(ms(10_000), 200), Pace { media: ms(10_000), play: ms(10_000), percent: 200 });
        assert_eq!(paces.change(ms(20_000), 50).play, ms(15_000));
        for (media, play) in [(-40, -40), (0, 0), (9_999, 9_999), (12_000, 11_000), (21_000, 17_000)] {
            assert_eq!((paces.play_of(ms(media)), paces.media_of(ms(play))), (ms(play), ms(media)));
        }
        paces.restart(ms(3_000));
        assert_eq!((paces.play_of(ms(4_000)), paces.percent_at(ms(4_000))), (ms(5_000), 50));
    }

    #[test]
    fn whoever_cannot_decide_costs_no_memory() {
        let mut paces = Paces::default();
        for n in 0..1000 {
            paces.change(ms(20 * n), if n % 2 == 0 { 75 } else { 150 });
        }
        assert_eq!(paces.0.len(), MAX_PACES);
        let place = ms(19_990);
        assert!((paces.media_of(paces.play_of(place)) - place).abs() <= MediaTime::from_nanos(10));
        paces.change(ms(30_000), 100);
        paces.change(ms(30_000), 125);
        assert_eq!(paces.last().percent, 125);
        assert_eq!(paces.percent_at(ms(29_990)), 150, "what was never heard of is gone");
    }
}
