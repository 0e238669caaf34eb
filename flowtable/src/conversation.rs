//! Conversations: all flows of one initiator to one service port of one responder, with names.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::quality::RandomState;
use serde::{Deserialize, Serialize};

use crate::delta::Delta;
use crate::directory::{AttachmentId, Holder, ScopeId};
use crate::dns_names::{DnsName, DnsNames};
use crate::flow::{Claim, Flow, InitiatorEvidence, Outcome, Side};
use crate::history::Letter;
use crate::icmp::{IcmpKind, IcmpKinds};
use crate::ledger::{Completeness, Ledger, Tally};
use crate::neighbours::NeighbourSweep;
use crate::quantiles::Quantiles;
use crate::theft::StolenMac;
use crate::units::{Port, ServicePort, Timestamp};
use crate::workload::{Listening, PublishedPort, Workload};

/// One end of a conversation, named.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Peer {
    /// A container, and the address it used.
    Workload {
        /// Who it is.
        workload: Arc<Workload>,
        /// Its address in the conversation's network.
        address: IpAddr,
    },
    /// The Docker host.
    Host {
        /// The host's address it used.
        address: IpAddr,
    },
    /// Outside every container network.
    External {
        /// Its address.
        address: IpAddr,
        /// What the other end asked for and was told has this address: claims of whoever answered, the latest first.
        #[serde(default, skip_serializing_if = "<[DnsName]>::is_empty")]
        names: Arc<[DnsName]>,
    },
    /// An address of a container network that no known container holds.
    Unclaimed {
        /// The address.
        address: IpAddr,
        /// The attachment, where the frames came by a veth nobody could name.
        attachment: Option<AttachmentId>,
    },
    /// Multicast or broadcast.
    Group {
        /// The group's address.
        address: IpAddr,
    },
    /// Several bindings fit and nothing tells them apart.
    Ambiguous {
        /// The address.
        address: IpAddr,
    },
    /// No roster: the address is all that is known.
    Bare {
        /// The address.
        address: IpAddr,
    },
}

impl Peer {
    /// Returns the address it used.
    pub fn address(&self) -> IpAddr {
        match self {
            Self::Workload { address, .. }
            | Self::Host { address }
            | Self::External { address, .. }
            | Self::Unclaimed { address, .. }
            | Self::Group { address }
            | Self::Ambiguous { address }
            | Self::Bare { address } => *address,
        }
    }

    /// Returns the workload, if it is one.
    pub fn workload(&self) -> Option<&Arc<Workload>> {
        match self {
            Self::Workload { workload, .. } => Some(workload),
            Self::Host { .. }
            | Self::External { .. }
            | Self::Unclaimed { .. }
            | Self::Group { .. }
            | Self::Ambiguous { .. }
            | Self::Bare { .. } => None,
        }
    }

    /// Returns the name replicas share: `project/service`, `host`, `external`, `unclaimed`, `multicast`,
    /// `ambiguous`, or the address itself where there is no roster.
    pub fn service(&self) -> String {
        match self {
            Self::Workload { workload, .. } => workload.qualified(),
            Self::Host { .. } => "host".to_owned(),
            Self::External { .. } => "external".to_owned(),
            Self::Unclaimed { .. } => "unclaimed".to_owned(),
            Self::Group { .. } => "multicast".to_owned(),
            Self::Ambiguous { .. } => "ambiguous".to_owned(),
            Self::Bare { address } => address.to_string(),
        }
    }

    /// Returns what an outside address is claimed to be called; nothing for everybody else.
    pub fn names(&self) -> &[DnsName] {
        match self {
            Self::External { names, .. } => names,
            Self::Workload { .. }
            | Self::Host { .. }
            | Self::Unclaimed { .. }
            | Self::Group { .. }
            | Self::Ambiguous { .. }
            | Self::Bare { .. } => &[],
        }
    }

    /// Returns the compose or stack project; empty for everything but a workload that has one.
    pub fn project(&self) -> &str {
        self.workload().map_or("", |workload| workload.project.as_str())
    }
}

/// How a conversation's connections fared.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Answered by a SYN-ACK or a datagram.
    pub answered: u64,
    /// Answered by RST or an ICMP error.
    pub refused: u64,
    /// Not answered.
    pub unanswered: u64,
    /// Never delivered on this host.
    pub blocked: u64,
    /// Too early to say. The only figure that falls.
    pub pending: u64,
}

