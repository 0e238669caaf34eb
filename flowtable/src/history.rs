//! What a flow's packets did, in the letters of Zeek's `conn.log`, and what they come to in one word.
//!
//! # Sources
//!
//! The fields `history` and `conn_state` as documented at
//! <https://docs.zeek.org/en/master/scripts/base/protocols/conn/main.zeek.html>. What that page leaves open is decided
//! in `docs/flows.md`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::flow::Side;
use crate::units::Protocol;

/// One kind of event in a [`History`]; the letter is the initiator's, the responder's is the small one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Letter {
    /// SYN without ACK.
    Syn = b'S',
    /// SYN with ACK.
    SynAck = b'H',
    /// A segment with ACK that carries nothing.
    Ack = b'A',
    /// Payload; for UDP a datagram.
    Payload = b'D',
    /// FIN.
    Fin = b'F',
    /// RST.
    Reset = b'R',
    /// Payload that begins before the end of what was seen.
    Retransmitted = b'T',
    /// A closed window.
    ZeroWindow = b'W',
    /// Something was acknowledged that was never seen.
    Gap = b'G',
    /// FIN and RST together.
    Inconsistent = b'I',
    /// SYN together with FIN or RST.
    MultiFlag = b'Q',
}

impl Letter {
    /// Returns the letter's number, from 1.
    fn number(self) -> u8 {
        match self {
            Self::Syn => 1,
            Self::SynAck => 2,
            Self::Ack => 3,
            Self::Payload => 4,
            Self::Fin => 5,
            Self::Reset => 6,
            Self::Retransmitted => 7,
            Self::ZeroWindow => 8,
            Self::Gap => 9,
            Self::Inconsistent => 10,
            Self::MultiFlag => 11,
        }
    }

    /// Returns the letter's bit in a set.
    fn bit(self) -> u16 {
        1 << (self.number() - 1)
    }
}

/// Kinds of events.
const KINDS: u8 = 11;
/// Letters by their number, from 1; the responder's follow, and then the mark of a flip.
const LETTERS: [u8; KINDS as usize] = *b"SHADFRTWGIQ";
/// Stands where the initiator is another than the packets so far made believe.
const FLIPPED: u8 = b'^';
/// Its number.
const FLIP: u8 = 23;
/// Stands at the end where there was no room for more.
const CUT: u8 = b'+';
/// Bits of a letter's number.
const LETTER_BITS: u32 = 5;
/// Letters of a word.
const LETTERS_PER_WORD: u8 = 12;

/// A flow's events in their order. Holds [`History::LETTERS_MAX`]; what comes later is known by its kind alone.
///
/// Letters are kept by side, so that a flow whose initiator turns out to be the other end needs no rewriting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct History {
    /// Numbers of the letters, the first in the lowest bits; A's are 1 to 11, B's 12 to 22.
    letters: [u64; 2],
    /// Letters kept; one more than fit where some were left out.
    length: u8,
    /// Kinds seen from A and from B, kept or not.
    seen: [u16; 2],
}

impl History {
    /// Letters kept; `+` stands for all that follow.
    pub const LETTERS_MAX: usize = 2 * LETTERS_PER_WORD as usize;
    /// Nothing happened yet.
    pub const EMPTY: Self = Self { letters: [0; 2], length: 0, seen: [0; 2] };

    /// Returns whether `side` did that.
    pub fn has(&self, side: Side, letter: Letter) -> bool {
        self.seen[side.index()] & letter.bit() != 0
    }

    /// Adds a letter.
    pub(crate) fn add(&mut self, side: Side, letter: Letter) {
        self.seen[side.index()] |= letter.bit();
        let number = letter.number();
        self.write(match side {
            Side::A => number,
            Side::B => number + KINDS,
        });
    }

    /// Adds a letter unless this side has it.
    pub(crate) fn add_once(&mut self, side: Side, letter: Letter) {
        if !self.has(side, letter) {
            self.add(side, letter);
        }
    }

    /// Adds a letter where `count` is 1, 10, 100 and so on.
    pub(crate) fn add_at_powers(&mut self, side: Side, letter: Letter, count: u64) {
        if is_power_of_ten(count) {
            self.add(side, letter);
        }
    }

    /// Says that the initiator is another than it seemed.
    pub(crate) fn flip(&mut self) {
        self.write(FLIP);
    }

