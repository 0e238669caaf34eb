//! Live: the engine on two threads. The tap's thread meters; everything else happens on others.

mod blind;
mod intake;
mod session;

pub use session::{Pulse, Session, SessionOptions, clock, host_name};
