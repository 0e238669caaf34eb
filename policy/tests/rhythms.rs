//! Beacons and levels as findings: who is named, what is left out, and what a limit does.

#![allow(clippy::unwrap_used, reason = "what a test cannot read is its failure")]

#[expect(dead_code, reason = "the other targets use the rest of it")]
mod support;

use std::sync::Arc;

use portolan_flowtable::{Conversation, Peer, Protocol, ServicePort, Timestamp};
use portolan_policy::rhythm::{Rhythm, RhythmLimits, RhythmRecord};
use portolan_policy::{Assessment, Beside, Contract, Finding, FindingKind, ScanLimits, Severity};
use support::*;

const MINUTE: i64 = 60 * SECOND;

/// Calls every minute, give or take 6 s, 20 times; or by chance.
fn called(rhythm: &mut Rhythm, call: &Conversation, is_steady: bool, limits: &RhythmLimits) {
    let mut at = START;
    for number in 0..=20_i64 {
        rhythm.opened(&call.initiator, &call.responder, call.port, Timestamp(at), limits);
        rhythm.close(Timestamp(at + SECOND), limits);
        at += if is_steady {
            MINUTE + (number * 5 % 13 - 6) * SECOND
        } else {
            (number * 37 % 101 + 3) * SECOND
        };
    }
}

fn judged(contract: &str, rhythm: &Rhythm, calls: &[Conversation]) -> Assessment {
    let ends = calls.iter().flat_map(|call| [&call.initiator, &call.responder]);
    let workloads = ends.filter_map(Peer::workload).map(Arc::clone).collect();
    let beside = Beside { baseline: None, rhythm: Some(rhythm) };
    let mut seen = snapshot(workloads, calls.to_vec());
    seen.at = Timestamp(START + 30 * MINUTE);
    Contract::parse(contract, "contract.toml").unwrap().assess_with(seen, &ScanLimits::default(), beside)
}

fn of_kind(assessment: &Assessment, kind: FindingKind) -> Vec<&Finding> {
    assessment.findings.iter().filter(|finding| finding.kind == kind).collect()
}

#[test]
fn a_beacon_is_a_finding_unless_somebody_meant_it() {
    let web = workload("web-1", "shop/web", &[]);
    let db = workload("db-1", "shop/db", &[]);
    let bare = |text: &str| Peer::Bare { address: text.parse().unwrap() };
    let udp = |call: Conversation, port| Conversation { port: ServicePort::new(port, Protocol::UDP), ..call };
    let outside = || talk(peer(&web, 2), external(9), 443, 20, 0);
    let allowed = "[[rule]]\naction = \"allow\"\nfrom = \"shop/web\"\nto = \"203.0.113.0/24\"\n";
    let exempt = "[[standard.beaconing.except]]\nfrom = \"shop/web\"\nreason = \"telemetry\"\n";
    #[rustfmt::skip]
    let cases = [
        ("a beacon",            outside(),                                                        true,  "",       1),
        ("by chance",           outside(),                                                        false, "",       0),
        ("allowed",             outside(),                                                        true,  allowed,  0),
        ("exempt",              outside(),                                                        true,  exempt,   0),
        ("off",                 outside(),                                                        true,  "[standard.beaconing]\nenabled = false\n", 0),
        ("more periods wanted", outside(),                                                        true,  "[standard.beaconing]\nperiods = 21\n", 0),
        ("among containers",    talk(peer(&web, 2), peer(&db, 3), 5432, 20, 0),                   true,  "",       0),
        ("the host",            talk(Peer::Host { address: address(1) }, external(9), 443, 20, 0), true, "",       0),
        ("a clock",             udp(outside(), 123),                                              true,  "",       0),
        ("a resolver",          udp(outside(), 53),                                               true,  "",       0),
        ("a bare address",      talk(bare("10.0.0.7"), bare("198.51.100.7"), 8080, 20, 0),        true,  "",       1),
        ("two bare neighbours", talk(bare("10.0.0.7"), bare("192.168.4.1"), 8080, 20, 0),         true,  "",       0),
        ("shared addresses",    talk(bare("10.0.0.7"), bare("100.64.0.1"), 8080, 20, 0),          true,  "",       0),
        ("a unique local one",  talk(bare("fd00::7"), bare("fd12::1"), 8080, 20, 0),              true,  "",       0),
        ("version six",         talk(bare("fd00::7"), bare("2001:db8::1"), 8080, 20, 0),          true,  "",       1),
    ];
    for (name, call, is_steady, contract, expected) in cases {
        let mut rhythm = Rhythm::default();
        let limits = Contract::parse(contract, "contract.toml").unwrap().rhythm_limits();
        called(&mut rhythm, &call, is_steady, &limits);
        let assessment = judged(contract, &rhythm, &[call]);
        let found = of_kind(&assessment, FindingKind::Beaconing);
        assert_eq!(found.len(), expected, "{name}: {found:?}");
        if name == "a beacon" {
            let finding = found[0];
            assert_eq!((finding.severity, finding.responder.as_str()), (Severity::Medium, "external"));
            assert!(
                finding.summary.starts_with("web-1 called 203.0.113.9 on 443/tcp every 60 s: "),
                "{finding:?}"
            );
            assert_eq!(finding.first_at, Timestamp(START));
            assert_eq!(assessment.judged[0].finding.as_ref(), Some(&finding.id));
        }
    }
}

