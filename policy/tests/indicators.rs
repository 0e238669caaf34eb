//! What containers use besides the network, held against what is usual.

#![allow(clippy::unwrap_used, reason = "what a test cannot read is its failure")]

#[expect(dead_code, reason = "the other targets use the rest of it")]
mod support;

use portolan_flowtable::Timestamp;
use portolan_flowtable::indicators::{Indicators, Reading, Round};
use portolan_policy::rhythm::{Measure, Rhythm, RhythmLimits};
use portolan_policy::{Beside, Contract, Finding, FindingKind, ScanLimits, Severity};
use support::*;

const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 1_440;
const MIB: u64 = 1 << 20;

fn reading(service: &str, number: u64, at: i64, indicators: Indicators) -> Reading {
    Reading {
        at: Timestamp(at),
        container_id: format!("{service}-{number}"),
        container: format!("{service}-{number}"),
        service: service.to_owned(),
        project: "shop".to_owned(),
        indicators,
    }
}

fn memory(bytes: u64) -> Indicators {
    Indicators { memory_bytes: Some(bytes), ..Indicators::default() }
}

/// Lives through minutes; `round` says what is read in each, if anything is.
fn live(
    rhythm: &mut Rhythm,
    minutes: std::ops::Range<i64>,
    round: impl Fn(i64, i64) -> Option<Vec<Reading>>,
) {
    for minute in minutes {
        let at = START + minute * MINUTE;
        if let Some(readings) = round(minute, at) {
            rhythm.indicated(&Round { at: Timestamp(at), readings, unanswered: 0, left_out: 0 });
        }
        rhythm.close(Timestamp(at + SECOND), &RhythmLimits::default());
    }
}

fn found(rhythm: &Rhythm, minute: i64) -> Vec<Finding> {
    let web = workload("web-1", "shop/web", &[]);
    // It talks all the time: what is read of it rests on none of that.
    let mut call = talk(peer(&web, 2), external(9), 443, 20, 0);
    call.last_at = Timestamp(START + minute * MINUTE);
    let mut seen = snapshot(vec![web], vec![call]);
    seen.at = Timestamp(START + minute * MINUTE);
    let beside = Beside { baseline: None, rhythm: Some(rhythm) };
    let assessment = Contract::default().assess_with(seen, &ScanLimits::default(), beside);
    assessment.findings.into_iter().filter(|it| it.kind == FindingKind::UnusualLevel).collect()
}

/// Between 100 and 300 MiB over a day.
fn swing(minute: i64) -> u64 {
    let busy = 720 - (minute.rem_euclid(DAY) - 720).abs();
    (100 + u64::try_from(busy).unwrap() * 200 / 720) * MIB
}

#[test]
fn a_swing_of_a_day_is_usual_and_a_tenfold_rise_is_one_finding_that_names_it() {
    for (times, expected) in [(1, 0), (10, 1)] {
        let mut rhythm = Rhythm::default();
        let begin = 4 * DAY + 300;
        let round = |minute: i64, at: i64| {
            let is_risen = (begin..begin + 30).contains(&minute);
            let bytes = swing(minute) * if is_risen { times } else { 1 };
            // Two replicas: what a service uses is what both do.
            let half = |number| reading("web", number, at, memory(bytes / 2));
            Some(vec![half(1), half(2)])
        };
        live(&mut rhythm, 0..begin, round);
        assert_eq!(found(&rhythm, begin), []);
        live(&mut rhythm, begin..begin + 60, round);
        let all = found(&rhythm, begin + 60);
        assert_eq!(all.len(), expected, "{all:?}");
        let Some(finding) = all.first() else { continue };
        let (who, said) = (finding.initiator.as_str(), finding.summary.as_str());
        assert_eq!((who, said), ("shop/web", "memory 1.8 GiB, typically 191 MiB"));
        assert_eq!(
            (finding.severity, finding.initiator_containers.as_slice()),
            (Severity::Low, ["web-1".to_owned()].as_slice())
        );
        assert_eq!((finding.connections, finding.frames, finding.wireshark_filter.as_str()), (0, 0, ""));
        let minute_of = |at: Timestamp| at.since(Timestamp(START)) / MINUTE;
        assert_eq!(minute_of(finding.first_at), begin);
        assert!((begin + 29..begin + 32).contains(&minute_of(finding.last_at)), "{finding:?}");
    }
}

#[test]
fn a_minute_without_a_reading_is_not_one_of_zero() {
    let mut rhythm = Rhythm::default();
    // One day in three, one minute in fifteen.
    live(&mut rhythm, 0..3 * DAY, |minute, at| {
        let used = || vec![reading("web", 1, at, memory(200 * MIB))];
        (minute < DAY).then(|| if minute % 15 == 0 { used() } else { Vec::new() })
    });
    let days = &rhythm.record().services["shop/web"].levels[&Measure::Memory];
    assert!(days.iter().all(|levels| levels.iter().all(|level| *level == 200 * MIB)), "{days:?}");
    live(&mut rhythm, 3 * DAY..4 * DAY, |_, at| Some(vec![reading("web", 1, at, memory(200 * MIB))]));
    assert_eq!(found(&rhythm, 4 * DAY), []);
    // A rise with holes in it is not so many minutes in a row.
    live(&mut rhythm, 4 * DAY..6 * DAY, |_, at| Some(vec![reading("web", 1, at, memory(200 * MIB))]));
    let holes = 6 * DAY..6 * DAY + 60;
    live(&mut rhythm, holes, |minute, at| {
        let is_risen = minute % 10 < 4;
        let used = reading("web", 1, at, memory(if is_risen { 2_000 * MIB } else { 200 * MIB }));
        Some(if is_risen || minute % 20 > 12 { vec![used] } else { Vec::new() })
    });
    assert_eq!(found(&rhythm, 6 * DAY + 60), []);
}

