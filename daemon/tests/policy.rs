//! `portolan policy`, `rules` and `why` by their words, on the shop's capture.

#![allow(clippy::unwrap_used, reason = "what a test cannot read is its failure")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const ROSTERS: [&str; 4] = ["--roster", "docker-inspect.json", "--roster", "interfaces.toml"];

fn shop() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps/shop")
}

fn portolan(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portolan"))
        .args(arguments)
        .current_dir(shop())
        .output()
        .expect("portolan runs")
}

/// Runs it and returns what it prints; any other exit code fails the test.
fn said(code: i32, arguments: &[&str]) -> String {
    let output = portolan(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn on_the_shop(code: i32, arguments: &[&str]) -> String {
    said(code, &[arguments, &ROSTERS].concat())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Every judged conversation of a replay: ends, port and verdict, in order.
fn verdicts(contract: &str) -> Vec<String> {
    let text = on_the_shop(0, &["replay", "capture.pcapng", "--format", "json", "--contract", contract]);
    let judged = json(&text)["assessment"]["judged"].as_array().expect("conversations").clone();
    judged
        .iter()
        .map(|it| {
            format!("{} {}", it["conversation"]["first_frame"], it["verdict"].as_str().expect("a verdict"))
        })
        .collect()
}

#[test]
fn a_test_lists_exactly_what_a_replay_with_the_same_contract_judges_differently() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("stricter.toml");
    let text = "[defaults]\nto_external = \"deny\"\n[[rule]]\naction = \"deny\"\nid = \"no-registry\"\nto = \"shop/registry\"\nfrom = \"network:shop_back\"\n\
                [[rule]]\naction = \"allow\"\nfrom = \"shop/reports\"\nto = \"shop/db\"\n[[service]]\nservice = \"shop/web\"\ninitiators = [\"external\"]\n";
    fs::write(&path, text).expect("a contract");
    let stricter = path.to_string_lossy();
    let before = verdicts("contract.toml");
    let after = verdicts(&stricter);
    let expected: Vec<(&String, &String)> =
        before.iter().zip(&after).filter(|(one, other)| one != other).collect();
    let arguments = [
        "policy",
        "test",
        &stricter,
        "--against",
        "capture.pcapng",
        "--contract",
        "contract.toml",
        "--format",
        "json",
    ];
    let listed = json(&on_the_shop(3, &arguments));
    let listed = listed.as_array().expect("a list");
    assert_eq!(listed.len(), expected.len(), "{listed:?}");
    for (flip, (one, other)) in listed.iter().zip(&expected) {
        let word = |text: &str| text.split(' ').nth(1).expect("a verdict").to_owned();
        assert_eq!(
            (flip["before"].as_str().unwrap().to_owned(), flip["after"].as_str().unwrap().to_owned()),
            (word(one), word(other))
        );
    }
    let words: Vec<&str> = listed.iter().map(|it| it["after"].as_str().unwrap()).collect();
    for wanted in ["denied", "allowed", "unexpected_peer", "unjudged"] {
        assert!(words.contains(&wanted), "{wanted}: {words:?}");
    }
    // Against what it was judged by, nothing changes.
    let same =
        ["policy", "test", "contract.toml", "--against", "capture.pcapng", "--contract", "contract.toml"];
    assert!(on_the_shop(0, &same).starts_with("0 of "));
}

/// A contract that is tried says beside each verdict what a replay with it alone says, and changes nothing.
#[test]
fn a_contract_that_is_tried_stands_beside_the_one_in_force() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("stricter.toml");
    fs::write(&path, "[defaults]\nto_external = \"deny\"\nhost = \"allow\"\n").expect("a contract");
    let stricter = path.to_string_lossy();
    let replay = ["replay", "capture.pcapng", "--format", "json", "--contract"];
    let result = |more: &[&str]| json(&on_the_shop(0, &[&replay[..], more].concat()));
    let (plain, other) = (result(&["contract.toml"]), result(&[&stricter]));
    let both = result(&["contract.toml", "--pending", &stricter]);
    let column = |result: &Value, key: &str| -> Vec<Value> {
        let judged = result["assessment"]["judged"].as_array().expect("conversations");
        judged.iter().map(|it| it.pointer(key).cloned().unwrap_or_default()).collect()
    };
    assert_eq!(column(&both, "/verdict"), column(&plain, "/verdict"));
    assert_eq!(column(&both, "/pending/verdict"), column(&other, "/verdict"));
    assert_eq!(column(&both, "/pending/decided_by"), column(&other, "/decided_by"));
    assert_eq!(both["assessment"]["findings"], plain["assessment"]["findings"]);
    assert!(column(&plain, "/pending").iter().all(Value::is_null));
    // Every flow says so too, where its conversation does.
    let flows = both["flows"].as_array().expect("flows");
    let told: BTreeSet<String> = flows
        .iter()
        .map(|flow| format!("{} {}", flow["dry_run"]["verdict"], flow["dry_run"]["pending"]))
        .collect();
    assert!(told.contains("\"unjudged\" \"denied\""), "{told:?}");
    assert!(!told.contains("null null"), "{told:?}");
    let file = folder.path().join("tried.result");
    let file = file.to_string_lossy();
    on_the_shop(
        0,
        &[
            "replay",
            "capture.pcapng",
            "--contract",
            "contract.toml",
            "--pending",
            &stricter,
            "--quiet",
            "-o",
            &file,
        ],
    );
    let headings = || said(0, &["flows", "--from", &file]).lines().nth(1).expect("headings").to_owned();
    assert!(headings().contains("  verdict ") && headings().ends_with("  pending"), "{}", headings());
    on_the_shop(0, &["replay", "capture.pcapng", "--contract", "contract.toml", "--quiet", "-o", &file]);
    assert!(!headings().contains("pending"), "{}", headings());
}

#[test]
fn replaying_with_the_suggested_contract_finds_nothing_that_was_answered() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("suggested.toml");
    fs::write(&path, on_the_shop(0, &["policy", "suggest", "--from", "capture.pcapng"])).expect("a contract");
    let path = path.to_string_lossy();
    assert!(said(0, &["policy", "check", &path]).starts_with("fine: "));
    let text = on_the_shop(0, &["replay", "capture.pcapng", "--format", "json", "--contract", &path]);
    let findings = json(&text)["assessment"]["findings"].as_array().expect("findings").clone();
    let told: Vec<String> = findings
        .iter()
        .map(|it| format!("{} {}", it["kind"].as_str().unwrap(), it["reached"].as_str().unwrap()))
        .collect();
    // The forger stays one, and so does who tried where nothing was ever answered.
    assert_eq!(told, ["spoofed_source attempted", "unexpected_peer blocked"]);
}

