//! Publications to export, built from a few words.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portolan_exporter::Publication;
use portolan_flowtable::flow::Claim;
use portolan_flowtable::indicators::{Indicators, Reading, Round};
use portolan_flowtable::{
    Conversation, DocumentSource, DocumentedPort, InitiatorEvidence, Outcomes, Peer, Port, Protocol,
    ServicePort, Tally, Timestamp, Workload,
};
use portolan_policy::{Finding, FindingKind, Judged, Listener, ListenerClass, Listens, Severity, Verdict};

pub(crate) const START: Timestamp = Timestamp(1_700_000_000_000_000_000);

pub(crate) fn at(seconds: i64) -> Timestamp {
    START.plus(seconds * Timestamp::SECOND)
}

pub(crate) fn empty() -> Publication {
    Publication::empty("web-03", "0.1.0", START)
}

pub(crate) fn workload(project: &str, service: &str) -> Arc<Workload> {
    Arc::new(Workload {
        container_id: container_id(project, service),
        container: format!("{project}-{service}-1"),
        project: project.to_owned(),
        service: service.to_owned(),
        image: format!("{service}:latest"),
        ..Workload::default()
    })
}

fn container_id(project: &str, service: &str) -> String {
    let digits: String = format!("{project}/{service}").bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("c0ffee{digits:0<58}")
}

pub(crate) fn service(project: &str, service: &str) -> Peer {
    Peer::Workload { workload: workload(project, service), address: "172.20.0.3".parse().unwrap() }
}

pub(crate) fn external() -> Peer {
    Peer::External { address: "203.0.113.9".parse().unwrap(), names: Default::default() }
}

pub(crate) fn judged(initiator: Peer, responder: Peer, port: u16, bytes: u64) -> Judged {
    Judged {
        conversation: Conversation {
            initiator,
            responder,
            port: ServicePort::new(port, Protocol::TCP),
            network: "shop_default".to_owned(),
            via: None,
            evidence: InitiatorEvidence::Handshake,
            claim: Claim::Own,
            claimed: None,
            sent: Tally { frames: bytes / 10, bytes },
            received: Tally { frames: 1, bytes: 66 },
            connections: Outcomes { answered: 1, ..Outcomes::default() },
            exchanged: 0,
            open: 0,
            is_midstream: false,
            is_proxy_leg: false,
            is_tunnel: false,
            first_at: START,
            last_at: at(1),
            first_frame: 1,
            last_frame: 9,
            rtt_p50: Some(80_000),
            burst_unanswered: 0,
            icmp: Default::default(),
            first_source_port: Some(Port(50_001)),
        },
        verdict: Verdict::Unjudged,
        documented_by: None,
        decided_by: String::new(),
        pending: None,
        finding: None,
    }
}

/// A publication at `seconds` with these conversations, all of whose services exist.
pub(crate) fn publication(seconds: i64, conversations: Vec<Judged>) -> Publication {
    let mut publication = empty();
    let snapshot = &mut publication.assessment.snapshot;
    snapshot.at = at(seconds);
    snapshot.has_roster = true;
    let mut services = BTreeMap::new();
    for judged in &conversations {
        for peer in [&judged.conversation.initiator, &judged.conversation.responder] {
            if let Some(workload) = peer.workload() {
                services.insert(workload.qualified(), Arc::clone(workload));
            }
        }
    }
    snapshot.workloads = services.into_values().collect();
    publication.assessment.judged = conversations;
    publication
}

pub(crate) fn finding(id: &str, kind: FindingKind, severity: Severity) -> Finding {
    Finding {
        id: id.to_owned(),
        kind,
        severity,
        initiator: "shop/reports".to_owned(),
        responder: "shop/db".to_owned(),
        port: Some(ServicePort::new(5432, Protocol::TCP)),
        reached: "answered".to_owned(),
        summary: "3 connections; no network, link or rule joins them".to_owned(),
        against: "compose.yaml:29".to_owned(),
        first_at: START,
        last_at: at(2),
        first_frame: 3,
        last_frame: 8,
        connections: 3,
        frames: 20,
        initiator_containers: vec!["shop-reports-1".to_owned()],
        responder_containers: vec!["shop-db-1".to_owned()],
        wireshark_filter: "ip.addr == 172.20.0.3".to_owned(),
        complete: Some(true),
    }
}

pub(crate) fn listener(project: &str, service: &str, port: u16, source: DocumentSource) -> Listener {
    Listener {
        service: if project.is_empty() { service.to_owned() } else { format!("{project}/{service}") },
        project: project.to_owned(),
        port: ServicePort::new(port, Protocol::TCP),
        class: ListenerClass::DocumentedIdle,
        documented: vec![DocumentedPort {
            first: Port(port),
            last: Port(port),
            protocol: Protocol::TCP,
            source,
        }],
        listens: Listens::NotChecked,
        listens_in: Vec::new(),
        listens_since: None,
    }
}

/// Names that try to break out of whatever they are put into.
pub(crate) const HOSTILE: [&str; 9] = [
    "a\"} 1\nportolan_edge_bytes_total{client=\"x",
    "back\\slash\\",
    "esc\u{1b}[2J\u{9b}",
    "bidi\u{202e}gnp.exe",
    "<script>alert(1)</script>",
    "nul\0\r\ttab",
    "{\"event_type\":\"finding\"}\n{}",
    "' onload=x",
    "sep\u{2028}\u{e0041}\u{feff}",
];

