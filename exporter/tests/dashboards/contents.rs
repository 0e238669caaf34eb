//! What the dashboards show. `UPDATE_GOLDEN=1 cargo test -p portolan-exporter --test dashboards` draws them.

use portolan_exporter::catalogue as c;
use serde_json::json;

use crate::board::{Board, Choice, EDGE, Shows, Unit, growth, of, table_query};

const BYTES: Unit = Unit("bytes");
const BYTES_PER_SECOND: Unit = Unit("Bps");
const PER_SECOND: Unit = Unit("cps");
const COUNT: Unit = Unit("short");
const SECONDS: Unit = Unit("s");
const FRACTION: Unit = Unit("percentunit");
const INSTANT: Unit = Unit("dateTimeAsIso");
const WORD: Unit = Unit("none");

/// Verdicts on which somebody should look.
const FAULTS: &str = "undocumented_port|unexpected_peer|denied|forbidden|new_edge|spoofed_source";

/// The columns that name an edge.
const ENDS: [(&str, &str); 7] = [
    ("host", "host"),
    ("client_project", "client's project"),
    ("client", "client"),
    ("server_project", "server's project"),
    ("server", "server"),
    ("port", "port"),
    ("protocol", "protocol"),
];

/// The columns that say what to think of it.
const JUDGEMENT: [(&str, &str); 3] =
    [("verdict", "verdict"), ("documented_by", "documented by"), ("network", "network")];

pub(crate) fn all() -> [Board; 5] {
    [connectivity(), exposure(), service(), itself(), map()]
}

/// Adds how an edge is judged, where it is still there to be judged.
fn judged(edges: &str) -> String {
    let info = of(c::EDGE_INFO, "");
    format!(
        "(({edges}) * on ({EDGE}) group_left (verdict, documented_by, network) {info}) or on ({EDGE}) ({edges})"
    )
}

/// Keeps the edges with an end that was chosen.
fn chosen(edges: &str) -> String {
    let client = of(c::EDGE_INFO, "client_project=~\"$project\",client=~\"$service\"");
    let server = of(c::EDGE_INFO, "server_project=~\"$project\",server=~\"$service\"");
    format!(
        "({edges} and on ({EDGE}) (last_over_time({client}[$__range]) or last_over_time({server}[$__range])))"
    )
}

fn bytes() -> String {
    format!("sum without (direction) ({})", growth(c::EDGE_BYTES, ""))
}

fn failures() -> String {
    growth(c::EDGE_CONNECTIONS, "outcome!=\"answered\"")
}

/// When edges were seen first, of those seen first in the time shown.
fn news() -> String {
    let first = of(c::EDGE_FIRST_SEEN, "");
    format!("(last_over_time({first}[$__range]) > time() - $__range_s)")
}

fn columns(further: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    ENDS.iter().chain(further).copied().collect()
}

