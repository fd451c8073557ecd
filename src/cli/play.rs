//! `telecast play`: streams into chats, with an account of one's own, or steered by another
//! program that speaks to Telegram itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::io::BufReader;
use tokio::sync::watch;

use super::exit::{self, Because, Exit};
use super::metrics::Metrics;
use super::{metrics, stop, values};
use crate::call::{ChatId, JoinOptions, Setup};
#[cfg(feature = "openh264")]
use crate::player::Slate;
#[cfg(feature = "telegram")]
use crate::player::journal::Journal;
use crate::player::{Item, MAX_QUEUED, MAX_VOLUME_PERCENT, OnFailure, PlayerOptions};
use crate::stdio;
use crate::time::MediaTime;

/// Stream files into one or many chats.
///
/// Chats are @names, t.me links or numbers from `telecast chats`. With `--signaling stdio` the program that starts telecast makes the calls to Telegram: one
/// JSON object per line on stdout and stdin, described in docs/stdio.md.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  telecast play a.mp4 b.mp4 --chat @mygroup
  telecast play folder/ --shuffle --repeat --volume 80 --chat @mygroup
  telecast play film.mp4 --start-at 1h2m --chat @mygroup
  telecast play music/ --repeat --chat @mygroup --journal radio.db   and after a restart, in the same place:
  telecast play --journal radio.db
  telecast play music.ogg --loop --chat -1001234567890 --start
  telecast play https://radio.example.org/live --on-error retry=100 --chat @mygroup
  telecast play https://t.me/mychannel/5 --chat @mygroup
  telecast play music.ogg --signaling stdio --chat -1001234
  telecast play a.mp4 b.mp4 --loop --signaling stdio --chat one --chat two --stats-every 5s")]
pub(super) struct PlayArgs {
    /// What to play, in this order: files, folders, playlists, http addresses, `-` for standard
    /// input, links to messages that hold a file (t.me/name/5, tg://…), `test:1280x720@30?for=1m`
    /// for a test picture with numbers, flash and beep
    #[arg(required_unless_present = "journal", value_name = "SOURCE")]
    sources: Vec<PathBuf>,

    /// Keep queue, place, pause, volume and chats in this file; when it has something left to
    /// play, go on with that instead of SOURCE, in the same chats at the same second
    #[cfg(feature = "telegram")]
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,

    #[cfg(not(feature = "telegram"))]
    #[arg(skip)]
    journal: Option<PathBuf>,

    /// Who makes the calls to Telegram
    #[arg(long, value_enum, default_value = DEFAULT_SIGNALING)]
    signaling: Signaling,

    #[cfg(feature = "telegram")]
    #[command(flatten)]
    account: super::account::AccountArgs,

    /// Begin the video chat where there is none, and a scheduled one before its time
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    start: Option<bool>,

    /// Appear as this peer: a number, such as that of a channel of one's own
    #[arg(long = "as", value_name = "PEER", allow_hyphen_values = true)]
    join_as: Option<String>,

    /// A chat to join; may be given many times
    #[arg(long = "chat", value_name = "CHAT", allow_hyphen_values = true)]
    chats: Vec<String>,

    /// A programme for each chat instead of one for all; `telecast ctl --chat` steers one of them
    #[arg(long)]
    separate: bool,

    /// Begin anew after the last item, or repeat one until it is skipped
    #[arg(long, visible_alias = "loop", num_args = 0..=1, require_equals = true, default_value = "off", default_missing_value = "all", value_name = "WHAT")]
    repeat: values::RepeatArg,

    /// Play in random order; with a number always in the same one
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "SEED")]
    shuffle: Option<Option<u64>>,

    /// What to do with an item that cannot be played further: skip it, retry it where it stopped
    /// (five times in a row, or N), or stop
    #[arg(long, value_name = "skip|retry[=N]|stop", default_value = "skip", value_parser = values::on_failure)]
    on_error: OnFailure,

    /// How loud to play, in percent; 100 plays as recorded
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(0..=i64::from(MAX_VOLUME_PERCENT)))]
    volume: u16,

    /// How fast to play, 0.5 to 2, at the same pitch
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = values::speed)]
    speed: u16,

    /// Let the end of one item and the beginning of the next be heard together for so long, up to
    /// 12 s, and half of either item at most; without, they follow each other without a gap
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = values::crossfade)]
    crossfade: MediaTime,

    /// What is seen while the queue is empty or an item does not come: an image, a video, whose first
    /// minute goes round and round, or a color: black, white, #rrggbb
    #[cfg(feature = "openh264")]
    #[arg(long, value_name = "FILE|COLOR")]
    slate: Option<String>,

    /// Begin the first item there, for example 90s or 1h2m
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    start_at: Option<Duration>,

    /// Stay in the chats after the last item
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    stay: Option<bool>,

    /// Leave a chat in which nobody else has been for this long [default when given alone: 60s]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "60s", value_name = "DURATION", value_parser = values::duration)]
    leave_when_empty: Option<Duration>,

    /// Tell statistics this often, for example 5s
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    stats_every: Option<Duration>,

    /// Serve statistics for Prometheus at http://ADDR/metrics; a port alone is meant on this machine
    #[arg(long, value_name = "ADDR", value_parser = metrics::addr)]
    metrics: Option<SocketAddr>,

    /// Enter with the microphone off
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    muted: Option<bool>,

    /// Raise the hand when an admin has muted the account, until one allows it to speak
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    raise_hand: Option<bool>,

    /// Send sound only
    #[arg(long)]
    no_video: bool,

    #[command(flatten)]
    pictures: super::pictures::PictureArgs,

    #[command(flatten)]
    from: super::sources::SourceArgs,

    /// Our side of the DTLS handshake in the first try
    #[arg(long, value_enum, default_value = "passive")]
    dtls: Dtls,
}

