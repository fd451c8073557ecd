//! `telecast demo`: a video chat on this machine, a bot in it, and a page or a watcher to judge.

use std::net::SocketAddr;
#[cfg(feature = "telegram")]
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::exit::{self, Exit};
use super::status::StatusLine;
use super::{say, stop, values};
use crate::call::{Call, ChatId, JoinOptions, LeftReason, Signaling};
use crate::emulator::measure::{Report, Verdict, Wanted};
#[cfg(feature = "telegram")]
use crate::emulator::mtproto::{ChatKind, NewCall, NewChat};
use crate::emulator::watcher::WatchOptions;
use crate::emulator::{Emulator, EmulatorOptions, Weather};
use crate::media::plan::Plan;
use crate::media::{Reader, ReaderOptions};
use crate::player::{Item, Player, PlayerOptions, Repeat};
#[cfg(feature = "telegram")]
use crate::telegram::{Client, ClientOptions, Datacenter, Session, SignalingOptions, TelegramSignaling};

/// The chat's name, and the bot's in it.
const CHAT: &str = "demo";
const BOT: &str = "bot";
/// What is played when nothing is given: clips that carry frame numbers, flashes and beeps.
const DEFAULT_CLIPS: [&str; 2] = ["media/clip.mp4", "media/clip.mkv"];
/// What is played outside the repository, where the clips are not.
const NO_CLIPS: &str = "test:";

/// Start a video chat on this machine and let a bot play into it, through the same code that
/// joins Telegram.
///
/// Prints a link to a page that shows and plays the chat. With `--headless` an independent
/// watcher decodes what arrives instead, and says whether it was good.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  telecast demo
  telecast demo film.mp4 music.mp3
  telecast demo 'test:640x360@25'
  telecast demo --headless --for 10s --json
  telecast demo --headless --for 20s --impair 'loss=5%,delay=40ms,seed=7'")]
pub(super) struct DemoArgs {
    /// What to play, in a loop; when nothing is given, the clips in media/, or `test:` where they
    /// are not
    #[arg(value_name = "SOURCE")]
    sources: Vec<PathBuf>,

    #[command(flatten)]
    pictures: super::pictures::PictureArgs,

    #[command(flatten)]
    from: super::sources::SourceArgs,

    /// No page: a watcher decodes what arrives and gives a verdict; exit code 8 when it is bad
    #[arg(long)]
    headless: bool,

    /// End after this long, for example 10s; without it, Ctrl-C ends
    #[arg(long = "for", value_name = "DURATION", value_parser = values::duration)]
    length: Option<Duration>,

    /// The verdict as one JSON object
    #[arg(long, requires = "headless")]
    json: bool,

    /// The network between bot and chat, for example 'loss=5%,delay=40ms,repair=off,seed=7'
    #[arg(long, value_name = "WEATHER", value_parser = Weather::parse)]
    impair: Option<Weather>,

    /// Where the page listens; port 0 takes any free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR", conflicts_with = "headless")]
    http: SocketAddr,
}

impl DemoArgs {
    fn reader(&self) -> anyhow::Result<ReaderOptions> {
        self.from.apply(self.pictures.reader(true))
    }
}

pub(super) fn run(args: DemoArgs) -> anyhow::Result<Exit> {
    let sources = sources(&args)?;
    let reader = args.reader()?;
    let (plans, mut first) = look(&sources, &reader)?;
    let item = |source: &PathBuf| match first.take() {
        Some(opened) => Item::opened(source, reader.clone(), opened),
        None => Item::file_with(source, reader.clone()),
    };
    let items = sources.iter().map(item).collect();
    super::runtime()?.block_on(async {
        let stop = stop::on_signal()?;
        let options = EmulatorOptions { weather: args.impair.clone(), ..EmulatorOptions::default() };
        let emulator = Emulator::start(options).await?;
        let result = Demo { args: &args, emulator: &emulator, stop, items, plans }.run().await;
        emulator.shutdown().await;
        result
    })
}

