//! `portolan findings`, and what people say about them: `ack`, `suppress`, `reopen`.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use portolan_exporter::{Publication, escape};
use portolan_flowtable::Timestamp;
use portolan_policy::findings::{Entry, Standing};
use portolan_policy::{Finding, Severity};
use serde::Serialize;

use crate::ask::{print, print_json, publication_of};
use crate::baseline::order;
use crate::cli::PrintArgs;
use crate::cli::judge::{
    AckArgs, FindingsArgs, FindingsForm, FindingsFormat, FindingsPrintArgs, Since, SuppressArgs,
};
use crate::error::Failure;
use crate::judge::pipeline::{Answer, PipelineForm};
use crate::live::clock;
use crate::report::{self, Align, Table};

/// Pause between two looks of `--watch`.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// Lists findings; returns 3 where one of them is as grave as is asked for.
///
/// # Errors
///
/// Returns why there is no answer, or which filter makes no sense.
pub fn findings(args: &FindingsArgs, out: &mut impl Write) -> Result<u8, Failure> {
    let filter = Filter::of(args)?;
    let form = form(args);
    if matches!(form, Form::Pipeline(_)) && (args.watch || args.by_service || args.handled) {
        return Err(Failure::usage(
            "--format sarif and junit list open findings once: leave --watch, --by-service and --handled out",
        ));
    }
    if args.watch {
        return watch(args, &filter, out).map(|()| 0);
    }
    let mut publication = publication_of(&args.asked)?;
    filter.apply(&mut publication);
    list(args, form, &publication, out)?;
    Ok(crate::answer_code(&publication, args.fail_on, false))
}

fn list(
    args: &FindingsArgs,
    form: Form,
    publication: &Publication,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let findings = &publication.assessment.findings;
    if args.by_service {
        return print(out, by_service(findings));
    }
    match form {
        Form::Table => {
            let FindingsPrintArgs { all, local, format: _ } = args.print;
            let style = crate::style_of(&PrintArgs { all, local, ..PrintArgs::default() });
            print(out, report::findings(publication, style))?;
        }
        Form::Document if args.handled => {
            return print_json(out, &WithHandled { findings, handled: &publication.handled });
        }
        Form::Document => print_json(out, findings)?,
        Form::Lines => findings.iter().try_for_each(|finding| print_json(out, finding))?,
        Form::Compact => findings.iter().try_for_each(|finding| print(out, compact(finding, "")))?,
        Form::Pipeline(form) => Answer::of_findings(publication).write(form, out)?,
    }
    if args.handled { handled(publication, form, out) } else { Ok(()) }
}

/// `portolan ack`.
///
/// # Errors
///
/// Returns that there is no daemon, or why it refuses.
pub fn acknowledge(args: &AckArgs, what: &str, out: &mut impl Write) -> Result<(), Failure> {
    args.findings.iter().try_for_each(|id| {
        let said = order(&args.server, &format!("findings/{what}"), &[("id", id), ("reason", &args.reason)])?;
        print(out, crate::fit_for_a_terminal(&said))
    })
}

/// `portolan suppress`.
///
/// # Errors
///
/// Returns that there is no daemon, or why it refuses.
pub fn suppress(args: &SuppressArgs, out: &mut impl Write) -> Result<(), Failure> {
    let span = i64::try_from(args.span.as_nanos()).unwrap_or(i64::MAX);
    let until = clock().plus(span).to_string();
    args.findings.iter().try_for_each(|id| {
        let with = [("id", id.as_str()), ("reason", &args.reason), ("until", &until)];
        let said = order(&args.server, "findings/suppress", &with)?;
        print(out, crate::fit_for_a_terminal(&said))
    })
}

/// Findings that are open, and those that somebody acknowledged or suppressed, as one document.
#[derive(Serialize)]
struct WithHandled<'a> {
    findings: &'a [Finding],
    handled: &'a [Entry],
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Table,
    Document,
    Lines,
    Compact,
    Pipeline(PipelineForm),
}

fn form(args: &FindingsArgs) -> Form {
    match (args.output, args.print.format) {
        (Some(FindingsForm::Table), _) | (None, FindingsFormat::Table) => Form::Table,
        (Some(FindingsForm::Json), _) | (None, FindingsFormat::Ndjson) => Form::Lines,
        (Some(FindingsForm::Compact), _) => Form::Compact,
        (None, FindingsFormat::Json) => Form::Document,
        (None, FindingsFormat::Sarif) => Form::Pipeline(PipelineForm::Sarif),
        (None, FindingsFormat::Junit) => Form::Pipeline(PipelineForm::Junit),
    }
}

/// Which findings are asked for. Of one filter any value may fit, of several filters all must.
#[derive(Debug)]
struct Filter<'a> {
    args: &'a FindingsArgs,
    kinds: Vec<String>,
    severity: Option<Severity>,
}

impl<'a> Filter<'a> {
    fn of(args: &'a FindingsArgs) -> Result<Self, Failure> {
        let known = portolan_exporter::finding_kinds();
        let mut kinds = Vec::new();
        for kind in &args.kind {
            let written = kind.replace(['-', ' '], "_").to_ascii_lowercase();
            if !known.contains(&written.as_str()) {
                return Err(Failure::usage(format!("--kind {kind}: one of {}", known.join(", "))));
            }
            kinds.push(written);
        }
        for port in &args.port {
            let number = port.split('/').next().unwrap_or_default();
            if number.parse::<u16>().is_err() {
                return Err(Failure::usage(format!("--port {port}: write 5432 or 5432/tcp")));
            }
        }
        Ok(Self { args, kinds, severity: args.severity.map(Severity::from) })
    }

