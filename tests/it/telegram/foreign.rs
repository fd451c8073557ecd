//! A foreign MTProto client, Telethon, takes part: so neither server nor client is only an echo
//! of the other.

use std::io::{BufRead, BufReader, Read, Write};
use std::time::Duration;

use serde_json::{Value, json};
use telecast::call::ChatId;
use telecast::emulator::Weather;
use telecast::emulator::measure::Wanted;
use telecast::emulator::watcher::WatchOptions;
use telecast::secret::Secret;

use super::{Lab, NAME, ROOM};
use crate::foreign::Foreign;
use crate::realtime_async;

/// Starts a script with the address of our Telegram and a key of the guest's.
fn start(script: &str, lab: &Lab, key: &Secret<[u8; 256]>, more: &[&str]) -> Foreign {
    let addr = lab.door.local_addr();
    let (ip, port) = (addr.ip().to_string(), addr.port().to_string());
    let mut client = Foreign::start(script, &[&[&ip, &port, NAME], more].concat()).unwrap();
    let key: String = key.expose().iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(client.0.stdin.as_mut().unwrap(), "{key}").unwrap();
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn telethon_joins_beside_the_bot_and_sees_it_leave() {
    let lab = Lab::new().await;
    lab.begin();
    let joined = lab.join().await;
    joined.call.joined().await.unwrap();
    let guest = lab.door.add_account("guest");
    let key = lab.door.add_key(Some(guest));
    let mut client = start("foreign_telegram.py", &lab, &key, &[]);
    let mut out = BufReader::new(client.0.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n", "it has joined and seen the list");
    joined.leave().await;
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(client.0.wait().unwrap().success(), "{rest}");

    let seen: Value = serde_json::from_str(&rest).unwrap();
    assert_eq!((&seen["me"], &seen["dialogs"]), (&json!("guest"), &json!(["Demo"])));
    assert!(seen["answer"]["transport"]["candidates"].is_array(), "{seen:#}");
    assert_eq!(seen["participants"].as_array().unwrap().len(), 2, "{seen:#}");
    assert_eq!(seen["participants"][1], json!({ "source": 77, "self": true, "muted": true }));
    assert_eq!(seen["known"], json!([77]));
    assert_eq!(seen["afterwards"], "GroupcallJoinMissingError");
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn py_tgcalls_plays_and_the_watcher_hears_it() {
    let _alone = realtime_async().await;
    // ntgcalls takes no notice of connections that finish within some 20 ms.
    let lab = Lab::in_weather(Some(Weather::parse("delay=40ms").unwrap())).await;
    lab.begin();
    let guest = lab.door.add_account("guest");
    let key = lab.door.add_key(Some(guest));
    let of = Some("guest".to_owned());
    let options = WatchOptions { of, ..WatchOptions::default() };
    let watcher = lab.emulator.watch(&ChatId(ROOM.into()), options).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let tone = folder.path().join("tone.raw");
    let mut client = start("foreign_player.py", &lab, &key, &[&tone.to_string_lossy()]);

    let wanted = Wanted { video: false, audio: true };
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    let heard = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            looks.tick().await;
            let report = watcher.report(wanted).await.unwrap();
            if report.audio.as_ref().is_some_and(|audio| audio.packets >= 50) {
                return report.audio.unwrap();
            }
        }
    });
    let heard = heard.await.expect("sound arrives");
    assert!(heard.dominant_hz.is_some_and(|hz| (hz - 660.0).abs() < 2.0), "{heard:?}");
    drop(client.0.stdin.take());
    let mut said = String::new();
    client.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(client.0.wait().unwrap().success(), "{said}");
    assert!(said.ends_with("playing\nleft\n"), "{said}");
    assert_eq!(lab.door.n_calls("phone.leaveGroupCall"), 1);
    watcher.stop().await.unwrap();
    lab.end().await;
}
