//! What can be wrong before and while it runs: one sentence with the remedy, and the right exit code.

use std::fs;
use std::net::SocketAddrV4;
use std::process::Output;

use rustix::process::Signal;

use crate::bridge::BridgeLab;
use crate::daemon::{Daemon, portolan};
use crate::traffic::{send_datagrams, sink};

#[test]
#[ignore = "needs root"]
fn what_keeps_it_from_starting_is_named_with_the_remedy() {
    let lab = BridgeLab::up(1);
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("a file");
        path.to_string_lossy().into_owned()
    };
    let config = file("config.toml", "[capture]\nsnaplenn = 3\n");
    let contract = file("contract.toml", "[[service]]\nservice = \"a/b\"\ninitiatorz = [\"c/d\"]\n");
    let socket = directory.path().join("portolan.sock").to_string_lossy().into_owned();
    let no_docker = ["--docker-socket", "/nowhere/docker.sock", "--socket", &socket];
    let run = |more: &[&str]| portolan(lab.host(), &[&["run"][..], &no_docker, more].concat());

    #[rustfmt::skip]
    let cases = [
        (&["--config", &config][..],                       1, format!("{config}:2:1: unknown field `snaplenn`")),
        (&["--config", "/nowhere/portolan.toml"],          1, "/nowhere/portolan.toml: cannot be read: ".to_owned()),
        (&["--contract", &contract],                       1, format!("{contract}:3:1: ")),
        (&["--contract", "/nowhere/contract.toml"],        1, "/nowhere/contract.toml: ".to_owned()),
        (&["--interface", "no-such-0"],                    1, "no interface \"no-such-0\" on this host; there are lo, ".to_owned()),
        (&["--listen", "everywhere"],                      2, "--listen \"everywhere\": not an address and port; write 127.0.0.1:9414 ".to_owned()),
        (&["--listen", "0.0.0.0:9414"],                    1, "0.0.0.0:9414 can be reached from other hosts: protect it with --token-file FILE or --web-config FILE, or say --open".to_owned()),
        (&["--listen", "203.0.113.9:9414", "--open"],             1, "no interface of this host has the address 203.0.113.9:9414".to_owned()),
        (&["--listen", "0.0.0.0:9414", "--token-file", &config], 1, "the token is ".to_owned()),
        (&["--events", "/nowhere/events.ndjson"],          1, "cannot write events to /nowhere/events.ndjson: choose another file with --events: ".to_owned()),
        (&["--snaplen", "3"],                              1, "command line: capture.snaplen (3) must lie between 64 and 65535".to_owned()),
    ];
    for (arguments, code, message) in cases {
        refused(&run(arguments), code, &message);
    }

    let program = env!("CARGO_BIN_EXE_portolan");
    for command in ["run", "look"] {
        let without =
            ["--bounding-set=-net_raw", "--inh-caps=-net_raw", program, command, "--docker-socket", "/x"];
        let ended = lab.host().command("setpriv").args(without).output().expect("setpriv starts");
        let message = "cannot capture on this host: permission denied opening a packet socket\n  \
                       grant CAP_NET_RAW to the process, or run as root:  sudo setcap cap_net_raw+ep";
        refused(&ended, 1, message);
    }

    // Two daemons: the second one finds the port, then the socket, taken; the first one goes on.
    let first = Daemon::on_bridge(&lab, &[]);
    let taken = "127.0.0.1:9414 is in use: stop the other program or choose another address with --listen";
    refused(&run(&[]), 1, taken);
    let its_socket = first.socket().to_string_lossy().into_owned();
    let here = ["run", "--docker-socket", "/x", "--listen", "127.0.0.1:9415", "--socket", &its_socket];
    refused(&portolan(lab.host(), &here), 1, &format!("another daemon answers at {its_socket}: stop it"));
    assert_eq!(first.status()["vitals"]["is_capturing"], true);
    assert!(first.status()["stale"].as_str().is_some_and(|why| why.contains("/nowhere/docker.sock")));
    first.end().is_settled();
}

