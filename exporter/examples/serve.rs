//! Serves publications that were made elsewhere, for working on the page and for its tests: `serve RESULT`,
//! `serve hostile` or `serve large`. Prints the address, then publishes once a second until it is ended.

#[allow(dead_code, clippy::unwrap_used, reason = "it is part of the tests, which use more of it")]
#[path = "../tests/outputs/fixture.rs"]
mod fixture;

use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use portolan_exporter::http::{ServeOptions, plain_graph_forms, serve};
use portolan_exporter::snapshots::{SnapshotOptions, Snapshots};
use portolan_exporter::{OwnMetrics, Publication};
use portolan_flowtable::Timestamp;
use portolan_graphs::{Graph, Group};
use portolan_policy::{FindingKind, Judged, Severity, Verdict};
use tokio::sync::watch;

/// Services and edges of `large`.
const SERVICES: usize = 500;
const PROJECTS: usize = 20;
const EDGES: usize = 2_000;
/// Names of `hostile`.
const NAMES: usize = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let what = std::env::args().nth(1).ok_or("name a result, hostile or large")?;
    let full = match what.as_str() {
        "hostile" => drawn(hostile()),
        "large" => drawn(large()),
        path => serde_json::from_slice(&std::fs::read(path)?)?,
    };
    let folder = std::env::temp_dir().join(format!("portolan-serve-{}", std::process::id()));
    let options = SnapshotOptions {
        directory: folder.clone(),
        every: Duration::from_secs(30),
        keep: 10,
        max_bytes: u64::MAX,
    };
    let snapshots = Arc::new(Snapshots::open(options)?);
    let before = earlier(&full);
    snapshots.write(&before)?;
    let (publisher, receiver) = watch::channel(Arc::new(turned(&full, 0)));
    let (_stop, stopped) = watch::channel(false);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let served = runtime.block_on(serve(
        ServeOptions {
            listen: vec!["127.0.0.1:0".parse()?],
            snapshots: Some(snapshots),
            ..ServeOptions::default()
        },
        receiver,
        plain_graph_forms(),
        OwnMetrics::new(),
        stopped,
    ))?;
    let address = served.addresses.first().ok_or("no address")?;
    let mut out = std::io::stdout();
    writeln!(out, "http://{address}/")?;
    out.flush()?;
    // Who started it closes its input when it is done.
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        let _ = std::fs::remove_dir_all(folder);
        std::process::exit(0);
    });
    for tick in 1_u64.. {
        std::thread::sleep(Duration::from_secs(1));
        publisher.send_replace(Arc::new(turned(&full, tick)));
    }
    Ok(())
}

/// The same, a second later for each tick, with a little more on each edge.
fn turned(full: &Publication, tick: u64) -> Publication {
    let mut publication = full.clone();
    publication.vitals.ticks = tick;
    publication.vitals.is_named = true;
    publication.vitals.is_capturing = true;
    let seconds = i64::try_from(tick).unwrap_or(0);
    publication.assessment.snapshot.at = full.assessment.snapshot.at.plus(seconds * Timestamp::SECOND);
    for judged in &mut publication.assessment.judged {
        judged.conversation.sent.bytes += tick * (judged.conversation.sent.bytes / 100 + 60);
    }
    drawn(publication)
}

/// A minute before, without what was found since.
fn earlier(full: &Publication) -> Publication {
    let mut publication = full.clone();
    publication.assessment.snapshot.at = full.assessment.snapshot.at.plus(-60 * Timestamp::SECOND);
    publication.assessment.judged.retain(|judged| judged.finding.is_none());
    publication.assessment.findings.clear();
    publication.vitals.is_named = true;
    drawn(publication)
}

fn drawn(mut publication: Publication) -> Publication {
    publication.graph = Graph::draw(&publication.assessment, Group::Service);
    publication
}

/// Services of names that would be markup, scripts and other mischief.
fn hostile() -> Publication {
    let shapes: [fn(usize) -> String; 8] = [
        |number| format!("<img src=x onerror=\"window.harm={number}\">"),
        |number| format!("<script>window.harm={number}</script>"),
        |number| format!("\"><svg onload=window.harm={number}>"),
        |number| format!("javascript:window.harm={number}"),
        |number| format!("</title></text></svg><script>window.harm={number}</script>"),
        |number| format!("' autofocus onfocus=window.harm={number} x='"),
        |number| format!("{{{{constructor.constructor('window.harm={number}')()}}}}"),
        |number| format!("\u{202e}reversed\u{0}\u{1b}[31m{number}</style><style>*{{display:none}}"),
    ];
    let names: Vec<String> = (0..NAMES)
        .filter_map(|number| shapes.get(number % shapes.len()).map(|shape| shape(number)))
        .collect();
    let mut conversations = Vec::new();
    for pair in names.windows(2) {
        let [one, other] = pair else { continue };
        let mut judged =
            fixture::judged(fixture::service(one, other), fixture::service(other, one), 8080, 1_000);
        judged.conversation.network.clone_from(one);
        judged.conversation.via = Some(other.clone());
        judged.decided_by.clone_from(one);
        conversations.push(judged);
    }
    let mut publication = fixture::publication(2, conversations);
    for (number, name) in names.iter().enumerate().take(20) {
        let mut finding =
            fixture::finding(&format!("{number:016x}"), FindingKind::UnexpectedPeer, Severity::High);
        finding.initiator.clone_from(name);
        finding.summary.clone_from(name);
        finding.against.clone_from(name);
        finding.wireshark_filter.clone_from(name);
        publication.assessment.findings.push(finding);
    }
    publication.vitals.host = names.first().cloned().unwrap_or_default();
    publication.assessment.warnings = names.into_iter().take(5).collect();
    publication
}

/// 500 services of 20 projects that make 2,000 calls, four of five within their project; a few of them are found.
fn large() -> Publication {
    let mut state = 42_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or(0) % below
    };
    let each = SERVICES / PROJECTS;
    let service = |number: usize| {
        fixture::service(&format!("project-{:02}", number / each), &format!("service-{number:03}"))
    };
    let mut conversations: Vec<Judged> = Vec::new();
    let mut findings = Vec::new();
    // Each calls another at least once, so that all of them are there.
    for number in 0..EDGES {
        let from = number % SERVICES;
        let to = match next(5) {
            0 => next(SERVICES),
            _ => from / each * each + next(each),
        };
        let port = 8_000 + u16::try_from(number / SERVICES * 10 + next(4)).unwrap_or(0);
        let bytes = 100 << next(16);
        let mut judged = fixture::judged(service(from), service(to), port, bytes);
        judged.verdict = Verdict::Documented;
        if number % 250 == 7 {
            let id = format!("{number:016x}");
            let mut finding = fixture::finding(&id, FindingKind::UndocumentedPort, Severity::Medium);
            finding.initiator = judged.conversation.initiator.service();
            finding.responder = judged.conversation.responder.service();
            finding.port = Some(judged.conversation.port);
            findings.push(finding);
            judged.verdict = Verdict::UndocumentedPort;
            judged.finding = Some(id);
        }
        conversations.push(judged);
    }
    let mut publication = fixture::publication(2, conversations);
    publication.assessment.findings = findings;
    publication
}
