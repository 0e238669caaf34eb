//! Names bind here: totals by address and attachment become conversations between named peers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::conversation::{Conversation, Conversations, Outcomes, Party, Peer, Snapshot, Totals};
use crate::directory::{AttachmentId, Holder, ScopeId, is_exempt_source};
use crate::dns_names::{Client, DnsNames, in_order};
use crate::flow::{Claim, End, Flow, InitiatorEvidence};
use crate::ledger::{Completeness, Ledger, Tally};
use crate::quantiles::Quantiles;
use crate::units::{Port, ServicePort, Timestamp};
use crate::workload::{Binding, Names, PublishedPort, Workload};

/// Time after a hand-over in which the former holder's address is no claim of anybody.
const HAND_OVER: i64 = 2 * Timestamp::SECOND;

/// What a snapshot needs to know besides the totals.
#[derive(Clone, Debug)]
pub struct Occasion {
    /// Engine time.
    pub at: Timestamp,
    /// Accounts of the data plane.
    pub ledger: Ledger,
    /// Frames the kernel dropped; `None` where the source does not say.
    pub kernel_dropped: Option<u64>,
    /// Whether anything was missed.
    pub completeness: Completeness,
    /// How long a conversation with a nameless end is withheld, in nanoseconds; 0 offline.
    pub withhold: i64,
}

/// What makes two totals one conversation once their ends are named.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Identity {
    initiator: PeerKey,
    responder: PeerKey,
    port: ServicePort,
    via: Option<String>,
    network: ScopeId,
    claim: Claim,
    claimed: Option<IpAddr>,
    is_proxy_leg: bool,
}

#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum PeerKey {
    Workload(String, Timestamp),
    Address(u8, IpAddr, Option<AttachmentId>),
}

/// A conversation being put together from several totals.
struct Draft {
    conversation: Conversation,
    rtt: Option<Quantiles>,
}

impl Conversations {
    /// Names everything and returns it as one immutable value.
    ///
    /// Ends without a name are withheld for `occasion.withhold` when somebody could still name them; their totals
    /// then stand in [`Snapshot::withheld`], so that nothing is missing from the sum. Thefts are not known here: whoever
    /// asked the flow table fills them in.
    pub fn snapshot(&self, occasion: Occasion, names: &Names) -> Snapshot {
        let reader = Reader::new(names).with_claims(self.names());
        let mut drafts: Vec<(Identity, Draft)> = Vec::with_capacity(self.table.len());
        let mut withheld = Tally::default();
        for totals in &self.table {
            if totals.is_empty() {
                continue;
            }
            let (identity, conversation) = reader.read(totals);
            let is_nameless = matches!(conversation.initiator, Peer::Unclaimed { .. })
                || matches!(conversation.responder, Peer::Unclaimed { .. });
            if names.has_roster
                && is_nameless
                && occasion.withhold > 0
                && occasion.at.since(totals.first_at) < occasion.withhold
            {
                withheld += totals.sent + totals.received;
                continue;
            }
            drafts.push((identity, Draft { conversation, rtt: totals.rtt.clone() }));
        }
        // Sorted in place and not in a map: there may be many, and a map takes nearly twice their room. Totals of one
        // identity stay in their order.
        drafts.sort_by(|(one, _), (other, _)| one.cmp(other));
        drafts.dedup_by(|(identity, draft), (kept, into)| {
            let is_same = identity == kept;
            if is_same {
                into.merge(&draft.conversation, draft.rtt.as_ref());
            }
            is_same
        });
        let mut conversations: Vec<Conversation> =
            drafts.into_iter().map(|(_, draft)| draft.finish()).collect();
        // The order of names breaks ties.
        conversations.sort_by_key(|conversation| conversation.first_frame);
        Snapshot {
            at: occasion.at,
            from: self.first_at().unwrap_or(occasion.at),
            conversations,
            ledger: occasion.ledger,
            kernel_dropped: occasion.kernel_dropped,
            completeness: occasion.completeness,
            has_roster: names.has_roster,
            workloads: names.workloads.clone(),
            listening: names.listening.clone(),
            published: names.published.clone(),
            stale: names.stale.clone(),
            withheld,
            conversations_folded: self.folded(),
            thefts: Vec::new(),
            sweeps: Vec::new(),
        }
    }

