//! A live session: tap, identity and control plane, started in the order that loses nothing.
//!
//! The socket is open before anything else; then links are followed, then Docker; frames of interfaces nobody has
//! placed yet wait in the meter.

use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use portolan_capture::interfaces::inventory;
use portolan_capture::live::BLOCK_MILLISECONDS;
use portolan_capture::{FilterPlan, LiveOptions, LiveTap};
use portolan_exporter::Publication;
use portolan_flowtable::directory::BareDirectory;
use portolan_flowtable::indicators::Round;
use portolan_flowtable::{Blindness, Delta, InterfaceId, InterfaceTable, Timestamp};
use portolan_identity::{FollowOptions, Picture, RosterBook, follow};
use portolan_policy::Alert;
use rtrb::Consumer;
use rustix::event::{EventfdFlags, eventfd};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::intake::{Command, Intake, IntakeParts, Report};
use crate::compose::Labelled;
use crate::config::Config;
use crate::engine::{
    Chart, ChartOptions, DELTAS_PER_COMMAND, Happenings, Losses, Meter, RunFacts, Source, Turn, Who, vitals,
};
use crate::error::Failure;
use crate::journal::{Begin, ContractText, FORM, TurnRow};
use crate::privileges::Privileges;
use crate::recording::{Note, Recorder};
use crate::replay::Contracts;

/// Deltas in flight between the planes: what was handed over since the last command, and what this one hands over.
/// Everything before was taken when its report came.
const DELTAS: usize = 2 * DELTAS_PER_COMMAND;
/// Time a conversation with a nameless end waits for a name.
const WITHHOLD: i64 = 5 * Timestamp::SECOND;
/// Longest wait for the tap's thread to close a tick. Beyond, something is badly wrong.
const REPORT_WAIT: Duration = Duration::from_secs(10);
/// Longest wait for the first dump of links.
const LINKS_WAIT: Duration = Duration::from_secs(3);
/// Shortest time the kernel keeps frames back, in milliseconds.
const BLOCK_MIN: u32 = 5;
/// Rounds of draining within one tick; what is left then waits for the next.
const DRAINS_MAX: usize = 64;

/// What a session is told once.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The configuration.
    pub config: Config,
    /// What was documented.
    pub contracts: Contracts,
    /// Name of this host.
    pub host: String,
    /// What is given up once everything is open.
    pub privileges: Privileges,
}

/// One tick's outcome.
#[derive(Debug)]
pub struct Pulse {
    /// The answer.
    pub publication: Publication,
    /// The news.
    pub alerts: Vec<Alert>,
    /// Why the tap ended, if it did.
    pub failure: Option<String>,
    /// How long the tap's thread took to report.
    pub waited: Duration,
}

/// A live session.
pub struct Session {
    options: SessionOptions,
    runtime: Runtime,
    book: Arc<RosterBook>,
    pictures: watch::Receiver<Arc<Picture>>,
    commands: Sender<Command>,
    wake: OwnedFd,
    reports: Receiver<Report>,
    deltas: Consumer<Delta>,
    popped: u64,
    chart: Chart,
    intake: Option<JoinHandle<()>>,
    started_at: Timestamp,
    reloaded: (bool, Timestamp),
    bridges_seen: Option<Arc<Picture>>,
    seed: u64,
    recording: Option<TurnNotes>,
    /// Compose files that containers' labels name.
    labelled: Labelled,
    /// Contracts that are tried, where some are.
    pending: Option<Contracts>,
}

/// What of the control plane goes into a journal.
struct TurnNotes {
    notes: Sender<Note>,
    /// Contracts that came into force since the last turn.
    contracts: Option<Vec<ContractText>>,
    blind: Vec<Blindness>,
}

impl Session {
    /// Opens the tap, then starts to follow links and Docker.
    ///
    /// # Errors
    ///
    /// Returns why nothing can be captured.
    pub fn start(options: SessionOptions) -> Result<Self, Failure> {
        Self::start_recorded(options, None)
    }

