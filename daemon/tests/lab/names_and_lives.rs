//! Names of addresses outside, and what happens to containers besides packets: live beside Docker, and again from the
//! recording.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::engine::Lab;
use crate::recorded::{Recorder, carried, read, replay};

/// Answers every question for an IPv4 address: an alias of `edge.example.net`, which is the internet's only address.
fn resolve(socket: &UdpSocket, is_over: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket");
    let mut question = [0; 512];
    // Where the test fails nobody says that it is over.
    let deadline = std::time::Instant::now() + Duration::from_secs(180);
    while !is_over.load(Ordering::Relaxed) && std::time::Instant::now() < deadline {
        let (length, from) = match socket.recv_from(&mut question) {
            Ok(received) => received,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(error) => panic!("the resolver: {error}"),
        };
        let name_ends = question[12..length].iter().position(|byte| *byte == 0).expect("a name") + 13;
        let is_address = question[name_ends..name_ends + 2] == [0, 1];
        let mut answer = question[..2].to_vec();
        answer.extend([0x81, 0x80, 0, 1, 0, if is_address { 2 } else { 0 }, 0, 0, 0, 0]);
        answer.extend(&question[12..name_ends + 4]);
        if is_address {
            let target = b"\x04edge\x07example\x03net\x00";
            let records = answer.len();
            answer.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 18]);
            answer.extend(target);
            answer.extend([0xc0, u8::try_from(records + 12).expect("a short question")]);
            answer.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            answer.extend(Lab::INTERNET.octets());
        }
        let _ = socket.send_to(&answer, from);
    }
}