fn connectivity() -> Board {
    let projects = format!("label_values({}, project)", of(c::SERVICE_CONTAINERS, ""));
    let services = format!("label_values({}, service)", of(c::SERVICE_CONTAINERS, "project=~\"$project\""));
    let all = of(c::EDGE_FIRST_SEEN, "");
    Board::new(
        "connectivity",
        "Connectivity",
        "Who talks to whom, what is new, what fails. From Prometheus alone; a connection of three packets shows.",
    )
    .choose("project", "Project", &projects, Choice::Many(".*"))
    .choose("service", "Service", &services, Choice::Many(".*"))
    .stat(
        ("Completeness", "Whether frames were missed since Portolan started. What is incomplete is too low, never too high."),
        4,
        WORD,
        &format!("{} == 1", of(c::CAPTURE_COMPLETENESS, "")),
        Shows::Name("{{state}}"),
    )
    .stat(("Edges", "Client, server and port that were seen together in the time shown."), 4, COUNT,
        &format!("count({})", chosen(&format!("last_over_time({all}[$__range])"))), Shows::Value)
    .stat(("New edges", "Those seen first in the time shown. After a start of Portolan everything is new."), 4, COUNT,
        &format!("count({}) or vector(0)", chosen(&news())), Shows::Value)
    .stat(("Failed connections", "Refused, blocked or not answered, in the time shown."), 4, COUNT,
        &format!("sum({}) or vector(0)", chosen(&failures())), Shows::Value)
    .stat(("Findings", "Findings that stand, all kinds and severities."), 4, COUNT,
        &format!("sum({})", of(c::FINDINGS, "")), Shows::Value)
    .stat(("Containers not seen", "Containers whose traffic cannot be observed from the host, such as those on the host's network; portolan doctor names them."), 4, COUNT,
        &format!("sum({})", of(c::IDENTITY_CONTAINERS, "state=\"unobservable\"")), Shows::Value)
    .panel(
        ("Who talks to whom", "Bytes in the time shown. Red: undocumented, unexpected, denied or forged; blue: new to what was learned; the word says it too."),
        (24, 16),
        node_graph(),
    )
    .table(
        ("New edges", "Seen first in the time shown, the latest first; one connection is enough."),
        24,
        &judged(&format!("1000 * {}", chosen(&news()))),
        &columns(&JUDGEMENT),
        ("first seen", INSTANT),
    )
    .table(
        ("Top talkers", "The 20 edges with most bytes in the time shown."),
        12,
        &format!("topk(20, {} > 0)", chosen(&bytes())),
        &columns(&[]),
        ("bytes", BYTES),
    )
    .table(
        ("Failures", "Connections that were refused, blocked or not answered, in the time shown."),
        12,
        &format!("({}) > 0", chosen(&failures())),
        &columns(&[("outcome", "outcome")]),
        ("connections", COUNT),
    )
    .curves(("Bytes to and from servers", "Bytes per second of each server, both directions."), 12, BYTES_PER_SECOND, &[(
        &format!(
            "sum by (instance, host, server_project, server) (rate({}[$__rate_interval]))",
            of(c::EDGE_BYTES, "server_project=~\"$project\",server=~\"$service\"")
        ),
        "{{server_project}}/{{server}}",
    )])
    .curves(("Connections", "Connections per second, by what became of them."), 12, PER_SECOND, &[(
        &format!(
            "sum by (outcome) (rate({}[$__rate_interval]))",
            of(c::EDGE_CONNECTIONS, "server_project=~\"$project\",server=~\"$service\"")
        ),
        "{{outcome}}",
    )])
    .curves(("Round trip", "Median TCP handshake of each edge, to a quarter octave."), 24, SECONDS, &[(
        &of(c::EDGE_RTT, "server_project=~\"$project\",server=~\"$service\""),
        "{{client}} to {{server}}:{{port}}",
    )])
}

/// The edges of the node graph, and the nodes they end at, which is all of them and no other.
fn node_graph() -> serde_json::Value {
    let edges = format!("({} > 0)", chosen(&bytes()));
    let end = |of: &str, what: &str, side: &str| {
        format!("label_join({of}, \"{what}\", \" \", \"instance\", \"{side}_project\", \"{side}\")")
    };
    let colour = |of: &str, colour: &str, verdicts: &str| {
        format!("label_replace({of}, \"color\", \"{colour}\", \"verdict\", \"{verdicts}\")")
    };
    let mut drawn = judged(&edges);
    drawn = colour(&drawn, "#7b93a8", ".*");
    drawn = colour(&drawn, "#1f60c4", "new_edge");
    drawn = colour(&drawn, "#c4162a", &FAULTS.replace("|new_edge", ""));
    drawn = format!("label_join({drawn}, \"service_port\", \"/\", \"port\", \"protocol\")");
    // A protocol without ports.
    drawn = format!("label_replace({drawn}, \"service_port\", \"$1\", \"service_port\", \"/(.*)\")");
    drawn = format!("label_join({drawn}, \"secondarystat\", \" \", \"service_port\", \"verdict\")");
    drawn = end(&end(&drawn, "source", "client"), "target", "server");
    drawn = format!("label_join({drawn}, \"id\", \" \", \"source\", \"target\", \"service_port\")");
    let nodes = |side: &str| {
        let named = format!(
            "label_replace(label_replace({edges}, \"title\", \"$1\", \"{side}\", \"(.*)\"), \
             \"subtitle\", \"$1\", \"{side}_project\", \"(.*)\")"
        );
        end(&named, "id", side)
    };
    let nodes = format!("sum by (id, title, subtitle) ({} or {})", nodes("client"), nodes("server"));
    let rename = json!({
        "Value": "mainstat", "Value #nodes": "mainstat", "Value #edges": "mainstat",
        "verdict": "detail__verdict", "documented_by": "detail__documented_by", "network": "detail__network",
    });
    let hidden = json!({
        "Time": true, "job": true, "instance": true, "host": true, "client": true, "client_project": true, "server": true,
        "server_project": true, "port": true, "protocol": true, "service_port": true,
    });
    json!({
        "type": "nodeGraph",
        "targets": [table_query("nodes", &nodes), table_query("edges", &drawn)],
        "fieldConfig": { "defaults": { "unit": "bytes" }, "overrides": [] },
        "options": {
            "layoutAlgorithm": "layered", "zoomMode": "cooperative",
            "nodes": { "mainStatUnit": "bytes", "arcs": [] }, "edges": { "mainStatUnit": "bytes" },
        },
        "transformations": [{
            "id": "organize",
            "options": { "excludeByName": hidden, "indexByName": {}, "renameByName": rename },
        }],
    })
}

