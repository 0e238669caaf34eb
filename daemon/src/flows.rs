//! `portolan flows`: which flows there were, one by one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use portolan_exporter::{FlowEnd, FlowRecord, Publication, escape};

use crate::ask::{print, print_json, publication_of};
use crate::cli::{FlowsArgs, FlowsForm, Format};
use crate::error::Failure;
use crate::report;
use crate::select::outcome;

/// Pause between two looks of `--follow`.
const FOLLOW_PAUSE: Duration = Duration::from_secs(1);

/// Lists flows.
///
/// # Errors
///
/// Returns why there is no answer, or which filter makes no sense.
pub fn flows(args: &FlowsArgs, out: &mut impl Write) -> Result<(), Failure> {
    args.select.check()?;
    if args.follow {
        return follow(args, out);
    }
    let publication = asked_for(args)?;
    match form(args) {
        Form::Table => print(out, report::flows(&publication.flows, crate::style_of(&args.print))),
        Form::Document => print_json(out, &publication.flows),
        Form::Lines | Form::Compact | Form::Dict => {
            publication.flows.iter().try_for_each(|flow| told(args, flow, out))
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Table,
    Document,
    Lines,
    Compact,
    Dict,
}

fn form(args: &FlowsArgs) -> Form {
    match (args.output, args.print.format) {
        (Some(FlowsForm::Table), _) | (None, Format::Table) => Form::Table,
        (Some(FlowsForm::Json), _) | (None, Format::Ndjson) => Form::Lines,
        (Some(FlowsForm::Compact), _) => Form::Compact,
        (Some(FlowsForm::Dict), _) => Form::Dict,
        (None, Format::Json) => Form::Document,
    }
}

fn asked_for(args: &FlowsArgs) -> Result<Publication, Failure> {
    let mut publication = publication_of(&args.asked)?;
    args.select.flows(&mut publication);
    if let Some(last) = args.last {
        publication.flows.sort_by_key(|flow| (flow.last_at, flow.flow_id));
        publication.flows.drain(..publication.flows.len().saturating_sub(last));
    }
    Ok(publication)
}

/// Looks again and again, and prints each flow when it is seen first, and again when it has ended. `--last` is about those
/// there are at the beginning.
fn follow(args: &FlowsArgs, out: &mut impl Write) -> Result<(), Failure> {
    if args.asked.from.is_some() {
        return Err(Failure::usage("--follow asks the daemon again and again: leave --from out"));
    }
    let mut known: BTreeMap<u64, bool> = BTreeMap::new();
    let mut is_first = true;
    loop {
        let publication = asked_for(&FlowsArgs { last: args.last.filter(|_| is_first), ..args.clone() })?;
        let shown_from = publication.flows.iter().map(|flow| flow.flow_id).min();
        let mut there = BTreeMap::new();
        for flow in &publication.flows {
            let has_ended = flow.ended.is_some();
            if known.get(&flow.flow_id).is_none_or(|ended| *ended != has_ended) {
                told(args, flow, out)?;
            }
            there.insert(flow.flow_id, has_ended);
        }
        if std::mem::take(&mut is_first) && args.last.is_some() {
            // What --last left out at the beginning is not told later.
            let mut all = publication_of(&args.asked)?;
            args.select.flows(&mut all);
            let before = all.flows.iter().filter(|flow| shown_from.is_none_or(|from| flow.flow_id < from));
            there.extend(before.map(|flow| (flow.flow_id, flow.ended.is_some())));
        }
        known = there;
        std::thread::sleep(FOLLOW_PAUSE);
    }
}

fn told(args: &FlowsArgs, flow: &FlowRecord, out: &mut impl Write) -> Result<(), Failure> {
    match form(args) {
        Form::Document | Form::Lines => print_json(out, flow),
        Form::Table | Form::Compact => print(out, compact(flow, args.print.local)),
        Form::Dict => print(out, dict(flow)),
    }
}

/// Writes `14:02:11 shop/web-1 172.20.0.2:50001 -> shop-cart-1 172.20.0.3:9229/tcp answered 412 B 1.0 KiB S1`.
fn compact(flow: &FlowRecord, is_local: bool) -> String {
    let text = format!(
        "{} {} -> {}/{} {} {} {} {}",
        report::time_of_day(flow.first_at, is_local),
        end(&flow.src),
        end(&flow.dest),
        flow.proto,
        outcome(flow),
        report::bytes(flow.sent.bytes),
        report::bytes(flow.received.bytes),
        flow.conn_state.word(),
    );
    format!("{}\n", escape::terminal(&text))
}

/// Name and address: `shop/web 172.20.0.2:50001`.
fn end(end: &FlowEnd) -> String {
    let place = match (end.ip, end.port) {
        (ip, None) => ip.to_string(),
        (std::net::IpAddr::V4(ip), Some(port)) => format!("{ip}:{port}"),
        (std::net::IpAddr::V6(ip), Some(port)) => format!("[{ip}]:{port}"),
    };
    if end.service == end.ip.to_string().as_str() { place } else { format!("{} {place}", end.service) }
}

/// Writes one line a field, by its name in JSON, and an empty line.
fn dict(flow: &FlowRecord) -> String {
    let mut text = String::new();
    // A record is an object; were it none, there would be nothing to write.
    if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(flow) {
        write_fields(&mut text, "", &fields);
    }
    text.push('\n');
    text
}

fn write_fields(text: &mut String, before: &str, fields: &serde_json::Map<String, serde_json::Value>) {
    for (name, value) in fields {
        match value {
            serde_json::Value::Object(inner) => write_fields(text, &format!("{before}{name}."), inner),
            serde_json::Value::String(value) => {
                let _ = writeln!(text, "{:>20}: {}", format!("{before}{name}"), escape::terminal(value));
            }
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::Array(_) => {
                let _ = writeln!(
                    text,
                    "{:>20}: {}",
                    format!("{before}{name}"),
                    escape::terminal(&value.to_string())
                );
            }
        }
    }
}
