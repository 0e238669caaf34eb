//! Traffic between containers of one network, the same for the same [`Shape`].
//!
//! Every flow is a TCP connection between two of [`CONTAINERS`] containers, as the host's `any` tap shows it: cooked
//! frames (`LINUX_SLL2`), each coming in by its sender's veth and, where asked for, once more going out by its
//! receiver's. Frames keep their headers alone; the payload is in their stated length.

use portolan_capture::{Frame, LinkType};
use portolan_flowtable::{
    AttachmentId, Direction, InterfaceEntry, InterfaceId, InterfaceTable, MacAddr, Role, ScopeId, Timestamp,
};

/// Containers; the first half calls the second.
pub const CONTAINERS: u32 = 64;
/// Port every responder serves.
const SERVICE_PORT: u16 = 8080;
/// Kernel index of the first container's veth.
const FIRST_VETH: u32 = 10;
/// First frame's time: 2026-11-20T00:00:00Z.
const START: Timestamp = Timestamp(1_795_132_800 * Timestamp::SECOND);
/// Between two frames, in nanoseconds.
const STEP: i64 = 1_000;
/// Lengths of SLL2, IPv4 and TCP headers.
const HEADERS: usize = 20 + 20 + 20;

const PACKET_HOST: u8 = 0;
const PACKET_OUTGOING: u8 = 4;
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;

/// What traffic is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shape {
    /// Connections, all open at once.
    pub flows: u32,
    /// Frames with payload of each connection, after its handshake; they take turns.
    pub data_frames: u32,
    /// Whether each frame is also seen at its receiver's veth.
    pub is_seen_twice: bool,
    /// Decides payload sizes.
    pub seed: u64,
}

/// Frames in the order of their capture.
#[derive(Clone, Debug)]
pub struct Traffic {
    bytes: Vec<[u8; HEADERS]>,
    original_bytes: Vec<u32>,
    first_number: u64,
}

impl Traffic {
    /// Makes the connections' handshakes and their data.
    pub fn new(shape: Shape) -> Self {
        let mut traffic = Self::opening(shape);
        traffic.append(Self::data(shape, 0));
        traffic
    }

    /// Makes the three frames by which each connection opens.
    pub fn opening(shape: Shape) -> Self {
        let mut traffic = Self::empty(1);
        for flow in 0..shape.flows {
            let first = first_sequence(flow);
            traffic.push(shape, flow, true, first, SYN, 0);
            traffic.push(shape, flow, false, first, SYN_ACK, 0);
            traffic.push(shape, flow, true, first.wrapping_add(1), ACK, 0);
        }
        traffic
    }

    /// Makes data on connections that are open already; flows take turns, so neighbours are never of one flow.
    /// `after` is the number of the last frame before.
    pub fn data(shape: Shape, after: u64) -> Self {
        let mut traffic = Self::empty(after + 1);
        let mut random = shape.seed;
        let opened = |flow| [first_sequence(flow).wrapping_add(1); 2];
        let mut sequences: Vec<[u32; 2]> = (0..shape.flows).map(opened).collect();
        for round in 0..shape.data_frames {
            for (flow, sequences) in (0..).zip(&mut sequences) {
                let payload = match next(&mut random) % 4 {
                    0 => 0,
                    1 => 536,
                    2 | 3.. => 1_448,
                };
                let is_forth = round % 2 == 0;
                let sequence = &mut sequences[usize::from(!is_forth)];
                traffic.push(shape, flow, is_forth, *sequence, ACK, payload);
                *sequence = sequence.wrapping_add(u32::from(payload));
            }
        }
        traffic
    }

    /// Puts other traffic behind this.
    pub fn append(&mut self, other: Self) {
        self.bytes.extend(other.bytes);
        self.original_bytes.extend(other.original_bytes);
    }

