//! Limits on descriptors, threads and memory: what there is too little of is named, and with little it serves fewer.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::bridge::BridgeLab;
use crate::daemon::{Daemon, series};
use crate::exactly_once::transmitted;
use crate::forged::{Forged, Transport, inject, mac};
use crate::namespace::unique_name;

/// A control group with one limit; it goes when it is dropped.
struct Group(PathBuf);

impl Group {
    /// Makes one: of version 1 where the controller is mounted so, else of version 2.
    fn with(controller: &str, old: &str, file: &str, limit: &str) -> Self {
        let root = PathBuf::from("/sys/fs/cgroup");
        let (above, file) =
            if root.join(controller).is_dir() { (root.join(controller), old) } else { (root.clone(), file) };
        let _ = fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"));
        let group = Self(above.join(format!("portolan-lab-{}", unique_name())));
        fs::create_dir(&group.0).expect("a control group");
        fs::write(group.0.join(file), limit).expect("its limit");
        group
    }

    /// Returns a command that runs in it.
    fn enter(&self, mut command: Command) -> Command {
        let procs = self.0.join("cgroup.procs");
        command.args(["sh", "-c", &format!("echo $$ >{} && exec \"$@\"", procs.display()), "sh"]);
        command
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).expect("nobody is left in it");
    }
}

#[test]
#[ignore = "needs root"]
fn what_there_is_too_little_of_is_named_with_its_remedy() {
    let lab = BridgeLab::up(1);
    let pids = Group::with("pids", "pids.max", "pids.max", "4");
    let memory = Group::with("memory", "memory.limit_in_bytes", "memory.max", "104857600");
    let limited = |option: &str| {
        let mut command = lab.host().command("prlimit");
        command.arg(option);
        command
    };
    let plain = || lab.host().command("env");
    #[rustfmt::skip]
    let cases = [
        (limited("--nofile=32"),    "32 open files are allowed and 48 are needed: raise LimitNOFILE="),
        (limited("--as=209715200"), "200 MiB of memory are allowed (ulimit -v) and 288 are needed, 64 of them for the ring, 128 for 131,072 flows: raise MemoryMax="),
        (memory.enter(plain()),     "100 MiB of memory are allowed ("),
        (pids.enter(plain()),       "threads can be started and 8 are needed"),
    ];
    for (command, said) in cases {
        let ended = Daemon::begun_by(command, &[]).ended();
        assert_eq!(ended.code, Some(1), "{said}: {}{}", ended.said, ended.errors);
        let line = ended.errors.lines().next().unwrap_or_default();
        assert!(line.starts_with("portolan: ") && line.contains(said), "{said}: {}", ended.errors);
        assert!(!ended.errors.contains("panicked"), "{}", ended.errors);
    }
}

#[test]
#[ignore = "needs root"]
fn with_64_descriptors_crowds_are_turned_away_and_a_scrape_is_answered() {
    let lab = BridgeLab::up(1);
    let mut command = lab.host().command("prlimit");
    command.arg("--nofile=64");
    let daemon = Daemon::begun_by(command, &[]).capturing();
    let said = "64 open files are allowed: 12 connections at once on each of 2 listeners instead of 256";
    assert!(daemon.errors().contains(said), "{}", daemon.errors());
    let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9414);
    let crowd: Vec<TcpStream> = lab.host().within(|| {
        let crowd = (0..200).map(|_| TcpStream::connect(to).expect("a place in the kernel's queue"));
        crowd.collect()
    });
    let mut scrape = lab.host().within(|| TcpStream::connect(to).expect("a place in the kernel's queue"));
    scrape.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    scrape.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("open");
    let mut answer = String::new();
    scrape.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // Room was made for it; it did not have to wait until descriptors came free.
    let displaced = series(&answer, "portolan_exporter_http_connections_closed_total");
    let displaced = displaced.iter().find(|(labels, _)| labels["reason"] == "displaced").expect("a count");
    assert!(displaced.1 >= 100.0, "{displaced:?}");
    drop(crowd);
    daemon.end().is_settled();
}

#[test]
#[ignore = "needs root"]
fn with_the_memory_it_asks_for_a_flood_of_flows_does_not_end_it() {
    let lab = BridgeLab::up(1);
    let one = lab.members()[0].clone();
    // As much as a ring of 32 MiB and 65,536 flows are said to need, and not a byte more.
    let group = Group::with("memory", "memory.limit_in_bytes", "memory.max", &(192_u64 << 20).to_string());
    let command = group.enter(lab.host().command("env"));
    let mut daemon = Daemon::begun_by(command, &["--ring-mib", "32", "--flows-max", "65536"]).capturing();
    let frames = (0..200_000_u32).map(|number| {
        let [_, ports @ .., low] = number.to_be_bytes();
        let forged = Forged {
            macs: (mac(&one.mac), mac("02:42:ac:1e:00:01")),
            addresses: (one.address, Ipv4Addr::new(203, 0, 113, low)),
            ports: (1_024 + u16::from_be_bytes(ports) % 60_000, 1),
            transport: Transport::Udp(18),
        };
        forged.bytes()
    });
    inject(&one.namespace, frames);
    daemon.catch_up();
    let most =
        ["memory.max_usage_in_bytes", "memory.peak"].map(|file| fs::read_to_string(group.0.join(file)).ok());
    let ended = daemon.end();
    println!("in 192 MiB, {:?} bytes at most; {:?} to end", most.into_iter().flatten().next(), ended.took);
    let line = ended.said.lines().last().unwrap_or_default();
    assert!(
        ended.code == Some(0) && line.contains("; residual 0 frames, 0 bytes; "),
        "{line}{}",
        ended.errors
    );
    assert!(transmitted(&one.namespace, "eth0")[0] >= 200_000, "all were sent");
}
