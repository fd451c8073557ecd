//! Frames of the programme → whether a camera should be shown.
//!
//! An item has pictures as soon as one of them comes, and none when its sound has gone on alone
//! for a while: some begin with sound only, and slide shows have a picture now and then. Silence
//! between items, or in a pause, is waited out for longer.

use std::time::{Duration, Instant};

use crate::media::MediaKind;
use crate::player::ItemId;

/// An item without a picture by then has none.
const NO_PICTURES_AFTER: Duration = Duration::from_secs(2);
/// A pause that long hides the camera.
const PAUSE_HIDES_AFTER: Duration = Duration::from_secs(10);

/// What has been seen of the present item.
#[derive(Debug, Default)]
pub(super) struct Pictures {
    item: Option<ItemId>,
    seen: bool,
    since: Option<Instant>,
}

impl Pictures {
    /// A frame, ahead of its time. Says whether a camera should be shown, as far as that is
    /// clear now.
    pub(super) fn handle_frame(
        &mut self,
        kind: MediaKind,
        item: Option<ItemId>,
        now: Instant,
    ) -> Option<bool> {
        if self.item != item || self.since.is_none() {
            *self = Self { item, seen: false, since: Some(now) };
        }
        if kind == MediaKind::Video {
            self.seen = true;
            return Some(true);
        }
        let patience = if item.is_some() { NO_PICTURES_AFTER } else { PAUSE_HIDES_AFTER };
        let over = self.since.is_some_and(|since| now >= since + patience);
        (over && !self.seen).then_some(false)
    }

    /// There was no connection: how long nothing was seen counts anew.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUSIC: Option<ItemId> = Some(ItemId(1));
    const CLIP: Option<ItemId> = Some(ItemId(2));

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an arbitrary origin for a clock of our own")]
    fn the_camera_follows_the_items() {
        let (mut pictures, start) = (Pictures::default(), Instant::now());
        let mut at =
            |secs: u64, kind, item| pictures.handle_frame(kind, item, start + Duration::from_secs(secs));
        use MediaKind::{Audio, Video};
        assert_eq!(at(0, Audio, MUSIC), None);
        assert_eq!(at(1, Audio, MUSIC), None, "it may begin without");
        assert_eq!(at(2, Audio, MUSIC), Some(false));
        assert_eq!(at(3, Video, CLIP), Some(true));
        assert_eq!(at(60, Audio, CLIP), None, "a slide show keeps its camera");
        assert_eq!(at(61, Audio, None), None);
        assert_eq!(at(70, Audio, None), None, "a short pause");
        assert_eq!(at(71, Audio, None), Some(false));
        assert_eq!(at(72, Audio, CLIP), None);
        assert_eq!(at(72, Video, CLIP), Some(true));
        pictures.restart();
        assert_eq!(pictures.handle_frame(Audio, MUSIC, start + Duration::from_secs(100)), None);
    }
}
