//! Metrics, HTTP pages and events: what leaves Portolan, and in which words.
//!
//! # Where it sits
//!
//! The daemon puts one [`Publication`] per tick into a `watch` channel. [`http::serve`] answers every request from
//! the latest one; a slow reader may skip some. News does not go that way, because skipping it would lose it:
//! [`events::EventSource`] is given every publication and alert, and [`events::EventWriter`] writes what is new.
//!
//! # Invariants
//!
//! - **No count of its own.** Frames, bytes and connections come from the publication, exact to the last one, so a
//!   scrape, the graph, the page and the command line cannot disagree.
//! - **Nothing downstream.** Nothing here changes what is measured or judged, and nothing waits for a consumer.
//! - **Bounded.** Series, connections, answers, queues: each has a limit and a counter for what was beyond it.
//! - **Hostile strings.** Each output escapes for itself ([`escape`]); names are never trusted.

mod atomics;
pub mod catalogue;
pub mod client;
pub mod collect;
pub mod community_id;
mod cost;
mod digits;
pub mod escape;
pub mod events;
pub mod exposition;
mod flow_json;
pub mod frames;
pub mod http;
mod own;
mod publication;
pub mod snapshots;
mod text;
pub mod view;
pub mod words;

pub use collect::{EdgeMemory, SeriesLimits};
pub use cost::Cost;
pub use exposition::render;
pub use flow_json::write_flow;
pub use own::OwnMetrics;
pub use publication::*;
pub use text::Text;
pub use words::finding_kinds;
