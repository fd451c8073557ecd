//! Signing in and out, as a person does it with the program.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use telecast::emulator::mtproto::{Fault, NewCall};
use telecast::emulator::{JoinRequest, RpcError};

use super::desk::{Desk, PHONE, told};

#[tokio::test(flavor = "multi_thread")]
async fn from_login_to_logout() {
    let desk = Desk::new().await;
    let (code, _, said) = desk.run(&["whoami"]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("telecast login"), "{said}");

    desk.session(false);
    let mut login = desk.command(&["login", "--phone", PHONE]);
    login.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut login = login.stderr(Stdio::piped()).spawn().unwrap();
    super::until(|| desk.door.code(PHONE).is_some()).await;
    let typed = format!("{}\n", desk.door.code(PHONE).unwrap());
    login.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let (code, out, said) = told(login.wait_with_output().unwrap());
    assert_eq!(code, Some(0), "{said}");
    assert!(out.starts_with("signed in as ann"), "{out}");

    assert_eq!(desk.run(&["accounts"]).1, "main\tsigned in\n");
    assert!(desk.run(&["whoami"]).1.starts_with("ann, id "));
    let (code, _, said) = desk.run(&["logout"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(desk.run(&["accounts"]).1, "");
    desk.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_takes_the_place_of_a_session_that_is_over() {
    let desk = Desk::new().await;
    desk.session(true);
    let (path, old) =
        (desk.home.path().join("telecast/main.json"), desk.home.path().join("telecast/main.old"));
    desk.door.forget_keys();
    let (code, _, said) = desk.run(&["whoami"]);
    assert!(code == Some(4) && said.contains("telecast login"), "{said}");
    assert!(desk.door.n_strangers() > 0 && !old.exists(), "whoever does not ask for it keeps the session");

    // The login begins with another key, which only Telegram itself agrees upon.
    let before = std::fs::read_to_string(&path).unwrap();
    let (code, _, said) = desk.run(&["login", "--phone", PHONE]);
    assert!(code == Some(6) && said.contains("set aside") && said.contains("agrees on no key"), "{said}");
    assert_eq!(std::fs::read_to_string(&old).unwrap(), before);
    assert!(before.contains("\"key\"") && !std::fs::read_to_string(&path).unwrap().contains("\"key\""));
    desk.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qr_code_is_scanned_and_the_password_asked_for() {
    let desk = Desk::new().await;
    desk.session(false);
    desk.door.set_password(desk.account, "correct horse", "a horse");
    let mut login = desk.command(&["login"]);
    login.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut login = login.spawn().unwrap();
    super::until(|| desk.door.qr_token().is_some()).await;
    assert!(desk.door.scan(&desk.door.qr_token().unwrap(), desk.account));
    login.stdin.take().unwrap().write_all(b"wrong\ncorrect horse\n").unwrap();
    let (code, out, said) = told(login.wait_with_output().unwrap());
    assert_eq!(code, Some(0), "{said}");
    assert!(out.starts_with("signed in as ann"), "{out}");
    assert!(
        said.contains('█') && said.contains("hint: a horse") && said.contains("not the two-step"),
        "{said}"
    );
    desk.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_never_told_of_its_login_is_made_up_for() {
    let desk = Desk::new().await;
    desk.session(true);
    let path = desk.home.path().join("telecast/main.json");
    // Killed between Telegram's answer and the write.
    let mut stored: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    stored["me"] = Value::Null;
    std::fs::write(&path, stored.to_string()).unwrap();
    assert!(desk.run(&["whoami"]).1.starts_with("ann, id "));
    assert_eq!(desk.run(&["accounts"]).1, "main\tsigned in\n");
    stored["me"] = Value::Null;
    std::fs::write(&path, stored.to_string()).unwrap();
    let (code, _, said) = desk.run(&["logout"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!path.exists());
    desk.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_thrown_out_is_told_why_and_a_script_sees_it() {
    let desk = Desk::new().await;
    desk.session(true);
    let chat = desk.chat("lively", Some(NewCall::default()));
    let begin = async || {
        let mut play = desk.command(&["play", "media/music.ogg", "--loop", "--chat", "@lively"]);
        let play = play.stderr(Stdio::piped()).spawn().unwrap();
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while !desk.emulator.stats("lively").await.unwrap().iter().any(|it| it.connected) {
            looks.tick().await;
        }
        play
    };
    let play = begin().await;
    desk.emulator.discard("lively").await.unwrap();
    let (code, _, said) = told(play.wait_with_output().unwrap());
    assert!(code == Some(5) && said.contains("the video chat was ended"), "{said}");
    assert!(said.contains("@lively: joining") && said.contains("@lively: left"), "{said}");
    desk.door.begin_call(chat, &NewCall::default());
    let play = begin().await;
    let elsewhere = JoinRequest {
        chat: "lively".into(),
        name: "ann".into(),
        params: super::PARAMS.into(),
        ..JoinRequest::default()
    };
    desk.emulator.join_raw(elsewhere).await.unwrap();
    let (code, _, said) = told(play.wait_with_output().unwrap());
    assert!(code == Some(5) && said.contains("from another device"), "{said}");
    desk.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_that_are_refused_say_what_to_change() {
    let desk = Desk::new().await;
    desk.session(false);
    for (code, word, exit, remedy) in [
        (400, "API_ID_INVALID", 3, "my.telegram.org"),
        (400, "API_ID_PUBLISHED_FLOOD", 3, "of your own"),
        (400, "PHONE_NUMBER_INVALID", 2, "country code"),
        (400, "PHONE_NUMBER_BANNED", 4, "recover@telegram.org"),
        (420, "FLOOD_WAIT_3600", 9, "3600 s"),
    ] {
        desk.door.plan("auth.sendCode", Fault::Refuse(RpcError::new(code, word)), 1);
        let (exited, _, said) = desk.run(&["login", "--phone", PHONE]);
        assert_eq!(exited, Some(exit), "{word}: {said}");
        assert!(said.contains(remedy), "{word}: {said}");
    }
    desk.end().await;
}
