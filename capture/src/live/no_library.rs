//! What stands in libpcap's place where it was left out.

use std::os::fd::{AsFd, BorrowedFd};

use portolan_sys::FilterInstruction;

use super::Growth;
use crate::error::TapError;
use crate::frame::Frame;

/// There is none.
#[derive(Debug)]
pub(super) enum LibraryTap {}

impl LibraryTap {
    pub(super) fn open(_: u32, _: u32, _: u32, _: &[FilterInstruction]) -> Result<Self, TapError> {
        Err(TapError::WithoutLibrary { what: "the tap \"pcap\"", remedy: "use --tap ring" })
    }

    pub(super) fn poll(&mut self, _: &mut dyn FnMut(Frame<'_>)) -> Result<usize, TapError> {
        match *self {}
    }

    pub(super) fn statistics(&mut self) -> Result<Growth, TapError> {
        match *self {}
    }
}

impl AsFd for LibraryTap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }
}
