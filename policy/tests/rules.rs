//! Rules, defaults, modes and exemptions: the order of a verdict, held against a reading that knows no shortcuts.

#![allow(clippy::unwrap_used, reason = "what a test cannot read is its failure")]

#[expect(dead_code, reason = "the other targets use the rest of it")]
mod support;

use std::net::IpAddr;
use std::sync::Arc;

use portolan_flowtable::icmp::{IcmpKind, IcmpKinds};
use portolan_flowtable::{
    Confinement, Conversation, DnsName, Peer, Protocol, ServicePort, Snapshot, Timestamp, Workload,
};
use portolan_policy::{Assessment, Contract, FindingKind, Severity, Verdict};
use support::*;

/// Whoever may stand at an end, as the reference sees it.
#[derive(Clone, Copy, Debug)]
struct End {
    kind: &'static str,
    project: &'static str,
    service: &'static str,
    networks: &'static [&'static str],
    address: &'static str,
}

const ENDS: [End; 8] = [
    End { kind: "container", project: "shop", service: "web", networks: &["front"], address: "172.20.0.2" },
    End {
        kind: "container",
        project: "shop",
        service: "cart",
        networks: &["front", "back"],
        address: "172.20.0.3",
    },
    End { kind: "container", project: "shop", service: "db", networks: &["back"], address: "172.20.0.4" },
    End { kind: "container", project: "ops", service: "web", networks: &["back"], address: "172.20.0.5" },
    End { kind: "host", project: "", service: "", networks: &[], address: "172.20.0.1" },
    End { kind: "external", project: "", service: "", networks: &[], address: "203.0.113.9" },
    End { kind: "external", project: "", service: "api.example.com", networks: &[], address: "203.0.113.10" },
    End { kind: "multicast", project: "", service: "", networks: &[], address: "224.0.0.251" },
];
const SELECTORS: [&str; 23] = [
    "any",
    "host",
    "external",
    "multicast",
    "web",
    "shop/web",
    "shop/db",
    "ops/web",
    "project:shop",
    "network:back",
    "label:tier=web",
    "container:shop-*",
    "image:cart",
    "172.20.0.0/30",
    "203.0.113.9",
    "group:office",
    "dns:*.example.com",
    "dns:edge.example.net",
    "privileged",
    "user:root",
    "user:1000",
    "capability:CAP_NET_ADMIN",
    "digest:sha256:abababababababababababababababababababababababababababababababab",
];
const PORTS: [&str; 6] = ["80/tcp", "70-90", "9229", "tcp", "53/udp", "icmp"];
const CALLED: [u16; 3] = [80, 9229, 5432];
const ICMP: [&str; 7] = ["echo-request", "redirect", "3", "3/1", "8/0", "icmp6:135", "time-exceeded/0"];
/// Type and code a flow of ICMP may begin with.
const MESSAGES: [(u8, u8); 6] = [(8, 0), (3, 1), (3, 3), (5, 0), (11, 0), (135, 0)];

/// What is called: a port of TCP, or ICMP by messages, whole or with some that are not told apart.
#[derive(Clone, Debug)]
enum Called {
    Port(u16),
    Icmp { is_six: bool, messages: Vec<(u8, u8)>, is_more: bool },
}

/// One message read without any of the program's code.
fn is_message(pattern: &str, is_six: bool, message: (u8, u8)) -> bool {
    match (pattern, is_six) {
        ("echo-request" | "8/0", false) => message == (8, 0),
        ("echo-request", true) => message.0 == 128,
        ("redirect", false) => message.0 == 5,
        ("redirect", true) => message.0 == 137,
        ("3", false) => message.0 == 3,
        ("3/1", false) => message == (3, 1),
        ("icmp6:135", true) => message.0 == 135,
        ("time-exceeded/0", false) => message == (11, 0),
        ("time-exceeded/0", true) => message == (3, 0),
        _ => false,
    }
}
const RELATIONS: [&str; 7] =
    ["same_network", "same_project", "other_project", "from_external", "to_external", "host", "multicast"];

