//! Parsing: one frame to one observation.
//!
//! A short fast path takes plain Ethernet or cooked frames with whole IPv4 or IPv6 and TCP or UDP headers;
//! everything else walks the layers one by one. A property test holds the two equal.
//!
//! # Sources
//!
//! Ethernet and VLAN tags: IEEE 802.3, 802.1Q, 802.1ad; LLC and SNAP: IEEE 802.2, RFC 1042; PPP: RFC 1661, RFC 1662;
//! PPPoE: RFC 2516; MPLS: RFC 3032; cooked frames: tcpdump.org/linktypes. IPv4: RFC 791; IPv6: RFC 8200; AH: RFC 4302;
//! TCP: RFC 9293; UDP: RFC 768; SCTP: RFC 9260; ICMP: RFC 792, RFC 4443. IP in IP: RFC 2003, RFC 4213; GRE: RFC 2784,
//! RFC 2890, RFC 2637; VXLAN: RFC 7348; Geneve: RFC 8926.

mod fast;
mod fingerprint;
pub(crate) mod ip;
pub(crate) mod link;
pub(crate) mod transport;
pub(crate) mod tunnel;

use std::net::Ipv4Addr;

use portolan_flowtable::{
    ArpFacts, Direction, InterfaceId, MacAddr, Network, NonIp, Observation, Packet, Rejected,
};

use crate::frame::{Frame, LinkType};
use crate::parse::ip::Header;
use crate::parse::link::{Content, Located};
pub(crate) use crate::parse::link::{SLL_BYTES, SLL2_BYTES};

/// What is to be read of a frame.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ParseOptions {
    /// Whether to look through tunnels and meter the innermost packet instead of the outermost.
    pub innermost: bool,
    /// Whether to compute [`Observation::fingerprint`].
    pub fingerprint: bool,
}

/// Why a frame could not be read. Weather, not failure: counted by reason, never logged one by one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParseError {
    /// The capture kept too few bytes to reach the addresses.
    #[error("{layer} header truncated: needs {required_bytes} bytes, {available_bytes} captured")]
    Truncated {
        /// The header that is cut.
        layer: Layer,
        /// Its least length.
        required_bytes: usize,
        /// What there is of it.
        available_bytes: usize,
    },
    /// A length or version field contradicts the header it stands in.
    #[error("{layer} header contradicts itself")]
    Malformed {
        /// The header.
        layer: Layer,
    },
    /// More nested headers than are followed.
    #[error("more {layer} headers within each other than are followed")]
    TooDeep {
        /// The kind of header.
        layer: Layer,
    },
    /// Nobody here reads frames of this link type.
    #[error("link type {} cannot be read; portolan reads Ethernet, Linux cooked (SLL, SLL2), raw IP, NULL, LOOP and PPP", .0.0)]
    UnknownLinkType(LinkType),
}

impl ParseError {
    /// Returns the account a refused frame goes to.
    pub fn reason(&self) -> Rejected {
        match self {
            Self::Truncated { .. } => Rejected::Truncated,
            Self::Malformed { .. } => Rejected::Malformed,
            Self::TooDeep { .. } => Rejected::TooDeep,
            Self::UnknownLinkType(_) => Rejected::UnknownLinkType,
        }
    }
}

/// The headers a frame can be refused for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Layer {
    /// The link layer's own header.
    Link,
    /// A VLAN tag.
    Vlan,
    /// An MPLS label.
    Mpls,
    /// PPP or PPPoE.
    Ppp,
    /// LLC or SNAP.
    Llc,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// A tunnel.
    Tunnel,
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Link => "link",
            Self::Vlan => "VLAN",
            Self::Mpls => "MPLS",
            Self::Ppp => "PPP",
            Self::Llc => "LLC",
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
            Self::Tunnel => "tunnel",
        })
    }
}

/// Tunnels followed within each other.
pub(crate) const TUNNELS_MAX: usize = 8;

/// Reads one frame.
///
/// Allocates nothing; the result borrows nothing from `frame.bytes`. A packet whose ports cannot be read is still a
/// packet.
///
/// # Errors
///
/// Returns [`ParseError::Truncated`] if the capture kept too few bytes to reach the addresses,
/// [`ParseError::Malformed`] if a length or version field contradicts the header it stands in,
/// [`ParseError::TooDeep`] if headers are nested beyond the limits, [`ParseError::UnknownLinkType`] if nobody here
/// reads the frame's link type.
#[inline]
pub fn parse(frame: &Frame<'_>, options: &ParseOptions) -> Result<Observation, ParseError> {
    let mut seen = Observation::UNREAD;
    parse_into(frame, options, &mut seen)?;
    Ok(seen)
}

/// Reads one frame into the place where its observation is to stay. Equal to [`parse`], without a copy.
///
/// # Errors
///
/// As [`parse`]; `into` holds nothing of meaning then.
#[inline(always)]
pub fn parse_into(
    frame: &Frame<'_>,
    options: &ParseOptions,
    into: &mut Observation,
) -> Result<(), ParseError> {
    if !options.fingerprint && fast::parse(frame, into).is_some() {
        return Ok(());
    }
    walk(frame, options, into)
}

