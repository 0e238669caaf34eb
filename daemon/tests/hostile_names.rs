//! Names with quotes, line feeds, escape sequences, HTML, bidirectional controls, NUL, of any length and of bytes that
//! are no text, through every output: each is read back by a reader of its own, and says the same.

#![expect(clippy::unwrap_used, reason = "a test may end by panicking")]

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use clap::ValueEnum as _;
use portolan_capture::write::{Captured, NewInterface, PcapngWriter, Section};
use portolan_capture::{FileTap, Frame, LinkType, Polled, Tap};
use portolan_daemon::cli::judge::{FindingsArgs, FindingsForm, FindingsFormat, FindingsPrintArgs};
use portolan_daemon::cli::{
    AskArgs, AskedArgs, FlowsArgs, FlowsForm, Format, GraphArgs, GraphFormat, PrintArgs,
};
use portolan_daemon::journal::{Begin, Entry, FORM, Journal, Row};
use portolan_daemon::{ask, findings, flows, graph, picture, result};
use portolan_exporter::events::{EventLog, EventSource};
use portolan_exporter::{OwnMetrics, Publication};
use portolan_flowtable::{Direction, Limits, Timestamp};
use portolan_graphs::{Graph, Group};
use portolan_identity::{PictureRecord, Roster};
use portolan_policy::{Alert, AlertState};
use serde_json::Value;
use targets::http::Server;
use targets::text::{as_drawn, is_fit_for_a_terminal, is_fit_json, is_hostile};
use targets::{drawings, exposition, named, terminal};

fn loaded() -> Publication {
    named::of(&named::hostile())
}

#[test]
fn tables_and_results_steer_no_terminal_and_results_read_back_equal() {
    terminal::names_survive(&loaded());
    for name in named::hostile() {
        terminal::names_survive(&named::of(&[name]));
    }
}

