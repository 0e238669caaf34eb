//! Several hosts in one graph: what one host saw leave for a port that another publishes, and what that one saw come in,
//! are one edge.
//!
//! # Invariants
//!
//! - **Once.** A call that both hosts saw counts with what the caller's host saw; the called host's sightings are shown
//!   beside it ([`Crossing`]) and stand in no edge.
//! - **Nothing is guessed.** A call goes over only where exactly one other host has the address, exactly one container
//!   held the published port, and the caller's host is known by its own addresses. Everything else stays apart, and
//!   [`Apart`] says why.
//! - **Order is nothing.** A [`Fleet`] is a set of views: joining is commutative, associative and idempotent.
//! - **Names stay apart.** Whatever belongs to a host bears its name: `web-03:shop/web`, `web-03:host`. Outside of all
//!   hosts there is one `external`.

mod crossings;
mod rename;
mod told;

use std::collections::BTreeMap;
use std::net::IpAddr;

use portolan_flowtable::conversation::Snapshot;
use portolan_flowtable::{Completeness, Ledger, Peer, Tally, Timestamp};
use portolan_policy::{Assessment, Finding, Judged, Verdict};
use serde::Serialize;

use crate::cast::{Cast, prefixed};
use crate::drafts::edge_id;
use crate::graph::{EDGES_MAX, Graph, Group};
use crate::json::SCHEMA;
use crate::map::{Boxes, Map};
use crossings::{Crossings, Fate};
use rename::Renamed;

pub use told::*;

/// Most crossings and most notes about calls that stay apart that a merged graph lists; further ones are counted.
pub const ADDRESS_NOTES_MAX: usize = 5_000;

/// What one host saw, and by which addresses others reach it.
#[derive(Clone, Debug, PartialEq)]
pub struct HostView {
    /// The host's name.
    pub host: String,
    /// Its addresses outside container networks; empty where nobody said.
    pub addresses: Vec<IpAddr>,
    /// What it saw.
    pub assessment: Assessment,
}

/// Views of several hosts, one of each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fleet {
    views: BTreeMap<String, HostView>,
}

/// Two views of one host that differ.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "two different pictures of {host}, of {one} and of {other}: one picture a host; leave one out, or, if they are two \
     hosts, give them different names: a daemon is named after its machine (hostnamectl set-hostname NAME), a capture after \
     its file (rename it and replay it again)"
)]
pub struct SameHost {
    /// The host.
    pub host: String,
    /// When one was taken.
    pub one: Timestamp,
    /// When the other was.
    pub other: Timestamp,
}

/// What several hosts saw, as one.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// Everything, by names that bear their host's. Conversations that both hosts saw stand here twice: as the caller's
    /// host saw them, and, without figures, as the called host judged them.
    pub assessment: Assessment,
    /// Whom it is of, by name.
    pub hosts: Vec<MergedHost>,
    /// What called hosts saw of calls that count as their callers' hosts saw them: in no edge.
    pub seen_twice: Tally,
    crossings: Vec<Crossed>,
    apart: Vec<Apart>,
    notes_left_out: u64,
    /// The hosts of both ends of each conversation.
    ends: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Crossed {
    /// Number of the conversation.
    number: usize,
    crossing: Crossing,
}

/// The hosts of both ends of each conversation of an assessment; nothing for an assessment of one host.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hosts<'a>(&'a [(String, String)]);

impl<'a> Hosts<'a> {
    /// Returns the hosts of a conversation's initiator and responder, empty where there is only one.
    pub(crate) fn of(self, number: usize) -> (&'a str, &'a str) {
        self.0.get(number).map_or(("", ""), |(here, there)| (here, there))
    }
}

impl Fleet {
    /// Builds a fleet of one.
    pub fn of(mut view: HostView) -> Self {
        view.addresses = view.addresses.iter().map(IpAddr::to_canonical).filter(is_reachable).collect();
        view.addresses.sort_unstable();
        view.addresses.dedup();
        Self { views: BTreeMap::from([(view.host.clone(), view)]) }
    }

    /// Takes another fleet in. A view that both hold is held once.
    ///
    /// # Errors
    ///
    /// Returns the host of which they hold different views.
    pub fn join(mut self, other: Self) -> Result<Self, SameHost> {
        for (host, view) in other.views {
            match self.views.get(&host) {
                Some(known) if *known != view => {
                    let mut times = [known.assessment.snapshot.at, view.assessment.snapshot.at];
                    times.sort_unstable();
                    let [one, other] = times;
                    return Err(SameHost { host, one, other });
                }
                Some(_) => {}
                None => {
                    self.views.insert(host, view);
                }
            }
        }
        Ok(self)
    }

