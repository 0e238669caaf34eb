//! `portolan baseline`: on a file, or at the running daemon.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use portolan_exporter::{client, escape};
use portolan_flowtable::Timestamp;
use portolan_flowtable::units::grouped;
use portolan_policy::baseline::{
    Baseline, Enough, Evidence, Origin, Profile, ProfileKey, ReleaseDiff, Stage, percent,
};

use crate::ask::print;
use crate::cli::judge::{BaselineArgs, BaselineCommand, WhichArgs};
use crate::error::Failure;
use crate::keep;
use crate::live::clock;
use crate::orders::{self, Asked};
use crate::report::{Align, Table};

/// Does what is asked with a baseline.
///
/// # Errors
///
/// Returns what is unknown or wrong, or that there is no daemon.
pub fn baseline(args: &BaselineArgs, out: &mut impl Write) -> Result<(), Failure> {
    match &args.command {
        BaselineCommand::Show { service, which } => {
            let text = match &which.file {
                Some(file) => show(&from_file(file)?, service.as_deref())?,
                // The daemon knows what is enough for it.
                None => {
                    order(&which.server, "baseline/show", &[("service", service.as_deref().unwrap_or(""))])?
                }
            };
            print(out, crate::fit_for_a_terminal(&text))
        }
        BaselineCommand::Diff { first, second, which } => {
            let baseline = read(which)?;
            print(out, diff(&baseline, first, second)?)
        }
        BaselineCommand::Merge { files, output } => {
            let mut merged = Baseline::new(Enough::default());
            for file in files {
                if !file.exists() {
                    return Err(Failure::error(format!("{}: there is no such file", file.display())));
                }
                merged.merge(keep::baseline(file, Enough::default())?);
            }
            written(&merged.to_text(), output.as_deref(), out)
        }
        BaselineCommand::Export { output, which } => written(&text(which)?, output.as_deref(), out),
        BaselineCommand::Promote(args) => {
            change(&args.which, "promote", &args.service, args.edge.as_deref().unwrap_or(""), "", out)
        }
        BaselineCommand::Forget(args) => {
            change(&args.which, "forget", &args.service, args.edge.as_deref().unwrap_or(""), "", out)
        }
        BaselineCommand::Forbid(args) => {
            change(&args.which, "forbid", &args.service, &args.edge, &args.reason, out)
        }
        BaselineCommand::Permit(args) => {
            change(&args.which, "permit", &args.service, &args.edge, &args.reason, out)
        }
        BaselineCommand::Freeze(args) => change(&args.which, "freeze", &args.service, "", "", out),
        BaselineCommand::Thaw(args) => change(&args.which, "thaw", &args.service, "", "", out),
    }
}

/// Gives an order to the daemon at `server`, a socket.
///
/// # Errors
///
/// Returns that there is none, or why it refuses.
pub(crate) fn order(server: &str, what: &str, with: &[(&str, &str)]) -> Result<String, Failure> {
    let address: client::Server =
        server.parse().map_err(|error: client::UnknownServer| Failure::usage(error.to_string()))?;
    if !matches!(address, client::Server::Socket(_)) {
        return Err(Failure::usage(format!(
            "{server}: what changes something is asked by the daemon's socket alone: --server /run/portolan/portolan.sock"
        )));
    }
    let answer =
        client::Client::new(address).order(what, with).map_err(|error| Failure::error(error.to_string()))?;
    Ok(answer.body)
}

fn text(which: &WhichArgs) -> Result<String, Failure> {
    match &which.file {
        Some(file) => Ok(from_file(file)?.to_text()),
        None => order(&which.server, "baseline/text", &[]),
    }
}

fn read(which: &WhichArgs) -> Result<Baseline, Failure> {
    match &which.file {
        Some(file) => from_file(file),
        None => Baseline::parse(&text(which)?, &which.server, Enough::default())
            .map_err(|error| Failure::error(error.to_string())),
    }
}

fn from_file(file: &Path) -> Result<Baseline, Failure> {
    if !file.exists() {
        return Err(Failure::error(format!("{}: there is no such file", file.display())));
    }
    keep::baseline(file, Enough::default())
}

fn written(text: &str, output: Option<&Path>, out: &mut impl Write) -> Result<(), Failure> {
    match output {
        Some(path) => keep::write(path, text),
        None => print(out, text),
    }
}

fn change(
    which: &WhichArgs,
    what: &str,
    service: &str,
    edge: &str,
    reason: &str,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let said = match &which.file {
        Some(file) => {
            let mut baseline = from_file(file)?;
            let by = format!("uid {}", rustix::process::getuid().as_raw());
            let asked = Asked { service, edge, reason, by: &by };
            let said = orders::act(&mut baseline, what, &asked, clock()).map_err(Failure::error)?;
            keep::write(file, &baseline.to_text())?;
            said
        }
        None => {
            let with = [("service", service), ("edge", edge), ("reason", reason)];
            order(&which.server, &format!("baseline/{what}"), &with)?
        }
    };
    print(out, crate::fit_for_a_terminal(&said))
}

