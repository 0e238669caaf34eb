//! Findings over restarts: nothing is raised again, and nothing that was said about them is lost.

use std::net::SocketAddrV4;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;

use crate::bridge::{BridgeLab, Member};
use crate::daemon::Daemon;
use crate::forged::{Forged, SYN, Transport, inject, mac};
use crate::traffic::{send_datagrams, sink};

/// Ports that are tried: a scan by any measure.
const PORTS: u16 = 300;

#[test]
#[ignore = "needs root"]
fn a_restart_under_load_raises_nothing_again_and_loses_no_word() {
    let lab = BridgeLab::up(4);
    let [scanner, scanned, sender, receiver] = [0, 1, 2, 3].map(|at| lab.members()[at].clone());
    let _sink = sink(&receiver.namespace, 9_000);
    let folder = tempfile::Builder::new().prefix("portolan-findings-").tempdir_in("/tmp").expect("a folder");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        // However this ends, the load ends with it.
        let _end = End(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                send_datagrams(&sender.namespace, SocketAddrV4::new(receiver.address, 9_000), 2_000, 100);
            }
        });
        let mut daemon = Daemon::begun_on_bridge_in(&lab, folder.path()).capturing();
        scan(&scanner, &scanned);
        daemon.eventually("the scan is found", |daemon| !open(daemon).is_empty());
        let id = open(&daemon).remove(0);
        // What is told is written behind the publication, by a thread of its own.
        let is_raised = |event: &Value| event["finding"]["id"] == id.as_str();
        daemon.eventually("it is told", |_| events(folder.path()).iter().any(is_raised));
        daemon.kill();
        let mut daemon = Daemon::begun_on_bridge_in(&lab, folder.path()).capturing();
        daemon.catch_up();
        assert_eq!(open(&daemon), std::slice::from_ref(&id), "it stands before it is seen again");
        scan(&scanner, &scanned);
        // Seen on both sides of a gap, it cannot be complete.
        daemon.eventually("it is seen again", |daemon| {
            daemon.json("/api/v1/findings")["findings"][0]["complete"] == false
        });
        assert_eq!(open(&daemon), std::slice::from_ref(&id));
        let said = daemon.command_line(["ack", &id[..8], "--reason", "ours"]);
        assert!(said.starts_with(&format!("F-{}  port scan", &id[..6])), "{said}");
        daemon.catch_up();
        assert_eq!(open(&daemon), Vec::<String>::new());
        daemon.kill();
        let mut daemon = Daemon::begun_on_bridge_in(&lab, folder.path()).capturing();
        let handled = |daemon: &Daemon| daemon.json("/api/v1/publication")["handled"][0].clone();
        daemon.catch_up();
        let before = handled(&daemon)["finding"]["connections"].clone();
        scan(&scanner, &scanned);
        daemon.eventually("it is seen again", |daemon| handled(daemon)["finding"]["connections"] != before);
        assert_eq!(open(&daemon), Vec::<String>::new(), "the acknowledgement is lost");
        let handled = handled(&daemon);
        assert_eq!((&handled["state"], &handled["note"]["by"]), (&"acknowledged".into(), &"uid 0".into()));
        assert_eq!(handled["finding"]["complete"], false);
        let ended = daemon.end();
        let events = events(folder.path());
        let count = |holds: &dyn Fn(&&Value) -> bool| events.iter().filter(holds).count();
        let is_state = |event: &Value, state: &str| {
            event["finding"]["id"] == id.as_str() && event["finding"]["state"] == state
        };
        assert_eq!(count(&|event| is_state(event, "raised")), 1);
        assert_eq!(count(&|event| is_state(event, "acknowledged")), 1);
        let is_gap = |event: &Value| event["blind_interval"]["cause"] == "portolan was not running";
        assert_eq!(count(&|event| is_gap(event)), 2);
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
    });
}

/// Ends the load.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One member tries many ports of another.
fn scan(from: &Member, to: &Member) {
    let frames = (1..=PORTS).map(|port| {
        let forged = Forged {
            macs: (mac(&from.mac), mac(&to.mac)),
            addresses: (from.address, to.address),
            ports: (40_000 + port, port),
            transport: Transport::Tcp(SYN, 7, 0),
        };
        forged.bytes()
    });
    inject(&from.namespace, frames);
}

/// Ids of the findings that are open.
fn open(daemon: &Daemon) -> Vec<String> {
    let findings = daemon.json("/api/v1/findings")["findings"].clone();
    let ids = findings.as_array().into_iter().flatten().filter_map(|finding| finding["id"].as_str());
    ids.map(str::to_owned).collect()
}

/// Every event of every life.
fn events(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("events.ndjson")).expect("the events");
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
