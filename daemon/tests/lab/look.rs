//! `portolan look`: no daemon, no port; watches until it is told to stop, and reports.

use std::fs;
use std::net::SocketAddrV4;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::bridge::BridgeLab;
use crate::daemon::PATIENCE;
use crate::traffic::{send_datagrams, sink};

#[test]
#[ignore = "needs root"]
fn a_look_reports_what_was_sent_and_opens_no_port() {
    let lab = BridgeLab::up(2);
    let [one, two] = [0, 1].map(|at| lab.members()[at].clone());
    let _sink = sink(&two.namespace, 9_000);
    let child = lab
        .host()
        .command(env!("CARGO_BIN_EXE_portolan"))
        .args(["look", "--for", "1m", "--format", "json", "--docker-socket", "/nowhere/docker.sock"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("portolan starts");
    let table = |name: &str| {
        let path = format!("/proc/thread-self/net/{name}");
        lab.host().within(|| fs::read_to_string(path).expect("a table of sockets")).lines().count() - 1
    };
    let deadline = Instant::now() + PATIENCE;
    while table("packet") == 0 {
        assert!(Instant::now() < deadline, "it opens no packet socket");
        thread::sleep(Duration::from_millis(10));
    }
    // The socket is there before its filter is, and nothing says from outside when that is in place.
    thread::sleep(Duration::from_secs(1));
    let bytes = send_datagrams(&one.namespace, SocketAddrV4::new(two.address, 9_000), 250, 100);
    // Frames wait for the roles of their interfaces, which come a moment after the socket.
    thread::sleep(Duration::from_secs(1));
    assert_eq!(table("tcp") + table("tcp6"), 0, "it listens");
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, Signal::TERM).expect("a process of ours");
    let ended = child.wait_with_output().expect("a child of ours");
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));

    let result: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    let snapshot = &result["assessment"]["snapshot"];
    let metered = &snapshot["ledger"]["metered"];
    assert_eq!((&metered["frames"], &metered["bytes"]), (&250.into(), &bytes.into()), "{snapshot}");
    assert_eq!(snapshot["completeness"]["state"], "complete");
    assert_eq!(result["vitals"]["residual_frames"], 0);
    assert!(snapshot["stale"].as_str().is_some_and(|why| why.contains("/nowhere/docker.sock")), "{snapshot}");
}
