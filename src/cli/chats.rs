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

    /// Only those with a video chat that is running or scheduled; asks for every chat, not only
    /// for those whose entry in the list says that there is one
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
        let state = if args.live || chat.call_active { state_of(client, &chat).await? } else { "none" };
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

/// Asks Telegram. A chat that refuses to be looked into does not end the list.
async fn state_of(client: &Client, chat: &Chat) -> anyhow::Result<&'static str> {
    let found = async {
        let chat = client.get_chat(&chat.id.to_string().parse()?).await?;
        let Some(id) = chat.video_chat else { return Ok(None) };
        Ok(Some(client.get_video_chat(id).await?.joinable()))
    };
    Ok(match found.await {
        Ok(None) => "none",
        Ok(Some(Ok(()))) => "live",
        Ok(Some(Err(TelegramError::Scheduled { .. }))) => "scheduled",
        Ok(Some(Err(TelegramError::Rtmp))) => "rtmp",
        Ok(Some(Err(_))) => "conference",
        Err(error @ TelegramError::Rpc { code: 400 | 403 | 406, .. }) => {
            say::remark(format_args!("{}: {error}", chat.title));
            "unknown"
        }
        Err(error) => return Err(error.into()),
    })
}
