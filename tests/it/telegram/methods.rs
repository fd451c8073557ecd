//! The methods of the library one by one, for programs that bring a media engine of their own:
//! what they send is what the server gets.

use std::time::Duration;

use serde_json::Value;
use telecast::call::signaling::{Edit, ParticipantRow};
use telecast::call::{Call, CallEvent, ChatId, JoinOptions, LeftReason};
use telecast::emulator::mtproto::{ChatKind, Fault, NewCall, NewChat};
use telecast::emulator::{RpcError, SfuEvent};
use telecast::player::{Item, Player, PlayerOptions, Repeat};
use telecast::telegram::{ChatName, JoinVideoChat, TelegramError, VideoChatId};
use tokio::sync::broadcast;

use super::{Joined, Lab, NAME, PARAMS, ROOM};

impl Lab {
    async fn started(&self) -> VideoChatId {
        let chat = self.client.get_chat(&NAME.parse().unwrap()).await.unwrap();
        self.client.start_video_chat(&chat, None).await.unwrap()
    }

    /// The row of `name` after `edit` of it, or after a join.
    async fn row_after<T>(
        &self,
        name: &str,
        done: impl Future<Output = Result<T, TelegramError>>,
    ) -> ParticipantRow {
        let mut events = self.emulator.events();
        done.await.unwrap();
        let row = async {
            loop {
                if let SfuEvent::Participants { rows, .. } = events.recv().await.unwrap()
                    && let Some(row) = rows.into_iter().find(|row| row.peer == name)
                {
                    return row;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), row).await.expect("everybody is told")
    }
}

fn with_camera() -> String {
    PARAMS.replacen('{', r#"{"ssrc-groups":[{"semantics":"FID","sources":[11,12]}],"#, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn join_video_chat_sends_verbatim_and_returns_unparsed() {
    let lab = Lab::new().await;
    let id = lab.started().await;
    let params = with_camera();
    let row = lab.row_after("bot", lab.client.join_video_chat(id, &params, JoinVideoChat::default())).await;
    assert!(row.source == 7 && !row.muted && row.video.is_some(), "{row:?}");
    let sent = lab.door.join_params().expect("somebody has joined");
    assert_eq!(sent.expose(), &params, "line breaks and all");

    let hidden = JoinVideoChat { audio: false, video: false, ..JoinVideoChat::default() };
    let other = params.replace("\"ssrc\":7", "\"ssrc\":8").replace("[11,12]", "[13,14]");
    let answer = lab.client.join_video_chat(id, &other, hidden.clone()).await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert!(answer["transport"]["fingerprints"][0]["fingerprint"].is_string(), "{answer}");
    let third = params.replace("\"ssrc\":7", "\"ssrc\":9").replace("[11,12]", "[15,16]");
    let row = lab.row_after("bot", lab.client.join_video_chat(id, &third, hidden)).await;
    assert!(row.source == 9 && row.muted && row.video.is_none(), "{row:?}");
    assert_eq!(lab.n_bots().await, 1, "each join replaces the one before");

    let nonsense = lab.client.join_video_chat(id, "no JSON", JoinVideoChat::default()).await.unwrap_err();
    assert!(matches!(&nonsense, TelegramError::Rpc { message, .. } if message == "DATA_JSON_INVALID"));
    lab.client.leave_video_chat(id).await.unwrap();
    assert_eq!(lab.n_bots().await, 0);
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_appears_as_a_channel_of_ones_own() {
    let lab = Lab::new().await;
    let id = lab.started().await;
    let chat = lab.client.get_chat(&NAME.parse().unwrap()).await.unwrap();
    let peers = lab.client.join_as_peers(&chat).await.unwrap();
    let other = peers.iter().find(|peer| peer.title == "Demo").expect("the account manages it");
    let options = JoinVideoChat { join_as: Some(other.id.clone()), ..JoinVideoChat::default() };
    lab.client.join_video_chat(id, PARAMS, options).await.unwrap();
    let names: Vec<_> = lab.emulator.stats(ROOM).await.unwrap().into_iter().map(|it| it.name).collect();
    assert_eq!(names, [format!("chat {}", lab.chat.0)]);
    let nobody = JoinVideoChat { join_as: Some("-1009999999999".into()), ..JoinVideoChat::default() };
    lab.client.join_video_chat(id, PARAMS, nobody).await.unwrap_err();
    lab.client.leave_video_chat(id).await.unwrap();
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edit_participant_changes_each_property() {
    let lab = Lab::new().await;
    let id = lab.started().await;
    lab.client.join_video_chat(id, &with_camera(), JoinVideoChat::default()).await.unwrap();
    let edited = async |edit: Edit| lab.row_after("bot", lab.client.edit_participant(id, None, &edit)).await;
    let edit = Edit::default;
    assert!(edited(Edit { muted: Some(true), ..edit() }).await.muted);
    assert!(!edited(Edit { muted: Some(false), ..edit() }).await.muted);
    assert_eq!(edited(Edit { volume: Some(5000), ..edit() }).await.volume, Some(5000));
    assert!(edited(Edit { raise_hand: Some(true), ..edit() }).await.raise_hand_rating.is_some());
    assert!(edited(Edit { raise_hand: Some(false), ..edit() }).await.raise_hand_rating.is_none());
    let camera = |row: ParticipantRow| row.video.map(|video| video.paused);
    assert_eq!(camera(edited(Edit { video_paused: Some(true), ..edit() }).await), Some(true));
    assert_eq!(camera(edited(Edit { video_paused: Some(false), ..edit() }).await), Some(false));
    assert_eq!(camera(edited(Edit { video_stopped: Some(true), ..edit() }).await), None);
    assert_eq!(camera(edited(Edit { video_stopped: Some(false), ..edit() }).await), Some(false));
    lab.client.leave_video_chat(id).await.unwrap();
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomers_enter_muted_as_the_admin_wants_it() {
    let lab = Lab::new().await;
    let id = lab.started().await;
    assert!(!lab.client.get_video_chat(id).await.unwrap().join_muted);
    lab.client.toggle_join_muted(id, true).await.unwrap();
    assert!(lab.client.get_video_chat(id).await.unwrap().join_muted);
    lab.client.toggle_join_muted(id, false).await.unwrap();
    assert!(!lab.client.get_video_chat(id).await.unwrap().join_muted);
    lab.client.set_title(id, "Tonight").await.unwrap();
    assert_eq!(lab.client.get_video_chat(id).await.unwrap().title.as_deref(), Some("Tonight"));
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_supergroups_and_channels_are_told_apart_and_joined() {
    let lab = Lab::new().await;
    for (kind, username) in
        [(ChatKind::Group, None), (ChatKind::Supergroup, Some("super")), (ChatKind::Channel, Some("news"))]
    {
        let title = format!("{kind:?}");
        let admins = &[lab.account];
        lab.door.add_chat(&NewChat { kind, title: &title, username, room: &title, admins });
        let chats = lab.client.chats().await.unwrap();
        let listed = chats.into_iter().find(|chat| chat.title == title).expect("it is listed");
        assert!(!listed.call_active);
        let chat = lab.client.get_chat(&listed.id.to_string().parse().unwrap()).await.unwrap();
        let id = lab.client.start_video_chat(&chat, None).await.unwrap();
        lab.client.join_video_chat(id, PARAMS, JoinVideoChat::default()).await.unwrap();
        assert_eq!(lab.emulator.stats(&title).await.unwrap().len(), 1, "{title}");
        let chats = lab.client.chats().await.unwrap();
        assert!(chats.iter().any(|chat| chat.title == title && chat.call_active));
        lab.client.end_video_chat(id).await.unwrap();
    }
    lab.end().await;
}

/// A call that began with sound alone, and whose programme has pictures now.
struct CameraFollows {
    joined: Joined,
    events: broadcast::Receiver<CallEvent>,
}

impl CameraFollows {
    async fn until_refused(mut self) -> Joined {
        loop {
            let event = tokio::time::timeout(Duration::from_secs(10), self.events.recv());
            if let CallEvent::CameraNotAllowed { limit } = event.await.expect("it is told").unwrap() {
                assert_eq!(limit, Some(30));
                return self.joined;
            }
        }
    }
}

impl Lab {
    async fn sound_then_pictures(&self) -> CameraFollows {
        let player = Player::start(PlayerOptions { repeat: Repeat::All, ..PlayerOptions::default() });
        player.enqueue(Item::file("media/music.ogg")).await.unwrap();
        let options = JoinOptions { video_stopped: true, ..JoinOptions::default() };
        let call = Call::join(ChatId(NAME.into()), &self.signaling(false), &player, options);
        let events = call.events();
        call.joined().await.unwrap();
        player.play_now(Item::file("media/clip.mp4")).await.unwrap();
        CameraFollows { joined: Joined { call, player }, events }
    }

    /// The sound goes on.
    async fn hears_more(&self) {
        let packets = async || self.emulator.stats(ROOM).await.unwrap()[0].streams[0].packets;
        let before = packets().await;
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while packets().await < before + 20 {
            looks.tick().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_without_room_for_a_camera_hears_the_sound() {
    let lab = Lab::new().await;
    lab.door.begin_call(lab.chat, &NewCall { cameras_taken: true, ..NewCall::default() });
    let joined = lab.sound_then_pictures().await.until_refused().await;
    lab.hears_more().await;
    assert_eq!(lab.door.n_calls("phone.editGroupCallParticipant"), 0, "what is not allowed is not asked for");
    joined.leave().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_is_refused_is_told_once_and_the_sound_goes_on() {
    let lab = Lab::new().await;
    lab.begin();
    let refused = Fault::Refuse(RpcError::new(400, "VIDEO_STOP_FORBIDDEN"));
    lab.door.plan("phone.editGroupCallParticipant", refused, 9);
    let joined = lab.sound_then_pictures().await.until_refused().await;
    lab.hears_more().await;
    assert_eq!(lab.door.n_calls("phone.editGroupCallParticipant"), 1, "not asked for again");
    joined.leave().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_link_leads_into_the_chat_for_those_who_are_in_it() {
    let lab = Lab::new().await;
    lab.door.add_invite(lab.chat, "AbCdEfGh12", true);
    lab.door.add_invite(lab.chat, "ZyXwVuTs98", false);
    let get = async |name: &str| lab.client.get_chat(&name.parse().unwrap()).await;
    for link in ["https://t.me/+AbCdEfGh12", "t.me/joinchat/AbCdEfGh12", "tg://join?invite=AbCdEfGh12"] {
        assert_eq!(get(link).await.unwrap().title, "Demo", "{link}");
    }
    let error = get("t.me/+ZyXwVuTs98").await.unwrap_err();
    assert!(matches!(&error, TelegramError::NotMember(title) if title == "Demo"), "{error}");
    assert!(error.to_string().contains("Telegram's own app"), "{error}");
    let error = get("t.me/+NobodysLink").await.unwrap_err();
    assert!(error.to_string().contains("ask for another"), "{error}");
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_has_no_video_chat() {
    let lab = Lab::new().await;
    let joined = lab.join_at("me").await;
    let LeftReason::Failed(error) = joined.call.closed().await else { panic!("it cannot work") };
    assert!(error.to_string().contains("groups and channels"), "{error}");
    joined.player.close().await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_hash_that_is_out_of_date_is_found_anew() {
    let lab = Lab::new().await;
    let id = lab.client.get_chat(&NAME.parse().unwrap()).await.unwrap().id;
    let by_number: ChatName = id.to_string().parse().unwrap();
    lab.door.change_access_hash(lab.chat);
    assert_eq!(lab.client.get_chat(&by_number).await.unwrap().id, id);
    assert_eq!(lab.door.n_calls("messages.getDialogs"), 1);
    lab.client.get_chat(&by_number).await.unwrap();
    assert_eq!(lab.door.n_calls("messages.getDialogs"), 1, "and kept");
    let nobody: ChatName = "-1009999999999".parse().unwrap();
    let error = lab.client.get_chat(&nobody).await.unwrap_err();
    assert!(matches!(error, TelegramError::NoChat(_)), "{error}");
    lab.end().await;
}
