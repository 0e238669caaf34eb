//! Roles, scopes and attachments: what follows from the links alone.

use std::collections::{BTreeMap, BTreeSet};

use portolan_flowtable::{AttachmentId, MacAddr, ScopeId, Timestamp};

use super::{Attachment, Joint, MatchedBy, NAMES_KEPT, Objects, Scope, ScopeKey, SeenLink, is_link_local};
use crate::inventory::DockerNetwork;
use crate::links::Link;
use crate::subnet::Subnet;

/// Returns whether Docker names its bridges so: `docker0`, Swarm's gateway bridge, `br-` and twelve digits.
fn is_docker_bridge_name(name: &str) -> bool {
    let short = name.strip_prefix("br-").unwrap_or_default();
    let is_short_id =
        short.len() == 12 && short.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    matches!(name, "docker0" | "docker_gwbridge") || is_short_id
}

impl Joint {
    /// Gives every bridge of a container network its scope and every veth under one its attachment.
    pub(super) fn place(&mut self, objects: &Objects, now: Timestamp) {
        let by_bridge: BTreeMap<&str, &DockerNetwork> = objects
            .networks
            .values()
            .filter_map(|network| Some((network.bridge.as_deref()?, network.as_ref())))
            .collect();
        let bridges: Vec<Link> = self
            .links
            .values()
            .map(|seen| &seen.link)
            .filter(|link| link.kind == "bridge" && self.is_container_bridge(link, &by_bridge))
            .cloned()
            .collect();
        for link in &bridges {
            let Some(id) = self.scope(ScopeKey::Bridge(link.index)) else { continue };
            let own = self.host_addresses.iter().filter(|address| address.index == link.index);
            let own: Vec<_> =
                own.filter_map(|own| Some((own.address, Subnet::new(own.address, own.length)?))).collect();
            let Some(scope) = self.scopes.get_mut(&id) else { continue };
            scope.bridge = Some((link.index, link.name.clone(), link.mac));
            scope.until = None;
            if let Some(network) = by_bridge.get(link.name.as_str()) {
                network.id.clone_into(&mut scope.network_id);
                network.name.clone_into(&mut scope.name);
                scope.subnets = network.subnets.iter().copied().collect();
                scope.gateways = network.gateways.iter().copied().collect();
            } else if scope.name.is_empty() {
                link.name.clone_into(&mut scope.name);
            }
            for (address, subnet) in own.iter().filter(|(address, _)| !is_link_local(*address)) {
                scope.subnets.insert(*subnet);
                scope.gateways.insert(*address);
            }
        }
        for network in objects.networks.values() {
            let has_bridge = self.scopes.values().any(|scope| scope.network_id == network.id);
            if has_bridge || network.subnets.is_empty() {
                continue;
            }
            if let Some(scope) =
                self.scope(ScopeKey::Network(&network.id)).and_then(|id| self.scopes.get_mut(&id))
            {
                network.id.clone_into(&mut scope.network_id);
                network.name.clone_into(&mut scope.name);
                scope.subnets = network.subnets.iter().copied().collect();
                scope.gateways = network.gateways.iter().copied().collect();
                scope.until = None;
            }
        }
        // A network without a bridge ends with Docker's word; one with a bridge ends with its link.
        for scope in self.scopes.values_mut().filter(|scope| scope.bridge.is_none()) {
            if !objects.networks.contains_key(&scope.network_id) {
                scope.until.get_or_insert(now);
            }
        }
        let veths: Vec<SeenLink> =
            self.links.values().filter(|seen| seen.link.kind == "veth").cloned().collect();
        for seen in veths {
            let scope = seen.link.master.and_then(|master| self.scope_of_bridge(master));
            if let Some(scope) = scope {
                self.attach(&seen, scope, now);
            }
        }
    }

    fn is_container_bridge(&self, link: &Link, by_bridge: &BTreeMap<&str, &DockerNetwork>) -> bool {
        let name = link.name.as_str();
        is_docker_bridge_name(name) || by_bridge.contains_key(name) || self.extra_bridges.contains(name)
    }

