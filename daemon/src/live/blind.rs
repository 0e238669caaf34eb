//! Blind intervals: when frames were lost.

use portolan_flowtable::{Blindness, Timestamp};

/// Intervals kept; beyond, the two oldest become one.
const KEPT_MAX: usize = 256;

/// Watches a counter of lost frames, read now and then, and bounds the time of each loss by frames: from the last
/// one delivered before the previous reading to the first one that came after this reading.
#[derive(Debug)]
pub(super) struct BlindSpots {
    intervals: Vec<Blindness>,
    lost: u64,
    /// Last frame delivered before the previous reading; until there is one, the start.
    before: Timestamp,
    latest: Option<Timestamp>,
    /// Whether the last interval still waits for the first frame after it.
    is_open: bool,
}

impl BlindSpots {
    /// Begins to watch a counter that stands at 0.
    pub(super) fn new(start: Timestamp) -> Self {
        Self { intervals: Vec::new(), lost: 0, before: start, latest: None, is_open: false }
    }

    /// Notes that frames were delivered, the first and last of them at these times.
    pub(super) fn delivered(&mut self, first: Timestamp, last: Timestamp) {
        // What waited in the ring while it was full is older than the loss, and ends nothing.
        if self.is_open
            && let Some(interval) = self.intervals.last_mut()
            && last >= interval.until
        {
            self.is_open = false;
            interval.until = interval.until.max(first);
        }
        self.latest = Some(last);
    }

    /// Notes a reading of the counter, `lost` frames in all, at the time of the reading itself; that time stands in
    /// until a frame comes.
    ///
    /// A wall clock that was set back meanwhile puts the reading before the last frame: the interval spans both.
    pub(super) fn read(&mut self, lost: u64, now: Timestamp) {
        let more = lost.saturating_sub(self.lost);
        if more > 0 {
            self.lost = lost;
            self.add(Blindness {
                from: self.before.min(now),
                until: self.before.max(now),
                frames: Some(more),
                cause: "ring full".to_owned(),
            });
            self.is_open = true;
        } else if self.is_open
            && let Some(interval) = self.intervals.last_mut()
        {
            // Behind a clock that was set back no frame will be later than the interval for long: it ends here.
            self.is_open = interval.until <= now;
            interval.from = interval.from.min(now);
            interval.until = interval.until.max(now);
        }
        self.before = self.latest.unwrap_or(self.before);
    }

    /// Notes an interval that was caused on purpose or by the host.
    pub(super) fn add(&mut self, interval: Blindness) {
        if let Some(last) = self.intervals.last_mut()
            && last.cause == interval.cause
            && interval.from <= last.until
            && last.from <= interval.until
        {
            last.from = last.from.min(interval.from);
            last.until = last.until.max(interval.until);
            last.frames = last.frames.zip(interval.frames).map(|(one, other)| one + other);
            return;
        }
        if self.intervals.len() >= KEPT_MAX {
            let second = self.intervals.remove(1);
            if let Some(first) = self.intervals.first_mut() {
                first.from = first.from.min(second.from);
                first.until = first.until.max(second.until);
                first.frames = first.frames.zip(second.frames).map(|(one, other)| one + other);
            }
        }
        self.intervals.push(interval);
    }

    /// Returns the intervals so far.
    pub(super) fn intervals(&self) -> &[Blindness] {
        &self.intervals
    }

    /// Returns until when frames were last lost.
    pub(super) fn last_loss(&self) -> Option<Timestamp> {
        self.intervals.last().map(|interval| interval.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_lies_between_the_last_frame_before_and_the_first_after() {
        let mut spots = BlindSpots::new(Timestamp(0));
        spots.delivered(Timestamp(10), Timestamp(20));
        spots.read(0, Timestamp(25));
        spots.delivered(Timestamp(30), Timestamp(40));
        spots.read(5, Timestamp(45));
        spots.delivered(Timestamp(60), Timestamp(70));
        spots.read(5, Timestamp(75));
        assert_eq!(
            spots.intervals(),
            [Blindness {
                from: Timestamp(20),
                until: Timestamp(60),
                frames: Some(5),
                cause: "ring full".into()
            }]
        );
    }

    #[test]
    fn what_waited_in_the_full_ring_does_not_end_the_loss() {
        let mut spots = BlindSpots::new(Timestamp(5));
        spots.read(7, Timestamp(100));
        spots.delivered(Timestamp(20), Timestamp(30));
        spots.read(7, Timestamp(120));
        spots.delivered(Timestamp(110), Timestamp(140));
        spots.delivered(Timestamp(150), Timestamp(160));
        assert_eq!(
            spots.intervals(),
            [Blindness {
                from: Timestamp(5),
                until: Timestamp(120),
                frames: Some(7),
                cause: "ring full".into()
            }]
        );
    }

    #[test]
    fn a_clock_that_is_set_back_leaves_no_loss_uncovered_and_no_interval_open() {
        let mut spots = BlindSpots::new(Timestamp(1_000));
        spots.delivered(Timestamp(1_010), Timestamp(1_020));
        spots.read(0, Timestamp(1_025));
        // Set back by 900 before the next reading.
        spots.read(5, Timestamp(130));
        spots.read(5, Timestamp(140));
        let of = |spots: &BlindSpots| {
            spots.intervals().iter().map(|it| (it.from.0, it.until.0, it.frames)).collect::<Vec<_>>()
        };
        assert_eq!(of(&spots), [(130, 1_020, Some(5))]);
        spots.delivered(Timestamp(150), Timestamp(160));
        spots.read(5, Timestamp(165));
        // A loss of its own time is an interval of its own.
        let mut apart = BlindSpots::new(Timestamp(1_000));
        apart.delivered(Timestamp(1_010), Timestamp(1_020));
        apart.read(3, Timestamp(1_030));
        apart.delivered(Timestamp(1_040), Timestamp(1_050));
        apart.read(3, Timestamp(1_060));
        apart.delivered(Timestamp(100), Timestamp(110));
        apart.read(3, Timestamp(120));
        apart.read(9, Timestamp(130));
        assert_eq!(of(&apart), [(1_000, 1_040, Some(3)), (110, 130, Some(6))]);
    }

    #[test]
    fn losses_that_meet_are_one_and_their_number_is_bounded() {
        let mut spots = BlindSpots::new(Timestamp(0));
        for reading in 0..1_000_i64 {
            let at = Timestamp(reading * 100);
            spots.delivered(at, at.plus(10));
            spots.read(u64::try_from(reading / 2).unwrap(), at.plus(20));
        }
        assert!(spots.intervals().len() <= KEPT_MAX);
        let sum: u64 = spots.intervals().iter().filter_map(|interval| interval.frames).sum();
        assert_eq!(sum, 499);
    }
}
