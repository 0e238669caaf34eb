//! From a snapshot to an assessment: verdicts gathered into findings, service ports into classes.

use std::collections::{BTreeMap, BTreeSet};

use portolan_flowtable::flow::Claim;
use portolan_flowtable::{
    Completeness, Conversation, DocumentSource, Outcomes, Peer, ServicePort, Snapshot, Timestamp,
};

use crate::assessment::{Assessment, Finding, FindingKind, Judged, Severity};
use crate::baseline::Baseline;
use crate::contract::{Contract, hinted, nearest};
use crate::exposures;
use crate::listeners::{self, listeners};
use crate::neighbours;
use crate::rhythm::{self, Rhythm};
use crate::rules::{Mode, RuleUse};
use crate::scan::{self, Pattern, ScanLimits};
use crate::selector::{Initiator, Trait};
use crate::stable::StableHash;
use crate::stolen;
use crate::verdict::{Intent, Ruling};
use crate::words;

/// What an assessment goes by besides a contract and what was documented.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// What was learned, where a baseline is given.
    pub baseline: Option<&'a Baseline>,
    /// Who calls at one interval, and who does more than usual, where somebody followed.
    pub rhythm: Option<&'a Rhythm>,
}

/// Most findings an assessment lists; the gravest stay.
pub const FINDINGS_MAX: usize = 4_096;
/// Most warnings an assessment lists.
const WARNINGS_MAX: usize = 256;
/// Most containers a finding names on each side.
pub(crate) const CONTAINERS_MAX: usize = 8;
/// Most names of addresses outside a finding tells.
const NAMES_MAX: usize = 3;
/// Most pairs of addresses a display filter names.
const FILTER_PAIRS_MAX: usize = 8;

impl Contract {
    /// Judges a snapshot by this contract and by what its workloads had documented.
    pub fn assess(&self, snapshot: Snapshot) -> Assessment {
        self.assess_within(snapshot, &ScanLimits::default())
    }

    /// Judges a snapshot with limits of one's own for scans, sweeps and floods.
    pub fn assess_within(&self, snapshot: Snapshot, limits: &ScanLimits) -> Assessment {
        self.assess_with(snapshot, limits, Beside::default())
    }

    /// Judges a snapshot by this contract, by what was documented, and then by what else there is to go by.
    pub fn assess_with(&self, mut snapshot: Snapshot, limits: &ScanLimits, beside: Beside<'_>) -> Assessment {
        let intent = Intent::new(self, &snapshot).with_baseline(beside.baseline);
        let conversations = std::mem::take(&mut snapshot.conversations);
        let rulings: Vec<Ruling> =
            conversations.iter().map(|conversation| intent.judge(conversation)).collect();
        let patterns = self.patterns(&conversations, &rulings, snapshot.at, limits, beside);
        let rulings = self.wanted(rulings, &conversations, snapshot.at);
        let gathered = gather(&conversations, &rulings, &patterns);
        let mut findings: Vec<Finding> = gathered
            .drafts
            .into_iter()
            .map(|(key, draft)| draft.finish(&key, &snapshot.completeness))
            .collect();
        findings.extend(stolen::findings(&snapshot));
        findings.extend(neighbours::findings(&self.rules, &snapshot, &self.scan_limits(limits)));
        let unusual = self.unusual(&conversations, &snapshot, beside);
        findings.extend(unusual.into_iter().map(|(finding, _)| finding));
        let listeners = listeners(&intent, &snapshot, &conversations, &rulings);
        findings.extend(listeners::findings(&intent, &listeners, &snapshot));
        let exposures = exposures::exposures(&snapshot, &conversations);
        findings.extend(exposures::findings(&exposures, &snapshot));
        findings.retain(|finding| {
            self.rules.is_enabled(finding.kind) && !self.rules.exempts_service(finding, &snapshot)
        });
        let rules = self.rule_uses(&rulings, &conversations, snapshot.at);
        findings.sort_by(|a, b| {
            b.severity
                .cmp(&a.severity)
                .then_with(|| a.first_at.cmp(&b.first_at))
                .then_with(|| a.id.cmp(&b.id))
        });
        let findings_left_out = findings.len().saturating_sub(FINDINGS_MAX);
        findings.truncate(FINDINGS_MAX);
        let services = intent.services().iter();
        let undeclared =
            services.filter(|(_, service)| service.is_undeclared()).map(|(name, _)| name.clone()).collect();
        let mut warnings = warnings(self, &intent, &snapshot);
        if let Some(count) = beside.rhythm.map(Rhythm::unread).filter(|count| *count > 0) {
            let services = words::count(u64::try_from(count).unwrap_or(u64::MAX), "service");
            warnings.push(format!(
                "what the containers of {services} use found no room to be held against what is usual"
            ));
        }
        if let Some(count) = beside.rhythm.map(Rhythm::turned_away).filter(|count| *count > 0) {
            let calls = words::count(count, "call");
            warnings
                .push(format!("{calls} found no room to be looked through for beacons and unusual levels"));
        }
        let listening_not_checked = listeners::not_checked(&snapshot);
        let (joins, joins_left_out) = crate::joins::joins(&snapshot.workloads);
        let contract = self.title().unwrap_or_else(|| without_contract(&intent));
        let judged = conversations
            .into_iter()
            .zip(rulings)
            .zip(gathered.finding_of)
            .map(|((conversation, ruling), finding)| Judged {
                conversation,
                verdict: ruling.verdict,
                documented_by: ruling.documented_by,
                decided_by: ruling.decided_by,
                pending: None,
                finding,
            })
            .collect();
        Assessment {
            snapshot,
            judged,
            findings,
            findings_left_out: u64::try_from(findings_left_out).unwrap_or(u64::MAX),
            listeners,
            listening_not_checked,
            exposures,
            joins,
            joins_left_out,
            undeclared,
            rules,
            warnings,
            contract,
        }
    }
}

