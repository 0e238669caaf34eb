//! The vantage rule: which sighting of a frame counts.

use std::collections::HashMap;

use crate::directory::{AttachmentId, ScopeId};
use crate::observation::{Direction, MacAddr, Observation};

/// A kernel interface index, or an interface's position in a capture file. The kernel does not reuse indexes.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct InterfaceId(pub u32);

/// What an interface is to the vantage rule.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Not known yet: its frames are held for a moment.
    #[default]
    Unknown,
    /// The host's end of a container's veth.
    Container,
    /// A container network's bridge.
    Bridge,
    /// Neither: loopback, a physical interface, another tool's.
    Foreign,
    /// The only vantage of a capture, or one without roles: every frame counts.
    Plain,
}

/// One row of the interface table. Written, a field that is zero is left out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct InterfaceEntry {
    /// Its role.
    pub role: Role,
    /// The container network it belongs to.
    #[serde(skip_serializing_if = "is_zero")]
    pub scope: ScopeId,
    /// For a container's veth: the attachment, 0 where only its role is known. 0 otherwise.
    #[serde(skip_serializing_if = "is_zero")]
    pub attachment: AttachmentId,
    /// For a bridge: its own address, which tells what the host sent from what it merely forwarded. For a container's
    /// veth: the container's own address, where it is known and the container is there.
    #[serde(skip_serializing_if = "is_zero")]
    pub mac: MacAddr,
    /// Whether the interface appeared while the tap was listening, so that nothing it carried was missed.
    #[serde(skip_serializing_if = "is_zero")]
    pub is_fresh: bool,
}

fn is_zero<T: Default + PartialEq>(field: &T) -> bool {
    *field == T::default()
}

/// What one sighting of a frame is worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sighting {
    /// Count it: this container sent it.
    Sent {
        /// The network it was sent into.
        scope: ScopeId,
        /// Who sent it.
        attachment: AttachmentId,
        /// Whether the attachment has been watched since it appeared.
        is_fresh: bool,
        /// Whether it was sent from another hardware address than the container's own.
        is_foreign_mac: bool,
    },
    /// Count it: the host, the outside or a router sent it into the network.
    SentByHost {
        /// The network it was sent into.
        scope: ScopeId,
    },
    /// Count it: nothing tells who sent it but its addresses.
    Plain {
        /// The scope of the capture.
        scope: ScopeId,
    },
    /// A second sighting at the receiver's veth: the frame was delivered.
    Delivered {
        /// The network.
        scope: ScopeId,
        /// Who received it.
        attachment: AttachmentId,
    },
    /// A second sighting that says nothing further.
    Second,
    /// An interface that carries no container's traffic.
    Foreign,
    /// An interface without a role yet.
    Unknown,
}

/// ifindex to role, scope and attachment: one array read per frame.
///
/// Built by identity (live) or replay and swapped whole between batches. Indexes grow without reuse, so the array
/// is paged; an index of 2^24 or more is `Unknown`.
#[derive(Clone, Debug, Default)]
pub struct InterfaceTable {
    pages: Vec<Option<Box<[InterfaceEntry; PAGE]>>>,
    default: InterfaceEntry,
    /// Who holds which hardware address: an attachment, or 0 for the network's bridge.
    holders: HashMap<(ScopeId, MacAddr), AttachmentId>,
}

const PAGE: usize = 256;
const INDEX_END: u32 = 1 << 24;

impl InterfaceTable {
    /// Builds a table in which every interface is unknown.
    pub fn new() -> Self {
        Self::default()
    }

    /// Builds the table of a capture without roles: every interface is `Plain` in scope 0.
    pub fn plain() -> Self {
        Self::with_default(InterfaceEntry { role: Role::Plain, ..InterfaceEntry::default() })
    }

    /// Builds a table in which every interface has the row `default`.
    pub fn with_default(default: InterfaceEntry) -> Self {
        Self { default, ..Self::default() }
    }

    /// Returns the row of every interface that none was set for.
    pub fn default_row(&self) -> InterfaceEntry {
        self.default
    }