    /// Returns how many frames there are.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the frames, as a tap would hand them over.
    pub fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        let numbered = self.bytes.iter().zip(&self.original_bytes).zip(self.first_number..);
        numbered.map(|((bytes, original_bytes), number)| Frame {
            bytes,
            link: LinkType::LINUX_SLL2,
            at: START.plus(STEP * i64::try_from(number).unwrap_or(i64::MAX)),
            beyond_seconds: 0,
            is_timed: true,
            number,
            interface: InterfaceId(0),
            direction: Direction::Unstated,
            original_bytes: *original_bytes,
        })
    }

    /// Returns the frames as a classic capture with nanoseconds.
    pub fn to_pcap(&self) -> Vec<u8> {
        let mut file = Vec::with_capacity(24 + self.len() * (16 + HEADERS));
        file.extend(0xa1b2_3c4d_u32.to_le_bytes());
        file.extend([2, 0, 4, 0]);
        file.extend([0; 8]);
        file.extend(256_u32.to_le_bytes());
        file.extend(LinkType::LINUX_SLL2.0.to_le_bytes());
        for frame in self.frames() {
            let seconds = frame.at.0.div_euclid(Timestamp::SECOND);
            let nanoseconds = frame.at.0.rem_euclid(Timestamp::SECOND);
            file.extend(u32::try_from(seconds).unwrap_or(u32::MAX).to_le_bytes());
            file.extend(u32::try_from(nanoseconds).unwrap_or(u32::MAX).to_le_bytes());
            file.extend(u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
            file.extend(frame.original_bytes.to_le_bytes());
            file.extend(frame.bytes);
        }
        file
    }

    fn empty(first_number: u64) -> Self {
        Self { bytes: Vec::new(), original_bytes: Vec::new(), first_number }
    }

    fn push(&mut self, shape: Shape, flow: u32, is_forth: bool, sequence: u32, flags: u8, payload: u16) {
        let half = CONTAINERS / 2;
        let (initiator, responder) = (flow % half, half + flow / half % half);
        let port = 32_768 + u16::try_from(flow / (half * half) % 28_000).unwrap_or(0);
        let (sender, receiver, ports) = if is_forth {
            (initiator, responder, (port, SERVICE_PORT))
        } else {
            (responder, initiator, (SERVICE_PORT, port))
        };
        let mut frame = [0; HEADERS];
        let (link, rest) = frame.split_at_mut(20);
        let (ip, tcp) = rest.split_at_mut(20);
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&(40 + payload).to_be_bytes());
        ip[6] = 0x40;
        ip[8] = 64;
        ip[9] = 6;
        ip[12..16].copy_from_slice(&address(sender));
        ip[16..20].copy_from_slice(&address(receiver));
        tcp[0..2].copy_from_slice(&ports.0.to_be_bytes());
        tcp[2..4].copy_from_slice(&ports.1.to_be_bytes());
        tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
        tcp[12] = 0x50;
        tcp[13] = flags;
        tcp[14..16].copy_from_slice(&64_240_u16.to_be_bytes());
        link[0..2].copy_from_slice(&0x0800_u16.to_be_bytes());
        link[8..10].copy_from_slice(&1_u16.to_be_bytes());
        link[11] = 6;
        link[12..18].copy_from_slice(&[0x02, 0x42, 0xac, 0x12, 1, address(sender)[3]]);
        let sightings = [(FIRST_VETH + sender, PACKET_HOST), (FIRST_VETH + receiver, PACKET_OUTGOING)];
        for (interface, kind) in sightings.into_iter().take(1 + usize::from(shape.is_seen_twice)) {
            frame[4..8].copy_from_slice(&interface.to_be_bytes());
            frame[10] = kind;
            self.bytes.push(frame);
            self.original_bytes.push(60 + u32::from(payload));
        }
    }
}

/// Returns the roles of the host's interfaces: one bridge, a veth for each container.
pub fn interfaces() -> InterfaceTable {
    let mut table = InterfaceTable::new();
    let scope = ScopeId(1);
    let bridge = InterfaceEntry {
        role: Role::Bridge,
        scope,
        mac: MacAddr([0x02, 0x42, 0, 0, 0, 1]),
        ..InterfaceEntry::default()
    };
    table.set(InterfaceId(FIRST_VETH - 1), bridge);
    for container in 0..CONTAINERS {
        let veth = InterfaceEntry {
            role: Role::Container,
            scope,
            attachment: AttachmentId(1 + container),
            ..InterfaceEntry::default()
        };
        table.set(InterfaceId(FIRST_VETH + container), veth);
    }
    table
}

/// Returns who holds which address, as a roster in TOML.
pub fn roster() -> String {
    let mut text = String::from("[[network]]\nname = \"bench\"\nsubnets = [\"172.18.0.0/16\"]\n");
    for container in 0..CONTAINERS {
        let [a, b, c, d] = address(container);
        let index = FIRST_VETH + container;
        text.push_str(&format!(
            "[[interface]]\nindex = {index}\nrole = \"container\"\nnetwork = \"bench\"\ncontainer = \"c{container}\"\n\
             [[address]]\naddress = \"{a}.{b}.{c}.{d}\"\nnetwork = \"bench\"\ncontainer = \"c{container}\"\n"
        ));
    }
    text
}

/// Both ends of a flow begin at the same number.
fn first_sequence(flow: u32) -> u32 {
    flow | 1
}

fn address(container: u32) -> [u8; 4] {
    [172, 18, 1, u8::try_from(2 + container % 250).unwrap_or(0)]
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_capture::{ParseOptions, parse};
    use portolan_flowtable::directory::BareDirectory;
    use portolan_flowtable::{FlowTable, Limits};

    #[test]
    fn traffic_is_what_its_shape_says() {
        let shape = Shape { flows: 3_000, data_frames: 2, is_seen_twice: true, seed: 1 };
        let traffic = Traffic::new(shape);
        assert_eq!(traffic.len(), 3_000 * (3 + 2) * 2);
        let mut table = FlowTable::new(Limits { flows_max: 8_192, ..Limits::default() }, 1);
        let seen: Vec<_> =
            traffic.frames().map(|frame| parse(&frame, &ParseOptions::default()).unwrap()).collect();
        table.observe(&seen, &interfaces(), &BareDirectory);
        assert_eq!(table.live(), 3_000);
        assert_eq!(table.ledger().delivered.frames, 30_000);
        assert_eq!(table.ledger().accepted().frames, 15_000);
        let same = Traffic::new(shape);
        assert_eq!(same.to_pcap(), traffic.to_pcap());
    }
}
