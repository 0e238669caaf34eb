//! Verdicts and findings: the truth table, and what an assessment makes of it.
mod support;

use std::sync::Arc;

use portolan_flowtable::conversation::{Conversation, Outcomes, Peer};
use portolan_flowtable::flow::Claim;
use portolan_flowtable::{
    Blindness, Completeness, DocumentSource, InitiatorEvidence, Port, Protocol, ServicePort, Tally,
    Timestamp, Workload,
};
use portolan_policy::{
    AlertState, Assessment, Contract, FindingKind, Intent, ListenerClass, Register, Severity, Verdict,
};
use proptest::prelude::*;
use support::{
    START, address, answered, bare, external, fared, peer, refused, snapshot, talk, unanswered, workload,
};

const CONTRACT: &str = r#"
[[service]]
service = "shop/db"
ports = ["5432/tcp"]
initiators = ["shop/cart", "10.9.0.0/16"]

[[service.rule]]
from = ["reports"]
ports = ["9187/tcp"]

[[service]]
service = "shop/closed"
ports = []

[[service]]
service = "shop/guarded"
initiators = ["host", "external", "label:tier=web", "network:ops_default"]
"#;

struct World {
    cart: Arc<Workload>,
    web: Arc<Workload>,
    reports: Arc<Workload>,
    prometheus: Arc<Workload>,
    db: Arc<Workload>,
    cache: Arc<Workload>,
    closed: Arc<Workload>,
    guarded: Arc<Workload>,
    bare: Arc<Workload>,
}

fn world() -> World {
    let mut web = Workload::clone(&workload("web-1", "shop/web", &[80]));
    web.labels.insert("tier".to_owned(), "web".to_owned());
    World {
        cart: workload("cart-1", "shop/cart", &[8080]),
        web: Arc::new(web),
        reports: workload("reports-1", "shop/reports", &[]),
        prometheus: workload("prometheus", "ops/prometheus", &[9090]),
        db: workload("db-1", "shop/db", &[5432]),
        cache: workload("cache-1", "shop/cache", &[6379]),
        closed: workload("closed-1", "shop/closed", &[]),
        guarded: workload("guarded-1", "shop/guarded", &[]),
        bare: workload("bare-1", "shop/bare", &[]),
    }
}

impl World {
    fn all(&self) -> Vec<Arc<Workload>> {
        [
            &self.cart,
            &self.web,
            &self.reports,
            &self.prometheus,
            &self.db,
            &self.cache,
            &self.closed,
            &self.guarded,
            &self.bare,
        ]
        .map(Arc::clone)
        .to_vec()
    }

    fn assess(&self, conversations: Vec<Conversation>) -> Assessment {
        Contract::parse(CONTRACT, "contract.toml")
            .expect("a contract")
            .assess(snapshot(self.all(), conversations))
    }
}

fn change(mut conversation: Conversation, how: impl FnOnce(&mut Conversation)) -> Conversation {
    how(&mut conversation);
    conversation
}

