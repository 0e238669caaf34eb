//! The program under test as a daemon: started in a namespace, asked over its socket, ended.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use portolan_flowtable::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::bridge::BridgeLab;
use crate::namespace::Namespace;

/// How long anything may take that is not itself under test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long SIGTERM may take, by the design.
pub(crate) const END_WITHIN: Duration = Duration::from_secs(2);

/// A running `portolan run`. Dropping it ends the process by force.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    directory: PathBuf,
    /// Set where the directory goes with the daemon.
    _own: Option<TempDir>,
}

/// How a daemon ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit code; `None` after a signal.
    pub(crate) code: Option<i32>,
    /// What it printed.
    pub(crate) said: String,
    /// What it printed to standard error.
    pub(crate) errors: String,
    /// Time from the signal to its end.
    pub(crate) took: Duration,
    /// The events it wrote, a line each.
    pub(crate) events: Vec<Value>,
}

impl Daemon {
    /// Starts it beside a Docker engine and waits until it captures and has the engine's list.
    pub(crate) fn beside(at: &Namespace, docker_socket: &Path, arguments: &[&str]) -> Self {
        let socket = docker_socket.to_string_lossy();
        let mut daemon = Self::spawn(at, "", &[&["--docker-socket", &*socket][..], arguments].concat());
        daemon.wait_until("/-/ready");
        daemon
    }

    /// Starts it on a bridge without Docker and waits until it captures.
    pub(crate) fn on_bridge(lab: &BridgeLab, arguments: &[&str]) -> Self {
        Self::spawn(lab.host(), &on_bridge(), arguments).capturing()
    }

    /// Starts it on a bridge, in a directory that outlives it; waits for nothing. `PORTOLAN_PROGRAM` names another build
    /// of it.
    pub(crate) fn begun_on_bridge_in(lab: &BridgeLab, directory: &Path) -> Self {
        let lingers = "[flowtable]\nlinger_seconds = 1\n";
        let kept = format!("[findings]\nfile = \"{}\"\n", directory.join("findings.json").display());
        let build = std::env::var_os("PORTOLAN_PROGRAM");
        let program = lab.host().command(build.unwrap_or_else(|| env!("CARGO_BIN_EXE_portolan").into()));
        Self::spawn_in(program, &format!("{}{lingers}{kept}", on_bridge()), &[], directory, None)
    }

    /// Starts it on a bridge with these environment variables too, and waits until it captures.
    pub(crate) fn on_bridge_with(lab: &BridgeLab, environment: &[(&str, &str)]) -> Self {
        let directory =
            tempfile::Builder::new().prefix("portolan-run-").tempdir_in("/tmp").expect("a directory");
        let path = directory.path().to_owned();
        let mut program = lab.host().command(env!("CARGO_BIN_EXE_portolan"));
        program.envs(environment.iter().copied());
        Self::spawn_in(program, &on_bridge(), &[], &path, Some(directory)).capturing()
    }

    /// Starts it on a bridge by a command that takes a program and its arguments; waits for nothing.
    pub(crate) fn begun_by(mut command: Command, arguments: &[&str]) -> Self {
        let directory =
            tempfile::Builder::new().prefix("portolan-run-").tempdir_in("/tmp").expect("a directory");
        let path = directory.path().to_owned();
        command.arg(env!("CARGO_BIN_EXE_portolan"));
        Self::spawn_in(command, &on_bridge(), arguments, &path, Some(directory))
    }

    /// Waits until it captures.
    pub(crate) fn capturing(mut self) -> Self {
        self.wait_until("/-/healthy");
        self.eventually("the tap captures", |daemon| daemon.status()["vitals"]["is_capturing"] == true);
        self
    }

    /// Starts it with a configuration in TOML and further arguments; waits for nothing. `PORTOLAN_PROGRAM` names another
    /// build of it.
    pub(crate) fn spawn(at: &Namespace, configuration: &str, arguments: &[&str]) -> Self {
        Self::spawn_as(at, None, configuration, arguments)
    }

