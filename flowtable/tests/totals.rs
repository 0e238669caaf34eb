//! Conversations and their names: limits, bursts and claims, one defect a test.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use portolan_flowtable::End;
use portolan_flowtable::conversation::OUTSIDE_PER_END_MAX;
use portolan_flowtable::directory::BareDirectory;
use portolan_flowtable::flow::{Claim, Side};
use portolan_flowtable::workload::Binding;
use portolan_flowtable::{
    AttachmentId, Completeness, Conversation, Conversations, Delta, Direction, EndReason, Flow, FlowTable,
    Fragment, History, Holder, InitiatorEvidence, InterfaceId, InterfaceTable, Ledger, Limits, MacAddr,
    Names, Network, Observation, Occasion, Outcome, Packet, Peer, Port, Protocol, ScopeId, Tally, Timestamp,
    Workload,
};

const GROWN: [Tally; 2] = [Tally { frames: 1, bytes: 60 }, Tally { frames: 0, bytes: 0 }];

fn end(address: IpAddr, port: u16, holder: Holder) -> End {
    End { address, port: Some(Port(port)), holder }
}

/// A flow's first delta: one SYN from A, in the given slot and second.
fn delta(id: u64, slot: u32, second: i64, ends: [End; 2], outcome: Outcome) -> Delta {
    let at = Timestamp(second * Timestamp::SECOND);
    Delta {
        slot,
        grown: GROWN,
        flow: Flow {
            id,
            scope: ScopeId(1),
            protocol: Protocol::TCP,
            ends,
            initiator: Side::A,
            evidence: InitiatorEvidence::Handshake,
            claim: Claim::Own,
            outcome,
            first_at: at,
            last_at: at,
            first_frame: id,
            last_frame: id,
            frames: [1, 0],
            bytes: [60, 0],
            tcp_flags: [2, 0],
            rtt: None,
            ack_rtt: None,
            history: History::EMPTY,
            retransmissions: [0; 2],
            zero_windows: [0; 2],
            gaps: [0; 2],
            unseen: [0; 2],
            icmp_error: None,
            is_midstream: false,
            is_delivered: false,
            is_tunnel: false,
            icmp_type: None,
            icmp_code: None,
            first_sender: Side::A,
        },
        ended: None,
    }
}

fn held(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
}

fn container(number: u8, port: u16) -> End {
    end(held(number), port, Holder::Attachment(AttachmentId(u32::from(number))))
}

fn snapshot(conversations: &Conversations, names: &Names) -> Vec<Conversation> {
    let occasion = Occasion {
        at: Timestamp(1_000 * Timestamp::SECOND),
        ledger: Ledger::default(),
        kernel_dropped: None,
        completeness: Completeness::Complete,
        withhold: 0,
    };
    conversations.snapshot(occasion, names).conversations
}

#[test]
fn the_outside_cannot_push_out_what_containers_say() {
    let mut conversations = Conversations::new();
    for number in 0..70_000_u32 {
        let outside = end(IpAddr::V4(Ipv4Addr::from(0xc633_0000 + number)), 40_000, Holder::External);
        let id = u64::from(number) + 1;
        let mut opened = delta(id, 0, 1, [outside, container(2, 80)], Outcome::Answered);
        opened.ended = Some(EndReason::Closed);
        conversations.apply(&opened);
    }
    conversations.apply(&delta(80_000, 1, 2, [container(3, 50_000), container(2, 5432)], Outcome::Answered));
    let all = snapshot(&conversations, &Names::default());
    let internal: Vec<_> = all.iter().filter(|it| it.port.port == Some(Port(5432))).collect();
    assert_eq!(internal.len(), 1, "the new edge between two containers is lost");
    assert_eq!(internal[0].initiator.address(), held(3));
    let frames: u64 = all.iter().map(|it| it.sent.frames + it.received.frames).sum();
    assert_eq!(frames, 70_001);
    assert!(all.iter().all(|it| !matches!(it.initiator, Peer::Ambiguous { .. })));
}

