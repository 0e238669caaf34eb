//! What is shared without a lock, in every order of steps that the memory model allows (the loom crate).
//!
//! The sources are the exporter's own, compiled over loom's atomics. Each protocol is run once more with a defect of its
//! kind planted, and has to fail: orderings weakened, or what belongs under one lock taken apart.

// One source over two sets of atomics is the point.
#![allow(clippy::duplicate_mod)]

use std::collections::VecDeque;

use loom::sync::Arc;
use loom::thread;

/// Switches of threads that the scheduler may force, beyond those a thread asks for.
const PREEMPTIONS: usize = 3;

/// Runs a model through its interleavings.
fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(model);
}

/// The figures of the exporter's `EventCounts` that add up.
#[derive(Clone, Debug, Default)]
struct EventCounts {
    written: u64,
    lost: u64,
}

#[path = "."]
mod real {
    mod atomics {
        pub(crate) use loom::sync::Mutex;
        pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
        pub(crate) use std::sync::PoisonError;
        pub(crate) const PUBLISH: Ordering = Ordering::Release;
        pub(crate) const OBSERVE: Ordering = Ordering::Acquire;
    }
    use super::EventCounts;

    #[path = "../../src/http/activity.rs"]
    pub(super) mod activity;
    #[path = "../../src/events/backlog.rs"]
    pub(super) mod backlog;
}

#[path = "."]
mod weakened {
    mod atomics {
        pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
        pub(crate) const PUBLISH: Ordering = Ordering::Relaxed;
        pub(crate) const OBSERVE: Ordering = Ordering::Relaxed;
    }

    #[allow(dead_code)]
    #[path = "../../src/http/activity.rs"]
    pub(super) mod activity;
}

/// One connection arrives at 1, asks at 2 and has its answer taken at 3, while somebody looks twice.
macro_rules! who_was_answered {
    ($room:ident) => {
        explore(|| {
            use $room::activity::{Activity, Doing};
            let activity = Arc::new(Activity::new());
            let own = Arc::clone(&activity);
            let guest = thread::spawn(move || {
                own.stir(1);
                own.ask(2);
                own.hand(10);
                own.over(10, 3);
            });
            let mut has_asked = false;
            for _ in 0..2 {
                let (doing, since) = activity.doing();
                match doing {
                    Doing::Arriving => assert!(!has_asked, "one that asked is taken for a newcomer"),
                    Doing::Waiting | Doing::Taking => {
                        assert!((2..=3).contains(&since), "it asked at 2, not at {since}");
                        has_asked = true;
                    }
                    Doing::Resting => assert_eq!(since, 3, "one just answered seems quiet for long"),
                }
            }
            guest.join().expect("a thread of the model");
            assert_eq!((activity.doing(), activity.bytes()), ((Doing::Resting, 3), 0));
        });
    };
}

#[test]
fn who_was_just_answered_is_never_taken_for_a_newcomer_or_for_quiet() {
    who_was_answered!(real);
}

#[test]
#[should_panic(expected = "one just answered seems quiet")]
fn planted_relaxed_orderings_let_an_answer_be_overlooked() {
    who_was_answered!(weakened);
}

/// Hands over two events where one may wait, and adds up without waiting for the writer.
macro_rules! all_add_up {
    ($backlog:expr) => {
        explore(|| {
            let shared = Arc::new(($backlog, loom::sync::Mutex::new(VecDeque::new())));
            let theirs = Arc::clone(&shared);
            let writer = thread::spawn(move || {
                let (backlog, queue) = &*theirs;
                let mut counts = EventCounts::default();
                for _ in 0..2 {
                    let Some(events) = queue.lock().expect("a lock").pop_front() else { continue };
                    let turned_away = backlog.turned_away();
                    counts.lost += turned_away;
                    counts.written += events as u64;
                    backlog.settle(events, turned_away, &counts);
                }
            });
            let (backlog, queue) = &*shared;
            for _ in 0..2 {
                if backlog.admit(1, 1) {
                    queue.lock().expect("a lock").push_back(1);
                }
            }
            let counts = backlog.given_up();
            assert_eq!(counts.written + counts.lost, 2, "{counts:?} of 2 events");
            writer.join().expect("a thread of the model");
            let counts = backlog.given_up();
            assert_eq!(counts.written + counts.lost, 2, "{counts:?} of 2 events at the end");
        });
    };
}

#[test]
fn every_event_is_written_or_lost_whenever_they_are_added_up() {
    all_add_up!(real::backlog::Backlog::new());
}

#[test]
#[should_panic(expected = "of 2 events")]
fn planted_counts_that_are_settled_in_two_steps_miss_an_event() {
    all_add_up!(Torn(real::backlog::Backlog::new()));
}

/// A backlog that settles what waited and what is written one after the other.
struct Torn(real::backlog::Backlog);

impl Torn {
    fn settle(&self, waited: usize, turned_away: u64, counts: &EventCounts) {
        self.0.settle(waited, turned_away, &self.0.settled());
        self.0.settle(0, 0, counts);
    }
}

impl std::ops::Deref for Torn {
    type Target = real::backlog::Backlog;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
