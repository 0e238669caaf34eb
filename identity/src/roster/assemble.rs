//! Joins roster files into one picture of who held what, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use portolan_flowtable::workload::Binding;
use portolan_flowtable::{
    AttachmentId, DocumentSource, DocumentedPort, InterfaceEntry, MacAddr, Names, Provenance, Role, ScopeId,
    Timestamp, Workload,
};

use super::written::{AddressRow, InterfaceRow};
use super::{Roster, RosterFile, RosterInterface};
use crate::directory::{ScopeAddresses, link_local};
use crate::inventory::{Container, DockerNetwork, Endpoint, Image, unobservable};
use crate::naming::{published, repository, workload};
use crate::picture::Counts;
use crate::subnet::Subnet;

const ALWAYS: Timestamp = Timestamp(i64::MIN);
/// How long before Docker's StartedAt a container may already hold its addresses: the veth is up and the first
/// connection may be over before Docker notes the start.
const UP_BEFORE_START: i64 = 2 * Timestamp::SECOND;
/// Network of address rows that name none and lie in no known subnet.
const UNSTATED: &str = "roster";

/// One container network of the roster.
#[derive(Clone, Debug, Default)]
struct Scope {
    /// Docker's id; empty for a network known by name only.
    id: String,
    name: String,
    driver: String,
    subnets: BTreeSet<Subnet>,
    gateways: BTreeSet<IpAddr>,
}

/// One container generation of the roster, and what address rows add to it.
#[derive(Clone, Debug, Default)]
struct Member {
    container: Container,
    until: Option<Timestamp>,
    rows: Vec<AddressRow>,
    /// Whether only a TOML roster knows it.
    is_written: bool,
}

impl Member {
    fn is_called(&self, name: &str) -> bool {
        let id = &self.container.id;
        self.container.name == name || id == name || (name.len() >= 12 && id.starts_with(name))
    }
}

pub(super) fn assemble(files: Vec<RosterFile>) -> Roster {
    let mut networks: Vec<DockerNetwork> = Vec::new();
    let mut containers: Vec<Container> = Vec::new();
    let mut images: Vec<Image> = Vec::new();
    let mut notes = Vec::new();
    let mut written = Vec::new();
    for file in files {
        networks.extend(file.networks);
        containers.extend(file.containers);
        images.extend(file.images);
        notes.extend(file.notes);
        written.push(file.written);
    }
    let mut members = generations(containers, &networks);
    let mut scopes = Scopes::default();
    for network in &networks {
        scopes.add(&network.id, &network.name, &network.driver, &network.subnets, &network.gateways);
    }
    for endpoint in members.iter().flat_map(|member| &member.container.endpoints) {
        scopes.add(&endpoint.network_id, &endpoint.network, "", &endpoint.subnets, &endpoint.gateways);
    }
    for row in written.iter().flat_map(|file| &file.networks) {
        scopes.add("", &row.name, "", &row.subnets, &row.gateways);
    }
    for row in written.iter().flat_map(|file| &file.addresses) {
        place_row(row, &mut members, &mut scopes);
    }
    let interfaces: Vec<_> = written.iter().flat_map(|file| &file.interfaces).collect();
    for network in interfaces.iter().filter_map(|row| row.network.as_ref()) {
        scopes.add("", network, "", &[], &[]);
    }
    for row in &interfaces {
        let named = row.container.as_ref().filter(|_| row.role == Role::Container);
        let is_known = |name: &&String| members.iter().any(|member| member.is_called(name));
        if let Some(name) = named.filter(|name| !is_known(name)) {
            members.push(written_member(name, name));
        }
    }
    let host_addresses = written.iter().flat_map(|file| &file.host_addresses).copied().collect();
    join(scopes, members, &images, &interfaces, host_addresses, notes)
}

