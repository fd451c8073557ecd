//! `telecast login`, `logout`, `accounts` and `whoami`.

use std::io::{BufRead, IsTerminal};

use clap::Args;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use super::account::{AccountArgs, name_of, patiently, sessions};
use super::exit::{Because, Exit};
use super::say;
use crate::secret::Secret;
use crate::telegram::{Account, Client, LoginStep, QrStep, Session, SessionError, TelegramError};

/// A code that was mistyped can be given again so often.
const MAX_TRIES: u32 = 3;

/// Sign in to Telegram with a user account
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  telecast login                      shows a QR code for the phone: Settings, Devices, Link Desktop Device
  telecast login --phone +491701234567
  telecast login --account second     another account beside the first")]
pub(super) struct LoginArgs {
    #[command(flatten)]
    pub(super) account: AccountArgs,

    /// Send a code to this number instead of showing a QR code
    #[arg(long, value_name = "NUMBER")]
    phone: Option<String>,
}

/// Sign out of Telegram and remove the session
#[derive(Debug, Args)]
pub(super) struct LogoutArgs {
    #[command(flatten)]
    pub(super) account: AccountArgs,
}

/// List the accounts that have a session on this machine
#[derive(Debug, Args)]
pub(super) struct AccountsArgs {}

/// Say who is signed in
#[derive(Debug, Args)]
pub(super) struct WhoamiArgs {
    #[command(flatten)]
    pub(super) account: AccountArgs,
}

pub(super) fn login(args: &LoginArgs) -> anyhow::Result<Exit> {
    if args.phone.as_deref().is_some_and(looks_like_bot_token) {
        let text = "that is a bot's token, and Telegram lets only user accounts into video chats; \
                    log in with a phone number or a QR code";
        return Err(Because(Exit::Auth, text.to_owned()).into());
    }
    super::runtime()?.block_on(async {
        let mut client = args.account.client()?;
        let result = match patiently(client.account()).await {
            // Without a connection there is nothing to begin with.
            Err(error @ (TelegramError::Connection { .. } | TelegramError::Timeout { .. })) => {
                Err(error.into())
            }
            Ok(account) => {
                say::remark("already signed in; `telecast logout` ends that");
                Ok(account)
            }
            Err(error) => {
                if error.ends_session() {
                    say::remark(format_args!("{error}; the old session is set aside"));
                    client.shutdown().await;
                    drop(client);
                    args.account.session()?.start_anew()?;
                    client = args.account.client()?;
                }
                sign_in(args, &client).await
            }
        };
        client.shutdown().await;
        let account = result?;
        say::result(format_args!("signed in as {}", shown(&account)))?;
        Ok(Exit::Ok)
    })
}

pub(super) fn logout(args: &LogoutArgs) -> anyhow::Result<Exit> {
    super::runtime()?.block_on(async {
        let client = args.account.client()?;
        let result = patiently(client.log_out()).await;
        client.shutdown().await;
        result.map_err(|error| args.account.explain(error))?;
        say::result(format_args!("signed out; the session of {} is gone", args.account.name()))?;
        Ok(Exit::Ok)
    })
}

pub(super) fn accounts(_: &AccountsArgs) -> anyhow::Result<Exit> {
    let sessions = sessions()?;
    if sessions.is_empty() {
        say::remark("no account has a session here; `telecast login` makes one");
    }
    for path in sessions {
        let state = match Session::open(&path) {
            Ok(session) if session.is_signed_in() => "signed in",
            Ok(_) => "not signed in",
            Err(SessionError::InUse(_)) => "in use by another process",
            Err(SessionError::File { .. }) => "not to be read or written by this user",
            Err(_) => "broken",
        };
        say::result(format_args!("{}\t{state}", name_of(&path)))?;
    }
    Ok(Exit::Ok)
}

