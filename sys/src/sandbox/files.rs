//! Files, TCP ports and signals: Landlock.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

/// The newest form of Landlock whose meaning was tried out; a newer kernel is asked for no more.
const TRIED: ABI = ABI::V6;

/// Where a process may go from now on. A folder stands for everything below it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Places {
    /// What may be read.
    pub read: Vec<PathBuf>,
    /// Where files may be read, made, written, renamed and removed.
    pub write: Vec<PathBuf>,
    /// Where a socket file may be made and removed.
    pub sockets: Vec<PathBuf>,
    /// TCP ports that may be bound. None may be connected to.
    pub ports: Vec<u16>,
}

/// What Landlock holds the process to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Enclosed {
    /// The kernel's form of Landlock; 0 where it has none.
    pub abi: u32,
    /// Whether every rule is in force.
    pub is_whole: bool,
}

/// Returns the kernel's form of Landlock; 0 where it has none.
pub fn landlock_abi() -> u32 {
    // SAFETY: with this flag the call takes no ruleset: a null pointer of length 0 is what it asks for. It reads and
    // writes no memory and makes no descriptor.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(answer).unwrap_or(0)
}

/// Asks for the version instead of a ruleset (linux/landlock.h).
const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;

/// Holds the calling thread, and threads it starts from now on, to these places. What is open stays open. Places that
/// do not exist are passed over; what the kernel does not know is left out.
///
/// # Errors
///
/// Returns what the kernel refused.
pub fn enclose(places: &Places) -> io::Result<Enclosed> {
    let abi = landlock_abi();
    let restricted = (|| {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(TRIED))?
            .handle_access(AccessNet::from_all(TRIED))?
            .scope(Scope::from_all(TRIED))?
            .create()?;
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write =
            read | AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile | AccessFs::Truncate;
        let sockets = AccessFs::ReadDir | AccessFs::MakeSock | AccessFs::RemoveFile;
        for (paths, access) in [(&places.read, read), (&places.write, write), (&places.sockets, sockets)] {
            for path in paths {
                // What is not there cannot be named; making it later is refused.
                let Ok(opened) = PathFd::new(path) else { continue };
                rules = rules.add_rule(PathBeneath::new(opened, fitting(path, access)))?;
            }
        }
        for port in &places.ports {
            rules = rules.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
        }
        rules.restrict_self()
    })();
    let status = restricted.map_err(|error: RulesetError| io::Error::other(error.to_string()))?;
    Ok(Enclosed { abi, is_whole: status.ruleset == RulesetStatus::FullyEnforced })
}

/// Of a file, only what can be done to a file.
fn fitting(path: &Path, access: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    if path.is_dir() { access } else { access & AccessFs::from_file(TRIED) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_form_of_landlock_means_that_rules_can_be_made() {
        let made = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V1))
            .and_then(Ruleset::create);
        assert_eq!(made.is_ok(), landlock_abi() > 0);
    }

    #[test]
    fn an_enclosed_thread_reads_and_writes_only_where_it_was_told() {
        if landlock_abi() == 0 {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("old"), "old").unwrap();
            path
        };
        let [read, write, other] = ["read", "write", "other"].map(place);
        let denied = io::ErrorKind::PermissionDenied;
        let places = Places {
            read: vec![read.clone(), folder.path().join("nowhere")],
            write: vec![write.clone()],
            ..Places::default()
        };
        std::thread::spawn(move || {
            crate::sandbox::harden().unwrap();
            let enclosed = enclose(&places).unwrap();
            assert_eq!(fs::read_to_string(read.join("old")).unwrap(), "old");
            assert_eq!(fs::write(read.join("new"), "new").unwrap_err().kind(), denied);
            fs::write(write.join("new"), "new").unwrap();
            fs::rename(write.join("new"), write.join("old")).unwrap();
            assert_eq!(fs::read(other.join("old")).unwrap_err().kind(), denied);
            assert_eq!(fs::read_dir("/").unwrap_err().kind(), denied);
            if enclosed.abi >= 4 {
                assert_eq!(TcpListener::bind("127.0.0.1:0").unwrap_err().kind(), denied);
            }
            assert_eq!(enclosed.is_whole, enclosed.abi >= 6);
        })
        .join()
        .unwrap();
    }
}
