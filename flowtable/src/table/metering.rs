//! A packet on its way into a slot.

use super::ahead::Ahead;
use super::folding::{Folded, fold, keeps_its_ends};
use super::slot::{Cold, Hot};
use super::{FlowTable, ends, overflow_row, tag_of};
use crate::delta::EndReason;
use crate::directory::{AttachmentId, Directory, Holder, ScopeId, is_exempt_source};
use crate::flow::{Claim, End, Flow, Outcome, Side};
use crate::history::History;
use crate::interfaces::Sighting;
use crate::key::FlowKey;
use crate::ledger::{NotCounted, Tally};
use crate::missed::Missing;
use crate::observation::{ArpFacts, Network, NonIp, Observation, Packet, TcpFacts};
use crate::progress;
use crate::progress::State;
use crate::sequence::{Marks, Numbers};
use crate::units::{Port, Protocol};

/// One packet on its way into a slot.
pub(super) struct Metering<'a> {
    pub(super) seen: &'a Observation,
    pub(super) packet: &'a Packet,
    pub(super) ports: Option<(Port, Port)>,
    pub(super) scope: ScopeId,
    pub(super) sender: Sender,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Sender {
    Veth { attachment: AttachmentId, is_fresh: bool },
    Bridge,
    Unknown,
}

impl FlowTable {
    #[inline]
    pub(super) fn sight(&mut self, seen: &Observation, ahead: &Ahead, directory: &impl Directory) {
        let (scope, sender) = match ahead.sighting {
            Sighting::Sent { scope, attachment, is_fresh, is_foreign_mac: _ } => {
                if let Some(holder) = ahead.robbed {
                    self.thefts.note(seen, scope, attachment, holder);
                }
                (scope, Sender::Veth { attachment, is_fresh })
            }
            Sighting::SentByHost { scope } => (scope, Sender::Bridge),
            Sighting::Plain { scope } => (scope, Sender::Unknown),
            Sighting::Delivered { scope, .. } => {
                self.ledger.not_counted(NotCounted::SecondSighting, seen.wire_bytes);
                self.note_delivery(seen, scope);
                return;
            }
            Sighting::Second => return self.ledger.not_counted(NotCounted::SecondSighting, seen.wire_bytes),
            Sighting::Foreign => return self.ledger.not_counted(NotCounted::Foreign, seen.wire_bytes),
            Sighting::Unknown => return self.hold(seen),
        };
        match &seen.network {
            Network::NonIp(NonIp::Arp(said)) => {
                self.ledger.arp.count(seen.wire_bytes);
                if let Some(arp) = said {
                    self.note_neighbour(seen, arp, scope, sender);
                }
            }
            Network::NonIp(NonIp::Other) => self.ledger.other_non_ip.count(seen.wire_bytes),
            Network::Ip(packet) => {
                let ports = self.ports_of(scope, packet);
                self.meter(&Metering { seen, packet, ports, scope, sender }, ahead.place, directory);
            }
        }
    }

    /// Kept out of the packets' way.
    #[cold]
    fn note_neighbour(&mut self, seen: &Observation, arp: &ArpFacts, scope: ScopeId, sender: Sender) {
        let (attachment, is_host) = match sender {
            Sender::Veth { attachment, is_fresh: _ } => (attachment, false),
            Sender::Bridge => (AttachmentId(0), true),
            Sender::Unknown => (AttachmentId(0), false),
        };
        self.neighbours.note(seen, arp, scope, attachment, is_host);
    }

    /// Meters a packet; `place` is its key's, where that was built before.
    #[inline(always)]
    pub(super) fn meter(
        &mut self,
        metering: &Metering<'_>,
        place: Option<(FlowKey, Side, u64)>,
        directory: &impl Directory,
    ) {
        let keyed = |table: &Self, forger| {
            let (source, destination) = ends(metering.packet, metering.ports);
            let protocol = metering.packet.protocol;
            let (key, side) = table.keyer.key(metering.scope, source, destination, protocol, forger);
            (key, side, table.keyer.place(key))
        };
        let (key, side, place) = place.unwrap_or_else(|| keyed(self, None));
        let found = self.find_at(key, place);
        // The sender of a known flow was looked up when it opened: the directory is asked only where another sends.
        if let Some(slot) = found
            && self.is_sender(slot, side, metering.sender)
        {
            return self.meter_known(slot, key, side, false, metering, directory);
        }
        let holds_side =
            found.and_then(|slot| self.hot.get(slot)).map_or(0, |hot| hot.attachments[side.index()]);
        let forger = self.forger(metering, AttachmentId(holds_side), directory);
        let (key, side, found) = match forger {
            None => (key, side, found),
            Some(_) => {
                let (key, side, place) = keyed(self, forger);
                (key, side, self.find_at(key, place))
            }
        };
        match found {
            Some(slot) => self.meter_known(slot, key, side, forger.is_some(), metering, directory),
            None => self.open(key, side, forger.is_some(), metering, directory),
        }
    }

