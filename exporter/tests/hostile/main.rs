//! The exporter among clients that mean it no good; a binary of its own, because it counts its descriptors.

#[cfg(test)]
mod clients;
