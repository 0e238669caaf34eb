//! What every picture of a graph shares: how an edge looks, short figures, visible text.

use portolan_flowtable::{Completeness, Timestamp};
use portolan_policy::Verdict;

use crate::graph::{Edge, Graph};

impl Graph {
    /// Returns what a picture says below itself: the span, whether it is complete, what was folded.
    pub(crate) fn caption(&self) -> Vec<String> {
        caption(self.from, self.at, &self.completeness, self.edges_folded)
    }
}

/// Returns what a picture says below itself.
pub(crate) fn caption(from: Timestamp, at: Timestamp, complete: &Completeness, folded: u64) -> Vec<String> {
    let complete = match complete {
        Completeness::Complete => "complete",
        Completeness::Incomplete { .. } => "incomplete",
        Completeness::Unknown { .. } => "completeness unknown",
    };
    let mut lines = vec![format!("{}, {complete}", span(from, at))];
    if folded > 0 {
        lines.push(format!("{folded} edges folded into other"));
    }
    lines
}

/// Writes `2026-11-20 13:58:00 to 13:58:41 UTC`, in whole seconds, the second date only where it is another.
fn span(from: Timestamp, to: Timestamp) -> String {
    let split = |at: Timestamp| {
        let text = at.to_string();
        let (date, time) = text.split_once('T').unwrap_or((&text, ""));
        (date.to_owned(), time.split('.').next().unwrap_or_default().to_owned())
    };
    let ((from_date, from_time), (to_date, to_time)) = (split(from), split(to));
    if from_date == to_date {
        format!("{from_date} {from_time} to {to_time} UTC")
    } else {
        format!("{from_date} {from_time} to {to_date} {to_time} UTC")
    }
}

/// How an edge is drawn, gravest first; each variant differs in colour, line and word, so that it reads without
/// colour.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Look {
    /// Undocumented, unexpected or forged.
    Fault(Verdict),
    /// Never answered.
    Failed(&'static str),
    /// Who called whom is a guess.
    Guess,
    /// The host's or docker-proxy's leg towards a published port.
    ProxyLeg,
    /// Expected, or nothing to say against it.
    Plain,
}

impl Look {
    /// Returns the word that goes with it.
    pub(crate) fn word(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Guess => Some("direction guessed"),
            Self::ProxyLeg => Some("host or docker-proxy"),
            Self::Fault(verdict) => Some(verdict.words()),
            Self::Failed(word) => Some(word),
        }
    }
}

/// Returns how an edge is drawn: fault before failure before guess.
pub(crate) fn look(edge: &Edge) -> Look {
    if edge.verdict.is_finding() { Look::Fault(edge.verdict) } else { beside_verdict(edge) }
}

/// Returns how an edge is drawn where its verdict is no fault: failure before guess.
pub(crate) fn beside_verdict(edge: &Edge) -> Look {
    if edge.is_failed() {
        Look::Failed(failure(edge))
    } else if edge.is_proxy_leg {
        Look::ProxyLeg
    } else if edge.is_guess && edge.port.port.is_some() {
        Look::Guess
    } else {
        Look::Plain
    }
}

/// Returns how most of an edge's connections failed.
fn failure(edge: &Edge) -> &'static str {
    let connections = &edge.connections;
    if connections.blocked > 0 && connections.blocked >= connections.refused.max(connections.unanswered) {
        "blocked"
    } else if connections.refused >= connections.unanswered {
        "refused"
    } else {
        "unanswered"
    }
}

/// Writes `112×, 471 KiB`.
pub(crate) fn volume(edge: &Edge) -> String {
    let connections = edge.connections.attempted();
    let bytes = edge.sent.bytes.saturating_add(edge.received.bytes);
    format!("{}×, {}", short_count(connections), short_bytes(bytes))
}

/// Writes bytes as `412 B`, `1.2 MiB`: to the nearest, tenths below ten. Reports, pictures and the page write them so.
pub fn short_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    // Whole numbers, so that no rounding by floating point differs between machines.
    let nearest = |of: u128, unit: u128| (2 * of + unit) / (2 * unit);
    let bytes = u128::from(bytes);
    let mut size: u128 = 1_024;
    let mut unit = "KiB";
    for next in UNITS.iter().skip(1) {
        if nearest(bytes, size) < 1_024 {
            break;
        }
        size *= 1_024;
        unit = next;
    }
    let tenths = nearest(bytes * 10, size);
    if tenths < 100 {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    } else {
        format!("{} {unit}", nearest(bytes, size))
    }
}

