//! The four captures that speed is measured on, of any size, the same for the same seed, with what is true of them.
//!
//! Classic pcap, microseconds, Ethernet. IP, TCP and UDP checksums are right, sequence numbers go on from where they
//! stopped, payload is zeros.

use std::collections::HashSet;
use std::io::{self, Write};

/// The seed measured with unless another is asked for.
pub const SEED: u64 = 0x506f_7274_6f6c_616e;

/// Longest frame made: no offloading.
const FRAME_MAX: usize = 1_514;
const ETHERNET: usize = 14;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
/// Most a segment carries: 1500 less IPv4, TCP and its time stamps.
const SEGMENT: u32 = 1_448;
const FIRST_CLIENT_PORT: u16 = 32_768;
/// First frame's time: 2026-11-20T00:00:00Z.
const START_SECONDS: u64 = 1_795_132_800;

/// What a capture is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Frames of 64 bytes on the wire (60 and no checksum; 74 with IPv6, 5 % of flows): ACKs and datagrams of flows that
    /// were open before, each opened once, then flow and direction at random. 1 us apart.
    Small,
    /// The same with frames of 60, 590 and 1514 bytes, 7:4:1.
    Imix,
    /// Every packet a SYN of its own: a scan of 250 hosts. 1 us apart.
    Syn,
    /// 200 containers in five networks, 4000 connections at a time: HTTP, Redis, PostgreSQL and DNS, with handshakes and
    /// FINs. 2 us apart.
    Micro,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Micro, Self::Small, Self::Imix, Self::Syn];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Imix => "imix",
            Self::Syn => "syn",
            Self::Micro => "micro",
        }
    }

    /// Returns the kind of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What a capture holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Truth {
    /// Frames.
    pub packets: u64,
    /// Bytes of all frames, without the file's own headers.
    pub bytes: u64,
    /// Pairs of ends with a protocol: both directions are one.
    pub biflows: u64,
    /// The same by direction.
    pub uniflows: u64,
    /// Client, server and service port, where the capture has such; else 0.
    pub edges: u64,
}

/// Writes a capture of so many packets and returns what it holds. `flows` is for `small` and `imix`.
///
/// # Errors
///
/// Returns the error of the writer.
pub fn write(kind: Kind, packets: u64, flows: u64, seed: u64, into: &mut impl Write) -> io::Result<Truth> {
    let mut file = File { into, frame: [0; FRAME_MAX], truth: Truth::default(), microseconds: 0 };
    file.header()?;
    match kind {
        Kind::Small => file.mix(packets, flows, seed, false)?,
        Kind::Imix => file.mix(packets, flows, seed, true)?,
        Kind::Syn => file.syn(packets, seed)?,
        Kind::Micro => file.micro(packets, seed)?,
    }
    Ok(file.truth)
}

/// Returns who is who in `micro`, as a roster in TOML: every container a service of its own.
pub fn roster() -> String {
    let mut text = String::new();
    for network in 0..NETWORKS {
        let subnet = 18 + network;
        text.push_str(&format!("[[network]]\nname = \"n{network}\"\nsubnets = [\"172.{subnet}.0.0/16\"]\n"));
        for host in 0..PER_NETWORK {
            let (number, last) = (network * PER_NETWORK + host, 2 + host);
            text.push_str(&format!(
                "[[address]]\naddress = \"172.{subnet}.0.{last}\"\nnetwork = \"n{network}\"\n\
                 container = \"c{number}\"\nproject = \"bench\"\nservice = \"s{number}\"\nimage = \"bench:1\"\n"
            ));
        }
    }
    text
}

/// Returns what is documented of `micro`, as a contract in TOML: every port, but those of every eighth server.
pub fn contract() -> String {
    let mut text = String::new();
    for network in 0..NETWORKS {
        for service in [Service::Http, Service::Redis, Service::Postgres, Service::Dns] {
            let (first, count) = service.servers();
            for host in first..first + count {
                let number = network * PER_NETWORK + host;
                let (port, protocol) = (service.port(), if service == Service::Dns { "udp" } else { "tcp" });
                let port = if host % 8 == 7 { 1 } else { port };
                text.push_str(&format!(
                    "[[service]]\nservice = \"bench/s{number}\"\nports = [\"{port}/{protocol}\"]\n\
                     initiators = [\"project:bench\"]\n"
                ));
            }
        }
    }
    text
}

struct File<'w, W> {
    into: &'w mut W,
    frame: [u8; FRAME_MAX],
    truth: Truth,
    microseconds: u64,
}

