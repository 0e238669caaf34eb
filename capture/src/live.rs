//! The live tap: one socket that hears all interfaces of the host's network namespace.
//!
//! Measured, and not to be changed lightly: the ring is opened nonblocking and its descriptor polled, for libpcap's own
//! timeout never fires on an idle interface. libpcap's filter is set once, empty, at once after opening: without one
//! it copies whole GSO frames whatever the snaplen, and frames that come before the first one are counted and lost.
//! The real filter goes onto the descriptor with `SO_ATTACH_FILTER`, which loses nothing.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use pcap::{Active, Capture, Linktype, Precision};
use portolan_flowtable::{Direction, InterfaceId, Timestamp};
use portolan_sys::FilterInstruction;
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::error::TapError;
use crate::filter::{self, FilterPlan};
use crate::frame::{Frame, LinkType, Polled, Tap};
use crate::interfaces::{HostInterface, inventory};

/// The device that hears all interfaces.
const ANY: &str = "any";
/// Most frames one poll hands over.
const FRAMES_PER_POLL: usize = 4_096;
/// How long the kernel keeps a block of the ring that is not full, in milliseconds: the greatest delay of a frame.
const BLOCK_MILLISECONDS: i32 = 50;

/// What libpcap puts before the network header, and counts towards its snaplen.
pub const COOKED_HEADER_BYTES: u32 = 20;

/// How the live tap is opened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LiveOptions {
    /// The one interface to hear; `None` for all.
    pub interface: Option<String>,
    /// Bytes kept of each frame, from its network header on.
    pub snaplen: u32,
    /// Size of the ring shared with the kernel, in bytes.
    pub ring_bytes: u32,
    /// Interfaces to leave out.
    pub dropped: Vec<InterfaceId>,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self { interface: None, snaplen: 256, ring_bytes: 64 * 1024 * 1024, dropped: Vec::new() }
    }
}

/// What became of the frames the kernel offered, since the tap was opened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TapStatistics {
    /// Frames the filter let through, those dropped included.
    pub received: u64,
    /// Frames for which the ring had no room.
    pub dropped: u64,
    /// Frames handed over.
    pub delivered: u64,
    /// Frames of other interfaces, heard before the filter was in place and not handed over.
    pub strays: u64,
}

impl TapStatistics {
    /// Returns frames received and neither dropped nor handed over: those still in the ring. Exactly 0 once the tap
    /// is settled.
    pub fn unsettled(&self) -> i128 {
        i128::from(self.received)
            - i128::from(self.dropped)
            - i128::from(self.delivered)
            - i128::from(self.strays)
    }
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Woken {
    /// There are frames.
    Frames,
    /// Somebody wrote to the wake descriptor.
    Called,
    /// The time is over.
    Timeout,
}

/// The one live socket.
pub struct LiveTap {
    capture: Capture<Active>,
    only: Option<HostInterface>,
    delivered: u64,
    strays: u64,
    received: Wrapping,
    dropped: Wrapping,
}

/// A total kept from a counter of 32 bits that wraps.
#[derive(Clone, Copy, Debug, Default)]
struct Wrapping {
    last: u32,
    total: u64,
}

impl Wrapping {
    fn advance(&mut self, counter: u32) {
        self.total += u64::from(counter.wrapping_sub(self.last));
        self.last = counter;
    }
}

impl LiveTap {
    /// Opens the socket and puts the filter in place.
    ///
    /// # Errors
    ///
    /// Returns that the process may not (with the capability it needs), that there is no such interface (with those
    /// there are), or what libpcap says.
    pub fn open(options: &LiveOptions) -> Result<Self, TapError> {
        let only = options.interface.as_deref().map(find).transpose()?;
        let capture = Capture::from_device(ANY)
            .map_err(refused)?
            .promisc(false)
            .immediate_mode(false)
            .precision(Precision::Nano)
            .timeout(BLOCK_MILLISECONDS)
            .snaplen(i32::try_from(options.snaplen.saturating_add(COOKED_HEADER_BYTES)).unwrap_or(i32::MAX))
            .buffer_size(i32::try_from(options.ring_bytes).unwrap_or(i32::MAX))
            .open()
            .map_err(refused)?;
        let mut capture = capture;
        capture
            .set_datalink(Linktype::LINUX_SLL2)
            .map_err(|error| TapError::NoCookedFrames { reason: error.to_string() })?;
        capture.filter("", true).map_err(|error| library("installing the empty filter", &error))?;
        let capture = capture.setnonblock().map_err(|error| library("making the tap nonblocking", &error))?;
        let plan = FilterPlan {
            snaplen: options.snaplen,
            only: only.as_ref().map(|interface| interface.id),
            dropped: options.dropped.clone(),
            incoming_only: false,
        };
        let tap = Self {
            capture,
            only,
            delivered: 0,
            strays: 0,
            received: Wrapping::default(),
            dropped: Wrapping::default(),
        };
        tap.attach_filter(&plan.program())?;
        Ok(tap)
    }