#[test]
fn who_calls_every_address_outside_leaves_others_theirs_and_takes_little_room() {
    let mut conversations = Conversations::new();
    let mut call = |caller: u8, number: u32| {
        let outside = end(IpAddr::V4(Ipv4Addr::from(0xc633_0000 + number)), 443, Holder::External);
        let id = conversations.sum().frames + 1;
        let mut opened = delta(id, 0, 1, [container(caller, 40_000), outside], Outcome::Pending);
        opened.ended = Some(EndReason::Evicted);
        conversations.apply(&opened);
        conversations.len()
    };
    let flooded = (0..70_000).map(|number| call(1, number)).last();
    // One more for all further addresses.
    assert_eq!(flooded, Some(OUTSIDE_PER_END_MAX as usize + 1));
    let others = (0..100).map(|number| call(2, number)).last();
    assert_eq!(others, Some(OUTSIDE_PER_END_MAX as usize + 1 + 100), "addresses others call are told apart");
    assert_eq!(conversations.sum().frames, 70_100);
    assert_eq!(conversations.folded(), 70_000 - u64::from(OUTSIDE_PER_END_MAX));
}

#[test]
fn a_folded_flow_is_counted_as_folded_once() {
    let mut conversations = Conversations::new();
    for number in 0..1_100_u16 {
        conversations.apply(&delta(
            u64::from(number) + 1,
            u32::from(number),
            1,
            [container(1, 50_000), container(2, 1_000 + number)],
            Outcome::Pending,
        ));
    }
    let folded = conversations.folded();
    let mut again = delta(1_100, 1_099, 1, [container(1, 50_000), container(2, 2_099)], Outcome::Pending);
    for frames in 2..10 {
        again.flow.frames[0] = frames;
        again.flow.bytes[0] = frames * 60;
        conversations.apply(&again);
    }
    assert_eq!((folded, conversations.folded()), (1_100 - 1_024, 1_100 - 1_024));
    let frames: u64 = snapshot(&conversations, &Names::default()).iter().map(|it| it.sent.frames).sum();
    assert_eq!(frames, 1_100 + 8);
}

#[test]
fn a_burst_is_counted_whole_in_whatever_order_its_deltas_come() {
    let mut conversations = Conversations::new();
    let mut id = 0;
    let mut attempts = |conversations: &mut Conversations, second: i64, count: u32| {
        for _ in 0..count {
            id += 1;
            let ends = [container(1, 50_000), container(2, 80)];
            conversations.apply(&delta(id, u32::try_from(id).unwrap(), second, ends, Outcome::Pending));
        }
    };
    // One tick hands over the end of one second and the beginning of the next, the newest first.
    for (second, count) in [(8, 40), (7, 60), (9, 5), (8, 60), (7, 0)] {
        attempts(&mut conversations, second, count);
    }
    assert_eq!(snapshot(&conversations, &Names::default())[0].burst_unanswered, 100);
}

#[test]
fn a_container_that_holds_a_gateways_address_of_another_network_is_no_forger() {
    let mut conversations = Conversations::new();
    conversations.apply(&delta(1, 0, 10, [container(1, 50_000), container(2, 80)], Outcome::Answered));
    let workload = |name: &str| Arc::new(Workload { container_id: name.to_owned(), ..Workload::default() });
    let binding =
        |number| vec![Binding { attachment: AttachmentId(number), from: Timestamp(0), until: None }];
    let names = Names {
        has_roster: true,
        attachments: HashMap::from([(AttachmentId(1), workload("one")), (AttachmentId(2), workload("two"))]),
        addresses: HashMap::from([((ScopeId(1), held(1)), binding(1)), ((ScopeId(1), held(2)), binding(2))]),
        // A second network has the same subnet, and its gateway there.
        host_addresses: vec![held(1)],
        ..Names::default()
    };
    assert_eq!(snapshot(&conversations, &names)[0].claim, Claim::Own);
    let nobody = Names { addresses: HashMap::from([((ScopeId(1), held(2)), binding(2))]), ..names };
    assert_eq!(snapshot(&conversations, &nobody)[0].claim, Claim::Spoofed);
}

