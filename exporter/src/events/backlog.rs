//! What waits to be written, and what found no room: counted by who hands it over, settled by who writes it.
//!
//! # Order
//!
//! An event handed over is among those waiting until the writer's counts, in which it is written or lost, stand in its
//! place; both change under one lock. So whoever adds them up at any time counts every event once: also at the end,
//! while a writer that is not waited for any longer is still at work.

use super::EventCounts;
use super::atomics::{AtomicU64, AtomicUsize, Mutex, Ordering, PoisonError};

/// Events between who hands them over and who writes them.
#[derive(Debug)]
pub(crate) struct Backlog {
    waiting: AtomicUsize,
    turned_away: AtomicU64,
    counts: Mutex<EventCounts>,
}

impl Backlog {
    /// Nothing waits.
    pub(crate) fn new() -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            turned_away: AtomicU64::new(0),
            counts: Mutex::new(EventCounts::default()),
        }
    }

    /// Takes events in, or counts them as turned away where `most` would wait; returns whether there is room.
    pub(crate) fn admit(&self, events: usize, most: usize) -> bool {
        let before = self.waiting.fetch_add(events, Ordering::Relaxed);
        if before.saturating_add(events) <= most {
            return true;
        }
        self.turn_away(events);
        false
    }

    /// Gives up events that were taken in and cannot be handed over.
    pub(crate) fn turn_away(&self, events: usize) {
        // First here, then there: in between they are counted twice and not missed.
        self.turned_away.fetch_add(events as u64, Ordering::Relaxed);
        self.waiting.fetch_sub(events, Ordering::Relaxed);
    }

    /// Returns how many were turned away and are not in the writer's counts yet.
    pub(crate) fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// Replaces the counts by those in which so many that waited are written or lost, and so many turned away lost.
    pub(crate) fn settle(&self, waited: usize, turned_away: u64, counts: &EventCounts) {
        let mut settled = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(waited, Ordering::Relaxed);
        self.turned_away.fetch_sub(turned_away, Ordering::Relaxed);
        settled.clone_from(counts);
    }

    /// Returns the counts as they were settled last.
    pub(crate) fn settled(&self) -> EventCounts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the counts with everything unsettled as lost.
    pub(crate) fn given_up(&self) -> EventCounts {
        let settled = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = settled.clone();
        let waiting = self.waiting.load(Ordering::Relaxed) as u64;
        counts.lost += waiting + self.turned_away.load(Ordering::Relaxed);
        counts
    }
}
