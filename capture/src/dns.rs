//! DNS on port 53: where a message lies in a frame, and what it says of names and addresses.
//!
//! # Invariants
//!
//! - **Total.** Any bytes give a message or a reason; nothing panics or goes in circles: a compression pointer leads
//!   backwards only, and names, records and chains have limits.
//! - **Names are text that can be shown.** Whatever is no printable ASCII stands as `\DDD`, a dot within a label as
//!   `\.` (RFC 1035, section 5.1); letters are lower case, as their case means nothing (RFC 4343).
//! - **Only what is asked of it.** Question, aliases, addresses; other records are stepped over.
//!
//! A reader of our own: two hundred lines without allocation before the name is known to be whole, where the crates that
//! read all of DNS bring dozens of record types, and (`hickory-proto`) a random generator and an IDNA table with them.
//!
//! # Sources
//!
//! RFC 1035, sections 4.1 and 4.2.2; RFC 3596 (AAAA); RFC 2181, section 8 (time to live); RFC 9619 (one question).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portolan_flowtable::{Network, Observation, Packet, Port, Protocol};

use crate::frame::Frame;
use crate::parse::ip::Header;
use crate::parse::link::{self, Content};
use crate::parse::{inner, transport};

/// Where DNS is spoken.
const PORT: Port = Port(53);
const UDP_BYTES: usize = 8;
const TCP_BYTES: usize = 20;
const HEADER_BYTES: usize = 12;
/// A name on the wire, its length bytes included.
const NAME_BYTES_MAX: usize = 255;
/// Answer records read of one message; no honest answer has a tenth of them.
const RECORDS_MAX: usize = 256;
/// Aliases followed in one answer.
const ALIASES_MAX: usize = 16;
/// Longest time to live that is believed, in seconds: RFC 8767, section 4, names seven days.
const TTL_MAX: u32 = 7 * 24 * 3_600;

/// DNS in one packet, as far as it was captured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Spoken<'a> {
    /// The payload of UDP or of one TCP segment.
    pub bytes: &'a [u8],
    /// Whether it is TCP, where each message follows its length.
    pub is_tcp: bool,
}

/// A message, as far as names of addresses go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Chosen by whoever asks, repeated in the answer.
    pub id: u16,
    /// Whether it answers.
    pub is_answer: bool,
    /// The name that is asked for, without the dot at its end.
    pub name: String,
    /// Names it is an alias of, in the order of the chain.
    pub aliases: Vec<String>,
    /// Addresses at the end of the chain, as often as they are said.
    pub addresses: Vec<IpAddr>,
    /// Shortest time to live along the chain, in seconds, at most seven days.
    pub ttl_seconds: u32,
}

/// Why nothing was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unread {
    /// It goes on behind what was captured, or in another segment.
    #[error("the message goes on behind what was captured")]
    Cut,
    /// It contradicts itself.
    #[error("the message contradicts itself")]
    Malformed,
    /// No question of the Internet's names: an update, a notification, another class.
    #[error("the message is no query for a name")]
    OfAnotherKind,
}

/// Returns the DNS a frame carries outside of any tunnel; `None` for nearly every frame.
#[inline]
pub fn spoken<'a>(frame: &Frame<'a>, seen: &Observation) -> Option<Spoken<'a>> {
    match &seen.network {
        Network::Ip(packet @ Packet { ports: Some((source, destination)), .. })
            if *source == PORT || *destination == PORT =>
        {
            find(frame, packet)
        }
        Network::Ip(_) | Network::NonIp(_) => None,
    }
}

#[cold]
fn find<'a>(frame: &Frame<'a>, packet: &Packet) -> Option<Spoken<'a>> {
    let header: Header<'a> = match link::locate(frame).ok()?.content {
        content @ (Content::Ipv4(_) | Content::Ipv6(_)) => inner(content, frame)?,
        Content::Arp(_) | Content::Other => return None,
    };
    // What was metered is the packet inside a tunnel.
    if header.source != packet.source || transport::ports(&header) != packet.ports {
        return None;
    }
    let is_tcp = header.protocol == Protocol::TCP;
    let skipped = match header.protocol {
        Protocol::UDP => UDP_BYTES,
        Protocol::TCP => (usize::from(*header.payload.get(12)?) >> 4) * 4,
        _ => return None,
    };
    let is_header = !is_tcp || skipped >= TCP_BYTES;
    let bytes = header.payload.get(skipped..).filter(|bytes| is_header && !bytes.is_empty())?;
    Some(Spoken { bytes, is_tcp })
}

impl<'a> Spoken<'a> {
    /// Iterates over its messages; of TCP those that begin in this segment, of which the last may be cut.
    pub fn messages(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = Some(self.bytes);
        std::iter::from_fn(move || {
            if !self.is_tcp {
                return rest.take();
            }
            let (length, behind) = rest?.split_first_chunk()?;
            let length = usize::from(u16::from_be_bytes(*length));
            rest = behind.get(length..);
            Some(behind.get(..length).unwrap_or(behind))
        })
    }
}

/// A record of an answer.
enum Record {
    Alias { owner: String, target: String, ttl: u32 },
    Address { owner: String, address: IpAddr, ttl: u32 },
    Other,
}

