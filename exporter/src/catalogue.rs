//! The catalogue: the one list of everything exported. `docs/metrics.md` is generated from it.

use std::fmt::Write as _;

/// Whether a family counts or shows a state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Only grows while its series lives.
    Counter,
    /// May fall.
    Gauge,
    /// Counts in buckets.
    Histogram,
}

impl Kind {
    /// Returns the word of the text format.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One family.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Metric {
    /// `portolan_<subject>_<what>_<unit>`, with `_total` on counters.
    pub name: &'static str,
    /// Whether it counts.
    pub kind: Kind,
    /// One sentence a stranger understands at three in the morning.
    pub help: &'static str,
    /// Label names, in the order of their values; [`HOST`] stands in front of them.
    pub labels: &'static [&'static str],
}

/// Label of every series, in front of those of its family: the host Portolan runs on.
pub const HOST: &str = "host";

/// Labels of every series of an edge; those with more have them behind.
pub(crate) const EDGE: &[&str] =
    &["client", "client_project", "server", "server_project", "port", "protocol"];
/// Labels of every series of a container.
const CONTAINER: &[&str] = &["container", "service", "project"];
const EDGE_DIRECTION: &[&str] =
    &["client", "client_project", "server", "server_project", "port", "protocol", "direction"];
const EDGE_OUTCOME: &[&str] =
    &["client", "client_project", "server", "server_project", "port", "protocol", "outcome"];
const EDGE_INFO_LABELS: &[&str] = &[
    "client",
    "client_project",
    "server",
    "server_project",
    "port",
    "protocol",
    "verdict",
    "documented_by",
    "network",
];