    /// The same by `setpriv` as this user and group, with `CAP_NET_RAW` alone, as a service is started.
    pub(crate) fn spawn_as(
        at: &Namespace,
        user: Option<(u32, u32)>,
        configuration: &str,
        arguments: &[&str],
    ) -> Self {
        // Unix sockets allow no long paths, so not below the target directory.
        let directory =
            tempfile::Builder::new().prefix("portolan-run-").tempdir_in("/tmp").expect("a directory");
        let path = directory.path().to_owned();
        let program = match user {
            None => {
                let build = std::env::var_os("PORTOLAN_PROGRAM");
                at.command(build.unwrap_or_else(|| env!("CARGO_BIN_EXE_portolan").into()))
            }
            Some((user, group)) => {
                // Where this program lies, others may not be able to go.
                let copy = path.join("portolan");
                fs::copy(env!("CARGO_BIN_EXE_portolan"), &copy).expect("a copy of the program");
                chown(&path, Some(user), Some(group)).expect("another owner");
                let mut program = at.command("setpriv");
                program
                    .args([format!("--reuid={user}"), format!("--regid={group}")])
                    .args(["--clear-groups", "--no-new-privs", "--inh-caps=-all,+net_raw"])
                    .args(["--ambient-caps=-all,+net_raw", "--bounding-set=-all,+net_raw"])
                    .arg(copy);
                program
            }
        };
        Self::spawn_in(program, configuration, arguments, &path, Some(directory))
    }

    /// Starts it by a program of the test's own, which ends by running `portolan` with the arguments it is given. `own` is
    /// the directory for its files.
    pub(crate) fn spawn_by(program: Command, arguments: &[&str], own: TempDir) -> Self {
        let path = own.path().to_owned();
        Self::spawn_in(program, "", arguments, &path, Some(own))
    }

    fn spawn_in(
        mut program: Command,
        configuration: &str,
        arguments: &[&str],
        directory: &Path,
        own: Option<TempDir>,
    ) -> Self {
        let file = |name: &str| directory.join(name);
        fs::write(file("portolan.toml"), configuration).expect("a configuration");
        let create = |name: &str| fs::File::create(file(name)).expect("a file for its output");
        let child = program
            .arg("run")
            .arg("--config")
            .arg(file("portolan.toml"))
            .arg("--socket")
            .arg(file("portolan.sock"))
            .arg("--events")
            .arg(file("events.ndjson"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(create("said"))
            .stderr(create("errors"))
            .spawn()
            .expect("portolan starts");
        Self { child, directory: directory.to_owned(), _own: own }
    }

    /// Returns its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it by force, as by SIGKILL, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a process of ours");
        self.child.wait().expect("a child of ours");
    }

    /// Returns the folder its socket and its event file are in.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns its socket for the command line.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("portolan.sock")
    }

    /// Asks a path over the socket and returns status code and body, or why there is no answer.
    pub(crate) fn ask(&self, path: &str) -> std::io::Result<(u16, String)> {
        let stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        http(stream, path)
    }

    /// Asks a path over the socket; anything but 200 fails the test.
    pub(crate) fn get(&self, path: &str) -> String {
        let (code, body) =
            self.ask(path).unwrap_or_else(|error| panic!("{path}: {error}; {}", self.errors()));
        assert_eq!(code, 200, "{path}: {body}");
        body
    }

    /// Asks a path of the API.
    pub(crate) fn json(&self, path: &str) -> Value {
        let body = self.get(path);
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// Asks `/api/v1/status`.
    pub(crate) fn status(&self) -> Value {
        self.json("/api/v1/status")
    }

    /// Asks for all flow records.
    pub(crate) fn flows(&self) -> Vec<Value> {
        let mut flows = Vec::new();
        let mut after = 0;
        loop {
            let page = self.json(&format!("/api/v1/flows?limit=10000&after={after}"));
            flows.extend(page["flows"].as_array().expect("flows").iter().cloned());
            match page["next"].as_u64() {
                Some(next) => after = next,
                None => return flows,
            }
        }
    }

    /// Runs the command line against its socket; a failure fails the test.
    pub(crate) fn command_line<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        crate::namespace::output(
            Command::new(env!("CARGO_BIN_EXE_portolan")).args(arguments).arg("--server").arg(self.socket()),
        )
    }