#[test]
fn the_truth_table() {
    use FindingKind::{SpoofedSource, UndocumentedPort, UnexpectedPeer, UnlistedSource};
    use Severity::{High, Info, Low, Medium};
    let w = world();
    let (cart, web, reports) = (|| peer(&w.cart, 3), || peer(&w.web, 4), || peer(&w.reports, 5));
    let (db, cache, closed) = (|| peer(&w.db, 6), || peer(&w.cache, 7), || peer(&w.closed, 8));
    let (guarded, nothing) = (|| peer(&w.guarded, 9), || peer(&w.bare, 10));
    let host = || Peer::Host { address: address(1) };
    let unclaimed = || Peer::Unclaimed { address: address(99), attachment: None };
    let guess = |it| change(it, |it| it.evidence = InitiatorEvidence::Port);
    let silent = |it: Conversation| change(it, |it| it.connections = unanswered(1));
    let icmp = |it| {
        change(it, |it| {
            it.port = ServicePort { port: None, protocol: Protocol::ICMP };
            it.evidence = InitiatorEvidence::Exchange;
        })
    };
    type Row = (&'static str, Conversation, Verdict, Vec<(FindingKind, Severity)>);
    let table: Vec<Row> = vec![
        ("expected on its port", talk(cart(), db(), 5432, 1, 0), Verdict::Documented, vec![]),
        (
            "expected by address",
            talk(
                Peer::Workload { workload: Arc::clone(&w.web), address: "10.9.1.2".parse().unwrap() },
                db(),
                5432,
                1,
                0,
            ),
            Verdict::Documented,
            vec![],
        ),
        (
            "not expected, answered",
            talk(web(), db(), 5432, 1, 0),
            Verdict::UnexpectedPeer,
            vec![(UnexpectedPeer, High)],
        ),
        (
            "not expected, refused",
            talk(web(), db(), 5432, 0, 1),
            Verdict::UnexpectedPeer,
            vec![(UnexpectedPeer, Low)],
        ),
        (
            "not expected, silent",
            silent(talk(web(), db(), 5432, 0, 0)),
            Verdict::UnexpectedPeer,
            vec![(UnexpectedPeer, Low)],
        ),
        ("expected by a rule for the port", talk(reports(), db(), 9187, 1, 0), Verdict::Documented, vec![]),
        (
            "a rule is for its port only",
            talk(reports(), db(), 5432, 1, 0),
            Verdict::UnexpectedPeer,
            vec![(UnexpectedPeer, High)],
        ),
        (
            "initiators are for their ports only",
            talk(cart(), db(), 9187, 1, 0),
            Verdict::UnexpectedPeer,
            vec![(UnexpectedPeer, High)],
        ),
        (
            "undocumented, expected",
            talk(cart(), db(), 9999, 1, 0),
            Verdict::UndocumentedPort,
            vec![(UndocumentedPort, Medium)],
        ),
        ("undocumented, expected, refused", talk(cart(), db(), 9999, 0, 1), Verdict::Unjudged, vec![]),
        (
            "undocumented and unexpected",
            talk(web(), db(), 9999, 1, 0),
            Verdict::UnexpectedPeer,
            vec![(UndocumentedPort, Medium), (UnexpectedPeer, High)],
        ),
        ("documented by image, nobody stated", talk(web(), cache(), 6379, 1, 0), Verdict::Unjudged, vec![]),
        (
            "undocumented beside an image's",
            talk(web(), cache(), 6380, 1, 0),
            Verdict::UndocumentedPort,
            vec![(UndocumentedPort, Medium)],
        ),
        (
            "another protocol is another port",
            change(talk(web(), cache(), 6379, 1, 0), |it| it.port.protocol = Protocol::UDP),
            Verdict::UndocumentedPort,
            vec![(UndocumentedPort, Medium)],
        ),
        (
            "declared to serve nothing",
            talk(web(), closed(), 80, 1, 0),
            Verdict::UndocumentedPort,
            vec![(UndocumentedPort, Medium)],
        ),
        ("nothing documented", talk(web(), nothing(), 80, 1, 0), Verdict::Undeclared, vec![]),
        (
            "nothing documented but who may call",
            talk(cart(), guarded(), 80, 1, 0),
            Verdict::UnexpectedPeer,
            vec![(UnexpectedPeer, High)],
        ),
        ("expected by label", talk(web(), guarded(), 80, 1, 0), Verdict::Undeclared, vec![]),
        (
            "expected by network",
            talk(peer(&w.prometheus, 11), guarded(), 80, 1, 0),
            Verdict::Undeclared,
            vec![],
        ),
        ("the host is expected", talk(host(), guarded(), 80, 1, 0), Verdict::Undeclared, vec![]),
        ("the outside is expected", talk(external(7), guarded(), 80, 1, 0), Verdict::Undeclared, vec![]),
        (
            "the outside is not expected",
            talk(external(7), db(), 5432, 1, 0),
            Verdict::UnexpectedPeer,
            vec![(UnexpectedPeer, High)],
        ),
        ("a guess", guess(talk(web(), db(), 5432, 1, 0)), Verdict::Unattributed, vec![]),
        ("an initiator without a name", talk(unclaimed(), db(), 5432, 1, 0), Verdict::Unattributed, vec![]),
        ("a responder without a name", talk(web(), unclaimed(), 5432, 1, 0), Verdict::Unattributed, vec![]),
        (
            "ambiguous",
            talk(Peer::Ambiguous { address: address(9) }, db(), 5432, 1, 0),
            Verdict::Unattributed,
            vec![],
        ),
        (
            "a proxy's leg",
            change(talk(host(), db(), 5432, 1, 0), |it| it.is_proxy_leg = true),
            Verdict::Unjudged,
            vec![],
        ),
        ("to the host", talk(web(), host(), 22, 1, 0), Verdict::Unjudged, vec![]),
        ("to the outside", talk(web(), external(7), 443, 1, 0), Verdict::Unjudged, vec![]),
        (
            "multicast",
            guess(talk(web(), Peer::Group { address: "224.0.0.251".parse().unwrap() }, 5353, 0, 0)),
            Verdict::Unjudged,
            vec![],
        ),
        (
            "bare addresses",
            guess(talk(bare("10.0.0.1"), bare("10.0.0.2"), 22, 1, 0)),
            Verdict::Unjudged,
            vec![],
        ),
        ("echo", icmp(talk(web(), db(), 0, 1, 0)), Verdict::Unjudged, vec![]),
        (
            "a port nobody could read",
            change(talk(cart(), cache(), 1, 1, 0), |it| it.port.port = None),
            Verdict::Unjudged,
            vec![],
        ),
        (
            "forged",
            change(talk(reports(), cache(), 6379, 0, 0), |it| {
                it.claim = Claim::Spoofed;
                it.claimed = Some(Box::new(db()));
            }),
            Verdict::SpoofedSource,
            vec![(SpoofedSource, High)],
        ),
        (
            "forged by nobody known, on a guess",
            change(guess(talk(unclaimed(), cache(), 6379, 0, 0)), |it| it.claim = Claim::Spoofed),
            Verdict::SpoofedSource,
            vec![(SpoofedSource, High)],
        ),
        (
            "backscatter",
            change(talk(db(), cache(), 9999, 1, 0), |it| it.claim = Claim::Backscatter),
            Verdict::Backscatter,
            vec![],
        ),
        (
            "an address nobody holds",
            change(talk(web(), cache(), 6379, 1, 0), |it| it.claim = Claim::Unlisted),
            Verdict::Unjudged,
            vec![(UnlistedSource, Info)],
        ),
    ];
    let contract = Contract::parse(CONTRACT, "contract.toml").unwrap();
    for (what, conversation, verdict, charges) in table {
        let snapshot = snapshot(w.all(), vec![conversation]);
        let ruling = Intent::new(&contract, &snapshot).judge(&snapshot.conversations[0]);
        let found: Vec<_> = ruling.charges.iter().map(|charge| (charge.kind, charge.severity)).collect();
        assert_eq!((ruling.verdict, found), (verdict, charges), "{what}");
        let assessment = contract.assess(snapshot);
        assert_eq!(assessment.judged[0].verdict, verdict, "{what}");
        assert_eq!(assessment.findings.len(), ruling.charges.len(), "{what}");
        let gravest = assessment.findings.first().map(|finding| finding.id.clone());
        assert_eq!(assessment.judged[0].finding, gravest, "{what}");
    }
}

#[test]
fn who_documents_a_port_is_said_whatever_decided() {
    let w = world();
    let place = "contract.toml:4".to_owned();
    for (claim, deny, verdict) in [
        (Claim::Spoofed, "", Verdict::SpoofedSource),
        (Claim::Backscatter, "", Verdict::Backscatter),
        (
            Claim::Own,
            "[[rule]]\naction = \"deny\"\nfrom = \"shop/cart\"\nto = \"shop/db\"\n",
            Verdict::Denied,
        ),
    ] {
        let contract = Contract::parse(&format!("{CONTRACT}\n{deny}"), "contract.toml").unwrap();
        for (port, documented_by) in
            [(5432, Some(DocumentSource::Contract { place: place.clone() })), (9999, None)]
        {
            let call = Conversation { claim, ..talk(peer(&w.cart, 3), peer(&w.db, 6), port, 0, 0) };
            let snapshot = snapshot(w.all(), vec![call]);
            let ruling = Intent::new(&contract, &snapshot).judge(&snapshot.conversations[0]);
            assert_eq!((ruling.verdict, ruling.documented_by), (verdict, documented_by), "{port}");
        }
    }
}

#[test]
fn the_most_deliberate_source_is_named_first() {
    let w = world();
    let assessment = w.assess(vec![talk(peer(&w.cart, 3), peer(&w.db, 6), 5432, 1, 0)]);
    let place = "contract.toml:4".to_owned();
    assert_eq!(assessment.judged[0].documented_by, Some(DocumentSource::Contract { place }));
}

#[test]
fn what_one_replica_documents_holds_for_all() {
    let (one, two) = (workload("a-1", "p/a", &[80]), workload("a-2", "p/a", &[]));
    let client = workload("c-1", "p/c", &[]);
    let calls = vec![
        talk(peer(&client, 2), peer(&two, 4), 80, 1, 0),
        talk(peer(&client, 2), peer(&two, 4), 81, 1, 0),
    ];
    let assessment = Contract::default().assess(snapshot(vec![one, two, client], calls));
    let verdicts: Vec<Verdict> = assessment.judged.iter().map(|judged| judged.verdict).collect();
    assert_eq!(verdicts, [Verdict::Unjudged, Verdict::UndocumentedPort]);
    assert_eq!(assessment.undeclared, ["p/c"]);
}

#[test]
fn findings_are_gathered_by_service_and_say_what_a_person_needs() {
    let w = world();
    let web_2 = workload("web-2", "shop/web", &[80]);
    let calls = vec![
        change(talk(peer(&w.web, 4), peer(&w.db, 6), 5432, 1, 0), |it| {
            (it.first_frame, it.last_frame) = (10, 20)
        }),
        change(talk(peer(&web_2, 14), peer(&w.db, 6), 5432, 2, 1), |it| {
            (it.first_frame, it.last_frame) = (5, 40)
        }),
        talk(peer(&w.web, 4), peer(&w.cart, 3), 9229, 1, 0),
        change(talk(peer(&w.reports, 5), peer(&w.cart, 3), 8080, 0, 0), |it| {
            it.claim = Claim::Spoofed;
            it.claimed = Some(Box::new(peer(&w.db, 6)));
            it.sent = Tally { frames: 40, bytes: 2_400 };
        }),
    ];
    let assessment = w.assess(calls);
    let lines: Vec<String> = assessment
        .findings
        .iter()
        .map(|it| {
            let port = it.port.map(|port| port.to_string()).unwrap_or_default();
            let (severity, kind) = (it.severity.name(), it.kind.words());
            format!(
                "{severity}|{kind}|{} -> {}|{port}|{}|{}",
                it.initiator, it.responder, it.summary, it.against
            )
        })
        .collect();
    let mut sorted = lines.clone();
    sorted.sort();
    assert_eq!(
        sorted,
        [
            "high|spoofed source|shop/reports -> shop/db||reports-1 sent 40 frames as db-1 (172.20.0.6)|veth of reports-1",
            "high|unexpected peer|shop/web -> shop/db|5432/tcp|4 connections, answered through network shop_default; \
             no rule expects shop/web|contract.toml:5 lists shop/cart, 10.9.0.0/16",
            "medium|undocumented port|shop/web -> shop/cart|9229/tcp|1 connection, answered; nothing documents \
             9229/tcp|shop/cart documents 8080/tcp (image EXPOSE)",
        ]
    );
    assert!(lines[2].starts_with("medium"), "gravest first");
    let unexpected = assessment.findings.iter().find(|it| it.kind == FindingKind::UnexpectedPeer).unwrap();
    assert_eq!(unexpected.initiator_containers, ["web-1", "web-2"]);
    assert_eq!(unexpected.responder_containers, ["db-1"]);
    assert_eq!((unexpected.first_frame, unexpected.last_frame, unexpected.connections), (5, 40, 4));
    assert_eq!(unexpected.reached, "answered");
    assert_eq!(unexpected.complete, Some(true));
    assert_eq!(
        unexpected.wireshark_filter,
        "(ip.addr==172.20.0.14 && ip.addr==172.20.0.6 && tcp.port==5432) || \
         (ip.addr==172.20.0.4 && ip.addr==172.20.0.6 && tcp.port==5432)"
    );
    let forged = assessment.findings.iter().find(|it| it.kind == FindingKind::SpoofedSource).unwrap();
    assert_eq!(forged.wireshark_filter, "(ip.addr==172.20.0.6 && ip.addr==172.20.0.3 && tcp.port==8080)");
    assert_eq!(forged.responder_containers, ["db-1"], "whose address was used");
    assert_eq!(assessment.contract, "contract.toml, 3 services");
}

#[test]
fn ids_are_the_same_in_every_run_and_version() {
    let w = world();
    let assessment = w.assess(vec![talk(peer(&w.web, 4), peer(&w.db, 6), 5432, 1, 0)]);
    assert_eq!(assessment.findings[0].id, "ffe3b99a6267c447");
}

#[test]
fn a_filter_for_ipv6_names_ipv6() {
    let w = world();
    let from = Peer::Workload { workload: Arc::clone(&w.web), address: "fd00::4".parse().unwrap() };
    let to = Peer::Workload { workload: Arc::clone(&w.db), address: "fd00::6".parse().unwrap() };
    let assessment = w.assess(vec![talk(from, to, 5432, 1, 0)]);
    assert_eq!(
        assessment.findings[0].wireshark_filter,
        "(ipv6.addr==fd00::4 && ipv6.addr==fd00::6 && tcp.port==5432)"
    );
}

#[test]
fn a_filter_names_the_port_that_is_on_the_wire() {
    let w = world();
    let container = peer(&w.web, 4);
    let outside = Peer::External { address: "198.51.100.2".parse().unwrap(), names: Default::default() };
    let host = Peer::Workload { workload: Arc::clone(&w.db), address: "172.20.0.1".parse().unwrap() };
    let behind = peer(&w.db, 6);
    #[rustfmt::skip]
    let cases = [
        // who calls    whom     by                  the ports
        (&container,    &behind, None,               "tcp.port==5432"),
        (&container,    &host,   Some("host:15432"), "tcp.port==15432"),
        (&container,    &host,   Some("host:5432"),  "tcp.port==5432"),
        // Seen before its address is translated, or behind.
        (&outside,      &behind, Some("host:15432"), "(tcp.port==15432 || tcp.port==5432)"),
        (&outside,      &behind, Some("ambiguous"),  "tcp.port==5432"),
    ];
    for (from, to, via, ports) in cases {
        let call = Conversation { via: via.map(str::to_owned), ..talk(from.clone(), to.clone(), 5432, 1, 0) };
        let expected = format!("(ip.addr=={} && ip.addr=={} && {ports})", from.address(), to.address());
        assert_eq!(portolan_policy::wireshark_filter(&call), expected);
    }
}

#[test]
fn service_ports_fall_into_their_classes() {
    let w = world();
    let assessment = w.assess(vec![
        talk(peer(&w.web, 4), peer(&w.cart, 3), 8080, 0, 1),
        talk(peer(&w.web, 4), peer(&w.cart, 3), 9229, 1, 0),
        talk(peer(&w.web, 4), peer(&w.cart, 3), 9230, 0, 1),
        talk(peer(&w.web, 4), peer(&w.bare, 10), 70, 1, 0),
    ]);
    let found: Vec<String> =
        assessment.listeners.iter().map(|it| format!("{} {} {:?}", it.service, it.port, it.class)).collect();
    use ListenerClass::{DocumentedIdle, DocumentedUsed, UndocumentedUsed};
    let expected = [
        ("ops/prometheus 9090/tcp", DocumentedIdle),
        ("shop/bare 70/tcp", UndocumentedUsed),
        ("shop/cache 6379/tcp", DocumentedIdle),
        ("shop/cart 8080/tcp", DocumentedUsed),
        ("shop/cart 9229/tcp", UndocumentedUsed),
        ("shop/db 5432/tcp", DocumentedIdle),
        ("shop/db 9187/tcp", DocumentedIdle),
        ("shop/web 80/tcp", DocumentedIdle),
    ];
    assert_eq!(found, expected.map(|(port, class)| format!("{port} {class:?}")));
    let db = assessment.listeners.iter().find(|it| it.service == "shop/db").unwrap();
    assert_eq!(db.documented.len(), 2, "contract and image are both kept");
    assert_eq!(assessment.undeclared, ["shop/bare", "shop/guarded", "shop/reports"]);
}

#[test]
fn a_range_that_ends_before_it_begins_covers_nothing() {
    let mut odd = Workload::clone(&workload("odd-1", "shop/odd", &[80]));
    (odd.documented[0].first, odd.documented[0].last) = (Port(90), Port(80));
    let odd = Arc::new(odd);
    let calls = vec![talk(peer(&odd, 2), peer(&odd, 2), 85, 1, 0)];
    let assessment = Contract::default().assess(snapshot(vec![odd], calls));
    assert_eq!(assessment.judged[0].verdict, Verdict::UndocumentedPort);
    let classes: Vec<ListenerClass> = assessment.listeners.iter().map(|it| it.class).collect();
    assert_eq!(classes, [ListenerClass::UndocumentedUsed, ListenerClass::DocumentedIdle]);
}

#[test]
fn names_that_are_not_here_are_warnings_with_a_hint() {
    let text = "[[service]]\nservice = \"shop/dbb\"\ninitiators = [\"crat\", \"shop/cart\", \"hots\", \"other\"]\n\
                [[service]]\nservice = \"shop/other\"\n";
    let contract = Contract::parse(text, "contract.toml").unwrap();
    let assessment = contract.assess(snapshot(world().all(), vec![]));
    assert_eq!(
        assessment.warnings,
        [
            "contract.toml:1:1: no service \"shop/dbb\" on this host; did you mean \"shop/db\"?",
            "contract.toml:3:15: unknown service \"crat\" in initiators; did you mean \"cart\"?",
            "contract.toml:3:36: unknown service \"hots\" in initiators; did you mean \"host\"?",
            "contract.toml:4:1: no service \"shop/other\" on this host",
        ]
    );
}

#[test]
fn without_a_contract_the_sources_of_documentation_are_named() {
    let assessment = Contract::default().assess(snapshot(world().all(), vec![]));
    assert_eq!(assessment.contract, "none: documented ports come from images; no initiator is named");
    assert_eq!(assessment.warnings, [""; 0]);
}

#[test]
fn completeness_is_that_of_the_finding_s_own_time() {
    let w = world();
    let hole = |from, until| Blindness {
        from: Timestamp(START).plus(from),
        until: Timestamp(START).plus(until),
        frames: None,
        cause: "ring full".to_owned(),
    };
    let second = Timestamp::SECOND;
    let missing = |blind, is_undated| Completeness::Incomplete {
        reasons: vec!["dropped".to_owned()],
        blind,
        is_undated,
    };
    let incomplete = |blind| missing(blind, false);
    let cases = [
        (Completeness::Complete, Some(true)),
        (missing(vec![], true), Some(false)),
        (incomplete(vec![hole(second / 2, second)]), Some(false)),
        (incomplete(vec![hole(5 * second, 6 * second)]), Some(true)),
        // A loss elsewhere says nothing of what was lost at an unknown time.
        (missing(vec![hole(5 * second, 6 * second)], true), Some(false)),
        (Completeness::Unknown { reasons: vec![] }, None),
    ];
    let contract = Contract::parse(CONTRACT, "contract.toml").unwrap();
    for (completeness, expected) in cases {
        let mut snapshot = snapshot(w.all(), vec![talk(peer(&w.web, 4), peer(&w.db, 6), 5432, 1, 0)]);
        snapshot.completeness = completeness.clone();
        assert_eq!(contract.assess(snapshot).findings[0].complete, expected, "{completeness:?}");
    }
}

#[test]
fn a_loss_noticed_later_is_news_of_a_finding_that_was_said_to_be_complete() {
    let w = world();
    let contract = Contract::parse(CONTRACT, "contract.toml").unwrap();
    let mut register = Register::new();
    let mut news = |completeness| {
        let mut snapshot = snapshot(w.all(), vec![talk(peer(&w.web, 4), peer(&w.db, 6), 5432, 1, 0)]);
        snapshot.completeness = completeness;
        let alerts = register.update(&contract.assess(snapshot));
        alerts.into_iter().map(|alert| (alert.state, alert.finding.complete)).collect::<Vec<_>>()
    };
    let lost = |second: i64| Completeness::Incomplete {
        reasons: vec!["dropped".to_owned()],
        blind: vec![Blindness {
            from: Timestamp(START).plus(second * Timestamp::SECOND),
            until: Timestamp(START).plus((second + 1) * Timestamp::SECOND),
            frames: Some(1),
            cause: "ring full".to_owned(),
        }],
        is_undated: false,
    };
    assert_eq!(news(Completeness::Complete), [(AlertState::Raised, Some(true))]);
    assert_eq!(news(lost(30)), []);
    assert_eq!(news(lost(0)), [(AlertState::Updated, Some(false))]);
    assert_eq!(news(lost(0)), []);
    assert_eq!(news(Completeness::Complete), []);
}

#[test]
fn each_finding_is_news_once_and_again_when_it_gets_graver_or_is_gone() {
    let w = world();
    let mut register = Register::new();
    let mut news = |conversations| {
        let alerts = register.update(&w.assess(conversations));
        alerts.into_iter().map(|alert| (alert.state, alert.finding.severity)).collect::<Vec<_>>()
    };
    let call = |answered, refused| vec![talk(peer(&w.web, 4), peer(&w.db, 6), 5432, answered, refused)];
    assert_eq!(news(call(0, 1)), [(AlertState::Raised, Severity::Low)]);
    assert_eq!(news(call(0, 2)), []);
    assert_eq!(news(call(1, 2)), [(AlertState::Updated, Severity::High)]);
    assert_eq!(news(call(2, 2)), []);
    assert_eq!(news(vec![]), [(AlertState::Cleared, Severity::High)]);
    assert_eq!(news(vec![]), []);
}

#[test]
fn the_gravest_findings_are_kept_and_nothing_is_cleared_for_being_left_out() {
    let w = world();
    let mut calls: Vec<Conversation> = (10_000..15_000)
        .map(|port| fared(talk(peer(&w.web, 4), peer(&w.cart, 3), port, 1, 0), answered(1), i64::from(port)))
        .collect();
    let last = fared(talk(peer(&w.web, 4), peer(&w.db, 6), 5432, 1, 0), answered(1), 90_000);
    calls.push(last.clone());
    let mut register = Register::new();
    let assessment = w.assess(calls);
    assert_eq!(assessment.findings.len(), portolan_policy::FINDINGS_MAX);
    assert_eq!(assessment.findings_left_out, 5_001 - 4_096);
    assert_eq!(assessment.findings[0].kind, FindingKind::UnexpectedPeer);
    assert_eq!(register.update(&assessment).len(), 4_096);
    let mut fewer = w.assess(vec![last]);
    fewer.findings_left_out = 1;
    assert_eq!(register.update(&fewer), []);
    assert_eq!(register.len(), 4_096);
    fewer.findings_left_out = 0;
    assert_eq!(register.update(&fewer).len(), 4_095);
    assert_eq!(register.len(), 1);
}

#[test]
fn refused_calls_of_a_scan_are_not_unexpected_peers_one_by_one() {
    let w = world();
    let calls = (1..=50)
        .map(|port| fared(talk(peer(&w.web, 4), peer(&w.db, 6), port, 0, 1), refused(1), 0))
        .collect();
    let assessment = w.assess(calls);
    let kinds: Vec<FindingKind> = assessment.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::PortScan]);
    assert!(assessment.judged.iter().all(|judged| judged.verdict == Verdict::UnexpectedPeer));
    assert!(
        assessment.judged.iter().all(|judged| judged.finding.as_ref() == Some(&assessment.findings[0].id))
    );
}

