//! What a person sees: the report, from one publication.

mod table;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use portolan_exporter::{FlowRecord, Publication, escape};
use portolan_flowtable::{Completeness, DnsCounts, Outcomes};
use portolan_graphs::Edge;
use portolan_policy::{
    Assessment, Finding, FindingKind, JoinMember, ListenerClass, Listens, Severity, Verdict,
};

pub use table::{Align, Table};
use text::time_within;
pub use text::{bytes, milliseconds, span, time_of_day};

use portolan_flowtable::units::grouped;

use crate::cut::short_id;

/// How a report is drawn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Whether colours may be used: the output is a terminal and NO_COLOR is not set.
    pub is_coloured: bool,
    /// Whether long tables are printed whole.
    pub is_whole: bool,
    /// Whether times are local.
    pub is_local: bool,
    /// Cells in a line of the screen tables have to fit; `None` where there is no screen, or whole tables are asked for.
    pub width: Option<usize>,
}

/// Edges printed unless the whole table is asked for.
const EDGES_SHOWN: usize = 40;
/// Findings printed unless the whole table is asked for.
const FINDINGS_SHOWN: usize = 25;
/// Idle ports and undeclared services printed on one line.
const NAMES_SHOWN: usize = 12;

/// Draws the whole report: head, completeness, findings, edges, idle ports.
pub fn report(publication: &Publication, title: &str, style: Style) -> String {
    let names = ShortNames::of(publication);
    let mut out = String::new();
    let is_lossy = matches!(publication.assessment.snapshot.completeness, Completeness::Incomplete { .. });
    // When something was lost, that is the first line.
    if is_lossy {
        out.push_str(&completeness_lines(publication, style));
    }
    out.push_str(&head(publication, title, style));
    if !is_lossy {
        out.push_str(&completeness_lines(publication, style));
    }
    if let Some(stale) = &publication.assessment.snapshot.stale {
        let _ = writeln!(out, "names may be out of date: {}", escape::terminal(stale));
    }
    for warning in &publication.assessment.warnings {
        let _ = writeln!(out, "warning: {}", escape::terminal(warning));
    }
    let _ = writeln!(out, "contract: {}", escape::terminal(&publication.assessment.contract));
    out.push('\n');
    out.push_str(&findings_table(&publication.assessment, &names, style));
    out.push('\n');
    out.push_str(&edges_table(publication, &names, style));
    let tail = tail(publication, &names, style);
    if !tail.is_empty() {
        out.push('\n');
        out.push_str(&tail);
    }
    out
}

/// Draws the findings as a table of their own.
pub fn findings(publication: &Publication, style: Style) -> String {
    let mut out = String::new();
    out.push_str(&completeness_lines(publication, style));
    let names = ShortNames::of(publication);
    out.push_str(&findings_table(&publication.assessment, &names, style));
    for finding in &publication.assessment.findings {
        let _ = writeln!(
            out,
            "\n{}  {}\n  frames {} to {}   filter  {}",
            escape::terminal(&finding.id),
            escape::terminal(&finding.summary),
            finding.first_frame,
            finding.last_frame,
            escape::terminal(&finding.wireshark_filter),
        );
        // What no connection shows, as a sweep by ARP, cannot be cut out: the filter finds it in the capture.
        if finding.kind != FindingKind::HostSweep || finding.connections > 0 {
            let id = short_id(&finding.id);
            let id = escape::terminal(&id);
            let _ = writeln!(out, "  to look  portolan cut CAPTURE --finding {id} -w {id}.pcapng");
        }
    }
    out
}

