//! Stories in which the table was wrong once: one defect a test.

#![expect(clippy::unwrap_used, reason = "a story that cannot be told is a failed test")]

use std::cell::Cell;
use std::net::IpAddr;

use portolan_flowtable::flow::{Claim, Side};
use portolan_flowtable::observation::Quoted;
use portolan_flowtable::{
    AttachmentId, Conversations, Delta, DeltaSink, Direction, Directory, FlowTable, Fragment, Holder,
    IcmpFacts, InitiatorEvidence, InterfaceEntry, InterfaceId, InterfaceTable, Limits, MacAddr, Missed,
    Network, Observation, Outcome, Packet, Port, Protocol, Rejected, Role, ScopeId, ServicePort, Tally,
    TcpFacts, Timestamp,
};

const SYN: u8 = TcpFacts::SYN;
const ACK: u8 = TcpFacts::ACK;
const RST: u8 = TcpFacts::RST;
const BRIDGE_MAC: MacAddr = MacAddr([2, 0x42, 0, 0, 0, 1]);

/// Containers 1 to 3 hold 10.0.0.1 to .3 behind interfaces 1 to 3 of scope 1, container 5 holds 10.0.1.5 behind
/// interface 5 of scope 2; interfaces 14 and 24 are their bridges. `moved` says who holds 10.0.0.1 instead.
struct Book {
    epoch: u16,
    moved: Option<Holder>,
}

const STEADY: Book = Book { epoch: 1, moved: None };

impl Directory for Book {
    fn holder(&self, _scope: ScopeId, address: IpAddr) -> Holder {
        match (address.to_string().as_str(), self.moved) {
            ("10.0.0.1", Some(other)) => other,
            ("10.0.0.1", None) => Holder::Attachment(AttachmentId(1)),
            ("10.0.0.2", _) => Holder::Attachment(AttachmentId(2)),
            ("10.0.0.3", _) => Holder::Attachment(AttachmentId(3)),
            ("10.0.1.5", _) => Holder::Attachment(AttachmentId(5)),
            ("10.0.0.254" | "10.0.1.254", _) => Holder::Host,
            ("10.0.0.77", _) => Holder::Ambiguous,
            (other, _) if other.starts_with("10.0.0.") => Holder::Unclaimed,
            _ => Holder::External,
        }
    }

    fn is_known_listener(&self, _attachment: AttachmentId, _port: ServicePort) -> bool {
        false
    }

    fn epoch(&self) -> u16 {
        self.epoch
    }
}

fn interfaces() -> InterfaceTable {
    let mut table = InterfaceTable::new();
    for (number, scope) in [(1, 1), (2, 1), (3, 1), (5, 2)] {
        let entry = InterfaceEntry {
            role: Role::Container,
            scope: ScopeId(scope),
            attachment: AttachmentId(number),
            ..InterfaceEntry::default()
        };
        table.set(InterfaceId(number), entry);
    }
    for (number, scope) in [(14, 1), (24, 2)] {
        let entry = InterfaceEntry {
            role: Role::Bridge,
            scope: ScopeId(scope),
            mac: BRIDGE_MAC,
            ..InterfaceEntry::default()
        };
        table.set(InterfaceId(number), entry);
    }
    table
}

fn table() -> FlowTable {
    FlowTable::new(Limits { flows_max: 64, ..Limits::default() }, 1)
}

/// Milliseconds after the beginning, well after what is open before the start.
fn at(milliseconds: i64) -> Timestamp {
    Timestamp(1_000_000_000_000 + milliseconds * Timestamp::MILLISECOND)
}

/// What a frame carries.
#[derive(Clone, Copy)]
enum Carries {
    Tcp(u8),
    Udp,
    /// An ICMP message of this type and code about the TCP packet (from, to).
    About(u8, u8, &'static str, &'static str),
}
use Carries::{About, Tcp, Udp};

/// A frame: time, interface (negative: it goes out by it), from, to, contents.
type Step = (i64, i32, &'static str, &'static str, Carries);

fn end(text: &str) -> (IpAddr, Port) {
    let (address, port) = text.split_once(':').unwrap_or((text, "0"));
    (address.parse().unwrap(), Port(port.parse().unwrap()))
}

