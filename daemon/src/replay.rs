//! Replay: captures through the same engine, on the captures' time.

mod dedup;
mod journalled;
mod knowledge;
mod pipeline;
mod row;
mod run;
mod vantage;
mod watch;

use std::cell::RefCell;
use std::fmt;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use portolan_capture::select::Selection;
use portolan_capture::{Frame, MergedFiles, ParseOptions};
use portolan_exporter::Publication;
use portolan_flowtable::plain::PlainConversations;
use portolan_policy::baseline::Baseline;
use portolan_policy::rhythm::Rhythm;
use portolan_policy::{Alert, Contract};

use crate::cli::ReadArgs;
use crate::error::Failure;
use journalled::find;
pub(crate) use journalled::journal_of;
pub use knowledge::{Contracts, Knowledge};
use row::Reading;
use run::Run;
use vantage::{Chosen, choose};
pub(crate) use watch::Watch;

/// Threads used where nobody says how many. More cost processor time, and win where files are packed and
/// processors idle.
const THREADS_UNASKED: usize = 2;

/// One turn of a replay: its last, and with a journal each one there was live.
#[derive(Clone, Copy, Debug)]
pub struct TurnOf<'a> {
    /// The answer.
    pub publication: &'a Publication,
    /// The news.
    pub alerts: &'a [Alert],
    /// Pause between heartbeats among the events, in seconds.
    pub heartbeat_seconds: u32,
}

/// Hears every turn.
pub type EachTurn<'a> = &'a RefCell<dyn FnMut(&TurnOf<'_>) + 'a>;

/// What a replay is asked for.
pub struct Request<'a> {
    /// Captures, merged by time.
    pub files: &'a [PathBuf],
    /// Who is who, and what was documented.
    pub knowledge: &'a Knowledge,
    /// How captures are read.
    pub read: &'a ReadArgs,
    /// Where the plain conversation table goes.
    pub conversations: Option<&'a Path>,
    /// Whether a progress bar may be drawn.
    pub shows_progress: bool,
    /// Who hears every turn.
    pub each_turn: Option<EachTurn<'a>>,
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("files", &self.files)
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}

/// What a replay gives.
#[derive(Debug)]
pub struct Replayed {
    /// The whole answer.
    pub publication: Publication,
    /// Findings in the order they were raised.
    pub alerts: Vec<Alert>,
    /// What ended the reading of a file early.
    pub damage: Vec<String>,
    /// What a person should know about the reading.
    pub warnings: Vec<String>,
    /// What was found beside the captures.
    pub notes: Vec<String>,
    /// What the traffic was held against at the end.
    pub contract: Arc<Contract>,
    /// The baseline, with what it learned.
    pub baseline: Option<Baseline>,
    /// Who called at one interval, and what is usual.
    pub rhythm: Rhythm,
}

/// Replays captures.
///
/// # Errors
///
/// Returns why nothing could be replayed: a file that is missing or no capture, a filter that does not compile, an
/// output that cannot be written.
pub fn replay(request: &Request<'_>) -> Result<Replayed, Failure> {
    replay_watched(request, None)
}

