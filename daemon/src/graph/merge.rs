//! `portolan graph merge`: the graphs of several hosts as one.

use std::io::Write;
use std::path::Path;

use portolan_exporter::{Publication, escape};
use portolan_graphs::{Boxes, Fleet, Group, HostView, Merged};

use super::{check_form, group_of, newest, unwritten};
use crate::ask::print;
use crate::cli::{GraphFormat, GraphMergeArgs};
use crate::error::Failure;
use crate::{picture, say};

/// Most notes about what stays apart that are said; `--format json` has more.
const SAID_MAX: usize = 20;

/// Prints the graph of several hosts.
///
/// # Errors
///
/// Returns which file cannot be taken, and why.
pub(super) fn merge(args: &GraphMergeArgs, out: &mut impl Write) -> Result<(), Failure> {
    let group = group_of(args.group);
    check_form(args.format, group, &args.select)?;
    let mut fleet = Fleet::default();
    let (mut containers, mut observable) = (0_u64, 0_u64);
    for path in &args.files {
        let publication = read(path)?;
        let vitals = publication.vitals;
        containers = containers.saturating_add(vitals.containers);
        observable = observable.saturating_add(vitals.containers_observable);
        if vitals.host.is_empty() {
            return Err(Failure::error(format!(
                "{}: does not say which host it is of; make it anew with this portolan",
                path.display()
            )));
        }
        let view = HostView {
            host: vitals.host,
            addresses: vitals.host_addresses,
            assessment: publication.assessment,
        };
        fleet = fleet
            .join(Fleet::of(view))
            .map_err(|error| Failure::error(format!("{}: {error}", path.display())))?;
    }
    let merged = fleet.merge();
    let mut graph = merged.graph(group);
    args.select.graph(&mut graph);
    tell(&merged, group);
    let map = |graph| merged.map(graph, Boxes::Project);
    let text = match args.format {
        GraphFormat::Json => escape::json(&merged.to_json(&graph).map_err(unwritten)?).into_owned(),
        GraphFormat::Dot => graph.to_dot(),
        GraphFormat::Mermaid => graph.to_mermaid(),
        GraphFormat::Graphml => graph.to_graphml(),
        GraphFormat::Svg => map(graph).to_svg(containers.saturating_sub(observable)),
        GraphFormat::Cytoscape => escape::json(&map(graph).to_cytoscape().map_err(unwritten)?).into_owned(),
        GraphFormat::Html => page(&merged, (containers, observable))?,
    };
    print(out, &text)
}

/// Draws both maps the page chooses from, whatever was asked for.
fn page(merged: &Merged, (containers, observable): (u64, u64)) -> Result<String, Failure> {
    let hosts: Vec<&str> = merged.hosts.iter().map(|host| host.host.as_str()).collect();
    let at = merged.assessment.snapshot.at;
    let mut publication = Publication::empty(&hosts.join(", "), env!("CARGO_PKG_VERSION"), at);
    publication.vitals.containers = containers;
    publication.vitals.containers_observable = observable;
    let maps = [Group::Service, Group::Container]
        .map(|group| merged.map(merged.graph(group), Boxes::Project))
        .into();
    publication.assessment = merged.assessment.clone();
    portolan_exporter::http::self_contained_with(&publication, maps).map_err(unwritten)
}

/// Says what was put together, and what was not.
fn tell(merged: &Merged, group: Group) {
    let hosts: Vec<String> =
        merged.hosts.iter().map(|host| format!("{} at {:.19}Z", host.host, host.at.to_string())).collect();
    let crossings = merged.crossings(group);
    let both = crossings.iter().filter(|crossing| crossing.at_called.is_some()).count();
    say(&format!(
        "portolan: {}: {} from host to host, {both} seen by both; {} kept apart",
        hosts.join(", "),
        match crossings.len() {
            1 => "1 call".to_owned(),
            calls => format!("{calls} calls"),
        },
        merged.apart().len()
    ));
    for host in merged.hosts.iter().filter(|host| host.addresses.is_empty()) {
        say(&format!(
            "portolan: {} does not say its addresses: nothing is joined with it; make its picture anew with this portolan, \
             for a capture name them in a roster:  [[host]] addresses = [\"10.0.0.3\"]",
            host.host
        ));
    }
    let (latest, earliest) =
        (merged.hosts.iter().max_by_key(|host| host.from), merged.hosts.iter().min_by_key(|host| host.at));
    if let (Some(latest), Some(earliest)) = (latest, earliest)
        && latest.from > earliest.at
    {
        say(&format!(
            "portolan: {} ends before {} begins: no call can have been seen by both",
            earliest.host, latest.host
        ));
    }
    for apart in merged.apart().iter().take(SAID_MAX) {
        say(&format!("portolan: kept apart: {apart}"));
    }
    let more = merged.apart().len().saturating_sub(SAID_MAX);
    if more > 0 {
        say(&format!("portolan: kept apart: {more} more, in --format json"));
    }
}

