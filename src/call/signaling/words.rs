//! Telegram's upper-case words for what went wrong → what they mean, and what to do.

/// Telegram's words that a participant of video chats may hear: what they mean, and what to do.
const WORDS: &[(&str, &str)] = &[
    ("GROUPCALL_SSRC_DUPLICATE_MUCH", "the media identifiers are in use; a new try takes others"),
    ("GROUPCALL_FORBIDDEN", "the video chat is over or closed to this account; look for it again"),
    ("GROUPCALL_INVALID", "the reference to the video chat is out of date; look for it again"),
    ("GROUPCALL_JOIN_MISSING", "this account is not in the video chat; join it first"),
    ("PARTICIPANT_JOIN_MISSING", "this account is not in the video chat; join it first"),
    ("GROUPCALL_NOT_MODIFIED", "it is so already"),
    ("JOIN_AS_PEER_INVALID", "this account may not appear as that peer; leave --as out"),
    ("DATA_JSON_INVALID", "the connection parameters were not understood; please report it"),
    ("GROUPCALL_ADD_PARTICIPANTS_FAILED", "Telegram's media server has trouble; try again later"),
    ("CHAT_ADMIN_REQUIRED", "only admins who manage video chats may do this; ask one of them"),
    ("CHAT_WRITE_FORBIDDEN", "this account may not take part in that chat; ask an admin"),
    ("GROUPCALL_PARTICIPANTS_TOO_MUCH", "the video chat is full; try again later"),
    ("GROUPCALL_ANONYMOUS_FORBIDDEN", "anonymous admins may not join; use --as with another peer"),
    (
        "GROUPCALL_ALREADY_DISCARDED",
        "the video chat is over; wait for the next one, or begin it with --start",
    ),
    ("CREATE_CALL_FAILED", "the video chat could not be begun; there may be one already"),
    ("SCHEDULE_DATE_INVALID", "that time is in the past or too far ahead; choose another"),
    ("RAISE_HAND_FORBIDDEN", "raising a hand is not allowed here"),
    ("PARTICIPANT_PRESENTATION_MISSING", "no screen is being shared; there is nothing to end"),
    ("VIDEO_PAUSE_FORBIDDEN", "pausing the picture is not allowed now"),
    ("VIDEO_STOP_FORBIDDEN", "switching the camera is not allowed now"),
    ("USER_VOLUME_INVALID", "volumes go from 1 to 20000; 10000 is 100 %"),
    ("PUBLIC_CHANNEL_MISSING", "invite links exist for public chats only; give the chat a @name"),
    ("USERNAME_NOT_OCCUPIED", "nobody has this @name; check the spelling"),
    ("USERNAME_INVALID", "that is no possible @name; check the spelling"),
    ("CHANNEL_INVALID", "this account cannot see that chat; join it first"),
    ("CHANNEL_PRIVATE", "this account is not in that chat, or was banned from it"),
    ("CHAT_ID_INVALID", "this account is not in that chat"),
    ("PEER_ID_INVALID", "this account cannot see that chat; join it first"),
    (
        "AUTH_KEY_DUPLICATED",
        "two processes used this session at once, and Telegram ended it; run `telecast login`",
    ),
    ("FROZEN_METHOD_INVALID", "Telegram has frozen the account; appeal in Telegram's own app, in Settings"),
    (
        "FROZEN_PARTICIPANT_MISSING",
        "Telegram has frozen the account; appeal in Telegram's own app, in Settings",
    ),
    ("INVITE_HASH_EXPIRED", "the invite link is no longer valid; ask for another"),
    ("INVITE_HASH_INVALID", "that is no invite link; copy it once more"),
    ("CONNECTION_API_ID_INVALID", "API_ID is none that Telegram knows; see my.telegram.org"),
    ("SRP_ID_INVALID", "the password took too long; give it once more"),
    ("INVITE_HASH_EMPTY", "that is no invite link; copy it once more"),
    (
        "API_ID_PUBLISHED_FLOOD",
        "this API_ID is a public one and blocked; make one of your own at my.telegram.org",
    ),
    ("PHONE_NUMBER_BANNED", "Telegram has banned this number; write to recover@telegram.org"),
    ("PHONE_NUMBER_FLOOD", "too many logins with this number today; try again tomorrow"),
    ("PHONE_PASSWORD_FLOOD", "too many wrong passwords; try again later"),
    ("USER_DEACTIVATED", "the account was deleted"),
    ("USER_DEACTIVATED_BAN", "the account was banned; write to recover@telegram.org"),
    ("API_ID_INVALID", "API_ID and API_HASH do not belong together; see my.telegram.org"),
    ("PHONE_NUMBER_INVALID", "that is no phone number; write it with the country code"),
    ("PHONE_CODE_INVALID", "that is not the code; look at the latest message from Telegram"),
    ("PHONE_CODE_EXPIRED", "the code is too old; ask for another"),
    ("PASSWORD_HASH_INVALID", "that is not the two-step password"),
    ("BOT_METHOD_INVALID", "bots cannot do this; sign in with a user account"),
];

/// What a word means and what to do about it, in half a sentence; nothing for unknown words.
pub fn meaning(word: &str) -> Option<&'static str> {
    WORDS.iter().find(|(known, _)| *known == word).map(|(_, meaning)| *meaning)
}

/// Words for what passes by itself, though their code says that the request was wrong.
const PASSING: &[&str] = &["GROUPCALL_PARTICIPANTS_TOO_MUCH", "GROUPCALL_SSRC_DUPLICATE_MUCH"];

/// Is it worth asking the same again later?
pub fn passes(code: i32, word: &str) -> bool {
    match code {
        // FLOOD_WAIT_n, FLOOD_PREMIUM_WAIT_n, SLOWMODE_WAIT_n; whatever has no number does not pass.
        420 => word.contains("_WAIT_"),
        500 | -503 => true,
        _ => PASSING.contains(&word),
    }
}

/// The sentence that a person reads.
pub(super) fn sentence(code: i32, word: &str) -> String {
    match meaning(word) {
        Some(meaning) => format!("{meaning} (Telegram answered {code} {word})"),
        None if word.starts_with("FLOOD_WAIT_") => {
            format!(
                "too many requests; wait as long before the next (Telegram answered {code} {word}, in seconds)"
            )
        }
        None if code == 401 => format!(
            "the account is signed out; sign in again, with `telecast login` (Telegram answered {code} {word})"
        ),
        None if matches!(code, 500 | -503) => {
            format!("Telegram has trouble of its own; try again later (it answered {code} {word})")
        }
        None => format!("Telegram answered {code} {word}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_stands_there_once() {
        for (n, (word, meaning)) in WORDS.iter().enumerate() {
            assert!(WORDS[n + 1..].iter().all(|(other, _)| other != word), "{word}");
            assert!(sentence(400, word).contains(meaning), "{word}");
        }
        assert!(sentence(-503, "Timeout").contains("later"));
        assert!(sentence(401, "SESSION_REVOKED").contains("telecast login"));
        assert!(PASSING.iter().all(|word| meaning(word).is_some()));
        assert!(
            passes(400, PASSING[0])
                && passes(500, "X")
                && passes(420, "FLOOD_WAIT_3")
                && !passes(403, "GROUPCALL_FORBIDDEN")
        );
        assert!(!passes(420, "FROZEN_METHOD_INVALID"), "no wait ends that");
        assert_eq!(sentence(400, "SOMETHING_NEW"), "Telegram answered 400 SOMETHING_NEW");
    }
}
