//! Every input that was ever kept for a fuzz target is taken as the target takes it: nothing that was found once
//! comes back. `PORTOLAN_CORPORA` names another folder of them, `PORTOLAN_TARGET` one target.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use targets::TARGETS;

/// What all inputs may take together.
const INPUTS_MAX: usize = 250;
const BYTES_MAX: u64 = 1 << 20;

#[test]
fn every_kept_input_is_taken_by_its_target() {
    let only = std::env::var("PORTOLAN_TARGET").ok();
    let mut failed = Vec::new();
    for (name, target) in TARGETS {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let inputs = inputs(name);
        assert!(!inputs.is_empty(), "no input is kept for {name}");
        for path in inputs {
            let bytes = fs::read(&path).expect("an input");
            if catch_unwind(|| target(&bytes)).is_err() {
                failed.push(format!("{name}: {}", path.display()));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_target_has_a_program_and_every_corpus_a_target() {
    let names: BTreeSet<String> = TARGETS.map(|(name, _)| name.to_owned()).into();
    let named = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(fuzz().join(folder)).expect("a folder");
        entries
            .map(|entry| {
                let path = entry.expect("an entry").path();
                path.file_stem().expect("a name").to_string_lossy().into_owned()
            })
            .collect()
    };
    assert_eq!(named("corpus"), names);
    assert_eq!(named("fuzz_targets"), names);
}

#[test]
fn what_is_kept_stays_small() {
    let all: Vec<PathBuf> = TARGETS.iter().flat_map(|(name, _)| inputs(name)).collect();
    let bytes: u64 = all.iter().map(|path| fs::metadata(path).expect("an input").len()).sum();
    assert!(all.len() <= INPUTS_MAX && bytes <= BYTES_MAX, "{} inputs, {bytes} bytes", all.len());
}

/// `scripts/fuzz` asks for them; they are copies of what the repository holds anyway.
#[test]
#[ignore = "writes what scripts/fuzz starts from"]
fn seeds_are_written_where_they_are_asked_for() {
    let into = std::env::var_os("PORTOLAN_SEEDS").map(PathBuf::from).expect("PORTOLAN_SEEDS names a folder");
    let written = targets::seeds::write(&fuzz().join(".."), &into);
    let names: BTreeSet<&str> = TARGETS.map(|(name, _)| name).into();
    assert_eq!(written.keys().copied().collect::<BTreeSet<_>>(), names);
    println!("{written:?}");
}

fn inputs(target: &str) -> Vec<PathBuf> {
    let corpora = std::env::var_os("PORTOLAN_CORPORA").map_or(fuzz().join("corpus"), PathBuf::from);
    let entries = fs::read_dir(corpora.join(target)).expect("a corpus");
    let mut inputs: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    inputs.sort();
    inputs
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}
