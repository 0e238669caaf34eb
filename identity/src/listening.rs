//! What listens in a container, read off the socket tables of its network namespace.
//!
//! `/proc/PID/net/{tcp,tcp6,udp,udp6}` of its first process: readable by anybody where `/proc` is, without a capability
//! and behind Landlock. The kernel writes listening TCP sockets before all others, so reading stops where they end.
//!
//! # What does not count
//!
//! - Docker's resolver, on 127.0.0.11 in every container of a user network.
//! - A UDP socket on a port the kernel hands out to clients (32768 and above): an unconnected one is as likely a
//!   client's. It counts where the port is documented.
//!
//! # Sources
//!
//! Linux, `net/ipv4/tcp_ipv4.c` (`get_tcp4_sock`, `tcp_seq_start`), `net/ipv6/udp.c`; states in
//! `include/net/tcp_states.h`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use portolan_flowtable::{DocumentedPort, Listening, ListeningPort, Port, Protocol, ServicePort, Timestamp};

use crate::inventory::Container;
use crate::namespaces::container_ids;

/// Most ports of one container.
const PORTS_MAX: usize = 1_024;
/// Most bytes read of one table: about 7,000 sockets.
const TABLE_MAX: u64 = 1 << 20;
/// Docker's resolver, seen from within a container.
const RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));

/// The tables, with what an open port's state is in each.
const TABLES: [(&str, Protocol, &str); 4] = [
    ("tcp", Protocol::TCP, LISTEN),
    ("tcp6", Protocol::TCP, LISTEN),
    ("udp", Protocol::UDP, UNCONNECTED),
    ("udp6", Protocol::UDP, UNCONNECTED),
];
const LISTEN: &str = "0A";
/// `TCP_CLOSE`: for UDP, a socket that takes datagrams from anybody.
const UNCONNECTED: &str = "07";
/// Handshakes in progress, which older kernels list among the listening sockets.
const SYN_RECEIVED: &str = "03";

/// Where to look for what listens in one container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ListeningPlace {
    id: String,
    /// Its first process; why its ports cannot be told apart, where it has no network of its own.
    place: Result<u32, String>,
}

/// What was seen to listen: ports, and whether over loopback alone; or why nobody could look.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Seen {
    ports: BTreeMap<ServicePort, bool>,
    not_checked: Option<String>,
}

impl ListeningPlace {
    /// Returns `None` where there is nothing to look at: a container without network, one that has no process.
    pub(crate) fn of(container: &Container) -> Option<Self> {
        let place = match container.network_mode.as_str() {
            "none" => return None,
            "host" => Err("it has the host's network, whose ports are not its own".to_owned()),
            _ if container.shares_a_network() => {
                Err("it shares another container's network, which lists them".to_owned())
            }
            _ if container.pid == 0 => return None,
            _ => Ok(container.pid),
        };
        Some(Self { id: container.id.clone(), place })
    }
}

/// Looks what listens in each place. Waits for nothing but the kernel.
pub(crate) fn look(places: &[ListeningPlace], proc_root: &Path) -> Vec<(String, Seen)> {
    let mut all = Vec::with_capacity(places.len());
    for ListeningPlace { id, place } in places {
        let seen = match place {
            Ok(pid) => {
                let process = proc_root.join(pid.to_string());
                if is_anothers(&process, id) {
                    continue;
                }
                look_at(&process)
            }
            Err(reason) => Seen { ports: BTreeMap::new(), not_checked: Some(reason.clone()) },
        };
        all.push((id.clone(), seen));
    }
    all
}

/// Whether the number belongs to another container's process by this time. A container that sees its control groups
/// from within names none, and is believed.
fn is_anothers(process: &Path, id: &str) -> bool {
    let named = container_ids(&std::fs::read_to_string(process.join("cgroup")).unwrap_or_default());
    !named.is_empty() && !named.contains(id)
}

