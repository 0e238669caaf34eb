//! A thread that panics or stands still: the daemon is never half alive. The faults are the program's own, in builds
//! with debug assertions (`daemon/src/fault.rs`).

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::bridge::BridgeLab;
use crate::daemon::{Daemon, series};

/// Exit code where Portolan itself failed.
const ITSELF: Option<i32> = Some(5);

#[test]
#[ignore = "needs root"]
fn a_thread_that_panics_ends_the_daemon_with_its_accounts() {
    let lab = BridgeLab::up(2);
    #[rustfmt::skip]
    let cases = [
        // fault             whose thread         what is asked for         the accounts
        ("tap:panic:10",     "portolan-tap",      None,                     "broken off: at the last tick, "),
        ("session:panic:10", "main",              None,                     "broken off: at the last tick, "),
        ("control:panic:4",  "portolan-control",  None,                     "ended: "),
        ("http:panic:1",     "portolan-control",  Some("/api/v1/graph?format=dot"), "ended: "),
    ];
    for (fault, thread, asked, accounts) in cases {
        let daemon = Daemon::on_bridge_with(&lab, &[("TEST_FAULT", fault)]);
        if let Some(path) = asked {
            // It may end before it has answered.
            let _ = daemon.ask(path);
        }
        let ended = daemon.ended();
        assert_eq!(ended.code, ITSELF, "{fault}: {}{}", ended.said, ended.errors);
        let sentence = format!("portolan: the thread {thread} panicked at ");
        assert!(ended.errors.contains(&sentence), "{fault}: {}", ended.errors);
        assert!(
            ended.errors.contains("a test asked for it; please report this"),
            "{fault}: {}",
            ended.errors
        );
        let last = ended.said.lines().last().unwrap_or_default();
        assert!(last.starts_with(accounts), "{fault}: {last}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_recorder_that_panics_ends_the_recording_with_the_answer_so_far() {
    let lab = BridgeLab::up(2);
    let folder = tempfile::Builder::new().prefix("portolan-grief-").tempdir_in("/tmp").expect("a folder");
    let mut command = lab.host().command(env!("CARGO_BIN_EXE_portolan"));
    command.env("TEST_FAULT", "record:panic:50").args(["record", "--docker-socket", "/nowhere/docker.sock"]);
    let ended = command.arg("--write").arg(folder.path().join("live.pcapng")).output().expect("it starts");
    let [said, errors] =
        [&ended.stdout, &ended.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(ended.status.code(), ITSELF, "{said}{errors}");
    assert!(errors.contains("portolan: the thread portolan-record panicked at "), "{errors}");
    assert!(said.contains("frames"), "the report is printed all the same: {said}");
}

#[test]
#[ignore = "needs root"]
fn a_pause_of_either_plane_is_seen_while_it_lasts_and_told_of_afterwards() {
    let lab = BridgeLab::up(2);
    for (fault, is_the_tap) in [("tap:pause:10", true), ("session:pause:10", false)] {
        let mut daemon = Daemon::on_bridge_with(&lab, &[("TEST_FAULT", fault)]);
        daemon.eventually("it says that it stalls", |daemon| {
            let (code, body) = daemon.ask("/-/ready").expect("an answer");
            code == 503 && body.contains("a thread stalls")
        });
        let age = |daemon: &Daemon| {
            let metrics = daemon.get("/metrics");
            let line = metrics
                .lines()
                .find_map(|line| line.strip_prefix("portolan_publication_age_seconds{")?.split_once("} "));
            line.expect("the age").1.parse::<f64>().expect("a number")
        };
        assert!(age(&daemon) > 2.0, "{fault}");
        daemon.eventually("it goes on", |daemon| age(daemon) < 1.0);
        daemon.eventually("the stall is counted", |daemon| {
            daemon
                .get("/metrics")
                .lines()
                .any(|line| line.starts_with("portolan_stalls_total{") && line.ends_with(" 1"))
        });
        assert!(series(&daemon.get("/metrics"), "portolan_capture_completeness").len() == 3, "{fault}");
        let ended = daemon.end();
        ended.is_settled();
        let stalls: Vec<_> = ended.events.iter().filter(|event| event["event_type"] == "stall").collect();
        assert_eq!(stalls.len(), 1, "{fault}: {stalls:?}");
        let of = |part: &str| stalls[0]["stall"][part].as_f64().expect("seconds");
        assert!(of("seconds") > 4.0 && (of("tap_seconds") > 4.0) == is_the_tap, "{fault}: {stalls:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_tap_that_answers_no_more_ends_the_daemon_with_the_accounts_of_the_last_tick() {
    let lab = BridgeLab::up(2);
    let ended = Daemon::on_bridge_with(&lab, &[("TEST_FAULT", "tap:stall:10")]).ended();
    assert_eq!(ended.code, ITSELF, "{}{}", ended.said, ended.errors);
    assert!(ended.errors.contains("the tap's thread has not answered for "), "{}", ended.errors);
    let last = ended.said.lines().last().unwrap_or_default();
    assert!(last.starts_with("broken off: at the last tick, "), "{last}");
}

#[test]
#[ignore = "needs root"]
fn the_service_manager_hears_of_life_only_while_both_planes_move() {
    let lab = BridgeLab::up(2);
    for fault in ["control:stall:6", "session:stall:10"] {
        let folder =
            tempfile::Builder::new().prefix("portolan-notify-").tempdir_in("/tmp").expect("a folder");
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        // Longer than a stall takes to be one.
        manager.set_read_timeout(Some(Duration::from_secs(6))).expect("a time-out");
        let socket = path.to_string_lossy();
        let daemon = Daemon::on_bridge_with(&lab, &[("TEST_FAULT", fault), ("NOTIFY_SOCKET", &*socket)]);
        let mut heard = Vec::new();
        let mut words = [0; 64];
        while let Ok(count) = manager.recv(&mut words) {
            heard.push(String::from_utf8_lossy(&words[..count]).into_owned());
        }
        assert_eq!(heard.first().map(String::as_str), Some("READY=1"), "{fault}: {heard:?}");
        let signs = heard.iter().filter(|word| *word == "WATCHDOG=1").count();
        assert!(signs >= 3, "{fault}: {heard:?}");
        // Silent, and still there: to be ended by who listened.
        assert_eq!(daemon.status()["vitals"]["is_capturing"], true, "{fault}");
        daemon.kill();
    }
}