#[test]
fn every_question_of_the_command_line_answers_with_fit_words() {
    let publication = loaded();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.result");
    result::write(&path, &publication).unwrap_or_else(|failure| panic!("{}", failure.message));
    let read = picture::read(&path).unwrap_or_else(|failure| panic!("{}", failure.message));
    assert_eq!(read.as_ref(), Some(&publication));
    let asked = AskedArgs { from: Some(path), ..AskedArgs::default() };
    type Ask = fn(&AskArgs, &mut Vec<u8>) -> Result<(), portolan_daemon::error::Failure>;
    let questions: [Ask; 3] = [
        |args, out| {
            let (asked, print) = (args.asked.clone(), args.print.clone());
            flows::flows(&FlowsArgs { asked, print, ..FlowsArgs::default() }, out)
        },
        |args, out| {
            let format = match args.print.format {
                Format::Table => FindingsFormat::Table,
                Format::Json => FindingsFormat::Json,
                Format::Ndjson => FindingsFormat::Ndjson,
            };
            let print = FindingsPrintArgs { format, all: true, local: false };
            let asked = args.asked.clone();
            findings::findings(&FindingsArgs { asked, print, ..FindingsArgs::default() }, out).map(drop)
        },
        |args, out| ask::status(args, out),
    ];
    for question in questions {
        for format in [Format::Table, Format::Json, Format::Ndjson] {
            let print = PrintArgs { format, all: true, ..PrintArgs::default() };
            let text = said(|out| question(&AskArgs { asked: asked.clone(), print: print.clone() }, out));
            is_fit_for_a_terminal(&text, false);
            match format {
                Format::Table => {}
                Format::Json | Format::Ndjson => text.lines().for_each(|line| drop(is_fit_json(line))),
            }
        }
    }
    for (output, by_service) in [(Some(FindingsForm::Compact), false), (None, true)] {
        let asked = asked.clone();
        let args = FindingsArgs { asked, output, by_service, handled: true, ..FindingsArgs::default() };
        is_fit_for_a_terminal(&said(|out| findings::findings(&args, out).map(drop)), false);
    }
    for format in [FindingsFormat::Sarif, FindingsFormat::Junit] {
        let print = FindingsPrintArgs { format, ..FindingsPrintArgs::default() };
        let args = FindingsArgs { asked: asked.clone(), print, ..FindingsArgs::default() };
        let text = said(|out| findings::findings(&args, out).map(drop));
        is_fit_for_a_terminal(&text, false);
        match format {
            FindingsFormat::Sarif => is_sarif_of(&publication, &is_fit_json(&text)),
            FindingsFormat::Junit => is_junit_of(&publication, &text),
            FindingsFormat::Table | FindingsFormat::Json | FindingsFormat::Ndjson => {}
        }
    }
    let listed = said(|out| {
        let print = PrintArgs { format: Format::Json, ..PrintArgs::default() };
        flows::flows(&FlowsArgs { asked: asked.clone(), print, ..FlowsArgs::default() }, out)
    });
    for output in [FlowsForm::Compact, FlowsForm::Dict] {
        let args = FlowsArgs { asked: asked.clone(), output: Some(output), ..FlowsArgs::default() };
        is_fit_for_a_terminal(&said(|out| flows::flows(&args, out)), false);
    }
    assert_eq!(is_fit_json(&listed), serde_json::to_value(&publication.flows).unwrap());
    let graph = Graph::draw(&publication.assessment, Group::Service);
    for format in GraphFormat::value_variants() {
        let args = GraphArgs { asked: asked.clone(), format: *format, ..GraphArgs::default() };
        let text = said(|out| graph::graph(&args, out).map(drop));
        is_fit_for_a_terminal(&text, false);
        match format {
            GraphFormat::Json => drawings::is_json_of(&graph, &text),
            GraphFormat::Dot => drawings::is_dot_of(&graph, &text),
            GraphFormat::Mermaid => drawings::is_mermaid_of(&graph, &text),
            GraphFormat::Svg | GraphFormat::Graphml => is_a_harmless_drawing(&text),
            GraphFormat::Html => {
                let (page, held) = text.split_once(HELD).expect("its data");
                let (held, script) = held.split_once("</script>").expect("the end of it");
                is_a_harmless_page(page.split_once("<style>").expect("its style").0);
                is_a_harmless_page(page.split_once("</style>").expect("the end of it").1);
                assert_eq!(script.matches("</script").count(), 1, "its own script alone follows");
                let held = is_fit_json(held);
                assert_eq!(held["flows"], serde_json::to_value(&publication.flows).unwrap());
                tells_all_findings(&held["views"][0], &publication);
            }
            GraphFormat::Cytoscape => {
                let elements = &is_fit_json(&text)["elements"];
                assert_eq!(elements["edges"].as_array().unwrap().len(), graph.edges.len());
            }
        }
    }
}

fn said(ask: impl FnOnce(&mut Vec<u8>) -> Result<(), portolan_daemon::error::Failure>) -> String {
    let mut out = Vec::new();
    ask(&mut out).unwrap_or_else(|failure| panic!("{}", failure.message));
    String::from_utf8(out).unwrap()
}

#[test]
fn drawings_hold_every_name_in_every_grouping() {
    drawings::names_survive(&loaded());
}

#[test]
fn graphviz_draws_every_node_and_no_script() {
    let graph = Graph::draw(&loaded().assessment, Group::Service);
    let mut dot = match Command::new("dot").arg("-Tsvg").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
    {
        Ok(dot) => dot,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return println!("no dot here"),
        Err(error) => panic!("{error}"),
    };
    dot.stdin.take().unwrap().write_all(graph.to_dot().as_bytes()).unwrap();
    let output = dot.wait_with_output().unwrap();
    assert!(output.status.success());
    let picture = String::from_utf8(output.stdout).unwrap();
    assert_eq!(picture.matches("class=\"node\"").count(), graph.nodes.len());
    let tags = tags(&picture);
    for (tag, attributes) in &tags {
        assert!(
            ["svg", "g", "title", "text", "polygon", "path", "ellipse", "polyline", "!DOCTYPE", "?xml"]
                .contains(&tag.as_str()),
            "<{tag}>"
        );
        assert!(
            !attributes.iter().any(|(name, _)| name.starts_with("on") || name.contains("href")),
            "{attributes:?}"
        );
    }
    assert!(tags.len() > graph.nodes.len());
}

