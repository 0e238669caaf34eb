//! Thresholds of the standard rules: what each may be told, and between which bounds.

use portolan_flowtable::Timestamp;

use crate::assessment::FindingKind;
use crate::contract::Contract;
use crate::rhythm::{BEATS_MIN, INTERVALS_MAX, RhythmLimits};
use crate::rules::Rules;
use crate::scan::ScanLimits;

/// A number a standard rule goes by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Threshold {
    /// What `[standard.RULE]` calls it.
    pub name: &'static str,
    /// What it means.
    pub means: &'static str,
    /// What holds where nobody says otherwise.
    pub default: u64,
    /// Least it may be.
    pub least: u64,
    /// Most it may be.
    pub most: u64,
}

const fn threshold(
    name: &'static str,
    means: &'static str,
    default: u64,
    least: u64,
    most: u64,
) -> Threshold {
    Threshold { name, means, default, least, most }
}

const PORT_SCAN: [Threshold; 2] = [
    threshold("ports", "ports of one responder tried in vain", 10, 2, 65_535),
    threshold("seconds", "span they are tried in, of scans and sweeps alike", 60, 1, 3_600),
];
const HOST_SWEEP: [Threshold; 3] = [
    threshold("hosts", "responders tried on one port", 10, 2, 65_535),
    threshold("hosts_any_port", "responders tried on whatever port", 30, 2, 65_535),
    threshold("neighbours", "addresses of its own network asked for by ARP in vain", 10, 2, 64),
];
const SYN_FLOOD: [Threshold; 1] =
    [threshold("handshakes", "unanswered handshakes of one second to one port", 100, 10, 1_000_000)];
const BEACONING: [Threshold; 1] =
    [threshold("periods", "intervals that must fit", BEATS_MIN as u64, 8, INTERVALS_MAX as u64)];
const PASSWORD_GUESSING: [Threshold; 2] = [
    threshold("connections", "short connections of one peer to one login port", 20, 3, 500),
    threshold("seconds", "span they end in", 60, 1, 3_600),
];
const UNUSUAL_LEVEL: [Threshold; 3] = [
    threshold("factor", "so many times what is usual", 4, 2, 1_000),
    threshold("minutes", "for so many minutes in a row", 5, 1, 60),
    threshold("days", "days that must have been seen before", 3, 1, 8),
];

impl FindingKind {
    /// Returns the thresholds `[standard.RULE]` may set.
    pub fn thresholds(self) -> &'static [Threshold] {
        match self {
            Self::PortScan => &PORT_SCAN,
            Self::HostSweep => &HOST_SWEEP,
            Self::SynFlood => &SYN_FLOOD,
            Self::Beaconing => &BEACONING,
            Self::PasswordGuessing => &PASSWORD_GUESSING,
            Self::UnusualLevel => &UNUSUAL_LEVEL,
            Self::SpoofedSource
            | Self::Denied
            | Self::UnexpectedPeer
            | Self::UndocumentedPort
            | Self::UndocumentedListener
            | Self::UnusedExposure
            | Self::ForeignDatabase
            | Self::DockerApi
            | Self::CloudMetadata
            | Self::InternalOutbound
            | Self::ForeignResolver
            | Self::CleartextAdmin
            | Self::UnlistedSource
            | Self::StolenMac
            | Self::NewEdge
            | Self::ForbiddenEdge => &[],
        }
    }

    /// Returns whether `[standard.RULE]` may name the ports it speaks of.
    pub fn names_ports(self) -> bool {
        self == Self::PasswordGuessing
    }

    /// Returns what an exemption from its rule may speak of: who did it, to whom, on what.
    pub(crate) fn exempts_by(self) -> &'static [&'static str] {
        match self {
            // Nobody called.
            Self::UndocumentedListener | Self::UnusedExposure => &["to", "ports"],
            // What shows in frames of any kind.
            Self::StolenMac => &["from", "to"],
            // A service as a whole.
            Self::UnusualLevel => &["from"],
            Self::SpoofedSource
            | Self::Denied
            | Self::UnexpectedPeer
            | Self::UndocumentedPort
            | Self::ForeignDatabase
            | Self::DockerApi
            | Self::CloudMetadata
            | Self::InternalOutbound
            | Self::ForeignResolver
            | Self::CleartextAdmin
            | Self::PortScan
            | Self::HostSweep
            | Self::SynFlood
            | Self::Beaconing
            | Self::PasswordGuessing
            | Self::UnlistedSource
            | Self::NewEdge
            | Self::ForbiddenEdge => &["from", "to", "ports", "direction"],
        }
    }
}