fn observation(step: &Step) -> Observation {
    let (milliseconds, interface, from, to, carries) = step;
    let ((source, source_port), (destination, destination_port)) = (end(from), end(to));
    let (protocol, tcp, icmp) = match *carries {
        Tcp(flags) => {
            let facts = TcpFacts { flags, sequence: 1, acknowledgment: 0, window: 0, payload_bytes: 0 };
            (Protocol::TCP, Some(facts), None)
        }
        Udp => (Protocol::UDP, None, None),
        About(kind, code, from, to) => {
            let ((source, from), (destination, to)) = (end(from), end(to));
            let quoted = Quoted { source, destination, protocol: Protocol::TCP, ports: Some((from, to)) };
            (Protocol::ICMP, None, Some(IcmpFacts { kind, code, quoted: Some(quoted) }))
        }
    };
    Observation {
        at: at(*milliseconds),
        is_timed: true,
        frame: u64::try_from(*milliseconds).unwrap() + 1,
        interface: InterfaceId(interface.unsigned_abs()),
        direction: if *interface < 0 { Direction::Outgoing } else { Direction::Incoming },
        source_mac: BRIDGE_MAC,
        wire_bytes: 60,
        fingerprint: 0,
        network: Network::Ip(Packet {
            source,
            destination,
            protocol,
            ports: protocol.has_ports().then_some((source_port, destination_port)),
            tcp,
            icmp,
            fragment: Fragment::Whole,
            vlan: None,
            is_tunnel: false,
        }),
    }
}

fn observe(table: &mut FlowTable, steps: &[Step], book: &Book) {
    for step in steps {
        table.observe(&[observation(step)], &interfaces(), book);
    }
}

/// Flows as their deltas have them, in order of opening.
fn flows(table: &mut FlowTable) -> Vec<Delta> {
    let mut deltas: Vec<Delta> = Vec::new();
    table.drain(&mut deltas);
    deltas.sort_by_key(|delta| delta.flow.id);
    deltas
}

/// Something that begins long before, so that nothing may be an answer to what was before the start.
const BEFORE: Step = (0, 3, "10.0.0.3:9", "192.0.2.9:9", Udp);
const CLIENT: &str = "10.0.0.1:50001";
const SERVER: &str = "10.0.0.2:80";

#[test]
fn only_an_undelivered_syn_is_blocked() {
    #[rustfmt::skip]
    let cases: &[(&str, &[Step], Outcome)] = &[
        ("a stray RST",           &[(10_000, 1, CLIENT, SERVER, Tcp(RST))],      Outcome::Unanswered),
        ("data joined midstream", &[(10_000, 1, CLIENT, SERVER, Tcp(ACK))],      Outcome::Unanswered),
        ("a SYN",                 &[(10_000, 1, CLIENT, SERVER, Tcp(SYN))],      Outcome::Blocked),
        // Routed into another network, masqueraded or not: the receiver's veth shows it all the same.
        ("a SYN routed",          &[(10_000, 1, CLIENT, "10.0.1.5:80", Tcp(SYN)), (10_000, -24, CLIENT, "10.0.1.5:80", Tcp(SYN)), (10_000, -5, CLIENT, "10.0.1.5:80", Tcp(SYN))], Outcome::Unanswered),
        ("a SYN masqueraded",     &[(10_000, 1, CLIENT, "10.0.1.5:80", Tcp(SYN)), (10_000, -24, "10.0.1.254:50001", "10.0.1.5:80", Tcp(SYN)), (10_000, -5, "10.0.1.254:50001", "10.0.1.5:80", Tcp(SYN))], Outcome::Unanswered),
        // The sender's interface had no role yet, so that the second sighting came first.
        ("a SYN held",            &[(10_000, -2, CLIENT, SERVER, Tcp(SYN)), (10_000, 1, CLIENT, SERVER, Tcp(SYN))], Outcome::Unanswered),
    ];
    for (name, steps, outcome) in cases {
        let mut table = table();
        observe(&mut table, &[BEFORE], &STEADY);
        observe(&mut table, steps, &STEADY);
        table.tick(at(16_000), None);
        let deltas = flows(&mut table);
        assert_eq!(deltas[1].flow.outcome, *outcome, "{name}");
    }
}

