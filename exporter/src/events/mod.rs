//! Events: the news of each tick, one JSON object a line, in the shape of Suricata's EVE.
//!
//! # Where it sits
//!
//! [`EventSource`] compares a publication with what it has told already and says what is new; it touches nothing.
//! [`EventWriter`] carries that to a file or a stream, in its own thread, so that a full disk or a reader who does
//! not read never holds the control plane. The fields are documented in `docs/events.md`.

mod backlog;
mod source;
mod writer;

use std::net::IpAddr;

use portolan_flowtable::flow::Claim;
use portolan_flowtable::{
    Blindness, ConnState, EndReason, IcmpError, InitiatorEvidence, Outcome, Outcomes, Port, Protocol, Tally,
    Timestamp,
};
use portolan_policy::{AlertState, Finding, ListenerClass, Verdict};
use serde::Serialize;

use crate::atomics;
use crate::publication::Directed;
use crate::text::Text;

pub use source::EventSource;
pub use writer::{EventLog, EventWriter, EventsError};

/// What became of events so far.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EventCounts {
    /// Written, markers of loss included.
    pub written: u64,
    /// Not written.
    pub lost: u64,
    /// What went wrong last; `None` while nothing has.
    pub last_error: Option<String>,
}

/// One piece of news. Its envelope (host, sequence number) is added when it is written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// When it was noticed, in engine time.
    #[serde(rename = "timestamp")]
    pub at: Timestamp,
    /// What it is about.
    #[serde(flatten)]
    pub news: News,
}

/// What an event is about. The variant's name is `event_type`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event_type", rename_all = "snake_case")]
pub enum News {
    /// A flow ended.
    Flow {
        /// Whose packets.
        #[serde(flatten)]
        tuple: Tuple,
        /// What became of it.
        flow: FlowNews,
    },
    /// An edge was seen for the first time.
    Edge {
        /// Its first conversation.
        #[serde(flatten)]
        tuple: Tuple,
        /// How it stands.
        edge: EdgeNews,
    },
    /// A finding was raised, became graver, or was cleared.
    Finding {
        /// A conversation it rests on.
        #[serde(flatten)]
        tuple: Tuple,
        /// What it says.
        finding: Box<FindingNews>,
        /// Whether the capture was complete while it was seen; `None` where that is unknown.
        complete: Option<bool>,
    },
    /// A service port appeared or changed its class.
    Listener {
        /// Which and how.
        listener: ListenerNews,
    },
    /// A container became known or was forgotten.
    Container {
        /// Which.
        container: ContainerNews,
    },
    /// Something happened to a container besides packets.
    Lifecycle {
        /// What.
        lifecycle: LifecycleNews,
    },
    /// Frames were lost.
    BlindInterval {
        /// When, how many, why.
        blind_interval: BlindNews,
    },
    /// The contract was loaded, reloaded or refused.
    Policy {
        /// Which.
        policy: PolicyNews,
    },
    /// Evidence or a person changed the baseline.
    Baseline {
        /// What.
        baseline: BaselineNews,
    },
    /// A sign of life; its absence is news too.
    Heartbeat {
        /// How Portolan is doing.
        heartbeat: Box<HeartbeatNews>,
    },
    /// Nothing was published for several ticks.
    Stall {
        /// For how long, and who kept it.
        stall: StallNews,
    },
    /// Events are missing before this one. Written by the writer itself.
    Lost {
        /// How many and why.
        lost: LostNews,
    },
}

/// Whose packets an event is about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tuple {
    /// Number of the flow, where one is known.
    pub flow_id: Option<u64>,
    /// Community ID version 1, seed 0, where the packets have one.
    pub community_id: Option<Text>,
    /// The initiator.
    pub src: EndNews,
    /// The responder.
    pub dest: EndNews,
    /// Transport protocol; `None` for findings over several.
    pub proto: Option<Protocol>,
}

/// One end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndNews {
    /// Address, where one is known.
    pub ip: Option<IpAddr>,
    /// Port, where the protocol has one.
    pub port: Option<Port>,
    /// `project/service`, `host`, `external`, ...
    pub service: Text,
    /// Container name, or empty.
    pub container: Text,
    /// Image reference, or empty.
    pub image: Text,
    /// What the other end was told this address outside is called, the latest claim first.
    pub names: Vec<String>,
}

/// What became of a flow.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlowNews {
    /// Network it was seen in.
    pub network: Text,
    /// Why `src` is believed to be the initiator.
    pub evidence: InitiatorEvidence,
    /// How the initiator stands to its address.
    pub claim: Claim,
    /// How far it got.
    pub outcome: Outcome,
    /// Why it ended.
    pub reason: EndReason,
    /// Sent by the initiator.
    pub sent: Tally,
    /// Received by the initiator.
    pub received: Tally,
    /// First frame's time.
    pub start: Timestamp,
    /// Last frame's time.
    pub end: Timestamp,
    /// First frame's number.
    pub first_frame: u64,
    /// Last frame's number.
    pub last_frame: u64,
    /// SYN to SYN-ACK in nanoseconds.
    pub rtt_ns: Option<i64>,
    /// SYN-ACK to the initiator's ACK of it in nanoseconds.
    pub ack_rtt_ns: Option<i64>,
    /// How it stands, in the words of Zeek's `conn.log`.
    pub conn_state: ConnState,
    /// What its packets did, in the letters of Zeek's `conn.log`.
    pub history: Text,
    /// Segments that begin before the end of what their side had sent.
    pub retransmissions: Directed,
    /// Segments that closed their side's window.
    pub zero_windows: Directed,
    /// Times that data of this direction was acknowledged and had never been seen.
    pub gaps: Directed,
    /// What ICMP errors said that quoted its packets.
    pub icmp_error: Option<IcmpError>,
}

