//! SARIF: what code hosts and editors read.
//!
//! # Sources
//!
//! OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0, Errata 01: sections 3.11 (messages), 3.13 and
//! 3.14 (log and run), 3.27 (results), 3.30 (regions), 3.33 (logical locations), 3.49 (rules). RFC 3986, section 3.3, for
//! the names of files.

use portolan_policy::Severity;
use serde_json::{Value, json};

use super::pipeline::{Answer, Check, Complaint, visible};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// Writes an answer as one SARIF log with one run. The same answer gives the same bytes.
pub(crate) fn document(answer: &Answer) -> String {
    let results: Vec<Value> = answer.complaints.iter().map(|complaint| result(complaint, answer)).collect();
    let notes: Vec<Value> =
        answer.notes.iter().map(|note| json!({ "level": "warning", "message": text(note) })).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "portolan",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": answer.checks.iter().map(rule).collect::<Vec<Value>>(),
            } },
            "automationDetails": { "id": format!("portolan {}/", answer.command) },
            "columnKind": "unicodeCodePoints",
            "invocations": [{ "executionSuccessful": true, "toolExecutionNotifications": notes }],
            "results": results,
        }],
    })
    .to_string()
}

fn rule(check: &Check) -> Value {
    json!({
        "id": check.id,
        "shortDescription": text(&check.title),
        "fullDescription": text(&check.rationale),
        "help": text(&check.remedy),
        "defaultConfiguration": { "level": level(check.severity) },
    })
}

fn result(complaint: &Complaint, answer: &Answer) -> Value {
    let mut result = json!({
        "ruleId": complaint.check,
        "level": level(complaint.severity),
        "message": text(&complaint.message),
    });
    if let Some(number) = answer.checks.iter().position(|check| check.id == complaint.check) {
        result["ruleIndex"] = number.into();
    }
    let mut location = serde_json::Map::new();
    if let Some((file, line, column)) = &complaint.place {
        let region = json!({ "startLine": line, "startColumn": column });
        let place = json!({ "artifactLocation": { "uri": uri(file) }, "region": region });
        location.insert("physicalLocation".to_owned(), place);
    }
    if !complaint.about.is_empty() {
        let logical = |(kind, name): &(&str, String)| {
            let name = visible(name);
            json!({ "kind": kind, "name": name, "fullyQualifiedName": name })
        };
        let all = complaint.about.iter().map(logical).collect::<Vec<Value>>();
        location.insert("logicalLocations".to_owned(), all.into());
    }
    if !location.is_empty() {
        result["locations"] = json!([location]);
    }
    if let Some(id) = &complaint.id {
        result["partialFingerprints"] = json!({ "portolanFinding/v1": id });
    }
    result
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "note",
    }
}

/// Writes a message that holds neither placeholders nor links, whatever names say.
fn text(message: &str) -> Value {
    let mut plain = visible(message).replace('{', "{{").replace('}', "}}");
    if plain.contains("](") {
        plain = plain.replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]");
    }
    json!({ "text": plain })
}

/// Writes the name of a file as a reference: relative as it was given, absolute with `file://`.
fn uri(file: &str) -> String {
    let mut uri = String::from(if file.starts_with('/') { "file://" } else { "" });
    for byte in file.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_neither_a_placeholder_nor_a_link() {
        let said = |message: &str| text(message)["text"].as_str().expect("a text").to_owned();
        assert_eq!(said("{0} of [::1]:80"), "{{0}} of [::1]:80");
        assert_eq!(said("[here](https://example.org)"), "\\[here\\](https://example.org)");
        assert_eq!(said("a\u{202e}b\0"), "a<U+202E>b<U+0000>");
    }

    #[test]
    fn the_name_of_a_file_is_a_reference_whatever_it_holds() {
        for (file, expected) in [
            ("contracts.d/10-base.toml", "contracts.d/10-base.toml"),
            ("/etc/a b.toml", "file:///etc/a%20b.toml"),
            ("c:x?#%.toml", "c%3Ax%3F%23%25.toml"),
            ("größe\n", "gr%C3%B6%C3%9Fe%0A"),
        ] {
            assert_eq!(uri(file), expected);
        }
    }
}
