//! Drawing the picture: bindings, the data plane's answers, names and counts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use portolan_flowtable::workload::Binding;
use portolan_flowtable::{
    InterfaceEntry, InterfaceId, InterfaceTable, Names, PublishedPort, Role, ScopeId, Timestamp, Workload,
};

use super::{
    Answers, Attachment, ENSLAVED_WITHIN, Joint, LATE_FRAMES, MatchedBy, Objects, SeenLink, is_link_local,
};
use crate::directory::{RosterDirectory, ScopeAddresses};
use crate::naming::published;
use crate::picture::{Counts, Picture};

impl Joint {
    pub(super) fn draw(&mut self, objects: &Objects, before: &Picture, now: Timestamp) -> Picture {
        self.workloads.retain(|id, _| objects.containers.contains_key(id));
        self.netns_ids.retain(|id, _| objects.containers.contains_key(id));
        let is_running =
            |id: &String| objects.containers.get(id).is_some_and(|known| known.record.is_running);
        self.listening.retain(|id, _| is_running(id));
        let bindings = self.bindings();
        let answers = self.answers(&bindings, now);
        let has_changed = answers != self.answers;
        if has_changed {
            self.epoch = self.epoch.wrapping_add(1);
            self.answers = answers;
        }
        let (names, counts) = self.names(objects, bindings, now);
        let (interfaces, directory) = if has_changed || self.epoch == 0 {
            (Arc::new(self.interface_table()), Arc::new(self.directory()))
        } else {
            (Arc::clone(&before.interfaces), Arc::clone(&before.directory))
        };
        self.link_names.retain(|index, _| self.answers.interfaces.contains_key(index));
        let interface_names = if self.link_names == *before.interface_names {
            Arc::clone(&before.interface_names)
        } else {
            Arc::new(self.link_names.clone())
        };
        Picture {
            interfaces,
            interface_names,
            directory,
            names: Arc::new(names),
            epoch: self.epoch,
            counts,
            docker: self.docker.clone(),
        }
    }

    /// Who held which address and when. Docker gives an address to one container at a time, so where two are open
    /// the later one holds it.
    fn bindings(&self) -> HashMap<(ScopeId, IpAddr), Vec<Binding>> {
        let mut bindings: HashMap<_, Vec<Binding>> = HashMap::new();
        for (id, attachment) in &self.attachments {
            let from = if attachment.is_fresh { attachment.from } else { Timestamp(i64::MIN) };
            for address in &attachment.addresses {
                let binding = Binding { attachment: *id, from, until: attachment.until };
                bindings.entry((attachment.scope, *address)).or_default().push(binding);
            }
        }
        for held in bindings.values_mut() {
            held.sort_by_key(|binding| (binding.from, binding.attachment));
            let mut next_from = None;
            for binding in held.iter_mut().rev() {
                binding.until = [binding.until, next_from].into_iter().flatten().min();
                next_from = Some(binding.from);
            }
        }
        bindings
    }

    fn answers(&self, bindings: &HashMap<(ScopeId, IpAddr), Vec<Binding>>, now: Timestamp) -> Answers {
        let is_recent = |until: Option<Timestamp>| until.is_none_or(|until| now.since(until) < LATE_FRAMES);
        let mut answers = Answers::default();
        for ((scope, address), held) in bindings {
            // An ended one answers no more: the next container may have the address before Docker says so, and would
            // be taken for a forger. What still comes for the old one is named by its time, when all is known.
            if let Some(last) = held.last().filter(|binding| binding.until.is_none()) {
                answers.held.insert((*scope, *address, last.attachment));
            }
        }
        for seen in self.links.values() {
            answers.interfaces.insert(seen.link.index, self.entry(seen, now));
        }
        for (id, scope) in self.scopes.iter().filter(|(_, scope)| is_recent(scope.until)) {
            answers.scopes.insert(*id, (scope.subnets.clone(), scope.gateways.clone()));
            if let Some((index, _, mac)) = scope.bridge {
                let entry =
                    InterfaceEntry { role: Role::Bridge, scope: *id, mac, ..InterfaceEntry::default() };
                answers.interfaces.insert(index, entry);
            }
        }
        for (id, attachment) in self.attachments.iter().filter(|(_, of)| is_recent(of.until)) {
            answers.interfaces.insert(
                attachment.interface,
                InterfaceEntry {
                    role: Role::Container,
                    scope: attachment.scope,
                    attachment: *id,
                    // Who is gone holds nothing: the next one may have the same.
                    mac: attachment.mac.filter(|_| attachment.until.is_none()).unwrap_or_default(),
                    is_fresh: attachment.is_fresh,
                },
            );
            if let Some(named) = &attachment.workload {
                answers.workloads.insert(*id, Arc::clone(named));
            }
        }
        answers.host_addresses =
            self.host_addresses.iter().map(|of| of.address).filter(|of| !is_link_local(*of)).collect();
        answers
    }

