//! `portolan policy test`: the verdicts other contracts would have given.

use std::io::Write;

use portolan_exporter::escape;
use portolan_flowtable::Snapshot;
use portolan_flowtable::units::grouped;
use portolan_policy::{Judged, ScanLimits, Verdict};
use serde::Serialize;

use super::cli::{CheckFormat, TrialArgs};
use super::pipeline::{Answer, PipelineForm};
use super::{DIFFERENT, print_json};
use crate::ask::{from_file, print};
use crate::error::Failure;
use crate::replay::Contracts;
use crate::report::{Align, Table};

/// A conversation whose verdict changes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Flip {
    pub(super) initiator: String,
    pub(super) initiator_container: String,
    pub(super) responder: String,
    pub(super) responder_container: String,
    pub(super) port: String,
    pub(super) connections: u64,
    pub(super) before: Verdict,
    pub(super) after: Verdict,
    /// What decides by the contracts that are tried.
    pub(super) decided_by: String,
}

/// Judges what was seen by other contracts; returns 3 where a verdict changes.
pub(super) fn trial(args: &TrialArgs, out: &mut impl Write) -> Result<u8, Failure> {
    let tried = Contracts::read(&args.contracts, &args.knowledge.compose)?.contract;
    let publication = from_file(&args.against, &args.knowledge)?;
    let assessment = publication.assessment;
    if !assessment.snapshot.has_roster {
        return Err(Failure::error(format!(
            "{}: nobody says which address belongs to which service: contracts judge nothing\n  \
             give a roster:  --roster inspect.json",
            args.against.display()
        )));
    }
    let conversations = assessment.judged.iter().map(|judged| judged.conversation.clone()).collect();
    let snapshot = Snapshot { conversations, ..assessment.snapshot };
    let again = tried.assess_within(snapshot, &ScanLimits::at_end());
    let both = assessment.judged.iter().zip(&again.judged);
    let flips: Vec<Flip> =
        both.filter(|(before, after)| before.verdict != after.verdict).map(|it| flip(it.0, it.1)).collect();
    let code = if flips.is_empty() { 0 } else { DIFFERENT };
    for warning in &again.warnings {
        crate::say(&format!("portolan: warning: {warning}"));
    }
    let form = match args.format {
        CheckFormat::Text => return print(out, in_words(&flips, again.judged.len())).map(|()| code),
        CheckFormat::Json => return print_json(out, &flips).map(|()| code),
        CheckFormat::Sarif => PipelineForm::Sarif,
        CheckFormat::Junit => PipelineForm::Junit,
    };
    let (judged, completeness) = (again.judged.len(), &again.snapshot.completeness);
    Answer::of_flips(&flips, judged, completeness, &again.warnings).write(form, out)?;
    Ok(code)
}

fn in_words(flips: &[Flip], judged: usize) -> String {
    let mut text = format!(
        "{} of {} conversations get another verdict\n",
        grouped(flips.len() as u64),
        grouped(judged as u64)
    );
    if !flips.is_empty() {
        let columns = ["initiator", "responder", "conns", "before", "after", "decided by"];
        let align = |name: &'static str| (name, if name == "conns" { Align::Right } else { Align::Left });
        let mut table = Table::new(&columns.map(align));
        for flip in flips {
            table.row(vec![
                escape::terminal(&flip.initiator).into_owned(),
                format!("-> {}:{}", escape::terminal(&flip.responder), flip.port),
                grouped(flip.connections),
                flip.before.words().to_owned(),
                flip.after.words().to_owned(),
                escape::terminal(&flip.decided_by).into_owned(),
            ]);
        }
        text.push_str(&table.draw());
    }
    text
}

fn flip(before: &Judged, after: &Judged) -> Flip {
    let conversation = &after.conversation;
    let container = |peer: &portolan_flowtable::Peer| {
        peer.workload().map_or_else(|| peer.address().to_string(), |workload| workload.container.clone())
    };
    Flip {
        initiator: conversation.initiator.service(),
        initiator_container: container(&conversation.initiator),
        responder: conversation.responder.service(),
        responder_container: container(&conversation.responder),
        port: conversation.port.to_string(),
        connections: conversation.connections.attempted(),
        before: before.verdict,
        after: after.verdict,
        decided_by: after.decided_by.clone(),
    }
}
