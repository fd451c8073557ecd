//! Who may know whom: reads the paths in every source file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each part of the crate may name, besides itself. Arrows never go up.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("time", &[]),
    ("secret", &[]),
    ("udp", &[]),
    ("media", &["time", "secret"]),
    ("player", &["media", "time"]),
    ("rtp", &["media", "player", "time"]),
    ("peer", &["media", "rtp", "time", "secret"]),
    ("call", &["media", "player", "rtp", "peer", "time", "secret", "udp"]),
    ("emulator", &["call::signaling", "media", "time", "secret", "udp"]),
    ("telegram", &["call::signaling", "time", "secret"]),
    ("stdio", &["call", "player", "media", "time", "secret"]),
    ("cli", &["call", "player", "media", "rtp", "peer", "emulator", "telegram", "stdio", "time", "secret"]),
    ("lib", &["call", "player", "media", "emulator", "peer", "rtp", "stdio", "telegram", "time", "secret"]),
    ("main", &["cli"]),
];

/// Crates that only these parts may name.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("rtc", &["peer"]),
    ("nix", &["udp"]),
    ("str0m", &["emulator"]),
    ("axum", &["emulator", "cli"]),
    ("clap", &["cli", "main"]),
    ("anyhow", &["cli", "main"]),
    ("rusqlite", &["player"]),
    ("symphonia", &["media"]),
    ("opus", &["media", "emulator"]),
    ("openh264", &["media", "emulator"]),
    ("grammers_mtsender", &["telegram"]),
    ("grammers_session", &["telegram"]),
    ("grammers_tl_types", &["telegram", "emulator"]),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("src is readable") {
        let path = entry.expect("src is readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

fn part_of(path: &Path) -> String {
    let path = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("inside src");
    let first = path.components().next().expect("a file has a name");
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// The code of a file without comments and without the tests at its bottom.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file is text");
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn violations(part: &str, code: &str) -> Vec<String> {
    let Some((_, allowed)) = MAY_KNOW.iter().find(|(name, _)| *name == part) else {
        return vec![format!("src/{part} is not in the table of layers")];
    };
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let path: String =
            code[at + 7..].chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':')).collect();
        let path = path.trim_end_matches(':');
        let first = path.split("::").next().unwrap_or_default();
        let known = MAY_KNOW.iter().any(|(name, _)| *name == first);
        let fine = allowed.iter().any(|may| path == *may || path.starts_with(&format!("{may}::")));
        if known && first != part && !fine {
            found.push(format!("names crate::{path}"));
        }
    }
    for (krate, parts) in ONLY_IN {
        let named = code.contains(&format!("use {krate}::")) || code.contains(&format!(" {krate}::"));
        if named && !parts.contains(&part) {
            found.push(format!("names the crate {krate}, which belongs to {parts:?}"));
        }
    }
    found
}

#[test]
fn arrows_never_go_up() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 10, "the sources were not found");
    let mut wrong = BTreeMap::new();
    // Tests of any part may look anywhere.
    let test =
        |file: &Path| file.ends_with("tests.rs") || file.components().any(|part| part.as_os_str() == "tests");
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in files.into_iter().filter(|file| !test(file.strip_prefix(&src).expect("inside src"))) {
        let found = violations(&part_of(&file), &code(&file));
        if !found.is_empty() {
            wrong.insert(file, found);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_rule_bites() {
    assert!(!violations("media", "use crate::player::Item;").is_empty());
    assert!(!violations("emulator", "use crate::call::params::Answer;").is_empty());
    assert!(violations("emulator", "use crate::call::signaling::Link;").is_empty());
    assert!(!violations("call", "use rtc::rtp;").is_empty());
    assert!(!violations("emulator", "use crate::telegram::Client;").is_empty());
    assert!(!violations("emulator", "use grammers_mtsender::SenderPool;").is_empty());
    assert!(!violations("elsewhere", "").is_empty());
}