/// Every kind of thing at once, with hostile names in every field that takes a name.
pub(crate) fn loaded() -> Publication {
    let mut conversations = vec![
        judged(external(), service("shop", "web"), 80, 4_096),
        judged(service("shop", "web"), service("shop", "cart"), 8080, (1 << 53) + 1),
        judged(service("shop", "web"), Peer::Host { address: "172.20.0.1".parse().unwrap() }, 53, 90),
        judged(
            Peer::Unclaimed { address: "172.20.0.77".parse().unwrap(), attachment: None },
            service("shop", "db"),
            5432,
            7,
        ),
        judged(Peer::Bare { address: "10.1.1.1".parse().unwrap() }, service("shop", "db"), 5432, 7),
    ];
    for name in HOSTILE {
        conversations.push(judged(service(name, name), service(name, "cart"), 8080, 1_000));
    }
    for judged in &mut conversations {
        judged.conversation.network = HOSTILE[0].to_owned();
        judged.documented_by = Some(DocumentSource::Roster { place: HOSTILE[1].to_owned() });
    }
    let mut publication = publication(2, conversations);
    publication.assessment.snapshot.kernel_dropped = Some(3);
    publication.vitals.policy_hash = "abc123".to_owned();
    publication.vitals.residual_bytes = -3;
    publication.assessment.findings = vec![
        finding("7c21e0945b1f20aa", FindingKind::UnexpectedPeer, Severity::High),
        Finding {
            initiator: HOSTILE[2].to_owned(),
            summary: HOSTILE[4].to_owned(),
            against: HOSTILE[6].to_owned(),
            ..finding("00000000000000aa", FindingKind::SpoofedSource, Severity::High)
        },
    ];
    for name in HOSTILE {
        let source = DocumentSource::Publish { host: name.to_owned() };
        publication.assessment.listeners.push(listener(name, name, 8080, source));
        publication.baseline.push(baseline_row(&format!("{name}/{name}"), "promoted"));
    }
    let used = |name: &str| Reading {
        at: START,
        container_id: container_id(name, name),
        container: name.to_owned(),
        service: name.to_owned(),
        project: name.to_owned(),
        indicators: Indicators {
            memory_bytes: Some(5_000),
            cpu_nanoseconds: Some(1_500_000_000),
            block_read_bytes: Some(1),
            block_written_bytes: Some(2),
            pids: Some(3),
        },
    };
    let readings = HOSTILE.map(used).to_vec();
    publication.indicators = Some(Round { at: START, readings, unanswered: 1, left_out: 2 });
    publication
}

/// What is learned of a service.
pub(crate) fn baseline_row(service: &str, stage: &str) -> portolan_exporter::BaselineRow {
    portolan_exporter::BaselineRow {
        service: service.to_owned(),
        image: "sha256:aa".to_owned(),
        reference: "db:16".to_owned(),
        stage: stage.to_owned(),
        watched_until: START,
        learned: 3,
        candidates: 1,
        forbidden: 0,
        draws: 412,
        novelty: 0.0125,
        missing: Vec::new(),
    }
}

/// Reads an exposition as strictly as the format allows: name and labels to value. Panics on duplicates, on a
/// sample without HELP and TYPE before it, and on a family in two pieces.
pub(crate) fn parse(text: &str) -> BTreeMap<(String, BTreeMap<String, String>), String> {
    assert!(text.ends_with('\n'), "the last line must end");
    let mut samples = BTreeMap::new();
    let (mut helped, mut typed) = (BTreeSet::new(), BTreeSet::new());
    let (mut family, mut is_histogram) = (String::new(), false);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().unwrap().to_owned();
            assert!(helped.insert(family.clone()), "a second HELP for {family}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, family, "TYPE without its HELP");
            assert!(typed.insert(name.to_owned()), "a second TYPE for {name}");
            is_histogram = kind == "histogram";
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        } else {
            let (name, labels, value) = parse_sample(line);
            let own = if is_histogram { without_part(&name) } else { &name };
            assert_eq!(own, family, "a sample outside its family: {line}");
            assert!(typed.contains(own), "a sample without TYPE: {line}");
            assert!(value.parse::<f64>().is_ok(), "no number: {line}");
            assert!(samples.insert((name, labels), value).is_none(), "a duplicate: {line}");
        }
    }
    samples
}

/// Returns the label every series has.
pub(crate) fn host_label() -> (String, String) {
    ("host".to_owned(), "web-03".to_owned())
}

/// Returns the family of a histogram's sample.
pub(crate) fn without_part(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name)
}

fn parse_sample(line: &str) -> (String, BTreeMap<String, String>, String) {
    let Some((name, mut rest)) = line.split_once('{') else {
        let (name, value) = line.split_once(' ').unwrap();
        return (name.to_owned(), BTreeMap::new(), value.to_owned());
    };
    let mut labels = BTreeMap::new();
    loop {
        let (label, quoted) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
        let (mut value, mut end, mut characters) = (String::new(), None, quoted.char_indices());
        while let Some((position, character)) = characters.next() {
            match character {
                '"' => {
                    end = Some(position + 1);
                    break;
                }
                '\\' => value.push(match characters.next().unwrap().1 {
                    'n' => '\n',
                    same @ ('\\' | '"') => same,
                    other => panic!("an escape the format does not know: \\{other} in {line}"),
                }),
                plain => {
                    assert!(!portolan_exporter::escape::is_hostile(plain), "{plain:?} in {line}");
                    value.push(plain);
                }
            }
        }
        assert!(labels.insert(label.to_owned(), value).is_none(), "label {label} twice: {line}");
        rest = &quoted[end.unwrap_or_else(|| panic!("an open quote: {line}"))..];
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => break,
        }
    }
    (name.to_owned(), labels, rest.strip_prefix("} ").unwrap().to_owned())
}
