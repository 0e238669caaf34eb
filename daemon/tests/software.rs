//! Policy as software by its words: what a pipeline is told, how tight a contract is, and a day's history judged again.

#![allow(clippy::unwrap_used, reason = "what a test cannot read is its failure")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use portolan_capture::LinkType;
use portolan_capture::write::{Captured, NewInterface, PcapngWriter, Section};
use portolan_exporter::snapshots::{SnapshotOptions, Snapshots};
use portolan_flowtable::{Direction, Timestamp};
use portolan_policy::Judged;
use serde_json::Value;
use tempfile::TempDir;

const ROSTERS: [&str; 4] = ["--roster", "docker-inspect.json", "--roster", "interfaces.toml"];

fn shop() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps/shop")
}

fn portolan(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portolan")).args(arguments).current_dir(shop()).output().unwrap()
}

/// Runs it and returns what it prints; any other exit code fails the test.
fn said(code: i32, arguments: &[&str]) -> String {
    let output = portolan(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Asks for both forms: the run of the SARIF log, and the attributes of the JUnit document.
fn both(code: i32, arguments: &[&str]) -> (Value, String) {
    let ask = |format: &str| said(code, &[arguments, &["--format", format]].concat());
    let (sarif, junit) = (ask("sarif"), ask("junit"));
    assert_eq!((&sarif, &junit), (&ask("sarif"), &ask("junit")), "the same question, another answer");
    let log = json(&sarif);
    assert_eq!((&log["version"], log["runs"].as_array().unwrap().len()), (&"2.1.0".into(), 1));
    let run = &log["runs"][0];
    assert_eq!(run["tool"]["driver"]["name"], "portolan");
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    for result in run["results"].as_array().unwrap() {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
    }
    let failures = run["results"].as_array().unwrap().len();
    assert_eq!(junit.matches("<failure ").count(), failures);
    assert!(junit.contains(&format!(" failures=\"{failures}\" ")), "{junit}");
    (run.clone(), junit)
}

#[test]
fn mistakes_of_contracts_stand_at_their_place_and_what_has_none_is_fine() {
    let folder = tempfile::tempdir().unwrap();
    let hostile = "20 <b>\"&\u{202e}.toml";
    fs::write(folder.path().join(hostile), "[[rule]]\naction = \"dney{0}](x\u{202e}\"\nfrom = \"a\"\n")
        .unwrap();
    fs::write(folder.path().join("10-fine.toml"), "[[service]]\nservice = \"shop/db\"\n").unwrap();
    let path = folder.path().to_string_lossy();
    let (run, junit) = both(1, &["policy", "check", &path]);
    let result = &run["results"][0];
    assert_eq!((&result["ruleId"], &result["level"]), (&"contract_mistake".into(), &"error".into()));
    let place = &result["locations"][0]["physicalLocation"];
    let file = format!("file://{path}/20%20%3Cb%3E%22%26%E2%80%AE.toml");
    assert_eq!(place["artifactLocation"]["uri"], file.as_str());
    assert_eq!(place["region"], serde_json::json!({ "startLine": 2, "startColumn": 10 }));
    let message = result["message"]["text"].as_str().unwrap();
    assert!(message.contains("dney{{0}}\\](x") && !message.contains('\u{202e}'), "{message}");
    let name = format!("name=\"{path}/20 &lt;b&gt;&quot;&amp;&lt;U+202E&gt;.toml:2:10\"");
    assert!(junit.contains(&name) && junit.contains("10-fine.toml\"/>"), "{junit}");
    let (run, junit) = both(0, &["policy", "check", "contract.toml"]);
    assert_eq!(run["results"], Value::Array(Vec::new()));
    assert!(junit.contains("<testcase classname=\"policy_check\" name=\"contract.toml\"/>"), "{junit}");
}

#[test]
fn findings_are_results_with_their_rule_their_ends_and_a_code_that_is_asked_for() {
    let asked = [
        &["findings", "--from", "capture.pcapng", "--contract", "contract.toml"][..],
        &ROSTERS,
        &["--fail-on", "high"],
    ]
    .concat();
    let findings = json(&said(3, &[&asked[..], &["--format", "json"]].concat()));
    let (run, junit) = both(3, &asked);
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), findings.as_array().unwrap().len());
    for (result, finding) in results.iter().zip(findings.as_array().unwrap()) {
        assert_eq!(result["ruleId"], finding["kind"]);
        assert_eq!(result["partialFingerprints"]["portolanFinding/v1"], finding["id"]);
        let level = match finding["severity"].as_str().unwrap() {
            "high" => "error",
            "medium" => "warning",
            _ => "note",
        };
        assert_eq!(result["level"], level);
        let names = &result["locations"][0]["logicalLocations"];
        assert_eq!(
            (&names[1]["kind"], &names[1]["name"], &names[2]["name"]),
            (&"service".into(), &finding["initiator"], &finding["responder"])
        );
    }
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    for rule in rules {
        let shown = said(0, &["rules", "show", rule["id"].as_str().unwrap()]);
        assert!(shown.contains(rule["help"]["text"].as_str().unwrap()), "{rule}");
    }
    // A rule that raises nothing is a test that passes.
    let kinds: BTreeSet<&str> =
        findings.as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(junit.matches("<testcase classname=\"findings\" ").count(), rules.len() - kinds.len());
    let none = [&asked[..], &["--kind", "port_scan"]].concat();
    let (run, _) = both(0, &none);
    assert_eq!(run["results"], Value::Array(Vec::new()));
    let wrong = [&asked[..], &["--format", "sarif", "--by-service"]].concat();
    assert_eq!(portolan(&wrong).status.code(), Some(2));
}