impl Outcomes {
    /// Returns connections attempted, whatever became of them.
    pub fn attempted(&self) -> u64 {
        self.answered.saturating_add(self.failed()).saturating_add(self.pending)
    }

    /// Returns refused, unanswered and blocked together.
    pub fn failed(&self) -> u64 {
        self.refused.saturating_add(self.unanswered).saturating_add(self.blocked)
    }
}

/// All flows of one initiator to one service port of one responder.
///
/// A flow whose ends or claim turn out to be others takes along what it added. While other flows stay, the first and
/// last times and frames, the best evidence, `burst_unanswered`, `is_tunnel` and `icmp` are those of all flows that
/// were ever handed over as part of it, since what comes next to an extreme is not kept. What all flows left begins
/// anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// Who opened it: the attachment that sent, whatever address it claimed.
    pub initiator: Peer,
    /// Who was called. For a published port reached through the host: the port's owner.
    pub responder: Peer,
    /// What was called.
    pub port: ServicePort,
    /// Network it was seen in; empty where the capture does not say.
    pub network: String,
    /// The host binding it went through: `host:8080`.
    pub via: Option<String>,
    /// Best evidence among its flows for who opened them.
    pub evidence: InitiatorEvidence,
    /// How the initiator stands to the address it used.
    pub claim: Claim,
    /// For a spoofed conversation: the address that was claimed, and who holds it.
    pub claimed: Option<Box<Peer>>,
    /// Sent by the initiator.
    pub sent: Tally,
    /// Received by the initiator.
    pub received: Tally,
    /// How its connections fared. Protocols without connections count flows.
    pub connections: Outcomes,
    /// Flows in which both ends were heard: payload from the initiator, and from the responder payload or an
    /// acknowledgment behind its SYN-ACK. A half-open connection is none.
    #[serde(default)]
    pub exchanged: u64,
    /// Flows that are open.
    pub open: u64,
    /// Whether some flow was joined after its opening.
    pub is_midstream: bool,
    /// Whether it is the host's or docker-proxy's leg towards a published port.
    pub is_proxy_leg: bool,
    /// Whether it carried tunnels.
    pub is_tunnel: bool,
    /// First frame's time.
    pub first_at: Timestamp,
    /// Last frame's time.
    pub last_at: Timestamp,
    /// First frame's number.
    pub first_frame: u64,
    /// Last frame's number.
    pub last_frame: u64,
    /// Median handshake round trip in nanoseconds, to a quarter octave.
    pub rtt_p50: Option<i64>,
    /// Most handshakes opened within one second that were not answered; what a flood is judged by.
    pub burst_unanswered: u64,
    /// For ICMP: the messages its flows began with.
    #[serde(default, skip_serializing_if = "IcmpKinds::is_empty")]
    pub icmp: IcmpKinds,
    /// Source port of the first flow, for Community ID and a Wireshark filter.
    pub first_source_port: Option<Port>,
}

/// Conversations at one instant, with names and accounts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was taken, in engine time.
    pub at: Timestamp,
    /// First frame's time, or the tap's start.
    pub from: Timestamp,
    /// Conversations, in the order of first frame and then of names.
    pub conversations: Vec<Conversation>,
    /// The accounts of the data plane.
    pub ledger: Ledger,
    /// Frames the kernel dropped; `None` where the source does not say.
    pub kernel_dropped: Option<u64>,
    /// Whether anything was missed.
    pub completeness: Completeness,
    /// Whether somebody told who is who.
    pub has_roster: bool,
    /// Containers known, running or ended within the last 40 s.
    pub workloads: Vec<Arc<Workload>>,
    /// What listens in each running container, by its id, where somebody looked or tried to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub listening: BTreeMap<String, Listening>,
    /// Container ports mapped onto the host, those that no longer are included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<PublishedPort>,
    /// Set while names may be out of date.
    pub stale: Option<String>,
    /// Frames and bytes of conversations that are not published yet because an end has no name.
    pub withheld: Tally,
    /// Conversations folded away because a limit was reached.
    pub conversations_folded: u64,
    /// Hardware addresses used by others than who holds them, in the order of first frame.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thefts: Vec<StolenMac>,
    /// Who asked for addresses of its own network that nobody holds, in the order of first frame.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sweeps: Vec<NeighbourSweep>,
}

