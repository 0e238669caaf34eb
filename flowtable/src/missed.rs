//! When frames came that are in no flow although they should be, or whose flow was given up early.

use crate::units::Timestamp;

/// What may be missing besides what never arrived.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Missing {
    /// Frames that could not be read.
    Rejected,
    /// Frames of interfaces that got no role in time.
    UnknownInterface,
    /// Frames for which the flow table had no room.
    NoRoom,
    /// Attempts that made room for others: their answers, where they came later, are flows of their own.
    Evicted,
}

impl Missing {
    /// All of them, in the order of [`Missed::spans`].
    pub const ALL: [Self; 4] = [Self::Rejected, Self::UnknownInterface, Self::NoRoom, Self::Evicted];

    fn index(self) -> usize {
        match self {
            Self::Rejected => 0,
            Self::UnknownInterface => 1,
            Self::NoRoom => 2,
            Self::Evicted => 3,
        }
    }
}

/// For each kind, the time from the first to the last of it since somebody last asked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Missed([Option<(Timestamp, Timestamp)>; Missing::ALL.len()]);

impl Missed {
    /// Notes that something of this kind is missing between two instants, the earlier first.
    pub fn note(&mut self, kind: Missing, from: Timestamp, until: Timestamp) {
        if let Some(span) = self.0.get_mut(kind.index()) {
            let (first, last) = span.unwrap_or((from, until));
            *span = Some((first.min(from), last.max(until)));
        }
    }

    /// Returns the times, in the order of [`Missing::ALL`].
    pub fn spans(&self) -> [Option<(Timestamp, Timestamp)>; Missing::ALL.len()] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_the_time_from_its_first_to_its_last_whatever_their_order() {
        let mut missed = Missed::default();
        for at in [30, 10, 20] {
            missed.note(Missing::NoRoom, Timestamp(at), Timestamp(at));
        }
        missed.note(Missing::Evicted, Timestamp(5), Timestamp(40));
        let of = |from, until| Some((Timestamp(from), Timestamp(until)));
        assert_eq!(missed.spans(), [None, None, of(10, 30), of(5, 40)]);
    }
}
