//! The text of a scrape (Prometheus text format 0.0.4): a function of the latest publication and the memory.
//!
//! Counts of frames and bytes are written from the publication's own `u64`, because a client library's `f64`
//! loses exactness above 2^53; the daemon's own few figures go through the `prometheus` crate.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use portolan_flowtable::indicators::Indicators;
use portolan_policy::{FindingKind, Severity};

use crate::catalogue::{self, Metric};
use crate::collect::{self, EdgeKey, EdgeMemory, EdgeSeries, SeriesLimits};
use crate::escape;
use crate::own::OwnMetrics;
use crate::publication::Publication;
use crate::words;

/// Renders one publication without a past: what a replay exports.
pub fn render(publication: &Publication, limits: SeriesLimits) -> String {
    let mut memory = EdgeMemory::new(limits);
    memory.turn(publication);
    render_with(publication, &memory, &OwnMetrics::new())
}

/// Renders the publication that `memory` took in last.
pub fn render_with(publication: &Publication, memory: &EdgeMemory, own: &OwnMetrics) -> String {
    let mut text = render_published(publication, memory);
    text.push_str(&own.render(publication, memory));
    text
}

/// Renders the families that follow from the publication alone.
pub(crate) fn render_published(publication: &Publication, memory: &EdgeMemory) -> String {
    let mut page = Page {
        text: String::with_capacity(4096 + 1600 * memory.series().count()),
        host: host_label(publication),
    };
    write_edges(&mut page, memory);
    write_judgement(&mut page, publication, memory);
    write_accounts(&mut page, publication, memory);
    page.text
}

fn write_edges(page: &mut Page, memory: &EdgeMemory) {
    // An edge has eleven series or so: what they have in common is written down once.
    let edges: Vec<(String, &EdgeSeries)> =
        memory.series().map(|(key, series)| (labels_of(key), series)).collect();
    let mut bytes = page.family(&catalogue::EDGE_BYTES);
    for (edge, series) in &edges {
        bytes.edge(edge, &["to_server"], series.totals.sent.bytes);
        bytes.edge(edge, &["to_client"], series.totals.received.bytes);
    }
    let mut frames = page.family(&catalogue::EDGE_FRAMES);
    for (edge, series) in &edges {
        frames.edge(edge, &["to_server"], series.totals.sent.frames);
        frames.edge(edge, &["to_client"], series.totals.received.frames);
    }
    let mut connections = page.family(&catalogue::EDGE_CONNECTIONS);
    for (edge, series) in &edges {
        let outcomes = series.totals.connections;
        connections.edge(edge, &["answered"], outcomes.answered);
        connections.edge(edge, &["refused"], outcomes.refused);
        connections.edge(edge, &["unanswered"], outcomes.unanswered);
        connections.edge(edge, &["blocked"], outcomes.blocked);
    }
    let mut info = page.family(&catalogue::EDGE_INFO);
    for (edge, series) in &edges {
        info.edge(edge, &[verdict_word(series), &series.documented_by, &series.network], 1);
    }
    let mut first_seen = page.family(&catalogue::EDGE_FIRST_SEEN);
    for (edge, series) in &edges {
        if let Some(at) = series.first_at {
            first_seen.edge(edge, &[], at.as_seconds());
        }
    }
    let mut rtt = page.family(&catalogue::EDGE_RTT);
    for (edge, series) in &edges {
        if let Some(nanoseconds) = series.rtt_p50 {
            rtt.edge(edge, &[], portolan_flowtable::Timestamp(nanoseconds).as_seconds());
        }
    }
}

/// Returns the label every series has, as it stands between the braces: whose they are, wherever they are kept.
fn host_label(publication: &Publication) -> String {
    let mut text = String::new();
    let host = collect::label_text(&publication.vitals.host);
    write_labels(&mut text, std::iter::once((&catalogue::HOST, host.as_str())));
    text
}

/// Returns the labels all series of an edge have, as they stand between the braces.
fn labels_of(key: &EdgeKey) -> String {
    let EdgeKey { client, client_project, server, server_project, port, protocol } = key;
    let values = [client, client_project, server, server_project, port, protocol];
    let mut text = String::with_capacity(128);
    write_labels(&mut text, catalogue::EDGE.iter().zip(values.map(String::as_str)));
    text
}

/// Writes labels and their values, separated by commas.
fn write_labels<'v>(text: &mut String, labels: impl Iterator<Item = (&'v &'static str, &'v str)>) {
    for (position, (label, value)) in labels.enumerate() {
        if position > 0 {
            text.push(',');
        }
        text.push_str(label);
        text.push_str("=\"");
        text.push_str(&escape::label(value));
        text.push('"');
    }
}

