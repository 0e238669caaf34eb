//! The service graph and its forms.
//!
//! # Where it sits
//!
//! [`Graph::draw`] turns an [`Assessment`](portolan_policy::Assessment) into nodes and edges at one [`Group`]ing;
//! `to_json`, `to_dot` and `to_mermaid` write it. The exporter serves the same value, so no two views of a tick can
//! disagree.
//!
//! # Invariants
//!
//! - **Every end of an edge is a node**, also where edges were folded.
//! - **Conservation.** Frames and bytes of the edges add up to those of all conversations but backscatter.
//! - **Pure and ordered.** No clock, no I/O; nodes and edges are sorted, so two drawings are byte-identical.
//! - **Hostile names** are escaped by each form for its own syntax, and cannot pass for `host` or an address.
//!
//! # Example
//!
//! ```
//! use portolan_flowtable::Snapshot;
//! use portolan_graphs::{Graph, Group};
//! use portolan_policy::Contract;
//!
//! fn picture(snapshot: Snapshot) -> String {
//!     Graph::draw(&Contract::default().assess(snapshot), Group::Service).to_dot()
//! }
//! ```
#![forbid(unsafe_code)]

mod cast;
mod changes;
mod cytoscape;
mod difference;
mod dot;
mod drafts;
mod graph;
mod graphml;
mod json;
mod map;
mod merge;
mod mermaid;
mod strands;
mod style;
mod svg;
mod xml;

pub use changes::*;
pub use difference::*;
pub use graph::*;
pub use json::SCHEMA;
pub use map::*;
pub use merge::{
    ADDRESS_NOTES_MAX, Apart, Crossing, Fleet, HostView, Merged, MergedHost, Reason, SameHost, Sighting,
};
pub use style::{short_bytes, short_milliseconds};
