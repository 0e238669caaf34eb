//! The command line: one tree, each command with examples.

pub mod judge;
#[cfg(feature = "top")]
pub mod top;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use portolan_policy::Severity;

use crate::judge::cli::{PolicyCommand, RulesCommand, WhyArgs};

/// The chart of who talks to whom on a Docker host, and of what should not be talking.
#[derive(Debug, Parser)]
#[command(
    name = "portolan",
    version,
    about,
    max_term_width = 100,
    after_help = "Examples:\n  \
        sudo portolan run                              beside Docker: map, findings, metrics on 127.0.0.1:9414\n  \
        sudo portolan look --for 30s                   no daemon, no port: watch, then print the report\n  \
        portolan replay shop.pcap --roster shop.json   the same answers from a capture\n  \
        portolan findings                              ask the daemon\n  \
        portolan graph --from shop.pcap --format dot | dot -Tsvg > shop.svg\n\n\
        Exit codes: 0 fine, 1 error, 2 usage, 3 findings at or above --fail-on,\n            \
        4 something was missed or may have been (--require-complete),\n            \
        5 Portolan itself failed: a thread panicked or no longer answers."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The command tree.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch this host: capture, name, judge and serve, until stopped
    #[command(after_help = "Examples:\n  sudo portolan run\n  \
        sudo portolan run --contract contract.toml --events /var/log/portolan/events.ndjson\n  \
        sudo portolan run --tick 50ms                  findings within 100 ms, for some more of a processor\n  \
        sudo portolan run --config /etc/portolan/portolan.toml --check")]
    Run(Box<RunArgs>),
    /// Watch this host for a while, then print the report; opens no port
    #[command(after_help = "Examples:\n  sudo portolan look --for 30s\n  \
        sudo portolan look --for 2m --contract contract.toml --fail-on medium")]
    Look(Box<LookArgs>),
    /// Watch this host and record what is seen, with a journal that makes replay exact
    #[command(after_help = "Examples:\n  \
        sudo portolan record -w shop.pcapng --for 10m\n  \
        sudo portolan record -w db.pcapng --edge 'reports -> db:5432' --max-bytes 100M\n  \
        sudo portolan record -w week.pcapng --rotate 500M --contract contract.toml\n  \
        portolan replay shop.pcapng                    the same flows, findings, events and graph\n\n\
        Writes NAME.pcapng (for Wireshark too), NAME.journal.ndjson (who was who, and when) and NAME.graph.json,\n\
        readable by this user alone. Headers are kept and payload is not; --keep and --payload keep more.")]
    Record(Box<RecordArgs>),
    /// Read capture files and print the same report
    #[command(after_help = "Examples:\n  \
        portolan replay shop.pcap --roster inspect.json --roster interfaces.toml --contract contract.toml\n  \
        portolan replay monday.pcapng.zst tuesday.pcapng.zst --filter 'port 5432' --format ndjson\n  \
        zcat big.pcap.gz | portolan replay - -o big.result\n  \
        portolan replay suspect.pcap --quiet --fail-on medium || echo findings\n  \
        portolan replay recorded.pcapng --contract stricter.toml\n\n\
        A recording of portolan record needs no roster: its journal beside it is found by its name.\n\
        A roster names addresses: output of docker inspect (containers, networks, images, in any mix), or TOML.\n  \
        docker inspect $(docker ps -aq) $(docker network ls -q) $(docker image ls -q) > inspect.json")]
    Replay(Box<ReplayArgs>),
    /// Take the packets of one edge or one finding out of captures
    #[command(after_help = "Examples:\n  \
        portolan cut shop.pcap --roster inspect.json --edge 'reports -> db:5432' -w reports-db.pcapng\n  \
        portolan cut shop.pcap --roster inspect.json --finding F-7c21e0 -w finding.pcapng\n  \
        portolan cut monday.pcapng.zst --edge '10.0.0.1 -> 10.0.0.2' -w - | tshark -r -\n\n\
        Name edges and findings as `portolan replay` prints them for the same captures, rosters and contracts.")]
    Cut(Box<CutArgs>),
    /// List flows, of the daemon or of a result or capture
    #[command(
        after_help = "Examples:\n  portolan flows\n  portolan flows --from shop.result --format ndjson\n  \
        portolan flows --from-service web --to-port 8080 --since 5m -o compact\n  \
        portolan flows --verdict refused --verdict blocked --follow\n  \
        portolan flows --service shop/db --not --verdict documented -o dict --last 1\n\n\
        Of one filter any value may fit, of several filters all must; --not turns them round."
    )]
    Flows(Box<FlowsArgs>),
    /// List findings, of the daemon or of a result or capture
    #[command(after_help = "Examples:\n  portolan findings\n  \
        portolan findings --from shop.pcap --roster inspect.json\n  \
        portolan findings --service shop/db --severity medium --since 1h -o compact\n  \
        portolan findings --by-service                 one line a service\n  \
        portolan findings --from shop.result --format sarif --fail-on medium > shop.sarif\n  \
        portolan findings --kind port_scan --not --watch\n\n\
        Exit codes: 0 fine, 3 findings at or above --fail-on.\n\
        Of one filter any value may fit, of several filters all must; --not turns --service, --port and --kind round.")]
    Findings(Box<judge::FindingsArgs>),
    /// Acknowledge findings: seen, and nobody needs to look again unless they become graver
    #[command(
        after_help = "Examples:\n  portolan ack F-7c21e0\n  portolan ack 7c21e0 90ab12 --reason 'migration until Friday'"
    )]
    Ack(judge::AckArgs),
    /// Suppress findings for a while, with a reason
    #[command(after_help = "Examples:\n  portolan suppress F-7c21e0 --for 12h --reason 'load test'")]
    Suppress(judge::SuppressArgs),
    /// Take an acknowledgement or a suppression back
    #[command(after_help = "Examples:\n  portolan reopen F-7c21e0")]
    Reopen(judge::AckArgs),
    /// Show and change the baseline: what was learned of who talks to whom
    #[command(after_help = "Examples:\n  portolan baseline show\n  \
        portolan baseline diff orders@v1.3 orders@v1.4\n  \
        portolan baseline forbid shop/web 'to external:22/tcp' --reason 'no shells'\n  \
        portolan replay monday.pcapng --baseline baseline.toml --learn")]
    Baseline(judge::BaselineArgs),
    /// Print the graph of who talks to whom
    #[command(after_help = "Examples:\n  portolan graph --format dot | dot -Tsvg > map.svg\n  \
        portolan graph --from shop.result --format mermaid --group project\n  \
        portolan graph --service shop/db --format dot | dot -Tsvg > db.svg\n  \
        portolan graph --format html > map.html        the map as one file, for who has no daemon\n  \
        portolan graph --format svg > map.svg          the same as a picture, for reports\n  \
        portolan graph --at 2026-11-21T14:00:00Z --format svg > two-o-clock.svg\n  \
        portolan graph --from /var/lib/portolan/snapshots --at 1h\n  \
        portolan graph diff 1h now                     what came, what went, what is judged otherwise\n  \
        portolan graph diff monday.result tuesday.result --format json\n  \
        portolan graph merge web-03.json db-01.json    several hosts as one")]
    Graph(Box<GraphArgs>),
    /// Print how the daemon is doing: completeness, accounts, identity
    #[command(
        after_help = "Examples:\n  portolan status\n  portolan status --from shop.result --format json"
    )]
    Status(Box<AskArgs>),
    /// Watch edges and findings on the terminal as they happen
    #[cfg(feature = "top")]
    #[command(after_help = "Examples:\n  sudo portolan top\n  sudo portolan top shop db\n  \
        portolan top --server https://web-03:9414 --ca-file ca.pem --password-file secret\n\n\
        Keys: q leaves, / filters, s sorts, Enter tells all of a row, ? the others. NO_COLOR=1 draws without colours.")]
    Top(top::TopArgs),
    /// Check what Portolan can see and name on this host
    #[command(
        after_help = "Examples:\n  sudo portolan doctor\n  portolan doctor --docker-socket /run/user/1000/docker.sock"
    )]
    Doctor(DoctorArgs),
    /// Check contracts, try them on captures, compare them, suggest one
    #[command(after_help = "Examples:\n  portolan policy check contracts.d\n  \
        portolan policy test stricter.toml --against recorded.pcapng\n  \
        portolan policy diff contract.toml stricter.toml\n  \
        portolan policy suggest --from shop.pcapng --roster inspect.json > contract.toml\n\n\
        The language of contracts: docs/policy.md.")]
    Policy {
        /// What to do.
        #[command(subcommand)]
        what: PolicyCommand,
    },
    /// List and explain the standard rules
    #[command(after_help = "Examples:\n  portolan rules list\n  portolan rules show undocumented_port")]
    Rules {
        /// What to do.
        #[command(subcommand)]
        what: RulesCommand,
    },
    /// Explain an edge: what was seen, who documents it, which line decided
    #[command(after_help = "Examples:\n  portolan why 'reports -> db:5432/tcp'\n  \
        portolan why 'web -> cart' --from shop.pcapng --roster inspect.json --contract contract.toml")]
    Why(Box<WhyArgs>),
    /// Print a completion script for a shell
    #[command(after_help = "Examples:\n  \
        portolan completions bash > /etc/bash_completion.d/portolan\n  \
        portolan completions fish > ~/.config/fish/completions/portolan.fish")]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    #[command(
        after_help = "Examples:\n  portolan man | man -l -\n  portolan man > /usr/share/man/man1/portolan.1"
    )]
    Man,
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Ndjson,
}

