//! Scans, sweeps and floods, modelled on what attack captures hold, and the ordinary traffic that must not be
//! taken for one.
mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use portolan_flowtable::conversation::{Conversation, Outcomes, Peer};
use portolan_flowtable::flow::Claim;
use portolan_flowtable::{
    InitiatorEvidence, NeighbourSweep, Port, Protocol, ServicePort, Timestamp, Workload,
};
use portolan_policy::{Contract, Finding, FindingKind, ScanLimits, Severity};
use support::{answered, bare, external, fared, peer, refused, snapshot, talk, unanswered, workload};

const MILLISECONDS: i64 = 1;
const SECONDS: i64 = 1_000 * MILLISECONDS;

/// Returns findings over bare addresses, ten minutes after the start.
fn findings(conversations: Vec<Conversation>) -> Vec<Finding> {
    let mut snapshot = snapshot(vec![], conversations);
    snapshot.has_roster = false;
    snapshot.at = snapshot.from.plus(600 * Timestamp::SECOND);
    Contract::default().assess(snapshot).findings
}

fn kinds(conversations: Vec<Conversation>) -> Vec<FindingKind> {
    findings(conversations).into_iter().map(|finding| finding.kind).collect()
}

fn target(number: u16) -> Peer {
    let [high, low] = number.to_be_bytes();
    Peer::Bare { address: IpAddr::V4(Ipv4Addr::new(10, 1, high, low)) }
}

fn tcp(to: Peer, port: u16, connections: Outcomes, begun: i64) -> Conversation {
    fared(talk(bare("10.0.0.1"), to, port, 0, 0), connections, begun)
}

fn echo(to: Peer, connections: Outcomes, begun: i64) -> Conversation {
    let mut it = tcp(to, 0, connections, begun);
    it.port = ServicePort { port: None, protocol: Protocol::ICMP };
    it.evidence =
        if connections.answered > 0 { InitiatorEvidence::Exchange } else { InitiatorEvidence::FirstSender };
    it
}

#[test]
fn a_scan_of_a_thousand_ports_is_one_finding() {
    let calls = (1..=1_000)
        .map(|port| {
            let fate = match port {
                22 | 53 | 80 => answered(1),
                1..=20 => refused(2),
                _ => unanswered(2),
            };
            tcp(target(1), port, fate, i64::from(port) * 5)
        })
        .collect();
    let found = findings(calls);
    assert_eq!(found.len(), 1);
    let scan = &found[0];
    assert_eq!((scan.kind, scan.severity), (FindingKind::PortScan, Severity::Medium));
    assert_eq!((scan.initiator.as_str(), scan.responder.as_str(), scan.port), ("10.0.0.1", "10.1.0.1", None));
    assert_eq!(
        scan.summary,
        "10.0.0.1 tried 1,000 ports of 10.1.0.1 in 4.9 s: 3 answered, 20 refused, 977 not answered"
    );
    assert_eq!(scan.against, "a port scan is 10 ports tried in vain within 60 s");
    assert_eq!(scan.wireshark_filter, "ip.addr==10.0.0.1 && ip.addr==10.1.0.1");
}

#[test]
fn a_scan_of_thirteen_ports_with_one_open_is_found() {
    let ports = [21, 22, 23, 25, 53, 80, 110, 135, 139, 143, 443, 445, 3389];
    let fate = |port| if port == 80 { answered(2) } else { refused(1) };
    let mut calls: Vec<Conversation> = ports.map(|port| tcp(target(1), port, fate(port), 0)).to_vec();
    calls.push(echo(target(1), answered(1), 0));
    assert_eq!(kinds(calls), [FindingKind::PortScan]);
}

#[test]
fn nine_ports_are_no_scan_and_ten_are() {
    let calls = |number| (1..=number).map(|port| tcp(target(1), port, refused(1), 0)).collect();
    assert_eq!(kinds(calls(9)), []);
    assert_eq!(kinds(calls(10)), [FindingKind::PortScan]);
}

#[test]
fn ports_tried_minutes_apart_are_no_scan() {
    let calls =
        |apart| (1..=20).map(|port| tcp(target(1), port, refused(1), i64::from(port) * apart)).collect();
    assert_eq!(kinds(calls(30 * SECONDS)), []);
    assert_eq!(kinds(calls(3 * SECONDS)), [FindingKind::PortScan]);
}