/// A day of a shop, and who is who in it.
struct Day {
    folder: TempDir,
    capture: String,
    roster: String,
}

type Ends = ([u8; 4], u16, [u8; 4], u16);

const START: i64 = 1_735_689_600_000_000_000;
const MINUTE: i64 = 60_000_000_000;
const SYN: u8 = 2;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;
const FIN_ACK: u8 = 0x11;
const RST_ACK: u8 = 0x14;
const CONTAINERS: [(u8, &str, &str); 9] = [
    (2, "web-1", "web"),
    (3, "web-2", "web"),
    (4, "cart-1", "cart"),
    (5, "cart-2", "cart"),
    (6, "db-1", "db"),
    (7, "cache-1", "cache"),
    (8, "reports-1", "reports"),
    (9, "batch-1", "batch"),
    (10, "admin-1", "admin"),
];

impl Day {
    /// Calls of 24 hours, from a generator with a fixed seed: some every few minutes, some by night, one once.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut roster =
            "[[network]]\nname = \"shop_back\"\nsubnets = [\"10.0.0.0/24\"]\ngateways = [\"10.0.0.1\"]\n"
                .to_owned();
        for (last, container, service) in CONTAINERS {
            roster.push_str(&format!(
                "[[address]]\naddress = \"10.0.0.{last}\"\nnetwork = \"shop_back\"\ncontainer = \"{container}\"\n\
                 project = \"shop\"\nservice = \"{service}\"\n"
            ));
        }
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut below = move |most: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % most
        };
        let inside = |last: u8| [10, 0, 0, last];
        let mut calls: Vec<(i64, Ends, bool)> = Vec::new();
        for minute in 0..24 * 60_i64 {
            let mut call = |from: [u8; 4], to: [u8; 4], port: u16, is_answered: bool, random: u64| {
                let at = minute * MINUTE + i64::try_from(random % 50_000).unwrap() * 1_000_000;
                let source = 32_768 + u16::try_from(calls.len() % 28_000).unwrap();
                calls.push((at, (from, source, to, port), is_answered));
            };
            let (web, cart) =
                (inside(2 + u8::try_from(below(2)).unwrap()), inside(4 + u8::try_from(below(2)).unwrap()));
            let outside = [203, 0, 113, u8::try_from(below(200)).unwrap()];
            if minute % 3 == 0 {
                call(outside, web, 80, true, below(u64::MAX));
                call(web, cart, 8080, true, below(u64::MAX));
            }
            if minute % 5 == 0 {
                call(cart, inside(6), 5432, true, below(u64::MAX));
                call(web, inside(7), 6379, true, below(u64::MAX));
            }
            if minute % 60 == 7 {
                call(inside(9), inside(6), 5432, true, below(u64::MAX));
                call(inside(9), [198, 51, 100, 7], 443, true, below(u64::MAX));
            }
            if (120..140).contains(&minute) {
                call(inside(8), inside(6), 5432, true, below(u64::MAX));
            }
            if minute == 23 * 60 + 51 {
                call(inside(10), inside(7), 6379, true, below(u64::MAX));
                call(inside(10), inside(6), 22, false, below(u64::MAX));
            }
        }
        let mut packets: Vec<(i64, Vec<u8>)> = Vec::new();
        for (at, ends, is_answered) in calls {
            let back = (ends.2, ends.3, ends.0, ends.1);
            let answered = [(ends, SYN), (back, SYN_ACK), (ends, ACK), (back, FIN_ACK), (ends, FIN_ACK)];
            let refused = [(ends, SYN), (back, RST_ACK)];
            let packets_of: &[(Ends, u8)] = if is_answered { &answered } else { &refused };
            for (number, (ends, flags)) in (0_i64..).zip(packets_of) {
                packets.push((START + at + number * 1_000_000, tcp(*ends, *flags)));
            }
        }
        packets.sort();
        let mut writer = PcapngWriter::new(Vec::new(), &Section::default()).unwrap();
        let eth0 = NewInterface { link: LinkType::ETHERNET, snaplen: 0, name: "eth0", description: "" };
        let interface = writer.add_interface(&eth0).unwrap();
        for (at, packet) in packets {
            let bytes = [&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0], &packet[..]].concat();
            let original_bytes = u32::try_from(bytes.len()).unwrap();
            let (at, direction) = (Timestamp(at), Direction::Unstated);
            writer.frame(&Captured { interface, at, bytes: &bytes, original_bytes, direction }).unwrap();
        }
        let name = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let (capture, who) = (name("day.pcapng"), name("roster.toml"));
        fs::write(&capture, writer.into_inner()).unwrap();
        fs::write(&who, roster).unwrap();
        Self { capture, roster: who, folder }
    }

    fn contract(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    }

    /// Keeps a result of the day as three snapshots: what began before noon, what went on after it, and the database alone.
    fn keep(&self, result: &str, folder: &str) {
        let directory = PathBuf::from(folder);
        let every = Duration::from_secs(3_600);
        let options = SnapshotOptions { directory, every, keep: 9, max_bytes: 1 << 30 };
        let snapshots = Snapshots::open(options).unwrap();
        let whole = portolan_daemon::picture::read(Path::new(result))
            .unwrap_or_else(|it| panic!("{}", it.message))
            .unwrap();
        let noon = Timestamp(START + 12 * 60 * MINUTE);
        let keep = |at: Timestamp, fits: &dyn Fn(&Judged) -> bool| {
            let mut publication = whole.clone();
            publication.assessment.snapshot.at = at;
            publication.assessment.judged.retain(fits);
            snapshots.write(&publication).unwrap();
        };
        keep(noon, &|judged| judged.conversation.first_at < noon);
        keep(Timestamp(START + 24 * 60 * MINUTE), &|judged| judged.conversation.last_at >= noon);
        keep(Timestamp(START + 25 * 60 * MINUTE), &|judged| {
            judged.conversation.port.port.is_some_and(|it| it.0 == 5432)
        });
    }

    /// Every conversation of a replay with its verdict and what decided, by its ends, its port and its first frame.
    fn verdicts(&self, contract: &str) -> BTreeMap<String, (String, String)> {
        let asked =
            ["replay", &self.capture, "--roster", &self.roster, "--contract", contract, "--format", "json"];
        let judged = json(&said(0, &asked))["assessment"]["judged"].as_array().unwrap().clone();
        let row = |it: &Value| {
            let conversation = &it["conversation"];
            let end = |end: &str| {
                let peer = &conversation[end];
                let workload = &peer["workload"];
                let name = workload["container"].as_str().or(peer["address"].as_str());
                name.unwrap_or_else(|| panic!("no end: {peer}")).to_owned()
            };
            let port = &conversation["port"];
            let key = format!("{} -> {} {}", end("initiator"), end("responder"), port["port"]);
            let word = |key: &str| it[key].as_str().unwrap_or_default().to_owned();
            (key, (word("verdict"), word("decided_by")))
        };
        let rows: BTreeMap<_, _> = judged.iter().map(row).collect();
        assert_eq!(rows.len(), judged.len(), "two conversations by one name");
        rows
    }
}

