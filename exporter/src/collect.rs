//! What becomes of edges over time: which have series, what the series hold, and when they end.
//!
//! # Invariants
//!
//! - **No count of its own.** A series grows by exactly what its conversations grew between two publications, so
//!   a scrape and a graph of the same tick agree. Publications may be skipped: totals are cumulative.
//! - **Never backwards.** A conversation that shrinks or vanishes takes nothing back while the series lives.
//! - **By what changed.** A publication that goes on where the one before ended costs a comparison by conversation, and
//!   work by edge that says something else ([`edges`]). Taken in anew it gives the same.
//! - **Bounded.** At most [`SeriesLimits::edges_max`] edges have series; what is beyond is added up in `other`.

mod edges;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portolan_flowtable::{
    Conversation, DocumentSource, Outcomes, Peer, Port, Protocol, ServicePort, Snapshot, Tally, Timestamp,
};
use portolan_policy::{FindingKind, Severity, Verdict};

use edges::{Current, Edges};

use crate::escape;
use crate::publication::Publication;
use crate::words;

/// Most series, and how long they outlive their services.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SeriesLimits {
    /// Edges with series of their own; each has eleven or so.
    pub edges_max: usize,
    /// Undocumented ports of one client and server with series of their own, so that a port scan cannot push
    /// everybody else into `other`.
    pub undocumented_ports_per_pair_max: usize,
    /// Service ports listed.
    pub listeners_max: usize,
    /// How long an edge's series outlive its services' names, in seconds; containers that ended keep theirs 40 seconds.
    pub linger_seconds: u32,
}

impl Default for SeriesLimits {
    fn default() -> Self {
        Self {
            edges_max: 10_000,
            undocumented_ports_per_pair_max: 64,
            listeners_max: 10_000,
            linger_seconds: 60,
        }
    }
}

/// What an edge's series are labelled with. Names are visible text of bounded length.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct EdgeKey {
    /// Initiating service without its project, or a word.
    pub client: String,
    /// Its project, or empty.
    pub client_project: String,
    /// Responding service without its project, or a word.
    pub server: String,
    /// Its project, or empty.
    pub server_project: String,
    /// Service port; empty where the protocol has none.
    pub port: String,
    /// Protocol.
    pub protocol: String,
}

impl EdgeKey {
    /// Builds the key of a conversation.
    pub fn of(conversation: &Conversation) -> Self {
        let (client, client_project) = end(&conversation.initiator);
        let (server, server_project) = end(&conversation.responder);
        let is_ephemeral = conversation.port.port.is_some_and(Port::is_ephemeral);
        let port = if is_ephemeral && !conversation.evidence.is_proof() {
            "ephemeral".to_owned()
        } else {
            port_text(conversation.port)
        };
        let protocol = conversation.port.protocol.to_string();
        Self { client, client_project, server, server_project, port, protocol }
    }

    fn other() -> Self {
        Self {
            client: OTHER.to_owned(),
            client_project: String::new(),
            server: OTHER.to_owned(),
            server_project: String::new(),
            port: OTHER.to_owned(),
            protocol: OTHER.to_owned(),
        }
    }

    fn pair(&self) -> Self {
        Self { port: OTHER.to_owned(), protocol: OTHER.to_owned(), ..self.clone() }
    }

    fn is_same_pair(&self, other: &Self) -> bool {
        self.client == other.client
            && self.client_project == other.client_project
            && self.server == other.server
            && self.server_project == other.server_project
    }

    fn is_fold(&self) -> bool {
        self.protocol == OTHER
    }
}

/// No protocol is called so; no port either.
const OTHER: &str = "other";

/// What an edge has counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct EdgeTotals {
    /// Sent by the client.
    pub sent: Tally,
    /// Received by the client.
    pub received: Tally,
    /// How connections fared; `pending` stays 0.
    pub connections: Outcomes,
}

impl EdgeTotals {
    fn of(conversation: &Conversation) -> Self {
        let connections = Outcomes { pending: 0, ..conversation.connections };
        Self { sent: conversation.sent, received: conversation.received, connections }
    }

