//! The engine: the same for a live tap and for a capture file.
//!
//! [`Meter`] is the data plane: frames in, [`Delta`](portolan_flowtable::Delta)s out, no name and no clock.
//! [`Chart`] is the control plane: deltas in, one immutable publication per tick out. Live they run on two
//! threads with a bounded ring between them; replay calls one after the other.

mod chart;
mod completeness;
mod flow_book;
mod learner;
mod life;
mod meter;
mod overheard;
mod pace;
mod remembered;
mod shortfalls;
mod vitals;

pub use chart::{Chart, ChartOptions, Turn};
pub use completeness::{Losses, Source, judge_completeness};
pub use flow_book::{FlowBook, Unseen};
pub(crate) use learner::row as baseline_row;
pub use life::Happenings;
pub use meter::{DELTAS_PER_COMMAND, Meter, Who};
pub use overheard::Overheard;
pub use shortfalls::Shortfalls;
pub use vitals::{RunFacts, vitals};
