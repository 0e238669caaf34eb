//! Which calls went from one host to another, and which sightings at the called host are of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use portolan_flowtable::flow::Claim;
use portolan_flowtable::{Peer, Port, Protocol, PublishedPort, ServicePort, Timestamp, Workload};
use portolan_policy::{Judged, Verdict};

use super::{Apart, HostView, Reason};

/// A published port explains what came that long before it was bound: frames and Docker's word come by different ways,
/// and two hosts by different clocks.
const SLACK: i64 = 2 * Timestamp::SECOND;

/// Number of a host, and of a conversation in its view.
type Place = (usize, usize);
/// A container's port: number of the host, container, port.
type Target = (usize, String, Port, Protocol);

/// What becomes of a conversation with the outside.
#[derive(Debug)]
pub(super) enum Fate {
    /// It is a call to another host.
    Crosses(Call),
    /// It is what the called host saw of such calls.
    SeenByCaller,
    /// Another host called, by an address that is its alone, and none of its containers.
    FromHost(usize),
}

/// A call to another host.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) called: usize,
    pub(super) workload: Arc<Workload>,
    pub(super) port: ServicePort,
    pub(super) address: IpAddr,
    pub(super) published: Port,
    /// Conversations of the called host that are sightings of it.
    pub(super) seen: Vec<usize>,
    pub(super) shared_by: u64,
}

/// What became of all conversations with the outside that did not stay there, and of which it cannot be told.
#[derive(Debug, Default)]
pub(super) struct Crossings {
    pub(super) fates: BTreeMap<Place, Fate>,
    pub(super) apart: Vec<Apart>,
}

impl Crossings {
    /// Finds them.
    pub(super) fn among(views: &[&HostView]) -> Self {
        let book = Book::of(views);
        let mut apart = Aparts::default();
        let mut calls: BTreeMap<Place, Call> = BTreeMap::new();
        for (place, judged) in conversations(views) {
            let Some((address, port)) = egress(judged) else { continue };
            match book.called(place.0, judged, address, port) {
                Called::Nobody => {}
                Called::Apart(reason, fitting) => apart.note(views, place, (address, port), reason, fitting),
                Called::One(call) => {
                    calls.insert(place, call);
                }
            }
        }
        let mut fates = BTreeMap::new();
        let mut sightings: Vec<(Place, Target, BTreeSet<usize>)> = Vec::new();
        for (place, judged) in conversations(views) {
            let Some((address, target)) = ingress(place.0, judged) else { continue };
            let mut callers = book.holders(address, place.0);
            // Without masquerading a caller comes by its own address.
            for (caller, call) in &calls {
                let own = views.get(caller.0).and_then(|view| view.assessment.judged.get(caller.1));
                let is_own = own.is_some_and(|own| own.conversation.initiator.address() == address);
                if is_own && call.target() == target {
                    callers.insert(caller.0);
                }
            }
            sightings.push((place, target, callers));
        }
        for (place, target, callers) in sightings.iter().filter(|(_, _, callers)| callers.len() > 1) {
            let is_shared =
                |caller: &Place, call: &Call| callers.contains(&caller.0) && call.target() == *target;
            let shared: Vec<Place> = calls
                .iter()
                .filter(|(caller, call)| is_shared(caller, call))
                .map(|(caller, _)| *caller)
                .collect();
            for caller in shared {
                let Some(call) = calls.remove(&caller) else { continue };
                let what = (call.address, ServicePort { port: Some(call.published), protocol: target.3 });
                let called = views.get(place.0).map(|view| view.host.clone()).into_iter().collect();
                apart.note(views, caller, what, Reason::CallerShared, called);
            }
        }
        for (place, target, callers) in &sightings {
            let mut only = callers.iter();
            let (Some(caller), None) = (only.next(), only.next()) else { continue };
            let mut its: Vec<&mut Call> = calls
                .iter_mut()
                .filter(|((host, _), call)| host == caller && call.target() == *target)
                .map(|(_, call)| call)
                .collect();
            let others = its.len().saturating_sub(1) as u64;
            for call in &mut its {
                call.seen.push(place.1);
                call.shared_by = others;
            }
            fates.insert(*place, if its.is_empty() { Fate::FromHost(*caller) } else { Fate::SeenByCaller });
        }
        fates.extend(calls.into_iter().map(|(place, call)| (place, Fate::Crosses(call))));
        Self { fates, apart: apart.told() }
    }
}

