//! What a reader costs the writer: batches of packets of a million known flows, alone and beside somebody who has the
//! picture drawn again and again, from the first name to the last series.
//!
//! The two share no memory; what a reader takes is the processor's, its caches and the way to memory. Times are the
//! writer's own (thread time), so that waiting for a processor is no part of them.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use portolan_benches::edges::question;
use portolan_daemon::engine::{Chart, ChartOptions, Happenings, Losses, Source, Turn};
use portolan_exporter::exposition::render_with;
use portolan_exporter::{EdgeMemory, OwnMetrics, SeriesLimits, Vitals};
use portolan_flowtable::directory::BareDirectory;
use portolan_flowtable::{
    Delta, FlowTable, InterfaceTable, Ledger, Limits, Names, Sought, Thefts, Timestamp,
};
use portolan_policy::Contract;
use portolan_sys::usage::thread_time;

const FLOWS: u32 = 1_000_000;
const EDGES: u32 = 10_000;
/// Packets of a batch of the daemon.
const BATCH: usize = 32;
/// Batches of a round: two million packets.
const BATCHES: usize = 62_500;
const ROUNDS: usize = 5;

fn main() -> io::Result<()> {
    let mut out = io::stdout();
    // `cargo test --benches` runs it so.
    let is_test = std::env::args().any(|argument| argument == "--test");
    if is_test {
        return Ok(());
    }
    let (mut table, mut chart, ledger) = filled();
    let interfaces = InterfaceTable::plain();
    let (is_over, drawn) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut alone = Vec::new();
    let mut beside = Vec::new();
    for _ in 0..ROUNDS {
        alone.push(round(&mut table, &interfaces));
        is_over.store(false, Ordering::Relaxed);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    draw(&mut chart, ledger);
                    drawn.fetch_add(1, Ordering::Relaxed);
                }
            });
            beside.push(round(&mut table, &interfaces));
            is_over.store(true, Ordering::Relaxed);
        });
    }
    writeln!(
        out,
        "batches of {BATCH} packets of {FLOWS} flows, us of the writer's time, medians of {ROUNDS} rounds"
    )?;
    for (said, rounds) in [("alone", &mut alone), ("beside a reader", &mut beside)] {
        let median = |at: usize, rounds: &mut Vec<[f64; 3]>| {
            rounds.sort_by(|a, b| a[at].total_cmp(&b[at]));
            rounds.get(ROUNDS / 2).map_or(0.0, |round| round[at])
        };
        let [p50, p99, most] = [0, 1, 2].map(|at| median(at, rounds));
        writeln!(out, "{said:>16}: p50 {p50:.2}, p99 {p99:.2}, most {most:.1}")?;
    }
    writeln!(out, "{} pictures and pages were drawn meanwhile", drawn.into_inner())
}

/// Returns p50, p99 and the longest of a round's batches, in microseconds.
fn round(table: &mut FlowTable, interfaces: &InterfaceTable) -> [f64; 3] {
    let mut random = 1_u64;
    let mut batch = Vec::with_capacity(BATCH);
    let mut times: Vec<Duration> = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        batch.clear();
        for _ in 0..BATCH {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let flow = u32::try_from(((random >> 33) * u64::from(FLOWS)) >> 31).unwrap_or(0);
            batch.push(question(flow, EDGES, random & 1 << 32 == 0));
        }
        let began = thread_time();
        table.observe(&batch, interfaces, &BareDirectory);
        times.push(thread_time() - began);
    }
    times.sort_unstable();
    let at = |share: usize| {
        times.get((times.len() - 1) * share / 100).map_or(0.0, |time| time.as_nanos() as f64 / 1_000.0)
    };
    [at(50), at(99), at(100)]
}

fn draw(chart: &mut Chart, ledger: Ledger) {
    let losses = Losses { dropped: Some(0), ..Losses::default() };
    let turn = Turn {
        at: Timestamp(1_001 * Timestamp::SECOND),
        ledger,
        losses,
        occupancy: (FLOWS as usize, FLOWS as usize),
        overflow_most: None,
        thefts: Thefts::default(),
        sought: Sought::default(),
        happenings: Happenings::default(),
        indicators: None,
        is_last: false,
    };
    let (publication, _) = chart.turn(turn, Vitals::default());
    let mut memory = EdgeMemory::new(SeriesLimits::default());
    memory.turn(&publication);
    std::hint::black_box(render_with(&publication, &memory, &OwnMetrics::new()));
}

/// Returns a table with all flows, and a chart that was told of them.
fn filled() -> (FlowTable, Chart, Ledger) {
    let limits = Limits { flows_max: FLOWS as usize * 2, ..Limits::default() };
    let mut table = FlowTable::new(limits, 1);
    let interfaces = InterfaceTable::plain();
    for is_answer in [false, true] {
        for flow in 0..FLOWS {
            table.observe(&[question(flow, EDGES, is_answer)], &interfaces, &BareDirectory);
        }
    }
    let mut deltas: Vec<Delta> = Vec::new();
    table.drain(&mut deltas);
    let options = ChartOptions { source: Source::Live, withhold: 0, flows_kept: 10_000 };
    let mut chart = Chart::new(options, Arc::new(Names::default()), Arc::new(Contract::default()));
    deltas.iter().for_each(|delta| chart.apply(delta));
    let ledger = *table.ledger();
    (table, chart, ledger)
}
