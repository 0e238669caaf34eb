//! A snapshot with verdicts: what policy hands downstream.

use std::net::IpAddr;

use portolan_flowtable::{Conversation, DocumentSource, DocumentedPort, ServicePort, Snapshot, Timestamp};
use serde::{Deserialize, Serialize};

use crate::findings::Note;
use crate::pending::Pending;
use crate::rules::RuleUse;

/// How a conversation stands with what was documented.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The port is documented and this initiator is expected on it.
    Documented,
    /// Nothing says who may call the port, or there is nothing to judge: nobody answered on an undocumented port,
    /// the responder is no workload, the protocol has no ports, it is a proxy's leg.
    Unjudged,
    /// A rule or a default of the operator allows it.
    Allowed,
    /// A rule or a default of the operator denies it.
    Denied,
    /// The port is documented, but not for this initiator.
    UnexpectedPeer,
    /// The responder serves a port no source documents.
    UndocumentedPort,
    /// No source documents any port of the responder.
    Undeclared,
    /// The sender used an address that another holds.
    SpoofedSource,
    /// An answer provoked by somebody spoofing the responder's address; never an edge.
    Backscatter,
    /// One end could not be named, or its role is a guess; judging would be unfair.
    Unattributed,
    /// Nobody documented it, and the baseline knows it.
    Learned,
    /// A service with a promoted baseline has not learned it.
    NewEdge,
    /// Somebody forbade it in the baseline.
    Forbidden,
}

impl Verdict {
    /// Every verdict, gravest first.
    pub const BY_GRAVITY: [Self; 13] = [
        Self::SpoofedSource,
        Self::Denied,
        Self::Forbidden,
        Self::UnexpectedPeer,
        Self::UndocumentedPort,
        Self::NewEdge,
        Self::Unattributed,
        Self::Undeclared,
        Self::Unjudged,
        Self::Allowed,
        Self::Learned,
        Self::Documented,
        Self::Backscatter,
    ];

    /// Returns how grave it is; more is graver.
    pub fn gravity(self) -> u8 {
        match self {
            Self::SpoofedSource => 12,
            Self::Denied => 11,
            Self::Forbidden => 10,
            Self::UnexpectedPeer => 9,
            Self::UndocumentedPort => 8,
            Self::NewEdge => 7,
            Self::Unattributed => 6,
            Self::Undeclared => 5,
            Self::Unjudged => 4,
            Self::Allowed => 3,
            Self::Learned => 2,
            Self::Documented => 1,
            Self::Backscatter => 0,
        }
    }

    /// Returns whether it is a finding by itself.
    pub fn is_finding(self) -> bool {
        match self {
            Self::SpoofedSource
            | Self::Denied
            | Self::Forbidden
            | Self::UnexpectedPeer
            | Self::UndocumentedPort
            | Self::NewEdge => true,
            Self::Unattributed
            | Self::Undeclared
            | Self::Unjudged
            | Self::Allowed
            | Self::Learned
            | Self::Documented
            | Self::Backscatter => false,
        }
    }

    /// Returns its name for people: `unexpected peer`.
    pub fn words(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Unjudged => "unjudged",
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::UnexpectedPeer => "unexpected peer",
            Self::UndocumentedPort => "undocumented port",
            Self::Undeclared => "undeclared",
            Self::SpoofedSource => "spoofed source",
            Self::Backscatter => "backscatter",
            Self::Unattributed => "unattributed",
            Self::Learned => "learned",
            Self::NewEdge => "new edge",
            Self::Forbidden => "forbidden",
        }
    }

    /// Returns its name for machines, as serialised: `unexpected_peer`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Unjudged => "unjudged",
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::UnexpectedPeer => "unexpected_peer",
            Self::UndocumentedPort => "undocumented_port",
            Self::Undeclared => "undeclared",
            Self::SpoofedSource => "spoofed_source",
            Self::Backscatter => "backscatter",
            Self::Unattributed => "unattributed",
            Self::Learned => "learned",
            Self::NewEdge => "new_edge",
            Self::Forbidden => "forbidden",
        }
    }
}