/// Shows every service in a line, or one of them whole.
///
/// # Errors
///
/// Returns that it is unknown.
pub(crate) fn show(baseline: &Baseline, service: Option<&str>) -> Result<String, Failure> {
    let Some(named) = service else {
        let all: Vec<_> = baseline.profiles().iter().collect();
        return Ok(if all.is_empty() {
            "nothing was learned yet\n".to_owned()
        } else {
            lines(baseline, &all)
        });
    };
    let keys = baseline.named(named).map_err(|error| Failure::error(error.to_string()))?;
    let mut text = String::new();
    for key in keys {
        let Some(profile) = baseline.profiles().get(&key) else { continue };
        text.push_str(&lines(baseline, &[(&key, profile)]));
        text.push_str(&whole(profile, baseline.enough()));
    }
    Ok(text)
}

/// Writes `shop/db  db:16  learning  3 learned, 1 candidate, 0 forbidden; next edge new: at most 1.2 %, of 412 drawn`, a
/// line each.
fn lines(baseline: &Baseline, profiles: &[(&ProfileKey, &Profile)]) -> String {
    let mut table = Table::new(&[("", Align::Left); 4]);
    for (key, profile) in profiles {
        let row = crate::engine::baseline_row(key, profile, Vec::new());
        let plural = if row.candidates == 1 { "" } else { "s" };
        table.row(vec![
            escape::terminal(&row.service).into_owned(),
            escape::terminal(&baseline.image_title(key, profile)).into_owned(),
            row.stage,
            format!(
                "{} learned, {} candidate{plural}, {} forbidden; next edge new: at most {}, of {} drawn",
                grouped(row.learned),
                grouped(row.candidates),
                grouped(row.forbidden),
                percent(row.novelty),
                grouped(row.draws),
            ),
        ]);
    }
    table.draw_flush()
}

/// Writes a profile's edges and what is missing.
fn whole(profile: &Profile, enough: &Enough) -> String {
    let mut table = Table::new(&[("", Align::Left); 3]);
    for (edge, evidence) in &profile.edges {
        let state = if evidence.is_learned { "learned" } else { "candidate" };
        let edge = escape::terminal(&edge.to_string()).into_owned();
        table.row(vec![format!("  {state}"), edge, seen(evidence)]);
    }
    for (edge, forbidden) in &profile.forbidden {
        let why = format!("{:.10} by {}: {}", forbidden.at.to_string(), forbidden.by, forbidden.reason);
        let edge = escape::terminal(&edge.to_string()).into_owned();
        table.row(vec!["  forbidden".to_owned(), edge, escape::terminal(&why).into_owned()]);
    }
    let mut text = table.draw_flush();
    if profile.stage == Stage::Learning {
        let missing = profile.missing(profile.until, enough);
        if missing.is_empty() {
            text.push_str("  enough to be promoted\n");
        }
        for missing in missing {
            let _ = writeln!(text, "  missing    {}", escape::terminal(&missing.to_string()));
        }
    }
    text
}

fn seen(evidence: &Evidence) -> String {
    if evidence.draws == 0 {
        return "never seen; somebody said so".to_owned();
    }
    let origin = match evidence.origin {
        Origin::Seen | Origin::Confirmed => "",
        Origin::Inherited => ", with an image before alone",
        Origin::Release => ", new with this image",
        Origin::Person => ", added by hand",
    };
    let windows = if evidence.draws == 1 { "window" } else { "windows" };
    format!(
        "{} {windows}, {} to {}{origin}",
        grouped(evidence.draws),
        day(evidence.first_at),
        day(evidence.last_at)
    )
}

/// Writes `2026-11-20 14:02`.
fn day(at: Timestamp) -> String {
    at.to_string().get(..16).unwrap_or_default().replace('T', " ")
}

fn diff(baseline: &Baseline, first: &str, second: &str) -> Result<String, Failure> {
    let failed = |error: portolan_policy::baseline::UnknownProfile| Failure::error(error.to_string());
    let (_, before) = baseline.profile(first).map_err(failed)?;
    let (key, after) = baseline.profile(second).map_err(failed)?;
    let difference = ReleaseDiff::between(before, after);
    let mut table = Table::new(&[("", Align::Left); 2]);
    for (edge, evidence) in &difference.added {
        table.row(vec![format!("+ {}", escape::terminal(&edge.to_string())), seen(evidence)]);
    }
    // Two builds of one tag are told apart, however they were asked for.
    let image = format!("{}@{}", key.service, baseline.image_title(key, after));
    for edge in difference.missing.keys() {
        let edge = format!("- {}", escape::terminal(&edge.to_string()));
        table.row(vec![edge, format!("not seen with {}", escape::terminal(&image))]);
    }
    let mut text = table.draw_flush();
    if difference.is_empty() {
        let _ = writeln!(text, "no difference; {} edges of both", grouped(difference.kept as u64));
    }
    Ok(text)
}
