//! The text of a scrape, read by the letter of the format (Prometheus text format 0.0.4).

use std::collections::{BTreeMap, BTreeSet};

use portolan_exporter::{Publication, SeriesLimits, render};
use portolan_flowtable::Peer;

use super::named;
use super::text::{as_label, is_hostile};

/// Labels of one sample.
pub type Labels = BTreeMap<String, String>;

/// A publication of any names gives an exposition that reads back to these names.
pub fn exposition(bytes: &[u8]) {
    names_survive(&named::of_bytes(bytes));
}

/// Panics unless every edge of a publication is in its exposition, and nothing else is.
pub fn names_survive(publication: &Publication) {
    reads_back(publication, &render(publication, SeriesLimits::default()));
}

/// Panics unless an exposition holds the edges of a publication.
pub fn reads_back(publication: &Publication, text: &str) {
    let samples = read(text);
    let found: BTreeSet<[String; 4]> = samples
        .keys()
        .filter(|(name, _)| name == "portolan_edge_bytes_total")
        .map(|(_, labels)| {
            ["client", "client_project", "server", "server_project"].map(|key| labels[key].clone())
        })
        .collect();
    let seen: BTreeSet<[String; 4]> = publication
        .assessment
        .judged
        .iter()
        .map(|judged| {
            let (client, client_project) = end(&judged.conversation.initiator);
            let (server, server_project) = end(&judged.conversation.responder);
            [client, client_project, server, server_project]
        })
        .collect();
    // What somebody documented begins at 0; what is published, from outside.
    let documented = publication.documented_edges.len() + publication.assessment.listeners.len();
    assert!(seen.is_subset(&found), "{:?} are missing", seen.difference(&found));
    assert!(found.len() <= seen.len() + documented, "{found:?} of {seen:?}");
}

fn end(peer: &Peer) -> (String, String) {
    match peer.workload() {
        Some(workload) => (as_label(&workload.service), as_label(&workload.project)),
        None => (peer.service(), String::new()),
    }
}

/// Reads an exposition: each series and its value. Panics on anything the format does not allow, on a series that
/// is there twice, and on a family that is not whole or not introduced.
pub fn read(text: &str) -> BTreeMap<(String, Labels), f64> {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line does not end");
    let mut samples = BTreeMap::new();
    let mut introduced = BTreeSet::new();
    let (mut family, mut parts): (String, &[&str]) = (String::new(), &[""]);
    for line in text.split_terminator('\n') {
        assert!(!line.chars().any(is_hostile), "{line:?}");
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help");
            assert!(!help.is_empty() && is_name(name) && introduced.insert(name.to_owned()), "{line}");
            name.clone_into(&mut family);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            parts = match kind {
                "counter" | "gauge" => &[""],
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => panic!("{line}"),
            };
            assert!(name == family, "{line}");
        } else {
            let (name, labels, value) = sample(line);
            let is_its = |part: &&str| name.strip_suffix(*part) == Some(family.as_str());
            assert!(parts.iter().any(is_its), "outside its family: {line}");
            assert!(samples.insert((name, labels), value).is_none(), "twice: {line}");
        }
    }
    samples
}

fn sample(line: &str) -> (String, Labels, f64) {
    let name_end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no value: {line}"));
    let (name, mut rest) = line.split_at(name_end);
    assert!(is_name(name), "{line}");
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, behind) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
            assert!(is_name(label) && !label.contains(':'), "{line}");
            let (value, behind) = quoted(behind, line);
            assert!(labels.insert(label.to_owned(), value).is_none(), "a label twice: {line}");
            match behind.strip_prefix(',') {
                Some(next) => rest = next,
                None => {
                    rest = behind.strip_prefix('}').unwrap_or_else(|| panic!("labels without end: {line}"));
                    break;
                }
            }
        }
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("no blank before the value: {line}"));
    let number = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
    (name.to_owned(), labels, number)
}

/// Reads up to the closing quote, and returns what is behind it.
fn quoted<'a>(text: &'a str, line: &str) -> (String, &'a str) {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match letters.next() {
                Some((_, 'n')) => '\n',
                Some((_, same @ ('\\' | '"'))) => same,
                other => panic!("an escape nobody knows, {other:?}: {line}"),
            }),
            plain => value.push(plain),
        }
    }
    panic!("an open quote: {line}")
}

fn is_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte == b':';
    text.bytes().next().is_some_and(is_letter)
        && text.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit())
}
