//! The plain conversation table: by address, without roles, whatever timeouts did.
//!
//! Stateless sums over packets, each read on its own: protocol and unordered pair of endpoints are the key, and
//! every packet with an IP header is in exactly one conversation. It exists to be compared with other tools, so
//! its bytes are the records' original lengths and its times are exactly the source's, however absurd.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Serialize, Serializer};

use crate::ledger::Tally;
use crate::observation::{Fragment, Network, NonIp, Observation, Packet, TcpFacts};
use crate::units::{Port, Protocol, Timestamp};

/// What the table has to know of a frame's record besides the observation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Record {
    /// Length of the record before the snaplen, in bytes, with the link header the capture has.
    pub original_bytes: u32,
    /// Bytes the capture kept.
    pub captured_bytes: u32,
    /// Seconds of its stamp beyond what a `Timestamp` holds; zero for every honest source.
    pub beyond_seconds: i64,
}

/// Adds packets up by protocol and unordered pair of endpoints.
#[derive(Debug)]
pub struct PlainConversations {
    conversations: HashMap<Key, Sums, foldhash::fast::RandomState>,
    conversations_max: usize,
    totals: Totals,
}

/// What all records add up to, whether or not they are in a conversation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Totals {
    /// Records, those that could not be read included.
    pub packets: u64,
    /// Their original lengths.
    pub wire_bytes: u64,
    /// What the capture kept of them.
    pub captured_bytes: u64,
    /// ARP and RARP frames.
    pub arp: u64,
    /// Other frames without an IP header.
    pub other: u64,
    /// Records without a readable IP header.
    pub rejected: u64,
    /// Conversations listed.
    pub conversations: u64,
    /// Packets of conversations beyond the limit.
    pub overflow_packets: u64,
    /// Their original lengths.
    pub overflow_bytes: u64,
}

impl PlainConversations {
    /// Most conversations held unless told otherwise: about 300 MB.
    pub const CONVERSATIONS_MAX: usize = 1 << 20;

    /// Builds an empty table that holds at most `conversations_max` conversations; packets of any further one
    /// are counted in the totals only.
    pub fn new(conversations_max: usize) -> Self {
        Self { conversations: HashMap::default(), conversations_max, totals: Totals::default() }
    }

    /// Adds one frame.
    pub fn observe(&mut self, seen: &Observation, record: Record) {
        self.count(record);
        let packet = match &seen.network {
            Network::Ip(packet) => packet,
            Network::NonIp(NonIp::Arp(_)) => {
                self.totals.arp += 1;
                return;
            }
            Network::NonIp(NonIp::Other) => {
                self.totals.other += 1;
                return;
            }
        };
        let (key, sender) = Key::new(packet);
        let has_room = self.conversations.len() < self.conversations_max;
        let sums = match self.conversations.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) if has_room => entry.insert(Sums::new(sender)),
            Entry::Vacant(_) => {
                self.totals.overflow_packets += 1;
                self.totals.overflow_bytes += u64::from(record.original_bytes);
                return;
            }
        };
        sums.add(packet, sender, record.original_bytes);
        if seen.is_timed {
            sums.see(exact(seen.at, record.beyond_seconds));
        }
    }

    /// Counts one record whose frame could not be read.
    pub fn reject(&mut self, record: Record) {
        self.count(record);
        self.totals.rejected += 1;
    }

    /// Returns what all records add up to.
    pub fn totals(&self) -> Totals {
        Totals { conversations: self.conversations.len() as u64, ..self.totals }
    }

    /// Returns the conversations by protocol number, then by endpoints.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        let mut keys: Vec<_> = self.conversations.iter().collect();
        keys.sort_unstable_by_key(|(key, _)| **key);
        keys.into_iter().map(|(key, sums)| Row::new(key, sums))
    }

    fn count(&mut self, record: Record) {
        self.totals.packets += 1;
        self.totals.wire_bytes += u64::from(record.original_bytes);
        self.totals.captured_bytes += u64::from(record.captured_bytes);
    }
}

impl Default for PlainConversations {
    fn default() -> Self {
        Self::new(Self::CONVERSATIONS_MAX)
    }
}

/// An address and a port. IPv4 sorts before IPv6, no port before any.
type Endpoint = (IpAddr, Option<Port>);

/// Protocol, the smaller endpoint, the greater one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Key {
    protocol: Protocol,
    a: Endpoint,
    b: Endpoint,
}

impl Key {
    fn new(packet: &Packet) -> (Self, Sender) {
        let (source_port, destination_port) = packet.ports.unzip();
        let source = (packet.source, source_port);
        let destination = (packet.destination, destination_port);
        let protocol = packet.protocol;
        if source <= destination {
            (Self { protocol, a: source, b: destination }, Sender::A)
        } else {
            (Self { protocol, a: destination, b: source }, Sender::B)
        }
    }
}

