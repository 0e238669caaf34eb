//! `portolan record`: what was answered live is answered again from the recording, and a recording that was cut off
//! says where it ends.

use std::fs;
use std::net::SocketAddrV4;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::bridge::BridgeLab;
use crate::daemon::PATIENCE;
use crate::engine::Lab;
use crate::namespace::{Namespace, output};
use crate::traffic::{call, send_datagrams, sink};

/// What every payload of the bridge's traffic says; no recording of headers may hold it.
const SECRET: &str = "xxxxxxxxxxxxxxxx";

/// A running `portolan record`, and the folder it writes to.
pub(crate) struct Recorder {
    child: Child,
    pub(crate) folder: PathBuf,
    _kept: TempDir,
}

/// How it ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) errors: String,
}

impl Recorder {
    /// Starts it, with every output it has, and waits until it captures.
    pub(crate) fn start(at: &Namespace, docker_socket: &str, bridges: &str, arguments: &[&str]) -> Self {
        let kept =
            tempfile::Builder::new().prefix("portolan-record-").tempdir_in("/tmp").expect("a directory");
        let folder = kept.path().to_owned();
        Self::start_in(at, docker_socket, bridges, arguments, folder, kept)
    }

    fn start_in(
        at: &Namespace,
        docker_socket: &str,
        bridges: &str,
        arguments: &[&str],
        folder: PathBuf,
        kept: TempDir,
    ) -> Self {
        let configuration = kept.path().join("portolan.toml");
        fs::write(
            &configuration,
            format!(
                "[identity]\nbridges = [{bridges}]\ndocker_socket = \"{docker_socket}\"\n\
                 [daemon]\ntick_milliseconds = 200\n"
            ),
        )
        .expect("a configuration");
        let child = at
            .command(env!("CARGO_BIN_EXE_portolan"))
            .arg("record")
            .arg("--config")
            .arg(&configuration)
            .arg("--write")
            .arg(folder.join("live.pcapng"))
            .arg("--events")
            .arg(folder.join("live.ndjson"))
            .arg("--output")
            .arg(folder.join("live.result"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(kept.path().join("errors")).expect("a file for its errors"))
            .spawn()
            .expect("portolan starts");
        let mut recorder = Self { child, folder, _kept: kept };
        recorder.eventually("it captures", |folder| {
            fs::read_to_string(folder.join("live.journal.ndjson"))
                .is_ok_and(|text| text.contains("\"roles\""))
                && fs::read_to_string(folder.join("live.journal.ndjson"))
                    .is_ok_and(|text| text.contains("\"turn\""))
        });
        recorder
    }

    fn eventually(&mut self, what: &str, holds: impl Fn(&Path) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&self.folder) {
            assert!(self.child.try_wait().expect("a child").is_none(), "{what}: it ended: {}", self.errors());
            assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}: {}", self.errors());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn errors(&self) -> String {
        fs::read_to_string(self._kept.path().join("errors")).expect("its errors")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("a process of ours");
    }

    pub(crate) fn ended(&mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().expect("a child of ours") {
                Some(status) => break status,
                None => assert!(Instant::now() < deadline, "it does not end: {}", self.errors()),
            }
            thread::sleep(Duration::from_millis(5));
        };
        Ended { code: status.code(), errors: self.errors() }
    }

    fn capture(&self) -> PathBuf {
        self.folder.join("live.pcapng")
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Replays captures into a result and an event log; returns both, and what was said.
pub(crate) fn replay(files: &[PathBuf], threads: &str) -> (Value, String, String) {
    let folder = tempfile::tempdir().expect("a directory");
    let result = folder.path().join("again.result");
    let replayed = Command::new(env!("CARGO_BIN_EXE_portolan"))
        .arg("replay")
        .args(files)
        .args(["--format", "ndjson", "--threads", threads, "--output"])
        .arg(&result)
        .output()
        .expect("portolan runs");
    let said = String::from_utf8_lossy(&replayed.stderr).into_owned();
    assert_eq!(replayed.status.code(), Some(0), "{said}");
    (read(&result), String::from_utf8(replayed.stdout).expect("events are UTF-8"), said)
}

pub(crate) fn read(result: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(result).expect("a result")).expect("JSON")
}

