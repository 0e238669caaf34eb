//! `portolan why`: one edge, what was seen of it, who documents it, and which line decided.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write;

use portolan_exporter::{Publication, escape};
use portolan_flowtable::units::grouped;
use portolan_flowtable::{Completeness, Outcomes, ServicePort, Tally, Timestamp};
use portolan_policy::{Finding, FindingKind, Judged, Verdict};
use serde::Serialize;

use super::cli::{AnswerFormat, WhyArgs};
use super::print_json;
use crate::ask::{print, publication_of};
use crate::cut::{edge_members, short_id};
use crate::edge::Edge;
use crate::error::Failure;
use crate::report::{bytes, span};

/// Most claims of names told of one edge.
const NAMES_MAX: usize = 8;

/// All conversations of one edge.
#[derive(Clone, Debug, Serialize)]
struct Why {
    initiator: String,
    responder: String,
    port: ServicePort,
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<String>,
    verdict: Verdict,
    /// The lines that decided, or why nothing did.
    decided_by: BTreeSet<String>,
    /// Those of them that deny it.
    #[serde(skip)]
    denied_by: BTreeSet<String>,
    /// Who documents the port.
    documented_by: BTreeSet<String>,
    connections: Outcomes,
    sent: Tally,
    received: Tally,
    first_at: Timestamp,
    last_at: Timestamp,
    initiator_containers: BTreeSet<String>,
    responder_containers: BTreeSet<String>,
    networks: BTreeSet<String>,
    /// What addresses outside are called, and by whom: claims.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    names: BTreeSet<String>,
    findings: Vec<Finding>,
    complete: Option<bool>,
    policy: String,
}

/// `portolan why`.
///
/// # Errors
///
/// Returns that there is no such edge, with the nearest ones, or why nobody could be asked.
pub fn why(args: &WhyArgs, out: &mut impl Write) -> Result<u8, Failure> {
    let asked: Edge =
        args.edge.parse().map_err(|error: crate::edge::UnknownEdge| Failure::usage(error.to_string()))?;
    let publication = publication_of(&args.asked)?;
    let answers = answers(&edge_members(&asked, &publication)?, &publication);
    if args.format == AnswerFormat::Json {
        print_json(out, &answers)?;
        return Ok(0);
    }
    let texts: Vec<String> = answers.iter().map(|answer| in_words(answer, &publication)).collect();
    print(out, texts.join("\n"))?;
    Ok(0)
}

/// Gathers conversations by ends, port and binding, in the order they were first seen.
fn answers(members: &[usize], publication: &Publication) -> Vec<Why> {
    let assessment = &publication.assessment;
    let mut answers: Vec<Why> = Vec::new();
    for judged in members.iter().filter_map(|number| assessment.judged.get(*number)) {
        let conversation = &judged.conversation;
        let (initiator, responder) = (conversation.initiator.service(), conversation.responder.service());
        let is_it = |it: &Why| {
            it.initiator == initiator
                && it.responder == responder
                && it.port == conversation.port
                && it.via == conversation.via
        };
        if let Some(known) = answers.iter_mut().find(|it| is_it(it)) {
            known.add(judged);
        } else {
            let mut fresh = Why {
                initiator,
                responder,
                port: conversation.port,
                via: conversation.via.clone(),
                verdict: judged.verdict,
                decided_by: BTreeSet::new(),
                denied_by: BTreeSet::new(),
                documented_by: BTreeSet::new(),
                connections: Outcomes::default(),
                sent: Tally::default(),
                received: Tally::default(),
                first_at: conversation.first_at,
                last_at: conversation.last_at,
                initiator_containers: BTreeSet::new(),
                responder_containers: BTreeSet::new(),
                networks: BTreeSet::new(),
                names: BTreeSet::new(),
                findings: Vec::new(),
                complete: None,
                policy: assessment.contract.clone(),
            };
            fresh.add(judged);
            answers.push(fresh);
        }
    }
    for answer in &mut answers {
        answer.complete = assessment.snapshot.completeness.between(answer.first_at, answer.last_at);
        let is_its = |finding: &&Finding| {
            let is_port = finding.port.is_none_or(|port| port == answer.port);
            // The other end of a forged source is whose address was used, and not who was called.
            let is_of_a_call =
                !matches!(finding.kind, FindingKind::SpoofedSource | FindingKind::UnlistedSource);
            finding.initiator == answer.initiator
                && finding.responder == answer.responder
                && is_port
                && is_of_a_call
        };
        answer.findings = assessment.findings.iter().filter(is_its).cloned().collect();
    }
    answers
}

