//! Judgement: what was documented, held against what was seen.
mod assessment;
pub use assessment::*;
