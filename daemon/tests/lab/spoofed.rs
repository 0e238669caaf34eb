//! Forged sources beyond IPv4 within one network: by IPv6, and from outside the host.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use serde_json::Value;

use crate::daemon::Daemon;
use crate::engine::Lab;
use crate::forged::{Forged, Mac, Transport, checksum, inject_at, mac};
use crate::namespace::output;

/// Forged frames of a kind.
const FORGED: u16 = 1_000;
/// Where honest datagrams go.
const HONEST: u16 = 9_001;
/// IP protocol numbers.
const TCP: u8 = 6;
/// IP protocol numbers.
const UDP: u8 = 17;

/// A container: address and hardware address.
struct Station {
    address: Ipv6Addr,
    mac: Mac,
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn frames_spoofed_by_ipv6_are_charged_to_whoever_sent_them() {
    let lab = Lab::up();
    lab.build_image();
    lab.docker(["network", "create", "--ipv6", "--subnet", "fd00:b0a7::/64", "net"]);
    let run = |name: &str| {
        lab.docker(["run", "-d", "--name", name, "--network", "net", "lab/peer:1.0", "wait"]);
        let place = ".NetworkSettings.Networks.net";
        let ask = format!("{{{{{place}.GlobalIPv6Address}}}} {{{{{place}.MacAddress}}}}");
        let said = lab.docker(["inspect", "-f", &ask, name]);
        let (address, hardware) = said.split_once(' ').expect("two addresses");
        Station { address: address.parse().expect("an address"), mac: mac(hardware) }
    };
    let (victim, attacker, target) = (run("victim"), run("attacker"), run("target"));
    let mut daemon = Daemon::beside(&lab.host(), &lab.docker_socket(), &[]);
    daemon.eventually("all are matched", |daemon| daemon.status()["vitals"]["containers_matched"] == 3);
    // It answers the victim, who asked nothing.
    let (_listener, _sinks) = lab.container("target").within(|| {
        let sinks =
            [9_000, HONEST].map(|port| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).expect("a free port"));
        (TcpListener::bind((Ipv6Addr::UNSPECIFIED, 8_080)).expect("a free port"), sinks)
    });
    let mut sent = 0;
    for (hardware, protocol, port) in
        [(attacker.mac, TCP, 8_080), (attacker.mac, UDP, 9_000), (victim.mac, UDP, 9_000)]
    {
        let frames = (0..FORGED).map(|number| {
            let ports = (20_000 + number, port);
            frame((hardware, target.mac), (victim.address, target.address), ports, protocol)
        });
        sent += inject_at(&lab.container("attacker"), "eth0", frames);
    }
    lab.container("victim").within(|| {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("a free port");
        for _ in 0..50 {
            socket.send_to(b"honest", SocketAddr::from((target.address, HONEST))).expect("a route");
        }
    });

