//! A frame on its way to the meter.

use portolan_capture::{Frame, ParseError, ParseOptions, parse_into};
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
    /// What became of it.
    pub sighting: Sighting,
    /// What was read of it, where it was.
    pub seen: Observation,
}

impl AsRef<Observation> for Row {
    fn as_ref(&self) -> &Observation {
        &self.seen
    }
}

/// What became of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sighting {
    /// It was read.
    Read,
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

    const UNREAD: Row = Row {
        at: Timestamp(0),
        record: Record { original_bytes: 0, captured_bytes: 0, beyond_seconds: 0 },
        sighting: Sighting::Deselected,
        seen: Observation::UNREAD,
    };

    #[inline(always)]
    fn reduce(&self, frame: &Frame<'_>, is_selected: bool, row: &mut Row) {
        row.at = frame.at;
        row.record = frame.record();
        row.sighting = if is_selected {
            match parse_into(frame, &self.options, &mut row.seen) {
                Ok(()) => Sighting::Read,
                Err(error) => Sighting::Refused(error),
            }
        } else {
            Sighting::Deselected
        };
    }
}
