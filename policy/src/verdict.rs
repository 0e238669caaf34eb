//! Verdicts: one conversation held against what is documented.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portolan_flowtable::flow::Claim;
use portolan_flowtable::{
    Conversation, DocumentSource, DocumentedPort, Outcomes, Peer, Port, Protocol, ServicePort, Snapshot,
    Workload,
};

use crate::assessment::{FindingKind, Severity, Verdict};
use crate::baseline::{Baseline, learned};
use crate::contract::{Contract, Expected};
use crate::words;

/// Most port ranges of one service that are looked at; single ports are not limited. A label may list thousands.
const RANGES_MAX: usize = 256;
/// Most ports or names a line of text spells out.
const SPELLED_OUT_MAX: usize = 4;

/// What is documented for every service of one snapshot: by image, run, publication, label, roster and contract.
///
/// Replicas of a service share what is documented for any of them.
#[derive(Debug)]
pub struct Intent<'a> {
    contract: &'a Contract,
    baseline: Option<&'a Baseline>,
    services: BTreeMap<String, ServiceIntent>,
}

/// What is documented for one service.
#[derive(Debug, Default)]
pub(crate) struct ServiceIntent {
    pub(crate) project: String,
    /// Sorted by port; of the same port, the most deliberate source first.
    pub(crate) documented: Vec<DocumentedPort>,
    singles: BTreeMap<(Protocol, Port), usize>,
    ranges: Vec<usize>,
    /// Numbers of the contract's entries that speak of it.
    entries: BTreeSet<usize>,
    /// Whether somebody documented its ports, be it that there is none.
    is_declared: bool,
}

/// How a conversation stands, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Ruling {
    /// How it stands; of several charges, the gravest.
    pub verdict: Verdict,
    /// Who documents its port, the most deliberate source.
    pub documented_by: Option<DocumentSource>,
    /// What it gives rise to.
    pub charges: Vec<Charge>,
}

/// One thing a conversation is found at fault with.
#[derive(Clone, Debug, PartialEq)]
pub struct Charge {
    /// What kind of finding.
    pub kind: FindingKind,
    /// How grave, by this conversation alone.
    pub severity: Severity,
    /// What it was held against: `shop/cart documents 8080/tcp (image EXPOSE)`.
    pub against: String,
}

impl Ruling {
    fn plain(verdict: Verdict) -> Self {
        Self { verdict, documented_by: None, charges: Vec::new() }
    }
}

impl<'a> Intent<'a> {
    /// Collects what is documented for the workloads of a snapshot, ends of its conversations included.
    pub fn new(contract: &'a Contract, snapshot: &Snapshot) -> Self {
        let mut intent = Self { contract, baseline: None, services: BTreeMap::new() };
        let mut seen: BTreeSet<*const Workload> = BTreeSet::new();
        let ends = snapshot
            .conversations
            .iter()
            .flat_map(|conversation| [&conversation.initiator, &conversation.responder])
            .filter_map(Peer::workload);
        for workload in snapshot.workloads.iter().chain(ends) {
            // The same record is shared by most conversations of its container.
            if seen.insert(Arc::as_ptr(workload)) {
                intent.add(workload);
            }
        }
        for service in intent.services.values_mut() {
            service.index();
        }
        intent
    }

    /// Lets a baseline speak where neither contract nor documentation does.
    #[must_use]
    pub fn with_baseline(self, baseline: Option<&'a Baseline>) -> Self {
        Self { baseline, ..self }
    }

    fn add(&mut self, workload: &Workload) {
        let service = self.services.entry(workload.qualified()).or_default();
        service.project.clone_from(&workload.project);
        service.documented.extend(workload.documented.iter().cloned());
        for (number, entry) in self.contract.entries.iter().enumerate() {
            if entry.names(workload) && service.entries.insert(number) {
                service.documented.extend(entry.documented().cloned());
                service.is_declared |= entry.ports.is_some();
            }
        }
    }

    /// Returns every service by its machine name.
    pub(crate) fn services(&self) -> &BTreeMap<String, ServiceIntent> {
        &self.services
    }

