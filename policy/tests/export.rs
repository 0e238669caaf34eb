//! Exports: each form, read back by a reader that knows nothing of the writer, allows what was seen; and no line of it is
//! there in vain.

#![allow(clippy::unwrap_used, reason = "what cannot be read back is what the test is about")]

#[expect(dead_code, reason = "the other targets use the rest of it")]
mod support;

use std::collections::{BTreeMap, BTreeSet};

use portolan_flowtable::Conversation;
use portolan_policy::{Assessment, Contract, Form};
use support::*;

/// Who called whom on which port, by names and by addresses.
type Call = (&'static str, &'static str, u16);

const CALLS: [Call; 7] = [
    ("external", "web", 80),
    ("web", "cart", 8080),
    ("web", "cache", 6379),
    ("batch", "cache", 6379),
    ("cart", "db", 5432),
    ("reports", "db", 5432),
    ("batch", "external", 443),
];

fn last(service: &str) -> u8 {
    ["web", "cart", "cache", "batch", "db", "reports", "idle"].iter().position(|it| *it == service).unwrap()
        as u8
        + 2
}

fn seen() -> Assessment {
    let names = ["web", "cart", "cache", "batch", "db", "reports", "idle"];
    let workloads: BTreeMap<&str, _> =
        names.map(|name| (name, workload(&format!("shop-{name}-1"), &format!("shop/{name}"), &[]))).into();
    let end = |name: &str| match name {
        "external" => external(7),
        _ => peer(&workloads[name], last(name)),
    };
    let mut calls: Vec<Conversation> =
        CALLS.iter().map(|(from, to, port)| talk(end(from), end(to), *port, 2, 0)).collect();
    // An attempt nobody answered, and an answered call a rule denies.
    calls.push(talk(end("web"), end("db"), 5432, 0, 3));
    calls.push(talk(end("idle"), end("db"), 5432, 1, 0));
    let text = "[[rule]]\naction = \"deny\"\nfrom = \"shop/idle\"\n";
    Contract::parse(text, "c.toml").unwrap().assess(snapshot(workloads.into_values().collect(), calls))
}

/// What is inside double quotes behind `key: `.
fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.split_once(&format!("{key}: \""))?.1.split('"').next()
}

fn by_kubernetes(text: &str) -> impl Fn(&Call) -> bool {
    let mut rows: BTreeSet<(String, String, u16)> = BTreeSet::new();
    for policy in text.split("---\n").skip(1) {
        let head = policy.split("policyTypes").next().unwrap();
        let to = value(head, "app.kubernetes.io/name").unwrap();
        for row in policy.lines().filter(|line| line.starts_with("    - {from")) {
            let from = if row.contains("0.0.0.0/0") {
                "external"
            } else {
                value(row, "app.kubernetes.io/name").unwrap()
            };
            let port = row.split("port: ").nth(1).unwrap().split('}').next().unwrap().parse().unwrap();
            assert!(row.contains("protocol: TCP"), "{row}");
            rows.insert((from.to_owned(), to.to_owned(), port));
        }
    }
    move |(from, to, port)| *to == "external" || rows.contains(&((*from).to_owned(), (*to).to_owned(), *port))
}

fn by_nftables(text: &str) -> impl Fn(&Call) -> bool {
    let set = |name: &str| -> BTreeSet<String> {
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("set {name} "))).unwrap();
        let inside = line.split("elements = { ").nth(1).unwrap().split(" }").next().unwrap();
        inside.split(", ").map(str::to_owned).collect()
    };
    let mut rows = Vec::new();
    for line in text.lines().filter(|line| line.contains(" dport ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = |word: &str| words.iter().position(|it| *it == word).unwrap();
        let source = &words[at("saddr") + 1..];
        let (is_not, name) = if source[0] == "!=" { (true, source[1]) } else { (false, source[0]) };
        let to = set(words[at("daddr") + 1].trim_start_matches('@'));
        let port: u16 = words[at("dport") + 1].parse().unwrap();
        rows.push((is_not, set(name.trim_start_matches('@')), to, port));
    }
    let containers = set("containers_4");
    let address = |name: &str| match name {
        "external" => "203.0.113.7".to_owned(),
        _ => format!("172.20.0.{}", last(name)),
    };
    move |(from, to, port)| {
        let (from, to) = (address(from), address(to));
        !containers.contains(&to)
            || rows.iter().any(|(is_not, sources, targets, dport)| {
                sources.contains(&from) != *is_not && targets.contains(&to) && dport == port
            })
    }
}

