use std::time::Duration;

use super::*;
use crate::player::testing::Clip;
use crate::player::{Item, PlayerOptions, PlayerState};

fn chat(name: &str, ssrc: Option<u32>) -> SavedChat {
    SavedChat { name: name.into(), ssrc }
}

fn saved() -> Saved {
    Saved {
        sources: vec!["a".into(), "b b".into(), "ä".into()],
        position: MediaTime::from_millis(61_234),
        paused: true,
        volume_percent: 80,
        repeat: Repeat::All,
        chats: vec![chat("@one", Some(u32::MAX)), chat("-100", None)],
    }
}

#[test]
fn what_was_written_is_read_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("radio.db");
    let mut journal = Journal::open(&path).unwrap();
    assert_eq!(journal.saved(), None);
    file::write(&mut journal.connection, &saved()).unwrap();
    let shorter = Saved { sources: vec!["z".into()], ..saved() };
    file::write(&mut journal.connection, &shorter).unwrap();
    file::write_position(&journal.connection, MediaTime::from_secs(5)).unwrap();
    drop(journal);
    let journal = Journal::open(&path).unwrap();
    let expected = Saved { position: MediaTime::from_secs(5), ..shorter };
    assert_eq!((journal.saved(), journal.set_aside()), (Some(&expected), None));
}

#[test]
fn a_journal_of_version_1_is_read_and_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("radio.db");
    let mut journal = Journal::open(&path).unwrap();
    file::write(&mut journal.connection, &saved()).unwrap();
    journal.connection.execute_batch("ALTER TABLE chat DROP COLUMN ssrc").unwrap();
    journal.connection.pragma_update(None, "user_version", 1).unwrap();
    drop(journal);
    let chats = vec![chat("@one", None), chat("-100", None)];
    let mut journal = Journal::open(&path).unwrap();
    assert_eq!((journal.saved(), journal.set_aside()), (Some(&Saved { chats, ..saved() }), None));
    file::write(&mut journal.connection, &saved()).unwrap();
    drop(journal);
    assert_eq!(Journal::open(&path).unwrap().saved(), Some(&saved()));
}

#[test]
fn nothing_left_to_play_is_nothing_to_go_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("radio.db");
    let mut journal = Journal::open(&path).unwrap();
    file::write(&mut journal.connection, &Saved { sources: vec![], ..saved() }).unwrap();
    drop(journal);
    assert_eq!(Journal::open(&path).unwrap().saved(), None);
}

#[test]
fn one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("radio.db");
    let first = Journal::open(&path).unwrap();
    let error = Journal::open(&path).unwrap_err();
    assert!(matches!(error, JournalError::InUse(_)), "{error:?}");
    drop(first);
    Journal::open(&path).unwrap();
    let nowhere = Journal::open(&folder.path().join("no/radio.db")).unwrap_err();
    assert!(nowhere.to_string().contains("check the directory"), "{nowhere}");
}

#[test]
fn a_broken_journal_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("radio.db");
    let written = || {
        let mut journal = Journal::open(&path).unwrap();
        file::write(&mut journal.connection, &saved()).unwrap();
    };
    written();
    let whole = std::fs::read(&path).unwrap();
    let later = || {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
    };
    let emptied = || {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute_batch("DROP TABLE item").unwrap();
    };
    let breaks: [(&str, &dyn Fn()); 5] = [
        ("no database", &|| std::fs::write(&path, "this is a text and no database at all").unwrap()),
        ("cut off", &|| std::fs::write(&path, &whole[..whole.len() / 2]).unwrap()),
        ("overwritten", &|| {
            let mut bytes = whole.clone();
            bytes[100..].fill(0xa5);
            std::fs::write(&path, bytes).unwrap();
        }),
        ("of a later version", &later),
        ("without its tables", &emptied),
    ];
    for (nth, (what, break_it)) in breaks.into_iter().enumerate() {
        break_it();
        let journal = Journal::open(&path).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_eq!(journal.saved(), None, "{what}");
        let aside = journal.set_aside().unwrap_or_else(|| panic!("{what}: nothing was set aside")).to_owned();
        assert!(aside.exists(), "{what}");
        drop(journal);
        written();
        assert_eq!(Journal::open(&path).unwrap().saved(), Some(&saved()), "{what}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), nth + 2, "{what}: every one is kept");
    }
}

/// Until the journal says what is wanted. Its thread is a real one.
async fn until_written(path: &Path, wanted: impl Fn(&Saved) -> bool) {
    for _ in 0..1000 {
        // The keeper has the lock; a copy can be read.
        let copy = path.with_extension("copy");
        for suffix in ["", "-wal"] {
            let name = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
            let _not_there_yet = std::fs::copy(name(path), name(&copy));
        }
        if file::open(&copy).ok().and_then(|(_, saved)| saved).is_some_and(|saved| wanted(&saved)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is not written");
}

#[tokio::test]
async fn a_programme_is_followed_until_the_keeper_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("radio.db");
    let options = PlayerOptions { wait_for_listener: false, ..PlayerOptions::default() };
    let player = Player::start(options);
    let item = |name: &str| -> Item { Clip::of_secs(60).item(name) };
    let (chats, listening) = watch::channel(vec![chat("@one", None)]);
    let keeper = Journal::open(&path).unwrap().keep(&player, listening).await.unwrap();
    let first = player.enqueue(item("a")).await.unwrap();
    player.enqueue(item("b")).await.unwrap();
    let third = player.enqueue(item("c")).await.unwrap();
    let is = |saved: &Saved, names: &[&str]| saved.sources == names;
    until_written(&path, |saved| is(saved, &["a", "b", "c"]) && saved.position > MediaTime::ZERO).await;
    player.move_to(third, 0).await.unwrap();
    until_written(&path, |saved| is(saved, &["a", "c", "b"])).await;
    player.remove(first).await.unwrap();
    player.pause().await.unwrap();
    player.set_volume(30).await.unwrap();
    player.set_repeat(Repeat::One).await.unwrap();
    until_written(&path, |saved| {
        is(saved, &["c", "b"])
            && (saved.paused, saved.volume_percent, saved.repeat) == (true, 30, Repeat::One)
            && saved.chats == [chat("@one", None)]
    })
    .await;
    chats.send_modify(|chats| chats[0].ssrc = Some(7));
    until_written(&path, |saved| saved.chats == [chat("@one", Some(7))]).await;
    player.seek(MediaTime::from_secs(20)).await.unwrap();
    until_written(&path, |saved| saved.position == MediaTime::from_secs(20)).await;
    keeper.stop().await;
    player.close().await;
    assert_eq!(player.status().borrow().state, PlayerState::Ended);
    let journal = Journal::open(&path).unwrap();
    assert!(is(journal.saved().unwrap(), &["c", "b"]), "what came after the keeper's end is not in it");
}