    #[inline(always)]
    pub(super) fn is_sender(&self, slot: usize, side: Side, sender: Sender) -> bool {
        match sender {
            Sender::Veth { attachment, .. } => {
                self.hot.get(slot).is_some_and(|hot| hot.attachments[side.index()] == attachment.0)
            }
            Sender::Bridge | Sender::Unknown => true,
        }
    }

    /// Returns the sender's attachment where somebody else is known to hold the address it uses. An address outside
    /// every container network is held by nobody, or by `in_flow`, whose packets were seen in the same flow.
    pub(super) fn forger(
        &self,
        metering: &Metering<'_>,
        in_flow: AttachmentId,
        directory: &impl Directory,
    ) -> Option<AttachmentId> {
        let Sender::Veth { attachment, .. } = metering.sender else { return None };
        let source = metering.packet.source;
        let is_others = match directory.holder(metering.scope, source) {
            Holder::Attachment(holder) => holder != attachment,
            Holder::External => in_flow != AttachmentId(0) && in_flow != attachment,
            Holder::Unclaimed | Holder::Bare | Holder::Ambiguous => false,
            Holder::Host | Holder::Group => true,
        };
        (is_others && !is_exempt_source(source)).then_some(attachment)
    }

    #[inline(always)]
    pub(super) fn meter_known(
        &mut self,
        slot: usize,
        key: FlowKey,
        side: Side,
        is_forged: bool,
        metering: &Metering<'_>,
        directory: &impl Directory,
    ) {
        let seen = metering.seen;
        let frame = self.relative_frame(seen.frame);
        let at = self.engine_time(seen.at);
        let is_same_sender = self.is_sender(slot, side, metering.sender);
        let Some(hot) = self.hot.get_mut(slot) else { return };
        let is_attempt = hot.state == State::Attempt;
        let is_steady = match hot.state {
            State::Settled => true,
            // Calls on without an answer: as nothing but TCP's control bits would change the flow, it only grows.
            State::Attempt => {
                metering.packet.protocol != Protocol::TCP
                    && !metering.packet.is_tunnel
                    && !is_forged
                    && (hot.attachments[side.index()] == 0 || matches!(metering.sender, Sender::Veth { .. }))
            }
            State::Closing | State::Closed => false,
        };
        if is_steady
            && is_same_sender
            && hot.epoch == directory.epoch()
            && hot.has_room(side, seen.wire_bytes)
            && metering.packet.icmp.is_none()
            && hot.take_expected(side, metering.packet)
            && let Some(was_dirty) = hot.count(side, seen.wire_bytes, at, frame)
        {
            self.count_metered(seen, slot, was_dirty);
            if is_attempt {
                self.take_turn(slot);
            }
            return;
        }
        self.meter_slowly(slot, key, side, is_forged, metering, directory);
    }

    #[inline(never)]
    pub(super) fn meter_slowly(
        &mut self,
        slot: usize,
        key: FlowKey,
        side: Side,
        is_forged: bool,
        metering: &Metering<'_>,
        directory: &impl Directory,
    ) {
        if is_forged {
            self.remember_provoked(metering);
        }
        let reason = self.reason_to_end(slot, side, metering, directory);
        if let Some(reason) = reason
            && self.end(slot, reason)
        {
            return self.open(key, side, is_forged, metering, directory);
        }
        self.fold_into(slot, side, metering);
    }

    /// Returns why this packet cannot belong to the flow in a slot; `None` where it can.
    fn reason_to_end(
        &mut self,
        slot: usize,
        side: Side,
        metering: &Metering<'_>,
        directory: &impl Directory,
    ) -> Option<EndReason> {
        let hot = self.hot.get_mut(slot)?;
        let known = hot.attachments[side.index()];
        let is_known = match metering.sender {
            Sender::Veth { attachment, .. } => known == attachment.0,
            Sender::Bridge => known == 0,
            Sender::Unknown => true,
        };
        let tcp = metering.packet.tcp.filter(|tcp| tcp.is_syn());
        if is_known && hot.epoch == directory.epoch() && tcp.is_none() {
            return None;
        }
        self.cold.edit(slot, hot, |hot, cold| {
            if !keeps_its_ends(hot, cold, side, metering, directory) {
                return Some(EndReason::Rebound);
            }
            let is_another =
                tcp.is_some_and(|tcp| progress::is_another_connection(hot.state, cold, side, tcp));
            is_another.then_some(EndReason::Reused)
        })?
    }

