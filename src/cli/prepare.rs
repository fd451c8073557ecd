//! `telecast prepare`: writes once what is copied for ever after, a file or a whole folder.

mod bar;
mod batch;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::exit::{Because, Exit};
use super::{say, stop};
use crate::media::MediaError;
use crate::media::plan::ENCODED_HEIGHT;
use crate::media::prepare::{self, Options, PrepareError, Prepared};
use crate::media::source::{self, is_address, list};
use bar::Bar;

/// Write a file that plays without any work: H.264 with a keyframe every second or two, Opus at
/// -16 LUFS, the index in front. What is right already is copied.
///
/// A folder becomes a folder: every medium in it is written under its own name, what is there
/// already and not older than its source is left alone, and what fails does not stop the others.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  telecast prepare film.avi film.mp4
  telecast prepare --height 480 --keyframes 1s film.mkv small.mp4
  telecast prepare --audio-track deu film.mkv film-de.mp4
  telecast prepare --json talk.mov talk.mkv
  telecast prepare film.avi ready/   as ready/film.mp4
  telecast prepare films/ ready/     and after an interruption the same again")]
pub(super) struct PrepareArgs {
    /// A file, an address, or a folder
    input: PathBuf,

    /// An .mp4 or .mkv, which appears whole or not at all, or a folder for it; for a folder, a folder
    output: PathBuf,

    /// What is written into a folder
    #[arg(long, value_enum, default_value = "mp4", value_name = "FORMAT")]
    to: Container,

    /// Height at most, as in 480p: larger pictures are made smaller, none becomes larger; calls take
    /// up to 1080p, and with 1080 what is right already is copied up to that
    #[arg(long, value_name = "PIXELS", default_value_t = ENCODED_HEIGHT, value_parser = clap::value_parser!(u32).range(16..=2160))]
    height: u32,

    /// How often there is a keyframe, which is how long somebody who joins waits for a picture at most
    #[arg(long, value_enum, default_value = "2s", value_name = "DURATION")]
    keyframes: Keyframes,

    #[command(flatten)]
    tracks: super::sources::TrackArgs,

    /// JSON instead of text: one object, for a folder one for each file
    #[arg(long)]
    json: bool,
}

impl PrepareArgs {
    fn options(&self) -> Options {
        let key_every = match self.keyframes {
            Keyframes::EverySecond => Duration::from_secs(1),
            Keyframes::EveryTwo => Duration::from_secs(2),
        };
        let (audio_track, video_track) = (self.tracks.audio_track, self.tracks.video_track);
        let (height, source) = (Some(self.height), self.tracks.source());
        Options { source, audio_track, video_track, height, key_every, ..Options::default() }
    }

    /// Whether the output is a folder, or is written like one.
    fn is_into_folder(&self) -> bool {
        self.output.is_dir() || self.output.to_string_lossy().ends_with(std::path::is_separator)
    }

