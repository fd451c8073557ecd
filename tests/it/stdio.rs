//! The stdio interface as another program uses it: lines in, lines out, and a video chat on this
//! machine behind the requests.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use telecast::call::{ChatId, JoinError, JoinOptions, LeftReason};
use telecast::emulator::{Emulator, EmulatorOptions, JoinRequest, Joined};
use telecast::media::ReaderOptions;
use telecast::player::{Item, PlayerOptions};
use telecast::stdio::{self, Failure};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, DuplexStream, Lines};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::realtime;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
/// The promise: over within three seconds. The rest is for a busy machine.
const GOODBYE: Duration = Duration::from_secs(3);

fn media(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("media").join(name)
}

fn options(chats: &[&str], files: &[&str]) -> stdio::Options {
    stdio::Options {
        chats: chats.iter().map(|chat| ChatId((*chat).to_owned())).collect(),
        items: files.iter().map(|file| Item::file(media(file))).collect(),
        separate: false,
        player: PlayerOptions::default(),
        stay: false,
        stats_every: None,
        seats: Default::default(),
        reader: ReaderOptions::default(),
        join: JoinOptions::default(),
    }
}

/// A program that starts telecast and speaks to a video chat server for it.
struct Caller {
    emulator: Emulator,
    /// What a refused join is answered with.
    refusal: Option<Value>,
    /// The chat whose server takes no picture of ours.
    no_pictures: Option<String>,
    input: Option<DuplexStream>,
    output: Lines<tokio::io::BufReader<DuplexStream>>,
    stop: Option<oneshot::Sender<()>>,
    run: JoinHandle<Option<Failure>>,
    joined: BTreeMap<String, Joined>,
    /// Every line so far.
    seen: Vec<Value>,
}

impl Caller {
    async fn start(options: stdio::Options) -> Self {
        let emulator = Emulator::start(EmulatorOptions::default()).await.unwrap();
        let (input, their_input) = tokio::io::duplex(64 * 1024);
        let (their_output, output) = tokio::io::duplex(64 * 1024);
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            if stopped.await.is_err() {
                std::future::pending().await
            }
        };
        let run = stdio::run(options, tokio::io::BufReader::new(their_input), their_output, stopped);
        Self {
            emulator,
            refusal: None,
            no_pictures: None,
            input: Some(input),
            output: tokio::io::BufReader::new(output).lines(),
            stop: Some(stop),
            run: tokio::spawn(run),
            joined: BTreeMap::new(),
            seen: Vec::new(),
        }
    }

    async fn say(&mut self, line: &Value) {
        self.say_raw(&line.to_string()).await;
    }

    async fn say_raw(&mut self, line: &str) {
        let input = self.input.as_mut().expect("our end is open");
        input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// The next line, once the request that it may be has been answered.
    async fn next(&mut self) -> Option<Value> {
        let line = tokio::time::timeout(PATIENCE, self.output.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("no line for a long time; so far: {:#?}", self.seen));
        let line: Value = serde_json::from_str(&line.unwrap()?).expect("every line is JSON");
        self.seen.push(line.clone());
        if line["type"] == "request" && self.input.is_some() {
            let reply = self.answer(&line).await;
            // Who said goodbye does not wait for the reply.
            if line["method"] != "leave" {
                self.say(&reply).await;
            }
        }
        Some(line)
    }

    async fn answer(&mut self, request: &Value) -> Value {
        let (id, chat) = (&request["id"], request["chat"].as_str().unwrap());
        match request["method"].as_str().unwrap() {
            "join" => {
                if let Some(error) = &self.refusal {
                    return json!({ "type": "reply", "id": id, "error": error });
                }
                let asked = JoinRequest {
                    chat: chat.to_owned(),
                    name: "bot".to_owned(),
                    params: request["params"].as_str().expect("params is a string").to_owned(),
                    muted: request["muted"].as_bool().unwrap(),
                    video_stopped: request["video_stopped"].as_bool().unwrap(),
                    observer: false,
                };
                let joined = self.emulator.join_raw(asked).await.unwrap();
                let mut params = joined.params.clone();
                if self.no_pictures.as_deref() == Some(chat) {
                    let mut answer: Value = serde_json::from_str(&params).unwrap();
                    let types = answer["video"]["payload-types"].as_array_mut().unwrap();
                    types.retain(|kind| kind["name"] == "VP9");
                    params = answer.to_string();
                }
                self.joined.insert(chat.to_owned(), joined);
                json!({ "type": "reply", "id": id, "params": params })
            }
            "check" => json!({ "type": "reply", "id": id, "sources": request["sources"] }),
            "participants" => {
                json!({ "type": "reply", "id": id, "participants": [], "version": 1, "next_offset": "" })
            }
            _ => json!({ "type": "reply", "id": id }),
        }
    }

    /// Reads on until a line is as wanted, and gives that.
    async fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            match self.next().await {
                Some(line) if wanted(&line) => return line,
                Some(_) => {}
                None => panic!("no {what} came: {:#?}", self.seen),
            }
        }
    }

    /// Sends a command and reads on until it is answered.
    async fn command(&mut self, mut command: Value) -> Value {
        let reference = format!("r{}", self.seen.len());
        command["type"] = "command".into();
        command["ref"] = reference.clone().into();
        self.say(&command).await;
        self.until("answer to a command", |line| line["ref"] == reference.as_str()).await
    }

    async fn until_status(&mut self, chat: &str, status: &str) -> Value {
        let done = |line: &Value| line["chat"] == chat && line["status"] == status;
        if let Some(line) = self.seen.iter().find(|line| done(line)) {
            return line.clone();
        }
        self.until(&format!("{status} of {chat}"), done).await
    }

    /// Reads to the end of the output and gives what the run came to, and how long it took.
    async fn end(mut self) -> (Vec<Value>, Option<Failure>, Duration) {
        let began = now();
        while self.next().await.is_some() {}
        let failed = (&mut self.run).await.unwrap();
        self.emulator.shutdown().await;
        (self.seen, failed, began.elapsed())
    }
}

