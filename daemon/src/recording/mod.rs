//! Recording: what the engine is fed, to a capture and its journal.
//!
//! # Where it sits
//!
//! The tap's thread copies each frame into a ring of bytes ([`Recorder`]) and notes every other input with the number
//! of the frame it precedes; a thread of its own ([`Recording`]) writes both to disk. Where the ring is full or the
//! disk is, the frame is metered all the same and counted as unrecorded: the engine never waits for a disk.

mod choice;
mod disk;
mod interfaces;
mod part;
mod writer;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use portolan_capture::Frame;
use portolan_flowtable::{Tally, Timestamp};
use portolan_identity::Picture;
use rtrb::{Consumer, Producer, RingBuffer};

pub use choice::{Choice, UnknownChoice};
pub use writer::{Recorded, Recording, RecordingOptions};

use crate::journal::{TickRow, TurnRow};

/// Bytes of the ring between the tap's thread and the writer's.
const RING_BYTES: usize = 64 * 1024 * 1024;
/// Bytes before each frame in the ring: time, original length, captured length.
const HEAD_BYTES: usize = 16;

/// An input that is no frame, on its way into the journal.
#[derive(Debug)]
pub(crate) enum Note {
    /// The data plane took roles, before this frame.
    Roles(u64, Arc<Picture>),
    /// It closed a tick.
    Tick(u64, TickRow),
    /// It handed over what had to wait.
    Drain(u64),
    /// It balanced the accounts and ended.
    Settle(u64, TickRow),
    /// The control plane published, with this picture. Follows the tick it belongs to.
    Turn(Arc<Picture>, Box<TurnRow>),
}

/// The tap's end of a recording.
#[derive(Debug)]
pub(crate) struct Recorder {
    ring: Producer<u8>,
    notes: Sender<Note>,
    offered: u64,
    unrecorded: Tally,
    foreign: Tally,
}

/// The writer's end.
#[derive(Debug)]
pub(crate) struct Feed {
    ring: Consumer<u8>,
    notes: Receiver<Note>,
}

/// Builds both ends, and the control plane's way to the journal.
pub(crate) fn recorder() -> (Recorder, Sender<Note>, Feed) {
    let (producer, consumer) = RingBuffer::new(RING_BYTES);
    let (sender, receiver) = channel();
    let recorder = Recorder {
        ring: producer,
        notes: sender.clone(),
        offered: 0,
        unrecorded: Tally::default(),
        foreign: Tally::default(),
    };
    (recorder, sender, Feed { ring: consumer, notes: receiver })
}

impl Recorder {
    /// Copies a frame into the ring and returns its number in the recording. Where the ring is full, the frame is
    /// counted as unrecorded and shares the number of the next one.
    pub(crate) fn offer(&mut self, frame: &Frame<'_>) -> u64 {
        let number = self.offered + 1;
        if self.ring.slots() < HEAD_BYTES + frame.bytes.len() {
            self.unrecorded.count(frame.wire_bytes());
            return number;
        }
        let captured = u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX);
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(&frame.at.0.to_le_bytes());
        head[8..12].copy_from_slice(&frame.original_bytes.to_le_bytes());
        head[12..].copy_from_slice(&captured.to_le_bytes());
        // There is room for both.
        if self.ring.push_entire_slice(&head).is_ok() && self.ring.push_entire_slice(frame.bytes).is_ok() {
            self.offered = number;
        }
        number
    }

    /// Counts a frame of an interface known to be foreign: it is not recorded. One that turns out to be foreign after
    /// it was held is, and will be held and left out again.
    pub(crate) fn pass_over(&mut self, frame: &Frame<'_>) {
        self.foreign.count(frame.wire_bytes());
    }

    /// Returns frames of foreign interfaces that were passed over so far.
    pub(crate) fn foreign(&self) -> Tally {
        self.foreign
    }

    /// Returns the number of the frame that comes next.
    pub(crate) fn before(&self) -> u64 {
        self.offered + 1
    }

    /// Returns frames that found no room so far.
    pub(crate) fn unrecorded(&self) -> Tally {
        self.unrecorded
    }

    /// Notes an input.
    pub(crate) fn note(&self, note: Note) {
        // A writer that is gone is noticed by whoever waits for it.
        let _ = self.notes.send(note);
    }
}

