//! A median in bounded memory: counts per quarter octave.

/// Counts of durations in quarter octaves from 1 microsecond on; 128 of them reach beyond an hour.
#[derive(Clone, Debug)]
pub(crate) struct Quantiles {
    counts: Box<[u32; BUCKETS]>,
    total: u64,
}

const BUCKETS: usize = 128;

impl Quantiles {
    pub(crate) fn new() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0 }
    }

    /// Counts one duration in nanoseconds; what is below 1 microsecond counts as 1 microsecond.
    pub(crate) fn count(&mut self, nanoseconds: i64) {
        if let Some(count) = self.counts.get_mut(bucket(nanoseconds)) {
            *count = count.saturating_add(1);
            self.total += 1;
        }
    }

    /// Takes back one duration that was counted.
    pub(crate) fn uncount(&mut self, nanoseconds: i64) {
        if let Some(count) = self.counts.get_mut(bucket(nanoseconds)).filter(|count| **count > 0) {
            *count -= 1;
            self.total -= 1;
        }
    }

    /// Adds another's counts.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts.iter()) {
            *mine = mine.saturating_add(*theirs);
        }
        self.total += other.total;
    }

    /// Returns the median in nanoseconds, as the middle of its quarter octave.
    pub(crate) fn median(&self) -> Option<i64> {
        let mut left = self.total.div_ceil(2);
        if left == 0 {
            return None;
        }
        for (index, count) in self.counts.iter().enumerate() {
            left = left.saturating_sub(u64::from(*count));
            if left == 0 {
                return Some(middle(index));
            }
        }
        None
    }
}

fn bucket(nanoseconds: i64) -> usize {
    let microseconds = u64::try_from(nanoseconds).unwrap_or(0) / 1_000;
    if microseconds == 0 {
        return 0;
    }
    let octave = microseconds.ilog2();
    // The two bits below the leading one say which quarter of the octave.
    let quarter =
        if octave >= 2 { (microseconds >> (octave - 2)) & 3 } else { (microseconds << (2 - octave)) & 3 };
    (octave as usize * 4 + usize::try_from(quarter).unwrap_or(0)).min(BUCKETS - 1)
}

fn middle(index: usize) -> i64 {
    let octave = i64::try_from(index / 4).unwrap_or(0);
    let quarter = i64::try_from(index % 4).unwrap_or(0);
    // (1 + (quarter + 1/2) / 4) * 2^octave microseconds, in nanoseconds.
    1_000_i64.saturating_mul(1 << octave.min(40)).saturating_mul(8 + 2 * quarter + 1) / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_within_a_quarter_octave() {
        let mut seen = Quantiles::new();
        assert_eq!(seen.median(), None);
        for microseconds in [80, 90, 100, 4_000, 9_000] {
            seen.count(microseconds * 1_000);
        }
        let median = seen.median().unwrap();
        assert!((84_000..=120_000).contains(&median), "{median}");
    }

    #[test]
    fn extremes_are_counted_and_do_not_panic() {
        let mut seen = Quantiles::new();
        for extreme in [i64::MIN, -1, 0, 1, i64::MAX] {
            seen.count(extreme);
        }
        assert_eq!(seen.median(), Some(1_125));
    }
}