fn exposure() -> Board {
    let severity = |severity: &str| format!("sum({})", of(c::FINDINGS, &format!("severity=\"{severity}\"")));
    let listeners = |class: &str| of(c::LISTENER_INFO, &format!("project=~\"$project\",class=\"{class}\""));
    let count = |class: &str| format!("count({}) or vector(0)", listeners(class));
    let first = of(c::EDGE_FIRST_SEEN, "");
    let ages = format!(
        "label_replace(label_replace(time() - min by (job, instance, host, server_project, server, port, protocol) ({first}), \
         \"service\", \"$1\", \"server\", \"(.*)\"), \"project\", \"$1\", \"server_project\", \"(.*)\")"
    );
    let faults = of(c::EDGE_INFO, &format!("verdict=~\"{FAULTS}\""));
    let ports = [
        ("host", "host"),
        ("project", "project"),
        ("service", "service"),
        ("port", "port"),
        ("protocol", "protocol"),
    ];
    let projects = format!("label_values({}, project)", of(c::SERVICE_CONTAINERS, ""));
    Board::new(
        "exposure",
        "Exposure and findings",
        "What serves a port nobody documented, who talks to whom unexpectedly, how grave and since when.",
    )
    .choose("project", "Project", &projects, Choice::Many(".*"))
    .stat(("High", "Findings of severity high: somebody should look now."), 4, COUNT, &severity("high"), Shows::Value)
    .stat(("Medium", "Findings of severity medium: somebody should look."), 4, COUNT, &severity("medium"), Shows::Value)
    .stat(("Low", "Findings of severity low: an attempt that led nowhere, or an open port nobody called."), 4, COUNT, &severity("low"), Shows::Value)
    .stat(("Undocumented and used", "Service ports that answer and that nothing documents."), 4, COUNT, &count("undocumented_used"), Shows::Value)
    .stat(("Undocumented and listening", "Service ports that are open, documented by nothing, and called by nobody yet."), 4, COUNT, &count("undocumented_listening"), Shows::Value)
    .stat(("Completeness", "Whether frames were missed since Portolan started. What was missed may hold findings."), 4, WORD,
        &format!("{} == 1", of(c::CAPTURE_COMPLETENESS, "")), Shows::Name("{{state}}"))
    .table(
        ("Edges that should not be", "Edges whose verdict is a finding, and their age. portolan why 'client -> server:port' explains one."),
        24,
        &format!("(time() - {first}) * on ({EDGE}) group_left (verdict, documented_by, network) {faults}"),
        &columns(&JUDGEMENT),
        ("age", SECONDS),
    )
    .table(
        ("Undocumented ports in use", "Service ports that answered and that nothing documents, and how long ago they were called first."),
        12,
        &format!("{ages} * on (job, instance, host, service, project, port, protocol) group_left (class) {}", listeners("undocumented_used")),
        &ports,
        ("age", SECONDS),
    )
    .table(
        ("Undocumented ports that listen", "Open to everybody on their networks; nobody called them yet."),
        12,
        &listeners("undocumented_listening"),
        &ports,
        ("listening", WORD),
    )
    .table(
        ("Findings", "How many stand, by kind and severity; portolan rules show KIND tells what a kind means."),
        12,
        &format!("{} > 0", of(c::FINDINGS, "")),
        &[("host", "host"), ("kind", "kind"), ("severity", "severity")],
        ("findings", COUNT),
    )
    .table(
        ("Documented and idle", "Documented ports nobody called since Portolan started: candidates to close."),
        12,
        &listeners("documented_idle"),
        &ports,
        ("documented", WORD),
    )
    .curves(("Findings that stand", "By severity."), 12, COUNT, &[(
        &format!("sum by (severity) ({})", of(c::FINDINGS, "")), "{{severity}}")])
    .curves(("Findings raised", "New ones, and those raised again with another severity, by kind."), 12, COUNT, &[(
        &format!("sum by (kind) (increase({}[$__rate_interval])) > 0", of(c::FINDINGS_RAISED, "")), "{{kind}}")])
    .curves(("Edges by verdict", "How many edges are judged how."), 12, COUNT, &[(
        &format!("count by (verdict) ({})", of(c::EDGE_INFO, "")), "{{verdict}}")])
    .table(
        ("What is not yet known of a service", "The chance that its next draw shows an edge nobody has seen, at most; a service judges by its baseline once that is low. Empty without a baseline."),
        12,
        &of(c::BASELINE_NOVELTY, "project=~\"$project\""),
        &[("host", "host"), ("project", "project"), ("service", "service")],
        ("chance", FRACTION),
    )
}

