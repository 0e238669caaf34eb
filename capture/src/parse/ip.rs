//! IP headers, extension headers included.

use std::net::IpAddr;

use etherparse::{
    IpAuthHeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice,
};
use portolan_flowtable::{Fragment, Protocol};

use crate::parse::link::Content;
use crate::parse::{Layer, ParseError};

/// Extension headers followed in one packet. No honest packet has a tenth of them.
const EXTENSIONS_MAX: usize = 128;

const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;

/// An IP header read to the transport protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header<'a> {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// After extension headers, as far as they could be read.
    pub(crate) protocol: Protocol,
    pub(crate) fragment: Fragment,
    /// What is left of the IP payload behind the extension headers, as far as it was captured. Empty where an
    /// extension header is cut.
    pub(crate) payload: &'a [u8],
    /// Where the payload begins, counted from the IP header.
    pub(crate) payload_offset: usize,
    /// Bytes of payload the IP header claims.
    pub(crate) payload_claimed: usize,
}

impl<'a> Header<'a> {
    /// Reads the header of what a link layer or tunnel carries. `left_bytes` is the frame's length on the wire from
    /// this header on, whatever was captured of it: what a header without a length of its own claims.
    ///
    /// # Errors
    ///
    /// Returns that the addresses were not captured, or that the header contradicts itself.
    pub(crate) fn read(content: Content<'a>, left_bytes: usize) -> Result<Self, ParseError> {
        match content {
            // Some cooked captures call every IP packet IPv4; the header's own version decides.
            Content::Ipv4(bytes @ [0x60..=0x6f, ..]) | Content::Ipv6(bytes) => Self::ipv6(bytes, left_bytes),
            Content::Ipv4(bytes) => Self::ipv4(bytes, left_bytes),
            // Callers ask only for IP; a tunnel may carry anything and is then left closed.
            Content::Arp(_) | Content::Other => Err(ParseError::Malformed { layer: Layer::Tunnel }),
        }
    }

    fn ipv4(bytes: &'a [u8], left_bytes: usize) -> Result<Self, ParseError> {
        const MALFORMED: ParseError = ParseError::Malformed { layer: Layer::Ipv4 };
        let mut fixed: [u8; IPV4_BYTES] = fixed(bytes, Layer::Ipv4)?;
        let header_bytes = usize::from(fixed[0] & 0x0f) * 4;
        if fixed[0] >> 4 != 4 || header_bytes < IPV4_BYTES {
            return Err(MALFORMED);
        }
        // The fixed part is enough, and all there is where the snaplen cut the options: claim no options.
        fixed[0] = 0x45;
        let header = Ipv4HeaderSlice::from_slice(&fixed).map_err(|_| MALFORMED)?;
        let total = usize::from(header.total_len());
        // A length of zero is a frame the kernel has yet to segment, or BIG TCP.
        if total != 0 && total < header_bytes {
            return Err(MALFORMED);
        }
        let captured = bytes.get(header_bytes..).unwrap_or_default();
        let claimed = if total == 0 { left_bytes.saturating_sub(header_bytes) } else { total - header_bytes };
        let offset = header.fragments_offset().value();
        let id = u32::from(header.identification());
        let header = Self {
            source: header.source_addr().into(),
            destination: header.destination_addr().into(),
            protocol: Protocol(header.protocol().0),
            fragment: fragment(offset, header.more_fragments(), id),
            payload: captured.get(..claimed).unwrap_or(captured),
            payload_offset: header_bytes,
            payload_claimed: claimed,
        };
        Ok(header.skip_extensions(&[AUTHENTICATION]))
    }

    fn ipv6(bytes: &'a [u8], left_bytes: usize) -> Result<Self, ParseError> {
        let fixed: [u8; IPV6_BYTES] = fixed(bytes, Layer::Ipv6)?;
        let header =
            Ipv6HeaderSlice::from_slice(&fixed).map_err(|_| ParseError::Malformed { layer: Layer::Ipv6 })?;
        let captured = bytes.get(IPV6_BYTES..).unwrap_or_default();
        let length = usize::from(header.payload_length());
        let left = left_bytes.saturating_sub(IPV6_BYTES);
        // A length of zero is a jumbogram, which says so in hop-by-hop options, or BIG TCP, which is longer than the
        // field can say. Otherwise it is meant: there is no payload.
        let is_longer = left > usize::from(u16::MAX) || header.next_header().0 == HOP_BY_HOP.0;
        let claimed = if length == 0 && is_longer { left } else { length };
        let header = Self {
            source: header.source_addr().into(),
            destination: header.destination_addr().into(),
            protocol: Protocol(header.next_header().0),
            fragment: Fragment::Whole,
            payload: captured.get(..claimed).unwrap_or(captured),
            payload_offset: IPV6_BYTES,
            payload_claimed: claimed,
        };
        Ok(header.skip_extensions(&[HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION_OPTIONS, AUTHENTICATION]))
    }

