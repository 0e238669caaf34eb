//! Tunnels: where the packet inside a packet begins.

use portolan_flowtable::{Port, Protocol};

use crate::parse::ip::Header;
use crate::parse::link::{Content, ethernet};
use crate::parse::transport;

const IPV4_INSIDE: Protocol = Protocol(4);
const IPV6_INSIDE: Protocol = Protocol(41);
const GRE: Protocol = Protocol(47);

const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
/// Transparent Ethernet bridging (RFC 1701).
const TYPE_ETHERNET: u16 = 0x6558;

/// VXLAN's port, and the one Linux used before there was a standard.
const VXLAN: [Port; 2] = [Port(4789), Port(8472)];
const GENEVE: Port = Port(6081);

const UDP_BYTES: usize = 8;
const VXLAN_BYTES: usize = 8;

/// Returns whether UDP between these ports may be a tunnel.
pub(super) fn is_candidate(source: Port, destination: Port) -> bool {
    [source, destination].iter().any(|port| VXLAN.contains(port) || *port == GENEVE)
}

/// Returns the IP packet inside, if there is one; a tunnel that carries something else is left closed.
pub(crate) fn inside<'a>(header: &Header<'a>) -> Option<Content<'a>> {
    if header.is_later_fragment() {
        return None;
    }
    let content = match header.protocol {
        IPV4_INSIDE => Content::Ipv4(header.payload),
        IPV6_INSIDE => Content::Ipv6(header.payload),
        GRE => gre(header.payload)?,
        Protocol::UDP => datagram(header)?,
        _ => return None,
    };
    match content {
        Content::Ipv4(bytes) | Content::Ipv6(bytes) => (!bytes.is_empty()).then_some(content),
        Content::Arp(_) | Content::Other => None,
    }
}

fn datagram<'a>(header: &Header<'a>) -> Option<Content<'a>> {
    let (source, destination) = transport::ports(header)?;
    if !is_candidate(source, destination) {
        return None;
    }
    let ([_, _, _, _, high, low, _, _], rest) = header.payload.split_first_chunk::<UDP_BYTES>()?;
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let body = match length {
        // Only a jumbogram has no length.
        0 => rest,
        length => {
            let length = length.checked_sub(UDP_BYTES)?;
            rest.get(..length).unwrap_or(rest)
        }
    };
    if [source, destination].iter().any(|port| VXLAN.contains(port)) {
        by_type(TYPE_ETHERNET, body.get(VXLAN_BYTES..)?)
    } else {
        geneve(body)
    }
}

fn geneve(bytes: &[u8]) -> Option<Content<'_>> {
    let ([version_and_options, _, high, low, ..], rest) = bytes.split_first_chunk::<8>()?;
    if version_and_options >> 6 != 0 {
        return None;
    }
    let options = usize::from(version_and_options & 0x3f) * 4;
    by_type(u16::from_be_bytes([*high, *low]), rest.get(options..)?)
}

fn gre(bytes: &[u8]) -> Option<Content<'_>> {
    const CHECKSUM: u8 = 0x80;
    const ROUTING: u8 = 0x40;
    const KEY: u8 = 0x20;
    const SEQUENCE: u8 = 0x10;
    const ACKNOWLEDGMENT: u8 = 0x80;
    let ([flags, version, high, low], rest) = bytes.split_first_chunk::<4>()?;
    let has = |present: bool| if present { 4 } else { 0 };
    let optional =
        has(flags & (CHECKSUM | ROUTING) != 0) + has(flags & KEY != 0) + has(flags & SEQUENCE != 0);
    let length = match version & 7 {
        0 => optional,
        // RFC 2637 puts an acknowledgment bit where version 0 has a reserved one.
        1 => optional + has(version & ACKNOWLEDGMENT != 0),
        _ => return None,
    };
    let mut rest = rest.get(length..)?;
    if flags & ROUTING != 0 {
        rest = skip_routes(rest)?;
    }
    by_type(u16::from_be_bytes([*high, *low]), rest)
}

/// Skips source route entries (RFC 1701) up to the null entry. Each is four bytes or more, so this ends.
fn skip_routes(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes;
    loop {
        let ([family_high, family_low, _, length], below) = rest.split_first_chunk::<4>()?;
        rest = below.get(usize::from(*length)..)?;
        if [*family_high, *family_low, *length] == [0, 0, 0] {
            return Some(rest);
        }
    }
}

fn by_type(ethertype: u16, bytes: &[u8]) -> Option<Content<'_>> {
    match ethertype {
        TYPE_IPV4 => Some(Content::Ipv4(bytes)),
        TYPE_IPV6 => Some(Content::Ipv6(bytes)),
        TYPE_ETHERNET => ethernet(bytes).ok().map(|frame| frame.content),
        _ => None,
    }
}