#[expect(clippy::disallowed_methods, reason = "measures real time")]
fn now() -> Instant {
    Instant::now()
}

/// Runs a test in its turn: what is sent and measured in real time needs the machine.
fn alone(test: impl Future<Output = ()>) {
    let _alone = realtime();
    tokio::runtime::Runtime::new().unwrap().block_on(test);
}

fn of<'a>(lines: &'a [Value], key: &str, value: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line[key] == value).collect()
}

#[test]
fn three_chats_share_a_programme_until_stdin_ends() {
    alone(async {
        let chats = ["a", "b", "c"];
        let mut caller = Caller::start(options(&chats, &["clip.mp4", "clip.mkv"])).await;
        let hello = caller.next().await.unwrap();
        assert_eq!(hello, json!({ "type": "hello", "protocol": 1, "version": env!("CARGO_PKG_VERSION") }));
        for chat in chats {
            caller.until_status(chat, "joined").await;
        }
        let mut ids = Vec::new();
        for chat in chats {
            let of_chat: Vec<Value> = of(&caller.seen, "chat", chat).into_iter().cloned().collect();
            let joins = of(&of_chat, "method", "join");
            assert_eq!(joins.len(), 1, "{chat}: {joins:#?}");
            let join = joins[0];
            assert_eq!(
                (&join["attempt"], &join["muted"], &join["join_as"]),
                (&json!(1), &json!(false), &json!(null))
            );
            let params: Value = serde_json::from_str(join["params"].as_str().unwrap()).unwrap();
            assert_eq!(params["ssrc"], join["source"], "the source is the SSRC of the parameters");
            assert!(i32::try_from(join["source"].as_i64().unwrap()).is_ok(), "{join}");
            ids.push(join["id"].as_u64().unwrap());
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 3, "ids are unique in the process");

        let position = caller.until("position", |line| line["event"] == "position").await;
        assert!(position["duration_ms"].as_i64().unwrap() > 19_000, "{position}");
        let started = of(&caller.seen, "event", "item_started");
        assert_eq!(started.len(), 3, "one for each chat");
        assert_eq!(started[0]["plan"], json!({ "audio": "transcode: aac", "video": "copy" }));
        assert!(started[0]["source"].as_str().unwrap().ends_with("clip.mp4"), "{}", started[0]);

        for command in [
            json!({ "chat": "a", "command": "pause" }),
            json!({ "chat": "b", "command": "resume" }),
            json!({ "chat": "a", "command": "seek", "position_ms": 5000 }),
            json!({ "command": "volume", "percent": 80 }),
            json!({ "command": "crossfade", "length_ms": 2000 }),
            json!({ "command": "speed", "percent": 125 }),
            json!({ "chat": "b", "command": "mute" }),
            json!({ "chat": "b", "command": "unmute" }),
            json!({ "chat": "c", "command": "stats" }),
            json!({ "chat": "a", "command": "play", "source": media("music.ogg"), "now": false }),
            json!({ "chat": "a", "command": "skip" }),
        ] {
            let answer = caller.command(command.clone()).await;
            assert_eq!(answer["type"], "ack", "{command} was answered by {answer}");
        }
        let edits = of(&caller.seen, "method", "edit");
        let muted: Vec<&Value> = edits.iter().map(|edit| &edit["muted"]).collect();
        assert_eq!(muted, [&json!(true), &json!(false)]);
        let stats = of(&caller.seen, "event", "stats");
        assert!(stats[0]["stats"].as_array().is_some_and(|stats| !stats.is_empty()), "{stats:?}");
        caller.until("second item", |line| line["event"] == "item_started" && line["item"] == 2).await;
        let ended = of(&caller.seen, "event", "item_ended");
        assert!(ended.iter().any(|line| line["reason"] == "skipped"), "{ended:?}");

        let failures = [
            (json!({ "chat": "z", "command": "pause" }), "unknown_chat"),
            (json!({ "chat": "a", "command": "dance" }), "bad_command"),
            (json!({ "command": "mute" }), "bad_command"),
            (json!({ "chat": "a", "command": "join" }), "already_joined"),
            (json!({ "chat": "a", "command": "play", "source": "-" }), "bad_command"),
            (json!({ "chat": "a", "command": "volume", "percent": 900 }), "failed"),
            (json!({ "chat": "a", "command": "crossfade", "length_ms": 60_000 }), "failed"),
            (json!({ "chat": "a", "command": "speed", "percent": 300 }), "failed"),
        ];
        for (command, code) in failures {
            let answer = caller.command(command.clone()).await;
            assert_eq!(
                (&answer["type"], &answer["code"]),
                (&json!("error"), &json!(code)),
                "{command}: {answer}"
            );
        }
        caller.say_raw("{nonsense").await;
        caller.until("error about JSON", |line| line["code"] == "bad_json").await;

        for chat in chats {
            for kind in ["audio", "video"] {
                // A second of the programme comes with every position.
                for n_seconds in 0.. {
                    let stats = caller.emulator.stats(chat).await.unwrap();
                    let stream = stats[0].streams.iter().find(|stream| stream.kind == kind);
                    if stream.is_some_and(|stream| stream.packets > 20) {
                        break;
                    }
                    assert!(n_seconds < 5, "{chat} {kind}: {stats:#?}");
                    caller.until("position", |line| line["event"] == "position").await;
                }
            }
        }

        caller.input = None;
        let (lines, failed, took) = caller.end().await;
        assert!(failed.is_none(), "{failed:?}");
        assert!(took < GOODBYE, "{took:?}");
        for chat in chats {
            let of_chat: Vec<Value> = of(&lines, "chat", chat).into_iter().cloned().collect();
            let source = &of(&of_chat, "method", "join")[0]["source"];
            let leaves = of(&of_chat, "method", "leave");
            assert_eq!((leaves.len(), &leaves[0]["source"]), (1, source), "{chat}");
            assert_eq!(of(&of_chat, "status", "left")[0]["reason"], "command");
        }
    });
}

