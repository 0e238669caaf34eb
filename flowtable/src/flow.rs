//! A flow: the packets of one flow key within a span of time, both directions.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::directory::{Holder, ScopeId};
use crate::history::{ConnState, History};
use crate::units::{Port, Protocol, ServicePort, Timestamp};

/// One of a flow's two ends, in the key's fixed order: `A` has the smaller (address, port).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The end with the smaller (address length, address, port).
    #[default]
    A,
    /// The other end.
    B,
}

impl Side {
    /// Returns the other side.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Returns 0 for `A`, 1 for `B`.
    pub fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
}

/// One end of a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct End {
    /// Its address.
    pub address: IpAddr,
    /// Its port, where the protocol has one and it was readable.
    pub port: Option<Port>,
    /// Who held the address when the flow opened, or when the roster last moved. For a sender seen at its veth:
    /// the true sender, whatever the address claims.
    pub holder: Holder,
}

/// Why one end is believed to have opened the flow, best first. Findings never rest on the last two.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitiatorEvidence {
    /// Its SYN was seen.
    Handshake,
    /// The other end's SYN-ACK was seen, and this end's own veth sent too.
    SynAck,
    /// It sent the first packet since its attachment was known, and the other end answered.
    Exchange,
    /// The other end's port is documented or was seen to listen; the flow was open before the start.
    KnownListener,
    /// A guess from the port numbers.
    Port,
    /// A guess: it was seen first.
    FirstSender,
}

impl InitiatorEvidence {
    /// Returns whether a finding may rest on it.
    pub fn is_proof(self) -> bool {
        match self {
            Self::Handshake => true,
            Self::SynAck => true,
            Self::Exchange => true,
            Self::KnownListener => true,
            Self::Port => false,
            Self::FirstSender => false,
        }
    }
}

/// How far a flow got.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Attempted, and too early to say.
    Pending,
    /// A SYN-ACK or an answer came back.
    Answered,
    /// Answered by RST before any SYN-ACK, or by an ICMP error.
    Refused,
    /// Nothing came back.
    Unanswered,
    /// The opening packet was never sighted at the receiver's veth, while the tap lost nothing.
    Blocked,
}

/// How the sender of a flow stands to its source address.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// The sender holds the address, or nothing says otherwise.
    Own,
    /// Another attachment, the gateway or the host holds the address now.
    Spoofed,
    /// Nobody holds the address.
    Unlisted,
    /// An answer to traffic the address's holder never sent: provoked by somebody spoofing it.
    Backscatter,
}

/// What ICMP errors said about a flow: messages that quote one of its packets.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct IcmpError {
    /// Type of the last one.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// How many there were.
    pub count: u64,
}

/// One flow as the table knows it; a copy, taken between batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flow {
    /// Number of the flow, from 1, in order of opening.
    pub id: u64,
    /// The container network it was seen in.
    pub scope: ScopeId,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Both ends, in the key's fixed order.
    pub ends: [End; 2],
    /// Who opened it.
    pub initiator: Side,
    /// Why that is believed.
    pub evidence: InitiatorEvidence,
    /// How the initiator stands to its address.
    pub claim: Claim,
    /// How far it got.
    pub outcome: Outcome,
    /// First and last frame's time.
    pub first_at: Timestamp,
    /// Last frame's time.
    pub last_at: Timestamp,
    /// First frame's number.
    pub first_frame: u64,
    /// Last frame's number.
    pub last_frame: u64,
    /// Frames sent by A and by B.
    pub frames: [u64; 2],
    /// Bytes on the wire sent by A and by B.
    pub bytes: [u64; 2],
    /// Control bits seen from A and from B, or-ed.
    pub tcp_flags: [u8; 2],
    /// SYN to SYN-ACK as seen here, in nanoseconds.
    pub rtt: Option<i64>,
    /// SYN-ACK to the initiator's ACK of it as seen here, in nanoseconds: the way to the initiator and back.
    pub ack_rtt: Option<i64>,
    /// What its packets did, in their order.
    pub history: History,
    /// Segments from A and from B that begin before the end of what was seen from that side.
    pub retransmissions: [u64; 2],
    /// Segments from A and from B that closed the window.
    pub zero_windows: [u64; 2],
    /// Acknowledgments of something from A and from B that was never seen.
    pub gaps: [u64; 2],
    /// Sequence numbers of A and of B that their sender passed over, the other end acknowledged and nobody saw, at
    /// least: one for a byte, and one for a SYN or a FIN. Falls when what was missing comes late.
    pub unseen: [u64; 2],
    /// What ICMP errors said about it.
    pub icmp_error: Option<IcmpError>,
    /// Whether the flow was joined after its opening.
    pub is_midstream: bool,
    /// Whether a frame of the initiator was sighted at the receiver's veth.
    pub is_delivered: bool,
    /// Whether it carried another IP packet in a tunnel.
    pub is_tunnel: bool,
    /// ICMP type of the first message, for ICMP flows.
    pub icmp_type: Option<u8>,
    /// Its code.
    pub icmp_code: Option<u8>,
    /// Who sent the first packet.
    pub first_sender: Side,
}

impl Flow {
    /// Returns the bytes that were acknowledged and have not been seen, at least. One number of each direction may be a
    /// FIN, or the byte a keep-alive repeats, and counts as none.
    pub fn unseen_bytes(&self) -> u64 {
        self.unseen.iter().map(|numbers| numbers.saturating_sub(1)).sum()
    }

    /// Returns the end that opened the flow.
    pub fn initiator_end(&self) -> &End {
        self.end(self.initiator)
    }

    /// Returns the end that was called.
    pub fn responder_end(&self) -> &End {
        self.end(self.initiator.other())
    }

    /// Returns one end.
    pub fn end(&self, side: Side) -> &End {
        let [a, b] = &self.ends;
        match side {
            Side::A => a,
            Side::B => b,
        }
    }

    /// Returns the protocol and port the responder serves on.
    pub fn service_port(&self) -> ServicePort {
        ServicePort { port: self.responder_end().port, protocol: self.protocol }
    }

    /// Returns how it stands, in the words of Zeek's `conn.log`.
    pub fn conn_state(&self) -> ConnState {
        self.history.conn_state(self.protocol, self.initiator)
    }

    /// Returns (sent, received), seen from the initiator, of a per-side pair.
    pub fn directed<T: Copy>(&self, per_side: [T; 2]) -> (T, T) {
        let [a, b] = per_side;
        match self.initiator {
            Side::A => (a, b),
            Side::B => (b, a),
        }
    }
}