/// What kind of finding it is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A sender used an address that another holds.
    SpoofedSource,
    /// A rule or a default of the operator denies it.
    Denied,
    /// An initiator nobody expected.
    UnexpectedPeer,
    /// A service port nobody documented, in use.
    UndocumentedPort,
    /// A service port nobody documented, listening; nobody called it yet.
    UndocumentedListener,
    /// A port published on every address, and nobody from outside used it for a day.
    UnusedExposure,
    /// A database called by somebody who is not of its project.
    ForeignDatabase,
    /// A container called Docker's API.
    DockerApi,
    /// A container called the address where clouds hand out credentials.
    CloudMetadata,
    /// A service whose networks are all internal called somebody outside.
    InternalOutbound,
    /// A container asked another resolver than the ones that are meant.
    ForeignResolver,
    /// A protocol that sends passwords in the clear was answered.
    CleartextAdmin,
    /// Many ports of one peer tried.
    PortScan,
    /// One port of many peers tried.
    HostSweep,
    /// Many unanswered connections to one port at once.
    SynFlood,
    /// A sender used an address nobody holds.
    UnlistedSource,
    /// A sender used a hardware address that another container or the gateway holds.
    StolenMac,
    /// A container called one place outside at one interval.
    Beaconing,
    /// One peer opened a login port again and again, each time shortly.
    PasswordGuessing,
    /// A service did far more than is usual at that time of day.
    UnusualLevel,
    /// An edge that the promoted baseline of one of its ends has not learned.
    NewEdge,
    /// An edge that somebody forbade in the baseline.
    ForbiddenEdge,
}

impl FindingKind {
    /// Every kind.
    pub const ALL: [Self; 22] = [
        Self::SpoofedSource,
        Self::Denied,
        Self::UnexpectedPeer,
        Self::UndocumentedPort,
        Self::UndocumentedListener,
        Self::UnusedExposure,
        Self::ForeignDatabase,
        Self::DockerApi,
        Self::CloudMetadata,
        Self::InternalOutbound,
        Self::ForeignResolver,
        Self::CleartextAdmin,
        Self::PortScan,
        Self::HostSweep,
        Self::SynFlood,
        Self::UnlistedSource,
        Self::StolenMac,
        Self::Beaconing,
        Self::PasswordGuessing,
        Self::UnusualLevel,
        Self::NewEdge,
        Self::ForbiddenEdge,
    ];

    /// Returns its name for machines, as serialised: `unexpected_peer`.
    pub fn name(self) -> &'static str {
        match self {
            Self::SpoofedSource => "spoofed_source",
            Self::Denied => "denied",
            Self::UnexpectedPeer => "unexpected_peer",
            Self::UndocumentedPort => "undocumented_port",
            Self::UndocumentedListener => "undocumented_listener",
            Self::UnusedExposure => "unused_exposure",
            Self::ForeignDatabase => "foreign_database",
            Self::DockerApi => "docker_api",
            Self::CloudMetadata => "cloud_metadata",
            Self::InternalOutbound => "internal_outbound",
            Self::ForeignResolver => "foreign_resolver",
            Self::CleartextAdmin => "cleartext_admin",
            Self::PortScan => "port_scan",
            Self::HostSweep => "host_sweep",
            Self::SynFlood => "syn_flood",
            Self::UnlistedSource => "unlisted_source",
            Self::StolenMac => "stolen_mac",
            Self::Beaconing => "beaconing",
            Self::PasswordGuessing => "password_guessing",
            Self::UnusualLevel => "unusual_level",
            Self::NewEdge => "new_edge",
            Self::ForbiddenEdge => "forbidden_edge",
        }
    }

    /// Returns its name for people: `unexpected peer`.
    pub fn words(self) -> &'static str {
        match self {
            Self::SpoofedSource => "spoofed source",
            Self::Denied => "denied",
            Self::UnexpectedPeer => "unexpected peer",
            Self::UndocumentedPort => "undocumented port",
            Self::UndocumentedListener => "undocumented listener",
            Self::UnusedExposure => "unused exposure",
            Self::ForeignDatabase => "foreign database",
            Self::DockerApi => "Docker API",
            Self::CloudMetadata => "cloud metadata",
            Self::InternalOutbound => "internal outbound",
            Self::ForeignResolver => "foreign resolver",
            Self::CleartextAdmin => "cleartext admin",
            Self::PortScan => "port scan",
            Self::HostSweep => "host sweep",
            Self::SynFlood => "SYN flood",
            Self::UnlistedSource => "unlisted source",
            Self::StolenMac => "stolen MAC address",
            Self::Beaconing => "beaconing",
            Self::PasswordGuessing => "password guessing",
            Self::UnusualLevel => "unusual level",
            Self::NewEdge => "new edge",
            Self::ForbiddenEdge => "forbidden edge",
        }
    }
}