#[test]
fn the_exposition_holds_every_edge_by_its_name() {
    exposition::names_survive(&loaded());
}

#[test]
fn every_event_is_one_line_that_reads_back_equal() {
    let publication = loaded();
    let alerts: Vec<Alert> = publication
        .assessment
        .findings
        .iter()
        .map(|finding| Alert { state: AlertState::Raised, finding: finding.clone(), note: None })
        .collect();
    let events = EventSource::new(1).turn(&publication, &alerts);
    let written = Written::default();
    let mut log =
        EventLog::to_stream(Box::new(written.clone()), "a\"\n\u{1b}\u{202e}host", OwnMetrics::new());
    log.write(&events);
    let text = written.text();
    is_fit_for_a_terminal(&text, false);
    let lines: Vec<Value> = text.lines().map(is_fit_json).collect();
    assert_eq!(lines.len(), events.len());
    let kinds: std::collections::BTreeSet<&str> =
        lines.iter().filter_map(|line| line["event_type"].as_str()).collect();
    assert!(kinds.len() >= 4, "{kinds:?}");
    for (line, event) in lines.iter().zip(&events) {
        assert_eq!(line["host"], "a\"\n\u{1b}\u{202e}host");
        let wanted = serde_json::to_value(event).unwrap();
        for (field, value) in wanted.as_object().unwrap() {
            assert_eq!(&line[field], value);
        }
    }
    let words = all_texts(&Value::Array(lines));
    for name in named::hostile() {
        assert!(words.iter().any(|text| text.contains(&name)), "no event names {name:?}");
    }
}

#[test]
fn the_page_is_text_and_the_interface_answers_equal() {
    let publication = loaded();
    let server = Server::start(publication.clone());
    let get = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut answers = server.ask(request.as_bytes());
        assert!(!answers.is_empty(), "{path}");
        let answer = answers.remove(0);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        is_fit_for_a_terminal(&answer.body, false);
        answer
    };
    let page = get("/");
    let head = page.head.to_ascii_lowercase();
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    is_a_harmless_page(&page.body);
    let map = is_fit_json(&get("/api/v1/map").body);
    tells_all_findings(&map, &publication);
    assert_eq!(map["map"]["edges"].as_array().unwrap().len(), publication.graph.edges.len());

    exposition::reads_back(&publication, &get("/metrics").body);
    let json = |path: &str| is_fit_json(&get(path).body);
    assert_eq!(
        json("/api/v1/findings")["findings"],
        serde_json::to_value(&publication.assessment.findings).unwrap()
    );
    assert_eq!(json("/api/v1/publication"), serde_json::to_value(&publication).unwrap());
    assert_eq!(json("/api/v1/graph"), serde_json::to_value(&publication.graph).unwrap());
    let flows = json("/api/v1/flows");
    assert_eq!(flows["flows"], serde_json::to_value(&publication.flows).unwrap());
    let status = all_texts(&json("/api/v1/status"));
    assert!(status.contains(&publication.vitals.identity_by));
}

/// Where the data of a page begins that stands for itself.
const HELD: &str = "<script type=\"application/json\" id=\"held\">";

/// Panics unless a view tells of every finding, as it is.
fn tells_all_findings(view: &Value, publication: &Publication) {
    let mut told: Vec<&Value> =
        view["findings"].as_array().unwrap().iter().map(|it| &it["summary"]).collect();
    let mut known: Vec<Value> =
        publication.assessment.findings.iter().map(|it| Value::from(it.summary.as_str())).collect();
    told.sort_by_key(|text| text.to_string());
    known.sort_by_key(ToString::to_string);
    assert_eq!(told, known.iter().collect::<Vec<_>>());
}

/// Panics unless a page consists of a few harmless tags, the same for every publication.
fn is_a_harmless_page(page: &str) {
    const TAGS: [&str; 30] = [
        "!doctype", "html", "head", "meta", "title", "link", "script", "body", "header", "main", "section",
        "div", "h1", "h2", "p", "span", "code", "ol", "ul", "svg", "form", "label", "input", "select",
        "option", "button", "noscript", "a", "style", "li",
    ];
    for (tag, attributes) in tags(page) {
        assert!(TAGS.contains(&tag.as_str()), "<{tag}>");
        for (name, value) in attributes {
            assert!(!name.starts_with("on") && name != "style", "{tag} {name}={value}");
            let is_place = ["href", "src", "action"].contains(&name.as_str());
            let is_own = value.starts_with('/') && !value.starts_with("//");
            assert!(!is_place || is_own, "{tag} {name}={value}");
            assert!(!value.contains(['<', '>', '`']), "{tag} {name}={value}");
        }
    }
}

