//! Replay: captures through the same engine, on the captures' time.

mod dedup;
mod journalled;
mod knowledge;
mod pipeline;
mod row;
mod vantage;
mod watch;

use std::cell::RefCell;
use std::fmt;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use portolan_capture::select::Selection;
use portolan_capture::{FileInterface, Frame, MergedFiles, ParseOptions, TapError};
use portolan_exporter::{Publication, Vitals};
use portolan_flowtable::plain::PlainConversations;
use portolan_flowtable::{Delta, InterfaceTable, Limits, Names, NotCounted, Rejected, Timestamp};
use portolan_policy::{Alert, Contract};

use crate::cli::ReadArgs;
use crate::engine::{Chart, ChartOptions, Losses, Meter, Source, Turn, Who};
use crate::error::Failure;
use crate::journal::{Ending, Player, Stage, Turned, parse};
use dedup::Duplicates;
use journalled::{Found, find};
pub use knowledge::{Contracts, Knowledge};
use pipeline::Take;
use row::{Reading, Row, Sighting};
use vantage::{Chosen, choose};
pub(crate) use watch::Watch;

/// Seed of the flow table in replay: two replays are equal.
const SEED: u64 = 0x706f_7274_6f6c_616e;

/// Unknown link types named at most.
const UNKNOWN_LINKS_MAX: usize = 8;

/// Threads used where nobody says how many. More cost processor time, and win where files are packed and
/// processors idle.
const THREADS_UNASKED: usize = 2;

/// One turn of a replay: its last, and with a journal each one there was live.
#[derive(Clone, Copy, Debug)]
pub struct TurnOf<'a> {
    /// The answer.
    pub publication: &'a Publication,
    /// The news.
    pub alerts: &'a [Alert],
    /// Pause between heartbeats among the events, in seconds.
    pub heartbeat_seconds: u32,
}

/// Hears every turn.
pub type EachTurn<'a> = &'a RefCell<dyn FnMut(&TurnOf<'_>) + 'a>;

/// What a replay is asked for.
pub struct Request<'a> {
    /// Captures, merged by time.
    pub files: &'a [PathBuf],
    /// Who is who, and what was documented.
    pub knowledge: &'a Knowledge,
    /// How captures are read.
    pub read: &'a ReadArgs,
    /// Where the plain conversation table goes.
    pub conversations: Option<&'a Path>,
    /// Whether a progress bar may be drawn.
    pub shows_progress: bool,
    /// Who hears every turn.
    pub each_turn: Option<EachTurn<'a>>,
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("files", &self.files)
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}

/// What a replay gives.
#[derive(Debug)]
pub struct Replayed {
    /// The whole answer.
    pub publication: Publication,
    /// Findings in the order they were raised.
    pub alerts: Vec<Alert>,
    /// What ended the reading of a file early.
    pub damage: Vec<String>,
    /// What a person should know about the reading.
    pub warnings: Vec<String>,
    /// What was found beside the captures.
    pub notes: Vec<String>,
    /// What the traffic was held against at the end.
    pub contract: Arc<Contract>,
}

/// Replays captures.
///
/// # Errors
///
/// Returns why nothing could be replayed: a file that is missing or no capture, a filter that does not compile, an
/// output that cannot be written.
pub fn replay(request: &Request<'_>) -> Result<Replayed, Failure> {
    replay_watched(request, None)
}

