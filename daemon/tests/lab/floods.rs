//! A flood of flows, each of another tuple: memory stays what it was made, everything is counted, and it is nobody
//! else's loss.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::adversaries::from_environment;
use crate::bridge::{BridgeLab, Member};
use crate::daemon::Daemon;
use crate::exactly_once::transmitted;
use crate::forged::{Forged, Transport, inject, mac};
use crate::traffic::{send_datagrams, sink};

/// Connections of others, established before the flood.
const ESTABLISHED: usize = 200;
/// Resident memory may grow by this much while flows flood: what is listed and drawn, not the table.
const GROWTH_MAX_KIB: u64 = 384 * 1024;

#[test]
#[ignore = "needs root"]
fn a_flood_of_flows_is_counted_to_the_flow_and_costs_others_nothing() {
    let flows: u32 = from_environment("PORTOLAN_FLOWS", 200_000);
    let lab = BridgeLab::up(4);
    let [flooder, client, server, swallower] = [0, 1, 2, 3].map(|at| lab.members()[at].clone());
    let _sink = sink(&swallower.namespace, 9_000);
    let mut daemon = Daemon::on_bridge(&lab, &["--ring-mib", "256", "--flows-max", "65536"]);
    let mut connections = Connections::open(&client, &server);
    connections.exchange();
    daemon.eventually("all are listed", |daemon| established(daemon, &client).len() == ESTABLISHED);
    daemon.come_to_rest();
    let before = established(&daemon, &client);
    let on_wire = transmitted(&flooder.namespace, "eth0")[0];
    let status = daemon.status();
    let number = |value: &Value| value.as_u64().expect("a number");
    let (opened_before, metered_before) =
        (number(&status["ledger"]["flows_opened"]), number(&status["ledger"]["metered"]["frames"]));
    let memory_before = daemon.memory("VmRSS");

    // To an address behind the bridge that nothing routes: nobody answers, and each is another flow.
    let frames = (0..flows).map(|number| {
        let [_, ports @ .., low] = number.to_be_bytes();
        let forged = Forged {
            macs: (mac(&flooder.mac), mac("02:42:ac:1e:00:01")),
            addresses: (flooder.address, Ipv4Addr::new(203, 0, 113, low)),
            ports: (1_024 + u16::from_be_bytes(ports) % 60_000, 1 + u16::from_be_bytes(ports) / 60_000),
            transport: Transport::Udp(18),
        };
        forged.bytes()
    });
    let given = inject(&flooder.namespace, frames);
    // The kernel's own count: what its queue had no room for was never on the wire.
    let sent = transmitted(&flooder.namespace, "eth0")[0] - on_wire;
    daemon.come_to_rest();
    connections.exchange();
    send_datagrams(&client.namespace, SocketAddrV4::new(swallower.address, 9_000), 7, 20);
    daemon.come_to_rest();

    let status = daemon.status();
    let ledger = &status["ledger"];
    let of = |account: &str| number(&ledger[account]["frames"]);
    let after = established(&daemon, &client);
    let others = number(&Value::from(flow_frames(&after) - flow_frames(&before))) + 7;
    let (opened, evicted, ended) =
        (number(&ledger["flows_opened"]), number(&ledger["flows_evicted"]), number(&ledger["flows_ended"]));
    let flooded = of("metered") - metered_before - others;
    let dropped = number(&status["kernel_dropped"]);
    let peak = daemon.memory("VmHWM");
    println!(
        "{given} flows made, {sent} sent, {dropped} frames dropped; {} opened, {evicted} evicted, {ended} ended, {} live of {}; \
         {} frames turned away; resident {memory_before} KiB before, {peak} at most, {} after",
        opened - opened_before,
        status["vitals"]["flows_live"],
        status["vitals"]["flows_max"],
        of("overflow"),
        daemon.memory("VmRSS"),
    );
    // Each frame of the flood is a flow of its own, or was turned away; and each flow is live, evicted or ended.
    assert_eq!(flooded, opened - opened_before - 1, "{ledger}");
    assert_eq!(opened, evicted + ended + number(&status["vitals"]["flows_live"]), "{ledger}");
    let taken = flooded + of("overflow");
    assert!(taken <= sent && sent <= taken + dropped, "{taken} taken and {dropped} dropped of {sent}");
    assert_eq!(number(&status["vitals"]["residual_frames"]), 0);
    assert!(evicted + of("overflow") > 0, "it was no flood");

    let ids = |flows: &[Value]| flows.iter().map(|flow| number(&flow["flow_id"])).collect::<Vec<_>>();
    assert_eq!(ids(&before), ids(&after), "flows of others");
    assert!(after.iter().all(|flow| flow["ended"].is_null() && flow["outcome"] == "answered"));
    assert!(peak <= memory_before + GROWTH_MAX_KIB, "{peak} KiB at most, {memory_before} before");
    drop(connections);
    daemon.end().is_settled();
}

/// Connections between two members, all open.
struct Connections(Vec<(TcpStream, TcpStream)>);

impl Connections {
    fn open(client: &Member, server: &Member) -> Self {
        let listener = server
            .namespace
            .within(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8_080)).expect("a free port"));
        let to = SocketAddrV4::new(server.address, 8_080);
        let pairs = (0..ESTABLISHED).map(|_| {
            let one = client.namespace.within(|| TcpStream::connect(to).expect("it listens"));
            (one, listener.accept().expect("a caller").0)
        });
        Self(pairs.collect())
    }

    fn exchange(&mut self) {
        for (one, other) in &mut self.0 {
            one.write_all(b"ask").expect("an open connection");
            other.read_exact(&mut [0; 3]).expect("a question");
            other.write_all(b"answer").expect("an open connection");
            one.read_exact(&mut [0; 6]).expect("an answer");
        }
    }
}

/// Returns the flows of the established connections, in their order.
fn established(daemon: &Daemon, client: &Member) -> Vec<Value> {
    let mut flows = daemon.flows();
    flows.retain(|flow| flow["proto"] == "tcp" && flow["src"]["ip"] == client.address.to_string());
    flows.sort_by_key(|flow| flow["flow_id"].as_u64());
    flows
}

fn flow_frames(flows: &[Value]) -> u64 {
    let frames = |flow: &Value, side: &str| flow[side]["frames"].as_u64().expect("a number");
    flows.iter().map(|flow| frames(flow, "sent") + frames(flow, "received")).sum()
}

impl Daemon {
    /// Waits until no frame has come for a while, late acknowledgments included.
    fn come_to_rest(&mut self) {
        let read = |daemon: &Self| daemon.status()["ledger"]["delivered"]["frames"].clone();
        loop {
            self.catch_up();
            let first = read(self);
            std::thread::sleep(Duration::from_millis(200));
            // A publication of so many flows takes its time: only another one tells of what came since.
            self.catch_up();
            if read(self) == first {
                return;
            }
        }
    }

    /// Returns a figure of its memory, in KiB, as `/proc` has it.
    pub(crate) fn memory(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let figure = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        figure.unwrap_or_else(|| panic!("no {name} in {path}"))
    }
}
