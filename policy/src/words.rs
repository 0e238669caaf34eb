//! The few phrases findings are made of.

use std::fmt::Write as _;

use portolan_flowtable::units::grouped;
use portolan_flowtable::{Outcomes, Protocol};

/// Writes `1 connection`, `4,812 connections`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", grouped(number))
}

/// Writes a span given in nanoseconds as `0.2 s`, `41 s`, `3 min`.
pub(crate) fn span(nanoseconds: i64) -> String {
    let tenths = nanoseconds.max(0) / 100_000_000;
    match tenths {
        0..100 => format!("{}.{} s", tenths / 10, tenths % 10),
        100..6_000 => format!("{} s", tenths / 10),
        _ => format!("{} min", tenths / 600),
    }
}

/// Writes bytes as `412 B`, `210 MiB`, `1.2 GiB`: to the nearest, tenths below ten.
pub(crate) fn bytes(bytes: u64) -> String {
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    // Whole numbers, so that no rounding by floating point differs between machines.
    let nearest = |of: u128, unit: u128| (2 * of + unit) / (2 * unit);
    let (bytes, mut size) = (u128::from(bytes), 1_024);
    let mut unit = "KiB";
    for next in ["MiB", "GiB", "TiB", "PiB", "EiB"] {
        if nearest(bytes, size) < 1_024 {
            break;
        }
        (size, unit) = (size * 1_024, next);
    }
    let tenths = nearest(bytes * 10, size);
    if tenths < 100 {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    } else {
        format!("{} {unit}", nearest(bytes, size))
    }
}

/// What is counted: connections where the protocol has them, flows otherwise.
pub(crate) fn unit(protocol: Protocol) -> &'static str {
    if protocol == Protocol::TCP || protocol == Protocol::SCTP { "connection" } else { "flow" }
}

/// How far connections got at best, in a word.
pub(crate) fn reached(connections: &Outcomes) -> &'static str {
    if connections.answered > 0 {
        "answered"
    } else if connections.refused > 0 {
        "refused"
    } else if connections.unanswered > 0 {
        "unanswered"
    } else if connections.blocked > 0 {
        "blocked"
    } else {
        "attempted"
    }
}

/// Joins the first `most` of `all` by commas and says how many are left: `a, b and 3 more`; `nobody` for none.
pub(crate) fn list(all: &[String], most: usize, none: &str) -> String {
    if all.is_empty() {
        return none.to_owned();
    }
    let mut text = all.iter().take(most).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > most {
        let _ = write!(text, " and {} more", all.len() - most);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands_and_counted_in_the_right_number() {
        let cases = [
            (0, "0 frames"),
            (1, "1 frame"),
            (999, "999 frames"),
            (1_000, "1,000 frames"),
            (1_234_567, "1,234,567 frames"),
        ];
        for (number, expected) in cases {
            assert_eq!(count(number, "frame"), expected);
        }
    }

    #[test]
    fn spans_are_read_at_a_glance() {
        let second = 1_000_000_000;
        let cases = [(-5, "0.0 s"), (200_000_000, "0.2 s"), (41 * second, "41 s"), (600 * second, "10 min")];
        for (nanoseconds, expected) in cases {
            assert_eq!(span(nanoseconds), expected);
        }
    }

    #[test]
    fn long_lists_say_what_they_leave_out() {
        let names = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(list(&names, 3, "nobody"), "a, b, c");
        assert_eq!(list(&names, 2, "nobody"), "a, b and 1 more");
        assert_eq!(list(&[], 2, "nobody"), "nobody");
    }
}
