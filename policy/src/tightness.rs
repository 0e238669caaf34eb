//! How tight a contract is: how much of what it allows was seen used.
//!
//! # How it is counted
//!
//! A *combination* is (who calls, who is called, port), by service. The ends are the services there are, `host` and
//! `external`; the ports of a service are those documented for it, those a rule that allows names for it, and those that
//! were called; of a range the first. Each combination is judged as if it had been answered, by the one order of
//! verdicts: it is *allowed* where that is `allowed` or `documented`, and counts for the line that decides. It is *used*
//! where a conversation of it was answered. What only an address, a DNS name or one of several replicas is allowed counts
//! where it was used.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use portolan_flowtable::flow::Claim;
use portolan_flowtable::{
    Conversation, InitiatorEvidence, Outcomes, Peer, ServicePort, Snapshot, Tally, Timestamp, Workload,
};
use serde::Serialize;

use crate::assessment::Verdict;
use crate::contract::{Contract, Written};
use crate::rules::{Action, Ports, RuleUse, Scope};
use crate::verdict::{Intent, Ruling};
use crate::words;

/// Most replicas of one service that are asked about.
const REPLICAS_MAX: usize = 4;
/// Most combinations that are judged; further ones are counted.
pub const COMBINATIONS_MAX: usize = 1_000_000;
/// Most looks at rules that takes: with more than 500 rules, fewer combinations are judged.
const LOOKS_MAX: usize = 500 * COMBINATIONS_MAX;
/// Most names a line of text spells out.
const SPELLED_OUT_MAX: usize = 4;

/// How much of what a contract allows was seen used.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Tightness {
    /// Combinations it allows.
    pub allowed: u64,
    /// Those of them that were used.
    pub used: u64,
    /// Services among which it is counted.
    pub services: u64,
    /// Combinations nobody judged because [`COMBINATIONS_MAX`] others were.
    pub left_out: u64,
    /// Every line that allows something, by file and line.
    pub grants: Vec<Grant>,
    /// Rules that deny, as written.
    pub denials: Vec<RuleUse>,
}

/// A line that allows something.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Grant {
    /// Where it stands: `contract.toml:12`.
    pub place: String,
    /// What it says: `shop/cart -> shop/db`; empty for lines of compose files.
    pub says: String,
    /// Combinations it decides.
    pub allowed: u64,
    /// Those of them that were used.
    pub used: u64,
    /// Conversations it decided that were answered.
    pub conversations: u64,
    /// When it last did.
    pub last_used: Option<Timestamp>,
    /// Whether its time is over.
    pub is_over: bool,
}

impl Tightness {
    /// Returns the share that was used, in whole percent, rounded down; `None` where nothing is allowed.
    pub fn percent(&self) -> Option<u64> {
        (self.used.saturating_mul(100)).checked_div(self.allowed)
    }

    /// Writes `5 of 12 combinations it allows were used (41 %), among 7 services; 2 of 5 lines were not used`.
    pub fn sentence(&self) -> String {
        let share = self.percent().map_or("nothing is allowed".to_owned(), |percent| format!("{percent} %"));
        let unused = self.grants.iter().filter(|grant| grant.conversations == 0).count();
        let left_out = match self.left_out {
            0 => String::new(),
            more => format!("; {more} further combinations were not judged"),
        };
        format!(
            "{} of {} combinations it allows were used ({share}), among {}; {unused} of {} lines that allow were not \
             used{left_out}",
            self.used,
            self.allowed,
            words::count(self.services, "service"),
            self.grants.len(),
        )
    }
}

/// Who calls, who is called, on what.
type Combination = (String, String, ServicePort);