/// One packet to be written.
#[derive(Clone, Copy)]
struct Segment {
    from: Address,
    to: Address,
    ports: (u16, u16),
    protocol: u8,
    flags: u8,
    numbers: (u32, u32),
    payload: usize,
    /// Bytes the frame has at least.
    least: usize,
}

#[derive(Clone, Copy)]
enum Address {
    V4([u8; 4]),
    V6([u8; 16]),
}

impl<W: Write> File<'_, W> {
    fn header(&mut self) -> io::Result<()> {
        self.into.write_all(&0xa1b2_c3d4_u32.to_le_bytes())?;
        self.into.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
        self.into.write_all(&65_535_u32.to_le_bytes())?;
        self.into.write_all(&1_u32.to_le_bytes())
    }

    fn put(&mut self, segment: &Segment, step: u64) -> io::Result<()> {
        let length = fill(&mut self.frame, segment);
        let (seconds, microseconds) = (self.microseconds / 1_000_000, self.microseconds % 1_000_000);
        self.microseconds += step;
        let captured = u32::try_from(length).unwrap_or(0);
        let stamp = [START_SECONDS + seconds, microseconds].map(|part| u32::try_from(part).unwrap_or(0));
        let record = [stamp[0], stamp[1], captured, captured];
        for field in record {
            self.into.write_all(&field.to_le_bytes())?;
        }
        self.into.write_all(self.frame.get(..length).unwrap_or_default())?;
        self.truth.packets += 1;
        self.truth.bytes += length as u64;
        Ok(())
    }

    fn mix(&mut self, packets: u64, flows: u64, seed: u64, is_imix: bool) -> io::Result<()> {
        let mut random = Random(seed);
        let flows = flows.clamp(1, packets.max(1));
        let mut numbers = vec![[1_u32; 2]; usize::try_from(flows).unwrap_or(0)];
        let mut directions = vec![0_u8; numbers.len()];
        for packet in 0..packets {
            let (flow, side) =
                if packet < flows { (packet, 0) } else { (random.below(flows), random.below(2)) };
            let at = usize::try_from(flow).unwrap_or(0);
            let side = usize::from(side == 1);
            let size = match random.below(12) {
                0..=6 => 60,
                7..=10 if is_imix => 590,
                11 if is_imix => 1_514,
                _ => 60,
            };
            let (Some(numbers), Some(seen)) = (numbers.get_mut(at), directions.get_mut(at)) else { continue };
            *seen |= 1 << side;
            let segment = mixed(flow, side, size, numbers);
            self.put(&segment, 1)?;
        }
        self.truth.biflows = flows;
        self.truth.uniflows = directions.iter().map(|seen| u64::from(seen.count_ones())).sum();
        Ok(())
    }

    fn syn(&mut self, packets: u64, seed: u64) -> io::Result<()> {
        let mut random = Random(seed);
        for packet in 0..packets {
            let [.., b, c, d] = (packet / 1_000).to_be_bytes();
            let host = 2 + u8::try_from(packet % 250).unwrap_or(0);
            let port = 1 + u16::try_from(packet / 250 % 65_535).unwrap_or(0);
            let sequence = u32::try_from(random.next() >> 32).unwrap_or(0);
            let sender_port = 1_024 + u16::try_from(random.below(64_512)).unwrap_or(0);
            let segment = Segment {
                from: Address::V4([10, 64_u8.wrapping_add(b), c, d]),
                to: Address::V4([172, 18, 0, host]),
                ports: (sender_port, port),
                protocol: TCP,
                flags: SYN,
                numbers: (sequence, 0),
                payload: 0,
                least: 60,
            };
            self.put(&segment, 1)?;
        }
        // Sender and target repeat after 250 packets and never with the same port: each is a flow of its own.
        (self.truth.biflows, self.truth.uniflows) = (packets, packets);
        Ok(())
    }

    fn micro(&mut self, packets: u64, seed: u64) -> io::Result<()> {
        let mut random = Random(seed);
        let mut ports = [0_u16; CONTAINERS];
        let mut edges = HashSet::new();
        let mut calls: Vec<Call> = (0..CALLS).map(|_| Call::new(&mut random, &mut ports)).collect();
        for _ in 0..packets {
            let at = usize::try_from(random.below(CALLS)).unwrap_or(0);
            let Some(call) = calls.get_mut(at) else { continue };
            if call.sent == [0; 2] {
                self.truth.biflows += 1;
                edges.insert((call.client, call.server, call.service.port()));
            }
            let (segment, side) = call.next(&mut random);
            if call.sent[side] == 0 {
                self.truth.uniflows += 1;
            }
            call.sent[side] += 1;
            self.put(&segment, 2)?;
            if call.step == Step::Over {
                *call = Call::new(&mut random, &mut ports);
            }
        }
        self.truth.edges = edges.len() as u64;
        Ok(())
    }
}

