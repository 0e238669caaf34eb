//! Guessed passwords as findings: from how many connections on, on which ports, of whom.

#![allow(clippy::unwrap_used, reason = "what a test cannot read is its failure")]

#[expect(dead_code, reason = "the other targets use the rest of it")]
mod support;

use std::sync::Arc;

use portolan_flowtable::{Conversation, Peer, Timestamp};
use portolan_policy::baseline::{Baseline, Enough};
use portolan_policy::rhythm::Rhythm;
use portolan_policy::{Assessment, Beside, Contract, FindingKind, ScanLimits, Severity};
use support::*;

/// Tells of short connections that end so many milliseconds apart.
fn tried(rhythm: &mut Rhythm, call: &Conversation, times: i64, milliseconds: i64, contract: &Contract) {
    let limits = contract.rhythm_limits();
    for number in 0..times {
        let at = Timestamp(START + number * milliseconds * SECOND / 1_000);
        rhythm.guessed(&call.initiator, &call.responder, call.port, at, &limits);
    }
}

fn judged(contract: &Contract, rhythm: &Rhythm, call: &Conversation) -> Assessment {
    let ends = [&call.initiator, &call.responder];
    let workloads = ends.into_iter().filter_map(Peer::workload).map(Arc::clone).collect();
    let mut seen = snapshot(workloads, vec![call.clone()]);
    seen.at = Timestamp(START + 600 * SECOND);
    contract.assess_with(seen, &ScanLimits::default(), Beside { baseline: None, rhythm: Some(rhythm) })
}

