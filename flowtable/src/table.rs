//! The flow table.

/// Sizes and time spans of the flow table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Most flows held at once.
    pub flows_max: usize,
}
/// The flow table.
#[derive(Debug)]
pub struct FlowTable {}