    /// Judges one conversation. Total: every conversation gets a verdict.
    pub fn judge(&self, conversation: &Conversation) -> Ruling {
        match conversation.claim {
            Claim::Spoofed => return spoofed(conversation),
            Claim::Backscatter => return Ruling::plain(Verdict::Backscatter),
            Claim::Own | Claim::Unlisted => {}
        }
        let mut ruling = self.judge_roles(conversation);
        if conversation.claim == Claim::Unlisted {
            let address = conversation.claimed.as_deref().unwrap_or(&conversation.initiator).address();
            ruling.charges.push(Charge {
                kind: FindingKind::UnlistedSource,
                severity: Severity::Info,
                against: format!("nobody holds {address}"),
            });
        }
        ruling
    }

    fn judge_roles(&self, conversation: &Conversation) -> Ruling {
        if conversation.is_proxy_leg {
            return Ruling::plain(Verdict::Unjudged);
        }
        let is_named = |peer: &Peer| match peer {
            Peer::Unclaimed { .. } | Peer::Ambiguous { .. } => false,
            Peer::Workload { .. }
            | Peer::Host { .. }
            | Peer::External { .. }
            | Peer::Group { .. }
            | Peer::Bare { .. } => true,
        };
        let (initiator, responder) = (&conversation.initiator, &conversation.responder);
        // A group never opens anything, and without a roster there is nobody to judge.
        let is_bare = matches!(initiator, Peer::Bare { .. }) || matches!(responder, Peer::Bare { .. });
        if is_bare || matches!(responder, Peer::Group { .. }) {
            return Ruling::plain(Verdict::Unjudged);
        }
        if !conversation.evidence.is_proof() || !is_named(initiator) || !is_named(responder) {
            return Ruling::plain(Verdict::Unattributed);
        }
        let Some(workload) = responder.workload() else {
            return self.judge_by_baseline(conversation, Ruling::plain(Verdict::Unjudged), false);
        };
        if conversation.port.protocol.is_icmp() {
            return Ruling::plain(Verdict::Unjudged);
        }
        let name = workload.qualified();
        match self.services.get(&name) {
            Some(service) => {
                let ruling = self.judge_port_and_peer(conversation, &name, service);
                // A contract names the initiator, or lists others: it is allowed or denied.
                let is_decided = matches!(ruling.verdict, Verdict::Documented | Verdict::UnexpectedPeer);
                self.judge_by_baseline(conversation, ruling, is_decided)
            }
            None => Ruling::plain(Verdict::Unattributed),
        }
    }

    /// Lets the baseline speak where no contract `is_decided` about the initiator: what was forbidden in it holds
    /// against documentation; what it learned, or lacks, counts where nothing else decided.
    fn judge_by_baseline(&self, conversation: &Conversation, ruling: Ruling, is_decided: bool) -> Ruling {
        let Some(baseline) = self.baseline else { return ruling };
        if is_decided {
            return ruling;
        }
        learned::judge(&baseline.opinion_on(conversation), conversation, ruling)
    }

    fn judge_port_and_peer(
        &self,
        conversation: &Conversation,
        name: &str,
        service: &ServiceIntent,
    ) -> Ruling {
        let documented_by = service.documented_by(conversation.port).cloned();
        let mut charges = Vec::new();
        // A port that could not be read cannot be undocumented.
        let is_undocumented =
            service.is_declared && documented_by.is_none() && conversation.port.port.is_some();
        if is_undocumented && conversation.connections.answered > 0 {
            charges.push(Charge {
                kind: FindingKind::UndocumentedPort,
                severity: Severity::Medium,
                against: service.documents(name),
            });
        }
        let expectations = self.expectations(service, conversation.port);
        let is_expected = expectations
            .iter()
            .flat_map(|expected| &expected.initiators)
            .any(|written| written.initiator.is(&conversation.initiator));
        if !expectations.is_empty() && !is_expected {
            charges.push(Charge {
                kind: FindingKind::UnexpectedPeer,
                severity: peer_severity(&conversation.connections),
                against: lists(&expectations),
            });
        }
        let verdict = match charges.iter().max_by_key(|charge| charge.severity).map(|charge| charge.kind) {
            Some(FindingKind::UndocumentedPort) => Verdict::UndocumentedPort,
            Some(
                FindingKind::UnexpectedPeer
                | FindingKind::SpoofedSource
                | FindingKind::PortScan
                | FindingKind::HostSweep
                | FindingKind::SynFlood
                | FindingKind::UnlistedSource
                | FindingKind::StolenMac
                | FindingKind::NewEdge
                | FindingKind::ForbiddenEdge,
            ) => Verdict::UnexpectedPeer,
            None if !service.is_declared => Verdict::Undeclared,
            None if documented_by.is_some() && is_expected => Verdict::Documented,
            None => Verdict::Unjudged,
        };
        Ruling { verdict, documented_by, charges }
    }

