//! A flow's cold part in one cache line, and what stands beside it.
//!
//! What [`Row::of`] takes is what [`Row::cold`] gives back, to the bit: whatever does not fit is refused, and stands in a
//! wide row instead.

use std::net::IpAddr;

use super::arena::NOWHERE;
use super::ends::Ends;
use super::flags::{CLAIMS, EVIDENCE, OUTCOMES, holder, holder_kind, place, put};
use super::slot::{Cold, Hot};
use crate::directory::Holder;
use crate::flow::{Claim, End, Flow, InitiatorEvidence, Outcome, Side};
use crate::history::History;
use crate::ledger::Tally;
use crate::sequence::Numbers;
use crate::units::{Protocol, Timestamp};

/// Low bits of a number of 64.
const fn low(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// A number of 48 bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Short([u16; 3]);

impl Short {
    const ZERO: Self = Self([0; 3]);

    /// Returns the number's lowest 48 bits.
    fn of(number: u64) -> Self {
        let part = |shift: u32| u16::try_from(number >> shift & 0xffff).unwrap_or(0);
        Self([part(0), part(16), part(32)])
    }

    fn get(self) -> u64 {
        let [low, middle, high] = self.0.map(u64::from);
        low | middle << 16 | high << 32
    }

    fn holds(number: u64) -> bool {
        number <= low(48)
    }
}

/// What stands where [`Row::beside`] says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Beside {
    /// Nothing: all of the flow is in its key and its row.
    Nothing,
    /// What only TCP has, and the place of the ends where the key does not say them.
    Tail,
    /// The ends.
    Ends,
    /// All of the flow.
    Wide,
}

/// A flow's cold part in one cache line.
///
/// Addresses, ports, scope and protocol stand in the key, where it is exact; whose the ends are stands beside it.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Row {
    first_at: Timestamp,
    /// Before an answer: engine time of the first frame, in two halves. After it: both halves of the round trip.
    times: [u32; 2],
    /// Frames in 24 bits above bytes in 40, handed over so far, from A and from B.
    totals: [u64; 2],
    flags: u32,
    beside: u32,
    /// Last frame's number above the first one's.
    last_frame: u32,
    id: Short,
    first_frame: Short,
    /// Nanoseconds from the first frame to the last.
    span: Short,
    /// ICMP type and code; of an attempt that is one SYN its control bits; else the history, three letters.
    said: u16,
}

const _: () = assert!(size_of::<Row>() == 64, "a row is one cache line");

/// What only TCP has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    /// Sequence numbers of the last SYN of A and of B, with or without ACK.
    first: [u32; 2],
    /// Those of the last FIN or RST.
    last: [u32; 2],
    history: u64,
    /// Place of the ends.
    pub(super) ends: u32,
    tcp_flags: [u8; 2],
    /// Segments sent again, from A and above them from B, in four bits each.
    retransmissions: u8,
    /// The same of segments whose payload had been seen before.
    repeated: u8,
}

const _: () = assert!(size_of::<Tail>() == 32, "two tails are one cache line");

const FRAME_SHIFT: u32 = 40;
const BYTES_MAX: u64 = low(FRAME_SHIFT);
const FRAMES_MAX: u64 = low(64 - FRAME_SHIFT);
/// A round trip that was not measured.
const NO_TIME: u32 = u32::MAX;
/// Most segments a tail counts as sent again.
const RETRANSMISSIONS_MAX: u64 = 15;
/// Letters of a flow without a tail take so many bits.
const SAID_BITS: u32 = 15;

/// What stands beside a row, as it is read.
#[derive(Clone, Copy, Default)]
pub(super) struct Aside<'a> {
    pub(super) tail: Option<&'a Tail>,
    pub(super) ends: Option<&'a Ends>,
}

impl Row {
    pub(super) const EMPTY: Self = Self {
        first_at: Timestamp(0),
        times: [0; 2],
        totals: [0; 2],
        flags: 0,
        beside: NOWHERE,
        last_frame: 0,
        id: Short::ZERO,
        first_frame: Short::ZERO,
        span: Short::ZERO,
        said: 0,
    };

