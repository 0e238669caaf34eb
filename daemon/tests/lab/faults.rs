//! Loads, stops and ends at any time: the accounts balance to the frame and the byte, and what was acknowledged is kept.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddrV4;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::adversaries::from_environment;
use crate::bridge::{BridgeLab, Member};
use crate::daemon::{Daemon, END_WITHIN, Ended};
use crate::engine::Lab;
use crate::exactly_once::transmitted;
use crate::forged::{Forged, Transport, inject, mac};
use crate::traffic::{UDP_HEADERS, call, flood, send_datagrams, sink};

/// Where everything is sent.
const PORT: u16 = 9_000;

/// How much the ring is asked to hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Load {
    /// Less than the daemon takes.
    None,
    /// More, now and then.
    Some,
    /// More, most of the time: the daemon is stopped for 5 s.
    Heavy,
}

#[test]
#[ignore = "needs root"]
fn the_accounts_balance_at_no_some_and_heavy_overload() {
    let frames: u64 = from_environment("PORTOLAN_FRAMES", 2_000_000);
    for (load, part) in
        [(Load::None, frames / 5), (Load::Some, frames * 2 / 5), (Load::Heavy, frames * 2 / 5)]
    {
        let began = Instant::now();
        let (ended, sent, bytes, in_flows) = balance_under(load, part);
        let [delivered, dropped, metered] = ended.accounts();
        // Each frame is offered where it comes in; where it goes out the kernel keeps it.
        let offered = sent;
        println!(
            "{load:?}: {offered} offered, {delivered} delivered, {dropped} dropped ({:.1} %), {metered} in flows, \
             residual 0 frames and 0 bytes; {:.1} s",
            100.0 * dropped as f64 / offered as f64,
            began.elapsed().as_secs_f64()
        );
        assert_eq!((delivered + dropped, metered), (offered, delivered), "{load:?}");
        match load {
            Load::None => {
                assert_eq!((dropped, metered), (0, sent), "{load:?}");
                assert_eq!(in_flows, [sent, bytes], "frames and bytes in flows");
            }
            Load::Some => assert!(dropped * 100 >= offered, "too little was dropped: {dropped} of {offered}"),
            Load::Heavy => assert!(dropped * 2 >= offered, "too little was dropped: {dropped} of {offered}"),
        }
    }
}

/// Sends so many frames of mixed sizes under a load, and ends the daemon; returns how it ended, the frames and bytes
/// sent, and the frames and bytes of its flows.
fn balance_under(load: Load, frames: u64) -> (Ended, u64, u64, [u64; 2]) {
    let lab = BridgeLab::up(2);
    let [one, two] = [0, 1].map(|at| lab.members()[at].clone());
    let _sink = sink(&two.namespace, PORT);
    // The bridge learns who is where; until then it floods.
    send_datagrams(&two.namespace, SocketAddrV4::new(BridgeLab::GATEWAY, PORT), 1, 10);
    let before = transmitted(&one.namespace, "eth0");
    let ring = if load == Load::None { "512" } else { "1" };
    let mut daemon = Daemon::on_bridge(&lab, &["--ring-mib", ring]);
    let (mut sent, mut bytes) = (0, 0);
    let sizes: Vec<Vec<u8>> = (0..1_200).map(|payload| datagram(&one, &two, payload)).collect();
    let chunk = if load == Load::None { 100_000 } else { frames / 8 };
    let mut stopped = None;
    while sent < frames {
        if load != Load::None && stopped.is_none() {
            daemon.signal(Signal::STOP);
            stopped = Some(Instant::now());
        }
        let number = chunk.min(frames - sent);
        let made = sizes.iter().cycle().take(usize::try_from(number).expect("a count"));
        bytes += (0..number).map(|number| UDP_HEADERS + number % 1_200).sum::<u64>();
        sent += inject(&one.namespace, made);
        match load {
            // Until it has read them all.
            Load::None => daemon.eventually("all is read", |daemon| {
                daemon.status()["ledger"]["delivered"]["frames"].as_u64().expect("a number") >= sent
            }),
            Load::Some => {
                daemon.signal(Signal::CONT);
                daemon.catch_up();
            }
            Load::Heavy if sent * 4 >= 3 * frames => {
                if let Some(at) = stopped.filter(|_| sent < frames) {
                    thread::sleep(Duration::from_secs(5).saturating_sub(at.elapsed()));
                    daemon.signal(Signal::CONT);
                    daemon.catch_up();
                }
            }
            Load::Heavy => {}
        }
    }
    daemon.signal(Signal::CONT);
    daemon.catch_up();
    let in_flows = in_flows(&daemon);
    // The kernel's own count: what its queue had no room for was never on the wire.
    let after = transmitted(&one.namespace, "eth0");
    let (sent, bytes) = match after[0] - before[0] {
        all if all == sent => (sent, bytes),
        fewer => (fewer, after[1] - before[1]),
    };
    (daemon.end(), sent, bytes, in_flows)
}