impl Contract {
    /// Leaves out the charges that standard rules are switched off for, or exempt from. The verdict stays: it says how
    /// things are.
    fn wanted(&self, rulings: Vec<Ruling>, conversations: &[Conversation], at: Timestamp) -> Vec<Ruling> {
        if self.rules.standard.is_empty() {
            return rulings;
        }
        let mut rulings = rulings;
        for (ruling, conversation) in rulings.iter_mut().zip(conversations) {
            ruling.charges.retain(|charge| {
                self.rules.is_enabled(charge.kind) && !self.rules.exempts(charge.kind, conversation, at)
            });
        }
        rulings
    }

    /// A pattern is exempt where the first of its conversations is.
    fn wants_pattern(&self, pattern: &Pattern, conversations: &[Conversation], at: Timestamp) -> bool {
        let first = pattern.conversations.first().and_then(|number| conversations.get(*number));
        self.rules.is_enabled(pattern.kind)
            && !first.is_some_and(|conversation| self.rules.exempts(pattern.kind, conversation, at))
    }

    /// Returns what many conversations say together, as far as anybody wants to hear it.
    fn patterns(
        &self,
        conversations: &[Conversation],
        rulings: &[Ruling],
        at: Timestamp,
        limits: &ScanLimits,
        beside: Beside<'_>,
    ) -> Vec<Pattern> {
        let mut patterns = scan::patterns(conversations, at, &self.scan_limits(limits));
        if let Some(rhythm) = beside.rhythm {
            let limits = self.rhythm_limits();
            patterns.extend(rhythm::beacons(rhythm, conversations, rulings, &limits));
            patterns.extend(rhythm::guessing(rhythm, conversations, rulings, &limits));
        }
        patterns.retain(|pattern| self.wants_pattern(pattern, conversations, at));
        patterns
    }

    /// Returns who does more than usual, and in which conversations.
    fn unusual(
        &self,
        conversations: &[Conversation],
        snapshot: &Snapshot,
        beside: Beside<'_>,
    ) -> Vec<(Finding, Vec<usize>)> {
        let Some(rhythm) = beside.rhythm else { return Vec::new() };
        rhythm::levels(rhythm, conversations, snapshot, &self.rhythm_limits())
    }

    fn rule_uses(&self, rulings: &[Ruling], conversations: &[Conversation], at: Timestamp) -> Vec<RuleUse> {
        let mut uses: Vec<RuleUse> = self
            .rules
            .list
            .iter()
            .map(|rule| RuleUse {
                id: rule.id.clone(),
                place: rule.place.line(),
                action: rule.action,
                conversations: 0,
                last_used: None,
                is_over: rule.scope.is_over(at),
            })
            .collect();
        for (ruling, conversation) in rulings.iter().zip(conversations) {
            if let Some(used) = ruling.rule.and_then(|number| uses.get_mut(number)) {
                used.conversations += 1;
                used.last_used = used.last_used.max(Some(conversation.last_at));
            }
        }
        uses
    }

