//! The four classes of a service port, live beside Docker and again from the recording.

use std::fs;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::engine::Lab;
use crate::recorded::{Recorder, carried, read, replay};

/// What the container of the test documents, 80 and 443, and what it serves; Docker's resolver listens in it too.
const SERVES: [&str; 3] = ["serve", "tcp/80", "tcp/9229"];

/// Writes `80/tcp documented_used yes (image EXPOSE)` for each service port of `app`.
fn classes(listeners: &Value) -> Vec<String> {
    let all = listeners.as_array().expect("listeners");
    let of_app = all.iter().filter(|listener| listener["service"] == "app");
    let line = |it: &Value| {
        let by: Vec<&str> = it["documented"]
            .as_array()
            .expect("sources")
            .iter()
            .map(|documented| documented["source"]["kind"].as_str().expect("a kind"))
            .collect();
        let word = |name: &str| it[name].as_str().unwrap_or("-").to_owned();
        format!("{} {} {} by {by:?}", it["port"]["port"], word("class"), word("listens"))
    };
    of_app.map(line).collect()
}

fn findings(answer: &Value) -> Vec<String> {
    let all = answer["findings"].as_array().expect("findings");
    all.iter()
        .map(|it| {
            format!(
                "{} {}:{}",
                it["kind"].as_str().expect("a kind"),
                it["responder"].as_str().expect("a name"),
                it["port"]["port"]
            )
        })
        .collect()
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn a_port_nobody_documented_is_seen_before_it_is_called_and_again_from_the_recording() {
    let lab = Lab::up();
    lab.build_image();
    let root = lab.directory().join("root.tar").to_string_lossy().into_owned();
    lab.docker(["import", "-c", "ENTRYPOINT [\"/peer\"]", "-c", "EXPOSE 80 443", &root, "lab/app:1.0"]);
    lab.docker(["network", "create", "net"]);
    let socket = lab.docker_socket().to_string_lossy().into_owned();
    let mut recorder = Recorder::start(&lab.host(), &socket, "", &[]);
    // Behind Landlock and without any capability the tables can be read all the same.
    let mut daemon = Daemon::beside(&lab.host(), &lab.docker_socket(), &["--sandbox", "strict"]);
    let run = ["run", "-d", "--name", "app", "--network", "net", "lab/app:1.0"];
    lab.docker(run.iter().chain(&SERVES).copied());

    let idle = [
        "80 documented_idle yes by [\"image\"]",
        "443 documented_idle no by [\"image\"]",
        "9229 undocumented_listening yes by []",
    ];
    daemon.eventually("nobody has called yet", |daemon| {
        classes(&daemon.json("/api/v1/findings")["listeners"]) == idle
    });
    daemon.eventually("a finding says so", |daemon| {
        findings(&daemon.json("/api/v1/findings")) == ["undocumented_listener app:9229"]
    });
    // Long enough for the recorder to have seen the same.
    thread::sleep(Duration::from_secs(5));

    let call = ["run", "--rm", "--network", "net", "lab/peer:1.0", "call", "app", "9229", "1", "10", "20"];
    lab.docker(call);
    let used = [
        "80 documented_idle yes by [\"image\"]",
        "443 documented_idle no by [\"image\"]",
        "9229 undocumented_used yes by []",
    ];
    daemon.eventually("one call later", |daemon| {
        classes(&daemon.json("/api/v1/findings")["listeners"]) == used
    });
    daemon.eventually("the finding is another", |daemon| {
        findings(&daemon.json("/api/v1/findings")) == ["undocumented_port app:9229"]
    });
    thread::sleep(Duration::from_secs(2));
    let ended = daemon.end();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let history = |events: &mut dyn Iterator<Item = Value>| -> Vec<String> {
        let ours =
            events.filter(|event| event["event_type"] == "listener" && event["listener"]["service"] == "app");
        let ours = ours
            .filter(|event| event["listener"]["port"]["port"] == 9229 || event["listener"]["port"] == 9229);
        ours.map(|event| event["listener"]["class"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let expected = ["undocumented_listening", "undocumented_used"];
    assert_eq!(history(&mut ended.events.iter().cloned()), expected, "{:?}", ended.events);

    recorder.signal(Signal::TERM);
    let ended = recorder.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let elsewhere = tempfile::tempdir().expect("a directory");
    let (again, events, _) = replay(&[carried(&recorder, &elsewhere)], "1");
    assert_eq!(classes(&again["assessment"]["listeners"]), used);
    assert_eq!(read(&recorder.folder.join("live.result"))["assessment"], again["assessment"]);
    let mut events = events.lines().map(|line| serde_json::from_str(line).expect("an event"));
    assert_eq!(
        history(&mut events),
        expected,
        "{}",
        fs::read_to_string(recorder.folder.join("live.ndjson")).unwrap()
    );
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn a_compose_file_that_labels_name_says_who_may_call_live_and_from_the_recording() {
    let lab = Lab::up();
    lab.build_image();
    let compose = lab.directory().join("compose.yaml");
    // Landlock would keep files from it that nobody named at the start. They are on one network here, which is what the file does not say.
    let text = "services:\n  web: {networks: [front]}\n  db:\n    networks: [back]\nnetworks: {front: {}, back: {}}\n";
    fs::write(&compose, text).expect("a compose file");
    lab.docker(["network", "create", "net"]);
    let socket = lab.docker_socket().to_string_lossy().into_owned();
    let mut recorder = Recorder::start(&lab.host(), &socket, "", &["--sandbox", "off"]);
    let run = |service: &str, steps: &[&str]| {
        let label = |key: &str, value: &str| format!("--label=com.docker.compose.{key}={value}");
        let mut arguments: Vec<String> =
            ["run", "-d", "--network", "net", "--name", service].map(str::to_owned).into();
        arguments.extend([
            label("project", "shop"),
            label("service", service),
            label("config-hash", service),
            label("project.config_files", "compose.yaml"),
            label("project.working_dir", &lab.directory().to_string_lossy()),
        ]);
        arguments.push("lab/peer:1.0".to_owned());
        arguments.extend(steps.iter().map(|step| (*step).to_owned()));
        lab.docker(arguments);
    };
    run("db", &["serve", "tcp/5432"]);
    let mut daemon = Daemon::beside(&lab.host(), &lab.docker_socket(), &["--sandbox", "off"]);
    run("web", &["call", "db", "5432", "1", "10", "20", "then", "wait"]);
    daemon.eventually("the file is read and decides", |daemon| {
        findings(&daemon.json("/api/v1/findings")).contains(&"unexpected_peer shop/db:5432".to_owned())
    });
    let found = daemon.json("/api/v1/findings")["findings"].clone();
    let all = found.as_array().expect("findings");
    let unexpected = all.iter().find(|it| it["kind"] == "unexpected_peer").expect("the one there is");
    let against = format!(
        "{}:3 puts shop/db on no network of shop/web, which does not depend on it",
        compose.display()
    );
    assert_eq!(unexpected["against"], against.as_str());
    thread::sleep(Duration::from_secs(2));
    recorder.signal(Signal::TERM);
    let ended = recorder.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let elsewhere = tempfile::tempdir().expect("a directory");
    let journal = fs::read_to_string(recorder.folder.join("live.journal.ndjson")).expect("a journal");
    assert!(journal.contains("\"is_of_a_label\":true"), "{journal}");
    // The recording does not need the file.
    fs::remove_file(&compose).expect("a file");
    let (again, _, _) = replay(&[carried(&recorder, &elsewhere)], "1");
    assert_eq!(read(&recorder.folder.join("live.result"))["assessment"], again["assessment"]);
    assert!(findings(&again["assessment"]).contains(&"unexpected_peer shop/db:5432".to_owned()));
}