#[test]
fn a_camera_is_on_only_where_there_are_pictures() {
    let mut reader = ReaderOptions::default();
    reader.plan.video = false;
    let sound = Item::file_with(media("bframes.mp4"), reader.clone());
    let cases = [
        (options(&["a"], &["music.ogg"]), true, json!({ "audio": "copy", "video": null })),
        (options(&["a"], &["clip.mkv"]), false, json!({ "audio": "copy", "video": "copy" })),
        (
            stdio::Options {
                items: vec![sound],
                reader,
                join: JoinOptions { video: false, ..JoinOptions::default() },
                ..options(&["a"], &[])
            },
            true,
            json!({ "audio": "transcode: aac", "video": null }),
        ),
    ];
    for (options, stopped, plan) in cases {
        alone(async {
            let mut caller = Caller::start(options).await;
            let join = caller.until("join", |line| line["method"] == "join").await;
            assert_eq!(join["video_stopped"], stopped, "{plan}");
            let started = caller.until("item", |line| line["event"] == "item_started").await;
            assert_eq!(started["plan"], plan);
            let play = json!({ "command": "play", "source": media("bframes.mp4"), "now": true });
            if stopped && plan["audio"] != "copy" {
                assert_eq!(caller.command(play).await["type"], "ack");
                let second = |line: &Value| line["event"] == "item_started" && line["item"] == 2;
                assert_eq!(caller.until("second item", second).await["plan"], plan);
            }
            caller.input = None;
            assert!(caller.end().await.1.is_none());
        });
    }
}

