//! Who holds an address, answered without a lock from one immutable picture.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use portolan_flowtable::directory::is_group;
use portolan_flowtable::{AttachmentId, Directory, Holder, MacAddr, ScopeId, ServicePort, Workload};

use crate::subnet::Subnet;

/// One container network as the directory sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScopeAddresses {
    pub(crate) scope: ScopeId,
    pub(crate) subnets: Vec<Subnet>,
    pub(crate) gateways: Vec<IpAddr>,
}

/// What a directory was built of: enough to build it again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ingredients {
    pub(crate) networks: BTreeMap<ScopeId, (BTreeSet<Subnet>, BTreeSet<IpAddr>)>,
    pub(crate) held: BTreeSet<(ScopeId, IpAddr, AttachmentId)>,
    pub(crate) host_addresses: BTreeSet<IpAddr>,
}

/// A [`Directory`] over one picture of the roster: plain maps, built once, read by the data plane alone.
#[derive(Clone, Debug, Default)]
pub struct RosterDirectory {
    epoch: u16,
    held: HashMap<(ScopeId, IpAddr), Holder>,
    /// The same for a question from another network: `Ambiguous` where two networks use one address.
    anywhere: HashMap<IpAddr, Holder>,
    subnets: HashMap<ScopeId, Vec<Subnet>>,
    all_subnets: Vec<Subnet>,
    workloads: HashMap<AttachmentId, Arc<Workload>>,
    /// Kept because answers do not tell: who shares an ambiguous address, what a broadcast address hides.
    ingredients: Ingredients,
}

impl RosterDirectory {
    /// Builds the directory of `scopes`, of the addresses held in them at one instant, and of the host's own.
    pub(crate) fn new(
        epoch: u16,
        scopes: &[ScopeAddresses],
        held: impl IntoIterator<Item = (ScopeId, IpAddr, AttachmentId)>,
        host_addresses: &[IpAddr],
        workloads: HashMap<AttachmentId, Arc<Workload>>,
    ) -> Self {
        let mut directory = Self { epoch, workloads, ..Self::default() };
        directory.ingredients.host_addresses.extend(host_addresses);
        for (scope, address, attachment) in held {
            directory.ingredients.held.insert((scope, address, attachment));
            merge(&mut directory.held, (scope, address), Holder::Attachment(attachment));
            merge(&mut directory.anywhere, address, Holder::Attachment(attachment));
        }
        for network in scopes {
            let (subnets, gateways) = directory.ingredients.networks.entry(network.scope).or_default();
            subnets.extend(&network.subnets);
            gateways.extend(&network.gateways);
            for subnet in &network.subnets {
                directory.subnets.entry(network.scope).or_default().push(*subnet);
                directory.all_subnets.push(*subnet);
                if let Some(broadcast) = subnet.broadcast() {
                    directory.held.insert((network.scope, broadcast), Holder::Group);
                    directory.anywhere.insert(broadcast, Holder::Group);
                }
            }
            // A container that Docker gave the gateway's address (macvlan, internal networks) keeps it.
            for gateway in &network.gateways {
                directory.held.entry((network.scope, *gateway)).or_insert(Holder::Host);
            }
        }
        for address in host_addresses.iter().chain(scopes.iter().flat_map(|network| &network.gateways)) {
            directory.anywhere.entry(*address).or_insert(Holder::Host);
        }
        directory.all_subnets.sort_unstable();
        directory.all_subnets.dedup();
        directory
    }

    /// Returns what [`RosterDirectory::new`] needs besides the epoch and the workloads to build the same again: its
    /// answers hang on neither the order nor the repetition of what it is given.
    pub(crate) fn ingredients(&self) -> &Ingredients {
        &self.ingredients
    }

    /// Returns the workloads behind attachments whose documented ports it knows.
    pub(crate) fn workloads(&self) -> &HashMap<AttachmentId, Arc<Workload>> {
        &self.workloads
    }

    /// Returns the host's own addresses that lie in no container network, sorted: neither gateways, nor loopback, nor
    /// link-local ones.
    pub fn host_addresses_outside(&self) -> Vec<IpAddr> {
        let gateways = || self.ingredients.networks.values().flat_map(|(_, gateways)| gateways);
        let is_outside = |address: &IpAddr| {
            !address.is_loopback()
                && !is_link_local(*address)
                && !self.is_in_a_subnet(*address)
                && !gateways().any(|gateway| gateway == address)
        };
        let mut outside: Vec<IpAddr> =
            self.ingredients.host_addresses.iter().map(IpAddr::to_canonical).collect();
        outside.retain(is_outside);
        outside.sort_unstable();
        outside.dedup();
        outside
    }

    /// Returns whether any network's subnets are known.
    pub fn has_subnets(&self) -> bool {
        !self.all_subnets.is_empty()
    }

    /// Returns whether `address` lies in a container network's subnet.
    pub fn is_in_a_subnet(&self, address: IpAddr) -> bool {
        self.all_subnets.iter().any(|subnet| subnet.contains(address))
    }
}

/// Two different holders of one key tell nothing apart.
fn merge<K: Eq + std::hash::Hash>(holders: &mut HashMap<K, Holder>, key: K, holder: Holder) {
    holders
        .entry(key)
        .and_modify(|known| {
            if *known != holder {
                *known = Holder::Ambiguous;
            }
        })
        .or_insert(holder);
}

