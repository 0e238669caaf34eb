//! The daemon: starts the rooms, owns the clock, the command line and the configuration.
//!
//! # Where it sits
//!
//! Everything below is pure or has one outside thing of its own; here they are put together. [`engine`] is the
//! walk of a frame from the tap to a publication, the same for `run`, `look` and `replay`; the rest is what stands
//! around it: arguments, files, threads, signals, and what a person reads.

pub mod ask;
pub mod baseline;
pub mod cli;
pub mod compose;
pub mod config;
pub mod cut;
pub mod doctor;
pub mod edge;
pub mod engine;
pub mod error;
mod fault;
pub mod findings;
pub mod flows;
pub mod graph;
pub mod journal;
pub mod judge;
mod keep;
mod kept;
pub mod live;
pub mod look;
mod means;
mod orders;
pub mod picture;
pub mod privileges;
pub mod record;
pub mod recording;
pub mod replay;
pub mod report;
pub mod result;
pub mod run;
pub mod select;
mod signals;
mod survey;
#[cfg(feature = "top")]
pub mod top;
mod watchdog;

use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use portolan_exporter::events::{EventLog, EventSource};
use portolan_exporter::{OwnMetrics, Publication};
use portolan_flowtable::Completeness;
use portolan_policy::Severity;
use portolan_policy::baseline::Enough;

use cli::{Cli, Command, Format, ReplayArgs, SeverityArg};
use error::Failure;
use judge::cli::PolicyCommand;
use report::Style;

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    watchdog::guard_threads();
    // What panicked has said so.
    let ended = std::panic::catch_unwind(|| dispatch(cli.command)).unwrap_or(Ok(watchdog::EXIT_CODE));
    let code = match ended {
        Ok(code) => code,
        Err(failure) => {
            say(&format!("portolan: {}", failure.message));
            failure.code
        }
    };
    ExitCode::from(if watchdog::grief().is_some() { watchdog::EXIT_CODE } else { code })
}

fn dispatch(command: Command) -> Result<u8, Failure> {
    let mut out = std::io::stdout().lock();
    if reads_files_alone(&command) {
        privileges::confine_reading();
    }
    match command {
        Command::Replay(args) => replay_command(&args, &mut out),
        Command::Cut(args) => cut::cut(&args, &mut out),
        Command::Flows(args) => flows::flows(&args, &mut out).map(|()| 0),
        Command::Findings(args) => findings::findings(&args, &mut out),
        Command::Ack(args) => findings::acknowledge(&args, "ack", &mut out).map(|()| 0),
        Command::Reopen(args) => findings::acknowledge(&args, "reopen", &mut out).map(|()| 0),
        Command::Suppress(args) => findings::suppress(&args, &mut out).map(|()| 0),
        Command::Baseline(args) => baseline::baseline(&args, &mut out).map(|()| 0),
        Command::Graph(args) => graph::graph(&args, &mut out),
        Command::Status(args) => ask::status(&args, &mut out).map(|()| 0),
        #[cfg(feature = "top")]
        Command::Top(args) => top::top(&args).map(|()| 0),
        Command::Policy { what } => judge::policy(&what, &mut out),
        Command::Rules { what } => judge::rules(&what, &mut out),
        Command::Why(args) => judge::why(&args, &mut out),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "portolan", &mut script);
            ask::print(&mut out, &script).map(|()| 0)
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut page)
                .map_err(|error| Failure::error(format!("cannot write the manual page: {error}")))?;
            ask::print(&mut out, &page).map(|()| 0)
        }
        Command::Run(args) => run::run(&args).map(|()| 0),
        Command::Look(args) => look::look(&args, &mut out),
        Command::Record(args) => record::record(&args, &mut out),
        Command::Doctor(args) => doctor::doctor(&args, &mut out),
    }
}

fn reads_files_alone(command: &Command) -> bool {
    match command {
        Command::Replay(_) | Command::Cut(_) => true,
        Command::Flows(args) => args.asked.from.is_some(),
        Command::Status(args) => args.asked.from.is_some(),
        Command::Findings(args) => args.asked.from.is_some(),
        Command::Ack(_) | Command::Reopen(_) | Command::Suppress(_) | Command::Baseline(_) => false,
        Command::Graph(args) => graph::reads_files_alone(args),
        Command::Run(_) | Command::Look(_) | Command::Record(_) | Command::Doctor(_) => false,
        #[cfg(feature = "top")]
        Command::Top(_) => false,
        Command::Policy { what: PolicyCommand::Suggest(args) } => args.asked.from.is_some(),
        Command::Policy { what: PolicyCommand::Export(args) } => args.asked.from.is_some(),
        Command::Policy { .. } => true,
        Command::Why(args) => args.asked.from.is_some(),
        Command::Completions { .. } | Command::Man | Command::Rules { .. } => false,
    }
}

