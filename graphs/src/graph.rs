//! The graph of who talks to whom, at one grouping.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

use portolan_flowtable::{Completeness, Outcomes, Peer, ServicePort, Tally, Timestamp, Workload};
use portolan_policy::{Assessment, Join, Judged, ListenerClass, Severity, Verdict};
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
    /// Where edges beyond the limit were folded to.
    Other,
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
    /// Ports it documents and nobody called (first of a range), sorted; by service only.
    pub idle_ports: Vec<ServicePort>,
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
    /// Network, where all of the edge lies in one; else empty.
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
    /// Handshake round trip in nanoseconds: the median of its conversations' medians, each weighted by its answered
    /// connections. As good as the conversations' own figure where one dominates; never outside their range.
    pub rtt_p50: Option<i64>,
    /// First frame's time.
    pub first_at: Timestamp,
    /// Last frame's time.
    pub last_at: Timestamp,
    /// Whether the initiator is a guess.
    pub is_guess: bool,
    /// Whether it is the host's or docker-proxy's leg towards a published port.
    pub is_proxy_leg: bool,
    /// What the end outside is called, as the other end was told: claims of whoever answered. Sorted, at most
    /// [`NAMES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Further ones.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub names_left_out: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &u64) -> bool {
    *count == 0
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
    /// Edges that were folded into the node `other` because there were too many; their frames are in its edges.
    pub edges_folded: u64,
    /// What joins containers without a packet. No edges: nobody saw them used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joins: Vec<Join>,
    /// Further joins.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub joins_left_out: u64,
    /// First frame's time, or the tap's start.
    pub from: Timestamp,
    /// When the picture was taken, in engine time.
    pub at: Timestamp,
    /// Whether anything was missed in between.
    pub completeness: Completeness,
}

/// Most edges a graph shows before the least telling ones are folded into `other`.
pub const EDGES_MAX: usize = 5_000;
/// Names an edge lists.
pub const NAMES_MAX: usize = 16;
/// Id of the node that stands for what was folded.
pub const OTHER: &str = "other";

impl Group {
    /// Every grouping, coarse ones last.
    pub const ALL: [Self; 4] = [Self::Service, Self::Container, Self::Project, Self::Network];

    /// Returns its name, as serialised: `service`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Container => "container",
            Self::Project => "project",
            Self::Network => "network",
        }
    }
}

/// None of `service`, `container`, `project`, `network`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown grouping {0:?}: expected service, container, project or network")]
pub struct UnknownGroup(pub String);

impl FromStr for Group {
    type Err = UnknownGroup;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|group| group.name() == text).ok_or_else(|| UnknownGroup(text.to_owned()))
    }
}

impl NodeKind {
    /// Returns its name, as serialised: `workload`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Workload => "workload",
            Self::Host => "host",
            Self::External => "external",
            Self::Unclaimed => "unclaimed",
            Self::Multicast => "multicast",
            Self::Ambiguous => "ambiguous",
            Self::Address => "address",
            Self::Other => "other",
        }
    }
}

impl Node {
    /// Returns whether it is a workload without a byte on any edge.
    pub fn is_silent(&self) -> bool {
        self.kind == NodeKind::Workload && self.sent_bytes.saturating_add(self.received_bytes) == 0
    }
}

impl Edge {
    /// Returns whether calls were made and none was answered, and none is still open.
    pub fn is_failed(&self) -> bool {
        self.connections.answered == 0 && self.connections.failed() > 0
    }
}

impl Graph {
    /// Draws who talked to whom.
    ///
    /// Backscatter is no edge; a forged conversation is drawn from its true sender. Services and containers that
    /// are known and silent are nodes too.
    pub fn draw(assessment: &Assessment, group: Group) -> Self {
        Self::draw_at_most(assessment, group, EDGES_MAX)
    }

