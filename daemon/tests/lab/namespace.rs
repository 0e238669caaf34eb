//! Network namespaces: named, entered by a child process or by a thread.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace, by the file that stands for it. Cloning it copies the name only.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    path: PathBuf,
}

impl Namespace {
    /// Returns the namespace that `ip netns` knows under this name.
    pub(crate) fn named(name: &str) -> Self {
        Self { path: Path::new("/run/netns").join(name) }
    }

    /// Returns the namespace a process lives in.
    pub(crate) fn of_process(pid: u32) -> Self {
        Self { path: PathBuf::from(format!("/proc/{pid}/ns/net")) }
    }

    /// Returns a command that will run in this namespace; it sees the machine's files and processes as ever.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path.display())).arg(program);
        command
    }

    /// Runs `work` on a thread of its own in this namespace and returns what it returns; its panic is passed on.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            let file = File::open(&self.path)
                .unwrap_or_else(|error| panic!("no namespace {}: {error}", self.path.display()));
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .unwrap_or_else(|error| panic!("cannot enter {}: {error}", self.path.display()));
            work()
        };
        thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Returns whether it exists.
    pub(crate) fn exists(&self) -> bool {
        self.path.exists()
    }
}

/// Returns a name no other laboratory on this machine has: process id and a number.
pub(crate) fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Returns whether a process runs; one that only waits for its parent to notice does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status"))
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("State:") && !line.contains('Z')))
}

/// Returns the entries of a directory that begin with `prefix` and a [`unique_name`] of a process that is no more:
/// what a test process that was ended by force could not remove.
pub(crate) fn orphans(directory: &str, prefix: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let is_orphan = |name: &String| {
        let owner = name.strip_prefix(prefix).and_then(|rest| rest.split('-').next()?.parse().ok());
        owner.is_some_and(|pid| !is_alive(pid))
    };
    names.filter(is_orphan).collect()
}

/// Runs a command to its end and returns its output without the last line feed; a failure fails the test.
pub(crate) fn output(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot start {:?}: {error}", command.get_program()));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{command:?} failed, {}: {said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    said.trim_end_matches('\n').to_owned()
}
