//! The page in the browser: findings, edges, where the rest is. No scripts; everything escaped.

use std::fmt::Write as _;

use portolan_flowtable::{Completeness, Timestamp};
use portolan_graphs::Edge;
use portolan_policy::Finding;

use crate::escape::html;
use crate::publication::Publication;

/// Rows of a table; who wants all asks the API.
const ROWS_MAX: usize = 500;

pub(super) const STYLE: &str = "
:root { color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif; }
body { margin: 1.5rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
th, td { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #8884; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.high, .marked { color: #c0392b; font-weight: 600; }
.medium { color: #b9770e; font-weight: 600; }
.quiet { opacity: .7; }
";

pub(super) fn page(publication: &Publication) -> String {
    let snapshot = &publication.assessment.snapshot;
    let vitals = &publication.vitals;
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta http-equiv=\"refresh\" content=\"5\">\n\
         <link rel=\"stylesheet\" href=\"/style.css\">\n",
    );
    let host = html(&vitals.host);
    put(
        &mut page,
        format_args!("<title>Portolan on {host}</title>\n</head>\n<body>\n<h1>Portolan on {host}</h1>\n"),
    );
    put(
        &mut page,
        format_args!(
            "<p>{} <span class=\"quiet\">as of {}</span></p>\n",
            completeness(publication),
            seconds(snapshot.at)
        ),
    );
    if let Some(stale) = &snapshot.stale {
        put(&mut page, format_args!("<p class=\"medium\">names may be out of date: {}</p>\n", html(stale)));
    }
    findings(&mut page, &publication.assessment.findings);
    edges(&mut page, &publication.graph.edges);
    page.push_str(
        "<p><a href=\"/metrics\">metrics</a> <a href=\"/api/v1/graph\">graph</a> \
         <a href=\"/api/v1/graph?format=dot\">graph as DOT</a> <a href=\"/api/v1/findings\">findings</a> \
         <a href=\"/api/v1/flows\">flows</a> <a href=\"/api/v1/status\">status</a></p>\n</body>\n</html>\n",
    );
    page
}

/// A person reads seconds; the API has nanoseconds.
fn seconds(at: Timestamp) -> String {
    let text = at.to_string();
    let (second, _) = text.split_once('.').unwrap_or((&text, ""));
    format!("{} UTC", second.replace('T', " "))
}

fn completeness(publication: &Publication) -> String {
    let completeness = &publication.assessment.snapshot.completeness;
    let reasons = match completeness {
        Completeness::Complete => return "<strong>complete</strong>".to_owned(),
        Completeness::Incomplete { reasons, .. } | Completeness::Unknown { reasons } => reasons,
    };
    format!("<strong class=\"medium\">{}</strong>: {}", completeness.word(), html(&reasons.join("; ")))
}

fn findings(page: &mut String, findings: &[Finding]) {
    put(page, format_args!("<h2>Findings ({})</h2>\n", findings.len()));
    if findings.is_empty() {
        return;
    }
    page.push_str(
        "<table>\n<tr><th>severity</th><th>kind</th><th>who</th><th>how far</th><th>what</th><th>against</th>\
         <th>since</th></tr>\n",
    );
    for finding in findings.iter().take(ROWS_MAX) {
        let severity = finding.severity.name();
        let port = finding.port.map(|port| format!(":{port}")).unwrap_or_default();
        put(
            page,
            format_args!(
                "<tr><td class=\"{severity}\">{severity}</td><td>{}</td><td>{} &rarr; {}{port}</td><td>{}</td>\
                 <td>{}</td><td>{}</td><td>{}</td></tr>\n",
                finding.kind.words(),
                html(&finding.initiator),
                html(&finding.responder),
                html(&finding.reached),
                html(&finding.summary),
                html(&finding.against),
                seconds(finding.first_at),
            ),
        );
    }
    close(page, findings.len());
}

fn edges(page: &mut String, edges: &[Edge]) {
    put(page, format_args!("<h2>Edges ({})</h2>\n", edges.len()));
    if edges.is_empty() {
        return;
    }
    page.push_str(
        "<table>\n<tr><th>from</th><th>to</th><th></th><th class=\"number\">connections</th>\
         <th class=\"number\">failed</th><th class=\"number\">sent, bytes</th><th class=\"number\">received, bytes</th>\
         <th>verdict</th><th>documented by</th></tr>\n",
    );
    for edge in edges.iter().take(ROWS_MAX) {
        let via = edge.via.as_ref().map(|via| format!(" via {via}")).unwrap_or_default();
        let mark = if edge.findings.is_empty() { "" } else { "!" };
        put(
            page,
            format_args!(
                "<tr><td>{}</td><td>{}:{}{}</td><td class=\"marked\">{mark}</td><td class=\"number\">{}</td>\
                 <td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td>{}</td>\
                 <td>{}</td></tr>\n",
                html(&edge.source),
                html(&edge.target),
                edge.port,
                html(&via),
                edge.connections.answered,
                edge.connections.failed(),
                edge.sent.bytes,
                edge.received.bytes,
                edge.verdict.words(),
                html(if edge.documented_by.is_empty() { "nothing" } else { &edge.documented_by }),
            ),
        );
    }
    close(page, edges.len());
}

fn close(page: &mut String, rows: usize) {
    page.push_str("</table>\n");
    if let Some(further) = rows.checked_sub(ROWS_MAX).filter(|further| *further > 0) {
        put(page, format_args!("<p class=\"quiet\">and {further} more</p>\n"));
    }
}

fn put(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("a String never refuses text");
}