    /// Puts a flow into a row and, where it needs one, a tail; `None` where it does not fit. `hot` is its slot;
    /// `has_tail` says that it has a tail already, and keeps it.
    pub(super) fn of(cold: &Cold, hot: &Hot, has_tail: bool) -> Option<(Self, Option<Tail>)> {
        let flow = &cold.flow;
        let (frames, bytes) = (flow.frames, flow.bytes);
        let span = u64::try_from(flow.last_at.0.checked_sub(flow.first_at.0)?).ok()?;
        let last_frame = u32::try_from(flow.last_frame.checked_sub(flow.first_frame)?).ok()?;
        let is_answered = flow.outcome == Outcome::Answered;
        let is_held_by_its_own = |side: usize| match flow.ends[side].holder {
            Holder::Attachment(attachment) => attachment.0 == hot.attachments[side],
            Holder::Host
            | Holder::External
            | Holder::Unclaimed
            | Holder::Group
            | Holder::Ambiguous
            | Holder::Bare => true,
        };
        let fits = Short::holds(span)
            && Short::holds(flow.id)
            && Short::holds(flow.first_frame)
            && (frames[0] | frames[1]) <= FRAMES_MAX
            && (bytes[0] | bytes[1]) <= BYTES_MAX
            && is_held_by_its_own(0)
            && is_held_by_its_own(1)
            && cold.spilled == [Tally::default(); 2]
            && (flow.zero_windows[0] | flow.zero_windows[1]) == 0
            && (flow.gaps[0] | flow.gaps[1] | flow.unseen[0] | flow.unseen[1]) == 0
            && flow.icmp_error.is_none()
            && flow.icmp_type.is_some() == flow.icmp_code.is_some()
            && (is_answered || (flow.rtt.is_none() && flow.ack_rtt.is_none() && cold.syn_ack.is_none()));
        if !fits {
            return None;
        }
        let bit = |place: (u32, u32), is_set: bool| put(place, u32::from(is_set));
        let is_tcp = flow.protocol == Protocol::TCP;
        let mut flags = put(place::EVIDENCE, flow.evidence as u32)
            | put(place::CLAIM, flow.claim as u32)
            | put(place::OUTCOME, flow.outcome as u32)
            | put(place::HOLDERS[0], holder_kind(flow.ends[0].holder))
            | put(place::HOLDERS[1], holder_kind(flow.ends[1].holder))
            | put(place::INITIATOR, flow.initiator as u32)
            | put(place::FIRST_SENDER, flow.first_sender as u32)
            | bit(place::MIDSTREAM, flow.is_midstream)
            | bit(place::DELIVERED, flow.is_delivered)
            | bit(place::TUNNEL, flow.is_tunnel)
            | bit(place::EXPECTS_DELIVERY, cold.expects_delivery)
            | bit(place::TCP, is_tcp);
        let mut row = Self {
            first_at: flow.first_at,
            times: [0; 2],
            totals: [0, 1].map(|side| bytes[side] | frames[side] << FRAME_SHIFT),
            flags: 0,
            beside: NOWHERE,
            last_frame,
            id: Short::of(flow.id),
            first_frame: Short::of(flow.first_frame),
            span: Short::of(span),
            said: 0,
        };
        let (times, waits) = times(cold)?;
        (row.times, flags) = (times, flags | bit(place::WAITS, waits));
        let brief = flow.history.in_brief()?;
        if !is_tcp {
            let is_plain = cold.numbers == [Numbers::NONE; 2]
                && flow.tcp_flags == [0; 2]
                && flow.retransmissions == [0; 2]
                && cold.syn_at.is_none()
                && cold.syn_sequence.is_none()
                && cold.syn_ack.is_none();
            row.said = match flow.icmp_type.zip(flow.icmp_code).filter(|_| is_plain) {
                Some((kind, code)) => {
                    let is_flipped = brief == History::BRIEF_FLIP;
                    flags |= bit(place::ICMP, true) | bit(place::FLIPPED, is_flipped);
                    (is_flipped || brief == 0).then_some(u16::from_be_bytes([kind, code]))?
                }
                None => u16::try_from(brief).ok().filter(|brief| is_plain && *brief >> SAID_BITS == 0)?,
            };
            row.flags = flags;
            return Some((row, None));
        }
        if flow.icmp_type.is_some() {
            return None;
        }
        let sides = [Side::A, Side::B];
        let known = sides.map(|side| cold.numbers[side.index()].in_brief());
        let is_plain = sides.iter().zip(known).all(|(side, (first, last, repeated))| {
            Numbers::plain(&flow.history, *side, first, last, repeated) == cold.numbers[side.index()]
        });
        let first = known.map(|(first, _, _)| first);
        let its_first = first[flow.initiator.index()];
        let repeated = known.map(|(_, _, repeated)| u64::from(repeated));
        let most = flow.retransmissions[0] | flow.retransmissions[1] | repeated[0] | repeated[1];
        let is_timed = cold.syn_at == Some(flow.first_at);
        let fits = is_plain
            && most <= RETRANSMISSIONS_MAX
            && cold.syn_sequence.is_none_or(|number| number == its_first)
            && (is_timed || cold.syn_at.is_none())
            && cold.syn_ack.is_none_or(|(_, number)| number == first[flow.initiator.other().index()]);
        if !fits {
            return None;
        }
        flags |= bit(place::SYN_NUMBER, cold.syn_sequence.is_some()) | bit(place::SYN_TIMED, is_timed);
        let caller = flow.initiator;
        let is_syn = !has_tail
            && hot.key.is_exact()
            && brief == History::brief_syn(caller)
            && flow.tcp_flags[caller.other().index()] == 0
            && most == 0;
        if is_syn {
            row.flags = flags | bit(place::SYN, true);
            (row.beside, row.said) = (its_first, u16::from(flow.tcp_flags[caller.index()]));
            return Some((row, None));
        }
        let nibbles = |[a, b]: [u64; 2]| u8::try_from(a | b << 4).unwrap_or(u8::MAX);
        let tail = Tail {
            first,
            last: known.map(|(_, last, _)| last),
            history: brief,
            ends: NOWHERE,
            tcp_flags: flow.tcp_flags,
            retransmissions: nibbles(flow.retransmissions),
            repeated: nibbles(repeated),
        };
        row.flags = flags;
        Some((row, Some(tail)))
    }