impl Contract {
    /// Says how much of what this contract allows was used in a snapshot; pure, the same for the same input.
    pub fn tightness(&self, snapshot: &Snapshot) -> Tightness {
        let intent = Intent::new(self, snapshot);
        let mut grants = self.grants(snapshot.at);
        let mut allowed: BTreeMap<Combination, String> = BTreeMap::new();
        let mut used: BTreeSet<Combination> = BTreeSet::new();
        let mut denials: Vec<(usize, RuleUse)> = self.denials(snapshot.at);
        for conversation in &snapshot.conversations {
            let ruling = intent.judge(conversation);
            if let Some((_, denial)) = denials
                .iter_mut()
                .find(|(number, _)| ruling.rule == Some(*number))
                .filter(|_| is_denied(&ruling))
            {
                denial.conversations += 1;
                denial.last_used = denial.last_used.max(Some(conversation.last_at));
            }
            let Some(place) = self.granted_by(&ruling) else { continue };
            if conversation.connections.answered == 0 {
                continue;
            }
            let grant = grants.entry(place.clone()).or_default();
            grant.conversations += 1;
            grant.last_used = grant.last_used.max(Some(conversation.last_at));
            let ends = (conversation.initiator.service(), conversation.responder.service());
            let combination = (ends.0, ends.1, conversation.port);
            allowed.insert(combination.clone(), place);
            used.insert(combination);
        }
        let ends = ends(snapshot);
        let ports = self.ports(&intent, snapshot, &ends);
        let most = COMBINATIONS_MAX.min(LOOKS_MAX / self.rules.list.len().max(1));
        let (mut judged, mut left_out) = (0_usize, 0_u64);
        for (to, responders) in &ends {
            for port in ports.get(to).into_iter().flatten() {
                for (from, initiators) in ends.iter().filter(|(from, _)| *from != to) {
                    if judged >= most {
                        left_out += 1;
                        continue;
                    }
                    let combination = (from.clone(), to.clone(), *port);
                    if allowed.contains_key(&combination) {
                        judged += 1;
                        continue;
                    }
                    // What one replica may, the service may.
                    let pairs =
                        responders.iter().flat_map(|to| initiators.iter().map(move |from| (from, to)));
                    let place = pairs.into_iter().find_map(|(initiator, responder)| {
                        judged += 1;
                        self.granted_by(&intent.judge(&supposed(initiator, responder, *port, snapshot.at)))
                    });
                    if let Some(place) = place {
                        allowed.insert(combination, place);
                    }
                }
            }
        }
        for (combination, place) in &allowed {
            let grant = grants.entry(place.clone()).or_default();
            grant.allowed += 1;
            grant.used += u64::from(used.contains(combination));
        }
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let services = ends
            .values()
            .flat_map(|replicas| replicas.first())
            .filter(|peer| peer.workload().is_some())
            .count();
        let mut grants: Vec<Grant> =
            grants.into_iter().map(|(place, grant)| Grant { place, ..grant }).collect();
        grants.sort_by_cached_key(|grant| {
            let (file, line) = grant.place.rsplit_once(':').unwrap_or((&grant.place, ""));
            (file.to_owned(), line.parse::<u64>().unwrap_or(0))
        });
        Tightness {
            allowed: count(allowed.len()),
            used: count(used.len()),
            services: count(services),
            left_out,
            grants,
            denials: denials.into_iter().map(|(_, denial)| denial).collect(),
        }
    }

    /// Returns every line of the contract that may allow something, by place.
    fn grants(&self, at: Timestamp) -> BTreeMap<String, Grant> {
        let mut grants = BTreeMap::new();
        let mut add = |place: String, says: String, is_over: bool| {
            grants.entry(place).or_insert(Grant { says, is_over, ..Grant::default() });
        };
        for rule in self.rules.list.iter().filter(|rule| rule.action == Action::Allow) {
            add(rule.place.line(), says(&rule.scope), rule.scope.is_over(at));
        }
        for (relation, default) in &self.rules.defaults {
            if default.action == Action::Allow {
                add(default.place.line(), format!("{} is allow", relation.name()), false);
            }
        }
        for entry in &self.entries {
            let selectors: Vec<String> = entry.selectors.iter().map(ToString::to_string).collect();
            for expected in entry.expectations().filter(|expected| !expected.initiators.is_empty()) {
                let says = format!("{} -> {}", names(&expected.initiators), selectors.join(" and "));
                add(expected.place.line(), says, false);
            }
        }
        grants
    }

    /// Returns every rule that denies, with its number.
    fn denials(&self, at: Timestamp) -> Vec<(usize, RuleUse)> {
        let rules = self.rules.list.iter().enumerate().filter(|(_, rule)| rule.action == Action::Deny);
        rules
            .map(|(number, rule)| {
                let denial = RuleUse {
                    id: rule.id.clone(),
                    place: rule.place.line(),
                    action: rule.action,
                    conversations: 0,
                    last_used: None,
                    is_over: rule.scope.is_over(at),
                };
                (number, denial)
            })
            .collect()
    }

    /// Returns the line that allows, where one does.
    fn granted_by(&self, ruling: &Ruling) -> Option<String> {
        let is_granted = matches!(ruling.verdict, Verdict::Allowed | Verdict::Documented);
        if !is_granted {
            return None;
        }
        if let Some(rule) = ruling.rule.and_then(|number| self.rules.list.get(number)) {
            return Some(rule.place.line());
        }
        // `contract.toml:12 expects it; ...`, `contract.toml:3: same_network is allow by default`.
        let place = match ruling.verdict == Verdict::Documented {
            true => ruling.decided_by.split_once(" expects it"),
            false => ruling.decided_by.split_once(": "),
        };
        Some(place.map_or(ruling.decided_by.as_str(), |(place, _)| place).to_owned())
    }

