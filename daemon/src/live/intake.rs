//! The tap's thread: frames into the meter, deltas into the ring. It waits for frames and for nothing else.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use portolan_capture::{
    FilterPlan, Frame, LiveTap, ParseOptions, Polled, Tap, TapError, TapStatistics, dns, parse,
};
use portolan_flowtable::{
    AttachmentId, Blindness, Delta, DeltaSink, InterfaceTable, Ledger, NotCounted, Role, Sought, Tally,
    Thefts, Timestamp,
};
use portolan_identity::Picture;
use rtrb::Producer;

use super::blind::BlindSpots;
use super::session::clock;
use crate::engine::{DELTAS_PER_COMMAND, Meter, Overheard, Shortfalls, Who};
use crate::journal::TickRow;
use crate::recording::{Note, Recorder};

/// Longest wait for a frame; commands wake the thread at once.
const WAIT: Duration = Duration::from_millis(100);
/// Foreign interfaces the kernel is told of: the filter compares them one by one. Frames of others are left out here.
const FOREIGN_MAX: usize = 64;
/// Rounds of a settlement at most, a ring block's time apart: SIGTERM has to end within 2 s.
const SETTLE_POLLS_MAX: u32 = 30;

/// What the control plane asks of the tap's thread. Applied between batches.
#[derive(Debug)]
pub(super) enum Command {
    /// New roles and bindings.
    Roles(Arc<Picture>),
    /// Close a tick and report; `now` is the wall clock.
    Tick {
        /// Wall clock.
        now: Timestamp,
    },
    /// Hand over what the ring had no room for, and report.
    Drain,
    /// Stop the intake, drain, balance, report, and end.
    Settle {
        /// Wall clock.
        now: Timestamp,
    },
}

/// What the tap's thread reports after a command that asks for it.
#[derive(Clone, Debug)]
pub(super) struct Report {
    /// The accounts, in step with `pushed`.
    pub ledger: Ledger,
    /// Deltas pushed into the ring so far: apply as many before reading the accounts.
    pub pushed: u64,
    /// The kernel's counts at the latest reading.
    pub statistics: TapStatistics,
    /// When frames were lost.
    pub blind: Vec<Blindness>,
    /// When frames were missed that had arrived.
    pub shortfalls: Shortfalls,
    /// What was said of names since the report before.
    pub overheard: Overheard,
    /// Live flows, slots.
    pub occupancy: (usize, usize),
    /// Whose frames most often found no room in the table.
    pub overflow_most: Option<(AttachmentId, Tally)>,
    /// Hardware addresses that others than their holders sent from.
    pub thefts: Thefts,
    /// Who asked for addresses of its own network in vain.
    pub sought: Sought,
    /// Why the tap ended, if it did.
    pub failure: Option<String>,
    /// Whether every delta found room in the ring.
    pub is_drained: bool,
    /// Whether this is the last report.
    pub is_final: bool,
}

/// The data plane's end of the delta ring.
struct RingSink {
    producer: Producer<Delta>,
    pushed: u64,
    /// Deltas that may still be handed over until the next command.
    left: usize,
}

impl RingSink {
    /// A command came: everything handed over before the last report was taken.
    fn renew(&mut self) {
        self.left = DELTAS_PER_COMMAND;
    }
}

impl DeltaSink for RingSink {
    fn push(&mut self, delta: Delta) -> Result<(), Box<Delta>> {
        if self.left == 0 {
            return Err(Box::new(delta));
        }
        match self.producer.push(delta) {
            Ok(()) => {
                self.pushed += 1;
                self.left -= 1;
                Ok(())
            }
            Err(rtrb::PushError::Full(refused)) => Err(Box::new(refused)),
        }
    }

    fn room(&self) -> usize {
        self.left
    }
}

/// The tap's thread.
pub(super) struct Intake {
    tap: LiveTap,
    meter: Meter,
    sink: RingSink,
    commands: Receiver<Command>,
    reports: Sender<Report>,
    wake: OwnedFd,
    /// Where frames and all other inputs are recorded.
    recorder: Option<Recorder>,
    /// Whether one interface alone is heard: roles do not matter.
    is_single: bool,
    /// Whether names are read.
    reads_names: bool,
    blind: BlindSpots,
    statistics: TapStatistics,
    failure: Option<TapError>,
    /// Whether the kernel's ring was empty when it was last looked at.
    is_caught_up: bool,
}

/// What the tap's thread is made of, besides its tap.
pub(super) struct IntakeParts {
    /// The data plane.
    pub(super) meter: Meter,
    /// Where deltas go.
    pub(super) producer: Producer<Delta>,
    /// What is asked.
    pub(super) commands: Receiver<Command>,
    /// What is answered.
    pub(super) reports: Sender<Report>,
    /// Becomes readable when a command was sent.
    pub(super) wake: OwnedFd,
    /// Where everything is recorded.
    pub(super) recorder: Option<Recorder>,
    /// Whether one interface alone is heard.
    pub(super) is_single: bool,
    /// Whether names are read off port 53.
    pub(super) reads_names: bool,
}