fn verdict_word(series: &EdgeSeries) -> &'static str {
    series.verdict.map_or("mixed", |verdict| verdict.name())
}

fn write_judgement(page: &mut Page, publication: &Publication, memory: &EdgeMemory) {
    let mut containers = page.family(&catalogue::SERVICE_CONTAINERS);
    for ((project, service), count) in memory.containers(&publication.assessment.snapshot) {
        containers.sample(&[&service, &project], count);
    }
    write_indicators(page, publication);
    let mut listeners = page.family(&catalogue::LISTENER_INFO);
    for (service, project, port, protocol, class) in memory.listeners() {
        listeners.sample(&[service, project, port, protocol, class], 1);
    }
    let stand = |kind: FindingKind, severity: Severity| {
        let findings = publication.assessment.findings.iter();
        findings.filter(|finding| finding.kind == kind && finding.severity == severity).count()
    };
    let mut findings = page.family(&catalogue::FINDINGS);
    for (kind, severity) in kinds_and_severities() {
        findings.sample(&[kind.name(), severity.name()], stand(kind, severity));
    }
    page.family(&catalogue::FINDINGS_LEFT_OUT).sample(&[], publication.assessment.findings_left_out);
    let mut raised = page.family(&catalogue::FINDINGS_RAISED);
    for (kind, severity) in kinds_and_severities() {
        raised.sample(&[kind.name(), severity.name()], memory.raised(kind, severity));
    }
}

/// What containers use. Names that look the same are one label set: the first has it.
fn write_indicators(page: &mut Page, publication: &Publication) {
    let Some(round) = &publication.indicators else { return };
    let mut rows: BTreeMap<[String; 3], &Indicators> = BTreeMap::new();
    for reading in &round.readings {
        let labels = [&reading.container, &reading.service, &reading.project];
        rows.entry(labels.map(|name| collect::label_text(name))).or_insert(&reading.indicators);
    }
    let mut family = |metric: &'static Metric, value: fn(&Indicators) -> Option<String>| {
        let mut family = page.family(metric);
        for ([container, service, project], indicators) in &rows {
            if let Some(value) = value(indicators) {
                family.sample(&[container, service, project], value);
            }
        }
    };
    family(&catalogue::CONTAINER_MEMORY, |it| it.memory_bytes.map(|bytes| bytes.to_string()));
    family(&catalogue::CONTAINER_CPU, |it| {
        let nanoseconds = it.cpu_nanoseconds?;
        Some(format!("{}.{:09}", nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000))
    });
    family(&catalogue::CONTAINER_BLOCK_READ, |it| it.block_read_bytes.map(|bytes| bytes.to_string()));
    family(&catalogue::CONTAINER_BLOCK_WRITTEN, |it| it.block_written_bytes.map(|bytes| bytes.to_string()));
    family(&catalogue::CONTAINER_PIDS, |it| it.pids.map(|pids| pids.to_string()));
    let mut containers = page.family(&catalogue::INDICATORS_CONTAINERS);
    containers.sample(&["read"], round.readings.len());
    containers.sample(&["unanswered"], round.unanswered);
    containers.sample(&["left_out"], round.left_out);
}

fn kinds_and_severities() -> impl Iterator<Item = (FindingKind, Severity)> {
    let severities = |kind| words::SEVERITIES.into_iter().map(move |severity| (kind, severity));
    words::FINDING_KINDS.into_iter().flat_map(severities)
}