/// Writes nanoseconds as `0.31 ms`, `12.5 ms`, `250 ms`: to the nearest, three digits; nothing below zero.
pub fn short_milliseconds(nanoseconds: i64) -> String {
    let nearest = |unit: u64| {
        let of = u64::try_from(nanoseconds).unwrap_or(0);
        of / unit + u64::from(of % unit >= unit / 2)
    };
    match (nearest(10_000), nearest(100_000)) {
        (hundredths, _) if hundredths < 1_000 => format!("{}.{:02} ms", hundredths / 100, hundredths % 100),
        (_, tenths) if tenths < 1_000 => format!("{}.{} ms", tenths / 10, tenths % 10),
        _ => format!("{} ms", nearest(1_000_000)),
    }
}

/// Writes a count as `99,999` or `120 k`, `30 M`.
fn short_count(count: u64) -> String {
    match count {
        0..1_000 => count.to_string(),
        1_000..100_000 => format!("{},{:03}", count / 1_000, count % 1_000),
        100_000..10_000_000 => format!("{} k", count / 1_000),
        _ => format!("{} M", count / 1_000_000),
    }
}

/// Makes a text safe to look at: control characters, line and paragraph separators, and what changes the reading
/// direction or is not seen at all are written out as `<U+202E>`; at most 200 characters are kept.
pub(crate) fn visible(text: &str) -> String {
    const KEPT: usize = 200;
    let mut out = String::with_capacity(text.len().min(KEPT));
    for (position, character) in text.chars().enumerate() {
        if position == KEPT {
            out.push('…');
            break;
        }
        if is_hidden(character) {
            out.push_str(&format!("<U+{:04X}>", u32::from(character)));
        } else {
            out.push(character);
        }
    }
    out
}

/// Returns whether a character shows nothing, breaks lines or turns the text around.
///
/// # Sources
///
/// Unicode, general categories Cc, Zl and Zp, the bidirectional controls of UAX #9, zero-width characters, the
/// byte order mark and the tag characters.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_to_the_nearest_and_whatever_they_are() {
        for row in include_str!("../tests/figures.tsv").lines().filter(|row| !row.starts_with('#')) {
            let cells: Vec<&str> = row.split('\t').collect();
            let written = match cells[0] {
                "bytes" => short_bytes(cells[1].parse().unwrap()),
                _ => short_milliseconds(cells[1].parse().unwrap()),
            };
            assert_eq!(written, cells[2], "{row}");
        }
        assert_eq!(short_bytes(u64::MAX), "16 EiB");
        assert_eq!(short_milliseconds(i64::MAX), "9223372036855 ms");
        assert_eq!(short_milliseconds(-1), "0.00 ms");
    }

    #[test]
    fn counts_are_short() {
        let cases =
            [(999, "999"), (1_000, "1,000"), (99_999, "99,999"), (100_000, "100 k"), (10_000_000, "10 M")];
        for (count, expected) in cases {
            assert_eq!(short_count(count), expected);
        }
    }

    #[test]
    fn what_cannot_be_seen_is_spelled_out() {
        assert_eq!(visible("a\nb\u{202e}c\u{200b}"), "a<U+000A>b<U+202E>c<U+200B>");
        assert_eq!(visible("größe-日本"), "größe-日本");
        assert_eq!(visible(&"x".repeat(500)).chars().count(), 201);
    }

    #[test]
    fn a_span_names_the_second_date_only_where_it_differs() {
        let noon = Timestamp(1_795_176_000 * Timestamp::SECOND);
        assert_eq!(span(noon, noon.plus(90 * Timestamp::SECOND)), "2026-11-20 12:00:00 to 12:01:30 UTC");
        let tomorrow = noon.plus(86_400 * Timestamp::SECOND);
        assert_eq!(span(noon, tomorrow), "2026-11-20 12:00:00 to 2026-11-21 12:00:00 UTC");
    }
}