impl Rules {
    /// Returns what somebody set; the last word counts.
    fn threshold(&self, kind: FindingKind, name: &str) -> Option<u64> {
        let own = self.standard.iter().rev().filter(|it| it.kind == kind);
        own.filter_map(|it| it.thresholds.get(name)).next().copied()
    }
}

impl Contract {
    /// Returns limits for scans, sweeps and floods: those given, but for what this contract says.
    pub(crate) fn scan_limits(&self, given: &ScanLimits) -> ScanLimits {
        let said = |kind, name| self.rules.threshold(kind, name);
        let size = |kind, name, otherwise: usize| {
            said(kind, name).and_then(|number| usize::try_from(number).ok()).unwrap_or(otherwise)
        };
        let seconds = said(FindingKind::PortScan, "seconds").and_then(|number| i64::try_from(number).ok());
        ScanLimits {
            window: seconds.map_or(given.window, |seconds| seconds.saturating_mul(Timestamp::SECOND)),
            scan_ports: size(FindingKind::PortScan, "ports", given.scan_ports),
            sweep_responders: size(FindingKind::HostSweep, "hosts", given.sweep_responders),
            sweep_responders_any_port: size(
                FindingKind::HostSweep,
                "hosts_any_port",
                given.sweep_responders_any_port,
            ),
            sweep_neighbours: size(FindingKind::HostSweep, "neighbours", given.sweep_neighbours),
            flood_handshakes: said(FindingKind::SynFlood, "handshakes").unwrap_or(given.flood_handshakes),
            ..*given
        }
    }

    /// Returns from where on something is a beacon, or unusual.
    pub fn rhythm_limits(&self) -> RhythmLimits {
        let said = |kind, name| self.rules.threshold(kind, name);
        let mut limits = RhythmLimits::default();
        let size = |number: Option<u64>| number.and_then(|number| usize::try_from(number).ok());
        let guess = &mut limits.guess;
        guess.connections =
            size(said(FindingKind::PasswordGuessing, "connections")).unwrap_or(guess.connections);
        let seconds =
            said(FindingKind::PasswordGuessing, "seconds").and_then(|number| i64::try_from(number).ok());
        guess.window = seconds.map_or(guess.window, |seconds| seconds.saturating_mul(Timestamp::SECOND));
        guess.ports = self.rules.standard.iter().rev().find_map(|it| it.ports.clone());
        limits.beats = size(said(FindingKind::Beaconing, "periods")).unwrap_or(limits.beats);
        let level = &mut limits.level;
        level.times = said(FindingKind::UnusualLevel, "factor").unwrap_or(level.times);
        let minutes =
            said(FindingKind::UnusualLevel, "minutes").and_then(|number| u32::try_from(number).ok());
        level.minutes = minutes.unwrap_or(level.minutes);
        level.days = size(said(FindingKind::UnusualLevel, "days")).unwrap_or(level.days);
        limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_defaults_is_what_holds() {
        let (scan, rhythm) = (ScanLimits::default(), RhythmLimits::default());
        let held = [
            ("ports", scan.scan_ports as u64),
            ("seconds", u64::try_from(scan.window / Timestamp::SECOND).unwrap()),
            ("hosts", scan.sweep_responders as u64),
            ("hosts_any_port", scan.sweep_responders_any_port as u64),
            ("neighbours", scan.sweep_neighbours as u64),
            ("handshakes", scan.flood_handshakes),
            ("periods", rhythm.beats as u64),
            ("connections", rhythm.guess.connections as u64),
            ("seconds", u64::try_from(rhythm.guess.window / Timestamp::SECOND).unwrap()),
            ("factor", rhythm.level.times),
            ("minutes", u64::from(rhythm.level.minutes)),
            ("days", rhythm.level.days as u64),
        ];
        let all = FindingKind::ALL.iter().flat_map(|kind| kind.thresholds());
        let said: Vec<(&str, u64)> = all.clone().map(|it| (it.name, it.default)).collect();
        assert_eq!(said, held);
        assert!(all.clone().all(|it| it.least <= it.default && it.default <= it.most));
        // Each of them counts: another number gives other limits.
        let (bare, contract) = (Contract::default(), |kind: FindingKind, name: &str, number: u64| {
            let text = format!("[standard.{}]\n{name} = {number}\n", kind.name());
            Contract::parse(&text, "c.toml").unwrap()
        });
        for kind in FindingKind::ALL {
            for threshold in kind.thresholds() {
                let told = contract(kind, threshold.name, threshold.least);
                let is_same = told.scan_limits(&scan) == bare.scan_limits(&scan)
                    && told.rhythm_limits() == bare.rhythm_limits();
                assert!(!is_same, "{}.{}", kind.name(), threshold.name);
            }
        }
    }
}