/// Splits containers into generations and ends each where the next begins; adds those only networks know.
fn generations(containers: Vec<Container>, networks: &[DockerNetwork]) -> Vec<Member> {
    let mut known: BTreeMap<(String, Option<Timestamp>), Container> = BTreeMap::new();
    for container in containers {
        let key = (container.id.clone(), container.started_at);
        match known.get_mut(&key) {
            Some(earlier) => {
                let endpoints = std::mem::take(&mut earlier.endpoints);
                *earlier = container;
                for endpoint in endpoints {
                    let is_known =
                        |new: &Endpoint| new.network == endpoint.network && !new.addresses.is_empty();
                    if !earlier.endpoints.iter().any(is_known) {
                        earlier.endpoints.push(endpoint);
                    }
                }
            }
            None => {
                known.insert(key, container);
            }
        }
    }
    for member in networks.iter().flat_map(|network| &network.members) {
        let generations = (member.id.clone(), None)..=(member.id.clone(), Some(Timestamp(i64::MAX)));
        match known.range_mut(generations).next_back() {
            Some((_, container)) => {
                for endpoint in &member.endpoints {
                    let is_same = |own: &Endpoint| own.network == endpoint.network;
                    if !container.endpoints.iter().any(is_same) {
                        container.endpoints.push(endpoint.clone());
                    }
                }
            }
            None => {
                known.insert((member.id.clone(), None), member.clone());
            }
        }
    }
    let mut members: Vec<Member> = Vec::new();
    for ((id, started_at), container) in known {
        if let Some(earlier) = members.last_mut().filter(|member| member.container.id == id) {
            // The one that began first ended at the latest when the next began.
            earlier.until = [earlier.until, started_at].into_iter().flatten().min();
        }
        let until = container.finished_at.filter(|_| !container.is_running);
        members.push(Member { container, until, ..Member::default() });
    }
    members
}

fn written_member(id: &str, name: &str) -> Member {
    let container =
        Container { id: id.to_owned(), name: name.to_owned(), is_running: true, ..Container::default() };
    Member { container, is_written: true, ..Member::default() }
}

/// Finds or makes the container of one address row, and puts its addresses on a network.
fn place_row(row: &AddressRow, members: &mut Vec<Member>, scopes: &mut Scopes) {
    let first = row.addresses.first().map(ToString::to_string).unwrap_or_default();
    let id = row.id.as_ref().or(row.container.as_ref()).cloned().unwrap_or_else(|| first.clone());
    let name = row.container.as_ref().or(row.service.as_ref()).cloned().unwrap_or_else(|| id.clone());
    // Of several generations the newest is meant, unless the row's time says otherwise.
    let is_meant = |member: &&mut Member| {
        (member.is_called(&id) || row.container.as_ref().is_some_and(|name| member.is_called(name)))
            && row.from.is_none_or(|from| member.until.is_none_or(|until| from < until))
    };
    let at = match members.iter_mut().rev().find(is_meant) {
        Some(member) => member,
        None => {
            members.push(written_member(&id, &name));
            match members.last_mut() {
                Some(member) => member,
                None => return,
            }
        }
    };
    for address in &row.addresses {
        let network = match &row.network {
            Some(network) => network.clone(),
            None => scopes.network_of(*address).unwrap_or_else(|| UNSTATED.to_owned()),
        };
        scopes.add("", &network, "", &[], &[]);
        let is_bound =
            |endpoint: &Endpoint| endpoint.network == network && endpoint.addresses.contains(address);
        if row.from.is_some() || row.until.is_some() || !at.container.endpoints.iter().any(is_bound) {
            let mut timed = row.clone();
            timed.addresses = vec![*address];
            timed.network = Some(network);
            at.rows.push(timed);
        }
    }
    if at.rows.is_empty() {
        // The address is known already; the row still names the container.
        at.rows.push(AddressRow { addresses: Vec::new(), ..row.clone() });
    }
}

#[derive(Clone, Debug, Default)]
struct Scopes {
    known: Vec<Scope>,
}

