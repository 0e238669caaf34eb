//! The classic pcap format.
//!
//! # Sources
//!
//! draft-ietf-opsawg-pcap; libpcap's `savefile.c` for what the draft leaves out: swapped lengths of versions before
//! 2.4, and the modified format of Alexey Kuznetzov's patch.

use portolan_flowtable::{Direction, Timestamp};

use crate::file::window::Window;
use crate::file::{Damage, FileInterface, Head, RECORD_BYTES_MAX, stamp, take};
use crate::frame::LinkType;
use portolan_flowtable::units::grouped;

const FILE_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;
/// The modified format adds interface index, protocol, packet type and padding to a record's header.
const MODIFIED_HEADER_BYTES: usize = 24;

/// Bits of the link type field that must be zero.
const RESERVED_BITS: u32 = 0x03ff_0000;

/// What the file header says about the records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Classic {
    is_big_endian: bool,
    /// Nanoseconds of one.
    tick: i64,
    record_header_bytes: usize,
    minor: u16,
    link: LinkType,
}

impl Classic {
    /// Returns whether a file that begins with `magic` is one.
    pub(super) fn is_magic(magic: [u8; 4]) -> bool {
        layout(magic).is_some()
    }

    /// Reads the file header.
    pub(super) fn open(window: &mut Window, interfaces: &mut Vec<FileInterface>) -> Result<Self, Damage> {
        if window.fill(FILE_HEADER_BYTES)? < FILE_HEADER_BYTES {
            return Err(Damage::HeaderCut { ends_at: window.ends_at() });
        }
        let header = window.bytes();
        let Some((is_big_endian, tick, record_header_bytes)) = layout(take(header, 0)) else {
            return Err(Damage::Corrupt { at: 0, what: "the magic number is unknown".into() });
        };
        let (major, minor) = (half(header, 4, is_big_endian), half(header, 6, is_big_endian));
        if major != 2 {
            return Err(Damage::Unsupported { what: format!("pcap version {major}.{minor}") });
        }
        let field = word(header, 20, is_big_endian);
        // The high bits may tell the length of a frame check sequence. With reserved bits set nobody knows what the
        // field means: the whole number is then a link type that no parser has.
        let number = if field & RESERVED_BITS == 0 { field & 0xffff } else { field };
        let link = LinkType(number);
        let snaplen = word(header, 16, is_big_endian);
        interfaces.push(FileInterface {
            id: FileInterface::FIRST,
            name: None,
            description: None,
            link,
            snaplen,
            section: 1,
            file: 0,
        });
        window.consume(FILE_HEADER_BYTES);
        Ok(Self { is_big_endian, tick, record_header_bytes, minor, link })
    }

    /// Reads one record into the window; `None` at the end of the file.
    pub(super) fn next(&mut self, window: &mut Window) -> Result<Option<Head>, Damage> {
        let available = window.fill(self.record_header_bytes)?;
        if available == 0 && !window.is_cut() {
            return Ok(None);
        }
        if available < self.record_header_bytes {
            return Err(Damage::Cut { ends_at: window.ends_at() });
        }
        let header = window.bytes();
        let seconds = word(header, 0, self.is_big_endian);
        let ticks = word(header, 4, self.is_big_endian);
        let (captured, original) =
            self.lengths(word(header, 8, self.is_big_endian), word(header, 12, self.is_big_endian));
        let length = captured as usize;
        if length > RECORD_BYTES_MAX {
            let what = format!(
                "a packet claims {} captured bytes; no capture tool writes more than {}",
                grouped(u64::from(captured)),
                grouped(RECORD_BYTES_MAX as u64)
            );
            return Err(Damage::Corrupt { at: window.position(), what });
        }
        let end = self.record_header_bytes + length;
        if window.fill(end)? < end {
            return Err(Damage::Cut { ends_at: window.ends_at() });
        }
        let nanoseconds = i128::from(seconds) * 1_000_000_000 + i128::from(ticks) * i128::from(self.tick);
        let (at, beyond_seconds) = stamp::split(nanoseconds);
        Ok(Some(Head {
            data: self.record_header_bytes..end,
            length: end,
            stamp: Some((at, beyond_seconds)),
            link: self.link,
            interface: FileInterface::FIRST,
            direction: Direction::Unstated,
            original_bytes: original,
        }))
    }

    /// Returns the link type of all records.
    pub(super) fn link(&self) -> LinkType {
        self.link
    }

    /// Hands over records that stand in the window whole, `most` of them, as (data, time, original length). Stops before
    /// whatever needs more than that. Returns how many there were, their bytes, and the last one's time.
    pub(super) fn walk(
        &self,
        window: &[u8],
        most: usize,
        each: &mut impl FnMut(&[u8], Timestamp, u32),
    ) -> (usize, usize, Option<Timestamp>) {
        let (mut count, mut rest, mut last_at) = (0, window, None);
        while count < most
            && let Some((header, data)) = rest.split_at_checked(self.record_header_bytes)
        {
            let field = |offset| word(header, offset, self.is_big_endian);
            let (captured, original) = self.lengths(field(8), field(12));
            let length = captured as usize;
            if length > RECORD_BYTES_MAX {
                break;
            }
            let Some((data, behind)) = data.split_at_checked(length) else { break };
            // 32 bits of seconds and of ticks never leave what a timestamp holds.
            let at = Timestamp(i64::from(field(0)) * Timestamp::SECOND + i64::from(field(4)) * self.tick);
            each(data, at, original);
            (count, rest, last_at) = (count + 1, behind, Some(at));
        }
        (count, window.len() - rest.len(), last_at)
    }

    /// Before version 2.3 the two lengths stood the other way round; in 2.3 either way.
    fn lengths(self, captured: u32, original: u32) -> (u32, u32) {
        let is_swapped = self.minor < 3 || (self.minor == 3 && captured > original);
        if is_swapped { (original, captured) } else { (captured, original) }
    }
}

/// Returns byte order, nanoseconds per tick and length of a record's header.
fn layout(magic: [u8; 4]) -> Option<(bool, i64, usize)> {
    let of = |magic: u32| match magic {
        0xa1b2_c3d4 => Some((1_000, RECORD_HEADER_BYTES)),
        0xa1b2_3c4d => Some((1, RECORD_HEADER_BYTES)),
        0xa1b2_cd34 => Some((1_000, MODIFIED_HEADER_BYTES)),
        _ => None,
    };
    let big = of(u32::from_be_bytes(magic)).map(|(tick, header)| (true, tick, header));
    big.or_else(|| of(u32::from_le_bytes(magic)).map(|(tick, header)| (false, tick, header)))
}

fn word(bytes: &[u8], offset: usize, is_big_endian: bool) -> u32 {
    let raw = take(bytes, offset);
    if is_big_endian { u32::from_be_bytes(raw) } else { u32::from_le_bytes(raw) }
}

fn half(bytes: &[u8], offset: usize, is_big_endian: bool) -> u16 {
    let raw = take(bytes, offset);
    if is_big_endian { u16::from_be_bytes(raw) } else { u16::from_le_bytes(raw) }
}
