//! Service ports sorted into their four classes, and the findings of those nobody documented.

use std::collections::{BTreeMap, BTreeSet};

use portolan_flowtable::{Conversation, DocumentedPort, Port, Protocol, ServicePort, Snapshot, Timestamp};

use crate::assessment::{
    Finding, FindingKind, Listener, ListenerClass, Listens, NotChecked, Severity, Verdict,
};
use crate::stable::StableHash;
use crate::verdict::{Intent, Ruling, ServiceIntent};
use crate::words;

/// Most containers a listener names.
const CONTAINERS_MAX: usize = 8;
/// Most containers that say why nobody looked.
const NOT_CHECKED_MAX: usize = 64;

/// What is known to listen in the containers of one service.
#[derive(Debug, Default)]
struct Heard {
    ports: BTreeMap<ServicePort, Ear>,
    /// Whether somebody looked into every container of it that runs.
    is_checked: bool,
}

#[derive(Debug)]
struct Ear {
    is_loopback: bool,
    since: Timestamp,
    containers: BTreeSet<String>,
}

/// Sorts service ports into classes.
///
/// A documented port is used when somebody called it, answered or not; an undocumented one when it answered. One that
/// listens on the container's loopback alone is nobody's service port.
pub(crate) fn listeners(
    intent: &Intent<'_>,
    snapshot: &Snapshot,
    conversations: &[Conversation],
    rulings: &[Ruling],
) -> Vec<Listener> {
    let called = called(conversations, rulings);
    let heard = heard(snapshot);
    let mut listeners = Vec::new();
    let (no_calls, unheard) = (BTreeMap::new(), Heard::default());
    for (name, service) in intent.services() {
        let calls = called.get(name).unwrap_or(&no_calls);
        let heard = heard.get(name).unwrap_or(&unheard);
        listeners.extend(of_service(name, service, calls, heard).into_values());
    }
    listeners
}

type Calls = BTreeMap<ServicePort, bool>;

fn called(conversations: &[Conversation], rulings: &[Ruling]) -> BTreeMap<String, Calls> {
    let mut called: BTreeMap<String, Calls> = BTreeMap::new();
    for (conversation, ruling) in conversations.iter().zip(rulings) {
        let Some(workload) = conversation.responder.workload() else { continue };
        if ruling.verdict == Verdict::Backscatter || !conversation.port.protocol.has_ports() {
            continue;
        }
        let is_answered = conversation.connections.answered > 0 && conversation.evidence.is_proof();
        *called.entry(workload.qualified()).or_default().entry(conversation.port).or_default() |= is_answered;
    }
    called
}

fn heard(snapshot: &Snapshot) -> BTreeMap<String, Heard> {
    let mut all: BTreeMap<String, Heard> = BTreeMap::new();
    for workload in &snapshot.workloads {
        let Some(listening) = snapshot.listening.get(&workload.container_id) else { continue };
        let heard =
            all.entry(workload.qualified()).or_insert_with(|| Heard { is_checked: true, ..Heard::default() });
        heard.is_checked &= listening.not_checked.is_none();
        for it in &listening.ports {
            let ear = heard.ports.entry(it.port).or_insert_with(|| Ear {
                is_loopback: it.is_loopback,
                since: it.since,
                containers: BTreeSet::new(),
            });
            ear.is_loopback &= it.is_loopback;
            ear.since = ear.since.min(it.since);
            if ear.containers.len() < CONTAINERS_MAX {
                ear.containers.insert(workload.container.clone());
            }
        }
    }
    all
}

