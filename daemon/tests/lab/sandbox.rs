//! What a running daemon has given up, and that it does all it is for without it.
#![allow(clippy::print_stdout, reason = "the state of a process is what the tests are to show")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddrV4;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::bridge::BridgeLab;
use crate::daemon::{Daemon, PATIENCE, get_over_tcp, portolan};
use crate::doctor::import_program;
use crate::engine::Lab;
use crate::engine_trouble::seen;
use crate::traffic::{UDP_HEADERS, send_datagrams, sink};
use crate::unit;

/// Where datagrams go.
const PORT: u16 = 9_000;
/// A user without any rights, and a group that may ask Docker.
const USER: (u32, u32) = (64_000, 64_001);
/// The lines of `/proc/PID/status` that tell.
const TELLING: [&str; 7] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"];
/// `CAP_NET_RAW` as a mask.
const NET_RAW: &str = "0000000000002000";
/// `CAP_DAC_OVERRIDE`.
const DAC_OVERRIDE: &str = "0000000000000002";
const NONE: &str = "0000000000000000";

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn root_without_capabilities_names_containers_and_reloads() {
    works_beside_docker(Start::Root);
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn a_service_without_capabilities_names_containers_and_reloads() {
    works_beside_docker(Start::Service);
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn the_shipped_unit_s_settings_leave_all_it_needs() {
    works_beside_docker(Start::Unit);
}

/// As whom it is started, and how.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Start {
    /// Root, told to be strict: a call too many would end the daemon.
    Root,
    /// A user with `CAP_NET_RAW` alone, strict too.
    Service,
    /// As `deploy/portolan.service` does, as far as that can be done without systemd, and with the sandbox it has by itself.
    Unit,
}

/// Everything that happens after the start.
fn works_beside_docker(start: Start) {
    let user = match start {
        Start::Root => None,
        Start::Service | Start::Unit => Some(USER),
    };
    let mut lab = Lab::up();
    lab.build_image();
    lab.docker(["network", "create", "net"]);
    for name in ["one", "two"] {
        lab.docker(["run", "-d", "--name", name, "--network", "net", "lab/peer:1.0", "wait"]);
    }
    let contract = lab.directory().join("contract.toml");
    let write = |text: &str| fs::write(&contract, text).expect("a contract");
    write("[[service]]\nservice = \"two\"\n");
    let open_to_service = |lab: &Lab| {
        if let Some((_, group)) = user {
            fs::set_permissions(lab.directory(), fs::Permissions::from_mode(0o755)).expect("a mode");
            fs::set_permissions(&contract, fs::Permissions::from_mode(0o644)).expect("a mode");
            chown(lab.docker_socket(), None, Some(group)).expect("another group");
            fs::set_permissions(lab.docker_socket(), fs::Permissions::from_mode(0o660)).expect("a mode");
        }
    };
    open_to_service(&lab);
    let (socket, contract_name) = (lab.docker_socket(), contract.to_string_lossy().into_owned());
    let socket = socket.to_string_lossy();
    let arguments = ["--docker-socket", &*socket, "--contract", &contract_name];
    let strict = [&arguments[..], &["--sandbox", "strict"]].concat();
    let mut daemon = match start {
        Start::Root | Start::Service => Daemon::spawn_as(&lab.host(), user, "", &strict),
        Start::Unit => unit::spawn(&lab, USER, &arguments),
    };
    daemon.wait_until("/-/ready");
    daemon.eventually("both are matched", |daemon| daemon.status()["vitals"]["containers_matched"] == 2);
    let by = daemon.status()["vitals"]["identity_by"].clone();
    println!("{}by {by}", daemon.said());
    assert_eq!(by, if user.is_some() { "interface index" } else { "netns id" });
    let mode = if start == Start::Unit { "on" } else { "strict" };
    let line = format!("\nsandbox   {mode}: no capability, Landlock, seccomp\n");
    assert!(daemon.said().contains(&line), "{}", daemon.said());
    // Who may not change it keeps the bounding set it was given; under no-new-privileges it means nothing.
    let bounding = if user.is_some() { NET_RAW } else { NONE };
    let expected = [NONE, NONE, NONE, bounding, NONE, "1", "2"];
    assert_eq!(status_of(daemon.pid()), [expected.map(str::to_owned)]);

    // One that came later.
    lab.docker(["run", "-d", "--name", "three", "--network", "net", "lab/peer:1.0", "wait"]);
    talks(&mut daemon, &lab, ("three", "two"), PORT);
    // Another contract, saved as editors do, and an event file moved away.
    let beside = lab.directory().join("contract.toml~");
    fs::write(&beside, "[[service]]\nservice = \"two\"\n\n[[service]]\nservice = \"one\"\n").expect("a file");
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o644)).expect("a mode");
    fs::rename(&beside, &contract).expect("moved");
    let events = daemon.directory().join("events.ndjson");
    fs::rename(&events, daemon.directory().join("events.1")).expect("moved");
    daemon.signal(Signal::HUP);
    daemon.eventually("the contract is read again", |daemon| {
        daemon.json("/api/v1/findings")["contract"] == format!("{contract_name}, 2 services")
    });
    daemon.eventually("the event file is there again", |_| events.exists());
    assert_eq!(daemon.status()["vitals"]["reload_ok"], true);
    talks(&mut daemon, &lab, ("one", "two"), PORT + 1);
    // Another Docker.
    lab.kill_engine();
    daemon.eventually("names are stale", |daemon| daemon.status()["stale"].is_string());
    lab.start_engine();
    open_to_service(&lab);
    daemon.eventually("names are fresh again", |daemon| daemon.status()["stale"].is_null());
    for name in ["four", "five"] {
        lab.docker(["run", "-d", "--name", name, "--network", "net", "lab/peer:1.0", "wait"]);
    }
    talks(&mut daemon, &lab, ("four", "five"), PORT + 2);
    let vitals = daemon.status()["vitals"].clone();
    println!(
        "after all that {} of {} matched",
        vitals["containers_matched"], vitals["containers_observable"]
    );
    assert_eq!(vitals["containers_matched"], vitals["containers_observable"]);
    assert_eq!(get_over_tcp(&lab.host(), "/metrics").0, 200);
    assert_eq!(status_of(daemon.pid()), [expected.map(str::to_owned)]);
    let ended = daemon.end();
    println!("{}", ended.is_settled());
    assert_eq!(ended.errors, format!("portolan: {contract_name} read again\n"));
}

