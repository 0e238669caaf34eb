//! Compose files: what is read of a plain file is what `docker-compose config` makes of it, and what it means for
//! verdicts.

#![allow(clippy::unwrap_used, reason = "what a test cannot read is its failure")]

#[expect(dead_code, reason = "the other targets use the rest of it")]
mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use portolan_flowtable::{Conversation, Peer};
use portolan_policy::{Assessment, ComposeFile, ComposePort, Contract, FindingKind, UnreadCompose, Verdict};
use proptest::prelude::*;
use support::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compose")
}

fn cases() -> Vec<String> {
    let entries =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.filter(|name| name.ends_with(".yaml")).collect();
    names.sort();
    assert_eq!(names.len(), 20);
    names
}

fn read(path: &Path) -> ComposeFile {
    let text = fs::read_to_string(path).unwrap();
    ComposeFile::parse(&text, "compose.yaml")
        .unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display()))
}

/// Writes the intent, one line a fact, without lines of the file and with ranges port by port: `docker-compose` may
/// unfold them.
fn intent(file: &ComposeFile) -> String {
    let mut out = String::new();
    for (name, service) in &file.services {
        let ports: BTreeSet<String> = service.ports.iter().flat_map(unfolded).collect();
        let networks: Vec<String> =
            service.networks.iter().map(|it| file.network_name(it, "project")).collect();
        let needs: Vec<&str> = service.needs.keys().map(String::as_str).collect();
        writeln!(out, "{name}: networks {networks:?}, needs {needs:?}").unwrap();
        ports.iter().for_each(|port| writeln!(out, "  {port}").unwrap());
        assert!(service.unresolved.is_empty(), "{name}: {:?}", service.unresolved);
    }
    for (name, network) in file.networks.iter().filter(|(_, it)| it.is_internal) {
        writeln!(out, "{}: internal {}", file.network_name(name, "project"), network.is_internal).unwrap();
    }
    out
}

fn unfolded(port: &ComposePort) -> Vec<String> {
    let one = |number: u16, host: &str| format!("{number}/{}{host}", port.protocol);
    let Some(published) = &port.published else {
        return (port.first.0..=port.last.0).map(|number| one(number, "")).collect();
    };
    let ip = published.host_ip.map_or("*".to_owned(), |ip| ip.to_string());
    let mut all = Vec::new();
    for (at, number) in (port.first.0..=port.last.0).enumerate() {
        let host = match published.host {
            None => "any".to_owned(),
            // One container port with a range of the host's to choose from.
            Some((first, last)) if port.first == port.last && first != last => format!("{first}-{last}"),
            Some((first, _)) => (usize::from(first.0) + at).to_string(),
        };
        all.push(one(number, &format!(" on {ip}:{host}")));
    }
    all
}

