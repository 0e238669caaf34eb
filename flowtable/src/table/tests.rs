//! What the table keeps of flows: that all of it comes back, and that what a flow owned is the next one's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::cold_rows::ColdRows;
use super::slot::{Cold, Hot};
use super::{FlowTable, Limits};
use crate::delta::{Delta, EndReason};
use crate::directory::{AttachmentId, BareDirectory, Holder, ScopeId};
use crate::flow::{Claim, End, Flow, IcmpError, InitiatorEvidence, Outcome, Side};
use crate::history::{History, Letter};
use crate::interfaces::{InterfaceId, InterfaceTable};
use crate::key::{Endpoint, Keyer};
use crate::ledger::Tally;
use crate::observation::{Direction, Fragment, MacAddr, Network, Observation, Packet, TcpFacts};
use crate::sequence::Numbers;
use crate::units::{Port, Protocol, Timestamp};

const LETTERS: [Letter; 11] = [
    Letter::Syn,
    Letter::SynAck,
    Letter::Ack,
    Letter::Payload,
    Letter::Fin,
    Letter::Reset,
    Letter::Retransmitted,
    Letter::ZeroWindow,
    Letter::Gap,
    Letter::Inconsistent,
    Letter::MultiFlag,
];

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::A), Just(Side::B)]
}

/// Small numbers, and those about the limits of what a row holds.
fn count() -> impl Strategy<Value = u64> {
    let edges = [15, 16, (1 << 24) - 1, 1 << 24, (1 << 40) - 1, 1 << 40, (1 << 48) - 1, 1 << 48, u64::MAX];
    prop_oneof![5 => Just(0), 5 => 0..100_u64, 1 => proptest::sample::select(edges.to_vec())]
}

/// Mostly nothing.
fn rarely(number: impl Strategy<Value = u64>) -> impl Strategy<Value = u64> {
    prop_oneof![30 => Just(0), 1 => number]
}

fn time() -> impl Strategy<Value = i64> {
    let edges =
        [i64::MIN, -1, 0, i64::from(u32::MAX) - 1, i64::from(u32::MAX), i64::from(u32::MAX) + 1, i64::MAX];
    prop_oneof![8 => 0..1_000_000_i64, 1 => proptest::sample::select(edges.to_vec())]
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        2 => any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from(bits))),
        1 => any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from(bits))),
    ]
}

fn holder() -> impl Strategy<Value = Holder> {
    prop_oneof![
        (0..5_u32).prop_map(|number| Holder::Attachment(AttachmentId(number))),
        Just(Holder::Host),
        Just(Holder::External),
        Just(Holder::Unclaimed),
        Just(Holder::Group),
        Just(Holder::Ambiguous),
        Just(Holder::Bare),
    ]
}

fn history() -> impl Strategy<Value = History> {
    let event = prop_oneof![8 => (side(), 0..LETTERS.len()).prop_map(Some), 1 => Just(None)];
    prop_oneof![4 => prop::collection::vec(event.clone(), 0..4), 2 => prop::collection::vec(event, 0..30)]
        .prop_map(|events| {
            let mut history = History::EMPTY;
            for event in events {
                match event {
                    Some((side, letter)) => history.add(side, LETTERS[letter]),
                    None => history.flip(),
                }
            }
            history
        })
}