/// Replays captures while somebody follows.
///
/// # Errors
///
/// The same as those of [`replay`].
pub(crate) fn replay_watched<'w>(
    request: &Request<'_>,
    watch: Option<&'w mut (dyn Watch + 'w)>,
) -> Result<Replayed, Failure> {
    let found = find(request)?;
    let files = found.as_ref().map_or(request.files, |found| &found.files);
    let paths: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    let (chosen, mut tap) = match &found {
        Some(_) => (Chosen::default(), MergedFiles::open_in_sequence(&paths)?),
        None => (choose(&paths, request)?, MergedFiles::open(&paths)?),
    };
    let mut filter = request.read.filter.as_deref().map(Selection::new).transpose()?;
    let read = request.read;
    let mut select = |frame: &Frame<'_>| is_selected(read, &mut filter, frame);
    let reading = Reading {
        names: found.as_ref().is_none_or(|found| found.journal.begin().dns_names),
        options: ParseOptions { innermost: request.read.innermost, fingerprint: chosen.is_deduplicated },
    };
    let progress = progress_bar(&tap, request.shows_progress);
    let mut run = Run::new(request, chosen, progress, found, watch)?;
    let ended = pipeline::read(&mut tap, threads(request.read), &mut select, &reading, &mut run)?;
    run.progress.finish_and_clear();
    for damage in ended.iter().chain(tap.damage()) {
        run.note_damage(damage);
    }
    for link in filter.iter().flat_map(Selection::refused) {
        run.warnings
            .push(format!("the filter means nothing on frames of link type {link}: none was selected"));
    }
    if let Some((path, plain)) = request.conversations.zip(run.plain.as_ref()) {
        write_conversations(path, plain)?;
    }
    if run.chosen.is_blind_to_roles && vantage::may_show_twice(tap.interfaces()) {
        run.chosen.remarks.push(vantage::UNSURVEYED.to_owned());
    }
    if run.player.is_some() {
        return run.finish_journal(tap.interfaces());
    }
    Ok(run.finish(tap.kernel_dropped(), tap.interfaces(), &title(request.files)))
}

/// Opens captures in the order in which a replay reads them.
///
/// # Errors
///
/// The same as those of [`replay`].
pub(crate) fn open(request: &Request<'_>) -> Result<MergedFiles, Failure> {
    let in_words =
        |files: &[PathBuf]| -> Vec<String> { files.iter().map(|path| path.display().to_string()).collect() };
    Ok(match find(request)? {
        Some(found) => MergedFiles::open_in_sequence(&in_words(&found.files))?,
        None => MergedFiles::open(&in_words(request.files))?,
    })
}

/// Returns whether a frame is asked for.
pub(crate) fn is_selected(read: &ReadArgs, filter: &mut Option<Selection>, frame: &Frame<'_>) -> bool {
    let is_outside =
        read.since.is_some_and(|since| frame.at < since) || read.until.is_some_and(|until| frame.at >= until);
    !is_outside && filter.as_mut().is_none_or(|filter| filter.selects(frame))
}

/// Returns what a capture is called: its file name without endings, or its folder's where that says more.
pub fn title(files: &[PathBuf]) -> String {
    let Some(first) = files.first() else { return String::new() };
    if first.as_os_str() == "-" {
        return "standard input".to_owned();
    }
    let name = first.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
    let stem = name.split('.').next().unwrap_or_default().to_owned();
    match first.parent().and_then(Path::file_name) {
        Some(folder) if stem == "capture" => folder.to_string_lossy().into_owned(),
        Some(_) | None if stem.is_empty() => name,
        Some(_) | None => stem,
    }
}

/// Returns how many threads a replay uses.
pub(crate) fn threads(read: &ReadArgs) -> usize {
    match read.threads {
        Some(asked) => usize::from(asked),
        None => std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_UNASKED),
    }
}

fn progress_bar(tap: &MergedFiles, is_wanted: bool) -> ProgressBar {
    if !is_wanted || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = match tap.length() {
        Some(length) => ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(10)),
        None => ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10)),
    };
    let template = if tap.length().is_some() {
        "{bar:40} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}"
    } else {
        "{spinner} {bytes} {binary_bytes_per_sec}"
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Writes the plain conversation table: one object a line, then the totals.
fn write_conversations(path: &Path, plain: &PlainConversations) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::cannot_write(path, &error);
    let file = std::fs::File::create(path).map_err(failed)?;
    let mut out = BufWriter::new(file);
    for row in plain.rows() {
        serde_json::to_writer(&mut out, &row).map_err(|error| failed(error.into()))?;
        out.write_all(b"\n").map_err(failed)?;
    }
    serde_json::to_writer(&mut out, &plain.totals()).map_err(|error| failed(error.into()))?;
    out.write_all(b"\n").map_err(failed)?;
    out.flush().map_err(failed)
}