    /// Replaces the kernel's filter without a gap.
    ///
    /// # Errors
    ///
    /// Returns what the kernel says of the program.
    pub fn attach_filter(&self, program: &[FilterInstruction]) -> Result<(), TapError> {
        portolan_sys::attach_filter(self.capture.as_fd(), program)
            .map_err(|source| TapError::Socket { action: "attaching the kernel filter", source })
    }

    /// Stops the intake: from now on the kernel drops every frame, and counts none of them. What is in the ring can
    /// still be polled.
    ///
    /// # Errors
    ///
    /// Returns what the kernel says.
    pub fn drop_all(&self) -> Result<(), TapError> {
        self.attach_filter(&filter::nothing())
    }

    /// Waits until there are frames, somebody calls, or the time is over.
    ///
    /// # Errors
    ///
    /// Returns that polling failed, or, once the time is over, that the one interface to hear is gone.
    pub fn wait(&self, timeout: Duration, wake: BorrowedFd<'_>) -> Result<Woken, TapError> {
        let socket = self.capture.as_fd();
        let mut polled =
            [PollFd::from_borrowed_fd(socket, PollFlags::IN), PollFd::from_borrowed_fd(wake, PollFlags::IN)];
        let timeout = Timespec::try_from(timeout).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        match rustix::event::poll(&mut polled, Some(&timeout)) {
            // A signal: its handler calls, or the caller asks again.
            Ok(0) | Err(rustix::io::Errno::INTR) => self.check_presence().map(|()| Woken::Timeout),
            Ok(_) => {
                let [_, wake] = &polled;
                Ok(if wake.revents().is_empty() { Woken::Frames } else { Woken::Called })
            }
            Err(error) => Err(TapError::Socket { action: "waiting for frames", source: error.into() }),
        }
    }

    /// Returns what became of the frames so far. Asks the kernel.
    ///
    /// # Errors
    ///
    /// Returns what libpcap says.
    pub fn statistics(&mut self) -> Result<TapStatistics, TapError> {
        let counted =
            self.capture.stats().map_err(|error| library("reading the tap's statistics", &error))?;
        self.received.advance(counted.received);
        self.dropped.advance(counted.dropped);
        Ok(TapStatistics {
            received: self.received.total,
            dropped: self.dropped.total,
            delivered: self.delivered,
            strays: self.strays,
        })
    }

    /// Stops the intake, hands over what is in the ring, and returns the exact accounts.
    ///
    /// Polls at most `polls_max` times, a block's time apart, and then returns the accounts as they are.
    ///
    /// # Errors
    ///
    /// Returns what stopping, polling or reading the statistics says.
    pub fn settle(
        &mut self,
        polls_max: u32,
        each: &mut dyn FnMut(&Frame<'_>),
    ) -> Result<TapStatistics, TapError> {
        self.drop_all()?;
        for _ in 0..polls_max {
            while self.poll(each)? != Polled::Idle {}
            let statistics = self.statistics()?;
            if statistics.unsettled() == 0 {
                return Ok(statistics);
            }
            let mut polled = [PollFd::from_borrowed_fd(self.capture.as_fd(), PollFlags::IN)];
            let block = Timespec { tv_sec: 0, tv_nsec: i64::from(BLOCK_MILLISECONDS) * 1_000_000 };
            match rustix::event::poll(&mut polled, Some(&block)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    return Err(TapError::Socket { action: "settling the tap", source: error.into() });
                }
            }
        }
        self.statistics()
    }

