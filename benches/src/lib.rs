//! Reproducible traffic for benchmarks, for the comparison with other programs, and for the test that a packet
//! allocates nothing.

pub mod captures;
pub mod edges;
pub mod traffic;