/// A packet of flow `flow` from its client (side 0) or server; `numbers` go on.
fn mixed(flow: u64, side: usize, size: usize, numbers: &mut [u32; 2]) -> Segment {
    let traits = Random(flow).next();
    let is_v6 = flow % 20 == 19;
    let protocol = if traits % 10 < 3 { UDP } else { TCP };
    let [.., c, d] = flow.to_be_bytes();
    let [.., h, l] = (traits >> 16 & 0x0fff).to_be_bytes();
    let (client, server) = if is_v6 {
        let of = |net: u8, high: u8, low: u8| {
            Address::V6([0xfd, 0, 0, 0, 0, 0, 0, net, 0, 0, 0, 0, 0, 0, high, low])
        };
        (of(1, c, d), of(2, h, l))
    } else {
        (Address::V4([10, 0, c, d]), Address::V4([10, 128, h, l]))
    };
    let client_port = FIRST_CLIENT_PORT + u16::try_from(flow >> 16 & 0x7fff).unwrap_or(0);
    const SERVICES: [u16; 8] = [80, 443, 53, 5_432, 6_379, 8_080, 9_092, 27_017];
    let service = SERVICES[usize::try_from(traits >> 40 & 7).unwrap_or(0)];
    let headers = ETHERNET + if is_v6 { 40 } else { 20 } + if protocol == TCP { 20 } else { 8 };
    let least = if is_v6 { 74 } else { 60 };
    let payload = match (size, protocol) {
        (60, TCP) => 0,
        (60, _) => least - headers,
        (size, _) => size - headers,
    };
    let sent = numbers[side];
    numbers[side] = sent.wrapping_add(u32::try_from(payload).unwrap_or(0));
    let ends = if side == 0 { (client, server) } else { (server, client) };
    let ports = if side == 0 { (client_port, service) } else { (service, client_port) };
    let acknowledged = numbers[1 - side];
    Segment {
        from: ends.0,
        to: ends.1,
        ports,
        protocol,
        flags: ACK,
        numbers: (sent, acknowledged),
        payload,
        least,
    }
}

const CONTAINERS: usize = 200;
const NETWORKS: u64 = 5;
const PER_NETWORK: u64 = 40;
/// Connections open at a time.
const CALLS: u64 = 4_000;

#[derive(Clone, Copy, Eq, PartialEq)]
enum Service {
    Http,
    Redis,
    Postgres,
    Dns,
}

impl Service {
    fn port(self) -> u16 {
        match self {
            Self::Http => 8_080,
            Self::Redis => 6_379,
            Self::Postgres => 5_432,
            Self::Dns => 53,
        }
    }

    /// First of a network's containers that serve it, and how many do.
    fn servers(self) -> (u64, u64) {
        match self {
            Self::Http => (0, 16),
            Self::Redis => (16, 4),
            Self::Postgres => (20, 2),
            Self::Dns => (22, 2),
        }
    }

    fn requests(self, random: &mut Random) -> u64 {
        match self {
            Self::Http => 1 + random.below(4),
            Self::Redis => 50 + random.below(400),
            Self::Postgres => 20 + random.below(200),
            Self::Dns => 1,
        }
    }