/// Draws flows as a table.
pub fn flows(records: &[FlowRecord], style: Style) -> String {
    let mut table = Table::new(&[
        ("first", Align::Left),
        ("initiator", Align::Left),
        ("", Align::Left),
        ("responder", Align::Left),
        ("outcome", Align::Left),
        ("state", Align::Left),
        ("history", Align::Left),
        ("sent", Align::Right),
        ("received", Align::Right),
        ("frames", Align::Right),
        ("rtt", Align::Right),
        ("troubles", Align::Left),
        ("evidence", Align::Left),
        ("ended", Align::Left),
        ("verdict", Align::Left),
        ("pending", Align::Left),
    ])
    .sparing(&[
        "evidence", "history", "frames", "state", "ended", "rtt", "received", "sent", "troubles", "first",
    ]);
    for record in records {
        let end = |end: &portolan_exporter::FlowEnd| {
            let own: &str = if end.container.is_empty() { &end.service } else { &end.container };
            // What an address outside is called says more than that it is outside.
            let name = end.names.first().map_or(own, String::as_str);
            let place = match (end.ip, end.port) {
                (ip, None) => ip.to_string(),
                (std::net::IpAddr::V4(ip), Some(port)) => format!("{ip}:{port}"),
                (std::net::IpAddr::V6(ip), Some(port)) => format!("[{ip}]:{port}"),
            };
            if name == end.ip.to_string() { place } else { format!("{} {place}", escape::terminal(name)) }
        };
        table.row(vec![
            time_of_day(record.first_at, style.is_local),
            end(&record.src),
            "->".to_owned(),
            format!("{} {}", end(&record.dest), record.proto),
            text::word(&record.outcome),
            record.conn_state.word().to_owned(),
            escape::terminal(&record.history).into_owned(),
            bytes(record.sent.bytes),
            bytes(record.received.bytes),
            grouped((record.sent + record.received).frames),
            record.rtt.map_or("-".to_owned(), milliseconds),
            troubles(record),
            text::word(&record.evidence),
            record.ended.as_ref().map_or("open".to_owned(), text::word),
            record.dry_run.map_or(String::new(), |it| it.verdict.words().to_owned()),
            record.dry_run.map_or(String::new(), |it| it.pending.words().to_owned()),
        ]);
    }
    let mut out = format!("FLOWS ({})\n", grouped(records.len() as u64));
    out.push_str(&table.draw_within(style.width));
    out
}

/// What went wrong on the way: counts of both directions together, and the last ICMP error.
fn troubles(record: &FlowRecord) -> String {
    let both = |counts: portolan_exporter::Directed| counts.sent.saturating_add(counts.received);
    let mut words: Vec<String> = [
        (both(record.retransmissions), "resent", "resent"),
        (both(record.zero_windows), "zero window", "zero windows"),
        (both(record.gaps), "gap", "gaps"),
    ]
    .into_iter()
    .filter(|(count, _, _)| *count > 0)
    .map(|(count, one, many)| counted(count, one, many))
    .collect();
    words.extend(record.icmp_error.map(|error| format!("icmp {}/{}", error.kind, error.code)));
    words.join(", ")
}

