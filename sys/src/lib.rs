//! The few unsafe lines Portolan needs, each with its reason and its test, and what keeps a process within bounds.

mod huge_pages;
mod packet_ring;
mod prefetch;
pub mod sandbox;
mod socket_filter;
pub mod usage;

pub use huge_pages::prefer_huge_pages;
pub use packet_ring::{HEADROOM, PacketRing, RingCounts, RingFrame, RingOptions};
pub use prefetch::prefetch;
pub use socket_filter::{FilterInstruction, INSTRUCTIONS_MAX, attach_filter};
