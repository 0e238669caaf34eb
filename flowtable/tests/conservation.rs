//! Conservation on arbitrary traffic: every byte is accounted for exactly once.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portolan_flowtable::directory::BareDirectory;
use portolan_flowtable::icmp::IcmpKinds;
use portolan_flowtable::naming::Reader;
use portolan_flowtable::{
    AttachmentId, Completeness, Conversation, Conversations, Delta, DeltaSink, Direction, Directory,
    FlowTable, Fragment, Holder, InitiatorEvidence, InterfaceEntry, InterfaceId, InterfaceTable, Limits,
    MacAddr, Names, Network, NonIp, Observation, Occasion, Packet, Peer, Port, Protocol, Role, ScopeId,
    ServicePort, Tally, TcpFacts, Timestamp,
};
use proptest::prelude::*;

const BRIDGE_MAC: MacAddr = MacAddr([2, 0x42, 0, 0, 0, 1]);

fn interfaces() -> InterfaceTable {
    let mut table = InterfaceTable::new();
    for number in 1..=3 {
        table.set(
            InterfaceId(number),
            InterfaceEntry {
                role: Role::Container,
                scope: ScopeId(1),
                attachment: AttachmentId(number),
                is_fresh: number % 2 == 0,
                ..InterfaceEntry::default()
            },
        );
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

/// Containers 1 to 3 hold 10.0.0.1 to 10.0.0.3; 10.0.0.4 is nobody's; the epoch moves with `epoch`.
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
            // An address that moves between two containers with the epoch.
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

fn address() -> impl Strategy<Value = IpAddr> {
    (1_u8..=4, any::<bool>()).prop_map(|(last, is_v4)| {
        if is_v4 {
            IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
        } else {
            IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)))
        }
    })
}

fn network() -> impl Strategy<Value = Network> {
    let tcp = (any::<u8>(), 0_u32..3).prop_map(|(flags, sequence)| TcpFacts {
        flags,
        sequence,
        acknowledgment: 0,
        window: 0,
        payload_bytes: 0,
    });
    let fragment = prop_oneof![
        8 => Just(Fragment::Whole),
        1 => (0_u32..3).prop_map(|id| Fragment::First { id }),
        1 => (0_u32..3).prop_map(|id| Fragment::Later { id }),
    ];
    let packet = (
        address(),
        address(),
        prop_oneof![Just(6_u8), Just(17), Just(1)],
        79_u16..83,
        79_u16..83,
        tcp,
        fragment,
    )
        .prop_map(|(source, destination, protocol, from, to, tcp, fragment)| {
            let protocol = Protocol(protocol);
            let is_later = matches!(fragment, Fragment::Later { .. });
            Network::Ip(Packet {
                source,
                destination,
                protocol,
                ports: (protocol.has_ports() && !is_later).then_some((Port(from), Port(to))),
                tcp: (protocol == Protocol::TCP && !is_later).then_some(tcp),
                icmp: None,
                fragment,
                vlan: None,
                is_tunnel: false,
            })
        });
    prop_oneof![10 => packet, 1 => Just(Network::NonIp(NonIp::Arp(None))), 1 => Just(Network::NonIp(NonIp::Other))]
}

prop_compose! {
    fn observation()(
        interface in 1_u32..=6,
        is_outgoing in any::<bool>(),
        is_own_mac in any::<bool>(),
        step in -1_000_000_000_i64..40_000_000_000,
        wire_bytes in 1_u32..2_000,
        network in network(),
    ) -> (i64, Observation) {
        (step, Observation {
            at: Timestamp(0),
            is_timed: true,
            frame: 0,
            interface: InterfaceId(interface),
            direction: if is_outgoing { Direction::Outgoing } else { Direction::Incoming },
            source_mac: if is_own_mac { BRIDGE_MAC } else { MacAddr([2; 6]) },
            wire_bytes,
            fingerprint: 0,
            network,
        })
    }
}

/// A sink with room for few deltas at a time, as a slow control plane leaves it.
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

