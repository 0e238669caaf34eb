//! Selecting frames by a filter expression is libpcap's; this was built without.

use std::convert::Infallible;

use crate::error::TapError;
use crate::frame::{Frame, LinkType};

/// There is none.
#[derive(Debug)]
pub struct Selection(Infallible);

impl Selection {
    /// Refuses every expression.
    ///
    /// # Errors
    ///
    /// Always returns that libpcap was left out.
    pub fn new(_: &str) -> Result<Self, TapError> {
        let remedy = "use a build with it, or cut the capture first: tshark -Y, tcpdump -r";
        Err(TapError::WithoutLibrary { what: "a filter expression", remedy })
    }

    /// Is never asked.
    pub fn selects(&mut self, _: &Frame<'_>) -> bool {
        match self.0 {}
    }

    /// Is never asked.
    pub fn refused(&self) -> std::iter::Empty<LinkType> {
        match self.0 {}
    }
}
