//! The configuration file → credentials, and defaults for what the arguments leave open.
//!
//! The first of these that exists is read, and no other: what `--config` names, `telecast.toml` in
//! the current directory, `telecast/config.toml` where the system keeps configurations.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Deserializer};

use super::exit::{Because, Exit};
use crate::secret::Secret;

/// In the current directory.
const HERE: &str = "telecast.toml";
/// A word this unlike is no misspelling.
const ALIKE: f64 = 0.75;

/// All keys, with the table that they stand in.
const KEYS: &[(&str, &[&str])] = &[
    ("", &["account", "api_id", "api_hash", "api_hash_file", "play"]),
    ("play", &["chats", "as", "start", "stay", "muted", "raise_hand"]),
];

/// Where the configuration is.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// The configuration file; else ./telecast.toml, then ~/.config/telecast/config.toml
    #[arg(long, global = true, value_name = "FILE", help_heading = "Configuration")]
    config: Option<PathBuf>,
}

/// What the file says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Config {
    pub(super) account: Option<String>,
    pub(super) api_id: Option<i32>,
    #[serde(deserialize_with = "secret")]
    pub(super) api_hash: Option<Secret<String>>,
    pub(super) api_hash_file: Option<PathBuf>,
    pub(super) play: PlayDefaults,
    /// Where it was read from.
    #[serde(skip)]
    pub(super) path: Option<PathBuf>,
}

/// Defaults of `telecast play` with an account.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PlayDefaults {
    pub(super) chats: Vec<String>,
    #[serde(rename = "as")]
    pub(super) join_as: Option<String>,
    pub(super) start: Option<bool>,
    pub(super) stay: Option<bool>,
    pub(super) muted: Option<bool>,
    pub(super) raise_hand: Option<bool>,
}

impl ConfigArgs {
    /// Reads the file, if there is one.
    pub(super) fn load(&self) -> anyhow::Result<Config> {
        if let Some(path) = &self.config {
            let text = std::fs::read_to_string(path);
            let unreadable =
                |error| Because(Exit::Config, format!("cannot read {}: {error}", path.display()));
            return read(path, &text.map_err(unreadable)?);
        }
        for path in std::iter::once(PathBuf::from(HERE)).chain(home()) {
            match std::fs::read_to_string(&path) {
                Ok(text) => return read(&path, &text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(
                        Because(Exit::Config, format!("cannot read {}: {error}", path.display())).into()
                    );
                }
            }
        }
        Ok(Config::default())
    }
}

/// Where the system keeps configurations.
fn home() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let base = base.or_else(|| Some(std::env::home_dir()?.join(".config")))?;
    Some(base.join("telecast").join("config.toml"))
}

/// What is wrong is told without the line that it stands in, which may be a secret.
fn read(path: &Path, text: &str) -> anyhow::Result<Config> {
    let bad = |why: String| Because(Exit::Config, format!("{}: {why}", path.display()));
    let placed = |error: toml::de::Error| {
        let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
        let line = line.map_or_else(String::new, |line| format!("line {line}: "));
        bad(format!("{line}{}", error.message()))
    };
    let table: toml::Table = toml::from_str(text).map_err(placed)?;
    check_keys(&table).map_err(bad)?;
    let mut config: Config = toml::from_str(text).map_err(placed)?;
    if config.api_hash.is_some() && config.api_hash_file.is_some() {
        return Err(bad("api_hash and api_hash_file say the same thing twice; keep one".to_owned()).into());
    }
    // A name is meant from where it is written.
    let from = path.parent().unwrap_or_else(|| Path::new(""));
    config.api_hash_file = config.api_hash_file.map(|file| from.join(file));
    config.path = Some(path.to_owned());
    Ok(config)
}

/// Misspelled keys would be ignored without a word.
fn check_keys(table: &toml::Table) -> Result<(), String> {
    for (name, known) in KEYS {
        let keys = match *name {
            "" => Some(table),
            name => table.get(name).and_then(toml::Value::as_table),
        };
        for key in keys.into_iter().flat_map(toml::Table::keys) {
            if !known.contains(&key.as_str()) {
                return Err(unknown(name, key));
            }
        }
    }
    Ok(())
}

fn unknown(table: &str, key: &str) -> String {
    let full = |table: &str, key: &str| {
        if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
    };
    let all = KEYS.iter().flat_map(|(table, keys)| keys.iter().map(|known| (*table, *known)));
    let alike = |(_, known): &(&str, &str)| strsim::jaro_winkler(key, known);
    let closest = all.max_by(|a, b| alike(a).total_cmp(&alike(b)));
    let advice = match closest.filter(|known| alike(known) >= ALIKE) {
        Some((of, known)) => format!("did you mean `{}`?", full(of, known)),
        None => {
            let known = KEYS.iter().find(|(name, _)| *name == table).map_or(&[][..], |(_, keys)| keys);
            format!("known here are {}", known.join(", "))
        }
    };
    format!("unknown key `{}`; {advice}", full(table, key))
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret<String>>, D::Error> {
    Ok(Some(Secret::new(String::deserialize(deserializer)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        read(Path::new("there/telecast.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn everything_can_be_set() {
        let config = load(
            r#"
            account = "second"
            api_id = 7
            api_hash_file = "hash"
            [play]
            chats = ["@one", "-1001234567890"]
            as = "-1001"
            start = true
            stay = false
            muted = true
            raise_hand = true
            "#,
        );
        let config = config.expect("every key is known");
        assert_eq!((config.account.as_deref(), config.api_id), (Some("second"), Some(7)));
        assert_eq!(config.api_hash_file.as_deref(), Some(Path::new("there/hash")));
        let play = config.play;
        assert_eq!((play.chats.len(), play.join_as.as_deref()), (2, Some("-1001")));
        let flags = [play.start, play.stay, play.muted, play.raise_hand];
        assert_eq!(flags, [Some(true), Some(false), Some(true), Some(true)]);
        assert!(load("").expect("nothing is required").api_id.is_none());
    }

    #[test]
    fn a_misspelled_key_is_an_error_that_names_the_right_one() {
        for (text, words) in [
            ("api_idd = 1", "unknown key `api_idd`; did you mean `api_id`?"),
            ("[play]\nraisehand = true", "unknown key `play.raisehand`; did you mean `play.raise_hand`?"),
            ("chats = []", "unknown key `chats`; did you mean `play.chats`?"),
            ("zzz = 1", "known here are account, api_id"),
        ] {
            let error = load(text).expect_err(text);
            assert!(error.starts_with("there/telecast.toml: ") && error.contains(words), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_where_and_tells_no_secret() {
        for (text, words) in [
            ("api_id = 1\napi_hash = 0xc0ffee", "line 2: invalid type"),
            ("account = \"a\"\napi_hash = \"c0ffee", "line 2: "),
            ("api_id = \"c0ffee\"", "line 1: "),
            ("play = 3", "line 1: "),
            ("api_hash = \"c0ffee\"\napi_hash_file = \"x\"", "keep one"),
        ] {
            let error = load(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
            assert!(!error.contains("api_hash = \"c0ffee"), "{error}");
        }
        let config = load("api_hash = \"c0ffee\"").expect("right");
        assert!(!format!("{config:?}").contains("c0ffee"));
    }
}
