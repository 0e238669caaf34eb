//! A private Docker engine in a network namespace of its own, with an internet beside it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::namespace::{Namespace, is_alive, orphans, output, unique_name};

/// A running laboratory. Dropping it removes everything, and fails the test if anything is left.
#[derive(Debug)]
pub(crate) struct Lab {
    directory: PathBuf,
    environment: BTreeMap<String, String>,
}

/// What one sender of the shop says it did: a line of `expected.tsv`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Sent {
    /// `start` or `traffic`.
    pub(crate) phase: String,
    /// Container, or an address outside.
    pub(crate) client: String,
    /// Container, or an address outside.
    pub(crate) server: String,
    /// Service port in the container; 0 for ICMP.
    pub(crate) port: u16,
    /// `tcp`, `udp` or `icmp`.
    pub(crate) protocol: String,
    /// Docker network.
    pub(crate) network: String,
    /// Connections, datagrams or echo requests that were answered.
    pub(crate) answered: u64,
    /// Connections refused.
    pub(crate) refused: u64,
    /// Connections, datagrams or frames without an answer.
    pub(crate) unanswered: u64,
    /// Payload the client sent, in bytes.
    pub(crate) sent_bytes: u64,
    /// Payload the client received, in bytes.
    pub(crate) received_bytes: u64,
    /// Why it is there: `expected`, `undocumented port` ...
    pub(crate) note: String,
}

impl Lab {
    /// The host's address on its link to the internet.
    pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
    /// The internet's only address.
    pub(crate) const INTERNET: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

    /// Starts a laboratory; takes about half a second.
    pub(crate) fn up() -> Self {
        remove_orphans();
        let name = unique_name();
        // Unix sockets allow no long paths, so not below the target directory.
        let directory = Path::new("/tmp").join(format!("portolan-lab-{name}"));
        output(script("lab").arg("up").arg(&name).arg(&directory));
        // As Docker has it by itself: its namespaces lie beside the socket, below `docker`.
        symlink(directory.join("exec"), directory.join("docker")).expect("a link");
        let environment = read_environment(&directory);
        Self { directory, environment }
    }

