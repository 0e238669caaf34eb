//! What fuzzing starts from: the captures, rosters and contracts of `pcaps/`, and a few made here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use portolan_capture::{Frame, MergedFiles, ParseOptions, Polled, Tap, parse};
use portolan_daemon::cli::ReadArgs;
use portolan_daemon::config::Config;
use portolan_daemon::journal::{Begin, EndRow, Entry, FORM, Row, TickRow, TurnRow};
use portolan_daemon::replay::{Knowledge, Request, replay};
use portolan_flowtable::{Limits, Network, NonIp, Timestamp};
use portolan_identity::{PictureRecord, Roster};

use super::capture::LINKS;
use super::named;

/// Largest file taken as it is.
const FILE_BYTES_MAX: u64 = 16 * 1024;
/// Most bytes taken of a frame: headers, and a little more.
const FRAME_BYTES_MAX: usize = 200;
/// Frames taken of each kind.
const OF_A_KIND: usize = 3;

/// Writes seeds for every target into folders below `into`; returns how many for each.
pub fn write(repository: &Path, into: &Path) -> BTreeMap<&'static str, usize> {
    let mut seeds: BTreeMap<&'static str, BTreeSet<Vec<u8>>> = BTreeMap::new();
    let mut add = |target: &'static str, bytes: Vec<u8>| {
        seeds.entry(target).or_default().insert(bytes);
    };
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for path in files(&repository.join("pcaps")) {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let is_small = fs::metadata(&path).is_ok_and(|it| it.len() <= FILE_BYTES_MAX);
        let is_of_expected = path.parent().is_some_and(|folder| folder.ends_with("expected"));
        let bytes = || fs::read(&path).expect("a file that was listed");
        match ending {
            "toml" if is_small => {
                add("roster", bytes());
                add("contract", bytes());
            }
            "json" if !is_of_expected => add("docker_json", bytes()),
            "json" | "md" | "tsv" | "py" | "txt" | "ndjson" | "prom" | "dot" | "mmd" | "toml" => {}
            _ => {
                if is_small {
                    add("capture_file", bytes());
                }
                for seed in frames(&path, &mut kinds) {
                    add("frame", seed.clone());
                    add("dns", seed.clone());
                    add("fast_path", seed);
                }
            }
        }
    }
    for fixture in files(&repository.join("identity/tests/fixtures")) {
        add("docker_json", fs::read(&fixture).expect("a file that was listed"));
    }
    add("config", fs::read(repository.join("daemon/portolan.toml")).expect("the sample"));
    add("config", toml::to_string(&Config::default()).expect("TOML").into_bytes());
    for seed in pictures(repository) {
        add("journal", journal(&seed));
        add("picture", seed);
    }
    add("journal", journal(b"{}"));
    for seed in results(repository) {
        add("result", seed);
    }
    for target in ["exposition", "graph_outputs", "terminal"] {
        for names in named::hostile().chunks(4) {
            add(target, names.iter().flat_map(|name| spelled(name)).collect());
        }
    }
    // Two questions and what answers them, as after UDP's header and after TCP's.
    for message in DNS {
        add("dns", message.to_vec());
        let length = u16::try_from(message.len()).unwrap_or_default().to_be_bytes();
        add("dns", [&length, message, &length, message].concat());
    }
    for request in REQUESTS {
        add("http_request", request.as_bytes().to_vec());
    }
    for seed in 0..40 {
        let mut dice = super::mutate::Dice::new(seed);
        let length = 200 + dice.below(2_000);
        add("flow_table", (0..length).map(|_| u8::try_from(dice.below(256)).unwrap_or_default()).collect());
    }
    for (target, seeds) in &seeds {
        let folder = into.join(target);
        fs::create_dir_all(&folder).expect("a folder for seeds");
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(format!("{number:05}")), seed).expect("room for seeds");
        }
    }
    seeds.into_iter().map(|(target, seeds)| (target, seeds.len())).collect()
}

const DNS: [&[u8]; 3] = [
    b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03api\x07example\x03com\x00\x00\x01\x00\x01",
    b"\x00\x07\x81\x80\x00\x01\x00\x02\x00\x00\x00\x00\x03api\x07example\x03com\x00\x00\x01\x00\x01\
      \xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x07\x04edge\xc0\x10\
      \xc0\x2d\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xcb\x00\x71\x09",
    b"\x00\x08\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x01a\x00\x00\x1c\x00\x01\
      \xc0\x0c\x00\x1c\x00\x01\xff\xff\xff\xff\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01",
];

const REQUESTS: [&str; 14] = [
    "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n",
    "GET /map.css HTTP/1.0\r\n\r\n",
    "GET /api/v1/graph?format=dot&group=container HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /api/v1/graph?format=json&group=service HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /api/v1/flows?limit=10&after=3 HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /api/v1/findings HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "GET /api/v1/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer abcdefghijklmnopqrst\r\n\r\n",
    "GET /api/v1/publication HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\nGET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n",
    "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nOrigin: http://evil\r\n\r\n",
];

fn spelled(name: &str) -> Vec<u8> {
    let end = name.char_indices().map(|(at, _)| at).chain([name.len()]).filter(|at| *at < 256).max();
    let name = &name[..end.unwrap_or(0)];
    [&[u8::try_from(name.len()).unwrap_or(u8::MAX)][..], name.as_bytes()].concat()
}

