//! What became of a graph: edges and nodes that came or went, verdicts that changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use portolan_flowtable::Timestamp;
use portolan_policy::Verdict;
use serde::Serialize;

use crate::graph::{Edge, Graph};
use crate::style::{beside_verdict, look, visible};

/// How one graph differs from an earlier one. Figures that only grow are no difference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// When the earlier picture was taken.
    pub from: Timestamp,
    /// When the later one was.
    pub to: Timestamp,
    /// Edges of the later one alone.
    pub added: Vec<Edge>,
    /// Edges of the earlier one alone.
    pub removed: Vec<Edge>,
    /// Edges of both whose verdict, findings or outcome are others.
    pub changed: Vec<Changed>,
    /// Edges of both that are the same.
    pub unchanged: usize,
    /// Ids of nodes of the later one alone.
    pub nodes_added: Vec<String>,
    /// Ids of nodes of the earlier one alone.
    pub nodes_removed: Vec<String>,
}

/// An edge that is judged otherwise, or fares otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    /// Its id.
    pub id: String,
    /// Verdict of the earlier one.
    pub was: Verdict,
    /// Verdict of the later one.
    pub is: Verdict,
    /// What was said about it beside the verdict: `refused`; empty for nothing.
    pub was_said: String,
    /// What is.
    pub is_said: String,
    /// Findings it had and has no more.
    pub findings_gone: Vec<String>,
    /// Findings it had not.
    pub findings_new: Vec<String>,
}

impl Graph {
    /// Compares with a later graph of the same grouping.
    pub fn difference(&self, later: &Self) -> Difference {
        let old: BTreeMap<&str, &Edge> = self.edges.iter().map(|edge| (edge.id.as_str(), edge)).collect();
        let new: BTreeMap<&str, &Edge> = later.edges.iter().map(|edge| (edge.id.as_str(), edge)).collect();
        let alone = |edges: &[Edge], other: &BTreeMap<&str, &Edge>| -> Vec<Edge> {
            edges.iter().filter(|edge| !other.contains_key(edge.id.as_str())).cloned().collect()
        };
        let both = new.iter().filter_map(|(id, edge)| Some((*old.get(id)?, *edge)));
        let (mut changed, mut unchanged) = (Vec::new(), 0);
        for (was, is) in both {
            match change(was, is) {
                Some(change) => changed.push(change),
                None => unchanged += 1,
            }
        }
        let ids =
            |graph: &Self| -> BTreeSet<String> { graph.nodes.iter().map(|node| node.id.clone()).collect() };
        let (nodes_before, nodes_after) = (ids(self), ids(later));
        Difference {
            from: self.at,
            to: later.at,
            added: alone(&later.edges, &old),
            removed: alone(&self.edges, &new),
            changed,
            unchanged,
            nodes_added: nodes_after.difference(&nodes_before).cloned().collect(),
            nodes_removed: nodes_before.difference(&nodes_after).cloned().collect(),
        }
    }
}

fn change(was: &Edge, is: &Edge) -> Option<Changed> {
    let said = |edge: &Edge| beside_verdict(edge).word().unwrap_or_default().to_owned();
    let missing = |of: &[String], from: &[String]| -> Vec<String> {
        of.iter().filter(|id| !from.contains(id)).cloned().collect()
    };
    let changed = Changed {
        id: is.id.clone(),
        was: was.verdict,
        is: is.verdict,
        was_said: said(was),
        is_said: said(is),
        findings_gone: missing(&was.findings, &is.findings),
        findings_new: missing(&is.findings, &was.findings),
    };
    let is_same = changed.was == changed.is
        && changed.was_said == changed.is_said
        && changed.findings_gone.is_empty()
        && changed.findings_new.is_empty();
    (!is_same).then_some(changed)
}

impl Difference {
    /// Returns whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.removed.is_empty()
            && self.changed.is_empty()
            && self.nodes_added.is_empty()
            && self.nodes_removed.is_empty()
    }

    /// Writes one line a difference: `+`, `-` or `~`, what, and what is said about it.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |sign: &str, what: &str, said: &str| {
            let gap = if said.is_empty() { "" } else { "   " };
            let _ = writeln!(text, "{sign} {}{gap}{}", visible(what), visible(said));
        };
        for node in &self.nodes_added {
            line("+", node, "");
        }
        for node in &self.nodes_removed {
            line("-", node, "");
        }
        for edge in &self.added {
            line("+", &edge.id, look(edge).word().unwrap_or(edge.verdict.words()));
        }
        for edge in &self.removed {
            line("-", &edge.id, edge.verdict.words());
        }
        for changed in &self.changed {
            line("~", &changed.id, &changed.in_words());
        }
        let _ = writeln!(
            text,
            "{} added, {} removed, {} changed, {} the same, from {:.19}Z to {:.19}Z",
            self.added.len(),
            self.removed.len(),
            self.changed.len(),
            self.unchanged,
            self.from.to_string(),
            self.to.to_string()
        );
        text
    }
}

impl Changed {
    /// Says what changed and nothing that did not: verdict, what is said beside it, findings.
    fn in_words(&self) -> String {
        let mut words = Vec::new();
        if self.was != self.is {
            words.push(format!("{}, then {}", self.was.words(), self.is.words()));
        }
        match (self.was_said.as_str(), self.is_said.as_str()) {
            (was, is) if was == is => {}
            ("", is) => words.push(format!("{is} since")),
            (was, "") => words.push(format!("{was} no more")),
            (was, is) => words.push(format!("{was}, then {is}")),
        }
        // A verdict that changed says what was found.
        if words.is_empty() {
            for (word, ids) in [("found", &self.findings_new), ("cleared", &self.findings_gone)] {
                if !ids.is_empty() {
                    words.push(format!("{word}: {}", ids.join(" ")));
                }
            }
        }
        words.join("; ")
    }
}
