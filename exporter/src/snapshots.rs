//! Snapshots on disk: publications of earlier times, for looking back and for comparing.
//!
//! One file a snapshot, named after its time, JSON of a [`Publication`] without its list of flows, compressed by zstd.
//! It is written beside its place and moved there, so that no half of one is ever found, and the oldest go when there
//! are too many or they take too much room.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use portolan_flowtable::Timestamp;
use portolan_graphs::Graph;
use portolan_policy::Assessment;
use serde::Serialize;

use crate::publication::{DocumentedEdge, Publication, Vitals};

/// Where snapshots are kept, how often one is taken, and how many stay.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SnapshotOptions {
    /// The folder; nothing else should be in it.
    pub directory: PathBuf,
    /// Time from one to the next.
    pub every: Duration,
    /// Most files.
    pub keep: usize,
    /// Most bytes of all files together.
    pub max_bytes: u64,
}

/// Snapshots in a folder.
#[derive(Debug)]
pub struct Snapshots {
    options: SnapshotOptions,
    /// Held while files come and go.
    turn: Mutex<()>,
}

/// What of a publication is kept. Read back it is a publication.
#[derive(Serialize)]
struct Kept<'a> {
    assessment: &'a Assessment,
    graph: &'a Graph,
    vitals: &'a Vitals,
    flows: [(); 0],
    documented_edges: &'a [DocumentedEdge],
}

const BEGINS: &str = "portolan-";
const ENDS: &str = ".json.zst";
/// zstd's own default: smaller takes far longer.
const LEVEL: i32 = 3;
/// Most bytes of one snapshot unpacked; a larger one is no work of ours.
pub const UNPACKED_MAX: u64 = 1 << 30;

impl Snapshots {
    /// Opens the folder, makes it where there is none, and removes what an earlier run left half written.
    ///
    /// # Errors
    ///
    /// Returns why the folder cannot be made or read.
    pub fn open(options: SnapshotOptions) -> io::Result<Self> {
        fs::create_dir_all(&options.directory)?;
        for entry in fs::read_dir(&options.directory)?.filter_map(Result::ok) {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(ENDS)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { options, turn: Mutex::default() })
    }

    /// Returns the time from one snapshot to the next.
    pub fn every(&self) -> Duration {
        self.options.every
    }

    /// Returns the times of all snapshots, oldest first.
    ///
    /// # Errors
    ///
    /// Returns why the folder cannot be read.
    pub fn times(&self) -> io::Result<Vec<Timestamp>> {
        Ok(listed(&self.options.directory)?.into_iter().map(|(at, _, _)| at).collect())
    }

    /// Reads the latest snapshot that is not after `at`; `None` where there is none.
    ///
    /// # Errors
    ///
    /// Returns why it cannot be read.
    pub fn at(&self, at: Timestamp) -> io::Result<Option<Publication>> {
        let earlier = listed(&self.options.directory)?.into_iter().rev().find(|(taken, _, _)| *taken <= at);
        earlier.map(|(_, path, _)| read(&path)).transpose()
    }

    /// Writes a snapshot, removes others beyond the limits, and returns how many of a later time the folder holds.
    ///
    /// What was just written stays, however large it is. Of the others those of a later time go first, as they were
    /// taken before a step of the clock or elsewhere; then the oldest.
    ///
    /// # Errors
    ///
    /// Returns why it could not be written; then nothing is left of it, and the others are as they were.
    pub fn write(&self, publication: &Publication) -> io::Result<usize> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = &self.options.directory;
        let now = publication.assessment.snapshot.at;
        let name = name_of(now);
        let beside = folder.join(format!(".{name}"));
        let written = write_beside(&beside, publication)
            .and_then(|()| fs::rename(&beside, folder.join(&name)))
            .and_then(|()| File::open(folder)?.sync_all());
        if written.is_err() {
            // Nothing can be done about a leftover that cannot be removed; the next start tries again.
            let _ = fs::remove_file(&beside);
        }
        written?;
        let files = listed(folder)?;
        let mut bytes: u64 = files.iter().map(|(_, _, size)| size).sum();
        let mut count = files.len();
        let later = files.iter().filter(|(at, _, _)| *at > now);
        let earlier = files.iter().filter(|(at, _, _)| *at < now);
        let mut later_left = later.clone().count();
        for (at, path, size) in later.chain(earlier) {
            if count <= self.options.keep && bytes <= self.options.max_bytes {
                break;
            }
            fs::remove_file(path)?;
            (count, bytes) = (count - 1, bytes.saturating_sub(*size));
            later_left -= usize::from(*at > now);
        }
        Ok(later_left)
    }

    /// Returns where the snapshots are.
    pub fn directory(&self) -> &Path {
        &self.options.directory
    }
}

