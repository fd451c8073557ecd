//! The file in a message → bytes that can be read and sought while they are still being fetched.
//!
//! ```text
//!  link ─► message ─► document ─► parts of 512 KiB ─► Read + Seek
//!                         ▲            │ the next one is fetched ahead
//!                         └────────────┘ reference expired, other data center
//! ```

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, MutexGuard};

use grammers_tl_types as tl;
use tokio::task::JoinHandle;

use super::chat::{Chat, ChatName, value};
use super::client::Client;
use super::error::TelegramError;

/// Bytes in one request: a divisor of the 1 MiB that no request may cross.
const PART: u64 = 512 * 1024;
/// Parts that are kept: an index at the end, and what lies around the present place.
const KEPT: usize = 8;
/// How often one part is asked for, whatever has to be put right before.
const MAX_TRIES: u32 = 4;

/// Names the file in a message: `t.me/name/5`, `t.me/c/1234567/5`, `tg://resolve?domain=name&post=5`,
/// `tg://privatepost?channel=1234567&post=5`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLink {
    chat: ChatName,
    message: i32,
}

/// A file at Telegram. Reading waits for the network, so it has to happen outside of async code.
#[derive(Debug)]
pub struct RemoteFile {
    shared: Arc<Shared>,
    position: u64,
    parts: VecDeque<(u64, Vec<u8>)>,
    ahead: Option<(u64, Fetching)>,
}

/// A part on its way.
type Fetching = JoinHandle<Result<Vec<u8>, TelegramError>>;

#[derive(Debug)]
struct Shared {
    client: Client,
    chat: Chat,
    message: i32,
    name: Option<String>,
    size: u64,
    place: Mutex<Place>,
}

/// Where the bytes are; changes when the reference expires.
#[derive(Clone, Debug)]
struct Place {
    dc: i32,
    location: tl::types::InputDocumentFileLocation,
}

impl FileLink {
    /// Is this text meant as a link, and not as the name of a file?
    pub fn is_meant(text: &str) -> bool {
        let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        ["tg://", "t.me/", "telegram.me/"].iter().any(|prefix| bare.starts_with(prefix))
    }
}

impl std::str::FromStr for FileLink {
    type Err = TelegramError;

    fn from_str(text: &str) -> Result<Self, TelegramError> {
        let bad = || TelegramError::BadLink(text.chars().take(256).collect());
        let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let (chat, message) = if let Some(query) = bare.strip_prefix("tg://resolve?") {
            (format!("@{}", value(query, "domain").ok_or_else(bad)?), value(query, "post"))
        } else if let Some(query) = bare.strip_prefix("tg://privatepost?") {
            (format!("t.me/c/{}", value(query, "channel").ok_or_else(bad)?), value(query, "post"))
        } else {
            let path = ["t.me/", "telegram.me/"].iter().find_map(|host| bare.strip_prefix(host));
            let path = path.ok_or_else(bad)?.split(['?', '#']).next().unwrap_or_default();
            let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
            // A topic may stand between the chat and the message.
            match parts[..] {
                ["c", chat, message] | ["c", chat, _, message] => (format!("t.me/c/{chat}"), Some(message)),
                [chat, message] | [chat, _, message] => (format!("@{chat}"), Some(message)),
                _ => return Err(bad()),
            }
        };
        let message = message.and_then(|it| it.parse().ok()).filter(|it| *it > 0).ok_or_else(bad)?;
        Ok(Self { chat: chat.parse().map_err(|_| bad())?, message })
    }
}

impl Client {
    /// Finds the file in a message.
    ///
    /// # Errors
    /// When there is no such message for this account, or no file in it.
    pub async fn open_file(&self, link: &FileLink) -> Result<RemoteFile, TelegramError> {
        let chat = self.get_chat(&link.chat).await?;
        let document = self.document(&chat, link.message).await?;
        let name = document.attributes.iter().find_map(|attribute| match attribute {
            tl::enums::DocumentAttribute::Filename(it) => Some(it.file_name.clone()),
            _ => None,
        });
        let shared = Shared {
            client: self.clone(),
            chat,
            message: link.message,
            name,
            size: u64::try_from(document.size).unwrap_or_default(),
            place: Mutex::new(Place::of(&document)),
        };
        Ok(RemoteFile { shared: Arc::new(shared), position: 0, parts: VecDeque::new(), ahead: None })
    }

