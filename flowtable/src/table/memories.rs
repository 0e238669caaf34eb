//! What is remembered beside the flows: ports of fragmented datagrams, delivered SYNs, forged tuples, listeners. Each in a
//! direct-mapped array, where a later entry overwrites an earlier one.

use super::metering::{Metering, Sender};
use super::{DELIVERIES, FRAGMENTS, FlowTable, LISTENERS, PROVOKED, PROVOKED_SPAN, ends};
use crate::directory::{Directory, Holder, ScopeId};
use crate::flow::{End, IcmpError, Outcome, Side};
use crate::key::{Endpoint, FlowKey, Keyer};
use crate::observation::{Fragment, Network, Observation, Packet};
use crate::progress;
use crate::progress::State;
use crate::units::{Port, Protocol, ServicePort, Timestamp};

/// Digest of a datagram and the ports its first fragment had.
pub(super) type FirstFragment = (u64, Option<(Port, Port)>);

/// A forged tuple: its key without the forger, the side whose address was forged, and engine time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Provoked {
    pub(super) key: FlowKey,
    pub(super) forged: Side,
    pub(super) at: Timestamp,
}

impl FlowTable {
    /// A later fragment takes its first fragment's ports, where that is remembered.
    pub(super) fn ports_of(&mut self, scope: ScopeId, packet: &Packet) -> Option<(Port, Port)> {
        let id = match packet.fragment {
            Fragment::Whole => return packet.ports,
            Fragment::First { id } | Fragment::Later { id } => id,
        };
        let digest = self.keyer.digest((scope, packet.source, packet.destination, packet.protocol, id)) | 1;
        let row = usize::try_from(digest >> 32).unwrap_or(0) % FRAGMENTS;
        match (packet.fragment, self.fragments.get_mut(row)) {
            (Fragment::First { .. }, Some(entry)) => {
                *entry = (digest, packet.ports);
                packet.ports
            }
            (Fragment::Later { .. }, Some(entry)) if entry.0 == digest => entry.1,
            (Fragment::Whole | Fragment::First { .. } | Fragment::Later { .. }, _) => packet.ports,
        }
    }

    /// A SYN's second sighting at the receiver's veth proves its delivery.
    pub(super) fn note_delivery(&mut self, seen: &Observation, scope: ScopeId) {
        let Network::Ip(packet) = &seen.network else { return };
        let Some(tcp) = packet.tcp.filter(|tcp| tcp.is_syn()) else { return };
        let (source, destination) = ends(packet, packet.ports);
        let (row, digest) = delivery(&self.keyer, &destination, tcp.sequence);
        if let Some(entry) = self.deliveries.get_mut(row) {
            *entry = digest;
        }
        let (key, _) = self.keyer.key(scope, source, destination, packet.protocol, None);
        let Some(slot) = self.find(key) else { return };
        let slot_number = u32::try_from(slot).unwrap_or(u32::MAX);
        let Some(hot) = self.hot.get_mut(slot) else { return };
        let reopened = self.cold.edit(slot, hot, |_, cold| {
            cold.flow.is_delivered = true;
            // It was late, not lost: what becomes of it is open again.
            let was_blocked = cold.flow.outcome == Outcome::Blocked;
            if was_blocked {
                cold.flow.outcome = Outcome::Pending;
            }
            was_blocked.then_some(cold.flow.id)
        });
        if !hot.mark_dirty() {
            self.dirty.push(slot_number);
        }
        self.note_change(slot);
        if let Some(id) = reopened.flatten() {
            self.note_attempt(slot_number, id);
        }
    }

