//! Beacons: calls to one place that come at one interval, with some jitter, for as long as one looks.

use std::collections::VecDeque;

use portolan_flowtable::Timestamp;

/// Intervals looked at; older ones are forgotten.
pub const INTERVALS_MAX: usize = 32;
/// Fewest intervals that make a beacon. Fewer happen to be alike.
pub const BEATS_MIN: usize = 16;
/// Shortest period. What comes faster is a poll or a stream, and told by its rate.
const PERIOD_MIN: i64 = 5 * Timestamp::SECOND;
/// Calls closer than this are one beat: a page of several requests.
const BEAT: i64 = Timestamp::SECOND;
/// An interval fits if it lies within this share of the period, or of a small multiple of it: a beat that was missed.
const JITTER_PERCENT: i64 = 25;
/// Beats that may be missed in a row.
const MISSED_MAX: i64 = 3;
/// Share of intervals that must fit.
const FITTING_PERCENT: usize = 85;
/// Of those that fit, three in four must lie this near: intervals that only happen to be alike are spread over all they
/// may be.
const NEAR_PERCENT: i64 = 12;

/// The beats of calls to one place.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Beacon {
    last_at: Option<Timestamp>,
    intervals: VecDeque<i64>,
}

/// A period that was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Period {
    /// Nanoseconds from beat to beat, in the median.
    pub nanoseconds: i64,
    /// Intervals it rests on.
    pub intervals: usize,
    /// How many of them fit.
    pub fitting: usize,
}

impl Beacon {
    /// Takes a call in. What comes out of order, or within a second of the one before, is the same beat.
    pub fn call(&mut self, at: Timestamp) {
        let Some(last_at) = self.last_at else {
            self.last_at = Some(at);
            return;
        };
        let interval = at.since(last_at);
        if interval < BEAT {
            return;
        }
        if self.intervals.len() >= INTERVALS_MAX {
            self.intervals.pop_front();
        }
        self.intervals.push_back(interval);
        self.last_at = Some(at);
    }

    /// Returns when the latest beat was.
    pub fn last_at(&self) -> Option<Timestamp> {
        self.last_at
    }

    /// Returns the period, where there is one.
    pub fn period(&self) -> Option<Period> {
        self.period_of(BEATS_MIN)
    }

    /// Returns the period, where so many intervals at least make one.
    pub fn period_of(&self, beats_min: usize) -> Option<Period> {
        if self.intervals.len() < beats_min {
            return None;
        }
        let mut sorted: Vec<i64> = self.intervals.iter().copied().collect();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied()?;
        if median < PERIOD_MIN {
            return None;
        }
        let deviation = |interval: i64| {
            (1..=MISSED_MAX + 1)
                .map(|beats| (interval - median.saturating_mul(beats)).abs())
                .min()
                .unwrap_or(i64::MAX)
        };
        let within = |percent: i64| {
            let most = median / 100 * percent;
            self.intervals.iter().filter(|interval| deviation(**interval) <= most).count()
        };
        let fitting = within(JITTER_PERCENT);
        let all = self.intervals.len();
        let is_steady = fitting * 100 >= all * FITTING_PERCENT && within(NEAR_PERCENT) * 4 >= fitting * 3;
        is_steady.then_some(Period { nanoseconds: median, intervals: all, fitting })
    }
}
