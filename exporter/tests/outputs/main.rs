//! The exporter from outside: what it says on each of its outputs, and what it makes of hostile input.

#[cfg(test)]
mod doors;
#[cfg(test)]
mod events;
#[cfg(test)]
mod exposition;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod gates;
#[cfg(test)]
mod http;
#[cfg(test)]
mod increments;
#[cfg(test)]
mod indicators;
#[cfg(test)]
mod orders;