    /// Marks a row whose flow stands in a wide one.
    pub(super) fn wide(flow: &Flow, place: u32) -> Self {
        let mut row =
            Self { flags: put(place::TCP, u32::from(flow.protocol == Protocol::TCP)), ..Self::EMPTY };
        row.set_beside(Beside::Wide, place);
        row
    }

    pub(super) fn beside(&self) -> (Beside, u32) {
        let kind = match self.field(place::BESIDE) {
            0 => Beside::Nothing,
            1 => Beside::Tail,
            2 => Beside::Ends,
            _ => Beside::Wide,
        };
        (kind, self.beside)
    }

    pub(super) fn set_beside(&mut self, kind: Beside, place: u32) {
        self.flags = self.flags & !0b11 | put(place::BESIDE, kind as u32);
        self.beside = place;
    }

    /// Says that the slot stands in the list of changed ones; returns whether it did before.
    pub(super) fn mark_changed(&mut self) -> bool {
        let was_changed = self.has(place::CHANGED);
        self.flags |= put(place::CHANGED, 1);
        was_changed
    }

    /// Says that the slot stands in no list.
    pub(super) fn clear_changed(&mut self) {
        self.flags &= !put(place::CHANGED, 1);
    }

    /// Takes another flow's row, or the same one's as it became; what list the slot stands in is its own.
    pub(super) fn become_other(&mut self, other: Self) {
        let changed = self.flags & put(place::CHANGED, 1);
        *self = Self { flags: other.flags | changed, ..other };
    }

    fn field(&self, (shift, bits): (u32, u32)) -> u32 {
        self.flags >> shift & ((1 << bits) - 1)
    }

    fn has(&self, place: (u32, u32)) -> bool {
        self.field(place) != 0
    }

    fn side(&self, place: (u32, u32)) -> Side {
        if self.has(place) { Side::B } else { Side::A }
    }

