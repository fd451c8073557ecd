//! Invite links: a hash → the chat, for those who are in it, and no more than its title for others.

use grammers_tl_types as tl;

use super::methods::{Caller, Methods, chat_object};
use crate::emulator::RpcError;

/// An invite link into a chat.
#[derive(Clone, Debug)]
pub(super) struct Invite {
    pub(super) chat: i64,
    /// Whoever asks is in the chat already.
    pub(super) is_member: bool,
}

impl Methods {
    pub(super) fn check_chat_invite(
        &self,
        caller: &Caller,
        request: tl::functions::messages::CheckChatInvite,
    ) -> Result<tl::enums::ChatInvite, RpcError> {
        let world = self.world();
        let invite = world.invites.get(&request.hash);
        let invite = invite.ok_or_else(|| RpcError::new(400, "INVITE_HASH_EXPIRED"))?;
        let chat = &world.chats[&invite.chat];
        if invite.is_member {
            return Ok(tl::types::ChatInviteAlready { chat: chat_object(chat, caller) }.into());
        }
        Ok(tl::types::ChatInvite {
            channel: true,
            broadcast: false,
            public: false,
            megagroup: true,
            request_needed: false,
            verified: false,
            scam: false,
            fake: false,
            can_refulfill_subscription: false,
            title: chat.title.clone(),
            about: None,
            photo: tl::types::PhotoEmpty { id: 0 }.into(),
            participants_count: 2,
            participants: None,
            color: 0,
            subscription_pricing: None,
            subscription_form_id: None,
            bot_verification: None,
        }
        .into())
    }
}
