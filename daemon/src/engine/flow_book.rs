//! Live flows and the latest ended ones, for listings.

use std::collections::{BTreeMap, VecDeque};

use portolan_exporter::{FlowEnd, FlowRecord, community_id};
use portolan_flowtable::naming::Reader;
use portolan_flowtable::{Delta, EndReason, Flow, Names, Peer, Tally};

/// Copies of flows as their last delta had them. Bounded: the oldest ended flow is forgotten first, and counted.
#[derive(Debug)]
pub struct FlowBook {
    live: BTreeMap<u64, Flow>,
    ended: VecDeque<(Flow, EndReason)>,
    kept_max: usize,
    forgotten: u64,
    unseen: Unseen,
}

/// What acknowledgments say was sent and never captured.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Unseen {
    /// Payload, at least, in bytes.
    pub bytes: u64,
    /// Flows it belongs to.
    pub flows: u64,
}

impl FlowBook {
    /// Builds a book that keeps `kept_max` ended flows; live ones are bounded by the flow table.
    pub fn new(kept_max: usize) -> Self {
        Self {
            live: BTreeMap::new(),
            ended: VecDeque::new(),
            kept_max,
            forgotten: 0,
            unseen: Unseen::default(),
        }
    }

    /// Takes one delta in.
    pub fn apply(&mut self, delta: &Delta) {
        let before = match delta.ended {
            None => self.live.insert(delta.flow.id, delta.flow),
            Some(reason) => {
                let before = self.live.remove(&delta.flow.id);
                if self.ended.len() >= self.kept_max {
                    self.ended.pop_front();
                    self.forgotten += 1;
                }
                self.ended.push_back((delta.flow, reason));
                before
            }
        };
        let (before, after) = (before.map_or(0, |flow| flow.unseen_bytes()), delta.flow.unseen_bytes());
        self.unseen.bytes = (self.unseen.bytes - before) + after;
        self.unseen.flows = (self.unseen.flows - u64::from(before > 0)) + u64::from(after > 0);
    }

    /// Returns what acknowledgments say was sent and never captured, of all flows so far.
    pub fn unseen(&self) -> Unseen {
        self.unseen
    }

    /// Returns flows that are open.
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// Returns ended flows that were forgotten.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Returns at most `most` records, newest opened last.
    pub fn records(&self, names: &Names, most: usize) -> Vec<FlowRecord> {
        let reader = Reader::new(names);
        let mut flows: Vec<(&Flow, Option<EndReason>)> = self
            .ended
            .iter()
            .map(|(flow, reason)| (flow, Some(*reason)))
            .chain(self.live.values().map(|flow| (flow, None)))
            .collect();
        flows.sort_by_key(|(flow, _)| flow.id);
        let skipped = flows.len().saturating_sub(most);
        flows.into_iter().skip(skipped).map(|(flow, ended)| record(flow, ended, &reader, names)).collect()
    }
}

fn record(flow: &Flow, ended: Option<EndReason>, reader: &Reader<'_>, names: &Names) -> FlowRecord {
    let (sent_frames, received_frames) = flow.directed(flow.frames);
    let (sent_bytes, received_bytes) = flow.directed(flow.bytes);
    let end = |end: &portolan_flowtable::End| {
        let peer = reader.peer(flow.scope, end.holder, end.address, (flow.first_at, flow.last_at));
        flow_end(&peer, end)
    };
    FlowRecord {
        flow_id: flow.id,
        community_id: community_id::of_flow(flow).unwrap_or_default(),
        proto: flow.protocol,
        src: end(flow.initiator_end()),
        dest: end(flow.responder_end()),
        network: names.scopes.get(&flow.scope).map_or(String::new(), |name| name.to_string()),
        evidence: flow.evidence,
        claim: flow.claim,
        outcome: flow.outcome,
        sent: Tally { frames: sent_frames, bytes: sent_bytes },
        received: Tally { frames: received_frames, bytes: received_bytes },
        first_at: flow.first_at,
        last_at: flow.last_at,
        first_frame: flow.first_frame,
        last_frame: flow.last_frame,
        rtt: flow.rtt,
        ack_rtt: flow.ack_rtt,
        conn_state: flow.conn_state(),
        history: flow.history.text(flow.initiator),
        retransmissions: flow.directed(flow.retransmissions).into(),
        zero_windows: flow.directed(flow.zero_windows).into(),
        gaps: flow.directed(flow.gaps).into(),
        icmp_error: flow.icmp_error,
        ended,
    }
}

fn flow_end(peer: &Peer, end: &portolan_flowtable::End) -> FlowEnd {
    let workload = peer.workload();
    FlowEnd {
        ip: end.address,
        port: end.port,
        service: peer.service(),
        container: workload.map_or(String::new(), |workload| workload.container.clone()),
        image: workload.map_or(String::new(), |workload| workload.image.clone()),
    }
}