/// Copies the recording's two files to a folder of their own, as one would to another machine.
pub(crate) fn carried(recorder: &Recorder, to: &TempDir) -> PathBuf {
    for name in ["live.pcapng", "live.journal.ndjson"] {
        fs::copy(recorder.folder.join(name), to.path().join(name)).expect("a copy");
    }
    to.path().join("live.pcapng")
}

fn assert_same(recorder: &Recorder, threads: &str) {
    let elsewhere = tempfile::tempdir().expect("a directory");
    let copy = carried(recorder, &elsewhere);
    let live = read(&recorder.folder.join("live.result"));
    let (again, events, said) = replay(&[copy], threads);
    assert!(said.contains("live.journal.ndjson"), "{said}");
    for part in ["flows", "graph", "assessment", "documented_edges", "vitals"] {
        let differences = differences(part, &live[part], &again[part]);
        assert!(differences.is_empty(), "live and again:\n{}", differences.join("\n"));
    }
    let told = fs::read_to_string(recorder.folder.join("live.ndjson")).expect("events");
    for (at, (one, other)) in told.lines().zip(events.lines()).enumerate() {
        assert_eq!(one, other, "event {at}");
    }
    assert_eq!(told.lines().count(), events.lines().count(), "events");
}

/// Returns where two answers differ, a line each.
fn differences(at: &str, one: &Value, other: &Value) -> Vec<String> {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            let of = |object: &serde_json::Map<String, Value>, key: &str| {
                object.get(key).cloned().unwrap_or_default()
            };
            keys.into_iter()
                .flat_map(|key| differences(&format!("{at}.{key}"), &of(one, key), &of(other, key)))
                .collect()
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => one
            .iter()
            .zip(other)
            .enumerate()
            .flat_map(|(index, (one, other))| differences(&format!("{at}[{index}]"), one, other))
            .collect(),
        _ if one == other => Vec::new(),
        _ => vec![format!("{at}: {one} and {other}").chars().take(600).collect()],
    }
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn a_recorded_shop_gives_the_same_answers_again() {
    let lab = Lab::up();
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps/shop/contract.toml");
    let socket = lab.docker_socket().to_string_lossy().into_owned();
    let mut recorder =
        Recorder::start(&lab.host(), &socket, "", &["--contract", &contract.to_string_lossy()]);
    lab.shop("start");
    lab.shop("traffic");
    thread::sleep(Duration::from_secs(2));
    recorder.signal(Signal::TERM);
    let ended = recorder.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);

    for threads in ["1", "2", "4"] {
        assert_same(&recorder, threads);
    }
    let live = read(&recorder.folder.join("live.result"));
    let findings = live["assessment"]["findings"].as_array().expect("findings").len();
    let edges = live["graph"]["edges"].as_array().expect("edges").len();
    assert_eq!(findings, 5, "{}", live["assessment"]["findings"]);
    assert!(edges >= 23, "{edges} edges");

    // The packets of each finding, out of the recording: as many as the finding rests on, and what forged ones provoked.
    for finding in live["assessment"]["findings"].as_array().expect("findings") {
        let id = finding["id"].as_str().expect("an id");
        let cut = recorder.folder.join(format!("{id}.pcapng"));
        let said = Command::new(env!("CARGO_BIN_EXE_portolan"))
            .args(["cut", "--finding", id, "-w"])
            .args([&cut, &recorder.capture()])
            .output()
            .expect("portolan runs");
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        let own = finding["frames"].as_u64().expect("frames");
        if finding["kind"] == "undocumented_listener" {
            assert!(said.contains("shop/metrics:8126/tcp rests on no packet"), "{said}");
            continue;
        }
        let frames = if finding["kind"] == "spoofed_source" { 3 * own } else { own };
        assert!(said.contains(&format!("wrote {frames} of ")), "{id}, {frames} frames: {said}");
    }

    // Everybody's own veth is in the capture by name, with what hangs on it.
    let capture = fs::read(recorder.capture()).expect("a capture");
    let text = String::from_utf8_lossy(&capture);
    for said in ["container shop-web-1 (shop/web), network shop_front", "bridge, network shop_back", "veth"] {
        assert!(text.contains(said), "{said}");
    }
    for name in ["live.pcapng", "live.journal.ndjson", "live.graph.json"] {
        let mode = fs::metadata(recorder.folder.join(name)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let own: Value =
        serde_json::from_str(&fs::read_to_string(recorder.folder.join("live.graph.json")).expect("a graph"))
            .expect("JSON");
    assert_eq!(own["edges"].as_array().expect("edges").len(), edges);
}

#[test]
#[ignore = "needs root"]
fn no_payload_is_in_a_recording_of_headers_and_all_of_it_where_it_was_asked_for() {
    for (arguments, is_kept) in [(&[][..], false), (&["--payload"][..], true)] {
        let lab = BridgeLab::up(2);
        let mut recorder = on_bridge(&lab, arguments);
        talk(&lab, 20);
        recorder.signal(Signal::TERM);
        assert_eq!(recorder.ended().code, Some(0), "{}", recorder.errors());
        for name in ["live.pcapng", "live.journal.ndjson", "live.ndjson", "live.graph.json", "live.result"] {
            let bytes = fs::read(recorder.folder.join(name)).expect("a file");
            let holds = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
            assert_eq!(holds, is_kept && name == "live.pcapng", "{name}, {arguments:?}");
        }
        assert_same(&recorder, "1");
    }
}

#[test]
#[ignore = "needs root"]
fn parts_of_a_recording_replay_as_one_and_a_missing_one_is_named() {
    let lab = BridgeLab::up(2);
    let mut recorder = on_bridge(&lab, &["--rotate", "64k"]);
    talk(&lab, 2_000);
    recorder.signal(Signal::TERM);
    assert_eq!(recorder.ended().code, Some(0), "{}", recorder.errors());
    let mut parts: Vec<PathBuf> = fs::read_dir(&recorder.folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "pcapng"))
        .collect();
    parts.sort();
    assert!(parts.len() > 2, "{parts:?}");
    let live = read(&recorder.folder.join("live.result"));
    // In whatever order they are given.
    parts.rotate_left(1);
    let (again, ..) = replay(&parts, "2");
    assert_eq!(live["flows"], again["flows"]);
    assert_eq!(live["assessment"], again["assessment"]);

    parts.sort();
    let missing = parts.remove(1);
    let refused =
        Command::new(env!("CARGO_BIN_EXE_portolan")).arg("replay").args(&parts).output().expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let name = missing.file_name().expect("a name").to_string_lossy().into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains(&name) && said.contains("--no-journal"), "{said}");
}