    /// Puts what all hosts saw together.
    pub fn merge(&self) -> Merged {
        let views: Vec<&HostView> = self.views.values().collect();
        let crossings = Crossings::among(&views);
        let mut merged = Merged {
            assessment: empty(&views),
            hosts: views.iter().map(|view| MergedHost::of(view)).collect(),
            seen_twice: Tally::default(),
            crossings: Vec::new(),
            apart: crossings.apart.clone(),
            notes_left_out: 0,
            ends: Vec::new(),
        };
        let mut renamed: Vec<Renamed> = views.iter().map(|view| Renamed::new(&view.host)).collect();
        for (at, view) in views.iter().enumerate() {
            if let Some(renamed) = renamed.get_mut(at) {
                renamed.take(view, &mut merged.assessment);
            }
            for (number, judged) in view.assessment.judged.iter().enumerate() {
                merged.take(&views, &mut renamed, &crossings, (at, number), judged);
            }
        }
        merged.assessment.findings.sort_by(|one, other| {
            let key = |finding: &Finding| (std::cmp::Reverse(finding.severity), finding.first_at);
            key(one).cmp(&key(other)).then_with(|| one.id.cmp(&other.id))
        });
        for list in [merged.apart.len(), merged.crossings.len()] {
            let left_out = list.saturating_sub(ADDRESS_NOTES_MAX) as u64;
            merged.notes_left_out = merged.notes_left_out.saturating_add(left_out);
        }
        merged.apart.truncate(ADDRESS_NOTES_MAX);
        merged.crossings.truncate(ADDRESS_NOTES_MAX);
        merged
    }
}

/// Returns whether others may reach a host by an address.
fn is_reachable(address: &IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || is_link_local)
}

impl Merged {
    /// Takes one conversation of a host in.
    fn take(
        &mut self,
        views: &[&HostView],
        renamed: &mut [Renamed],
        crossings: &Crossings,
        (at, number): (usize, usize),
        judged: &Judged,
    ) {
        let host = |at: usize| views.get(at).map_or_else(String::new, |view| view.host.clone());
        let mut own = match renamed.get_mut(at) {
            Some(renamed) => renamed.judged(judged),
            None => return,
        };
        match crossings.fates.get(&(at, number)) {
            None => self.push(own, host(at), host(at)),
            // It is in the caller's figures.
            Some(Fate::SeenByCaller) => {
                self.seen_twice += judged.conversation.sent + judged.conversation.received;
            }
            Some(Fate::FromHost(caller)) => {
                let address = judged.conversation.initiator.address();
                own.conversation.initiator = Peer::Host { address };
                let caller = host(*caller);
                own.decided_by = match own.decided_by.as_str() {
                    "" => format!("{address} is {caller}, and none of its containers was seen to call"),
                    line => {
                        format!("{line}; {address} is {caller}, and none of its containers was seen to call")
                    }
                };
                self.push(own, caller, host(at));
            }
            Some(Fate::Crosses(call)) => {
                let Some(there) = renamed.get_mut(call.called) else { return };
                let theirs: Vec<&Judged> = call
                    .seen
                    .iter()
                    .filter_map(|seen| views.get(call.called)?.assessment.judged.get(*seen))
                    .collect();
                let verdict = theirs.iter().fold(own.verdict, |verdict, seen| graver(verdict, seen.verdict));
                let at_caller = Sighting::of(&judged.conversation);
                let at_called =
                    theirs.iter().map(|seen| Sighting::of(&seen.conversation)).reduce(Sighting::with);
                let networks = theirs.iter().map(|seen| seen.conversation.network.as_str()).collect();
                own.conversation.initiator =
                    rename::on_network(&own.conversation.initiator, &own.conversation.network);
                own.conversation.responder = Peer::Workload {
                    workload: there.on_networks(&call.workload, &networks),
                    address: call.address,
                };
                own.conversation.port = call.port;
                own.conversation.via = Some(format!("host:{}", call.published));
                own.conversation.network = String::new();
                own.verdict = verdict;
                let beside: Vec<Judged> = theirs.iter().map(|seen| there.beside(&own, seen)).collect();
                self.crossings.push(Crossed {
                    number: self.assessment.judged.len(),
                    crossing: Crossing {
                        edge: String::new(),
                        caller_host: host(at),
                        called_host: host(call.called),
                        address: call.address,
                        published: call.published,
                        at_caller,
                        at_called,
                        shared_by: call.shared_by,
                    },
                });
                self.push(own, host(at), host(call.called));
                for seen in beside {
                    self.push(seen, host(at), host(call.called));
                }
            }
        }
    }

    fn push(&mut self, judged: Judged, here: String, there: String) {
        self.assessment.judged.push(judged);
        self.ends.push((here, there));
    }

    /// Draws the graph of all hosts.
    pub fn graph(&self, group: Group) -> Graph {
        Graph::draw_hosts(&self.assessment, group, EDGES_MAX, Hosts(&self.ends))
    }

    /// Draws the map of a graph that was drawn of this.
    pub fn map(&self, graph: Graph, boxes: Boxes) -> Map {
        Map::of_hosts(graph, &self.assessment, boxes, Hosts(&self.ends))
    }

