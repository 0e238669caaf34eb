//! What has changed between two records.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use portolan_flowtable::workload::Binding;
use portolan_flowtable::{AttachmentId, InterfaceEntry, Listening, PublishedPort, Workload};
use serde::{Deserialize, Deserializer, Serialize};

use super::key::{Key, Place};
use super::{DirectoryRecord, NamesRecord, NetworkRecord, PictureRecord, WorkloadKey, is_nothing};
use crate::picture::{Counts, DockerState};

/// What has to be told to somebody who knows one record so that he knows the next.
///
/// Holds what changed and nothing else: one container that starts among many is its own workload, its interface and
/// its addresses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PicturePatch {
    #[serde(skip_serializing_if = "is_nothing")]
    pub(super) epoch: Option<u16>,
    #[serde(skip_serializing_if = "is_nothing")]
    interfaces: Rows<Key<u32>, InterfaceEntry>,
    #[serde(skip_serializing_if = "is_nothing")]
    other_interfaces: Option<InterfaceEntry>,
    #[serde(skip_serializing_if = "is_nothing")]
    interface_names: Rows<Key<u32>, String>,
    #[serde(skip_serializing_if = "is_nothing")]
    directory: DirectoryPatch,
    #[serde(skip_serializing_if = "is_nothing")]
    names: NamesPatch,
    #[serde(skip_serializing_if = "is_nothing")]
    pub(super) workloads: Rows<WorkloadKey, Arc<Workload>>,
    #[serde(skip_serializing_if = "is_nothing")]
    counts: Option<Counts>,
    #[serde(skip_serializing_if = "is_nothing")]
    unobservable: List<(String, String)>,
    #[serde(skip_serializing_if = "is_nothing")]
    docker: Option<DockerState>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct DirectoryPatch {
    #[serde(skip_serializing_if = "is_nothing")]
    epoch: Option<u16>,
    #[serde(skip_serializing_if = "is_nothing")]
    networks: Rows<Key<u16>, NetworkRecord>,
    #[serde(skip_serializing_if = "is_nothing")]
    held: Rows<Key<Place>, BTreeSet<AttachmentId>>,
    /// All of them, where one changed: a host has few.
    #[serde(skip_serializing_if = "is_nothing")]
    host_addresses: Option<BTreeSet<IpAddr>>,
    #[serde(skip_serializing_if = "is_nothing")]
    listeners: Rows<Key<u32>, WorkloadKey>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct NamesPatch {
    #[serde(skip_serializing_if = "is_nothing")]
    has_roster: Option<bool>,
    /// Missing where nothing changed, `null` where the picture is up to date again.
    #[serde(skip_serializing_if = "is_nothing", deserialize_with = "present")]
    stale: Option<Option<String>>,
    #[serde(skip_serializing_if = "is_nothing")]
    attachments: Rows<Key<u32>, WorkloadKey>,
    #[serde(skip_serializing_if = "is_nothing")]
    scopes: Rows<Key<u16>, Arc<str>>,
    #[serde(skip_serializing_if = "is_nothing")]
    addresses: Rows<Key<Place>, Vec<Binding>>,
    #[serde(skip_serializing_if = "is_nothing")]
    published: List<PublishedPort>,
    #[serde(skip_serializing_if = "is_nothing")]
    former: List<WorkloadKey>,
    #[serde(skip_serializing_if = "is_nothing")]
    host_addresses: List<IpAddr>,
    #[serde(skip_serializing_if = "is_nothing")]
    workloads: List<WorkloadKey>,
    #[serde(skip_serializing_if = "is_nothing")]
    listening: Rows<String, Listening>,
}

/// Rows that appeared or changed, and `None` for those that went.
type Rows<K, V> = BTreeMap<K, Option<V>>;

/// Reads a field that is there, be it `null`.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl PicturePatch {
    /// Returns whether it says nothing, so that it need not be written.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl PictureRecord {
    /// Returns what has to be told to somebody who knows `self` so that he knows `next`.
    pub fn patch_to(&self, next: &Self) -> PicturePatch {
        PicturePatch {
            epoch: changed(&self.epoch, &next.epoch),
            interfaces: rows(&self.interfaces, &next.interfaces),
            other_interfaces: changed(&self.other_interfaces, &next.other_interfaces),
            interface_names: rows(&self.interface_names, &next.interface_names),
            directory: self.directory.patch_to(&next.directory),
            names: self.names.patch_to(&next.names),
            workloads: rows(&self.workloads, &next.workloads),
            counts: changed(&self.counts, &next.counts),
            unobservable: List::between(&self.unobservable, &next.unobservable),
            docker: changed(&self.docker, &next.docker),
        }
    }

    /// Takes over what a patch tells. Total: a patch that was meant for another record tells what it tells.
    pub fn apply(&mut self, patch: PicturePatch) {
        let PicturePatch {
            epoch,
            interfaces,
            other_interfaces,
            interface_names,
            directory,
            names,
            workloads,
            counts,
            unobservable,
            docker,
        } = patch;
        take_over(&mut self.epoch, epoch);
        take_rows(&mut self.interfaces, interfaces);
        take_over(&mut self.other_interfaces, other_interfaces);
        take_rows(&mut self.interface_names, interface_names);
        self.directory.apply(directory);
        self.names.apply(names);
        take_rows(&mut self.workloads, workloads);
        take_over(&mut self.counts, counts);
        unobservable.apply(&mut self.unobservable);
        take_over(&mut self.docker, docker);
    }
}

