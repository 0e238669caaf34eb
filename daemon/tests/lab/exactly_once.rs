//! Every frame is counted once, however many interfaces show it: each kind of traffic that Docker's defaults allow.
//!
//! Two witnesses that are not Portolan: the senders, who know connections and payload, and the kernel, whose counters
//! say how many frames each container's interface and each bridge sent. A frame counts where one of these sends it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::bridge::{BridgeLab, Member};
use crate::daemon::Daemon;
use crate::engine::Lab;
use crate::namespace::{Namespace, output};
use crate::traffic::{UDP_HEADERS, call, send_datagrams, sink};
use crate::wire::{self, Connections};

/// Initiator, responder, service port, protocol.
type Edge = (String, String, u16, String);

/// Frames and bytes of flows, to the responder and back, and how they fared.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Sum {
    sent: [u64; 2],
    received: [u64; 2],
    connections: Connections,
}

#[test]
#[ignore = "needs root"]
fn each_kind_of_traffic_on_a_bridge_is_counted_once_promiscuous_or_not() {
    let lab = BridgeLab::up(3);
    let [one, two, three] = [0, 1, 2].map(|at| lab.members()[at].clone());
    let _sinks = [&two.namespace, &three.namespace, lab.host()].map(|at| sink(at, 9_000));
    // The bridge learns who is where; until then it floods.
    for member in [&one, &two, &three] {
        send_datagrams(&member.namespace, SocketAddrV4::new(BridgeLab::GATEWAY, 9_000), 1, 10);
    }
    let mut daemon = Daemon::on_bridge(&lab, &[]);
    let before = sent_by_all(&lab);

    let mut expected: BTreeMap<Edge, [u64; 2]> = BTreeMap::new();
    let mut copies = vec![second_sightings(&daemon)];
    for is_promiscuous in [false, true] {
        lab.set_promiscuous(is_promiscuous);
        let mut send = |from: &Namespace, source: Ipv4Addr, to: Ipv4Addr, times: u32, payload: usize| {
            let bytes = send_datagrams(from, SocketAddrV4::new(to, 9_000), times, payload);
            let total =
                expected.entry((source.to_string(), to.to_string(), 9_000, "udp".to_owned())).or_default();
            total[0] += u64::from(times);
            total[1] += bytes;
        };
        send(&one.namespace, one.address, two.address, 1_000, 100);
        send(&two.namespace, two.address, three.address, 10, 1_400);
        send(&one.namespace, one.address, BridgeLab::GATEWAY, 70, 33);
        send(lab.host(), BridgeLab::GATEWAY, three.address, 50, 500);
        call(&one.namespace, &three.namespace, SocketAddrV4::new(three.address, 8_080), 20, 100, 3_000);
        call(lab.host(), &two.namespace, SocketAddrV4::new(two.address, 8_080), 7, 40, 50);
        broadcast(&one, &mut expected);
        arp(&one, &two);
        daemon.catch_up();
        copies.push(second_sightings(&daemon));
    }
    lab.set_promiscuous(false);

    let seen = sums(&daemon.flows());
    for (edge, volume) in &expected {
        assert_eq!(seen[edge].sent, *volume, "{edge:?}");
        assert_eq!(seen[edge].received, [0, 0], "{edge:?}");
    }
    let tcp =
        |from: Ipv4Addr, to: Ipv4Addr| seen[&(from.to_string(), to.to_string(), 8_080, "tcp".to_owned())];
    assert_eq!(payload(tcp(one.address, three.address)), (40, [2 * 20 * 100, 2 * 20 * 3_000]));
    assert_eq!(payload(tcp(BridgeLab::GATEWAY, two.address)), (14, [2 * 7 * 40, 2 * 7 * 50]));
    // Nothing but what was sent: two pairs of calls, and the rows above.
    assert_eq!(seen.len(), expected.len() + 2, "{:?}", seen.keys());

    let status = daemon.status();
    let arp: Vec<u64> = ["frames", "bytes"]
        .iter()
        .map(|unit| status["ledger"]["arp"][unit].as_u64().expect("a number"))
        .collect();
    assert_eq!(arp, [12, 12 * 42], "three questions and answers, twice");
    let sent = minus(sent_by_all(&lab), before);
    assert_eq!(counted(&status), sent, "the kernel's own counters");
    // A promiscuous bridge shows each frame between its members once more: it really was.
    let further = copies_gained(&copies);
    assert!(further >= 1_000 + 10, "{copies:?}");
    println!("{sent:?} frames and bytes sent and counted; {further} second sightings by promiscuity alone");
    let ended = daemon.end();
    assert!(ended.is_settled().ends_with("; complete"), "{}", ended.is_settled());
}