    /// Draws with a limit of one's own for edges. What is beyond it, the quietest edges without a finding first,
    /// becomes one edge per protocol from `other` to `other`.
    pub fn draw_at_most(assessment: &Assessment, group: Group, edges_max: usize) -> Self {
        let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
        let mut containers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut drafts: BTreeMap<Key, Draft> = BTreeMap::new();
        let severities: BTreeMap<&str, Severity> =
            assessment.findings.iter().map(|finding| (finding.id.as_str(), finding.severity)).collect();
        let mut meet = |peer: &Peer, network: &str| {
            let node = node_of(peer, group, network);
            let id = node.id.clone();
            if let Some(workload) = peer.workload() {
                containers.entry(id.clone()).or_default().insert(workload.container_id.clone());
            }
            nodes.entry(id.clone()).and_modify(|known| join_networks(known, &node)).or_insert(node);
            id
        };
        for judged in &assessment.judged {
            if judged.verdict == Verdict::Backscatter {
                continue;
            }
            let conversation = &judged.conversation;
            let key = Key {
                source: meet(&conversation.initiator, &conversation.network),
                target: meet(&conversation.responder, &conversation.network),
                port: conversation.port,
                via: conversation.via.clone(),
            };
            drafts.entry(key).or_insert_with(|| Draft::new(judged)).add(judged, &severities);
        }
        if matches!(group, Group::Service | Group::Container) {
            for workload in &assessment.snapshot.workloads {
                let unseen = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
                meet(&Peer::Workload { workload: Arc::clone(workload), address: unseen }, "");
            }
        }
        let (edges, edges_folded) = fold(drafts, edges_max);
        settle_nodes(&mut nodes, &edges, &containers, assessment, group);
        Self {
            group,
            nodes: nodes.into_values().collect(),
            edges,
            edges_folded,
            joins: assessment.joins.clone(),
            joins_left_out: assessment.joins_left_out,
            from: assessment.snapshot.from,
            at: assessment.snapshot.at,
            completeness: assessment.snapshot.completeness.clone(),
        }
    }
}

/// What makes two conversations the same edge.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Key {
    source: String,
    target: String,
    port: ServicePort,
    via: Option<String>,
}

/// An edge in the making.
#[derive(Debug)]
struct Draft {
    edge: Edge,
    documented_by: BTreeSet<String>,
    findings: BTreeSet<String>,
    names: BTreeSet<String>,
    rtts: Vec<(i64, u64)>,
}

impl Draft {
    fn new(judged: &Judged) -> Self {
        let conversation = &judged.conversation;
        Self {
            edge: Edge {
                id: String::new(),
                source: String::new(),
                target: String::new(),
                port: conversation.port,
                network: conversation.network.clone(),
                via: conversation.via.clone(),
                verdict: judged.verdict,
                documented_by: String::new(),
                findings: Vec::new(),
                severity: None,
                sent: Tally::default(),
                received: Tally::default(),
                connections: Outcomes::default(),
                rtt_p50: None,
                first_at: conversation.first_at,
                last_at: conversation.last_at,
                is_guess: true,
                is_proxy_leg: true,
                names: Vec::new(),
                names_left_out: 0,
            },
            documented_by: BTreeSet::new(),
            findings: BTreeSet::new(),
            names: BTreeSet::new(),
            rtts: Vec::new(),
        }
    }

    fn add(&mut self, judged: &Judged, severities: &BTreeMap<&str, Severity>) {
        let conversation = &judged.conversation;
        let edge = &mut self.edge;
        if edge.network != conversation.network {
            edge.network.clear();
        }
        if judged.verdict.gravity() > edge.verdict.gravity() {
            edge.verdict = judged.verdict;
        }
        edge.sent += conversation.sent;
        edge.received += conversation.received;
        add_outcomes(&mut edge.connections, &conversation.connections);
        edge.first_at = edge.first_at.min(conversation.first_at);
        edge.last_at = edge.last_at.max(conversation.last_at);
        edge.is_guess &= !conversation.evidence.is_proof();
        edge.is_proxy_leg &= conversation.is_proxy_leg;
        self.documented_by.extend(judged.documented_by.as_ref().map(ToString::to_string));
        for end in [&conversation.initiator, &conversation.responder] {
            self.names.extend(end.names().iter().map(|claim| claim.name.clone()));
        }
        if let Some(finding) = &judged.finding {
            edge.severity = edge.severity.max(severities.get(finding.as_str()).copied());
            self.findings.insert(finding.clone());
        }
        if let Some(rtt) = conversation.rtt_p50 {
            self.rtts.push((rtt, conversation.connections.answered.max(1)));
        }
    }

    /// Takes a whole edge in that is to be shown no longer.
    fn swallow(&mut self, other: Self) {
        let (edge, more) = (&mut self.edge, other.edge);
        if more.verdict.gravity() > edge.verdict.gravity() {
            edge.verdict = more.verdict;
        }
        edge.sent += more.sent;
        edge.received += more.received;
        add_outcomes(&mut edge.connections, &more.connections);
        edge.first_at = edge.first_at.min(more.first_at);
        edge.last_at = edge.last_at.max(more.last_at);
        edge.is_guess &= more.is_guess;
        edge.is_proxy_leg &= more.is_proxy_leg;
        edge.severity = edge.severity.max(more.severity);
    }

