//! Replays of captures made here, byte by byte: one defect a test.

#![allow(clippy::unwrap_used, reason = "a capture that cannot be made is a broken test")]

use std::path::Path;
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
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capture.pcapng");
    std::fs::write(&path, &capture.bytes).unwrap();
    let mut arguments = vec!["replay".to_owned(), text(&path), "--format".to_owned(), "json".to_owned()];
    if !roster.is_empty() {
        let path = folder.path().join("roster.toml");
        std::fs::write(&path, roster).unwrap();
        arguments.extend(["--roster".to_owned(), text(&path)]);
    }
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
