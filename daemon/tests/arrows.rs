//! Which room may import what, as docs/architecture.md draws it: read off `cargo metadata` and the sources, so that a
//! stray import stops the tests and names the room.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

/// Each room, and the rooms it may import.
const ROOMS: [(&str, &[&str]); 9] = [
    ("sys", &[]),
    ("flowtable", &["sys"]),
    ("capture", &["flowtable", "sys"]),
    ("identity", &["flowtable", "sys"]),
    ("policy", &["flowtable"]),
    ("graphs", &["flowtable", "policy"]),
    ("exporter", &["flowtable", "policy", "graphs"]),
    ("daemon", &["sys", "flowtable", "capture", "identity", "policy", "graphs", "exporter"]),
    ("benches", &["sys", "flowtable", "capture", "identity", "policy", "graphs", "exporter", "daemon"]),
];

/// Each outside crate, and the rooms it serves. One room where it is the door to an outside thing.
const OUTSIDE: [(&str, &[&str]); 46] = [
    ("pcap", &["capture"]),
    ("pnet", &["capture"]),
    ("etherparse", &["capture", "benches"]),
    ("flate2", &["capture"]),
    ("zstd", &["capture", "exporter"]),
    ("bollard", &["identity"]),
    ("dashmap", &["identity"]),
    ("netlink-packet-core", &["identity"]),
    ("netlink-packet-route", &["identity"]),
    ("netlink-sys", &["identity"]),
    ("futures-util", &["identity"]),
    ("granit-parser", &["policy"]),
    ("ipnet", &["policy"]),
    ("strsim", &["policy"]),
    ("toml_edit", &["policy"]),
    ("foldhash", &["flowtable"]),
    ("siphasher", &["flowtable"]),
    ("base64", &["exporter"]),
    ("bcrypt", &["exporter"]),
    ("http-body-util", &["exporter"]),
    ("hyper", &["exporter"]),
    ("hyper-util", &["exporter"]),
    ("prometheus", &["exporter"]),
    ("ring", &["exporter"]),
    ("serde-saphyr", &["exporter"]),
    ("sha1", &["exporter"]),
    ("tokio-rustls", &["exporter"]),
    ("arc-swap", &["daemon"]),
    ("clap", &["daemon"]),
    ("clap_complete", &["daemon"]),
    ("clap_mangen", &["daemon"]),
    ("indicatif", &["daemon"]),
    ("ratatui", &["daemon"]),
    ("rtrb", &["daemon"]),
    ("unicode-width", &["daemon"]),
    ("landlock", &["sys"]),
    ("libc", &["sys"]),
    ("seccompiler", &["sys"]),
    // Safe system calls, a runtime, a text form: wherever they are needed, and nowhere else.
    ("rustix", &["sys", "capture", "identity", "exporter", "daemon", "benches"]),
    ("tokio", &["identity", "exporter", "daemon"]),
    ("toml", &["identity", "daemon"]),
    // Values that cross the process boundary, times as text, errors at the seams.
    ("jiff", &["flowtable", "exporter", "daemon"]),
    ("serde", &["flowtable", "identity", "policy", "graphs", "exporter", "daemon", "benches"]),
    ("serde_json", &["identity", "graphs", "exporter", "daemon", "benches"]),
    ("thiserror", &["flowtable", "capture", "identity", "policy", "graphs", "exporter", "daemon"]),
    ("divan", &["benches"]),
];

/// Rooms without input, output, clock, thread or waiting: what they answer depends on what they are given.
const PURE: [&str; 3] = ["flowtable", "policy", "graphs"];

/// Words that stand for one of those in a source, and what to do instead.
#[rustfmt::skip]
const IMPURE: [(&str, &str); 22] = [
    ("fs",             "hand the text or the bytes in"),
    ("File",           "hand the text or the bytes in"),
    ("OpenOptions",    "hand the text or the bytes in"),
    ("TcpStream",      "sockets belong to identity and exporter"),
    ("TcpListener",    "sockets belong to identity and exporter"),
    ("UdpSocket",      "sockets belong to identity and exporter"),
    ("UnixStream",     "sockets belong to identity and exporter"),
    ("UnixListener",   "sockets belong to identity and exporter"),
    ("UnixDatagram",   "sockets belong to identity and exporter"),
    ("thread",         "threads belong to daemon"),
    ("sleep",          "waiting belongs to daemon"),
    ("process",        "the process belongs to daemon"),
    ("Instant",        "take `now: Timestamp` as a parameter"),
    ("SystemTime",     "take `now: Timestamp` as a parameter"),
    ("async",          "return a value; waiting belongs to identity, exporter and daemon"),
    ("await",          "return a value; waiting belongs to identity, exporter and daemon"),
    ("stdin",          "hand the text or the bytes in"),
    ("stdout",         "return the text, or write to `impl Write`"),
    ("stderr",         "return an error"),
    ("println",        "return the text, or write to `impl Write`"),
    ("eprintln",       "return an error"),
    ("Mutex",          "the table has one writer, everything else is a value"),
];

