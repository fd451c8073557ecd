//! Files in messages, read while they are fetched, and what may come between.

use std::io::{Read, Seek, SeekFrom};

use telecast::emulator::RpcError;
use telecast::emulator::mtproto::Fault;
use telecast::telegram::{FileLink, RemoteFile, TelegramError};

use super::Lab;

/// Two parts and a bit.
const SIZE: usize = 1_300_000;

fn bytes() -> Vec<u8> {
    let mut dice = dice(7);
    (0..SIZE).map(|_| dice()).collect()
}

/// Bytes that do not repeat within a file.
fn dice(seed: u64) -> impl FnMut() -> u8 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    }
}

async fn open(lab: &Lab, message: i32) -> Result<RemoteFile, TelegramError> {
    let link: FileLink = format!("https://t.me/demo_chat/{message}").parse().unwrap();
    lab.client.open_file(&link).await
}

/// Reads to the end, on a thread of its own.
async fn rest(mut file: RemoteFile) -> std::io::Result<(Vec<u8>, RemoteFile)> {
    let read = tokio::task::spawn_blocking(move || {
        let mut all = Vec::new();
        file.read_to_end(&mut all).map(|_| (all, file))
    });
    read.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_in_parts_and_sought() {
    let lab = Lab::new().await;
    let posted = lab.door.post_file(lab.chat, "noise.bin", bytes());
    let file = open(&lab, posted).await.unwrap();
    assert_eq!((file.name(), file.size()), (Some("noise.bin"), SIZE as u64));
    assert_eq!(lab.door.n_calls("upload.getFile"), 0, "nothing is fetched before it is read");
    let (all, mut file) = rest(file).await.unwrap();
    assert!(all == bytes());
    assert_eq!(lab.door.n_calls("upload.getFile"), 3);
    file.seek(SeekFrom::End(-10)).unwrap();
    let (end, mut file) = rest(file).await.unwrap();
    assert!(end == bytes()[SIZE - 10..]);
    assert_eq!(lab.door.n_calls("upload.getFile"), 3, "what was fetched is kept");
    assert!(file.seek(SeekFrom::Current(-(SIZE as i64) - 1)).is_err());
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_that_expires_is_replaced() {
    let lab = Lab::new().await;
    let posted = lab.door.post_file(lab.chat, "noise.bin", bytes());
    let file = open(&lab, posted).await.unwrap();
    lab.door.expire_file_references();
    let (all, _) = rest(file).await.unwrap();
    assert!(all == bytes());
    // One of the parts was refused, or two that were asked for at once.
    assert!((2..=3).contains(&lab.door.n_calls("channels.getMessages")));
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_elsewhere_is_fetched_there_and_the_account_stays_at_home() {
    let lab = Lab::new().await;
    let posted = lab.door.post_file(lab.chat, "noise.bin", bytes());
    let file = open(&lab, posted).await.unwrap();
    for (code, word) in [(303, "FILE_MIGRATE_4"), (401, "AUTH_KEY_UNREGISTERED"), (420, "FLOOD_WAIT_1")] {
        lab.door.plan("upload.getFile", Fault::Refuse(RpcError::new(code, word)), 1);
    }
    let (all, _) = rest(file).await.unwrap();
    assert!(all == bytes());
    let asked = ["upload.getFile", "auth.exportAuthorization", "auth.importAuthorization"];
    assert_eq!(asked.map(|method| lab.door.n_calls(method)), [6, 1, 1]);
    assert_eq!(lab.door.n_connections(), 2);
    assert_eq!(lab.client.chats().await.unwrap().len(), 1);
    assert_eq!(lab.door.n_connections(), 2, "at home as before");
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_fetched_says_why() {
    let lab = Lab::new().await;
    let error = open(&lab, 99).await.unwrap_err();
    assert!(matches!(error, TelegramError::NoFile { message: 99, .. }) && !error.retryable(), "{error}");
    let posted = lab.door.post_file(lab.chat, "noise.bin", bytes());
    let file = open(&lab, posted).await.unwrap();
    lab.door.plan("upload.getFile", Fault::Refuse(RpcError::new(400, "FILE_REFERENCE_EXPIRED")), 9);
    let error = rest(file).await.unwrap_err();
    assert!(error.to_string().contains("FILE_REFERENCE_EXPIRED"), "{error}");
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirection_to_a_cdn_is_refused() {
    let lab = Lab::new().await;
    let posted = lab.door.post_file(lab.chat, "noise.bin", bytes());
    let file = open(&lab, posted).await.unwrap();
    lab.door.move_files_to_cdn();
    let error = rest(file).await.unwrap_err();
    assert!(error.to_string().contains("public caches"), "{error}");
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_lost_elsewhere_is_not_the_end_of_the_session() {
    let lab = Lab::new().await;
    let posted = lab.door.post_file(lab.chat, "noise.bin", bytes());
    let file = open(&lab, posted).await.unwrap();
    lab.door.plan("upload.getFile", Fault::Refuse(RpcError::new(303, "FILE_MIGRATE_4")), 1);
    lab.door.plan("upload.getFile", Fault::Transport(-404), 1);
    let error = rest(file).await.unwrap_err();
    assert!(error.to_string().contains("data center 4"), "{error}");
    assert!(lab.door.n_strangers() > 0, "another key was asked for");
    assert_eq!(lab.client.chats().await.unwrap().len(), 1, "at home all is well");
    lab.end().await;
}