macro_rules! catalogue {
    ($($constant:ident = $name:literal $kind:ident $labels:expr, $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: Metric =
            Metric { name: $name, kind: Kind::$kind, help: $help, labels: $labels };)*

        /// Every family, in the order of the exposition.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

catalogue! {
    EDGE_BYTES = "portolan_edge_bytes_total" Counter EDGE_DIRECTION,
        "Bytes on the wire between two services on one service port, by direction.";
    EDGE_FRAMES = "portolan_edge_frames_total" Counter EDGE_DIRECTION,
        "Frames between two services on one service port, by direction.";
    EDGE_CONNECTIONS = "portolan_edge_connections_total" Counter EDGE_OUTCOME,
        "Connections between two services on one service port, by what became of them; flows where the protocol has no connections.";
    EDGE_INFO = "portolan_edge_info" Gauge EDGE_INFO_LABELS,
        "Always 1: how an edge is judged, who documents its port, and the networks it was seen in.";
    EDGE_FIRST_SEEN = "portolan_edge_first_seen_timestamp_seconds" Gauge EDGE,
        "When the first frame of an edge was seen, in seconds since 1970-01-01 UTC.";
    EDGE_RTT = "portolan_edge_rtt_seconds" Gauge EDGE,
        "Median TCP handshake round trip of an edge in seconds, to a quarter octave.";
    SERVICE_CONTAINERS = "portolan_service_containers" Gauge &["service", "project"],
        "Containers of a service: its replicas, running or ended within the last 40 seconds.";
    CONTAINER_MEMORY = "portolan_container_memory_bytes" Gauge CONTAINER,
        "Memory a container uses in bytes, page cache that can be given up at once left out; absent where Docker is not asked.";
    CONTAINER_CPU = "portolan_container_cpu_seconds_total" Counter CONTAINER,
        "Processor time a container used since its start, all processors together, in seconds.";
    CONTAINER_BLOCK_READ = "portolan_container_block_read_bytes_total" Counter CONTAINER,
        "Bytes a container read from block devices since its start; absent where its engine does not say.";
    CONTAINER_BLOCK_WRITTEN = "portolan_container_block_written_bytes_total" Counter CONTAINER,
        "Bytes a container wrote to block devices since its start; absent where its engine does not say.";
    CONTAINER_PIDS = "portolan_container_pids" Gauge CONTAINER,
        "Processes and threads of a container.";
    INDICATORS_CONTAINERS = "portolan_indicators_containers" Gauge &["state"],
        "Running containers by whether they could be asked in the latest round what they use; absent where Docker is not asked.";
    LISTENER_INFO = "portolan_listener_info" Gauge &["service", "project", "port", "protocol", "class"],
        "Always 1: a service port, and whether it is documented and used.";
    FINDINGS = "portolan_findings" Gauge &["kind", "severity"],
        "Findings that stand, by kind and severity.";
    FINDINGS_RAISED = "portolan_findings_total" Counter &["kind", "severity"],
        "Findings raised, or raised again with another severity.";
    FINDINGS_LEFT_OUT = "portolan_findings_left_out" Gauge &[],
        "Findings that stand beyond the most that are listed, the least grave.";
    CAPTURE_FRAMES = "portolan_capture_frames_total" Counter &[],
        "Frames the capture delivered.";
    CAPTURE_BYTES = "portolan_capture_bytes_total" Counter &[],
        "Bytes on the wire of the frames the capture delivered.";
    CAPTURE_DROPPED = "portolan_capture_dropped_frames_total" Counter &[],
        "Frames the kernel dropped before they were seen; absent where the source does not say.";
    CAPTURE_REJECTED = "portolan_capture_rejected_frames_total" Counter &["reason"],
        "Delivered frames that could not be read.";
    CAPTURE_NOT_COUNTED = "portolan_capture_not_counted_frames_total" Counter &["reason"],
        "Delivered frames left out by rule, most of them second sightings of a counted frame.";
    CAPTURE_NON_IP = "portolan_capture_non_ip_frames_total" Counter &["reason"],
        "Counted frames without an IP packet.";
    CAPTURE_HELD = "portolan_capture_held_frames" Gauge &[],
        "Frames waiting until it is known whose interface they came by.";
    CAPTURE_BACKWARD = "portolan_capture_backward_steps_total" Counter &[],
        "Frames whose time was before that of the frame before them.";
    CAPTURE_BLIND = "portolan_capture_blind_intervals" Gauge &[],
        "Intervals known in which frames were lost.";
    CAPTURE_COMPLETENESS = "portolan_capture_completeness" Gauge &["state"],
        "1 for the state that holds: complete, incomplete or unknown; 0 for the others.";
    FLOWTABLE_FLOWS = "portolan_flowtable_flows" Gauge &[],
        "Live flows in the flow table.";
    FLOWTABLE_FLOWS_MAX = "portolan_flowtable_flows_max" Gauge &[],
        "Flows the flow table has room for.";
    FLOWTABLE_METERED = "portolan_flowtable_metered_frames_total" Counter &[],
        "Frames metered into flows.";
    FLOWTABLE_OVERFLOW = "portolan_flowtable_overflow_frames_total" Counter &[],
        "Frames the flow table had no room for; counted, but in no flow.";
    FLOWTABLE_OPENED = "portolan_flowtable_opened_flows_total" Counter &[],
        "Flows opened since the start.";
    FLOWTABLE_ENDED = "portolan_flowtable_ended_flows_total" Counter &[],
        "Flows that ended by FIN, RST or silence.";
    FLOWTABLE_EVICTED = "portolan_flowtable_evicted_flows_total" Counter &[],
        "Flows that made room for others before they ended.";
    FLOWTABLE_CONVERSATIONS = "portolan_flowtable_conversations" Gauge &[],
        "Conversations held: all flows of one initiator to one service port of one responder.";
    FLOWTABLE_FOLDED = "portolan_flowtable_conversations_folded_total" Counter &[],
        "Conversations counted together under one name because there were more than are held apart.";
    FLOWTABLE_WITHHELD = "portolan_flowtable_withheld_frames" Gauge &[],
        "Frames of conversations that are not published yet because an end has no name.";
    FLOWTABLE_DNS_MESSAGES = "portolan_flowtable_dns_messages_total" Counter &["outcome"],
        "DNS messages by what became of them: named, or unasked, cut, malformed and missed, which name nothing.";
    FLOWTABLE_DNS_NAMES = "portolan_flowtable_dns_names" Gauge &[],
        "Names held of addresses outside, as containers were told them.";
    FLOWTABLE_DNS_EVICTED = "portolan_flowtable_dns_names_evicted_total" Counter &[],
        "Names of addresses outside forgotten because a limit was reached.";
    LEDGER_RESIDUAL_FRAMES = "portolan_ledger_residual_frames" Gauge &[],
        "Frames by which the accounts do not balance; anything but 0 is a defect.";
    LEDGER_RESIDUAL_BYTES = "portolan_ledger_residual_bytes" Gauge &[],
        "Bytes by which the accounts do not balance; anything but 0 is a defect.";
    IDENTITY_CONTAINERS = "portolan_identity_containers" Gauge &["state"],
        "Containers known, observable from here, matched to their interface, and unobservable.";
    IDENTITY_STALE = "portolan_identity_stale" Gauge &[],
        "1 while names may be out of date because Docker does not answer, else 0.";
    IDENTITY_EVENTS = "portolan_identity_docker_events_total" Counter &[],
        "Events received from Docker.";
    IDENTITY_LISTS = "portolan_identity_docker_lists_total" Counter &[],
        "Full listings taken from Docker.";
    EXPORTER_SERIES = "portolan_exporter_edge_series" Gauge &[],
        "Edges that have series of their own.";
    EXPORTER_FOLDED = "portolan_exporter_series_folded_total" Counter &[],
        "Edges and listeners counted under 'other' because a series limit was reached.";
    EXPORTER_FLOWS_FORGOTTEN = "portolan_exporter_flow_records_forgotten_total" Counter &[],
        "Flow records that fell off the end of the list the flow page serves.";
    EXPORTER_REQUESTS = "portolan_exporter_http_requests_total" Counter &["route", "code"],
        "HTTP requests answered, by route and status code.";
    EXPORTER_CLOSED = "portolan_exporter_http_connections_closed_total" Counter &["reason"],
        "HTTP connections closed for being in the way: displaced by others, or past their deadline.";
    EXPORTER_EVENTS = "portolan_exporter_events_total" Counter &[],
        "Events written to the event file or stream.";
    EXPORTER_EVENTS_LOST = "portolan_exporter_events_lost_total" Counter &[],
        "Events that could not be written: disk full, or a reader that does not read.";
    PUBLICATION_AGE = "portolan_publication_age_seconds" Gauge &[],
        "Seconds since the latest publication was taken in; more than a few ticks where a thread stalls.";
    PROCESS_CPU = "portolan_process_cpu_seconds_total" Counter &[],
        "Processor time Portolan used since its start, all threads together, in seconds.";
    PROCESS_MEMORY = "portolan_process_resident_memory_bytes" Gauge &[],
        "Memory of Portolan that is in use and not swapped out, in bytes.";
    STALLS = "portolan_stalls_total" Counter &[],
        "Times that nothing was published for several ticks: a thread stalled, or the process was stopped.";
    CONFIG_RELOAD_OK = "portolan_config_last_reload_successful" Gauge &[],
        "1 if the last reload of configuration and contract was good, else 0.";
    CONFIG_RELOAD_AT = "portolan_config_last_reload_success_timestamp_seconds" Gauge &[],
        "When configuration and contract were last loaded well, in seconds since 1970-01-01 UTC.";
    BASELINE_EDGES = "portolan_baseline_edges" Gauge &["service", "project", "state"],
        "Edges of a service's baseline: learned, candidate, forbidden; absent without a baseline.";
    BASELINE_NOVELTY = "portolan_baseline_novelty_ratio" Gauge &["service", "project"],
        "The chance that a service's next draw shows an edge nobody has seen, at most, with 95 % confidence.";
    BASELINE_PROMOTED = "portolan_baseline_promoted" Gauge &["service", "project"],
        "1 where a service's baseline judges, 0 while it is being learned.";
    FINDING_LATENCY = "portolan_finding_latency_seconds" Histogram &[],
        "Time from the first frame a finding rests on to the publication that raised it.";
    PENDING_CONVERSATIONS = "portolan_pending_conversations" Gauge &["verdict", "pending"],
        "Conversations by how they stand and how they would by the contract that is tried; absent without one.";
    POLICY_INFO = "portolan_policy_info" Gauge &["hash"],
        "Always 1: hash of the contract in force; absent without one.";
    BUILD_INFO = "portolan_build_info" Gauge &["version"],
        "Always 1: version of the program.";
    START_TIME = "portolan_start_time_seconds" Gauge &[],
        "When this run began, in seconds since 1970-01-01 UTC.";
    TICKS = "portolan_ticks_total" Counter &[],
        "Times the picture was drawn anew, once a second or so; when this stands still, so does everything else on this page.";
}

/// How many series a family may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Breadth {
    /// One.
    One,
    /// One for each word of closed sets; the same on every host.
    Words,
    /// One or a few for each service or service port.
    Services,
    /// One for each container.
    Containers,
    /// One or a few for each edge.
    Edges,
}

impl Breadth {
    /// Returns its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Words => "words",
            Self::Services => "services",
            Self::Containers => "containers",
            Self::Edges => "edges",
        }
    }
}

