//! `telecast ctl`: steers the `telecast play` of an account that is running on this machine.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::account::AccountArgs;
use super::control::{self, Answer, Asked, Place, Request, Shown};
use super::exit::{Because, Exit};
use super::{say, values};
use crate::time::MediaTime;

/// An answer that takes longer does not come: a source on the web has to be opened for some.
const PATIENCE: Duration = Duration::from_secs(90);

/// Steer a running `telecast play`: its queue, its place, its volume
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  telecast ctl                          what plays, and where it is heard
  telecast ctl list
  telecast ctl add b.mp4 folder/ --next
  telecast ctl seek 1h2m                to a place; +10s and -10s from what is heard
  telecast ctl skip
  telecast ctl volume 80
  telecast ctl --account second pause")]
pub(super) struct CtlArgs {
    #[command(flatten)]
    pub(super) account: AccountArgs,

    /// The answer as JSON
    #[arg(long, global = true)]
    json: bool,

    /// Whose programme, where each chat has one of its own (`play --separate`)
    #[arg(long, global = true, value_name = "CHAT", allow_hyphen_values = true)]
    chat: Option<String>,

    #[command(subcommand)]
    command: Option<Ctl>,
}

#[derive(Debug, Subcommand)]
enum Ctl {
    /// What plays, and where it is heard
    Status,
    /// The items that wait
    List,
    /// Queue something
    Add {
        /// Files, folders, playlists, addresses, links to messages
        #[arg(required = true, value_name = "SOURCE")]
        sources: Vec<String>,
        /// Before those that wait
        #[arg(long, conflicts_with_all = ["now", "at"])]
        next: bool,
        /// In place of what plays
        #[arg(long, conflicts_with = "at")]
        now: bool,
        /// So many places behind the next one
        #[arg(long, value_name = "N")]
        at: Option<usize>,
    },
    /// Take an item out of the queue
    Remove {
        /// As `list` shows it
        item: u64,
    },
    /// Move a waiting item
    Move {
        /// As `list` shows it
        item: u64,
        /// 0 makes it the next one
        to: usize,
    },
    /// Take out all that wait
    Clear,
    /// Mix those that wait
    Shuffle {
        /// Always in the same way
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Go on with the next item
    Skip,
    /// Play the item before
    Previous,
    /// Play a waiting item now; those before it are passed over
    SkipTo {
        /// As `list` shows it
        item: u64,
    },
    /// Go to a place in the item: 90s, 1h2m; +10s and -10s go from what is heard
    Seek {
        /// Where
        #[arg(allow_hyphen_values = true, value_parser = seek)]
        to: Seek,
    },
    /// Hold what plays
    Pause,
    /// Go on after a pause
    Resume,
    /// How loud, in percent: 0 to 200, 100 plays as recorded
    Volume {
        /// Percent
        percent: u16,
    },
    /// How fast, at the same pitch: 0.5 to 2, 1 plays as recorded
    Speed {
        /// Factor
        #[arg(value_parser = values::speed)]
        factor: u16,
    },
    /// How long the end of one item and the beginning of the next are heard together: 0 to 12 s
    Crossfade {
        /// Seconds
        #[arg(value_parser = values::crossfade)]
        length: MediaTime,
    },
    /// What happens to items that have ended
    Repeat {
        /// What
        what: values::RepeatArg,
    },
    /// End what plays and empty the queue
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seek {
    To(i64),
    By(i64),
}

fn seek(text: &str) -> Result<Seek, String> {
    let millis = |text: &str| {
        let millis = values::duration(text)?.as_millis();
        i64::try_from(millis).map_err(|_| format!("`{text}` is too long"))
    };
    match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(text), _) => Ok(Seek::By(millis(text)?)),
        (_, Some(text)) => Ok(Seek::By(-millis(text)?)),
        _ => Ok(Seek::To(millis(text)?)),
    }
}

pub(super) fn run(args: &CtlArgs) -> anyhow::Result<Exit> {
    let account = args.account.name();
    let mut line = Line::open(&control::socket_path(account)?, account)?;
    for request in requests(args.command.as_ref()) {
        let (text, answer) = line.ask(&Asked { chat: args.chat.clone(), request })?;
        if let Some(why) = answer.error {
            return Err(Because(Exit::Failure, why).into());
        }
        if args.json {
            say::result(text.trim_end())?;
        } else {
            tell(&answer)?;
        }
    }
    Ok(Exit::Ok)
}

/// What to ask for, in order.
fn requests(command: Option<&Ctl>) -> Vec<Request> {
    vec![match command {
        None | Some(Ctl::Status) => Request::Status,
        Some(Ctl::List) => Request::List,
        Some(Ctl::Add { sources, next, now, at }) => return adds(sources, *next, *now, *at),
        Some(Ctl::Remove { item }) => Request::Remove { item: *item },
        Some(Ctl::Move { item, to }) => Request::Move { item: *item, to: *to },
        Some(Ctl::Clear) => Request::Clear,
        Some(Ctl::Shuffle { seed }) => Request::Shuffle { seed: *seed },
        Some(Ctl::Skip) => Request::Skip,
        Some(Ctl::Previous) => Request::Previous,
        Some(Ctl::SkipTo { item }) => Request::SkipTo { item: *item },
        Some(Ctl::Seek { to: Seek::To(to_ms) }) => Request::Seek { to_ms: *to_ms },
        Some(Ctl::Seek { to: Seek::By(by_ms) }) => Request::SeekBy { by_ms: *by_ms },
        Some(Ctl::Pause) => Request::Pause,
        Some(Ctl::Resume) => Request::Resume,
        Some(Ctl::Volume { percent }) => Request::Volume { percent: *percent },
        Some(Ctl::Speed { factor }) => Request::Speed { percent: *factor },
        Some(Ctl::Crossfade { length }) => Request::Crossfade { length_ms: length.as_millis() },
        Some(Ctl::Repeat { what }) => Request::Repeat { what: *what },
        Some(Ctl::Stop) => Request::Stop,
    }]
}

