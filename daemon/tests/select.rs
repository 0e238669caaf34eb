//! `portolan flows` and `graph` with filters, asked of the recorded shop.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use serde_json::Value;
use tempfile::TempDir;

/// The shop's result, replayed once.
static SHOP: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps/shop");
    let folder = tempfile::tempdir().expect("a folder");
    let result = folder.path().join("shop.result");
    let of = |name: &str| shop.join(name).to_string_lossy().into_owned();
    let replayed = Command::new(env!("CARGO_BIN_EXE_portolan"))
        .args(["replay", &of("capture.pcapng"), "--quiet", "-o", &result.to_string_lossy()])
        .args(["--roster", &of("docker-inspect.json"), "--roster", &of("interfaces.toml")])
        .args(["--contract", &of("contract.toml")])
        .output()
        .expect("portolan");
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    (folder, result)
});

fn portolan(command: &str, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portolan"))
        .args([command, "--from", &SHOP.1.to_string_lossy()])
        .args(arguments.split_whitespace())
        .output()
        .expect("portolan")
}

fn said(command: &str, arguments: &str) -> String {
    let output = portolan(command, arguments);
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn flows(arguments: &str) -> Vec<Value> {
    let lines = said("flows", &format!("-o json {arguments}"));
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn each_filter_leaves_what_it_says_and_not_turns_them_round() {
    let all = flows("");
    let is = |flow: &Value, end: &str, service: &str| flow[end]["service"] == service;
    type Fits = fn(&Value, &dyn Fn(&Value, &str, &str) -> bool) -> bool;
    let cases: [(&str, Fits); 9] = [
        ("--from-service shop/web", |flow, is| is(flow, "src", "shop/web")),
        ("--from-service web", |flow, is| is(flow, "src", "shop/web")),
        ("--to-service shop/d*", |flow, is| is(flow, "dest", "shop/db")),
        ("--service db", |flow, is| is(flow, "src", "shop/db") || is(flow, "dest", "shop/db")),
        ("--to-port 9229", |flow, _| flow["dest"]["port"] == 9229),
        ("--to-port 8125/udp --to-port 5432/tcp", |flow, _| {
            flow["dest"]["port"] == 8125 || flow["dest"]["port"] == 5432
        }),
        ("--verdict refused", |flow, _| flow["outcome"] == "refused"),
        ("--from-service web --verdict undocumented_port", |flow, _| flow["dest"]["port"] == 9229),
        ("--network shop_back --to-port 8443", |flow, _| {
            flow["network"] == "shop_back" && flow["dest"]["port"] == 8443
        }),
    ];
    for (arguments, fits) in cases {
        let expected: Vec<&Value> = all.iter().filter(|flow| fits(flow, &is)).collect();
        assert!(!expected.is_empty() && expected.len() < all.len(), "{arguments}");
        assert_eq!(flows(arguments).iter().collect::<Vec<_>>(), expected, "{arguments}");
        assert_eq!(
            flows(&format!("{arguments} --not")).len(),
            all.len() - expected.len(),
            "{arguments} --not"
        );
    }
    // Without a filter there is nothing to turn round.
    assert_eq!(flows("--not").len(), all.len());
    assert_eq!(flows("--last 3").len(), 3);
    assert_eq!(flows("--since 2000-01-01T00:00:00Z").len(), all.len());
    assert_eq!(flows("--since 2100-01-01T00:00:00Z").len(), 0);
}

#[test]
fn forms_say_the_same_flow() {
    let compact = said("flows", "--to-port 9229 -o compact");
    assert_eq!(compact.lines().count(), 1, "{compact}");
    assert!(compact.contains("shop/web ") && compact.contains(":9229/tcp answered"), "{compact}");
    let dict = said("flows", "--to-port 9229 -o dict");
    for line in ["src.service: shop/web", "dest.port: 9229", "outcome: answered", "sent.bytes: "] {
        assert!(dict.contains(line), "{line}: {dict}");
    }
    // A pipe is never cut to a screen's width.
    assert!(said("flows", "--to-port 9229").contains("shop-web-1"));
}

#[test]
fn a_graph_of_some_edges_has_their_nodes_alone() {
    let graph: Value = serde_json::from_str(&said("graph", "--service db --to-port 5432")).expect("JSON");
    let names = |what: &str, field: &str| -> Vec<&str> {
        graph[what].as_array().expect("a list").iter().filter_map(|each| each[field].as_str()).collect()
    };
    assert_eq!(names("edges", "source"), ["shop/cart", "shop/reports"]);
    assert_eq!(names("nodes", "id"), ["shop/cart", "shop/db", "shop/reports"]);
    assert!(said("graph", "--format dot --verdict undocumented_port").contains("9229"));
}

#[test]
fn what_means_nothing_is_refused_with_what_would() {
    #[rustfmt::skip]
    let cases = [
        ("flows", "--to-port http",       "portolan: --to-port http: write 5432 or 5432/tcp"),
        ("graph", "--verdict dropped",    "portolan: --verdict dropped: one of pending, answered, refused, unanswered, blocked, or of documented,"),
        ("flows", "--follow",             "portolan: --follow asks the daemon again and again: leave --from out"),
    ];
    for (command, arguments, expected) in cases {
        let output = portolan(command, arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {said}");
        assert!(said.starts_with(expected), "{arguments}: {said}");
    }
}
