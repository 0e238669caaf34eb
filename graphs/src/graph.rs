//! The graph of who talks to whom, at one grouping.

use portolan_flowtable::{Outcomes, ServicePort, Tally, Timestamp};
use portolan_policy::{Severity, Verdict};
use serde::{Deserialize, Serialize};

/// What one node of a graph stands for.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// A service: the name replicas share.
    #[default]
    Service,
    /// One container.
    Container,
    /// A compose or stack project.
    Project,
    /// A container network.
    Network,
}

/// What kind of thing a node is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// A service, container, project or network, as grouped.
    Workload,
    /// The Docker host.
    Host,
    /// Outside.
    External,
    /// An address of a container network nobody holds.
    Unclaimed,
    /// Multicast or broadcast.
    Multicast,
    /// Several bindings fit.
    Ambiguous,
    /// An address of a capture without a roster.
    Address,
}

/// A node. Every end of an edge is a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Stable id: the machine name (`shop/web`, `host`, `external`, ...).
    pub id: String,
    /// What it is.
    pub kind: NodeKind,
    /// Short name for people.
    pub title: String,
    /// Compose or stack project, or empty.
    pub project: String,
    /// Networks it is on, sorted.
    pub networks: Vec<String>,
    /// Containers it stands for.
    pub containers: u64,
    /// Bytes it sent on the edges shown.
    pub sent_bytes: u64,
    /// Bytes it received on the edges shown.
    pub received_bytes: u64,
    /// Whether nothing documents any of its ports.
    pub is_undeclared: bool,
}

/// An edge: one initiator group, one responder group, one service port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Stable id over the machine names.
    pub id: String,
    /// Node id of the initiator.
    pub source: String,
    /// Node id of the responder.
    pub target: String,
    /// Service port.
    pub port: ServicePort,
    /// Network, where the edge lies in one.
    pub network: String,
    /// Host binding it went through.
    pub via: Option<String>,
    /// Gravest verdict among its conversations.
    pub verdict: Verdict,
    /// Who documents it, as printed; empty for nobody.
    pub documented_by: String,
    /// Ids of findings on it.
    pub findings: Vec<String>,
    /// Gravest finding on it.
    pub severity: Option<Severity>,
    /// Sent by the initiator.
    pub sent: Tally,
    /// Received by the initiator.
    pub received: Tally,
    /// How its connections fared.
    pub connections: Outcomes,
    /// Median of its conversations' handshake round trips, in nanoseconds.
    pub rtt_p50: Option<i64>,
    /// First frame's time.
    pub first_at: Timestamp,
    /// Last frame's time.
    pub last_at: Timestamp,
    /// Whether the initiator is a guess.
    pub is_guess: bool,
    /// Whether it is the host's or docker-proxy's leg towards a published port.
    pub is_proxy_leg: bool,
}

/// The graph at one grouping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// What a node stands for.
    pub group: Group,
    /// Nodes, sorted by id.
    pub nodes: Vec<Node>,
    /// Edges, sorted by source, target, port and via.
    pub edges: Vec<Edge>,
}
