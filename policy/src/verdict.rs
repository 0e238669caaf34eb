//! Verdicts: one conversation held against what is documented.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portolan_flowtable::flow::Claim;
use portolan_flowtable::{
    Conversation, DocumentSource, DocumentedPort, Outcomes, Peer, Port, Protocol, ServicePort, Snapshot,
    Timestamp, Workload,
};

use crate::assessment::{FindingKind, Severity, Verdict};
use crate::baseline::{Baseline, learned};
use crate::compose::Word;
use crate::contract::{Contract, Expected};
use crate::rules::{Action, Mode};
use crate::{standard, words};

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
    at: Timestamp,
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
    /// How findings about it are treated, where a contract says.
    pub(crate) mode: Option<Mode>,
    /// Whether compose files were not asked yet.
    is_new: bool,
    /// What has to be resolved before its intent is known: `compose.yaml:3: a variable in "ports"`.
    pub(crate) unresolved: Vec<String>,
}

/// How a conversation stands, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Ruling {
    /// How it stands; of several charges, the gravest.
    pub verdict: Verdict,
    /// Who documents its port, the most deliberate source.
    pub documented_by: Option<DocumentSource>,
    /// The line that decided, or why nothing did.
    pub decided_by: String,
    /// Number of the rule that decided, if one did.
    pub(crate) rule: Option<usize>,
    /// Whether standard rules have nothing to say: it cannot be judged, or is not to be.
    pub(crate) is_left_alone: bool,
    /// Whether somebody wrote that this initiator may call: a contract or a compose file.
    pub(crate) is_expected: bool,
    /// Whether a contract says who may call, this initiator or others.
    pub(crate) is_contracts: bool,
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
    fn left_alone(why: &str) -> Self {
        Self { is_left_alone: true, ..Self::plain(Verdict::Unjudged, why) }
    }

    fn plain(verdict: Verdict, why: &str) -> Self {
        let decided_by = why.to_owned();
        Self {
            verdict,
            documented_by: None,
            decided_by,
            rule: None,
            is_left_alone: false,
            is_expected: false,
            is_contracts: false,
            charges: Vec::new(),
        }
    }
}

impl<'a> Intent<'a> {
    /// Collects what is documented for the workloads of a snapshot, ends of its conversations included.
    pub fn new(contract: &'a Contract, snapshot: &Snapshot) -> Self {
        let ends = snapshot
            .conversations
            .iter()
            .flat_map(|conversation| [&conversation.initiator, &conversation.responder])
            .filter_map(Peer::workload);
        Self::of(contract, snapshot.at, snapshot.workloads.iter().chain(ends))
    }

