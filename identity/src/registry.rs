//! The live roster: joins links, namespaces and Docker's answers into pictures.
//!
//! Links give roles at once; Docker's answers come later, in any order, more than once or never. The join keeps to
//! three rules: an attachment begins with its link and ends with it; it is matched to a container by namespace alone
//! and once for all; and a record of a container may name an attachment only if it was taken while that attachment
//! was there, or if no better one comes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use portolan_flowtable::workload::Binding;
use portolan_flowtable::{
    AttachmentId, InterfaceEntry, InterfaceId, InterfaceTable, MacAddr, Names, PublishedPort, Role, ScopeId,
    Timestamp, Workload,
};
use tokio::sync::watch;

use crate::directory::{RosterDirectory, ScopeAddresses, link_local};
use crate::inventory::{Container, DockerNetwork, Image, unobservable};
use crate::links::{Link, LinkAddress, LinkPicture};
use crate::namespaces::{HostNamespaces, Namespaces, Whereabouts};
use crate::naming::{published, workload};
use crate::picture::{Counts, DockerState, Picture};
use crate::subnet::Subnet;

/// How long an interface's role and its addresses outlive it: frames may still wait in the ring.
const LATE_FRAMES: i64 = 30 * Timestamp::SECOND;
/// How long names outlive their container: conversations are published later than they happen.
const NAMES_KEPT: i64 = 60 * Timestamp::SECOND;
/// How long a veth may be without a bridge before it is taken for foreign: Docker enslaves it within milliseconds.
const ENSLAVED_WITHIN: i64 = 2 * Timestamp::SECOND;
/// How long an attachment waits for a record of its own start before an earlier or poorer one names it.
const NAMED_WITHIN: i64 = 2 * Timestamp::SECOND;
/// Pause between searches for the container of one attachment, while Docker says nothing new, and how many there are.
const SEARCH_AGAIN: i64 = 250 * Timestamp::MILLISECOND;
const SEARCHES_MAX: u32 = 20;
/// Most containers, networks and images kept. A host that runs more is named incompletely, and says so.
const OBJECTS_MAX: usize = 100_000;

/// What is known of one container. Replaced whole.
#[derive(Clone, Debug, Default)]
struct Known {
    record: Container,
    /// When the record was asked for; an event's own time where there is nothing else.
    taken_at: Timestamp,
    /// When it ended, as far as is known.
    ended_at: Option<Timestamp>,
    /// Whether Docker has it no more.
    is_removed: bool,
}

impl Known {
    fn whereabouts(&self) -> Option<Whereabouts> {
        let record = &self.record;
        let of = Whereabouts { sandbox: record.sandbox.clone(), pid: record.pid };
        let is_its_own =
            !matches!(record.network_mode.as_str(), "host" | "none") && !record.shares_a_network();
        (is_its_own && (!of.sandbox.is_empty() || of.pid > 0)).then_some(of)
    }

    fn is_current(&self, now: Timestamp) -> bool {
        self.ended_at.map_or(self.record.is_running, |ended| now.since(ended) < NAMES_KEPT)
    }
}

/// How an attachment was matched.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum MatchedBy {
    NetnsId,
    InterfaceIndex,
}

/// A container's veth during one life of it.
#[derive(Clone, Debug)]
struct Attachment {
    interface: u32,
    scope: ScopeId,
    peer: Option<u32>,
    netns_id: Option<i32>,
    is_fresh: bool,
    from: Timestamp,
    until: Option<Timestamp>,
    container: Option<(String, MatchedBy)>,
    /// Containers whose processes were seen in its namespace.
    candidates: BTreeSet<String>,
    searches: u32,
    searched_at: Timestamp,
    searched_change: u64,
    /// Settled with the first name: the generation's key must not move.
    started_at: Option<Timestamp>,
    workload: Option<Arc<Workload>>,
    addresses: BTreeSet<IpAddr>,
}

