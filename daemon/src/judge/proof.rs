//! `portolan rules test`: every standard rule on a capture it speaks on and on one that is fine beside it.
//!
//! The captures are small ones of `pcaps/`, built in. What no packet shows - what listens, what is published, whose hardware
//! address a frame bears - is told to the snapshot of one of them.

use std::fs::{self, DirBuilder};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portolan_flowtable::{
    Listening, ListeningPort, MacAddr, MacHolder, Port, Protocol, PublishedPort, ServicePort, Snapshot,
    StolenMac, Timestamp, Workload,
};
use portolan_identity::Roster;
use portolan_policy::{Assessment, ComposeFile, Contract, Finding, FindingKind, standard_rules};
use serde::Serialize;

use super::cli::AnswerFormat;
use super::print_json;
use crate::ask::print;
use crate::cli::ReadArgs;
use crate::error::Failure;
use crate::replay::{Knowledge, Request, replay};
use crate::report::{Align, Table};

/// Exit code where a rule does not do what it should.
const BROKEN: u8 = 1;

/// A capture, and who is who in it.
struct Sample {
    name: &'static str,
    capture: &'static [u8],
    roster: &'static str,
    contract: &'static str,
    compose: &'static str,
}

macro_rules! sample {
    ($case:literal, $capture:literal) => {
        Sample {
            name: $case,
            capture: include_bytes!(concat!("../../../pcaps/", $case, "/", $capture)),
            roster: include_str!(concat!("../../../pcaps/", $case, "/roster.toml")),
            contract: "",
            compose: "",
        }
    };
    ($case:literal, $capture:literal, contract) => {
        Sample {
            contract: include_str!(concat!("../../../pcaps/", $case, "/contract.toml")),
            ..sample!($case, $capture)
        }
    };
}

const COMPOSE: &str = include_str!("../../../pcaps/standard-rules-raised/compose.yaml");
const RAISED: Sample =
    Sample { compose: COMPOSE, ..sample!("standard-rules-raised", "capture.pcapng", contract) };
const SILENT: Sample =
    Sample { compose: COMPOSE, ..sample!("standard-rules-silent", "capture.pcapng", contract) };
const SPOOFED: Sample = sample!("spoofed-source", "capture.pcapng");
const DEBUGGER: Sample = sample!("undocumented-debug-port", "capture.pcapng", contract);
const SCAN: Sample = sample!("port-scan", "capture.pcap");
const SWEEP: Sample = sample!("host-sweep", "capture.pcapng");
/// Twelve containers ask for each other, and for three that are gone.
const NEIGHBOURS: Sample = sample!("neighbour-sweep-silent", "capture.pcapng");
const FLOOD: Sample = sample!("syn-flood", "capture.pcap");
const BURST: Sample = sample!("level-raised", "capture.pcapng", contract);
const GUESSED: Sample = sample!("password-guessing", "capture.pcapng");
/// As many short connections, of whom they are meant for.
const MEANT: Sample = sample!("password-guessing-silent", "capture.pcapng");
/// web asks db once a minute on 5300/udp, on two days.
const STEADY: Sample = sample!("level-silent", "capture.pcapng", contract);

/// What is told besides: a contract in place of the sample's, and what no packet shows.
struct Case {
    sample: &'static Sample,
    contract: Option<&'static str>,
    also: fn(&mut Snapshot),
}

const fn on(sample: &'static Sample) -> Case {
    Case { sample, contract: None, also: |_| () }
}

const fn told(contract: &'static str, also: fn(&mut Snapshot)) -> Case {
    Case { sample: &STEADY, contract: Some(contract), also }
}

/// The same of another capture, in which web and db talk as well.
const fn told_elsewhere(contract: &'static str, also: fn(&mut Snapshot)) -> Case {
    Case { sample: &BURST, contract: Some(contract), also }
}

const EXPECTS_CART: &str = "[[service]]\nservice = \"shop/db\"\ninitiators = \"shop/cart\"\n";
const EXPECTS_WEB: &str = "[[service]]\nservice = \"shop/db\"\ninitiators = \"shop/web\"\n";
const DOCUMENTS: &str = "[[service]]\nservice = \"shop/db\"\nports = \"5300/udp\"\n";

