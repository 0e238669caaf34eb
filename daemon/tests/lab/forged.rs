//! Frames nobody's kernel would send, made here and sent from within a namespace or a container.

use std::io::{BufWriter, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::namespace::{Namespace, output};

/// Most frames of one test.
const FRAMES_MAX: u64 = 40_000_000;

/// A hardware address.
pub(crate) type Mac = [u8; 6];

/// TCP control bits.
pub(crate) const FIN: u8 = 1;
/// TCP control bits.
pub(crate) const SYN: u8 = 2;
/// TCP control bits.
pub(crate) const RST: u8 = 4;
/// TCP control bits.
pub(crate) const ACK: u8 = 16;

/// An Ethernet frame with IPv4 in it, its sums right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forged {
    /// Hardware addresses: source, destination.
    pub(crate) macs: (Mac, Mac),
    /// Addresses: source, destination.
    pub(crate) addresses: (Ipv4Addr, Ipv4Addr),
    /// Ports: source, destination.
    pub(crate) ports: (u16, u16),
    /// What follows.
    pub(crate) transport: Transport,
}

/// What an IPv4 packet carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    /// A datagram of so many bytes.
    Udp(u16),
    /// A segment without payload: control bits, sequence number, acknowledgment.
    Tcp(u8, u32, u32),
}

impl Forged {
    /// Returns its bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (protocol, segment) = match self.transport {
            Transport::Udp(payload) => {
                let mut datagram = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()].concat();
                datagram.extend((8 + payload).to_be_bytes());
                datagram.extend([0, 0]);
                datagram.resize(8 + usize::from(payload), b'x');
                (17, datagram)
            }
            Transport::Tcp(flags, sequence, acknowledgment) => {
                let mut segment = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()].concat();
                segment.extend(sequence.to_be_bytes());
                segment.extend(acknowledgment.to_be_bytes());
                segment.extend([5 << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
                (6, segment)
            }
        };
        let length = u16::try_from(segment.len()).expect("a short segment");
        let ends = [self.addresses.0.octets(), self.addresses.1.octets()].concat();
        let mut packet = vec![0x45, 0];
        packet.extend((20 + length).to_be_bytes());
        packet.extend([0, 1, 0, 0, 64, protocol, 0, 0]);
        packet.extend(&ends);
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum);
        let pseudo = [&ends[..], &[0, protocol], &length.to_be_bytes(), &segment].concat();
        let mut segment = segment;
        let at = if protocol == 6 { 16 } else { 6 };
        segment[at..at + 2].copy_from_slice(&checksum(&pseudo));
        [&self.macs.1[..], &self.macs.0, &[8, 0], &packet, &segment].concat()
    }

    /// Returns its bytes with a wrong sum in the IPv4 header.
    pub(crate) fn with_bad_ip_sum(&self) -> Vec<u8> {
        let mut bytes = self.bytes();
        bytes[14 + 10] ^= 0x5a;
        bytes
    }

    /// Returns its bytes with a wrong sum in the TCP header.
    pub(crate) fn with_bad_tcp_sum(&self) -> Vec<u8> {
        let mut bytes = self.bytes();
        bytes[14 + 20 + 16] ^= 0x5a;
        bytes
    }
}

/// Reads a hardware address as `ip` and Docker write it.
pub(crate) fn mac(text: &str) -> Mac {
    let bytes: Vec<u8> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("two hexadecimal digits")).collect();
    bytes.try_into().unwrap_or_else(|_| panic!("no hardware address: {text:?}"))
}

/// Sends frames from the interface `eth0` of a namespace; returns how many.
pub(crate) fn inject<F: AsRef<[u8]>>(from: &Namespace, frames: impl IntoIterator<Item = F>) -> u64 {
    inject_at(from, "eth0", frames)
}

/// Sends frames from an interface of a namespace; returns how many.
pub(crate) fn inject_at<F: AsRef<[u8]>>(
    from: &Namespace,
    interface: &str,
    frames: impl IntoIterator<Item = F>,
) -> u64 {
    let mut command = from.command(peer());
    inject_by(command.args(["inject", interface]), frames)
}

/// Sends frames by a command that runs the peer's `inject`; returns how many.
pub(crate) fn inject_by<F: AsRef<[u8]>>(command: &mut Command, frames: impl IntoIterator<Item = F>) -> u64 {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the peer starts");
    let mut given = 0;
    {
        let mut pipe = BufWriter::with_capacity(1 << 16, child.stdin.take().expect("a pipe"));
        for frame in frames {
            let frame = frame.as_ref();
            given += 1;
            assert!(given <= FRAMES_MAX, "at most {FRAMES_MAX} frames");
            let length = u16::try_from(frame.len()).expect("a short frame");
            pipe.write_all(&length.to_be_bytes()).and_then(|()| pipe.write_all(frame)).expect("it reads");
        }
        pipe.flush().expect("it reads");
    }
    let ended = child.wait_with_output().expect("a child of ours");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    let sent = said.split('\t').nth(2).and_then(|number| number.parse().ok()).expect("a line of counts");
    assert_eq!(given, sent, "frames given and sent");
    sent
}

/// Returns the peer's program, compiled once.
pub(crate) fn peer() -> &'static Path {
    static PEER: OnceLock<PathBuf> = OnceLock::new();
    PEER.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/peer.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (made, peer) = (folder.join(format!("peer-{}", std::process::id())), folder.join("peer"));
        let options = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-o"];
        output(Command::new("cc").args(options).arg(&made).arg(source));
        // Another test process may run the one that was there.
        std::fs::rename(&made, &peer).expect("a file of ours");
        peer
    })
}

/// RFC 1071.
pub(crate) fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(!sum & 0xffff).expect("16 bits").to_be_bytes()
}
