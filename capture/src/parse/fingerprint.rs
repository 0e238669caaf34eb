//! A hash that is the same at every sighting of one packet.

use std::hash::{DefaultHasher, Hasher};

use portolan_flowtable::Protocol;

use crate::parse::ip::Header;

/// Bytes hashed. Enough to tell packets apart (addresses, ids, sequence numbers, some payload), and within what
/// every sensible snaplen keeps, whatever link header stood before.
const HASHED_BYTES: usize = 128;

/// Returns a hash over the packet from its network header on, without what routers, bridges and offloads change:
/// TTL and checksums. Never zero. `bytes` begin with the IP header.
pub(super) fn of(bytes: &[u8], header: &Header<'_>) -> u64 {
    // Up to the end of the IP payload: what follows is the link's padding, and not on every link.
    let end = (header.payload_offset + header.payload_claimed).min(bytes.len()).min(HASHED_BYTES);
    let mut copy = [0; HASHED_BYTES];
    for (to, from) in copy.iter_mut().zip(bytes.iter().take(end)) {
        *to = *from;
    }
    let mut blank = |offset: usize, count: usize| {
        copy.iter_mut().skip(offset).take(count).for_each(|byte| *byte = 0);
    };
    if header.source.is_ipv4() {
        blank(8, 1);
        blank(10, 2);
    } else {
        blank(7, 1);
    }
    let checksum = match header.protocol {
        Protocol::TCP => Some(16),
        Protocol::UDP => Some(6),
        Protocol::ICMP | Protocol::ICMPV6 => Some(2),
        _ => None,
    };
    if let Some(checksum) = checksum.filter(|_| !header.is_later_fragment()) {
        blank(header.payload_offset + checksum, 2);
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(copy.get(..end).unwrap_or_default());
    hasher.finish().max(1)
}