fn sources(args: &DemoArgs) -> anyhow::Result<Vec<PathBuf>> {
    if !args.sources.is_empty() {
        return Ok(args.from.expand(&args.sources)?);
    }
    // One clip is enough to be judged by; two make a nicer loop to look at.
    let clips = if args.headless { &DEFAULT_CLIPS[..1] } else { &DEFAULT_CLIPS[..] };
    if clips.iter().any(|clip| !Path::new(clip).exists()) {
        return Ok(vec![PathBuf::from(NO_CLIPS)]);
    }
    Ok(clips.iter().map(PathBuf::from).collect())
}

/// Opens every source: what cannot be played is told before anything starts. The first is kept
/// open, because it plays at once.
fn look(sources: &[PathBuf], options: &ReaderOptions) -> anyhow::Result<(Vec<Plan>, Option<Reader>)> {
    let (mut plans, mut first) = (Vec::new(), None);
    for source in sources {
        let reader = Reader::open(source, options.clone());
        let reader = reader.with_context(|| format!("cannot play {}", source.display()))?;
        plans.push(reader.plan().clone());
        first.get_or_insert(reader);
    }
    Ok((plans, first))
}

struct Demo<'a> {
    args: &'a DemoArgs,
    emulator: &'a Emulator,
    stop: CancellationToken,
    items: Vec<Item>,
    plans: Vec<Plan>,
}

impl Demo<'_> {
    async fn run(self) -> anyhow::Result<Exit> {
        let chat = ChatId(CHAT.to_owned());
        let watcher = if self.args.headless {
            let options = WatchOptions { of: Some(BOT.to_owned()), ..WatchOptions::default() };
            Some(self.emulator.watch(&chat, options).await?)
        } else {
            let http = self.emulator.serve_http(self.args.http).await?;
            say::result(format_args!("http://{http}/?chat={CHAT}"))?;
            say::remark("open the link in a browser; Ctrl-C leaves the chat");
            None
        };

        let player = Player::start(PlayerOptions { repeat: Repeat::All, ..PlayerOptions::default() });
        for item in &self.items {
            player.enqueue(item.clone()).await?;
        }
        let join = JoinOptions { video: self.wanted().video, ..JoinOptions::default() };
        let way = Way::open(self.emulator).await?;
        let call = Call::join(way.chat(), way.signaling(), &player, join);

        let ended = self.watch_over(&call, &player).await;
        let report = match &watcher {
            Some(watcher) => Some(watcher.report(self.wanted()).await?),
            None => None,
        };
        call.leave(LeftReason::Command).await;
        let reason = call.closed().await;
        player.close().await;
        way.close().await;
        if let Some(watcher) = watcher {
            watcher.stop().await?;
        }
        tracing::info!(?reason, "left");
        match (report, ended) {
            (Some(mut report), Some(early)) => {
                report.verdict = Verdict::Bad;
                report.reasons.insert(0, ended_early(early));
                self.judge(report)
            }
            (Some(report), None) => self.judge(report),
            (None, Some(LeftReason::Failed(error))) => Err(error.into()),
            (None, _) => Ok(Exit::Ok),
        }
    }

    /// Waits for the end, with a line that shows how it goes. Gives what ended the call early.
    async fn watch_over(&self, call: &Call, player: &Player) -> Option<LeftReason> {
        let mut line = StatusLine::new(call, player, self.emulator, CHAT, BOT);
        let length = async {
            match self.args.length {
                // The verdict is about media: the clock starts when the first has been confirmed.
                Some(length) if call.joined().await.is_ok() => tokio::time::sleep(length).await,
                _ => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            reason = call.closed() => Some(reason),
            () = length => None,
            () = self.stop.cancelled() => None,
            () = line.run() => Some(call.closed().await),
        };
        line.clear();
        ended
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            video: self.plans.iter().any(|plan| plan.video.is_played()),
            audio: self.plans.iter().any(|plan| plan.audio.is_played()),
        }
    }

    fn judge(&self, mut report: Report) -> anyhow::Result<Exit> {
        let plan = &self.plans[0];
        report.signaling = Some(Way::NAME.to_owned());
        report.plan = Some(json!({ "audio": plan.audio.to_string(), "video": plan.video.to_string() }));
        if self.args.json {
            say::result(serde_json::to_string(&report)?)?;
        } else {
            say::result(Summary(&report))?;
        }
        let good = report.verdict == Verdict::Ok;
        Ok(if good { Exit::Ok } else { exit::Exit::Expectations })
    }
}

