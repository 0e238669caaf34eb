//! Who opened a flow, how far it got, who sent it: one story a row.

#![allow(clippy::unwrap_used, reason = "a story that cannot be read is a broken test")]

use std::net::IpAddr;

use portolan_flowtable::flow::Claim;
use portolan_flowtable::{
    AttachmentId, Delta, Direction, Directory, FlowTable, Fragment, Holder, InitiatorEvidence,
    InterfaceEntry, InterfaceId, InterfaceTable, Limits, MacAddr, Network, Observation, Outcome, Packet,
    Port, Protocol, Role, ScopeId, ServicePort, TcpFacts, Timestamp,
};

const SYN: u8 = TcpFacts::SYN;
const ACK: u8 = TcpFacts::ACK;
const RST: u8 = TcpFacts::RST;
const FIN: u8 = TcpFacts::FIN;

/// Container 1 holds 10.0.0.1 behind interface 1, and so on up to 3.
struct Book;

impl Directory for Book {
    fn holder(&self, _scope: ScopeId, address: IpAddr) -> Holder {
        match address.to_string().as_str() {
            "10.0.0.1" => Holder::Attachment(AttachmentId(1)),
            "10.0.0.2" => Holder::Attachment(AttachmentId(2)),
            "10.0.0.3" => Holder::Attachment(AttachmentId(3)),
            _ => Holder::External,
        }
    }

    fn is_known_listener(&self, attachment: AttachmentId, port: ServicePort) -> bool {
        attachment == AttachmentId(2) && port.port == Some(Port(5432))
    }

    fn epoch(&self) -> u16 {
        0
    }
}

/// A frame: interface it came in by (negative: it goes out by), source, destination, flags; UDP where `None`.
type Step = (i32, &'static str, &'static str, Option<u8>);

fn story(steps: &[Step]) -> Vec<Delta> {
    let mut interfaces = InterfaceTable::new();
    for number in 1..=3 {
        let attachment = AttachmentId(number);
        let entry = InterfaceEntry {
            role: Role::Container,
            scope: ScopeId(1),
            attachment,
            ..InterfaceEntry::default()
        };
        interfaces.set(InterfaceId(number), entry);
    }
    let mut table = FlowTable::new(Limits { flows_max: 64, ..Limits::default() }, 1);
    let start = Timestamp(1_000_000_000_000);
    // Something older, so that the stories do not begin at the start.
    table.observe(&[observation(start, 0, &(1, "10.0.0.1:9", "10.0.0.9:9", None))], &interfaces, &Book);
    for (number, step) in steps.iter().enumerate() {
        let at = start.plus(10 * Timestamp::SECOND + number as i64 * Timestamp::MILLISECOND);
        table.observe(&[observation(at, number as u64 + 1, step)], &interfaces, &Book);
    }
    table.tick(start.plus(16 * Timestamp::SECOND), None);
    let mut deltas = Vec::new();
    table.drain(&mut deltas);
    deltas.retain(|delta| delta.flow.id > 1);
    deltas.sort_by_key(|delta| delta.flow.id);
    deltas
}

fn observation(at: Timestamp, frame: u64, step: &Step) -> Observation {
    let (interface, source, destination, flags) = step;
    let end = |text: &str| -> (IpAddr, Port) {
        let (address, port) = text.split_once(':').unwrap();
        (address.parse().unwrap(), Port(port.parse().unwrap()))
    };
    let ((source, from), (destination, to)) = (end(source), end(destination));
    Observation {
        at,
        is_timed: true,
        frame,
        interface: InterfaceId(interface.unsigned_abs()),
        direction: if *interface < 0 { Direction::Outgoing } else { Direction::Incoming },
        source_mac: MacAddr::default(),
        wire_bytes: 60,
        fingerprint: 0,
        network: Network::Ip(Packet {
            source,
            destination,
            protocol: if flags.is_some() { Protocol::TCP } else { Protocol::UDP },
            ports: Some((from, to)),
            tcp: flags.map(|flags| TcpFacts {
                flags,
                sequence: 1,
                acknowledgment: 0,
                window: 0,
                payload_bytes: 0,
            }),
            icmp: None,
            fragment: Fragment::Whole,
            vlan: None,
            is_tunnel: false,
        }),
    }
}

const CLIENT: &str = "10.0.0.1:50001";
const SERVER: &str = "10.0.0.2:80";
const DATABASE: &str = "10.0.0.2:5432";