fn any_peer() -> impl Strategy<Value = Peer> {
    let w = world();
    let workloads: Vec<Peer> =
        w.all().iter().enumerate().map(|(n, it)| peer(it, u8::try_from(n).expect("a few") + 2)).collect();
    let outsiders = vec![
        Peer::Host { address: address(1) },
        external(3),
        Peer::Unclaimed { address: address(90), attachment: None },
        Peer::Group { address: "ff02::1".parse().expect("an address") },
        Peer::Ambiguous { address: address(91) },
        bare("10.0.0.1"),
        // Ended long ago: in no list of workloads.
        peer(&workload("gone-1", "shop/gone", &[1]), 92),
    ];
    proptest::sample::select([workloads, outsiders].concat())
}

prop_compose! {
    fn any_conversation()(
        initiator in any_peer(),
        responder in any_peer(),
        claimed in proptest::option::of(any_peer()),
        port in proptest::option::of(any::<u16>()),
        protocol in any::<u8>(),
        claim in proptest::sample::select(vec![Claim::Own, Claim::Spoofed, Claim::Unlisted, Claim::Backscatter]),
        evidence in proptest::sample::select(vec![
            InitiatorEvidence::Handshake, InitiatorEvidence::Exchange, InitiatorEvidence::FirstSender,
        ]),
        counts in proptest::array::uniform5(0_u64..1_000_000),
        times in any::<(i64, i64)>(),
        is_proxy_leg in any::<bool>(),
        burst_unanswered in any::<u64>(),
    ) -> Conversation {
        let mut it = talk(initiator, responder, 1, 1, 0);
        it.port = ServicePort { port: port.map(Port), protocol: Protocol(protocol) };
        it.claimed = claimed.map(Box::new);
        (it.claim, it.evidence, it.is_proxy_leg, it.burst_unanswered) = (claim, evidence, is_proxy_leg, burst_unanswered);
        let [answered, refused, unanswered, blocked, pending] = counts;
        it.connections = Outcomes { answered, refused, unanswered, blocked, pending };
        (it.first_at, it.last_at) = (Timestamp(times.0), Timestamp(times.1));
        it
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_conversation_gets_a_verdict_and_every_reference_a_finding(
        conversations in proptest::collection::vec(any_conversation(), 0..60)
    ) {
        let w = world();
        let number = conversations.len();
        let assessment = w.assess(conversations.clone());
        prop_assert_eq!(assessment.judged.len(), number);
        prop_assert!(assessment.snapshot.conversations.is_empty());
        let ids: std::collections::BTreeSet<_> = assessment.findings.iter().map(|it| it.id.clone()).collect();
        prop_assert_eq!(ids.len(), assessment.findings.len());
        for judged in &assessment.judged {
            prop_assert_eq!(judged.verdict.is_finding() && judged.finding.is_none(), false);
            prop_assert!(judged.finding.as_ref().is_none_or(|id| ids.contains(id)));
            let is_guess = !judged.conversation.evidence.is_proof();
            let is_forged = judged.conversation.claim == Claim::Spoofed;
            prop_assert!(!is_guess || is_forged || !judged.verdict.is_finding());
        }
        prop_assert_eq!(w.assess(conversations), assessment);
    }
}

#[test]
fn a_stolen_hardware_address_is_a_finding_of_its_own_with_both_names() {
    use Severity::High;
    use portolan_flowtable::{MacHolder, StolenMac, Timestamp};
    use portolan_policy::{Beside, ScanLimits};
    let at = |second: i64| Timestamp(second * Timestamp::SECOND);
    let theft = |thief: &str, holder: MacHolder, frames, second| StolenMac {
        network: "shop_default".to_owned(),
        thief: Some(workload(&format!("shop-{thief}-1"), &format!("shop/{thief}"), &[])),
        holder,
        mac: "02:42:ac:12:00:03".parse().unwrap(),
        frames,
        first_at: at(second),
        last_at: at(second + 1),
        first_frame: frames,
        last_frame: frames + 9,
    };
    let cart = MacHolder::Workload(workload("shop-cart-1", "shop/cart", &[]));
    let mut seen = snapshot(Vec::new(), Vec::new());
    seen.thefts = vec![
        theft("evil", cart.clone(), 10, 4),
        theft("evil", MacHolder::Gateway, 1, 2),
        theft("evil", cart, 30, 1),
    ];
    let assessment = Contract::default().assess(seen.clone());
    let told: Vec<_> = assessment
        .findings
        .iter()
        .map(|it| {
            (it.kind.name(), &*it.initiator, &*it.responder, it.severity, it.frames, it.first_at, it.last_at)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("stolen_mac", "shop/evil", "shop/cart", High, 40, at(1), at(5)),
            ("stolen_mac", "shop/evil", "host", High, 1, at(2), at(3)),
        ]
    );
    let [theft, gateway] = &assessment.findings[..] else { panic!("two") };
    assert!(
        theft
            .summary
            .ends_with("sent 40 frames from the hardware address of shop-cart-1 (02:42:ac:12:00:03)")
    );
    assert_eq!(theft.wireshark_filter, "eth.src == 02:42:ac:12:00:03");
    assert_eq!(gateway.against, "bridge of network shop_default");
    assert_ne!(theft.id, gateway.id);
    for (except, left) in [("from = \"shop/evil\"", 0), ("to = \"host\"", 1), ("from = \"shop/web\"", 2)] {
        let text = format!("[[standard.stolen_mac.except]]\n{except}\nreason = \"a bridge of its own\"\n");
        let contract = Contract::parse(&text, "contract.toml").unwrap();
        assert_eq!(contract.assess(seen.clone()).findings.len(), left, "{except}");
    }
    // It rests on what the thief took part in meanwhile.
    let (evil, web) = (workload("shop-evil-1", "shop/evil", &[]), workload("web-1", "shop/web", &[]));
    let mut talks = [(&evil, &web, 3), (&web, &evil, 5), (&web, &web, 3), (&evil, &web, 90)]
        .map(|(from, to, second)| (talk(peer(from, 2), peer(to, 3), 80, 1, 0), second));
    for (talk, second) in &mut talks {
        (talk.first_at, talk.last_at) = (at(*second), at(*second));
    }
    seen.conversations = talks.map(|(talk, _)| talk).into();
    let grounds = Contract::default().grounds(&seen, &ScanLimits::default(), Beside::default());
    assert_eq!(grounds[&theft.id], [0, 1]);
}
