//! The MTProto door of `telecast local`: accounts that exist on this machine only, and a session
//! file for each, with which a client is signed in at once.
//!
//! Whoever reads such a file acts as the account, here and nowhere else. The files are as private
//! as real ones all the same, so that nobody gets used to anything else.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use crate::emulator::Emulator;
use crate::emulator::mtproto::{AccountId, ChatKind, MtprotoDoor, NewCall, NewChat};
use crate::telegram::{Datacenter, Session};

/// A door with a chat behind it, and accounts that can come in.
#[derive(Debug)]
pub(super) struct Accounts {
    door: MtprotoDoor,
    chat: String,
    folder: Folder,
    accounts: Vec<Account>,
}

#[derive(Debug)]
struct Account {
    id: AccountId,
    name: String,
    session: PathBuf,
}

/// Where the sessions are.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Nobody named it, so it goes when we go.
    is_ours: bool,
}

impl Accounts {
    /// Opens the door; the first account is admin of the chat. The sessions go into `folder`, or
    /// into a new one that is removed in the end.
    pub(super) async fn open(
        emulator: &Emulator,
        addr: SocketAddrV4,
        chat: &str,
        names: &[String],
        folder: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let door = emulator.serve_mtproto(addr).await.context("MTProto cannot be served")?;
        let folder = Folder::new(folder)?;
        let mut accounts = Vec::new();
        for name in names {
            let session = folder.path.join("telecast").join(format!("{name}.json"));
            accounts.push(Account { id: door.add_account(name), name: name.clone(), session });
        }
        let admins: Vec<AccountId> = accounts.iter().take(1).map(|account| account.id).collect();
        let new = NewChat {
            kind: ChatKind::Supergroup,
            title: chat,
            username: Some(chat),
            room: chat,
            admins: &admins,
        };
        door.begin_call(door.add_chat(&new), &NewCall::default());
        for account in &accounts {
            sign_in(&door, account.id, &account.session)?;
        }
        Ok(Self { door, chat: chat.to_owned(), folder, accounts })
    }

    /// What a client needs to come in, for programs.
    pub(super) fn describe(&self) -> Value {
        let account =
            |it: &Account| json!({ "name": it.name, "id": it.id.0, "session": it.session.to_string_lossy() });
        json!({
            "addr": self.door.local_addr().to_string(),
            "chat": format!("@{}", self.chat),
            "data_home": self.folder.path.to_string_lossy(),
            "accounts": self.accounts.iter().map(account).collect::<Vec<_>>(),
        })
    }

    /// How this program comes in, as a line for a shell.
    pub(super) fn command(&self) -> String {
        let name = self.accounts.first().map_or("", |account| &account.name);
        format!(
            "XDG_DATA_HOME='{}' API_ID=1 API_HASH=local telecast play FILE --chat @{} --account {name}",
            self.folder.path.display(),
            self.chat
        )
    }

    pub(super) fn addr(&self) -> SocketAddrV4 {
        self.door.local_addr()
    }
}

impl Folder {
    fn new(wanted: Option<PathBuf>) -> anyhow::Result<Self> {
        if let Some(path) = wanted {
            let path = std::path::absolute(&path).with_context(|| format!("{}", path.display()))?;
            return Ok(Self { path, is_ours: false });
        }
        let name = format!("telecast-local-{:016x}", fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        private(&path).with_context(|| format!("cannot make {} for the sessions", path.display()))?;
        Ok(Self { path, is_ours: true })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_ours
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the sessions were not removed");
        }
    }
}

/// Makes a folder that only we can look into; an error when something of that name is there.
fn private(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Writes the session of somebody who is signed in. One that was left behind by an earlier run is
/// replaced: its server is gone.
fn sign_in(door: &MtprotoDoor, account: AccountId, path: &Path) -> anyhow::Result<()> {
    let session = Session::open(path)?;
    let key = door.add_key(Some(account));
    let dc = |id| Datacenter { id, addr: door.local_addr(), key: Some(key.clone()) };
    session.set_datacenters(&[1, 2, 3, 4, 5].map(dc))?;
    session.assume_signed_in()?;
    Ok(())
}
