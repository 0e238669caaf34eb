//! The stages of a finding, within a run and over restarts.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up is a failed test")]

#[expect(dead_code, reason = "what other tests are made of")]
mod support;

use std::sync::Arc;

use portolan_flowtable::conversation::Conversation;
use portolan_flowtable::{Timestamp, Workload};
use portolan_policy::findings::{Docket, DocketRecord, FindingAct, FindingError, HOLD, Standing};
use portolan_policy::{Alert, AlertState, Assessment, Beside, Contract, ScanLimits};

use support::{START, answered, fared, peer, refused, snapshot, talk, workload};

const HOUR: i64 = 3_600 * Timestamp::SECOND;
const CONTRACT: &str =
    "[[service]]\nservice = \"shop/db\"\nports = [\"5432/tcp\"]\ninitiators = [\"shop/cart\"]\n";

struct Shop {
    reports: Arc<Workload>,
    db: Arc<Workload>,
}

impl Shop {
    fn new() -> Self {
        Self { reports: workload("reports-1", "shop/reports", &[]), db: workload("db-1", "shop/db", &[5432]) }
    }

    /// What reports does to db, `begun` milliseconds after the start.
    fn call(&self, outcome: portolan_flowtable::conversation::Outcomes, begun: i64) -> Conversation {
        fared(talk(peer(&self.reports, 4), peer(&self.db, 3), 5432, 1, 0), outcome, begun)
    }

    /// An assessment `at` nanoseconds after the start, with these containers and conversations.
    fn seen(&self, at: i64, has_reports: bool, told: Vec<Conversation>, contract: &str) -> Assessment {
        let mut workloads = vec![Arc::clone(&self.db)];
        workloads.extend(has_reports.then(|| Arc::clone(&self.reports)));
        let mut snapshot = snapshot(workloads, told);
        snapshot.at = Timestamp(START + at);
        Contract::parse(contract, "contract.toml").unwrap().assess_with(
            snapshot,
            &ScanLimits::default(),
            Beside::default(),
        )
    }
}

fn states(alerts: &[Alert]) -> Vec<AlertState> {
    alerts.iter().map(|alert| alert.state).collect()
}

fn written_and_read(docket: &Docket, at: i64) -> Docket {
    let text = format!("{:?}", docket.record(Timestamp(START + at)));
    assert!(text.contains("portolan_findings: 1"));
    Docket::resume(docket.record(Timestamp(START + at)), HOLD, Timestamp(START + at + HOUR))
}

#[test]
fn a_finding_is_raised_once_holds_behind_its_traffic_and_is_cleared() {
    let shop = Shop::new();
    let mut docket = Docket::new(HOLD);
    let mut turn = |at: i64, contract: &str| {
        let mut seen = shop.seen(at, true, vec![shop.call(answered(1), 0)], contract);
        let alerts = docket.update(&mut seen);
        (states(&alerts), seen.findings.len())
    };
    assert_eq!(turn(1, CONTRACT), (vec![AlertState::Raised], 1));
    assert_eq!(turn(2, CONTRACT), (vec![], 1));
    assert_eq!(turn(HOLD, CONTRACT), (vec![], 1));
    assert_eq!(turn(HOLD + 1, CONTRACT), (vec![AlertState::Cleared], 0));
    // The conversation is still listed, and its finding is no news.
    assert_eq!(turn(HOLD + 2, CONTRACT), (vec![], 0));
    assert_eq!(turn(3, CONTRACT), (vec![AlertState::Raised], 1));
    // A contract that allows it ends it at once.
    assert_eq!(turn(4, &CONTRACT.replace("shop/cart", "shop/reports")), (vec![AlertState::Cleared], 0));
}