/// Most conversations held at once; beyond, flows are folded into one.
pub const CONVERSATIONS_MAX: usize = 65_536;
/// Beyond so many conversations, addresses outside every container network are folded into one, so that they
/// cannot push out what containers say to each other.
pub const OUTSIDE_MAX: usize = CONVERSATIONS_MAX / 2;
/// Most of these that one end inside may have, in one network; beyond, its outside addresses are folded into one, so
/// that who calls every address there is takes neither the room of others nor much memory.
pub const OUTSIDE_PER_END_MAX: u32 = 8_192;
/// Most conversations between the same two ends; beyond, their ports are folded into one without a port, so
/// that a scan cannot push others out.
pub const PORTS_PER_PAIR_MAX: u32 = 1_024;

/// The control plane's totals: every flow's growth, added up per conversation. Grows by deltas only.
#[derive(Debug, Default)]
pub struct Conversations {
    pub(crate) table: Vec<Totals>,
    // Seeded at random like the standard library's, and several times as fast; nobody goes through them in order.
    index: HashMap<Key, u32, RandomState>,
    pairs: HashMap<(ScopeId, Party, Party), u32, RandomState>,
    /// Conversations with the outside by the end inside.
    outside: HashMap<(ScopeId, Holder), u32, RandomState>,
    flows: Vec<FlowState>,
    names: DnsNames,
    sum: Tally,
    folded: u64,
    first_at: Option<Timestamp>,
}

/// One end as the data plane knew it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Party {
    pub(crate) holder: Holder,
    pub(crate) address: IpAddr,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Key {
    pub(crate) scope: ScopeId,
    pub(crate) initiator: Party,
    pub(crate) responder: Party,
    pub(crate) port: ServicePort,
    pub(crate) claim: Claim,
}

/// What all flows of one key add up to.
#[derive(Clone, Debug)]
pub(crate) struct Totals {
    pub(crate) key: Key,
    pub(crate) sent: Tally,
    pub(crate) received: Tally,
    pub(crate) connections: Outcomes,
    pub(crate) exchanged: u64,
    pub(crate) open: u64,
    pub(crate) evidence: InitiatorEvidence,
    /// Flows joined after their opening: fewer once a SYN comes late.
    pub(crate) midstream: u64,
    pub(crate) is_tunnel: bool,
    pub(crate) first_at: Timestamp,
    pub(crate) last_at: Timestamp,
    pub(crate) first_frame: u64,
    pub(crate) last_frame: u64,
    pub(crate) first_source_port: Option<Port>,
    pub(crate) rtt: Option<Quantiles>,
    /// For ICMP: the messages its flows began with.
    pub(crate) icmp: Option<Box<IcmpKinds>>,
    /// Attempts without an answer by second, the latest four: deltas come out of order.
    bursts: [(i64, u64); 4],
    burst_most: u64,
}

/// What a flow has contributed so far.
#[derive(Clone, Copy, Debug)]
struct FlowState {
    id: u64,
    conversation: u32,
    initiator: Side,
    outcome: Outcome,
    told: Told,
}

const _: () = assert!(size_of::<FlowState>() == 16, "there is one for each slot of the flow table");

/// What of a flow a conversation counts, besides how it fared.
#[derive(Clone, Copy, Debug)]
struct Told(u8);

impl Told {
    const RTT: u8 = 1;
    const EXCHANGED: u8 = 1 << 1;
    const MIDSTREAM: u8 = 1 << 2;

    fn of(flow: &Flow) -> Self {
        let bit = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        Self(
            bit(flow.rtt.is_some(), Self::RTT)
                | bit(has_exchanged(flow), Self::EXCHANGED)
                | bit(flow.is_midstream, Self::MIDSTREAM),
        )
    }

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

impl Conversations {
    /// Builds an empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns frames and bytes of all conversations, ended flows included.
    pub fn sum(&self) -> Tally {
        self.sum
    }

    /// Returns conversations held.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Returns whether nothing was seen yet.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Returns the number of the total that the flow last applied in `slot` is part of, for
    /// [`Conversations::members`].
    pub fn total_of(&self, slot: u32) -> Option<u32> {
        self.flows.get(slot as usize).map(|state| state.conversation)
    }

    /// Returns flows that were folded away because a limit was reached.
    pub fn folded(&self) -> u64 {
        self.folded
    }

