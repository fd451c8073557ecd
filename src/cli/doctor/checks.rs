//! The single checks.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Finding, JOIN_TIMEOUT, stun};
use crate::call::{Call, CallStatus, ChatId, JoinOptions, LeftReason};
use crate::cli::exit::{self, Exit};
use crate::cli::values::moment;
use crate::player::{Player, PlayerOptions};
use crate::telegram::{
    Chat, ChatKind, ChatName, Client, SignalingOptions, TelegramError, TelegramSignaling, VideoChat,
};

/// QR codes and logs are wrong with a clock this far off, though MTProto still works.
const CLOCK_TOLERANCE_S: i64 = 30;
/// An address of Telegram's, to see whether there is a way to it; nothing is sent there.
const TELEGRAM: (Ipv4Addr, u16) = (Ipv4Addr::new(149, 154, 167, 51), 443);

/// Is there an ffmpeg on the search path?
pub(super) fn ffmpeg(path: Option<&OsStr>) -> Finding {
    let found = path.and_then(|path| {
        std::env::split_paths(path).map(|dir| dir.join("ffmpeg")).find(|file| is_executable(file))
    });
    match found {
        Some(file) => Finding::ok("ffmpeg", file.display()),
        None => Finding::warning(
            "ffmpeg",
            "not found; files that telecast plays as they are do without",
            "install ffmpeg to convert the others; `telecast probe FILE` tells which those are",
        ),
    }
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Can this machine send UDP at all?
pub(super) fn udp_socket() -> Finding {
    // Connecting a UDP socket picks a route and sends nothing.
    let route = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect(TELEGRAM).and_then(|()| socket.local_addr()));
    match route {
        Ok(local) => Finding::ok("udp route", format_args!("from {}", local.ip())),
        Err(error) => Finding::warning(
            "udp route",
            format_args!("no way to Telegram's network by UDP ({error})"),
            "check the network; media needs outgoing UDP",
        ),
    }
}

/// Do datagrams come back?
pub(super) fn udp(server: Option<&str>) -> Finding {
    const CHECK: &str = "udp";
    let Some(server) = server else {
        return Finding::skipped(
            CHECK,
            "nothing was sent; --stun HOST:PORT asks a server, --join Telegram's own",
        );
    };
    match stun::ask(server) {
        Ok(address) => Finding::ok(CHECK, format_args!("{server} answers and sees us as {address}")),
        Err(error) => Finding::warning(
            CHECK,
            format_args!("nothing came back from {server} ({error})"),
            "try another STUN server; if none answers, let the firewall pass outgoing UDP and its answers",
        ),
    }
}

/// Can others read the session?
pub(super) fn privacy(session: &Path) -> Finding {
    let open = |path: &Path| path.metadata().is_ok_and(|it| it.permissions().mode() & 0o077 != 0);
    match [Some(session), session.parent()].into_iter().flatten().find(|path| open(path)) {
        None => Finding::ok("session file", session.display()),
        Some(path) => Finding::warning(
            "session file",
            format_args!("others on this machine can look into {}", path.display()),
            format_args!("chmod go= {}; whoever has read the file is signed in as you", path.display()),
        ),
    }
}

pub(super) async fn session(client: &Client) -> Finding {
    match client.account().await {
        Ok(account) => Finding::ok("session", format_args!("signed in as {}", account.name)),
        Err(error) => Finding::of_error("session", &error.into()),
    }
}

pub(super) async fn clock(client: &Client) -> Finding {
    match client.server_time().await {
        Ok(telegram) => compare_clocks(unix_now(), telegram),
        Err(error) => Finding::of_error("clock", &error.into()),
    }
}

fn compare_clocks(ours: i64, telegram: i64) -> Finding {
    let ahead = ours - telegram;
    let way = if ahead > 0 { "ahead of" } else { "behind" };
    match ahead.abs() {
        0..=2 => Finding::ok("clock", "as Telegram's"),
        off if off <= CLOCK_TOLERANCE_S => Finding::ok("clock", format_args!("{off} s {way} Telegram's")),
        off => Finding::warning(
            "clock",
            format_args!("{off} s {way} Telegram's"),
            "let the system set its clock, for example `timedatectl set-ntp true`",
        ),
    }
}

/// What this account may do in a chat, and with `join` whether media gets through.
pub(super) async fn chat(client: &Client, name: &str, join: bool) -> Vec<Finding> {
    let found = async {
        let chat = client.get_chat(&name.parse::<ChatName>()?).await?;
        let video_chat = match chat.video_chat {
            Some(id) => Some(client.get_video_chat(id).await?),
            None => None,
        };
        Ok::<_, TelegramError>((chat, video_chat))
    };
    let (chat, video_chat) = match found.await {
        Ok(found) => found,
        Err(error) => return vec![Finding::of_error("chat", &error.into())],
    };
    let mut findings = rights(&chat, video_chat.as_ref());
    if join {
        let is_live = video_chat.is_some_and(|video_chat| video_chat.joinable().is_ok());
        findings.push(match is_live {
            true => media_path(client, name).await,
            false => Finding::skipped("media", "nothing to join"),
        });
    }
    findings
}