/// Reads one host's picture; `-` is standard input.
fn read(path: &Path) -> Result<Publication, Failure> {
    let (path, read) = if path == Path::new("-") {
        let path = Path::new("standard input");
        (path, picture::read_from(std::io::stdin().lock(), path))
    } else if path.is_dir() {
        return newest(path, None);
    } else {
        (path, picture::read(path))
    };
    read?.ok_or_else(|| picture::none(path))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use portolan_exporter::snapshots;
    use portolan_flowtable::Timestamp;

    use super::*;
    use crate::cli::GroupBy;
    use crate::result;

    fn publication(host: &str, seconds: i64) -> Publication {
        let mut publication = Publication::empty(host, "0.1.0", Timestamp(seconds * Timestamp::SECOND));
        publication.vitals.host_addresses = vec!["10.0.0.3".parse().unwrap()];
        publication
    }

    fn printed(files: Vec<PathBuf>, format: GraphFormat) -> Result<String, Failure> {
        let mut out = Vec::new();
        merge(&GraphMergeArgs { files, format, ..GraphMergeArgs::default() }, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn results_snapshots_folders_and_publications_are_taken_in_every_form() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str| folder.path().join(name);
        result::write(&of("web-03.result"), &publication("web-03", 7)).unwrap();
        std::fs::write(of("db-01.json"), serde_json::to_string(&publication("db-01", 8)).unwrap()).unwrap();
        let options = snapshots::SnapshotOptions {
            directory: of("kept"),
            every: std::time::Duration::from_secs(1),
            keep: 9,
            max_bytes: u64::MAX,
        };
        let kept = snapshots::Snapshots::open(options).unwrap();
        for seconds in [3, 9] {
            kept.write(&publication("cart-02", seconds)).unwrap();
        }
        let newest = snapshots::find(&of("kept"), None).unwrap().unwrap();
        std::fs::copy(newest, of("by-another-name")).unwrap();
        let files =
            vec![of("web-03.result"), of("db-01.json"), of("kept"), of("db-01.json"), of("by-another-name")];
        let json = printed(files.clone(), GraphFormat::Json).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let hosts: Vec<_> = json["hosts"].as_array().unwrap().iter().map(|host| &host["host"]).collect();
        assert_eq!(hosts, ["cart-02", "db-01", "web-03"]);
        assert_eq!(json["hosts"][0]["at"], "1970-01-01T00:00:09.000000000Z", "the newest of a folder");
        let mut other = files.clone();
        other.reverse();
        for format in [
            GraphFormat::Json,
            GraphFormat::Dot,
            GraphFormat::Mermaid,
            GraphFormat::Graphml,
            GraphFormat::Svg,
            GraphFormat::Cytoscape,
            GraphFormat::Html,
        ] {
            assert_eq!(printed(files.clone(), format).unwrap(), printed(other.clone(), format).unwrap());
        }
    }

    #[test]
    fn a_page_holds_a_map_of_services_and_one_of_containers_whatever_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web-03.json");
        std::fs::write(&path, serde_json::to_string(&publication("web-03", 7)).unwrap()).unwrap();
        let page = |group| {
            let (files, format) = (vec![path.clone()], GraphFormat::Html);
            let mut out = Vec::new();
            merge(&GraphMergeArgs { files, format, group, ..GraphMergeArgs::default() }, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let asked = page(GroupBy::Container);
        assert_eq!(asked, page(GroupBy::Service));
        let held = asked.split("id=\"held\">").nth(1).unwrap().split("</script>").next().unwrap();
        let held: serde_json::Value = serde_json::from_str(held).unwrap();
        let groups: Vec<_> =
            held["views"].as_array().unwrap().iter().map(|view| &view["map"]["group"]).collect();
        assert_eq!(groups, ["service", "container"]);
    }

    #[test]
    fn what_comes_by_a_pipe_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let text = serde_json::to_string(&publication("web-03", 7)).unwrap();
        let printed = std::thread::scope(|scope| {
            scope.spawn(|| std::fs::write(&pipe, &text).unwrap());
            printed(vec![pipe.clone()], GraphFormat::Json)
        });
        let json: serde_json::Value = serde_json::from_str(&printed.unwrap()).unwrap();
        assert_eq!(json["hosts"][0]["host"], "web-03");
    }

    #[test]
    fn what_cannot_be_taken_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let later = serde_json::to_string(&publication("web-03", 60)).unwrap();
        let strange = later.replace("\"0.1.0\"", "\"0.9.0\"").replace("\"judged\"", "\"judgments\"");
        let nameless = serde_json::to_string(&publication("", 1)).unwrap();
        let one = write("one.json", &serde_json::to_string(&publication("web-03", 7)).unwrap());
        #[rustfmt::skip]
        let cases = [
            (write("graph.json", "{\"schema\":1,\"nodes\":[],\"edges\":[]}"), "graph.json: a graph, which says neither addresses nor published ports"),
            (write("nine.result", "{\"portolan_result\":9}"),                   "nine.result: a result of form 9, this portolan reads form 1"),
            (write("strange.json", &strange),                                   "written by portolan 0.9.0, and this is 0.1.0, which cannot read it"),
            (write("shop.pcap", "not JSON"),                                    "shop.pcap: neither a result, nor a snapshot, nor a publication of a daemon"),
            (write("later.json", &later),                                       "two different pictures of web-03, of 1970-01-01T00:00:07"),
            (write("nameless.json", &nameless),                                 "nameless.json: does not say which host it is of"),
            (folder.path().join("absent.json"),                                 "absent.json: cannot be read"),
        ];
        for (path, expected) in cases {
            let failure = printed(vec![one.clone(), path], GraphFormat::Json).unwrap_err();
            assert!(failure.message.contains(expected), "{expected}: {}", failure.message);
            assert_eq!(failure.code, 1);
        }
    }
}