    fn finish(mut self, key: Key) -> Edge {
        let via = key.via.as_deref().map(|via| format!(" via {via}")).unwrap_or_default();
        Edge {
            id: format!("{} -> {}:{}{via}", key.source, key.target, key.port),
            source: key.source,
            target: key.target,
            via: key.via,
            port: key.port,
            documented_by: self.documented_by.into_iter().collect::<Vec<_>>().join(", "),
            findings: self.findings.into_iter().collect(),
            names_left_out: u64::try_from(self.names.len().saturating_sub(NAMES_MAX)).unwrap_or(u64::MAX),
            names: self.names.into_iter().take(NAMES_MAX).collect(),
            rtt_p50: weighted_median(&mut self.rtts),
            ..self.edge
        }
    }
}

/// Returns the smallest value that at least half of the weight does not exceed.
fn weighted_median(values: &mut [(i64, u64)]) -> Option<i64> {
    values.sort_unstable();
    let all: u128 = values.iter().map(|(_, weight)| u128::from(*weight)).sum();
    let mut below: u128 = 0;
    values.iter().find_map(|(value, weight)| {
        below += u128::from(*weight);
        (below * 2 >= all).then_some(*value)
    })
}

fn add_outcomes(sum: &mut Outcomes, more: &Outcomes) {
    sum.answered = sum.answered.saturating_add(more.answered);
    sum.refused = sum.refused.saturating_add(more.refused);
    sum.unanswered = sum.unanswered.saturating_add(more.unanswered);
    sum.blocked = sum.blocked.saturating_add(more.blocked);
    sum.pending = sum.pending.saturating_add(more.pending);
}

fn fold(drafts: BTreeMap<Key, Draft>, edges_max: usize) -> (Vec<Edge>, u64) {
    if drafts.len() <= edges_max {
        return (drafts.into_iter().map(|(key, draft)| draft.finish(key)).collect(), 0);
    }
    let mut ranked: Vec<(Key, Draft)> = drafts.into_iter().collect();
    // Stable: of equals, the first by name stays.
    ranked.sort_by_key(|(_, draft)| {
        let bytes = draft.edge.sent.bytes.saturating_add(draft.edge.received.bytes);
        std::cmp::Reverse((draft.edge.severity, draft.edge.verdict.is_finding(), bytes))
    });
    let folded = ranked.split_off(edges_max.min(ranked.len()));
    let count = u64::try_from(folded.len()).unwrap_or(u64::MAX);
    let mut others: BTreeMap<Key, Draft> = BTreeMap::new();
    for (key, mut draft) in folded {
        let port = ServicePort { port: None, protocol: key.port.protocol };
        let key = Key { source: OTHER.to_owned(), target: OTHER.to_owned(), port, via: None };
        match others.get_mut(&key) {
            Some(known) => known.swallow(draft),
            None => {
                draft.edge.network.clear();
                draft.documented_by.clear();
                draft.findings.clear();
                draft.names.clear();
                draft.rtts.clear();
                others.insert(key, draft);
            }
        }
    }
    let mut shown: BTreeMap<Key, Draft> = ranked.into_iter().collect();
    shown.append(&mut others);
    (shown.into_iter().map(|(key, draft)| draft.finish(key)).collect(), count)
}

/// Drops nodes whose edges were all folded, adds `other`, and adds up what is shown.
fn settle_nodes(
    nodes: &mut BTreeMap<String, Node>,
    edges: &[Edge],
    containers: &BTreeMap<String, BTreeSet<String>>,
    assessment: &Assessment,
    group: Group,
) {
    let ends: BTreeSet<&str> =
        edges.iter().flat_map(|edge| [edge.source.as_str(), edge.target.as_str()]).collect();
    nodes.retain(|id, node| node.kind == NodeKind::Workload || ends.contains(id.as_str()));
    if ends.contains(OTHER) {
        nodes.entry(OTHER.to_owned()).or_insert_with(|| plain_node(OTHER, NodeKind::Other, OTHER));
    }
    for edge in edges {
        let (sent, received) = (edge.sent.bytes, edge.received.bytes);
        if let Some(source) = nodes.get_mut(&edge.source) {
            source.sent_bytes = source.sent_bytes.saturating_add(sent);
            source.received_bytes = source.received_bytes.saturating_add(received);
        }
        if let Some(target) = nodes.get_mut(&edge.target) {
            target.sent_bytes = target.sent_bytes.saturating_add(received);
            target.received_bytes = target.received_bytes.saturating_add(sent);
        }
    }
    for (id, members) in containers {
        if let Some(node) = nodes.get_mut(id) {
            node.containers = u64::try_from(members.len()).unwrap_or(u64::MAX);
        }
    }
    if group != Group::Service {
        return;
    }
    for service in &assessment.undeclared {
        if let Some(node) = nodes.get_mut(&guarded(service)) {
            node.is_undeclared = true;
        }
    }
    for listener in &assessment.listeners {
        if listener.class == ListenerClass::DocumentedIdle
            && let Some(node) = nodes.get_mut(&guarded(&listener.service))
        {
            node.idle_ports.push(listener.port);
        }
    }
}