fn look_at(process: &Path) -> Seen {
    let mut seen = Seen { ports: BTreeMap::new(), not_checked: None };
    for (name, protocol, state) in TABLES {
        let path = process.join("net").join(name);
        match File::open(&path).and_then(|file| read(file, protocol, state, &mut seen.ports)) {
            Ok(true) => {}
            Ok(false) => seen.not_checked = Some(format!("{} is longer than is read", path.display())),
            // A kernel without IPv6 has no such table.
            Err(error) if error.kind() == io::ErrorKind::NotFound && name.ends_with('6') => {}
            Err(error) => {
                let reason = format!("cannot read {}: {error}", path.display());
                return Seen { ports: BTreeMap::new(), not_checked: Some(reason) };
            }
        }
    }
    if seen.ports.len() > PORTS_MAX {
        let reason = format!("{} ports listen, and {PORTS_MAX} are looked at", seen.ports.len());
        seen.not_checked = Some(reason);
        let kept = std::mem::take(&mut seen.ports);
        seen.ports = kept.into_iter().take(PORTS_MAX).collect();
    }
    seen
}

/// Reads one table; returns whether all of it that matters was read.
fn read(
    table: impl Read,
    protocol: Protocol,
    wanted: &str,
    ports: &mut BTreeMap<ServicePort, bool>,
) -> io::Result<bool> {
    let mut lines = BufReader::new(table.take(TABLE_MAX));
    let mut line = Vec::new();
    let mut read_bytes = 0;
    loop {
        line.clear();
        read_bytes += lines.read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(u64::try_from(read_bytes).is_ok_and(|bytes| bytes < TABLE_MAX));
        }
        let text = String::from_utf8_lossy(&line);
        let mut fields = text.split_ascii_whitespace();
        let (Some(_), Some(local), Some(_), Some(state)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let Some((address, port)) = endpoint(local) else { continue };
        if state == wanted {
            if address != RESOLVER {
                let is_loopback = address.is_loopback();
                let known = ports.entry(ServicePort { port: Some(port), protocol }).or_insert(is_loopback);
                *known &= is_loopback;
            }
        } else if protocol == Protocol::TCP && state != SYN_RECEIVED {
            return Ok(true);
        }
    }
}

/// Reads `0100007F:1F90`: the address as the processor's words, the port as a number.
fn endpoint(text: &str) -> Option<(IpAddr, Port)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok().filter(|port| *port > 0)?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let address = match address.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let mut octets = [0; 16];
            for (number, four) in octets.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(number * 8)?);
            }
            Ipv6Addr::from(octets).to_canonical()
        }
        _ => return None,
    };
    Some((address, Port(port)))
}

impl Seen {
    /// Adds since when each listens: what listened before goes on to, and UDP sockets that may be clients' are left
    /// out.
    pub(crate) fn since(
        self,
        before: Option<&Listening>,
        documented: &[DocumentedPort],
        now: Timestamp,
    ) -> Listening {
        let since: BTreeMap<ServicePort, Timestamp> =
            before.into_iter().flat_map(|it| &it.ports).map(|it| (it.port, it.since)).collect();
        let may_be_a_clients = |port: ServicePort| {
            port.protocol == Protocol::UDP
                && port.port.is_some_and(Port::is_ephemeral)
                && !documented.iter().any(|documented| documented.covers(port))
        };
        let ports = self.ports.into_iter().filter(|(port, _)| !may_be_a_clients(*port));
        let ports = ports.map(|(port, is_loopback)| {
            let since = since.get(&port).copied().unwrap_or(now);
            ListeningPort { port, is_loopback, since }
        });
        Listening { ports: ports.collect(), not_checked: self.not_checked }
    }
}

#[cfg(test)]
mod tests {
    use portolan_flowtable::DocumentSource;

    use super::*;

    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    fn row(local: &str, state: &str) -> String {
        format!(
            "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 1 1\n"
        )
    }

