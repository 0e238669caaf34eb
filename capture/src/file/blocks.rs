//! The pcapng format: blocks, in sections, each with its own byte order and interfaces.
//!
//! # Sources
//!
//! draft-ietf-opsawg-pcapng. Packets are in Enhanced, Simple and (obsolete) Packet Blocks; Interface Statistics
//! Blocks tell what the kernel dropped; blocks of any other type are skipped.

use portolan_flowtable::Direction;

use crate::file::stamp::{self, Resolution};
use crate::file::window::Window;
use crate::file::{Damage, FileInterface, Head, RECORD_BYTES_MAX, take};
use crate::frame::LinkType;
use portolan_flowtable::units::grouped;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

/// Type and length before a block's body, and the length again behind it.
const HEAD_BYTES: usize = 8;
const FRAMING_BYTES: usize = 12;

/// A block may hold a packet of the greatest size and its options.
const BLOCK_BYTES_MAX: usize = RECORD_BYTES_MAX + 64 * 1024;
/// Interfaces one file may describe, over all its sections.
const INTERFACES_MAX: usize = 65_536;
/// The name libpcap gives to all interfaces of a host together.
const ANY: &str = "any";
/// Bytes kept of an interface's name.
const NAME_BYTES_MAX: usize = 256;
/// Bytes kept of what it is said to be.
const DESCRIPTION_BYTES_MAX: usize = 512;

const OPTION_END: u16 = 0;
/// `epb_flags` and `pack_flags`.
const OPTION_FLAGS: u16 = 2;
const OPTION_IF_NAME: u16 = 2;
const OPTION_IF_DESCRIPTION: u16 = 3;
const OPTION_IF_TSRESOL: u16 = 9;
const OPTION_IF_TSOFFSET: u16 = 14;
const OPTION_ISB_IFDROP: u16 = 5;
const OPTION_ISB_OSDROP: u16 = 7;

/// State of a pcapng file while it is read.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    order: Order,
    section: u32,
    /// Index of the section's first interface in the file's list.
    first_interface: usize,
    /// One per interface of the file.
    facts: Vec<InterfaceFacts>,
}

#[derive(Clone, Copy, Debug, Default)]
struct InterfaceFacts {
    resolution: Resolution,
    /// The section that describes it.
    section: u32,
    /// Whether it is named for all interfaces of its host.
    is_any: bool,
    has_frames: bool,
    /// The latest statistics block's sum; such counts run from the start of the capture.
    dropped: Option<u64>,
}

impl InterfaceFacts {
    /// Returns the count that stands for all interfaces of its section, if this interface states it.
    fn dropped_by_socket(&self) -> Option<u64> {
        self.dropped.filter(|_| self.is_any && !self.has_frames)
    }
}

#[derive(Clone, Copy, Debug, Default)]
enum Order {
    #[default]
    Little,
    Big,
}

impl Order {
    fn half(self, bytes: &[u8], offset: usize) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(take(bytes, offset)),
            Self::Big => u16::from_be_bytes(take(bytes, offset)),
        }
    }

    fn word(self, bytes: &[u8], offset: usize) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(take(bytes, offset)),
            Self::Big => u32::from_be_bytes(take(bytes, offset)),
        }
    }

    fn long(self, bytes: &[u8], offset: usize) -> u64 {
        match self {
            Self::Little => u64::from_le_bytes(take(bytes, offset)),
            Self::Big => u64::from_be_bytes(take(bytes, offset)),
        }
    }
}

impl Blocks {
    /// Returns whether a file that begins with `magic` is one.
    pub(super) fn is_magic(magic: [u8; 4]) -> bool {
        u32::from_be_bytes(magic) == SECTION_HEADER
    }

    /// Reads the first section header.
    pub(super) fn open(window: &mut Window) -> Result<Self, Damage> {
        let mut blocks = Self::default();
        let length = match blocks.frame_block(window) {
            Err(Damage::Cut { ends_at }) => return Err(Damage::HeaderCut { ends_at }),
            Err(other) => return Err(other),
            Ok(None) => return Err(Damage::HeaderCut { ends_at: window.ends_at() }),
            Ok(Some((_, length))) => length,
        };
        blocks.begin_section(window, length)?;
        window.consume(length);
        Ok(blocks)
    }

    /// Reads blocks until one holds a packet; `None` at the end of the file.
    pub(super) fn next(
        &mut self,
        window: &mut Window,
        interfaces: &mut Vec<FileInterface>,
    ) -> Result<Option<Head>, Damage> {
        while let Some((kind, length)) = self.frame_block(window)? {
            let body = HEAD_BYTES..length - 4;
            let head = match kind {
                SECTION_HEADER => {
                    self.begin_section(window, length)?;
                    self.first_interface = interfaces.len();
                    None
                }
                INTERFACE_DESCRIPTION => {
                    self.describe(window.slice(body), window.position(), interfaces)?;
                    None
                }
                INTERFACE_STATISTICS => {
                    self.count_drops(window.slice(body));
                    None
                }
                ENHANCED_PACKET => {
                    let body = window.slice(body);
                    let interface = self.order.word(body, 0) as usize;
                    Some(self.stamped(body, interface, window.position(), interfaces, length)?)
                }
                PACKET => {
                    let body = window.slice(body);
                    let interface = usize::from(self.order.half(body, 0));
                    Some(self.stamped(body, interface, window.position(), interfaces, length)?)
                }
                SIMPLE_PACKET => {
                    Some(self.simple(window.slice(body), window.position(), interfaces, length)?)
                }
                _ => None,
            };
            if head.is_some() {
                return Ok(head);
            }
            window.consume(length);
        }
        Ok(None)
    }

