//! The program as a person with an account runs it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use telecast::emulator::RpcError;
use telecast::emulator::mtproto::{ChatKind, Fault, NewCall, NewChat};

use super::desk::{Desk, PHONE, stop, told};

#[tokio::test(flavor = "multi_thread")]
async fn chats_are_listed_with_their_video_chats() {
    let desk = Desk::new().await;
    desk.session(true);
    desk.chat("quiet", None);
    desk.chat("lively", Some(NewCall::default()));
    desk.chat("later", Some(NewCall { schedule_date: Some(i32::MAX), ..NewCall::default() }));
    let (code, out, said) = desk.run(&["chats", "--live", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let rows: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> = rows.iter().map(|row| (&row["title"], &row["video_chat"])).collect();
    let expected =
        [(&Value::from("lively"), &Value::from("live")), (&Value::from("later"), &Value::from("scheduled"))];
    assert_eq!(seen, expected);
    let (_, out, _) = desk.run(&["chats"]);
    let states: Vec<_> = out.lines().map(|line| line.split('\t').nth(2).unwrap()).collect();
    assert_eq!(states, ["none", "live", "scheduled"]);
    // One that cannot be looked into does not hide the others.
    desk.door.plan("channels.getFullChannel", Fault::Refuse(RpcError::new(400, "CHANNEL_PRIVATE")), 1);
    let (code, out, said) = desk.run(&["chats"]);
    assert_eq!((code, out.lines().count()), (Some(0), 3), "{said}");
    assert!(out.contains("unknown") && said.contains("CHANNEL_PRIVATE"), "{out}{said}");
    desk.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_is_played_into_a_chat_to_its_end() {
    let desk = Desk::new().await;
    desk.session(true);
    desk.chat("lively", Some(NewCall::default()));
    let chats = ["--chat", "@lively", "--chat", "https://t.me/lively"];
    let mut play = desk.command(&[&["play", "media/music.ogg", "--loop"][..], &chats].concat());
    let play = play.stderr(Stdio::piped()).spawn().unwrap();
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    let heard = async {
        loop {
            looks.tick().await;
            let stats = desk.emulator.stats("lively").await.unwrap();
            if stats.iter().any(|it| it.name == "ann" && it.streams.iter().any(|stream| stream.packets > 50))
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), heard).await.expect("sound arrives");
    let (code, _, said) = stop(play);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(desk.door.n_calls("phone.joinGroupCall"), 1, "an account is in a chat once");
    assert!(said.contains("given more than once"), "{said}");
    assert!(said.contains("@lively: joined"), "{said}");
    assert_eq!(desk.door.n_calls("phone.leaveGroupCall"), 1, "{said}");
    desk.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_programme_begins_where_it_is_told_to() {
    let desk = Desk::new().await;
    desk.session(true);
    desk.chat("lively", Some(NewCall::default()));
    let play = |options: &[&str]| {
        desk.run(&[&["play", "media/music.ogg", "--chat", "@lively"][..], options].concat())
    };
    // One second of the sixteen is left.
    #[expect(clippy::disallowed_methods, reason = "how long a program runs is what this is about")]
    let began = std::time::Instant::now();
    let (code, _, said) = play(&["--start-at", "15s", "--volume", "50", "--shuffle", "--repeat=off"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("playing media/music.ogg"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for (options, words) in [
        (&["--start-at", "soon"][..], "no duration"),
        (&["--volume", "201"], "200"),
        (&["--repeat=twice"], "one"),
        (&["--shuffle=x"], "digit"),
    ] {
        let (code, _, said) = play(options);
        assert!(code == Some(2) && said.contains(words), "{options:?}: {said}");
    }
    desk.end().await;
}

/// A web server with one file that is away until somebody asks for it the `until`th time; gives its
/// address.
fn moody_server(until: usize) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/music.ogg", listener.local_addr().unwrap());
    let file = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("media/music.ogg")).unwrap();
    std::thread::spawn(move || {
        for (nth, connection) in listener.incoming().enumerate() {
            let mut connection = connection.unwrap();
            let request = BufReader::new(&connection).lines().map_while(Result::ok);
            request.take_while(|line| !line.is_empty()).for_each(drop);
            let answer = if nth + 1 < until {
                b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
            } else {
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", file.len());
                [head.as_bytes(), &file].concat()
            };
            // Whoever has heard enough goes away.
            let _ = connection.write_all(&answer);
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_fails_is_skipped_retried_or_ends_the_program() {
    let desk = Desk::new().await;
    desk.session(true);
    desk.chat("lively", Some(NewCall::default()));
    // One second of the first is played, and then the turn is the other's.
    let play = |sources: &[&str], policy: &str| {
        let options = ["--start-at", "15s", "--chat", "@lively", "--on-error", policy];
        desk.command(&[&["play"], sources, &options].concat())
    };
    let between =
        |address: &str, policy: &str| play(&["media/music.ogg", address, "media/music.mp3"], policy);
    let (code, _, said) = told(between(&moody_server(99), "stop").output().unwrap());
    assert!(code == Some(7) && said.contains("an item failed: ") && said.contains("503"), "{said}");
    assert!(!said.contains("playing media/music.mp3"), "{said}");
    let (code, _, said) = told(between("media/music.ogg", "again").output().unwrap());
    assert!(code == Some(2) && said.contains("retry=N"), "{said}");
    let moody = [2, 99, 99].map(moody_server);
    for (mut play, lines) in [
        (between(&moody[0], "retry"), &["again in 1 s (try 1 of 5)", "playing http://127.0.0.1"][..]),
        (
            between(&moody[1], "retry=1"),
            &["try 1 of 1", "cannot play http://127.0.0.1", "playing media/music.mp3"],
        ),
        (between(&moody[2], "skip"), &["cannot play http://127.0.0.1", "playing media/music.mp3"]),
        // What cannot be opened at the start, either.
        (play(&["no-such-file.ogg", "media/music.mp3"], "skip"), &["passed over", "playing media/music.mp3"]),
        (
            play(&["http://127.0.0.1:1/x.ogg", "media/music.mp3"], "retry=1"),
            &["it is tried again", "try 1 of 1", "playing media/music.mp3"],
        ),
    ] {
        let mut play = play.stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(play.stderr.take().unwrap()).lines().map(Result::unwrap);
        for words in lines {
            assert!(said.any(|line| line.contains(words)), "{words}");
        }
        stop(play);
    }
    desk.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_names_its_remedy() {
    let desk = Desk::new().await;
    desk.session(true);
    desk.chat("quiet", None);
    for (args, code, words) in [
        (&["play", "media/music.ogg", "--chat", "@quiet"][..], 5, "--start"),
        (&["play", "media/music.ogg", "--chat", "@nobody"], 5, "telecast chats"),
        (&["play", "media/music.ogg", "--chat", "quiet"], 2, "@name"),
        (&["play", "README.md", "--chat", "@quiet"], 7, "not a media file"),
        (&["play", "media/music.ogg", "--chat", "@quiet", "--start"], 5, "admins"),
        (&["login", "--phone", "123456:ABC-DEF"], 4, "user accounts"),
        (&["play", "media/music.ogg", "--chat", "me"], 5, "groups and channels"),
        (&["play", "media/music.ogg", "--chat", "t.me/+AbCdEfGh12"], 5, "ask for another"),
        (
            &["chats", "--account", "second"],
            4,
            "telecast login --account second`, or use --account with one of main",
        ),
        (&["play", "media/music.ogg", "--chat", "@quiet", "--start", "--as", "foo"], 2, "--as takes one of"),
        (&["chats", "--account", "a/b"], 2, "letters"),
    ] {
        let (exit, _, said) = desk.run(args);
        assert_eq!(exit, Some(code), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {said}");
    }
    // Whoever connects with an API_ID that Telegram does not know.
    let word = RpcError::new(400, "CONNECTION_API_ID_INVALID");
    desk.door.plan("help.getConfig", Fault::Refuse(word), 1);
    let (exit, _, said) = desk.run(&["whoami"]);
    assert!(exit == Some(3) && said.contains("my.telegram.org"), "{said}");
    let mut command = desk.command(&["chats"]);
    command.env_remove("API_ID");
    let (exit, _, said) = told(command.output().unwrap());
    assert_eq!(exit, Some(3), "{said}");
    assert!(said.contains("my.telegram.org"), "{said}");
    desk.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_a_message_is_played_while_it_is_fetched() {
    let desk = Desk::new().await;
    desk.session(true);
    let library = desk.door.add_chat(&NewChat {
        kind: ChatKind::Channel,
        title: "Library",
        username: Some("library"),
        room: "library",
        admins: &[],
    });
    let clip = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("media/clip.mp4")).unwrap();
    assert_eq!(desk.door.post_file(library, "clip.mp4", clip), 1);
    assert_eq!(desk.door.post_file(library, "notes.txt", "nothing to play".as_bytes()), 2);
    desk.chat("lively", Some(NewCall::default()));
    for (source, code, words) in [
        ("https://t.me/library/2", 7, "not a media file"),
        ("https://t.me/library/3", 7, "no file in message 3"),
        ("https://t.me/library", 2, "names no message"),
    ] {
        let (exit, _, said) = desk.run(&["play", source, "--chat", "@lively"]);
        assert_eq!(exit, Some(code), "{source}: {said}");
        assert!(said.contains(words), "{source}: {said}");
    }
    assert_eq!(desk.door.n_calls("phone.joinGroupCall"), 0, "nobody joins for nothing");
    let mut play = desk.command(&["play", "https://t.me/library/1", "--chat", "@lively"]);
    let play = play.stderr(Stdio::piped()).spawn().unwrap();
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    let arrives = async {
        loop {
            looks.tick().await;
            let stats = desk.emulator.stats("lively").await.unwrap();
            if stats.iter().any(|it| it.name == "ann" && it.streams.iter().all(|stream| stream.packets > 50))
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), arrives).await.expect("sound and pictures arrive");
    let (code, _, said) = stop(play);
    assert_eq!(code, Some(0), "{said}");
    desk.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_word_that_ends_a_join_has_its_exit_code_and_says_what_to_do() {
    let desk = Desk::new().await;
    desk.session(true);
    desk.chat("lively", Some(NewCall::default()));
    for (code, word, times, exit, remedy) in [
        (400, "GROUPCALL_SSRC_DUPLICATE_MUCH", 4, 5, "a new try"),
        (403, "GROUPCALL_FORBIDDEN", 1, 5, "look for it again"),
        (400, "GROUPCALL_INVALID", 1, 5, "look for it again"),
        (400, "JOIN_AS_PEER_INVALID", 1, 5, "leave --as out"),
        (400, "DATA_JSON_INVALID", 1, 5, "report it"),
        (400, "CHAT_ADMIN_REQUIRED", 1, 5, "ask one of them"),
        (403, "CHAT_WRITE_FORBIDDEN", 1, 5, "ask an admin"),
        (400, "GROUPCALL_PARTICIPANTS_TOO_MUCH", 1, 5, "try again later"),
        (400, "GROUPCALL_ANONYMOUS_FORBIDDEN", 1, 5, "use --as"),
        (400, "GROUPCALL_ALREADY_DISCARDED", 1, 5, "--start"),
        (420, "FLOOD_WAIT_3600", 1, 9, "wait"),
        (420, "FROZEN_METHOD_INVALID", 1, 4, "appeal"),
        (500, "GROUPCALL_ADD_PARTICIPANTS_FAILED", 4, 1, "try again later"),
        (-503, "Timeout", 4, 1, "try again later"),
        (400, "SOMETHING_NEW", 1, 5, "SOMETHING_NEW"),
    ] {
        let before = desk.door.n_calls("phone.joinGroupCall");
        desk.door.plan("phone.joinGroupCall", Fault::Refuse(RpcError::new(code, word)), times);
        let (exited, _, said) = desk.run(&["play", "media/music.ogg", "--chat", "@lively"]);
        assert_eq!(exited, Some(exit), "{word}: {said}");
        assert!(said.contains(word) && said.contains(remedy), "{word}: {said}");
        assert_eq!(desk.door.n_calls("phone.joinGroupCall") - before, u64::from(times), "{word}");
        assert!(desk.emulator.stats("lively").await.is_ok_and(|stats| stats.is_empty()) || before == 0);
    }
    // Last, because it ends the session.
    desk.door.plan("phone.joinGroupCall", Fault::Refuse(RpcError::new(401, "SESSION_REVOKED")), 1);
    let (exited, _, said) = desk.run(&["play", "media/music.ogg", "--chat", "@lively"]);
    assert!(exited == Some(4) && said.contains("telecast login"), "{said}");
    desk.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_video_chat_is_waited_for() {
    let desk = Desk::new().await;
    desk.session(true);
    desk.chat("later", Some(NewCall { schedule_date: Some(i32::MAX), ..NewCall::default() }));
    let mut play = desk.command(&["play", "media/music.ogg", "--chat", "@later"]);
    let mut play = play.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(play.stderr.take().unwrap()).lines();
    let waits = said.find(|line| line.as_ref().is_ok_and(|line| line.contains("waits"))).unwrap().unwrap();
    assert!(waits.contains("begin at 2038-01-19 03:14 UTC") && waits.contains("--start"), "{waits}");
    let (code, _, _) = stop(play);
    assert_eq!((code, desk.door.n_calls("phone.joinGroupCall")), (Some(0), 0));
    desk.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_says_what_the_arguments_leave_open() {
    let desk = Desk::new().await;
    desk.session(true);
    desk.chat("quiet", None);
    let music = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/music.ogg");
    let configured = |text: &str, name: &str, args: &[&str], env: &[(&str, &str)]| {
        let file = desk.home.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        let mut command = desk.command(args);
        command.current_dir(desk.home.path()).env_remove("API_ID").env_remove("API_HASH");
        let told = told(command.envs(env.iter().copied()).output().unwrap());
        std::fs::remove_file(file).unwrap();
        told
    };
    std::fs::write(desk.home.path().join("hash"), "0123456789abcdef0123456789abcdef\n").unwrap();
    let credentials = "api_id = 1\napi_hash_file = \"hash\"\n";
    // Where it may lie.
    let named = desk.home.path().join("named.toml");
    let named = named.to_str().unwrap();
    for (name, args) in [("telecast.toml", &["whoami"][..]), ("named.toml", &["whoami", "--config", named])] {
        let (code, out, said) = configured(credentials, name, args, &[]);
        assert_eq!((code, out.starts_with("ann, id ")), (Some(0), true), "{name}: {said}");
    }
    let inline = "api_id = 1\napi_hash = \"0123456789abcdef0123456789abcdef\"\n";
    let (code, _, said) = configured(inline, "telecast/config.toml", &["whoami"], &[]);
    assert_eq!(code, Some(0), "{said}");
    // What counts more.
    let (code, _, said) = configured(credentials, "telecast.toml", &["whoami"], &[("API_ID", "x")]);
    assert!(code == Some(3) && said.contains("API_ID is not a number"), "{said}");
    let other = format!("account = \"second\"\n{credentials}");
    let (code, _, said) = configured(&other, "telecast.toml", &["whoami"], &[]);
    assert!(code == Some(4) && said.contains("telecast login"), "{said}");
    let (code, _, said) = configured(&other, "telecast.toml", &["whoami", "--account", "main"], &[]);
    assert_eq!(code, Some(0), "{said}");
    // Defaults of play, and an argument against them.
    let play = format!("{credentials}[play]\nchats = [\"@quiet\"]\nstart = true\n");
    let music = music.to_str().unwrap();
    for (args, words) in [(&["play", music][..], "admins"), (&["play", music, "--start=false"], "--start")] {
        let (code, _, said) = configured(&play, "telecast.toml", args, &[]);
        assert!(code == Some(5) && said.contains(words), "{args:?}: {said}");
    }
    let (code, _, said) = configured(credentials, "telecast.toml", &["play", music], &[]);
    assert!(code == Some(2) && said.contains("--chat"), "{said}");
    // Mistakes.
    let (code, _, said) = configured("api_idd = 1", "telecast.toml", &["whoami"], &[]);
    assert!(code == Some(3) && said.contains("did you mean `api_id`?"), "{said}");
    let (code, _, said) = configured(credentials, "telecast.toml", &["whoami", "--config", "nowhere"], &[]);
    assert!(code == Some(3) && said.contains("cannot read nowhere"), "{said}");
    desk.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_no_secrets() {
    let desk = Desk::new().await;
    desk.session(false);
    desk.door.set_password(desk.account, "correct horse", "a horse");
    desk.chat("lively", Some(NewCall::default()));
    let traced = |args: &[&str]| {
        let mut command = desk.command(args);
        command.env("RUST_LOG", "trace").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut login = traced(&["login", "--phone", PHONE]);
    super::until(|| desk.door.code(PHONE).is_some()).await;
    let code = desk.door.code(PHONE).unwrap();
    login.stdin.take().unwrap().write_all(format!("{code}\ncorrect horse\n").as_bytes()).unwrap();
    let (status, _, login_said) = told(login.wait_with_output().unwrap());
    assert_eq!(status, Some(0), "{login_said}");
    let play = traced(&["play", "media/music.ogg", "--chat", "t.me/lively?videochat=SpeakerHash1"]);
    super::until(|| desk.door.join_params().is_some()).await;
    // Until the media server has been reached.
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    while !desk.emulator.stats("lively").await.unwrap().iter().any(|it| it.connected) {
        looks.tick().await;
    }
    let (_, _, play_said) = stop(play);
    let answer: Value = serde_json::from_str(desk.door.join_answer().unwrap().expose()).unwrap();
    let (_, _, invite_said) =
        told(traced(&["play", "media/music.ogg", "--chat", "t.me/+InviteHash1"]).wait_with_output().unwrap());
    let said = login_said + &play_said + &invite_said;
    for method in ["auth.sendCode", "auth.signIn", "auth.checkPassword", "phone.joinGroupCall"] {
        assert!(said.contains(&format!("enqueueing request {method}")), "the log is that of trace: {said}");
    }
    let stored = std::fs::read_to_string(desk.home.path().join("telecast/main.json")).unwrap();
    let stored: Value = serde_json::from_str(&stored).unwrap();
    let key = stored["dcs"]["2"]["key"].as_str().unwrap();
    let params: Value = serde_json::from_str(desk.door.join_params().unwrap().expose()).unwrap();
    let (hash, password) = ("0123456789abcdef0123456789abcdef", params["pwd"].as_str().unwrap());
    let servers = answer["transport"]["pwd"].as_str().unwrap();
    let secrets = [hash, &key[..32], password, servers, "9661234567", PHONE, "correct horse"];
    for secret in secrets.into_iter().chain(["SpeakerHash1", "InviteHash1"]) {
        assert!(!said.contains(secret), "{secret}");
    }
    // Its five digits are in some time of day or other.
    let mut words = said.split(|letter: char| !letter.is_ascii_alphanumeric());
    assert!(words.all(|word| word != code), "{code}");
    desk.end().await;
}