/// How the graph is printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum GraphFormat {
    /// Nodes and edges as JSON.
    #[default]
    Json,
    /// Graphviz.
    Dot,
    /// Mermaid.
    Mermaid,
    /// The map as one page that needs no daemon; with --group service or container.
    Html,
    /// A picture of the map; with --group service or container.
    Svg,
    /// GraphML, for yEd, Gephi and others.
    Graphml,
    /// Cytoscape's JSON, with places.
    Cytoscape,
}

/// What a node of the graph stands for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum GroupBy {
    /// The name replicas share.
    #[default]
    Service,
    /// Each container.
    Container,
    /// Compose projects.
    Project,
    /// Container networks.
    Network,
}

/// Which sightings of a frame count.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Vantage {
    /// Chosen from what the capture and the roster say.
    #[default]
    Auto,
    /// One interface: every frame counts.
    Interface,
    /// All interfaces of a host: count at the sender's veth, or at the bridge for what the host sends.
    Any,
    /// Several interfaces without roles: count each packet once, by its contents.
    Dedup,
    /// Every sighting counts; totals may be multiples.
    Every,
}

/// A severity, on the command line.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum SeverityArg {
    /// For the record.
    Info,
    /// An attempt that led nowhere.
    Low,
    /// Somebody should look.
    Medium,
    /// Somebody should look now.
    High,
}