    /// Returns frames dropped before they could be written, if every interface that carried any says so.
    ///
    /// A live recording hears all interfaces by one socket, which alone knows what was dropped. It speaks through an
    /// interface named `any` without frames of its own: where that states a count, it is its section's.
    pub(super) fn kernel_dropped(&self) -> Option<u64> {
        let mut sum = None;
        let mut add = |dropped: u64| sum = Some(sum.unwrap_or(0_u64).saturating_add(dropped));
        for section in self.facts.chunk_by(|one, next| one.section == next.section) {
            if let Some(dropped) = section.iter().find_map(InterfaceFacts::dropped_by_socket) {
                add(dropped);
                continue;
            }
            for facts in section.iter().filter(|facts| facts.has_frames) {
                add(facts.dropped?);
            }
        }
        sum
    }

    /// Brings one whole block into the window and returns its type and length.
    fn frame_block(&mut self, window: &mut Window) -> Result<Option<(u32, usize)>, Damage> {
        let available = window.fill(FRAMING_BYTES)?;
        if available == 0 && !window.is_cut() {
            return Ok(None);
        }
        if available < FRAMING_BYTES {
            return Err(Damage::Cut { ends_at: window.ends_at() });
        }
        let at = window.position();
        let start = window.bytes();
        // A section header's type reads the same in both orders; the order of all that follows is inside it.
        let kind = self.order.word(start, 0);
        if kind == SECTION_HEADER {
            self.order = match take(start, 8) {
                [0x1a, 0x2b, 0x3c, 0x4d] => Order::Big,
                [0x4d, 0x3c, 0x2b, 0x1a] => Order::Little,
                _ => return Err(corrupt(at, "a section header states no byte order")),
            };
        }
        let stated = self.order.word(start, 4);
        let length = stated as usize;
        if length < FRAMING_BYTES || !length.is_multiple_of(4) || length > BLOCK_BYTES_MAX {
            return Err(corrupt(
                at,
                &format!("a block of type {kind:#x} claims {} bytes", grouped(u64::from(stated))),
            ));
        }
        if window.fill(length)? < length {
            return Err(Damage::Cut { ends_at: window.ends_at() });
        }
        let again = self.order.word(window.bytes(), length - 4);
        if again != stated {
            return Err(corrupt(
                at,
                &format!("a block of type {kind:#x} states two lengths, {stated} and {again}"),
            ));
        }
        Ok(Some((kind, length)))
    }

    fn begin_section(&mut self, window: &Window, length: usize) -> Result<(), Damage> {
        let body = window.slice(HEAD_BYTES..length - 4);
        if body.len() < 16 {
            return Err(corrupt(window.position(), "a section header is too short"));
        }
        let (major, minor) = (self.order.half(body, 4), self.order.half(body, 6));
        // Minor 2 was written by mistake and means the same as 0.
        if major != 1 || (minor != 0 && minor != 2) {
            return Err(Damage::Unsupported { what: format!("pcapng version {major}.{minor}") });
        }
        self.section = self.section.saturating_add(1);
        Ok(())
    }

    fn describe(&mut self, body: &[u8], at: u64, interfaces: &mut Vec<FileInterface>) -> Result<(), Damage> {
        if body.len() < 8 {
            return Err(corrupt(at, "an interface description is too short"));
        }
        if interfaces.len() >= INTERFACES_MAX {
            return Err(corrupt(at, &format!("more than {INTERFACES_MAX} interfaces are described")));
        }
        let mut facts = InterfaceFacts { section: self.section, ..InterfaceFacts::default() };
        let (mut name, mut description) = (None, None);
        for (code, value) in self.options(body.get(8..).unwrap_or_default()) {
            match code {
                OPTION_IF_NAME => name = Some(text(value, NAME_BYTES_MAX)),
                OPTION_IF_DESCRIPTION => description = Some(text(value, DESCRIPTION_BYTES_MAX)),
                OPTION_IF_TSRESOL => facts.resolution.code = take::<1>(value, 0)[0],
                OPTION_IF_TSOFFSET if value.len() == 8 => {
                    facts.resolution.offset_seconds = self.order.long(value, 0).cast_signed();
                }
                _ => {}
            }
        }
        facts.is_any = name.as_deref() == Some(ANY);
        interfaces.push(FileInterface {
            id: FileInterface::number(interfaces.len()),
            name,
            description,
            link: LinkType(u32::from(self.order.half(body, 0))),
            snaplen: self.order.word(body, 4),
            section: self.section,
            file: 0,
        });
        self.facts.push(facts);
        Ok(())
    }