/// Of a slate that is nothing but a color.
#[cfg(feature = "openh264")]
const SLATE_SIZE: (u32, u32) = (1280, 720);

#[cfg(feature = "telegram")]
const DEFAULT_SIGNALING: &str = "telegram";
#[cfg(not(feature = "telegram"))]
const DEFAULT_SIGNALING: &str = "stdio";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Signaling {
    /// telecast itself, with the account that is signed in
    #[cfg(feature = "telegram")]
    Telegram,
    /// The program at the other end of our pipes
    Stdio,
}

/// The first item begins there.
pub(super) fn begin_at(items: &mut [Item], start_at: Option<Duration>) {
    if let (Some(first), Some(at)) = (items.first_mut(), start_at) {
        *first = first.clone().start_at(MediaTime::from_duration(at));
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dtls {
    /// The server, as Telegram's own apps
    Passive,
    /// The client; opens the data channel too
    Active,
}

pub(super) fn run(args: PlayArgs) -> anyhow::Result<Exit> {
    if args.sources.len() > MAX_QUEUED {
        let text = format!("{} sources are too many; {MAX_QUEUED} can be queued at once", args.sources.len());
        return Err(Because(Exit::Usage, text).into());
    }
    if args.chats.is_empty() && args.journal.is_none() {
        let text = "which chat? Give --chat once or more, or play.chats in the configuration";
        return Err(Because(Exit::Usage, text.into()).into());
    }
    match args.signaling {
        #[cfg(feature = "telegram")]
        Signaling::Telegram => run_telegram(args),
        Signaling::Stdio => run_stdio(args),
    }
}

impl PlayArgs {
    /// Do we make the calls to Telegram ourselves?
    #[cfg(feature = "telegram")]
    pub(super) fn needs_account(&self) -> bool {
        self.signaling == Signaling::Telegram
    }

    /// Takes from the configuration what the arguments leave open.
    #[cfg(feature = "telegram")]
    pub(super) fn configure(&mut self, config: super::config::Config) -> anyhow::Result<()> {
        self.account.configure(&config)?;
        let defaults = config.play;
        if self.chats.is_empty() {
            self.chats = defaults.chats;
        }
        self.join_as = self.join_as.take().or(defaults.join_as);
        self.start = self.start.or(defaults.start);
        self.stay = self.stay.or(defaults.stay);
        self.muted = self.muted.or(defaults.muted);
        self.raise_hand = self.raise_hand.or(defaults.raise_hand);
        Ok(())
    }

    /// What to play, shuffled if that is wanted.
    fn in_order(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut sources = self.from.expand(&self.sources)?;
        if let Some(seed) = self.shuffle {
            fastrand::Rng::with_seed(seed.unwrap_or_else(|| fastrand::u64(..))).shuffle(&mut sources);
        }
        Ok(sources)
    }

    fn player_options(&self) -> anyhow::Result<PlayerOptions> {
        let (repeat, volume_percent) = (self.repeat.into(), self.volume);
        Ok(PlayerOptions {
            repeat,
            volume_percent,
            crossfade: self.crossfade,
            speed_percent: self.speed,
            on_failure: self.on_error,
            #[cfg(feature = "openh264")]
            slate: self
                .slate
                .as_deref()
                .filter(|_| !self.no_video)
                .map(|text| self.card(text))
                .transpose()?,
            ..PlayerOptions::default()
        })
    }

    #[cfg(feature = "openh264")]
    fn card(&self, text: &str) -> anyhow::Result<Slate> {
        let card = match values::color(text) {
            Some(color) => Slate::color(color, SLATE_SIZE),
            None => Slate::open(text, self.from.apply_uncached(self.pictures.reader(true))),
        };
        card.map_err(|error| {
            let text = format!("cannot use {text} as a slate: {:#}", anyhow::Error::new(error));
            Because(Exit::Media, text).into()
        })
    }

    fn join_options(&self) -> JoinOptions {
        JoinOptions {
            muted: self.muted.unwrap_or_default(),
            raise_hand: self.raise_hand.unwrap_or_default(),
            video: !self.no_video,
            leave_when_empty: self.leave_when_empty,
            join_as: self.join_as.clone(),
            wait_for_start: true,
            setup: match self.dtls {
                Dtls::Passive => Setup::Passive,
                Dtls::Active => Setup::Active,
            },
            ..JoinOptions::default()
        }
    }
}

#[cfg(feature = "telegram")]
fn run_telegram(args: PlayArgs) -> anyhow::Result<Exit> {
    let wrong = if args.stats_every.is_some() {
        Some("--stats-every belongs to --signaling stdio; --metrics serves statistics")
    } else if args.separate && args.journal.is_some() {
        Some("--journal keeps one programme; leave --separate out, or run `telecast play` for each chat")
    } else if args.separate && args.sources.iter().any(|source| source.as_os_str() == "-") {
        Some("standard input can be read for one programme only; leave --separate out")
    } else {
        None
    };
    if let Some(text) = wrong {
        return Err(Because(Exit::Usage, text.into()).into());
    }
    let join = args.join_options();
    let journal = args.journal.as_deref().map(super::stream::open_journal).transpose()?;
    let saved = journal.as_ref().and_then(Journal::saved).cloned();
    let sources = match &saved {
        Some(saved) => saved.sources.iter().map(PathBuf::from).collect(),
        None if journal.is_some() => args.in_order()?.into_iter().map(whole).collect(),
        None => args.in_order()?,
    };
    let mut player = args.player_options()?;
    let mut chats = args.chats.clone();
    if let Some(saved) = &saved {
        (player.repeat, player.volume_percent) = (saved.repeat, saved.volume_percent);
        if chats.is_empty() {
            chats = saved.chats.iter().map(|chat| chat.name.clone()).collect();
        }
    }
    if sources.is_empty() || chats.is_empty() {
        let text = "the journal has nothing left to play; give SOURCE and --chat for a new programme";
        return Err(Because(Exit::Usage, text.into()).into());
    }
    let mut stream = super::stream::Stream {
        sources,
        opened: None,
        chats,
        player,
        journal,
        metrics: args.metrics,
        start_at: args.start_at.filter(|_| saved.is_none()),
        resume: saved,
        account: args.account.name().to_owned(),
        from: args.from.clone(),
        stay: args.stay.unwrap_or_default(),
        start: args.start.unwrap_or_default(),
        separate: args.separate,
        reader: args.from.apply(args.pictures.reader(!args.no_video))?,
        join,
    };
    stream.check()?;
    super::runtime()?.block_on(async {
        let client = args.account.connect().await?;
        let result = stream.run(&client).await;
        client.shutdown().await;
        result
    })
}

/// The name that it has from everywhere, where it is a file.
#[cfg(feature = "telegram")]
fn whole(source: PathBuf) -> PathBuf {
    std::fs::canonicalize(&source).unwrap_or(source)
}

fn run_stdio(args: PlayArgs) -> anyhow::Result<Exit> {
    if args.journal.is_some() {
        let text = "--journal needs an account; with --signaling stdio the other program keeps the queue";
        return Err(Because(Exit::Usage, text.into()).into());
    }
    if args.start == Some(true) {
        let text = "--start needs an account; with --signaling stdio the other program begins video chats";
        return Err(Because(Exit::Usage, text.into()).into());
    }
    if args.sources.iter().any(|source| source.as_os_str() == "-") {
        let text = "with --signaling stdio, stdin carries the signaling: `-` cannot be a source";
        return Err(Because(Exit::Usage, text.into()).into());
    }
    let join = args.join_options();
    let reader = args.from.apply(args.pictures.reader(join.video))?;
    let item = |source: PathBuf| Item::file_with(source, reader.clone());
    let mut items: Vec<Item> = args.in_order()?.into_iter().map(item).collect();
    begin_at(&mut items, args.start_at);
    let options = stdio::Options {
        player: args.player_options()?,
        chats: args.chats.into_iter().map(ChatId).collect(),
        items,
        separate: args.separate,
        stay: args.stay.unwrap_or_default(),
        stats_every: args.stats_every,
        seats: watch::Sender::default(),
        reader,
        join,
    };
    let runtime = super::runtime_for(options.chats.len(), options.join.video)?;
    let failed = runtime.block_on(async {
        let stop = stop::on_signal()?;
        let metrics = match args.metrics {
            Some(addr) => Some(Metrics::open(addr, options.seats.subscribe()).await?),
            None => None,
        };
        let input = BufReader::new(tokio::io::stdin());
        let failed = stdio::run(options, input, tokio::io::stdout(), stop.cancelled_owned()).await;
        if let Some(metrics) = metrics {
            metrics.close().await;
        }
        anyhow::Ok(failed)
    })?;
    // A read of stdin that is under way cannot be ended; nobody has to wait for it.
    runtime.shutdown_background();
    Ok(match failed {
        None => Exit::Ok,
        Some(stdio::Failure::Left(reason)) => exit::of_reason(&reason),
        Some(stdio::Failure::Output(error)) => {
            return Err(anyhow::Error::new(error).context("cannot write to stdout"));
        }
        Some(stdio::Failure::NothingPlayed { item, error }) => {
            let text = format!("nothing could be played; {item}: {:#}", anyhow::Error::new(error));
            return Err(Because(Exit::Media, text).into());
        }
    })
}
