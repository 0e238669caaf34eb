//! The cold parts of slots: as many rows as there are flows, not as there are slots.

use super::slot::Cold;

/// No row.
const NOWHERE: u32 = u32::MAX;

/// Cold parts by slot. Room for one of each slot is set aside at the start; memory is touched as flows open, and what a
/// flow leaves behind is the next one's.
#[derive(Debug)]
pub(super) struct ColdRows {
    rows: Vec<Cold>,
    /// For each slot the place of its row.
    places: Box<[u32]>,
    free: Vec<u32>,
}

impl ColdRows {
    pub(super) fn new(slots: usize) -> Self {
        let mut rows = Vec::with_capacity(slots);
        portolan_sys::prefer_huge_pages(rows.spare_capacity_mut());
        Self { rows, places: vec![NOWHERE; slots].into_boxed_slice(), free: Vec::with_capacity(slots) }
    }

    /// Returns the cold part of the flow in a slot; `None` where there is none.
    pub(super) fn get(&self, slot: usize) -> Option<&Cold> {
        self.rows.get(*self.places.get(slot)? as usize)
    }

    /// The same to be written to.
    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut Cold> {
        self.rows.get_mut(*self.places.get(slot)? as usize)
    }

    /// Puts a flow's cold part to an empty slot.
    pub(super) fn put(&mut self, slot: usize, cold: Cold) {
        let Some(place) = self.places.get_mut(slot) else { return };
        match self.free.pop().and_then(|free| Some((free, self.rows.get_mut(free as usize)?))) {
            Some((free, row)) => {
                *row = cold;
                *place = free;
            }
            None => {
                *place = u32::try_from(self.rows.len()).unwrap_or(NOWHERE);
                self.rows.push(cold);
            }
        }
    }

    /// Takes a flow's row back.
    pub(super) fn release(&mut self, slot: usize) {
        if let Some(place) = self.places.get_mut(slot)
            && *place != NOWHERE
        {
            self.free.push(*place);
            *place = NOWHERE;
        }
    }
}
