//! Replays of captures made here, byte by byte: one defect a test.

#![allow(clippy::unwrap_used, reason = "a capture that cannot be made is a broken test")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// 2025-01-01T00:00:00Z in nanoseconds.
const START: u64 = 1_735_689_600_000_000_000;
const MILLISECOND: u64 = 1_000_000;
const ETHERNET: u16 = 1;
const SLL2: u16 = 276;
const SYN: u8 = 2;

/// A pcapng file with one section.
struct Capture {
    bytes: Vec<u8>,
}

impl Capture {
    fn new(link: u16, names: &[&str]) -> Self {
        let mut capture = Self { bytes: Vec::new() };
        capture.block(
            0x0a0d_0d0a,
            &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255],
        );
        for name in names {
            let mut body = link.to_le_bytes().to_vec();
            body.extend([0, 0, 0, 0, 4, 0]);
            option(&mut body, 2, name.as_bytes());
            // Nanoseconds.
            option(&mut body, 9, &[9]);
            option(&mut body, 0, &[]);
            capture.block(1, &body);
        }
        capture
    }

    fn block(&mut self, kind: u32, body: &[u8]) {
        let length = u32::try_from(body.len().next_multiple_of(4) + 12).unwrap();
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.bytes.extend(length.to_le_bytes());
    }

    fn frame(&mut self, at: u64, interface: u32, frame: &[u8]) {
        let mut body = interface.to_le_bytes().to_vec();
        let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
        let (high, low) = (u32::try_from(at >> 32).unwrap(), u32::try_from(at & 0xffff_ffff).unwrap());
        for word in [high.to_le_bytes(), low.to_le_bytes(), length, length] {
            body.extend(word);
        }
        body.extend(frame);
        self.block(6, &body);
    }

    fn dropped(&mut self, frames: u64) {
        let mut body = vec![0; 12];
        option(&mut body, 5, &frames.to_le_bytes());
        option(&mut body, 0, &[]);
        self.block(5, &body);
    }
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

type Ends = ([u8; 4], u16, [u8; 4], u16);

fn ip(protocol: u8, (source, _, destination, _): Ends, transport: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + transport.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0, length[0], length[1], 0, 1, 0, 0, 64, protocol, 0, 0];
    packet.extend(source);
    packet.extend(destination);
    packet.extend(transport);
    packet
}

fn udp(ends: Ends) -> Vec<u8> {
    let (_, from, _, to) = ends;
    let mut transport = [from.to_be_bytes(), to.to_be_bytes(), [0, 12], [0, 0]].concat();
    transport.extend(*b"test");
    ip(17, ends, &transport)
}

fn tcp(ends: Ends, flags: u8) -> Vec<u8> {
    let (_, from, _, to) = ends;
    let mut transport = [from.to_be_bytes(), to.to_be_bytes()].concat();
    transport.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    ip(6, ends, &transport)
}

fn ethernet(packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0];
    frame.extend(packet);
    frame
}

/// A cooked frame: interface, packet type of packet(7), last byte of the sender's address.
fn cooked(interface: u32, packet_type: u8, mac: u8, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![8, 0, 0, 0];
    frame.extend(interface.to_be_bytes());
    frame.extend([0, 1, packet_type, 6, 2, 0, 0, 0, 0, mac, 0, 0]);
    frame.extend(packet);
    frame
}

fn replay(capture: &Capture, roster: &str) -> Value {
    replay_with(capture, roster, &[])
}