#[test]
fn mistakes_are_said_with_file_line_and_column() {
    let folder = tempfile::tempdir().expect("a directory");
    for (name, text) in [
        ("20-b.toml", "[[rule]]\naction = \"dney\"\nfrom = \"a\"\n"),
        ("10-a.toml", "[[service]]\nservise = \"a\"\n"),
        ("note.txt", "no contract\n"),
    ] {
        fs::write(folder.path().join(name), text).expect("a contract");
    }
    let path = folder.path().to_string_lossy();
    let text = said(1, &["policy", "check", &path]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with(&format!("{path}/10-a.toml:1:1: ")), "{text}");
    assert!(
        lines[1].starts_with(&format!("{path}/10-a.toml:2:1: unknown key \"servise\""))
            && lines[1].ends_with("did you mean \"service\"?"),
        "{text}"
    );
    assert_eq!(
        lines[2],
        format!("{path}/20-b.toml:2:10: \"action\" is deny or allow, not \"dney\"; did you mean \"deny\"?")
    );
    let mistakes = json(&said(1, &["policy", "check", &path, "--format", "json"]));
    assert_eq!(
        (
            &mistakes["mistakes"][2]["line"],
            &mistakes["mistakes"][2]["column"],
            &mistakes["mistakes"][2]["hint"]
        ),
        (&2.into(), &10.into(), &"deny".into())
    );
    assert_eq!(said(0, &["policy", "check", "contract.toml"]), "fine: contract.toml, 7 services\n");
    let empty = tempfile::tempdir().expect("a directory");
    let output = portolan(&["policy", "check", &empty.path().to_string_lossy()]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no *.toml in this folder"));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_contract_is_no_different_from_itself_in_another_order() {
    let folder = tempfile::tempdir().expect("a directory");
    let text = fs::read_to_string(shop().join("contract.toml")).expect("the shop's contract");
    let mut parts: Vec<&str> = text.split("\n[[service]]").collect();
    parts[1..].reverse();
    let reordered = folder.path().join("reordered.toml");
    fs::write(&reordered, parts.join("\n[[service]]")).expect("a contract");
    let reordered = reordered.to_string_lossy();
    assert_eq!(said(0, &["policy", "diff", "contract.toml", &reordered]), "");
    let other = folder.path().join("other.toml");
    fs::write(&other, text.replace("\"shop/cart\"]", "\"shop/cart\", \"shop/reports\"]"))
        .expect("a contract");
    let other = other.to_string_lossy();
    let changes = said(3, &["policy", "diff", "contract.toml", &other]);
    assert_eq!(
        changes,
        format!(
            "+ shop/db expects shop/reports on any port   {other}:13\n+ shop/ledger expects shop/reports on any port   {other}:21\n"
        )
    );
    assert_eq!(
        json(&said(3, &["policy", "diff", "contract.toml", &other, "--format", "json"]))
            .as_array()
            .expect("a list")
            .len(),
        2
    );
}

#[test]
fn why_names_the_line_that_decided() {
    let why = |edge: &str, more: &[&str]| {
        on_the_shop(
            0,
            &[&["why", edge, "--from", "capture.pcapng", "--contract", "contract.toml"], more].concat(),
        )
    };
    let text = why("reports -> db:5432/tcp", &[]);
    for line in [
        "shop/reports -> shop/db:5432/tcp   unexpected peer, high  F-d6c963",
        " seen        3 answered, ",
        " documented  port 5432/tcp: image EXPOSE",
        " decided by  contract.toml:13 lists shop/cart",
        " coverage    complete while it was seen",
        " to allow    add to a contract:  [[rule]] action = \"allow\", from = \"shop/reports\", to = \"shop/db\", ports = \"5432/tcp\"",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(
        why("cart -> db:5432", &[]).contains(" decided by  contract.toml:13 expects it; port: image EXPOSE")
    );
    let answer = json(&why("cart -> db:5432", &["--format", "json"]));
    assert_eq!(
        (&answer[0]["verdict"], &answer[0]["connections"]["answered"]),
        (&"documented".into(), &58.into())
    );
    let compose = [
        "why",
        "reports -> db",
        "--from",
        "capture.pcapng",
        "--compose",
        "shop=../../policy/tests/compose/20-a-whole-shop.yaml",
    ];
    let text = on_the_shop(0, &compose);
    assert!(text.contains("20-a-whole-shop.yaml:15 puts shop/db on no network of shop/reports"), "{text}");
    let output = portolan(&[&["why", "reports -> dbb", "--from", "capture.pcapng"], &ROSTERS[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nearest\n  shop/reports -> shop/db:5432/tcp"));
}

#[test]
fn policies_are_exported_and_need_names() {
    for (form, wanted) in [
        ("kubernetes", "kind: NetworkPolicy"),
        ("nftables", "tcp dport 5432 accept"),
        ("compose", "name: \"shop\""),
    ] {
        let text = on_the_shop(
            0,
            &["policy", "export", "--to", form, "--from", "capture.pcapng", "--contract", "contract.toml"],
        );
        assert!(text.contains(wanted), "{text}");
        assert!(
            text.contains("# left out, a finding: shop/reports -> shop/db 5432/tcp: unexpected peer"),
            "{text}"
        );
    }
    let output = portolan(&["policy", "suggest", "--from", "capture.pcapng"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("give a roster:  --roster inspect.json"));
}

#[test]
fn what_stands_in_one_form_is_one_document() {
    let asked = ["findings", "--from", "capture.pcapng", "--format", "json"];
    let plain = json(&on_the_shop(0, &asked));
    let both = json(&on_the_shop(0, &[&asked[..], &["--handled"]].concat()));
    assert_eq!((&both["findings"], &both["handled"]), (&plain, &Value::Array(Vec::new())));
}

#[test]
fn every_standard_rule_is_listed_and_explained() {
    let rules = json(&said(0, &["rules", "list", "--format", "json"]));
    for rule in rules.as_array().expect("rules") {
        let id = rule["id"].as_str().expect("an id");
        let text = said(0, &["rules", "show", id]);
        for key in ["severity", "title", "rationale", "condition", "remedy"] {
            assert!(text.contains(rule[key].as_str().expect("a text")), "{id}: {key}: {text}");
        }
    }
    assert!(said(0, &["rules", "list"]).contains("undocumented_listener"));
    // What may stand in [standard] is explained too, and what may be set.
    assert!(said(0, &["rules", "show", "new_edge"]).contains("baseline"));
    let scan = said(0, &["rules", "show", "port_scan"]);
    assert!(scan.contains("ports = 10  ports of one responder tried in vain, from 2 to 65,535"), "{scan}");
    let guessing = said(0, &["rules", "show", "password_guessing"]);
    assert!(guessing.contains("\n                 ports = [...]  login ports"), "{guessing}");
    assert!(!scan.contains("ports = [...]"), "{scan}");
    assert_eq!(portolan(&["rules", "show", "nothing"]).status.code(), Some(2));
}

#[test]
fn every_standard_rule_speaks_on_its_capture_and_is_silent_on_another() {
    let rows = json(&said(0, &["rules", "test", "--format", "json"]));
    let rules = json(&said(0, &["rules", "list", "--format", "json"]));
    let of = |rows: &Value, key: &str| -> BTreeSet<String> {
        rows.as_array()
            .expect("rows")
            .iter()
            .map(|row| row[key].as_str().expect("an id").to_owned())
            .collect()
    };
    // None is without captures.
    assert_eq!(of(&rows, "rule"), of(&rules, "id"));
    let table = said(0, &["rules", "test", "syn_flood"]);
    assert!(
        table.contains("syn_flood  syn-flood") && table.ends_with("1 of 1 rules do what they say\n"),
        "{table}"
    );
    assert_eq!(portolan(&["rules", "test", "nothing"]).status.code(), Some(2));
}

/// `docs/findings.md` lists what a person gets on a first day; it is what a person gets.
#[test]
fn a_first_day_without_a_contract_is_the_list_in_the_docs() {
    let page = fs::read_to_string(shop().join("../../docs/findings.md")).expect("the page");
    let folder = shop().join("../first-day");
    let compose =
        |project: &str| format!("{project}={}", folder.join(project).join("compose.yaml").display());
    let [capture, roster] =
        ["capture.pcapng", "roster.toml"].map(|name| folder.join(name).display().to_string());
    let projects = ["blog", "metrics", "jobs"].map(compose);
    let mut first_day = vec!["replay", &capture, "--roster", &roster, "--format", "json"];
    projects.iter().for_each(|project| first_day.extend(["--compose", project]));
    let of_shop = on_the_shop(0, &["replay", "capture.pcapng", "--format", "json"]);
    for (name, result) in [("shop", json(&of_shop)), ("first-day", json(&said(0, &first_day)))] {
        let findings = result["assessment"]["findings"].as_array().expect("findings");
        let got: Vec<String> = findings
            .iter()
            .map(|it| {
                let word = |key: &str| it[key].as_str().expect("a text").to_owned();
                let port = match (it["port"]["port"].as_u64(), it["port"]["protocol"].as_str()) {
                    (Some(port), Some(protocol)) => format!(":{port}/{protocol}"),
                    _ => String::new(),
                };
                let (who, whom) = (word("initiator"), word("responder"));
                format!("| {name} | {} | {} | {who} -> {whom}{port} |", word("severity"), word("kind"))
            })
            .collect();
        let start = format!("| {name} | ");
        let listed: Vec<&str> = page.lines().filter(|line| line.starts_with(&start)).collect();
        assert_eq!(listed.len(), got.len(), "{name}: {got:#?}");
        for (listed, got) in listed.iter().zip(&got) {
            assert!(listed.starts_with(got.as_str()), "{got}, and the page says {listed}");
        }
    }
}

/// What others recorded: attacks raise their finding, everything else raises none.
#[test]
fn recorded_attacks_raise_their_finding_and_ordinary_captures_none() {
    #[rustfmt::skip]
    let attacks: [(&str, &[&str]); 3] = [
        // By ARP, of a /24; of IP it tries fewer hosts than make a sweep, see below.
        ("atk-arp-sweep-nmap.pcap", &["host_sweep"]),
        ("atk-k8s-nmap-tcp.pcap",   &["port_scan"]),
        ("atk-synflood-200.pcap",   &["syn_flood"]),
    ];
    let folder = shop().join("../oracle-cases");
    let (mut wrong, mut looked_at) = (Vec::new(), 0);
    for entry in fs::read_dir(&folder).expect("captures").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.contains(".pcap") {
            continue;
        }
        let output = portolan(&["replay", &entry.path().to_string_lossy(), "--format", "json"]);
        // Some of them are damaged on purpose.
        let Ok(result) = serde_json::from_slice::<Value>(&output.stdout) else { continue };
        looked_at += 1;
        let found = result["assessment"]["findings"].as_array().expect("findings");
        let found: Vec<&str> = found.iter().map(|it| it["kind"].as_str().expect("a kind")).collect();
        let expected = attacks.iter().find(|(attack, _)| *attack == name).map_or(&[][..], |(_, kinds)| kinds);
        if found != expected {
            wrong.push(format!("{name}: {found:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(looked_at >= 60, "only {looked_at} captures");
    // Whoever wants to hear of fewer hosts that were called says so: the same sweep, by its connections too.
    let contract = tempfile::tempdir().expect("a directory");
    let path = contract.path().join("contract.toml");
    fs::write(&path, "[standard.host_sweep]\nhosts = 5\n").expect("a contract");
    let (capture, path) = (folder.join("atk-arp-sweep-nmap.pcap"), path.to_string_lossy());
    let result =
        json(&said(0, &["replay", &capture.to_string_lossy(), "--format", "json", "--contract", &path]));
    let found = result["assessment"]["findings"].as_array().expect("findings");
    assert_eq!(found.iter().map(|it| it["kind"].as_str()).collect::<Vec<_>>(), [Some("host_sweep"); 2]);
}

/// Kinds of findings expected of each golden capture.
fn golden() -> BTreeMap<String, BTreeSet<String>> {
    let pcaps = shop().join("..");
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir(&pcaps).expect("pcaps/").flatten() {
        let Ok(text) = fs::read_to_string(entry.path().join("expected/findings.json")) else { continue };
        let found = json(&text).as_array().expect("findings").clone();
        let found =
            found.iter().map(|finding| finding["kind"].as_str().expect("a kind").to_owned()).collect();
        kinds.insert(entry.file_name().to_string_lossy().into_owned(), found);
    }
    kinds
}

#[test]
fn every_standard_rule_has_a_capture_it_speaks_on_and_is_silent_on_the_others() {
    let raised = "standard-rules-raised";
    #[rustfmt::skip]
    let captures: [(&str, &[&str]); 19] = [
        ("spoofed_source",        &["shop", "shop-recorded", "spoofed-source"]),
        ("unexpected_peer",       &["shop", "shop-bridge", "shop-inside", "shop-recorded"]),
        ("undocumented_port",     &["first-day", "shop", "shop-recorded", "undocumented-debug-port"]),
        ("port_scan",             &["port-scan"]),
        ("host_sweep",            &["host-sweep", "neighbour-sweep"]),
        ("syn_flood",             &["syn-flood"]),
        ("unlisted_source",       &["spoofed-source"]),
        ("foreign_database",      &["password-guessing", raised]),
        ("docker_api",            &[raised]),
        ("cloud_metadata",        &[raised]),
        ("internal_outbound",     &[raised]),
        ("foreign_resolver",      &[raised]),
        ("cleartext_admin",       &["first-day", raised]),
        ("beaconing",             &["first-day", raised]),
        ("password_guessing",     &["password-guessing"]),
        ("unusual_level",         &["level-raised"]),
        // Frames on `any` carry no hardware address of the receiver: a lab shows it.
        ("stolen_mac",            &[]),
        // No packets make these: they are shown beside Docker and in `policy/tests/listeners.rs`.
        ("undocumented_listener", &[]),
        ("unused_exposure",       &[]),
    ];
    let golden = golden();
    let mut wrong = Vec::new();
    for (rule, expected) in captures {
        let found: Vec<&str> =
            golden.iter().filter(|(_, kinds)| kinds.contains(rule)).map(|(case, _)| case.as_str()).collect();
        if found != expected {
            wrong.push(format!("{rule}: {found:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for silent in
        ["standard-rules-silent", "level-silent", "password-guessing-silent", "neighbour-sweep-silent"]
    {
        assert_eq!(golden[silent], BTreeSet::new());
    }
    let rules = json(&said(0, &["rules", "list", "--format", "json"]));
    assert_eq!(rules.as_array().expect("rules").len(), captures.len());
}

#[test]
fn why_tells_what_an_address_outside_is_claimed_to_be_and_by_whom() {
    let folder = shop().join("../dns-names");
    let of = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (capture, roster) = (of("capture.pcapng"), of("roster.toml"));
    let asked = ["why", "web -> external:443", "--from", &capture, "--roster", &roster];
    let text = said(0, &asked);
    assert!(text.contains(" claimed     "), "{text}");
    assert!(text.contains("203.0.113.9 is api.example.com, says 203.0.113.53"), "{text}");
    // Nobody told cart what the address it calls is called.
    let cart = said(0, &["why", "cart -> external:443", "--from", &capture, "--roster", &roster]);
    assert!(!cart.contains("claimed"), "{cart}");
}

#[test]
fn why_names_the_rule_to_change_where_one_denies() {
    let folder = std::env::temp_dir().join(format!("portolan-why-denied-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let why = |text: &str| {
        let contract = folder.join("deny.toml");
        fs::write(&contract, text).unwrap();
        let contract = contract.to_string_lossy();
        on_the_shop(0, &["why", "reports -> db:5432", "--from", "capture.pcapng", "--contract", &contract])
    };
    let denied = why("[[rule]]\naction = \"deny\"\nfrom = \"shop/reports\"\nto = \"shop/db\"\n");
    assert!(denied.contains(" to allow    change or narrow the rule at "), "{denied}");
    assert!(denied.contains("deny.toml:1: it denies") && !denied.contains("add to a contract"), "{denied}");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_sweep_by_arp_names_its_filter_and_no_cut_and_answers_without_a_roster_count() {
    let of = |case: &str| shop().join(format!("../{case}/capture.pcapng")).to_string_lossy().into_owned();
    let (swept, silent) = (of("neighbour-sweep"), of("neighbour-sweep-silent"));
    assert!(said(0, &["replay", &silent]).contains("FINDINGS (0)"));
    assert!(said(0, &["replay", &swept]).contains("FINDINGS (1)"));
    let found = said(0, &["findings", "--from", &swept]);
    assert!(found.contains("filter  arp.opcode==1 && arp.src.proto_ipv4==172.20.0.4"), "{found}");
    assert!(!found.contains("portolan cut"), "{found}");
}