    /// Returns what outside addresses are called.
    pub fn names(&self) -> &DnsNames {
        &self.names
    }

    /// Returns what outside addresses are called, to be added to.
    pub fn names_mut(&mut self) -> &mut DnsNames {
        &mut self.names
    }

    /// Returns the first frame's time.
    pub fn first_at(&self) -> Option<Timestamp> {
        self.first_at
    }

    /// Adds one flow's growth.
    ///
    /// A flow whose ends, roles or claim turned out to be others takes what it contributed so far along to its
    /// new conversation.
    pub fn apply(&mut self, delta: &Delta) {
        let flow = &delta.flow;
        self.first_at = Some(self.first_at.map_or(flow.first_at, |first| first.min(flow.first_at)));
        let slot = delta.slot as usize;
        let known = self.flows.get(slot).copied().filter(|state| state.id == flow.id);
        let key = key_of(flow);
        let conversation = match known {
            Some(state) if self.table.get(state.conversation as usize).is_some_and(|it| it.key == key) => {
                state.conversation
            }
            Some(_) | None => self.conversation_for(key, flow, known),
        };
        if let Some(state) = known
            && state.conversation != conversation
        {
            self.withdraw(&state, delta);
        }
        let before = known.filter(|state| state.conversation == conversation);
        self.add(conversation, delta, before);
        self.remember(
            slot,
            FlowState {
                id: flow.id,
                conversation,
                initiator: flow.initiator,
                outcome: flow.outcome,
                told: Told::of(flow),
            },
        );
        if delta.ended.is_some()
            && let Some(state) = self.flows.get_mut(slot)
        {
            state.id = 0;
        }
        self.sum += delta.grown[0] + delta.grown[1];
    }

    fn remember(&mut self, slot: usize, state: FlowState) {
        if self.flows.len() <= slot {
            let nobody = FlowState {
                id: 0,
                conversation: 0,
                initiator: Side::A,
                outcome: Outcome::Pending,
                told: Told(0),
            };
            self.flows.resize(slot + 1, nobody);
        }
        if let Some(entry) = self.flows.get_mut(slot) {
            *entry = state;
        }
    }

    fn conversation_for(&mut self, key: Key, flow: &Flow, known: Option<FlowState>) -> u32 {
        if let Some(found) = self.index.get(&key) {
            return *found;
        }
        if let Some(state) = known
            && self.is_folded(state.conversation, &key)
        {
            return state.conversation;
        }
        let key = self.room_for(key);
        if key != key_of(flow) {
            self.folded += 1;
        }
        if let Some(found) = self.index.get(&key) {
            return *found;
        }
        let number = u32::try_from(self.table.len()).unwrap_or(u32::MAX);
        self.index.insert(key, number);
        self.table.push(Totals::new(key, flow));
        number
    }

    /// Returns the key itself, or what it is folded into. Outside addresses go first: anybody out there has as many
    /// as he likes, and must not push out what containers do.
    fn room_for(&mut self, key: Key) -> Key {
        if self.table.len() >= CONVERSATIONS_MAX {
            return FOLD;
        }
        let inside = key.inside();
        let has_its_share = inside
            .is_some_and(|end| self.outside.get(&end).is_some_and(|count| *count >= OUTSIDE_PER_END_MAX));
        let is_full = has_its_share || self.table.len() >= OUTSIDE_MAX;
        let key = if is_full { key.without_outside() } else { key };
        if self.index.contains_key(&key) {
            return key;
        }
        if let Some(end) = inside {
            let count = self.outside.entry(end).or_default();
            *count = count.saturating_add(1);
        }
        let ports = self.pairs.entry((key.scope, key.initiator, key.responder)).or_default();
        *ports = ports.saturating_add(1);
        if *ports > PORTS_PER_PAIR_MAX { key.without_port() } else { key }
    }

    /// Returns whether `conversation` is one that `key` was folded into.
    fn is_folded(&self, conversation: u32, key: &Key) -> bool {
        self.table.get(conversation as usize).is_some_and(|it| {
            it.key == FOLD
                || it.key == key.without_port()
                || it.key == key.without_outside()
                || it.key == key.without_outside().without_port()
        })
    }

