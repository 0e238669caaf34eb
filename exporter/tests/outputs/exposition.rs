//! What a scrape says, and that everybody can read it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::fixture::{
    HOSTILE, empty, external, finding, host_label, judged, listener, loaded, parse, publication, service,
    without_part,
};
use portolan_exporter::exposition::render_with;
use portolan_exporter::{
    Cost, DocumentedEdge, EdgeMemory, OwnMetrics, Publication, SeriesLimits, catalogue, render,
};
use portolan_flowtable::{DocumentSource, InitiatorEvidence, Outcomes, Peer, Protocol, ServicePort};
use portolan_policy::{FindingKind, Severity, Verdict};

type Samples = BTreeMap<(String, BTreeMap<String, String>), String>;

#[test]
fn promtool_finds_nothing_to_complain_about() {
    for (case, text) in [("empty", render(&empty(), limits())), ("loaded", render(&loaded(), limits()))] {
        let child = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.expect("promtool is needed: apt-get install prometheus");
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success() && said.is_empty(), "{case}: {}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn what_is_exported_is_what_the_catalogue_lists() {
    let own = OwnMetrics::new();
    own.request("metrics", 200);
    own.costs(Cost { cpu_seconds: 1.5, resident_bytes: 4096.0 });
    let mut publication = loaded();
    for judged in &mut publication.assessment.judged {
        let decided_by = String::new();
        judged.pending =
            Some(portolan_policy::Pending { verdict: portolan_policy::Verdict::Denied, decided_by });
    }
    let samples = parse(&render_with(&publication, &fed(limits(), std::slice::from_ref(&publication)), &own));
    for metric in catalogue::ALL {
        let is_its = |name: &str| name == metric.name || without_part(name) == metric.name;
        let of_family: Vec<_> = samples.keys().filter(|(name, _)| is_its(name)).collect();
        assert!(!of_family.is_empty(), "{} is listed and not exported", metric.name);
        for (name, labels) in of_family {
            let mut listed = metric.labels.to_vec();
            listed.push(catalogue::HOST);
            listed.sort_unstable();
            let own =
                labels.keys().filter(|label| !(metric.kind == catalogue::Kind::Histogram && *label == "le"));
            assert!(own.eq(listed.iter()), "{name}: {labels:?}");
        }
    }
    for (name, _) in samples.keys() {
        let is_its = |metric: &&catalogue::Metric| metric.name == name || metric.name == without_part(name);
        assert!(catalogue::ALL.iter().any(|metric| is_its(&metric)), "{name} is exported and not listed");
    }
}

#[test]
fn every_series_says_whose_it_is() {
    for host in ["web-03", HOSTILE[2]] {
        let mut publication = loaded();
        host.clone_into(&mut publication.vitals.host);
        let own = OwnMetrics::new();
        own.request("metrics", 200);
        own.raised_after(0.5);
        own.costs(Cost { cpu_seconds: 1.5, resident_bytes: 4096.0 });
        let samples =
            parse(&render_with(&publication, &fed(limits(), std::slice::from_ref(&publication)), &own));
        let hosts: std::collections::BTreeSet<_> =
            samples.keys().map(|(_, labels)| labels.get(catalogue::HOST)).collect();
        assert_eq!(hosts.len(), 1, "{hosts:?}");
        let shown = hosts.first().copied().flatten().expect("on every series");
        assert_eq!(shown == host, host == "web-03", "hostile ones are shown visibly: {shown}");
        assert!(catalogue::ALL.iter().all(|metric| !metric.labels.contains(&catalogue::HOST)), "once");
    }
}

#[test]
fn counts_beyond_what_a_float_holds_are_exact() {
    let mut huge = judged(service("shop", "web"), service("shop", "cart"), 8080, u64::MAX - 1);
    huge.conversation.received.bytes = (1 << 53) + 1;
    let samples = parse(&render(&publication(1, vec![huge]), limits()));
    assert_eq!(
        edge(&samples, "portolan_edge_bytes_total", "cart", "8080", "to_server"),
        "18446744073709551614"
    );
    assert_eq!(edge(&samples, "portolan_edge_bytes_total", "cart", "8080", "to_client"), "9007199254740993");
}

#[test]
fn hostile_names_come_back_visible_and_whole() {
    let samples = parse(&render(&loaded(), limits()));
    let clients: Vec<_> = samples.keys().filter_map(|(_, labels)| labels.get("client")).collect();
    for expected in
        [HOSTILE[0], HOSTILE[1], "esc\\u{1b}[2J\\u{9b}", "bidi\\u{202e}gnp.exe", "nul\\u{0}\\u{d}\\u{9}tab"]
    {
        assert!(clients.iter().any(|client| *client == expected), "{expected:?} is not among the clients");
    }
}

#[test]
fn no_container_id_outside_address_or_guessed_ephemeral_port_is_a_label() {
    let mut guess = judged(service("shop", "web"), service("shop", "cart"), 50_123, 10);
    guess.conversation.evidence = InitiatorEvidence::FirstSender;
    let text =
        render(&publication(1, vec![judged(external(), service("shop", "web"), 80, 10), guess]), limits());
    for forbidden in ["c0ffee", "203.0.113.9", "50123", "172.20.0.3"] {
        assert!(!text.contains(forbidden), "{forbidden} in\n{text}");
    }
    assert!(
        text.contains("client=\"external\",client_project=\"\",server=\"web\",server_project=\"shop\""),
        "{text}"
    );
}

#[test]
fn names_that_look_the_same_are_one_label_set() {
    let long = "x".repeat(500);
    let same = [("a\u{1b}", "a\\u{1b}"), (&long, &format!("{long}y"))];
    for (one, two) in same {
        let cart = || service("shop", "cart");
        let conversations =
            vec![judged(service("p", one), cart(), 80, 30), judged(service("p", two), cart(), 80, 12)];
        let samples = parse(&render(&publication(1, conversations), limits()));
        assert_eq!(edge(&samples, "portolan_edge_bytes_total", "cart", "80", "to_server"), "42");
    }
}

#[test]
fn edges_beyond_the_limit_are_added_up_in_other_and_nothing_is_lost() {
    let count = 300;
    let conversations: Vec<_> =
        (0..count).map(|n| judged(service("p", &format!("s{n:03}")), service("p", "db"), 5432, 10)).collect();
    let limits = SeriesLimits { edges_max: 100, ..limits() };
    let mut memory = EdgeMemory::new(limits);
    let mut earlier = 0;
    let other = |memory: &EdgeMemory| memory.series().any(|(key, _)| key.server == "other");
    // Growth, then half of them gone (the folded ones among them), then back again: `other` never falls.
    for (turn, kept) in [(1, 0..count), (2, 0..count), (3, 0..count / 2), (4, 0..count)] {
        let mut some = conversations[kept].to_vec();
        for judged in &mut some {
            judged.conversation.sent.bytes = 10 * u64::try_from(turn).unwrap();
        }
        let publication = publication(turn, some);
        memory.turn(&publication);
        let samples = parse(&render_with(&publication, &memory, &OwnMetrics::new()));
        let others = number(&edge(&samples, "portolan_edge_bytes_total", "other", "other", "to_server"));
        assert!(others >= earlier, "turn {turn}: {earlier}, then {others}");
        earlier = others;
        assert_eq!(memory.series().count(), 101, "turn {turn}: the limit and `other`");
        if turn <= 2 {
            assert_eq!(
                sum(&samples, "portolan_edge_bytes_total", "to_server"),
                300 * 10 * u64::try_from(turn).unwrap()
            );
            assert_eq!(
                samples[&("portolan_exporter_series_folded_total".to_owned(), [host_label()].into())],
                "200"
            );
        }
    }
    memory.turn(&publication(1_000, Vec::new()));
    assert!(other(&memory), "what was counted under `other` stays");
    assert_eq!(memory.series().count(), 1, "all else is gone");
}

#[test]
fn a_port_scan_cannot_push_others_into_other() {
    let scan = |port| judged(external(), service("shop", "web"), port, 1);
    let mut conversations: Vec<_> = (1..=1_000).map(scan).collect();
    let mut documented = scan(8_080);
    documented.documented_by = Some(DocumentSource::Image);
    conversations.push(documented);
    conversations.push(judged(service("shop", "web"), service("shop", "db"), 5432, 5));
    let memory = fed(SeriesLimits { edges_max: 100, ..limits() }, &[publication(1, conversations)]);
    let ports: Vec<_> = memory
        .series()
        .filter(|(key, _)| key.client == "external")
        .map(|(key, _)| key.port.as_str())
        .collect();
    assert_eq!(ports.len(), 64 + 2, "{ports:?}");
    assert!(ports.contains(&"8080") && ports.contains(&"other"), "{ports:?}");
    let scanned: u64 =
        memory.series().filter(|(key, _)| key.client == "external").map(|(_, s)| s.totals.sent.bytes).sum();
    assert_eq!(scanned, 1_001);
    assert!(memory.series().any(|(key, _)| key.server == "db"), "the honest edge has its series");
}

#[test]
fn counters_never_fall_while_a_series_lives() {
    let one = |bytes| judged(service("shop", "web"), service("shop", "cart"), 8080, bytes);
    #[rustfmt::skip]
    let turns = [
        // conversations             expected
        (vec![one(100), one(50)],    150),
        (vec![one(60)],              150), // one was forgotten
        (vec![one(70)],              160),
        (vec![],                     160),
        (vec![one(5)],               165), // and began again
    ];
    let mut memory = EdgeMemory::new(limits());
    for (turn, (conversations, expected)) in turns.into_iter().enumerate() {
        let mut publication = publication(i64::try_from(turn).unwrap(), conversations);
        publication.assessment.snapshot.workloads = [service("shop", "web"), service("shop", "cart")]
            .iter()
            .filter_map(|peer| peer.workload().cloned())
            .collect();
        memory.turn(&publication);
        let (_, series) = memory.series().next().unwrap();
        assert_eq!(series.totals.sent.bytes, expected, "turn {turn}");
    }
}

#[test]
fn a_series_ends_sixty_seconds_after_its_services() {
    let conversation = || judged(service("shop", "web"), service("shop", "cart"), 8080, 100);
    let mut memory = fed(limits(), &[publication(0, vec![conversation()])]);
    let mut without = |seconds: i64| {
        // The conversation is still held; web is gone.
        let mut publication = publication(seconds, vec![conversation()]);
        publication.assessment.snapshot.workloads.retain(|workload| workload.service != "web");
        memory.turn(&publication);
        memory.series().count()
    };
    assert_eq!([without(1), without(59), without(60), without(61), without(600)], [1, 1, 0, 0, 0]);
    memory.turn(&publication(700, vec![conversation()]));
    assert_eq!(memory.series().count(), 1, "web is back");
}

#[test]
fn documented_edges_begin_at_zero() {
    let mut publication =
        publication(1, vec![judged(service("shop", "web"), service("shop", "db"), 5432, 10)]);
    let published = DocumentSource::Publish { host: "0.0.0.0:8080".to_owned() };
    publication.assessment.listeners =
        vec![listener("shop", "web", 80, published), listener("shop", "db", 9187, DocumentSource::Image)];
    let expected = |server: &str, port| DocumentedEdge {
        client: "web".to_owned(),
        client_project: "shop".to_owned(),
        server: server.to_owned(),
        server_project: "shop".to_owned(),
        port: ServicePort::new(port, Protocol::TCP),
        documented_by: "contract.toml:12".to_owned(),
    };
    publication.documented_edges = vec![expected("db", 5432), expected("db", 5433), expected("absent", 1)];
    let samples = parse(&render(&publication, limits()));
    assert_eq!(edge(&samples, "portolan_edge_bytes_total", "web", "80", "to_server"), "0");
    assert_eq!(edge(&samples, "portolan_edge_connections_total", "db", "5433", "answered"), "0");
    assert_eq!(edge(&samples, "portolan_edge_bytes_total", "db", "5432", "to_server"), "10");
    let servers: Vec<_> = samples.keys().filter_map(|(_, labels)| labels.get("server")).collect();
    assert!(!servers.iter().any(|server| *server == "absent"), "a service that is not there has no series");
}

#[test]
fn backscatter_is_no_edge() {
    let mut provoked = judged(service("shop", "web"), service("shop", "db"), 5432, 10);
    provoked.verdict = Verdict::Backscatter;
    assert_eq!(fed(limits(), &[publication(1, vec![provoked])]).series().count(), 0);
}

#[test]
fn outcomes_are_exported_but_for_pending_ones() {
    let mut conversation = judged(service("shop", "web"), service("shop", "db"), 5432, 10);
    conversation.conversation.connections =
        Outcomes { answered: 1, refused: 2, unanswered: 3, blocked: 4, pending: 5 };
    let samples = parse(&render(&publication(1, vec![conversation]), limits()));
    for (outcome, expected) in [("answered", "1"), ("refused", "2"), ("unanswered", "3"), ("blocked", "4")] {
        assert_eq!(edge(&samples, "portolan_edge_connections_total", "db", "5432", outcome), expected);
    }
    assert!(
        !samples.keys().any(|(_, labels)| labels.get("outcome").is_some_and(|outcome| outcome == "pending"))
    );
}

#[test]
fn findings_are_counted_when_raised_and_not_at_every_tick() {
    let with = |findings: Vec<_>| {
        let mut publication = empty();
        publication.assessment.findings = findings;
        publication
    };
    let low = || finding("a", FindingKind::UnexpectedPeer, Severity::Low);
    let high = || finding("a", FindingKind::UnexpectedPeer, Severity::High);
    let turns = [with(vec![low()]), with(vec![low()]), with(vec![high()]), with(vec![]), with(vec![high()])];
    let memory = fed(limits(), &turns);
    assert_eq!(memory.raised(FindingKind::UnexpectedPeer, Severity::Low), 1);
    assert_eq!(memory.raised(FindingKind::UnexpectedPeer, Severity::High), 2);
}

#[test]
fn addresses_of_a_capture_without_a_roster_end_at_the_limit_too() {
    let bare = |n: u32| Peer::Bare { address: std::net::Ipv4Addr::from(n).into() };
    let conversations = (0..50).map(|n| judged(bare(n), bare(1 << 24), 80, 1)).collect();
    let memory = fed(SeriesLimits { edges_max: 10, ..limits() }, &[publication(1, conversations)]);
    assert_eq!((memory.series().count(), memory.folded()), (11, 40));
}

fn limits() -> SeriesLimits {
    SeriesLimits::default()
}

fn fed(limits: SeriesLimits, turns: &[Publication]) -> EdgeMemory {
    let mut memory = EdgeMemory::new(limits);
    for publication in turns {
        memory.turn(publication);
    }
    memory
}

fn edge(samples: &Samples, family: &str, server: &str, port: &str, last: &str) -> String {
    let mut found = samples.iter().filter(|((name, labels), _)| {
        name == family
            && labels["server"] == server
            && labels["port"] == port
            && labels.values().any(|value| value == last)
    });
    let (_, value) = found.next().unwrap_or_else(|| panic!("no {family} for {server}:{port} {last}"));
    value.clone()
}

fn sum(samples: &Samples, family: &str, direction: &str) -> u64 {
    let of_family =
        samples.iter().filter(|((name, labels), _)| name == family && labels["direction"] == direction);
    of_family.map(|(_, value)| number(value)).sum()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap()
}
