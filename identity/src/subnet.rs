//! Subnets of container networks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An address prefix, `172.18.0.0/16`; host bits are cleared.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Subnet {
    network: IpAddr,
    length: u8,
}

impl Subnet {
    /// Builds the subnet of `length` bits that holds `address`; `None` where the length exceeds the address.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let bits = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        (length <= bits).then(|| Self { network: masked(address, length), length })
    }

    /// Returns whether `address` lies in the subnet.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.network.is_ipv4() == address.is_ipv4() && masked(address, self.length) == self.network
    }

    /// Returns the directed broadcast address (IPv4 subnets of at most 30 bits; RFC 919, RFC 3021).
    pub fn broadcast(&self) -> Option<IpAddr> {
        match self.network {
            IpAddr::V4(v4) if self.length <= 30 => {
                Some(IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() | !mask(self.length, 32) as u32)))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }

    /// Returns the prefix length in bits.
    pub fn length(&self) -> u8 {
        self.length
    }
}

fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask(length, 32) as u32)),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask(length, 128))),
    }
}

/// The mask of `length` ones in the upper end of `width` bits.
fn mask(length: u8, width: u32) -> u128 {
    let ones = if length == 0 { 0 } else { u128::MAX << (128 - u32::from(length)) };
    ones >> (128 - width)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

/// The text was no `address/length`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no subnet: expected ADDRESS/LENGTH, as in \"172.18.0.0/16\"")]
pub struct NotASubnet(pub String);

impl FromStr for Subnet {
    type Err = NotASubnet;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split_once('/')
            .and_then(|(address, length)| Self::new(address.parse().ok()?, length.parse().ok()?))
            .ok_or_else(|| NotASubnet(text.to_owned()))
    }
}

impl Serialize for Subnet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subnet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_holds_its_own_addresses_and_no_others() {
        for (subnet, inside, outside) in [
            ("172.18.0.0/16", "172.18.255.255", "172.19.0.0"),
            ("172.18.3.4/24", "172.18.3.0", "172.18.2.255"),
            ("10.0.0.1/32", "10.0.0.1", "10.0.0.2"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("fd00:1::/64", "fd00:1::ffff", "fd00:2::1"),
            ("::/0", "fe80::1", "1.2.3.4"),
        ] {
            let subnet: Subnet = subnet.parse().unwrap();
            assert!(subnet.contains(inside.parse().unwrap()), "{subnet} {inside}");
            assert!(!subnet.contains(outside.parse().unwrap()), "{subnet} {outside}");
        }
    }

    #[test]
    fn only_ipv4_subnets_with_room_for_one_have_a_broadcast_address() {
        for (subnet, broadcast) in [
            ("172.18.0.0/16", Some("172.18.255.255")),
            ("10.0.0.4/30", Some("10.0.0.7")),
            ("10.0.0.4/31", None),
            ("fd00::/64", None),
        ] {
            let subnet: Subnet = subnet.parse().unwrap();
            assert_eq!(subnet.broadcast(), broadcast.map(|text| text.parse().unwrap()), "{subnet}");
        }
    }

    #[test]
    fn text_that_is_no_subnet_is_refused() {
        for text in ["", "172.18.0.0", "172.18.0.0/33", "fd00::/129", "172.18.0.0/-1", "x/8", "1.2.3.4/8/8"] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }
}