/// Replays captures while somebody follows.
///
/// # Errors
///
/// The same as those of [`replay`].
pub(crate) fn replay_watched<'w>(
    request: &Request<'_>,
    watch: Option<&'w mut (dyn Watch + 'w)>,
) -> Result<Replayed, Failure> {
    let found = find(request)?;
    let files = found.as_ref().map_or(request.files, |found| &found.files);
    let paths: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    let (chosen, mut tap) = match &found {
        Some(_) => (Chosen::default(), MergedFiles::open_in_sequence(&paths)?),
        None => (choose(&paths, request)?, MergedFiles::open(&paths)?),
    };
    let mut filter = request.read.filter.as_deref().map(Selection::new).transpose()?;
    let read = request.read;
    let mut select = |frame: &Frame<'_>| is_selected(read, &mut filter, frame);
    let reading = Reading {
        options: ParseOptions { innermost: request.read.innermost, fingerprint: chosen.is_deduplicated },
    };
    let progress = progress_bar(&tap, request.shows_progress);
    let mut run = Run::new(request, chosen, progress, found, watch)?;
    let ended = pipeline::read(&mut tap, threads(request.read), &mut select, &reading, &mut run)?;
    run.progress.finish_and_clear();
    for damage in ended.iter().chain(tap.damage()) {
        run.note_damage(damage);
    }
    for link in filter.iter().flat_map(Selection::refused) {
        run.warnings
            .push(format!("the filter means nothing on frames of link type {link}: none was selected"));
    }
    if let Some((path, plain)) = request.conversations.zip(run.plain.as_ref()) {
        write_conversations(path, plain)?;
    }
    if run.chosen.is_blind_to_roles && vantage::may_show_twice(tap.interfaces()) {
        run.chosen.remarks.push(vantage::UNSURVEYED.to_owned());
    }
    if run.player.is_some() {
        return run.finish_journal(tap.interfaces());
    }
    Ok(run.finish(tap.kernel_dropped(), tap.interfaces(), &title(request.files)))
}

/// Opens captures in the order in which a replay reads them.
///
/// # Errors
///
/// The same as those of [`replay`].
pub(crate) fn open(request: &Request<'_>) -> Result<MergedFiles, Failure> {
    let in_words =
        |files: &[PathBuf]| -> Vec<String> { files.iter().map(|path| path.display().to_string()).collect() };
    Ok(match find(request)? {
        Some(found) => MergedFiles::open_in_sequence(&in_words(&found.files))?,
        None => MergedFiles::open(&in_words(request.files))?,
    })
}

/// Returns whether a frame is asked for.
pub(crate) fn is_selected(read: &ReadArgs, filter: &mut Option<Selection>, frame: &Frame<'_>) -> bool {
    let is_outside =
        read.since.is_some_and(|since| frame.at < since) || read.until.is_some_and(|until| frame.at >= until);
    !is_outside && filter.as_mut().is_none_or(|filter| filter.selects(frame))
}

/// Returns what a capture is called: its file name without endings, or its folder's where that says more.
pub fn title(files: &[PathBuf]) -> String {
    let Some(first) = files.first() else { return String::new() };
    if first.as_os_str() == "-" {
        return "standard input".to_owned();
    }
    let name = first.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
    let stem = name.split('.').next().unwrap_or_default().to_owned();
    match first.parent().and_then(Path::file_name) {
        Some(folder) if stem == "capture" => folder.to_string_lossy().into_owned(),
        Some(_) | None if stem.is_empty() => name,
        Some(_) | None => stem,
    }
}

/// A replay under way.
struct Run<'r, 'a, 'w> {
    request: &'r Request<'a>,
    meter: Meter,
    chart: Chart,
    deltas: Vec<Delta>,
    plain: Option<PlainConversations>,
    duplicates: Option<Duplicates>,
    progress: ProgressBar,
    watch: Option<&'w mut (dyn Watch + 'w)>,
    chosen: Chosen,
    next_change: usize,
    epoch: u16,
    second: Option<i64>,
    span: Option<(Timestamp, Timestamp)>,
    alerts: Vec<Alert>,
    damage: Vec<String>,
    warnings: Vec<String>,
    notes: Vec<String>,
    unknown_links: Vec<String>,
    /// Frames so far.
    frames: u64,
    player: Option<Player>,
    /// The last turn of a journal.
    last: Option<Publication>,
}