    /// Returns the numbers of the conversations each finding rests on, ascending, by the finding's id. For a scan
    /// that is also what did not fit into conversations of its own.
    pub fn grounds(
        &self,
        snapshot: &Snapshot,
        limits: &ScanLimits,
        beside: Beside<'_>,
    ) -> BTreeMap<String, Vec<usize>> {
        let intent = Intent::new(self, snapshot).with_baseline(beside.baseline);
        let conversations = &snapshot.conversations;
        let rulings: Vec<Ruling> =
            conversations.iter().map(|conversation| intent.judge(conversation)).collect();
        // What rulings say is not wanted may still tell who is a stranger.
        let patterns = self.patterns(conversations, &rulings, snapshot.at, limits, beside);
        let rulings = self.wanted(rulings, conversations, snapshot.at);
        let drafts = gather(conversations, &rulings, &patterns).drafts.into_iter();
        let mut grounds: BTreeMap<String, Vec<usize>> =
            drafts.map(|(key, draft)| (key.id(), draft.members.into_iter().collect())).collect();
        grounds.extend(stolen::grounds(snapshot, conversations));
        let sweeps = neighbours::findings(&self.rules, snapshot, &self.scan_limits(limits));
        grounds.extend(neighbours::grounds(sweeps, conversations));
        let unusual = self.unusual(conversations, snapshot, beside).into_iter();
        grounds.extend(unusual.map(|(finding, members)| (finding.id, members)));
        let listeners = listeners(&intent, snapshot, conversations, &rulings);
        let exposures = exposures::exposures(snapshot, conversations);
        // What nobody called rests on no packet.
        let silent = listeners::findings(&intent, &listeners, snapshot).into_iter();
        for finding in silent.chain(exposures::findings(&exposures, snapshot)) {
            grounds.insert(finding.id, Vec::new());
        }
        grounds
    }
}

/// What makes two charges the same finding.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Key {
    pub(crate) kind: FindingKind,
    pub(crate) initiator: String,
    pub(crate) responder: String,
    pub(crate) port: Option<ServicePort>,
}

impl Key {
    /// Returns the finding's id, the same in every run.
    pub(crate) fn id(&self) -> String {
        let port = self.port.map(|port| port.to_string()).unwrap_or_default();
        StableHash::new()
            .field(self.kind.name())
            .field(&self.initiator)
            .field(&self.responder)
            .field(&port)
            .digits()
    }
}