/// Panics unless a drawing consists of shapes and texts.
fn is_a_harmless_drawing(drawing: &str) {
    const TAGS: [&str; 16] = [
        "?xml", "svg", "style", "defs", "marker", "path", "rect", "g", "text", "title", "graphml", "key",
        "graph", "node", "edge", "data",
    ];
    for (tag, attributes) in tags(drawing) {
        assert!(TAGS.contains(&tag.as_str()), "<{tag}>");
        let is_live = |name: &str| name.starts_with("on") || name.contains("href");
        assert!(!attributes.iter().any(|(name, _)| is_live(name)), "{attributes:?}");
    }
}

fn is_sarif_of(publication: &Publication, log: &Value) {
    let results = log["runs"][0]["results"].as_array().expect("results");
    let findings = &publication.assessment.findings;
    assert_eq!(results.len(), findings.len());
    for (result, finding) in results.iter().zip(findings) {
        assert_eq!(result["ruleId"], finding.kind.name());
        assert_eq!(result["partialFingerprints"]["portolanFinding/v1"], finding.id.as_str());
        let message = result["message"]["text"].as_str().expect("a message");
        // Read as SARIF reads it: no link, no placeholder.
        let bare = message.replace("\\[", "").replace("\\]", "").replace("{{", "").replace("}}", "");
        assert!(!bare.contains("](") && !bare.contains(['{', '}']), "{message}");
        assert!(!message.chars().any(is_hostile), "{message}");
    }
}

fn is_junit_of(publication: &Publication, text: &str) {
    const TAGS: [&str; 6] = ["?xml", "testsuites", "testsuite", "testcase", "failure", "system-out"];
    let tags = tags(text);
    for (tag, attributes) in &tags {
        assert!(TAGS.contains(&tag.as_str()), "<{tag}>");
        const KNOWN: [&str; 8] =
            ["name", "tests", "failures", "errors", "skipped", "classname", "type", "message"];
        assert!(attributes.iter().all(|(name, _)| KNOWN.contains(&name.as_str())), "{attributes:?}");
    }
    let failures = tags.iter().filter(|(tag, _)| tag == "failure").count();
    assert_eq!(failures, publication.assessment.findings.len());
    // XML 1.0, section 2.2: what a character may be; every ampersand begins a reference that is known.
    let is_of_xml =
        |letter: char| letter == '\n' || (letter >= ' ' && !matches!(letter, '\u{fffe}' | '\u{ffff}'));
    assert!(text.chars().all(is_of_xml));
    let references = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;", "&#96;", "&#10;"];
    for (at, _) in text.match_indices('&') {
        assert!(references.iter().any(|it| text[at..].starts_with(it)), "{:.12}", &text[at..]);
    }
}

/// Tags of a page in order, without their ends; attributes in double quotes.
fn tags(page: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut tags = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix("!--") {
            rest = &behind[behind.find("-->").expect("the end of a comment") + 3..];
            continue;
        }
        let mut end = 0;
        let mut is_quoted = false;
        for (at, letter) in rest.char_indices() {
            match letter {
                '"' => is_quoted = !is_quoted,
                '>' if !is_quoted => {
                    end = at;
                    break;
                }
                '<' if !is_quoted => panic!("a tag in a tag: {rest:.80}"),
                _ => {}
            }
        }
        let tag = &rest[..end];
        assert!(end > 0, "no end of a tag: {rest:.80}");
        rest = &rest[end + 1..];
        if tag.starts_with('/') {
            continue;
        }
        let name = tag.split([' ', '\n', '/']).next().unwrap_or_default().to_owned();
        let mut attributes = Vec::new();
        let mut left = tag[name.len()..].trim_matches(['/', ' ', '\n', '?']);
        while !left.is_empty() && !name.starts_with(['!', '?']) {
            let (word, after) = left.split_once([' ', '\n']).unwrap_or((left, ""));
            if !word.contains('=') {
                attributes.push((word.to_owned(), String::new()));
                left = after.trim();
                continue;
            }
            let (attribute, behind) = left.split_once("=\"").unwrap_or_else(|| panic!("{tag}"));
            let (value, behind) = behind.split_once('"').unwrap_or_else(|| panic!("{tag}"));
            attributes.push((attribute.trim().to_owned(), value.to_owned()));
            left = behind.trim();
        }
        tags.push((name, attributes));
    }
    tags
}

