//! How far a flow got, and who opened it: the reading of control bits and answers.
//!
//! # Sources
//!
//! TCP: RFC 9293, sections 3.5 and 3.6. ICMP: RFC 792. ICMPv6: RFC 4443. Round trips of repeated segments are
//! not measured (Karn's rule, RFC 6298 section 3).

use crate::directory::Holder;
use crate::flow::{Claim, End, Flow, InitiatorEvidence, Outcome, Side};
use crate::history::Letter;
use crate::observation::{Packet, TcpFacts};
use crate::table::Cold;
use crate::units::{Port, Protocol, Timestamp};

/// What a slot's state means to the next packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum State {
    /// Nothing came back yet.
    Attempt,
    /// Both ends sent, and nothing but control bits can change what is known: the fast path.
    Settled,
    /// One end sent FIN.
    Closing,
    /// Both ends sent FIN, or one RST, or an ICMP error came.
    Closed,
}

/// First belief about who opened a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Opening {
    pub(crate) initiator: Side,
    pub(crate) evidence: InitiatorEvidence,
    pub(crate) is_midstream: bool,
}

/// Reads a flow's first packet, sent by `side`. `may_be_answer` says that it may answer one sent before the tap was
/// opened; `listens` whether a side's port is documented or was seen to accept connections, and is asked only where the
/// packet itself does not say who opened.
pub(crate) fn opening(
    packet: &Packet,
    side: Side,
    ends: &[End; 2],
    may_be_answer: bool,
    listens: impl Fn(Side) -> bool,
) -> Opening {
    if let Some(tcp) = packet.tcp {
        if tcp.is_syn() {
            return Opening { initiator: side, evidence: InitiatorEvidence::Handshake, is_midstream: false };
        }
        if tcp.is_syn_ack() {
            return Opening {
                initiator: side.other(),
                evidence: InitiatorEvidence::SynAck,
                is_midstream: true,
            };
        }
        return by_listener_or_port(side, ends, listens, true);
    }
    if packet.icmp.is_some_and(|icmp| is_echo_reply(packet.protocol, icmp.kind)) {
        return Opening {
            initiator: side.other(),
            evidence: InitiatorEvidence::FirstSender,
            is_midstream: true,
        };
    }
    if packet.protocol == Protocol::UDP && may_be_answer {
        let guess = by_listener_or_port(side, ends, listens, false);
        // Which of the two asked was before the start: no answer makes this an exchange.
        let is_midstream = guess.evidence == InitiatorEvidence::FirstSender && !is_client_first(side, ends);
        return Opening { is_midstream, ..guess };
    }
    Opening { initiator: side, evidence: InitiatorEvidence::FirstSender, is_midstream: false }
}

/// Reads the first packet of an answer that a forged packet provoked: the other end seems to have asked.
pub(crate) fn provoked(side: Side) -> Opening {
    Opening { initiator: side.other(), evidence: InitiatorEvidence::FirstSender, is_midstream: true }
}

fn by_listener_or_port(
    side: Side,
    ends: &[End; 2],
    listens: impl Fn(Side) -> bool,
    is_midstream: bool,
) -> Opening {
    let guess = |initiator, evidence| Opening { initiator, evidence, is_midstream };
    match (listens(side), listens(side.other())) {
        (true, false) => return guess(side.other(), InitiatorEvidence::KnownListener),
        (false, true) => return guess(side, InitiatorEvidence::KnownListener),
        (true, true) | (false, false) => {}
    }
    let port = |side: Side| ends[side.index()].port.unwrap_or_default();
    match (port(side).is_ephemeral(), port(side.other()).is_ephemeral()) {
        (false, true) => guess(side.other(), InitiatorEvidence::Port),
        (true, false) if is_midstream => guess(side, InitiatorEvidence::Port),
        (true, true) | (false, false)
            if is_midstream && is_reserved(port(side)) != is_reserved(port(side.other())) =>
        {
            guess(if is_reserved(port(side)) { side.other() } else { side }, InitiatorEvidence::Port)
        }
        (true, true) | (false, false) | (true, false) => guess(side, InitiatorEvidence::FirstSender),
    }
}

/// Returns whether the sender's port is a client's and the receiver's is not.
fn is_client_first(side: Side, ends: &[End; 2]) -> bool {
    let is_ephemeral = |side: Side| ends[side.index()].port.is_some_and(Port::is_ephemeral);
    is_ephemeral(side) && !is_ephemeral(side.other())
}