#[test]
fn what_comes_late_corrects_blocked() {
    let mut table = table();
    observe(&mut table, &[(0, 1, CLIENT, SERVER, Tcp(SYN))], &STEADY);
    table.tick(at(1_500), None);
    assert_eq!(flows(&mut table)[0].flow.outcome, Outcome::Blocked);
    // The second sighting waited in the ring.
    observe(&mut table, &[(1, -2, CLIENT, SERVER, Tcp(SYN))], &STEADY);
    assert_eq!(flows(&mut table)[0].flow.outcome, Outcome::Pending);
    table.tick(at(6_000), None);
    assert_eq!(flows(&mut table)[0].flow.outcome, Outcome::Unanswered);
    observe(&mut table, &[(6_001, 2, SERVER, CLIENT, Tcp(RST | ACK))], &STEADY);
    assert_eq!(flows(&mut table)[0].flow.outcome, Outcome::Refused);
}

#[test]
fn a_blocked_syn_that_is_reset_was_refused() {
    let mut table = table();
    observe(&mut table, &[(0, 1, CLIENT, SERVER, Tcp(SYN))], &STEADY);
    table.tick(at(1_500), None);
    observe(&mut table, &[(1_600, 2, SERVER, CLIENT, Tcp(RST | ACK))], &STEADY);
    assert_eq!(flows(&mut table)[0].flow.outcome, Outcome::Refused);
}

#[test]
fn a_bare_ack_to_a_syn_answers_nothing() {
    // A challenge ACK (RFC 5961) of a connection the server still remembers; the client resets and tries again.
    let mut table = table();
    observe(
        &mut table,
        &[
            (0, 1, CLIENT, SERVER, Tcp(SYN)),
            (0, -2, CLIENT, SERVER, Tcp(SYN)),
            (1, 2, SERVER, CLIENT, Tcp(ACK)),
        ],
        &STEADY,
    );
    table.tick(at(6_000), None);
    assert_eq!(flows(&mut table)[0].flow.outcome, Outcome::Unanswered);
}

#[test]
fn the_true_holder_is_no_backscatter_and_not_forever() {
    // Container 3 forges container 1 once; container 1 itself then talks on the same ports.
    let mut table = table();
    let (client, server) = ("10.0.0.1:123", "10.0.0.2:123");
    observe(&mut table, &[BEFORE, (10_000, 3, client, server, Udp)], &STEADY);
    observe(&mut table, &[(10_001, 1, client, server, Udp), (10_002, 2, server, client, Udp)], &STEADY);
    let own = &flows(&mut table)[2].flow;
    assert_eq!((own.claim, own.evidence), (Claim::Own, InitiatorEvidence::Exchange));
    assert_eq!(own.initiator_end().holder, Holder::Attachment(AttachmentId(1)));

    // And an hour later the server may call by itself.
    let mut table = self::table();
    observe(&mut table, &[BEFORE, (10_000, 3, client, server, Udp)], &STEADY);
    observe(&mut table, &[(3_600_000, 2, server, client, Udp)], &STEADY);
    let later = &flows(&mut table)[2].flow;
    assert_eq!(
        (later.claim, later.initiator_end().holder),
        (Claim::Own, Holder::Attachment(AttachmentId(2)))
    );
}

#[test]
fn what_a_lasting_forger_provokes_stays_backscatter() {
    let mut table = table();
    let (client, server) = ("10.0.0.1:123", "10.0.0.2:123");
    let mut steps = vec![BEFORE];
    steps.extend((0..40).map(|number| (10_000 + number * 10_000, 3, client, server, Udp)));
    observe(&mut table, &steps, &STEADY);
    observe(&mut table, &[(400_500, 2, server, client, Udp)], &STEADY);
    assert_eq!(flows(&mut table).last().unwrap().flow.claim, Claim::Backscatter);
}

