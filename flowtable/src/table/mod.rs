//! The flow table: preallocated, single writer, bounded.
//!
//! A hot 64-byte slot per flow is all a packet of a known, settled flow touches; the row of 64 bytes beside it is read
//! when a flow opens, changes its state, or is handed over (`docs/adr/0014-a-cold-part-is-one-line.md`). Slots are found by one tag byte each in a window of
//! [`WINDOW`] neighbours. Totals leave as [`Delta`]s between batches; a delta that finds no room stays in its slot.

mod ahead;
mod arena;
mod cold_rows;
mod ends;
mod flags;
mod folding;
mod limits;
mod memories;
mod metering;
mod row;
mod slot;
mod store;
#[cfg(test)]
mod tests;

use ahead::{AHEAD, Ahead};
use cold_rows::ColdRows;
pub use limits::Limits;
use memories::{FirstFragment, Provoked};
pub(crate) use slot::Cold;
use slot::Hot;

use portolan_sys::prefer_huge_pages;

use crate::delta::{Delta, DeltaSink};
use crate::directory::{AttachmentId, Directory};
use crate::flow::Side;
use crate::interfaces::{InterfaceId, InterfaceTable, Role};
use crate::key::{Endpoint, FlowKey, Keyer};
use crate::ledger::{Ledger, NotCounted, Rejected, Tally};
use crate::missed::{Missed, Missing};
use crate::neighbours::Neighbours;
use crate::observation::{Observation, Packet};
use crate::sequence::Marks;
use crate::theft::Thefts;
use crate::units::{Port, Timestamp};

/// Slots a key may stand in, from the one its hash names.
const WINDOW: usize = 32;
/// Endings kept until the next drain; beyond, flows wait for their end.
const ENDINGS_MAX: usize = 8_192;
/// Of these, kept from a sender whose own attempts fill half a window: a flood must not take what others need to open
/// a flow.
const ENDINGS_RESERVED: usize = ENDINGS_MAX / 4;
/// Frames after which what merely grew is handed over too: numbers of frames are kept in 32 bits above the table's base.
const FRAMES_UNDRAINED_MAX: u64 = 1 << 31;
/// Frames held for interfaces without a role.
const HELD_MAX: usize = 65_536;
/// Interfaces whose frames are held at once; each frame looks through them.
const HELD_INTERFACES_MAX: usize = 256;
/// First fragments remembered, to give their ports to the later ones.
const FRAGMENTS: usize = 4_096;
/// Spoofed tuples remembered, to know the answers they provoke.
const PROVOKED: usize = 4_096;
/// How long after a forged packet an answer to it may come.
const PROVOKED_SPAN: i64 = 60 * Timestamp::SECOND;
/// Delivered SYNs remembered, for senders whose own sighting comes later or by another network.
const DELIVERIES: usize = 16_384;
/// Service ports seen to accept a connection.
const LISTENERS: usize = 16_384;
/// Attachments whose overflow is told apart; all others share the first row.
const OVERFLOW_ROWS: usize = 4_096;

/// The flow table. One writer; see the module's page.
#[derive(Debug)]
pub struct FlowTable {
    limits: Limits,
    keyer: Keyer,
    tags: Box<[u8]>,
    /// For each slot when its flow may make room, as [`Hot::turn`] says it: a window of them is four cache lines.
    turns: Box<[u64]>,
    hot: Box<[Hot]>,
    cold: ColdRows,
    slots: usize,
    live: usize,
    next_id: u64,
    base_frame: u64,
    newest: u64,
    /// Frame time minus engine time, in nanoseconds.
    skew: i64,
    started_at: Option<Timestamp>,
    last_at: Timestamp,
    ledger: Ledger,
    dirty: Vec<u32>,
    /// Slots of which more than counters changed, each once at most: their rows say that they stand here.
    changed: Vec<u32>,
    endings: Vec<Delta>,
    /// Slots of attempts nobody answered yet, with the low half of their flows' numbers.
    attempts: Vec<(u32, u32)>,
    held: Vec<Observation>,
    held_spare: Vec<Observation>,
    held_interfaces: Vec<InterfaceId>,
    sweep_at: usize,
    fragments: Box<[FirstFragment]>,
    provoked: Box<[Provoked]>,
    deliveries: Box<[u64]>,
    listeners: Box<[u64]>,
    overflow: Box<[Tally]>,
    thefts: Thefts,
    neighbours: Neighbours,
    missed: Missed,
    /// Counted frames and their flows, where somebody follows them.
    trace: Option<Vec<(u64, u64)>>,
}

