//! The kernel's filter on the live socket: which interfaces it leaves out, and how much it keeps of each frame.
//!
//! It names what to drop, never what to keep: an interface that appears a moment later must not be missed.
//!
//! # Sources
//!
//! linux/filter.h for the ancillary loads; the socket is cooked, so that nothing but these tells interfaces apart, and
//! a packet begins with its network header (net/packet/af_packet.c). IPv4: RFC 791; IPv6: RFC 8200.

use std::collections::BTreeSet;

use portolan_flowtable::InterfaceId;
use portolan_sys::FilterInstruction;

/// What the kernel filter lets through.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FilterPlan {
    /// Bytes kept of each frame, from its network header on.
    pub snaplen: u32,
    /// Bytes kept of TCP and UDP from or to port 53, where that is more: names stand behind the headers. Later
    /// fragments and packets with IPv6 extension headers are kept like any other.
    pub dns_snaplen: u32,
    /// The one interface to hear; `None` for all.
    pub only: Option<InterfaceId>,
    /// Interfaces to leave out: the loopback, NICs that were denied. At most [`FilterPlan::DROPPED_MAX`] of them
    /// fit into a program; frames of further ones pass, and the flow table's interface table tells them apart.
    pub dropped: Vec<InterfaceId>,
    /// Interfaces that lead to a container each: what goes out by them was counted where it came in, and of it only
    /// TCP's SYNs are heard, which tell that they were delivered. At most [`FilterPlan::RECEIVERS_MAX`] fit; all that
    /// goes out by further ones passes, and the flow table tells it apart.
    pub receivers: Vec<InterfaceId>,
    /// Whether to leave out what the host or a bridge sends, and hear only what comes in.
    pub incoming_only: bool,
}

/// Load a word of the packet, or ancillary data (`BPF_LD | BPF_W | BPF_ABS`).
const LOAD: u16 = 0x20;
/// Compare with the operand (`BPF_JMP | BPF_JEQ | BPF_K`).
const JUMP_IF_EQUAL: u16 = 0x15;
/// Compare with the operand (`BPF_JMP | BPF_JGT | BPF_K`).
const JUMP_IF_GREATER: u16 = 0x25;
/// Compare bits with the operand (`BPF_JMP | BPF_JSET | BPF_K`).
const JUMP_IF_SET: u16 = 0x45;
/// Load the packet's length (`BPF_LD | BPF_W | BPF_LEN`).
const LOAD_LENGTH: u16 = 0x80;
/// Load a byte of the packet (`BPF_LD | BPF_B | BPF_ABS`).
const LOAD_BYTE: u16 = 0x30;
/// Load two bytes of the packet (`BPF_LD | BPF_H | BPF_ABS`).
const LOAD_HALF: u16 = 0x28;
/// Load two bytes from the index register on (`BPF_LD | BPF_H | BPF_IND`).
const LOAD_HALF_FROM: u16 = 0x48;
/// Load a byte from the index register on (`BPF_LD | BPF_B | BPF_IND`).
const LOAD_BYTE_FROM: u16 = 0x50;
/// Go so many instructions on (`BPF_JMP | BPF_JA`).
const JUMP: u16 = 0x05;
/// Keep these bits of what was loaded (`BPF_ALU | BPF_AND | BPF_K`).
const AND: u16 = 0x54;
/// Put an IPv4 header's length into the index register (`BPF_LDX | BPF_B | BPF_MSH`).
const INDEX_HEADER_LENGTH: u16 = 0xb1;
/// Keep so many bytes (`BPF_RET | BPF_K`).
const RETURN: u16 = 0x06;

/// Where ancillary data begins: `SKF_AD_OFF`, -0x1000.
const ANCILLARY: u32 = 0xffff_f000;
/// `SKF_AD_PROTOCOL`: the ethertype.
const ETHERTYPE: u32 = ANCILLARY;
/// `SKF_AD_PKTTYPE`.
const PACKET_TYPE: u32 = ANCILLARY + 4;
/// `SKF_AD_IFINDEX`.
const INTERFACE_INDEX: u32 = ANCILLARY + 8;
/// `PACKET_OUTGOING`.
const OUTGOING: u32 = 4;
const ETHERTYPE_IPV4: u32 = 0x0800;
const ETHERTYPE_IPV6: u32 = 0x86dd;
const ETHERTYPE_ARP: u32 = 0x0806;
const UDP: u32 = 17;
const TCP: u32 = 6;
const ICMPV6: u32 = 58;
/// SYN and ACK, octet 13 of a TCP header.
const SYN_AND_ACK: u32 = 0x12;
const SYN: u32 = 0x02;
const DNS: u32 = 53;
/// The longest IPv4 header and four bytes of ports. A load behind a packet's end would drop the frame unseen: of
/// packets this short nothing is loaded.
const LOADED_BYTES: u32 = 64;