    /// Iterates over the rows that differ from the default one, by index.
    pub fn rows(&self) -> impl Iterator<Item = (InterfaceId, InterfaceEntry)> + '_ {
        let pages = self.pages.iter().zip((0_u32..).step_by(PAGE));
        let rows = pages.filter_map(|(page, first)| Some((page.as_deref()?, first)));
        rows.flat_map(|(page, first)| page.iter().zip(first..))
            .filter(|(entry, _)| **entry != self.default)
            .map(|(entry, index)| (InterfaceId(index), *entry))
    }

    /// Sets one row. An index of 2^24 or more is ignored, and stays `Unknown`.
    pub fn set(&mut self, interface: InterfaceId, entry: InterfaceEntry) {
        if interface.0 >= INDEX_END {
            return;
        }
        let (page, row) = split(interface);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        let default = self.default;
        let before = self.get(interface);
        if let Some(key) = held_by(&before)
            && self.holders.get(&key) == Some(&before.attachment)
        {
            self.holders.remove(&key);
        }
        if let Some(key) = held_by(&entry) {
            self.holders.insert(key, entry.attachment);
        }
        if let Some(slot) = self.pages.get_mut(page) {
            let rows = slot.get_or_insert_with(|| Box::new([default; PAGE]));
            if let Some(cell) = rows.get_mut(row) {
                *cell = entry;
            }
        }
    }

    /// Returns one row; the default row where nothing was set.
    #[inline]
    pub fn get(&self, interface: InterfaceId) -> InterfaceEntry {
        let (page, row) = split(interface);
        match self.pages.get(page) {
            Some(Some(rows)) => rows.get(row).copied().unwrap_or(self.default),
            Some(None) | None => self.default,
        }
    }

    /// Returns who holds the address a container's frame was sent from, where that is another: an attachment, or 0 for
    /// the network's bridge. A container whose own address is not known is not judged, nor is an address nobody holds:
    /// what runs in a container may have interfaces of its own.
    #[cold]
    pub fn robbed(&self, seen: &Observation) -> Option<AttachmentId> {
        let entry = self.get(seen.interface);
        if entry.mac == seen.source_mac || entry.mac == MacAddr::default() {
            return None;
        }
        let holder = self.holders.get(&(entry.scope, seen.source_mac)).copied();
        holder.filter(|holder| *holder != entry.attachment)
    }

    /// Applies the vantage rule: count a frame iff it came in by a container's veth, or goes out on a container
    /// network's bridge with that bridge's own source address.
    #[inline]
    pub fn sighting(&self, seen: &Observation) -> Sighting {
        let entry = self.get(seen.interface);
        match (entry.role, seen.direction) {
            // Roles read off a capture tell veths, and not whose they are.
            (Role::Container, Direction::Incoming) if entry.attachment == AttachmentId(0) => {
                Sighting::Plain { scope: entry.scope }
            }
            (Role::Container, Direction::Incoming) => Sighting::Sent {
                scope: entry.scope,
                attachment: entry.attachment,
                is_fresh: entry.is_fresh,
                is_foreign_mac: entry.mac != seen.source_mac && entry.mac != MacAddr::default(),
            },
            (Role::Container, Direction::Outgoing) => {
                Sighting::Delivered { scope: entry.scope, attachment: entry.attachment }
            }
            (Role::Bridge, Direction::Outgoing) if seen.source_mac == entry.mac => {
                Sighting::SentByHost { scope: entry.scope }
            }
            (Role::Bridge, Direction::Incoming | Direction::Outgoing) => Sighting::Second,
            // A capture that states no direction cannot be counted by this rule; replay says so and uses Plain.
            (Role::Container | Role::Bridge, Direction::Unstated) => Sighting::Second,
            (Role::Foreign, _) => Sighting::Foreign,
            (Role::Plain, _) => Sighting::Plain { scope: entry.scope },
            (Role::Unknown, _) => Sighting::Unknown,
        }
    }
}

/// Returns the address that an interface's row says somebody holds.
fn held_by(entry: &InterfaceEntry) -> Option<(ScopeId, MacAddr)> {
    let holds = match entry.role {
        Role::Container => entry.attachment != AttachmentId(0),
        Role::Bridge => true,
        Role::Unknown | Role::Foreign | Role::Plain => false,
    };
    (holds && entry.mac != MacAddr::default()).then_some((entry.scope, entry.mac))
}

fn split(interface: InterfaceId) -> (usize, usize) {
    let index = interface.0 as usize;
    (index / PAGE, index % PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_a_table_are_those_that_were_set_in_the_order_of_their_indexes() {
        let bridge = InterfaceEntry { role: Role::Bridge, scope: ScopeId(2), ..InterfaceEntry::default() };
        let mut table = InterfaceTable::plain();
        for index in [INDEX_END, INDEX_END - 1, 300, 256, 0, u32::MAX] {
            table.set(InterfaceId(index), bridge);
        }
        table.set(InterfaceId(300), table.default_row());
        let rows: Vec<_> = table.rows().collect();
        assert_eq!(rows, [0, 256, INDEX_END - 1].map(|index| (InterfaceId(index), bridge)));
    }
}
