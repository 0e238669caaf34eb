//! `portolan rules`: the catalogue of standard rules.

use std::io::Write;

use portolan_policy::{StandardRule, standard_rules};
use serde::Serialize;

use super::cli::AnswerFormat;
use super::print_json;
use crate::ask::print;
use crate::error::Failure;
use crate::report::{Align, Table};

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    severity: &'a str,
    title: &'a str,
    rationale: &'a str,
    condition: &'a str,
    remedy: &'a str,
}

fn row(rule: &StandardRule) -> Row<'static> {
    Row {
        id: rule.kind.name(),
        severity: rule.severity.name(),
        title: rule.title,
        rationale: rule.rationale,
        condition: rule.condition,
        remedy: rule.remedy,
    }
}

/// Lists all of them.
pub(super) fn list(format: AnswerFormat, out: &mut impl Write) -> Result<u8, Failure> {
    let rules = standard_rules();
    let rows: Vec<Row<'_>> = rules.iter().map(row).collect();
    if format == AnswerFormat::Json {
        print_json(out, &rows)?;
        return Ok(0);
    }
    let mut table = Table::new(&[("severity", Align::Left), ("id", Align::Left), ("says", Align::Left)]);
    for row in rows {
        table.row(vec![row.severity.to_owned(), row.id.to_owned(), row.title.to_owned()]);
    }
    print(out, table.draw())?;
    Ok(0)
}

/// Explains one.
pub(super) fn show(id: &str, format: AnswerFormat, out: &mut impl Write) -> Result<u8, Failure> {
    let rules = standard_rules();
    let Some(rule) = rules.iter().find(|rule| rule.kind.name() == id) else {
        let ids: Vec<&str> = rules.iter().map(|rule| rule.kind.name()).collect();
        return Err(Failure::usage(format!("no standard rule {id:?}; there are {}", ids.join(", "))));
    };
    let Row { id, severity, title, rationale, condition, remedy } = row(rule);
    if format == AnswerFormat::Json {
        print_json(out, &row(rule))?;
        return Ok(0);
    }
    print(
        out,
        format!(
            "{id}, {severity} at most\n says     {title}\n why      {rationale}\n when     {condition}\n to do    {remedy}\n \
             to leave out  in a contract:  [standard.{id}] enabled = false, or [[standard.{id}.except]] with a reason\n"
        ),
    )?;
    Ok(0)
}
