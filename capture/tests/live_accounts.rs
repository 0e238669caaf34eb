//! The live tap against real interfaces: a pair of network namespaces made here, joined by a veth pair.
//!
//! They need root and `ip`, and are therefore ignored by a bare `cargo test`:
//! `cargo test -p portolan-capture --test live_accounts -- --include-ignored`. Each test makes its namespaces, starts
//! itself once more inside one of them for each backend, and removes them whatever happens. Frames cross the veth pair
//! only.

#![expect(clippy::unwrap_used, reason = "a test may end by panicking")]

use std::cell::Cell;
use std::io::Write as _;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portolan_capture::{
    Backend, Frame, LiveOptions, LiveTap, ParseOptions, Polled, Tap, TapError, TapStatistics, Woken, dns,
    inventory, parse,
};
use portolan_flowtable::{Direction, InterfaceId, Network, Packet};

const INSIDE: &str = "PORTOLAN_TEST_INSIDE";
const NEAR: &str = "10.77.0.1";
const FAR: &str = "10.77.0.2";
const PORT: u16 = 9_000;

#[test]
#[ignore = "needs root"]
fn every_frame_is_delivered_once_with_interface_and_direction() {
    let Some(lab) = enter("every_frame_is_delivered_once_with_interface_and_direction") else { return };
    let mut tap = LiveTap::open(&lab.options(4 << 20)).unwrap();
    let near = index("near0");

    let count = 2_000;
    let (mut outgoing, mut incoming, mut wire_bytes) = (0, 0, 0);
    lab.send_to_far(count, 1_000);
    let mut each = |frame: &Frame<'_>| {
        let seen = parse(frame, &ParseOptions::default()).unwrap();
        let Network::Ip(packet) = seen.network else { return };
        let Some((source, destination)) = packet.ports else { return };
        if destination.0 == PORT {
            // The cooked header, and what the snaplen keeps from the network header on.
            assert_eq!(frame.bytes.len(), 20 + 256);
            assert_eq!((seen.interface, seen.direction), (near, Direction::Outgoing));
            wire_bytes += u64::from(seen.wire_bytes);
            outgoing += 1;
        } else if source.0 == PORT {
            assert_eq!((seen.interface, seen.direction), (near, Direction::Incoming));
            incoming += 1;
        }
    };
    let statistics = tap.settle(200, &mut each).unwrap();

    assert_eq!(outgoing, count);
    assert_eq!(incoming, 0);
    // Ethernet, IPv4 and UDP headers, and the payload.
    assert_eq!(wire_bytes, count * (14 + 20 + 8 + 1_000));
    assert_eq!((statistics.dropped, statistics.unsettled()), (0, 0), "{statistics:?}");
}

#[test]
#[ignore = "needs root"]
fn a_ring_that_overflows_is_settled_without_a_residual() {
    let Some(lab) = enter("a_ring_that_overflows_is_settled_without_a_residual") else { return };
    let mut tap = LiveTap::open(&lab.options(1 << 20)).unwrap();

    // Nobody polls while these are sent: the ring holds a few thousand.
    let count = 40_000;
    lab.send_to_far(count, 200);
    let mut delivered = 0;
    let statistics = tap.settle(200, &mut |_| delivered += 1).unwrap();

    assert!(statistics.dropped > count / 10, "{statistics:?}");
    assert!(statistics.received >= count, "{statistics:?}");
    assert_eq!(delivered, statistics.delivered);
    assert_eq!(statistics.unsettled(), 0, "{statistics:?}");
}

