//! Which parts of the day were watched: a daily job is missed by whoever never watches at its hour.

use std::fmt;
use std::str::FromStr;

use portolan_flowtable::Timestamp;

use super::profile::WINDOW;

/// Ten-minute windows of an hour.
const WINDOWS: u8 = 6;
/// All of them.
const WHOLE: u8 = (1 << WINDOWS) - 1;

/// The ten-minute windows of the day (UTC) that were watched from beginning to end, on whichever day.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Hours([u8; 24]);

impl Hours {
    /// Notes that the window of `at` was watched.
    pub fn add(&mut self, at: Timestamp) {
        let of_day = at.0.div_euclid(WINDOW).rem_euclid(24 * i64::from(WINDOWS));
        self.set(usize::try_from(of_day).unwrap_or(0));
    }

    /// Adds what was watched elsewhere.
    pub fn merge(&mut self, other: Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine |= theirs;
        }
    }

    /// Returns hours of the day that were watched whole.
    pub fn whole(&self) -> u32 {
        self.0.iter().map(|windows| u32::from(*windows == WHOLE)).sum()
    }

    fn set(&mut self, of_day: usize) {
        if let Some(hour) = self.0.get_mut(of_day / usize::from(WINDOWS)) {
            *hour |= 1 << (of_day % usize::from(WINDOWS));
        }
    }

    fn has(&self, of_day: usize) -> bool {
        let hour = self.0.get(of_day / usize::from(WINDOWS)).copied().unwrap_or(0);
        hour & (1 << (of_day % usize::from(WINDOWS))) != 0
    }
}

/// As the file has them: `00:00-03:40, 07:10`; both ends are windows that were watched.
impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |of_day: usize| format!("{:02}:{}0", of_day / 6, of_day % 6);
        let mut spans: Vec<(usize, usize)> = Vec::new();
        for of_day in (0..144).filter(|of_day| self.has(*of_day)) {
            match spans.last_mut() {
                Some((_, last)) if *last + 1 == of_day => *last = of_day,
                Some(_) | None => spans.push((of_day, of_day)),
            }
        }
        for (number, (first, last)) in spans.into_iter().enumerate() {
            f.write_str(if number > 0 { ", " } else { "" })?;
            f.write_str(&clock(first))?;
            if first != last {
                write!(f, "-{}", clock(last))?;
            }
        }
        Ok(())
    }
}

/// A text says no hours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoHours;

impl FromStr for Hours {
    type Err = NoHours;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let of_day = |text: &str| {
            let (hour, minute) = text.split_once(':').ok_or(NoHours)?;
            let hour: usize = hour.parse().map_err(|_| NoHours)?;
            let minute: usize = minute.parse().map_err(|_| NoHours)?;
            if hour < 24 && minute < 60 && minute.is_multiple_of(10) {
                Ok(hour * 6 + minute / 10)
            } else {
                Err(NoHours)
            }
        };
        let mut hours = Self::default();
        for span in text.split(',').map(str::trim).filter(|span| !span.is_empty()) {
            let (first, last) = span.split_once('-').unwrap_or((span, span));
            (of_day(first)?..=of_day(last)?).for_each(|window| hours.set(window));
        }
        Ok(hours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_written_as_spans_and_read_back() {
        #[rustfmt::skip]
        let cases = [
            // text                          whole hours, or none
            ("",                             Some(0)),
            ("00:00-23:50",                  Some(24)),
            ("00:00-00:50",                  Some(1)),
            ("00:10-01:50, 07:20",           Some(1)),
            ("24:00",                        None),
            ("00:05",                        None),
            ("7",                            None),
        ];
        for (text, whole) in cases {
            let read: Option<Hours> = text.parse().ok();
            assert_eq!(read.map(|hours| hours.whole()), whole, "{text:?}");
            assert!(read.is_none_or(|hours| hours.to_string() == text), "{text:?}");
        }
    }
}