    fn combine(self, other: Self, with: fn(u64, u64) -> u64) -> Self {
        let tally = |one: Tally, two: Tally| Tally {
            frames: with(one.frames, two.frames),
            bytes: with(one.bytes, two.bytes),
        };
        let (one, two) = (self.connections, other.connections);
        Self {
            sent: tally(self.sent, other.sent),
            received: tally(self.received, other.received),
            connections: Outcomes {
                answered: with(one.answered, two.answered),
                refused: with(one.refused, two.refused),
                unanswered: with(one.unanswered, two.unanswered),
                blocked: with(one.blocked, two.blocked),
                pending: 0,
            },
        }
    }
}

/// The series of one edge.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeSeries {
    /// What it counted.
    pub totals: EdgeTotals,
    /// First frame's time; `None` before the first frame, and for folds.
    pub first_at: Option<Timestamp>,
    /// Median handshake round trip in nanoseconds.
    pub rtt_p50: Option<i64>,
    /// How it is judged; `None` for folds, which hold several judgements.
    pub verdict: Option<Verdict>,
    /// Who documents its port, or empty.
    pub documented_by: String,
    /// Networks it was seen in, sorted, separated by commas.
    pub network: String,
    /// End of its lease; renewed while both services exist.
    lease_until: Timestamp,
    /// Whether both services exist.
    is_living: bool,
    /// Whether an edge counts here that is there, with services that exist or ends without a name.
    is_counted: bool,
}

