//! Which exit code a failure has, and how it is told.

use std::process::ExitCode;

use super::say;
use crate::call::{JoinError, LeftReason, SignalingError};
use crate::media::MediaError;
#[cfg(feature = "telegram")]
use crate::telegram::{SessionError, TelegramError};

/// How the process ends. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Ok = 0,
    Failure = 1,
    Usage = 2,
    Config = 3,
    Auth = 4,
    Chat = 5,
    Network = 6,
    Media = 7,
    Expectations = 8,
    FloodWait = 9,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An exit code of its own choice, where the error's type does not say it.
#[derive(Debug)]
pub(super) struct Because(pub(super) Exit, pub(super) String);

impl std::fmt::Display for Because {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.1)
    }
}

impl std::error::Error for Because {}

/// Tells a failure on stderr and turns it into its exit code.
pub(super) fn report(result: anyhow::Result<Exit>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(error) if broken_pipe(&error) => Exit::Ok.into(),
        Err(error) => {
            say::remark(format_args!("telecast: {error:#}"));
            code(&error).into()
        }
    }
}

/// The exit code for what ended a call.
pub(super) fn of_reason(reason: &LeftReason) -> Exit {
    match reason {
        LeftReason::Failed(error) => of_join(error),
        LeftReason::Kicked | LeftReason::Elsewhere | LeftReason::Discarded => Exit::Chat,
        LeftReason::Ended | LeftReason::Command | LeftReason::Empty => Exit::Ok,
    }
}

pub(super) fn code(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if let Some(Because(exit, _)) = cause.downcast_ref() {
            return *exit;
        }
        if let Some(error) = cause.downcast_ref::<JoinError>() {
            return of_join(error);
        }
        #[cfg(feature = "telegram")]
        if let Some(error) = cause.downcast_ref::<TelegramError>() {
            return of_telegram(error);
        }
        #[cfg(feature = "telegram")]
        if cause.downcast_ref::<SessionError>().is_some() {
            return Exit::Config;
        }
        if cause.downcast_ref::<MediaError>().is_some() {
            return Exit::Media;
        }
    }
    Exit::Failure
}

fn of_join(error: &JoinError) -> Exit {
    match error {
        JoinError::ConnectTimeout { .. } | JoinError::Socket(_) | JoinError::WrongCertificate => {
            Exit::Network
        }
        JoinError::BroadcastOnly | JoinError::Rtmp => Exit::Chat,
        JoinError::Signaling(error) => of_signaling(error),
        _ => Exit::Failure,
    }
}

fn of_signaling(error: &SignalingError) -> Exit {
    match error {
        SignalingError::Rpc { code, message } => of_refusal(*code, message),
        SignalingError::Unavailable { code, .. } => match *code {
            "no_connection" => Exit::Network,
            "session" => Exit::Config,
            "bot" => Exit::Auth,
            "bad_name" => Exit::Usage,
            "telegram" => Exit::Failure,
            _ => Exit::Chat,
        },
        SignalingError::Scheduled { .. } => Exit::Chat,
        SignalingError::Timeout(_) => Exit::Network,
        _ => Exit::Failure,
    }
}

/// The exit code for what Telegram refuses with.
fn of_refusal(code: i32, word: &str) -> Exit {
    match code {
        _ if word.contains("API_ID_") => Exit::Config,
        _ if word == "PHONE_NUMBER_INVALID" => Exit::Usage,
        _ if ["PHONE_", "PASSWORD_", "FROZEN_", "USER_DEACTIVATED"].iter().any(|it| word.starts_with(it)) => {
            Exit::Auth
        }
        401 => Exit::Auth,
        420 => Exit::FloodWait,
        400 | 403 | 406 => Exit::Chat,
        _ => Exit::Failure,
    }
}