#[test]
#[ignore = "needs root"]
fn ipv6_between_members_is_counted_once() {
    let lab = BridgeLab::up(2);
    let [one, two] = [0, 1].map(|at| lab.members()[at].clone());
    let address =
        |member: &Member| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, member.address.octets()[3].into());
    for (member, other) in [(&one, &two), (&two, &one)] {
        let inside = |arguments: &[&str]| output(member.namespace.command("ip").args(arguments));
        output(member.namespace.command("sysctl").args(["-qw", "net.ipv6.conf.eth0.disable_ipv6=0"]));
        inside(&["addr", "add", &format!("{}/64", address(member)), "dev", "eth0", "nodad"]);
        let other_address = address(other).to_string();
        inside(&[
            "neigh",
            "replace",
            &other_address,
            "lladdr",
            &other.mac,
            "nud",
            "permanent",
            "dev",
            "eth0",
        ]);
    }
    let mut daemon = Daemon::on_bridge(&lab, &[]);
    let _sink =
        two.namespace.within(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 9_000))).expect("a free port");
    one.namespace.within(|| {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("a free port");
        for _ in 0..300 {
            socket.send_to(&[b'x'; 200], SocketAddrV6::new(address(&two), 9_000, 0, 0)).expect("a route");
        }
    });
    daemon.catch_up();
    let seen = sums(&daemon.flows());
    let edge = (address(&one).to_string(), address(&two).to_string(), 9_000, "udp".to_owned());
    // IPv6's header is 20 bytes longer.
    assert_eq!(seen[&edge].sent, [300, 300 * (UDP_HEADERS + 20 + 200)], "{seen:?}");
    daemon.end().is_settled();
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn each_kind_of_traffic_beside_docker_is_counted_once_promiscuous_or_not() {
    let lab = Lab::up();
    lab.build_image();
    let mut daemon = Daemon::beside(&lab.host(), &lab.docker_socket(), &[]);
    for (network, containers) in [("near", &["one", "two"][..]), ("far", &["three"][..])] {
        lab.docker(["network", "create", network]);
        for container in containers {
            let published = if *container == "two" { "8081:8080" } else { "8080" };
            let run = ["run", "-d", "--name", container, "--network", network, "-p", published];
            lab.docker([&run[..], &["lab/peer:1.0", "serve", "tcp/8080", "udp/9000"]].concat());
        }
    }
    let peer = lab.directory().join("root/peer");
    let mut internet =
        lab.inet(&peer).args(["serve", "tcp/80"]).stdin(Stdio::null()).spawn().expect("a server");
    let bridge = |network: &str| {
        format!("br-{}", lab.docker(["network", "inspect", "-f", "{{slice .Id 0 12}}", network]))
    };
    let (near, far) = (bridge("near"), bridge("far"));

    let host = Lab::HOST.to_string();
    daemon.catch_up();
    let mut copies = vec![second_sightings(&daemon)];
    for is_promiscuous in [false, true] {
        let mut listener = is_promiscuous.then(|| listen(&lab, &near));
        let inside = |arguments: &[&str]| lab.docker([&["exec", "one", "/peer"][..], arguments].concat());
        let on_host = |arguments: &[&str]| output(lab.in_namespace(&peer).args(arguments));
        assert_eq!(inside(&["call", "172.20.0.3", "8080", "5", "100", "900"]), "5\t0\t0\t500\t4500");
        assert_eq!(inside(&["ask", "172.20.0.3", "9000", "40", "64", "16"]), "40\t0\t0\t2560\t640");
        // Into another network: nothing answers. To the host: its RST does.
        assert_eq!(inside(&["attempt", "172.20.1.2", "8080", "3"]), "0\t0\t3\t0\t0");
        assert_eq!(inside(&["attempt", "172.20.0.1", "7", "4"]), "0\t4\t0\t0\t0");
        assert_eq!(
            inside(&["call", &Lab::INTERNET.to_string(), "80", "6", "80", "700"]),
            "6\t0\t0\t480\t4200"
        );
        assert_eq!(inside(&["call", &host, "8081", "7", "90", "800"]), "7\t0\t0\t630\t5600");
        assert_eq!(on_host(&["call", "172.20.0.3", "8080", "2", "70", "300"]), "2\t0\t0\t140\t600");
        assert_eq!(on_host(&["call", "127.0.0.1", "8081", "3", "60", "200"]), "3\t0\t0\t180\t600");
        assert_eq!(on_host(&["call", &host, "8081", "8", "50", "100"]), "8\t0\t0\t400\t800");
        let from_outside = ["call", &host, "8081", "9", "110", "1000"];
        assert_eq!(output(lab.inet(&peer).args(from_outside)), "9\t0\t0\t990\t9000");
        lab.container("one").within(|| {
            let socket = UdpSocket::bind((Ipv4Addr::new(172, 20, 0, 2), 0)).expect("a free port");
            socket.set_broadcast(true).expect("a broadcaster");
            for to in [Ipv4Addr::new(172, 20, 0, 255), Ipv4Addr::new(224, 0, 0, 251)] {
                for _ in 0..11 {
                    socket.send_to(&[b'x'; 25], (to, 5_353)).expect("a route");
                }
            }
        });
        if let Some(listener) = &mut listener {
            listener.kill().expect("a process of ours");
            listener.wait().expect("a child of ours");
        }
        daemon.catch_up();
        copies.push(second_sightings(&daemon));
    }

    let seen = sums(&daemon.flows());
    #[rustfmt::skip]
    let expected = [
        // initiator      responder       port   protocol  connections, payload to it and back, of one round
        ("172.20.0.2",    "172.20.0.3",   8_080, "tcp",    5,  [500, 4_500]),
        ("172.20.0.2",    "172.20.0.3",   9_000, "udp",    1,  [2_560, 640]),
        ("172.20.0.2",    "172.20.1.2",   8_080, "tcp",    3,  [0, 0]),
        ("172.20.0.2",    "172.20.0.1",   7,     "tcp",    4,  [0, 0]),
        ("172.20.0.2",    "198.51.100.2", 80,    "tcp",    6,  [480, 4_200]),
        // What one calls at the host, docker-proxy calls again as the gateway; with it come the calls of host to two,
        // the host's own and those over its loopback.
        ("172.20.0.2",    "198.51.100.1", 8_081, "tcp",    7,  [630, 5_600]),
        ("172.20.0.1",    "172.20.0.3",   8_080, "tcp",    7 + 2 + 3, [630 + 140 + 180, 5_600 + 600 + 600]),
        // The host's own address is kept where iptables sends it to the container.
        ("198.51.100.1",  "172.20.0.3",   8_080, "tcp",    8,  [400, 800]),
        ("198.51.100.2",  "172.20.0.3",   8_080, "tcp",    9,  [990, 9_000]),
        ("172.20.0.2",    "172.20.0.255", 5_353, "udp",    1,  [11 * 25, 0]),
        ("172.20.0.2",    "224.0.0.251",  5_353, "udp",    1,  [11 * 25, 0]),
    ];
    for (initiator, responder, port, protocol, connections, [to_it, back]) in expected {
        let edge = (initiator.to_owned(), responder.to_owned(), port, protocol.to_owned());
        let sum = *seen.get(&edge).unwrap_or_else(|| panic!("no {edge:?}: {:?}", seen.keys()));
        assert_eq!(payload_of(protocol, sum), (2 * connections, [2 * to_it, 2 * back]), "{edge:?} {sum:?}");
    }
    let isolated = seen[&("172.20.0.2".to_owned(), "172.20.1.2".to_owned(), 8_080, "tcp".to_owned())];
    assert_eq!((isolated.sent, isolated.received), ([6, 6 * 74], [0, 0]), "each SYN once");
    // Nothing else but the kernel's own group reports and neighbour discovery.
    let others: Vec<&Edge> = seen
        .keys()
        .filter(|edge| edge.3 == "tcp" || edge.3 == "udp" || edge.3 == "icmp")
        .filter(|edge| {
            !expected.iter().any(|row| (row.0, row.1, row.2, row.3) == (&edge.0, &edge.1, edge.2, &edge.3))
        })
        .collect();
    assert!(others.is_empty(), "{others:?}");

    // Each container and each bridge has sent what was counted, by the kernel's own account.
    let sent = || {
        let inside = ["one", "two", "three"].map(|name| transmitted(&lab.container(name), "eth0"));
        let outside = [near.as_str(), &far, "docker0"].map(|name| transmitted(&lab.host(), name));
        inside.into_iter().chain(outside).fold([0, 0], plus)
    };
    let (mut before, mut counts) = ([0, 0], [0, 0]);
    daemon.eventually("nothing more is sent", |daemon| {
        (before, counts) = (sent(), counted(&daemon.status()));
        thread::sleep(Duration::from_millis(2_100));
        counts == counted(&daemon.status()) && before == sent()
    });
    assert_eq!(counts, before, "the kernel's own counters");
    let further = copies_gained(&copies);
    assert!(further >= 2 * 40, "{copies:?}");
    println!("{counts:?} frames and bytes sent and counted; {further} second sightings by promiscuity alone");
    internet.kill().expect("a process of ours");
    internet.wait().expect("a child of ours");
    let ended = daemon.end();
    assert!(ended.is_settled().ends_with("; complete"), "{}", ended.is_settled());
}

