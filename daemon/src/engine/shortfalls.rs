//! When frames were missed that had arrived: unreadable, of unknown interfaces, without room in the flow table.

use portolan_flowtable::{Blindness, Ledger, Missed, Missing, Timestamp};

/// Intervals kept of each kind; beyond, the two oldest become one.
const KEPT_MAX: usize = 64;
/// What is missed again so soon, in nanoseconds, is missed all the while: a loss that goes on is one interval.
const APART: i64 = 10 * Timestamp::SECOND;

/// Bounds the time of what is missed by the frames themselves, gathered from one tick to the next.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shortfalls {
    /// By kind: how much of it has a time.
    dated: [u64; Missing::ALL.len()],
    intervals: [Vec<Blindness>; Missing::ALL.len()],
}

impl Shortfalls {
    /// Takes the times and the accounts of one tick.
    pub(super) fn note(&mut self, missed: &Missed, ledger: &Ledger) {
        let kinds = Missing::ALL.into_iter().zip(missed.spans());
        for ((kind, span), (dated, intervals)) in kinds.zip(self.dated.iter_mut().zip(&mut self.intervals)) {
            let Some((from, until)) = span else { continue };
            let count = count_of(kind, ledger);
            let more = count.saturating_sub(*dated);
            *dated = count;
            add(
                intervals,
                Blindness { from, until, frames: frames_of(kind, more), cause: cause_of(kind).to_owned() },
            );
        }
    }

    /// Returns whether everything of these kinds that the accounts tell of has a time.
    pub(super) fn date_all_of(&self, ledger: &Ledger) -> bool {
        Missing::ALL.into_iter().zip(self.dated).all(|(kind, dated)| dated >= count_of(kind, ledger))
    }

    /// Returns the intervals, kind by kind.
    pub(super) fn intervals(&self) -> impl Iterator<Item = Blindness> {
        self.intervals.iter().flatten().cloned()
    }
}

fn count_of(kind: Missing, ledger: &Ledger) -> u64 {
    match kind {
        Missing::Rejected => ledger.all_rejected().frames,
        Missing::UnknownInterface => ledger.unknown_interface.frames,
        Missing::NoRoom => ledger.overflow.frames,
        Missing::Evicted => ledger.flows_evicted,
    }
}

/// Nobody knows how many frames an attempt that made room would still have had.
fn frames_of(kind: Missing, count: u64) -> Option<u64> {
    match kind {
        Missing::Rejected | Missing::UnknownInterface | Missing::NoRoom => Some(count),
        Missing::Evicted => None,
    }
}

fn cause_of(kind: Missing) -> &'static str {
    match kind {
        Missing::Rejected => "frames rejected",
        Missing::UnknownInterface => "interface unknown",
        Missing::NoRoom => "flow table full",
        Missing::Evicted => "attempts made room",
    }
}

fn add(intervals: &mut Vec<Blindness>, interval: Blindness) {
    if let Some(last) = intervals.last_mut()
        && interval.from.since(last.until) <= APART
        && last.from.since(interval.until) <= APART
    {
        return widen(last, &interval);
    }
    if intervals.len() >= KEPT_MAX {
        let second = intervals.remove(1);
        if let Some(first) = intervals.first_mut() {
            widen(first, &second);
        }
    }
    intervals.push(interval);
}

fn widen(interval: &mut Blindness, by: &Blindness) {
    interval.from = interval.from.min(by.from);
    interval.until = interval.until.max(by.until);
    interval.frames = interval.frames.zip(by.frames).map(|(one, other)| one.saturating_add(other));
}

#[cfg(test)]
mod tests {
    use portolan_flowtable::{Rejected, Tally};

    use super::*;

    const SECOND: i64 = Timestamp::SECOND;

    /// Notes one rejected frame at each of these seconds, a tick each.
    fn rejected_at(seconds: impl IntoIterator<Item = i64>) -> (Shortfalls, Ledger) {
        let (mut shortfalls, mut ledger) = (Shortfalls::default(), Ledger::default());
        for second in seconds {
            let (at, mut missed) = (Timestamp(second * SECOND), Missed::default());
            ledger.rejected(Rejected::Malformed, 60);
            missed.note(Missing::Rejected, at, at);
            shortfalls.note(&missed, &ledger);
        }
        (shortfalls, ledger)
    }

    #[test]
    fn what_is_missed_has_its_time_and_what_goes_on_is_one_interval() {
        let (shortfalls, ledger) = rejected_at([100, 105, 200]);
        let found: Vec<_> =
            shortfalls.intervals().map(|it| (it.from.0 / SECOND, it.until.0 / SECOND, it.frames)).collect();
        assert_eq!(found, [(100, 105, Some(2)), (200, 200, Some(1))]);
        assert!(shortfalls.date_all_of(&ledger));
        let more = Ledger { overflow: Tally { frames: 1, bytes: 60 }, ..ledger };
        assert!(!shortfalls.date_all_of(&more));
    }

    #[test]
    fn the_number_of_intervals_is_bounded_and_none_is_left_uncovered() {
        let (shortfalls, ledger) = rejected_at((0..1_000).map(|number| number * 60));
        let intervals: Vec<Blindness> = shortfalls.intervals().collect();
        assert_eq!(intervals.len(), KEPT_MAX);
        assert_eq!(intervals.iter().filter_map(|it| it.frames).sum::<u64>(), 1_000);
        assert_eq!(intervals[0].from, Timestamp(0));
        assert!(shortfalls.date_all_of(&ledger));
    }

    #[test]
    fn a_clock_that_is_set_back_leaves_both_times_covered() {
        let (shortfalls, _) = rejected_at([10_000, 100]);
        let found: Vec<i64> = shortfalls.intervals().map(|it| it.from.0 / SECOND).collect();
        assert_eq!(found, [10_000, 100]);
    }
}
