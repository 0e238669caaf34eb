//! What `portolan cut` writes, read back by our own reader.

#![allow(clippy::unwrap_used, reason = "a capture that cannot be made is a broken test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portolan_capture::write::{Captured, NewInterface, PcapngWriter, Section};
use portolan_capture::{FileTap, LinkType, Polled, Tap};
use portolan_flowtable::{Direction, Timestamp};
use serde_json::Value;
use tempfile::TempDir;

/// 2025-01-01T00:00:00Z in nanoseconds.
const START: i64 = 1_735_689_600_000_000_000;
const SYN: u8 = 2;
const RST_ACK: u8 = 0x14;
const SYN_ACK: u8 = 0x12;

/// A frame as it stands in a file: time, link type, name of its interface, original length, bytes.
type Row = (i64, LinkType, String, u32, Vec<u8>);

fn rows(path: &Path) -> Vec<Row> {
    let mut tap = FileTap::open(path.to_str().unwrap()).unwrap();
    let mut found = Vec::new();
    while tap
        .poll(&mut |frame| {
            let interface = frame.interface;
            found.push((interface, (frame.at.0, frame.link, frame.original_bytes, frame.bytes.to_vec())));
        })
        .unwrap()
        != Polled::End
    {}
    assert!(tap.damage().is_none(), "{:?}", tap.damage());
    let name = |interface: portolan_flowtable::InterfaceId| {
        let described = tap.interfaces().iter().find(|described| described.id == interface);
        described.expect("an interface of the file").name.clone().unwrap_or_default()
    };
    found.into_iter().map(|(it, (at, link, length, bytes))| (at, link, name(it), length, bytes)).collect()
}

fn pcaps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps")
}

/// Cuts out of the shop, with everything that is known of it.
fn cut_shop(folder: &TempDir, capture: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    let shop = pcaps().join("shop");
    command.current_dir(folder.path()).arg("cut").arg(shop.join(capture));
    for roster in ["docker-inspect.json", "interfaces.toml"] {
        command.arg("--roster").arg(shop.join(roster));
    }
    command.arg("--contract").arg(shop.join("contract.toml")).args(arguments).output().unwrap()
}

/// Cuts out of a capture without any knowledge.
fn cut(folder: &TempDir, capture: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    command.current_dir(folder.path()).arg("cut").arg(capture).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn files(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn every_finding_of_the_shop_gives_its_packets_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let all = rows(&pcaps().join("shop/capture.pcapng"));
    let findings: Value =
        serde_json::from_slice(&fs::read(pcaps().join("shop/expected/findings.json")).unwrap()).unwrap();
    #[rustfmt::skip]
    let cases = [
        // kind               initiator       once  every sighting
        ("unexpected_peer",   "shop/reports", 30,   90),
        // 40 forged SYNs, and 80 answers that they provoked of whom they were sent to and of whose address it is.
        ("spoofed_source",    "shop/reports", 120,  360),
        ("undocumented_port", "shop/web",     10,   20),
        ("unexpected_peer",   "shop/web",     4,    8),
    ];
    for (kind, initiator, once, every) in cases {
        let finding = findings
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["kind"] == kind && it["initiator"] == initiator)
            .unwrap();
        let id = format!("F-{}", &finding["id"].as_str().unwrap()[..6]);
        for (more, expected) in [(None, once), (Some("--every-sighting"), every)] {
            let mut arguments = vec!["--finding", &id, "-w", "out.pcapng"];
            arguments.extend(more);
            let output = cut_shop(&folder, "capture.pcapng", &arguments);
            assert!(output.status.success(), "{kind}: {}", said(&output));
            let taken = rows(&folder.path().join("out.pcapng"));
            assert_eq!(taken.len(), expected, "{kind} {more:?}");
            let mut rest = all.iter();
            for row in &taken {
                assert!(
                    rest.any(|original| original == row),
                    "{kind}: not a frame of the capture, or out of order"
                );
            }
            assert!(
                said(&output).starts_with(&format!("wrote {expected} of 6,537 frames, ")),
                "{}",
                said(&output)
            );
            assert!(
                said(&output).contains(finding["wireshark_filter"].as_str().unwrap()),
                "{}",
                said(&output)
            );
        }
    }
}

