//! What a flow says of its packets: letters, states, retransmissions, closed windows, gaps, round trips, ICMP errors.

#![expect(clippy::unwrap_used, reason = "a story that cannot be told is a failed test")]

use std::net::IpAddr;

use portolan_flowtable::directory::BareDirectory;
use portolan_flowtable::observation::Quoted;
use portolan_flowtable::{
    Completeness, Conversations, Delta, Direction, Flow, FlowTable, Fragment, IcmpError, IcmpFacts,
    InterfaceId, InterfaceTable, Ledger, Limits, MacAddr, Names, Network, Observation, Occasion, Outcome,
    Packet, Port, Protocol, Tally, TcpFacts, Timestamp,
};

const SYN: u8 = TcpFacts::SYN;
const ACK: u8 = TcpFacts::ACK;
const FIN: u8 = TcpFacts::FIN;
const RST: u8 = TcpFacts::RST;

/// A segment: who sent it, flags, sequence number, acknowledgment, payload.
type Segment = (Sender, u8, u32, u32, u32);

/// Name, segments, resent by client and server, gaps in what they sent, history.
type Resent<'a> = (&'a str, &'a [Segment], [u64; 2], [u64; 2], &'a str);

/// Name, segments, milliseconds to the responder and back, milliseconds to the initiator and back.
type RoundTrip<'a> = (&'a str, &'a [Segment], Option<i64>, Option<i64>);

#[derive(Clone, Copy, Eq, PartialEq)]
enum Sender {
    Client,
    Server,
}
use Sender::{Client, Server};

const CLIENT: (&str, u16) = ("10.0.0.1", 50_001);
const SERVER: (&str, u16) = ("10.0.0.2", 80);

struct Story {
    table: FlowTable,
    interfaces: InterfaceTable,
    frames: u64,
    wire_bytes: u32,
}

impl Story {
    fn new() -> Self {
        let limits = Limits { flows_max: 64, ..Limits::default() };
        Self {
            table: FlowTable::new(limits, 1),
            interfaces: InterfaceTable::plain(),
            frames: 0,
            wire_bytes: 60,
        }
    }

    fn see(&mut self, packet: Packet) {
        self.frames += 1;
        let seen = Observation {
            at: Timestamp(1_000_000_000_000 + i64::try_from(self.frames).unwrap() * Timestamp::MILLISECOND),
            is_timed: true,
            frame: self.frames,
            interface: InterfaceId(0),
            direction: Direction::Unstated,
            source_mac: MacAddr::default(),
            wire_bytes: self.wire_bytes,
            fingerprint: 0,
            network: Network::Ip(packet),
        };
        self.table.observe(&[seen], &self.interfaces, &BareDirectory);
    }

    fn segment(&mut self, segment: Segment) {
        self.windowed(segment, 1_000);
    }

    fn windowed(&mut self, (sender, flags, sequence, acknowledgment, payload_bytes): Segment, window: u16) {
        let tcp = TcpFacts { flags, sequence, acknowledgment, window, payload_bytes };
        self.see(Packet { tcp: Some(tcp), ..packet(sender, Protocol::TCP) });
    }

    fn drained(&mut self) -> Vec<Delta> {
        let mut deltas: Vec<Delta> = Vec::new();
        self.table.drain(&mut deltas);
        deltas
    }

    fn flow(&mut self) -> Flow {
        let deltas = self.drained();
        deltas.iter().map(|delta| delta.flow).min_by_key(|flow| flow.id).unwrap()
    }
}

