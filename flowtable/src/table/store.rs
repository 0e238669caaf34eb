//! Finding, freeing and closing slots.

use super::memories::{delivery, low_half};
use super::metering::Sender;
use super::slot::{Cold, Hot};
use super::{ENDINGS_MAX, ENDINGS_RESERVED, FlowTable, WINDOW, tag_of};
use crate::delta::{Delta, EndReason};
use crate::directory::Holder;
use crate::flow::{Outcome, Side};
use crate::key::{Endpoint, FlowKey};
use crate::ledger::Tally;
use crate::missed::Missing;
use crate::progress;
use crate::progress::State;
use crate::units::Timestamp;

/// Tags compared at once.
const TAGS_PER_WORD: usize = 8;

/// Returns a word with the highest bit of each tag set that equals `tag`. The lowest one set is right; those above it
/// may be wrong.
#[inline]
fn tagged(tags: [u8; TAGS_PER_WORD], tag: u8) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; TAGS_PER_WORD]);
    let difference = u64::from_le_bytes(tags) ^ (ONES * u64::from(tag));
    difference.wrapping_sub(ONES) & !difference & (ONES << 7)
}

#[inline]
fn offset(hits: u64) -> usize {
    usize::try_from(hits.trailing_zeros() / 8).unwrap_or(0)
}

/// Returns the first of the earliest turns and where it stands; `None` where nobody makes room.
pub(super) fn earliest(turns: &[u64]) -> Option<(usize, u64)> {
    let turn = turns.iter().copied().min().filter(|turn| *turn != Hot::NO_TURN)?;
    Some((turns.iter().position(|its_turn| *its_turn == turn)?, turn))
}

/// Returns the slot a hash names among `slots`: its low bits where that is a power of two, and else a share of them all
/// (Lemire, "Fast Random Integer Generation in an Interval", 2019) with the low bits as the highest.
#[inline]
fn slot_of(place: u64, slots: usize) -> usize {
    let bits = (slots - 1).checked_ilog2().map_or(0, |highest| highest + 1);
    let share = u128::from(place.rotate_right(bits)) * slots as u128;
    usize::try_from(share >> 64).unwrap_or(0)
}

impl FlowTable {
    pub(super) fn find(&self, key: FlowKey) -> Option<usize> {
        self.find_at(key, self.keyer.place(key))
    }

    /// Finds a flow by its key and the key's hash.
    #[inline(always)]
    pub(super) fn find_at(&self, key: FlowKey, place: u64) -> Option<usize> {
        let first = self.first_slot(place);
        for (at, word) in self.window(first)?.iter().enumerate() {
            let mut hits = tagged(*word, tag_of(place));
            while hits != 0 {
                let slot = first + at * TAGS_PER_WORD + offset(hits);
                if self.hot.get(slot).is_some_and(|hot| hot.key == key) {
                    return Some(slot);
                }
                hits &= hits - 1;
            }
        }
        None
    }

    /// Returns the first slot of a window with this tag; another may be taken for it behind one that has it.
    #[inline(always)]
    pub(super) fn first_tagged(&self, place: u64, tag: u8) -> Option<usize> {
        let first = self.first_slot(place);
        let words = self.window(first)?;
        let at = words.iter().position(|word| tagged(*word, tag) != 0)?;
        Some(first + at * TAGS_PER_WORD + offset(tagged(*words.get(at)?, tag)))
    }

    #[inline]
    pub(super) fn first_slot(&self, place: u64) -> usize {
        slot_of(place, self.slots)
    }

    #[inline(always)]
    fn window(&self, first: usize) -> Option<&[[u8; TAGS_PER_WORD]; WINDOW / TAGS_PER_WORD]> {
        self.tags.get(first..)?.as_chunks().0.first_chunk()
    }

    /// Finds room in the key's window: a free slot, else one that is done, else the oldest attempt of the same
    /// sender, else the oldest attempt. An established flow of somebody else never makes room.
    pub(super) fn free_slot(&mut self, place: u64, sender: Sender) -> Option<usize> {
        let first = self.first_slot(place);
        if self.live < self.capacity()
            && let Some(slot) = self.first_tagged(place, 0)
        {
            return Some(slot);
        }
        if !matches!(sender, Sender::Veth { .. }) {
            // Nobody's attempts go before another's: the turns say all.
            let turns = self.turns.get(first..first + WINDOW)?;
            let (at, turn) = earliest(turns)?;
            if Hot::is_exact(turn) {
                let is_closed = turn < Hot::ATTEMPTS_TURN;
                let reason = if is_closed { EndReason::Closed } else { EndReason::Evicted };
                return self.end(first + at, reason).then_some(first + at);
            }
        }
        self.free_slot_of(first, sender)
    }