    fn count_drops(&mut self, body: &[u8]) {
        let interface = self.order.word(body, 0) as usize;
        let mut dropped = None;
        for (code, value) in self.options(body.get(12..).unwrap_or_default()) {
            if (code == OPTION_ISB_IFDROP || code == OPTION_ISB_OSDROP) && value.len() == 8 {
                dropped = Some(dropped.unwrap_or(0_u64).saturating_add(self.order.long(value, 0)));
            }
        }
        let index = self.first_interface.saturating_add(interface);
        if let (Some(facts), Some(_)) = (self.facts.get_mut(index), dropped) {
            facts.dropped = dropped;
        }
    }

    /// Reads an Enhanced Packet Block or a Packet Block; they differ in the width of the interface number only.
    fn stamped(
        &mut self,
        body: &[u8],
        interface: usize,
        at: u64,
        interfaces: &[FileInterface],
        length: usize,
    ) -> Result<Head, Damage> {
        const FIXED_BYTES: usize = 20;
        if body.len() < FIXED_BYTES {
            return Err(corrupt(at, "a packet block is too short"));
        }
        let (index, described) = self.described(interface, at, interfaces)?;
        let ticks = u64::from(self.order.word(body, 4)) << 32 | u64::from(self.order.word(body, 8));
        let captured = self.order.word(body, 12) as usize;
        let end = FIXED_BYTES.saturating_add(captured);
        if end > body.len() {
            return Err(corrupt(
                at,
                &format!(
                    "a packet claims {} captured bytes, more than its block holds",
                    grouped(captured as u64)
                ),
            ));
        }
        let mut direction = Direction::Unstated;
        for (code, value) in self.options(body.get(end.next_multiple_of(4)..).unwrap_or_default()) {
            if code == OPTION_FLAGS && value.len() == 4 {
                direction = match self.order.word(value, 0) & 3 {
                    1 => Direction::Incoming,
                    2 => Direction::Outgoing,
                    _ => Direction::Unstated,
                };
            }
        }
        let facts = self.facts.get(index).copied().unwrap_or_default();
        Ok(Head {
            data: HEAD_BYTES + FIXED_BYTES..HEAD_BYTES + end,
            length,
            stamp: Some(stamp::split(facts.resolution.nanoseconds(ticks))),
            link: described.link,
            interface: described.id,
            direction,
            original_bytes: self.order.word(body, 16),
        })
    }

    /// Reads a Simple Packet Block: no time, the section's first interface, its captured length is implied.
    fn simple(
        &mut self,
        body: &[u8],
        at: u64,
        interfaces: &[FileInterface],
        length: usize,
    ) -> Result<Head, Damage> {
        if body.len() < 4 {
            return Err(corrupt(at, "a simple packet block is too short"));
        }
        let (_, described) = self.described(0, at, interfaces)?;
        let original_bytes = self.order.word(body, 0);
        let limit = if described.snaplen == 0 { u32::MAX } else { described.snaplen };
        let captured = (original_bytes.min(limit) as usize).min(body.len() - 4);
        Ok(Head {
            data: HEAD_BYTES + 4..HEAD_BYTES + 4 + captured,
            length,
            stamp: None,
            link: described.link,
            interface: described.id,
            direction: Direction::Unstated,
            original_bytes,
        })
    }

    fn described<'a>(
        &mut self,
        interface: usize,
        at: u64,
        interfaces: &'a [FileInterface],
    ) -> Result<(usize, &'a FileInterface), Damage> {
        let index = self.first_interface.saturating_add(interface);
        let Some(described) = interfaces.get(index) else {
            return Err(corrupt(
                at,
                &format!("a packet is of interface {interface}, which is not described"),
            ));
        };
        if let Some(facts) = self.facts.get_mut(index) {
            facts.has_frames = true;
        }
        Ok((index, described))
    }

    /// Returns (code, value) of each whole option; a lying length ends the list.
    fn options<'a>(&self, mut rest: &'a [u8]) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let order = self.order;
        std::iter::from_fn(move || {
            if rest.len() < 4 {
                return None;
            }
            let code = order.half(rest, 0);
            let length = usize::from(order.half(rest, 2));
            let value = rest.get(4..4 + length)?;
            rest = rest.get((4 + length).next_multiple_of(4)..).unwrap_or_default();
            (code != OPTION_END).then_some((code, value))
        })
    }
}

/// Reads an option's text, and no more of it than `most` bytes.
fn text(value: &[u8], most: usize) -> String {
    let kept = value.get(..value.len().min(most)).unwrap_or_default();
    String::from_utf8_lossy(kept).trim_end_matches('\0').to_owned()
}

fn corrupt(at: u64, what: &str) -> Damage {
    Damage::Corrupt { at, what: what.to_owned() }
}