/// Lets one send to the other and waits until both names are on it.
fn talks(daemon: &mut Daemon, lab: &Lab, (from, to): (&str, &str), port: u16) {
    let address = lab.docker(["inspect", "-f", "{{.NetworkSettings.Networks.net.IPAddress}}", to]);
    let _sink = sink(&lab.container(to), port);
    send_datagrams(
        &lab.container(from),
        SocketAddrV4::new(address.parse().expect("an address"), port),
        7,
        50,
    );
    let expected = [(from.to_owned(), to.to_owned(), 7, 7 * (UDP_HEADERS + 50))];
    daemon.eventually(&format!("{from} and {to} are named"), |daemon| seen(daemon, port) == expected);
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn a_container_with_the_shipped_settings_gives_up_the_rest() {
    let mut lab = Lab::up();
    lab.build_image();
    lab.docker(["network", "create", "net"]);
    // It comes again with the engine, as portolan does.
    let lasting = ["run", "-d", "--restart", "unless-stopped", "--network", "net", "--name"];
    let peer = ["lab/peer:1.0", "wait"];
    lab.docker([&lasting[..], &["one"], &peer].concat());
    import_program(&lab);
    let contract = lab.directory().join("contract");
    fs::create_dir(&contract).expect("a folder");
    let document = |services: &[&str]| {
        let text: String =
            services.iter().map(|name| format!("[[service]]\nservice = \"{name}\"\n\n")).collect();
        fs::write(contract.join("contract.toml"), text).expect("a contract");
    };
    document(&["one"]);
    let mount = format!("{}:/var/run/docker.sock", lab.docker_socket().display());
    let contracts = format!("{}:/etc/portolan:ro", contract.display());
    // The README's line and deploy/compose.yaml, and a contract.
    let settings = ["--network", "host", "--cap-drop", "ALL", "--cap-add", "NET_RAW", "--read-only"];
    let more = ["--security-opt", "no-new-privileges:true", "--tmpfs", "/run/portolan:mode=700"];
    let volumes =
        ["-v", &mount, "-v", "/proc:/host/proc:ro", "-v", &contracts, "--restart", "unless-stopped"];
    let program =
        ["portolan:test", "run", "--proc-root", "/host/proc", "--contract", "/etc/portolan/contract.toml"];
    let run = ["run", "-d", "--name", "portolan"];
    lab.docker([&run[..], &settings, &more, &volumes, &program].concat());
    until(&lab, "it says how it stands", || lab.docker(["logs", "portolan"]).contains("\nsandbox   "));
    names(&lab, &["one"]);
    lab.docker([&lasting[..], &["two"], &peer].concat());
    names(&lab, &["one", "two"]);
    rereads(&lab, || document(&["one", "two"]));
    holds_nothing(&lab);
    // An engine that is restarted ends all containers, and the next one starts those that are to last.
    lab.stop_engine();
    lab.start_engine();
    until(&lab, "it runs again", || {
        lab.docker(["inspect", "-f", "{{.State.Running}}", "portolan"]) == "true"
            && ask(&lab, "status").is_some()
    });
    names(&lab, &["one", "two"]);
    lab.docker([&lasting[..], &["three"], &peer].concat());
    names(&lab, &["one", "two", "three"]);
    rereads(&lab, || document(&["one", "two", "three"]));
    holds_nothing(&lab);
    let said = lab.docker(["logs", "portolan"]);
    println!("{said}");
    assert_eq!(said.matches("\nsandbox   on: no capability, ").count(), 2, "{said}");
    assert!(said.contains("seccomp"), "{said}");
    lab.docker(["stop", "portolan"]);
    let said = lab.docker(["logs", "portolan"]);
    assert!(said.contains("residual 0 frames, 0 bytes"), "{said}");
}

/// Asks the daemon in its container; nothing while it is not there.
fn ask(lab: &Lab, what: &str) -> Option<Value> {
    let mut docker = Command::new("docker");
    docker.env("DOCKER_HOST", lab.docker_host());
    let ended = docker.args(["exec", "portolan", "/portolan", what, "--format", "json"]).output().ok()?;
    serde_json::from_slice(&ended.stdout).ok()
}

fn until(lab: &Lab, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: {}", lab.docker(["logs", "portolan"]));
        thread::sleep(Duration::from_millis(200));
    }
}

