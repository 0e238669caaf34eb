//! What of a service has a level.

use serde::{Deserialize, Serialize};

use super::level::LevelLimits;
use crate::words;

/// What of a service is counted by the minute.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Bytes it sent, whoever opened the connection.
    SentBytes,
    /// Connections (flows) it opened.
    Opened,
    /// Connections (flows) it was called by.
    Called,
    /// Peers it called: its fan-out.
    Peers,
    /// Peers it called that it never had called before.
    NewPeers,
}

impl Measure {
    /// Every measure.
    pub const ALL: [Self; 5] = [Self::SentBytes, Self::Opened, Self::Called, Self::Peers, Self::NewPeers];

    /// Returns its place in [`Measure::ALL`].
    pub(super) fn index(self) -> usize {
        match self {
            Self::SentBytes => 0,
            Self::Opened => 1,
            Self::Called => 2,
            Self::Peers => 3,
            Self::NewPeers => 4,
        }
    }

    /// Returns what less than in a minute is never unusual.
    fn least(self) -> u64 {
        match self {
            Self::SentBytes => 1_000_000,
            Self::Opened | Self::Called => 60,
            Self::Peers | Self::NewPeers => 20,
        }
    }

    /// Returns the limits for it: what is said for all, and its own least.
    pub(super) fn within(self, limits: &LevelLimits) -> LevelLimits {
        LevelLimits { least: self.least(), ..*limits }
    }

    /// Writes `4,120 connections opened`.
    pub(super) fn in_words(self, amount: u64) -> String {
        match self {
            Self::SentBytes => format!("{} sent", words::count(amount, "byte")),
            Self::Opened => format!("{} opened", words::count(amount, "connection")),
            Self::Called => format!("{} received", words::count(amount, "connection")),
            Self::Peers => format!("{} called", words::count(amount, "peer")),
            Self::NewPeers => format!("{} called that it never had called", words::count(amount, "peer")),
        }
    }
}
