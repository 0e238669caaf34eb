//! The baseline from the command line: learned from a capture, reviewed, changed, judged by.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn shop(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps/shop").join(name)
}

fn portolan(folder: &TempDir, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portolan"))
        .current_dir(folder.path())
        .env_clear()
        .args(arguments)
        .output()
        .expect("portolan starts")
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// Replays the shop with further arguments; its result.
fn replayed(folder: &TempDir, further: &[&str]) -> Value {
    let [capture, inspect, interfaces] = ["capture.pcap", "docker-inspect.json", "interfaces.toml"]
        .map(|name| shop(name).display().to_string());
    let fixed = ["replay", &capture, "--roster", &inspect, "--roster", &interfaces, "--format", "json"];
    let output = portolan(folder, &[&fixed[..], further].concat());
    serde_json::from_str(&printed(&output)).expect("a result")
}

fn text(folder: &TempDir) -> String {
    fs::read_to_string(folder.path().join("baseline.toml")).expect("a baseline")
}

/// Verdicts of what this service initiates, with the responder's port.
fn verdicts(result: &Value, service: &str) -> Vec<(String, u64)> {
    let judged = result["assessment"]["judged"].as_array().expect("verdicts");
    let of = judged.iter().filter(|it| it["conversation"]["initiator"]["workload"]["service"] == service);
    let mut verdicts: Vec<(String, u64)> = of
        .map(|it| {
            let port = it["conversation"]["port"]["port"].as_u64().unwrap_or(0);
            (it["verdict"].as_str().expect("a verdict").to_owned(), port)
        })
        .collect();
    verdicts.sort();
    verdicts
}

#[test]
fn a_capture_teaches_the_same_in_every_replay_and_what_was_learned_is_judged_by() {
    let folder = tempfile::tempdir().expect("a folder");
    replayed(&folder, &["--baseline", "baseline.toml", "--learn"]);
    let learned = text(&folder);
    fs::remove_file(folder.path().join("baseline.toml")).expect("the file");
    replayed(&folder, &["--baseline", "baseline.toml", "--learn"]);
    assert_eq!(text(&folder), learned);
    assert!(learned.contains("{ to = \"shop/db\", port = \"5432/tcp\", origin = \"seen\""), "{learned}");

    // While it is learned nothing changes; once somebody promotes it, what it lacks is a finding.
    let file = ["--file", "baseline.toml"];
    let before = verdicts(&replayed(&folder, &["--baseline", "baseline.toml"]), "batch");
    assert!(before.iter().any(|(verdict, port)| verdict == "unjudged" && *port == 80), "{before:?}");
    let change = |arguments: &[&str]| printed(&portolan(&folder, &[arguments, &file[..]].concat()));
    let said = change(&["baseline", "promote", "batch", "to shop/registry:8500"]);
    assert_eq!(said, "promote: shop/batch@shop/batch:1.0\n");
    assert_eq!(
        change(&["baseline", "promote", "batch", "to shop/registry:8500"]),
        "nothing to change: it is so already\n"
    );
    change(&["baseline", "promote", "batch"]);
    let result = replayed(&folder, &["--baseline", "baseline.toml"]);
    let after = verdicts(&result, "batch");
    assert!(after.contains(&("learned".to_owned(), 8500)), "{after:?}");
    assert!(after.contains(&("new_edge".to_owned(), 80)), "{after:?}");
    let findings = result["assessment"]["findings"].as_array().expect("findings");
    let new: Vec<&Value> = findings.iter().filter(|finding| finding["kind"] == "new_edge").collect();
    assert_eq!(new.len(), 1, "{new:?}");
    assert_eq!(new[0]["against"], "the baseline of shop/batch has not learned to shop/web:80/tcp");
    // Its packets are cut by the same baseline, and there is no such finding without.
    let id = new[0]["id"].as_str().expect("an id");
    let [capture, inspect, interfaces] = ["capture.pcap", "docker-inspect.json", "interfaces.toml"]
        .map(|name| shop(name).display().to_string());
    let cut =
        ["cut", &capture, "--roster", &inspect, "--roster", &interfaces, "--finding", id, "-w", "cut.pcapng"];
    let without = portolan(&folder, &cut);
    assert!(String::from_utf8_lossy(&without.stderr).starts_with("portolan: no finding"), "{without:?}");
    let with = portolan(&folder, &[&cut[..], &["--baseline", "baseline.toml"]].concat());
    assert!(
        String::from_utf8_lossy(&with.stderr).starts_with("wrote 50 of 6,541 frames, 5 flows"),
        "{with:?}"
    );

    // What is forbidden is so whatever is learned on top of it.
    change(&["baseline", "forbid", "batch", "to shop/registry:8500", "--reason", "moved"]);
    let result = replayed(&folder, &["--baseline", "baseline.toml", "--learn"]);
    assert!(verdicts(&result, "batch").contains(&("forbidden".to_owned(), 8500)));
    let shown = printed(&portolan(&folder, &["baseline", "show", "shop/batch", "--file", "baseline.toml"]));
    assert!(shown.contains("forbidden  to shop/registry:8500/tcp") && shown.contains(": moved"), "{shown}");
    change(&["baseline", "permit", "batch", "to shop/registry:8500"]);
    assert!(!text(&folder).contains("forbidden"));
}

#[test]
fn several_hosts_become_one_and_a_release_is_compared() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = |image: &str, edges: &str| {
        format!("[[service]]\nname = \"shop/orders\"\nimage = \"{image}\"\nlearned = [ {edges} ]\n")
    };
    let db = "{ to = \"shop/db\", port = \"5432/tcp\", origin = \"seen\", draws = 2 }";
    let cache = "{ to = \"shop/cache\", port = \"6379/tcp\", origin = \"release\", draws = 41, \
                 first_at = \"2026-11-20T14:00:00Z\", last_at = \"2026-11-20T21:00:00Z\" }";
    for (name, text) in
        [("one.toml", service("orders:v1.3", db)), ("two.toml", service("orders:v1.4", cache))]
    {
        fs::write(folder.path().join(name), format!("version = 1\n{text}")).expect("a file");
    }
    let merge =
        |order: [&str; 2]| printed(&portolan(&folder, &[&["baseline", "merge"][..], &order].concat()));
    assert_eq!(merge(["one.toml", "two.toml"]), merge(["two.toml", "one.toml"]));
    portolan(&folder, &["baseline", "merge", "one.toml", "two.toml", "-o", "both.toml"]);
    let diff = printed(&portolan(
        &folder,
        &["baseline", "diff", "orders@orders:v1.3", "orders@orders:v1.4", "--file", "both.toml"],
    ));
    assert_eq!(
        diff,
        "+ to shop/cache:6379/tcp  41 windows, 2026-11-20 14:00 to 2026-11-20 21:00, new with this image\n\
         - to shop/db:5432/tcp     not seen with shop/orders@orders:v1.4\n"
    );
}