#[test]
#[ignore = "needs root"]
fn a_tap_opened_under_load_is_settled_without_a_residual() {
    let Some(lab) = enter("a_tap_opened_under_load_is_settled_without_a_residual") else { return };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Bounded, so that a failure below ends the test.
            for _ in 0..20_000 {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                lab.send_to_far(100, 200);
            }
        });
        for _ in 0..10 {
            let mut tap = LiveTap::open(&lab.options(4 << 20)).unwrap();
            let mut delivered = 0;
            while delivered < 2_000 {
                tap.poll(&mut |_| delivered += 1).unwrap();
            }
            let statistics = tap.settle(200, &mut |_| delivered += 1).unwrap();
            assert_eq!(statistics.unsettled(), 0, "{statistics:?}");
            assert_eq!(statistics.delivered, delivered);
            if lab.backend == Backend::Ring {
                // Bound with its filter in place: there is no opening gap.
                assert_eq!(statistics.strays, 0);
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
#[ignore = "needs root"]
fn the_tap_of_one_interface_hears_no_other_and_says_when_it_is_gone() {
    let Some(lab) = enter("the_tap_of_one_interface_hears_no_other_and_says_when_it_is_gone") else { return };
    run("ip", &["link", "add", "spare0", "type", "veth", "peer", "name", "spare1"]);
    run("ip", &["link", "set", "spare0", "up"]);
    run("ip", &["link", "set", "spare1", "up"]);
    let options = LiveOptions { interface: Some("spare0".into()), ..lab.options(1 << 20) };
    let mut tap = LiveTap::open(&options).unwrap();
    let spare = index("spare0");

    lab.send_to_far(500, 100);
    let others = Cell::new(0);
    let mut each = |frame: &Frame<'_>| others.set(others.get() + u64::from(frame.interface != spare));
    while tap.poll(&mut each).unwrap() != Polled::Idle {}
    assert_eq!(others.get(), 0);

    let (wake, _caller) = UnixStream::pair().unwrap();
    run("ip", &["link", "del", "spare0"]);
    let error = loop {
        match tap.wait(Duration::from_millis(20), wake.as_fd()) {
            Ok(Woken::Frames) => while tap.poll(&mut each).unwrap() != Polled::Idle {},
            Ok(Woken::Called | Woken::Timeout) => panic!("the interface is gone and the tap did not say so"),
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, TapError::InterfaceGone { name } if name == "spare0"), "{error}");
    assert_eq!(others.get(), 0);
}

#[test]
#[ignore = "needs root"]
fn port_53_is_kept_at_length_and_everything_else_to_the_snaplen() {
    let Some(lab) = enter("port_53_is_kept_at_length_and_everything_else_to_the_snaplen") else { return };
    let options = LiveOptions { interface: Some("near0".into()), ..lab.options(1 << 20) };
    let mut tap = LiveTap::open(&options).unwrap();
    let socket = UdpSocket::bind((NEAR, 0)).unwrap();
    for port in [PORT, 53] {
        let _ = socket.send_to(&[0x55; 1_000], (FAR, port));
    }
    let mut kept = Vec::new();
    tap.settle(200, &mut |frame| {
        let seen = parse(frame, &ParseOptions::default()).unwrap();
        if let Network::Ip(Packet { ports: Some((_, to)), .. }) = seen.network {
            kept.push((to.0, frame.bytes.len(), dns::spoken(frame, &seen).map(|spoken| spoken.bytes.len())));
        }
    })
    .unwrap();
    let cooked = portolan_capture::live::COOKED_HEADER_BYTES as usize;
    kept.retain(|(to, ..)| [PORT, 53].contains(to));
    assert_eq!(kept, [(PORT, cooked + 256, None), (53, cooked + 28 + 1_000, Some(1_000))]);
}

#[test]
#[ignore = "needs root"]
fn interfaces_left_out_are_not_heard_and_a_filter_is_replaced_without_loss() {
    let Some(lab) = enter("interfaces_left_out_are_not_heard_and_a_filter_is_replaced_without_loss") else {
        return;
    };
    let near = index("near0");
    let mut plan = portolan_capture::FilterPlan::everything(256);
    let mut tap = LiveTap::open(&lab.options(8 << 20)).unwrap();

    for _ in 0..50 {
        lab.send_to_far(40, 100);
        plan.dropped.push(InterfaceId(900));
        tap.attach_filter(&plan.program()).unwrap();
    }
    plan.dropped.push(near);
    tap.attach_filter(&plan.program()).unwrap();
    lab.send_to_far(1_000, 100);

    let mut heard = 0;
    let mut each = |frame: &Frame<'_>| {
        let seen = parse(frame, &ParseOptions::default()).unwrap();
        if let Network::Ip(packet) = seen.network {
            heard += u64::from(packet.ports.is_some_and(|(_, port)| port.0 == PORT));
        }
    };
    let statistics = tap.settle(200, &mut each).unwrap();
    assert_eq!(heard, 2_000);
    assert_eq!(statistics.unsettled(), 0, "{statistics:?}");
}

#[test]
#[ignore = "needs root"]
fn what_a_container_receives_is_left_to_the_kernel_unless_it_has_no_room_for_the_filter() {
    let Some(lab) =
        enter("what_a_container_receives_is_left_to_the_kernel_unless_it_has_no_room_for_the_filter")
    else {
        return;
    };
    let mut receivers: Vec<InterfaceId> = (100_000..100_255).map(InterfaceId).collect();
    receivers.push(index("near0"));
    for (room, heard_of_200) in [("131072", 0), ("5000", 200)] {
        // Of this namespace alone (Linux 6.8); where it cannot be set, there is no room to be short of.
        if std::fs::write("/proc/sys/net/core/optmem_max", room).is_err() {
            continue;
        }
        let mut tap = LiveTap::open(&lab.options(8 << 20)).unwrap();
        tap.leave_out(&[], &receivers).unwrap();
        lab.send_to_far(200, 100);
        let mut heard = 0;
        let mut each = |frame: &Frame<'_>| {
            let seen = parse(frame, &ParseOptions::default()).unwrap();
            if let Network::Ip(packet) = seen.network {
                heard += u64::from(packet.ports.is_some_and(|(_, port)| port.0 == PORT));
            }
        };
        let statistics = tap.settle(200, &mut each).unwrap();
        assert_eq!((heard, statistics.unsettled()), (heard_of_200, 0), "{room}: {statistics:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn the_loopback_can_be_left_out_and_a_call_ends_a_wait() {
    let Some(lab) = enter("the_loopback_can_be_left_out_and_a_call_ends_a_wait") else { return };
    let options = LiveOptions { dropped: vec![index("lo")], ..lab.options(1 << 20) };
    let mut tap = LiveTap::open(&options).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..100 {
        socket.send_to(b"loop", "127.0.0.1:9").unwrap();
    }
    let loopback = index("lo");
    let mut heard = 0;
    while tap.poll(&mut |frame| heard += u64::from(frame.interface == loopback)).unwrap() != Polled::Idle {}

    let (wake, mut caller) = UnixStream::pair().unwrap();
    caller.write_all(b"!").unwrap();
    assert_eq!(tap.wait(Duration::from_secs(60), wake.as_fd()).unwrap(), Woken::Called);

    let TapStatistics { delivered, .. } = tap
        .settle(200, &mut |frame| {
            heard += u64::from(frame.interface == loopback);
        })
        .unwrap();
    // Whatever was heard before the filter was in place is at most what libpcap let in; nothing of the hundred is.
    assert_eq!(heard, 0, "{delivered} delivered");
}

#[test]
#[ignore = "needs root"]
fn the_loopback_alone_is_heard_once() {
    let Some(lab) = enter("the_loopback_alone_is_heard_once") else { return };
    let options = LiveOptions { interface: Some("lo".into()), ..lab.options(1 << 20) };
    let mut tap = LiveTap::open(&options).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..100 {
        socket.send_to(b"loop", target.local_addr().unwrap()).unwrap();
    }
    let mut heard = 0;
    let statistics = tap
        .settle(200, &mut |frame| {
            let seen = parse(frame, &ParseOptions::default()).unwrap();
            assert_eq!(seen.direction, Direction::Incoming);
            heard += 1;
        })
        .unwrap();
    assert_eq!(heard, 100);
    assert_eq!((statistics.strays, statistics.unsettled()), (0, 0), "{statistics:?}");
}

#[test]
#[ignore = "needs root"]
fn a_vlan_tag_the_kernel_took_off_is_read_from_the_ring_and_lost_by_the_library() {
    let Some(lab) = enter("a_vlan_tag_the_kernel_took_off_is_read_from_the_ring_and_lost_by_the_library")
    else {
        return;
    };
    run("ip", &["link", "add", "spare0", "type", "veth", "peer", "name", "spare1"]);
    run("ip", &["link", "set", "spare0", "up"]);
    run("ip", &["link", "set", "spare1", "up"]);
    let options = LiveOptions { interface: Some("spare0".into()), ..lab.options(1 << 20) };
    let mut tap = LiveTap::open(&options).unwrap();

    #[rustfmt::skip]
    let frame = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x81, 0, 0x60, 0x64, 0x08, 0,
        0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 9, 1, 10, 9, 9, 2, 0, 53, 0, 54, 0, 10, 0, 0, 7, 7,
    ];
    let from = pnet::datalink::interfaces().into_iter().find(|each| each.name == "spare1").unwrap();
    let pnet::datalink::Channel::Ethernet(mut sender, _) =
        pnet::datalink::channel(&from, pnet::datalink::Config::default()).unwrap()
    else {
        panic!("no channel");
    };
    sender.send_to(&frame, None).unwrap().unwrap();

    let mut tags = Vec::new();
    tap.settle(200, &mut |frame| {
        let seen = parse(frame, &ParseOptions::default()).unwrap();
        let Network::Ip(packet) = seen.network else { return };
        if packet.ports.is_some_and(|(source, _)| source.0 == 53) {
            tags.push((packet.vlan, seen.wire_bytes));
        }
    })
    .unwrap();
    let expected = match lab.backend {
        Backend::Ring => (Some(100), 48),
        Backend::Library => (None, 44),
    };
    assert_eq!(tags, [expected]);
}

#[test]
#[ignore = "needs root"]
fn without_the_capability_the_remedy_is_named() {
    let Some(lab) = enter("without_the_capability_the_remedy_is_named") else { return };
    rustix::thread::set_capabilities(None, {
        let mut sets = rustix::thread::capabilities(None).unwrap();
        sets.effective.remove(rustix::thread::CapabilitySet::NET_RAW);
        sets
    })
    .unwrap();
    let error = LiveTap::open(&lab.options(1 << 20)).err().unwrap();
    assert!(matches!(error, TapError::PermissionDenied), "{error}");
}

/// Inside: the near namespace, in which the rest of the test runs.
struct Lab {
    backend: Backend,
}

/// Outside, makes the namespaces and runs the named test inside the near one, for each backend in turn, and returns
/// nothing. Inside, returns the lab.
fn enter(test: &str) -> Option<Lab> {
    if let Some(inside) = std::env::var_os(INSIDE) {
        let backend = if inside == "ring" { Backend::Ring } else { Backend::Library };
        return Some(Lab { backend });
    }
    for backend in ["ring", "library"] {
        let names = Namespaces::new();
        let output = Command::new("ip")
            .args(["netns", "exec", &names.near])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--include-ignored"])
            .env(INSIDE, backend)
            .output()
            .unwrap();
        drop(names);
        assert!(output.status.success(), "inside the namespace, {backend}:\n{}", said(&output));
    }
    None
}

/// Two namespaces and the veth pair that joins them; removed when dropped.
struct Namespaces {
    near: String,
    far: String,
}

impl Namespaces {
    fn new() -> Self {
        let tag = format!("{}-{}", std::process::id(), thread_number());
        let names = Self { near: format!("pt-near-{tag}"), far: format!("pt-far-{tag}") };
        for name in [&names.near, &names.far] {
            run("ip", &["netns", "add", name]);
            run("ip", &["-n", name, "link", "set", "lo", "up"]);
        }
        let (near, far) = (names.near.as_str(), names.far.as_str());
        run(
            "ip",
            &["-n", near, "link", "add", "near0", "type", "veth", "peer", "name", "far0", "netns", far],
        );
        for (name, link, address) in [(near, "near0", NEAR), (far, "far0", FAR)] {
            run("ip", &["-n", name, "addr", "add", &format!("{address}/24"), "dev", link]);
            run("ip", &["-n", name, "link", "set", link, "up"]);
        }
        // The sender needs no answer: nobody listens there, and a neighbour entry saves the ARP exchange.
        let shown = Command::new("ip").args(["-n", far, "-br", "link", "show", "far0"]).output().unwrap();
        let text = String::from_utf8(shown.stdout).unwrap();
        let mac = text.split_whitespace().find(|word| word.matches(':').count() == 5).unwrap().to_owned();
        run("ip", &["-n", near, "neigh", "replace", FAR, "lladdr", &mac, "dev", "near0", "nud", "permanent"]);
        names
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in [&self.near, &self.far] {
            // A namespace that was never made cannot be removed, and the test has failed already.
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

impl Lab {
    fn options(&self, ring_bytes: u32) -> LiveOptions {
        LiveOptions { backend: self.backend, ring_bytes, ..LiveOptions::default() }
    }

    /// Sends datagrams across the veth pair.
    #[expect(clippy::unused_self, reason = "only whoever is inside may send")]
    fn send_to_far(&self, count: u64, payload_bytes: usize) {
        let socket = UdpSocket::bind((NEAR, 0)).unwrap();
        let payload = vec![0x55; payload_bytes];
        for _ in 0..count {
            // The far end's ICMP errors come back as refused connections to the next call: not of interest.
            let _ = socket.send_to(&payload, (FAR, PORT));
        }
    }
}

fn index(name: &str) -> InterfaceId {
    inventory().iter().find(|each| each.name == name).unwrap().id
}

fn thread_number() -> String {
    format!("{:?}", std::thread::current().id()).chars().filter(char::is_ascii_digit).collect()
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", said(&output));
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