    fn check_presence(&self) -> Result<(), TapError> {
        let Some(only) = &self.only else { return Ok(()) };
        // Asked on the tap itself: a sandboxed process may not be able to open a socket for it.
        let is_there = rustix::net::netdevice::index_to_name_inlined(self.capture.as_fd(), only.id.0).is_ok();
        if is_there { Ok(()) } else { Err(TapError::InterfaceGone { name: only.name.clone() }) }
    }
}

impl AsFd for LiveTap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.capture.as_fd()
    }
}

impl Tap for LiveTap {
    fn poll(&mut self, each: &mut dyn FnMut(&Frame<'_>)) -> Result<Polled, TapError> {
        let only = self.only.as_ref().map(|interface| interface.id);
        let (mut number, mut strays) = (self.delivered, 0);
        let dispatched = self.capture.dispatch(Some(FRAMES_PER_POLL), |packet| {
            let interface = interface_of(packet.data);
            if only.is_some_and(|only| only != interface) {
                strays += 1;
                return;
            }
            number += 1;
            each(&Frame {
                bytes: packet.data,
                link: LinkType::LINUX_SLL2,
                // With nanosecond precision libpcap puts nanoseconds where microseconds stand.
                at: Timestamp::from_parts(packet.header.ts.tv_sec, packet.header.ts.tv_usec),
                beyond_seconds: 0,
                is_timed: true,
                number,
                interface,
                direction: Direction::Unstated,
                original_bytes: packet.header.len,
            });
        });
        self.delivered = number;
        self.strays += strays;
        match dispatched {
            Ok(0) => Ok(Polled::Idle),
            Ok(count) => Ok(Polled::Frames(count)),
            Err(error) => Err(library("reading frames", &error)),
        }
    }
}

/// Returns the interface a LINUX_SLL2 header names.
fn interface_of(bytes: &[u8]) -> InterfaceId {
    let index = bytes.get(4..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
    InterfaceId(u32::from_be_bytes(index))
}

fn find(name: &str) -> Result<HostInterface, TapError> {
    let interfaces = inventory();
    match interfaces.iter().find(|each| each.name == name) {
        Some(found) if found.is_up => Ok(found.clone()),
        Some(found) => Err(TapError::InterfaceDown { name: found.name.clone() }),
        None => {
            let present: Vec<&str> = interfaces.iter().map(|each| each.name.as_str()).collect();
            Err(TapError::NoSuchInterface { name: name.to_owned(), present: present.join(", ") })
        }
    }
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

fn library(action: &str, error: &pcap::Error) -> TapError {
    TapError::Library { action: action.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_wraps_is_totalled() {
        let mut counter = Wrapping::default();
        for value in [10, u32::MAX - 1, 4] {
            counter.advance(value);
        }
        assert_eq!(counter.total, u64::from(u32::MAX) + 5);
    }

    #[test]
    fn an_interface_that_does_not_exist_is_named_with_those_that_do() {
        let error = find("no-such-0").unwrap_err().to_string();
        assert!(error.starts_with("no interface \"no-such-0\" on this host; there are lo"), "{error}");
    }

    #[test]
    fn what_libpcap_says_of_permission_becomes_the_remedy() {
        let said = "any: You don't have permission to perform this capture on that device\n(socket: Operation not permitted)";
        let error = refused(pcap::Error::PcapError(said.to_owned()));
        assert!(matches!(error, TapError::PermissionDenied), "{error}");
        assert!(error.to_string().contains("setcap cap_net_raw+ep"));
    }
}
