//! The writer's thread: frames out of the ring into a capture, notes into its journal, in the engine's order.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use portolan_capture::keep::{Keep, kept_bytes};
use portolan_capture::write::{Captured, NewInterface};
use portolan_capture::{Frame, LinkType, ParseOptions, parse};
use portolan_flowtable::units::grouped;
use portolan_flowtable::{InterfaceId, Tally, Timestamp};
use portolan_identity::{Picture, PictureRecord};

use super::choice::Chosen;
use super::disk::{Pieces, Room};
use super::interfaces::describe;
use super::part::Part;
use super::ring::{Feed, Head, RING_BYTES, Seen};
use super::{Choice, Note};
use crate::error::Failure;
use crate::journal::{self, Begin, EndRow, Entry, Row, TickRow, TurnRow};

/// Pause where there is nothing to write.
const PAUSE: Duration = Duration::from_millis(10);
/// Time between two writes to disk, at most: what a kill loses.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// How long the first frame of an interface waits until somebody can say what hangs on it.
const NAMED_WITHIN: Duration = Duration::from_secs(1);
/// Pictures kept to know them again.
const PICTURES_KEPT: usize = 16;

/// How a recording is made.
#[derive(Clone, Debug, Default)]
pub struct RecordingOptions {
    /// Where it goes.
    pub capture: PathBuf,
    /// What is kept of each frame.
    pub keep: Keep,
    /// What is recorded.
    pub choice: Choice,
    /// Bytes captured of each frame, as interface blocks say it.
    pub snaplen: u32,
    /// Bytes of capture and journal together, at most.
    pub bytes_max: Option<u64>,
    /// Bytes after which another part begins.
    pub rotate_bytes: Option<u64>,
}

/// What became of a recording.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// Capture files, in order.
    pub files: Vec<PathBuf>,
    /// The journal.
    pub journal: PathBuf,
    /// Frames recorded.
    pub frames: u64,
    /// Bytes of captures and journal.
    pub bytes: u64,
    /// Frames that were metered and not recorded.
    pub unrecorded: Tally,
    /// Frames that were not asked for.
    pub not_selected: Tally,
    /// Whether nobody has the name that was asked for.
    pub is_nobody: bool,
    /// Why it ended early; empty where it did not.
    pub cause: String,
    /// Whether that is an error.
    pub is_failed: bool,
}

/// A recording under way.
#[derive(Debug)]
pub struct Recording {
    thread: JoinHandle<Recorded>,
    cause: Arc<Mutex<Option<String>>>,
}

impl Recording {
    /// Makes the files and starts the thread.
    ///
    /// # Errors
    ///
    /// Returns why the files cannot be made; one that is there already is not overwritten.
    pub(crate) fn start(options: RecordingOptions, begin: Begin, feed: Feed) -> Result<Self, Failure> {
        let cause = Arc::new(Mutex::new(None));
        // The files are made here, so that what is wrong with them is said at once.
        let mut writer = Writer::new(options, begin, feed, Arc::clone(&cause))?;
        let thread = std::thread::Builder::new()
            .name("portolan-record".to_owned())
            .spawn(move || {
                writer.run();
                writer.finish()
            })
            .map_err(|error| Failure::error(format!("cannot start the recorder's thread: {error}")))?;
        Ok(Self { thread, cause })
    }

    /// Returns why the recording ended early, if it did.
    pub fn cause(&self) -> Option<String> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until everything is written; the engine must have ended.
    ///
    /// # Errors
    ///
    /// Returns that the thread came to grief.
    pub fn finish(self) -> Result<Recorded, Failure> {
        self.thread.join().map_err(|_| Failure::defect("the recorder's thread panicked; please report this"))
    }
}

/// Why nothing more is written.
enum Stop {
    Full(PathBuf),
    Limit(String),
    Failed(PathBuf, std::io::Error),
}

