//! What happens to a host that runs for long: interfaces go down and up and away, clocks are set, the machine sleeps.
//! Short here, long by `scripts/settlement`.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::adversaries::from_environment;
use crate::bridge::{BridgeLab, Member};
use crate::daemon::Daemon;
use crate::exactly_once::transmitted;
use crate::namespace::output;
use crate::traffic::{flood, send_datagrams, sink};

/// Where everything is sent.
const PORT: u16 = 9_000;
/// Flows of a steady sender: one port each.
const STEADY: u32 = 50;
/// Connections that stay open.
const CALLS: usize = 10;

/// Runs many `ip` commands as one.
fn ip_batch(lab: &BridgeLab, commands: &str) {
    let mut child = lab
        .host()
        .command("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("ip starts");
    child.stdin.take().expect("a pipe").write_all(commands.as_bytes()).expect("ip reads");
    assert!(child.wait().expect("ip ends").success(), "{commands}");
}

/// Returns (descriptors, threads, resident KiB) of a daemon at rest: an answer under way and an attempt to reach Docker
/// hold a descriptor for a moment.
fn held(daemon: &Daemon) -> [usize; 3] {
    let looks = (0..25).map(|_| {
        thread::sleep(Duration::from_millis(40));
        held_now(daemon)
    });
    looks.reduce(|one, other| [0, 1, 2].map(|at| one[at].min(other[at]))).expect("some looks")
}

fn held_now(daemon: &Daemon) -> [usize; 3] {
    let process = format!("/proc/{}", daemon.pid());
    let count = |what: &str| fs::read_dir(format!("{process}/{what}")).expect("a process of ours").count();
    let status = fs::read_to_string(format!("{process}/status")).expect("a process of ours");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let kib = resident.trim().trim_end_matches(" kB").parse().expect("a number");
    [count("fd"), count("task"), kib]
}

/// Fails the test unless no descriptor is held that was not before, and no thread but two that write answers: the
/// runtime keeps those for some seconds.
fn is_back_at(base: [usize; 3], after: [usize; 3]) {
    assert!(after[0] <= base[0] && after[1] <= base[1] + 2, "held before {base:?}, afterwards {after:?}");
}

fn metered(daemon: &Daemon) -> u64 {
    daemon.status()["ledger"]["metered"]["frames"].as_u64().expect("a number")
}

#[test]
#[ignore = "needs root"]
fn an_interface_that_goes_down_and_up_loses_nothing_that_was_sent() {
    let times: u64 = from_environment("PORTOLAN_FLAPS", 20);
    let lab = BridgeLab::up(2);
    let [one, two] = [0, 1].map(|at| lab.members()[at].clone());
    let _sink = sink(&two.namespace, PORT);
    let mut daemon = Daemon::on_bridge(&lab, &[]);
    send_datagrams(&one.namespace, SocketAddrV4::new(two.address, PORT), 1, 10);
    daemon.catch_up();
    let before = transmitted(&one.namespace, "eth0")[0];
    let base = held(&daemon);
    let at_first = metered(&daemon);
    let flap = format!("link set {0} down\nlink set {0} up\n", one.interface);
    for _ in 0..times {
        ip_batch(&lab, &flap);
        send_datagrams(&one.namespace, SocketAddrV4::new(two.address, PORT), 2, 60);
    }
    daemon.catch_up();
    let sent = transmitted(&one.namespace, "eth0")[0] - before;
    daemon.eventually("all is counted", |daemon| metered(daemon) - at_first >= sent);
    assert_eq!(metered(&daemon) - at_first, sent);
    is_back_at(base, held(&daemon));
    let ended = daemon.end();
    println!("{times} times down and up: {sent} frames sent, {sent} counted; {}", ended.is_settled());
    assert!(sent >= times, "{sent} frames of {times} rounds");
}

#[test]
#[ignore = "needs root"]
fn interfaces_that_come_and_go_leave_nothing_behind() {
    let times: usize = from_environment("PORTOLAN_DELETIONS", 200);
    let lab = BridgeLab::up(1);
    let mut daemon = Daemon::on_bridge(&lab, &[]);
    let round = |from: usize, until: usize| {
        let mut commands = String::new();
        for number in from..until {
            let (bridge, name, peer) = (BridgeLab::BRIDGE, format!("v{number}"), format!("p{number}"));
            let _ = write!(
                commands,
                "link add {name} type veth peer name {peer}\nlink set {name} master {bridge} up\n\
                 link set {peer} up\nlink del {name}\n"
            );
        }
        ip_batch(&lab, &commands);
    };
    round(0, 20);
    daemon.catch_up();
    let base = held(&daemon);
    for from in (20..times).step_by(100) {
        round(from, times.min(from + 100));
    }
    daemon.catch_up();
    let after = held(&daemon);
    println!(
        "{times} interfaces deleted: (descriptors, threads, resident KiB) {base:?}, afterwards {after:?}"
    );
    is_back_at(base, after);
    // Interfaces are numbered on and on, and each number has a row.
    assert!(after[2] < base[2] + 16 * 1024, "{} KiB before, {} after", base[2], after[2]);
    daemon.end().is_settled();
}

#[test]
#[ignore = "needs root"]
fn a_wall_clock_that_jumps_ends_no_flow_and_loses_no_frame() {
    let lab = BridgeLab::up(2);
    let [one, two] = [0, 1].map(|at| lab.members()[at].clone());
    let folder = tempfile::Builder::new().prefix("portolan-clock-").tempdir_in("/tmp").expect("a folder");
    let (library, offset) = (folder.path().join("clock.so"), folder.path().join("offset"));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/clock.c");
    output(Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).args([source, "-ldl"]));
    fs::write(&offset, 0_i64.to_ne_bytes()).expect("room");
    let [library, offset] = [library, offset].map(|path| path.to_str().expect("UTF-8").to_owned());
    let mut daemon = Daemon::on_bridge_with(&lab, &[("LD_PRELOAD", &library), ("CLOCK_OFFSET", &offset)]);
    let file = OpenOptions::new().write(true).open(&offset).expect("the offset");
    let on_wire = || [&one, &two].map(|member| transmitted(&member.namespace, "eth0")[0]).iter().sum::<u64>();
    let before = on_wire();
    let listener = two.namespace.within(|| TcpListener::bind((two.address, PORT)).expect("a free port"));
    let mut calls: Vec<(TcpStream, TcpStream)> = (0..CALLS)
        .map(|_| {
            let caller = one.namespace.within(|| TcpStream::connect((two.address, PORT)).expect("a way"));
            (caller, listener.accept().expect("a caller").0)
        })
        .collect();
    let day = 86_400;
    #[rustfmt::skip]
    let jumps: [i64; 6] = [0, day, -day, 3_600, i64::from(i32::MIN), 0];
    for jump in jumps {
        file.write_all_at(&jump.to_ne_bytes(), 0).expect("room");
        daemon.catch_up();
        for (caller, called) in &mut calls {
            caller.write_all(b"x").expect("an open connection");
            called.read_exact(&mut [0]).expect("an open connection");
        }
        daemon.catch_up();
    }
    let sent = on_wire() - before;
    daemon.eventually("all is counted", |daemon| metered(daemon) >= sent);
    let flows = daemon.flows();
    let of_it: Vec<_> = flows.iter().filter(|flow| flow["dest"]["port"] == PORT).collect();
    let ended = daemon.end();
    println!("{} jumps: {sent} frames, {} flows; {}", jumps.len(), of_it.len(), ended.is_settled());
    assert_eq!(ended.accounts()[2], on_wire() - before);
    assert_eq!(of_it.len(), CALLS, "each connection is one flow");
    assert!(of_it.iter().all(|flow| flow["ended"].is_null()), "and none has ended: {of_it:?}");
    let stalls = ended.events.iter().filter(|event| event["event_type"] == "stall").count();
    assert_eq!(stalls, 0, "no stall is told of by a wall clock");
}

