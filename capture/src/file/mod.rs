//! Capture files as taps: pcap and pcapng, plain or compressed, from a path or from standard input.
//!
//! The reader is our own: it bounds every length a file may claim, names the packet and the byte where a file is
//! cut, and gives everything before the damage.

mod blocks;
mod classic;
mod merge;
mod open;
mod stamp;
mod window;

pub use merge::MergedFiles;

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portolan_flowtable::{Direction, InterfaceId, Timestamp};

use crate::error::TapError;
use crate::file::blocks::Blocks;
use crate::file::classic::Classic;
use crate::file::window::Window;
use crate::frame::{Frame, LinkType, Polled, Tap};

/// Captured bytes one record may hold. BIG TCP frames reach 178,594 bytes and libpcap's own limit is 262,144; a
/// greater claim is damage, and must not decide how much memory is taken.
const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Frames one poll hands over at most.
const FRAMES_PER_POLL: usize = 4_096;

/// An interface a capture file describes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileInterface {
    /// Its running number over all sections (and, merged, over all files), from [`FileInterface::FIRST`].
    pub id: InterfaceId,
    /// Its name on the host that captured, where the file says so. Hostile text: outputs escape it.
    pub name: Option<String>,
    /// What it is or what hangs on it, where the file says so. Hostile text, like the name.
    pub description: Option<String>,
    /// Its link type.
    pub link: LinkType,
    /// Bytes kept of each frame; 0 for no limit.
    pub snaplen: u32,
    /// The pcapng section that describes it, from 1; 1 for a pcap file.
    pub section: u32,
    /// Position of its file among those that were opened together, from 0.
    pub file: usize,
}

impl FileInterface {
    /// The number of the first interface. `LINUX_SLL2` frames name the kernel's index, which counts up from 1 and
    /// stands beside these numbers where a capture mixes both: they begin where no host's indexes arrive, and leave
    /// as many below 2^24, where [`portolan_flowtable::InterfaceTable`] ends.
    pub const FIRST: InterfaceId = InterfaceId(1 << 23);

    fn number(position: usize) -> InterfaceId {
        InterfaceId(u32::try_from(position).unwrap_or(u32::MAX).saturating_add(Self::FIRST.0))
    }

    /// The place of a number in the list it was given for; past the end for an index of the kernel.
    fn position(id: InterfaceId) -> usize {
        id.0.checked_sub(Self::FIRST.0).map_or(usize::MAX, |position| position as usize)
    }
}

/// One capture file.
pub struct FileTap {
    path: String,
    window: Window,
    format: Format,
    interfaces: Vec<FileInterface>,
    /// The record at the window's start, if it was read and not yet handed over.
    head: Option<Head>,
    is_over: bool,
    damage: Option<TapError>,
    packets: u64,
    last_at: Timestamp,
    consumed: Arc<AtomicU64>,
    length: Option<u64>,
}

enum Format {
    Classic(Classic),
    Blocks(Blocks),
}

/// A record in the window.
#[derive(Clone, Debug)]
struct Head {
    /// Its captured bytes, counted from the window's start.
    data: Range<usize>,
    /// Bytes of the window that belong to it.
    length: usize,
    /// Its time and the seconds beyond, where it has one.
    stamp: Option<(Timestamp, i64)>,
    link: LinkType,
    interface: InterfaceId,
    direction: Direction,
    original_bytes: u32,
}

/// What is wrong with a stream; becomes a `TapError` once file and packet are known.
#[derive(Debug)]
enum Damage {
    /// It ends within its header.
    HeaderCut { ends_at: u64 },
    /// It ends within a record.
    Cut { ends_at: u64 },
    /// It contradicts itself.
    Corrupt { at: u64, what: String },
    /// It has a version nobody reads here.
    Unsupported { what: String },
    /// Reading or decompressing failed.
    Read { at: u64, source: io::Error },
}

impl FileTap {
    /// Opens a capture file and reads its header; `-` is standard input.
    ///
    /// # Errors
    ///
    /// Returns why it cannot be read at all: missing, not readable, empty, or not a capture.
    pub fn open(path: &str) -> Result<Self, TapError> {
        let (stream, consumed, length) = open::stream(path)?;
        let name = open::shown(path);
        let mut window = stream;
        let mut interfaces = Vec::new();
        let magic = open::magic(&name, &mut window)?;
        let format = if Classic::is_magic(magic) {
            Classic::open(&mut window, &mut interfaces).map(Format::Classic)
        } else {
            Blocks::open(&mut window).map(Format::Blocks)
        };
        let format = format.map_err(|damage| damage.of(&name, 0))?;
        Ok(Self {
            path: name,
            window,
            format,
            interfaces,
            head: None,
            is_over: false,
            damage: None,
            packets: 0,
            last_at: Timestamp::default(),
            consumed,
            length,
        })
    }