#[test]
#[ignore = "needs root"]
fn an_interface_that_goes_ends_it_with_everything_before_counted() {
    let mut lab = BridgeLab::up(2);
    let [one, two] = [0, 1].map(|at| lab.members()[at].clone());
    let _sink = sink(&two.namespace, 9_000);
    let mut daemon = Daemon::on_bridge(&lab, &["--interface", &one.interface]);
    let bytes = send_datagrams(&one.namespace, SocketAddrV4::new(two.address, 9_000), 500, 100);
    daemon.catch_up();
    let metered = &daemon.status()["ledger"]["metered"];
    assert_eq!(
        (&metered["frames"], &metered["bytes"]),
        (&500.into(), &bytes.into()),
        "every frame of it counts"
    );
    lab.remove_member(0);
    let ended = daemon.ended();
    println!("{}{}", ended.said, ended.errors);
    let gone = format!("portolan: interface \"{}\" is gone; everything before was counted\n", one.interface);
    assert!(ended.errors.ends_with(&gone), "{}", ended.errors);
    assert_eq!(ended.code, Some(1));
    let line = ended.said.lines().last().unwrap_or_default();
    assert!(
        line.starts_with("ended: 500 frames delivered, 0 dropped by the kernel, 500 in flows; "),
        "{line}"
    );
    assert!(line.contains("residual 0 frames, 0 bytes"), "{line}");
}

#[test]
#[ignore = "needs root"]
fn a_bad_contract_is_refused_on_sighup_and_the_old_one_stays_in_force() {
    let lab = BridgeLab::up(1);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("contract.toml");
    let write = |text: &str| fs::write(&path, text).expect("a file");
    write("[[service]]\nservice = \"shop/web\"\ninitiators = [\"external\"]\n");
    let name = path.to_string_lossy().into_owned();
    let mut daemon = Daemon::on_bridge(&lab, &["--contract", &name]);
    let contract =
        |daemon: &Daemon| daemon.json("/api/v1/findings")["contract"].as_str().expect("a text").to_owned();
    let good = contract(&daemon);
    assert_eq!(good, format!("{name}, 1 service"));
    let hash = daemon.status()["vitals"]["policy_hash"].clone();

    write("[[service]]\nservice = \"shop/web\"\ninitiatorz = [\"external\"]\n");
    daemon.signal(Signal::HUP);
    daemon.eventually("the bad one is refused", |daemon| daemon.status()["vitals"]["reload_ok"] == false);
    let errors = daemon.errors();
    assert!(errors.contains(&format!("portolan: {name}:3:")), "{errors}");
    assert!(errors.ends_with("\n  what was read before stays in force\n"), "{errors}");
    assert_eq!((contract(&daemon), &daemon.status()["vitals"]["policy_hash"]), (good, &hash));

    write("[[service]]\nservice = \"shop/web\"\n\n[[service]]\nservice = \"shop/db\"\n");
    daemon.signal(Signal::HUP);
    daemon.eventually("the good one is taken", |daemon| daemon.status()["vitals"]["reload_ok"] == true);
    daemon.catch_up();
    assert_eq!(contract(&daemon), format!("{name}, 2 services"));
    assert_ne!(daemon.status()["vitals"]["policy_hash"], hash);
    assert!(daemon.errors().ends_with(&format!("portolan: {name} read again\n")), "{}", daemon.errors());
    daemon.end().is_settled();
}

fn refused(ended: &Output, code: i32, message: &str) {
    let errors = String::from_utf8_lossy(&ended.stderr);
    let expected = format!("portolan: {message}");
    assert!(errors.starts_with(&expected), "expected {expected:?}, not {errors:?}");
    assert_eq!(ended.status.code(), Some(code), "{errors}");
    assert!(ended.stdout.is_empty(), "{}", String::from_utf8_lossy(&ended.stdout));
    assert!(errors.lines().count() <= 3, "one sentence and its remedy, not {errors}");
}