    /// An ICMP error is told of the flow it quotes, where it comes from the one who was called or from a router. It
    /// refuses an attempt; a flow that was answered stays answered.
    pub(super) fn note_icmp_error(&mut self, metering: &Metering<'_>) {
        let Some(icmp) = metering.packet.icmp else { return };
        let Some(quoted) = icmp.quoted else { return };
        if quoted.source != metering.packet.destination {
            return;
        }
        let source = Endpoint { address: quoted.source, port: quoted.ports.map(|ports| ports.0) };
        let destination = Endpoint { address: quoted.destination, port: quoted.ports.map(|ports| ports.1) };
        let (key, side) = self.keyer.key(metering.scope, source, destination, quoted.protocol, None);
        let Some(slot) = self.find(key) else { return };
        let slot_number = u32::try_from(slot).unwrap_or(u32::MAX);
        let Some(hot) = self.hot.get_mut(slot) else { return };
        let receiver = hot.attachments[side.other().index()];
        if let Sender::Veth { attachment, .. } = metering.sender
            && receiver != 0
            && receiver != attachment.0
        {
            return;
        }
        self.cold.edit(slot, hot, |hot, cold| {
            let before = cold.flow.icmp_error.map_or(0, |error| error.count);
            cold.flow.icmp_error = Some(IcmpError { kind: icmp.kind, code: icmp.code, count: before + 1 });
            if hot.state == State::Attempt
                && cold.flow.outcome != Outcome::Answered
                && progress::is_refusal(metering.packet.protocol, icmp.kind, icmp.code)
            {
                cold.flow.outcome = Outcome::Refused;
                hot.state = State::Closed;
            }
        });
        self.take_turn(slot);
        let Some(hot) = self.hot.get_mut(slot) else { return };
        if !hot.mark_dirty() {
            self.dirty.push(slot_number);
        }
        self.note_change(slot);
    }

    /// Notes an attempt whose outcome is to be decided, where there is room.
    pub(super) fn note_attempt(&mut self, slot: u32, id: u64) {
        if self.attempts.len() < self.attempts.capacity() {
            self.attempts.push((slot, low_half(id)));
        }
    }

    pub(super) fn remember_provoked(&mut self, metering: &Metering<'_>) {
        let (source, destination) = ends(metering.packet, metering.ports);
        let (key, forged) =
            self.keyer.key(metering.scope, source, destination, metering.packet.protocol, None);
        let at = self.engine_time(metering.seen.at);
        let row = usize::try_from(self.keyer.place(key)).unwrap_or(0) % PROVOKED;
        if let Some(entry) = self.provoked.get_mut(row) {
            *entry = Provoked { key, forged, at };
        }
    }

    /// Returns whether a packet from `side` may be an answer to a forged one.
    pub(super) fn is_provoked(&self, key: FlowKey, side: Side, at: Timestamp) -> bool {
        let row = usize::try_from(self.keyer.place(key)).unwrap_or(0) % PROVOKED;
        self.provoked.get(row).is_some_and(|entry| {
            entry.key == key && entry.forged != side && at.since(entry.at) < PROVOKED_SPAN
        })
    }

    pub(super) fn learn_listener(&mut self, scope: ScopeId, end: &End, protocol: Protocol) {
        let digest = self.listener_digest(scope, end, protocol);
        if let Some(entry) = self.listeners.get_mut(usize::try_from(digest >> 32).unwrap_or(0) % LISTENERS) {
            *entry = digest;
        }
    }

    pub(super) fn is_listener(
        &self,
        scope: ScopeId,
        end: &End,
        protocol: Protocol,
        directory: &impl Directory,
    ) -> bool {
        let digest = self.listener_digest(scope, end, protocol);
        let was_seen = self
            .listeners
            .get(usize::try_from(digest >> 32).unwrap_or(0) % LISTENERS)
            .is_some_and(|entry| *entry == digest);
        was_seen
            || match end.holder {
                Holder::Attachment(attachment) => {
                    directory.is_known_listener(attachment, ServicePort { port: end.port, protocol })
                }
                Holder::Host
                | Holder::External
                | Holder::Unclaimed
                | Holder::Group
                | Holder::Ambiguous
                | Holder::Bare => false,
            }
    }

    pub(super) fn listener_digest(&self, scope: ScopeId, end: &End, protocol: Protocol) -> u64 {
        self.keyer.digest((scope, end.address, end.port, protocol)) | 1
    }
}

/// Returns the low half of a flow's number: of flows that follow each other in a slot between two ticks, no two share it.
pub(super) fn low_half(id: u64) -> u32 {
    u32::try_from(id & u64::from(u32::MAX)).unwrap_or(0)
}

/// Returns where the delivery of a SYN is remembered, and as what. Neither masquerading nor another network changes
/// whom it calls and its sequence number.
pub(super) fn delivery(keyer: &Keyer, called: &Endpoint, sequence: u32) -> (usize, u64) {
    let digest = keyer.digest((called.address, called.port, sequence)) | 1;
    (usize::try_from(digest >> 32).unwrap_or(0) % DELIVERIES, digest)
}
