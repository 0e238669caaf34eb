//! The long way of a packet: into both parts of a flow, while they are worked on.

use super::metering::{Metering, Sender};
use super::slot::{Cold, Hot};
use crate::directory::{Directory, Holder, ScopeId};
use crate::flow::{End, InitiatorEvidence, Outcome, Side};
use crate::progress;
use crate::sequence;
use crate::units::{Protocol, Timestamp};

/// What a packet that went the long way came to.
pub(super) struct Folded {
    /// Whether the slot stood in the list of dirty ones.
    pub(super) was_dirty: bool,
    /// Who accepted a connection by it.
    pub(super) accepted: Option<(ScopeId, End, Protocol)>,
}

/// Reads a packet into a flow: counters, control bits, answers, evidence. `at` is engine time, `frame` its number above
/// the table's base.
pub(super) fn fold(
    hot: &mut Hot,
    cold: &mut Cold,
    side: Side,
    metering: &Metering<'_>,
    at: Timestamp,
    frame: u32,
) -> Folded {
    let was_dirty = hot.count_or_spill(cold, side, metering.seen.wire_bytes, at, frame);
    cold.flow.is_tunnel |= metering.packet.is_tunnel;
    let (before, believed) = (cold.flow.outcome, cold.flow.initiator);
    hot.state = progress::advance(hot.state, cold, side, metering.packet, metering.seen.at);
    if cold.flow.initiator != believed {
        cold.flow.history.flip();
    }
    sequence::read(&mut hot.expected(), &mut cold.numbers, &mut cold.flow, side, metering.packet);
    let became_answered = before != Outcome::Answered && cold.flow.outcome == Outcome::Answered;
    let accepted = (became_answered && cold.flow.evidence == InitiatorEvidence::Handshake)
        .then(|| (cold.flow.scope, *cold.flow.responder_end(), cold.flow.protocol));
    Folded { was_dirty, accepted }
}

/// Holds the flow's ends against the sender's veth and against the directory where its epoch moved. An end nobody could
/// name takes the name; an end that became another makes another flow.
pub(super) fn keeps_its_ends(
    hot: &mut Hot,
    cold: &mut Cold,
    side: Side,
    metering: &Metering<'_>,
    directory: &impl Directory,
) -> bool {
    let known = &mut hot.attachments[side.index()];
    match metering.sender {
        Sender::Veth { attachment, .. } if *known == 0 => {
            *known = attachment.0;
            cold.flow.ends[side.index()].holder = Holder::Attachment(attachment);
        }
        Sender::Veth { attachment, .. } if *known != attachment.0 => return false,
        // A container used an address of the outside, and here comes the outside itself.
        Sender::Bridge
            if *known != 0
                && directory.holder(metering.scope, metering.packet.source) == Holder::External =>
        {
            return false;
        }
        Sender::Veth { .. } | Sender::Bridge | Sender::Unknown => {}
    }
    let epoch = directory.epoch();
    if hot.epoch == epoch {
        return true;
    }
    hot.epoch = epoch;
    let mut keeps = |side: Side| {
        let end = &mut cold.flow.ends[side.index()];
        let holder = directory.holder(metering.scope, end.address);
        match (end.holder, holder) {
            (Holder::Attachment(before), Holder::Attachment(now)) => before == now,
            (Holder::Attachment(_), _) => true,
            // What a bridge sent is the host's, even what it merely forwards.
            (Holder::Host, _) => true,
            (_, Holder::Attachment(now)) => {
                end.holder = holder;
                hot.attachments[side.index()] = now.0;
                true
            }
            (_, Holder::Unclaimed | Holder::Bare) => true,
            (_, Holder::Host | Holder::External | Holder::Group | Holder::Ambiguous) => {
                end.holder = holder;
                true
            }
        }
    };
    match metering.sender {
        // Where it was sent from is known by the interface.
        Sender::Veth { .. } | Sender::Bridge => keeps(side.other()),
        Sender::Unknown => keeps(side.other()) && keeps(side),
    }
}
