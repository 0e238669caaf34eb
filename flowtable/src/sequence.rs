//! The reading of sequence numbers: what was sent twice, what was acknowledged unseen, when the window was closed.
//!
//! # Sources
//!
//! RFC 9293, sections 3.4 and 3.8. Keep-alives: section 3.8.4. The rules are stated in `docs/flows.md`; none of them
//! looks at times.

use crate::flow::{Flow, Side};
use crate::history::{History, Letter};
use crate::observation::{Fragment, Packet, TcpFacts};
use crate::units::Protocol;

/// What the next segment of each end is held against. Both stand in the hot part of a slot.
#[derive(Debug)]
pub(crate) struct Expected<'a> {
    /// Sequence number after the highest seen from A and from B.
    pub(crate) next: &'a mut [u32; 2],
    pub(crate) marks: &'a mut Marks,
}

/// Bits that let a packet pass without a look at the cold part.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Marks(pub(crate) u8);

impl Marks {
    /// The slot stands in the list of dirty ones, be it for a flow that has ended since.
    pub(crate) const DIRTY: u8 = 1;
    /// Something between two segments of one end has not been seen.
    pub(crate) const HOLE: u8 = 1 << 1;
    /// Payload was seen from A, or at the next bit from B: its letter is written.
    const PAYLOAD: u8 = 1 << 2;
    /// A segment without payload was seen from A, or at the next bit from B.
    const PURE_ACK: u8 = 1 << 4;
    /// The next sequence number of A, or at the next bit of B, is known.
    const NUMBERED: u8 = 1 << 6;

    pub(crate) fn has(self, bits: u8) -> bool {
        self.0 & bits == bits
    }

    pub(crate) fn set(&mut self, bits: u8) {
        self.0 |= bits;
    }

    pub(crate) fn clear(&mut self, bits: u8) {
        self.0 &= !bits;
    }

    fn payload(side: Side) -> u8 {
        Self::PAYLOAD << side.index()
    }

    fn pure_ack(side: Side) -> u8 {
        Self::PURE_ACK << side.index()
    }

    fn numbered(side: Side) -> u8 {
        Self::NUMBERED << side.index()
    }
}

impl Expected<'_> {
    /// Takes the packet that was expected: a segment that begins where the last one of its end stopped, of a kind that
    /// end has sent before, acknowledging nothing unseen, with an open window. Returns false, and takes nothing, for
    /// any other: it has to be read by [`read`].
    #[inline]
    pub(crate) fn take(&mut self, side: Side, packet: &Packet) -> bool {
        const PLAIN: u8 = TcpFacts::SYN | TcpFacts::FIN | TcpFacts::RST | TcpFacts::ACK;
        const BOTH: u8 = Marks::NUMBERED | Marks::NUMBERED << 1;
        let Some(tcp) = packet.tcp else {
            return packet.protocol != Protocol::TCP && self.marks.has(Marks::payload(side));
        };
        let kind = if tcp.payload_bytes == 0 { Marks::pure_ack(side) } else { Marks::payload(side) };
        let known = kind | BOTH;
        let ahead = tcp.acknowledgment.wrapping_sub(self.next[side.other().index()]).cast_signed();
        let is_expected = self.marks.0 & (known | Marks::HOLE) == known
            && tcp.flags & PLAIN == TcpFacts::ACK
            && tcp.sequence == self.next[side.index()]
            && ahead <= 0
            && tcp.window != 0
            && packet.fragment == Fragment::Whole;
        if is_expected {
            self.next[side.index()] = tcp.sequence.wrapping_add(tcp.payload_bytes);
        }
        is_expected
    }
}

/// What is remembered of one end's numbers. Stands in the cold part of a slot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Numbers {
    /// Sequence numbers of the last SYN, SYN-ACK, FIN and RST, where the history has the letter.
    control: [u32; 4],
    /// Sequence number of the last SYN, with or without ACK.
    first: Option<u32>,
    /// Where something between two segments is missing, from its first number to the one after its last; equal where
    /// nothing is.
    hole: (u32, u32),
    /// How much of the hole has not been seen, at least: what lies between two holes is no part of it.
    missing: u32,
    /// Highest acknowledgment of something never seen.
    acknowledged_unseen: Option<u32>,
    /// Segments whose payload had been seen before; their letter is written up to a thousand million.
    repeated_payloads: u32,
}

impl Numbers {
    pub(crate) const NONE: Self = Self {
        control: [0; 4],
        first: None,
        hole: (0, 0),
        missing: 0,
        acknowledged_unseen: None,
        repeated_payloads: 0,
    };

    /// Builds what is remembered of an end that missed nothing: the number it began with, and the one it ended with,
    /// where its history has such letters.
    pub(crate) fn plain(
        history: &History,
        side: Side,
        first: u32,
        last: u32,
        repeated_payloads: u32,
    ) -> Self {
        let [syn, syn_ack, fin, reset] =
            [Letter::Syn, Letter::SynAck, Letter::Fin, Letter::Reset].map(|letter| history.has(side, letter));
        let where_had = |had: bool, number: u32| if had { number } else { 0 };
        Self {
            control: [
                where_had(syn, first),
                where_had(syn_ack, first),
                where_had(fin, last),
                where_had(reset, last),
            ],
            first: (syn || syn_ack).then_some(first),
            repeated_payloads,
            ..Self::NONE
        }
    }