    fn apply(&self, publication: &mut Publication) {
        let now = publication.assessment.snapshot.at;
        publication.assessment.findings.retain(|finding| self.fits(finding, now));
        publication.handled.retain(|entry| self.fits(&entry.finding, now));
    }

    fn fits(&self, finding: &Finding, now: Timestamp) -> bool {
        let args = self.args;
        let is_service = |name: &String| {
            [&finding.initiator, &finding.responder]
                .into_iter()
                .any(|end| end == name || end.rsplit('/').next() == Some(name.as_str()))
        };
        let is_port = |port: &String| {
            finding.port.is_some_and(|seen| {
                seen.to_string() == *port || seen.port.is_some_and(|number| number.to_string() == *port)
            })
        };
        let is_kind = |kind: &String| finding.kind.name() == kind;
        let fits = (args.service.is_empty() || args.service.iter().any(is_service))
            && (args.port.is_empty() || args.port.iter().any(is_port))
            && (self.kinds.is_empty() || self.kinds.iter().any(is_kind));
        let since = match args.since {
            Some(Since::At(at)) => at,
            Some(Since::Ago(span)) => now.plus(-i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)),
            None => Timestamp(i64::MIN),
        };
        fits != args.not
            && self.severity.is_none_or(|least| finding.severity >= least)
            && finding.last_at >= since
    }
}

/// Writes `2026-11-20T14:02:11Z high unexpected_peer F-7c21e0 shop/reports -> shop/db:5432/tcp answered: ...`.
fn compact(finding: &Finding, state: &str) -> String {
    let port = finding.port.map_or(String::new(), |port| format!(":{port}"));
    let text = format!(
        "{:.19}Z {} {}{state} F-{} {} -> {}{port} {}: {}",
        finding.first_at.to_string(),
        finding.severity.name(),
        finding.kind.name(),
        finding.id.get(..6).unwrap_or(&finding.id),
        finding.initiator,
        finding.responder,
        finding.reached,
        finding.summary,
    );
    format!("{}\n", escape::terminal(&text))
}

/// Writes one line a service: whoever is called, or forges or scans.
fn by_service(findings: &[Finding]) -> String {
    let mut services: BTreeMap<&str, BTreeMap<Severity, BTreeMap<&str, u64>>> = BTreeMap::new();
    for finding in findings {
        let service = if finding.port.is_some() { &finding.responder } else { &finding.initiator };
        let severities = services.entry(service).or_default();
        *severities.entry(finding.severity).or_default().entry(finding.kind.words()).or_default() += 1;
    }
    if services.is_empty() {
        return "no findings\n".to_owned();
    }
    let mut table = Table::new(&[("", Align::Left); 2]);
    for (service, severities) in services {
        let words: Vec<String> = severities
            .iter()
            .rev()
            .flat_map(|(severity, kinds)| {
                kinds.iter().map(move |(kind, count)| format!("{count} {} {kind}", severity.name()))
            })
            .collect();
        table.row(vec![escape::terminal(service).into_owned(), words.join(", ")]);
    }
    table.draw_flush()
}

fn handled(publication: &Publication, form: Form, out: &mut impl Write) -> Result<(), Failure> {
    for entry in &publication.handled {
        match form {
            Form::Document | Form::Lines => print_json(out, entry)?,
            Form::Table | Form::Compact | Form::Pipeline(_) => {
                let (word, note) = match &entry.standing {
                    Standing::Open => continue,
                    Standing::Acknowledged { note } => (" acknowledged".to_owned(), note),
                    Standing::Suppressed { note } => {
                        let until = note.until.map_or(String::new(), |until| until.to_string());
                        (format!(" suppressed until {until:.19}Z"), note)
                    }
                };
                let line = compact(&entry.finding, &word);
                let note = format!("  {}: {}", note.by, note.reason);
                print(out, format!("{line}{}\n", escape::terminal(&note)))?;
            }
        }
    }
    Ok(())
}

/// Looks again and again, and prints what is new: raised, updated (graver), gone.
fn watch(args: &FindingsArgs, filter: &Filter<'_>, out: &mut impl Write) -> Result<(), Failure> {
    if args.asked.from.is_some() {
        return Err(Failure::usage("--watch asks the daemon again and again: leave --from out"));
    }
    let mut known: BTreeMap<String, Finding> = BTreeMap::new();
    loop {
        let mut publication = publication_of(&args.asked)?;
        filter.apply(&mut publication);
        let mut before = std::mem::take(&mut known);
        for finding in publication.assessment.findings {
            let state = match before.remove(&finding.id) {
                None => Some(""),
                Some(earlier) if earlier.severity < finding.severity => Some(" updated"),
                Some(_) => None,
            };
            if let Some(state) = state {
                told(args, &finding, state, out)?;
            }
            known.insert(finding.id.clone(), finding);
        }
        before.values().try_for_each(|finding| told(args, finding, " closed", out))?;
        std::thread::sleep(WATCH_PAUSE);
    }
}

fn told(args: &FindingsArgs, finding: &Finding, state: &str, out: &mut impl Write) -> Result<(), Failure> {
    match form(args) {
        Form::Document | Form::Lines => print_json(out, finding),
        Form::Table | Form::Compact | Form::Pipeline(_) => print(out, compact(finding, state)),
    }
}