    /// Where a single file is written to: in a folder it keeps its name.
    fn output_of_one(&self) -> PathBuf {
        if !self.is_into_folder() {
            return self.output.clone();
        }
        let input = self.input.to_string_lossy();
        let name = match input.split(['?', '#']).next() {
            Some(address) if is_address(&input) => Path::new(address).file_name(),
            _ => self.input.file_name(),
        };
        self.output.join(name.unwrap_or_default()).with_extension(self.to.extension())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Keyframes {
    /// Sooner a picture, for some more bytes
    #[value(name = "1s")]
    EverySecond,
    /// What most people do not notice
    #[value(name = "2s")]
    EveryTwo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Container {
    /// MPEG-4
    Mp4,
    /// Matroska
    Mkv,
}

impl Container {
    const fn extension(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Mkv => "mkv",
        }
    }
}

pub(super) fn run(args: &PrepareArgs) -> anyhow::Result<Exit> {
    // Its threads look for signals while this one works.
    let runtime = super::runtime()?;
    let stop = runtime.block_on(async { stop::on_interrupt() })?;
    if args.input.is_dir() { batch::run(args, &stop) } else { run_one(args, &stop) }
}

fn run_one(args: &PrepareArgs, stop: &CancellationToken) -> anyhow::Result<Exit> {
    check_input(&args.input)?;
    let (input, output) = (&args.input, args.output_of_one());
    let prepared = match write(args, input, &output, String::new(), stop) {
        Err(PrepareError::Stopped { .. }) => {
            say::remark("stopped; nothing was written");
            if args.json {
                say::result(json!({ "input": input, "output": output, "result": "stopped" }))?;
            }
            return Ok(Exit::Interrupted);
        }
        prepared => prepared.map_err(as_media)?,
    };
    if args.json {
        say::result(serde_json::to_string(&prepared)?)?;
    } else {
        say::result(format_args!("{}: {}", prepared.output.display(), describe(&prepared)))?;
    }
    Ok(Exit::Ok)
}

/// Refuses what is neither a file nor an address of one.
fn check_input(input: &Path) -> anyhow::Result<()> {
    // Also with a mistake in what follows.
    if !matches!(source::test(input), Ok(None)) {
        let text = "`test:` is made while it plays, there is nothing to prepare";
        return Err(Because(Exit::Usage, text.into()).into());
    }
    if list::expand(input).map_err(MediaError::from)? != [input] {
        let text = "a playlist is not prepared as one file; prepare its files, or a folder of them";
        return Err(Because(Exit::Usage, text.into()).into());
    }
    Ok(())
}

/// Writes one file, and shows beside `what` how far it has come. What is told of it is rounded.
fn write(
    args: &PrepareArgs,
    input: &Path,
    output: &Path,
    what: String,
    stop: &CancellationToken,
) -> Result<Prepared, PrepareError> {
    if stop.is_cancelled() {
        return Err(PrepareError::Stopped { output: output.to_path_buf() });
    }
    let mut bar = Bar::new(what);
    let prepared = prepare::prepare(input, output, &args.options(), |at, total| {
        bar.show(at, total);
        if stop.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.clear();
    prepared.map(rounded)
}

/// Its numbers as exact as anybody hears them.
fn rounded(prepared: Prepared) -> Prepared {
    let tenths = |number: f64| (number * 10.0).round() / 10.0;
    let (loudness_lufs, gain_db) = (prepared.loudness_lufs.map(tenths), tenths(prepared.gain_db));
    Prepared { loudness_lufs, gain_db, ..prepared }
}

/// What cannot be played has an exit code of its own, and so have names that cannot be meant.
fn as_media(error: PrepareError) -> anyhow::Error {
    match error {
        PrepareError::Media(error) => error.into(),
        wrong @ (PrepareError::Container { .. }
        | PrepareError::Stdin { .. }
        | PrepareError::Same { .. }
        | PrepareError::NoFolder { .. }) => Because(Exit::Usage, wrong.to_string()).into(),
        wrong @ PrepareError::NoTrack { .. } => Because(Exit::Media, wrong.to_string()).into(),
        other => other.into(),
    }
}

fn describe(prepared: &Prepared) -> String {
    let loudness = prepared.loudness_lufs.map_or_else(String::new, |loudness| {
        format!(", was {loudness:.1} LUFS, changed by {:+.1} dB", prepared.gain_db)
    });
    let damage = prepared.damage.as_ref().map_or_else(String::new, |damage| format!("; damaged: {damage}"));
    format!("picture: {}, sound: {}{loudness}{damage}", prepared.video, prepared.audio)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use clap::Parser;

    use super::*;
    use crate::cli::exit;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: PrepareArgs,
    }

    /// What a command line says.
    pub(super) fn args(input: impl AsRef<OsStr>, output: impl AsRef<OsStr>, more: &[&str]) -> PrepareArgs {
        let names = [OsStr::new("prepare"), input.as_ref(), output.as_ref()];
        let words = names.into_iter().chain(more.iter().map(OsStr::new));
        Command::try_parse_from(words).unwrap().args
    }

    /// The exit code and the words.
    fn refused(input: &Path, output: &Path) -> (Exit, String) {
        let go_on = |_, _| ControlFlow::Continue(());
        let error = as_media(prepare::prepare(input, output, &Options::default(), go_on).unwrap_err());
        (exit::code(&error), error.to_string())
    }

    #[test]
    fn names_that_cannot_be_meant_are_refused_with_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("inner")).unwrap();
        let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/long-gop.mp4");
        let source = dir.path().join("a.mp4");
        std::fs::copy(&clip, &source).unwrap();
        for spelling in ["a.mp4", "./a.mp4", "inner/../a.mp4"] {
            let (code, words) = refused(&source, &dir.path().join(spelling));
            assert!(words.ends_with("give the output another name"), "{words}");
            assert_eq!(code, Exit::Usage);
        }
        assert_eq!(std::fs::read(&source).unwrap(), std::fs::read(&clip).unwrap(), "nobody touched it");
        let (code, words) = refused(Path::new("-"), &dir.path().join("out.mp4"));
        assert!(words.contains("write it into a file first"), "{words}");
        assert_eq!(code, Exit::Usage);
        let (code, words) = refused(&source, &dir.path().join("none/out.mp4"));
        assert!(words.contains("none does not exist; make it first: `mkdir -p "), "{words}");
        assert_eq!(code, Exit::Usage);
        assert_eq!(refused(&source, &dir.path().join("out.ogg")).0, Exit::Usage);
    }

    #[test]
    fn what_is_no_single_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("list.m3u8");
        let refused = |input: &Path| {
            let error = check_input(input).unwrap_err();
            (exit::code(&error), error.to_string())
        };
        std::fs::write(&list, "a.mp4\n").unwrap();
        let (code, words) = refused(&list);
        assert!(words.ends_with("prepare its files, or a folder of them"), "{words}");
        assert_eq!(code, Exit::Usage);
        std::fs::write(&list, "# nothing yet\n").unwrap();
        assert_eq!(refused(&list).0, Exit::Media);
        std::fs::write(&list, "#EXTM3U\n#EXT-X-TARGETDURATION:6\nseg0.ts\n").unwrap();
        check_input(&list).expect("a stream in pieces is one file");
        for test in ["test:", "test:320x180@10", "test:nonsense"] {
            let (code, words) = refused(Path::new(test));
            assert!(words.contains("there is nothing to prepare"), "{words}");
            assert_eq!(code, Exit::Usage);
        }
        for fine in ["-", "film.avi", "https://host/list.m3u"] {
            check_input(Path::new(fine)).unwrap();
        }
    }