fn replay_with(capture: &Capture, roster: &str, more: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capture.pcapng");
    std::fs::write(&path, &capture.bytes).unwrap();
    let mut arguments = vec!["replay".to_owned(), text(&path), "--format".to_owned(), "json".to_owned()];
    if !roster.is_empty() {
        let path = folder.path().join("roster.toml");
        std::fs::write(&path, roster).unwrap();
        arguments.extend(["--roster".to_owned(), text(&path)]);
    }
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    let output = Command::new(env!("CARGO_BIN_EXE_portolan")).args(arguments).output().unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn snapshot(replayed: &Value) -> &Value {
    replayed.pointer("/assessment/snapshot").unwrap_or_else(|| panic!("no snapshot in {replayed}"))
}

fn roster(interfaces: &[(u32, &str, &str)]) -> String {
    let mut text =
        "[[network]]\nname = \"net\"\nsubnets = [\"10.0.0.0/24\"]\ngateways = [\"10.0.0.254\"]\n".to_owned();
    for (index, name, container) in interfaces {
        text.push_str(&format!(
            "[[interface]]\nindex = {index}\nname = \"{name}\"\nrole = \"container\"\nnetwork = \"net\"\ncontainer = \"{container}\"\n"
        ));
    }
    for (last, container) in [(1, "one"), (2, "two")] {
        text.push_str(&format!(
            "[[address]]\naddress = \"10.0.0.{last}\"\nnetwork = \"net\"\ncontainer = \"{container}\"\n"
        ));
    }
    text
}

const CALL: Ends = ([10, 0, 0, 1], 40_000, [10, 0, 0, 2], 80);

#[test]
fn frames_that_state_no_direction_are_counted_and_not_lost() {
    let mut capture = Capture::new(ETHERNET, &["veth1", "veth2"]);
    for number in 0..4 {
        let interface = u32::try_from(number % 2).unwrap();
        capture.frame(START + number * MILLISECOND, interface, &ethernet(&udp(CALL)));
    }
    let replayed = replay(&capture, &roster(&[(1, "veth1", "one"), (2, "veth2", "two")]));
    let snapshot = snapshot(&replayed);
    assert_eq!(snapshot["ledger"]["metered"]["frames"], 4, "{}", snapshot["ledger"]);
    assert_eq!(snapshot["completeness"]["state"], "incomplete");
}

#[test]
fn nothing_is_blocked_in_a_capture_that_lost_frames() {
    for (dropped, outcome) in [(0, "blocked"), (3, "unanswered")] {
        let mut capture = Capture::new(SLL2, &["any"]);
        let other: Ends = ([10, 0, 0, 2], 40_001, [10, 0, 0, 1], 81);
        // OTHERHOST, in by the caller's veth, and never out by the other's.
        capture.frame(START, 0, &cooked(1, 3, 1, &tcp(CALL, SYN)));
        capture.frame(START + 10_000 * MILLISECOND, 0, &cooked(2, 3, 2, &udp(other)));
        capture.dropped(dropped);
        let replayed = replay(&capture, &roster(&[(1, "veth1", "one"), (2, "veth2", "two")]));
        let conversation = &replayed["assessment"]["judged"][0]["conversation"];
        assert_eq!(conversation["connections"][outcome], 1, "{dropped} dropped: {conversation}");
    }
}

#[test]
fn nothing_is_blocked_where_frames_were_left_out_by_request() {
    let mut capture = Capture::new(SLL2, &["any"]);
    let other: Ends = ([10, 0, 0, 2], 40_001, [10, 0, 0, 1], 81);
    // In by the caller's veth. Out by the other's, for all anybody knows who selects.
    capture.frame(START, 0, &cooked(1, 3, 1, &tcp(CALL, SYN)));
    capture.frame(START + 10_000 * MILLISECOND, 0, &cooked(2, 3, 2, &udp(other)));
    let roster = roster(&[(1, "veth1", "one"), (2, "veth2", "two")]);
    for (selection, outcome) in [
        ([].as_slice(), "blocked"),
        (&["--filter", "inbound"], "unanswered"),
        (&["--since", "2025-01-01T00:00:00Z"], "unanswered"),
        (&["--until", "2025-01-01T00:01:00Z"], "unanswered"),
    ] {
        let replayed = replay_with(&capture, &roster, selection);
        let conversation = &replayed["assessment"]["judged"][0]["conversation"];
        assert_eq!(conversation["connections"][outcome], 1, "{selection:?}: {conversation}");
    }
}

#[test]
fn an_address_changes_hands_at_its_instant() {
    let roster = "
[[network]]
name = \"net\"
subnets = [\"10.0.0.0/24\"]
gateways = [\"10.0.0.254\"]
[[address]]
address = \"10.0.0.1\"
network = \"net\"
container = \"old\"
until = \"2025-01-01T00:00:05.3Z\"
[[address]]
address = \"10.0.0.1\"
network = \"net\"
container = \"new\"
from = \"2025-01-01T00:00:05.6Z\"
";
    let mut capture = Capture::new(ETHERNET, &["eth0"]);
    let mut send = |milliseconds: u64, from_port: u16| {
        let ends = ([10, 0, 0, 1], from_port, [192, 0, 2, 1], 53);
        capture.frame(START + milliseconds * MILLISECOND, 0, &ethernet(&udp(ends)));
    };
    // The last of the old one and the first of the new one, within one second, then on the same ports.
    for (milliseconds, port) in [(4_900, 1), (5_100, 2), (5_200, 1), (5_700, 3), (5_800, 1), (9_000, 4)] {
        send(milliseconds, port);
    }
    let replayed = replay(&capture, roster);
    let sent: Vec<(String, u64)> = replayed["assessment"]["judged"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            let it = &it["conversation"];
            let container = it["initiator"]["workload"]["container"].as_str().unwrap_or_default();
            (container.to_owned(), it["sent"]["frames"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(sent, [("old".to_owned(), 3), ("new".to_owned(), 3)]);
}

#[test]
fn a_bridge_that_shows_one_containers_broadcasts_is_no_veth() {
    let mut capture = Capture::new(SLL2, &["any"]);
    let group: Ends = ([10, 0, 0, 1], 5_353, [224, 0, 0, 251], 5_353);
    let answer: Ends = ([10, 0, 0, 2], 80, [10, 0, 0, 1], 40_000);
    let (one, two, bridge) = (5, 6, 3);
    let (multicast, other_host, outgoing) = (2, 3, 4);
    let frames = [
        // In by its veth, up to the bridge, out by the other veth.
        cooked(one, multicast, 1, &udp(group)),
        cooked(bridge, multicast, 1, &udp(group)),
        cooked(two, outgoing, 1, &udp(group)),
        cooked(one, other_host, 1, &udp(CALL)),
        cooked(two, outgoing, 1, &udp(CALL)),
        cooked(two, other_host, 2, &udp(answer)),
        cooked(one, outgoing, 2, &udp(answer)),
    ];
    for (number, frame) in (0..).zip(&frames) {
        capture.frame(START + number * MILLISECOND, 0, frame);
    }
    let replayed = replay(&capture, "");
    let ledger = &snapshot(&replayed)["ledger"];
    assert_eq!(ledger["metered"]["frames"], 3, "{ledger}");
}

/// Captures, rosters and contracts of a replay; each way of reading them in order.
fn threaded_cases() -> Vec<Vec<String>> {
    let folder = pcaps();
    let mut cases = Vec::new();
    let mut golden: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    golden.retain(|path| path.join("expected").is_dir());
    golden.sort();
    assert!(golden.len() >= 11, "{golden:?}");
    for case in golden {
        let Some(capture) = ["capture.pcapng", "capture.pcap"].into_iter().find(|it| case.join(it).is_file())
        else {
            continue;
        };
        let mut arguments = vec![text(&case.join(capture))];
        for (option, names) in [
            ("--roster", ["docker-inspect.json", "roster.toml", "interfaces.toml"].as_slice()),
            ("--contract", &["contract.toml"]),
        ] {
            for name in names.iter().filter(|name| case.join(name).is_file()) {
                arguments.extend([option.to_owned(), text(&case.join(name))]);
            }
        }
        let more = std::fs::read_to_string(case.join("arguments")).unwrap_or_default();
        arguments.extend(more.split_whitespace().map(str::to_owned));
        cases.push(arguments);
    }
    let oracle = |name: &str| text(&folder.join("oracle-cases").join(name));
    let malformed = |name: &str| text(&folder.join("malformed").join(name));
    for more in [
        vec![oracle("fmt-gz-community-id.pcap.gz")],
        vec![oracle("atk-k8s-nmap-tcp.pcap")],
        vec![oracle("ng-sections-mixed-endian.pcapng")],
        vec![oracle("ng-many-interfaces.pcapng"), "--vantage".to_owned(), "dedup".to_owned()],
        vec![oracle("tun-zoo-synthetic.pcap"), "--innermost".to_owned()],
        vec![oracle("mixed-office.pcap"), "--filter".to_owned(), "tcp".to_owned()],
        vec![oracle("mixed-office.pcap"), oracle("ctr-docker-websocket.pcap")],
        vec![oracle("fmt-gz-community-id.pcap.gz"), oracle("ng-eth-sll-mixed.pcapng")],
        vec![malformed("x-linktype-147-user.pcap")],
        vec![malformed("pp-pcapng-example.pcapng.zst")],
        vec![malformed("sv-fuzz.pcap")],
        vec![malformed("pp-tcp-malformed.pcap"), oracle("frag-ipv4.pcap")],
    ] {
        cases.push(more);
    }
    cases
}

/// Everything a replay says and writes: exit code, both streams as table and as events, result, conversations.
fn everything(case: &[String], threads: &str) -> Vec<(&'static str, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for format in ["table", "ndjson"] {
        let output = Command::new(env!("CARGO_BIN_EXE_portolan"))
            .arg("replay")
            .args(case)
            .args(["--threads", threads, "--format", format, "-o", "result", "--conversations", "plain"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        all.push(("exit code", format!("{:?}", output.status).into_bytes()));
        all.push(("standard output", output.stdout));
        all.push(("standard error", output.stderr));
    }
    for name in ["result", "plain"] {
        all.push((name, std::fs::read(folder.path().join(name)).unwrap_or_default()));
    }
    all
}

fn assert_alike(case: &[String], alone: &[(&'static str, Vec<u8>)], threads: &str) {
    for ((name, expected), (_, given)) in alone.iter().zip(everything(case, threads)) {
        assert!(*expected == given, "{case:?}: {name} differs with {threads} threads");
    }
}

#[test]
fn every_capture_gives_the_same_bytes_on_any_number_of_threads() {
    let cut = tempfile::tempdir().unwrap();
    let mut cases = threaded_cases();
    let shop = std::fs::read(pcaps().join("shop/capture.pcapng")).unwrap();
    let packed = std::fs::read(pcaps().join("oracle-cases/fmt-gz-community-id.pcap.gz")).unwrap();
    for (name, bytes) in
        [("cut.pcapng", &shop[..shop.len() / 2]), ("cut.pcap.gz", &packed[..packed.len() / 2])]
    {
        let path = cut.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        cases.push(vec![text(&path)]);
    }
    let mut damaged = 0;
    for case in cases {
        let alone = everything(&case, "1");
        assert!(!alone[1].1.is_empty() || !alone[2].1.is_empty(), "{case:?} says nothing");
        damaged += usize::from(!alone[2].1.is_empty());
        for threads in ["2", "4"] {
            assert_alike(&case, &alone, threads);
        }
    }
    assert!(damaged >= 4, "only {damaged} of the captures are damaged or warned of");
}

#[test]
fn thirty_replays_on_four_threads_are_the_same() {
    let case = [text(&pcaps().join("undocumented-debug-port/capture.pcapng"))];
    let alone = everything(&case, "1");
    for _ in 0..15 {
        assert_alike(&case, &alone, "4");
        assert_alike(&case, &alone, "3");
    }
}

fn pcaps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps")
}
