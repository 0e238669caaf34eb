//! What is new in a publication.

use std::collections::{BTreeMap, BTreeSet};

use portolan_flowtable::lifecycle::{Change, Happening};
use portolan_flowtable::{
    Blindness, Completeness, Conversation, Peer, Port, ServicePort, Timestamp, Workload,
};
use portolan_policy::{Alert, Judged, Listener, ListenerClass, Verdict};

use super::{
    BaselineNews, BlindNews, BlindState, ContainerAction, ContainerNews, EdgeNews, EndNews, Event,
    FindingNews, FlowNews, HeartbeatNews, LifecycleNews, ListenerNews, News, PolicyNews, PolicyState, Tuple,
};
use crate::collect::EdgeKey;
use crate::community_id::{Ports, community_id};
use crate::publication::{FlowEnd, FlowRecord, Publication};
use crate::text::Text;

/// Tells what is new, each thing once.
#[derive(Clone, Debug)]
pub struct EventSource {
    heartbeat_seconds: u32,
    heartbeat_due: Option<Timestamp>,
    edges: BTreeSet<EdgeKey>,
    flows: BTreeSet<u64>,
    listeners: BTreeMap<(String, ServicePort), ListenerClass>,
    containers: BTreeMap<(String, Timestamp), ContainerNews>,
    blind: Vec<KnownBlind>,
    /// Stage of each service and image with a baseline.
    baselines: BTreeMap<(String, String), String>,
    /// An interval before this run in which nobody looked.
    gap: Option<Blindness>,
    policy: Option<PolicySeen>,
    /// Number of the last happening that was told.
    lifecycle: u64,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct PolicySeen {
    hash: String,
    is_good: bool,
    at: Timestamp,
}

/// A blind interval that was told.
#[derive(Clone, Debug)]
struct KnownBlind {
    told: Blindness,
    /// As it stood one tick ago.
    seen: Blindness,
}

impl KnownBlind {
    /// Returns whether it has become `interval`: intervals only grow, at either end.
    fn is_within(&self, interval: &Blindness) -> bool {
        self.seen.cause == interval.cause
            && interval.from <= self.seen.from
            && self.seen.until <= interval.until
    }

    /// Returns whether what became of it is worth telling. One that stands still is over.
    fn is_news(&self, interval: &Blindness) -> bool {
        let has_doubled = match (self.told.frames, interval.frames) {
            (Some(told), Some(lost)) => lost > told && lost / 2 >= told,
            (Some(_) | None, _) => false,
        };
        self.told != *interval && (has_doubled || self.seen == *interval)
    }
}

/// Edges remembered although no conversation is left of them, so that they are not told as new again.
const EDGES_REMEMBERED_MAX: usize = 65_536;

impl EventSource {
    /// Builds a source that has told nothing, with a heartbeat every so many seconds of engine time.
    pub fn new(heartbeat_seconds: u32) -> Self {
        Self {
            heartbeat_seconds,
            heartbeat_due: None,
            edges: BTreeSet::new(),
            flows: BTreeSet::new(),
            listeners: BTreeMap::new(),
            containers: BTreeMap::new(),
            blind: Vec::new(),
            baselines: BTreeMap::new(),
            gap: None,
            policy: None,
            lifecycle: 0,
        }
    }

    /// Tells, with the first turn, of an interval before this run in which nobody looked.
    pub fn after_gap(&mut self, gap: Option<Blindness>) {
        self.gap = gap;
    }

    /// Returns the news of one tick: causes before what rests on them, the heartbeat last.
    pub fn turn(&mut self, publication: &Publication, alerts: &[Alert]) -> Vec<Event> {
        let mut news = Vec::new();
        self.policy(publication, &mut news);
        self.containers(publication, &mut news);
        self.lifecycle(publication, &mut news);
        let gap = self.gap.take().map(|interval| BlindNews { state: BlindState::Opened, interval });
        news.extend(gap.map(|blind_interval| News::BlindInterval { blind_interval }));
        self.blind_intervals(publication, &mut news);
        self.baselines(publication, &mut news);
        self.listeners(publication, &mut news);
        self.edges(publication, &mut news);
        news.extend(alerts.iter().map(|alert| finding(alert, publication)));
        self.flows(publication, &mut news);
        self.heartbeat(publication, &mut news);
        let at = publication.assessment.snapshot.at;
        news.into_iter().map(|news| Event { at, news }).collect()
    }