fn join_networks(known: &mut Node, more: &Node) {
    for network in &more.networks {
        if let Err(place) = known.networks.binary_search(network) {
            known.networks.insert(place, network.clone());
        }
    }
}

/// Ids that stand for something else than a workload.
const RESERVED: [&str; 6] = ["host", "external", "unclaimed", "multicast", "ambiguous", OTHER];

/// Returns a workload's name so that it cannot pass for the host, the outside or an address: a container may be
/// called `host`.
fn guarded(name: &str) -> String {
    let is_taken = RESERVED.contains(&name) || name.parse::<std::net::IpAddr>().is_ok() || name.is_empty();
    if is_taken { format!("workload:{name}") } else { name.to_owned() }
}

fn plain_node(id: &str, kind: NodeKind, title: &str) -> Node {
    Node {
        id: id.to_owned(),
        kind,
        title: title.to_owned(),
        project: String::new(),
        networks: Vec::new(),
        containers: 0,
        sent_bytes: 0,
        received_bytes: 0,
        is_undeclared: false,
        idle_ports: Vec::new(),
    }
}

fn node_of(peer: &Peer, group: Group, network: &str) -> Node {
    let plain = |kind| {
        let name = peer.service();
        plain_node(&name, kind, &name)
    };
    match peer {
        Peer::Workload { workload, .. } => workload_node(workload, group, network),
        Peer::Host { .. } => plain(NodeKind::Host),
        Peer::External { .. } => plain(NodeKind::External),
        Peer::Unclaimed { .. } => plain(NodeKind::Unclaimed),
        Peer::Group { .. } => plain(NodeKind::Multicast),
        Peer::Ambiguous { .. } => plain(NodeKind::Ambiguous),
        Peer::Bare { .. } => plain(NodeKind::Address),
    }
}

fn workload_node(workload: &Workload, group: Group, network: &str) -> Node {
    let named = |id: &str, title: &str| plain_node(&guarded(id), NodeKind::Workload, title);
    let mut node = match group {
        Group::Service => named(&workload.qualified(), &workload.service),
        Group::Container => named(&workload.container, &workload.container),
        // Outside any project a service stands for itself.
        Group::Project if workload.project.is_empty() => named(&workload.service, &workload.service),
        Group::Project => named(&workload.project, &workload.project),
        Group::Network => {
            let only = workload.networks.first().filter(|_| workload.networks.len() == 1);
            let name = if network.is_empty() { only.map_or("", String::as_str) } else { network };
            let title = if name.is_empty() { "unknown network" } else { name };
            return plain_node(&format!("network:{name}"), NodeKind::Workload, title);
        }
    };
    node.networks.clone_from(&workload.networks);
    node.networks.sort();
    node.networks.dedup();
    match group {
        Group::Service | Group::Container => node.project.clone_from(&workload.project),
        Group::Project | Group::Network => {}
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_where_half_of_the_connections_do() {
        type Case<'a> = (&'a [(i64, u64)], Option<i64>);
        let cases: [Case<'_>; 5] = [
            (&[], None),
            (&[(7, 1)], Some(7)),
            (&[(100, 1), (1, 1)], Some(1)),
            (&[(1, 2), (100, 1_000), (5_000, 3)], Some(100)),
            (&[(1, u64::MAX), (2, u64::MAX), (3, u64::MAX)], Some(2)),
        ];
        for (values, expected) in cases {
            assert_eq!(weighted_median(&mut values.to_vec()), expected, "{values:?}");
        }
    }

    #[test]
    fn a_workload_cannot_take_a_reserved_name() {
        let cases = [
            ("shop/web", "shop/web"),
            ("host", "workload:host"),
            ("10.0.0.1", "workload:10.0.0.1"),
            ("", "workload:"),
        ];
        for (name, expected) in cases {
            assert_eq!(guarded(name), expected);
        }
    }

    #[test]
    fn groupings_are_read_as_they_are_written() {
        for group in Group::ALL {
            assert_eq!(group.name().parse(), Ok(group));
        }
        let error = "services".parse::<Group>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown grouping \"services\": expected service, container, project or network"
        );
    }
}
