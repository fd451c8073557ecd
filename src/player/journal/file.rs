//! The file itself: one row of state, and a row for each item and each chat.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::{Saved, SavedChat};
use crate::player::Repeat;
use crate::time::MediaTime;

/// `PRAGMA user_version` of what is written here. A later one is somebody else's to read.
const VERSION: i64 = 2;

/// Another process may be about to end.
const PATIENCE: Duration = Duration::from_millis(500);

const SCHEMA: &str = "
    CREATE TABLE state (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        position_ms INTEGER NOT NULL,
        paused INTEGER NOT NULL,
        volume_percent INTEGER NOT NULL,
        repeat TEXT NOT NULL
    );
    CREATE TABLE item (nth INTEGER PRIMARY KEY, source TEXT NOT NULL);
    CREATE TABLE chat (nth INTEGER PRIMARY KEY, name TEXT NOT NULL, ssrc INTEGER);
";

/// Version 1 knew no SSRCs.
const FROM_VERSION_1: &str = "ALTER TABLE chat ADD COLUMN ssrc INTEGER";

/// Opens the file for this process alone and reads what is in it.
pub(super) fn open(path: &Path) -> rusqlite::Result<(Connection, Option<Saved>)> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    // A process that is killed loses nothing; only a power cut may cost the last second.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    // Taking the lock, too: it is held until the connection is closed.
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive)?;
    match version {
        0 => {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        1..=VERSION => {
            let sound: String = transaction.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if sound != "ok" {
                return Err(broken(&sound));
            }
            if version == 1 {
                transaction.execute_batch(FROM_VERSION_1)?;
                transaction.pragma_update(None, "user_version", VERSION)?;
            }
        }
        later => return Err(broken(&format!("version {later}, of a later telecast"))),
    }
    let saved = read(&transaction)?;
    transaction.commit()?;
    Ok((connection, saved))
}

fn read(connection: &Connection) -> rusqlite::Result<Option<Saved>> {
    let state = connection
        .query_row("SELECT position_ms, paused, volume_percent, repeat FROM state", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, String>(3)?))
        })
        .optional()?;
    let Some((position, paused, volume_percent, repeat)) = state else { return Ok(None) };
    let mut items = connection.prepare("SELECT source FROM item ORDER BY nth")?;
    let mut chats = connection.prepare("SELECT name, ssrc FROM chat ORDER BY nth")?;
    let chat = |row: &rusqlite::Row<'_>| Ok(SavedChat { name: row.get(0)?, ssrc: row.get(1)? });
    Ok(Some(Saved {
        sources: items.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?,
        position: MediaTime::from_millis(position),
        paused,
        volume_percent,
        repeat: match &repeat[..] {
            "one" => Repeat::One,
            "all" => Repeat::All,
            _ => Repeat::Off,
        },
        chats: chats.query_map([], chat)?.collect::<rusqlite::Result<_>>()?,
    }))
}

/// Replaces everything, or nothing.
pub(super) fn write(connection: &mut Connection, saved: &Saved) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch("DELETE FROM item; DELETE FROM chat; DELETE FROM state")?;
    transaction.execute(
        "INSERT INTO state VALUES (1, ?1, ?2, ?3, ?4)",
        params![saved.position.as_millis(), saved.paused, saved.volume_percent, saved.repeat.as_str()],
    )?;
    let number = |nth| i64::try_from(nth).unwrap_or(i64::MAX);
    {
        let mut insert = transaction.prepare("INSERT INTO item VALUES (?1, ?2)")?;
        for (nth, source) in saved.sources.iter().enumerate() {
            insert.execute(params![number(nth), source])?;
        }
        let mut insert = transaction.prepare("INSERT INTO chat VALUES (?1, ?2, ?3)")?;
        for (nth, chat) in saved.chats.iter().enumerate() {
            insert.execute(params![number(nth), chat.name, chat.ssrc])?;
        }
    }
    transaction.commit()
}

/// The current item has gone on.
pub(super) fn write_position(connection: &Connection, position: MediaTime) -> rusqlite::Result<()> {
    connection.execute("UPDATE state SET position_ms = ?1", [position.as_millis()]).map(drop)
}

fn broken(what: &str) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, Some(what.to_owned()))
}

/// No journal, or one that nobody can read any more.
pub(super) fn is_broken(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(error, message) => {
            let is_missing = message.as_ref().is_some_and(|text| text.starts_with("no such table"));
            is_missing || matches!(error.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        }
        // What is in it is of another kind than it should be.
        rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) => true,
        rusqlite::Error::SqlInputError { msg, .. } => msg.starts_with("no such"),
        _ => false,
    }
}

pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Renames the file to the first free `.broken`, `.broken1` … beside it. What SQLite keeps beside
/// it belongs to it.
pub(super) fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let names = std::iter::once(".broken".to_owned()).chain((1..).map(|nth| format!(".broken{nth}")));
    let free = names.map(|suffix| beside(&suffix)).find(|name| !name.exists());
    let aside = free.unwrap_or_else(|| beside(".broken"));
    std::fs::rename(path, &aside)?;
    for suffix in ["-wal", "-shm"] {
        match std::fs::remove_file(beside(suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}