#[test]
fn a_plain_file_means_what_docker_compose_makes_of_it() {
    let mut said = String::new();
    for name in cases() {
        let plain = intent(&read(&folder().join(&name)));
        assert_eq!(plain, intent(&read(&folder().join("resolved").join(&name))), "{name}");
        writeln!(said, "# {name}\n{plain}").unwrap();
    }
    let expected = folder().join("expected.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&expected, &said).unwrap();
    }
    assert_eq!(said, fs::read_to_string(expected).unwrap());
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn docker_compose_still_says_what_was_recorded_of_it() {
    for name in cases() {
        let said = Command::new("docker-compose").arg("-f").arg(folder().join(&name)).arg("config").output();
        let said = said.expect("docker-compose is there: scripts/prepare test");
        assert!(said.status.success(), "{name}: {}", String::from_utf8_lossy(&said.stderr));
        let file = ComposeFile::parse(&String::from_utf8(said.stdout).unwrap(), "compose.yaml").unwrap();
        assert_eq!(intent(&file), intent(&read(&folder().join(&name))), "{name}");
    }
}

#[test]
fn every_line_of_a_file_is_known() {
    let shop = read(&folder().join("20-a-whole-shop.yaml"));
    let web = &shop.services["web"];
    assert_eq!((web.line, web.ports[0].line, web.needs["cart"]), (3, 6, 8));
    let cart = &shop.services["cart"];
    assert_eq!((cart.ports[0].line, cart.ports[1].line, cart.needs["db"]), (11, 11, 14));
}

const SHOP: &str = include_str!("compose/20-a-whole-shop.yaml");

/// Judges one call by a compose file of `shop`; the port documented by image is the one called.
fn judged(compose: &str, call: Conversation) -> Assessment {
    let mut contract = Contract::default();
    contract.add_compose("shop", ComposeFile::parse(compose, "compose.yaml").unwrap());
    let ends = [call.initiator.clone(), call.responder.clone()];
    let workloads = ends.iter().filter_map(Peer::workload).map(Arc::clone).collect();
    contract.assess(snapshot(workloads, vec![call]))
}

#[test]
fn whom_a_compose_file_joins_is_expected_and_whom_it_keeps_apart_is_not() {
    let at = |service: &str, last| peer(&workload(service, service, &[]), last);
    let outside = || external(7);
    let host = || Peer::Host { address: address(1) };
    #[rustfmt::skip]
    let cases = [
        // who calls              whom                 port   verdict                     against, or documented by
        (at("shop/web", 2),      at("shop/cart", 3),  8080,  Verdict::Documented,        "compose.yaml:11"),
        (at("shop/cart", 2),     at("shop/db", 3),    5432,  Verdict::Documented,        "compose.yaml:18"),
        // They share the network front, though cart does not depend on web.
        (at("shop/cart", 2),     at("shop/web", 3),   80,    Verdict::Documented,        "compose.yaml:6"),
        (at("shop/web", 2),      at("shop/db", 3),    5432,  Verdict::UnexpectedPeer,    "compose.yaml:15 puts shop/db on no network of shop/web, which does not depend on it"),
        (at("shop/reports", 2),  at("shop/db", 3),    5432,  Verdict::UnexpectedPeer,    "compose.yaml:15 puts shop/db on no network of shop/reports, which does not depend on it"),
        // Not in the file, of another project, from outside by no binding: the file does not speak of them.
        (at("shop/one-off", 2),  at("shop/db", 3),    5432,  Verdict::Unjudged,          "compose.yaml:18"),
        (at("ops/web", 2),       at("shop/db", 3),    5432,  Verdict::Unjudged,          "compose.yaml:18"),
        (outside(),              at("shop/db", 3),    5432,  Verdict::Unjudged,          "compose.yaml:18"),
        (host(),                 at("shop/db", 3),    5432,  Verdict::Unjudged,          "compose.yaml:18"),
        (at("shop/db", 2),       at("shop/db", 3),    5432,  Verdict::Unjudged,          "compose.yaml:18"),
        (at("shop/web", 2),      at("shop/cart", 3),  9229,  Verdict::UndocumentedPort,  "shop/cart documents 8080/tcp (compose.yaml:11), 8443/tcp (compose.yaml:11)"),
    ];
    for (from, to, port, verdict, said) in cases {
        let row = format!("{} -> {}:{port}", from.service(), to.service());
        let assessment = judged(SHOP, talk(from, to, port, 1, 0));
        assert_eq!(assessment.judged[0].verdict, verdict, "{row}");
        let against = assessment.findings.iter().find(|it| it.kind != FindingKind::ForeignDatabase);
        let against = against.map(|finding| finding.against.clone());
        let by = assessment.judged[0].documented_by.as_ref().map(ToString::to_string);
        assert_eq!(against.or(by).unwrap_or_default(), said, "{row}");
    }
    let published =
        Conversation { via: Some("host:8080".to_owned()), ..talk(outside(), at("shop/web", 3), 80, 1, 0) };
    assert_eq!(judged(SHOP, published).judged[0].verdict, Verdict::Documented);
}

#[test]
fn a_contract_that_names_the_initiators_has_the_word() {
    let text = "[[service]]\nservice = \"shop/db\"\ninitiators = [\"shop/reports\"]\n";
    let (cart, reports, db) =
        (workload("c", "shop/cart", &[]), workload("r", "shop/reports", &[]), workload("d", "shop/db", &[]));
    let mut contract = Contract::parse(text, "contract.toml").unwrap();
    contract.add_compose("shop", ComposeFile::parse(SHOP, "compose.yaml").unwrap());
    let calls = vec![
        talk(peer(&cart, 2), peer(&db, 3), 5432, 1, 0),
        talk(peer(&reports, 4), peer(&db, 3), 5432, 1, 0),
    ];
    let assessment = contract.assess(snapshot(vec![cart, reports, db], calls));
    let verdicts: Vec<_> = assessment.judged.iter().map(|judged| judged.verdict).collect();
    assert_eq!(verdicts, [Verdict::UnexpectedPeer, Verdict::Documented]);
    assert_eq!(assessment.contract, "contract.toml, 1 service; compose.yaml, 5 services");
}

#[test]
fn what_has_to_be_resolved_first_gives_no_alarm_and_a_remedy() {
    let open = SHOP
        .replace("\"8080\", \"8443\"", "\"${CART_PORT}\"")
        .replace("networks: [reporting]", "networks: [$N]");
    let at = |service: &str, last| peer(&workload(service, service, &[8080]), last);
    for (from, to, port) in [("shop/web", "shop/cart", 9229), ("shop/reports", "shop/db", 5432)] {
        let assessment = judged(&open, talk(at(from, 2), at(to, 3), port, 1, 0));
        assert_eq!(assessment.judged[0].verdict, Verdict::Unjudged, "{from} {to}");
        assert!(assessment.findings.is_empty(), "{:?}", assessment.findings);
    }
    let assessment = judged(&open, talk(at("shop/web", 2), at("shop/cart", 3), 9229, 1, 0));
    assert_eq!(
        assessment.warnings,
        [
            "intent incomplete: shop/cart is not judged by ports nobody documents: compose.yaml:11: a variable in \
          \"expose\"; give the output of docker compose config"
        ]
    );
}

#[test]
fn a_file_that_a_label_names_and_nobody_can_read_silences_no_port() {
    let cart = workload("cart", "shop/cart", &[8080]);
    let web = workload("web", "shop/web", &[]);
    let mut contract = Contract::default();
    let (project, file) = ("shop".to_owned(), "/srv/shop/compose.yaml".to_owned());
    contract.add_unread_compose(UnreadCompose {
        project,
        file,
        reason: "Permission denied (os error 13)".to_owned(),
    });
    let calls = vec![talk(peer(&web, 2), peer(&cart, 3), 9229, 1, 0)];
    let assessment = contract.assess(snapshot(vec![cart, web], calls));
    assert_eq!(assessment.judged[0].verdict, Verdict::UndocumentedPort);
    assert_eq!(
        assessment.warnings,
        [
            "intent incomplete: peers are not judged by the compose file of shop: /srv/shop/compose.yaml: Permission \
          denied (os error 13); name one that can be read: --compose"
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_is_read_or_refused_without_a_panic(text in any::<String>()) {
        let _ = ComposeFile::parse(&text, "compose.yaml");
    }

    #[test]
    fn any_text_close_to_a_compose_file_is_read_or_refused_without_a_panic(
        cuts in prop::collection::vec((0..SHOP.len(), 0..SHOP.len(), prop_oneof![
            Just("&a "), Just("*a"), Just("<<: *a\n"), Just("[{"), Just("- "), Just(": "), Just("'"), Just("!x "), Just("\t"), Just("$"), Just("---\n"),
        ]), 0..8),
    ) {
        let mut text = SHOP.to_owned();
        for (from, to, put) in cuts {
            let (from, to) = (from.min(text.len()), to.min(text.len()));
            if from <= to && to - from < 12 {
                text.replace_range(from..to, put);
            } else {
                text.insert_str(from, put);
            }
        }
        if let Err(errors) = ComposeFile::parse(&text, "compose.yaml") {
            prop_assert!(errors.iter().all(|error| error.line > 0 && error.column > 0 && !error.message.is_empty()));
        }
    }
}
