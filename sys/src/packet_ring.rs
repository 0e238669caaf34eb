//! A packet socket whose frames the kernel writes into memory it shares with the process: `TPACKET_V3`.
//!
//! # Sources
//!
//! packet(7), linux/if_packet.h, and Documentation/networking/packet_mmap.rst of the kernel.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::socket_filter::{FilterInstruction, attach_filter};

/// Bytes before each frame that whoever reads it may write to.
pub const HEADROOM: usize = 24;

/// Bytes of one block: the longest frame the kernel builds (64 KiB of GSO) fits with room to spare.
const BLOCK_BYTES: usize = 256 * 1024;
/// Fewer blocks, and the kernel would wait for the one being read.
const BLOCKS_MIN: usize = 4;
/// Only a unit of account in version 3, but the kernel wants it to fit.
const FRAME_BYTES: usize = 2_048;

/// How a ring is opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RingOptions {
    /// Size of the shared memory in bytes; rounded to whole blocks of 256 KiB, four at least.
    pub bytes: usize,
    /// How long the kernel keeps a block that is not full, in milliseconds: the greatest delay of a frame.
    pub block_milliseconds: u32,
}

/// One frame, as the kernel describes it. Everything of more than one byte is in the host's order.
#[derive(Debug)]
pub struct RingFrame<'a> {
    /// [`HEADROOM`] bytes of no meaning, then what was kept of the frame from its network header on.
    pub bytes: &'a mut [u8],
    /// Length of the frame from its network header on, before the filter cut it, in bytes.
    pub original_bytes: u32,
    /// Seconds since 1970.
    pub seconds: u32,
    /// Nanoseconds of the second.
    pub nanoseconds: u32,
    /// The interface (`sll_ifindex`).
    pub interface: u32,
    /// `ARPHRD_*` of the interface (`sll_hatype`).
    pub hardware: u16,
    /// `PACKET_HOST` and so on (`sll_pkttype`).
    pub packet_type: u8,
    /// Ethertype (`sll_protocol`).
    pub protocol: u16,
    /// Length of the sender's address (`sll_halen`).
    pub address_bytes: u8,
    /// The sender's address on the link, padded.
    pub address: [u8; 8],
    /// The VLAN tag that the kernel took off the frame: protocol identifier and control information.
    pub vlan: Option<(u16, u16)>,
}

/// What the kernel counted since the last reading (`PACKET_STATISTICS`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RingCounts {
    /// Frames the filter let through, those dropped included.
    pub received: u32,
    /// Frames for which the ring had no room.
    pub dropped: u32,
}

/// A packet socket on all interfaces of its network namespace, and its ring.
///
/// Nothing arrives before the filter is in place: the socket has no protocol until it is bound, and it is bound last.
#[derive(Debug)]
pub struct PacketRing {
    socket: OwnedFd,
    memory: NonNull<u8>,
    blocks: usize,
    next: usize,
}

// SAFETY: the mapping belongs to this value alone; nothing else in the process has its address.
unsafe impl Send for PacketRing {}