/// What a flow is called, who opened it and how it fared.
fn identity() -> impl Strategy<Value = Flow> {
    let protocol = prop_oneof![
        4 => Just(Protocol::TCP), 2 => Just(Protocol::UDP), 1 => Just(Protocol::ICMP), 1 => any::<u8>().prop_map(Protocol)
    ];
    let ends = (address(), address(), prop::option::of((any::<u16>(), any::<u16>())), holder(), holder());
    let evidence = prop::sample::select(vec![
        InitiatorEvidence::Handshake,
        InitiatorEvidence::SynAck,
        InitiatorEvidence::Exchange,
        InitiatorEvidence::KnownListener,
        InitiatorEvidence::Port,
        InitiatorEvidence::FirstSender,
    ]);
    let claim = prop::sample::select(vec![Claim::Own, Claim::Spoofed, Claim::Unlisted, Claim::Backscatter]);
    let outcome = prop::sample::select(vec![
        Outcome::Pending,
        Outcome::Answered,
        Outcome::Refused,
        Outcome::Unanswered,
        Outcome::Blocked,
    ]);
    let bits = (side(), side(), any::<[bool; 3]>(), prop::option::of((any::<u8>(), any::<u8>())));
    (protocol, any::<u16>(), ends, evidence, claim, outcome, bits, history()).prop_map(
        |(protocol, scope, (one, other, ports, a, b), evidence, claim, outcome, bits, history)| {
            let (initiator, first_sender, [is_midstream, is_delivered, is_tunnel], icmp) = bits;
            let is_icmp = protocol.is_icmp();
            let ports = ports.map(|(a, b)| (Port(a), Port(b)));
            let end = |address, port, holder| End { address, port, holder };
            Flow {
                scope: ScopeId(scope),
                protocol,
                ends: [end(one, ports.map(|ports| ports.0), a), end(other, ports.map(|ports| ports.1), b)],
                initiator,
                evidence,
                claim,
                outcome,
                history,
                is_midstream,
                is_delivered,
                is_tunnel,
                icmp_type: icmp.filter(|_| is_icmp).map(|icmp| icmp.0),
                icmp_code: icmp.filter(|_| is_icmp).map(|icmp| icmp.1),
                first_sender,
                ..Cold::EMPTY.flow
            }
        },
    )
}

/// A cold part, be it one that no packets can come to.
fn cold() -> impl Strategy<Value = Cold> {
    let times = (time(), time(), prop::option::of(time()), prop::option::of(time()), time());
    let counts = (count(), count(), count(), [count(), count()], [count(), count()]);
    let odd = (
        [rarely(0..20_u64), rarely(0..20_u64)],
        [rarely(count()), rarely(count())],
        [rarely(count()), rarely(count())],
        [rarely(count()), rarely(count())],
        rarely(1..9_u64),
        rarely(1..9_u64),
    );
    let tcp = (any::<[u8; 2]>(), any::<[u32; 4]>(), 0..12_u32, any::<[bool; 5]>(), 0..40_u8);
    (identity(), times, counts, odd, tcp).prop_map(|(flow, times, counts, odd, tcp)| {
        let (first_at, span, rtt, ack_rtt, opened_at) = times;
        let (id, first_frame, more_frames, frames, bytes) = counts;
        let (retransmissions, zero_windows, gaps, unseen, icmp_error, spilled) = odd;
        let (tcp_flags, [first_a, first_b, last_a, last_b], repeated, is, oddity) = tcp;
        let is_tcp = flow.protocol == Protocol::TCP;
        let is_answered = flow.outcome == Outcome::Answered;
        let plain = |side, first, last| {
            if is_tcp { Numbers::plain(&flow.history, side, first, last, repeated) } else { Numbers::NONE }
        };
        let mut numbers = [plain(Side::A, first_a, last_a), plain(Side::B, first_b, last_b)];
        if oddity == 0 {
            numbers.swap(0, 1);
        }
        let first = |side: Side| [first_a, first_b][side.index()];
        let [is_called, is_timed, waits, expects_delivery, is_odd] = is;
        let first_at = Timestamp(first_at);
        Cold {
            flow: Flow {
                id,
                first_at,
                last_at: first_at.plus(span),
                first_frame,
                last_frame: first_frame.saturating_add(more_frames),
                frames,
                bytes,
                tcp_flags: if is_tcp { tcp_flags } else { [0; 2] },
                rtt: rtt.filter(|_| is_answered),
                ack_rtt: ack_rtt.filter(|_| is_answered && !waits),
                retransmissions: if is_tcp { retransmissions } else { [0; 2] },
                zero_windows,
                gaps,
                unseen,
                icmp_error: (icmp_error > 0).then_some(IcmpError { kind: 3, code: 1, count: icmp_error }),
                ..flow
            },
            // Nobody asks when a flow was opened that was answered.
            opened_at: if is_answered { Timestamp(0) } else { Timestamp(opened_at) },
            syn_at: (is_tcp && is_timed).then_some(first_at.plus(i64::from(is_odd && oddity == 1))),
            syn_sequence: (is_tcp && is_called).then_some(first(flow.initiator) + u32::from(oddity == 2) / 2),
            syn_ack: (is_tcp && is_answered && waits)
                .then_some((first_at.plus(i64::from(last_a)), first(flow.initiator.other()))),
            numbers,
            spilled: [Tally { frames: spilled, bytes: spilled }, Tally::default()],
            expects_delivery,
        }
    })
}

