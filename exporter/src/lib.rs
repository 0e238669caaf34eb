//! Metrics, HTTP pages and events.
pub mod catalogue;
pub mod client;
pub mod collect;
pub mod community_id;
pub mod escape;
pub mod exposition;
pub mod http;
mod own;
mod publication;
pub mod words;

pub use collect::{EdgeMemory, SeriesLimits};
pub use exposition::render;
pub use own::OwnMetrics;
pub use publication::*;