impl PacketRing {
    /// Opens the socket with a filter, and the ring.
    ///
    /// # Errors
    ///
    /// Returns what the kernel says: `EPERM` without `CAP_NET_RAW`, `ENOMEM` where it has no memory for the ring.
    pub fn open(options: RingOptions, filter: &[FilterInstruction]) -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        let socket = unsafe {
            libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0)
        };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just opened, and nobody else has it.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        attach_filter(socket.as_fd(), filter)?;
        set(&socket, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V3 as c_int))?;
        set(&socket, libc::PACKET_RESERVE, &u32::try_from(HEADROOM).map_err(io::Error::other)?)?;
        let blocks = (options.bytes / BLOCK_BYTES).max(BLOCKS_MIN);
        let count = |bytes: usize| u32::try_from(bytes).map_err(io::Error::other);
        let request = libc::tpacket_req3 {
            tp_block_size: count(BLOCK_BYTES)?,
            tp_block_nr: count(blocks)?,
            tp_frame_size: count(FRAME_BYTES)?,
            tp_frame_nr: count(blocks * (BLOCK_BYTES / FRAME_BYTES))?,
            tp_retire_blk_tov: options.block_milliseconds,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set(&socket, libc::PACKET_RX_RING, &request)?;
        // SAFETY: a mapping of the ring the kernel has just made, at an address it chooses; the length is the ring's.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                blocks * BLOCK_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                socket.as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let Some(memory) = NonNull::new(memory.cast::<u8>()) else {
            return Err(io::Error::other("the ring was mapped at address zero"));
        };
        let ring = Self { socket, memory, blocks, next: 0 };
        ring.bind()?;
        Ok(ring)
    }

    /// Lets frames in: of all protocols and all interfaces.
    fn bind(&self) -> io::Result<()> {
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
            sll_ifindex: 0,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let size = libc::socklen_t::try_from(size_of_val(&address)).map_err(io::Error::other)?;
        // SAFETY: the address is a whole `sockaddr_ll` of the stated size, which the kernel copies.
        let status = unsafe {
            libc::bind(self.socket.as_raw_fd(), (&raw const address).cast::<libc::sockaddr>(), size)
        };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Hands over the frames of the oldest finished block, in order, and gives the block back; `None` where no block
    /// is finished.
    pub fn block(&mut self, each: &mut dyn FnMut(RingFrame<'_>)) -> Option<usize> {
        let block = Block::take(self)?;
        let mut count = 0;
        let mut at = block.first;
        for _ in 0..block.frames {
            let Some((frame, next)) = block.frame(at) else { break };
            count += 1;
            each(frame);
            at = match next {
                0 => break,
                further => at.saturating_add(further),
            };
        }
        drop(block);
        self.next = (self.next + 1) % self.blocks;
        Some(count)
    }

    /// Reads the kernel's counts, and sets them to zero.
    ///
    /// # Errors
    ///
    /// Returns what the kernel says.
    pub fn take_counts(&self) -> io::Result<RingCounts> {
        let mut counts = libc::tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
        let mut size = libc::socklen_t::try_from(size_of_val(&counts)).map_err(io::Error::other)?;
        // SAFETY: the value is a whole `tpacket_stats_v3` of the stated size, which the kernel fills.
        let status = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut counts).cast::<c_void>(),
                &raw mut size,
            )
        };
        if status != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(RingCounts { received: counts.tp_packets, dropped: counts.tp_drops })
    }
}

impl AsFd for PacketRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for PacketRing {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this address and length, and no slice of it outlives `block`.
        let _ = unsafe { libc::munmap(self.memory.as_ptr().cast::<c_void>(), self.blocks * BLOCK_BYTES) };
    }
}

/// A finished block; given back to the kernel when it goes, whatever its reader did.
struct Block<'a> {
    start: NonNull<u8>,
    first: usize,
    frames: u32,
    ring: std::marker::PhantomData<&'a mut PacketRing>,
}

impl<'a> Block<'a> {
    fn take(ring: &'a mut PacketRing) -> Option<Self> {
        // SAFETY: `next` is below the number of blocks, so that the whole block lies within the mapping.
        let start = unsafe { ring.memory.add(ring.next * BLOCK_BYTES) };
        let mut block = Self { start, first: 0, frames: 0, ring: std::marker::PhantomData };
        if block.status().load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            // Still the kernel's: it must not be given back.
            std::mem::forget(block);
            return None;
        }
        // SAFETY: a block begins with its description, aligned to a page; the kernel leaves it alone until it is
        // given back, and every bit pattern of the version 1 header is a value.
        let head = unsafe { start.cast::<libc::tpacket_block_desc>().read().hdr.bh1 };
        block.first = usize::try_from(head.offset_to_first_pkt).unwrap_or(usize::MAX);
        block.frames = head.num_pkts;
        Some(block)
    }

    /// The word through which kernel and process hand the block to each other.
    fn status(&self) -> &AtomicU32 {
        let offset = std::mem::offset_of!(libc::tpacket_block_desc, hdr);
        // SAFETY: `block_status` is the first word of the header, aligned to four bytes and within the block; both
        // sides touch it atomically only.
        unsafe { AtomicU32::from_ptr(self.start.add(offset).cast::<u32>().as_ptr()) }
    }

    /// Reads the frame at an offset, and how far the next one is. `None` where the kernel's words do not fit into
    /// the block.
    fn frame(&self, at: usize) -> Option<(RingFrame<'_>, usize)> {
        let address_at = at.checked_add(align(size_of::<libc::tpacket3_hdr>()))?;
        let described = address_at.checked_add(size_of::<libc::sockaddr_ll>())?;
        if described > BLOCK_BYTES {
            return None;
        }
        // SAFETY: both lie within the block, as was just checked, and are plain integers.
        let (header, address) = unsafe {
            (
                self.start.add(at).cast::<libc::tpacket3_hdr>().read_unaligned(),
                self.start.add(address_at).cast::<libc::sockaddr_ll>().read_unaligned(),
            )
        };
        let begins = at.checked_add(usize::from(header.tp_net))?.checked_sub(HEADROOM)?;
        let length = HEADROOM.checked_add(usize::try_from(header.tp_snaplen).ok()?)?;
        if begins < described || begins.checked_add(length)? > BLOCK_BYTES {
            return None;
        }
        // SAFETY: the bytes lie within the block behind its descriptions, and frames do not overlap. The block is the
        // process's until it is given back, and the slice borrows it.
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.start.add(begins).as_ptr(), length) };
        // Kernels before 3.14 do not say the protocol identifier.
        let tpid = match header.hv1.tp_vlan_tpid {
            tpid if header.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0 => tpid,
            _ => 0x8100,
        };
        let has_tag = header.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
        let frame = RingFrame {
            bytes,
            original_bytes: header.tp_len,
            seconds: header.tp_sec,
            nanoseconds: header.tp_nsec,
            interface: u32::try_from(address.sll_ifindex).unwrap_or_default(),
            hardware: address.sll_hatype,
            packet_type: address.sll_pkttype,
            protocol: u16::from_be(address.sll_protocol),
            address_bytes: address.sll_halen,
            address: address.sll_addr,
            vlan: has_tag.then_some((tpid, (header.hv1.tp_vlan_tci & 0xffff) as u16)),
        };
        Some((frame, usize::try_from(header.tp_next_offset).ok()?))
    }
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        self.status().store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }
}

