use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::sync::mpsc;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::*;
use crate::call::signaling::{ChatId, Incoming, LINK_CAPACITY, Link, Method, Reply, Request, Signaling};
use crate::call::{Call, JoinOptions, LeftReason};
use crate::emulator::watcher::WatchOptions;
use crate::emulator::{Emulator, EmulatorOptions};
use crate::player::{Player, PlayerOptions};

/// Everything that was logged.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes everything on, remembers the passwords, and prints what passes.
#[derive(Debug)]
struct Eavesdropper {
    inner: Arc<dyn Signaling>,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Debug, Default)]
struct Heard {
    ours: Vec<String>,
    theirs: Vec<String>,
    printed: String,
}

impl Heard {
    fn request(&mut self, request: &Request) {
        if let Method::Join(join) = &request.method {
            let params: Value = serde_json::from_str(join.params.expose()).unwrap();
            self.ours.push(params["pwd"].as_str().unwrap().to_owned());
        }
        write!(self.printed, "{request:?} {request:#?}").unwrap();
    }

    fn incoming(&mut self, incoming: &Incoming) {
        if let Incoming::Reply { result: Ok(Reply::Joined { params }), .. } = incoming {
            let params: Value = serde_json::from_str(params.expose()).unwrap();
            self.theirs.push(params["transport"]["pwd"].as_str().unwrap().to_owned());
        }
        write!(self.printed, "{incoming:?} {incoming:#?}").unwrap();
    }
}

impl Signaling for Eavesdropper {
    fn open(&self, chat: &ChatId) -> Link {
        let mut inner = self.inner.open(chat);
        let (requests, mut asked) = mpsc::channel(LINK_CAPACITY);
        let (told, incoming) = mpsc::channel(LINK_CAPACITY);
        let heard = self.heard.clone();
        // Ends with either side.
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    request = asked.recv() => {
                        let Some(request) = request else { return };
                        heard.lock().unwrap().request(&request);
                        if inner.requests.send(request).await.is_err() { return }
                    }
                    said = inner.incoming.recv() => {
                        let Some(said) = said else { return };
                        heard.lock().unwrap().incoming(&said);
                        if told.send(said).await.is_err() { return }
                    }
                }
            }
        });
        Link { requests, incoming }
    }
}

#[test]
fn a_newcomer_is_told_our_warnings_and_everybodys_errors() {
    let args = LogArgs { verbose: 0, quiet: false, log_format: LogFormat::Compact, color: Color::Never };
    let log = Log::default();
    let writer = log.clone();
    let all = lines(LogFormat::Compact, false, move || writer.clone());
    let installed = subscriber(EnvFilter::new(args.level()), all).set_default();
    tracing::warn!(target: "rtc_dtls::config", "theirs");
    tracing::error!(target: "rtc_dtls::config", "grave");
    tracing::info!(target: "telecast::call", "chatter");
    tracing::warn!(target: "telecast::call", "ours");
    drop(installed);
    let text = log.text();
    let told: Vec<bool> = ["theirs", "grave", "chatter", "ours"].map(|word| text.contains(word)).to_vec();
    assert_eq!(told, [false, true, false, true], "{text}");
}

/// One thread, so that one subscriber sees the client, the server, the watcher and the libraries.
#[tokio::test]
async fn no_log_holds_an_ice_password() {
    let log = Log::default();
    let writer = log.clone();
    let everything = lines(LogFormat::Compact, false, move || writer.clone());
    let _installed = subscriber(EnvFilter::new("trace,rtc_ice=trace"), everything).set_default();

    let emulator = Emulator::start(EmulatorOptions::default()).await.unwrap();
    let player = Player::start(PlayerOptions::default());
    let chat = ChatId("a".to_owned());
    let watcher = emulator.watch(&chat, WatchOptions::default()).await.unwrap();
    let heard = Arc::new(Mutex::new(Heard::default()));
    let signaling = Eavesdropper { inner: emulator.signaling("bot"), heard: heard.clone() };
    let call = Call::join(chat, &signaling, &player, JoinOptions::default());
    call.joined().await.unwrap();
    call.leave(LeftReason::Command).await;
    call.closed().await;
    player.close().await;
    watcher.stop().await.unwrap();
    emulator.shutdown().await;

    let (log, heard) = (log.text(), heard.lock().unwrap());
    assert!(!heard.ours.is_empty() && !heard.theirs.is_empty(), "nobody has joined: {heard:?}");
    assert!(log.contains(" TRACE ") && log.contains("telecast::call"), "it was logged: {log}");
    assert!(log.contains("str0m") && log.contains("rtc"), "the libraries were, too: {log}");
    assert!(heard.printed.contains("Joined") && heard.printed.contains("***"), "{}", heard.printed);
    for pwd in heard.ours.iter().chain(&heard.theirs) {
        for text in [&log, &heard.printed] {
            let found = text.lines().find(|line| line.contains(pwd));
            assert_eq!(found, None, "the password {pwd} is printed");
        }
    }
    // Watcher, pages and whoever else: nothing may look like one.
    assert!(!log.contains("pwd\":") && !log.contains("ice-pwd:"), "a description is printed");
}
