//! From the link layer down to the IP header.

use etherparse::{Ethernet2HeaderSlice, SingleVlanHeaderSlice};
use portolan_flowtable::{Direction, InterfaceId, MacAddr};

use crate::frame::{Frame, LinkType};
use crate::parse::{Cooked, Layer, ParseError, uncooked};

/// Tags and encapsulations followed below one link header: as many as Wireshark follows.
const STEPS_MAX: usize = 20;
/// Labels followed. No honest frame has a tenth of them.
const LABELS_MAX: usize = 128;

/// Where a frame's network layer begins, and what the link layer said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located<'a> {
    pub(crate) content: Content<'a>,
    pub(super) interface: InterfaceId,
    pub(super) direction: Direction,
    pub(super) source_mac: MacAddr,
    pub(super) wire_bytes: u32,
    pub(super) vlan: Option<u16>,
}

/// What the link layer carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'a> {
    /// IPv4, header first.
    Ipv4(&'a [u8]),
    /// IPv6, header first.
    Ipv6(&'a [u8]),
    /// ARP or RARP, message first.
    Arp(&'a [u8]),
    /// Anything else.
    Other,
}

const LLC_SIZE_MAX: u16 = 1_500;
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const RARP: u16 = 0x8035;
const VLAN: u16 = 0x8100;
const VLAN_PROVIDER: u16 = 0x88a8;
const VLAN_DOUBLE: u16 = 0x9100;
const IPV6: u16 = 0x86dd;
const MPLS: u16 = 0x8847;
const MPLS_MULTICAST: u16 = 0x8848;
const PPPOE_SESSION: u16 = 0x8864;
/// `ETH_P_802_2` in a cooked header: an LLC frame.
const COOKED_LLC: u16 = 0x0004;
/// `ARPHRD_NETLINK`: the protocol field is a netlink family.
const HARDWARE_NETLINK: u16 = 824;

pub(crate) const SLL_BYTES: usize = 16;
pub(crate) const SLL2_BYTES: usize = 20;

/// Finds the network layer of a frame.
pub(crate) fn locate<'a>(frame: &Frame<'a>) -> Result<Located<'a>, ParseError> {
    let bytes = frame.bytes;
    let mut located = Located::new(frame, Content::Other);
    located.content = match frame.link {
        LinkType::ETHERNET => {
            let inner = ethernet(bytes)?;
            located.source_mac = inner.source_mac;
            located.vlan = inner.vlan;
            inner.content
        }
        LinkType::LINUX_SLL => cooked(bytes, &mut located)?,
        LinkType::LINUX_SLL2 => cooked_2(bytes, &mut located)?,
        LinkType::RAW | LinkType::RAW_12 | LinkType::RAW_14 => by_version(bytes),
        LinkType::IPV4 => Content::Ipv4(bytes),
        LinkType::IPV6 => Content::Ipv6(bytes),
        LinkType::NULL => null(bytes)?,
        LinkType::LOOP => {
            let (family, rest) = split::<4>(bytes, Layer::Link)?;
            by_family(u32::from_be_bytes(*family), rest)
        }
        LinkType::PPP => ppp(bytes)?,
        LinkType::PPP_HDLC => hdlc(bytes, &mut located.vlan)?,
        LinkType::PPP_ETHER => pppoe(bytes)?,
        unknown => return Err(ParseError::UnknownLinkType(unknown)),
    };
    Ok(located)
}

/// What an Ethernet frame carries, who sent it, and its outermost VLAN.
pub(super) struct EthernetFrame<'a> {
    pub(crate) content: Content<'a>,
    source_mac: MacAddr,
    vlan: Option<u16>,
}

/// Reads an Ethernet frame, on the wire or in a tunnel.
pub(super) fn ethernet(bytes: &[u8]) -> Result<EthernetFrame<'_>, ParseError> {
    let header = Ethernet2HeaderSlice::from_slice(bytes).map_err(|_| truncated(Layer::Link, 14, bytes))?;
    let rest = bytes.get(header.slice().len()..).unwrap_or_default();
    let mut vlan = None;
    let content = by_ethertype(header.ether_type().0, rest, &mut vlan)?;
    Ok(EthernetFrame { content, source_mac: MacAddr(header.source()), vlan })
}