/// When snapshots are taken: one of the first publication with names, or without where none come for that long, and one
/// each while from then on. A step of the clock backwards puts none off: the next is never due later than in a while.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Nanoseconds from one to the next.
    every: i64,
    due: Option<Timestamp>,
    has_begun: bool,
}

impl Pace {
    pub(crate) fn new(every: Duration) -> Self {
        Self { every: i64::try_from(every.as_nanos()).unwrap_or(i64::MAX), due: None, has_begun: false }
    }

    /// Returns whether a publication of `at` is to be kept, and if so reckons from it when the next is due.
    pub(crate) fn takes(&mut self, at: Timestamp, started_at: Timestamp, is_named: bool) -> bool {
        let next = at.plus(self.every);
        let due = self.due.unwrap_or(started_at.plus(self.every)).min(next);
        let is_due = at >= due || (is_named && !self.has_begun);
        self.has_begun |= is_due;
        self.due = Some(if is_due { next } else { due });
        is_due
    }
}

fn write_beside(beside: &Path, publication: &Publication) -> io::Result<()> {
    let Publication { assessment, graph, vitals, documented_edges, .. } = publication;
    let kept = Kept { assessment, graph, vitals, flows: [], documented_edges };
    let mut encoder = zstd::Encoder::new(BufWriter::new(File::create(beside)?), LEVEL)?;
    serde_json::to_writer(&mut encoder, &kept)?;
    let mut out = encoder.finish()?;
    out.flush()?;
    out.get_ref().sync_all()
}

/// Returns whether a file is called as snapshots are.
pub fn is_snapshot(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| time_of(name).is_some())
}

/// Returns the snapshot of a folder that is the latest not after `at`, or the latest of all.
///
/// # Errors
///
/// Returns why the folder cannot be read.
pub fn find(folder: &Path, at: Option<Timestamp>) -> io::Result<Option<PathBuf>> {
    let mut files = listed(folder)?.into_iter().rev();
    Ok(files.find(|(taken, _, _)| at.is_none_or(|at| *taken <= at)).map(|(_, path, _)| path))
}

/// Returns every snapshot of a folder, oldest first.
///
/// # Errors
///
/// Returns why the folder cannot be read.
pub fn all(folder: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(listed(folder)?.into_iter().map(|(_, path, _)| path).collect())
}

/// Reads one snapshot.
///
/// # Errors
///
/// Returns why the file cannot be read, or that it is damaged or of another version.
pub fn read(path: &Path) -> io::Result<Publication> {
    let mut text = Vec::new();
    let unpacked = unpack(File::open(path)?)?.read_to_end(&mut text)? as u64;
    if unpacked == UNPACKED_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than any snapshot"));
    }
    serde_json::from_slice(&text).map_err(io::Error::from)
}

/// Returns what reads the text of a packed snapshot; it ends at [`UNPACKED_MAX`].
///
/// # Errors
///
/// Returns that there is no memory for it.
pub fn unpack<'a>(packed: impl Read + 'a) -> io::Result<impl Read + 'a> {
    Ok(zstd::Decoder::new(BufReader::new(packed))?.take(UNPACKED_MAX))
}

/// Returns time, path and size of a folder's snapshots, oldest first.
fn listed(folder: &Path) -> io::Result<Vec<(Timestamp, PathBuf, u64)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let at = entry.file_name().to_str().and_then(time_of);
        // A file that is removed at this very moment is none.
        if let (Some(at), Ok(about)) = (at, entry.metadata()) {
            files.push((at, entry.path(), about.len()));
        }
    }
    files.sort();
    Ok(files)
}

/// Writes `portolan-2026-11-21T01.57.28.123456789Z.json.zst`: colons are nothing for file names.
fn name_of(at: Timestamp) -> String {
    format!("{BEGINS}{}{ENDS}", at.to_string().replace(':', "."))
}

