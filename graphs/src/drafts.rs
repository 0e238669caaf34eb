//! Edges in the making: conversations added up by who called whom at which port.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use portolan_flowtable::{Outcomes, ServicePort, Tally};
use portolan_policy::{Judged, Severity};

use crate::cast::{Cast, NodeAt};
use crate::graph::{Edge, NAMES_MAX, NodeKind, OTHER};

/// What makes two conversations the same edge.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Key<'a> {
    pub(crate) source: NodeAt,
    pub(crate) target: NodeAt,
    pub(crate) port: ServicePort,
    pub(crate) via: Option<&'a str>,
}

/// Drafts by key, of which there may be as many as conversations: keys hold places of nodes, and names are compared only
/// of those shown.
#[derive(Debug, Default)]
pub(crate) struct Drafts<'a> {
    places: BTreeMap<Key<'a>, usize>,
    drafts: Vec<Draft>,
}

impl<'a> Drafts<'a> {
    /// Returns the draft of an edge, begun with what was judged where there is none.
    pub(crate) fn of(&mut self, key: Key<'a>, judged: &Judged) -> &mut Draft {
        let next = self.drafts.len();
        let place = *self.places.entry(key).or_insert(next);
        if place == next {
            self.drafts.push(Draft::new(judged));
        }
        &mut self.drafts[place]
    }

