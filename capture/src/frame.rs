//! Frames and the taps that yield them.

use std::fmt;

use portolan_flowtable::plain::Record;
use portolan_flowtable::{Direction, InterfaceId, Timestamp};

use crate::error::TapError;
use crate::parse::{SLL_BYTES, SLL2_BYTES, uncooked};

/// A link-layer header type, as capture files number them (tcpdump.org/linktypes.html).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LinkType(pub u32);

impl LinkType {
    /// BSD loopback: four bytes of address family in the writer's byte order.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// PPP, with or without address and control field.
    pub const PPP: Self = Self(9);
    /// Raw IP, as some systems' `DLT_RAW` leaked into files.
    pub const RAW_12: Self = Self(12);
    /// Raw IP, `DLT_RAW` of OpenBSD.
    pub const RAW_14: Self = Self(14);
    /// PPP in HDLC-like framing (RFC 1662), or Cisco HDLC.
    pub const PPP_HDLC: Self = Self(50);
    /// PPPoE session packets (RFC 2516).
    pub const PPP_ETHER: Self = Self(51);
    /// Raw IPv4 or IPv6.
    pub const RAW: Self = Self(101);
    /// OpenBSD loopback: four bytes of address family, big-endian.
    pub const LOOP: Self = Self(108);
    /// Linux cooked capture.
    pub const LINUX_SLL: Self = Self(113);
    /// Raw IPv4.
    pub const IPV4: Self = Self(228);
    /// Raw IPv6.
    pub const IPV6: Self = Self(229);
    /// Linux cooked capture, version 2: says the interface of every frame.
    pub const LINUX_SLL2: Self = Self(276);
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::NULL => "NULL",
            Self::ETHERNET => "Ethernet",
            Self::PPP => "PPP",
            Self::RAW_12 | Self::RAW_14 | Self::RAW => "RAW",
            Self::PPP_HDLC => "PPP_HDLC",
            Self::PPP_ETHER => "PPP_ETHER",
            Self::LOOP => "LOOP",
            Self::LINUX_SLL => "LINUX_SLL",
            Self::IPV4 => "IPV4",
            Self::IPV6 => "IPV6",
            Self::LINUX_SLL2 => "LINUX_SLL2",
            Self(number) => return f.pad(&number.to_string()),
        };
        f.pad(name)
    }
}

/// One frame as a tap delivers it; borrows from the tap's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The captured bytes, link header first.
    pub bytes: &'a [u8],
    /// What the first byte belongs to.
    pub link: LinkType,
    /// When it was stamped; the time of the frame before it where `is_timed` is false.
    pub at: Timestamp,
    /// Seconds of the stamp beyond what `at` can hold. Zero for every stamp between 1678 and 2261; a source may
    /// claim any 64-bit time, and the plain conversation table repeats it exactly.
    pub beyond_seconds: i64,
    /// Whether the source stamped this frame itself.
    pub is_timed: bool,
    /// Position in its tap, from 1, as Wireshark numbers it.
    pub number: u64,
    /// The interface it was seen on: its running number in a file. For `LINUX_SLL2` the frame's own header says
    /// the kernel's index, and the parser takes that instead.
    pub interface: InterfaceId,
    /// Which way it crossed the interface, where the record says so. Cooked frames say it in their header, which
    /// the parser reads.
    pub direction: Direction,
    /// Length of the record as it was before the snaplen, link header included, in bytes.
    pub original_bytes: u32,
}

impl Frame<'_> {
    /// Returns the frame's length on an Ethernet wire in bytes, without reading further than its link type: what
    /// parsing puts into `Observation::wire_bytes`.
    pub fn wire_bytes(&self) -> u32 {
        match self.link {
            LinkType::LINUX_SLL => uncooked(self.original_bytes, SLL_BYTES),
            LinkType::LINUX_SLL2 => uncooked(self.original_bytes, SLL2_BYTES),
            _ => self.original_bytes,
        }
    }

    /// Returns what the plain conversation table has to know of the frame's record.
    pub fn record(&self) -> Record {
        Record {
            original_bytes: self.original_bytes,
            captured_bytes: u32::try_from(self.bytes.len()).unwrap_or(u32::MAX),
            beyond_seconds: self.beyond_seconds,
        }
    }
}

/// What a poll brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Polled {
    /// So many frames, at least one; there may be more.
    Frames(usize),
    /// None at the moment.
    Idle,
    /// None, and none will come.
    End,
}

/// A source of frames.
pub trait Tap: Send {
    /// Hands a bounded number of frames to `each`, in the tap's order, without waiting for more.
    ///
    /// # Errors
    ///
    /// Returns why no more frames can come. Frames handed over before stay valid.
    fn poll(&mut self, each: &mut dyn FnMut(&Frame<'_>)) -> Result<Polled, TapError>;
}
