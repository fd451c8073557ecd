//! Clips that are cut off, and clips with a flipped byte → a line for each in `tests/golden/damage/`:
//! what was done to it, the exit code of `probe`, the plan, how much is played and how that ends.
//!
//! They are made here, seeded, so that a failure can be had again.
//! `TELECAST_BLESS=1 cargo test --test it damage` writes the lines anew; read the difference before
//! you commit it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use telecast::media::plan::TrackPlan;
use telecast::media::{MediaKind, Reader, ReaderOptions};

use crate::corpus::{check, clip};

const CLIPS: [&str; 10] = [
    "clip.mp4",
    "clip.mkv",
    "bframes.mp4",
    "long-gop.mp4",
    "vp8.webm",
    "vp9.ivf",
    "vp8.ivf",
    "clip.h264",
    "music.ogg",
    "music.mp3",
];

/// Decoding and encoding is slow: of a clip with a flipped byte that is transcoded so many frames are
/// played, which is enough to see that it begins. What is cut off is played up to there.
const TRANSCODED: usize = 150;

/// What was done to a clip, and the bytes that this made.
type Damage = (String, Vec<u8>);

/// The plan of both tracks in short words, each with its reason.
fn plans(probe: &Value) -> [(&str, &str); 2] {
    ["audio", "video"].map(|kind| {
        let plan = &probe["plan"][kind];
        (plan["plan"].as_str().unwrap(), plan["reason"].as_str().unwrap())
    })
}

/// Exit code, what is printed, and what is said.
fn probe(folder: &Path, file: &str) -> (i32, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_telecast"));
    let output =
        command.args(["probe", "--json", file]).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    // Not what decoders log.
    let stderr = String::from_utf8_lossy(&output.stderr);
    let said = stderr.lines().find(|line| line.starts_with("telecast: ")).unwrap_or_default().to_owned();
    (output.status.code().expect("no signal ends it"), json, said)
}

/// Sounds of 20 ms, pictures, and the end.
fn played(path: &Path, at_most: usize) -> (usize, usize, String) {
    let mut options = ReaderOptions::default();
    // What it sounds like is heard elsewhere.
    options.opus.complexity = 0;
    let mut reader = match Reader::open(path, options) {
        Ok(reader) => reader,
        Err(error) => return (0, 0, error.to_string()),
    };
    let (mut n_sounds, mut n_pictures) = (0, 0);
    loop {
        let encodes = |plan: &TrackPlan| matches!(plan, TrackPlan::Transcode { .. });
        let slow = encodes(&reader.plan().audio) || encodes(&reader.plan().video);
        if slow && n_sounds + n_pictures >= at_most {
            return (n_sounds, n_pictures, "more".to_owned());
        }
        match reader.next_frame() {
            Ok(Some(frame)) if frame.kind == MediaKind::Audio => n_sounds += 1,
            Ok(Some(_)) => n_pictures += 1,
            Ok(None) => return (n_sounds, n_pictures, "the end".to_owned()),
            Err(error) => return (n_sounds, n_pictures, error.to_string()),
        }
    }
}

/// What becomes of a damaged clip, in a line; reasons only where they are other ones than the whole
/// clip's.
fn line(folder: &Path, file: &str, what: &str, whole: &Value, at_most: usize) -> String {
    let (exit, json, said) = probe(folder, file);
    let mut line = format!("{what}: exit {exit}, ");
    if exit == 0 {
        for ((kind, (plan, reason)), (_, usual)) in
            ["sound", "picture"].iter().zip(plans(&json)).zip(plans(whole))
        {
            let because = if reason == usual { String::new() } else { format!(" ({reason})") };
            write!(line, "{kind} {plan}{because}, ").unwrap();
        }
        match json["damaged_places"].as_u64().unwrap() {
            0 => {}
            n => write!(line, "damaged places: {n}, ").unwrap(),
        }
    }
    let (n_sounds, n_pictures, end) = played(&folder.join(file), at_most);
    write!(line, "played {n_sounds} × 20 ms and {n_pictures} pictures, then {end}").unwrap();
    if !said.is_empty() && said != format!("telecast: {end}") {
        write!(line, "; probe says {said}").unwrap();
    }
    // Nothing of the place where the files happen to be, nor of a second line.
    line.replace(&format!("{}/", folder.display()), "").replace('\n', " ")
}

/// Compares each damaged clip with its line; with `TELECAST_BLESS` the lines are written anew.
fn assert_told(golden: &str, damages: impl Fn(&mut fastrand::Rng, &[u8]) -> Vec<Damage>, seed: u64) {
    let (dir, mut random) = (tempfile::tempdir().unwrap(), fastrand::Rng::with_seed(seed));
    let mut found = Vec::new();
    for name in CLIPS {
        let bytes = clip(name);
        std::fs::write(dir.path().join(name), &bytes).unwrap();
        let (exit, whole, said) = probe(dir.path(), name);
        assert_eq!(exit, 0, "{name}: {said}");
        let all = check(name, bytes.clone());
        assert!(all > 100, "{name} itself plays");
        for (what, damaged) in damages(&mut random, &bytes) {
            let what = format!("{name} {what}");
            std::fs::write(dir.path().join(name), &damaged).unwrap();
            let is_cut = damaged.len() < bytes.len();
            let n_packets = check(&what, damaged);
            assert!(n_packets <= all || !is_cut, "{what} has more packets than the whole");
            let at_most = if is_cut { usize::MAX } else { TRANSCODED };
            found.push(line(dir.path(), name, &what, &whole, at_most));
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/damage").join(golden);
    if std::env::var_os("TELECAST_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, found.join("\n") + "\n").unwrap();
    }
    let told = std::fs::read_to_string(&path).unwrap_or_default();
    let (told, found): (BTreeSet<_>, BTreeSet<_>) =
        (told.lines().collect(), found.iter().map(String::as_str).collect());
    let lines = |a: &BTreeSet<&str>, b| a.difference(b).copied().collect::<Vec<_>>().join("\n");
    assert!(
        told == found,
        "{golden} tells of what was not found:\n{}\nand found was what it does not tell of:\n{}",
        lines(&told, &found),
        lines(&found, &told)
    );
}

#[test]
fn clips_that_are_cut_off_play_as_told() {
    let cut = |random: &mut fastrand::Rng, whole: &[u8]| {
        let mut cut = || {
            let at = random.usize(0..whole.len());
            (format!("cut at {at}"), whole[..at].to_vec())
        };
        (0..5).map(|_| cut()).collect()
    };
    assert_told("cut-off.txt", cut, 50);
}

#[test]
fn clips_with_a_flipped_byte_play_as_told() {
    let flip = |random: &mut fastrand::Rng, whole: &[u8]| {
        let mut flip = |nth: usize| {
            let mut bytes = whole.to_vec();
            // Half of the flips hit the headers, where they hurt.
            let within = if nth.is_multiple_of(2) { bytes.len() } else { bytes.len().min(4096) };
            let at = random.usize(0..within);
            bytes[at] ^= random.u8(1..);
            (format!("with {:02x} for {:02x} at {at}", bytes[at], whole[at]), bytes)
        };
        (0..20).map(&mut flip).collect()
    };
    assert_told("flipped.txt", flip, 200);
}