impl FilterPlan {
    /// Interfaces one program can leave out; two instructions each.
    pub const DROPPED_MAX: usize = 1_500;

    /// Interfaces that [`FilterPlan::receivers`] may name: their program has to find room, beside the one it replaces, in
    /// what the kernel gives a socket for options (`net.core.optmem_max`, 20 KiB before Linux 6.7).
    pub const RECEIVERS_MAX: usize = 256;

    /// Bytes kept of port 53 by default: what resolvers are told to send at most is less (RFC 6891, section 6.2.5), and
    /// a sender who puts bulk data on this port must not fill the ring with it.
    pub const DNS_SNAPLEN: u32 = 4_096;

    /// Keeps `snaplen` bytes of every frame of every interface.
    pub fn everything(snaplen: u32) -> Self {
        Self {
            snaplen,
            dns_snaplen: 0,
            only: None,
            dropped: Vec::new(),
            receivers: Vec::new(),
            incoming_only: false,
        }
    }

    /// Writes the program.
    pub fn program(&self) -> Vec<FilterInstruction> {
        let mut program = Vec::new();
        if self.incoming_only {
            program.push(load(PACKET_TYPE));
            program.extend(drop_if(OUTGOING));
        }
        program.push(load(INTERFACE_INDEX));
        if let Some(only) = self.only {
            program.extend(drop_unless(only.0));
        }
        for dropped in self.dropped.iter().take(Self::DROPPED_MAX) {
            program.extend(drop_if(dropped.0));
        }
        let receivers = self.receivers.iter().take(Self::RECEIVERS_MAX).map(|interface| interface.0);
        program.extend(drop_delivered(&receivers.collect()));
        if self.dns_snaplen > self.snaplen {
            program.extend(keep_names(self.snaplen, self.dns_snaplen));
        }
        program.push(keep(self.snaplen));
        program
    }
}

/// Drops what goes out by one of these interfaces, but SYNs of TCP and what it has no words for, and leaves everything
/// else to the instruction behind.
fn drop_delivered(receivers: &BTreeSet<u32>) -> Vec<FilterInstruction> {
    if receivers.is_empty() {
        return Vec::new();
    }
    let step =
        |code, operand, jump_true, jump_false| FilterInstruction { code, jump_true, jump_false, operand };
    // A jump counts from the instruction behind it: 18 drops, 19 stands behind these. A load behind a packet's end drops
    // the frame as well.
    let telling = [
        load(ETHERTYPE),
        step(JUMP_IF_EQUAL, ETHERTYPE_IPV4, 10 - 2, 0),
        step(JUMP_IF_EQUAL, ETHERTYPE_IPV6, 4 - 3, 0),
        step(JUMP_IF_EQUAL, ETHERTYPE_ARP, 18 - 4, 19 - 4),
        step(LOAD_BYTE, 6, 0, 0),
        step(JUMP_IF_EQUAL, TCP, 8 - 6, 0),
        step(JUMP_IF_EQUAL, UDP, 18 - 7, 0),
        step(JUMP_IF_EQUAL, ICMPV6, 18 - 8, 19 - 8),
        step(LOAD_BYTE, 40 + 13, 0, 0),
        jump(16 - 10),
        step(LOAD_BYTE, 9, 0, 0),
        step(JUMP_IF_EQUAL, TCP, 0, 18 - 12),
        // A later fragment has no flags.
        step(LOAD_HALF, 6, 0, 0),
        step(JUMP_IF_SET, 0x1fff, 18 - 14, 0),
        step(INDEX_HEADER_LENGTH, 0, 0, 0),
        step(LOAD_BYTE_FROM, 13, 0, 0),
        step(AND, SYN_AND_ACK, 0, 0),
        step(JUMP_IF_EQUAL, SYN, 19 - 18, 0),
        keep(0),
    ];
    let sorted: Vec<u32> = receivers.iter().copied().collect();
    let among = among(&sorted, 0, telling.len());
    let mut program = vec![
        load(PACKET_TYPE),
        step(JUMP_IF_EQUAL, OUTGOING, 1, 0),
        jump(1 + among.len() + telling.len()),
        load(INTERFACE_INDEX),
    ];
    program.extend(among);
    program.extend(telling);
    program
}