/// The hot part a flow stands beside; of a forger its key is a hash.
fn hot_of(flow: &Flow, is_forged: bool) -> Hot {
    let end = |side: usize| Endpoint { address: flow.ends[side].address, port: flow.ends[side].port };
    let forger = is_forged.then_some(AttachmentId(1));
    let (key, _) = Keyer::new(1).key(flow.scope, end(0), end(1), flow.protocol, forger);
    let attachments = flow.ends.map(|end| match end.holder {
        Holder::Attachment(attachment) => attachment.0,
        Holder::Host
        | Holder::External
        | Holder::Unclaimed
        | Holder::Group
        | Holder::Ambiguous
        | Holder::Bare => 0,
    });
    Hot { key, attachments, ..Hot::EMPTY }
}

/// Ends in the order of keys: A's are the smaller ones.
fn in_order(mut cold: Cold) -> Cold {
    let end =
        |side: usize| Endpoint { address: cold.flow.ends[side].address, port: cold.flow.ends[side].port };
    let (_, side) = Keyer::new(1).key(ScopeId(0), end(0), end(1), Protocol::TCP, None);
    if side == Side::B {
        cold.flow.ends.swap(0, 1);
    }
    cold
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn whatever_is_put_into_rows_comes_back(
        kept in prop::collection::vec((cold().prop_map(in_order), prop::bool::weighted(0.1)), 1..4),
        other in cold().prop_map(in_order),
    ) {
        let mut rows = ColdRows::new(kept.len());
        let mut hots: Vec<Hot> = kept.iter().map(|(cold, is_forged)| hot_of(&cold.flow, *is_forged)).collect();
        for (slot, (cold, _)) in kept.iter().enumerate() {
            rows.put(slot, &hots[slot], cold);
        }
        for (slot, (cold, _)) in kept.iter().enumerate() {
            let hot = &mut hots[slot];
            prop_assert_eq!(rows.flow(slot, hot), Some(cold.flow));
            prop_assert_eq!(rows.edit(slot, hot, |_, found| *found), Some(*cold));
            prop_assert_eq!(rows.id(slot), Some(cold.flow.id));
            prop_assert_eq!(rows.outcome(slot), Some(cold.flow.outcome));
            prop_assert_eq!(rows.is_tcp(slot), cold.flow.protocol == Protocol::TCP);
            prop_assert_eq!(rows.initiator_holder(slot, hot), Some(cold.flow.initiator_end().holder));
        }
        // A flow that becomes another one but for its ends: it gains and loses a tail and a wide row.
        let (before, hot) = (kept[0].0, &mut hots[0]);
        let changed = Cold {
            flow: Flow {
                ends: before.flow.ends,
                scope: before.flow.scope,
                protocol: before.flow.protocol,
                ..other.flow
            },
            ..other
        };
        rows.edit(0, hot, |_, cold| *cold = changed);
        prop_assert_eq!(rows.edit(0, hot, |_, found| *found), Some(changed));
        for slot in 0..kept.len() {
            rows.release(slot);
            rows.release(slot);
        }
        prop_assert_eq!(rows.owned(), [0; 3]);
    }

    #[test]
    fn growth_adds_up_whatever_the_row_holds(
        cold in cold().prop_map(in_order),
        counted in prop::collection::vec((0..=u64::from(u32::MAX), 0..=u64::from(u32::MAX), time(), count()), 1..5),
    ) {
        let mut rows = ColdRows::new(1);
        let mut hot = hot_of(&cold.flow, false);
        // No total gets to the top of its type.
        let below_top = |total: u64| total.min(1 << 62);
        let mut expected = Cold {
            flow: Flow { frames: cold.flow.frames.map(below_top), bytes: cold.flow.bytes.map(below_top), ..cold.flow },
            ..cold
        };
        rows.put(0, &hot, &expected);
        for (frames, bytes, last_at, last_frame) in counted {
            let counted = [Tally { frames, bytes }, Tally { frames: frames / 3, bytes: bytes / 3 }];
            let grown = rows.settle(0, &mut hot, counted, Timestamp(last_at), last_frame);
            let spilled = std::mem::take(&mut expected.spilled);
            prop_assert_eq!(grown, [counted[0] + spilled[0], counted[1] + spilled[1]]);
            for side in [0, 1] {
                expected.flow.frames[side] += grown[side].frames;
                expected.flow.bytes[side] += grown[side].bytes;
            }
            if grown != [Tally::default(); 2] {
                expected.flow.last_at = Timestamp(last_at);
                expected.flow.last_frame = expected.flow.last_frame.max(last_frame);
            }
            prop_assert_eq!(rows.flow(0, &hot), Some(expected.flow));
        }
    }
}

