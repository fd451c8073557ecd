//! The bodies of the fuzz targets over the kept corpus: seeds, and what a fuzzer once found.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

#[path = "../../fuzz/bodies.rs"]
mod bodies;

/// Nobody waits longer for one file.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn every_target_gets_through_its_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for target in bodies::TARGETS {
        let files = std::fs::read_dir(corpus.join(target)).unwrap_or_else(|error| {
            panic!("{target} has no corpus ({error}): `cargo xtask seeds` makes one");
        });
        let mut n_files = 0;
        for file in files {
            let path = file.unwrap().path();
            let data = std::fs::read(&path).unwrap();
            let (done, result) = mpsc::channel();
            let thread = std::thread::spawn(move || {
                bodies::run(target, &data);
                // When the patience has ended, nobody listens.
                let _ = done.send(());
            });
            match result.recv_timeout(PATIENCE) {
                Ok(()) => thread.join().unwrap(),
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("{path:?} takes longer than {PATIENCE:?}"),
                Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{path:?} panicked"),
            }
            n_files += 1;
        }
        assert!(n_files > 0, "{target} has an empty corpus");
    }
    let entries = std::fs::read_dir(&corpus).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let strangers: Vec<String> = names.filter(|name| !bodies::TARGETS.contains(&name.as_str())).collect();
    assert!(strangers.is_empty(), "{strangers:?} belong to no target");
}
