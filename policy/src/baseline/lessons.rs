//! What an assessment teaches: which conversations count, and what they grew by.

use std::collections::{BTreeMap, BTreeSet};

use portolan_flowtable::flow::Claim;
use portolan_flowtable::{Blindness, Completeness, Conversation, Peer, ServicePort, Timestamp, Workload};

use super::profile::window;
use super::{Baseline, Direction, Edge, Ends, FOLLOWED_MAX, ProfileKey};
use crate::assessment::{Assessment, FindingKind, Judged, Verdict};

/// Who talks to whom, on which port.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Talk {
    initiator: End,
    responder: End,
    port: ServicePort,
}

/// One end: a container's service and image, or a word.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum End {
    Container(ProfileKey),
    Word(&'static str),
}

/// What a talk had carried so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Growth {
    exchanged: u64,
    sent: u64,
    received: u64,
    last_at: Timestamp,
}

impl ProfileKey {
    /// Returns whose profile a container's traffic belongs to.
    pub fn of(workload: &Workload) -> Self {
        let image = if workload.image_id.is_empty() { &workload.image } else { &workload.image_id };
        Self { service: workload.qualified(), image: image.clone() }
    }
}

impl End {
    fn of(peer: &Peer) -> Option<Self> {
        match peer {
            Peer::Workload { workload, .. } => Some(Self::Container(ProfileKey::of(workload))),
            Peer::Host { .. } => Some(Self::Word("host")),
            Peer::External { .. } => Some(Self::Word("external")),
            Peer::Unclaimed { .. } | Peer::Group { .. } | Peer::Ambiguous { .. } | Peer::Bare { .. } => None,
        }
    }

    fn key(&self) -> Option<&ProfileKey> {
        match self {
            Self::Container(key) => Some(key),
            Self::Word(_) => None,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Container(key) => &key.service,
            Self::Word(word) => word,
        }
    }
}

impl Talk {
    fn of(conversation: &Conversation) -> Option<Self> {
        let initiator = End::of(&conversation.initiator)?;
        let responder = End::of(&conversation.responder)?;
        let is_some_container = initiator.key().or(responder.key()).is_some();
        let port = conversation.port;
        (is_some_container && port.port.is_some()).then_some(Self { initiator, responder, port })
    }

    fn ends(&self) -> Ends {
        let edge = |direction, end: &End| Edge { direction, peer: end.name().to_owned(), port: self.port };
        Ends { to: edge(Direction::To, &self.responder), from: edge(Direction::From, &self.initiator) }
    }
}

impl Baseline {
    /// Returns how a conversation stands with what was learned.
    pub fn opinion_on(&self, conversation: &Conversation) -> super::Opinion {
        match Talk::of(conversation) {
            Some(talk) => self.opinion(talk.initiator.key(), talk.responder.key(), &talk.ends()),
            None => super::Opinion::None,
        }
    }

    /// Takes an assessment in. Returns the profiles that evidence promoted.
    pub fn learn(&mut self, assessment: &Assessment) -> Vec<ProfileKey> {
        let snapshot = &assessment.snapshot;
        let now = snapshot.at;
        let is_blind = |at: Timestamp| is_blind(&snapshot.completeness, at);
        let mut turned = BTreeSet::new();
        let mut promoted = Vec::new();
        // What nobody could have seen is not watched.
        if !is_blind_window(&snapshot.completeness, now) && snapshot.stale.is_none() {
            for workload in snapshot.workloads.iter().filter(|workload| workload.unobservable.is_none()) {
                let key = ProfileKey::of(workload);
                let Some(profile) = self.profile_for(&key, &workload.image) else { continue };
                if profile.is_frozen {
                    continue;
                }
                if workload.started_at >= snapshot.from && workload.started_at > profile.started_at {
                    profile.start(workload.started_at);
                }
                if profile.watch(now) {
                    turned.insert(key);
                }
            }
        }
        for (talk, growth) in talks(assessment) {
            let before = self.followed.get(&talk).copied().unwrap_or_default();
            if before == growth {
                continue;
            }
            if !self.followed.contains_key(&talk) && self.followed.len() >= FOLLOWED_MAX {
                self.turned_away += 1;
                continue;
            }
            self.followed.insert(talk.clone(), growth);
            let has_grown = growth.exchanged > before.exchanged
                || (growth.sent > before.sent && growth.received > before.received);
            if !has_grown || is_blind(growth.last_at) {
                continue;
            }
            let Ends { to, from } = talk.ends();
            for (key, edge) in [(talk.initiator.key(), to), (talk.responder.key(), from)] {
                let Some(key) = key else { continue };
                if let Some(profile) = self.profile_for(key, "") {
                    profile.see(&edge, growth.last_at);
                }
            }
        }
        let enough = self.enough;
        for key in turned {
            if let Some(profile) = self.profiles.get_mut(&key)
                && profile.settle(now, &enough)
            {
                promoted.push(key);
            }
        }
        promoted
    }
}

