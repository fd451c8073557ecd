//! `telecast play --metrics`: what Prometheus would read during a play.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use telecast::emulator::mtproto::NewCall;

use super::desk::{Desk, stop};

/// Name and labels → value; fails on whatever Prometheus would not read.
fn scrape(url: &str) -> BTreeMap<String, f64> {
    let mut response = ureq::get(url).call().unwrap();
    let format = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(format.starts_with("text/plain; version=0.0.4"), "{format}");
    let text = response.body_mut().read_to_string().unwrap();
    let (mut family, mut values) = ("", BTreeMap::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            family = name;
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(series.split('{').next(), Some(family), "{line}");
            let twice = values.insert(series.to_owned(), value.parse().unwrap());
            assert!(twice.is_none() && series.ends_with('}'), "{line}");
        }
    }
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_what_a_play_counts() {
    let desk = Desk::new().await;
    desk.session(true);
    for chat in ["one", "two"] {
        desk.chat(chat, Some(NewCall::default()));
    }
    let chats = ["--chat", "@one", "--chat", "@two", "--metrics", "127.0.0.1:0"];
    let mut play = desk.command(&[&["play", "media/clip.mp4", "--loop"][..], &chats].concat());
    let mut play = play.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(play.stderr.take().unwrap()).lines().map(Result::unwrap);
    let url = said.find_map(|line| Some(line.strip_prefix("metrics on ")?.to_owned())).unwrap();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    // Its words are read, so that it can go on.
    let reader = std::thread::spawn(move || said.collect::<Vec<_>>());

    let of = |name: &str, labels: &str| format!("telecast_{name}{{{labels}}}");
    let is_up = || {
        let values = scrape(&url);
        ["@one", "@two"].iter().all(|chat| {
            let chat = format!("chat=\"{chat}\"");
            values.get(&of("call_joined", &chat)) == Some(&1.0)
                && values.contains_key(&of("round_trip_seconds", &format!("{chat},kind=\"audio\"")))
        })
    };
    super::until(is_up).await;
    let before = scrape(&url);
    let audio = of("packets_sent_total", "chat=\"@two\",kind=\"audio\"");
    super::until(|| scrape(&url)[&audio] > before[&audio] + 20.0).await;
    let (now, seen) = (scrape(&url), desk.emulator.stats("two").await.unwrap());
    let stream = seen[0].streams.iter().find(|stream| stream.kind == "audio").unwrap();
    // A few may be on their way.
    assert!((now[&audio] - stream.packets as f64).abs() < 100.0, "{stream:?} {now:?}");
    let chat = "chat=\"@one\"";
    assert_eq!(now[&of("call_attempts_total", chat)], 1.0);
    assert_eq!(now[&of("call_participants", chat)], 1.0);
    assert_eq!(now[&of("player_playing", chat)], 1.0);
    assert_eq!(now[&of("fraction_lost", &format!("{chat},kind=\"video\""))], 0.0);
    assert!(now[&of("key_frames_sent_total", &format!("{chat},kind=\"video\""))] >= 1.0);
    assert!(
        now[&of("datagram_bytes_sent_total", chat)]
            > now[&of("payload_bytes_sent_total", &format!("{chat},kind=\"video\""))]
    );

    let (code, ..) = stop(play);
    assert_eq!(code, Some(0), "{:?}", reader.join().unwrap());
    assert!(ureq::get(&url).call().is_err(), "the door is closed");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let (code, _, said) = desk.run(&["play", "media/music.ogg", "--chat", "@one", "--metrics", &addr]);
    assert!(code == Some(1) && said.contains("--metrics") && said.contains(&addr), "{said}");
    assert_eq!(desk.door.n_calls("phone.joinGroupCall"), 2, "nobody joins without it");
    desk.end().await;
}
