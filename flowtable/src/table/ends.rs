//! A flow's ends, where its key does not say them: IPv6, and what somebody sent from another's address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::directory::ScopeId;
use crate::flow::Flow;
use crate::units::{Port, Protocol};

/// What a key that is a hash does not say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    addresses: [[u8; 16]; 2],
    ports: [u16; 2],
    pub(super) scope: ScopeId,
    pub(super) protocol: Protocol,
    /// For each end whether its address is IPv6, and above these whether it has a port.
    kinds: u8,
}

const _: () = assert!(size_of::<Ends>() == 40, "ends are no longer than what they hold");

impl Ends {
    pub(super) fn of(flow: &Flow) -> Self {
        // IPv4 stands in the last four bytes.
        let octets = flow.ends.map(|end| match end.address {
            IpAddr::V4(v4) => v4.to_ipv6_compatible().octets(),
            IpAddr::V6(v6) => v6.octets(),
        });
        let [a, b] = flow.ends.map(|end| u8::from(end.address.is_ipv6()) | u8::from(end.port.is_some()) << 2);
        Self {
            addresses: octets,
            ports: flow.ends.map(|end| end.port.unwrap_or_default().0),
            scope: flow.scope,
            protocol: flow.protocol,
            kinds: a | b << 1,
        }
    }

    /// Returns the address of an end, 0 for A.
    pub(super) fn address(&self, side: usize) -> IpAddr {
        let octets = self.addresses[side];
        let [.., a, b, c, d] = octets;
        if self.kinds >> side & 1 == 1 {
            IpAddr::V6(Ipv6Addr::from(octets))
        } else {
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
    }

    /// Returns its port.
    pub(super) fn port(&self, side: usize) -> Option<Port> {
        (self.kinds >> (2 + side) & 1 == 1).then_some(Port(self.ports[side]))
    }
}
