//! DNS on its way from the data plane to the control plane: copied there, read here.

use portolan_capture::dns::{Message, Spoken, Unread, read};
use portolan_flowtable::dns_names::{Answer, Said, Speaker};
use portolan_flowtable::{DnsNames, Port, Protocol, ScopeId, Timestamp};

/// Packets from one tick to the next; beyond, they are counted and left.
const PACKETS_MAX: usize = 2_048;
/// Their payload.
const BYTES_MAX: usize = 512 * 1024;

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
