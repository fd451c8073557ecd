//! Anything that FFmpeg opens → packets: a child process that converts it into Matroska with
//! H.264 (or VP8) and samples of sound, which is read from a pipe.
//!
//! The pictures come without B-frames and with a keyframe every two seconds (every second in VP8,
//! where nobody else makes one), so they are copied from there on. The sound is encoded here:
//! FFmpeg's Opus is 6.5 ms early in Matroska, by the encoder's delay. A seek starts the child
//! again at the place that is wanted.

mod encoding;
mod ffprobe;
mod pipe;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

pub use self::encoding::Encoded;
pub(in crate::media) use self::encoding::{KEY_EVERY, pictures, sound};
use self::pipe::{Output, Running};
use super::{DemuxError, Demuxer, Packet, Track};
use crate::media::child::{Child, End};
use crate::media::plan::{PictureOptions, Places, PlanOptions, TrackChoice};
use crate::media::source::opening::Opening;
use crate::media::source::stream::Stream;
use crate::media::source::{SourceOptions, is_address};
use crate::secret::Secret;
use crate::time::MediaTime;

/// The program and Debian's package of it.
pub(in crate::media) const PROGRAM: &str = "ffmpeg";

/// Sound on its way to us, in as many channels as it has: they are mixed here, as those of all other
/// sources are. What stands elsewhere becomes one of these.
const SAMPLES: &[&str] =
    &["-c:a", "pcm_s16le", "-ar", "48000", "-af", "aformat=channel_layouts=mono|stereo|5.1|5.1(side)|7.1"];

/// What is wanted of a source.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// A path or an address.
    pub input: PathBuf,
    /// Lines to send to a web server.
    pub source: SourceOptions,
    /// Without pictures nothing is spent on them.
    pub video: bool,
    /// The same for sound.
    pub audio: bool,
    /// Which picture; the first otherwise.
    pub video_track: Option<TrackChoice>,
    /// Which sound; the first otherwise.
    pub audio_track: Option<TrackChoice>,
    /// What pictures become.
    pub pictures: PictureOptions,
    /// A live source that says nothing for longer is given up (on Linux).
    pub patience: Option<Duration>,
    /// What is not live is open in time, or given up (on Linux).
    pub(in crate::media) opening: Option<Opening>,
}

impl Wanted {
    /// All of a source, as it is usually wanted.
    pub(in crate::media) fn new(input: &Path, source: &SourceOptions) -> Self {
        Self {
            input: input.to_path_buf(),
            source: source.clone(),
            video: true,
            audio: true,
            video_track: None,
            audio_track: None,
            pictures: PictureOptions::default(),
            patience: None,
            opening: None,
        }
    }

    /// What a plan wants of it.
    pub(in crate::media) fn of(input: &Path, source: &SourceOptions, plan: &PlanOptions) -> Self {
        Self {
            video: plan.video,
            audio: plan.audio,
            video_track: plan.video_track,
            audio_track: plan.audio_track,
            pictures: plan.pictures,
            ..Self::new(input, source)
        }
    }

    /// The same with a number for a language, for which FFmpeg has no word: it takes all of them.
    pub(in crate::media) fn numbered(mut self) -> Self {
        self.video_track = ffprobe::numbered(&self, "V", self.video_track);
        self.audio_track = ffprobe::numbered(&self, "a", self.audio_track);
        self
    }

    /// Where the chosen tracks stand.
    pub(in crate::media) fn places(&self) -> Places {
        let place = |choice| match choice {
            Some(TrackChoice::Number(number)) => Some(usize::from(number).saturating_sub(1)),
            Some(TrackChoice::Language(_)) | None => None,
        };
        Places { audio: place(self.audio_track), video: place(self.video_track) }
    }
}

/// A child that converts while it is read.
struct Foreign {
    wanted: Wanted,
    tracks: Vec<Track>,
    inner: Box<dyn Demuxer>,
    running: Running,
    /// Where the child began, on the clock of the source.
    offset: MediaTime,
    ended: bool,
}

/// How long FFmpeg has to begin with what is read by it because of `why`.
pub(in crate::media) fn opening(path: &Path, source: &SourceOptions, why: &DemuxError) -> Option<Opening> {
    // The pieces of a playlist on this disk may lie on a server.
    if why.is_playlist() {
        Some(Opening::new(path.to_string_lossy(), source.opening))
    } else {
        Opening::of(path, source)
    }
}

/// Starts FFmpeg and waits for what it writes first. Of several tracks in a language it takes all.
///
/// # Errors
/// When there is no FFmpeg, or it cannot read the source.
pub fn open(wanted: Wanted) -> Result<Box<dyn Demuxer>, DemuxError> {
    Ok(Box::new(Foreign::open(wanted)?))
}

