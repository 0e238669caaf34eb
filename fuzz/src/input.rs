//! Values out of a fuzzer's bytes. Where the bytes end, every value is zero.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;

use rustix::fs::{MemfdFlags, memfd_create};

/// Bytes being taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// Takes bytes apart from their start.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns whether nothing is left.
    pub fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns one byte.
    pub fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    /// Returns one byte below `bound`.
    pub fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound.max(1)
    }

    /// Returns two bytes as a number.
    pub fn half(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    /// Returns four bytes as a number.
    pub fn word(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    /// Returns whether the next byte is odd.
    pub fn is_odd(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Returns so many bytes, or what is left.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Returns everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.bytes(usize::MAX)
    }

    /// Returns a text whose length its first byte says; what is no UTF-8 in it becomes U+FFFD.
    pub fn text(&mut self) -> String {
        let length = usize::from(self.byte());
        String::from_utf8_lossy(self.bytes(length)).into_owned()
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.bytes(N);
        let mut array = [0; N];
        array[..taken.len()].copy_from_slice(taken);
        array
    }
}

/// A file in memory, for readers that open a path.
pub struct MemoryFile(File);

impl MemoryFile {
    /// Makes a file of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        let mut file = File::from(memfd_create("fuzzed", MemfdFlags::CLOEXEC).expect("a file in memory"));
        file.write_all(bytes).expect("memory takes what is written");
        Self(file)
    }

    /// Returns the path it can be opened by, from its start.
    pub fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }
}