#[derive(Clone, Debug)]
struct SeenLink {
    link: Link,
    since: Timestamp,
    is_fresh: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ScopeKey<'a> {
    Bridge(u32),
    Network(&'a str),
}

#[derive(Clone, Debug, Default)]
struct Scope {
    /// The bridge's link, for networks that have one.
    bridge: Option<(u32, String, MacAddr)>,
    network_id: String,
    name: String,
    subnets: BTreeSet<Subnet>,
    gateways: BTreeSet<IpAddr>,
    until: Option<Timestamp>,
}

/// The roster's shared book: written by the followers of links and Docker, read as [`Picture`]s.
///
/// Docker's objects lie in concurrent maps that many answers write at once; no guard of theirs is ever held while
/// another map or the join is touched.
pub struct RosterBook {
    containers: DashMap<String, Arc<Known>>,
    networks: DashMap<String, Arc<DockerNetwork>>,
    images: DashMap<String, Arc<Image>>,
    joint: Mutex<Joint>,
    picture: watch::Sender<Arc<Picture>>,
}

impl std::fmt::Debug for RosterBook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RosterBook").field("containers", &self.containers.len()).finish_non_exhaustive()
    }
}

/// A workload and what it was made of.
type Drawn = (Arc<Known>, Option<Arc<Image>>, Arc<Workload>);

/// What only the join touches.
struct Joint {
    namespaces: Box<dyn Namespaces>,
    extra_bridges: BTreeSet<String>,
    has_links: bool,
    has_published: bool,
    links: BTreeMap<u32, SeenLink>,
    host_addresses: BTreeSet<LinkAddress>,
    attachments: BTreeMap<AttachmentId, Attachment>,
    scopes: BTreeMap<ScopeId, Scope>,
    attachments_given: u32,
    scopes_given: u16,
    netns_ids: BTreeMap<String, (Whereabouts, i32)>,
    workloads: BTreeMap<String, Drawn>,
    /// Counts what Docker said that was new.
    docker_changes: u64,
    epoch: u16,
    answers: Answers,
    docker: DockerState,
}

/// What the data plane's answers are made of; compared to know whether the epoch has to move.
#[derive(Clone, Debug, Default, PartialEq)]
struct Answers {
    interfaces: BTreeMap<u32, InterfaceEntry>,
    scopes: BTreeMap<ScopeId, (BTreeSet<Subnet>, BTreeSet<IpAddr>)>,
    held: BTreeSet<(ScopeId, IpAddr, AttachmentId)>,
    host_addresses: BTreeSet<IpAddr>,
    workloads: BTreeMap<AttachmentId, Arc<Workload>>,
}

impl RosterBook {
    /// Builds an empty book. `extra_bridges` names bridges besides Docker's whose veths are containers';
    /// `proc_root` is where the host's `/proc` is mounted.
    pub fn new(extra_bridges: &[String], proc_root: &Path) -> Arc<Self> {
        Arc::new(Self::with_namespaces(extra_bridges, Box::new(HostNamespaces::new(proc_root))))
    }

    fn with_namespaces(extra_bridges: &[String], namespaces: Box<dyn Namespaces>) -> Self {
        let joint = Joint {
            namespaces,
            extra_bridges: extra_bridges.iter().cloned().collect(),
            has_links: false,
            has_published: false,
            links: BTreeMap::new(),
            host_addresses: BTreeSet::new(),
            attachments: BTreeMap::new(),
            scopes: BTreeMap::new(),
            attachments_given: 0,
            scopes_given: 0,
            netns_ids: BTreeMap::new(),
            workloads: BTreeMap::new(),
            docker_changes: 0,
            epoch: 0,
            answers: Answers::default(),
            docker: DockerState::default(),
        };
        Self {
            containers: DashMap::new(),
            networks: DashMap::new(),
            images: DashMap::new(),
            joint: Mutex::new(joint),
            picture: watch::Sender::new(Arc::new(Picture::default())),
        }
    }

