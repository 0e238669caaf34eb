//! Host sweeps by ARP: in its own network nobody can be called whose hardware address is not known, so who looks for hosts
//! there asks for it. To an address nobody holds not a packet is sent, and no conversation shows it.

use std::collections::BTreeMap;

use portolan_flowtable::neighbours::ASKED_MAX;
use portolan_flowtable::{Conversation, NeighbourSweep, Outcomes, Peer, Snapshot};

use crate::assess::Key;
use crate::assessment::{Finding, FindingKind, Severity};
use crate::rules::Rules;
use crate::scan::{SEVERAL, ScanLimits};
use crate::words;

/// Who has an address of a container network that no container holds.
const UNCLAIMED: &str = "unclaimed";

/// Returns a finding for each sweep, without those somebody exempts.
pub(crate) fn findings(rules: &Rules, snapshot: &Snapshot, limits: &ScanLimits) -> Vec<Finding> {
    let sweeps = snapshot.sweeps.iter().filter(|sweep| sweep.addresses >= limits.sweep_neighbours);
    let found = sweeps.map(|sweep| finding(sweep, snapshot, limits));
    // The same container under another address: one finding.
    let mut by_id: BTreeMap<String, Finding> = BTreeMap::new();
    for finding in found.filter(|finding| !rules.exempts_finding(finding, snapshot)) {
        by_id.entry(finding.id.clone()).or_insert(finding);
    }
    by_id.into_values().collect()
}

/// Returns by each finding's id the numbers of the conversations its sender began meanwhile.
pub(crate) fn grounds(
    findings: Vec<Finding>,
    conversations: &[Conversation],
) -> BTreeMap<String, Vec<usize>> {
    let members = |finding: &Finding| {
        let is_asker = |peer: &Peer| {
            let is_named =
                peer.workload().is_some_and(|of| finding.initiator_containers.contains(&of.container));
            is_named || peer.service() == finding.initiator
        };
        let own = conversations.iter().enumerate().filter(|(_, it)| is_asker(&it.initiator));
        let meanwhile =
            own.filter(|(_, it)| it.last_at >= finding.first_at && it.first_at <= finding.last_at);
        meanwhile.map(|(number, _)| number).collect()
    };
    findings.into_iter().map(|finding| (finding.id.clone(), members(&finding))).collect()
}

fn finding(sweep: &NeighbourSweep, snapshot: &Snapshot, limits: &ScanLimits) -> Finding {
    let address = sweep.address.to_string();
    let initiator = match &sweep.asker {
        Some(workload) => workload.qualified(),
        None if sweep.is_host => "host".to_owned(),
        None if snapshot.has_roster => UNCLAIMED.to_owned(),
        None => address.clone(),
    };
    let container = sweep.asker.as_ref().map(|workload| workload.container.clone());
    // Another finding than a sweep that conversations show.
    let key = Key {
        kind: FindingKind::HostSweep,
        initiator: match initiator.as_str() {
            // Its address alone tells it from others.
            UNCLAIMED => format!("{initiator} {address}"),
            _ => initiator.clone(),
        },
        responder: format!("arp in {}", sweep.network),
        port: None,
    };
    let addresses = sweep.addresses;
    let more = if sweep.addresses >= ASKED_MAX { " or more" } else { "" };
    let network = if sweep.network.is_empty() { String::new() } else { format!(" in {}", sweep.network) };
    let lasted = words::span(sweep.last_at.since(sweep.first_at));
    Finding {
        id: key.id(),
        kind: key.kind,
        severity: Severity::Medium,
        initiator,
        responder: SEVERAL.to_owned(),
        port: None,
        reached: words::reached(&Outcomes { unanswered: 1, ..Outcomes::default() }).to_owned(),
        summary: format!(
            "{} asked by ARP for {addresses}{more} addresses that nobody answers for{network}, in {lasted}",
            container.as_ref().unwrap_or(&address)
        ),
        against: format!("a host sweep by ARP is {} addresses in vain within 60 s", limits.sweep_neighbours),
        first_at: sweep.first_at,
        last_at: sweep.last_at,
        first_frame: sweep.first_frame,
        last_frame: sweep.last_frame,
        connections: 0,
        frames: sweep.frames,
        initiator_containers: container.into_iter().collect(),
        responder_containers: Vec::new(),
        wireshark_filter: format!("arp.opcode==1 && arp.src.proto_ipv4=={address}"),
        complete: snapshot.completeness.between(sweep.first_at, sweep.last_at),
    }
}
