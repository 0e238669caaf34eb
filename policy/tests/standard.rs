//! Standard rules: each speaks on what it is for, and stays silent beside it.

#![allow(clippy::unwrap_used, reason = "what a test cannot read is its failure")]

#[expect(dead_code, reason = "the other targets use the rest of it")]
mod support;

use std::net::IpAddr;
use std::sync::Arc;

use portolan_flowtable::{Conversation, Peer, Protocol, ServicePort};
use portolan_policy::{Assessment, ComposeFile, Contract, Finding, FindingKind, Severity, Verdict};
use support::*;

use FindingKind::{
    CleartextAdmin, CloudMetadata, DockerApi, ForeignDatabase, ForeignResolver, InternalOutbound,
};

const COMPOSE: &str = "services:\n  web: {networks: [front, back]}\n  worker: {networks: [back]}\n\
    networks:\n  front: {}\n  back: {internal: true}\n";
const RESOLVERS: &str = "[groups]\nresolvers = [\"203.0.113.53\"]\n";

fn judged(text: &str, call: Conversation) -> Assessment {
    let mut contract = Contract::parse(text, "contract.toml").unwrap();
    contract.add_compose("shop", ComposeFile::parse(COMPOSE, "compose.yaml").unwrap());
    let ends = [call.initiator.clone(), call.responder.clone()];
    let workloads = ends.iter().filter_map(Peer::workload).map(Arc::clone).collect();
    contract.assess(snapshot(workloads, vec![call]))
}

fn end(name: &str) -> Peer {
    match name {
        "host" => Peer::Host { address: address(1) },
        _ => match name.parse::<IpAddr>() {
            // What the roster says of link-local addresses.
            Ok(IpAddr::V4(v4)) if v4.is_link_local() => {
                Peer::Unclaimed { address: IpAddr::V4(v4), attachment: None }
            }
            Ok(address) => Peer::External { address, names: Default::default() },
            // Nothing is documented of it, so that only the standard rules speak.
            Err(_) => peer(&workload(name, name, &[]), u8::try_from(name.len()).unwrap() + 10),
        },
    }
}