    /// Returns the latest picture.
    pub fn picture(&self) -> Arc<Picture> {
        Arc::clone(&self.picture.borrow())
    }

    /// Returns a receiver that is told of every new picture.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Picture>> {
        self.picture.subscribe()
    }

    fn joint(&self) -> MutexGuard<'_, Joint> {
        // A panic elsewhere leaves a picture that is at worst old; the next join mends it.
        self.joint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over the links as they are.
    pub(crate) fn links_changed(&self, picture: &LinkPicture, now: Timestamp) {
        let mut joint = self.joint();
        let is_fresh = joint.has_links;
        joint.has_links = true;
        // Links that came and went between two pictures carried frames all the same.
        let departed = picture.departed.iter().filter(|link| !picture.links.contains_key(&link.index));
        for link in departed.chain(picture.links.values()) {
            let seen = SeenLink { link: link.clone(), since: now, is_fresh };
            let known = joint.links.entry(link.index).or_insert(seen);
            known.link.clone_from(link);
        }
        joint.host_addresses.clone_from(&picture.addresses);
        let objects = self.objects();
        joint.place(&objects, now);
        joint.links.retain(|index, _| picture.links.contains_key(index));
        joint.end_departed(now);
        self.publish(&mut joint, &objects, now);
    }

    /// Takes over a container's `inspect` answer, asked for at `taken_at`.
    pub(crate) fn container_inspected(&self, record: Container, taken_at: Timestamp, now: Timestamp) {
        let earlier = self.container(&record.id);
        if earlier.as_ref().is_some_and(|known| known.record.is_inspected && known.taken_at > taken_at) {
            return;
        }
        let ended_at = match (record.is_running, &earlier) {
            (true, _) => None,
            (false, Some(known)) if known.ended_at.is_some() => known.ended_at,
            (false, _) => record.finished_at,
        };
        self.keep(Known { record, taken_at, ended_at, is_removed: false });
        self.docker_changed(now);
    }

    /// Takes over what an event says about a container, for want of anything better.
    pub(crate) fn container_mentioned(
        &self,
        id: &str,
        attributes: &HashMap<String, String>,
        action: &str,
        at: Timestamp,
        now: Timestamp,
    ) {
        let earlier = self.container(id);
        let mut known = earlier.as_deref().cloned().unwrap_or_else(|| Known {
            record: from_event(id, attributes),
            taken_at: at,
            ended_at: None,
            is_removed: false,
        });
        match action {
            "start" | "restart" | "unpause" => {
                known.record.is_running = true;
                known.ended_at = None;
                if !known.record.is_inspected {
                    known.record.started_at.get_or_insert(at);
                }
            }
            "die" | "destroy" => {
                known.record.is_running = false;
                known.ended_at.get_or_insert(at);
                known.is_removed |= action == "destroy";
            }
            "rename" => {
                if let Some(name) = attributes.get("name") {
                    name.trim_start_matches('/').clone_into(&mut known.record.name);
                }
            }
            _ => {}
        }
        self.keep(known);
        self.docker_changed(now);
    }

    /// Notes that Docker has this container no more.
    pub(crate) fn container_gone(&self, id: &str, now: Timestamp) {
        if let Some(known) = self.container(id) {
            let mut known = Known::clone(&known);
            known.record.is_running = false;
            known.is_removed = true;
            known.ended_at.get_or_insert(now);
            self.keep(known);
            self.docker_changed(now);
        }
    }

    /// Takes over a full list of networks, or of one.
    pub(crate) fn networks_seen(&self, networks: Vec<DockerNetwork>, is_full: bool, now: Timestamp) {
        if is_full {
            let listed: BTreeSet<_> = networks.iter().map(|network| network.id.clone()).collect();
            self.networks.retain(|id, _| listed.contains(id));
        }
        for network in networks {
            if self.networks.len() < OBJECTS_MAX || self.networks.contains_key(&network.id) {
                self.networks.insert(network.id.clone(), Arc::new(network));
            }
        }
        self.docker_changed(now);
    }

    /// Notes that Docker has this network no more.
    pub(crate) fn network_gone(&self, id: &str, now: Timestamp) {
        self.networks.remove(id);
        self.docker_changed(now);
    }

    /// Takes over an image. Images do not change, so what is known need not be asked again.
    pub(crate) fn image_seen(&self, image: Image) {
        if self.images.len() < OBJECTS_MAX {
            self.images.insert(image.id.clone(), Arc::new(image));
        }
    }

    /// Returns whether an image is known already.
    pub(crate) fn knows_image(&self, id: &str) -> bool {
        self.images.contains_key(id)
    }

    /// Notes a full listing: what is not in it, is gone. `asked_at` protects what came after the question.
    pub(crate) fn listed(&self, listed: &BTreeSet<String>, asked_at: Timestamp, now: Timestamp) {
        let known: Vec<_> = self.containers.iter().map(|entry| Arc::clone(entry.value())).collect();
        for known in known {
            if !listed.contains(&known.record.id) && known.taken_at < asked_at && !known.is_removed {
                self.container_gone(&known.record.id, now);
            }
        }
        let in_use: BTreeSet<String> =
            self.containers.iter().map(|entry| entry.value().record.image_id.clone()).collect();
        self.images.retain(|id, _| in_use.contains(id));
        {
            let mut joint = self.joint();
            joint.docker.lists += 1;
            joint.docker.is_listed = true;
            joint.docker.stale = None;
            joint.docker.stale_since = None;
        }
        self.docker_changed(now);
    }

    /// Changes how Docker is doing.
    pub(crate) fn docker(&self, change: impl FnOnce(&mut DockerState), now: Timestamp) {
        let mut joint = self.joint();
        change(&mut joint.docker);
        let objects = self.objects();
        self.publish(&mut joint, &objects, now);
    }

    /// Counts an event.
    pub(crate) fn event_seen(&self) {
        self.joint().docker.events += 1;
    }

    /// Goes on with what waits for time to pass: searches, late names, forgetting.
    pub(crate) fn pass_time(&self, now: Timestamp) {
        let mut joint = self.joint();
        joint.forget(now);
        for known in self.containers.iter().map(|entry| Arc::clone(entry.value())).collect::<Vec<_>>() {
            let is_over = known.ended_at.is_some_and(|ended| now.since(ended) >= NAMES_KEPT);
            if known.is_removed && is_over {
                self.containers.remove(&known.record.id);
            }
        }
        let objects = self.objects();
        joint.place(&objects, now);
        self.publish(&mut joint, &objects, now);
    }

    fn docker_changed(&self, now: Timestamp) {
        let mut joint = self.joint();
        joint.docker_changes += 1;
        let objects = self.objects();
        joint.place(&objects, now);
        self.publish(&mut joint, &objects, now);
    }

    fn container(&self, id: &str) -> Option<Arc<Known>> {
        self.containers.get(id).map(|entry| Arc::clone(entry.value()))
    }

    fn keep(&self, known: Known) {
        if self.containers.len() < OBJECTS_MAX || self.containers.contains_key(&known.record.id) {
            self.containers.insert(known.record.id.clone(), Arc::new(known));
        }
    }

    /// Copies the maps' handles out, in the order of ids, so that no guard is held during the join.
    fn objects(&self) -> Objects {
        let containers = self.containers.iter().map(|entry| (entry.key().clone(), Arc::clone(entry.value())));
        let networks = self.networks.iter().map(|entry| (entry.key().clone(), Arc::clone(entry.value())));
        let images = self.images.iter().map(|entry| (entry.key().clone(), Arc::clone(entry.value())));
        Objects { containers: containers.collect(), networks: networks.collect(), images: images.collect() }
    }

    fn publish(&self, joint: &mut Joint, objects: &Objects, now: Timestamp) {
        joint.match_up(objects, now);
        joint.name(objects, now);
        let before = self.picture();
        let picture = joint.draw(objects, &before, now);
        // Time passes four times a second; readers are woken only where it brought something.
        if joint.has_published && is_same(&picture, &before) {
            return;
        }
        joint.has_published = true;
        self.picture.send_replace(Arc::new(picture));
    }
}