    /// Returns the interfaces described so far; the list grows while the file is read.
    pub fn interfaces(&self) -> &[FileInterface] {
        &self.interfaces
    }

    /// Returns what ended the reading early; everything before it was handed over.
    pub fn damage(&self) -> Option<&TapError> {
        self.damage.as_ref()
    }

    /// Returns how many frames the kernel dropped while the file was written, where the file says so.
    pub fn kernel_dropped(&self) -> Option<u64> {
        match &self.format {
            Format::Classic(_) => None,
            Format::Blocks(blocks) => blocks.kernel_dropped(),
        }
    }

    /// Returns how many bytes of the file were read, before decompression; for a progress bar.
    pub fn position(&self) -> u64 {
        self.consumed.load(Ordering::Relaxed)
    }

    /// Returns the file's length in bytes; `None` for a pipe.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Reads the next record into the window, if it is not there yet. Returns its time, `None` at the end.
    fn advance(&mut self) -> Option<Timestamp> {
        if self.head.is_none() && !self.is_over {
            let next = match &mut self.format {
                Format::Classic(classic) => classic.next(&mut self.window),
                Format::Blocks(blocks) => blocks.next(&mut self.window, &mut self.interfaces),
            };
            match next {
                Ok(Some(head)) => {
                    self.packets += 1;
                    if let Some((at, _)) = head.stamp {
                        self.last_at = at;
                    }
                    self.head = Some(head);
                }
                Ok(None) => self.is_over = true,
                Err(damage) => {
                    self.is_over = true;
                    self.damage = Some(damage.of(&self.path, self.packets));
                }
            }
        }
        self.head.as_ref().map(|_| self.last_at)
    }

    /// Returns the record that `advance` found.
    fn frame(&self) -> Option<Frame<'_>> {
        let head = self.head.as_ref()?;
        Some(Frame {
            bytes: self.window.slice(head.data.clone()),
            link: head.link,
            at: self.last_at,
            beyond_seconds: head.stamp.map_or(0, |(_, beyond)| beyond),
            is_timed: head.stamp.is_some(),
            number: self.packets,
            interface: head.interface,
            direction: head.direction,
            original_bytes: head.original_bytes,
        })
    }

    /// Hands over, as frames of `interface` counted up from `number`, records that the window already holds behind the one
    /// that was passed last; `most` at most. Where there is none, [`FileTap::advance`] says why. Returns how many.
    fn walk(
        &mut self,
        most: usize,
        number: u64,
        interface: InterfaceId,
        each: &mut dyn FnMut(&Frame<'_>),
    ) -> usize {
        let Format::Classic(classic) = &self.format else { return 0 };
        if self.head.is_some() || self.is_over {
            return 0;
        }
        let mut frame = Frame {
            bytes: &[],
            link: classic.link(),
            at: self.last_at,
            beyond_seconds: 0,
            is_timed: true,
            number,
            interface,
            direction: Direction::Unstated,
            original_bytes: 0,
        };
        let (count, length, last_at) =
            classic.walk(self.window.bytes(), most, &mut |bytes, at, original_bytes| {
                frame.number += 1;
                each(&Frame { bytes, at, original_bytes, ..frame });
            });
        self.window.consume(length);
        self.packets += count as u64;
        self.last_at = last_at.unwrap_or(self.last_at);
        count
    }

    /// Moves past the record that `advance` found.
    fn pass(&mut self) {
        if let Some(head) = self.head.take() {
            self.window.consume(head.length);
        }
    }
}

impl Tap for FileTap {
    /// Never fails: a damaged file ends early, and [`FileTap::damage`] says why.
    fn poll(&mut self, each: &mut dyn FnMut(&Frame<'_>)) -> Result<Polled, TapError> {
        let mut count = 0;
        while count < FRAMES_PER_POLL && self.advance().is_some() {
            if let Some(frame) = self.frame() {
                each(&frame);
            }
            self.pass();
            count += 1;
        }
        Ok(if count == 0 { Polled::End } else { Polled::Frames(count) })
    }
}

impl Damage {
    fn of(self, path: &str, packets: u64) -> TapError {
        let path = path.to_owned();
        match self {
            Self::HeaderCut { ends_at } => TapError::TruncatedHeader { path, ends_at },
            Self::Cut { ends_at } => TapError::Truncated { path, packet: packets + 1, ends_at },
            Self::Corrupt { at, what } => TapError::Damaged { path, packets, at, what },
            Self::Unsupported { what } => TapError::Unsupported { path, what },
            Self::Read { at, source } => TapError::Read { path, packets, at, source },
        }
    }
}

/// Returns `N` bytes from `offset`; zeros where there are none. Callers check lengths first.
fn take<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}