    /// Returns the calls from host to host at a grouping, in the order of their callers' hosts and first frames.
    pub fn crossings(&self, group: Group) -> Vec<Crossing> {
        let mut cast = Cast::new(group);
        let edge = |crossed: &Crossed| {
            let conversation = &self.assessment.judged.get(crossed.number)?.conversation;
            let (here, there) = Hosts(&self.ends).of(crossed.number);
            let source = cast.meet_on(here, &conversation.initiator, &conversation.network);
            let target = cast.meet_on(there, &conversation.responder, &conversation.network);
            let via = conversation.via.as_deref();
            Some(edge_id(cast.id(source), cast.id(target), conversation.port, via))
        };
        let edges: Vec<Option<String>> = self.crossings.iter().map(edge).collect();
        let named = self.crossings.iter().zip(edges);
        named
            .map(|(crossed, edge)| Crossing { edge: edge.unwrap_or_default(), ..crossed.crossing.clone() })
            .collect()
    }

    /// Returns what stays apart, and why.
    pub fn apart(&self) -> &[Apart] {
        &self.apart
    }

    /// Writes the graph as [`Graph::to_json`] does, with `hosts`, `crossings` and `apart` beside.
    ///
    /// # Errors
    ///
    /// None that this type can cause.
    pub fn to_json(&self, graph: &Graph) -> Result<String, serde_json::Error> {
        #[derive(Serialize)]
        struct Form<'a> {
            schema: u32,
            #[serde(flatten)]
            graph: &'a Graph,
            hosts: &'a [MergedHost],
            seen_twice: Tally,
            crossings: Vec<Crossing>,
            apart: &'a [Apart],
            notes_left_out: u64,
        }
        serde_json::to_string(&Form {
            schema: SCHEMA,
            graph,
            hosts: &self.hosts,
            seen_twice: self.seen_twice,
            crossings: self.crossings(graph.group),
            apart: &self.apart,
            notes_left_out: self.notes_left_out,
        })
    }
}

/// Returns what is said of a call that two hosts judged: the graver word, but that the end is outside is no reason to leave
/// it unjudged where the host of that end has judged it.
fn graver(one: Verdict, other: Verdict) -> Verdict {
    match (one, other) {
        (Verdict::Unjudged, known) | (known, Verdict::Unjudged) => known,
        (one, other) if other.gravity() > one.gravity() => other,
        (one, _) => one,
    }
}

/// Adds what files count; stops at the top, as anybody may write a file.
fn total(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

/// An assessment of all hosts' span, that holds nothing yet.
fn empty(views: &[&HostView]) -> Assessment {
    let snapshots = || views.iter().map(|view| &view.assessment.snapshot);
    let contracts: Vec<String> =
        views.iter().map(|view| prefixed(&view.host, &view.assessment.contract)).collect();
    Assessment {
        snapshot: Snapshot {
            at: snapshots().map(|it| it.at).max().unwrap_or_default(),
            from: snapshots().map(|it| it.from).min().unwrap_or_default(),
            conversations: Vec::new(),
            ledger: Ledger::default(),
            kernel_dropped: snapshots()
                .map(|it| it.kernel_dropped)
                .try_fold(0_u64, |sum, it| Some(sum.saturating_add(it?))),
            completeness: completeness(views),
            has_roster: snapshots().any(|it| it.has_roster),
            workloads: Vec::new(),
            listening: BTreeMap::new(),
            published: Vec::new(),
            stale: None,
            withheld: snapshots().fold(Tally::default(), |sum, it| sum + it.withheld),
            conversations_folded: total(snapshots().map(|it| it.conversations_folded)),
            thefts: Vec::new(),
            sweeps: Vec::new(),
        },
        judged: Vec::new(),
        findings: Vec::new(),
        findings_left_out: total(views.iter().map(|view| view.assessment.findings_left_out)),
        listeners: Vec::new(),
        listening_not_checked: Vec::new(),
        exposures: Vec::new(),
        joins: Vec::new(),
        joins_left_out: total(views.iter().map(|view| view.assessment.joins_left_out)),
        undeclared: Vec::new(),
        rules: Vec::new(),
        warnings: Vec::new(),
        contract: contracts.join("; "),
    }
}

/// Complete where every host's picture is; else what is missing where, and unknown where anything is.
fn completeness(views: &[&HostView]) -> Completeness {
    let (mut all, mut holes, mut undated, mut unknown) = (Vec::new(), Vec::new(), false, false);
    for view in views {
        match &view.assessment.snapshot.completeness {
            Completeness::Complete => {}
            Completeness::Incomplete { reasons, blind, is_undated } => {
                all.extend(reasons.iter().map(|reason| prefixed(&view.host, &format!(" {reason}"))));
                holes.extend(blind.iter().cloned());
                undated |= is_undated;
            }
            Completeness::Unknown { reasons } => {
                all.extend(reasons.iter().map(|reason| prefixed(&view.host, &format!(" {reason}"))));
                unknown = true;
            }
        }
    }
    match (unknown, all.is_empty() && holes.is_empty() && !undated) {
        (true, _) => Completeness::Unknown { reasons: all },
        (false, true) => Completeness::Complete,
        (false, false) => Completeness::Incomplete { reasons: all, blind: holes, is_undated: undated },
    }
}