impl From<SeverityArg> for Severity {
    fn from(arg: SeverityArg) -> Self {
        match arg {
            SeverityArg::Info => Self::Info,
            SeverityArg::Low => Self::Low,
            SeverityArg::Medium => Self::Medium,
            SeverityArg::High => Self::High,
        }
    }
}

/// How a report is printed.
#[derive(Clone, Debug, Default, Args)]
pub struct PrintArgs {
    /// How to print the answer
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Print long tables whole
    #[arg(long)]
    pub all: bool,
    /// Print times in local time instead of UTC
    #[arg(long)]
    pub local: bool,
}

/// What traffic is held against, and who is who.
#[derive(Clone, Debug, Default, Args)]
pub struct KnowledgeArgs {
    /// Who is who: docker inspect output or TOML; repeatable
    #[arg(long, value_name = "FILE")]
    pub roster: Vec<PathBuf>,
    /// What was documented: a contract in TOML, or a folder of them; repeatable
    #[arg(long, value_name = "FILE")]
    pub contract: Vec<PathBuf>,
    /// What was documented: a compose file; PROJECT is its folder's name where nothing is said; repeatable
    #[arg(long, value_name = "[PROJECT=]FILE")]
    pub compose: Vec<String>,
}

/// How captures are read.
#[derive(Clone, Debug, Default, Args)]
pub struct ReadArgs {
    /// Which sightings of a frame count
    #[arg(long, value_enum, default_value_t)]
    pub vantage: Vantage,
    /// Leave out frames before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub since: Option<portolan_flowtable::Timestamp>,
    /// Leave out frames from this time on (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub until: Option<portolan_flowtable::Timestamp>,
    /// Leave out frames that do not match this capture filter (pcap-filter(7))
    #[arg(long, value_name = "BPF")]
    pub filter: Option<String>,
    /// Take who is who, and when, from this journal; without it, from the one beside the capture
    #[arg(long, value_name = "FILE", conflicts_with = "no_journal")]
    pub journal: Option<PathBuf>,
    /// Replay the frames of a recording without its journal
    #[arg(long)]
    pub no_journal: bool,
    /// Meter what tunnels carry instead of the tunnels
    #[arg(long)]
    pub innermost: bool,
    /// Most flows held at once
    #[arg(long, value_name = "COUNT", default_value_t = FLOWS_MAX)]
    pub flows_max: usize,
    /// Most ended flows kept in the result, and as many live ones
    #[arg(long, value_name = "COUNT", default_value_t = FLOWS_KEPT)]
    pub flows_kept: usize,
    /// Threads to read with; the answer is the same for any number [default: 2, where there are two processors]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub threads: Option<u8>,
}