#[test]
fn builds_of_one_tag_are_told_apart_and_columns_hold_long_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let profile = |name: &str, image: &str| {
        let edge = "{ to = \"shop/db\", port = \"5432/tcp\", origin = \"seen\", draws = 2 }";
        format!(
            "[[service]]\nname = \"{name}\"\nimage = \"{image}\"\nreference = \"orders:v1\"\ncandidates = [ {edge} ]\n"
        )
    };
    let (one, other) = (format!("sha256:{}", "ab".repeat(32)), format!("sha256:{}", "cd".repeat(32)));
    let long = "a-project-with-a-long-name/and-a-service-with-one-too";
    let text = [profile(long, &one), profile("shop/orders", &one), profile("shop/orders", &other)].concat();
    fs::write(folder.path().join("b.toml"), format!("version = 1\n{text}")).expect("a file");
    let shown = printed(&portolan(&folder, &["baseline", "show", "--file", "b.toml"]));
    let lines: Vec<&str> = shown.lines().collect();
    let [first, second, third] = lines[..] else { panic!("{shown}") };
    assert!(
        first.contains(" orders:v1 ") && first.contains("0 learned, 1 candidate, 0 forbidden"),
        "{shown}"
    );
    assert!(
        second.contains("orders:v1 (abababababab)") && third.contains("orders:v1 (cdcdcdcdcdcd)"),
        "{shown}"
    );
    let columns: Vec<_> = lines.iter().map(|line| line.find("learning")).collect();
    assert!(columns.iter().all(|column| *column == columns[0]), "{shown}");
    let asked = portolan(&folder, &["baseline", "diff", "orders@v1", "orders@cdcdcdcd", "--file", "b.toml"]);
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(said.contains("shop/orders@abababababab or shop/orders@cdcdcdcdcdcd"), "{said}");
    let asked = ["baseline", "diff", "orders@abababab", "orders@cdcdcdcd", "--file", "b.toml"];
    assert!(printed(&portolan(&folder, &asked)).starts_with("no difference"));
    let asked = portolan(&folder, &["baseline", "show", "somebody-else", "--file", "b.toml"]);
    assert_eq!(
        String::from_utf8_lossy(&asked.stderr),
        "portolan: the baseline has no service \"somebody-else\": portolan baseline show lists them\n"
    );
}

