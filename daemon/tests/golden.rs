//! Golden captures: each folder of `pcaps/` with an `expected/` is replayed and compared byte for byte.
//!
//! `UPDATE_GOLDEN=1 cargo test -p portolan-daemon --test golden` rewrites what is expected; the difference is read like
//! code. What stands there must be true, not only the same: `totals.tsv` holds what the capture's own generator, or
//! tshark, counted, and is never rewritten here.
//!
//! A folder holds `capture.pcapng` or `capture.pcap`, its rosters and its contract, and where it needs them more
//! arguments in `arguments`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portolan_exporter::{Publication, SeriesLimits};
use serde_json::Value;

const ROSTERS: [&str; 3] = ["docker-inspect.json", "roster.toml", "interfaces.toml"];

#[test]
fn every_golden_capture_gives_what_is_expected() {
    let is_update = std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(cases.len() >= 11, "only {cases:?}: where are the golden captures?");
    for case in cases {
        for (name, given) in outputs(&case) {
            let path = pcaps().join(&case).join("expected").join(name);
            if is_update {
                fs::write(&path, given).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                continue;
            }
            match fs::read_to_string(&path) {
                Ok(expected) if expected == given => {}
                Ok(expected) => {
                    wrong.push(format!("{case}/expected/{name}: {}", difference(&expected, &given)))
                }
                Err(error) => wrong.push(format!("{case}/expected/{name}: {error}")),
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nif this is meant, rewrite with UPDATE_GOLDEN=1 and read the difference",
        wrong.join("\n")
    );
}

#[test]
fn two_replays_are_the_same_to_the_byte() {
    for case in cases() {
        let (first, second) = (replay(&case, &["--format", "json"]), replay(&case, &["--format", "json"]));
        assert!(first.stdout == second.stdout, "{case}: two replays differ");
    }
}

/// What the generator sent, or tshark counted, stands in the answer: not a frame or byte more or less.
#[test]
fn totals_are_those_of_other_counters() {
    let mut checked = 0;
    for case in cases() {
        let path = pcaps().join(&case).join("totals.tsv");
        let Ok(text) = fs::read_to_string(&path) else { continue };
        checked += 1;
        let publication = publication(&case);
        let ledger = publication.assessment.snapshot.ledger;
        let mut expected = BTreeMap::new();
        for line in text.lines().skip(1) {
            let columns: Vec<&str> = line.split('\t').collect();
            let number = |column: usize| columns[column].parse::<u64>().unwrap_or(0);
            match columns[0] {
                "captured" => {
                    let delivered = ledger.delivered;
                    assert_eq!(
                        (delivered.frames, delivered.bytes),
                        (number(4), number(5)),
                        "{case}: captured"
                    );
                }
                "counted" => {
                    let accepted = ledger.accepted();
                    assert_eq!((accepted.frames, accepted.bytes), (number(4), number(5)), "{case}: counted");
                }
                _ => {
                    let edge =
                        (columns[0].to_owned(), columns[1].to_owned(), number(2), columns[3].to_owned());
                    let row = [4, 5, 6, 7, 8, 9, 10].map(|column| columns[column].parse::<u64>().ok());
                    expected.insert(edge, row);
                }
            }
        }
        if expected.is_empty() {
            continue;
        }
        let seen = edges(&publication);
        assert!(seen.keys().eq(expected.keys()), "{case}: edges {:?}", seen.keys());
        for (edge, row) in seen {
            // An empty column says nothing.
            let stated = expected[&edge];
            let row: [_; 7] = std::array::from_fn(|i| stated[i].and(Some(row[i])));
            assert_eq!(row, stated, "{case}: {edge:?}");
        }
    }
    assert!(checked >= 8, "only {checked} golden captures have totals.tsv");
}

#[test]
fn the_accounts_of_every_golden_capture_balance() {
    for case in cases() {
        let vitals = publication(&case).vitals;
        assert_eq!((vitals.residual_frames, vitals.residual_bytes), (0, 0), "{case}");
    }
}

#[test]
fn every_golden_capture_says_what_it_shows() {
    for case in cases() {
        let path = pcaps().join(&case).join("README.md");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.starts_with("# "), "{case}/README.md: no title");
        assert!(text.contains("icence"), "{case}/README.md: under which licence?");
    }
}

/// Returns every output of a case, by file name.
fn outputs(case: &str) -> Vec<(&'static str, String)> {
    let publication = publication(case);
    let findings = serde_json::to_string_pretty(&publication.assessment.findings).expect("JSON");
    let flow = |flow| {
        portolan_exporter::escape::json(&serde_json::to_string(flow).expect("JSON")).into_owned() + "\n"
    };
    vec![
        ("report.txt", text(replay(case, &[]).stdout)),
        ("findings.json", findings + "\n"),
        ("graph.json", publication.graph.to_json().expect("JSON")),
        ("graph.dot", publication.graph.to_dot()),
        ("flows.ndjson", publication.flows.iter().map(flow).collect()),
        ("metrics.prom", portolan_exporter::render(&publication, SeriesLimits::default())),
    ]
}

fn publication(case: &str) -> Publication {
    serde_json::from_slice(&replay(case, &["--format", "json"]).stdout).expect("a publication")
}

fn replay(case: &str, arguments: &[&str]) -> Output {
    let folder = pcaps().join(case);
    let capture = capture(&folder).unwrap_or_else(|| panic!("{case}: no capture"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    // Relative names, so that what is printed of them is the same everywhere.
    command.current_dir(pcaps()).arg("replay").arg(format!("{case}/{capture}"));
    for roster in ROSTERS.into_iter().filter(|name| folder.join(name).is_file()) {
        command.args(["--roster", &format!("{case}/{roster}")]);
    }
    if folder.join("contract.toml").is_file() {
        command.args(["--contract", &format!("{case}/contract.toml")]);
    }
    let more = fs::read_to_string(folder.join("arguments")).unwrap_or_default();
    let output = command.args(more.split_whitespace()).args(arguments).output().expect("portolan starts");
    assert!(output.status.success(), "{case}: {}", text(output.stderr));
    output
}

fn edges(publication: &Publication) -> BTreeMap<(String, String, u64, String), [u64; 7]> {
    let mut edges = BTreeMap::new();
    let graph: Value = serde_json::to_value(&publication.graph).expect("JSON");
    for edge in graph["edges"].as_array().expect("edges") {
        let name = |value: &Value| value.as_str().expect("a text").to_owned();
        let key = (
            name(&edge["source"]),
            name(&edge["target"]),
            edge["port"]["port"].as_u64().unwrap_or(0),
            name(&edge["port"]["protocol"]),
        );
        let number = |path: &str| edge.pointer(path).and_then(Value::as_u64).expect("a number");
        let others = ["unanswered", "blocked", "pending"].map(|it| number(&format!("/connections/{it}")));
        let row = [
            number("/sent/frames"),
            number("/sent/bytes"),
            number("/received/frames"),
            number("/received/bytes"),
            number("/connections/answered"),
            number("/connections/refused"),
            others.iter().sum(),
        ];
        let total = edges.entry(key).or_insert([0; 7]);
        *total = std::array::from_fn(|i| total[i] + row[i]);
    }
    edges
}

/// Returns the names of the golden folders, in order.
fn cases() -> Vec<String> {
    let entries = fs::read_dir(pcaps()).expect("pcaps/");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("expected").is_dir() && capture(path).is_some())
        .filter_map(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}

fn capture(folder: &Path) -> Option<&'static str> {
    ["capture.pcapng", "capture.pcap"].into_iter().find(|name| folder.join(name).is_file())
}

/// Returns the first line in which two texts differ.
fn difference(expected: &str, given: &str) -> String {
    let (mut before, mut after) = (expected.lines(), given.lines());
    let mut line = 1;
    loop {
        match (before.next(), after.next()) {
            (None, None) => return "only the ends of lines differ".to_owned(),
            (old, new) if old == new => line += 1,
            (old, new) => {
                let shown = |line: Option<&str>| line.map_or("(the end)".to_owned(), str::to_owned);
                return format!("line {line}\n  expected  {}\n  given     {}", shown(old), shown(new));
            }
        }
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("UTF-8")
}

fn pcaps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps")
}