    /// Returns the number the end began with and the one it ended with, 0 for none, and how often it repeated payload:
    /// all there is to know where [`Numbers::plain`] makes the same of it.
    pub(crate) fn in_brief(&self) -> (u32, u32, u32) {
        let [_, _, fin, reset] = self.control;
        (self.first.unwrap_or(0), if fin == 0 { reset } else { fin }, self.repeated_payloads)
    }

    fn has_hole(&self) -> bool {
        self.hole.0 != self.hole.1
    }

    /// Returns how far what was passed over, from `next` to `start`, has been acknowledged already.
    fn acknowledged(&self, next: u32, start: u32) -> u32 {
        match self.acknowledged_unseen {
            Some(number) if is_before(start, number) => start,
            Some(number) if is_before(next, number) => number,
            Some(_) | None => next,
        }
    }

    /// Forgets what is missing; what was acknowledged of it stays counted.
    fn begin_anew(&mut self) {
        (self.hole, self.missing, self.acknowledged_unseen) = ((0, 0), 0, None);
    }

    /// Takes what comes after it was missed, or again: of the hole first, then of what was acknowledged unseen. What
    /// was seen before is taken for late too, so that what is left is the least that is missing.
    fn come_late(&mut self, unseen: &mut u64, start: u32, end: u32) {
        let length = end.wrapping_sub(start);
        let (from, until) = self.hole;
        let mut rest = length;
        if self.has_hole() && is_before(start, until) && is_before(from, end) {
            let first = if is_before(start, from) { from } else { start };
            let last = if is_before(until, end) { until } else { end };
            let filled = last.wrapping_sub(first).min(self.missing);
            self.missing -= filled;
            rest = rest.saturating_sub(filled);
        }
        *unseen = unseen.saturating_sub(u64::from(rest));
    }

    /// Adds a letter unless the last one of its kind had the same number: then it is that packet again.
    fn add_control(&mut self, history: &mut History, side: Side, letter: Letter, sequence: u32) {
        let place = match letter {
            Letter::Syn => 0,
            Letter::SynAck => 1,
            Letter::Fin => 2,
            Letter::Reset
            | Letter::Ack
            | Letter::Payload
            | Letter::Retransmitted
            | Letter::ZeroWindow
            | Letter::Gap
            | Letter::Inconsistent
            | Letter::MultiFlag => 3,
        };
        let is_again = history.has(side, letter) && self.control[place] == sequence;
        self.control[place] = sequence;
        if !is_again {
            history.add(side, letter);
        }
    }
}

/// Reads one packet of `side` by the long way: letters, counts, and what is expected next.
pub(crate) fn read(
    expected: &mut Expected<'_>,
    numbers: &mut [Numbers; 2],
    flow: &mut Flow,
    side: Side,
    packet: &Packet,
) {
    let Some(tcp) = packet.tcp else {
        if packet.protocol == Protocol::TCP {
            // A fragment or a cut header: where the next segment begins is unknown.
            forget(expected, numbers, side);
        } else {
            if packet.protocol == Protocol::UDP {
                flow.history.add_once(side, Letter::Payload);
            }
            expected.marks.set(Marks::payload(side));
        }
        return;
    };
    letters(expected, numbers, flow, side, tcp);
    if tcp.is_rst() {
        return;
    }
    if tcp.window == 0 && tcp.flags & (TcpFacts::SYN | TcpFacts::FIN) == 0 {
        let count = &mut flow.zero_windows[side.index()];
        *count += 1;
        flow.history.add_at_powers(side, Letter::ZeroWindow, *count);
    }
    segment(expected, numbers, flow, side, tcp);
    if tcp.flags & TcpFacts::ACK != 0 {
        acknowledge(expected, numbers, flow, side.other(), tcp.acknowledgment);
    }
    if packet.fragment != Fragment::Whole {
        forget(expected, numbers, side);
    }
    let has_hole = numbers.iter().any(Numbers::has_hole);
    if has_hole {
        expected.marks.set(Marks::HOLE);
    } else {
        expected.marks.clear(Marks::HOLE);
    }
}

fn letters(
    expected: &mut Expected<'_>,
    numbers: &mut [Numbers; 2],
    flow: &mut Flow,
    side: Side,
    tcp: TcpFacts,
) {
    let (history, numbers) = (&mut flow.history, &mut numbers[side.index()]);
    let is_syn = tcp.flags & TcpFacts::SYN != 0;
    match (is_syn, tcp.is_fin(), tcp.is_rst()) {
        (_, true, true) => return history.add_once(side, Letter::Inconsistent),
        (true, true, false) | (true, false, true) => return history.add_once(side, Letter::MultiFlag),
        (false, false, true) => return numbers.add_control(history, side, Letter::Reset, tcp.sequence),
        (true, false, false) if tcp.is_syn_ack() => {
            numbers.add_control(history, side, Letter::SynAck, tcp.sequence);
        }
        (true, false, false) => numbers.add_control(history, side, Letter::Syn, tcp.sequence),
        (false, true, false) | (false, false, false) => {}
    }
    if tcp.payload_bytes > 0 {
        history.add_once(side, Letter::Payload);
        expected.marks.set(Marks::payload(side));
    } else if tcp.flags & TcpFacts::ACK != 0 && !is_syn && !tcp.is_fin() {
        history.add_once(side, Letter::Ack);
        expected.marks.set(Marks::pure_ack(side));
    }
    if tcp.is_fin() {
        numbers.add_control(history, side, Letter::Fin, tcp.sequence);
    }
}

