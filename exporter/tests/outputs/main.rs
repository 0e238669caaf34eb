//! The exporter from outside: what it says on each of its outputs, and what it makes of hostile input.

mod exposition;
mod fixture;
