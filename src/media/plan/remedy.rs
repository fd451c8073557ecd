//! A plan → the command that makes a file which is copied.

use crate::media::source::{STDIN, is_address};

use super::{Places, Plan, PlanOptions, Refusal, TrackPlan};

/// The command that writes a file which is copied from then on, of the wanted tracks and size.
///
/// [`remedy`] where `telecast prepare` does not do it: for standard input, and where pictures with
/// B-frames are not decoded. `None` where a wanted track is not there.
pub(in crate::media) fn command(input: &str, plan: &Plan, wanted: &PlanOptions) -> Option<String> {
    let is_missing = |choice: bool, plan: &TrackPlan| choice && matches!(plan, TrackPlan::None { .. });
    if is_missing(wanted.audio_track.is_some(), &plan.audio)
        || is_missing(wanted.video_track.is_some(), &plan.video)
    {
        return None;
    }
    let is_undecoded = matches!(plan.video, TrackPlan::Refused { refusal: Refusal::BFrames, .. });
    let otherwise = remedy(input, plan)?;
    if input == STDIN || is_undecoded {
        return Some(otherwise);
    }
    let mut options = String::new();
    let mut add = |name: &str, value: Option<String>| {
        options.extend(value.map(|value| format!("--{name} {value} ")));
    };
    add("height", wanted.pictures.height.map(|height| height.to_string()));
    add("video-track", wanted.video_track.map(|track| track.to_string()));
    add("audio-track", wanted.audio_track.map(|track| track.to_string()));
    Some(format!("telecast prepare {options}{} {}", shell_word(input), shell_word(&beside(input, "mp4"))))
}

/// The `ffmpeg` command that writes a copy of `input` which is copied from then on.
///
/// What comes through a pipe is converted on the way. Keyframes every two seconds, so that nobody waits long for a picture. `None` when there is
/// nothing in the file to keep, or a chat takes no H.264.
pub fn remedy(input: &str, plan: &Plan) -> Option<String> {
    let video = match &plan.video {
        TrackPlan::Card { .. } | TrackPlan::None { .. } => None,
        TrackPlan::Copy { .. } => Some("-c:v copy".to_owned()),
        // No file that is copied everywhere is copied here.
        TrackPlan::Refused { refusal: Refusal::NotTaken { .. }, .. } => return None,
        TrackPlan::Refused { refusal, .. } => {
            Some(encode_h264(matches!(refusal, Refusal::Interlaced), plan.is_square))
        }
        TrackPlan::Transcode { .. } => Some(encode_h264(false, plan.is_square)),
    };
    let audio = match &plan.audio {
        TrackPlan::Card { .. } | TrackPlan::None { .. } => None,
        TrackPlan::Copy { .. } => Some("-c:a copy"),
        TrackPlan::Transcode { .. } | TrackPlan::Refused { .. } => Some("-c:a libopus -b:a 128k -ac 2"),
    };
    let (extension, piped) = match (&video, audio) {
        (None, None) => return None,
        (Some(_), _) => ("mp4", "matroska"),
        (None, Some(_)) => ("ogg", "ogg"),
    };
    let output = beside(input, extension);
    let tracks = match (plan.places, &video, audio) {
        (Places { audio: None, video: None }, ..) => String::new(),
        (places, video, audio) => {
            let video = video.as_ref().map(|_| Places::ffmpeg('V', places.video));
            let audio = audio.map(|_| Places::ffmpeg('a', places.audio));
            video.into_iter().chain(audio).map(|track| format!("-map {track} ")).collect()
        }
    };
    let video = video.as_deref().unwrap_or("-vn");
    let audio = audio.unwrap_or("-an");
    if input == STDIN {
        return Some(format!("ffmpeg -i - {tracks}{video} {audio} -f {piped} -"));
    }
    Some(format!("ffmpeg -i {} {tracks}{video} {audio} {}", shell_word(input), shell_word(&output)))
}

/// The name of what is written: beside the source, or here where that is an address.
fn beside(input: &str, extension: &str) -> String {
    let place = if is_address(input) {
        let path = input.split(['?', '#']).next().unwrap_or(input);
        path.rsplit('/').find(|part| !part.is_empty()).unwrap_or("source")
    } else {
        input
    };
    let stem = place.rsplit_once('.').filter(|(stem, tail)| !stem.is_empty() && !tail.contains('/'));
    format!("{}-telecast.{extension}", stem.map_or(place, |(stem, _)| stem))
}

/// Makes pixels square.
const SQUARE: &str = "scale=trunc(iw*sar/2)*2:trunc(ih/2)*2,setsar=1";

/// The part of an `ffmpeg` command that encodes pictures which can be copied.
fn encode_h264(interlaced: bool, is_square: bool) -> String {
    let filter = match (interlaced, is_square) {
        (false, true) => String::new(),
        (true, true) => "-vf bwdif ".to_owned(),
        (false, false) => format!("-vf '{SQUARE}' "),
        (true, false) => format!("-vf 'bwdif,{SQUARE}' "),
    };
    format!("{filter}-c:v libx264 -bf 0 -pix_fmt yuv420p -force_key_frames 'expr:gte(t,2*n_forced)'")
}

/// Quoted for a POSIX shell where needed, and never taken for an option or, with its colon, for an
/// address.
fn shell_word(word: &str) -> String {
    let has_scheme = || word.split('/').next().is_some_and(|part| part.contains(':'));
    let is_odd = word.starts_with('-') || (has_scheme() && !is_address(word));
    let word = if is_odd { format!("./{word}") } else { word.to_owned() };
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
