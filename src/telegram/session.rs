//! What has to survive a restart: the keys, where the data centers are, who is signed in, and the
//! access hashes of chats. One JSON file for each account.
//!
//! The file holds the account: whoever has it is signed in. So its directory is readable by the
//! owner only, the file as well, it is replaced whole or not at all, and a lock keeps a second
//! process out, because Telegram revokes a key that two connections use from two places.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::net::{SocketAddrV4, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use grammers_session::types::{DcOption, PeerId, PeerInfo, UpdateState, UpdatesState};
use grammers_session::{BoxFuture, SessionData};
use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// The format of the file.
const VERSION: u32 = 1;
/// Where a new account begins to look for its data center, as Telegram's own apps do.
const FIRST_DC: i32 = 2;

/// Why a session cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The file or its directory cannot be read or written.
    #[error("cannot {verb} the session file {path} ({cause}); see that this user owns it and its directory")]
    File {
        /// What was tried.
        verb: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
    /// Another process has it.
    #[error("the session {0} is in use by another process; end that one, or use another account")]
    InUse(PathBuf),
    /// It is not what telecast wrote.
    #[error("the session file {path} cannot be understood ({why}); move it away and log in again")]
    Broken {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Telegram sends us to a data center that nobody has told us the address of.
    #[error("Telegram names data center {0}, whose address is not known; a newer telecast may help")]
    UnknownDatacenter(i32),
    /// The data center made a new key because it does not know ours any more.
    #[error("Telegram's data center {0} does not know this session's key any more; log in again")]
    KeyReplaced(i32),
}

/// A data center and the key that was agreed upon with it.
#[derive(Clone, Debug)]
pub struct Datacenter {
    /// 1 to 5.
    pub id: i32,
    /// Where it listens.
    pub addr: SocketAddrV4,
    /// 256 bytes; `None` before the first connection.
    pub key: Option<Secret<[u8; 256]>>,
}

/// A session, on disk or in memory.
#[derive(Debug)]
pub struct Session {
    state: Mutex<State>,
    disk: Option<Disk>,
}

#[derive(Debug)]
struct State {
    stored: Stored,
    /// It is not on the disk yet, because the last write failed.
    is_unwritten: bool,
}

/// The file, and the lock that is held as long as this exists.
#[derive(Debug)]
struct Disk {
    path: PathBuf,
    _lock: File,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stored {
    version: u32,
    home_dc: i32,
    dcs: BTreeMap<i32, StoredDc>,
    #[serde(default)]
    me: Option<Me>,
    /// Access hashes of channels and supergroups, by TL id.
    #[serde(default)]
    channels: BTreeMap<i64, i64>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct StoredDc {
    ipv4: SocketAddrV4,
    ipv6: SocketAddrV6,
    #[serde(default, with = "hex", skip_serializing_if = "Option::is_none")]
    key: Option<[u8; 256]>,
}

/// Who is signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Me {
    pub(super) id: i64,
    pub(super) bot: bool,
}

impl Session {
    /// Opens the session file at `path` and locks it. A file that does not exist yet is written
    /// as soon as there is something to keep.
    ///
    /// # Errors
    /// When another process has it, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, SessionError> {
        let file_error = |verb| {
            let path = path.to_owned();
            move |cause| SessionError::File { verb, path, cause }
        };
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            private_dir(dir).map_err(file_error("make the directory of"))?;
        }
        let lock = private_file(&path.with_extension("lock"), false).map_err(file_error("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(SessionError::InUse(path.to_owned())),
            Err(fs::TryLockError::Error(cause)) => return Err(file_error("lock")(cause)),
        }
        let stored = match fs::read_to_string(path) {
            Ok(text) => read(&text).map_err(|why| SessionError::Broken { path: path.to_owned(), why })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Stored::default(),
            Err(error) => return Err(file_error("read")(error)),
        };
        let disk = Disk { path: path.to_owned(), _lock: lock };
        Ok(Self { state: Mutex::new(State { stored, is_unwritten: false }), disk: Some(disk) })
    }

    /// A session that is forgotten with the process.
    pub fn in_memory() -> Self {
        Self { state: Mutex::new(State { stored: Stored::default(), is_unwritten: false }), disk: None }
    }

    /// Says where data centers are and which keys they know, instead of Telegram's own: for a
    /// server on this machine.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_datacenters(&self, datacenters: &[Datacenter]) -> Result<(), SessionError> {
        self.change(|stored| {
            for dc in datacenters {
                let ipv6 = SocketAddrV6::new(dc.addr.ip().to_ipv6_mapped(), dc.addr.port(), 0, 0);
                let key = dc.key.as_ref().map(|key| *key.expose());
                stored.dcs.insert(dc.id, StoredDc { ipv4: dc.addr, ipv6, key });
            }
        })
    }

    /// Says that the keys belong to somebody who is signed in, without having logged in here: for
    /// keys that were agreed upon elsewhere. Who it is, the first connection finds out.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn assume_signed_in(&self) -> Result<(), SessionError> {
        self.set_me(Some(Me { id: 0, bot: false }))
    }

    /// Removes the file; what was in it is forgotten.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn delete(&self) -> Result<(), SessionError> {
        *self.state() = State { stored: Stored::default(), is_unwritten: false };
        let Some(Disk { path, .. }) = &self.disk else { return Ok(()) };
        // A write that did not come to its end has left the key in a file beside it, and so has
        // a login in the place of a session that was over.
        for path in [path.clone(), path.with_extension("new"), path.with_extension("old")] {
            match fs::remove_file(&path) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    return Err(SessionError::File { verb: "remove", path, cause });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Forgets keys, account and chats, for a login in the place of a session that is over. Where
    /// data centers are stays known. The file is kept beside the new one, as `NAME.old`, until
    /// somebody signs out.
    ///
    /// # Errors
    /// When the file cannot be moved or written.
    pub fn start_anew(&self) -> Result<(), SessionError> {
        if let Some(Disk { path, .. }) = &self.disk {
            match fs::rename(path, path.with_extension("old")) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    return Err(SessionError::File { verb: "set aside", path: path.clone(), cause });
                }
                _ => {}
            }
        }
        self.change(|stored| {
            stored.dcs.values_mut().for_each(|dc| dc.key = None);
            (stored.me, stored.channels) = (None, BTreeMap::new());
        })
    }

    /// Has anybody signed in?
    pub fn is_signed_in(&self) -> bool {
        self.me().is_some()
    }

    pub(super) fn me(&self) -> Option<Me> {
        self.state().stored.me
    }

    pub(super) fn set_me(&self, me: Option<Me>) -> Result<(), SessionError> {
        self.change(|stored| stored.me = me)
    }

    pub(super) fn home(&self) -> i32 {
        self.state().stored.home_dc
    }

    /// Moves to another data center, if it is one that we know the way to.
    pub(super) fn set_home(&self, dc: i32) -> Result<(), SessionError> {
        if !self.knows(dc) {
            return Err(SessionError::UnknownDatacenter(dc));
        }
        self.change(|stored| stored.home_dc = dc)
    }

    pub(super) fn knows(&self, dc: i32) -> bool {
        self.state().stored.dcs.contains_key(&dc)
    }

    /// Has a key been agreed upon with this data center?
    pub(super) fn has_key(&self, dc: i32) -> bool {
        self.state().stored.dcs.get(&dc).is_some_and(|dc| dc.key.is_some())
    }

    /// The next connection to this data center, which is not our home, agrees upon another key.
    pub(super) fn forget_key(&self, dc: i32) -> Result<(), SessionError> {
        self.change(|stored| {
            if let Some(dc) = stored.dcs.get_mut(&dc) {
                dc.key = None;
            }
        })
    }

    pub(super) fn channel_hash(&self, id: i64) -> Option<i64> {
        self.state().stored.channels.get(&id).copied()
    }

    /// It is out of date.
    pub(super) fn forget_channel(&self, id: i64) -> Result<(), SessionError> {
        self.change(|stored| {
            stored.channels.remove(&id);
        })
    }

    pub(super) fn keep_channels(
        &self,
        hashes: impl IntoIterator<Item = (i64, i64)>,
    ) -> Result<(), SessionError> {
        self.change(|stored| stored.channels.extend(hashes))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the session")
    }

    /// Changes what is stored, and writes it if that made a difference, or if an earlier write
    /// failed.
    fn change(&self, change: impl FnOnce(&mut Stored)) -> Result<(), SessionError> {
        let mut state = self.state();
        let before = state.stored.clone();
        change(&mut state.stored);
        let Some(disk) = &self.disk else { return Ok(()) };
        if state.stored == before && !state.is_unwritten {
            return Ok(());
        }
        state.is_unwritten = true;
        disk.write(&state.stored)?;
        state.is_unwritten = false;
        Ok(())
    }
}