/// A frame out of the ring, without its bytes.
#[derive(Clone, Copy, Debug)]
struct Head {
    at: Timestamp,
    original_bytes: u32,
    captured: usize,
}

impl Feed {
    /// Returns bytes in the ring, and whether the tap's thread is gone, in an order that misses nothing.
    fn available(&self) -> (usize, bool) {
        let is_abandoned = self.ring.is_abandoned();
        (self.ring.slots(), is_abandoned)
    }

    /// Takes the next frame's bytes into `bytes`; `None` where there is none within `available`.
    fn take(&mut self, available: &mut usize, bytes: &mut Vec<u8>) -> Option<Head> {
        let head = self.peek(*available)?;
        let whole = HEAD_BYTES + head.captured;
        let chunk = self.ring.read_chunk(whole).ok()?;
        let (first, second) = chunk.as_slices();
        bytes.clear();
        bytes.extend(first.iter().chain(second).skip(HEAD_BYTES));
        chunk.commit_all();
        *available -= whole;
        Some(head)
    }

    /// Reads the next frame's head without taking it; `None` where it is not whole within `available`.
    fn peek(&mut self, available: usize) -> Option<Head> {
        if available < HEAD_BYTES {
            return None;
        }
        let mut bytes = [0; HEAD_BYTES];
        let chunk = self.ring.read_chunk(HEAD_BYTES).ok()?;
        let (first, second) = chunk.as_slices();
        for (to, from) in bytes.iter_mut().zip(first.iter().chain(second)) {
            *to = *from;
        }
        let [t0, t1, t2, t3, t4, t5, t6, t7, o0, o1, o2, o3, c0, c1, c2, c3] = bytes;
        let head = Head {
            at: Timestamp(i64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7])),
            original_bytes: u32::from_le_bytes([o0, o1, o2, o3]),
            captured: u32::from_le_bytes([c0, c1, c2, c3]) as usize,
        };
        (available >= HEAD_BYTES + head.captured).then_some(head)
    }

    /// Reads the interface of the next frame, whose head was peeked at: octets 4 to 7 of a LINUX_SLL2 header.
    fn peek_interface(&mut self) -> Option<u32> {
        let chunk = self.ring.read_chunk(HEAD_BYTES + 8).ok()?;
        let (first, second) = chunk.as_slices();
        let mut octets = first.iter().chain(second).skip(HEAD_BYTES + 4).copied();
        Some(u32::from_be_bytes([octets.next()?, octets.next()?, octets.next()?, octets.next()?]))
    }
}

#[cfg(test)]
mod tests {
    use portolan_capture::LinkType;
    use portolan_flowtable::{Direction, InterfaceId};

    use super::*;

    fn frame(bytes: &[u8], number: u64) -> Frame<'_> {
        Frame {
            bytes,
            link: LinkType::LINUX_SLL2,
            at: Timestamp(i64::try_from(number).unwrap()),
            beyond_seconds: 0,
            is_timed: true,
            number,
            interface: InterfaceId(7),
            direction: Direction::Unstated,
            original_bytes: 1_020,
        }
    }

    #[test]
    fn frames_come_out_as_they_went_in_and_what_finds_no_room_is_counted() {
        let (mut recorder, _notes, mut feed) = recorder();
        let bytes: Vec<u8> = (0..=255).cycle().take(1_000).collect();
        let room = RING_BYTES / (HEAD_BYTES + bytes.len());
        for number in 1..=room as u64 {
            assert_eq!(recorder.offer(&frame(&bytes, number)), number);
        }
        assert_eq!(recorder.offer(&frame(&bytes, 0)), room as u64 + 1);
        assert_eq!(recorder.unrecorded(), Tally { frames: 1, bytes: 1_014 });
        let (mut available, is_over) = feed.available();
        assert!(!is_over);
        let mut taken = Vec::new();
        for number in 1..=room {
            assert_eq!(feed.peek_interface(), Some(u32::from_be_bytes([4, 5, 6, 7])));
            let head = feed.take(&mut available, &mut taken).unwrap();
            assert_eq!((head.at, head.original_bytes), (Timestamp(number as i64), 1_020));
            assert_eq!(taken, bytes);
        }
        assert!(feed.take(&mut available, &mut taken).is_none());
        // The number goes to the frame that finds room again.
        assert_eq!(recorder.offer(&frame(&bytes, 9)), room as u64 + 1);
        assert_eq!(recorder.before(), room as u64 + 2);
    }
}