#[test]
fn bad_input_is_named_with_a_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("good.toml"), "version = 1\n[[service]]\nname = \"shop/db\"\n")
        .expect("a file");
    fs::write(folder.path().join("bad.toml"), "version = 1\n[[service]]\nnam = \"shop/db\"\n")
        .expect("a file");
    #[rustfmt::skip]
    let cases: [(&[&str], i32, &str); 9] = [
        (&["baseline", "show", "--file", "none.toml"],                            1, "portolan: none.toml: there is no such file\n"),
        (&["baseline", "show", "--file", "bad.toml"],                             1, "portolan: bad.toml:3: unknown key \"nam\": one of name, "),
        (&["baseline", "show", "shop/bd", "--file", "good.toml"],                 1, "portolan: the baseline has no service \"shop/bd\"; did you mean \"shop/db\"?"),
        (&["baseline", "promote", "db", "5432", "--file", "good.toml"],           1, "portolan: \"5432\" is no edge of a service: write 'to shop/db:5432/tcp'"),
        (&["baseline", "forget", "db", "to x:1", "--file", "good.toml"],          1, "portolan: db has no edge to x:1/tcp: portolan baseline show db lists them"),
        (&["baseline", "freeze", "db", "--server", "/nowhere/portolan.sock"],     1, "portolan: no daemon answers at /nowhere/portolan.sock: start one with: sudo portolan run"),
        (&["ack", "F-7c21e0", "--server", "http://127.0.0.1:9414"],               2, "portolan: http://127.0.0.1:9414: what changes something is asked by the daemon's socket alone"),
        (&["findings", "--kind", "gossip"],                                       2, "portolan: --kind gossip: one of spoofed_source, denied, unexpected_peer, "),
        (&["replay", "x.pcap", "--baseline", "none.toml"],                        1, "portolan: none.toml: there is no such file; --learn begins one"),
    ];
    for (arguments, code, expected) in cases {
        let output = portolan(&folder, arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.starts_with(expected), "{arguments:?}: {said}");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn findings_are_filtered() {
    let folder = tempfile::tempdir().expect("a folder");
    let [capture, inspect, interfaces, contract] =
        ["capture.pcap", "docker-inspect.json", "interfaces.toml", "contract.toml"]
            .map(|name| shop(name).display().to_string());
    let count = |further: &[&str]| {
        let fixed = ["findings", "--from", &capture, "--roster", &inspect, "--roster", &interfaces];
        let with = ["--contract", &contract, "-o", "json"];
        let output = portolan(&folder, &[&fixed[..], &with, further].concat());
        printed(&output).lines().count()
    };
    let all = count(&[]);
    assert!(all > 2, "{all} findings");
    let (high, of_db) = (count(&["--severity", "high"]), count(&["--service", "db"]));
    assert!(0 < high && high < all && 0 < of_db && of_db < all, "{high} {of_db} of {all}");
    assert_eq!(of_db + count(&["--service", "shop/db", "--not"]), all);
    assert_eq!(count(&["--port", "5432"]), count(&["--port", "5432/tcp"]));
    let either = count(&["--service", "db", "--service", "cart"]);
    assert!(either > of_db && either <= of_db + count(&["--service", "cart"]), "{either}");
    assert_eq!(count(&["--since", "2030-01-01T00:00:00Z"]), 0);
}
