//! A frame on its way to the meter.

use portolan_capture::{Frame, ParseError, ParseOptions, parse};
use portolan_flowtable::plain::Record;
use portolan_flowtable::{Observation, Timestamp};

use super::pipeline::Reduce;

/// What metering has to know of one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// When it was stamped.
    pub at: Timestamp,
    /// Its record's lengths and time.
    pub record: Record,
    /// What was read of it.
    pub sighting: Sighting,
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
        Row { at: frame.at, record: frame.record(), sighting }
    }
}
