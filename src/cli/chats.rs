//! `telecast chats`: where there is something to join.

use clap::Args;
use serde_json::json;

use super::account::AccountArgs;
use super::exit::Exit;
use super::say;
use crate::telegram::{Chat, ChatKind, Client, TelegramError};

/// List the groups and channels of the account, and their video chats
#[derive(Debug, Args)]
pub(super) struct ChatsArgs {
    #[command(flatten)]
    pub(super) account: AccountArgs,

    /// Only those with a video chat that is running or scheduled; asks for each chat that may have one
    #[arg(long)]
    live: bool,

    /// One JSON object for each chat
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ChatsArgs) -> anyhow::Result<Exit> {
    super::runtime()?.block_on(async {
        let client = args.account.connect().await?;
        let result = list(args, &client).await;
        client.shutdown().await;
        result
    })
}

async fn list(args: &ChatsArgs, client: &Client) -> anyhow::Result<Exit> {
    for chat in client.chats().await? {
        let state = if args.live { state_of(client, &chat).await? } else { listed_state(&chat) };
        if args.live && state == "none" {
            continue;
        }
        let kind = match chat.kind {
            ChatKind::Group => "group",
            ChatKind::Supergroup => "supergroup",
            ChatKind::Channel => "channel",
            _ => "user",
        };
        if args.json {
            let row = json!({ "id": chat.id, "kind": kind, "title": chat.title,
                "username": chat.username, "video_chat": state });
            say::result(row)?;
        } else {
            let name = chat.username.as_ref().map_or_else(String::new, |name| format!("@{name}"));
            say::result(format_args!("{}\t{kind}\t{state}\t{}\t{name}", chat.id, chat.title))?;
        }
    }
    Ok(Exit::Ok)
}

/// What the list of chats itself tells: a scheduled video chat is not in it.
const fn listed_state(chat: &Chat) -> &'static str {
    if chat.live { "live" } else { "none" }
}

async fn state_of(client: &Client, chat: &Chat) -> anyhow::Result<&'static str> {
    let chat = client.get_chat(&chat.id.to_string().parse()?).await?;
    let Some(id) = chat.video_chat else { return Ok("none") };
    Ok(match client.get_video_chat(id).await?.joinable() {
        Ok(()) => "live",
        Err(TelegramError::Scheduled { .. }) => "scheduled",
        Err(TelegramError::Rtmp) => "rtmp",
        Err(_) => "conference",
    })
}
