//! The flow table: preallocated, single writer, bounded.
//!
//! A hot 64-byte slot per flow is all a packet of a known, settled flow touches; the cold part beside it is read
//! when a flow opens, changes its state, or is handed over. Slots are found by one tag byte each in a window of
//! [`WINDOW`] neighbours. Totals leave as [`Delta`]s between batches; a delta that finds no room stays in its slot.

use crate::delta::{Delta, DeltaSink, EndReason};
use crate::directory::{AttachmentId, Directory, Holder, ScopeId, is_exempt_source};
use crate::flow::{Claim, End, Flow, InitiatorEvidence, Outcome, Side};
use crate::interfaces::{InterfaceId, InterfaceTable, Role, Sighting};
use crate::key::{Endpoint, FlowKey, Keyer};
use crate::ledger::{Ledger, NotCounted, Rejected, Tally};
use crate::observation::{Fragment, Network, NonIp, Observation, Packet, TcpFacts};
use crate::progress::{self, State};
use crate::units::{Port, Protocol, ServicePort, Timestamp};

/// Slots a key may stand in, from the one its hash names.
const WINDOW: usize = 32;
/// Endings kept until the next drain; beyond, flows wait for their end.
const ENDINGS_MAX: usize = 8_192;
/// Frames held for interfaces without a role (DESIGN.md, section 4).
const HELD_MAX: usize = 65_536;
/// Interfaces whose frames are held at once; each frame looks through them.
const HELD_INTERFACES_MAX: usize = 256;
/// First fragments remembered, to give their ports to the later ones.
const FRAGMENTS: usize = 4_096;
/// Spoofed tuples remembered, to know the answers they provoke.
const PROVOKED: usize = 4_096;
/// How long after a forged packet an answer to it may come.
const PROVOKED_SPAN: i64 = 60 * Timestamp::SECOND;
/// Delivered SYNs remembered, for senders whose own sighting comes later or by another network.
const DELIVERIES: usize = 16_384;
/// Service ports seen to accept a connection.
const LISTENERS: usize = 16_384;
/// Attachments whose overflow is told apart; all others share the first row.
const OVERFLOW_ROWS: usize = 4_096;

/// Sizes and time spans of the flow table. Spans are in nanoseconds of engine time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Most flows held at once; rounded up to a power of two.
    pub flows_max: usize,
    /// Silence after which an established TCP flow is forgotten.
    pub tcp_idle: i64,
    /// Silence after which any other answered flow is forgotten.
    pub other_idle: i64,
    /// Silence after which a flow nobody answered is forgotten.
    pub attempt_idle: i64,
    /// Silence after which a flow that saw both FINs or RST is forgotten.
    pub linger: i64,
    /// Time after which an undelivered SYN is `blocked`.
    pub blocked_after: i64,
    /// Time after which an attempt without an answer is `unanswered`.
    pub unanswered_after: i64,
    /// Time after the start in which the first packet of a flow may be an answer.
    pub midstream_span: i64,
    /// Time a frame waits for its interface's role.
    pub hold: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            flows_max: 131_072,
            tcp_idle: 1_800 * Timestamp::SECOND,
            other_idle: 60 * Timestamp::SECOND,
            attempt_idle: 30 * Timestamp::SECOND,
            linger: 10 * Timestamp::SECOND,
            blocked_after: Timestamp::SECOND,
            unanswered_after: 5 * Timestamp::SECOND,
            midstream_span: 2 * Timestamp::SECOND,
            hold: 250 * Timestamp::MILLISECOND,
        }
    }
}

impl Limits {
    /// Fewest flows a table is made for.
    pub const FLOWS_MIN: usize = 64;
}

/// What a packet of a known flow touches.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Hot {
    key: FlowKey,
    /// Bytes and frames since the last delta, from A and from B.
    bytes: [u64; 2],
    frames: [u32; 2],
    last_at: Timestamp,
    /// Attachments of A and B; 0 where an end is none.
    attachments: [u32; 2],
    /// Last frame's number above the table's base.
    last_frame: u32,
    epoch: u16,
    state: State,
    /// Whether the slot stands in the list of dirty ones, be it for a flow that has ended since.
    is_dirty: bool,
}

const _: () = assert!(size_of::<Hot>() == 64, "a hot slot is one cache line");

/// What opening, control bits and hand-over touch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cold {
    pub(crate) flow: Flow,
    /// Engine time of the first frame.
    opened_at: Timestamp,
    /// First SYN's time, for the round trip; unset once a SYN was repeated (Karn's rule).
    pub(crate) syn_at: Option<Timestamp>,
    /// First SYN's sequence number: a SYN with another one is another connection.
    pub(crate) syn_sequence: Option<u32>,
    /// Whether a delivery would have been sighted: sender and receiver both sit behind known veths.
    pub(crate) expects_delivery: bool,
}

