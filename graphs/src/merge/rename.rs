//! Everything of one host, by names that bear the host's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portolan_flowtable::{Outcomes, Peer, Tally, Workload};
use portolan_policy::{Assessment, Finding, Join, Judged, Listener};

use super::HostView;
use crate::cast::{guarded, prefixed};

/// The host's containers by the names they have among several hosts.
pub(super) struct Renamed {
    host: String,
    /// By where the original stands in memory.
    workloads: BTreeMap<usize, Arc<Workload>>,
    /// Names of services, as they were and as they are.
    services: BTreeMap<String, String>,
}

impl Renamed {
    pub(super) fn new(host: &str) -> Self {
        Self { host: host.to_owned(), workloads: BTreeMap::new(), services: BTreeMap::new() }
    }

    /// Adds what a view holds beside conversations to an assessment of several hosts.
    pub(super) fn take(&mut self, view: &HostView, into: &mut Assessment) {
        let assessment = &view.assessment;
        for workload in &assessment.snapshot.workloads {
            into.snapshot.workloads.push(self.workload(workload));
        }
        for judged in &assessment.judged {
            for workload in [&judged.conversation.initiator, &judged.conversation.responder] {
                if let Some(workload) = workload.workload() {
                    self.workload(workload);
                }
            }
        }
        into.findings.extend(assessment.findings.iter().map(|finding| self.finding(finding)));
        into.listeners.extend(assessment.listeners.iter().map(|listener| Listener {
            service: self.service(&listener.service),
            project: self.prefixed(&listener.project),
            ..listener.clone()
        }));
        into.joins.extend(assessment.joins.iter().map(|join| self.join(join)));
        into.undeclared.extend(assessment.undeclared.iter().map(|service| self.service(service)));
        into.warnings.extend(assessment.warnings.iter().map(|warning| self.prefixed(&format!(" {warning}"))));
        if let Some(stale) = &assessment.snapshot.stale {
            let line = self.prefixed(&format!(" {stale}"));
            into.snapshot.stale = Some(match into.snapshot.stale.take() {
                Some(known) => format!("{known}; {line}"),
                None => line,
            });
        }
    }

    fn prefixed(&self, name: &str) -> String {
        prefixed(&self.host, name)
    }

    /// Returns what a service is called: `web-03:shop/web`.
    fn service(&self, name: &str) -> String {
        match self.services.get(name) {
            Some(known) => known.clone(),
            // Outside of all hosts; and no names, but words for several.
            None if ["external", "several", ""].contains(&name) => name.to_owned(),
            None => self.prefixed(name),
        }
    }

    fn workload(&mut self, workload: &Arc<Workload>) -> Arc<Workload> {
        let place = Arc::as_ptr(workload).addr();
        if let Some(known) = self.workloads.get(&place) {
            return Arc::clone(known);
        }
        let mut own = Workload::clone(workload);
        // A container may be called `host`, and a project too.
        match own.project.is_empty() {
            true => own.service = prefixed(&self.host, &guarded(&own.service)),
            false => own.project = prefixed(&self.host, &guarded(&own.project)),
        }
        own.container = prefixed(&self.host, &guarded(&own.container));
        own.container_id = prefixed(&self.host, &own.container_id);
        for network in &mut own.networks {
            *network = prefixed(&self.host, network);
        }
        self.services.insert(workload.qualified(), own.qualified());
        let own = Arc::new(own);
        self.workloads.insert(place, Arc::clone(&own));
        own
    }

    /// Returns a container as it was met on some of its networks; on all of them where that is unknown.
    pub(super) fn on_networks(
        &mut self,
        workload: &Arc<Workload>,
        networks: &BTreeSet<&str>,
    ) -> Arc<Workload> {
        let own = self.workload(workload);
        let known: Vec<String> =
            networks.iter().filter(|name| !name.is_empty()).map(|name| prefixed(&self.host, name)).collect();
        if known.is_empty() || known == own.networks {
            return own;
        }
        Arc::new(Workload { networks: known, ..Workload::clone(&own) })
    }

    fn peer(&mut self, peer: &Peer) -> Peer {
        match peer {
            Peer::Workload { workload, address } => {
                Peer::Workload { workload: self.workload(workload), address: *address }
            }
            Peer::Host { .. }
            | Peer::External { .. }
            | Peer::Unclaimed { .. }
            | Peer::Group { .. }
            | Peer::Ambiguous { .. }
            | Peer::Bare { .. } => peer.clone(),
        }
    }

    /// Returns a conversation by the names of several hosts.
    pub(super) fn judged(&mut self, judged: &Judged) -> Judged {
        let mut own = judged.clone();
        let conversation = &mut own.conversation;
        conversation.initiator = self.peer(&judged.conversation.initiator);
        conversation.responder = self.peer(&judged.conversation.responder);
        conversation.claimed = judged.conversation.claimed.as_ref().map(|peer| Box::new(self.peer(peer)));
        if !conversation.network.is_empty() {
            conversation.network = self.prefixed(&judged.conversation.network);
        }
        if !own.decided_by.is_empty() {
            own.decided_by = self.prefixed(&format!(" {}", judged.decided_by));
        }
        own.finding = judged.finding.as_deref().map(|id| self.prefixed(id));
        own
    }

    /// Returns what this host made of a call that another host counts: its judgement, and no figures.
    pub(super) fn beside(&mut self, call: &Judged, seen: &Judged) -> Judged {
        let theirs = self.judged(seen);
        let mut own = call.clone();
        let conversation = &mut own.conversation;
        conversation.sent = Tally::default();
        conversation.received = Tally::default();
        conversation.connections = Outcomes::default();
        conversation.exchanged = 0;
        conversation.open = 0;
        conversation.rtt_p50 = None;
        conversation.evidence = theirs.conversation.evidence;
        own.documented_by = theirs.documented_by;
        own.decided_by = theirs.decided_by;
        own.finding = theirs.finding;
        own.pending = None;
        own
    }

    fn finding(&self, finding: &Finding) -> Finding {
        let containers = |names: &[String]| names.iter().map(|name| self.prefixed(&guarded(name))).collect();
        Finding {
            id: self.prefixed(&finding.id),
            initiator: self.service(&finding.initiator),
            responder: self.service(&finding.responder),
            initiator_containers: containers(&finding.initiator_containers),
            responder_containers: containers(&finding.responder_containers),
            ..finding.clone()
        }
    }

    fn join(&self, join: &Join) -> Join {
        let mut own = join.clone();
        own.what = self.prefixed(&join.what);
        for member in &mut own.members {
            member.service = self.service(&member.service);
            member.container = prefixed(&self.host, &guarded(&member.container));
        }
        own
    }
}

/// Returns a container as it was met on one network, where that is known.
pub(super) fn on_network(peer: &Peer, network: &str) -> Peer {
    match peer {
        Peer::Workload { workload, address } if !network.is_empty() => {
            let networks = vec![network.to_owned()];
            let workload = match workload.networks == networks {
                true => Arc::clone(workload),
                false => Arc::new(Workload { networks, ..Workload::clone(workload) }),
            };
            Peer::Workload { workload, address: *address }
        }
        Peer::Workload { .. }
        | Peer::Host { .. }
        | Peer::External { .. }
        | Peer::Unclaimed { .. }
        | Peer::Group { .. }
        | Peer::Ambiguous { .. }
        | Peer::Bare { .. } => peer.clone(),
    }
}
