//! The checks that somebody with an account runs against Telegram, run against the server on this
//! machine: so they can be believed when they say that a fact does not hold there.

use super::{Lab, NAME};

#[path = "../../live/facts.rs"]
mod facts;

#[tokio::test(flavor = "multi_thread")]
async fn every_fact_holds_on_the_server_of_this_machine() {
    let _alone = crate::realtime_async().await;
    let lab = Lab::new().await;
    let chat = lab.client.get_chat(&NAME.parse().unwrap()).await.unwrap();
    let mut asked = Vec::new();
    let mut person = |question: &str| {
        asked.push(question.to_owned());
        None
    };
    let outcomes = facts::check(&lab.client, &chat, &mut person).await;
    let wrong: Vec<_> = outcomes.iter().filter(|outcome| outcome.holds == Some(false)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let mut all: Vec<u32> = outcomes.iter().map(|outcome| outcome.fact).collect();
    all.dedup();
    let listed = include_str!("../../../docs/telegram.md").split("## Never checked").nth(1).unwrap();
    let listed = listed.split("\n## ").next().unwrap().lines();
    let listed: Vec<u32> = listed.filter_map(|line| line.split_once(". ")?.0.parse().ok()).collect();
    assert_eq!(all, listed, "each fact of docs/telegram.md has its check");
    let held = outcomes.iter().filter(|outcome| outcome.holds == Some(true)).count();
    assert!(held >= 11, "{outcomes:#?}");
    assert!(asked.iter().any(|question| question.contains("hear")));
    assert_eq!(
        (lab.n_bots().await, lab.client.get_chat(&NAME.parse().unwrap()).await.unwrap().video_chat),
        (0, None)
    );
    lab.end().await;
}