/// Goes on `found` instructions behind its own last one where the loaded number is one of `sorted`, `other` where it is
/// not: halves the list as long as it is long, as comparing each by each would cost every frame of a large host.
fn among(sorted: &[u32], found: usize, other: usize) -> Vec<FilterInstruction> {
    /// Numbers compared one by one.
    const LEAF: usize = 8;
    let step =
        |code, operand, jump_true, jump_false| FilterInstruction { code, jump_true, jump_false, operand };
    let (lower, upper) = sorted.split_at(sorted.len() / 2);
    let (Some(least), true) = (upper.first(), sorted.len() > LEAF) else {
        let mut program = Vec::new();
        for (number, after) in sorted.iter().zip((0..sorted.len()).rev()) {
            program.push(step(JUMP_IF_EQUAL, *number, u8::try_from(after + 1).unwrap_or(u8::MAX), 0));
        }
        program.extend([jump(other + 1), jump(found)]);
        return program;
    };
    let upper = among(upper, found, other);
    let lower = among(lower, found + upper.len(), other + upper.len());
    let mut program = vec![step(JUMP_IF_GREATER, least.saturating_sub(1), 0, 1), jump(lower.len())];
    program.extend(lower);
    program.extend(upper);
    program
}

/// Keeps more of port 53 and leaves everything else to the instruction behind.
fn keep_names(snaplen: u32, dns_snaplen: u32) -> [FilterInstruction; 23] {
    let step =
        |code, operand, jump_true, jump_false| FilterInstruction { code, jump_true, jump_false, operand };
    // A jump counts from the instruction behind it: 22 is the end of these but one, 23 what stands behind them.
    [
        // What is kept whole anyway needs no look: that is most of all packets.
        step(LOAD_LENGTH, 0, 0, 0),
        step(JUMP_IF_GREATER, snaplen.max(LOADED_BYTES), 0, 23 - 2),
        load(ETHERTYPE),
        step(JUMP_IF_EQUAL, ETHERTYPE_IPV4, 0, 14 - 4),
        step(LOAD_BYTE, 9, 0, 0),
        step(JUMP_IF_EQUAL, UDP, 1, 0),
        step(JUMP_IF_EQUAL, TCP, 0, 23 - 7),
        // A later fragment has no ports.
        step(LOAD_HALF, 6, 0, 0),
        step(JUMP_IF_SET, 0x1fff, 23 - 9, 0),
        step(INDEX_HEADER_LENGTH, 0, 0, 0),
        step(LOAD_HALF_FROM, 0, 0, 0),
        step(JUMP_IF_EQUAL, DNS, 22 - 12, 0),
        step(LOAD_HALF_FROM, 2, 0, 0),
        step(JUMP_IF_EQUAL, DNS, 22 - 14, 23 - 14),
        step(JUMP_IF_EQUAL, ETHERTYPE_IPV6, 0, 23 - 15),
        step(LOAD_BYTE, 6, 0, 0),
        step(JUMP_IF_EQUAL, UDP, 1, 0),
        step(JUMP_IF_EQUAL, TCP, 0, 23 - 18),
        step(LOAD_HALF, 40, 0, 0),
        step(JUMP_IF_EQUAL, DNS, 22 - 20, 0),
        step(LOAD_HALF, 42, 0, 0),
        step(JUMP_IF_EQUAL, DNS, 0, 1),
        keep(dns_snaplen),
    ]
}

/// A program that drops every frame, for settlement.
pub fn nothing() -> Vec<FilterInstruction> {
    vec![keep(0)]
}

fn jump(instructions: usize) -> FilterInstruction {
    let operand = u32::try_from(instructions).unwrap_or(u32::MAX);
    FilterInstruction { code: JUMP, jump_true: 0, jump_false: 0, operand }
}

fn load(from: u32) -> FilterInstruction {
    FilterInstruction { code: LOAD, jump_true: 0, jump_false: 0, operand: from }
}

fn drop_if(value: u32) -> [FilterInstruction; 2] {
    [FilterInstruction { code: JUMP_IF_EQUAL, jump_true: 0, jump_false: 1, operand: value }, keep(0)]
}

fn drop_unless(value: u32) -> [FilterInstruction; 2] {
    [FilterInstruction { code: JUMP_IF_EQUAL, jump_true: 1, jump_false: 0, operand: value }, keep(0)]
}

