//! One replay: frames into the meter in their order, ticks by frame time or from a journal, and the answer.

use std::sync::Arc;

use indicatif::ProgressBar;
use portolan_capture::{FileInterface, TapError};
use portolan_exporter::{Publication, Vitals};
use portolan_flowtable::plain::PlainConversations;
use portolan_flowtable::{Delta, DeltaSink, InterfaceTable, Limits, Names, NotCounted, Rejected, Timestamp};
use portolan_policy::Alert;
use portolan_policy::baseline::WINDOW;

use super::dedup::Duplicates;
use super::journalled::Found;
use super::pipeline::Take;
use super::row::{Row, Sighting};
use super::vantage::Chosen;
use super::watch::Watch;
use super::{EachTurn, Replayed, Request, TurnOf};
use crate::engine::{Chart, ChartOptions, Happenings, Losses, Meter, Source, Turn, Who};
use crate::error::Failure;
use crate::journal::{Ending, Player, Stage, Turned, parse};

/// Seed of the flow table in replay: two replays are equal.
const SEED: u64 = 0x706f_7274_6f6c_616e;

/// Unknown link types named at most.
const UNKNOWN_LINKS_MAX: usize = 8;

/// A replay under way.
pub(super) struct Run<'r, 'a, 'w> {
    request: &'r Request<'a>,
    meter: Meter,
    chart: Chart,
    pub(super) plain: Option<PlainConversations>,
    duplicates: Option<Duplicates>,
    pub(super) progress: ProgressBar,
    watch: Option<&'w mut (dyn Watch + 'w)>,
    pub(super) chosen: Chosen,
    next_change: usize,
    epoch: u16,
    second: Option<i64>,
    span: Option<(Timestamp, Timestamp)>,
    alerts: Vec<Alert>,
    damage: Vec<String>,
    pub(super) warnings: Vec<String>,
    notes: Vec<String>,
    unknown_links: Vec<String>,
    /// Frames so far, and when the last of them was stamped.
    frames: u64,
    last_at: Option<Timestamp>,
    pub(super) player: Option<Player>,
    /// The last turn of a journal.
    last: Option<Publication>,
}