#[test]
fn a_handshake_still_open_is_no_failure_until_it_is_old() {
    let pending = Outcomes { pending: 1, ..Outcomes::default() };
    let calls: Vec<Conversation> = (1..=20).map(|port| tcp(target(1), port, pending, 0)).collect();
    let after = |nanoseconds| {
        let mut snapshot = snapshot(vec![], calls.clone());
        snapshot.at = snapshot.from.plus(nanoseconds);
        Contract::default().assess(snapshot).findings.len()
    };
    assert_eq!(after(Timestamp::SECOND / 2), 0);
    assert_eq!(after(Timestamp::SECOND), 1);
}

#[test]
fn udp_ports_refused_by_icmp_are_a_scan_and_late_answers_to_clients_are_not() {
    let datagrams = |first: u16| {
        (first..first + 20)
            .map(|port| {
                let mut it = tcp(target(1), port, refused(1), 0);
                it.port.protocol = Protocol::UDP;
                it.evidence = InitiatorEvidence::FirstSender;
                it
            })
            .collect()
    };
    assert_eq!(kinds(datagrams(100)), [FindingKind::PortScan]);
    assert_eq!(kinds(datagrams(40_000)), []);
}

#[test]
fn pings_to_eighteen_hosts_of_which_seven_are_silent_are_a_sweep() {
    let calls = (0..18)
        .map(|number| {
            let fate = if number % 5 == 1 || number % 5 == 3 { unanswered(1) } else { answered(1) };
            echo(target(number), fate, i64::from(number) * 90)
        })
        .collect();
    let found = findings(calls);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].kind, found[0].severity), (FindingKind::HostSweep, Severity::Medium));
    assert_eq!(found[0].responder, "several");
    assert_eq!(found[0].port.unwrap().to_string(), "icmp");
    assert_eq!(
        found[0].summary,
        "10.0.0.1 tried 18 peers on icmp in 1.5 s: 11 answered, 0 refused, 7 not answered"
    );
    assert_eq!(found[0].wireshark_filter, "ip.addr==10.0.0.1 && (icmp)");
}

#[test]
fn pings_still_open_at_the_end_of_a_capture_count_where_their_sender_is_known_to_ping() {
    let open = Outcomes { pending: 1, ..Outcomes::default() };
    let sweep = |first| {
        let fate = |number| if number < first { answered(1) } else { open };
        let calls = (0..18).map(|number| echo(target(number), fate(number), i64::from(number) * 90));
        let snapshot = snapshot(vec![], calls.collect());
        let at_once = Contract::default().assess(snapshot.clone()).findings.len();
        let mut early = snapshot;
        early.at = early.from.plus(17 * 90 * Timestamp::MILLISECOND);
        let at_end = Contract::default().assess_within(early.clone(), &ScanLimits::at_end()).findings.len();
        (Contract::default().assess(early).findings.len(), at_end, at_once)
    };
    assert_eq!(sweep(11), (0, 1, 1), "seven of eighteen are open");
    assert_eq!(sweep(0), (0, 0, 0), "nobody knows whether these are echo requests");
}

#[test]
fn one_port_of_many_hosts_is_a_sweep_and_several_swept_ports_are_one() {
    let swept = |ports: &[u16]| -> Vec<Conversation> {
        ports
            .iter()
            .flat_map(|port| {
                (0..20).map(|number| tcp(target(number), *port, unanswered(5), i64::from(number) * SECONDS))
            })
            .collect()
    };
    let one = findings(swept(&[23]));
    assert_eq!(one.len(), 1);
    assert_eq!(one[0].port, Some(ServicePort::new(23, Protocol::TCP)));
    let two = findings(swept(&[23, 2323]));
    assert_eq!(two.len(), 1);
    assert_eq!(two[0].port, None);
    assert_eq!(two[0].id, one[0].id, "a sweep that spreads stays the same finding");
    assert_eq!(two[0].wireshark_filter, "ip.addr==10.0.0.1 && (tcp.port==23 || tcp.port==2323)");
}

#[test]
fn a_new_host_a_second_on_changing_ports_is_a_sweep() {
    let ports = [23, 2323, 8080, 80, 81, 8081, 5555, 7547, 37_215];
    let calls = (0..136)
        .map(|number| {
            let port = ports[usize::from(number) % ports.len()];
            tcp(target(number), port, unanswered(1), i64::from(number) * SECONDS)
        })
        .collect();
    let found = findings(calls);
    assert_eq!(found.iter().map(|it| it.kind).collect::<Vec<_>>(), [FindingKind::HostSweep]);
    assert!(found[0].summary.starts_with("10.0.0.1 tried 136 peers on "), "{}", found[0].summary);
}