impl Disk {
    /// Writes a new file and puts it in the place of the old one, so that a crash leaves either.
    fn write(&self, stored: &Stored) -> Result<(), SessionError> {
        let beside = self.path.with_extension("new");
        let text = serde_json::to_vec_pretty(stored).expect("maps with plain keys are JSON");
        let replace = || {
            let mut file = private_file(&beside, true)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&beside, &self.path)?;
            sync_dir(&self.path)
        };
        replace().map_err(|cause| SessionError::File { verb: "write", path: self.path.clone(), cause })
    }
}

impl Default for Stored {
    /// Nobody, at the addresses that grammers knows.
    fn default() -> Self {
        let known = SessionData::default().dc_options;
        let dcs =
            known.into_iter().map(|(id, dc)| (id, StoredDc { ipv4: dc.ipv4, ipv6: dc.ipv6, key: None }));
        Self { version: VERSION, home_dc: FIRST_DC, dcs: dcs.collect(), me: None, channels: BTreeMap::new() }
    }
}

impl std::fmt::Debug for StoredDc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredDc").field("ipv4", &self.ipv4).finish_non_exhaustive()
    }
}

/// As grammers wants it. Of the state of updates nothing is kept: what happens in calls is not
/// part of that state and is never repeated.
impl grammers_session::Session for Session {
    type Error = SessionError;