struct Writer {
    options: RecordingOptions,
    begin: Begin,
    feed: Feed,
    pending: VecDeque<Note>,
    cause: Arc<Mutex<Option<String>>>,
    /// Frames taken out of the ring.
    taken: u64,
    /// Frames written, over all parts.
    written: u64,
    /// Frame that the latest row precedes.
    before: u64,
    last_at: Option<Timestamp>,
    capture: Part,
    parts: Vec<PathBuf>,
    /// Bytes of the parts that are closed.
    closed_bytes: u64,
    journal: Pieces,
    journal_path: PathBuf,
    pictures: VecDeque<(Arc<Picture>, u32)>,
    pictures_given: u32,
    known: PictureRecord,
    latest: Arc<Picture>,
    chosen: Option<Chosen>,
    not_selected: Tally,
    /// Frames the disk had no room for, and what the tap's thread could not hand over.
    unwritten: Tally,
    unrecorded: Tally,
    received: (u64, u64),
    waiting_since: Option<Instant>,
    flushed_at: Instant,
    stopped: Option<Stop>,
}

impl Writer {
    fn new(
        options: RecordingOptions,
        begin: Begin,
        feed: Feed,
        cause: Arc<Mutex<Option<String>>>,
    ) -> Result<Self, Failure> {
        let journal_path = journal::place(&options.capture);
        let first = if options.rotate_bytes.is_some() {
            journal::part(&options.capture, 1)
        } else {
            options.capture.clone()
        };
        let taken = |path: &Path, error: &std::io::Error| {
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                Failure::error(format!(
                    "{}: is there already, and recordings are not overwritten; remove it or choose another name",
                    path.display()
                ))
            } else {
                Failure::cannot_write(path, error)
            }
        };
        let journal = Pieces::create(&journal_path).map_err(|error| taken(&journal_path, &error))?;
        let capture = match Part::create(&first, &options, &begin) {
            Ok(capture) => capture,
            Err(error) => {
                // An empty journal without a capture would be in the way of the next attempt.
                let _ = std::fs::remove_file(&journal_path);
                return Err(taken(&first, &error));
            }
        };
        let latest = Arc::new(Picture::default());
        let chosen = (options.choice != Choice::All).then(|| Chosen::new(options.choice.clone(), &latest));
        let mut writer = Self {
            feed,
            pending: VecDeque::new(),
            cause,
            taken: 0,
            written: 0,
            before: 1,
            last_at: None,
            capture,
            parts: vec![first.clone()],
            closed_bytes: 0,
            journal,
            journal_path,
            pictures: VecDeque::new(),
            pictures_given: 0,
            known: PictureRecord::default(),
            latest,
            chosen,
            not_selected: Tally::default(),
            unwritten: Tally::default(),
            unrecorded: Tally::default(),
            received: (0, 0),
            waiting_since: None,
            flushed_at: Instant::now(),
            stopped: None,
            options,
            begin,
        };
        writer.row(Entry::Begin(Box::new(writer.begin.clone())));
        writer.row(Entry::File { name: file_name(&first) });
        writer.flush();
        Ok(writer)
    }

    fn run(&mut self) {
        let mut bytes = Vec::new();
        loop {
            crate::fault::point("record");
            let known = self.pending.len();
            let Seen { mut available, is_abandoned, is_closed } = self.feed.look(&mut self.pending);
            self.learn(known);
            let moved = self.work(&mut available, &mut bytes, is_abandoned);
            if self.flushed_at.elapsed() >= FLUSH_EVERY {
                self.flush();
            }
            if moved {
                continue;
            }
            if is_abandoned && is_closed && self.pending.is_empty() {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Learns what the notes say of who is who, from this one on.
    fn learn(&mut self, from: usize) {
        for note in self.pending.iter().skip(from) {
            if let Note::Roles(_, picture) | Note::Turn(picture, _) = note
                && !Arc::ptr_eq(picture, &self.latest)
            {
                self.latest = Arc::clone(picture);
                if let Some(chosen) = &mut self.chosen {
                    chosen.look_up(picture);
                }
            }
        }
    }

    /// Writes what is there, in order; false where there was nothing.
    fn work(&mut self, available: &mut usize, bytes: &mut Vec<u8>, is_last: bool) -> bool {
        let mut has_moved = false;
        loop {
            while self.pending.front().is_some_and(|note| precedes(note, self.taken + 1)) {
                if let Some(note) = self.pending.pop_front() {
                    self.note(note);
                    has_moved = true;
                }
            }
            if self.feed.peek(*available).is_none() || (!is_last && self.must_wait(*available)) {
                return has_moved;
            }
            let Some(head) = self.feed.take(available, bytes) else { return has_moved };
            self.taken += 1;
            self.frame(head, bytes);
            has_moved = true;
        }
    }

    /// Returns whether the next frame is the first of an interface that may get a name in a moment.
    fn must_wait(&mut self, available: usize) -> bool {
        let Some(index) = self.feed.peek_interface() else { return false };
        if self.stopped.is_some() || self.capture.interfaces.contains_key(&index) {
            self.waiting_since = None;
            return false;
        }
        // Where Docker does not answer, names do not come.
        let docker = &self.latest.docker;
        let may_improve =
            (docker.is_listed || docker.stale.is_none()) && describe(index, &self.latest).may_improve;
        if !may_improve {
            self.waiting_since = None;
            return false;
        }
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        available < RING_BYTES / 2 && since.elapsed() < NAMED_WITHIN
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Roles(_, picture) => {
                let picture = self.picture(&picture);
                self.row(Entry::Roles { picture });
            }
            Note::Tick(_, row) => {
                let row = self.completed(row);
                self.row(Entry::Tick(row));
            }
            Note::Drain(_) => self.row(Entry::Drain {}),
            Note::Settle(_, row) => {
                let row = self.completed(row);
                self.row(Entry::Settle(row));
            }
            Note::Turn(picture, row) => {
                let picture = self.picture(&picture);
                self.received = (row.received, row.dropped);
                self.row(Entry::Turn(Box::new(TurnRow { picture: Some(picture), ..*row })));
                self.tell_names();
            }
        }
    }

    /// Adds what only the writer knows.
    fn completed(&mut self, row: TickRow) -> TickRow {
        self.unrecorded = row.unrecorded;
        TickRow { not_selected: self.not_selected, unrecorded: row.unrecorded + self.unwritten, ..row }
    }

    /// Returns the number of a picture, writing what changed where it is new.
    fn picture(&mut self, picture: &Arc<Picture>) -> u32 {
        if let Some((_, number)) = self.pictures.iter().find(|(known, _)| Arc::ptr_eq(known, picture)) {
            return *number;
        }
        let record = PictureRecord::of(picture);
        let changes = Box::new(self.known.patch_to(&record));
        self.known = record;
        self.pictures_given += 1;
        if self.pictures.len() >= PICTURES_KEPT {
            self.pictures.pop_front();
        }
        self.pictures.push_back((Arc::clone(picture), self.pictures_given));
        self.row(Entry::Picture { number: self.pictures_given, changes });
        self.pictures_given
    }

    /// Writes names of addresses into the capture, for those who read it without its journal.
    fn tell_names(&mut self) {
        if self.stopped.is_some() {
            return;
        }
        let names = &self.latest.names;
        let mut fresh: BTreeSet<(IpAddr, String)> = BTreeSet::new();
        for ((_, address), bindings) in &names.addresses {
            if let Some(workload) = bindings.last().and_then(|last| names.attachments.get(&last.attachment)) {
                let named = (*address, workload.container.clone());
                if !self.capture.names.contains(&named) {
                    fresh.insert(named);
                }
            }
        }
        if fresh.is_empty() {
            return;
        }
        let told: Vec<(IpAddr, &str)> =
            fresh.iter().map(|(address, name)| (*address, name.as_str())).collect();
        let written = self.capture.blocks.names(&told).and_then(|()| self.capture.commit(0));
        self.capture.names.append(&mut fresh);
        self.settle_room(written, 0);
    }

    fn frame(&mut self, head: Head, bytes: &[u8]) {
        let interface =
            bytes.get(4..8).and_then(|octets| octets.first_chunk()).copied().map_or(0, u32::from_be_bytes);
        let mut frame = Frame {
            bytes,
            link: LinkType::LINUX_SLL2,
            at: head.at,
            beyond_seconds: 0,
            is_timed: true,
            number: self.written + 1,
            interface: InterfaceId(interface),
            direction: portolan_flowtable::Direction::Unstated,
            original_bytes: head.original_bytes,
        };
        let wire_bytes = frame.wire_bytes();
        let seen = parse(&frame, &ParseOptions::default());
        if let Some(chosen) = &self.chosen {
            let entry = self.latest.interfaces.get(frame.interface);
            // What cannot be read is nobody's.
            let is_selected = seen.as_ref().is_ok_and(|seen| chosen.selects(seen, entry.attachment));
            if !is_selected {
                return self.not_selected.count(wire_bytes);
            }
        }
        if self.stopped.is_some() {
            return self.unwritten.count(wire_bytes);
        }
        if let Ok(seen) = &seen {
            frame.direction = seen.direction;
        }
        frame.bytes = bytes.get(..kept_bytes(&frame, self.options.keep)).unwrap_or(bytes);
        let added = self.write(interface, &frame);
        self.settle_room(added, u64::from(wire_bytes));
        if self.stopped.is_none() {
            self.written += 1;
            self.last_at = Some(head.at);
            self.hold_limits();
        }
    }

    fn write(&mut self, index: u32, frame: &Frame<'_>) -> std::io::Result<Room> {
        let part = &mut self.capture;
        let block = match part.interfaces.get_mut(&index) {
            Some((block, frames)) => {
                *frames += 1;
                *block
            }
            None => {
                let said = describe(index, &self.latest);
                let block = part.blocks.add_interface(&NewInterface {
                    link: LinkType::LINUX_SLL2,
                    snaplen: self.options.snaplen,
                    name: &said.name,
                    description: &said.description,
                })?;
                part.interfaces.insert(index, (block, 1));
                block
            }
        };
        part.blocks.frame(&Captured {
            interface: block,
            at: frame.at,
            bytes: frame.bytes,
            original_bytes: frame.original_bytes,
            direction: frame.direction,
        })?;
        part.commit(1)
    }

    /// Begins another part, or ends the recording, where a size is reached.
    fn hold_limits(&mut self) {
        let all = self.closed_bytes + self.capture.pieces.bytes() + self.journal.bytes();
        if let Some(most) = self.options.bytes_max.filter(|most| all >= *most) {
            return self.stop(Stop::Limit(format!("{} bytes are reached", grouped(most))));
        }
        if self.options.rotate_bytes.is_none_or(|most| self.capture.pieces.bytes() < most) {
            return;
        }
        let number = u32::try_from(self.parts.len()).unwrap_or(u32::MAX).saturating_add(1);
        let path = journal::part(&self.options.capture, number);
        match Part::create(&path, &self.options, &self.begin) {
            Ok(next) => {
                let at = self.last_at.unwrap_or_default();
                let full = std::mem::replace(&mut self.capture, next);
                self.parts.push(path.clone());
                self.row(Entry::File { name: file_name(&path) });
                let before = full.path.clone();
                match full.close(&self.begin, at, self.received) {
                    Ok((Room::Taken, bytes)) => self.closed_bytes += bytes,
                    Ok((Room::Full { lost }, bytes)) => {
                        self.closed_bytes += bytes;
                        self.lose(lost, 0);
                        self.stop(Stop::Full(before));
                    }
                    Err(error) => self.stop(Stop::Failed(before, error)),
                }
                self.tell_names();
            }
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => self.stop(Stop::Full(path)),
            Err(error) => self.stop(Stop::Failed(path, error)),
        }
    }

    fn row(&mut self, entry: Entry) {
        self.before = self.before.max(self.written + 1);
        let row = Row { before: self.before, entry };
        let Ok(mut line) = serde_json::to_vec(&row) else { return };
        line.push(b'\n');
        if self.stopped.is_some() {
            return;
        }
        match self.journal.add(&line, 0) {
            Ok(Room::Taken) => {}
            Ok(Room::Full { .. }) => self.stop(Stop::Full(self.journal_path.clone())),
            Err(error) => self.stop(Stop::Failed(self.journal_path.clone(), error)),
        }
    }

    /// Frames first, then the rows that speak of them.
    fn flush(&mut self) {
        self.flushed_at = Instant::now();
        if self.stopped.is_some() {
            return;
        }
        let flushed = self.capture.pieces.flush();
        self.settle_room(flushed, 0);
        match self.journal.flush() {
            Ok(Room::Taken) => {}
            Ok(Room::Full { .. }) => self.stop(Stop::Full(self.journal_path.clone())),
            Err(error) => self.stop(Stop::Failed(self.journal_path.clone(), error)),
        }
    }

    /// Takes note of whether a write found room.
    fn settle_room(&mut self, written: std::io::Result<Room>, wire_bytes: u64) {
        match written {
            Ok(Room::Taken) => {}
            Ok(Room::Full { lost }) => {
                self.lose(lost, wire_bytes);
                self.stop(Stop::Full(self.capture.path.clone()));
            }
            Err(error) => {
                self.lose(u64::from(wire_bytes > 0), wire_bytes);
                self.stop(Stop::Failed(self.capture.path.clone(), error));
            }
        }
    }

    /// Frames that were taken for written and are not; the bytes of all but the last are not known any more.
    fn lose(&mut self, frames: u64, wire_bytes: u64) {
        self.unwritten += Tally { frames, bytes: wire_bytes };
        // The one that did not fit was never counted as written.
        self.written = self.written.saturating_sub(frames.saturating_sub(u64::from(wire_bytes > 0)));
    }

    fn stop(&mut self, stop: Stop) {
        if self.stopped.is_some() {
            return;
        }
        let text = words(&stop);
        *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        self.stopped = Some(stop);
    }

    fn finish(mut self) -> Recorded {
        let cause = self.stopped.as_ref().map(words).unwrap_or_default();
        let is_failed = matches!(self.stopped, Some(Stop::Full(_) | Stop::Failed(..)));
        let at = self.last_at.unwrap_or(self.begin.started_at);
        let path = self.capture.path.clone();
        let mut recorded = Recorded {
            files: self.parts,
            journal: self.journal_path,
            frames: self.written,
            bytes: self.closed_bytes,
            unrecorded: self.unrecorded + self.unwritten,
            not_selected: self.not_selected,
            is_nobody: self.chosen.as_ref().is_some_and(Chosen::is_nobody),
            cause,
            is_failed,
        };
        let grief = |recorded: &mut Recorded, what: String| {
            recorded.is_failed = true;
            if recorded.cause.is_empty() {
                recorded.cause = what;
            }
        };
        match self.capture.close(&self.begin, at, self.received) {
            Ok((Room::Taken, bytes)) => recorded.bytes += bytes,
            Ok((Room::Full { lost }, bytes)) => {
                recorded.bytes += bytes;
                recorded.frames = recorded.frames.saturating_sub(lost);
                recorded.unrecorded.frames += lost;
                grief(&mut recorded, words(&Stop::Full(path)));
            }
            Err(error) => grief(&mut recorded, words(&Stop::Failed(path, error))),
        }
        let end = EndRow {
            frames: recorded.frames,
            last_at: self.last_at,
            unrecorded: recorded.unrecorded,
            cause: recorded.cause.clone(),
        };
        let row = Row { before: self.before.max(recorded.frames + 1), entry: Entry::End(end) };
        if let Ok(mut line) = serde_json::to_vec(&row) {
            line.push(b'\n');
            self.journal.add_last(&line);
        }
        recorded.bytes += self.journal.bytes();
        match self.journal.close() {
            Ok(Room::Taken) => {}
            Ok(Room::Full { .. }) => {
                let what = words(&Stop::Full(recorded.journal.clone()));
                grief(&mut recorded, what);
            }
            Err(error) => {
                let what = words(&Stop::Failed(recorded.journal.clone(), error));
                grief(&mut recorded, what);
            }
        }
        recorded
    }
}

fn precedes(note: &Note, frame: u64) -> bool {
    match note {
        Note::Roles(before, _) | Note::Tick(before, _) | Note::Drain(before) | Note::Settle(before, _) => {
            *before <= frame
        }
        Note::Turn(..) => true,
    }
}

fn words(stop: &Stop) -> String {
    match stop {
        Stop::Full(path) => format!("{}: no space left on the disk", path.display()),
        Stop::Limit(what) => what.clone(),
        Stop::Failed(path, error) => format!("{}: cannot be written: {error}", path.display()),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned())
}