impl Call {
    fn target(&self) -> Target {
        let port = self.port.port.unwrap_or(Port(0));
        (self.called, self.workload.container_id.clone(), port, self.port.protocol)
    }
}

fn conversations<'a>(views: &'a [&'a HostView]) -> impl Iterator<Item = (Place, &'a Judged)> {
    views.iter().enumerate().flat_map(|(host, view)| {
        view.assessment.judged.iter().enumerate().map(move |(number, judged)| ((host, number), judged))
    })
}

fn is_own(judged: &Judged) -> bool {
    judged.verdict != Verdict::Backscatter && judged.conversation.claim == Claim::Own
}

/// Returns the address and port outside that a container called.
fn egress(judged: &Judged) -> Option<(IpAddr, ServicePort)> {
    let conversation = &judged.conversation;
    let is_outside = matches!(conversation.responder, Peer::External { .. });
    let is_call = is_own(judged) && is_outside && conversation.initiator.workload().is_some();
    (is_call && conversation.port.port.is_some())
        .then(|| (conversation.responder.address().to_canonical(), conversation.port))
}

/// Returns the address outside that called a published port, and whose port that is.
fn ingress(host: usize, judged: &Judged) -> Option<(IpAddr, Target)> {
    let conversation = &judged.conversation;
    let workload = conversation.responder.workload()?;
    let is_outside = matches!(conversation.initiator, Peer::External { .. });
    let is_call = is_own(judged) && is_outside && conversation.via.is_some();
    let target = (host, workload.container_id.clone(), conversation.port.port?, conversation.port.protocol);
    is_call.then(|| (conversation.initiator.address().to_canonical(), target))
}

/// Who was called.
enum Called {
    /// No other host.
    Nobody,
    /// A container of another host.
    One(Call),
    /// It cannot be told, for this reason; what fits.
    Apart(Reason, Vec<String>),
}

