//! What the process is allowed to use: descriptors, threads, memory. Too little is said before anything is opened, with
//! its remedy; less than usual serves fewer clients.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use portolan_exporter::http::Patience;
use portolan_flowtable::units::grouped;
use rustix::process::{Resource, getrlimit};

use crate::config::Config;
use crate::error::Failure;

/// Descriptors for all that is no connection: the tap, links, Docker, listeners, files.
const DESCRIPTORS_KEPT: u64 = 40;
/// Fewest connections that a listener can do with: a scrape, a page, the command line.
const CONNECTIONS_MIN: u64 = 4;
/// Threads of a run: the tap's, two for control, the events', and those that write answers.
const THREADS: usize = 8;
/// Memory of a run in MiB, without its ring and its flows: what is listed, drawn and served.
const BASE_MIB: u64 = 96;
/// Memory of a flow in bytes: its two slots, its delta, its conversation and its record.
const FLOW_BYTES: u64 = 1_024;

/// Holds a configuration against what the process may use, and returns how many clients can be served.
///
/// # Errors
///
/// Returns what there is too little of.
pub(crate) fn check(config: &Config) -> Result<Patience, Failure> {
    memory(config)?;
    threads()?;
    let patience = Patience::default();
    let listeners = config.exporter.listen.len() as u64 + 1;
    let Some(allowed) = getrlimit(Resource::Nofile).current else { return Ok(patience) };
    let needed = DESCRIPTORS_KEPT + listeners * CONNECTIONS_MIN;
    if allowed < needed {
        return Err(Failure::error(format!(
            "{allowed} open files are allowed and {needed} are needed: raise LimitNOFILE= of the service, or ulimit -n"
        )));
    }
    let each = usize::try_from((allowed - DESCRIPTORS_KEPT) / listeners).unwrap_or(usize::MAX);
    if each >= patience.connections_max {
        return Ok(patience);
    }
    crate::say(&format!(
        "portolan: {allowed} open files are allowed: {each} connections at once on each of {listeners} listeners \
         instead of {}; raise LimitNOFILE= of the service, or ulimit -n",
        patience.connections_max
    ));
    Ok(Patience { connections_max: each, connections_per_origin_max: each.div_ceil(2), ..patience })
}

/// Starts as many threads as are needed, and ends them.
fn threads() -> Result<(), Failure> {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let started: Vec<_> = (0..THREADS)
        .map(|_| {
            let gate = Arc::clone(&gate);
            thread::Builder::new().spawn(move || drop(gate.lock()))
        })
        .collect();
    drop(closed);
    let mut refused = None;
    let mut running = 0;
    for thread in started {
        match thread {
            Ok(thread) => {
                running += 1;
                // It does nothing that could fail.
                let _ = thread.join();
            }
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        None => Ok(()),
        Some(error) => Err(Failure::error(format!(
            "{running} threads can be started and {THREADS} are needed ({error}): raise TasksMax= of the service, or \
             ulimit -u"
        ))),
    }
}

/// Compares what is asked for with the memory that the control group or the process's limit allows.
fn memory(config: &Config) -> Result<(), Failure> {
    let mib = |bytes: u64| bytes >> 20;
    let ring = u64::from(config.capture.ring_mib);
    let flows = config.flowtable.flows_max as u64;
    let for_flows = mib(config.flowtable.limits().slots() as u64 * FLOW_BYTES);
    let needed = BASE_MIB + ring + for_flows;
    let by_process = getrlimit(Resource::As).current.map(|bytes| (bytes, "ulimit -v".to_owned()));
    let limits = group_limits().into_iter().map(|(bytes, file)| (bytes, file.display().to_string()));
    match limits.chain(by_process).min() {
        Some((bytes, by)) if mib(bytes) < needed => Err(Failure::error(format!(
            "{} MiB of memory are allowed ({by}) and {needed} are needed, {ring} of them for the ring, {} for {} flows: \
             raise MemoryMax= of the service, or lower --ring-mib or --flows-max",
            mib(bytes),
            for_flows,
            grouped(flows),
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Returns the memory limits of this process's control groups, those above them included (cgroups(7)).
fn group_limits() -> Vec<(u64, PathBuf)> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    groups.lines().flat_map(|line| limits_of(line, Path::new("/sys/fs/cgroup"))).collect()
}

/// Reads the limits of one line of `/proc/PID/cgroup`: number, controllers, path.
fn limits_of(line: &str, mount: &Path) -> Vec<(u64, PathBuf)> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (root, name) = match controllers {
        "" => (mount.to_owned(), "memory.max"),
        old if old.split(',').any(|one| one == "memory") => (mount.join("memory"), "memory.limit_in_bytes"),
        _ => return Vec::new(),
    };
    let inside = Path::new(path.trim_start_matches('/'));
    let folders = inside.ancestors().map(|above| root.join(above));
    let read = |file: PathBuf| Some((std::fs::read_to_string(&file).ok()?.trim().parse().ok()?, file));
    folders.filter_map(|folder| read(folder.join(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_a_group_and_those_above_is_found() {
        let mount = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| {
            let path = mount.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        file("system.slice/memory.max", "200000000\n");
        file("system.slice/portolan.service/memory.max", "max\n");
        file("memory/docker/c0ffee/memory.limit_in_bytes", "100000000\n");
        file("memory/memory.limit_in_bytes", "9223372036854771712\n");
        #[rustfmt::skip]
        let cases: [(&str, &[u64]); 5] = [
            ("0::/system.slice/portolan.service", &[200_000_000]),
            ("4:memory:/docker/c0ffee",           &[100_000_000, 9_223_372_036_854_771_712]),
            ("4:cpu,memory:/docker/c0ffee",       &[100_000_000, 9_223_372_036_854_771_712]),
            ("1:cpu:/docker/c0ffee",              &[]),
            ("",                                  &[]),
        ];
        for (line, expected) in cases {
            let found: Vec<u64> = limits_of(line, mount.path()).into_iter().map(|(bytes, _)| bytes).collect();
            assert_eq!(found, expected, "{line}");
        }
    }
}
