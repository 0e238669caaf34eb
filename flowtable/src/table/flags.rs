//! What a row keeps in bits: answers of few kinds.

use crate::directory::{AttachmentId, Holder};
use crate::flow::{Claim, InitiatorEvidence, Outcome};

/// Places of what a row's flags hold, and how many bits each takes.
pub(super) mod place {
    pub(in crate::table) const BESIDE: (u32, u32) = (0, 2);
    pub(in crate::table) const EVIDENCE: (u32, u32) = (2, 3);
    pub(in crate::table) const CLAIM: (u32, u32) = (5, 2);
    pub(in crate::table) const OUTCOME: (u32, u32) = (7, 3);
    pub(in crate::table) const HOLDERS: [(u32, u32); 2] = [(10, 3), (13, 3)];
    pub(in crate::table) const INITIATOR: (u32, u32) = (16, 1);
    pub(in crate::table) const FIRST_SENDER: (u32, u32) = (17, 1);
    pub(in crate::table) const MIDSTREAM: (u32, u32) = (18, 1);
    pub(in crate::table) const DELIVERED: (u32, u32) = (19, 1);
    pub(in crate::table) const TUNNEL: (u32, u32) = (20, 1);
    pub(in crate::table) const EXPECTS_DELIVERY: (u32, u32) = (21, 1);
    /// The protocol is TCP, whatever stands beside.
    pub(in crate::table) const TCP: (u32, u32) = (22, 1);
    /// Type and code of ICMP are known.
    pub(in crate::table) const ICMP: (u32, u32) = (23, 1);
    /// The history of a flow whose type of ICMP is known is a flip.
    pub(in crate::table) const FLIPPED: (u32, u32) = (24, 1);
    /// One SYN is all there was, and its number stands in its row beside.
    pub(in crate::table) const SYN: (u32, u32) = (25, 1);
    /// The first SYN's number is the initiator's first.
    pub(in crate::table) const SYN_NUMBER: (u32, u32) = (26, 1);
    /// The first SYN was the first frame, and may be measured from.
    pub(in crate::table) const SYN_TIMED: (u32, u32) = (27, 1);
    /// The SYN-ACK waits to be acknowledged: the second of the times is when it came, from the first frame on.
    pub(in crate::table) const WAITS: (u32, u32) = (28, 1);
    /// The slot stands in the list of changed ones, be it for a flow that has ended since.
    pub(in crate::table) const CHANGED: (u32, u32) = (29, 1);
}

pub(super) fn put((shift, _): (u32, u32), number: u32) -> u32 {
    number << shift
}

pub(super) const EVIDENCE: [InitiatorEvidence; 6] = [
    InitiatorEvidence::Handshake,
    InitiatorEvidence::SynAck,
    InitiatorEvidence::Exchange,
    InitiatorEvidence::KnownListener,
    InitiatorEvidence::Port,
    InitiatorEvidence::FirstSender,
];
pub(super) const CLAIMS: [Claim; 4] = [Claim::Own, Claim::Spoofed, Claim::Unlisted, Claim::Backscatter];
pub(super) const OUTCOMES: [Outcome; 5] =
    [Outcome::Pending, Outcome::Answered, Outcome::Refused, Outcome::Unanswered, Outcome::Blocked];

pub(super) fn holder_kind(holder: Holder) -> u32 {
    match holder {
        Holder::Attachment(_) => 0,
        Holder::Host => 1,
        Holder::External => 2,
        Holder::Unclaimed => 3,
        Holder::Group => 4,
        Holder::Ambiguous => 5,
        Holder::Bare => 6,
    }
}

pub(super) fn holder(kind: u32, attachment: u32) -> Holder {
    match kind {
        0 => Holder::Attachment(AttachmentId(attachment)),
        1 => Holder::Host,
        2 => Holder::External,
        3 => Holder::Unclaimed,
        4 => Holder::Group,
        5 => Holder::Ambiguous,
        _ => Holder::Bare,
    }
}
