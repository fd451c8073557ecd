//! The program: arguments → a command → an exit code.
//!
//! Results go to stdout, everything else to stderr.

#[cfg(feature = "telegram")]
mod account;
#[cfg(feature = "telegram")]
mod chats;
#[cfg(feature = "telegram")]
mod config;
#[cfg(feature = "telegram")]
mod control;
#[cfg(feature = "telegram")]
mod ctl;
mod demo;
#[cfg(feature = "telegram")]
mod doctor;
mod exit;
mod limits;
mod local;
mod log;
#[cfg(feature = "telegram")]
mod login;
mod metrics;
mod pictures;
mod play;
mod prepare;
mod probe;
mod say;
mod sources;
mod status;
mod stop;
#[cfg(feature = "telegram")]
mod stream;
mod values;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use exit::Exit;

const EXIT_CODES: &str = "\
Exit codes:
  0  ok                      5  chat not found or over, or no rights
  1  failure                 6  network unreachable
  2  wrong usage             7  media unusable
  3  bad configuration       8  expectations not met
  4  not signed in           9  flood wait over budget
                           130  interrupted twice, or `prepare` once";

/// Join video chats and stream audio and video files into them.
#[derive(Debug, Parser)]
#[command(name = "telecast", version, about, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[cfg(feature = "telegram")]
    #[command(flatten)]
    config: config::ConfigArgs,

    #[command(flatten)]
    log: log::LogArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Local(local::LocalArgs),
    Play(Box<play::PlayArgs>),
    #[cfg(feature = "telegram")]
    Ctl(ctl::CtlArgs),
    Probe(probe::ProbeArgs),
    Prepare(prepare::PrepareArgs),
    #[cfg(feature = "telegram")]
    Login(login::LoginArgs),
    #[cfg(feature = "telegram")]
    Logout(login::LogoutArgs),
    #[cfg(feature = "telegram")]
    Accounts(login::AccountsArgs),
    #[cfg(feature = "telegram")]
    Whoami(login::WhoamiArgs),
    #[cfg(feature = "telegram")]
    Chats(chats::ChatsArgs),
    #[cfg(feature = "telegram")]
    Doctor(doctor::DoctorArgs),
}

/// Calls that one thread is enough for: it is half busy with so many on a small machine.
const SOUNDS_PER_THREAD: usize = 128;
/// With pictures, the sound of a call would wait too long for the keyframes of so many others.
const PICTURES_PER_THREAD: usize = 64;

/// Parses the arguments and runs what they ask for.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results; a broken pipe to a pager is nobody's failure.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
        }
    };
    cli.log.install();
    limits::raise_open_files();
    #[cfg(feature = "telegram")]
    let cli = match configured(cli) {
        Ok(cli) => cli,
        Err(error) => return exit::report(Err(error)),
    };
    match cli.command {
        Command::Demo(args) => exit::report(demo::run(args)),
        Command::Local(args) => exit::report(local::run(args)),
        Command::Play(args) => exit::report(play::run(*args)),
        #[cfg(feature = "telegram")]
        Command::Ctl(args) => exit::report(ctl::run(&args)),
        Command::Probe(args) => exit::report(probe::run(&args)),
        Command::Prepare(args) => exit::report(prepare::run(&args)),
        #[cfg(feature = "telegram")]
        Command::Login(args) => exit::report(login::login(&args)),
        #[cfg(feature = "telegram")]
        Command::Logout(args) => exit::report(login::logout(&args)),
        #[cfg(feature = "telegram")]
        Command::Accounts(args) => exit::report(login::accounts(&args)),
        #[cfg(feature = "telegram")]
        Command::Whoami(args) => exit::report(login::whoami(&args)),
        #[cfg(feature = "telegram")]
        Command::Chats(args) => exit::report(chats::run(&args)),
        #[cfg(feature = "telegram")]
        Command::Doctor(args) => exit::report(doctor::run(&args)),
    }
}

/// Reads the configuration for the commands that have a use for it.
#[cfg(feature = "telegram")]
fn configured(mut cli: Cli) -> anyhow::Result<Cli> {
    let account = match &mut cli.command {
        Command::Play(args) if args.needs_account() => {
            args.configure(cli.config.load()?)?;
            return Ok(cli);
        }
        Command::Doctor(args) => {
            args.configure(cli.config.load());
            return Ok(cli);
        }
        Command::Login(args) => &mut args.account,
        Command::Logout(args) => &mut args.account,
        Command::Whoami(args) => &mut args.account,
        Command::Chats(args) => &mut args.account,
        Command::Ctl(args) => &mut args.account,
        _ => return Ok(cli),
    };
    account.configure(&cli.config.load()?)?;
    Ok(cli)
}

/// The runtime that every command runs on.
fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_multi_thread().enable_all().thread_name("telecast").build()?)
}

/// The runtime for so many calls: where one thread is enough, threads that wake one another would
/// cost more than the calls.
fn runtime_for(n_calls: usize, has_pictures: bool) -> anyhow::Result<Runtime> {
    if n_calls > if has_pictures { PICTURES_PER_THREAD } else { SOUNDS_PER_THREAD } {
        return runtime();
    }
    Ok(Builder::new_current_thread().enable_all().thread_name("telecast").build()?)
}
