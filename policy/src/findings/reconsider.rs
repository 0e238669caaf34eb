//! Findings of earlier runs held against a contract that may have changed since.

use std::net::Ipv4Addr;
use std::sync::Arc;

use portolan_flowtable::flow::Claim;
use portolan_flowtable::{Conversation, InitiatorEvidence, Outcomes, Peer, Snapshot, Tally, Workload};

use super::Docket;
use crate::assess::Beside;
use crate::assessment::{Alert, AlertState, Finding, FindingKind};
use crate::contract::{Contract, Entry, Written};
use crate::selector::Initiator;
use crate::verdict::Intent;

impl Docket {
    /// Clears findings of earlier runs that this contract would not raise: their traffic is not seen again, so that
    /// nothing else would before their time is over. Asked when there is another contract than the last time, and names to
    /// go by; of findings with an end outside, or one that is not there, nobody can say.
    pub fn reconsider(&mut self, contract: &Contract, snapshot: &Snapshot, beside: Beside<'_>) -> Vec<Alert> {
        if !snapshot.has_roster || snapshot.workloads.is_empty() {
            return Vec::new();
        }
        let hash = contract.hash();
        if self.reconsidered_by.as_ref() == Some(&hash) {
            return Vec::new();
        }
        self.reconsidered_by = Some(hash);
        let intent = Intent::new(contract, snapshot).with_baseline(beside.baseline);
        let is_over = |finding: &Finding| !contract.raises(&intent, finding, snapshot);
        let over: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.carried.is_some() && is_over(&entry.finding))
            .map(|(id, _)| id.clone())
            .collect();
        let gone = over.iter().filter_map(|id| self.entries.remove(id));
        let alerts: Vec<Alert> = gone
            .map(|entry| Alert { state: AlertState::Cleared, finding: entry.finding, note: None })
            .collect();
        self.revision += u64::from(!alerts.is_empty());
        alerts
    }
}

impl Contract {
    /// Returns whether some selector of it means addresses, or what they are called.
    fn goes_by_addresses(&self) -> bool {
        let is_address = |written: &Written| match written.initiator {
            Initiator::Addresses(_) | Initiator::Group(_) | Initiator::Dns(_) => true,
            Initiator::Workload(_)
            | Initiator::Host
            | Initiator::External
            | Initiator::Multicast
            | Initiator::Any => false,
        };
        let expected = self.entries.iter().flat_map(Entry::expectations).flat_map(|it| &it.initiators);
        let exempt = self.rules.standard.iter().flat_map(|it| &it.exempt).map(|it| &it.scope);
        let scopes = self.rules.list.iter().map(|rule| &rule.scope).chain(exempt);
        expected.chain(scopes.flat_map(|scope| scope.from.iter().chain(&scope.to))).any(is_address)
    }

    /// Returns whether a finding would be raised of the same traffic; that it would, where nobody can say.
    fn raises(&self, intent: &Intent<'_>, finding: &Finding, snapshot: &Snapshot) -> bool {
        if !self.rules.is_enabled(finding.kind) || self.rules.exempts_service(finding, snapshot) {
            return false;
        }
        if !is_of_one_call(finding.kind) {
            return true;
        }
        // Which addresses the ends had is not in the finding.
        if self.goes_by_addresses() {
            return true;
        }
        let Some(conversation) = like(finding, snapshot) else { return true };
        let charges = intent.judge(&conversation).charges;
        let is_raised = charges.iter().any(|charge| charge.kind == finding.kind);
        is_raised && !self.rules.exempts(finding.kind, &conversation, snapshot.at)
    }
}

/// Returns whether one conversation bears it, and its ends and port say all that counts.
fn is_of_one_call(kind: FindingKind) -> bool {
    match kind {
        FindingKind::Denied
        | FindingKind::UnexpectedPeer
        | FindingKind::UndocumentedPort
        | FindingKind::ForeignDatabase
        | FindingKind::DockerApi
        | FindingKind::CleartextAdmin
        | FindingKind::NewEdge
        | FindingKind::ForbiddenEdge => true,
        FindingKind::SpoofedSource
        | FindingKind::UndocumentedListener
        | FindingKind::UnusedExposure
        | FindingKind::CloudMetadata
        | FindingKind::InternalOutbound
        | FindingKind::ForeignResolver
        | FindingKind::PortScan
        | FindingKind::HostSweep
        | FindingKind::SynFlood
        | FindingKind::UnlistedSource
        | FindingKind::StolenMac
        | FindingKind::Beaconing
        | FindingKind::PasswordGuessing
        | FindingKind::UnusualLevel => false,
    }
}

/// Returns a conversation between the same two ends, where both are containers that are there.
fn like(finding: &Finding, snapshot: &Snapshot) -> Option<Conversation> {
    let end = |service: &str| -> Option<Peer> {
        let is_it = |workload: &&Arc<Workload>| workload.qualified() == service;
        let workload = Arc::clone(snapshot.workloads.iter().find(is_it)?);
        Some(Peer::Workload { workload, address: Ipv4Addr::UNSPECIFIED.into() })
    };
    let (initiator, responder) = (end(&finding.initiator)?, end(&finding.responder)?);
    let is_answered = finding.reached == "answered";
    let network = initiator.workload()?.networks.iter();
    let common = network.clone().find(|it| responder.workload().is_some_and(|of| of.networks.contains(it)));
    Some(Conversation {
        network: common.cloned().unwrap_or_default(),
        initiator,
        responder,
        port: finding.port?,
        via: None,
        evidence: InitiatorEvidence::Handshake,
        claim: Claim::Own,
        claimed: None,
        sent: Tally::default(),
        received: Tally::default(),
        connections: Outcomes {
            answered: u64::from(is_answered),
            unanswered: u64::from(!is_answered),
            ..Outcomes::default()
        },
        exchanged: 0,
        open: 0,
        is_midstream: false,
        is_proxy_leg: false,
        is_tunnel: false,
        first_at: finding.first_at,
        last_at: finding.last_at,
        first_frame: finding.first_frame,
        last_frame: finding.last_frame,
        rtt_p50: None,
        burst_unanswered: 0,
        icmp: Default::default(),
        first_source_port: None,
    })
}