    /// Bytes of a request and of its answer.
    fn exchange(self, random: &mut Random) -> (u32, u32) {
        let mut within = |least: u64, span: u64| u32::try_from(least + random.below(span)).unwrap_or(0);
        match self {
            Self::Http => (within(120, 500), within(200, 7_800)),
            Self::Redis => (within(30, 70), within(5, 500)),
            Self::Postgres => (within(60, 300), within(100, 2_000)),
            Self::Dns => (within(30, 40), within(60, 200)),
        }
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Step {
    Syn,
    SynAck,
    Ack,
    Request,
    Answer,
    Acknowledge,
    Fin,
    FinBack,
    LastAck,
    Over,
}

/// A connection under way.
struct Call {
    service: Service,
    client: u64,
    server: u64,
    port: u16,
    numbers: [u32; 2],
    step: Step,
    requests: u64,
    answer: u32,
    /// Packets of client and server so far.
    sent: [u64; 2],
}

impl Call {
    fn new(random: &mut Random, ports: &mut [u16; CONTAINERS]) -> Self {
        let service = match random.below(100) {
            0..=49 => Service::Http,
            50..=57 => Service::Redis,
            58..=63 => Service::Postgres,
            _ => Service::Dns,
        };
        let network = random.below(NETWORKS) * PER_NETWORK;
        let (first, count) = service.servers();
        let server = network + first + random.below(count);
        // Nobody calls himself.
        let client = network + (server - network + 1 + random.below(PER_NETWORK - 1)) % PER_NETWORK;
        let port = ports.get_mut(usize::try_from(client).unwrap_or(0)).map_or(0, |next| {
            *next = next.wrapping_add(1) % 28_000;
            FIRST_CLIENT_PORT + *next
        });
        let first = |random: &mut Random| u32::try_from(random.next() >> 32).unwrap_or(0);
        Self {
            service,
            client,
            server,
            port,
            numbers: [first(random), first(random)],
            step: if service == Service::Dns { Step::Request } else { Step::Syn },
            requests: service.requests(random),
            answer: 0,
            sent: [0; 2],
        }
    }

    /// Returns the next packet and who sends it: 0 is the client.
    fn next(&mut self, random: &mut Random) -> (Segment, usize) {
        let (side, flags, payload, next) = match self.step {
            Step::Syn => (0, SYN, 0, Step::SynAck),
            Step::SynAck => (1, SYN | ACK, 0, Step::Ack),
            Step::Ack => (0, ACK, 0, Step::Request),
            Step::Request => {
                let (request, answer) = self.service.exchange(random);
                (self.requests, self.answer) = (self.requests - 1, answer);
                (0, PSH | ACK, request, Step::Answer)
            }
            Step::Answer => {
                let part = self.answer.min(SEGMENT);
                self.answer -= part;
                let is_dns = self.service == Service::Dns;
                let next = match (self.answer, is_dns) {
                    (0, true) => Step::Over,
                    (0, false) => Step::Acknowledge,
                    _ => Step::Answer,
                };
                (1, PSH | ACK, part, next)
            }
            Step::Acknowledge => (0, ACK, 0, if self.requests > 0 { Step::Request } else { Step::Fin }),
            Step::Fin => (0, FIN | ACK, 0, Step::FinBack),
            Step::FinBack => (1, FIN | ACK, 0, Step::LastAck),
            Step::LastAck | Step::Over => (0, ACK, 0, Step::Over),
        };
        self.step = next;
        let sequence = self.numbers[side];
        let counted = payload + u32::from(flags & (SYN | FIN) != 0);
        self.numbers[side] = sequence.wrapping_add(counted);
        let acknowledged = if flags & ACK == 0 { 0 } else { self.numbers[1 - side] };
        let (client, server) = (container(self.client), container(self.server));
        let port = self.service.port();
        let is_from_client = side == 0;
        let segment = Segment {
            from: if is_from_client { client } else { server },
            to: if is_from_client { server } else { client },
            ports: if is_from_client { (self.port, port) } else { (port, self.port) },
            protocol: if self.service == Service::Dns { UDP } else { TCP },
            flags,
            numbers: (sequence, acknowledged),
            payload: payload as usize,
            least: 60,
        };
        (segment, side)
    }
}

fn container(number: u64) -> Address {
    let network = u8::try_from(number / PER_NETWORK).unwrap_or(0);
    Address::V4([172, 18 + network, 0, 2 + u8::try_from(number % PER_NETWORK).unwrap_or(0)])
}

/// Writes a frame and returns its length.
fn fill(frame: &mut [u8; FRAME_MAX], segment: &Segment) -> usize {
    let transport_header = if segment.protocol == TCP { 20 } else { 8 };
    let transport = transport_header + segment.payload;
    let ip_header = match segment.from {
        Address::V4(_) => 20,
        Address::V6(_) => 40,
    };
    let length = (ETHERNET + ip_header + transport).max(segment.least);
    frame[..ETHERNET + ip_header + transport_header].fill(0);
    let (link, rest) = frame.split_at_mut(ETHERNET);
    let (ip, rest) = rest.split_at_mut(ip_header);
    link[..12].copy_from_slice(&[2, 0x42, 0, 0, 0, 1, 2, 0x42, 0, 0, 0, 2]);
    let short = |value: usize| u16::try_from(value).unwrap_or(0).to_be_bytes();
    match (segment.from, segment.to) {
        (Address::V4(from), Address::V4(to)) => {
            link[12..].copy_from_slice(&[8, 0]);
            ip[0] = 0x45;
            ip[2..4].copy_from_slice(&short(20 + transport));
            ip[6] = 0x40;
            (ip[8], ip[9]) = (64, segment.protocol);
            ip[12..16].copy_from_slice(&from);
            ip[16..20].copy_from_slice(&to);
            let sum = fold(words(ip));
            ip[10..12].copy_from_slice(&(!sum).to_be_bytes());
        }
        (Address::V6(from), Address::V6(to)) => {
            link[12..].copy_from_slice(&[0x86, 0xdd]);
            ip[0] = 0x60;
            ip[4..6].copy_from_slice(&short(transport));
            (ip[6], ip[7]) = (segment.protocol, 64);
            ip[8..24].copy_from_slice(&from);
            ip[24..40].copy_from_slice(&to);
        }
        (Address::V4(_), Address::V6(_)) | (Address::V6(_), Address::V4(_)) => {}
    }
    rest[0..2].copy_from_slice(&segment.ports.0.to_be_bytes());
    rest[2..4].copy_from_slice(&segment.ports.1.to_be_bytes());
    let sum_at = if segment.protocol == TCP {
        rest[4..8].copy_from_slice(&segment.numbers.0.to_be_bytes());
        rest[8..12].copy_from_slice(&segment.numbers.1.to_be_bytes());
        (rest[12], rest[13]) = (0x50, segment.flags);
        rest[14..16].copy_from_slice(&64_240_u16.to_be_bytes());
        16
    } else {
        rest[4..6].copy_from_slice(&short(transport));
        6
    };
    // Payload is zeros and adds nothing.
    let addresses = words(&ip[if ip_header == 20 { 12 } else { 8 }..]);
    let pseudo = u32::from(segment.protocol) + u32::try_from(transport).unwrap_or(0);
    let sum = !fold(addresses + pseudo + words(&rest[..transport_header]));
    // RFC 768: a sum of zero is sent as all ones.
    let sum = if sum == 0 && segment.protocol == UDP { u16::MAX } else { sum };
    rest[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
    length
}

fn words(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum()
}

/// RFC 1071.
fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    u16::try_from((once & 0xffff) + (once >> 16)).unwrap_or(u16::MAX)
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        u64::try_from((u128::from(self.next()) * u128::from(end)) >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use portolan_capture::{MergedFiles, ParseOptions, Polled, Tap, parse};
    use portolan_flowtable::directory::BareDirectory;
    use portolan_flowtable::{FlowTable, InterfaceTable, Limits, Timestamp};

    use super::*;

    fn made(kind: Kind, packets: u64, seed: u64) -> (Vec<u8>, Truth) {
        let mut file = Vec::new();
        let truth = write(kind, packets, packets / 100, seed, &mut file).unwrap();
        (file, truth)
    }

    #[test]
    fn a_capture_is_the_same_for_the_same_seed_and_another_for_another() {
        for kind in Kind::ALL {
            assert_eq!(made(kind, 5_000, SEED), made(kind, 5_000, SEED), "{}", kind.name());
            assert_ne!(made(kind, 5_000, SEED).0, made(kind, 5_000, 7).0, "{}", kind.name());
        }
    }

    #[test]
    fn the_truth_is_what_the_flow_table_finds_and_no_sequence_number_is_amiss() {
        for kind in Kind::ALL {
            let (file, truth) = made(kind, 60_000, SEED);
            let path = std::env::temp_dir().join(format!("{}-{}.pcap", kind.name(), std::process::id()));
            std::fs::write(&path, file).unwrap();
            let mut tap = MergedFiles::open(&[path.display().to_string()]).unwrap();
            let mut table = FlowTable::new(Limits { flows_max: 1 << 17, ..Limits::default() }, 1);
            let mut seen = Vec::new();
            while let Ok(Polled::Frames(_)) = tap.poll(&mut |frame| {
                seen.push(parse(frame, &ParseOptions::default()).unwrap());
            }) {}
            std::fs::remove_file(&path).unwrap();
            table.observe(&seen, &InterfaceTable::plain(), &BareDirectory);
            assert_eq!(table.ledger().metered.frames, truth.packets, "{}", kind.name());
            assert_eq!(table.ledger().metered.bytes, truth.bytes, "{}", kind.name());
            assert_eq!(table.ledger().flows_opened, truth.biflows, "{}", kind.name());
            table.tick(Timestamp(0), None);
            let mut deltas: Vec<portolan_flowtable::Delta> = Vec::new();
            table.drain(&mut deltas);
            let directions = deltas.iter().flat_map(|delta| delta.flow.frames).filter(|frames| *frames > 0);
            assert_eq!(directions.count() as u64, truth.uniflows, "{}", kind.name());
            let amiss = deltas.iter().filter(|delta| {
                delta.flow.retransmissions != [0; 2]
                    || delta.flow.gaps != [0; 2]
                    || delta.flow.unseen != [0; 2]
            });
            assert_eq!(amiss.count(), 0, "{}", kind.name());
        }
    }
}