/// A selector read without any of the program's code.
fn selects(selector: &str, end: &End) -> bool {
    let is_container = end.kind == "container";
    match selector {
        "any" => true,
        "host" | "external" | "multicast" => end.kind == selector,
        "web" => is_container && end.service == "web",
        "shop/web" => is_container && end.project == "shop" && end.service == "web",
        "shop/db" => is_container && end.service == "db",
        "ops/web" => is_container && end.project == "ops",
        "project:shop" => is_container && end.project == "shop",
        "network:back" => is_container && end.networks.contains(&"back"),
        "label:tier=web" => is_container && end.service == "web",
        "container:shop-*" => is_container && end.project == "shop",
        "image:cart" => is_container && end.service == "cart",
        "172.20.0.0/30" => ["172.20.0.1", "172.20.0.2", "172.20.0.3"].contains(&end.address),
        "203.0.113.9" => end.address == "203.0.113.9",
        "group:office" => ["172.20.0.4", "172.20.0.5"].contains(&end.address),
        // Of shop, web runs as 1000, cart with a capability more, db privileged; of ops nobody knows.
        "privileged" => is_container && end.service == "db",
        "user:root" => is_container && end.project == "shop" && end.service != "web",
        "user:1000" => is_container && end.project == "shop" && end.service == "web",
        "capability:CAP_NET_ADMIN" => is_container && end.project == "shop" && end.service != "web",
        digest if digest.starts_with("digest:") => is_container && end.service == "cart",
        // Asked for as api.example.com, an alias of edge.example.net.
        "dns:*.example.com" | "dns:edge.example.net" => end.address == "203.0.113.10",
        _ => panic!("{selector}"),
    }
}

fn covers(ports: &str, called: u16) -> bool {
    match ports {
        "80/tcp" => called == 80,
        "70-90" => (70..=90).contains(&called),
        "9229" => called == 9229,
        "tcp" => true,
        "53/udp" | "icmp" => false,
        _ => panic!("{ports}"),
    }
}

/// Whether a rule speaks of what is called, to deny or to allow it.
fn is_on(rule: &Rule, called: &Called) -> bool {
    if rule.ports.is_empty() && rule.icmp.is_empty() {
        return true;
    }
    match called {
        Called::Port(port) => rule.ports.iter().any(|ports| covers(ports, *port)),
        Called::Icmp { is_six, messages, is_more } => {
            if !is_six && rule.ports.contains(&"icmp") {
                return true;
            }
            let named = messages
                .iter()
                .filter(|message| rule.icmp.iter().any(|pattern| is_message(pattern, *is_six, **message)));
            let count = named.count();
            if rule.action == "deny" { count > 0 } else { count > 0 && count == messages.len() && !is_more }
        }
    }
}

#[derive(Clone, Debug)]
struct Rule {
    action: &'static str,
    from: Vec<&'static str>,
    to: Vec<&'static str>,
    ports: Vec<&'static str>,
    icmp: Vec<&'static str>,
    is_both: bool,
    is_over: bool,
}

