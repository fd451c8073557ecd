use std::os::unix::fs::PermissionsExt;

use grammers_session::Session as _;

use super::*;

fn dc(id: i32, key: u8) -> Datacenter {
    let addr = "127.0.0.1:4430".parse().expect("an address");
    Datacenter { id, addr, key: Some(Secret::new([key; 256])) }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it exists").permissions().mode() & 0o777
}

#[test]
fn what_was_kept_is_there_again_and_private() {
    let temporary = tempfile::tempdir().expect("a directory");
    let path = temporary.path().join("telecast").join("main.json");
    let session = Session::open(&path).expect("nothing there yet");
    assert!(!path.exists() && !session.is_signed_in());
    session.set_datacenters(&[dc(2, 0xab)]).expect("written");
    session.set_me(Some(Me { id: 7, bot: false })).expect("written");
    session.keep_channels([(5, 6)]).expect("written");
    assert_eq!((mode(&path), mode(path.parent().expect("has one"))), (0o600, 0o700));
    drop(session);

    let session = Session::open(&path).expect("readable");
    assert_eq!((session.me(), session.channel_hash(5)), (Some(Me { id: 7, bot: false }), Some(6)));
    let option = session.dc_option(2).expect("readable").expect("known");
    assert_eq!((option.ipv4.port(), option.auth_key), (4430, Some([0xab; 256])));
    let unfinished = path.with_extension("new");
    fs::write(&unfinished, "half of it, with the key").expect("written");
    session.delete().expect("removable");
    assert!(!unfinished.exists(), "what a crash has left goes, too");
    assert!(!path.exists() && session.me().is_none());
}

#[test]
fn a_second_process_is_kept_out() {
    let temporary = tempfile::tempdir().expect("a directory");
    let path = temporary.path().join("main.json");
    let session = Session::open(&path).expect("free");
    let error = Session::open(&path).expect_err("in use");
    assert!(matches!(&error, SessionError::InUse(_)), "{error}");
    drop(session);
    Session::open(&path).expect("free again");
}

#[test]
fn a_crash_between_writing_and_renaming_leaves_the_old_file() {
    let temporary = tempfile::tempdir().expect("a directory");
    let path = temporary.path().join("main.json");
    let session = Session::open(&path).expect("free");
    session.set_me(Some(Me { id: 7, bot: false })).expect("written");
    drop(session);
    fs::write(path.with_extension("new"), "{\"version\": 1, \"home").expect("half a file");
    let session = Session::open(&path).expect("the old one is whole");
    assert_eq!(session.me().map(|me| me.id), Some(7));
    session.set_me(Some(Me { id: 8, bot: false })).expect("the leftover is in nobody's way");
    drop(session);
    assert_eq!(Session::open(&path).expect("whole").me().map(|me| me.id), Some(8));
}

#[test]
fn a_broken_file_is_named_without_its_keys() {
    let temporary = tempfile::tempdir().expect("a directory");
    let path = temporary.path().join("main.json");
    let secret = "abcd".repeat(127);
    let dc = format!("{{\"ipv4\":\"1.2.3.4:443\",\"ipv6\":\"[::1]:443\",\"key\":\"{secret}\"}}");
    for text in [
        "nonsense".to_owned(),
        "{\"version\":9,\"home_dc\":2,\"dcs\":{}}".to_owned(),
        "{\"version\":1,\"home_dc\":2,\"dcs\":{}}".to_owned(),
        format!("{{\"version\":1,\"home_dc\":2,\"dcs\":{{\"2\":{dc}}}}}"),
    ] {
        fs::write(&path, &text).expect("written");
        let error = Session::open(&path).expect_err("broken");
        assert!(matches!(&error, SessionError::Broken { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("abcdabcd"), "{error}");
    }
}

#[tokio::test]
async fn no_key_takes_the_place_of_another() {
    let session = Session::in_memory();
    session.set_datacenters(&[dc(2, 1)]).expect("in memory");
    let mut option = session.dc_option(2).expect("readable").expect("known");
    option.ipv4.set_port(9);
    session.set_dc_option(&option).await.expect("another address is fine");
    option.auth_key = Some([2; 256]);
    assert_eq!(session.home(), 2);
    let error = session.set_dc_option(&option).await.expect_err("another key is not");
    assert!(matches!(error, SessionError::KeyReplaced(2)), "{error}");
    let option = session.dc_option(2).expect("readable").expect("known");
    assert_eq!((option.ipv4.port(), option.auth_key), (9, Some([1; 256])));
    let first = DcOption { id: 3, auth_key: Some([3; 256]), ..option };
    session.set_dc_option(&first).await.expect("the first key of a data center");
    let another = DcOption { auth_key: Some([4; 256]), ..first };
    session.set_dc_option(&another).await.expect("away from home a key can be made anew");
    assert_eq!(session.dc_option(3).expect("readable").expect("known").auth_key, Some([4; 256]));
    let error = session.set_home(9).expect_err("there is no such data center");
    assert!(matches!(error, SessionError::UnknownDatacenter(9)) && session.home() == 2, "{error}");
}

#[test]
fn keys_cannot_be_printed() {
    let session = Session::in_memory();
    session.set_datacenters(&[dc(2, 0xab)]).expect("in memory");
    let shown = format!("{session:?} {:?}", dc(2, 0xab));
    assert!(!shown.contains("171") && !shown.contains("abab"), "{shown}");
}

#[test]
fn a_login_in_the_place_of_a_session_that_is_over_begins_with_nothing() {
    let temporary = tempfile::tempdir().expect("a directory");
    let path = temporary.path().join("main.json");
    let session = Session::open(&path).expect("free");
    session.set_datacenters(&[dc(2, 0xab)]).expect("written");
    session.set_me(Some(Me { id: 7, bot: false })).expect("written");
    session.keep_channels([(5, 6)]).expect("written");
    let before = fs::read_to_string(&path).expect("it is there");
    session.start_anew().expect("writable");
    let kept = (session.is_signed_in(), session.has_key(2), session.channel_hash(5));
    assert_eq!(kept, (false, false, None));
    assert_eq!(session.dc_option(2).expect("readable").expect("known").ipv4.port(), 4430);
    let old = path.with_extension("old");
    assert_eq!((fs::read_to_string(&old).expect("set aside"), mode(&old)), (before, 0o600));
    assert!(!fs::read_to_string(&path).expect("it is there").contains("abab"));
    session.delete().expect("removable");
    assert!(!old.exists(), "whoever signs out leaves no key behind");
}

#[test]
fn what_could_not_be_written_is_written_with_the_next_change() {
    let temporary = tempfile::tempdir().expect("a directory");
    let path = temporary.path().join("main.json");
    let session = Session::open(&path).expect("free");
    // Nobody can write a file where a directory is, not even root.
    let in_the_way = path.with_extension("new");
    fs::create_dir(&in_the_way).expect("made");
    let error = session.set_me(Some(Me { id: 7, bot: false })).expect_err("it cannot be written");
    assert!(error.to_string().contains("cannot write"), "{error}");
    fs::remove_dir(&in_the_way).expect("removed");
    session.set_me(Some(Me { id: 7, bot: false })).expect("nothing new, and written all the same");
    drop(session);
    assert_eq!(Session::open(&path).expect("whole").me().map(|me| me.id), Some(7));
}