    /// Returns the ports each end is asked about.
    fn ports(
        &self,
        intent: &Intent<'_>,
        snapshot: &Snapshot,
        ends: &BTreeMap<String, Vec<Peer>>,
    ) -> BTreeMap<String, BTreeSet<ServicePort>> {
        let mut ports: BTreeMap<String, BTreeSet<ServicePort>> = BTreeMap::new();
        for (name, service) in intent.services() {
            let documented = service.documented.iter().map(|documented| ServicePort {
                port: Some(documented.first),
                protocol: documented.protocol,
            });
            ports.entry(name.clone()).or_default().extend(documented);
        }
        for rule in self.rules.list.iter().filter(|rule| rule.action == Action::Allow) {
            let named = rule.scope.ports.iter().filter_map(|ports| match ports {
                Ports::Range(first, _, protocol) => {
                    Some(ServicePort { port: Some(*first), protocol: *protocol })
                }
                Ports::All(_) => None,
            });
            let named: Vec<ServicePort> = named.collect();
            let is_of = |list: &[Written], peer: &Peer| {
                list.is_empty() || list.iter().any(|written| written.initiator.is(peer))
            };
            let is_meant = |peer: &Peer| {
                is_of(&rule.scope.to, peer) || (rule.scope.is_both && is_of(&rule.scope.from, peer))
            };
            for (name, replicas) in ends {
                if replicas.iter().any(is_meant) {
                    ports.entry(name.clone()).or_default().extend(&named);
                }
            }
        }
        for conversation in &snapshot.conversations {
            ports.entry(conversation.responder.service()).or_default().insert(conversation.port);
        }
        ports
    }
}

fn is_denied(ruling: &Ruling) -> bool {
    ruling.verdict == Verdict::Denied
}

/// Returns the first containers of each service, the host and somebody outside, by name.
fn ends(snapshot: &Snapshot) -> BTreeMap<String, Vec<Peer>> {
    let address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let seen = snapshot.conversations.iter().flat_map(|it| [&it.initiator, &it.responder]);
    let mut workloads: Vec<&Arc<Workload>> =
        snapshot.workloads.iter().chain(seen.filter_map(Peer::workload)).collect();
    // A name that was given again is the later container's.
    workloads.sort_by(|a, b| (&a.container, b.started_at).cmp(&(&b.container, a.started_at)));
    workloads.dedup_by(|a, b| a.container == b.container);
    let mut ends: BTreeMap<String, Vec<Peer>> = BTreeMap::new();
    for workload in workloads {
        let replicas = ends.entry(workload.qualified()).or_default();
        if replicas.len() < REPLICAS_MAX {
            replicas.push(Peer::Workload { workload: Arc::clone(workload), address });
        }
    }
    for peer in [Peer::Host { address }, Peer::External { address, names: Arc::default() }] {
        ends.entry(peer.service()).or_insert_with(|| vec![peer]);
    }
    ends
}

/// Builds an answered conversation nobody has seen.
fn supposed(initiator: &Peer, responder: &Peer, port: ServicePort, at: Timestamp) -> Conversation {
    let is_outside = matches!(initiator, Peer::External { .. });
    Conversation {
        initiator: initiator.clone(),
        responder: responder.clone(),
        port,
        network: String::new(),
        via: is_outside.then(|| "host".to_owned()),
        evidence: InitiatorEvidence::Handshake,
        claim: Claim::Own,
        claimed: None,
        sent: Tally::default(),
        received: Tally::default(),
        connections: Outcomes { answered: 1, ..Outcomes::default() },
        exchanged: 1,
        open: 0,
        is_midstream: false,
        is_proxy_leg: false,
        is_tunnel: false,
        first_at: at,
        last_at: at,
        first_frame: 0,
        last_frame: 0,
        rtt_p50: None,
        burst_unanswered: 0,
        icmp: Default::default(),
        first_source_port: None,
    }
}

/// Writes `shop/cart -> shop/db on 5432/tcp`.
fn says(scope: &Scope) -> String {
    let arrow = if scope.is_both { "<->" } else { "->" };
    let icmp = scope.icmp.iter().map(|pattern| format!("icmp {pattern}"));
    let ports: Vec<String> = scope.ports.iter().map(ToString::to_string).chain(icmp).collect();
    let on = match ports.as_slice() {
        [] => String::new(),
        some => format!(" on {}", words::list(some, SPELLED_OUT_MAX, "")),
    };
    format!("{} {arrow} {}{on}", names(&scope.from), names(&scope.to))
}

fn names(list: &[Written]) -> String {
    let names: Vec<String> = list.iter().map(|written| written.text.clone()).collect();
    words::list(&names, SPELLED_OUT_MAX, "anybody")
}
