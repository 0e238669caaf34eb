//! The fast path: what nearly every frame is.
//!
//! Takes an Ethernet or LINUX_SLL2 frame, at most one VLAN tag, an IPv4 header without options or an IPv6 header
//! without extensions, unfragmented, and TCP or UDP. Whatever else it meets it leaves to the walk through the
//! layers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portolan_flowtable::{Fragment, InterfaceId, MacAddr, Network, Observation, Packet, Port, Protocol};

use crate::frame::{Frame, LinkType};
use crate::parse::link::{Content, Located, SLL2_BYTES};
use crate::parse::{Cooked, observe, transport, tunnel, uncooked};

const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const VLAN: [u8; 2] = [0x81, 0x00];

/// Reads a frame into its place, or returns `None` where it is not of the common kind; what the place holds then means
/// nothing.
///
/// Field by field, where it is to stay: an observation is three cache lines, of which an ordinary packet fills two, and
/// whatever reads back in one piece what was just written in many waits for all of it.
#[inline(always)]
pub(super) fn parse(frame: &Frame<'_>, into: &mut Observation) -> Option<()> {
    let mut located = Located::new(frame, Content::Other);
    let (ethertype, rest) = match frame.link {
        LinkType::ETHERNET => {
            let ([_, _, _, _, _, _, mac @ .., t0, t1], rest) = frame.bytes.split_first_chunk::<14>()?;
            located.source_mac = MacAddr(*mac);
            ([*t0, *t1], rest)
        }
        LinkType::LINUX_SLL2 => {
            let (header, rest) = frame.bytes.split_first_chunk::<SLL2_BYTES>()?;
            let [t0, t1, _, _, i0, i1, i2, i3, h0, h1, packet_type, address_bytes, address @ ..] = *header;
            // Ethernet and loopback; the others are rare.
            if h0 != 0 && [h0, h1] != LOOPBACK {
                return None;
            }
            let interface = InterfaceId(u32::from_be_bytes([i0, i1, i2, i3]));
            let said = Cooked::new(interface, u16::from(packet_type), u16::from(address_bytes), address);
            located.interface = said.interface;
            located.direction = said.direction;
            located.source_mac = said.source_mac;
            located.wire_bytes = uncooked(frame.original_bytes, SLL2_BYTES);
            ([t0, t1], rest)
        }
        _ => return None,
    };
    let (ethertype, rest) = if ethertype == VLAN {
        let ([v0, v1, t0, t1], rest) = rest.split_first_chunk::<4>()?;
        located.vlan = Some(u16::from_be_bytes([*v0, *v1]) & 0x0fff);
        ([*t0, *t1], rest)
    } else {
        (ethertype, rest)
    };
    let datagram = match ethertype {
        IPV4 => ipv4(rest)?,
        IPV6 => ipv6(rest)?,
        _ => return None,
    };
    let packet = datagram.packet(located.vlan)?;
    observe(frame, &located, 0, into);
    into.network = Network::Ip(packet);
    Some(())
}

/// `ARPHRD_LOOPBACK`, 772.
const LOOPBACK: [u8; 2] = [0x03, 0x04];

struct Datagram<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: Protocol,
    payload: &'a [u8],
    payload_claimed: usize,
}

#[inline(always)]
fn ipv4(bytes: &[u8]) -> Option<Datagram<'_>> {
    let (header, rest) = bytes.split_first_chunk::<20>()?;
    let [0x45, _, l0, l1, _, _, f0, f1, _, protocol, _, _, a, b, c, d, e, f, g, h] = *header else {
        return None;
    };
    let is_fragment = u16::from_be_bytes([f0, f1]) & 0x3fff != 0;
    let payload_claimed = usize::from(u16::from_be_bytes([l0, l1])).checked_sub(header.len())?;
    if is_fragment {
        return None;
    }
    Some(Datagram {
        source: Ipv4Addr::new(a, b, c, d).into(),
        destination: Ipv4Addr::new(e, f, g, h).into(),
        protocol: Protocol(protocol),
        payload: rest.get(..payload_claimed).unwrap_or(rest),
        payload_claimed,
    })
}

#[inline(always)]
fn ipv6(bytes: &[u8]) -> Option<Datagram<'_>> {
    let (header, rest) = bytes.split_first_chunk::<40>()?;
    let ([first, _, _, _, l0, l1, next, _], addresses) = header.split_first_chunk::<8>()?;
    let (source, destination) = addresses.split_first_chunk::<16>()?;
    let payload_claimed = usize::from(u16::from_be_bytes([*l0, *l1]));
    if first >> 4 != 6 || payload_claimed == 0 {
        return None;
    }
    Some(Datagram {
        source: Ipv6Addr::from(*source).into(),
        destination: Ipv6Addr::from(*destination.first_chunk::<16>()?).into(),
        protocol: Protocol(*next),
        payload: rest.get(..payload_claimed).unwrap_or(rest),
        payload_claimed,
    })
}

impl Datagram<'_> {
    #[inline(always)]
    fn packet(self, vlan: Option<u16>) -> Option<Packet> {
        let [s0, s1, d0, d1] = *self.payload.first_chunk()?;
        let source_port = Port(u16::from_be_bytes([s0, s1]));
        let destination_port = Port(u16::from_be_bytes([d0, d1]));
        let tcp = match self.protocol {
            Protocol::TCP => Some(transport::facts(self.payload.first_chunk()?, self.payload_claimed)?),
            Protocol::UDP if !tunnel::is_candidate(source_port, destination_port) => None,
            _ => return None,
        };
        Some(Packet {
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            ports: Some((source_port, destination_port)),
            tcp,
            icmp: None,
            fragment: Fragment::Whole,
            vlan,
            is_tunnel: false,
        })
    }
}
