//! Somebody with a default container's rights tries to be taken for another, to have another blamed, and to hide.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::process::Command;
use std::time::Duration;

use portolan_flowtable::{Blindness, Timestamp};
use rustix::process::Signal;
use serde_json::Value;

use crate::bridge::BridgeLab;
use crate::daemon::{Daemon, now};
use crate::engine::Lab;
use crate::forged::{ACK, FIN, Forged, Mac, RST, SYN, Transport, inject, inject_by, mac};
use crate::namespace::output;
use crate::traffic::{send_datagrams, sink};

/// The containers' network in these tests.
const NETWORK: &str = "net";
/// Where honest datagrams go.
const HONEST: u16 = 9_001;
/// Where the target answers TCP.
const SERVICE: u16 = 8_080;
/// Forged frames of a kind.
const FORGED: u16 = 2_500;

/// A container: address and hardware address.
#[derive(Clone, Copy, Debug)]
struct Station {
    address: Ipv4Addr,
    mac: Mac,
}

/// Three containers of one network: the victim, the attacker, the target of both.
struct Scene {
    lab: Lab,
    daemon: Daemon,
    victim: Station,
    attacker: Station,
    target: Station,
}

impl Scene {
    fn up() -> Self {
        let lab = Lab::up();
        lab.build_image();
        lab.docker(["network", "create", NETWORK]);
        let run = |name: &str, work: &[&str]| {
            let start = ["run", "-d", "--name", name, "--network", NETWORK, "lab/peer:1.0"];
            lab.docker(start.into_iter().chain(work.iter().copied()));
            let ask =
                "{{.NetworkSettings.Networks.net.IPAddress}} {{.NetworkSettings.Networks.net.MacAddress}}";
            let said = lab.docker(["inspect", "-f", ask, name]);
            let (address, hardware) = said.split_once(' ').expect("two addresses");
            Station { address: address.parse().expect("an address"), mac: mac(hardware) }
        };
        let victim = run("victim", &["wait"]);
        let attacker = run("attacker", &["wait"]);
        let target = run("target", &["serve", "tcp/8080", "udp/9000", "udp/9001", "udp/9002"]);
        let mut daemon = Daemon::beside(&lab.host(), &lab.docker_socket(), &[]);
        daemon.eventually("all are matched", |daemon| daemon.status()["vitals"]["containers_matched"] == 3);
        Self { lab, daemon, victim, attacker, target }
    }

    /// Sends frames from within the attacker's container, with what a default container may.
    fn inject(&self, frames: impl IntoIterator<Item = Vec<u8>>) -> u64 {
        let mut docker = Command::new("docker");
        docker.env("DOCKER_HOST", self.lab.docker_host());
        inject_by(docker.args(["exec", "-i", "attacker", "/peer", "inject", "eth0"]), frames)
    }

    /// Returns a frame to the target.
    fn forged(&self, mac: Mac, source: Ipv4Addr, ports: (u16, u16), transport: Transport) -> Forged {
        Forged { macs: (mac, self.target.mac), addresses: (source, self.target.address), ports, transport }
    }

    /// Returns the edges between containers: source, target, port, edge.
    fn edges(&mut self) -> Vec<(String, String, u64, Value)> {
        self.daemon.eventually("nothing is withheld", |daemon| daemon.status()["withheld"]["frames"] == 0);
        self.daemon.catch_up();
        let graph = self.daemon.json("/api/v1/graph?group=container");
        let edges = graph["edges"].as_array().expect("edges").iter();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let rows =
            edges.filter(|edge| edge["port"]["protocol"] == "tcp" || edge["port"]["protocol"] == "udp");
        rows.map(|edge| {
            let port = edge["port"]["port"].as_u64().unwrap_or(0);
            (text(&edge["source"]), text(&edge["target"]), port, edge.clone())
        })
        .collect()
    }