    fn told(ports: &BTreeMap<ServicePort, bool>) -> String {
        let words = ports
            .iter()
            .map(|(port, is_loopback)| format!("{port}{}", if *is_loopback { " lo" } else { "" }));
        words.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn ports_that_accept_calls_are_read_and_the_resolver_is_not_among_them() {
        let v6_any = format!("{}:1F90", "0".repeat(32));
        let v6_loopback = format!("{}01000000:0050", "0".repeat(24));
        let v4_in_v6 = "0000000000000000FFFF00000100007F:2382";
        #[rustfmt::skip]
        let cases = [
            // protocol       state        rows                                                          expected
            (Protocol::TCP, LISTEN,      vec![("00000000:0050", "0A"), ("0B00007F:A0C3", "0A")],         "80/tcp"),
            (Protocol::TCP, LISTEN,      vec![("0100007F:240D", "0A"), ("020014AC:240D", "0A")],         "9229/tcp"),
            (Protocol::TCP, LISTEN,      vec![("0100007F:240D", "0A")],                                  "9229/tcp lo"),
            (Protocol::TCP, LISTEN,      vec![("00000000:0050", "0A"), ("00000000:0051", "03"), ("00000000:0052", "0A")], "80/tcp, 82/tcp"),
            (Protocol::TCP, LISTEN,      vec![("00000000:0050", "0A"), ("020014AC:C001", "01"), ("00000000:0052", "0A")], "80/tcp"),
            (Protocol::TCP, LISTEN,      vec![(v6_any.as_str(), "0A"), (v6_loopback.as_str(), "0A")],    "80/tcp lo, 8080/tcp"),
            (Protocol::TCP, LISTEN,      vec![(v4_in_v6, "0A")],                                         "9090/tcp lo"),
            (Protocol::UDP, UNCONNECTED, vec![("00000000:0035", "07"), ("020014AC:D431", "01"), ("0B00007F:8888", "07")], "53/udp"),
            (Protocol::TCP, LISTEN,      vec![("nonsense", "0A"), ("00000000:0000", "0A"), ("0000:0050", "0A"), ("", "")], ""),
        ];
        for (protocol, state, rows, expected) in cases {
            let table: String = std::iter::once(HEAD.to_owned())
                .chain(rows.iter().map(|(local, state)| row(local, state)))
                .collect();
            let mut ports = BTreeMap::new();
            assert!(read(table.as_bytes(), protocol, state, &mut ports).unwrap(), "{rows:?}");
            assert_eq!(told(&ports), expected, "{rows:?}");
        }
    }

    #[test]
    fn a_table_that_is_too_long_says_so() {
        let table: String =
            (0..20_000).map(|number| row(&format!("00000000:{:04X}", number % 900 + 1), "0A")).collect();
        assert!(!read(table.as_bytes(), Protocol::TCP, LISTEN, &mut BTreeMap::new()).unwrap());
    }

    #[test]
    fn a_port_keeps_its_time_and_a_clients_socket_does_not_count() {
        let port = |number, protocol| ServicePort::new(number, protocol);
        let seen = |ports: &[ServicePort]| Seen {
            ports: ports.iter().map(|port| (*port, false)).collect(),
            not_checked: None,
        };
        let documented = [DocumentedPort {
            first: Port(40_000),
            last: Port(40_000),
            protocol: Protocol::UDP,
            source: DocumentSource::Image,
        }];
        let http = port(80, Protocol::TCP);
        let first = seen(&[http]).since(None, &[], Timestamp(1));
        let all = [http, port(53, Protocol::UDP), port(40_000, Protocol::UDP), port(40_001, Protocol::UDP)];
        let then = seen(&all).since(Some(&first), &documented, Timestamp(2));
        let told: Vec<_> = then.ports.iter().map(|it| format!("{} {}", it.port, it.since.0)).collect();
        assert_eq!(told, ["53/udp 2", "80/tcp 1", "40000/udp 2"]);
    }

    #[test]
    fn what_cannot_be_read_is_not_checked_and_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let container = Container { id: "a".repeat(64), pid: 77, ..Container::default() };
        let places: Vec<_> = ListeningPlace::of(&container).into_iter().collect();
        let seen = look(&places, folder.path());
        let reason = seen[0].1.not_checked.as_deref().unwrap();
        assert!(
            reason.starts_with("cannot read ") && reason.contains("/77/net/tcp: No such file"),
            "{reason}"
        );

        let process = folder.path().join("77");
        std::fs::create_dir_all(process.join("net")).unwrap();
        for name in ["tcp", "udp"] {
            std::fs::write(process.join("net").join(name), HEAD).unwrap();
        }
        std::fs::write(process.join("net/tcp"), format!("{HEAD}{}", row("00000000:0050", "0A"))).unwrap();
        assert_eq!(told(&look(&places, folder.path())[0].1.ports), "80/tcp");
        // The number went to another container's process.
        std::fs::write(process.join("cgroup"), format!("0::/docker/{}\n", "b".repeat(64))).unwrap();
        assert!(look(&places, folder.path()).is_empty());
    }
}