/// A finding in the making.
#[derive(Debug)]
struct Draft {
    severity: Severity,
    against: String,
    /// Set by patterns, which know what to say.
    said: Option<Said>,
    connections: Outcomes,
    frames: u64,
    sent_frames: u64,
    first_at: Timestamp,
    last_at: Timestamp,
    first_frame: u64,
    last_frame: u64,
    initiators: BTreeSet<String>,
    responders: BTreeSet<String>,
    pairs: BTreeSet<String>,
    /// For a forged or unlisted source: which address, whose.
    claimed: Option<String>,
    is_forged: bool,
    networks: BTreeSet<String>,
    unit: &'static str,
    /// What addresses outside are claimed to be called.
    names: BTreeSet<String>,
    /// Numbers of the conversations it rests on.
    members: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
struct Said {
    summary: String,
    filter: String,
    port: Option<ServicePort>,
    responder: String,
    alike: u64,
    span: Option<(Timestamp, Timestamp)>,
}

#[derive(Debug)]
struct Gathered {
    drafts: BTreeMap<Key, Draft>,
    /// Id of the gravest finding each conversation belongs to.
    finding_of: Vec<Option<String>>,
}

fn gather(conversations: &[Conversation], rulings: &[Ruling], patterns: &[Pattern]) -> Gathered {
    let mut drafts: BTreeMap<Key, Draft> = BTreeMap::new();
    let mut gravest: Vec<Option<(Severity, Key)>> = vec![None; conversations.len()];
    let mut is_part = vec![false; conversations.len()];
    for pattern in patterns {
        let members = || pattern.conversations.iter().filter_map(|number| conversations.get(*number));
        let Some(first) = members().next() else { continue };
        let key = Key {
            kind: pattern.kind,
            initiator: first.initiator.service(),
            // A sweep that spreads to further peers or ports is still the same sweep.
            responder: if pattern.kind == FindingKind::HostSweep {
                String::new()
            } else {
                pattern.responder.clone()
            },
            port: if has_port(pattern.kind) { pattern.port } else { None },
        };
        let draft =
            drafts.entry(key.clone()).or_insert_with(|| Draft::new(pattern.kind, first, &pattern.against));
        draft.severity = draft.severity.max(pattern.severity);
        draft.say(pattern);
        for conversation in members() {
            draft.add(conversation);
        }
        draft.members.extend(pattern.conversations.iter().chain(&pattern.folded));
        for number in &pattern.conversations {
            if let (Some(mine), Some(part)) = (gravest.get_mut(*number), is_part.get_mut(*number)) {
                keep_gravest(mine, pattern.severity, &key);
                // What beats, or is guessed at, was called for its own sake each time.
                let is_own = matches!(pattern.kind, FindingKind::Beaconing | FindingKind::PasswordGuessing);
                *part = !is_own;
            }
        }
    }
    for (number, (conversation, ruling)) in conversations.iter().zip(rulings).enumerate() {
        for charge in &ruling.charges {
            let is_scanned = is_part.get(number).copied().unwrap_or_default();
            // A scan of a thousand ports is one finding, not a thousand and one.
            let is_of_the_call =
                charge.kind != FindingKind::UnlistedSource && charge.kind != FindingKind::SpoofedSource;
            if is_of_the_call && charge.severity == Severity::Low && is_scanned {
                continue;
            }
            let key = key_of(charge.kind, conversation);
            let draft = drafts
                .entry(key.clone())
                .or_insert_with(|| Draft::new(charge.kind, conversation, &charge.against));
            if charge.severity > draft.severity {
                draft.severity = charge.severity;
            }
            draft.add(conversation);
            draft.members.insert(number);
            if let Some(mine) = gravest.get_mut(number) {
                keep_gravest(mine, charge.severity, &key);
            }
        }
    }
    let finding_of = gravest.into_iter().map(|found| found.map(|(_, key)| key.id())).collect();
    Gathered { drafts, finding_of }
}

/// Returns whether a pattern on another port is another finding.
fn has_port(kind: FindingKind) -> bool {
    matches!(kind, FindingKind::SynFlood | FindingKind::Beaconing | FindingKind::PasswordGuessing)
}

fn keep_gravest(mine: &mut Option<(Severity, Key)>, severity: Severity, key: &Key) {
    if mine.as_ref().is_none_or(|(most, _)| severity > *most) {
        *mine = Some((severity, key.clone()));
    }
}

fn key_of(kind: FindingKind, conversation: &Conversation) -> Key {
    let initiator = conversation.initiator.service();
    let (responder, port) = match kind {
        FindingKind::SpoofedSource => (owner(conversation).service(), None),
        FindingKind::UnlistedSource => (conversation.responder.service(), None),
        FindingKind::UnexpectedPeer
        | FindingKind::UndocumentedPort
        | FindingKind::Denied
        | FindingKind::UndocumentedListener
        | FindingKind::UnusedExposure
        | FindingKind::ForeignDatabase
        | FindingKind::DockerApi
        | FindingKind::CloudMetadata
        | FindingKind::InternalOutbound
        | FindingKind::ForeignResolver
        | FindingKind::CleartextAdmin
        | FindingKind::NewEdge
        | FindingKind::ForbiddenEdge
        | FindingKind::PortScan
        | FindingKind::HostSweep
        | FindingKind::SynFlood
        | FindingKind::Beaconing
        | FindingKind::PasswordGuessing
        | FindingKind::UnusualLevel
        | FindingKind::StolenMac => (conversation.responder.service(), Some(conversation.port)),
    };
    Key { kind, initiator, responder, port }
}

/// Returns whose address the initiator used.
fn owner(conversation: &Conversation) -> &Peer {
    conversation.claimed.as_deref().unwrap_or(&conversation.initiator)
}

impl Draft {
    fn new(kind: FindingKind, first: &Conversation, against: &str) -> Self {
        Self {
            severity: Severity::Info,
            against: against.to_owned(),
            said: None,
            connections: Outcomes::default(),
            frames: 0,
            sent_frames: 0,
            first_at: first.first_at,
            last_at: first.last_at,
            first_frame: first.first_frame,
            last_frame: first.last_frame,
            initiators: BTreeSet::new(),
            responders: BTreeSet::new(),
            pairs: BTreeSet::new(),
            claimed: None,
            is_forged: kind == FindingKind::SpoofedSource,
            networks: BTreeSet::new(),
            unit: words::unit(first.port.protocol),
            names: BTreeSet::new(),
            members: BTreeSet::new(),
        }
    }

