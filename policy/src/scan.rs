//! Scans, sweeps and floods: what many conversations say together that none says alone. Judges any peer, bare
//! addresses included.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use portolan_flowtable::flow::Claim;
use portolan_flowtable::units::grouped;
use portolan_flowtable::{Conversation, InitiatorEvidence, Peer, Port, Protocol, ServicePort, Timestamp};

use crate::assessment::{FindingKind, Severity};
use crate::words;

/// From where on repeated failure is called a scan, a sweep or a flood.
///
/// Failure is what tells them from ordinary traffic: a client of many healthy ports or peers is none of them,
/// however busy, and a client that retries one dead port is none either.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ScanLimits {
    /// Span in which ports and peers must be tried first, in nanoseconds. Slower scans go unseen.
    pub window: i64,
    /// Ports of one responder tried in vain by one initiator: a port scan. The smallest list of favourite ports in
    /// use (nmap's ten) still counts.
    pub scan_ports: usize,
    /// Responders tried on one port (or by ICMP echo) by one initiator: a host sweep, if enough of them fail.
    pub sweep_responders: usize,
    /// Responders tried by one initiator on whatever port: a host sweep, if enough of them fail.
    pub sweep_responders_any_port: usize,
    /// One in how many responders must fail on a port: 2, at least half do.
    pub sweep_failing_one_in: usize,
    /// The same for ICMP echo, to which most hosts answer.
    pub sweep_failing_one_in_echo: usize,
    /// Addresses of its own network asked for by ARP that nobody answers for: a host sweep.
    pub sweep_neighbours: usize,
    /// Handshakes of one second to one port that nobody answered: a SYN flood.
    pub flood_handshakes: u64,
    /// Silence after which an attempt that is still open is taken for a failure, in nanoseconds.
    pub patience: i64,
}

impl ScanLimits {
    /// Returns the limits for a capture that is over: what was not answered by now never will be.
    pub fn at_end() -> Self {
        Self { patience: 0, ..Self::default() }
    }
}

impl Default for ScanLimits {
    fn default() -> Self {
        Self {
            window: 60 * Timestamp::SECOND,
            scan_ports: 10,
            sweep_responders: 10,
            sweep_responders_any_port: 30,
            sweep_failing_one_in: 2,
            sweep_failing_one_in_echo: 3,
            sweep_neighbours: portolan_flowtable::neighbours::SWEEP_MIN,
            flood_handshakes: 100,
            patience: Timestamp::SECOND,
        }
    }
}

/// Stands for responders that share no name.
pub(crate) const SEVERAL: &str = "several";

/// Several conversations that make one scan, sweep or flood.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub(crate) kind: FindingKind,
    pub(crate) severity: Severity,
    pub(crate) port: Option<ServicePort>,
    /// Name of all responders, or `several`.
    pub(crate) responder: String,
    /// Numbers of its conversations in the snapshot, ascending.
    pub(crate) conversations: Vec<usize>,
    /// Numbers of the conversations into which further ports of its two ends were folded.
    pub(crate) folded: Vec<usize>,
    pub(crate) summary: String,
    pub(crate) against: String,
    pub(crate) filter: String,
    /// From when to when; the span of its conversations where none is given.
    pub(crate) span: Option<(Timestamp, Timestamp)>,
}

/// One conversation, seen as an attempt.
#[derive(Clone, Debug)]
struct Attempt<'a> {
    number: usize,
    conversation: &'a Conversation,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Answered,
    Failed,
    /// Too early to say.
    Open,
}

