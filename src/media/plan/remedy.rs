//! A plan → the command that makes a file which is copied.

use crate::media::source::STDIN;

use super::{Places, Plan, Refusal, TrackPlan};

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
    let stem = input.rsplit_once('.').filter(|(stem, tail)| !stem.is_empty() && !tail.contains('/'));
    let output = format!("{}-telecast.{extension}", stem.map_or(input, |(stem, _)| stem));
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

/// Quoted for a POSIX shell where needed, and never taken for an option.
fn shell_word(word: &str) -> String {
    let word = if word.starts_with('-') { format!("./{word}") } else { word.to_owned() };
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
