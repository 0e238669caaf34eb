//! The control plane: deltas become conversations, are judged and published.

use std::sync::Arc;

use portolan_exporter::{DocumentedEdge, FlowRecord, Publication, Vitals};
use portolan_flowtable::indicators::Round;
use portolan_flowtable::units::grouped;
use portolan_flowtable::{
    AttachmentId, Conversations, Delta, Ledger, Names, Occasion, Snapshot, Sought, Tally, Thefts, Timestamp,
};
use portolan_graphs::{Graph, Group};
use portolan_policy::baseline::Baseline;
use portolan_policy::findings::{Docket, Entry, Standing};
use portolan_policy::rhythm::Rhythm;
use portolan_policy::{Alert, Beside, Contract, Register, ScanLimits};

use super::completeness::{Losses, Source, judge_completeness};
use super::flow_book::{FlowBook, Tried};
use super::learner::Learner;
use super::life::{Happenings, Life};
use super::overheard::Overheard;
use super::pace::Pace;
use super::remembered::with_remembered;

/// What a chart is told once.
#[derive(Clone, Debug)]
pub struct ChartOptions {
    /// Where frames come from.
    pub source: Source,
    /// How long conversations with a nameless end are withheld, in nanoseconds of engine time.
    pub withhold: i64,
    /// Flow records kept and published at most.
    pub flows_kept: usize,
}

/// What one tick brings besides deltas.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Engine time of the tick.
    pub at: Timestamp,
    /// The data plane's accounts when it handed its deltas over.
    pub ledger: Ledger,
    /// What was lost so far.
    pub losses: Losses,
    /// Live flows in the table, and its slots.
    pub occupancy: (usize, usize),
    /// Whose frames most often found no room in the table.
    pub overflow_most: Option<(AttachmentId, Tally)>,
    /// Hardware addresses that others than their holders sent from.
    pub thefts: Thefts,
    /// Who asked for addresses of its own network in vain.
    pub sought: Sought,
    /// What happened to containers since the turn before.
    pub happenings: Happenings,
    /// What containers use, where they were asked since the turn before.
    pub indicators: Option<Round>,
    /// Whether the source has ended, so that nothing can be answered any more.
    pub is_last: bool,
}

/// The control plane's state.
#[derive(Debug)]
pub struct Chart {
    options: ChartOptions,
    conversations: Conversations,
    flows: FlowBook,
    names: Arc<Names>,
    contract: Arc<Contract>,
    register: Register,
    /// In place of the register, for who holds findings over restarts.
    docket: Option<Docket>,
    baseline: Option<Learner>,
    /// A contract that is tried.
    pending: Option<Arc<Contract>>,
    pace: Pace,
    documented_edges: Vec<DocumentedEdge>,
    life: Life,
    /// What containers used when they were asked last.
    indicators: Option<Round>,
    ticks: u64,
    threads: usize,
}

impl Chart {
    /// Builds an empty chart.
    pub fn new(options: ChartOptions, names: Arc<Names>, contract: Arc<Contract>) -> Self {
        let flows = FlowBook::new(options.flows_kept);
        let documented_edges = documented_edges(&contract, &names);
        Self {
            options,
            conversations: Conversations::new(),
            flows,
            names,
            contract,
            register: Register::default(),
            docket: None,
            baseline: None,
            pending: None,
            pace: Pace::default(),
            documented_edges,
            life: Life::default(),
            indicators: None,
            ticks: 0,
            threads: 1,
        }
    }

    /// Adds one flow's growth.
    pub fn apply(&mut self, delta: &Delta) {
        self.conversations.apply(delta);
        let before = self.flows.apply(delta);
        self.pace.apply(delta, before.as_ref());
    }

    /// Closes a tick without publishing: a replay publishes once, and what beats does so all along.
    pub fn close(&mut self, at: Timestamp) {
        self.pace.close(&self.names, at, &self.contract.rhythm_limits());
    }

    /// Goes on with what was usual before.
    pub fn set_rhythm(&mut self, rhythm: Rhythm) {
        self.pace.resume(rhythm);
    }

    /// Returns who calls at one interval, and what is usual.
    pub fn rhythm(&self) -> &Rhythm {
        self.pace.rhythm()
    }

    /// Takes in what containers asked for and were told.
    pub fn hear(&mut self, overheard: &Overheard) {
        overheard.tell(self.conversations.names_mut());
    }