/// One request for each source, so that one that cannot be played hides no other. They come in
/// the order in which they were given.
fn adds(sources: &[String], next: bool, now: bool, at: Option<usize>) -> Vec<Request> {
    let place = match (at, next, now) {
        (Some(idx), ..) => Place::At(idx),
        (_, true, _) => Place::Next,
        (.., true) => Place::Now,
        _ => Place::End,
    };
    // The other process may have another current directory.
    let whole = |source: &String| match std::fs::canonicalize(source) {
        Ok(path) => path.to_string_lossy().into_owned(),
        Err(_) => source.clone(),
    };
    let add = |source| Request::Add { source: whole(source), place };
    // What is put before the others comes out in reverse, but for the one that is to play now.
    let mut all: Vec<Request> = sources.iter().map(add).collect();
    match place {
        Place::End => {}
        Place::Next | Place::At(_) => all.reverse(),
        Place::Now => {
            let rest = sources.iter().skip(1).rev();
            all.truncate(1);
            all.extend(rest.map(|source| Request::Add { source: whole(source), place: Place::Next }));
        }
    }
    all
}

/// The way to the other process.
struct Line(BufReader<UnixStream>);

impl Line {
    fn open(path: &Path, account: &str) -> anyhow::Result<Self> {
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                let text = format!(
                    "nothing plays with the account {account}; start `telecast play`, or choose another one with --account"
                );
                return Err(Because(Exit::Failure, text).into());
            }
            Err(error) => return Err(error).with_context(|| format!("cannot open {}", path.display())),
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn ask(&mut self, asked: &Asked) -> anyhow::Result<(String, Answer)> {
        const LOST: &str = "no answer from `telecast play`; see whether it is still running";
        self.0.get_mut().write_all(asked.to_line()?.as_bytes()).context(LOST)?;
        let mut answer = String::new();
        self.0.read_line(&mut answer).context(LOST)?;
        let read = serde_json::from_str(&answer).context(LOST)?;
        Ok((answer, read))
    }
}

/// The form for people.
fn tell(answer: &Answer) -> anyhow::Result<()> {
    if let Some(queue) = &answer.queue {
        if queue.is_empty() {
            say::remark("nothing waits; `telecast ctl add SOURCE` queues something");
        }
        for waiting in queue {
            say::result(format_args!("{}\t{}", waiting.item, waiting.source))?;
        }
        return Ok(());
    }
    for item in &answer.items {
        say::remark(format_args!("queued as item {item}"));
    }
    match &answer.status {
        Some(status) if answer.items.is_empty() => say::result(in_words(status)),
        _ => Ok(()),
    }
}

fn in_words(status: &Shown) -> String {
    let time = |millis: i64| values::clock(Duration::from_millis(millis.unsigned_abs()));
    let mut text = status.state.clone();
    if let (Some(item), Some(source)) = (status.item, &status.source) {
        text += &format!(" {source} (item {item}), {}", time(status.position_ms));
        if let Some(duration) = status.duration_ms {
            text += &format!(" of {}", time(duration));
        }
    }
    text += &format!(
        "; volume {} %, repeat {}, {} waiting",
        status.volume_percent, status.repeat, status.n_queued
    );
    for heard in &status.chats {
        text += &format!("\n{}: {}", heard.chat, heard.status);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_people_write_them() {
        assert_eq!(seek("90"), Ok(Seek::To(90_000)));
        assert_eq!(seek("2m"), Ok(Seek::To(120_000)));
        assert_eq!(seek("+500ms"), Ok(Seek::By(500)));
        assert_eq!(seek("-10s"), Ok(Seek::By(-10_000)));
        for wrong in ["", "+", "--5s", "middle"] {
            assert!(seek(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn several_sources_play_in_the_order_in_which_they_are_given() {
        let sources = ["a", "b", "c"].map(str::to_owned);
        let told = |next, now| {
            let all = adds(&sources, next, now, None).into_iter();
            all.map(|request| match request {
                Request::Add { source, place } => (source, place),
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
        };
        let is = |name: &str, place| (name.to_owned(), place);
        assert_eq!(told(false, false), [is("a", Place::End), is("b", Place::End), is("c", Place::End)]);
        assert_eq!(told(true, false), [is("c", Place::Next), is("b", Place::Next), is("a", Place::Next)]);
        assert_eq!(told(false, true), [is("a", Place::Now), is("c", Place::Next), is("b", Place::Next)]);
    }
}