    /// Finds or gives out a scope; `None` when all 65,535 are spent, and then its frames are foreign.
    fn scope(&mut self, key: ScopeKey<'_>) -> Option<ScopeId> {
        let is_it = |scope: &Scope| match key {
            ScopeKey::Bridge(index) => scope.bridge.as_ref().is_some_and(|(bridge, _, _)| *bridge == index),
            ScopeKey::Network(id) => scope.bridge.is_none() && scope.network_id == id,
        };
        if let Some((id, _)) = self.scopes.iter().find(|(_, scope)| is_it(scope)) {
            return Some(*id);
        }
        self.scopes_given = self.scopes_given.checked_add(1)?;
        let bridge = match key {
            ScopeKey::Bridge(index) => Some((index, String::new(), MacAddr::default())),
            ScopeKey::Network(_) => None,
        };
        self.scopes.insert(ScopeId(self.scopes_given), Scope { bridge, ..Scope::default() });
        Some(ScopeId(self.scopes_given))
    }

    fn scope_of_bridge(&self, index: u32) -> Option<ScopeId> {
        let is_it = |scope: &Scope| scope.bridge.as_ref().is_some_and(|(bridge, _, _)| *bridge == index);
        self.scopes.iter().find(|(_, scope)| is_it(scope)).map(|(id, _)| *id)
    }

    fn attach(&mut self, seen: &SeenLink, scope: ScopeId, now: Timestamp) {
        let link = &seen.link;
        let live = self.attachments.values_mut().find(|of| of.interface == link.index && of.until.is_none());
        match live {
            Some(attachment) if attachment.scope == scope => {
                if attachment.netns_id.is_some() && link.netns_id.is_none() {
                    // Docker takes the other end back before it removes both. The number may be another's at once.
                    attachment.is_vacated = true;
                } else if attachment.netns_id != link.netns_id {
                    // It became known, or the other end moved on: what was found for the old place is void,
                    // what was matched stays.
                    attachment.netns_id = link.netns_id;
                    attachment.is_vacated = false;
                    attachment.searches = 0;
                    attachment.searched_at = Timestamp(i64::MIN);
                    attachment.candidates.clear();
                }
                attachment.peer = link.peer;
                return;
            }
            // Moved to another bridge: another attachment.
            Some(attachment) => attachment.until = Some(now),
            None => {}
        }
        let Some(number) = self.attachments_given.checked_add(1) else { return };
        self.attachments_given = number;
        let attachment = Attachment {
            interface: link.index,
            scope,
            peer: link.peer,
            netns_id: link.netns_id,
            is_vacated: false,
            is_fresh: seen.is_fresh,
            from: seen.since,
            until: None,
            container: None,
            candidates: BTreeSet::new(),
            candidates_by: MatchedBy::NetnsId,
            searches: 0,
            searched_at: Timestamp(i64::MIN),
            searched_change: 0,
            started_at: None,
            workload: None,
            addresses: BTreeSet::new(),
            mac: None,
        };
        self.attachments.insert(AttachmentId(number), attachment);
    }

    /// Ends what hung on links that are there no more.
    pub(super) fn end_departed(&mut self, now: Timestamp) {
        let links = &self.links;
        for attachment in self.attachments.values_mut().filter(|of| !links.contains_key(&of.interface)) {
            attachment.until.get_or_insert(now);
        }
        for scope in self.scopes.values_mut() {
            if scope.bridge.as_ref().is_some_and(|(index, _, _)| !links.contains_key(index)) {
                scope.until.get_or_insert(now);
            }
        }
    }

    /// Forgets what ended long enough ago.
    pub(super) fn forget(&mut self, now: Timestamp) {
        let is_kept = |until: &Option<Timestamp>| until.is_none_or(|until| now.since(until) < NAMES_KEPT);
        self.attachments.retain(|_, attachment| is_kept(&attachment.until));
        self.scopes.retain(|_, scope| is_kept(&scope.until));
    }
}
