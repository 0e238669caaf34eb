//! Metrics, HTTP pages and events.
pub mod community_id;
pub mod escape;
mod publication;
pub use publication::*;