    /// Waits until something holds; fails the test after [`PATIENCE`], or when the daemon has ended.
    pub(crate) fn eventually(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            let ended = self.child.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "{what}: it ended, {ended:?}: {}{}", self.said(), self.errors());
            assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}: {}", self.errors());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it has published what it saw before now: two ticks.
    pub(crate) fn catch_up(&mut self) {
        let ticks = |daemon: &Self| daemon.status()["vitals"]["ticks"].as_u64().expect("a number");
        let before = ticks(self);
        self.eventually("ticks go on", |daemon| ticks(daemon) >= before + 2);
    }

    /// Returns what it printed so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.directory.join("said")).expect("its output")
    }

    /// Returns what it printed to standard error so far.
    pub(crate) fn errors(&self) -> String {
        fs::read_to_string(self.directory.join("errors")).expect("its errors")
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal)
            .unwrap_or_else(|error| panic!("portolan, process {pid:?}, is gone: {error}"));
    }

    /// Ends it by SIGTERM.
    pub(crate) fn end(self) -> Ended {
        let told = Instant::now();
        self.signal(Signal::TERM);
        self.wait(told)
    }

    /// Waits for an end that was caused otherwise.
    pub(crate) fn ended(self) -> Ended {
        self.wait(Instant::now())
    }

    fn wait(mut self, since: Instant) -> Ended {
        let deadline = since + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                break status;
            }
            assert!(Instant::now() < deadline, "it did not end within {PATIENCE:?}");
            thread::sleep(Duration::from_millis(2));
        };
        let took = since.elapsed();
        let events = fs::read_to_string(self.directory.join("events.ndjson")).unwrap_or_default();
        let events =
            events.lines().map(|line| serde_json::from_str(line).expect("an event is JSON")).collect();
        Ended { code: status.code(), said: self.said(), errors: self.errors(), took, events }
    }

    /// Waits until a path answers 200.
    pub(crate) fn wait_until(&mut self, path: &str) {
        self.eventually(path, |daemon| daemon.ask(path).is_ok_and(|(code, _)| code == 200));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Checks that SIGTERM ended it in time and without a residual, and returns its last line.
    pub(crate) fn is_settled(&self) -> &str {
        let line = self.said.lines().last().unwrap_or_default();
        assert_eq!(self.code, Some(0), "{}{}", self.said, self.errors);
        assert!(line.starts_with("ended: ") && line.contains("; residual 0 frames, 0 bytes; "), "{line}");
        assert!(!line.contains("left in its ring"), "{line}");
        assert!(self.took < END_WITHIN, "SIGTERM took {:?}", self.took);
        line
    }

    /// Returns (delivered, dropped, in flows) of the last line.
    pub(crate) fn accounts(&self) -> [u64; 3] {
        let line = self.is_settled();
        let numbers: Vec<u64> =
            line.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
        [numbers[0], numbers[1], numbers[2]]
    }
}

/// Returns the configuration of a daemon on a bridge without Docker.
fn on_bridge() -> String {
    let bridge = BridgeLab::BRIDGE;
    format!(
        "[identity]\nbridges = [\"{bridge}\"]\ndocker_socket = \"/nowhere/docker.sock\"\n\
         [daemon]\ntick_milliseconds = 200\n"
    )
}

/// Runs `portolan` to its end in a namespace; what it says and how it ends is the test's to judge.
pub(crate) fn portolan(at: &Namespace, arguments: &[&str]) -> Output {
    let mut child = at
        .command(env!("CARGO_BIN_EXE_portolan"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("portolan starts");
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("a child of ours").is_none() {
        if Instant::now() >= deadline {
            let _ = child.kill();
            panic!("portolan {arguments:?} did not end within {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("its output")
}

/// Asks a daemon in a namespace over TCP on its default address; status code and body.
pub(crate) fn get_over_tcp(at: &Namespace, path: &str) -> (u16, String) {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9414);
    at.within(|| {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        http(stream, path).unwrap_or_else(|error| panic!("{path}: {error}"))
    })
}

/// Reads the series of one family: labels and value. Its names hold no quotes in these tests.
pub(crate) fn series(exposition: &str, family: &str) -> Vec<(BTreeMap<String, String>, f64)> {
    let of_family = |line: &str| {
        let rest = line.strip_prefix(family)?.strip_prefix('{')?;
        let (labels, value) = rest.rsplit_once("} ")?;
        let labels = labels.trim_end_matches('"').split("\",").filter_map(|label| label.split_once("=\""));
        let labels = labels.map(|(name, value)| (name.to_owned(), value.trim_end_matches('"').to_owned()));
        Some((labels.collect(), value.parse().expect("a number")))
    };
    exposition.lines().filter_map(of_family).collect()
}

/// Fails the test unless `promtool check metrics` finds nothing to say.
pub(crate) fn check_metrics(exposition: &str) {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    child.stdin.take().expect("a pipe").write_all(exposition.as_bytes()).expect("promtool reads");
    let ended = child.wait_with_output().expect("promtool ends");
    let said = [ended.stdout, ended.stderr].concat();
    assert!(ended.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

/// Returns the wall clock, as the kernel stamps frames with it.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    Timestamp(i64::try_from(since.as_nanos()).expect("a time before 2262"))
}

fn http(mut stream: impl std::io::Read + std::io::Write, path: &str) -> std::io::Result<(u16, String)> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((code.ok_or(std::io::ErrorKind::InvalidData)?, body.to_owned()))
}