    fn policy(&mut self, publication: &Publication, news: &mut Vec<News>) {
        let vitals = &publication.vitals;
        let seen =
            PolicySeen { hash: vitals.policy_hash.clone(), is_good: vitals.reload_ok, at: vitals.reload_at };
        let state = match &self.policy {
            Some(known) if *known == seen => None,
            Some(_) if !seen.is_good => Some(PolicyState::Refused),
            Some(_) => Some(PolicyState::Reloaded),
            None if seen.hash.is_empty() => None,
            None => Some(PolicyState::Loaded),
        };
        self.policy = Some(seen);
        news.extend(state.map(|state| News::Policy {
            policy: PolicyNews {
                state,
                hash: vitals.policy_hash.clone(),
                contract: publication.assessment.contract.clone(),
                warnings: publication.assessment.warnings.clone(),
            },
        }));
    }

    fn containers(&mut self, publication: &Publication, news: &mut Vec<News>) {
        let workloads = &publication.assessment.snapshot.workloads;
        let present: BTreeMap<_, _> = workloads
            .iter()
            .map(|workload| ((workload.container_id.clone(), workload.started_at), container(workload)))
            .collect();
        for (life, known) in &self.containers {
            if !present.contains_key(life) {
                let container = ContainerNews { action: ContainerAction::Forgotten, ..known.clone() };
                news.push(News::Container { container });
            }
        }
        for (life, container) in &present {
            if !self.containers.contains_key(life) {
                news.push(News::Container { container: container.clone() });
            }
        }
        self.containers = present;
    }

    fn lifecycle(&mut self, publication: &Publication, news: &mut Vec<News>) {
        for row in &publication.lifecycle {
            if row.number > self.lifecycle {
                self.lifecycle = row.number;
                news.push(News::Lifecycle { lifecycle: lifecycle(&row.happening) });
            }
        }
    }

    fn blind_intervals(&mut self, publication: &Publication, news: &mut Vec<News>) {
        let intervals: &[Blindness] = match &publication.assessment.snapshot.completeness {
            Completeness::Incomplete { blind, .. } => blind,
            Completeness::Complete | Completeness::Unknown { .. } => &[],
        };
        let mut known = std::mem::take(&mut self.blind);
        for interval in intervals {
            let mut before: Vec<KnownBlind> =
                known.extract_if(.., |known| known.is_within(interval)).collect();
            // Where two were told and became one, for want of room for more, nothing was lost that is not told.
            let has_merged = before.len() > 1;
            let state = match before.pop() {
                None => Some(BlindState::Opened),
                Some(before) if !has_merged && before.is_news(interval) => Some(BlindState::Updated),
                Some(mut before) => {
                    before.seen.clone_from(interval);
                    if has_merged {
                        before.told.clone_from(interval);
                    }
                    self.blind.push(before);
                    None
                }
            };
            if let Some(state) = state {
                self.blind.push(KnownBlind { told: interval.clone(), seen: interval.clone() });
                news.push(News::BlindInterval {
                    blind_interval: BlindNews { state, interval: interval.clone() },
                });
            }
        }
    }

    fn baselines(&mut self, publication: &Publication, news: &mut Vec<News>) {
        let rows = publication.baseline.iter();
        let present: BTreeMap<_, _> =
            rows.map(|row| ((row.service.clone(), row.image.clone()), row.stage.clone())).collect();
        for (key, stage) in &present {
            if self.baselines.get(key).is_some_and(|before| before != stage) {
                let (action, service) = (stage.clone(), key.0.clone());
                let baseline = BaselineNews { action, service, edge: None, by: None, reason: None };
                news.push(News::Baseline { baseline });
            }
        }
        self.baselines = present;
    }

    fn listeners(&mut self, publication: &Publication, news: &mut Vec<News>) {
        let mut present = BTreeMap::new();
        for listener in &publication.assessment.listeners {
            let key = (listener.service.clone(), listener.port);
            let previous = self.listeners.get(&key).copied();
            if previous != Some(listener.class) && !present.contains_key(&key) {
                news.push(News::Listener { listener: listener_news(listener, previous) });
            }
            present.insert(key, listener.class);
        }
        self.listeners = present;
    }

