//! A small shop and its traffic, as a snapshot.

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

/// Twelve services in two projects with every look an edge can have.
pub(crate) fn shop() -> Snapshot {
    let w = |container, qualified, ports: &[u16]| workload(container, qualified, ports);
    let web = w("web-1", "shop/web", &[80]);
    let cart = [w("cart-1", "shop/cart", &[8080, 8443]), w("cart-2", "shop/cart", &[8080, 8443])];
    let db = w("db-1", "shop/db", &[5432, 9187]);
    let cache = w("cache-1", "shop/cache", &[6379]);
    let reports = w("reports-1", "shop/reports", &[]);
    let batch = w("batch-1", "shop/batch", &[]);
    let ledger = w("ledger-1", "shop/ledger", &[8443]);
    let search = w("search-1", "shop/search", &[9200]);
    let mail = w("mail-1", "shop/mail", &[25]);
    let prometheus = w("prometheus", "ops/prometheus", &[9090]);
    let grafana = w("grafana", "ops/grafana", &[3000]);
    let node = w("node-exporter", "ops/node-exporter", &[9100]);
    let p = peer;
    let external = |last| Peer::External {
        address: IpAddr::V4(Ipv4Addr::new(203, 0, 113, last)),
        names: Default::default(),
    };
    let host = || Peer::Host { address: address(1) };
    let mut published = talk(external(7), p(&web, 2), 80, 31, 0);
    published.via = Some("host:8080".to_owned());
    let mut leg = talk(host(), p(&web, 2), 80, 4, 0);
    leg.is_proxy_leg = true;
    let mut blocked = talk(p(&web, 2), p(&ledger, 9), 8443, 0, 0);
    blocked.connections.blocked = 4;
    let mut spoofed = talk(p(&reports, 7), p(&cart[0], 3), 8080, 0, 0);
    spoofed.claim = Claim::Spoofed;
    spoofed.claimed = Some(Box::new(p(&db, 5)));
    spoofed.connections.unanswered = 40;
    spoofed.sent = Tally { frames: 40, bytes: 2_400 };
    let mut backscatter = talk(p(&db, 5), p(&cart[0], 3), 8080, 0, 0);
    backscatter.claim = Claim::Backscatter;
    let conversations = vec![
        published,
        leg,
        talk(p(&web, 2), p(&cart[0], 3), 8080, 60, 0),
        talk(p(&web, 2), p(&cart[1], 4), 8080, 52, 0),
        talk(p(&web, 2), p(&cart[0], 3), 9229, 1, 0),
        talk(p(&cart[0], 3), p(&db, 5), 5432, 57, 0),
        talk(p(&cart[1], 4), p(&cache, 6), 6379, 18_000, 0),
        talk(p(&reports, 7), p(&db, 5), 5432, 3, 0),
        talk(p(&batch, 8), p(&cache, 6), 6379, 0, 6),
        blocked,
        spoofed,
        backscatter,
        talk(p(&web, 2), p(&search, 10), 9200, 900, 0),
        talk(p(&cart[0], 3), external(9), 443, 12, 0),
        talk(p(&prometheus, 12), p(&node, 14), 9100, 40, 0),
        talk(p(&prometheus, 12), p(&db, 5), 9187, 40, 0),
        talk(p(&grafana, 13), p(&prometheus, 12), 9090, 200, 0),
    ];
    let [one, two] = cart;
    let workloads =
        vec![web, one, two, db, cache, reports, batch, ledger, search, mail, prometheus, grafana, node];
    snapshot(workloads, conversations)
}

pub(crate) const CONTRACT: &str = r#"
[[service]]
service = "shop/db"
ports = ["5432/tcp", "9187/tcp"]
initiators = ["shop/cart", "prometheus"]
"#;
