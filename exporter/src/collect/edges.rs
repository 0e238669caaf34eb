//! The edges of the latest publication, and which of them say something else than in the one before.
//!
//! A publication lists its conversations in the order of their first frames, so the next one repeats what this one has
//! and goes on. What is repeated is compared and nothing more: an edge is put together again where one of its
//! conversations says something else. Where the order is another (a name came late, a container went), or containers are
//! others, all is taken in anew; the result is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::{Discriminant, discriminant};
use std::net::IpAddr;
use std::sync::Arc;

use portolan_flowtable::{DocumentSource, Peer, ServicePort, Timestamp, Workload};
use portolan_policy::{Judged, Verdict};

use super::{EdgeKey, EdgeTotals, is_nameless, label_text};

/// Networks named on one edge; an attacker may make many.
const NETWORKS_MAX: usize = 4;

/// Conversations as they were said last, and the edges they make. Bounded by the conversations of a publication.
#[derive(Clone, Debug, Default)]
pub(super) struct Edges {
    rows: Vec<Row>,
    edges: Vec<Edge>,
    places: BTreeMap<Arc<EdgeKey>, usize>,
    workloads: Vec<Arc<Workload>>,
    changed: Vec<usize>,
}

/// One edge.
#[derive(Clone, Debug)]
struct Edge {
    key: Arc<EdgeKey>,
    rows: Vec<usize>,
    /// Whether an end has no name that could exist or cease to.
    is_nameless: bool,
    is_changed: bool,
}

/// One conversation: what decides which edge it is of, and what it adds to it.
#[derive(Clone, Debug)]
struct Row {
    initiator: Face,
    responder: Face,
    port: ServicePort,
    is_proven: bool,
    /// `None` for backscatter, which is no edge.
    edge: Option<usize>,
    said: Said,
}

/// Who an end is, as far as an edge's labels go.
#[derive(Clone, Debug)]
enum Face {
    /// A container, by what is known of it.
    Workload(Arc<Workload>),
    /// An address without a roster.
    Bare(IpAddr),
    /// What bears the name of its kind.
    Kind(Discriminant<Peer>),
}

#[derive(Clone, Debug)]
struct Said {
    totals: EdgeTotals,
    first_at: Timestamp,
    rtt_p50: Option<i64>,
    verdict: Verdict,
    documented_by: Option<DocumentSource>,
    network: String,
}

/// An edge as the latest publication shows it.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) totals: EdgeTotals,
    pub(super) first_at: Option<Timestamp>,
    pub(super) rtts: Vec<i64>,
    pub(super) verdict: Verdict,
    pub(super) documented_by: String,
    pub(super) networks: BTreeSet<String>,
    pub(super) is_documented: bool,
    pub(super) is_nameless: bool,
}

impl Edges {
    /// Takes in the conversations of a publication. Returns whether it had to be done anew.
    pub(super) fn take(&mut self, judged: &[Judged], workloads: &[Arc<Workload>]) -> bool {
        let is_anew = !self.goes_on(judged, workloads);
        if is_anew {
            *self = Self { workloads: workloads.to_vec(), ..Self::default() };
        }
        for (row, judged) in self.rows.iter_mut().zip(judged) {
            if row.said.is_said_by(judged) {
                continue;
            }
            row.said = Said::of(judged);
            if let Some((number, edge)) = row.edge.and_then(|at| Some((at, self.edges.get_mut(at)?)))
                && !std::mem::replace(&mut edge.is_changed, true)
            {
                self.changed.push(number);
            }
        }
        for judged in judged.get(self.rows.len()..).unwrap_or_default() {
            self.add(judged);
        }
        is_anew
    }

    /// Returns the numbers of all edges, or of those that changed since they were asked for last; by their keys.
    pub(super) fn take_changed(&mut self, are_all_wanted: bool) -> Vec<usize> {
        let mut changed = std::mem::take(&mut self.changed);
        for number in &changed {
            if let Some(edge) = self.edges.get_mut(*number) {
                edge.is_changed = false;
            }
        }
        if are_all_wanted {
            return self.places.values().copied().collect();
        }
        let key = |number: &usize| self.edges.get(*number).map(|edge| &edge.key);
        changed.sort_by(|one, other| key(one).cmp(&key(other)));
        changed
    }

    /// Returns whether there is an edge of this key.
    pub(super) fn has(&self, key: &EdgeKey) -> bool {
        self.places.contains_key(key)
    }

