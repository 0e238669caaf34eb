//! Periods and levels as findings.

use std::collections::{BTreeMap, BTreeSet};

use portolan_flowtable::flow::Claim;
use portolan_flowtable::{Conversation, Outcomes, Peer, Snapshot};

use super::guesses::Door;
use super::watch::{Beating, Rhythm, RhythmLimits, Series, Unusual};
use crate::assess::{CONTAINERS_MAX, Key};
use crate::assessment::{Finding, FindingKind, Severity, Verdict};
use crate::scan::{Pattern, address, port_filters, title};
use crate::verdict::Ruling;
use crate::words;

/// Most addresses a display filter names.
const FILTER_ADDRESSES_MAX: usize = 8;

/// Returns the beacons among conversations, one pattern for each pair of ends and port. What somebody documented, allowed
/// or let the baseline learn is meant to beat.
pub(crate) fn beacons(
    rhythm: &Rhythm,
    conversations: &[Conversation],
    rulings: &[Ruling],
    limits: &RhythmLimits,
) -> Vec<Pattern> {
    if rhythm.is_without_beat() {
        return Vec::new();
    }
    let mut found: BTreeMap<Series, Vec<usize>> = BTreeMap::new();
    for (number, (conversation, ruling)) in conversations.iter().zip(rulings).enumerate() {
        let is_meant = match ruling.verdict {
            Verdict::Documented | Verdict::Allowed | Verdict::Learned => true,
            Verdict::Unjudged
            | Verdict::Denied
            | Verdict::UnexpectedPeer
            | Verdict::UndocumentedPort
            | Verdict::Undeclared
            | Verdict::SpoofedSource
            | Verdict::Backscatter
            | Verdict::Unattributed
            | Verdict::NewEdge
            | Verdict::Forbidden => false,
        };
        if is_meant || conversation.claim != Claim::Own || !conversation.evidence.is_proof() {
            continue;
        }
        let series = Series::of(&conversation.initiator, &conversation.responder, conversation.port);
        if let Some(series) = series.filter(|series| rhythm.beating(series).is_some()) {
            found.entry(series).or_default().push(number);
        }
    }
    let pattern = |(series, numbers): (Series, Vec<usize>)| {
        let first = conversations.get(*numbers.first()?)?;
        Some(beacon(rhythm.beating(&series)?, first, numbers, limits))
    };
    found.into_iter().filter_map(pattern).collect()
}

fn beacon(
    beating: &Beating,
    first: &Conversation,
    conversations: Vec<usize>,
    limits: &RhythmLimits,
) -> Pattern {
    let Conversation { initiator, responder, port, .. } = first;
    let period = beating.period;
    Pattern {
        kind: FindingKind::Beaconing,
        severity: Severity::Medium,
        port: Some(*port),
        responder: responder.service(),
        conversations,
        folded: Vec::new(),
        summary: format!(
            "{} called {} on {port} every {}: {} of the latest {} intervals fit",
            title(initiator),
            responder.address(),
            words::span(period.nanoseconds),
            period.fitting,
            period.intervals,
        ),
        against: format!(
            "a beacon is {} calls to one place outside at one interval",
            limits.beats.saturating_add(1)
        ),
        filter: format!("{} && {} && {}", address(initiator), address(responder), port_filters(&[*port])),
        span: Some((beating.first_at, beating.last_at)),
    }
}

/// Returns who guesses passwords, one pattern for each pair of ends and port. What a rule allows is meant; a database is
/// guessed at by those alone whom it is not meant for.
pub(crate) fn guessing(
    rhythm: &Rhythm,
    conversations: &[Conversation],
    rulings: &[Ruling],
    limits: &RhythmLimits,
) -> Vec<Pattern> {
    if rhythm.is_without_guess() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, (conversation, ruling)) in conversations.iter().zip(rulings).enumerate() {
        let Conversation { initiator, responder, port, .. } = conversation;
        let is_own = conversation.claim == Claim::Own && conversation.evidence.is_proof();
        let is_open = is_own && !conversation.is_proxy_leg && ruling.verdict != Verdict::Allowed;
        let Some(guessing) = rhythm.guessing(initiator, responder, *port).filter(|_| is_open) else {
            continue;
        };
        let what = match limits.guess.door(*port) {
            None => continue,
            Some(Door::Named) => "a port named for logins",
            Some(Door::Login(name)) => name,
            Some(Door::Database(name)) if is_stranger(ruling) => name,
            Some(Door::Database(_)) => continue,
        };
        found.push(Pattern {
            kind: FindingKind::PasswordGuessing,
            severity: Severity::Medium,
            port: Some(*port),
            responder: responder.service(),
            conversations: vec![number],
            folded: Vec::new(),
            summary: format!(
                "{} opened {} to {} {port} ({what}) in {}",
                title(initiator),
                words::count(guessing.connections, "short connection"),
                title(responder),
                words::span(guessing.last_at.since(guessing.first_at)),
            ),
            against: format!(
                "guessing is {} short connections to a login port within {}",
                limits.guess.connections,
                words::span(limits.guess.window)
            ),
            filter: format!("{} && {} && {}", address(initiator), address(responder), port_filters(&[*port])),
            span: Some((guessing.first_at, guessing.last_at)),
        });
    }
    found
}

