//! What can be played: a file, or frames that a program makes itself.

use std::fmt;
use std::sync::Arc;

use crate::media::pace::Pace;
use crate::media::plan::VideoCodecs;
use crate::media::{Frame, MediaError};
use crate::time::MediaTime;

/// One entry of a queue before it is loaded. Cheap to clone; opened anew for every play.
#[derive(Clone)]
pub struct Item {
    source: Arc<str>,
    open: Opener,
    start_at: MediaTime,
    stop_at: Option<MediaTime>,
    /// What those take who will see it.
    codecs: VideoCodecs,
}

type Opened = Result<Box<dyn FrameReader>, ItemError>;

/// How a reader is made.
#[derive(Clone)]
enum Opener {
    /// Its pictures are what they are.
    Fixed(Arc<dyn Fn() -> Opened + Send + Sync>),
    /// They can be had in one of these codecs.
    Adapting(Arc<dyn Fn(VideoCodecs) -> Opened + Send + Sync>),
}

impl Item {
    /// Frames that a program makes itself.
    ///
    /// `open` runs on the item's own thread, once per play (again for every round of a loop, and
    /// ahead of time when the item is next). `source` is how events and statistics name it.
    pub fn from_reader<F>(source: impl Into<Arc<str>>, open: F) -> Self
    where
        F: Fn() -> Result<Box<dyn FrameReader>, ItemError> + Send + Sync + 'static,
    {
        Self::new(source.into(), Opener::Fixed(Arc::new(open)))
    }

    /// The same where the pictures can be had in one of several codecs.
    pub(super) fn adapting<F>(source: impl Into<Arc<str>>, open: F) -> Self
    where
        F: Fn(VideoCodecs) -> Result<Box<dyn FrameReader>, ItemError> + Send + Sync + 'static,
    {
        Self::new(source.into(), Opener::Adapting(Arc::new(open)))
    }

    fn new(source: Arc<str>, open: Opener) -> Self {
        Self { source, open, start_at: MediaTime::ZERO, stop_at: None, codecs: VideoCodecs::ALL }
    }

    /// Begins there instead of at the beginning, or at the nearest place before it where pictures
    /// can begin; in every round of a loop.
    #[must_use]
    pub fn start_at(self, start_at: MediaTime) -> Self {
        Self { start_at: start_at.max(MediaTime::ZERO), ..self }
    }

    /// Ends there, if not earlier: no frame that begins there or later is played.
    #[must_use]
    pub fn stop_at(self, stop_at: MediaTime) -> Self {
        Self { stop_at: Some(stop_at), ..self }
    }

    pub(super) fn bounds(&self) -> (MediaTime, Option<MediaTime>) {
        (self.start_at, self.stop_at)
    }

    /// How events and statistics name it: the path, for a file.
    pub fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// How its tracks would be played. Opens it, which may take its time; what has been
    /// [opened](Self::opened) is used up by that, and opened anew to be played.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn plan(&self) -> Result<ItemPlan, ItemError> {
        Ok(self.open()?.plan())
    }

    /// Opens it from now on for those who take these.
    pub(super) fn taken_in(self, codecs: VideoCodecs) -> Self {
        Self { codecs, ..self }
    }

    /// What it is opened for, where that makes a difference.
    pub(super) fn codecs(&self) -> Option<VideoCodecs> {
        matches!(self.open, Opener::Adapting(_)).then_some(self.codecs)
    }

    pub(super) fn open(&self) -> Result<Box<dyn FrameReader>, ItemError> {
        match &self.open {
            Opener::Fixed(open) => open(),
            Opener::Adapting(open) => open(self.codecs),
        }
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Item").field(&self.source).finish()
    }
}

/// Where the frames of one loaded item come from. Runs on a thread of its own and may block.
pub trait FrameReader: Send {
    /// What is played of it and how; asked after opening and, since a reader may change its mind
    /// (never about which tracks there are), every now and then.
    fn plan(&self) -> ItemPlan;

    /// How long it is, where known.
    fn duration(&self) -> Option<MediaTime>;

    /// The next frame; `Ok(None)` is the end. Tracks are interleaved roughly by time, and within
    /// a track `pts` rises. Sound comes in frames of 20 ms.
    ///
    /// # Errors
    /// When nothing more can be read from here on; what came before still plays.
    fn next_frame(&mut self) -> Result<Option<Frame>, ItemError>;

    /// Goes to `to` or to the nearest place before it where every track can begin, and returns
    /// that place: frames that end before it are thrown away, playing goes on there. Also
    /// possible after the end.
    ///
    /// # Errors
    /// When the item cannot be read there.
    fn seek(&mut self, to: MediaTime) -> Result<MediaTime, ItemError>;

    /// How loud frames read from now on are: 1.0 is as recorded.
    fn set_volume(&mut self, gain: f32);

    /// How fast frames read from now on go by, in percent; the pitch of the sound stays. `None` when
    /// they go by as recorded whatever is asked for. Else their `pts` are, from the place that is
    /// returned on, the times at which they are played, and after a seek these begin anew at the
    /// place that it found. Places that are sought stay those of the recording.
    fn set_speed(&mut self, _percent: u16) -> Option<Pace> {
        None
    }

    /// A viewer waits for a keyframe: whoever encodes makes the next picture one.
    fn request_keyframe(&mut self) {}

    /// The item plays at `position`, which is a `pts`, a little before what is read: what would come too late need
    /// not be made any more.
    fn set_position(&mut self, _position: MediaTime) {}
}

/// How the tracks of an item are played, in words: `copy`, `transcode: aac` …
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ItemPlan {
    /// The sound; `None` when there is none.
    pub audio: Option<String>,
    /// The picture; `None` when there is none.
    pub video: Option<String>,
}

impl ItemPlan {
    /// A plan from its words.
    pub fn new(audio: Option<String>, video: Option<String>) -> Self {
        Self { audio, video }
    }
}

/// Why an item cannot be played, or not further.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ItemError {
    /// The file cannot be opened, or not be used further.
    #[error(transparent)]
    Media(Arc<MediaError>),
    /// A program's own reader gave up.
    #[error("the item's reader failed")]
    Reader(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// It could be opened and is empty.
    #[error("there is nothing to play: neither sound nor pictures")]
    NoFrames,
    /// The reader's thread ended before the item did: a bug in a decoder or in the reader.
    #[error("the item's reader crashed; the other items play on")]
    Crashed,
    /// The system gives no more threads.
    #[error("cannot start a thread for the item; too many run already")]
    Thread(#[source] Arc<std::io::Error>),
}

impl ItemError {
    /// Wraps the failure of a program's own reader.
    pub fn reader(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Reader(Arc::new(cause))
    }
}

impl From<MediaError> for ItemError {
    fn from(error: MediaError) -> Self {
        Self::Media(Arc::new(error))
    }
}
