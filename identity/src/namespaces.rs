//! From a veth to the container behind it, by its network namespace: the one thing a container cannot forge.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::links::Questions;

/// Most processes looked at in one search; above, a container is found when Docker answers.
const PROCESSES_MAX: usize = 20_000;
/// Processes of one container that are asked: they live in one namespace but for those that are about to enter it.
const PROCESSES_ASKED: u32 = 3;
/// Processes in a row that may refuse to say where they live before none is asked any more: who may not look at one may
/// seldom look at another, and what else there is to be done is in a hurry.
const REFUSED_MAX: u32 = 32;
/// Interfaces of one namespace that are looked at.
const INTERFACES_MAX: usize = 64;
/// Most bytes read of one file under `/proc`.
const FILE_MAX: u64 = 64 << 10;

/// How a container may be found: what its inspect said.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Whereabouts {
    pub(crate) sandbox: String,
    pub(crate) pid: u32,
}

/// The questions put to the kernel about network namespaces. A trait so that tests can answer.
pub(crate) trait Namespaces: Send {
    /// Returns the number by which the host knows the container's namespace; an error where that is not allowed.
    fn netns_id(&mut self, of: &Whereabouts) -> Result<Option<i32>, ()>;

    /// Returns the container ids that the control groups of processes in namespace `netns_id` name.
    fn containers_in(&mut self, netns_id: i32) -> BTreeSet<String>;

    /// Returns, by the index of each interface in the namespaces of containers' processes, the container ids that the
    /// control groups of those processes name: the same, for those who may not ask for namespaces, and of all at once.
    fn containers_by_index(&mut self) -> BTreeMap<u32, BTreeSet<String>>;

    /// Returns the indexes of the container's own interfaces, as anybody may read them.
    fn interface_indexes(&mut self, of: &Whereabouts) -> BTreeSet<u32>;
}

/// The running host's namespaces.
#[derive(Debug)]
pub(crate) struct HostNamespaces {
    questions: Option<Questions>,
    proc_root: PathBuf,
}

impl HostNamespaces {
    /// `proc_root` is where the host's `/proc` is mounted.
    pub(crate) fn new(proc_root: &Path) -> Self {
        Self { questions: Questions::new().ok(), proc_root: proc_root.to_owned() }
    }

    fn id_of(&mut self, path: &Path) -> Result<Option<i32>, ()> {
        let questions = self.questions.as_mut().ok_or(())?;
        let namespace = File::open(path).map_err(drop)?;
        match questions.netns_id(&namespace) {
            Ok(found) => Ok(found),
            Err(_) => {
                // The socket may hold the rest of an answer; another one does not.
                self.questions = Questions::new().ok();
                Err(())
            }
        }
    }

    /// Indexes of the interfaces in a process's namespace. An interface has a file of IPv6 counters from its first moment
    /// there, and a row of group memberships only once it is up and has an address.
    fn own_indexes(&self, pid: u32) -> BTreeSet<u32> {
        let mut indexes = igmp_indexes(&read(&self.process(pid, "net/igmp")));
        let counters = fs::read_dir(self.process(pid, "net/dev_snmp6")).into_iter().flatten().flatten();
        let files = counters.filter(|file| file.file_name() != "lo").take(INTERFACES_MAX);
        indexes.extend(files.filter_map(|file| snmp6_index(&read(&file.path()))));
        indexes
    }

    fn process(&self, pid: u32, file: &str) -> PathBuf {
        self.proc_root.join(pid.to_string()).join(file)
    }
}

impl Namespaces for HostNamespaces {
    fn netns_id(&mut self, of: &Whereabouts) -> Result<Option<i32>, ()> {
        let by_sandbox = if of.sandbox.is_empty() { Err(()) } else { self.id_of(Path::new(&of.sandbox)) };
        match by_sandbox {
            Ok(found) => Ok(found),
            Err(()) if of.pid > 0 => self.id_of(&self.process(of.pid, "ns/net")),
            Err(()) => Err(()),
        }
    }