impl<'r, 'a, 'w> Run<'r, 'a, 'w> {
    /// Prepares a replay, with the journal that was found.
    pub(super) fn new(
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
        if watch.is_none() && found.is_none() && knowledge.baseline.is_none() {
            // Ticks are turns of nobody: the answer is read at the end. A baseline looks in between.
            meter.keep_growth();
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
        let mut chart = Chart::new(options, names, contract);
        if let Some(baseline) = &knowledge.baseline {
            chart.set_baseline(baseline.clone(), knowledge.learns);
        }
        chart.set_pending(knowledge.pending.clone());
        chart.set_threads(super::threads(request.read));
        let warnings = chosen.warnings.clone();
        let notes = found.iter().map(|found| found.in_words(has_own_contract)).collect();
        Ok(Self {
            meter,
            chart,
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
            last_at: None,
            player: found
                .map(|found| Player::new(found.journal, has_own_contract, request.read.leaves_out())),
            last: None,
        })
    }

    #[inline]
    fn frame(&mut self, row: &Row) -> Result<(), Failure> {
        self.frames += 1;
        self.last_at = Some(row.at);
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

    #[inline]
    fn meter_frame(&mut self, row: &Row) {
        let wire_bytes = row.record.original_bytes;
        let seen = match &row.sighting {
            Sighting::Deselected => return self.meter.leave_out(NotCounted::Deselected, wire_bytes),
            Sighting::Read => {
                self.note_time(row.at);
                &row.seen
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
                return self.meter.reject(reason, row.at, wire_bytes);
            }
        };
        if let Some(plain) = &mut self.plain {
            plain.observe(seen, row.record);
        }
        if let Some(duplicates) = &mut self.duplicates
            && duplicates.is_second(seen)
        {
            return self.meter.leave_out(NotCounted::SecondSighting, seen.wire_bytes);
        }
        if let Some(kept) = &row.spoken {
            self.meter.overhear(seen, kept.spoken());
        }
        match &mut self.player {
            Some(player) => self.meter.frame(*seen, player.deltas()),
            None => {
                let mut into = Straight { chart: &mut self.chart, watch: &mut self.watch };
                self.meter.frame(*seen, &mut into);
            }
        }
        self.tell_counted();
    }

    /// Returns how many of these rows may be metered together: all were read, none is left out or says anything of names, no tick and no change
    /// of the roster comes between them, and nobody follows single frames.
    fn together(&self, rows: &[Row]) -> usize {
        let is_followed = self.player.is_some()
            || self.plain.is_some()
            || self.duplicates.is_some()
            || self.watch.is_some();
        let Some(second) = self.second.filter(|_| !is_followed) else { return 0 };
        let from = second.saturating_mul(Timestamp::SECOND);
        let until = from.saturating_add(Timestamp::SECOND);
        let change = self.chosen.changes.get(self.next_change).map_or(until, |change| change.0);
        let span = from..until.min(change);
        let parts = |row: &&Row| {
            matches!(row.sighting, Sighting::Read) && row.spoken.is_none() && span.contains(&row.at.0)
        };
        rows.iter().take_while(parts).count()
    }

    fn meter_together(&mut self, rows: &[Row]) {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return };
        self.frames += rows.len() as u64;
        self.last_at = Some(last.at);
        let (from, to) = self.span.unwrap_or((first.at, first.at));
        self.span = Some(rows.iter().fold((from, to), |(from, to), row| (from.min(row.at), to.max(row.at))));
        self.meter.frames(rows, &mut Straight { chart: &mut self.chart, watch: &mut self.watch });
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
            let before = self.second.replace(second);
            if let Some(before) = before {
                let last_loss = self.last_loss();
                let mut into = Straight { chart: &mut self.chart, watch: &mut self.watch };
                self.meter.tick(None, last_loss, &mut into);
                self.chart.hear(&self.meter.take_overheard());
                self.tell_counted();
                self.close_minute(before, second);
                self.look(before, second);
            }
        }
        if is_first || self.chosen.changes.get(self.next_change).is_some_and(|change| *change <= at) {
            self.follow_roster(at);
        }
    }

    /// Levels are of minutes: what grew is handed over at the end of each.
    fn close_minute(&mut self, before: i64, second: i64) {
        if before.div_euclid(60) != second.div_euclid(60) {
            let mut into = Straight { chart: &mut self.chart, watch: &mut self.watch };
            self.meter.drain(&mut into);
            self.chart.close(Timestamp(before.saturating_mul(Timestamp::SECOND)));
        }
    }

    /// A baseline counts by windows: it looks at the end of each.
    fn look(&mut self, before: i64, second: i64) {
        let window = |second: i64| second.saturating_mul(Timestamp::SECOND).div_euclid(WINDOW);
        if window(before) != window(second) {
            let end = Timestamp((window(before) + 1).saturating_mul(WINDOW) - 1);
            let shortfalls = self.meter.shortfalls().clone();
            let losses = Losses { shortfalls, ..Losses::default() };
            let (thefts, sought) = (self.meter.thefts(), self.meter.sought());
            self.chart.look(end, (thefts, &sought), &losses, &self.meter.ledger());
        }
    }

    /// Nobody says when frames were lost. Those left out by request are lost to the question whether an attempt was
    /// delivered.
    fn last_loss(&self) -> Option<Timestamp> {
        (self.chosen.has_losses || self.request.read.leaves_out()).then_some(Timestamp(i64::MAX))
    }

