//! Playing a journal: its rows reach meter and chart where they reached them live.

use std::collections::VecDeque;
use std::sync::Arc;

use portolan_exporter::{Publication, escape};
use portolan_flowtable::units::grouped;
use portolan_flowtable::{
    AttachmentId, Blindness, Delta, DeltaSink, InterfaceTable, Ledger, NotCounted, Sought, Tally, Thefts,
    Timestamp,
};
use portolan_identity::{Picture, PictureRecord};
use portolan_policy::Alert;

use super::{ContractText, EndRow, Entry, Journal, JournalError, TickRow, TurnRow};
use crate::engine::{
    Chart, DELTAS_PER_COMMAND, Happenings, Losses, Meter, RunFacts, Shortfalls, Turn, Who, vitals,
};
use crate::error::Failure;
use crate::replay::Contracts;

/// Pictures kept, of which rows may speak: as many as the writer keeps.
const PICTURES_KEPT: usize = 16;

/// Most frames or bytes a journal may count: beyond, sums would not hold.
const COUNT_MAX: u64 = 1 << 60;

/// What a turn gave, live and again.
#[derive(Debug)]
pub struct Turned {
    /// The answer.
    pub publication: Publication,
    /// The news.
    pub alerts: Vec<Alert>,
    /// Pause between heartbeats among the events, in seconds.
    pub heartbeat_seconds: u32,
}

/// Where rows take effect, and who hears of it.
pub struct Stage<'a> {
    /// The data plane.
    pub meter: &'a mut Meter,
    /// The control plane.
    pub chart: &'a mut Chart,
    /// Hears each delta behind its application.
    pub flow: &'a mut dyn FnMut(&Delta, &Chart),
    /// Hears each turn.
    pub tell: &'a mut dyn FnMut(Turned),
}

/// How the captures of a recording ended.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    /// Frames there were.
    pub frames: u64,
    /// Time of the last of them.
    pub last_at: Option<Timestamp>,
    /// What ended their reading early.
    pub damage: &'a [String],
}

/// A journal being played.
#[derive(Debug)]
pub struct Player {
    journal: Journal,
    /// Contracts that were given by hand win over the journal's.
    has_own_contract: bool,
    /// Whether frames of the recording are left out by request.
    leaves_out: bool,
    known: PictureRecord,
    pictures: VecDeque<(u32, Arc<Picture>)>,
    pictures_defined: u32,
    named_by: Option<u32>,
    deltas: Allowance,
    foreign: Tally,
    not_selected: Tally,
    unrecorded: Tally,
    /// What the data plane reported last.
    closed: Option<Closed>,
    blind: Vec<Blindness>,
    received: (u64, u64),
    last_turn_at: Option<Timestamp>,
    is_settled: bool,
    end: Option<EndRow>,
}

#[derive(Clone, Debug)]
struct Closed {
    ledger: Ledger,
    occupancy: (usize, usize),
    overflow_most: Option<(AttachmentId, Tally)>,
    thefts: Thefts,
    sought: Sought,
    shortfalls: Shortfalls,
}

/// Takes so many deltas from one command to the next and no more, as the ring did live.
#[derive(Debug)]
pub struct Allowance {
    deltas: Vec<Delta>,
    left: usize,
}

impl DeltaSink for Allowance {
    fn push(&mut self, delta: Delta) -> Result<(), Box<Delta>> {
        if self.left == 0 {
            return Err(Box::new(delta));
        }
        self.left -= 1;
        self.deltas.push(delta);
        Ok(())
    }

    fn room(&self) -> usize {
        self.left
    }
}

impl Player {
    /// Prepares to play.
    pub fn new(journal: Journal, has_own_contract: bool, leaves_out: bool) -> Self {
        Self {
            journal,
            has_own_contract,
            leaves_out,
            known: PictureRecord::default(),
            pictures: VecDeque::new(),
            pictures_defined: 0,
            named_by: None,
            deltas: Allowance { deltas: Vec::new(), left: DELTAS_PER_COMMAND },
            foreign: Tally::default(),
            not_selected: Tally::default(),
            unrecorded: Tally::default(),
            closed: None,
            blind: Vec::new(),
            received: (0, 0),
            last_turn_at: None,
            is_settled: false,
            end: None,
        }
    }

    /// Returns the journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Returns where deltas go between ticks.
    pub fn deltas(&mut self) -> &mut Allowance {
        &mut self.deltas
    }

