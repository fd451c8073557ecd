//! Every clip and every absurd file → its plan, the reasons, what is played of it and the exit code,
//! as `tests/golden/plans/` has them.
//!
//! `TELECAST_BLESS=1 cargo test --test it goldens` writes them anew; read the difference before you
//! commit it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use telecast::media::{MediaKind, Reader, ReaderOptions};

/// More frames than any clip has; some absurd files would go on for days.
const MANY_FRAMES: usize = 2000;

fn root(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

/// What `test.txt` tells of.
pub(crate) const GENERATED: &str = "test:320x180@25?for=4s";

/// The absurd files, by the names that they have as files.
pub(crate) fn absurd_files() -> impl Iterator<Item = (String, Vec<u8>)> {
    crate::corpus::absurd().into_iter().map(|(name, bytes)| {
        let words: Vec<&str> =
            name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
        (format!("{}.bad", words.join("-").to_lowercase()), bytes)
    })
}

/// What `telecast probe` makes of a file, in a few lines.
fn probed(folder: &Path, file: &str) -> String {
    let program = env!("CARGO_BIN_EXE_telecast");
    let output = Command::new(program).args(["probe", "--json", file]).current_dir(folder).output().unwrap();
    let mut text = format!("exit: {}\n", output.status.code().expect("no signal ends it"));
    text += &String::from_utf8_lossy(&output.stderr);
    let Ok(probe) = serde_json::from_slice::<serde_json::Value>(&output.stdout) else { return text };
    for kind in ["audio", "video"] {
        let plan = &probe["plan"][kind];
        let (short, reason) = (plan["plan"].as_str().unwrap(), plan["reason"].as_str().unwrap());
        writeln!(text, "{kind}: {short}\n  {reason}").unwrap();
    }
    for sentence in probe["viewer"].as_array().unwrap() {
        writeln!(text, "viewer: {}", sentence.as_str().unwrap()).unwrap();
    }
    writeln!(text, "damaged places: {}", probe["damaged_places"]).unwrap();
    writeln!(text, "remedy: {}", probe["remedy"].as_str().unwrap_or("none")).unwrap();
    text
}

/// What comes out when it is played, up to the first error.
fn played(folder: &Path, file: &str) -> String {
    let opened = if file.starts_with("test:") {
        Reader::open(file, ReaderOptions::default())
    } else {
        let bytes = std::io::Cursor::new(std::fs::read(folder.join(file)).unwrap());
        Reader::from_source(Box::new(bytes), "file", ReaderOptions::default())
    };
    let mut reader = match opened {
        Ok(reader) => reader,
        Err(error) => return format!("played: nothing, {error}\n"),
    };
    let (mut sounds, mut pictures, mut end) = (0, 0, "more".to_owned());
    for _ in 0..MANY_FRAMES {
        match reader.next_frame() {
            Ok(Some(frame)) if frame.kind == MediaKind::Audio => sounds += 1,
            Ok(Some(_)) => pictures += 1,
            Ok(None) => {
                end = "the end".to_owned();
                break;
            }
            Err(error) => {
                end = error.to_string();
                break;
            }
        }
    }
    format!("played: {sounds} × 20 ms of sound, {pictures} pictures, then {end}\n")
}

#[test]
fn every_file_has_the_plan_and_the_outcome_that_its_golden_tells() {
    let goldens = root("tests/golden/plans");
    let bless = std::env::var_os("TELECAST_BLESS").is_some();
    let dir = tempfile::tempdir().unwrap();
    let mut files: Vec<(String, PathBuf, String)> = Vec::new();
    for entry in std::fs::read_dir(root("media")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name != "README.md" {
            files.push((format!("{name}.txt"), root("media"), name));
        }
    }
    for (file, bytes) in absurd_files() {
        std::fs::write(dir.path().join(&file), bytes).unwrap();
        files.push((format!("{file}.txt"), dir.path().to_owned(), file));
    }
    files.push(("test.txt".to_owned(), dir.path().to_owned(), GENERATED.to_owned()));
    let (mut known, mut wrong) = (BTreeSet::new(), Vec::new());
    for (golden, folder, file) in files {
        let found = probed(&folder, &file) + &played(&folder, &file);
        let path = goldens.join(&golden);
        if bless {
            std::fs::create_dir_all(&goldens).unwrap();
            std::fs::write(&path, &found).unwrap();
        }
        match std::fs::read_to_string(&path) {
            Ok(told) if told == found => {}
            Ok(told) => wrong.push(format!("{golden} tells\n{told}but found was\n{found}")),
            Err(_) => wrong.push(format!("{file} has no golden; found was\n{found}")),
        }
        known.insert(golden);
    }
    for entry in std::fs::read_dir(&goldens).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !known.contains(&name) {
            wrong.push(format!("{name} belongs to no file"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