    fn containers_in(&mut self, netns_id: i32) -> BTreeSet<String> {
        let mut containers = BTreeSet::new();
        let mut told: Vec<(PathBuf, bool)> = Vec::new();
        // The host's own processes are most of them and never in question.
        let own = fs::read_link(self.proc_root.join("self/ns/net")).ok();
        let mut refused = 0;
        for pid in processes(&self.proc_root) {
            let namespace = match fs::read_link(self.process(pid, "ns/net")) {
                Ok(namespace) => namespace,
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    refused += 1;
                    if told.is_empty() && refused >= REFUSED_MAX {
                        break;
                    }
                    continue;
                }
                Err(_) => continue,
            };
            refused = 0;
            if Some(&namespace) == own.as_ref() {
                continue;
            }
            let known = told.iter().find(|(known, _)| *known == namespace).map(|(_, is_it)| *is_it);
            let is_it = match known {
                Some(is_it) => is_it,
                None => {
                    let is_it = self.id_of(&self.process(pid, "ns/net")) == Ok(Some(netns_id));
                    told.push((namespace, is_it));
                    is_it
                }
            };
            if is_it {
                containers.extend(container_ids(&read(&self.process(pid, "cgroup"))));
            }
        }
        containers
    }

    fn containers_by_index(&mut self) -> BTreeMap<u32, BTreeSet<String>> {
        let mut containers: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
        let mut asked: BTreeMap<String, u32> = BTreeMap::new();
        for pid in processes(&self.proc_root) {
            let named = container_ids(&read(&self.process(pid, "cgroup")));
            let Some(first) = named.first() else { continue };
            let times = asked.entry(first.clone()).or_default();
            *times += 1;
            if *times <= PROCESSES_ASKED {
                for index in self.own_indexes(pid) {
                    containers.entry(index).or_default().extend(named.iter().cloned());
                }
            }
        }
        containers
    }

    fn interface_indexes(&mut self, of: &Whereabouts) -> BTreeSet<u32> {
        if of.pid == 0 {
            return BTreeSet::new();
        }
        self.own_indexes(of.pid)
    }
}

/// Process ids, newest first.
fn processes(proc_root: &Path) -> Vec<u32> {
    let entries = fs::read_dir(proc_root).into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable_by(|a, b| b.cmp(a));
    pids.truncate(PROCESSES_MAX);
    pids
}

fn read(path: &Path) -> String {
    let mut text = Vec::new();
    if let Ok(file) = File::open(path) {
        // A process that ends meanwhile leaves what was read of it.
        let _ = file.take(FILE_MAX).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Finds container ids in `/proc/PID/cgroup`: 64 hexadecimal digits, as in `/docker/ID` and `docker-ID.scope`.
pub(crate) fn container_ids(cgroup: &str) -> BTreeSet<String> {
    let words = cgroup.split(|letter: char| !letter.is_ascii_hexdigit());
    words.filter(|word| word.len() == 64).map(str::to_owned).collect()
}

/// Reads `/proc/PID/net/igmp`: a line `IDX NAME : ...` for each interface, and indented lines for its groups.
fn igmp_indexes(igmp: &str) -> BTreeSet<u32> {
    let lines = igmp.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    let rows = lines.filter_map(|line| line.split_once(char::is_whitespace));
    rows.filter(|(_, rest)| !rest.trim_start().starts_with("lo "))
        .filter_map(|(index, _)| index.parse().ok())
        .collect()
}

/// Reads `/proc/PID/net/dev_snmp6/INTERFACE`, which begins with a line `ifIndex N`.
fn snmp6_index(counters: &str) -> Option<u32> {
    counters.lines().next()?.strip_prefix("ifIndex")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids_are_found_in_either_generation_of_control_groups() {
        let id = "0123456789abcdef".repeat(4);
        for cgroup in [
            format!("12:pids:/docker/{id}\n1:name=systemd:/docker/{id}\n"),
            format!("0::/system.slice/docker-{id}.scope\n"),
            format!("0::/../docker-{id}.scope/init\n"),
        ] {
            assert_eq!(container_ids(&cgroup), BTreeSet::from([id.clone()]), "{cgroup}");
        }
        assert!(container_ids("0::/user.slice/user-1000.slice\n").is_empty());
        assert!(container_ids(&format!("0::/docker/{id}0\n")).is_empty());
    }

    #[test]
    fn interface_indexes_are_read_from_igmp() {
        let igmp = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
                    1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n\
                    419\teth0      :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n";
        assert_eq!(igmp_indexes(igmp), BTreeSet::from([419]));
    }

    #[test]
    fn an_interface_has_its_index_before_it_is_up() {
        assert_eq!(snmp6_index("ifIndex                         \t419\nIp6InReceives    \t0\n"), Some(419));
        for text in ["", "ifIndex", "Ip6InReceives 419", "ifIndex x"] {
            assert_eq!(snmp6_index(text), None, "{text:?}");
        }
        // Of this very process: whatever both sources tell is told by either.
        let root = HostNamespaces::new(Path::new("/proc"));
        let own = root.own_indexes(std::process::id());
        assert!(igmp_indexes(&read(Path::new("/proc/self/net/igmp"))).is_subset(&own));
    }
}