/// A service port and how it stands, as labels: service, project, port, protocol, class.
pub type ListenerLabels = (String, String, String, String, &'static str);

/// Everything a scrape needs to know about the past.
#[derive(Clone, Debug)]
pub struct EdgeMemory {
    limits: SeriesLimits,
    series: BTreeMap<EdgeKey, EdgeSeries>,
    /// The edges of the latest publication: where each counts, and what was already counted.
    sources: BTreeMap<Arc<EdgeKey>, Source>,
    edges: Edges,
    living: Living,
    listeners: BTreeSet<ListenerLabels>,
    listeners_folded: u64,
    folded: u64,
    standing: BTreeMap<String, Severity>,
    raised: BTreeMap<(FindingKind, Severity), u64>,
}

#[derive(Clone, Debug)]
struct Source {
    place: Place,
    counted: EdgeTotals,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Own,
    /// Too many undocumented ports between these two.
    Pair,
    /// Too many edges.
    Other,
}

impl EdgeMemory {
    /// Builds an empty memory.
    pub fn new(limits: SeriesLimits) -> Self {
        Self {
            limits,
            series: BTreeMap::new(),
            sources: BTreeMap::new(),
            edges: Edges::default(),
            living: Living::default(),
            listeners: BTreeSet::new(),
            listeners_folded: 0,
            folded: 0,
            standing: BTreeMap::new(),
            raised: BTreeMap::new(),
        }
    }

    /// Takes in one publication.
    pub fn turn(&mut self, publication: &Publication) {
        let snapshot = &publication.assessment.snapshot;
        let is_anew = self.edges.take(&publication.assessment.judged, &snapshot.workloads);
        if is_anew {
            self.living = Living::of(snapshot);
            self.note_who_lives();
        }
        if self.renew_leases(snapshot.at) {
            self.series.retain(|_, series| series.lease_until > snapshot.at);
        }
        for number in self.edges.take_changed(is_anew) {
            if let Some((key, edge)) = self.edges.current(number) {
                self.count(&key, &edge, snapshot.at);
            }
        }
        if is_anew {
            self.sources.retain(|key, _| self.edges.has(key));
        }
        self.start_documented_edges(publication, snapshot.at);
        self.list_listeners(publication);
        self.note_findings(publication);
    }

    /// Returns the edges with series, in order.
    pub fn series(&self) -> impl Iterator<Item = (&EdgeKey, &EdgeSeries)> {
        self.series.iter()
    }

    /// Returns how many edges and listeners were counted under `other` instead of having series.
    pub fn folded(&self) -> u64 {
        self.folded.saturating_add(self.listeners_folded)
    }

    /// Returns the service ports of the latest publication.
    pub fn listeners(&self) -> impl Iterator<Item = &ListenerLabels> {
        self.listeners.iter()
    }

    /// Counts the containers of each service, by project and service; of services beyond the most, together.
    pub(crate) fn containers(&self, snapshot: &Snapshot) -> BTreeMap<(String, String), u64> {
        let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
        for workload in &snapshot.workloads {
            let mut key = (label_text(&workload.project), label_text(&workload.service));
            if counts.len() >= self.limits.listeners_max && !counts.contains_key(&key) {
                key = (String::new(), OTHER.to_owned());
            }
            *counts.entry(key).or_default() += 1;
        }
        counts
    }

    /// Returns how often a finding of this kind and severity was raised.
    pub fn raised(&self, kind: FindingKind, severity: Severity) -> u64 {
        self.raised.get(&(kind, severity)).copied().unwrap_or(0)
    }

    /// Notes which series last as long as their services exist, and as edges count there.
    fn note_who_lives(&mut self) {
        for (key, series) in &mut self.series {
            series.is_living = self.living.has_both(key);
            series.is_counted = false;
        }
        for (key, is_nameless) in self.edges.keys() {
            if (is_nameless || self.living.has_both(key))
                && let Some(source) = self.sources.get(key)
                && let Some(series) = self.series.get_mut(source.place.series_key(key).as_ref())
            {
                series.is_counted = true;
            }
        }
    }

    /// Renews leases, and returns whether one is over.
    fn renew_leases(&mut self, at: Timestamp) -> bool {
        let until = self.lease(at);
        let mut has_expired = false;
        for series in self.series.values_mut() {
            if series.is_living || series.is_counted {
                series.lease_until = series.lease_until.max(until);
            }
            has_expired |= series.lease_until <= at;
        }
        has_expired
    }

    fn count(&mut self, key: &Arc<EdgeKey>, edge: &Current, at: Timestamp) {
        let known = self.sources.get(key.as_ref()).map(|source| (source.place, source.counted));
        let is_alive = |place: Place| self.series.contains_key(place.series_key(key).as_ref());
        let (place, counted) = match known {
            Some((place, counted)) if is_alive(place) => (place, counted),
            // Its services are gone and its lease is over; the conversation alone revives nothing.
            Some(_) if !self.living.has_both(key) => return,
            Some((_, counted)) => (self.admit(key, edge.is_documented), counted),
            None => (self.admit(key, edge.is_documented), EdgeTotals::default()),
        };
        let was_folded = known.is_some_and(|(place, _)| place != Place::Own);
        if place != Place::Own && !was_folded {
            self.folded = self.folded.saturating_add(1);
        }
        let series_key = place.series_key(key);
        if !self.series.contains_key(series_key.as_ref()) {
            let mut series = EdgeSeries::begin(place.lease(self.lease(at)));
            series.is_living = self.living.has_both(&series_key);
            self.series.insert(series_key.clone().into_owned(), series);
        }
        let is_lasting = edge.is_nameless || self.living.has_both(key);
        if let Some(series) = self.series.get_mut(series_key.as_ref()) {
            let growth = edge.totals.combine(counted, u64::saturating_sub);
            series.totals = series.totals.combine(growth, u64::saturating_add);
            series.is_counted |= is_lasting;
            if place == Place::Own {
                series.describe(edge);
            }
        }
        self.sources.insert(Arc::clone(key), Source { place, counted: edge.totals });
    }

    /// Decides where a new edge counts. What is decided stays, so that no count moves between series.
    fn admit(&self, key: &EdgeKey, is_documented: bool) -> Place {
        if self.series.contains_key(key) {
            return Place::Own;
        }
        if !is_documented {
            let first = EdgeKey { port: String::new(), protocol: String::new(), ..key.clone() };
            let siblings = self
                .series
                .range(first..)
                .take_while(|(sibling, _)| sibling.is_same_pair(key))
                .filter(|(sibling, series)| series.documented_by.is_empty() && !sibling.is_fold())
                .count();
            let pair_has_room = self.has_room() || self.series.contains_key(&key.pair());
            if siblings >= self.limits.undocumented_ports_per_pair_max && pair_has_room {
                return Place::Pair;
            }
        }
        if self.has_room() { Place::Own } else { Place::Other }
    }

    fn has_room(&self) -> bool {
        self.series.len() < self.limits.edges_max
    }

    fn start_documented_edges(&mut self, publication: &Publication, at: Timestamp) {
        let lease = self.lease(at);
        for (key, documented_by) in documented_edges(publication) {
            // Half of the series are kept for what is there, however much is documented.
            let has_room = self.series.len() < self.limits.edges_max / 2;
            if has_room
                && self.living.has_both(&key)
                && !self.series.contains_key(&key)
                && !self.sources.contains_key(&key)
            {
                let mut series = EdgeSeries::begin(lease);
                series.is_living = true;
                series.verdict = Some(Verdict::Documented);
                series.documented_by = documented_by;
                self.series.insert(key, series);
            }
        }
    }

    fn list_listeners(&mut self, publication: &Publication) {
        self.listeners.clear();
        let mut left_out = 0;
        for listener in &publication.assessment.listeners {
            let class = words::listener_class(listener.class);
            let service = without_project(&listener.service, &listener.project);
            let mut labels = (
                label_text(service),
                label_text(&listener.project),
                port_text(listener.port),
                listener.port.protocol.to_string(),
                class,
            );
            if self.listeners.len() >= self.limits.listeners_max && !self.listeners.contains(&labels) {
                left_out += 1;
                labels = (OTHER.to_owned(), String::new(), OTHER.to_owned(), OTHER.to_owned(), class);
            }
            self.listeners.insert(labels);
        }
        // The figure may not fall when services go, and must not grow by the same ones at every turn.
        self.listeners_folded = self.listeners_folded.max(left_out);
    }

    fn note_findings(&mut self, publication: &Publication) {
        let mut standing = BTreeMap::new();
        for finding in &publication.assessment.findings {
            if self.standing.get(&finding.id) != Some(&finding.severity)
                && !standing.contains_key(&finding.id)
            {
                *self.raised.entry((finding.kind, finding.severity)).or_default() += 1;
            }
            standing.insert(finding.id.clone(), finding.severity);
        }
        self.standing = standing;
    }

    fn lease(&self, at: Timestamp) -> Timestamp {
        at.plus(i64::from(self.limits.linger_seconds).saturating_mul(Timestamp::SECOND).max(1))
    }
}

impl Place {
    fn series_key(self, key: &EdgeKey) -> Cow<'_, EdgeKey> {
        match self {
            Self::Own => Cow::Borrowed(key),
            Self::Pair => Cow::Owned(key.pair()),
            Self::Other => Cow::Owned(EdgeKey::other()),
        }
    }

    fn lease(self, lease: Timestamp) -> Timestamp {
        match self {
            Self::Own | Self::Pair => lease,
            Self::Other => Timestamp(i64::MAX),
        }
    }
}

