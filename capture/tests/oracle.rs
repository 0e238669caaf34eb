//! Every capture under `pcaps/oracle-cases` gives exactly the conversations that an independent program found.
//!
//! `PORTOLAN_ORACLE_CASES` names another folder of captures, with their oracles in its `oracle/`.

#![expect(clippy::unwrap_used, reason = "a test may end by panicking, and reports")]

use std::fs;
use std::path::{Path, PathBuf};

use portolan_capture::{MergedFiles, ParseOptions, Polled, Tap, parse};
use portolan_flowtable::plain::PlainConversations;
use serde_json::Value;

#[test]
fn every_capture_gives_the_oracles_conversations() {
    let (mut equal, mut captures, mut conversations) = (0, 0, 0);
    let mut differences = Vec::new();
    for capture in captures_in(&cases()) {
        captures += 1;
        match compare(&capture) {
            Ok(count) => {
                equal += 1;
                conversations += count;
            }
            Err(difference) => differences.push(format!("{}: {difference}", capture.display())),
        }
    }
    println!("{equal} of {captures} captures equal ({conversations} conversations)");
    assert!(captures > 40, "only {captures} captures found");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn cases() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps/oracle-cases");
    std::env::var_os("PORTOLAN_ORACLE_CASES").map_or(here, PathBuf::from)
}

fn captures_in(folder: &Path) -> Vec<PathBuf> {
    let mut captures: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.contains(".pcap") && !name.ends_with(".json")
        })
        .collect();
    captures.sort();
    captures
}

/// Compares outermost and innermost conversations and the totals; returns how many conversations there were.
fn compare(capture: &Path) -> Result<usize, String> {
    let name = capture.file_name().unwrap().to_string_lossy();
    let oracle = capture.parent().unwrap().join("oracle").join(format!("{name}.json"));
    let oracle: Value = serde_json::from_slice(&fs::read(&oracle).unwrap()).unwrap();
    let mut conversations = 0;
    for (innermost, field) in [(false, "conversations"), (true, "innermost_conversations")] {
        let wanted = if oracle[field].is_null() { &oracle["conversations"] } else { &oracle[field] };
        let plain = replay(capture, innermost);
        let rows: Vec<Value> = plain.rows().map(|row| serde_json::to_value(row).unwrap()).collect();
        let wanted = wanted.as_array().unwrap();
        let position = rows.iter().zip(wanted).position(|(row, wanted)| row != wanted);
        if let Some(position) = position {
            return Err(format!("{field} {position}: got {} want {}", rows[position], wanted[position]));
        }
        if rows.len() != wanted.len() {
            return Err(format!("{field}: got {} want {}", rows.len(), wanted.len()));
        }
        conversations += rows.len();
        let totals = serde_json::to_value(plain.totals()).unwrap();
        for total in ["packets", "wire_bytes", "captured_bytes"] {
            if totals[total] != oracle[total] {
                return Err(format!("{total}: got {} want {}", totals[total], oracle[total]));
            }
        }
    }
    Ok(conversations)
}

fn replay(capture: &Path, innermost: bool) -> PlainConversations {
    let options = ParseOptions { innermost, fingerprint: false };
    let mut tap = MergedFiles::open(&[capture.to_str().unwrap()]).unwrap();
    let mut plain = PlainConversations::default();
    let mut each = |frame: &portolan_capture::Frame<'_>| match parse(frame, &options) {
        Ok(seen) => plain.observe(&seen, frame.record()),
        Err(_) => plain.reject(frame.record()),
    };
    while tap.poll(&mut each).unwrap() != Polled::End {}
    plain
}