fn tcp((source, from, destination, to): Ends, flags: u8) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0];
    packet.extend([source, destination].concat());
    packet.extend([from.to_be_bytes(), to.to_be_bytes()].concat());
    packet.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    packet
}

const HELD: &str = "[[service]]\nservice = \"shop/db\"\nports = 5432\ninitiators = [\"shop/cart\", \"shop/reports\"]\n\
    [[service]]\nservice = \"shop/cart\"\nports = 8080\ninitiators = \"shop/web\"\n\
    [[service]]\nservice = \"shop/web\"\nports = 80\ninitiators = \"external\"\n\
    [[service]]\nservice = \"shop/cache\"\nports = 6379\ninitiators = \"project:shop\"\n";
const TRIED: &str = "[defaults]\nto_external = \"deny\"\n\
    [[rule]]\naction = \"deny\"\nid = \"no-nightly\"\nfrom = \"shop/reports\"\nto = \"shop/db\"\n\
    [[rule]]\naction = \"deny\"\nfrom = \"203.0.113.0/25\"\nto = \"container:web-2\"\n\
    [[service]]\nservice = \"shop/db\"\nports = 5432\ninitiators = [\"shop/cart\", \"shop/batch\"]\n\
    [[service]]\nservice = \"shop/cart\"\nports = 8080\ninitiators = \"shop/web\"\n\
    [[service]]\nservice = \"shop/web\"\nports = 80\ninitiators = \"external\"\n\
    [[service]]\nservice = \"shop/cache\"\nports = 6379\ninitiators = \"shop/web\"\n";

