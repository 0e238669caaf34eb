//! What is kept of a frame in a recording that holds headers only.
//!
//! # Invariants
//!
//! - **The same answer.** What is kept parses to what the whole frame parses to, refusals and the packet inside a
//!   tunnel included; only [`Observation::fingerprint`](portolan_flowtable::Observation::fingerprint), which hashes
//!   payload too, is another's.
//! - **No payload.** What the parser does not know as a header is not kept: of an unknown protocol over IP (ESP) not
//!   a byte. A sender who dresses payload up as a header keeps it; nothing can tell the two apart. An outermost IP
//!   header that claims more than the frame held is kept only as far as the answer hangs on it.

use portolan_flowtable::{Network, NonIp, Observation, Port, Protocol};

use crate::frame::Frame;
use crate::parse::ip::Header;
use crate::parse::link::{self, Content};
use crate::parse::{ParseOptions, TUNNELS_MAX, inner, parse, transport, tunnel};

/// What is kept besides headers. Nothing, by default.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Keep {
    /// Everything that was captured.
    pub payload: bool,
    /// The payload of UDP and TCP from or to port 53.
    pub dns: bool,
    /// A TLS ClientHello that begins a TCP payload, to the end of its record.
    pub tls_hello: bool,
}

const UDP_BYTES: usize = 8;
const SCTP_BYTES: usize = 12;
const ICMP_BYTES: usize = 8;
/// A TCP header without options, and where it says how long it is with them.
const TCP_BYTES: usize = 20;
const TCP_LENGTH_OFFSET: usize = 12;
/// Bytes an ICMP error surely quotes of the transport header (RFC 792).
const QUOTED_BYTES: usize = 8;
/// ARP's fixed part (RFC 826), which ends before the four addresses.
const ARP_BYTES: usize = 8;
/// Addresses ARP may carry: InfiniBand's are 20 bytes long, IPv6 ones 16.
const HARDWARE_BYTES_MAX: u8 = 20;
const PROTOCOL_BYTES_MAX: u8 = 16;

const DNS: Port = Port(53);

/// Returns how many bytes to keep of a frame, from its start: link header, tunnels, IP headers with their options,
/// the transport header, of an ICMP error the headers of the packet it quotes, ARP, and what `keep` adds.
///
/// Of a frame that cannot be parsed it is what proves that; of one that carries neither IP nor ARP, the link header.
/// `frame.original_bytes` remains the frame's length. Allocates nothing.
pub fn kept_bytes(frame: &Frame<'_>, keep: Keep) -> usize {
    if keep.payload {
        return frame.bytes.len();
    }
    let outermost = link::locate(frame).ok().and_then(|located| {
        let (Content::Ipv4(bytes) | Content::Ipv6(bytes)) = located.content else { return None };
        Some((bytes, inner(located.content, frame)?))
    });
    match outermost {
        Some((bytes, header)) if claims_more_than_there_was(frame, bytes, &header) => {
            least_bytes(frame, headers(frame, bytes, header, Keep::default()))
        }
        Some((bytes, header)) => headers(frame, bytes, header, keep),
        None => without_ip(frame),
    }
}

/// Returns whether a header claims a longer packet than the frame had room for on the wire.
///
/// Then it is likely none: under MPLS the first four bits below the labels alone tell IP from anything else, and an
/// Ethernet pseudowire may begin with the same (RFC 4385, section 2). What such a header calls options is payload.
fn claims_more_than_there_was(frame: &Frame<'_>, bytes: &[u8], header: &Header<'_>) -> bool {
    let left_bytes = (frame.original_bytes as usize).saturating_sub(frame.offset_of(bytes));
    header.payload_offset.saturating_add(header.payload_claimed) > left_bytes.max(bytes.len())
}

/// Returns how much of a frame's first `most` bytes is needed for the same answer, whatever is asked.
fn least_bytes(frame: &Frame<'_>, most: usize) -> usize {
    let [outermost, innermost] =
        [false, true].map(|innermost| ParseOptions { innermost, fingerprint: false });
    let wanted = [parse(frame, &outermost), parse(frame, &innermost)];
    shortest(frame, most, |cut| [parse(cut, &outermost), parse(cut, &innermost)] == wanted)
}

/// Returns the length of the shortest beginning of a frame, up to `most` bytes, that is enough.
fn shortest(frame: &Frame<'_>, most: usize, is_enough: impl Fn(&Frame<'_>) -> bool) -> usize {
    // The parser is asked, and so cannot disagree. It reads from the front, so all that it read is enough, and no
    // more is kept; less is where that has the same answer, as in a list of labels that is cut.
    let (mut least, mut enough) = (0, most.min(frame.bytes.len()));
    while least < enough {
        let middle = least.midpoint(enough);
        let bytes = frame.bytes.get(..middle).unwrap_or(frame.bytes);
        if is_enough(&Frame { bytes, ..*frame }) { enough = middle } else { least = middle + 1 }
    }
    enough
}

