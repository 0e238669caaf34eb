//! How often and how much: periods, levels and guesses, told from what is usual by robust statistics.
//!
//! # Where it sits
//!
//! Whoever applies deltas tells a [`Rhythm`] which flows opened and how much was sent, once a tick; an assessment asks it
//! which of its conversations beat, and which services are above their level. What containers use besides the
//! network it is told by the round, whenever one is read.
//!
//! # Invariants
//!
//! - **Pure.** Instants and amounts come in, answers go out; no clock.
//! - **Bounded.** A [`Beacon`] holds 32 instants, a [`Level`] eight days of 48 numbers and half an hour of minutes,
//!   guesses as many instants as make a finding; how many of each are held has a limit, and what is turned away is counted.
//! - **Robust.** Medians and quantiles of days, so that one burst does not become usual by happening.

mod beacon;
mod findings;
mod guesses;
mod level;
mod measure;
mod resources;
mod watch;

pub use beacon::{BEATS_MIN, Beacon, INTERVALS_MAX, Period};
pub(crate) use findings::{beacons, guessing, levels};
pub use guesses::{GuessLimits, may_be_guess};
pub use level::{Excess, Level, LevelLimits};
pub use measure::Measure;
pub use watch::{RHYTHM_FORM, Rhythm, RhythmLimits, RhythmRecord, ServiceRecord};
