//! Flow records as JSON, written by hand: most of a large result is these.
//!
//! The form is what the records' `Serialize` gives, escaped for a terminal; a test holds the two equal. A field that is
//! added stops the build here.

use std::net::IpAddr;

use portolan_flowtable::flow::Claim;
use portolan_flowtable::{EndReason, InitiatorEvidence, Outcome, Port, Protocol, Tally, Timestamp};
use serde::Serialize;

use crate::digits;
use crate::escape;
use crate::publication::{Directed, FlowEnd, FlowRecord};

/// Appends a record as JSON in which nothing steers a terminal.
pub fn write_flow(flow: &FlowRecord, into: &mut Vec<u8>) {
    let FlowRecord {
        flow_id,
        community_id,
        proto,
        src,
        dest,
        network,
        evidence,
        claim,
        outcome,
        sent,
        received,
        first_at,
        last_at,
        first_frame,
        last_frame,
        rtt,
        ack_rtt,
        conn_state,
        history,
        retransmissions,
        zero_windows,
        gaps,
        icmp_error,
        ended,
        dry_run,
    } = flow;
    let mut out = Writer(into);
    out.number(b"{\"flow_id\":", *flow_id);
    out.text(b",\"community_id\":", community_id.as_bytes());
    out.protocol(b",\"proto\":", *proto);
    out.end(b",\"src\":{\"ip\":", src);
    out.end(b",\"dest\":{\"ip\":", dest);
    out.text(b",\"network\":", network.as_bytes());
    out.word(b",\"evidence\":", evidence_word(*evidence));
    out.word(b",\"claim\":", claim_word(*claim));
    out.word(b",\"outcome\":", outcome_word(*outcome));
    out.tally(b",\"sent\":{\"frames\":", *sent);
    out.tally(b",\"received\":{\"frames\":", *received);
    out.instant(b",\"first_at\":", *first_at);
    out.instant(b",\"last_at\":", *last_at);
    out.number(b",\"first_frame\":", *first_frame);
    out.number(b",\"last_frame\":", *last_frame);
    out.span(b",\"rtt\":", *rtt);
    out.span(b",\"ack_rtt\":", *ack_rtt);
    out.word(b",\"conn_state\":", conn_state.word());
    out.text(b",\"history\":", history.as_bytes());
    out.directed(b",\"retransmissions\":{\"sent\":", *retransmissions);
    out.directed(b",\"zero_windows\":{\"sent\":", *zero_windows);
    out.directed(b",\"gaps\":{\"sent\":", *gaps);
    match icmp_error {
        Some(error) => out.value(b",\"icmp_error\":", error),
        None => out.plain(b",\"icmp_error\":null"),
    }
    match ended {
        Some(reason) => out.word(b",\"ended\":", reason_word(*reason)),
        None => out.plain(b",\"ended\":null"),
    }
    if let Some(dry_run) = dry_run {
        out.value(b",\"dry_run\":", dry_run);
    }
    out.plain(b"}");
}

/// Bytes behind which each value comes with what stands before it.
struct Writer<'v>(&'v mut Vec<u8>);