    /// Applies the rows that precede frame `number`; each turn is told.
    ///
    /// # Errors
    ///
    /// Returns which row is damaged.
    pub fn play(&mut self, number: u64, stage: &mut Stage<'_>) -> Result<(), Failure> {
        while let Some(row) = self.journal.next_before(number)? {
            if self.end.is_some() {
                return Err(self.journal.damaged("a row behind the end").into());
            }
            if self.is_settled && matches!(row.entry, Entry::Tick(_) | Entry::Settle(_) | Entry::Roles { .. })
            {
                return Err(self.journal.damaged("the engine goes on behind its settlement").into());
            }
            match row.entry {
                Entry::Begin(_) => return Err(self.journal.damaged("it begins a second time").into()),
                Entry::File { .. } => {}
                Entry::Picture { number, changes } => {
                    if number != self.pictures_defined + 1 {
                        let what = format!("picture {number} behind picture {}", self.pictures_defined);
                        return Err(self.journal.damaged(what).into());
                    }
                    self.pictures_defined = number;
                    self.known.apply(*changes);
                    if self.pictures.len() >= PICTURES_KEPT {
                        self.pictures.pop_front();
                    }
                    self.pictures.push_back((number, Arc::new(self.known.restore())));
                }
                Entry::Roles { picture } => {
                    let picture = self.picture(picture)?;
                    let interfaces = match self.journal.begin().interface.is_empty() {
                        true => Arc::clone(&picture.interfaces),
                        false => Arc::new(InterfaceTable::plain()),
                    };
                    stage.meter.set_roles(interfaces, Who::Roster(Arc::clone(&picture.directory)));
                }
                Entry::Tick(row) => self.close(&row, false, stage)?,
                Entry::Settle(row) => self.close(&row, true, stage)?,
                Entry::Drain {} => {
                    self.deltas.left = DELTAS_PER_COMMAND;
                    let ledger = stage.meter.drain(&mut self.deltas);
                    self.closed(ledger, stage);
                }
                Entry::Turn(row) => {
                    let turned = self.turn(&row, stage.chart)?;
                    (stage.tell)(turned);
                }
                Entry::End(end) => self.end = Some(end),
            }
        }
        Ok(())
    }

    /// Plays what is left behind the last frame. A recording that was cut off is settled here, and says where it ends.
    ///
    /// # Errors
    ///
    /// Returns which row is damaged.
    pub fn finish(&mut self, ending: &Ending<'_>, stage: &mut Stage<'_>) -> Result<Option<String>, Failure> {
        self.play(ending.frames + 1, stage)?;
        self.must_fit(ending)?;
        let cause = self.cut_short(ending.frames, ending.last_at);
        if cause.is_none() && self.is_settled && ending.damage.is_empty() {
            return Ok(None);
        }
        self.deltas.left = usize::MAX;
        // What was behind the end may have been the delivery.
        stage.meter.tick(None, Some(Timestamp(i64::MAX)), &mut self.deltas);
        let ledger = stage.meter.settle(&mut self.deltas);
        self.closed(ledger, stage);
        let at = [ending.last_at, self.last_turn_at].into_iter().flatten().max();
        let row = TurnRow {
            at: at.unwrap_or(self.journal.begin().started_at),
            picture: self.named_by,
            reload_ok: true,
            reload_at: self.journal.begin().started_at,
            received: self.received.0,
            dropped: self.received.1,
            remarks: cause.iter().chain(ending.damage).cloned().collect(),
            ..TurnRow::default()
        };
        let turned = self.turn(&row, stage.chart)?;
        (stage.tell)(turned);
        Ok(cause)
    }

    /// Checks that journal and captures are of one recording.
    fn must_fit(&self, ending: &Ending<'_>) -> Result<(), Failure> {
        let Some(end) = &self.end else { return Ok(()) };
        let is_longer = end.frames < ending.frames;
        let is_other = end.frames == ending.frames && end.last_at != ending.last_at;
        if !is_longer && !is_other {
            return Ok(());
        }
        let at = |at: Option<Timestamp>| at.map_or("none".to_owned(), |at| at.to_string());
        Err(Failure::error(format!(
            "{}: does not belong to this capture: it speaks of {} frames, the last of {}, and there are {}, the last of {}\n  \
             replay without it:  --no-journal",
            self.journal.path().display(),
            grouped(end.frames),
            at(end.last_at),
            grouped(ending.frames),
            at(ending.last_at),
        )))
    }

    /// Says where a recording ends that did not end well.
    fn cut_short(&self, frames: u64, last_at: Option<Timestamp>) -> Option<String> {
        let place = match last_at {
            Some(at) => format!("the recording ends with frame {}, {at}", grouped(frames)),
            None => "the recording holds no frame".to_owned(),
        };
        match &self.end {
            Some(end) if end.frames > frames => {
                Some(format!("{place}: {} frames behind it are missing", grouped(end.frames - frames)))
            }
            Some(end) if !end.cause.is_empty() => Some(format!("{place}: {}", end.cause)),
            Some(_) => None,
            None => match self.journal.continues_at() {
                Some(next) => Some(format!(
                    "{place}: its journal goes on to frame {}, which is missing",
                    grouped(next.saturating_sub(1))
                )),
                None => Some(format!("{place}, without an end: whoever wrote it was stopped")),
            },
        }
    }