fn datagram(one: &Member, two: &Member, payload: u16) -> Vec<u8> {
    let forged = Forged {
        macs: (mac(&one.mac), mac(&two.mac)),
        addresses: (one.address, two.address),
        ports: (30_000, PORT),
        transport: Transport::Udp(payload),
    };
    forged.bytes()
}

/// Returns frames and bytes of the flows to the test's port.
fn in_flows(daemon: &Daemon) -> [u64; 2] {
    let flows = daemon.flows();
    let of_it = flows.iter().filter(|flow| flow["dest"]["port"] == PORT && flow["proto"] == "udp");
    of_it.fold([0, 0], |[frames, bytes], flow| {
        let of = |unit: &str| flow["sent"][unit].as_u64().expect("a number");
        [frames + of("frames"), bytes + of("bytes")]
    })
}

#[test]
#[ignore = "needs root"]
fn whenever_sigterm_comes_nothing_is_left_over() {
    let times: u32 = from_environment("PORTOLAN_TERMS", 10);
    let lab = BridgeLab::up(2);
    let [one, two] = [0, 1].map(|at| lab.members()[at].clone());
    let _sink = sink(&two.namespace, PORT);
    let is_over = AtomicBool::new(false);
    let (mut longest, mut frames) = (Duration::ZERO, 0);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                flood(&one.namespace, SocketAddrV4::new(two.address, PORT), &is_over, 60);
            }
        });
        for time in 0..times {
            let daemon = Daemon::on_bridge(&lab, &["--ring-mib", "4"]);
            thread::sleep(Duration::from_millis(u64::from(time * 37 % 200)));
            let ended = daemon.end();
            let [delivered, _, _] = ended.accounts();
            longest = longest.max(ended.took);
            frames += delivered;
        }
        is_over.store(true, Ordering::Relaxed);
        load.join().expect("a sender");
    });
    println!(
        "{times} ends under load, {frames} frames, residual 0 each; the longest {:.3} s",
        longest.as_secs_f64()
    );
    assert!(frames > 0 && longest < END_WITHIN);
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn an_engine_that_restarts_under_load_leaves_no_residual() {
    let mut lab = Lab::up();
    lab.build_image();
    lab.docker(["network", "create", "net"]);
    for (name, work) in [("one", "wait"), ("two", "wait")] {
        lab.docker(["run", "-d", "--name", name, "--network", "net", "lab/peer:1.0", work]);
    }
    let mut daemon = Daemon::beside(&lab.host(), &lab.docker_socket(), &[]);
    daemon.eventually("both are matched", |daemon| daemon.status()["vitals"]["containers_matched"] == 2);
    let [one, two] = ["one", "two"].map(|name| lab.container(name));
    let to = SocketAddrV4::new([172, 20, 0, 3].into(), PORT);
    let _sink = sink(&two, PORT);
    let is_over = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let load = scope.spawn(|| flood(&one, to, &is_over, 60));
        thread::sleep(Duration::from_millis(300));
        lab.kill_engine();
        thread::sleep(Duration::from_millis(300));
        lab.start_engine();
        daemon.eventually("names are fresh again", |daemon| daemon.status()["stale"].is_null());
        is_over.store(true, Ordering::Relaxed);
        load.join().expect("a sender")
    });
    daemon.catch_up();
    let [frames, bytes] = in_flows(&daemon);
    let ended = daemon.end();
    let [delivered, dropped, _] = ended.accounts();
    println!("engine restarted: {sent} sent, {frames} in flows; {delivered} delivered, {dropped} dropped");
    // The engine ends the containers it finds, and with its interface what the sender's queue held.
    assert!(
        frames > 0 && frames + dropped <= sent && bytes == frames * (UDP_HEADERS + 60),
        "{frames} of {sent}"
    );
}

