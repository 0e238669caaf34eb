//! Policy as software: what two contracts differ in, and a contract from what was seen.

#![allow(clippy::unwrap_used, reason = "what a test cannot read is its failure")]

#[expect(dead_code, reason = "the other targets use the rest of it")]
mod support;

use std::sync::Arc;

use portolan_flowtable::Workload;
use portolan_policy::{Assessment, Contract, FindingKind, Severity, standard_rules};
use proptest::prelude::*;
use support::*;

fn read(text: &str) -> Contract {
    Contract::parse(text, "c.toml").unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))
}

fn changes(before: &str, after: &str) -> Vec<String> {
    let changes = read(before).changes_to(&read(after));
    changes
        .iter()
        .map(|it| format!("{} {} ({})", if it.is_added { "+" } else { "-" }, it.fact, it.place))
        .collect()
}

const ONE: &str = "[defaults]\nhost = \"deny\"\nmulticast = \"allow\"\n[groups]\noffice = [\"10.0.0.0/8\", \"192.0.2.0/24\"]\n\
    [[rule]]\naction = \"deny\"\nfrom = [\"a\", \"group:office\"]\nto = \"b\"\n[[rule]]\naction = \"allow\"\nto = \"c\"\nports = [80, 443]\n\
    [[service]]\nservice = \"shop/db\"\nports = [5432, 9187]\ninitiators = [\"shop/cart\", \"host\"]\n[[service]]\nservice = \"shop/web\"\n";

#[test]
fn order_and_shape_are_no_difference() {
    let reordered = "[groups]\noffice = [\"192.0.2.0/24\", \"10.0.0.0/8\"]\n[[service]]\nservice = \"shop/web\"\n\
        [[service]]\nservice = \"shop/db\"\ninitiators = [\"host\", \"shop/cart\"]\nports = [9187, 5432]\n\
        [[rule]]\naction = \"allow\"\nto = \"c\"\nports = 443\nowner = \"somebody\"\n[[rule]]\naction = \"allow\"\nto = \"c\"\nports = \"80/tcp\"\n\
        [[rule]]\naction = \"deny\"\nfrom = \"group:office\"\nto = \"b\"\n[[rule]]\naction = \"deny\"\nfrom = \"a\"\nto = \"b\"\nid = \"named\"\n\
        [defaults]\nmulticast = \"allow\"\nhost = \"deny\"\n";
    assert_eq!(changes(ONE, reordered), Vec::<String>::new());
    assert_eq!(changes(ONE, ONE), Vec::<String>::new());
}

#[test]
fn every_difference_is_one_fact_with_its_place() {
    #[rustfmt::skip]
    let cases = [
        ("9187]",                         "9187, 9999]",                  vec!["+ shop/db documents 9999/tcp (c.toml:16)", "+ shop/db expects host on 9999/tcp (c.toml:17)", "+ shop/db expects shop/cart on 9999/tcp (c.toml:17)"]),
        ("host = \"deny\"",              "host = \"allow\"",              vec!["+ default of host is allow (c.toml:2)", "- default of host is deny (c.toml:2)"]),
        ("192.0.2.0/24",                  "192.0.2.0/25",                  vec!["- deny group:office (10.0.0.0/8, 192.0.2.0/24) -> b on anything, severity high (c.toml:6)", "+ deny group:office (10.0.0.0/8, 192.0.2.0/25) -> b on anything, severity high (c.toml:6)"]),
        ("service = \"shop/web\"\n",      "service = \"shop/web\"\nmode = \"off\"\n", vec!["+ shop/web is in mode off (c.toml:20)"]),
        ("service = \"shop/web\"\n",      "service = \"shop/web\"\nports = []\n", vec!["+ shop/web documents no port (c.toml:18)"]),
        ("[[service]]\nservice = \"shop/web\"\n", "[standard.port_scan]\nenabled = false\n", vec!["+ standard rule port_scan is off (c.toml:18)"]),
    ];
    for (old, new, expected) in cases {
        let after = ONE.replacen(old, new, 1);
        assert_ne!(after, ONE, "{old}");
        assert_eq!(changes(ONE, &after), expected, "{old} -> {new}");
        assert_eq!(changes(&after, ONE).len(), expected.len());
    }
}

fn seen() -> (Vec<Arc<Workload>>, Vec<portolan_flowtable::Conversation>) {
    let [web, cart, db, reports] =
        [("web-1", "shop/web"), ("cart-1", "shop/cart"), ("db-1", "shop/db"), ("reports-1", "shop/reports")]
            .map(|(container, service)| workload(container, service, &[9999]));
    let calls = vec![
        talk(external(7), peer(&web, 2), 80, 3, 0),
        talk(peer(&web, 2), peer(&cart, 3), 8080, 5, 1),
        talk(peer(&web, 2), peer(&cart, 3), 9229, 1, 0),
        talk(peer(&cart, 3), peer(&db, 4), 5432, 9, 0),
        talk(peer(&reports, 5), peer(&db, 4), 5432, 2, 0),
        talk(peer(&reports, 5), peer(&db, 4), 9187, 2, 0),
        talk(peer(&web, 2), peer(&db, 4), 5432, 0, 4),
    ];
    (vec![web, cart, db, reports], calls)
}

