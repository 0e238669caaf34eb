//! Levels: bytes, connections, destinations in a minute, held against what is usual at that half hour of the day.

use std::collections::VecDeque;

use portolan_flowtable::Timestamp;

/// Days remembered.
const DAYS_MAX: usize = 8;
/// Parts of the day, each with a level of its own.
const PARTS: usize = 48;
const MINUTE: i64 = 60 * Timestamp::SECOND;
/// Minutes of a part.
const MINUTES: i64 = 30;
/// Of a part's minutes, this many in a hundred lie below what is taken for its level.
const BUSY_PERCENT: usize = 90;

/// When a level is unusual.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LevelLimits {
    /// So many times what is usual.
    pub times: u64,
    /// For so many minutes in a row.
    pub minutes: u32,
    /// So many minutes in a row below it end it; what comes sooner is the same.
    pub quiet_minutes: u32,
    /// Less than this in a minute is never unusual.
    pub least: u64,
    /// Days that must have been seen before anything is called unusual.
    pub days: usize,
}

impl Default for LevelLimits {
    fn default() -> Self {
        Self { times: 4, minutes: 5, quiet_minutes: 15, least: 10, days: 3 }
    }
}

/// An unusual level that has just begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Excess {
    /// The first of the minutes.
    pub from: Timestamp,
    /// What the latest held.
    pub amount: u64,
    /// What is usual in a minute at that hour.
    pub usual: u64,
}

/// What one service does in a minute, and what is usual.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Level {
    /// The minute being counted, from the epoch, and what it holds.
    minute: Option<(i64, u64)>,
    /// Minutes of the half hour being counted.
    part: Vec<u64>,
    /// Of each half hour of the day, the levels of the latest days.
    days: Vec<VecDeque<u64>>,
    above: u32,
    below: u32,
    is_excess: bool,
}

impl Level {
    /// Adds an amount at an instant. Returns an unusual level, once, when it has lasted long enough.
    pub fn add(&mut self, at: Timestamp, amount: u64, limits: &LevelLimits) -> Option<Excess> {
        let minute = at.0.div_euclid(MINUTE);
        let Some((current, held)) = self.minute else {
            self.minute = Some((minute, amount));
            return None;
        };
        if minute <= current {
            self.minute = Some((current, held.saturating_add(amount)));
            return None;
        }
        let mut found = self.close(current, held, limits);
        // Minutes in which nothing was said count as such; of a long silence the last half hour is enough.
        let silent = (current + 1).max(minute - MINUTES);
        for empty in silent..minute {
            found = self.close(empty, 0, limits).or(found);
        }
        self.minute = Some((minute, amount));
        found
    }

    /// Takes what was read at an instant; of a minute the first reading counts. A minute without one is not known, and is
    /// none of those in a row. Returns an unusual level, once, when it has lasted long enough.
    pub fn read(&mut self, at: Timestamp, amount: u64, limits: &LevelLimits) -> Option<Excess> {
        let minute = at.0.div_euclid(MINUTE);
        let Some((current, held)) = self.minute else {
            self.minute = Some((minute, amount));
            return None;
        };
        if minute <= current {
            return None;
        }
        let found = self.close(current, held, limits);
        if minute > current + 1 {
            self.above = 0;
            if minute.div_euclid(MINUTES) != current.div_euclid(MINUTES) {
                self.close_part(part_of(current));
            }
        }
        self.minute = Some((minute, amount));
        found
    }

    /// Ends what is above where nothing was read for as long as it takes to end it. Returns what the last reading made
    /// unusual.
    pub fn lapse(&mut self, at: Timestamp, limits: &LevelLimits) -> Option<Excess> {
        let (current, held) = self.minute?;
        if at.0.div_euclid(MINUTE) - current <= i64::from(limits.quiet_minutes) {
            return None;
        }
        let found = self.close(current, held, limits);
        self.close_part(part_of(current));
        (self.minute, self.above, self.is_excess) = (None, 0, false);
        found
    }

    /// Returns whether the latest minute that was closed is one of an unusual level.
    pub fn is_above(&self) -> bool {
        self.is_excess && self.below == 0
    }

    /// Returns of each half hour of the day, from midnight UTC, the levels of the latest days; empty before the first
    /// half hour is over.
    pub fn days(&self) -> Vec<Vec<u64>> {
        self.days.iter().map(|days| days.iter().copied().collect()).collect()
    }

    /// Goes on with the levels of earlier days. What is beyond the half hours of a day, or eight days, is left out.
    pub fn resume(days: Vec<Vec<u64>>) -> Self {
        let mut days: Vec<VecDeque<u64>> =
            days.into_iter().take(PARTS).map(|levels| levels.into_iter().take(DAYS_MAX).collect()).collect();
        if !days.is_empty() {
            days.resize_with(PARTS, VecDeque::new);
        }
        Self { days, ..Self::default() }
    }

    /// Returns what is usual in a minute at this half hour of the day: the median over days. `None` where too few days
    /// were seen.
    pub fn usual(&self, at: Timestamp, limits: &LevelLimits) -> Option<u64> {
        let days = self.days.get(part_of(at.0.div_euclid(MINUTE)))?;
        if days.len() < limits.days.max(1) { None } else { median(days) }
    }

    fn close(&mut self, minute: i64, amount: u64, limits: &LevelLimits) -> Option<Excess> {
        let at = Timestamp(minute.saturating_mul(MINUTE));
        let usual = self.usual(at, limits);
        self.part.push(amount);
        if minute.rem_euclid(MINUTES) == MINUTES - 1 {
            self.close_part(part_of(minute));
        }
        let usual = usual?;
        let most = usual.max(1).saturating_mul(limits.times).max(limits.least);
        if amount <= most {
            self.above = 0;
            self.below = self.below.saturating_add(1);
            self.is_excess &= self.below < limits.quiet_minutes;
            return None;
        }
        self.below = 0;
        self.above = self.above.saturating_add(1);
        if self.is_excess || self.above < limits.minutes {
            return None;
        }
        self.is_excess = true;
        let from = at.plus(-i64::from(self.above - 1) * MINUTE);
        Some(Excess { from, amount, usual })
    }

    /// Ends a half hour; one of which nothing is known leaves no level.
    fn close_part(&mut self, part: usize) {
        self.part.sort_unstable();
        let level = self.part.get(self.part.len() * BUSY_PERCENT / 100).or(self.part.last()).copied();
        self.part.clear();
        self.days.resize_with(PARTS, VecDeque::new);
        if let (Some(days), Some(level)) = (self.days.get_mut(part), level) {
            if days.len() >= DAYS_MAX {
                days.pop_front();
            }
            days.push_back(level);
        }
    }
}

fn part_of(minute: i64) -> usize {
    let parts = i64::try_from(PARTS).unwrap_or(1);
    usize::try_from(minute.div_euclid(MINUTES).rem_euclid(parts)).unwrap_or(0)
}

fn median(levels: &VecDeque<u64>) -> Option<u64> {
    let mut sorted: Vec<u64> = levels.iter().copied().collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}