/// Forgets the extremes of conversations that some flow left. It takes along what it added to sums; but of a first and
/// a last nobody knows what comes next to them. So these are those of all flows ever handed over as part of it, and who
/// hears of a flow only at last, when it is part of another, heard of fewer.
fn without_extremes(conversations: &mut [Conversation], left: &[(Peer, Peer, ServicePort)]) {
    for conversation in &mut *conversations {
        let ends = (&conversation.initiator, &conversation.responder, conversation.port);
        if left.iter().any(|(initiator, responder, port)| (initiator, responder, *port) == ends) {
            (conversation.first_at, conversation.last_at) = (Timestamp(0), Timestamp(0));
            (conversation.first_frame, conversation.last_frame) = (0, 0);
            conversation.first_source_port = None;
            conversation.evidence = InitiatorEvidence::FirstSender;
            conversation.is_tunnel = false;
            conversation.icmp = IcmpKinds::default();
        }
    }
    // They stand in the order of their first frames.
    conversations.sort_by_cached_key(|it| format!("{:?}", (&it.initiator, &it.responder, it.port, it.claim)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_byte_is_accounted_for_exactly_once(
        packets in prop::collection::vec(observation(), 0..300),
        batch in 1_usize..20,
        room in 1_usize..50,
    ) {
        let mut table = FlowTable::new(Limits { flows_max: 64, ..Limits::default() }, 1);
        let mut roles = interfaces();
        let mut conversations = Conversations::new();
        let mut offered = Tally::default();
        let mut now = Timestamp(1_000_000_000_000);
        let mut seen = Vec::new();
        for (frame, (step, observation)) in packets.iter().enumerate() {
            now = now.plus(*step);
            offered.count(observation.wire_bytes);
            seen.push(Observation { at: now, frame: frame as u64 + 1, ..*observation });
        }
        for (round, part) in seen.chunks(batch).enumerate() {
            let book = Book { epoch: u16::try_from(round / 3).unwrap() };
            table.observe(part, &roles, &book);
            let mut sink = Narrow { taken: Vec::new(), room };
            if round % 2 == 0 {
                table.tick(part[0].at, None);
                table.drain(&mut sink);
            }
            for delta in &sink.taken {
                conversations.apply(delta);
            }
            if round == 5 {
                // The unknown interface turns out to be a container's.
                roles.set(InterfaceId(6), InterfaceEntry {
                    role: Role::Container, scope: ScopeId(1), attachment: AttachmentId(4), ..InterfaceEntry::default()
                });
                table.release(part[0].at, &roles, &book);
            }
            prop_assert_eq!(table.ledger().residual(conversations.sum()), (0, 0), "round {}", round);
        }
        table.give_up_held();
        let mut sink: Vec<Delta> = Vec::new();
        table.drain(&mut sink);
        for delta in &sink {
            conversations.apply(delta);
        }
        let ledger = *table.ledger();
        prop_assert_eq!(ledger.delivered, offered);
        prop_assert_eq!(ledger.held, Tally::default());
        prop_assert_eq!(ledger.undrained, Tally::default());
        prop_assert_eq!(ledger.residual(conversations.sum()), (0, 0));
        prop_assert_eq!(ledger.metered, conversations.sum());

        let ended = ledger.flows_ended + ledger.flows_evicted;
        prop_assert_eq!(ledger.flows_opened - ended, table.live() as u64);

        let occasion = Occasion {
            at: now, ledger, kernel_dropped: Some(0), completeness: Completeness::Complete, withhold: 0,
        };
        let snapshot = conversations.snapshot(occasion, &Names::default());
        let published = snapshot.conversations.iter().fold(Tally::default(), |sum, it| sum + it.sent + it.received);
        prop_assert_eq!(published + snapshot.withheld, ledger.metered);
        let connections: u64 = snapshot.conversations.iter().map(|it| it.connections.attempted()).sum();
        prop_assert_eq!(connections, ledger.flows_opened);
    }

    /// What merely grew may wait until the end: nobody who reads once can tell. Of what a flow left because its ends or
    /// its claim turned out to be others, no extremes are compared: see [`without_extremes`].
    #[test]
    fn changes_and_a_last_drain_come_to_what_drains_come_to(
        packets in prop::collection::vec(observation(), 0..300),
        batch in 1_usize..20,
    ) {
        let mut now = Timestamp(1_000_000_000_000);
        let mut seen = Vec::new();
        for (frame, (step, observation)) in packets.iter().enumerate() {
            now = now.plus(*step);
            seen.push(Observation { at: now, frame: frame as u64 + 1, ..*observation });
        }
        let roles = interfaces();
        let come_to = |is_whole: bool| {
            let mut table = FlowTable::new(Limits { flows_max: 64, ..Limits::default() }, 1);
            let mut conversations = Conversations::new();
            let mut handed: Vec<Delta> = Vec::new();
            let names = Names::default();
            let reader = Reader::new(&names);
            let mut told = BTreeMap::new();
            let mut left = Vec::new();
            for (round, part) in seen.chunks(batch).enumerate() {
                table.observe(part, &roles, &Book { epoch: u16::try_from(round / 3).unwrap() });
                table.tick(part[0].at, None);
                match (is_whole, round % 3) {
                    (true, _) => table.drain(&mut handed),
                    (false, 0) => assert!(table.drain_endings(&mut handed)),
                    (false, _) => table.drain_changes(&mut handed),
                }
                for Delta { flow, .. } in &handed {
                    let ends = reader.ends(flow);
                    if let Some((before, claim)) = told.insert(flow.id, (ends.clone(), flow.claim))
                        && (&before, claim) != (&ends, flow.claim)
                    {
                        left.push(before);
                    }
                }
                if is_whole || round % 3 > 0 {
                    assert_eq!(told.len() as u64, table.ledger().flows_opened, "round {round}");
                }
                handed.drain(..).for_each(|delta| conversations.apply(&delta));
                assert_eq!(table.ledger().residual(conversations.sum()), (0, 0));
            }
            table.give_up_held();
            table.drain(&mut handed);
            handed.drain(..).for_each(|delta| conversations.apply(&delta));
            let ledger = *table.ledger();
            let occasion = Occasion {
                at: now, ledger, kernel_dropped: Some(0), completeness: Completeness::Complete, withhold: 0,
            };
            let mut snapshot = conversations.snapshot(occasion, &names);
            for conversation in &mut snapshot.conversations {
                // Of an attempt that was answered before anybody heard of it nobody says that it once was one.
                conversation.burst_unanswered = 0;
            }
            (snapshot, left)
        };
        let ((mut drained, left), (mut at_last, left_at_last)) = (come_to(true), come_to(false));
        let left: Vec<_> = left.into_iter().chain(left_at_last).collect();
        for snapshot in [&mut drained, &mut at_last] {
            without_extremes(&mut snapshot.conversations, &left);
        }
        prop_assert_eq!(drained, at_last);
    }

    #[test]
    fn without_roles_every_readable_packet_is_metered(
        packets in prop::collection::vec(observation(), 0..200),
    ) {
        let mut table = FlowTable::new(Limits { flows_max: 4_096, ..Limits::default() }, 1);
        let seen: Vec<Observation> = packets.iter().map(|(_, observation)| *observation).collect();
        table.observe(&seen, &InterfaceTable::plain(), &BareDirectory);
        let ledger = table.ledger();
        prop_assert_eq!(ledger.metered + ledger.arp + ledger.other_non_ip, ledger.delivered);
    }
}