/// Most flows held where nobody says how many.
const FLOWS_MAX: usize = 131_072;
/// Most flow records kept where nobody says how many.
const FLOWS_KEPT: usize = 100_000;

impl ReadArgs {
    /// Returns what holds where nothing is asked for.
    pub fn unasked() -> Self {
        Self { flows_max: FLOWS_MAX, flows_kept: FLOWS_KEPT, ..Self::default() }
    }

    /// Returns whether frames are left out by request.
    pub fn leaves_out(&self) -> bool {
        self.since.is_some() || self.until.is_some() || self.filter.is_some()
    }
}

/// `portolan replay`.
#[derive(Clone, Debug, Default, Args)]
pub struct ReplayArgs {
    /// Captures (pcap or pcapng, gzip or zstd, `-` for standard input), merged by time
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Who is who, and what was documented.
    #[command(flatten)]
    pub knowledge: KnowledgeArgs,
    /// How captures are read.
    #[command(flatten)]
    pub read: ReadArgs,
    /// How the report is printed.
    #[command(flatten)]
    pub print: PrintArgs,
    /// Write the whole result here, for `--from`
    #[arg(short, long, value_name = "RESULT")]
    pub output: Option<PathBuf>,
    /// Write the plain conversation table by address here (every frame counts, no timeouts)
    #[arg(long, value_name = "OUT")]
    pub conversations: Option<PathBuf>,
    /// Judge by this baseline where neither a contract nor documentation says anything
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Learn from the captures, and write the baseline back
    #[arg(long, requires = "baseline")]
    pub learn: bool,
    /// Try this contract: what it would say stands beside each verdict, and changes none; repeatable
    #[arg(long, value_name = "FILE")]
    pub pending: Vec<PathBuf>,
    /// Do all the work and print only errors
    #[arg(long)]
    pub quiet: bool,
    /// Exit with 3 if there is a finding at least this grave
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub fail_on: Option<SeverityArg>,
    /// Exit with 4 if something was missed, or if nobody knows
    #[arg(long)]
    pub require_complete: bool,
}

