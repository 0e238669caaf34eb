//! A frame on its way to the meter.

use portolan_capture::dns::{Spoken, spoken};
use portolan_capture::{Frame, ParseError, ParseOptions, parse_into};
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
    /// What became of it.
    pub sighting: Sighting,
    /// What was read of it, where it was.
    pub seen: Observation,
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
    /// Whether names are read off port 53.
    pub names: bool,
}

impl Reduce for Reading {
    type Row = Row;

    const UNREAD: Row = Row {
        at: Timestamp(0),
        record: Record { original_bytes: 0, captured_bytes: 0, beyond_seconds: 0 },
        sighting: Sighting::Deselected,
        seen: Observation::UNREAD,
        spoken: None,
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
        row.spoken = match &row.sighting {
            Sighting::Read if self.names => spoken(frame, &row.seen)
                .map(|Spoken { bytes, is_tcp }| Box::new(Kept { bytes: bytes.to_vec(), is_tcp })),
            Sighting::Read | Sighting::Refused(_) | Sighting::Deselected => None,
        };
    }
}
