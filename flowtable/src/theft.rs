//! Stolen hardware addresses: frames sent from an address that another attachment of the network holds, or its gateway.
//!
//! A bridge learns where an address lives from the frames it forwards, so who sends one frame from another's address is
//! sent what is meant for that other. The sender is known by its interface all the same.
//!
//! A container's frame pays for it with the comparison of its address with the one its interface's row holds, some two
//! instructions (callgrind, release build); only another address is looked up.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::directory::{AttachmentId, ScopeId};
use crate::observation::{MacAddr, Observation};
use crate::units::Timestamp;
use crate::workload::Workload;

/// Pairs of thief and address told apart; frames of further ones are counted together.
pub const THEFTS_MAX: usize = 64;

/// One attachment's use of an address it does not hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Theft {
    /// The network it happened in.
    pub scope: ScopeId,
    /// Who sent.
    pub thief: AttachmentId,
    /// Who holds the address; 0 for the network's own bridge, the gateway.
    pub holder: AttachmentId,
    /// The address.
    pub mac: MacAddr,
    /// Frames sent from it.
    pub frames: u64,
    /// Time of the first.
    pub first_at: Timestamp,
    /// Time of the last.
    pub last_at: Timestamp,
    /// Number of the first in the capture.
    pub first_frame: u64,
    /// Number of the last.
    pub last_frame: u64,
}

/// All thefts seen, at most [`THEFTS_MAX`].
#[derive(Clone, Debug, Default)]
pub struct Thefts {
    rows: Vec<Theft>,
    /// Frames of thefts beyond.
    beyond: u64,
}

impl Thefts {
    /// Builds an empty list that will not have to grow.
    pub(crate) fn new() -> Self {
        Self { rows: Vec::with_capacity(THEFTS_MAX), beyond: 0 }
    }

    /// Returns the thefts in the order of their first frames.
    pub fn rows(&self) -> &[Theft] {
        &self.rows
    }

    /// Returns frames of thefts that found no row.
    pub fn beyond(&self) -> u64 {
        self.beyond
    }

    pub(crate) fn note(
        &mut self,
        seen: &Observation,
        scope: ScopeId,
        thief: AttachmentId,
        holder: AttachmentId,
    ) {
        let is_it = |row: &&mut Theft| {
            row.thief == thief && row.mac == seen.source_mac && row.holder == holder && row.scope == scope
        };
        if let Some(row) = self.rows.iter_mut().find(is_it) {
            row.frames += 1;
            row.first_at = row.first_at.min(seen.at);
            row.last_at = row.last_at.max(seen.at);
            row.last_frame = seen.frame;
        } else if self.rows.len() < THEFTS_MAX {
            self.rows.push(Theft {
                scope,
                thief,
                holder,
                mac: seen.source_mac,
                frames: 1,
                first_at: seen.at,
                last_at: seen.at,
                first_frame: seen.frame,
                last_frame: seen.frame,
            });
        } else {
            self.beyond += 1;
        }
    }
}

/// A theft with names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StolenMac {
    /// The network's name.
    pub network: String,
    /// Who sent; `None` where nobody knows any more.
    pub thief: Option<Arc<Workload>>,
    /// Whose address it is.
    pub holder: MacHolder,
    /// The address.
    pub mac: MacAddr,
    /// Frames sent from it.
    pub frames: u64,
    /// Time of the first.
    pub first_at: Timestamp,
    /// Time of the last.
    pub last_at: Timestamp,
    /// Number of the first in the capture.
    pub first_frame: u64,
    /// Number of the last.
    pub last_frame: u64,
}

/// Who holds a hardware address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MacHolder {
    /// The network's bridge: what goes to the gateway goes there.
    Gateway,
    /// A container.
    Workload(Arc<Workload>),
    /// One nobody could name.
    Nameless,
}

impl Theft {
    /// Binds names to it.
    pub fn named(&self, names: &crate::workload::Names) -> StolenMac {
        let of = |attachment| names.attachments.get(&attachment).cloned();
        StolenMac {
            network: names.scopes.get(&self.scope).map_or_else(String::new, |name| name.to_string()),
            thief: of(self.thief),
            holder: match of(self.holder) {
                _ if self.holder == AttachmentId(0) => MacHolder::Gateway,
                Some(workload) => MacHolder::Workload(workload),
                None => MacHolder::Nameless,
            },
            mac: self.mac,
            frames: self.frames,
            first_at: self.first_at,
            last_at: self.last_at,
            first_frame: self.first_frame,
            last_frame: self.last_frame,
        }
    }
}