    /// Returns the numbers of the totals that each conversation of a snapshot rests on, in its order, for a snapshot
    /// that withholds nothing.
    pub fn members(&self, names: &Names) -> Vec<Vec<u32>> {
        let reader = Reader::new(names);
        let mut members: BTreeMap<Identity, (u64, Vec<u32>)> = BTreeMap::new();
        for (number, totals) in (0_u32..).zip(&self.table) {
            if totals.is_empty() {
                continue;
            }
            let (identity, conversation) = reader.read(totals);
            let (first_frame, numbers) = members.entry(identity).or_insert((u64::MAX, Vec::new()));
            *first_frame = conversation.first_frame.min(*first_frame);
            numbers.push(number);
        }
        let mut members: Vec<(u64, Vec<u32>)> = members.into_values().collect();
        members.sort_by_key(|(first_frame, _)| *first_frame);
        members.into_iter().map(|(_, numbers)| numbers).collect()
    }
}

impl Draft {
    fn merge(&mut self, other: &Conversation, rtt: Option<&Quantiles>) {
        let mine = &mut self.conversation;
        mine.sent += other.sent;
        mine.received += other.received;
        mine.connections = Outcomes {
            answered: mine.connections.answered + other.connections.answered,
            refused: mine.connections.refused + other.connections.refused,
            unanswered: mine.connections.unanswered + other.connections.unanswered,
            blocked: mine.connections.blocked + other.connections.blocked,
            pending: mine.connections.pending + other.connections.pending,
        };
        mine.exchanged += other.exchanged;
        mine.open += other.open;
        mine.evidence = mine.evidence.min(other.evidence);
        mine.is_midstream |= other.is_midstream;
        mine.is_tunnel |= other.is_tunnel;
        if other.first_frame < mine.first_frame {
            mine.first_frame = other.first_frame;
            mine.first_source_port = other.first_source_port;
        }
        mine.first_at = mine.first_at.min(other.first_at);
        mine.last_at = mine.last_at.max(other.last_at);
        mine.last_frame = mine.last_frame.max(other.last_frame);
        mine.burst_unanswered = mine.burst_unanswered.max(other.burst_unanswered);
        mine.icmp.merge(&other.icmp);
        if let Some(rtt) = rtt {
            self.rtt.get_or_insert_with(Quantiles::new).merge(rtt);
        }
    }

    fn finish(mut self) -> Conversation {
        self.conversation.rtt_p50 = self.rtt.as_ref().and_then(Quantiles::median);
        self.conversation
    }
}

/// Names, indexed for one snapshot.
#[derive(Debug)]
pub struct Reader<'a> {
    names: &'a Names,
    settled: HashSet<(ScopeId, AttachmentId)>,
    published: HashMap<(Port, crate::units::Protocol), Vec<&'a PublishedPort>>,
    workloads: HashMap<&'a str, &'a Arc<Workload>>,
    claims: Option<Claims<'a>>,
}

/// What outside addresses are called, and by which attachments each container asked.
#[derive(Debug)]
struct Claims<'a> {
    names: &'a DnsNames,
    attachments: HashMap<(&'a str, Timestamp), Vec<AttachmentId>>,
}

impl<'a> Reader<'a> {
    /// Indexes names.
    pub fn new(names: &'a Names) -> Self {
        let mut settled = HashSet::new();
        for ((scope, _), bindings) in &names.addresses {
            settled.extend(bindings.iter().map(|binding| (*scope, binding.attachment)));
        }
        let mut published: HashMap<_, Vec<_>> = HashMap::new();
        for port in &names.published {
            published.entry((port.host_port, port.protocol)).or_default().push(port);
        }
        // Whoever runs now comes last and wins.
        let workloads = names.former.iter().chain(&names.workloads);
        let workloads = workloads.map(|workload| (workload.container_id.as_str(), workload)).collect();
        Self { names, settled, published, workloads, claims: None }
    }

    /// Lets outside addresses be called what their other end was told they are called.
    #[must_use]
    pub fn with_claims(mut self, names: &'a DnsNames) -> Self {
        if names.is_empty() {
            return self;
        }
        let mut attachments: HashMap<_, Vec<AttachmentId>> = HashMap::new();
        for (attachment, workload) in &self.names.attachments {
            let generation = (workload.container_id.as_str(), workload.started_at);
            attachments.entry(generation).or_default().push(*attachment);
        }
        self.claims = Some(Claims { names, attachments });
        self
    }