/// Draws the head of the report: what was seen, and when.
pub fn head(publication: &Publication, title: &str, style: Style) -> String {
    let snapshot = &publication.assessment.snapshot;
    let frames = snapshot.ledger.delivered.frames;
    let when = span(snapshot.from, snapshot.at, style.is_local);
    if snapshot.has_roster {
        let services: BTreeSet<String> =
            snapshot.workloads.iter().map(|workload| workload.qualified()).collect();
        format!(
            "{}: {}, {}, {}, {when}\n",
            escape::terminal(title),
            counted(services.len() as u64, "service", "services"),
            counted(snapshot.workloads.len() as u64, "container", "containers"),
            counted(frames, "frame", "frames"),
        )
    } else {
        let addresses = publication.graph.nodes.len() as u64;
        format!(
            "{}: {}, {}, {when}\n",
            escape::terminal(title),
            counted(addresses, "address", "addresses"),
            counted(frames, "frame", "frames"),
        )
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// Draws the completeness line; it is always there.
pub fn completeness_lines(publication: &Publication, style: Style) -> String {
    let snapshot = &publication.assessment.snapshot;
    let vitals = &publication.vitals;
    let mut parts = Vec::new();
    let mut out = String::new();
    match &snapshot.completeness {
        Completeness::Complete => parts.push("no frame dropped, none rejected".to_owned()),
        Completeness::Unknown { reasons } | Completeness::Incomplete { reasons, .. } => {
            parts.extend(reasons.iter().map(|reason| escape::terminal(reason).into_owned()));
        }
    }
    if snapshot.has_roster {
        let mut seen = format!(
            "{} of {} containers observable",
            grouped(vitals.containers_observable),
            grouped(vitals.containers)
        );
        if !vitals.unobservable.is_empty() {
            let named: Vec<String> = vitals
                .unobservable
                .iter()
                .take(NAMES_SHOWN)
                .map(|(name, reason)| format!("{}, {}", escape::terminal(name), escape::terminal(reason)))
                .collect();
            let _ = write!(seen, " (not: {})", named.join("; "));
        }
        parts.push(seen);
        if !vitals.identity_by.is_empty() {
            parts.push(format!("identity by {}", escape::terminal(&vitals.identity_by)));
        }
    } else {
        parts.push("no roster, addresses stand for themselves".to_owned());
    }
    let word = snapshot.completeness.word();
    let colour = match &snapshot.completeness {
        Completeness::Complete => text::Colour::Plain,
        Completeness::Unknown { .. } => text::Colour::Yellow,
        Completeness::Incomplete { .. } => text::Colour::Red,
    };
    let _ = writeln!(out, "{}: {}", text::paint(word, colour, style.is_coloured), parts.join("; "));
    if let Completeness::Incomplete { blind, .. } = &snapshot.completeness {
        for hole in blind.iter().take(NAMES_SHOWN) {
            let frames = hole.frames.map_or("an unknown number of".to_owned(), grouped);
            let _ = writeln!(
                out,
                "  blind {}: {frames} frames, {}",
                span(hole.from, hole.until, style.is_local),
                escape::terminal(&hole.cause)
            );
        }
        if blind.len() > NAMES_SHOWN {
            let _ = writeln!(out, "  ... {} more", grouped((blind.len() - NAMES_SHOWN) as u64));
        }
    }
    out
}

fn findings_table(assessment: &Assessment, names: &ShortNames, style: Style) -> String {
    let findings = &assessment.findings;
    let span = (assessment.snapshot.from, assessment.snapshot.at);
    let mut out = format!("FINDINGS ({})\n", grouped(findings.len() as u64));
    if findings.is_empty() {
        return out;
    }
    let shown = if style.is_whole { findings.len() } else { findings.len().min(FINDINGS_SHOWN) };
    let mut table = Table::new(&[
        ("", Align::Left),
        ("", Align::Left),
        ("", Align::Left),
        ("", Align::Left),
        ("", Align::Left),
        ("", Align::Left),
        ("", Align::Left),
    ]);
    for finding in findings.iter().take(shown) {
        let severity = text::word(&finding.severity);
        let colour = match finding.severity {
            Severity::High => text::Colour::Red,
            Severity::Medium => text::Colour::Yellow,
            Severity::Low | Severity::Info => text::Colour::Plain,
        };
        table.row_painted(
            vec![
                severity,
                text::spaced(&finding.kind),
                subject(finding, names),
                escape::terminal(&finding.summary).into_owned(),
                escape::terminal(&finding.against).into_owned(),
                format!("since {}", time_within(finding.first_at, span, style.is_local)),
                escape::terminal(&short_id(&finding.id)).into_owned(),
            ],
            if style.is_coloured { Some((0, colour)) } else { None },
        );
    }
    out.push_str(&table.draw_within(style.width));
    if shown < findings.len() {
        let _ = writeln!(out, " ... {} more (--all)", grouped((findings.len() - shown) as u64));
    }
    out
}

fn subject(finding: &Finding, names: &ShortNames) -> String {
    let initiator = names.short(&finding.initiator);
    let responder = names.short(&finding.responder);
    let port = finding.port.map_or(String::new(), |port| format!(":{port}"));
    match finding.kind {
        FindingKind::UndocumentedPort => format!("{responder}{port}  <- {initiator}"),
        FindingKind::UndocumentedListener | FindingKind::UnusedExposure => format!("{responder}{port}"),
        FindingKind::SpoofedSource | FindingKind::StolenMac => format!("{initiator}  as {responder}"),
        FindingKind::UnlistedSource | FindingKind::UnusualLevel => initiator,
        FindingKind::UnexpectedPeer
        | FindingKind::Denied
        | FindingKind::ForeignDatabase
        | FindingKind::DockerApi
        | FindingKind::CloudMetadata
        | FindingKind::InternalOutbound
        | FindingKind::ForeignResolver
        | FindingKind::CleartextAdmin
        | FindingKind::NewEdge
        | FindingKind::ForbiddenEdge
        | FindingKind::PortScan
        | FindingKind::HostSweep
        | FindingKind::Beaconing
        | FindingKind::PasswordGuessing
        | FindingKind::SynFlood => {
            format!("{initiator} -> {responder}{port}")
        }
    }
}

fn edges_table(publication: &Publication, names: &ShortNames, style: Style) -> String {
    let mut edges: Vec<&Edge> = publication.graph.edges.iter().collect();
    // What needs a person first; then the busiest.
    edges.sort_by_key(|edge| {
        (
            edge.findings.is_empty(),
            std::cmp::Reverse((edge.sent + edge.received).bytes),
            edge.source.clone(),
            edge.target.clone(),
            edge.port,
        )
    });
    let mut out = format!("EDGES ({})\n", grouped(edges.len() as u64));
    if edges.is_empty() {
        return out;
    }
    let shown = if style.is_whole { edges.len() } else { edges.len().min(EDGES_SHOWN) };
    let mut table = Table::new(&[
        ("initiator", Align::Left),
        ("responder", Align::Left),
        ("", Align::Left),
        ("conns", Align::Right),
        ("failed", Align::Right),
        ("sent", Align::Right),
        ("received", Align::Right),
        ("rtt p50", Align::Right),
        ("documented by", Align::Left),
        ("", Align::Left),
    ])
    .sparing(&["rtt p50", "received", "sent", "failed", "conns", "documented by"]);
    for edge in edges.iter().take(shown) {
        let is_marked = !edge.findings.is_empty();
        let via = edge.via.as_ref().map_or(String::new(), |via| format!("  via {}", escape::terminal(via)));
        let mark = if is_marked { "!" } else { "" };
        let colour = if is_marked { Some((2, text::Colour::Red)) } else { None };
        table.row_painted(
            vec![
                names.short(&edge.source),
                format!("-> {}:{}{via}", names.short(&edge.target), edge.port),
                mark.to_owned(),
                grouped(edge.connections.answered),
                grouped(edge.connections.failed()),
                amount(edge.sent.bytes),
                amount(edge.received.bytes),
                edge.rtt_p50.map_or("-".to_owned(), milliseconds),
                documented(edge),
                remark(edge),
            ],
            colour.filter(|_| style.is_coloured),
        );
    }
    out.push_str(&table.draw_within(style.width));
    if shown < edges.len() {
        let _ = writeln!(out, " ... {} more (--all)", grouped((edges.len() - shown) as u64));
    }
    out
}

fn amount(count: u64) -> String {
    if count == 0 { "-".to_owned() } else { bytes(count) }
}

fn documented(edge: &Edge) -> String {
    if !edge.documented_by.is_empty() {
        return escape::terminal(&edge.documented_by).into_owned();
    }
    match edge.verdict {
        Verdict::UndocumentedPort | Verdict::UnexpectedPeer | Verdict::SpoofedSource => "nothing".to_owned(),
        Verdict::Learned => "baseline".to_owned(),
        Verdict::NewEdge | Verdict::Forbidden => "nothing".to_owned(),
        Verdict::Denied
        | Verdict::Allowed
        | Verdict::Documented
        | Verdict::Unjudged
        | Verdict::Undeclared
        | Verdict::Backscatter
        | Verdict::Unattributed => "-".to_owned(),
    }
}

/// What the numbers do not say: how attempts failed, and what is a guess.
fn remark(edge: &Edge) -> String {
    let mut words = Vec::new();
    let Outcomes { answered, refused, unanswered, blocked, pending } = edge.connections;
    if answered == 0 {
        for (count, word) in
            [(refused, "refused"), (unanswered, "unanswered"), (blocked, "blocked on this host")]
        {
            if count > 0 {
                words.push(word.to_owned());
            }
        }
        // Groups of receivers and most ICMP messages are not expected to answer.
        if pending > 0 && !edge.port.protocol.is_icmp() && edge.target != "multicast" {
            words.push(format!("{} pending", grouped(pending)));
        }
    }
    if edge.is_proxy_leg {
        words.push("host or docker-proxy".to_owned());
    }
    if edge.is_guess {
        words.push("roles guessed".to_owned());
    }
    match edge.verdict {
        Verdict::Denied
        | Verdict::UnexpectedPeer
        | Verdict::UndocumentedPort
        | Verdict::SpoofedSource
        | Verdict::Undeclared
        | Verdict::NewEdge
        | Verdict::Forbidden
        | Verdict::Unattributed => words.push(text::spaced(&edge.verdict)),
        Verdict::Documented
        | Verdict::Allowed
        | Verdict::Learned
        | Verdict::Unjudged
        | Verdict::Backscatter => {}
    }
    words.join(", ")
}

fn tail(publication: &Publication, names: &ShortNames, style: Style) -> String {
    let mut out = String::new();
    let idle: Vec<String> = publication
        .assessment
        .listeners
        .iter()
        .filter(|listener| listener.class == ListenerClass::DocumentedIdle)
        .map(|listener| {
            let by = listener.documented.first().map_or(String::new(), |it| it.source.to_string());
            let heard = match listener.listens {
                Listens::No => ", nothing listens",
                Listens::Loopback => ", listens on loopback alone",
                Listens::Yes | Listens::NotChecked => "",
            };
            let place = format!("{}:{}", names.short(&listener.service), listener.port);
            if by.is_empty() { place } else { format!("{place} ({}{heard})", escape::terminal(&by)) }
        })
        .collect();
    list(&mut out, "IDLE", "documented and not seen in use", &idle);
    let exposed: Vec<String> = publication
        .assessment
        .exposures
        .iter()
        .filter(|it| !it.is_loopback)
        .map(|it| {
            let place = format!("{}:{} on {}", names.short(&it.service), it.port, it.host);
            let callers = (it.callers.len() as u64).saturating_add(it.callers_more);
            let callers = match callers {
                0 => "nobody came from outside".to_owned(),
                _ => format!("{} from outside", counted(callers, "address", "addresses")),
            };
            let last = it
                .last_used
                .map_or(String::new(), |at| format!(", last used {}", time_of_day(at, style.is_local)));
            format!("{place} ({callers}{last})")
        })
        .collect();
    list(&mut out, "EXPOSED", "published beyond this host, whose firewall is not checked", &exposed);
    let joined: Vec<String> = publication
        .assessment
        .joins
        .iter()
        .map(|join| {
            let what = match join.what.as_str() {
                "host" => String::new(),
                what => format!(" {}", escape::terminal(what)),
            };
            let member =
                |it: &JoinMember| format!("{} ({})", names.short(&it.service), escape::terminal(&it.how));
            let mut members: Vec<String> = join.members.iter().map(member).collect();
            members.dedup();
            if join.members_left_out > 0 {
                members.push(format!("{} more", grouped(join.members_left_out)));
            }
            format!("{}{what}: {}", join.kind.name().replace('_', " "), members.join(" and "))
        })
        .collect();
    list(&mut out, "JOINED", "without a packet", &joined);
    let listening: Vec<String> = publication
        .assessment
        .listeners
        .iter()
        .filter(|listener| listener.class == ListenerClass::UndocumentedListening)
        .map(|listener| {
            let place = format!("{}:{}", names.short(&listener.service), listener.port);
            format!("{place} (in {})", escape::terminal(&listener.listens_in.join(", ")))
        })
        .collect();
    list(&mut out, "LISTENING", "undocumented and not called yet", &listening);
    let not_checked: Vec<String> = publication
        .assessment
        .listening_not_checked
        .iter()
        .map(|it| format!("{} ({})", escape::terminal(&it.container), escape::terminal(&it.reason)))
        .collect();
    list(&mut out, "NOT CHECKED", "nobody knows what listens in", &not_checked);
    let undeclared: Vec<String> =
        publication.assessment.undeclared.iter().map(|service| names.short(service)).collect();
    list(&mut out, "UNDECLARED", "no source documents any port", &undeclared);
    out
}

fn list(out: &mut String, title: &str, meaning: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    let shown = items.iter().take(NAMES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    let more = items.len().saturating_sub(NAMES_SHOWN);
    let more = if more > 0 { format!(", ... {more} more") } else { String::new() };
    let _ = writeln!(out, "{title} ({})  {meaning}: {shown}{more}", grouped(items.len() as u64));
}

/// `project/service` shortened to `service` where that is unambiguous.
struct ShortNames {
    short: BTreeMap<String, String>,
}

impl ShortNames {
    fn of(publication: &Publication) -> Self {
        let mut owners: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for workload in &publication.assessment.snapshot.workloads {
            owners.entry(workload.service.clone()).or_default().insert(workload.qualified());
        }
        let words = ["host", "external", "unclaimed", "multicast", "ambiguous"];
        let short = owners
            .into_iter()
            .filter(|(service, _)| !words.contains(&service.as_str()))
            .filter_map(|(service, qualified)| match qualified.into_iter().collect::<Vec<_>>().as_slice() {
                [only] => Some((only.clone(), service)),
                _ => None,
            })
            .collect();
        Self { short }
    }

    fn short(&self, name: &str) -> String {
        escape::terminal(self.short.get(name).map_or(name, String::as_str)).into_owned()
    }
}

/// Draws how the engine is doing: completeness, accounts, identity.
pub fn status(publication: &Publication, style: Style) -> String {
    let snapshot = &publication.assessment.snapshot;
    let vitals = &publication.vitals;
    let ledger = &snapshot.ledger;
    let mut out = format!(
        "portolan {} on {}, since {}\n",
        escape::terminal(&vitals.version),
        escape::terminal(&vitals.host),
        span(vitals.started_at, snapshot.at, style.is_local)
    );
    out.push_str(&completeness_lines(publication, style));
    if let Some(stale) = &snapshot.stale {
        let _ = writeln!(out, "names may be out of date: {}", escape::terminal(stale));
    }
    let mut table = Table::new(&[("frames", Align::Left), ("", Align::Right), ("bytes", Align::Right)]);
    let dropped = snapshot.kernel_dropped.map_or("not stated".to_owned(), grouped);
    table.row(vec!["dropped by the kernel".to_owned(), dropped, String::new()]);
    for (what, tally) in [
        ("delivered", ledger.delivered),
        ("  in flows", ledger.metered),
        ("  ARP", ledger.arp),
        ("  other than IP", ledger.other_non_ip),
        ("  no room in the flow table", ledger.overflow),
        ("  second sightings", ledger.second_sighting),
        ("  of foreign interfaces", ledger.foreign),
        ("  of interfaces without a role", ledger.unknown_interface),
        ("  deselected", ledger.deselected),
        ("  rejected", ledger.all_rejected()),
        ("  held", ledger.held),
    ] {
        table.row(vec![what.to_owned(), grouped(tally.frames), grouped(tally.bytes)]);
    }
    out.push_str(&table.draw_within(style.width));
    let _ = writeln!(
        out,
        "residual {} frames, {} bytes; {} flows of {} at most, {} conversations, {} evicted; {} ticks",
        vitals.residual_frames,
        vitals.residual_bytes,
        grouped(vitals.flows_live),
        grouped(vitals.flows_max),
        grouped(vitals.conversations),
        grouped(ledger.flows_evicted),
        grouped(vitals.ticks),
    );
    let dns = vitals.dns;
    if dns != DnsCounts::default() {
        let _ = writeln!(
            out,
            "{} names of addresses outside, from {} DNS answers; {} nobody asked for, {} cut, {} malformed, {} missed; \
             {} names evicted",
            grouped(dns.names),
            grouped(dns.answers),
            grouped(dns.unasked),
            grouped(dns.cut),
            grouped(dns.malformed),
            grouped(dns.missed),
            grouped(dns.evicted),
        );
    }
    out
}