    /// Like [`Session::start`]; whatever the engine is fed goes to a recording too.
    ///
    /// # Errors
    ///
    /// Returns why nothing can be captured.
    pub(crate) fn start_recorded(
        mut options: SessionOptions,
        recording: Option<(Recorder, Sender<Note>)>,
    ) -> Result<Self, Failure> {
        let config = &options.config;
        let interface = Some(config.capture.interface.clone()).filter(|name| !name.is_empty());
        let is_single = interface.is_some();
        let tap = LiveTap::open(&LiveOptions {
            backend: config.capture.tap.into(),
            interface,
            snaplen: config.capture.snaplen,
            dns_snaplen: if config.capture.dns_names { FilterPlan::DNS_SNAPLEN } else { 0 },
            ring_bytes: config.capture.ring_mib.saturating_mul(1 << 20),
            // A frame must not wait in the kernel for as long as a fast tick takes.
            block_milliseconds: (config.daemon.tick_milliseconds / 8).clamp(BLOCK_MIN, BLOCK_MILLISECONDS),
            dropped: if is_single { Vec::new() } else { loopback() },
        })?;
        // Before the first thread: threads inherit what is left.
        options.privileges.shed(&tap)?;
        let config = &options.config;
        let started_at = clock();
        let internal = |what: &str, error: std::io::Error| Failure::error(format!("cannot {what}: {error}"));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("portolan-control")
            .enable_all()
            .build()
            .map_err(|error| internal("start the control threads", error))?;
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .map_err(|error| internal("make a wake-up descriptor", error.into()))?;
        let wake_there = wake.try_clone().map_err(|error| internal("make a wake-up descriptor", error))?;
        let wake_task = wake.try_clone().map_err(|error| internal("make a wake-up descriptor", error))?;

        let interfaces = if is_single { InterfaceTable::plain() } else { InterfaceTable::new() };
        let seed = RandomState::new().hash_one(started_at);
        let meter =
            Meter::new(config.flowtable.limits(), seed, Arc::new(interfaces), Who::Bare(BareDirectory));
        let (producer, deltas) = rtrb::RingBuffer::new(DELTAS);
        let (commands, orders) = channel();
        let (reporter, reports) = channel();
        let (recorder, notes) = recording.unzip();
        let parts = IntakeParts {
            meter,
            producer,
            commands: orders,
            reports: reporter,
            wake: wake_there,
            recorder,
            is_single,
            reads_names: config.capture.dns_names,
        };
        let intake = Intake::new(tap, parts);
        let intake = std::thread::Builder::new()
            .name("portolan-tap".to_owned())
            .spawn(move || intake.run())
            .map_err(|error| internal("start the tap's thread", error))?;

        let book = RosterBook::new(&config.identity.bridges, &config.identity.proc_root);
        let pictures = book.subscribe();
        let kept = Arc::clone(&book);
        let follow_options = FollowOptions {
            docker_socket: Some(config.identity.docker_socket.clone()),
            proc_root: config.identity.proc_root.clone(),
            indicators_every: config.indicators.every(),
            ..FollowOptions::default()
        };
        runtime.spawn(async move {
            if let Err(error) = follow(follow_options, book).await {
                crate::say(&format!("portolan: cannot follow this host's links: {error}"));
            }
        });
        runtime.spawn(forward_roles(pictures.clone(), commands.clone(), wake_task));

        let chart_options =
            ChartOptions { source: Source::Live, withhold: WITHHOLD, flows_kept: config.exporter.flows_kept };
        let names = Arc::clone(&pictures.borrow().names);
        let chart = Chart::new(chart_options, names, Arc::clone(&options.contracts.contract));
        Ok(Self {
            options,
            runtime,
            book: kept,
            pictures,
            commands,
            wake,
            reports,
            deltas,
            popped: 0,
            chart,
            intake: Some(intake),
            started_at,
            reloaded: (true, started_at),
            bridges_seen: None,
            seed,
            labelled: Labelled::default(),
            pending: None,
            recording: notes.map(|notes| TurnNotes { notes, contracts: None, blind: Vec::new() }),
        })
    }

    /// Returns the runtime that other control-plane work may share.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Returns when the tap was opened.
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Gives up every system call that is not needed from now on. Everything has to be open; links are waited for.
    ///
    /// # Errors
    ///
    /// Returns that the sandbox has to be strict and is not.
    pub fn seal(&mut self) -> Result<(), Failure> {
        let mut pictures = self.pictures.clone();
        let is_followed = |picture: &Arc<Picture>| !picture.interface_names.is_empty();
        self.runtime.block_on(async move {
            // Links that cannot be followed have said so.
            let _ = tokio::time::timeout(LINKS_WAIT, pictures.wait_for(is_followed)).await;
        });
        self.options.privileges.seal()
    }

    /// Returns what has been given up.
    pub fn privileges(&self) -> &Privileges {
        &self.options.privileges
    }

    /// Returns the latest picture of who is who.
    pub fn picture(&self) -> Arc<Picture> {
        Arc::clone(&self.pictures.borrow())
    }

    /// Takes other contracts, or notes that those asked for were bad.
    pub fn set_contract(&mut self, contracts: Option<Contracts>) {
        self.reloaded = (contracts.is_some(), clock());
        if let Some(contracts) = contracts {
            self.options.contracts = contracts;
            self.labelled.read_again();
            self.bridges_seen = None;
            self.put_in_force();
        }
    }