    /// Returns the number of the total that the flow last applied in `slot` went to.
    pub fn total_of(&self, slot: u32) -> Option<u32> {
        self.conversations.total_of(slot)
    }

    /// Returns the numbers of the totals each published conversation rests on, in their order, where nothing is
    /// withheld.
    pub fn members(&self) -> Vec<Vec<u32>> {
        self.conversations.members(&self.names)
    }

    /// Takes new names at an instant, and keeps those of whoever is gone: their totals stay.
    pub fn set_names(&mut self, names: Arc<Names>, at: Timestamp) {
        self.names = with_remembered(&self.names, names, at);
        self.documented_edges = documented_edges(&self.contract, &self.names);
    }

    /// Says where frames come from, once that is known.
    pub fn set_source(&mut self, source: Source) {
        self.options.source = source;
    }

    /// Returns the contract in force.
    pub fn contract(&self) -> &Arc<Contract> {
        &self.contract
    }

    /// Takes another contract.
    pub fn set_contract(&mut self, contract: Arc<Contract>) {
        self.contract = contract;
        self.documented_edges = documented_edges(&self.contract, &self.names);
    }

    /// Tries a contract: what it would say stands beside each verdict. None is tried without one.
    pub fn set_pending(&mut self, pending: Option<Arc<Contract>>) {
        self.pending = pending;
    }

    /// Lets turns use so many threads: 1 unless somebody says more. What is published is the same.
    pub fn set_threads(&mut self, threads: usize) {
        self.threads = threads;
    }

    /// Judges by a baseline, and lets it learn where that is asked for.
    pub fn set_baseline(&mut self, baseline: Baseline, learns: bool) {
        self.baseline = Some(Learner::new(baseline, learns));
    }

    /// Returns the baseline.
    pub fn baseline(&self) -> Option<&Baseline> {
        self.baseline.as_ref().map(Learner::baseline)
    }

    /// Returns the baseline for a person to change.
    pub fn baseline_mut(&mut self) -> Option<&mut Baseline> {
        self.baseline.as_mut().map(Learner::baseline_mut)
    }

    /// Holds findings in a docket from here on.
    pub fn set_docket(&mut self, docket: Docket) {
        self.docket = Some(docket);
    }

    /// Returns the docket.
    pub fn docket(&self) -> Option<&Docket> {
        self.docket.as_ref()
    }

    /// Returns the docket for a person to change.
    pub fn docket_mut(&mut self) -> Option<&mut Docket> {
        self.docket.as_mut()
    }

    /// Lets the baseline look at what there is without publishing it: a replay publishes once, and a day of it holds
    /// many draws.
    ///
    /// `losses` and `ledger` are those so far: what was missed at a known time teaches nothing.
    pub fn look(
        &mut self,
        at: Timestamp,
        (thefts, sought): (&Thefts, &Sought),
        losses: &Losses,
        ledger: &Ledger,
    ) {
        let Some(learner) = self.baseline.as_mut().filter(|learner| learner.learns()) else { return };
        let occasion = Occasion {
            at,
            ledger: Ledger::default(),
            kernel_dropped: None,
            completeness: judge_completeness(&self.options.source, losses, ledger, self.flows.unseen()),
            withhold: self.options.withhold,
        };
        let mut snapshot = self.conversations.snapshot(occasion, &self.names);
        snapshot.thefts = thefts.rows().iter().map(|theft| theft.named(&self.names)).collect();
        snapshot.sweeps = sought.rows.iter().map(|row| row.named(&self.names)).collect();
        let limits = ScanLimits::default();
        let beside = Beside { baseline: Some(learner.baseline()), rhythm: Some(self.pace.rhythm()) };
        let assessment = self.contract.assess_with(snapshot, &limits, beside);
        learner.learn(&assessment);
    }

