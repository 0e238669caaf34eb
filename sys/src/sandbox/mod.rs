//! What a process gives up once everything it needs is open: capabilities, files, system calls.
//!
//! Each part is a function of its own, tells what the kernel refused, and decides nothing. Capabilities and files are
//! given up by the calling thread and by threads it starts from then on; system calls by all threads at once.
//!
//! # Sources
//!
//! capabilities(7), prctl(2), landlock(7), seccomp(2).

mod calls;
mod capabilities;
mod files;

pub use calls::{Calls, OnDenied, SealError, is_sealable, seal};
pub use capabilities::{Held, Kept, held, held_without, shed};
pub use files::{Enclosed, Places, enclose, landlock_abi};

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask};
use rustix::thread::{no_new_privs, set_no_new_privs};

/// Returns whether an exec of the calling thread can give it no more privileges.
///
/// # Errors
///
/// Returns what the kernel says.
pub fn has_no_new_privileges() -> io::Result<bool> {
    Ok(no_new_privs()?)
}

/// Gives up what no program of this kind needs: more privileges by an exec, core dumps, being read by others of the
/// same user, files that others can read. For the whole process but no-new-privileges, which goes from thread to thread.
///
/// # Errors
///
/// Returns what the kernel refused.
pub fn harden() -> io::Result<()> {
    set_no_new_privs(true)?;
    // Where that is refused, what is not dumpable leaves no core either.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
