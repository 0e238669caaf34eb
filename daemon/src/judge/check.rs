//! `portolan policy check`.

use std::io::Write;

use portolan_exporter::escape;
use portolan_policy::{Contract, Tightness};
use serde::Serialize;

use super::cli::{CheckArgs, CheckFormat};
use super::pipeline::{Answer, PipelineForm};
use super::{print_json, tightness};
use crate::ask::print;
use crate::compose;
use crate::error::Failure;
use crate::live::clock;
use crate::replay::Contracts;

#[derive(Serialize)]
struct Mistake<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

#[derive(Serialize)]
struct Checked<'a> {
    contract: String,
    mistakes: Vec<Mistake<'a>>,
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    tightness: Option<&'a Tightness>,
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
    let mut warnings = contract.remarks(clock());
    let seen = match &args.against {
        Some(path) if mistakes.is_empty() => Some(tightness::of(&contract, path, &args.roster)?),
        Some(_) | None => None,
    };
    let title = contract.title().unwrap_or_default();
    let form = match args.format {
        CheckFormat::Text => {
            let mut said: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            said.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
            if mistakes.is_empty() {
                said.push(format!("fine: {title}"));
            }
            let lines: Vec<String> = said.iter().map(|line| escape::terminal(line).into_owned()).collect();
            let seen = seen.as_ref().map(tightness::in_words).unwrap_or_default();
            print(out, format!("{}\n{seen}", lines.join("\n")))?;
            return Ok(code);
        }
        CheckFormat::Json => {
            let mistakes = mistakes.iter().map(|it| Mistake {
                file: &it.file,
                line: it.line,
                column: it.column,
                message: &it.message,
                hint: it.hint.as_deref(),
            });
            let (mistakes, warnings) = (mistakes.collect(), &warnings[..]);
            let checked = Checked { contract: title, mistakes, warnings, tightness: seen.as_ref() };
            print_json(out, &checked)?;
            return Ok(code);
        }
        CheckFormat::Sarif => PipelineForm::Sarif,
        CheckFormat::Junit => PipelineForm::Junit,
    };
    let files: Vec<String> = texts.into_iter().map(|(name, _)| name).collect();
    warnings.extend(seen.as_ref().map(Tightness::sentence));
    Answer::of_contracts(&files, &mistakes, &warnings).write(form, out)?;
    Ok(code)
}