    fn close(&mut self, row: &TickRow, is_last: bool, stage: &mut Stage<'_>) -> Result<(), Failure> {
        let meter = &mut *stage.meter;
        let foreign = self.more(row.foreign, self.foreign)?;
        let not_selected = self.more(row.not_selected, self.not_selected)?;
        (self.foreign, self.not_selected) = (row.foreign, row.not_selected);
        meter.leave_out_many(NotCounted::Foreign, foreign);
        meter.leave_out_many(NotCounted::Deselected, not_selected);
        self.unrecorded = row.unrecorded;
        self.deltas.left = DELTAS_PER_COMMAND;
        let last_loss = if self.leaves_out || row.unrecorded.frames > 0 {
            // What is not here may have been the delivery.
            Some(Timestamp(i64::MAX))
        } else {
            row.last_loss
        };
        let mut ledger = meter.tick(row.now, last_loss, &mut self.deltas);
        if is_last {
            ledger = meter.settle(&mut self.deltas);
            self.is_settled = true;
        }
        self.closed(ledger, stage);
        Ok(())
    }

    /// Returns by how much a count grew; one that falls, or is more than any host has seen, is damage.
    fn more(&self, now: Tally, before: Tally) -> Result<Tally, JournalError> {
        let is_sane = |count: u64| count <= COUNT_MAX;
        let grows = now.frames >= before.frames && now.bytes >= before.bytes;
        if !grows || !is_sane(now.frames) || !is_sane(now.bytes) {
            return Err(self.journal.damaged("a count of frames that falls or cannot be"));
        }
        Ok(now - before)
    }

    fn closed(&mut self, ledger: Ledger, stage: &mut Stage<'_>) {
        for delta in self.deltas.deltas.drain(..) {
            stage.chart.apply(&delta);
            (stage.flow)(&delta, stage.chart);
        }
        stage.chart.hear(&stage.meter.take_overheard());
        let (occupancy, overflow_most) = (stage.meter.occupancy(), stage.meter.overflow_most());
        let (thefts, sought) = (stage.meter.thefts().clone(), stage.meter.sought());
        let shortfalls = stage.meter.shortfalls().clone();
        self.closed = Some(Closed { ledger, occupancy, overflow_most, thefts, sought, shortfalls });
    }

    fn turn(&mut self, row: &TurnRow, chart: &mut Chart) -> Result<Turned, Failure> {
        let Some(closed) = self.closed.clone() else {
            return Err(self.journal.damaged("a turn before the first tick").into());
        };
        let picture = match row.picture {
            Some(number) => self.picture(number)?,
            None => Arc::default(),
        };
        if row.picture.is_some() && row.picture != self.named_by {
            self.named_by = row.picture;
            chart.set_names(Arc::clone(&picture.names), row.at);
        }
        if let Some(contracts) = row.contracts.as_ref().filter(|_| !self.has_own_contract) {
            chart.set_contract(parse(contracts)?.contract);
        }
        if let Some(blind) = &row.blind {
            self.blind.clone_from(blind);
        }
        self.received = (row.received, row.dropped);
        self.last_turn_at = Some(row.at);
        let mut remarks = row.remarks.clone();
        let only = &self.journal.begin().only;
        if !only.is_empty() {
            remarks
                .push(format!("{only} alone was recorded: what else there was, in use or idle, is not here"));
        }
        if self.unrecorded.frames > 0 {
            let count = grouped(self.unrecorded.frames);
            remarks.push(format!("{count} frames were counted live and could not be recorded"));
        }
        let begin = self.journal.begin();
        let facts = RunFacts {
            host: begin.host.clone(),
            started_at: begin.started_at,
            is_capturing: row.is_capturing,
            reload_ok: row.reload_ok,
            reload_at: row.reload_at,
            in_ring: row.in_ring,
        };
        let turn = Turn {
            at: row.at,
            ledger: closed.ledger,
            losses: Losses {
                dropped: Some(row.dropped),
                blind: self.blind.clone(),
                shortfalls: closed.shortfalls,
                remarks,
                ..Losses::default()
            },
            occupancy: closed.occupancy,
            overflow_most: closed.overflow_most,
            thefts: closed.thefts,
            sought: closed.sought,
            happenings: Happenings { list: row.happenings.clone(), left_out: row.happenings_left_out },
            indicators: row.indicators.clone(),
            is_last: false,
        };
        let (publication, alerts) = chart.turn(turn, vitals(&picture, &facts));
        Ok(Turned { publication, alerts, heartbeat_seconds: begin.heartbeat_seconds })
    }

    fn picture(&self, number: u32) -> Result<Arc<Picture>, JournalError> {
        let found = self.pictures.iter().rev().find(|(known, _)| *known == number);
        found
            .map(|(_, picture)| Arc::clone(picture))
            .ok_or_else(|| self.journal.damaged(format!("picture {number} is not there")))
    }
}

/// Reads contracts out of a journal.
///
/// # Errors
///
/// Returns every place that is wrong: a journal holds contracts that were good when it was written.
pub fn parse(contracts: &[ContractText]) -> Result<Contracts, Failure> {
    let escaped = |it: &ContractText| (escape::terminal(&it.name).into_owned(), it.text.clone());
    let (compose, plain): (Vec<_>, Vec<_>) = contracts.iter().partition(|it| it.compose.is_some());
    let compose = compose.into_iter().filter_map(|it| it.compose.clone()).collect();
    Contracts::parse(plain.into_iter().map(escaped).collect(), compose)
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        Self::error(error.to_string())
    }
}
