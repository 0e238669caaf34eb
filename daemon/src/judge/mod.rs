//! Policy as software: contracts checked, tried on captures, compared, suggested; verdicts explained.

mod check;
pub mod cli;
mod diff;
mod junit;
pub(crate) mod pipeline;
mod proof;
mod rules;
mod sarif;
mod suggest;
mod tightness;
mod trial;
mod why;

use std::io::Write;

use serde::Serialize;

use crate::ask::print;
use crate::error::Failure;
use cli::{PolicyCommand, RulesCommand};

pub use why::why;

/// `portolan policy`.
///
/// # Errors
///
/// Returns why there is no answer.
pub fn policy(command: &PolicyCommand, out: &mut impl Write) -> Result<u8, Failure> {
    match command {
        PolicyCommand::Check(args) => check::check(args, out),
        PolicyCommand::Test(args) => trial::trial(args, out),
        PolicyCommand::Diff(args) => diff::diff(args, out),
        PolicyCommand::Suggest(args) => suggest::suggest(args, out),
        PolicyCommand::Export(args) => suggest::export(args, out),
    }
}

/// `portolan rules`.
///
/// # Errors
///
/// Returns why there is no answer.
pub fn rules(command: &RulesCommand, out: &mut impl Write) -> Result<u8, Failure> {
    match command {
        RulesCommand::List { format } => rules::list(*format, out),
        RulesCommand::Show { id, format } => rules::show(id, *format, out),
        RulesCommand::Test { id, format } => proof::test(id.as_deref(), *format, out),
    }
}

/// Exit code of a comparison that found differences.
const DIFFERENT: u8 = 3;

fn print_json(out: &mut impl Write, value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::error(format!("cannot write the answer as JSON: {error}")))?;
    print(out, format!("{}\n", portolan_exporter::escape::json(&text)))
}
