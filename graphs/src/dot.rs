//! The graph as Graphviz DOT, laid out from left to right.
//!
//! # Sources
//!
//! Graphviz: "The DOT Language" and "Escape Strings". In a quoted string only `"` ends it; in a label, `\` begins an
//! escape.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::graph::{Edge, Graph, Group, Node, NodeKind};
use crate::style::{Look, look, short_bytes, short_count, visible};

impl Graph {
    /// Writes the graph for `dot -Tsvg`.
    pub fn to_dot(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "digraph portolan {{");
        text.push_str(HEADER);
        let mut projects: BTreeMap<&str, Vec<&Node>> = BTreeMap::new();
        for node in &self.nodes {
            projects.entry(&node.project).or_default().push(node);
        }
        for (number, (project, nodes)) in projects.iter().enumerate() {
            let is_cluster = !project.is_empty();
            if is_cluster {
                let _ = writeln!(text, "  subgraph cluster_{number} {{\n    label={};", quoted(&[project]));
                text.push_str(CLUSTER);
            }
            for node in nodes {
                let _ =
                    writeln!(text, "  {}{}", if is_cluster { "  " } else { "" }, node_line(node, self.group));
            }
            if is_cluster {
                text.push_str("  }\n");
            }
        }
        for edge in &self.edges {
            let _ = writeln!(text, "  {}", edge_line(edge));
        }
        if self.edges_folded > 0 {
            let note = format!("{} edges folded into other", self.edges_folded);
            let _ = writeln!(text, "  label={};", quoted(&[&note]));
        }
        text.push_str("}\n");
        text
    }
}

const HEADER: &str = "  graph [rankdir=LR, nodesep=0.35, ranksep=1.4, fontname=\"Helvetica\", fontsize=12];
  node [fontname=\"Helvetica\", fontsize=12, style=\"filled,rounded\", fillcolor=\"#f7f7f7\", color=\"#555555\"];
  edge [fontname=\"Helvetica\", fontsize=10, color=\"#333333\", fontcolor=\"#333333\", arrowsize=0.7];
";
const CLUSTER: &str = "    style=\"rounded\"; color=\"#bbbbbb\"; fontcolor=\"#555555\"; fontsize=12; labeljust=\"l\"; margin=14;\n";
/// Most idle ports a node spells out.
const IDLE_PORTS_MAX: usize = 4;

fn node_line(node: &Node, group: Group) -> String {
    let mut lines = vec![node.title.clone()];
    let is_many = node.containers > 1;
    match group {
        Group::Service if is_many => lines.push(format!("{} replicas", node.containers)),
        Group::Project | Group::Network if is_many => lines.push(format!("{} containers", node.containers)),
        Group::Service | Group::Container | Group::Project | Group::Network => {}
    }
    if node.is_undeclared {
        lines.push("undeclared".to_owned());
    }
    if !node.idle_ports.is_empty() {
        let mut ports: Vec<String> =
            node.idle_ports.iter().take(IDLE_PORTS_MAX).map(ToString::to_string).collect();
        if node.idle_ports.len() > IDLE_PORTS_MAX {
            ports.push(format!("{} more", node.idle_ports.len() - IDLE_PORTS_MAX));
        }
        lines.push(format!("idle: {}", ports.join(", ")));
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let is_silent = node.kind == NodeKind::Workload && node.sent_bytes + node.received_bytes == 0;
    let silent = if is_silent { ", style=\"rounded,dotted\", fontcolor=\"#777777\"" } else { "" };
    let shape = match node.kind {
        NodeKind::Workload => "box",
        NodeKind::Host => "house",
        NodeKind::External => "doublecircle",
        NodeKind::Unclaimed | NodeKind::Ambiguous => "diamond",
        NodeKind::Multicast => "trapezium",
        NodeKind::Address => "ellipse",
        NodeKind::Other => "folder",
    };
    format!("{} [label={}, shape={shape}{silent}];", quoted(&[&node.id]), quoted(&lines))
}

fn edge_line(edge: &Edge) -> String {
    let look = look(edge);
    let mut lines = vec![edge.port.to_string()];
    if let Some(via) = &edge.via {
        lines.push(format!("via {via}"));
    }
    lines.push(volume(edge));
    if let Some(word) = look.word() {
        lines.insert(0, word.to_owned());
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let style = match look {
        Look::Plain => "",
        Look::Guess => ", style=\"dashed\"",
        Look::ProxyLeg => ", style=\"dotted\", color=\"#777777\", fontcolor=\"#777777\"",
        Look::Fault(_) => ", color=\"#c00000\", fontcolor=\"#c00000\", penwidth=2.6",
        Look::Failed(_) => ", color=\"#999999\", fontcolor=\"#777777\", arrowhead=\"teetee\"",
    };
    format!("{} -> {} [label={}{style}];", quoted(&[&edge.source]), quoted(&[&edge.target]), quoted(&lines))
}

/// Writes `112 conns, 471 KiB`.
fn volume(edge: &Edge) -> String {
    let connections = edge.connections.attempted();
    let bytes = edge.sent.bytes.saturating_add(edge.received.bytes);
    format!("{}x, {}", short_count(connections), short_bytes(bytes))
}

/// Quotes lines of text for DOT, as id or as label: characters that mean something are escaped, those that would
/// break lines or change the reading direction are written out as `<U+202E>`.
fn quoted(lines: &[&str]) -> String {
    let mut text = String::from("\"");
    for (number, line) in lines.iter().enumerate() {
        if number > 0 {
            text.push_str("\\n");
        }
        for character in visible(line).chars() {
            if character == '"' || character == '\\' {
                text.push('\\');
            }
            text.push(character);
        }
    }
    text.push('"');
    text
}
