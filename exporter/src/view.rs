//! What the page in the browser shows: the map, the findings with what to do about them, and how complete all of it is.

use portolan_flowtable::{Completeness, Tally, Timestamp};
use portolan_graphs::{Boxes, Group, Map};
use portolan_policy::{Finding, FindingKind, Join};
use serde::Serialize;

use crate::publication::{FlowRecord, Publication};

/// Version of the form. Fields are only ever added within one.
const SCHEMA: u32 = 1;
/// Findings shown; who wants all asks `/api/v1/findings`.
const FINDINGS_MAX: usize = 500;

/// One publication, as the page wants it.
#[derive(Debug, Serialize)]
pub struct View<'a> {
    schema: u32,
    host: &'a str,
    version: &'a str,
    from: Timestamp,
    at: Timestamp,
    completeness: &'a Completeness,
    kernel_dropped: Option<u64>,
    withheld: Tally,
    stale: Option<&'a str>,
    is_capturing: bool,
    containers: u64,
    containers_observable: u64,
    unobservable: &'a [(String, String)],
    contract: &'a str,
    warnings: &'a [String],
    findings: Vec<Told<'a>>,
    findings_left_out: u64,
    findings_handled: usize,
    flows: usize,
    /// What joins containers without a packet.
    joins: &'a [Join],
    joins_left_out: u64,
    map: Map,
}

/// A finding, and what to do about it.
#[derive(Debug, Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    finding: &'a Finding,
    kind_words: &'static str,
    severity_rank: u8,
    /// One sentence.
    remedy: &'static str,
}

impl<'a> View<'a> {
    /// Draws it of a publication.
    pub fn of(publication: &'a Publication, group: Group, boxes: Boxes) -> Self {
        let assessment = &publication.assessment;
        let map = match group {
            // It is drawn already.
            Group::Service => Map::of(publication.graph.clone(), assessment, boxes),
            Group::Container | Group::Project | Group::Network => Map::draw(assessment, group, boxes),
        };
        Self::with(publication, map)
    }

    /// Puts a map that is drawn beside what a publication says.
    pub(crate) fn with(publication: &'a Publication, map: Map) -> Self {
        let Publication { assessment, vitals, .. } = publication;
        let snapshot = &assessment.snapshot;
        let mut findings: Vec<&Finding> = assessment.findings.iter().collect();
        // Gravest first, of these the latest; the id settles the rest.
        findings.sort_by(|one, other| {
            let key = |finding: &'a Finding| (finding.severity, finding.first_at);
            key(other).cmp(&key(one)).then_with(|| one.id.cmp(&other.id))
        });
        let left_out = findings.len().saturating_sub(FINDINGS_MAX) as u64;
        findings.truncate(FINDINGS_MAX);
        Self {
            schema: SCHEMA,
            host: &vitals.host,
            version: &vitals.version,
            from: snapshot.from,
            at: snapshot.at,
            completeness: &snapshot.completeness,
            kernel_dropped: snapshot.kernel_dropped,
            withheld: snapshot.withheld,
            stale: snapshot.stale.as_deref(),
            is_capturing: vitals.is_capturing,
            containers: vitals.containers,
            containers_observable: vitals.containers_observable,
            unobservable: &vitals.unobservable,
            contract: &assessment.contract,
            warnings: &assessment.warnings,
            findings: findings.into_iter().map(Told::of).collect(),
            findings_left_out: assessment.findings_left_out.saturating_add(left_out),
            findings_handled: publication.handled.len(),
            flows: publication.flows.len(),
            joins: &assessment.joins,
            joins_left_out: assessment.joins_left_out,
            map,
        }
    }
}

impl<'a> Told<'a> {
    fn of(finding: &'a Finding) -> Self {
        Self {
            finding,
            kind_words: finding.kind.words(),
            severity_rank: finding.severity as u8,
            remedy: remedy(finding.kind),
        }
    }
}

/// Returns what to do about a finding of this kind.
pub fn remedy(kind: FindingKind) -> &'static str {
    match kind.standard_rule() {
        Some(rule) => rule.remedy,
        None if kind == FindingKind::NewEdge => {
            "Find out what changed; then let the baseline learn it, or forbid it (portolan baseline forbid)."
        }
        None => "Stop the caller, or change the line that forbids it.",
    }
}

/// Flows in a picture that stands for itself, the latest.
const FLOWS_MAX: usize = 500;

/// Returns the flows a picture that stands for itself holds.
pub(crate) fn flows_of(publication: &Publication) -> &[FlowRecord] {
    let flows = &publication.flows;
    flows.get(flows.len().saturating_sub(FLOWS_MAX)..).unwrap_or(flows)
}