/// Returns where the headers of a packet, and of the packets within it, end.
fn headers<'a>(frame: &Frame<'a>, bytes: &'a [u8], outermost: Header<'a>, keep: Keep) -> usize {
    let (mut bytes, mut header) = (bytes, outermost);
    for _ in 0..=TUNNELS_MAX {
        let Some(content) = tunnel::inside(&header) else {
            return frame.offset_of(bytes) + packet_bytes(bytes, &header, keep);
        };
        let (Content::Ipv4(inside) | Content::Ipv6(inside)) = content else { break };
        let Some(next) = inner(content, frame) else {
            // What the tunnel carries cannot be read, and is no header. One byte says that there is something.
            return (frame.offset_of(inside) + 1).min(frame.bytes.len());
        };
        (bytes, header) = (inside, next);
    }
    // Deeper than is followed.
    frame.offset_of(bytes) + ip_bytes(bytes, &header)
}

/// Returns the length of a packet's headers; `bytes` begin with the IP header.
fn packet_bytes(bytes: &[u8], header: &Header<'_>, keep: Keep) -> usize {
    let transport = if header.is_later_fragment() { 0 } else { transport_bytes(header, keep) };
    (ip_bytes(bytes, header) + transport.min(header.payload.len())).min(bytes.len())
}

/// Returns the length of an IP header and its extension headers, as far as they were captured.
fn ip_bytes(bytes: &[u8], header: &Header<'_>) -> usize {
    header.payload_offset.min(bytes.len())
}

fn transport_bytes(header: &Header<'_>, keep: Keep) -> usize {
    let payload = header.payload;
    let header_bytes = match header.protocol {
        Protocol::TCP => tcp_bytes(payload),
        Protocol::UDP => UDP_BYTES,
        Protocol::SCTP => SCTP_BYTES,
        Protocol::ICMP | Protocol::ICMPV6 => ICMP_BYTES + quote_bytes(header),
        _ => 0,
    };
    let carries_dns =
        || transport::ports(header).is_some_and(|(source, destination)| source == DNS || destination == DNS);
    match header.protocol {
        Protocol::TCP | Protocol::UDP if keep.dns && carries_dns() => payload.len(),
        Protocol::TCP if keep.tls_hello => {
            header_bytes + hello_bytes(payload.get(header_bytes..).unwrap_or_default())
        }
        _ => header_bytes,
    }
}

fn tcp_bytes(payload: &[u8]) -> usize {
    let stated = payload.get(TCP_LENGTH_OFFSET).map_or(0, |offset| usize::from(offset >> 4) * 4);
    stated.max(TCP_BYTES)
}

/// Returns how much of the packet that an ICMP error quotes is headers.
fn quote_bytes(header: &Header<'_>) -> usize {
    let Some((bytes, quoted)) = transport::quote(header) else { return 0 };
    let transport = match quoted.protocol {
        _ if quoted.is_later_fragment() => 0,
        Protocol::TCP | Protocol::UDP | Protocol::ICMP | Protocol::ICMPV6 => QUOTED_BYTES,
        // Its ports are believed only where its header is whole.
        Protocol::SCTP => SCTP_BYTES,
        _ => 0,
    };
    ip_bytes(bytes, &quoted) + transport.min(quoted.payload.len())
}

/// Returns the length of a TLS record that holds a ClientHello (RFC 8446, sections 4 and 5.1); 0 for anything else.
fn hello_bytes(payload: &[u8]) -> usize {
    const HANDSHAKE: u8 = 22;
    const MAJOR_VERSION: u8 = 3;
    const CLIENT_HELLO: u8 = 1;
    const RECORD_BYTES: usize = 5;
    match payload {
        [HANDSHAKE, MAJOR_VERSION, _, high, low, CLIENT_HELLO, ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            (RECORD_BYTES + length).min(payload.len())
        }
        _ => 0,
    }
}

/// Returns the length of the link header, and of an ARP message behind it; or what proves that a frame is refused.
fn without_ip(frame: &Frame<'_>) -> usize {
    let wanted = parse(frame, &ParseOptions::default());
    // What an ARP message says is kept by its length; here its kind is enough.
    let kind = |seen: Observation| match seen.network {
        Network::NonIp(NonIp::Arp(_)) => Observation { network: Network::NonIp(NonIp::Arp(None)), ..seen },
        Network::NonIp(NonIp::Other) | Network::Ip(_) => seen,
    };
    let wanted = wanted.map(kind);
    let is_enough = |cut: &Frame<'_>| parse(cut, &ParseOptions::default()).map(kind) == wanted;
    let enough = shortest(frame, frame.bytes.len(), is_enough);
    let is_arp = wanted.is_ok_and(|seen| seen.network == Network::NonIp(NonIp::Arp(None)));
    if is_arp { enough + arp_bytes(frame.bytes.get(enough..).unwrap_or_default()) } else { enough }
}

fn arp_bytes(bytes: &[u8]) -> usize {
    let addresses = match bytes {
        [_, _, _, _, hardware @ 0..=HARDWARE_BYTES_MAX, protocol @ 0..=PROTOCOL_BYTES_MAX, ..] => {
            2 * (usize::from(*hardware) + usize::from(*protocol))
        }
        _ => 0,
    };
    (ARP_BYTES + addresses).min(bytes.len())
}