    /// Calls `outside`, where it is outside, what `inside` was told it is called. A container's names are those it asked
    /// for on any of its networks.
    pub fn call(
        &self,
        outside: &mut Peer,
        inside: &Peer,
        place: (ScopeId, Holder),
        span: (Timestamp, Timestamp),
    ) {
        let (Peer::External { address, names }, Some(claims)) = (outside, &self.claims) else { return };
        let (scope, holder) = place;
        let alone = Client::of(scope, holder, inside.address());
        let known = inside.workload().and_then(|workload| {
            claims.attachments.get(&(workload.container_id.as_str(), workload.started_at))
        });
        let clients = known.into_iter().flatten().map(|attachment| Client::Attachment(*attachment));
        let clients = clients.chain(alone.filter(|_| known.is_none()));
        let told = clients.flat_map(|client| claims.names.of(client, *address, span));
        let told = in_order(told);
        if !told.is_empty() {
            *names = told;
        }
    }

    /// Names one end of a flow; `span` is the flow's first and last time.
    pub fn peer(
        &self,
        scope: ScopeId,
        holder: Holder,
        address: IpAddr,
        span: (Timestamp, Timestamp),
    ) -> Peer {
        match holder {
            Holder::Attachment(attachment) => match self.names.attachments.get(&attachment) {
                Some(workload) => Peer::Workload { workload: Arc::clone(workload), address },
                None => Peer::Unclaimed { address, attachment: Some(attachment) },
            },
            Holder::Unclaimed => self.claimant(scope, address, span),
            Holder::Host => Peer::Host { address },
            Holder::External => Peer::External { address, names: Arc::default() },
            Holder::Group => Peer::Group { address },
            Holder::Ambiguous => Peer::Ambiguous { address },
            Holder::Bare => Peer::Bare { address },
        }
    }

    /// Names both ends of a flow as its conversation does, and says what was called.
    pub fn ends(&self, flow: &Flow) -> (Peer, Peer, ServicePort) {
        let ends = [flow.initiator_end(), flow.responder_end()];
        self.ends_of(flow.scope, ends, flow.service_port(), (flow.first_at, flow.last_at))
    }

    /// Names the initiator and the responder of a flow of which no more is at hand, and says what was called; `span` is
    /// its first and last time.
    pub fn ends_of(
        &self,
        scope: ScopeId,
        [initiator, responder]: [&End; 2],
        port: ServicePort,
        span: (Timestamp, Timestamp),
    ) -> (Peer, Peer, ServicePort) {
        let name = |end: &End| self.peer(scope, end.holder, end.address, span);
        let initiator = name(initiator);
        let (responder, port, _) = self.answerer(name(responder), &initiator, port, span);
        (initiator, responder, port)
    }

    /// Names an address nobody was known to hold when the flow opened: the roster may have caught up.
    fn claimant(&self, scope: ScopeId, address: IpAddr, span: (Timestamp, Timestamp)) -> Peer {
        let mut found: Option<&Arc<Workload>> = None;
        for binding in self.bindings(scope, address).iter().filter(|binding| overlaps(binding, span)) {
            let Some(workload) = self.names.attachments.get(&binding.attachment) else { continue };
            match found {
                None => found = Some(workload),
                Some(first) if first.container_id == workload.container_id => {}
                Some(_) => return Peer::Ambiguous { address },
            }
        }
        match found {
            Some(workload) => Peer::Workload { workload: Arc::clone(workload), address },
            None => Peer::Unclaimed { address, attachment: None },
        }
    }

    fn bindings(&self, scope: ScopeId, address: IpAddr) -> &[Binding] {
        self.names.addresses.get(&(scope, address)).map_or(&[], Vec::as_slice)
    }

