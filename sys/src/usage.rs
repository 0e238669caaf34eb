//! What a child process or a thread cost, of it alone (wait4(2), clock_gettime(2)).

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// What a process and the children it waited for took of the machine.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Processor time in its own code, all threads together.
    pub user: Duration,
    /// Processor time in the kernel for it.
    pub system: Duration,
    /// Most memory it held at once, in bytes.
    pub peak_bytes: u64,
}

/// Returns the processor time this thread took since it began, in its own code and in the kernel.
pub fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live, initialised value, and the kernel keeps none.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    if status != 0 {
        return Duration::ZERO;
    }
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// How often a child is asked whether it has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits for a child, for so long at most, and returns how it ended and what it took. One that goes on is killed.
///
/// # Errors
///
/// Returns what the kernel says.
pub fn wait_with_usage(mut child: Child, at_most: Duration) -> io::Result<(ExitStatus, Usage)> {
    let id = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    let until = Instant::now().checked_add(at_most);
    let mut flags = libc::WNOHANG;
    loop {
        let mut status = 0;
        // SAFETY: `rusage` is made of integers alone, for which zero is a value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live, initialised values that the kernel may write, and it keeps neither.
        let ended = unsafe { libc::wait4(id, &raw mut status, flags, &raw mut usage) };
        match ended {
            0 if until.is_some_and(|until| Instant::now() >= until) => {
                child.kill()?;
                flags = 0;
            }
            0 => thread::sleep(PAUSE),
            ended if ended == id => return Ok((ExitStatus::from_raw(status), usage_of(&usage))),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

fn usage_of(usage: &libc::rusage) -> Usage {
    let time = |time: libc::timeval| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
    };
    Usage {
        user: time(usage.ru_utime),
        system: time(usage.ru_stime),
        peak_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1_024),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn shell(script: &str) -> Child {
        Command::new("/bin/sh").args(["-c", script]).spawn().unwrap()
    }

    #[test]
    fn a_child_is_waited_for_with_what_it_took() {
        let counted = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exit 3";
        let (status, usage) = wait_with_usage(shell(counted), Duration::MAX).unwrap();
        assert_eq!(status.code(), Some(3));
        assert!(usage.user > Duration::ZERO && usage.peak_bytes > 100_000, "{usage:?}");
    }

    #[test]
    fn a_thread_takes_time_while_it_works() {
        let before = thread_time();
        while thread_time() == before {
            std::hint::black_box(before);
        }
        assert!(thread_time() > before);
    }

    #[test]
    fn a_child_that_goes_on_is_killed() {
        let (status, _) = wait_with_usage(shell("exec sleep 1000"), Duration::ZERO).unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL));
    }
}
