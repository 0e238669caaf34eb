//! Writing captures: pcapng, one whole block after the other.
//!
//! # Sources
//!
//! draft-ietf-opsawg-pcapng: one little-endian section with Interface Description, Enhanced Packet, Name Resolution
//! and Interface Statistics Blocks. All times are nanoseconds.
//!
//! # Invariants
//!
//! - **A block is one write.** It is assembled in a buffer that is used again and given to the output in a single
//!   `write_all`, so [`PcapngWriter::written_bytes`] is always the end of a block. Where an output fails in the
//!   middle of one (a full disk), cutting the file back to that length makes it whole.
//! - **Nothing is written that a reader would stumble over.** A length or number that the format, or its readers,
//!   cannot take is an error of kind [`io::ErrorKind::InvalidInput`], and nothing of that block was written.
//! - **Strings are hostile.** They are cut, and characters that command a terminal or turn the direction of writing
//!   are replaced; in names for addresses all but letters, digits, `.`, `-` and `_` is.

use std::io::{self, Write};
use std::net::IpAddr;

use portolan_flowtable::units::grouped;
use portolan_flowtable::{Direction, Timestamp};

use crate::frame::LinkType;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const NAME_RESOLUTION: u32 = 4;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// A section whose length is not stated.
const LENGTH_UNSTATED: u64 = u64::MAX;

const OPTION_END: u16 = 0;
const OPTION_COMMENT: u16 = 1;
const OPTION_SHB_HARDWARE: u16 = 2;
const OPTION_SHB_OS: u16 = 3;
const OPTION_SHB_USERAPPL: u16 = 4;
const OPTION_IF_NAME: u16 = 2;
const OPTION_IF_DESCRIPTION: u16 = 3;
const OPTION_IF_TSRESOL: u16 = 9;
const OPTION_EPB_FLAGS: u16 = 2;
const OPTION_ISB_STARTTIME: u16 = 2;
const OPTION_ISB_ENDTIME: u16 = 3;
const OPTION_ISB_IFRECV: u16 = 4;
const OPTION_ISB_IFDROP: u16 = 5;
const OPTION_ISB_USRDELIV: u16 = 8;

/// `if_tsresol` of nanoseconds: the negated power of ten.
const NANOSECONDS: u8 = 9;

const NAME_END: u16 = 0;
const NAME_IPV4: u16 = 1;
const NAME_IPV6: u16 = 2;

/// Length of a block and the same again behind its body.
const LENGTH_BYTES: usize = 4;
const LENGTH_OFFSET: usize = 4;

/// Bytes one frame may keep. libpcap and Wireshark take no more on most link types, and refuse the whole file.
pub const FRAME_BYTES_MAX: usize = 262_144;
/// Bytes kept of a text.
const TEXT_BYTES_MAX: usize = 4_096;
/// Bytes kept of an interface's name; the reader keeps as many.
const IF_NAME_BYTES_MAX: usize = 256;
/// Bytes kept of an address's name: the greatest length of a domain name as text (RFC 1035).
const ADDRESS_NAME_BYTES_MAX: usize = 253;
/// A name resolution block that holds more is closed, and another begun.
const NAMES_BYTES: usize = 64 * 1024;

/// Who wrote a capture, and where. An empty text is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Section<'a> {
    /// The program: `portolan 0.1.0`.
    pub application: &'a str,
    /// The operating system.
    pub os: &'a str,
    /// The machine.
    pub hardware: &'a str,
    /// What else a reader should know.
    pub comment: &'a str,
}

/// An interface that frames will be of. An empty text is left out.
#[derive(Clone, Copy, Debug)]
pub struct NewInterface<'a> {
    /// What the first byte of its frames belongs to; a 16-bit number in the file.
    pub link: LinkType,
    /// Bytes kept of each frame; 0 for no limit. libpcap reads a file only where link type and snaplen are the same
    /// for all interfaces.
    pub snaplen: u32,
    /// Its name on the host.
    pub name: &'a str,
    /// What hangs on it.
    pub description: &'a str,
}