    /// Takes a flow's contribution out of a conversation it turned out not to belong to.
    fn withdraw(&mut self, state: &FlowState, delta: &Delta) {
        let Some(totals) = self.table.get_mut(state.conversation as usize) else { return };
        let (sent, received) = state.contributed(delta);
        totals.sent = totals.sent - sent;
        totals.received = totals.received - received;
        uncount(&mut totals.connections, state.outcome);
        totals.forget(state.told);
        if let (true, Some(rtt), Some(quantiles)) =
            (state.told.has(Told::RTT), delta.flow.rtt, &mut totals.rtt)
        {
            quantiles.uncount(rtt);
        }
        totals.open = totals.open.saturating_sub(1);
    }

    fn add(&mut self, conversation: u32, delta: &Delta, known: Option<FlowState>) {
        let Some(totals) = self.table.get_mut(conversation as usize) else { return };
        let flow = &delta.flow;
        if known.is_none() && totals.is_empty() {
            // Nothing is left of what began it.
            *totals = Totals::new(totals.key, flow);
        }
        let growth = if known.is_some() { delta.grown } else { total(flow) };
        let (sent, received) = flow.directed(growth);
        totals.sent += sent;
        totals.received += received;
        if let Some(state) = known {
            if state.initiator != flow.initiator {
                // Between two equal ends, or folded, it swaps its sides and stays.
                let (sent, received) = state.contributed(delta);
                totals.sent = totals.sent - sent + received;
                totals.received = totals.received - received + sent;
            }
            uncount(&mut totals.connections, state.outcome);
            totals.forget(state.told);
        } else {
            totals.open += 1;
        }
        count(&mut totals.connections, flow.outcome);
        totals.exchanged += u64::from(has_exchanged(flow));
        totals.midstream += u64::from(flow.is_midstream);
        if delta.ended.is_some() {
            totals.open = totals.open.saturating_sub(1);
        }
        totals.evidence = totals.evidence.min(flow.evidence);
        totals.is_tunnel |= flow.is_tunnel;
        if flow.first_frame < totals.first_frame {
            totals.first_frame = flow.first_frame;
            totals.first_source_port = flow.initiator_end().port;
        }
        totals.first_at = totals.first_at.min(flow.first_at);
        totals.last_at = totals.last_at.max(flow.last_at);
        totals.last_frame = totals.last_frame.max(flow.last_frame);
        if let (Some(rtt), false) = (flow.rtt, known.is_some_and(|state| state.told.has(Told::RTT))) {
            totals.rtt.get_or_insert_with(Quantiles::new).count(rtt);
        }
        totals.note_burst(flow, known);
        if let (None, Some(kind), Some(code)) = (known, flow.icmp_type, flow.icmp_code) {
            totals.icmp.get_or_insert_default().insert(IcmpKind { kind, code });
        }
    }
}

impl FlowState {
    /// Returns what the flow sent and received before it grew by `delta`, as it was counted. Sides do not change; which
    /// of them is the initiator's may have.
    fn contributed(&self, delta: &Delta) -> (Tally, Tally) {
        let [a, b] = before(delta);
        match self.initiator {
            Side::A => (a, b),
            Side::B => (b, a),
        }
    }
}

impl Totals {
    fn new(key: Key, flow: &Flow) -> Self {
        Self {
            key,
            sent: Tally::default(),
            received: Tally::default(),
            connections: Outcomes::default(),
            exchanged: 0,
            open: 0,
            evidence: flow.evidence,
            midstream: 0,
            is_tunnel: false,
            first_at: flow.first_at,
            last_at: flow.last_at,
            first_frame: flow.first_frame,
            last_frame: flow.last_frame,
            first_source_port: flow.initiator_end().port,
            rtt: None,
            icmp: None,
            bursts: [(i64::MIN, 0); 4],
            burst_most: 0,
        }
    }

    /// Returns whether no flow is part of it: what a flow takes along to another conversation may leave an empty one.
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.attempted() == 0 && self.sent.frames + self.received.frames == 0
    }

    /// Takes back what is counted again with every delta of a flow.
    fn forget(&mut self, told: Told) {
        self.exchanged = self.exchanged.saturating_sub(u64::from(told.has(Told::EXCHANGED)));
        self.midstream = self.midstream.saturating_sub(u64::from(told.has(Told::MIDSTREAM)));
    }