#[test]
fn roles_and_outcomes_follow_from_what_was_seen() {
    use InitiatorEvidence::{Exchange, FirstSender, Handshake, KnownListener, SynAck};
    use Outcome::{Answered, Blocked, Refused, Unanswered};
    #[rustfmt::skip]
    let cases: Vec<(&str, Vec<Step>, &str, InitiatorEvidence, Outcome)> = vec![
        ("handshake",          vec![(1, CLIENT, SERVER, Some(SYN)), (-2, CLIENT, SERVER, Some(SYN)), (2, SERVER, CLIENT, Some(SYN | ACK))], CLIENT, Handshake, Answered),
        ("refused by RST",     vec![(1, CLIENT, SERVER, Some(SYN)), (-2, CLIENT, SERVER, Some(SYN)), (2, SERVER, CLIENT, Some(RST | ACK))], CLIENT, Handshake, Refused),
        ("never delivered",    vec![(1, CLIENT, SERVER, Some(SYN))],                                                                     CLIENT, Handshake, Blocked),
        ("delivered, silent",  vec![(1, CLIENT, SERVER, Some(SYN)), (-2, CLIENT, SERVER, Some(SYN))],                                    CLIENT, Handshake, Unanswered),
        ("SYN-ACK, then ACK",  vec![(2, SERVER, CLIENT, Some(SYN | ACK)), (1, CLIENT, SERVER, Some(ACK))],                               CLIENT, SynAck,    Answered),
        ("SYN-ACK before SYN", vec![(2, SERVER, CLIENT, Some(SYN | ACK)), (1, CLIENT, SERVER, Some(SYN))],                               CLIENT, Handshake, Answered),
        ("open before start",  vec![(2, DATABASE, CLIENT, Some(ACK)), (1, CLIENT, DATABASE, Some(ACK))],                                 CLIENT, KnownListener, Answered),
        ("UDP answered",       vec![(1, "10.0.0.1:40000", "10.0.0.2:8125", None), (2, "10.0.0.2:8125", "10.0.0.1:40000", None)],         "10.0.0.1:40000", Exchange, Answered),
        ("UDP one way",        vec![(1, "10.0.0.1:40000", "10.0.0.2:8125", None)],                                                       "10.0.0.1:40000", FirstSender, Unanswered),
    ];
    for (name, steps, initiator, evidence, outcome) in cases {
        let deltas = story(&steps);
        assert_eq!(deltas.len(), 1, "{name}");
        let flow = &deltas[0].flow;
        let end = flow.initiator_end();
        assert_eq!(format!("{}:{}", end.address, end.port.unwrap()), initiator, "{name}");
        assert_eq!((flow.evidence, flow.outcome), (evidence, outcome), "{name}");
        assert_eq!(flow.claim, Claim::Own, "{name}");
    }
}

#[test]
fn a_first_word_that_is_a_reset_refuses_or_disowns() {
    // Seen at one interface, so that nothing tells senders but their addresses.
    let one_place = |steps: &[(&'static str, &'static str, u8)]| {
        let mut table = FlowTable::new(Limits { flows_max: 64, ..Limits::default() }, 1);
        for (number, (source, destination, flags)) in steps.iter().enumerate() {
            let at = Timestamp(10 * Timestamp::SECOND + number as i64);
            let seen = observation(at, number as u64 + 1, &(1, source, destination, Some(*flags)));
            table.observe(&[seen], &InterfaceTable::plain(), &Book);
        }
        let mut deltas = Vec::new();
        table.drain(&mut deltas);
        let flow = deltas.pop().unwrap().flow;
        (flow.claim, flow.outcome)
    };
    #[rustfmt::skip]
    let cases = [
        ("an ACK probe refused",      vec![(CLIENT, SERVER, ACK), (SERVER, CLIENT, RST)],                                (Claim::Own, Outcome::Refused)),
        ("a SYN-ACK disowned",        vec![(SERVER, CLIENT, SYN | ACK), (CLIENT, SERVER, RST)],                          (Claim::Backscatter, Outcome::Answered)),
        ("a SYN-ACK, used and reset", vec![(SERVER, CLIENT, SYN | ACK), (CLIENT, SERVER, ACK), (CLIENT, SERVER, RST)],   (Claim::Own, Outcome::Answered)),
        ("both used, then reset",     vec![(CLIENT, SERVER, ACK), (SERVER, CLIENT, ACK), (SERVER, CLIENT, RST)],         (Claim::Own, Outcome::Answered)),
    ];
    for (name, steps, expected) in cases {
        assert_eq!(one_place(&steps), expected, "{name}");
    }
}

