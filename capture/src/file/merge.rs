//! Several capture files as one tap, merged by time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use portolan_flowtable::{InterfaceId, Timestamp};

use crate::error::TapError;
use crate::file::{FRAMES_PER_POLL, FileInterface, FileTap};
use crate::frame::{Frame, Polled, Tap};

/// Capture files merged by time, frames of equal time in the order of the files.
///
/// Where time runs backwards within a file, its own order is kept. Frame numbers run over the merged stream;
/// interfaces of different files stay apart, but for `LINUX_SLL2` frames, whose header names the kernel's index.
/// No number of a file's interface is such an index.
pub struct MergedFiles {
    files: Vec<FileTap>,
    /// Files whose next record is known: its time, and the file.
    heads: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// For each file, the merged number of each of its interfaces.
    numbering: Vec<Vec<InterfaceId>>,
    interfaces: Vec<FileInterface>,
    frames: u64,
    /// Whether files follow each other instead, as the parts of one recording do.
    is_sequence: bool,
    /// Files are first looked at when the first frame is asked for, so that opening waits for no packet of a pipe.
    is_begun: bool,
}

impl MergedFiles {
    /// Opens all files; `-` is standard input.
    ///
    /// # Errors
    ///
    /// Returns why the first of them that cannot be read at all cannot be.
    pub fn open<S: AsRef<str>>(paths: &[S]) -> Result<Self, TapError> {
        let files = paths.iter().map(|path| FileTap::open(path.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let mut merged = Self {
            numbering: vec![Vec::new(); files.len()],
            files,
            heads: BinaryHeap::new(),
            interfaces: Vec::new(),
            frames: 0,
            is_sequence: false,
            is_begun: false,
        };
        for file in 0..merged.files.len() {
            merged.number_interfaces(file);
        }
        Ok(merged)
    }

    /// Opens the parts of one recording: each file follows the one before it, whatever its frames' times say.
    ///
    /// # Errors
    ///
    /// Returns why the first of them that cannot be read at all cannot be.
    pub fn open_in_sequence<S: AsRef<str>>(paths: &[S]) -> Result<Self, TapError> {
        Ok(Self { is_sequence: true, ..Self::open(paths)? })
    }

    /// Returns the interfaces described so far, over all files; the list grows while they are read.
    pub fn interfaces(&self) -> &[FileInterface] {
        &self.interfaces
    }

    /// Returns what ended the reading of each damaged file; everything before was handed over.
    pub fn damage(&self) -> impl Iterator<Item = &TapError> {
        self.files.iter().filter_map(FileTap::damage)
    }

    /// Returns how many frames the kernel dropped while the files were written, if all of them say so.
    pub fn kernel_dropped(&self) -> Option<u64> {
        self.files.iter().try_fold(0_u64, |sum, file| Some(sum.saturating_add(file.kernel_dropped()?)))
    }

    /// Returns how many bytes of the files were read, before decompression.
    pub fn position(&self) -> u64 {
        self.files.iter().map(FileTap::position).sum()
    }

    /// Returns the files' length together; `None` where one of them is a pipe.
    pub fn length(&self) -> Option<u64> {
        self.files.iter().try_fold(0_u64, |sum, file| Some(sum.saturating_add(file.length()?)))
    }

    fn number_interfaces(&mut self, file: usize) {
        let (Some(tap), Some(numbers)) = (self.files.get(file), self.numbering.get_mut(file)) else { return };
        for interface in tap.interfaces().iter().skip(numbers.len()) {
            let id = FileInterface::number(self.interfaces.len());
            numbers.push(id);
            self.interfaces.push(FileInterface { id, file, ..interface.clone() });
        }
    }

    /// Finds the next record of a file and puts it among the heads; in a sequence, of the file behind it where there
    /// is none. What follows a damaged part follows nothing.
    fn advance(&mut self, file: usize) {
        for file in file..self.files.len() {
            let head = self.files.get_mut(file).and_then(FileTap::advance);
            self.number_interfaces(file);
            if let Some(at) = head {
                return self.heads.push(Reverse((at, file)));
            }
            if !self.is_sequence || self.files.get(file).is_some_and(|tap| tap.damage().is_some()) {
                return;
            }
        }
    }

    fn deliver(&mut self, file: usize, each: &mut dyn FnMut(&Frame<'_>)) {
        self.frames += 1;
        let Some(tap) = self.files.get_mut(file) else { return };
        if let Some(mut frame) = tap.frame() {
            frame.number = self.frames;
            let number = self
                .numbering
                .get(file)
                .and_then(|numbers| numbers.get(FileInterface::position(frame.interface)));
            frame.interface = number.copied().unwrap_or(frame.interface);
            each(&frame);
        }
        tap.pass();
    }

    fn walk(&mut self, file: usize, most: usize, each: &mut dyn FnMut(&Frame<'_>)) -> usize {
        let number = self.numbering.get(file).and_then(|numbers| numbers.first());
        let (Some(tap), Some(interface)) = (self.files.get_mut(file), number) else { return 0 };
        let count = tap.walk(most, self.frames, *interface, each);
        self.frames += count as u64;
        count
    }
}

impl Tap for MergedFiles {
    /// Never fails: a damaged file ends early, and [`MergedFiles::damage`] says why.
    fn poll(&mut self, each: &mut dyn FnMut(&Frame<'_>)) -> Result<Polled, TapError> {
        if !self.is_begun {
            self.is_begun = true;
            let first = if self.is_sequence { self.files.len().min(1) } else { self.files.len() };
            for file in 0..first {
                self.advance(file);
            }
        }
        let mut count = 0;
        while count < FRAMES_PER_POLL {
            let Some(Reverse((_, file))) = self.heads.pop() else { break };
            self.deliver(file, each);
            count += 1;
            if self.heads.is_empty() {
                // Alone, a file is held against no other.
                count += self.walk(file, FRAMES_PER_POLL - count, each);
            }
            self.advance(file);
        }
        Ok(if count == 0 { Polled::End } else { Polled::Frames(count) })
    }
}