    async fn document(&self, chat: &Chat, message: i32) -> Result<tl::types::Document, TelegramError> {
        let id = vec![tl::types::InputMessageId { id: message }.into()];
        let found = match &chat.input {
            tl::enums::InputPeer::Channel(input) => {
                let (channel_id, access_hash) = (input.channel_id, input.access_hash);
                let channel = tl::types::InputChannel { channel_id, access_hash }.into();
                self.invoke(&tl::functions::channels::GetMessages { channel, id }).await?
            }
            _ => self.invoke(&tl::functions::messages::GetMessages { id }).await?,
        };
        let messages = match found {
            tl::enums::messages::Messages::Messages(it) => it.messages,
            tl::enums::messages::Messages::Slice(it) => it.messages,
            tl::enums::messages::Messages::ChannelMessages(it) => it.messages,
            tl::enums::messages::Messages::NotModified(_) => vec![],
        };
        let document = messages.into_iter().find_map(|it| match it {
            tl::enums::Message::Message(it) if it.id == message => match it.media? {
                tl::enums::MessageMedia::Document(media) => match media.document? {
                    tl::enums::Document::Document(document) => Some(document),
                    tl::enums::Document::Empty(_) => None,
                },
                _ => None,
            },
            _ => None,
        });
        document.ok_or_else(|| TelegramError::NoFile { chat: chat.title.clone(), message })
    }
}

impl RemoteFile {
    /// The name that its sender gave it.
    pub fn name(&self) -> Option<&str> {
        self.shared.name.as_deref()
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.shared.size
    }

    /// A part, from memory or from Telegram; the next one is on its way then.
    fn part(&mut self, n: u64) -> io::Result<&[u8]> {
        if !self.parts.iter().any(|(of, _)| *of == n) {
            let runtime = self.shared.client.inner.runtime.clone();
            let fetched = match self.ahead.take_if(|(of, _)| *of == n) {
                Some((_, task)) => runtime.block_on(task).map_err(io::Error::other)?,
                None => runtime.block_on(self.shared.clone().fetch(n)),
            };
            if self.parts.len() == KEPT {
                self.parts.pop_front();
            }
            self.parts.push_back((n, fetched.map_err(io::Error::other)?));
            self.look_ahead(n + 1);
        }
        let part = self.parts.iter().find(|(of, _)| *of == n);
        Ok(part.map_or(&[], |(_, bytes)| bytes))
    }

    fn look_ahead(&mut self, n: u64) {
        let is_known = n * PART >= self.size() || self.parts.iter().any(|(of, _)| *of == n);
        if is_known || self.ahead.as_ref().is_some_and(|(of, _)| *of == n) {
            return;
        }
        let task = self.shared.client.inner.runtime.spawn(self.shared.clone().fetch(n));
        if let Some((_, elsewhere)) = self.ahead.replace((n, task)) {
            elsewhere.abort();
        }
    }
}

impl Read for RemoteFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size() || buffer.is_empty() {
            return Ok(0);
        }
        let (n, from) = (self.position / PART, usize::try_from(self.position % PART).unwrap_or(usize::MAX));
        let bytes = self.part(n)?.get(from..).unwrap_or_default();
        let len = bytes.len().min(buffer.len());
        buffer[..len].copy_from_slice(&bytes[..len]);
        self.position += len as u64;
        Ok(len)
    }
}

impl Seek for RemoteFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.size().checked_add_signed(by),
        };
        self.position = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

impl Drop for RemoteFile {
    fn drop(&mut self) {
        if let Some((_, task)) = self.ahead.take() {
            task.abort();
        }
    }
}

