//! What the process costs, from the kernel's account of it (proc_pid_stat(5), proc_pid_status(5)).

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Processor time and memory of this process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Used since the start by all threads, in user and kernel mode, in seconds.
    pub cpu_seconds: f64,
    /// Resident, in bytes.
    pub resident_bytes: f64,
}

/// The account, opened while files may still be opened: once the sandbox is closed they may only be read.
#[derive(Debug)]
pub(crate) struct CostBook {
    stat: File,
    status: File,
}

/// What the kernel counts processor time in for /proc, per second, on every architecture this runs on (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

impl CostBook {
    /// Opens the account; `None` where /proc does not show it.
    pub(crate) fn open() -> Option<Self> {
        let stat = File::open("/proc/self/stat").ok()?;
        Some(Self { stat, status: File::open("/proc/self/status").ok()? })
    }

    /// Reads it; `None` where it is not to be understood.
    pub(crate) fn read(&self) -> Option<Cost> {
        let cpu_seconds = cpu_seconds(&beginning(&self.stat)?)?;
        Some(Cost { cpu_seconds, resident_bytes: resident_bytes(&beginning(&self.status)?)? })
    }
}

fn beginning(file: &File) -> Option<String> {
    let mut bytes = [0; 4096];
    let length = file.read_at(&mut bytes, 0).ok()?;
    Some(String::from_utf8_lossy(bytes.get(..length)?).into_owned())
}

/// Fields 14 and 15, counted from behind the name, which may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

fn resident_bytes(status: &str) -> Option<f64> {
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = kibibytes.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 9 0 0 0 250 75 0 0 20 0 5 0 100 1 2";
        assert_eq!(cpu_seconds(stat), Some(3.25));
        assert_eq!(resident_bytes("Name:\tportolan\nVmRSS:\t   12 kB\nThreads:\t5\n"), Some(12_288.0));
        for cut in ["", "7 (a", "7 (a) S 1"] {
            assert_eq!(cpu_seconds(cut), None, "{cut}");
        }
        for cut in ["", "VmRSS:", "VmRSS: many kB", "VmRSS: 12 MB"] {
            assert_eq!(resident_bytes(cut), None, "{cut}");
        }
    }

    #[test]
    fn this_process_costs_something() {
        let cost = CostBook::open().and_then(|book| book.read()).expect("/proc");
        assert!(cost.resident_bytes > 100_000.0, "{cost:?}");
    }
}
