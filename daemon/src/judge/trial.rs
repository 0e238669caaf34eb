//! `portolan policy test`: the verdicts other contracts would have given.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use portolan_exporter::{Publication, escape, snapshots};
use portolan_flowtable::units::grouped;
use portolan_flowtable::{Conversation, Peer, Snapshot};
use portolan_policy::{Contract, Judged, ScanLimits, Verdict};
use serde::Serialize;

use super::cli::{CheckFormat, TrialArgs};
use super::pipeline::{Answer, PipelineForm};
use super::{DIFFERENT, pipeline, print_json};
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
    /// File and line of what decides, where it is the contracts' own.
    #[serde(skip)]
    pub(super) place: Option<(String, usize)>,
}

/// What other contracts say of what was seen.
#[derive(Default)]
struct Tried {
    flips: Vec<Flip>,
    /// Conversations that were judged again.
    judged: usize,
    notes: Vec<String>,
}

/// Judges what was seen by other contracts; returns 3 where a verdict changes.
pub(super) fn trial(args: &TrialArgs, out: &mut impl Write) -> Result<u8, Failure> {
    let contract = Contracts::read(&args.contracts, &args.knowledge.compose)?.contract;
    let mut tried = Tried::default();
    if args.against.is_dir() {
        tried.history(&contract, args)?;
    } else {
        let publication = from_file(&args.against, &args.knowledge)?;
        tried.take(&contract, publication, &args.against, &BTreeSet::new())?;
    }
    let Tried { flips, judged, notes } = tried;
    let code = if flips.is_empty() { 0 } else { DIFFERENT };
    for note in &notes {
        crate::say(&format!("portolan: warning: {note}"));
    }
    let form = match args.format {
        CheckFormat::Text => return print(out, in_words(&flips, judged)).map(|()| code),
        CheckFormat::Json => return print_json(out, &flips).map(|()| code),
        CheckFormat::Sarif => PipelineForm::Sarif,
        CheckFormat::Junit => PipelineForm::Junit,
    };
    Answer::of_flips(&flips, judged, &notes).write(form, out)?;
    Ok(code)
}

impl Tried {
    /// Goes through a folder of snapshots, newest first. A conversation stands in every snapshot after it began: the
    /// newest word on it counts.
    fn history(&mut self, contract: &Contract, args: &TrialArgs) -> Result<(), Failure> {
        let folder = &args.against;
        let files = snapshots::all(folder).map_err(|error| Failure::cannot_read(folder, &error))?;
        if files.is_empty() {
            return Err(Failure::error(format!("{}: holds no snapshot", folder.display())));
        }
        let mut seen = BTreeSet::new();
        for file in files.iter().rev() {
            let publication = from_file(file, &args.knowledge)?;
            let keys: Vec<String> =
                publication.assessment.judged.iter().map(|judged| key(&judged.conversation)).collect();
            self.take(contract, publication, file, &seen)?;
            seen.extend(keys);
        }
        Ok(())
    }

    /// Judges again what a publication holds, but for conversations that were `seen`.
    fn take(
        &mut self,
        contract: &Contract,
        publication: Publication,
        path: &Path,
        seen: &BTreeSet<String>,
    ) -> Result<(), Failure> {
        let mut assessment = publication.assessment;
        if !assessment.snapshot.has_roster {
            return Err(Failure::error(format!(
                "{}: nobody says which address belongs to which service: contracts judge nothing\n  \
                 give a roster:  --roster inspect.json",
                path.display()
            )));
        }
        if !seen.is_empty() {
            assessment.judged.retain(|judged| !seen.contains(&key(&judged.conversation)));
        }
        let conversations = assessment.judged.iter().map(|judged| judged.conversation.clone()).collect();
        let snapshot = Snapshot { conversations, ..assessment.snapshot };
        let again = contract.assess_within(snapshot, &ScanLimits::at_end());
        let both = assessment.judged.iter().zip(&again.judged);
        let changed = both.filter(|(before, after)| before.verdict != after.verdict);
        self.flips.extend(changed.map(|(before, after)| flip(before, after, contract)));
        self.judged += again.judged.len();
        for note in pipeline::notes(&again.snapshot.completeness).into_iter().chain(again.warnings) {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        Ok(())
    }
}

/// Returns what makes a conversation the same one in another snapshot.
fn key(conversation: &Conversation) -> String {
    let Conversation { initiator, responder, port, network, via, claim, .. } = conversation;
    format!("{:?}", (container(initiator), container(responder), port, network, via, claim))
}

fn container(peer: &Peer) -> String {
    peer.workload().map_or_else(|| peer.address().to_string(), |workload| workload.container.clone())
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

fn flip(before: &Judged, after: &Judged, contract: &Contract) -> Flip {
    let conversation = &after.conversation;
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
        place: contract.place_of(&after.decided_by),
    }
}