fn service() -> Board {
    let projects = format!("label_values({}, project)", of(c::SERVICE_CONTAINERS, ""));
    let services = format!("label_values({}, service)", of(c::SERVICE_CONTAINERS, "project=~\"$project\""));
    let server = "server_project=~\"$project\",server=\"$service\"";
    let client = "client_project=~\"$project\",client=\"$service\"";
    let own = "project=~\"$project\",service=\"$service\"";
    let carried = |side: &str| format!("sum without (direction) ({}) > 0", growth(c::EDGE_BYTES, side));
    let failed = |side: &str| {
        format!("({}) > 0", growth(c::EDGE_CONNECTIONS, &format!("{side},outcome!=\"answered\"")))
    };
    let who = |side: &str| {
        format!(
            "count(count by ({side}_project, {side}) ({})) or vector(0)",
            of(c::EDGE_FIRST_SEEN, if side == "client" { server } else { client })
        )
    };
    let rate =
        |side: &str| format!("sum by (direction) (rate({}[$__rate_interval]))", of(c::EDGE_BYTES, side));
    let outcomes =
        |side: &str| format!("sum by (outcome) (rate({}[$__rate_interval]))", of(c::EDGE_CONNECTIONS, side));
    let callers = [
        ("host", "host"),
        ("client_project", "project"),
        ("client", "client"),
        ("port", "port"),
        ("protocol", "protocol"),
    ];
    let called = [
        ("host", "host"),
        ("server_project", "project"),
        ("server", "server"),
        ("port", "port"),
        ("protocol", "protocol"),
    ];
    let with = |columns: &[(&'static str, &'static str)], further: &[(&'static str, &'static str)]| {
        columns.iter().chain(further).copied().collect::<Vec<_>>()
    };
    Board::new("service", "Service detail", "One service: who calls it, whom it calls, on which ports, with what success.")
    .choose("project", "Project", &projects, Choice::Many(".*"))
    .choose("service", "Service", &services, Choice::One)
    .stat(("Containers", "Replicas of the service: containers that share its name, running or ended within the last minute."), 6, COUNT,
        &format!("sum({})", of(c::SERVICE_CONTAINERS, own)), Shows::Value)
    .stat(("Callers", "Services, or the host or the outside, that called it since Portolan started."), 6, COUNT, &who("client"), Shows::Value)
    .stat(("Called by it", "Services, or the host or the outside, that it called since Portolan started."), 6, COUNT, &who("server"), Shows::Value)
    .stat(("Undocumented ports", "Its ports that nothing documents, called or not."), 6, COUNT,
        &format!("count({}) or vector(0)", of(c::LISTENER_INFO, &format!("{own},class=~\"undocumented_.*\""))), Shows::Value)
    .table(("Who calls it", "Bytes of both directions in the time shown."), 12, &judged(&carried(server)),
        &with(&callers, &[("verdict", "verdict")]), ("bytes", BYTES))
    .table(("Whom it calls", "Bytes of both directions in the time shown."), 12, &judged(&carried(client)),
        &with(&called, &[("verdict", "verdict")]), ("bytes", BYTES))
    .table(("Its ports", "Each service port, and whether it is documented and used."), 12, &of(c::LISTENER_INFO, own),
        &[("host", "host"), ("port", "port"), ("protocol", "protocol"), ("class", "class")], ("is", WORD))
    .table(("Replicas", "Containers of the service by host and project."), 12, &of(c::SERVICE_CONTAINERS, own),
        &[("host", "host"), ("project", "project"), ("service", "service")], ("containers", COUNT))
    .curves(("Bytes of its callers", "Bytes per second to it and back."), 12, BYTES_PER_SECOND, &[(&rate(server), "{{direction}}")])
    .curves(("Bytes of its calls", "Bytes per second to whom it calls, and back."), 12, BYTES_PER_SECOND, &[(&rate(client), "{{direction}}")])
    .curves(("Connections to it", "Per second, by what became of them."), 12, PER_SECOND, &[(&outcomes(server), "{{outcome}}")])
    .curves(("Connections of it", "Per second, by what became of them."), 12, PER_SECOND, &[(&outcomes(client), "{{outcome}}")])
    .table(("Failures of its callers", "Connections to it that were refused, blocked or not answered, in the time shown."), 12, &failed(server),
        &with(&callers, &[("outcome", "outcome")]), ("connections", COUNT))
    .table(("Failures of its calls", "Its connections that were refused, blocked or not answered, in the time shown."), 12, &failed(client),
        &with(&called, &[("outcome", "outcome")]), ("connections", COUNT))
    .curves(("Round trip", "Median TCP handshake with it, by client."), 24, SECONDS, &[(
        &of(c::EDGE_RTT, server), "{{client_project}}/{{client}} to port {{port}}")])
}

