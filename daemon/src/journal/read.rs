//! Reading a journal: line by line, each checked before it is believed.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use portolan_flowtable::Limits;

use serde::Deserialize;

use super::{Begin, Entry, FORM, Row};

/// Bytes one line may have: the first picture of a host with thousands of containers.
const LINE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes a row about a capture file may have: a file's name is no longer than 255.
const FILE_ROW_MAX: usize = 4_096;
/// Most flows a journal may ask a table for: it takes about half a kilobyte each before the first frame is read.
const FLOWS_MAX: usize = 1 << 22;
/// Most flow records a journal may ask to keep.
const FLOWS_KEPT_MAX: usize = 10_000_000;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The journal.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is no row.
    #[error("{}:{line}: damaged journal: {what}\n  replay without it:  --no-journal", path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// It is of another version.
    #[error("{}: a journal of form {form}, this portolan reads form {FORM}", path.display())]
    Form {
        /// The journal.
        path: PathBuf,
        /// Its form.
        form: u32,
    },
}

/// What is looked for when only the parts of a recording are asked for.
#[derive(Deserialize)]
struct FileRow {
    file: Option<NamedFile>,
}

#[derive(Deserialize)]
struct NamedFile {
    name: String,
}

/// A journal being read.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    lines: BufReader<File>,
    line: u64,
    begin: Begin,
    next: Option<Row>,
    before: u64,
    is_torn: bool,
}

impl Journal {
    /// Opens a journal and reads its first row.
    ///
    /// # Errors
    ///
    /// Returns why it cannot be used.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let failed = |source| JournalError::Read { path: path.to_owned(), source };
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            // It is read twice, and to its end.
            return Err(failed(std::io::Error::other("it is no file")));
        }
        let lines = BufReader::new(File::open(path).map_err(failed)?);
        let mut journal = Self {
            path: path.to_owned(),
            lines,
            line: 0,
            begin: Begin::empty(),
            next: None,
            before: 1,
            is_torn: false,
        };
        match journal.read()?.map(|row| row.entry) {
            Some(Entry::Begin(begin)) if begin.journal == FORM => {
                journal.check(&begin)?;
                journal.begin = *begin;
            }
            Some(Entry::Begin(begin)) => {
                return Err(JournalError::Form { path: path.to_owned(), form: begin.journal });
            }
            Some(_) | None => {
                return Err(journal.damaged("its first row does not say how the engine was built"));
            }
        }
        journal.next = journal.read()?;
        Ok(journal)
    }

    /// Returns the names of the capture files it speaks of, in order, without reading anything else of it.
    ///
    /// # Errors
    ///
    /// Returns why it cannot be read.
    pub fn parts(path: &Path) -> Result<Vec<String>, JournalError> {
        let failed = |source| JournalError::Read { path: path.to_owned(), source };
        let mut lines = BufReader::new(File::open(path).map_err(failed)?);
        let (mut names, mut text) = (Vec::new(), Vec::new());
        loop {
            text.clear();
            let read = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut text);
            if read.map_err(failed)? == 0 {
                return Ok(names);
            }
            // Rows of other kinds may be long and are read in their turn; damage is told of then.
            if text.len() <= FILE_ROW_MAX
                && let Ok(FileRow { file: Some(NamedFile { name }) }) = serde_json::from_slice(&text)
            {
                names.push(name);
            }
        }
    }

    /// Returns where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns how the engine was built.
    pub fn begin(&self) -> &Begin {
        &self.begin
    }

    /// Returns the next row if it precedes frame `number`.
    ///
    /// # Errors
    ///
    /// Returns which line is damaged.
    pub fn next_before(&mut self, number: u64) -> Result<Option<Row>, JournalError> {
        if self.next.as_ref().is_none_or(|row| row.before > number) {
            return Ok(None);
        }
        let following = self.read()?;
        Ok(std::mem::replace(&mut self.next, following))
    }

    /// Returns the frame that the next row precedes; `None` where there is none.
    pub fn continues_at(&self) -> Option<u64> {
        self.next.as_ref().map(|row| row.before)
    }

    /// Returns whether the last line was cut off while it was written.
    pub fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// Returns an error about the line read last.
    pub fn damaged(&self, what: impl Into<String>) -> JournalError {
        JournalError::Damaged {
            path: self.path.clone(),
            line: self.line,
            what: crate::fit_for_a_terminal(&what.into()),
        }
    }

    fn read(&mut self) -> Result<Option<Row>, JournalError> {
        let mut text = Vec::new();
        let read = self.lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut text);
        read.map_err(|source| JournalError::Read { path: self.path.clone(), source })?;
        if text.is_empty() {
            return Ok(None);
        }
        self.line += 1;
        if text.last() != Some(&b'\n') {
            if u64::try_from(text.len()).unwrap_or(u64::MAX) >= LINE_BYTES_MAX {
                return Err(self.damaged("a line that does not end"));
            }
            // Whoever wrote it was stopped in the middle.
            self.is_torn = true;
            return Ok(None);
        }
        let row: Row = serde_json::from_slice(&text).map_err(|error| self.damaged(error.to_string()))?;
        if row.before < self.before {
            return Err(self.damaged(format!("row of frame {} behind one of {}", row.before, self.before)));
        }
        self.before = row.before;
        Ok(Some(row))
    }

    /// Checks what decides how much memory is taken, and what the types cannot know.
    fn check(&self, begin: &Begin) -> Result<(), JournalError> {
        let Limits { flows_max, tcp_idle, other_idle, attempt_idle, linger, .. } = begin.limits;
        let Limits { blocked_after, unanswered_after, midstream_span, hold, .. } = begin.limits;
        if !(Limits::FLOWS_MIN..=FLOWS_MAX).contains(&flows_max) {
            return Err(self.damaged(format!(
                "limits.flows_max ({flows_max}) is out of bounds: a replay with a journal holds at most {FLOWS_MAX} flows"
            )));
        }
        if begin.flows_kept > FLOWS_KEPT_MAX {
            return Err(self.damaged(format!("flows_kept ({}) is out of bounds", begin.flows_kept)));
        }
        let spans = [tcp_idle, other_idle, attempt_idle, linger, blocked_after, unanswered_after];
        if spans.into_iter().chain([midstream_span, hold, begin.withhold]).any(|span| span < 0) {
            return Err(self.damaged("a negative span of time"));
        }
        Ok(())
    }
}

