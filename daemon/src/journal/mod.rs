//! The journal: every input of the engine that is not a frame, each with the number of the frame it precedes.
//!
//! # Where it sits
//!
//! A recording is a capture and, beside it, its journal: one JSON object a line, `NAME.journal.ndjson`. While
//! recording, `crate::recording` writes both; [`crate::replay`] reads the journal and takes roles, names, ticks and
//! contracts from it at the same places, so that flows, findings, events and graph come out as they did live.
//! `docs/journal.md` describes the rows.

mod play;
mod read;

use std::path::{Path, PathBuf};

use portolan_flowtable::indicators::Round;
use portolan_flowtable::lifecycle::Happening;
use portolan_flowtable::{Blindness, Limits, Tally, Timestamp};
use portolan_identity::PicturePatch;
use serde::{Deserialize, Serialize};

use crate::compose::ComposeText;

pub use play::{Ending, Player, Stage, Turned, parse};
pub use read::{Journal, JournalError};

/// Version of the form. Fields are only ever added within one.
pub const FORM: u32 = 1;

/// How journals are called.
const ENDING: &str = ".journal.ndjson";

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Number of the recorded frame it precedes, from 1.
    pub before: u64,
    /// What reached the engine there.
    #[serde(flatten)]
    pub entry: Entry,
}

/// An input that is no frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// The first row: how the engine was built.
    Begin(Box<Begin>),
    /// A capture file begins with this frame.
    File {
        /// Its name, without folder.
        name: String,
    },
    /// Who is who: what changed since the picture before it. Defines a number; nothing is applied yet.
    Picture {
        /// Its number, from 1 and without gaps.
        number: u32,
        /// What changed.
        changes: Box<PicturePatch>,
    },
    /// The data plane takes roles and bindings of a picture.
    Roles {
        /// Which.
        picture: u32,
    },
    /// The data plane closes a tick.
    Tick(TickRow),
    /// The data plane hands over what the control plane had no room for.
    Drain {},
    /// The intake was stopped and the accounts were balanced.
    Settle(TickRow),
    /// The control plane judges and publishes.
    Turn(Box<TurnRow>),
    /// The recording ends here. A journal without it was cut off.
    End(EndRow),
}

/// How the engine was built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Begin {
    /// Version of this form.
    pub journal: u32,
    /// Version of the program.
    pub version: String,
    /// Host that was watched.
    pub host: String,
    /// When the tap was opened.
    pub started_at: Timestamp,
    /// The one interface that was heard; empty for all.
    pub interface: String,
    /// What of it was recorded, in words; empty for everything.
    pub only: String,
    /// What was kept of each frame: `headers`, with `dns`, `tls hello` or `payload`.
    pub kept: String,
    /// Places flows in the table.
    pub seed: u64,
    /// Sizes and time spans of the flow table; spans in nanoseconds.
    pub limits: Limits,
    /// How long conversations with a nameless end wait for a name, in nanoseconds.
    pub withhold: i64,
    /// Flow records kept.
    pub flows_kept: usize,
    /// Pause between heartbeats among the events, in seconds.
    pub heartbeat_seconds: u32,
    /// Whether names were read off port 53.
    #[serde(default)]
    pub dns_names: bool,
    /// What was documented.
    pub contracts: Vec<ContractText>,
}

/// A contract as it was read.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ContractText {
    /// File it came from, as findings name it.
    pub name: String,
    /// Its text; empty for a compose file, of which only what matters is kept.
    pub text: String,
    /// What a compose file says of ports and peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compose: Option<ComposeText>,
}

/// The end of a tick in the data plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TickRow {
    /// Wall clock; `None` where time went by frames.
    pub now: Option<Timestamp>,
    /// Until when frames were last lost.
    pub last_loss: Option<Timestamp>,
    /// Frames of foreign interfaces so far; they are not recorded.
    pub foreign: Tally,
    /// Frames so far that were not asked for.
    pub not_selected: Tally,
    /// Frames so far that were metered and could not be recorded.
    pub unrecorded: Tally,
}

