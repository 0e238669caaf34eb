//! A reading spread over threads: chunks of frames, in order from end to end.
//!
//! One thread reads (decompression, merging, selection), others reduce frames to rows, the caller takes the rows in
//! the order of the frames. Chunk `k` always goes by worker `k % workers`, and is awaited from there: whoever is
//! fast waits, and nothing is sorted. Chunks are taken back when they are empty, so that memory depends on
//! neither the length of a capture nor on who is slow.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, ScopedJoinHandle};

use portolan_capture::{Frame, MergedFiles, Polled, Tap, TapError};

use crate::error::Failure;

/// Frames of a chunk at most.
const CHUNK_FRAMES: usize = 1_024;
/// Captured bytes after which a chunk is handed on.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks that may wait on one way.
const CHUNKS_WAITING: usize = 4;

/// Rows taken together where one thread does all: few enough to stay in its nearest cache, enough that what was written
/// of a row is there when it is read.
const ROWS_TOGETHER: usize = 32;

/// A tap that says how far it was read.
pub(super) trait Source: Tap {
    /// Returns how many bytes were read, before decompression.
    fn position(&self) -> u64;
}

impl Source for MergedFiles {
    fn position(&self) -> u64 {
        Self::position(self)
    }
}

/// What is done with frames.
pub(super) trait Reduce: Sync {
    /// What a frame becomes.
    type Row: Clone + Send;

    /// A row before anything stands in it.
    const UNREAD: Self::Row;

    /// Reduces a frame into the row where it stays, whatever stood there; `is_selected` says what the selection made of
    /// it. Pure: any thread does it, in any order.
    fn reduce(&self, frame: &Frame<'_>, is_selected: bool, row: &mut Self::Row);
}

/// Rows, written where they stay; what was taken makes room for others.
struct Rows<Row> {
    rows: Vec<Row>,
    count: usize,
}

impl<Row: Clone> Rows<Row> {
    fn new() -> Self {
        Self { rows: Vec::new(), count: 0 }
    }

    #[inline(always)]
    fn add<R: Reduce<Row = Row>>(&mut self, reduce: &R, frame: &Frame<'_>, is_selected: bool) {
        if self.count == self.rows.len() {
            self.rows.push(R::UNREAD);
        }
        if let Some(row) = self.rows.get_mut(self.count) {
            reduce.reduce(frame, is_selected, row);
            self.count += 1;
        }
    }

    fn filled(&self) -> &[Row] {
        self.rows.get(..self.count).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.count = 0;
    }
}

/// What becomes of the rows: strictly in the order of the frames, on the caller's thread.
pub(super) trait Take<Row> {
    /// Takes rows.
    ///
    /// # Errors
    ///
    /// Returns why the reading is to end.
    fn take(&mut self, rows: &[Row]) -> Result<(), Failure>;