impl Metric {
    /// Returns how many series it may have, by its labels.
    pub fn breadth(&self) -> Breadth {
        if self.labels.contains(&"client") {
            Breadth::Edges
        } else if self.labels.contains(&"container") {
            Breadth::Containers
        } else if self.labels.contains(&"service") {
            Breadth::Services
        } else if self.labels.is_empty() || matches!(self.labels, ["hash"] | ["version"]) {
            Breadth::One
        } else {
            Breadth::Words
        }
    }

    /// Returns what it counts in, by its name.
    pub fn unit(&self) -> &'static str {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        let units = [
            ("_info", "always 1"),
            ("_timestamp_seconds", "seconds since 1970"),
            ("_start_time_seconds", "seconds since 1970"),
            ("_seconds", "seconds"),
            ("_bytes", "bytes"),
            ("_ratio", "0 to 1"),
            ("_successful", "0 or 1"),
            ("_stale", "0 or 1"),
            ("_promoted", "0 or 1"),
            ("_completeness", "0 or 1"),
            ("_flows_max", "flows"),
            ("_left_out", "findings"),
            ("_conversations_folded", "conversations"),
            ("_series_folded", "edges, listeners"),
            ("_records_forgotten", "flow records"),
            ("_connections_closed", "connections"),
            ("_events_lost", "events"),
            ("_names_evicted", "names"),
        ];
        match units.iter().find(|(end, _)| name.ends_with(end)) {
            Some((_, unit)) => unit,
            // What is counted stands last in the name.
            None => name.rsplit('_').next().unwrap_or_default(),
        }
    }
}