    /// Returns the lists of initiators that apply to a port: those that speak of the port itself; where there is
    /// none, those of all entries for the service.
    fn expectations(&self, service: &ServiceIntent, port: ServicePort) -> Vec<&'a Expected> {
        let entries = || service.entries.iter().filter_map(|number| self.contract.entries.get(*number));
        let own: Vec<&Expected> = entries().flat_map(|entry| entry.expected_on(port)).collect();
        if own.is_empty() { entries().filter_map(|entry| entry.initiators.as_ref()).collect() } else { own }
    }
}

impl ServiceIntent {
    fn index(&mut self) {
        self.documented.sort_by(|a, b| {
            (a.protocol, a.first, a.last)
                .cmp(&(b.protocol, b.first, b.last))
                // A contract is more deliberate than a roster, and so on down to the image.
                .then_with(|| b.source.cmp(&a.source))
        });
        self.documented.dedup();
        self.is_declared |= !self.documented.is_empty();
        for (number, documented) in self.documented.iter().enumerate() {
            if documented.first == documented.last {
                self.singles.entry((documented.protocol, documented.first)).or_insert(number);
            } else if self.ranges.len() < RANGES_MAX {
                self.ranges.push(number);
            }
        }
    }

    /// Returns who documents `port`, the most deliberate source.
    pub(crate) fn documented_by(&self, port: ServicePort) -> Option<&DocumentSource> {
        let single = port.port.and_then(|number| self.singles.get(&(port.protocol, number)));
        let numbers = single.into_iter().chain(&self.ranges);
        numbers
            .filter_map(|number| self.documented.get(*number))
            .filter(|documented| documented.covers(port))
            .map(|documented| &documented.source)
            .max()
    }

    /// Returns whether no source documents any port of it, nor says that there is none.
    pub(crate) fn is_undeclared(&self) -> bool {
        !self.is_declared
    }

    /// Returns whether some of its ranges were too many to look at.
    pub(crate) fn has_ranges_left_out(&self) -> bool {
        let ranges = self.documented.iter().filter(|documented| documented.first != documented.last);
        ranges.count() > self.ranges.len()
    }

    /// Writes `shop/cart documents 8080/tcp (image EXPOSE)`.
    fn documents(&self, name: &str) -> String {
        let ports: Vec<String> = self
            .documented
            .iter()
            .map(|documented| format!("{} ({})", ports(documented), documented.source))
            .collect();
        format!("{name} documents {}", words::list(&ports, SPELLED_OUT_MAX, "no port"))
    }
}

/// Writes `8080/tcp` or `7000-7010/udp`.
fn ports(documented: &DocumentedPort) -> String {
    if documented.first == documented.last {
        format!("{}/{}", documented.first, documented.protocol)
    } else {
        format!("{}-{}/{}", documented.first, documented.last, documented.protocol)
    }
}

/// Raised low at attempted and high at answered.
fn peer_severity(connections: &Outcomes) -> Severity {
    if connections.answered > 0 { Severity::High } else { Severity::Low }
}

/// Writes `contract.toml:12 lists cart, reports`.
fn lists(expectations: &[&Expected]) -> String {
    let sentences: Vec<String> = expectations
        .iter()
        .map(|expected| {
            let names: Vec<String> = expected.initiators.iter().map(|written| written.text.clone()).collect();
            format!("{} lists {}", expected.place.line(), words::list(&names, SPELLED_OUT_MAX, "nobody"))
        })
        .collect();
    words::list(&sentences, SPELLED_OUT_MAX, "")
}

fn spoofed(conversation: &Conversation) -> Ruling {
    let by = conversation.initiator.workload().map_or_else(
        || "the interface its frames came in by".to_owned(),
        |workload| format!("veth of {}", workload.container),
    );
    Ruling {
        verdict: Verdict::SpoofedSource,
        documented_by: None,
        charges: vec![Charge { kind: FindingKind::SpoofedSource, severity: Severity::High, against: by }],
    }
}
