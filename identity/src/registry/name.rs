//! From an attachment to its container, and from there to its names and addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use portolan_flowtable::{DocumentSource, DocumentedPort, Timestamp, Workload};

use super::{
    Attachment, Drawn, ENDED_ASKED, Joint, Known, MatchedBy, NAMED_WITHIN, Objects, SEARCH_AGAIN,
    SEARCH_SOON, SEARCHES_MAX, SEARCHES_SOON,
};
use crate::directory::link_local;
use crate::inventory::unobservable;
use crate::namespaces::Whereabouts;
use crate::naming::{swarm_service, workload};

impl Joint {
    /// Returns whether an attachment came just now and nobody knows anything of who is behind it.
    pub(super) fn is_searching(&self, now: Timestamp) -> bool {
        self.attachments.values().any(|of| {
            of.container.is_none()
                && of.is_inhabited()
                && of.netns_id.is_some()
                && of.candidates.is_empty()
                && of.searches < SEARCHES_SOON
                && now.since(of.searched_at) >= SEARCH_SOON
        })
    }

    /// Looks for the container of every attachment that has none yet.
    pub(super) fn match_up(&mut self, objects: &Objects, now: Timestamp) {
        let ids: Vec<_> = self.attachments.iter().filter(|(_, of)| of.container.is_none()).collect();
        let ids: Vec<_> = ids.into_iter().map(|(id, _)| *id).collect();
        // One look at all processes serves every attachment of this pass.
        let mut by_index = None;
        for id in ids {
            let Some(attachment) = self.attachments.get(&id) else { continue };
            let is_new = attachment.searched_change != self.docker_changes || attachment.searches == 0;
            let pause = if attachment.searches < SEARCHES_SOON { SEARCH_SOON } else { SEARCH_AGAIN };
            let is_due = attachment.searches < SEARCHES_MAX && now.since(attachment.searched_at) >= pause;
            if !is_new && !is_due {
                continue;
            }
            let mut attachment = attachment.clone();
            attachment.container = self.search(&mut attachment, is_due, objects, &mut by_index, now);
            attachment.searched_change = self.docker_changes;
            if is_due {
                attachment.searched_at = now;
                attachment.searches += 1;
            }
            self.attachments.insert(id, attachment);
        }
    }

    fn search(
        &mut self,
        attachment: &mut Attachment,
        may_scan: bool,
        objects: &Objects,
        by_index: &mut Option<BTreeMap<u32, BTreeSet<String>>>,
        now: Timestamp,
    ) -> Option<(String, MatchedBy)> {
        let netns_id = attachment.netns_id?;
        // A dead veth's number may be another container's by this time: only what was seen while it lived counts.
        let mut unanswered: Vec<(&String, Whereabouts)> = Vec::new();
        if attachment.is_inhabited() {
            // Whoever ended a while ago lives nowhere, and the number of its process may be another's by this time. Of
            // these there may be hundreds, and the look at all processes below is in a hurry.
            let lives =
                |known: &&Arc<Known>| known.ended_at.is_none_or(|ended| now.since(ended) < ENDED_ASKED);
            let mut running: Vec<_> = objects.containers.values().filter(lives).collect();
            running.sort_by_key(|known| std::cmp::Reverse(known.taken_at));
            for known in running {
                let Some(of) = known.whereabouts() else { continue };
                let id = &known.record.id;
                let cached =
                    self.netns_ids.get(id).filter(|(place, _)| *place == of).map(|(_, number)| *number);
                if cached.is_some_and(|number| number != netns_id) {
                    continue;
                }
                match self.namespaces.netns_id(&of) {
                    Ok(Some(number)) => {
                        self.netns_ids.insert(id.clone(), (of, number));
                        if number == netns_id {
                            return Some((id.clone(), MatchedBy::NetnsId));
                        }
                    }
                    Ok(None) => {}
                    Err(()) => {
                        self.netns_ids.remove(id);
                        unanswered.push((id, of));
                    }
                }
            }
            if attachment.candidates.is_empty() && may_scan {
                attachment.candidates = self.namespaces.containers_in(netns_id);
                attachment.candidates_by = MatchedBy::NetnsId;
                if let (true, Some(peer)) = (attachment.candidates.is_empty(), self.lone_peer(attachment)) {
                    // Another engine's containers may have an interface of this index too, and so may the host.
                    let by_index = by_index.get_or_insert_with(|| self.namespaces.containers_by_index());
                    let mut candidates = by_index.get(&peer).cloned().unwrap_or_default();
                    candidates.retain(|id| objects.containers.contains_key(id));
                    attachment.candidates = candidates;
                    attachment.candidates_by = MatchedBy::InterfaceIndex;
                }
            }
        }
        // Where a number from its own namespace is all there is, the container's inspection knows better, while it lives.
        if attachment.candidates_by == MatchedBy::InterfaceIndex && attachment.is_inhabited() {
            return self.search_by_index(attachment, &unanswered);
        }
        let owner =
            |id: &&String| objects.containers.get(*id).is_some_and(|known| !known.record.shares_a_network());
        let mut owners = attachment.candidates.iter().filter(owner);
        if let (Some(id), None) = (owners.next(), owners.next()) {
            return Some((id.clone(), attachment.candidates_by));
        }
        self.search_by_index(attachment, &unanswered)
    }

