//! DNS on its way from the data plane to the control plane: copied there, read here.

use portolan_capture::dns::{Message, Spoken, Unread, read};
use portolan_flowtable::dns_names::{Answer, Said, Speaker};
use portolan_flowtable::{DnsNames, Observation, Port, Protocol, ScopeId, Timestamp};

/// Packets from one tick to the next; beyond, they are counted and left.
const PACKETS_MAX: usize = 2_048;
/// Their payload.
const BYTES_MAX: usize = 512 * 1024;

/// Packets that may wait for the role of an interface, and their payload.
const WAITING_MAX: usize = 512;
const WAITING_BYTES_MAX: usize = 128 * 1024;

/// Packets from or to port 53 since the last tick. Its room is taken once; a packet that finds none is counted.
#[derive(Clone, Debug, Default)]
pub struct Overheard {
    packets: Vec<Heard>,
    bytes: Vec<u8>,
    missed: u64,
}

/// One packet: who sent it to whom, and how much of the bytes is its payload.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// When.
    pub at: Timestamp,
    /// In which network.
    pub scope: ScopeId,
    /// Who sent it: the attachment it came in by.
    pub sender: Speaker,
    /// Who holds the address it went to.
    pub receiver: Speaker,
    /// UDP or TCP.
    pub protocol: Protocol,
    /// Length of its payload.
    pub bytes: usize,
}

impl Overheard {
    /// Takes the room there will be.
    pub fn with_room() -> Self {
        Self { packets: Vec::with_capacity(PACKETS_MAX), bytes: Vec::with_capacity(BYTES_MAX), missed: 0 }
    }

    /// Keeps a packet.
    pub fn keep(&mut self, heard: Heard, spoken: Spoken<'_>) {
        if self.packets.len() >= PACKETS_MAX || self.bytes.len() + spoken.bytes.len() > BYTES_MAX {
            self.missed += 1;
            return;
        }
        self.packets.push(Heard { bytes: spoken.bytes.len(), ..heard });
        self.bytes.extend_from_slice(spoken.bytes);
    }

    /// Counts a packet that belongs to nobody yet.
    pub fn miss(&mut self) {
        self.missed += 1;
    }

    /// Hands over what there is; the room stays.
    pub fn take(&mut self) -> Self {
        let taken = Self { packets: self.packets.clone(), bytes: self.bytes.clone(), missed: self.missed };
        self.packets.clear();
        self.bytes.clear();
        self.missed = 0;
        taken
    }

    /// Reads the messages and tells them, in the order they came.
    pub fn tell(&self, names: &mut DnsNames) {
        names.count(|counts| counts.missed += self.missed);
        let mut rest = self.bytes.as_slice();
        for heard in &self.packets {
            let (bytes, behind) = rest.split_at_checked(heard.bytes).unwrap_or((rest, &[]));
            rest = behind;
            let spoken = Spoken { bytes, is_tcp: heard.protocol == Protocol::TCP };
            for message in spoken.messages() {
                match read(message) {
                    Ok(message) => heard.tell(&message, names),
                    Err(Unread::Cut) => names.count(|counts| counts.cut += 1),
                    Err(Unread::Malformed) => names.count(|counts| counts.malformed += 1),
                    Err(Unread::OfAnotherKind) => {}
                }
            }
        }
    }
}

/// Packets of interfaces nobody knows yet, and those behind them: a container asks for names as soon as it runs, and that
/// may be before its veth has a role.
#[derive(Debug)]
pub(super) struct Waiting {
    packets: Vec<(Observation, usize, bool)>,
    bytes: Vec<u8>,
}

impl Waiting {
    /// Takes the room there will be.
    pub(super) fn with_room() -> Self {
        Self { packets: Vec::with_capacity(WAITING_MAX), bytes: Vec::with_capacity(WAITING_BYTES_MAX) }
    }

    /// Returns whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Keeps a packet, or has it counted as missed where there is no room.
    pub(super) fn keep(&mut self, seen: &Observation, spoken: Spoken<'_>, overheard: &mut Overheard) {
        if self.packets.len() >= WAITING_MAX || self.bytes.len() + spoken.bytes.len() > WAITING_BYTES_MAX {
            return overheard.miss();
        }
        self.packets.push((*seen, spoken.bytes.len(), spoken.is_tcp));
        self.bytes.extend_from_slice(spoken.bytes);
    }

