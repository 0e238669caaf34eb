//! Rules: what is denied or allowed outright, whatever is documented, and what holds where nobody said anything.
//!
//! The order of a verdict: an explicit deny, an explicit allow, documented intent, the default of the relation. Of several
//! rules that deny, the gravest is named, and of those the first one as written; of several that allow, the first.

use std::collections::BTreeMap;
use std::net::IpAddr;

use portolan_flowtable::{Conversation, Peer, Port, Protocol, ServicePort, Snapshot, Timestamp};
use serde::{Deserialize, Serialize};

use crate::assessment::{Finding, FindingKind, Severity};
use crate::contract::{Place, Written};
use crate::icmp::{self, IcmpPattern};
use crate::selector::Initiator;

/// What a rule says.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It must not happen.
    Deny,
    /// It may, whatever is documented.
    Allow,
}

impl Action {
    /// Returns its name: `deny`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
        }
    }
}

/// How two ends stand to each other.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// Containers of one project, or of none, with a network in common.
    SameNetwork,
    /// Containers of one project without one.
    SameProject,
    /// Containers of different projects.
    OtherProject,
    /// From outside to a container or the host.
    FromExternal,
    /// To the outside.
    ToExternal,
    /// The host and a container.
    Host,
    /// To a group of addresses.
    Multicast,
}

impl Relation {
    /// Every relation.
    pub const ALL: [Self; 7] = [
        Self::SameNetwork,
        Self::SameProject,
        Self::OtherProject,
        Self::FromExternal,
        Self::ToExternal,
        Self::Host,
        Self::Multicast,
    ];

    /// Returns its name, as a contract writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SameNetwork => "same_network",
            Self::SameProject => "same_project",
            Self::OtherProject => "other_project",
            Self::FromExternal => "from_external",
            Self::ToExternal => "to_external",
            Self::Host => "host",
            Self::Multicast => "multicast",
        }
    }

    /// Returns how the ends of a conversation stand to each other; `None` where one has no name.
    pub fn of(initiator: &Peer, responder: &Peer) -> Option<Self> {
        match (initiator, responder) {
            (Peer::Unclaimed { .. } | Peer::Ambiguous { .. } | Peer::Bare { .. } | Peer::Group { .. }, _)
            | (_, Peer::Unclaimed { .. } | Peer::Ambiguous { .. } | Peer::Bare { .. }) => None,
            (_, Peer::Group { .. }) => Some(Self::Multicast),
            (Peer::External { .. }, _) => Some(Self::FromExternal),
            (_, Peer::External { .. }) => Some(Self::ToExternal),
            (Peer::Host { .. }, _) | (_, Peer::Host { .. }) => Some(Self::Host),
            (Peer::Workload { workload: from, .. }, Peer::Workload { workload: to, .. }) => {
                let has_common = from.networks.iter().any(|network| to.networks.contains(network));
                Some(match (from.project == to.project, has_common) {
                    (false, _) => Self::OtherProject,
                    (true, true) => Self::SameNetwork,
                    (true, false) => Self::SameProject,
                })
            }
        }
    }
}

/// How findings about a service are treated.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing about it is judged.
    Off,
    /// Only what a rule denies is: what it does is being learned.
    Learn,
    /// It is judged.
    #[default]
    Monitor,
    /// It is judged; that what is denied should be blocked too is known and not done.
    Enforce,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Off, Self::Learn, Self::Monitor, Self::Enforce];

    /// Returns its name, as a contract writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Learn => "learn",
            Self::Monitor => "monitor",
            Self::Enforce => "enforce",
        }
    }
}

/// Ports a rule speaks of.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Ports {
    /// A port or a range of one protocol.
    Range(Port, Port, Protocol),
    /// Whatever goes by a protocol.
    All(Protocol),
}

impl Ports {
    pub(crate) fn covers(&self, port: ServicePort) -> bool {
        match self {
            Self::Range(first, last, protocol) => {
                port.protocol == *protocol && port.port.is_some_and(|port| *first <= port && port <= *last)
            }
            Self::All(protocol) => port.protocol == *protocol,
        }
    }
}

impl std::fmt::Display for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Range(first, last, protocol) if first == last => write!(f, "{first}/{protocol}"),
            Self::Range(first, last, protocol) => write!(f, "{first}-{last}/{protocol}"),
            Self::All(protocol) => protocol.fmt(f),
        }
    }
}