impl<'r, 'a, 'w> Run<'r, 'a, 'w> {
    fn new(
        request: &'r Request<'a>,
        chosen: Chosen,
        progress: ProgressBar,
        found: Option<Found>,
        watch: Option<&'w mut (dyn Watch + 'w)>,
    ) -> Result<Self, Failure> {
        let knowledge = request.knowledge;
        let begin = found.as_ref().map(|found| found.journal.begin());
        let limits = match begin {
            Some(begin) => begin.limits,
            None => Limits { flows_max: request.read.flows_max, ..Limits::default() },
        };
        let seed = begin.map_or(SEED, |begin| begin.seed);
        let has_own_contract = knowledge.contract.title().is_some();
        let contract = match begin {
            Some(begin) if !has_own_contract => parse(&begin.contracts)?.contract,
            Some(_) | None => Arc::clone(&knowledge.contract),
        };
        let names = knowledge
            .roster
            .as_ref()
            .map_or_else(|| Arc::new(Names::default()), |roster| Arc::clone(roster.names()));
        let interfaces = match begin {
            Some(begin) if begin.interface.is_empty() => Arc::new(InterfaceTable::new()),
            Some(_) | None => Arc::clone(&chosen.interfaces),
        };
        let mut meter = Meter::new(limits, seed, interfaces, Who::Bare(Default::default()));
        if watch.as_ref().is_some_and(|watch| watch.follows_frames()) {
            meter.trace();
        }
        let options = match begin {
            Some(begin) => ChartOptions {
                source: Source::Live,
                // Whoever follows wants every conversation, named or not.
                withhold: if watch.is_some() { 0 } else { begin.withhold },
                flows_kept: begin.flows_kept,
            },
            None => ChartOptions { source: Source::Silent, withhold: 0, flows_kept: request.read.flows_kept },
        };
        let chart = Chart::new(options, names, contract);
        let warnings = chosen.warnings.clone();
        let notes = found.iter().map(|found| found.in_words(has_own_contract)).collect();
        Ok(Self {
            meter,
            chart,
            deltas: Vec::new(),
            plain: request.conversations.map(|_| PlainConversations::default()),
            duplicates: chosen.is_deduplicated.then(Duplicates::new),
            progress,
            watch,
            request,
            chosen,
            next_change: 0,
            epoch: 0,
            second: None,
            span: None,
            alerts: Vec::new(),
            damage: Vec::new(),
            warnings,
            notes,
            unknown_links: Vec::new(),
            frames: 0,
            player: found.map(|found| Player::new(found.journal, has_own_contract)),
            last: None,
        })
    }

    fn frame(&mut self, row: &Row) -> Result<(), Failure> {
        self.frames += 1;
        let Self { player, meter, chart, watch, alerts, last, request, frames, .. } = self;
        match player {
            Some(player) => {
                let mut flow = |delta: &Delta, chart: &Chart| told_flow(delta, chart, watch);
                let mut tell = |turned| told(turned, request.each_turn, alerts, last);
                player.play(*frames, &mut Stage { meter, chart, flow: &mut flow, tell: &mut tell })?;
            }
            None => self.follow(row.at),
        }
        self.meter_frame(row);
        Ok(())
    }

    fn meter_frame(&mut self, row: &Row) {
        let wire_bytes = row.record.original_bytes;
        let seen = match row.sighting {
            Sighting::Deselected => return self.meter.leave_out(NotCounted::Deselected, wire_bytes),
            Sighting::Read(seen) => {
                self.note_time(row.at);
                seen
            }
            Sighting::Refused(error) => {
                self.note_time(row.at);
                if let Some(plain) = &mut self.plain {
                    plain.reject(row.record);
                }
                let reason = error.reason();
                if reason == Rejected::UnknownLinkType && self.unknown_links.len() < UNKNOWN_LINKS_MAX {
                    let text = error.to_string();
                    if !self.unknown_links.contains(&text) {
                        self.unknown_links.push(text);
                    }
                }
                return self.meter.reject(reason, wire_bytes);
            }
        };
        if let Some(plain) = &mut self.plain {
            plain.observe(&seen, row.record);
        }
        if let Some(duplicates) = &mut self.duplicates
            && duplicates.is_second(&seen)
        {
            return self.meter.leave_out(NotCounted::SecondSighting, seen.wire_bytes);
        }
        let deltas = match &mut self.player {
            Some(player) => player.deltas(),
            None => &mut self.deltas,
        };
        self.meter.frame(seen, deltas);
        self.tell_counted();
    }

    fn note_time(&mut self, at: Timestamp) {
        let (first, last) = self.span.unwrap_or((at, at));
        self.span = Some((first.min(at), last.max(at)));
    }

    /// Ticks fall on whole seconds of frame time; the roster changes at its instants.
    fn follow(&mut self, at: Timestamp) {
        let second = at.0.div_euclid(Timestamp::SECOND);
        let is_first = self.second.is_none();
        // Frames of one second may come after the first of the next: that is no other second.
        if self.second.is_none_or(|before| second > before || second < before - 1) {
            self.second = Some(second);
            if !is_first {
                let last_loss = self.last_loss();
                self.meter.tick(None, last_loss, &mut self.deltas);
                self.apply_deltas();
            }
        }
        if is_first || self.chosen.changes.get(self.next_change).is_some_and(|change| *change <= at) {
            self.follow_roster(at);
        }
    }

    /// Nobody says when frames were lost. Those left out by request are lost to the question whether an attempt was
    /// delivered.
    fn last_loss(&self) -> Option<Timestamp> {
        let read = self.request.read;
        let leaves_out = read.since.is_some() || read.until.is_some() || read.filter.is_some();
        (self.chosen.has_losses || leaves_out).then_some(Timestamp(i64::MAX))
    }

    fn follow_roster(&mut self, at: Timestamp) {
        let passed = self.chosen.changes.get(self.next_change..).unwrap_or(&[]);
        self.next_change += passed.iter().take_while(|change| **change <= at).count();
        let Some(roster) = &self.request.knowledge.roster else { return };
        self.epoch = self.epoch.wrapping_add(1);
        let picture = roster.picture_at(at, self.epoch);
        self.meter.set_roles(Arc::clone(&self.chosen.interfaces), Who::Roster(picture.directory));
    }

    fn apply_deltas(&mut self) {
        for delta in self.deltas.drain(..) {
            self.chart.apply(&delta);
            told_flow(&delta, &self.chart, &mut self.watch);
        }
        self.tell_counted();
    }

    fn tell_counted(&mut self) {
        if let Some(watch) = &mut self.watch {
            self.meter.traced().for_each(|(frame, flow)| watch.counted(frame, flow));
        }
    }

    fn note_damage(&mut self, error: &TapError) {
        let text = error.to_string();
        if !self.damage.contains(&text) {
            self.damage.push(text);
        }
    }

    /// Plays what the journal holds behind the last frame.
    fn finish_journal(mut self, interfaces: &[FileInterface]) -> Result<Replayed, Failure> {
        let Some(mut player) = self.player.take() else {
            return Err(Failure::error("a journal was found and lost; please report this"));
        };
        let cause = {
            let Self { meter, chart, watch, alerts, last, request, frames, span, damage, .. } = &mut self;
            let ending = Ending { frames: *frames, last_at: span.map(|(_, last)| last), damage };
            let mut flow = |delta: &Delta, chart: &Chart| told_flow(delta, chart, watch);
            let mut tell = |turned| told(turned, request.each_turn, alerts, last);
            player.finish(&ending, &mut Stage { meter, chart, flow: &mut flow, tell: &mut tell })?
        };
        self.tell_counted();
        if let Some(watch) = &mut self.watch {
            watch.end(self.chart.members(), interfaces);
        }
        self.warnings.extend(std::mem::take(&mut self.unknown_links));
        self.warnings.extend(cause);
        let Some(publication) = self.last else {
            return Err(player.journal().damaged("it holds no turn").into());
        };
        Ok(Replayed {
            publication,
            alerts: self.alerts,
            damage: self.damage,
            warnings: self.warnings,
            notes: self.notes,
            contract: Arc::clone(self.chart.contract()),
        })
    }

    fn finish(mut self, kernel_dropped: Option<u64>, interfaces: &[FileInterface], title: &str) -> Replayed {
        let last_loss = self.last_loss();
        self.meter.tick(None, last_loss, &mut self.deltas);
        let ledger = self.meter.settle(&mut self.deltas);
        self.apply_deltas();
        if ledger.delivered.frames > 0 && ledger.unknown_link_type == ledger.delivered {
            // Nothing could be done with any frame: that is no answer but an error.
            self.damage.extend(std::mem::take(&mut self.unknown_links));
        } else {
            self.warnings.extend(std::mem::take(&mut self.unknown_links));
        }
        let (from, at) = self.span.unwrap_or_default();
        let mut remarks = self.chosen.remarks.clone();
        remarks.extend(self.damage.iter().cloned());
        let source = if kernel_dropped.is_some() { Source::StatedDrops } else { Source::Silent };
        self.chart.set_source(source);
        let losses = Losses { dropped: kernel_dropped, blind: Vec::new(), remarks };
        let mut vitals = Vitals {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: title.to_owned(),
            started_at: from,
            reload_ok: true,
            reload_at: from,
            ..Vitals::default()
        };
        if let Some(roster) = &self.request.knowledge.roster {
            let counts = roster.picture_at(at, 0).counts;
            vitals.containers = counts.containers;
            vitals.containers_observable = counts.observable;
            vitals.containers_matched = counts.matched;
            vitals.unobservable = counts.unobservable;
            vitals.identity_by = if self.chosen.has_attachments {
                counts.identity_by
            } else {
                "address, which a sender can forge".to_owned()
            };
            let late = roster.bound_after(at);
            if let Some(first) = late.first() {
                self.warnings.push(format!(
                    "{} of the roster's containers started after the capture ended, {first} first: was it collected later?",
                    late.len()
                ));
            }
            let occurs = |address| self.chosen.addresses.contains(&address);
            let is_here =
                roster.any_address_in(occurs) || roster.names().host_addresses.iter().copied().any(occurs);
            if !is_here && self.chosen.was_surveyed {
                self.warnings.push(
                    "none of the roster's addresses occur in this capture: is it a roster of another host?"
                        .to_owned(),
                );
            }
        }
        let (occupancy, overflow_most) = (self.meter.occupancy(), self.meter.overflow_most());
        let turn = Turn { at, ledger, losses, occupancy, overflow_most, is_last: true };
        let (publication, alerts) = self.chart.turn(turn, vitals);
        if let Some(each_turn) = self.request.each_turn {
            let turned = TurnOf { publication: &publication, alerts: &alerts, heartbeat_seconds: 0 };
            (each_turn.borrow_mut())(&turned);
        }
        self.alerts.extend(alerts);
        if let Some(watch) = &mut self.watch {
            watch.end(self.chart.members(), interfaces);
        }
        Replayed {
            publication,
            alerts: self.alerts,
            damage: self.damage,
            warnings: self.warnings,
            notes: self.notes,
            contract: Arc::clone(self.chart.contract()),
        }
    }
}