#[test]
fn rosters_pictures_and_journals_hold_names_as_they_are() {
    let names: Vec<String> = named::hostile().into_iter().filter(|name| !name.is_empty()).collect();
    // As Docker would tell of them: JSON, where a name may be anything.
    let containers: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            serde_json::json!({
                "Id": format!("{at:064x}"),
                "Name": format!("/{name}"),
                "State": {"StartedAt": "2026-11-20T13:58:00Z", "Running": true},
                "Image": "sha256:0",
                "Config": {"Image": name, "Labels": {name: name}},
                "NetworkSettings": {"Networks": {name: {"IPAddress": format!("172.18.0.{}", at + 2), "NetworkID": "n"}}},
            })
        })
        .collect();
    let file = Roster::parse("inspect.json", serde_json::to_string(&containers).unwrap().as_bytes()).unwrap();
    let picture = Roster::merge(vec![file]).picture_at(Timestamp(i64::MAX - 1), 1);
    let found: Vec<&str> =
        picture.names.workloads.iter().map(|workload| workload.container.as_str()).collect();
    for name in &names {
        // Identity bounds a name's length when it reads it.
        let is_it = |found: &&&str| **found == name || (found.len() > 100 && name.starts_with(**found));
        assert!(found.iter().any(|found| is_it(&found)), "{name:?} is not among {found:?}");
    }
    let record = PictureRecord::of(&picture);
    let begin = Begin {
        journal: FORM,
        version: names[0].clone(),
        host: names[1].clone(),
        started_at: Timestamp(0),
        interface: names[2].clone(),
        only: names[3].clone(),
        kept: names[4].clone(),
        seed: 1,
        limits: Limits::default(),
        withhold: 0,
        flows_kept: 1,
        heartbeat_seconds: 1,
        dns_names: true,
        contracts: Vec::new(),
    };
    let changes = Box::new(PictureRecord::default().patch_to(&record));
    let mut rows = vec![
        Row { before: 1, entry: Entry::Begin(Box::new(begin.clone())) },
        Row { before: 1, entry: Entry::Picture { number: 1, changes } },
    ];
    rows.extend(names.iter().map(|name| Row { before: 1, entry: Entry::File { name: name.clone() } }));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.journal.ndjson");
    let text: String = rows.iter().map(|row| serde_json::to_string(row).unwrap() + "\n").collect();
    assert_eq!(text.lines().count(), rows.len());
    std::fs::write(&path, &text).unwrap();
    // No file system holds a file of a name longer than 255 bytes.
    let names_of_files: Vec<&String> = names.iter().filter(|name| name.len() < 1_000).collect();
    assert!(Journal::parts(&path).unwrap().iter().eq(names_of_files));
    let mut journal = Journal::open(&path).unwrap();
    assert_eq!(journal.begin(), &begin);
    let mut known = PictureRecord::default();
    let mut read = Vec::new();
    while let Some(row) = journal.next_before(u64::MAX).unwrap() {
        if let Entry::Picture { changes, .. } = &row.entry {
            known.apply((**changes).clone());
        }
        read.push(row);
    }
    assert_eq!(read, rows[1..]);
    assert_eq!(known, record);
    assert_eq!(known.restore().names.workloads, picture.names.workloads);
}

