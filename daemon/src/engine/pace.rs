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
