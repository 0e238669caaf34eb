//! The graph as a Mermaid flowchart, for Markdown pages.
//!
//! # Sources
//!
//! Mermaid, "Flowcharts - Basic Syntax": quoted labels, entity codes (`#quot;`, `#35;`), `linkStyle` by number.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::graph::{Graph, Node, NodeKind};
use crate::strands::strands;
use crate::style::{Look, visible};

impl Graph {
    /// Writes the graph as Mermaid.
    pub fn to_mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        let _ = writeln!(text, "  %% {}", self.caption().join("; "));
        let numbers: BTreeMap<&str, usize> =
            self.nodes.iter().enumerate().map(|(number, node)| (node.id.as_str(), number)).collect();
        let mut projects: BTreeMap<&str, Vec<&Node>> = BTreeMap::new();
        for node in &self.nodes {
            projects.entry(&node.project).or_default().push(node);
        }
        for (number, (project, nodes)) in projects.iter().enumerate() {
            if !project.is_empty() {
                let _ = writeln!(text, "  subgraph p{number}[{}]", quoted(&[project]));
            }
            for node in nodes {
                if let Some(number) = numbers.get(node.id.as_str()) {
                    let _ = writeln!(text, "    n{number}{}", shape(node));
                }
            }
            if !project.is_empty() {
                text.push_str("  end\n");
            }
        }
        let mut styles: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut drawn = 0_usize;
        for strand in strands(&self.edges) {
            let ends = (numbers.get(strand.source), numbers.get(strand.target));
            let (Some(source), Some(target)) = ends else { continue };
            let (arrow, class) = match strand.look {
                Look::Plain => ("-->", None),
                Look::Guess | Look::ProxyLeg => ("-.->", None),
                Look::Fault(_) => ("==>", Some(FAULT)),
                Look::Failed(_) => ("--x", Some(FAILED)),
            };
            let lines: Vec<&str> = strand.lines.iter().map(String::as_str).collect();
            let _ = writeln!(text, "  n{source} {arrow}|{}| n{target}", quoted(&lines));
            if let Some(class) = class {
                styles.entry(class).or_default().push(drawn.to_string());
            }
            drawn += 1;
        }
        for (style, links) in styles {
            let _ = writeln!(text, "  linkStyle {} {style}", links.join(","));
        }
        text.push_str(CLASSES);
        for (number, node) in self.nodes.iter().enumerate() {
            if let Some(class) = class(node) {
                let _ = writeln!(text, "  class n{number} {class}");
            }
        }
        text
    }
}

const FAULT: &str = "stroke:#c00000,stroke-width:3px,color:#c00000";
const FAILED: &str = "stroke:#999999,color:#777777";
const CLASSES: &str = "  classDef silent stroke-dasharray:3 3,color:#777777
  classDef outside fill:#ffffff,stroke:#555555
";

fn class(node: &Node) -> Option<&'static str> {
    match node.kind {
        NodeKind::Workload if node.is_silent() => Some("silent"),
        NodeKind::Workload => None,
        NodeKind::Host
        | NodeKind::External
        | NodeKind::Unclaimed
        | NodeKind::Multicast
        | NodeKind::Ambiguous
        | NodeKind::Address
        | NodeKind::Other => Some("outside"),
    }
}

fn shape(node: &Node) -> String {
    let label = quoted(&[&node.title]);
    match node.kind {
        NodeKind::Workload => format!("[{label}]"),
        NodeKind::Host => format!("[/{label}\\]"),
        NodeKind::External => format!("(({label}))"),
        NodeKind::Unclaimed | NodeKind::Ambiguous => format!("{{{label}}}"),
        NodeKind::Multicast => format!("[\\{label}/]"),
        NodeKind::Address => format!("([{label}])"),
        NodeKind::Other => format!("[[{label}]]"),
    }
}

/// Quotes lines of text as a label. Everything but letters, digits and plain punctuation becomes an entity code, so
/// that neither Mermaid nor the HTML it makes takes a name for markup.
pub(crate) fn quoted(lines: &[&str]) -> String {
    let mut text = String::from("\"");
    for (number, line) in lines.iter().enumerate() {
        if number > 0 {
            text.push_str("<br/>");
        }
        for character in visible(line).chars() {
            let is_plain = character.is_alphanumeric() || " -_./:,×".contains(character);
            if is_plain {
                text.push(character);
            } else {
                let _ = write!(text, "#{};", u32::from(character));
            }
        }
    }
    text.push('"');
    text
}
