//! What is printed for a person, and results that somebody else wrote.

use portolan_daemon::report::{self, Style};
use portolan_exporter::{Publication, SeriesLimits, render};
use portolan_graphs::{Graph, Group};
use serde_json::Value;

use super::text::{harmless, is_fit_for_a_terminal, is_fit_json};
use super::{exposition, input::Input, named};

/// Tables of any names steer no terminal, and have the lines that harmless names have.
pub fn terminal(bytes: &[u8]) {
    names_survive(&named::of_bytes(bytes));
}

/// Panics unless tables of a publication are fit for a terminal, and no name makes a line.
pub fn names_survive(publication: &Publication) {
    let text = serde_json::to_string(publication).expect("memory takes what is written");
    let mut value: Value = serde_json::from_str(&text).expect("what was written is read");
    disarm(&mut value);
    let disarmed: Publication = serde_json::from_value(value).expect("names may be others");
    for is_whole in [false, true] {
        for is_coloured in [false, true] {
            let style = Style { is_coloured, is_whole, ..Style::default() };
            for (table, plain) in tables(publication, style).into_iter().zip(tables(&disarmed, style)) {
                is_fit_for_a_terminal(&table, is_coloured);
                assert_eq!(table.lines().count(), plain.lines().count(), "{table}\n{plain}");
            }
        }
    }
    let mut printed = Vec::new();
    portolan_daemon::result::print(&mut printed, publication, 1).expect("memory takes what is written");
    let value = is_fit_json(&String::from_utf8(printed).expect("UTF-8"));
    let found: Publication = serde_json::from_value(value).expect("a publication");
    assert_eq!(&found, publication);
}

/// A result is refused, or read, printed, drawn and exported whatever its numbers and words are.
pub fn result(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let Ok(publication) = serde_json::from_slice::<Publication>(input.rest()) else { return };
    for style in [Style::default(), Style { is_coloured: true, is_whole: true, ..Style::default() }] {
        for table in tables(&publication, style) {
            is_fit_for_a_terminal(&table, style.is_coloured);
        }
    }
    for group in Group::ALL {
        let graph = Graph::draw(&publication.assessment, group);
        is_fit_for_a_terminal(&graph.to_dot(), false);
        is_fit_for_a_terminal(&graph.to_mermaid(), false);
    }
    exposition::read(&render(&publication, SeriesLimits::default()));
}

fn tables(publication: &Publication, style: Style) -> [String; 4] {
    let host = &publication.vitals.host;
    [
        report::report(publication, host, style),
        report::findings(publication, style),
        report::flows(&publication.flows, style),
        report::status(publication, style),
    ]
}

/// Replaces every hostile character of every text.
fn disarm(value: &mut Value) {
    match value {
        Value::String(text) => *text = harmless(text),
        Value::Array(values) => values.iter_mut().for_each(disarm),
        Value::Object(fields) => {
            let disarmed = std::mem::take(fields).into_iter().map(|(name, mut value)| {
                disarm(&mut value);
                (harmless(&name), value)
            });
            *fields = disarmed.collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