/// How grave a finding is, least first.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For the record.
    Info,
    /// An attempt that led nowhere.
    Low,
    /// Somebody should look.
    Medium,
    /// Somebody should look now.
    High,
}

impl Severity {
    /// Returns its name: `high`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// A standing fact an operator should hear about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable id: 16 hexadecimal digits over kind, initiator, responder and port by name.
    pub id: String,
    /// What kind.
    pub kind: FindingKind,
    /// How grave.
    pub severity: Severity,
    /// `project/service` of who did it (an address where there is no roster).
    pub initiator: String,
    /// `project/service` of the other end; for a spoofed source, whose address was used; for a sweep, the one name
    /// all of them share, or `several`.
    pub responder: String,
    /// What was called; `None` for a spoofed or unlisted source, and for scans over many ports.
    pub port: Option<ServicePort>,
    /// How far it got, in a word: answered, refused, unanswered, blocked, attempted.
    pub reached: String,
    /// One line, one fact: `3 connections; no network, link or rule joins them`.
    pub summary: String,
    /// What it was held against: `cart documents 8080/tcp (image EXPOSE)`, `contract.toml:12 lists cart`.
    pub against: String,
    /// Since when, in engine time.
    pub first_at: Timestamp,
    /// Last time it was seen.
    pub last_at: Timestamp,
    /// First frame's number in the capture.
    pub first_frame: u64,
    /// Last frame's number.
    pub last_frame: u64,
    /// Connections (or flows) it rests on.
    pub connections: u64,
    /// Frames it rests on.
    pub frames: u64,
    /// Container names of the initiating replicas, sorted, at most 8.
    pub initiator_containers: Vec<String>,
    /// Container names of the responding replicas, sorted, at most 8; for a spoofed source, of those whose address
    /// was used.
    pub responder_containers: Vec<String>,
    /// A Wireshark display filter for its packets.
    pub wireshark_filter: String,
    /// Whether the capture was complete while it was seen; `None` where that is unknown.
    pub complete: Option<bool>,
}

/// A conversation and how it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The conversation.
    pub conversation: Conversation,
    /// How it stands.
    pub verdict: Verdict,
    /// Who documents its port, first match.
    pub documented_by: Option<DocumentSource>,
    /// The line that decided, or why nothing did: `contract.toml:12 lists shop/cart`, `nothing says who may call`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub decided_by: String,
    /// How it would stand by a contract that is not in force, where one is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// Id of the finding it belongs to.
    pub finding: Option<String>,
}

/// The four classes of a service port.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenerClass {
    /// Documented, and somebody called it.
    DocumentedUsed,
    /// Documented, and nobody did.
    DocumentedIdle,
    /// Nobody documented it, and somebody called it.
    UndocumentedUsed,
    /// Nobody documented it, it listens, and nobody called it yet.
    UndocumentedListening,
}

/// A service port of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    /// `project/service`.
    pub service: String,
    /// Compose or stack project.
    pub project: String,
    /// Port (first of a documented range).
    pub port: ServicePort,
    /// Its class.
    pub class: ListenerClass,
    /// Who documents it, all sources.
    pub documented: Vec<DocumentedPort>,
    /// Whether something listens on it, as the containers' socket tables say.
    #[serde(default, skip_serializing_if = "Listens::is_not_checked")]
    pub listens: Listens,
    /// Containers in which it does, by name, sorted, at most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listens_in: Vec<String>,
    /// Since when it was seen to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listens_since: Option<Timestamp>,
}

/// Whether something listens on a port.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listens {
    /// Something does, for calls from outside the container.
    Yes,
    /// Something does, for its own container alone.
    Loopback,
    /// Somebody looked, and nothing does.
    No,
    /// Nobody looked, or not into every container of the service.
    #[default]
    NotChecked,
}

impl Listens {
    /// Returns whether nobody looked.
    pub fn is_not_checked(&self) -> bool {
        match self {
            Self::NotChecked => true,
            Self::Yes | Self::Loopback | Self::No => false,
        }
    }
}

