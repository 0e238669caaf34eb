//! The graph of who talks to whom, at one grouping.

use std::collections::BTreeMap;
use std::str::FromStr;

use portolan_flowtable::{Completeness, Outcomes, ServicePort, Tally, Timestamp};
use portolan_policy::{Assessment, Join, Severity, Verdict};
use serde::{Deserialize, Serialize};

use crate::cast::Cast;
use crate::drafts::{Drafts, Key};
use crate::merge::Hosts;

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
        Self::draw_hosts(assessment, group, edges_max, Hosts::default())
    }

    pub(crate) fn draw_hosts(
        assessment: &Assessment,
        group: Group,
        edges_max: usize,
        hosts: Hosts<'_>,
    ) -> Self {
        let mut cast = Cast::new(group);
        let mut drafts = Drafts::default();
        let severities: BTreeMap<&str, Severity> =
            assessment.findings.iter().map(|finding| (finding.id.as_str(), finding.severity)).collect();
        for (number, judged) in assessment.judged.iter().enumerate() {
            if judged.verdict == Verdict::Backscatter {
                continue;
            }
            let (here, there) = hosts.of(number);
            let conversation = &judged.conversation;
            let key = Key {
                source: cast.meet_on(here, &conversation.initiator, &conversation.network),
                target: cast.meet_on(there, &conversation.responder, &conversation.network),
                port: conversation.port,
                via: conversation.via.as_deref(),
            };
            drafts.of(key, judged).add(judged, &severities);
        }
        if matches!(group, Group::Service | Group::Container) {
            for workload in &assessment.snapshot.workloads {
                cast.introduce(workload, "");
            }
        }
        let edges_folded = drafts.fold(edges_max, &mut cast);
        let keys = drafts.shown(&cast);
        let nodes = cast.settle(&drafts, &keys, assessment);
        Self {
            group,
            nodes,
            edges: drafts.finish(keys, &cast),
            edges_folded,
            joins: assessment.joins.clone(),
            joins_left_out: assessment.joins_left_out,
            from: assessment.snapshot.from,
            at: assessment.snapshot.at,
            completeness: assessment.snapshot.completeness.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
