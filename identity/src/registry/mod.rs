//! The live roster: joins links, namespaces and Docker's answers into pictures.
//!
//! Links give roles at once; Docker's answers come later, in any order, more than once or never. The join keeps to
//! three rules: an attachment begins with its link and ends with it; it is matched to a container by namespace alone
//! and once for all; and a record of a container may name an attachment only if it was taken while that attachment
//! was there, or if no better one comes.

mod draw;
mod name;
mod place;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use portolan_flowtable::indicators::Round;
use portolan_flowtable::lifecycle::{Change, Happening};
use portolan_flowtable::{AttachmentId, InterfaceEntry, Listening, MacAddr, ScopeId, Timestamp, Workload};
use tokio::sync::watch;

use crate::inventory::{Container, DockerNetwork, Image, SwarmService};
use crate::lifecycle::LifecycleLog;
use crate::links::{Link, LinkAddress, LinkPicture};
use crate::listening::{ListeningPlace, Seen};
use crate::namespaces::{HostNamespaces, Namespaces, Whereabouts};
use crate::naming::{documented, workload};
use crate::picture::{DockerState, Picture};
use crate::subnet::Subnet;

/// How long an interface's role and its addresses outlive it: frames may still wait in the ring.
const LATE_FRAMES: i64 = 30 * Timestamp::SECOND;
/// How long names outlive their container: conversations are published later than they happen.
const NAMES_KEPT: i64 = 60 * Timestamp::SECOND;
/// How long a container that ended is still listed, and its series live: with a scrape every 15 s they are stale in
/// Prometheus within a minute. Its attachment keeps its name for longer: a late frame is nobody else's.
const LISTED: i64 = 40 * Timestamp::SECOND;
/// How long a veth may be without a bridge before it is taken for foreign: Docker enslaves it within milliseconds.
const ENSLAVED_WITHIN: i64 = 2 * Timestamp::SECOND;
/// How long an attachment waits for a record of its own start before an earlier or poorer one names it.
const NAMED_WITHIN: i64 = 2 * Timestamp::SECOND;
/// Pause between searches for the container of one attachment, while Docker says nothing new, and how many there are.
const SEARCH_AGAIN: i64 = 250 * Timestamp::MILLISECOND;
const SEARCHES_MAX: u32 = SEARCHES_SOON + 20;
/// The same for the first few: a namespace has a number some time before its interface and the container's name can be
/// read of its processes, and these may not live long.
const SEARCH_SOON: i64 = 20 * Timestamp::MILLISECOND;
const SEARCHES_SOON: u32 = 20;
/// How long after its end a container's namespace is still looked for: Docker tells of the end before it is taken down.
const ENDED_ASKED: i64 = Timestamp::SECOND;
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
        self.ended_at.map_or(self.record.is_running, |ended| now.since(ended) < LISTED)
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
    /// Whether its other end has left the container's namespace: the container is ending, and what was seen in its
    /// namespace is all there will be.
    is_vacated: bool,
    is_fresh: bool,
    from: Timestamp,
    until: Option<Timestamp>,
    container: Option<(String, MatchedBy)>,
    /// Containers whose processes were seen in its namespace, and how that was told.
    candidates: BTreeSet<String>,
    candidates_by: MatchedBy,
    searches: u32,
    searched_at: Timestamp,
    searched_change: u64,
    /// Settled with the first name: the generation's key must not move.
    started_at: Option<Timestamp>,
    workload: Option<Arc<Workload>>,
    addresses: BTreeSet<IpAddr>,
    /// Its own end's hardware address, by Docker's word.
    mac: Option<MacAddr>,
}

impl Attachment {
    /// Returns whether a container may still be looked for behind it.
    fn is_inhabited(&self) -> bool {
        self.until.is_none() && !self.is_vacated
    }
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
    /// Services of the swarm by name, where the engine is a manager of one.
    services: DashMap<String, Arc<SwarmService>>,
    joint: Mutex<Joint>,
    lifecycle: Mutex<LifecycleLog>,
    /// The latest round of readings, until somebody takes it.
    indicators: Mutex<Option<Round>>,
    picture: watch::Sender<Arc<Picture>>,
}

impl std::fmt::Debug for RosterBook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RosterBook").field("containers", &self.containers.len()).finish_non_exhaustive()
    }
}

/// A workload and what it was made of.
type Drawn = (Arc<Known>, Option<Arc<Image>>, Option<Arc<SwarmService>>, Arc<Workload>);

