//! A frame on its way to the meter.

use portolan_capture::dns::{Spoken, spoken};
use portolan_capture::{Frame, ParseError, ParseOptions, parse};
use portolan_flowtable::plain::Record;
use portolan_flowtable::{Observation, Timestamp};

use super::pipeline::Reduce;

/// What metering has to know of one frame.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// When it was stamped.
    pub at: Timestamp,
    /// Its record's lengths and time.
    pub record: Record,
    /// What was read of it.
    pub sighting: Sighting,
    /// What it says of names: of nearly no frame.
    pub spoken: Option<Box<Kept>>,
}

/// DNS out of a frame that is gone.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    bytes: Vec<u8>,
    is_tcp: bool,
}

impl Kept {
    /// Returns it as it was found.
    pub(super) fn spoken(&self) -> Spoken<'_> {
        Spoken { bytes: &self.bytes, is_tcp: self.is_tcp }
    }
}

/// What was read of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sighting {
    /// It was read.
    Read(Observation),
    /// It could not be.
    Refused(ParseError),
    /// It was not asked for.
    Deselected,
}

/// How frames are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// What is to be read of them.
    pub options: ParseOptions,
    /// Whether names are read off port 53.
    pub names: bool,
}

impl Reduce for Reading {
    type Row = Row;

    #[inline(always)]
    fn reduce(&self, frame: &Frame<'_>, is_selected: bool) -> Row {
        let sighting = if is_selected {
            parse(frame, &self.options).map_or_else(Sighting::Refused, Sighting::Read)
        } else {
            Sighting::Deselected
        };
        let spoken = match &sighting {
            Sighting::Read(seen) if self.names => spoken(frame, seen),
            Sighting::Read(_) | Sighting::Refused(_) | Sighting::Deselected => None,
        };
        let spoken = spoken.map(|Spoken { bytes, is_tcp }| Box::new(Kept { bytes: bytes.to_vec(), is_tcp }));
        Row { at: frame.at, record: frame.record(), sighting, spoken }
    }
}