fn is_same(picture: &Picture, before: &Picture) -> bool {
    let (names, earlier) = (&picture.names, &before.names);
    picture.epoch == before.epoch
        && picture.counts == before.counts
        && picture.docker == before.docker
        && names.stale == earlier.stale
        && names.attachments == earlier.attachments
        && names.workloads == earlier.workloads
        && names.addresses == earlier.addresses
        && names.scopes == earlier.scopes
        && names.published == earlier.published
        && names.host_addresses == earlier.host_addresses
}

struct Objects {
    containers: BTreeMap<String, Arc<Known>>,
    networks: BTreeMap<String, Arc<DockerNetwork>>,
    images: BTreeMap<String, Arc<Image>>,
}

/// Attributes of a container event that are Docker's own; all others are the container's labels.
const NOT_LABELS: [&str; 8] =
    ["name", "image", "oldName", "exitCode", "signal", "execID", "execDuration", "comment"];

fn from_event(id: &str, attributes: &HashMap<String, String>) -> Container {
    let get = |key: &str| attributes.get(key).cloned().unwrap_or_default();
    let labels = attributes.iter().filter(|(key, _)| !NOT_LABELS.contains(&key.as_str()));
    Container {
        id: id.to_owned(),
        name: get("name"),
        image: get("image"),
        labels: labels.map(|(key, value)| (key.clone(), value.clone())).collect(),
        ..Container::default()
    }
}

