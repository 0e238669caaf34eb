//! The packet socket read through libpcap, device `any`.
//!
//! Measured, and not to be changed lightly: the ring is opened nonblocking and its descriptor polled, for libpcap's own
//! timeout never fires on an idle interface. libpcap's filter is set once, empty, at once after opening: without one
//! it copies whole GSO frames whatever the snaplen, and frames that come before the first one are counted and lost.

use std::os::fd::{AsFd, BorrowedFd};

use pcap::{Active, Capture, Linktype, Precision};
use portolan_flowtable::{Direction, InterfaceId, Timestamp};
use portolan_sys::FilterInstruction;

use super::{COOKED_HEADER_BYTES, Growth};
use crate::error::TapError;
use crate::frame::{Frame, LinkType};

/// The device that hears all interfaces.
const ANY: &str = "any";
/// Most frames one poll hands over.
const FRAMES_PER_POLL: usize = 4_096;

pub(super) struct LibraryTap {
    capture: Capture<Active>,
    received: Counter,
    dropped: Counter,
}

/// What was last read of a counter of 32 bits that wraps.
#[derive(Clone, Copy, Debug, Default)]
struct Counter(u32);

impl Counter {
    /// Takes a reading and returns how much the counter has grown.
    fn advance(&mut self, reading: u32) -> u32 {
        let growth = reading.wrapping_sub(self.0);
        self.0 = reading;
        growth
    }
}

impl LibraryTap {
    pub(super) fn open(
        ring_bytes: u32,
        snaplen: u32,
        block_milliseconds: u32,
        program: &[FilterInstruction],
    ) -> Result<Self, TapError> {
        let mut capture = Capture::from_device(ANY)
            .map_err(refused)?
            .promisc(false)
            .immediate_mode(false)
            .precision(Precision::Nano)
            .timeout(i32::try_from(block_milliseconds).unwrap_or(i32::MAX))
            .snaplen(i32::try_from(snaplen.saturating_add(COOKED_HEADER_BYTES)).unwrap_or(i32::MAX))
            .buffer_size(i32::try_from(ring_bytes).unwrap_or(i32::MAX))
            .open()
            .map_err(refused)?;
        capture
            .set_datalink(Linktype::LINUX_SLL2)
            .map_err(|error| TapError::NoCookedFrames { reason: error.to_string() })?;
        capture.filter("", true).map_err(|error| failed("installing the empty filter", &error))?;
        let capture = capture.setnonblock().map_err(|error| failed("making the tap nonblocking", &error))?;
        portolan_sys::attach_filter(capture.as_fd(), program)
            .map_err(|source| TapError::Socket { action: "attaching the kernel filter", source })?;
        Ok(Self { capture, received: Counter::default(), dropped: Counter::default() })
    }

    /// Hands over a bounded number of frames. Returns how many.
    pub(super) fn poll(&mut self, each: &mut dyn FnMut(Frame<'_>)) -> Result<usize, TapError> {
        let dispatched = self.capture.dispatch(Some(FRAMES_PER_POLL), |packet| {
            each(Frame {
                bytes: packet.data,
                link: LinkType::LINUX_SLL2,
                // With nanosecond precision libpcap puts nanoseconds where microseconds stand.
                at: Timestamp::from_parts(packet.header.ts.tv_sec, packet.header.ts.tv_usec),
                beyond_seconds: 0,
                is_timed: true,
                number: 0,
                interface: interface_of(packet.data),
                direction: Direction::Unstated,
                original_bytes: packet.header.len,
            });
        });
        dispatched.map_err(|error| failed("reading frames", &error))
    }

    pub(super) fn statistics(&mut self) -> Result<Growth, TapError> {
        let counted = self.capture.stats().map_err(|error| failed("reading the tap's statistics", &error))?;
        Ok(Growth {
            received: self.received.advance(counted.received),
            dropped: self.dropped.advance(counted.dropped),
        })
    }
}

impl AsFd for LibraryTap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.capture.as_fd()
    }
}

/// Returns the interface a LINUX_SLL2 header names.
fn interface_of(bytes: &[u8]) -> InterfaceId {
    let index = bytes.get(4..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
    InterfaceId(u32::from_be_bytes(index))
}

fn refused(error: pcap::Error) -> TapError {
    let reason = error.to_string();
    let lower = reason.to_lowercase();
    if lower.contains("permission") || lower.contains("not permitted") {
        TapError::PermissionDenied
    } else {
        TapError::Library { action: "opening the packet socket".to_owned(), reason }
    }
}

fn failed(action: &str, error: &pcap::Error) -> TapError {
    TapError::Library { action: action.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_wraps_is_totalled() {
        let mut counter = Counter::default();
        let total: u64 =
            [10, u32::MAX - 1, 4].map(|reading| u64::from(counter.advance(reading))).iter().sum();
        assert_eq!(total, u64::from(u32::MAX) + 5);
    }

    #[test]
    fn what_libpcap_says_of_permission_becomes_the_remedy() {
        let said = "any: You don't have permission to perform this capture on that device\n(socket: Operation not permitted)";
        let error = refused(pcap::Error::PcapError(said.to_owned()));
        assert!(matches!(error, TapError::PermissionDenied), "{error}");
        assert!(error.to_string().contains("setcap cap_net_raw+ep"));
    }
}