/// `portolan cut`.
#[derive(Clone, Debug, Default, Args)]
#[command(group(clap::ArgGroup::new("subject").required(true).args(["edge", "finding"])))]
pub struct CutArgs {
    /// Captures (pcap or pcapng, gzip or zstd), merged by time
    #[arg(required = true, value_name = "CAPTURE")]
    pub files: Vec<PathBuf>,
    /// The packets of this edge: 'reports -> db:5432'; project, port and protocol may be left out
    #[arg(long, value_name = "EDGE")]
    pub edge: Option<String>,
    /// The packets of this finding: its id, or the first four digits or more
    #[arg(long, value_name = "ID")]
    pub finding: Option<String>,
    /// Write them here, as pcapng (`-` for standard output)
    #[arg(short, long, value_name = "FILE")]
    pub write: PathBuf,
    /// Write each packet as often as it was captured, instead of where it was counted
    #[arg(long)]
    pub every_sighting: bool,
    /// Judge by this baseline where neither a contract nor documentation says anything
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Who is who, and what was documented.
    #[command(flatten)]
    pub knowledge: KnowledgeArgs,
    /// How captures are read.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// Who is asked.
#[derive(Clone, Debug, Default, Args)]
pub struct AskedArgs {
    /// Ask this result or capture instead of the daemon
    #[arg(long, value_name = "RESULT|CAPTURE")]
    pub from: Option<PathBuf>,
    /// Ask the daemon here: a socket's path, http://host:port or https://host:port
    #[arg(long, env = "PORTOLAN_SERVER", value_name = "ADDRESS", default_value = crate::config::SOCKET)]
    pub server: String,
    /// Trust servers certified by the authorities in this PEM file instead of the system's
    #[arg(long, env = "PORTOLAN_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Ask with the name:password in this file
    #[arg(long, env = "PORTOLAN_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Who is who, and what was documented, for `--from CAPTURE`.
    #[command(flatten)]
    pub knowledge: KnowledgeArgs,
}

/// How flows are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum FlowsForm {
    /// For people.
    Table,
    /// One line of words each.
    Compact,
    /// One JSON object a line.
    Json,
    /// One line a field, one block a flow.
    Dict,
}

/// `portolan flows`.
#[derive(Clone, Debug, Default, Args)]
pub struct FlowsArgs {
    /// Who is asked.
    #[command(flatten)]
    pub asked: AskedArgs,
    /// How the answer is printed.
    #[command(flatten)]
    pub print: PrintArgs,
    /// Print them as a table, one a line in words or JSON, or one field a line
    #[arg(short, long, value_enum, value_name = "FORM")]
    pub output: Option<FlowsForm>,
    /// Which flows.
    #[command(flatten)]
    pub select: crate::select::SelectArgs,
    /// The last so many of them
    #[arg(long, value_name = "COUNT")]
    pub last: Option<usize>,
    /// Go on, and print each flow when it is seen first and when it has ended
    #[arg(short, long)]
    pub follow: bool,
}

/// `portolan status`.
#[derive(Clone, Debug, Default, Args)]
pub struct AskArgs {
    /// Who is asked.
    #[command(flatten)]
    pub asked: AskedArgs,
    /// How the answer is printed.
    #[command(flatten)]
    pub print: PrintArgs,
}

/// What to do with graphs other than printing one.
#[derive(Clone, Debug, Subcommand)]
pub enum GraphCommand {
    /// Compare two graphs: edges that came or went, verdicts that changed
    #[command(after_help = "Examples:\n  portolan graph diff 1h now\n  \
        portolan graph diff 2026-11-21T14:00:00Z 2026-11-21T15:00:00Z --group project\n  \
        portolan graph diff before.pcapng after.pcapng --roster inspect.json\n\n\
        Exits with 0, whether or not something differs; --exit-code turns a difference into 3.")]
    Diff(GraphDiffArgs),
    /// Put the graphs of several hosts together, joined at published ports
    #[command(
        after_help = "Examples:\n  portolan graph merge web-03.json db-01.json --format svg > both.svg\n  \
        portolan graph merge web-03/snapshots db-01/snapshots --format html > both.html\n  \
        portolan graph merge *.result --service '*:shop/db' --format mermaid\n\n\
        On each host, one of:\n  \
        sudo curl -sS --unix-socket /run/portolan/portolan.sock http://localhost/api/v1/publication > web-03.json\n  \
        sudo portolan look --for 5m --format json > web-03.json\n\n\
        A call that both hosts saw counts once, as the caller's host saw it; with --format json what the called host saw\n\
        stands beside it. What cannot be told stays with `external`, and is said on standard error."
    )]
    Merge(GraphMergeArgs),
}