    /// Returns the flow's number; of a wide row's it is none.
    pub(super) fn id(&self) -> u64 {
        self.id.get()
    }

    /// Returns whether the flow is TCP, also of a wide row.
    pub(super) fn is_tcp(&self) -> bool {
        self.has(place::TCP)
    }

    /// Returns who holds the initiator's end.
    pub(super) fn initiator_holder(&self, hot: &Hot) -> Holder {
        let side = self.side(place::INITIATOR).index();
        holder(self.field(place::HOLDERS[side]), hot.attachments[side])
    }

    pub(super) fn outcome(&self) -> Outcome {
        OUTCOMES.get(self.field(place::OUTCOME) as usize).copied().unwrap_or(Outcome::Blocked)
    }

    /// Adds what was counted, where it fits; false, and nothing changed, where it does not.
    pub(super) fn grow(&mut self, grown: &[Tally; 2], last_at: Timestamp, last_frame: u64) -> bool {
        let added = |side: usize| {
            let total = self.totals[side];
            let frames = (total >> FRAME_SHIFT).checked_add(grown[side].frames)?;
            let bytes = (total & BYTES_MAX).checked_add(grown[side].bytes)?;
            (frames <= FRAMES_MAX && bytes <= BYTES_MAX).then_some(bytes | frames << FRAME_SHIFT)
        };
        let span = last_at.0.checked_sub(self.first_at.0).and_then(|span| u64::try_from(span).ok());
        // A number before the first one's cannot be the last.
        let frame = u32::try_from(last_frame.saturating_sub(self.first_frame.get()));
        let (Some(a), Some(b), Some(span), Ok(frame)) = (added(0), added(1), span, frame) else {
            return false;
        };
        if !Short::holds(span) {
            return false;
        }
        self.totals = [a, b];
        self.span = Short::of(span);
        self.last_frame = self.last_frame.max(frame);
        true
    }

    /// Returns the flow as it was put in.
    pub(super) fn flow(&self, hot: &Hot, aside: Aside<'_>) -> Flow {
        let initiator = self.side(place::INITIATOR);
        let attachments = hot.attachments;
        let held_by = |side: usize| holder(self.field(place::HOLDERS[side]), attachments[side]);
        let (scope, protocol, ends) = match (aside.ends, hot.key.exact()) {
            (Some(ends), _) => {
                let end =
                    |side| End { address: ends.address(side), port: ends.port(side), holder: held_by(side) };
                (ends.scope, ends.protocol, [end(0), end(1)])
            }
            (None, Some(exact)) => {
                let end = |side: usize| End {
                    address: IpAddr::V4(exact.addresses[side]),
                    port: exact.ports.map(|ports| ports[side]),
                    holder: held_by(side),
                };
                (exact.scope, exact.protocol, [end(0), end(1)])
            }
            // A flow whose key is a hash has a row of ends.
            (None, None) => return Cold::EMPTY.flow,
        };
        let [kind, code] = self.said.to_be_bytes();
        let has_icmp = self.has(place::ICMP);
        let outcome = self.outcome();
        let is_answered = outcome == Outcome::Answered;
        let time = |time: u32| (is_answered && time != NO_TIME).then_some(i64::from(time));
        let mut tcp_flags = aside.tail.map_or([0; 2], |tail| tail.tcp_flags);
        if self.has(place::SYN) {
            tcp_flags[initiator.index()] = code;
        }
        let brief = match aside.tail {
            Some(tail) => tail.history,
            None if self.has(place::SYN) => History::brief_syn(initiator),
            None if has_icmp => {
                if self.has(place::FLIPPED) {
                    History::BRIEF_FLIP
                } else {
                    0
                }
            }
            None => u64::from(self.said),
        };
        let retransmissions = aside.tail.map_or(0, |tail| tail.retransmissions);
        let side = |total: u64| (total >> FRAME_SHIFT, total & BYTES_MAX);
        let [(frames_a, bytes_a), (frames_b, bytes_b)] = self.totals.map(side);
        let first_frame = self.first_frame.get();
        Flow {
            id: self.id.get(),
            scope,
            protocol,
            ends,
            initiator,
            evidence: EVIDENCE
                .get(self.field(place::EVIDENCE) as usize)
                .copied()
                .unwrap_or(InitiatorEvidence::FirstSender),
            claim: CLAIMS.get(self.field(place::CLAIM) as usize).copied().unwrap_or(Claim::Own),
            outcome,
            first_at: self.first_at,
            last_at: Timestamp(self.first_at.0.wrapping_add_unsigned(self.span.get())),
            first_frame,
            last_frame: first_frame + u64::from(self.last_frame),
            frames: [frames_a, frames_b],
            bytes: [bytes_a, bytes_b],
            tcp_flags,
            rtt: time(self.times[0]),
            ack_rtt: time(self.times[1]).filter(|_| !self.has(place::WAITS)),
            history: History::of_brief(brief),
            retransmissions: halves(retransmissions).map(u64::from),
            zero_windows: [0; 2],
            gaps: [0; 2],
            unseen: [0; 2],
            icmp_error: None,
            is_midstream: self.has(place::MIDSTREAM),
            is_delivered: self.has(place::DELIVERED),
            is_tunnel: self.has(place::TUNNEL),
            icmp_type: has_icmp.then_some(kind),
            icmp_code: has_icmp.then_some(code),
            first_sender: self.side(place::FIRST_SENDER),
        }
    }

