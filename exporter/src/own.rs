//! The daemon's own few figures, in a registry of the `prometheus` crate.
//!
//! Only gauges of modest size and counters nobody else keeps: an `f64` holds them exactly. The crate panics on
//! wrong arity and fails a whole scrape on an empty family; families are therefore built from the catalogue, which
//! knows the labels, and encoded from `Registry::gather`, which leaves empty ones out.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use portolan_flowtable::Completeness;
use prometheus::{
    Counter, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use prometheus::proto::{LabelPair, MetricFamily};

use crate::catalogue::{self, Metric};
use crate::collect::{self, EdgeMemory};
use crate::cost::Cost;
use crate::publication::Publication;

/// What the daemon counts about itself. Shared by HTTP, events and exposition.
#[derive(Clone, Debug)]
pub struct OwnMetrics {
    requests: IntCounterVec,
    closed: IntCounterVec,
    /// Events written.
    pub events: IntCounter,
    /// Events that could not be written.
    pub events_lost: IntCounter,
    /// Times that nothing was published for several ticks.
    pub stalls: IntCounter,
    publication_age: Gauge,
    latency: Histogram,
    /// What the process costs; absent where nobody measured it, as in a replay.
    cost: Arc<OnceLock<(Counter, Gauge)>>,
    live: Registry,
}

impl Default for OwnMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl OwnMetrics {
    /// Builds a set of counters at 0.
    pub fn new() -> Self {
        let live = Registry::new();
        let requests = register(
            &live,
            IntCounterVec::new(opts(&catalogue::EXPORTER_REQUESTS), catalogue::EXPORTER_REQUESTS.labels),
        );
        let closed = register(
            &live,
            IntCounterVec::new(opts(&catalogue::EXPORTER_CLOSED), catalogue::EXPORTER_CLOSED.labels),
        );
        let events = register(&live, IntCounter::with_opts(opts(&catalogue::EXPORTER_EVENTS)));
        let events_lost = register(&live, IntCounter::with_opts(opts(&catalogue::EXPORTER_EVENTS_LOST)));
        let stalls = register(&live, IntCounter::with_opts(opts(&catalogue::STALLS)));
        let publication_age = register(&live, Gauge::with_opts(opts(&catalogue::PUBLICATION_AGE)));
        let buckets = vec![0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
        let latency = HistogramOpts::from(opts(&catalogue::FINDING_LATENCY)).buckets(buckets);
        let latency = register(&live, Histogram::with_opts(latency));
        for reason in ["displaced", "deadline"] {
            closed.with_label_values(&[reason]).inc_by(0);
        }
        Self {
            requests,
            closed,
            events,
            events_lost,
            stalls,
            publication_age,
            latency,
            cost: Arc::default(),
            live,
        }
    }

    /// Counts how long a finding took from its first frame to its publication, in seconds.
    pub fn raised_after(&self, seconds: f64) {
        self.latency.observe(seconds);
    }

    /// Counts an answered request. Both words come from closed sets.
    pub fn request(&self, route: &'static str, code: u16) {
        self.requests.with_label_values(&[route, code.to_string().as_str()]).inc();
    }

    /// Notes how long ago the latest publication was taken in.
    pub fn publication_is_old(&self, age: Duration) {
        self.publication_age.set(age.as_secs_f64());
    }

    /// Notes what the process cost so far.
    pub fn costs(&self, cost: Cost) {
        let (cpu, memory) = self.cost.get_or_init(|| {
            let cpu = register(&self.live, Counter::with_opts(opts(&catalogue::PROCESS_CPU)));
            (cpu, register(&self.live, Gauge::with_opts(opts(&catalogue::PROCESS_MEMORY))))
        });
        // Two scrapes at once may come in the other order.
        cpu.inc_by((cost.cpu_seconds - cpu.get()).max(0.0));
        memory.set(cost.resident_bytes);
    }

    /// Counts a connection closed for being in the way.
    pub fn closed(&self, reason: &'static str) {
        self.closed.with_label_values(&[reason]).inc();
    }

    /// Renders these counters and the gauges of a publication.
    pub fn render(&self, publication: &Publication, memory: &EdgeMemory) -> String {
        let mut families = gauges(publication, memory).gather();
        families.extend(self.live.gather());
        let host = collect::label_text(&publication.vitals.host);
        for metric in families.iter_mut().flat_map(MetricFamily::mut_metric) {
            let mut labels = vec![LabelPair::default()];
            for label in &mut labels {
                label.set_name(catalogue::HOST.to_owned());
                label.set_value(host.clone());
            }
            labels.extend(metric.take_label());
            metric.set_label(labels);
        }
        TextEncoder::new().encode_to_string(&families).unwrap_or_else(|error| {
            // Everything above is named by constants; should the crate refuse one all the same, the edges matter more.
            format!("# {}\n", error.to_string().replace('\n', " "))
        })
    }
}

/// Builds the gauges of one publication. They keep nothing between scrapes, so nothing can go stale in them.
fn gauges(publication: &Publication, memory: &EdgeMemory) -> Registry {
    let registry = Registry::new();
    let snapshot = &publication.assessment.snapshot;
    let vitals = &publication.vitals;

    let blind = match &snapshot.completeness {
        Completeness::Incomplete { blind, .. } => blind.len() as u64,
        Completeness::Complete | Completeness::Unknown { .. } => 0,
    };
    whole(&registry, &catalogue::CAPTURE_BLIND, blind);
    let states: Vec<_> = ["complete", "incomplete", "unknown"]
        .into_iter()
        .map(|state| (state, u64::from(state == snapshot.completeness.word())))
        .collect();
    labelled(&registry, &catalogue::CAPTURE_COMPLETENESS, &states);
    whole(&registry, &catalogue::FLOWTABLE_FLOWS, vitals.flows_live);
    whole(&registry, &catalogue::FLOWTABLE_FLOWS_MAX, vitals.flows_max);
    whole(&registry, &catalogue::FLOWTABLE_CONVERSATIONS, vitals.conversations);
    let containers = [
        ("known", vitals.containers),
        ("observable", vitals.containers_observable),
        ("matched", vitals.containers_matched),
        ("unobservable", vitals.unobservable.len() as u64),
    ];
    labelled(&registry, &catalogue::IDENTITY_CONTAINERS, &containers);
    whole(&registry, &catalogue::IDENTITY_STALE, u64::from(snapshot.stale.is_some()));
    whole(&registry, &catalogue::EXPORTER_SERIES, memory.series().count() as u64);
    whole(&registry, &catalogue::CONFIG_RELOAD_OK, u64::from(vitals.reload_ok));
    seconds(&registry, &catalogue::CONFIG_RELOAD_AT, vitals.reload_at.as_seconds());
    seconds(&registry, &catalogue::START_TIME, vitals.started_at.as_seconds());
    if !vitals.policy_hash.is_empty() {
        labelled(
            &registry,
            &catalogue::POLICY_INFO,
            &[(collect::label_text(&vitals.policy_hash).as_str(), 1)],
        );
    }
    baseline(&registry, publication);
    pending(&registry, publication);
    labelled(&registry, &catalogue::BUILD_INFO, &[(collect::label_text(&vitals.version).as_str(), 1)]);
    registry
}

/// Shows how many conversations a contract that is tried would judge otherwise, and how.
fn pending(registry: &Registry, publication: &Publication) {
    let mut counts: std::collections::BTreeMap<(&str, &str), i64> = std::collections::BTreeMap::new();
    for judged in &publication.assessment.judged {
        if let Some(pending) = &judged.pending {
            *counts.entry((judged.verdict.name(), pending.verdict.name())).or_default() += 1;
        }
    }
    if counts.is_empty() {
        return;
    }
    let family = register(
        registry,
        IntGaugeVec::new(opts(&catalogue::PENDING_CONVERSATIONS), catalogue::PENDING_CONVERSATIONS.labels),
    );
    for ((verdict, pending), count) in counts {
        family.with_label_values(&[verdict, pending]).set(count);
    }
}

/// Shows the baseline, a service once: its latest image. Services beyond the most are left out.
fn baseline(registry: &Registry, publication: &Publication) {
    let mut rows = std::collections::BTreeMap::new();
    for row in publication.baseline.iter().take(BASELINES_MAX) {
        let (project, service) = row.service.split_once('/').unwrap_or(("", &row.service));
        let shown = rows.entry((collect::label_text(service), collect::label_text(project))).or_insert(row);
        if row.watched_until > shown.watched_until {
            *shown = row;
        }
    }
    if rows.is_empty() {
        return;
    }
    let edges = register(
        registry,
        IntGaugeVec::new(opts(&catalogue::BASELINE_EDGES), catalogue::BASELINE_EDGES.labels),
    );
    let novelty = register(
        registry,
        GaugeVec::new(opts(&catalogue::BASELINE_NOVELTY), catalogue::BASELINE_NOVELTY.labels),
    );
    let promoted = register(
        registry,
        IntGaugeVec::new(opts(&catalogue::BASELINE_PROMOTED), catalogue::BASELINE_PROMOTED.labels),
    );
    for ((service, project), row) in &rows {
        for (state, count) in
            [("learned", row.learned), ("candidate", row.candidates), ("forbidden", row.forbidden)]
        {
            let value = i64::try_from(count).unwrap_or(i64::MAX);
            edges.with_label_values(&[service.as_str(), project.as_str(), state]).set(value);
        }
        novelty.with_label_values(&[service.as_str(), project.as_str()]).set(row.novelty);
        let is_promoted = i64::from(row.stage == "promoted");
        promoted.with_label_values(&[service.as_str(), project.as_str()]).set(is_promoted);
    }
}

/// Most services whose baseline has series.
const BASELINES_MAX: usize = 1_024;

fn whole(registry: &Registry, metric: &'static Metric, value: u64) {
    register(registry, IntGauge::with_opts(opts(metric))).set(i64::try_from(value).unwrap_or(i64::MAX));
}

fn seconds(registry: &Registry, metric: &'static Metric, value: f64) {
    register(registry, Gauge::with_opts(opts(metric))).set(value);
}

fn labelled(registry: &Registry, metric: &'static Metric, values: &[(&str, u64)]) {
    let family = register(registry, IntGaugeVec::new(opts(metric), metric.labels));
    for (label, value) in values {
        family.with_label_values(&[label]).set(i64::try_from(*value).unwrap_or(i64::MAX));
    }
}

fn opts(metric: &'static Metric) -> Opts {
    Opts::new(metric.name, metric.help)
}

/// Registers a family of the catalogue, whose names are constants and unique.
fn register<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> C {
    let collector = collector.expect("the catalogue's names are valid");
    registry.register(Box::new(collector.clone())).expect("the catalogue's names are unique");
    collector
}
