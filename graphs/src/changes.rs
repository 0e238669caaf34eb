//! How two contracts differ, as a graph: who may call whom in one of them and not in the other.
//!
//! What no two ends are joined by (ports, modes, standard rules) stands in a box of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use portolan_policy::{Change, Link, LinkWord};

use crate::{dot, mermaid};

/// Writes changes for `dot -Tsvg`: what the second contract adds in blue, what it takes away in grey and dashed; what is
/// denied ends in a bar.
pub fn changes_to_dot(changes: &[Change]) -> String {
    let mut text = String::from("digraph changes {\n");
    text.push_str(dot::HEADER);
    let nodes = nodes(changes);
    for (name, number) in &nodes {
        let _ = writeln!(text, "  n{number} [label={}, shape=box];", dot::quoted(&[name]));
    }
    for (change, link) in links(changes) {
        let Some((from, to)) = ends(&nodes, link) else { continue };
        let label = dot::quoted(&[&label(change, link), &change.place]);
        let colour = if change.is_added { ADDED } else { GONE };
        let style = if change.is_added { "solid, penwidth=2.2" } else { "dashed" };
        let head = match (link.is_both, link.word) {
            (true, LinkWord::Deny) => ", dir=both, arrowhead=teetee, arrowtail=teetee",
            (true, LinkWord::Allow | LinkWord::Expect) => ", dir=both",
            (false, LinkWord::Deny) => ", arrowhead=teetee",
            (false, LinkWord::Allow | LinkWord::Expect) => "",
        };
        let _ = writeln!(
            text,
            "  n{from} -> n{to} [label={label}, color=\"{colour}\", fontcolor=\"{colour}\", style={style}{head}];"
        );
    }
    for (number, change) in others(changes).enumerate() {
        let label = dot::quoted(&[&format!("{} {}", sign(change), change.fact), &change.place]);
        let colour = if change.is_added { ADDED } else { GONE };
        let _ = writeln!(text, "  o{number} [label={label}, shape=note, color=\"{colour}\"];");
    }
    text.push_str("}\n");
    text
}

/// Writes changes as Mermaid, for Markdown pages: what the second contract adds with a thick line, what it takes away
/// with a dotted one.
pub fn changes_to_mermaid(changes: &[Change]) -> String {
    let mut text = String::from("flowchart LR\n");
    let nodes = nodes(changes);
    for (name, number) in &nodes {
        let _ = writeln!(text, "  n{number}[{}]", mermaid::quoted(&[name]));
    }
    for (change, link) in links(changes) {
        let Some((from, to)) = ends(&nodes, link) else { continue };
        let arrow = match (change.is_added, link.is_both) {
            (true, false) => "==>",
            (true, true) => "<==>",
            (false, false) => "-.->",
            (false, true) => "<-.->",
        };
        let label = mermaid::quoted(&[&label(change, link), &change.place]);
        let _ = writeln!(text, "  n{from} {arrow}|{label}| n{to}");
    }
    for (number, change) in others(changes).enumerate() {
        let label = mermaid::quoted(&[&format!("{} {}", sign(change), change.fact), &change.place]);
        let _ = writeln!(text, "  o{number}([{label}])");
    }
    text
}

const ADDED: &str = "#0b5cad";
const GONE: &str = "#777777";

fn sign(change: &Change) -> char {
    if change.is_added { '+' } else { '-' }
}

/// Writes `+ expects 5432/tcp`.
fn label(change: &Change, link: &Link) -> String {
    let more = if link.more.is_empty() { String::new() } else { format!(", {}", link.more) };
    format!("{} {} {}{more}", sign(change), link.word.name(), link.on)
}

fn links(changes: &[Change]) -> impl Iterator<Item = (&Change, &Link)> {
    changes.iter().filter_map(|change| change.link.as_ref().map(|link| (change, link)))
}

fn others(changes: &[Change]) -> impl Iterator<Item = &Change> {
    changes.iter().filter(|change| change.link.is_none())
}

fn nodes(changes: &[Change]) -> BTreeMap<&str, usize> {
    let mut nodes = BTreeMap::new();
    for (_, link) in links(changes) {
        nodes.insert(link.from.as_str(), 0);
        nodes.insert(link.to.as_str(), 0);
    }
    nodes.values_mut().enumerate().for_each(|(number, at)| *at = number);
    nodes
}

fn ends(nodes: &BTreeMap<&str, usize>, link: &Link) -> Option<(usize, usize)> {
    Some((*nodes.get(link.from.as_str())?, *nodes.get(link.to.as_str())?))
}

#[cfg(test)]
mod tests {
    use portolan_policy::Contract;

    use super::*;

    fn changes(before: &str, after: &str) -> Vec<Change> {
        let read = |text| Contract::parse(text, "c.toml").expect("a contract");
        read(before).changes_to(&read(after))
    }

    const BEFORE: &str = "[[service]]\nservice = \"shop/db\"\ninitiators = \"shop/cart\"\n";
    const AFTER: &str = "[[service]]\nservice = \"shop/db\"\ninitiators = \"shop/web\"\nmode = \"learn\"\n\
        [[rule]]\naction = \"deny\"\nfrom = \"label:a\\\"]--\\u202e\"\nto = \"shop/db\"\nports = 22\n";

    #[test]
    fn what_joins_two_ends_is_an_edge_and_all_else_a_box() {
        let dot = changes_to_dot(&changes(BEFORE, AFTER));
        for line in [
            "  n1 [label=\"shop/cart\", shape=box];",
            "  n1 -> n2 [label=\"- expects any port\\nc.toml:3\", color=\"#777777\", fontcolor=\"#777777\", style=dashed];",
            "  n3 -> n2 [label=\"+ expects any port\\nc.toml:3\", color=\"#0b5cad\", fontcolor=\"#0b5cad\", style=solid, penwidth=2.2];",
            "  n0 [label=\"label:a\\\"]--<U+202E>\", shape=box];",
            "  n0 -> n2 [label=\"+ denies 22/tcp, severity high\\nc.toml:5\", color=\"#0b5cad\", fontcolor=\"#0b5cad\", style=solid, penwidth=2.2, arrowhead=teetee];",
            "  o0 [label=\"+ shop/db is in mode learn\\nc.toml:4\", shape=note, color=\"#0b5cad\"];",
        ] {
            assert!(dot.contains(line), "{line}\n{dot}");
        }
        let mermaid = changes_to_mermaid(&changes(BEFORE, AFTER));
        for line in [
            "  n0[\"label:a#34;#93;--#60;U#43;202E#62;\"]",
            "  n1 -.->|\"- expects any port<br/>c.toml:3\"| n2",
            "  n3 ==>|\"#43; expects any port<br/>c.toml:3\"| n2",
        ] {
            assert!(mermaid.contains(line), "{line}\n{mermaid}");
        }
        assert_eq!(changes_to_mermaid(&[]), "flowchart LR\n");
    }
}
