//! One count for a packet seen at several interfaces of a capture without roles.

use portolan_flowtable::{InterfaceId, Observation, Timestamp};

/// Packets remembered.
const ROWS: usize = 65_536;
/// Time within which the same contents at another interface are the same packet.
const SPAN: i64 = Timestamp::SECOND;

/// Fingerprints of recent packets, in a direct-mapped table: where two share a row the later one stays, and a
/// second sighting may be counted.
#[derive(Debug)]
pub(super) struct Duplicates {
    rows: Vec<(u64, InterfaceId, Timestamp)>,
}

impl Duplicates {
    /// Builds an empty memory.
    pub(super) fn new() -> Self {
        Self { rows: vec![(0, InterfaceId(0), Timestamp(i64::MIN)); ROWS] }
    }

    /// Returns whether the packet was seen at another interface just before; remembers it otherwise.
    pub(super) fn is_second(&mut self, seen: &Observation) -> bool {
        let row = usize::try_from(seen.fingerprint).unwrap_or(0) % ROWS;
        let Some(entry) = self.rows.get_mut(row) else { return false };
        let (fingerprint, interface, at) = *entry;
        if fingerprint == seen.fingerprint
            && interface != seen.interface
            && seen.at.since(at).unsigned_abs() <= SPAN.unsigned_abs()
        {
            return true;
        }
        *entry = (seen.fingerprint, seen.interface, seen.at);
        false
    }
}
