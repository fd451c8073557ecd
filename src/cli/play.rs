//! `telecast play`: streams into chats; another program speaks to Telegram over stdio.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::io::BufReader;

use super::exit::{self, Because, Exit};
use super::{stop, values};
use crate::call::{ChatId, JoinOptions, Setup};
use crate::player::Item;
use crate::stdio;

/// Stream files into one or many chats.
///
/// With `--signaling stdio` the program that starts telecast makes the calls to Telegram: one
/// JSON object per line on stdout and stdin, described in docs/stdio.md.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  telecast play music.ogg --signaling stdio --chat -1001234
  telecast play a.mp4 b.mp4 --loop --signaling stdio --chat one --chat two --stats-every 5s")]
pub(super) struct PlayArgs {
    /// What to play, in this order
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<PathBuf>,

    /// Who makes the calls to Telegram
    #[arg(long, value_enum)]
    signaling: Signaling,

    /// A chat to join, by the name that the signaling side knows; may be given many times
    #[arg(long = "chat", value_name = "ID", required = true)]
    chats: Vec<String>,

    /// One programme for each chat instead of one for all
    #[arg(long)]
    separate: bool,

    /// Begin anew after the last item
    #[arg(long = "loop")]
    loop_all: bool,

    /// Stay in the chats after the last item
    #[arg(long)]
    stay: bool,

    /// Tell statistics this often, for example 5s
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    stats_every: Option<Duration>,

    /// Enter with the microphone off
    #[arg(long)]
    muted: bool,

    /// Send sound only
    #[arg(long)]
    no_video: bool,

    /// Our side of the DTLS handshake in the first try
    #[arg(long, value_enum, default_value = "passive")]
    dtls: Dtls,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Signaling {
    /// The program at the other end of our pipes
    Stdio,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dtls {
    /// The server, as Telegram's own apps
    Passive,
    /// The client; opens the data channel too
    Active,
}

pub(super) fn run(args: PlayArgs) -> anyhow::Result<Exit> {
    let Signaling::Stdio = args.signaling;
    if args.sources.iter().any(|source| source.as_os_str() == "-") {
        let text = "with --signaling stdio, stdin carries the signaling: `-` cannot be a source";
        return Err(Because(Exit::Usage, text.into()).into());
    }
    let options = stdio::Options {
        chats: args.chats.into_iter().map(ChatId).collect(),
        items: args.sources.into_iter().map(Item::file).collect(),
        separate: args.separate,
        loop_all: args.loop_all,
        stay: args.stay,
        stats_every: args.stats_every,
        join: JoinOptions {
            muted: args.muted,
            video: !args.no_video,
            setup: match args.dtls {
                Dtls::Passive => Setup::Passive,
                Dtls::Active => Setup::Active,
            },
            ..JoinOptions::default()
        },
    };
    let runtime = super::runtime()?;
    let failed = runtime.block_on(async {
        let stop = stop::on_signal()?;
        let input = BufReader::new(tokio::io::stdin());
        anyhow::Ok(stdio::run(options, input, tokio::io::stdout(), stop.cancelled_owned()).await)
    })?;
    // A read of stdin that is under way cannot be ended; nobody has to wait for it.
    runtime.shutdown_background();
    Ok(match failed {
        None => Exit::Ok,
        Some(stdio::Failure::Left(reason)) => exit::of_reason(&reason),
        Some(stdio::Failure::NothingPlayed(error)) => {
            let text = format!("nothing could be played: {:#}", anyhow::Error::new(error));
            return Err(Because(Exit::Media, text).into());
        }
    })
}
