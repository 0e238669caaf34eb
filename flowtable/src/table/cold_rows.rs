//! The cold parts of slots: a row for each, and what stands beside the rows of those that need more.

use portolan_sys::prefetch;

use super::arena::{Arena, NOWHERE};
use super::ends::Ends;
use super::filled;
use super::row::{Aside, Beside, Row, Tail};
use super::slot::{Cold, Hot};
use crate::directory::Holder;
use crate::flow::{Flow, Outcome};
use crate::ledger::Tally;
use crate::units::Timestamp;

/// Cold parts by slot. A flow has one row; a TCP flow that got beyond its SYN a tail; one whose key does not say its
/// ends, IPv6 above all, a row of ends; one with anything that does not fit into these is kept as a whole instead, until
/// it ends. Each of these is bounded by the slots.
#[derive(Debug)]
pub(super) struct ColdRows {
    rows: Box<[Row]>,
    tails: Arena<Tail>,
    ends: Arena<Ends>,
    wide: Arena<Cold>,
}

impl ColdRows {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            rows: filled(Row::EMPTY, slots),
            tails: Arena::new(slots),
            ends: Arena::new(slots),
            wide: Arena::new(slots),
        }
    }

    /// Puts the cold part of a flow that opens to an empty slot; `hot` is its hot part.
    pub(super) fn put(&mut self, slot: usize, hot: &Hot, cold: &Cold) {
        let ends = if hot.key.is_exact() { NOWHERE } else { self.ends.take(Ends::of(&cold.flow)) };
        self.store(slot, hot, cold, NOWHERE, ends);
    }

    /// Asks for the row of a slot ahead of its use.
    #[inline]
    pub(super) fn ask_for(&self, slot: usize) {
        self.rows.get(slot).into_iter().for_each(prefetch);
    }

    /// Takes what the flow of a slot owns back.
    pub(super) fn release(&mut self, slot: usize) {
        let Some(row) = self.rows.get(slot) else { return };
        match row.beside() {
            (Beside::Nothing, _) => {}
            (Beside::Tail, place) => {
                self.ends.release(self.tails.get(place).map_or(NOWHERE, |tail| tail.ends));
                self.tails.release(place);
            }
            (Beside::Ends, place) => self.ends.release(place),
            (Beside::Wide, place) => self.wide.release(place),
        }
        if let Some(row) = self.rows.get_mut(slot) {
            // Whoever gives it back twice gives nothing back.
            row.set_beside(Beside::Nothing, NOWHERE);
        }
    }

    /// Changes the cold part of a flow; `None` where there is no such slot.
    pub(super) fn edit<R>(
        &mut self,
        slot: usize,
        hot: &mut Hot,
        change: impl FnOnce(&mut Hot, &mut Cold) -> R,
    ) -> Option<R> {
        let row = self.rows.get(slot)?;
        let (tail, ends) = match row.beside() {
            (Beside::Nothing, _) => (NOWHERE, NOWHERE),
            (Beside::Tail, place) => (place, self.tails.get(place)?.ends),
            (Beside::Ends, place) => (NOWHERE, place),
            (Beside::Wide, place) => return Some(change(hot, self.wide.get_mut(place)?)),
        };
        let mut cold = row.cold(hot, Aside { tail: self.tails.get(tail), ends: self.ends.get(ends) });
        let result = change(hot, &mut cold);
        self.store(slot, hot, &cold, tail, ends);
        Some(result)
    }

    /// Returns the flow of a slot; `None` where there is no such slot.
    pub(super) fn flow(&self, slot: usize, hot: &Hot) -> Option<Flow> {
        let row = self.rows.get(slot)?;
        let (tail, ends) = match row.beside() {
            (Beside::Nothing, _) => (None, None),
            (Beside::Tail, place) => {
                let tail = self.tails.get(place);
                (tail, tail.and_then(|tail| self.ends.get(tail.ends)))
            }
            (Beside::Ends, place) => (None, self.ends.get(place)),
            (Beside::Wide, place) => return Some(self.wide.get(place)?.flow),
        };
        Some(row.flow(hot, Aside { tail, ends }))
    }

    /// Moves what was counted into the flow's totals, with the last frame's time and number, and returns all growth
    /// since the last time, spilled counters included.
    pub(super) fn settle(
        &mut self,
        slot: usize,
        hot: &mut Hot,
        counted: [Tally; 2],
        last_at: Timestamp,
        last_frame: u64,
    ) -> [Tally; 2] {
        let nothing = [Tally::default(); 2];
        let Some(row) = self.rows.get_mut(slot) else { return nothing };
        let is_wide = row.beside().0 == Beside::Wide;
        if !is_wide && (counted == nothing || row.grow(&counted, last_at, last_frame)) {
            return counted;
        }
        let settled = self.edit(slot, hot, |_, cold| {
            let spilled = std::mem::take(&mut cold.spilled);
            let grown = [spilled[0] + counted[0], spilled[1] + counted[1]];
            for side in [0, 1] {
                cold.flow.frames[side] += grown[side].frames;
                cold.flow.bytes[side] += grown[side].bytes;
            }
            if grown != nothing {
                cold.flow.last_at = last_at;
                cold.flow.last_frame = cold.flow.last_frame.max(last_frame);
            }
            grown
        });
        settled.unwrap_or(nothing)
    }

    /// Says that a slot stands in the list of changed ones; returns whether it did before, or is none.
    pub(super) fn mark_changed(&mut self, slot: usize) -> bool {
        self.rows.get_mut(slot).is_none_or(Row::mark_changed)
    }

    /// Says that a slot stands in no list of changed ones.
    pub(super) fn clear_changed(&mut self, slot: usize) {
        if let Some(row) = self.rows.get_mut(slot) {
            row.clear_changed();
        }
    }

    /// Returns the number of the flow in a slot.
    pub(super) fn id(&self, slot: usize) -> Option<u64> {
        let row = self.rows.get(slot)?;
        match self.wide(row) {
            Some(cold) => Some(cold.flow.id),
            None => Some(row.id()),
        }
    }

    /// Returns how far the flow in a slot got.
    pub(super) fn outcome(&self, slot: usize) -> Option<Outcome> {
        let row = self.rows.get(slot)?;
        match self.wide(row) {
            Some(cold) => Some(cold.flow.outcome),
            None => Some(row.outcome()),
        }
    }

    /// Returns who holds the end that opened the flow in a slot.
    pub(super) fn initiator_holder(&self, slot: usize, hot: &Hot) -> Option<Holder> {
        let row = self.rows.get(slot)?;
        match self.wide(row) {
            Some(cold) => Some(cold.flow.initiator_end().holder),
            None => Some(row.initiator_holder(hot)),
        }
    }

    /// Returns whether the flow in a slot is TCP.
    pub(super) fn is_tcp(&self, slot: usize) -> bool {
        self.rows.get(slot).is_some_and(Row::is_tcp)
    }

    fn wide(&self, row: &Row) -> Option<&Cold> {
        match row.beside() {
            (Beside::Wide, place) => self.wide.get(place),
            (Beside::Nothing | Beside::Tail | Beside::Ends, _) => None,
        }
    }

    /// Writes a cold part to its row and what stands beside it, of which it has `tail` and `ends` so far.
    fn store(&mut self, slot: usize, hot: &Hot, cold: &Cold, tail: u32, ends: u32) {
        let Some(row) = self.rows.get_mut(slot) else { return };
        let Some((written, its_tail)) = Row::of(cold, hot, tail != NOWHERE) else {
            self.tails.release(tail);
            self.ends.release(ends);
            row.become_other(Row::wide(&cold.flow, self.wide.take(*cold)));
            return;
        };
        row.become_other(written);
        match its_tail {
            Some(mut its_tail) => {
                its_tail.ends = ends;
                let place = match self.tails.get_mut(tail) {
                    Some(known) => {
                        *known = its_tail;
                        tail
                    }
                    None => self.tails.take(its_tail),
                };
                row.set_beside(Beside::Tail, place);
            }
            None if ends != NOWHERE => row.set_beside(Beside::Ends, ends),
            None => {}
        }
    }

    /// Returns tails, rows of ends and wide rows that are owned.
    #[cfg(test)]
    pub(super) fn owned(&self) -> [usize; 3] {
        [self.tails.owned(), self.ends.owned(), self.wide.owned()]
    }
}