#[test]
fn a_suggested_contract_expects_all_that_was_answered_and_no_more() {
    let (workloads, calls) = seen();
    let assess = |contract: &Contract| contract.assess(snapshot(workloads.clone(), calls.clone()));
    let text = assess(&Contract::default()).suggest("shop.pcapng");
    assert_eq!(
        text,
        "# Suggested from what was seen: shop.pcapng.\n\
         # The capture is complete. Review each line: what was seen is not therefore right.\n\
         \n[[service]]\nservice = \"shop/cart\"\nports = [\"8080/tcp\", \"9229/tcp\"]\ninitiators = [\"shop/web\"]\n\
         # a finding so far: \"shop/web\" on 8080/tcp\n# a finding so far: \"shop/web\" on 9229/tcp\n\
         \n[[service]]\nservice = \"shop/db\"\nports = [\"5432/tcp\"]\ninitiators = [\"shop/cart\", \"shop/reports\"]\n\
         # a finding so far: \"shop/cart\" on 5432/tcp\n# a finding so far: \"shop/reports\" on 5432/tcp\n\
         \n[[service]]\nservice = \"shop/db\"\nports = [\"9187/tcp\"]\ninitiators = [\"shop/reports\"]\n\
         # a finding so far: \"shop/reports\" on 9187/tcp\n\
         \n[[service]]\nservice = \"shop/web\"\nports = [\"80/tcp\"]\ninitiators = [\"external\"]\n\
         # a finding so far: \"external\" on 80/tcp\n\
         \n# Tried and never answered, so not taken in:\n#   \"shop/web\" -> \"shop/db\" 5432/tcp\n"
    );
    let again = assess(&read(&text));
    assert_eq!(raised(&again), [(FindingKind::UnexpectedPeer, Severity::Low)], "the attempt alone");
    // Each line is needed: without one of its ports or initiators something answered is a finding.
    for line in text.lines().filter(|line| line.starts_with("ports") || line.starts_with("initiators")) {
        let (key, list) = line.split_once(" = ").unwrap();
        for item in list.trim_matches(['[', ']']).split(", ") {
            let less = list.replace(item, "").replace("[, ", "[").replace(", ]", "]");
            let without = text.replacen(line, &format!("{key} = {less}"), 1);
            let found = raised(&assess(&read(&without)));
            assert!(
                found.iter().any(|(_, severity)| *severity > Severity::Low),
                "{line} without {item}: {found:?}"
            );
        }
    }
}

fn raised(assessment: &Assessment) -> Vec<(FindingKind, Severity)> {
    assessment.findings.iter().map(|finding| (finding.kind, finding.severity)).collect()
}

proptest! {
    #[test]
    fn a_suggestion_is_a_contract_whatever_containers_are_called(name in any::<String>(), other in "host|external|a\nb|\"|x:y|10\\.0\\.0\\.1") {
        prop_assume!(!name.is_empty());
        let one = Workload { service: name.clone(), project: String::new(), ..Workload::clone(&workload("one", "one", &[])) };
        let two = Workload { service: other, project: String::new(), ..Workload::clone(&workload("two", "two", &[])) };
        let (one, two) = (Arc::new(one), Arc::new(two));
        let calls = vec![talk(peer(&one, 2), peer(&two, 3), 1, 1, 0), talk(peer(&two, 3), peer(&one, 2), 2, 1, 0), talk(peer(&one, 2), peer(&two, 3), 7, 0, 1)];
        let assess = |contract: &Contract| contract.assess(snapshot(vec![Arc::clone(&one), Arc::clone(&two)], calls.clone()));
        let text = assess(&Contract::default()).suggest(&name);
        let contract = Contract::parse(&text, "c.toml").map_err(|errors| TestCaseError::fail(format!("{errors:?}\n{text}")))?;
        let grave: Vec<_> = assess(&contract).findings.into_iter().filter(|it| it.severity > Severity::Low).collect();
        prop_assert!(grave.is_empty(), "{grave:?}\n{text}");
    }
}

#[test]
fn every_kind_of_finding_has_its_standard_rule_but_what_operator_and_baseline_say() {
    let rules = standard_rules();
    assert_eq!(rules.len(), FindingKind::ALL.len() - 3);
    for rule in rules {
        for text in [rule.title, rule.rationale, rule.remedy, rule.condition] {
            assert!(!text.is_empty() && !text.contains('\n'), "{:?}", rule.kind);
        }
    }
}