/// What to say of a call that was over before its time.
fn ended_early(reason: LeftReason) -> String {
    match reason {
        LeftReason::Failed(error) => format!("the bot's call failed: {:#}", anyhow::Error::new(error)),
        other => format!("the bot's call ended early: {}", other.word()),
    }
}

/// How the bot gets into the chat: as a signed-in client of a Telegram on this machine, on the
/// very path that leads to the real one.
#[cfg(feature = "telegram")]
struct Way {
    client: Client,
    signaling: TelegramSignaling,
}

#[cfg(feature = "telegram")]
impl Way {
    const NAME: &str = "mtproto";

    async fn open(emulator: &Emulator) -> anyhow::Result<Self> {
        let door = emulator.serve_mtproto(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).await?;
        let account = door.add_account(BOT);
        let chat = door.add_chat(&NewChat {
            kind: ChatKind::Supergroup,
            title: "Demo",
            username: Some(CHAT),
            room: CHAT,
            admins: &[account],
        });
        door.begin_call(chat, &NewCall::default());
        let key = door.add_key(Some(account));
        let session = Session::in_memory();
        let dc = |id| Datacenter { id, addr: door.local_addr(), key: Some(key.clone()) };
        session.set_datacenters(&[1, 2, 3, 4, 5].map(dc))?;
        session.assume_signed_in()?;
        // Nobody checks these here.
        let options = ClientOptions::new(1, String::from("demo"));
        let client = Client::connect(session, options).await?;
        let signaling = TelegramSignaling::new(client.clone(), SignalingOptions::default());
        Ok(Self { client, signaling })
    }

    fn chat(&self) -> ChatId {
        ChatId(format!("@{CHAT}"))
    }

    const fn signaling(&self) -> &dyn Signaling {
        &self.signaling
    }

    async fn close(self) {
        self.client.shutdown().await;
    }
}

/// How the bot gets into the chat: by the emulator's door for its own process.
#[cfg(not(feature = "telegram"))]
struct Way(std::sync::Arc<dyn Signaling>);

#[cfg(not(feature = "telegram"))]
impl Way {
    const NAME: &str = "in-process";

    #[expect(clippy::unused_async, reason = "the other way has to wait")]
    async fn open(emulator: &Emulator) -> anyhow::Result<Self> {
        Ok(Self(emulator.signaling(BOT)))
    }

    fn chat(&self) -> ChatId {
        ChatId(CHAT.to_owned())
    }

    fn signaling(&self) -> &dyn Signaling {
        &*self.0
    }

    #[expect(clippy::unused_async, reason = "the other way has to wait")]
    async fn close(self) {}
}

/// The verdict for people.
struct Summary<'a>(&'a Report);

impl std::fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let report = self.0;
        let verdict = if report.verdict == Verdict::Ok { "ok" } else { "bad" };
        writeln!(f, "verdict  {verdict}")?;
        for reason in &report.reasons {
            writeln!(f, "         {reason}")?;
        }
        writeln!(f, "join     {} ms until the first media", report.join_ms)?;
        if let Some(video) = &report.video {
            write!(
                f,
                "video    {} {}x{}, {} pictures at {:.1} fps",
                video.codec, video.width, video.height, video.frames_decoded, video.fps
            )?;
            if let Some(missing) = video.frame_numbers_missing {
                write!(f, ", {missing} missing")?;
            }
            writeln!(f, ", {} freezes", video.freezes)?;
        }
        if let Some(audio) = &report.audio {
            write!(
                f,
                "audio    {}, {} packets, {} ms made up",
                audio.codec, audio.packets, audio.concealed_ms
            )?;
            if let Some(hz) = audio.dominant_hz {
                write!(f, ", {hz:.0} Hz")?;
            }
            if let (Some(left), Some(right)) = (audio.left_dbfs, audio.right_dbfs) {
                write!(f, ", left {left:.1} dBFS, right {right:.1} dBFS")?;
            }
            writeln!(f)?;
        }
        if let Some(skew) = &report.av_skew_ms {
            writeln!(
                f,
                "a/v      sound {:+.1} ms after the picture, at most {:+.1} ms",
                skew.median, skew.max
            )?;
        }
        write!(f, "network  {} packets lost, {} repaired", report.packets_lost, report.packets_repaired)
    }
}