fn rights(chat: &Chat, video_chat: Option<&VideoChat>) -> Vec<Finding> {
    const CHECK: &str = "chat";
    if chat.kind == ChatKind::User {
        let message = format!("{} is a person", chat.title);
        return vec![Finding::problem(CHECK, Exit::Chat, message, "video chats are in groups and channels")];
    }
    let title = &chat.title;
    let mut findings = vec![match chat.can_manage_video_chats {
        true => Finding::ok(CHECK, format_args!("this account manages the video chats of {title}")),
        false if chat.is_member => Finding::ok(CHECK, format_args!("this account is a member of {title}")),
        false => Finding::warning(
            CHECK,
            format_args!("this account is no member of {title}"),
            "join the chat with one of Telegram's own apps; its admins may ask for that",
        ),
    }];
    findings.push(match video_chat {
        None if chat.can_manage_video_chats => {
            Finding::ok("video chat", "none now; `play --start` begins one")
        }
        None => Finding::problem(
            "video chat",
            Exit::Chat,
            "none now, and this account may not begin one",
            "ask an admin to begin it, or for the right to manage video chats",
        ),
        Some(video_chat) => state_of(video_chat, chat.can_manage_video_chats),
    });
    if video_chat.is_some_and(|it| it.joinable().is_ok() && !it.can_start_video) {
        findings.push(Finding::warning(
            "camera",
            "there is no room for one more camera now",
            "sound only, until somebody switches a camera off; --no-video says so from the start",
        ));
    }
    findings
}

fn state_of(video_chat: &VideoChat, is_admin: bool) -> Finding {
    const CHECK: &str = "video chat";
    match video_chat.joinable() {
        Err(TelegramError::Scheduled { at }) => {
            Finding::ok(CHECK, format_args!("scheduled for {}; `play` waits for it", moment(at)))
        }
        Err(error) => Finding::of_error(CHECK, &error.into()),
        Ok(()) if video_chat.join_muted && !is_admin => Finding::warning(
            CHECK,
            "newcomers enter muted: nobody would hear anything",
            "ask an admin to allow this account to speak, or for a speaker link as --chat; `play --raise-hand` asks in the chat",
        ),
        Ok(()) => Finding::ok(CHECK, format_args!("live, {} take part", video_chat.n_participants)),
    }
}

/// Joins, muted and without a camera, until the connection to the media server is up.
async fn media_path(client: &Client, name: &str) -> Finding {
    const CHECK: &str = "media";
    let signaling = TelegramSignaling::new(client.clone(), SignalingOptions::default());
    let player = Player::start(PlayerOptions::default());
    let options = JoinOptions { muted: true, video: false, ..JoinOptions::default() };
    let call = Call::join(ChatId(name.to_owned()), &signaling, &player, options);
    let mut status = call.status();
    let reached = tokio::time::timeout(JOIN_TIMEOUT, async {
        let up = |status: &CallStatus| {
            matches!(status, CallStatus::Connected | CallStatus::Joined | CallStatus::Left(_))
        };
        status.wait_for(up).await.map(|status| status.clone())
    });
    let reached = reached.await;
    let finding = match reached {
        Ok(Ok(CallStatus::Left(LeftReason::Failed(error)))) => Finding::of_error(CHECK, &error.into()),
        Ok(Ok(CallStatus::Left(reason))) => {
            let message = format!("the call ended: {}", reason.word());
            Finding::problem(CHECK, exit::of_reason(&reason), message, "try again")
        }
        Ok(Ok(_)) => {
            let dtls = call.stats().await.and_then(|stats| stats.milestones.dtls());
            let took = dtls.map_or_else(String::new, |took| format!(" within {} ms", took.as_millis()));
            Finding::ok(CHECK, format_args!("the media server was reached by UDP{took}"))
        }
        Ok(Err(_)) | Err(_) if *status.borrow() == CallStatus::Joining => {
            let message = format!("Telegram did not let us in within {} s", JOIN_TIMEOUT.as_secs());
            Finding::problem(CHECK, Exit::Network, message, "it may ask to wait; try again in a minute")
        }
        Ok(Err(_)) | Err(_) => {
            let message = format!("the media server did not answer within {} s", JOIN_TIMEOUT.as_secs());
            Finding::problem(CHECK, Exit::Network, message, "check the firewall for outgoing UDP")
        }
    };
    call.leave(LeftReason::Command).await;
    call.closed().await;
    player.close().await;
    finding
}

#[expect(clippy::disallowed_methods, reason = "the wall clock is what is examined")]
fn unix_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_clock_that_is_off_gets_its_remedy() {
        assert_eq!(compare_clocks(1000, 1001).state, State::Ok);
        assert_eq!(compare_clocks(1020, 1000).message, "20 s ahead of Telegram's");
        let off = compare_clocks(1000, 1600);
        assert_eq!((off.state, &off.message[..]), (State::Warning, "600 s behind Telegram's"));
        assert!(off.remedy.is_some_and(|remedy| remedy.contains("ntp")));
    }

    #[test]
    fn ffmpeg_is_found_where_it_can_be_run() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = Some(dir.path().as_os_str());
        let file = dir.path().join("ffmpeg");
        std::fs::write(&file, "").expect("written");
        let without = ffmpeg(path);
        assert_eq!(without.state, State::Warning);
        assert!(without.remedy.is_some_and(|remedy| remedy.contains("install")));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("changed");
        assert_eq!(ffmpeg(path), Finding::ok("ffmpeg", file.display()));
        assert_eq!(ffmpeg(None).state, State::Warning);
    }

    #[test]
    fn a_session_that_others_can_read_is_told() {
        let private = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir();
        let dir = private.expect("a directory");
        let file = dir.path().join("main.json");
        std::fs::write(&file, "").expect("written");
        for (mode, state) in [(0o600, State::Ok), (0o644, State::Warning)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("changed");
            assert_eq!(privacy(&file).state, state);
        }
    }
}