    fn home_dc_id(&self) -> Result<i32, SessionError> {
        Ok(self.home())
    }

    fn set_home_dc_id(&self, dc_id: i32) -> BoxFuture<'_, Result<(), SessionError>> {
        Box::pin(async move { self.set_home(dc_id) })
    }

    fn dc_option(&self, dc_id: i32) -> Result<Option<DcOption>, SessionError> {
        let state = self.state();
        let option = |dc: &StoredDc| DcOption { id: dc_id, ipv4: dc.ipv4, ipv6: dc.ipv6, auth_key: dc.key };
        Ok(state.stored.dcs.get(&dc_id).map(option))
    }

    /// A key that replaces the one of our home is refused: grammers makes one by itself when the
    /// server does not know ours, and taking it would silently end the login. Elsewhere it is
    /// welcome, because there we are let in by our home's word, again and again.
    fn set_dc_option(&self, dc: &DcOption) -> BoxFuture<'_, Result<(), SessionError>> {
        let DcOption { id, ipv4, ipv6, auth_key: key } = dc.clone();
        Box::pin(async move {
            let known = self.state().stored.dcs.get(&id).and_then(|dc| dc.key);
            if id == self.home() && known.is_some() && key != known {
                return Err(SessionError::KeyReplaced(id));
            }
            self.change(|stored| {
                stored.dcs.insert(id, StoredDc { ipv4, ipv6, key });
            })
        })
    }

    fn peer(&self, peer: PeerId) -> BoxFuture<'_, Result<Option<PeerInfo>, SessionError>> {
        Box::pin(async move {
            let me = self.me().filter(|_| peer == PeerId::self_user());
            Ok(me.map(|me| PeerInfo::User { id: me.id, auth: None, bot: Some(me.bot), is_self: Some(true) }))
        })
    }

    fn cache_peer(&self, peer: PeerInfo) -> BoxFuture<'_, Result<(), SessionError>> {
        Box::pin(async move {
            match peer {
                PeerInfo::User { id, bot, is_self: Some(true), .. } => {
                    self.set_me(Some(Me { id, bot: bot.unwrap_or_default() }))
                }
                PeerInfo::Channel { id, auth: Some(auth), .. } => self.keep_channels([(id, auth.hash())]),
                _ => Ok(()),
            }
        })
    }

    fn updates_state(&self) -> BoxFuture<'_, Result<UpdatesState, SessionError>> {
        Box::pin(async { Ok(UpdatesState::default()) })
    }

    fn set_update_state(&self, _: UpdateState) -> BoxFuture<'_, Result<(), SessionError>> {
        Box::pin(async { Ok(()) })
    }
}

fn read(text: &str) -> Result<Stored, String> {
    let stored: Stored = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if stored.version != VERSION {
        return Err(format!("it has format {}, this telecast knows {VERSION}", stored.version));
    }
    if !stored.dcs.contains_key(&stored.home_dc) {
        return Err(format!("it does not know its own data center {}", stored.home_dc));
    }
    Ok(stored)
}

#[cfg(unix)]
fn private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    if dir.is_dir() {
        // Somebody's own directory keeps its rights, unless others could look into it.
        let mode = fs::metadata(dir)?.permissions().mode();
        if mode & 0o077 != 0 && dir.ends_with("telecast") {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        }
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(not(unix))]
fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).create(dir)
}

/// Makes sure that a file's new name survives a loss of power.
#[cfg(unix)]
fn sync_dir(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(dir)?.sync_all()
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "as on systems where it can fail")]
const fn sync_dir(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Opens a file that only the owner can read, whatever the umask says.
fn private_file(path: &Path, empty: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(empty);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        let file = options.mode(0o600).open(path)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        Ok(file)
    }
    #[cfg(not(unix))]
    options.open(path)
}

/// Keys as hexadecimal text.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::ref_option, reason = "serde wants it so")]
    pub(super) fn serialize<S: Serializer>(key: &Option<[u8; 256]>, to: S) -> Result<S::Ok, S::Error> {
        match key {
            Some(key) => to.collect_str(&key.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<[u8; 256]>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
        let bytes: Option<Vec<u8>> = text
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        // The text itself must not appear in the error.
        let key = bytes.and_then(|bytes| bytes.try_into().ok());
        key.map(Some).ok_or_else(|| D::Error::custom("a key that is not 512 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests;
