//! What was seen and is no finding, in the words of others: Kubernetes, nftables, compose networks.
//!
//! Each form allows every conversation that was answered and is no finding, and nothing by a line that no conversation
//! needs; what a form cannot say more narrowly stands in a comment of it.

mod compose;
mod kubernetes;
mod nftables;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portolan_flowtable::{Peer, ServicePort, Workload};

use crate::assessment::Assessment;
use crate::suggest::ends;

/// A form a policy is exported to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// NetworkPolicy objects, one for each service that is called.
    Kubernetes,
    /// A table for `nft -f`.
    Nftables,
    /// Networks of compose projects.
    Compose,
}

impl Assessment {
    /// Writes what was answered and is no finding in another's words. `title` says what was seen.
    pub fn export(&self, form: Form, title: &str) -> String {
        let allowed = Allowed::of(self);
        let title: String = title.chars().filter(|it| !it.is_control()).collect();
        match form {
            Form::Kubernetes => kubernetes::write(&allowed, &title),
            Form::Nftables => nftables::write(&allowed, &title),
            Form::Compose => compose::write(&allowed, &title),
        }
    }
}

/// Somebody who may call.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Caller {
    /// A service, as (project, service).
    Service(String, String),
    /// Whoever is outside.
    External,
    /// The Docker host.
    Host,
}

/// What may go on.
#[derive(Debug, Default)]
pub(crate) struct Allowed {
    /// Who may call which service on which ports.
    pub(crate) calls: BTreeMap<(String, String), BTreeMap<Caller, BTreeSet<ServicePort>>>,
    /// Addresses of each service, as far as they were seen.
    pub(crate) addresses: BTreeMap<(String, String), BTreeSet<IpAddr>>,
    /// Services that call somebody outside.
    pub(crate) outgoing: BTreeSet<(String, String)>,
    /// Every service there is.
    pub(crate) services: BTreeSet<(String, String)>,
    /// Answered conversations that are findings, and therefore left out.
    pub(crate) findings: BTreeSet<String>,
}

fn name(workload: &Workload) -> (String, String) {
    (workload.project.clone(), workload.service.clone())
}

impl Allowed {
    fn of(assessment: &Assessment) -> Self {
        let mut allowed = Self::default();
        allowed.services.extend(assessment.snapshot.workloads.iter().map(|workload| name(workload)));
        for judged in &assessment.judged {
            let conversation = &judged.conversation;
            if judged.conversation.connections.answered == 0 {
                continue;
            }
            for peer in [&conversation.initiator, &conversation.responder] {
                // A published port was called at the host's address.
                let is_its_own = !(std::ptr::eq(peer, &conversation.responder) && conversation.via.is_some());
                if let (Some(workload), true) = (peer.workload(), is_its_own) {
                    allowed.services.insert(name(workload));
                    allowed.addresses.entry(name(workload)).or_default().insert(peer.address());
                }
            }
            if let (Peer::Workload { workload, .. }, Peer::External { .. }) =
                (&conversation.initiator, &conversation.responder)
                && !judged.verdict.is_finding()
                && judged.finding.is_none()
            {
                allowed.outgoing.insert(name(workload));
            }
            let (Some((from, to)), Some(responder)) = (ends(judged), conversation.responder.workload())
            else {
                continue;
            };
            if judged.verdict.is_finding() || judged.finding.is_some() {
                allowed.findings.insert(format!(
                    "{from} -> {to} {}: {}",
                    conversation.port,
                    judged.verdict.words()
                ));
                continue;
            }
            let caller = match &conversation.initiator {
                Peer::Workload { workload, .. } => {
                    Caller::Service(workload.project.clone(), workload.service.clone())
                }
                Peer::External { .. } => Caller::External,
                Peer::Host { .. } => Caller::Host,
                Peer::Unclaimed { .. } | Peer::Group { .. } | Peer::Ambiguous { .. } | Peer::Bare { .. } => {
                    continue;
                }
            };
            let calls = allowed.calls.entry(name(responder)).or_default();
            calls.entry(caller).or_default().insert(conversation.port);
        }
        allowed
    }

    /// Writes the head every form has: what it is from, and what it leaves out.
    fn head(&self, title: &str, what: &str) -> String {
        let mut out = format!("# {what}, from what was seen: {title}.\n");
        for finding in &self.findings {
            let line: String = finding.chars().filter(|it| !it.is_control()).collect();
            out.push_str(&format!("# left out, a finding: {line}\n"));
        }
        out
    }
}

/// Makes a name of lower-case letters, digits and one sign; different names stay different.
fn plain(names: &BTreeSet<(String, String)>, of: &(String, String), sign: char) -> String {
    let made = |(project, service): &(String, String)| -> String {
        let whole = if project.is_empty() { service.clone() } else { format!("{project}{sign}{service}") };
        let lower = whole.to_lowercase();
        let kept: String = lower
            .chars()
            .map(|it| if it.is_ascii_lowercase() || it.is_ascii_digit() { it } else { sign })
            .collect();
        let kept = kept.trim_matches(sign);
        let kept = kept.get(..kept.len().min(48)).unwrap_or(kept).trim_end_matches(sign);
        if kept.is_empty() { "unnamed".to_owned() } else { kept.to_owned() }
    };
    let own = made(of);
    let is_shared = names.iter().filter(|other| made(other) == own).count() > 1;
    if is_shared {
        let digits = crate::stable::StableHash::new().field(&of.0).field(&of.1).digits();
        format!("{own}{sign}{}", digits.get(..8).unwrap_or(&digits))
    } else {
        own
    }
}
