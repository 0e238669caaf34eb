//! The packet socket's ring read directly.
//!
//! The kernel's words about a frame become a LINUX_SLL2 header in front of it, written into the ring: what is parsed
//! and recorded is what libpcap would yield, and a VLAN tag the kernel took off besides.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use portolan_flowtable::{Direction, InterfaceId, Timestamp};
use portolan_sys::{FilterInstruction, HEADROOM, PacketRing, RingFrame, RingOptions};

use super::Growth;
use crate::error::TapError;
use crate::frame::{Frame, LinkType};
use crate::parse::SLL2_BYTES;

/// Most blocks one poll hands over; a few thousand small frames.
const BLOCKS_PER_POLL: usize = 8;
/// A VLAN tag as it stands in a frame.
const TAG_BYTES: usize = 4;

pub(super) struct RingTap {
    ring: PacketRing,
}

impl RingTap {
    pub(super) fn open(
        ring_bytes: u32,
        block_milliseconds: u32,
        program: &[FilterInstruction],
    ) -> Result<Self, TapError> {
        let options =
            RingOptions { bytes: usize::try_from(ring_bytes).unwrap_or(usize::MAX), block_milliseconds };
        let ring = PacketRing::open(options, program).map_err(|source| {
            if source.kind() == io::ErrorKind::PermissionDenied {
                return TapError::PermissionDenied;
            }
            TapError::Socket { action: "opening the packet socket and its ring", source }
        })?;
        Ok(Self { ring })
    }

    /// Hands over the frames of a bounded number of blocks. Returns how many.
    pub(super) fn poll(&mut self, each: &mut dyn FnMut(Frame<'_>)) -> usize {
        let mut total = 0;
        for _ in 0..BLOCKS_PER_POLL {
            let Some(count) = self.ring.block(&mut |frame| each(cook(frame))) else { break };
            total += count;
        }
        total
    }

    pub(super) fn statistics(&self) -> Result<Growth, TapError> {
        let counts = self
            .ring
            .take_counts()
            .map_err(|source| TapError::Socket { action: "reading the tap's statistics", source })?;
        Ok(Growth { received: counts.received, dropped: counts.dropped })
    }
}

impl AsFd for RingTap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// Puts a LINUX_SLL2 header before a frame (tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html).
fn cook(frame: RingFrame<'_>) -> Frame<'_> {
    let [p0, p1] = frame.vlan.map_or(frame.protocol, |(identifier, _)| identifier).to_be_bytes();
    let [i0, i1, i2, i3] = frame.interface.to_be_bytes();
    let [h0, h1] = frame.hardware.to_be_bytes();
    let [a0, a1, a2, a3, a4, a5, a6, a7] = frame.address;
    #[rustfmt::skip]
    let header = [
        p0, p1, 0, 0, i0, i1, i2, i3, h0, h1, frame.packet_type, frame.address_bytes,
        a0, a1, a2, a3, a4, a5, a6, a7,
    ];
    let added = SLL2_BYTES + if frame.vlan.is_some() { TAG_BYTES } else { 0 };
    let (_, cooked) = frame.bytes.split_at_mut_checked(HEADROOM - added).unwrap_or_default();
    if let Some((_, control)) = frame.vlan
        && let Some(tag) = cooked.get_mut(SLL2_BYTES..added)
    {
        let [c0, c1] = control.to_be_bytes();
        let [e0, e1] = frame.protocol.to_be_bytes();
        tag.copy_from_slice(&[c0, c1, e0, e1]);
    }
    if let Some(place) = cooked.first_chunk_mut() {
        *place = header;
    }
    Frame {
        bytes: cooked,
        link: LinkType::LINUX_SLL2,
        at: Timestamp::from_parts(i64::from(frame.seconds), i64::from(frame.nanoseconds)),
        beyond_seconds: 0,
        is_timed: true,
        number: 0,
        interface: InterfaceId(frame.interface),
        direction: Direction::Unstated,
        original_bytes: frame.original_bytes.saturating_add(u32::try_from(added).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use portolan_flowtable::{MacAddr, Network};

    use super::*;
    use crate::parse::{ParseOptions, parse};

    /// An IPv4 datagram of 28 bytes: UDP from 10.0.0.1:53 to 10.0.0.2:53.
    const DATAGRAM: [u8; 28] =
        [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 53, 0, 53, 0, 8, 0, 0];

    #[test]
    fn a_frame_reads_as_the_kernel_described_it_and_its_tag_stands_in_it_again() {
        for (vlan, expected, added) in [(None, None, 0), (Some((0x88a8, 0x6064)), Some(100), 4)] {
            let mut bytes = [0xee; HEADROOM + DATAGRAM.len()];
            bytes[HEADROOM..].copy_from_slice(&DATAGRAM);
            let frame = cook(RingFrame {
                bytes: &mut bytes,
                original_bytes: 28,
                seconds: 1_700_000_000,
                nanoseconds: 999_999_999,
                interface: 0x0102_0304,
                hardware: 1,
                packet_type: 4,
                protocol: 0x0800,
                address_bytes: 6,
                address: [2, 0, 0, 0, 0, 9, 0, 0],
                vlan,
            });
            let seen = parse(&frame, &ParseOptions::default()).unwrap();
            let Network::Ip(packet) = seen.network else { panic!("{seen:?}") };
            assert_eq!(packet.vlan, expected);
            assert_eq!(packet.ports.map(|(source, _)| source.0), Some(53));
            assert_eq!((seen.interface, seen.direction), (InterfaceId(0x0102_0304), Direction::Outgoing));
            assert_eq!(seen.source_mac, MacAddr([2, 0, 0, 0, 0, 9]));
            assert_eq!(seen.wire_bytes, 14 + 28 + added);
            assert_eq!(frame.at, Timestamp::from_parts(1_700_000_000, 999_999_999));
        }
    }
}