#[test]
fn a_sender_whose_address_nobody_else_holds_is_answered() {
    // Unlisted: the address of something behind the container. Ambiguous: nothing says whose it is.
    for (client, claim) in [("192.0.2.7:40000", Claim::Unlisted), ("10.0.0.77:40000", Claim::Own)] {
        let mut table = table();
        observe(&mut table, &[BEFORE], &STEADY);
        observe(
            &mut table,
            &[
                (10_000, 1, client, SERVER, Tcp(SYN)),
                (10_000, -2, client, SERVER, Tcp(SYN)),
                (10_001, 2, SERVER, client, Tcp(SYN | ACK)),
                (10_002, 1, client, SERVER, Tcp(ACK)),
            ],
            &STEADY,
        );
        let deltas = flows(&mut table);
        assert_eq!(deltas.len(), 2, "{client}: {deltas:#?}");
        let flow = &deltas[1].flow;
        assert_eq!((flow.claim, flow.outcome), (claim, Outcome::Answered), "{client}");
        assert_eq!(flow.initiator_end().holder, Holder::Attachment(AttachmentId(1)), "{client}");
    }
}

#[test]
fn an_icmp_error_refuses_only_where_its_sender_may_and_it_means_that() {
    #[rustfmt::skip]
    let cases: &[(&str, Step, Outcome)] = &[
        ("the responder",         (1, 2,   "10.0.0.2",   "10.0.0.1", About(3, 3, CLIENT, SERVER)), Outcome::Refused),
        ("a router",              (1, -14, "10.0.0.254", "10.0.0.1", About(3, 1, CLIENT, SERVER)), Outcome::Refused),
        ("a third container",     (1, 3,   "10.0.0.3",   "10.0.0.1", About(3, 3, CLIENT, SERVER)), Outcome::Pending),
        ("as the responder",      (1, 3,   "10.0.0.2",   "10.0.0.1", About(3, 3, CLIENT, SERVER)), Outcome::Pending),
        ("to somebody else",      (1, 2,   "10.0.0.2",   "10.0.0.3", About(3, 3, CLIENT, SERVER)), Outcome::Pending),
        ("a redirect",            (1, -14, "10.0.0.254", "10.0.0.1", About(5, 1, CLIENT, SERVER)), Outcome::Pending),
        ("source quench",         (1, -14, "10.0.0.254", "10.0.0.1", About(4, 0, CLIENT, SERVER)), Outcome::Pending),
        ("fragmentation needed",  (1, -14, "10.0.0.254", "10.0.0.1", About(3, 4, CLIENT, SERVER)), Outcome::Pending),
    ];
    for (name, error, outcome) in cases {
        let mut table = table();
        observe(&mut table, &[(0, 1, CLIENT, SERVER, Tcp(SYN)), *error], &STEADY);
        assert_eq!(flows(&mut table)[0].flow.outcome, *outcome, "{name}");
    }
}

#[test]
fn an_address_handed_over_ends_the_flow_whichever_end_it_is() {
    // Without roles nothing but the directory says who sends.
    for (first, from, to) in
        [("sender", "10.0.0.1:40000", "192.0.2.8:53"), ("receiver", "192.0.2.8:53", "10.0.0.1:40000")]
    {
        let mut table = table();
        let interfaces = InterfaceTable::plain();
        table.observe(&[observation(&(0, 1, from, to, Udp))], &interfaces, &STEADY);
        let handed_over = Book { epoch: 2, moved: Some(Holder::Attachment(AttachmentId(9))) };
        table.observe(&[observation(&(5_000, 1, from, to, Udp))], &interfaces, &handed_over);
        assert_eq!(table.ledger().flows_opened, 2, "{first}");
    }
}

#[test]
fn a_forwarded_copy_stays_the_hosts_when_the_roster_moves() {
    // Routed from scope 1 into scope 2 without masquerading.
    let mut table = table();
    let steps: &[Step] = &[
        BEFORE,
        (10_000, -24, CLIENT, "10.0.1.5:80", Tcp(SYN)),
        (10_001, 5, "10.0.1.5:80", CLIENT, Tcp(SYN | ACK)),
    ];
    observe(&mut table, steps, &STEADY);
    observe(&mut table, &[(10_002, 5, "10.0.1.5:80", CLIENT, Tcp(ACK))], &Book { epoch: 2, moved: None });
    let flow = &flows(&mut table)[1].flow;
    assert_eq!(flow.initiator_end().holder, Holder::Host);
}