#[test]
fn pictures_that_a_server_does_not_take_are_not_in_the_plan_of_its_chat() {
    alone(async {
        let mut caller = Caller::start(options(&["a"], &["clip.mkv"])).await;
        caller.no_pictures = Some("a".to_owned());
        let started = caller.until("item", |line| line["event"] == "item_started").await;
        assert_eq!(started["plan"], json!({ "audio": "copy", "video": null }));
        caller.input = None;
        assert!(caller.end().await.1.is_none());
    });
}

#[test]
fn it_ends_by_itself_after_the_last_item() {
    alone(async {
        let mut caller = Caller::start(options(&["a"], &["music.ogg"])).await;
        caller.until_status("a", "joined").await;
        let answer = caller.command(json!({ "chat": "a", "command": "seek", "position_ms": 15_000 })).await;
        assert_eq!(answer["type"], "ack", "{answer}");
        let (lines, failed, _) = caller.end().await;
        assert!(failed.is_none(), "{failed:?}");
        let told: Vec<(&Value, &Value)> = lines
            .iter()
            .filter(|line| line["event"] == "item_ended" || line["status"] == "left")
            .map(|line| (&line["event"], &line["reason"]))
            .collect();
        assert_eq!(
            told,
            [(&json!("item_ended"), &json!("finished")), (&json!("status"), &json!("ended"))],
            "{lines:#?}"
        );
        assert_eq!(of(&lines, "method", "leave").len(), 1);
    });
}

#[test]
fn an_item_that_plays_when_the_run_ends_is_told_as_stopped() {
    for separate in [false, true] {
        alone(async {
            let options = stdio::Options { separate, ..options(&["a", "b"], &["music.ogg"]) };
            let mut caller = Caller::start(options).await;
            for chat in ["a", "b"] {
                let started = |line: &Value| line["event"] == "item_started" && line["chat"] == chat;
                if !caller.seen.iter().any(started) {
                    caller.until("item", started).await;
                }
            }
            caller.stop.take().unwrap().send(()).unwrap();
            let (lines, failed, took) = caller.end().await;
            assert!(failed.is_none() && took < GOODBYE, "{failed:?} {took:?}");
            for chat in ["a", "b"] {
                let of_chat: Vec<Value> = of(&lines, "chat", chat).into_iter().cloned().collect();
                let told: Vec<(&Value, &Value)> = of_chat
                    .iter()
                    .filter(|line| line["event"] == "item_ended" || line["status"] == "left")
                    .map(|line| (&line["event"], &line["reason"]))
                    .collect();
                let wanted =
                    [(&json!("item_ended"), &json!("stopped")), (&json!("status"), &json!("command"))];
                assert_eq!(told, wanted, "{chat}: {of_chat:#?}");
            }
        });
    }
}