#[test]
fn a_finding_of_an_earlier_run_goes_when_the_contract_allows_it() {
    let shop = Shop::new();
    let mut before = Docket::new(HOLD);
    before.update(&mut shop.seen(1, true, vec![shop.call(answered(1), 0)], CONTRACT));
    let allowing = CONTRACT.replace("shop/cart", "shop/reports");
    let ranged = format!("{allowing}[[rule]]\naction = \"deny\"\nfrom = \"203.0.113.0/24\"\n");
    let off = format!("{CONTRACT}[standard.unexpected_peer]\nenabled = false\n");
    #[rustfmt::skip]
    let cases = [
        ("as before",             CONTRACT, true,  vec![]),
        ("allowed",               &allowing, true, vec![AlertState::Cleared]),
        ("switched off",          &off,     true,  vec![AlertState::Cleared]),
        // Whose addresses they were, nobody knows.
        ("judged by addresses",   &ranged,  true,  vec![]),
        ("nobody knows who is who", &allowing, false, vec![]),
    ];
    for (name, text, has_roster, expected) in cases {
        let mut docket = written_and_read(&before, 2);
        let contract = Contract::parse(text, "contract.toml").unwrap();
        let mut seen = shop.seen(HOUR, true, vec![], text);
        seen.snapshot.has_roster = has_roster;
        let alerts = docket.reconsider(&contract, &seen.snapshot, Beside::default());
        assert_eq!(states(&alerts), expected, "{name}");
        assert_eq!(docket.reconsider(&contract, &seen.snapshot, Beside::default()), [], "{name}");
        docket.update(&mut seen);
        assert_eq!(seen.findings.is_empty(), !expected.is_empty(), "{name}");
    }
}

#[test]
fn a_finding_ends_with_the_containers_of_one_of_its_ends() {
    let shop = Shop::new();
    let mut docket = Docket::new(HOLD);
    let mut turn = |has_reports: bool| {
        let mut seen = shop.seen(5, has_reports, vec![shop.call(answered(1), 0)], CONTRACT);
        let alerts = docket.update(&mut seen);
        (states(&alerts), seen.findings.len())
    };
    assert_eq!(turn(true), (vec![AlertState::Raised], 1));
    assert_eq!(turn(false), (vec![AlertState::Ended], 0));
    assert_eq!(turn(false), (vec![], 0));
}

#[test]
fn what_was_acknowledged_stays_so_unless_it_becomes_graver() {
    let shop = Shop::new();
    let mut docket = Docket::new(HOLD);
    let tried = shop.call(refused(1), 0);
    let raised = docket.update(&mut shop.seen(1, true, vec![tried.clone()], CONTRACT));
    let id = raised[0].finding.id.clone();
    let named = format!("F-{}", &id[..6]);
    let acknowledged =
        docket.act(&named, &FindingAct::Acknowledge, "uid 7", " known ", Timestamp(START + 2)).unwrap();
    let note = acknowledged.note.clone().unwrap();
    assert_eq!(
        (acknowledged.state, note.by.as_str(), note.reason.as_str()),
        (AlertState::Acknowledged, "uid 7", "known")
    );
    let mut again = shop.seen(3, true, vec![tried.clone()], CONTRACT);
    assert_eq!((docket.update(&mut again), again.findings.len()), (vec![], 0));
    let mut graver = shop.seen(4, true, vec![tried, shop.call(answered(1), 1)], CONTRACT);
    assert_eq!(states(&docket.update(&mut graver)), [AlertState::Updated]);
    assert_eq!(graver.findings.len(), 1);
}

#[test]
fn a_suppression_needs_a_reason_and_an_end_and_wakes_up_then() {
    let shop = Shop::new();
    let mut docket = Docket::new(HOLD);
    let told = vec![shop.call(answered(1), 0)];
    let id = docket.update(&mut shop.seen(1, true, told.clone(), CONTRACT))[0].finding.id.clone();
    let until = Timestamp(START + 10);
    let mut say = |named: &str, act: FindingAct, reason: &str| {
        docket.act(named, &act, "uid 7", reason, Timestamp(START + 2)).map(|alert| alert.state)
    };
    let suppress = |until| FindingAct::Suppress { until };
    assert_eq!(say(&id, suppress(until), " "), Err(FindingError::NoReason));
    let past = Timestamp(START);
    assert_eq!(say(&id, suppress(past), "why"), Err(FindingError::Past { until: past }));
    assert_eq!(say("F-1", suppress(until), "why"), Err(FindingError::Unknown { id: "F-1".to_owned() }));
    assert_eq!(say(&id, suppress(until), "why"), Ok(AlertState::Suppressed));
    let mut turn = |at: i64| {
        let mut seen = shop.seen(at, true, told.clone(), CONTRACT);
        (states(&docket.update(&mut seen)), seen.findings.len())
    };
    assert_eq!(turn(9), (vec![], 0));
    assert_eq!(turn(10), (vec![AlertState::Raised], 1));
    assert_eq!(turn(11), (vec![], 1));
}

