//! What a tick publishes: one immutable value that scrape, graph, events, page and command line all read.

use portolan_flowtable::indicators::Round;
use portolan_flowtable::lifecycle::Happening;
use portolan_flowtable::{
    Completeness, ConnState, DnsCounts, EndReason, IcmpError, Ledger, ServicePort, Snapshot, Tally, Timestamp,
};
use portolan_graphs::{Graph, Group};
use portolan_policy::findings::Entry;
use portolan_policy::{Assessment, Verdict};
use serde::{Deserialize, Serialize};

use crate::text::Text;

/// One tick's whole answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Publication {
    /// The judged snapshot.
    pub assessment: Assessment,
    /// The graph by service.
    pub graph: Graph,
    /// How Portolan itself is doing.
    pub vitals: Vitals,
    /// Live flows and the latest ended ones, newest last, at most `vitals.flows_kept`.
    pub flows: Vec<FlowRecord>,
    /// Edges the contract expects, whether or not they were seen. Their series start at 0.
    #[serde(default)]
    pub documented_edges: Vec<DocumentedEdge>,
    /// What is learned of each service; empty without a baseline.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub baseline: Vec<BaselineRow>,
    /// Findings somebody acknowledged or suppressed; they are not among the assessment's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handled: Vec<Entry>,
    /// What happened to containers besides packets, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lifecycle: Vec<LifeRow>,
    /// Happenings that found no room.
    #[serde(default)]
    pub lifecycle_left_out: u64,
    /// What containers used when they were asked last; `None` where nobody asks, or too long ago to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indicators: Option<Round>,
}

/// Something that happened to a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LifeRow {
    /// Its number in this run, from 1, without gaps.
    pub number: u64,
    /// What happened.
    #[serde(flatten)]
    pub happening: Happening,
}

/// How far the baseline of one service is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaselineRow {
    /// `project/service`.
    pub service: String,
    /// Image id or reference.
    pub image: String,
    /// Image reference as run.
    pub reference: String,
    /// `learning`, `promoted` or `frozen`.
    pub stage: String,
    /// When it was watched last.
    pub watched_until: Timestamp,
    /// Edges that are part of it.
    pub learned: u64,
    /// Edges that are not yet.
    pub candidates: u64,
    /// Edges that are forbidden.
    pub forbidden: u64,
    /// Draws so far.
    pub draws: u64,
    /// The chance that the next draw is a new edge, at most, with 95 % confidence.
    pub novelty: f64,
    /// What is missing before evidence promotes it, each a sentence; the first few.
    pub missing: Vec<String>,
}

impl Publication {
    /// Builds what is served before the first tick: nothing known, and nothing claimed to be complete.
    pub fn empty(host: &str, version: &str, at: Timestamp) -> Self {
        let snapshot = Snapshot {
            at,
            from: at,
            conversations: Vec::new(),
            ledger: Ledger::default(),
            kernel_dropped: None,
            completeness: Completeness::Unknown { reasons: vec!["nothing was captured yet".to_owned()] },
            has_roster: false,
            workloads: Vec::new(),
            listening: std::collections::BTreeMap::new(),
            published: Vec::new(),
            stale: None,
            withheld: Tally::default(),
            conversations_folded: 0,
            thefts: Vec::new(),
            sweeps: Vec::new(),
        };
        let assessment = Assessment {
            snapshot,
            judged: Vec::new(),
            findings: Vec::new(),
            findings_left_out: 0,
            listeners: Vec::new(),
            listening_not_checked: Vec::new(),
            exposures: Vec::new(),
            joins: Vec::new(),
            joins_left_out: 0,
            rules: Vec::new(),
            undeclared: Vec::new(),
            warnings: Vec::new(),
            contract: String::new(),
        };
        let graph = Graph::draw(&assessment, Group::Service);
        Self {
            assessment,
            graph,
            vitals: Vitals {
                version: version.to_owned(),
                host: host.to_owned(),
                started_at: at,
                reload_at: at,
                reload_ok: true,
                ..Vitals::default()
            },
            flows: Vec::new(),
            documented_edges: Vec::new(),
            baseline: Vec::new(),
            handled: Vec::new(),
            lifecycle: Vec::new(),
            lifecycle_left_out: 0,
            indicators: None,
        }
    }
}

/// An edge somebody documented: who may call what.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct DocumentedEdge {
    /// Service that may call, without its project; or `host`, `external`.
    pub client: String,
    /// Its project, or empty.
    pub client_project: String,
    /// Service that may be called, without its project.
    pub server: String,
    /// Its project, or empty.
    pub server_project: String,
    /// What may be called.
    pub port: ServicePort,
    /// Who says so, as printed: `contract.toml:12`.
    pub documented_by: String,
}

