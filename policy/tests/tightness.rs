//! How much of what a contract allows was used.

#![allow(clippy::unwrap_used, reason = "what a test cannot read is its failure")]

#[expect(dead_code, reason = "the other targets use the rest of it")]
mod support;

use portolan_flowtable::{Snapshot, Timestamp};
use portolan_policy::{Contract, Tightness};
use support::*;

fn day() -> Snapshot {
    let [web, cart, db] =
        [("web-1", "shop/web", 80), ("cart-1", "shop/cart", 8080), ("db-1", "shop/db", 5432)]
            .map(|(container, service, port)| workload(container, service, &[port]));
    let conversations = vec![
        talk(peer(&web, 2), peer(&cart, 3), 8080, 3, 0),
        talk(peer(&cart, 3), peer(&db, 4), 5432, 5, 0),
        talk(peer(&web, 2), peer(&db, 4), 5432, 0, 2),
    ];
    snapshot(vec![web, cart, db], conversations)
}

fn of(text: &str) -> Tightness {
    let contract = Contract::parse(text, "c.toml").unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
    contract.tightness(&day())
}

fn line(tightness: &Tightness, place: &str) -> (u64, u64, u64) {
    let grant = tightness.grants.iter().find(|grant| grant.place == place).unwrap();
    (grant.used, grant.allowed, grant.conversations)
}

#[test]
fn each_combination_counts_once_for_the_line_that_decides_it() {
    // web may call db too, and was refused: allowed and not used.
    let said = of("[[service]]\nservice = \"shop/db\"\ninitiators = [\"shop/cart\", \"shop/web\"]\n\
        [[service]]\nservice = \"shop/cart\"\ninitiators = \"shop/web\"\n");
    assert_eq!((said.used, said.allowed, said.percent(), said.services), (2, 3, Some(66), 3));
    assert_eq!((line(&said, "c.toml:3"), line(&said, "c.toml:6")), ((1, 2, 1), (1, 1, 1)));
    assert_eq!(said.grants[0].last_used, Some(Timestamp(START + SECOND)));
    assert_eq!(said.grants[0].says, "shop/cart, shop/web -> shop/db");
    assert_eq!(
        said.sentence(),
        "2 of 3 combinations it allows were used (66 %), among 3 services; 0 of 2 lines that allow were not used"
    );
}

#[test]
fn what_a_rule_denies_is_not_allowed_and_a_line_another_goes_before_decides_nothing() {
    let open = "[[rule]]\naction = \"allow\"\nfrom = \"project:shop\"\nto = \"shop/db\"\nports = [5432, 9187]\n\
        [[rule]]\naction = \"allow\"\nfrom = \"shop/cart\"\nto = \"shop/db\"\nports = 5432\n";
    let said = of(open);
    // Two callers, two ports; the second rule is never asked.
    assert_eq!((said.used, said.allowed), (1, 4));
    assert_eq!((line(&said, "c.toml:1"), line(&said, "c.toml:6")), ((1, 4, 1), (0, 0, 0)));
    let said = of(&format!("{open}[[rule]]\naction = \"deny\"\nfrom = \"shop/web\"\nto = \"shop/db\"\n"));
    assert_eq!((said.used, said.allowed), (1, 2));
    let denial = &said.denials[0];
    assert_eq!((denial.place.as_str(), denial.conversations), ("c.toml:11", 1));
}

#[test]
fn a_default_counts_every_pair_of_its_relation() {
    // Three services with one port each: every other of the project may call each of them.
    let said = of("[defaults]\nsame_network = \"allow\"\n");
    assert_eq!((said.used, said.allowed, line(&said, "c.toml:2")), (2, 6, (2, 6, 2)));
    // Outside and host besides.
    let said = of("[defaults]\nsame_network = \"allow\"\nfrom_external = \"allow\"\nhost = \"allow\"\n");
    assert_eq!((said.used, said.allowed), (2, 12));
    assert_eq!(of("").percent(), None);
}

#[test]
fn a_line_that_names_addresses_counts_where_it_was_used() {
    let said = of("[[rule]]\naction = \"allow\"\nfrom = \"172.20.0.3\"\nto = \"shop/db\"\n\
        [[rule]]\naction = \"allow\"\nfrom = \"10.0.0.0/8\"\nto = \"shop/db\"\nexpires = 2020-01-01\n");
    assert_eq!((said.used, said.allowed), (1, 1));
    assert_eq!(line(&said, "c.toml:5"), (0, 0, 0));
    assert!(said.grants[1].is_over && !said.grants[0].is_over);
}

#[test]
fn what_one_replica_may_its_service_may() {
    let text =
        "[[rule]]\naction = \"allow\"\nfrom = \"container:web-2\"\nto = \"container:db-3\"\nports = 5432\n";
    let mut seen = day();
    for (container, service) in [("web-2", "shop/web"), ("db-2", "shop/db"), ("db-3", "shop/db")] {
        seen.workloads.push(workload(container, service, &[80]));
    }
    let said = Contract::parse(text, "c.toml").unwrap().tightness(&seen);
    assert_eq!((said.used, said.allowed, said.services), (0, 1, 3));
    assert_eq!(line(&said, "c.toml:1"), (0, 1, 0));
}