impl FlowTable {
    /// Allocates a table. `seed` places keys: fixed in replay, random live.
    pub fn new(limits: Limits, seed: u64) -> Self {
        let slots = limits.slots();
        let all = slots + WINDOW;
        Self {
            limits,
            keyer: Keyer::new(seed),
            tags: vec![0; all].into_boxed_slice(),
            turns: vec![Hot::NO_TURN; all].into_boxed_slice(),
            hot: filled(Hot::EMPTY, all),
            cold: ColdRows::new(all),
            slots,
            live: 0,
            next_id: 1,
            base_frame: 0,
            newest: 0,
            skew: 0,
            started_at: None,
            last_at: Timestamp(0),
            ledger: Ledger::default(),
            dirty: Vec::with_capacity(all + ENDINGS_MAX),
            changed: Vec::with_capacity(all),
            endings: Vec::with_capacity(ENDINGS_MAX),
            attempts: Vec::with_capacity(all),
            held: Vec::with_capacity(HELD_MAX),
            held_spare: Vec::with_capacity(HELD_MAX),
            held_interfaces: Vec::new(),
            sweep_at: 0,
            fragments: vec![(0, None); FRAGMENTS].into_boxed_slice(),
            provoked: vec![Provoked { key: FlowKey(0), forged: Side::A, at: Timestamp(i64::MIN) }; PROVOKED]
                .into_boxed_slice(),
            deliveries: vec![0; DELIVERIES].into_boxed_slice(),
            listeners: vec![0; LISTENERS].into_boxed_slice(),
            overflow: vec![Tally::default(); OVERFLOW_ROWS].into_boxed_slice(),
            thefts: Thefts::new(),
            neighbours: Neighbours::new(),
            missed: Missed::default(),
            trace: None,
        }
    }

    /// From here on keeps the number of every counted frame and of the flow it went to, for [`FlowTable::traced`].
    pub fn trace(&mut self) {
        self.trace = Some(Vec::new());
    }

    /// Hands over (frame, flow) of the frames counted since the last time, in the order they were counted in.
    pub fn traced(&mut self) -> impl Iterator<Item = (u64, u64)> {
        self.trace.as_mut().into_iter().flat_map(|trace| trace.drain(..))
    }

    /// Returns the accounts as they stand.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns flows held now.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Returns slots.
    pub fn capacity(&self) -> usize {
        self.slots
    }

    /// Returns who asks for which addresses of its network in vain.
    pub fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    /// Returns when frames were missed since this was last asked.
    pub fn take_missed(&mut self) -> Missed {
        std::mem::take(&mut self.missed)
    }

    /// Returns the attachment most of whose frames found no room, and how many did not; `None` where all did, and
    /// where the sender is none or not told apart.
    pub fn overflow_most(&self) -> Option<(AttachmentId, Tally)> {
        if self.ledger.overflow.frames == 0 {
            return None;
        }
        let rows = self.overflow.iter().enumerate().skip(1);
        let (row, tally) = rows.max_by_key(|(row, tally)| (tally.frames, std::cmp::Reverse(*row)))?;
        (tally.frames > 0).then(|| (AttachmentId(u32::try_from(row).unwrap_or(0)), *tally))
    }

    /// Returns the hardware addresses that others than their holders sent from.
    pub fn thefts(&self) -> &Thefts {
        &self.thefts
    }

    /// Returns whether endings pile up so that a drain is due before the next tick.
    pub fn wants_drain(&self) -> bool {
        self.endings.len() > ENDINGS_MAX / 2
    }

    /// Returns deltas that wait to be handed over, at most; 0 where nothing waits.
    pub fn waiting(&self) -> usize {
        self.endings.len() + self.dirty.len()
    }

    /// Counts a frame the parser could not read.
    pub fn reject(&mut self, reason: Rejected, at: Timestamp, wire_bytes: u32) {
        self.missed.note(Missing::Rejected, at, at);
        self.ledger.delivered.count(wire_bytes);
        self.ledger.rejected(reason, wire_bytes);
    }

    /// Counts a frame that was deselected before it got here, or is a duplicate by another rule.
    pub fn leave_out(&mut self, reason: NotCounted, wire_bytes: u32) {
        self.ledger.delivered.count(wire_bytes);
        self.ledger.not_counted(reason, wire_bytes);
    }