/// Returns whether somebody calls whom nobody meant to.
fn is_stranger(ruling: &Ruling) -> bool {
    let is_foreign = ruling.charges.iter().any(|charge| charge.kind == FindingKind::ForeignDatabase);
    is_foreign || matches!(ruling.verdict, Verdict::UnexpectedPeer | Verdict::Denied)
}

/// Returns a finding for each service above its level, and the numbers of the conversations it took part in then.
pub(crate) fn levels(
    rhythm: &Rhythm,
    conversations: &[Conversation],
    snapshot: &Snapshot,
    limits: &RhythmLimits,
) -> Vec<(Finding, Vec<usize>)> {
    let found = rhythm.unusual().map(|(service, unusual)| {
        // What was read of its containers rests on no packet.
        let is_seen = unusual.measures.keys().any(|measure| !measure.is_read());
        let takes_part = |peer: &Peer| is_seen && peer.workload().is_some_and(|of| of.qualified() == service);
        let members: Vec<usize> = conversations
            .iter()
            .enumerate()
            .filter(|(_, it)| takes_part(&it.initiator) || takes_part(&it.responder))
            .filter(|(_, it)| it.last_at >= unusual.from && it.first_at <= unusual.until)
            .map(|(number, _)| number)
            .collect();
        (level(service, unusual, &members, conversations, snapshot, limits), members)
    });
    found.collect()
}

fn level(
    service: &str,
    unusual: &Unusual,
    members: &[usize],
    conversations: &[Conversation],
    snapshot: &Snapshot,
    limits: &RhythmLimits,
) -> Finding {
    let key = Key {
        kind: FindingKind::UnusualLevel,
        initiator: service.to_owned(),
        responder: String::new(),
        port: None,
    };
    let all = || members.iter().filter_map(|number| conversations.get(*number));
    let own = |it: &'_ Conversation| -> Vec<(String, String)> {
        let ends = [&it.initiator, &it.responder].into_iter();
        let own = ends.filter_map(|peer| Some((peer, peer.workload()?)));
        own.filter(|(_, of)| of.qualified() == service)
            .map(|(peer, of)| (of.container.clone(), address(peer)))
            .collect()
    };
    let mut containers: BTreeSet<String> = all().flat_map(own).map(|(container, _)| container).collect();
    let is_read = unusual.measures.keys().any(|measure| measure.is_read());
    if is_read {
        let own = snapshot.workloads.iter().filter(|of| of.qualified() == service);
        containers.extend(own.map(|of| of.container.clone()));
    }
    let addresses: BTreeSet<String> = all().flat_map(own).map(|(_, address)| address).collect();
    let (first_frame, last_frame) = frames(unusual, members, conversations);
    let said: Vec<String> =
        unusual.measures.iter().map(|(measure, excess)| measure.in_words(excess)).collect();
    Finding {
        id: key.id(),
        kind: key.kind,
        severity: Severity::Low,
        initiator: key.initiator,
        responder: key.responder,
        port: None,
        reached: words::reached(&Outcomes::default()).to_owned(),
        // What is read of containers has a comma of its own.
        summary: said.join(if is_read { "; " } else { ", " }),
        against: format!(
            "more than {} times what is usual at that half hour, {} in a row",
            limits.level.times,
            words::count(limits.level.minutes.into(), "minute"),
        ),
        first_at: unusual.from,
        last_at: unusual.until,
        first_frame,
        last_frame,
        connections: all().map(|it| it.connections.attempted()).sum(),
        frames: all().map(|it| it.sent.frames + it.received.frames).sum(),
        initiator_containers: containers.into_iter().take(CONTAINERS_MAX).collect(),
        responder_containers: Vec::new(),
        wireshark_filter: addresses.into_iter().take(FILTER_ADDRESSES_MAX).collect::<Vec<_>>().join(" || "),
        complete: snapshot.completeness.between(unusual.from, unusual.until),
    }
}

/// Returns the first and the last frame the minutes of an unusual level may rest on: those of the conversations that took
/// part, without what is known to lie before those minutes or behind them. Frames are numbered as they came.
fn frames(unusual: &Unusual, members: &[usize], conversations: &[Conversation]) -> (u64, u64) {
    let all = || members.iter().filter_map(|number| conversations.get(*number));
    let first = all().map(|it| it.first_frame).min().unwrap_or_default();
    let last = all().map(|it| it.last_frame).max().unwrap_or_default();
    let (mut from, mut until) = (first, last);
    for it in conversations {
        for (at, frame) in [(it.first_at, it.first_frame), (it.last_at, it.last_frame)] {
            if at < unusual.from {
                from = from.max(frame.saturating_add(1));
            } else if at > unusual.until {
                until = until.min(frame.saturating_sub(1));
            }
        }
    }
    // Frames whose times go back say nothing of each other.
    if from <= until { (from, until) } else { (first, last) }
}