/// `TPACKET_ALIGN`.
fn align(bytes: usize) -> usize {
    bytes.next_multiple_of(libc::TPACKET_ALIGNMENT)
}

fn set<T>(socket: &OwnedFd, option: c_int, value: &T) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the value is a whole `T` of the stated size, which the kernel copies.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            std::ptr::from_ref(value).cast::<c_void>(),
            size,
        )
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring of one block in ordinary memory, which no kernel knows.
    fn block_of(words: &mut [u64]) -> Block<'_> {
        let start = NonNull::new(words.as_mut_ptr().cast::<u8>()).unwrap();
        Block { start, first: 0, frames: 1, ring: std::marker::PhantomData }
    }

    #[test]
    fn words_that_do_not_fit_into_a_block_are_no_frame() {
        #[rustfmt::skip]
        let cases = [
            // frame at          network header  kept            is a frame
            (48,                 128,            60,             true),
            (48,                 92,             60,             true),
            (48,                 91,             60,             false),
            (48,                 0,              60,             false),
            (48,                 128,            BLOCK_BYTES,    false),
            (48,                 128,            u32::MAX as usize, false),
            (BLOCK_BYTES - 67,   128,            0,              false),
            (usize::MAX,         128,            0,              false),
            (BLOCK_BYTES - 256,  128,            128,            true),
            (BLOCK_BYTES - 256,  128,            129,            false),
        ];
        for (at, network, kept, is_frame) in cases {
            let mut words = vec![0_u64; BLOCK_BYTES / 8];
            if at < BLOCK_BYTES - 48 {
                // `tp_snaplen` and `tp_net`.
                put(&mut words, at + 12, &u32::try_from(kept).unwrap().to_ne_bytes());
                put(&mut words, at + 26, &u16::try_from(network).unwrap().to_ne_bytes());
            }
            let block = block_of(&mut words);
            let frame = block.frame(at);
            assert_eq!(frame.is_some(), is_frame, "{at} {network} {kept}");
            if let Some((frame, next)) = frame {
                assert_eq!((frame.bytes.len(), next), (HEADROOM + kept, 0));
            }
        }
    }

    #[test]
    fn a_block_is_given_back_whatever_its_reader_does() {
        let mut words = vec![0_u64; BLOCK_BYTES / 8];
        // `block_status`, behind version and offset.
        put(&mut words, 8, &libc::TP_STATUS_USER.to_ne_bytes());
        let given = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let block = block_of(&mut words);
            assert_eq!(block.status().load(Ordering::Acquire), libc::TP_STATUS_USER);
            panic!("the reader");
        }));
        assert!(given.is_err());
        assert_eq!(block_of(&mut words).status().load(Ordering::Acquire), libc::TP_STATUS_KERNEL);
    }

    fn put(words: &mut [u64], at: usize, bytes: &[u8]) {
        for (offset, byte) in bytes.iter().enumerate() {
            let at = at + offset;
            let mut word = words[at / 8].to_ne_bytes();
            word[at % 8] = *byte;
            words[at / 8] = u64::from_ne_bytes(word);
        }
    }
}
