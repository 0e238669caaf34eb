//! The graph as the two frames Grafana's node graph panel takes, for a data source that reads JSON (Infinity).
//!
//! ```json
//! {
//!   "nodes": [{"id": "shop/db", "title": "db", "subtitle": "shop", "mainstat": 492, "secondarystat": "2 containers",
//!              "arc__fault": 0.5, "arc__plain": 0.5, "detail__kind": "workload", "detail__networks": "shop_back"}],
//!   "edges": [{"id": "shop/cart -> shop/db:5432/tcp", "source": "shop/cart", "target": "shop/db", "mainstat": 492,
//!              "secondarystat": "5432/tcp documented", "color": "#7b93a8", "thickness": 2, "strokedasharray": "",
//!              "detail__verdict": "documented", "detail__documented_by": "image EXPOSE", "detail__answered": 57,
//!              "detail__failed": 0, "detail__rtt_ms": 0.11, "detail__first_seen": "...", "detail__last_seen": "...",
//!              "detail__findings": ""}]
//! }
//! ```
//!
//! # Sources
//!
//! Field names and their meaning: Grafana's documentation of the node graph panel. Names are lower-case; the arcs of a
//! node add up to 1; `source` and `target` are ids of nodes, or the panel fails; main figures are bytes.

use std::collections::BTreeMap;

use portolan_graphs::{Edge, Graph, Node};
use portolan_policy::Verdict;
use serde::Serialize;

/// Undocumented, unexpected, denied, forged.
const FAULT: &str = "#c4162a";
/// Not learned before.
const NEW: &str = "#1f60c4";
/// Never answered, or the direction is a guess.
const DOUBTFUL: &str = "#8e8e8e";
/// Nothing to say against it.
const PLAIN: &str = "#7b93a8";

#[derive(Serialize)]
struct Frames<'a> {
    nodes: Vec<NodeRow<'a>>,
    edges: Vec<EdgeRow<'a>>,
}

#[derive(Serialize)]
struct NodeRow<'a> {
    id: &'a str,
    title: &'a str,
    subtitle: &'a str,
    mainstat: u64,
    secondarystat: String,
    #[serde(rename = "arc__fault")]
    arc_fault: f64,
    #[serde(rename = "arc__plain")]
    arc_plain: f64,
    #[serde(rename = "detail__kind")]
    detail_kind: &'static str,
    #[serde(rename = "detail__networks")]
    detail_networks: String,
}

#[derive(Serialize)]
struct EdgeRow<'a> {
    id: &'a str,
    source: &'a str,
    target: &'a str,
    mainstat: u64,
    secondarystat: String,
    color: &'static str,
    thickness: u32,
    strokedasharray: &'static str,
    #[serde(rename = "detail__verdict")]
    detail_verdict: &'static str,
    #[serde(rename = "detail__documented_by")]
    detail_documented_by: &'a str,
    #[serde(rename = "detail__answered")]
    detail_answered: u64,
    #[serde(rename = "detail__failed")]
    detail_failed: u64,
    #[serde(rename = "detail__rtt_ms")]
    detail_rtt_ms: Option<f64>,
    #[serde(rename = "detail__first_seen")]
    detail_first_seen: String,
    #[serde(rename = "detail__last_seen")]
    detail_last_seen: String,
    #[serde(rename = "detail__findings")]
    detail_findings: String,
}

/// Writes the frames as one line of JSON.
///
/// # Errors
///
/// None that these types can cause: they hold no map, and writing goes to memory.
pub fn grafana(graph: &Graph) -> Result<String, serde_json::Error> {
    let mut shares: BTreeMap<&str, Share> = BTreeMap::new();
    for edge in &graph.edges {
        for end in [&edge.source, &edge.target] {
            let share = shares.entry(end).or_default();
            share.edges += 1.0;
            share.faults += if is_fault(edge.verdict) { 1.0 } else { 0.0 };
        }
    }
    let share = |node: &Node| shares.get(node.id.as_str()).copied().unwrap_or_default();
    let nodes = graph.nodes.iter().map(|node| row_of_node(node, share(node))).collect();
    serde_json::to_string(&Frames { nodes, edges: graph.edges.iter().map(row_of_edge).collect() })
}

/// Ends of edges at a node, and how many of them are faults.
#[derive(Clone, Copy, Default)]
struct Share {
    edges: f64,
    faults: f64,
}

fn row_of_node(node: &Node, share: Share) -> NodeRow<'_> {
    let arc_fault = if share.faults > 0.0 { share.faults / share.edges } else { 0.0 };
    NodeRow {
        id: &node.id,
        title: &node.title,
        subtitle: &node.project,
        mainstat: node.sent_bytes.saturating_add(node.received_bytes),
        secondarystat: match node.containers {
            0 => String::new(),
            1 => "1 container".to_owned(),
            many => format!("{many} containers"),
        },
        arc_fault,
        arc_plain: 1.0 - arc_fault,
        detail_kind: node.kind.name(),
        detail_networks: node.networks.join(", "),
    }
}

fn row_of_edge(edge: &Edge) -> EdgeRow<'_> {
    let bytes = edge.sent.bytes.saturating_add(edge.received.bytes);
    // What has no mark is documented or nobody asked.
    let (color, strokedasharray) = if is_fault(edge.verdict) {
        (FAULT, "")
    } else if edge.verdict == Verdict::NewEdge {
        (NEW, "10 4")
    } else if edge.is_failed() || edge.is_guess {
        (DOUBTFUL, "3 3")
    } else {
        (PLAIN, "")
    };
    EdgeRow {
        id: &edge.id,
        source: &edge.source,
        target: &edge.target,
        mainstat: bytes,
        secondarystat: format!("{} {}", edge.port, edge.verdict.words()),
        color,
        // One more for each factor of a thousand; what should not be is never the thinnest.
        thickness: 1 + bytes.max(1).ilog2() / 10 + u32::from(is_fault(edge.verdict)),
        strokedasharray,
        detail_verdict: edge.verdict.name(),
        detail_documented_by: &edge.documented_by,
        detail_answered: edge.connections.answered,
        detail_failed: edge.connections.failed(),
        detail_rtt_ms: edge.rtt_p50.map(|nanoseconds| nanoseconds as f64 / 1e6),
        detail_first_seen: edge.first_at.to_string(),
        detail_last_seen: edge.last_at.to_string(),
        detail_findings: edge.findings.join(", "),
    }
}

fn is_fault(verdict: Verdict) -> bool {
    verdict.is_finding() && verdict != Verdict::NewEdge
}
