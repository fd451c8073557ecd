//! Files as items: the media layer's reader in the shape that a programme wants.

use std::path::PathBuf;
use std::sync::Arc;

use super::item::{FrameReader, Item, ItemError, ItemPlan};
use crate::media::plan::TrackPlan;
use crate::media::{Frame, Reader, ReaderOptions};
use crate::time::MediaTime;

impl Item {
    /// A file, read anew for every play.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::file_with(path, ReaderOptions::default())
    }

    /// A file, with options such as which tracks are wanted.
    pub fn file_with(path: impl Into<PathBuf>, options: ReaderOptions) -> Self {
        let path: PathBuf = path.into();
        let source: Arc<str> = Arc::from(path.to_string_lossy());
        Self::from_reader(source, move || {
            let reader = Reader::open(&path, options).map_err(ItemError::reader)?;
            Ok(Box::new(reader))
        })
    }
}

impl FrameReader for Reader {
    fn plan(&self) -> ItemPlan {
        let words = |plan: &TrackPlan| plan.played_track().map(|_| plan.to_string());
        ItemPlan::new(words(&self.plan().audio), words(&self.plan().video))
    }

    fn duration(&self) -> Option<MediaTime> {
        Self::duration(self)
    }

    fn next_frame(&mut self) -> Result<Option<Frame>, ItemError> {
        Self::next_frame(self).map_err(ItemError::reader)
    }

    fn seek(&mut self, to: MediaTime) -> Result<MediaTime, ItemError> {
        Self::seek(self, to).map_err(ItemError::reader)
    }

    fn set_volume(&mut self, gain: f32) {
        Self::set_volume(self, gain);
    }
}