/// Returns where a rule speaks, and where it does not; `None` for what the operator's own word and the baseline raise.
fn cases(kind: FindingKind) -> Option<(Case, Case)> {
    Some(match kind {
        FindingKind::ForeignDatabase
        | FindingKind::DockerApi
        | FindingKind::CloudMetadata
        | FindingKind::InternalOutbound
        | FindingKind::ForeignResolver
        | FindingKind::CleartextAdmin
        | FindingKind::Beaconing => (on(&RAISED), on(&SILENT)),
        FindingKind::SpoofedSource | FindingKind::UnlistedSource => (on(&SPOOFED), on(&SILENT)),
        FindingKind::UndocumentedPort => (on(&DEBUGGER), on(&SILENT)),
        FindingKind::PortScan => (on(&SCAN), on(&SILENT)),
        FindingKind::HostSweep => (on(&SWEEP), on(&NEIGHBOURS)),
        FindingKind::SynFlood => (on(&FLOOD), on(&SILENT)),
        FindingKind::PasswordGuessing => (on(&GUESSED), on(&MEANT)),
        FindingKind::UnusualLevel => (on(&BURST), on(&STEADY)),
        FindingKind::UnexpectedPeer => (told(EXPECTS_CART, |_| ()), told_elsewhere(EXPECTS_WEB, |_| ())),
        FindingKind::UndocumentedListener => {
            (told(DOCUMENTS, |it| listen(it, 9229)), told_elsewhere(DOCUMENTS, |it| listen(it, 5300)))
        }
        FindingKind::UnusedExposure => (
            told("", |it| publish(it, Ipv4Addr::UNSPECIFIED)),
            told_elsewhere("", |it| publish(it, Ipv4Addr::LOCALHOST)),
        ),
        FindingKind::StolenMac => (told("", steal), told_elsewhere("", |_| ())),
        FindingKind::Denied | FindingKind::NewEdge | FindingKind::ForbiddenEdge => return None,
    })
}

/// Something listens in db: over UDP on its own port, else over TCP.
fn listen(snapshot: &mut Snapshot, number: u16) {
    let protocol = if number == 5300 { Protocol::UDP } else { Protocol::TCP };
    let port = ServicePort::new(number, protocol);
    let listening = ListeningPort { port, is_loopback: false, since: snapshot.from };
    let ports = vec![listening];
    if let Some(db) = database(snapshot) {
        snapshot.listening.insert(db.container_id.clone(), Listening { ports, not_checked: None });
    }
}

/// A port of db is published on an address of the host, and nobody comes.
fn publish(snapshot: &mut Snapshot, address: Ipv4Addr) {
    let Some(db) = database(snapshot) else { return };
    snapshot.published.push(PublishedPort {
        host_address: address.into(),
        host_port: Port(8080),
        protocol: Protocol::TCP,
        container_port: Port(80),
        container_id: db.container_id.clone(),
        from: Timestamp(0),
        until: None,
    });
}

/// db sends from its gateway's hardware address.
fn steal(snapshot: &mut Snapshot) {
    snapshot.thefts.push(StolenMac {
        network: "shop_front".to_owned(),
        thief: database(snapshot),
        holder: MacHolder::Gateway,
        mac: MacAddr([0x02, 0x42, 0x56, 0xfb, 0x44, 0xf9]),
        frames: 3,
        first_at: snapshot.from,
        last_at: snapshot.at,
        first_frame: 1,
        last_frame: 3,
    });
}

fn database(snapshot: &Snapshot) -> Option<Arc<Workload>> {
    snapshot.workloads.iter().find(|workload| workload.service == "db").cloned()
}

/// How a rule did.
#[derive(Debug, Serialize)]
struct Row {
    rule: &'static str,
    /// The capture it is to speak on.
    raised_on: &'static str,
    /// Its findings there; one or more are right.
    raised: usize,
    /// The capture it is to be silent on.
    silent_on: &'static str,
    /// Its findings there; none is right.
    silent: usize,
    passed: bool,
}