/// A ring whose reader makes room whenever it is asked, as another thread may.
struct Racing {
    taken: Vec<Delta>,
    rooms: Cell<Vec<usize>>,
}

impl DeltaSink for Racing {
    fn push(&mut self, delta: Delta) -> Result<(), Box<Delta>> {
        self.taken.push(delta);
        Ok(())
    }

    fn room(&self) -> usize {
        let mut rooms = self.rooms.take();
        let room = rooms.pop().unwrap_or(usize::MAX);
        self.rooms.set(rooms);
        room
    }
}

#[test]
fn a_flow_never_overtakes_the_end_of_the_flow_before_it_in_its_slot() {
    let mut table = table();
    let mut conversations = Conversations::new();
    let mut deltas: Vec<Delta> = Vec::new();
    observe(&mut table, &[(0, 1, CLIENT, SERVER, Tcp(SYN))], &STEADY);
    table.drain(&mut deltas);
    // The first one ends, and the second opens in the same slot.
    observe(&mut table, &[(1, 2, SERVER, CLIENT, Tcp(RST))], &STEADY);
    let mut again = observation(&(2, 1, CLIENT, SERVER, Tcp(SYN)));
    let Network::Ip(packet) = &mut again.network else { unreachable!() };
    packet.tcp.as_mut().unwrap().sequence = 9;
    table.observe(&[again], &interfaces(), &STEADY);
    // The ring is full, and a moment later it is not.
    let mut sink = Racing { taken: Vec::new(), rooms: Cell::new(vec![0]) };
    table.drain(&mut sink);
    deltas.append(&mut sink.taken);
    table.drain(&mut deltas);
    for delta in &deltas {
        conversations.apply(delta);
    }
    assert_eq!(conversations.sum(), Tally { frames: 3, bytes: 180 });
    let connections = connections_of(&conversations, &table);
    assert_eq!(connections, (3, 2), "frames, connections");
}

fn connections_of(conversations: &Conversations, table: &FlowTable) -> (u64, u64) {
    let occasion = portolan_flowtable::Occasion {
        at: at(0),
        ledger: *table.ledger(),
        kernel_dropped: None,
        completeness: portolan_flowtable::Completeness::Complete,
        withhold: 0,
    };
    let snapshot = conversations.snapshot(occasion, &portolan_flowtable::Names::default());
    snapshot.conversations.iter().fold((0, 0), |(frames, connections), it| {
        (frames + it.sent.frames + it.received.frames, connections + it.connections.attempted())
    })
}

/// A sink with room for endings alone: never a dirty slot is taken.
struct EndingsOnly {
    room: Cell<usize>,
}

impl DeltaSink for EndingsOnly {
    fn push(&mut self, _: Delta) -> Result<(), Box<Delta>> {
        self.room.set(self.room.get() - 1);
        Ok(())
    }

    fn room(&self) -> usize {
        self.room.get()
    }
}

#[test]
fn a_slow_reader_makes_no_list_grow() {
    let mut table = table();
    let mut sequence = 0;
    for _ in 0..12_000 {
        // One slot, used again and again; only the ends of its flows find room.
        for flags in [SYN, RST] {
            sequence += 1;
            let mut seen = observation(&(0, 1, CLIENT, SERVER, Tcp(flags)));
            let Network::Ip(packet) = &mut seen.network else { unreachable!() };
            packet.tcp.as_mut().unwrap().sequence = sequence;
            table.observe(&[seen], &interfaces(), &STEADY);
        }
        table.drain(&mut EndingsOnly { room: Cell::new(1) });
    }
    assert!(table.waiting() <= 64 + 32 + 8_192, "{} deltas wait of one slot", table.waiting());
    let mut deltas: Vec<Delta> = Vec::new();
    table.drain(&mut deltas);
    assert_eq!(table.waiting(), 0);
    assert_eq!(table.ledger().undrained, Tally::default());
}