/// Adds up what teaches, by who talks to whom.
fn talks(assessment: &Assessment) -> BTreeMap<Talk, Growth> {
    let kinds: BTreeMap<&str, FindingKind> =
        assessment.findings.iter().map(|finding| (finding.id.as_str(), finding.kind)).collect();
    // Whoever forges, scans or guesses teaches nothing, whatever else it says.
    let suspects: BTreeSet<&str> = assessment
        .findings
        .iter()
        .filter(|finding| is_hostile(finding.kind) && finding.initiator.as_str() != "external")
        .map(|finding| finding.initiator.as_str())
        .collect();
    let mut talks: BTreeMap<Talk, Growth> = BTreeMap::new();
    for judged in &assessment.judged {
        let is_hostile = match judged.finding.as_deref() {
            // A finding that found no room on the list may be any.
            Some(id) => kinds.get(id).is_none_or(|kind| is_hostile(*kind)),
            None => false,
        };
        if is_hostile || !is_exchange(judged) {
            continue;
        }
        let Some(talk) = Talk::of(&judged.conversation) else { continue };
        if talk.initiator.key().is_some_and(|key| suspects.contains(key.service.as_str())) {
            continue;
        }
        let conversation = &judged.conversation;
        let growth = talks.entry(talk).or_default();
        growth.exchanged += conversation.exchanged;
        growth.sent += conversation.sent.frames;
        growth.received += conversation.received.frames;
        growth.last_at = growth.last_at.max(conversation.last_at);
    }
    talks
}

/// Returns whether a finding of this kind makes what it rests on no lesson at all.
fn is_hostile(kind: FindingKind) -> bool {
    match kind {
        FindingKind::SpoofedSource
        | FindingKind::PortScan
        | FindingKind::HostSweep
        | FindingKind::SynFlood
        | FindingKind::StolenMac
        | FindingKind::PasswordGuessing => true,
        FindingKind::UnexpectedPeer | FindingKind::UndocumentedPort | FindingKind::UnlistedSource => false,
        FindingKind::NewEdge | FindingKind::ForbiddenEdge | FindingKind::Denied => false,
        // What is held against a call keeps that call out, below; its caller's others are lessons.
        FindingKind::UndocumentedListener
        | FindingKind::UnusedExposure
        | FindingKind::ForeignDatabase
        | FindingKind::DockerApi
        | FindingKind::CloudMetadata
        | FindingKind::InternalOutbound
        | FindingKind::ForeignResolver
        | FindingKind::CleartextAdmin
        | FindingKind::Beaconing
        | FindingKind::UnusualLevel => false,
    }
}

/// Returns whether both ends were heard, their roles are proven, and nothing is held against it.
fn is_exchange(judged: &Judged) -> bool {
    let conversation = &judged.conversation;
    let is_fair = match judged.verdict {
        Verdict::Documented | Verdict::Allowed | Verdict::Unjudged | Verdict::Undeclared => true,
        // Of a promoted service: it stays a candidate until a person says otherwise.
        Verdict::Learned | Verdict::NewEdge => true,
        Verdict::UnexpectedPeer | Verdict::UndocumentedPort | Verdict::Forbidden | Verdict::Denied => false,
        Verdict::SpoofedSource | Verdict::Backscatter | Verdict::Unattributed => false,
    };
    // A candidate's own finding says that it is one.
    let is_clean = judged.finding.is_none() || judged.verdict == Verdict::NewEdge;
    is_fair
        && is_clean
        && conversation.claim == Claim::Own
        && conversation.evidence.is_proof()
        && !conversation.is_proxy_leg
        && conversation.exchanged > 0
        && conversation.sent.frames > 0
        && conversation.received.frames > 0
}

/// Returns whether frames were lost at that time.
fn is_blind(completeness: &Completeness, at: Timestamp) -> bool {
    holes(completeness).iter().any(|hole| hole.from <= at && at <= hole.until)
}

/// Returns whether frames were lost at some time within the window of `at`.
fn is_blind_window(completeness: &Completeness, at: Timestamp) -> bool {
    let is_within = |hole: &Blindness| window(hole.from) <= window(at) && window(at) <= window(hole.until);
    holes(completeness).iter().any(is_within)
}

fn holes(completeness: &Completeness) -> &[Blindness] {
    match completeness {
        Completeness::Incomplete { blind, .. } => blind,
        Completeness::Complete | Completeness::Unknown { .. } => &[],
    }
}