/// Sends a datagram from each of the same ports.
fn talk(one: &Member, two: &Member) {
    one.namespace.within(|| {
        for port in 0..STEADY {
            let port = 20_000 + u16::try_from(port).expect("a port");
            let socket = UdpSocket::bind((one.address, port)).expect("a free port");
            socket.send_to(b"x", (two.address, PORT)).expect("a way");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_daemon_that_was_stopped_goes_on_and_says_for_how_long() {
    let seconds: u64 = from_environment("PORTOLAN_STOP_SECONDS", 4);
    let lab = BridgeLab::up(2);
    let [one, two] = [0, 1].map(|at| lab.members()[at].clone());
    let _sink = sink(&two.namespace, PORT);
    let mut daemon = Daemon::on_bridge(&lab, &[]);
    let before = transmitted(&one.namespace, "eth0")[0];
    talk(&one, &two);
    daemon.catch_up();
    daemon.signal(Signal::STOP);
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        talk(&one, &two);
        thread::sleep(Duration::from_millis(500));
    }
    daemon.signal(Signal::CONT);
    talk(&one, &two);
    daemon.catch_up();
    let sent = transmitted(&one.namespace, "eth0")[0] - before;
    let flows = daemon.flows();
    let of_it = flows.iter().filter(|flow| flow["dest"]["port"] == PORT).count();
    let ended = daemon.end();
    let stalls: Vec<_> = ended.events.iter().filter(|event| event["event_type"] == "stall").collect();
    println!(
        "stopped for {seconds} s: {sent} frames, {of_it} flows, told {stalls:?}; {}",
        ended.is_settled()
    );
    assert_eq!((ended.accounts()[1], ended.accounts()[2]), (0, sent), "the ring held them all");
    assert_eq!(of_it, STEADY as usize, "no flow ended in its sleep");
    assert_eq!(stalls.len(), 1, "{stalls:?}");
}

#[test]
#[ignore = "needs root"]
fn a_second_sigterm_changes_nothing() {
    let lab = BridgeLab::up(2);
    let [one, two] = [0, 1].map(|at| lab.members()[at].clone());
    let _sink = sink(&two.namespace, PORT);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| flood(&one.namespace, SocketAddrV4::new(two.address, PORT), &is_over, 60));
        for pause in [0, 1, 5, 20, 50] {
            let daemon = Daemon::on_bridge(&lab, &["--ring-mib", "4"]);
            thread::sleep(Duration::from_millis(300));
            for _ in 0..3 {
                daemon.signal(Signal::TERM);
                thread::sleep(Duration::from_millis(pause));
            }
            let ended = daemon.end();
            ended.is_settled();
            assert_eq!(ended.said.matches("\nended: ").count(), 1, "{}", ended.said);
        }
        is_over.store(true, Ordering::Relaxed);
        load.join().expect("a sender");
    });
}