impl Why {
    fn add(&mut self, judged: &Judged) {
        let conversation = &judged.conversation;
        if judged.verdict.gravity() > self.verdict.gravity() {
            self.verdict = judged.verdict;
        }
        self.decided_by.insert(judged.decided_by.clone());
        if judged.verdict == Verdict::Denied {
            self.denied_by.insert(judged.decided_by.clone());
        }
        self.documented_by.extend(judged.documented_by.as_ref().map(ToString::to_string));
        let (mine, more) = (&mut self.connections, &conversation.connections);
        mine.answered += more.answered;
        mine.refused += more.refused;
        mine.unanswered += more.unanswered;
        mine.blocked += more.blocked;
        mine.pending += more.pending;
        self.sent += conversation.sent;
        self.received += conversation.received;
        self.first_at = self.first_at.min(conversation.first_at);
        self.last_at = self.last_at.max(conversation.last_at);
        let name = |peer: &portolan_flowtable::Peer| {
            peer.workload().map_or_else(|| peer.address().to_string(), |workload| workload.container.clone())
        };
        self.initiator_containers.insert(name(&conversation.initiator));
        self.responder_containers.insert(name(&conversation.responder));
        self.networks.insert(conversation.network.clone());
        for peer in [&conversation.initiator, &conversation.responder] {
            let said = peer
                .names()
                .iter()
                .take(NAMES_MAX)
                .map(|claim| format!("{} is {}, says {}", peer.address(), claim.name, claim.answered_by));
            self.names.extend(said);
        }
        while self.names.len() > NAMES_MAX {
            self.names.pop_last();
        }
    }

    fn edge(&self) -> String {
        let via = self.via.as_ref().map_or(String::new(), |via| format!(" via {via}"));
        format!("{} -> {}:{}{via}", self.initiator, self.responder, self.port)
    }
}

fn in_words(why: &Why, publication: &Publication) -> String {
    let clean = |text: &str| escape::terminal(text).into_owned();
    let list = |all: &BTreeSet<String>, none: &str| {
        let known: Vec<String> = all.iter().filter(|it| !it.is_empty()).map(|it| clean(it)).collect();
        if known.is_empty() { none.to_owned() } else { known.join("; ") }
    };
    let found: Vec<String> = why
        .findings
        .iter()
        .map(|finding| {
            format!(
                "{}, {}  {}",
                finding.kind.words(),
                finding.severity.name(),
                clean(&short_id(&finding.id))
            )
        })
        .collect();
    let head = if found.is_empty() { why.verdict.words().to_owned() } else { found.join("; ") };
    let mut out = format!("{}   {head}\n", clean(&why.edge()));
    let Outcomes { answered, refused, unanswered, blocked, pending } = why.connections;
    let outcomes: Vec<String> = [
        (answered, "answered"),
        (refused, "refused"),
        (unanswered, "unanswered"),
        (blocked, "blocked on this host"),
        (pending, "pending"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{} {word}", grouped(count)))
    .collect();
    let _ = writeln!(
        out,
        " seen        {}, {}; {} out, {} in; {} -> {}; {}",
        outcomes.join(", "),
        span(why.first_at, why.last_at, false),
        bytes(why.sent.bytes),
        bytes(why.received.bytes),
        list(&why.initiator_containers, "nobody"),
        list(&why.responder_containers, "nobody"),
        list(&why.networks, "no container network"),
    );
    if !why.names.is_empty() {
        let _ = writeln!(out, " claimed     {}", list(&why.names, ""));
    }
    let _ =
        writeln!(out, " documented  port {}: {}", why.port, list(&why.documented_by, "nothing documents it"));
    let _ = writeln!(
        out,
        " decided by  {}",
        list(&why.decided_by, "not kept: the answer is of an earlier version")
    );
    let _ = writeln!(out, " policy      {}", clean(&why.policy));
    let coverage = match (&publication.assessment.snapshot.completeness, why.complete) {
        (_, Some(true)) => "complete while it was seen".to_owned(),
        (_, Some(false)) => "something was missed while it was seen".to_owned(),
        (Completeness::Unknown { reasons }, None) => format!("unknown: {}", clean(&reasons.join("; "))),
        (Completeness::Complete | Completeness::Incomplete { .. }, None) => "unknown".to_owned(),
    };
    let _ = writeln!(out, " coverage    {coverage}");
    let is_service =
        publication.assessment.snapshot.workloads.iter().any(|it| it.qualified() == why.responder);
    // A rule that denies beats any that allows; what holds by default does not.
    let rules: BTreeSet<String> = why
        .denied_by
        .iter()
        .filter_map(|says| says.split_once(" denies it").map(|(place, _)| place.to_owned()))
        .collect();
    if !rules.is_empty() {
        let _ = writeln!(
            out,
            " to allow    change or narrow the rule at {}: it denies, and no rule that allows beats that",
            list(&rules, "")
        );
    } else if why.verdict.is_finding() && why.verdict != Verdict::SpoofedSource && is_service {
        let _ = writeln!(
            out,
            " to allow    add to a contract:  [[rule]] action = \"allow\", from = {:?}, to = {:?}, ports = \"{}\", purpose = \"...\"",
            clean(&why.initiator),
            clean(&why.responder),
            why.port
        );
    }
    let _ = writeln!(
        out,
        " to look     portolan record --edge '{}' -w edge.pcapng",
        clean(&why.edge()).replace('\'', "'\\''")
    );
    out
}
