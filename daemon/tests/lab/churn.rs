//! Containers that live for one datagram and one call, and whose address the next one has at once: each is told from all others.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::adversaries::from_environment;
use crate::daemon::Daemon;
use crate::engine::Lab;
use crate::traffic::UDP_HEADERS;
use crate::wire::{self, Connections};

/// Containers that come and go, unless `PORTOLAN_CHURN` says how many.
const CONTAINERS: u16 = 100;
/// One of so many may go unclaimed on a machine that has no processor to spare.
const UNCLAIMED_OF: usize = 25;
/// So many at the same time.
const LANES: u16 = 4;
/// A container's mark: the port its datagram goes to, and the size of the answer it asks for.
const FIRST_MARK: u16 = 10_000;
/// How long identity knows who is gone.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Longer than the first containers live.
const FIRST_LIFE: Duration = Duration::from_secs(10);
/// What each sends, twice, in bytes.
const PAYLOAD: u64 = 64;

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn a_hundred_short_lives_at_four_addresses_are_told_apart() {
    let containers: u16 = from_environment("PORTOLAN_CHURN", CONTAINERS);
    let lab = Lab::up();
    lab.build_image();
    lab.docker(["network", "create", "net"]);
    let mut daemon = Daemon::beside(&lab.host(), &lab.docker_socket(), &[]);
    let serve = ["run", "-d", "--name", "collector", "--network", "net", "lab/peer:1.0", "serve", "tcp/8080"];
    lab.docker(serve);
    let marks = FIRST_MARK..FIRST_MARK + containers;
    let _sinks: Vec<UdpSocket> = lab.container("collector").within(|| {
        marks
            .clone()
            .map(|mark| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, mark)).expect("a free port"))
            .collect()
    });

    let began = Instant::now();
    thread::scope(|scope| {
        for lane in 0..LANES {
            let (lab, marks) = (&lab, marks.clone());
            scope.spawn(move || {
                for mark in marks.skip(usize::from(lane)).step_by(usize::from(LANES)) {
                    let (name, port, payload) = (name_of(mark), mark.to_string(), PAYLOAD.to_string());
                    let run = ["run", "--rm", "--name", &name, "--network", "net", "lab/peer:1.0"];
                    let ask = ["ask", "172.20.0.2", &port, "1", &payload, "0", "then"];
                    let call = ["call", "172.20.0.2", "8080", "1", &payload, &port];
                    let said = lab.docker(run.into_iter().chain(ask).chain(call));
                    assert_eq!(said, format!("0\t0\t1\t64\t0\n1\t0\t0\t64\t{mark}"), "{name}");
                }
            });
        }
    });
    let took = began.elapsed();
    // The first of them is forgotten by identity meanwhile, and must not be by the totals.
    thread::sleep((FORGOTTEN_AFTER + FIRST_LIFE).saturating_sub(took));
    daemon.eventually("nothing is withheld", |daemon| daemon.status()["withheld"]["frames"] == 0);
    daemon.catch_up();

    let flows = daemon.flows();
    let _ = std::fs::write(
        std::env::var("DUMP_FLOWS").unwrap_or("/tmp/scratch/trust/flows.json".into()),
        serde_json::to_string(&flows).unwrap(),
    );
    // What the kernel dropped, what was sent again and what was cut in two is told with the flow: its bytes would not say.
    let dropped = daemon.status()["kernel_dropped"].clone();
    let (mut datagrams, mut calls, mut unclaimed) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut addresses: BTreeSet<&str> = BTreeSet::new();
    for flow in flows.iter().filter(|flow| flow["dest"]["container"] == "collector") {
        let tally = |side: &str| ["frames", "bytes"].map(|unit| flow[side][unit].as_u64().expect("a number"));
        let ([sent, sent_bytes], [received, received_bytes]) = (tally("sent"), tally("received"));
        let mark = match text(&flow["proto"]) {
            "udp" => {
                assert_eq!([sent, sent_bytes], [1, UDP_HEADERS + PAYLOAD], "{flow}");
                let mark = u16::try_from(flow["dest"]["port"].as_u64().expect("a port")).expect("a port");
                datagrams.push(mark);
                mark
            }
            "tcp" => {
                let again = ["sent", "received"].map(|side| &flow["retransmissions"][side]);
                assert!(flow["conn_state"] == "SF" && again == [0, 0], "{flow}, {dropped} frames dropped");
                let one = Connections { answered: 1, ..Connections::default() };
                assert_eq!(wire::tcp_to_server(sent, sent_bytes, one), PAYLOAD, "{flow}");
                assert_eq!(
                    (text(&flow["outcome"]), text(&flow["evidence"])),
                    ("answered", "handshake"),
                    "{flow}"
                );
                let mark = u16::try_from(wire::tcp_to_client(received, received_bytes, one)).expect("a mark");
                calls.push(mark);
                mark
            }
            _ => continue,
        };
        assert_eq!(text(&flow["claim"]), "own", "{flow}");
        match text(&flow["src"]["container"]) {
            "" => drop(unclaimed.insert(mark)),
            name => assert_eq!(name, name_of(mark), "{flow}"),
        }
        addresses.insert(text(&flow["src"]["ip"]));
    }
    datagrams.sort_unstable();
    calls.sort_unstable();
    let marks: Vec<u16> = marks.collect();
    assert_eq!((&datagrams, &calls), (&marks, &marks));
    assert!(addresses.len() <= usize::from(LANES) + 1, "addresses were not used again: {addresses:?}");

    let graph = daemon.json("/api/v1/graph?group=container");
    // Whose processes are gone before anybody could look is called unclaimed, never by another's name.
    println!("{} of {containers} unclaimed", unclaimed.len());
    assert!(unclaimed.len() * UNCLAIMED_OF <= usize::from(containers), "unclaimed: {unclaimed:?}");
    let edges = graph["edges"].as_array().expect("edges");
    let drawn = edges.iter().filter(|edge| {
        edge["target"] == "collector"
            && edge["port"]["protocol"] != "icmp6"
            && edge["source"].as_str().is_some_and(|name| name.starts_with("mark-"))
    });
    let named = usize::from(containers) - unclaimed.len();
    assert_eq!(drawn.count(), 2 * named, "a datagram and a call of each");
    let findings = daemon.json("/api/v1/findings");
    let spoofed: Vec<&Value> = findings["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .filter(|finding| finding["kind"] == "spoofed_source" || finding["kind"] == "unlisted_source")
        .collect();
    assert!(spoofed.is_empty(), "{spoofed:?}");
    println!(
        "{containers} containers in {:.1} s at {} addresses, none misattributed",
        took.as_secs_f64(),
        addresses.len()
    );
    daemon.end().is_settled();
}

fn name_of(mark: u16) -> String {
    format!("mark-{mark}")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}"))
}
