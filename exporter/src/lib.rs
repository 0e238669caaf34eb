//! Metrics, HTTP pages and events.
mod publication;
pub use publication::*;