    /// Returns all of it as it was put in. Of a flow that was answered nobody asks when it was opened or when it was
    /// called: the first is 0.
    pub(super) fn cold(&self, hot: &Hot, aside: Aside<'_>) -> Cold {
        let flow = self.flow(hot, aside);
        let (caller, called) = (flow.initiator, flow.initiator.other());
        let mut first = aside.tail.map_or([0; 2], |tail| tail.first);
        if self.has(place::SYN) {
            first[caller.index()] = self.beside;
        }
        let last = aside.tail.map_or([0; 2], |tail| tail.last);
        let repeated = halves(aside.tail.map_or(0, |tail| tail.repeated));
        let numbers = |side: Side| {
            let at = side.index();
            Numbers::plain(&flow.history, side, first[at], last[at], u32::from(repeated[at]))
        };
        let is_tcp = self.is_tcp();
        let came = self.first_at.0.wrapping_add(i64::from(self.times[1]));
        Cold {
            opened_at: if flow.outcome == Outcome::Answered {
                Timestamp(0)
            } else {
                let [high, low] = self.times.map(u64::from);
                Timestamp((high << 32 | low).cast_signed())
            },
            syn_at: self.has(place::SYN_TIMED).then_some(flow.first_at),
            syn_sequence: self.has(place::SYN_NUMBER).then_some(first[caller.index()]),
            syn_ack: self.has(place::WAITS).then_some((Timestamp(came), first[called.index()])),
            numbers: if is_tcp { [numbers(Side::A), numbers(Side::B)] } else { [Numbers::NONE; 2] },
            spilled: [Tally::default(); 2],
            expects_delivery: self.has(place::EXPECTS_DELIVERY),
            flow,
        }
    }
}

/// Returns a row's times, and whether the second is that of a SYN-ACK nobody acknowledged; `None` where they do not fit.
fn times(cold: &Cold) -> Option<([u32; 2], bool)> {
    let flow = &cold.flow;
    if flow.outcome != Outcome::Answered {
        let opened_at = cold.opened_at.0.cast_unsigned();
        let half = |shift: u32| u32::try_from(opened_at >> shift & low(32)).unwrap_or(0);
        return Some(([half(32), half(0)], false));
    }
    let time = |time: Option<i64>| match time {
        None => Some(NO_TIME),
        Some(time) => u32::try_from(time).ok().filter(|time| *time != NO_TIME),
    };
    let Some((came, _)) = cold.syn_ack else { return Some(([time(flow.rtt)?, time(flow.ack_rtt)?], false)) };
    if flow.ack_rtt.is_some() {
        return None;
    }
    let came = u32::try_from(came.0.checked_sub(flow.first_at.0)?).ok()?;
    Some(([time(flow.rtt)?, came], true))
}

fn halves(both: u8) -> [u8; 2] {
    [both & 0xf, both >> 4]
}