#[test]
fn twenty_short_connections_to_a_login_port_within_a_minute_are_a_finding_unless_somebody_meant_them() {
    let web = workload("web-1", "shop/web", &[]);
    let tool = workload("tool-1", "ops/tool", &[]);
    let db = workload("db-1", "shop/db", &[]);
    let bare = |text: &str| Peer::Bare { address: text.parse().unwrap() };
    let to = |from: Peer, port| talk(from, peer(&db, 3), port, 20, 0);
    let named = "[standard.password_guessing]\nports = [\"2222\", \"8000-8009/tcp\"]\n";
    let allowed = "[[rule]]\naction = \"allow\"\nfrom = \"ops/tool\"\nports = 22\n";
    let exempt = "[[standard.password_guessing.except]]\nfrom = \"ops/tool\"\nreason = \"audits\"\n";
    let expected = "[[service]]\nservice = \"shop/db\"\ninitiators = \"ops/tool\"\n";
    #[rustfmt::skip]
    let cases = [
        // name                       call                                                     times  apart  contract  found
        ("SSH",                       to(peer(&tool, 8), 22),                                     20, 3_000, "",       1),
        ("one fewer",                 to(peer(&tool, 8), 22),                                     19, 3_000, "",       0),
        ("a little slower",           to(peer(&tool, 8), 22),                                     90, 3_200, "",       0),
        ("of its own project",        to(peer(&web, 2), 22),                                      20, 3_000, "",       1),
        ("from outside",              to(external(9), 3389),                                      20, 3_000, "",       1),
        ("bare addresses",            talk(bare("10.0.0.7"), bare("10.0.0.8"), 902, 20, 0),       20, 3_000, "",       1),
        ("a web page",                to(peer(&tool, 8), 8080),                                   90,   100, "",       0),
        ("a foreign database",        to(peer(&tool, 8), 5432),                                   20, 3_000, "",       1),
        ("its own database",          to(peer(&web, 2), 5432),                                    90,   100, "",       0),
        ("a database it may call",    to(peer(&tool, 8), 5432),                                   90,   100, expected, 0),
        ("SSH it may call",           to(peer(&tool, 8), 22),                                     20, 3_000, expected, 1),
        ("a database, nobody named",  talk(bare("10.0.0.7"), bare("10.0.0.8"), 5432, 20, 0),      90,   100, "",       0),
        ("a port somebody named",     to(peer(&web, 2), 8003),                                    20, 3_000, named,    1),
        ("one they left out",         to(peer(&tool, 8), 22),                                     20, 3_000, named,    0),
        ("allowed",                   to(peer(&tool, 8), 22),                                     20, 3_000, allowed,  0),
        ("exempt",                    to(peer(&tool, 8), 22),                                     20, 3_000, exempt,   0),
        ("off",                       to(peer(&tool, 8), 22),                                     20, 3_000, "[standard.password_guessing]\nenabled = false\n", 0),
        ("more wanted",               to(peer(&tool, 8), 22),                                     20, 3_000, "[standard.password_guessing]\nconnections = 21\n", 0),
        ("fewer suffice, and longer", to(peer(&tool, 8), 22),                                      5, 60_000, "[standard.password_guessing]\nconnections = 5\nseconds = 300\n", 1),
    ];
    for (name, call, times, apart, contract, expected) in cases {
        let contract = Contract::parse(contract, "contract.toml").unwrap();
        let mut rhythm = Rhythm::default();
        tried(&mut rhythm, &call, times, apart, &contract);
        let assessment = judged(&contract, &rhythm, &call);
        let is_it = |kind| assessment.findings.iter().filter(move |finding| finding.kind == kind);
        let found: Vec<_> = is_it(FindingKind::PasswordGuessing).collect();
        assert_eq!(found.len(), expected, "{name}: {found:?}");
        if name == "SSH" {
            let finding = found[0];
            assert_eq!((finding.severity, finding.responder.as_str()), (Severity::Medium, "shop/db"));
            assert_eq!(finding.summary, "tool-1 opened 20 short connections to db-1 22/tcp (SSH) in 57 s");
            assert_eq!(
                (finding.first_at, finding.last_at),
                (Timestamp(START), Timestamp(START + 57 * SECOND))
            );
            assert_eq!(assessment.judged[0].finding.as_ref(), Some(&finding.id));
            let beside = Beside { baseline: None, rhythm: Some(&rhythm) };
            let grounds = contract.grounds(&assessment.snapshot, &ScanLimits::default(), beside);
            assert!(grounds.is_empty(), "what was moved out of a snapshot rests on nothing");
        }
        if name == "a foreign database" {
            assert_eq!(is_it(FindingKind::ForeignDatabase).count(), 1, "the call itself is told of as well");
            // The finding rests on it even where the other rule is off.
            let off = "[standard.foreign_database]\nenabled = false\n";
            let off = Contract::parse(off, "contract.toml").unwrap();
            let mut seen = snapshot(vec![Arc::clone(&db)], vec![call.clone()]);
            seen.at = Timestamp(START + 600 * SECOND);
            let beside = Beside { baseline: None, rhythm: Some(&rhythm) };
            let grounds = off.grounds(&seen, &ScanLimits::default(), beside);
            assert_eq!(grounds[&found[0].id], [0]);
        }
    }
}

#[test]
fn guesses_that_come_in_disorder_are_counted_once_each() {
    let (tool, db) = (workload("tool-1", "ops/tool", &[]), workload("db-1", "shop/db", &[]));
    let call = talk(peer(&tool, 8), peer(&db, 3), 22, 20, 0);
    let contract = Contract::default();
    let limits = contract.rhythm_limits();
    let mut rhythm = Rhythm::default();
    // 7 and 20 have no factor in common: each second of twenty once.
    for number in 0..20_i64 {
        let at = Timestamp(START + number * 7 % 20 * SECOND);
        rhythm.guessed(&call.initiator, &call.responder, call.port, at, &limits);
    }
    let assessment = judged(&contract, &rhythm, &call);
    let [finding] = &assessment.findings[..] else { panic!("{assessment:?}") };
    assert_eq!((finding.first_at, finding.last_at), (Timestamp(START), Timestamp(START + 19 * SECOND)));
}