/// `portolan graph merge`.
#[derive(Clone, Debug, Default, Args)]
pub struct GraphMergeArgs {
    /// One of each host: a result, a snapshot or a folder of them, a publication as the daemon answers it; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// How to print the graph
    #[arg(long, value_enum, default_value_t)]
    pub format: GraphFormat,
    /// What a node stands for
    #[arg(long, value_enum, default_value_t)]
    pub group: GroupBy,
    /// Which edges; names bear their host's: web-03:shop/db.
    #[command(flatten)]
    pub select: crate::select::SelectArgs,
}

/// `portolan graph diff`.
#[derive(Clone, Debug, Default, Args)]
pub struct GraphDiffArgs {
    /// The earlier one: a result, capture or snapshot, a time the daemon kept a snapshot of (1h, RFC 3339), or now
    #[arg(value_name = "BEFORE")]
    pub before: String,
    /// The later one
    #[arg(value_name = "AFTER")]
    pub after: String,
    /// Print it as text or as JSON
    #[arg(long, short_alias = 'o', alias = "output", value_enum, default_value_t)]
    pub format: DiffForm,
    /// What a node stands for
    #[arg(long, value_enum, default_value_t)]
    pub group: GroupBy,
    /// Exit with 3 if something differs
    #[arg(long)]
    pub exit_code: bool,
    /// Who is asked; `--from` names the folder of snapshots that times are looked up in.
    #[command(flatten)]
    pub asked: AskedArgs,
}

/// How a difference is printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum DiffForm {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// `portolan graph`.
#[derive(Clone, Debug, Default, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct GraphArgs {
    /// What else to do.
    #[command(subcommand)]
    pub command: Option<GraphCommand>,
    /// As it was then, by the snapshot before: 5m, 1h, or a time (RFC 3339); --from may name a folder of snapshots
    #[arg(long, value_name = "TIME", value_parser = judge::parse_since)]
    pub at: Option<judge::Since>,
    /// Who is asked.
    #[command(flatten)]
    pub asked: AskedArgs,
    /// How to print the graph
    #[arg(long, value_enum, default_value_t)]
    pub format: GraphFormat,
    /// What a node stands for
    #[arg(long, value_enum, default_value_t)]
    pub group: GroupBy,
    /// Which edges; names are those of nodes at this grouping.
    #[command(flatten)]
    pub select: crate::select::SelectArgs,
}

/// Where the live tap and the names come from. Unset values come from the environment, the file, the defaults.
#[derive(Clone, Debug, Default, Args)]
pub struct LiveArgs {
    /// Configuration file
    #[arg(long, env = "PORTOLAN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What was documented: a contract in TOML, or a folder of them; repeatable
    #[arg(long, env = "PORTOLAN_CONTRACT", value_name = "FILE", value_delimiter = ',')]
    pub contract: Vec<PathBuf>,
    /// What was documented: a compose file; PROJECT is its folder's name where nothing is said; repeatable
    #[arg(long, env = "PORTOLAN_COMPOSE", value_name = "[PROJECT=]FILE", value_delimiter = ',')]
    pub compose: Vec<String>,
    /// Docker's socket
    #[arg(long, env = "PORTOLAN_DOCKER_SOCKET", value_name = "PATH")]
    pub docker_socket: Option<PathBuf>,
    /// Where the host's /proc is mounted
    #[arg(long, env = "PORTOLAN_PROC_ROOT", value_name = "PATH")]
    pub proc_root: Option<PathBuf>,
    /// Capture on this interface alone; every frame of it counts
    #[arg(long, env = "PORTOLAN_INTERFACE", value_name = "NAME")]
    pub interface: Option<String>,
    /// Who reads the packet socket
    #[arg(long, env = "PORTOLAN_TAP", value_enum, value_name = "WHO")]
    pub tap: Option<crate::config::Backend>,
    /// Bytes kept of each frame
    #[arg(long, env = "PORTOLAN_SNAPLEN", value_name = "BYTES")]
    pub snaplen: Option<u32>,
    /// Size of the kernel's ring in MiB
    #[arg(long, env = "PORTOLAN_RING_MIB", value_name = "MIB")]
    pub ring_mib: Option<u32>,
    /// Most flows held at once
    #[arg(long, env = "PORTOLAN_FLOWS_MAX", value_name = "COUNT")]
    pub flows_max: Option<usize>,
    /// Time between two looks at what came, 50ms to 60s: findings appear with one
    #[arg(long, env = "PORTOLAN_TICK", value_name = "TIME", value_parser = parse_tick)]
    pub tick: Option<std::time::Duration>,
    /// What is given up once everything is open: capabilities, files, system calls
    #[arg(long, env = "PORTOLAN_SANDBOX", value_enum, value_name = "HOW")]
    pub sandbox: Option<crate::privileges::Sandbox>,
}

