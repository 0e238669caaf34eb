//! Transport headers: ports, TCP's control bits, and what an ICMP error quotes.

use portolan_flowtable::observation::Quoted;
use portolan_flowtable::{IcmpFacts, Port, Protocol, TcpFacts};

use crate::parse::ip::Header;
use crate::parse::link::Content;

/// Both ports stand in the first four bytes of TCP, UDP and SCTP; SCTP's header is believed only whole.
const PORTS_BYTES: usize = 4;
const SCTP_BYTES: usize = 12;
/// A TCP header up to the window; what follows is not read.
const TCP_READ_BYTES: usize = 16;
const TCP_BYTES: u8 = 20;

/// Reads source and destination port; `None` where the protocol has none, for later fragments, and where they were
/// not captured.
pub(crate) fn ports(header: &Header<'_>) -> Option<(Port, Port)> {
    let required_bytes = if header.protocol == Protocol::SCTP { SCTP_BYTES } else { PORTS_BYTES };
    if !header.protocol.has_ports() || header.is_later_fragment() || header.payload.len() < required_bytes {
        return None;
    }
    let [s0, s1, d0, d1] = *header.payload.first_chunk()?;
    Some((Port(u16::from_be_bytes([s0, s1])), Port(u16::from_be_bytes([d0, d1]))))
}

/// Reads a TCP header as far as the window.
pub(super) fn tcp(header: &Header<'_>) -> Option<TcpFacts> {
    if header.protocol != Protocol::TCP || header.is_later_fragment() {
        return None;
    }
    facts(header.payload.first_chunk()?, header.payload_claimed)
}

/// Returns what is read from the first bytes of a TCP header; `None` where its length contradicts it.
pub(super) fn facts(start: &[u8; TCP_READ_BYTES], payload_claimed: usize) -> Option<TcpFacts> {
    let [_, _, _, _, q0, q1, q2, q3, a0, a1, a2, a3, offset, flags, w0, w1] = *start;
    let header_bytes = (offset >> 4) * 4;
    if header_bytes < TCP_BYTES {
        return None;
    }
    let payload_bytes = payload_claimed.saturating_sub(usize::from(header_bytes));
    Some(TcpFacts {
        flags,
        sequence: u32::from_be_bytes([q0, q1, q2, q3]),
        acknowledgment: u32::from_be_bytes([a0, a1, a2, a3]),
        window: u16::from_be_bytes([w0, w1]),
        payload_bytes: u32::try_from(payload_bytes).unwrap_or(u32::MAX),
    })
}

/// Reads an ICMP or ICMPv6 header, and the head of the packet an error quotes.
pub(super) fn icmp(header: &Header<'_>) -> Option<IcmpFacts> {
    if !header.protocol.is_icmp() || header.is_later_fragment() {
        return None;
    }
    let [kind, code, _, _] = *header.payload.first_chunk()?;
    Some(IcmpFacts { kind, code, quoted: quote(header).map(|(_, header)| quoted(&header)) })
}

/// Returns the packet an ICMP or ICMPv6 error quotes, and its headers; `None` where nothing readable is quoted.
pub(crate) fn quote<'a>(header: &Header<'a>) -> Option<(&'a [u8], Header<'a>)> {
    let bytes = header.payload.get(8..)?;
    let content = match (header.protocol, *header.payload.first()?) {
        // Unreachable, source quench, redirect, time exceeded, parameter problem.
        (Protocol::ICMP, 3 | 4 | 5 | 11 | 12) => Content::Ipv4(bytes),
        // Unreachable, too big, time exceeded, parameter problem.
        (Protocol::ICMPV6, 1..=4) => Content::Ipv6(bytes),
        _ => return None,
    };
    Some((bytes, Header::read(content, bytes.len()).ok()?))
}

fn quoted(header: &Header<'_>) -> Quoted {
    Quoted {
        source: header.source,
        destination: header.destination,
        protocol: header.protocol,
        ports: ports(header),
    }
}
