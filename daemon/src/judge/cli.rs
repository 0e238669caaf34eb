//! Arguments of `portolan policy`, `rules` and `why`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::{AskedArgs, KnowledgeArgs};

/// How an answer about policy is printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum AnswerFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// How an answer is printed that a pipeline may read too.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum CheckFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// SARIF 2.1.0, for code hosts.
    Sarif,
    /// JUnit XML, for build servers.
    Junit,
}

/// How the difference of two contracts is printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum DiffFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// A graph for Graphviz.
    Dot,
    /// A graph for Markdown pages.
    Mermaid,
}

/// `portolan policy`.
#[derive(Clone, Debug, Subcommand)]
pub enum PolicyCommand {
    /// Read contracts and say every mistake with its place
    #[command(after_help = "Examples:\n  portolan policy check contract.toml\n  \
        portolan policy check /etc/portolan/contracts.d --format sarif > contracts.sarif\n  \
        portolan policy check contract.toml --against shop.pcapng --roster inspect.json\n\n\
        Exit codes: 0 fine, 1 mistakes.")]
    Check(CheckArgs),
    /// Judge a capture or result by other contracts: which conversations get another verdict
    #[command(after_help = "Examples:\n  \
        portolan policy test stricter.toml --against shop.pcapng --contract contract.toml --roster inspect.json\n  \
        portolan policy test contracts.d --against recorded.pcapng --format junit > verdicts.xml\n  \
        portolan policy test stricter.toml --against /var/lib/portolan/snapshots\n\n\
        A recording or snapshot is held against the contract it was judged by, a capture against --contract.\n\
        Exit codes: 0 no verdict changes, 3 some do.")]
    Test(TrialArgs),
    /// What two contracts say differently, whatever their order and shape
    #[command(after_help = "Examples:\n  portolan policy diff contract.toml stricter.toml\n  \
        git show HEAD:contract.toml > /tmp/before.toml && portolan policy diff /tmp/before.toml contract.toml\n  \
        portolan policy diff contract.toml stricter.toml --format dot | dot -Tsvg > changes.svg\n\n\
        Exit codes: 0 nothing, 3 something.")]
    Diff(DiffArgs),
    /// Write the smallest contract that expects all that was answered
    #[command(
        after_help = "Examples:\n  portolan policy suggest --from shop.pcapng --roster inspect.json > contract.toml\n  \
        portolan policy suggest                        from what the daemon has seen so far"
    )]
    Suggest(SuggestArgs),
    /// Write what was answered and is no finding in another's words
    #[command(
        after_help = "Examples:\n  portolan policy export --to nftables --from shop.pcapng --roster inspect.json\n  \
        portolan policy export --to compose > networks.yaml     from what the daemon has seen so far"
    )]
    Export(ExportArgs),
}

/// Whose words a policy is exported in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum ExportForm {
    /// NetworkPolicy objects.
    Kubernetes,
    /// A table for `nft -f`.
    Nftables,
    /// Networks of compose projects.
    Compose,
}

/// `portolan policy export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// Whose words
    #[arg(long, value_enum, value_name = "FORM")]
    pub to: ExportForm,
    /// Who is asked.
    #[command(flatten)]
    pub asked: AskedArgs,
}

/// `portolan rules`.
#[derive(Clone, Debug, Subcommand)]
pub enum RulesCommand {
    /// List the standard rules, which hold without being written
    #[command(after_help = "Example:\n  portolan rules list --format json")]
    List {
        /// How to print the answer
        #[arg(long, value_enum, default_value_t)]
        format: AnswerFormat,
    },
    /// Say why a standard rule is there, when it speaks, and what to do then
    #[command(after_help = "Example:\n  portolan rules show undocumented_port")]
    Show {
        /// Its id.
        id: String,
        /// How to print the answer
        #[arg(long, value_enum, default_value_t)]
        format: AnswerFormat,
    },
    /// Try each standard rule on a capture it speaks on and on one that is fine
    #[command(
        after_help = "Examples:\n  portolan rules test\n  portolan rules test beaconing --format json\n\n\
        The captures are built in, and small. Exit codes: 0 every rule does what it says, 1 one does not."
    )]
    Test {
        /// Its id; all of them where none is given.
        id: Option<String>,
        /// How to print the answer
        #[arg(long, value_enum, default_value_t)]
        format: AnswerFormat,
    },
}

/// `portolan policy check`.
#[derive(Clone, Debug, Default, Args)]
pub struct CheckArgs {
    /// Contracts, or folders of them
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub contracts: Vec<PathBuf>,
    /// Compose files to be read with them
    #[arg(long, value_name = "[PROJECT=]FILE")]
    pub compose: Vec<String>,
    /// Say too how much of what they allow was seen in this capture or result
    #[arg(long, value_name = "CAPTURE|RESULT")]
    pub against: Option<PathBuf>,
    /// Who is who, for a capture: docker inspect output or TOML; repeatable
    #[arg(long, value_name = "FILE", requires = "against")]
    pub roster: Vec<PathBuf>,
    /// How to print the answer
    #[arg(long, value_enum, default_value_t)]
    pub format: CheckFormat,
}

/// `portolan policy test`.
#[derive(Clone, Debug, Default, Args)]
pub struct TrialArgs {
    /// The contracts to try, or folders of them
    #[arg(required = true, value_name = "NEW")]
    pub contracts: Vec<PathBuf>,
    /// What they are tried on; a folder of snapshots is a history
    #[arg(long, value_name = "CAPTURE|RESULT|FOLDER", required = true)]
    pub against: PathBuf,
    /// Who is who, and what holds so far, for a capture.
    #[command(flatten)]
    pub knowledge: KnowledgeArgs,
    /// How to print the answer
    #[arg(long, value_enum, default_value_t)]
    pub format: CheckFormat,
}

/// `portolan policy diff`.
#[derive(Clone, Debug, Default, Args)]
pub struct DiffArgs {
    /// A contract, or a folder of them
    #[arg(value_name = "A")]
    pub before: PathBuf,
    /// Another one
    #[arg(value_name = "B")]
    pub after: PathBuf,
    /// How to print the answer
    #[arg(long, value_enum, default_value_t)]
    pub format: DiffFormat,
}

/// `portolan policy suggest`.
#[derive(Clone, Debug, Default, Args)]
pub struct SuggestArgs {
    /// Who is asked.
    #[command(flatten)]
    pub asked: AskedArgs,
}

/// `portolan why`.
#[derive(Clone, Debug, Default, Args)]
pub struct WhyArgs {
    /// The edge, as reports print it: 'reports -> db:5432'; project, port and protocol may be left out
    #[arg(value_name = "EDGE")]
    pub edge: String,
    /// Who is asked.
    #[command(flatten)]
    pub asked: AskedArgs,
    /// How to print the answer
    #[arg(long, value_enum, default_value_t)]
    pub format: AnswerFormat,
}