/// The flow table. One writer; see the module's page.
#[derive(Debug)]
pub struct FlowTable {
    limits: Limits,
    keyer: Keyer,
    tags: Box<[u8]>,
    hot: Box<[Hot]>,
    cold: Box<[Cold]>,
    mask: usize,
    live: usize,
    next_id: u64,
    base_frame: u64,
    newest: u64,
    /// Frame time minus engine time, in nanoseconds.
    skew: i64,
    started_at: Option<Timestamp>,
    last_at: Timestamp,
    ledger: Ledger,
    dirty: Vec<u32>,
    endings: Vec<Delta>,
    attempts: Vec<(u32, u64)>,
    held: Vec<Observation>,
    held_spare: Vec<Observation>,
    held_interfaces: Vec<InterfaceId>,
    sweep_at: usize,
    fragments: Box<[FirstFragment]>,
    provoked: Box<[Provoked]>,
    deliveries: Box<[u64]>,
    listeners: Box<[u64]>,
    overflow: Box<[Tally]>,
}

/// Digest of a datagram and the ports its first fragment had.
type FirstFragment = (u64, Option<(Port, Port)>);

/// A forged tuple: its key without the forger, the side whose address was forged, and engine time.
#[derive(Clone, Copy, Debug)]
struct Provoked {
    key: FlowKey,
    forged: Side,
    at: Timestamp,
}

/// One packet on its way into a slot.
struct Metering<'a> {
    seen: &'a Observation,
    packet: &'a Packet,
    ports: Option<(Port, Port)>,
    scope: ScopeId,
    sender: Sender,
}

#[derive(Clone, Copy, PartialEq)]
enum Sender {
    Veth { attachment: AttachmentId, is_fresh: bool },
    Bridge,
    Unknown,
}

impl FlowTable {
    /// Allocates a table. `seed` places keys: fixed in replay, random live.
    pub fn new(limits: Limits, seed: u64) -> Self {
        let slots = limits.flows_max.max(Limits::FLOWS_MIN).next_power_of_two();
        let all = slots + WINDOW;
        Self {
            limits,
            keyer: Keyer::new(seed),
            tags: vec![0; all].into_boxed_slice(),
            hot: vec![Hot::EMPTY; all].into_boxed_slice(),
            cold: vec![Cold::EMPTY; all].into_boxed_slice(),
            mask: slots - 1,
            live: 0,
            next_id: 1,
            base_frame: 0,
            newest: 0,
            skew: 0,
            started_at: None,
            last_at: Timestamp(0),
            ledger: Ledger::default(),
            dirty: Vec::with_capacity(all + ENDINGS_MAX),
            endings: Vec::with_capacity(ENDINGS_MAX),
            attempts: Vec::with_capacity(all),
            held: Vec::with_capacity(HELD_MAX),
            held_spare: Vec::with_capacity(HELD_MAX),
            held_interfaces: Vec::new(),
            sweep_at: 0,
            fragments: vec![(0, None); FRAGMENTS].into_boxed_slice(),
            provoked: vec![Provoked { key: FlowKey(0), forged: Side::A, at: Timestamp(i64::MIN) }; PROVOKED]
                .into_boxed_slice(),
            deliveries: vec![0; DELIVERIES].into_boxed_slice(),
            listeners: vec![0; LISTENERS].into_boxed_slice(),
            overflow: vec![Tally::default(); OVERFLOW_ROWS].into_boxed_slice(),
        }
    }

    /// Returns the accounts as they stand.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns flows held now.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Returns slots.
    pub fn capacity(&self) -> usize {
        self.mask + 1
    }

    /// Returns the attachment most of whose frames found no room, and how many did not; `None` where all did, and
    /// where the sender is none or not told apart.
    pub fn overflow_most(&self) -> Option<(AttachmentId, Tally)> {
        if self.ledger.overflow.frames == 0 {
            return None;
        }
        let rows = self.overflow.iter().enumerate().skip(1);
        let (row, tally) = rows.max_by_key(|(row, tally)| (tally.frames, std::cmp::Reverse(*row)))?;
        (tally.frames > 0).then(|| (AttachmentId(u32::try_from(row).unwrap_or(0)), *tally))
    }

    /// Returns whether endings pile up so that a drain is due before the next tick.
    pub fn wants_drain(&self) -> bool {
        self.endings.len() > ENDINGS_MAX / 2
    }

    /// Returns deltas that wait to be handed over, at most; 0 where nothing waits.
    pub fn waiting(&self) -> usize {
        self.endings.len() + self.dirty.len()
    }

    /// Counts a frame the parser could not read.
    pub fn reject(&mut self, reason: Rejected, wire_bytes: u32) {
        self.ledger.delivered.count(wire_bytes);
        self.ledger.rejected(reason, wire_bytes);
    }