fn flood_from(initiator: Peer, burst: u64) -> Conversation {
    let mut it = fared(talk(initiator, target(1), 443, 0, 0), unanswered(burst), 0);
    it.burst_unanswered = burst;
    it
}

#[test]
fn two_hundred_handshakes_nobody_answers_are_a_flood() {
    let found = findings(vec![flood_from(bare("192.0.2.10"), 200)]);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].kind, found[0].severity), (FindingKind::SynFlood, Severity::High));
    assert_eq!(found[0].port, Some(ServicePort::new(443, Protocol::TCP)));
    assert_eq!(
        found[0].summary,
        "200 handshakes to 10.1.0.1 443/tcp within a second not answered, from 192.0.2.10"
    );
    assert_eq!(found[0].reached, "unanswered");
    assert_eq!(kinds(vec![flood_from(bare("192.0.2.10"), 99)]), []);
}

#[test]
fn a_flood_from_many_outside_addresses_or_forged_ones_is_one_flood() {
    let spread: Vec<Conversation> = (0..150).map(|number| flood_from(external(number), 1)).collect();
    let found = findings(spread.clone());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].initiator, "external");
    assert!(found[0].summary.ends_with("from 150 sources"), "{}", found[0].summary);
    let slow = spread.into_iter().enumerate().map(|(number, mut it)| {
        it.first_at = it.first_at.plus(i64::try_from(number).unwrap() * Timestamp::SECOND / 10);
        it
    });
    assert_eq!(kinds(slow.collect()), []);
    let attacker = workload("attacker-1", "attacker", &[]);
    let forged = (0..150).map(|number| {
        let mut it = flood_from(peer(&attacker, number), 1);
        it.claim = Claim::Unlisted;
        it
    });
    let found = Contract::default().assess(snapshot(vec![attacker.clone()], forged.collect())).findings;
    assert_eq!(found[0].kind, FindingKind::SynFlood);
    assert_eq!(found[0].initiator, "attacker");
}

#[test]
fn ordinary_traffic_is_none_of_them() {
    let many_ports =
        |number: u16| (1..=number).map(|port| tcp(target(1), port, answered(3), 0)).collect::<Vec<_>>();
    let backends = |number: u16, dead: u16| {
        (0..number)
            .map(|it| tcp(target(it), 8080, if it < dead { refused(50) } else { answered(500) }, 0))
            .collect::<Vec<_>>()
    };
    let multicast = (1..=40)
        .map(|port| tcp(Peer::Group { address: "239.255.255.250".parse().unwrap() }, port, unanswered(1), 0));
    let resolver = (0..200).map(|number| {
        let mut it = tcp(target(1), 30_000 + number, unanswered(1), 0);
        it.port.protocol = Protocol::UDP;
        it.evidence = InitiatorEvidence::FirstSender;
        it
    });
    let router = (0..40).map(|number| {
        let mut it = echo(target(number), Outcomes { pending: 3, ..Outcomes::default() }, 0);
        it.evidence = InitiatorEvidence::FirstSender;
        it
    });
    let mut one_way_replies: Vec<Conversation> =
        (0..40).map(|it| echo(target(it), unanswered(1), 0)).collect();
    for it in &mut one_way_replies {
        it.is_midstream = true;
    }
    let mut midstream: Vec<Conversation> =
        (1..=40).map(|port| tcp(target(1), port, unanswered(1), 0)).collect();
    for it in &mut midstream {
        it.evidence = InitiatorEvidence::Port;
    }
    let mut answers: Vec<Conversation> = (1..=40).map(|port| tcp(target(1), port, refused(1), 0)).collect();
    for it in &mut answers {
        it.claim = Claim::Backscatter;
    }
    let mut busy = tcp(target(1), 80, answered(100_000), 0);
    busy.burst_unanswered = 99;
    let cases: Vec<(&str, Vec<Conversation>)> = vec![
        ("41 short connections to one port", vec![tcp(target(1), 80, answered(41), 0)]),
        ("a retry loop against one dead port", vec![tcp(target(1), 5432, refused(10_000), 0)]),
        ("67 guesses of a password", vec![tcp(target(1), 902, answered(67), 0)]),
        ("a client of 40 healthy ports", many_ports(40)),
        ("a load balancer and 12 healthy backends", backends(12, 0)),
        ("a load balancer and 12 backends of which 5 are down", backends(12, 5)),
        ("a monitor pinging 60 hosts of which 10 are down", {
            (0..60).map(|it| echo(target(it), if it < 10 { unanswered(9) } else { answered(9) }, 0)).collect()
        }),
        ("multicast", multicast.collect()),
        ("a resolver seen one way", resolver.collect()),
        ("a router's ICMP errors", router.collect()),
        ("echo replies seen one way", one_way_replies),
        ("connections joined midstream", midstream),
        ("backscatter", answers),
        ("a busy server", vec![busy]),
    ];
    for (what, conversations) in cases {
        assert_eq!(kinds(conversations), [], "{what}");
    }
}