/// System ports, RFC 6335 section 6.
fn is_reserved(port: Port) -> bool {
    port.0 < 1_024
}

/// Returns whether a TCP packet from `side` belongs to another connection than the slot's.
pub(crate) fn is_another_connection(state: State, cold: &Cold, side: Side, tcp: TcpFacts) -> bool {
    if !tcp.is_syn() {
        return false;
    }
    let is_repeated = cold.syn_sequence == Some(tcp.sequence) && cold.flow.initiator == side;
    match state {
        State::Closed | State::Closing => !is_repeated,
        // A SYN on a flow that both ends use: the ports were used again before FIN or RST was seen. The SYN that
        // follows a SYN-ACK out of order is the same connection's.
        State::Settled => !is_repeated && cold.flow.evidence != InitiatorEvidence::SynAck,
        // The address's own holder calls, after an answer to somebody who forged it.
        State::Attempt => {
            cold.flow.claim == Claim::Backscatter && cold.flow.evidence != InitiatorEvidence::SynAck
        }
    }
}

/// Takes one packet from `side` in and returns the slot's next state.
pub(crate) fn advance(state: State, cold: &mut Cold, side: Side, packet: &Packet, at: Timestamp) -> State {
    if let Some(tcp) = packet.tcp {
        return advance_tcp(state, cold, side, tcp, at);
    }
    let flow = &mut cold.flow;
    if flow.initiator == side {
        clear_backscatter(flow, side);
        return state;
    }
    if flow.outcome == Outcome::Answered || flow.claim == Claim::Backscatter {
        return state;
    }
    if packet.protocol.is_icmp() {
        let is_answer = packet.icmp.is_some_and(|icmp| is_echo_reply(packet.protocol, icmp.kind));
        if !is_answer {
            return state;
        }
    }
    flow.outcome = Outcome::Answered;
    if flow.evidence == InitiatorEvidence::FirstSender && !flow.is_midstream {
        flow.evidence = InitiatorEvidence::Exchange;
    }
    State::Settled
}

fn advance_tcp(state: State, cold: &mut Cold, side: Side, tcp: TcpFacts, at: Timestamp) -> State {
    let was_silent = cold.flow.tcp_flags[side.index()] == 0;
    cold.flow.tcp_flags[side.index()] |= tcp.flags;
    if tcp.is_rst() {
        return reset(cold, side, was_silent);
    }
    clear_backscatter(&mut cold.flow, side);
    if tcp.is_syn() {
        return synchronise(state, cold, side, tcp, at);
    }
    measure_way_back(cold, side, tcp, at);
    let is_responder = cold.flow.initiator != side;
    if is_responder && cold.flow.outcome != Outcome::Answered && is_two_way(&cold.flow, tcp) {
        cold.flow.outcome = Outcome::Answered;
        if let (Some(sent), true) = (cold.syn_at, tcp.is_syn_ack()) {
            cold.flow.rtt = Some(at.since(sent)).filter(|rtt| *rtt >= 0);
        }
    } else if !is_responder
        && cold.flow.outcome != Outcome::Answered
        && cold.flow.tcp_flags[side.other().index()] != 0
    {
        // Midstream: the other end was seen sending before.
        cold.flow.outcome = Outcome::Answered;
    }
    let finished = |side: Side| cold.flow.tcp_flags[side.index()] & TcpFacts::FIN != 0;
    match state {
        State::Closed => State::Closed,
        State::Attempt | State::Settled | State::Closing => match (finished(side), finished(side.other())) {
            (true, true) => State::Closed,
            (true, false) | (false, true) => State::Closing,
            (false, false) if is_settled(&cold.flow) => State::Settled,
            (false, false) => State::Attempt,
        },
    }
}

/// The initiator's first ACK of a SYN-ACK that was sent once gives the other half of the round trip.
fn measure_way_back(cold: &mut Cold, side: Side, tcp: TcpFacts, at: Timestamp) {
    let flow = &mut cold.flow;
    if tcp.is_syn_ack() {
        let is_first = flow.initiator != side && !flow.history.has(side, Letter::SynAck);
        cold.syn_ack = is_first.then_some((at, tcp.sequence));
    } else if flow.initiator == side
        && tcp.flags & TcpFacts::ACK != 0
        && let Some((accepted, sequence)) = cold.syn_ack
    {
        cold.syn_ack = None;
        if tcp.acknowledgment == sequence.wrapping_add(1) {
            flow.ack_rtt = Some(at.since(accepted)).filter(|rtt| *rtt >= 0);
        }
    }
}