    /// Publishes: one immutable value, and the news since the last one. `vitals` carries what the daemon knows of
    /// itself; what follows from the accounts is filled in here.
    pub fn turn(&mut self, turn: Turn, vitals: Vitals) -> (Publication, Vec<Alert>) {
        self.ticks += 1;
        if let Some(round) = turn.indicators {
            self.pace.indicated(&round);
            self.indicators = Some(round);
        }
        self.close(turn.at);
        let mut losses = turn.losses.clone();
        if let Some((attachment, tally)) = turn.overflow_most
            && let Some(sender) = self.names.attachments.get(&attachment)
        {
            let count = grouped(tally.frames);
            losses
                .details
                .push(format!("{count} frames of {} found no room in the flow table", sender.container));
        }
        if turn.thefts.beyond() > 0 {
            let count = grouped(turn.thefts.beyond());
            losses.remarks.push(format!("{count} frames from stolen hardware addresses are in no finding"));
        }
        if turn.sought.beyond > 0 {
            let count = grouped(turn.sought.beyond);
            losses.remarks.push(format!("{count} ARP requests of too many senders are in no finding"));
        }
        let completeness =
            judge_completeness(&self.options.source, &losses, &turn.ledger, self.flows.unseen());
        let occasion = Occasion {
            at: turn.at,
            ledger: turn.ledger,
            kernel_dropped: turn.losses.dropped,
            completeness,
            withhold: self.options.withhold,
        };
        let (mut snapshot, flows) = self.named(occasion);
        snapshot.thefts = turn.thefts.rows().iter().map(|theft| theft.named(&self.names)).collect();
        snapshot.sweeps = turn.sought.rows.iter().map(|row| row.named(&self.names)).collect();
        let (residual_frames, residual_bytes) = turn.ledger.residual(self.conversations.sum());
        let limits = if turn.is_last { ScanLimits::at_end() } else { ScanLimits::default() };
        let baseline = self.baseline.as_ref().map(Learner::baseline);
        let beside = Beside { baseline, rhythm: Some(self.pace.rhythm()) };
        let mut assessment = self.contract.assess_with(snapshot, &limits, beside);
        if let Some(pending) = &self.pending {
            pending.pend(&mut assessment, beside);
        }
        if let Some(learner) = &mut self.baseline {
            learner.learn(&assessment);
        }
        let alerts = match &mut self.docket {
            Some(docket) => {
                let beside = Beside { baseline: self.baseline.as_ref().map(Learner::baseline), rhythm: None };
                let mut alerts = docket.reconsider(&self.contract, &assessment.snapshot, beside);
                alerts.extend(docket.update(&mut assessment));
                alerts
            }
            None => self.register.update(&assessment),
        };
        let is_handled = |entry: &&Entry| entry.standing != Standing::Open;
        let handled = self.docket.iter().flat_map(Docket::entries).filter(is_handled).cloned().collect();
        let baseline = self.baseline.as_mut().map(|learner| learner.rows(turn.at)).unwrap_or_default();
        let graph = Graph::draw(&assessment, Group::Service);
        // Those of a contract that is tried say what was judged just above.
        let flows = flows.unwrap_or_else(|| {
            let tried = self.pending.as_ref().map(|_| Tried::of(&assessment.judged));
            self.records(tried.as_ref())
        });
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let vitals = Vitals {
            ticks: self.ticks,
            residual_frames,
            residual_bytes,
            flows_live: count(turn.occupancy.0),
            flows_max: count(turn.occupancy.1),
            conversations: count(self.conversations.len()),
            flows_kept: count(self.options.flows_kept),
            flows_forgotten: self.flows.forgotten(),
            dns: self.conversations.names().counts(),
            policy_hash: self.contract.hash(),
            ..vitals
        };
        let documented_edges = self.documented_edges.clone();
        self.life.turn(turn.at, turn.happenings, &assessment.snapshot.workloads);
        let (lifecycle, lifecycle_left_out) = (self.life.rows(), self.life.left_out());
        self.indicators.take_if(|round| turn.at.since(round.at) > INDICATORS_KEPT);
        let publication = Publication {
            assessment,
            graph,
            vitals,
            flows,
            documented_edges,
            baseline,
            handled,
            lifecycle,
            lifecycle_left_out,
            indicators: self.indicators.clone(),
        };
        (publication, alerts)
    }
}

/// Name what was counted.
impl Chart {
    /// Names conversations, and where nothing has to be known of verdicts and a second thread is to be had, flows beside
    /// them.
    fn named(&self, occasion: Occasion) -> (Snapshot, Option<Vec<FlowRecord>>) {
        let are_beside = self.threads > 1 && self.pending.is_none() && self.flows.live() > FLOWS_BESIDE;
        std::thread::scope(|scope| {
            let beside = are_beside.then(|| {
                let thread = std::thread::Builder::new().name("portolan-flows".to_owned());
                thread.spawn_scoped(scope, || self.records(None)).ok()
            });
            let snapshot = self.conversations.snapshot(occasion, &self.names);
            // A thread that came to grief is one that was not to be had.
            (snapshot, beside.flatten().and_then(|thread| thread.join().ok()))
        })
    }

