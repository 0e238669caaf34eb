//! The graph as GraphML, for yEd, Gephi, igraph and others.
//!
//! # Sources
//!
//! GraphML primer (graphml.graphdrawing.org): `key` declares what nodes and edges carry, `data` carries it. Ids are
//! NMTOKENs, so they are numbers here; the names stand in the key `name`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::graph::Graph;
use crate::style::look;
use crate::xml::escaped;

/// What nodes carry: name and type.
const NODE_KEYS: [(&str, &str); 7] = [
    ("name", "string"),
    ("label", "string"),
    ("kind", "string"),
    ("project", "string"),
    ("containers", "long"),
    ("sent_bytes", "long"),
    ("received_bytes", "long"),
];
/// What edges carry.
const EDGE_KEYS: [(&str, &str); 14] = [
    ("name", "string"),
    ("label", "string"),
    ("port", "string"),
    ("verdict", "string"),
    ("said", "string"),
    ("documented_by", "string"),
    ("network", "string"),
    ("connections", "long"),
    ("failed", "long"),
    ("sent_bytes", "long"),
    ("received_bytes", "long"),
    ("first_at", "string"),
    ("last_at", "string"),
    ("findings", "string"),
];

impl Graph {
    /// Writes the graph as GraphML. Counts beyond what a `long` holds are written as its largest.
    pub fn to_graphml(&self) -> String {
        let mut text = String::from(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<graphml xmlns=\"http://graphml.graphdrawing.org/xmlns\">\n",
        );
        for (of, keys) in [("node", NODE_KEYS.as_slice()), ("edge", EDGE_KEYS.as_slice())] {
            for (name, kind) in keys {
                let _ = writeln!(
                    text,
                    "  <key id=\"{of}-{name}\" for=\"{of}\" attr.name=\"{name}\" attr.type=\"{kind}\"/>"
                );
            }
        }
        text.push_str("  <graph id=\"portolan\" edgedefault=\"directed\">\n");
        let numbers: BTreeMap<&str, usize> =
            self.nodes.iter().enumerate().map(|(number, node)| (node.id.as_str(), number)).collect();
        let long = |count: u64| i64::try_from(count).unwrap_or(i64::MAX).to_string();
        for (number, node) in self.nodes.iter().enumerate() {
            let values = [
                node.id.clone(),
                node.title.clone(),
                node.kind.name().to_owned(),
                node.project.clone(),
                long(node.containers),
                long(node.sent_bytes),
                long(node.received_bytes),
            ];
            let _ =
                writeln!(text, "    <node id=\"n{number}\">{}</node>", carried("node", &NODE_KEYS, &values));
        }
        for (number, edge) in self.edges.iter().enumerate() {
            let (Some(source), Some(target)) =
                (numbers.get(edge.source.as_str()), numbers.get(edge.target.as_str()))
            else {
                continue;
            };
            let said = look(edge).word().unwrap_or_default();
            let port = edge.port.to_string();
            let label = if said.is_empty() { port.clone() } else { format!("{port} {said}") };
            let values = [
                edge.id.clone(),
                label,
                port,
                edge.verdict.name().to_owned(),
                said.to_owned(),
                edge.documented_by.clone(),
                edge.network.clone(),
                long(edge.connections.attempted()),
                long(edge.connections.failed()),
                long(edge.sent.bytes),
                long(edge.received.bytes),
                edge.first_at.to_string(),
                edge.last_at.to_string(),
                edge.findings.join(" "),
            ];
            let _ = writeln!(
                text,
                "    <edge id=\"e{number}\" source=\"n{source}\" target=\"n{target}\">{}</edge>",
                carried("edge", &EDGE_KEYS, &values)
            );
        }
        text.push_str("  </graph>\n</graphml>\n");
        text
    }
}

fn carried(of: &str, keys: &[(&str, &str)], values: &[String]) -> String {
    let parts = keys
        .iter()
        .zip(values)
        .map(|((name, _), value)| format!("<data key=\"{of}-{name}\">{}</data>", escaped(value)));
    parts.collect()
}