#[test]
fn a_restart_raises_nothing_again_and_loses_no_word() {
    let shop = Shop::new();
    let mut docket = Docket::new(HOLD);
    let told = vec![shop.call(answered(3), 0)];
    let first = docket.update(&mut shop.seen(1, true, told.clone(), CONTRACT));
    let before = first[0].finding.clone();
    for is_acknowledged in [false, true] {
        if is_acknowledged {
            docket.act(&before.id, &FindingAct::Acknowledge, "uid 7", "known", Timestamp(START + 2)).unwrap();
        }
        let expected = usize::from(!is_acknowledged);
        let mut resumed = written_and_read(&docket, HOUR);
        let gap = resumed.gap().unwrap();
        assert_eq!((gap.from, gap.until), (Timestamp(START + HOUR), Timestamp(START + 2 * HOUR)));
        // Before its traffic comes back, and when it does.
        let mut quiet = shop.seen(2 * HOUR, true, Vec::new(), CONTRACT);
        assert_eq!((resumed.update(&mut quiet), quiet.findings.len()), (vec![], expected));
        let fresh = vec![shop.call(answered(2), 3 * 3_600_000)];
        let mut back = shop.seen(3 * HOUR, true, fresh, CONTRACT);
        assert_eq!((resumed.update(&mut back), back.findings.len()), (vec![], expected));
        let entry = resumed.entries().next().unwrap();
        assert_eq!(entry.standing == Standing::Open, !is_acknowledged);
        let finding = &entry.finding;
        assert_eq!((finding.first_at, finding.connections), (before.first_at, before.connections + 2));
        // Nobody looked in between.
        assert_eq!(finding.complete, Some(false));
    }
}

#[test]
fn what_does_not_come_back_after_a_restart_is_cleared_or_ends_in_its_time() {
    let shop = Shop::new();
    let mut docket = Docket::new(HOLD);
    docket.update(&mut shop.seen(1, true, vec![shop.call(answered(1), 0)], CONTRACT));
    let turn = |at: i64, has_reports: bool| {
        let mut resumed = written_and_read(&docket, HOUR);
        states(&resumed.update(&mut shop.seen(at, has_reports, Vec::new(), CONTRACT)))
    };
    assert_eq!(turn(3 * HOUR, true), []);
    assert_eq!(turn(3 * HOUR, false), [AlertState::Ended]);
    assert_eq!(turn(HOLD + HOUR, true), [AlertState::Cleared]);
}

#[test]
fn nothing_ends_while_nobody_can_say_who_is_there() {
    let shop = Shop::new();
    let mut docket = Docket::new(HOLD);
    docket.update(&mut shop.seen(1, true, vec![shop.call(answered(1), 0)], CONTRACT));
    let mut resumed = written_and_read(&docket, HOUR);
    // Before Docker's first answer, and while it does not answer.
    let mut nameless = shop.seen(3 * HOUR, false, Vec::new(), CONTRACT);
    nameless.snapshot.workloads.clear();
    assert_eq!((resumed.update(&mut nameless), nameless.findings.len()), (vec![], 1));
    let mut stale = shop.seen(3 * HOUR, false, Vec::new(), CONTRACT);
    stale.snapshot.stale = Some("Docker does not answer".to_owned());
    assert_eq!((resumed.update(&mut stale), stale.findings.len()), (vec![], 1));
    let mut named = shop.seen(3 * HOUR, false, Vec::new(), CONTRACT);
    assert_eq!(states(&resumed.update(&mut named)), [AlertState::Ended]);
}

#[test]
fn an_empty_record_is_an_empty_docket() {
    let record = DocketRecord { portolan_findings: 1, saved_at: Timestamp(START), entries: Vec::new() };
    assert_eq!(Docket::resume(record, HOLD, Timestamp(START)).entries().count(), 0);
}