/// Returns whether Docker names its bridges so: `docker0`, Swarm's gateway bridge, `br-` and twelve digits.
fn is_docker_bridge_name(name: &str) -> bool {
    let short = name.strip_prefix("br-").unwrap_or_default();
    let is_short_id =
        short.len() == 12 && short.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    matches!(name, "docker0" | "docker_gwbridge") || is_short_id
}

impl Joint {
    /// Gives every bridge of a container network its scope and every veth under one its attachment.
    fn place(&mut self, objects: &Objects, now: Timestamp) {
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
                if attachment.netns_id != link.netns_id {
                    // It became known, or the other end moved on: what was found for the old place is void,
                    // what was matched stays.
                    attachment.netns_id = link.netns_id;
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
            is_fresh: seen.is_fresh,
            from: seen.since,
            until: None,
            container: None,
            candidates: BTreeSet::new(),
            searches: 0,
            searched_at: Timestamp(i64::MIN),
            searched_change: 0,
            started_at: None,
            workload: None,
            addresses: BTreeSet::new(),
        };
        self.attachments.insert(AttachmentId(number), attachment);
    }

    /// Ends what hung on links that are there no more.
    fn end_departed(&mut self, now: Timestamp) {
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
    fn forget(&mut self, now: Timestamp) {
        let is_kept = |until: &Option<Timestamp>| until.is_none_or(|until| now.since(until) < NAMES_KEPT);
        self.attachments.retain(|_, attachment| is_kept(&attachment.until));
        self.scopes.retain(|_, scope| is_kept(&scope.until));
    }

    /// Looks for the container of every attachment that has none yet.
    fn match_up(&mut self, objects: &Objects, now: Timestamp) {
        let ids: Vec<_> = self.attachments.iter().filter(|(_, of)| of.container.is_none()).collect();
        let ids: Vec<_> = ids.into_iter().map(|(id, _)| *id).collect();
        for id in ids {
            let Some(attachment) = self.attachments.get(&id) else { continue };
            let is_new = attachment.searched_change != self.docker_changes || attachment.searches == 0;
            let is_due =
                attachment.searches < SEARCHES_MAX && now.since(attachment.searched_at) >= SEARCH_AGAIN;
            if !is_new && !is_due {
                continue;
            }
            let mut attachment = attachment.clone();
            attachment.container = self.search(&mut attachment, is_due, objects);
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
    ) -> Option<(String, MatchedBy)> {
        let netns_id = attachment.netns_id?;
        // A dead veth's number may be another container's by this time: only what was seen while it lived counts.
        let mut unanswered: Vec<(&String, Whereabouts)> = Vec::new();
        if attachment.until.is_none() {
            let mut running: Vec<_> = objects.containers.values().collect();
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
            }
        }
        let owner =
            |id: &&String| objects.containers.get(*id).is_some_and(|known| !known.record.shares_a_network());
        let mut owners = attachment.candidates.iter().filter(owner);
        if let (Some(id), None) = (owners.next(), owners.next()) {
            return Some((id.clone(), MatchedBy::NetnsId));
        }
        self.search_by_index(attachment, &unanswered)
    }

    /// Without the privilege to ask for namespaces: the index of the container's own end, where it is unmistakable.
    fn search_by_index(
        &mut self,
        attachment: &Attachment,
        unanswered: &[(&String, Whereabouts)],
    ) -> Option<(String, MatchedBy)> {
        let peer = attachment.peer?;
        let is_twin = |of: &&Attachment| of.until.is_none() && of.peer == Some(peer);
        if self.attachments.values().filter(is_twin).count() > 1 {
            return None;
        }
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

    /// Gives attachments their workloads and addresses.
    fn name(&mut self, objects: &Objects, now: Timestamp) {
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
            }
        }
    }