/// A frame to be written.
#[derive(Clone, Copy, Debug)]
pub struct Captured<'a> {
    /// The number [`PcapngWriter::add_interface`] gave.
    pub interface: u32,
    /// When it was stamped. The file cannot hold times before 1970: they are written as 0 and counted.
    pub at: Timestamp,
    /// What is kept of it, link header first; at most [`FRAME_BYTES_MAX`].
    pub bytes: &'a [u8],
    /// Its length before anything was cut off, in bytes.
    pub original_bytes: u32,
    /// Which way it crossed the interface.
    pub direction: Direction,
}

/// What is known of an interface's losses; counts run from the start of the recording.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// When they were read.
    pub at: Timestamp,
    /// When the recording began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Frames the interface received (`isb_ifrecv`).
    pub received: Option<u64>,
    /// Frames dropped before anybody here could see them (`isb_ifdrop`).
    pub dropped: Option<u64>,
    /// Frames handed to this program (`isb_usrdeliv`).
    pub delivered: Option<u64>,
}

/// Writes one pcapng section.
#[derive(Debug)]
pub struct PcapngWriter<W: Write> {
    out: W,
    block: Vec<u8>,
    interfaces: u32,
    written_bytes: u64,
    times_before_1970: u64,
}

impl<W: Write> PcapngWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    ///
    /// Returns the output's error.
    pub fn new(out: W, section: &Section<'_>) -> io::Result<Self> {
        let mut writer =
            Self { out, block: Vec::new(), interfaces: 0, written_bytes: 0, times_before_1970: 0 };
        writer.begin(SECTION_HEADER);
        writer.word(BYTE_ORDER);
        writer.half(1);
        writer.half(0);
        writer.put(&LENGTH_UNSTATED.to_le_bytes());
        let options = writer.block.len();
        writer.text(OPTION_SHB_HARDWARE, section.hardware, TEXT_BYTES_MAX);
        writer.text(OPTION_SHB_OS, section.os, TEXT_BYTES_MAX);
        writer.text(OPTION_SHB_USERAPPL, section.application, TEXT_BYTES_MAX);
        writer.text(OPTION_COMMENT, section.comment, TEXT_BYTES_MAX);
        writer.end_options(options);
        writer.end()?;
        Ok(writer)
    }

    /// Describes an interface and returns its number, from 0.
    ///
    /// # Errors
    ///
    /// Returns the output's error, or one of kind `InvalidInput` where the link type needs more than 16 bits.
    pub fn add_interface(&mut self, interface: &NewInterface<'_>) -> io::Result<u32> {
        let Ok(link) = u16::try_from(interface.link.0) else {
            return Err(refused(format!("link type {} has no number in a capture file", interface.link.0)));
        };
        let number = self.interfaces;
        let Some(interfaces) = number.checked_add(1) else {
            return Err(refused("a capture file numbers no more interfaces".to_owned()));
        };
        self.begin(INTERFACE_DESCRIPTION);
        self.half(link);
        self.half(0);
        self.word(interface.snaplen);
        let options = self.block.len();
        self.text(OPTION_IF_NAME, interface.name, IF_NAME_BYTES_MAX);
        self.text(OPTION_IF_DESCRIPTION, interface.description, TEXT_BYTES_MAX);
        self.option(OPTION_IF_TSRESOL, &[NANOSECONDS]);
        self.end_options(options);
        self.end()?;
        self.interfaces = interfaces;
        Ok(number)
    }

    /// Writes one frame. Allocates nothing once a frame of that size was written.
    ///
    /// # Errors
    ///
    /// Returns the output's error, or one of kind `InvalidInput` where the interface was not described or the frame
    /// is longer than [`FRAME_BYTES_MAX`].
    pub fn frame(&mut self, captured: &Captured<'_>) -> io::Result<()> {
        self.must_be_described(captured.interface)?;
        let kept_bytes = captured.bytes.len();
        let Some(kept) = u32::try_from(kept_bytes).ok().filter(|_| kept_bytes <= FRAME_BYTES_MAX) else {
            return Err(refused(format!(
                "a frame of {} captured bytes is longer than readers take ({})",
                grouped(kept_bytes as u64),
                grouped(FRAME_BYTES_MAX as u64)
            )));
        };
        self.begin(ENHANCED_PACKET);
        self.word(captured.interface);
        self.time(captured.at);
        self.word(kept);
        self.word(captured.original_bytes);
        self.put(captured.bytes);
        self.pad();
        let options = self.block.len();
        let flags: Option<u32> = match captured.direction {
            Direction::Incoming => Some(1),
            Direction::Outgoing => Some(2),
            Direction::Unstated => None,
        };
        if let Some(flags) = flags {
            self.option(OPTION_EPB_FLAGS, &flags.to_le_bytes());
        }
        self.end_options(options);
        self.end()
    }

    /// Writes names for addresses, in as many blocks as it takes. What is no ASCII letter, digit, `.`, `-` or `_`
    /// becomes `_`; an empty name is left out.
    ///
    /// # Errors
    ///
    /// Returns the output's error.
    pub fn names(&mut self, names: &[(IpAddr, &str)]) -> io::Result<()> {
        let mut is_open = false;
        for (address, name) in names.iter().filter(|(_, name)| !name.is_empty()) {
            if !is_open {
                self.begin(NAME_RESOLUTION);
                is_open = true;
            }
            match address {
                IpAddr::V4(address) => self.name(NAME_IPV4, &address.octets(), name),
                IpAddr::V6(address) => self.name(NAME_IPV6, &address.octets(), name),
            }
            if self.block.len() >= NAMES_BYTES {
                self.end_names()?;
                is_open = false;
            }
        }
        if is_open { self.end_names() } else { Ok(()) }
    }

    /// Writes an interface's counts. The latest block of an interface is the one that holds.
    ///
    /// # Errors
    ///
    /// Returns the output's error, or one of kind `InvalidInput` where the interface was not described.
    pub fn statistics(&mut self, interface: u32, counts: &Counts) -> io::Result<()> {
        self.must_be_described(interface)?;
        self.begin(INTERFACE_STATISTICS);
        self.word(interface);
        self.time(counts.at);
        let options = self.block.len();
        for (code, at) in [(OPTION_ISB_STARTTIME, counts.started_at), (OPTION_ISB_ENDTIME, counts.ended_at)] {
            if let Some(at) = at {
                self.half(code);
                self.half(8);
                self.time(at);
            }
        }
        for (code, count) in [
            (OPTION_ISB_IFRECV, counts.received),
            (OPTION_ISB_IFDROP, counts.dropped),
            (OPTION_ISB_USRDELIV, counts.delivered),
        ] {
            if let Some(count) = count {
                self.option(code, &count.to_le_bytes());
            }
        }
        self.end_options(options);
        self.end()
    }

    /// Returns the length of all whole blocks, in bytes: where the next block begins.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Returns how many times before 1970 were written as 0.
    pub fn times_before_1970(&self) -> u64 {
        self.times_before_1970
    }

    /// Returns the output, to flush or to cut it. What is written to it directly is not part of the capture.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Returns the output.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn must_be_described(&self, interface: u32) -> io::Result<()> {
        if interface < self.interfaces {
            return Ok(());
        }
        Err(refused(format!("interface {interface} is not described; there are {}", self.interfaces)))
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.word(kind);
        // The length, once it is known.
        self.word(0);
    }

    fn end(&mut self) -> io::Result<()> {
        let length = self.block.len() + LENGTH_BYTES;
        let Ok(stated) = u32::try_from(length) else {
            return Err(refused(format!("a block of {} bytes is too long", grouped(length as u64))));
        };
        if let Some(place) = self.block.get_mut(LENGTH_OFFSET..LENGTH_OFFSET + LENGTH_BYTES) {
            place.copy_from_slice(&stated.to_le_bytes());
        }
        self.word(stated);
        self.out.write_all(&self.block)?;
        self.written_bytes += length as u64;
        Ok(())
    }

    fn end_options(&mut self, began_at: usize) {
        if self.block.len() > began_at {
            self.half(OPTION_END);
            self.half(0);
        }
    }

    fn end_names(&mut self) -> io::Result<()> {
        self.half(NAME_END);
        self.half(0);
        self.end()
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.measured(code, |block| block.extend_from_slice(value));
    }

    fn text(&mut self, code: u16, text: &str, bytes_max: usize) {
        if !text.is_empty() {
            self.measured(code, |block| clean(block, text, bytes_max));
        }
    }

    fn name(&mut self, kind: u16, address: &[u8], name: &str) {
        self.measured(kind, |block| {
            block.extend_from_slice(address);
            let reduce = |character: char| match character {
                '.' | '-' => character,
                other if other.is_ascii_alphanumeric() => other,
                _ => '_',
            };
            block.extend(name.chars().take(ADDRESS_NAME_BYTES_MAX).map(|character| reduce(character) as u8));
            block.push(0);
        });
    }

    /// Writes what options and name records have in common: a code, a length, and a value of that length.
    fn measured(&mut self, code: u16, value: impl FnOnce(&mut Vec<u8>)) {
        self.half(code);
        self.half(0);
        let began_at = self.block.len();
        value(&mut self.block);
        let length = u16::try_from(self.block.len() - began_at).unwrap_or(u16::MAX);
        if let Some(place) = self.block.get_mut(began_at - 2..began_at) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        self.pad();
    }

    /// High half first, whatever the byte order.
    fn time(&mut self, at: Timestamp) {
        let ticks = u64::try_from(at.0).unwrap_or_else(|_| {
            self.times_before_1970 += 1;
            0
        });
        self.word((ticks >> 32) as u32);
        self.word((ticks & u64::from(u32::MAX)) as u32);
    }

    fn half(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    fn word(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    fn put(&mut self, bytes: &[u8]) {
        self.block.extend_from_slice(bytes);
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }
}

/// Appends what `bytes_max` bytes hold of a text, its commanding characters replaced.
fn clean(block: &mut Vec<u8>, text: &str, bytes_max: usize) {
    let began_at = block.len();
    let mut place = [0; 4];
    for character in text.chars() {
        let harmless = if commands(character) { char::REPLACEMENT_CHARACTER } else { character };
        let encoded = harmless.encode_utf8(&mut place).as_bytes();
        if block.len() - began_at + encoded.len() > bytes_max {
            return;
        }
        block.extend_from_slice(encoded);
    }
}

/// Returns whether a character does something instead of showing: controls (NUL among them), separators of lines and
/// paragraphs, what has no width, and what turns the direction of writing (UAX #9).
fn commands(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

fn refused(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_like_those_before_it_needs_no_memory() {
        let mut writer = PcapngWriter::new(io::sink(), &Section::default()).unwrap();
        let interface = NewInterface { link: LinkType::ETHERNET, snaplen: 0, name: "eth0", description: "" };
        let interface = writer.add_interface(&interface).unwrap();
        let mut taken = None;
        for length in [1_514, 60, 1_513, 0, 1_514] {
            let captured = Captured {
                interface,
                at: Timestamp(1),
                bytes: &[0; 1_514][..length],
                original_bytes: 1_514,
                direction: Direction::Outgoing,
            };
            writer.frame(&captured).unwrap();
            let place = (writer.block.as_ptr(), writer.block.capacity());
            assert_eq!(*taken.get_or_insert(place), place);
        }
    }
}