    fn edges(&mut self, publication: &Publication, news: &mut Vec<News>) {
        let mut present = BTreeSet::new();
        for judged in &publication.assessment.judged {
            if judged.verdict == Verdict::Backscatter {
                continue;
            }
            let key = EdgeKey::of(&judged.conversation);
            if !self.edges.contains(&key) && !present.contains(&key) {
                news.push(edge(judged, &publication.flows));
            }
            present.insert(key);
        }
        let is_full = self.edges.len().saturating_add(present.len()) > EDGES_REMEMBERED_MAX;
        if is_full {
            self.edges = present;
        } else {
            self.edges.append(&mut present);
        }
    }

    fn flows(&mut self, publication: &Publication, news: &mut Vec<News>) {
        let mut present = BTreeSet::new();
        for flow in &publication.flows {
            let Some(reason) = flow.ended else { continue };
            present.insert(flow.flow_id);
            if self.flows.contains(&flow.flow_id) {
                continue;
            }
            let tuple = Tuple {
                flow_id: Some(flow.flow_id),
                community_id: Some(flow.community_id.clone()).filter(|id| !id.is_empty()),
                src: flow_end(&flow.src),
                dest: flow_end(&flow.dest),
                proto: Some(flow.proto),
            };
            let flow = FlowNews {
                network: flow.network.clone(),
                evidence: flow.evidence,
                claim: flow.claim,
                outcome: flow.outcome,
                reason,
                sent: flow.sent,
                received: flow.received,
                start: flow.first_at,
                end: flow.last_at,
                first_frame: flow.first_frame,
                last_frame: flow.last_frame,
                rtt_ns: flow.rtt,
                ack_rtt_ns: flow.ack_rtt,
                conn_state: flow.conn_state,
                history: flow.history.clone(),
                retransmissions: flow.retransmissions,
                zero_windows: flow.zero_windows,
                gaps: flow.gaps,
                icmp_error: flow.icmp_error,
            };
            news.push(News::Flow { tuple, flow });
        }
        self.flows = present;
    }