/// Finds all patterns, in the order of kind and of names.
pub(crate) fn patterns(conversations: &[Conversation], at: Timestamp, limits: &ScanLimits) -> Vec<Pattern> {
    let pinging: BTreeSet<String> = conversations
        .iter()
        .filter(|it| it.port.protocol.is_icmp() && !it.is_midstream && it.connections.answered > 0)
        .map(|it| party(&it.initiator))
        .collect();
    let attempts: Vec<Attempt<'_>> = conversations
        .iter()
        .enumerate()
        .filter(|(_, conversation)| is_attempt(conversation, &pinging))
        .map(|(number, conversation)| Attempt { number, conversation, fate: fate(conversation, at, limits) })
        .collect();
    let mut patterns = scans(&attempts, conversations, limits);
    patterns.extend(sweeps(&attempts, limits));
    patterns.extend(floods(&attempts, limits));
    patterns
}

/// Returns whether it is known who tried whom.
///
/// ICMP gives no proof of roles, but only an echo request that was seen is ever answered or unanswered, so its
/// outcome says who asked. One that is still open may be another message, unless its sender is known to be
/// `pinging`. A UDP datagram refused by ICMP was sent by whom the error went to; where it went to
/// a port clients are given, it may itself have been a late answer.
fn is_attempt(conversation: &Conversation, pinging: &BTreeSet<String>) -> bool {
    let connections = &conversation.connections;
    let is_known = match conversation.port.protocol {
        Protocol::ICMP | Protocol::ICMPV6 => {
            let is_settled = connections.attempted() > connections.pending;
            !conversation.is_midstream && (is_settled || pinging.contains(&party(&conversation.initiator)))
        }
        Protocol::UDP => {
            let is_refused = connections.refused > 0 && !conversation.is_midstream;
            let is_client_port = conversation.port.port.is_some_and(Port::is_ephemeral);
            conversation.evidence.is_proof() || (is_refused && !is_client_port)
        }
        _ => conversation.evidence.is_proof(),
    };
    let is_single = match conversation.responder {
        Peer::Group { .. } | Peer::Ambiguous { .. } => false,
        Peer::Workload { .. }
        | Peer::Host { .. }
        | Peer::External { .. }
        | Peer::Unclaimed { .. }
        | Peer::Bare { .. } => true,
    };
    is_known && is_single && !conversation.is_proxy_leg && conversation.claim != Claim::Backscatter
}

fn fate(conversation: &Conversation, at: Timestamp, limits: &ScanLimits) -> Fate {
    let connections = &conversation.connections;
    let is_old = at.since(conversation.last_at) >= limits.patience;
    let is_request =
        conversation.evidence == InitiatorEvidence::Handshake || conversation.port.protocol.is_icmp();
    if connections.answered > 0 {
        Fate::Answered
    } else if connections.failed() > 0 || (is_old && is_request) {
        Fate::Failed
    } else {
        Fate::Open
    }
}

/// Names one end so that replicas and addresses stay apart, and a forged source address does not matter.
fn party(peer: &Peer) -> String {
    peer.workload().map_or_else(|| peer.address().to_string(), |workload| workload.container_id.clone())
}

/// Names one end for people: the container, or the address.
pub(crate) fn title(peer: &Peer) -> String {
    peer.workload().map_or_else(|| peer.address().to_string(), |workload| workload.container.clone())
}

