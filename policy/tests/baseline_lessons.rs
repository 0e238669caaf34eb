//! What teaches and what does not; and the baseline's place among verdicts.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up is a failed test")]

mod support;

use std::sync::Arc;

use portolan_flowtable::conversation::{Conversation, Outcomes, Peer};
use portolan_flowtable::flow::Claim;
use portolan_flowtable::{Blindness, Completeness, InitiatorEvidence, Timestamp, Workload};
use portolan_policy::baseline::{Act, Baseline, Edge, Enough, ProfileKey};
use portolan_policy::{Beside, ComposeFile, Contract, FindingKind, ScanLimits, Severity, Verdict};

use support::{START, answered, external, fared, peer, refused, snapshot, talk, unanswered, workload};

fn edge(text: &str) -> Edge {
    text.parse().unwrap()
}

fn nothing() -> Contract {
    Contract::parse("", "contract.toml").unwrap()
}

fn shop() -> (Arc<Workload>, Arc<Workload>) {
    (workload("web-1", "shop/web", &[80]), workload("db-1", "shop/db", &[5432]))
}

/// Lets a baseline look at a snapshot of these conversations; `blind` are holes in it.
fn taught(baseline: &mut Baseline, contract: &Contract, told: Vec<Conversation>, blind: Vec<Blindness>) {
    let (web, db) = shop();
    let mut seen = snapshot(vec![web, db], told);
    if !blind.is_empty() {
        let reasons = vec!["frames were dropped".to_owned()];
        seen.completeness = Completeness::Incomplete { reasons, blind, is_undated: false };
    }
    let assessment =
        contract.assess_with(seen, &ScanLimits::default(), Beside { baseline: Some(baseline), rhythm: None });
    baseline.learn(&assessment);
}

/// Everything learned, as `shop/web to shop/db:5432/tcp`.
fn known(baseline: &Baseline) -> Vec<String> {
    let of = |(key, profile): (&ProfileKey, &portolan_policy::baseline::Profile)| {
        profile.edges.keys().map(|edge| format!("{} {edge}", key.service)).collect::<Vec<_>>()
    };
    baseline.profiles().iter().flat_map(of).collect()
}

#[test]
fn an_exchange_is_an_edge_of_both_its_ends_and_one_draw_a_window() {
    let (web, db) = shop();
    let call = |answered, last: i64| {
        let mut call = talk(peer(&web, 2), peer(&db, 3), 5432, answered, 0);
        call.last_at = Timestamp(START).plus(last * Timestamp::SECOND);
        call
    };
    let mut baseline = Baseline::new(Enough::default());
    let out = talk(peer(&web, 2), external(9), 443, 1, 0);
    for (answered, last) in [(1, 1), (2, 2), (2, 2), (3, 700)] {
        taught(&mut baseline, &nothing(), vec![call(answered, last), out.clone()], Vec::new());
    }
    assert_eq!(
        known(&baseline),
        ["shop/db from shop/web:5432/tcp", "shop/web to external:443/tcp", "shop/web to shop/db:5432/tcp"]
    );
    let draws = |service: &str, of: &str| {
        let (_, profile) = baseline.profiles().iter().find(|(key, _)| key.service == service).unwrap();
        profile.edges[&edge(of)].draws
    };
    assert_eq!(draws("shop/web", "to shop/db:5432/tcp"), 2);
    assert_eq!(draws("shop/db", "from shop/web:5432/tcp"), 2);
    assert_eq!(draws("shop/web", "to external:443/tcp"), 1);
}