    /// Takes a pattern's words; of several alike, those of the first.
    fn say(&mut self, pattern: &Pattern) {
        match &mut self.said {
            Some(said) => {
                said.alike += 1;
                if said.responder != pattern.responder {
                    scan::SEVERAL.clone_into(&mut said.responder);
                }
                said.span =
                    said.span.zip(pattern.span).map(|(own, other)| (own.0.min(other.0), own.1.max(other.1)));
            }
            None => {
                self.said = Some(Said {
                    summary: pattern.summary.clone(),
                    filter: pattern.filter.clone(),
                    port: pattern.port,
                    responder: pattern.responder.clone(),
                    alike: 0,
                    span: pattern.span,
                });
            }
        }
    }

    fn add(&mut self, conversation: &Conversation) {
        let more = &conversation.connections;
        self.connections = Outcomes {
            answered: self.connections.answered + more.answered,
            refused: self.connections.refused + more.refused,
            unanswered: self.connections.unanswered + more.unanswered,
            blocked: self.connections.blocked + more.blocked,
            pending: self.connections.pending + more.pending,
        };
        self.sent_frames += conversation.sent.frames;
        self.frames += conversation.sent.frames + conversation.received.frames;
        self.first_at = self.first_at.min(conversation.first_at);
        self.last_at = self.last_at.max(conversation.last_at);
        self.first_frame = self.first_frame.min(conversation.first_frame);
        self.last_frame = self.last_frame.max(conversation.last_frame);
        name_container(&mut self.initiators, &conversation.initiator);
        let other = if self.is_forged { owner(conversation) } else { &conversation.responder };
        name_container(&mut self.responders, other);
        if self.networks.len() < CONTAINERS_MAX && !conversation.network.is_empty() {
            self.networks.insert(conversation.network.clone());
        }
        for peer in [&conversation.initiator, &conversation.responder] {
            self.names.extend(peer.names().iter().take(NAMES_MAX + 1).map(|claim| claim.name.clone()));
        }
        while self.names.len() > NAMES_MAX + 1 {
            self.names.pop_last();
        }
        if self.pairs.len() < FILTER_PAIRS_MAX {
            self.pairs.insert(wireshark_filter(conversation));
        }
        if self.claimed.is_none() {
            let owner = owner(conversation);
            let title = match owner {
                // An address nobody holds has no name to be shown with.
                Peer::Workload { address, .. } if conversation.claim == Claim::Unlisted => {
                    address.to_string()
                }
                Peer::Workload { workload, address } => format!("{} ({address})", workload.container),
                Peer::Host { address } => format!("the host ({address})"),
                Peer::External { address, .. }
                | Peer::Unclaimed { address, .. }
                | Peer::Group { address }
                | Peer::Ambiguous { address }
                | Peer::Bare { address } => address.to_string(),
            };
            self.claimed = Some(title);
        }
    }

    fn finish(self, key: &Key, completeness: &Completeness) -> Finding {
        let mut summary = self.summary(key);
        if !self.names.is_empty() {
            let mut names: Vec<String> = self.names.iter().take(NAMES_MAX).cloned().collect();
            if self.names.len() > NAMES_MAX {
                names.push("others".to_owned());
            }
            summary.push_str(&format!("; said to be {}", names.join(", ")));
        }
        let span = self.said.as_ref().and_then(|said| said.span);
        let (first_at, last_at) = span.unwrap_or((self.first_at, self.last_at));
        let port = self.said.as_ref().map_or(key.port, |said| said.port);
        Finding {
            id: key.id(),
            kind: key.kind,
            severity: self.severity,
            initiator: key.initiator.clone(),
            responder: self.said.as_ref().map_or(&key.responder, |said| &said.responder).clone(),
            port,
            reached: words::reached(&self.connections).to_owned(),
            summary,
            against: self.against,
            first_at,
            last_at,
            first_frame: self.first_frame,
            last_frame: self.last_frame,
            connections: self.connections.attempted(),
            frames: self.frames,
            initiator_containers: self.initiators.into_iter().collect(),
            responder_containers: self.responders.into_iter().collect(),
            wireshark_filter: self
                .said
                .map_or_else(|| self.pairs.into_iter().collect::<Vec<_>>().join(" || "), |said| said.filter),
            complete: completeness.between(first_at, last_at),
        }
    }

