//! One frame reduced to what the flow table meters.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::interfaces::InterfaceId;
use crate::units::{Port, Protocol, Timestamp};

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MacAddr(pub [u8; 6]);

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The text was no Ethernet address.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no Ethernet address: expected six pairs of digits, as in \"02:42:ac:12:00:03\"")]
pub struct NotAMac(pub String);

impl FromStr for MacAddr {
    type Err = NotAMac;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut mac = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut mac {
            // A sign is no digit, though the standard library reads one.
            let is_pair =
                |part: &&str| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = parts
                .next()
                .filter(is_pair)
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(|| NotAMac(text.to_owned()))?;
        }
        if parts.next().is_some() {
            return Err(NotAMac(text.to_owned()));
        }
        Ok(Self(mac))
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Which way a frame crossed its interface, seen from the host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// The host received it. On a veth: the container sent it. A packet type other than
    /// `PACKET_OUTGOING` (packet(7)); on a veth nothing ever has type HOST.
    Incoming,
    /// The host sent it. On a veth: it goes to the container.
    Outgoing,
    /// The capture does not say.
    Unstated,
}

/// One frame reduced to what the flow table meters. Copy, and borrows nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// When the frame was stamped; frames without a stamp (pcapng simple packets) carry the time of the frame
    /// before them and have `is_timed` false.
    pub at: Timestamp,
    /// Whether the source stamped this frame itself.
    pub is_timed: bool,
    /// Position in its tap, from 1, as Wireshark numbers it.
    pub frame: u64,
    /// The interface it was seen on.
    pub interface: InterfaceId,
    /// Which way it crossed that interface.
    pub direction: Direction,
    /// Link-layer source; zero where the link has none.
    pub source_mac: MacAddr,
    /// Length on an Ethernet wire in bytes, link header included, even if the capture kept fewer (`snaplen`):
    /// never computed from the IP header, which lies for GSO and BIG TCP.
    pub wire_bytes: u32,
    /// Hash over the packet from its network header on, without TTL and checksums; zero unless the parser was
    /// asked for it. Two sightings of one packet share it.
    pub fingerprint: u64,
    /// What it carries.
    pub network: Network,
}

impl Observation {
    /// A place that no frame was read into.
    pub const UNREAD: Self = Self {
        at: Timestamp(0),
        is_timed: false,
        frame: 0,
        interface: InterfaceId(0),
        direction: Direction::Unstated,
        source_mac: MacAddr([0; 6]),
        wire_bytes: 0,
        fingerprint: 0,
        network: Network::NonIp(NonIp::Other),
    };
}

impl AsRef<Self> for Observation {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// What a frame carries above the link layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Network {
    /// Healthy traffic of no flow.
    NonIp(NonIp),
    /// An IP packet.
    Ip(Packet),
}

/// Kinds of frames that belong to no flow.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NonIp {
    /// ARP or RARP (RFC 826, RFC 903), and what is asked or answered where it is ARP for IPv4 over Ethernet.
    Arp(Option<ArpFacts>),
    /// Any other ethertype, LLC frames and the like.
    Other,
}

/// What an ARP message for IPv4 over Ethernet says (RFC 826): offsets from its first octet.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct ArpFacts {
    /// Whether it asks (operation 1, offset 6) or answers (2).
    pub is_request: bool,
    /// The address its sender says it has (offset 14).
    pub sender: Ipv4Addr,
    /// The address asked for, or of whom is answered (offset 24).
    pub target: Ipv4Addr,
}

/// One IP packet: addresses, ports and the transport facts a flow is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Packet {
    /// Source address of the outermost IP header (of the innermost where asked).
    pub source: IpAddr,
    /// Destination address of the same header.
    pub destination: IpAddr,
    /// Transport protocol, after extension headers.
    pub protocol: Protocol,
    /// Source and destination port; `None` where the protocol has none, for later fragments, and where the
    /// capture kept too little.
    pub ports: Option<(Port, Port)>,
    /// The TCP header, where 16 bytes of it were there.
    pub tcp: Option<TcpFacts>,
    /// The ICMP or ICMPv6 header, where it was there.
    pub icmp: Option<IcmpFacts>,
    /// Whether this is part of a fragmented datagram.
    pub fragment: Fragment,
    /// Outermost VLAN id, for the record; never part of a key.
    pub vlan: Option<u16>,
    /// Whether the packet carries another IP packet in a tunnel this parser knows.
    pub is_tunnel: bool,
}

/// Place of a packet in a fragmented datagram (RFC 791, RFC 8200 section 4.5).
///
/// An atomic fragment (offset 0, nothing to follow) is `Whole`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fragment {
    /// Not fragmented.
    Whole,
    /// The first fragment; its ports are read.
    First {
        /// Identification shared by the datagram's fragments.
        id: u32,
    },
    /// A fragment with an offset; it has no transport header.
    Later {
        /// Identification shared by the datagram's fragments.
        id: u32,
    },
}

/// What is read from a TCP header (RFC 9293, section 3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TcpFacts {
    /// The control bits, octet 13.
    pub flags: u8,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// Window, unscaled.
    pub window: u16,
    /// Bytes of payload the IP length claims; for frames whose IP length is zero (BIG TCP), of what is left of
    /// the frame.
    pub payload_bytes: u32,
}

impl TcpFacts {
    /// FIN bit.
    pub const FIN: u8 = 0x01;
    /// SYN bit.
    pub const SYN: u8 = 0x02;
    /// RST bit.
    pub const RST: u8 = 0x04;
    /// ACK bit.
    pub const ACK: u8 = 0x10;

    /// Returns whether this opens a connection: SYN without ACK.
    pub fn is_syn(self) -> bool {
        self.flags & (Self::SYN | Self::ACK) == Self::SYN
    }

    /// Returns whether this accepts a connection: SYN with ACK.
    pub fn is_syn_ack(self) -> bool {
        self.flags & (Self::SYN | Self::ACK) == Self::SYN | Self::ACK
    }

    /// Returns whether the RST bit is set.
    pub fn is_rst(self) -> bool {
        self.flags & Self::RST != 0
    }

    /// Returns whether the FIN bit is set.
    pub fn is_fin(self) -> bool {
        self.flags & Self::FIN != 0
    }
}

/// What is read from an ICMP (RFC 792) or ICMPv6 (RFC 4443) header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IcmpFacts {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The packet an error quotes: it refused that packet's flow.
    pub quoted: Option<Quoted>,
}

/// The head of the packet an ICMP error quotes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quoted {
    /// Its source address.
    pub source: IpAddr,
    /// Its destination address.
    pub destination: IpAddr,
    /// Its transport protocol.
    pub protocol: Protocol,
    /// Its source and destination port.
    pub ports: Option<(Port, Port)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ethernet_address_is_read_as_it_is_written() {
        for mac in [MacAddr([2, 0x42, 0xac, 0x12, 0, 3]), MacAddr::default(), MacAddr([0xff; 6])] {
            assert_eq!(mac.to_string().parse(), Ok(mac));
        }
        for text in
            ["", "02:42:ac:12:00", "02:42:ac:12:00:03:04", "2:42:ac:12:00:03", "02:42:ac:12:00:+3", "ä:ä"]
        {
            assert_eq!(text.parse::<MacAddr>(), Err(NotAMac(text.to_owned())));
        }
    }
}