    let edges = edges(&mut daemon);
    let of_victim: Vec<_> = edges.iter().filter(|edge| edge["source"] == "victim").collect();
    assert_eq!(of_victim.len(), 1, "edges of the victim: {of_victim:?}");
    assert_eq!((port_of(of_victim[0]), frames_of(of_victim[0])), (u64::from(HONEST), 50), "{of_victim:?}");
    let to_victim: Vec<_> =
        edges.iter().filter(|edge| edge["target"] == "victim" && edge["source"] != "attacker").collect();
    assert!(to_victim.is_empty(), "answers to forged frames are nobody's edge: {to_victim:?}");
    let charged: Vec<_> = edges.iter().filter(|edge| edge["source"] == "attacker").collect();
    assert_eq!(charged.iter().map(|edge| frames_of(edge)).sum::<u64>(), sent, "{charged:?}");
    assert!(charged.iter().all(|edge| edge["verdict"] == "spoofed_source"), "{charged:?}");
    let findings = daemon.json("/api/v1/findings");
    let findings = findings["findings"].as_array().expect("findings");
    let spoofed: Vec<_> = findings.iter().filter(|finding| finding["kind"] == "spoofed_source").collect();
    assert_eq!(spoofed.len(), 1, "{spoofed:?}");
    assert_eq!(spoofed[0]["summary"], format!("attacker sent 3,000 frames as victim ({})", victim.address));
    println!("{sent} forged frames by IPv6: 0 edges of the victim, {sent} charged to the attacker");
    daemon.end().is_settled();
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn whoever_forges_outside_the_host_is_outside_and_no_container() {
    let lab = Lab::up();
    lab.build_image();
    lab.docker(["network", "create", "net"]);
    for (name, work) in [("victim", ["wait", ""]), ("target", ["serve", "udp/9000"])] {
        let run = ["run", "-d", "--name", name, "--network", "net", "-p", "9000/udp", "lab/peer:1.0"];
        lab.docker(run.into_iter().chain(work.into_iter().filter(|word| !word.is_empty())));
    }
    let mut daemon = Daemon::beside(&lab.host(), &lab.docker_socket(), &[]);
    daemon.eventually("all are matched", |daemon| daemon.status()["vitals"]["containers_matched"] == 2);
    let published = lab.docker(["port", "target", "9000/udp"]);
    let port: u16 =
        published.lines().next().and_then(|line| line.rsplit(':').next()?.parse().ok()).expect("a port");
    let host = lab.host();
    let hardware =
        |row: String| mac(row.split_once("link/ether ").expect("Ethernet").1.split(' ').next().expect("one"));
    let link = |at: &crate::namespace::Namespace| {
        hardware(output(at.command("ip").args(["-o", "link", "show", "dev", "eth0"])))
    };
    let macs = (link(&lab.internet()), link(&host));
    // Documentation addresses (RFC 5737) that nobody has, and they have a way back.
    let sources = (0..250).map(|last| Ipv4Addr::new(203, 0, 113, 1 + last));
    let frames = sources.flat_map(|source| {
        (0..4).map(move |number| {
            let ports = (20_000 + number, port);
            Forged {
                macs,
                addresses: (source, Ipv4Addr::new(198, 51, 100, 1)),
                ports,
                transport: Transport::Udp(20),
            }
            .bytes()
        })
    });
    let sent = inject_at(&lab.internet(), "eth0", frames);
    assert_eq!(sent, 1_000);
    let edges = edges(&mut daemon);
    let inward: Vec<_> =
        edges.iter().filter(|edge| edge["target"] == "target" && port_of(edge) == 9_000).collect();
    assert_eq!(inward.len(), 1, "{edges:?}");
    assert_eq!((&inward[0]["source"], frames_of(inward[0])), (&"external".into(), sent), "{inward:?}");
    assert!(edges.iter().all(|edge| edge["source"] != "victim" && edge["target"] != "victim"), "{edges:?}");
    // In a container's name the kernel here lets it pass too; it is the host's at most.
    let ask = "{{.NetworkSettings.Networks.net.IPAddress}}";
    let victim = lab.docker(["inspect", "-f", ask, "victim"]).parse().expect("an address");
    let forged = (0..500).map(|number| {
        let (addresses, ports) = ((victim, Ipv4Addr::new(198, 51, 100, 1)), (30_000 + number, port));
        Forged { macs, addresses, ports, transport: Transport::Udp(20) }.bytes()
    });
    inject_at(&lab.internet(), "eth0", forged);
    let edges = crate::spoofed::edges(&mut daemon);
    let claimed: u64 = edges.iter().filter(|edge| edge["source"] == "host").map(frames_of).sum();
    assert_eq!(claimed, 500, "{edges:?}");
    assert!(edges.iter().all(|edge| edge["source"] != "victim" && edge["target"] != "victim"), "{edges:?}");
    println!(
        "{sent} frames from 250 forged outside addresses: all external, 0 edges of a container that sent nothing"
    );
    daemon.end().is_settled();
}

/// Returns the edges between containers by TCP and UDP.
fn edges(daemon: &mut Daemon) -> Vec<Value> {
    daemon.eventually("nothing is withheld", |daemon| daemon.status()["withheld"]["frames"] == 0);
    daemon.catch_up();
    let graph = daemon.json("/api/v1/graph?group=container");
    let mut edges = graph["edges"].as_array().expect("edges").clone();
    edges.retain(|edge| edge["port"]["protocol"] == "tcp" || edge["port"]["protocol"] == "udp");
    edges
}

fn frames_of(edge: &Value) -> u64 {
    edge["sent"]["frames"].as_u64().expect("a number")
}

fn port_of(edge: &Value) -> u64 {
    edge["port"]["port"].as_u64().unwrap_or(0)
}

/// Returns an Ethernet frame with IPv6 in it, its sums right: a SYN, or a datagram of 20 bytes.
fn frame(macs: (Mac, Mac), ends: (Ipv6Addr, Ipv6Addr), ports: (u16, u16), protocol: u8) -> Vec<u8> {
    let mut segment = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    let sum_at = if protocol == TCP {
        segment.extend([0, 0, 0, 7, 0, 0, 0, 0, 5 << 4, crate::forged::SYN, 0xfa, 0xf0, 0, 0, 0, 0]);
        16
    } else {
        segment.extend([0, 28, 0, 0]);
        segment.resize(28, b'x');
        6
    };
    let length = u16::try_from(segment.len()).expect("a short segment").to_be_bytes();
    let addresses = [ends.0.octets(), ends.1.octets()].concat();
    let pseudo = [&addresses[..], &[0, 0], &length, &[0, 0, 0, protocol], &segment].concat();
    segment[sum_at..sum_at + 2].copy_from_slice(&checksum(&pseudo));
    [&macs.1[..], &macs.0, &[0x86, 0xdd, 0x60, 0, 0, 0], &length, &[protocol, 64], &addresses, &segment]
        .concat()
}