#[test]
fn beacons_of_one_service_to_one_port_are_one_finding_and_it_rests_on_their_conversations() {
    let web = workload("web-1", "shop/web", &[]);
    let calls: Vec<Conversation> =
        [9, 10, 11].map(|last| talk(peer(&web, 2), external(last), 443, 20, 0)).into();
    let mut rhythm = Rhythm::default();
    for (call, is_steady) in calls.iter().zip([true, false, true]) {
        called(&mut rhythm, call, is_steady, &RhythmLimits::default());
    }
    let assessment = judged("", &rhythm, &calls);
    let [finding] = of_kind(&assessment, FindingKind::Beaconing)[..] else { panic!("{assessment:?}") };
    assert!(finding.summary.ends_with("; and 1 pair alike"), "{finding:?}");
    let beside = Beside { baseline: None, rhythm: Some(&rhythm) };
    let seen = snapshot(vec![web], calls);
    let grounds = Contract::default().grounds(&seen, &ScanLimits::default(), beside);
    assert_eq!(grounds[&finding.id], [0, 2]);
}

/// Lives for four days and an hour with a call a minute, and in the last hour from minute 10 on `times` as many for a
/// quarter of an hour.
fn lived(call: &Conversation, times: i64, limits: &RhythmLimits) -> Rhythm {
    let mut rhythm = Rhythm::default();
    for minute in 0..4 * 1_440 + 60 {
        let is_burst = (4 * 1_440 + 10..4 * 1_440 + 25).contains(&minute);
        for number in 0..if is_burst { times } else { 10 } {
            let at = Timestamp(START + minute * MINUTE + number * SECOND / 100);
            rhythm.opened(&call.initiator, &call.responder, call.port, at, limits);
        }
        rhythm.close(Timestamp(START + minute * MINUTE + 59 * SECOND), limits);
    }
    rhythm
}

#[test]
fn a_tenfold_burst_is_one_finding_of_each_end_and_a_steady_life_is_none() {
    let (web, db) = (workload("web-1", "shop/web", &[]), workload("db-1", "shop/db", &[]));
    let mut call = talk(peer(&web, 2), peer(&db, 3), 5432, 20, 0);
    call.last_at = Timestamp(START + (4 * 1_440 + 59) * MINUTE);
    let limits = RhythmLimits::default();
    for (times, expected) in [(10, 0), (100, 2)] {
        let rhythm = lived(&call, times, &limits);
        let assessment = judged("", &rhythm, std::slice::from_ref(&call));
        let found = of_kind(&assessment, FindingKind::UnusualLevel);
        assert_eq!(found.len(), expected, "{times}: {found:?}");
        let Some(finding) = found.iter().find(|finding| finding.initiator == "shop/web") else { continue };
        assert_eq!(finding.summary, "100 connections opened in a minute where 10 are usual");
        assert_eq!((finding.severity, finding.responder.as_str()), (Severity::Low, ""));
        let minutes = |at: Timestamp| at.since(Timestamp(START)) / MINUTE - 4 * 1_440;
        assert_eq!(minutes(finding.first_at), 10);
        assert!((24..=26).contains(&minutes(finding.last_at)), "{finding:?}");
        for contract in [
            "[[standard.unusual_level.except]]\nfrom = \"shop/*\"\nreason = \"no such selector\"\n",
            "[[standard.unusual_level.except]]\nfrom = \"project:shop\"\nreason = \"batches\"\n",
        ] {
            let left = judged(contract, &rhythm, std::slice::from_ref(&call));
            let is_exempt = contract.contains("project:");
            assert_eq!(of_kind(&left, FindingKind::UnusualLevel).is_empty(), is_exempt, "{contract}");
        }
    }
}

