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
    /// The same as two ends and what joins them, where it says who may call whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
}

/// What a contract says of two ends.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Who calls, as written: `shop/cart`, `group:office (10.0.0.0/8)`, `anybody`.
    pub from: String,
    /// Who is called.
    pub to: String,
    /// On what: `5432/tcp`, `any port`.
    pub on: String,
    /// What is said of it.
    pub word: LinkWord,
    /// Whether the ends may be exchanged.
    pub is_both: bool,
    /// How long it holds, and how grave it is to do what it denies; empty where there is nothing to say.
    pub more: String,
}

/// What a contract says of a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkWord {
    /// A service expects it.
    Expect,
    /// A rule allows it.
    Allow,
    /// A rule denies it.
    Deny,
}

impl LinkWord {
    /// Returns its name for people: `expects`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Expect => "expects",
            Self::Allow => "allows",
            Self::Deny => "denies",
        }
    }
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
            .map(|(is_added, (fact, stated))| Change {
                is_added,
                fact: fact.clone(),
                place: stated.place.clone(),
                link: stated.link.clone(),
            })
            .collect();
        changes.sort_by(|a, b| (&a.fact, a.is_added).cmp(&(&b.fact, b.is_added)));
        changes
    }

    /// Returns every fact with the place that states it first.
    fn facts(&self) -> BTreeMap<String, Stated> {
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
            for ports in standard.ports.iter().flatten() {
                facts.add(format!("standard rule {name} speaks of {ports}"), standard.place.line());
            }
            for exemption in &standard.exempt {
                for (what, _) in scope(&exemption.scope, None) {
                    facts.add(format!("standard rule {name} exempts {what}"), exemption.place.line());
                }
            }
        }
        facts.0
    }
}

/// Where a fact stands, and the ends it joins.
struct Stated {
    place: String,
    link: Option<Link>,
}

struct Facts(BTreeMap<String, Stated>);

impl Facts {
    fn add(&mut self, fact: String, place: String) {
        self.add_link(fact, place, None);
    }

    fn add_link(&mut self, fact: String, place: String, link: Option<Link>) {
        if self.0.len() < FACTS_MAX {
            self.0.entry(fact).or_insert(Stated { place, link });
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
            let from = named(written);
            let fact = format!("{subject} expects {from} on {port}");
            let link = Link {
                from,
                to: subject.to_owned(),
                on: port.to_owned(),
                word: LinkWord::Expect,
                is_both: false,
                more: String::new(),
            };
            self.add_link(fact, written.place.line(), Some(link));
        }
    }

    fn rule(&mut self, rule: &PolicyRule) {
        let (word, severity) = match rule.action {
            Action::Deny => (LinkWord::Deny, format!("severity {}", rule.severity.name())),
            Action::Allow => (LinkWord::Allow, String::new()),
        };
        let behind = if severity.is_empty() { String::new() } else { format!(", {severity}") };
        for (what, link) in scope(&rule.scope, Some((word, &severity))) {
            self.add_link(format!("{} {what}{behind}", rule.action.name()), rule.place.line(), link);
        }
    }
}

/// Writes each combination of ends and ports a scope speaks of, and for a rule the link it is: what it says, and how
/// grave.
fn scope(scope: &Scope, rule: Option<(LinkWord, &str)>) -> Vec<(String, Option<Link>)> {
    let all = |list: &[Written], none: &str| -> Vec<String> {
        if list.is_empty() { vec![none.to_owned()] } else { list.iter().map(named).collect() }
    };
    let icmp = scope.icmp.iter().map(|pattern| format!("icmp {pattern}"));
    let mut ports: Vec<String> = scope.ports.iter().map(ToString::to_string).chain(icmp).collect();
    if ports.is_empty() {
        ports.push("anything".to_owned());
    }
    let arrow = if scope.is_both { "<->" } else { "->" };
    let until = scope.expires.map_or(String::new(), |at| format!(" until {at}"));
    let mut facts = Vec::new();
    for from in all(&scope.from, "anybody") {
        for to in all(&scope.to, "anybody") {
            for port in &ports {
                if facts.len() < FACTS_MAX {
                    let link = rule.map(|(word, severity)| {
                        let more = [until.trim_start(), severity].into_iter().filter(|it| !it.is_empty());
                        let more = more.collect::<Vec<_>>().join(", ");
                        let (from, to, on) = (from.clone(), to.clone(), port.clone());
                        Link { from, to, on, word, is_both: scope.is_both, more }
                    });
                    facts.push((format!("{from} {arrow} {to} on {port}{until}"), link));
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
