//! A slot in two parts: what every packet touches, and what only changes touch.

use crate::directory::{Holder, ScopeId};
use crate::flow::{Claim, End, Flow, InitiatorEvidence, Outcome, Side};
use crate::history::History;
use crate::key::FlowKey;
use crate::ledger::Tally;
use crate::observation::Packet;
use crate::progress::State;
use crate::sequence::{Expected, Marks, Numbers};
use crate::units::{Protocol, Timestamp};

/// What a packet of a known flow touches.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Hot {
    pub(super) key: FlowKey,
    /// Bytes and frames since the last delta or spill, from A and from B.
    pub(super) bytes: [u32; 2],
    pub(super) frames: [u32; 2],
    /// Sequence number after the highest seen from A and from B.
    pub(super) next_sequence: [u32; 2],
    pub(super) last_at: Timestamp,
    /// Attachments of A and B; 0 where an end is none.
    pub(super) attachments: [u32; 2],
    /// Last frame's number above the table's base.
    pub(super) last_frame: u32,
    pub(super) epoch: u16,
    pub(super) state: State,
    pub(super) marks: Marks,
}

const _: () = assert!(size_of::<Hot>() == 64, "a hot slot is one cache line");

/// What opening, control bits and hand-over touch, as it is worked on; it is kept in a [`Row`](super::row::Row).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cold {
    pub(crate) flow: Flow,
    /// Engine time of the first frame.
    pub(super) opened_at: Timestamp,
    /// First SYN's time, for the round trip; unset once a SYN was repeated (Karn's rule).
    pub(crate) syn_at: Option<Timestamp>,
    /// First SYN's sequence number: a SYN with another one is another connection.
    pub(crate) syn_sequence: Option<u32>,
    /// Time and sequence number of the SYN-ACK, for the other half of the round trip; unset once it was repeated or
    /// acknowledged.
    pub(crate) syn_ack: Option<(Timestamp, u32)>,
    /// What is remembered of the sequence numbers of A and of B.
    pub(super) numbers: [Numbers; 2],
    /// Growth since the last delta that outgrew the hot part, from A and from B.
    pub(super) spilled: [Tally; 2],
    /// Whether a delivery would have been sighted: sender and receiver both sit behind known veths.
    pub(crate) expects_delivery: bool,
}

impl Hot {
    /// Counts one frame and returns whether the slot already stood in the list of dirty ones; `None`, and nothing is
    /// counted, where the counters have no room. `at` is engine time, `frame` its number above the table's base.
    #[inline]
    pub(super) fn count(&mut self, side: Side, wire_bytes: u32, at: Timestamp, frame: u32) -> Option<bool> {
        let bytes = self.bytes[side.index()].checked_add(wire_bytes)?;
        self.frames[side.index()] = self.frames[side.index()].checked_add(1)?;
        self.bytes[side.index()] = bytes;
        self.last_at = self.last_at.max(at);
        self.last_frame = self.last_frame.max(frame);
        Some(self.mark_dirty())
    }

    /// Returns whether the counters of this side have room for one more frame.
    #[inline]
    pub(super) fn has_room(&self, side: Side, wire_bytes: u32) -> bool {
        self.bytes[side.index()] <= u32::MAX - wire_bytes && self.frames[side.index()] < u32::MAX
    }

    /// Counts one frame, whatever the counters hold: what they held moves to the cold part.
    pub(super) fn count_or_spill(
        &mut self,
        cold: &mut Cold,
        side: Side,
        wire_bytes: u32,
        at: Timestamp,
        frame: u32,
    ) -> bool {
        if let Some(was_dirty) = self.count(side, wire_bytes, at, frame) {
            return was_dirty;
        }
        let growth = self.growth(side);
        cold.spilled[side.index()] += growth;
        (self.bytes[side.index()], self.frames[side.index()]) = (0, 0);
        self.count(side, wire_bytes, at, frame).unwrap_or(true)
    }

    /// Returns what one side's counters hold.
    pub(super) fn growth(&self, side: Side) -> Tally {
        Tally { frames: u64::from(self.frames[side.index()]), bytes: u64::from(self.bytes[side.index()]) }
    }

    /// The turn of a flow that makes no room.
    pub(super) const NO_TURN: u64 = u64::MAX;
    /// First turn of attempts; those of what is closed come before.
    pub(super) const ATTEMPTS_TURN: u64 = 1 << 62;

    /// Returns when the flow may make room for another: what is closed before attempts, and of either the one that was
    /// silent for longest. Equal turns are equal times but for those where [`Hot::is_exact`] says otherwise.
    pub(super) fn turn(&self) -> u64 {
        let at = u64::try_from(self.last_at.0).unwrap_or(0).min(Self::ATTEMPTS_TURN - 1);
        match self.state {
            State::Closed => at,
            State::Attempt => Self::ATTEMPTS_TURN | at,
            State::Settled | State::Closing => Self::NO_TURN,
        }
    }

    /// Returns whether a turn stands for one time alone: any from 1970 to 2116.
    pub(super) fn is_exact(turn: u64) -> bool {
        !matches!(turn & (Self::ATTEMPTS_TURN - 1), 0 | 0x3fff_ffff_ffff_ffff)
    }

    /// Marks the slot as one that has something to hand over; returns whether it was marked before.
    pub(super) fn mark_dirty(&mut self) -> bool {
        let was_dirty = self.marks.has(Marks::DIRTY);
        self.marks.set(Marks::DIRTY);
        was_dirty
    }

    /// Takes the packet that was expected; false for any other.
    #[inline]
    pub(super) fn take_expected(&mut self, side: Side, packet: &Packet) -> bool {
        self.expected().take(side, packet)
    }

    #[inline]
    pub(super) fn expected(&mut self) -> Expected<'_> {
        Expected { next: &mut self.next_sequence, marks: &mut self.marks }
    }

    pub(super) const EMPTY: Self = Self {
        key: FlowKey(0),
        bytes: [0; 2],
        frames: [0; 2],
        next_sequence: [0; 2],
        last_at: Timestamp(0),
        attachments: [0; 2],
        last_frame: 0,
        epoch: 0,
        state: State::Closed,
        marks: Marks(0),
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
                ack_rtt: None,
                history: History::EMPTY,
                retransmissions: [0; 2],
                zero_windows: [0; 2],
                gaps: [0; 2],
                unseen: [0; 2],
                icmp_error: None,
                is_midstream: false,
                is_delivered: false,
                is_tunnel: false,
                icmp_type: None,
                icmp_code: None,
                first_sender: Side::A,
            },
            opened_at: Timestamp(0),
            syn_at: None,
            syn_sequence: None,
            syn_ack: None,
            numbers: [Numbers::NONE; 2],
            spilled: [Tally { frames: 0, bytes: 0 }; 2],
            expects_delivery: false,
        }
    };
}