fn keep(bytes: u32) -> FilterInstruction {
    FilterInstruction { code: RETURN, jump_true: 0, jump_false: 0, operand: bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_keeps_what_the_plan_says() {
        let one = InterfaceId(1);
        let plan = |only, dropped: &[u32], incoming_only| FilterPlan {
            snaplen: 256,
            dns_snaplen: 0,
            only,
            dropped: dropped.iter().copied().map(InterfaceId).collect(),
            receivers: Vec::new(),
            incoming_only,
        };
        #[rustfmt::skip]
        let cases = [
            // plan                          interface  packet type  kept
            (plan(None, &[], false),         7,         4,           256),
            (plan(None, &[1, 5], false),     7,         0,           256),
            (plan(None, &[1, 5], false),     1,         0,           0),
            (plan(None, &[1, 5], false),     5,         0,           0),
            (plan(Some(one), &[], false),    1,         4,           256),
            (plan(Some(one), &[], false),    2,         0,           0),
            (plan(None, &[], true),          2,         4,           0),
            (plan(None, &[], true),          2,         3,           256),
        ];
        for (plan, interface, packet_type, kept) in cases {
            assert_eq!(
                run(&plan.program(), interface, packet_type, (0, &[])),
                kept,
                "{plan:?} {interface} {packet_type}"
            );
        }
        assert_eq!(run(&nothing(), 1, 0, (0, &[])), 0);
    }

    #[test]
    fn a_program_never_exceeds_what_the_kernel_takes() {
        let mut plan = FilterPlan::everything(64);
        plan.dropped = (0..10_000).map(InterfaceId).collect();
        plan.receivers = (20_000..30_000).map(InterfaceId).collect();
        plan.dns_snaplen = 4_096;
        assert!(plan.program().len() <= portolan_sys::INSTRUCTIONS_MAX, "{}", plan.program().len());
        assert_eq!(run(&plan.program(), 1_499, 0, (0, &[])), 0);
        assert_eq!(run(&plan.program(), 1_500, 0, (0, &[])), 64);
    }

    #[test]
    fn of_what_goes_to_a_container_syns_alone_are_heard() {
        let tcp = |v6: bool, words: usize, flags: u8, fragment: u16| {
            let mut packet = vec![0; 100];
            let header_bytes = if v6 { 40 } else { words * 4 };
            packet[0] = u8::try_from(words).unwrap();
            packet[if v6 { 6 } else { 9 }] = 6;
            if !v6 {
                packet[6..8].copy_from_slice(&fragment.to_be_bytes());
            }
            packet[header_bytes + 13] = flags;
            (if v6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 }, packet)
        };
        let other = |ethertype: u32, at: usize, protocol: u8| {
            let mut packet = vec![0x02; 100];
            packet[at] = protocol;
            (ethertype, packet)
        };
        #[rustfmt::skip]
        let cases = [
            // packet                       heard
            (tcp(false, 5, 0x02, 0),        true),
            (tcp(false, 15, 0x02, 0x4000),  true),
            (tcp(false, 5, 0xc2, 0),        true), // with ECN (RFC 3168)
            (tcp(true, 0, 0x02, 0),         true),
            (tcp(false, 5, 0x12, 0),        false),
            (tcp(false, 5, 0x10, 0),        false),
            (tcp(false, 5, 0x04, 0),        false),
            (tcp(false, 5, 0x02, 0x2001),   false),
            (tcp(true, 0, 0x10, 0),         false),
            (other(ETHERTYPE_IPV4, 9, 17),  false),
            (other(ETHERTYPE_IPV4, 9, 1),   false),
            (other(ETHERTYPE_IPV6, 6, 17),  false),
            (other(ETHERTYPE_IPV6, 6, 58),  false),
            (other(ETHERTYPE_IPV6, 6, 0),   true), // behind extension headers it may be anything
            (other(ETHERTYPE_ARP, 0, 0),    false),
            (other(0x8100, 0, 0),           true),
        ];
        for count in [1, 2, 8, 9, 17, 100, 256] {
            let receivers: BTreeSet<u32> = (0..count).map(|number| 7 + 3 * number).collect();
            let plan = FilterPlan {
                dns_snaplen: 4_096,
                dropped: vec![InterfaceId(1)],
                receivers: receivers.iter().copied().map(InterfaceId).collect(),
                ..FilterPlan::everything(256)
            };
            let program = plan.program();
            for ((ethertype, packet), is_heard) in &cases {
                for interface in 1..3 * count + 20 {
                    let run = |packet_type| run(&program, interface, packet_type, (*ethertype, packet));
                    let kept = if interface == 1 { 0 } else { 256 };
                    assert_eq!(run(0), kept, "{interface} {packet:?}");
                    let kept = if receivers.contains(&interface) && !is_heard { 0 } else { kept };
                    assert_eq!(run(OUTGOING), kept, "{count} {interface} {ethertype:x} {packet:?}");
                }
            }
        }
    }

    #[test]
    fn port_53_alone_is_kept_at_length_and_no_load_leaves_a_packet() {
        let plan = FilterPlan { dns_snaplen: 4_096, ..FilterPlan::everything(64) };
        let v4 = |protocol: u8, words: usize, fragment: u16, ports: [u16; 2]| {
            let mut packet = vec![0; 80];
            packet[0] = 0x40 | u8::try_from(words).unwrap();
            packet[6..8].copy_from_slice(&fragment.to_be_bytes());
            packet[9] = protocol;
            packet[words * 4..words * 4 + 2].copy_from_slice(&ports[0].to_be_bytes());
            packet[words * 4 + 2..words * 4 + 4].copy_from_slice(&ports[1].to_be_bytes());
            (ETHERTYPE_IPV4, packet)
        };
        let v6 = |protocol: u8, ports: [u16; 2]| {
            let mut packet = vec![0; 80];
            packet[6] = protocol;
            packet[40..42].copy_from_slice(&ports[0].to_be_bytes());
            packet[42..44].copy_from_slice(&ports[1].to_be_bytes());
            (ETHERTYPE_IPV6, packet)
        };
        #[rustfmt::skip]
        let cases = [
            // packet                            kept
            (v4(17, 5, 0, [53, 40_000]),         4_096),
            (v4(17, 5, 0x4000, [40_000, 53]),    4_096),
            (v4(6, 15, 0, [40_000, 53]),         4_096),
            (v4(6, 15, 0, [53, 40_000]),         4_096),
            (v4(17, 5, 0x2000, [53, 40_000]),    4_096), // the first fragment
            (v4(17, 5, 0x2001, [53, 40_000]),    64),
            (v4(17, 5, 0, [54, 40_000]),         64),
            (v4(132, 5, 0, [53, 40_000]),        64),
            (v6(17, [53, 40_000]),               4_096),
            (v6(6, [40_000, 53]),                4_096),
            (v6(58, [53, 53]),                   64),
            (v6(17, [54, 52]),                   64),
            ((0x0806, vec![53; 80]),             64),
        ];
        for ((ethertype, packet), kept) in cases {
            assert_eq!(run(&plan.program(), 7, 0, (ethertype, &packet)), kept, "{ethertype:x} {packet:?}");
            // The kernel drops a frame of which more is loaded than there is; `run` panics.
            for length in 0..packet.len() {
                run(&plan.program(), 7, 0, (ethertype, &packet[..length]));
            }
        }
        let off = FilterPlan { dns_snaplen: 64, ..FilterPlan::everything(64) };
        assert_eq!(off.program(), FilterPlan::everything(64).program());
    }

    /// Runs a program as the kernel would. Panics where the kernel would drop the frame for a load behind its end.
    fn run(
        program: &[FilterInstruction],
        interface: u32,
        packet_type: u32,
        (ethertype, packet): (u32, &[u8]),
    ) -> u32 {
        let (mut accumulator, mut index, mut at) = (0, 0, 0);
        let half = |at: usize| u32::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
        loop {
            let step = program[at];
            at += 1;
            let mut jump =
                |is_true| at += usize::from(if is_true { step.jump_true } else { step.jump_false });
            match (step.code, step.operand) {
                (LOAD, INTERFACE_INDEX) => accumulator = interface,
                (LOAD, PACKET_TYPE) => accumulator = packet_type,
                (LOAD, ETHERTYPE) => accumulator = ethertype,
                (LOAD_LENGTH, _) => accumulator = u32::try_from(packet.len()).unwrap(),
                (LOAD_BYTE, offset) => accumulator = u32::from(packet[offset as usize]),
                (LOAD_HALF, offset) => accumulator = half(offset as usize),
                (LOAD_HALF_FROM, offset) => accumulator = half(index + offset as usize),
                (INDEX_HEADER_LENGTH, offset) => index = usize::from(packet[offset as usize] & 0xf) * 4,
                (JUMP_IF_EQUAL, value) => jump(accumulator == value),
                (JUMP_IF_GREATER, value) => jump(accumulator > value),
                (LOAD_BYTE_FROM, offset) => accumulator = u32::from(packet[index + offset as usize]),
                (AND, bits) => accumulator &= bits,
                (JUMP, instructions) => at += instructions as usize,
                (JUMP_IF_SET, value) => jump(accumulator & value != 0),
                (RETURN, bytes) => return bytes,
                other => panic!("{other:?}"),
            }
        }
    }
}