fn write_accounts(page: &mut Page, publication: &Publication, memory: &EdgeMemory) {
    let snapshot = &publication.assessment.snapshot;
    let vitals = &publication.vitals;
    let ledger = &snapshot.ledger;
    page.family(&catalogue::CAPTURE_FRAMES).sample(&[], ledger.delivered.frames);
    page.family(&catalogue::CAPTURE_BYTES).sample(&[], ledger.delivered.bytes);
    if let Some(dropped) = snapshot.kernel_dropped {
        page.family(&catalogue::CAPTURE_DROPPED).sample(&[], dropped);
    }
    let mut rejected = page.family(&catalogue::CAPTURE_REJECTED);
    rejected.sample(&["truncated"], ledger.truncated.frames);
    rejected.sample(&["malformed"], ledger.malformed.frames);
    rejected.sample(&["too_deep"], ledger.too_deep.frames);
    rejected.sample(&["unknown_link_type"], ledger.unknown_link_type.frames);
    let mut not_counted = page.family(&catalogue::CAPTURE_NOT_COUNTED);
    not_counted.sample(&["second_sighting"], ledger.second_sighting.frames);
    not_counted.sample(&["foreign"], ledger.foreign.frames);
    not_counted.sample(&["unknown_interface"], ledger.unknown_interface.frames);
    not_counted.sample(&["deselected"], ledger.deselected.frames);
    let mut non_ip = page.family(&catalogue::CAPTURE_NON_IP);
    non_ip.sample(&["arp"], ledger.arp.frames);
    non_ip.sample(&["other"], ledger.other_non_ip.frames);
    page.family(&catalogue::CAPTURE_HELD).sample(&[], ledger.held.frames);
    page.family(&catalogue::CAPTURE_BACKWARD).sample(&[], ledger.backward_steps);
    page.family(&catalogue::FLOWTABLE_METERED).sample(&[], ledger.metered.frames);
    page.family(&catalogue::FLOWTABLE_OVERFLOW).sample(&[], ledger.overflow.frames);
    page.family(&catalogue::FLOWTABLE_OPENED).sample(&[], ledger.flows_opened);
    page.family(&catalogue::FLOWTABLE_ENDED).sample(&[], ledger.flows_ended);
    page.family(&catalogue::FLOWTABLE_EVICTED).sample(&[], ledger.flows_evicted);
    page.family(&catalogue::FLOWTABLE_FOLDED).sample(&[], snapshot.conversations_folded);
    page.family(&catalogue::FLOWTABLE_WITHHELD).sample(&[], snapshot.withheld.frames);
    let mut messages = page.family(&catalogue::FLOWTABLE_DNS_MESSAGES);
    messages.sample(&["named"], vitals.dns.answers);
    messages.sample(&["unasked"], vitals.dns.unasked);
    messages.sample(&["cut"], vitals.dns.cut);
    messages.sample(&["malformed"], vitals.dns.malformed);
    messages.sample(&["missed"], vitals.dns.missed);
    page.family(&catalogue::FLOWTABLE_DNS_NAMES).sample(&[], vitals.dns.names);
    page.family(&catalogue::FLOWTABLE_DNS_EVICTED).sample(&[], vitals.dns.evicted);
    page.family(&catalogue::LEDGER_RESIDUAL_FRAMES).sample(&[], vitals.residual_frames);
    page.family(&catalogue::LEDGER_RESIDUAL_BYTES).sample(&[], vitals.residual_bytes);
    page.family(&catalogue::IDENTITY_EVENTS).sample(&[], vitals.docker_events);
    page.family(&catalogue::IDENTITY_LISTS).sample(&[], vitals.docker_lists);
    page.family(&catalogue::EXPORTER_FOLDED).sample(&[], memory.folded());
    page.family(&catalogue::EXPORTER_FLOWS_FORGOTTEN).sample(&[], vitals.flows_forgotten);
    page.family(&catalogue::TICKS).sample(&[], vitals.ticks);
}

struct Page {
    text: String,
    /// The label every series has.
    host: String,
}

impl Page {
    /// Begins a family. Its header is written with its first sample: an empty family is absent.
    fn family(&mut self, metric: &'static Metric) -> Family<'_> {
        Family { metric, text: &mut self.text, host: &self.host, is_begun: false }
    }
}

struct Family<'a> {
    metric: &'static Metric,
    text: &'a mut String,
    host: &'a str,
    is_begun: bool,
}

impl Family<'_> {
    /// Writes a series of an edge: `edge` holds the labels all of them have, `further` the values of those behind.
    fn edge(&mut self, edge: &str, further: &[&str], value: impl Display) {
        self.begin();
        self.text.push('{');
        self.text.push_str(self.host);
        self.text.push(',');
        self.text.push_str(edge);
        let rest = self.metric.labels.get(catalogue::EDGE.len()..).unwrap_or_default();
        if !rest.is_empty() {
            self.text.push(',');
        }
        write_labels(self.text, rest.iter().zip(further.iter().copied()));
        self.put(format_args!("}} {value}\n"));
    }

    fn sample(&mut self, values: &[&str], value: impl Display) {
        self.begin();
        self.text.push('{');
        self.text.push_str(self.host);
        if !self.metric.labels.is_empty() {
            self.text.push(',');
            write_labels(self.text, self.metric.labels.iter().zip(values.iter().copied()));
        }
        self.put(format_args!("}} {value}\n"));
    }

    fn begin(&mut self) {
        let Metric { name, kind, help, .. } = self.metric;
        if !self.is_begun {
            self.is_begun = true;
            self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.word()));
        }
        self.text.push_str(name);
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("a String never refuses text");
    }
}
