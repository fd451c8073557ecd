//! A programme: queue → frames with a due time, for any number of calls.

use std::sync::Arc;
use std::time::Instant;

use crate::media::Frame;
use crate::time::MediaTime;

/// Names one entry of the queue for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemId(pub u64);

/// A frame placed on the programme's clock.
///
/// The programme's clock starts when the programme starts and never stops, pauses or jumps:
/// not at a pause, not between items. RTP timestamps follow it, so they belong to the
/// stream and not to the song.
#[derive(Clone, Debug)]
pub struct DueFrame {
    /// The item it comes from; `None` for silence between items.
    pub item: Option<ItemId>,
    /// When on the programme's clock. Audio: a whole number of 20 ms steps.
    pub at: MediaTime,
    /// When on the wall: the first packet leaves at this instant.
    pub due: Instant,
    /// What to send.
    pub frame: Frame,
}

/// How frames travel from the programme to the calls: shared, never copied.
pub type SharedFrame = Arc<DueFrame>;
