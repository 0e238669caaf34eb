//! JUnit XML: what build servers show as tests.
//!
//! There is no standard; the elements are those Jenkins and GitLab read (`testsuites`, `testsuite`, `testcase`, `failure`,
//! `system-out`). Times are left out: they are nobody's, and the same answer is to give the same bytes.
//!
//! # Sources
//!
//! Extensible Markup Language 1.0, fifth edition: sections 2.2 (characters), 2.4 and 3.3.3.

use std::fmt::Write as _;

use portolan_exporter::escape;

use super::pipeline::{Answer, visible};

/// Writes an answer as one suite: a test for everything that is fine, and one that fails for every complaint.
pub(crate) fn document(answer: &Answer) -> String {
    let (failures, tests) = (answer.complaints.len(), answer.complaints.len() + answer.fine.len());
    let name = escaped(&format!("portolan {}", answer.command));
    let class = escaped(&answer.command.replace(' ', "_"));
    let counts = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\"");
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(out, "<testsuites name=\"{name}\" {counts}>");
    let _ = writeln!(out, "  <testsuite name=\"{name}\" {counts}>");
    for fine in &answer.fine {
        let _ = writeln!(out, "    <testcase classname=\"{class}\" name=\"{}\"/>", escaped(fine));
    }
    for complaint in &answer.complaints {
        let check = escaped(&complaint.check);
        let subject = escaped(&complaint.subject);
        let _ = writeln!(out, "    <testcase classname=\"{class}.{check}\" name=\"{subject}\">");
        let (message, severity) = (escaped(&complaint.message), complaint.severity.name());
        let check = answer.checks.iter().find(|check| check.id == complaint.check);
        let remedy = check.map_or(String::new(), |check| escaped(&check.remedy));
        let _ = writeln!(
            out,
            "      <failure type=\"{severity}\" message=\"{message}\">{message}&#10;{remedy}</failure>"
        );
        out.push_str("    </testcase>\n");
    }
    if !answer.notes.is_empty() {
        let notes: Vec<String> = answer.notes.iter().map(|note| escaped(note)).collect();
        let _ = writeln!(out, "    <system-out>{}</system-out>", notes.join("&#10;"));
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

/// Escapes for elements and attributes; what may not stand in XML at all is written out first.
fn escaped(text: &str) -> String {
    escape::html(&visible(text)).into_owned()
}