fn table(flows_max: usize) -> FlowTable {
    FlowTable::new(Limits { flows_max, ..Limits::default() }, 1)
}

fn observe(table: &mut FlowTable, seen: &[Observation]) {
    table.observe(seen, &InterfaceTable::plain(), &BareDirectory);
}

/// A segment between 10.0.0.1 or fd00::1 and a server, at a second.
fn segment(client: u16, is_v6: bool, is_answer: bool, second: i64, tcp: TcpFacts) -> Observation {
    let address = |last: u16| match is_v6 {
        true => IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)),
        false => IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(last).unwrap())),
    };
    let (asker, service) = ((address(1), Port(client)), (address(2), Port(80)));
    let (from, to) = if is_answer { (service, asker) } else { (asker, service) };
    Observation {
        at: Timestamp(second * Timestamp::SECOND),
        is_timed: true,
        frame: 1,
        interface: InterfaceId(1),
        direction: Direction::Unstated,
        source_mac: MacAddr::default(),
        wire_bytes: 60,
        fingerprint: 0,
        network: Network::Ip(Packet {
            source: from.0,
            destination: to.0,
            protocol: Protocol::TCP,
            ports: Some((from.1, to.1)),
            tcp: Some(tcp),
            icmp: None,
            fragment: Fragment::Whole,
            vlan: None,
            is_tunnel: false,
        }),
    }
}

fn tcp(flags: u8, sequence: u32, acknowledgment: u32, payload_bytes: u32) -> TcpFacts {
    TcpFacts { flags, sequence, acknowledgment, window: 1_000, payload_bytes }
}

const SYN: TcpFacts =
    TcpFacts { flags: TcpFacts::SYN, sequence: 100, acknowledgment: 0, window: 1, payload_bytes: 0 };

/// A connection that is opened, says a word and gets one.
fn handshake(client: u16, is_v6: bool) -> [Observation; 4] {
    let (accept, ack) = (TcpFacts::SYN | TcpFacts::ACK, TcpFacts::ACK);
    [
        segment(client, is_v6, false, 1, SYN),
        segment(client, is_v6, true, 1, tcp(accept, 500, 101, 0)),
        segment(client, is_v6, false, 1, tcp(ack, 101, 501, 10)),
        segment(client, is_v6, true, 1, tcp(ack, 501, 111, 20)),
    ]
}

#[test]
fn an_ipv4_attempt_owns_nothing_beside_its_row_and_a_connection_a_tail() {
    let mut table = table(1_024);
    for client in 0..100 {
        observe(&mut table, &[segment(client, false, false, 1, SYN)]);
    }
    assert_eq!(table.cold.owned(), [0, 0, 0]);
    for client in 0..40 {
        observe(&mut table, &handshake(client, false)[1..]);
    }
    assert_eq!(table.cold.owned(), [40, 0, 0]);
}

#[test]
fn what_ipv6_flows_own_is_given_back_when_they_end_and_taken_again() {
    let mut table = table(1_024);
    let mut deltas: Vec<Delta> = Vec::new();
    for round in 0..20 {
        for client in 0..200 {
            observe(&mut table, &handshake(1_000 * (round % 3) + client, true));
        }
        assert_eq!((table.live(), table.cold.owned()), (200, [200, 200, 0]), "round {round}");
        table.drain(&mut deltas);
        // Eight ticks look at each slot once.
        for _ in 0..9 {
            table.tick(Timestamp(i64::MAX), None);
        }
        table.drain(&mut deltas);
        assert_eq!((table.live(), table.cold.owned()), (0, [0, 0, 0]), "round {round}");
    }
    let ended: Vec<&Delta> = deltas.iter().filter(|delta| delta.ended == Some(EndReason::Idle)).collect();
    assert_eq!(ended.len(), 20 * 200);
    for delta in ended {
        assert_eq!(
            delta.flow.ends.map(|end| end.address),
            [1, 2].map(|last| { IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)) })
        );
        assert_eq!((delta.flow.frames, delta.flow.history.text(Side::A).as_str()), ([2, 2], "ShDd"));
    }
}

