//! The atomics of this room, and the two orderings its protocols rest on.
//!
//! What is shared without a lock says `use super::atomics`, so that `tests/interleavings` can compile the same source
//! over the loom crate's atomics, which run through every order the memory model allows; and once more with the
//! orderings weakened, to see that it would notice.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
pub(crate) use std::sync::{Mutex, PoisonError};

/// With which the last store is made visible together with everything before it.
pub(crate) const PUBLISH: Ordering = Ordering::Release;
/// With which it is looked at, so that everything before it is seen too.
pub(crate) const OBSERVE: Ordering = Ordering::Acquire;