/// Frames of a capture as the targets take them, few of each kind.
fn frames(path: &Path, kinds: &mut BTreeMap<String, usize>) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let Ok(mut tap) = MergedFiles::open(&[path.display().to_string()]) else { return seeds };
    let mut each = |frame: &Frame<'_>| {
        let link = LINKS.iter().position(|link| *link == frame.link).unwrap_or(LINKS.len() - 1);
        let innermost = parse(frame, &ParseOptions { innermost: true, fingerprint: false });
        let kind = match parse(frame, &ParseOptions::default()) {
            Err(error) => format!("{link} {error}"),
            Ok(seen) => match seen.network {
                Network::NonIp(NonIp::Arp(_)) => format!("{link} Arp"),
                Network::NonIp(NonIp::Other) => format!("{link} Other"),
                Network::Ip(packet) => format!(
                    "{link} {} {} {:?} {} {} {} {:?}",
                    packet.source.is_ipv4(),
                    packet.protocol,
                    std::mem::discriminant(&packet.fragment),
                    packet.vlan.is_some(),
                    packet.is_tunnel,
                    packet.icmp.is_some_and(|icmp| icmp.quoted.is_some()),
                    innermost.map(|_| ()).map_err(|error| error.to_string())
                ),
            },
        };
        let known = kinds.entry(kind).or_default();
        if *known < OF_A_KIND {
            *known += 1;
            let link = u8::try_from(link).unwrap_or_default();
            seeds.push([&[link, 0][..], &frame.bytes[..frame.bytes.len().min(FRAME_BYTES_MAX)]].concat());
        }
    };
    while let Ok(Polled::Frames(_)) = tap.poll(&mut each) {}
    seeds
}

/// Pictures of the rosters, and what leads from one to the other, on a line each.
fn pictures(repository: &Path) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut before = PictureRecord::default();
    for path in files(&repository.join("pcaps")) {
        if !path.file_name().is_some_and(|name| name == "docker-inspect.json" || name == "roster.toml") {
            continue;
        }
        // By no path of this machine: what is kept of it goes into the repository.
        let bytes = fs::read(&path).expect("a file that was listed");
        let Ok(file) = Roster::parse("roster.toml", &bytes) else { continue };
        let roster = Roster::merge(vec![file]);
        let record = PictureRecord::of(&roster.picture_at(Timestamp(i64::MAX - 1), 3));
        let texts = [
            serde_json::to_vec(&before).expect("JSON"),
            serde_json::to_vec(&before.patch_to(&record)).expect("JSON"),
        ];
        seeds.push(texts.join(&b'\n'));
        before = record;
    }
    seeds
}

/// A journal whose picture is the last line of `pictures`.
fn journal(pictures: &[u8]) -> Vec<u8> {
    let begin = Begin {
        journal: FORM,
        version: "0.1.0".to_owned(),
        host: "web-03".to_owned(),
        started_at: Timestamp(1_700_000_000_000_000_000),
        interface: String::new(),
        only: String::new(),
        kept: "headers".to_owned(),
        seed: 7,
        limits: Limits { flows_max: 64, ..Limits::default() },
        withhold: 5 * Timestamp::SECOND,
        flows_kept: 100,
        heartbeat_seconds: 60,
        dns_names: true,
        contracts: Vec::new(),
    };
    let changes = pictures.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let changes = serde_json::from_slice(changes).unwrap_or_default();
    let tick = TickRow { now: Some(Timestamp(1_700_000_001_000_000_000)), ..TickRow::default() };
    let turn = TurnRow {
        at: Timestamp(1_700_000_001_000_000_000),
        picture: Some(1),
        received: 40,
        ..TurnRow::default()
    };
    let rows = [
        (1, Entry::Begin(Box::new(begin))),
        (1, Entry::File { name: "shop.pcapng".to_owned() }),
        (1, Entry::Picture { number: 1, changes: Box::new(changes) }),
        (2, Entry::Roles { picture: 1 }),
        (9, Entry::Drain {}),
        (20, Entry::Tick(tick.clone())),
        (20, Entry::Turn(Box::new(turn.clone()))),
        (41, Entry::Settle(tick)),
        (41, Entry::Turn(Box::new(turn))),
        (41, Entry::End(EndRow { frames: 40, ..EndRow::default() })),
    ];
    rows.into_iter().fold(Vec::new(), |mut text, (before, entry)| {
        text.extend(serde_json::to_vec(&Row { before, entry }).expect("JSON"));
        text.push(b'\n');
        text
    })
}

/// Results: of names, and of a small capture.
fn results(repository: &Path) -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = ["web", "a\"\n\u{1b}[31m"]
        .into_iter()
        .map(|name| serde_json::to_vec(&named::of(&[name.to_owned(), "shop".to_owned()])).expect("JSON"))
        .collect();
    for case in ["port-scan", "spoofed-source", "fragments"] {
        let folder = repository.join("pcaps").join(case);
        let Some(file) =
            files(&folder).into_iter().find(|path| path.file_stem().is_some_and(|name| name == "capture"))
        else {
            continue;
        };
        let files = [file];
        let read = ReadArgs { flows_max: 64, flows_kept: 3, ..ReadArgs::default() };
        let request = Request {
            files: &files,
            knowledge: &Knowledge::default(),
            read: &read,
            conversations: None,
            shows_progress: false,
            each_turn: None,
        };
        let replayed = replay(&request).unwrap_or_else(|failure| panic!("{}", failure.message));
        seeds.push(serde_json::to_vec(&replayed.publication).expect("JSON"));
    }
    seeds
}

/// Every file below a folder, in order.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
