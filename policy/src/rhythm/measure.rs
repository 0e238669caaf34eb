//! What of a service has a level.

use portolan_flowtable::units::grouped;
use serde::{Deserialize, Serialize};

use super::level::{Excess, LevelLimits};
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
    /// Memory its containers use, in bytes.
    Memory,
    /// Processor time they use in a minute, in milliseconds.
    CpuTime,
    /// Bytes they read from block devices in a minute.
    BlockRead,
    /// Bytes they write to block devices in a minute.
    BlockWritten,
    /// Processes and threads they have.
    Pids,
}

impl Measure {
    /// Every measure.
    pub const ALL: [Self; 10] = [
        Self::SentBytes,
        Self::Opened,
        Self::Called,
        Self::Peers,
        Self::NewPeers,
        Self::Memory,
        Self::CpuTime,
        Self::BlockRead,
        Self::BlockWritten,
        Self::Pids,
    ];
    /// Those of the network: a minute in which nothing was seen holds none.
    pub(super) const TRAFFIC: [Self; 5] =
        [Self::SentBytes, Self::Opened, Self::Called, Self::Peers, Self::NewPeers];
    /// Those that are read now and then: of a minute without a reading nothing is known.
    pub(super) const RESOURCES: [Self; 5] =
        [Self::Memory, Self::CpuTime, Self::BlockRead, Self::BlockWritten, Self::Pids];

    /// Returns its place in [`Measure::ALL`].
    pub(super) fn index(self) -> usize {
        match self {
            Self::SentBytes => 0,
            Self::Opened => 1,
            Self::Called => 2,
            Self::Peers => 3,
            Self::NewPeers => 4,
            Self::Memory => 5,
            Self::CpuTime => 6,
            Self::BlockRead => 7,
            Self::BlockWritten => 8,
            Self::Pids => 9,
        }
    }

    /// Returns whether it is read now and then, and not seen on the network.
    pub(super) fn is_read(self) -> bool {
        Self::RESOURCES.contains(&self)
    }

    /// Returns what less than in a minute is never unusual.
    fn least(self) -> u64 {
        match self {
            Self::SentBytes => 1_000_000,
            Self::Opened | Self::Called => 60,
            Self::Peers | Self::NewPeers => 20,
            Self::Memory => 64 << 20,
            // A quarter of one processor.
            Self::CpuTime => 15_000,
            Self::BlockRead | Self::BlockWritten => 100_000_000,
            Self::Pids => 64,
        }
    }

    /// Returns the limits for it: what is said for all, and its own least.
    pub(super) fn within(self, limits: &LevelLimits) -> LevelLimits {
        LevelLimits { least: self.least(), ..*limits }
    }

    /// Writes `4,120 connections opened in a minute where 12 are usual`, `memory 1.2 GiB, typically 210 MiB`.
    pub(super) fn in_words(self, excess: &Excess) -> String {
        let Excess { amount, usual, from: _ } = *excess;
        let what = match self {
            Self::SentBytes => format!("{} sent", words::count(amount, "byte")),
            Self::Opened => format!("{} opened", words::count(amount, "connection")),
            Self::Called => format!("{} received", words::count(amount, "connection")),
            Self::Peers => format!("{} called", words::count(amount, "peer")),
            Self::NewPeers => format!("{} called that it never had called", words::count(amount, "peer")),
            Self::Memory => {
                return format!("memory {}, typically {}", words::bytes(amount), words::bytes(usual));
            }
            Self::CpuTime => {
                let (amount, usual) = (seconds(amount), seconds(usual));
                return format!("processor time {amount} in a minute, typically {usual}");
            }
            Self::BlockRead | Self::BlockWritten => {
                let verb = if self == Self::BlockRead { "read from" } else { "written to" };
                let (amount, usual) = (words::bytes(amount), words::bytes(usual));
                return format!("{amount} {verb} block devices in a minute, typically {usual}");
            }
            Self::Pids => {
                let (amount, usual) = (grouped(amount), grouped(usual));
                return format!("{amount} processes and threads, typically {usual}");
            }
        };
        let verb = if usual == 1 { "is" } else { "are" };
        format!("{what} in a minute where {} {verb} usual", grouped(usual))
    }
}

/// Writes milliseconds as a span.
fn seconds(milliseconds: u64) -> String {
    let milliseconds = i64::try_from(milliseconds).unwrap_or(i64::MAX);
    words::span(milliseconds.saturating_mul(1_000_000))
}
