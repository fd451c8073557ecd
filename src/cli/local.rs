//! `telecast local`: the video chat alone, for browsers, for clients that speak HTTP and for
//! those that speak MTProto, all in the same room.

use std::net::SocketAddr;
#[cfg(feature = "telegram")]
use std::net::SocketAddrV4;
#[cfg(feature = "telegram")]
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::exit::Exit;
use super::{say, stop};
use crate::emulator::{Emulator, EmulatorOptions, Weather};

#[cfg(feature = "telegram")]
mod accounts;

/// Run a video chat on this machine, for browsers and for any client that speaks HTTP or
/// Telegram's MTProto.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  telecast local
  telecast local --http 127.0.0.1:8080 --impair 'loss=5%,delay=40ms'
  telecast local --json --sessions ./local --account ann --account bob
  XDG_DATA_HOME=./local API_ID=1 API_HASH=local telecast play film.mp4 --chat @demo --account ann
  curl -X POST http://127.0.0.1:8080/join -d '{\"chat\":\"demo\",\"params\":\"{…}\"}'")]
pub(super) struct LocalArgs {
    /// Where the page and the HTTP door listen; port 0 takes any free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    http: SocketAddr,

    /// Where media comes in; port 0 takes any free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    udp: SocketAddr,

    /// Where MTProto clients connect; port 0 takes any free one
    #[cfg(feature = "telegram")]
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    mtproto: SocketAddrV4,

    /// The chat's room, which MTProto clients know as @NAME
    #[arg(long, default_value = "demo", value_name = "NAME")]
    chat: String,

    /// Who exists for MTProto clients; the first is admin of the chat [default: main, guest]
    #[cfg(feature = "telegram")]
    #[arg(long = "account", value_name = "NAME", value_parser = super::account::name)]
    accounts: Vec<String>,

    /// Where a session file for each account is written and kept, in a folder `telecast`; else
    /// they go into a temporary folder and are removed in the end
    #[cfg(feature = "telegram")]
    #[arg(long, value_name = "DIR")]
    sessions: Option<PathBuf>,

    /// The network between the chat and its clients, for example 'loss=5%,delay=40ms,seed=7'
    #[arg(long, value_name = "WEATHER", value_parser = Weather::parse)]
    impair: Option<Weather>,

    /// All addresses and sessions as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: LocalArgs) -> anyhow::Result<Exit> {
    super::runtime()?.block_on(async {
        let stop = stop::on_signal()?;
        let options =
            EmulatorOptions { udp: args.udp, weather: args.impair.clone(), ..EmulatorOptions::default() };
        let emulator = Emulator::start(options).await?;
        let served = serve(&args, &emulator, &stop).await;
        emulator.shutdown().await;
        served.map(|()| Exit::Ok)
    })
}

async fn serve(
    args: &LocalArgs,
    emulator: &Emulator,
    stop: &tokio_util::sync::CancellationToken,
) -> anyhow::Result<()> {
    let http = emulator.serve_http(args.http).await.context("the page cannot be served")?;
    #[cfg(feature = "telegram")]
    let accounts = {
        let both = ["main".to_owned(), "guest".to_owned()];
        let names = if args.accounts.is_empty() { &both[..] } else { &args.accounts[..] };
        accounts::Accounts::open(emulator, args.mtproto, &args.chat, names, args.sessions.clone()).await?
    };
    if args.json {
        #[cfg_attr(not(feature = "telegram"), expect(unused_mut, reason = "there is one door less"))]
        let mut told = json!({
            "http": format!("http://{http}/"),
            "page": format!("http://{http}/?chat={}", args.chat),
            "media": emulator.local_addr().to_string(),
            "chat": args.chat,
        });
        #[cfg(feature = "telegram")]
        {
            told["mtproto"] = accounts.describe();
        }
        say::result(told)?;
    } else {
        say::result(format_args!("http://{http}/?chat={}", args.chat))?;
        say::remark(format_args!("media on {}; Ctrl-C ends the chat", emulator.local_addr()));
        #[cfg(feature = "telegram")]
        say::remark(format_args!(
            "MTProto on {}; to play into the chat from another terminal:\n  {}",
            accounts.addr(),
            accounts.command()
        ));
    }
    stop.cancelled().await;
    Ok(())
}