#[cfg(feature = "telegram")]
fn of_telegram(error: &TelegramError) -> Exit {
    match error {
        TelegramError::NotSignedIn
        | TelegramError::SignedOut(_)
        | TelegramError::KeyUnknown
        | TelegramError::Bot
        | TelegramError::NoAccount
        | TelegramError::LoginUnsupported => Exit::Auth,
        TelegramError::FloodWait { .. } => Exit::FloodWait,
        TelegramError::Timeout { .. } | TelegramError::Connection { .. } => Exit::Network,
        TelegramError::Session(_) => Exit::Config,
        TelegramError::BadName(_) | TelegramError::BadLink(_) | TelegramError::NoPeer { .. } => Exit::Usage,
        TelegramError::NoFile { .. } | TelegramError::Cdn => Exit::Media,
        TelegramError::NoChat(_)
        | TelegramError::NoVideoChat(_)
        | TelegramError::Scheduled { .. }
        | TelegramError::Rtmp
        | TelegramError::Conference
        | TelegramError::NotMember(_)
        | TelegramError::Person(_) => Exit::Chat,
        TelegramError::Rpc { code, message, method } => match of_refusal(*code, message) {
            // Whatever is wrong in a login, it is no chat.
            Exit::Chat if method.starts_with("auth.") || method.starts_with("account.") => Exit::Auth,
            exit => exit,
        },
        _ => Exit::Failure,
    }
}

/// `telecast … | head` is no failure.
fn broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::ConnectStage;

    #[test]
    #[cfg(feature = "telegram")]
    fn so_have_those_of_telegram() {
        let of = |error: TelegramError| code(&anyhow::Error::new(error).context("somewhere"));
        assert_eq!(of(TelegramError::NotSignedIn), Exit::Auth);
        assert_eq!(of(TelegramError::NoChat("x".into())), Exit::Chat);
        assert_eq!(of(TelegramError::Connection { why: "x".into() }), Exit::Network);
        assert_eq!(of(TelegramError::Session(SessionError::InUse("x".into()))), Exit::Config);
        assert_eq!(code(&SessionError::InUse("x".into()).into()), Exit::Config);
        let refused = |code, word: &str| {
            of(TelegramError::Rpc { code, message: word.to_owned(), method: "auth.sendCode" })
        };
        assert_eq!(refused(400, "API_ID_INVALID"), Exit::Config);
        assert_eq!(refused(400, "PHONE_NUMBER_INVALID"), Exit::Usage);
        assert_eq!(refused(400, "PHONE_CODE_EXPIRED"), Exit::Auth);
        assert_eq!(refused(420, "FROZEN_METHOD_INVALID"), Exit::Auth);
        assert_eq!(refused(400, "CONNECTION_API_ID_INVALID"), Exit::Config);
        assert_eq!(refused(400, "SOMETHING_NEW"), Exit::Auth, "in a login it is about the login");
        let private = TelegramError::Rpc {
            code: 400,
            message: "CHANNEL_PRIVATE".into(),
            method: "channels.getChannels",
        };
        assert_eq!(of(private), Exit::Chat);
        // A call tells the same.
        let joins = |error: TelegramError| {
            code(&anyhow::Error::new(JoinError::Signaling(SignalingError::from(error))))
        };
        assert_eq!(joins(TelegramError::Session(SessionError::KeyReplaced(2))), Exit::Config);
        assert_eq!(joins(TelegramError::Unreadable { method: "x" }), Exit::Failure);
        assert_eq!(joins(TelegramError::Bot), Exit::Auth);
        assert_eq!(joins(TelegramError::BadName("x".into())), Exit::Usage);
        assert_eq!(joins(TelegramError::Person("Ann".into())), Exit::Chat);
        assert_eq!(joins(TelegramError::Connection { why: "x".into() }), Exit::Network);
    }

    #[test]
    fn failures_have_the_documented_codes() {
        let rpc = |code| {
            anyhow::Error::from(JoinError::Signaling(SignalingError::Rpc { code, message: "X".into() }))
                .context("while joining")
        };
        assert_eq!(code(&rpc(401)), Exit::Auth);
        assert_eq!(code(&rpc(403)), Exit::Chat);
        assert_eq!(code(&rpc(420)), Exit::FloodWait);
        assert_eq!(code(&rpc(500)), Exit::Failure);
        let silent = JoinError::ConnectTimeout {
            stage: ConnectStage::Ice,
            after: std::time::Duration::from_secs(10),
            attempts: 3,
        };
        assert_eq!(code(&silent.into()), Exit::Network);
        assert_eq!(code(&Because(Exit::Expectations, "x".into()).into()), Exit::Expectations);
        assert_eq!(Exit::Interrupted as u8, 130);
    }
}