    /// Collects what is documented for workloads, at a time.
    pub(crate) fn of<'w>(
        contract: &'a Contract,
        at: Timestamp,
        workloads: impl Iterator<Item = &'w Arc<Workload>>,
    ) -> Self {
        let mut intent = Self { contract, baseline: None, services: BTreeMap::new(), at };
        let mut seen: BTreeSet<*const Workload> = BTreeSet::new();
        for workload in workloads {
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
        let service = self
            .services
            .entry(workload.qualified())
            .or_insert_with(|| ServiceIntent { is_new: true, ..ServiceIntent::default() });
        service.project.clone_from(&workload.project);
        service.documented.extend(workload.documented.iter().cloned());
        if service.is_new {
            service.is_new = false;
            let compose = &self.contract.compose;
            service.documented.extend(compose.documented(&workload.project, &workload.service));
            service.unresolved = compose.unresolved(&workload.project, &workload.service);
        }
        for (number, entry) in self.contract.entries.iter().enumerate() {
            if entry.names(workload) && service.entries.insert(number) {
                service.documented.extend(entry.documented().cloned());
                service.is_declared |= entry.ports.is_some();
                // The first word counts.
                service.mode = service.mode.or(entry.mode.as_ref().map(|(mode, _)| *mode));
            }
        }
    }

    /// Returns every service by its machine name.
    pub(crate) fn services(&self) -> &BTreeMap<String, ServiceIntent> {
        &self.services
    }

    /// Judges one conversation. Total: every conversation gets a verdict. Who documents its port is on record whatever decided,
    /// though the sender be forged or the call denied.
    pub fn judge(&self, conversation: &Conversation) -> Ruling {
        let mut ruling = self.decide(conversation);
        if ruling.documented_by.is_none()
            && let Some(responder) = conversation.responder.workload()
        {
            let service = self.services.get(&responder.qualified());
            ruling.documented_by = service.and_then(|it| it.documented_by(conversation.port)).cloned();
        }
        ruling
    }

    fn decide(&self, conversation: &Conversation) -> Ruling {
        match conversation.claim {
            Claim::Spoofed => return spoofed(conversation),
            Claim::Backscatter => {
                return Ruling::plain(
                    Verdict::Backscatter,
                    "an answer that somebody else's forgery provoked",
                );
            }
            Claim::Own | Claim::Unlisted => {}
        }
        let mut ruling = self.judge_roles(conversation);
        match ruling.verdict {
            Verdict::Documented
            | Verdict::Unjudged
            | Verdict::Undeclared
            | Verdict::UnexpectedPeer
            | Verdict::UndocumentedPort
            | Verdict::Learned
            | Verdict::NewEdge
            | Verdict::Forbidden
                if !ruling.is_left_alone =>
            {
                ruling.charges.extend(standard::charges(
                    self.contract,
                    conversation,
                    ruling.verdict,
                    ruling.is_expected,
                ));
                ruling.charges.extend(standard::metadata(conversation));
            }
            Verdict::Unattributed => ruling.charges.extend(standard::metadata(conversation)),
            Verdict::Documented
            | Verdict::Unjudged
            | Verdict::Undeclared
            | Verdict::UnexpectedPeer
            | Verdict::UndocumentedPort
            | Verdict::Learned
            | Verdict::NewEdge
            | Verdict::Forbidden
            | Verdict::Allowed
            | Verdict::Denied
            | Verdict::SpoofedSource
            | Verdict::Backscatter => {}
        }
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
            return Ruling::left_alone("the host's or docker-proxy's leg towards a published port");
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
        if is_bare {
            return Ruling::left_alone("nobody says which address belongs to whom");
        }
        let is_group = matches!(responder, Peer::Group { .. });
        if !is_group && (!is_named(initiator) || !is_named(responder)) {
            return Ruling::plain(Verdict::Unattributed, "an end could not be named");
        }
        if !is_group && !conversation.evidence.is_proof() {
            return Ruling::plain(Verdict::Unattributed, "who called whom is a guess");
        }
        let service = responder.workload().and_then(|workload| self.services.get(&workload.qualified()));
        let mode = service.and_then(|service| service.mode).unwrap_or_default();
        if mode == Mode::Off {
            return Ruling::left_alone("the service's mode is off");
        }
        if let Some(ruling) = self.by_rule(Action::Deny, conversation) {
            return ruling;
        }
        if let Some(ruling) = self.by_rule(Action::Allow, conversation) {
            return ruling;
        }
        let ruling = match (responder.workload(), service) {
            (Some(_), _) if conversation.port.protocol.is_icmp() => {
                Ruling::plain(Verdict::Unjudged, "its protocol has no ports")
            }
            (Some(workload), Some(service)) => {
                let ruling = self.judge_port_and_peer(conversation, &workload.qualified(), service);
                // A contract names the initiator, or lists others: it is allowed or denied.
                let is_decided = ruling.is_contracts;
                self.judge_by_baseline(conversation, ruling, is_decided)
            }
            (Some(_), None) => Ruling::plain(Verdict::Unattributed, "nothing is known of the service"),
            (None, _) => {
                let ruling = Ruling::plain(Verdict::Unjudged, "nothing says what it may be called for");
                self.judge_by_baseline(conversation, ruling, is_group)
            }
        };
        let ruling = match mode {
            Mode::Learn if !ruling.charges.is_empty() => Ruling::left_alone("the service's mode is learn"),
            Mode::Learn => Ruling { is_left_alone: true, ..ruling },
            Mode::Monitor | Mode::Enforce | Mode::Off => ruling,
        };
        // Where no port is documented, an initiator that is expected is all that can be.
        let is_undecided = ruling.verdict == Verdict::Unjudged
            || (ruling.verdict == Verdict::Undeclared && !ruling.is_expected);
        let is_open = ruling.charges.is_empty() && is_undecided;
        if is_open && mode != Mode::Learn { self.by_default(conversation).unwrap_or(ruling) } else { ruling }
    }

    fn by_rule(&self, action: Action, conversation: &Conversation) -> Option<Ruling> {
        let (number, rule) = self.contract.rules.gravest(action, conversation, self.at)?;
        let says = rule.says();
        let source = DocumentSource::Contract { place: rule.place.line() };
        Some(match action {
            Action::Deny => denied(conversation, &says, rule.severity, Some(number)),
            Action::Allow => Ruling {
                verdict: Verdict::Allowed,
                documented_by: Some(source),
                decided_by: says,
                rule: Some(number),
                is_left_alone: true,
                is_expected: false,
                is_contracts: false,
                charges: Vec::new(),
            },
        })
    }

    fn by_default(&self, conversation: &Conversation) -> Option<Ruling> {
        let (relation, default) = self.contract.rules.default_of(conversation)?;
        let says =
            format!("{}: {} is {} by default", default.place.line(), relation.name(), default.action.name());
        Some(match default.action {
            Action::Deny => denied(conversation, &says, Severity::Medium, None),
            Action::Allow => Ruling::plain(Verdict::Allowed, &says),
        })
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
        // What a source would say that could not be read may be just this port.
        if is_undocumented && conversation.connections.answered > 0 && service.unresolved.is_empty() {
            charges.push(Charge {
                kind: FindingKind::UndocumentedPort,
                severity: Severity::Medium,
                against: service.documents(name),
            });
        }
        let expectations = self.expectations(service, conversation.port);
        let expecting = expectations.iter().find(|expected| {
            expected.initiators.iter().any(|written| written.initiator.is(&conversation.initiator))
        });
        let mut expected_by = expecting.map(|expected| expected.place.line());
        if expectations.is_empty() {
            match self.compose_says(conversation) {
                Word::Expected(place) => expected_by = Some(place),
                Word::Unexpected(against) => charges.push(Charge {
                    kind: FindingKind::UnexpectedPeer,
                    severity: peer_severity(&conversation.connections),
                    against,
                }),
                Word::Silent => {}
            }
        } else if expected_by.is_none() {
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
                | FindingKind::Denied
                | FindingKind::UndocumentedListener
                | FindingKind::UnusedExposure
                | FindingKind::ForeignDatabase
                | FindingKind::DockerApi
                | FindingKind::CloudMetadata
                | FindingKind::InternalOutbound
                | FindingKind::ForeignResolver
                | FindingKind::CleartextAdmin
                | FindingKind::PortScan
                | FindingKind::HostSweep
                | FindingKind::SynFlood
                | FindingKind::UnlistedSource
                | FindingKind::StolenMac
                | FindingKind::Beaconing
                | FindingKind::PasswordGuessing
                | FindingKind::UnusualLevel
                | FindingKind::NewEdge
                | FindingKind::ForbiddenEdge,
            ) => Verdict::UnexpectedPeer,
            None if !service.is_declared => Verdict::Undeclared,
            None if documented_by.is_some() && expected_by.is_some() => Verdict::Documented,
            None => Verdict::Unjudged,
        };
        let gravest =
            charges.iter().max_by_key(|charge| charge.severity).map(|charge| charge.against.clone());
        let decided_by = gravest.unwrap_or_else(|| match (&expected_by, &documented_by) {
            (Some(place), Some(source)) => format!("{place} expects it; port: {source}"),
            (Some(place), None) => format!("{place} expects it; nothing documents the port"),
            (None, _) if !service.unresolved.is_empty() => "intent incomplete".to_owned(),
            (None, Some(source)) => format!("nothing says who may call; port: {source}"),
            (None, None) => "nothing documents any port of it".to_owned(),
        });
        Ruling {
            verdict,
            documented_by,
            decided_by,
            rule: None,
            is_left_alone: false,
            is_expected: expected_by.is_some(),
            is_contracts: !expectations.is_empty(),
            charges,
        }
    }

    /// Says what compose files say of two ends, where no contract names who may call.
    fn compose_says(&self, conversation: &Conversation) -> Word {
        let Some(responder) = conversation.responder.workload() else { return Word::Silent };
        let compose = &self.contract.compose;
        match &conversation.initiator {
            // Replicas of one service may talk to each other: no file speaks of it.
            Peer::Workload { workload, .. } if workload.qualified() == responder.qualified() => Word::Silent,
            Peer::Workload { workload, .. } => compose
                .joins((&workload.project, &workload.service), (&responder.project, &responder.service)),
            Peer::External { .. } if conversation.via.is_some() => {
                compose.publishes(&responder.project, &responder.service, conversation.port)
            }
            Peer::External { .. }
            | Peer::Host { .. }
            | Peer::Unclaimed { .. }
            | Peer::Group { .. }
            | Peer::Ambiguous { .. }
            | Peer::Bare { .. } => Word::Silent,
        }
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
    pub(crate) fn documents(&self, name: &str) -> String {
        let ports: Vec<String> = self
            .documented
            .iter()
            .map(|documented| format!("{} ({})", ports(documented), documented.source))
            .collect();
        format!("{name} documents {}", words::list(&ports, SPELLED_OUT_MAX, "no port"))
    }
}

/// Writes `8080/tcp` or `7000-7010/udp`.
pub(crate) fn ports(documented: &DocumentedPort) -> String {
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

/// Raised low where nobody answered.
fn denied(conversation: &Conversation, says: &str, severity: Severity, rule: Option<usize>) -> Ruling {
    let severity = if conversation.connections.answered > 0 { severity } else { severity.min(Severity::Low) };
    Ruling {
        verdict: Verdict::Denied,
        documented_by: None,
        decided_by: says.to_owned(),
        rule,
        is_left_alone: true,
        is_expected: false,
        is_contracts: false,
        charges: vec![Charge { kind: FindingKind::Denied, severity, against: says.to_owned() }],
    }
}

fn spoofed(conversation: &Conversation) -> Ruling {
    let by = conversation.initiator.workload().map_or_else(
        || "the interface its frames came in by".to_owned(),
        |workload| format!("veth of {}", workload.container),
    );
    Ruling {
        verdict: Verdict::SpoofedSource,
        documented_by: None,
        decided_by: by.clone(),
        rule: None,
        is_left_alone: true,
        is_expected: false,
        is_contracts: false,
        charges: vec![Charge { kind: FindingKind::SpoofedSource, severity: Severity::High, against: by }],
    }
}
