//! Captures broken by the thousand: nothing panics, every account balances, and the same seed gives the same answer.
//!
//! The captures of `pcaps/` are broken by a generator of fixed seeds, frame by frame and file by file.
//! `PORTOLAN_MUTATIONS` names how many frames; a fortieth of them is the number of files. `PORTOLAN_MUTATIONS_FROM` goes on
//! where a run before ended, after so many frames.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use portolan_capture::keep::Keep;
use portolan_capture::{Frame, LinkType, MergedFiles, Polled, Tap};
use portolan_daemon::cli::ReadArgs;
use portolan_daemon::replay::{Knowledge, Replayed, Request, replay};
use portolan_flowtable::Ledger;
use targets::capture::{fast_is_walked, kept_is_enough, whole};
use targets::input::MemoryFile;
use targets::mutate::{Dice, mutate};
use targets::seeds::files;

/// Frames broken unless more are asked for.
const FRAMES: usize = 20_000;
/// One file is broken for so many frames.
const FRAMES_PER_FILE: usize = 40;
/// Frames of one kept capture, and the largest capture broken as a file.
const FRAMES_OF_A_FILE: usize = 400;
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Every so many files are replayed a second time, with another number of threads.
const TWICE_EVERY: usize = 16;
/// The figures are told after so many frames, and a fortieth in files.
const TOLD_EVERY: usize = 200_000;
/// Frames replayed as one capture.
const FRAMES_REPLAYED: usize = 20_000;

const KEEPS: [Keep; 2] = [
    Keep { payload: false, dns: false, tls_hello: false },
    Keep { payload: false, dns: true, tls_hello: true },
];

#[test]
fn broken_frames_are_read_or_refused_and_all_are_accounted_for() {
    let frames = healthy_frames();
    assert!(frames.len() > 3_000, "only {} frames to break", frames.len());
    let (first, count) = asked();
    let began = Instant::now();
    let mut done = 0;
    while done < count {
        let mut captures: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        let batch = FRAMES_REPLAYED.min(count - done);
        for number in first + done..first + done + batch {
            let (link, bytes) = broken_frame(&frames, number);
            let mut dice = Dice::new(number as u64);
            let original = u32::try_from(bytes.len() + dice.below(3) * 700).unwrap();
            let frame = whole(&bytes, link, original);
            for keep in KEEPS {
                kept_is_enough(&frame, keep);
            }
            fast_is_walked(&frame);
            let capture = captures.entry(link.0).or_insert_with(|| file_header(link));
            capture.extend(record(number, &bytes, original));
        }
        let mut delivered = 0;
        for capture in captures.values() {
            let replayed = replayed(capture, 1).expect("the file itself is whole");
            balances(&replayed);
            delivered += ledger(&replayed).delivered.frames;
        }
        assert_eq!(delivered, batch as u64);
        done += batch;
        if done % TOLD_EVERY == 0 || done == count {
            println!("{done} frames in {:.0?}: {:.0} a second", began.elapsed(), rate(done, began));
        }
    }
}

#[test]
fn broken_files_are_read_to_their_damage_and_balance() {
    let captures = healthy_files();
    assert!(captures.len() > 60, "only {} files to break", captures.len());
    let (first_file, count) = (asked().0 / FRAMES_PER_FILE, asked().1 / FRAMES_PER_FILE);
    let began = Instant::now();
    let (mut read, mut damaged, mut refused) = (0, 0, 0);
    for number in first_file..first_file + count {
        let bytes = broken_file(&captures, number);
        let first = replayed(&bytes, 1);
        match &first {
            Ok(replayed) => {
                balances(replayed);
                if replayed.damage.is_empty() { read += 1 } else { damaged += 1 }
            }
            Err(message) => {
                assert!(!message.is_empty());
                refused += 1;
            }
        }
        let done = number - first_file + 1;
        if done % (TOLD_EVERY / FRAMES_PER_FILE) == 0 || done == count {
            let (spent, rate) = (began.elapsed(), rate(done, began));
            println!(
                "{done} files in {spent:.0?}, {rate:.0} a second: {read} read, {damaged} damaged, {refused} refused"
            );
        }
        if number % TWICE_EVERY == 0 {
            let second = replayed(&bytes, 2);
            let publication = |it: &Result<Replayed, String>| {
                it.as_ref().map(|it| it.publication.clone()).map_err(Clone::clone)
            };
            assert_eq!(publication(&first), publication(&second), "file {number}");
        }
    }
    assert!(read.min(damaged).min(refused) * 50 > count, "{read}, {damaged}, {refused} of {count}");
}