/// Reads one message.
///
/// # Errors
///
/// Returns [`Unread`]; of a message that is cut within its answers nothing is read.
pub fn read(message: &[u8]) -> Result<Message, Unread> {
    const RESPONSE: u16 = 1 << 15;
    const OPCODE: u16 = 0x7800;
    const RCODE: u16 = 0xf;
    const INTERNET: u16 = 1;
    if message.len() < HEADER_BYTES {
        return Err(Unread::Cut);
    }
    let id = half(message, 0)?;
    let flags = half(message, 2)?;
    if flags & OPCODE != 0 || half(message, 4)? != 1 {
        return Err(Unread::OfAnotherKind);
    }
    let (name, behind) = name(message, HEADER_BYTES)?;
    if half(message, behind + 2)? != INTERNET {
        return Err(Unread::OfAnotherKind);
    }
    let is_answer = flags & RESPONSE != 0;
    let mut read =
        Message { id, is_answer, name, aliases: Vec::new(), addresses: Vec::new(), ttl_seconds: TTL_MAX };
    if !is_answer || flags & RCODE != 0 {
        return Ok(read);
    }
    let (mut at, mut records) = (behind + 4, Vec::new());
    for _ in 0..usize::from(half(message, 6)?).min(RECORDS_MAX) {
        let (record, next) = record(message, at)?;
        records.push(record);
        at = next;
    }
    read.follow(&records);
    Ok(read)
}

impl Message {
    /// Follows the chain from the question to the addresses.
    fn follow(&mut self, records: &[Record]) {
        let mut at = self.name.clone();
        for _ in 0..ALIASES_MAX {
            let next = records.iter().find_map(|record| match record {
                Record::Alias { owner, target, ttl } if *owner == at => Some((target, *ttl)),
                Record::Alias { .. } | Record::Address { .. } | Record::Other => None,
            });
            let Some((target, ttl)) = next.filter(|(target, _)| !self.knows(target)) else { break };
            self.ttl_seconds = self.ttl_seconds.min(ttl);
            self.aliases.push(target.clone());
            at.clone_from(target);
        }
        for record in records {
            match record {
                Record::Address { owner, address, ttl } if *owner == at => {
                    self.ttl_seconds = self.ttl_seconds.min(*ttl);
                    self.addresses.push(*address);
                }
                Record::Alias { .. } | Record::Address { .. } | Record::Other => {}
            }
        }
    }

    fn knows(&self, name: &str) -> bool {
        self.name == *name || self.aliases.iter().any(|alias| alias == name)
    }
}

/// Reads the record at `at`; returns where the next one begins.
fn record(message: &[u8], at: usize) -> Result<(Record, usize), Unread> {
    const A: u16 = 1;
    const CNAME: u16 = 5;
    const AAAA: u16 = 28;
    let (owner, at) = name(message, at)?;
    let kind = half(message, at)?;
    let ttl = (u32::from(half(message, at + 4)?) << 16) | u32::from(half(message, at + 6)?);
    // The most significant bit means nothing but that somebody erred (RFC 2181, section 8).
    let ttl = if ttl >> 31 == 1 { 0 } else { ttl.min(TTL_MAX) };
    let length = usize::from(half(message, at + 8)?);
    let content = at + 10;
    let bytes = message.get(content..content + length).ok_or(Unread::Cut)?;
    let record = match kind {
        A => {
            let octets: [u8; 4] = bytes.try_into().map_err(|_| Unread::Malformed)?;
            Record::Address { owner, address: Ipv4Addr::from(octets).into(), ttl }
        }
        AAAA => {
            let octets: [u8; 16] = bytes.try_into().map_err(|_| Unread::Malformed)?;
            Record::Address { owner, address: Ipv6Addr::from(octets).into(), ttl }
        }
        CNAME => {
            let (target, end) = name(message, content)?;
            if end != content + length {
                return Err(Unread::Malformed);
            }
            Record::Alias { owner, target, ttl }
        }
        _ => Record::Other,
    };
    Ok((record, content + length))
}

/// Reads the name at `at`; returns where what follows it begins.
fn name(message: &[u8], at: usize) -> Result<(String, usize), Unread> {
    const POINTER: u8 = 0xc0;
    let mut text = String::new();
    let (mut at, mut end, mut begins) = (at, None, at);
    let mut bytes = 1;
    loop {
        let length = *message.get(at).ok_or(Unread::Cut)?;
        match length & POINTER {
            0 if length == 0 => return Ok((text, end.unwrap_or(at + 1))),
            0 => {
                let label = message.get(at + 1..at + 1 + usize::from(length)).ok_or(Unread::Cut)?;
                bytes += 1 + label.len();
                if bytes > NAME_BYTES_MAX {
                    return Err(Unread::Malformed);
                }
                push_label(&mut text, label);
                at += 1 + label.len();
            }
            POINTER => {
                let target = usize::from(half(message, at)? & 0x3fff);
                // Each leads further back than all before, so there is an end.
                if target >= begins {
                    return Err(Unread::Malformed);
                }
                end.get_or_insert(at + 2);
                (at, begins) = (target, target);
            }
            _ => return Err(Unread::Malformed),
        }
    }
}

fn push_label(text: &mut String, label: &[u8]) {
    if !text.is_empty() {
        text.push('.');
    }
    for byte in label {
        match byte {
            b'.' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b'!'..=b'~' => text.push(char::from(byte.to_ascii_lowercase())),
            other => {
                let digits = [other / 100, other / 10 % 10, other % 10].map(|digit| char::from(b'0' + digit));
                text.push('\\');
                text.extend(digits);
            }
        }
    }
}

fn half(message: &[u8], at: usize) -> Result<u16, Unread> {
    let bytes = message.get(at..).and_then(|rest| rest.first_chunk()).ok_or(Unread::Cut)?;
    Ok(u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests;