#[test]
fn many_unknown_interfaces_do_not_slow_every_frame() {
    let mut table = table();
    for number in 0..20_000_u32 {
        let mut seen = observation(&(0, 1, CLIENT, SERVER, Udp));
        seen.interface = InterfaceId(1_000 + number);
        table.observe(&[seen], &interfaces(), &STEADY);
    }
    let ledger = table.ledger();
    assert!(ledger.held.frames <= 1_024, "{} frames of as many interfaces held", ledger.held.frames);
    assert_eq!(ledger.held + ledger.unknown_interface, ledger.delivered);
}

#[test]
fn a_frame_that_was_held_does_not_turn_time_back() {
    let mut table = table();
    let mut roles = InterfaceTable::new();
    table.observe(&[observation(&(1, 1, CLIENT, SERVER, Udp))], &roles, &STEADY);
    for milliseconds in [9, 15] {
        let mut known = roles.clone();
        known.set(InterfaceId(2), interfaces().get(InterfaceId(2)));
        table.observe(&[observation(&(milliseconds, 2, SERVER, CLIENT, Udp))], &known, &STEADY);
    }
    roles = interfaces();
    table.release(at(10), &roles, &STEADY);
    let flow = flows(&mut table)[0].flow;
    assert_eq!((flow.last_frame, flow.last_at), (16, at(15)));
    assert_eq!(flow.frames[Side::A.index()] + flow.frames[Side::B.index()], 3);
}

/// Endings used to be anybody's: while nobody took them, one sender's flood filled them, and no other sender's new flow
/// found room.
#[test]
fn a_flood_leaves_room_for_the_flows_others_open_while_nobody_takes_its_endings() {
    let mut table = FlowTable::new(Limits { flows_max: 2_048, ..Limits::default() }, 1);
    let mut open = |interface: i32, number: u32| {
        let from = if interface == 1 { "10.0.0.1:0" } else { "10.0.0.2:0" };
        let mut seen = observation(&(20_000, interface, from, "10.9.9.9:0", Udp));
        let Network::Ip(packet) = &mut seen.network else { panic!("a packet") };
        let [_, low @ .., high] = number.to_be_bytes();
        packet.ports = Some((Port(u16::from_be_bytes(low) + 1), Port(u16::from(high) + 1)));
        table.observe(&[seen], &interfaces(), &STEADY);
        (table.ledger().flows_opened, table.ledger().overflow.frames)
    };
    let (flooded, turned_away) = (0..20_000).fold((0, 0), |_, number| open(1, number));
    assert!(turned_away > 0, "it was no flood: {flooded} opened");
    let others = (0..1_000).fold((0, 0), |_, number| open(2, number));
    assert_eq!(others, (flooded + 1_000, turned_away));
}

#[test]
fn what_is_missed_has_the_time_of_its_own_frames() {
    let mut table = FlowTable::new(Limits { flows_max: 2_048, ..Limits::default() }, 1);
    table.reject(Rejected::Malformed, at(7), 60);
    table.reject(Rejected::Truncated, at(5), 60);
    let unknown = observation(&(3, 99, "10.0.0.1:1", "10.9.9.9:1", Udp));
    table.observe(&[unknown], &interfaces(), &STEADY);
    let of = |from, until| Some((at(from), at(until)));
    // What is held for a role is not missed yet.
    assert_eq!(table.take_missed().spans(), [of(5, 7), None, None, None]);
    table.give_up_held();
    assert_eq!(table.take_missed().spans(), [None, of(3, 3), None, None]);
    for number in 0..20_000_u16 {
        let mut seen = observation(&(1_000 + i64::from(number), 1, "10.0.0.1:0", "10.9.9.9:0", Udp));
        let Network::Ip(packet) = &mut seen.network else { panic!("a packet") };
        packet.ports = Some((Port(number + 1), Port(7)));
        table.observe(&[seen], &interfaces(), &STEADY);
    }
    // Evicted from the first frame of the oldest attempt to the frame that took its room; turned away from then on.
    let [None, None, Some(turned_away), Some(evicted)] = table.take_missed().spans() else {
        panic!("it was no flood");
    };
    assert_eq!((evicted.0, turned_away.1), (at(1_000), at(20_999)));
    assert!(evicted.1 <= turned_away.1, "{evicted:?} {turned_away:?}");
    assert_eq!(table.take_missed(), Missed::default());
}