/// What is said of one service: its documented ports besides 80, of the image; who is expected.
type Said = Option<(Vec<u16>, Option<Vec<&'static str>>)>;

#[derive(Clone, Debug, Default)]
struct Case {
    rules: Vec<Rule>,
    defaults: Vec<(&'static str, &'static str)>,
    /// Of web, cart and db in shop.
    said: [Said; 3],
}

impl Case {
    fn text(&self) -> String {
        let mut out = "[groups]\noffice = [\"172.20.0.4/31\"]\n[defaults]\n".to_owned();
        for (relation, action) in &self.defaults {
            out.push_str(&format!("{relation} = \"{action}\"\n"));
        }
        for (number, rule) in self.rules.iter().enumerate() {
            out.push_str(&format!("[[rule]]\nid = \"r{number}\"\naction = \"{}\"\n", rule.action));
            for (key, list) in
                [("from", &rule.from), ("to", &rule.to), ("ports", &rule.ports), ("icmp", &rule.icmp)]
            {
                if !list.is_empty() {
                    out.push_str(&format!("{key} = {list:?}\n"));
                }
            }
            if rule.is_both {
                out.push_str("direction = \"both\"\n");
            }
            let date = if rule.is_over { "2020-01-01" } else { "2100-01-01T00:00:00Z" };
            out.push_str(&format!("expires = {date}\n"));
        }
        for (service, said) in ["web", "cart", "db"].iter().zip(&self.said) {
            if let Some((ports, initiators)) = said {
                out.push_str(&format!("[[service]]\nservice = \"shop/{service}\"\nports = {ports:?}\n"));
                if let Some(initiators) = initiators {
                    out.push_str(&format!("initiators = {initiators:?}\n"));
                }
            }
        }
        out
    }

    /// The verdict as the page describes it, and what decided: a rule's number, a default, or nothing of the two.
    fn verdict(&self, from: &End, to: &End, called: &Called, is_answered: bool) -> (Verdict, String) {
        for action in ["deny", "allow"] {
            for (number, rule) in self.rules.iter().enumerate() {
                let named =
                    |list: &[&str], end: &End| list.is_empty() || list.iter().any(|it| selects(it, end));
                let forward = named(&rule.from, from) && named(&rule.to, to);
                let backward = rule.is_both && named(&rule.from, to) && named(&rule.to, from);
                let is_port = is_on(rule, called);
                if rule.action == action && !rule.is_over && is_port && (forward || backward) {
                    let verdict = if action == "deny" { Verdict::Denied } else { Verdict::Allowed };
                    return (verdict, format!("r{number}"));
                }
            }
        }
        let mut verdict = Verdict::Unjudged;
        if let ("container", Called::Port(called)) = (to.kind, called) {
            let called = *called;
            let said = match (to.project, to.service) {
                ("shop", "web") => self.said[0].as_ref(),
                ("shop", "cart") => self.said[1].as_ref(),
                ("shop", "db") => self.said[2].as_ref(),
                _ => None,
            };
            let is_documented = called == 80 || said.is_some_and(|(ports, _)| ports.contains(&called));
            let expected = said.and_then(|(_, initiators)| initiators.as_ref());
            let is_expected = expected.map(|list| list.iter().any(|it| selects(it, from)));
            verdict = match (is_expected, is_documented) {
                (Some(false), _) => Verdict::UnexpectedPeer,
                (_, false) if is_answered => Verdict::UndocumentedPort,
                (Some(true), true) => Verdict::Documented,
                _ => Verdict::Unjudged,
            };
        }
        if verdict != Verdict::Unjudged {
            return (verdict, "intent".to_owned());
        }
        let relation = match (from.kind, to.kind) {
            (_, "multicast") => "multicast",
            ("external", _) => "from_external",
            (_, "external") => "to_external",
            ("host", _) | (_, "host") => "host",
            _ if from.project != to.project => "other_project",
            _ if from.networks.iter().any(|it| to.networks.contains(it)) => "same_network",
            _ => "same_project",
        };
        match self.defaults.iter().find(|(it, _)| *it == relation) {
            Some((_, "deny")) => (Verdict::Denied, relation.to_owned()),
            Some(_) => (Verdict::Allowed, relation.to_owned()),
            None => (Verdict::Unjudged, "intent".to_owned()),
        }
    }
}

fn workload_of(end: &End) -> Arc<Workload> {
    let mut made = Workload::clone(&workload(
        &format!("{}-{}-1", end.project, end.service),
        &format!("{}/{}", end.project, end.service),
        &[80],
    ));
    made.networks = end.networks.iter().map(|network| (*network).to_owned()).collect();
    if end.project == "shop" {
        let (user, is_privileged, added) = match end.service {
            "web" => ("1000", false, ""),
            "cart" => ("root", false, "NET_ADMIN"),
            _ => ("root", true, ""),
        };
        let added = Some(added).filter(|it| !it.is_empty());
        made.confinement = Some(Box::new(Confinement {
            user: user.to_owned(),
            is_privileged,
            capabilities: Confinement::effective_capabilities(is_privileged, added, None),
            ..Confinement::default()
        }));
    }
    if end.service == "cart" {
        made.image_digests.push(format!("sha256:{}", "ab".repeat(32)));
    }
    if end.service == "web" {
        made.labels.insert("tier".to_owned(), "web".to_owned());
    }
    Arc::new(made)
}

fn peer_of(end: &End) -> Peer {
    let address: IpAddr = end.address.parse().unwrap();
    match end.kind {
        "container" => Peer::Workload { workload: workload_of(end), address },
        "host" => Peer::Host { address },
        "external" if end.service.is_empty() => Peer::External { address, names: Default::default() },
        "external" => {
            let claim = DnsName {
                name: end.service.to_owned(),
                aliases: vec!["edge.example.net".to_owned()],
                answered_by: "203.0.113.53".parse().unwrap(),
                from: Timestamp(0),
                until: Timestamp(0),
            };
            Peer::External { address, names: vec![claim].into() }
        }
        _ => Peer::Group { address },
    }
}

/// A generator that is the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }

    fn some<T: Copy>(&mut self, of: &[T], most: usize) -> Vec<T> {
        (0..self.roll(most + 1)).map(|_| of[self.roll(of.len())]).collect()
    }

    fn called(&mut self) -> Called {
        if self.roll(3) > 0 {
            return Called::Port(CALLED[self.roll(CALLED.len())]);
        }
        let (is_six, is_more) = (self.roll(3) == 0, self.roll(6) == 0);
        Called::Icmp { is_six, messages: self.some(&MESSAGES, 2), is_more }
    }

    fn case(&mut self) -> Case {
        let mut case = Case::default();
        for _ in 0..self.roll(6) {
            let mut rule = Rule {
                action: ["deny", "allow"][self.roll(2)],
                from: self.some(&SELECTORS, 2),
                to: self.some(&SELECTORS, 2),
                ports: self.some(&PORTS, 2),
                icmp: if self.roll(2) == 0 { self.some(&ICMP, 2) } else { Vec::new() },
                is_both: self.roll(4) == 0,
                is_over: self.roll(5) == 0,
            };
            if rule.from.is_empty() && rule.to.is_empty() && rule.ports.is_empty() && rule.icmp.is_empty() {
                rule.from.push("any");
            }
            case.rules.push(rule);
        }
        for relation in RELATIONS {
            if self.roll(3) == 0 {
                case.defaults.push((relation, ["deny", "allow"][self.roll(2)]));
            }
        }
        for said in &mut case.said {
            if self.roll(2) == 0 {
                let initiators = (self.roll(2) == 0).then(|| self.some(&SELECTORS, 3));
                *said = Some((self.some(&CALLED, 2), initiators));
            }
        }
        case
    }
}

