//! A batch seen ahead: keys are built and cache lines asked for before the first packet is metered, so that none waits
//! for memory alone.

use portolan_sys::prefetch;

use super::store::earliest;
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
        let mut newcomers = [0; AHEAD];
        let mut count = 0;
        for (_, _, place) in ahead.iter().filter_map(|ahead| ahead.place) {
            match self.first_tagged(place, tag_of(place)) {
                Some(slot) => self.hot.get(slot).into_iter().for_each(prefetch),
                None => {
                    self.ask_for_turns(place);
                    if let Some(newcomer) = newcomers.get_mut(count) {
                        *newcomer = place;
                        count += 1;
                    }
                }
            }
        }
        // They will open flows: where, can be guessed, and what stands there is written to or ends.
        for place in newcomers.iter().take(count) {
            if let Some(slot) = self.likely_slot(*place) {
                self.hot.get(slot).into_iter().for_each(prefetch);
                self.cold.ask_for(slot);
            }
        }
        ahead
    }

    /// Asks for the turns of a window, where a flow may have to make room.
    fn ask_for_turns(&self, place: u64) {
        const PER_LINE: usize = 64 / size_of::<u64>();
        if self.live < self.capacity() && self.first_tagged(place, 0).is_some() {
            return;
        }
        let first = self.first_slot(place);
        if let Some(window) = self.turns.get(first..first + WINDOW) {
            window.iter().step_by(PER_LINE).chain(window.last()).for_each(prefetch);
        }
    }

    /// Returns the slot that a flow would be opened in if nothing changed until then.
    fn likely_slot(&self, place: u64) -> Option<usize> {
        if self.live < self.capacity()
            && let Some(slot) = self.first_tagged(place, 0)
        {
            return Some(slot);
        }
        let first = self.first_slot(place);
        let (at, _) = earliest(self.turns.get(first..first + WINDOW)?)?;
        Some(first + at)
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