    /// Counts a frame that was deselected before it got here, or is a duplicate by another rule.
    pub fn leave_out(&mut self, reason: NotCounted, wire_bytes: u32) {
        self.ledger.delivered.count(wire_bytes);
        self.ledger.not_counted(reason, wire_bytes);
    }

    /// Sets frame time minus engine time, in nanoseconds. Engine time does not follow the jumps of a capture or of
    /// the host's clock, so that none of them ends every flow. Drain first: last times not handed over yet are
    /// read with the new difference.
    pub fn set_skew(&mut self, nanoseconds: i64) {
        self.skew = nanoseconds;
    }

    /// Takes a batch of frames in. Every frame ends in exactly one counter of the ledger.
    pub fn observe(
        &mut self,
        batch: &[Observation],
        interfaces: &InterfaceTable,
        directory: &impl Directory,
    ) {
        for seen in batch {
            self.ledger.delivered.count(seen.wire_bytes);
            self.advance(seen);
            if !self.held.is_empty() && self.must_queue(seen) {
                self.hold(seen);
            } else {
                self.sight(seen, interfaces, directory);
            }
        }
    }

    /// Looks again at held frames, after roles changed or time passed; `now` is engine time.
    pub fn release(&mut self, now: Timestamp, interfaces: &InterfaceTable, directory: &impl Directory) {
        if self.held.is_empty() {
            return;
        }
        let mut waiting = std::mem::replace(&mut self.held, std::mem::take(&mut self.held_spare));
        self.held_interfaces.clear();
        for seen in waiting.drain(..) {
            let is_known = interfaces.get(seen.interface).role != Role::Unknown;
            if !is_known && now.since(self.engine_time(seen.at)) < self.limits.hold {
                self.queue(&seen);
                continue;
            }
            self.ledger.held = self.ledger.held - Tally { frames: 1, bytes: u64::from(seen.wire_bytes) };
            if is_known {
                self.sight(&seen, interfaces, directory);
            } else {
                self.ledger.not_counted(NotCounted::UnknownInterface, seen.wire_bytes);
            }
        }
        self.held_spare = waiting;
    }

    /// Ends what is silent for too long and decides attempts that had their time. `last_loss` says until when the
    /// tap last lost frames: an attempt made before that is not called blocked, its delivery may have been lost.
    pub fn tick(&mut self, now: Timestamp, last_loss: Option<Timestamp>) {
        self.decide_attempts(now, last_loss);
        self.sweep(now, self.hot.len().div_ceil(8));
    }

    /// Hands growth and endings to `into`, as many as it has room for; the rest stays for the next time.
    pub fn drain(&mut self, into: &mut impl DeltaSink) {
        let mut handed = 0;
        while into.room() > 0 {
            let Some(delta) = self.endings.get(handed) else { break };
            let grown = delta.grown[0] + delta.grown[1];
            if into.push(*delta).is_err() {
                break;
            }
            self.ledger.undrained = self.ledger.undrained - grown;
            handed += 1;
        }
        self.endings.drain(..handed);
        if !self.endings.is_empty() {
            // The reader may have made room since: no flow may overtake the end of the one before it in its slot.
            return;
        }
        while into.room() > 0 {
            let Some(slot) = self.dirty.pop() else { break };
            let index = slot as usize;
            if let Some(hot) = self.hot.get_mut(index) {
                hot.is_dirty = false;
            }
            if self.tags.get(index).is_none_or(|tag| *tag == 0) {
                // Its flow has ended, and went with the endings.
                continue;
            }
            let delta = self.settle_slot(index, None);
            let grown = delta.grown[0] + delta.grown[1];
            // Room was asked for; a sink that refuses all the same gets the delta with the endings.
            match into.push(delta) {
                Ok(()) => self.ledger.undrained = self.ledger.undrained - grown,
                Err(refused) => {
                    self.endings.push(*refused);
                    break;
                }
            }
        }
        if self.dirty.is_empty() && self.endings.is_empty() {
            self.base_frame = self.base_frame.max(self.newest);
        }
    }

    /// Gives up on held frames: they become `not_counted[unknown_interface]`. Part of settlement.
    pub fn give_up_held(&mut self) {
        self.held_interfaces.clear();
        for seen in std::mem::take(&mut self.held) {
            self.ledger.held = self.ledger.held - Tally { frames: 1, bytes: u64::from(seen.wire_bytes) };
            self.ledger.not_counted(NotCounted::UnknownInterface, seen.wire_bytes);
        }
    }

    fn advance(&mut self, seen: &Observation) {
        if self.started_at.is_none() {
            self.started_at = Some(seen.at);
            self.last_at = seen.at;
        }
        if seen.at < self.last_at {
            self.ledger.backward_steps += 1;
        }
        self.last_at = seen.at;
        self.newest = self.newest.max(seen.frame);
    }