/// Returns whether nothing but control bits can change what is known: answered, and the initiator has had its word.
fn is_settled(flow: &Flow) -> bool {
    flow.outcome == Outcome::Answered
        && flow.claim != Claim::Backscatter
        && flow.tcp_flags[flow.initiator.index()] != 0
}

/// A SYN-ACK answers by itself; anything else only where the initiator was seen too. A bare ACK to a SYN accepts
/// nothing: it challenges it (RFC 5961, section 4).
fn is_two_way(flow: &Flow, tcp: TcpFacts) -> bool {
    let seen = flow.tcp_flags[flow.initiator.index()];
    tcp.is_syn_ack() || seen & TcpFacts::ACK != 0 || (seen != 0 && tcp.payload_bytes > 0)
}

/// Returns whether an ICMP error says that a packet will not arrive: not that it was too big, took a detour or came
/// too fast.
pub(crate) fn is_refusal(protocol: Protocol, kind: u8, code: u8) -> bool {
    match protocol {
        Protocol::ICMP => !matches!((kind, code), (3, 4) | (4 | 5, _)),
        Protocol::ICMPV6 => kind != 2,
        _ => false,
    }
}

fn synchronise(state: State, cold: &mut Cold, side: Side, tcp: TcpFacts, at: Timestamp) -> State {
    let flow = &mut cold.flow;
    match (flow.evidence, cold.syn_sequence) {
        (InitiatorEvidence::Handshake, Some(first)) => {
            if flow.initiator == side && first == tcp.sequence {
                cold.syn_at = None;
            }
        }
        (
            InitiatorEvidence::Handshake
            | InitiatorEvidence::SynAck
            | InitiatorEvidence::Exchange
            | InitiatorEvidence::KnownListener
            | InitiatorEvidence::Port
            | InitiatorEvidence::FirstSender,
            _,
        ) => {
            flow.initiator = side;
            flow.evidence = InitiatorEvidence::Handshake;
            flow.is_midstream = false;
            cold.syn_sequence = Some(tcp.sequence);
            // A SYN that follows its own answer gives no round trip.
            cold.syn_at = (flow.outcome != Outcome::Answered).then_some(at);
        }
    }
    state
}

/// `was_silent` says whether this is the first word of its sender: then it refuses what it answers, and a SYN-ACK
/// that its supposed initiator answers by nothing else was never asked for.
fn reset(cold: &mut Cold, side: Side, was_silent: bool) -> State {
    let flow = &mut cold.flow;
    let is_responder = flow.initiator != side;
    if matches!(flow.outcome, Outcome::Pending | Outcome::Unanswered | Outcome::Blocked)
        && is_responder
        && (was_silent || flow.evidence == InitiatorEvidence::Handshake)
    {
        flow.outcome = Outcome::Refused;
    }
    if !is_responder && was_silent && flow.evidence == InitiatorEvidence::SynAck {
        flow.claim = Claim::Backscatter;
    }
    State::Closed
}

/// Evidence by SYN-ACK counts only if that initiator's own veth sent; what it sends in answer to a stray SYN-ACK
/// is a RST.
fn clear_backscatter(flow: &mut Flow, side: Side) {
    if flow.claim == Claim::Backscatter && flow.initiator == side {
        flow.claim = Claim::Own;
    }
}

/// Returns whether an answer is expected at all: not from groups of receivers, not to ICMP messages other than
/// echo requests.
pub(crate) fn expects_answer(flow: &Flow) -> bool {
    if flow.protocol.is_icmp() {
        return flow.icmp_type.is_some_and(|kind| is_echo_request(flow.protocol, kind));
    }
    match flow.responder_end().holder {
        Holder::Group => false,
        Holder::Attachment(_)
        | Holder::Host
        | Holder::External
        | Holder::Unclaimed
        | Holder::Ambiguous
        | Holder::Bare => true,
    }
}

fn is_echo_reply(protocol: Protocol, kind: u8) -> bool {
    (protocol == Protocol::ICMP && kind == 0) || (protocol == Protocol::ICMPV6 && kind == 129)
}

fn is_echo_request(protocol: Protocol, kind: u8) -> bool {
    (protocol == Protocol::ICMP && kind == 8) || (protocol == Protocol::ICMPV6 && kind == 128)
}