    fn findings(&self, kind: &str) -> Vec<Value> {
        let findings = self.daemon.json("/api/v1/findings");
        let all = findings["findings"].as_array().expect("findings").iter();
        all.filter(|finding| finding["kind"] == kind).cloned().collect()
    }
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn ten_thousand_spoofed_frames_are_charged_to_whoever_sent_them() {
    let mut scene = Scene::up();
    let (victim, attacker) = (scene.victim, scene.attacker);
    let ports = |to: u16| (0..FORGED).map(move |number| (20_000 + number, to));
    let datagram = Transport::Udp(20);
    // SYNs that provoke answers to the victim, which resets what it knows nothing of.
    let syns: Vec<Vec<u8>> = ports(SERVICE)
        .map(|ports| scene.forged(attacker.mac, victim.address, ports, Transport::Tcp(SYN, 7, 0)).bytes())
        .collect();
    let mut sent = scene.inject(syns);
    for mac in [attacker.mac, attacker.mac, victim.mac] {
        let frames: Vec<Vec<u8>> =
            ports(9_000).map(|ports| scene.forged(mac, victim.address, ports, datagram).bytes()).collect();
        sent += scene.inject(frames);
    }
    assert_eq!(sent, 10_000);
    send_datagrams(&scene.lab.container("victim"), SocketAddrV4::new(scene.target.address, HONEST), 50, 20);

    let edges = scene.edges();
    let frames = |edge: &Value| edge["sent"]["frames"].as_u64().expect("a number");
    let of = |name: &str| edges.iter().filter(|edge| edge.0 == name).collect::<Vec<_>>();
    let of_victim = of("victim");
    assert_eq!(of_victim.len(), 1, "edges of the victim: {of_victim:?}");
    assert_eq!((of_victim[0].2, frames(&of_victim[0].3)), (u64::from(HONEST), 50), "{of_victim:?}");
    let to_victim: Vec<_> = edges.iter().filter(|edge| edge.1 == "victim" && edge.0 != "attacker").collect();
    assert!(to_victim.is_empty(), "answers to forged frames are nobody's edge: {to_victim:?}");
    let charged: u64 = of("attacker").iter().map(|edge| frames(&edge.3)).sum();
    assert_eq!(charged, 10_000, "{:?}", of("attacker"));
    assert!(of("attacker").iter().all(|edge| edge.3["verdict"] == "spoofed_source"), "{:?}", of("attacker"));
    let spoofed = scene.findings("spoofed_source");
    assert_eq!(spoofed.len(), 1, "{spoofed:?}");
    assert_eq!((&spoofed[0]["initiator"], &spoofed[0]["responder"]), (&"attacker".into(), &"victim".into()));
    assert_eq!(spoofed[0]["severity"], "high");
    let summary = spoofed[0]["summary"].as_str().expect("a summary");
    assert_eq!(summary, format!("attacker sent 10,000 frames as victim ({})", victim.address));
    println!("10,000 forged frames: 0 edges of the victim, {charged} charged to the attacker");
    scene.daemon.end().is_settled();
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn a_stolen_hardware_address_takes_no_name_along_and_is_told() {
    let mut scene = Scene::up();
    let (victim, attacker, target) = (scene.victim, scene.attacker, scene.target);
    let to = |port| SocketAddrV4::new(target.address, port);
    send_datagrams(&scene.lab.container("victim"), to(HONEST), 20, 20);
    let bridge = scene.lab.docker(["network", "inspect", "-f", "{{.Id}}", NETWORK]);
    let port_of_victim_s_mac = |scene: &Scene| {
        let name = format!("br-{}", &bridge[..12]);
        let table = output(scene.lab.in_namespace("bridge").args(["fdb", "show", "br", &name]));
        let hardware: Vec<String> = victim.mac.iter().map(|byte| format!("{byte:02x}")).collect();
        let row = table.lines().find(|row| row.starts_with(&hardware.join(":"))).map(str::to_owned);
        row.and_then(|row| row.split(' ').nth(2).map(str::to_owned)).expect("the bridge knows the address")
    };
    let before = port_of_victim_s_mac(&scene);
    assert!(scene.findings("stolen_mac").is_empty());
    let frames: Vec<Vec<u8>> = (0..500)
        .map(|_| scene.forged(victim.mac, attacker.address, (30_000, 9_002), Transport::Udp(20)).bytes())
        .collect();
    scene.inject(frames);
    assert_ne!(port_of_victim_s_mac(&scene), before, "the bridge was not deceived");
    // What is meant for the victim leaves by the attacker's interface; who sent it stays clear.
    send_datagrams(&scene.lab.container("target"), SocketAddrV4::new(victim.address, 9_003), 30, 20);
    send_datagrams(&scene.lab.container("victim"), to(HONEST), 20, 20);
    assert_eq!(port_of_victim_s_mac(&scene), before, "the victim took its address back");

    let edges = scene.edges();
    let mut sums: Vec<(&str, &str, u64, u64)> = edges
        .iter()
        .map(|(source, target, port, edge)| {
            (&**source, &**target, *port, edge["sent"]["frames"].as_u64().expect("a number"))
        })
        .collect();
    sums.sort_unstable();
    assert_eq!(
        sums,
        [
            ("attacker", "target", 9_002, 500),
            ("target", "victim", 9_003, 30),
            ("victim", "target", u64::from(HONEST), 40),
        ]
    );
    assert!(scene.findings("spoofed_source").is_empty(), "the attacker used its own address");

    // The gateway's is one too.
    let name = format!("br-{}", &bridge[..12]);
    let row = output(scene.lab.in_namespace("ip").args(["-o", "link", "show", "dev", &name]));
    let gateway = row.split_once("link/ether ").expect("a bridge has an address").1;
    let gateway = gateway.split(' ').next().expect("an address").to_owned();
    let frames: Vec<Vec<u8>> = (0..70)
        .map(|_| scene.forged(mac(&gateway), attacker.address, (30_001, 9_002), Transport::Udp(20)).bytes())
        .collect();
    scene.inject(frames);
    scene.edges();
    // The victim comes again, with the address it had.
    let hardware: Vec<String> = victim.mac.iter().map(|byte| format!("{byte:02x}")).collect();
    let hardware = hardware.join(":");
    scene.lab.docker(["restart", "-t", "0", "victim"]);
    scene.daemon.eventually("all are matched", |daemon| daemon.status()["vitals"]["containers_matched"] == 3);
    send_datagrams(&scene.lab.container("victim"), to(HONEST), 20, 20);
    scene.edges();
    let mut stolen = scene.findings("stolen_mac");
    stolen.sort_by_key(|finding| finding["frames"].as_u64());
    let told: Vec<_> = stolen
        .iter()
        .map(|finding| {
            ["initiator", "responder", "severity", "summary", "against"].map(|key| finding[key].clone())
        })
        .collect();
    let expected = [
        [
            "attacker",
            "host",
            "high",
            &format!("attacker sent 70 frames from the hardware address of the gateway ({gateway})"),
            "bridge of network net",
        ],
        [
            "attacker",
            "victim",
            "high",
            &format!("attacker sent 500 frames from the hardware address of victim ({hardware})"),
            "veth of victim in network net",
        ],
    ];
    assert_eq!(told, expected.map(|row| row.map(Value::from)));
    assert!(stolen[1]["first_at"].as_str() < stolen[0]["first_at"].as_str(), "{stolen:?}");
    scene.daemon.end().is_settled();
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn nothing_forged_answers_for_a_port_or_ends_a_connection() {
    let mut scene = Scene::up();
    let (victim, attacker, target) = (scene.victim, scene.attacker, scene.target);
    // A connection of the victim's that stays open to the end.
    let mut stream = scene.lab.container("victim").within(|| {
        TcpStream::connect(SocketAddrV4::new(target.address, SERVICE)).expect("the target answers")
    });
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    let mut exchange = || {
        stream.write_all(b"GET /10?......\n").expect("an open connection");
        stream.read_exact(&mut [0; 10]).expect("an answer");
    };
    exchange();
    scene.daemon.eventually("the connection is listed", |daemon| connection(daemon).is_some());
    let before = connection(&scene.daemon).expect("a flow");
    let source = u16::try_from(before["src"]["port"].as_u64().expect("a port")).expect("a port");

    let mut frames = Vec::new();
    let own =
        |scene: &Scene, ports, transport| scene.forged(attacker.mac, attacker.address, ports, transport);
    let back = |from: Station, ports, transport| Forged {
        macs: (attacker.mac, attacker.mac),
        addresses: (from.address, attacker.address),
        ports,
        transport,
    };
    for number in 0..20 {
        // The target drops what has a wrong sum, so a port that listens does not answer.
        let ports = (40_000 + number, SERVICE);
        frames.push(own(&scene, ports, Transport::Tcp(SYN, 7, 0)).with_bad_tcp_sum());
        frames.push(own(&scene, (41_000 + number, SERVICE), Transport::Tcp(SYN, 7, 0)).with_bad_ip_sum());
        // Nor does one that the attacker answers itself in the target's name.
        frames.push(own(&scene, (42_000 + number, 9_999), Transport::Tcp(SYN, 7, 0)).with_bad_tcp_sum());
        let answer = Transport::Tcp(SYN | ACK, 900, 8);
        frames.push(back(target, (9_999, 42_000 + number), answer).bytes());
        // An answer to what the target never asked.
        frames.push(own(&scene, (4_444, 43_000 + number), Transport::Tcp(SYN | ACK, 900, 8)).bytes());
        // The end of the victim's connection, in either's name.
        for flags in [RST, RST | ACK, FIN | ACK] {
            let guess = Transport::Tcp(flags, 1_000_000 * u32::from(number), 1);
            frames.push(scene.forged(attacker.mac, victim.address, (source, SERVICE), guess).bytes());
            let other = Forged {
                macs: (attacker.mac, victim.mac),
                addresses: (target.address, victim.address),
                ports: (SERVICE, source),
                transport: guess,
            };
            frames.push(other.bytes());
        }
    }
    scene.inject(frames);
    exchange();

    let edges = scene.edges();
    let edge = |source: &str, target: &str, port: u16| {
        let is_it = |edge: &&(String, String, u64, Value)| {
            (&*edge.0, &*edge.1, edge.2) == (source, target, u64::from(port))
        };
        edges.iter().filter(is_it).map(|edge| edge.3.clone()).collect::<Vec<_>>()
    };
    for port in [SERVICE, 9_999] {
        let tried: Vec<Value> = edge("attacker", "target", port);
        // One edge: what was sent as the victim makes it the graver.
        assert_eq!(tried.len(), 1, "{tried:?}");
        assert_eq!(tried[0]["connections"]["answered"], 0, "port {port}: {tried:?}");
        assert_eq!(tried[0]["connections"]["refused"], 0, "port {port}: {tried:?}");
    }
    let asked = edge("target", "attacker", 4_444);
    assert!(asked.iter().all(|edge| edge["connections"]["answered"] == 0), "{asked:?}");
    let honest = edge("victim", "target", SERVICE);
    assert_eq!(honest.len(), 1, "{honest:?}");
    assert_eq!(honest[0]["connections"]["answered"], 1, "{honest:?}");
    assert_eq!(honest[0]["connections"]["refused"], 0, "{honest:?}");
    let after = connection(&scene.daemon).expect("the flow is still listed");
    assert_eq!((&after["flow_id"], &after["ended"]), (&before["flow_id"], &Value::Null), "{after}");
    let undocumented = scene.findings("undocumented_port");
    assert!(undocumented.iter().all(|finding| finding["port"]["port"] != 9_999), "{undocumented:?}");
    scene.daemon.end().is_settled();
}

/// Returns the victim's own connection to the target.
fn connection(daemon: &Daemon) -> Option<Value> {
    daemon.flows().into_iter().find(|flow| {
        flow["src"]["container"] == "victim" && flow["dest"]["port"] == SERVICE && flow["claim"] == "own"
    })
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn an_image_that_claims_a_service_does_not_become_it() {
    let lab = Lab::up();
    lab.build_image();
    lab.docker(["network", "create", NETWORK]);
    let labels = ["com.docker.compose.project=prod", "com.docker.compose.service=payments"];
    // As compose does: labels of the container, not of its image.
    let [project, service] = labels;
    lab.docker([
        "run",
        "-d",
        "--name",
        "prod-payments-1",
        "--network",
        NETWORK,
        "--label",
        project,
        "--label",
        service,
        "lab/peer:1.0",
        "serve",
        "udp/9000",
    ]);
    // As somebody does who may choose an image.
    lab.docker(["create", "--name", "mould", "lab/peer:1.0", "wait"]);
    let change = format!("LABEL {project} {service}");
    lab.docker(["commit", "--change", &change, "mould", "somebody/tool:1"]);
    lab.docker(["rm", "mould"]);
    lab.docker(["run", "-d", "--name", "impostor", "--network", NETWORK, "somebody/tool:1", "wait"]);
    let mut daemon = Daemon::beside(&lab.host(), &lab.docker_socket(), &[]);
    daemon.eventually("both are matched", |daemon| daemon.status()["vitals"]["containers_matched"] == 2);
    send_datagrams(&lab.container("impostor"), SocketAddrV4::new([172, 20, 0, 2].into(), 9_000), 10, 20);
    daemon.catch_up();
    daemon.eventually("an edge is drawn", |daemon| {
        let graph = daemon.json("/api/v1/graph?group=service");
        graph["edges"].as_array().is_some_and(|edges| edges.iter().any(|edge| edge["port"]["port"] == 9_000))
    });
    let graph = daemon.json("/api/v1/graph?group=service");
    let edges: Vec<(&Value, &Value)> = graph["edges"]
        .as_array()
        .expect("edges")
        .iter()
        .filter(|edge| edge["port"]["port"] == 9_000)
        .map(|edge| (&edge["source"], &edge["target"]))
        .collect();
    assert_eq!(edges, [(&"impostor".into(), &"prod/payments".into())]);
    daemon.end().is_settled();
}

/// A SYN to a port of its own in the middle of a load that the ring cannot hold. Either it is reported, or a blind
/// interval covers its time.
#[test]
#[ignore = "needs root"]
fn nothing_hides_in_a_drop() {
    let trials: u16 = from_environment("PORTOLAN_TRIALS", 10);
    let lab = BridgeLab::up(3);
    let [attacker, target, third] = [0, 1, 2].map(|at| lab.members()[at].clone());
    let _sink = sink(&target.namespace, 9_000);
    for member in [&attacker, &target, &third] {
        send_datagrams(&member.namespace, SocketAddrV4::new(BridgeLab::GATEWAY, 9_000), 1, 10);
    }
    let mut daemon = Daemon::on_bridge(&lab, &["--ring-mib", "1"]);
    let frame = |ports: (u16, u16), transport: Transport| Forged {
        macs: (mac(&attacker.mac), mac(&target.mac)),
        addresses: (attacker.address, target.address),
        ports,
        transport,
    };
    let load = frame((30_000, 9_000), Transport::Udp(40)).bytes();
    let (mut reported, mut covered, mut both, mut silent) = (0, 0, 0, Vec::new());
    for trial in 0..trials {
        let port = 10_000 + trial;
        let syn = frame((31_000, port), Transport::Tcp(SYN, 7, 0)).bytes();
        // Every third is a flood alone; the others find the daemon stopped, and the ring ever fuller.
        let is_stopped = trial % 3 != 0;
        let before = if is_stopped { usize::from(trial * 37 % 100) * 300 } else { 20_000 };
        if is_stopped {
            daemon.signal(Signal::STOP);
        }
        inject(&attacker.namespace, std::iter::repeat_n(&load, before));
        let sent_after = now();
        inject(&attacker.namespace, [syn]);
        let sent_before = now();
        inject(&attacker.namespace, std::iter::repeat_n(&load, 10_000));
        if is_stopped {
            daemon.signal(Signal::CONT);
        }
        daemon.catch_up();
        // Something must come after the loss, or it has no end.
        send_datagrams(&third.namespace, SocketAddrV4::new(BridgeLab::GATEWAY, 9_000), 1, 10);
        daemon.catch_up();
        let is_reported =
            daemon.flows().iter().any(|flow| flow["dest"]["port"] == port && flow["proto"] == "tcp");
        let is_covered = is_blind(&daemon, sent_after, sent_before);
        match (is_reported, is_covered) {
            (true, true) => both += 1,
            (true, false) => reported += 1,
            (false, true) => covered += 1,
            (false, false) => silent.push(trial),
        }
    }
    let status = daemon.status();
    println!(
        "{trials} trials: {reported} reported, {covered} covered, {both} both, {} silent; {} frames dropped",
        silent.len(),
        status["kernel_dropped"]
    );
    assert!(silent.is_empty(), "missed in silence: {silent:?}: {}", status["completeness"]);
    assert!(covered > 0 && reported > 0, "the load was none, or too much");
    daemon.end().is_settled();
}

/// Returns whether one blind interval covers a span of time.
fn is_blind(daemon: &Daemon, from: Timestamp, until: Timestamp) -> bool {
    let status = daemon.status();
    let blind: Vec<Blindness> =
        serde_json::from_value(status["completeness"]["blind"].clone()).unwrap_or_default();
    blind.iter().any(|interval| interval.from <= from && until <= interval.until)
}

/// Reads a number a longer run may give.
pub(crate) fn from_environment<T: std::str::FromStr>(name: &str, unasked: T) -> T {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}: no number")),
        Err(_) => unasked,
    }
}