#[test]
fn each_rule_speaks_on_what_it_is_for_and_not_beside_it() {
    let (tcp, udp) = (Protocol::TCP, Protocol::UDP);
    #[rustfmt::skip]
    let cases = [
        // who                whom                port   by    answered  raised
        ("ops/tool",          "shop/db",          5432,  tcp,  1, Some((ForeignDatabase, Severity::High))),
        ("ops/tool",          "shop/db",          5432,  tcp,  0, Some((ForeignDatabase, Severity::Low))),
        ("203.0.113.9",       "shop/cache",       6379,  tcp,  1, Some((ForeignDatabase, Severity::High))),
        ("shop/cart",         "shop/db",          5432,  tcp,  1, None),
        ("ops/tool",          "shop/db",          5433,  tcp,  1, None),
        ("ops/tool",          "shop/db",          5432,  udp,  1, None),
        ("host",              "shop/db",          5432,  tcp,  1, None),
        ("ops/tool",          "203.0.113.9",      5432,  tcp,  1, None),
        ("shop/web",          "host",             2375,  tcp,  1, Some((DockerApi, Severity::High))),
        ("shop/web",          "ops/proxy",        2376,  tcp,  1, Some((DockerApi, Severity::High))),
        ("shop/web",          "host",             2375,  tcp,  0, Some((DockerApi, Severity::Low))),
        ("203.0.113.9",       "ops/proxy",        2375,  tcp,  1, None),
        ("shop/web",          "host",             2374,  tcp,  1, None),
        ("shop/web",          "169.254.169.254",  80,    tcp,  1, Some((CloudMetadata, Severity::High))),
        ("shop/web",          "169.254.169.254",  80,    tcp,  0, Some((CloudMetadata, Severity::Low))),
        ("shop/web",          "fd00:ec2::254",    80,    tcp,  1, Some((CloudMetadata, Severity::High))),
        ("shop/web",          "169.254.169.253",  80,    tcp,  1, None),
        ("shop/worker",       "203.0.113.9",      443,   tcp,  1, Some((InternalOutbound, Severity::High))),
        ("shop/worker",       "203.0.113.9",      443,   tcp,  0, Some((InternalOutbound, Severity::Low))),
        ("shop/web",          "203.0.113.9",      443,   tcp,  1, None),
        ("shop/worker",       "shop/web",         443,   tcp,  1, None),
        ("ops/worker",        "203.0.113.9",      443,   tcp,  1, None),
        ("shop/web",          "203.0.113.9",      53,    udp,  1, Some((ForeignResolver, Severity::Medium))),
        ("shop/web",          "203.0.113.9",      53,    tcp,  0, Some((ForeignResolver, Severity::Low))),
        ("shop/web",          "203.0.113.53",     53,    udp,  1, None),
        ("shop/web",          "203.0.113.9",      853,   tcp,  1, None),
        ("shop/web",          "shop/old",         23,    tcp,  1, Some((CleartextAdmin, Severity::Medium))),
        ("203.0.113.9",       "shop/old",         21,    tcp,  1, Some((CleartextAdmin, Severity::Medium))),
        ("shop/web",          "shop/old",         69,    udp,  1, Some((CleartextAdmin, Severity::Medium))),
        ("shop/web",          "shop/old",         23,    tcp,  0, None),
        ("shop/web",          "shop/old",         22,    tcp,  1, None),
        ("shop/web",          "shop/old",         23,    udp,  1, None),
    ];
    for (from, to, port, protocol, answered, expected) in cases {
        let port = ServicePort::new(port, protocol);
        let call = Conversation { port, ..talk(end(from), end(to), 1, answered, 1 - answered) };
        // Compose files would call what crosses projects unexpected; here they know of one project alone.
        let raised: Vec<(FindingKind, Severity)> = judged(RESOLVERS, call)
            .findings
            .iter()
            .filter(|finding| finding.kind != FindingKind::UnexpectedPeer)
            .map(|finding| (finding.kind, finding.severity))
            .collect();
        assert_eq!(
            raised,
            expected.into_iter().collect::<Vec<_>>(),
            "{from} -> {to}:{port}, answered {answered}"
        );
    }
}

fn one(text: &str) -> (Verdict, Vec<Finding>) {
    let assessment = judged(text, talk(end("ops/tool"), end("shop/db"), 5432, 1, 0));
    (assessment.judged[0].verdict, assessment.findings)
}

#[test]
fn what_is_meant_or_allowed_is_not_raised_and_the_rest_says_why() {
    let (verdict, findings) = one("");
    assert_eq!(verdict, Verdict::Undeclared);
    assert_eq!(findings[0].against, "PostgreSQL of project shop, called by ops/tool");
    assert_eq!(findings[0].summary, "1 connection, answered");
    let expects = "[[service]]\nservice = \"shop/db\"\nports = [5432]\ninitiators = [\"ops/tool\"]\n";
    assert_eq!(one(expects), (Verdict::Documented, vec![]));
    let allows = "[[rule]]\naction = \"allow\"\nfrom = \"ops/tool\"\n";
    assert_eq!(one(allows), (Verdict::Allowed, vec![]));
    let off = "[standard.foreign_database]\nenabled = false\n";
    assert_eq!(one(off).1, vec![]);
    let mode = "[[service]]\nservice = \"shop/db\"\nmode = \"off\"\n";
    assert_eq!(one(mode).1, vec![]);
}

#[test]
fn resolvers_are_judged_only_where_somebody_says_which_are_meant() {
    let call = Conversation {
        port: ServicePort::new(53, Protocol::UDP),
        ..talk(end("shop/web"), end("203.0.113.9"), 53, 1, 0)
    };
    assert!(judged("", call.clone()).findings.is_empty());
    assert_eq!(judged(RESOLVERS, call).findings[0].against, "203.0.113.9 is not in group:resolvers");
}