/// Returns `docs/metrics.md`.
pub fn markdown() -> String {
    let mut page = String::from(INTRODUCTION);
    for metric in ALL {
        let labels = if metric.labels.is_empty() {
            "-".to_owned()
        } else {
            metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ")
        };
        writeln!(
            page,
            "| `{}` | {} | {} | {} | {} | {} |",
            metric.name,
            metric.kind.word(),
            metric.unit(),
            metric.breadth().word(),
            labels,
            metric.help
        )
        .expect("a String never refuses text");
    }
    page.push_str(LABELS);
    page
}

const INTRODUCTION: &str = "# Metrics

Generated from `exporter/src/catalogue.rs`; `UPDATE_GOLDEN=1 cargo test -p portolan-exporter` rewrites it.

`GET /metrics` answers in the Prometheus text format 0.0.4. A scrape, the graph, the pages and the command line read
the same publication, so they cannot disagree. Counts of frames and bytes are exact 64-bit integers.

| family | type | unit | series | labels | meaning |
|---|---|---|---|---|---|
";

const LABELS: &str = "
## How many series

| word | series of such a family |
|---|---|
| `one` | 1 |
| `words` | one for each value of its labels, all of them from closed sets; the same on every host, whatever happens there |
| `services` | one for each service, service port or state of either; at most 10,000, the rest under `other` (baselines: 1,024, the rest left out) |
| `containers` | one for each running container that answered in the latest round of `[indicators]`, at most 256; those beyond are counted in `portolan_indicators_containers` |
| `edges` | one to four for each edge: directions, outcomes; at most 10,000 edges, the rest under `other` (below) |

An edge has 11 series: 2 each of bytes and frames, 4 of connections, 1 each of judgement, first sight and round trip. A
host of 50 services with 200 edges is scraped with about 2,500 series.

Container ids, outside addresses, client ports and error texts are never labels.

## Labels

| label | values |
|---|---|
| `host` | on every series: the name of the host Portolan runs on, or of the capture (`vitals.host`, the `host` of events). Prometheus adds `instance`, the address it scraped: one host may be scraped at several, and one address may come to be another host. A target that has a label `host` of its own keeps it, and this one is then called `exported_host` (`honor_labels: true` turns that round) |
| `client`, `server`, `service` | the name replicas share, without its project; `host`, `external` (everything outside), `multicast`, `unclaimed` (an address of a container network nobody holds), `ambiguous`; an address only in replays without a roster |
| `client_project`, `server_project`, `project` | compose or stack project; empty where there is none |
| `container` | the container's name; the few that would look the same as another's are left out |
| `port`, `protocol` | the service port and `tcp`, `udp`, `sctp`, `icmp`, `icmp6` or `ip-N`; `port` is empty where the protocol has none, `ephemeral` where which end serves is a guess and the port is one that clients are given |
| `kind` | the kinds of findings; `portolan rules list` names and explains them |
| `severity` | `info`, `low`, `medium`, `high` |
| `state` | of containers: `known`, `observable`, `matched` (to their interface), `unobservable`; of completeness: `complete`, `incomplete`, `unknown`; of a baseline's edges: `learned`, `candidate`, `forbidden`; of containers asked what they use: `read`, `unanswered`, `left_out` (beyond the most that are asked) |
| `reason` | of frames that could not be read, were not counted, or hold no IP packet; of connections closed: `displaced`, `deadline` |
| `route`, `code` | which page, and the HTTP status |
| `network` | container networks the edge was seen in, separated by commas |
| `documented_by` | who documents the port, as `portolan why` says it; empty for nobody |
| `direction` | `to_server`, `to_client` |
| `outcome` | `answered`, `refused` (RST or ICMP error), `unanswered`, `blocked` (never delivered on this host) |
| `verdict` | `documented`, `allowed`, `unjudged`, `denied`, `unexpected_peer`, `undocumented_port`, `undeclared`, `spoofed_source`, `unattributed`, `learned`, `new_edge`, `forbidden`; `mixed` for `other` |
| `pending` | the same words as `verdict`: what the contract given with `--pending` would say |
| `class` | `documented_used`, `documented_idle`, `undocumented_used`, `undocumented_listening` |

