//! Arguments of what judges and remembers: the baseline, findings and what people say about them.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use portolan_flowtable::Timestamp;

use super::{AskedArgs, SeverityArg, parse_span};

/// `portolan baseline`.
#[derive(Clone, Debug, Args)]
pub struct BaselineArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: BaselineCommand,
}

/// Which baseline.
#[derive(Clone, Debug, Default, Args)]
pub struct WhichArgs {
    /// Work on this file instead of the running daemon's baseline
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Ask the daemon at this socket
    #[arg(long, env = "PORTOLAN_SERVER", value_name = "PATH", default_value = crate::config::SOCKET)]
    pub server: String,
}

/// A service and perhaps one of its edges.
#[derive(Clone, Debug, Default, Args)]
pub struct ServiceArgs {
    /// Service, or SERVICE@IMAGE: the image by tag, reference or the beginning of its id
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// Which baseline.
    #[command(flatten)]
    pub which: WhichArgs,
}

/// A service and an edge, or all of it.
#[derive(Clone, Debug, Default, Args)]
pub struct PerhapsEdgeArgs {
    /// Service, or SERVICE@IMAGE: the image by tag, reference or the beginning of its id
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// One edge of it alone: 'to shop/db:5432/tcp', 'from host:8080'
    #[arg(value_name = "EDGE")]
    pub edge: Option<String>,
    /// Which baseline.
    #[command(flatten)]
    pub which: WhichArgs,
}

/// A service and an edge.
#[derive(Clone, Debug, Default, Args)]
pub struct EdgeArgs {
    /// Service, or SERVICE@IMAGE: the image by tag, reference or the beginning of its id
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// The edge: 'to shop/db:5432/tcp', 'from host:8080'
    #[arg(value_name = "EDGE")]
    pub edge: String,
    /// Why; remembered with who and when
    #[arg(long, value_name = "WORDS", default_value = "")]
    pub reason: String,
    /// Which baseline.
    #[command(flatten)]
    pub which: WhichArgs,
}