/// `portolan run`.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// Tap and names.
    #[command(flatten)]
    pub live: LiveArgs,
    /// Serve HTTP here; repeatable
    #[arg(long, env = "PORTOLAN_LISTEN", value_name = "ADDRESS:PORT", value_delimiter = ',')]
    pub listen: Vec<String>,
    /// Ask HTTP clients for the token in this file
    #[arg(long, env = "PORTOLAN_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Serve HTTP as this file asks: TLS, client certificates, passwords (exporter-toolkit's schema)
    #[arg(long, env = "PORTOLAN_WEB_CONFIG", value_name = "FILE")]
    pub web_config: Option<PathBuf>,
    /// Serve other machines without a token
    #[arg(long, env = "PORTOLAN_OPEN")]
    pub open: bool,
    /// Answer requests for this host name too; repeatable
    #[arg(long = "host", env = "PORTOLAN_HOST", value_name = "NAME", value_delimiter = ',')]
    pub host_name: Vec<String>,
    /// Socket for the command line
    #[arg(long, env = "PORTOLAN_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Append events here, one JSON object a line (`-` for standard output)
    #[arg(long, env = "PORTOLAN_EVENTS", value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Learn who talks to whom, and judge by it; kept in this file
    #[arg(long, env = "PORTOLAN_BASELINE", value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Keep findings, and what people said about them, in this file over restarts
    #[arg(long, env = "PORTOLAN_FINDINGS", value_name = "FILE")]
    pub findings: Option<PathBuf>,
    /// Keep snapshots of the graph in this folder, for looking back
    #[arg(long, env = "PORTOLAN_SNAPSHOTS", value_name = "DIRECTORY")]
    pub snapshots: Option<PathBuf>,
    /// Try this contract: what it would say stands beside each verdict, and changes none; repeatable
    #[arg(long, env = "PORTOLAN_PENDING", value_name = "FILE", value_delimiter = ',')]
    pub pending: Vec<PathBuf>,
    /// Check the configuration and the contract, and stop
    #[arg(long)]
    pub check: bool,
    /// Print the configuration in force, and stop
    #[arg(long)]
    pub print_config: bool,
}

/// `portolan look`.
#[derive(Clone, Debug, Default, Args)]
pub struct LookArgs {
    /// Tap and names.
    #[command(flatten)]
    pub live: LiveArgs,
    /// How long to watch: 30s, 5m, 1h
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = parse_span)]
    pub span: std::time::Duration,
    /// How the report is printed.
    #[command(flatten)]
    pub print: PrintArgs,
    /// Write the whole result here, for `--from`
    #[arg(short, long, value_name = "RESULT")]
    pub output: Option<PathBuf>,
    /// Exit with 3 if there is a finding at least this grave
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub fail_on: Option<SeverityArg>,
    /// Exit with 4 if something was missed, or if nobody knows
    #[arg(long)]
    pub require_complete: bool,
}

/// Payload that may be kept beside the headers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum KeepArg {
    /// DNS messages: who asked for which name.
    Dns,
    /// The first message of a TLS client: the server's name it asks for.
    Tls,
}