    fn records(&self, tried: Option<&Tried>) -> Vec<FlowRecord> {
        self.flows.records(&self.names, self.conversations.names(), self.options.flows_kept, tried)
    }
}

/// How long what containers use is published behind the round it was read in: two of the longest pauses.
const INDICATORS_KEPT: i64 = 600 * Timestamp::SECOND;
/// Open flows from which on another thread is worth its start.
const FLOWS_BESIDE: usize = 1_024;

/// Who may call what, as the exporter wants it: counters of these edges begin at 0.
fn documented_edges(contract: &Contract, names: &Names) -> Vec<DocumentedEdge> {
    let expected = contract.expected_edges(&names.workloads);
    expected
        .into_iter()
        .map(|edge| DocumentedEdge {
            client: edge.initiator.service,
            client_project: edge.initiator.project,
            server: edge.responder.service,
            server_project: edge.responder.project,
            port: edge.port,
            documented_by: edge.documented_by,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use portolan_flowtable::Workload;
    use portolan_flowtable::indicators::{Indicators, Reading};
    use portolan_policy::FindingKind;

    use super::*;
    use crate::journal::TurnRow;

    const MINUTE: i64 = 60 * Timestamp::SECOND;

    fn row(minute: i64, memory: Option<u64>) -> TurnRow {
        let at = Timestamp(minute * MINUTE);
        let reading = |bytes| Reading {
            at,
            container_id: "c".to_owned(),
            container: "web-1".to_owned(),
            service: "web".to_owned(),
            project: "shop".to_owned(),
            indicators: Indicators { memory_bytes: Some(bytes), ..Indicators::default() },
        };
        let round = |bytes| Round { at, readings: vec![reading(bytes)], ..Round::default() };
        TurnRow { at, indicators: memory.map(round), ..TurnRow::default() }
    }

    #[test]
    fn what_containers_use_is_judged_and_published_as_a_journal_has_it() {
        let options = ChartOptions { source: Source::Live, withhold: 0, flows_kept: 8 };
        let web = Workload {
            container: "web-1".to_owned(),
            service: "web".to_owned(),
            project: "shop".to_owned(),
            ..Workload::default()
        };
        let names = Names { workloads: vec![Arc::new(web)], ..Names::default() };
        let mut chart = Chart::new(options, Arc::new(names), Arc::new(Contract::default()));
        let mut turn = |minute: i64, memory: Option<u64>| {
            // As it is written down, and read again.
            let text = serde_json::to_string(&row(minute, memory)).unwrap();
            assert_eq!(text.contains("indicators"), memory.is_some(), "{text}");
            let row: TurnRow = serde_json::from_str(&text).unwrap();
            let turn = Turn {
                at: row.at,
                ledger: Ledger::default(),
                losses: Losses::default(),
                occupancy: (0, 8),
                overflow_most: None,
                thefts: Thefts::default(),
                sought: Sought::default(),
                happenings: Happenings::default(),
                indicators: row.indicators,
                is_last: false,
            };
            let (publication, alerts) = chart.turn(turn, Vitals::default());
            let of_level = |alert: &&Alert| alert.finding.kind == FindingKind::UnusualLevel;
            let said = alerts.iter().find(of_level).map(|alert| alert.finding.summary.clone());
            (publication.indicators.map(|round| round.at.0 / MINUTE), said)
        };
        let day = 1_440;
        for minute in 0..4 * day {
            assert_eq!(turn(minute, Some(200 << 20)), (Some(minute), None));
        }
        let said: Vec<String> =
            (4 * day..4 * day + 20).filter_map(|minute| turn(minute, Some(2_000 << 20)).1).collect();
        assert_eq!(said, ["memory 2.0 GiB, typically 200 MiB"]);
        let last = 4 * day + 19;
        assert_eq!(turn(last + 10, None).0, Some(last));
        assert_eq!(turn(last + 11, None).0, None);
    }
}
