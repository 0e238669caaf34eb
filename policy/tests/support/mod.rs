//! Workloads, peers and conversations to judge.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use portolan_flowtable::conversation::{Conversation, Outcomes, Peer, Snapshot};
use portolan_flowtable::flow::Claim;
use portolan_flowtable::{
    Completeness, DocumentSource, DocumentedPort, InitiatorEvidence, Ledger, Port, Protocol, Provenance,
    ServicePort, Tally, Timestamp, Workload,
};

pub(crate) const SECOND: i64 = 1_000_000_000;
pub(crate) const START: i64 = 1_795_183_080 * SECOND;

/// Builds a container of `project/service` (or of `service`) that documents `ports` by image.
pub(crate) fn workload(container: &str, qualified: &str, ports: &[u16]) -> Arc<Workload> {
    let (project, service) = qualified.split_once('/').unwrap_or(("", qualified));
    Arc::new(Workload {
        container_id: format!("id-of-{container}"),
        started_at: Timestamp(0),
        container: container.to_owned(),
        project: project.to_owned(),
        service: service.to_owned(),
        provenance: Provenance::Compose,
        image: format!("{service}:1"),
        image_id: String::new(),
        labels: BTreeMap::new(),
        networks: vec![format!("{project}_default")],
        documented: ports
            .iter()
            .map(|port| DocumentedPort {
                first: Port(*port),
                last: Port(*port),
                protocol: Protocol::TCP,
                source: DocumentSource::Image,
            })
            .collect(),
        identity_claim: None,
        unobservable: None,
        confinement: None,
        image_digests: Vec::new(),
    })
}

pub(crate) fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(172, 20, 0, last))
}

pub(crate) fn peer(workload: &Arc<Workload>, last: u8) -> Peer {
    Peer::Workload { workload: Arc::clone(workload), address: address(last) }
}

/// Builds a conversation with `answered` and `refused` connections.
pub(crate) fn talk(initiator: Peer, responder: Peer, port: u16, answered: u64, refused: u64) -> Conversation {
    let network =
        initiator.workload().or(responder.workload()).map(|workload| format!("{}_default", workload.project));
    Conversation {
        initiator,
        responder,
        port: ServicePort::new(port, Protocol::TCP),
        network: network.unwrap_or_default(),
        via: None,
        evidence: InitiatorEvidence::Handshake,
        claim: Claim::Own,
        claimed: None,
        sent: Tally { frames: 5 * answered + refused, bytes: 540 * answered + 60 * refused },
        received: Tally { frames: 4 * answered + refused, bytes: 4_200 * answered + 60 * refused },
        connections: Outcomes { answered, refused, ..Outcomes::default() },
        exchanged: answered,
        open: 0,
        is_midstream: false,
        is_proxy_leg: false,
        is_tunnel: false,
        first_at: Timestamp(START),
        last_at: Timestamp(START + SECOND),
        first_frame: 1,
        last_frame: 9,
        rtt_p50: (answered > 0).then_some(110_000),
        burst_unanswered: 0,
        icmp: Default::default(),
        first_source_port: Some(Port(50_001)),
    }
}

pub(crate) fn snapshot(workloads: Vec<Arc<Workload>>, conversations: Vec<Conversation>) -> Snapshot {
    Snapshot {
        at: Timestamp(START + 41 * SECOND),
        from: Timestamp(START),
        conversations,
        ledger: Ledger::default(),
        kernel_dropped: Some(0),
        completeness: Completeness::Complete,
        has_roster: true,
        workloads,
        listening: BTreeMap::new(),
        published: Vec::new(),
        stale: None,
        withheld: Tally::default(),
        conversations_folded: 0,
        thefts: Vec::new(),
        sweeps: Vec::new(),
    }
}

/// An address of a capture without a roster.
pub(crate) fn bare(text: &str) -> Peer {
    Peer::Bare { address: text.parse().expect("an address") }
}

pub(crate) fn external(last: u8) -> Peer {
    Peer::External { address: IpAddr::V4(Ipv4Addr::new(203, 0, 113, last)), names: Default::default() }
}

/// Sets how a conversation fared and when it began, in milliseconds after the start.
pub(crate) fn fared(mut conversation: Conversation, connections: Outcomes, begun: i64) -> Conversation {
    conversation.connections = connections;
    conversation.first_at = Timestamp(START + begun * 1_000_000);
    conversation.last_at = conversation.first_at;
    conversation
}

pub(crate) fn refused(number: u64) -> Outcomes {
    Outcomes { refused: number, ..Outcomes::default() }
}

pub(crate) fn unanswered(number: u64) -> Outcomes {
    Outcomes { unanswered: number, ..Outcomes::default() }
}

pub(crate) fn answered(number: u64) -> Outcomes {
    Outcomes { answered: number, ..Outcomes::default() }
}