/// A flow with the names of its ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowRecord {
    /// Number of the flow, from 1, in order of opening.
    pub flow_id: u64,
    /// Community ID version 1, seed 0.
    pub community_id: Text,
    /// Transport protocol.
    pub proto: portolan_flowtable::Protocol,
    /// The initiator.
    pub src: FlowEnd,
    /// The responder.
    pub dest: FlowEnd,
    /// Network it was seen in; empty where the capture does not say.
    pub network: Text,
    /// Why `src` is believed to be the initiator.
    pub evidence: portolan_flowtable::InitiatorEvidence,
    /// How the initiator stands to its address.
    pub claim: portolan_flowtable::flow::Claim,
    /// How far it got.
    pub outcome: portolan_flowtable::Outcome,
    /// Sent by the initiator.
    pub sent: Tally,
    /// Received by the initiator.
    pub received: Tally,
    /// First frame's time.
    pub first_at: Timestamp,
    /// Last frame's time.
    pub last_at: Timestamp,
    /// First frame's number.
    pub first_frame: u64,
    /// Last frame's number.
    pub last_frame: u64,
    /// SYN to SYN-ACK in nanoseconds.
    pub rtt: Option<i64>,
    /// SYN-ACK to the initiator's ACK of it in nanoseconds; with `rtt` the whole round trip.
    #[serde(default)]
    pub ack_rtt: Option<i64>,
    /// How it stands, in the words of Zeek's `conn.log`.
    #[serde(default = "unknown_state")]
    pub conn_state: ConnState,
    /// What its packets did, in the letters of Zeek's `conn.log`; capitals are the initiator's.
    #[serde(default)]
    pub history: Text,
    /// Segments that begin before the end of what their side had sent.
    #[serde(default)]
    pub retransmissions: Directed,
    /// Segments that closed their side's window.
    #[serde(default)]
    pub zero_windows: Directed,
    /// Times that data of this direction was acknowledged and had never been seen.
    #[serde(default)]
    pub gaps: Directed,
    /// What ICMP errors said that quoted its packets.
    #[serde(default)]
    pub icmp_error: Option<IcmpError>,
    /// Why it ended; `None` while it is open.
    pub ended: Option<EndReason>,
    /// How its conversation stands, and would by a contract that is tried; only where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<DryRun>,
}

/// How a conversation stands, and how it would by a contract that is not in force.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct DryRun {
    /// How it stands.
    pub verdict: Verdict,
    /// How it would.
    pub pending: Verdict,
}

fn unknown_state() -> ConnState {
    ConnState::Oth
}

/// A count for each direction, seen from the initiator.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Directed {
    /// What the initiator sent.
    pub sent: u64,
    /// What it received.
    pub received: u64,
}

impl From<(u64, u64)> for Directed {
    fn from((sent, received): (u64, u64)) -> Self {
        Self { sent, received }
    }
}

/// One end of a flow, named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowEnd {
    /// Address.
    pub ip: std::net::IpAddr,
    /// Port, where the protocol has one.
    pub port: Option<portolan_flowtable::Port>,
    /// `project/service`, `host`, `external`, ...
    pub service: Text,
    /// Container name, or empty.
    pub container: Text,
    /// Image reference, or empty.
    pub image: Text,
    /// What the other end was told this address outside is called, the latest claim first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

/// How Portolan itself is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vitals {
    /// Version of the program.
    pub version: String,
    /// Name of the host, or of the capture.
    pub host: String,
    /// Addresses by which others may reach the host: none of a container network, none of loopback. Empty where nobody
    /// said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_addresses: Vec<std::net::IpAddr>,
    /// When this run began, in engine time.
    pub started_at: Timestamp,
    /// Ticks so far.
    pub ticks: u64,
    /// Frames and bytes by which the accounts do not balance. 0.
    pub residual_frames: i128,
    /// The same in bytes.
    pub residual_bytes: i128,
    /// Frames in the kernel's ring that are neither delivered nor dropped yet, at most; `None` offline.
    pub in_ring_max: Option<u64>,
    /// Containers known.
    pub containers: u64,
    /// Containers whose traffic can be observed from here.
    pub containers_observable: u64,
    /// Observable containers matched to their veth.
    pub containers_matched: u64,
    /// Containers that cannot be observed: name and reason.
    pub unobservable: Vec<(String, String)>,
    /// How attachments were matched: `netns id`, `interface index`, `roster`, `address`.
    pub identity_by: String,
    /// Whether frames are being captured.
    pub is_capturing: bool,
    /// Whether Docker has answered a full listing.
    pub is_named: bool,
    /// Live flows in the table.
    pub flows_live: u64,
    /// Slots in the table.
    pub flows_max: u64,
    /// Conversations held.
    pub conversations: u64,
    /// Most records in `Publication::flows`.
    pub flows_kept: u64,
    /// Flow records that fell off the end of that list.
    pub flows_forgotten: u64,
    /// Docker events seen.
    pub docker_events: u64,
    /// Full listings taken from Docker.
    pub docker_lists: u64,
    /// Whether the last reload of the configuration and contract was good.
    pub reload_ok: bool,
    /// When it was.
    pub reload_at: Timestamp,
    /// Names of outside addresses: what was learned of them, and what was not.
    #[serde(default)]
    pub dns: DnsCounts,
    /// SHA-256 or other stable hash of the contract in force; empty without one.
    pub policy_hash: String,
}

impl Vitals {
    /// Returns how many containers run and cannot be observed.
    pub fn containers_unseen(&self) -> u64 {
        self.containers.saturating_sub(self.containers_observable)
    }
}