impl Foreign {
    fn open(wanted: Wanted) -> Result<Self, DemuxError> {
        let (inner, running) = start(&wanted, MediaTime::ZERO)?;
        let duration = ffprobe::duration(&wanted);
        let tracks = inner
            .tracks()
            .iter()
            .map(|track| Track { duration: track.duration.or(duration), ..track.clone() });
        let tracks = tracks.collect();
        Ok(Self { wanted, tracks, inner, running, offset: MediaTime::ZERO, ended: false })
    }
}

impl Demuxer for Foreign {
    fn format(&self) -> &'static str {
        "ffmpeg"
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, DemuxError> {
        if self.ended {
            return Ok(None);
        }
        match self.inner.next_packet() {
            Ok(Some(packet)) => Ok(Some(Packet {
                pts: packet.pts + self.offset,
                dts: packet.dts.map(|dts| dts + self.offset),
                ..packet
            })),
            end => {
                self.ended = true;
                if self.running.is_silent() {
                    return Err(silent(&self.wanted));
                }
                // The pipe ends with the child; how it ended tells an end from a crash.
                let child = self.running.end();
                if child.success() { end } else { Err(crashed(&self.wanted.input, &child)) }
            }
        }
    }

    fn seek(&mut self, to: MediaTime) -> Result<MediaTime, DemuxError> {
        let to = to.max(MediaTime::ZERO);
        (self.inner, self.running) = start(&self.wanted, to)?;
        (self.offset, self.ended) = (to, false);
        Ok(to)
    }
}

fn start(wanted: &Wanted, from: MediaTime) -> Result<(Box<dyn Demuxer>, Running), DemuxError> {
    let mut command = Command::new(PROGRAM);
    command.args(arguments(wanted, from));
    read_from(command, wanted)
}

/// Starts a program that writes Matroska.
fn read_from(mut command: Command, wanted: &Wanted) -> Result<(Box<dyn Demuxer>, Running), DemuxError> {
    let input = &wanted.input;
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Child::spawn(command).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => DemuxError::NoFfmpeg { input: shown(input) },
        _ => DemuxError::Io(cause),
    })?;
    let stdout = child.take_stdout().expect("it was asked for");
    let running = Running::new(child);
    let output = Output::new(stdout, running.clone(), wanted.patience, wanted.opening.clone());
    match super::open(Box::new(Stream::new(output))) {
        Ok(demuxer) => Ok((demuxer, running)),
        // Nothing came, or not enough: FFmpeg knows why.
        Err(_) => {
            running.child().kill();
            let end = running.end();
            Err(if running.is_silent() { silent(wanted) } else { crashed(input, &end) })
        }
    }
}

fn crashed(input: &Path, end: &End) -> DemuxError {
    DemuxError::Ffmpeg { input: shown(input), what: end.reason() }
}

fn silent(wanted: &Wanted) -> DemuxError {
    let secs = wanted.patience.unwrap_or_default().as_secs();
    DemuxError::Silent { input: shown(&wanted.input), secs }
}

fn shown(input: &Path) -> String {
    input.display().to_string()
}

/// FFmpeg's arguments.
fn arguments(wanted: &Wanted, from: MediaTime) -> Vec<OsString> {
    let mut all: Vec<OsString> = ["-v", "error", "-nostdin", "-nostats"].map(OsString::from).to_vec();
    let mut source = source_arguments(&wanted.input, &wanted.source);
    let place = source.pop();
    all.append(&mut source);
    let mut add = |words: &[&str]| all.extend(words.iter().map(OsString::from));
    if from > MediaTime::ZERO {
        add(&["-ss", &format!("{:.6}", from.as_secs_f64())]);
    }
    add(&["-i"]);
    all.extend(place);
    let mut add = |words: &[&str]| all.extend(words.iter().map(OsString::from));
    if wanted.video {
        add(&["-map", &stream('V', wanted.video_track)]);
        for word in pictures(&wanted.pictures, KEY_EVERY) {
            add(&[&word]);
        }
    }
    if wanted.audio {
        add(&["-map", &stream('a', wanted.audio_track)]);
        add(SAMPLES);
    }
    add(&["-sn", "-dn", "-map_metadata", "-1", "-map_chapters", "-1"]);
    add(&["-f", "matroska", "-live", "1", "-flush_packets", "1", "-cluster_time_limit", "500", "pipe:1"]);
    all
}

/// How FFmpeg and ffprobe open a source: options, and in the end its name. A path is never taken for
/// an option or a protocol.
pub(in crate::media) fn source_arguments(input: &Path, source: &SourceOptions) -> Vec<OsString> {
    let mut all: Vec<OsString> = Vec::new();
    let mut add = |words: &[&str]| all.extend(words.iter().map(OsString::from));
    // In microseconds.
    let silence = source.patience.as_micros().to_string();
    match input.to_str() {
        Some(address) if is_address(address) => {
            if address.starts_with("http") {
                let line =
                    |(name, value): &(String, Secret<String>)| format!("{name}: {}\r\n", value.expose());
                let headers: String = source.headers.iter().map(line).collect();
                add(&["-headers", &headers, "-reconnect", "1", "-reconnect_streamed", "1"]);
                add(&["-reconnect_delay_max", "4", "-rw_timeout", &silence]);
            } else if address.starts_with("rtsp") {
                add(&["-rtsp_transport", "tcp", "-timeout", &silence]);
            } else if address.starts_with("rtmp") {
                add(&["-rw_timeout", &silence]);
            }
            all.push(address.into());
        }
        _ => {
            // The pieces of a stream may lie on a server.
            add(&["-protocol_whitelist", "file,crypto,data,http,https,tcp,tls"]);
            all.push(named(input));
        }
    }
    all
}