    /// A frame of an interface that already has frames waiting waits behind them, so that order is kept.
    fn must_queue(&self, seen: &Observation) -> bool {
        self.held_interfaces.contains(&seen.interface)
    }

    fn hold(&mut self, seen: &Observation) {
        let has_room = self.held.len() < HELD_MAX
            && (self.held_interfaces.len() < HELD_INTERFACES_MAX || self.must_queue(seen));
        if has_room {
            self.queue(seen);
            self.ledger.held.count(seen.wire_bytes);
        } else {
            self.ledger.not_counted(NotCounted::UnknownInterface, seen.wire_bytes);
        }
    }

    fn queue(&mut self, seen: &Observation) {
        self.held.push(*seen);
        if !self.held_interfaces.contains(&seen.interface) {
            self.held_interfaces.push(seen.interface);
        }
    }

    fn sight(&mut self, seen: &Observation, interfaces: &InterfaceTable, directory: &impl Directory) {
        let (scope, sender) = match interfaces.sighting(seen) {
            Sighting::Sent { scope, attachment, is_fresh } => (scope, Sender::Veth { attachment, is_fresh }),
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
            Network::NonIp(NonIp::Arp) => self.ledger.arp.count(seen.wire_bytes),
            Network::NonIp(NonIp::Other) => self.ledger.other_non_ip.count(seen.wire_bytes),
            Network::Ip(packet) => {
                let ports = self.ports_of(scope, packet);
                self.meter(&Metering { seen, packet, ports, scope, sender }, directory);
            }
        }
    }