fn second_sightings(daemon: &Daemon) -> u64 {
    daemon.status()["ledger"]["second_sighting"]["frames"].as_u64().expect("a number")
}

/// Returns by how much a second round had more second sightings than the first, from their number before each and
/// after both.
fn copies_gained(copies: &[u64]) -> u64 {
    (copies[2] - copies[1]).saturating_sub(copies[1] - copies[0])
}

/// Sends to everybody on the bridge.
fn broadcast(from: &Member, expected: &mut BTreeMap<Edge, [u64; 2]>) {
    let to = Ipv4Addr::new(172, 30, 0, 255);
    from.namespace.within(|| {
        let socket = UdpSocket::bind((from.address, 0)).expect("a free port");
        socket.set_broadcast(true).expect("a broadcaster");
        for _ in 0..12 {
            socket.send_to(&[b'x'; 20], (to, 9_000)).expect("a route");
        }
    });
    let total =
        expected.entry((from.address.to_string(), to.to_string(), 9_000, "udp".to_owned())).or_default();
    total[0] += 12;
    total[1] += 12 * (UDP_HEADERS + 20);
}

/// Asks three times who has an address, and is answered.
fn arp(from: &Member, to: &Member) {
    let arguments = ["arping", "-c", "3", "-I", "eth0", &to.address.to_string()];
    let said = output(from.namespace.command("busybox").args(arguments));
    assert!(said.contains("Sent 3 probe(s)") && said.contains("Received 3 response(s)"), "{said}");
}