    fn summary(&self, key: &Key) -> String {
        if let Some(said) = &self.said {
            let alike = match said.alike {
                0 => String::new(),
                alike => format!("; and {} alike", words::count(alike, "pair")),
            };
            return format!("{}{alike}", said.summary);
        }
        let connections = words::count(self.connections.attempted(), self.unit);
        let reached = words::reached(&self.connections);
        let claimed = self.claimed.as_deref().unwrap_or_default();
        let sender = self.initiators.first().map_or(key.initiator.as_str(), String::as_str);
        let sent = words::count(self.sent_frames, "frame");
        let port = key.port.map(|port| port.to_string()).unwrap_or_default();
        match key.kind {
            FindingKind::SpoofedSource => format!("{sender} sent {sent} as {claimed}"),
            FindingKind::UnlistedSource => format!("{sender} sent {sent} from {claimed}, which nobody holds"),
            FindingKind::UndocumentedPort => format!("{connections}, {reached}; nothing documents {port}"),
            FindingKind::UnexpectedPeer => {
                let networks: Vec<String> = self.networks.iter().cloned().collect();
                let through = if networks.is_empty() {
                    String::new()
                } else {
                    format!(" through network {}", words::list(&networks, 2, ""))
                };
                format!("{connections}, {reached}{through}; no rule expects {}", key.initiator)
            }
            FindingKind::Denied => format!("{connections}, {reached}; it is denied"),
            FindingKind::ForeignDatabase
            | FindingKind::DockerApi
            | FindingKind::CloudMetadata
            | FindingKind::InternalOutbound
            | FindingKind::ForeignResolver
            | FindingKind::CleartextAdmin => {
                format!("{connections}, {reached}")
            }
            FindingKind::NewEdge => {
                format!("{connections}, {reached}; not seen while the baseline was learned")
            }
            FindingKind::ForbiddenEdge => format!("{connections}, {reached}; forbidden in the baseline"),
            FindingKind::UndocumentedListener
            | FindingKind::UnusedExposure
            | FindingKind::PortScan
            | FindingKind::HostSweep
            | FindingKind::SynFlood
            | FindingKind::Beaconing
            | FindingKind::PasswordGuessing
            | FindingKind::UnusualLevel
            | FindingKind::StolenMac => connections,
        }
    }
}

fn name_container(names: &mut BTreeSet<String>, peer: &Peer) {
    if let Some(workload) = peer.workload() {
        names.insert(workload.container.clone());
        if names.len() > CONTAINERS_MAX {
            names.pop_last();
        }
    }
}

/// Writes a Wireshark display filter for one conversation.
pub fn wireshark_filter(conversation: &Conversation) -> String {
    let ports = wire_ports(conversation);
    let port = scan::port_filters(&ports);
    let port = if ports.len() > 1 { format!("({port})") } else { port };
    format!(
        "({} && {} && {port})",
        scan::address(owner(conversation)),
        scan::address(&conversation.responder)
    )
}

/// Returns the ports the packets of a conversation are sent to.
///
/// Through a published port the packets go to the host's, and the conversation is drawn to the container's. What
/// comes from outside may have been seen on either side of the translation: both.
fn wire_ports(conversation: &Conversation) -> Vec<ServicePort> {
    let port = conversation.port;
    let via = conversation.via.as_deref().and_then(|via| via.strip_prefix("host:"));
    let Some(Ok(number)) = via.map(str::parse) else { return vec![port] };
    let published = ServicePort::new(number, port.protocol);
    match conversation.initiator {
        _ if published == port => vec![port],
        Peer::External { .. } => vec![port, published],
        Peer::Workload { .. }
        | Peer::Host { .. }
        | Peer::Unclaimed { .. }
        | Peer::Group { .. }
        | Peer::Ambiguous { .. }
        | Peer::Bare { .. } => vec![published],
    }
}

/// Writes what traffic is held against where there is no contract.
fn without_contract(intent: &Intent<'_>) -> String {
    let mut kinds: BTreeSet<&str> = BTreeSet::new();
    for documented in intent.services().values().flat_map(|service| &service.documented) {
        kinds.insert(match documented.source {
            DocumentSource::Image => "images",
            DocumentSource::Run => "run options",
            DocumentSource::Publish { .. } => "published ports",
            DocumentSource::Swarm { .. } => "swarm services",
            DocumentSource::Compose { .. } => "compose files",
            DocumentSource::Label { .. } => "labels",
            DocumentSource::Roster { .. } => "the roster",
            DocumentSource::Contract { .. } => "contracts",
        });
    }
    let kinds: Vec<&str> = kinds.into_iter().collect();
    match kinds.split_last() {
        None => "none: no port is documented, no initiator is named".to_owned(),
        Some((only, [])) => format!("none: documented ports come from {only}; no initiator is named"),
        Some((last, others)) => {
            format!(
                "none: documented ports come from {} and {last}; no initiator is named",
                others.join(", ")
            )
        }
    }
}

/// Writes what was probably meant. Comparing takes time, so warnings that will not be listed get none.
fn hint(written: usize, name: &str, candidates: &mut dyn Iterator<Item = &str>) -> String {
    if written < WARNINGS_MAX { hinted(nearest(name, candidates).as_deref()) } else { String::new() }
}

impl Contract {
    /// Returns what is to be known of the contract by itself at this time: what it asks for and does not get, and what is
    /// over.
    pub fn remarks(&self, at: Timestamp) -> Vec<String> {
        let mut remarks = Vec::new();
        for entry in &self.entries {
            if let Some((Mode::Enforce, place)) = &entry.mode {
                remarks.push(format!(
                    "{place}: mode enforce is not enforced: what is denied is reported and not blocked"
                ));
            }
        }
        for rule in self.rules.list.iter().filter(|rule| rule.scope.is_over(at)) {
            remarks.push(format!("{}: the time of this rule is over; it decides nothing", rule.place));
        }
        for standard in &self.rules.standard {
            for exemption in standard.exempt.iter().filter(|it| it.scope.is_over(at)) {
                let (place, reason) = (&exemption.place, &exemption.reason);
                remarks.push(format!("{place}: the time of this exemption is over: {reason}"));
            }
        }
        remarks
    }
}

/// Returns what the operator should know about the contract, each once, in its order.
fn warnings(contract: &Contract, intent: &Intent<'_>, snapshot: &Snapshot) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    warnings.extend(contract.remarks(snapshot.at));
    for (name, service) in intent.services() {
        for what in &service.unresolved {
            warnings.push(format!(
                "intent incomplete: {name} is not judged by ports nobody documents: {what}; give the output of docker compose config"
            ));
        }
    }
    for what in contract.compose.unresolved_peers() {
        warnings.push(format!("intent incomplete: peers are not judged by the compose file of {what}; name one that can be read: --compose"));
    }
    if contract.title().is_some() && !snapshot.has_roster {
        warnings.push(
            "nobody says which address belongs to which service: the contract judges nothing".to_owned(),
        );
        return warnings;
    }
    let described = contract.service_names();
    let present: BTreeSet<&str> = intent
        .services()
        .keys()
        .flat_map(|name| [name.as_str(), name.split_once('/').map_or(name.as_str(), |(_, service)| service)])
        .collect();
    for entry in &contract.entries {
        if let Some(name) = entry.service()
            && !present.contains(name)
        {
            let hint = hint(warnings.len(), name, &mut present.iter().copied());
            warnings.push(format!("{}: no service {name:?} on this host{hint}", entry.place));
        }
        for written in entry.expectations().flat_map(|expected| &expected.initiators) {
            let Initiator::Workload(Trait::Service(name)) = &written.initiator else { continue };
            let is_known = present.contains(name.as_str())
                || described.iter().any(|known| *known == name || known.rsplit('/').next() == Some(name));
            if !is_known {
                let words = ["host", "external"];
                let candidates = described.iter().chain(&present).copied().chain(words);
                let hint = hint(warnings.len(), name, &mut candidates.into_iter());
                warnings.push(format!("{}: unknown service {name:?} in initiators{hint}", written.place));
            }
        }
    }
    for (name, service) in intent.services() {
        if service.has_ranges_left_out() {
            warnings.push(format!("{name} documents too many port ranges: only the first are looked at"));
        }
    }
    if warnings.len() > WARNINGS_MAX {
        let left_out = warnings.len() - WARNINGS_MAX;
        warnings.truncate(WARNINGS_MAX);
        warnings.push(format!("{left_out} more warnings"));
    }
    warnings
}