#[test]
fn a_chat_that_is_left_can_be_joined_again_and_staying_outlasts_the_last_chat() {
    alone(async {
        let options = stdio::Options { stay: true, ..options(&["a"], &["music.ogg"]) };
        let mut caller = Caller::start(options).await;
        caller.until_status("a", "connected").await;
        // In one breath: the chat has not been left when it is joined again.
        caller.say(&json!({ "type": "command", "ref": 1, "chat": "a", "command": "leave" })).await;
        caller.say(&json!({ "type": "command", "ref": 2, "chat": "a", "command": "join" })).await;
        caller.say(&json!({ "type": "command", "ref": 3, "chat": "a", "command": "join" })).await;
        let left = caller.until("left", |line| line["status"] == "left").await;
        assert_eq!(left["reason"], "command");
        caller.until("connected", |line| line["status"] == "connected").await;
        let answers: Vec<&Value> =
            (1..=3).map(|n| &caller.seen.iter().find(|line| line["ref"] == n).unwrap()["type"]).collect();
        assert_eq!(answers, ["ack", "ack", "error"]);
        assert_eq!(of(&caller.seen, "method", "join").len(), 2);

        caller.command(json!({ "chat": "a", "command": "leave" })).await;
        caller.until("left", |line| line["status"] == "left").await;
        let answer = caller.command(json!({ "chat": "a", "command": "stats" })).await;
        assert_eq!(answer["code"], "unknown_chat", "still there, without a chat");
        caller.command(json!({ "chat": "b", "command": "join" })).await;
        caller.until_status("b", "connected").await;
        caller.input = None;
        let (lines, failed, _) = caller.end().await;
        assert!(failed.is_none(), "{failed:?}");
        let told: Vec<(&Value, &Value)> = lines
            .iter()
            .filter(|line| line["event"] == "status")
            .map(|line| (&line["chat"], &line["status"]))
            .collect();
        assert!(told.windows(2).all(|pair| pair[0] != pair[1]), "a status is told when it changes: {told:?}");
    });
}

#[test]
fn a_refused_join_is_told_and_ends_the_run() {
    alone(async {
        let mut caller = Caller::start(options(&["a"], &["music.ogg"])).await;
        caller.refusal = Some(json!({ "code": 403, "message": "GROUPCALL_FORBIDDEN" }));
        let left = caller.until_status("a", "left").await;
        assert_eq!(left["reason"], "failed");
        assert_eq!(left["error"]["code"], "GROUPCALL_FORBIDDEN");
        assert_eq!(left["error"]["retryable"], false);
        let (lines, failed, took) = caller.end().await;
        assert!(
            matches!(failed, Some(Failure::Left(LeftReason::Failed(JoinError::Signaling(_))))),
            "{failed:?}"
        );
        assert!(took < GOODBYE, "{took:?}");
        assert!(of(&lines, "method", "leave").is_empty(), "nobody was let in: {lines:#?}");
    });
}

#[test]
fn being_thrown_out_is_told_and_no_failure() {
    alone(async {
        let mut caller = Caller::start(options(&["a"], &["music.ogg"])).await;
        caller.until_status("a", "connected").await;
        let source = of(&caller.seen, "method", "join")[0]["source"].clone();
        let row = json!({ "self": true, "source": source, "left": true, "peer": { "user_id": 1 } });
        caller.say(&json!({ "type": "update", "chat": "a", "participants": [row], "version": 2 })).await;
        assert_eq!(caller.until_status("a", "left").await["reason"], "kicked");
        let (_, failed, _) = caller.end().await;
        assert!(failed.is_none(), "{failed:?}");
    });
}