    /// Lets what was given and what labels name decide from the next turn on.
    fn put_in_force(&mut self) {
        let contracts = self.options.contracts.with_compose(self.labelled.texts());
        if let Some(recording) = &mut self.recording {
            recording.contracts = Some(contracts.texts());
        }
        self.chart.set_contract(contracts.contract);
        self.try_pending();
    }

    /// Tries other contracts beside those in force, or none.
    pub(crate) fn set_pending(&mut self, pending: Option<Contracts>) {
        self.pending = pending;
        self.try_pending();
    }

    /// What is documented by compose files holds for those that are tried too.
    fn try_pending(&mut self) {
        let pending = self.pending.as_ref().map(|it| it.with_compose(self.labelled.texts()).contract);
        self.chart.set_pending(pending);
    }

    /// Returns the control plane, for what is learned and held there.
    pub(crate) fn chart_mut(&mut self) -> &mut Chart {
        &mut self.chart
    }

    /// Returns how the engine was built, as a journal's first row says it.
    pub(crate) fn begin(&self, only: String, kept: String) -> Begin {
        let config = &self.options.config;
        Begin {
            journal: FORM,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: self.options.host.clone(),
            started_at: self.started_at,
            interface: config.capture.interface.clone(),
            only,
            kept,
            seed: self.seed,
            limits: config.flowtable.limits(),
            withhold: WITHHOLD,
            flows_kept: config.exporter.flows_kept,
            heartbeat_seconds: config.events.heartbeat_seconds,
            dns_names: config.capture.dns_names,
            contracts: self.options.contracts.texts(),
        }
    }

    /// Waits until Docker has answered a full listing or said that it will not, at most `patience`.
    pub fn wait_for_names(&self, patience: Duration) {
        let mut pictures = self.pictures.clone();
        let is_settled = |picture: &Arc<Picture>| picture.docker.is_listed || picture.docker.stale.is_some();
        let waiting = async move {
            // Either outcome ends the wait; a session without names goes on without.
            let _ = tokio::time::timeout(patience, pictures.wait_for(is_settled)).await;
        };
        self.runtime.block_on(waiting);
    }

    /// Closes a tick and publishes.
    ///
    /// # Errors
    ///
    /// Returns that the tap's thread no longer answers.
    pub fn tick(&mut self) -> Result<Pulse, Failure> {
        let asked_at = Instant::now();
        let report = self.exchange(Command::Tick { now: clock() })?;
        let waited = asked_at.elapsed();
        Ok(Pulse { waited, ..self.publish(&report, true) })
    }

    /// Stops the intake, balances the accounts and publishes a last time.
    ///
    /// # Errors
    ///
    /// Returns that the tap's thread no longer answers.
    pub fn settle(self) -> Result<Pulse, Failure> {
        self.settle_and_keep(|_| ()).map(|(pulse, ())| pulse)
    }

    /// Like [`Session::settle`]; `keep` is shown the control plane as the last turn left it.
    pub(crate) fn settle_and_keep<K>(
        mut self,
        keep: impl FnOnce(&Chart) -> K,
    ) -> Result<(Pulse, K), Failure> {
        let report = self.exchange(Command::Settle { now: clock() })?;
        if let Some(intake) = self.intake.take() {
            // A thread that panicked has reported before, or `exchange` failed.
            let _ = intake.join();
        }
        let pulse = self.publish(&report, false);
        let kept = keep(&self.chart);
        self.runtime.shutdown_background();
        Ok((pulse, kept))
    }

    /// Leaves everything as it is: nothing more can be counted, and nobody is waited for.
    pub(crate) fn abandon(self) {
        self.runtime.shutdown_background();
    }