impl Scopes {
    /// Adds what is known of a network; one without an id is the one of that name.
    fn add(&mut self, id: &str, name: &str, driver: &str, subnets: &[Subnet], gateways: &[IpAddr]) {
        if matches!(driver, "host" | "null") || matches!(name, "host" | "none") {
            return;
        }
        let is_same = |scope: &&mut Scope| {
            if id.is_empty() || scope.id.is_empty() { scope.name == name } else { scope.id == id }
        };
        let at = match self.known.iter_mut().find(is_same) {
            Some(scope) => scope,
            None => {
                self.known.push(Scope { name: name.to_owned(), ..Scope::default() });
                match self.known.last_mut() {
                    Some(scope) => scope,
                    None => return,
                }
            }
        };
        if at.id.is_empty() {
            id.clone_into(&mut at.id);
        }
        if at.driver.is_empty() {
            driver.clone_into(&mut at.driver);
        }
        at.subnets.extend(subnets);
        at.gateways.extend(gateways);
    }

    fn network_of(&self, address: IpAddr) -> Option<String> {
        let holds = |scope: &&Scope| scope.subnets.iter().any(|subnet| subnet.contains(address));
        let mut fitting = self.known.iter().filter(holds);
        let first = fitting.next()?;
        fitting.next().is_none().then(|| first.name.clone())
    }

    fn id_of(&self, docker_id: &str, name: &str) -> Option<ScopeId> {
        let by_id = |scope: &Scope| !docker_id.is_empty() && scope.id == docker_id;
        let at = self.known.iter().position(by_id);
        number(at.or_else(|| self.known.iter().position(|scope| scope.name == name))?)
    }

    fn driver_of(&self, endpoint: &Endpoint) -> &str {
        let id = self.id_of(&endpoint.network_id, &endpoint.network);
        let at = id.and_then(|id| usize::from(id.0).checked_sub(1));
        at.and_then(|at| self.known.get(at)).map_or("", |scope| scope.driver.as_str())
    }
}

/// Scopes are numbered from 1; a roster of more than 65,535 networks keeps the first ones.
fn number(position: usize) -> Option<ScopeId> {
    u16::try_from(position + 1).ok().map(ScopeId)
}

fn join(
    mut scopes: Scopes,
    mut members: Vec<Member>,
    images: &[Image],
    interfaces: &[&InterfaceRow],
    mut host_addresses: Vec<IpAddr>,
    mut notes: Vec<String>,
) -> Roster {
    scopes.known.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    members.sort_by(|a, b| {
        let key = |member: &Member| (member.container.name.clone(), member.container.started_at);
        (key(a), &a.container.id).cmp(&(key(b), &b.container.id))
    });
    let mut names = Names { has_roster: true, ..Names::default() };
    let mut rows = Rows::default();
    let mut counts = Counts::default();
    let mut stopped = 0_u64;
    for member in &members {
        let unobservable = unobservable_member(member, &members, &scopes);
        let mut named = named(member, images);
        named.unobservable.clone_from(&unobservable);
        let named = Arc::new(named);
        let held = rows.hold(member, &scopes, &mut names, &named);
        let has_interface =
            interfaces.iter().any(|row| row.container.as_ref().is_some_and(|of| member.is_called(of)));
        if !held && !has_interface && !member.container.is_running {
            stopped += 1;
            continue;
        }
        counts.containers += 1;
        match unobservable {
            Some(reason) => counts.unobservable.push((member.container.name.clone(), reason)),
            None => counts.observable += 1,
        }
        if named.unobservable.is_none() && (held || has_interface) {
            counts.matched += 1;
        }
        names.published.extend(published(&member.container));
        names.workloads.push(named);
    }
    if stopped > 0 {
        notes.push(format!("{stopped} containers had stopped and left no address: passed over"));
    }
    let interfaces =
        interfaces.iter().map(|row| rows.interface(row, &members, &scopes, &mut names)).collect::<Vec<_>>();
    for (position, scope) in scopes.known.iter().enumerate() {
        if let Some(id) = number(position) {
            names.scopes.insert(id, Arc::from(scope.name.as_str()));
        }
        host_addresses.extend(&scope.gateways);
    }
    host_addresses.sort_unstable();
    host_addresses.dedup();
    names.host_addresses = host_addresses;
    for bindings in names.addresses.values_mut() {
        bindings.sort_by_key(|binding| (binding.from, binding.attachment));
        bindings.dedup();
        rows.begin_early(bindings);
    }
    counts.attachments = rows.attachments.len() as u64;
    let has_roles = interfaces.iter().any(|row| row.entry.role == Role::Container);
    counts.identity_by = if has_roles { "roster" } else { "address" }.to_owned();
    let scopes = scopes.known.into_iter().enumerate().filter_map(|(position, scope)| {
        Some(ScopeAddresses {
            scope: number(position)?,
            subnets: scope.subnets.into_iter().collect(),
            gateways: scope.gateways.into_iter().collect(),
        })
    });
    Roster { scopes: scopes.collect(), names: Arc::new(names), interfaces, counts, notes }
}