/// What can be done with a baseline.
#[derive(Clone, Debug, Subcommand)]
pub enum BaselineCommand {
    /// Show what was learned, how far each service is and what is missing
    #[command(after_help = "Examples:\n  portolan baseline show\n  portolan baseline show shop/db\n  \
        portolan baseline show --file baseline.toml")]
    Show {
        /// This service alone, with its edges: SERVICE or SERVICE@IMAGE
        service: Option<String>,
        /// Which baseline.
        #[command(flatten)]
        which: WhichArgs,
    },
    /// Print what one image of a service does that another did not
    #[command(after_help = "Examples:\n  portolan baseline diff orders@v1.3 orders@v1.4\n  \
        portolan baseline diff orders@v1.3 orders@v1.4 --file baseline.toml")]
    Diff {
        /// The one before: SERVICE@IMAGE
        first: String,
        /// The one after: SERVICE@IMAGE
        second: String,
        /// Which baseline.
        #[command(flatten)]
        which: WhichArgs,
    },
    /// Make the baselines of several hosts one
    #[command(after_help = "Examples:\n  portolan baseline merge web-01.toml web-02.toml -o baseline.toml")]
    Merge {
        /// Baselines, in any order
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Write the result here; to standard output where nothing is said
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Let a service's baseline judge, or make one edge part of it
    #[command(after_help = "Examples:\n  portolan baseline promote shop/db\n  \
        portolan baseline promote shop/web 'to external:443/tcp'\n  \
        portolan baseline promote orders@v1.4 --file baseline.toml")]
    Promote(PerhapsEdgeArgs),
    /// Forget one edge, or all that was learned of a service; what is forbidden stays so
    #[command(after_help = "Examples:\n  portolan baseline forget shop/db\n  \
        portolan baseline forget shop/web 'to external:443/tcp'")]
    Forget(PerhapsEdgeArgs),
    /// Forbid an edge: no learning brings it back
    #[command(after_help = "Examples:\n  \
        portolan baseline forbid shop/web 'to external:22/tcp' --reason 'no shells to the outside'")]
    Forbid(EdgeArgs),
    /// Take a prohibition back
    #[command(after_help = "Examples:\n  portolan baseline permit shop/web 'to external:22/tcp'")]
    Permit(EdgeArgs),
    /// Stop learning of a service
    #[command(after_help = "Examples:\n  portolan baseline freeze shop/db")]
    Freeze(ServiceArgs),
    /// Go on learning of a service
    #[command(after_help = "Examples:\n  portolan baseline thaw shop/db")]
    Thaw(ServiceArgs),
    /// Print the running daemon's baseline as its file
    #[command(after_help = "Examples:\n  portolan baseline export > baseline.toml\n  \
        portolan baseline export -o baseline.toml && git diff baseline.toml")]
    Export {
        /// Write it here
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Which baseline.
        #[command(flatten)]
        which: WhichArgs,
    },
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum FindingsForm {
    /// For people.
    Table,
    /// One JSON object a line.
    Json,
    /// One line of words each.
    Compact,
}

/// How a list of findings is printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum FindingsFormat {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// SARIF 2.1.0, for code hosts.
    Sarif,
    /// JUnit XML, for build servers.
    Junit,
}

/// How findings are printed.
#[derive(Clone, Debug, Default, Args)]
pub struct FindingsPrintArgs {
    /// How to print the answer
    #[arg(long, value_enum, default_value_t)]
    pub format: FindingsFormat,
    /// Print long tables whole
    #[arg(long)]
    pub all: bool,
    /// Print times in local time instead of UTC
    #[arg(long)]
    pub local: bool,
}

/// `portolan findings`.
#[derive(Clone, Debug, Default, Args)]
pub struct FindingsArgs {
    /// Who is asked.
    #[command(flatten)]
    pub asked: AskedArgs,
    /// How the answer is printed.
    #[command(flatten)]
    pub print: FindingsPrintArgs,
    /// Print them as a table, as JSON one a line, or compactly
    #[arg(short, long, value_enum, value_name = "FORM")]
    pub output: Option<FindingsForm>,
    /// At either end this service, with or without its project; repeatable
    #[arg(long, value_name = "SERVICE")]
    pub service: Vec<String>,
    /// On this port: 5432, 5432/tcp; repeatable
    #[arg(long, value_name = "PORT")]
    pub port: Vec<String>,
    /// Of this kind: unexpected_peer, port_scan, ...; repeatable
    #[arg(long, value_name = "KIND")]
    pub kind: Vec<String>,
    /// At least this grave
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub severity: Option<SeverityArg>,
    /// Last seen since then: 5m, 1h, or a time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    pub since: Option<Since>,
    /// Those that the filters --service, --port and --kind do not fit
    #[arg(long)]
    pub not: bool,
    /// End with code 3 if one of those listed is this grave, or graver
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub fail_on: Option<SeverityArg>,
    /// One line a service: how many findings, how grave
    #[arg(long)]
    pub by_service: bool,
    /// Those acknowledged and suppressed too
    #[arg(long)]
    pub handled: bool,
    /// Go on, and print what becomes of them
    #[arg(short, long)]
    pub watch: bool,
}

/// A span before now, or an instant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Since {
    /// So long ago.
    Ago(std::time::Duration),
    /// Then.
    At(Timestamp),
}

/// Reads `5m` or a time.
pub(crate) fn parse_since(text: &str) -> Result<Since, String> {
    match text.parse::<Timestamp>() {
        Ok(at) => Ok(Since::At(at)),
        Err(_) => parse_span(text).map(Since::Ago).map_err(|error| format!("{error}, or a time (RFC 3339)")),
    }
}

/// `portolan ack`, `reopen`.
#[derive(Clone, Debug, Default, Args)]
pub struct AckArgs {
    /// Findings by id, or the first four digits or more
    #[arg(required = true, value_name = "ID")]
    pub findings: Vec<String>,
    /// Why; stands in the event and beside the finding
    #[arg(long, value_name = "WORDS", default_value = "")]
    pub reason: String,
    /// The daemon's socket
    #[arg(long, env = "PORTOLAN_SERVER", value_name = "PATH", default_value = crate::config::SOCKET)]
    pub server: String,
}

/// `portolan suppress`.
#[derive(Clone, Debug, Args)]
pub struct SuppressArgs {
    /// Finding by id, or the first four digits or more
    #[arg(required = true, value_name = "ID")]
    pub findings: Vec<String>,
    /// Why; stands in the event and beside the finding
    #[arg(long, value_name = "WORDS")]
    pub reason: String,
    /// How long: 30m, 12h; it comes back then if it still goes on
    #[arg(long = "for", value_name = "TIME", value_parser = parse_span)]
    pub span: std::time::Duration,
    /// The daemon's socket
    #[arg(long, env = "PORTOLAN_SERVER", value_name = "PATH", default_value = crate::config::SOCKET)]
    pub server: String,
}