    /// Makes one edge a protocol of all but `edges_max`, and returns how many it took in.
    pub(crate) fn fold(&mut self, edges_max: usize, cast: &mut Cast<'a>) -> u64 {
        if self.places.len() <= edges_max {
            return 0;
        }
        let mut ranked: Vec<(Key<'a>, usize)> = std::mem::take(&mut self.places).into_iter().collect();
        // Of equals, the first by name stays.
        ranked.sort_unstable_by(|(a, one), (b, other)| {
            let weight = |at: usize| Reverse(self.drafts.get(at).map(Draft::weight));
            weight(*one).cmp(&weight(*other)).then_with(|| cast.in_order(a, b))
        });
        let folded = ranked.split_off(edges_max);
        let count = u64::try_from(folded.len()).unwrap_or(u64::MAX);
        self.places = ranked.into_iter().collect();
        let other = cast.stand_in(OTHER, NodeKind::Other);
        for (key, at) in folded {
            let port = ServicePort { port: None, protocol: key.port.protocol };
            let key = Key { source: other, target: other, port, via: None };
            match self.places.get(&key).copied() {
                Some(known) => {
                    let more = self.drafts[at].clone();
                    self.drafts[known].swallow(more);
                }
                None => {
                    self.drafts[at].forget_ends();
                    self.places.insert(key, at);
                }
            }
        }
        count
    }

    /// Returns the edges to show, sorted by source, target, port and via.
    pub(crate) fn shown(&self, cast: &Cast<'_>) -> Vec<(Key<'a>, usize)> {
        let mut shown: Vec<(Key<'a>, usize)> = self.places.iter().map(|(key, at)| (*key, *at)).collect();
        shown.sort_unstable_by(|(a, _), (b, _)| cast.in_order(a, b));
        shown
    }

    /// Returns what was sent and received on an edge, in bytes.
    pub(crate) fn bytes(&self, at: usize) -> (u64, u64) {
        self.drafts.get(at).map_or((0, 0), |draft| (draft.edge.sent.bytes, draft.edge.received.bytes))
    }

    /// Draws the edges.
    pub(crate) fn finish(self, shown: Vec<(Key<'a>, usize)>, cast: &Cast<'_>) -> Vec<Edge> {
        let mut drafts: Vec<Option<Draft>> = self.drafts.into_iter().map(Some).collect();
        let edge = |(key, at): (Key<'a>, usize)| Some(drafts.get_mut(at)?.take()?.finish(key, cast));
        shown.into_iter().filter_map(edge).collect()
    }
}

/// An edge in the making.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    edge: Edge,
    documented_by: BTreeSet<String>,
    findings: BTreeSet<String>,
    names: BTreeSet<String>,
    rtts: Vec<(i64, u64)>,
}

impl Draft {
    fn new(judged: &Judged) -> Self {
        let conversation = &judged.conversation;
        Self {
            edge: Edge {
                id: String::new(),
                source: String::new(),
                target: String::new(),
                port: conversation.port,
                network: conversation.network.clone(),
                via: conversation.via.clone(),
                verdict: judged.verdict,
                documented_by: String::new(),
                findings: Vec::new(),
                severity: None,
                sent: Tally::default(),
                received: Tally::default(),
                connections: Outcomes::default(),
                rtt_p50: None,
                first_at: conversation.first_at,
                last_at: conversation.last_at,
                is_guess: true,
                is_proxy_leg: true,
                names: Vec::new(),
                names_left_out: 0,
            },
            documented_by: BTreeSet::new(),
            findings: BTreeSet::new(),
            names: BTreeSet::new(),
            rtts: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, judged: &Judged, severities: &BTreeMap<&str, Severity>) {
        let conversation = &judged.conversation;
        let edge = &mut self.edge;
        if edge.network != conversation.network {
            edge.network.clear();
        }
        if judged.verdict.gravity() > edge.verdict.gravity() {
            edge.verdict = judged.verdict;
        }
        edge.sent += conversation.sent;
        edge.received += conversation.received;
        add_outcomes(&mut edge.connections, &conversation.connections);
        edge.first_at = edge.first_at.min(conversation.first_at);
        edge.last_at = edge.last_at.max(conversation.last_at);
        edge.is_guess &= !conversation.evidence.is_proof();
        edge.is_proxy_leg &= conversation.is_proxy_leg;
        self.documented_by.extend(judged.documented_by.as_ref().map(ToString::to_string));
        for end in [&conversation.initiator, &conversation.responder] {
            self.names.extend(end.names().iter().map(|claim| claim.name.clone()));
        }
        if let Some(finding) = &judged.finding {
            edge.severity = edge.severity.max(severities.get(finding.as_str()).copied());
            self.findings.insert(finding.clone());
        }
        if let Some(rtt) = conversation.rtt_p50 {
            self.rtts.push((rtt, conversation.connections.answered.max(1)));
        }
    }

    /// Takes a whole edge in that is to be shown no longer.
    fn swallow(&mut self, other: Self) {
        let (edge, more) = (&mut self.edge, other.edge);
        if more.verdict.gravity() > edge.verdict.gravity() {
            edge.verdict = more.verdict;
        }
        edge.sent += more.sent;
        edge.received += more.received;
        add_outcomes(&mut edge.connections, &more.connections);
        edge.first_at = edge.first_at.min(more.first_at);
        edge.last_at = edge.last_at.max(more.last_at);
        edge.is_guess &= more.is_guess;
        edge.is_proxy_leg &= more.is_proxy_leg;
        edge.severity = edge.severity.max(more.severity);
    }

    /// Leaves only what an edge between everything else can tell.
    fn forget_ends(&mut self) {
        self.edge.network.clear();
        self.documented_by.clear();
        self.findings.clear();
        self.names.clear();
        self.rtts.clear();
    }

    /// What an edge is kept for where there are too many.
    fn weight(&self) -> (Option<Severity>, bool, u64) {
        let bytes = self.edge.sent.bytes.saturating_add(self.edge.received.bytes);
        (self.edge.severity, self.edge.verdict.is_finding(), bytes)
    }

    fn finish(mut self, key: Key<'_>, cast: &Cast<'_>) -> Edge {
        let (source, target) = (cast.id(key.source).to_owned(), cast.id(key.target).to_owned());
        Edge {
            id: edge_id(&source, &target, key.port, key.via),
            source,
            target,
            via: key.via.map(str::to_owned),
            port: key.port,
            documented_by: self.documented_by.into_iter().collect::<Vec<_>>().join(", "),
            findings: self.findings.into_iter().collect(),
            names_left_out: u64::try_from(self.names.len().saturating_sub(NAMES_MAX)).unwrap_or(u64::MAX),
            names: self.names.into_iter().take(NAMES_MAX).collect(),
            rtt_p50: weighted_median(&mut self.rtts),
            ..self.edge
        }
    }
}

/// Writes an edge's id.
pub(crate) fn edge_id(source: &str, target: &str, port: ServicePort, via: Option<&str>) -> String {
    let via = via.map(|via| format!(" via {via}")).unwrap_or_default();
    format!("{source} -> {target}:{port}{via}")
}

/// Returns the smallest value that at least half of the weight does not exceed.
fn weighted_median(values: &mut [(i64, u64)]) -> Option<i64> {
    values.sort_unstable();
    let all: u128 = values.iter().map(|(_, weight)| u128::from(*weight)).sum();
    let mut below: u128 = 0;
    values.iter().find_map(|(value, weight)| {
        below += u128::from(*weight);
        (below * 2 >= all).then_some(*value)
    })
}

pub(crate) fn add_outcomes(sum: &mut Outcomes, more: &Outcomes) {
    sum.answered = sum.answered.saturating_add(more.answered);
    sum.refused = sum.refused.saturating_add(more.refused);
    sum.unanswered = sum.unanswered.saturating_add(more.unanswered);
    sum.blocked = sum.blocked.saturating_add(more.blocked);
    sum.pending = sum.pending.saturating_add(more.pending);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_where_half_of_the_connections_do() {
        type Case<'a> = (&'a [(i64, u64)], Option<i64>);
        let cases: [Case<'_>; 5] = [
            (&[], None),
            (&[(7, 1)], Some(7)),
            (&[(100, 1), (1, 1)], Some(1)),
            (&[(1, 2), (100, 1_000), (5_000, 3)], Some(100)),
            (&[(1, u64::MAX), (2, u64::MAX), (3, u64::MAX)], Some(2)),
        ];
        for (values, expected) in cases {
            assert_eq!(weighted_median(&mut values.to_vec()), expected, "{values:?}");
        }
    }
}