/// Whom a rule or an exemption speaks of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scope {
    /// Whose call; empty for anybody's.
    pub(crate) from: Vec<Written>,
    /// To whom; empty for anybody.
    pub(crate) to: Vec<Written>,
    /// On what; empty for anything.
    pub(crate) ports: Vec<Ports>,
    /// By which messages of ICMP; empty where nothing is said of them.
    pub(crate) icmp: Vec<IcmpPattern>,
    /// Whether the ends may be exchanged.
    pub(crate) is_both: bool,
    /// Until when it holds.
    pub(crate) expires: Option<Timestamp>,
}

impl Scope {
    pub(crate) fn is_over(&self, at: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= at)
    }

    /// Returns whether it speaks of a finding by the names of its ends.
    fn speaks_of(&self, finding: &Finding, snapshot: &Snapshot) -> bool {
        let is_one_of = |named: &[Written], service: &str| {
            let is_it = |written: &Written| match &written.initiator {
                Initiator::Workload(property) => snapshot
                    .workloads
                    .iter()
                    .chain(snapshot.thefts.iter().filter_map(|theft| theft.thief.as_ref()))
                    .chain(snapshot.sweeps.iter().filter_map(|sweep| sweep.asker.as_ref()))
                    .any(|workload| workload.qualified() == service && property.is_of(workload)),
                Initiator::Host => service == "host",
                Initiator::External => service == "external",
                Initiator::Any => true,
                // An end nobody could name goes by its address.
                Initiator::Addresses(range) => service.parse().is_ok_and(|ip: IpAddr| range.contains(&ip)),
                Initiator::Group(_) | Initiator::Dns(_) | Initiator::Multicast => false,
            };
            named.is_empty() || named.iter().any(is_it)
        };
        let is_on = |port: ServicePort| self.ports.iter().any(|ports| ports.covers(port));
        !self.is_over(snapshot.at)
            && is_one_of(&self.from, &finding.initiator)
            && is_one_of(&self.to, &finding.responder)
            && (self.ports.is_empty() || finding.port.is_some_and(is_on))
    }

    /// Returns whether it speaks of what a conversation goes by.
    fn is_on(&self, conversation: &Conversation, action: Action) -> bool {
        let is_all = self.ports.is_empty() && self.icmp.is_empty();
        is_all
            || self.ports.iter().any(|ports| ports.covers(conversation.port))
            || icmp::covers(&self.icmp, conversation, action)
    }

    /// Returns whether it speaks of this conversation at this time, to deny or to allow it.
    pub(crate) fn covers(&self, conversation: &Conversation, at: Timestamp, action: Action) -> bool {
        let (initiator, responder) = (&conversation.initiator, &conversation.responder);
        let is_one_of = |named: &[Written], peer: &Peer| {
            named.is_empty() || named.iter().any(|written| written.initiator.is(peer))
        };
        let joins = |from: &Peer, to: &Peer| is_one_of(&self.from, from) && is_one_of(&self.to, to);
        !self.is_over(at)
            && self.is_on(conversation, action)
            && (joins(initiator, responder) || (self.is_both && joins(responder, initiator)))
    }
}

/// One `[[rule]]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PolicyRule {
    pub(crate) place: Place,
    /// What it is called; its place where nobody said.
    pub(crate) id: String,
    pub(crate) action: Action,
    pub(crate) scope: Scope,
    /// How grave it is to do what it denies, where that was answered.
    pub(crate) severity: Severity,
    /// Owner, purpose, control and comment, as far as they are given.
    pub(crate) remarks: BTreeMap<&'static str, String>,
}

impl PolicyRule {
    /// Writes `contract.toml:12 denies it: reports have a copy of their own`.
    pub(crate) fn says(&self) -> String {
        let verb = match self.action {
            Action::Deny => "denies it",
            Action::Allow => "allows it",
        };
        let place = self.place.line();
        let id = if self.id == place { String::new() } else { format!(" ({})", self.id) };
        let why = ["purpose", "comment"].iter().find_map(|key| self.remarks.get(key));
        let why = why.map_or(String::new(), |why| format!(": {why}"));
        format!("{place}{id} {verb}{why}")
    }
}

/// What holds for a relation where nobody said anything else.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DefaultRule {
    pub(crate) place: Place,
    pub(crate) action: Action,
}

/// `[standard.NAME]`: a rule that holds without being written, and how it is changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Standard {
    pub(crate) place: Place,
    pub(crate) kind: FindingKind,
    pub(crate) is_enabled: bool,
    /// What was said of its thresholds, by name.
    pub(crate) thresholds: BTreeMap<&'static str, u64>,
    /// The ports it speaks of, where somebody named others than it knows.
    pub(crate) ports: Option<Vec<Ports>>,
    pub(crate) exempt: Vec<Exemption>,
}