/// What only the join touches.
struct Joint {
    namespaces: Box<dyn Namespaces>,
    extra_bridges: BTreeSet<String>,
    has_links: bool,
    has_published: bool,
    links: BTreeMap<u32, SeenLink>,
    /// Names of all links that have a row, those that are gone included.
    link_names: BTreeMap<u32, String>,
    host_addresses: BTreeSet<LinkAddress>,
    attachments: BTreeMap<AttachmentId, Attachment>,
    scopes: BTreeMap<ScopeId, Scope>,
    attachments_given: u32,
    scopes_given: u16,
    netns_ids: BTreeMap<String, (Whereabouts, i32)>,
    workloads: BTreeMap<String, Drawn>,
    /// What listens in each running container, by its id.
    listening: BTreeMap<String, Listening>,
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
            link_names: BTreeMap::new(),
            host_addresses: BTreeSet::new(),
            attachments: BTreeMap::new(),
            scopes: BTreeMap::new(),
            attachments_given: 0,
            scopes_given: 0,
            netns_ids: BTreeMap::new(),
            workloads: BTreeMap::new(),
            listening: BTreeMap::new(),
            docker_changes: 0,
            epoch: 0,
            answers: Answers::default(),
            docker: DockerState::default(),
        };
        Self {
            containers: DashMap::new(),
            networks: DashMap::new(),
            images: DashMap::new(),
            services: DashMap::new(),
            joint: Mutex::new(joint),
            lifecycle: Mutex::default(),
            indicators: Mutex::default(),
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
            joint.link_names.insert(link.index, link.name.clone());
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

    /// Notes something that happened to a container, with what is known of it by now.
    pub(crate) fn happened(
        &self,
        id: &str,
        attributes: &HashMap<String, String>,
        change: Change,
        at: Timestamp,
    ) {
        let record = match self.container(id) {
            Some(known) => known.record.clone(),
            None => from_event(id, attributes),
        };
        let image = self.images.get(&record.image_id).map(|image| Arc::clone(&image));
        let named = workload(&record, image.as_deref(), at);
        let happening = Happening {
            at,
            container_id: id.to_owned(),
            container: record.name,
            service: named.qualified(),
            image: named.image,
            change,
            times: 1,
        };
        self.lifecycle.lock().unwrap_or_else(PoisonError::into_inner).note(happening);
    }

    /// Takes what happened to containers since the last time, oldest first, and how many were left out: at most 512
    /// wait.
    pub fn take_happenings(&self, now: Timestamp) -> (Vec<Happening>, u64) {
        self.lifecycle.lock().unwrap_or_else(PoisonError::into_inner).take(now)
    }

    /// Returns the containers that run, by id, with what is known of them.
    pub(crate) fn running(&self) -> BTreeMap<String, Arc<Workload>> {
        let ids = self.containers.iter().filter(|known| known.record.is_running && known.ended_at.is_none());
        let ids: Vec<String> = ids.map(|known| known.key().clone()).collect();
        let joint = self.joint();
        let named = |id: String| Some((id.clone(), Arc::clone(&joint.workloads.get(&id)?.3)));
        ids.into_iter().filter_map(named).collect()
    }

    /// Takes over a round of readings; one nobody took makes room for it.
    pub(crate) fn indicators_seen(&self, round: Round) {
        *self.indicators.lock().unwrap_or_else(PoisonError::into_inner) = Some(round);
    }

    /// Takes what containers use, once: `None` where no round ended since the last time.
    pub fn take_indicators(&self) -> Option<Round> {
        self.indicators.lock().unwrap_or_else(PoisonError::into_inner).take()
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

    /// Takes over all services of the swarm; none where the engine manages none.
    pub(crate) fn services_seen(&self, services: Vec<SwarmService>, now: Timestamp) {
        let names: BTreeSet<&String> = services.iter().map(|service| &service.name).collect();
        let is_same = |service: &SwarmService| {
            self.services.get(&service.name).is_some_and(|known| known.value().as_ref() == service)
        };
        if names.len() == self.services.len() && services.iter().all(is_same) {
            return;
        }
        self.services.retain(|name, _| names.contains(name));
        for service in services.into_iter().take(OBJECTS_MAX) {
            self.services.insert(service.name.clone(), Arc::new(service));
        }
        self.docker_changed(now);
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

    /// Looks again for containers whose processes may not be there for long.
    pub(crate) fn search_again(&self, now: Timestamp) {
        let mut joint = self.joint();
        if joint.is_searching(now) {
            let objects = self.objects();
            joint.place(&objects, now);
            self.publish(&mut joint, &objects, now);
        }
    }

    /// Returns where to look for what listens in each running container.
    pub(crate) fn listening_places(&self) -> Vec<ListeningPlace> {
        let known: Vec<_> = self.containers.iter().map(|entry| Arc::clone(entry.value())).collect();
        let running = known.iter().filter(|known| known.record.is_running && known.record.is_inspected);
        running.filter_map(|known| ListeningPlace::of(&known.record)).collect()
    }

    /// Takes over what was seen to listen in each running container, all of them.
    pub(crate) fn listening_seen(&self, seen: Vec<(String, Seen)>, now: Timestamp) {
        let objects = self.objects();
        let mut joint = self.joint();
        let before = std::mem::take(&mut joint.listening);
        for (id, seen) in seen {
            let Some(known) = objects.containers.get(&id) else { continue };
            let image = objects.images.get(&known.record.image_id);
            let documented = documented(&known.record, image.map(Arc::as_ref));
            let listening = seen.since(before.get(&id), &documented, now);
            joint.listening.insert(id, listening);
        }
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
        let services = self.services.iter().map(|entry| (entry.key().clone(), Arc::clone(entry.value())));
        Objects {
            containers: containers.collect(),
            networks: networks.collect(),
            images: images.collect(),
            services: services.collect(),
        }
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
        && picture.interface_names == before.interface_names
        && picture.counts == before.counts
        && picture.docker == before.docker
        && names.stale == earlier.stale
        && names.attachments == earlier.attachments
        && names.workloads == earlier.workloads
        && names.listening == earlier.listening
        && names.addresses == earlier.addresses
        && names.scopes == earlier.scopes
        && names.published == earlier.published
        && names.host_addresses == earlier.host_addresses
}

struct Objects {
    containers: BTreeMap<String, Arc<Known>>,
    networks: BTreeMap<String, Arc<DockerNetwork>>,
    images: BTreeMap<String, Arc<Image>>,
    services: BTreeMap<String, Arc<SwarmService>>,
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

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
