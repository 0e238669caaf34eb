//! The flow key: what makes two packets the same flow.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};

use foldhash::fast::FixedState;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::directory::{AttachmentId, ScopeId};
use crate::flow::Side;
use crate::observation::Packet;
use crate::units::{Port, Protocol};

/// Address and port of one end.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Endpoint {
    pub(crate) address: IpAddr,
    pub(crate) port: Option<Port>,
}

impl Endpoint {
    /// The fixed order of a key's ends: address length, address, port; no port before every port.
    fn rank(&self) -> (u8, u128, Option<Port>) {
        match self.address {
            IpAddr::V4(v4) => (4, u128::from(u32::from(v4)), self.port),
            IpAddr::V6(v6) => (16, u128::from(v6), self.port),
        }
    }

    /// All of it in bytes: address, its length, whether there is a port, and the port.
    fn octets(&self) -> [u8; 20] {
        let mut octets = [0; 20];
        let length = match self.address {
            IpAddr::V4(v4) => {
                octets[..4].copy_from_slice(&v4.octets());
                4
            }
            IpAddr::V6(v6) => {
                octets[..16].copy_from_slice(&v6.octets());
                16
            }
        };
        octets[16] = length;
        octets[17] = u8::from(self.port.is_some());
        octets[18..].copy_from_slice(&self.port.unwrap_or_default().0.to_ne_bytes());
        octets
    }
}

/// Scope, both ends in fixed order, protocol; 16 bytes, the same for both directions.
///
/// IPv4 is held exactly: `kind 8 | scope 16 | protocol 8 | address 32 | address 32 | port 16 | port 16`. Everything
/// else is a 128-bit keyed hash, marked by the kind, so that a sender who knows the program cannot make two
/// flows meet. A sender whose source address somebody else holds gets a key of its own.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct FlowKey(pub(crate) u128);

/// What a key that holds IPv4 exactly says of its flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Exact {
    pub(crate) scope: ScopeId,
    pub(crate) protocol: Protocol,
    /// Addresses of A and of B.
    pub(crate) addresses: [Ipv4Addr; 2],
    /// Their ports, where there are any.
    pub(crate) ports: Option<[Port; 2]>,
}

impl FlowKey {
    /// Returns what the key says of its flow; `None` where it is a hash.
    pub(crate) fn exact(self) -> Option<Exact> {
        let has_ports = match self.0 & !BELOW_KIND {
            KIND_V4 => false,
            KIND_V4_PORTS => true,
            _ => return None,
        };
        let [_, scope @ .., protocol, a0, a1, a2, a3, b0, b1, b2, b3, p0, p1, q0, q1] = self.0.to_be_bytes();
        let ports = [u16::from_be_bytes([p0, p1]), u16::from_be_bytes([q0, q1])].map(Port);
        Some(Exact {
            scope: ScopeId(u16::from_be_bytes(scope)),
            protocol: Protocol(protocol),
            addresses: [[a0, a1, a2, a3], [b0, b1, b2, b3]].map(Ipv4Addr::from),
            ports: has_ports.then_some(ports),
        })
    }

    /// Returns whether the key says all of its flow's ends.
    pub(crate) fn is_exact(self) -> bool {
        matches!(self.0 & !BELOW_KIND, KIND_V4 | KIND_V4_PORTS)
    }
}

const KIND_V4: u128 = 0x40 << 120;
const KIND_V4_PORTS: u128 = 0x41 << 120;
const KIND_HASHED: u128 = 0x60 << 120;
const BELOW_KIND: u128 = (1 << 120) - 1;

/// Builds keys and their hashes. The seed is fixed in replay, so that two replays are equal, and random live, so
/// that nobody outside can aim at one neighbourhood of the table.
#[derive(Clone, Debug)]
pub(crate) struct Keyer {
    index: FixedState,
    seed: u64,
}

impl Keyer {
    pub(crate) fn new(seed: u64) -> Self {
        Self { index: FixedState::with_seed(seed), seed }
    }

