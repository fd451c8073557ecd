//! A question about a source → what `ffprobe` says, which comes with FFmpeg; nothing where it fails.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read as _;
use std::process::{Command, Stdio};

use super::pipe::{Output, Running};
use super::{Wanted, named, source_arguments};
use crate::media::child::Child;
use crate::media::plan::{TrackChoice, is_same_language};
use crate::media::source::is_address;
use crate::time::MediaTime;

/// More than any honest answer has.
const MAX_ANSWER: u64 = 64 << 10;

/// How long a file is.
pub(super) fn duration(wanted: &Wanted) -> Option<MediaTime> {
    if wanted.input.to_str().is_some_and(is_address) {
        return None;
    }
    let text = ask(wanted, &["-show_entries", "format=duration"], vec![named(&wanted.input)])?;
    let seconds: f64 = text.trim().parse().ok()?;
    let nanos = (seconds * 1e9).clamp(0.0, 1e18);
    Some(MediaTime::from_nanos(nanos as i64))
}

/// The number of the first track in a language.
/// Any other choice stays as it is, and so does one that nothing is found for.
pub(super) fn numbered(wanted: &Wanted, kind: &str, choice: Option<TrackChoice>) -> Option<TrackChoice> {
    let Some(language @ TrackChoice::Language(_)) = choice else { return choice };
    let question = ["-select_streams", kind, "-show_entries", "stream=index:stream_tags=language"];
    let mut place = source_arguments(&wanted.input, &wanted.source);
    place.insert(place.len() - 1, "-i".into());
    let first = ask(wanted, &question, place).and_then(|text| first_in(&text, &language.to_string()));
    first.map(TrackChoice::Number).or(choice)
}

/// Counted from 1: which of the tracks has this language. A line is an index, and perhaps a language;
/// tracks of a program are told twice.
fn first_in(text: &str, language: &str) -> Option<u16> {
    let mut tracks: BTreeMap<u16, bool> = BTreeMap::new();
    for line in text.lines() {
        let line = line.trim();
        let (index, said) = line.split_once(',').unwrap_or((line, ""));
        if let Ok(index) = index.parse() {
            *tracks.entry(index).or_default() |= is_same_language(said, language);
        }
    }
    let place = tracks.values().position(|is_in_it| *is_in_it)?;
    u16::try_from(place + 1).ok()
}

/// Waits for the answer no longer than for FFmpeg itself.
fn ask(wanted: &Wanted, question: &[&str], place: Vec<OsString>) -> Option<String> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-of", "csv=p=0"]).args(question).args(place);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Child::spawn(command).ok()?;
    let stdout = child.take_stdout().expect("it was asked for");
    let running = Running::new(child);
    let output = Output::new(stdout, running.clone(), wanted.patience, wanted.opening.clone());
    let mut text = String::new();
    output.take(MAX_ANSWER).read_to_string(&mut text).ok()?;
    running.end().success().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_track_in_a_language_has_a_number() {
        let text = "1,eng\n2\n3,DEU\n\n4,deu\n";
        assert_eq!(first_in(text, "deu"), Some(3));
        assert_eq!(first_in(text, "eng"), Some(1));
        assert_eq!(first_in(text, "ger"), Some(3), "by its other name");
        assert_eq!(first_in("1\n2\n3\n\n1,eng\n2,deu\n3,deu\n", "deu"), Some(2));
        assert_eq!((first_in(text, "fra"), first_in("", "eng")), (None, None));
    }
}
