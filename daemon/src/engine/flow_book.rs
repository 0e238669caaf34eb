//! Live flows and the latest ended ones, for listings.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use portolan_exporter::{DryRun, FlowEnd, FlowRecord, Text, community_id};
use portolan_flowtable::flow::Claim;
use portolan_flowtable::naming::Reader;
use portolan_flowtable::{
    Delta, DnsNames, EndReason, Flow, Names, Outcome, Peer, ServicePort, Tally, Workload,
};
use portolan_policy::Judged;

/// Copies of flows as their last delta had them. Bounded: the oldest ended flow is forgotten first, and counted.
#[derive(Debug)]
pub struct FlowBook {
    /// Open flows, in no order.
    live: Vec<(u32, Flow)>,
    /// What each of them is kept for in a list that is too short: flows lie far apart, and this does not.
    ranks: Vec<u64>,
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
            ranks: Vec::new(),
            places: Vec::new(),
            ended: VecDeque::new(),
            kept_max,
            forgotten: 0,
            unseen: Unseen::default(),
        }
    }

    /// Takes one delta in, and returns the flow as its last delta had it.
    pub fn apply(&mut self, delta: &Delta) -> Option<Flow> {
        let known = match delta.ended {
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
        let (before, after) = (known.map_or(0, |flow| flow.unseen_bytes()), delta.flow.unseen_bytes());
        self.unseen.bytes = (self.unseen.bytes - before) + after;
        self.unseen.flows = (self.unseen.flows - u64::from(before > 0)) + u64::from(after > 0);
        known
    }

    /// Keeps an open flow and returns it as it stood.
    fn keep(&mut self, delta: &Delta) -> Option<Flow> {
        let slot = delta.slot as usize;
        if self.places.len() <= slot {
            self.places.resize(slot + 1, 0);
        }
        let place = self.places.get_mut(slot)?;
        if let Some(at) = (*place as usize).checked_sub(1)
            && let (Some((_, flow)), Some(its_rank)) = (self.live.get_mut(at), self.ranks.get_mut(at))
        {
            *its_rank = rank(&delta.flow);
            return Some(std::mem::replace(flow, delta.flow));
        }
        self.live.push((delta.slot, delta.flow));
        self.ranks.push(rank(&delta.flow));
        *place = u32::try_from(self.live.len()).unwrap_or(0);
        None
    }

    /// Takes the open flow of a slot out.
    fn take(&mut self, slot: u32) -> Option<Flow> {
        let place = std::mem::take(self.places.get_mut(slot as usize)?);
        let at = (place as usize).checked_sub(1)?;
        let (_, flow) = self.live.swap_remove(at);
        self.ranks.swap_remove(at);
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

    /// Returns the least rank of the `most` highest ones.
    fn least_rank(&self, most: usize) -> u64 {
        let left_out = self.ranks.len().saturating_sub(most);
        if left_out == 0 {
            return 0;
        }
        let mut ranks = self.ranks.clone();
        // A limit of none at all leaves nobody.
        let (_, last_left_out, _) = ranks.select_nth_unstable(left_out - 1);
        last_left_out.saturating_add(1)
    }

    /// Returns all ended flows that are kept and at most `live_max` live ones, newest opened last.
    ///
    /// Every flow that ends is in the next list, for its event. Of too many live ones the attempts nobody answered are
    /// left out first, the oldest before the others: a flood of flows must not hide those others have.
    pub fn records(
        &self,
        names: &Names,
        claims: &DnsNames,
        live_max: usize,
        tried: Option<&Tried>,
    ) -> Vec<FlowRecord> {
        let reader = Reader::new(names).with_claims(claims);
        let least = self.least_rank(live_max);
        let ranked = self.live.iter().zip(&self.ranks);
        let live = ranked.filter(|(_, rank)| **rank >= least);
        // Flows lie far apart: their numbers are sorted beside them.
        let live = live.map(|((_, flow), rank)| (rank & NUMBER, flow, None));
        let ended = self.ended.iter().map(|(flow, reason)| (flow.id & NUMBER, flow, Some(*reason)));
        let mut flows: Vec<(u64, &Flow, Option<EndReason>)> = ended.chain(live).collect();
        flows.sort_unstable_by_key(|(number, _, _)| *number);
        let of = |flow: &Flow| tried.and_then(|tried| tried.of_flow(flow, &reader));
        let mut writer = Writer { reader: &reader, names, workloads: HashMap::new() };
        let records = flows.into_iter();
        records
            .map(|(_, flow, ended)| FlowRecord { dry_run: of(flow), ..writer.record(flow, ended) })
            .collect()
    }
}

/// Answered flows before attempts, later ones before earlier ones. No two flows have the same number.
fn rank(flow: &Flow) -> u64 {
    let is_answered = flow.outcome == Outcome::Answered;
    u64::from(is_answered) << 63 | flow.id & NUMBER
}

/// Bits of a rank that are the flow's number.
const NUMBER: u64 = u64::MAX >> 1;

/// How conversations stand and would by a contract that is tried, by the ends and the port of their flows.
#[derive(Debug)]
pub struct Tried(BTreeMap<(String, String, ServicePort, Claim), DryRun>);

impl Tried {
    /// Collects the verdicts of an assessment in which a contract is tried.
    pub fn of(judged: &[Judged]) -> Self {
        let verdicts = judged.iter().filter_map(|judged| {
            let conversation = &judged.conversation;
            let ends = (party(&conversation.initiator), party(&conversation.responder));
            let pending = judged.pending.as_ref()?.verdict;
            let dry_run = DryRun { verdict: judged.verdict, pending };
            Some(((ends.0, ends.1, conversation.port, conversation.claim), dry_run))
        });
        Self(verdicts.collect())
    }

    /// Returns those of a flow's conversation; `None` where its conversation was folded into another.
    ///
    /// How its sender stands to its address may have turned out otherwise since its conversation was drawn: then those of
    /// the only conversation between the same ends count.
    fn of_flow(&self, flow: &Flow, reader: &Reader<'_>) -> Option<DryRun> {
        let (initiator, responder, port) = reader.ends(flow);
        let (from, to) = (party(&initiator), party(&responder));
        let of = |claim| self.0.get(&(from.clone(), to.clone(), port, claim)).copied();
        of(flow.claim).or_else(|| {
            let claims = [Claim::Own, Claim::Unlisted, Claim::Spoofed, Claim::Backscatter];
            let mut others = claims.into_iter().filter_map(of);
            others.next().filter(|_| others.next().is_none())
        })
    }
}

/// Names one end so that replicas and addresses stay apart.
fn party(peer: &Peer) -> String {
    peer.workload().map_or_else(|| peer.address().to_string(), |workload| workload.container_id.clone())
}

/// Makes records of flows; what a container is called is written down once.
struct Writer<'a> {
    reader: &'a Reader<'a>,
    names: &'a Names,
    /// By where what is known of a container stands in memory.
    workloads: HashMap<*const Workload, Called>,
}