    /// Hears how far the source was read, now and then.
    fn position(&mut self, _bytes: u64) {}
}

/// Reads a source to its end on `threads` threads. The rows and their order are the same for any number.
///
/// `select` runs on the reading thread, in the order of the frames. Returns what ended the reading of the source,
/// if it says so itself. Ends with the caller's thread alone: every other has ended then, after at most one more
/// wait for the source.
///
/// # Errors
///
/// Returns the error of [`Take::take`], or that a thread panicked.
pub(super) fn read<R: Reduce>(
    source: &mut impl Source,
    threads: usize,
    select: &mut (impl FnMut(&Frame<'_>) -> bool + Send),
    reduce: &R,
    take: &mut impl Take<R::Row>,
) -> Result<Option<TapError>, Failure> {
    if threads < 2 {
        return read_alone(source, select, reduce, take);
    }
    thread::scope(|scope| {
        let mut entries = Vec::new();
        let mut exits = Vec::new();
        let mut workers = Vec::new();
        for _ in 2..threads {
            let (entry, unread) = sync_channel(CHUNKS_WAITING);
            let (done, exit) = sync_channel(CHUNKS_WAITING);
            workers.push(spawn(scope, "parse", move || reduce_chunks(&unread, &done, reduce))?);
            entries.push(entry);
            exits.push(exit);
        }
        let is_reduced_by_reader = entries.is_empty();
        if is_reduced_by_reader {
            let (done, exit) = sync_channel(CHUNKS_WAITING);
            entries.push(done);
            exits.push(exit);
        }
        let (spent, unused) = channel();
        let reader = spawn(scope, "read", move || {
            let mut intake = Intake { entries, unused, next: 0, chunk: Chunk::default(), is_refused: false };
            intake.read(source, &mut |frame, chunk| {
                let is_selected = select(frame);
                if is_reduced_by_reader {
                    chunk.rows.add(reduce, frame, is_selected);
                } else {
                    chunk.keep(frame, is_selected);
                }
            })
        })?;
        let taken = take_chunks(&exits, &spent, take);
        // Whoever waits to hand something on finds nobody there, and ends.
        drop(exits);
        let mut ended = reader.join().map_err(|panic| panicked(&*panic));
        for worker in workers {
            if let Err(panic) = worker.join() {
                ended = Err(panicked(&*panic));
            }
        }
        taken.and(ended)
    })
}

fn spawn<'scope, 'env, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, 'env>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, Failure> {
    thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, work).map_err(|error| {
        Failure::error(format!("cannot start a thread to {name}: {error}; use fewer:  --threads 1"))
    })
}

fn read_alone<R: Reduce>(
    source: &mut impl Source,
    select: &mut impl FnMut(&Frame<'_>) -> bool,
    reduce: &R,
    take: &mut impl Take<R::Row>,
) -> Result<Option<TapError>, Failure> {
    let mut rows = Rows::new();
    let mut taken = Ok(());
    loop {
        let polled = source.poll(&mut |frame| {
            if taken.is_ok() {
                let is_selected = select(frame);
                rows.add(reduce, frame, is_selected);
                if rows.count == ROWS_TOGETHER {
                    taken = take.take(rows.filled());
                    rows.clear();
                }
            }
        });
        if taken.is_ok() {
            taken = take.take(rows.filled());
            rows.clear();
        }
        std::mem::replace(&mut taken, Ok(()))?;
        take.position(source.position());
        match polled {
            Ok(Polled::Frames(_)) => {}
            Ok(Polled::Idle | Polled::End) => return Ok(None),
            Err(error) => return Ok(Some(error)),
        }
    }
}

/// Frames on their way: as they were read, and what became of them.
struct Chunk<Row> {
    /// Captured bytes of all frames, one after the other.
    bytes: Vec<u8>,
    heads: Vec<Head>,
    rows: Rows<Row>,
    /// How far the source was read.
    position: u64,
}

impl<Row: Clone> Default for Chunk<Row> {
    fn default() -> Self {
        Self { bytes: Vec::new(), heads: Vec::new(), rows: Rows::new(), position: 0 }
    }
}

/// A frame without its bytes.
struct Head {
    frame: Frame<'static>,
    captured_bytes: usize,
    is_selected: bool,
}

impl<Row: Clone> Chunk<Row> {
    fn is_full(&self) -> bool {
        self.heads.len().max(self.rows.count) >= CHUNK_FRAMES || self.bytes.len() >= CHUNK_BYTES
    }

    fn keep(&mut self, frame: &Frame<'_>, is_selected: bool) {
        let Frame { bytes, link, at, beyond_seconds, is_timed, number, interface, direction, original_bytes } =
            *frame;
        self.bytes.extend_from_slice(bytes);
        let frame = Frame {
            bytes: &[],
            link,
            at,
            beyond_seconds,
            is_timed,
            number,
            interface,
            direction,
            original_bytes,
        };
        self.heads.push(Head { frame, captured_bytes: bytes.len(), is_selected });
    }

    fn reduce(&mut self, reduce: &impl Reduce<Row = Row>) {
        let mut rest = self.bytes.as_slice();
        for Head { frame, captured_bytes, is_selected } in self.heads.drain(..) {
            let (bytes, after) = rest.split_at_checked(captured_bytes).unwrap_or((rest, &[]));
            rest = after;
            self.rows.add(reduce, &Frame { bytes, ..frame }, is_selected);
        }
        self.bytes.clear();
        // One huge frame is no reason to hold its memory for the rest of the capture.
        self.bytes.shrink_to(2 * CHUNK_BYTES);
    }
}

/// The reading end: fills chunks and hands them on, one after the other to each way.
struct Intake<Row> {
    entries: Vec<SyncSender<Chunk<Row>>>,
    unused: Receiver<Chunk<Row>>,
    next: usize,
    chunk: Chunk<Row>,
    is_refused: bool,
}

impl<Row: Clone> Intake<Row> {
    fn read(
        &mut self,
        source: &mut impl Source,
        add: &mut impl FnMut(&Frame<'_>, &mut Chunk<Row>),
    ) -> Option<TapError> {
        let mut position = source.position();
        loop {
            let polled = source.poll(&mut |frame| {
                if self.is_refused {
                    return;
                }
                add(frame, &mut self.chunk);
                if self.chunk.is_full() {
                    self.hand_on(position);
                }
            });
            position = source.position();
            match polled {
                Ok(Polled::Frames(_)) if !self.is_refused => {}
                Ok(Polled::Frames(_) | Polled::Idle | Polled::End) => {
                    self.hand_on(position);
                    return None;
                }
                Err(error) => {
                    self.hand_on(position);
                    return Some(error);
                }
            }
        }
    }

    fn hand_on(&mut self, position: u64) {
        let mut chunk = std::mem::replace(&mut self.chunk, self.unused.try_recv().unwrap_or_default());
        chunk.position = position;
        let entry = self.entries.get(self.next % self.entries.len());
        self.next += 1;
        self.is_refused = entry.is_none_or(|entry| entry.send(chunk).is_err());
    }
}

/// A worker: until nobody sends or nobody takes.
fn reduce_chunks<R: Reduce>(unread: &Receiver<Chunk<R::Row>>, done: &SyncSender<Chunk<R::Row>>, reduce: &R) {
    for mut chunk in unread {
        chunk.reduce(reduce);
        if done.send(chunk).is_err() {
            return;
        }
    }
}

/// The taking end. The first way that is closed is the end: nothing went by the ways after it either.
fn take_chunks<Row: Clone>(
    exits: &[Receiver<Chunk<Row>>],
    spent: &Sender<Chunk<Row>>,
    take: &mut impl Take<Row>,
) -> Result<(), Failure> {
    for exit in exits.iter().cycle() {
        let Ok(mut chunk) = exit.recv() else { break };
        take.take(chunk.rows.filled())?;
        chunk.rows.clear();
        take.position(chunk.position);
        // The reader may have ended: then nobody wants it back.
        let _ = spent.send(chunk);
    }
    Ok(())
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
    Failure::error(format!("a thread that reads the capture gave up: {said}; please report this"))
}

#[cfg(test)]
mod tests {
    use portolan_capture::LinkType;
    use portolan_flowtable::{Direction, InterfaceId, Timestamp};

    use super::*;

    /// Frames of growing length, then nothing, or an error.
    struct Counted {
        frames: u64,
        given: u64,
        ends_badly: bool,
    }

    impl Tap for Counted {
        fn poll(&mut self, each: &mut dyn FnMut(&Frame<'_>)) -> Result<Polled, TapError> {
            let until = self.frames.min(self.given + 700);
            if self.given == until {
                return if self.ends_badly {
                    Err(TapError::InterfaceGone { name: "eth0".to_owned() })
                } else {
                    Ok(Polled::End)
                };
            }
            for number in self.given + 1..=until {
                let bytes = vec![u8::try_from(number % 251).unwrap(); usize::try_from(number % 900).unwrap()];
                each(&Frame {
                    bytes: &bytes,
                    link: LinkType::ETHERNET,
                    at: Timestamp(i64::try_from(number).unwrap()),
                    beyond_seconds: 0,
                    is_timed: true,
                    number,
                    interface: InterfaceId(0),
                    direction: Direction::Unstated,
                    original_bytes: 900,
                });
            }
            let count = until - self.given;
            self.given = until;
            Ok(Polled::Frames(usize::try_from(count).unwrap()))
        }
    }

    impl Source for Counted {
        fn position(&self) -> u64 {
            self.given
        }
    }

    /// Sums bytes; panics at a frame.
    struct Sum {
        panics_at: u64,
    }

    impl Reduce for Sum {
        type Row = (u64, u64, bool);

        const UNREAD: Self::Row = (0, 0, false);

        fn reduce(&self, frame: &Frame<'_>, is_selected: bool, row: &mut Self::Row) {
            assert_ne!(frame.number, self.panics_at, "frame {} cannot be borne", frame.number);
            *row = (frame.number, frame.bytes.iter().map(|byte| u64::from(*byte)).sum(), is_selected);
        }
    }

    #[derive(Default)]
    struct Rows {
        rows: Vec<(u64, u64, bool)>,
        stops_at: Option<u64>,
        position: u64,
    }

    impl Take<(u64, u64, bool)> for Rows {
        fn take(&mut self, rows: &[(u64, u64, bool)]) -> Result<(), Failure> {
            for row in rows {
                if self.stops_at == Some(row.0) {
                    return Err(Failure::error("enough"));
                }
                self.rows.push(*row);
            }
            Ok(())
        }

        fn position(&mut self, bytes: u64) {
            self.position = bytes;
        }
    }

    const THREADS: [usize; 6] = [1, 2, 3, 4, 5, 9];

    fn read_with(
        frames: u64,
        threads: usize,
        panics_at: u64,
        rows: &mut Rows,
    ) -> Result<Option<TapError>, Failure> {
        let mut source = Counted { frames, given: 0, ends_badly: frames == 5_000 };
        read(&mut source, threads, &mut |frame| frame.number % 3 == 0, &Sum { panics_at }, rows)
    }

    #[test]
    fn rows_and_their_order_are_the_same_on_any_number_of_threads() {
        for frames in [0, 1, 1_023, 1_024, 1_025, 5_000, 20_000] {
            let mut alone = Rows::default();
            read_with(frames, 1, 0, &mut alone).unwrap();
            assert_eq!(alone.rows.len() as u64, frames);
            assert_eq!(alone.rows.iter().filter(|row| row.2).count() as u64, frames / 3);
            for threads in THREADS {
                let mut rows = Rows::default();
                let ended = read_with(frames, threads, 0, &mut rows).unwrap();
                assert_eq!(ended.is_some(), frames == 5_000, "{frames} frames on {threads}");
                assert!(rows.rows == alone.rows, "{frames} frames on {threads}");
                assert_eq!(rows.position, frames, "{threads}");
            }
        }
    }

    #[test]
    fn whoever_takes_may_stop_at_any_frame_and_nothing_waits_for_it() {
        for threads in THREADS {
            for at in [1, 1_024, 1_025, 29_999] {
                let mut rows = Rows { stops_at: Some(at), ..Rows::default() };
                let failure = read_with(30_000, threads, 0, &mut rows).unwrap_err();
                assert_eq!((failure.message.as_str(), rows.rows.len() as u64), ("enough", at - 1));
            }
        }
    }

    #[test]
    fn a_panic_of_another_thread_is_an_error() {
        for threads in THREADS.into_iter().filter(|threads| *threads > 1) {
            let failure = read_with(30_000, threads, 20_000, &mut Rows::default()).unwrap_err();
            assert!(failure.message.contains("frame 20000 cannot be borne"), "{}", failure.message);
        }
    }
}
