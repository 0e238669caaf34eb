//! `portolan rules`: the catalogue of standard rules.

use std::io::Write;

use portolan_flowtable::units::grouped;
use portolan_policy::{FindingKind, StandardRule, standard_rules};
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
    thresholds: Vec<ThresholdRow>,
}

/// A number a rule goes by: what it is called and means, what holds where nobody says otherwise, and its bounds.
#[derive(Serialize)]
struct ThresholdRow {
    name: &'static str,
    means: &'static str,
    default: u64,
    least: u64,
    most: u64,
}

/// Says that there is no such rule.
pub(super) fn unknown(id: &str, ids: &[&str]) -> Failure {
    Failure::usage(format!("no standard rule {id:?}; there are {}", ids.join(", ")))
}

fn row(rule: &StandardRule) -> Row<'static> {
    Row {
        id: rule.kind.name(),
        severity: rule.severity.name(),
        title: rule.title,
        rationale: rule.rationale,
        condition: rule.condition,
        remedy: rule.remedy,
        thresholds: rule
            .kind
            .thresholds()
            .iter()
            .map(|it| ThresholdRow {
                name: it.name,
                means: it.means,
                default: it.default,
                least: it.least,
                most: it.most,
            })
            .collect(),
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
    let Some(kind) = FindingKind::ALL.into_iter().find(|kind| kind.name() == id) else {
        return Err(unknown(id, &FindingKind::ALL.map(FindingKind::name)));
    };
    let rule = row(&kind.explained());
    if format == AnswerFormat::Json {
        print_json(out, &rule)?;
        return Ok(0);
    }
    let Row { id, severity, title, rationale, condition, remedy, thresholds } = rule;
    let thresholds: String = thresholds
        .iter()
        .map(|it| {
            let (name, means) = (it.name, it.means);
            format!(
                "                 {name} = {}  {means}, from {} to {}\n",
                it.default,
                grouped(it.least),
                grouped(it.most)
            )
        })
        .collect();
    let ports = if kind.names_ports() {
        "                 ports = [...]  login ports it speaks of, of TCP, in place of those that are known\n"
    } else {
        ""
    };
    let thresholds = format!("{thresholds}{ports}");
    let thresholds = if thresholds.is_empty() {
        String::new()
    } else {
        format!(" to set   in a contract:  [standard.{id}]\n{thresholds}")
    };
    print(
        out,
        format!(
            "{id}, {severity} at most\n says     {title}\n why      {rationale}\n when     {condition}\n to do    {remedy}\n{thresholds} \
             to leave out  in a contract:  [standard.{id}] enabled = false, or [[standard.{id}.except]] with a reason\n"
        ),
    )?;
    Ok(0)
}