#[test]
fn whoever_calls_from_every_address_does_not_push_out_who_guessed() {
    let (tool, db) = (workload("tool-1", "ops/tool", &[]), workload("db-1", "shop/db", &[]));
    let call = talk(peer(&tool, 8), peer(&db, 3), 22, 20, 0);
    let contract = Contract::default();
    let limits = contract.rhythm_limits();
    let mut rhythm = Rhythm::default();
    tried(&mut rhythm, &call, 20, 100, &contract);
    for number in 0..3_000_u32 {
        let other =
            Peer::External { address: (0xcb00_7100 + number).to_be_bytes().into(), names: Arc::default() };
        rhythm.guessed(&other, &call.responder, call.port, Timestamp(START + 30 * SECOND), &limits);
    }
    assert_eq!(rhythm.turned_away(), 3_000 - 2_047);
    assert_eq!(judged(&contract, &rhythm, &call).findings.len(), 1);
    // A minute of silence later there is room again, but for who was found.
    let other = external(9);
    rhythm.guessed(&other, &call.responder, call.port, Timestamp(START + 91 * SECOND), &limits);
    assert_eq!(rhythm.turned_away(), 3_000 - 2_047);
    assert_eq!(judged(&contract, &rhythm, &call).findings.len(), 1);
}

#[test]
fn ports_that_cannot_be_guessed_at_are_refused_with_their_place() {
    #[rustfmt::skip]
    let cases = [
        ("ports = [\"53/udp\"]",   "c.toml:2:9: \"ports\" of password_guessing are of TCP, not 53/udp"),
        ("ports = []",             "c.toml:2:9: an empty \"ports\" speaks of nothing"),
        ("ports = true",           "c.toml:2:9: "),
        ("connections = 2",        "c.toml:2:15: \"connections\" (short connections of one peer to one login port) is from 3 to 500, not 2"),
        ("port = 22",              "c.toml:2:1: "),
    ];
    for (line, expected) in cases {
        let text = format!("[standard.password_guessing]\n{line}\n");
        let errors = Contract::parse(&text, "c.toml").unwrap_err();
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(said.iter().any(|said| said.starts_with(expected)), "{line}: {said:?}");
    }
    // No other rule takes ports of its own.
    assert!(Contract::parse("[standard.beaconing]\nports = [22]\n", "c.toml").is_err());
    let named = "[standard.password_guessing]\nports = [\"2222\"]\n";
    let changes = Contract::default().changes_to(&Contract::parse(named, "c.toml").unwrap());
    assert_eq!(changes[0].fact, "standard rule password_guessing speaks of 2222/tcp");
}

#[test]
fn who_guesses_teaches_a_baseline_nothing_whatever_else_it_says() {
    let (tool, db) = (workload("tool-1", "ops/tool", &[]), workload("db-1", "shop/db", &[22, 80]));
    let (guess, other) =
        (talk(peer(&tool, 8), peer(&db, 3), 22, 20, 0), talk(peer(&tool, 8), peer(&db, 3), 80, 1, 0));
    let contract = Contract::default();
    for (times, edges) in [(19, 2), (20, 0)] {
        let mut rhythm = Rhythm::default();
        tried(&mut rhythm, &guess, times, 100, &contract);
        let mut baseline = Baseline::new(Enough::default());
        let mut seen = snapshot(vec![Arc::clone(&tool), Arc::clone(&db)], vec![guess.clone(), other.clone()]);
        seen.at = Timestamp(START + 600 * SECOND);
        let beside = Beside { baseline: Some(&baseline), rhythm: Some(&rhythm) };
        let assessment = contract.assess_with(seen, &ScanLimits::default(), beside);
        baseline.learn(&assessment);
        let of_tool = baseline.profiles().iter().filter(|(key, _)| key.service == "ops/tool");
        assert_eq!(of_tool.map(|(_, profile)| profile.edges.len()).sum::<usize>(), edges, "{times}");
    }
}
