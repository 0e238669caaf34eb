//! `portolan graph`: the graph in all its forms, at any time that was kept, and what differs between two.

mod merge;

use std::io::Write;
use std::path::Path;

use portolan_exporter::{Publication, escape, snapshots};
use portolan_flowtable::Timestamp;
use portolan_graphs::{Boxes, Graph, Group, Map};

use crate::ask::{from_file, of_daemon, print, print_json, publication_of};
use crate::cli::judge::{Since, parse_since};
use crate::cli::{AskedArgs, DiffForm, GraphArgs, GraphCommand, GraphDiffArgs, GraphFormat, GroupBy};
use crate::error::Failure;
use crate::live::clock;
use crate::select::SelectArgs;

/// What stands for the present.
const NOW: &str = "now";
/// What `diff --exit-code` ends with where something differs.
const DIFFERS: u8 = 3;

/// Returns whether neither a daemon is asked nor anything else than files.
pub fn reads_files_alone(args: &GraphArgs) -> bool {
    match &args.command {
        Some(GraphCommand::Diff(diff)) => {
            diff.asked.from.is_some()
                || [&diff.before, &diff.after].into_iter().all(|side| Path::new(side).exists())
        }
        Some(GraphCommand::Merge(_)) => true,
        None => args.asked.from.is_some(),
    }
}

/// Prints the graph, or what differs.
///
/// # Errors
///
/// Returns why there is no answer.
pub fn graph(args: &GraphArgs, out: &mut impl Write) -> Result<u8, Failure> {
    match &args.command {
        Some(GraphCommand::Diff(diff)) => return difference(diff, out),
        Some(GraphCommand::Merge(merge)) => return merge::merge(merge, out).map(|()| 0),
        None => {}
    }
    let group = group_of(args.group);
    check_form(args.format, group, &args.select)?;
    let publication = match args.at {
        Some(since) => at(&args.asked, instant(since))?,
        None => latest(&args.asked)?,
    };
    let mut graph = Graph::draw(&publication.assessment, group);
    args.select.graph(&mut graph);
    let map = |graph| Map::of(graph, &publication.assessment, Boxes::Project);
    let unseen = publication.vitals.containers_unseen();
    let text = match args.format {
        GraphFormat::Json => escape::json(&graph.to_json().map_err(unwritten)?).into_owned(),
        GraphFormat::Dot => graph.to_dot(),
        GraphFormat::Mermaid => graph.to_mermaid(),
        GraphFormat::Graphml => graph.to_graphml(),
        GraphFormat::Svg => map(graph).to_svg(unseen),
        GraphFormat::Cytoscape => escape::json(&map(graph).to_cytoscape().map_err(unwritten)?).into_owned(),
        GraphFormat::Html => portolan_exporter::http::self_contained(&publication).map_err(unwritten)?,
    };
    print(out, &text).map(|()| 0)
}

fn unwritten(error: serde_json::Error) -> Failure {
    Failure::error(format!("cannot write the graph as JSON: {error}"))
}

/// Refuses what a form cannot show.
fn check_form(format: GraphFormat, group: Group, select: &SelectArgs) -> Result<(), Failure> {
    let is_map = match format {
        GraphFormat::Html | GraphFormat::Svg | GraphFormat::Cytoscape => true,
        GraphFormat::Json | GraphFormat::Dot | GraphFormat::Mermaid | GraphFormat::Graphml => false,
    };
    if is_map && matches!(group, Group::Project | Group::Network) {
        return Err(Failure::usage(
            "the map shows services or containers, in boxes by project: leave --group out, or say --group container",
        ));
    }
    select.check()?;
    if format == GraphFormat::Html && !select.is_everything() {
        return Err(Failure::usage(
            "a page holds everything, and filters by itself: leave the filters out, or take --format svg",
        ));
    }
    Ok(())
}

fn difference(args: &GraphDiffArgs, out: &mut impl Write) -> Result<u8, Failure> {
    let group = group_of(args.group);
    let side = |named: &str| -> Result<Graph, Failure> {
        let path = Path::new(named);
        let publication = if named == NOW {
            latest(&args.asked)?
        } else if path.is_dir() {
            newest(path, None)?
        } else if path.exists() {
            from_file(path, &args.asked.knowledge)?
        } else {
            let since = parse_since(named).map_err(|error| {
                Failure::usage(format!("{named:?} is neither a file nor a time: {error}"))
            })?;
            at(&args.asked, instant(since))?
        };
        Ok(Graph::draw(&publication.assessment, group))
    };
    let difference = side(&args.before)?.difference(&side(&args.after)?);
    match args.format {
        DiffForm::Text => print(out, difference.to_text())?,
        DiffForm::Json => print_json(out, &difference)?,
    }
    Ok(if args.exit_code && !difference.is_empty() { DIFFERS } else { 0 })
}

fn group_of(group: GroupBy) -> Group {
    match group {
        GroupBy::Service => Group::Service,
        GroupBy::Container => Group::Container,
        GroupBy::Project => Group::Project,
        GroupBy::Network => Group::Network,
    }
}

fn instant(since: Since) -> Timestamp {
    match since {
        Since::At(at) => at,
        Since::Ago(span) => clock().plus(-i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)),
    }
}

fn latest(asked: &AskedArgs) -> Result<Publication, Failure> {
    match &asked.from {
        Some(folder) if folder.is_dir() => newest(folder, None),
        Some(_) | None => publication_of(asked),
    }
}

/// Returns how it was at a time: by the daemon's snapshots, or by those of a folder.
fn at(asked: &AskedArgs, at: Timestamp) -> Result<Publication, Failure> {
    match &asked.from {
        Some(folder) if folder.is_dir() => newest(folder, Some(at)),
        Some(file) => Err(Failure::usage(format!(
            "{}: holds one time alone; name the folder of snapshots, or leave --from out to ask the daemon",
            file.display()
        ))),
        None => of_daemon(asked, &format!("/api/v1/publication?at={at}")),
    }
}

fn newest(folder: &Path, at: Option<Timestamp>) -> Result<Publication, Failure> {
    let found = snapshots::find(folder, at).map_err(|error| Failure::cannot_read(folder, &error))?;
    let Some(path) = found else {
        let when = at.map_or(String::new(), |at| format!(" of {at} or before"));
        return Err(Failure::error(format!("{}: holds no snapshot{when}", folder.display())));
    };
    snapshots::read(&path).map_err(|error| Failure::cannot_read(&path, &error))
}