    /// Sends a command, applies the deltas its report speaks of, and goes on until nothing is left behind.
    fn exchange(&mut self, command: Command) -> Result<Report, Failure> {
        let is_final = matches!(command, Command::Settle { .. });
        self.send(command)?;
        let mut rounds = 0;
        loop {
            let report = match self.reports.recv_timeout(REPORT_WAIT) {
                Ok(report) => report,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Failure::defect(format!(
                        "the tap's thread has not answered for {} s; nothing more can be counted",
                        REPORT_WAIT.as_secs()
                    )));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::defect("the tap's thread ended unexpectedly; please report this"));
                }
            };
            self.apply(report.pushed);
            self.chart.hear(&report.overheard);
            rounds += 1;
            let is_done = if is_final { report.is_final } else { rounds >= DRAINS_MAX };
            if (report.is_drained && !is_final) || is_done {
                return Ok(report);
            }
            self.send(Command::Drain)?;
        }
    }

    fn send(&self, command: Command) -> Result<(), Failure> {
        self.commands
            .send(command)
            .map_err(|_| Failure::defect("the tap's thread ended unexpectedly; please report this"))?;
        // A full counter is readable all the same.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        Ok(())
    }

    fn apply(&mut self, pushed: u64) {
        while self.popped < pushed {
            match self.deltas.pop() {
                Ok(delta) => {
                    self.chart.apply(&delta);
                    self.popped += 1;
                }
                Err(rtrb::PopError::Empty) => return,
            }
        }
    }

    fn publish(&mut self, report: &Report, is_capturing: bool) -> Pulse {
        let picture = self.picture();
        let at = clock();
        let is_new = self.bridges_seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, &picture));
        if is_new {
            self.chart.set_names(Arc::clone(&picture.names), at);
            self.bridges_seen = Some(Arc::clone(&picture));
            if self.options.config.policy.compose_labels {
                let given = self.options.contracts.compose_projects();
                if self.labelled.look(&picture.names.workloads, &given) {
                    self.put_in_force();
                }
            }
        }
        let mut remarks = Vec::new();
        if let Some(failure) = &report.failure {
            remarks.push(failure.clone());
        }
        let losses = Losses {
            dropped: Some(report.statistics.dropped),
            blind: report.blind.clone(),
            shortfalls: report.shortfalls.clone(),
            remarks,
            ..Losses::default()
        };
        let in_ring = u64::try_from(report.statistics.unsettled()).unwrap_or(0);
        let facts = RunFacts {
            host: self.options.host.clone(),
            started_at: self.started_at,
            is_capturing: is_capturing && report.failure.is_none(),
            reload_ok: self.reloaded.0,
            reload_at: self.reloaded.1,
            in_ring,
        };
        let (list, left_out) = self.book.take_happenings(at);
        let happenings = Happenings { list, left_out };
        let indicators = self.book.take_indicators();
        self.note_turn(at, &picture, report, &losses, &facts, (&happenings, indicators.as_ref()));
        let turn = Turn {
            at,
            ledger: report.ledger,
            losses,
            occupancy: report.occupancy,
            overflow_most: report.overflow_most,
            thefts: report.thefts.clone(),
            sought: report.sought.clone(),
            happenings,
            indicators,
            is_last: false,
        };
        let (publication, alerts) = self.chart.turn(turn, vitals(&picture, &facts));
        Pulse { publication, alerts, failure: report.failure.clone(), waited: Duration::ZERO }
    }

    fn note_turn(
        &mut self,
        at: Timestamp,
        picture: &Arc<Picture>,
        report: &Report,
        losses: &Losses,
        facts: &RunFacts,
        (happenings, indicators): (&Happenings, Option<&Round>),
    ) {
        let Some(recording) = &mut self.recording else { return };
        let blind = (recording.blind != report.blind).then(|| report.blind.clone());
        recording.blind.clone_from(&report.blind);
        let row = TurnRow {
            at,
            picture: None,
            contracts: recording.contracts.take(),
            reload_ok: facts.reload_ok,
            reload_at: facts.reload_at,
            received: report.statistics.received,
            dropped: report.statistics.dropped,
            in_ring: facts.in_ring,
            blind,
            remarks: losses.remarks.clone(),
            is_capturing: facts.is_capturing,
            happenings: happenings.list.clone(),
            happenings_left_out: happenings.left_out,
            indicators: indicators.cloned(),
        };
        // A writer that is gone is noticed by whoever waits for it.
        let _ = recording.notes.send(Note::Turn(Arc::clone(picture), Box::new(row)));
    }
}

/// Carries every new picture to the tap's thread, at once.
async fn forward_roles(
    mut pictures: watch::Receiver<Arc<Picture>>,
    commands: Sender<Command>,
    wake: OwnedFd,
) {
    loop {
        let picture = Arc::clone(&pictures.borrow_and_update());
        if commands.send(Command::Roles(picture)).is_err() {
            return;
        }
        let _ = rustix::io::write(&wake, &1_u64.to_ne_bytes());
        if pictures.changed().await.is_err() {
            return;
        }
    }
}

/// The host's own conversations with itself pass no container network.
fn loopback() -> Vec<InterfaceId> {
    inventory().into_iter().filter(|interface| interface.is_loopback).map(|interface| interface.id).collect()
}

/// Returns the wall clock, as the kernel stamps frames with it.
pub fn clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Returns the name of this host.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
