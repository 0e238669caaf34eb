//! What a packet of a known flow costs, and what a flow takes of memory, from a thousand flows to ten million.
//!
//! In one process, smallest table first: packets are made before they are measured, 1,024 at a time, and
//! time is this thread's own. At the end a flood: every packet a flow, past the room of a table of the default size, in
//! the daemon's batches, handed over as the daemon does; on fresh memory and on memory that was written to before.

use std::io::{self, Write};
use std::time::Duration;

use portolan_flowtable::directory::BareDirectory;
use portolan_flowtable::{
    Delta, DeltaSink, Direction, FlowTable, Fragment, InterfaceId, InterfaceTable, Limits, MacAddr, Network,
    Observation, Packet, Port, Protocol, TcpFacts, Timestamp,
};
use portolan_sys::usage::thread_time;

/// Packets between two looks at the clock, which is a system call.
const BATCH: usize = 1_024;
const USAGE: &str = "usage: growth [MOST_FLOWS [PACKETS]]      unsaid: 1000000 flows, 4000000 packets a row";

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |unsaid: u32| {
        arguments
            .next()
            .map_or(Ok(unsaid), |text| text.parse())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, USAGE))
    };
    let (most, packets) = (number(1_000_000)?, number(4_000_000)?);
    let mut out = io::stdout();
    writeln!(
        out,
        "{:>9} {:>9} {:>12} {:>12} {:>13} {:>14} {:>10}",
        "flows", "IPv6", "open ns", "known ns", "batch max us", "bytes a flow", "load"
    )?;
    let sizes = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];
    for flows in sizes.into_iter().filter(|flows| *flows <= most) {
        for is_v6 in [false, true] {
            let row = measure(flows, is_v6, packets);
            writeln!(
                out,
                "{flows:>9} {:>9} {:>12.1} {:>12.1} {:>13.1} {:>14.1} {:>10.2}",
                if is_v6 { "all" } else { "none" },
                row.open,
                row.known,
                row.longest.as_nanos() as f64 / 1_000.0,
                row.bytes,
                row.load,
            )?;
        }
    }
    flood(&mut out)
}

/// Packets of a batch of the daemon.
const FLOOD_BATCH: usize = 32;
const FLOOD_FLOWS: u32 = 5_000_000;

/// Counts what it is handed, and keeps nothing.
struct Counted {
    handed: u64,
    frames: u64,
}

impl DeltaSink for Counted {
    fn push(&mut self, delta: Delta) -> Result<(), Box<Delta>> {
        self.handed += 1;
        self.frames += delta.grown[0].frames + delta.grown[1].frames;
        Ok(())
    }

    fn room(&self) -> usize {
        usize::MAX
    }
}

fn flood(out: &mut impl Write) -> io::Result<()> {
    let mut table = FlowTable::new(Limits::default(), 1);
    let interfaces = InterfaceTable::plain();
    let mut sink = Counted { handed: 0, frames: 0 };
    let mut batch = Vec::with_capacity(FLOOD_BATCH);
    for (said, first) in [("fresh", 0), ("written to", FLOOD_FLOWS)] {
        let (mut taken, mut times) = (Duration::ZERO, Vec::new());
        for flow in first..first + FLOOD_FLOWS {
            batch.push(syn(flow));
            if batch.len() < FLOOD_BATCH {
                continue;
            }
            let began = thread_time();
            table.observe(&batch, &interfaces, &BareDirectory);
            if table.wants_drain() {
                table.drain_endings(&mut sink);
            }
            let time = thread_time() - began;
            taken += time;
            times.push(time);
            batch.clear();
        }
        times.sort_unstable();
        let at = |share: usize| times.get((times.len() - 1) * share / 10_000).map_or(0, Duration::as_micros);
        writeln!(
            out,
            "flood, memory {said}: {:.1} ns a flow; batches of {FLOOD_BATCH}: p50 {} us, p99 {} us, p99.99 {} us, most {} us",
            taken.as_nanos() as f64 / f64::from(FLOOD_FLOWS),
            at(5_000),
            at(9_900),
            at(9_999),
            at(10_000),
        )?;
    }
    table.drain(&mut sink);
    let ledger = table.ledger();
    writeln!(
        out,
        "  {} flows opened, {} evicted, {} turned away, {} live; {} frames in, {} handed over, {} turned away",
        ledger.flows_opened,
        ledger.flows_evicted,
        ledger.overflow.frames,
        table.live(),
        2 * FLOOD_FLOWS,
        sink.frames,
        ledger.overflow.frames,
    )?;
    Ok(())
}