#[test]
fn a_conversation_of_icmp_holds_the_messages_its_flows_began_with() {
    use portolan_flowtable::icmp::IcmpKind;
    let ends = [7, 9]
        .map(|last| End { port: None, ..end(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), 0, Holder::Bare) });
    let mut conversations = Conversations::new();
    for (number, kind) in [(1, 8), (2, 5), (3, 8)] {
        let mut delta = delta(number, u32::try_from(number).unwrap(), 1, ends, Outcome::Pending);
        (delta.flow.protocol, delta.flow.icmp_type, delta.flow.icmp_code) =
            (Protocol::ICMP, Some(kind), Some(1));
        conversations.apply(&delta);
        // What it grows by later says nothing more of how it began.
        conversations.apply(&delta);
    }
    let occasion = Occasion {
        at: Timestamp(0),
        ledger: Ledger::default(),
        kernel_dropped: None,
        completeness: Completeness::Complete,
        withhold: 0,
    };
    let snapshot = conversations.snapshot(occasion, &Names::default());
    let kinds: Vec<_> = snapshot.conversations.iter().map(|it| it.icmp.kinds.clone()).collect();
    assert_eq!(kinds, [[5, 8].map(|kind| IcmpKind { kind, code: 1 })]);
}

/// A delta by which a flow grew by one frame from `side` to what `flow` says.
fn grown_from(delta: &Delta, side: Side) -> Delta {
    let mut grown = *delta;
    grown.grown = [Tally::default(); 2];
    grown.grown[side.index()] = GROWN[0];
    grown.flow.frames[side.index()] += 1;
    grown.flow.bytes[side.index()] += 60;
    grown
}

#[test]
fn what_every_flow_left_begins_with_the_flow_that_comes_next() {
    let nobody = end(held(4), 80, Holder::Unclaimed);
    let mut opened = delta(1, 0, 10, [container(3, 40_000), nobody], Outcome::Answered);
    (opened.flow.is_midstream, opened.flow.is_tunnel, opened.flow.rtt) = (true, true, Some(5_000_000));
    let mut moved = grown_from(&opened, Side::A);
    moved.flow.ends[1].holder = Holder::Attachment(AttachmentId(4));
    let mut next = delta(2, 1, 20, [container(3, 40_001), nobody], Outcome::Pending);
    next.flow.evidence = InitiatorEvidence::FirstSender;

    let mut conversations = Conversations::new();
    for delta in [&opened, &moved, &next] {
        conversations.apply(delta);
    }
    let mut alone = Conversations::new();
    for delta in [&next, &moved] {
        alone.apply(delta);
    }
    alone.apply(&delta(3, 2, 1, [container(1, 1), container(2, 2)], Outcome::Pending));
    let of_next = |conversations: &Conversations| {
        let all = snapshot(conversations, &Names::default());
        all.into_iter().find(|it| it.responder == Peer::Unclaimed { address: held(4), attachment: None })
    };
    let found = of_next(&conversations).map(|it| (it.first_frame, it.first_at, it.first_source_port));
    assert_eq!(found, Some((2, next.flow.first_at, Some(Port(40_001)))));
    assert_eq!(of_next(&conversations), of_next(&alone));
}

#[test]
fn a_flow_that_leaves_takes_its_round_trip_and_its_missing_opening_along() {
    let nobody = end(held(4), 80, Holder::Unclaimed);
    let mut opened = delta(1, 0, 10, [container(3, 40_000), nobody], Outcome::Answered);
    (opened.flow.is_midstream, opened.flow.rtt) = (true, Some(5_000_000));
    let mut moved = grown_from(&opened, Side::A);
    moved.flow.ends[1].holder = Holder::Attachment(AttachmentId(4));
    let stays = delta(2, 1, 20, [container(3, 40_001), nobody], Outcome::Pending);

    let mut conversations = Conversations::new();
    for delta in [&opened, &stays, &moved] {
        conversations.apply(delta);
    }
    let all = snapshot(&conversations, &Names::default());
    let told = |it: &Conversation| (it.connections.attempted(), it.is_midstream, it.rtt_p50.is_some());
    assert_eq!(all.iter().map(told).collect::<Vec<_>>(), [(1, false, false), (1, true, true)]);
}

