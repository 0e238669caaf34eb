//! The baseline as text that a person reads in a diff: sorted, one edge a line, the same bytes for the same content.

use std::fmt::Write as _;

use portolan_flowtable::Timestamp;

use super::edge::Edge;
use super::profile::{Evidence, Profile, ProfileKey};
use super::{Baseline, Direction};
use crate::stable::StableHash;

/// Version of the form.
pub(super) const VERSION: i64 = 1;
/// What a checksum begins with.
pub(super) const CHECKSUM: &str = "checksum = ";

const INTRODUCTION: &str = "\
# Portolan's baseline: who talks to whom, learned from what was delivered both ways (docs/baseline.md).
# Sorted, one edge a line. Whoever edits it removes the line checksum; the next save writes another.
";

impl Baseline {
    /// Writes the file. The same content gives the same bytes; [`Baseline::parse`] reads it back.
    pub fn to_text(&self) -> String {
        let mut body = format!("version = {VERSION}\n");
        for (key, profile) in &self.profiles {
            write_profile(&mut body, key, profile);
        }
        format!("{INTRODUCTION}{CHECKSUM}{}\n{body}", quoted(&checksum(&body)))
    }
}

/// Returns what stands in a file for everything behind the checksum's line.
pub(super) fn checksum(body: &str) -> String {
    format!("fnv1a-64:{}", StableHash::new().field(body).digits())
}

fn write_profile(out: &mut String, key: &ProfileKey, profile: &Profile) {
    let mut line = |name: &str, value: &str| writeln!(out, "{name} = {value}").expect(NEVER);
    line("\n[[service]]\nname", &quoted(&key.service));
    line("image", &quoted(&key.image));
    if !profile.reference.is_empty() {
        line("reference", &quoted(&profile.reference));
    }
    if !profile.parent.is_empty() {
        line("parent", &quoted(&profile.parent));
    }
    line("stage", &quoted(profile.stage.word()));
    if profile.is_frozen {
        line("frozen", "true");
    }
    if let Some(at) = profile.promoted_at {
        line("promoted_at", &instant(at));
    }
    line("watched_since", &instant(profile.since));
    line("watched_until", &instant(profile.until));
    line("windows", &profile.windows.to_string());
    line("hours", &quoted(&profile.hours.to_string()));
    line("starts", &profile.starts.to_string());
    if profile.starts > 0 {
        line("started_at", &instant(profile.started_at));
    }
    line("draws", &profile.draws.to_string());
    if profile.left_out > 0 {
        line("left_out", &profile.left_out.to_string());
    }
    let of = |is_learned: bool| {
        profile.edges.iter().filter(move |(_, evidence)| evidence.is_learned == is_learned)
    };
    for (name, edges) in [("learned", of(true).collect::<Vec<_>>()), ("candidates", of(false).collect())] {
        if !edges.is_empty() {
            writeln!(out, "{name} = [").expect(NEVER);
            edges.iter().for_each(|(edge, evidence)| write_edge(out, edge, evidence));
            out.push_str("]\n");
        }
    }
    if !profile.forbidden.is_empty() {
        out.push_str("forbidden = [\n");
        for (edge, forbidden) in &profile.forbidden {
            writeln!(
                out,
                "  {{ {}, at = {}, by = {}, reason = {} }},",
                ends(edge),
                instant(forbidden.at),
                quoted(&forbidden.by),
                quoted(&forbidden.reason)
            )
            .expect(NEVER);
        }
        out.push_str("]\n");
    }
}

fn write_edge(out: &mut String, edge: &Edge, evidence: &Evidence) {
    let Evidence { origin, draws, runs, first_at, last_at, first_draw, is_learned: _ } = evidence;
    let (first_at, last_at) = (instant(*first_at), instant(*last_at));
    writeln!(
        out,
        "  {{ {}, origin = \"{}\", draws = {draws}, runs = {runs}, first_at = {first_at}, last_at = {last_at}, \
         first_draw = {first_draw} }},",
        ends(edge),
        origin.word()
    )
    .expect(NEVER);
}

/// Writes `to = "shop/db", port = "5432/tcp"`.
fn ends(edge: &Edge) -> String {
    let word = match edge.direction {
        Direction::From => "from",
        Direction::To => "to",
    };
    format!("{word} = {}, port = \"{}\"", quoted(&edge.peer), edge.port)
}

fn instant(at: Timestamp) -> String {
    let text = at.to_string();
    quoted(&format!("{}Z", text.get(..19).unwrap_or_default()))
}

/// Writes a basic string of TOML; what steers a terminal or turns the direction of writing is escaped.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            plain if plain.is_ascii_graphic() || plain == ' ' || plain.is_alphanumeric() => out.push(plain),
            other => write!(out, "\\U{:08X}", u32::from(other)).expect(NEVER),
        }
    }
    out.push('"');
    out
}

const NEVER: &str = "a String never refuses text";
