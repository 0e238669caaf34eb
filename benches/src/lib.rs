//! Reproducible traffic for benchmarks and for the test that a packet allocates nothing.

pub mod traffic;
