//! Telegram itself: `cargo test --test live -- --nocapture`, by somebody with an account.
//!
//! Needs `API_ID` and `API_HASH`, a session (`telecast login`), and in `TELECAST_LIVE_CHAT` a chat
//! that the account is an admin of and that has no video chat; `TELECAST_LIVE_SESSION` names the
//! session file where it is not that of the account `main`. Without these nothing is done.

mod facts;

use std::io::{BufRead, Write};
use std::path::PathBuf;

use telecast::telegram::{Client, ClientOptions, Session};

fn main() -> anyhow::Result<()> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let given = (variable("API_ID"), variable("API_HASH"), variable("TELECAST_LIVE_CHAT"));
    let (Some(api_id), Some(api_hash), Some(chat)) = given else {
        println!("nothing was checked: API_ID, API_HASH and TELECAST_LIVE_CHAT are not all set");
        return Ok(());
    };
    let home = std::env::home_dir().unwrap_or_default().join(".local/share");
    let data = variable("XDG_DATA_HOME").map_or(home, PathBuf::from);
    let path =
        variable("TELECAST_LIVE_SESSION").map_or_else(|| data.join("telecast/main.json"), PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let options = ClientOptions::new(api_id.parse()?, api_hash);
        let client = Client::connect(Session::open(&path)?, options).await?;
        let chat = client.get_chat(&chat.parse()?).await?;
        let outcomes = facts::check(&client, &chat, &mut ask).await;
        client.shutdown().await;
        let mut n_wrong = 0;
        for facts::Outcome { fact, holds, seen } in outcomes {
            let word = match holds {
                Some(true) => "holds",
                Some(false) => "WRONG",
                None => "left out",
            };
            n_wrong += usize::from(holds == Some(false));
            println!("{fact:3} {word:9} {seen}");
        }
        anyhow::ensure!(n_wrong == 0, "{n_wrong} facts do not hold: please report the lines above");
        Ok(())
    })
}

/// y, n, or anything else to leave it out.
fn ask(question: &str) -> Option<bool> {
    print!("{question} [y/n/-] ");
    let mut answer = String::new();
    let read = std::io::stdout().flush().and_then(|()| std::io::stdin().lock().read_line(&mut answer));
    match (read, answer.trim()) {
        (Ok(_), "y") => Some(true),
        (Ok(_), "n") => Some(false),
        _ => None,
    }
}
