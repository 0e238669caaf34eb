//! A picture in writing: what a journal holds of it, and back.
//!
//! # Form
//!
//! In JSON, shortened. Whatever is empty or zero may be missing, but not out of a binding or a port; what is not known
//! here is ignored.
//!
//! ```json
//! {
//!   "epoch": 7,
//!   "interfaces": {
//!     "3": {"role": "bridge", "scope": 1, "mac": "02:42:ac:12:00:01"},
//!     "8": {"role": "container", "scope": 1, "attachment": 2, "is_fresh": true}
//!   },
//!   "interface_names": {"3": "br-0123456789ab", "8": "veth0a1b2c3"},
//!   "directory": {
//!     "epoch": 7,
//!     "networks": {"1": {"subnets": ["172.18.0.0/16"], "gateways": ["172.18.0.1"]}},
//!     "held": {"1 172.18.0.2": [2]},
//!     "host_addresses": ["192.0.2.1"],
//!     "listeners": {"2": "3f2a9c1b0d4e 2026-11-20T13:58:00.000000000Z"}
//!   },
//!   "names": {
//!     "has_roster": true,
//!     "attachments": {"2": "3f2a9c1b0d4e 2026-11-20T13:58:00.000000000Z"},
//!     "scopes": {"1": "shop_default"},
//!     "addresses": {"1 172.18.0.2": [{"attachment": 2, "from": "2026-11-20T13:58:00.000000000Z"}]},
//!     "host_addresses": ["172.18.0.1", "192.0.2.1"],
//!     "workloads": ["3f2a9c1b0d4e 2026-11-20T13:58:00.000000000Z"],
//!     "listening": {"3f2a9c...": {"ports": [{"port": {"port": 80, "protocol": "tcp"}, "since": "2026-11-20T13:58:00.000000000Z"}]}}
//!   },
//!   "workloads": {"3f2a9c1b0d4e 2026-11-20T13:58:00.000000000Z": {"container": "shop-web-1"}},
//!   "counts": {"containers": 1},
//!   "docker": {"is_listed": true}
//! }
//! ```
//!
//! A key with a space in it is a place: the number of a scope and an address of that network. A workload's key is its
//! container's short id and its start; where several records share both, `#2`, `#3` follow. The key is a reference
//! and nothing else: what a workload is, stands in its content.
//!
//! A [`PicturePatch`] has the same form. A row stands in it whole where it appeared or changed and as `null` where it
//! went; of a list it holds what has `gone`, what was `put` at which place, or the `whole`.
//!
//! # What a damaged one gives
//!
//! Text that is no such form is refused by its reader. What can be read, can be restored: a reference to a workload
//! that is not there leaves its attachment unnamed, or the list one shorter; an interface index of 2^24 or more stays
//! without a role, as in [`InterfaceTable`]. Memory follows what is written, never a number in it; the worst is an
//! interface in each of the table's 65,536 pages, which takes 256 MiB.

mod key;
mod patch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use portolan_flowtable::workload::Binding;
use portolan_flowtable::{
    AttachmentId, Directory, InterfaceEntry, InterfaceId, InterfaceTable, Listening, Names, PublishedPort,
    ScopeId, Workload,
};
use serde::{Deserialize, Serialize};

use crate::directory::{RosterDirectory, ScopeAddresses};
use crate::picture::{Counts, DockerState, Picture};
use crate::subnet::Subnet;
use key::{Key, Place};
pub use patch::PicturePatch;

/// Length of a container id as Docker writes it out.
const LONG_ID: usize = 64;
/// Length of a container id as Docker prints it.
const SHORT_ID: usize = 12;

/// A picture as a journal holds it: every answer, nothing that cannot be written.
///
/// The same picture gives the same record, and the same record the same bytes. Each workload is in it once, shared
/// with the picture it was taken of and with every picture restored from it, so a clone is cheap.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PictureRecord {
    epoch: u16,
    interfaces: BTreeMap<Key<u32>, InterfaceEntry>,
    /// The row of interfaces that have none of their own.
    #[serde(skip_serializing_if = "is_nothing")]
    other_interfaces: InterfaceEntry,
    interface_names: BTreeMap<Key<u32>, String>,
    directory: DirectoryRecord,
    names: NamesRecord,
    /// Each record of a container generation, once.
    workloads: BTreeMap<WorkloadKey, Arc<Workload>>,
    /// Without its list, which is beside it.
    counts: Counts,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unobservable: Vec<(String, String)>,
    docker: DockerState,
}

