//! Conversations: all flows of one initiator to one service port of one responder, with names.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::directory::AttachmentId;
use crate::flow::{Claim, InitiatorEvidence};
use crate::ledger::{Completeness, Ledger, Tally};
use crate::units::{ServicePort, Timestamp};
use crate::workload::Workload;

/// One end of a conversation, named.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Peer {
    /// A container, and the address it used.
    Workload {
        /// Who it is.
        workload: Arc<Workload>,
        /// Its address in the conversation's network.
        address: IpAddr,
    },
    /// The Docker host.
    Host {
        /// The host's address it used.
        address: IpAddr,
    },
    /// Outside every container network.
    External {
        /// Its address.
        address: IpAddr,
    },
    /// An address of a container network that no known container holds.
    Unclaimed {
        /// The address.
        address: IpAddr,
        /// The attachment, where the frames came by a veth nobody could name.
        attachment: Option<AttachmentId>,
    },
    /// Multicast or broadcast.
    Group {
        /// The group's address.
        address: IpAddr,
    },
    /// Several bindings fit and nothing tells them apart.
    Ambiguous {
        /// The address.
        address: IpAddr,
    },
    /// No roster: the address is all that is known.
    Bare {
        /// The address.
        address: IpAddr,
    },
}

impl Peer {
    /// Returns the address it used.
    pub fn address(&self) -> IpAddr {
        match self {
            Self::Workload { address, .. }
            | Self::Host { address }
            | Self::External { address }
            | Self::Unclaimed { address, .. }
            | Self::Group { address }
            | Self::Ambiguous { address }
            | Self::Bare { address } => *address,
        }
    }

    /// Returns the workload, if it is one.
    pub fn workload(&self) -> Option<&Arc<Workload>> {
        match self {
            Self::Workload { workload, .. } => Some(workload),
            Self::Host { .. }
            | Self::External { .. }
            | Self::Unclaimed { .. }
            | Self::Group { .. }
            | Self::Ambiguous { .. }
            | Self::Bare { .. } => None,
        }
    }

    /// Returns the name replicas share: `project/service`, `host`, `external`, `unclaimed`, `multicast`,
    /// `ambiguous`, or the address itself where there is no roster.
    pub fn service(&self) -> String {
        match self {
            Self::Workload { workload, .. } => workload.qualified(),
            Self::Host { .. } => "host".to_owned(),
            Self::External { .. } => "external".to_owned(),
            Self::Unclaimed { .. } => "unclaimed".to_owned(),
            Self::Group { .. } => "multicast".to_owned(),
            Self::Ambiguous { .. } => "ambiguous".to_owned(),
            Self::Bare { address } => address.to_string(),
        }
    }

    /// Returns the compose or stack project; empty for everything but a workload that has one.
    pub fn project(&self) -> &str {
        self.workload().map_or("", |workload| workload.project.as_str())
    }
}

/// How a conversation's connections fared.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Answered by a SYN-ACK or a datagram.
    pub answered: u64,
    /// Answered by RST or an ICMP error.
    pub refused: u64,
    /// Not answered.
    pub unanswered: u64,
    /// Never delivered on this host.
    pub blocked: u64,
    /// Too early to say. The only figure that falls.
    pub pending: u64,
}

impl Outcomes {
    /// Returns connections attempted, whatever became of them.
    pub fn attempted(&self) -> u64 {
        self.answered + self.failed() + self.pending
    }

    /// Returns refused, unanswered and blocked together.
    pub fn failed(&self) -> u64 {
        self.refused + self.unanswered + self.blocked
    }
}

/// All flows of one initiator to one service port of one responder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// Who opened it: the attachment that sent, whatever address it claimed.
    pub initiator: Peer,
    /// Who was called. For a published port reached through the host: the port's owner.
    pub responder: Peer,
    /// What was called.
    pub port: ServicePort,
    /// Network it was seen in; empty where the capture does not say.
    pub network: String,
    /// The host binding it went through: `host:8080`.
    pub via: Option<String>,
    /// Best evidence among its flows for who opened them.
    pub evidence: InitiatorEvidence,
    /// How the initiator stands to the address it used.
    pub claim: Claim,
    /// For a spoofed conversation: the address that was claimed, and who holds it.
    pub claimed: Option<Box<Peer>>,
    /// Sent by the initiator.
    pub sent: Tally,
    /// Received by the initiator.
    pub received: Tally,
    /// How its connections fared. Protocols without connections count flows.
    pub connections: Outcomes,
    /// Flows that are open.
    pub open: u64,
    /// Whether some flow was joined after its opening.
    pub is_midstream: bool,
    /// Whether it is the host's or docker-proxy's leg towards a published port.
    pub is_proxy_leg: bool,
    /// Whether it carried tunnels.
    pub is_tunnel: bool,
    /// First frame's time.
    pub first_at: Timestamp,
    /// Last frame's time.
    pub last_at: Timestamp,
    /// First frame's number.
    pub first_frame: u64,
    /// Last frame's number.
    pub last_frame: u64,
    /// Median handshake round trip in nanoseconds, to a quarter octave.
    pub rtt_p50: Option<i64>,
    /// Most handshakes opened within one second that were not answered; what a flood is judged by.
    pub burst_unanswered: u64,
    /// Source port of the first flow, for Community ID and a Wireshark filter.
    pub first_source_port: Option<crate::units::Port>,
}

/// Conversations at one instant, with names and accounts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was taken, in engine time.
    pub at: Timestamp,
    /// First frame's time, or the tap's start.
    pub from: Timestamp,
    /// Conversations, in the order of first frame and then of names.
    pub conversations: Vec<Conversation>,
    /// The accounts of the data plane.
    pub ledger: Ledger,
    /// Frames the kernel dropped; `None` where the source does not say.
    pub kernel_dropped: Option<u64>,
    /// Whether anything was missed.
    pub completeness: Completeness,
    /// Whether somebody told who is who.
    pub has_roster: bool,
    /// Containers known, running or ended within the last minute.
    pub workloads: Vec<Arc<Workload>>,
    /// Set while names may be out of date.
    pub stale: Option<String>,
    /// Frames and bytes of conversations that are not published yet because an end has no name.
    pub withheld: Tally,
    /// Conversations folded away because a limit was reached.
    pub conversations_folded: u64,
}

/// The control plane's totals.
#[derive(Debug, Default)]
pub struct Conversations {}
