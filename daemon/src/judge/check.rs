//! `portolan policy check`.

use std::io::Write;

use portolan_exporter::escape;
use portolan_policy::Contract;
use serde::Serialize;

use super::cli::{AnswerFormat, CheckArgs};
use super::print_json;
use crate::ask::print;
use crate::compose;
use crate::error::Failure;
use crate::live::clock;
use crate::replay::Contracts;

#[derive(Serialize)]
struct Mistake {
    file: String,
    line: usize,
    column: usize,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Serialize)]
struct Checked {
    contract: String,
    mistakes: Vec<Mistake>,
    warnings: Vec<String>,
}

/// Reads contracts; returns 1 where something is wrong with one.
pub(super) fn check(args: &CheckArgs, out: &mut impl Write) -> Result<u8, Failure> {
    let texts = Contracts::texts_of(&args.contracts)?;
    let compose = compose::given(&args.compose)?;
    let read = Contract::parse_all(texts.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    let (contract, mistakes) = match read {
        Ok(mut contract) => {
            compose.iter().for_each(|text| text.add_to(&mut contract));
            (contract, Vec::new())
        }
        Err(errors) => (Contract::default(), errors),
    };
    let code = u8::from(!mistakes.is_empty());
    let warnings = contract.remarks(clock());
    let title = contract.title().unwrap_or_default();
    if args.format == AnswerFormat::Json {
        let mistakes = mistakes.into_iter().map(|it| Mistake {
            file: it.file,
            line: it.line,
            column: it.column,
            message: it.message,
            hint: it.hint,
        });
        print_json(out, &Checked { contract: title, mistakes: mistakes.collect(), warnings })?;
        return Ok(code);
    }
    let mut said: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    said.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
    if mistakes.is_empty() {
        said.push(format!("fine: {title}"));
    }
    let lines: Vec<String> = said.iter().map(|line| escape::terminal(line).into_owned()).collect();
    print(out, format!("{}\n", lines.join("\n")))?;
    Ok(code)
}
