//! Tests on real networks: T1 between namespaces made here, T2 beside a private Docker engine.
//!
//! All live tests are modules of this one target, so that its helpers are compiled once and none goes unused:
//!
//! - [`engine::Lab`]: a Docker engine in a network namespace of its own, the internet beside it (`scripts/lab`).
//! - [`bridge::BridgeLab`]: a bridge and its members without any Docker, silent but for what a test sends.
//! - [`daemon::Daemon`]: `portolan run` in any of their namespaces, asked over its socket.
//! - [`wire`]: headers off the bytes, payload left.
//! - [`forged`]: frames nobody's kernel would send.
//! - [`traffic`]: exact, bounded traffic from within any namespace.
//!
//! They need root and what `scripts/prepare test` installs, and are therefore ignored by a bare `cargo test`:
//! `cargo test -p portolan-daemon --test lab -- --include-ignored`. Nothing leaves the namespaces, and dropping a
//! laboratory fails the test if anything of it is left.

mod adversaries;
mod bad_input;
mod behind_tls;
mod bridge;
mod churn;
mod daemon;
mod doctor;
mod endurance;
mod engine;
mod engine_trouble;
mod exactly_once;
mod faults;
mod findings;
mod floods;
mod forged;
mod indicators;
mod latency;
mod limits;
mod listeners;
mod live_shop;
mod look;
mod names_and_lives;
mod namespace;
mod power;
mod recorded;
mod sandbox;
mod settlement;
mod spoofed;
mod traffic;
mod unit;
mod watchdog;
mod wire;
mod works;