/// What the control plane adds to a tick.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TurnRow {
    /// Wall clock.
    pub at: Timestamp,
    /// The picture whose names are used; `None` where nothing is known yet.
    pub picture: Option<u32>,
    /// Contracts that came into force with this turn.
    pub contracts: Option<Vec<ContractText>>,
    /// Whether the last reload was good.
    pub reload_ok: bool,
    /// When it was.
    pub reload_at: Timestamp,
    /// Frames the kernel offered so far, dropped ones included.
    pub received: u64,
    /// Frames the kernel dropped so far.
    pub dropped: u64,
    /// Frames in the kernel's ring, at most.
    pub in_ring: u64,
    /// When frames were lost, all of it, where that changed since the turn before.
    pub blind: Option<Vec<Blindness>>,
    /// What else was missed: sentences without a full stop.
    pub remarks: Vec<String>,
    /// Whether frames were being captured.
    pub is_capturing: bool,
    /// What happened to containers since the turn before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub happenings: Vec<Happening>,
    /// Further happenings, that found no room.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub happenings_left_out: u64,
    /// What containers use, where they were asked since the turn before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indicators: Option<Round>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// The end of a recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndRow {
    /// Frames recorded.
    pub frames: u64,
    /// Time of the last of them.
    pub last_at: Option<Timestamp>,
    /// Frames that were metered and are not recorded, because the writer was behind or the disk was full.
    pub unrecorded: Tally,
    /// Why it ended before it was told to: `no space left on device`, `10 MiB are reached`; empty otherwise.
    pub cause: String,
}

/// Returns where the journal of a capture lies: `shop.journal.ndjson` beside `shop.pcapng`, and beside the
/// `shop-00001.pcapng` of a recording in parts.
pub fn beside(capture: &Path) -> Vec<PathBuf> {
    let name = capture.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
    let stem = [".gz", ".zst"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
    let stem = stem.strip_suffix(".pcapng").unwrap_or(stem);
    let mut places = vec![capture.with_file_name(format!("{stem}{ENDING}"))];
    if let Some((series, number)) = stem.rsplit_once('-')
        && number.len() == PART_DIGITS
        && number.bytes().all(|digit| digit.is_ascii_digit())
    {
        places.push(capture.with_file_name(format!("{series}{ENDING}")));
    }
    places
}

/// Digits of a part's number.
const PART_DIGITS: usize = 5;

/// Returns what a part of a recording is called: `shop-00001.pcapng`.
pub fn part(capture: &Path, number: u32) -> PathBuf {
    capture.with_file_name(format!("{}-{number:0width$}.pcapng", series(capture), width = PART_DIGITS))
}

/// Returns what is there already and called like a part of a recording to `capture`.
pub fn parts_there(capture: &Path) -> Vec<PathBuf> {
    let folder = capture.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let place = place(capture);
    let is_part = |path: &PathBuf| {
        path.extension().is_some_and(|ending| ending == "pcapng")
            && beside(path).iter().skip(1).any(|own| own.file_name() == place.file_name())
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut parts: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_part).collect();
    parts.sort();
    parts
}

/// Returns where the journal of a recording to `capture` goes.
pub fn place(capture: &Path) -> PathBuf {
    capture.with_file_name(format!("{}{ENDING}", series(capture)))
}

/// Returns where the graph of a recording to `capture` goes.
pub fn graph_place(capture: &Path) -> PathBuf {
    capture.with_file_name(format!("{}.graph.json", series(capture)))
}

fn series(capture: &Path) -> String {
    let name = capture.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
    name.strip_suffix(".pcapng").unwrap_or(&name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_lies_beside_its_capture_whole_or_in_parts() {
        #[rustfmt::skip]
        let cases = [
            ("a/shop.pcapng",          vec!["a/shop.journal.ndjson"]),
            ("shop.pcapng.zst",        vec!["shop.journal.ndjson"]),
            ("a/shop-00012.pcapng.gz", vec!["a/shop-00012.journal.ndjson", "a/shop.journal.ndjson"]),
            ("shop-2.pcapng",          vec!["shop-2.journal.ndjson"]),
            ("shop.cap",               vec!["shop.cap.journal.ndjson"]),
        ];
        for (capture, expected) in cases {
            let expected: Vec<PathBuf> = expected.into_iter().map(PathBuf::from).collect();
            assert_eq!(beside(Path::new(capture)), expected, "{capture}");
        }
        let capture = Path::new("a/shop.pcapng");
        assert_eq!(beside(&part(capture, 12)).last(), Some(&place(capture)));
    }

    #[test]
    fn a_row_is_one_object_with_its_frame_and_its_kind() {
        let row = Row { before: 7, entry: Entry::Roles { picture: 3 } };
        let text = serde_json::to_string(&row).unwrap();
        assert_eq!(text, r#"{"before":7,"roles":{"picture":3}}"#);
        assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), row);
    }
}