    /// Returns the keys of all edges, and whether an end is nameless.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&EdgeKey, bool)> {
        self.edges.iter().map(|edge| (edge.key.as_ref(), edge.is_nameless))
    }

    /// Puts an edge together; `None` where there is none of this number.
    pub(super) fn current(&self, number: usize) -> Option<(Arc<EdgeKey>, Current)> {
        let edge = self.edges.get(number)?;
        let mut rows = edge.rows.iter().filter_map(|row| self.rows.get(*row));
        let first = rows.next()?;
        let mut current = Current {
            totals: EdgeTotals::default(),
            first_at: None,
            rtts: Vec::new(),
            verdict: first.said.verdict,
            documented_by: String::new(),
            networks: BTreeSet::new(),
            is_documented: false,
            is_nameless: edge.is_nameless,
        };
        current.add(&first.said);
        rows.for_each(|row| current.add(&row.said));
        Some((Arc::clone(&edge.key), current))
    }

    /// Returns whether a publication begins with the conversations of the one before, between the same containers.
    fn goes_on(&self, judged: &[Judged], workloads: &[Arc<Workload>]) -> bool {
        let are_same = |(one, other): (&Arc<Workload>, &Arc<Workload>)| Arc::ptr_eq(one, other);
        self.rows.len() <= judged.len()
            && self.workloads.len() == workloads.len()
            && self.workloads.iter().zip(workloads).all(are_same)
            && self.rows.iter().zip(judged).all(|(row, judged)| row.is(judged))
    }

    fn add(&mut self, judged: &Judged) {
        let row = self.rows.len();
        let conversation = &judged.conversation;
        let edge = (judged.verdict != Verdict::Backscatter).then(|| {
            let key = EdgeKey::of(conversation);
            let number = self.places.get(&key).copied().unwrap_or_else(|| {
                let number = self.edges.len();
                let key = Arc::new(key);
                self.places.insert(Arc::clone(&key), number);
                let is_nameless =
                    is_nameless(&conversation.initiator) || is_nameless(&conversation.responder);
                self.edges.push(Edge { key, rows: Vec::new(), is_nameless, is_changed: false });
                number
            });
            if let Some(edge) = self.edges.get_mut(number) {
                edge.rows.push(row);
                if !std::mem::replace(&mut edge.is_changed, true) {
                    self.changed.push(number);
                }
            }
            number
        });
        self.rows.push(Row {
            initiator: Face::of(&conversation.initiator),
            responder: Face::of(&conversation.responder),
            port: conversation.port,
            is_proven: conversation.evidence.is_proof(),
            edge,
            said: Said::of(judged),
        });
    }
}

impl Row {
    /// Returns whether a conversation is of this row's edge.
    fn is(&self, judged: &Judged) -> bool {
        let conversation = &judged.conversation;
        self.initiator.is(&conversation.initiator)
            && self.responder.is(&conversation.responder)
            && self.port == conversation.port
            && self.is_proven == conversation.evidence.is_proof()
            && self.edge.is_none() == (judged.verdict == Verdict::Backscatter)
    }
}

impl Face {
    fn of(peer: &Peer) -> Self {
        match peer {
            Peer::Workload { workload, .. } => Self::Workload(Arc::clone(workload)),
            Peer::Bare { address } => Self::Bare(*address),
            Peer::Host { .. }
            | Peer::External { .. }
            | Peer::Unclaimed { .. }
            | Peer::Group { .. }
            | Peer::Ambiguous { .. } => Self::Kind(discriminant(peer)),
        }
    }

    fn is(&self, peer: &Peer) -> bool {
        match self {
            Self::Workload(known) => peer.workload().is_some_and(|workload| Arc::ptr_eq(known, workload)),
            Self::Bare(known) => matches!(peer, Peer::Bare { address } if address == known),
            Self::Kind(known) => discriminant(peer) == *known,
        }
    }
}

impl Said {
    fn of(judged: &Judged) -> Self {
        let conversation = &judged.conversation;
        Self {
            totals: EdgeTotals::of(conversation),
            first_at: conversation.first_at,
            rtt_p50: conversation.rtt_p50,
            verdict: judged.verdict,
            documented_by: judged.documented_by.clone(),
            network: conversation.network.clone(),
        }
    }

    fn is_said_by(&self, judged: &Judged) -> bool {
        let Self { totals, first_at, rtt_p50, verdict, documented_by, network } = self;
        let conversation = &judged.conversation;
        *totals == EdgeTotals::of(conversation)
            && *first_at == conversation.first_at
            && *rtt_p50 == conversation.rtt_p50
            && *verdict == judged.verdict
            && *documented_by == judged.documented_by
            && *network == conversation.network
    }
}

impl Current {
    fn add(&mut self, said: &Said) {
        self.totals = self.totals.combine(said.totals, u64::saturating_add);
        self.first_at = Some(self.first_at.map_or(said.first_at, |first| first.min(said.first_at)));
        self.rtts.extend(said.rtt_p50);
        if said.verdict.gravity() > self.verdict.gravity() {
            self.verdict = said.verdict;
        }
        if let Some(source) = &said.documented_by {
            self.is_documented = true;
            if self.documented_by.is_empty() {
                self.documented_by = label_text(&source.to_string());
            }
        }
        if !said.network.is_empty() && self.networks.len() < NETWORKS_MAX {
            self.networks.insert(label_text(&said.network));
        }
    }
}
