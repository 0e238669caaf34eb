//! `portolan policy diff`.

use std::fmt::Write as _;
use std::io::Write;

use portolan_exporter::escape;
use portolan_graphs::{changes_to_dot, changes_to_mermaid};
use portolan_policy::Change;

use super::cli::{DiffArgs, DiffFormat};
use super::{DIFFERENT, print_json};
use crate::ask::print;
use crate::error::Failure;
use crate::replay::Contracts;

/// Says what two contracts state differently; returns 3 where that is something.
pub(super) fn diff(args: &DiffArgs, out: &mut impl Write) -> Result<u8, Failure> {
    let read = |path| Contracts::read(std::slice::from_ref(path), &[]);
    let (before, after) = (read(&args.before)?, read(&args.after)?);
    let changes = before.contract.changes_to(&after.contract);
    match args.format {
        DiffFormat::Text => print(out, in_words(&changes))?,
        DiffFormat::Json => print_json(out, &changes)?,
        DiffFormat::Dot => print(out, changes_to_dot(&changes))?,
        DiffFormat::Mermaid => print(out, changes_to_mermaid(&changes))?,
    }
    Ok(if changes.is_empty() { 0 } else { DIFFERENT })
}

fn in_words(changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes {
        let sign = if change.is_added { '+' } else { '-' };
        let (fact, place) = (escape::terminal(&change.fact), escape::terminal(&change.place));
        let _ = writeln!(text, "{sign} {fact}   {place}");
    }
    text
}
