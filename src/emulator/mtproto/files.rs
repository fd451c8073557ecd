//! Files in messages: which message has which, and their bytes in parts.

use bytes::Bytes;
use grammers_tl_types as tl;

use super::methods::{Caller, Methods, channel, date};
use super::objects;
use crate::emulator::RpcError;

/// Offsets and lengths are multiples of this.
const GRAIN: i64 = 4096;
/// No request may reach over a multiple of this.
const WINDOW: i64 = 1024 * 1024;

/// The file of one message.
#[derive(Clone, Debug)]
pub(super) struct StoredFile {
    pub(super) chat: i64,
    pub(super) message: i32,
    pub(super) id: i64,
    pub(super) access_hash: i64,
    pub(super) reference: Vec<u8>,
    pub(super) name: String,
    pub(super) bytes: Bytes,
}

impl Methods {
    pub(super) fn get_channel_messages(
        &self,
        caller: &Caller,
        request: tl::functions::channels::GetMessages,
    ) -> Result<tl::enums::messages::Messages, RpcError> {
        let chat = channel(&self.world(), &request.channel)?.id;
        Ok(self.messages(caller, &request.id, Some(chat)))
    }

    pub(super) fn get_messages(
        &self,
        caller: &Caller,
        request: tl::functions::messages::GetMessages,
    ) -> Result<tl::enums::messages::Messages, RpcError> {
        Ok(self.messages(caller, &request.id, None))
    }

    pub(super) fn get_file(
        &self,
        _: &Caller,
        request: tl::functions::upload::GetFile,
    ) -> Result<tl::enums::upload::File, RpcError> {
        let invalid = |word| Err(RpcError::new(400, word));
        let tl::enums::InputFileLocation::InputDocumentFileLocation(location) = request.location else {
            return invalid("LOCATION_INVALID");
        };
        let (offset, limit) = (request.offset, i64::from(request.limit));
        if limit <= 0 || limit % GRAIN != 0 || WINDOW % limit != 0 {
            return invalid("LIMIT_INVALID");
        }
        if offset < 0 || offset % GRAIN != 0 || offset / WINDOW != (offset + limit - 1) / WINDOW {
            return invalid("OFFSET_INVALID");
        }
        let world = self.world();
        let file = world
            .files
            .iter()
            .find(|file| (file.id, file.access_hash) == (location.id, location.access_hash))
            .ok_or_else(|| RpcError::new(400, "FILE_ID_INVALID"))?;
        if file.reference != location.file_reference {
            return invalid("FILE_REFERENCE_EXPIRED");
        }
        if world.files_at_cdn {
            let redirect = tl::types::upload::FileCdnRedirect {
                dc_id: 203,
                file_token: vec![1; 16],
                encryption_key: vec![2; 32],
                encryption_iv: vec![3; 16],
                file_hashes: vec![],
            };
            return Ok(redirect.into());
        }
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(file.bytes.len());
        let to = from.saturating_add(usize::try_from(limit).unwrap_or(0)).min(file.bytes.len());
        let bytes = file.bytes[from..to].to_vec();
        Ok(tl::types::upload::File { r#type: tl::enums::storage::FileType::FilePartial, mtime: 0, bytes }
            .into())
    }

    pub(super) fn export_authorization(
        &self,
        caller: &Caller,
        _: tl::functions::auth::ExportAuthorization,
    ) -> Result<tl::enums::auth::ExportedAuthorization, RpcError> {
        let mut world = self.world();
        if !world.accounts.contains_key(&caller.account) {
            return Err(RpcError::new(401, "AUTH_KEY_UNREGISTERED"));
        }
        let bytes: Vec<u8> = (0..32).map(|_| fastrand::u8(..)).collect();
        world.exported.insert(bytes.clone(), caller.account);
        Ok(tl::types::auth::ExportedAuthorization { id: caller.account, bytes }.into())
    }

    pub(super) fn import_authorization(
        &self,
        caller: &Caller,
        request: tl::functions::auth::ImportAuthorization,
    ) -> Result<tl::enums::auth::Authorization, RpcError> {
        let mut world = self.world();
        let account = world.exported.remove(&request.bytes).filter(|account| *account == request.id);
        let account = account.ok_or_else(|| RpcError::new(400, "AUTH_BYTES_INVALID"))?;
        world.sign(caller.key, Some(account));
        super::auth::authorization(&world.accounts[&account])
    }

    fn messages(
        &self,
        caller: &Caller,
        ids: &[tl::enums::InputMessage],
        chat: Option<i64>,
    ) -> tl::enums::messages::Messages {
        let world = self.world();
        let message = |input: &tl::enums::InputMessage| {
            let tl::enums::InputMessage::Id(wanted) = input else { return None };
            let found = world
                .files
                .iter()
                .find(|file| file.message == wanted.id && chat.is_none_or(|chat| chat == file.chat))?;
            let peer = world.chats.get(&found.chat)?.peer();
            Some(objects::message(found, &peer, date(caller)))
        };
        let messages = ids.iter().filter_map(message).collect();
        tl::types::messages::Messages { messages, topics: vec![], chats: vec![], users: vec![] }.into()
    }
}