    /// Finds room among the slots of a window by looking at each of them.
    fn free_slot_of(&mut self, first: usize, sender: Sender) -> Option<usize> {
        let mut victim: Option<(u8, Timestamp, usize)> = None;
        let mut own_attempts = 0;
        for slot in first..first + WINDOW {
            let Some(hot) = self.hot.get(slot) else { continue };
            if self.tags.get(slot).is_none_or(|tag| *tag == 0) {
                continue;
            }
            let rank = match hot.state {
                State::Closed => 0,
                State::Attempt if self.is_attempt_of(slot, hot, sender) => {
                    own_attempts += 1;
                    1
                }
                State::Attempt => 2,
                State::Settled | State::Closing => continue,
            };
            if victim.is_none_or(|(best, at, _)| (rank, hot.last_at) < (best, at)) {
                victim = Some((rank, hot.last_at, slot));
            }
        }
        let (rank, _, slot) = victim?;
        if own_attempts * 2 >= WINDOW && self.endings.len() >= ENDINGS_MAX - ENDINGS_RESERVED {
            return None;
        }
        let reason = if rank == 0 { EndReason::Closed } else { EndReason::Evicted };
        self.end(slot, reason).then_some(slot)
    }

    /// Returns whether the sender itself opened this flow. The cold part, which is likely to be far away, is read only
    /// where one of the two ends is the sender.
    fn is_attempt_of(&self, slot: usize, hot: &Hot, sender: Sender) -> bool {
        let Sender::Veth { attachment, .. } = sender else { return false };
        hot.attachments.contains(&attachment.0)
            && self.cold.initiator_holder(slot, hot) == Some(Holder::Attachment(attachment))
    }

    /// Says when the flow of a slot may make room, after its state or its time changed by the long way.
    pub(super) fn take_turn(&mut self, slot: usize) {
        if let (Some(turn), Some(hot)) = (self.turns.get_mut(slot), self.hot.get(slot)) {
            *turn = hot.turn();
        }
    }

    /// Closes a flow's accounts; false where the endings have no room, and then nothing changed.
    pub(super) fn end(&mut self, slot: usize, reason: EndReason) -> bool {
        if self.endings.len() >= ENDINGS_MAX {
            return false;
        }
        let delta = self.settle_slot(slot, Some(reason));
        let first_at = delta.flow.first_at;
        self.endings.push(delta);
        if let (Some(tag), Some(turn)) = (self.tags.get_mut(slot), self.turns.get_mut(slot)) {
            (*tag, *turn) = (0, Hot::NO_TURN);
        }
        self.cold.release(slot);
        self.live -= 1;
        match reason {
            EndReason::Evicted => {
                self.ledger.flows_evicted += 1;
                self.missed.note(Missing::Evicted, first_at.min(self.last_at), self.last_at.max(first_at));
            }
            EndReason::Closed
            | EndReason::Idle
            | EndReason::Rebound
            | EndReason::Reused
            | EndReason::Settled => self.ledger.flows_ended += 1,
        }
        true
    }

    /// Moves a slot's growth into its totals and returns both.
    pub(super) fn settle_slot(&mut self, slot: usize, ended: Option<EndReason>) -> Delta {
        let (base, skew) = (self.base_frame, self.skew);
        let nothing = Delta { slot: 0, grown: [Tally::default(); 2], flow: Cold::EMPTY.flow, ended };
        let Some(hot) = self.hot.get_mut(slot) else { return nothing };
        let counted = [Side::A, Side::B].map(|side| hot.growth(side));
        let (last_at, last_frame) = (hot.last_at.plus(skew), base + u64::from(hot.last_frame));
        let grown = self.cold.settle(slot, hot, counted, last_at, last_frame);
        hot.bytes = [0; 2];
        hot.frames = [0; 2];
        hot.last_frame = 0;
        let Some(mut flow) = self.cold.flow(slot, hot) else { return nothing };
        if ended.is_some() && flow.outcome == Outcome::Pending && progress::expects_answer(&flow) {
            flow.outcome = Outcome::Unanswered;
        }
        Delta { slot: u32::try_from(slot).unwrap_or(u32::MAX), grown, flow, ended }
    }