fn replay_command(args: &ReplayArgs, out: &mut impl Write) -> Result<u8, Failure> {
    let mut knowledge = replay::Knowledge::read(&args.knowledge)?;
    if let Some(path) = &args.baseline {
        if !args.learn && !path.exists() {
            return Err(Failure::error(format!(
                "{}: there is no such file; --learn begins one",
                path.display()
            )));
        }
        knowledge.baseline = Some(keep::baseline(path, Enough::default())?);
        knowledge.learns = args.learn;
    }
    if !args.pending.is_empty() {
        let tried = replay::Contracts::read(&args.pending, &args.knowledge.compose)?;
        knowledge.pending = Some(tried.contract);
    }
    let mut events = EventLines::default();
    let each_turn = RefCell::new(|turned: &replay::TurnOf<'_>| events.tell(turned));
    let is_events = args.print.format == Format::Ndjson && !args.quiet;
    let request = replay::Request {
        files: &args.files,
        knowledge: &knowledge,
        read: &args.read,
        conversations: args.conversations.as_deref(),
        shows_progress: !args.quiet,
        each_turn: is_events.then_some(&each_turn),
    };
    let replayed = replay::replay(&request)?;
    if !args.quiet {
        for note in &replayed.notes {
            say(&format!("portolan: {}", portolan_exporter::escape::terminal(note)));
        }
        for warning in knowledge.notes.iter().chain(&replayed.warnings) {
            say(&format!("portolan: warning: {}", portolan_exporter::escape::terminal(warning)));
        }
    }
    if let Some(path) = &args.output {
        result::write(path, &replayed.publication)?;
    }
    if let (Some(path), true, Some(learned)) = (&args.baseline, args.learn, &replayed.baseline) {
        keep::write(path, &learned.to_text())?;
    }
    if !args.quiet {
        print_publication(args, &replayed, out)?;
    }
    if !replayed.damage.is_empty() {
        return Err(Failure::error(replayed.damage.join("\nportolan: ")));
    }
    Ok(answer_code(&replayed.publication, args.fail_on, args.require_complete))
}

/// Returns the exit code of an answer that was given: 3 for findings at or above what is asked for, 4 where the
/// answer has to be complete and is not known to be, else 0. What was found stands whatever was missed.
pub(crate) fn answer_code(
    publication: &Publication,
    fail_on: Option<SeverityArg>,
    require_complete: bool,
) -> u8 {
    let limit = fail_on.map(Severity::from);
    let is_found = |limit| publication.assessment.findings.iter().any(|finding| finding.severity >= limit);
    let is_complete = publication.assessment.snapshot.completeness == Completeness::Complete;
    match (limit.is_some_and(is_found), require_complete && !is_complete) {
        (true, _) => 3,
        (false, true) => 4,
        (false, false) => 0,
    }
}

fn print_publication(
    args: &ReplayArgs,
    replayed: &replay::Replayed,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let publication = &replayed.publication;
    let written = match args.print.format {
        Format::Table => {
            let style = style_of(&args.print);
            // A recording is called by the host it is of, as it was live.
            let title = match replayed.notes.is_empty() {
                true => replay::title(&args.files),
                false => publication.vitals.host.clone(),
            };
            out.write_all(report::report(publication, &title, style).as_bytes())
        }
        Format::Json => result::print(out, publication, replay::threads(&args.read)),
        // Each turn told of its own.
        Format::Ndjson => Ok(()),
    };
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::error(format!("cannot write the report: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What a daemon writes to its event log, on standard output.
#[derive(Default)]
struct EventLines(Option<(EventSource, EventLog)>);

impl EventLines {
    fn tell(&mut self, turned: &replay::TurnOf<'_>) {
        let (source, log) = self.0.get_or_insert_with(|| {
            let host = &turned.publication.vitals.host;
            let log = EventLog::to_stream(Box::new(std::io::stdout()), host, OwnMetrics::default());
            (EventSource::new(turned.heartbeat_seconds), log)
        });
        log.write(&source.turn(turned.publication, turned.alerts));
    }
}

/// Returns whether standard output may be coloured: a terminal, and nobody asked for none (no-color.org).
pub fn is_coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Returns how an answer is drawn for whoever reads it: on a terminal in colours and no wider than that, else plainly.
pub(crate) fn style_of(print: &cli::PrintArgs) -> Style {
    let stdout = std::io::stdout();
    let is_cut = stdout.is_terminal() && !print.all;
    let size = is_cut.then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten();
    // Some terminals do not know their size, and say 0.
    let width = size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
    Style { is_coloured: is_coloured(), is_whole: print.all, is_local: print.local, width }
}

/// Writes a sentence to standard error; there is nobody to tell if that fails. Of what it repeats from files and
/// daemons, nothing steers the terminal.
pub fn say(sentence: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", fit_for_a_terminal(sentence));
}

/// Returns a sentence, line by line without what steers a terminal.
pub(crate) fn fit_for_a_terminal(sentence: &str) -> String {
    sentence.split('\n').map(portolan_exporter::escape::terminal).collect::<Vec<_>>().join("\n")
}