impl Writer<'_> {
    fn plain(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn number(&mut self, before: &[u8], number: u64) {
        self.plain(before);
        digits::number(number, self.0);
    }

    fn span(&mut self, before: &[u8], nanoseconds: Option<i64>) {
        self.plain(before);
        let Some(nanoseconds) = nanoseconds else { return self.plain(b"null") };
        if nanoseconds < 0 {
            self.plain(b"-");
        }
        digits::number(nanoseconds.unsigned_abs(), self.0);
    }

    /// A word of ours, in which nothing needs an escape.
    fn word(&mut self, before: &[u8], word: &str) {
        self.plain(before);
        self.plain(b"\"");
        self.plain(word.as_bytes());
        self.plain(b"\"");
    }

    /// A text from elsewhere, which is UTF-8.
    fn text(&mut self, before: &[u8], text: &[u8]) {
        self.plain(before);
        let is_plain = |byte: &u8| matches!(*byte, b' '..=b'~') & !matches!(*byte, b'"' | b'\\');
        if text.iter().fold(true, |all, byte| all & is_plain(byte)) {
            self.plain(b"\"");
            self.plain(text);
            self.plain(b"\"");
        } else {
            self.value(b"", &String::from_utf8_lossy(text));
        }
    }

    fn protocol(&mut self, before: &[u8], protocol: Protocol) {
        match protocol {
            Protocol::TCP => self.word(before, "tcp"),
            Protocol::UDP => self.word(before, "udp"),
            other => self.word(before, &other.to_string()),
        }
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => {
                let mut letters = [0; 15];
                let length = digits::ipv4(v4, &mut letters);
                self.plain(letters.get(..usize::from(length)).unwrap_or_default());
            }
            IpAddr::V6(v6) => self.plain(v6.to_string().as_bytes()),
        }
    }

    fn instant(&mut self, before: &[u8], at: Timestamp) {
        self.plain(before);
        self.plain(b"\"");
        self.plain(&at.letters());
        self.plain(b"\"");
    }

    fn tally(&mut self, before: &[u8], tally: Tally) {
        let Tally { frames, bytes } = tally;
        self.number(before, frames);
        self.number(b",\"bytes\":", bytes);
        self.plain(b"}");
    }

    fn directed(&mut self, before: &[u8], counts: Directed) {
        let Directed { sent, received } = counts;
        if sent | received == 0 {
            // Nearly every flow.
            self.plain(before);
            return self.plain(b"0,\"received\":0}");
        }
        self.number(before, sent);
        self.number(b",\"received\":", received);
        self.plain(b"}");
    }

    fn end(&mut self, before: &[u8], end: &FlowEnd) {
        let FlowEnd { ip, port, service, container, image, names } = end;
        self.plain(before);
        self.plain(b"\"");
        self.address(*ip);
        match port {
            Some(Port(port)) => self.number(b"\",\"port\":", u64::from(*port)),
            None => self.plain(b"\",\"port\":null"),
        }
        self.text(b",\"service\":", service.as_bytes());
        self.text(b",\"container\":", container.as_bytes());
        self.text(b",\"image\":", image.as_bytes());
        if !names.is_empty() {
            self.value(b",\"names\":", names);
        }
        self.plain(b"}");
    }

    /// What is rare, as its `Serialize` has it.
    #[inline(never)]
    fn value(&mut self, before: &[u8], value: &impl Serialize) {
        self.plain(before);
        let text = serde_json::to_string(value).expect("texts and numbers are always written");
        self.plain(escape::json(&text).as_bytes());
    }
}

fn evidence_word(evidence: InitiatorEvidence) -> &'static str {
    match evidence {
        InitiatorEvidence::Handshake => "handshake",
        InitiatorEvidence::SynAck => "syn_ack",
        InitiatorEvidence::Exchange => "exchange",
        InitiatorEvidence::KnownListener => "known_listener",
        InitiatorEvidence::Port => "port",
        InitiatorEvidence::FirstSender => "first_sender",
    }
}

fn claim_word(claim: Claim) -> &'static str {
    match claim {
        Claim::Own => "own",
        Claim::Spoofed => "spoofed",
        Claim::Unlisted => "unlisted",
        Claim::Backscatter => "backscatter",
    }
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pending => "pending",
        Outcome::Answered => "answered",
        Outcome::Refused => "refused",
        Outcome::Unanswered => "unanswered",
        Outcome::Blocked => "blocked",
    }
}

fn reason_word(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Closed => "closed",
        EndReason::Idle => "idle",
        EndReason::Evicted => "evicted",
        EndReason::Rebound => "rebound",
        EndReason::Reused => "reused",
        EndReason::Settled => "settled",
    }
}

#[cfg(test)]
mod tests {
    use portolan_flowtable::{ConnState, IcmpError};
    use portolan_policy::Verdict;

    use super::*;
    use crate::publication::DryRun;
    use crate::text::Text;