fn by_compose(text: &str) -> impl Fn(&Call) -> bool {
    let mut on: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut open: BTreeSet<String> = BTreeSet::new();
    for line in text.lines() {
        if let Some((name, rest)) = line.split_once(": {networks: [") {
            let networks = rest.trim_end_matches("]}").split(", ").filter(|it| !it.is_empty());
            on.insert(name.trim().trim_matches('"').to_owned(), networks.map(str::to_owned).collect());
        } else if let Some((name, _)) = line.split_once(": {internal: false}") {
            open.insert(name.trim().to_owned());
        }
    }
    move |(from, to, _)| {
        let of = |name: &str| on.get(name).cloned().unwrap_or_default();
        match (*from, *to) {
            ("external", to) => of(to).intersection(&open).next().is_some(),
            (from, "external") => of(from).intersection(&open).next().is_some(),
            (from, to) => of(from).intersection(&of(to)).next().is_some(),
        }
    }
}

fn denied(form: Form, text: &str) -> Vec<Call> {
    let allows: Box<dyn Fn(&Call) -> bool> = match form {
        Form::Kubernetes => Box::new(by_kubernetes(text)),
        Form::Nftables => Box::new(by_nftables(text)),
        Form::Compose => Box::new(by_compose(text)),
    };
    CALLS.iter().filter(|call| !allows(call)).copied().collect()
}

#[test]
fn every_form_allows_what_was_seen_and_says_what_it_leaves_out() {
    for form in [Form::Kubernetes, Form::Nftables, Form::Compose] {
        let text = seen().export(form, "shop.pcapng");
        assert_eq!(denied(form, &text), [], "{text}");
        let head = text.lines().take(2).collect::<Vec<_>>().join("\n");
        assert!(head.ends_with("# left out, a finding: shop/idle -> shop/db 5432/tcp: denied"), "{head}");
    }
}

#[test]
fn what_was_not_seen_is_not_allowed() {
    let text = seen().export(Form::Kubernetes, "");
    let kubernetes = by_kubernetes(&text);
    let text = seen().export(Form::Nftables, "");
    let nftables = by_nftables(&text);
    let text = seen().export(Form::Compose, "");
    let compose = by_compose(&text);
    for call in [("web", "db", 5432), ("idle", "db", 5432), ("batch", "cart", 8080), ("external", "db", 5432)]
    {
        assert!(!kubernetes(&call) && !nftables(&call) && !compose(&call), "{call:?}");
    }
    // A port alone is more than a network can say.
    assert!(!kubernetes(&("web", "cart", 22)) && !nftables(&("web", "cart", 22)));
}

#[test]
fn no_line_is_there_in_vain() {
    for form in [Form::Kubernetes, Form::Nftables, Form::Compose] {
        let text = seen().export(form, "");
        let is_rule = |line: &&str| match form {
            Form::Kubernetes => line.starts_with("    - {from"),
            Form::Nftables => line.contains(" dport "),
            Form::Compose => line.contains("{networks: [to-"),
        };
        let rules: Vec<&str> = text.lines().filter(is_rule).collect();
        assert!(rules.len() >= 6, "{text}");
        for rule in rules {
            let without: String =
                text.lines().filter(|line| *line != rule).map(|line| format!("{line}\n")).collect();
            assert!(!denied(form, &without).is_empty(), "without {rule}");
        }
    }
}