/// Attachments as they are given out: one for each container generation and network.
#[derive(Default)]
struct Rows {
    attachments: BTreeMap<(String, Option<Timestamp>, ScopeId), AttachmentId>,
    macs: BTreeMap<(ScopeId, MacAddr), AttachmentId>,
    /// Docker's word on when a container started.
    started: BTreeMap<AttachmentId, Timestamp>,
    anonymous: u32,
}

impl Rows {
    fn attachment(&mut self, container: &Container, scope: ScopeId) -> AttachmentId {
        let next = self.next();
        *self.attachments.entry((container.id.clone(), container.started_at, scope)).or_insert(next)
    }

    fn next(&self) -> AttachmentId {
        AttachmentId(
            u32::try_from(self.attachments.len()).unwrap_or(u32::MAX).saturating_add(self.anonymous + 1),
        )
    }

    /// Enters everything one container holds; returns whether that is anything.
    fn hold(&mut self, member: &Member, scopes: &Scopes, names: &mut Names, named: &Arc<Workload>) -> bool {
        let container = &member.container;
        let started = container.started_at.unwrap_or(ALWAYS);
        let mut held = Vec::new();
        for endpoint in &container.endpoints {
            let Some(scope) = scopes.id_of(&endpoint.network_id, &endpoint.network) else { continue };
            for address in &endpoint.addresses {
                held.push((scope, *address, endpoint.mac, started, member.until));
            }
        }
        for row in &member.rows {
            let network = row.network.as_deref().unwrap_or(UNSTATED);
            let Some(scope) = scopes.id_of("", network) else { continue };
            for address in &row.addresses {
                let until = row.until.or(member.until);
                held.push((scope, *address, row.mac, row.from.unwrap_or(started), until));
            }
        }
        let is_holding = !held.is_empty();
        for (scope, address, mac, from, until) in held {
            let attachment = self.attachment(container, scope);
            names.attachments.insert(attachment, Arc::clone(named));
            self.started.extend(container.started_at.map(|at| (attachment, at)));
            let binding = Binding { attachment, from, until };
            names.addresses.entry((scope, address.to_canonical())).or_default().push(binding.clone());
            if let Some(mac) = mac {
                self.macs.insert((scope, mac), attachment);
                names.addresses.entry((scope, link_local(mac))).or_default().push(binding);
            }
        }
        is_holding
    }

    /// Lets bindings begin before Docker's StartedAt, but not before an earlier holder's end.
    fn begin_early(&self, bindings: &mut [Binding]) {
        let mut free_from = ALWAYS;
        for binding in bindings {
            if self.started.get(&binding.attachment) == Some(&binding.from) {
                let early = binding.from.plus(-UP_BEFORE_START);
                binding.from = early.max(free_from.min(binding.from));
            }
            free_from = free_from.max(binding.until.unwrap_or(ALWAYS));
        }
    }