Names hold at most 128 characters. Control characters and characters that turn the direction of writing are shown as
`\\u{...}`.

## Life of an edge's series

- It begins with the first frame; an edge the contract or a published port documents begins at 0 before that, so that
  `increase()` sees the first connection.
- It lives as long as both services have containers, and until 40 seconds after the last of one ended; scraped every 15 seconds or
  more often, it is stale in Prometheus within a minute. An edge with an unnamed end lives as long as its conversations are held.
- Counters never fall while it lives, whatever becomes of the conversations behind it.
- At most 10,000 edges have series. The rest is added up in one edge whose six labels are `other` (projects empty).
  Of one client and server, at most 64 undocumented ports have series; the rest has `port=\"other\"`,
  `protocol=\"other\"`. What is counted there stays there: `other` never falls.
  `portolan_exporter_series_folded_total` says how many edges that concerns.
- Answers that somebody provoked by forging an address are no edge of the address's holder and have no series.

## Asking

An edge nobody documented begins with its first scrape, and not at 0. `increase()` and `rate()` compare samples and miss
what was counted before the first; a connection of three packets would never show. Add the edges first seen in the span:

```promql
(portolan_edge_connections_total
   and on (job, instance, host, client, client_project, server, server_project, port, protocol)
 (portolan_edge_first_seen_timestamp_seconds > time() - 300))
  or increase(portolan_edge_connections_total[5m])
```

The rules in `exporter/rules/portolan.rules.yaml` record that as `portolan:edge_connections:growth5m` and
`portolan:edge_bytes:growth5m`; the dashboards in `exporter/dashboards/` ask so too. How an edge is judged comes by a join:

```promql
sum without (direction) (rate(portolan_edge_bytes_total[5m]))
  * on (job, instance, host, client, client_project, server, server_project, port, protocol)
    group_left (verdict, documented_by) portolan_edge_info
```
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn names_are_unique_and_follow_the_conventions() {
        let mut names = BTreeSet::new();
        for metric in ALL {
            let Metric { name, kind, help, labels } = metric;
            assert!(names.insert(name), "{name} twice");
            assert!(name.starts_with("portolan_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}: _total is for counters");
            assert!(help.ends_with('.') && help.len() > 20, "{name}: {help}");
            for word in
                ["_gauge", "_counter", "_ms", "_milliseconds", "_kilobytes", "_count", "_sum", "_bucket"]
            {
                assert!(!format!("{name}_").contains(&format!("{word}_")), "{name}: {word}");
            }
            let unique: BTreeSet<_> = labels.iter().collect();
            assert_eq!(unique.len(), labels.len(), "{name}: a label twice");
        }
    }

    #[test]
    fn every_family_says_what_it_counts_in() {
        let known = [
            "always 1",
            "seconds since 1970",
            "seconds",
            "bytes",
            "0 to 1",
            "0 or 1",
            "frames",
            "connections",
            "findings",
            "containers",
            "flows",
            "conversations",
            "steps",
            "intervals",
            "events",
            "lists",
            "series",
            "edges, listeners",
            "edges",
            "flow records",
            "messages",
            "names",
            "pids",
            "requests",
            "stalls",
            "ticks",
        ];
        for metric in ALL {
            assert!(known.contains(&metric.unit()), "{}: {}", metric.name, metric.unit());
        }
    }

    #[test]
    fn the_page_in_docs_is_the_catalogue() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, markdown()).unwrap();
        }
        let page = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            page,
            markdown(),
            "docs/metrics.md is stale: UPDATE_GOLDEN=1 cargo test -p portolan-exporter"
        );
    }
}