fn scans(attempts: &[Attempt<'_>], conversations: &[Conversation], limits: &ScanLimits) -> Vec<Pattern> {
    let mut pairs: BTreeMap<(String, String), Vec<&Attempt<'_>>> = BTreeMap::new();
    for attempt in attempts.iter().filter(|attempt| attempt.conversation.port.port.is_some()) {
        let Conversation { initiator, responder, .. } = attempt.conversation;
        pairs.entry((party(initiator), party(responder))).or_default().push(attempt);
    }
    let mut found = Vec::new();
    for tried in pairs.values() {
        if tried.len() < limits.scan_ports {
            continue;
        }
        let ports = first_tries(tried, |attempt| attempt.conversation.port);
        let failed: Vec<(Timestamp, bool)> =
            ports.values().filter(|(_, is_failed)| *is_failed).copied().collect();
        if failed.len() < limits.scan_ports
            || most_at_once(failed, limits.window, |_, _| true) < limits.scan_ports
        {
            continue;
        }
        let Some(first) = tried.first() else { continue };
        let Conversation { initiator, responder, .. } = first.conversation;
        found.push(Pattern {
            kind: FindingKind::PortScan,
            severity: Severity::Medium,
            port: None,
            responder: responder.service(),
            conversations: numbers(tried),
            folded: folded(conversations, first.conversation),
            summary: format!(
                "{} tried {} of {} in {}: {}",
                title(initiator),
                words::count(size(ports.len()), "port"),
                title(responder),
                duration(tried),
                fates(tried),
            ),
            against: format!(
                "a port scan is {} ports tried in vain within {}",
                limits.scan_ports,
                words::span(limits.window)
            ),
            filter: format!("{} && {}", address(initiator), address(responder)),
            span: None,
        });
    }
    found
}

/// Returns the conversations between the same two ends whose ports were too many to tell apart.
fn folded(conversations: &[Conversation], like: &Conversation) -> Vec<usize> {
    let ends = |it: &Conversation| (party(&it.initiator), party(&it.responder));
    let wanted = ends(like);
    conversations
        .iter()
        .enumerate()
        .filter(|(_, it)| it.port.port.is_none() && it.port.protocol == like.port.protocol)
        .filter(|(_, it)| ends(it) == wanted)
        .map(|(number, _)| number)
        .collect()
}

fn sweeps(attempts: &[Attempt<'_>], limits: &ScanLimits) -> Vec<Pattern> {
    let mut initiators: BTreeMap<String, Vec<&Attempt<'_>>> = BTreeMap::new();
    for attempt in attempts {
        initiators.entry(party(&attempt.conversation.initiator)).or_default().push(attempt);
    }
    let mut found = Vec::new();
    for tried in initiators.values() {
        if tried.len() >= limits.sweep_responders
            && let Some(pattern) = sweep(tried, limits)
        {
            found.push(pattern);
        }
    }
    found
}

/// Looks for sweeps of one initiator. Several swept ports are one pattern.
fn sweep(tried: &[&Attempt<'_>], limits: &ScanLimits) -> Option<Pattern> {
    let mut by_port: BTreeMap<ServicePort, Vec<&Attempt<'_>>> = BTreeMap::new();
    for attempt in tried {
        by_port.entry(attempt.conversation.port).or_default().push(attempt);
    }
    let mut swept: Vec<ServicePort> = Vec::new();
    for (port, tried) in &by_port {
        let is_echo = port.protocol.is_icmp();
        let one_in = if is_echo { limits.sweep_failing_one_in_echo } else { limits.sweep_failing_one_in };
        if is_swept(tried, limits.sweep_responders, one_in, limits.window) {
            swept.push(*port);
        }
    }
    if swept.is_empty() {
        let with_ports: Vec<&Attempt<'_>> =
            tried.iter().filter(|attempt| attempt.conversation.port.port.is_some()).copied().collect();
        if !is_swept(
            &with_ports,
            limits.sweep_responders_any_port,
            limits.sweep_failing_one_in,
            limits.window,
        ) {
            return None;
        }
        swept = by_port.keys().filter(|port| port.port.is_some()).copied().collect();
    }
    let members: Vec<&Attempt<'_>> =
        tried.iter().filter(|attempt| swept.contains(&attempt.conversation.port)).copied().collect();
    let first = members.first()?;
    let responders: BTreeSet<String> =
        members.iter().map(|attempt| party(&attempt.conversation.responder)).collect();
    let names: BTreeSet<String> =
        members.iter().map(|attempt| attempt.conversation.responder.service()).collect();
    let ports: Vec<String> = swept.iter().map(ToString::to_string).collect();
    Some(Pattern {
        kind: FindingKind::HostSweep,
        severity: Severity::Medium,
        port: if let [only] = swept.as_slice() { Some(*only) } else { None },
        responder: one_name(names),
        conversations: numbers(&members),
        folded: Vec::new(),
        summary: format!(
            "{} tried {} on {} in {}: {}",
            title(&first.conversation.initiator),
            words::count(size(responders.len()), "peer"),
            words::list(&ports, 9, ""),
            duration(&members),
            fates(&members),
        ),
        against: format!(
            "a host sweep is {} peers tried on one port within {}, many in vain",
            limits.sweep_responders,
            words::span(limits.window)
        ),
        filter: format!("{} && ({})", address(&first.conversation.initiator), port_filters(&swept)),
        span: None,
    })
}

fn is_swept(tried: &[&Attempt<'_>], responders_min: usize, one_in: usize, window: i64) -> bool {
    let responders = first_tries(tried, |attempt| party(&attempt.conversation.responder));
    let tries: Vec<(Timestamp, bool)> = responders.into_values().collect();
    tries.len() >= responders_min
        && most_at_once(tries, window, |all, failed| all >= responders_min && failed * one_in >= all)
            >= responders_min
}

fn floods(attempts: &[Attempt<'_>], limits: &ScanLimits) -> Vec<Pattern> {
    // By initiator's name, not by address: a flood forges or spreads its sources.
    let mut targets: BTreeMap<(String, String, ServicePort), Vec<&Attempt<'_>>> = BTreeMap::new();
    for attempt in attempts {
        let conversation = attempt.conversation;
        if conversation.burst_unanswered > 0
            && conversation.port.protocol == Protocol::TCP
            && conversation.evidence == InitiatorEvidence::Handshake
        {
            let key = (conversation.initiator.service(), party(&conversation.responder), conversation.port);
            targets.entry(key).or_default().push(attempt);
        }
    }
    let mut found = Vec::new();
    for ((_, _, port), tried) in targets {
        let most = most_in_a_second(&tried);
        if most < limits.flood_handshakes {
            continue;
        }
        let Some(first) = tried.first() else { continue };
        let responder = &first.conversation.responder;
        let sources: BTreeSet<_> =
            tried.iter().map(|attempt| attempt.conversation.initiator.address()).collect();
        found.push(Pattern {
            kind: FindingKind::SynFlood,
            severity: Severity::High,
            port: Some(port),
            responder: responder.service(),
            conversations: numbers(&tried),
            folded: Vec::new(),
            summary: format!(
                "{} to {} {port} within a second not answered, from {}",
                words::count(most, "handshake"),
                title(responder),
                match sources.first() {
                    Some(only) if sources.len() == 1 => only.to_string(),
                    Some(_) | None => words::count(size(sources.len()), "source"),
                },
            ),
            against: format!(
                "a SYN flood is {} of one second",
                words::count(limits.flood_handshakes, "handshake")
            ),
            filter: format!("{} && {} && tcp.flags.syn==1", address(responder), port_filters(&[port])),
            span: None,
        });
    }
    found
}

/// Returns the most unanswered handshakes of conversations that began within one second.
fn most_in_a_second(tried: &[&Attempt<'_>]) -> u64 {
    let mut bursts: Vec<(Timestamp, u64)> = tried
        .iter()
        .map(|attempt| (attempt.conversation.first_at, attempt.conversation.burst_unanswered))
        .collect();
    bursts.sort_unstable();
    let mut most = 0;
    let mut sum: u64 = 0;
    let mut inside: VecDeque<(Timestamp, u64)> = VecDeque::new();
    for (at, burst) in bursts {
        sum = sum.saturating_add(burst);
        inside.push_back((at, burst));
        while let Some((oldest, gone)) = inside.front().copied()
            && at.since(oldest) >= Timestamp::SECOND
        {
            sum = sum.saturating_sub(gone);
            inside.pop_front();
        }
        most = most.max(sum);
    }
    most
}

/// Returns when each thing was tried first, and whether it failed throughout.
fn first_tries<K: Ord>(
    tried: &[&Attempt<'_>],
    thing: impl Fn(&Attempt<'_>) -> K,
) -> BTreeMap<K, (Timestamp, bool)> {
    let mut things: BTreeMap<K, (Timestamp, bool)> = BTreeMap::new();
    for attempt in tried {
        let (at, is_failed) = (attempt.conversation.first_at, attempt.fate == Fate::Failed);
        things
            .entry(thing(attempt))
            .and_modify(|(first, failed)| {
                *first = (*first).min(at);
                *failed &= is_failed;
            })
            .or_insert((at, is_failed));
    }
    things
}

/// Returns the most tries within one window for which `counts` (given all and failed tries in it) holds.
fn most_at_once(
    mut tries: Vec<(Timestamp, bool)>,
    window: i64,
    counts: impl Fn(usize, usize) -> bool,
) -> usize {
    tries.sort_unstable();
    let mut most = 0;
    let mut failed = 0;
    let mut inside: VecDeque<(Timestamp, bool)> = VecDeque::new();
    for (at, is_failed) in tries {
        failed += usize::from(is_failed);
        inside.push_back((at, is_failed));
        while let Some((oldest, was_failed)) = inside.front().copied()
            && at.since(oldest) > window
        {
            failed -= usize::from(was_failed);
            inside.pop_front();
        }
        if counts(inside.len(), failed) {
            most = most.max(inside.len());
        }
    }
    most
}

fn numbers(tried: &[&Attempt<'_>]) -> Vec<usize> {
    tried.iter().map(|attempt| attempt.number).collect()
}

fn one_name(names: BTreeSet<String>) -> String {
    let mut names = names.into_iter();
    match (names.next(), names.next()) {
        (Some(only), None) => only,
        (Some(_), Some(_)) | (None, _) => SEVERAL.to_owned(),
    }
}

fn duration(tried: &[&Attempt<'_>]) -> String {
    let tries = || tried.iter().map(|attempt| attempt.conversation.first_at);
    let first = tries().min().unwrap_or_default();
    words::span(tries().max().unwrap_or_default().since(first))
}

/// Writes `3 answered, 12 refused, 985 not answered`, in conversations.
fn fates(tried: &[&Attempt<'_>]) -> String {
    let (mut answered, mut refused, mut silent) = (0, 0, 0);
    for attempt in tried {
        if attempt.fate == Fate::Answered {
            answered += 1;
        } else if attempt.conversation.connections.refused > 0 {
            refused += 1;
        } else {
            silent += 1;
        }
    }
    format!("{} answered, {} refused, {} not answered", grouped(answered), grouped(refused), grouped(silent))
}

fn size(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Writes `ip.addr==10.0.0.1` or `ipv6.addr==fd00::1`.
pub(crate) fn address(peer: &Peer) -> String {
    let address = peer.address();
    if address.is_ipv4() { format!("ip.addr=={address}") } else { format!("ipv6.addr=={address}") }
}

/// Most ports a display filter names one by one.
const FILTER_PORTS_MAX: usize = 16;

/// Writes `tcp.port==23 || tcp.port==2323`; only the protocols where there are too many ports.
pub(crate) fn port_filters(ports: &[ServicePort]) -> String {
    let is_short = ports.len() <= FILTER_PORTS_MAX;
    let parts: BTreeSet<String> = ports
        .iter()
        .map(|port| {
            let protocol = match port.protocol {
                Protocol::ICMPV6 => "icmpv6".to_owned(),
                Protocol(number) if !port.protocol.is_icmp() && !port.protocol.has_ports() => {
                    format!("ip.proto=={number}")
                }
                known => known.to_string(),
            };
            match port.port {
                Some(number) if is_short => format!("{protocol}.port=={number}"),
                Some(_) | None => protocol,
            }
        })
        .collect();
    parts.into_iter().collect::<Vec<_>>().join(" || ")
}
