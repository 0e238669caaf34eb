//! What is to be cut out: an edge or a finding, as the report names them.

use std::collections::{BTreeMap, BTreeSet};

use portolan_exporter::{Publication, escape};
use portolan_flowtable::flow::Claim;
use portolan_flowtable::units::grouped;
use portolan_flowtable::{Conversation, Peer, Snapshot};
use portolan_policy::{Beside, Contract, Finding, FindingKind, ScanLimits, wireshark_filter};

use crate::edge::{Edge, is_called};
use crate::error::Failure;

/// Edges or findings an error lists at most.
const LISTED_MAX: usize = 12;
/// Pairs of addresses a filter names at most.
const PAIRS_MAX: usize = 8;
/// Digits of an id that are enough to name a finding by.
const DIGITS_MIN: usize = 4;
/// Digits of an id that are shown.
const DIGITS_SHOWN: usize = 6;

/// What is to be cut out.
#[derive(Debug)]
pub(super) struct Subject {
    /// Numbers of its conversations.
    pub conversations: BTreeSet<usize>,
    /// A Wireshark display filter for it.
    pub filter: String,
    /// What it is called.
    pub title: String,
}

/// Returns a finding's id as it is shown and typed: `F-7c21e0`.
pub(crate) fn short_id(id: &str) -> String {
    format!("F-{}", id.get(..DIGITS_SHOWN).unwrap_or(id))
}

/// Finds a finding by its id or the beginning of it. The limits are those it was judged with.
///
/// # Errors
///
/// Returns the findings there are, where none or several begin so.
pub(super) fn finding(
    asked: &str,
    publication: &Publication,
    contract: &Contract,
    limits: &ScanLimits,
    beside: Beside<'_>,
) -> Result<Subject, Failure> {
    let digits = asked.strip_prefix("F-").or_else(|| asked.strip_prefix("f-")).unwrap_or(asked);
    let digits = digits.to_ascii_lowercase();
    if digits.len() < DIGITS_MIN || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Failure::usage(format!(
            "--finding {asked:?}: not an id; write F-7c21e0, or at least {DIGITS_MIN} of its hexadecimal digits"
        )));
    }
    let all = &publication.assessment.findings;
    let fitting: Vec<&Finding> = all.iter().filter(|finding| finding.id.starts_with(&digits)).collect();
    let found = match fitting.as_slice() {
        [only] => *only,
        [] if all.is_empty() => {
            return Err(Failure::error(format!("no finding {asked:?}: nothing was found in this capture")));
        }
        [] => {
            let all: Vec<&Finding> = all.iter().collect();
            return Err(Failure::error(format!("no finding {asked:?}; there are{}", listed(&all))));
        }
        several => {
            return Err(Failure::error(format!("--finding {asked:?} fits several{}", listed(several))));
        }
    };
    let judged = &publication.assessment.judged;
    let snapshot = Snapshot {
        conversations: judged.iter().map(|judged| judged.conversation.clone()).collect(),
        ..publication.assessment.snapshot.clone()
    };
    let mut grounds = contract.grounds(&snapshot, limits, beside);
    let conversations: BTreeSet<usize> = grounds.remove(&found.id).unwrap_or_default().into_iter().collect();
    if conversations.is_empty() {
        let (kind, ends) = (found.kind.words(), escape::terminal(&ends(found)).into_owned());
        // A sweep by ARP has packets, and none of them is a connection's.
        let is_by_arp = found.kind == FindingKind::HostSweep && !found.wireshark_filter.is_empty();
        return Err(Failure::error(if !is_by_arp {
            format!("--finding {asked:?}: {kind} of {ends} rests on no packet")
        } else {
            let filter = escape::terminal(&found.wireshark_filter).into_owned();
            format!(
                "--finding {asked:?}: {kind} of {ends} rests on no connection; its packets are those that Wireshark shows for {filter}"
            )
        }));
    }
    Ok(Subject {
        conversations: with_backscatter(conversations, &snapshot.conversations),
        filter: found.wireshark_filter.clone(),
        title: format!("finding {} ({}, {})", short_id(&found.id), found.kind.words(), ends(found)),
    })
}