/// `portolan record`.
#[derive(Clone, Debug, Default, Args)]
pub struct RecordArgs {
    /// Tap and names.
    #[command(flatten)]
    pub live: LiveArgs,
    /// Where the recording goes: NAME.pcapng; the journal and the graph lie beside it
    #[arg(short, long, value_name = "NAME.pcapng")]
    pub write: PathBuf,
    /// Record only what these two say to each other: 'reports -> db:5432/tcp'; the report at the end, --output and
    /// --events still tell of everything
    #[arg(long, value_name = "EDGE", conflicts_with = "service")]
    pub edge: Option<String>,
    /// Record only what this service (or container) sends and receives
    #[arg(long, value_name = "SERVICE")]
    pub service: Option<String>,
    /// How long to record: 30s, 5m, 1h; until it is stopped where nothing is said
    #[arg(long = "for", value_name = "TIME", value_parser = parse_span)]
    pub span: Option<std::time::Duration>,
    /// Stop when capture and journal together reach this size: 500k, 100M, 2G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_bytes: Option<u64>,
    /// Begin another file whenever one reaches this size: NAME-00001.pcapng, NAME-00002.pcapng, ...
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub rotate: Option<u64>,
    /// Keep the payload too
    #[arg(long)]
    pub payload: bool,
    /// Keep this payload beside the headers; repeatable
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',')]
    pub keep: Vec<KeepArg>,
    /// Append events here, one JSON object a line
    #[arg(long, env = "PORTOLAN_EVENTS", value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Write the whole result here, for `--from`
    #[arg(short, long, value_name = "RESULT")]
    pub output: Option<PathBuf>,
    /// Print no report at the end
    #[arg(long)]
    pub quiet: bool,
    /// Exit with 3 if there is a finding at least this grave
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub fail_on: Option<SeverityArg>,
    /// Exit with 4 if something was missed, or if nobody knows
    #[arg(long)]
    pub require_complete: bool,
}

/// `portolan doctor`.
#[derive(Clone, Debug, Default, Args)]
pub struct DoctorArgs {
    /// Tap and names.
    #[command(flatten)]
    pub live: LiveArgs,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Fewest bytes a recording or a part of one may be held to: its own headers need some.
const SIZE_MIN: u64 = 64 * 1024;

/// Reads `500k`, `100M`, `2G`, in powers of 1024.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 =
        number.parse().map_err(|_| format!("{text:?} is not a size: write 500k, 100M or 2G"))?;
    let factor = match unit {
        "" => 1,
        "k" | "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return Err(format!("{unit:?} is not a unit of size: write 500k, 100M or 2G")),
    };
    let bytes = number.checked_mul(factor).ok_or_else(|| format!("{text} is too much"))?;
    if bytes < SIZE_MIN { Err(format!("{text} is too little: at least 64k")) } else { Ok(bytes) }
}

/// Reads `500ms`, `30s`, `5m`, `1h`.
pub(crate) fn parse_span(text: &str) -> Result<std::time::Duration, String> {
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is not a time: write 30s, 5m or 1h"))?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("{unit:?} is not a unit of time: write 30s, 5m or 1h")),
    };
    number
        .checked_mul(milliseconds)
        .map(std::time::Duration::from_millis)
        .ok_or_else(|| format!("{text} is too long"))
}

/// Reads a time from one tick to the next.
fn parse_tick(text: &str) -> Result<std::time::Duration, String> {
    let span = parse_span(text)?;
    if TICK.contains(&(span.as_millis())) {
        Ok(span)
    } else {
        Err("it must lie between 50ms and 60s".to_owned())
    }
}

/// Milliseconds a tick may take.
pub(crate) const TICK: std::ops::RangeInclusive<u128> = 50..=60_000;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn spans_are_read_with_their_unit() {
        #[rustfmt::skip]
        let cases = [
            ("30s",   Some(30_000)),
            ("30",    Some(30_000)),
            ("500ms", Some(500)),
            ("2m",    Some(120_000)),
            ("1h",    Some(3_600_000)),
            ("1d",    None),
            ("",      None),
            ("99999999999999999999s", None),
        ];
        for (text, expected) in cases {
            let milliseconds = parse_span(text).ok().map(|span| span.as_millis());
            assert_eq!(milliseconds, expected, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_with_their_unit() {
        #[rustfmt::skip]
        let cases = [
            ("65536",   Some(65_536)),
            ("500k",    Some(512_000)),
            ("100M",    Some(104_857_600)),
            ("2GiB",    Some(2_147_483_648)),
            ("63k",     None),
            ("1T",      None),
            ("M",       None),
            ("99999999999G", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_size(text).ok(), expected, "{text}");
        }
    }
}
