//! Findings of stolen hardware addresses: what the flow table saw at the veths, by whose name it goes.

use std::collections::BTreeMap;

use portolan_flowtable::{Conversation, MacHolder, Outcomes, Peer, Snapshot, Workload};

use crate::assess::{CONTAINERS_MAX, Key};
use crate::assessment::{Finding, FindingKind, Severity};
use crate::words;

/// Returns by each finding's id the numbers of the conversations its sender took part in meanwhile: a stolen address shows
/// in frames, whatever they were part of.
pub(crate) fn grounds(snapshot: &Snapshot, conversations: &[Conversation]) -> BTreeMap<String, Vec<usize>> {
    let mut grounds = BTreeMap::new();
    for finding in findings(snapshot) {
        let is_thief = |peer: &Peer| {
            peer.workload().is_some_and(|of| finding.initiator_containers.contains(&of.container))
        };
        let members = conversations
            .iter()
            .enumerate()
            .filter(|(_, it)| is_thief(&it.initiator) || is_thief(&it.responder))
            .filter(|(_, it)| it.last_at >= finding.first_at && it.first_at <= finding.last_at);
        grounds.insert(finding.id.clone(), members.map(|(number, _)| number).collect());
    }
    grounds
}

/// Returns a finding for each service that sent from another's hardware address, or the gateway's.
pub(crate) fn findings(snapshot: &Snapshot) -> Vec<Finding> {
    let mut found: BTreeMap<Key, Finding> = BTreeMap::new();
    for theft in &snapshot.thefts {
        let service = |of: &Workload| of.qualified();
        let unnamed = || "unclaimed".to_owned();
        let (responder, holder, against) = match &theft.holder {
            MacHolder::Gateway => {
                ("host".to_owned(), "the gateway".to_owned(), format!("bridge of network {}", theft.network))
            }
            MacHolder::Workload(of) => {
                let against = format!("veth of {} in network {}", of.container, theft.network);
                (service(of), of.container.clone(), against)
            }
            MacHolder::Nameless => {
                (unnamed(), "another container".to_owned(), format!("veth in network {}", theft.network))
            }
        };
        let container = |of: Option<&Workload>| of.map(|of| of.container.clone());
        let thief = theft.thief.as_deref();
        let key = Key {
            kind: FindingKind::StolenMac,
            initiator: thief.map_or_else(unnamed, service),
            responder,
            port: None,
        };
        let holding = match &theft.holder {
            MacHolder::Workload(of) => Some(of.as_ref()),
            MacHolder::Gateway | MacHolder::Nameless => None,
        };
        let finding = found.entry(key.clone()).or_insert_with(|| Finding {
            id: key.id(),
            kind: key.kind,
            severity: Severity::High,
            initiator: key.initiator.clone(),
            responder: key.responder.clone(),
            port: None,
            reached: words::reached(&Outcomes::default()).to_owned(),
            summary: String::new(),
            against,
            first_at: theft.first_at,
            last_at: theft.last_at,
            first_frame: theft.first_frame,
            last_frame: theft.last_frame,
            connections: 0,
            frames: 0,
            initiator_containers: Vec::new(),
            responder_containers: Vec::new(),
            wireshark_filter: format!("eth.src == {}", theft.mac),
            complete: None,
        });
        finding.frames += theft.frames;
        finding.first_at = finding.first_at.min(theft.first_at);
        finding.last_at = finding.last_at.max(theft.last_at);
        finding.first_frame = finding.first_frame.min(theft.first_frame);
        finding.last_frame = finding.last_frame.max(theft.last_frame);
        for (names, name) in [
            (&mut finding.initiator_containers, container(thief)),
            (&mut finding.responder_containers, container(holding)),
        ] {
            names.extend(name);
            names.sort_unstable();
            names.dedup();
            names.truncate(CONTAINERS_MAX);
        }
        let sender = finding.initiator_containers.first().unwrap_or(&key.initiator);
        let sent = words::count(finding.frames, "frame");
        finding.summary =
            format!("{sender} sent {sent} from the hardware address of {holder} ({})", theft.mac);
        finding.complete = snapshot.completeness.between(finding.first_at, finding.last_at);
    }
    found.into_values().collect()
}