    /// Counts frames that somebody else counted and left out: a recording tells of them and does not hold them.
    pub fn leave_out_many(&mut self, reason: NotCounted, left_out: Tally) {
        self.ledger.delivered += left_out;
        self.ledger.not_counted_many(reason, left_out);
    }

    /// Sets frame time minus engine time, in nanoseconds. Engine time does not follow the jumps of a capture or of
    /// the host's clock, so that none of them ends every flow. Drain first: last times not handed over yet are
    /// read with the new difference.
    pub fn set_skew(&mut self, nanoseconds: i64) {
        self.skew = nanoseconds;
    }

    /// Takes a batch of frames in, from wherever they were read into. Every frame ends in exactly one counter of the
    /// ledger.
    pub fn observe<S: AsRef<Observation>>(
        &mut self,
        batch: &[S],
        interfaces: &InterfaceTable,
        directory: &impl Directory,
    ) {
        for part in batch.chunks(AHEAD) {
            let ahead = self.look_ahead(part, interfaces);
            for (seen, ahead) in part.iter().map(AsRef::as_ref).zip(&ahead) {
                self.ledger.delivered.count(seen.wire_bytes);
                self.advance(seen);
                if !self.held.is_empty() && self.must_queue(seen) {
                    self.hold(seen);
                } else {
                    self.sight(seen, ahead, directory);
                }
            }
        }
    }

    /// Looks again at held frames, after roles changed or time passed; `now` is engine time.
    pub fn release(&mut self, now: Timestamp, interfaces: &InterfaceTable, directory: &impl Directory) {
        if self.held.is_empty() {
            return;
        }
        let mut waiting = std::mem::replace(&mut self.held, std::mem::take(&mut self.held_spare));
        self.held_interfaces.clear();
        for seen in waiting.drain(..) {
            let is_known = interfaces.get(seen.interface).role != Role::Unknown;
            if !is_known && now.since(self.engine_time(seen.at)) < self.limits.hold {
                self.queue(&seen);
                continue;
            }
            self.ledger.held = self.ledger.held - Tally { frames: 1, bytes: u64::from(seen.wire_bytes) };
            if is_known {
                self.sight(&seen, &Ahead::of(&seen, interfaces), directory);
            } else {
                self.miss_interface(&seen);
            }
        }
        self.held_spare = waiting;
    }

    /// Ends what is silent for too long and decides attempts that had their time. `last_loss` says until when the
    /// tap last lost frames: an attempt made before that is not called blocked, its delivery may have been lost.
    pub fn tick(&mut self, now: Timestamp, last_loss: Option<Timestamp>) {
        self.decide_attempts(now, last_loss);
        self.neighbours.tick(now);
        self.sweep(now, self.hot.len().div_ceil(8));
    }

    /// Hands growth and endings to `into`, as many as it has room for; the rest stays for the next time.
    pub fn drain(&mut self, into: &mut impl DeltaSink) {
        if !self.drain_endings(into) {
            return;
        }
        while into.room() > 0 {
            let Some(slot) = self.dirty.pop() else { break };
            let index = slot as usize;
            if let Some(hot) = self.hot.get_mut(index) {
                hot.marks.clear(Marks::DIRTY);
            }
            if !self.hand_over(index, into) {
                break;
            }
        }
        if self.dirty.is_empty() && self.endings.is_empty() {
            self.base_frame = self.base_frame.max(self.newest);
            for slot in self.changed.drain(..) {
                self.cold.clear_changed(slot as usize);
            }
        }
    }

    /// Hands endings over, and flows of which more than counters changed, as many as `into` has room for. What merely
    /// grew stays until [`FlowTable::drain`], which must follow: for somebody who adds up and reads once.
    pub fn drain_changes(&mut self, into: &mut impl DeltaSink) {
        if self.newest - self.base_frame > FRAMES_UNDRAINED_MAX {
            return self.drain(into);
        }
        if !self.drain_endings(into) {
            return;
        }
        while into.room() > 0 {
            let Some(slot) = self.changed.pop() else { break };
            self.cold.clear_changed(slot as usize);
            if !self.hand_over(slot as usize, into) {
                break;
            }
        }
    }