fn by_ethertype<'a>(
    ethertype: u16,
    bytes: &'a [u8],
    vlan: &mut Option<u16>,
) -> Result<Content<'a>, ParseError> {
    let mut ethertype = ethertype;
    let mut rest = bytes;
    for _ in 0..=STEPS_MAX {
        match ethertype {
            IPV4 => return Ok(Content::Ipv4(rest)),
            IPV6 => return Ok(Content::Ipv6(rest)),
            ARP | RARP => return Ok(Content::Arp(rest)),
            VLAN | VLAN_PROVIDER | VLAN_DOUBLE => {
                let tag =
                    SingleVlanHeaderSlice::from_slice(rest).map_err(|_| truncated(Layer::Vlan, 4, rest))?;
                vlan.get_or_insert(tag.vlan_identifier().value());
                ethertype = tag.ether_type().0;
                rest = rest.get(tag.slice().len()..).unwrap_or_default();
            }
            MPLS | MPLS_MULTICAST => return mpls(rest),
            PPPOE_SESSION => return pppoe(rest),
            length if length <= LLC_SIZE_MAX => match llc(rest, usize::from(length))? {
                Llc::Snap { ethertype: inner, rest: inside } if inner > LLC_SIZE_MAX => {
                    ethertype = inner;
                    rest = inside;
                }
                Llc::Ipv4(inside) => return Ok(Content::Ipv4(inside)),
                Llc::Snap { .. } | Llc::Other => return Ok(Content::Other),
            },
            _ => return Ok(Content::Other),
        }
    }
    Err(ParseError::TooDeep { layer: Layer::Vlan })
}

enum Llc<'a> {
    Snap { ethertype: u16, rest: &'a [u8] },
    Ipv4(&'a [u8]),
    Other,
}

/// Reads an LLC header; `length` counts from it on, and excludes padding.
fn llc(bytes: &[u8], length: usize) -> Result<Llc<'_>, ParseError> {
    let bytes = bytes.get(..length).unwrap_or(bytes);
    let ([destination, source, control], rest) = split::<3>(bytes, Layer::Llc)?;
    match (destination, source, control) {
        (0xaa, 0xaa, 0x03) => {
            let ([a, b, c, high, low], rest) = split::<5>(rest, Layer::Llc)?;
            // RFC 1042, and 802.1H for protocols that bridges have to keep apart.
            let is_ethertype = matches!([a, b, c], [0, 0, 0] | [0, 0, 0xf8]);
            let ethertype = u16::from_be_bytes([*high, *low]);
            Ok(if is_ethertype { Llc::Snap { ethertype, rest } } else { Llc::Other })
        }
        (0x06, 0x06, 0x03) => Ok(Llc::Ipv4(rest)),
        _ => Ok(Llc::Other),
    }
}

fn mpls(bytes: &[u8]) -> Result<Content<'_>, ParseError> {
    let mut rest = bytes;
    for _ in 0..LABELS_MAX {
        let ([_, _, traffic_class_and_bottom, _], below) = split::<4>(rest, Layer::Mpls)?;
        rest = below;
        if traffic_class_and_bottom & 1 == 1 {
            return Ok(by_version(rest));
        }
    }
    Err(ParseError::TooDeep { layer: Layer::Mpls })
}

fn pppoe(bytes: &[u8]) -> Result<Content<'_>, ParseError> {
    let ([version_and_type, code, _, _, high, low], rest) = split::<6>(bytes, Layer::Ppp)?;
    if *version_and_type != 0x11 || *code != 0 {
        return Ok(Content::Other);
    }
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    ppp(rest.get(..length).unwrap_or(rest))
}

fn hdlc<'a>(bytes: &'a [u8], vlan: &mut Option<u16>) -> Result<Content<'a>, ParseError> {
    match bytes {
        // Cisco's framing: unicast or multicast address, a zero, an ethertype.
        [0x0f | 0x8f, _, high, low, rest @ ..] => by_ethertype(u16::from_be_bytes([*high, *low]), rest, vlan),
        _ => ppp(bytes),
    }
}

