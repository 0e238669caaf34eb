//! A batch seen ahead: keys are built and cache lines asked for before the first packet is metered, so that none waits
//! for memory alone.

use portolan_sys::prefetch;

use super::{FlowTable, WINDOW, tag_of};
use crate::directory::{AttachmentId, ScopeId};
use crate::flow::Side;
use crate::interfaces::{InterfaceTable, Sighting};
use crate::key::FlowKey;
use crate::observation::{Fragment, Network, Observation};

/// Packets looked at together.
pub(super) const AHEAD: usize = 32;

/// What is known of a packet before it is metered. Nothing here depends on the packets before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    pub(super) sighting: Sighting,
    /// Who holds the hardware address it was sent from, where that is not its sender.
    pub(super) robbed: Option<AttachmentId>,
    /// Key, side and hash, where they are the packet's own.
    pub(super) place: Option<(FlowKey, Side, u64)>,
}

impl Ahead {
    /// Looks at where a packet was seen, and not yet for its flow.
    #[inline]
    pub(super) fn of(seen: &Observation, interfaces: &InterfaceTable) -> Self {
        let sighting = interfaces.sighting(seen);
        // The row read for the sighting tells of an address that is not the container's own: only that is looked up.
        let is_foreign = matches!(sighting, Sighting::Sent { is_foreign_mac: true, .. });
        let robbed = if is_foreign { interfaces.robbed(seen) } else { None };
        Self { sighting, robbed, place: None }
    }
}

impl FlowTable {
    pub(super) fn look_ahead<S: AsRef<Observation>>(
        &self,
        batch: &[S],
        interfaces: &InterfaceTable,
    ) -> [Ahead; AHEAD] {
        let mut ahead = [Ahead { sighting: Sighting::Unknown, robbed: None, place: None }; AHEAD];
        for (seen, ahead) in batch.iter().map(AsRef::as_ref).zip(&mut ahead) {
            *ahead = Ahead::of(seen, interfaces);
            let scope = match ahead.sighting {
                Sighting::Sent { scope, .. } | Sighting::SentByHost { scope } | Sighting::Plain { scope } => {
                    scope
                }
                Sighting::Delivered { .. } | Sighting::Second | Sighting::Foreign | Sighting::Unknown => {
                    continue;
                }
            };
            ahead.place = self.place_of(seen, scope);
        }
        for (_, _, place) in ahead.iter().filter_map(|ahead| ahead.place) {
            let candidate = self.first_tagged(place, tag_of(place));
            if let Some(hot) = candidate.and_then(|slot| self.hot.get(slot)) {
                prefetch(hot);
            }
        }
        ahead
    }

    #[inline(always)]
    fn place_of(&self, seen: &Observation, scope: ScopeId) -> Option<(FlowKey, Side, u64)> {
        let Network::Ip(packet) = &seen.network else { return None };
        if packet.fragment != Fragment::Whole {
            // Its ports may be another packet's.
            return None;
        }
        let (key, side) = self.keyer.key_of(scope, packet);
        let place = self.keyer.place(key);
        let first = self.first_slot(place);
        if let Some(tag) = self.tags.get(first) {
            prefetch(tag);
        }
        // A window begins anywhere in a line and may reach into the next.
        if let Some(tag) = self.tags.get(first + WINDOW - 1) {
            prefetch(tag);
        }
        Some((key, side, place))
    }
}