#[test]
fn only_flows_that_missed_something_own_a_wide_row_until_they_end() {
    let mut table = table(1_024);
    for client in 0..100 {
        observe(&mut table, &handshake(client, client % 2 == 0));
    }
    // Of every tenth an acknowledgment of what was never seen.
    for client in (0..100).step_by(10) {
        observe(&mut table, &[segment(client, client % 2 == 0, true, 1, tcp(TcpFacts::ACK, 521, 900, 0))]);
    }
    assert_eq!(table.cold.owned(), [90, 40, 10]);
    let mut deltas: Vec<Delta> = Vec::new();
    table.drain(&mut deltas);
    let gaps: Vec<[u64; 2]> =
        deltas.iter().map(|delta| delta.flow.gaps).filter(|gaps| *gaps != [0, 0]).collect();
    assert_eq!(gaps, [[1, 0]; 10]);
    for _ in 0..9 {
        table.tick(Timestamp(i64::MAX), None);
    }
    table.drain(&mut deltas);
    assert_eq!(table.cold.owned(), [0, 0, 0]);
}

#[test]
fn a_flood_of_odd_flows_owns_no_more_than_there_are_slots() {
    let mut table = table(64);
    let mut handed: Vec<Delta> = Vec::new();
    for client in 0..5_000_u16 {
        // Twice the same SYN with another window, and one of another connection's number: closed, then reused.
        let closed = TcpFacts { window: 0, ..tcp(TcpFacts::ACK, 7, 9, 0) };
        observe(
            &mut table,
            &[
                segment(client, client % 3 == 0, false, 1, SYN),
                segment(client, client % 3 == 0, false, 1, closed),
            ],
        );
        table.drain_endings(&mut handed);
        let [tails, ends, wide] = table.cold.owned();
        let live = table.live();
        assert!(wide == live && tails == 0 && ends == 0, "{tails} {ends} {wide} of {live}");
    }
    assert!(table.live() <= 64 && table.ledger().flows_evicted > 4_000);
    assert_eq!(handed.len() + table.live(), 5_000);
}

#[test]
fn totals_beyond_what_a_row_holds_are_exact() {
    let mut table = table(64);
    let mut deltas: Vec<Delta> = Vec::new();
    // Segments without payload: none of them is sent again.
    let mut seen = segment(1, false, true, 1, tcp(TcpFacts::ACK, 501, 111, 0));
    let (mut bytes, mut frames) = (0_u64, 0_u64);
    for round in 0..3_000_u32 {
        seen.wire_bytes = u32::MAX - round;
        seen.frame = u64::from(round);
        observe(&mut table, &[seen]);
        bytes += u64::from(seen.wire_bytes);
        frames += 1;
        // At first each time, so that no counter spills; then what spills is in a wide row already.
        if round < 1_000 || round % 7 == 0 {
            table.drain(&mut deltas);
        }
    }
    table.drain(&mut deltas);
    let grown: u64 = deltas.iter().map(|delta| delta.grown[1].bytes).sum();
    let last = deltas.last().unwrap().flow;
    assert_eq!((grown, last.bytes, last.frames), (bytes, [0, bytes], [0, frames]));
    assert_eq!((last.first_frame, last.last_frame), (0, 2_999));
    assert!(bytes > 1 << 40 && table.cold.owned() == [0, 0, 1]);
}

#[test]
fn the_extremes_of_time_and_of_numbers_are_kept() {
    let mut table = table(64);
    let mut deltas: Vec<Delta> = Vec::new();
    let [first, second, ..] = handshake(1, true);
    let seen = [
        Observation { at: Timestamp(i64::MIN), frame: 1 << 48, ..first },
        Observation { at: Timestamp(i64::MAX), frame: u64::MAX, ..second },
    ];
    observe(&mut table, &seen[..1]);
    table.drain(&mut deltas);
    observe(&mut table, &seen[1..]);
    table.drain(&mut deltas);
    let flow = deltas.last().unwrap().flow;
    assert_eq!((flow.first_at, flow.last_at), (Timestamp(i64::MIN), Timestamp(i64::MAX)));
    assert_eq!(flow.first_frame, 1 << 48);
    assert_eq!((flow.outcome, flow.rtt), (Outcome::Answered, Some(i64::MAX)));
    assert_eq!(table.cold.owned(), [0, 0, 1]);
}

