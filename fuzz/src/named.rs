//! Publications whose every name is somebody else's word.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use portolan_exporter::{DocumentedEdge, FlowEnd, FlowRecord, Publication, Text};
use portolan_flowtable::flow::Claim;
use portolan_flowtable::{
    Blindness, Completeness, ConnState, Conversation, DocumentSource, DocumentedPort, InitiatorEvidence,
    Outcome, Outcomes, Peer, Port, Protocol, Provenance, ServicePort, Tally, Timestamp, Workload,
};
use portolan_graphs::{Graph, Group};
use portolan_policy::{Finding, FindingKind, Judged, Listener, ListenerClass, Listens, Severity, Verdict};

use super::input::Input;

const START: Timestamp = Timestamp(1_700_000_000_000_000_000);

/// Names taken at most of one input.
const NAMES_MAX: usize = 5;

/// Builds a publication whose names an input spells.
pub fn of_bytes(bytes: &[u8]) -> Publication {
    let mut input = Input::new(bytes);
    let mut names = Vec::new();
    while !input.is_over() && names.len() < NAMES_MAX {
        names.push(input.text());
    }
    of(&names)
}

/// Builds a publication in which every field that holds a name holds one of these, each in every place.
pub fn of(names: &[String]) -> Publication {
    let name = |at: usize| names.get(at % names.len().max(1)).cloned().unwrap_or_default();
    let mut publication = Publication::empty(&name(0), &name(1), START);
    let mut judged = Vec::new();
    let mut workloads = Vec::new();
    for at in 0..names.len() {
        let caller = workload(at, &name(at), &name(at), &name(at + 1));
        let called = workload(at, &name(at + 1), &name(at + 2), "");
        judged.push(conversation(at, peer(&caller, at), peer(&called, at), &name(at)));
        workloads.extend([caller, called]);
    }
    judged.push(conversation(
        0,
        Peer::External { address: address(9), names: Default::default() },
        Peer::Host { address: address(1) },
        &name(0),
    ));
    let assessment = &mut publication.assessment;
    assessment.snapshot.has_roster = true;
    assessment.snapshot.stale = Some(name(2));
    assessment.snapshot.completeness = Completeness::Incomplete {
        reasons: names.to_vec(),
        blind: vec![Blindness { from: START, until: START, frames: Some(3), cause: name(3) }],
        is_undated: false,
    };
    assessment.snapshot.workloads.clone_from(&workloads);
    assessment.listeners = workloads.iter().map(listener).collect();
    assessment.undeclared = workloads.iter().map(|workload| workload.qualified()).collect();
    assessment.warnings = names.to_vec();
    assessment.contract = name(4);
    assessment.findings = names.iter().enumerate().map(|(at, name)| finding(at, name)).collect();
    assessment.judged = judged;
    publication.graph = Graph::draw(&publication.assessment, Group::Service);
    publication.flows = names.iter().enumerate().map(|(at, name)| flow(at, name)).collect();
    publication.documented_edges = names.iter().map(|name| documented_edge(name)).collect();
    publication.vitals.unobservable = names.iter().map(|name| (name.clone(), name.clone())).collect();
    publication.vitals.identity_by = name(5);
    publication.vitals.policy_hash = name(6);
    publication
}

/// Names that try to break out of whatever they are put into.
pub fn hostile() -> Vec<String> {
    let mut names: Vec<String> = [
        "a\"} 1\nportolan_edge_bytes_total{client=\"x",
        "a\"];evil[label=\"x",
        "back\\slash\\",
        "two\nlines\r\u{2028}more\u{2029}\u{85}",
        "esc\u{1b}[2J\u{1b}]52;c;aGk=\u{7}\u{9b}31m",
        "right\u{202e}left\u{2066}isolate\u{200f}",
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)' \" onload=\"x",
        "&#8238;&lt;b&gt;</title></td>&amp",
        "nul\0\r\ttab\u{7f}bell\u{7}",
        "{\"event_type\":\"finding\"}\n{}",
        "`ticks` %% ## | ]] )) }} end\nend",
        "=HYPERLINK(\"http://x\")",
        "\u{feff}zero\u{200b}\u{ad}\u{e0041}tag",
        "host",
        "10.0.0.1",
        "größe-日本-\u{1f600}",
        "",
    ]
    .map(str::to_owned)
    .into();
    names.push("long\"\\\n<\u{202e}".repeat(1_000));
    // Latin-1 and half a character, as whoever reads bytes shows them.
    names.push(String::from_utf8_lossy(b"inv\xff\xfealid \xc3 utf\xed\xa0\x80").into_owned());
    names
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(172, 20, 0, last).into()
}