/// Holds a bridge promiscuous, as whoever listens on it does.
fn listen(lab: &Lab, bridge: &str) -> Child {
    let log = lab.directory().join("tcpdump.log");
    let mut child = lab
        .in_namespace("tcpdump")
        .args(["-n", "-i", bridge, "-w", "/dev/null"])
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(&log).expect("a file"))
        .spawn()
        .expect("tcpdump starts");
    for _ in 0..500 {
        if std::fs::read_to_string(&log).expect("its log").contains("listening on") {
            return child;
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("a process of ours");
    child.wait().expect("a child of ours");
    panic!("tcpdump does not listen");
}

/// Returns what all members and the bridge itself sent: frames and bytes.
fn sent_by_all(lab: &BridgeLab) -> [u64; 2] {
    let members = lab.members().iter().map(|member| transmitted(&member.namespace, "eth0"));
    members.chain([transmitted(lab.host(), BridgeLab::BRIDGE)]).fold([0, 0], plus)
}

/// Returns what an interface sent, as the kernel counts it: frames and bytes.
pub(crate) fn transmitted(at: &Namespace, interface: &str) -> [u64; 2] {
    let said = output(at.command("ip").args(["-s", "-j", "link", "show", "dev", interface]));
    let links: Value = serde_json::from_str(&said).expect("JSON");
    ["packets", "bytes"].map(|unit| links[0]["stats64"]["tx"][unit].as_u64().expect("a number"))
}

/// Returns what was counted, in flows or as ARP: frames and bytes.
fn counted(status: &Value) -> [u64; 2] {
    let of = |account: &str| {
        ["frames", "bytes"].map(|unit| status["ledger"][account][unit].as_u64().expect("a number"))
    };
    ["metered", "arp", "other_non_ip"].map(of).into_iter().fold([0, 0], plus)
}

/// Adds flows up by their ends.
fn sums(flows: &[Value]) -> BTreeMap<Edge, Sum> {
    let mut sums: BTreeMap<Edge, Sum> = BTreeMap::new();
    for flow in flows {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let port = flow["dest"]["port"].as_u64().map_or(0, |port| u16::try_from(port).expect("a port"));
        let edge = (text(&flow["src"]["ip"]), text(&flow["dest"]["ip"]), port, text(&flow["proto"]));
        let sum = sums.entry(edge).or_default();
        let tally = |side: &str| ["frames", "bytes"].map(|unit| flow[side][unit].as_u64().expect("a number"));
        sum.sent = plus(sum.sent, tally("sent"));
        sum.received = plus(sum.received, tally("received"));
        match flow["outcome"].as_str().expect("a word") {
            "answered" => sum.connections.answered += 1,
            "refused" => sum.connections.refused += 1,
            "pending" | "unanswered" | "blocked" => sum.connections.unanswered += 1,
            other => panic!("an outcome called {other}"),
        }
    }
    sums
}

/// Returns connections of a protocol and their payload to the responder and back.
fn payload_of(protocol: &str, sum: Sum) -> (u64, [u64; 2]) {
    let Connections { answered, refused, unanswered } = sum.connections;
    match protocol {
        "tcp" => payload(sum),
        _ => (
            answered + refused + unanswered,
            [wire::datagrams(sum.sent[0], sum.sent[1]), wire::datagrams(sum.received[0], sum.received[1])],
        ),
    }
}

fn payload(sum: Sum) -> (u64, [u64; 2]) {
    let Connections { answered, refused, unanswered } = sum.connections;
    let to_server = wire::tcp_to_server(sum.sent[0], sum.sent[1], sum.connections);
    let to_client = wire::tcp_to_client(sum.received[0], sum.received[1], sum.connections);
    (answered + refused + unanswered, [to_server, to_client])
}

fn plus(one: [u64; 2], other: [u64; 2]) -> [u64; 2] {
    [one[0] + other[0], one[1] + other[1]]
}

fn minus(one: [u64; 2], other: [u64; 2]) -> [u64; 2] {
    [one[0] - other[0], one[1] - other[1]]
}