/// A container port mapped onto the host, and who came by it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Exposure {
    /// `project/service` of its owner.
    pub service: String,
    /// Compose or stack project.
    pub project: String,
    /// The owner's container.
    pub container: String,
    /// The container's port.
    pub port: ServicePort,
    /// Where it is bound: `0.0.0.0:8080`, `[::1]:8080`.
    pub host: String,
    /// Whether that is every address of the host.
    pub is_everywhere: bool,
    /// Whether it is the host's loopback, which nobody outside reaches.
    pub is_loopback: bool,
    /// Since when it is bound.
    pub from: Timestamp,
    /// Addresses outside that called it, sorted, at most 16.
    pub callers: Vec<IpAddr>,
    /// Further ones.
    pub callers_more: u64,
    /// Connections from outside, whatever became of them.
    pub connections_outside: u64,
    /// Connections of containers through the host.
    pub connections_inside: u64,
    /// When it was last used.
    pub last_used: Option<Timestamp>,
    /// Whether the host's firewall is believed to let callers in.
    #[serde(default)]
    pub firewall: Firewall,
}

/// What is believed of the host's firewall. Reading its rules takes a right (`CAP_NET_ADMIN`) that Portolan does not ask for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Firewall {
    /// Nobody looked.
    #[default]
    NotChecked,
}

/// A container nobody could look into.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct NotChecked {
    /// Its name.
    pub container: String,
    /// Why.
    pub reason: String,
}

/// Something that joins containers, or containers and the host, without a packet. Drawn as no edge: nobody saw it used.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Join {
    /// What kind of thing.
    pub kind: JoinKind,
    /// Which: a volume's name, a path, a container, a capability without `CAP_`; `host`.
    pub what: String,
    /// Whom it joins, at most 64.
    pub members: Vec<JoinMember>,
    /// Further ones.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub members_left_out: u64,
}

/// A container that is joined.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct JoinMember {
    /// `project/service`.
    pub service: String,
    /// Container name.
    pub container: String,
    /// How: `read`, `read and write`; where the socket lies; `owner`, `shares it`, `host`; for rights the user it runs as.
    pub how: String,
}

/// Kinds of things that join containers without a packet.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinKind {
    /// Docker's socket is mounted: whoever may write to it is root on the host.
    DockerSocket,
    /// A volume two containers have mounted, of whom one may write.
    Volume,
    /// A folder or file of the host, likewise.
    HostPath,
    /// A network namespace: ports of one are ports of the other.
    NetworkNamespace,
    /// A process namespace.
    PidNamespace,
    /// Shared memory.
    IpcNamespace,
    /// Every capability and device of the host.
    Privileged,
    /// A capability Docker does not grant unasked.
    Capability,
}

impl JoinKind {
    /// Returns its name, as serialised: `docker_socket`.
    pub fn name(self) -> &'static str {
        match self {
            Self::DockerSocket => "docker_socket",
            Self::Volume => "volume",
            Self::HostPath => "host_path",
            Self::NetworkNamespace => "network_namespace",
            Self::PidNamespace => "pid_namespace",
            Self::IpcNamespace => "ipc_namespace",
            Self::Privileged => "privileged",
            Self::Capability => "capability",
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// A snapshot with verdicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// The snapshot, its conversations moved into `judged`.
    pub snapshot: Snapshot,
    /// Conversations with verdicts, in the snapshot's order.
    pub judged: Vec<Judged>,
    /// Standing findings, gravest first, then by first time and id.
    pub findings: Vec<Finding>,
    /// Findings beyond the most that are listed, the least grave.
    pub findings_left_out: u64,
    /// Service ports by class, sorted by service and port.
    pub listeners: Vec<Listener>,
    /// Containers of which nobody knows what listens in them, of those somebody tried to look into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listening_not_checked: Vec<NotChecked>,
    /// Published ports and who came by them, sorted by service, port and host address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exposures: Vec<Exposure>,
    /// What joins containers without a packet, sorted by kind and what it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joins: Vec<Join>,
    /// Further joins.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub joins_left_out: u64,
    /// Services for which no source documents any port, sorted.
    pub undeclared: Vec<String>,
    /// Rules of the contract and how often each decided, as written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleUse>,
    /// Things the operator should know about the contract: services absent here, ...
    pub warnings: Vec<String>,
    /// What the traffic was held against, in one line: `contract.toml, 2 services`, `none: documented ports come
    /// from images`.
    pub contract: String,
}

/// The news about a finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// What happened to it.
    pub state: AlertState,
    /// The finding.
    pub finding: Finding,
    /// Who said so and why, where somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Note>,
}

/// What happened to a finding.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// It is new.
    Raised,
    /// It got graver.
    Updated,
    /// It no longer stands.
    Cleared,
    /// Every container at one of its ends is gone.
    Ended,
    /// Somebody has looked.
    Acknowledged,
    /// Somebody does not want to hear of it for a while.
    Suppressed,
    /// Somebody took that back.
    Reopened,
}