fn packet(sender: Sender, protocol: Protocol) -> Packet {
    let (from, to) = if sender == Client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
    Packet {
        source: address(from.0),
        destination: address(to.0),
        protocol,
        ports: protocol.has_ports().then_some((Port(from.1), Port(to.1))),
        tcp: None,
        icmp: None,
        fragment: Fragment::Whole,
        vlan: None,
        is_tunnel: false,
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn told(segments: &[Segment]) -> Flow {
    let mut story = Story::new();
    segments.iter().for_each(|segment| story.segment(*segment));
    story.flow()
}

const OPEN: [Segment; 3] =
    [(Client, SYN, 100, 0, 0), (Server, SYN | ACK, 500, 101, 0), (Client, ACK, 101, 501, 0)];

fn after_opening(segments: &[Segment]) -> Flow {
    told(&[&OPEN, segments].concat())
}

#[test]
fn a_flow_is_told_in_the_letters_of_its_packets() {
    #[rustfmt::skip]
    let cases: &[(&str, &[Segment], &str, &str)] = &[
        ("whole",           &[OPEN[0], OPEN[1], OPEN[2], (Client, ACK, 101, 501, 10), (Server, ACK, 501, 111, 0), (Server, ACK, 501, 111, 20), (Client, ACK | FIN, 111, 521, 0), (Server, ACK | FIN, 521, 112, 0)], "ShADadFf", "SF"),
        ("fast open",       &[(Client, SYN, 100, 0, 50), (Server, SYN | ACK, 500, 151, 0), (Client, ACK, 151, 501, 10)],  "SDh",     "S1"),
        ("crossing SYNs",   &[(Client, SYN, 100, 0, 0), (Server, SYN, 500, 0, 0), (Client, SYN | ACK, 100, 501, 0), (Server, SYN | ACK, 500, 101, 0)], "SsHh", "S1"),
        ("split",           &[(Client, SYN, 100, 0, 0), (Server, ACK, 500, 101, 0), (Server, SYN, 500, 0, 0), (Client, SYN | ACK, 100, 501, 0), (Server, ACK, 501, 101, 0)], "SasH", "S1"),
        ("SYN twice",       &[(Client, SYN, 100, 0, 0), (Client, SYN, 100, 0, 0)],                                      "S",       "S0"),
        ("SYN, another",    &[(Client, SYN, 100, 0, 0), (Client, SYN, 900, 0, 0)],                                      "SS",      "S0"),
        ("refused",         &[(Client, SYN, 100, 0, 0), (Server, RST | ACK, 0, 101, 0)],                                "Sr",      "REJ"),
        ("SYN and FIN",     &[(Client, SYN | FIN, 100, 0, 0)],                                                          "Q",       "OTH"),
        ("FIN and RST",     &[(Client, RST | FIN, 100, 0, 0)],                                                          "I",       "OTH"),
        ("nothing set",     &[(Client, 0, 100, 0, 0)],                                                                  "",        "OTH"),
    ];
    for (name, segments, history, state) in cases {
        let flow = told(segments);
        assert_eq!(flow.history.text(flow.initiator), *history, "{name}");
        assert_eq!(flow.conn_state().word(), *state, "{name}");
    }
}

#[test]
fn a_segment_that_begins_before_the_end_was_sent_again() {
    #[rustfmt::skip]
    let cases: &[Resent<'_>] = &[
        // After the opening: what follows; resent by client and server; gaps of both; history.
        ("in order",          &[(Client, ACK, 101, 501, 10), (Client, ACK, 111, 501, 10)],                              [0, 0], [0, 0], "ShAD"),
        ("twice",             &[(Client, ACK, 101, 501, 10), (Client, ACK, 101, 501, 10)],                              [1, 0], [0, 0], "ShADT"),
        ("more than before",  &[(Client, ACK, 101, 501, 10), (Client, ACK, 101, 501, 30)],                              [1, 0], [0, 0], "ShAD"),
        ("SYN-ACK again",     &[(Server, SYN | ACK, 500, 101, 0)],                                                      [0, 1], [0, 0], "ShA"),
        ("FIN again",         &[(Client, ACK | FIN, 101, 501, 0), (Client, ACK | FIN, 101, 501, 0)],                    [1, 0], [0, 0], "ShAF"),
        ("keep-alive, empty", &[(Client, ACK, 101, 501, 10), (Client, ACK, 110, 501, 0)],                               [0, 0], [0, 0], "ShAD"),
        ("keep-alive, byte",  &[(Client, ACK, 101, 501, 10), (Client, ACK, 110, 501, 1)],                               [0, 0], [0, 0], "ShAD"),
        ("an old ACK",        &[(Client, ACK, 101, 501, 10), (Client, ACK, 101, 501, 0)],                               [0, 0], [0, 0], "ShAD"),
        ("out of order",      &[(Client, ACK, 111, 501, 10), (Client, ACK, 101, 501, 10), (Server, ACK, 501, 121, 0)],  [1, 0], [0, 0], "ShADTa"),
        ("hole acknowledged", &[(Client, ACK, 111, 501, 10), (Server, ACK, 501, 121, 0)],                               [0, 0], [1, 0], "ShADaG"),
        ("hole asked for",    &[(Client, ACK, 111, 501, 10), (Server, ACK, 501, 101, 0)],                               [0, 0], [0, 0], "ShADa"),
        ("never seen",        &[(Server, ACK, 501, 131, 0), (Server, ACK, 501, 131, 0)],                                [0, 0], [1, 0], "ShAaG"),
        ("never seen, more",  &[(Server, ACK, 501, 131, 0), (Server, ACK, 501, 161, 0)],                                [0, 0], [2, 0], "ShAaG"),
        ("a RST's numbers",   &[(Server, RST | ACK, 9, 900_000, 0)],                                                    [0, 0], [0, 0], "ShAr"),
    ];
    for (name, segments, resent, gaps, history) in cases {
        let flow = after_opening(segments);
        assert_eq!(flow.directed(flow.retransmissions), (resent[0], resent[1]), "{name}");
        assert_eq!(flow.directed(flow.gaps), (gaps[0], gaps[1]), "{name}");
        assert_eq!(flow.history.text(flow.initiator), *history, "{name}");
    }
}

#[test]
fn what_was_acknowledged_unseen_is_counted_at_least_and_taken_back_when_it_comes() {
    #[rustfmt::skip]
    let cases: &[(&str, &[Segment], u64)] = &[
        // After the opening: what follows; numbers of the client's that were acknowledged and never seen.
        ("in order",             &[(Client, ACK, 101, 501, 10), (Server, ACK, 501, 111, 0)],                                           0),
        ("a hole",               &[(Client, ACK, 121, 501, 10), (Server, ACK, 501, 131, 0)],                                           20),
        ("a hole asked for",     &[(Client, ACK, 121, 501, 10), (Server, ACK, 501, 101, 0)],                                           0),
        ("a hole in part",       &[(Client, ACK, 121, 501, 10), (Server, ACK, 501, 111, 0)],                                           10),
        ("a filled hole",        &[(Client, ACK, 121, 501, 10), (Client, ACK, 101, 501, 20), (Server, ACK, 501, 131, 0)],              0),
        ("half filled",          &[(Client, ACK, 121, 501, 10), (Client, ACK, 111, 501, 10), (Server, ACK, 501, 131, 0)],              10),
        ("filled too late",      &[(Client, ACK, 121, 501, 10), (Server, ACK, 501, 131, 0), (Client, ACK, 101, 501, 20)],              0),
        ("two holes",            &[(Client, ACK, 111, 501, 10), (Client, ACK, 131, 501, 10), (Server, ACK, 501, 141, 0)],              20),
        ("nobody sent it",       &[(Server, ACK, 501, 131, 0), (Server, ACK, 501, 161, 0)],                                            0),
        ("beyond, comes late",   &[(Server, ACK, 501, 131, 0), (Client, ACK, 101, 501, 30)],                                           0),
        ("late, in two",         &[(Server, ACK, 501, 131, 0), (Client, ACK, 101, 501, 10), (Client, ACK, 111, 501, 20)],              0),
        ("beyond, half late",    &[(Server, ACK, 501, 131, 0), (Client, ACK, 116, 501, 40), (Server, ACK, 501, 156, 0)],               15),
        ("beyond, then further", &[(Server, ACK, 501, 131, 0), (Client, ACK, 131, 501, 10), (Server, ACK, 501, 141, 0)],               30),
        ("more beyond",          &[(Server, ACK, 501, 131, 0), (Client, ACK, 151, 501, 10), (Server, ACK, 501, 161, 0)],               50),
        ("a wild one before",    &[(Server, ACK, 501, 99_999, 0), (Client, ACK, 111, 501, 10), (Server, ACK, 501, 121, 0)],            10),
        ("an unseen FIN",        &[(Client, ACK, 102, 501, 0), (Server, ACK, 501, 102, 0)],                                            1),
        ("after a late one",     &[(Server, ACK, 501, 111, 0), (Client, ACK, 101, 501, 10), (Client, ACK, 111, 501, 10)],              0),
    ];
    for (name, segments, numbers) in cases {
        let flow = after_opening(segments);
        assert_eq!(flow.directed(flow.unseen), (*numbers, 0), "{name}");
        assert_eq!(flow.unseen_bytes(), numbers.saturating_sub(1), "{name}");
    }
}

#[test]
fn sequence_numbers_go_round() {
    let mut segments = vec![(Client, SYN, u32::MAX - 20, 0, 0), (Server, SYN | ACK, 500, u32::MAX - 19, 0)];
    let first = u32::MAX - 19;
    for number in 0..4 {
        segments.push((Client, ACK, first.wrapping_add(number * 10), 501, 10));
        segments.push((Server, ACK, 501, first.wrapping_add(number * 10 + 10), 0));
    }
    let flow = told(&segments);
    assert_eq!((flow.retransmissions, flow.gaps), ([0, 0], [0, 0]));
    segments.push((Client, ACK, first, 501, 10));
    assert_eq!(told(&segments).retransmissions, [1, 0]);
}

#[test]
fn a_window_is_closed_by_zero_and_not_by_a_flag() {
    for (flags, expected) in [(ACK, 12), (ACK | FIN, 0), (RST, 0)] {
        let mut story = Story::new();
        OPEN.iter().for_each(|segment| story.segment(*segment));
        for _ in 0..12 {
            story.windowed((Server, flags, 501, 101, 0), 0);
        }
        let flow = story.flow();
        assert_eq!(flow.directed(flow.zero_windows), (0, expected), "{flags}");
        let letters = flow.history.text(flow.initiator).matches('w').count();
        assert_eq!(letters, if expected > 0 { 2 } else { 0 }, "{flags}");
    }
}

#[test]
fn both_halves_of_the_round_trip_are_of_segments_sent_once() {
    let again = (Server, SYN | ACK, 500, 101, 0);
    #[rustfmt::skip]
    let cases: &[RoundTrip<'_>] = &[
        ("plain",             &OPEN,                                                        Some(1), Some(1)),
        ("SYN again",         &[OPEN[0], OPEN[0], OPEN[1], OPEN[2]],                        None,    Some(1)),
        ("SYN-ACK again",     &[OPEN[0], OPEN[1], again, OPEN[2]],                          Some(1), None),
        ("another's ACK",     &[OPEN[0], OPEN[1], (Client, ACK, 101, 900, 0), OPEN[2]],     Some(1), None),
        ("no SYN",            &OPEN[1..],                                                   None,    Some(1)),
    ];
    for (name, segments, there, back) in cases {
        let flow = told(segments);
        let milliseconds = |rtt: Option<i64>| rtt.map(|rtt| rtt / Timestamp::MILLISECOND);
        assert_eq!((milliseconds(flow.rtt), milliseconds(flow.ack_rtt)), (*there, *back), "{name}");
    }
}

#[test]
fn an_icmp_error_is_told_of_the_flow_it_quotes_and_unmakes_no_answer() {
    let error = |story: &mut Story, kind, code| {
        let quoted = Quoted {
            source: address(CLIENT.0),
            destination: address(SERVER.0),
            protocol: Protocol::TCP,
            ports: Some((Port(CLIENT.1), Port(SERVER.1))),
        };
        let icmp = IcmpFacts { kind, code, quoted: Some(quoted) };
        story.see(Packet {
            source: address("10.0.0.254"),
            icmp: Some(icmp),
            ..packet(Server, Protocol::ICMP)
        });
    };
    for (segments, outcome) in [(&OPEN[..1], Outcome::Refused), (&OPEN[..], Outcome::Answered)] {
        let mut story = Story::new();
        segments.iter().for_each(|segment| story.segment(*segment));
        error(&mut story, 3, 4);
        error(&mut story, 3, 1);
        let flow = story.flow();
        assert_eq!(flow.icmp_error, Some(IcmpError { kind: 3, code: 1, count: 2 }));
        assert_eq!(flow.outcome, outcome);
    }
    let mut story = Story::new();
    story.segment(OPEN[0]);
    // Too big is a detour, not a refusal.
    error(&mut story, 3, 4);
    assert_eq!(story.flow().outcome, Outcome::Pending);
}

#[test]
fn bytes_beyond_32_bits_between_two_deltas_are_counted_exactly() {
    let mut story = Story::new();
    OPEN.iter().for_each(|segment| story.segment(*segment));
    story.wire_bytes = 2_000_000_000;
    for number in 0..7 {
        story.segment((Client, ACK, 101 + number * 10, 501, 10));
    }
    let [delta] = story.drained().try_into().unwrap();
    let [client, server] = delta.grown;
    assert_eq!(client, Tally { frames: 9, bytes: 14_000_000_120 });
    assert_eq!(server, Tally { frames: 1, bytes: 60 });
    assert_eq!(delta.flow.bytes, [14_000_000_120, 60]);
    story.wire_bytes = 60;
    story.segment((Client, ACK, 171, 501, 10));
    let [delta] = story.drained().try_into().unwrap();
    assert_eq!(delta.grown, [Tally { frames: 1, bytes: 60 }, Tally::default()]);
    assert_eq!(delta.flow.bytes, [14_000_000_180, 60]);
    assert_eq!(delta.flow.frames, [10, 1]);
}

#[test]
fn a_fragment_without_a_header_makes_no_gap() {
    let tcp =
        TcpFacts { flags: ACK, sequence: 101, acknowledgment: 501, window: 1_000, payload_bytes: 1_000 };
    let first =
        Packet { tcp: Some(tcp), fragment: Fragment::First { id: 7 }, ..packet(Client, Protocol::TCP) };
    let later = Packet { ports: None, fragment: Fragment::Later { id: 7 }, ..packet(Client, Protocol::TCP) };
    for (order, frames) in [([first, later], [5, 3]), ([later, first], [4, 3])] {
        let mut story = Story::new();
        OPEN.iter().for_each(|segment| story.segment(*segment));
        order.iter().for_each(|fragment| story.see(*fragment));
        story.segment((Server, ACK, 501, 1_601, 0));
        story.segment((Client, ACK, 1_601, 501, 10));
        story.segment((Server, ACK, 501, 1_611, 0));
        let deltas = story.drained();
        // A later fragment ahead of its first one has no ports, and is in a flow without.
        let flow = deltas.iter().map(|delta| delta.flow).find(|flow| flow.ends[0].port.is_some()).unwrap();
        assert_eq!((flow.gaps, flow.retransmissions), ([0, 0], [0, 0]));
        assert_eq!(flow.frames, frames);
    }
}

#[test]
fn an_exchange_needs_both_ends_to_be_heard() {
    #[rustfmt::skip]
    let cases: &[(&str, &[Segment], u64)] = &[
        ("half open",             &[OPEN[0], OPEN[1], (Client, RST, 101, 0, 0)],                                                   0),
        ("opened and left",       &[OPEN[0], OPEN[1], OPEN[2], (Client, ACK | RST, 101, 501, 0)],                                  0),
        ("a banner read",         &[OPEN[0], OPEN[1], OPEN[2], (Server, ACK, 501, 101, 20), (Client, ACK, 101, 521, 0)],           0),
        ("nobody listens",        &[OPEN[0], OPEN[1], OPEN[2], (Client, ACK, 101, 501, 10)],                                       0),
        ("taken",                 &[OPEN[0], OPEN[1], OPEN[2], (Client, ACK, 101, 501, 10), (Server, ACK, 501, 111, 0)],           1),
        ("answered",              &[OPEN[0], OPEN[1], OPEN[2], (Client, ACK, 101, 501, 10), (Server, ACK, 501, 111, 20)],          1),
        ("refused",               &[OPEN[0], (Server, RST | ACK, 0, 101, 0)],                                                      0),
        ("answered by a stranger", &[(Client, SYN, 100, 0, 50), (Server, RST | ACK, 0, 151, 0)],                                   0),
    ];
    for (name, segments, expected) in cases {
        let mut story = Story::new();
        let mut conversations = Conversations::new();
        for segment in *segments {
            story.segment(*segment);
            // A flow is counted once, however many deltas tell of it.
            story.drained().iter().for_each(|delta| conversations.apply(delta));
        }
        let occasion = Occasion {
            at: Timestamp(2_000_000_000_000),
            ledger: Ledger::default(),
            kernel_dropped: None,
            completeness: Completeness::Complete,
            withhold: 0,
        };
        let snapshot = conversations.snapshot(occasion, &Names::default());
        let exchanged: Vec<u64> = snapshot.conversations.iter().map(|it| it.exchanged).collect();
        assert_eq!(exchanged, [*expected], "{name}");
    }
}
