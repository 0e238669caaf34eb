//! The recorded shop against witnesses that are not Portolan: tshark's counts of the capture (`tshark.tsv`), and what
//! the senders say they did (`expected.tsv`). Golden outputs pin every word; this says that the numbers are true.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Initiator, responder, service port, protocol.
type Edge = (String, String, u64, String);
/// Frames and wire bytes to the responder, then back.
type Volume = [u64; 4];
/// Connections answered, refused, blocked, and without any of these.
type Connections = [u64; 4];

/// What an address of the shop is called in the graph.
fn name_of(address: &str) -> &'static str {
    match address {
        "172.20.0.2" | "172.20.1.2" => "shop/registry",
        "172.20.0.3" | "172.20.0.5" | "172.20.1.4" | "172.20.1.5" => "shop/cart",
        "172.20.0.4" => "shop/web",
        "172.20.0.6" => "shop/metrics",
        "172.20.0.7" => "shop/cache",
        "172.20.0.8" => "shop/batch",
        "172.20.1.3" => "shop/db",
        "172.20.1.6" => "shop/ledger",
        "172.20.1.7" => "shop/reports",
        "10.99.0.2" => "toolbox",
        "172.20.0.1" | "198.51.100.1" => "host",
        "198.51.100.2" => "external",
        other => panic!("nobody in the shop has {other}"),
    }
}

/// What a sender of `expected.tsv` is called in the graph.
fn service_of(end: &str) -> String {
    match end {
        "toolbox" => "toolbox".to_owned(),
        "ops-monitor-1" => "host".to_owned(),
        "198.51.100.2" => "external".to_owned(),
        replica => {
            let service = replica.strip_prefix("shop-").and_then(|rest| rest.rsplit_once('-'));
            format!("shop/{}", service.unwrap_or_else(|| panic!("who is {replica}?")).0)
        }
    }
}

#[test]
fn every_edge_has_tsharks_frames_and_bytes() {
    let mut expected: BTreeMap<Edge, Volume> = BTreeMap::new();
    for row in rows("tshark.tsv") {
        let number = |column: usize| row[column].parse::<u64>().expect("a number");
        let mut edge = (name_of(&row[1]).to_owned(), name_of(&row[2]).to_owned(), number(3), row[0].clone());
        let mut volume = [4, 5, 6, 7].map(number);
        match (edge.0.as_str(), edge.1.as_str(), edge.2) {
            // A published port is the service's behind it.
            ("shop/batch", "host", 8080) => (edge.1, edge.2) = ("shop/web".to_owned(), 80),
            // tshark.tsv has no initiator of pings but the order of the addresses.
            ("shop/web", "shop/batch", 0) => (edge.0, edge.1) = (edge.1, edge.0),
            // reports sent the 40 SYNs, of 54 bytes; cart's answers and db's resets are nobody's edge.
            ("shop/db", "shop/cart", 8080) => {
                assert_eq!(volume, [80, 4320, 40, 2320]);
                edge.0 = "shop/reports".to_owned();
                volume = [40, 40 * 54, 0, 0];
            }
            _ => {}
        }
        let total = expected.entry(edge).or_default();
        *total = [0, 1, 2, 3].map(|i| total[i] + volume[i]);
    }
    for capture in ["capture.pcapng", "capture.pcap"] {
        let seen = edges(capture, |edge| {
            let of = |end: &str, unit: &str| edge[end][unit].as_u64().expect("a number");
            [of("sent", "frames"), of("sent", "bytes"), of("received", "frames"), of("received", "bytes")]
        });
        assert_eq!(seen, expected, "{capture}");
    }
}

#[test]
fn every_edge_has_the_connections_its_senders_made() {
    let mut expected: BTreeMap<Edge, Connections> = BTreeMap::new();
    for row in rows("expected.tsv").into_iter().filter(|row| row[0] == "traffic" && row[4] == "tcp") {
        let number = |column: usize| row[column].parse::<u64>().expect("a number");
        let edge = (service_of(&row[1]), service_of(&row[2]), number(3), row[4].clone());
        let made = match row[11].as_str() {
            "exchanges on one connection, open before" => [1, 0, 0, 0],
            // Cart answered, but not to the one who asked.
            "forged as shop-db-1" => [0, 0, 0, number(8)],
            "blocked, isolated network" => [0, 0, number(8), 0],
            "published, 198.51.100.1:8080, docker-proxy" => {
                let proxy = ("host".to_owned(), edge.1.clone(), edge.2, edge.3.clone());
                expected.entry(proxy).or_default()[0] += number(6);
                [number(6), 0, 0, 0]
            }
            _ => [number(6), number(7), 0, number(8)],
        };
        let total = expected.entry(edge).or_default();
        *total = [0, 1, 2, 3].map(|i| total[i] + made[i]);
    }
    let seen = edges("capture.pcapng", |edge| {
        let of = |outcome: &str| edge["connections"][outcome].as_u64().expect("a number");
        [of("answered"), of("refused"), of("blocked"), of("unanswered") + of("pending")]
    });
    let seen: BTreeMap<_, _> = seen.into_iter().filter(|(edge, _)| edge.3 == "tcp").collect();
    assert_eq!(seen, expected);
}

/// Replays a capture of the shop and returns what is asked of each edge of IPv4.
fn edges<T>(capture: &str, of: impl Fn(&Value) -> T) -> BTreeMap<Edge, T> {
    let shop = shop();
    let replay = Command::new(env!("CARGO_BIN_EXE_portolan"))
        .arg("replay")
        .arg(shop.join(capture))
        .arg("--roster")
        .arg(shop.join("docker-inspect.json"))
        .arg("--roster")
        .arg(shop.join("interfaces.toml"))
        .arg("--contract")
        .arg(shop.join("contract.toml"))
        .args(["--format", "json"])
        .output()
        .expect("portolan starts");
    assert!(replay.status.success(), "{}", String::from_utf8_lossy(&replay.stderr));
    let result: Value = serde_json::from_slice(&replay.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let mut edges = BTreeMap::new();
    for edge in result["graph"]["edges"].as_array().expect("edges") {
        let (port, protocol) = (&edge["port"]["port"], text(&edge["port"]["protocol"]));
        // Neighbour discovery: the hosts' own noise, another number in each capture.
        if protocol == "icmp6" {
            continue;
        }
        let key = (text(&edge["source"]), text(&edge["target"]), port.as_u64().unwrap_or(0), protocol);
        assert!(edges.insert(key, of(edge)).is_none(), "twice: {edge}");
    }
    edges
}

/// Reads a table of the shop without its heading.
fn rows(name: &str) -> Vec<Vec<String>> {
    let path = shop().join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn shop() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps/shop")
}
