//! How often and how much: periods and levels, told from what is usual by robust statistics.
//!
//! # Invariants
//!
//! - **Pure.** Instants and amounts come in, answers go out; no clock.
//! - **Bounded.** A [`Beacon`] holds 32 instants, a [`Level`] eight days of 48 numbers and half an hour of minutes.
//! - **Robust.** Medians and quantiles of days, so that one burst does not become usual by happening.

mod beacon;
mod level;

pub use beacon::{BEATS_MIN, Beacon, Period};
pub use level::{Excess, Level, LevelLimits};
