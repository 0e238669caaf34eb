//! What the data plane tells the control plane: how flows grew since the last time.

use crate::flow::Flow;
use crate::ledger::Tally;

/// Growth of one flow since its last delta.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delta {
    /// The flow's slot; together with `flow.id` it names the flow.
    pub slot: u32,
    /// Frames and bytes from A and from B since the last delta of this flow.
    pub grown: [Tally; 2],
    /// The flow as it stands, totals included.
    pub flow: Flow,
    /// Set on the flow's last delta.
    pub ended: Option<EndReason>,
}

/// Why a flow's accounts were closed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// FIN from both ends or RST, and the linger time.
    Closed,
    /// Silence for the idle time.
    Idle,
    /// It made room for another flow.
    Evicted,
    /// One of its ends turned out to be another container.
    Rebound,
    /// The same ports opened a new connection.
    Reused,
    /// The tap ended.
    Settled,
}

/// Where deltas go. Bounded: a refused delta stays in its slot until the next drain.
pub trait DeltaSink {
    /// Takes one delta, or gives it back where there is no room.
    ///
    /// # Errors
    ///
    /// Returns the delta where the sink is full.
    fn push(&mut self, delta: Delta) -> Result<(), Box<Delta>>;

    /// Returns how many more deltas fit now. The table asks before it clears a slot.
    fn room(&self) -> usize;
}

impl DeltaSink for Vec<Delta> {
    fn push(&mut self, delta: Delta) -> Result<(), Box<Delta>> {
        Self::push(self, delta);
        Ok(())
    }

    fn room(&self) -> usize {
        usize::MAX
    }
}