#[test]
fn what_is_read_no_more_is_not_said_to_last() {
    let mut rhythm = Rhythm::default();
    let usual = |_, at| Some(vec![reading("web", 1, at, memory(200 * MIB))]);
    live(&mut rhythm, 0..4 * DAY, usual);
    let risen = |_, at| Some(vec![reading("web", 1, at, memory(2_000 * MIB))]);
    live(&mut rhythm, 4 * DAY..4 * DAY + 20, risen);
    live(&mut rhythm, 4 * DAY + 20..4 * DAY + 400, |_, _| None);
    let all = found(&rhythm, 4 * DAY + 400);
    let last = all[0].last_at.since(Timestamp(START)) / MINUTE - 4 * DAY;
    // Ten minutes a round speaks for, and fifteen in which it might have gone on.
    assert!((20..=50).contains(&last), "{last}");
}

#[test]
fn of_counters_the_growth_in_a_minute_is_held_and_one_that_began_anew_says_nothing() {
    let mut rhythm = Rhythm::default();
    let begin = 4 * DAY;
    // A second of processor time a minute; restarted every hundred minutes; from some minute on 50 s.
    let used =
        |minute: i64| u64::try_from(minute % 100 + (minute - begin).max(0) * 49).unwrap() * 1_000_000_000;
    let round = |minute: i64, at: i64| {
        let indicators = Indicators {
            cpu_nanoseconds: Some(used(minute)),
            block_read_bytes: Some(u64::MAX - u64::from(minute % 2 == 0)),
            // Always less than before.
            block_written_bytes: Some(1_000_000_000 - u64::try_from(minute).unwrap()),
            ..memory(MIB)
        };
        Some(vec![reading("web", 1, at, indicators)])
    };
    live(&mut rhythm, 0..begin, round);
    let levels = &rhythm.record().services["shop/web"].levels;
    let cpu = &levels[&Measure::CpuTime];
    assert!(cpu.iter().flatten().all(|level| *level == 1_000), "{cpu:?}");
    assert!(!levels.contains_key(&Measure::BlockWritten) && !levels.contains_key(&Measure::Pids));
    live(&mut rhythm, begin..begin + 20, round);
    let said: Vec<String> = found(&rhythm, begin + 20).into_iter().map(|it| it.summary).collect();
    assert_eq!(said, ["processor time 50 s in a minute, typically 1.0 s"]);
}

#[test]
fn every_indicator_is_named_with_its_figures() {
    let mut rhythm = Rhythm::default();
    let begin = 4 * DAY;
    let round = |minute: i64, at: i64| {
        let grown = |usual: u64| {
            let before = u64::try_from(minute.min(begin)).unwrap() * usual;
            Some(before + u64::try_from((minute - begin).max(0)).unwrap() * usual * 20)
        };
        let pids = if minute < begin { 30 } else { 1_200 };
        let (read, written) = (grown(100 * MIB), grown(50 * MIB));
        let indicators = Indicators {
            block_read_bytes: read,
            block_written_bytes: written,
            pids: Some(pids),
            ..Indicators::default()
        };
        Some(vec![reading("web", 1, at, indicators)])
    };
    live(&mut rhythm, 0..begin + 20, round);
    let said: Vec<String> = found(&rhythm, begin + 20).into_iter().map(|it| it.summary).collect();
    assert_eq!(
        said,
        [
            "2.0 GiB read from block devices in a minute, typically 100 MiB; 1000 MiB written to block devices in a minute, \
          typically 50 MiB; 1,200 processes and threads, typically 30"
        ]
    );
}

#[test]
fn what_is_usual_survives_being_written_down() {
    let mut rhythm = Rhythm::default();
    let usual = |_, at| Some(vec![reading("web", 1, at, memory(200 * MIB))]);
    live(&mut rhythm, 0..4 * DAY, usual);
    let record = rhythm.record();
    let mut resumed = Rhythm::resume(record.clone());
    assert_eq!(resumed.record(), record);
    live(&mut resumed, 5 * DAY..5 * DAY + 20, |_, at| Some(vec![reading("web", 1, at, memory(2_000 * MIB))]));
    assert_eq!(found(&resumed, 5 * DAY + 20).len(), 1);
}

#[test]
fn services_beyond_the_limit_are_counted_and_said() {
    let mut rhythm = Rhythm::default();
    let many =
        |_, at| Some((0..600).map(|number| reading(&format!("run-{number}"), 1, at, memory(MIB))).collect());
    live(&mut rhythm, 0..3, many);
    assert_eq!((rhythm.record().services.len(), rhythm.unread()), (512, 88));
    let seen = snapshot(Vec::new(), Vec::new());
    let beside = Beside { baseline: None, rhythm: Some(&rhythm) };
    let assessment = Contract::default().assess_with(seen, &ScanLimits::default(), beside);
    assert_eq!(
        assessment.warnings,
        ["what the containers of 88 services use found no room to be held against what is usual"]
    );
}
