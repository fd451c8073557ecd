//! Which account, and with which credentials: what every command that speaks to Telegram takes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::config::Config;
use super::exit::{self, Because, Exit};
use super::say;
use crate::secret::Secret;
use crate::telegram::{Client, ClientOptions, Session, TelegramError};

/// The account that is meant where none is named.
const DEFAULT: &str = "main";

/// Who hears nothing for so long wants to know whether anything happens.
const SILENCE: Duration = Duration::from_secs(5);

const HOW_TO_GET: &str = "every program that speaks to Telegram needs an API_ID and an API_HASH of its own: \
     sign in at https://my.telegram.org, choose \"API development tools\", and give both values with \
     --api-id and --api-hash, or in the environment as API_ID and API_HASH, or in files named by \
     API_ID_FILE and API_HASH_FILE, or as api_id and api_hash in telecast.toml";

#[derive(Debug, Args)]
pub(super) struct AccountArgs {
    /// Which account, if there are several [default: main]
    #[arg(long, value_name = "NAME", value_parser = name)]
    account: Option<String>,

    /// From my.telegram.org; or API_ID, or API_ID_FILE
    #[arg(long, value_name = "NUMBER")]
    api_id: Option<i32>,

    /// From my.telegram.org; or API_HASH, or API_HASH_FILE, which nobody sees in a list of processes
    #[arg(long, value_name = "HASH")]
    api_hash: Option<String>,

    /// What the configuration says, for what is said nowhere else.
    #[arg(skip)]
    config: Config,
}

impl AccountArgs {
    /// From now on the configuration is asked where arguments and environment are silent.
    pub(super) fn configure(&mut self, config: &Config) -> anyhow::Result<()> {
        if let Some(Err(why)) = config.account.as_deref().map(name) {
            return Err(Because(Exit::Config, format!("account in the configuration: {why}")).into());
        }
        self.config = config.clone();
        Ok(())
    }

    pub(super) fn name(&self) -> &str {
        self.account.as_deref().or(self.config.account.as_deref()).unwrap_or(DEFAULT)
    }

    /// Where the session is, or will be.
    pub(super) fn session_path(&self) -> anyhow::Result<PathBuf> {
        Ok(directory()?.join(format!("{}.json", self.name())))
    }

    /// Locks and reads the session.
    pub(super) fn session(&self) -> anyhow::Result<Session> {
        Ok(Session::open(&self.session_path()?)?)
    }

    /// Starts a client, whether anybody is signed in or not.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        let options = self.options()?;
        Ok(Client::new(self.session()?, options))
    }

    /// A client of somebody who is signed in.
    pub(super) async fn connect(&self) -> anyhow::Result<Client> {
        let options = self.options()?;
        let connected = Client::connect(self.session()?, options);
        patiently(connected).await.map_err(|error| self.explain(error))
    }

    /// Names the account where the remedy is to sign in to it, and the others where there are any.
    pub(super) fn explain(&self, error: TelegramError) -> anyhow::Error {
        let (name, known) = (self.name(), sessions().unwrap_or_default());
        let is_alone = name == DEFAULT && known.iter().all(|path| name_of(path) == DEFAULT);
        if is_alone {
            return error.into();
        }
        let login = format!("`telecast login --account {name}`");
        let mut text = error.to_string().replace("`telecast login`", &login);
        if matches!(error, TelegramError::NotSignedIn) {
            text = text.replacen("nobody is signed in", &format!("nobody is signed in as account {name}"), 1);
            let names: Vec<_> =
                known.iter().map(|path| name_of(path)).filter(|known| *known != name).collect();
            if !names.is_empty() {
                text += &format!(", or use --account with one of {}", names.join(", "));
            }
        }
        Because(exit::code(&error.into()), text).into()
    }

    /// The credentials: flag, then environment, then the file that it names, then configuration.
    pub(super) fn options(&self) -> anyhow::Result<ClientOptions> {
        let missing = || Because(Exit::Config, HOW_TO_GET.to_owned());
        let id = match self.api_id {
            Some(id) => id,
            None => match setting("API_ID")? {
                Some(text) => text.parse().map_err(|_| {
                    Because(Exit::Config, "API_ID is not a number; see my.telegram.org".to_owned())
                })?,
                None => self.config.api_id.ok_or_else(missing)?,
            },
        };
        let hash = match &self.api_hash {
            Some(hash) => Secret::new(hash.clone()),
            None => match setting("API_HASH")? {
                Some(hash) => Secret::new(hash),
                None => self.configured_hash()?.ok_or_else(missing)?,
            },
        };
        Ok(ClientOptions::new(id, hash))
    }

    fn configured_hash(&self) -> anyhow::Result<Option<Secret<String>>> {
        match &self.config.api_hash_file {
            Some(file) => Ok(Some(Secret::new(file_setting(file, "api_hash_file")?))),
            None => Ok(self.config.api_hash.clone()),
        }
    }
}

/// Waits for Telegram, and says so when that takes its time.
pub(super) async fn patiently<T>(work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(SILENCE) => say::remark("no answer from Telegram yet; still trying"),
    }
    work.await
}

/// The session files that there are, in the order of their names.
pub(super) fn sessions() -> anyhow::Result<Vec<PathBuf>> {
    let directory = directory()?;
    let files = match std::fs::read_dir(&directory) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => {
            let text = format!("cannot list {}: {error}; check who may read it", directory.display());
            return Err(Because(Exit::Config, text).into());
        }
    };
    let mut paths: Vec<_> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    Ok(paths)
}

/// The account of a session file.
pub(super) fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Where the sessions are.
pub(super) fn directory() -> anyhow::Result<PathBuf> {
    let base = match std::env::var_os("XDG_DATA_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => {
            let text = "there is no home directory for the session; set HOME or XDG_DATA_HOME";
            let home = std::env::home_dir().ok_or_else(|| Because(Exit::Config, text.to_owned()))?;
            home.join(".local").join("share")
        }
    };
    Ok(base.join("telecast"))
}

/// A setting from the environment, or from the file that the environment names.
fn setting(name: &str) -> anyhow::Result<Option<String>> {
    if let Some(value) = std::env::var(name).ok().filter(|value| !value.is_empty()) {
        return Ok(Some(value.trim().to_owned()));
    }
    let by_file = format!("{name}_FILE");
    let Some(file) = std::env::var(&by_file).ok().filter(|file| !file.is_empty()) else { return Ok(None) };
    Ok(Some(file_setting(Path::new(&file), &by_file)?))
}

fn file_setting(file: &Path, named_by: &str) -> anyhow::Result<String> {
    match std::fs::read_to_string(file) {
        Ok(value) if value.trim().is_empty() => {
            let text =
                format!("{}, which {named_by} names, is empty; write the value into it", file.display());
            Err(Because(Exit::Config, text).into())
        }
        Ok(value) => Ok(value.trim().to_owned()),
        Err(error) => {
            let text = format!("cannot read {}, which {named_by} names: {error}", file.display());
            Err(Because(Exit::Config, text).into())
        }
    }
}

/// Names become names of files.
pub(super) fn name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
        return Err("names of accounts have letters, digits, - and _, at most 64".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_accounts_stay_in_their_directory() {
        assert_eq!(name("second-one_2"), Ok("second-one_2".to_owned()));
        for bad in ["", "a/b", "..", "a.b", "ä", &"x".repeat(65)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
