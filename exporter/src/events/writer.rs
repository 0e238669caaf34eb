//! Events onto a file or a stream. Nothing here fails outwards: what cannot be written is counted, and said in the
//! stream itself once it can be written again.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use portolan_flowtable::Timestamp;
use serde::Serialize;

use super::atomics::{AtomicBool, OBSERVE, PUBLISH};
use super::backlog::Backlog;
use super::{Event, EventCounts, LostNews, News};
use crate::escape;
use crate::own::OwnMetrics;

/// The events file cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot write events to {}: choose another file with --events", path.display())]
pub struct EventsError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// One stream of events. Writes at once and in the caller's thread; [`EventWriter`] does not.
pub struct EventLog {
    host: String,
    sink: Sink,
    /// Sequence number of the next line.
    seq: u64,
    /// Time of the latest event, written or not.
    last_at: Timestamp,
    /// Lost since the last line, and why the first of them was.
    missing: Option<LostNews>,
    /// Whether the stream may end in part of a line.
    is_torn: bool,
    counts: EventCounts,
    own: OwnMetrics,
}

enum Sink {
    File { path: PathBuf, file: File },
    Stream(Box<dyn Write + Send>),
}

/// A line: the envelope around an event.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: Timestamp,
    host: &'a str,
    seq: u64,
    #[serde(flatten)]
    news: &'a News,
}

impl EventLog {
    /// Opens a file to append to, made with mode 0600 where there is none.
    ///
    /// # Errors
    ///
    /// Returns [`EventsError`] where the file cannot be opened.
    pub fn to_file(path: &Path, host: &str, own: OwnMetrics) -> Result<Self, EventsError> {
        let failed = |source| EventsError { path: path.to_owned(), source };
        let (file, is_torn) = open(path).map_err(failed)?;
        Ok(Self::new(Sink::File { path: path.to_owned(), file }, is_torn, host, own))
    }

    /// Writes to a stream.
    pub fn to_stream(stream: Box<dyn Write + Send>, host: &str, own: OwnMetrics) -> Self {
        Self::new(Sink::Stream(stream), false, host, own)
    }

    fn new(sink: Sink, is_torn: bool, host: &str, own: OwnMetrics) -> Self {
        let counts = EventCounts::default();
        Self {
            host: host.to_owned(),
            sink,
            seq: 1,
            last_at: Timestamp::default(),
            missing: None,
            is_torn,
            counts,
            own,
        }
    }

    /// Writes events, each whole or not at all.
    pub fn write(&mut self, events: &[Event]) {
        for event in events {
            self.last_at = event.at;
            self.mend();
            if self.missing.is_some() {
                self.lose(1, "");
            } else if let Err(error) = self.line(event.at, &event.news) {
                self.lose(1, &error.to_string());
            }
        }
        if let Sink::Stream(stream) = &mut self.sink
            && let Err(error) = stream.flush()
        {
            self.counts.last_error = Some(error.to_string());
        }
    }

    /// Counts events that never came here.
    pub fn lose(&mut self, events: u64, cause: &str) {
        if events == 0 {
            return;
        }
        if !cause.is_empty() {
            self.counts.last_error = Some(cause.to_owned());
        }
        self.counts.lost = self.counts.lost.saturating_add(events);
        self.own.events_lost.inc_by(events);
        let missing = self.missing.get_or_insert_with(|| LostNews { events: 0, cause: cause.to_owned() });
        missing.events = missing.events.saturating_add(events);
    }

    /// Opens the file again under its name, which may be another file by now. On failure the open one stays.
    pub fn reopen(&mut self) {
        let Sink::File { path, file } = &mut self.sink else {
            return;
        };
        match open(path) {
            Ok((opened, is_torn)) => {
                *file = opened;
                self.is_torn = is_torn;
            }
            Err(error) => self.counts.last_error = Some(format!("{}: {error}", path.display())),
        }
    }

    /// Returns what became of events so far.
    pub fn counts(&self) -> &EventCounts {
        &self.counts
    }

    /// Says what is missing, if that can be said.
    fn mend(&mut self) {
        if let Some(lost) = self.missing.clone()
            && self.line(self.last_at, &News::Lost { lost }).is_ok()
        {
            self.missing = None;
        }
    }