/// How one end is called in a record.
#[derive(Clone, Default)]
struct Called {
    service: Text,
    container: Text,
    image: Text,
}

impl Writer<'_> {
    fn record(&mut self, flow: &Flow, ended: Option<EndReason>) -> FlowRecord {
        let Self { reader, names, .. } = *self;
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
            src: self.end(&from, initiator),
            dest: self.end(&to, responder),
            network: names.scopes.get(&flow.scope).map(Text::from).unwrap_or_default(),
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
            history: Text::ascii(flow.history.letters(flow.initiator)),
            retransmissions: flow.directed(flow.retransmissions).into(),
            zero_windows: flow.directed(flow.zero_windows).into(),
            gaps: flow.directed(flow.gaps).into(),
            icmp_error: flow.icmp_error,
            ended,
            dry_run: None,
        }
    }

    fn end(&mut self, peer: &Peer, end: &portolan_flowtable::End) -> FlowEnd {
        let Called { service, container, image } = self.called(peer);
        FlowEnd {
            ip: end.address,
            port: end.port,
            service,
            container,
            image,
            names: peer.names().iter().map(|name| name.name.clone()).collect(),
        }
    }

    fn called(&mut self, peer: &Peer) -> Called {
        match peer {
            Peer::Workload { workload, .. } => {
                let called = || Called {
                    service: Text::from(workload.qualified()),
                    container: Text::from(workload.container.as_str()),
                    image: Text::from(workload.image.as_str()),
                };
                self.workloads.entry(Arc::as_ptr(workload)).or_insert_with(called).clone()
            }
            Peer::Bare { address } => Called { service: Text::address(*address), ..Called::default() },
            Peer::Host { .. }
            | Peer::External { .. }
            | Peer::Unclaimed { .. }
            | Peer::Group { .. }
            | Peer::Ambiguous { .. } => Called { service: Text::from(peer.service()), ..Called::default() },
        }
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
        let records = book.records(&Names::default(), &DnsNames::default(), 20, None);
        let ids: Vec<u64> = records.iter().map(|record| record.flow_id).collect();
        // Ended, live and answered, and the latest attempts for the rest.
        let expected: Vec<u64> = (1..=5).chain(189..=205).collect();
        assert_eq!(ids, expected);
        assert_eq!(records.iter().filter(|record| record.ended.is_some()).count(), 2);
    }
}
