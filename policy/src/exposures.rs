//! Published ports: where they are bound, who really came from outside, and when last.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portolan_flowtable::{Conversation, Peer, PublishedPort, ServicePort, Snapshot, Timestamp};

use crate::assessment::{Exposure, Finding, FindingKind, Firewall, Severity};
use crate::stable::StableHash;

/// Most exposures listed.
const EXPOSURES_MAX: usize = 4_096;
/// Most addresses from outside that are named; further ones are counted.
const CALLERS_MAX: usize = 16;
/// Time a port bound on every address may go without a caller from outside before it is said.
pub(crate) const UNUSED_AFTER: i64 = 24 * 3_600 * Timestamp::SECOND;

/// Lists the container ports that are mapped onto the host, by service, port and host address.
pub(crate) fn exposures(snapshot: &Snapshot, conversations: &[Conversation]) -> Vec<Exposure> {
    let mut calls: BTreeMap<(&str, ServicePort), Vec<&Conversation>> = BTreeMap::new();
    for conversation in conversations.iter().filter(|it| it.via.is_some() && !it.is_proxy_leg) {
        let Some(workload) = conversation.responder.workload() else { continue };
        calls.entry((workload.container_id.as_str(), conversation.port)).or_default().push(conversation);
    }
    let owners: BTreeMap<&str, _> =
        snapshot.workloads.iter().map(|workload| (workload.container_id.as_str(), workload)).collect();
    let mut exposures = Vec::new();
    for published in snapshot.published.iter().filter(|it| it.until.is_none()) {
        let Some(owner) = owners.get(published.container_id.as_str()) else { continue };
        let port = ServicePort { port: Some(published.container_port), protocol: published.protocol };
        let via = format!("host:{}", published.host_port);
        let mut exposure = Exposure {
            service: owner.qualified(),
            project: owner.project.clone(),
            container: owner.container.clone(),
            port,
            host: bound(published),
            is_everywhere: published.host_address.is_unspecified(),
            is_loopback: published.host_address.is_loopback(),
            from: published.from,
            callers: Vec::new(),
            callers_more: 0,
            connections_outside: 0,
            connections_inside: 0,
            last_used: None,
            firewall: Firewall::NotChecked,
        };
        let mut outside: BTreeSet<IpAddr> = BTreeSet::new();
        let mine = calls.get(&(published.container_id.as_str(), port));
        for call in mine.into_iter().flatten() {
            // Of several bindings of one port nothing tells which was used; none of them is unused then.
            if call.via.as_deref().is_none_or(|it| it != via && it != "ambiguous") {
                continue;
            }
            let connections = call.connections.attempted();
            match &call.initiator {
                Peer::External { address, .. } => {
                    outside.insert(*address);
                    exposure.connections_outside = exposure.connections_outside.saturating_add(connections);
                }
                Peer::Workload { .. }
                | Peer::Host { .. }
                | Peer::Unclaimed { .. }
                | Peer::Group { .. }
                | Peer::Ambiguous { .. }
                | Peer::Bare { .. } => {
                    exposure.connections_inside = exposure.connections_inside.saturating_add(connections);
                }
            }
            exposure.last_used = exposure.last_used.max(Some(call.last_at));
        }
        exposure.callers_more = u64::try_from(outside.len().saturating_sub(CALLERS_MAX)).unwrap_or(u64::MAX);
        exposure.callers = outside.into_iter().take(CALLERS_MAX).collect();
        exposures.push(exposure);
    }
    exposures.sort_by(|a, b| (&a.service, a.port, &a.host).cmp(&(&b.service, b.port, &b.host)));
    exposures.truncate(EXPOSURES_MAX);
    exposures
}

fn bound(published: &PublishedPort) -> String {
    match published.host_address {
        IpAddr::V4(v4) => format!("{v4}:{}", published.host_port),
        IpAddr::V6(v6) => format!("[{v6}]:{}", published.host_port),
    }
}

/// Writes a finding for each port that is bound on every address and that nobody from outside used for a day.
pub(crate) fn findings(exposures: &[Exposure], snapshot: &Snapshot) -> Vec<Finding> {
    let is_unused = |it: &&Exposure| {
        let since = it.from.max(snapshot.from);
        it.is_everywhere
            && it.connections_outside == 0
            && snapshot.at.since(since) >= UNUSED_AFTER
            // Who says that nobody came has to have looked all the time.
            && snapshot.completeness.between(since, snapshot.at) != Some(false)
    };
    exposures.iter().filter(is_unused).map(|exposure| finding(exposure, snapshot)).collect()
}

fn finding(exposure: &Exposure, snapshot: &Snapshot) -> Finding {
    let first_at = exposure.from.max(snapshot.from);
    let hours = snapshot.at.since(first_at) / (3_600 * Timestamp::SECOND);
    Finding {
        id: StableHash::new()
            .field(FindingKind::UnusedExposure.name())
            .field(&exposure.service)
            .field(&exposure.port.to_string())
            .field(&exposure.host)
            .digits(),
        kind: FindingKind::UnusedExposure,
        severity: Severity::Info,
        initiator: "external".to_owned(),
        responder: exposure.service.clone(),
        port: Some(exposure.port),
        reached: "idle".to_owned(),
        summary: format!("nobody came from outside in {hours} h; publish on 127.0.0.1 or not at all"),
        against: format!("published {}", exposure.host),
        first_at,
        last_at: snapshot.at,
        first_frame: 0,
        last_frame: 0,
        connections: 0,
        frames: 0,
        initiator_containers: Vec::new(),
        responder_containers: vec![exposure.container.clone()],
        wireshark_filter: crate::scan::port_filters(&[exposure.port]),
        complete: snapshot.completeness.between(first_at, snapshot.at),
    }
}