    pub(super) fn decide_attempts(&mut self, now: Timestamp, last_loss: Option<Timestamp>) {
        let mut attempts = std::mem::take(&mut self.attempts);
        attempts.retain_mut(|(slot, id)| {
            let index = *slot as usize;
            let Some(hot) = self.hot.get_mut(index) else { return false };
            let is_it = self.tags.get(index).is_some_and(|tag| *tag != 0)
                && self.cold.id(index).is_some_and(|its_id| low_half(its_id) == *id)
                && self.cold.outcome(index) == Some(Outcome::Pending);
            if !is_it {
                return false;
            }
            let decided = self.cold.edit(index, hot, |_, cold| {
                let age = now.since(cold.opened_at);
                let is_lossless = last_loss.is_none_or(|loss| loss < cold.flow.first_at);
                if let Some(sequence) = cold.syn_sequence.filter(|_| !cold.flow.is_delivered) {
                    let responder = cold.flow.responder_end();
                    let called = Endpoint { address: responder.address, port: responder.port };
                    let (row, digest) = delivery(&self.keyer, &called, sequence);
                    cold.flow.is_delivered = self.deliveries.get(row) == Some(&digest);
                }
                let is_lost = cold.expects_delivery
                    && cold.syn_sequence.is_some()
                    && !cold.flow.is_delivered
                    && is_lossless;
                let expects_answer = progress::expects_answer(&cold.flow);
                let decided = if is_lost && age >= self.limits.blocked_after {
                    Outcome::Blocked
                } else if age >= self.limits.unanswered_after && expects_answer {
                    Outcome::Unanswered
                } else {
                    return Err(expects_answer);
                };
                cold.flow.outcome = decided;
                Ok(())
            });
            if let Some(Err(may_be_decided)) = decided {
                return may_be_decided;
            }
            if !hot.mark_dirty() {
                self.dirty.push(*slot);
            }
            self.note_change(index);
            false
        });
        self.attempts = attempts;
    }

    pub(super) fn sweep(&mut self, now: Timestamp, most: usize) {
        for _ in 0..most {
            let slot = self.sweep_at;
            self.sweep_at = if slot + 1 >= self.hot.len() { 0 } else { slot + 1 };
            if self.tags.get(slot).is_none_or(|tag| *tag == 0) {
                continue;
            }
            let Some(hot) = self.hot.get(slot) else { continue };
            let silence = now.since(hot.last_at);
            let reason = match hot.state {
                State::Closed if silence >= self.limits.linger => EndReason::Closed,
                State::Attempt if silence >= self.limits.attempt_idle => EndReason::Idle,
                State::Settled | State::Closing
                    if silence
                        >= if self.cold.is_tcp(slot) {
                            self.limits.tcp_idle
                        } else {
                            self.limits.other_idle
                        } =>
                {
                    EndReason::Idle
                }
                State::Closed | State::Attempt | State::Settled | State::Closing => continue,
            };
            if !self.end(slot, reason) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_of_two_of_slots_is_indexed_by_the_low_bits_of_the_hash() {
        let mut place = 1_u64;
        for bits in 1..30 {
            place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let slots = 1 << bits;
            assert_eq!(slot_of(place, slots), usize::try_from(place).unwrap() & (slots - 1), "{bits} bits");
        }
    }

    #[test]
    fn any_number_of_slots_is_used_evenly_and_never_left() {
        for slots in [64, 72, 1_000, 10_240, 10_485_760] {
            let mut eighths = [0_u32; 8];
            let mut place = 1_u64;
            for _ in 0..80_000 {
                place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let slot = slot_of(place ^ place >> 32, slots);
                assert!(slot < slots);
                eighths[slot * 8 / slots] += 1;
            }
            assert!(eighths.iter().all(|count| (9_500..10_500).contains(count)), "{slots}: {eighths:?}");
            assert!(slot_of(u64::MAX, slots) < slots && slot_of(0, slots) == 0);
        }
    }
}
