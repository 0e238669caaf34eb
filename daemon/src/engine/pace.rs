//! What of each tick has a rhythm: flows that opened and bytes that were sent, by name.

use std::collections::BTreeMap;

use portolan_flowtable::directory::Holder;
use portolan_flowtable::flow::{Claim, End};
use portolan_flowtable::indicators::Round;
use portolan_flowtable::naming::Reader;
use portolan_flowtable::{AttachmentId, Delta, Flow, Names, ScopeId, ServicePort, Timestamp};
use portolan_policy::rhythm::{Rhythm, RhythmLimits, may_be_guess};

/// Most flows that open within a second, by the time of capture, and are told one by one; further ones are counted. A replay
/// closes once a minute and a live run with each tick: both leave out as many.
const OPENED_MAX: u32 = 16_384;
/// Most that are held from one close to the next: a minute of a replay.
const HELD_MAX: usize = 60 * 16_384;
/// Seconds behind and ahead of a close in which flows that opened are remembered to have been told.
const REMEMBERED: i64 = 60;

/// Gathers what deltas say until a tick is closed: ends get their names then.
#[derive(Debug, Default)]
pub(super) struct Pace {
    rhythm: Rhythm,
    opened: Vec<Opened>,
    /// Connections that are over and may have been guesses of a password.
    guesses: Vec<Opened>,
    /// How many opened in each second.
    seconds: BTreeMap<i64, u32>,
    sent: BTreeMap<AttachmentId, u64>,
    left_out: u64,
}

/// What of a flow is told.
#[derive(Clone, Copy, Debug)]
struct Opened {
    id: u64,
    scope: ScopeId,
    ends: [End; 2],
    port: ServicePort,
    span: (Timestamp, Timestamp),
}

impl Opened {
    fn of(flow: &Flow) -> Self {
        Self {
            id: flow.id,
            scope: flow.scope,
            ends: [*flow.initiator_end(), *flow.responder_end()],
            port: flow.service_port(),
            span: (flow.first_at, flow.last_at),
        }
    }
}

impl Pace {
    pub(super) fn rhythm(&self) -> &Rhythm {
        &self.rhythm
    }

    /// Goes on with what was usual before.
    pub(super) fn resume(&mut self, rhythm: Rhythm) {
        self.rhythm = rhythm;
    }

    /// Takes what containers use.
    pub(super) fn indicated(&mut self, round: &Round) {
        self.rhythm.indicated(round);
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
        let is_guess = |flow: &Flow| is_told(flow) && may_be_guess(flow);
        if is_guess(flow) && !before.is_some_and(|before| before.id == flow.id && is_guess(before)) {
            if self.guesses.len() < HELD_MAX {
                self.guesses.push(Opened::of(flow));
            } else {
                self.left_out = self.left_out.saturating_add(1);
            }
        }
        // Who opened it may be known a while after it was: it is told once.
        let was_told = before.is_some_and(|before| before.id == flow.id && is_told(before));
        if was_told || !is_told(flow) {
            return;
        }
        if !self.hold(flow) {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    fn hold(&mut self, flow: &Flow) -> bool {
        if self.opened.len() >= HELD_MAX {
            return false;
        }
        let in_second = self.seconds.entry(second_of(flow.first_at)).or_default();
        if *in_second >= OPENED_MAX {
            return false;
        }
        *in_second += 1;
        self.opened.push(Opened::of(flow));
        true
    }

    /// Closes a tick: tells by name what was gathered since the last one.
    pub(super) fn close(&mut self, names: &Names, at: Timestamp, limits: &RhythmLimits) {
        if !self.opened.is_empty() {
            let reader = Reader::new(names);
            // Deltas come in the order of their slots.
            self.opened.sort_unstable_by_key(|opened| (opened.span.0, opened.id));
            for Opened { scope, ends: [initiator, responder], port, span, id: _ } in self.opened.drain(..) {
                let (initiator, responder, port) =
                    reader.ends_of(scope, [&initiator, &responder], port, span);
                self.rhythm.opened(&initiator, &responder, port, span.0, limits);
            }
        }
        if !self.guesses.is_empty() {
            let reader = Reader::new(names);
            self.guesses.sort_unstable_by_key(|over| (over.span.1, over.id));
            for Opened { scope, ends: [initiator, responder], port, span, id: _ } in self.guesses.drain(..) {
                let (initiator, responder, port) =
                    reader.ends_of(scope, [&initiator, &responder], port, span);
                self.rhythm.guessed(&initiator, &responder, port, span.1, limits);
            }
        }
        let closed = second_of(at);
        self.seconds.retain(|second, _| second.abs_diff(closed) <= REMEMBERED.unsigned_abs());
        for (attachment, bytes) in std::mem::take(&mut self.sent) {
            if let Some(workload) = names.attachments.get(&attachment) {
                self.rhythm.sent(&workload.qualified(), bytes, at, limits);
            }
        }
        self.rhythm.turn_away(std::mem::take(&mut self.left_out));
        self.rhythm.close(at, limits);
    }
}

fn second_of(at: Timestamp) -> i64 {
    at.0.div_euclid(Timestamp::SECOND)
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

    /// A flow that somebody is proven to have opened.
    fn proven() -> Delta {
        let mut table = FlowTable::new(Limits { flows_max: 64, ..Limits::default() }, 1);
        let mut deltas: Vec<Delta> = Vec::new();
        table.observe(&[datagram(false), datagram(true)], &InterfaceTable::plain(), &BareDirectory);
        table.drain(&mut deltas);
        deltas.pop().unwrap()
    }

    #[test]
    fn a_replay_that_closes_once_a_minute_leaves_out_what_a_live_run_does() {
        let (delta, limits) = (proven(), RhythmLimits::default());
        let told = |pace: &mut Pace, id: u64, second: i64| {
            let flow = Flow { id, first_at: Timestamp((1_020 + second) * Timestamp::SECOND), ..delta.flow };
            pace.apply(&Delta { flow, ..delta }, None);
        };
        // 600 in each second of a minute are more than one second may have, and 20,000 in its last second are.
        for (in_second, in_last, left_out) in [(600, 600, 0), (600, 20_000, 3_616)] {
            let counts = [false, true].map(|is_live| {
                let mut pace = Pace::default();
                for second in 0..60_i64 {
                    let at = |nanoseconds| Timestamp((1_020 + second) * Timestamp::SECOND + nanoseconds);
                    for number in 0..if second == 59 { in_last } else { in_second } {
                        told(&mut pace, second.unsigned_abs() * 100_000 + number, second);
                        if is_live && number % 5_000 == 0 {
                            pace.close(&Names::default(), at(1), &limits);
                        }
                    }
                }
                pace.close(&Names::default(), Timestamp(1_079 * Timestamp::SECOND), &limits);
                assert!(pace.seconds.len() <= 121);
                pace.rhythm.turned_away()
            });
            assert_eq!(counts, [left_out, left_out]);
        }
    }
}