/// Which endpoint sent. Where both are equal: `a`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sender {
    /// The smaller endpoint.
    A,
    /// The greater one.
    B,
}

#[derive(Debug)]
struct Sums {
    from_a: Tally,
    from_b: Tally,
    span: Option<(i128, i128)>,
    first_sender: Sender,
    initiator: Option<Sender>,
    flags: Flags,
    later_fragments: u64,
}

/// TCP segments with these bits, both ways together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Flags {
    /// SYN without ACK.
    pub syn: u64,
    /// SYN with ACK.
    pub synack: u64,
    /// FIN.
    pub fin: u64,
    /// RST.
    pub rst: u64,
}

impl Sums {
    fn new(first_sender: Sender) -> Self {
        Self {
            from_a: Tally::default(),
            from_b: Tally::default(),
            span: None,
            first_sender,
            initiator: None,
            flags: Flags::default(),
            later_fragments: 0,
        }
    }

    fn add(&mut self, packet: &Packet, sender: Sender, original_bytes: u32) {
        match sender {
            Sender::A => self.from_a.count(original_bytes),
            Sender::B => self.from_b.count(original_bytes),
        }
        match packet.fragment {
            Fragment::Whole | Fragment::First { .. } => {}
            Fragment::Later { .. } => self.later_fragments += 1,
        }
        if let Some(tcp) = packet.tcp {
            self.add_flags(tcp, sender);
        }
    }

    fn add_flags(&mut self, tcp: TcpFacts, sender: Sender) {
        if tcp.is_syn() {
            self.flags.syn += 1;
            self.initiator.get_or_insert(sender);
        }
        self.flags.synack += u64::from(tcp.is_syn_ack());
        self.flags.fin += u64::from(tcp.is_fin());
        self.flags.rst += u64::from(tcp.is_rst());
    }

    fn see(&mut self, at: i128) {
        let (first, last) = self.span.unwrap_or((at, at));
        self.span = Some((first.min(at), last.max(at)));
    }
}

/// Nanoseconds since the epoch, as the source had them.
fn exact(at: Timestamp, beyond_seconds: i64) -> i128 {
    i128::from(at.0) + i128::from(beyond_seconds) * i128::from(Timestamp::SECOND)
}

/// One conversation as it is written: one object a line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// IP protocol number.
    pub proto: u8,
    /// The protocol's name, or its number.
    pub proto_name: String,
    /// The smaller endpoint's address.
    pub a: String,
    /// Its port; `null` for protocols without ports, later fragments, and where the port was not captured.
    pub a_port: Option<Port>,
    /// The greater endpoint's address.
    pub b: String,
    /// Its port.
    pub b_port: Option<Port>,
    /// Sent by `a`.
    pub a_to_b: Amount,
    /// Sent by `b`.
    pub b_to_a: Amount,
    /// Least time stamp.
    pub first_ts: Option<Seconds>,
    /// Greatest time stamp.
    pub last_ts: Option<Seconds>,
    /// Sender of the first packet in the order of the capture.
    pub first_sender: Sender,
    /// Fragments with an offset.
    pub noninitial_fragments: u64,
    /// What TCP adds; absent for every other protocol.
    #[serde(flatten)]
    pub tcp: Option<TcpRow>,
}

/// Packets and original bytes one way.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Amount {
    /// Packets.
    pub packets: u64,
    /// Bytes before the snaplen, link header included.
    pub bytes: u64,
}

/// What a TCP conversation says in addition.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct TcpRow {
    /// Sender of the first SYN without ACK.
    pub initiator: Option<Sender>,
    /// Segments by control bit.
    pub flags: Flags,
}

impl Row {
    fn new(key: &Key, sums: &Sums) -> Self {
        let is_tcp = key.protocol == Protocol::TCP;
        let amount = |tally: Tally| Amount { packets: tally.frames, bytes: tally.bytes };
        Self {
            proto: key.protocol.0,
            proto_name: protocol_name(key.protocol),
            a: address(key.a.0),
            a_port: key.a.1,
            b: address(key.b.0),
            b_port: key.b.1,
            a_to_b: amount(sums.from_a),
            b_to_a: amount(sums.from_b),
            first_ts: sums.span.map(|(first, _)| Seconds(first)),
            last_ts: sums.span.map(|(_, last)| Seconds(last)),
            first_sender: sums.first_sender,
            noninitial_fragments: sums.later_fragments,
            tcp: is_tcp.then_some(TcpRow { initiator: sums.initiator, flags: sums.flags }),
        }
    }
}

