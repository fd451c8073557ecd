//! `telecast local` as its users have it: a bot of another process, a foreign MTProto client, a
//! client that speaks HTTP and a browser in the same room.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::foreign::Foreign;
use crate::realtime;
use crate::webdriver::Browser;

/// In the page's own words: it hears somebody and shows moving pictures.
const MOVING: &str =
    "(await telecastStats()).participants.some((p) => p.video?.framesDecoded > 30 && p.audio)";

/// A process that ends with the test.
struct Running(Child);

impl Running {
    fn start(args: &[&str], home: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_telecast"));
        command
            .args(args)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
            .env("XDG_DATA_HOME", home)
            .env("XDG_CONFIG_HOME", home)
            .env("API_ID", "1")
            .env("API_HASH", "local")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// Asks it to end, as the system does.
    fn stop(mut self) -> (Option<i32>, String) {
        let killed = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.0.wait().unwrap().code(), said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One request over HTTP/1.0; gives status line and body.
fn http(addr: &str, request: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    let length = body.len();
    write!(stream, "{request} HTTP/1.0\r\nHost: {addr}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// The names of those in the room, as the HTTP door tells.
fn names(addr: &str) -> Vec<String> {
    let (_, body) = http(addr, "GET /participants?chat=demo", "");
    let page: Value = serde_json::from_str(&body).unwrap();
    let rows = page["participants"].as_array().unwrap();
    rows.iter().map(|row| row["peer"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn clients_of_every_kind_meet_in_the_room_of_telecast_local() {
    let _alone = realtime();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("sessions");
    let sessions = home.to_string_lossy();
    let args = ["local", "--http", "127.0.0.1:0", "--json", "--sessions", &sessions];
    let mut local = Running::start(&args, folder.path());
    let mut line = String::new();
    BufReader::new(local.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let told: Value = serde_json::from_str(&line).unwrap();
    let door = told["http"].as_str().unwrap().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mtproto = &told["mtproto"];
    assert_eq!((&mtproto["chat"], &mtproto["data_home"]), (&json!("@demo"), &json!(sessions)));

    // Sessions are private.
    let session = |nth: usize| mtproto["accounts"][nth]["session"].as_str().unwrap().to_owned();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(session(0).as_ref()), 0o600);
    assert_eq!(mode(Path::new(&session(0)).parent().unwrap()), 0o700);

    // Our own program, from another process.
    let play = ["play", "media/clip.mp4", "--loop", "--chat", "@demo", "--account", "main"];
    let play = Running::start(&play, &home);

    // A browser.
    let browser = Browser::start(1280, 800).unwrap();
    browser.open(told["page"].as_str().unwrap()).unwrap();
    browser.wait_until(MOVING, Duration::from_secs(20)).unwrap();

    // A client that speaks HTTP.
    let params = super::PARAMS.replace("\"ssrc\":7", "\"ssrc\":78");
    let join = json!({ "chat": "demo", "name": "by http", "params": params }).to_string();
    let (status, body) = http(&door, "POST /join", &join);
    assert!(status.contains("200") && body.contains("\"transport\""), "{status} {body}");

    // A foreign MTProto client, with the session of the other account.
    let stored: Value = serde_json::from_str(&std::fs::read_to_string(session(1)).unwrap()).unwrap();
    let key = stored["dcs"]["2"]["key"].as_str().unwrap();
    let (ip, port) = mtproto["addr"].as_str().unwrap().split_once(':').unwrap();
    let mut guest = Foreign::start("foreign_telegram.py", &[ip, port, "@demo"]).unwrap();
    writeln!(guest.0.stdin.as_mut().unwrap(), "{key}").unwrap();
    let mut out = BufReader::new(guest.0.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let there = names(&door);
    for name in ["main", "guest", "by http"] {
        assert!(there.contains(&name.to_owned()), "{name}: {there:?}");
    }

    let (code, said) = play.stop();
    assert_eq!(code, Some(0), "{said}");
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(guest.0.wait().unwrap().success(), "{rest}");
    let seen: Value = serde_json::from_str(&rest).unwrap();
    assert_eq!(seen["me"], "guest", "{seen:#}");
    assert!(seen["participants"].as_array().unwrap().len() >= 3, "{seen:#}");
    drop(browser);
    let (code, said) = local.stop();
    assert_eq!(code, Some(0), "{said}");
    assert!(Path::new(&session(0)).exists(), "who names a folder keeps it");
}

#[test]
fn sessions_that_nobody_asked_for_are_removed_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut local = Running::start(&["local", "--http", "127.0.0.1:0", "--json"], folder.path());
    let mut line = String::new();
    BufReader::new(local.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let told: Value = serde_json::from_str(&line).unwrap();
    let home = told["mtproto"]["data_home"].as_str().unwrap().to_owned();
    let mut chats = Running::start(&["chats", "--live"], home.as_ref());
    let mut listed = String::new();
    chats.0.stdout.take().unwrap().read_to_string(&mut listed).unwrap();
    assert!(chats.0.wait().unwrap().success() && listed.contains("demo"), "{listed}");
    assert_eq!(local.stop().0, Some(0));
    assert!(!Path::new(&home).exists(), "{home}");
}

#[test]
fn telethon_connects_as_the_documentation_says() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = folder.path().join("local");
    let sessions = sessions.to_string_lossy();
    let accounts = ["--account", "ann", "--account", "bob", "--http", "127.0.0.1:0"];
    let args = [&["local", "--json", "--sessions", &sessions][..], &accounts].concat();
    let mut local = Running::start(&args, folder.path());
    BufReader::new(local.0.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();

    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/testing.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let (_, script) = docs.split_once("```python\n").unwrap();
    let (script, _) = script.split_once("```").unwrap();
    let mut python = Foreign::python().unwrap();
    let told = python.arg("-c").arg(script).current_dir(folder.path()).output().unwrap();
    assert_eq!(
        String::from_utf8(told.stdout).unwrap(),
        "bob ['demo']\n",
        "{}",
        String::from_utf8_lossy(&told.stderr)
    );
    assert_eq!(local.stop().0, Some(0));
}