/// How a new edge stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EdgeNews {
    /// Network it was seen in.
    pub network: String,
    /// Host binding it went through.
    pub via: Option<String>,
    /// How it is judged.
    pub verdict: Verdict,
    /// Who documents its port, as printed; empty for nobody.
    pub documented_by: String,
    /// How its connections fared so far.
    pub connections: Outcomes,
    /// First frame's time.
    pub start: Timestamp,
    /// First frame's number.
    pub first_frame: u64,
}

/// A finding and what happened to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FindingNews {
    /// What happened to it.
    pub state: AlertState,
    /// Who said so, where somebody did: `uid 1000`.
    pub by: Option<String>,
    /// Why, in their words.
    pub reason: Option<String>,
    /// Until when a suppression holds.
    pub until: Option<Timestamp>,
    /// The finding.
    #[serde(flatten)]
    pub finding: Finding,
}

/// What became of a service's baseline.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct BaselineNews {
    /// `promoted`, `learning` or `frozen` where its stage is another; else what somebody did: `promote`, `forget`,
    /// `forbid`, `permit`, `freeze`, `thaw`.
    pub action: String,
    /// `project/service`, or as it was named by whoever did it.
    pub service: String,
    /// The edge it is about, where it is about one.
    pub edge: Option<String>,
    /// Who did it: `uid 1000`; `None` for the evidence.
    pub by: Option<String>,
    /// Why, in their words.
    pub reason: Option<String>,
}

/// A service port.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListenerNews {
    /// `project/service`.
    pub service: String,
    /// Compose or stack project, or empty.
    pub project: String,
    /// Port.
    pub port: Option<Port>,
    /// Protocol.
    pub proto: Protocol,
    /// Its class.
    pub class: ListenerClass,
    /// The class it had; `None` where it is new.
    pub previous: Option<ListenerClass>,
    /// Who documents it, as printed.
    pub documented_by: Vec<String>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ContainerNews {
    /// What happened.
    pub action: ContainerAction,
    /// Docker's id.
    pub id: String,
    /// Container name.
    pub name: String,
    /// `project/service`.
    pub service: String,
    /// Image reference.
    pub image: String,
    /// Networks it is on.
    pub networks: Vec<String>,
    /// Start of this life of it.
    pub started_at: Timestamp,
    /// Why its traffic cannot be observed, where it cannot.
    pub unobservable: Option<String>,
}

/// Something that happened to a container; what does not go with its action is `None`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LifecycleNews {
    /// What happened: `start`, `exec`, `die`, `oom`, `health_status`, `network_connect`, `network_disconnect`, `new_image`.
    pub action: &'static str,
    /// When, by Docker's clock.
    pub at: Timestamp,
    /// Docker's id.
    pub id: String,
    /// Container name.
    pub name: String,
    /// `project/service`.
    pub service: String,
    /// Image reference.
    pub image: String,
    /// How often since it was told last.
    pub times: u64,
    /// Exit code of its first process.
    pub exit_code: Option<i32>,
    /// What its health check says.
    pub health: Option<String>,
    /// Network it was connected to or disconnected from.
    pub network: Option<String>,
    /// Id of the image its service is new to.
    pub image_id: Option<String>,
    /// Ids of images its service ran before.
    pub previous_image_ids: Vec<String>,
}

/// What happened to a container.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerAction {
    /// It is known since this tick.
    Known,
    /// It ended, and its time of grace is over.
    Forgotten,
}

/// The contract in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyNews {
    /// What happened.
    pub state: PolicyState,
    /// Its hash, or empty.
    pub hash: String,
    /// What traffic is held against, in one line.
    pub contract: String,
    /// What the operator should know about it.
    pub warnings: Vec<String>,
}

/// What happened to the contract.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyState {
    /// It is the first one.
    Loaded,
    /// It was read again, changed or not.
    Reloaded,
    /// It could not be read; the one before stays in force.
    Refused,
}

/// Frames were lost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BlindNews {
    /// What happened.
    pub state: BlindState,
    /// The interval as it stands.
    #[serde(flatten)]
    pub interval: Blindness,
}

/// What happened to a blind interval.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BlindState {
    /// It was noticed; the loss may go on.
    Opened,
    /// Twice as many frames are lost as were told, or it is over and is not what was told.
    Updated,
}

/// How Portolan is doing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeartbeatNews {
    /// `complete`, `incomplete` or `unknown`.
    pub completeness: &'static str,
    /// Why it is not complete.
    pub reasons: Vec<String>,
    /// Hash of the contract in force, or empty.
    pub policy_hash: String,
    /// Frames by which the accounts do not balance.
    pub residual_frames: i128,
    /// Bytes by which they do not.
    pub residual_bytes: i128,
    /// Frames delivered so far.
    pub frames: u64,
    /// Frames the kernel dropped; `None` where the source does not say.
    pub kernel_dropped: Option<u64>,
    /// Live flows.
    pub flows: u64,
    /// Conversations held.
    pub conversations: u64,
    /// Findings that stand.
    pub findings: u64,
    /// Containers known.
    pub containers: u64,
    /// Flow records that fell off the list before a flow event could be made of them, at most.
    pub flows_forgotten: u64,
    /// Why names may be out of date, where they may.
    pub stale: Option<String>,
}

/// A pause of the daemon's own, told when it is over.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StallNews {
    /// How long nothing was published, in seconds.
    pub seconds: f64,
    /// Of that, how long the tap's thread did not answer, in seconds. The rest is the control plane's, or the whole
    /// process stood still.
    pub tap_seconds: f64,
}

/// Events that are missing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LostNews {
    /// How many.
    pub events: u64,
    /// Why the first of them could not be written.
    pub cause: String,
}
