//! What is found again, and what is not taken for it.

use std::time::Duration;

use super::*;

fn keyed(nth: u8) -> String {
    format!("{}.mp4", format!("{nth:02x}").repeat(32))
}

/// What a file holds, as the worker learns it.
fn learn(folder: &Path, source: &Path) -> String {
    let identity = Identity::of(source).unwrap();
    let content = identity.learn(folder, source, || false).unwrap().expect("nobody stops it");
    assert_eq!(identity.content(folder).as_ref(), Some(&content), "and it is known from then on");
    content
}

#[test]
fn what_is_in_a_file_names_it_and_not_where_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (dir.path().join("a.avi"), dir.path().join("b.mov"));
    let moved = dir.path().join("moved.avi");
    for len in [0, 1, 70_000, 9 << 20] {
        let mut bytes: Vec<u8> = (0..len).map(|n: usize| (n % 251) as u8).collect();
        fs::write(&here, &bytes).unwrap();
        fs::write(&there, &bytes).unwrap();
        let content = learn(dir.path(), &here);
        assert_eq!(learn(dir.path(), &there), content);
        bytes.push(1);
        fs::write(&there, &bytes).unwrap();
        assert_ne!(learn(dir.path(), &there), content, "{len} bytes and one more");
        fs::rename(&here, &moved).unwrap();
        let known = Identity::of(&moved).unwrap().content(dir.path());
        assert_eq!(known.is_some(), cfg!(unix), "a file that is moved need not be read again");
    }
    assert!(Identity::of(dir.path()).is_err());
    assert!(Identity::of(Path::new("https://host/film.mp4")).is_err());
}

#[test]
fn files_that_differ_in_one_byte_in_the_middle_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (dir.path().join("one.wav"), dir.path().join("other.wav"));
    let mut bytes = vec![7; 9 << 20];
    fs::write(&one, &bytes).unwrap();
    bytes[5_000_003] ^= 1;
    fs::write(&other, &bytes).unwrap();
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    for path in [&one, &other] {
        File::options().append(true).open(path).unwrap().set_modified(changed).unwrap();
    }
    assert_ne!(learn(dir.path(), &one), learn(dir.path(), &other));
    // A file that is written anew is not taken for what it was.
    let before = Identity::of(&one).unwrap();
    fs::write(&one, &bytes).unwrap();
    assert_ne!(Identity::of(&one).unwrap(), before);
    assert_eq!(learn(dir.path(), &one), learn(dir.path(), &other));
}

#[test]
fn what_cannot_be_read_to_its_end_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("film.avi");
    fs::write(&source, vec![1; 3 << 20]).unwrap();
    let identity = Identity::of(&source).unwrap();
    assert_eq!(identity.learn(dir.path(), &source, || true).unwrap(), None, "it was to stop");
    let grows = || {
        fs::write(&source, vec![2; 4 << 20]).unwrap();
        false
    };
    assert_eq!(identity.learn(dir.path(), &source, grows).unwrap(), None, "it was written meanwhile");
    assert_eq!(identity.content(dir.path()), None);
    // A note that somebody has spoiled is as good as none.
    let content = learn(dir.path(), &source);
    let notes = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let note = notes.filter(|path| path.extension().is_some_and(|ending| ending == notes::CONTENT)).last();
    fs::write(note.unwrap(), "../../etc/passwd").unwrap();
    assert_eq!(Identity::of(&source).unwrap().content(dir.path()), None);
    assert_eq!(content.len(), 64);
}

#[test]
fn how_loud_a_file_is_stays_known() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("song.mp3");
    fs::write(&source, b"sound").unwrap();
    let loudness = Loudness { lufs: -9.25, peak: 1.125 };
    let cache = Cache::open(dir.path(), 1 << 20).unwrap();
    assert_eq!(cache.loudness(&source), None);
    cache.keep_loudness(&source, loudness);
    drop(cache);
    let cache = Cache::open(dir.path(), 1 << 20).unwrap();
    assert_eq!(cache.loudness(&source), Some(loudness));
    fs::write(&source, b"other sound").unwrap();
    assert_eq!(cache.loudness(&source), None, "of another content nothing is known");
}

#[test]
fn what_was_used_longest_ago_makes_room_and_what_is_not_ours_stays() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let base = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    for nth in 0..4_u8 {
        fs::write(at(&keyed(nth)), [0; 100]).unwrap();
        let file = File::options().append(true).open(at(&keyed(nth))).unwrap();
        // The last is the oldest.
        file.set_modified(base - Duration::from_secs(u64::from(nth))).unwrap();
    }
    fs::write(at("holiday.mp4"), [0; 1000]).unwrap();
    make_room(dir.path(), 250).unwrap();
    let left: Vec<bool> = (0..4).map(|nth| at(&keyed(nth)).exists()).collect();
    assert_eq!(left, [true, true, false, false]);
    assert!(at("holiday.mp4").exists());
}

#[test]
fn what_a_crash_has_left_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join(format!(".{}{UNFINISHED}", keyed(7)));
    fs::write(&left, b"half").unwrap();
    fs::write(dir.path().join(keyed(7)), b"whole").unwrap();
    let written = dir.path().join(format!(".{}{UNFINISHED}", keyed(8)));
    let writer = File::create(&written).unwrap();
    writer.lock().unwrap();
    drop(Cache::open(dir.path(), 1 << 20).unwrap());
    assert!(!left.exists() && dir.path().join(keyed(7)).exists());
    assert_eq!(written.exists(), cfg!(unix), "another program is at it");
}
