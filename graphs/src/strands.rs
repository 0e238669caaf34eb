//! Strands: the edges of a picture that are drawn as one line, so that many ports between two nodes stay readable.

use std::collections::BTreeMap;

use crate::graph::Edge;
use crate::style::{Look, look, volume};

/// Most names of an end outside a strand spells out.
const NAMES_SHOWN: usize = 2;
/// Most ports a strand spells out.
const PORTS_MAX: usize = 6;

/// Edges from one node to another that look the same.
#[derive(Debug)]
pub(crate) struct Strand<'a> {
    pub(crate) source: &'a str,
    pub(crate) target: &'a str,
    pub(crate) look: Look,
    /// What is written on it.
    pub(crate) lines: Vec<String>,
}

/// Gathers edges into strands, in the order of source, target and look. A node's edges to itself are one strand, of
/// the gravest look, since several loops cover each other.
pub(crate) fn strands(edges: &[Edge]) -> Vec<Strand<'_>> {
    let mut bundles: BTreeMap<(&str, &str, Option<Look>), Vec<&Edge>> = BTreeMap::new();
    for edge in edges {
        let is_loop = edge.source == edge.target;
        let look = (!is_loop).then(|| look(edge));
        bundles.entry((&edge.source, &edge.target, look)).or_default().push(edge);
    }
    bundles.into_iter().filter_map(|((source, target, _), edges)| strand(source, target, edges)).collect()
}

fn strand<'a>(source: &'a str, target: &'a str, mut edges: Vec<&Edge>) -> Option<Strand<'a>> {
    // Stable: of the same look, by port.
    edges.sort_by_key(|edge| look(edge));
    let gravest = edges.first().map(|edge| look(edge))?;
    let lines = match edges.as_slice() {
        [only] => {
            let mut lines: Vec<String> = gravest.word().map(str::to_owned).into_iter().collect();
            lines.push(only.port.to_string());
            lines.extend(only.via.as_ref().map(|via| format!("via {via}")));
            lines.extend(names_line(only));
            lines.push(volume(only));
            lines
        }
        several => several_lines(several),
    };
    Some(Strand { source, target, look: gravest, lines })
}

/// Says what the end outside is called.
fn names_line(edge: &Edge) -> Option<String> {
    let mut line = edge.names.iter().take(NAMES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    let more = edge.names.len().saturating_sub(NAMES_SHOWN) as u64 + edge.names_left_out;
    if more > 0 {
        line.push_str(&format!(" and {more} more"));
    }
    (!edge.names.is_empty()).then_some(line)
}

fn several_lines(edges: &[&Edge]) -> Vec<String> {
    let first = edges.first().and_then(|edge| look(edge).word());
    let is_uniform = edges.iter().all(|edge| look(edge).word() == first);
    let mut lines: Vec<String> = first.filter(|_| is_uniform).map(str::to_owned).into_iter().collect();
    for edge in edges.iter().take(PORTS_MAX) {
        let via = edge.via.as_ref().map(|via| format!(" via {via}")).unwrap_or_default();
        let word =
            look(edge).word().filter(|_| !is_uniform).map(|word| format!("  {word}")).unwrap_or_default();
        let names = names_line(edge).map(|names| format!("  {names}")).unwrap_or_default();
        lines.push(format!("{}{via}  {}{word}{names}", edge.port, volume(edge)));
    }
    if edges.len() > PORTS_MAX {
        lines.push(format!("and {} more", edges.len() - PORTS_MAX));
    }
    lines
}