/// `[[standard.NAME.except]]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Exemption {
    pub(crate) place: Place,
    pub(crate) scope: Scope,
    pub(crate) reason: String,
}

/// Every rule of a contract.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rules {
    pub(crate) list: Vec<PolicyRule>,
    /// The first word on each relation counts.
    pub(crate) defaults: BTreeMap<Relation, DefaultRule>,
    pub(crate) standard: Vec<Standard>,
}

impl Rules {
    pub(crate) fn merge(&mut self, other: Self) {
        self.list.extend(other.list);
        for (relation, default) in other.defaults {
            self.defaults.entry(relation).or_insert(default);
        }
        self.standard.extend(other.standard);
    }

    /// Returns the rule that says this about a conversation, and its number: of several the gravest, of those the first
    /// as written. So their order decides neither the verdict nor how grave it is.
    pub(crate) fn gravest(
        &self,
        action: Action,
        conversation: &Conversation,
        at: Timestamp,
    ) -> Option<(usize, &PolicyRule)> {
        let is_it = |rule: &PolicyRule| rule.action == action && rule.scope.covers(conversation, at, action);
        let fitting = self.list.iter().enumerate().filter(|(_, rule)| is_it(rule));
        match action {
            // Of several greatest the last is found.
            Action::Deny => fitting.rev().max_by_key(|(_, rule)| rule.severity),
            Action::Allow => { fitting }.next(),
        }
    }

    /// Returns what holds between two ends where nobody said anything else.
    pub(crate) fn default_of(&self, conversation: &Conversation) -> Option<(Relation, &DefaultRule)> {
        let relation = Relation::of(&conversation.initiator, &conversation.responder)?;
        self.defaults.get(&relation).map(|default| (relation, default))
    }

    /// Returns whether a finding of this kind is wanted at all.
    pub(crate) fn is_enabled(&self, kind: FindingKind) -> bool {
        // The last word counts: what is switched off in one file may be switched on in a later one.
        self.standard.iter().rev().find(|it| it.kind == kind).is_none_or(|it| it.is_enabled)
    }

    /// Returns whether a finding of this kind is not wanted about this conversation.
    pub(crate) fn exempts(&self, kind: FindingKind, conversation: &Conversation, at: Timestamp) -> bool {
        let exemptions = self.standard.iter().filter(|it| it.kind == kind).flat_map(|it| &it.exempt);
        exemptions.into_iter().any(|exemption| exemption.scope.covers(conversation, at, Action::Allow))
    }

    /// Returns whether a finding that speaks of services, and not of conversations, is not wanted.
    pub(crate) fn exempts_service(&self, finding: &Finding, snapshot: &Snapshot) -> bool {
        let is_of_services = match finding.kind {
            FindingKind::UndocumentedListener
            | FindingKind::UnusedExposure
            | FindingKind::StolenMac
            | FindingKind::UnusualLevel => true,
            FindingKind::SpoofedSource
            | FindingKind::Denied
            | FindingKind::UnexpectedPeer
            | FindingKind::UndocumentedPort
            | FindingKind::ForeignDatabase
            | FindingKind::DockerApi
            | FindingKind::CloudMetadata
            | FindingKind::InternalOutbound
            | FindingKind::ForeignResolver
            | FindingKind::CleartextAdmin
            | FindingKind::PortScan
            | FindingKind::HostSweep
            | FindingKind::SynFlood
            | FindingKind::Beaconing
            | FindingKind::PasswordGuessing
            | FindingKind::UnlistedSource
            | FindingKind::NewEdge
            | FindingKind::ForbiddenEdge => false,
        };
        is_of_services && self.exempts_finding(finding, snapshot)
    }

    /// Returns whether an exemption speaks of a finding by the names of its ends.
    pub(crate) fn exempts_finding(&self, finding: &Finding, snapshot: &Snapshot) -> bool {
        let own = self.standard.iter().filter(|it| it.kind == finding.kind).flat_map(|it| &it.exempt);
        own.into_iter().any(|exemption| exemption.scope.speaks_of(finding, snapshot))
    }
}

/// How often a rule decided.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RuleUse {
    /// What it is called.
    pub id: String,
    /// Where it stands.
    pub place: String,
    /// What it says.
    pub action: Action,
    /// Conversations it decided.
    pub conversations: u64,
    /// When it last did.
    pub last_used: Option<Timestamp>,
    /// Whether its time is over.
    pub is_over: bool,
}