    fn read(&self, totals: &Totals) -> (Identity, Conversation) {
        let key = &totals.key;
        let span = (totals.first_at, totals.last_at);
        let name = |party: &Party| self.peer(key.scope, party.holder, party.address, span);
        let mut initiator = name(&key.initiator);
        let (mut responder, port, via) = self.answerer(name(&key.responder), &initiator, key.port, span);
        self.call(&mut responder, &initiator, (key.scope, key.initiator.holder), span);
        self.call(&mut initiator, &responder, (key.scope, key.responder.holder), span);
        let is_proxy_leg = self.is_proxy_leg(&initiator, &responder, port);
        let responder_documents = responder
            .workload()
            .is_some_and(|workload| workload.documented.iter().any(|documented| documented.covers(port)));
        let (claim, claimed) = self.claim(totals, &initiator);
        let identity = Identity {
            initiator: peer_key(&initiator),
            responder: peer_key(&responder),
            port,
            via: via.clone(),
            network: key.scope,
            claim,
            claimed: claimed.as_ref().map(Peer::address),
            is_proxy_leg,
        };
        let network = self.names.scopes.get(&key.scope).map_or(String::new(), |name| name.to_string());
        let conversation = Conversation {
            initiator,
            responder,
            port,
            network,
            via,
            evidence: better_evidence(totals.evidence, responder_documents),
            claim,
            claimed: claimed.map(Box::new),
            sent: totals.sent,
            received: totals.received,
            connections: totals.connections,
            exchanged: totals.exchanged,
            open: totals.open,
            is_midstream: totals.midstream > 0,
            is_proxy_leg,
            is_tunnel: totals.is_tunnel,
            first_at: totals.first_at,
            last_at: totals.last_at,
            first_frame: totals.first_frame,
            last_frame: totals.last_frame,
            rtt_p50: None,
            burst_unanswered: totals.burst_most(),
            icmp: totals.icmp.as_deref().cloned().unwrap_or_default(),
            first_source_port: totals.first_source_port,
        };
        (identity, conversation)
    }

    /// A call to a published port is drawn to the port's owner: on the host's address it is the first leg, at
    /// the container it came through the documented binding.
    fn answerer(
        &self,
        responder: Peer,
        initiator: &Peer,
        port: ServicePort,
        (first, last): (Timestamp, Timestamp),
    ) -> (Peer, ServicePort, Option<String>) {
        let Some(number) = port.port else { return (responder, port, None) };
        match &responder {
            Peer::Host { address } => {
                let fitting: Vec<&&PublishedPort> = self
                    .published
                    .get(&(number, port.protocol))
                    .into_iter()
                    .flatten()
                    .filter(|it| it.host_address.is_unspecified() || it.host_address == *address)
                    .filter(|it| {
                        it.from.since(last) < HAND_OVER && it.until.is_none_or(|until| first < until)
                    })
                    .collect();
                let owner = match fitting.as_slice() {
                    [] => return (responder, port, None),
                    [first, rest @ ..] if rest.iter().all(|it| it.container_id == first.container_id) => {
                        first
                    }
                    _ => {
                        let address = *address;
                        return (Peer::Ambiguous { address }, port, Some(format!("host:{number}")));
                    }
                };
                match self.workloads.get(owner.container_id.as_str()) {
                    Some(workload) => (
                        Peer::Workload { workload: Arc::clone(workload), address: *address },
                        ServicePort { port: Some(owner.container_port), protocol: port.protocol },
                        Some(format!("host:{number}")),
                    ),
                    None => (responder, port, None),
                }
            }
            Peer::Workload { workload, .. } if matches!(initiator, Peer::External { .. }) => {
                let via = self.binding_of(workload, port);
                (responder, port, via)
            }
            Peer::Workload { .. }
            | Peer::External { .. }
            | Peer::Unclaimed { .. }
            | Peer::Group { .. }
            | Peer::Ambiguous { .. }
            | Peer::Bare { .. } => (responder, port, None),
        }
    }

    fn binding_of(&self, workload: &Workload, port: ServicePort) -> Option<String> {
        let mut ports: Vec<Port> = self
            .names
            .published
            .iter()
            .filter(|it| {
                it.container_id == workload.container_id
                    && Some(it.container_port) == port.port
                    && it.protocol == port.protocol
            })
            .map(|it| it.host_port)
            .collect();
        ports.sort_unstable();
        ports.dedup();
        match ports.as_slice() {
            [] => None,
            [one] => Some(format!("host:{one}")),
            _ => Some("ambiguous".to_owned()),
        }
    }

