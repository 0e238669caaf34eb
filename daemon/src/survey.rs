//! Roles read off a capture that nobody explained: which interface is a container's veth,
//! which is a bridge.
//!
//! A veth never shows a frame addressed to the host and has one inbound source address; a bridge that shows a single
//! container's broadcasts shows them after that container's veth, and nothing addressed to others. A bridge's own address
//! goes out on it and, in the same frames, on veths. Two interfaces lie in one network where a frame goes in by
//! one and out by the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portolan_capture::{Frame, LinkType};
use portolan_flowtable::{
    Direction, InterfaceEntry, InterfaceId, InterfaceTable, MacAddr, Network, Observation, Role, ScopeId,
    Timestamp,
};

/// Interfaces surveyed at most; a capture with more gets no roles.
const INTERFACES_MAX: usize = 4_096;
/// Source addresses remembered per interface and direction.
const MACS_MAX: usize = 64;
/// IP addresses remembered, to tell whether a roster fits.
const ADDRESSES_MAX: usize = 65_536;
/// `PACKET_HOST` of packet(7).
const PACKET_HOST: u8 = 0;
/// `PACKET_OTHERHOST` of packet(7).
const PACKET_OTHERHOST: u8 = 3;

/// What a first reading of a capture tells about its interfaces.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    interfaces: BTreeMap<InterfaceId, Seen>,
    frames: u64,
    addresses: BTreeSet<IpAddr>,
    is_cooked: bool,
    is_crowded: bool,
}

#[derive(Debug, Default)]
struct Seen {
    span: Option<(Timestamp, Timestamp)>,
    has_direction: bool,
    shows_host: bool,
    /// Whether it shows frames addressed to somebody else than the host.
    shows_others: bool,
    /// When it first showed a frame coming in: its place among all frames.
    first_inbound: Option<u64>,
    inbound: BTreeSet<MacAddr>,
    outbound: BTreeSet<MacAddr>,
}

impl Survey {
    /// Takes one frame in.
    pub(crate) fn frame(&mut self, frame: &Frame<'_>, seen: &Observation) {
        self.is_cooked |= matches!(frame.link, LinkType::LINUX_SLL | LinkType::LINUX_SLL2);
        if let Network::Ip(packet) = &seen.network
            && self.addresses.len() < ADDRESSES_MAX
        {
            self.addresses.insert(packet.source);
            self.addresses.insert(packet.destination);
        }
        if self.interfaces.len() >= INTERFACES_MAX && !self.interfaces.contains_key(&seen.interface) {
            self.is_crowded = true;
            return;
        }
        let interface = self.interfaces.entry(seen.interface).or_default();
        let (first, last) = interface.span.unwrap_or((seen.at, seen.at));
        interface.span = Some((first.min(seen.at), last.max(seen.at)));
        interface.has_direction |= seen.direction != Direction::Unstated;
        interface.shows_host |= packet_type(frame) == Some(PACKET_HOST);
        interface.shows_others |= packet_type(frame) == Some(PACKET_OTHERHOST);
        self.frames += 1;
        let macs = match seen.direction {
            Direction::Incoming => {
                interface.first_inbound.get_or_insert(self.frames);
                &mut interface.inbound
            }
            Direction::Outgoing => &mut interface.outbound,
            Direction::Unstated => return,
        };
        if macs.len() < MACS_MAX {
            macs.insert(seen.source_mac);
        }
    }

    /// Returns whether several interfaces carried frames at the same time, so that they may show the same packets.
    /// Captures that follow each other, as a rotation writes them, do not.
    pub(crate) fn has_parallel_interfaces(&self) -> bool {
        let mut spans: Vec<_> = self.interfaces.values().filter_map(|seen| seen.span).collect();
        spans.sort_unstable();
        spans.windows(2).any(|pair| matches!(pair, [(_, end), (start, _)] if start < end))
    }

    /// Returns whether frames come from the kernel's cooked socket on all interfaces.
    pub(crate) fn is_cooked(&self) -> bool {
        self.is_cooked
    }

    /// Returns whether every interface says which way its frames went.
    pub(crate) fn has_directions(&self) -> bool {
        self.interfaces.values().all(|seen| seen.has_direction)
    }

    /// Returns addresses that occur.
    pub(crate) fn addresses(&self) -> &BTreeSet<IpAddr> {
        &self.addresses
    }