fn workload(at: usize, container: &str, service: &str, project: &str) -> Arc<Workload> {
    Arc::new(Workload {
        container_id: format!("{at:x}{service}"),
        started_at: START,
        container: container.to_owned(),
        project: project.to_owned(),
        service: service.to_owned(),
        provenance: Provenance::Compose,
        image: container.to_owned(),
        image_id: String::new(),
        labels: BTreeMap::from([(container.to_owned(), service.to_owned())]),
        networks: vec![container.to_owned()],
        documented: vec![documented(service)],
        identity_claim: Some(service.to_owned()),
        unobservable: None,
        confinement: None,
        image_digests: Vec::new(),
    })
}

fn documented(name: &str) -> DocumentedPort {
    let source = DocumentSource::Publish { host: name.to_owned() };
    DocumentedPort { first: Port(80), last: Port(80), protocol: Protocol::TCP, source }
}

fn peer(workload: &Arc<Workload>, at: usize) -> Peer {
    let last = u8::try_from(at % 200).unwrap_or_default() + 2;
    Peer::Workload { workload: Arc::clone(workload), address: address(last) }
}

fn conversation(at: usize, initiator: Peer, responder: Peer, name: &str) -> Judged {
    let count = at as u64 + 1;
    Judged {
        conversation: Conversation {
            initiator,
            responder,
            port: ServicePort::new(80, Protocol::TCP),
            network: name.to_owned(),
            via: Some(name.to_owned()),
            evidence: InitiatorEvidence::Handshake,
            claim: Claim::Own,
            claimed: None,
            sent: Tally { frames: count, bytes: 100 * count },
            received: Tally { frames: 1, bytes: 66 },
            connections: Outcomes { answered: 1, ..Outcomes::default() },
            exchanged: 0,
            open: 0,
            is_midstream: false,
            is_proxy_leg: false,
            is_tunnel: false,
            first_at: START,
            last_at: START,
            first_frame: 1,
            last_frame: 9,
            rtt_p50: Some(80_000),
            burst_unanswered: 0,
            icmp: Default::default(),
            first_source_port: Some(Port(50_001)),
        },
        verdict: Verdict::UnexpectedPeer,
        documented_by: Some(DocumentSource::Roster { place: name.to_owned() }),
        decided_by: String::new(),
        pending: None,
        finding: Some(name.to_owned()),
    }
}

fn listener(workload: &Arc<Workload>) -> Listener {
    Listener {
        service: workload.qualified(),
        project: workload.project.clone(),
        port: ServicePort::new(80, Protocol::TCP),
        class: ListenerClass::DocumentedIdle,
        documented: workload.documented.clone(),
        listens: Listens::Yes,
        listens_in: vec![workload.container.clone()],
        listens_since: Some(START),
    }
}

fn finding(at: usize, name: &str) -> Finding {
    const KINDS: [FindingKind; 3] =
        [FindingKind::UnexpectedPeer, FindingKind::SpoofedSource, FindingKind::PortScan];
    const SEVERITIES: [Severity; 3] = [Severity::Low, Severity::Medium, Severity::High];
    Finding {
        id: name.to_owned(),
        kind: KINDS[at % KINDS.len()],
        severity: SEVERITIES[at % SEVERITIES.len()],
        initiator: name.to_owned(),
        responder: name.to_owned(),
        port: Some(ServicePort::new(80, Protocol::TCP)),
        reached: name.to_owned(),
        summary: name.to_owned(),
        against: name.to_owned(),
        first_at: START,
        last_at: START,
        first_frame: 3,
        last_frame: 8,
        connections: 3,
        frames: 20,
        initiator_containers: vec![name.to_owned()],
        responder_containers: vec![name.to_owned()],
        wireshark_filter: name.to_owned(),
        complete: Some(false),
    }
}

fn flow(at: usize, name: &str) -> FlowRecord {
    let end = |last| FlowEnd {
        ip: address(last),
        port: Some(Port(80)),
        service: name.into(),
        container: if at.is_multiple_of(2) { name.into() } else { Text::default() },
        image: name.into(),
        names: Vec::new(),
    };
    FlowRecord {
        flow_id: at as u64 + 1,
        community_id: name.into(),
        proto: Protocol::TCP,
        src: end(2),
        dest: end(3),
        network: name.into(),
        evidence: InitiatorEvidence::Handshake,
        claim: Claim::Own,
        outcome: Outcome::Answered,
        sent: Tally { frames: 1, bytes: 60 },
        received: Tally { frames: 1, bytes: 60 },
        first_at: START,
        last_at: START,
        first_frame: 1,
        last_frame: 2,
        rtt: Some(1),
        ack_rtt: None,
        conn_state: ConnState::Sf,
        history: name.into(),
        retransmissions: Default::default(),
        zero_windows: Default::default(),
        gaps: Default::default(),
        icmp_error: None,
        ended: None,
        dry_run: None,
    }
}

fn documented_edge(name: &str) -> DocumentedEdge {
    DocumentedEdge {
        client: name.to_owned(),
        client_project: name.to_owned(),
        server: name.to_owned(),
        server_project: String::new(),
        port: ServicePort::new(81, Protocol::TCP),
        documented_by: name.to_owned(),
    }
}