impl Intake {
    /// Puts the thread's parts together.
    pub(super) fn new(tap: LiveTap, parts: IntakeParts) -> Self {
        let IntakeParts { meter, producer, commands, reports, wake, recorder, is_single, reads_names } =
            parts;
        let sink = RingSink { producer, pushed: 0, left: DELTAS_PER_COMMAND };
        let (blind, statistics) = (BlindSpots::new(clock()), TapStatistics::default());
        Self {
            tap,
            meter,
            sink,
            commands,
            reports,
            wake,
            recorder,
            is_single,
            reads_names,
            blind,
            statistics,
            failure: None,
            is_caught_up: true,
        }
    }

    /// Runs until it is told to settle, or the control plane is gone.
    pub(super) fn run(mut self) {
        loop {
            match self.obey() {
                Obeyed::GoOn => {}
                // Left open until the process ends: on a descriptor of its number nothing may be written, and the next
                // file would get it (docs/sandbox.md).
                Obeyed::Ended => return std::mem::forget(self.tap),
            }
            let is_idle = self.failure.is_some() || !self.poll();
            if is_idle {
                self.meter.flush();
                self.wait();
            }
        }
    }

    /// Waits for frames or commands. An interface that is gone is noticed here.
    fn wait(&mut self) {
        match self.tap.wait(WAIT, self.wake.as_fd()) {
            Ok(_) => {}
            Err(error) => {
                self.failure.get_or_insert(error);
                // What fails at once must not become a busy loop.
                std::thread::sleep(WAIT);
            }
        }
        // Commands are looked at whether or not somebody called; the counter is only emptied here.
        let _ = rustix::io::read(&self.wake, &mut [0_u8; 8]);
    }