    /// Returns the letters with the initiator's as capitals.
    pub fn text(&self, initiator: Side) -> String {
        self.letters(initiator).map(char::from).collect()
    }

    /// Returns the letters of [`History::text`], which are ASCII.
    pub fn letters(&self, initiator: Side) -> impl Iterator<Item = u8> {
        let [first, second] = self.letters.map(numbers);
        let kept = first.chain(second).take(usize::from(self.length)).map(move |number| {
            let letter = |number: u8| LETTERS.get(usize::from(number)).copied().unwrap_or(FLIPPED);
            let (side, letter) = match number {
                FLIP => return FLIPPED,
                1..=KINDS => (Side::A, letter(number - 1)),
                _ => (Side::B, letter(number.wrapping_sub(KINDS + 1))),
            };
            if side == initiator { letter } else { letter.to_ascii_lowercase() }
        });
        let is_cut = usize::from(self.length) > Self::LETTERS_MAX;
        kept.chain(is_cut.then_some(CUT))
    }

    fn write(&mut self, number: u8) {
        let (word, at) = (self.length / LETTERS_PER_WORD, self.length % LETTERS_PER_WORD);
        match self.letters.get_mut(usize::from(word)) {
            Some(letters) => {
                *letters |= u64::from(number) << (u32::from(at) * LETTER_BITS);
                self.length += 1;
            }
            None => self.length = u8::try_from(Self::LETTERS_MAX + 1).unwrap_or(u8::MAX),
        }
    }

    /// What [`History::in_brief`] returns of a flip and nothing else.
    pub(crate) const BRIEF_FLIP: u64 = FLIP as u64;

    /// Returns what [`History::in_brief`] does of one SYN and nothing else.
    pub(crate) fn brief_syn(side: Side) -> u64 {
        u64::from(Letter::Syn.number() + if side == Side::B { KINDS } else { 0 })
    }

    /// Returns the first twelve letters in 60 bits, 0 for nothing, where they are all there is.
    pub(crate) fn in_brief(&self) -> Option<u64> {
        (self.length <= LETTERS_PER_WORD).then_some(self.letters[0])
    }

    /// Reads what [`History::in_brief`] returned.
    pub(crate) fn of_brief(brief: u64) -> Self {
        let mut history = Self { letters: [brief, 0], ..Self::EMPTY };
        for number in numbers(brief) {
            history.length += 1;
            match number {
                1..=KINDS => history.seen[0] |= 1 << (number - 1),
                FLIP => {}
                _ => history.seen[1] |= 1 << (number.wrapping_sub(KINDS + 1) & 15),
            }
        }
        history
    }

    /// Returns what the events come to, for a flow opened by `initiator`.
    pub fn conn_state(&self, protocol: Protocol, initiator: Side) -> ConnState {
        match protocol {
            Protocol::TCP => self.tcp_state(initiator),
            Protocol::UDP => {
                let sent = |side| self.has(side, Letter::Payload);
                match (sent(initiator), sent(initiator.other())) {
                    (true, true) => ConnState::Sf,
                    (true, false) => ConnState::S0,
                    (false, true) => ConnState::Shr,
                    (false, false) => ConnState::Oth,
                }
            }
            _ => ConnState::Oth,
        }
    }

    fn tcp_state(&self, initiator: Side) -> ConnState {
        let responder = initiator.other();
        let did = |side, letter| self.has(side, letter);
        let is_silent = |side: Side| self.seen[side.index()] == 0;
        let has_payload = did(initiator, Letter::Payload) || did(responder, Letter::Payload);
        let resets = |side| did(side, Letter::Reset);
        let finishes = |side| did(side, Letter::Fin);
        if resets(responder) {
            let is_attempt = did(initiator, Letter::Syn) && !self.is_open(responder);
            // Given up by both before a byte was sent.
            let is_given_up = resets(initiator) && !has_payload;
            return if is_attempt || is_given_up {
                ConnState::Rej
            } else if self.is_open(initiator) || finishes(initiator) || resets(initiator) {
                ConnState::Rstr
            } else {
                ConnState::Rstrh
            };
        }
        if resets(initiator) {
            let had_more_to_say = [
                Letter::SynAck,
                Letter::Ack,
                Letter::Payload,
                Letter::Fin,
                Letter::Gap,
                Letter::Inconsistent,
                Letter::MultiFlag,
            ];
            return if self.is_open(responder) || finishes(responder) {
                ConnState::Rsto
            } else if did(initiator, Letter::Syn) && !had_more_to_say.iter().any(|it| did(initiator, *it)) {
                ConnState::Rstos0
            } else {
                ConnState::Oth
            };
        }
        match (finishes(initiator), finishes(responder)) {
            (true, true) => ConnState::Sf,
            (true, false) if self.is_open(responder) => ConnState::S2,
            (true, false) => ConnState::Sh,
            (false, true) if self.is_open(initiator) => ConnState::S3,
            (false, true) => ConnState::Shr,
            (false, false) if did(initiator, Letter::Syn) && is_silent(responder) => ConnState::S0,
            (false, false) if self.is_established(initiator) => ConnState::S1,
            (false, false) => ConnState::Oth,
        }
    }