pub(super) fn whoami(args: &WhoamiArgs) -> anyhow::Result<Exit> {
    super::runtime()?.block_on(async {
        let client = args.account.connect().await?;
        let result = patiently(client.account()).await;
        client.shutdown().await;
        say::result(shown(&result?))?;
        Ok(Exit::Ok)
    })
}

async fn sign_in(args: &LoginArgs, client: &Client) -> anyhow::Result<Account> {
    let step = match &args.phone {
        Some(phone) => with_code(client, phone).await?,
        None => with_qr(client).await?,
    };
    let account = match step {
        LoginStep::SignedIn(account) => account,
        LoginStep::Password { hint } => with_password(client, hint).await?,
    };
    if account.is_bot {
        client.log_out().await?;
        return Err(TelegramError::Bot.into());
    }
    Ok(account)
}

async fn with_code(client: &Client, phone: &str) -> anyhow::Result<LoginStep> {
    let sent = client.request_code(Secret::new(phone.to_owned())).await?;
    say::remark(format_args!("Telegram has sent a code: look for it {}", sent.place));
    let mut tries = 0;
    loop {
        tries += 1;
        let code = ask("code: ", false).await?;
        match client.sign_in(&sent, code.expose()).await {
            Err(error) if tries < MAX_TRIES && mistyped(&error) => say::remark(error),
            other => return Ok(other?),
        }
    }
}

async fn with_password(client: &Client, hint: Option<String>) -> anyhow::Result<Account> {
    let hint = hint.map_or_else(String::new, |hint| format!(" (hint: {hint})"));
    say::remark(format_args!("the account has a two-step password{hint}"));
    let mut tries = 0;
    loop {
        tries += 1;
        let password = ask("password: ", true).await?;
        match client.check_password(password).await {
            Err(error) if tries < MAX_TRIES && mistyped(&error) => say::remark(error),
            other => return Ok(other?),
        }
    }
}

/// Shows one code after the other, each in the place of the one before.
async fn with_qr(client: &Client) -> anyhow::Result<LoginStep> {
    let mut login = client.qr_login();
    let mut n_lines = 0;
    say::remark("scan this with Telegram on your phone: Settings, Devices, Link Desktop Device");
    loop {
        match login.next().await? {
            QrStep::Scanned(step) => return Ok(step),
            QrStep::Show(link) => {
                let code = QrCode::new(link.expose().as_bytes())?;
                let picture = code.render::<Dense1x2>().build();
                if n_lines > 0 && std::io::stderr().is_terminal() {
                    // Up to where the old one began; the new one has the same size.
                    say::bare(format_args!("\x1b[{n_lines}A"));
                }
                n_lines = picture.lines().count();
                say::remark(picture);
            }
        }
    }
}

fn mistyped(error: &TelegramError) -> bool {
    matches!(error, TelegramError::Rpc { message, .. }
        if ["PHONE_CODE_INVALID", "PASSWORD_HASH_INVALID"].contains(&message.as_str()))
}

/// Asks a person, or whoever is at the other end of stdin.
async fn ask(prompt: &'static str, hidden: bool) -> anyhow::Result<Secret<String>> {
    let answer = tokio::task::spawn_blocking(move || {
        if hidden && std::io::stdin().is_terminal() {
            return rpassword::prompt_password(prompt);
        }
        say::bare(format_args!("{prompt}"));
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        Ok(line)
    });
    let line = answer.await??;
    if line.is_empty() {
        let text = format!("stdin ended where the {} was expected", prompt.trim_end_matches(": "));
        return Err(Because(Exit::Usage, text).into());
    }
    Ok(Secret::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// `123456:ABC-DEF…`
fn looks_like_bot_token(text: &str) -> bool {
    text.split_once(':').is_some_and(|(id, _)| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()))
}

fn shown(account: &Account) -> String {
    let username = account.username.as_ref().map_or_else(String::new, |name| format!(" (@{name})"));
    format!("{}{username}, id {}", account.name, account.id)
}
