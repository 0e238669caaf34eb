//! The live tap: one socket that hears all interfaces of the host's network namespace.
//!
//! Two backends yield the same frames: the kernel's ring read directly ([`Backend::Ring`]), and libpcap's `any`
//! ([`Backend::Library`]). The kernel's filter goes onto either's descriptor with `SO_ATTACH_FILTER`, which loses
//! nothing.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use portolan_flowtable::InterfaceId;
use portolan_sys::FilterInstruction;
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::error::TapError;
use crate::filter::{self, FilterPlan};
use crate::frame::{Frame, Polled, Tap};
use crate::interfaces::{HostInterface, inventory};

#[cfg(feature = "libpcap")]
mod library;
#[cfg(not(feature = "libpcap"))]
#[path = "live/no_library.rs"]
mod library;
mod ring;

use library::LibraryTap;
use ring::RingTap;

/// [`LiveOptions::block_milliseconds`] unless told otherwise; less wakes the reader more often.
pub const BLOCK_MILLISECONDS: u32 = 50;

/// What stands before the network header of a cooked frame, and does not count towards the snaplen.
pub const COOKED_HEADER_BYTES: u32 = 20;

/// Who reads the packet socket.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Backend {
    /// The kernel's ring (`TPACKET_V3`) itself: VLAN tags that the kernel took off stand in the frames again.
    #[default]
    Ring,
    /// libpcap, device `any`. VLAN tags are lost. Opens nothing where this was built without libpcap.
    Library,
}

/// How the live tap is opened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LiveOptions {
    /// Who reads the socket.
    pub backend: Backend,
    /// The one interface to hear; `None` for all.
    pub interface: Option<String>,
    /// Bytes kept of each frame, from its network header on.
    pub snaplen: u32,
    /// Bytes kept of TCP and UDP from or to port 53, where that is more; see [`FilterPlan::DNS_SNAPLEN`].
    pub dns_snaplen: u32,
    /// Size of the ring shared with the kernel, in bytes.
    pub ring_bytes: u32,
    /// How long the kernel keeps a block of the ring that is not full, in milliseconds: the greatest delay of a frame.
    pub block_milliseconds: u32,
    /// Interfaces to leave out.
    pub dropped: Vec<InterfaceId>,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            backend: Backend::default(),
            interface: None,
            snaplen: 256,
            dns_snaplen: FilterPlan::DNS_SNAPLEN,
            ring_bytes: 64 * 1024 * 1024,
            block_milliseconds: BLOCK_MILLISECONDS,
            dropped: Vec::new(),
        }
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
#[derive(Debug)]
pub struct LiveTap {
    socket: Socket,
    only: Option<HostInterface>,
    plan: FilterPlan,
    /// What it was opened without.
    without: Vec<InterfaceId>,
    delivered: u64,
    strays: u64,
    received: u64,
    dropped: u64,
}

/// The socket, and who reads it.
enum Socket {
    Ring(RingTap),
    Library(LibraryTap),
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ring(_) => "Ring",
            Self::Library(_) => "Library",
        })
    }
}

/// What the kernel counted since the last reading.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Growth {
    received: u32,
    dropped: u32,
}

impl LiveTap {
    /// Opens the socket and puts the filter in place.
    ///
    /// # Errors
    ///
    /// Returns that the process may not (with the capability it needs), that there is no such interface (with those
    /// there are), or what the kernel or libpcap says.
    pub fn open(options: &LiveOptions) -> Result<Self, TapError> {
        let only = options.interface.as_deref().map(find).transpose()?;
        let plan = FilterPlan {
            snaplen: options.snaplen,
            dns_snaplen: options.dns_snaplen,
            only: only.as_ref().map(|interface| interface.id),
            dropped: options.dropped.clone(),
            receivers: Vec::new(),
            // What the loopback sends it also receives: heard once.
            incoming_only: only.as_ref().is_some_and(|interface| interface.is_loopback),
        };
        let program = plan.program();
        let socket = match options.backend {
            Backend::Ring => {
                Socket::Ring(RingTap::open(options.ring_bytes, options.block_milliseconds, &program)?)
            }
            Backend::Library => {
                let snaplen = options.snaplen.max(options.dns_snaplen);
                let delay = options.block_milliseconds;
                Socket::Library(LibraryTap::open(options.ring_bytes, snaplen, delay, &program)?)
            }
        };
        Ok(Self {
            socket,
            only,
            plan,
            without: options.dropped.clone(),
            delivered: 0,
            strays: 0,
            received: 0,
            dropped: 0,
        })
    }