fn itself() -> Board {
    let rate = |metric, by: &str| {
        let rate = format!("(rate({}[$__rate_interval]))", of(metric, ""));
        if by.is_empty() {
            format!("sum by (instance, host) {rate}")
        } else {
            format!("sum by (instance, host, {by}) {rate}")
        }
    };
    let by_host = "{{host}}";
    Board::new("itself", "Portolan itself", "Whether Portolan sees everything, whether its accounts balance, and what it costs.")
    .stat(("Completeness", "Whether frames were missed since the start."), 4, WORD,
        &format!("{} == 1", of(c::CAPTURE_COMPLETENESS, "")), Shows::Name("{{host}} {{state}}"))
    .stat(("Blind intervals", "Times in which frames were lost; portolan status names when and why."), 4, COUNT,
        &format!("sum({})", of(c::CAPTURE_BLIND, "")), Shows::Value)
    .stat(("Residual frames", "Frames by which the accounts do not balance. Anything but 0 is a defect."), 4, COUNT,
        &format!("sum({})", of(c::LEDGER_RESIDUAL_FRAMES, "")), Shows::Value)
    .stat(("Residual bytes", "Bytes by which the accounts do not balance. Anything but 0 is a defect."), 4, BYTES,
        &format!("sum({})", of(c::LEDGER_RESIDUAL_BYTES, "")), Shows::Value)
    .stat(("Names are stale", "Hosts whose Docker does not answer, so that names may be out of date."), 4, COUNT,
        &format!("sum({})", of(c::IDENTITY_STALE, "")), Shows::Value)
    .stat(("Version", "Version of the program."), 4, WORD, &of(c::BUILD_INFO, ""), Shows::Name("{{version}}"))
    .curves(("Frames delivered", "Frames per second the capture delivered."), 8, PER_SECOND, &[(&rate(c::CAPTURE_FRAMES, ""), by_host)])
    .curves(("Frames missed", "Dropped by the kernel before they were seen, per second. Above 0, every figure of that time is too low."), 8, PER_SECOND,
        &[(&rate(c::CAPTURE_DROPPED, ""), by_host)])
    .curves(("Bytes delivered", "Bytes per second the capture delivered."), 8, BYTES_PER_SECOND, &[(&rate(c::CAPTURE_BYTES, ""), by_host)])
    .curves(("Where frames went", "Per second: metered into flows, left out by rule, unreadable, without IP, or beyond the flow table."), 12, PER_SECOND, &[
        (&rate(c::FLOWTABLE_METERED, ""), "{{host}} metered"),
        (&rate(c::CAPTURE_NOT_COUNTED, "reason"), "{{host}} not counted: {{reason}}"),
        (&rate(c::CAPTURE_REJECTED, "reason"), "{{host}} rejected: {{reason}}"),
        (&rate(c::CAPTURE_NON_IP, "reason"), "{{host}} no IP: {{reason}}"),
        (&rate(c::FLOWTABLE_OVERFLOW, ""), "{{host}} overflow"),
    ])
    .curves(("Frames on their way", "Held for their interface's role, or of conversations without a name yet."), 12, COUNT, &[
        (&of(c::CAPTURE_HELD, ""), "{{host}} held"),
        (&of(c::FLOWTABLE_WITHHELD, ""), "{{host}} withheld"),
    ])
    .curves(("Flow table", "How much of its room is taken."), 8, FRACTION, &[(
        &format!("{} / {}", of(c::FLOWTABLE_FLOWS, ""), of(c::FLOWTABLE_FLOWS_MAX, "")), by_host)])
    .curves(("Flows", "Opened, ended and evicted, per second."), 8, PER_SECOND, &[
        (&rate(c::FLOWTABLE_OPENED, ""), "{{host}} opened"),
        (&rate(c::FLOWTABLE_ENDED, ""), "{{host}} ended"),
        (&rate(c::FLOWTABLE_EVICTED, ""), "{{host}} evicted"),
    ])
    .curves(("Conversations and series", "Conversations held, and edges with series of their own."), 8, COUNT, &[
        (&of(c::FLOWTABLE_CONVERSATIONS, ""), "{{host}} conversations"),
        (&of(c::EXPORTER_SERIES, ""), "{{host}} edges with series"),
    ])
    .curves(("Folded and forgotten", "Per second: conversations and series counted together for want of room, flow records off the list's end."), 8, PER_SECOND, &[
        (&rate(c::FLOWTABLE_FOLDED, ""), "{{host}} conversations folded"),
        (&rate(c::EXPORTER_FOLDED, ""), "{{host}} series folded"),
        (&rate(c::EXPORTER_FLOWS_FORGOTTEN, ""), "{{host}} flow records forgotten"),
    ])
    .curves(("Containers", "Known, observable from here, matched to their interface, and not observable."), 8, COUNT, &[(
        &of(c::IDENTITY_CONTAINERS, ""), "{{host}} {{state}}")])
    .curves(("Docker", "Events received and full listings taken, per second."), 8, PER_SECOND, &[
        (&rate(c::IDENTITY_EVENTS, ""), "{{host}} events"),
        (&rate(c::IDENTITY_LISTS, ""), "{{host}} listings"),
    ])
    .curves(("Age of the picture", "Seconds since the latest publication; more than a few where a thread stalls."), 8, SECONDS, &[(
        &of(c::PUBLICATION_AGE, ""), by_host)])
    .curves(("Rounds and stalls", "Times the picture was drawn, and times it was late, per second."), 8, PER_SECOND, &[
        (&rate(c::TICKS, ""), "{{host}} rounds"),
        (&rate(c::STALLS, ""), "{{host}} stalls"),
    ])
    .curves(("From frame to finding", "95 of 100 findings were raised within this time of their first frame."), 8, SECONDS, &[(
        &format!(
            "histogram_quantile(0.95, sum by (le, instance, host) (rate({}[$__rate_interval])))",
            of(c::FINDING_LATENCY, "").replacen('{', "_bucket{", 1)
        ),
        by_host,
    )])
    .curves(("Processor", "Processors' worth of time Portolan uses."), 8, FRACTION, &[(&rate(c::PROCESS_CPU, ""), by_host)])
    .curves(("Memory", "Resident memory."), 8, BYTES, &[(&of(c::PROCESS_MEMORY, ""), by_host)])
    .curves(("Scrape", "How long a scrape takes, as Prometheus sees it."), 8, SECONDS, &[(
        &format!("scrape_duration_seconds{{job=~\"$job\",instance=~\"$instance\"}} and on (job, instance) {}", of(c::START_TIME, "")), "{{instance}}")])
    .curves(("Requests", "HTTP requests answered, per second."), 12, PER_SECOND, &[(
        &rate(c::EXPORTER_REQUESTS, "route, code"), "{{host}} {{route}} {{code}}")])
    .curves(("Events", "Events written and lost, and connections closed for being in the way, per second."), 12, PER_SECOND, &[
        (&rate(c::EXPORTER_EVENTS, ""), "{{host}} written"),
        (&rate(c::EXPORTER_EVENTS_LOST, ""), "{{host}} lost"),
        (&rate(c::EXPORTER_CLOSED, "reason"), "{{host}} connections {{reason}}"),
    ])
    .curves(("Names of the outside", "DNS messages by what became of them, per second: those named taught what an address outside is called."), 12, PER_SECOND, &[
        (&rate(c::FLOWTABLE_DNS_MESSAGES, "outcome"), "{{host}} {{outcome}}"),
        (&rate(c::FLOWTABLE_DNS_EVICTED, ""), "{{host}} names forgotten for want of room"),
    ])
    .curves(("Names held", "Names of addresses outside, as containers were told them."), 12, COUNT, &[(
        &of(c::FLOWTABLE_DNS_NAMES, ""), "{{host}}")])
    .table(("Configuration", "Whether the last reload of configuration and contract was good."), 12, &of(c::CONFIG_RELOAD_OK, ""),
        &[("host", "host")], ("good", WORD))
    .table(("Started", "When each Portolan began; what was before, it does not know."), 12, &format!("1000 * {}", of(c::START_TIME, "")),
        &[("host", "host")], ("since", INSTANT))
}