/// Licences that ask nothing of who links the crate but to be named.
const LICENCES: [&str; 8] =
    ["Apache-2.0", "MIT", "BSD-3-Clause", "BSD-2-Clause", "ISC", "Zlib", "Unlicense", "Unicode-3.0"];

/// Least versions without a known advisory (rustsec.org, 2026-08-21); `None` where no version is without one.
#[rustfmt::skip]
const ADVISORIES: [(&str, Option<[u64; 3]>, &str); 16] = [
    ("bincode",            None,              "unmaintained"),
    ("bytes",              Some([1, 11, 1]),  "RUSTSEC-2026-0007"),
    ("crossbeam-channel",  Some([0, 5, 15]),  "RUSTSEC-2025-0024"),
    ("crossbeam-epoch",    Some([0, 9, 20]),  "RUSTSEC-2026-0204"),
    ("dashmap",            Some([5, 1, 0]),   "RUSTSEC-2022-0002"),
    ("fxhash",             None,              "unmaintained"),
    ("h2",                 Some([0, 4, 16]),  "RUSTSEC-2026-0258"),
    ("hickory-proto",      None,              "RUSTSEC-2026-0118, no fix"),
    ("protobuf",           Some([3, 7, 2]),   "RUSTSEC-2024-0437"),
    ("rustls",             Some([0, 23, 18]), "endless loop at accept"),
    ("rustls-webpki",      Some([0, 103, 13]), "name constraints"),
    ("scc",                Some([3, 8, 4]),   "RUSTSEC-2026-0205"),
    ("serde_yml",          None,              "unmaintained and unsound"),
    ("slab",               Some([0, 4, 11]),  "out of bounds access"),
    ("time",               Some([0, 3, 47]),  "RUSTSEC-2026-0009"),
    ("tracing-subscriber", Some([0, 3, 20]),  "RUSTSEC-2025-0055"),
];

