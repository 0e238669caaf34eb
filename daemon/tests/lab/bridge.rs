//! A bridge like Docker's and its members, without Docker.
//!
//! Silent but for what a test sends: IPv6 and group reports are off and all neighbours are known, so there is no ARP, and frames can be
//! counted exactly.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::process::Command;
use std::thread;

use crate::namespace::{Namespace, orphans, output, unique_name};

/// Most members: one subnet's worth, and more than any test needs.
const MEMBERS_MAX: u8 = 200;

/// A host's namespace with one bridge. Dropping it removes all namespaces.
#[derive(Debug)]
pub(crate) struct BridgeLab {
    name: String,
    host: Namespace,
    members: Vec<Member>,
    next: u8,
}

/// One end behind the bridge, as a container would be.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    name: String,
    /// Its own namespace, in which its interface is `eth0`.
    pub(crate) namespace: Namespace,
    /// The host's end: name, index.
    pub(crate) interface: String,
    /// Index of the host's end; a member that comes again gets another.
    pub(crate) index: u32,
    /// Its address.
    pub(crate) address: Ipv4Addr,
    /// Hardware address of its own end.
    pub(crate) mac: String,
}

impl BridgeLab {
    /// The bridge's name, as Docker gives it to user networks.
    pub(crate) const BRIDGE: &str = "br-0123456789ab";
    /// The bridge's address, the members' gateway.
    pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 1);

    /// Makes the bridge and so many members: the first has 172.30.0.2.
    pub(crate) fn up(members: u8) -> Self {
        for orphan in ["bridge-", "member-"].into_iter().flat_map(|prefix| orphans("/run/netns", prefix)) {
            let _ = Command::new("ip").args(["netns", "del", &orphan]).output();
        }
        let name = unique_name();
        let host_name = format!("bridge-{name}");
        output(Command::new("ip").args(["netns", "add", &host_name]));
        let host = Namespace::named(&host_name);
        // From here on the value exists, so that whatever fails is removed when it is dropped.
        let mut lab = Self { name, host, members: Vec::new(), next: 0 };
        silence(&lab.host);
        let bridge = Self::BRIDGE;
        lab.ip(&["link", "set", "lo", "up"]);
        // Snooping joins a group of its own and reports it.
        let bridge_type = ["type", "bridge", "mcast_snooping", "0"];
        lab.ip(&[&["link", "add", bridge, "address", "02:42:ac:1e:00:01"][..], &bridge_type].concat());
        lab.ip(&["addr", "add", &format!("{}/24", Self::GATEWAY), "dev", bridge]);
        lab.ip(&["link", "set", bridge, "up"]);
        for _ in 0..members {
            lab.add_member();
        }
        lab
    }

    /// Returns the namespace of the bridge.
    pub(crate) fn host(&self) -> &Namespace {
        &self.host
    }

    /// Returns the members, in the order of their coming.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Adds a member with the next free address, and returns it.
    pub(crate) fn add_member(&mut self) -> Member {
        assert!(self.next < MEMBERS_MAX, "at most {MEMBERS_MAX} members");
        let number = self.next;
        self.next += 1;
        self.add(number)
    }

    /// Removes a member with its interface and makes it anew: same address, new interface.
    pub(crate) fn replace_member(&mut self, at: usize) -> Member {
        let old = self.remove_member(at);
        let number = old.address.octets()[3] - 2;
        self.add(number)
    }

    /// Removes a member and its interface, traffic or not.
    pub(crate) fn remove_member(&mut self, at: usize) -> Member {
        let member = self.members.remove(at);
        // The namespace alone would go some time after its last user; the interface must go now.
        self.ip(&["link", "del", &member.interface]);
        output(Command::new("ip").args(["netns", "del", &member.name]));
        member
    }

    /// Makes the bridge promiscuous, as anybody who listens on it does, or ends that.
    pub(crate) fn set_promiscuous(&self, is_promiscuous: bool) {
        self.ip(&["link", "set", Self::BRIDGE, "promisc", if is_promiscuous { "on" } else { "off" }]);
    }

    /// Returns a roster of it all: members are the containers `member-2`, `member-3`, after their addresses.
    pub(crate) fn roster(&self) -> String {
        let mut roster = format!(
            "[[network]]\nname = \"lab\"\nsubnet = \"172.30.0.0/24\"\ngateway = \"{}\"\nbridge = \"{}\"\n",
            Self::GATEWAY,
            Self::BRIDGE
        );
        let mut interface = |index: u32, name: &str, role: &str, mac: &str, container: &str| {
            let _ = write!(
                roster,
                "\n[[interface]]\nindex = {index}\nname = \"{name}\"\nrole = \"{role}\"\nnetwork = \"lab\"\nmac = \"{mac}\"\n{container}",
            );
        };
        interface(self.index_of(Self::BRIDGE), Self::BRIDGE, "bridge", "02:42:ac:1e:00:01", "");
        for member in &self.members {
            let container = format!("container = \"{}\"\n", member.container());
            interface(member.index, &member.interface, "container", &member.mac, &container);
        }
        for member in &self.members {
            let _ = write!(
                roster,
                "\n[[address]]\naddress = \"{}\"\nnetwork = \"lab\"\ncontainer = \"{}\"\n",
                member.address,
                member.container()
            );
        }
        roster
    }

    fn add(&mut self, number: u8) -> Member {
        let name = format!("member-{}-{number}", self.name);
        let interface = format!("veth{number:07x}");
        let address = Ipv4Addr::new(172, 30, 0, 2 + number);
        let mac = format!("02:42:ac:1e:00:{:02x}", 2 + number);
        output(Command::new("ip").args(["netns", "add", &name]));
        let namespace = Namespace::named(&name);
        silence(&namespace);
        let member = |arguments: &[&str]| output(namespace.command("ip").args(arguments));
        self.ip(&[
            "link", "add", &interface, "type", "veth", "peer", "name", "eth0", "address", &mac, "netns",
            &name,
        ]);
        self.ip(&["link", "set", &interface, "master", Self::BRIDGE, "up"]);
        member(&["link", "set", "lo", "up"]);
        member(&["addr", "add", &format!("{address}/24"), "dev", "eth0"]);
        member(&["link", "set", "eth0", "up"]);
        member(&["route", "add", "default", "via", &Self::GATEWAY.to_string()]);
        let know = |namespace: &Namespace, device: &str, address: Ipv4Addr, mac: &str| {
            let address = address.to_string();
            let row = ["neigh", "replace", &address, "lladdr", mac, "nud", "permanent", "dev", device];
            output(namespace.command("ip").args(row));
        };
        know(&self.host, Self::BRIDGE, address, &mac);
        know(&namespace, "eth0", Self::GATEWAY, "02:42:ac:1e:00:01");
        for other in &self.members {
            know(&other.namespace, "eth0", address, &mac);
            know(&namespace, "eth0", other.address, &other.mac);
        }
        let index = self.index_of(&interface);
        let added = Member { name, namespace, interface, index, address, mac };
        self.members.push(added.clone());
        added
    }

    fn ip(&self, arguments: &[&str]) -> String {
        output(self.host.command("ip").args(arguments))
    }

    fn index_of(&self, interface: &str) -> u32 {
        let line = self.ip(&["-o", "link", "show", "dev", interface]);
        let index = line.split(':').next().and_then(|index| index.parse().ok());
        index.unwrap_or_else(|| panic!("no index in {line:?}"))
    }
}

impl Member {
    /// Returns the name it has in the roster.
    pub(crate) fn container(&self) -> String {
        format!("member-{}", self.address.octets()[3])
    }
}

impl Drop for BridgeLab {
    fn drop(&mut self) {
        let names = self.members.iter().map(|member| member.name.clone());
        for name in names.chain([format!("bridge-{}", self.name)]) {
            let removed = Command::new("ip").args(["netns", "del", &name]).output();
            if removed.is_ok_and(|ended| ended.status.success()) {
                continue;
            }
            if thread::panicking() {
                let _ = writeln!(io::stderr(), "namespace {name} was not removed");
            } else {
                panic!("namespace {name} was not removed");
            }
        }
    }
}

/// Turns IPv6 off: its neighbour discovery would send frames of its own.
fn silence(namespace: &Namespace) {
    let off = ["-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"];
    output(namespace.command("sysctl").args(off));
}