    /// Hands endings over alone, for the sake of room. Returns whether all were: no flow may overtake the end of the one
    /// before it in its slot.
    pub fn drain_endings(&mut self, into: &mut impl DeltaSink) -> bool {
        let mut handed = 0;
        while into.room() > 0 {
            let Some(delta) = self.endings.get(handed) else { break };
            let grown = delta.grown[0] + delta.grown[1];
            if into.push(*delta).is_err() {
                break;
            }
            self.ledger.undrained = self.ledger.undrained - grown;
            handed += 1;
        }
        self.endings.drain(..handed);
        self.endings.is_empty()
    }

    /// Hands the flow of a slot over, if there is one; false where the sink refused it.
    fn hand_over(&mut self, index: usize, into: &mut impl DeltaSink) -> bool {
        if self.tags.get(index).is_none_or(|tag| *tag == 0) {
            // Its flow has ended, and went with the endings.
            return true;
        }
        let delta = self.settle_slot(index, None);
        let grown = delta.grown[0] + delta.grown[1];
        // Room was asked for; a sink that refuses all the same gets the delta with the endings.
        match into.push(delta) {
            Ok(()) => {
                self.ledger.undrained = self.ledger.undrained - grown;
                true
            }
            Err(refused) => {
                self.endings.push(*refused);
                false
            }
        }
    }

    /// Notes that more than a slot's counters changed.
    fn note_change(&mut self, slot: usize) {
        if !self.cold.mark_changed(slot) {
            self.changed.push(u32::try_from(slot).unwrap_or(u32::MAX));
        }
    }

    /// Gives up on held frames: they become `not_counted[unknown_interface]`. Part of settlement.
    pub fn give_up_held(&mut self) {
        self.held_interfaces.clear();
        for seen in std::mem::take(&mut self.held) {
            self.ledger.held = self.ledger.held - Tally { frames: 1, bytes: u64::from(seen.wire_bytes) };
            self.miss_interface(&seen);
        }
    }

    fn miss_interface(&mut self, seen: &Observation) {
        self.ledger.not_counted(NotCounted::UnknownInterface, seen.wire_bytes);
        self.missed.note(Missing::UnknownInterface, seen.at, seen.at);
    }

    fn advance(&mut self, seen: &Observation) {
        if self.started_at.is_none() {
            self.started_at = Some(seen.at);
            self.last_at = seen.at;
        }
        if seen.at < self.last_at {
            self.ledger.backward_steps += 1;
        }
        self.last_at = seen.at;
        self.newest = self.newest.max(seen.frame);
    }

    /// A frame of an interface that already has frames waiting waits behind them, so that order is kept.
    fn must_queue(&self, seen: &Observation) -> bool {
        self.held_interfaces.contains(&seen.interface)
    }

    fn hold(&mut self, seen: &Observation) {
        let has_room = self.held.len() < HELD_MAX
            && (self.held_interfaces.len() < HELD_INTERFACES_MAX || self.must_queue(seen));
        if has_room {
            self.queue(seen);
            self.ledger.held.count(seen.wire_bytes);
        } else {
            self.miss_interface(seen);
        }
    }

    fn queue(&mut self, seen: &Observation) {
        self.held.push(*seen);
        if !self.held_interfaces.contains(&seen.interface) {
            self.held_interfaces.push(seen.interface);
        }
    }

    fn engine_time(&self, at: Timestamp) -> Timestamp {
        at.plus(self.skew.saturating_neg())
    }

    fn relative_frame(&self, frame: u64) -> u32 {
        u32::try_from(frame.saturating_sub(self.base_frame)).unwrap_or(u32::MAX)
    }
}

/// Allocates an array on large pages, where there are some.
fn filled<T: Clone>(with: T, count: usize) -> Box<[T]> {
    let mut array = Vec::with_capacity(count);
    prefer_huge_pages(array.spare_capacity_mut());
    array.resize(count, with);
    array.into_boxed_slice()
}

fn ends(packet: &Packet, ports: Option<(Port, Port)>) -> (Endpoint, Endpoint) {
    (
        Endpoint { address: packet.source, port: ports.map(|ports| ports.0) },
        Endpoint { address: packet.destination, port: ports.map(|ports| ports.1) },
    )
}

fn tag_of(place: u64) -> u8 {
    // The top byte; the low bits choose the window. 0 marks a free slot.
    u8::try_from(place >> 56).unwrap_or(0).max(1)
}

fn overflow_row(attachment: AttachmentId) -> usize {
    let row = attachment.0 as usize;
    if row < OVERFLOW_ROWS { row } else { 0 }
}