#[test]
fn replicas_scan_each_for_themselves_and_share_a_finding() {
    let (one, two) = (workload("bot-1", "shop/bot", &[]), workload("bot-2", "shop/bot", &[]));
    let db = workload("db-1", "shop/db", &[5432]);
    let scan = |from: &_, last, ports: std::ops::Range<u16>| {
        ports
            .map(|port| fared(talk(peer(from, last), peer(&db, 9), port, 0, 0), refused(1), 0))
            .collect::<Vec<_>>()
    };
    let halves = [scan(&one, 2, 1..7), scan(&two, 3, 7..13)].concat();
    let found = Contract::default().assess(snapshot(vec![], halves)).findings;
    assert_eq!(found, [], "six ports each are no scan");
    let both = [scan(&one, 2, 1..20), scan(&two, 3, 1..20)].concat();
    let found = Contract::default().assess(snapshot(vec![], both)).findings;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].initiator_containers, ["bot-1", "bot-2"]);
    assert!(found[0].summary.ends_with("; and 1 pair alike"), "{}", found[0].summary);
}

#[test]
fn limits_can_be_set() {
    let calls: Vec<Conversation> = (1..=4).map(|port| tcp(target(1), port, refused(1), 0)).collect();
    let limits = ScanLimits { scan_ports: 4, ..ScanLimits::default() };
    let assessment = Contract::default().assess_within(snapshot(vec![], calls), &limits);
    assert_eq!(assessment.findings.len(), 1);
    assert_eq!(assessment.findings[0].against, "a port scan is 4 ports tried in vain within 60 s");
}

#[test]
fn ports_folded_into_one_do_not_hide_a_scan() {
    let mut calls: Vec<Conversation> = (1..=20).map(|port| tcp(target(1), port, refused(1), 0)).collect();
    let mut folded = tcp(target(1), 1, refused(60_000), 0);
    folded.port = ServicePort { port: None::<Port>, protocol: Protocol::TCP };
    calls.push(folded);
    assert_eq!(kinds(calls), [FindingKind::PortScan]);
}

#[test]
fn two_that_nobody_names_sweep_by_arp_for_themselves_and_one_container_of_two_addresses_once() {
    let (web, db) = (workload("web-1", "shop/web", &[]), workload("db-1", "shop/db", &[]));
    let sweep = |asker: Option<&Arc<Workload>>, last: u8| NeighbourSweep {
        network: "shop_default".to_owned(),
        asker: asker.cloned(),
        is_host: false,
        address: Ipv4Addr::new(172, 20, 0, last),
        addresses: 20,
        frames: 20,
        first_at: Timestamp(0),
        last_at: Timestamp(Timestamp::SECOND),
        first_frame: 1,
        last_frame: 20,
    };
    #[rustfmt::skip]
    let cases = [
        (sweep(None, 7),       sweep(None, 8),       true,  2),
        (sweep(None, 7),       sweep(None, 7),       true,  1),
        (sweep(None, 7),       sweep(None, 8),       false, 2),
        (sweep(Some(&web), 7), sweep(Some(&web), 8), true,  1),
        (sweep(Some(&web), 7), sweep(Some(&db), 7),  true,  2),
    ];
    for (one, other, has_roster, expected) in cases {
        let mut snapshot = snapshot(vec![web.clone(), db.clone()], vec![]);
        snapshot.has_roster = has_roster;
        snapshot.sweeps = vec![one.clone(), other.clone()];
        let found = Contract::default().assess(snapshot).findings;
        let sweeps: Vec<_> = found.iter().filter(|it| it.kind == FindingKind::HostSweep).collect();
        assert_eq!(sweeps.len(), expected, "{one:?} {other:?}: {sweeps:?}");
    }
}