#[test]
fn nothing_but_an_exchange_teaches() {
    let (web, db) = shop();
    let fair = || talk(peer(&web, 2), peer(&db, 3), 5432, 1, 0);
    let hole = |from: i64| Blindness {
        from: Timestamp(START + from),
        until: Timestamp(START + from + 1_000_000_000),
        frames: Some(1),
        cause: "ring full".to_owned(),
    };
    let forged = Some(Box::new(peer(&db, 3)));
    let bare: Peer = support::bare("10.0.0.1");
    let unclaimed = Peer::Unclaimed { address: support::address(77), attachment: None };
    #[rustfmt::skip]
    let cases = [
        // what                            conversation                                                          holes
        ("an exchange",                    fair(),                                                               vec![]),
        ("a half-open connection",         Conversation { exchanged: 0, ..fair() },                              vec![]),
        ("refused",                        Conversation { exchanged: 0, ..fared(fair(), refused(3), 0) },        vec![]),
        ("dropped",                        Conversation { exchanged: 0, ..fared(fair(), unanswered(3), 0) },     vec![]),
        ("one way",                        Conversation { received: Default::default(), ..fair() },              vec![]),
        ("spoofed",                        Conversation { claim: Claim::Spoofed, claimed: forged, ..fair() },    vec![]),
        ("an address nobody holds",        Conversation { claim: Claim::Unlisted, ..fair() },                    vec![]),
        ("backscatter",                    Conversation { claim: Claim::Backscatter, ..fair() },                 vec![]),
        ("a guess about roles",            Conversation { evidence: InitiatorEvidence::Port, ..fair() },         vec![]),
        ("a proxy's leg",                  Conversation { is_proxy_leg: true, ..fair() },                        vec![]),
        ("an undocumented port",           talk(peer(&web, 2), peer(&db, 3), 9229, 1, 0),                        vec![]),
        ("a nameless caller",              talk(unclaimed, peer(&db, 3), 5432, 1, 0),                            vec![]),
        ("no roster",                      talk(bare, peer(&db, 3), 5432, 1, 0),                                 vec![]),
        ("while frames were lost",         fair(),                                                               vec![hole(500_000_000)]),
        ("after frames were lost",         fair(),                                                               vec![hole(2_000_000_000)]),
    ];
    for (what, conversation, blind) in cases {
        let mut baseline = Baseline::new(Enough::default());
        taught(&mut baseline, &nothing(), vec![conversation], blind);
        let expected = matches!(what, "an exchange" | "after frames were lost");
        assert_eq!(known(&baseline).is_empty(), !expected, "{what}: {:?}", known(&baseline));
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn dice(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// One hostile trace: forged, half open, dropped, or a try among many.
fn hostile(state: &mut u64, from: &Peer, to: &Peer) -> Conversation {
    let port = u16::try_from(dice(state) % 65_535 + 1).unwrap();
    let times = dice(state) % 5 + 1;
    let begun = i64::try_from(dice(state) % 900_000).unwrap();
    let base = fared(talk(from.clone(), to.clone(), port, times, 0), answered(times), begun);
    let half = Conversation { exchanged: 0, ..base.clone() };
    match dice(state) % 6 {
        0 => Conversation { claim: Claim::Spoofed, claimed: Some(Box::new(to.clone())), ..base },
        1 => half,
        2 => Conversation { connections: unanswered(times), received: Default::default(), ..half },
        3 => Conversation { connections: refused(times), ..half },
        4 => Conversation { claim: Claim::Backscatter, ..base },
        _ => Conversation { connections: Outcomes { blocked: times, ..Outcomes::default() }, ..half },
    }
}

#[test]
fn a_hundred_thousand_hostile_traces_leave_the_baseline_unchanged() {
    let (web, db) = shop();
    let mut baseline = Baseline::new(Enough::default());
    let fair = || talk(peer(&web, 2), peer(&db, 3), 5432, 1, 0);
    taught(&mut baseline, &nothing(), vec![fair()], Vec::new());
    let before = baseline.to_text();
    let ends = [(peer(&web, 2), peer(&db, 3)), (external(7), peer(&web, 2)), (peer(&db, 3), external(8))];
    let mut state = 1;
    let mut traces = 0;
    while traces < 100_000 {
        // Alone and in crowds: a crowd from one container is a scan besides.
        let crowd = dice(&mut state) % 400 + 1;
        let told: Vec<Conversation> = (0..crowd)
            .map(|_| {
                let (from, to) = &ends[usize::try_from(dice(&mut state) % 3).unwrap()];
                hostile(&mut state, from, to)
            })
            .collect();
        traces += told.len();
        taught(&mut baseline, &nothing(), told, Vec::new());
    }
    assert_eq!(baseline.to_text(), before);
}

#[test]
fn what_answers_a_scanner_is_no_edge_either() {
    let (web, db) = shop();
    let mut told: Vec<Conversation> = (1..400_u16)
        .map(|port| {
            let tried = talk(peer(&web, 2), peer(&db, 3), port, 0, 1);
            Conversation { exchanged: 0, ..fared(tried, refused(1), i64::from(port)) }
        })
        .collect();
    told.push(fared(talk(peer(&web, 2), peer(&db, 3), 5432, 1, 0), answered(1), 5));
    told.push(talk(peer(&web, 2), external(9), 443, 1, 0));
    let mut baseline = Baseline::new(Enough::default());
    taught(&mut baseline, &nothing(), told, Vec::new());
    assert_eq!(known(&baseline), Vec::<String>::new());
}

#[test]
fn another_image_inherits_and_what_it_adds_is_new_with_the_release() {
    let (web, db) = shop();
    let newer = Arc::new(Workload { image: "web:2".to_owned(), ..Workload::clone(&web) });
    let mut baseline = Baseline::new(Enough::default());
    let contract = nothing();
    taught(&mut baseline, &contract, vec![talk(peer(&web, 2), peer(&db, 3), 5432, 1, 0)], Vec::new());
    baseline.act("shop/web", &Act::Learn(edge("to shop/db:5432")), Timestamp(START)).unwrap();
    baseline.act("shop/web", &Act::Promote, Timestamp(START)).unwrap();
    let told = || {
        let known = talk(peer(&newer, 2), peer(&db, 3), 5432, 1, 0);
        vec![known, talk(peer(&newer, 2), external(9), 443, 1, 0)]
    };
    let look = |baseline: &Baseline| {
        let seen = snapshot(vec![Arc::clone(&newer), Arc::clone(&db)], told());
        contract.assess_with(seen, &ScanLimits::default(), Beside { baseline: Some(baseline), rhythm: None })
    };
    baseline.learn(&look(&baseline.clone()));
    let assessment = look(&baseline);
    let verdicts: Vec<Verdict> = assessment.judged.iter().map(|judged| judged.verdict).collect();
    assert_eq!(verdicts, [Verdict::Learned, Verdict::NewEdge]);
    let finding = assessment.findings.first().unwrap();
    assert_eq!((finding.kind, finding.severity), (FindingKind::NewEdge, Severity::Medium));
    assert_eq!(
        finding.against,
        "the baseline of shop/web has not learned to external:443/tcp, new with release web:2"
    );
    // Its own traffic never makes it part of the baseline.
    for _ in 0..10 {
        baseline.learn(&look(&baseline.clone()));
    }
    assert_eq!(look(&baseline).judged[1].verdict, Verdict::NewEdge);
}

#[test]
fn what_is_forbidden_holds_against_compose_files_and_for_every_image() {
    let (web, db) = shop();
    let text = "services:\n  web:\n    depends_on: [db]\n  db:\n    expose: [5432]\n";
    let mut contract = Contract::default();
    contract.add_compose("shop", ComposeFile::parse(text, "compose.yaml").unwrap());
    let rebuilt = Arc::new(Workload { image_id: "sha256:ffff".to_owned(), ..Workload::clone(&web) });
    let mut baseline = Baseline::new(Enough::default());
    taught(&mut baseline, &nothing(), vec![talk(peer(&web, 2), peer(&db, 3), 5432, 1, 0)], Vec::new());
    let judge = |baseline: &Baseline, caller: &Arc<Workload>| {
        let told = vec![talk(peer(caller, 2), peer(&db, 3), 5432, 1, 0)];
        let seen = snapshot(vec![Arc::clone(caller), Arc::clone(&db)], told);
        contract
            .assess_with(seen, &ScanLimits::default(), Beside { baseline: Some(baseline), rhythm: None })
            .judged
            .remove(0)
    };
    assert_eq!(judge(&baseline, &web).verdict, Verdict::Documented, "the compose file expects it");
    let forbid = Act::Forbid { edge: edge("to shop/db:5432"), by: "uid 0".to_owned(), reason: String::new() };
    baseline.act("shop/web", &forbid, Timestamp(START)).unwrap();
    for caller in [&web, &rebuilt] {
        let judged = judge(&baseline, caller);
        assert_eq!(judged.verdict, Verdict::Forbidden, "{}", caller.image_id);
        assert_eq!(judged.decided_by, "baseline of shop/web forbids to shop/db:5432/tcp");
    }
}

#[test]
fn deny_allow_forbidden_intent_learned_default_in_this_order() {
    let (web, db) = shop();
    let call = || talk(peer(&web, 2), peer(&db, 3), 5432, 1, 0);
    let allow = "[[service]]\nservice = \"shop/db\"\nports = [\"5432/tcp\"]\ninitiators = [\"shop/web\"]\n";
    let deny = "[[service]]\nservice = \"shop/db\"\nports = [\"5432/tcp\"]\ninitiators = [\"shop/cart\"]\n";
    let of_another = "[[service]]\nservice = \"shop/db\"\nports = [\"9187/tcp\"]\n";
    let to_db = || edge("to shop/db:5432");
    let forbid = || Act::Forbid { edge: to_db(), by: "uid 0".to_owned(), reason: String::new() };
    let undocumented = Arc::new(Workload { documented: Vec::new(), ..Workload::clone(&db) });
    #[rustfmt::skip]
    let cases: [(&str, &str, Vec<Act>, bool, Verdict); 12] = [
        // what                     contract     done to web's baseline                documented  verdict
        ("deny over forbidden",     deny,        vec![forbid()],                       true,  Verdict::UnexpectedPeer),
        ("deny over learned",       deny,        vec![Act::Learn(to_db())],            true,  Verdict::UnexpectedPeer),
        ("allow over forbidden",    allow,       vec![forbid()],                       true,  Verdict::Documented),
        ("allow over new",          allow,       vec![Act::Promote],                   true,  Verdict::Documented),
        ("allow over learned",      allow,       vec![Act::Learn(to_db())],            true,  Verdict::Documented),
        ("forbidden over intent",   "",          vec![forbid()],                       true,  Verdict::Forbidden),
        ("forbidden over default",  "",          vec![forbid()],                       false, Verdict::Forbidden),
        ("intent over learned",     of_another,  vec![Act::Learn(to_db())],            false, Verdict::UndocumentedPort),
        ("learned over default",    "",          vec![Act::Learn(to_db())],            false, Verdict::Learned),
        ("new over default",        "",          vec![Act::Reset, Act::Promote],       false, Verdict::NewEdge),
        ("default",                 "",          vec![],                               true,  Verdict::Unjudged),
        ("default, undeclared",     "",          vec![],                               false, Verdict::Undeclared),
    ];
    for (what, contract, acts, is_documented, expected) in cases {
        let responder = if is_documented { &db } else { &undocumented };
        let contract = Contract::parse(contract, "contract.toml").unwrap();
        let mut baseline = Baseline::new(Enough::default());
        taught(&mut baseline, &nothing(), vec![call()], Vec::new());
        for act in &acts {
            baseline.act("shop/web", act, Timestamp(START)).unwrap();
        }
        let told = vec![talk(peer(&web, 2), peer(responder, 3), 5432, 1, 0)];
        let seen = snapshot(vec![Arc::clone(&web), Arc::clone(responder)], told);
        let assessment = contract.assess_with(
            seen,
            &ScanLimits::default(),
            Beside { baseline: Some(&baseline), rhythm: None },
        );
        assert_eq!(assessment.judged[0].verdict, expected, "{what}");
    }
}
