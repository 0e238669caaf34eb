//! Live flows and the latest ended ones, for listings.

use std::collections::VecDeque;

use portolan_exporter::{FlowEnd, FlowRecord, community_id};
use portolan_flowtable::naming::Reader;
use portolan_flowtable::{Delta, DnsNames, EndReason, Flow, Names, Outcome, Peer, Tally};

/// Copies of flows as their last delta had them. Bounded: the oldest ended flow is forgotten first, and counted.
#[derive(Debug)]
pub struct FlowBook {
    /// Open flows, in no order.
    live: Vec<(u32, Flow)>,
    /// For each slot of the flow table, where its flow stands among the open ones, counted from 1; 0 for nowhere.
    places: Vec<u32>,
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
            live: Vec::new(),
            places: Vec::new(),
            ended: VecDeque::new(),
            kept_max,
            forgotten: 0,
            unseen: Unseen::default(),
        }
    }

    /// Takes one delta in.
    pub fn apply(&mut self, delta: &Delta) {
        let before = match delta.ended {
            None => self.keep(delta),
            Some(reason) => {
                let before = self.take(delta.slot);
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

    /// Keeps an open flow and returns it as it stood.
    fn keep(&mut self, delta: &Delta) -> Option<Flow> {
        let slot = delta.slot as usize;
        if self.places.len() <= slot {
            self.places.resize(slot + 1, 0);
        }
        let place = self.places.get_mut(slot)?;
        if let Some((_, flow)) = (*place as usize).checked_sub(1).and_then(|at| self.live.get_mut(at)) {
            return Some(std::mem::replace(flow, delta.flow));
        }
        self.live.push((delta.slot, delta.flow));
        *place = u32::try_from(self.live.len()).unwrap_or(0);
        None
    }

    /// Takes the open flow of a slot out.
    fn take(&mut self, slot: u32) -> Option<Flow> {
        let place = std::mem::take(self.places.get_mut(slot as usize)?);
        let at = (place as usize).checked_sub(1)?;
        let (_, flow) = self.live.swap_remove(at);
        if let Some((moved, _)) = self.live.get(at)
            && let Some(its_place) = self.places.get_mut(*moved as usize)
        {
            *its_place = place;
        }
        Some(flow)
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

    /// Returns all ended flows that are kept and at most `live_max` live ones, newest opened last.
    ///
    /// Every flow that ends is in the next list, for its event. Of too many live ones the attempts nobody answered are
    /// left out first, the oldest before the others: a flood of flows must not hide those others have.
    pub fn records(&self, names: &Names, claims: &DnsNames, live_max: usize) -> Vec<FlowRecord> {
        let reader = Reader::new(names).with_claims(claims);
        let mut live: Vec<&Flow> = self.live.iter().map(|(_, flow)| flow).collect();
        let left_out = live.len().saturating_sub(live_max);
        if left_out > 0 {
            live.select_nth_unstable_by_key(left_out - 1, |flow| {
                (flow.outcome == Outcome::Answered, flow.id)
            });
            live.drain(..left_out);
        }
        let ended = self.ended.iter().map(|(flow, reason)| (flow, Some(*reason)));
        let mut flows: Vec<(&Flow, Option<EndReason>)> =
            ended.chain(live.into_iter().map(|flow| (flow, None))).collect();
        flows.sort_unstable_by_key(|(flow, _)| flow.id);
        flows.into_iter().map(|(flow, ended)| record(flow, ended, &reader, names)).collect()
    }
}

fn record(flow: &Flow, ended: Option<EndReason>, reader: &Reader<'_>, names: &Names) -> FlowRecord {
    let (sent_frames, received_frames) = flow.directed(flow.frames);
    let (sent_bytes, received_bytes) = flow.directed(flow.bytes);
    let (initiator, responder) = (flow.initiator_end(), flow.responder_end());
    let peer = |end: &portolan_flowtable::End| {
        reader.peer(flow.scope, end.holder, end.address, (flow.first_at, flow.last_at))
    };
    let (mut from, mut to) = (peer(initiator), peer(responder));
    // A name explains a flow that opened while it held.
    let opened = (flow.first_at, flow.first_at);
    reader.call(&mut to, &from, (flow.scope, initiator.holder), opened);
    reader.call(&mut from, &to, (flow.scope, responder.holder), opened);
    FlowRecord {
        flow_id: flow.id,
        community_id: community_id::of_flow(flow).unwrap_or_default(),
        proto: flow.protocol,
        src: flow_end(&from, initiator),
        dest: flow_end(&to, responder),
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
        names: peer.names().iter().map(|name| name.name.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use portolan_flowtable::directory::BareDirectory;
    use portolan_flowtable::{
        Direction, FlowTable, Fragment, InterfaceId, InterfaceTable, Limits, MacAddr, Network, Observation,
        Packet, Port, Protocol, Timestamp,
    };

    use super::*;

    /// A datagram from a port to port 53, or the answer to it.
    fn datagram(frame: u64, port: u16, is_answer: bool) -> Observation {
        let (asker, server) = ((Port(port), [10, 0, 0, 1]), (Port(53), [10, 0, 0, 2]));
        let (from, to) = if is_answer { (server, asker) } else { (asker, server) };
        Observation {
            at: Timestamp(1_000 * Timestamp::SECOND),
            is_timed: true,
            frame,
            interface: InterfaceId(1),
            direction: Direction::Unstated,
            source_mac: MacAddr::default(),
            wire_bytes: 60,
            fingerprint: 0,
            network: Network::Ip(Packet {
                source: from.1.into(),
                destination: to.1.into(),
                protocol: Protocol::UDP,
                ports: Some((from.0, to.0)),
                tcp: None,
                icmp: None,
                fragment: Fragment::Whole,
                vlan: None,
                is_tunnel: false,
            }),
        }
    }

    #[test]
    fn unanswered_attempts_hide_neither_live_exchanges_nor_ended_flows() {
        let mut table = FlowTable::new(Limits { flows_max: 1_024, ..Limits::default() }, 1);
        let mut deltas: Vec<Delta> = Vec::new();
        let mut batch: Vec<Observation> = (0..5).map(|port| datagram(1, 1_000 + port, false)).collect();
        batch.extend((0..5).map(|port| datagram(2, 1_000 + port, true)));
        batch.extend((0..200).map(|port| datagram(3, 2_000 + port, false)));
        table.observe(&batch, &InterfaceTable::plain(), &BareDirectory);
        table.drain(&mut deltas);
        let mut book = FlowBook::new(20);
        for (at, delta) in deltas.iter().enumerate() {
            // Two of the first ended.
            let ended = (at < 2).then_some(EndReason::Idle);
            book.apply(&Delta { ended, ..*delta });
        }
        let records = book.records(&Names::default(), &DnsNames::default(), 20);
        let ids: Vec<u64> = records.iter().map(|record| record.flow_id).collect();
        // Ended, live and answered, and the latest attempts for the rest.
        let expected: Vec<u64> = (1..=5).chain(189..=205).collect();
        assert_eq!(ids, expected);
        assert_eq!(records.iter().filter(|record| record.ended.is_some()).count(), 2);
    }
}