    /// The row of an interface that is neither a container's nor its network's bridge.
    fn entry(&self, seen: &SeenLink, now: Timestamp) -> InterfaceEntry {
        let is_young = seen.is_fresh && now.since(seen.since) < ENSLAVED_WITHIN;
        let may_become = seen.link.kind == "veth" && seen.link.master.is_none() && is_young;
        let role = if may_become { Role::Unknown } else { Role::Foreign };
        InterfaceEntry { role, is_fresh: seen.is_fresh, ..InterfaceEntry::default() }
    }

    fn interface_table(&self) -> InterfaceTable {
        let mut table = InterfaceTable::new();
        for (index, entry) in &self.answers.interfaces {
            table.set(InterfaceId(*index), *entry);
        }
        table
    }

    fn directory(&self) -> RosterDirectory {
        let scopes: Vec<_> = self
            .answers
            .scopes
            .iter()
            .map(|(id, (subnets, gateways))| ScopeAddresses {
                scope: *id,
                subnets: subnets.iter().copied().collect(),
                gateways: gateways.iter().copied().collect(),
            })
            .collect();
        let host: Vec<_> = self.answers.host_addresses.iter().copied().collect();
        let workloads = self.answers.workloads.iter().map(|(id, named)| (*id, Arc::clone(named))).collect();
        RosterDirectory::new(self.epoch, &scopes, self.answers.held.iter().copied(), &host, workloads)
    }

    fn names(
        &mut self,
        objects: &Objects,
        addresses: HashMap<(ScopeId, IpAddr), Vec<Binding>>,
        now: Timestamp,
    ) -> (Names, Counts) {
        let mut names = Names { has_roster: true, addresses, ..Names::default() };
        let mut counts = Counts::default();
        let mut matched: BTreeMap<&str, MatchedBy> = BTreeMap::new();
        for (id, attachment) in &self.attachments {
            if let Some(named) = &attachment.workload {
                names.attachments.insert(*id, Arc::clone(named));
            }
            if attachment.until.is_none() {
                counts.attachments += 1;
                counts.attachments_unnamed += u64::from(attachment.workload.is_none());
                if let Some((container, by)) = &attachment.container {
                    matched.insert(container, *by);
                }
            }
        }
        let ways: BTreeSet<_> = matched.values().copied().collect();
        let words: Vec<_> = ways
            .iter()
            .map(|by| match by {
                MatchedBy::NetnsId => "netns id",
                MatchedBy::InterfaceIndex => "interface index",
            })
            .collect();
        counts.identity_by = if words.is_empty() { "nothing".to_owned() } else { words.join(", ") };
        let matched: BTreeSet<String> = matched.into_keys().map(str::to_owned).collect();
        for (id, known) in objects.containers.iter().filter(|(_, known)| known.is_current(now)) {
            let named = self.named_as(id).unwrap_or_else(|| self.workload(known, objects));
            if known.ended_at.is_none() {
                counts.containers += 1;
                match &named.unobservable {
                    Some(reason) => counts.unobservable.push((named.container.clone(), reason.clone())),
                    None => counts.observable += 1,
                }
                counts.matched += u64::from(matched.contains(id) && named.unobservable.is_none());
                names.published.extend(published(&known.record));
            }
            names.workloads.push(named);
        }
        counts.unobservable.sort();
        names.workloads.sort_by(|a, b| (&a.container, &a.container_id).cmp(&(&b.container, &b.container_id)));
        let key = |of: &PublishedPort| (of.host_address, of.host_port, of.protocol, of.container_id.clone());
        names.published.sort_by_key(key);
        for (id, scope) in &self.scopes {
            names.scopes.insert(*id, Arc::from(scope.name.as_str()));
        }
        let gateways = self.scopes.values().flat_map(|scope| scope.gateways.iter().copied());
        let host: BTreeSet<_> = gateways.chain(self.answers.host_addresses.iter().copied()).collect();
        names.host_addresses = host.into_iter().collect();
        names.stale.clone_from(&self.docker.stale);
        names.listening.clone_from(&self.listening);
        (names, counts)
    }

    /// The value by which a container's newest attachment goes, so that both lists hold the same generation.
    fn named_as(&self, id: &str) -> Option<Arc<Workload>> {
        let is_its = |of: &&Attachment| of.container.as_ref().is_some_and(|(container, _)| container == id);
        let newest = self.attachments.values().rev().filter(is_its).find(|of| of.workload.is_some())?;
        newest.workload.clone()
    }
}