/// Reads a frame layer by layer.
#[inline(never)]
fn walk(frame: &Frame<'_>, options: &ParseOptions, into: &mut Observation) -> Result<(), ParseError> {
    let located = link::locate(frame)?;
    let mut fingerprint = 0;
    let network = match located.content {
        Content::Arp(message) => Network::NonIp(NonIp::Arp(arp(message))),
        Content::Other => Network::NonIp(NonIp::Other),
        Content::Ipv4(bytes) | Content::Ipv6(bytes) => {
            let outermost = Header::read(located.content, frame.left_bytes(bytes))?;
            if options.fingerprint {
                fingerprint = fingerprint::of(bytes, &outermost);
            }
            Network::Ip(packet(outermost, frame, options.innermost, located.vlan)?)
        }
    };
    observe(frame, &located, fingerprint, into);
    into.network = network;
    Ok(())
}

/// Reads an ARP message for IPv4 over Ethernet (RFC 826); `None` for any other, and for what is cut.
fn arp(message: &[u8]) -> Option<ArpFacts> {
    let &[0, 1, 8, 0, 6, 4, 0, operation @ (1 | 2), ref addresses @ ..] = message else { return None };
    let ip = |at: usize| {
        let octets: [u8; 4] = addresses.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    };
    Some(ArpFacts { is_request: operation == 1, sender: ip(6)?, target: ip(16)? })
}

/// Reads the transport header of a packet, or of the innermost packet it carries.
fn packet(
    outermost: Header<'_>,
    frame: &Frame<'_>,
    is_innermost: bool,
    vlan: Option<u16>,
) -> Result<Packet, ParseError> {
    let mut header = outermost;
    let mut inside = tunnel::inside(&header);
    if is_innermost {
        let mut depth = 0;
        while let Some(next) = inside.and_then(|content| inner(content, frame)) {
            depth += 1;
            if depth > TUNNELS_MAX {
                return Err(ParseError::TooDeep { layer: Layer::Tunnel });
            }
            header = next;
            inside = tunnel::inside(&header);
        }
    }
    Ok(Packet {
        source: header.source,
        destination: header.destination,
        protocol: header.protocol,
        ports: transport::ports(&header),
        tcp: transport::tcp(&header),
        icmp: transport::icmp(&header),
        fragment: header.fragment,
        vlan,
        is_tunnel: inside.is_some(),
    })
}

/// Reads the header of a packet inside a tunnel.
pub(crate) fn inner<'a>(content: Content<'a>, frame: &Frame<'_>) -> Option<Header<'a>> {
    match content {
        Content::Ipv4(bytes) | Content::Ipv6(bytes) => Header::read(content, frame.left_bytes(bytes)).ok(),
        Content::Arp(_) | Content::Other => None,
    }
}

impl Frame<'_> {
    /// Returns where a part of the captured bytes begins.
    pub(crate) fn offset_of(&self, part: &[u8]) -> usize {
        part.as_ptr().addr().saturating_sub(self.bytes.as_ptr().addr())
    }

    /// Returns the frame's length on the wire from a part of its captured bytes on.
    fn left_bytes(&self, part: &[u8]) -> usize {
        (self.original_bytes as usize).saturating_sub(self.offset_of(part))
    }
}

/// Writes what is known of a frame beside what it carries.
#[inline(always)]
fn observe(frame: &Frame<'_>, located: &Located<'_>, fingerprint: u64, into: &mut Observation) {
    into.at = frame.at;
    into.is_timed = frame.is_timed;
    into.frame = frame.number;
    into.interface = located.interface;
    into.direction = located.direction;
    into.source_mac = located.source_mac;
    into.wire_bytes = located.wire_bytes;
    into.fingerprint = fingerprint;
}

impl<'a> Located<'a> {
    #[inline(always)]
    fn new(frame: &Frame<'_>, content: Content<'a>) -> Self {
        Self {
            content,
            interface: frame.interface,
            direction: frame.direction,
            source_mac: MacAddr::default(),
            wire_bytes: frame.original_bytes,
            vlan: None,
        }
    }
}

/// Length of an Ethernet header: what cooked headers are replaced by, so that bytes mean the same on every tap.
const ETHERNET_BYTES: u32 = 14;

/// What a cooked header says: interface, direction and sender.
#[derive(Clone, Copy, Debug)]
struct Cooked {
    interface: InterfaceId,
    direction: Direction,
    source_mac: MacAddr,
}

impl Cooked {
    /// `PACKET_OUTGOING` (packet(7)).
    const OUTGOING: u16 = 4;

    fn new(interface: InterfaceId, packet_type: u16, address_bytes: u16, address: [u8; 8]) -> Self {
        let direction = if packet_type == Self::OUTGOING { Direction::Outgoing } else { Direction::Incoming };
        let [a, b, c, d, e, f, ..] = address;
        let source_mac = if address_bytes == 6 { MacAddr([a, b, c, d, e, f]) } else { MacAddr::default() };
        Self { interface, direction, source_mac }
    }
}

/// Returns a cooked frame's length on an Ethernet wire.
pub(crate) fn uncooked(original_bytes: u32, header_bytes: usize) -> u32 {
    let header_bytes = u32::try_from(header_bytes).unwrap_or(u32::MAX);
    original_bytes.saturating_sub(header_bytes).saturating_add(ETHERNET_BYTES)
}

#[cfg(test)]
mod tests;
