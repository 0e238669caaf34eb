//! The accounts: where every frame went.

use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Serialize};

use crate::units::Timestamp;

/// Frames and the bytes they had on the wire.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Frames.
    pub frames: u64,
    /// Bytes on the wire.
    pub bytes: u64,
}

impl Tally {
    /// Counts one frame.
    pub fn count(&mut self, wire_bytes: u32) {
        self.frames += 1;
        self.bytes += u64::from(wire_bytes);
    }
}

impl Add for Tally {
    type Output = Self;
    /// Stops at the top: no traffic gets there, a number in somebody's file may.
    fn add(self, other: Self) -> Self {
        Self {
            frames: self.frames.saturating_add(other.frames),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Tally {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self {
            frames: self.frames.saturating_sub(other.frames),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

/// Why a delivered, readable frame is in no flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotCounted {
    /// The same frame was or will be counted at another interface.
    SecondSighting,
    /// Seen on an interface that carries no container's traffic.
    Foreign,
    /// Its interface got no role in time.
    UnknownInterface,
    /// Outside `--since`, `--until` or `--filter`.
    Deselected,
}

/// Why a frame could not be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejected {
    /// The capture kept too few bytes to reach the addresses.
    Truncated,
    /// A length or version field contradicts the header it stands in.
    Malformed,
    /// More nested headers than the parser follows.
    TooDeep,
    /// The link type is not one this parser knows.
    UnknownLinkType,
}

/// Where every frame went. All counters only grow.
///
/// `delivered = accepted + sum(not_counted) + sum(rejected) + held`, and
/// `accepted = flows + non_ip + overflow`, in frames and bytes, at every batch boundary.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Frames the tap handed over.
    pub delivered: Tally,
    /// Second sightings.
    pub second_sighting: Tally,
    /// Frames of foreign interfaces.
    pub foreign: Tally,
    /// Frames whose interface got no role in time.
    pub unknown_interface: Tally,
    /// Frames the user deselected.
    pub deselected: Tally,
    /// Frames cut before their addresses.
    pub truncated: Tally,
    /// Frames that contradict themselves.
    pub malformed: Tally,
    /// Frames nested too deeply.
    pub too_deep: Tally,
    /// Frames of an unknown link type.
    pub unknown_link_type: Tally,
    /// Frames waiting for their interface's role. The only figure that falls.
    pub held: Tally,
    /// ARP frames.
    pub arp: Tally,
    /// Other frames without an IP header.
    pub other_non_ip: Tally,
    /// Frames for which the flow table had no room.
    pub overflow: Tally,
    /// Frames metered into flows.
    pub metered: Tally,
    /// Frames metered into flows whose delta was not yet handed over.
    pub undrained: Tally,
    /// Flows opened.
    pub flows_opened: u64,
    /// Flows that ended by FIN, RST or silence.
    pub flows_ended: u64,
    /// Flows that made room for others.
    pub flows_evicted: u64,
    /// Frames whose time was before their predecessor's.
    pub backward_steps: u64,
}

impl Ledger {
    /// Counts a frame that is in no flow.
    pub fn not_counted(&mut self, reason: NotCounted, wire_bytes: u32) {
        match reason {
            NotCounted::SecondSighting => self.second_sighting.count(wire_bytes),
            NotCounted::Foreign => self.foreign.count(wire_bytes),
            NotCounted::UnknownInterface => self.unknown_interface.count(wire_bytes),
            NotCounted::Deselected => self.deselected.count(wire_bytes),
        }
    }

    /// Counts frames that are in no flow.
    pub fn not_counted_many(&mut self, reason: NotCounted, left_out: Tally) {
        match reason {
            NotCounted::SecondSighting => self.second_sighting += left_out,
            NotCounted::Foreign => self.foreign += left_out,
            NotCounted::UnknownInterface => self.unknown_interface += left_out,
            NotCounted::Deselected => self.deselected += left_out,
        }
    }

    /// Counts a frame that could not be read.
    pub fn rejected(&mut self, reason: Rejected, wire_bytes: u32) {
        match reason {
            Rejected::Truncated => self.truncated.count(wire_bytes),
            Rejected::Malformed => self.malformed.count(wire_bytes),
            Rejected::TooDeep => self.too_deep.count(wire_bytes),
            Rejected::UnknownLinkType => self.unknown_link_type.count(wire_bytes),
        }
    }

    /// Returns the frames no flow could take for what they were.
    pub fn all_rejected(&self) -> Tally {
        self.truncated + self.malformed + self.too_deep + self.unknown_link_type
    }

    /// Returns the frames left out by rule.
    pub fn all_not_counted(&self) -> Tally {
        self.second_sighting + self.foreign + self.unknown_interface + self.deselected
    }

    /// Returns the frames taken in: metered, without IP, or turned away by a full table.
    pub fn accepted(&self) -> Tally {
        self.metered + self.arp + self.other_non_ip + self.overflow
    }

    /// Returns (frames, bytes) by which the accounts do not balance, given what the control plane has added up
    /// from deltas. Both must be 0 whenever the deltas in flight have been applied.
    pub fn residual(&self, conversations: Tally) -> (i128, i128) {
        let side = |pick: fn(Tally) -> u64| {
            let taken = pick(self.accepted() + self.all_not_counted() + self.all_rejected() + self.held);
            let outer = i128::from(pick(self.delivered)) - i128::from(taken);
            let inner = i128::from(pick(self.metered))
                - i128::from(pick(conversations))
                - i128::from(pick(self.undrained));
            // Two balances; a residual in either is a residual, and they must not cancel.
            outer.abs() + inner.abs()
        };
        (side(|tally| tally.frames), side(|tally| tally.bytes))
    }
}

/// An interval in which frames were lost or may have been.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Blindness {
    /// Last frame delivered before the loss could have begun.
    pub from: Timestamp,
    /// First frame delivered after it was over.
    pub until: Timestamp,
    /// Frames known to be lost; `None` where the number is unknown.
    pub frames: Option<u64>,
    /// What happened, in words: `ring full`, `settlement`, ...
    pub cause: String,
}

/// Whether anything was missed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Completeness {
    /// Every offered frame was seen, read and had room.
    Complete,
    /// Frames are missing; the reasons, each a sentence without a full stop.
    Incomplete {
        /// What is missing.
        reasons: Vec<String>,
        /// When.
        blind: Vec<Blindness>,
        /// Whether something is missing at times nobody knows: it may touch anything.
        #[serde(default)]
        is_undated: bool,
    },
    /// The source does not say what it lost.
    Unknown {
        /// Why it is unknown, and anything known to be missing.
        reasons: Vec<String>,
    },
}

impl Completeness {
    /// Returns whether nothing was missed between two instants; `None` where the source does not say.
    pub fn between(&self, first: Timestamp, last: Timestamp) -> Option<bool> {
        match self {
            Self::Complete => Some(true),
            Self::Incomplete { blind, is_undated, .. } => {
                let is_hit = blind.iter().any(|hole| hole.from <= last && first <= hole.until);
                Some(!is_undated && !is_hit)
            }
            Self::Unknown { .. } => None,
        }
    }

    /// Returns the bare word: `complete`, `incomplete` or `unknown`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Incomplete { .. } => "incomplete",
            Self::Unknown { .. } => "unknown",
        }
    }
}