    fn interface(
        &mut self,
        row: &InterfaceRow,
        members: &[Member],
        scopes: &Scopes,
        names: &mut Names,
    ) -> RosterInterface {
        let member =
            row.container.as_ref().and_then(|of| members.iter().rev().find(|member| member.is_called(of)));
        let scope = match (&row.network, member) {
            (Some(network), _) => scopes.id_of("", network),
            (None, Some(member)) => only_scope(member, scopes),
            (None, None) => None,
        };
        let scope = scope.unwrap_or_default();
        let attachment = match (row.role, member) {
            (Role::Container, Some(member)) => {
                let named = names.workloads.iter().find(|workload| {
                    workload.container_id == member.container.id && workload.started_at == started_at(member)
                });
                let named = named.cloned();
                let attachment = self.attachment(&member.container, scope);
                if let Some(named) = named {
                    names.attachments.insert(attachment, named);
                }
                attachment
            }
            (Role::Container, None) => match row.mac.and_then(|mac| self.macs.get(&(scope, mac))) {
                Some(attachment) => *attachment,
                None => {
                    let attachment = self.next();
                    self.anonymous += 1;
                    attachment
                }
            },
            (Role::Unknown | Role::Bridge | Role::Foreign | Role::Plain, _) => AttachmentId::default(),
        };
        let mac = row.mac.unwrap_or_default();
        let entry = InterfaceEntry { role: row.role, scope, attachment, mac, is_fresh: false };
        RosterInterface { index: row.index, name: row.name.clone(), entry }
    }
}

fn only_scope(member: &Member, scopes: &Scopes) -> Option<ScopeId> {
    let endpoints = member.container.endpoints.iter();
    let of_endpoints = endpoints.filter_map(|of| scopes.id_of(&of.network_id, &of.network));
    let of_rows = member.rows.iter().filter_map(|row| scopes.id_of("", row.network.as_deref()?));
    let all: BTreeSet<_> = of_endpoints.chain(of_rows).collect();
    all.first().copied().filter(|_| all.len() == 1)
}

fn started_at(member: &Member) -> Timestamp {
    let rows = member.rows.iter().filter_map(|row| row.from).min();
    member.container.started_at.or(rows).unwrap_or_default()
}

/// Names one container: by its inspect, and over that by what address rows say.
fn named(member: &Member, images: &[Image]) -> Workload {
    let image = images.iter().rev().find(|image| is_image_of(image, &member.container));
    let mut named = workload(&member.container, image, started_at(member));
    if member.is_written {
        named.provenance = Provenance::Roster;
    }
    for row in &member.rows {
        if let Some(service) = &row.service {
            named.service.clone_from(service);
            named.provenance = Provenance::Roster;
        }
        if let Some(project) = &row.project {
            named.project.clone_from(project);
            named.provenance = Provenance::Roster;
        }
        if let Some(image) = &row.image {
            named.image.clone_from(image);
        }
        named.networks.extend(row.network.clone());
        named.labels.extend(row.labels.clone());
        named.documented.extend(row.ports.iter().map(|(range, place)| DocumentedPort {
            first: range.first,
            last: range.last,
            protocol: range.protocol,
            source: DocumentSource::Roster { place: place.clone() },
        }));
    }
    named.networks.sort_unstable();
    named.networks.dedup();
    named.documented.sort_by(|a, b| {
        (a.first, a.last, a.protocol, &a.source).cmp(&(b.first, b.last, b.protocol, &b.source))
    });
    named.documented.dedup();
    named
}

/// By id, which is exact; else by the reference, where `nginx` is `nginx:latest`.
fn is_image_of(image: &Image, container: &Container) -> bool {
    if !container.image_id.is_empty() {
        return image.id == container.image_id;
    }
    let last = container.image.rsplit('/').next().unwrap_or_default();
    let tagged =
        if last.contains(':') { container.image.clone() } else { format!("{}:latest", container.image) };
    repository(&container.image).is_some() && image.tags.contains(&tagged)
}

/// A container with an address row is observed at that address, whatever its networks are.
fn unobservable_member(member: &Member, members: &[Member], scopes: &Scopes) -> Option<String> {
    let name_of = |owner: &str| {
        members.iter().find(|member| member.is_called(owner)).map(|member| member.container.name.clone())
    };
    let reason = unobservable(&member.container, |endpoint| scopes.driver_of(endpoint), name_of);
    reason.filter(|_| member.rows.iter().all(|row| row.addresses.is_empty()))
}
