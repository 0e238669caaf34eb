//! Journals that were damaged, or made by an enemy: refused by their line, or played to the end with accounts that
//! balance. Nothing panics, nothing hangs, nothing steers a terminal.

#![expect(clippy::unwrap_used, reason = "a test may end by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use portolan_daemon::cli::{KnowledgeArgs, ReadArgs};
use portolan_daemon::replay::{Knowledge, Replayed, Request, replay};

/// Damaged journals tried by one run of the test.
const TRIALS: u64 = 90;

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps/shop-recorded")
}

fn journal() -> Vec<String> {
    let text = fs::read_to_string(recorded().join("capture.journal.ndjson")).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Replays the recorded shop with other lines in its journal.
fn play(lines: &[String], edit: impl FnOnce(&mut ReadArgs)) -> Result<Replayed, String> {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("capture.pcapng");
    fs::copy(recorded().join("capture.pcapng"), &capture).unwrap();
    let mut text = lines.join("\n");
    text.push('\n');
    fs::write(folder.path().join("capture.journal.ndjson"), text).unwrap();
    let knowledge = Knowledge::read(&KnowledgeArgs::default()).unwrap();
    let mut read = ReadArgs::unasked();
    edit(&mut read);
    let request = Request {
        files: &[capture],
        knowledge: &knowledge,
        read: &read,
        conversations: None,
        shows_progress: false,
        each_turn: None,
    };
    let replayed = replay(&request);
    replayed.map_err(|failure| {
        failure.message.replace(&folder.path().display().to_string(), "").trim_start_matches('/').to_owned()
    })
}

#[test]
fn a_recorded_shop_is_complete_named_and_judged() {
    let replayed = play(&journal(), |_| {}).unwrap();
    let publication = replayed.publication;
    assert_eq!(publication.assessment.findings.len(), 4);
    assert_eq!(publication.assessment.snapshot.completeness.word(), "complete");
    assert_eq!((publication.vitals.residual_frames, publication.vitals.containers), (0, 12));
    assert!(replayed.notes[0].contains("capture.journal.ndjson, recorded on"), "{:?}", replayed.notes);
    assert!(replayed.warnings.is_empty(), "{:?}", replayed.warnings);
}

#[test]
fn what_does_not_belong_to_a_journal_is_named_by_its_line() {
    let whole = journal();
    let end = whole.len();
    let with = |edit: &dyn Fn(&mut Vec<String>)| {
        let mut lines = whole.clone();
        edit(&mut lines);
        lines
    };
    let replaced = |at: usize, from: &str, to: &str| {
        with(&|lines| {
            assert!(lines[at].contains(from), "{from} is not in line {}: {}", at + 1, lines[at]);
            lines[at] = lines[at].replacen(from, to, 1);
        })
    };
    let first_tick = whole.iter().position(|line| line.contains("\"tick\"")).unwrap();
    let settle = whole.iter().position(|line| line.contains("\"settle\"")).unwrap();
    let frames = "\"frames\":5512";
    #[rustfmt::skip]
    let cases: Vec<(Vec<String>, String)> = vec![
        (Vec::new(),                                                    ":1: damaged journal: ".to_owned()),
        (whole[1..].to_vec(),                                           ":1: damaged journal: its first row does not say how the engine was built".to_owned()),
        (with(&|lines| lines.insert(1, lines[0].clone())),                "damaged journal: it begins a second time".to_owned()),
        (with(&|lines| lines.retain(|line| !line.contains("\"picture\":{\"number\":1,"))), "damaged journal: picture 1 is not there".to_owned()),
        (with(&|lines| lines.push(lines[end - 1].clone())),             "damaged journal: a row behind the end".to_owned()),
        (with(&|lines| { let tick = lines[settle].replace("settle", "tick"); lines.insert(settle + 1, tick) }), "damaged journal: the engine goes on behind its settlement".to_owned()),
        (replaced(settle, "\"frames\":", "\"frames\":1844674407370955161"), "damaged journal: ".to_owned()),
        (replaced(0, "\"flows_max\":131072", "\"flows_max\":67108864"), ":1: damaged journal: limits.flows_max (67108864) is out of bounds".to_owned()),
        (replaced(end - 1, frames, "\"frames\":5"),                     "capture.journal.ndjson: does not belong to this capture: it speaks of 5 frames".to_owned()),
        (replaced(end - 1, "\"last_at\":\"2026", "\"last_at\":\"2025"), "capture.journal.ndjson: does not belong to this capture".to_owned()),
        (with(&|lines| { let turn = lines[first_tick + 1].clone(); lines.insert(first_tick, turn) }), "damaged journal: ".to_owned()),
    ];
    for (lines, expected) in cases {
        let said = play(&lines, |_| {}).err().unwrap_or_else(|| panic!("{expected}: it was believed"));
        assert!(said.contains(&expected), "{said}\n{expected}");
        assert!(said.contains("--no-journal"), "{said}");
    }
}

#[test]
fn a_name_in_a_journal_cannot_steer_the_terminal() {
    let mut lines = journal();
    lines[0] = lines[0]
        .replace("pcaps/shop/contract.toml", "a\\u001b[31m.toml\\nportolan: fine")
        .replace("initiators", "initiatorz");
    let said = play(&lines, |_| {}).unwrap_err();
    assert!(said.contains("unknown key \"initiatorz\""), "{said}");
    assert!(!said.contains('\u{1b}') && !said.contains("\nportolan: fine"), "{said:?}");
}

#[test]
fn frames_left_out_by_request_prove_nothing_blocked() {
    let replayed = play(&journal(), |read| read.filter = Some("inbound".to_owned())).unwrap();
    let blocked =
        replayed.publication.flows.iter().filter(|flow| flow.outcome == portolan_flowtable::Outcome::Blocked);
    assert_eq!(blocked.count(), 0);
    let all = play(&journal(), |_| {}).unwrap();
    assert!(all.publication.flows.iter().any(|flow| flow.outcome == portolan_flowtable::Outcome::Blocked));
}

#[test]
fn what_the_journal_says_cannot_be_asked_for_otherwise() {
    type Edit = fn(&mut ReadArgs);
    #[rustfmt::skip]
    let cases: [(Edit, &str); 2] = [
        (|read| read.flows_max = 64,                                     "leave --flows-max and --flows-kept out"),
        (|read| read.vantage = portolan_daemon::cli::Vantage::Dedup,     "leave --vantage out"),
    ];
    for (edit, expected) in cases {
        let said = play(&journal(), edit).unwrap_err();
        assert!(said.contains(expected) && said.contains("--no-journal"), "{said}");
    }
}

#[test]
fn any_damage_is_refused_or_played_with_accounts_that_balance() {
    let whole = journal();
    let (mut refused, mut played) = (0, 0);
    for seed in 0..TRIALS {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut lines = whole.clone();
        for _ in 0..=random.below(3) {
            damage(&mut lines, &mut random);
        }
        match play(&lines, |_| {}) {
            Err(said) => {
                assert!(!said.is_empty() && !said.contains('\u{1b}'), "seed {seed}: {said:?}");
                refused += 1;
            }
            Ok(replayed) => {
                let vitals = &replayed.publication.vitals;
                assert_eq!((vitals.residual_frames, vitals.residual_bytes), (0, 0), "seed {seed}");
                played += 1;
            }
        }
    }
    assert!(refused > 10 && played > 3, "{refused} refused, {played} played");
}

/// Numbers that are somebody's limit.
const NUMBERS: [&str; 7] =
    ["0", "-1", "1", "4294967296", "9223372036854775807", "18446744073709551615", "1e300"];

fn damage(lines: &mut Vec<String>, random: &mut Random) {
    let at = random.below(lines.len());
    let other = random.below(lines.len());
    match random.below(6) {
        0 => {
            lines.remove(at);
        }
        1 => lines.insert(other, lines[at].clone()),
        2 => lines.swap(at, other),
        3 => {
            let keep = random.below(lines[at].len());
            // Some line of a recording holds nothing but ASCII at any place.
            let cut = lines[at].get(..keep).unwrap_or_default().to_owned();
            lines[at] = cut;
        }
        4 => {
            // Another number in the place of one that is there.
            let digits: Vec<usize> =
                lines[at].char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(i, _)| i).collect();
            if digits.is_empty() {
                return;
            }
            let from = digits[random.below(digits.len())];
            let to = lines[at][from..]
                .find(|c: char| !c.is_ascii_digit())
                .map_or(lines[at].len(), |end| from + end);
            lines[at].replace_range(from..to, NUMBERS[random.below(NUMBERS.len())]);
        }
        _ => {
            let keep = random.below(lines[at].len());
            if lines[at].is_char_boundary(keep) && lines[at].is_char_boundary(keep + 1) {
                lines[at].replace_range(keep..=keep, "\"");
            }
        }
    }
}

/// xorshift64: the same damage each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).unwrap()
    }
}
