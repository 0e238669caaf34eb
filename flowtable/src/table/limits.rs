//! Sizes and time spans of the flow table.

use serde::{Deserialize, Serialize};

use crate::units::Timestamp;

/// Sizes and time spans of the flow table. Spans are in nanoseconds of engine time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Most flows held at once; rounded up, see [`Limits::slots`].
    pub flows_max: usize,
    /// Silence after which an established TCP flow is forgotten.
    pub tcp_idle: i64,
    /// Silence after which any other answered flow is forgotten.
    pub other_idle: i64,
    /// Silence after which a flow nobody answered is forgotten.
    pub attempt_idle: i64,
    /// Silence after which a flow that saw both FINs or RST is forgotten.
    pub linger: i64,
    /// Time after which an undelivered SYN is `blocked`.
    pub blocked_after: i64,
    /// Time after which an attempt without an answer is `unanswered`.
    pub unanswered_after: i64,
    /// Time after the start in which the first packet of a flow may be an answer.
    pub midstream_span: i64,
    /// Time a frame waits for its interface's role.
    pub hold: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            flows_max: 131_072,
            tcp_idle: 1_800 * Timestamp::SECOND,
            other_idle: 60 * Timestamp::SECOND,
            attempt_idle: 30 * Timestamp::SECOND,
            linger: 10 * Timestamp::SECOND,
            blocked_after: Timestamp::SECOND,
            unanswered_after: 5 * Timestamp::SECOND,
            midstream_span: 2 * Timestamp::SECOND,
            hold: 250 * Timestamp::MILLISECOND,
        }
    }
}

impl Limits {
    /// Fewest flows a table is made for.
    pub const FLOWS_MIN: usize = 64;

    /// Returns the slots of a table: the flows it is to hold, rounded up to one of eight steps between two powers of
    /// two. More slots would be memory of no use, since a flow finds room in a window of 32 up to a load of 0.95.
    pub fn slots(&self) -> usize {
        let flows = self.flows_max.max(Self::FLOWS_MIN);
        flows.next_multiple_of(flows.next_power_of_two() / 16)
    }
}