impl EdgeSeries {
    fn begin(lease_until: Timestamp) -> Self {
        Self {
            totals: EdgeTotals::default(),
            first_at: None,
            rtt_p50: None,
            verdict: None,
            documented_by: String::new(),
            network: String::new(),
            lease_until,
            is_living: false,
            is_counted: false,
        }
    }

    fn describe(&mut self, edge: &Current) {
        self.first_at = match (self.first_at, edge.first_at) {
            (Some(known), Some(seen)) => Some(known.min(seen)),
            (known, seen) => known.or(seen),
        };
        let mut rtts = edge.rtts.clone();
        rtts.sort_unstable();
        self.rtt_p50 = rtts.get(rtts.len().saturating_sub(1) / 2).copied().or(self.rtt_p50);
        self.verdict = Some(edge.verdict);
        self.documented_by.clone_from(&edge.documented_by);
        self.network = edge.networks.iter().map(String::as_str).collect::<Vec<_>>().join(",");
    }
}

/// The services that exist, by project.
#[derive(Clone, Debug, Default)]
struct Living {
    services: BTreeMap<String, BTreeSet<String>>,
}

impl Living {
    fn of(snapshot: &Snapshot) -> Self {
        let mut services: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for workload in &snapshot.workloads {
            let project = services.entry(label_text(&workload.project)).or_default();
            project.insert(label_text(&workload.service));
        }
        Self { services }
    }