/// Holds a segment against the highest number seen from its end.
fn segment(
    expected: &mut Expected<'_>,
    numbers: &mut [Numbers; 2],
    flow: &mut Flow,
    side: Side,
    tcp: TcpFacts,
) {
    let (numbers, unseen) = (&mut numbers[side.index()], &mut flow.unseen[side.index()]);
    let is_syn = tcp.flags & TcpFacts::SYN != 0;
    let length = tcp.payload_bytes.wrapping_add(u32::from(is_syn)).wrapping_add(u32::from(tcp.is_fin()));
    let (start, end) = (tcp.sequence, tcp.sequence.wrapping_add(length));
    let next = &mut expected.next[side.index()];
    let is_numbered = expected.marks.has(Marks::numbered(side));
    // A SYN with another number starts over; one that merely comes late does not.
    let is_another_start = is_syn && numbers.first.map_or(!is_before(start, *next), |first| first != start);
    if is_syn {
        numbers.first = Some(start);
    }
    if !is_numbered || is_another_start {
        *next = end;
        numbers.begin_anew();
        expected.marks.set(Marks::numbered(side));
        return;
    }
    let ahead = distance(start, *next);
    let is_keep_alive = ahead == -1 && tcp.payload_bytes <= 1 && !is_syn && !tcp.is_fin();
    if is_keep_alive {
        return;
    }
    if ahead > 0 {
        let acknowledged = numbers.acknowledged(*next, start);
        *unseen += u64::from(acknowledged.wrapping_sub(*next));
        numbers.missing = numbers.missing.saturating_add(start.wrapping_sub(acknowledged));
        let from = if numbers.has_hole() { numbers.hole.0 } else { *next };
        numbers.hole = (from, start);
    }
    if length > 0 && ahead < 0 {
        numbers.come_late(unseen, start, if is_before(*next, end) { *next } else { end });
        flow.retransmissions[side.index()] += 1;
        // The letter is Zeek's: payload of which nothing is new.
        if tcp.payload_bytes > 0 && !is_before(*next, end) {
            numbers.repeated_payloads = numbers.repeated_payloads.saturating_add(1);
            flow.history.add_at_powers(side, Letter::Retransmitted, numbers.repeated_payloads.into());
        }
        let (from, until) = numbers.hole;
        if numbers.has_hole() && !is_before(from, start) && is_before(from, end) {
            numbers.hole = if is_before(end, until) { (end, until) } else { (0, 0) };
        }
    }
    if is_before(*next, end) {
        *next = end;
    }
}

/// Holds an acknowledgment against what was seen from `side`, whose data it acknowledges.
fn acknowledge(
    expected: &Expected<'_>,
    numbers: &mut [Numbers; 2],
    flow: &mut Flow,
    side: Side,
    number: u32,
) {
    if !expected.marks.has(Marks::numbered(side)) {
        return;
    }
    let numbers = &mut numbers[side.index()];
    let unseen = &mut flow.unseen[side.index()];
    let mut is_gap = false;
    if numbers.has_hole() && is_before(numbers.hole.0, number) {
        // Of a hole that is acknowledged in part, all that is not may be what is missing.
        let beyond = if is_before(number, numbers.hole.1) { numbers.hole.1.wrapping_sub(number) } else { 0 };
        *unseen += u64::from(numbers.missing.saturating_sub(beyond));
        (numbers.hole, numbers.missing) = ((0, 0), 0);
        is_gap = true;
    }
    let is_unseen = is_before(expected.next[side.index()], number);
    if is_unseen && numbers.acknowledged_unseen.is_none_or(|highest| is_before(highest, number)) {
        numbers.acknowledged_unseen = Some(number);
        is_gap = true;
    }
    if is_gap {
        let count = &mut flow.gaps[side.index()];
        *count += 1;
        flow.history.add_at_powers(side, Letter::Gap, *count);
    }
}

fn forget(expected: &mut Expected<'_>, numbers: &mut [Numbers; 2], side: Side) {
    expected.marks.clear(Marks::numbered(side));
    numbers[side.index()].begin_anew();
}

/// Returns how far `number` lies beyond `other`; sequence numbers go round (RFC 9293, section 3.4).
fn distance(number: u32, other: u32) -> i32 {
    number.wrapping_sub(other).cast_signed()
}

fn is_before(number: u32, other: u32) -> bool {
    distance(number, other) < 0
}