    /// Replaces the kernel's filter without a gap.
    ///
    /// # Errors
    ///
    /// Returns what the kernel says of the program.
    pub fn attach_filter(&self, program: &[FilterInstruction]) -> Result<(), TapError> {
        portolan_sys::attach_filter(self.as_fd(), program)
            .map_err(|source| TapError::Socket { action: "attaching the kernel filter", source })
    }

    /// Leaves out these interfaces from now on, besides those it was opened without, and what goes out by `receivers`
    /// ([`FilterPlan::receivers`]); hears all others again, without a gap for those it goes on to hear. Does nothing where
    /// that is so already. Where the kernel has no room for so long a program, receivers are heard: a filter spares
    /// work, and is no reason to end.
    ///
    /// # Errors
    ///
    /// Returns what the kernel says of the filter without receivers.
    pub fn leave_out(&mut self, dropped: &[InterfaceId], receivers: &[InterfaceId]) -> Result<(), TapError> {
        let mut all = self.without.clone();
        all.extend(dropped.iter().filter(|interface| !self.without.contains(interface)));
        if self.plan.dropped == all && self.plan.receivers == receivers {
            return Ok(());
        }
        let mut plan = FilterPlan { dropped: all, receivers: receivers.to_vec(), ..self.plan.clone() };
        if self.attach_filter(&plan.program()).is_err() {
            let without = FilterPlan { receivers: Vec::new(), ..plan.clone() };
            self.attach_filter(&without.program())?;
            // What was asked for stands in the plan: the same question is not asked again until roles change.
            plan = FilterPlan { receivers: receivers.to_vec(), ..without };
        }
        self.plan = plan;
        Ok(())
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
        let socket = self.as_fd();
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
    /// Returns what the kernel or libpcap says.
    pub fn statistics(&mut self) -> Result<TapStatistics, TapError> {
        let growth = match &mut self.socket {
            Socket::Ring(ring) => ring.statistics()?,
            Socket::Library(library) => library.statistics()?,
        };
        self.received += u64::from(growth.received);
        self.dropped += u64::from(growth.dropped);
        Ok(TapStatistics {
            received: self.received,
            dropped: self.dropped,
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
            let mut polled = [PollFd::from_borrowed_fd(self.as_fd(), PollFlags::IN)];
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
        let is_there = rustix::net::netdevice::index_to_name_inlined(self.as_fd(), only.id.0).is_ok();
        if is_there { Ok(()) } else { Err(TapError::InterfaceGone { name: only.name.clone() }) }
    }
}

impl AsFd for LiveTap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Ring(ring) => ring.as_fd(),
            Socket::Library(library) => library.as_fd(),
        }
    }
}

impl Tap for LiveTap {
    fn poll(&mut self, each: &mut dyn FnMut(&Frame<'_>)) -> Result<Polled, TapError> {
        let only = self.only.as_ref().map(|interface| interface.id);
        let (mut number, mut strays) = (self.delivered, 0);
        let mut frame = |mut frame: Frame<'_>| {
            if only.is_some_and(|only| only != frame.interface) {
                strays += 1;
                return;
            }
            number += 1;
            frame.number = number;
            each(&frame);
        };
        let dispatched = match &mut self.socket {
            Socket::Ring(ring) => Ok(ring.poll(&mut frame)),
            Socket::Library(library) => library.poll(&mut frame),
        };
        self.delivered = number;
        self.strays += strays;
        match dispatched? {
            0 => Ok(Polled::Idle),
            count => Ok(Polled::Frames(count)),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_does_not_exist_is_named_with_those_that_do() {
        let error = find("no-such-0").unwrap_err().to_string();
        assert!(error.starts_with("no interface \"no-such-0\" on this host; there are lo"), "{error}");
    }
}