impl Directory for RosterDirectory {
    fn holder(&self, scope: ScopeId, address: IpAddr) -> Holder {
        let address = address.to_canonical();
        if is_group(address) {
            return Holder::Group;
        }
        if let Some(holder) = self.held.get(&(scope, address)) {
            return *holder;
        }
        let is_own = |subnet: &Subnet| subnet.contains(address);
        if self.subnets.get(&scope).is_some_and(|subnets| subnets.iter().any(is_own)) {
            return Holder::Unclaimed;
        }
        if is_link_local(address) {
            // Valid on one link only, so no other network's holder can be meant.
            return Holder::Unclaimed;
        }
        if let Some(holder) = self.anywhere.get(&address) {
            return *holder;
        }
        if address.is_loopback() {
            return Holder::Host;
        }
        if self.is_in_a_subnet(address) { Holder::Unclaimed } else { Holder::External }
    }

    fn is_known_listener(&self, attachment: AttachmentId, port: ServicePort) -> bool {
        self.workloads
            .get(&attachment)
            .is_some_and(|workload| workload.documented.iter().any(|documented| documented.covers(port)))
    }

    fn epoch(&self) -> u16 {
        self.epoch
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Returns the link-local address Linux derives from `mac` (modified EUI-64, RFC 4291, appendix A).
pub(crate) fn link_local(mac: MacAddr) -> IpAddr {
    let [a, b, c, d, e, f] = mac.0.map(u16::from);
    let interface = [(a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f];
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, interface[0], interface[1], interface[2], interface[3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> RosterDirectory {
        let scopes = [
            ScopeAddresses {
                scope: ScopeId(1),
                subnets: vec!["172.18.0.0/16".parse().unwrap()],
                gateways: vec!["172.18.0.1".parse().unwrap()],
            },
            ScopeAddresses {
                scope: ScopeId(2),
                subnets: vec!["172.19.0.0/16".parse().unwrap()],
                gateways: vec!["172.19.0.1".parse().unwrap()],
            },
            ScopeAddresses {
                scope: ScopeId(3),
                subnets: vec!["172.19.0.0/16".parse().unwrap()],
                gateways: Vec::new(),
            },
        ];
        let held = [
            (1, "172.18.0.2", 1),
            (1, "172.18.0.3", 2),
            (1, "172.18.0.9", 3),
            (1, "172.18.0.9", 4),
            (2, "172.19.0.2", 5),
            (3, "172.19.0.2", 6),
        ]
        .map(|(scope, address, attachment)| {
            (ScopeId(scope), address.parse().unwrap(), AttachmentId(attachment))
        });
        RosterDirectory::new(7, &scopes, held, &["192.0.2.1".parse().unwrap()], HashMap::new())
    }

    #[test]
    fn others_reach_a_host_by_addresses_of_no_container_network() {
        let scope = ScopeAddresses {
            scope: ScopeId(1),
            subnets: vec!["172.18.0.0/16".parse().unwrap()],
            // Without a subnet it is a gateway all the same.
            gateways: vec!["10.5.0.1".parse().unwrap()],
        };
        let own = [
            "192.0.2.9",
            "172.18.0.1",
            "10.5.0.1",
            "127.0.0.1",
            "::1",
            "fe80::1",
            "169.254.7.1",
            "2001:db8::9",
            "::ffff:192.0.2.1",
            "192.0.2.1",
        ]
        .map(|address| address.parse().unwrap());
        let directory = RosterDirectory::new(1, &[scope], [], &own, HashMap::new());
        let outside: Vec<String> =
            directory.host_addresses_outside().iter().map(ToString::to_string).collect();
        assert_eq!(outside, ["192.0.2.1", "192.0.2.9", "2001:db8::9"]);
    }

    #[test]
    fn every_address_has_an_answer() {
        let attachment = |number| Holder::Attachment(AttachmentId(number));
        for (scope, address, holder) in [
            (1, "172.18.0.2", attachment(1)),
            (1, "172.18.0.3", attachment(2)),
            (1, "172.18.0.1", Holder::Host),
            (1, "172.18.0.77", Holder::Unclaimed),
            (1, "172.18.255.255", Holder::Group),
            (1, "172.18.0.9", Holder::Ambiguous),
            (1, "224.0.0.251", Holder::Group),
            (1, "255.255.255.255", Holder::Group),
            (1, "ff02::1", Holder::Group),
            (1, "fe80::1", Holder::Unclaimed),
            (1, "169.254.1.1", Holder::Unclaimed),
            (1, "172.19.0.1", Holder::Host),
            (1, "172.19.0.2", Holder::Ambiguous),
            (2, "172.19.0.2", attachment(5)),
            (3, "172.19.0.2", attachment(6)),
            (2, "172.18.0.3", attachment(2)),
            (2, "172.18.0.77", Holder::Unclaimed),
            (0, "172.18.0.2", attachment(1)),
            (0, "172.18.0.4", Holder::Unclaimed),
            (1, "192.0.2.1", Holder::Host),
            (1, "127.0.0.1", Holder::Host),
            (1, "198.51.100.2", Holder::External),
            (1, "2001:db8::1", Holder::External),
            (1, "::ffff:172.18.0.2", attachment(1)),
        ] {
            let answer = directory().holder(ScopeId(scope), address.parse().unwrap());
            assert_eq!(answer, holder, "scope {scope}, {address}");
        }
    }

    #[test]
    fn a_link_local_address_follows_from_the_mac() {
        let mac = MacAddr([0x02, 0x42, 0xac, 0x12, 0x00, 0x03]);
        assert_eq!(link_local(mac), "fe80::42:acff:fe12:3".parse::<IpAddr>().unwrap());
    }
}
