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
mod ring;
mod writer;

use std::sync::Arc;

use portolan_identity::Picture;

pub use choice::{Choice, UnknownChoice};
pub(crate) use ring::{Recorder, recorder};
pub use writer::{Recorded, Recording, RecordingOptions};

use crate::journal::{TickRow, TurnRow};

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

/// What the ring is made of.
mod channels {
    pub(crate) use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

    pub(crate) use rtrb::{Consumer, Producer, RingBuffer};
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use portolan_capture::{Frame, LinkType};
    use portolan_flowtable::{Direction, InterfaceId, Tally, Timestamp};

    use super::ring::{HEAD_BYTES, RING_BYTES};
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
        let seen = feed.look(&mut VecDeque::new());
        assert!(!seen.is_abandoned && !seen.is_closed);
        let mut available = seen.available;
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