    /// Returns the workload of a container as it is known, the same value while nothing changes.
    fn workload(&mut self, known: &Arc<Known>, objects: &Objects) -> Arc<Workload> {
        let record = &known.record;
        let image = objects.images.get(&record.image_id);
        let cached = self.workloads.get(&record.id);
        // It hangs on other containers and networks, so it is asked each time.
        let unobservable = unobservable(
            record,
            |endpoint| objects.networks.get(&endpoint.network_id).map_or("", |network| &network.driver),
            |owner| objects.containers.get(owner).map(|known| known.record.name.clone()),
        );
        let is_same = |(of, with, named): &&Drawn| {
            Arc::ptr_eq(of, known)
                && with.as_ref().map(Arc::as_ptr) == image.map(Arc::as_ptr)
                && named.unobservable == unobservable
        };
        if let Some((_, _, named)) = cached.filter(is_same) {
            return Arc::clone(named);
        }
        let started_at = record.started_at.unwrap_or_default();
        let named = Workload { unobservable, ..workload(record, image.map(Arc::as_ref), started_at) };
        let named = match cached {
            Some((_, _, earlier)) if **earlier == named => Arc::clone(earlier),
            Some(_) | None => Arc::new(named),
        };
        let entry = (Arc::clone(known), image.cloned(), Arc::clone(&named));
        self.workloads.insert(record.id.clone(), entry);
        named
    }

    fn draw(&mut self, objects: &Objects, before: &Picture, now: Timestamp) -> Picture {
        self.workloads.retain(|id, _| objects.containers.contains_key(id));
        self.netns_ids.retain(|id, _| objects.containers.contains_key(id));
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
        Picture {
            interfaces,
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
            // An ended one answers until another takes its place.
            if let Some(last) = held.last().filter(|binding| is_recent(binding.until)) {
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
                    mac: MacAddr::default(),
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
        (names, counts)
    }

    /// The value by which a container's newest attachment goes, so that both lists hold the same generation.
    fn named_as(&self, id: &str) -> Option<Arc<Workload>> {
        let is_its = |of: &&Attachment| of.container.as_ref().is_some_and(|(container, _)| container == id);
        let newest = self.attachments.values().rev().filter(is_its).find(|of| of.workload.is_some())?;
        newest.workload.clone()
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