    fn line(&mut self, at: Timestamp, news: &News) -> io::Result<()> {
        let line = Line { timestamp: at, host: &self.host, seq: self.seq, news };
        let mut text = serde_json::to_string(&line)?;
        if let std::borrow::Cow::Owned(escaped) = escape::json(&text) {
            text = escaped;
        }
        text.push('\n');
        if self.is_torn {
            text.insert(0, '\n');
        }
        let (written, outcome) = self.sink.put(text.as_bytes());
        match outcome {
            Ok(()) => {
                self.is_torn = false;
                self.seq += 1;
                self.counts.written += 1;
                self.own.events.inc();
                Ok(())
            }
            Err(error) => {
                if written > 0 && !self.sink.take_back(written) {
                    self.is_torn = true;
                }
                Err(error)
            }
        }
    }
}

impl Sink {
    /// Writes all of it, or says how much: the first write on a full disk is short and no error.
    fn put(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let stream: &mut dyn Write = match self {
            Self::File { file, .. } => file,
            Self::Stream(stream) => stream,
        };
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match stream.write(rest) {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }

    /// Cuts the last `written` bytes off a file again. Returns whether the stream ends as it did before.
    fn take_back(&mut self, written: usize) -> bool {
        match self {
            Self::File { file, .. } => file
                .metadata()
                .and_then(|metadata| file.set_len(metadata.len().saturating_sub(written as u64)))
                .is_ok(),
            Self::Stream(_) => false,
        }
    }
}

/// Opens a file and says whether it ends in the middle of a line, as a crash leaves it.
fn open(path: &Path) -> io::Result<(File, bool)> {
    // Reading is asked for as well: a pipe without a reader then opens at once instead of blocking.
    let mut file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
    let metadata = file.metadata()?;
    let mut last = [b'\n'];
    if metadata.is_file() && metadata.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    Ok((file, last != [b'\n']))
}

/// Carries events to a log in a thread of its own. Never blocks: what does not fit is counted as lost.
pub struct EventWriter {
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
    done: Receiver<()>,
}

enum Message {
    Events(Vec<Event>),
    Wake,
}

struct Shared {
    backlog: Backlog,
    is_reopening: AtomicBool,
}

/// Ticks' worth of events waiting.
const BATCHES_MAX: usize = 1_024;
/// Events waiting; some 64 MiB.
const EVENTS_MAX: usize = 65_536;

impl EventWriter {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error where it has no thread to give.
    pub fn start(log: EventLog) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(BATCHES_MAX);
        let (finished, done) = sync_channel(1);
        let shared = Arc::new(Shared { backlog: Backlog::new(), is_reopening: AtomicBool::new(false) });
        let theirs = Arc::clone(&shared);
        thread::Builder::new().name("portolan-events".to_owned()).spawn(move || {
            carry(log, &receiver, &theirs);
            // Nobody may be waiting any more.
            let _ = finished.send(());
        })?;
        Ok(Self { sender, shared, done })
    }

    /// Hands over the events of a tick. Returns at once.
    pub fn offer(&self, events: Vec<Event>) {
        let count = events.len();
        if count == 0 {
            return;
        }
        if !self.shared.backlog.admit(count, EVENTS_MAX) {
            return;
        }
        match self.sender.try_send(Message::Events(events)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.shared.backlog.turn_away(count)
            }
        }
    }

    /// Has the file opened again under its name, after a log rotation.
    pub fn reopen(&self) {
        self.shared.is_reopening.store(true, PUBLISH);
        // A full queue wakes the thread as well.
        let _ = self.sender.try_send(Message::Wake);
    }

    /// Returns what became of events so far.
    pub fn counts(&self) -> EventCounts {
        self.shared.backlog.settled()
    }

    /// Writes what is waiting and ends, but waits no longer than `patience` for a reader who does not read.
    pub fn close(self, patience: Duration) -> EventCounts {
        let Self { sender, shared, done } = self;
        drop(sender);
        // Whether it was done or not shows in the counts.
        let _ = done.recv_timeout(patience);
        shared.backlog.given_up()
    }
}

fn carry(mut log: EventLog, receiver: &Receiver<Message>, shared: &Shared) {
    for message in receiver {
        if shared.is_reopening.swap(false, OBSERVE) {
            log.reopen();
        }
        let turned_away = shared.backlog.turned_away();
        log.lose(turned_away, "the events came faster than they could be written");
        let waited = match message {
            Message::Events(events) => {
                log.write(&events);
                events.len()
            }
            Message::Wake => 0,
        };
        shared.backlog.settle(waited, turned_away, log.counts());
    }
    log.mend();
    shared.backlog.settle(0, 0, log.counts());
}