/// Addresses and published ports of all hosts.
struct Book<'a> {
    views: &'a [&'a HostView],
    /// Hosts by address.
    holders: BTreeMap<IpAddr, BTreeSet<usize>>,
    /// Bindings by what is called, with their hosts.
    bindings: BTreeMap<(Port, Protocol), Vec<(usize, &'a PublishedPort)>>,
    /// Containers by host and id.
    owners: BTreeMap<(usize, &'a str), &'a Arc<Workload>>,
}

impl<'a> Book<'a> {
    fn of(views: &'a [&'a HostView]) -> Self {
        let mut book =
            Self { views, holders: BTreeMap::new(), bindings: BTreeMap::new(), owners: BTreeMap::new() };
        for (host, view) in views.iter().enumerate() {
            for address in &view.addresses {
                book.holders.entry(*address).or_default().insert(host);
            }
            let snapshot = &view.assessment.snapshot;
            for published in &snapshot.published {
                let key = (published.host_port, published.protocol);
                book.bindings.entry(key).or_default().push((host, published));
            }
            let ends = view.assessment.judged.iter().flat_map(|judged| {
                [judged.conversation.initiator.workload(), judged.conversation.responder.workload()]
            });
            for workload in ends.flatten().chain(&snapshot.workloads) {
                book.owners.insert((host, workload.container_id.as_str()), workload);
            }
        }
        book
    }

    /// Returns the hosts but one that have an address.
    fn holders(&self, address: IpAddr, but: usize) -> BTreeSet<usize> {
        self.holders.get(&address).into_iter().flatten().copied().filter(|host| *host != but).collect()
    }

    fn called(&self, caller: usize, judged: &Judged, address: IpAddr, port: ServicePort) -> Called {
        let Some(number) = port.port else { return Called::Nobody };
        let conversation = &judged.conversation;
        let lasts = |it: &PublishedPort| {
            it.from.since(conversation.last_at) < SLACK
                && it.until.is_none_or(|until| conversation.first_at.since(until) < SLACK)
        };
        let others = || {
            let all = self.bindings.get(&(number, port.protocol)).into_iter().flatten();
            all.filter(|(host, it)| *host != caller && lasts(it))
        };
        let names = |hosts: &BTreeSet<usize>| -> Vec<String> {
            hosts.iter().filter_map(|host| Some(self.views.get(*host)?.host.clone())).collect()
        };
        let holders = self.holders.get(&address).cloned().unwrap_or_default();
        let fits = |host: usize, it: &PublishedPort| {
            let on = it.host_address.to_canonical();
            if on.is_unspecified() { holders.contains(&host) } else { on == address && !on.is_loopback() }
        };
        let fitting: Vec<_> = others().filter(|(host, it)| fits(*host, it)).collect();
        let hosts: BTreeSet<usize> = fitting.iter().map(|(host, _)| *host).collect();
        if fitting.is_empty() {
            // A host that publishes it on every address, and whose addresses nobody knows, may be meant.
            let is_unknown = |host: usize| self.views.get(host).is_some_and(|view| view.addresses.is_empty());
            let unknown: BTreeSet<usize> = others()
                .filter(|(host, it)| it.host_address.is_unspecified() && is_unknown(*host))
                .map(|(host, _)| *host)
                .collect();
            // Whose the address is may be known all the same.
            let is_other = !holders.is_empty();
            return match unknown.is_empty() || is_other {
                true => Called::Nobody,
                false => Called::Apart(Reason::AddressesUnknown, names(&unknown)),
            };
        }
        let all: BTreeSet<usize> = hosts.union(&holders).copied().collect();
        if all.len() > 1 {
            return Called::Apart(Reason::SeveralHosts, names(&all));
        }
        let Some((called, first)) = fitting.first().copied().copied() else { return Called::Nobody };
        if fitting.iter().any(|(_, it)| {
            (&it.container_id, it.container_port) != (&first.container_id, first.container_port)
        }) {
            let ids: BTreeSet<&str> = fitting.iter().map(|(_, it)| it.container_id.as_str()).collect();
            let name = |id: &&str| {
                self.owners.get(&(called, *id)).map_or((*id).to_owned(), |it| it.container.clone())
            };
            return Called::Apart(Reason::SeveralContainers, ids.iter().map(name).collect());
        }
        let Some(workload) = self.owners.get(&(called, first.container_id.as_str())) else {
            return Called::Apart(Reason::OwnerUnknown, names(&hosts));
        };
        let is_alone = |address: &IpAddr| self.holders.get(address).is_some_and(|hosts| hosts.len() == 1);
        if !self.views.get(caller).is_some_and(|view| view.addresses.iter().any(is_alone)) {
            return Called::Apart(Reason::CallerUnknown, names(&hosts));
        }
        Called::One(Call {
            called,
            workload: Arc::clone(workload),
            port: ServicePort { port: Some(first.container_port), protocol: port.protocol },
            address,
            published: number,
            seen: Vec::new(),
            shared_by: 0,
        })
    }
}

/// The host that saw it, what it called, and why it stays.
type Cause = (String, IpAddr, ServicePort, Reason);

/// Notes about what stays apart: of each cause what fits, and how many conversations.
#[derive(Default)]
struct Aparts(BTreeMap<Cause, (BTreeSet<String>, u64)>);

impl Aparts {
    fn note(
        &mut self,
        views: &[&HostView],
        (host, _): Place,
        (address, port): (IpAddr, ServicePort),
        reason: Reason,
        fitting: Vec<String>,
    ) {
        let host = views.get(host).map_or_else(String::new, |view| view.host.clone());
        let (all, count) = self.0.entry((host, address, port, reason)).or_default();
        all.extend(fitting);
        *count += 1;
    }

    fn told(self) -> Vec<Apart> {
        let told = self.0.into_iter().map(|((host, address, port, reason), (fitting, conversations))| {
            Apart { host, address, port, reason, fitting: fitting.into_iter().collect(), conversations }
        });
        told.collect()
    }
}
