//! The ring of bytes between the tap's thread and the writer's, and the notes beside it.
//!
//! # Order
//!
//! The tap's thread puts a note before the frame it precedes, and its last frame before it goes. The writer looks the
//! other way round: whether the ring was abandoned, then how many bytes it holds, then for notes. What it takes is
//! never ahead of a note it has not seen, and behind "abandoned" no frame comes.
//! `tests/interleavings` runs this source through every such order, and wrong ones to see that it would notice.

use std::collections::VecDeque;

use portolan_capture::Frame;
use portolan_flowtable::{Tally, Timestamp};

use super::Note;
use super::channels::{Consumer, Producer, Receiver, RingBuffer, Sender, TryRecvError, channel};

/// Bytes of the ring between the tap's thread and the writer's.
pub(crate) const RING_BYTES: usize = 64 * 1024 * 1024;
/// Bytes before each frame in the ring: time, original length, captured length.
pub(crate) const HEAD_BYTES: usize = 16;

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
    recorder_of(RING_BYTES)
}

/// The same with a ring of so many bytes.
pub(crate) fn recorder_of(bytes: usize) -> (Recorder, Sender<Note>, Feed) {
    let (producer, consumer) = RingBuffer::new(bytes);
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
pub(crate) struct Head {
    /// When it was seen.
    pub(crate) at: Timestamp,
    /// Its length on the wire.
    pub(crate) original_bytes: u32,
    captured: usize,
}

/// What there was to write when it was looked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Bytes in the ring.
    pub(crate) available: usize,
    /// Whether no more frames come.
    pub(crate) is_abandoned: bool,
    /// Whether no more notes come.
    pub(crate) is_closed: bool,
}

impl Feed {
    /// Looks at everything there is, in the one order that misses nothing (see above).
    pub(crate) fn look(&mut self, notes: &mut VecDeque<Note>) -> Seen {
        let is_abandoned = self.ring.is_abandoned();
        let available = self.ring.slots();
        loop {
            match self.notes.try_recv() {
                Ok(note) => notes.push_back(note),
                Err(TryRecvError::Empty) => return Seen { available, is_abandoned, is_closed: false },
                Err(TryRecvError::Disconnected) => return Seen { available, is_abandoned, is_closed: true },
            }
        }
    }

    /// Takes the next frame's bytes into `bytes`; `None` where there is none within `available`.
    pub(crate) fn take(&mut self, available: &mut usize, bytes: &mut Vec<u8>) -> Option<Head> {
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
    pub(crate) fn peek(&mut self, available: usize) -> Option<Head> {
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
    pub(crate) fn peek_interface(&mut self) -> Option<u32> {
        let chunk = self.ring.read_chunk(HEAD_BYTES + 8).ok()?;
        let (first, second) = chunk.as_slices();
        let mut octets = first.iter().chain(second).skip(HEAD_BYTES + 4).copied();
        Some(u32::from_be_bytes([octets.next()?, octets.next()?, octets.next()?, octets.next()?]))
    }
}