    /// A gateway-sourced flow to a published port: the host or docker-proxy, and nothing tells which.
    fn is_proxy_leg(&self, initiator: &Peer, responder: &Peer, port: ServicePort) -> bool {
        matches!(initiator, Peer::Host { .. })
            && responder.workload().is_some_and(|workload| self.binding_of(workload, port).is_some())
    }

    /// How the sender stands to its address, with what is known by now. The data plane's word is provisional: the
    /// roster may have caught up, and a hand-over is no forgery.
    fn claim(&self, totals: &Totals, initiator: &Peer) -> (Claim, Option<Peer>) {
        let key = &totals.key;
        let address = key.initiator.address;
        if key.claim == Claim::Backscatter {
            return (Claim::Backscatter, None);
        }
        let Holder::Attachment(sender) = key.initiator.holder else { return (key.claim, None) };
        if is_exempt_source(address) || !self.names.has_roster {
            return (Claim::Own, None);
        }
        let holders = self.holders(key.scope, address);
        let sends_own = |binding: &Binding| {
            binding.attachment == sender
                || self.names.attachments.get(&binding.attachment).is_some_and(|holder| {
                    initiator.workload().is_some_and(|workload| workload.container_id == holder.container_id)
                })
        };
        if holders.iter().any(|(_, binding)| sends_own(binding)) {
            return (Claim::Own, None);
        }
        if self.names.host_addresses.contains(&address) {
            return (Claim::Spoofed, Some(Peer::Host { address }));
        }
        let victim = holders.iter().find(|(_, binding)| {
            totals.last_at.since(binding.from) > HAND_OVER
                && binding.until.is_none_or(|until| totals.first_at.since(until) < 0)
        });
        if let Some((scope, binding)) = victim {
            let holder = Holder::Attachment(binding.attachment);
            return (
                Claim::Spoofed,
                Some(self.peer(*scope, holder, address, (totals.first_at, totals.last_at))),
            );
        }
        // Only a sender whose own addresses are known can be said to use another.
        if holders.is_empty() && self.settled.contains(&(key.scope, sender)) {
            return (Claim::Unlisted, None);
        }
        (Claim::Own, None)
    }

    /// Returns who held an address, in its own scope first, else in any other: containers forge across networks.
    fn holders(&self, scope: ScopeId, address: IpAddr) -> Vec<(ScopeId, &Binding)> {
        let own = self.bindings(scope, address);
        if !own.is_empty() {
            return own.iter().map(|binding| (scope, binding)).collect();
        }
        let mut scopes: Vec<ScopeId> = self.names.scopes.keys().copied().collect();
        scopes.sort_unstable();
        scopes
            .into_iter()
            .flat_map(|other| self.bindings(other, address).iter().map(move |binding| (other, binding)))
            .collect()
    }
}

fn overlaps(binding: &Binding, (first, last): (Timestamp, Timestamp)) -> bool {
    // Docker stamps a container's start after its first frame (Docker 20.10: by 0.1 s).
    binding.from.since(last) < HAND_OVER && binding.until.is_none_or(|until| first.since(until) < 0)
}

/// A guess about TCP joined midstream becomes evidence where the port it points at is documented.
fn better_evidence(evidence: InitiatorEvidence, is_documented: bool) -> InitiatorEvidence {
    match evidence {
        InitiatorEvidence::Port if is_documented => InitiatorEvidence::KnownListener,
        InitiatorEvidence::Handshake
        | InitiatorEvidence::SynAck
        | InitiatorEvidence::Exchange
        | InitiatorEvidence::KnownListener
        | InitiatorEvidence::Port
        | InitiatorEvidence::FirstSender => evidence,
    }
}

fn peer_key(peer: &Peer) -> PeerKey {
    match peer {
        Peer::Workload { workload, .. } => {
            PeerKey::Workload(workload.container_id.clone(), workload.started_at)
        }
        Peer::Host { address } => PeerKey::Address(0, *address, None),
        Peer::External { address, .. } => PeerKey::Address(1, *address, None),
        Peer::Unclaimed { address, attachment } => PeerKey::Address(2, *address, *attachment),
        Peer::Group { address } => PeerKey::Address(3, *address, None),
        Peer::Ambiguous { address } => PeerKey::Address(4, *address, None),
        Peer::Bare { address } => PeerKey::Address(5, *address, None),
    }
}