#[test]
fn an_unusual_level_points_to_the_frames_of_its_minutes() {
    let (web, db) = (workload("web-1", "shop/web", &[]), workload("db-1", "shop/db", &[]));
    let day = 1_440 * MINUTE;
    let spanning = |port, (first_at, first_frame): (i64, u64), (last_at, last_frame): (i64, u64)| {
        let (first_at, last_at) = (Timestamp(START + first_at), Timestamp(START + last_at));
        let call = talk(peer(&web, 2), peer(&db, 3), port, 20, 0);
        Conversation { first_at, last_at, first_frame, last_frame, ..call }
    };
    let lasting = spanning(5432, (0, 1), (4 * day + 59 * MINUTE, 9_000));
    let rhythm = lived(&lasting, 100, &RhythmLimits::default());
    let before = spanning(5433, (day, 700), (4 * day, 5_000));
    let behind = spanning(5434, (4 * day + 40 * MINUTE, 8_000), (4 * day + 50 * MINUTE, 8_500));
    // One whose frames lie where its times do not: nothing can be told from them.
    let reversed = spanning(5435, (0, 9_500), (day, 9_600));
    let cases = [
        (vec![lasting.clone()], (2, 8_999)),
        (vec![lasting.clone(), before.clone(), behind.clone()], (5_001, 7_999)),
        (vec![lasting, before, behind, reversed], (1, 9_000)),
    ];
    for (calls, expected) in cases {
        let assessment = judged("", &rhythm, &calls);
        let found = of_kind(&assessment, FindingKind::UnusualLevel);
        let finding = found.iter().find(|finding| finding.initiator == "shop/web").unwrap();
        assert_eq!((finding.first_frame, finding.last_frame), expected);
    }
}

#[test]
fn what_is_usual_survives_being_written_down() {
    let (web, db) = (workload("web-1", "shop/web", &[]), workload("db-1", "shop/db", &[]));
    let mut call = talk(peer(&web, 2), peer(&db, 3), 5432, 20, 0);
    call.last_at = Timestamp(START + 10_000 * MINUTE);
    let limits = RhythmLimits::default();
    let record = lived(&call, 10, &limits).record();
    assert_eq!(record.services["shop/web"].known.len(), 1);
    let mut rhythm = Rhythm::resume(record.clone());
    assert_eq!(rhythm.record(), record);
    let begin = START + 5 * 1_440 * MINUTE;
    for minute in 0..8 {
        for number in 0..100 {
            let at = Timestamp(begin + minute * MINUTE + number * SECOND / 100);
            rhythm.opened(&call.initiator, &call.responder, call.port, at, &limits);
        }
        rhythm.close(Timestamp(begin + minute * MINUTE + 59 * SECOND), &limits);
    }
    let found = judged("", &rhythm, &[call]);
    let found = of_kind(&found, FindingKind::UnusualLevel);
    // The same peer as before the restart: no stranger among them.
    let said: Vec<&str> = found.iter().map(|finding| finding.summary.as_str()).collect();
    assert_eq!(
        said,
        [
            "100 connections received in a minute where 10 are usual",
            "100 connections opened in a minute where 10 are usual"
        ]
    );
}

