//! What happens to programmes and calls → words for a person.

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

use crate::call::{CallEvent, CallStatus, ChatId, LeftReason, Property};
use crate::cli::{say, values};
use crate::player::{AfterFailure, EndReason, ItemError, PlayerEvent};

/// How a programme went.
pub(super) struct Outcome {
    pub(super) played: bool,
    pub(super) failure: Option<ItemError>,
}

/// Tells what a person may want to know of a programme, until it has ended.
///
/// # Errors
/// Why an item failed, when nothing is to be played after that.
pub(super) async fn until_ended(
    mut events: mpsc::Receiver<PlayerEvent>,
    stay: bool,
) -> Result<Outcome, ItemError> {
    let (mut played, mut failure) = (false, None);
    loop {
        match events.recv().await {
            Some(PlayerEvent::QueueEnded) if stay && played => {}
            Some(PlayerEvent::QueueEnded) | None => return Ok(Outcome { played, failure }),
            Some(PlayerEvent::ItemEnded {
                source, reason: EndReason::Failed, error: Some(error), ..
            }) => {
                say::remark(format_args!("cannot play {source}: {error}"));
                failure = Some(error);
            }
            Some(PlayerEvent::ItemFailed { source, error, policy, .. }) => match policy {
                AfterFailure::Retry { nth, of, pause } => {
                    let secs = pause.as_secs();
                    say::remark(format_args!(
                        "{source} failed: {error}; again in {secs} s (try {nth} of {of})"
                    ));
                }
                AfterFailure::Stop => return Err(error),
                AfterFailure::Skip => {}
            },
            Some(PlayerEvent::ItemStuck { item }) => {
                say::remark(format_args!("nothing has come of item {item} for 3 s; it is waited for"));
            }
            Some(PlayerEvent::PicturesNotTaken { item, codec }) => {
                say::remark(format_args!(
                    "the pictures of item {item} are {}, which a chat does not take: sound only there",
                    codec.spelled()
                ));
            }
            Some(PlayerEvent::ItemStarted { source, .. }) => {
                played = true;
                say::remark(format_args!("playing {source}"));
            }
            Some(_) => {}
        }
    }
}

/// What ended a call that nobody here has ended.
pub(super) const fn why(reason: &LeftReason) -> &'static str {
    match reason {
        LeftReason::Discarded => "the video chat was ended; with --start, `telecast play` begins another",
        LeftReason::Kicked => {
            "an admin has removed this account from the video chat; ask one before coming back"
        }
        LeftReason::Elsewhere => {
            "this account has joined from another device or program, and it can be in a video chat once; \
             end that one, or use another account"
        }
        LeftReason::Empty => "nobody else was there any more",
        _ => "the call is over",
    }
}

/// Tells what a person may want to know of a call.
pub(super) async fn watch(chat: ChatId, mut events: broadcast::Receiver<CallEvent>) {
    // The first word may have been said before anybody listened.
    let mut last = CallStatus::Joining.word().to_owned();
    say::remark(format_args!("{chat}: {last}"));
    loop {
        let text = match events.recv().await {
            Ok(CallEvent::Status(status)) => status.word().to_owned(),
            Ok(CallEvent::FloodWait { wait }) => {
                format!("Telegram asks to wait {} s before joining", wait.as_secs())
            }
            Ok(CallEvent::Waiting { until }) => {
                format!(
                    "waits for the video chat, which is to begin at {}; --start begins it now, if this account may",
                    values::moment(until)
                )
            }
            Ok(CallEvent::Retrying { why, .. }) => format!("trying again, because {why}"),
            Ok(CallEvent::Alone { leaves_in }) => {
                format!("nobody else is here; leaves in {} s", leaves_in.as_secs())
            }
            Ok(CallEvent::MutedByAdmin { muted: true }) => {
                "muted by an admin; nobody hears anything until one allows it".to_owned()
            }
            Ok(CallEvent::MutedByAdmin { muted: false }) => "an admin allows to speak".to_owned(),
            Ok(CallEvent::CameraNotAllowed { limit }) => no_camera(limit),
            Ok(CallEvent::EditRefused { property, error }) => {
                format!("{} could not be switched: {error}", thing(property))
            }
            Ok(CallEvent::VideoNotAccepted { .. }) => "neither H.264 nor VP8 here, sound only".to_owned(),
            Ok(_) | Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        if text != last {
            say::remark(format_args!("{chat}: {text}"));
            last = text;
        }
    }
}

fn no_camera(limit: Option<u32>) -> String {
    let of = limit.map_or_else(String::new, |limit| format!(" of at most {limit}"));
    format!("there is no room for one more camera{of}; sound only, until another is switched off")
}

const fn thing(property: Property) -> &'static str {
    match property {
        Property::Microphone => "the microphone",
        Property::Camera => "the camera",
        Property::Hand => "the raised hand",
    }
}