    /// Returns whether this end agreed to a connection: by its own SYN, or by a word after the other's SYN-ACK.
    fn is_open(&self, side: Side) -> bool {
        let did = |letter| self.has(side, letter);
        did(Letter::Syn)
            || did(Letter::SynAck)
            || (self.has(side.other(), Letter::SynAck) && (did(Letter::Ack) || did(Letter::Payload)))
    }

    /// Returns whether both ends agreed, and one of them said so to the other: two SYNs that cross are not enough.
    fn is_established(&self, side: Side) -> bool {
        let accepts = |side| self.has(side, Letter::SynAck);
        let goes_on = |side| self.has(side, Letter::Ack) || self.has(side, Letter::Payload);
        self.is_open(side)
            && self.is_open(side.other())
            && (accepts(side) || accepts(side.other()) || (goes_on(side) && goes_on(side.other())))
    }
}

impl Default for History {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// How a flow stands, in the words of Zeek's `conn.log`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ConnState {
    /// An attempt without a reply.
    S0,
    /// Established, and not ended.
    S1,
    /// Established and ended by both; for UDP, answered.
    Sf,
    /// An attempt that was rejected.
    Rej,
    /// Established; the initiator wants to end it, the responder has not said so.
    S2,
    /// Established; the responder wants to end it, the initiator has not said so.
    S3,
    /// Established; the initiator reset it.
    Rsto,
    /// The responder reset it.
    Rstr,
    /// The initiator's SYN and then its RST, without a SYN-ACK.
    Rstos0,
    /// The responder's SYN-ACK and then its RST, without a SYN.
    Rstrh,
    /// The initiator's SYN and then its FIN, without a SYN-ACK.
    Sh,
    /// The responder's SYN-ACK and then its FIN, without a SYN.
    Shr,
    /// None of these: joined in the middle, or neither TCP nor UDP.
    Oth,
}

impl ConnState {
    /// Returns the word as it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::S0 => "S0",
            Self::S1 => "S1",
            Self::Sf => "SF",
            Self::Rej => "REJ",
            Self::S2 => "S2",
            Self::S3 => "S3",
            Self::Rsto => "RSTO",
            Self::Rstr => "RSTR",
            Self::Rstos0 => "RSTOS0",
            Self::Rstrh => "RSTRH",
            Self::Sh => "SH",
            Self::Shr => "SHR",
            Self::Oth => "OTH",
        }
    }
}

impl fmt::Display for ConnState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Returns the numbers of a word's letters.
fn numbers(mut word: u64) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let number = u8::try_from(word & ((1 << LETTER_BITS) - 1)).ok().filter(|number| *number != 0)?;
        word >>= LETTER_BITS;
        Some(number)
    })
}

