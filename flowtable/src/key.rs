//! The flow key: what makes two packets the same flow.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;

use foldhash::fast::FixedState;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::directory::{AttachmentId, ScopeId};
use crate::flow::Side;
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
}

/// Scope, both ends in fixed order, protocol; 16 bytes, the same for both directions.
///
/// IPv4 is held exactly: `kind 8 | scope 16 | protocol 8 | address 32 | address 32 | port 16 | port 16`. Everything
/// else is a 128-bit keyed hash, marked by the kind, so that a sender who knows the program cannot make two
/// flows meet. A sender whose source address somebody else holds gets a key of its own.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct FlowKey(pub(crate) u128);

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
    pub(crate) fn key(
        &self,
        scope: ScopeId,
        sender: Endpoint,
        receiver: Endpoint,
        protocol: Protocol,
        forger: Option<AttachmentId>,
    ) -> (FlowKey, Side) {
        let (a, b, side) = if sender.rank() <= receiver.rank() {
            (sender, receiver, Side::A)
        } else {
            (receiver, sender, Side::B)
        };
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

    fn hashed(
        &self,
        scope: ScopeId,
        a: Endpoint,
        b: Endpoint,
        protocol: Protocol,
        forger: Option<AttachmentId>,
    ) -> u128 {
        let mut hasher = SipHasher13::new_with_keys(self.seed, !self.seed);
        (scope, a.rank(), b.rank(), protocol).hash(&mut hasher);
        hasher.write_u32(forger.map_or(0, |attachment| attachment.0));
        KIND_HASHED | (hasher.finish128().as_u128() & BELOW_KIND)
    }

    /// Returns the hash that places a key in the table.
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
