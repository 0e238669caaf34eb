//! Docker stops answering, or dies, or was never there: capture goes on, names say how old they are, and recover.

use std::net::SocketAddrV4;

use serde_json::Value;

use crate::daemon::Daemon;
use crate::engine::Lab;
use crate::namespace::Namespace;
use crate::traffic::{UDP_HEADERS, send_datagrams, sink};

/// Where datagrams go.
const PORT: u16 = 9_000;

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn capture_outlives_a_frozen_engine_and_a_killed_one() {
    let mut lab = Lab::up();
    lab.build_image();
    lab.docker(["network", "create", "net"]);
    // The second one may come as late as it likes: it has to be matched before the engine falls silent.
    for name in ["one", "two"] {
        lab.docker(["run", "-d", "--name", name, "--network", "net", "lab/peer:1.0", "wait"]);
    }
    let mut daemon = Daemon::beside(&lab.host(), &lab.docker_socket(), &[]);
    daemon.eventually("both are matched", |daemon| daemon.status()["vitals"]["containers_matched"] == 2);
    assert_eq!(daemon.status()["stale"], Value::Null);
    let [one, two] = ["one", "two"].map(|name| lab.container(name));
    let at = |address: &str, port: u16| SocketAddrV4::new(address.parse().expect("an address"), port);
    let swallow = |namespace: &Namespace, port: u16| sink(namespace, port);

    // Frozen: what flows is counted and named by what was known.
    let _sinks = [swallow(&two, PORT), swallow(&two, PORT + 1)];
    lab.freeze_engine();
    send_datagrams(&one, at("172.20.0.3", PORT), 500, 100);
    daemon.eventually("names are stale", |daemon| daemon.status()["stale"].is_string());
    println!("frozen: {}", daemon.status()["stale"]);
    let stale = daemon.status()["stale"].as_str().expect("a reason").to_owned();
    assert!(stale.contains("docker.sock") && stale.contains("since "), "{stale}");
    send_datagrams(&one, at("172.20.0.3", PORT + 1), 300, 100);
    daemon.catch_up();
    assert_eq!(seen(&daemon, PORT), [("one".to_owned(), "two".to_owned(), 500, 500 * (UDP_HEADERS + 100))]);
    assert_eq!(
        seen(&daemon, PORT + 1),
        [("one".to_owned(), "two".to_owned(), 300, 300 * (UDP_HEADERS + 100))]
    );
    let status = daemon.command_line(["status"]);
    assert!(status.contains("names"), "{status}");
    let metrics = daemon.get("/metrics");
    assert!(
        metrics.lines().any(|line| line.starts_with("portolan_identity_stale{") && line.ends_with(" 1")),
        "{metrics}"
    );
    lab.thaw_engine();
    daemon.eventually("names are fresh again", |daemon| daemon.status()["stale"].is_null());
    lab.docker(["run", "-d", "--name", "three", "--network", "net", "lab/peer:1.0", "wait"]);
    send_datagrams(&lab.container("three"), at("172.20.0.3", PORT), 7, 50);
    daemon.eventually("a container started later is named", |daemon| seen(daemon, PORT).len() == 2);
    assert_eq!(seen(&daemon, PORT)[1], ("three".to_owned(), "two".to_owned(), 7, 7 * (UDP_HEADERS + 50)));

    // Killed: the containers live on, and so does the capture.
    lab.kill_engine();
    daemon.eventually("names are stale", |daemon| daemon.status()["stale"].is_string());
    println!("killed: {}", daemon.status()["stale"]);
    send_datagrams(&two, at("172.20.0.2", PORT + 2), 40, 100);
    daemon.catch_up();
    let killed = seen(&daemon, PORT + 2);
    assert_eq!(killed, [("two".to_owned(), "one".to_owned(), 40, 40 * (UDP_HEADERS + 100))]);
    drop(_sinks);
    lab.start_engine();
    daemon.eventually("names are fresh again", |daemon| daemon.status()["stale"].is_null());
    lab.docker(["run", "-d", "--name", "four", "--network", "net", "lab/peer:1.0", "wait"]);
    lab.docker(["run", "-d", "--name", "five", "--network", "net", "lab/peer:1.0", "wait"]);
    let five = lab.docker(["inspect", "-f", "{{.NetworkSettings.Networks.net.IPAddress}}", "five"]);
    let _sink = swallow(&lab.container("five"), PORT + 3);
    send_datagrams(&lab.container("four"), at(&five, PORT + 3), 9, 50);
    daemon.eventually("those started later are named", |daemon| {
        seen(daemon, PORT + 3) == [("four".to_owned(), "five".to_owned(), 9, 9 * (UDP_HEADERS + 50))]
    });
    // Whom the engine ended keeps the name under which it sent.
    assert_eq!(seen(&daemon, PORT + 2), killed);

    let ended = daemon.end();
    assert!(ended.is_settled().ends_with("; complete"), "{}", ended.is_settled());
}

/// Returns what was sent to a port: from whom, to whom, frames, bytes; each flow a row.
pub(crate) fn seen(daemon: &Daemon, port: u16) -> Vec<(String, String, u64, u64)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let number = |value: &Value| value.as_u64().expect("a number");
    let rows = daemon.flows();
    let rows = rows.iter().filter(|flow| flow["dest"]["port"] == port && flow["proto"] == "udp");
    rows.map(|flow| {
        let sent = &flow["sent"];
        let ends = (text(&flow["src"]["container"]), text(&flow["dest"]["container"]));
        (ends.0, ends.1, number(&sent["frames"]), number(&sent["bytes"]))
    })
    .collect()
}
