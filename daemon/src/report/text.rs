//! Numbers, times and words as people read them.

use portolan_flowtable::Timestamp;
use serde::Serialize;

/// Colours mean one thing each: red needs a person, yellow is worth a look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Colour {
    /// No colour.
    Plain,
    /// Needs a person.
    Red,
    /// Worth a look.
    Yellow,
}

/// Paints text, where colours are wanted.
pub(super) fn paint(text: &str, colour: Colour, is_coloured: bool) -> String {
    let code = match (colour, is_coloured) {
        (Colour::Plain, _) | (_, false) => return text.to_owned(),
        (Colour::Red, true) => "31",
        (Colour::Yellow, true) => "33",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// Writes a number of bytes: `412 B`, `48 KiB`, `1.2 MiB`.
pub fn bytes(count: u64) -> String {
    portolan_graphs::short_bytes(count)
}

/// Writes nanoseconds as milliseconds: `0.31 ms`.
pub fn milliseconds(nanoseconds: i64) -> String {
    portolan_graphs::short_milliseconds(nanoseconds)
}

/// Writes a serde word as it stands in machine output: `unexpected_peer`.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(_) | Err(_) => String::new(),
    }
}

/// Writes a serde word for people: `unexpected peer`.
pub(super) fn spaced(value: &impl Serialize) -> String {
    word(value).replace('_', " ")
}

/// Writes a time of day, `14:02:11`.
pub fn time_of_day(at: Timestamp, is_local: bool) -> String {
    civil(at, is_local).strftime("%H:%M:%S").to_string()
}

/// Writes a time, `14:02:11`, with its date where what is shown spans several days: `2026-11-20 14:02:11`.
pub(super) fn time_within(at: Timestamp, (from, until): (Timestamp, Timestamp), is_local: bool) -> String {
    let is_one_day = civil(from, is_local).date() == civil(until, is_local).date();
    let form = if is_one_day { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    civil(at, is_local).strftime(form).to_string()
}

/// Writes an interval, with the date once and the zone: `2026-11-20 13:58:00 to 13:58:41 UTC`.
pub fn span(from: Timestamp, until: Timestamp, is_local: bool) -> String {
    let (start, end) = (civil(from, is_local), civil(until, is_local));
    let first = start.strftime("%Y-%m-%d %H:%M:%S");
    let second = if start.date() == end.date() {
        end.strftime("%H:%M:%S").to_string()
    } else {
        end.strftime("%Y-%m-%d %H:%M:%S").to_string()
    };
    let zone = if is_local { end.strftime("%z").to_string() } else { "UTC".to_owned() };
    format!("{first} to {second} {zone}")
}

fn civil(at: Timestamp, is_local: bool) -> jiff::Zoned {
    let instant = jiff::Timestamp::from_nanosecond(i128::from(at.0)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let zone = if is_local { jiff::tz::TimeZone::system() } else { jiff::tz::TimeZone::UTC };
    instant.to_zoned(zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_pictures_and_the_page_write_them() {
        let table = include_str!("../../../graphs/tests/figures.tsv");
        for row in table.lines().filter(|row| !row.starts_with('#')) {
            let cells: Vec<&str> = row.split('\t').collect();
            let written = match cells[0] {
                "bytes" => bytes(cells[1].parse().unwrap()),
                _ => milliseconds(cells[1].parse().unwrap()),
            };
            assert_eq!(written, cells[2], "{row}");
        }
    }

    #[test]
    fn a_time_bears_its_date_where_what_is_shown_spans_several_days() {
        let from = Timestamp(1_763_647_080 * Timestamp::SECOND);
        let at = |hours: i64| from.plus(hours * 3_600 * Timestamp::SECOND);
        assert_eq!(time_within(at(1), (from, at(2)), false), "14:58:00");
        assert_eq!(time_within(at(1), (from, at(12)), false), "2025-11-20 14:58:00");
    }

    #[test]
    fn an_interval_names_the_date_once_unless_it_spans_two() {
        let from = Timestamp(1_763_647_080 * Timestamp::SECOND);
        assert_eq!(
            span(from, from.plus(41 * Timestamp::SECOND), false),
            "2025-11-20 13:58:00 to 13:58:41 UTC"
        );
        assert_eq!(
            span(from, from.plus(86_400 * Timestamp::SECOND), false),
            "2025-11-20 13:58:00 to 2025-11-21 13:58:00 UTC"
        );
    }
}