    fn has_both(&self, key: &EdgeKey) -> bool {
        self.has(&key.client, &key.client_project) && self.has(&key.server, &key.server_project)
    }

    fn has(&self, service: &str, project: &str) -> bool {
        (project.is_empty() && matches!(service, "host" | "external" | "multicast"))
            || self.services.get(project).is_some_and(|services| services.contains(service))
    }
}

/// The edges that begin at 0: those the contract expects, and the outside's to every published port.
fn documented_edges(publication: &Publication) -> Vec<(EdgeKey, String)> {
    let expected = publication.documented_edges.iter().map(|edge| {
        let key = EdgeKey {
            client: label_text(&edge.client),
            client_project: label_text(&edge.client_project),
            server: label_text(&edge.server),
            server_project: label_text(&edge.server_project),
            port: port_text(edge.port),
            protocol: edge.port.protocol.to_string(),
        };
        (key, label_text(&edge.documented_by))
    });
    let published = publication.assessment.listeners.iter().filter_map(|listener| {
        let document = listener.documented.iter().find(|document| match &document.source {
            DocumentSource::Publish { .. } => true,
            DocumentSource::Image
            | DocumentSource::Run
            | DocumentSource::Swarm { .. }
            | DocumentSource::Compose { .. }
            | DocumentSource::Label { .. }
            | DocumentSource::Roster { .. }
            | DocumentSource::Contract { .. } => false,
        })?;
        let key = EdgeKey {
            client: "external".to_owned(),
            client_project: String::new(),
            server: label_text(without_project(&listener.service, &listener.project)),
            server_project: label_text(&listener.project),
            port: port_text(listener.port),
            protocol: listener.port.protocol.to_string(),
        };
        Some((key, label_text(&document.source.to_string())))
    });
    expected.chain(published).collect()
}

fn end(peer: &Peer) -> (String, String) {
    match peer {
        Peer::Workload { workload, .. } => (label_text(&workload.service), label_text(&workload.project)),
        Peer::Host { .. }
        | Peer::External { .. }
        | Peer::Unclaimed { .. }
        | Peer::Group { .. }
        | Peer::Ambiguous { .. }
        | Peer::Bare { .. } => (peer.service(), String::new()),
    }
}

fn is_nameless(peer: &Peer) -> bool {
    match peer {
        Peer::Unclaimed { .. } | Peer::Ambiguous { .. } | Peer::Bare { .. } => true,
        Peer::Workload { .. } | Peer::Host { .. } | Peer::External { .. } | Peer::Group { .. } => false,
    }
}

fn port_text(port: ServicePort) -> String {
    match port.port {
        Some(number) if port.protocol != Protocol::ICMP => number.to_string(),
        Some(_) | None => String::new(),
    }
}

fn without_project<'a>(service: &'a str, project: &str) -> &'a str {
    service.strip_prefix(project).and_then(|rest| rest.strip_prefix('/')).unwrap_or(service)
}

/// Longest label value, in characters.
const LABEL_MAX: usize = 128;

/// Makes a name fit for a label: visible and short. Keys are built from the result, so that two names that look
/// the same are one label set and not a duplicate.
pub(crate) fn label_text(name: &str) -> String {
    if name.len() <= LABEL_MAX && name.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return name.to_owned();
    }
    // A line feed has an escape of its own in the text format.
    let visible = name.split('\n').map(escape::terminal).collect::<Vec<_>>().join("\n");
    match visible.char_indices().nth(LABEL_MAX) {
        Some((cut, _)) => visible.get(..cut).unwrap_or_default().to_owned(),
        None => visible,
    }
}