fn of_service(
    name: &str,
    service: &ServiceIntent,
    calls: &Calls,
    heard: &Heard,
) -> BTreeMap<ServicePort, Listener> {
    let mut ranges: BTreeMap<(Port, Port, Protocol), Vec<DocumentedPort>> = BTreeMap::new();
    for documented in &service.documented {
        ranges
            .entry((documented.first, documented.last, documented.protocol))
            .or_default()
            .push(documented.clone());
    }
    let mut mine: BTreeMap<ServicePort, Listener> = BTreeMap::new();
    let listener = |port, class, documented| Listener {
        service: name.to_owned(),
        project: service.project.clone(),
        port,
        class,
        documented,
        listens: if heard.is_checked { Listens::No } else { Listens::NotChecked },
        listens_in: Vec::new(),
        listens_since: None,
    };
    for ((first, last, protocol), documented) in ranges {
        let bounds = |port| ServicePort { port: Some(port), protocol };
        // A range that ends before it begins covers nothing.
        let is_used = first <= last
            && calls.range(bounds(first)..=bounds(last)).any(|(port, _)| port.protocol == protocol);
        let class = if is_used { ListenerClass::DocumentedUsed } else { ListenerClass::DocumentedIdle };
        let port = bounds(first);
        let known = mine
            .entry(port)
            .and_modify(|known| {
                known.documented.extend(documented.iter().cloned());
                known.class = known.class.min(class);
            })
            .or_insert_with(|| listener(port, class, documented));
        if first <= last {
            for (_, ear) in heard.ports.range(bounds(first)..=bounds(last)) {
                known.hear(ear);
            }
        }
    }
    for (port, is_answered) in calls {
        if *is_answered && port.port.is_some() && service.documented_by(*port).is_none() {
            mine.entry(*port).or_insert_with(|| listener(*port, ListenerClass::UndocumentedUsed, Vec::new()));
        }
    }
    for (port, ear) in &heard.ports {
        if service.documented_by(*port).is_some() {
            continue;
        }
        if let Some(known) = mine.get_mut(port) {
            known.hear(ear);
        } else if !ear.is_loopback {
            let mut fresh = listener(*port, ListenerClass::UndocumentedListening, Vec::new());
            fresh.hear(ear);
            mine.insert(*port, fresh);
        }
    }
    mine
}

impl Listener {
    /// Takes in what listens on it, of a range the least bound.
    fn hear(&mut self, ear: &Ear) {
        let heard = if ear.is_loopback { Listens::Loopback } else { Listens::Yes };
        self.listens = match (self.listens, heard) {
            (Listens::Yes, _) | (_, Listens::Yes) => Listens::Yes,
            (_, other) => other,
        };
        self.listens_since = [self.listens_since, Some(ear.since)].into_iter().flatten().min();
        for container in &ear.containers {
            if self.listens_in.len() < CONTAINERS_MAX && !self.listens_in.contains(container) {
                self.listens_in.push(container.clone());
            }
        }
        self.listens_in.sort();
    }
}

/// Returns the containers nobody could look into, with the reason.
pub(crate) fn not_checked(snapshot: &Snapshot) -> Vec<NotChecked> {
    let mut all: Vec<NotChecked> = Vec::new();
    for workload in &snapshot.workloads {
        let reason = snapshot.listening.get(&workload.container_id).and_then(|it| it.not_checked.clone());
        let Some(reason) = reason else { continue };
        if all.len() < NOT_CHECKED_MAX {
            all.push(NotChecked { container: workload.container.clone(), reason });
        }
    }
    all
}

/// Writes a finding for each port that listens and that nobody documented or called, of services that document some:
/// one that documents none is undeclared, and that is said once.
pub(crate) fn findings(intent: &Intent<'_>, listeners: &[Listener], snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    for listener in listeners.iter().filter(|it| it.class == ListenerClass::UndocumentedListening) {
        let Some(service) = intent.services().get(&listener.service) else { continue };
        if service.is_undeclared() || !service.unresolved.is_empty() {
            continue;
        }
        let first_at = listener.listens_since.unwrap_or(snapshot.at);
        findings.push(Finding {
            id: id(listener),
            kind: FindingKind::UndocumentedListener,
            severity: Severity::Low,
            initiator: String::new(),
            responder: listener.service.clone(),
            port: Some(listener.port),
            reached: "listening".to_owned(),
            summary: format!(
                "listens in {}; nobody called it, nothing documents it",
                words::list(&listener.listens_in, 2, "")
            ),
            against: service.documents(&listener.service),
            first_at,
            last_at: snapshot.at,
            first_frame: 0,
            last_frame: 0,
            connections: 0,
            frames: 0,
            initiator_containers: Vec::new(),
            responder_containers: listener.listens_in.clone(),
            wireshark_filter: crate::scan::port_filters(&[listener.port]),
            complete: snapshot.completeness.between(first_at, snapshot.at),
        });
    }
    findings
}

/// Returns the finding's id, the same in every run.
fn id(listener: &Listener) -> String {
    StableHash::new()
        .field(FindingKind::UndocumentedListener.name())
        .field("")
        .field(&listener.service)
        .field(&listener.port.to_string())
        .digits()
}