fn listed(findings: &[&Finding]) -> String {
    let mut rows: Vec<String> = findings
        .iter()
        .take(LISTED_MAX)
        .map(|finding| format!("\n  {}  {}  {}", short_id(&finding.id), finding.kind.words(), ends(finding)))
        .collect();
    if findings.len() > LISTED_MAX {
        rows.push(format!("\n  ... {} more", grouped((findings.len() - LISTED_MAX) as u64)));
    }
    rows.concat()
}

fn ends(finding: &Finding) -> String {
    let port = finding.port.map_or(String::new(), |port| format!(":{port}"));
    let arrow = if finding.initiator.is_empty() { "" } else { " -> " };
    escape::terminal(&format!("{}{arrow}{}{port}", finding.initiator, finding.responder)).into_owned()
}

/// Finds an edge by the names of its ends and perhaps its port.
///
/// # Errors
///
/// Returns the nearest edges, where there is none of that name or several services bear it.
pub(super) fn edge(asked: &Edge, publication: &Publication) -> Result<Subject, Failure> {
    let found = edge_members(asked, publication)?;
    let judged = &publication.assessment.judged;
    let pairs: BTreeSet<String> = found
        .iter()
        .filter_map(|number| judged.get(*number))
        .map(|judged| wireshark_filter(&judged.conversation))
        .collect();
    let all: Vec<Conversation> = judged.iter().map(|judged| judged.conversation.clone()).collect();
    Ok(Subject {
        conversations: with_backscatter(found.into_iter().collect(), &all),
        filter: pairs.into_iter().take(PAIRS_MAX).collect::<Vec<_>>().join(" || "),
        title: format!("edge {}", escape::terminal(&asked.to_string())),
    })
}

/// Returns the numbers of an edge's conversations, ascending, without what forged packets provoked.
///
/// # Errors
///
/// Returns the nearest edges, where there is none of that name or several services bear it.
pub(crate) fn edge_members(asked: &Edge, publication: &Publication) -> Result<Vec<usize>, Failure> {
    let all: Vec<&Conversation> =
        publication.assessment.judged.iter().map(|judged| &judged.conversation).collect();
    let edges = || all.iter().enumerate().filter(|(_, it)| it.claim != Claim::Backscatter);
    let mut found: BTreeSet<usize> = BTreeSet::new();
    let mut titles: BTreeSet<(String, String)> = BTreeSet::new();
    for (number, conversation) in edges() {
        if is_asked_for(asked, conversation) {
            found.insert(number);
            titles.insert((conversation.initiator.service(), conversation.responder.service()));
        }
    }
    if titles.len() > 1 {
        let titles: Vec<String> = titles
            .iter()
            .take(LISTED_MAX)
            .map(|(from, to)| escape::terminal(&format!("\n  {from} -> {to}")).into_owned())
            .collect();
        let asked = asked.to_string();
        return Err(Failure::error(format!(
            "--edge {asked:?} fits several; name the project{}",
            titles.concat()
        )));
    }
    if found.is_empty() {
        let nearest = nearest(asked, edges().map(|(_, it)| *it));
        let nearest = if nearest.is_empty() {
            ": there are no edges".to_owned()
        } else {
            format!("; nearest{nearest}")
        };
        let asked = asked.to_string();
        return Err(Failure::error(format!("no edge {asked:?}{nearest}")));
    }
    Ok(found.into_iter().collect())
}

fn is_asked_for(asked: &Edge, conversation: &Conversation) -> bool {
    let Conversation { initiator, responder, port, via, .. } = conversation;
    is_named(&asked.initiator, initiator)
        && is_named(&asked.responder, responder)
        // With its protocol alone, as reports print it, it is the one whose port nothing says.
        && (asked.port == port.port || asked.port.is_none() && asked.protocol.is_none())
        && asked.protocol.is_none_or(|protocol| protocol == port.protocol)
        && (asked.via.is_none() || asked.via == *via)
}