    /// Moves to the transport protocol. A header that is cut ends the walk: what it says comes next is then the
    /// protocol, or its own number where it is cut before that.
    fn skip_extensions(mut self, kinds: &[Protocol]) -> Self {
        for _ in 0..=EXTENSIONS_MAX {
            if !kinds.contains(&self.protocol) || self.is_later_fragment() {
                return self;
            }
            let Some((next, length)) = self.extension() else {
                if let Some((next, read_bytes)) = self.next_of_cut() {
                    self.protocol = next;
                    self.payload_offset += read_bytes;
                }
                self.payload = &[];
                return self;
            };
            self.protocol = next;
            self.payload = self.payload.get(length..).unwrap_or_default();
            self.payload_offset += length;
            self.payload_claimed = self.payload_claimed.saturating_sub(length);
        }
        // More than anybody needs. It is a packet between its addresses all the same, of no protocol that was reached: by
        // the number of the header that was not read any more.
        self.payload = &[];
        self
    }

    /// Reads the extension header the payload begins with: what follows, and its length in bytes.
    fn extension(&mut self) -> Option<(Protocol, usize)> {
        let (next, length) = match self.protocol {
            FRAGMENT => {
                let header = Ipv6FragmentHeaderSlice::from_slice(self.payload).ok()?;
                let offset = header.fragment_offset().value();
                self.fragment = fragment(offset, header.more_fragments(), header.identification());
                (header.next_header(), header.slice().len())
            }
            AUTHENTICATION => {
                let header = IpAuthHeaderSlice::from_slice(self.payload).ok()?;
                (header.next_header(), header.slice().len())
            }
            _ => {
                let header = Ipv6RawExtHeaderSlice::from_slice(self.payload).ok()?;
                (header.next_header(), header.slice().len())
            }
        };
        Some((Protocol(next.0), length))
    }

    /// Returns what follows the extension header that the payload begins with and does not hold whole, and how many
    /// of its bytes say so. All but the fragment header, which is believed only whole, name it first.
    fn next_of_cut(&self) -> Option<(Protocol, usize)> {
        match (self.protocol, self.payload) {
            (FRAGMENT, _) => None,
            // The routing header is read octet by octet, the others from their length on.
            (ROUTING, [next, ..]) => Some((Protocol(*next), 1)),
            (_, [next, _, ..]) => Some((Protocol(*next), 2)),
            _ => None,
        }
    }

    pub(crate) fn is_later_fragment(&self) -> bool {
        match self.fragment {
            Fragment::Whole | Fragment::First { .. } => false,
            Fragment::Later { .. } => true,
        }
    }
}

const HOP_BY_HOP: Protocol = Protocol(IpNumber::IPV6_HEADER_HOP_BY_HOP.0);
const ROUTING: Protocol = Protocol(IpNumber::IPV6_ROUTE_HEADER.0);
const FRAGMENT: Protocol = Protocol(IpNumber::IPV6_FRAGMENTATION_HEADER.0);
const DESTINATION_OPTIONS: Protocol = Protocol(IpNumber::IPV6_DESTINATION_OPTIONS.0);
const AUTHENTICATION: Protocol = Protocol(IpNumber::AUTHENTICATION_HEADER.0);

fn fragment(offset: u16, has_more: bool, id: u32) -> Fragment {
    match (offset, has_more) {
        (0, false) => Fragment::Whole,
        (0, true) => Fragment::First { id },
        _ => Fragment::Later { id },
    }
}

fn fixed<const N: usize>(bytes: &[u8], layer: Layer) -> Result<[u8; N], ParseError> {
    let available_bytes = bytes.len();
    bytes.first_chunk().copied().ok_or(ParseError::Truncated { layer, required_bytes: N, available_bytes })
}
