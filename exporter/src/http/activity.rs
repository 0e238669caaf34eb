//! What a connection is doing, told by its own task and read by whoever needs its place.
//!
//! # Order
//!
//! Written: the time, then the mark of an answer taken, last the count of answers; each makes those before it visible.
//! Read: the other way round. So nobody who was just answered is taken for one who never asked, or for the one that
//! has been quiet longest.

use super::atomics::{AtomicBool, AtomicU64, AtomicUsize, OBSERVE, Ordering, PUBLISH};

/// What a connection does, first to go first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Doing {
    /// Nothing, after an answer.
    Resting,
    /// Nothing yet.
    Arriving,
    /// It was handed an answer.
    Taking,
    /// It asked.
    Waiting,
}

/// The deeds of one connection. Times are nanoseconds since its listener opened.
#[derive(Debug)]
pub(crate) struct Activity {
    /// When its conversation began, when it asked or took an answer last.
    stirred: AtomicU64,
    /// Whether it was ever answered.
    was_answered: AtomicBool,
    /// Answers asked for and not taken yet.
    answers: AtomicUsize,
    /// Their bytes.
    bytes: AtomicUsize,
}

impl Activity {
    /// Its moment begins when its conversation does, however busy the processors are.
    pub(crate) fn new() -> Self {
        Self {
            stirred: AtomicU64::new(u64::MAX),
            was_answered: AtomicBool::new(false),
            answers: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    /// Notes that it moved.
    pub(crate) fn stir(&self, now: u64) {
        self.stirred.store(now, Ordering::Relaxed);
    }

    /// Notes that it asked.
    pub(crate) fn ask(&self, now: u64) {
        self.stir(now);
        self.answers.fetch_add(1, PUBLISH);
    }

    /// Notes that it was handed so many bytes.
    pub(crate) fn hand(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that an answer of so many bytes is over.
    pub(crate) fn over(&self, bytes: usize, now: u64) {
        self.stir(now);
        self.was_answered.store(true, PUBLISH);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.answers.fetch_sub(1, PUBLISH);
    }

    /// Returns bytes handed out and not taken.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns what it does, and since when.
    pub(crate) fn doing(&self) -> (Doing, u64) {
        let doing = if self.answers.load(OBSERVE) > 0 {
            if self.bytes() > 0 { Doing::Taking } else { Doing::Waiting }
        } else if self.was_answered.load(OBSERVE) {
            Doing::Resting
        } else {
            Doing::Arriving
        };
        // Last: not from before what was just seen.
        let since = self.stirred.load(Ordering::Relaxed);
        (doing, since)
    }
}
