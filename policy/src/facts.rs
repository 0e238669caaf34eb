//! What a contract says, fact by fact, whatever the order and the shape it is written in; and how two of them differ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::contract::{Contract, Entry, Expected, Written};
use crate::rules::{Action, PolicyRule, Scope};
use crate::selector::Initiator;
use crate::verdict::ports;

/// Most facts one contract is taken apart into.
const FACTS_MAX: usize = 200_000;

/// A fact that one of two contracts states and the other does not.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Whether the second one states it.
    pub is_added: bool,
    /// The fact: `shop/db expects shop/cart on 5432/tcp`.
    pub fact: String,
    /// Where it stands: `contract.toml:12`.
    pub place: String,
}

impl Contract {
    /// Returns what `next` says and this one does not, and the reverse, sorted by fact. What only explains, names or
    /// orders is no fact.
    pub fn changes_to(&self, next: &Self) -> Vec<Change> {
        let (before, after) = (self.facts(), next.facts());
        let gone = before.iter().filter(|(fact, _)| !after.contains_key(*fact)).map(|it| (false, it));
        let come = after.iter().filter(|(fact, _)| !before.contains_key(*fact)).map(|it| (true, it));
        let mut changes: Vec<Change> = gone
            .chain(come)
            .map(|(is_added, (fact, place))| Change { is_added, fact: fact.clone(), place: place.clone() })
            .collect();
        changes.sort_by(|a, b| (&a.fact, a.is_added).cmp(&(&b.fact, b.is_added)));
        changes
    }

    /// Returns every fact with the place that states it first.
    fn facts(&self) -> BTreeMap<String, String> {
        let mut facts = Facts(BTreeMap::new());
        for entry in &self.entries {
            facts.entry(entry);
        }
        for rule in &self.rules.list {
            facts.rule(rule);
        }
        for (relation, default) in &self.rules.defaults {
            let fact = format!("default of {} is {}", relation.name(), default.action.name());
            facts.add(fact, default.place.line());
        }
        for standard in &self.rules.standard {
            let name = standard.kind.name();
            if !self.rules.is_enabled(standard.kind) {
                facts.add(format!("standard rule {name} is off"), standard.place.line());
            }
            for (threshold, number) in &standard.thresholds {
                facts
                    .add(format!("standard rule {name} takes {threshold} = {number}"), standard.place.line());
            }
            for exemption in &standard.exempt {
                for what in scope(&exemption.scope) {
                    facts.add(format!("standard rule {name} exempts {what}"), exemption.place.line());
                }
            }
        }
        facts.0
    }
}

struct Facts(BTreeMap<String, String>);

impl Facts {
    fn add(&mut self, fact: String, place: String) {
        if self.0.len() < FACTS_MAX {
            self.0.entry(fact).or_insert(place);
        }
    }

    fn entry(&mut self, entry: &Entry) {
        let mut selectors: Vec<String> = entry.selectors.iter().map(ToString::to_string).collect();
        selectors.sort();
        let subject = selectors.join(" and ");
        let place = entry.place.line();
        if let Some((mode, place)) = &entry.mode {
            self.add(format!("{subject} is in mode {}", mode.name()), place.line());
        }
        for documented in entry.documented() {
            self.add(format!("{subject} documents {}", ports(documented)), documented.source.to_string());
        }
        if entry.ports.as_ref().is_some_and(Vec::is_empty) {
            self.add(format!("{subject} documents no port"), place.clone());
        }
        if let Some(expected) = &entry.initiators {
            let own: Vec<String> = entry.ports.iter().flatten().map(ports).collect();
            let others = if entry.ports.is_some() { "ports nobody names" } else { "any port" };
            for port in own.iter().map(String::as_str).chain([others]) {
                self.expects(&subject, expected, port);
            }
        }
        for rule in &entry.rules {
            for port in &rule.ports {
                self.expects(&subject, &rule.from, &ports(port));
            }
        }
    }

    fn expects(&mut self, subject: &str, expected: &Expected, port: &str) {
        if expected.initiators.is_empty() {
            self.add(format!("{subject} expects nobody on {port}"), expected.place.line());
        }
        for written in &expected.initiators {
            self.add(format!("{subject} expects {} on {port}", named(written)), written.place.line());
        }
    }

    fn rule(&mut self, rule: &PolicyRule) {
        let severity = match rule.action {
            Action::Deny => format!(", severity {}", rule.severity.name()),
            Action::Allow => String::new(),
        };
        for what in scope(&rule.scope) {
            self.add(format!("{} {what}{severity}", rule.action.name()), rule.place.line());
        }
    }
}

/// Writes each combination of ends and ports a scope speaks of.
fn scope(scope: &Scope) -> Vec<String> {
    let all = |list: &[Written], none: &str| -> Vec<String> {
        if list.is_empty() { vec![none.to_owned()] } else { list.iter().map(named).collect() }
    };
    let ports: Vec<String> = match scope.ports.as_slice() {
        [] => vec!["anything".to_owned()],
        some => some.iter().map(ToString::to_string).collect(),
    };
    let arrow = if scope.is_both { "<->" } else { "->" };
    let until = scope.expires.map_or(String::new(), |at| format!(" until {at}"));
    let mut facts = Vec::new();
    for from in all(&scope.from, "anybody") {
        for to in all(&scope.to, "anybody") {
            for port in &ports {
                if facts.len() < FACTS_MAX {
                    facts.push(format!("{from} {arrow} {to} on {port}{until}"));
                }
            }
        }
    }
    facts
}

/// Writes a selector; a group with what it holds, which may be what changed.
fn named(written: &Written) -> String {
    match &written.initiator {
        Initiator::Group(ranges) => {
            let mut ranges: Vec<String> = ranges.iter().map(|range| range.trunc().to_string()).collect();
            ranges.sort();
            format!("{} ({})", written.text, ranges.join(", "))
        }
        Initiator::Addresses(range) => range.trunc().to_string(),
        Initiator::Workload(_)
        | Initiator::Host
        | Initiator::External
        | Initiator::Dns(_)
        | Initiator::Multicast
        | Initiator::Any => written.text.clone(),
    }
}