fn is_named(name: &str, peer: &Peer) -> bool {
    name == peer.service()
        || name.parse() == Ok(peer.address())
        || peer.workload().is_some_and(|workload| is_called(workload, name))
}

/// Lists the edges most like the one asked for: first by how many ends are as asked, then by letters.
fn nearest<'a>(asked: &Edge, edges: impl Iterator<Item = &'a Conversation>) -> String {
    let plain = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
    let (from, to) = (plain(&asked.initiator), plain(&asked.responder));
    let mut rated: BTreeMap<String, usize> = BTreeMap::new();
    for edge in edges {
        let likeness = |asked: &str, name: &str| {
            let name = plain(name);
            if asked == name {
                100
            } else {
                asked.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count()
            }
        };
        let (initiator, responder) = (edge.initiator.service(), edge.responder.service());
        let rating = likeness(&from, &initiator) + likeness(&to, &responder);
        rated.insert(format!("{initiator} -> {responder}:{}", edge.port), rating);
    }
    let mut rated: Vec<(String, usize)> = rated.into_iter().collect();
    rated.sort_by(|(_, a), (_, b)| b.cmp(a));
    rated.iter().take(5).map(|(name, _)| format!("\n  {}", escape::terminal(name))).collect()
}

/// Adds the answers that forged packets provoked: they go to the address's true holder, and are no edge of theirs.
fn with_backscatter(mut numbers: BTreeSet<usize>, conversations: &[Conversation]) -> BTreeSet<usize> {
    let ends =
        |it: &Conversation| (it.initiator.address(), it.responder.address(), it.port, it.network.clone());
    let forged: BTreeSet<_> = numbers
        .iter()
        .filter_map(|number| conversations.get(*number))
        .filter(|it| matches!(it.claim, Claim::Spoofed | Claim::Unlisted))
        .map(ends)
        .collect();
    let answers = conversations.iter().enumerate().filter(|(_, it)| it.claim == Claim::Backscatter);
    numbers.extend(answers.filter(|(_, it)| forged.contains(&ends(it))).map(|(number, _)| number));
    numbers
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::{KnowledgeArgs, ReadArgs};
    use crate::replay::{Knowledge, Request, replay};

    #[test]
    fn a_finding_rests_on_what_it_rested_on_when_it_was_judged() {
        let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps/port-scan");
        let contract = tempfile::tempdir().unwrap();
        let path = contract.path().join("contract.toml");
        std::fs::write(&path, "[[service]]\nservice = \"target\"\ninitiators = [\"host\"]\n").unwrap();
        let knowledge = Knowledge::read(&KnowledgeArgs {
            roster: vec![case.join("roster.toml")],
            contract: vec![path],
            ..KnowledgeArgs::default()
        })
        .unwrap();
        let read = ReadArgs { flows_max: 131_072, flows_kept: 100, ..ReadArgs::default() };
        let request = Request {
            files: &[case.join("capture.pcap")],
            knowledge: &knowledge,
            read: &read,
            conversations: None,
            shows_progress: false,
            each_turn: None,
        };
        let mut publication = replay(&request).unwrap().publication;
        let snapshot = Snapshot {
            conversations: publication
                .assessment
                .judged
                .iter()
                .map(|judged| judged.conversation.clone())
                .collect(),
            ..publication.assessment.snapshot.clone()
        };
        // Too patient to see a scan: each port is a finding of its own.
        let patient = ScanLimits { scan_ports: usize::MAX, ..ScanLimits::default() };
        publication.assessment = knowledge.contract.assess_within(snapshot, &patient);
        let all = &publication.assessment.findings;
        assert!(all.len() > 1, "{all:?}");
        for limits in [patient, ScanLimits::at_end()] {
            let bare = all
                .iter()
                .filter(|it| {
                    match finding(&it.id, &publication, &knowledge.contract, &limits, Beside::default()) {
                        Ok(found) => found.conversations.is_empty(),
                        Err(failure) => failure.message.ends_with("rests on no packet"),
                    }
                })
                .count();
            assert_eq!(bare > 0, limits != patient, "{bare} of {} rest on nothing", all.len());
        }
    }
}
