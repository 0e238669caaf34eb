//! `portolan doctor` in four situations: each has its own answer, and the remedy in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::daemon::portolan;
use crate::engine::Lab;
use crate::namespace::output;

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn four_situations_have_four_right_answers() {
    let lab = Lab::up();
    lab.build_image();
    lab.docker(["run", "-d", "--name", "web", "-p", "8080:80", "lab/peer:1.0", "wait"]);
    lab.docker(["run", "-d", "--name", "local", "-p", "127.0.0.1:8081:80", "lab/peer:1.0", "wait"]);
    let socket = lab.docker_socket();
    let socket = socket.to_string_lossy();
    let ask = ["doctor", "--json", "--docker-socket", &socket];

    let fine = Answers::of(&portolan(&lab.host(), &ask), 0);
    fine.say("packet socket", "ok", "CAP_NET_RAW, 64 MiB ring, 256 bytes of each frame");
    fine.say("interfaces", "ok", "1 bridges and 2 veths among 5");
    fine.say("Docker", "ok", ", 2 containers, events flowing");
    fine.say("identity", "ok", "2 of 2 containers matched to their veth by netns id");
    fine.say("published on all", "warn", "web:80/tcp -> 0.0.0.0:8080 is reachable from outside");
    assert!(!fine.text.contains("local:80"), "published on the loopback only: {}", fine.text);

    let program = env!("CARGO_BIN_EXE_portolan");
    let without = ["--bounding-set=-net_raw", "--inh-caps=-net_raw", program];
    let ended = lab.in_namespace("setpriv").args(without).args(ask).output().expect("setpriv starts");
    let bare = Answers::of(&ended, 1);
    bare.say(
        "packet socket",
        "fail",
        "permission denied opening a packet socket; grant CAP_NET_RAW to the process",
    );
    bare.say("packet socket", "fail", "sudo setcap cap_net_raw+ep $(which portolan)");
    bare.say("identity", "ok", "2 of 2 containers matched to their veth by netns id");

    let ask_nobody = ["doctor", "--json", "--docker-socket", "/nowhere/docker.sock"];
    let alone = Answers::of(&portolan(&lab.host(), &ask_nobody), 1);
    alone.say("packet socket", "ok", "CAP_NET_RAW");
    alone.say("Docker", "fail", "no Docker at /nowhere/docker.sock");
    alone.say(
        "Docker",
        "fail",
        "containers stay unnamed: start Docker, join the group docker, or name another socket",
    );
    alone.is_silent_about("identity");

    import_program(&lab);
    let mount = format!("{socket}:/var/run/docker.sock");
    let run = ["run", "--rm", "--network", "host", "--cap-drop", "ALL", "--cap-add", "NET_RAW", "-v", &mount];
    let more =
        ["-v", "/proc:/host/proc:ro", "portolan:test", "doctor", "--json", "--proc-root", "/host/proc"];
    let mut docker = Command::new("docker");
    docker.env("DOCKER_HOST", lab.docker_host()).args(run);
    let inside = Answers::of(&docker.args(more).output().expect("docker starts"), 0);
    inside.say("packet socket", "ok", "CAP_NET_RAW");
    inside.say("Docker", "ok", ", 3 containers, events flowing");
    inside.say("identity", "ok", "2 of 2 containers matched to their veth by interface index");
    inside.say("not observable", "note", ", host network: its traffic is not on the host's veths");

    // Half of what the README says: the remedy is in the answer.
    let mut docker = Command::new("docker");
    let run = ["run", "--rm", "--cap-drop", "ALL", "--cap-add", "NET_RAW", "-v", &mount, "portolan:test"];
    docker.env("DOCKER_HOST", lab.docker_host()).args(run).args(["doctor", "--json"]);
    let outside = Answers::of(&docker.output().expect("docker starts"), 0);
    outside.say("interfaces", "warn", "in a container, run with --network host");
    outside.say("identity", "warn", "mount the host's /proc: -v /proc:/host/proc:ro --proc-root /host/proc");

    let texts = [&fine, &bare, &alone, &inside, &outside].map(|answers| &answers.text);
    for (at, one) in texts.iter().enumerate() {
        assert!(texts.iter().skip(at + 1).all(|other| one != other), "the same answer twice: {one}");
    }
}

/// What doctor answered.
struct Answers {
    checks: Vec<Value>,
    text: String,
}

impl Answers {
    fn of(ended: &Output, code: i32) -> Self {
        let text = String::from_utf8_lossy(&ended.stdout).into_owned();
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{text}{errors}");
        let checks = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{errors}"));
        Self { checks, text }
    }

    fn say(&self, subject: &str, level: &str, part: &str) {
        let is_it = |check: &&Value| {
            check["subject"] == subject
                && check["level"] == level
                && check["text"].as_str().is_some_and(|text| text.contains(part))
        };
        assert!(
            self.checks.iter().any(|check| is_it(&check)),
            "no {level} {subject} {part:?}: {}",
            self.text
        );
    }

    fn is_silent_about(&self, subject: &str) {
        assert!(self.checks.iter().all(|check| check["subject"] != subject), "{}", self.text);
    }
}

/// Makes an image of the program and the libraries it needs, and of nothing else.
pub(crate) fn import_program(lab: &Lab) {
    let root = lab.directory().join("image");
    let copy = |from: &Path, to: &Path| {
        fs::create_dir_all(to.parent().expect("a parent")).expect("a directory");
        fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    };
    let program = Path::new(env!("CARGO_BIN_EXE_portolan"));
    copy(program, &root.join("portolan"));
    for word in
        output(Command::new("ldd").arg(program)).split_whitespace().filter(|word| word.starts_with('/'))
    {
        copy(Path::new(word), &root.join(word.trim_start_matches('/')));
    }
    let archive: PathBuf = lab.directory().join("image.tar");
    output(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg("."));
    let entry = "ENTRYPOINT [\"/portolan\"]";
    lab.docker(["import", "-c", entry, &archive.to_string_lossy(), "portolan:test"]);
}