#[test]
fn the_same_number_breaks_the_same_way() {
    let (frames, captures) = (healthy_frames(), healthy_files());
    for number in [0, 1, 77, 9_999] {
        assert_eq!(broken_frame(&frames, number), broken_frame(&frames, number));
        assert_eq!(broken_file(&captures, number), broken_file(&captures, number));
    }
    assert_ne!(broken_frame(&frames, 1), broken_frame(&frames, 2));
}

/// The first frame's number, and how many.
fn asked() -> (usize, usize) {
    let number = |name: &str, unsaid| {
        std::env::var(name).map_or(unsaid, |text| text.parse().expect("a number of frames"))
    };
    (number("PORTOLAN_MUTATIONS_FROM", 0), number("PORTOLAN_MUTATIONS", FRAMES))
}

fn rate(count: usize, began: Instant) -> f64 {
    count as f64 / began.elapsed().as_secs_f64()
}

fn broken_frame(frames: &[(LinkType, Vec<u8>)], number: usize) -> (LinkType, Vec<u8>) {
    let mut dice = Dice::new(number as u64);
    let (link, bytes) = dice.one(frames);
    let (_, other) = dice.one(frames);
    let mut bytes = bytes.clone();
    mutate(&mut bytes, other, &mut dice);
    (*link, bytes)
}

fn broken_file(captures: &[Vec<u8>], number: usize) -> Vec<u8> {
    let mut dice = Dice::new(number as u64 ^ 0xf11e);
    let mut bytes = dice.one(captures).clone();
    let other = dice.one(captures);
    mutate(&mut bytes, other, &mut dice);
    bytes
}

fn balances(replayed: &Replayed) {
    let vitals = &replayed.publication.vitals;
    assert_eq!((vitals.residual_frames, vitals.residual_bytes), (0, 0));
    let ledger = ledger(replayed);
    assert_eq!((ledger.held.frames, ledger.undrained.frames), (0, 0));
}

fn ledger(replayed: &Replayed) -> &Ledger {
    &replayed.publication.assessment.snapshot.ledger
}

fn replayed(capture: &[u8], threads: u8) -> Result<Replayed, String> {
    let file = MemoryFile::new(capture);
    let files = [PathBuf::from(file.path())];
    let read = ReadArgs { flows_max: 1_024, flows_kept: 100, threads: Some(threads), ..ReadArgs::default() };
    let knowledge = Knowledge::default();
    let request = Request {
        files: &files,
        knowledge: &knowledge,
        read: &read,
        conversations: None,
        shows_progress: false,
        each_turn: None,
    };
    // A file in memory is called differently each time it is opened.
    replay(&request).map_err(|failure| failure.message.replace(&file.path(), "it")).map(|mut replayed| {
        replayed.publication.vitals.host.clear();
        let text = serde_json::to_string(&replayed.publication).expect("JSON").replace(&file.path(), "it");
        replayed.publication = serde_json::from_str(&text).expect("JSON");
        replayed
    })
}

/// Frames of the captures that are whole, few of each.
fn healthy_frames() -> Vec<(LinkType, Vec<u8>)> {
    let mut frames = Vec::new();
    for path in healthy() {
        let Ok(mut tap) = MergedFiles::open(&[path.to_str().expect("UTF-8")]) else { continue };
        let mut left = FRAMES_OF_A_FILE;
        let mut each = |frame: &Frame<'_>| {
            if left > 0 && !frame.bytes.is_empty() {
                left -= 1;
                frames.push((frame.link, frame.bytes[..frame.bytes.len().min(400)].to_vec()));
            }
        };
        while tap.poll(&mut each).expect("a file never fails") != Polled::End {}
    }
    frames
}

fn healthy_files() -> Vec<Vec<u8>> {
    let is_small =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|it| (1..=FILE_BYTES_MAX).contains(&it.len()));
    let small = healthy().into_iter().filter(is_small);
    let captures = small.filter(|path| MergedFiles::open(&[path.to_str().expect("UTF-8")]).is_ok());
    captures.map(|path| fs::read(path).expect("a file")).collect()
}

fn healthy() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps");
    let is_capture = |path: &PathBuf| {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        matches!(ending, "pcap" | "pcapng" | "cap" | "gz" | "zst" | "ntar")
            && !path.components().any(|part| part.as_os_str() == "malformed")
    };
    files(&root).into_iter().filter(is_capture).collect()
}

fn file_header(link: LinkType) -> Vec<u8> {
    let words = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, link.0];
    words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect()
}

fn record(number: usize, bytes: &[u8], original: u32) -> Vec<u8> {
    let milliseconds = u32::try_from(number % 1_000_000).expect("fits");
    let captured = u32::try_from(bytes.len()).expect("a short frame");
    let words = [
        1_700_000_000 + milliseconds / 1_000,
        milliseconds % 1_000 * 1_000,
        captured,
        original.max(captured),
    ];
    words.iter().flat_map(|word| word.to_le_bytes()).chain(bytes.iter().copied()).collect()
}
