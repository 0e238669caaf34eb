//! Times as capture files state them.

use portolan_flowtable::Timestamp;

const SECOND: i128 = Timestamp::SECOND as i128;

/// The unit of a pcapng interface's time stamps (`if_tsresol`, draft-ietf-opsawg-pcapng section 4.2) and where they
/// count from (`if_tsoffset`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Resolution {
    /// Bit 7: base 2 instead of 10; the rest: the negated exponent.
    pub(super) code: u8,
    /// Seconds to add to every stamp.
    pub(super) offset_seconds: i64,
}

impl Default for Resolution {
    /// Microseconds since the epoch.
    fn default() -> Self {
        Self { code: 6, offset_seconds: 0 }
    }
}

impl Resolution {
    /// Returns nanoseconds since the epoch, fractions of one cut off.
    pub(super) fn nanoseconds(self, ticks: u64) -> i128 {
        let exponent = u32::from(self.code & 0x7f);
        let ticks = i128::from(ticks);
        let since = if self.code & 0x80 != 0 {
            // 64 bits of ticks and 30 of nanoseconds fit; an exponent of 127 leaves nothing.
            (ticks * SECOND) >> exponent
        } else if exponent <= 9 {
            ticks * 10_i128.pow(9 - exponent)
        } else {
            10_i128.checked_pow(exponent - 9).map_or(0, |divisor| ticks / divisor)
        };
        since + i128::from(self.offset_seconds) * SECOND
    }
}

/// Splits a time into what a `Timestamp` holds and whole seconds beyond.
pub(super) fn split(nanoseconds: i128) -> (Timestamp, i64) {
    let floor = i128::from(i64::MIN);
    let ceiling = i128::from(i64::MAX);
    let beyond = if nanoseconds > ceiling {
        (nanoseconds - ceiling + SECOND - 1) / SECOND
    } else if nanoseconds < floor {
        (nanoseconds - floor - SECOND + 1) / SECOND
    } else {
        0
    };
    let held = (nanoseconds - beyond * SECOND).clamp(floor, ceiling);
    let beyond = beyond.clamp(floor, ceiling);
    (Timestamp(i64::try_from(held).unwrap_or_default()), i64::try_from(beyond).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_every_resolution_become_nanoseconds() {
        #[rustfmt::skip]
        let cases = [
            // code        offset     ticks        nanoseconds
            (6,            0,         1_000_001,   1_000_001_000),
            (9,            0,         1_000_001,   1_000_001),
            (0,            0,         7,           7_000_000_000),
            (12,           0,         1_999,       1),
            (127,          0,         u64::MAX,    0),
            (0x80 | 1,     0,         3,           1_500_000_000),
            (0x80 | 0x7f,  0,         u64::MAX,    0),
            (0x80,         0,         2,           2_000_000_000),
            (6,            -1,        0,           -1_000_000_000),
            (0,            i64::MIN,  0,           i128::from(i64::MIN) * 1_000_000_000),
        ];
        for (code, offset_seconds, ticks, expected) in cases {
            let resolution = Resolution { code, offset_seconds };
            assert_eq!(resolution.nanoseconds(ticks), expected, "{resolution:?} {ticks}");
        }
    }

    #[test]
    fn a_time_is_split_without_loss() {
        let far = i128::from(u64::MAX) * SECOND;
        for nanoseconds in
            [0, -1, i128::from(i64::MAX), i128::from(i64::MAX) + 1, i128::from(i64::MIN) - 1, far / 3]
        {
            let (at, beyond) = split(nanoseconds);
            assert_eq!(i128::from(at.0) + i128::from(beyond) * SECOND, nanoseconds);
        }
        assert_eq!(split(i128::from(i64::MAX)).1, 0);
        assert_eq!(split(far * 4).1, i64::MAX);
    }
}