    /// Infers roles; `None` where the capture does not bear it: no directions, or no veth to be seen.
    ///
    /// Networks are told apart only where no roster will be asked (`is_scoped`): its numbers are others.
    pub(crate) fn roles(&self, is_scoped: bool) -> Option<InterfaceTable> {
        if self.is_crowded || !self.interfaces.values().any(|seen| seen.has_direction) {
            return None;
        }
        let veths: Vec<(&InterfaceId, &Seen)> =
            self.interfaces.iter().filter(|(_, seen)| seen.is_like_a_veth() && !self.is_echo(seen)).collect();
        if veths.is_empty() {
            return None;
        }
        let bridges: Vec<(&InterfaceId, &Seen, MacAddr)> = self
            .interfaces
            .iter()
            .filter(|(_, seen)| seen.shows_host || seen.inbound.is_empty() || self.is_echo(seen))
            .filter_map(|(id, seen)| {
                let own = seen
                    .outbound
                    .iter()
                    .find(|mac| veths.iter().any(|(_, veth)| veth.outbound.contains(mac)))?;
                Some((id, seen, *own))
            })
            .collect();
        Some(tabulate(&veths, &bridges, self.interfaces.keys(), is_scoped))
    }
}

impl Survey {
    /// Returns whether an interface merely shows again what came in by a veth before: a bridge that nobody but one
    /// container sends broadcasts to.
    fn is_echo(&self, of: &Seen) -> bool {
        of.is_like_a_veth()
            && !of.shows_others
            && self.interfaces.values().any(|seen| {
                seen.is_like_a_veth() && seen.inbound == of.inbound && seen.first_inbound < of.first_inbound
            })
    }
}

impl Seen {
    fn is_like_a_veth(&self) -> bool {
        !self.shows_host && self.inbound.len() == 1
    }
}

fn tabulate<'a>(
    veths: &[(&InterfaceId, &Seen)],
    bridges: &[(&InterfaceId, &Seen, MacAddr)],
    all: impl Iterator<Item = &'a InterfaceId>,
    is_scoped: bool,
) -> InterfaceTable {
    // Networks: interfaces joined by frames that went in by one and out by the other.
    let members: Vec<(InterfaceId, BTreeSet<MacAddr>, BTreeSet<MacAddr>)> = veths
        .iter()
        .map(|(id, seen)| (**id, seen.inbound.clone(), seen.outbound.clone()))
        .chain(bridges.iter().map(|(id, seen, own)| (**id, BTreeSet::from([*own]), seen.outbound.clone())))
        .collect();
    let mut scope_of: Vec<usize> = (0..members.len()).collect();
    for (first, one) in members.iter().enumerate() {
        for (second, other) in members.iter().enumerate() {
            let meets = |sources: &BTreeSet<MacAddr>, sinks: &BTreeSet<MacAddr>| !sources.is_disjoint(sinks);
            if first != second && meets(&one.1, &other.2) {
                let (from, to) =
                    (scope_of[first].max(scope_of[second]), scope_of[first].min(scope_of[second]));
                for scope in &mut scope_of {
                    if *scope == from {
                        *scope = to;
                    }
                }
            }
        }
    }
    let mut numbers: BTreeMap<usize, u16> = BTreeMap::new();
    let mut table = InterfaceTable::new();
    for interface in all {
        table.set(*interface, InterfaceEntry { role: Role::Foreign, ..InterfaceEntry::default() });
    }
    for (index, (id, _, _)) in members.iter().enumerate() {
        let next = u16::try_from(numbers.len() + 1).unwrap_or(u16::MAX);
        let number = *numbers.entry(scope_of[index]).or_insert(next);
        let scope = ScopeId(if is_scoped { number } else { 0 });
        let entry = if index < veths.len() {
            InterfaceEntry { role: Role::Container, scope, ..InterfaceEntry::default() }
        } else {
            let mac = bridges.get(index - veths.len()).map_or(MacAddr::default(), |(_, _, own)| *own);
            InterfaceEntry { role: Role::Bridge, scope, mac, ..InterfaceEntry::default() }
        };
        table.set(*id, entry);
    }
    table
}

/// Reads the packet type of a cooked header: LINKTYPE_LINUX_SLL octets 0-1, LINKTYPE_LINUX_SLL2 octet 10.
fn packet_type(frame: &Frame<'_>) -> Option<u8> {
    match frame.link {
        LinkType::LINUX_SLL => frame.bytes.get(1).copied(),
        LinkType::LINUX_SLL2 => frame.bytes.get(10).copied(),
        _ => None,
    }
}
