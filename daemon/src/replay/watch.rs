//! Following a replay flow by flow, or frame by frame.

use portolan_capture::FileInterface;
use portolan_flowtable::Flow;

/// Somebody who follows a replay. Flows have the same numbers in every replay of the same captures.
pub(crate) trait Watch {
    /// Returns whether [`Watch::counted`] is to be called.
    fn follows_frames(&self) -> bool {
        false
    }

    /// Hears how a flow stands, now and then and when it ends, and which total it is part of.
    fn flow(&mut self, flow: &Flow, total: u32);

    /// Hears which flow a frame was counted in. Frames come in order but for those that were held.
    fn counted(&mut self, _frame: u64, _flow: u64) {}

    /// Hears, at the end, the totals each conversation of the answer rests on, and the interfaces of the captures.
    fn end(&mut self, _members: Vec<Vec<u32>>, _interfaces: &[FileInterface]) {}
}