#[test]
fn an_edge_is_found_by_the_names_it_is_known_by() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("reports -> db:5432", 30),
        ("shop/reports -> shop/db:5432/tcp", 30),
        ("shop/reports->db", 30),
        ("172.20.1.7 -> 172.20.1.3", 30),
        ("shop-reports-1 -> shop-db-1:5432", 30),
        ("external -> web:80/tcp  via host:8080", 310),
        ("batch -> web:80/tcp  via host:8080", 50),
        ("batch -> web:icmp", 10),
        ("reports -> cart:8080/tcp", 120),
    ];
    for (edge, frames) in cases {
        let output = cut_shop(&folder, "capture.pcapng", &["--edge", edge, "-w", "out.pcapng"]);
        assert!(output.status.success(), "{edge}: {}", said(&output));
        assert_eq!(rows(&folder.path().join("out.pcapng")).len(), frames, "{edge}");
    }
}

#[test]
fn what_cannot_be_cut_is_named_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    #[rustfmt::skip]
    let cases = [
        (["--edge", "reprots -> db"],  1, "no edge \"reprots -> db\"; nearest\n  shop/reports -> shop/db:5432/tcp\n"),
        (["--edge", "cart -> db:5433"], 1, "no edge \"cart -> db:5433\"; nearest\n  shop/cart -> shop/db:5432/tcp\n"),
        (["--edge", "reports"],        2, "--edge \"reports\": not an edge; write 'reports -> db:5432'"),
        (["--edge", "a -> b -> c"],    2, "--edge \"a -> b -> c\": an edge has one arrow; write '"),
        (["--edge", "cart -> db:"],    2, "--edge \"cart -> db:\": \"\" is no port; write '"),
        (["--edge", "cart -> db:99999"], 2, "--edge \"cart -> db:99999\": \"99999\" is no port; write '"),
        (["--edge", " -> db"],          2, "--edge \" -> db\": an end has no name; write '"),
        (["--finding", "F-123456"],    1, "no finding \"F-123456\"; there are\n  F-d6c963  unexpected peer  shop/reports -> shop/db:5432/tcp\n"),
        (["--finding", "F-d6c"],       2, "--finding \"F-d6c\": not an id; write F-7c21e0"),
        (["--finding", "spoofed"],     2, "--finding \"spoofed\": not an id"),
    ];
    for (arguments, code, message) in cases {
        let output = cut_shop(&folder, "capture.pcapng", &[&arguments[..], &["-w", "out.pcapng"]].concat());
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.starts_with(&format!("portolan: {message}")), "{arguments:?}: {said}");
        assert_eq!(files(&folder), Vec::<String>::new(), "{arguments:?}");
    }
    // Before anything is read: there is no such capture.
    let nowhere = cut_shop(&folder, "none.pcapng", &["--edge", "cart -> db", "-w", "none/out.pcapng"]);
    assert_eq!(nowhere.status.code(), Some(1));
    let expected = "portolan: none/out.pcapng: cannot be written: none is no folder";
    assert!(said(&nowhere).starts_with(expected), "{}", said(&nowhere));
    let nothing = cut_shop(&folder, "capture.pcapng", &["-w", "out.pcapng"]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(said(&nothing).contains("<--edge <EDGE>|--finding <ID>>"), "{}", said(&nothing));
}

