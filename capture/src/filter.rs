//! The kernel's filter on the live socket: which interfaces it leaves out, and how much it keeps of each frame.
//!
//! It names what to drop, never veths or bridges: an interface that appears a moment later must not be missed.
//!
//! # Sources
//!
//! linux/filter.h for the ancillary loads; the socket is cooked, so that nothing but these tells interfaces apart.

use portolan_flowtable::InterfaceId;
use portolan_sys::FilterInstruction;

/// What the kernel filter lets through.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FilterPlan {
    /// Bytes kept of each frame, from its network header on.
    pub snaplen: u32,
    /// The one interface to hear; `None` for all.
    pub only: Option<InterfaceId>,
    /// Interfaces to leave out: the loopback, NICs that were denied. At most [`FilterPlan::DROPPED_MAX`] of them
    /// fit into a program; frames of further ones pass, and the flow table's interface table tells them apart.
    pub dropped: Vec<InterfaceId>,
    /// Whether to leave out what the host or a bridge sends, and hear only what comes in.
    pub incoming_only: bool,
}

/// Load a word of the packet, or ancillary data (`BPF_LD | BPF_W | BPF_ABS`).
const LOAD: u16 = 0x20;
/// Compare with the operand (`BPF_JMP | BPF_JEQ | BPF_K`).
const JUMP_IF_EQUAL: u16 = 0x15;
/// Keep so many bytes (`BPF_RET | BPF_K`).
const RETURN: u16 = 0x06;

/// Where ancillary data begins: `SKF_AD_OFF`, -0x1000.
const ANCILLARY: u32 = 0xffff_f000;
/// `SKF_AD_PKTTYPE`.
const PACKET_TYPE: u32 = ANCILLARY + 4;
/// `SKF_AD_IFINDEX`.
const INTERFACE_INDEX: u32 = ANCILLARY + 8;
/// `PACKET_OUTGOING`.
const OUTGOING: u32 = 4;

impl FilterPlan {
    /// Interfaces one program can leave out; two instructions each.
    pub const DROPPED_MAX: usize = 2_000;

    /// Keeps `snaplen` bytes of every frame of every interface.
    pub fn everything(snaplen: u32) -> Self {
        Self { snaplen, only: None, dropped: Vec::new(), incoming_only: false }
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
        program.push(keep(self.snaplen));
        program
    }
}

/// A program that drops every frame, for settlement.
pub fn nothing() -> Vec<FilterInstruction> {
    vec![keep(0)]
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
            only,
            dropped: dropped.iter().copied().map(InterfaceId).collect(),
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
                run(&plan.program(), interface, packet_type),
                kept,
                "{plan:?} {interface} {packet_type}"
            );
        }
        assert_eq!(run(&nothing(), 1, 0), 0);
    }

    #[test]
    fn a_program_never_exceeds_what_the_kernel_takes() {
        let mut plan = FilterPlan::everything(64);
        plan.dropped = (0..10_000).map(InterfaceId).collect();
        assert!(plan.program().len() <= portolan_sys::INSTRUCTIONS_MAX);
        assert_eq!(run(&plan.program(), 1_999, 0), 0);
        assert_eq!(run(&plan.program(), 2_000, 0), 64);
    }

    /// Runs a program of loads, comparisons and returns as the kernel would.
    fn run(program: &[FilterInstruction], interface: u32, packet_type: u32) -> u32 {
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            match (step.code, step.operand) {
                (LOAD, INTERFACE_INDEX) => accumulator = interface,
                (LOAD, PACKET_TYPE) => accumulator = packet_type,
                (JUMP_IF_EQUAL, value) if value == accumulator => at += usize::from(step.jump_true),
                (JUMP_IF_EQUAL, _) => at += usize::from(step.jump_false),
                (RETURN, bytes) => return bytes,
                other => panic!("{other:?}"),
            }
        }
    }
}