/// FFmpeg's word for a track; one that is not there is left out.
fn stream(kind: char, choice: Option<TrackChoice>) -> String {
    match choice {
        None => format!("0:{kind}:0?"),
        Some(TrackChoice::Number(number)) => format!("0:{kind}:{}?", number.saturating_sub(1)),
        Some(language @ TrackChoice::Language(_)) => format!("0:{kind}:m:language:{language}?"),
    }
}

/// How FFmpeg is told of a source: a path is never taken for an option or a protocol.
pub(in crate::media) fn named(input: &Path) -> OsString {
    if input.to_str().is_some_and(is_address) {
        return input.into();
    }
    let mut file = OsString::from("file:");
    file.push(input);
    file
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/media/clip.mkv");

    fn wanted(patience: Option<Duration>) -> Wanted {
        Wanted { patience, ..Wanted::new(Path::new("film.avi"), &SourceOptions::default()) }
    }

    /// A program in FFmpeg's place.
    fn foreign_for(patience: Option<Duration>, script: &str) -> Result<Foreign, DemuxError> {
        let mut command = Command::new("sh");
        command.args(["-c", script, CLIP]);
        let wanted = wanted(patience);
        let (inner, running) = read_from(command, &wanted)?;
        let tracks = inner.tracks().to_vec();
        Ok(Foreign { wanted, tracks, inner, running, offset: MediaTime::ZERO, ended: false })
    }

    fn foreign(script: &str) -> Result<Foreign, DemuxError> {
        foreign_for(None, script)
    }

    fn play(mut foreign: Foreign) -> (usize, Option<DemuxError>) {
        let mut n_packets = 0;
        loop {
            match foreign.next_packet() {
                Ok(Some(_)) => n_packets += 1,
                Ok(None) => return (n_packets, None),
                Err(error) => {
                    assert!(matches!(foreign.next_packet(), Ok(None)), "nothing more comes");
                    return (n_packets, Some(error));
                }
            }
        }
    }

    #[test]
    fn an_end_is_told_from_a_crash() {
        let (whole, error) = play(foreign("cat \"$0\"").unwrap());
        assert!(whole > 1500 && error.is_none(), "{whole} packets, {error:?}");
        // In the middle, without a word.
        let (n_packets, error) = play(foreign("head -c 1000000 \"$0\"; kill -SEGV $$").unwrap());
        assert!((100..whole).contains(&n_packets), "{n_packets}");
        let error = error.expect("it crashed").to_string();
        assert_eq!(
            error.split(" (").next(),
            Some("ffmpeg cannot read film.avi: it ended with signal: 11"),
            "{error}"
        );
        // At the very end, with a last word.
        let (n_packets, error) = play(foreign("cat \"$0\"; echo out of luck >&2; exit 1").unwrap());
        assert_eq!(n_packets, whole, "all that came plays");
        assert_eq!(error.unwrap().to_string(), "ffmpeg cannot read film.avi: out of luck");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_live_source_that_falls_silent_is_given_up() {
        let patience = Some(Duration::from_secs(1));
        let (n_packets, error) = play(foreign_for(patience, "head -c 1000000 \"$0\"; sleep 60").unwrap());
        assert!(n_packets > 100, "{n_packets}");
        let error = error.expect("it is no end").to_string();
        assert!(error.starts_with("nothing has come from film.avi for 1 s; see whether"), "{error}");
        // One that has time is waited for.
        let (n_packets, error) = play(foreign_for(None, "head -c 1000000 \"$0\"; sleep 1.2").unwrap());
        assert!(n_packets > 100 && error.is_none_or(|error| !matches!(error, DemuxError::Silent { .. })));
    }

    #[test]
    fn a_crash_at_once_and_no_program_at_all_are_told() {
        let error = foreign("echo no such codec >&2; exit 1").err().unwrap().to_string();
        assert_eq!(error, "ffmpeg cannot read film.avi: no such codec");
        let missing = read_from(Command::new("no-such-program"), &wanted(None));
        let error = missing.err().unwrap();
        assert!(matches!(error, DemuxError::NoFfmpeg { .. }), "{error}");
    }

    #[test]
    fn tracks_are_named_as_ffmpeg_does() {
        let language = "deu".parse().ok();
        assert_eq!(stream('a', None), "0:a:0?");
        assert_eq!(stream('V', Some(TrackChoice::Number(2))), "0:V:1?");
        assert_eq!(stream('a', language), "0:a:m:language:deu?");
    }
}
