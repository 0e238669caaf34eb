//! What the control plane takes: deltas added up, a turn, a scrape. Of a million flows and ten thousand edges, and of
//! what a busy host has.

use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use portolan_benches::edges::question;
use portolan_daemon::engine::{Chart, ChartOptions, Happenings, Losses, Source, Turn};
use portolan_exporter::exposition::render_with;
use portolan_exporter::{EdgeMemory, OwnMetrics, SeriesLimits, Vitals};
use portolan_flowtable::directory::BareDirectory;
use portolan_flowtable::{
    Delta, FlowTable, InterfaceTable, Ledger, Limits, Names, Sought, Thefts, Timestamp,
};
use portolan_policy::Contract;

fn main() {
    divan::main();
}

/// Flows, edges, and of how many flows a tick brings news.
const SIZES: [(u32, u32); 3] = [(10_000, 500), (100_000, 10_000), (1_000_000, 10_000)];

/// A chart with so many live flows, their deltas, and the accounts.
fn chart(flows: u32, edges: u32) -> (Chart, Vec<Delta>, Ledger) {
    let limits = Limits { flows_max: flows as usize * 4, ..Limits::default() };
    let mut table = FlowTable::new(limits, 1);
    let interfaces = InterfaceTable::plain();
    let mut deltas: Vec<Delta> = Vec::new();
    for is_answer in [false, true] {
        for flow in 0..flows {
            table.observe(&[question(flow, edges, is_answer)], &interfaces, &BareDirectory);
        }
    }
    table.drain(&mut deltas);
    assert_eq!(deltas.len(), flows as usize);
    let options = ChartOptions { source: Source::Live, withhold: 0, flows_kept: 10_000 };
    let mut chart = Chart::new(options, Arc::new(Names::default()), Arc::new(Contract::default()));
    deltas.iter().for_each(|delta| chart.apply(delta));
    (chart, deltas, *table.ledger())
}

fn turn(ledger: Ledger, flows: u32) -> Turn {
    let losses = Losses { dropped: Some(0), ..Losses::default() };
    let occupancy = (flows as usize, flows as usize);
    Turn {
        at: Timestamp(1_001 * Timestamp::SECOND),
        ledger,
        losses,
        occupancy,
        overflow_most: None,
        thefts: Thefts::default(),
        sought: Sought::default(),
        happenings: Happenings::default(),
        indicators: None,
        is_last: false,
    }
}

/// One delta, of a flow that is known.
#[divan::bench(args = SIZES, sample_count = 10)]
fn apply(bencher: Bencher<'_, '_>, (flows, edges): (u32, u32)) {
    let (mut chart, deltas, _) = chart(flows, edges);
    bencher.counter(ItemsCount::new(deltas.len())).bench_local(|| {
        deltas.iter().for_each(|delta| chart.apply(black_box(delta)));
    });
}

/// A whole turn: names, verdicts, graph, flow records.
#[divan::bench(args = SIZES, sample_count = 10)]
fn whole_turn(bencher: Bencher<'_, '_>, (flows, edges): (u32, u32)) {
    let (mut chart, _, ledger) = chart(flows, edges);
    bencher.bench_local(|| black_box(chart.turn(turn(ledger, flows), Vitals::default())));
}

/// A scrape of the publication: the page is written for the first one, the others are given the same.
#[divan::bench(args = SIZES, sample_count = 10)]
fn scrape(bencher: Bencher<'_, '_>, (flows, edges): (u32, u32)) {
    let (mut chart, _, ledger) = chart(flows, edges);
    let (publication, _) = chart.turn(turn(ledger, flows), Vitals::default());
    let mut memory = EdgeMemory::new(SeriesLimits::default());
    memory.turn(&publication);
    let own = OwnMetrics::new();
    bencher.bench_local(|| black_box(render_with(&publication, &memory, &own)));
}

/// What a publication changes of the series.
#[divan::bench(args = SIZES, sample_count = 10)]
fn series(bencher: Bencher<'_, '_>, (flows, edges): (u32, u32)) {
    let (mut chart, _, ledger) = chart(flows, edges);
    let (publication, _) = chart.turn(turn(ledger, flows), Vitals::default());
    let mut memory = EdgeMemory::new(SeriesLimits::default());
    memory.turn(&publication);
    bencher.bench_local(|| memory.turn(black_box(&publication)));
}