impl DirectoryRecord {
    fn patch_to(&self, next: &Self) -> DirectoryPatch {
        DirectoryPatch {
            epoch: changed(&self.epoch, &next.epoch),
            networks: rows(&self.networks, &next.networks),
            held: rows(&self.held, &next.held),
            host_addresses: changed(&self.host_addresses, &next.host_addresses),
            listeners: rows(&self.listeners, &next.listeners),
        }
    }

    fn apply(&mut self, patch: DirectoryPatch) {
        let DirectoryPatch { epoch, networks, held, host_addresses, listeners } = patch;
        take_over(&mut self.epoch, epoch);
        take_rows(&mut self.networks, networks);
        take_rows(&mut self.held, held);
        take_over(&mut self.host_addresses, host_addresses);
        take_rows(&mut self.listeners, listeners);
    }
}

impl NamesRecord {
    fn patch_to(&self, next: &Self) -> NamesPatch {
        NamesPatch {
            has_roster: changed(&self.has_roster, &next.has_roster),
            stale: changed(&self.stale, &next.stale),
            attachments: rows(&self.attachments, &next.attachments),
            scopes: rows(&self.scopes, &next.scopes),
            addresses: rows(&self.addresses, &next.addresses),
            published: List::between(&self.published, &next.published),
            former: List::between(&self.former, &next.former),
            host_addresses: List::between(&self.host_addresses, &next.host_addresses),
            workloads: List::between(&self.workloads, &next.workloads),
            listening: rows(&self.listening, &next.listening),
        }
    }

    fn apply(&mut self, patch: NamesPatch) {
        let NamesPatch {
            has_roster,
            stale,
            attachments,
            scopes,
            addresses,
            published,
            former,
            host_addresses,
            workloads,
            listening,
        } = patch;
        take_over(&mut self.has_roster, has_roster);
        take_over(&mut self.stale, stale);
        take_rows(&mut self.attachments, attachments);
        take_rows(&mut self.scopes, scopes);
        take_rows(&mut self.addresses, addresses);
        published.apply(&mut self.published);
        former.apply(&mut self.former);
        host_addresses.apply(&mut self.host_addresses);
        workloads.apply(&mut self.workloads);
        take_rows(&mut self.listening, listening);
    }
}

fn changed<T: Clone + PartialEq>(known: &T, next: &T) -> Option<T> {
    (known != next).then(|| next.clone())
}

fn take_over<T>(known: &mut T, told: Option<T>) {
    if let Some(told) = told {
        *known = told;
    }
}

fn rows<K: Clone + Ord, V: Clone + PartialEq>(known: &BTreeMap<K, V>, next: &BTreeMap<K, V>) -> Rows<K, V> {
    let gone = known.keys().filter(|key| !next.contains_key(*key)).map(|key| (key.clone(), None));
    let told = next.iter().filter(|(key, row)| known.get(*key) != Some(*row));
    gone.chain(told.map(|(key, row)| (key.clone(), Some(row.clone())))).collect()
}

fn take_rows<K: Ord, V>(known: &mut BTreeMap<K, V>, told: Rows<K, V>) {
    for (key, row) in told {
        match row {
            Some(row) => drop(known.insert(key, row)),
            None => drop(known.remove(&key)),
        }
    }
}

/// How one list becomes another, whose order matters: small where it stays sorted, whole where rows were moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct List<T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    whole: Option<Vec<T>>,
    /// Items of the known list that are not in the next.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gone: Vec<T>,
    /// Items to add, each with its place in the next list, ascending.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    put: Vec<(usize, T)>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { whole: None, gone: Vec::new(), put: Vec::new() }
    }
}

impl<T: Clone + Ord> List<T> {
    fn between(known: &[T], next: &[T]) -> Self {
        if known == next {
            return Self::default();
        }
        let wanted: BTreeSet<&T> = next.iter().collect();
        let (kept, gone): (Vec<&T>, Vec<&T>) = known.iter().partition(|item| wanted.contains(item));
        let gone: BTreeSet<&T> = gone.into_iter().collect();
        let mut kept = kept.into_iter().peekable();
        let is_added = |(_, item): &(usize, &T)| kept.next_if(|known| known == item).is_none();
        let put: Vec<_> = next.iter().enumerate().filter(is_added).collect();
        if kept.next().is_some() {
            return Self { whole: Some(next.to_vec()), ..Self::default() };
        }
        Self {
            whole: None,
            gone: gone.into_iter().cloned().collect(),
            put: put.into_iter().map(|(at, item)| (at, item.clone())).collect(),
        }
    }

    /// A place beyond the end is the end.
    fn apply(self, list: &mut Vec<T>) {
        take_over(list, self.whole);
        if self.gone.is_empty() && self.put.is_empty() {
            return;
        }
        let gone: BTreeSet<T> = self.gone.into_iter().collect();
        let mut kept = std::mem::take(list).into_iter().filter(|item| !gone.contains(item));
        for (at, item) in self.put {
            let before = at.saturating_sub(list.len());
            list.extend(kept.by_ref().take(before));
            list.push(item);
        }
        list.extend(kept);
    }
}