/// Names on the edges of `service` to the outside.
fn names(graph: &Value, service: &str) -> Vec<String> {
    let edges = graph["edges"].as_array().expect("edges").iter();
    let outward = edges.filter(|edge| edge["source"] == service && edge["target"] == "external");
    let names = outward.flat_map(|edge| edge["names"].as_array().cloned().unwrap_or_default());
    names.map(|name| name.as_str().expect("a name").to_owned()).collect()
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn who_asked_for_a_name_calls_by_it_live_and_from_the_recording() {
    let lab = Lab::up();
    lab.build_image();
    lab.docker(["network", "create", "net"]);
    let socket = lab.docker_socket().to_string_lossy().into_owned();
    let mut recorder = Recorder::start(&lab.host(), &socket, "", &["--keep", "dns"]);
    let mut daemon = Daemon::beside(&lab.host(), &lab.docker_socket(), &["--sandbox", "strict"]);
    let resolver = lab.internet().within(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53))).expect("port 53");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| resolve(&resolver, &is_over));
        let at = Lab::INTERNET.to_string();
        let run = |name: &str, script: &str| {
            let options = ["run", "-d", "--name", name, "--network", "net", "--dns", &at, "--entrypoint"];
            lab.docker(options.into_iter().chain(["/busybox", "lab/peer:1.0", "sh", "-c", script]));
        };
        let call = format!("/busybox nc -w 1 {at} 443; /busybox sleep 60");
        run("web", &format!("/busybox nslookup API.example.com; {call}"));
        run("cart", &call);
        daemon.eventually("both have called", |daemon| {
            let graph = daemon.json("/api/v1/graph");
            let has_called = |service: &str| {
                let edges = graph["edges"].as_array().expect("edges").iter();
                edges.filter(|edge| edge["source"] == service && edge["port"]["port"] == 443).count() == 1
            };
            has_called("web") && has_called("cart")
        });
        daemon.eventually("web's call has its name", |daemon| {
            names(&daemon.json("/api/v1/graph"), "web").contains(&"api.example.com".to_owned())
        });
        assert_eq!(names(&daemon.json("/api/v1/graph"), "cart"), [""; 0]);
        let status = daemon.status();
        let dns = &status["vitals"]["dns"];
        assert!(dns["answers"].as_u64() > Some(0), "{dns}");
        assert_eq!([&dns["cut"], &dns["malformed"], &dns["missed"]], [0, 0, 0]);
        is_over.store(true, Ordering::Relaxed);
    });
    thread::sleep(Duration::from_secs(2));
    assert_eq!(daemon.end().code, Some(0));
    recorder.signal(Signal::TERM);
    let ended = recorder.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let elsewhere = tempfile::tempdir().expect("a directory");
    let (again, _, _) = replay(&[carried(&recorder, &elsewhere)], "1");
    let live = read(&recorder.folder.join("live.result"));
    assert!(names(&live["graph"], "web").contains(&"api.example.com".to_owned()));
    for part in ["graph", "flows", "assessment", "vitals"] {
        assert_eq!(live[part], again[part], "{part}");
    }
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn what_happens_to_a_container_is_told_without_its_commands_live_and_from_the_recording() {
    const SECRET: &str = "hunter2-of-the-command-line";
    let lab = Lab::up();
    lab.build_image();
    let root = lab.directory().join("root.tar").to_string_lossy().into_owned();
    lab.docker(["import", "-c", "EXPOSE 80", &root, "lab/app:1.0"]);
    lab.docker(["import", "-c", "EXPOSE 81", &root, "lab/app:2.0"]);
    for network in ["net", "other"] {
        lab.docker(["network", "create", network]);
    }
    let socket = lab.docker_socket().to_string_lossy().into_owned();
    let mut recorder = Recorder::start(&lab.host(), &socket, "", &[]);
    let mut daemon = Daemon::beside(&lab.host(), &lab.docker_socket(), &["--sandbox", "strict"]);
    let run = |name: &str, image: &str| {
        let labels = ["project=shop", "service=app", "config-hash=1"];
        let labels = labels.map(|label| format!("--label=com.docker.compose.{label}"));
        let mut arguments = vec!["run", "-d", "--name", name, "--network", "net", "-v", "data:/data"];
        // There is no shell in the image for it to run in.
        arguments.extend(["--health-cmd", "true", "--health-interval", "1s", "--health-retries", "1"]);
        arguments.extend(labels.iter().map(String::as_str));
        arguments.extend([image, "/busybox", "sleep", "300"]);
        lab.docker(arguments);
    };
    run("app-1", "lab/app:1.0");
    lab.docker(["exec", "app-1", "/busybox", "echo", SECRET]);
    lab.docker(["network", "connect", "other", "app-1"]);
    lab.docker(["network", "disconnect", "other", "app-1"]);
    daemon.eventually("Docker finds it unhealthy", |daemon| {
        daemon.get("/api/v1/publication").contains("\"unhealthy\"")
    });
    run("app-2", "lab/app:2.0");
    daemon.eventually("the volume of both is said to join them", |daemon| {
        let joins = daemon.json("/api/v1/graph")["joins"].clone();
        let is_it = |join: &Value| {
            join["kind"] == "volume"
                && join["what"] == "data"
                && join["members"].as_array().is_some_and(|members| members.len() == 2)
        };
        joins.as_array().is_some_and(|joins| joins.iter().any(is_it))
    });
    lab.docker(["kill", "app-1"]);
    daemon.eventually("its end and the image of its sister are told", |daemon| {
        let answer = daemon.get("/api/v1/publication");
        answer.contains("\"new_image\"") && answer.contains("\"die\"")
    });
    thread::sleep(Duration::from_secs(2));
    let ended = daemon.end();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let told = |events: &[Value], name: &str| -> Vec<String> {
        let ours = events.iter().filter(|event| event["event_type"] == "lifecycle");
        let mut told: Vec<String> = Vec::new();
        for it in ours.map(|event| &event["lifecycle"]).filter(|it| it["name"] == name) {
            let more = ["exit_code", "health", "network"].iter().filter_map(|key| {
                let value = &it[*key];
                (!value.is_null()).then(|| value.to_string().replace('"', ""))
            });
            let words: Vec<String> =
                std::iter::once(it["action"].as_str().expect("an action").to_owned()).chain(more).collect();
            told.push(words.join(" "));
        }
        told
    };
    let first = told(&ended.events, "app-1");
    for expected in [
        "start",
        "exec",
        "network_connect other",
        "network_disconnect other",
        "health_status unhealthy",
        "die 137",
    ] {
        assert!(first.iter().any(|it| it == expected), "{expected}: {first:?}");
    }
    // The health check runs a program a second, which is told once a minute.
    assert!(first.iter().filter(|it| *it == "exec").count() <= 2, "{first:?}");
    assert!(told(&ended.events, "app-2").contains(&"new_image".to_owned()), "{:?}", ended.events);

    recorder.signal(Signal::TERM);
    let stopped = recorder.ended();
    assert_eq!(stopped.code, Some(0), "{}", stopped.errors);
    let elsewhere = tempfile::tempdir().expect("a directory");
    let (_, events, _) = replay(&[carried(&recorder, &elsewhere)], "1");
    let lines = |text: &str| -> Vec<Value> {
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("an event"));
        lines
            .filter(|event| event["event_type"] == "lifecycle")
            .map(|event| event["lifecycle"].clone())
            .collect()
    };
    let live = std::fs::read_to_string(recorder.folder.join("live.ndjson")).expect("events");
    assert!(lines(&live).len() >= 6, "{live}");
    assert_eq!(lines(&live), lines(&events));
    let journal = std::fs::read_to_string(recorder.folder.join("live.journal.ndjson")).expect("a journal");
    for text in [&live, &events, &journal] {
        assert!(!text.contains(SECRET), "a command line is in {text}");
    }
}
