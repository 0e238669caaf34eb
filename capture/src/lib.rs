//! Capture: bytes in, facts out.
//!
//! # Where it sits
//!
//! A [`Tap`] yields [`Frame`]s: from the one socket that hears all interfaces ([`LiveTap`]) or from
//! capture files ([`file::FileTap`], [`file::MergedFiles`]). [`parse::parse`] reduces a frame to a
//! `portolan_flowtable::Observation`, which is all that anybody further down ever sees.
//!
//! # Invariants
//!
//! - **Every frame is accounted for.** A frame is parsed or refused with a reason; a damaged file gives
//!   everything before the damage, and then says where it is.
//! - **Nothing on the wire panics, allocates or recurses without bound.** Frames borrow from the tap's buffer and
//!   live inside the callback; observations are `Copy`.
//! - **Wire lengths, never IP lengths.** GSO and BIG TCP make the IP header's length field a lie.
//! - **No container is known here.** Interfaces are numbers.

pub mod dns;
pub mod file;
pub mod filter;
pub mod frame;
pub mod interfaces;
pub mod keep;
pub mod live;
pub mod parse;
#[cfg(feature = "libpcap")]
pub mod select;
#[cfg(not(feature = "libpcap"))]
#[path = "no_select.rs"]
pub mod select;
pub mod write;

pub use file::{FileInterface, FileTap, MergedFiles};
pub use filter::FilterPlan;
pub use frame::{Frame, LinkType, Polled, Tap};
pub use interfaces::{HostInterface, inventory};
pub use live::{Backend, LiveOptions, LiveTap, TapStatistics, Woken};
pub use parse::{ParseError, ParseOptions, parse, parse_into};

mod error;
pub use error::TapError;
pub use select::Selection;
