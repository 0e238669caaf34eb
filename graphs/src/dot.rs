//! The graph as Graphviz DOT, laid out from left to right.
//!
//! # Sources
//!
//! Graphviz: "The DOT Language" and "Escape Strings". In a quoted string only `"` ends it; in a label, `\` begins an
//! escape.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::graph::{Graph, Group, Node, NodeKind};
use crate::strands::{Strand, strands};
use crate::style::{Look, visible};

impl Graph {
    /// Writes the graph for `dot -Tsvg`.
    pub fn to_dot(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "digraph portolan {{");
        text.push_str(HEADER);
        let ids = Ids::new(&self.nodes);
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
                let _ = writeln!(
                    text,
                    "  {}{}",
                    if is_cluster { "  " } else { "" },
                    node_line(&ids, node, self.group)
                );
            }
            if is_cluster {
                text.push_str("  }\n");
            }
        }
        // Callers from outside stand on the left, whatever is called out there.
        for caller in ["external", "host"] {
            let mut own = self.edges.iter().filter(|edge| edge.source == caller && edge.target != caller);
            if own.next().is_some() {
                let _ = writeln!(text, "  {{ rank=source; {}; }}", quoted(&[caller]));
            }
        }
        for strand in strands(&self.edges) {
            let _ = writeln!(text, "  {}", strand_line(&ids, &strand));
        }
        let caption = self.caption();
        let caption: Vec<&str> = caption.iter().map(String::as_str).collect();
        let _ = writeln!(text, "  label={}; labelloc=\"b\"; labeljust=\"l\";", quoted(&caption));
        text.push_str("}\n");
        text
    }
}

pub(crate) const HEADER: &str = "  graph [rankdir=LR, nodesep=0.35, ranksep=1.4, fontname=\"Helvetica\", fontsize=12];
  node [fontname=\"Helvetica\", fontsize=12, style=\"filled,rounded\", fillcolor=\"#f7f7f7\", color=\"#555555\"];
  edge [fontname=\"Helvetica\", fontsize=10, color=\"#333333\", fontcolor=\"#333333\", arrowsize=0.7];
";
const CLUSTER: &str = "    style=\"rounded\"; color=\"#bbbbbb\"; fontcolor=\"#555555\"; fontsize=12; labeljust=\"l\"; margin=14;\n";
/// Most idle ports a node spells out.
const IDLE_PORTS_MAX: usize = 4;

fn node_line(ids: &Ids<'_>, node: &Node, group: Group) -> String {
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
    let silent = if node.is_silent() { ", style=\"rounded,dotted\", fontcolor=\"#777777\"" } else { "" };
    let shape = match node.kind {
        NodeKind::Workload => "box",
        NodeKind::Host => "house",
        NodeKind::External => "ellipse, peripheries=2",
        NodeKind::Unclaimed | NodeKind::Ambiguous => "diamond",
        NodeKind::Multicast => "trapezium",
        NodeKind::Address => "ellipse",
        NodeKind::Other => "folder",
    };
    format!("{} [label={}, shape={shape}{silent}];", ids.quoted(&node.id), quoted(&lines))
}

fn strand_line(ids: &Ids<'_>, strand: &Strand<'_>) -> String {
    let style = match strand.look {
        Look::Plain => "",
        Look::Guess => ", style=\"dashed\"",
        Look::ProxyLeg => ", style=\"dotted\", color=\"#777777\", fontcolor=\"#777777\"",
        Look::Fault(_) => ", color=\"#c00000\", fontcolor=\"#c00000\", penwidth=2.6",
        Look::Failed(_) => ", color=\"#999999\", fontcolor=\"#777777\", arrowhead=\"teetee\"",
    };
    let lines: Vec<&str> = strand.lines.iter().map(String::as_str).collect();
    format!(
        "{} -> {} [label={}{style}];",
        ids.quoted(strand.source),
        ids.quoted(strand.target),
        quoted(&lines)
    )
}

/// Names the nodes of one picture.
struct Ids<'a>(BTreeMap<&'a str, usize>);

impl<'a> Ids<'a> {
    fn new(nodes: &'a [Node]) -> Self {
        Self(nodes.iter().enumerate().map(|(number, node)| (node.id.as_str(), number)).collect())
    }

    /// Quotes a node's id. One that cannot be shown as it is goes by a number behind a blank, which no id that is
    /// shown begins with, so that two nodes never become one.
    fn quoted(&self, id: &str) -> String {
        match self.0.get(id) {
            Some(number) if visible(id) != id || id.starts_with(' ') => format!("\" {number}\""),
            Some(_) | None => quoted(&[id]),
        }
    }
}

/// Quotes lines of text for DOT: characters that mean something are escaped, those that would break lines or
/// change the reading direction are written out as `<U+202E>`.
pub(crate) fn quoted(lines: &[&str]) -> String {
    let mut text = String::from("\"");
    for (number, line) in lines.iter().enumerate() {
        if number > 0 {
            text.push_str("\\n");
        }
        for character in visible(line).chars() {
            match character {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                // Graphviz reads HTML's character references in every text.
                '&' => text.push_str("&amp;"),
                plain => text.push(plain),
            }
        }
    }
    text.push('"');
    text
}
