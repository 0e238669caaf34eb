//! How tight a contract is over what was seen, for `portolan policy check --against`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use portolan_exporter::escape;
use portolan_flowtable::units::grouped;
use portolan_flowtable::{Snapshot, Timestamp};
use portolan_policy::{Contract, Tightness};

use crate::ask::from_file;
use crate::cli::KnowledgeArgs;
use crate::error::Failure;
use crate::report::{Align, Table};

/// Counts how much of what a contract allows was used in a capture or a result.
pub(super) fn of(contract: &Contract, path: &Path, roster: &[PathBuf]) -> Result<Tightness, Failure> {
    let knowledge = KnowledgeArgs { roster: roster.to_vec(), ..KnowledgeArgs::default() };
    let assessment = from_file(path, &knowledge)?.assessment;
    if !assessment.snapshot.has_roster {
        return Err(Failure::error(format!(
            "{}: nobody says which address belongs to which service: contracts allow nothing there\n  \
             give a roster:  --roster inspect.json",
            path.display()
        )));
    }
    let conversations = assessment.judged.into_iter().map(|judged| judged.conversation).collect();
    Ok(contract.tightness(&Snapshot { conversations, ..assessment.snapshot }))
}

/// Draws it: the score, then each line with what it allows and what was used of it.
pub(super) fn in_words(tightness: &Tightness) -> String {
    let mut text = format!("tightness: {}\n", tightness.sentence());
    if tightness.grants.is_empty() && tightness.denials.is_empty() {
        return text;
    }
    let columns = ["line", "used", "allowed", "convs", "last used", "says"];
    let is_number = |name| matches!(name, "used" | "allowed" | "convs");
    let mut table =
        Table::new(&columns.map(|name| (name, if is_number(name) { Align::Right } else { Align::Left })));
    let when = |at: Option<Timestamp>, is_over: bool| match (at, is_over) {
        (Some(at), _) => format!("{:.19}Z", at.to_string()),
        (None, true) => "never: expired".to_owned(),
        (None, false) => "never".to_owned(),
    };
    for grant in &tightness.grants {
        table.row(vec![
            escape::terminal(&grant.place).into_owned(),
            grouped(grant.used),
            grouped(grant.allowed),
            grouped(grant.conversations),
            when(grant.last_used, grant.is_over),
            escape::terminal(&grant.says).into_owned(),
        ]);
    }
    for denial in &tightness.denials {
        let id = if denial.id == denial.place { String::new() } else { format!(" ({})", denial.id) };
        table.row(vec![
            escape::terminal(&denial.place).into_owned(),
            String::new(),
            String::new(),
            grouped(denial.conversations),
            when(denial.last_used, denial.is_over),
            format!("denies{}", escape::terminal(&id)),
        ]);
    }
    let _ = write!(text, "{}", table.draw());
    text
}
