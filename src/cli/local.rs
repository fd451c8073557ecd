//! `telecast local`: the video chat alone, for foreign clients and browsers.

use std::net::SocketAddr;

use anyhow::Context;
use clap::Args;

use super::exit::Exit;
use super::{say, stop};
use crate::emulator::{Emulator, EmulatorOptions, Weather};

/// Run a video chat on this machine, for browsers and any client that speaks HTTP.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  telecast local
  telecast local --http 127.0.0.1:8080 --impair 'loss=5%,delay=40ms'
  curl -X POST http://127.0.0.1:8080/join -d '{\"chat\":\"a\",\"params\":\"{…}\"}'")]
pub(super) struct LocalArgs {
    /// Where the page and the HTTP door listen; port 0 takes any free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    http: SocketAddr,

    /// Where media comes in; port 0 takes any free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    udp: SocketAddr,

    /// The network between the chat and its clients, for example 'loss=5%,delay=40ms,seed=7'
    #[arg(long, value_name = "WEATHER", value_parser = Weather::parse)]
    impair: Option<Weather>,
}

pub(super) fn run(args: LocalArgs) -> anyhow::Result<Exit> {
    super::runtime()?.block_on(async {
        let stop = stop::on_signal()?;
        let options = EmulatorOptions { udp: args.udp, weather: args.impair, ..EmulatorOptions::default() };
        let emulator = Emulator::start(options).await?;
        let http = emulator.serve_http(args.http).await.context("the page cannot be served")?;
        say::result(format_args!("http://{http}/"))?;
        say::remark(format_args!("media on {}; Ctrl-C ends the chat", emulator.local_addr()));
        stop.cancelled().await;
        emulator.shutdown().await;
        Ok(Exit::Ok)
    })
}