    /// Runs `docker` against the laboratory's engine and returns what it prints. An engine that has locked itself up
    /// fails the test instead of holding it for ever: seen once, four goroutines of libnetwork waiting for each other.
    pub(crate) fn docker<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "180", "docker"]);
        output(command.env("DOCKER_HOST", self.docker_host()).args(arguments))
    }

    /// Returns the engine's address for `DOCKER_HOST`.
    pub(crate) fn docker_host(&self) -> String {
        format!("unix://{}", self.docker_socket().display())
    }

    /// Returns the engine's socket.
    pub(crate) fn docker_socket(&self) -> PathBuf {
        self.directory.join("docker.sock")
    }

    /// Returns the laboratory's directory, where a test may put files; it goes with the laboratory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the namespace of the engine, in which bridges and veths are.
    pub(crate) fn host(&self) -> Namespace {
        Namespace::named(&self.environment["LAB_NAMESPACE"])
    }

    /// Returns the namespace that plays the internet.
    pub(crate) fn internet(&self) -> Namespace {
        Namespace::named(&self.environment["LAB_INTERNET"])
    }

    /// Returns the namespace of a running container.
    pub(crate) fn container(&self, name: &str) -> Namespace {
        let pid = self.docker(["inspect", "-f", "{{.State.Pid}}", name]);
        Namespace::of_process(pid.parse().expect("docker prints a process id"))
    }

    /// Returns a command that will run on the laboratory's host.
    pub(crate) fn in_namespace(&self, program: impl AsRef<OsStr>) -> Command {
        self.host().command(program)
    }

    /// Returns a command that will run in the internet.
    pub(crate) fn inet(&self, program: impl AsRef<OsStr>) -> Command {
        self.internet().command(program)
    }

    /// Returns a command for the program under test on the laboratory's host; add `--docker-socket` where it asks Docker.
    pub(crate) fn portolan(&self) -> Command {
        self.in_namespace(env!("CARGO_BIN_EXE_portolan"))
    }

    /// Builds the image `lab/peer:1.0`: `/peer` (see `scripts/peer.c`) and `/busybox`.
    pub(crate) fn build_image(&self) {
        output(script("lab").arg("image").arg(&self.directory));
    }

    /// Runs a phase of the shop: `start`, `traffic`, `check` or `stop`.
    pub(crate) fn shop(&self, phase: &str) {
        output(script("shop").arg(phase).arg(&self.directory));
    }

    /// Returns what the shop's senders did so far, as they say themselves.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        let path = self.directory.join("shop/sent.tsv");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.lines().skip(1).map(read_sent).collect()
    }

    /// Stops the engine in its tracks: it keeps its sockets and answers nothing.
    pub(crate) fn freeze_engine(&self) {
        self.signal_engine(Signal::STOP);
    }

    /// Lets a frozen engine go on.
    pub(crate) fn thaw_engine(&self) {
        self.signal_engine(Signal::CONT);
    }

    /// Ends the engine as its service would, and with it the containers. Those that are to last come back with the next.
    pub(crate) fn stop_engine(&self) {
        self.end_engine(Signal::TERM);
    }

    /// Ends the engine by force, and waits until it is gone; the containers live on.
    pub(crate) fn kill_engine(&self) {
        self.end_engine(Signal::KILL);
    }

    fn end_engine(&self, signal: Signal) {
        self.signal_engine(signal);
        let pid = self.engine_pid();
        while is_alive(pid) {
            thread::yield_now();
        }
    }

    /// Starts the engine again after it was ended. As Docker does without live-restore, it ends the old containers.
    pub(crate) fn start_engine(&mut self) {
        output(script("lab").arg("engine").arg(&self.directory));
        self.environment = read_environment(&self.directory);
    }

    /// Returns the engine's process id.
    pub(crate) fn engine_pid(&self) -> u32 {
        self.environment["LAB_ENGINE_PID"].parse().expect("scripts/lab writes a process id")
    }

    fn signal_engine(&self, signal: Signal) {
        let pid =
            i32::try_from(self.engine_pid()).ok().and_then(Pid::from_raw).expect("a process id is positive");
        kill_process(pid, signal)
            .unwrap_or_else(|error| panic!("the engine, process {pid:?}, is gone: {error}"));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let down = script("lab").arg("down").arg(&self.directory).output();
        let wrong = match down {
            Ok(ended) if ended.status.success() => {
                fs::remove_dir_all(&self.directory).err().map(|error| error.to_string())
            }
            Ok(ended) => Some(String::from_utf8_lossy(&ended.stderr).into_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(wrong) = wrong {
            let message = format!("{} was not removed: {wrong}", self.directory.display());
            if thread::panicking() {
                // A second panic would hide the first; the message is all there is left to give.
                let _ = writeln!(io::stderr(), "{message}");
            } else {
                panic!("{message}");
            }
        }
    }
}

/// Removes laboratories whose test process was ended by force and could not do it.
fn remove_orphans() {
    for name in orphans("/tmp", "portolan-lab-") {
        let directory = Path::new("/tmp").join(name);
        // Another test process may be at it already; what counts is that somebody is.
        let _ = script("lab").arg("down").arg(&directory).output();
        let _ = fs::remove_dir_all(&directory);
    }
}

fn script(name: &str) -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts").join(name))
}

/// Reads the shell assignments of `lab.env`; a later line replaces an earlier one.
fn read_environment(directory: &Path) -> BTreeMap<String, String> {
    let path = directory.join("lab.env");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines()
        .filter_map(|line| line.trim_start_matches("export ").split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
        .collect()
}

fn read_sent(line: &str) -> Sent {
    let columns: Vec<&str> = line.split('\t').collect();
    let [
        phase,
        client,
        server,
        port,
        protocol,
        network,
        answered,
        refused,
        unanswered,
        sent_bytes,
        received_bytes,
        note,
    ] = columns[..]
    else {
        panic!("not twelve columns: {line:?}");
    };
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("no number {text:?} in {line:?}"));
    Sent {
        phase: phase.to_owned(),
        client: client.to_owned(),
        server: server.to_owned(),
        port: port.parse().unwrap_or_else(|_| panic!("no port {port:?} in {line:?}")),
        protocol: protocol.to_owned(),
        network: network.to_owned(),
        answered: number(answered),
        refused: number(refused),
        unanswered: number(unanswered),
        sent_bytes: number(sent_bytes),
        received_bytes: number(received_bytes),
        note: note.to_owned(),
    }
}