/// Waits until all of these are matched and named, and no other container is.
fn names(lab: &Lab, expected: &[&str]) {
    until(lab, &format!("{expected:?} are matched"), || {
        let Some(status) = ask(lab, "status") else { return false };
        status["vitals"]["containers_matched"] == expected.len()
            && status["vitals"]["containers_observable"] == expected.len()
    });
}

/// Lets it read another contract and waits until it has.
fn rereads(lab: &Lab, change: impl FnOnce()) {
    let hash = |lab: &Lab| ask(lab, "status").map(|status| status["vitals"]["policy_hash"].clone());
    let before = hash(lab).expect("a status");
    change();
    // Not by `docker kill`: with engines as old as 20.10 that ends its restart policy, whatever the signal.
    kill_process(Pid::from_raw(process(lab)).expect("a process id"), Signal::HUP).expect("it runs");
    until(lab, "the contract is read again", || hash(lab).is_some_and(|hash| hash != before));
}

/// Checks what the container's first process has left.
fn holds_nothing(lab: &Lab) {
    let expected = [NONE, NONE, NONE, NET_RAW, NONE, "1", "2"].map(str::to_owned);
    assert_eq!(status_of(u32::try_from(process(lab)).expect("a process id")), [expected]);
}

/// Returns the id of the container's first process.
fn process(lab: &Lab) -> i32 {
    lab.docker(["inspect", "-f", "{{.State.Pid}}", "portolan"]).parse().expect("a process id")
}

