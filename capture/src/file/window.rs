//! A window that moves over a stream: large reads into one buffer that is used again and again.

use std::io::{self, Read};
use std::ops::Range;

use crate::file::Damage;

/// Bytes asked of the system at once. Reading in such blocks was four to five times faster than `mmap`.
const READ_BYTES: usize = 256 * 1024;

/// The part of a stream that is looked at, and what was read ahead of it.
pub(super) struct Window {
    source: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Stream position of `start`, in bytes after decompression.
    position: u64,
    is_over: bool,
    /// Whether a decompressor says that its input was cut.
    is_cut: bool,
}

impl Window {
    pub(super) fn new(source: Box<dyn Read + Send>) -> Self {
        let buffer = vec![0; READ_BYTES];
        Self { source, buffer, start: 0, end: 0, position: 0, is_over: false, is_cut: false }
    }

    /// Reads until at least `wanted` bytes are in the window or the stream ends, and returns how many there are.
    pub(super) fn fill(&mut self, wanted: usize) -> Result<usize, Damage> {
        while self.available() < wanted && !self.is_over {
            self.make_room(wanted);
            let Some(room) = self.buffer.get_mut(self.end..) else { break };
            match self.source.read(room) {
                Ok(0) => self.is_over = true,
                Ok(count) => self.end = (self.end + count).min(self.buffer.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.is_over = true;
                    self.is_cut = true;
                }
                Err(source) => {
                    self.is_over = true;
                    return Err(Damage::Read { at: self.ends_at(), source });
                }
            }
        }
        Ok(self.available())
    }

    fn make_room(&mut self, wanted: usize) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
    }

    /// Returns the bytes in the window.
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Returns part of the window; empty where it is not in the window.
    pub(super) fn slice(&self, part: Range<usize>) -> &[u8] {
        self.bytes().get(part).unwrap_or_default()
    }

    /// Moves on by `count` bytes, which must be in the window.
    pub(super) fn consume(&mut self, count: usize) {
        let count = count.min(self.available());
        self.start += count;
        self.position += count as u64;
    }

    /// Returns the stream position of the window's first byte.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Returns the stream position behind what was read so far: the length, once the stream is over.
    pub(super) fn ends_at(&self) -> u64 {
        self.position + self.available() as u64
    }

    /// Returns whether the stream stopped because its compressed form was cut.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    fn available(&self) -> usize {
        self.end - self.start
    }
}