fn is_power_of_ten(mut count: u64) -> bool {
    while count >= 10 && count.is_multiple_of(10) {
        count /= 10;
    }
    count == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(text: &str) -> History {
        let mut history = History::EMPTY;
        let letters = [
            Letter::Syn,
            Letter::SynAck,
            Letter::Ack,
            Letter::Payload,
            Letter::Fin,
            Letter::Reset,
            Letter::Retransmitted,
            Letter::ZeroWindow,
            Letter::Gap,
            Letter::Inconsistent,
            Letter::MultiFlag,
        ];
        for written in text.bytes() {
            let side = if written.is_ascii_uppercase() { Side::A } else { Side::B };
            match letters.iter().find(|letter| **letter as u8 == written.to_ascii_uppercase()) {
                Some(letter) => history.add(side, *letter),
                None => history.flip(),
            }
        }
        history
    }

    #[test]
    fn a_history_comes_to_the_word_that_is_documented_for_it() {
        #[rustfmt::skip]
        let cases = [
            ("",          ConnState::Oth),
            ("S",         ConnState::S0),
            ("SAD",       ConnState::S0),
            ("Sh",        ConnState::S1),
            ("ShADad",    ConnState::S1),
            ("^hA",       ConnState::S1),
            ("ShADadFf",  ConnState::Sf),
            ("^hADdFaf",  ConnState::Sf),
            ("Sr",        ConnState::Rej),
            ("ShRr",      ConnState::Rej),
            ("ShADadF",   ConnState::S2),
            ("ShADadf",   ConnState::S3),
            ("ShADadR",   ConnState::Rsto),
            ("ShR",       ConnState::Rsto),
            ("ShADadr",   ConnState::Rstr),
            ("Shr",       ConnState::Rstr),
            ("ShADRr",    ConnState::Rstr),
            ("SR",        ConnState::Rstos0),
            ("SAR",       ConnState::Oth),
            ("^hr",       ConnState::Rstrh),
            ("SADF",      ConnState::Sh),
            ("^hf",       ConnState::Shr),
            ("^h",        ConnState::Oth),
            ("DdA",       ConnState::Oth),
            // Two SYNs that cross, and what they may come to (RFC 9293, section 3.5).
            ("Ss",        ConnState::Oth),
            ("SsHh",      ConnState::S1),
            ("SasHa",     ConnState::S1),
            // A challenge is no reply that opens anything (RFC 5961, section 4).
            ("Sa",        ConnState::Oth),
        ];
        for (text, expected) in cases {
            let history = history(text);
            assert_eq!(history.text(Side::A), text);
            assert_eq!(history.conn_state(Protocol::TCP, Side::A), expected, "{text}");
            assert_eq!(history.in_brief().map(History::of_brief), Some(history), "{text}");
        }
    }

    #[test]
    fn udp_knows_who_sent_and_nothing_else() {
        for (text, expected) in
            [("D", ConnState::S0), ("Dd", ConnState::Sf), ("d", ConnState::Shr), ("", ConnState::Oth)]
        {
            assert_eq!(history(text).conn_state(Protocol::UDP, Side::A), expected, "{text}");
            assert_eq!(history(text).conn_state(Protocol::ICMP, Side::A), ConnState::Oth, "{text}");
        }
    }

    #[test]
    fn the_initiators_letters_are_capitals_whichever_side_it_is() {
        assert_eq!(history("^hADd").text(Side::B), "^HadD");
    }

    #[test]
    fn a_full_history_says_so_and_still_knows_how_the_flow_ended() {
        let full = history("ShADadTtTtTtTtTtTtTtTtTt");
        assert_eq!(full.text(Side::A), "ShADadTtTtTtTtTtTtTtTtTt");
        let cut = history("ShADadTtTtTtTtTtTtTtTtTtFfR");
        assert_eq!(cut.text(Side::A), "ShADadTtTtTtTtTtTtTtTtTt+");
        assert_eq!(cut.conn_state(Protocol::TCP, Side::A), ConnState::Rsto);
    }

    #[test]
    fn a_history_of_more_than_twelve_letters_has_no_brief_form() {
        for (text, is_brief) in [("^SHADFRTWGIQ", true), ("^shadfrtwgiq", true), ("^hADadTtFfRrG", false)] {
            let history = history(text);
            assert_eq!(history.text(Side::A), text);
            assert_eq!(history.in_brief().is_some(), is_brief, "{text}");
            assert!(history.in_brief().is_none_or(|brief| History::of_brief(brief) == history), "{text}");
        }
    }

    #[test]
    fn repeated_events_are_written_at_powers_of_ten() {
        let mut history = History::EMPTY;
        let written: Vec<u64> = (1..=2_000)
            .filter(|count| {
                let before = history.length;
                history.add_at_powers(Side::A, Letter::ZeroWindow, *count);
                history.length > before
            })
            .collect();
        assert_eq!(written, [1, 10, 100, 1_000]);
    }
}
