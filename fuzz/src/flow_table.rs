//! The flow table under any sequence of frames, ticks and drains.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portolan_flowtable::observation::Quoted;
use portolan_flowtable::{
    AttachmentId, Completeness, Conversations, Delta, DeltaSink, Direction, Directory, FlowTable, Fragment,
    Holder, IcmpFacts, InterfaceEntry, InterfaceId, InterfaceTable, Limits, MacAddr, Names, Network, NonIp,
    NotCounted, Observation, Occasion, Packet, Port, Protocol, Rejected, Role, ScopeId, ServicePort, Tally,
    TcpFacts, Timestamp,
};

use super::input::Input;

const BRIDGE_MAC: MacAddr = MacAddr([2, 0x42, 0, 0, 0, 1]);
const START: Timestamp = Timestamp(1_700_000_000_000_000_000);
/// Steps taken of one input.
const STEPS_MAX: u64 = 2_000;

/// Every frame and byte is in one account, whatever comes in whatever order, and however little is handed over.
pub fn flow_table(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let limits = Limits { flows_max: 64, ..Limits::default() };
    let mut table = FlowTable::new(limits, u64::from(input.byte()));
    let mut roles = interfaces();
    let mut book = Book { epoch: 0 };
    let mut conversations = Conversations::new();
    let mut offered = Tally::default();
    let mut now = START;
    let mut step = 0;
    while !input.is_over() && step < STEPS_MAX {
        step += 1;
        match input.below(32) {
            0 => table.tick(now, None),
            1 => table.tick(now, Some(now)),
            2 => book.epoch = book.epoch.wrapping_add(1),
            3 => {
                let entry = container(4);
                roles.set(InterfaceId(6), entry);
                table.release(now, &roles, &book);
            }
            4 => table.give_up_held(),
            5 => now = now.plus(i64::from(input.half()) * Timestamp::SECOND / 8),
            6 => {
                let wire_bytes = input.word();
                offered.count(wire_bytes);
                table.reject(Rejected::Malformed, now, wire_bytes);
            }
            7 => {
                let wire_bytes = input.word();
                offered.count(wire_bytes);
                table.leave_out(NotCounted::Deselected, wire_bytes);
            }
            8..=11 => {
                let mut sink = Narrow { taken: Vec::new(), room: usize::from(input.byte()) };
                table.drain(&mut sink);
                sink.taken.iter().for_each(|delta| conversations.apply(delta));
            }
            12..=31 => {
                let mut seen = observation(&mut input, step);
                now = now.plus(i64::from(input.byte()) * Timestamp::MILLISECOND - 8 * Timestamp::MILLISECOND);
                seen.at = now;
                offered.count(seen.wire_bytes);
                table.observe(&[seen], &roles, &book);
            }
            32..=255 => unreachable!("below 32"),
        }
        assert_eq!(table.ledger().residual(conversations.sum()), (0, 0), "step {step}");
    }
    table.give_up_held();
    let mut rest: Vec<Delta> = Vec::new();
    table.drain(&mut rest);
    rest.iter().for_each(|delta| conversations.apply(delta));
    let ledger = *table.ledger();
    assert_eq!(ledger.delivered, offered);
    assert_eq!((ledger.held, ledger.undrained), (Tally::default(), Tally::default()));
    assert_eq!(ledger.metered, conversations.sum());
    assert_eq!(ledger.flows_opened - ledger.flows_ended - ledger.flows_evicted, table.live() as u64);
    let occasion = Occasion {
        at: now,
        ledger,
        kernel_dropped: Some(0),
        completeness: Completeness::Complete,
        withhold: 0,
    };
    let snapshot = conversations.snapshot(occasion, &Names::default());
    let published =
        snapshot.conversations.iter().fold(Tally::default(), |sum, it| sum + it.sent + it.received);
    assert_eq!(published + snapshot.withheld, ledger.metered);
}

/// Returns an observation between few addresses and ports, so that they meet.
pub fn observation(input: &mut Input<'_>, frame: u64) -> Observation {
    Observation {
        at: START.plus(i64::try_from(frame).unwrap_or_default() * Timestamp::MILLISECOND),
        is_timed: true,
        frame,
        interface: InterfaceId(u32::from(input.below(6)) + 1),
        direction: [Direction::Incoming, Direction::Outgoing, Direction::Unstated]
            [usize::from(input.below(3))],
        source_mac: if input.is_odd() { BRIDGE_MAC } else { MacAddr([2; 6]) },
        wire_bytes: u32::from(input.half()),
        fingerprint: 0,
        network: network(input),
    }
}

