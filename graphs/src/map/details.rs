//! What the map tells of nodes and edges beyond the graph: replicas, who talked to whom among them, what decided.

use std::collections::{BTreeMap, BTreeSet};

use portolan_flowtable::{Peer, Workload};
use portolan_policy::{Assessment, Verdict};

use super::{Between, Replica};
use crate::cast::Cast;
use crate::drafts::edge_id;
use crate::graph::Group;
use crate::merge::Hosts;

/// Lines listed that decided an edge's verdict.
const DECIDED_MAX: usize = 4;

/// What stands beside the graph in an assessment, by id.
pub(super) struct Details {
    pub(super) replicas: BTreeMap<String, BTreeMap<String, Replica>>,
    pub(super) between: BTreeMap<String, BTreeMap<(String, String), Between>>,
    pub(super) decided_by: BTreeMap<String, BTreeSet<String>>,
}

impl Details {
    pub(super) fn of(assessment: &Assessment, group: Group, hosts: Hosts<'_>) -> Self {
        let mut details =
            Self { replicas: BTreeMap::new(), between: BTreeMap::new(), decided_by: BTreeMap::new() };
        let mut cast = Cast::new(group);
        for workload in &assessment.snapshot.workloads {
            let at = cast.introduce(workload, "");
            details.add(cast.id(at), workload, 0, 0);
        }
        for (number, judged) in assessment.judged.iter().enumerate() {
            if judged.verdict == Verdict::Backscatter {
                continue;
            }
            let (here, there) = hosts.of(number);
            let talk = &judged.conversation;
            let (sent, received) = (talk.sent.bytes, talk.received.bytes);
            let source = cast.meet_on(here, &talk.initiator, &talk.network);
            let target = cast.meet_on(there, &talk.responder, &talk.network);
            let (source, target) = (cast.id(source), cast.id(target));
            if let Some(workload) = talk.initiator.workload() {
                details.add(source, workload, sent, received);
            }
            if let Some(workload) = talk.responder.workload() {
                details.add(target, workload, received, sent);
            }
            let id = edge_id(source, target, talk.port, talk.via.as_deref());
            let (initiator, responder) = (name_of(&talk.initiator), name_of(&talk.responder));
            let pairs = details.between.entry(id.clone()).or_default();
            let pair = pairs.entry((initiator.clone(), responder.clone())).or_insert(Between {
                initiator,
                responder,
                answered: 0,
                failed: 0,
                bytes: 0,
            });
            pair.answered = pair.answered.saturating_add(talk.connections.answered);
            pair.failed = pair.failed.saturating_add(talk.connections.failed());
            pair.bytes = pair.bytes.saturating_add(sent).saturating_add(received);
            let decided = details.decided_by.entry(id).or_default();
            if !judged.decided_by.is_empty() && decided.len() < DECIDED_MAX {
                decided.insert(judged.decided_by.clone());
            }
        }
        details
    }

    /// Adds what a container sent and received to its replica.
    fn add(&mut self, node: &str, workload: &Workload, sent: u64, received: u64) {
        let replicas = self.replicas.entry(node.to_owned()).or_default();
        let replica = replicas.entry(workload.container.clone()).or_insert_with(|| Replica {
            name: workload.container.clone(),
            image: workload.image.clone(),
            unobservable: workload.unobservable.clone(),
            ..Replica::default()
        });
        replica.sent_bytes = replica.sent_bytes.saturating_add(sent);
        replica.received_bytes = replica.received_bytes.saturating_add(received);
    }
}

fn name_of(peer: &Peer) -> String {
    peer.workload().map_or_else(|| peer.address().to_string(), |workload| workload.container.clone())
}
