//! The service graph and its forms.
mod graph;
pub use graph::*;