#[test]
#[ignore = "needs root"]
fn what_only_a_capability_reaches_keeps_it_and_strict_refuses_that() {
    let lab = BridgeLab::up(1);
    let folder = tempfile::tempdir().expect("a folder");
    chown(folder.path(), Some(USER.0), Some(USER.0)).expect("another owner");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("a mode");
    let contract = folder.path().join("contract.toml");
    fs::write(&contract, "[[service]]\nservice = \"one\"\n").expect("a contract");
    let name = contract.to_string_lossy().into_owned();
    let mut daemon = Daemon::on_bridge(&lab, &["--contract", &name, "--sandbox", "on"]);
    let line =
        format!("\nsandbox   on: CAP_DAC_OVERRIDE for {}, Landlock, seccomp\n", folder.path().display());
    daemon.eventually("it says what it keeps", |daemon| daemon.said().contains(&line));
    let expected = [NONE, DAC_OVERRIDE, DAC_OVERRIDE, DAC_OVERRIDE, NONE, "1", "2"].map(str::to_owned);
    assert_eq!(status_of(daemon.pid()), [expected]);
    fs::write(&contract, "").expect("a contract");
    daemon.signal(Signal::HUP);
    daemon.eventually("it is read again", |daemon| daemon.errors().contains("read again"));
    daemon.end().is_settled();

    let ended = portolan(lab.host(), &["look", "--for", "1s", "--contract", &name, "--sandbox", "strict"]);
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(
        errors,
        format!(
            "portolan: the sandbox is to be strict and is not: CAP_DAC_OVERRIDE for {}\n  \
             mend that, or say --sandbox=on\n",
            folder.path().display()
        )
    );
    assert_eq!(ended.status.code(), Some(1));
}

#[test]
#[ignore = "needs root"]
fn without_a_sandbox_everything_is_kept_and_said_to_be() {
    let lab = BridgeLab::up(1);
    let mut daemon = Daemon::on_bridge(&lab, &["--sandbox", "off"]);
    daemon.eventually("it says so", |daemon| daemon.said().contains("\nsandbox   off: "));
    let [status] = &status_of(daemon.pid())[..] else { panic!("threads differ") };
    assert_ne!(status[2], NONE);
    assert_eq!(&status[5..], ["0", "0"]);
    daemon.end().is_settled();
}

#[test]
#[ignore = "needs root"]
fn a_look_saves_its_result_in_one_piece_from_within_the_sandbox() {
    let lab = BridgeLab::up(2);
    let folder = tempfile::tempdir().expect("a folder");
    let result = folder.path().join("old.result");
    fs::write(&result, "what stood there").expect("a file");
    let place = result.to_string_lossy();
    // A single interface, too: whether it is still there is asked of the tap.
    let interface = lab.members()[0].interface.clone();
    let arguments = ["look", "--for", "1s", "--sandbox", "strict", "--interface", &interface, "-o", &place];
    let ended =
        portolan(lab.host(), &[&arguments[..], &["--docker-socket", "/nowhere/docker.sock"]].concat());
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(fs::read_to_string(&result).expect("a file").starts_with("{\"portolan_result\""));
    let names: Vec<_> = fs::read_dir(folder.path()).expect("a folder").flatten().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
#[ignore = "needs root"]
fn doctor_tells_of_each_part_of_the_sandbox() {
    let lab = BridgeLab::up(1);
    let ended = portolan(lab.host(), &["doctor", "--json", "--docker-socket", "/nowhere/docker.sock"]);
    let checks: Vec<Value> = serde_json::from_slice(&ended.stdout).expect("JSON");
    let told: BTreeMap<&str, String> = checks
        .iter()
        .map(|check| {
            (check["subject"].as_str().expect("a subject"), format!("{}: {}", check["level"], check["text"]))
        })
        .collect();
    for subject in ["capabilities", "Landlock", "seccomp", "no-new-privs"] {
        println!("{subject:<13} {}", told[subject]);
        assert!(!told[subject].contains("not checked"), "{}", told[subject]);
    }
}

/// Prints the telling lines of all threads of a process, and returns those that differ.
fn status_of(pid: u32) -> Vec<[String; 7]> {
    let mut different = BTreeSet::new();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    let mut count = 0;
    for task in tasks.flatten() {
        let status = fs::read_to_string(task.path().join("status")).expect("a thread's status");
        different.insert(TELLING.map(|name| line_of(&status, name, &task.path())));
        count += 1;
    }
    for status in &different {
        let words: Vec<String> =
            TELLING.iter().zip(status).map(|(name, value)| format!("{name} {value}")).collect();
        println!("{count} threads: {}", words.join("  "));
    }
    different.into_iter().collect()
}

fn line_of(status: &str, name: &str, of: &Path) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    line.unwrap_or_else(|| panic!("no {name} in {}", of.display())).to_owned()
}
