//! The laboratories themselves: they come up, do what they say, and leave nothing.

use std::fs;
use std::net::SocketAddrV4;
use std::process::Command;

use crate::bridge::BridgeLab;
use crate::engine::Lab;
use crate::namespace::{Namespace, is_alive, output};
use crate::traffic::{UDP_HEADERS, call, send_datagrams, sink};

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn a_lab_runs_a_container_and_leaves_nothing() {
    let lab = Lab::up();
    lab.build_image();
    lab.docker(["network", "create", "net"]);
    lab.docker([
        "run",
        "-d",
        "--name",
        "server",
        "--network",
        "net",
        "-p",
        "8080:80",
        "lab/peer:1.0",
        "serve",
        "tcp/80",
    ]);
    lab.docker(["run", "-d", "--name", "monitor", "--network", "host", "lab/peer:1.0", "wait"]);

    // One call over the published port, from the internet.
    let peer = lab.directory().join("root/peer");
    let said = output(lab.inet(peer).args(["call", &Lab::HOST.to_string(), "8080", "1", "100", "2000"]));
    assert_eq!(said, "1\t0\t0\t100\t2000");

    let links = output(lab.in_namespace("ip").args(["-o", "link", "show", "type", "veth"]));
    assert!(links.contains(" master br-"), "{links}");
    let inside =
        output(lab.container("server").command("ip").args(["-o", "-4", "addr", "show", "dev", "eth0"]));
    assert!(inside.contains("172.20.0.2/24"), "{inside}");
    let outside = output(lab.inet("ip").args(["-o", "-4", "addr", "show", "dev", "eth0"]));
    assert!(outside.contains(&Lab::INTERNET.to_string()), "{outside}");

    let (engine, host, internet) = (lab.engine_pid(), lab.host(), lab.internet());
    let directory = lab.directory().to_owned();
    let containers = lab.docker(["inspect", "-f", "{{.State.Pid}}", "server", "monitor"]);
    drop(lab);
    assert!(!is_alive(engine));
    for pid in containers.lines() {
        assert!(!is_alive(pid.parse().expect("a process id")), "container process {pid}");
    }
    assert!(!host.exists() && !internet.exists());
    assert!(!directory.exists());
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&*directory.to_string_lossy()), "{mounts}");
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn an_engine_is_frozen_thawed_killed_and_started_again() {
    let mut lab = Lab::up();
    let ping = |lab: &Lab| {
        let version = ["--host", &lab.docker_host(), "version"];
        Command::new("timeout")
            .arg("1")
            .arg("docker")
            .args(version)
            .output()
            .expect("docker starts")
            .status
            .success()
    };
    assert!(ping(&lab));
    lab.freeze_engine();
    assert!(!ping(&lab), "a frozen engine answered");
    lab.thaw_engine();
    assert!(ping(&lab));
    let before = lab.engine_pid();
    lab.kill_engine();
    assert!(!ping(&lab), "a killed engine answered");
    lab.start_engine();
    assert!(ping(&lab));
    assert_ne!(lab.engine_pid(), before);
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn the_shop_does_exactly_what_was_recorded() {
    let lab = Lab::up();
    lab.shop("start");
    lab.shop("traffic");
    lab.shop("check");
    let sent = lab.sent();
    let forged: Vec<_> = sent.iter().filter(|row| row.note.starts_with("forged")).collect();
    assert_eq!(forged.len(), 1, "{forged:?}");
    assert_eq!((forged[0].client.as_str(), forged[0].unanswered), ("shop-reports-1", 40));
    lab.shop("stop");
    assert_eq!(lab.docker(["ps", "-aq"]), "");
}

#[test]
#[ignore = "needs root"]
fn a_bridge_lab_carries_exactly_what_is_sent() {
    let mut lab = BridgeLab::up(2);
    let gone = lab.members()[0].namespace.clone();
    let (first, second) = (lab.members()[0].clone(), lab.members()[1].clone());
    let before = received(&lab, &first.interface);

    let _sink = sink(&second.namespace, 9000);
    let bytes = send_datagrams(&first.namespace, SocketAddrV4::new(second.address, 9000), 1000, 100);
    assert_eq!(bytes, 1000 * (UDP_HEADERS + 100));
    assert_eq!(received(&lab, &first.interface) - before, 1000, "not a frame more: no ARP, no IPv6");

    call(&first.namespace, &second.namespace, SocketAddrV4::new(second.address, 8080), 20, 100, 3000);
    lab.set_promiscuous(true);
    call(lab.host(), &second.namespace, SocketAddrV4::new(second.address, 8080), 1, 100, 3000);
    lab.set_promiscuous(false);

    // The same address again behind another interface, then one that goes for good.
    let again = lab.replace_member(0);
    assert_eq!(again.address, first.address);
    assert_ne!(again.index, first.index);
    let removed = lab.remove_member(0);
    assert_eq!(removed.address, second.address);
    let roster = lab.roster();
    assert!(roster.contains("container = \"member-2\"") && !roster.contains("member-3"), "{roster}");
    drop(lab);
    assert!(!gone.exists());
}

#[test]
#[ignore = "needs root"]
fn the_program_under_test_runs_on_the_labs_host() {
    let lab = Lab::up();
    output(lab.portolan().arg("--version"));
}

/// Frames the host received from a member: the kernel's own count.
fn received(lab: &BridgeLab, interface: &str) -> u64 {
    let host: &Namespace = lab.host();
    let statistics = output(host.command("ip").args(["-s", "-o", "link", "show", "dev", interface]));
    let numbers = statistics.split("RX:").nth(1).and_then(|rest| rest.split('\\').nth(1)).unwrap_or_default();
    numbers.split_whitespace().nth(1).and_then(|frames| frames.parse().ok()).expect("a count of frames")
}