    /// Counts attempts of one second that were not answered: SYN floods.
    fn note_burst(&mut self, flow: &Flow, known: Option<FlowState>) {
        let second = flow.first_at.0.div_euclid(Timestamp::SECOND);
        let is_open = !matches!(flow.outcome, Outcome::Answered | Outcome::Refused);
        let was_open =
            known.is_some_and(|state| !matches!(state.outcome, Outcome::Answered | Outcome::Refused));
        let row = usize::try_from(second.rem_euclid(4)).unwrap_or(0);
        let Some((of, open)) = self.bursts.get_mut(row) else { return };
        if known.is_none() && is_open {
            if *of < second {
                self.burst_most = self.burst_most.max(*open);
                (*of, *open) = (second, 0);
            }
            // What is older than all of them is too late to be told apart.
            if *of == second {
                *open += 1;
            }
        } else if was_open && !is_open && *of == second {
            *open = open.saturating_sub(1);
        }
    }

    pub(crate) fn burst_most(&self) -> u64 {
        self.bursts.iter().fold(self.burst_most, |most, (_, open)| most.max(*open))
    }
}

/// Returns whether both ends of a flow were heard.
fn has_exchanged(flow: &Flow) -> bool {
    let (initiator, responder) = (flow.initiator, flow.initiator.other());
    let replied = flow.history.has(responder, Letter::Payload) || flow.history.has(responder, Letter::Ack);
    flow.outcome == Outcome::Answered && flow.history.has(initiator, Letter::Payload) && replied
}

const NOWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
/// Where everything beyond [`CONVERSATIONS_MAX`] goes.
const FOLD: Key = Key {
    scope: ScopeId(0),
    initiator: Party { holder: Holder::Ambiguous, address: NOWHERE },
    responder: Party { holder: Holder::Ambiguous, address: NOWHERE },
    port: ServicePort { port: None, protocol: crate::units::Protocol(0) },
    claim: Claim::Own,
};

impl Key {
    fn without_port(self) -> Self {
        Self { port: ServicePort { port: None, ..self.port }, ..self }
    }

    /// Returns the end that talks with an outside address; `None` where neither or both are outside.
    fn inside(self) -> Option<(ScopeId, Holder)> {
        let (initiator, responder) = (self.initiator.holder, self.responder.holder);
        match (initiator == Holder::External, responder == Holder::External) {
            (true, false) => Some((self.scope, responder)),
            (false, true) => Some((self.scope, initiator)),
            (true, true) | (false, false) => None,
        }
    }

    /// Outside addresses become one for each protocol family.
    fn without_outside(self) -> Self {
        let fold = |party: Party| match (party.holder, party.address) {
            (Holder::External, IpAddr::V4(_)) => Party { address: NOWHERE, ..party },
            (Holder::External, IpAddr::V6(_)) => {
                Party { address: IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), ..party }
            }
            (
                Holder::Attachment(_)
                | Holder::Host
                | Holder::Unclaimed
                | Holder::Group
                | Holder::Ambiguous
                | Holder::Bare,
                _,
            ) => party,
        };
        Self { initiator: fold(self.initiator), responder: fold(self.responder), ..self }
    }
}

fn key_of(flow: &Flow) -> Key {
    let party = |end: &crate::flow::End| Party { holder: end.holder, address: end.address };
    Key {
        scope: flow.scope,
        initiator: party(flow.initiator_end()),
        responder: party(flow.responder_end()),
        port: flow.service_port(),
        claim: flow.claim,
    }
}

fn total(flow: &Flow) -> [Tally; 2] {
    [0, 1].map(|side| Tally { frames: flow.frames[side], bytes: flow.bytes[side] })
}

fn before(delta: &Delta) -> [Tally; 2] {
    let all = total(&delta.flow);
    [all[0] - delta.grown[0], all[1] - delta.grown[1]]
}

fn count(connections: &mut Outcomes, outcome: Outcome) {
    *cell(connections, outcome) += 1;
}

fn uncount(connections: &mut Outcomes, outcome: Outcome) {
    let cell = cell(connections, outcome);
    *cell = cell.saturating_sub(1);
}

fn cell(connections: &mut Outcomes, outcome: Outcome) -> &mut u64 {
    match outcome {
        Outcome::Pending => &mut connections.pending,
        Outcome::Answered => &mut connections.answered,
        Outcome::Refused => &mut connections.refused,
        Outcome::Unanswered => &mut connections.unanswered,
        Outcome::Blocked => &mut connections.blocked,
    }
}