fn ppp(bytes: &[u8]) -> Result<Content<'_>, ParseError> {
    let bytes = bytes.strip_prefix(&[0xff, 0x03]).unwrap_or(bytes);
    let (protocol, rest) = match bytes {
        // Protocol field compression: the last octet of a protocol number is odd.
        [low, rest @ ..] if low & 1 == 1 => (u16::from(*low), rest),
        [high, low, rest @ ..] => (u16::from_be_bytes([*high, *low]), rest),
        _ => return Err(truncated(Layer::Ppp, 2, bytes)),
    };
    match protocol {
        0x0021 => Ok(Content::Ipv4(rest)),
        0x0057 => Ok(Content::Ipv6(rest)),
        0x0281 | 0x0283 => mpls(rest),
        _ => Ok(Content::Other),
    }
}

fn null(bytes: &[u8]) -> Result<Content<'_>, ParseError> {
    let (family, rest) = split::<4>(bytes, Layer::Link)?;
    // In the order of whoever wrote it; address families are small numbers.
    let family = u32::from_be_bytes(*family).min(u32::from_le_bytes(*family));
    Ok(by_family(family, rest))
}

fn by_family(family: u32, bytes: &[u8]) -> Content<'_> {
    match family {
        // AF_INET everywhere; AF_INET6 of NetBSD and OpenBSD, FreeBSD, macOS. Linux has no such link layer.
        2 => Content::Ipv4(bytes),
        24 | 28 | 30 => Content::Ipv6(bytes),
        _ => Content::Other,
    }
}

fn by_version(bytes: &[u8]) -> Content<'_> {
    match bytes.first().map(|first| first >> 4) {
        Some(4) => Content::Ipv4(bytes),
        Some(6) => Content::Ipv6(bytes),
        _ => Content::Other,
    }
}

fn cooked<'a>(bytes: &'a [u8], located: &mut Located<'a>) -> Result<Content<'a>, ParseError> {
    let (header, rest) = split::<SLL_BYTES>(bytes, Layer::Link)?;
    let [t0, t1, h0, h1, l0, l1, address @ .., p0, p1] = *header;
    let said =
        Cooked::new(located.interface, u16::from_be_bytes([t0, t1]), u16::from_be_bytes([l0, l1]), address);
    let hardware = u16::from_be_bytes([h0, h1]);
    let protocol = u16::from_be_bytes([p0, p1]);
    inside_cooked(said, hardware, protocol, rest, SLL_BYTES, located)
}

fn cooked_2<'a>(bytes: &'a [u8], located: &mut Located<'a>) -> Result<Content<'a>, ParseError> {
    let (header, rest) = split::<SLL2_BYTES>(bytes, Layer::Link)?;
    let [p0, p1, _, _, i0, i1, i2, i3, h0, h1, packet_type, address_bytes, address @ ..] = *header;
    let interface = InterfaceId(u32::from_be_bytes([i0, i1, i2, i3]));
    let said = Cooked::new(interface, u16::from(packet_type), u16::from(address_bytes), address);
    let hardware = u16::from_be_bytes([h0, h1]);
    let protocol = u16::from_be_bytes([p0, p1]);
    inside_cooked(said, hardware, protocol, rest, SLL2_BYTES, located)
}

fn inside_cooked<'a>(
    said: Cooked,
    hardware: u16,
    protocol: u16,
    rest: &'a [u8],
    header_bytes: usize,
    located: &mut Located<'a>,
) -> Result<Content<'a>, ParseError> {
    located.interface = said.interface;
    located.direction = said.direction;
    located.source_mac = said.source_mac;
    located.wire_bytes = uncooked(located.wire_bytes, header_bytes);
    match protocol {
        _ if hardware == HARDWARE_NETLINK => Ok(Content::Other),
        COOKED_LLC => by_ethertype(LLC_SIZE_MAX, rest, &mut located.vlan),
        // Other numbers below the ethertypes are Linux's own (`ETH_P_802_3`, `ETH_P_CAN`, ...).
        small if small <= LLC_SIZE_MAX => Ok(Content::Other),
        ethertype => by_ethertype(ethertype, rest, &mut located.vlan),
    }
}

fn split<const N: usize>(bytes: &[u8], layer: Layer) -> Result<(&[u8; N], &[u8]), ParseError> {
    bytes.split_first_chunk().ok_or_else(|| truncated(layer, N, bytes))
}

fn truncated(layer: Layer, required_bytes: usize, bytes: &[u8]) -> ParseError {
    ParseError::Truncated { layer, required_bytes, available_bytes: bytes.len() }
}