#[test]
fn a_syn_that_comes_late_opens_its_flow_whenever_that_was_handed_over() {
    let ends = [container(1, 40_000), container(2, 80)];
    let mut joined = delta(1, 0, 10, ends, Outcome::Pending);
    joined.flow.is_midstream = true;
    let mut called = grown_from(&joined, Side::A);
    called.flow.is_midstream = false;
    let come_to = |deltas: &[&Delta]| {
        let mut conversations = Conversations::new();
        deltas.iter().for_each(|delta| conversations.apply(delta));
        snapshot(&conversations, &Names::default())
    };
    let in_two = come_to(&[&joined, &called]);
    assert!(!in_two[0].is_midstream, "who never ends midstream passes for no scan");
    assert_eq!(in_two, come_to(&[&called]));
}

#[test]
fn a_flow_that_swaps_its_equal_ends_takes_what_was_sent_along() {
    let mut answer = delta(1, 0, 10, [container(1, 80), container(1, 80)], Outcome::Pending);
    (answer.flow.initiator, answer.flow.evidence) = (Side::B, InitiatorEvidence::SynAck);
    let mut called = grown_from(&answer, Side::A);
    (called.flow.initiator, called.flow.evidence) = (Side::A, InitiatorEvidence::Handshake);
    let come_to = |deltas: &[&Delta]| {
        let mut conversations = Conversations::new();
        deltas.iter().for_each(|delta| conversations.apply(delta));
        snapshot(&conversations, &Names::default())
    };
    let in_two = come_to(&[&answer, &called]);
    assert_eq!(in_two[0].sent, Tally { frames: 2, bytes: 120 });
    assert_eq!(in_two, come_to(&[&called]));
}

#[test]
fn exchanges_by_either_address_of_a_container_add_up() {
    let frame = |frame: u64, source: End, destination: End| Observation {
        at: Timestamp(10 * Timestamp::SECOND),
        is_timed: true,
        frame,
        interface: InterfaceId(1),
        direction: Direction::Incoming,
        source_mac: MacAddr([2; 6]),
        wire_bytes: 60,
        fingerprint: 0,
        network: Network::Ip(Packet {
            source: source.address,
            destination: destination.address,
            protocol: Protocol::UDP,
            ports: source.port.zip(destination.port),
            tcp: None,
            icmp: None,
            fragment: Fragment::Whole,
            vlan: None,
            is_tunnel: false,
        }),
    };
    let (caller, called) = (container(1, 40_000), container(2, 53));
    let mut table = FlowTable::new(Limits::default(), 1);
    let frames = [frame(1, caller, called), frame(2, called, caller)];
    table.observe(&frames, &InterfaceTable::plain(), &BareDirectory);
    let mut deltas: Vec<Delta> = Vec::new();
    table.drain(&mut deltas);
    deltas[0].flow.ends = [caller, called];
    let mut by_another = deltas[0];
    (by_another.slot, by_another.flow.id) = (deltas[0].slot + 1, 2);
    by_another.flow.ends[0].address = held(9);

    let mut conversations = Conversations::new();
    conversations.apply(&deltas[0]);
    conversations.apply(&by_another);
    let workload = |name: &str| Arc::new(Workload { container_id: name.to_owned(), ..Workload::default() });
    let names = Names {
        has_roster: true,
        attachments: HashMap::from([(AttachmentId(1), workload("one")), (AttachmentId(2), workload("two"))]),
        ..Names::default()
    };
    let exchanged: Vec<u64> = snapshot(&conversations, &names).iter().map(|it| it.exchanged).collect();
    assert_eq!(exchanged, [2]);
}