#[test]
fn a_test_on_a_day_lists_exactly_what_replaying_it_by_the_other_contract_judges_differently() {
    let day = Day::new();
    let (held, tried) = (day.contract("held.toml", HELD), day.contract("tried.toml", TRIED));
    let (before, after) = (day.verdicts(&held), day.verdicts(&tried));
    assert!(before.keys().eq(after.keys()));
    let expected: BTreeMap<String, (String, String, String)> = before
        .iter()
        .zip(after.values())
        .filter(|((_, (one, _)), (other, _))| one != other)
        .map(|((key, (one, _)), (other, by))| (key.clone(), (one.clone(), other.clone(), by.clone())))
        .collect();
    let asked =
        ["policy", "test", &tried, "--against", &day.capture, "--roster", &day.roster, "--contract", &held];
    let flips = json(&said(3, &[&asked[..], &["--format", "json"]].concat()));
    let row = |flip: &Value| {
        let word = |key: &str| flip[key].as_str().unwrap().to_owned();
        let port = word("port");
        let number = port.split('/').next().unwrap();
        let key = format!("{} -> {} {number}", word("initiator_container"), word("responder_container"));
        (key, (word("before"), word("after"), word("decided_by")))
    };
    let listed: BTreeMap<_, _> = flips.as_array().unwrap().iter().map(row).collect();
    // A code host shows it at the line that decides, where one of the contract does.
    let log = json(&said(3, &[&asked[..], &["--format", "sarif"]].concat()));
    let results = log["runs"][0]["results"].as_array().unwrap();
    let mut places = 0;
    for (result, flip) in results.iter().zip(flips.as_array().unwrap()) {
        let decided_by = flip["decided_by"].as_str().unwrap();
        let place = &result["locations"][0]["physicalLocation"];
        let stated = place["region"]["startLine"].as_u64().map(|line| format!("{tried}:{line}"));
        let by_contract = decided_by.strip_prefix(&format!("{tried}:"));
        let line = by_contract.map(|rest| rest.split(|it: char| !it.is_ascii_digit()).next().unwrap());
        assert_eq!(stated, line.map(|line| format!("{tried}:{line}")), "{decided_by}");
        places += usize::from(stated.is_some());
    }
    assert!(places > 10, "{places} of {}", results.len());
    assert_eq!(listed, expected);
    // What the day was made for is among them, and what nobody touched is not.
    let changed: BTreeSet<&str> = listed
        .keys()
        .map(|key| if key.starts_with("203.") { "outside -> web-2" } else { key.as_str() })
        .collect();
    let wanted = [
        "admin-1 -> cache-1 6379",
        "batch-1 -> 198.51.100.7 443",
        "batch-1 -> db-1 5432",
        "outside -> web-2",
        "reports-1 -> db-1 5432",
    ];
    assert_eq!(changed.into_iter().collect::<Vec<_>>(), wanted);
    assert!(listed.len() > 50 && before.len() > 200, "{} of {}", listed.len(), before.len());
    // A result of it is judged alike, and a pipeline is told the same.
    let result = day.folder.path().join("day.result").to_string_lossy().into_owned();
    let kept =
        ["replay", &day.capture, "--roster", &day.roster, "--contract", &held, "--quiet", "-o", &result];
    said(0, &kept);
    let of_kept =
        |path: &str| json(&said(3, &["policy", "test", &tried, "--against", path, "--format", "json"]));
    assert_eq!(of_kept(&result), flips);
    // And so is a history of it: what began before noon, what went on after it, and the database alone.
    let history = day.folder.path().join("snapshots").to_string_lossy().into_owned();
    day.keep(&result, &history);
    let of_history = of_kept(&history);
    let sorted =
        |flips: &Value| flips.as_array().unwrap().iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(sorted(&of_history), sorted(&flips));
    assert_eq!(of_history.as_array().unwrap().len(), listed.len());
    let (run, junit) = both(3, &asked);
    assert_eq!(run["results"].as_array().unwrap().len(), listed.len());
    let names: BTreeSet<&str> = junit.lines().filter(|line| line.contains("<testcase ")).collect();
    assert_eq!(names.len(), listed.len() + 1, "two tests of one name");
    assert!(
        junit.contains(&format!("{} conversations keep their verdict", before.len() - listed.len())),
        "{junit}"
    );
}