fn network(input: &mut Input<'_>) -> Network {
    let kind = input.byte();
    let id = u32::from(kind >> 6);
    let protocol = match kind & 7 {
        0 => return Network::NonIp(if id == 0 { NonIp::Arp(None) } else { NonIp::Other }),
        1 => Protocol::UDP,
        2 => Protocol::ICMP,
        3 => Protocol(input.byte()),
        4..=255 => Protocol::TCP,
    };
    let fragment = match (kind >> 3) & 7 {
        0 => Fragment::First { id },
        1 => Fragment::Later { id },
        2..=255 => Fragment::Whole,
    };
    let is_later = matches!(fragment, Fragment::Later { .. });
    let (source, destination) = (address(input), address(input));
    let ports = (!is_later && protocol.has_ports()).then(|| (port(input), port(input)));
    let tcp = (!is_later && protocol == Protocol::TCP).then(|| TcpFacts {
        flags: input.byte(),
        sequence: number(input),
        acknowledgment: number(input),
        window: input.half(),
        payload_bytes: number(input),
    });
    let icmp = (!is_later && protocol == Protocol::ICMP).then(|| IcmpFacts {
        kind: input.below(16),
        code: input.below(4),
        quoted: input.is_odd().then(|| Quoted {
            source: address(input),
            destination: address(input),
            protocol: Protocol::TCP,
            ports: input.is_odd().then(|| (port(input), port(input))),
        }),
    });
    Network::Ip(Packet {
        source,
        destination,
        protocol,
        ports,
        tcp,
        icmp,
        fragment,
        vlan: None,
        is_tunnel: id == 3,
    })
}

fn address(input: &mut Input<'_>) -> IpAddr {
    match input.below(12) {
        last @ 0..=5 => Ipv4Addr::new(10, 0, 0, last).into(),
        last @ 6..=9 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last) - 5).into(),
        10 => Ipv4Addr::BROADCAST.into(),
        11..=255 => Ipv4Addr::UNSPECIFIED.into(),
    }
}

fn port(input: &mut Input<'_>) -> Port {
    Port([0, 80, 81, 443, 40_000, 65_535][usize::from(input.below(6))])
}

/// A number near 0, near the top, or any.
fn number(input: &mut Input<'_>) -> u32 {
    match input.byte() {
        small @ 0..=99 => u32::from(small),
        large @ 100..=199 => u32::MAX - u32::from(large),
        200..=255 => input.word(),
    }
}

fn container(number: u32) -> InterfaceEntry {
    InterfaceEntry {
        role: Role::Container,
        scope: ScopeId(1),
        attachment: AttachmentId(number),
        is_fresh: number.is_multiple_of(2),
        ..InterfaceEntry::default()
    }
}

fn interfaces() -> InterfaceTable {
    let mut table = InterfaceTable::new();
    for number in 1..=3 {
        table.set(InterfaceId(number), container(number));
    }
    let bridge = InterfaceEntry {
        role: Role::Bridge,
        scope: ScopeId(1),
        mac: BRIDGE_MAC,
        ..InterfaceEntry::default()
    };
    table.set(InterfaceId(4), bridge);
    table.set(InterfaceId(5), InterfaceEntry { role: Role::Foreign, ..InterfaceEntry::default() });
    table
}

/// Containers 1 to 3 hold the addresses that end so, but one moves to and fro with the epoch.
struct Book {
    epoch: u16,
}

impl Directory for Book {
    fn holder(&self, _scope: ScopeId, address: IpAddr) -> Holder {
        let last = match address {
            IpAddr::V4(v4) => u32::from(v4.octets()[3]),
            IpAddr::V6(v6) => u32::from(v6.segments()[7]),
        };
        match last {
            1 if !self.epoch.is_multiple_of(2) => Holder::Attachment(AttachmentId(2)),
            1..=3 => Holder::Attachment(AttachmentId(last)),
            _ => Holder::Unclaimed,
        }
    }

    fn is_known_listener(&self, _attachment: AttachmentId, port: ServicePort) -> bool {
        port.port == Some(Port(80))
    }

    fn epoch(&self) -> u16 {
        self.epoch
    }
}

/// A sink with room for few deltas.
struct Narrow {
    taken: Vec<Delta>,
    room: usize,
}

impl DeltaSink for Narrow {
    fn push(&mut self, delta: Delta) -> Result<(), Box<Delta>> {
        if self.taken.len() >= self.room {
            return Err(Box::new(delta));
        }
        self.taken.push(delta);
        Ok(())
    }

    fn room(&self) -> usize {
        self.room - self.taken.len()
    }
}