/// Tests all standard rules, or one.
pub(super) fn test(id: Option<&str>, format: AnswerFormat, out: &mut impl Write) -> Result<u8, Failure> {
    let rules = standard_rules();
    let ids = || rules.iter().map(|rule| rule.kind.name());
    if let Some(unknown) = id.filter(|id| !ids().any(|known| known == *id)) {
        return Err(super::rules::unknown(unknown, &ids().collect::<Vec<_>>()));
    }
    let bench = Bench::new()?;
    let mut rows = Vec::new();
    for rule in rules.iter().filter(|rule| id.is_none_or(|id| id == rule.kind.name())) {
        let Some((raised, silent)) = cases(rule.kind) else { continue };
        let (there, here) = (bench.count(rule.kind, &raised)?, bench.count(rule.kind, &silent)?);
        rows.push(Row {
            rule: rule.kind.name(),
            raised_on: raised.sample.name,
            raised: there,
            silent_on: silent.sample.name,
            silent: here,
            passed: there > 0 && here == 0,
        });
    }
    drop(bench);
    let code = if rows.iter().all(|row| row.passed) { 0 } else { BROKEN };
    if format == AnswerFormat::Json {
        print_json(out, &rows)?;
        return Ok(code);
    }
    let mut table = Table::new(&[
        ("rule", Align::Left),
        ("speaks on", Align::Left),
        ("findings", Align::Right),
        ("silent on", Align::Left),
        ("findings", Align::Right),
        ("result", Align::Left),
    ]);
    for row in &rows {
        table.row(vec![
            row.rule.to_owned(),
            row.raised_on.to_owned(),
            row.raised.to_string(),
            row.silent_on.to_owned(),
            row.silent.to_string(),
            if row.passed { "ok" } else { "FAILED" }.to_owned(),
        ]);
    }
    let passed = rows.iter().filter(|row| row.passed).count();
    print(out, format!("{}{passed} of {} rules do what they say\n", table.draw(), rows.len()))?;
    Ok(code)
}

/// A folder for the captures, which are read as files; removed at the end.
struct Bench {
    folder: PathBuf,
}

impl Bench {
    fn new() -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("portolan-rules-{}", std::process::id()));
        // For this user alone, and never what lies there already.
        let made = DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|error| Failure::cannot_write(&folder, &error))?;
        Ok(Self { folder })
    }

    /// Returns the findings of one kind in a case.
    fn count(&self, kind: FindingKind, case: &Case) -> Result<usize, Failure> {
        let is_it = |finding: &&Finding| finding.kind == kind;
        Ok(self.assess(case)?.findings.iter().filter(is_it).count())
    }

    fn assess(&self, case: &Case) -> Result<Assessment, Failure> {
        let sample = case.sample;
        let path = self.folder.join(sample.name);
        if !path.exists() {
            fs::write(&path, sample.capture).map_err(|error| Failure::cannot_write(&path, &error))?;
        }
        let contract = contract(case)?;
        let written = Roster::parse("roster.toml", sample.roster.as_bytes());
        let roster = Roster::merge(vec![written.map_err(|error| Failure::defect(error.to_string()))?]);
        let knowledge = Knowledge {
            roster: Some(Arc::new(roster)),
            contract: Arc::new(contract.clone()),
            ..Knowledge::default()
        };
        let read = ReadArgs::unasked();
        let files = [path];
        let replayed = replay(&Request {
            files: &files,
            knowledge: &knowledge,
            read: &read,
            conversations: None,
            shows_progress: false,
            each_turn: None,
        })?;
        let assessment = replayed.publication.assessment;
        let Some(_) = case.contract else { return Ok(assessment) };
        let conversations = assessment.judged.into_iter().map(|judged| judged.conversation).collect();
        let mut snapshot = Snapshot { conversations, ..assessment.snapshot };
        (case.also)(&mut snapshot);
        Ok(contract.assess(snapshot))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

/// Nothing can be done about a leftover that cannot be removed.
fn remove(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
}

fn contract(case: &Case) -> Result<Contract, Failure> {
    let text = case.contract.unwrap_or(case.sample.contract);
    let mut contract = Contract::parse(text, "contract.toml")
        .map_err(|errors| Failure::defect(errors.iter().map(ToString::to_string).collect::<String>()))?;
    if !case.sample.compose.is_empty() {
        let read = ComposeFile::parse(case.sample.compose, "compose.yaml");
        let file = read.map_err(|error| Failure::defect(format!("compose.yaml: {error:?}")))?;
        contract.add_compose("shop", file);
    }
    Ok(contract)
}