#[test]
fn the_longest_silent_attempt_makes_room_whatever_the_times() {
    let late = i64::MAX;
    #[rustfmt::skip]
    let cases = [
        ("the oldest",           [30, 10, 20]),
        ("the first of equals",  [10, 10, 10]),
        ("by a nanosecond",      [1_001, 1_000, 1_002]),
        ("before 1970",          [-20, -30, 5]),
        ("all before 1970",      [-10, -30, -20]),
        ("after 2116",           [late - 1, late - 3, late]),
        ("the beginning of all", [i64::MIN, 0, late]),
    ];
    for (said, times) in cases {
        let mut table = table(64);
        let mut deltas: Vec<Delta> = Vec::new();
        for client in 0..400_u16 {
            if client == 200 {
                // All end by silence, and leave their slots.
                (0..9).for_each(|_| table.tick(Timestamp(i64::MAX), None));
                table.drain_endings(&mut deltas);
            }
            let at = times[usize::from(client) % 3];
            let seen = Observation { at: Timestamp(at), ..segment(client, false, false, 0, SYN) };
            // What a look at each slot of the window would choose.
            let Network::Ip(packet) = &seen.network else { continue };
            let (key, _) = table.keyer.key_of(ScopeId(0), packet);
            let first = table.first_slot(table.keyer.place(key));
            let is_full =
                table.live() >= table.capacity() || table.first_tagged(table.keyer.place(key), 0).is_none();
            let window = (first..first + super::WINDOW).filter(|slot| table.tags[*slot] != 0);
            let expected = window.min_by_key(|slot| table.hot[*slot].last_at).filter(|_| is_full);
            let expected = expected.and_then(|slot| table.cold.id(slot));
            observe(&mut table, &[seen]);
            deltas.clear();
            table.drain_endings(&mut deltas);
            assert_eq!(table.live(), table.tags.iter().filter(|tag| **tag != 0).count(), "{said}: {client}");
            assert_eq!(deltas.first().map(|delta| delta.flow.id), expected, "{said}: {client}");
        }
        assert!(table.ledger().flows_evicted > 200, "{said}");
    }
}

#[test]
fn a_slot_stands_once_in_the_list_of_changed_ones_whoever_lives_there() {
    let mut table = table(64);
    let mut deltas: Vec<Delta> = Vec::new();
    for client in 0..2_000_u16 {
        observe(&mut table, &handshake(client, client % 2 == 0)[..1]);
        let closed = TcpFacts { window: 0, ..tcp(TcpFacts::ACK, 521, 111, 0) };
        observe(&mut table, &[segment(client, client % 2 == 0, true, 1, closed)]);
        table.drain_endings(&mut deltas);
        let mut changed = table.changed.clone();
        changed.sort_unstable();
        changed.dedup();
        assert_eq!(changed.len(), table.changed.len(), "{client}");
        if client % 64 == 63 {
            table.drain_changes(&mut deltas);
            assert!(table.changed.is_empty());
        }
    }
    assert!(table.ledger().flows_opened > 500);
}

#[test]
fn who_calls_on_unanswered_makes_room_after_those_who_stopped() {
    let datagram = |client: u16, second: i64| {
        let mut seen = segment(client, false, false, second, SYN);
        if let Network::Ip(packet) = &mut seen.network {
            (packet.protocol, packet.tcp) = (Protocol::UDP, None);
        }
        seen
    };
    let mut table = table(64);
    let mut deltas: Vec<Delta> = Vec::new();
    for client in 0..1_000 {
        // The first caller of all calls on, each time for the third time at least: by the short way.
        let second = i64::from(client) + 1;
        observe(&mut table, &[datagram(0, second), datagram(client, second), datagram(client, second)]);
    }
    assert!(table.ledger().flows_evicted > 800, "{:?}", table.ledger());
    table.drain(&mut deltas);
    let first = deltas.iter().rfind(|delta| delta.flow.id == 1).unwrap();
    assert_eq!((first.ended, first.flow.frames.iter().sum::<u64>()), (None, 1_002));
    assert_eq!(first.flow.last_at, Timestamp(1_000 * Timestamp::SECOND));
}