#[test]
fn a_signal_leaves_even_if_nobody_reads_and_long_lines_are_skipped() {
    alone(async {
        let mut caller = Caller::start(options(&["a"], &["music.ogg"])).await;
        caller.until_status("a", "connected").await;
        let long =
            format!(r#"{{"type":"command","ref":"x","command":"pause","pad":"{}"}}"#, "x".repeat(3 << 20));
        // The other side has to read while we write more than the pipe holds; it does.
        caller.say_raw(&long).await;
        caller.until("error about the line", |line| line["code"] == "line_too_long").await;
        let answer = caller.command(json!({ "chat": "a", "command": "pause" })).await;
        assert_eq!(answer["type"], "ack", "the next line is read as usual: {answer}");
        assert_eq!(of(&caller.seen, "code", "line_too_long").len(), 1);

        caller.stop.take().unwrap().send(()).unwrap();
        let (lines, failed, took) = caller.end().await;
        assert!(failed.is_none() && took < GOODBYE, "{failed:?} {took:?}");
        assert_eq!(of(&lines, "method", "leave").len(), 1);
        assert_eq!(of(&lines, "status", "left")[0]["reason"], "command");
    });
}

#[test]
fn a_caller_that_does_not_read_cannot_hold_up_the_end() {
    alone(async {
        let mut caller = Caller::start(options(&["a"], &["music.ogg"])).await;
        caller.until_status("a", "connected").await;
        // Each is answered by a line of its own, until pipe, queue and inbox are full.
        let line =
            json!({ "type": "command", "ref": "y".repeat(1000), "chat": "nobody", "command": "pause" });
        let flood = async {
            for _ in 0..5000 {
                caller.say(&line).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(1), flood).await.is_err(), "everything is bounded");
        caller.stop.take().unwrap().send(()).unwrap();
        let began = now();
        let run = tokio::time::timeout(PATIENCE, &mut caller.run).await;
        assert!(run.expect("it ends").unwrap().is_none());
        assert!(began.elapsed() < GOODBYE, "{:?}", began.elapsed());
        caller.emulator.shutdown().await;
    });
}

#[test]
fn every_item_that_was_queued_ends_for_the_caller() {
    alone(async {
        let mut caller = Caller::start(options(&["a"], &["music.ogg"])).await;
        caller.until_status("a", "connected").await;
        let answer = caller.command(json!({ "command": "pause" })).await;
        assert_eq!(answer["type"], "ack", "{answer}");
        for round in 0..10 {
            for n in 0..100 {
                let reference = format!("play {}", round * 100 + n);
                let line = json!({ "type": "command", "ref": reference, "command": "play",
                                   "source": media("music.ogg") });
                caller.say(&line).await;
            }
            let last = format!("play {}", round * 100 + 99);
            let answer = caller.until("ack", |line| line["ref"] == last.as_str()).await;
            assert_eq!(answer["type"], "ack", "{answer}");
        }
        let answer = caller.command(json!({ "command": "stop" })).await;
        assert_eq!(answer["type"], "ack", "{answer}");
        let (lines, failed, _) = caller.end().await;
        assert!(failed.is_none(), "{failed:?}");
        let ended: Vec<&Value> = of(&lines, "event", "item_ended").iter().map(|line| &line["item"]).collect();
        assert_eq!(ended, (1..=1001).map(Value::from).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    });
}

#[test]
fn a_join_that_succeeds_too_late_is_undone() {
    alone(async {
        let mut caller = Caller::start(options(&["a", "b"], &["music.ogg"])).await;
        let is_join = |line: &Value| line["method"] == "join" && line["chat"] == "a";
        // Read by hand: this request is not answered yet.
        let join = loop {
            let line = caller.output.next_line().await.unwrap().unwrap();
            let line: Value = serde_json::from_str(&line).unwrap();
            if is_join(&line) {
                break line;
            }
            if line["type"] == "request" {
                let reply = caller.answer(&line).await;
                caller.say(&reply).await;
            }
        };
        caller.say(&json!({ "type": "command", "chat": "a", "command": "leave" })).await;
        caller.until_status("a", "left").await;
        caller.say(&json!({ "type": "reply", "id": join["id"], "params": "{}" })).await;
        // One goodbye at once, in case the server had let us in; one for the success that came late.
        let goodbyes = |seen: &[Value]| of(seen, "method", "leave").len();
        while goodbyes(&caller.seen) < 2 {
            caller.next().await.expect("a second leave");
        }
        for leave in of(&caller.seen, "method", "leave") {
            assert_eq!((&leave["chat"], &leave["source"]), (&json!("a"), &join["source"]));
        }
        caller.input = None;
        caller.end().await;
    });
}

/// The program itself, with pipes.
fn program(args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_telecast"))
        .args(["play", "--signaling", "stdio", "--chat", "a"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn the_program_says_hello_and_goodbye() {
    let _alone = realtime();
    let mut child = program(&[media("music.ogg").to_str().unwrap()]);
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        line
    });
    assert_eq!(lines.next().unwrap()["type"], "hello");
    let join = lines.find(|line| line["method"] == "join").unwrap();
    writeln!(stdin, r#"{{"type":"command","ref":1,"chat":"z","command":"pause"}}"#).unwrap();
    assert_eq!(lines.find(|line| line["type"] == "error").unwrap()["ref"], 1);
    let began = now();
    drop(stdin);
    let rest: Vec<Value> = lines.collect();
    assert_eq!(of(&rest, "method", "leave")[0]["source"], join["source"], "{rest:#?}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(began.elapsed() < GOODBYE, "{:?}", began.elapsed());
}

#[test]
fn the_programs_exit_codes_tell_media_and_usage_apart() {
    let _alone = realtime();
    let missing = program(&["no-such-file.mp4"]);
    let stdin = program(&["-"]);
    // `wait_with_output` would close stdin, which ends the program for another reason.
    for (mut child, code) in [(missing, 7), (stdin, 2)] {
        let stdin = child.stdin.take();
        let lines: Vec<String> =
            BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{lines:#?}");
        assert_eq!(lines.is_empty(), code == 2, "{lines:#?}");
        drop(stdin);
    }
}

#[test]
fn a_full_disk_is_a_failure_and_a_file_that_cannot_be_played_is_named() {
    let _alone = realtime();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let start = |file: &str, stdout: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_telecast"));
        command.args(["play", "--signaling", "stdio", "--chat", "a"]).arg(media(file));
        command.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap()
    };
    for (file, stdout, code, words) in
        [("music.ogg", Stdio::from(full), 1, "stdout"), ("README.md", Stdio::piped(), 7, "README.md")]
    {
        let mut child = start(file, stdout);
        // As long as this is open, it is not stdin that ends the program.
        let stdin = child.stdin.take();
        let output = child.wait_with_output().unwrap();
        drop(stdin);
        let (said, told) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words), "{said}");
        let ended = told.lines().find(|line| line.contains("item_ended"));
        assert!(ended.is_none_or(|line| line.contains("cannot play") && line.contains(file)), "{told}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_program_may_open_as_many_files_as_the_system_allows() {
    let program = env!("CARGO_BIN_EXE_telecast");
    let script =
        format!("ulimit -Sn 64; ulimit -Hn 300; exec {program} play --signaling stdio --chat a music.ogg");
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .current_dir(media("."))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut hello = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut hello).unwrap();
    assert!(hello.contains("hello"), "{hello}");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["300", "300"]);
    drop(child.stdin.take());
    child.wait().unwrap();
}