impl Take<Row> for Run<'_, '_, '_> {
    fn take(&mut self, row: Row) -> Result<(), Failure> {
        self.frame(&row)
    }

    fn position(&mut self, bytes: u64) {
        self.progress.set_position(bytes);
    }
}

/// Tells whoever follows how a flow stands.
fn told_flow<'w>(delta: &Delta, chart: &Chart, watch: &mut Option<&'w mut (dyn Watch + 'w)>) {
    if let Some(watch) = watch
        && let Some(total) = chart.total_of(delta.slot)
    {
        watch.flow(&delta.flow, total);
    }
}

/// Hands a turn on, and keeps what is asked for at the end.
fn told(
    turned: Turned,
    each_turn: Option<EachTurn<'_>>,
    alerts: &mut Vec<Alert>,
    last: &mut Option<Publication>,
) {
    if let Some(each_turn) = each_turn {
        let Turned { publication, alerts, heartbeat_seconds } = &turned;
        (each_turn.borrow_mut())(&TurnOf { publication, alerts, heartbeat_seconds: *heartbeat_seconds });
    }
    alerts.extend(turned.alerts);
    *last = Some(turned.publication);
}

/// Returns how many threads a replay uses.
fn threads(read: &ReadArgs) -> usize {
    match read.threads {
        Some(asked) => usize::from(asked),
        None => std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_UNASKED),
    }
}

fn progress_bar(tap: &MergedFiles, is_wanted: bool) -> ProgressBar {
    if !is_wanted || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = match tap.length() {
        Some(length) => ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(10)),
        None => ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10)),
    };
    let template = if tap.length().is_some() {
        "{bar:40} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}"
    } else {
        "{spinner} {bytes} {binary_bytes_per_sec}"
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Writes the plain conversation table: one object a line, then the totals.
fn write_conversations(path: &Path, plain: &PlainConversations) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::cannot_write(path, &error);
    let file = std::fs::File::create(path).map_err(failed)?;
    let mut out = BufWriter::new(file);
    for row in plain.rows() {
        serde_json::to_writer(&mut out, &row).map_err(|error| failed(error.into()))?;
        out.write_all(b"\n").map_err(failed)?;
    }
    serde_json::to_writer(&mut out, &plain.totals()).map_err(|error| failed(error.into()))?;
    out.write_all(b"\n").map_err(failed)?;
    out.flush().map_err(failed)
}