    /// Applies what was asked since the last batch.
    fn obey(&mut self) -> Obeyed {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Roles(picture)) => self.take_roles(&picture),
                Ok(Command::Tick { now }) => {
                    crate::fault::point("tap");
                    self.read_statistics();
                    // Behind a full ring time goes by frames: what they answer or deliver is not overdue.
                    let now = Some(now).filter(|_| self.is_caught_up);
                    self.sink.renew();
                    let ledger = self.meter.tick(now, self.blind.last_loss(), &mut self.sink);
                    self.note_tick(now, Note::Tick);
                    self.report(ledger, false);
                }
                Ok(Command::Drain) => {
                    let ledger = self.drain();
                    self.report(ledger, false);
                }
                Ok(Command::Settle { now }) => {
                    self.settle(now);
                    return Obeyed::Ended;
                }
                Err(std::sync::mpsc::TryRecvError::Empty) => return Obeyed::GoOn,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return Obeyed::Ended,
            }
        }
    }

    fn take_roles(&mut self, picture: &Arc<Picture>) {
        self.leave_out(picture);
        self.meter.set_roles(roles(picture, self.is_single), Who::Roster(Arc::clone(&picture.directory)));
        if let Some(recorder) = &self.recorder {
            recorder.note(Note::Roles(recorder.before(), Arc::clone(picture)));
        }
    }

    /// Tells the kernel to keep what need not be read: what interfaces carry that are known to be no container's, and what
    /// reaches a container, which was counted where it came from. On a busy host that is most of all frames. Whatever is
    /// not known yet passes, a veth that appears the next moment among them, as the kernel gives no index twice.
    ///
    /// A recording gets what reaches a container too: read without its journal, it tells by that who stands where.
    fn leave_out(&mut self, picture: &Picture) {
        if self.is_single {
            return;
        }
        let of = |role| {
            let rows = picture.interfaces.rows().filter(move |(_, row)| row.role == role);
            rows.map(|(interface, _)| interface)
        };
        let receivers_max = if self.recorder.is_some() { 0 } else { FilterPlan::RECEIVERS_MAX };
        let foreign: Vec<_> = of(Role::Foreign).take(FOREIGN_MAX).collect();
        let receivers: Vec<_> = of(Role::Container).take(receivers_max).collect();
        if let Err(error) = self.tap.leave_out(&foreign, &receivers) {
            self.failure.get_or_insert(error);
        }
    }

    /// Hands over what had to wait.
    fn drain(&mut self) -> Ledger {
        self.sink.renew();
        let ledger = self.meter.drain(&mut self.sink);
        if let Some(recorder) = &self.recorder {
            recorder.note(Note::Drain(recorder.before()));
        }
        ledger
    }

    fn note_tick(&self, now: Option<Timestamp>, kind: fn(u64, TickRow) -> Note) {
        let Some(recorder) = &self.recorder else { return };
        let row = TickRow {
            now,
            last_loss: self.blind.last_loss(),
            foreign: recorder.foreign(),
            not_selected: Tally::default(),
            unrecorded: recorder.unrecorded(),
        };
        recorder.note(kind(recorder.before(), row));
    }

    /// Takes in what the ring holds; false where it holds nothing.
    fn poll(&mut self) -> bool {
        let Self { tap, meter, sink, blind, recorder, reads_names, .. } = self;
        let reads_names = *reads_names;
        let mut span = None;
        let polled = tap.poll(&mut |frame| take(frame, meter, sink, recorder, reads_names, &mut span));
        if let Some((first, last)) = span {
            blind.delivered(first, last);
        }
        let has_more = match polled {
            Ok(Polled::Frames(_)) => true,
            Ok(Polled::Idle | Polled::End) => false,
            Err(error) => {
                self.failure = Some(error);
                false
            }
        };
        self.is_caught_up = !has_more;
        has_more
    }

    fn read_statistics(&mut self) {
        match self.tap.statistics() {
            Ok(statistics) => self.note_statistics(statistics),
            Err(error) => {
                self.failure.get_or_insert(error);
            }
        }
    }

    fn note_statistics(&mut self, statistics: TapStatistics) {
        self.statistics = statistics;
        // The time of the reading, not of the command: this process may have been stopped in between.
        self.blind.read(statistics.dropped, clock());
    }

    /// Closes the kernel's intake, empties its ring and balances the accounts exactly.
    fn settle(&mut self, now: Timestamp) {
        let Self { tap, meter, sink, blind, recorder, reads_names, .. } = self;
        let reads_names = *reads_names;
        let mut span = None;
        let settled = tap.settle(SETTLE_POLLS_MAX, &mut |frame| {
            take(frame, meter, sink, recorder, reads_names, &mut span)
        });
        if let Some((first, last)) = span {
            blind.delivered(first, last);
        }
        match settled {
            Ok(statistics) => self.note_statistics(statistics),
            Err(error) => {
                self.failure.get_or_insert(error);
                self.read_statistics();
            }
        }
        self.sink.renew();
        self.meter.tick(Some(now), self.blind.last_loss(), &mut self.sink);
        let ledger = self.meter.settle(&mut self.sink);
        self.note_tick(Some(now), Note::Settle);
        // Where the ring is full, the control plane asks again until nothing is left.
        self.report(ledger, self.meter.is_drained());
        while !self.meter.is_drained() {
            match self.commands.recv() {
                Ok(Command::Drain) => {
                    let ledger = self.drain();
                    self.report(ledger, self.meter.is_drained());
                }
                Ok(Command::Roles(_) | Command::Tick { .. } | Command::Settle { .. }) => {}
                Err(_) => return,
            }
        }
    }

    fn report(&mut self, ledger: Ledger, is_final: bool) {
        let overheard = self.meter.take_overheard();
        // A control plane that is gone is noticed by the next command.
        let _ = self.reports.send(Report {
            ledger,
            pushed: self.sink.pushed,
            statistics: self.statistics,
            blind: self.blind.intervals().to_vec(),
            shortfalls: self.meter.shortfalls().clone(),
            overheard,
            occupancy: self.meter.occupancy(),
            overflow_most: self.meter.overflow_most(),
            thefts: self.meter.thefts().clone(),
            sought: self.meter.sought(),
            failure: self.failure.as_ref().map(ToString::to_string),
            is_drained: self.meter.is_drained(),
            is_final,
        });
    }
}

/// Returns the roles of a picture; where one interface alone is heard, everything on it counts.
pub(super) fn roles(picture: &Picture, is_single: bool) -> Arc<InterfaceTable> {
    if is_single { Arc::new(InterfaceTable::plain()) } else { Arc::clone(&picture.interfaces) }
}

/// Parses one frame and hands it on. What no container's interface carries is counted and left unread: it is not
/// recorded either, and must not move what the recorded frames move.
fn take(
    frame: &Frame<'_>,
    meter: &mut Meter,
    sink: &mut RingSink,
    recorder: &mut Option<Recorder>,
    reads_names: bool,
    span: &mut Option<(Timestamp, Timestamp)>,
) {
    *span = Some((span.map_or(frame.at, |(first, _)| first), frame.at));
    if meter.is_foreign(frame.interface) {
        if let Some(recorder) = recorder {
            recorder.pass_over(frame);
        }
        return meter.leave_out(NotCounted::Foreign, frame.wire_bytes());
    }
    let number = recorder.as_mut().map_or(frame.number, |recorder| recorder.offer(frame));
    let frame = &Frame { number, ..*frame };
    match parse(frame, &ParseOptions::default()) {
        Ok(seen) => {
            if reads_names && let Some(spoken) = dns::spoken(frame, &seen) {
                meter.overhear(&seen, spoken);
            }
            meter.frame(seen, sink);
        }
        Err(error) => meter.reject(error.reason(), frame.at, frame.original_bytes),
    }
}

enum Obeyed {
    GoOn,
    Ended,
}