    fn record() -> FlowRecord {
        let end = |ip: &str| FlowEnd {
            ip: ip.parse().unwrap(),
            port: Some(Port(443)),
            service: Text::from("shop/web"),
            container: Text::from("shop-web-1"),
            image: Text::from("a/very/long/image/name/of/a/registry@sha256:00"),
            names: Vec::new(),
        };
        FlowRecord {
            flow_id: 7,
            community_id: Text::from("1:NeQZTIGUlDZPB7bdnORtcXwKOwo="),
            proto: Protocol::TCP,
            src: end("172.18.0.2"),
            dest: end("10.200.0.255"),
            network: Text::from("shop_default"),
            evidence: InitiatorEvidence::Handshake,
            claim: Claim::Own,
            outcome: Outcome::Answered,
            sent: Tally { frames: 10, bytes: u64::MAX },
            received: Tally { frames: 0, bytes: 99 },
            first_at: Timestamp(0),
            last_at: Timestamp(1_795_132_800_018_380_001),
            first_frame: 1,
            last_frame: 123_456_789,
            rtt: Some(80_000),
            ack_rtt: None,
            conn_state: ConnState::Sf,
            history: Text::from("ShADadFf"),
            retransmissions: Directed::default(),
            zero_windows: Directed::default(),
            gaps: Directed::default(),
            icmp_error: None,
            ended: None,
            dry_run: None,
        }
    }

    fn is_as_serialized(record: &FlowRecord) {
        let mut written = Vec::new();
        write_flow(record, &mut written);
        let expected = serde_json::to_string(record).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), escape::json(&expected));
    }

    #[test]
    fn a_record_is_written_as_it_is_serialized() {
        is_as_serialized(&record());
        let named = ["cdn.example", "\u{202e}\"x\\"].map(str::to_owned).to_vec();
        let rare = FlowRecord {
            icmp_error: Some(IcmpError { kind: 3, code: 4, count: 1 }),
            dry_run: Some(DryRun { verdict: Verdict::Documented, pending: Verdict::Denied }),
            retransmissions: Directed { sent: 1, received: 0 },
            zero_windows: Directed { sent: 0, received: 12 },
            gaps: Directed { sent: 10, received: u64::MAX },
            rtt: Some(i64::MIN),
            ack_rtt: Some(-1),
            src: FlowEnd {
                ip: "2001:db8::1".parse().unwrap(),
                port: None,
                service: Text::default(),
                container: Text::default(),
                image: Text::default(),
                names: named,
            },
            ..record()
        };
        is_as_serialized(&rare);
    }

    #[test]
    fn every_word_is_the_one_serialization_uses() {
        let all = [
            InitiatorEvidence::Handshake,
            InitiatorEvidence::SynAck,
            InitiatorEvidence::Exchange,
            InitiatorEvidence::KnownListener,
            InitiatorEvidence::Port,
            InitiatorEvidence::FirstSender,
        ];
        all.into_iter().for_each(|evidence| is_as_serialized(&FlowRecord { evidence, ..record() }));
        let all = [Claim::Own, Claim::Spoofed, Claim::Unlisted, Claim::Backscatter];
        all.into_iter().for_each(|claim| is_as_serialized(&FlowRecord { claim, ..record() }));
        let all =
            [Outcome::Pending, Outcome::Answered, Outcome::Refused, Outcome::Unanswered, Outcome::Blocked];
        all.into_iter().for_each(|outcome| is_as_serialized(&FlowRecord { outcome, ..record() }));
        let all = [
            EndReason::Closed,
            EndReason::Idle,
            EndReason::Evicted,
            EndReason::Rebound,
            EndReason::Reused,
            EndReason::Settled,
        ];
        all.into_iter().for_each(|reason| is_as_serialized(&FlowRecord { ended: Some(reason), ..record() }));
        let states = [ConnState::S0, ConnState::Sf, ConnState::Rstos0, ConnState::Oth];
        states.into_iter().for_each(|conn_state| is_as_serialized(&FlowRecord { conn_state, ..record() }));
        (0..=255).for_each(|number| is_as_serialized(&FlowRecord { proto: Protocol(number), ..record() }));
    }

    #[test]
    fn hostile_names_are_written_as_they_are_serialized() {
        let names = ["\u{1b}[2J", "a\"b\\c", "x\u{202e}y", "\u{7f}", "größe 大", "\0\r\n\t", "\u{e0041}"];
        for name in names {
            for long in [name.to_owned(), name.repeat(9)] {
                let text = Text::from(long);
                let end = FlowEnd {
                    service: text.clone(),
                    container: text.clone(),
                    image: text.clone(),
                    ..record().src
                };
                let record = FlowRecord {
                    community_id: text.clone(),
                    network: text.clone(),
                    history: text,
                    src: end.clone(),
                    dest: end,
                    ..record()
                };
                is_as_serialized(&record);
            }
        }
    }
}