impl Shared {
    /// One part, whole: what stands between is put right.
    async fn fetch(self: Arc<Self>, n: u64) -> Result<Vec<u8>, TelegramError> {
        let inner = &self.client.inner;
        let expected = PART.min(self.size.saturating_sub(n * PART));
        let mut tries = 0;
        loop {
            tries += 1;
            let Place { dc, location } = self.place().clone();
            let request = tl::functions::upload::GetFile {
                precise: false,
                cdn_supported: false,
                location: location.into(),
                offset: i64::try_from(n * PART).unwrap_or(i64::MAX),
                limit: i32::try_from(PART).unwrap_or(i32::MAX),
            };
            let error = match inner.invoke_in(dc, &request).await {
                Ok(tl::enums::upload::File::File(file)) if file.bytes.len() as u64 == expected => {
                    return Ok(file.bytes);
                }
                Ok(tl::enums::upload::File::File(_)) => {
                    TelegramError::Unreadable { method: "upload.getFile" }
                }
                Ok(tl::enums::upload::File::CdnRedirect(_)) => return Err(TelegramError::Cdn),
                Err(error) => error,
            };
            if tries == MAX_TRIES {
                return Err(error);
            }
            match &error {
                TelegramError::Rpc { code: 303, message, .. } => {
                    let there = message.strip_prefix("FILE_MIGRATE_").and_then(|dc| dc.parse().ok());
                    self.place().dc = there.filter(|dc| inner.session.knows(*dc)).ok_or(error)?;
                }
                TelegramError::Rpc { message, .. } if message.starts_with("FILE_REFERENCE_") => {
                    let document = self.client.document(&self.chat, self.message).await?;
                    *self.place() = Place::of(&document);
                }
                TelegramError::SignedOut(_) if dc != inner.session.home() => self.be_let_in(dc).await?,
                _ => return Err(error),
            }
        }
    }

    /// Files of others may lie in a data center that does not know us.
    async fn be_let_in(&self, dc: i32) -> Result<(), TelegramError> {
        let inner = &self.client.inner;
        let tl::enums::auth::ExportedAuthorization::Authorization(it) =
            inner.invoke(&tl::functions::auth::ExportAuthorization { dc_id: dc }).await?;
        let request = tl::functions::auth::ImportAuthorization { id: it.id, bytes: it.bytes };
        inner.invoke_in(dc, &request).await.map(drop)
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().expect("nothing panics while it holds the place")
    }
}

impl Place {
    fn of(document: &tl::types::Document) -> Self {
        let location = tl::types::InputDocumentFileLocation {
            id: document.id,
            access_hash: document.access_hash,
            file_reference: document.file_reference.clone(),
            thumb_size: String::new(),
        };
        Self { dc: document.dc_id, location }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(text: &str) -> Option<(String, i32)> {
        text.parse::<FileLink>().ok().map(|link| (link.chat.to_string(), link.message))
    }

    #[test]
    fn messages_are_named_in_many_ways() {
        for (text, chat, message) in [
            ("https://t.me/some_chat/5", "@some_chat", 5),
            ("t.me/some_chat/12/5?single", "@some_chat", 5),
            ("https://t.me/c/1234567/5", "-1000001234567", 5),
            ("t.me/c/1234567/12/5/", "-1000001234567", 5),
            ("tg://resolve?domain=some_chat&post=5", "@some_chat", 5),
            ("tg://privatepost?channel=1234567&post=5&single", "-1000001234567", 5),
        ] {
            assert!(FileLink::is_meant(text), "{text}");
            assert_eq!(link(text), Some((chat.to_owned(), message)), "{text}");
        }
    }

    #[test]
    fn what_names_no_message_is_refused() {
        for text in [
            "t.me/some_chat",
            "t.me/some_chat/x",
            "t.me/some_chat/0",
            "t.me/c/x/5",
            "t.me/a/b/c/d/e",
            "tg://resolve?domain=some_chat",
            "tg://login?token=x",
            "https://example.org/a/5",
            "",
        ] {
            assert_eq!(link(text), None, "{text}");
        }
        assert!(!FileLink::is_meant("media/clip.mp4") && !FileLink::is_meant("https://example.org/a/5"));
    }
}