    fn heartbeat(&mut self, publication: &Publication, news: &mut Vec<News>) {
        let snapshot = &publication.assessment.snapshot;
        let vitals = &publication.vitals;
        if self.heartbeat_due.is_some_and(|due| snapshot.at < due) {
            return;
        }
        let pause = i64::from(self.heartbeat_seconds).saturating_mul(Timestamp::SECOND);
        self.heartbeat_due = Some(snapshot.at.plus(pause));
        let reasons = match &snapshot.completeness {
            Completeness::Complete => Vec::new(),
            Completeness::Incomplete { reasons, .. } | Completeness::Unknown { reasons } => reasons.clone(),
        };
        let heartbeat = HeartbeatNews {
            completeness: snapshot.completeness.word(),
            reasons,
            policy_hash: vitals.policy_hash.clone(),
            residual_frames: vitals.residual_frames,
            residual_bytes: vitals.residual_bytes,
            frames: snapshot.ledger.delivered.frames,
            kernel_dropped: snapshot.kernel_dropped,
            flows: vitals.flows_live,
            conversations: vitals.conversations,
            findings: publication.assessment.findings.len() as u64,
            containers: vitals.containers,
            flows_forgotten: vitals.flows_forgotten,
            stale: snapshot.stale.clone(),
        };
        news.push(News::Heartbeat { heartbeat: Box::new(heartbeat) });
    }
}

fn container(workload: &Workload) -> ContainerNews {
    ContainerNews {
        action: ContainerAction::Known,
        id: workload.container_id.clone(),
        name: workload.container.clone(),
        service: workload.qualified(),
        image: workload.image.clone(),
        networks: workload.networks.clone(),
        started_at: workload.started_at,
        unobservable: workload.unobservable.clone(),
    }
}

fn listener_news(listener: &Listener, previous: Option<ListenerClass>) -> ListenerNews {
    ListenerNews {
        service: listener.service.clone(),
        project: listener.project.clone(),
        port: listener.port.port,
        proto: listener.port.protocol,
        class: listener.class,
        previous,
        documented_by: listener.documented.iter().map(|document| document.source.to_string()).collect(),
    }
}

fn edge(judged: &Judged, flows: &[FlowRecord]) -> News {
    let conversation = &judged.conversation;
    let edge = EdgeNews {
        network: conversation.network.clone(),
        via: conversation.via.clone(),
        verdict: judged.verdict,
        documented_by: judged.documented_by.as_ref().map(ToString::to_string).unwrap_or_default(),
        connections: conversation.connections,
        start: conversation.first_at,
        first_frame: conversation.first_frame,
    };
    News::Edge { tuple: conversation_tuple(conversation, flows), edge }
}

fn finding(alert: &Alert, publication: &Publication) -> News {
    let finding = &alert.finding;
    let is_its = |judged: &&Judged| judged.finding.as_deref() == Some(finding.id.as_str());
    let tuple = match publication.assessment.judged.iter().find(is_its) {
        Some(judged) => conversation_tuple(&judged.conversation, &publication.flows),
        None => Tuple {
            flow_id: None,
            community_id: None,
            src: named_end(&finding.initiator, &finding.initiator_containers, None),
            dest: named_end(
                &finding.responder,
                &finding.responder_containers,
                finding.port.and_then(|port| port.port),
            ),
            proto: finding.port.map(|port| port.protocol),
        },
    };
    let complete = finding.complete;
    News::Finding {
        tuple,
        finding: Box::new(FindingNews {
            state: alert.state,
            by: alert.note.as_ref().map(|note| note.by.clone()),
            reason: alert.note.as_ref().map(|note| note.reason.clone()),
            until: alert.note.as_ref().and_then(|note| note.until),
            finding: finding.clone(),
        }),
        complete,
    }
}

fn conversation_tuple(conversation: &Conversation, flows: &[FlowRecord]) -> Tuple {
    let (source, destination) = (conversation.first_source_port, conversation.port.port);
    // Behind a published port the responder's address is not the one the packets carried.
    let community_id = match (source, destination) {
        (Some(source), Some(destination)) if conversation.via.is_none() => Some(community_id(
            conversation.port.protocol,
            conversation.initiator.address(),
            conversation.responder.address(),
            Ports::Transport { source: source.0, destination: destination.0 },
        )),
        (_, _) => None,
    };
    let is_its = |flow: &&FlowRecord| Some(&flow.community_id) == community_id.as_ref();
    Tuple {
        flow_id: flows.iter().find(is_its).map(|flow| flow.flow_id),
        src: peer_end(&conversation.initiator, source),
        dest: peer_end(&conversation.responder, destination),
        proto: Some(conversation.port.protocol),
        community_id,
    }
}

fn lifecycle(happening: &Happening) -> LifecycleNews {
    let mut news = LifecycleNews {
        action: "",
        at: happening.at,
        id: happening.container_id.clone(),
        name: happening.container.clone(),
        service: happening.service.clone(),
        image: happening.image.clone(),
        times: happening.times,
        exit_code: None,
        health: None,
        network: None,
        image_id: None,
        previous_image_ids: Vec::new(),
    };
    news.action = match &happening.change {
        Change::Start => "start",
        Change::Exec => "exec",
        Change::Die { exit_code } => {
            news.exit_code = *exit_code;
            "die"
        }
        Change::Oom => "oom",
        Change::HealthStatus { status } => {
            news.health = Some(status.clone());
            "health_status"
        }
        Change::NetworkConnect { network } => {
            news.network = Some(network.clone());
            "network_connect"
        }
        Change::NetworkDisconnect { network } => {
            news.network = Some(network.clone());
            "network_disconnect"
        }
        Change::NewImage { image_id, previous } => {
            news.image_id = Some(image_id.clone());
            news.previous_image_ids.clone_from(previous);
            "new_image"
        }
    };
    news
}

fn peer_end(peer: &Peer, port: Option<Port>) -> EndNews {
    let workload = peer.workload();
    EndNews {
        ip: Some(peer.address()),
        port,
        service: peer.service().into(),
        container: workload.map(|workload| workload.container.as_str().into()).unwrap_or_default(),
        image: workload.map(|workload| workload.image.as_str().into()).unwrap_or_default(),
        names: peer.names().iter().map(|claim| claim.name.clone()).collect(),
    }
}

fn flow_end(end: &FlowEnd) -> EndNews {
    EndNews {
        ip: Some(end.ip),
        port: end.port,
        service: end.service.clone(),
        container: end.container.clone(),
        image: end.image.clone(),
        names: end.names.clone(),
    }
}

fn named_end(service: &str, containers: &[String], port: Option<Port>) -> EndNews {
    EndNews {
        ip: None,
        port,
        service: service.into(),
        container: containers.first().map(|container| container.as_str().into()).unwrap_or_default(),
        image: Text::default(),
        names: Vec::new(),
    }
}