/// The first segment of a connection that nobody answers.
fn syn(flow: u32) -> Observation {
    let [_, b, c, d] = flow.to_be_bytes();
    let seen = datagram(0, false, false);
    let Network::Ip(packet) = seen.network else { return seen };
    let tcp = TcpFacts {
        flags: TcpFacts::SYN,
        sequence: flow,
        acknowledgment: 0,
        window: 64_240,
        payload_bytes: 0,
    };
    let network = Network::Ip(Packet {
        source: [10, b, c, d].into(),
        destination: [10, 255, 0, 1].into(),
        protocol: Protocol::TCP,
        ports: Some((Port(40_000), Port(80))),
        tcp: Some(tcp),
        ..packet
    });
    Observation { network, ..seen }
}

struct Row {
    open: f64,
    known: f64,
    /// Most time one batch took.
    longest: Duration,
    bytes: f64,
    load: f64,
}

fn measure(flows: u32, is_v6: bool, packets: u32) -> Row {
    let before = resident_bytes();
    let mut table = FlowTable::new(Limits { flows_max: flows as usize, ..Limits::default() }, 1);
    let mut meter =
        Metered { interfaces: InterfaceTable::plain(), taken: Duration::ZERO, longest: Duration::ZERO };
    let mut batch = Vec::with_capacity(BATCH);
    // A question and its answer make a flow a known one.
    for half in [false, true] {
        for flow in 0..flows {
            batch.push(datagram(flow, half, is_v6));
            meter.when_full(&mut table, &mut batch);
        }
    }
    let open = meter.taken.as_nanos() as f64 / f64::from(2 * flows);
    let live = table.live();
    let bytes = (resident_bytes() - before) as f64 / live as f64;
    let load = live as f64 / table.capacity() as f64;
    (meter.taken, meter.longest) = (Duration::ZERO, Duration::ZERO);
    let mut random = 1_u64;
    for _ in 0..packets {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let flow = u32::try_from(((random >> 33) * u64::from(flows)) >> 31).unwrap_or(0);
        batch.push(datagram(flow, random & 1 << 32 == 0, is_v6));
        meter.when_full(&mut table, &mut batch);
    }
    assert_eq!(table.live(), live);
    let known = meter.taken.as_nanos() as f64 / f64::from(packets);
    Row { open, known, longest: meter.longest, bytes, load }
}

struct Metered {
    interfaces: InterfaceTable,
    taken: Duration,
    longest: Duration,
}

impl Metered {
    fn when_full(&mut self, table: &mut FlowTable, batch: &mut Vec<Observation>) {
        if batch.len() < BATCH {
            return;
        }
        let began = thread_time();
        table.observe(batch, &self.interfaces, &BareDirectory);
        let taken = thread_time() - began;
        self.taken += taken;
        self.longest = self.longest.max(taken);
        batch.clear();
    }
}

fn datagram(flow: u32, is_answer: bool, is_v6: bool) -> Observation {
    let [a, b, c, d] = flow.to_be_bytes();
    let (client, server) = if is_v6 {
        ([0xfd, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, a, b, c, d].into(), [0xfd; 16].into())
    } else {
        ([10, b, c, d].into(), [10, 255, 255, 255 - a].into())
    };
    let (asker, service) = ((client, Port(40_000)), (server, Port(53)));
    let (from, to) = if is_answer { (service, asker) } else { (asker, service) };
    Observation {
        at: Timestamp(Timestamp::SECOND),
        is_timed: true,
        frame: 1,
        interface: InterfaceId(1),
        direction: Direction::Unstated,
        source_mac: MacAddr::default(),
        wire_bytes: 100,
        fingerprint: 0,
        network: Network::Ip(Packet {
            source: from.0,
            destination: to.0,
            protocol: Protocol::UDP,
            ports: Some((from.1, to.1)),
            tcp: None,
            icmp: None,
            fragment: Fragment::Whole,
            vlan: None,
            is_tunnel: false,
        }),
    }
}

/// Memory of this process that is in use, by the kernel's account (proc(5), `statm`).
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}