    /// Builds the key for a packet and says which side sent it. Two equal ends make the sender side A.
    #[inline]
    pub(crate) fn key(
        &self,
        scope: ScopeId,
        sender: Endpoint,
        receiver: Endpoint,
        protocol: Protocol,
        forger: Option<AttachmentId>,
    ) -> (FlowKey, Side) {
        let is_first = match (sender.address, receiver.address) {
            // The order of ranks, without their length.
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                (u32::from(one), sender.port) <= (u32::from(other), receiver.port)
            }
            (IpAddr::V4(_) | IpAddr::V6(_), _) => sender.rank() <= receiver.rank(),
        };
        let (a, b, side) = if is_first { (sender, receiver, Side::A) } else { (receiver, sender, Side::B) };
        let key = match (a.address, b.address, forger) {
            (IpAddr::V4(first), IpAddr::V4(second), None) => {
                let (kind, ports) = match (a.port, b.port) {
                    (Some(p), Some(q)) => (KIND_V4_PORTS, u128::from(p.0) << 16 | u128::from(q.0)),
                    (None, None) | (None, Some(_)) | (Some(_), None) => (KIND_V4, 0),
                };
                kind | u128::from(scope.0) << 104
                    | u128::from(protocol.0) << 96
                    | u128::from(u32::from(first)) << 64
                    | u128::from(u32::from(second)) << 32
                    | ports
            }
            _ => self.hashed(scope, a, b, protocol, forger),
        };
        (FlowKey(key), side)
    }

    /// Builds the key of a packet that is nobody's forgery. Equal to [`Keyer::key`] of its ends, and reads the common
    /// kind of packet straight from where it stands.
    #[inline(always)]
    pub(crate) fn key_of(&self, scope: ScopeId, packet: &Packet) -> (FlowKey, Side) {
        let (IpAddr::V4(source), IpAddr::V4(destination), Some((from, to))) =
            (&packet.source, &packet.destination, packet.ports)
        else {
            let end = |address, port| Endpoint { address, port };
            let ports = packet.ports;
            let sender = end(packet.source, ports.map(|ports| ports.0));
            let receiver = end(packet.destination, ports.map(|ports| ports.1));
            return self.key(scope, sender, receiver, packet.protocol, None);
        };
        let rank = |address: &Ipv4Addr, port: Port| u64::from(u32::from(*address)) << 16 | u64::from(port.0);
        let (sender, receiver) = (rank(source, from), rank(destination, to));
        let (a, b, side) =
            if sender <= receiver { (sender, receiver, Side::A) } else { (receiver, sender, Side::B) };
        let addresses = (a >> 16) << 32 | b >> 16;
        let ports = (a & 0xffff) << 16 | b & 0xffff;
        let key = KIND_V4_PORTS
            | u128::from(scope.0) << 104
            | u128::from(packet.protocol.0) << 96
            | u128::from(addresses) << 32
            | u128::from(ports);
        (FlowKey(key), side)
    }

    #[inline(never)]
    fn hashed(
        &self,
        scope: ScopeId,
        a: Endpoint,
        b: Endpoint,
        protocol: Protocol,
        forger: Option<AttachmentId>,
    ) -> u128 {
        // In one piece: many small ones cost several times as much.
        let mut piece = [0; 48];
        piece[..20].copy_from_slice(&a.octets());
        piece[20..40].copy_from_slice(&b.octets());
        piece[40..42].copy_from_slice(&scope.0.to_ne_bytes());
        piece[42] = protocol.0;
        piece[44..].copy_from_slice(&forger.map_or(0, |attachment| attachment.0).to_ne_bytes());
        let mut hasher = SipHasher13::new_with_keys(self.seed, !self.seed);
        hasher.write(&piece);
        KIND_HASHED | (hasher.finish128().as_u128() & BELOW_KIND)
    }

    /// Returns the hash that places a key in the table.
    #[inline]
    pub(crate) fn place(&self, key: FlowKey) -> u64 {
        self.index.hash_one(key.0)
    }

    /// Returns a hash over anything, for the small direct-mapped caches.
    pub(crate) fn digest(&self, value: impl Hash) -> u64 {
        self.index.hash_one(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(address: &str, port: u16) -> Endpoint {
        Endpoint { address: address.parse().unwrap(), port: Some(Port(port)) }
    }

    #[test]
    fn both_directions_share_a_key_and_differ_in_side() {
        let keyer = Keyer::new(7);
        #[rustfmt::skip]
        let cases = [
            (end("172.18.0.2", 50_001), end("172.18.0.3", 80)),
            (end("172.18.0.3", 80),     end("172.18.0.3", 81)),
            (end("fd00::1", 5),         end("fd00::2", 5)),
            (end("10.0.0.1", 5),        end("fd00::2", 5)),
        ];
        for (from, to) in cases {
            let (forth, one) = keyer.key(ScopeId(1), from, to, Protocol::TCP, None);
            let (back, other) = keyer.key(ScopeId(1), to, from, Protocol::TCP, None);
            assert_eq!(forth, back, "{from:?} {to:?}");
            assert_eq!(one, other.other(), "{from:?} {to:?}");
        }
    }

    #[test]
    fn a_packets_key_is_that_of_its_ends() {
        use crate::observation::Fragment;

        let keyer = Keyer::new(7);
        let addresses = ["10.0.0.1", "10.0.0.2", "172.18.0.2", "255.255.255.255", "0.0.0.0", "fd00::1", "::"];
        let ports = [None, Some((Port(0), Port(0))), Some((Port(1), Port(65_535))), Some((Port(9), Port(8)))];
        for (from, to) in addresses.iter().flat_map(|from| addresses.iter().map(move |to| (from, to))) {
            for ports in ports {
                let packet = Packet {
                    source: from.parse().unwrap(),
                    destination: to.parse().unwrap(),
                    protocol: Protocol::UDP,
                    ports,
                    tcp: None,
                    icmp: None,
                    fragment: Fragment::Whole,
                    vlan: None,
                    is_tunnel: false,
                };
                let sender = Endpoint { address: packet.source, port: ports.map(|ports| ports.0) };
                let receiver = Endpoint { address: packet.destination, port: ports.map(|ports| ports.1) };
                let expected = keyer.key(ScopeId(0x1234), sender, receiver, Protocol::UDP, None);
                assert_eq!(keyer.key_of(ScopeId(0x1234), &packet), expected, "{packet:?}");
            }
        }
    }

    #[test]
    fn an_ipv4_key_says_what_it_was_made_of_and_a_hash_does_not() {
        let keyer = Keyer::new(7);
        let addresses = [[10, 0, 0, 1], [172, 18, 255, 254], [255; 4], [0; 4]].map(Ipv4Addr::from);
        for ports in [None, Some([0, 65_535]), Some([443, 40_000])] {
            for (from, to) in addresses.iter().flat_map(|from| addresses.iter().map(move |to| (*from, *to))) {
                let end = |address: Ipv4Addr, index: usize| Endpoint {
                    address: address.into(),
                    port: ports.map(|ports: [u16; 2]| Port(ports[index])),
                };
                let (sender, receiver) = (end(from, 0), end(to, 1));
                let (key, side) = keyer.key(ScopeId(0x1234), sender, receiver, Protocol::SCTP, None);
                let (a, b) = if side == Side::A { (sender, receiver) } else { (receiver, sender) };
                let exact = key.exact().unwrap();
                assert!(key.is_exact());
                assert_eq!((exact.scope, exact.protocol), (ScopeId(0x1234), Protocol::SCTP));
                assert_eq!(exact.addresses.map(IpAddr::from), [a.address, b.address]);
                assert_eq!(exact.ports, a.port.zip(b.port).map(|(a, b)| [a, b]));
                let forged = keyer.key(ScopeId(1), sender, receiver, Protocol::TCP, Some(AttachmentId(9))).0;
                assert!(forged.exact().is_none() && !forged.is_exact());
            }
        }
    }

    #[test]
    fn scope_protocol_ports_and_forger_each_make_another_flow() {
        let keyer = Keyer::new(7);
        for (from, to) in [(end("10.0.0.1", 5), end("10.0.0.2", 6)), (end("fd00::1", 5), end("fd00::2", 6))] {
            let plain = keyer.key(ScopeId(1), from, to, Protocol::TCP, None).0;
            assert_ne!(plain, keyer.key(ScopeId(2), from, to, Protocol::TCP, None).0);
            assert_ne!(plain, keyer.key(ScopeId(1), from, to, Protocol::UDP, None).0);
            assert_ne!(plain, keyer.key(ScopeId(1), from, to, Protocol::TCP, Some(AttachmentId(3))).0);
            let without = Endpoint { port: None, ..from };
            assert_ne!(
                plain,
                keyer.key(ScopeId(1), without, Endpoint { port: None, ..to }, Protocol::TCP, None).0
            );
        }
    }
}