/// Ended by force at any moment, also of its start, the daemon starts again at the same place: its socket is replaced,
/// and of its events nothing that anybody had read is gone; at most the last line was torn, which is closed.
#[test]
#[ignore = "needs root"]
fn whenever_it_is_killed_it_starts_again_and_no_event_is_lost() {
    let times: u32 = from_environment("PORTOLAN_KILLS", 20);
    let lab = BridgeLab::up(2);
    let [one, two] = [0, 1].map(|at| lab.members()[at].clone());
    let _sink = sink(&two.namespace, PORT);
    let folder = tempfile::Builder::new().prefix("portolan-kill-").tempdir_in("/tmp").expect("a folder");
    let events = folder.path().join("events.ndjson");
    let read = || fs::read(&events).unwrap_or_default();
    let mut starts = Vec::new();
    let (mut seen, mut planted, mut socket) = (Vec::new(), 0, None);
    for time in 0..times {
        if time % 4 == 3 {
            // In the middle of its start.
            let daemon = Daemon::begun_on_bridge_in(&lab, folder.path());
            thread::sleep(Duration::from_millis(u64::from(time * 13 % 150)));
            daemon.kill();
            assert!(read().starts_with(&seen), "an event of an earlier life is gone");
            seen = read();
            continue;
        }
        let began = Instant::now();
        let daemon = Daemon::begun_on_bridge_in(&lab, folder.path()).capturing();
        starts.push(began.elapsed());
        let made = fs::symlink_metadata(daemon.socket()).expect("its socket");
        let made = (made.ino(), made.ctime(), made.ctime_nsec());
        assert!(socket.replace(made) != Some(made), "the socket is another than the killed one's");
        // Flows that end, so that there are events to write; somebody reads along until the very end.
        call(&one.namespace, &two.namespace, SocketAddrV4::new(two.address, 8_080), 100, 10, 10);
        let is_over = AtomicBool::new(false);
        let along = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut along = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    along = read();
                    thread::sleep(Duration::from_millis(1));
                }
                along
            });
            thread::sleep(Duration::from_millis(u64::from(time * 61 % 1_300)));
            daemon.kill();
            is_over.store(true, Ordering::Relaxed);
            reader.join().expect("a reader")
        });
        let after = read();
        assert!(after.starts_with(&along), "an event that somebody had read is gone");
        assert!(after.starts_with(&seen), "an event of an earlier life is gone");
        if time % 3 == 0 && after.ends_with(b"\n") {
            // As a crash in the middle of a write leaves it.
            let mut file = fs::OpenOptions::new().append(true).open(&events).expect("the file");
            file.write_all(br#"{"timestamp":"20"#).expect("room");
            planted += 1;
        }
        seen = read();
    }
    // Whoever comes next closes the line that was torn, and goes on behind it.
    Daemon::begun_on_bridge_in(&lab, folder.path()).capturing().kill();
    let text = fs::read_to_string(&events).expect("the events");
    assert!(text.ends_with('\n'), "the last line is open");
    let (mut whole, mut torn) = (0, 0);
    for line in text.lines() {
        match serde_json::from_str::<Value>(line) {
            Ok(_) => whole += 1,
            Err(_) => torn += 1,
        }
    }
    starts.sort();
    let [half, most] = [starts.len() / 2, starts.len() - 1].map(|at| starts[at].as_secs_f64());
    println!(
        "{times} kills, {} of them of a running daemon: {whole} whole lines, {torn} torn of {planted} planted; from \
         start to capturing {half:.3} s in the middle, {most:.3} s at most",
        starts.len()
    );
    // A write of a line is one call: what this kernel tears is what was planted, and it swallows no other line.
    assert_eq!(torn, planted);
}
