//! What of each tick has a rhythm: flows that opened and bytes that were sent, by name.

use std::collections::BTreeMap;

use portolan_flowtable::directory::Holder;
use portolan_flowtable::flow::Claim;
use portolan_flowtable::naming::Reader;
use portolan_flowtable::{AttachmentId, Delta, Flow, Names, Timestamp};
use portolan_policy::rhythm::{Rhythm, RhythmLimits};

/// Most flows that open between two closes and are told one by one; further ones are counted.
const OPENED_MAX: usize = 16_384;

/// Gathers what deltas say until a tick is closed: ends get their names then.
#[derive(Debug, Default)]
pub(super) struct Pace {
    rhythm: Rhythm,
    opened: Vec<Flow>,
    sent: BTreeMap<AttachmentId, u64>,
    left_out: u64,
}

impl Pace {
    pub(super) fn rhythm(&self) -> &Rhythm {
        &self.rhythm
    }

    /// Goes on with what was usual before.
    pub(super) fn resume(&mut self, rhythm: Rhythm) {
        self.rhythm = rhythm;
    }

    /// Takes one flow's growth; `before` is the flow as its last delta had it.
    pub(super) fn apply(&mut self, delta: &Delta, before: Option<&Flow>) {
        let flow = &delta.flow;
        let grown = delta.grown.map(|tally| tally.bytes);
        let (sent, received) = flow.directed(grown);
        for (end, bytes) in [(flow.initiator_end(), sent), (flow.responder_end(), received)] {
            if let (Holder::Attachment(attachment), true) = (end.holder, bytes > 0) {
                let all = self.sent.entry(attachment).or_default();
                *all = all.saturating_add(bytes);
            }
        }
        // Who opened it may be known a while after it was: it is told once.
        let was_told = before.is_some_and(|before| before.id == flow.id && is_told(before));
        if was_told || !is_told(flow) {
            return;
        }
        if self.opened.len() < OPENED_MAX {
            self.opened.push(*flow);
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    /// Closes a tick: tells by name what was gathered since the last one.
    pub(super) fn close(&mut self, names: &Names, at: Timestamp, limits: &RhythmLimits) {
        if !self.opened.is_empty() {
            let reader = Reader::new(names);
            // Deltas come in the order of their slots.
            self.opened.sort_unstable_by_key(|flow| (flow.first_at, flow.id));
            for flow in self.opened.drain(..) {
                let (initiator, responder, port) = reader.ends(&flow);
                self.rhythm.opened(&initiator, &responder, port, flow.first_at, limits);
            }
        }
        for (attachment, bytes) in std::mem::take(&mut self.sent) {
            if let Some(workload) = names.attachments.get(&attachment) {
                self.rhythm.sent(&workload.qualified(), bytes, at, limits);
            }
        }
        self.rhythm.turn_away(std::mem::take(&mut self.left_out));
        self.rhythm.close(at, limits);
    }
}

/// Returns whether a flow is told of: it was seen to open, by whom is proven, and its sender holds its address.
fn is_told(flow: &Flow) -> bool {
    flow.evidence.is_proof() && !flow.is_midstream && flow.claim == Claim::Own
}

#[cfg(test)]
mod tests {
    use portolan_flowtable::directory::BareDirectory;
    use portolan_flowtable::{
        Direction, FlowTable, Fragment, InterfaceId, InterfaceTable, Limits, MacAddr, Network, Observation,
        Packet, Port, Protocol,
    };

    use super::*;
    use crate::engine::FlowBook;

    /// A datagram to port 53, or the answer to it.
    fn datagram(is_answer: bool) -> Observation {
        let (asker, server) = ((Port(50_000), [10, 0, 0, 1]), (Port(53), [10, 0, 0, 2]));
        let (from, to) = if is_answer { (server, asker) } else { (asker, server) };
        Observation {
            at: Timestamp(1_000 * Timestamp::SECOND),
            is_timed: true,
            frame: 1,
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
    fn a_flow_is_told_once_and_not_before_it_is_proven_who_opened_it() {
        let mut table = FlowTable::new(Limits { flows_max: 64, ..Limits::default() }, 1);
        let (mut pace, mut book) = (Pace::default(), FlowBook::new(8));
        let mut told = Vec::new();
        // Who sent first may have been sent to before: the answer proves it.
        for is_answer in [false, true, false, true] {
            let mut deltas: Vec<Delta> = Vec::new();
            table.observe(&[datagram(is_answer)], &InterfaceTable::plain(), &BareDirectory);
            table.drain(&mut deltas);
            for delta in &deltas {
                let before = book.apply(delta);
                pace.apply(delta, before.as_ref());
            }
            told.push(pace.opened.len());
        }
        assert_eq!(told, [0, 1, 1, 1]);
        // Addresses are nobody's container: no bytes of anybody.
        assert!(pace.sent.is_empty());
        pace.close(&Names::default(), Timestamp(1_000 * Timestamp::SECOND), &RhythmLimits::default());
        assert!(pace.opened.is_empty());
    }
}