/// Nanoseconds since the epoch, written as seconds with nine decimals.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Seconds(pub i128);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:09}", size / 1_000_000_000, size % 1_000_000_000)
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Writes an address as RFC 5952 does, but an IPv4-mapped one in hexadecimal, as other tools' exports have it.
fn address(address: IpAddr) -> String {
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => mapped(v6),
        IpAddr::V4(_) | IpAddr::V6(_) => address.to_string(),
    }
}

fn mapped(address: Ipv6Addr) -> String {
    let [.., high, low] = address.segments();
    format!("::ffff:{high:x}:{low:x}")
}

/// Names as IANA has them, for the protocols one meets.
fn protocol_name(protocol: Protocol) -> String {
    let name = match protocol.0 {
        0 => "hopopt",
        1 => "icmp",
        2 => "igmp",
        4 => "ipip",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        41 => "ipv6",
        43 => "ipv6-route",
        44 => "ipv6-frag",
        46 => "rsvp",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        58 => "icmpv6",
        59 => "ipv6-nonxt",
        60 => "ipv6-opts",
        88 => "eigrp",
        89 => "ospf",
        103 => "pim",
        108 => "ipcomp",
        112 => "vrrp",
        115 => "l2tp",
        132 => "sctp",
        135 => "mobility",
        136 => "udplite",
        number => return number.to_string(),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interfaces::InterfaceId;
    use crate::observation::{Direction, MacAddr};

    #[test]
    fn both_directions_are_one_conversation_and_the_smaller_endpoint_is_a() {
        let mut plain = PlainConversations::default();
        plain.observe(&tcp("10.0.0.2", 40_000, "10.0.0.1", 80, TcpFacts::SYN), record(74));
        plain.observe(&tcp("10.0.0.1", 80, "10.0.0.2", 40_000, TcpFacts::SYN | TcpFacts::ACK), record(60));
        let rows: Vec<_> = plain.rows().collect();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].a, "10.0.0.1");
        assert_eq!(rows[0].first_sender, Sender::B);
        assert_eq!(rows[0].a_to_b, Amount { packets: 1, bytes: 60 });
        assert_eq!(rows[0].b_to_a, Amount { packets: 1, bytes: 74 });
        let flags = Flags { syn: 1, synack: 1, fin: 0, rst: 0 };
        assert_eq!(rows[0].tcp, Some(TcpRow { initiator: Some(Sender::B), flags }));
    }

    #[test]
    fn conversations_beyond_the_limit_are_counted_and_known_ones_go_on() {
        let mut plain = PlainConversations::new(1);
        plain.observe(&tcp("10.0.0.1", 1, "10.0.0.2", 2, 0), record(60));
        plain.observe(&tcp("10.0.0.1", 1, "10.0.0.3", 2, 0), record(61));
        plain.observe(&tcp("10.0.0.1", 1, "10.0.0.2", 2, 0), record(62));
        plain.reject(record(7));
        let totals = plain.totals();
        assert_eq!((totals.overflow_packets, totals.overflow_bytes), (1, 61));
        assert_eq!((totals.packets, totals.wire_bytes, totals.rejected), (4, 190, 1));
        assert_eq!(plain.rows().next().unwrap().a_to_b, Amount { packets: 2, bytes: 122 });
    }

    #[test]
    fn times_are_exact_beyond_what_a_timestamp_holds() {
        let at = Timestamp::from_parts(1, 277_451_000);
        #[rustfmt::skip]
        let cases = [
            (at,              0,                  "1.277451000"),
            (at,              18_446_744_073_203, "18446744073204.277451000"),
            (Timestamp(-1),   0,                  "-0.000000001"),
        ];
        for (at, beyond, text) in cases {
            assert_eq!(Seconds(exact(at, beyond)).to_string(), text);
        }
    }

    #[test]
    fn a_mapped_address_is_written_in_hexadecimal() {
        assert_eq!(address("::ffff:192.0.2.1".parse().unwrap()), "::ffff:c000:201");
        assert_eq!(address("2001:db8::1".parse().unwrap()), "2001:db8::1");
    }

    fn record(original_bytes: u32) -> Record {
        Record { original_bytes, captured_bytes: original_bytes, beyond_seconds: 0 }
    }

    fn tcp(source: &str, source_port: u16, destination: &str, port: u16, flags: u8) -> Observation {
        Observation {
            at: Timestamp(0),
            is_timed: true,
            frame: 1,
            interface: InterfaceId(0),
            direction: Direction::Unstated,
            source_mac: MacAddr::default(),
            wire_bytes: 60,
            fingerprint: 0,
            network: Network::Ip(Packet {
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
                protocol: Protocol::TCP,
                ports: Some((Port(source_port), Port(port))),
                tcp: Some(TcpFacts { flags, sequence: 0, acknowledgment: 0, window: 0, payload_bytes: 0 }),
                icmp: None,
                fragment: Fragment::Whole,
                vlan: None,
                is_tunnel: false,
            }),
        }
    }
}
