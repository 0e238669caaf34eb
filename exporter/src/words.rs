//! The words of closed sets, as labels and machine output spell them.

use portolan_policy::{FindingKind, ListenerClass, Severity, Verdict};

/// Every finding kind, so that a series exists before the first finding does.
pub const FINDING_KINDS: [FindingKind; 7] = [
    FindingKind::SpoofedSource,
    FindingKind::UnexpectedPeer,
    FindingKind::UndocumentedPort,
    FindingKind::PortScan,
    FindingKind::HostSweep,
    FindingKind::SynFlood,
    FindingKind::UnlistedSource,
];

/// Every severity, least first.
pub const SEVERITIES: [Severity; 4] = [Severity::Info, Severity::Low, Severity::Medium, Severity::High];

/// Returns the word for a verdict.
pub fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Documented => "documented",
        Verdict::Unjudged => "unjudged",
        Verdict::UnexpectedPeer => "unexpected_peer",
        Verdict::UndocumentedPort => "undocumented_port",
        Verdict::Undeclared => "undeclared",
        Verdict::SpoofedSource => "spoofed_source",
        Verdict::Backscatter => "backscatter",
        Verdict::Unattributed => "unattributed",
    }
}

/// Returns how much a verdict matters where one of several has to stand for all; more is graver.
pub(crate) fn gravity(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::SpoofedSource => 7,
        Verdict::UnexpectedPeer => 6,
        Verdict::UndocumentedPort => 5,
        Verdict::Undeclared => 4,
        Verdict::Unjudged => 3,
        Verdict::Unattributed => 2,
        Verdict::Backscatter => 1,
        Verdict::Documented => 0,
    }
}

/// Returns the word for a finding's kind.
pub fn finding_kind(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::SpoofedSource => "spoofed_source",
        FindingKind::UnexpectedPeer => "unexpected_peer",
        FindingKind::UndocumentedPort => "undocumented_port",
        FindingKind::PortScan => "port_scan",
        FindingKind::HostSweep => "host_sweep",
        FindingKind::SynFlood => "syn_flood",
        FindingKind::UnlistedSource => "unlisted_source",
    }
}

/// Returns the word for a severity.
pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
    }
}

/// Returns the word for a listener's class.
pub fn listener_class(class: ListenerClass) -> &'static str {
    match class {
        ListenerClass::DocumentedUsed => "documented_used",
        ListenerClass::DocumentedIdle => "documented_idle",
        ListenerClass::UndocumentedUsed => "undocumented_used",
        ListenerClass::UndocumentedListening => "undocumented_listening",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_ones_serialization_uses() {
        for kind in FINDING_KINDS {
            assert_eq!(serde_json::to_value(kind).unwrap(), finding_kind(kind));
        }
        for grade in SEVERITIES {
            assert_eq!(serde_json::to_value(grade).unwrap(), severity(grade));
        }
        for word in [
            Verdict::Documented,
            Verdict::Unjudged,
            Verdict::UnexpectedPeer,
            Verdict::UndocumentedPort,
            Verdict::Undeclared,
            Verdict::SpoofedSource,
            Verdict::Backscatter,
            Verdict::Unattributed,
        ] {
            assert_eq!(serde_json::to_value(word).unwrap(), verdict(word));
        }
        for class in [
            ListenerClass::DocumentedUsed,
            ListenerClass::DocumentedIdle,
            ListenerClass::UndocumentedUsed,
            ListenerClass::UndocumentedListening,
        ] {
            assert_eq!(serde_json::to_value(class).unwrap(), listener_class(class));
        }
    }
}