#[test]
fn beyond_its_limits_calls_are_counted_and_said() {
    let web = workload("web-1", "shop/web", &[]);
    let (mut rhythm, limits) = (Rhythm::default(), RhythmLimits::default());
    let port = ServicePort::new(443, Protocol::TCP);
    for number in 0..10_000_u32 {
        let address = std::net::Ipv4Addr::from(0xcb00_7100 + number);
        let outside = Peer::External { address: address.into(), names: Default::default() };
        let at = Timestamp(START + i64::from(number));
        rhythm.opened(&peer(&web, 2), &outside, port, at, &limits);
    }
    assert_eq!(rhythm.turned_away(), 10_000 - 8_192);
    let assessment = judged("", &rhythm, &[]);
    assert_eq!(
        assessment.warnings,
        ["1,808 calls found no room to be looked through for beacons and unusual levels"]
    );
    // An hour later those that fell silent make room.
    let outside = Peer::External { address: "192.0.2.1".parse().unwrap(), names: Default::default() };
    let later = |seconds: i64| Timestamp(START + 3_601 * SECOND + seconds * SECOND);
    (0..2_000).for_each(|second| rhythm.opened(&peer(&web, 2), &outside, port, later(second), &limits));
    assert!(rhythm.turned_away() < 10_000 - 8_192 + 1_024);
}

#[test]
fn services_that_fell_silent_make_room_the_one_silent_for_longest_first() {
    const HOUR: i64 = 60 * MINUTE;
    let limits = RhythmLimits::default();
    let at = |hours: i64| Timestamp(START + hours * HOUR);
    let mut rhythm = Rhythm::default();
    // Run once each, with names nobody uses again; one of them goes on.
    for number in 0..512_i64 {
        rhythm.sent(&format!("run-{number:03}"), 100, Timestamp(at(0).0 + number * SECOND), &limits);
    }
    let full = |rhythm: &mut Rhythm, hours: i64, name: &str| {
        rhythm.sent("run-000", 100, at(hours), &limits);
        rhythm.close(at(hours), &limits);
        rhythm.sent(name, 100, at(hours), &limits);
        rhythm.record().services.contains_key(name)
    };
    assert!(!full(&mut rhythm, 24, "shop/web"));
    assert!(!full(&mut rhythm, 8 * 24, "shop/web"));
    assert_eq!(rhythm.turned_away(), 2);
    assert!(full(&mut rhythm, 8 * 24 + 1, "shop/web"));
    let names = |record: &RhythmRecord| -> Vec<String> { record.services.keys().take(3).cloned().collect() };
    assert_eq!(names(&rhythm.record()), ["run-000", "run-002", "run-003"]);
    // What is written down says it as well; of what an earlier version wrote nobody knows how long it was silent.
    let mut record = rhythm.record();
    let mut resumed = Rhythm::resume(record.clone());
    assert!(full(&mut resumed, 8 * 24 + 2, "shop/db"));
    assert_eq!(names(&resumed.record()), ["run-000", "run-003", "run-004"]);
    record.services.values_mut().for_each(|service| service.heard_at = None);
    let mut resumed = Rhythm::resume(record);
    assert!(!full(&mut resumed, 8 * 24 + 2, "shop/db"));
    assert!(!full(&mut resumed, 16 * 24 + 2, "shop/db"));
    assert!(full(&mut resumed, 16 * 24 + 3, "shop/db"));
}

#[test]
fn a_beacon_that_was_silent_for_a_day_makes_room() {
    let web = workload("web-1", "shop/web", &[]);
    let (mut rhythm, limits) = (Rhythm::default(), RhythmLimits::default());
    let port = ServicePort::new(443, Protocol::TCP);
    let outside = |number: u32| Peer::External {
        address: std::net::Ipv4Addr::from(0xcb00_7100 + number).into(),
        names: Default::default(),
    };
    for beat in 0..17_i64 {
        for number in 0..8_192_u32 {
            rhythm.opened(&peer(&web, 2), &outside(number), port, Timestamp(START + beat * MINUTE), &limits);
        }
    }
    let late = |rhythm: &mut Rhythm, minutes: i64| {
        let at = Timestamp(START + (16 + minutes) * MINUTE);
        rhythm.opened(&peer(&web, 2), &outside(9_000), port, at, &limits);
        rhythm.turned_away()
    };
    assert_eq!([late(&mut rhythm, 90), late(&mut rhythm, 1_440)], [1, 2]);
    assert_eq!([late(&mut rhythm, 1_441), late(&mut rhythm, 1_442)], [2, 2]);
}