    /// Hands packets over in their order until one is not taken.
    pub(super) fn release(&mut self, mut take: impl FnMut(&Observation, Spoken<'_>) -> bool) {
        let (mut packets, mut taken_bytes) = (0, 0);
        for (seen, length, is_tcp) in &self.packets {
            let bytes = self.bytes.get(taken_bytes..taken_bytes + length).unwrap_or_default();
            if !take(seen, Spoken { bytes, is_tcp: *is_tcp }) {
                break;
            }
            packets += 1;
            taken_bytes += length;
        }
        self.packets.drain(..packets);
        self.bytes.drain(..taken_bytes);
    }
}

impl Heard {
    fn tell(&self, message: &Message, names: &mut DnsNames) {
        let (client, server) = match message.is_answer {
            true => (self.receiver, self.sender),
            false => (self.sender, self.receiver),
        };
        // Whoever asks from port 53 and is answered there is read like anybody else; nobody answers from another.
        if server.port != Port(53) {
            return;
        }
        let Message { aliases, addresses, ttl_seconds, .. } = message;
        let answer = message.is_answer.then_some(Answer { aliases, addresses, ttl_seconds: *ttl_seconds });
        names.hear(&Said {
            at: self.at,
            scope: self.scope,
            client,
            server,
            protocol: self.protocol,
            id: message.id,
            name: &message.name,
            answer,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portolan_flowtable::{
        Direction, Fragment, InterfaceId, InterfaceTable, Limits, MacAddr, Network, Packet,
    };

    use super::*;
    use crate::engine::{Meter, Who};

    fn from_port(port: u16, at: i64) -> Observation {
        Observation {
            at: Timestamp(at),
            is_timed: true,
            frame: 1,
            interface: InterfaceId(1),
            direction: Direction::Incoming,
            source_mac: MacAddr::default(),
            wire_bytes: 60,
            fingerprint: 0,
            network: Network::Ip(Packet {
                source: [10, 0, 0, 1].into(),
                destination: [10, 0, 0, 2].into(),
                protocol: Protocol::UDP,
                ports: Some((Port(port), Port(53))),
                tcp: None,
                icmp: None,
                fragment: Fragment::Whole,
                vlan: None,
                is_tunnel: false,
            }),
        }
    }

    #[test]
    fn a_question_asked_before_its_veth_has_a_role_is_heard_before_what_came_after_it() {
        let who = || Who::Bare(Default::default());
        let mut meter = Meter::new(Limits::default(), 1, Arc::new(InterfaceTable::new()), who());
        let spoken = |bytes| Spoken { bytes, is_tcp: false };
        let mut deltas: Vec<portolan_flowtable::Delta> = Vec::new();
        let second = Timestamp::SECOND;
        meter.frame(from_port(1, second), &mut deltas);
        meter.overhear(&from_port(1, second), spoken(b"first"));
        meter.tick(None, None, &mut deltas);
        let nothing = meter.take_overheard();
        assert_eq!((nothing.packets.len(), nothing.missed), (0, 0));
        meter.set_roles(Arc::new(InterfaceTable::plain()), who());
        meter.overhear(&from_port(2, second + 1), spoken(b"then"));
        meter.tick(None, None, &mut deltas);
        let both = meter.take_overheard();
        assert_eq!((both.bytes.as_slice(), both.missed), (b"firstthen".as_slice(), 0));
        meter.overhear(&from_port(3, second + 2), spoken(b"later"));
        assert_eq!(meter.take_overheard().bytes, b"later");
    }

    #[test]
    fn what_waits_for_a_role_in_vain_is_missed_and_counted() {
        let who = Who::Bare(Default::default());
        let mut meter = Meter::new(Limits::default(), 1, Arc::new(InterfaceTable::new()), who);
        let mut deltas: Vec<portolan_flowtable::Delta> = Vec::new();
        for _ in 0..WAITING_MAX + 3 {
            meter.overhear(&from_port(1, 0), Spoken { bytes: b"x", is_tcp: false });
        }
        assert_eq!(meter.take_overheard().missed, 3);
        meter.settle(&mut deltas);
        assert_eq!(meter.take_overheard().missed, WAITING_MAX as u64);
    }
}
