//! Every broken or hostile capture under `pcaps/malformed` has exactly the outcome that `OUTCOMES.tsv` states: how
//! many frames were read, how many of them could not be parsed, and what was said about the file.
//!
//! `UPDATE_OUTCOMES=1` rewrites the table; the diff is reviewed like code. `PORTOLAN_MALFORMED` names another folder.

#![expect(clippy::unwrap_used, reason = "a test may end by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use portolan_capture::{MergedFiles, ParseOptions, Polled, Tap, parse};

#[test]
fn every_broken_capture_has_its_stated_outcome() {
    let folder = folder();
    let mut outcomes = String::from("name\tread\trejected\trejected_innermost\tsaid\n");
    let mut files = 0;
    for path in captures_in(&folder) {
        files += 1;
        outcomes.push_str(&outcome(&path));
        outcomes.push('\n');
    }
    assert!(files > 200, "only {files} files found");
    let table = folder.join("OUTCOMES.tsv");
    if std::env::var_os("UPDATE_OUTCOMES").is_some() {
        fs::write(&table, &outcomes).unwrap();
    }
    let stated = fs::read_to_string(&table).unwrap();
    let difference = stated.lines().zip(outcomes.lines()).find(|(stated, found)| stated != found);
    assert_eq!(difference, None);
    assert_eq!(stated, outcomes);
}

#[test]
fn frames_read_are_those_that_an_independent_program_read() {
    let manifest = fs::read_to_string(folder().join("MANIFEST.tsv")).unwrap();
    let wanted: BTreeMap<&str, u64> = manifest
        .lines()
        .skip(1)
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            (columns[0], columns[7].parse().unwrap())
        })
        .collect();
    let departures = departures();
    for path in captures_in(&folder()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let found = read(&path).0;
        match departures.iter().find(|(departing, _, _)| *departing == name) {
            Some((_, ours, why)) => assert_eq!(found, *ours, "{name}: {why}"),
            None => assert_eq!(found, wanted[name], "{name}"),
        }
    }
}

/// Files of which more or fewer frames are read than by tshark, and why.
#[rustfmt::skip]
fn departures() -> Vec<(&'static str, u64, &'static str)> {
    vec![
        ("sv-fuzz.pcap",                  1, "its second record claims 1.4 GB, which nobody can have read"),
        ("x-gzip-not-a-capture.pcap.gz",  0, "tshark shows a text as one packet"),
        ("x-linktype-60000.pcap",         5, "frames of an unknown link type are counted and rejected"),
        ("x-ng-block-length-odd.pcapng",  5, "a block length that is no multiple of four is damage, as tcpdump has it"),
        ("x-ng-option-past-block.pcapng", 5, "a lying option loses the options, not the packet"),
        ("x-version-9.pcap",              0, "nobody knows what version 9 means; tcpdump refuses it too"),
    ]
}

fn folder() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps/malformed");
    std::env::var_os("PORTOLAN_MALFORMED").map_or(here, PathBuf::from)
}

fn captures_in(folder: &Path) -> Vec<PathBuf> {
    let mut captures: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .filter(|path| !matches!(path.extension().and_then(|end| end.to_str()), Some("tsv" | "md" | "py")))
        .collect();
    captures.sort();
    captures
}

fn outcome(path: &Path) -> String {
    let (frames, rejected, rejected_innermost, said) = read(path);
    let name = path.file_name().unwrap().to_string_lossy();
    // The sentence names the file by the path it was given; the table stands wherever the checkout does.
    let said = said.replace(&*path.to_string_lossy(), &name).replace('\n', "\\n");
    format!("{name}\t{frames}\t{rejected}\t{rejected_innermost}\t{said}")
}

/// Frames read, rejected outermost and innermost, and what was said.
fn read(path: &Path) -> (u64, u64, u64, String) {
    let (mut frames, mut rejected, mut rejected_innermost) = (0, 0, 0);
    let mut tap = match MergedFiles::open(&[path.to_str().unwrap()]) {
        Ok(tap) => tap,
        Err(error) => return (0, 0, 0, error.to_string()),
    };
    let options = ParseOptions { innermost: false, fingerprint: true };
    let innermost = ParseOptions { innermost: true, fingerprint: false };
    let mut each = |frame: &portolan_capture::Frame<'_>| {
        frames += 1;
        rejected += u64::from(parse(frame, &options).is_err());
        rejected_innermost += u64::from(parse(frame, &innermost).is_err());
    };
    while tap.poll(&mut each).unwrap() != Polled::End {}
    let said: Vec<String> = tap.damage().map(ToString::to_string).collect();
    (frames, rejected, rejected_innermost, said.join("; "))
}
