//! The accounts balance to the frame, whatever happened: a ring that overflowed, an interface that vanished, an end
//! in the middle of it all.

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portolan_flowtable::{Blindness, Timestamp};
use rustix::process::Signal;

use crate::bridge::{BridgeLab, Member};
use crate::daemon::{Daemon, PATIENCE, now};
use crate::traffic::{flood, send_datagrams, sink};

/// Where everything is sent.
const PORT: u16 = 9_000;
/// Datagrams before an event that has to come under load.
const UNDER_WAY: u64 = 30_000;

#[test]
#[ignore = "needs root"]
fn an_overflowing_ring_is_accounted_for_to_the_frame() {
    // Datagrams sent while nobody reads; each is offered where it comes in, and kept by the kernel where it goes out.
    const FIRST: u32 = 20_000;
    const REST: u32 = 200_000;
    let lab = BridgeLab::up(2);
    let [one, two] = [0, 1].map(|at| lab.members()[at].clone());
    let _sink = sink(&two.namespace, PORT);
    // The bridge learns who is where; until then it floods.
    send_datagrams(&two.namespace, SocketAddrV4::new(BridgeLab::GATEWAY, PORT), 1, 10);
    let mut daemon = Daemon::on_bridge(&lab, &["--ring-mib", "1"]);
    let to = SocketAddrV4::new(two.address, PORT);
    send_datagrams(&one.namespace, to, 100, 100);
    daemon.catch_up();
    let before = daemon.status();
    assert_eq!(before["completeness"]["state"], "complete");
    assert_eq!(before["ledger"]["delivered"]["frames"], 100);
    assert_eq!(before["ledger"]["metered"]["frames"], 100);

    daemon.signal(Signal::STOP);
    let stopped = Instant::now();
    send_datagrams(&one.namespace, to, FIRST, 100);
    let is_full = now();
    send_datagrams(&one.namespace, to, REST, 100);
    let is_last = now();
    thread::sleep(Duration::from_secs(2).saturating_sub(stopped.elapsed()));
    daemon.signal(Signal::CONT);
    println!("stopped for {:.1} s", stopped.elapsed().as_secs_f64());
    daemon.catch_up();
    send_datagrams(&one.namespace, to, 1, 100);
    daemon.catch_up();

    let status = daemon.status();
    assert_eq!(status["vitals"]["residual_frames"], 0);
    assert_eq!(status["completeness"]["state"], "incomplete");
    let blind: Vec<Blindness> =
        serde_json::from_value(status["completeness"]["blind"].clone()).expect("intervals");
    // The graph says the same of itself.
    assert_eq!(daemon.json("/api/v1/graph")["completeness"], status["completeness"]);
    let dropped = status["kernel_dropped"].as_u64().expect("a number");
    assert_eq!(blind.iter().map(|interval| interval.frames.unwrap_or(0)).sum::<u64>(), dropped);
    // Once the ring was full, everything was lost until the last of it.
    let covering = |at: Timestamp| blind.iter().any(|interval| interval.from <= at && at <= interval.until);
    assert!(covering(is_full) && covering(is_last), "{is_full} to {is_last}: {blind:?}");
    let ended_at = blind.last().expect("an interval").until;
    assert!(ended_at <= now(), "{blind:?}");

    let ended = daemon.end();
    println!("{} (after {:.3} s)", ended.is_settled(), ended.took.as_secs_f64());
    let [delivered, dropped, metered] = ended.accounts();
    let sent = 100 + u64::from(FIRST + REST) + 1;
    assert_eq!(delivered + dropped, sent, "offered: each datagram of the sender's");
    assert!(u64::from(FIRST + REST) >= 200_000 && dropped * 10 >= sent, "too little was lost: {dropped}");
    assert_eq!(delivered, metered);
    assert!(ended.is_settled().ends_with("; incomplete"), "{}", ended.is_settled());
}

#[test]
#[ignore = "needs root"]
fn an_interface_deleted_under_load_leaves_no_residual() {
    let mut lab = BridgeLab::up(3);
    let [one, two, three] = [0, 1, 2].map(|at| lab.members()[at].clone());
    let _sink = sink(&two.namespace, PORT);
    let daemon = Daemon::on_bridge(&lab, &[]);
    let is_over = AtomicBool::new(false);
    let to = SocketAddrV4::new(two.address, PORT);
    let mut under_load = |sender: &Member, removed: usize| {
        is_over.store(false, Ordering::Relaxed);
        thread::scope(|scope| {
            let load = scope.spawn(|| flood(&sender.namespace, to, &is_over, 60));
            let before = metered(&daemon);
            let deadline = Instant::now() + PATIENCE;
            while metered(&daemon) < before + UNDER_WAY && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(10));
            }
            lab.remove_member(removed);
            thread::sleep(Duration::from_millis(300));
            is_over.store(true, Ordering::Relaxed);
            load.join().expect("a sender")
        })
    };
    // The sender's interface goes first; then, under another's load, the receiver's.
    let sent = under_load(&one, 0) + under_load(&three, 0);
    assert!(sent > 2 * UNDER_WAY, "{sent}");
    let ended = daemon.end();
    println!("{sent} sent; {} (after {:.3} s)", ended.is_settled(), ended.took.as_secs_f64());
    let [_, dropped, metered] = ended.accounts();
    assert!(metered >= 2 * UNDER_WAY, "{metered}");
    assert!(metered + dropped <= sent, "{metered} counted and {dropped} dropped of {sent}");
}

#[test]
#[ignore = "needs root"]
fn sigterm_under_load_leaves_no_residual() {
    let lab = BridgeLab::up(2);
    let [one, two] = [0, 1].map(|at| lab.members()[at].clone());
    let _sink = sink(&two.namespace, PORT);
    let daemon = Daemon::on_bridge(&lab, &[]);
    let is_over = AtomicBool::new(false);
    let to = SocketAddrV4::new(two.address, PORT);
    let (ended, sent) = thread::scope(|scope| {
        let load = scope.spawn(|| flood(&one.namespace, to, &is_over, 60));
        let deadline = Instant::now() + PATIENCE;
        while metered(&daemon) < UNDER_WAY && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        let ended = daemon.end();
        is_over.store(true, Ordering::Relaxed);
        (ended, load.join().expect("a sender"))
    });
    println!("{sent} sent; {} (after {:.3} s)", ended.is_settled(), ended.took.as_secs_f64());
    let [_, _, metered] = ended.accounts();
    assert!((UNDER_WAY..sent).contains(&metered), "it was under load to its end: {metered} of {sent}");
}

fn metered(daemon: &Daemon) -> u64 {
    daemon.status()["ledger"]["metered"]["frames"].as_u64().expect("a number")
}