#[test]
fn rooms_import_only_what_the_layout_allows() {
    let allowed: BTreeMap<&str, &[&str]> = ROOMS.into();
    let mut wrong = Vec::new();
    for (room, imports) in imports() {
        let Some(allowed) = allowed.get(room.as_str()) else {
            wrong.push(format!(
                "{room}: no room of the layout; give it a row in ROOMS and in docs/architecture.md"
            ));
            continue;
        };
        for import in imports {
            if let Some(import) = import.strip_prefix("portolan-")
                && !allowed.contains(&import)
            {
                wrong.push(format!(
                    "{room} imports {import}, it may import {}; move the code to a room downstream of both, or the \
                     type to flowtable if it is a field of an observation, a key or a conversation",
                    list(allowed)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn outside_crates_stay_in_their_rooms() {
    let rooms: BTreeMap<&str, &[&str]> = OUTSIDE.into();
    let mut wrong = Vec::new();
    for (room, imports) in imports() {
        for import in imports {
            if import.starts_with("portolan-") {
                continue;
            }
            match rooms.get(import.as_str()) {
                Some(rooms) if rooms.contains(&room.as_str()) => {}
                Some(rooms) => wrong.push(format!(
                    "{room} imports {import}, which belongs to {}; ask that room for what is needed",
                    list(rooms)
                )),
                None => wrong.push(format!(
                    "{room} imports {import}, a crate without a room; if nothing at hand does it, give it one in \
                     OUTSIDE and say why in the commit"
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_tables_name_nothing_that_is_not_there() {
    let imports = imports();
    for (room, _) in ROOMS {
        assert!(imports.contains_key(room), "ROOMS has a row for {room}, the workspace has no such room");
    }
    for (name, rooms) in OUTSIDE {
        for room in rooms.iter().filter(|room| **room != "benches") {
            assert!(
                imports[*room].contains(name),
                "OUTSIDE gives {name} to {room}, which does not import it: take it out of the table"
            );
        }
    }
}

#[test]
fn only_sys_may_be_unsafe() {
    let lint = |folder: &Path, path: [&str; 3]| -> Option<toml::Value> {
        let manifest = manifest(&folder.join("Cargo.toml"));
        path.iter().filter(|key| !key.is_empty()).try_fold(manifest, |table, key| table.get(key).cloned())
    };
    let workspace = manifest(&root().join("Cargo.toml"));
    assert_eq!(
        workspace["workspace"]["lints"]["rust"]["unsafe_code"].as_str(),
        Some("forbid"),
        "Cargo.toml: [workspace.lints.rust] must say unsafe_code = \"forbid\""
    );
    for (room, _) in ROOMS {
        let folder = root().join(room);
        match room {
            "sys" => {}
            // A test of its own may count allocations; the room itself may not.
            "benches" => assert_eq!(
                lint(&folder, ["lints", "rust", "unsafe_code"]),
                Some("deny".into()),
                "benches/Cargo.toml: [lints.rust] must say unsafe_code = \"deny\""
            ),
            room => assert_eq!(
                lint(&folder, ["lints", "workspace", ""]),
                Some(true.into()),
                "{room}/Cargo.toml: [lints] must say workspace = true, which forbids unsafe code; \
                 an unsafe line belongs to sys/, with its reason and its test"
            ),
        }
    }
    let with_unsafe: Vec<String> = sources(&root().join("benches"))
        .into_iter()
        .filter(|path| words(&read(path)).iter().any(|(_, word)| word == "unsafe"))
        .filter_map(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()))
        .collect();
    assert_eq!(
        with_unsafe,
        ["hot_path_allocates_nothing.rs"],
        "in benches/ only the counting allocator is unsafe; move the line to sys/"
    );
}

#[test]
fn pure_rooms_touch_nothing_outside() {
    let mut wrong = Vec::new();
    for room in PURE {
        for path in sources(&root().join(room).join("src")) {
            for (line, word) in words(&read(&path)) {
                if let Some((_, remedy)) = IMPURE.iter().find(|(impure, _)| *impure == word) {
                    let file = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
                    wrong.push(format!(
                        "{file}:{line}: `{word}` in {room}, which has no input, output, clock, thread or async; {remedy}"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_rooms_disallow_the_clock_to_clippy_too() {
    let root_settings = manifest(&root().join("clippy.toml"));
    for room in PURE {
        let path = root().join(room).join("clippy.toml");
        let settings = manifest(&path);
        // A room's own file replaces the root's.
        for (key, value) in root_settings.as_table().expect("a table") {
            assert_eq!(
                settings.get(key),
                Some(value),
                "{}: {key} must stand as in ../clippy.toml",
                path.display()
            );
        }
        for method in ["std::time::Instant::now", "std::time::SystemTime::now"] {
            let row = settings["disallowed-methods"]
                .as_array()
                .and_then(|rows| rows.iter().find(|row| row["path"].as_str() == Some(method)))
                .unwrap_or_else(|| panic!("{}: disallowed-methods must name {method}", path.display()));
            assert!(
                row["reason"].as_str().is_some_and(|reason| !reason.is_empty()),
                "{method} needs its reason"
            );
        }
    }
}

#[test]
fn licences_ask_only_to_be_named() {
    let mut wrong = Vec::new();
    for package in metadata()["packages"].as_array().expect("packages") {
        let (name, version) = (text(&package["name"]), text(&package["version"]));
        let licence = package["license"].as_str().unwrap_or("none stated");
        if !is_allowed(licence) {
            wrong.push(format!(
                "{name} {version} is under {licence}; allowed are {}: replace the crate, or argue for the licence",
                list(&LICENCES)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn licence_expressions_are_read() {
    #[rustfmt::skip]
    let cases = [
        ("MIT",                                            true),
        ("Apache-2.0 OR MIT",                              true),
        ("MIT/Apache-2.0",                                 true),
        ("Apache-2.0 / MIT",                               true),
        ("MIT OR Apache-2.0 OR LGPL-2.1-or-later",         true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0",            true),
        ("Apache-2.0 WITH LLVM-exception OR MIT",          true),
        ("LGPL-2.1-or-later",                              false),
        ("GPL-3.0-only",                                   false),
        ("MIT AND GPL-2.0-only",                           false),
        ("(MIT OR Apache-2.0) AND LGPL-3.0",               false),
        ("(MIT AND GPL-2.0-only) OR (GPL-3.0-only)",       false),
        ("Apache-2.0 WITH LLVM-exception",                 false),
        ("none stated",                                    false),
        ("",                                               false),
    ];
    for (licence, expected) in cases {
        assert_eq!(is_allowed(licence), expected, "{licence}");
    }
}

#[test]
fn no_crate_stands_below_its_advisory() {
    let mut wrong = Vec::new();
    for package in manifest(&root().join("Cargo.lock"))["package"].as_array().expect("packages") {
        let (name, version) = (&package["name"], &package["version"]);
        let (name, version) = (name.as_str().expect("a name"), version.as_str().expect("a version"));
        let Some((_, least, why)) = ADVISORIES.iter().find(|(listed, _, _)| *listed == name) else {
            continue;
        };
        match least {
            None => wrong.push(format!("Cargo.lock has {name} {version} ({why}): do without it")),
            Some(least) if numbers(version) < *least => wrong.push(format!(
                "Cargo.lock has {name} {version} ({why}): cargo update -p {name} to {} or later",
                least.map(|number| number.to_string()).join(".")
            )),
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn versions_compare_by_number() {
    assert!(numbers("0.4.9") < numbers("0.4.11"));
    assert!(numbers("1.0.0-rc.2+build") == [1, 0, 0]);
}

/// `deny.toml` is for those who run cargo-deny; it must not say anything else than this file.
#[test]
fn deny_toml_says_the_same() {
    let deny = manifest(&root().join("deny.toml"));
    let rooms: BTreeMap<&str, &[&str]> = OUTSIDE.into();
    let dependents = dependents();
    let mut doors = BTreeSet::new();
    for ban in deny["bans"]["deny"].as_array().expect("bans") {
        let name = ban["crate"].as_str().expect("a name");
        let Some(wrappers) = ban.get("wrappers").and_then(toml::Value::as_array) else {
            let is_advised = ADVISORIES.iter().any(|(listed, least, _)| *listed == name && least.is_none());
            assert!(is_advised, "deny.toml bans {name}, ADVISORIES does not");
            continue;
        };
        doors.insert(name);
        let wrappers: BTreeSet<&str> = wrappers.iter().filter_map(toml::Value::as_str).collect();
        let ours: BTreeSet<&str> =
            wrappers.iter().filter_map(|name| name.strip_prefix("portolan-")).collect();
        let expected: BTreeSet<&str> =
            rooms.get(name).into_iter().flat_map(|rooms| rooms.iter().copied()).collect();
        assert_eq!(ours, expected, "deny.toml and OUTSIDE disagree about the rooms of {name}");
        for dependent in dependents.get(name).into_iter().flatten() {
            assert!(wrappers.contains(dependent.as_str()), "{dependent} uses {name}: deny.toml must list it");
        }
    }
    for door in
        ["pcap", "pnet", "etherparse", "bollard", "dashmap", "prometheus", "clap", "indicatif", "rtrb"]
    {
        assert!(doors.contains(door), "deny.toml must say which room {door} belongs to");
    }
    let licences: BTreeSet<&str> = deny["licenses"]["allow"]
        .as_array()
        .expect("licences")
        .iter()
        .filter_map(toml::Value::as_str)
        .collect();
    assert_eq!(licences, LICENCES.into(), "deny.toml and LICENCES disagree");
}

#[test]
fn words_are_read_off_code_alone() {
    #[rustfmt::skip]
    let cases: [(&str, &[&str]); 8] = [
        ("use std::{fs, io};",                       &["use", "std", "fs", "io"]),
        ("a // fs\nb /* fs /* fs */ fs */ c",        &["a", "b", "c"]),
        (r#"x("std::fs // \" fs", fs)"#,             &["x", "fs"]),
        ("y(r#\"fs \" fs\"#, fs)",                   &["y", "fs"]),
        ("z('\"', fs, '\\'', '\\\\', fs)",           &["z", "fs", "fs"]),
        ("impl<'a> T<'a> { fs }",                    &["impl", "a", "T", "a", "fs"]),
        ("b\"fs\" + c\"fs\" + offs",                 &["b", "c", "offs"]),
        ("//! fs\n/// fs\nd",                        &["d"]),
    ];
    for (code, expected) in cases {
        let found: Vec<String> = words(code).into_iter().map(|(_, word)| word).collect();
        assert_eq!(found, expected, "{code}");
    }
    assert_eq!(words("a\n\n\"\n\"b")[1].0, 4, "lines are counted through texts");
}

/// Returns what each room imports to build its library or binary: other rooms and outside crates.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in metadata()["packages"].as_array().expect("packages") {
        let Some(room) = package["name"].as_str().and_then(|name| name.strip_prefix("portolan-")) else {
            continue;
        };
        let imported = imports.entry(room.to_owned()).or_default();
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            if dependency["kind"].as_str() != Some("dev") {
                imported.insert(text(&dependency["name"]));
            }
        }
    }
    imports
}

/// Returns who uses each crate directly, for tests too.
fn dependents() -> BTreeMap<String, BTreeSet<String>> {
    let lock = manifest(&root().join("Cargo.lock"));
    let mut dependents: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in lock["package"].as_array().expect("packages") {
        let user = package["name"].as_str().expect("a name");
        for used in package.get("dependencies").and_then(toml::Value::as_array).into_iter().flatten() {
            // `name`, or `name version` where the lock file holds several.
            let used = used.as_str().and_then(|used| used.split(' ').next()).expect("a dependency");
            dependents.entry(used.to_owned()).or_default().insert(user.to_owned());
        }
    }
    dependents
}

/// Returns what cargo says of the workspace and of what is built here.
fn metadata() -> &'static Value {
    static METADATA: OnceLock<Value> = OnceLock::new();
    METADATA.get_or_init(|| {
        let rustc = Command::new("rustc").arg("-vV").output().expect("rustc starts");
        let version = String::from_utf8(rustc.stdout).expect("UTF-8");
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
        // Crates of other systems need not be there: a test fetches nothing.
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", host])
            .current_dir(root())
            .output()
            .expect("cargo starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    })
}

/// Returns whether a licence expression (SPDX, or the older form with a stroke) can be met by allowed licences.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.trim();
    if let Some((left, right)) = split_outside(expression, " OR ").or_else(|| split_outside(expression, "/"))
    {
        return is_allowed(left) || is_allowed(right);
    }
    if let Some((left, right)) = split_outside(expression, " AND ") {
        return is_allowed(left) && is_allowed(right);
    }
    match expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => is_allowed(inner),
        None => LICENCES.contains(&expression),
    }
}

/// Splits at the first `separator` that stands in no parentheses.
fn split_outside<'a>(text: &'a str, separator: &str) -> Option<(&'a str, &'a str)> {
    let mut depth = 0;
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && text[at..].starts_with(separator) => {
                return Some((&text[..at], &text[at + separator.len()..]));
            }
            _ => {}
        }
    }
    None
}

fn numbers(version: &str) -> [u64; 3] {
    let release = version.split(['-', '+']).next().unwrap_or_default();
    let mut parts = release.split('.').map(|part| part.parse().expect("a number"));
    [0; 3].map(|_| parts.next().unwrap_or(0))
}

/// Returns the words of a Rust source with their lines, without comments, texts and letters.
fn words(code: &str) -> Vec<(usize, String)> {
    let mut words = Vec::new();
    let letters: Vec<char> = code.chars().collect();
    let is = |at: usize, text: &str| text.chars().enumerate().all(|(i, it)| letters.get(at + i) == Some(&it));
    let mut at = 0;
    let mut line = 1;
    while let Some(&letter) = letters.get(at) {
        let from = at;
        if is(at, "//") {
            at += letters[at..].iter().take_while(|it| **it != '\n').count();
        } else if is(at, "/*") {
            let mut depth = 0;
            while at < letters.len() {
                if is(at, "/*") {
                    (depth, at) = (depth + 1, at + 2);
                } else if is(at, "*/") {
                    (depth, at) = (depth - 1, at + 2);
                } else {
                    at += 1;
                }
                if depth == 0 {
                    break;
                }
            }
        } else if letter == '"' {
            at += 1;
            while at < letters.len() && letters[at] != '"' {
                at += if letters[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if letter == 'r' && raw_hashes(&letters[at + 1..]).is_some() {
            let hashes = raw_hashes(&letters[at + 1..]).unwrap_or(0);
            let end = format!("\"{}", "#".repeat(hashes));
            at += hashes + 2;
            while at < letters.len() && !is(at, &end) {
                at += 1;
            }
            at += end.len();
        } else if letter == '\'' && letters.get(at + 1) == Some(&'\\') {
            at += 3;
            at += letters.iter().skip(at).take_while(|it| **it != '\'').count() + 1;
        } else if letter == '\'' && letters.get(at + 2) == Some(&'\'') {
            at += 3;
        } else if letter == '_' || letter.is_alphanumeric() {
            at += letters[at..].iter().take_while(|it| **it == '_' || it.is_alphanumeric()).count();
            words.push((line, letters[from..at].iter().collect()));
        } else {
            at += 1;
        }
        line += letters[from..at.min(letters.len())].iter().filter(|it| **it == '\n').count();
    }
    words
}

/// Returns how many `#` open a raw text here, after its `r`.
fn raw_hashes(letters: &[char]) -> Option<usize> {
    let hashes = letters.iter().take_while(|it| **it == '#').count();
    (letters.get(hashes) == Some(&'"')).then_some(hashes)
}

/// Returns the Rust sources below a folder, in order.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn manifest(path: &Path) -> toml::Value {
    let table: toml::Table =
        toml::from_str(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    toml::Value::Table(table)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "no room".to_owned() } else { names.join(", ") }
}