#[test]
fn a_capture_holds_names_that_no_reader_stumbles_over() {
    for name in named::hostile() {
        let section = Section { application: &name, os: &name, hardware: &name, comment: &name };
        let mut writer = PcapngWriter::new(Vec::new(), &section).unwrap();
        let interface =
            NewInterface { link: LinkType::ETHERNET, snaplen: 0, name: &name, description: &name };
        let number = writer.add_interface(&interface).unwrap();
        writer.names(&[(IpAddr::V4(Ipv4Addr::new(172, 18, 0, 2)), &name)]).unwrap();
        let captured = Captured {
            interface: number,
            at: Timestamp(1),
            bytes: &[0; 60],
            original_bytes: 60,
            direction: Direction::Incoming,
        };
        writer.frame(&captured).unwrap();
        let bytes = writer.into_inner();
        let texts = texts_of_pcapng(&bytes);
        // Comment, hardware, system and program of the section; name and description of the interface.
        assert_eq!(texts.len(), if name.is_empty() { 0 } else { 6 }, "{name:?}");
        let is_plain = name.len() <= 200 && !name.chars().any(is_hostile);
        for text in &texts {
            assert!(!text.chars().any(is_hostile), "{text:?}");
            assert_eq!(*text == name, is_plain, "{name:?} became {text:?}");
        }
        let file = targets::input::MemoryFile::new(&bytes);
        let mut tap = FileTap::open(&file.path()).unwrap();
        let mut frames = 0;
        while tap.poll(&mut |_: &Frame<'_>| frames += 1).unwrap() != Polled::End {}
        assert_eq!((frames, tap.damage().map(ToString::to_string)), (1, None));
        let found = tap.interfaces()[0].name.clone().unwrap_or_default();
        assert!(!found.chars().any(is_hostile), "{found:?}");
        let is_plain = name.len() <= 200 && !name.chars().any(is_hostile);
        assert_eq!(found == name, is_plain, "{name:?} became {found:?}");
    }
}

/// Reads the texts among the options of a little-endian capture's section and interface, block by block
/// (draft-ietf-opsawg-pcapng, sections 3.1, 3.5, 4.1, 4.2).
fn texts_of_pcapng(bytes: &[u8]) -> Vec<String> {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let half = |at: usize| usize::from(u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()));
    let (mut texts, mut block) = (Vec::new(), 0);
    while block < bytes.len() {
        let (kind, length) = (word(block), word(block + 4) as usize);
        assert_eq!(word(block + length - 4) as usize, length, "a block ends with its length");
        let (mut option, texts_are) = match kind {
            0x0a0d_0d0a => (block + 24, 1..=4),
            1 => (block + 16, 2..=3),
            _ => (block + length - 4, 0..=0),
        };
        while option < block + length - 4 && half(option) != 0 {
            let value = &bytes[option + 4..option + 4 + half(option + 2)];
            if texts_are.contains(&half(option)) {
                texts.push(String::from_utf8(value.to_vec()).unwrap());
            }
            option += 4 + value.len().next_multiple_of(4);
        }
        block += length;
    }
    texts
}

#[test]
fn errors_about_files_repeat_no_hostile_character() {
    let names: Vec<String> = named::hostile().into_iter().filter(|name| !name.is_empty()).collect();
    for name in &names {
        let key = toml::Value::String(name.clone());
        let texts = [
            format!("{key} = 1\n"),
            format!("[[service]]\n{key} = {key}\n"),
            format!("[{key}]\n{key} = {key}\n"),
        ];
        for text in &texts {
            targets::contract(text.as_bytes());
            targets::config(text.as_bytes());
            targets::roster(text.as_bytes());
        }
    }
    assert_eq!(as_drawn("\u{202e}"), "<U+202E>");
}

/// Every text in a value, keys included.
fn all_texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => values.iter().flat_map(all_texts).collect(),
        Value::Object(fields) => {
            fields.iter().flat_map(|(name, value)| [vec![name.clone()], all_texts(value)].concat()).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// A stream that can be read afterwards.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_names_are_of_every_kind() {
    let all = named::hostile().concat();
    for kind in ["\"", "\n", "\u{1b}[", "<script>", "\u{202e}", "\0", "\u{fffd}", "\\", "\u{9b}", "\u{2028}"]
    {
        assert!(all.contains(kind), "{kind:?}");
    }
}
