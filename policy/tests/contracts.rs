//! Contracts: what is read, and what is said about what cannot be read.

use portolan_policy::{Contract, ContractError};
use proptest::prelude::*;

fn errors(text: &str) -> Vec<String> {
    let errors = Contract::parse(text, "contract.toml").expect_err("the contract is bad");
    errors.iter().map(ContractError::to_string).collect()
}

#[test]
fn the_whole_schema_is_read() {
    let text = r#"
[[service]]
service = "shop/db"
ports = ["5432/tcp", "9187", 6000, "7000-7010/udp"]
initiators = ["shop/cart", "host", "external", "network:shop_default", "project:ops", "label:tier=web", "label:tier",
              "image:postgres:*", "10.0.0.0/8", "fd00::/8", "192.0.2.1"]
[[service.rule]]
from = "reports"
ports = "5432/tcp"

[[service]]
image = "redis:*"
label = "tier=cache"
network = "shop_default"
project = "shop"
ports = []
rule = [{ from = ["a"], ports = ["1/sctp"] }]
"#;
    let contract = Contract::parse(text, "contract.toml").unwrap();
    assert_eq!(contract.title().unwrap(), "contract.toml, 2 services");
    assert_eq!(contract.hash().len(), 16);
}

#[test]
fn every_mistake_is_named_with_its_place_and_what_was_meant() {
    let cases = [
        (
            "[[service]]\nservise = \"db\"\nservice = \"db\"\n",
            "contract.toml:2:1: unknown key \"servise\" in a service: expected service, image, label, network, project, \
             ports, initiators, rule, mode; did you mean \"service\"?",
        ),
        (
            "[[servce]]\nservice = \"db\"\n",
            "contract.toml:1:3: unknown key \"servce\" in a contract: expected service, rule, defaults, groups, standard; did you mean \"service\"?",
        ),
        (
            "[[service]]\nservice = \"db\"\nports = [\"5432/tpc\"]\n",
            "contract.toml:3:10: unknown protocol \"tpc\" in port \"5432/tpc\": expected tcp, udp or sctp; \
             did you mean \"5432/tcp\"?",
        ),
        (
            "[[service]]\nservice = \"db\"\nports = [\"99999/tcp\"]\n",
            "contract.toml:3:10: port 99999 in \"99999/tcp\" is not between 1 and 65535",
        ),
        (
            "[[service]]\nservice = \"db\"\nports = [\n  \"1/tcp\",\n  \"0/tcp\",\n]\n",
            "contract.toml:5:3: port 0 in \"0/tcp\" is not between 1 and 65535",
        ),
        (
            "[[service]]\nservice = \"db\"\nports = [\"20-10/tcp\"]\n",
            "contract.toml:3:10: port range \"20-10/tcp\" ends before it begins; did you mean \"10-20/tcp\"?",
        ),
        (
            "[[service]]\nservice = \"db\"\nports = [\"http\"]\n",
            "contract.toml:3:10: bad port \"http\": expected as in \"5432/tcp\" or \"7000-7010/udp\"",
        ),
        (
            "[[service]]\nservice = \"db\"\nports = [+1]\ninitiators = [1]\n",
            "contract.toml:4:15: \"initiators\" takes texts, not integer",
        ),
        (
            "[[service]]\nservice = \"db\"\nports = [5.5]\n",
            "contract.toml:3:10: \"ports\" takes texts as in \"5432/tcp\", not float",
        ),
        (
            "[[service]]\nservice = \"db\"\ninitiators = [\"netwerk:x\"]\n",
            "contract.toml:3:15: unknown kind of initiator \"netwerk:x\": expected network:, project:, label:, image:, digest:, container:, user:, capability:, group:, dns:; \
             did you mean \"network:x\"?",
        ),
        (
            "[[rule]]\naction = \"deny\"\nfrom = \"digest:sha256:0123456789ab\"\n",
            "contract.toml:3:8: \"digest:sha256:0123456789ab\" is no digest: expected \"digest:sha256:\" and all of its 64 digits",
        ),
        (
            "[[rule]]\naction = \"deny\"\nfrom = [\"capability:net_admn\"]\n",
            "contract.toml:3:9: unknown capability \"net_admn\": expected as in \"capability:NET_ADMIN\"; did you mean \"capability:NET_ADMIN\"?",
        ),
        (
            "[[rule]]\naction = \"deny\"\nfrom = [\"user:\"]\n",
            "contract.toml:3:9: initiator \"user:\" names nothing after the colon",
        ),
        (
            "[[service]]\nservice = \"db\"\ninitiators = [\"dns:https://Example.com/x\"]\n",
            "contract.toml:3:15: \"dns:https://example.com/x\" is no name: expected as in \"dns:*.example.org\"; \
             did you mean \"dns:example.com\"?",
        ),
        (
            "[[rule]]\naction = \"allow\"\nto = \"dns:.\"\n",
            "contract.toml:3:6: \"dns:\" is no name: expected as in \"dns:*.example.org\"",
        ),
        (
            "[[service]]\nservice = \"db\"\ninitiators = [\"network:\"]\n",
            "contract.toml:3:15: initiator \"network:\" names nothing after the colon",
        ),
        (
            "[[service]]\nservice = \"db\"\ninitiators = [\"10.0.0.0/33\"]\n",
            "contract.toml:3:15: \"10.0.0.0/33\" is no range of addresses: expected as in \"10.0.0.0/8\"",
        ),
        (
            "[[service]]\nservice = \"db\"\ninitiators = [\"\"]\n",
            "contract.toml:3:15: an empty initiator means nobody: leave it out",
        ),
        (
            "[[service]]\nports = [\"1/tcp\"]\n",
            "contract.toml:1:1: this service selects nothing: give service, image, label, network or project",
        ),
        ("[[service]]\nservice = \"\"\n", "contract.toml:2:11: empty \"service\" selects nothing"),
        ("[[service]]\nservice = 5\n", "contract.toml:2:11: \"service\" takes a text, not integer"),
        (
            "[service]\nservice = \"db\"\n",
            "contract.toml:1:1: \"service\" must be a list of tables, not table: write [[service]]",
        ),
        ("service = [1]\n", "contract.toml:1:12: \"service\" takes tables, not integer"),
        (
            "[[service]]\nservice = \"db\"\n[[service.rule]]\nfrom = [\"a\"]\n",
            "contract.toml:3:1: this rule has no \"ports\"",
        ),
        (
            "[[service]]\nservice = \"größe\"\ninitiators = [\"ä\", \"lable:x\"]\n",
            "contract.toml:3:20: unknown kind of initiator \"lable:x\": expected network:, project:, label:, image:, digest:, container:, user:, capability:, group:, dns:; \
             did you mean \"label:x\"?",
        ),
        (
            "[[service]]\nservice = \"db\"\nports = [\"a\\u202Eb\"]\n",
            "contract.toml:3:10: bad port \"a\\u{202e}b\": expected as in \"5432/tcp\" or \"7000-7010/udp\"",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(errors(text), [expected], "{text}");
    }
}

#[test]
fn a_syntax_error_has_a_place() {
    let errors = errors("[[service]]\nservice = \"db\nports = []\n");
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with("contract.toml:2:"), "{errors:?}");
    assert!(!errors[0].contains('\n'));
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_the_text_up_to_a_hundred() {
    let text = "[[service]]\nports = [\"x\"]\ncolour = 1\n";
    let places: Vec<String> =
        errors(text).iter().map(|error| error.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(places, ["contract.toml:1:1", "contract.toml:2:10", "contract.toml:3:1"]);
    let many = format!("[[service]]\nservice = \"db\"\nports = [{}]\n", "\"x\", ".repeat(500));
    assert_eq!(errors(&many).len(), 100);
}

#[test]
fn contracts_merge_and_report_the_errors_of_all_files() {
    let good = "[[service]]\nservice = \"db\"\n";
    let bad = "[[service]]\n";
    let merged = Contract::parse_all([("a.toml", good), ("b.toml", good)]).unwrap();
    assert_eq!(merged.title().unwrap(), "a.toml, 1 service; b.toml, 1 service");
    let errors = Contract::parse_all([("a.toml", bad), ("b.toml", good), ("c.toml", bad)]).unwrap_err();
    assert_eq!(errors.iter().map(|error| error.file.as_str()).collect::<Vec<_>>(), ["a.toml", "c.toml"]);
}

#[test]
fn the_hash_follows_the_text_and_not_the_name() {
    let hash = |text| Contract::parse(text, "any.toml").unwrap().hash();
    let one = "[[service]]\nservice = \"db\"\n";
    assert_eq!(hash(one), Contract::parse(one, "other.toml").unwrap().hash());
    assert_ne!(hash(one), hash("[[service]]\nservice = \"dc\"\n"));
    assert_eq!(Contract::default().hash(), "");
    // Pinned: a hash that differs between versions would look like a change of policy.
    assert_eq!(hash(one), "f935902e21f6e218");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_a_panic(text in any::<String>()) {
        let _ = Contract::parse(&text, "x");
    }

    #[test]
    fn any_text_close_to_a_contract_is_read_or_refused_without_a_panic(
        parts in proptest::collection::vec(prop_oneof![
            Just("[[service]]\n"), Just("[service]\n"), Just("[[service.rule]]\n"), Just("service = "), Just("ports = "),
            Just("initiators = "), Just("from = "), Just("rule = "), Just("["), Just("]"), Just("{"), Just("}"),
            Just("\"5432/tcp\""), Just("\"1-\""), Just("\"ä/9\""), Just("label:"), Just("\"::/129\""), Just(","),
            Just("\n"), Just("."), Just("-9"), Just("1979-05-27"), Just("\"\u{202e}\""), Just("#"),
        ], 0..40)
    ) {
        let text = parts.concat();
        if let Err(errors) = Contract::parse(&text, "x") {
            prop_assert!(!errors.is_empty());
            let lines = text.matches('\n').count() + 1;
            prop_assert!(errors.iter().all(|error| (1..=lines).contains(&error.line) && error.column >= 1));
        }
    }
}