/// Conversations judged by each generated contract.
const CALLS: usize = 50;

#[test]
fn every_verdict_is_that_of_a_naive_reading() {
    let cases =
        std::env::var("PORTOLAN_RULE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000_usize);
    let mut dice = Dice(0x0005_DEEC_E66D_1234);
    let peers: Vec<Peer> = ENDS.iter().map(peer_of).collect();
    let workloads: Vec<Arc<Workload>> =
        ENDS.iter().filter(|end| end.kind == "container").map(workload_of).collect();
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..cases.div_ceil(CALLS) {
        let case = dice.case();
        let text = case.text();
        let contract = Contract::parse(&text, "c.toml").unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
        let mut asked = Vec::new();
        let mut calls = Vec::new();
        for _ in 0..CALLS {
            let (from, to) = (dice.roll(ENDS.len() - 1), dice.roll(ENDS.len()));
            let (called, is_answered) = (dice.called(), dice.roll(2) == 0);
            let (answered, refused) = if is_answered { (1, 0) } else { (0, 1) };
            let mut call = talk(peers[from].clone(), peers[to].clone(), 80, answered, refused);
            match &called {
                Called::Port(port) => call.port = ServicePort::new(*port, Protocol::TCP),
                Called::Icmp { is_six, messages, is_more } => {
                    let protocol = if *is_six { Protocol::ICMPV6 } else { Protocol::ICMP };
                    call.port = ServicePort { port: None, protocol };
                    let mut kinds = IcmpKinds { kinds: Vec::new(), is_more: *is_more };
                    messages
                        .iter()
                        .for_each(|(kind, code)| kinds.insert(IcmpKind { kind: *kind, code: *code }));
                    call.icmp = kinds;
                }
            }
            asked.push((from, to, called, is_answered));
            calls.push(call);
        }
        let assessment = contract.assess(snapshot(workloads.clone(), calls));
        for ((from, to, called, is_answered), judged) in asked.into_iter().zip(&assessment.judged) {
            let (verdict, decided) = case.verdict(&ENDS[from], &ENDS[to], &called, is_answered);
            let row =
                format!("{:?} -> {:?}:{called:?}, answered {is_answered}\n{text}", ENDS[from], ENDS[to]);
            assert_eq!(judged.verdict, verdict, "{} by {decided}: {row}", judged.decided_by);
            if decided != "intent" {
                let is_named = judged.decided_by.contains(&format!("({decided})"))
                    || judged.decided_by.contains(&decided);
                assert!(is_named, "{} is not {decided}: {row}", judged.decided_by);
            }
            *seen.entry(verdict).or_insert(0) += 1;
        }
    }
    println!("{seen:?}");
    assert_eq!(seen.len(), 6, "every verdict there is: {seen:?}");
}

fn judged(text: &str, call: Conversation) -> Assessment {
    let contract = Contract::parse(text, "contract.toml").unwrap_or_else(|errors| panic!("{errors:?}"));
    let ends = [call.initiator.clone(), call.responder.clone()];
    let workloads = ends.iter().filter_map(Peer::workload).map(Arc::clone).collect();
    contract.assess(snapshot(workloads, vec![call]))
}

fn web_to_db() -> Conversation {
    talk(peer_of(&ENDS[0]), peer_of(&ENDS[2]), 80, 1, 0)
}

const DENY: &str = "[[rule]]\naction = \"deny\"\nfrom = \"shop/web\"\nto = \"shop/db\"\n";
const ALLOW: &str = "[[rule]]\naction = \"allow\"\nfrom = \"shop/web\"\nto = \"shop/db\"\n";

#[test]
fn the_order_is_deny_allow_intent_default() {
    let intent = |who: &str| format!("[[service]]\nservice = \"shop/db\"\ninitiators = [\"{who}\"]\n");
    #[rustfmt::skip]
    let intents = [("", Verdict::Unjudged), ("shop/web", Verdict::Documented), ("shop/cart", Verdict::UnexpectedPeer)];
    let defaults = [("", None), ("allow", Some(Verdict::Allowed)), ("deny", Some(Verdict::Denied))];
    for is_denied in [false, true] {
        for is_allowed in [false, true] {
            for (who, by_intent) in intents {
                for (default, by_default) in defaults {
                    let mut text = String::new();
                    if !default.is_empty() {
                        text.push_str(&format!("[defaults]\nsame_project = \"{default}\"\n"));
                    }
                    // What denies is written behind what allows: the order of the file does not matter.
                    if is_allowed {
                        text.push_str(ALLOW);
                    }
                    if is_denied {
                        text.push_str(DENY);
                    }
                    if !who.is_empty() {
                        text.push_str(&intent(who));
                    }
                    let expected = match (is_denied, is_allowed, by_intent, by_default) {
                        (true, _, _, _) => Verdict::Denied,
                        (false, true, _, _) => Verdict::Allowed,
                        (false, false, Verdict::Unjudged, Some(default)) => default,
                        (false, false, intent, _) => intent,
                    };
                    assert_eq!(judged(&text, web_to_db()).judged[0].verdict, expected, "{text}");
                }
            }
        }
    }
}

#[test]
fn what_is_denied_is_a_finding_that_names_the_line() {
    let text = format!(
        "{DENY}severity = \"medium\"\nid = \"own-copy\"\npurpose = \"web asks cart\"\ncontrol = \"CIS 5.29\"\n"
    );
    let assessment = judged(&text, web_to_db());
    let [finding] = assessment.findings.as_slice() else { panic!("{:?}", assessment.findings) };
    assert_eq!((finding.kind, finding.severity), (FindingKind::Denied, Severity::Medium));
    assert_eq!(finding.summary, "1 connection, answered; it is denied");
    assert_eq!(finding.against, "contract.toml:1 (own-copy) denies it: web asks cart");
    assert_eq!(assessment.judged[0].decided_by, finding.against);
    let refused = talk(peer_of(&ENDS[0]), peer_of(&ENDS[2]), 80, 0, 1);
    assert_eq!(judged(&text, refused).findings[0].severity, Severity::Low);
}

#[test]
fn rules_are_counted_and_those_whose_time_is_over_decide_nothing() {
    let text = format!("{DENY}expires = 2020-01-01\n{ALLOW}id = \"used\"\n{ALLOW}id = \"never\"\n");
    let assessment = judged(&text, web_to_db());
    assert_eq!(assessment.contract, "contract.toml, 0 services, 3 rules");
    assert_eq!(assessment.judged[0].verdict, Verdict::Allowed);
    let uses: Vec<_> = assessment
        .rules
        .iter()
        .map(|it| (it.id.as_str(), it.conversations, it.last_used.is_some(), it.is_over))
        .collect();
    assert_eq!(
        uses,
        [("contract.toml:1", 0, false, true), ("used", 1, true, false), ("never", 0, false, false)]
    );
    assert_eq!(assessment.warnings, ["contract.toml:1:1: the time of this rule is over; it decides nothing"]);
}

#[test]
fn a_services_mode_says_how_it_is_judged() {
    let entry = |mode: &str| {
        format!("[[service]]\nservice = \"shop/db\"\nmode = \"{mode}\"\ninitiators = [\"shop/cart\"]\n")
    };
    #[rustfmt::skip]
    let cases = [
        // mode      with a rule that denies   verdict
        ("off",      false,                    Verdict::Unjudged),
        ("off",      true,                     Verdict::Unjudged),
        ("learn",    false,                    Verdict::Unjudged),
        ("learn",    true,                     Verdict::Denied),
        ("monitor",  false,                    Verdict::UnexpectedPeer),
        ("enforce",  false,                    Verdict::UnexpectedPeer),
    ];
    for (mode, is_denied, expected) in cases {
        let text = format!("{}{}", entry(mode), if is_denied { DENY } else { "" });
        let assessment = judged(&text, web_to_db());
        assert_eq!(assessment.judged[0].verdict, expected, "{mode} {is_denied}");
        assert_eq!(assessment.findings.is_empty(), !expected.is_finding(), "{mode} {is_denied}");
    }
    let warnings = judged(&entry("enforce"), web_to_db()).warnings;
    let said = "contract.toml:3:8: mode enforce is not enforced: what is denied is reported and not blocked";
    assert!(warnings.iter().any(|it| it == said), "{warnings:?}");
}

#[test]
fn a_standard_rule_can_be_switched_off_and_exempted_with_a_reason() {
    let intent = "[[service]]\nservice = \"shop/db\"\ninitiators = [\"shop/cart\"]\n";
    let except =
        |more: &str| format!("{intent}[[standard.unexpected_peer.except]]\nreason = \"moving\"\n{more}");
    #[rustfmt::skip]
    let cases = [
        (intent.to_owned(),                                                   1),
        (format!("{intent}[standard.unexpected_peer]\nenabled = false\n"),   0),
        (format!("{intent}[standard.port_scan]\nenabled = false\n"),         1),
        (except("from = \"shop/web\"\n"),                                     0),
        (except("from = \"shop/web\"\nports = \"443/tcp\"\n"),                1),
        (except("from = \"shop/web\"\nexpires = 2020-01-01\n"),               1),
        (except("from = \"shop/web\"\nexpires = 2100-01-01\n"),               0),
        (except("to = \"shop/web\"\n"),                                       1),
    ];
    for (text, expected) in cases {
        let assessment = judged(&text, web_to_db());
        assert_eq!(assessment.findings.len(), expected, "{text}");
        // The verdict says how things are.
        assert_eq!(assessment.judged[0].verdict, Verdict::UnexpectedPeer, "{text}");
    }
}

#[test]
fn the_order_of_rules_that_deny_changes_neither_verdict_nor_severity() {
    let rule = |id: &str, severity: &str| {
        format!("[[rule]]\naction = \"deny\"\nid = \"{id}\"\nto = \"shop/db\"\nseverity = \"{severity}\"\n")
    };
    let texts = [
        [rule("a", "low"), rule("b", "high"), rule("c", "high")].concat(),
        [rule("b", "high"), rule("c", "high"), rule("a", "low")].concat(),
    ];
    let [one, other] = texts.each_ref().map(|text| Contract::parse(text, "contract.toml").unwrap());
    assert_eq!(one.changes_to(&other), []);
    for text in &texts {
        let assessment = judged(text, web_to_db());
        assert_eq!(assessment.findings[0].severity, Severity::High, "{text}");
        // Of those alike the first is named.
        assert!(assessment.judged[0].decided_by.contains("(b)"), "{:?}", assessment.judged[0].decided_by);
    }
}

#[test]
fn what_is_far_from_every_name_is_no_slip() {
    for (name, hint) in
        [("unusual_levle", Some("unusual_level")), ("unusual_burst", None), ("undocumented", None)]
    {
        let errors =
            Contract::parse(&format!("[standard.{name}]\nenabled = true\n"), "c.toml").expect_err(name);
        assert_eq!(errors[0].hint.as_deref(), hint, "{name}");
    }
}

#[test]
fn groups_of_one_file_are_known_in_all_of_them() {
    let files = [
        ("10-rules.toml", "[[rule]]\naction = \"deny\"\nfrom = \"group:office\"\n"),
        ("20-groups.toml", "[groups]\noffice = \"203.0.113.0/24\"\n"),
    ];
    let contract = Contract::parse_all(files).unwrap();
    let call = talk(peer_of(&ENDS[5]), peer_of(&ENDS[2]), 80, 1, 0);
    let seen: Snapshot = snapshot(vec![], vec![call]);
    assert_eq!(contract.assess(Snapshot { at: Timestamp(START), ..seen }).judged[0].verdict, Verdict::Denied);
}

#[test]
fn every_mistake_in_a_rule_has_its_place_and_what_was_meant() {
    #[rustfmt::skip]
    let cases = [
        ("[[rule]]\nfrom = \"a\"\n",                                  "c.toml:1:1: this rule has no \"action\": deny or allow"),
        ("[[rule]]\naction = \"dney\"\nfrom = \"a\"\n",               "c.toml:2:10: \"action\" is deny or allow, not \"dney\"; did you mean \"deny\"?"),
        ("[[rule]]\naction = \"deny\"\n",                             "c.toml:1:1: this rule speaks of everything: give from, to, ports or icmp, or set [defaults]"),
        ("[[rule]]\naction = \"deny\"\nicmp = \"echo-requst\"\n",     "c.toml:3:8: bad ICMP type \"echo-requst\": expected as in \"echo-request\", \"3/1\" or \"icmp6:135\"; did you mean \"echo-request\"?"),
        ("[[rule]]\naction = \"deny\"\nicmp = [\"8\", \"3/256\"]\n",    "c.toml:3:14: bad ICMP type \"3/256\": types and codes are 0 to 255; did you mean \"3\"?"),
        ("[[rule]]\naction = \"deny\"\nicmp = 256\n",                 "c.toml:3:8: bad ICMP type \"256\": types and codes are 0 to 255"),
        ("[[rule]]\naction = \"deny\"\nicmp = \"icmp6:300\"\n", "c.toml:3:8: bad ICMP type \"icmp6:300\": types and codes are 0 to 255"),
        ("[[rule]]\naction = \"deny\"\nicmp = \"+3\"\n", "c.toml:3:8: bad ICMP type \"+3\": expected as in \"echo-request\", \"3/1\" or \"icmp6:135\""),
        ("[[rule]]\naction = \"deny\"\nicmp = \"3/+1\"\n", "c.toml:3:8: bad ICMP type \"3/+1\": expected as in \"echo-request\", \"3/1\" or \"icmp6:135\"; did you mean \"3\"?"),
        ("[[rule]]\naction = \"deny\"\nicmp = \"/1\"\n", "c.toml:3:8: bad ICMP type \"/1\": expected as in \"echo-request\", \"3/1\" or \"icmp6:135\""),
        ("[[rule]]\naction = \"deny\"\nicmp = \"/300\"\n", "c.toml:3:8: bad ICMP type \"/300\": types and codes are 0 to 255"),
        ("[[rule]]\naction = \"deny\"\nicmp = []\n",                  "c.toml:3:8: an empty \"icmp\" speaks of nothing: leave it out for all"),
        ("[[rule]]\naction = \"deny\"\nfrom = []\n",                  "c.toml:3:8: an empty \"from\" speaks of nothing: leave it out for all"),
        ("[[rule]]\naction = \"deny\"\nfrom = \"group:offic\"\n[groups]\noffice = []\n", "c.toml:3:8: unknown group \"offic\": define it in [groups]; did you mean \"group:office\"?"),
        ("[[rule]]\naction = \"deny\"\nto = \"a\"\nports = \"icpm\"\n", "c.toml:4:9: bad port \"icpm\": expected as in \"5432/tcp\" or \"7000-7010/udp\""),
        ("[[rule]]\naction = \"deny\"\nto = \"a\"\nseverity = \"hihg\"\n", "c.toml:4:12: unknown severity \"hihg\": expected info, low, medium, high; did you mean \"high\"?"),
        ("[[rule]]\naction = \"deny\"\nto = \"a\"\ndirection = \"bth\"\n", "c.toml:4:13: \"direction\" is forward or both, not \"bth\"; did you mean \"both\"?"),
        ("[[rule]]\naction = \"deny\"\nto = \"a\"\nexpires = \"soon\"\n", "c.toml:4:11: \"expires\" takes a date as in 2027-01-31, or a time with its zone, not \"soon\""),
        ("[[rule]]\naction = \"deny\"\nto = \"a\"\nexpiers = 2027-01-01\n", "c.toml:4:1: unknown key \"expiers\" in a rule: expected action, id, from, to, ports, icmp, direction, severity, owner, purpose, control, expires, comment; did you mean \"expires\"?"),
        ("[defaults]\nsame_netwrok = \"deny\"\n",                     "c.toml:2:1: unknown key \"same_netwrok\" in defaults: expected same_network, same_project, other_project, from_external, to_external, host, multicast; did you mean \"same_network\"?"),
        ("[groups]\noffice = \"10.0.0.0/99\"\n",                     "c.toml:2:10: \"10.0.0.0/99\" is no range of addresses: expected as in \"10.0.0.0/8\""),
        ("[[service]]\nservice = \"a\"\nmode = \"montor\"\n",        "c.toml:3:8: unknown mode \"montor\": expected off, learn, monitor, enforce; did you mean \"monitor\"?"),
        ("[standard.port_scn]\nenabled = true\n",                     "c.toml:1:11: unknown key \"port_scn\" in standard: expected spoofed_source, denied, unexpected_peer, undocumented_port, undocumented_listener, unused_exposure, foreign_database, docker_api, cloud_metadata, internal_outbound, foreign_resolver, cleartext_admin, port_scan, host_sweep, syn_flood, unlisted_source, stolen_mac, beaconing, password_guessing, unusual_level, new_edge, forbidden_edge; did you mean \"port_scan\"?"),
        ("[standard.port_scan]\nport = 5\n",                          "c.toml:2:1: unknown key \"port\" in standard.port_scan: expected enabled, except, ports, seconds; did you mean \"ports\"?"),
        ("[standard.port_scan]\nports = 1\n",                         "c.toml:2:9: \"ports\" (ports of one responder tried in vain) is from 2 to 65535, not 1; did you mean \"2\"?"),
        ("[standard.beaconing]\nperiods = \"many\"\n",               "c.toml:2:11: \"periods\" takes a whole number, not string"),
        ("[standard.unusual_level]\nfactor = -3\n",                   "c.toml:2:10: \"factor\" (so many times what is usual) is from 2 to 1000, not -3; did you mean \"2\"?"),
        ("[[standard.unused_exposure.except]]\nfrom = \"a\"\nreason = \"b\"\n", "c.toml:2:1: unknown key \"from\" in an exemption from unused_exposure: expected to, ports, reason, expires"),
        ("[[standard.stolen_mac.except]]\nports = 80\nreason = \"b\"\n", "c.toml:2:1: unknown key \"ports\" in an exemption from stolen_mac: expected from, to, reason, expires"),
        ("[[standard.port_scan.except]]\nfrom = \"a\"\n",             "c.toml:1:1: this exemption has no \"reason\""),
    ];
    for (text, expected) in cases {
        let errors = Contract::parse(text, "c.toml").expect_err(text);
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(all, [expected], "{text}");
    }
}

#[test]
fn a_rule_of_icmp_messages_denies_by_one_of_them_and_allows_only_by_all() {
    let rule =
        |action: &str| format!("[[rule]]\naction = \"{action}\"\nicmp = [\"echo-request\", \"3/1\"]\n");
    let ping = |messages: &[(u8, u8)]| {
        let mut call = web_to_db();
        call.port = ServicePort { port: None, protocol: Protocol::ICMP };
        messages.iter().for_each(|(kind, code)| call.icmp.insert(IcmpKind { kind: *kind, code: *code }));
        call
    };
    #[rustfmt::skip]
    let cases = [
        // messages            denied  allowed
        (&[(8, 0)][..],        true,   true),
        (&[(8, 0), (3, 1)],    true,   true),
        (&[(8, 0), (5, 0)],    true,   false),
        (&[(5, 0)],            false,  false),
        (&[],                  false,  false),
    ];
    for (messages, is_denied, is_allowed) in cases {
        let of = |action: &str| judged(&rule(action), ping(messages)).judged[0].verdict;
        assert_eq!(of("deny") == Verdict::Denied, is_denied, "{messages:?}");
        assert_eq!(of("allow") == Verdict::Allowed, is_allowed, "{messages:?}");
    }
    // Of TCP it says nothing, and a contract that says the same in other words says the same.
    assert_eq!(judged(&rule("deny"), web_to_db()).judged[0].verdict, Verdict::Unjudged);
    let facts = |icmp: &str| {
        let text = format!("[[rule]]\naction = \"deny\"\nicmp = {icmp}\n");
        let changes = Contract::default().changes_to(&Contract::parse(&text, "c.toml").unwrap());
        changes.into_iter().map(|change| change.fact).collect::<Vec<_>>()
    };
    assert_eq!(
        facts("[\"redirect\", 17]"),
        [
            "deny anybody -> anybody on icmp address-mask-request, severity high",
            "deny anybody -> anybody on icmp redirect, severity high",
        ]
    );
    assert_eq!(facts("[\"address-mask-request\", \"redirect\"]"), facts("[17, \"redirect\"]"));
}

#[test]
fn a_finding_tells_what_an_address_outside_is_said_to_be() {
    let deny = "[[rule]]\naction = \"deny\"\nto = \"external\"\n";
    let summary = |to: usize| {
        let call = talk(peer_of(&ENDS[0]), peer_of(&ENDS[to]), 443, 1, 0);
        judged(deny, call).findings[0].summary.clone()
    };
    assert_eq!(summary(6), "1 connection, answered; it is denied; said to be api.example.com");
    assert_eq!(summary(5), "1 connection, answered; it is denied");
}

#[test]
fn the_place_of_a_decision_is_one_of_the_contracts_own() {
    let contract = Contract::parse(DENY, "a.toml").unwrap();
    #[rustfmt::skip]
    let cases = [
        ("a.toml:1 denies it",                     Some(("a.toml", 1))),
        ("a.toml:12: host is deny by default",     Some(("a.toml", 12))),
        ("b.toml:1 denies it",                     None),
        ("a.toml: the service documents nothing",  None),
        ("nothing says who may call",              None),
    ];
    for (decided_by, expected) in cases {
        let expected = expected.map(|(file, line)| (file.to_owned(), line));
        assert_eq!(contract.place_of(decided_by), expected, "{decided_by}");
    }
}