    /// A later fragment takes its first fragment's ports, where that is remembered.
    fn ports_of(&mut self, scope: ScopeId, packet: &Packet) -> Option<(Port, Port)> {
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

    fn meter(&mut self, metering: &Metering<'_>, directory: &impl Directory) {
        let (source, destination) = ends(metering.packet, metering.ports);
        let keyed = |table: &Self, forger| {
            table.keyer.key(metering.scope, source, destination, metering.packet.protocol, forger)
        };
        let (key, side) = keyed(self, None);
        let found = self.find(key);
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
                let (key, side) = keyed(self, forger);
                (key, side, self.find(key))
            }
        };
        match found {
            Some(slot) => self.meter_known(slot, key, side, forger.is_some(), metering, directory),
            None => self.open(key, side, forger.is_some(), metering, directory),
        }
    }

    fn is_sender(&self, slot: usize, side: Side, sender: Sender) -> bool {
        match sender {
            Sender::Veth { attachment, .. } => {
                self.hot.get(slot).is_some_and(|hot| hot.attachments[side.index()] == attachment.0)
            }
            Sender::Bridge | Sender::Unknown => true,
        }
    }

    /// Returns the sender's attachment where somebody else is known to hold the address it uses. An address outside
    /// every container network is held by nobody, or by `in_flow`, whose packets were seen in the same flow.
    fn forger(
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

    fn meter_known(
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
        let is_plain = metering
            .packet
            .tcp
            .is_none_or(|tcp| tcp.flags & (TcpFacts::SYN | TcpFacts::FIN | TcpFacts::RST) == 0);
        if hot.state == State::Settled
            && is_plain
            && is_same_sender
            && hot.epoch == directory.epoch()
            && metering.packet.icmp.is_none()
        {
            hot.bytes[side.index()] += u64::from(seen.wire_bytes);
            hot.frames[side.index()] = hot.frames[side.index()].saturating_add(1);
            hot.last_at = hot.last_at.max(at);
            hot.last_frame = hot.last_frame.max(frame);
            let was_dirty = std::mem::replace(&mut hot.is_dirty, true);
            self.count_metered(seen, slot, was_dirty);
            return;
        }
        self.meter_slowly(slot, key, side, is_forged, metering, directory);
    }

    fn meter_slowly(
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
        if !self.keeps_its_ends(slot, side, metering, directory) {
            if self.end(slot, EndReason::Rebound) {
                return self.open(key, side, is_forged, metering, directory);
            }
        } else if self.is_another_connection(slot, side, metering) && self.end(slot, EndReason::Reused) {
            return self.open(key, side, is_forged, metering, directory);
        }
        self.fold_into(slot, side, metering);
    }

    /// Holds the flow's ends against the sender's veth and against the directory where its epoch moved. An end
    /// nobody could name takes the name; an end that became another makes another flow.
    fn keeps_its_ends(
        &mut self,
        slot: usize,
        side: Side,
        metering: &Metering<'_>,
        directory: &impl Directory,
    ) -> bool {
        let (Some(hot), Some(cold)) = (self.hot.get_mut(slot), self.cold.get_mut(slot)) else { return true };
        let known = &mut hot.attachments[side.index()];
        match metering.sender {
            Sender::Veth { attachment, .. } if *known == 0 => {
                *known = attachment.0;
                cold.flow.ends[side.index()].holder = Holder::Attachment(attachment);
            }
            Sender::Veth { attachment, .. } if *known != attachment.0 => return false,
            // A container used an address of the outside, and here comes the outside itself.
            Sender::Bridge
                if *known != 0
                    && directory.holder(metering.scope, metering.packet.source) == Holder::External =>
            {
                return false;
            }
            Sender::Veth { .. } | Sender::Bridge | Sender::Unknown => {}
        }
        let epoch = directory.epoch();
        if hot.epoch == epoch {
            return true;
        }
        hot.epoch = epoch;
        let mut keeps = |side: Side| {
            let end = &mut cold.flow.ends[side.index()];
            let holder = directory.holder(metering.scope, end.address);
            match (end.holder, holder) {
                (Holder::Attachment(before), Holder::Attachment(now)) => before == now,
                (Holder::Attachment(_), _) => true,
                // What a bridge sent is the host's, even what it merely forwards.
                (Holder::Host, _) => true,
                (_, Holder::Attachment(now)) => {
                    end.holder = holder;
                    hot.attachments[side.index()] = now.0;
                    true
                }
                (_, Holder::Unclaimed | Holder::Bare) => true,
                (_, Holder::Host | Holder::External | Holder::Group | Holder::Ambiguous) => {
                    end.holder = holder;
                    true
                }
            }
        };
        match metering.sender {
            // Where it was sent from is known by the interface.
            Sender::Veth { .. } | Sender::Bridge => keeps(side.other()),
            Sender::Unknown => keeps(side.other()) && keeps(side),
        }
    }

    fn is_another_connection(&self, slot: usize, side: Side, metering: &Metering<'_>) -> bool {
        let (Some(hot), Some(cold), Some(tcp)) =
            (self.hot.get(slot), self.cold.get(slot), metering.packet.tcp)
        else {
            return false;
        };
        progress::is_another_connection(hot.state, cold, side, tcp)
    }

    /// Counts a packet into a slot by the long way: control bits, answers, evidence.
    fn fold_into(&mut self, slot: usize, side: Side, metering: &Metering<'_>) {
        let seen = metering.seen;
        let frame = self.relative_frame(seen.frame);
        let at = self.engine_time(seen.at);
        let (Some(hot), Some(cold)) = (self.hot.get_mut(slot), self.cold.get_mut(slot)) else { return };
        hot.bytes[side.index()] += u64::from(seen.wire_bytes);
        hot.frames[side.index()] = hot.frames[side.index()].saturating_add(1);
        hot.last_at = hot.last_at.max(at);
        hot.last_frame = hot.last_frame.max(frame);
        let was_dirty = std::mem::replace(&mut hot.is_dirty, true);
        cold.flow.is_tunnel |= metering.packet.is_tunnel;
        let before = cold.flow.outcome;
        hot.state = progress::advance(hot.state, cold, side, metering.packet, seen.at);
        let became_answered = before != Outcome::Answered && cold.flow.outcome == Outcome::Answered;
        let flow = cold.flow;
        self.count_metered(seen, slot, was_dirty);
        if became_answered && flow.evidence == InitiatorEvidence::Handshake {
            self.learn_listener(flow.scope, flow.responder_end(), flow.protocol);
        }
        self.note_icmp_error(metering);
    }

    fn open(
        &mut self,
        key: FlowKey,
        side: Side,
        is_forged: bool,
        metering: &Metering<'_>,
        directory: &impl Directory,
    ) {
        let Some(slot) = self.free_slot(key, metering.sender) else {
            return self.turn_away(metering);
        };
        let seen = metering.seen;
        let cold = self.first_sight(key, side, is_forged, metering, directory);
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
        let (Some(hot_slot), Some(cold_slot)) = (self.hot.get_mut(slot), self.cold.get_mut(slot)) else {
            return;
        };
        *cold_slot = cold;
        *hot_slot = Hot {
            key,
            bytes: [0; 2],
            frames: [0; 2],
            last_at: opened_at,
            attachments,
            last_frame: 0,
            epoch: directory.epoch(),
            state: State::Attempt,
            is_dirty: hot_slot.is_dirty,
        };
        if let Some(tag) = self.tags.get_mut(slot) {
            *tag = tag_of(self.keyer.place(key));
        }
        self.next_id += 1;
        self.live += 1;
        self.ledger.flows_opened += 1;
        if is_attempt && self.attempts.len() < self.attempts.capacity() {
            self.attempts.push((u32::try_from(slot).unwrap_or(u32::MAX), id));
        }
        if is_forged {
            self.remember_provoked(metering);
        }
        self.fold_into(slot, side, metering);
    }

    /// Draws up a new flow: who holds its ends, who probably opened it, how the sender stands to its address.
    fn first_sight(
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
        let listens = |end: &End| self.is_listener(metering.scope, end, metering.packet.protocol, directory);
        let circumstances = progress::Circumstances {
            may_be_answer: is_early && !is_fresh,
            sender_listens: listens(&sender),
            receiver_listens: listens(&receiver),
        };
        let opening = if is_provoked {
            progress::provoked(side)
        } else {
            progress::opening(metering.packet, side, &ends, circumstances)
        };
        let expects_delivery = !is_forged
            && matches!(metering.sender, Sender::Veth { .. })
            && matches!(receiver.holder, Holder::Attachment(_));
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
                is_midstream: opening.is_midstream,
                is_delivered: false,
                is_tunnel: metering.packet.is_tunnel,
                icmp_type: metering.packet.icmp.map(|icmp| icmp.kind),
            },
            opened_at: self.engine_time(seen.at),
            syn_at: None,
            syn_sequence: None,
            expects_delivery,
        }
    }

    fn turn_away(&mut self, metering: &Metering<'_>) {
        self.ledger.overflow.count(metering.seen.wire_bytes);
        let row = match metering.sender {
            Sender::Veth { attachment, .. } => overflow_row(attachment),
            Sender::Bridge | Sender::Unknown => 0,
        };
        if let Some(tally) = self.overflow.get_mut(row) {
            tally.count(metering.seen.wire_bytes);
        }
    }

    fn count_metered(&mut self, seen: &Observation, slot: usize, was_dirty: bool) {
        self.ledger.metered.count(seen.wire_bytes);
        self.ledger.undrained.count(seen.wire_bytes);
        if !was_dirty {
            self.dirty.push(u32::try_from(slot).unwrap_or(u32::MAX));
        }
    }

    /// A SYN's second sighting at the receiver's veth proves its delivery.
    fn note_delivery(&mut self, seen: &Observation, scope: ScopeId) {
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
        if let (Some(hot), Some(cold)) = (self.hot.get_mut(slot), self.cold.get_mut(slot)) {
            cold.flow.is_delivered = true;
            if cold.flow.outcome == Outcome::Blocked {
                // It was late, not lost: what becomes of it is open again.
                cold.flow.outcome = Outcome::Pending;
                if self.attempts.len() < self.attempts.capacity() {
                    self.attempts.push((slot_number, cold.flow.id));
                }
            }
            if !std::mem::replace(&mut hot.is_dirty, true) {
                self.dirty.push(slot_number);
            }
        }
    }

    /// An ICMP error refuses the flow it quotes, where it comes from the one who was called or from a router.
    fn note_icmp_error(&mut self, metering: &Metering<'_>) {
        let Some(icmp) = metering.packet.icmp else { return };
        let Some(quoted) = icmp.quoted else { return };
        if quoted.source != metering.packet.destination
            || !progress::is_refusal(metering.packet.protocol, icmp.kind, icmp.code)
        {
            return;
        }
        let source = Endpoint { address: quoted.source, port: quoted.ports.map(|ports| ports.0) };
        let destination = Endpoint { address: quoted.destination, port: quoted.ports.map(|ports| ports.1) };
        let (key, _) = self.keyer.key(metering.scope, source, destination, quoted.protocol, None);
        let Some(slot) = self.find(key) else { return };
        let slot_number = u32::try_from(slot).unwrap_or(u32::MAX);
        if let (Some(hot), Some(cold)) = (self.hot.get_mut(slot), self.cold.get_mut(slot)) {
            if hot.state != State::Attempt || cold.flow.outcome == Outcome::Answered {
                return;
            }
            let responder = hot.attachments[cold.flow.initiator.other().index()];
            if let Sender::Veth { attachment, .. } = metering.sender
                && responder != 0
                && responder != attachment.0
            {
                return;
            }
            cold.flow.outcome = Outcome::Refused;
            hot.state = State::Closed;
            if !std::mem::replace(&mut hot.is_dirty, true) {
                self.dirty.push(slot_number);
            }
        }
    }

    fn remember_provoked(&mut self, metering: &Metering<'_>) {
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
    fn is_provoked(&self, key: FlowKey, side: Side, at: Timestamp) -> bool {
        let row = usize::try_from(self.keyer.place(key)).unwrap_or(0) % PROVOKED;
        self.provoked.get(row).is_some_and(|entry| {
            entry.key == key && entry.forged != side && at.since(entry.at) < PROVOKED_SPAN
        })
    }

    fn learn_listener(&mut self, scope: ScopeId, end: &End, protocol: Protocol) {
        let digest = self.listener_digest(scope, end, protocol);
        if let Some(entry) = self.listeners.get_mut(usize::try_from(digest >> 32).unwrap_or(0) % LISTENERS) {
            *entry = digest;
        }
    }

    fn is_listener(&self, scope: ScopeId, end: &End, protocol: Protocol, directory: &impl Directory) -> bool {
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

    fn listener_digest(&self, scope: ScopeId, end: &End, protocol: Protocol) -> u64 {
        self.keyer.digest((scope, end.address, end.port, protocol)) | 1
    }

    fn find(&self, key: FlowKey) -> Option<usize> {
        let place = self.keyer.place(key);
        let tag = tag_of(place);
        let first = usize::try_from(place).unwrap_or(0) & self.mask;
        let tags = self.tags.get(first..first + WINDOW)?;
        tags.iter().enumerate().find_map(|(offset, candidate)| {
            let slot = first + offset;
            (*candidate == tag && self.hot.get(slot).is_some_and(|hot| hot.key == key)).then_some(slot)
        })
    }

    /// Finds room in the key's window: a free slot, else one that is done, else the oldest attempt of the same
    /// sender, else the oldest attempt. An established flow of somebody else never makes room.
    fn free_slot(&mut self, key: FlowKey, sender: Sender) -> Option<usize> {
        let first = usize::try_from(self.keyer.place(key)).unwrap_or(0) & self.mask;
        if self.live < self.capacity() {
            let tags = self.tags.get(first..first + WINDOW)?;
            if let Some(offset) = tags.iter().position(|tag| *tag == 0) {
                return Some(first + offset);
            }
        }
        let mut victim: Option<(u8, Timestamp, usize)> = None;
        for slot in first..first + WINDOW {
            let (Some(hot), Some(cold)) = (self.hot.get(slot), self.cold.get(slot)) else { continue };
            if self.tags.get(slot).is_none_or(|tag| *tag == 0) {
                continue;
            }
            let rank = match hot.state {
                State::Closed => 0,
                State::Attempt => match (sender, cold.flow.initiator_end().holder) {
                    (Sender::Veth { attachment, .. }, Holder::Attachment(initiator))
                        if attachment == initiator =>
                    {
                        1
                    }
                    _ => 2,
                },
                State::Settled | State::Closing => continue,
            };
            if victim.is_none_or(|(best, at, _)| (rank, hot.last_at) < (best, at)) {
                victim = Some((rank, hot.last_at, slot));
            }
        }
        let (rank, _, slot) = victim?;
        let reason = if rank == 0 { EndReason::Closed } else { EndReason::Evicted };
        self.end(slot, reason).then_some(slot)
    }

    /// Closes a flow's accounts; false where the endings have no room, and then nothing changed.
    fn end(&mut self, slot: usize, reason: EndReason) -> bool {
        if self.endings.len() >= ENDINGS_MAX {
            return false;
        }
        let delta = self.settle_slot(slot, Some(reason));
        self.endings.push(delta);
        if let Some(tag) = self.tags.get_mut(slot) {
            *tag = 0;
        }
        self.live -= 1;
        match reason {
            EndReason::Evicted => self.ledger.flows_evicted += 1,
            EndReason::Closed
            | EndReason::Idle
            | EndReason::Rebound
            | EndReason::Reused
            | EndReason::Settled => self.ledger.flows_ended += 1,
        }
        true
    }

    /// Moves a slot's growth into its totals and returns both.
    fn settle_slot(&mut self, slot: usize, ended: Option<EndReason>) -> Delta {
        let (base, skew) = (self.base_frame, self.skew);
        let (Some(hot), Some(cold)) = (self.hot.get_mut(slot), self.cold.get_mut(slot)) else {
            return Delta { slot: 0, grown: [Tally::default(); 2], flow: Cold::EMPTY.flow, ended };
        };
        let grown = [0, 1].map(|side| Tally { frames: u64::from(hot.frames[side]), bytes: hot.bytes[side] });
        for side in [0, 1] {
            cold.flow.frames[side] += grown[side].frames;
            cold.flow.bytes[side] += grown[side].bytes;
        }
        if hot.frames != [0; 2] {
            cold.flow.last_at = hot.last_at.plus(skew);
            cold.flow.last_frame = cold.flow.last_frame.max(base + u64::from(hot.last_frame));
        }
        if ended.is_some() && cold.flow.outcome == Outcome::Pending && progress::expects_answer(&cold.flow) {
            cold.flow.outcome = Outcome::Unanswered;
        }
        hot.bytes = [0; 2];
        hot.frames = [0; 2];
        hot.last_frame = 0;
        Delta { slot: u32::try_from(slot).unwrap_or(u32::MAX), grown, flow: cold.flow, ended }
    }

    fn decide_attempts(&mut self, now: Timestamp, last_loss: Option<Timestamp>) {
        let mut attempts = std::mem::take(&mut self.attempts);
        attempts.retain_mut(|(slot, id)| {
            let index = *slot as usize;
            let (Some(hot), Some(cold)) = (self.hot.get_mut(index), self.cold.get_mut(index)) else {
                return false;
            };
            if self.tags.get(index).is_none_or(|tag| *tag == 0)
                || cold.flow.id != *id
                || cold.flow.outcome != Outcome::Pending
            {
                return false;
            }
            let age = now.since(cold.opened_at);
            let is_lossless = last_loss.is_none_or(|loss| loss < cold.flow.first_at);
            if let Some(sequence) = cold.syn_sequence.filter(|_| !cold.flow.is_delivered) {
                let responder = cold.flow.responder_end();
                let called = Endpoint { address: responder.address, port: responder.port };
                let (row, digest) = delivery(&self.keyer, &called, sequence);
                cold.flow.is_delivered = self.deliveries.get(row) == Some(&digest);
            }
            let is_lost = cold.expects_delivery
                && cold.syn_sequence.is_some()
                && !cold.flow.is_delivered
                && is_lossless;
            let decided = if is_lost && age >= self.limits.blocked_after {
                Outcome::Blocked
            } else if age >= self.limits.unanswered_after && progress::expects_answer(&cold.flow) {
                Outcome::Unanswered
            } else {
                return progress::expects_answer(&cold.flow);
            };
            cold.flow.outcome = decided;
            if !std::mem::replace(&mut hot.is_dirty, true) {
                self.dirty.push(*slot);
            }
            false
        });
        self.attempts = attempts;
    }

    fn sweep(&mut self, now: Timestamp, most: usize) {
        for _ in 0..most {
            let slot = self.sweep_at;
            self.sweep_at = if slot + 1 >= self.hot.len() { 0 } else { slot + 1 };
            if self.tags.get(slot).is_none_or(|tag| *tag == 0) {
                continue;
            }
            let (Some(hot), Some(cold)) = (self.hot.get(slot), self.cold.get(slot)) else { continue };
            let silence = now.since(hot.last_at);
            let reason = match hot.state {
                State::Closed if silence >= self.limits.linger => EndReason::Closed,
                State::Attempt if silence >= self.limits.attempt_idle => EndReason::Idle,
                State::Settled | State::Closing
                    if silence
                        >= if cold.flow.protocol == Protocol::TCP {
                            self.limits.tcp_idle
                        } else {
                            self.limits.other_idle
                        } =>
                {
                    EndReason::Idle
                }
                State::Closed | State::Attempt | State::Settled | State::Closing => continue,
            };
            if !self.end(slot, reason) {
                return;
            }
        }
    }

    fn engine_time(&self, at: Timestamp) -> Timestamp {
        at.plus(self.skew.saturating_neg())
    }

    fn relative_frame(&self, frame: u64) -> u32 {
        u32::try_from(frame.saturating_sub(self.base_frame)).unwrap_or(u32::MAX)
    }
}

fn ends(packet: &Packet, ports: Option<(Port, Port)>) -> (Endpoint, Endpoint) {
    (
        Endpoint { address: packet.source, port: ports.map(|ports| ports.0) },
        Endpoint { address: packet.destination, port: ports.map(|ports| ports.1) },
    )
}

/// Returns where the delivery of a SYN is remembered, and as what. Neither masquerading nor another network changes
/// whom it calls and its sequence number.
fn delivery(keyer: &Keyer, called: &Endpoint, sequence: u32) -> (usize, u64) {
    let digest = keyer.digest((called.address, called.port, sequence)) | 1;
    (usize::try_from(digest >> 32).unwrap_or(0) % DELIVERIES, digest)
}

fn tag_of(place: u64) -> u8 {
    // The top byte; the low bits choose the window. 0 marks a free slot.
    u8::try_from(place >> 56).unwrap_or(0).max(1)
}

fn overflow_row(attachment: AttachmentId) -> usize {
    let row = attachment.0 as usize;
    if row < OVERFLOW_ROWS { row } else { 0 }
}

impl Hot {
    const EMPTY: Self = Self {
        key: FlowKey(0),
        bytes: [0; 2],
        frames: [0; 2],
        last_at: Timestamp(0),
        attachments: [0; 2],
        last_frame: 0,
        epoch: 0,
        state: State::Closed,
        is_dirty: false,
    };
}

impl Cold {
    const EMPTY: Self = {
        let nobody = End {
            address: std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            port: None,
            holder: Holder::Bare,
        };
        Self {
            flow: Flow {
                id: 0,
                scope: ScopeId(0),
                protocol: Protocol(0),
                ends: [nobody, nobody],
                initiator: Side::A,
                evidence: InitiatorEvidence::FirstSender,
                claim: Claim::Own,
                outcome: Outcome::Pending,
                first_at: Timestamp(0),
                last_at: Timestamp(0),
                first_frame: 0,
                last_frame: 0,
                frames: [0; 2],
                bytes: [0; 2],
                tcp_flags: [0; 2],
                rtt: None,
                is_midstream: false,
                is_delivered: false,
                is_tunnel: false,
                icmp_type: None,
            },
            opened_at: Timestamp(0),
            syn_at: None,
            syn_sequence: None,
            expects_delivery: false,
        }
    };
}
