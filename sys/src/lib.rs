//! The few unsafe lines Portolan needs, each with its reason and its test, and what keeps a process within bounds.

mod packet_ring;
mod prefetch;
pub mod sandbox;
mod socket_filter;
pub mod usage;

pub use packet_ring::{HEADROOM, PacketRing, RingCounts, RingFrame, RingOptions};
pub use prefetch::prefetch;
pub use socket_filter::{FilterInstruction, INSTRUCTIONS_MAX, attach_filter};