    /// Counts a packet into a slot by the long way: control bits, answers, evidence.
    pub(super) fn fold_into(&mut self, slot: usize, side: Side, metering: &Metering<'_>) {
        let frame = self.relative_frame(metering.seen.frame);
        let at = self.engine_time(metering.seen.at);
        let Some(hot) = self.hot.get_mut(slot) else { return };
        let folded = self.cold.edit(slot, hot, |hot, cold| fold(hot, cold, side, metering, at, frame));
        if let Some(folded) = folded {
            self.note_folded(slot, metering, folded);
        }
    }

    /// Takes note of what a packet that went the long way came to.
    fn note_folded(&mut self, slot: usize, metering: &Metering<'_>, folded: Folded) {
        self.count_metered(metering.seen, slot, folded.was_dirty);
        self.take_turn(slot);
        self.note_change(slot);
        if let Some((scope, responder, protocol)) = folded.accepted {
            self.learn_listener(scope, &responder, protocol);
        }
        self.note_icmp_error(metering);
    }

    #[inline(never)]
    pub(super) fn open(
        &mut self,
        key: FlowKey,
        side: Side,
        is_forged: bool,
        metering: &Metering<'_>,
        directory: &impl Directory,
    ) {
        let place = self.keyer.place(key);
        let Some(slot) = self.free_slot(place, metering.sender) else {
            return self.turn_away(metering);
        };
        let seen = metering.seen;
        let mut cold = self.first_sight(key, side, is_forged, metering, directory);
        let attachments = cold.flow.ends.map(|end| match end.holder {
            Holder::Attachment(attachment) => attachment.0,
            Holder::Host
            | Holder::External
            | Holder::Unclaimed
            | Holder::Group
            | Holder::Ambiguous
            | Holder::Bare => 0,
        });
        let id = cold.flow.id;
        let opened_at = self.engine_time(seen.at);
        let is_attempt = cold.flow.outcome == Outcome::Pending;
        let frame = self.relative_frame(seen.frame);
        let Some(hot) = self.hot.get_mut(slot) else { return };
        *hot = Hot {
            key,
            bytes: [0; 2],
            frames: [0; 2],
            next_sequence: [0; 2],
            last_at: opened_at,
            attachments,
            last_frame: 0,
            epoch: directory.epoch(),
            state: State::Attempt,
            marks: Marks(hot.marks.0 & Marks::DIRTY),
        };
        let folded = fold(hot, &mut cold, side, metering, opened_at, frame);
        self.cold.put(slot, hot, &cold);
        if let Some(tag) = self.tags.get_mut(slot) {
            *tag = tag_of(place);
        }
        self.next_id += 1;
        self.live += 1;
        self.ledger.flows_opened += 1;
        if is_attempt {
            self.note_attempt(u32::try_from(slot).unwrap_or(u32::MAX), id);
        }
        if is_forged {
            self.remember_provoked(metering);
        }
        self.note_folded(slot, metering, folded);
    }