#[test]
#[ignore = "needs root"]
fn a_recording_that_was_killed_replays_and_says_where_it_ends() {
    let lab = BridgeLab::up(2);
    let mut recorder = on_bridge(&lab, &[]);
    talk(&lab, 200);
    // What was written until then is on the disk; half a second is the most that may be missing.
    thread::sleep(Duration::from_millis(800));
    recorder.signal(Signal::KILL);
    assert_eq!(recorder.ended().code, None);
    let (again, _, said) = replay(&[recorder.capture()], "1");
    assert!(said.contains("without an end: whoever wrote it was stopped"), "{said}");
    let completeness = &again["assessment"]["snapshot"]["completeness"];
    assert_eq!(completeness["state"], "incomplete");
    assert!(
        completeness["reasons"][0].as_str().expect("a reason").contains("the recording ends with frame"),
        "{completeness}"
    );
    let metered = again["assessment"]["snapshot"]["ledger"]["metered"]["frames"].as_u64().expect("frames");
    assert!(metered >= 200, "{metered}");
    assert_eq!(again["vitals"]["residual_frames"], 0);

    // Cut anywhere, it still replays: in the middle of a frame, of a row, or one of the two far behind the other.
    let whole = fs::read(recorder.capture()).expect("a capture");
    let journal = fs::read(recorder.folder.join("live.journal.ndjson")).expect("a journal");
    for (capture_bytes, journal_bytes) in
        [(whole.len() - 7, journal.len()), (whole.len() / 2, journal.len()), (whole.len(), journal.len() - 9)]
    {
        let folder = tempfile::tempdir().expect("a directory");
        let capture = folder.path().join("live.pcapng");
        fs::write(&capture, &whole[..capture_bytes]).expect("a copy");
        fs::write(folder.path().join("live.journal.ndjson"), &journal[..journal_bytes]).expect("a copy");
        let replayed = Command::new(env!("CARGO_BIN_EXE_portolan"))
            .arg("replay")
            .arg(&capture)
            .output()
            .expect("it runs");
        let report = String::from_utf8_lossy(&replayed.stdout).into_owned();
        assert!(
            report.starts_with("incomplete:") && report.contains("the recording ends with frame"),
            "{report}"
        );
    }
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_ends_a_recording_in_good_order() {
    let lab = BridgeLab::up(2);
    let kept = tempfile::Builder::new().prefix("portolan-record-").tempdir_in("/tmp").expect("a directory");
    let folder = kept.path().join("small");
    fs::create_dir(&folder).expect("a folder");
    let disk = Mounted::new(&folder, "2m");
    let mut recorder =
        Recorder::start_in(lab.host(), "/nowhere/docker.sock", &bridges(), &[], folder.clone(), kept);
    let other = lab.members()[1].clone();
    let _sink = sink(&other.namespace, 9_000);
    let mut sent = 0;
    while recorder.child.try_wait().expect("a child").is_none() {
        assert!(sent < 2_000_000, "the disk does not fill up");
        send_datagrams(&lab.members()[0].namespace, SocketAddrV4::new(other.address, 9_000), 1_000, 10);
        sent += 1_000;
    }
    let ended = recorder.ended();
    assert_eq!(ended.code, Some(1), "{}", ended.errors);
    assert!(ended.errors.contains("no space left on the disk"), "{}", ended.errors);
    let (again, _, said) = replay(&[recorder.capture()], "1");
    assert!(
        said.contains("the recording ends with frame") && said.contains("no space left on the disk"),
        "{said}"
    );
    assert_eq!(again["vitals"]["residual_frames"], 0);
    let metered = again["assessment"]["snapshot"]["ledger"]["metered"]["frames"].as_u64().expect("frames");
    assert!(metered > 5_000 && metered < sent, "{metered} of {sent}");
    drop(recorder);
    drop(disk);
}

#[test]
#[ignore = "needs root"]
fn an_edge_alone_is_recorded_and_the_rest_is_counted() {
    let lab = BridgeLab::up(3);
    let [one, two, three] = [0, 1, 2].map(|at| lab.members()[at].clone());
    let edge = format!("{} -> {}:9000/udp", one.address, two.address);
    let mut recorder = on_bridge(&lab, &["--edge", &edge]);
    let _sinks = [&two, &three].map(|member| sink(&member.namespace, 9_000));
    send_datagrams(&one.namespace, SocketAddrV4::new(two.address, 9_000), 30, 10);
    send_datagrams(&one.namespace, SocketAddrV4::new(three.address, 9_000), 50, 10);
    thread::sleep(Duration::from_millis(500));
    recorder.signal(Signal::TERM);
    assert_eq!(recorder.ended().code, Some(0), "{}", recorder.errors());
    let (again, ..) = replay(&[recorder.capture()], "1");
    let flows = again["flows"].as_array().expect("flows");
    assert_eq!(flows.len(), 1, "{flows:?}");
    assert_eq!(flows[0]["sent"]["frames"], 30);
    let live = read(&recorder.folder.join("live.result"));
    let ledger = |of: &Value, name: &str| of["assessment"]["snapshot"]["ledger"][name]["frames"].clone();
    assert_eq!(ledger(&live, "metered"), 80);
    assert_eq!(ledger(&live, "delivered"), ledger(&again, "delivered"));
}

/// A small file system in memory, for a disk that fills up.
struct Mounted(PathBuf);

impl Mounted {
    fn new(at: &Path, size: &str) -> Self {
        output(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at));
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a test that fails may still hold files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn bridges() -> String {
    format!("\"{}\"", BridgeLab::BRIDGE)
}

fn on_bridge(lab: &BridgeLab, arguments: &[&str]) -> Recorder {
    Recorder::start(lab.host(), "/nowhere/docker.sock", &bridges(), arguments)
}

/// So many datagrams one way, and a tenth as many connections.
fn talk(lab: &BridgeLab, times: u32) {
    let [one, two] = [0, 1].map(|at| lab.members()[at].clone());
    let _sink = sink(&two.namespace, 9_000);
    send_datagrams(&one.namespace, SocketAddrV4::new(two.address, 9_000), times, 100);
    call(&one.namespace, &two.namespace, SocketAddrV4::new(two.address, 9_001), times.div_ceil(10), 200, 300);
    thread::sleep(Duration::from_millis(500));
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn an_edge_through_a_published_port_is_recorded_as_the_report_prints_it() {
    for (edge, ends, connections) in [
        ("batch -> web:80/tcp  via host:8080", ("shop/batch", "shop/web"), 5),
        ("external -> web:80/tcp  via host:8080", ("external", "shop/web"), 31),
    ] {
        let lab = Lab::up();
        let socket = lab.docker_socket().to_string_lossy().into_owned();
        lab.shop("start");
        let mut recorder = Recorder::start(&lab.host(), &socket, "", &["--edge", edge]);
        lab.shop("traffic");
        thread::sleep(Duration::from_secs(2));
        recorder.signal(Signal::TERM);
        assert_eq!(recorder.ended().code, Some(0), "{}", recorder.errors());
        let (again, _, said) = replay(&[recorder.capture()], "1");
        let of = |result: &Value| -> Vec<Value> {
            let edges = result["graph"]["edges"].as_array().expect("edges").iter();
            let of = edges.filter(|it| (&it["source"], &it["target"]) == (&ends.0.into(), &ends.1.into()));
            of.filter(|it| it["port"]["port"] == 80).cloned().collect()
        };
        let (live, recorded) = (of(&read(&recorder.folder.join("live.result"))), of(&again));
        assert_eq!(live.len(), 1, "{edge}: {live:?}");
        assert_eq!(recorded.len(), 1, "{edge}: {said}");
        for of in ["sent", "received", "connections", "via"] {
            assert_eq!(live[0][of], recorded[0][of], "{edge}: {of}");
        }
        assert_eq!(live[0]["connections"]["answered"], connections, "{edge}");
        // Of what batch also says to web, ping, nothing is there, and nothing of anybody else's.
        let strangers = again["graph"]["edges"].as_array().expect("edges").iter();
        let strangers: Vec<&Value> = strangers.filter(|it| it["target"] != "shop/web").collect();
        assert!(strangers.is_empty(), "{edge}: {strangers:?}");
        let cut = recorder.folder.join("cut.pcapng");
        let said = Command::new(env!("CARGO_BIN_EXE_portolan"))
            .args(["cut", "--edge", edge, "-w"])
            .args([&cut, &recorder.capture()])
            .output()
            .expect("portolan runs");
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        let frames = |of: &str| live[0][of]["frames"].as_u64().expect("frames");
        let frames = frames("sent") + frames("received");
        assert!(said.contains(&format!("wrote {frames} of ")), "{edge}, {frames} frames: {said}");
    }
}