type WorkloadKey = Arc<str>;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct DirectoryRecord {
    epoch: u16,
    networks: BTreeMap<Key<u16>, NetworkRecord>,
    held: BTreeMap<Key<Place>, BTreeSet<AttachmentId>>,
    host_addresses: BTreeSet<IpAddr>,
    /// Attachments whose documented ports the directory knows.
    listeners: BTreeMap<Key<u32>, WorkloadKey>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct NetworkRecord {
    subnets: BTreeSet<Subnet>,
    gateways: BTreeSet<IpAddr>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct NamesRecord {
    has_roster: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale: Option<String>,
    attachments: BTreeMap<Key<u32>, WorkloadKey>,
    scopes: BTreeMap<Key<u16>, Arc<str>>,
    addresses: BTreeMap<Key<Place>, Vec<Binding>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    published: Vec<PublishedPort>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    former: Vec<WorkloadKey>,
    host_addresses: Vec<IpAddr>,
    workloads: Vec<WorkloadKey>,
    /// By the whole container id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    listening: BTreeMap<String, Listening>,
}

fn is_nothing<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl PictureRecord {
    /// Records a picture. Takes time and memory by the number of containers; labels and ports are shared, not copied.
    pub fn of(picture: &Picture) -> Self {
        let names = &picture.names;
        let all = names.attachments.values().chain(&names.workloads).chain(&names.former);
        let (keys, workloads) = keyed(all.chain(picture.directory.workloads().values()));
        let mut counts = picture.counts.clone();
        let unobservable = std::mem::take(&mut counts.unobservable);
        let rows = picture.interfaces.rows();
        Self {
            epoch: picture.epoch,
            interfaces: rows.map(|(interface, entry)| (Key(interface.0), entry)).collect(),
            other_interfaces: picture.interfaces.default_row(),
            interface_names: picture
                .interface_names
                .iter()
                .map(|(index, name)| (Key(*index), name.clone()))
                .collect(),
            directory: DirectoryRecord::of(&picture.directory, &keys),
            names: NamesRecord::of(names, &keys),
            workloads,
            counts,
            unobservable,
            docker: picture.docker.clone(),
        }
    }

    /// Returns the picture that was recorded: it gives every answer as that one did.
    ///
    /// Total: of a record that refers to what is not in it, what is in it is restored.
    pub fn restore(&self) -> Picture {
        let mut interfaces = InterfaceTable::with_default(self.other_interfaces);
        for (index, entry) in &self.interfaces {
            interfaces.set(InterfaceId(index.0), *entry);
        }
        let interface_names = self.interface_names.iter().map(|(index, name)| (index.0, name.clone()));
        Picture {
            interfaces: Arc::new(interfaces),
            interface_names: Arc::new(interface_names.collect()),
            directory: Arc::new(self.directory.restore(&self.workloads)),
            names: Arc::new(self.names.restore(&self.workloads)),
            epoch: self.epoch,
            counts: Counts { unobservable: self.unobservable.clone(), ..self.counts.clone() },
            docker: self.docker.clone(),
        }
    }
}

type Workloads = BTreeMap<WorkloadKey, Arc<Workload>>;
/// By the place in memory of each workload of the picture at hand.
type Keys = HashMap<*const Workload, WorkloadKey>;

/// Gives each workload its key; equal ones share theirs.
///
/// The key follows from id and start, so that it stays what it is while other containers come and go.
fn keyed<'a>(all: impl Iterator<Item = &'a Arc<Workload>>) -> (Keys, Workloads) {
    let mut all: Vec<_> = all.collect();
    all.sort_unstable_by_key(|workload| Arc::as_ptr(workload));
    all.dedup_by_key(|workload| Arc::as_ptr(workload));
    all.sort();
    let mut keys = Keys::with_capacity(all.len());
    let mut workloads = Workloads::new();
    let mut namesakes: BTreeMap<String, u32> = BTreeMap::new();
    for equal in all.chunk_by(|a, b| a == b) {
        let Some(first) = equal.first() else { continue };
        let base = format!("{} {}", short(&first.container_id), first.started_at);
        let number = namesakes.entry(base.clone()).and_modify(|number| *number += 1).or_insert(1);
        let key: WorkloadKey =
            if *number == 1 { Arc::from(base) } else { Arc::from(format!("{base}#{number}")) };
        keys.extend(equal.iter().map(|workload| (Arc::as_ptr(workload), Arc::clone(&key))));
        workloads.insert(key, Arc::clone(first));
    }
    (keys, workloads)
}

/// Shortens a container id of Docker's, and nothing else: ids a person wrote may differ in their ends only.
fn short(id: &str) -> &str {
    let is_dockers = id.len() == LONG_ID && id.bytes().all(|digit| digit.is_ascii_hexdigit());
    id.get(..SHORT_ID).filter(|_| is_dockers).unwrap_or(id)
}

fn key_of(keys: &Keys, workload: &Arc<Workload>) -> Option<WorkloadKey> {
    keys.get(&Arc::as_ptr(workload)).cloned()
}

fn keys_by_attachment(
    workloads: &HashMap<AttachmentId, Arc<Workload>>,
    keys: &Keys,
) -> BTreeMap<Key<u32>, WorkloadKey> {
    workloads.iter().filter_map(|(id, workload)| Some((Key(id.0), key_of(keys, workload)?))).collect()
}

fn workloads_by_attachment(
    keys: &BTreeMap<Key<u32>, WorkloadKey>,
    workloads: &Workloads,
) -> HashMap<AttachmentId, Arc<Workload>> {
    let named = keys.iter().filter_map(|(id, key)| Some((AttachmentId(id.0), workloads.get(key)?)));
    named.map(|(id, workload)| (id, Arc::clone(workload))).collect()
}

impl DirectoryRecord {
    fn of(directory: &RosterDirectory, keys: &Keys) -> Self {
        let ingredients = directory.ingredients();
        let mut held: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (scope, address, attachment) in &ingredients.held {
            let place = Place { scope: *scope, address: *address };
            held.entry(Key(place)).or_default().insert(*attachment);
        }
        let network = |(subnets, gateways): &(BTreeSet<Subnet>, BTreeSet<IpAddr>)| NetworkRecord {
            subnets: subnets.clone(),
            gateways: gateways.clone(),
        };
        Self {
            epoch: directory.epoch(),
            networks: ingredients.networks.iter().map(|(id, of)| (Key(id.0), network(of))).collect(),
            held,
            host_addresses: ingredients.host_addresses.clone(),
            listeners: keys_by_attachment(directory.workloads(), keys),
        }
    }

    fn restore(&self, workloads: &Workloads) -> RosterDirectory {
        let networks = self.networks.iter().map(|(id, network)| ScopeAddresses {
            scope: ScopeId(id.0),
            subnets: network.subnets.iter().copied().collect(),
            gateways: network.gateways.iter().copied().collect(),
        });
        let networks: Vec<_> = networks.collect();
        let held = self.held.iter().flat_map(|(Key(place), attachments)| {
            attachments.iter().map(|attachment| (place.scope, place.address, *attachment))
        });
        let host: Vec<_> = self.host_addresses.iter().copied().collect();
        let listeners = workloads_by_attachment(&self.listeners, workloads);
        RosterDirectory::new(self.epoch, &networks, held, &host, listeners)
    }
}

impl NamesRecord {
    fn of(names: &Names, keys: &Keys) -> Self {
        let listed = |of: &[Arc<Workload>]| of.iter().filter_map(|workload| key_of(keys, workload)).collect();
        let place = |(scope, address): &(ScopeId, IpAddr)| Key(Place { scope: *scope, address: *address });
        Self {
            has_roster: names.has_roster,
            stale: names.stale.clone(),
            attachments: keys_by_attachment(&names.attachments, keys),
            scopes: names.scopes.iter().map(|(id, name)| (Key(id.0), Arc::clone(name))).collect(),
            addresses: names.addresses.iter().map(|(at, bindings)| (place(at), bindings.clone())).collect(),
            published: names.published.clone(),
            former: listed(&names.former),
            host_addresses: names.host_addresses.clone(),
            workloads: listed(&names.workloads),
            listening: names.listening.clone(),
        }
    }

    fn restore(&self, workloads: &Workloads) -> Names {
        let listed =
            |keys: &[WorkloadKey]| keys.iter().filter_map(|key| workloads.get(key).cloned()).collect();
        let place = |Key(place): &Key<Place>| (place.scope, place.address);
        Names {
            has_roster: self.has_roster,
            attachments: workloads_by_attachment(&self.attachments, workloads),
            scopes: self.scopes.iter().map(|(id, name)| (ScopeId(id.0), Arc::clone(name))).collect(),
            addresses: self.addresses.iter().map(|(at, bindings)| (place(at), bindings.clone())).collect(),
            published: self.published.clone(),
            former: listed(&self.former),
            host_addresses: self.host_addresses.clone(),
            workloads: listed(&self.workloads),
            listening: self.listening.clone(),
            stale: self.stale.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
