//! A slot in two parts: what every packet touches, and what only changes touch.

use crate::directory::{Holder, ScopeId};
use crate::flow::{Claim, End, Flow, InitiatorEvidence, Outcome, Side};
use crate::key::FlowKey;
use crate::progress::State;
use crate::units::{Protocol, Timestamp};

/// What a packet of a known flow touches.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Hot {
    pub(super) key: FlowKey,
    /// Bytes and frames since the last delta, from A and from B.
    pub(super) bytes: [u64; 2],
    pub(super) frames: [u32; 2],
    pub(super) last_at: Timestamp,
    /// Attachments of A and B; 0 where an end is none.
    pub(super) attachments: [u32; 2],
    /// Last frame's number above the table's base.
    pub(super) last_frame: u32,
    pub(super) epoch: u16,
    pub(super) state: State,
    /// Whether the slot stands in the list of dirty ones, be it for a flow that has ended since.
    pub(super) is_dirty: bool,
}

const _: () = assert!(size_of::<Hot>() == 64, "a hot slot is one cache line");

/// What opening, control bits and hand-over touch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cold {
    pub(crate) flow: Flow,
    /// Engine time of the first frame.
    pub(super) opened_at: Timestamp,
    /// First SYN's time, for the round trip; unset once a SYN was repeated (Karn's rule).
    pub(crate) syn_at: Option<Timestamp>,
    /// First SYN's sequence number: a SYN with another one is another connection.
    pub(crate) syn_sequence: Option<u32>,
    /// Whether a delivery would have been sighted: sender and receiver both sit behind known veths.
    pub(crate) expects_delivery: bool,
}

impl Hot {
    /// Counts one frame; returns whether the slot already stood in the list of dirty ones. `at` is engine time,
    /// `frame` its number above the table's base.
    pub(super) fn count(&mut self, side: Side, wire_bytes: u32, at: Timestamp, frame: u32) -> bool {
        self.bytes[side.index()] += u64::from(wire_bytes);
        self.frames[side.index()] = self.frames[side.index()].saturating_add(1);
        self.last_at = self.last_at.max(at);
        self.last_frame = self.last_frame.max(frame);
        std::mem::replace(&mut self.is_dirty, true)
    }

    pub(super) const EMPTY: Self = Self {
        key: FlowKey(0),
        bytes: [0; 2],
        frames: [0; 2],
        last_at: Timestamp(0),
        attachments: [0; 2],
        last_frame: 0,
        epoch: 0,
        state: State::Closed,
        is_dirty: false,
    };
}

impl Cold {
    pub(super) const EMPTY: Self = {
        let nobody = End {
            address: std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            port: None,
            holder: Holder::Bare,
        };
        Self {
            flow: Flow {
                id: 0,
                scope: ScopeId(0),
                protocol: Protocol(0),
                ends: [nobody, nobody],
                initiator: Side::A,
                evidence: InitiatorEvidence::FirstSender,
                claim: Claim::Own,
                outcome: Outcome::Pending,
                first_at: Timestamp(0),
                last_at: Timestamp(0),
                first_frame: 0,
                last_frame: 0,
                frames: [0; 2],
                bytes: [0; 2],
                tcp_flags: [0; 2],
                rtt: None,
                is_midstream: false,
                is_delivered: false,
                is_tunnel: false,
                icmp_type: None,
            },
            opened_at: Timestamp(0),
            syn_at: None,
            syn_sequence: None,
            expects_delivery: false,
        }
    };
}