    #[test]
    fn in_a_folder_a_file_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let ready = dir.path().join("dir.mp4");
        let mkv = ["--to", "mkv"];
        assert_eq!(args("in/film.avi", &ready, &mkv).output_of_one(), ready, "there is no such folder yet");
        std::fs::create_dir(&ready).unwrap();
        assert_eq!(args("in/film.avi", &ready, &[]).output_of_one(), ready.join("film.mp4"));
        assert_eq!(args("film.one.MP4", &ready, &mkv).output_of_one(), ready.join("film.one.mkv"));
        assert_eq!(args("film.avi", "none/", &[]).output_of_one(), Path::new("none/film.mp4"));
        let address = "https://host/a/film.webm?from=/b/c.mov#d";
        assert_eq!(args(address, &ready, &[]).output_of_one(), ready.join("film.mp4"));
        assert_eq!(args("what?#.avi", &ready, &[]).output_of_one(), ready.join("what?#.mp4"));
    }

    #[test]
    fn numbers_are_told_with_one_decimal() {
        let loud = Prepared {
            output: "a.mp4".into(),
            video: "copy",
            audio: "encode",
            loudness_lufs: Some(-23.061_782),
            gain_db: 7.061_782,
            damage: None,
        };
        let silent = Prepared { loudness_lufs: None, gain_db: 0.0, ..loud.clone() };
        let json = |prepared| serde_json::to_string(&rounded(prepared)).unwrap();
        let text = json(loud);
        assert!(text.ends_with(r#""loudness_lufs":-23.1,"gain_db":7.1,"damage":null}"#), "{text}");
        let text = json(silent);
        assert!(text.ends_with(r#""loudness_lufs":null,"gain_db":0.0,"damage":null}"#), "{text}");
    }

    #[test]
    fn what_is_stopped_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/media/long-gop.mp4");
        let out = dir.path().join("out.mp4");
        let stop = CancellationToken::new();
        stop.cancel();
        assert_eq!(run_one(&args(clip, &out, &["--json"]), &stop).unwrap(), Exit::Interrupted);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_the_source_is_the_source() {
        let dir = tempfile::tempdir().unwrap();
        let (source, link) = (dir.path().join("a.mp4"), dir.path().join("link.mp4"));
        std::fs::write(&source, "a film").unwrap();
        std::os::unix::fs::symlink(&source, &link).unwrap();
        assert!(refused(&source, &link).1.contains("is the source itself"));
        assert!(refused(&link, &source).1.contains("is the source itself"));
    }
}
