//! An answer for a pipeline: what is checked, and what is to be complained of, before it is written as SARIF or JUnit.

use portolan_exporter::escape::is_hostile;
use portolan_exporter::{Publication, escape};
use portolan_flowtable::Completeness;
use portolan_policy::{ContractError, Finding, FindingKind, Severity};

use super::trial::Flip;
use super::{junit, sarif};
use crate::ask::print;
use crate::error::Failure;

/// Something that is checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Check {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) rationale: String,
    pub(crate) remedy: String,
    /// The gravest it gets.
    pub(crate) severity: Severity,
}

/// Something a check complains of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Complaint {
    /// Id of the check.
    pub(crate) check: String,
    pub(crate) severity: Severity,
    /// What it is about, in few words: an edge, a place.
    pub(crate) subject: String,
    pub(crate) message: String,
    /// Where it stands in a file: line and column from 1, in characters.
    pub(crate) place: Option<(String, usize, usize)>,
    /// Kind and name of what it is about: `service`, `edge`.
    pub(crate) about: Vec<(&'static str, String)>,
    /// What makes it the same one in the next run, where that is not its place.
    pub(crate) id: Option<String>,
}

/// What a pipeline is told.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Answer {
    /// The command, as in `policy check`.
    pub(crate) command: &'static str,
    /// Everything that was looked for, by id.
    pub(crate) checks: Vec<Check>,
    pub(crate) complaints: Vec<Complaint>,
    /// What was looked at and is fine.
    pub(crate) fine: Vec<String>,
    /// What a reader should know besides; complains of nothing.
    pub(crate) notes: Vec<String>,
}

/// How a pipeline wants it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PipelineForm {
    Sarif,
    Junit,
}

impl Answer {
    pub(crate) fn write(&self, form: PipelineForm, out: &mut impl std::io::Write) -> Result<(), Failure> {
        match form {
            PipelineForm::Sarif => print(out, format!("{}\n", escape::json(&sarif::document(self)))),
            PipelineForm::Junit => print(out, junit::document(self)),
        }
    }

    /// Says which findings there are; what raises none is fine.
    pub(crate) fn of_findings(publication: &Publication) -> Self {
        let assessment = &publication.assessment;
        let mut kinds = FindingKind::ALL;
        kinds.sort_by_key(|kind| kind.name());
        let checks = kinds.map(|kind| {
            let rule = kind.explained();
            Check {
                id: kind.name().to_owned(),
                title: rule.title.to_owned(),
                rationale: format!("{} {}", rule.rationale, rule.condition),
                remedy: rule.remedy.to_owned(),
                severity: rule.severity,
            }
        });
        let has_some = |kind: &FindingKind| assessment.findings.iter().any(|it| it.kind == *kind);
        let fine = kinds.iter().filter(|kind| !has_some(kind)).map(|kind| kind.name().to_owned());
        let mut notes = notes(&assessment.snapshot.completeness);
        if assessment.findings_left_out > 0 {
            notes.push(format!("{} more findings are not listed", assessment.findings_left_out));
        }
        notes.extend(assessment.warnings.iter().cloned());
        Self {
            command: "findings",
            checks: checks.to_vec(),
            complaints: assessment.findings.iter().map(complaint).collect(),
            fine: fine.collect(),
            notes,
        }
    }

    /// Says what is wrong with contracts: `files` are all that were read.
    pub(crate) fn of_contracts(files: &[String], mistakes: &[ContractError], warnings: &[String]) -> Self {
        let is_fine = |file: &&String| !mistakes.iter().any(|mistake| mistake.file == **file);
        let complaints = mistakes.iter().map(|mistake| {
            let ContractError { file, line, column, message, hint } = mistake;
            let hint = hint.as_ref().map_or(String::new(), |hint| format!("; did you mean {hint:?}?"));
            Complaint {
                check: MISTAKE.to_owned(),
                severity: Severity::High,
                subject: format!("{file}:{line}:{column}"),
                message: format!("{message}{hint}"),
                place: Some((file.clone(), *line, *column)),
                about: Vec::new(),
                id: None,
            }
        });
        let check = Check {
            id: MISTAKE.to_owned(),
            title: "a contract says something that cannot be understood".to_owned(),
            rationale: "A contract with a mistake is not taken into force.".to_owned(),
            remedy: "Mend the line that is named; docs/policy.md has the language.".to_owned(),
            severity: Severity::High,
        };
        Self {
            command: "policy check",
            checks: vec![check],
            complaints: complaints.collect(),
            fine: files.iter().filter(is_fine).cloned().collect(),
            notes: warnings.to_vec(),
        }
    }