    /// Without the privilege to ask for namespaces: the index of the container's own end, where it is unmistakable.
    fn search_by_index(
        &mut self,
        attachment: &Attachment,
        unanswered: &[(&String, Whereabouts)],
    ) -> Option<(String, MatchedBy)> {
        let peer = self.lone_peer(attachment)?;
        let mut fitting = Vec::new();
        for (id, of) in unanswered {
            if self.namespaces.interface_indexes(of).contains(&peer) {
                fitting.push(*id);
            }
        }
        match fitting.as_slice() {
            [only] => Some(((*only).clone(), MatchedBy::InterfaceIndex)),
            _ => None,
        }
    }

    /// Returns the index of the container's own end where no other attachment has the same.
    fn lone_peer(&self, attachment: &Attachment) -> Option<u32> {
        let peer = attachment.peer?;
        let is_twin = |of: &&Attachment| of.until.is_none() && of.peer == Some(peer);
        (self.attachments.values().filter(is_twin).count() <= 1).then_some(peer)
    }

    /// Gives attachments their workloads and addresses.
    pub(super) fn name(&mut self, objects: &Objects, now: Timestamp) {
        let ids: Vec<_> = self.attachments.keys().copied().collect();
        for id in ids {
            let Some(attachment) = self.attachments.get(&id) else { continue };
            let Some((container, _)) = &attachment.container else { continue };
            let Some(known) = objects.containers.get(container) else { continue };
            let is_over = attachment.until.is_some();
            if is_over && attachment.workload.is_some() {
                continue;
            }
            let record = &known.record;
            let was_taken_in_time = !attachment.is_fresh || known.taken_at >= attachment.from;
            let has_its_start = record.is_inspected
                && was_taken_in_time
                && record.started_at.is_some()
                && (record.is_running || record.finished_at.is_some_and(|at| at >= attachment.from));
            let is_late = now.since(attachment.from) >= NAMED_WITHIN
                || (is_over && known.ended_at.is_some())
                || attachment.workload.is_some();
            if !has_its_start && !is_late {
                continue;
            }
            let known = Arc::clone(known);
            let started_at = attachment.started_at.unwrap_or_else(|| {
                let started = known.record.started_at.filter(|_| has_its_start || !attachment.is_fresh);
                started.unwrap_or(attachment.from)
            });
            let named = self.workload(&known, objects);
            let named = if named.started_at == started_at {
                named
            } else {
                Arc::new(Workload { started_at, ..Workload::clone(&named) })
            };
            let Some(attachment) = self.attachments.get_mut(&id) else { continue };
            attachment.started_at = Some(started_at);
            if attachment.workload.as_ref() != Some(&named) {
                attachment.workload = Some(named);
            }
            let scope = self.scopes.get(&attachment.scope);
            let endpoint =
                scope.and_then(|scope| {
                    known.record.endpoints.iter().find(|endpoint| {
                        !scope.network_id.is_empty() && endpoint.network_id == scope.network_id
                    })
                });
            // Kept after the container's end, when Docker has forgotten them.
            if let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.addresses.is_empty()) {
                attachment.addresses = endpoint.addresses.iter().map(IpAddr::to_canonical).collect();
                attachment.addresses.extend(endpoint.mac.map(link_local));
                attachment.mac = endpoint.mac;
            }
        }
    }

    /// Returns the workload of a container as it is known, the same value while nothing changes.
    pub(super) fn workload(&mut self, known: &Arc<Known>, objects: &Objects) -> Arc<Workload> {
        let record = &known.record;
        let image = objects.images.get(&record.image_id);
        let cached = self.workloads.get(&record.id);
        // It hangs on other containers and networks, so it is asked each time.
        let unobservable = unobservable(
            record,
            |endpoint| objects.networks.get(&endpoint.network_id).map_or("", |network| &network.driver),
            |owner| objects.containers.get(owner).map(|known| known.record.name.clone()),
        );
        let service =
            swarm_service(record, image.map(Arc::as_ref)).and_then(|name| objects.services.get(name));
        let is_same = |(of, with, by, named): &&Drawn| {
            Arc::ptr_eq(of, known)
                && with.as_ref().map(Arc::as_ptr) == image.map(Arc::as_ptr)
                && by.as_ref().map(Arc::as_ptr) == service.map(Arc::as_ptr)
                && named.unobservable == unobservable
        };
        if let Some((_, _, _, named)) = cached.filter(is_same) {
            return Arc::clone(named);
        }
        let started_at = record.started_at.unwrap_or_default();
        let mut named = Workload { unobservable, ..workload(record, image.map(Arc::as_ref), started_at) };
        if let Some(service) = service {
            named.documented.extend(service.ports.iter().map(|range| DocumentedPort {
                first: range.first,
                last: range.last,
                protocol: range.protocol,
                source: DocumentSource::Swarm { service: service.name.clone() },
            }));
        }
        let named = match cached {
            Some((_, _, _, earlier)) if **earlier == named => Arc::clone(earlier),
            Some(_) | None => Arc::new(named),
        };
        let entry = (Arc::clone(known), image.cloned(), service.cloned(), Arc::clone(&named));
        self.workloads.insert(record.id.clone(), entry);
        named
    }
}