impl Begin {
    /// Stands in until the first row was read.
    fn empty() -> Self {
        Self {
            journal: FORM,
            version: String::new(),
            host: String::new(),
            started_at: portolan_flowtable::Timestamp::default(),
            interface: String::new(),
            only: String::new(),
            kept: String::new(),
            seed: 0,
            limits: Limits::default(),
            withhold: 0,
            flows_kept: 0,
            heartbeat_seconds: 0,
            dns_names: false,
            contracts: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin() -> String {
        let row = Row { before: 1, entry: Entry::Begin(Box::new(Begin::empty())) };
        serde_json::to_string(&row).unwrap()
    }

    fn open(text: &str) -> Result<Vec<Row>, JournalError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.journal.ndjson");
        std::fs::write(&path, text).unwrap();
        let mut journal = Journal::open(&path)?;
        let mut rows = Vec::new();
        while let Some(row) = journal.next_before(u64::MAX)? {
            rows.push(row);
        }
        Ok(rows)
    }

    #[test]
    fn rows_come_before_their_frame_and_a_torn_last_line_is_no_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.journal.ndjson");
        let rows =
            "{\"before\":2,\"roles\":{\"picture\":1}}\n{\"before\":2,\"drain\":{}}\n{\"before\":9,\"ro";
        std::fs::write(&path, format!("{}\n{rows}", begin())).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(journal.next_before(1).unwrap(), None);
        assert!(matches!(
            journal.next_before(2).unwrap(),
            Some(Row { entry: Entry::Roles { picture: 1 }, .. })
        ));
        assert!(matches!(journal.next_before(2).unwrap(), Some(Row { entry: Entry::Drain { .. }, .. })));
        assert_eq!(journal.next_before(u64::MAX).unwrap(), None);
        assert!(journal.is_torn());
    }

    #[test]
    fn damage_is_named_by_its_line() {
        let greedy = begin()
            .replace(&format!("\"flows_max\":{}", Limits::default().flows_max), "\"flows_max\":999999999999");
        let later = begin().replace("\"journal\":1", "\"journal\":2");
        let back = format!(
            "{}\n{{\"before\":5,\"roles\":{{\"picture\":1}}}}\n{{\"before\":4,\"roles\":{{\"picture\":1}}}}\n",
            begin()
        );
        #[rustfmt::skip]
        let cases = [
            ("".to_owned(),                            ":0: damaged journal: its first row does not say how the engine was built"),
            ("{}\n".to_owned(),                        ":1: damaged journal: missing field `before`"),
            (format!("{greedy}\n"),                    ":1: damaged journal: limits.flows_max (999999999999) is out of bounds"),
            (format!("{later}\n"),                     ": a journal of form 2, this portolan reads form 1"),
            (format!("{}\n\u{0}\n", begin()),          ":2: damaged journal: expected value"),
            (format!("{}\n{{\"before\":1,\"sing\":{{}}}}\n", begin()), ":2: damaged journal: no variant of enum Entry"),
            (back,                                     ":3: damaged journal: row of frame 4 behind one of 5"),
        ];
        for (text, expected) in cases {
            let error = open(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}\n{expected}");
        }
    }
}
