//! What the daemon's threads hand each other, in every order of steps that the memory model allows (the loom crate).
//!
//! The recorder's ring is the daemon's own source over loom's channels; the tap's reports and its wake-up are models,
//! and say what they correspond to. Each is run once more with a defect of its kind planted, and has to fail.

mod channels;

use std::collections::VecDeque;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use portolan_capture::{Frame, LinkType};
use portolan_flowtable::{Direction, InterfaceId, Timestamp};

use recording::Note;
use recording::ring::{Feed, Seen, recorder_of};

#[path = "."]
mod recording {
    use super::channels;

    /// Stands for the daemon's: the frame that it precedes.
    #[derive(Debug)]
    pub(super) struct Note(pub(super) u64);

    #[allow(dead_code)]
    #[path = "../../src/recording/ring.rs"]
    pub(super) mod ring;
}

/// Switches of threads that the scheduler may force, beyond those a thread asks for.
const PREEMPTIONS: usize = 3;

/// Runs a model through its interleavings.
fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(model);
}

fn frame() -> Frame<'static> {
    Frame {
        bytes: &[0; 8],
        link: LinkType::LINUX_SLL2,
        at: Timestamp(1),
        beyond_seconds: 0,
        is_timed: true,
        number: 1,
        interface: InterfaceId(7),
        direction: Direction::Unstated,
        original_bytes: 62,
    }
}

/// The tap's thread notes, records, notes, records and ends; the writer writes what it sees by `look`, as the
/// recording's writer does, until it sees that no more comes.
fn what_is_written(look: fn(&mut Feed, &mut VecDeque<Note>, &mut VecDeque<Note>) -> Seen) {
    explore(move || {
        let (mut tap, notes, mut feed) = recorder_of(1_024);
        // The control plane's way to the journal.
        drop(notes);
        let recording = thread::spawn(move || {
            for _ in 0..2 {
                tap.note(Note(tap.before()));
                tap.offer(&frame());
            }
        });
        let (mut pending, mut late, mut written) = (VecDeque::new(), VecDeque::new(), Vec::new());
        let (mut taken, mut bytes) = (0, Vec::new());
        loop {
            let mut seen = look(&mut feed, &mut pending, &mut late);
            let before = written.len();
            loop {
                while pending.front().is_some_and(|note: &Note| note.0 <= taken + 1) {
                    let note = pending.pop_front().expect("one was there");
                    written.push(format!("note {}", note.0));
                }
                if feed.take(&mut seen.available, &mut bytes).is_none() {
                    break;
                }
                taken += 1;
                written.push(format!("frame {taken}"));
            }
            pending.append(&mut late);
            if seen.is_abandoned && seen.is_closed && written.len() == before && pending.is_empty() {
                break;
            }
            thread::yield_now();
        }
        assert_eq!(written, ["note 1", "frame 1", "note 2", "frame 2"], "what is written");
        recording.join().expect("a thread of the model");
    });
}

#[test]
fn a_recording_misses_no_frame_and_no_frame_overtakes_its_note() {
    what_is_written(|feed, pending, _| feed.look(pending));
}

#[test]
#[should_panic(expected = "what is written")]
fn planted_notes_that_are_looked_at_first_are_overtaken() {
    what_is_written(|feed, pending, late| {
        feed.look(pending);
        feed.look(late)
    });
}

#[test]
#[should_panic(expected = "what is written")]
fn planted_ends_that_are_looked_at_last_cut_off_a_frame() {
    what_is_written(|feed, pending, _| {
        let Seen { available, .. } = feed.look(pending);
        Seen { available, ..feed.look(pending) }
    });
}

/// `Intake::report` and `Session::apply`: a report says how many deltas were pushed before it.
fn deltas_of_a_report(reports_first: bool) {
    explore(move || {
        let (mut producer, mut deltas) = channels::RingBuffer::new(4);
        let (reporter, reports) = channels::channel();
        let tap = thread::spawn(move || {
            for pushed in 1..=2_u64 {
                if reports_first {
                    let _ = reporter.send(pushed);
                }
                producer.push_entire_slice(&[pushed]).expect("room");
                if !reports_first {
                    let _ = reporter.send(pushed);
                }
            }
        });
        let mut popped = 0;
        for _ in 0..2 {
            let pushed = reports.recv().expect("a report");
            while popped < pushed {
                let chunk = deltas.read_chunk(1).expect("the deltas of the report");
                popped += 1;
                assert_eq!(chunk.as_slices().0, [popped]);
                chunk.commit_all();
            }
        }
        tap.join().expect("a thread of the model");
    });
}

#[test]
fn the_deltas_a_report_speaks_of_are_there() {
    deltas_of_a_report(false);
}

#[test]
#[should_panic(expected = "the deltas of the report")]
fn planted_reports_that_run_ahead_speak_of_deltas_that_are_not_there() {
    deltas_of_a_report(true);
}

/// `Session::send` and `Intake::wait`: a command is sent, then the descriptor is made readable; whoever waits empties
/// the descriptor, then looks for commands. An event descriptor is written and emptied at once, by the kernel.
fn commands_wake(calls_first: bool) {
    explore(move || {
        let (commands, orders) = channels::channel();
        let wake = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&wake);
        let control = thread::spawn(move || {
            if calls_first {
                theirs.swap(true, Ordering::AcqRel);
            }
            let _ = commands.send(());
            if !calls_first {
                theirs.swap(true, Ordering::AcqRel);
            }
        });
        let is_called = wake.swap(false, Ordering::AcqRel);
        let has_obeyed = orders.try_recv().is_ok();
        control.join().expect("a thread of the model");
        assert!(
            has_obeyed || wake.load(Ordering::Acquire),
            "a command waits and nobody calls (was called: {is_called})"
        );
    });
}

#[test]
fn no_command_waits_without_a_call() {
    commands_wake(false);
}

#[test]
#[should_panic(expected = "a command waits and nobody calls")]
fn planted_calls_before_the_command_are_slept_through() {
    commands_wake(true);
}