    /// Draws up a new flow: who holds its ends, who probably opened it, how the sender stands to its address.
    pub(super) fn first_sight(
        &self,
        key: FlowKey,
        side: Side,
        is_forged: bool,
        metering: &Metering<'_>,
        directory: &impl Directory,
    ) -> Cold {
        let seen = metering.seen;
        let (source, destination) = ends(metering.packet, metering.ports);
        let held_by = |address| directory.holder(metering.scope, address);
        let sender = End {
            address: source.address,
            port: source.port,
            holder: match metering.sender {
                Sender::Veth { attachment, .. } => Holder::Attachment(attachment),
                // What a bridge sends out itself comes from the host or through it: a container's address there
                // is the forwarded copy of a packet counted in another network.
                Sender::Bridge => match held_by(source.address) {
                    Holder::External if is_exempt_source(source.address) => Holder::Host,
                    Holder::External => Holder::External,
                    Holder::Bare => Holder::Bare,
                    Holder::Host
                    | Holder::Attachment(_)
                    | Holder::Unclaimed
                    | Holder::Group
                    | Holder::Ambiguous => Holder::Host,
                },
                Sender::Unknown => held_by(source.address),
            },
        };
        let receiver = End {
            address: destination.address,
            port: destination.port,
            holder: held_by(destination.address),
        };
        let is_syn = metering.packet.tcp.is_some_and(TcpFacts::is_syn);
        let is_provoked = !is_forged && !is_syn && self.is_provoked(key, side, self.engine_time(seen.at));
        // A SYN-ACK without a SYN is backscatter until its supposed initiator's own veth sends.
        let is_stray =
            metering.sender != Sender::Unknown && metering.packet.tcp.is_some_and(TcpFacts::is_syn_ack);
        let claim = match (is_forged, is_provoked || is_stray) {
            (true, _) => match held_by(source.address) {
                Holder::Group | Holder::External => Claim::Unlisted,
                Holder::Attachment(_)
                | Holder::Host
                | Holder::Ambiguous
                | Holder::Unclaimed
                | Holder::Bare => Claim::Spoofed,
            },
            (false, true) => Claim::Backscatter,
            (false, false) => match metering.sender {
                Sender::Veth { .. }
                    if held_by(source.address) == Holder::External && !is_exempt_source(source.address) =>
                {
                    Claim::Unlisted
                }
                Sender::Veth { .. } | Sender::Bridge | Sender::Unknown => Claim::Own,
            },
        };
        let is_fresh = matches!(metering.sender, Sender::Veth { is_fresh: true, .. });
        let is_early =
            self.started_at.is_some_and(|started| seen.at.since(started) < self.limits.midstream_span);
        let ends = match side {
            Side::A => [sender, receiver],
            Side::B => [receiver, sender],
        };
        let listens = |side: Side| {
            self.is_listener(metering.scope, &ends[side.index()], metering.packet.protocol, directory)
        };
        let opening = if is_provoked {
            progress::provoked(side)
        } else {
            progress::opening(metering.packet, side, &ends, is_early && !is_fresh, listens)
        };
        let expects_delivery = !is_forged
            && matches!(metering.sender, Sender::Veth { .. })
            && matches!(receiver.holder, Holder::Attachment(_));
        let mut history = History::EMPTY;
        if opening.initiator != side {
            history.flip();
        }
        Cold {
            flow: Flow {
                id: self.next_id,
                scope: metering.scope,
                protocol: metering.packet.protocol,
                ends,
                initiator: opening.initiator,
                evidence: opening.evidence,
                claim,
                outcome: Outcome::Pending,
                first_at: seen.at,
                last_at: seen.at,
                first_frame: seen.frame,
                last_frame: seen.frame,
                frames: [0; 2],
                bytes: [0; 2],
                tcp_flags: [0; 2],
                rtt: None,
                ack_rtt: None,
                history,
                retransmissions: [0; 2],
                zero_windows: [0; 2],
                gaps: [0; 2],
                unseen: [0; 2],
                icmp_error: None,
                is_midstream: opening.is_midstream,
                is_delivered: false,
                is_tunnel: metering.packet.is_tunnel,
                icmp_type: metering.packet.icmp.map(|icmp| icmp.kind),
                icmp_code: metering.packet.icmp.map(|icmp| icmp.code),
                first_sender: side,
            },
            opened_at: self.engine_time(seen.at),
            syn_at: None,
            syn_sequence: None,
            syn_ack: None,
            numbers: [Numbers::NONE; 2],
            spilled: [Tally::default(); 2],
            expects_delivery,
        }
    }

    pub(super) fn turn_away(&mut self, metering: &Metering<'_>) {
        self.ledger.overflow.count(metering.seen.wire_bytes);
        self.missed.note(Missing::NoRoom, metering.seen.at, metering.seen.at);
        let row = match metering.sender {
            Sender::Veth { attachment, .. } => overflow_row(attachment),
            Sender::Bridge | Sender::Unknown => 0,
        };
        if let Some(tally) = self.overflow.get_mut(row) {
            tally.count(metering.seen.wire_bytes);
        }
    }

    #[inline(always)]
    pub(super) fn count_metered(&mut self, seen: &Observation, slot: usize, was_dirty: bool) {
        self.ledger.metered.count(seen.wire_bytes);
        self.ledger.undrained.count(seen.wire_bytes);
        if let Some(trace) = &mut self.trace
            && let Some(id) = self.cold.id(slot)
        {
            trace.push((seen.frame, id));
        }
        if !was_dirty {
            self.dirty.push(u32::try_from(slot).unwrap_or(u32::MAX));
        }
    }
}
