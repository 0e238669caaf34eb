//! Closed sets whose every word has a series, and the words of listener classes.

use portolan_policy::{FindingKind, ListenerClass, Severity};

/// Every finding kind, so that a series exists before the first finding does.
pub const FINDING_KINDS: [FindingKind; 22] = [
    FindingKind::SpoofedSource,
    FindingKind::Denied,
    FindingKind::UnexpectedPeer,
    FindingKind::UndocumentedPort,
    FindingKind::UndocumentedListener,
    FindingKind::UnusedExposure,
    FindingKind::ForeignDatabase,
    FindingKind::DockerApi,
    FindingKind::CloudMetadata,
    FindingKind::InternalOutbound,
    FindingKind::ForeignResolver,
    FindingKind::CleartextAdmin,
    FindingKind::PortScan,
    FindingKind::HostSweep,
    FindingKind::SynFlood,
    FindingKind::UnlistedSource,
    FindingKind::StolenMac,
    FindingKind::Beaconing,
    FindingKind::PasswordGuessing,
    FindingKind::UnusualLevel,
    FindingKind::NewEdge,
    FindingKind::ForbiddenEdge,
];

/// Returns the machine names of all kinds of findings.
pub fn finding_kinds() -> Vec<&'static str> {
    FINDING_KINDS.iter().map(|kind| kind.name()).collect()
}

/// Every severity, least first.
pub const SEVERITIES: [Severity; 4] = [Severity::Info, Severity::Low, Severity::Medium, Severity::High];

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
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        for severity in SEVERITIES {
            assert_eq!(serde_json::to_value(severity).unwrap(), severity.name());
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
