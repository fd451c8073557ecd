//! A foreign MTProto client, Telethon, takes part: so neither server nor client is only an echo
//! of the other.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{Lab, NAME};

#[tokio::test(flavor = "multi_thread")]
async fn telethon_joins_beside_the_bot_and_sees_it_leave() {
    let lab = Lab::new().await;
    lab.begin();
    let joined = lab.join().await;
    joined.call.joined().await.unwrap();
    let guest = lab.door.add_account("guest");
    let key = lab.door.add_key(Some(guest));
    let key: String = key.expose().iter().map(|byte| format!("{byte:02x}")).collect();

    // The environment that `cargo xtask setup test` makes.
    let python = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ntgcalls/bin/python");
    assert!(python.exists(), "{} is missing: run `cargo xtask setup test`", python.display());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/foreign_telegram.py");
    let addr = lab.door.local_addr();
    let mut child = Command::new(python)
        .arg(script)
        .args([&addr.ip().to_string(), &addr.port().to_string(), NAME])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{key}").unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n", "it has joined and seen the list");
    joined.leave().await;
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");

    let seen: Value = serde_json::from_str(&rest).unwrap();
    assert_eq!((&seen["me"], &seen["dialogs"]), (&json!("guest"), &json!(["Demo"])));
    assert!(seen["answer"]["transport"]["candidates"].is_array(), "{seen:#}");
    assert_eq!(seen["participants"].as_array().unwrap().len(), 2, "{seen:#}");
    assert_eq!(seen["participants"][1], json!({ "source": 77, "self": true, "muted": true }));
    assert_eq!(seen["known"], json!([77]));
    assert_eq!(seen["afterwards"], "GroupcallJoinMissingError");
    lab.end().await;
}