    fn follow_roster(&mut self, at: Timestamp) {
        let passed = self.chosen.changes.get(self.next_change..).unwrap_or(&[]);
        self.next_change += passed.iter().take_while(|change| **change <= at).count();
        let Some(roster) = &self.request.knowledge.roster else { return };
        self.epoch = self.epoch.wrapping_add(1);
        let picture = roster.picture_at(at, self.epoch);
        self.meter.set_roles(Arc::clone(&self.chosen.interfaces), Who::Roster(picture.directory));
    }

    fn tell_counted(&mut self) {
        if let Some(watch) = &mut self.watch {
            self.meter.traced().for_each(|(frame, flow)| watch.counted(frame, flow));
        }
    }

    pub(super) fn note_damage(&mut self, error: &TapError) {
        let text = error.to_string();
        if !self.damage.contains(&text) {
            self.damage.push(text);
        }
    }

    /// Plays what the journal holds behind the last frame.
    pub(super) fn finish_journal(mut self, interfaces: &[FileInterface]) -> Result<Replayed, Failure> {
        let Some(mut player) = self.player.take() else {
            return Err(Failure::error("a journal was found and lost; please report this"));
        };
        let cause = {
            let Self { meter, chart, watch, alerts, last, request, frames, last_at, damage, .. } = &mut self;
            let ending = Ending { frames: *frames, last_at: *last_at, damage };
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
            baseline: self.chart.baseline().cloned(),
            rhythm: self.chart.rhythm().clone(),
        })
    }

    /// Settles, and publishes once.
    pub(super) fn finish(
        mut self,
        kernel_dropped: Option<u64>,
        interfaces: &[FileInterface],
        title: &str,
    ) -> Replayed {
        let last_loss = self.last_loss();
        let mut into = Straight { chart: &mut self.chart, watch: &mut self.watch };
        self.meter.tick(None, last_loss, &mut into);
        let ledger = self.meter.settle(&mut into);
        self.chart.hear(&self.meter.take_overheard());
        self.tell_counted();
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
        let shortfalls = self.meter.shortfalls().clone();
        let losses = Losses { dropped: kernel_dropped, shortfalls, remarks, ..Losses::default() };
        let mut vitals = Vitals {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: title.to_owned(),
            started_at: from,
            reload_ok: true,
            reload_at: from,
            ..Vitals::default()
        };
        if let Some(roster) = &self.request.knowledge.roster {
            let picture = roster.picture_at(at, 0);
            vitals.host_addresses = picture.directory.host_addresses_outside();
            let counts = picture.counts;
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
        let (thefts, sought) = (self.meter.thefts().clone(), self.meter.sought());
        let happenings = Happenings::default();
        let turn = Turn {
            at,
            ledger,
            losses,
            occupancy,
            overflow_most,
            thefts,
            sought,
            happenings,
            indicators: None,
            is_last: true,
        };
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
            baseline: self.chart.baseline().cloned(),
            rhythm: self.chart.rhythm().clone(),
        }
    }
}

impl Take<Row> for Run<'_, '_, '_> {
    #[inline]
    fn take(&mut self, rows: &[Row]) -> Result<(), Failure> {
        let mut rest = rows;
        while let Some((first, after)) = rest.split_first() {
            let (together, others) = rest.split_at(self.together(rest));
            if together.is_empty() {
                self.frame(first)?;
                rest = after;
            } else {
                self.meter_together(together);
                rest = others;
            }
        }
        Ok(())
    }

    fn position(&mut self, bytes: u64) {
        self.progress.set_position(bytes);
    }
}

/// Deltas without a way between: added up as they are handed over.
struct Straight<'s, 'w> {
    chart: &'s mut Chart,
    watch: &'s mut Option<&'w mut (dyn Watch + 'w)>,
}

impl DeltaSink for Straight<'_, '_> {
    fn push(&mut self, delta: Delta) -> Result<(), Box<Delta>> {
        self.chart.apply(&delta);
        told_flow(&delta, self.chart, self.watch);
        Ok(())
    }

    fn room(&self) -> usize {
        usize::MAX
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