fn time_of(name: &str) -> Option<Timestamp> {
    let time = name.strip_prefix(BEGINS)?.strip_suffix(ENDS)?;
    let at: Timestamp = time.replacen('.', ":", 2).parse().ok()?;
    (name_of(at) == name).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(seconds: i64) -> Publication {
        Publication::empty("web-03", "0.1.0", Timestamp(seconds * Timestamp::SECOND + 7))
    }

    fn open(folder: &Path, keep: usize, max_bytes: u64) -> Snapshots {
        let every = Duration::from_secs(300);
        Snapshots::open(SnapshotOptions { directory: folder.join("kept"), every, keep, max_bytes }).unwrap()
    }

    #[test]
    fn a_snapshot_is_read_back_as_it_was_and_found_by_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let snapshots = open(folder.path(), 10, u64::MAX);
        for seconds in [100, 200, 300] {
            snapshots.write(&publication(seconds)).unwrap();
        }
        #[rustfmt::skip]
        let cases = [
            // asked     found
            (99,         None),
            (101,        Some(100)),
            (250,        Some(200)),
            (9_999,      Some(300)),
        ];
        for (asked, found) in cases {
            let read = snapshots.at(Timestamp(asked * Timestamp::SECOND)).unwrap();
            assert_eq!(read, found.map(publication), "{asked}");
        }
        let names: Vec<_> = listed(&folder.path().join("kept")).unwrap();
        assert!(names.iter().all(|(_, path, _)| is_snapshot(path)));
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_they_are_too_large() {
        let folder = tempfile::tempdir().unwrap();
        for (keep, max_bytes, left) in [(3, u64::MAX, 3), (100, 1, 1), (0, u64::MAX, 1)] {
            let snapshots = open(folder.path(), keep, max_bytes);
            for seconds in 1..=6 {
                snapshots.write(&publication(seconds)).unwrap();
            }
            let times = snapshots.times().unwrap();
            assert_eq!(times.len(), left);
            assert_eq!(times.last(), Some(&publication(6).assessment.snapshot.at), "the latest stays");
        }
    }

    #[test]
    fn what_was_just_written_stays_and_those_of_later_times_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let snapshots = open(folder.path(), 3, u64::MAX);
        for seconds in [10, 200, 300] {
            assert_eq!(snapshots.write(&publication(seconds)).unwrap(), 0);
        }
        #[rustfmt::skip]
        let cases: [(i64, usize, &[i64]); 4] = [
            // written  later ones  left
            (100,       1,          &[10, 100, 300]),
            (101,       0,          &[10, 100, 101]),
            (102,       0,          &[100, 101, 102]),
            (50,        2,          &[50, 101, 102]),
        ];
        for (seconds, later, left) in cases {
            assert_eq!(snapshots.write(&publication(seconds)).unwrap(), later, "{seconds}");
            let left: Vec<_> = left.iter().map(|left| publication(*left).assessment.snapshot.at).collect();
            assert_eq!(snapshots.times().unwrap(), left, "{seconds}");
        }
    }

    #[test]
    fn a_step_of_the_clock_backwards_puts_no_snapshot_off() {
        let started = Timestamp(1_000 * Timestamp::SECOND);
        #[rustfmt::skip]
        let cases: [(bool, &[(i64, bool)]); 3] = [
            // named  second, taken
            (true,  &[(1_000, true), (1_009, false), (1_010, true), (1_019, false), (1_025, true), (1_030, false)]),
            (true,  &[(1_000, true), (100, false), (105, false), (110, true), (119, false), (120, true)]),
            (false, &[(1_000, false), (100, false), (110, true), (119, false), (120, true)]),
        ];
        for (is_named, steps) in cases {
            let mut pace = Pace::new(Duration::from_secs(10));
            for (second, taken) in steps {
                let at = Timestamp(second * Timestamp::SECOND);
                assert_eq!(pace.takes(at, started, is_named), *taken, "{second}");
            }
        }
    }

    #[test]
    fn what_was_left_half_written_goes_and_what_is_not_ours_stays() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        fs::create_dir(&kept).unwrap();
        let (half, foreign) = (kept.join(format!(".{}", name_of(Timestamp(5)))), kept.join("notes.txt"));
        fs::write(&half, "{\"asse").unwrap();
        fs::write(&foreign, "mine").unwrap();
        let snapshots = open(folder.path(), 1, 1);
        snapshots.write(&publication(1)).unwrap();
        snapshots.write(&publication(2)).unwrap();
        assert!(!half.exists() && foreign.exists());
        assert_eq!(snapshots.times().unwrap().len(), 1);
    }

    #[test]
    fn a_damaged_snapshot_is_an_error_and_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        let snapshots = open(folder.path(), 9, u64::MAX);
        snapshots.write(&publication(1)).unwrap();
        let path = find(&folder.path().join("kept"), None).unwrap().unwrap();
        let whole = fs::read(&path).unwrap();
        for cut in [0, 1, 4, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(read(&path).is_err(), "{cut} bytes");
        }
    }
}