    /// Says which conversations get another verdict, of `judged` in all.
    pub(crate) fn of_flips(flips: &[Flip], judged: usize, notes: &[String]) -> Self {
        let complaints = flips.iter().map(|flip| {
            let edge = format!("{} -> {}:{}", flip.initiator, flip.responder, flip.port);
            let containers = format!("{} -> {}", flip.initiator_container, flip.responder_container);
            let ends = [("service", flip.initiator.clone()), ("service", flip.responder.clone())];
            Complaint {
                check: FLIP.to_owned(),
                severity: if flip.after.is_finding() { Severity::High } else { Severity::Info },
                message: format!(
                    "{edge}: {} before, {} after; {} {}, {containers}; decided by: {}",
                    flip.before.words(),
                    flip.after.words(),
                    flip.connections,
                    if flip.connections == 1 { "connection" } else { "connections" },
                    flip.decided_by
                ),
                subject: format!("{edge} ({containers})"),
                place: flip.place.clone().map(|(file, line)| (file, line, 1)),
                about: [("edge", edge)].into_iter().chain(ends).collect(),
                id: None,
            }
        });
        let check = Check {
            id: FLIP.to_owned(),
            title: "a conversation gets another verdict by the contract that is tried".to_owned(),
            rationale: "What was seen is judged by both contracts, and the verdicts are compared.".to_owned(),
            remedy: "Change the line that decides, if the verdict is not meant.".to_owned(),
            severity: Severity::High,
        };
        let fine = format!("{} conversations keep their verdict", judged.saturating_sub(flips.len()));
        Self {
            command: "policy test",
            checks: vec![check],
            complaints: complaints.collect(),
            fine: vec![fine],
            notes: notes.to_vec(),
        }
    }
}

const MISTAKE: &str = "contract_mistake";
const FLIP: &str = "verdict_changes";

fn complaint(finding: &Finding) -> Complaint {
    let port = finding.port.map_or(String::new(), |port| format!(":{port}"));
    let edge = format!("{} -> {}{port}", finding.initiator, finding.responder);
    let against = if finding.against.is_empty() { String::new() } else { format!("; {}", finding.against) };
    let ends = [("service", finding.initiator.clone()), ("service", finding.responder.clone())];
    Complaint {
        check: finding.kind.name().to_owned(),
        severity: finding.severity,
        message: format!(
            "{}: {edge} {}: {}{against}",
            finding.kind.words(),
            finding.reached,
            finding.summary
        ),
        subject: edge.clone(),
        place: None,
        about: [("edge", edge)].into_iter().chain(ends.into_iter().filter(|it| !it.1.is_empty())).collect(),
        id: Some(finding.id.clone()),
    }
}

/// Says what a reader should know where something was, or may have been, missed.
pub(super) fn notes(completeness: &Completeness) -> Vec<String> {
    match completeness {
        Completeness::Complete => Vec::new(),
        Completeness::Unknown { reasons } | Completeness::Incomplete { reasons, .. } => {
            vec![format!("{}: {}", completeness.word(), reasons.join("; "))]
        }
    }
}

/// Writes what must not reach an output as it is as `<U+202E>`, and what no text holds as U+FFFD.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            hostile if is_hostile(hostile) => out.push_str(&format!("<U+{:04X}>", u32::from(hostile))),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            plain => out.push(plain),
        }
    }
    out
}