#[test]
fn a_check_against_a_day_says_how_much_of_what_is_allowed_was_used() {
    let day = Day::new();
    let held = day.contract("held.toml", HELD);
    let asked = ["policy", "check", &held, "--against", &day.capture, "--roster", &day.roster];
    let checked = json(&said(0, &[&asked[..], &["--format", "json"]].concat()));
    let tightness = &checked["tightness"];
    // Of the six who may call cache two did; everybody else who may call, did.
    assert_eq!((&tightness["used"], &tightness["allowed"]), (&6.into(), &10.into()), "{tightness}");
    let cache = &tightness["grants"][3];
    assert_eq!(
        (&cache["says"], &cache["used"], &cache["allowed"]),
        (&"project:shop -> shop/cache".into(), &2.into(), &6.into()),
        "{tightness}"
    );
    let text = said(0, &asked);
    assert!(
        text.contains("tightness: 6 of 10 combinations it allows were used (60 %), among 7 services"),
        "{text}"
    );
    // The other way about: a contract made of what was seen allows nothing else.
    let suggest = ["policy", "suggest", "--from", &day.capture, "--roster", &day.roster];
    let suggested = day.contract("suggested.toml", &said(0, &suggest));
    let asked = ["policy", "check", &suggested, "--against", &day.capture, "--roster", &day.roster];
    assert!(said(0, &asked).contains("(100 %)"));
    // Without names nothing is allowed to anybody.
    assert_eq!(portolan(&["policy", "check", &held, "--against", &day.capture]).status.code(), Some(1));
}
