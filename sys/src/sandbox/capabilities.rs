//! Capabilities of the calling thread.

use std::io;

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// Capabilities a process may have to keep.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Kept {
    /// `CAP_DAC_OVERRIDE`: files of other users.
    pub other_users_files: bool,
    /// `CAP_NET_BIND_SERVICE`: ports below 1024.
    pub low_ports: bool,
}

impl Kept {
    fn set(self) -> CapabilitySet {
        let mut set = CapabilitySet::empty();
        set.set(CapabilitySet::DAC_OVERRIDE, self.other_users_files);
        set.set(CapabilitySet::NET_BIND_SERVICE, self.low_ports);
        set
    }
}

/// What a thread holds, as masks in the order of capabilities(7).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Held {
    /// In force.
    pub effective: u64,
    /// That can be put in force.
    pub permitted: u64,
    /// That an exec could give back; without meaning under no-new-privileges.
    pub bounding: u64,
}

/// Returns what the calling thread holds.
///
/// # Errors
///
/// Returns what the kernel says.
pub fn held() -> io::Result<Held> {
    let sets = capabilities(None)?;
    let bounding = bits().filter(|bit| capability_is_in_bounding_set(*bit).unwrap_or(false));
    Ok(Held {
        effective: sets.effective.bits(),
        permitted: sets.permitted.bits(),
        bounding: bounding.fold(0, |mask, bit| mask | bit.bits()),
    })
}

/// Gives up every capability of the calling thread but `kept`, of which it keeps what it has. The bounding set goes
/// too where the thread may change it (`CAP_SETPCAP`); where not, it stays as it was given.
///
/// # Errors
///
/// Returns what the kernel refused.
pub fn shed(kept: Kept) -> io::Result<()> {
    let has = capabilities(None)?;
    let keep = kept.set() & has.permitted;
    for bit in bits().filter(|bit| !keep.contains(*bit)) {
        match remove_capability_from_bounding_set(bit) {
            // Not known to this kernel, or not allowed.
            Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    clear_ambient_capability_set()?;
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)?;
    Ok(())
}

/// Runs a question on a thread without any capability and returns its answer.
///
/// # Errors
///
/// Returns that no such thread can be made.
pub fn held_without<T: Send>(question: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let asked = std::thread::Builder::new().spawn_scoped(scope, || {
            let none = CapabilitySet::empty();
            set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
            Ok(question())
        })?;
        asked.join().unwrap_or_else(|_| Err(io::Error::other("the question panicked")))
    })
}

fn bits() -> impl Iterator<Item = CapabilitySet> {
    (0..u64::BITS).map(|at| CapabilitySet::from_bits_retain(1 << at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_shed_its_capabilities_holds_none_and_others_keep_theirs() {
        let before = held().unwrap();
        let (shed_of, bounding) = std::thread::spawn(|| {
            shed(Kept::default()).unwrap();
            let held = held().unwrap();
            (held.effective | held.permitted, held.bounding)
        })
        .join()
        .unwrap();
        assert_eq!(shed_of, 0);
        let may_change = before.effective & CapabilitySet::SETPCAP.bits() != 0;
        assert_eq!(bounding, if may_change { 0 } else { before.bounding });
        assert_eq!(held().unwrap(), before);
    }

    #[test]
    fn only_what_was_held_can_be_kept() {
        let before = held().unwrap();
        let kept = std::thread::spawn(|| {
            shed(Kept { other_users_files: true, ..Kept::default() }).unwrap();
            held().unwrap().permitted
        });
        assert_eq!(kept.join().unwrap(), before.permitted & CapabilitySet::DAC_OVERRIDE.bits());
    }

    #[test]
    fn a_question_is_asked_without_capabilities() {
        assert_eq!(held_without(|| held().unwrap().permitted).unwrap(), 0);
    }
}