#[test]
fn a_capture_is_not_overwritten_with_its_own_part() {
    let folder = tempfile::tempdir().unwrap();
    let shop = fs::read(pcaps().join("shop/capture.pcap")).unwrap();
    let path = folder.path().join("capture.pcap");
    fs::write(&path, &shop).unwrap();
    std::os::unix::fs::symlink(&path, folder.path().join("link.pcap")).unwrap();
    let edge = "172.20.1.7 -> 172.20.1.3";
    for (from, to) in
        [("capture.pcap", "link.pcap"), ("link.pcap", "capture.pcap"), ("capture.pcap", "./capture.pcap")]
    {
        let output = cut(&folder, Path::new(from), &["--edge", edge, "-w", to]);
        assert_eq!(output.status.code(), Some(2), "{from} {to}: {}", said(&output));
        assert!(said(&output).contains("write to another file"), "{}", said(&output));
        assert!(fs::read(&path).unwrap() == shop, "{from} {to}");
    }
    let roster = folder.path().join("roster.toml");
    fs::write(&roster, "").unwrap();
    let output = cut(&folder, &path, &["--edge", edge, "--roster", "roster.toml", "-w", "./roster.toml"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert_eq!(fs::read(&roster).unwrap(), b"");
    let piped = cut(&folder, Path::new("-"), &["--edge", edge, "-w", "out"]);
    assert_eq!(piped.status.code(), Some(2), "{}", said(&piped));
}

#[test]
fn no_file_of_a_recording_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let parts = ["live-00001.pcapng", "live-00002.pcapng"];
    let row = |name: &str| format!("{{\"before\":1,\"file\":{{\"name\":\"{name}\"}}}}\n");
    fs::write(folder.path().join("live.journal.ndjson"), parts.map(row).concat()).unwrap();
    for name in parts.iter().chain(&["contract.toml"]) {
        fs::write(folder.path().join(name), "").unwrap();
    }
    for name in ["live-00002.pcapng", "live.journal.ndjson", "contract.toml"] {
        std::os::unix::fs::symlink(name, folder.path().join(format!("{name}.link"))).unwrap();
        fs::hard_link(folder.path().join(name), folder.path().join(format!("{name}.hard"))).unwrap();
        for ending in ["", ".link", ".hard"] {
            let to = format!("{name}{ending}");
            let arguments = ["--edge", "a -> b", "--contract", "contract.toml", "-w", &to];
            let output = cut(&folder, Path::new(parts[0]), &arguments);
            assert_eq!(output.status.code(), Some(2), "{to}: {}", said(&output));
            let expected = format!("portolan: -w {to}: is ");
            assert!(said(&output).starts_with(&expected), "{to}: {}", said(&output));
            assert!(said(&output).contains(&format!("{name}, which is ")), "{to}: {}", said(&output));
        }
    }
}

#[test]
fn what_is_cut_is_for_this_user_alone_and_goes_through_no_link_that_lies_in_wait() {
    let folder = tempfile::tempdir().unwrap();
    let capture = pcaps().join("shop/capture.pcapng");
    let script =
        "umask 022; ln -s victim \".out.pcapng.$$\"; exec \"$0\" cut \"$1\" --edge \"$2\" -w out.pcapng";
    for is_waited_for in [false, true] {
        let script = if is_waited_for {
            script
        } else {
            script.split_once("; ").unwrap().1.split_once("; ").unwrap().1
        };
        let output = Command::new("sh")
            .current_dir(folder.path())
            .args(["-c", script, env!("CARGO_BIN_EXE_portolan")])
            .arg(&capture)
            .arg("172.20.1.7 -> 172.20.1.3")
            .output()
            .unwrap();
        assert_eq!(output.status.success(), !is_waited_for, "{}", said(&output));
        assert!(!folder.path().join("victim").exists());
        let mode = fs::metadata(folder.path().join("out.pcapng")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn what_stood_before_the_damage_is_cut_and_the_damage_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let shop = fs::read(pcaps().join("shop/capture.pcapng")).unwrap();
    let path = folder.path().join("cut.pcapng");
    fs::write(&path, &shop[..shop.len() / 2]).unwrap();
    let output = cut(&folder, &path, &["--edge", "172.20.1.4 -> 172.20.1.3", "-w", "out.pcapng"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("truncated in the middle"), "{}", said(&output));
    assert!(!rows(&folder.path().join("out.pcapng")).is_empty());
}

#[test]
fn standard_output_carries_the_capture_alone() {
    let folder = tempfile::tempdir().unwrap();
    let output = cut_shop(&folder, "capture.pcap", &["--edge", "reports -> db", "-w", "-"]);
    assert!(output.status.success(), "{}", said(&output));
    let path = folder.path().join("piped.pcapng");
    fs::write(&path, &output.stdout).unwrap();
    let taken = rows(&path);
    assert_eq!(taken.len(), 30);
    assert!(taken.iter().all(|row| row.1 == LinkType::LINUX_SLL2));
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
    let transport = [ends.1.to_be_bytes(), ends.3.to_be_bytes(), [0, 8], [0, 0]].concat();
    ip(17, ends, &transport)
}

fn tcp(ends: Ends, flags: u8) -> Vec<u8> {
    let mut transport = [ends.1.to_be_bytes(), ends.3.to_be_bytes()].concat();
    transport.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    ip(6, ends, &transport)
}

/// Port unreachable, by whom the packet went to.
fn unreachable(ends: Ends) -> Vec<u8> {
    let mut error = vec![3, 3, 0, 0, 0, 0, 0, 0];
    error.extend(udp(ends));
    ip(1, back(ends), &error)
}

fn back((source, from, destination, to): Ends) -> Ends {
    (destination, to, source, from)
}

/// Packets on one Ethernet interface, by milliseconds.
fn capture(folder: &TempDir, packets: &[(i64, Vec<u8>)]) -> PathBuf {
    let path = folder.path().join("made.pcapng");
    let mut writer = PcapngWriter::new(Vec::new(), &Section::default()).unwrap();
    let link = LinkType::ETHERNET;
    let eth0 = NewInterface { link, snaplen: 0, name: "eth0", description: "" };
    let interface = writer.add_interface(&eth0).unwrap();
    for (milliseconds, packet) in packets {
        let mut bytes = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0];
        bytes.extend(packet);
        let original_bytes = u32::try_from(bytes.len()).unwrap() + 7;
        let at = Timestamp(START + milliseconds * 1_000_000 + 1);
        let direction = Direction::Unstated;
        writer.frame(&Captured { interface, at, bytes: &bytes, original_bytes, direction }).unwrap();
    }
    fs::write(&path, writer.into_inner()).unwrap();
    path
}

const ONE: [u8; 4] = [10, 0, 0, 1];
const TWO: [u8; 4] = [10, 0, 0, 2];

/// Returns the milliseconds of the frames that were cut.
fn times(folder: &TempDir, path: &Path, arguments: &[&str]) -> Vec<i64> {
    let output = cut(folder, path, &[arguments, &["-w", "out.pcapng"]].concat());
    assert!(output.status.success(), "{}", said(&output));
    let taken = rows(&folder.path().join("out.pcapng"));
    for (at, _, name, length, bytes) in &taken {
        assert_eq!((at % 1_000_000, name.as_str(), *length as usize), (1, "eth0", bytes.len() + 7));
    }
    taken.iter().map(|row| (row.0 - START) / 1_000_000).collect()
}

#[test]
fn ports_used_again_the_other_way_round_are_another_edge() {
    let folder = tempfile::tempdir().unwrap();
    let call: Ends = (ONE, 40_000, TWO, 80);
    let path = capture(
        &folder,
        &[
            (0, tcp(call, SYN)),
            (1, tcp(back(call), SYN_ACK)),
            (2, tcp(call, RST_ACK)),
            (30_000, tcp(back(call), SYN)),
            (30_001, tcp(call, SYN_ACK)),
        ],
    );
    assert_eq!(times(&folder, &path, &["--edge", "10.0.0.1 -> 10.0.0.2:80"]), [0, 1, 2]);
    assert_eq!(times(&folder, &path, &["--edge", "10.0.0.2 -> 10.0.0.1"]), [30_000, 30_001]);
}

#[test]
fn a_port_behind_an_ipv6_address_stands_behind_a_bracket_or_with_its_protocol() {
    let folder = tempfile::tempdir().unwrap();
    let call = |port: u16| {
        let transport = [40_000, port, 8, 0].map(u16::to_be_bytes).concat();
        let mut packet = vec![0x60, 0, 0, 0, 0, 8, 17, 64, 0xfd];
        packet.extend([&[0; 14][..], &[1, 0xfd], &[0; 14], &[2], &transport].concat());
        packet
    };
    let path = capture(&folder, &[(0, call(80)), (1, call(81))]);
    #[rustfmt::skip]
    let cases = [
        ("fd00::1 -> [fd00::2]:80",          vec![0]),
        ("[fd00::1] -> [fd00::2]:81/udp",    vec![1]),
        ("fd00::1 -> fd00::2:80/udp",        vec![0]),
        ("fd00:0::1 -> fd00:0::2",           vec![0, 1]),
    ];
    for (edge, expected) in cases {
        assert_eq!(times(&folder, &path, &["--edge", edge]), expected, "{edge}");
    }
}

#[test]
fn the_filter_of_a_published_edge_names_the_port_its_packets_go_to() {
    let folder = tempfile::tempdir().unwrap();
    for (edge, ports) in [
        ("batch -> web:80/tcp  via host:8080", "tcp.port==8080"),
        ("external -> web:80", "(tcp.port==80 || tcp.port==8080)"),
        ("host -> web:80", "tcp.port==80"),
    ] {
        let output = cut_shop(&folder, "capture.pcapng", &["--edge", edge, "-w", "out.pcapng"]);
        assert!(said(&output).contains(&format!(" && {ports})\n")), "{edge}: {}", said(&output));
        for (_, _, _, _, bytes) in rows(&folder.path().join("out.pcapng")) {
            let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            // Cooked and IPv4 headers without options.
            let of = [port(40), port(42)].map(|port| ports.contains(&format!("=={port}")));
            assert!(of.contains(&true), "{edge}: {:?}", [port(40), port(42)]);
        }
    }
}

#[test]
fn an_icmp_error_goes_with_the_packet_it_quotes() {
    let folder = tempfile::tempdir().unwrap();
    let (asked, other): (Ends, Ends) = ((ONE, 5_000, TWO, 53), (ONE, 5_001, TWO, 54));
    let path = capture(
        &folder,
        &[
            (0, udp(asked)),
            (1, udp(other)),
            (3_000, unreachable(asked)),
            (3_001, unreachable(other)),
            (60_000, unreachable(asked)),
        ],
    );
    assert_eq!(times(&folder, &path, &["--edge", "10.0.0.1 -> 10.0.0.2:53"]), [0, 3_000]);
    assert_eq!(times(&folder, &path, &["--edge", "10.0.0.1 -> 10.0.0.2:54/udp"]), [1, 3_001]);
}

#[test]
fn a_scan_of_more_ports_than_are_told_apart_is_cut_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut packets = Vec::new();
    for port in 1..=1_200 {
        let probe: Ends = (ONE, 50_000, TWO, port);
        packets.push((i64::from(port), tcp(probe, SYN)));
        packets.push((i64::from(port), tcp(back(probe), RST_ACK)));
    }
    packets.push((2_000, udp((ONE, 50_000, TWO, 53))));
    packets.push((2_001, tcp((TWO, 50_000, ONE, 80), SYN)));
    let path = capture(&folder, &packets);
    let output = Command::new(env!("CARGO_BIN_EXE_portolan"))
        .args(["replay", path.to_str().unwrap(), "--format", "json"])
        .output()
        .unwrap();
    let replayed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let finding = &replayed["assessment"]["findings"][0];
    assert_eq!(finding["kind"], "port_scan");
    let taken = times(&folder, &path, &["--finding", finding["id"].as_str().unwrap()]);
    assert_eq!((taken.len(), taken.last()), (2_400, Some(&1_200)));
}

#[test]
fn later_fragments_go_with_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let fragments = pcaps().join("fragments");
    let capture = fragments.join("capture.pcapng");
    let roster = fragments.join("roster.toml");
    let output = Command::new(env!("CARGO_BIN_EXE_portolan"))
        .args(["replay", capture.to_str().unwrap(), "--roster", roster.to_str().unwrap(), "--format", "json"])
        .output()
        .unwrap();
    let replayed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let edges = replayed["graph"]["edges"].as_array().unwrap();
    assert!(!edges.is_empty());
    for edge in edges {
        let text = |key: &str| edge[key].as_str().unwrap().to_owned();
        let port = &edge["port"];
        let port = match port["port"].as_u64() {
            Some(number) => format!("{number}/{}", port["protocol"].as_str().unwrap()),
            None => port["protocol"].as_str().unwrap().to_owned(),
        };
        let name = format!("{} -> {}:{port}", text("source"), text("target"));
        let arguments = ["--roster", roster.to_str().unwrap(), "--edge", &name, "-w", "out.pcapng"];
        let output = cut(&folder, &capture, &arguments);
        assert!(output.status.success(), "{name}: {}", said(&output));
        let frames = edge["sent"]["frames"].as_u64().unwrap() + edge["received"]["frames"].as_u64().unwrap();
        assert_eq!(rows(&folder.path().join("out.pcapng")).len() as u64, frames, "{name}");
    }
}