/// The map by Portolan's own words, through the Infinity data source.
fn map() -> Board {
    let infinity = json!({ "type": "yesoreyeram-infinity-datasource", "uid": "${infinity}" });
    let frame = |what: &str| {
        json!({
            "refId": what, "datasource": infinity, "type": "json", "source": "url", "parser": "backend",
            "format": format!("node-graph-{what}"), "root_selector": what, "columns": [], "filters": [],
            "url": "$portolan/api/v1/graph?format=grafana&group=$group",
            "url_options": { "method": "GET", "data": "" },
        })
    };
    let plain = |name: &str, label: &str, kind: &str, query: &str| {
        json!({
            "name": name, "label": label, "type": kind, "query": query, "hide": 0,
            "includeAll": false, "multi": false, "options": [], "refresh": 1, "regex": "", "skipUrlSync": false,
        })
    };
    let groups: Vec<_> = ["service", "container", "project", "network"]
        .iter()
        .map(|group| json!({ "text": group, "value": group, "selected": *group == "service" }))
        .collect();
    let address = "http://127.0.0.1:9414";
    let mut by_group = plain("group", "A node is a", "custom", "service,container,project,network");
    by_group["current"] = json!({ "selected": true, "text": "service", "value": "service" });
    by_group["options"] = json!(groups);
    let mut at = plain("portolan", "Portolan", "textbox", address);
    at["current"] = json!({ "selected": true, "text": address, "value": address });
    Board::new("map", "Map (Infinity)", "The map as Portolan draws it, with verdicts and findings: needs the data source plugin yesoreyeram-infinity-datasource.")
        .only(vec![
            plain("infinity", "Data source", "datasource", "yesoreyeram-infinity-datasource"),
            at,
            by_group,
        ])
        .panel(
            ("Who talks to whom", "Red: undocumented, unexpected, denied or forged; blue: new to what was learned; grey and dashed: never answered, or the direction is a guess. The word under an edge says it too."),
            (24, 22),
            json!({
                "type": "nodeGraph", "datasource": infinity, "targets": [frame("nodes"), frame("edges")],
                "fieldConfig": { "defaults": {}, "overrides": [] },
                "options": {
                    "layoutAlgorithm": "layered", "zoomMode": "cooperative",
                    "nodes": { "mainStatUnit": "bytes", "arcs": [] }, "edges": { "mainStatUnit": "bytes" },
                },
            }),
        )
}