#[test]
fn a_connection_on_used_ports_is_another_flow() {
    let deltas = story(&[
        (1, CLIENT, SERVER, Some(SYN)),
        (2, SERVER, CLIENT, Some(SYN | ACK)),
        (1, CLIENT, SERVER, Some(FIN | ACK)),
        (2, SERVER, CLIENT, Some(FIN | ACK)),
    ]);
    assert_eq!(deltas.len(), 1);
    let mut second = observation(Timestamp(0), 9, &(1, CLIENT, SERVER, Some(SYN)));
    let Network::Ip(packet) = &mut second.network else { panic!() };
    packet.tcp.as_mut().unwrap().sequence = 77;
    // The same story, and then a SYN with another sequence number.
    let mut table = FlowTable::new(Limits { flows_max: 64, ..Limits::default() }, 1);
    let interfaces = InterfaceTable::plain();
    for (number, flags) in [SYN, FIN | ACK, RST].into_iter().enumerate() {
        let seen = observation(Timestamp(number as i64), number as u64, &(1, CLIENT, SERVER, Some(flags)));
        table.observe(&[seen], &interfaces, &Book);
    }
    table.observe(&[second], &interfaces, &Book);
    assert_eq!(table.ledger().flows_opened, 2);
}

#[test]
fn a_forged_source_is_charged_to_its_true_sender_and_its_answers_are_backscatter() {
    // Container 3 uses container 1's address; container 2 answers container 1.
    let deltas = story(&[
        (3, CLIENT, SERVER, Some(SYN)),
        (-2, CLIENT, SERVER, Some(SYN)),
        (2, SERVER, CLIENT, Some(SYN | ACK)),
        (-1, SERVER, CLIENT, Some(SYN | ACK)),
        (1, CLIENT, SERVER, Some(RST)),
    ]);
    assert_eq!(deltas.len(), 2);
    let forged = &deltas[0].flow;
    assert_eq!(forged.claim, Claim::Spoofed);
    assert_eq!(forged.initiator_end().holder, Holder::Attachment(AttachmentId(3)));
    assert_eq!(deltas[1].flow.claim, Claim::Backscatter);
    // And container 1 itself is heard as soon as it really calls.
    let later = story(&[
        (3, CLIENT, SERVER, Some(SYN)),
        (2, SERVER, CLIENT, Some(SYN | ACK)),
        (1, CLIENT, SERVER, Some(SYN)),
        (2, SERVER, CLIENT, Some(SYN | ACK)),
    ]);
    assert_eq!(
        later.iter().map(|delta| delta.flow.claim).collect::<Vec<_>>(),
        [Claim::Spoofed, Claim::Backscatter, Claim::Own]
    );
}

#[test]
fn a_forged_datagram_provokes_backscatter_too() {
    let deltas =
        story(&[(3, "10.0.0.1:40000", "10.0.0.2:8125", None), (2, "10.0.0.2:8125", "10.0.0.1:40000", None)]);
    assert_eq!(
        deltas.iter().map(|delta| delta.flow.claim).collect::<Vec<_>>(),
        [Claim::Spoofed, Claim::Backscatter]
    );
}

#[test]
fn a_full_table_turns_newcomers_away_and_keeps_established_flows() {
    let interfaces = InterfaceTable::plain();
    let mut table = FlowTable::new(Limits { flows_max: 64, ..Limits::default() }, 1);
    let ends: Vec<(String, String)> =
        (0..600).map(|number| (format!("10.1.0.1:{}", 1_000 + number), "10.1.0.2:80".to_owned())).collect();
    let mut frame = 0;
    for (client, server) in &ends {
        for (source, destination, flags) in
            [(client, server, SYN), (server, client, SYN | ACK), (client, server, ACK)]
        {
            frame += 1;
            let step: Step = (
                1,
                Box::leak(source.clone().into_boxed_str()),
                Box::leak(destination.clone().into_boxed_str()),
                Some(flags),
            );
            table.observe(&[observation(Timestamp(frame), frame as u64, &step)], &interfaces, &Book);
        }
    }
    let ledger = table.ledger();
    assert_eq!(ledger.flows_evicted, 0, "an established flow made room");
    assert!(ledger.overflow.frames > 0);
    assert_eq!(ledger.metered.frames + ledger.overflow.frames, 1_800);
    assert!(table.live() <= 64 + 32);
}
