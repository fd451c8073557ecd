//! `telecast doctor`: looks at everything that has to be right before a stream → findings, each
//! with its remedy.

mod checks;
mod stun;

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::account::{AccountArgs, patiently};
use super::config::Config;
use super::exit::{self, Exit};
use super::say;
use crate::telegram::{Client, TelegramError};

/// A chat's media server has this long to answer.
const JOIN_TIMEOUT: Duration = Duration::from_secs(20);

/// Look for what would keep a stream from working, and say what to do about it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  telecast doctor                          this machine, the credentials, the session
  telecast doctor --stun stun.l.google.com:19302   whether UDP gets out and comes back
  telecast doctor --chat @mygroup          what this account may do there, too
  telecast doctor --chat @mygroup --join   whether media gets through: joins, muted, for a moment")]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    account: AccountArgs,

    /// Look at the rights in this chat, too
    #[arg(long, value_name = "CHAT", allow_hyphen_values = true)]
    chat: Option<String>,

    /// Ask this STUN server whether datagrams leave the network and come back; it sees your address
    #[arg(long, value_name = "HOST:PORT")]
    stun: Option<String>,

    /// Join the video chat of --chat, muted, for a moment: nothing else shows whether its media
    /// server can be reached
    #[arg(long, requires = "chat")]
    join: bool,

    /// One JSON object with all findings
    #[arg(long)]
    json: bool,

    /// What came of reading the configuration.
    #[arg(skip)]
    configuration: Option<Finding>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ok,
    /// A stream works, but not as well as it could.
    Warning,
    /// A stream fails; with this exit code.
    Problem(Exit),
    /// It could not be looked at, because of another problem or because nobody asked.
    Skipped,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    check: &'static str,
    state: State,
    message: String,
    remedy: Option<String>,
}

impl DoctorArgs {
    /// Takes the configuration; one that cannot be read is a finding.
    pub(super) fn configure(&mut self, config: anyhow::Result<Config>) {
        const CHECK: &str = "configuration";
        let taken = config.and_then(|config| self.account.configure(&config).map(|()| config.path));
        self.configuration = Some(match taken {
            Ok(Some(path)) => Finding::ok(CHECK, path.display()),
            Ok(None) => Finding::ok(CHECK, "none, and none is needed"),
            Err(error) => Finding::of_error(CHECK, &error),
        });
    }
}

pub(super) fn run(args: &DoctorArgs) -> anyhow::Result<Exit> {
    let mut findings: Vec<Finding> = args.configuration.iter().cloned().collect();
    findings.extend([checks::ffmpeg(std::env::var_os("PATH").as_deref()), checks::udp_socket()]);
    findings.push(checks::udp(args.stun.as_deref()));
    super::runtime()?.block_on(examine(args, &mut findings));
    let first_problem = findings.iter().find_map(|finding| match finding.state {
        State::Problem(exit) => Some(exit),
        _ => None,
    });
    if args.json {
        let all: Vec<Value> = findings.iter().map(Finding::to_json).collect();
        say::result(json!({ "ok": first_problem.is_none(), "findings": all }))?;
    } else {
        for finding in &findings {
            say::result(finding.to_text())?;
        }
    }
    Ok(first_problem.unwrap_or(Exit::Ok))
}

/// What needs Telegram. Each step needs the one before.
async fn examine(args: &DoctorArgs, findings: &mut Vec<Finding>) {
    let options = args.account.options();
    findings.push(match &options {
        Ok(_) => Finding::ok("credentials", "API_ID and API_HASH are there"),
        Err(error) => Finding::of_error("credentials", error),
    });
    let session = match args.account.session_path() {
        Ok(path) if path.exists() => {
            findings.push(checks::privacy(&path));
            args.account.session()
        }
        Ok(_) => Err(TelegramError::NotSignedIn.into()),
        Err(error) => Err(error),
    };
    let client = match (session, options) {
        (Ok(session), Ok(options)) => {
            let connected = patiently(Client::connect(session, options)).await;
            connected.map_err(|error| args.account.explain(error))
        }
        (Err(error), _) => Err(error),
        (Ok(session), Err(_)) if session.is_signed_in() => {
            findings.push(Finding::skipped(
                "session",
                "somebody is signed in; without credentials nobody can ask Telegram",
            ));
            return findings.push(Finding::skipped("clock", "Telegram could not be asked"));
        }
        (Ok(_), Err(_)) => Err(TelegramError::NotSignedIn.into()),
    };
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            findings.push(Finding::of_error("session", &error));
            findings.push(Finding::skipped("clock", "Telegram could not be asked"));
            if args.chat.is_some() {
                findings.push(Finding::skipped("chat", "Telegram could not be asked"));
            }
            return;
        }
    };
    findings.push(checks::session(&client).await);
    findings.push(checks::clock(&client).await);
    if let Some(chat) = &args.chat {
        findings.extend(checks::chat(&client, chat, args.join).await);
    }
    client.shutdown().await;
}

impl Finding {
    fn ok(check: &'static str, message: impl ToString) -> Self {
        Self { check, state: State::Ok, message: message.to_string(), remedy: None }
    }

    fn skipped(check: &'static str, message: impl ToString) -> Self {
        Self { check, state: State::Skipped, message: message.to_string(), remedy: None }
    }

    fn warning(check: &'static str, message: impl ToString, remedy: impl ToString) -> Self {
        let (message, remedy) = (message.to_string(), Some(remedy.to_string()));
        Self { check, state: State::Warning, message, remedy }
    }

    fn problem(check: &'static str, exit: Exit, message: impl ToString, remedy: impl ToString) -> Self {
        Self { state: State::Problem(exit), ..Self::warning(check, message, remedy) }
    }

    /// Errors say what happened, and what to do after the first semicolon, or else colon.
    fn of_error(check: &'static str, error: &anyhow::Error) -> Self {
        let text = format!("{error:#}");
        let (message, remedy) = match text.split_once("; ").or_else(|| text.split_once(": ")) {
            Some((message, remedy)) => (message, remedy),
            None => (&text[..], "see docs/telegram.md; a log of -vv tells more"),
        };
        Self::problem(check, exit::code(error), message, remedy)
    }

    fn to_json(&self) -> Value {
        json!({ "check": self.check, "state": self.state.word(), "message": self.message, "remedy": self.remedy })
    }

    fn to_text(&self) -> String {
        let remedy = self.remedy.as_ref().map_or_else(String::new, |remedy| format!("\n{:24}→ {remedy}", ""));
        format!("{:9}{:15}{}{remedy}", self.state.word(), self.check, self.message)
    }
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem(_) => "problem",
            Self::Skipped => "skipped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telegram::SessionError;

    #[test]
    fn an_error_becomes_what_happened_and_what_to_do() {
        let finding = Finding::of_error("session", &TelegramError::NotSignedIn.into());
        assert_eq!(
            (finding.state, &finding.message[..]),
            (State::Problem(Exit::Auth), "nobody is signed in")
        );
        assert_eq!(finding.remedy.as_deref(), Some("run `telecast login`"));
        assert_eq!(
            finding.to_text(),
            "problem  session        nobody is signed in\n                        → run `telecast login`"
        );
        assert_eq!(finding.to_json()["state"], "problem");
        let in_use = Finding::of_error("session", &SessionError::InUse("x.json".into()).into());
        assert_eq!(in_use.state, State::Problem(Exit::Config));
        assert!(in_use.remedy.is_some_and(|remedy| remedy.contains("another account")));
    }
}
