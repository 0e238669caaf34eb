//! Configuration: defaults < file < `PORTOLAN_*` < flags. `portolan.toml` spells out the defaults and is the
//! reference; a test keeps it true.

use std::path::{Path, PathBuf};

use portolan_exporter::snapshots::SnapshotOptions;
use portolan_flowtable::{Limits, Timestamp};
use portolan_policy::baseline::{Enough, Promote};
use serde::{Deserialize, Serialize};

use crate::cli::{LiveArgs, RunArgs, parse_span};
use crate::error::Failure;
use crate::fit_for_a_terminal;
use crate::privileges::Sandbox;

/// The socket for the command line.
pub const SOCKET: &str = "/run/portolan/portolan.sock";

/// Shortest time from one snapshot to the next.
const SNAPSHOTS_EVERY_MIN: std::time::Duration = std::time::Duration::from_secs(10);

/// Pause between two rounds in which containers are asked what they use.
const INDICATORS_EVERY: std::ops::RangeInclusive<std::time::Duration> =
    std::time::Duration::from_secs(10)..=std::time::Duration::from_secs(300);

/// Everything that can be configured, one table a room.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The live tap.
    pub capture: Capture,
    /// The flow table.
    pub flowtable: Flowtable,
    /// Docker and links.
    pub identity: Identity,
    /// What containers use besides the network.
    pub indicators: Indicators,
    /// Contracts.
    pub policy: Policy,
    /// What is learned from the traffic.
    pub baseline: Baseline,
    /// How findings are held.
    pub findings: Findings,
    /// HTTP and the socket.
    pub exporter: Exporter,
    /// The event log.
    pub events: Events,
    /// Snapshots on disk.
    pub snapshots: Snapshots,
    /// The process.
    pub daemon: Daemon,
}

/// The live tap.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capture {
    /// Who reads the packet socket.
    pub tap: Backend,
    /// One interface, or empty for all.
    pub interface: String,
    /// Bytes kept of each frame.
    pub snaplen: u32,
    /// Whether names of outside addresses are read off DNS, of which more is kept then.
    pub dns_names: bool,
    /// Size of the kernel's ring in MiB.
    pub ring_mib: u32,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            tap: Backend::default(),
            interface: String::new(),
            snaplen: 256,
            dns_names: true,
            ring_mib: 64,
        }
    }
}

/// Who reads the packet socket.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Portolan itself: the kernel's ring, with the VLAN tags the kernel took off
    #[default]
    Ring,
    /// libpcap; VLAN tags are lost
    Pcap,
}

impl From<Backend> for portolan_capture::Backend {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Ring => Self::Ring,
            Backend::Pcap => Self::Library,
        }
    }
}

/// The flow table.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flowtable {
    /// Most flows held at once.
    pub flows_max: usize,
    /// Silence after which an established TCP flow is forgotten, in seconds.
    pub tcp_idle_seconds: u32,
    /// Silence after which an answered flow of another protocol is forgotten, in seconds.
    pub other_idle_seconds: u32,
    /// Silence after which an unanswered attempt is forgotten, in seconds.
    pub attempt_idle_seconds: u32,
    /// Silence after which a closed flow is forgotten, in seconds.
    pub linger_seconds: u32,
}

impl Default for Flowtable {
    fn default() -> Self {
        let limits = Limits::default();
        let seconds = |span: i64| u32::try_from(span / Timestamp::SECOND).unwrap_or(u32::MAX);
        Self {
            flows_max: limits.flows_max,
            tcp_idle_seconds: seconds(limits.tcp_idle),
            other_idle_seconds: seconds(limits.other_idle),
            attempt_idle_seconds: seconds(limits.attempt_idle),
            linger_seconds: seconds(limits.linger),
        }
    }
}

impl Flowtable {
    /// Returns the table's limits.
    pub fn limits(&self) -> Limits {
        let span = |seconds: u32| i64::from(seconds) * Timestamp::SECOND;
        Limits {
            flows_max: self.flows_max,
            tcp_idle: span(self.tcp_idle_seconds),
            other_idle: span(self.other_idle_seconds),
            attempt_idle: span(self.attempt_idle_seconds),
            linger: span(self.linger_seconds),
            ..Limits::default()
        }
    }
}

/// Docker and links.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// Docker's socket.
    pub docker_socket: PathBuf,
    /// Where the host's /proc is.
    pub proc_root: PathBuf,
    /// Bridges of container networks that Docker does not know.
    pub bridges: Vec<String>,
}

impl Default for Identity {
    fn default() -> Self {
        Self { docker_socket: "/var/run/docker.sock".into(), proc_root: "/proc".into(), bridges: Vec::new() }
    }
}

/// What containers use besides the network.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Indicators {
    /// Whether Docker is asked for it.
    pub enabled: bool,
    /// Pause between two rounds, as `60s`.
    pub every: String,
}

impl Default for Indicators {
    fn default() -> Self {
        Self { enabled: false, every: "60s".to_owned() }
    }
}

impl Indicators {
    /// Returns the pause between two rounds; `None` where Docker is not asked.
    pub fn every(&self) -> Option<std::time::Duration> {
        // What is no span was refused when it was read.
        self.enabled.then(|| parse_span(&self.every).ok()).flatten()
    }
}

/// Contracts and compose files.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Contract files.
    pub contracts: Vec<PathBuf>,
    /// Contract files that are tried: their verdicts stand beside those that hold.
    pub pending: Vec<PathBuf>,
    /// Compose files, as `[PROJECT=]FILE`.
    pub compose: Vec<String>,
    /// Whether compose files are read that containers' labels name.
    pub compose_labels: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { contracts: Vec::new(), pending: Vec::new(), compose: Vec::new(), compose_labels: true }
    }
}

/// What is learned from the traffic.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Baseline {
    /// The file; empty for no baseline.
    pub file: PathBuf,
    /// Whether it learns, or only judges.
    pub learn: bool,
    /// Who promotes a service.
    pub promote: Promote,
    /// Chance in a thousand that the next edge is new, at most, for a service to be promoted.
    pub novelty_permille: u16,
    /// Hours of the day that must have been watched.
    pub hours: u8,
    /// Container starts that must have been seen.
    pub starts: u32,
}

impl Default for Baseline {
    fn default() -> Self {
        let Enough { promote, hours, starts, .. } = Enough::default();
        Self {
            file: PathBuf::new(),
            learn: true,
            promote,
            novelty_permille: 10,
            hours: u8::try_from(hours).unwrap_or(24),
            starts: u32::try_from(starts).unwrap_or(u32::MAX),
        }
    }
}

impl Baseline {
    /// Returns when evidence is enough.
    pub fn enough(&self) -> Enough {
        Enough {
            promote: self.promote,
            novelty: f64::from(self.novelty_permille) / 1_000.0,
            hours: u32::from(self.hours),
            starts: u64::from(self.starts),
        }
    }
}

/// How findings are held.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Findings {
    /// Where they are kept over restarts; empty for nowhere.
    pub file: PathBuf,
    /// How long one stands behind its traffic, in hours.
    pub hold_hours: u32,
}

impl Default for Findings {
    fn default() -> Self {
        Self { file: PathBuf::new(), hold_hours: 24 }
    }
}

impl Findings {
    /// Returns how long a finding stands behind its traffic, in nanoseconds.
    pub fn hold(&self) -> i64 {
        i64::from(self.hold_hours).saturating_mul(3_600 * Timestamp::SECOND)
    }
}

/// HTTP and the socket.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Exporter {
    /// Where HTTP is served.
    pub listen: Vec<String>,
    /// Whether other machines are served without a token.
    pub open: bool,
    /// File with the token; empty for none.
    pub token_file: PathBuf,
    /// Web configuration file: TLS, client certificates, passwords; empty for none.
    pub web_config: PathBuf,
    /// Further host names requests may name.
    pub host_names: Vec<String>,
    /// Most edge series.
    pub series_max: usize,
    /// The socket for the command line.
    pub socket: PathBuf,
    /// Ended flows kept, and live ones listed, each at most.
    pub flows_kept: usize,
}

impl Default for Exporter {
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:9414".to_owned()],
            open: false,
            token_file: PathBuf::new(),
            web_config: PathBuf::new(),
            host_names: Vec::new(),
            series_max: 10_000,
            socket: SOCKET.into(),
            flows_kept: 10_000,
        }
    }
}

/// The event log.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// Where events go; empty for nowhere, `-` for standard output.
    pub file: PathBuf,
    /// Silence after which a heartbeat is written, in seconds.
    pub heartbeat_seconds: u32,
}

impl Default for Events {
    fn default() -> Self {
        Self { file: PathBuf::new(), heartbeat_seconds: 30 }
    }
}

/// Snapshots on disk.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Snapshots {
    /// The folder; empty for none.
    pub directory: PathBuf,
    /// Time from one to the next: `30s`, `5m`, `1h`.
    pub every: String,
    /// Most of them.
    pub keep: usize,
    /// Most bytes of all together.
    pub max_bytes: u64,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self { directory: PathBuf::new(), every: "5m".to_owned(), keep: 288, max_bytes: 256 << 20 }
    }
}

impl Snapshots {
    /// Returns what is asked for, if anything is.
    pub fn options(&self) -> Option<SnapshotOptions> {
        let every = parse_span(&self.every).ok()?;
        let options = SnapshotOptions {
            directory: self.directory.clone(),
            every,
            keep: self.keep,
            max_bytes: self.max_bytes,
        };
        (!self.directory.as_os_str().is_empty()).then_some(options)
    }
}

/// The process.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Daemon {
    /// Time between two ticks, in milliseconds.
    pub tick_milliseconds: u32,
    /// What is given up after the start.
    pub sandbox: Sandbox,
}

impl Default for Daemon {
    fn default() -> Self {
        Self { tick_milliseconds: 800, sandbox: Sandbox::On }
    }
}

impl Config {
    /// Reads a configuration from TOML; `name` stands in messages.
    ///
    /// # Errors
    ///
    /// Returns the first place that is wrong, as `file:line:column: ...`.
    pub fn from_toml(text: &str, name: &str) -> Result<Self, Failure> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let before = text.get(..at).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
            Failure::error(format!("{name}:{line}:{column}: {}", fit_for_a_terminal(error.message())))
        })?;
        config.check(name)?;
        Ok(config)
    }

    /// Checks what the types cannot know.
    fn check(&self, name: &str) -> Result<(), Failure> {
        let wrong = |what: String| Err(Failure::error(format!("{name}: {what}")));
        let Flowtable { flows_max, linger_seconds, tcp_idle_seconds, .. } = self.flowtable;
        if !(Limits::FLOWS_MIN..=1 << 26).contains(&flows_max) {
            return wrong(format!(
                "flowtable.flows_max ({flows_max}) must lie between {} and 67108864",
                Limits::FLOWS_MIN
            ));
        }
        if linger_seconds > tcp_idle_seconds {
            return wrong(format!(
                "flowtable.linger_seconds ({linger_seconds}) must not exceed tcp_idle_seconds ({tcp_idle_seconds})"
            ));
        }
        if !(64..=65_535).contains(&self.capture.snaplen) {
            return wrong(format!(
                "capture.snaplen ({}) must lie between 64 and 65535",
                self.capture.snaplen
            ));
        }
        if !(1..=2_048).contains(&self.capture.ring_mib) {
            return wrong(format!(
                "capture.ring_mib ({}) must lie between 1 and 2048",
                self.capture.ring_mib
            ));
        }
        let every = &self.indicators.every;
        match parse_span(every) {
            Ok(span) if !INDICATORS_EVERY.contains(&span) => {
                return wrong(format!("indicators.every ({every}) must lie between 10s and 5m"));
            }
            Ok(_) => {}
            Err(error) => return wrong(format!("indicators.every: {error}")),
        }
        let Baseline { novelty_permille, hours, .. } = self.baseline;
        if !(1..=1_000).contains(&novelty_permille) {
            return wrong(format!(
                "baseline.novelty_permille ({novelty_permille}) must lie between 1 and 1000"
            ));
        }
        if hours > 24 {
            return wrong(format!("baseline.hours ({hours}) must lie between 0 and 24"));
        }
        if !(1..=8_760).contains(&self.findings.hold_hours) {
            return wrong(format!(
                "findings.hold_hours ({}) must lie between 1 and 8760",
                self.findings.hold_hours
            ));
        }
        let Snapshots { every, keep, .. } = &self.snapshots;
        match parse_span(every) {
            Ok(span) if span < SNAPSHOTS_EVERY_MIN => {
                return wrong(format!("snapshots.every ({every}) must be 10s or more"));
            }
            Ok(_) => {}
            Err(error) => return wrong(format!("snapshots.every: {error}")),
        }
        if !(1..=100_000).contains(keep) {
            return wrong(format!("snapshots.keep ({keep}) must lie between 1 and 100000"));
        }
        if !crate::cli::TICK.contains(&self.daemon.tick_milliseconds.into()) {
            return wrong(format!(
                "daemon.tick_milliseconds ({}) must lie between 50 and 60000",
                self.daemon.tick_milliseconds
            ));
        }
        Ok(())
    }

    /// Reads the file, then lets flags and environment (which `clap` has joined) win over it.
    ///
    /// # Errors
    ///
    /// Returns why the file cannot be read, or which place in it is wrong.
    pub fn load(live: &LiveArgs) -> Result<Self, Failure> {
        let from_file = match &live.config {
            Some(path) => Self::from_path(path)?,
            None => Self::default(),
        };
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let mut config = from_file.with_environment(environment)?;
        if !live.contract.is_empty() {
            config.policy.contracts.clone_from(&live.contract);
        }
        if !live.compose.is_empty() {
            config.policy.compose.clone_from(&live.compose);
        }
        if let Some(socket) = &live.docker_socket {
            config.identity.docker_socket.clone_from(socket);
        }
        if let Some(proc_root) = &live.proc_root {
            config.identity.proc_root.clone_from(proc_root);
        }
        if let Some(interface) = &live.interface {
            config.capture.interface.clone_from(interface);
        }
        config.capture.tap = live.tap.unwrap_or(config.capture.tap);
        config.capture.snaplen = live.snaplen.unwrap_or(config.capture.snaplen);
        config.capture.ring_mib = live.ring_mib.unwrap_or(config.capture.ring_mib);
        config.flowtable.flows_max = live.flows_max.unwrap_or(config.flowtable.flows_max);
        if let Some(tick) = live.tick {
            config.daemon.tick_milliseconds = u32::try_from(tick.as_millis()).unwrap_or(u32::MAX);
        }
        config.daemon.sandbox = live.sandbox.unwrap_or(config.daemon.sandbox);
        config.check("command line")?;
        Ok(config)
    }

    /// Lets `PORTOLAN_TABLE__KEY` variables win: `PORTOLAN_FLOWTABLE__LINGER_SECONDS=5`. Values are TOML; what is no
    /// TOML is a string.
    ///
    /// # Errors
    ///
    /// Returns which variable names no option, or has a value it cannot have.
    pub fn with_environment(
        &self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Failure> {
        let mut config = self.clone();
        for (name, text) in variables {
            let Some((table, key)) = name.strip_prefix("PORTOLAN_").and_then(|rest| rest.split_once("__"))
            else {
                continue;
            };
            let wrong = |what: String| Failure::error(format!("environment variable {name}: {what}"));
            let mut tables = toml::Table::try_from(&config).map_err(|error| wrong(error.to_string()))?;
            let (table, key) = (table.to_ascii_lowercase(), key.to_ascii_lowercase());
            let options = tables.get_mut(&table).and_then(toml::Value::as_table_mut);
            let Some(option) = options.and_then(|options| options.get_mut(&key)) else {
                return Err(wrong(format!(
                    "no option {key} in table {table}; portolan run --print-config lists them"
                )));
            };
            *option = format!("value = {text}")
                .parse::<toml::Table>()
                .ok()
                .and_then(|mut parsed| parsed.remove("value"))
                .unwrap_or(toml::Value::String(text));
            config = tables.try_into().map_err(|error: toml::de::Error| wrong(error.message().to_owned()))?;
        }
        Ok(config)
    }

    /// Like [`Config::load`], with the flags of `run`.
    ///
    /// # Errors
    ///
    /// Returns why the file cannot be read, or which place in it is wrong.
    pub fn load_run(args: &RunArgs) -> Result<Self, Failure> {
        let mut config = Self::load(&args.live)?;
        if !args.listen.is_empty() {
            config.exporter.listen.clone_from(&args.listen);
        }
        if let Some(token_file) = &args.token_file {
            config.exporter.token_file.clone_from(token_file);
        }
        if let Some(web_config) = &args.web_config {
            config.exporter.web_config.clone_from(web_config);
        }
        config.exporter.open |= args.open;
        config.exporter.host_names.extend(args.host_name.iter().cloned());
        if let Some(socket) = &args.socket {
            config.exporter.socket.clone_from(socket);
        }
        if let Some(events) = &args.events {
            config.events.file.clone_from(events);
        }
        if let Some(baseline) = &args.baseline {
            config.baseline.file.clone_from(baseline);
        }
        if let Some(snapshots) = &args.snapshots {
            config.snapshots.directory.clone_from(snapshots);
        }
        if !args.pending.is_empty() {
            config.policy.pending.clone_from(&args.pending);
        }
        if let Some(findings) = &args.findings {
            config.findings.file.clone_from(findings);
        }
        Ok(config)
    }

    fn from_path(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::cannot_read(path, &error))?;
        Self::from_toml(&text, &path.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_file_spells_out_the_defaults() {
        let sample = include_str!("../portolan.toml");
        let config = Config::from_toml(sample, "portolan.toml").unwrap();
        assert_eq!(config, Config::default());
        // Every option is there: what the defaults print has no key the sample lacks.
        let printed = toml::to_string(&Config::default()).unwrap();
        for line in printed.lines().filter(|line| line.contains(" = ")) {
            let key = line.split(" = ").next().unwrap();
            assert!(
                sample.lines().any(|it| it.starts_with(&format!("{key} = "))),
                "{key} is not in the sample"
            );
        }
    }

    #[test]
    fn variables_win_over_the_file_and_unknown_ones_are_named() {
        let set = |name: &str, value: &str| {
            Config::default().with_environment([(name.to_owned(), value.to_owned())])
        };
        assert_eq!(set("PORTOLAN_FLOWTABLE__LINGER_SECONDS", "5").unwrap().flowtable.linger_seconds, 5);
        assert_eq!(set("PORTOLAN_CAPTURE__INTERFACE", "br-0").unwrap().capture.interface, "br-0");
        assert_eq!(set("PORTOLAN_EXPORTER__LISTEN", "['[::1]:1']").unwrap().exporter.listen, ["[::1]:1"]);
        assert_eq!(set("PORTOLAN_CONFIG", "x").unwrap(), Config::default());
        #[rustfmt::skip]
        let cases = [
            ("PORTOLAN_CAPTURE__SNAPLENN", "1",    "environment variable PORTOLAN_CAPTURE__SNAPLENN: no option snaplenn in table capture; portolan run --print-config lists them"),
            ("PORTOLAN_CAPTURE__SNAPLEN",  "many", "environment variable PORTOLAN_CAPTURE__SNAPLEN: invalid type: string \"many\", expected u32"),
        ];
        for (name, value, expected) in cases {
            assert_eq!(set(name, value).unwrap_err().message.trim_end(), expected);
        }
    }

    #[test]
    fn a_misspelt_key_and_a_wrong_value_are_refused_with_their_place() {
        #[rustfmt::skip]
        let cases = [
            ("[capture]\nsnaplenn = 3\n",               "portolan.toml:2:1: unknown field `snaplenn`"),
            ("[capture]\nsnaplen = \"many\"\n",         "portolan.toml:2:11: invalid type"),
            ("[capture]\nsnaplen = 3\n",                "portolan.toml: capture.snaplen (3) must lie between 64 and 65535"),
            ("[snapshots]\nevery = \"5s\"\n",             "portolan.toml: snapshots.every (5s) must be 10s or more"),
            ("[snapshots]\nevery = \"often\"\n",          "portolan.toml: snapshots.every: \"often\" is not a time"),
            ("[snapshots]\nkeep = 0\n",                 "portolan.toml: snapshots.keep (0) must lie between 1 and 100000"),
            ("[indicators]\nevery = \"1s\"\n",             "portolan.toml: indicators.every (1s) must lie between 10s and 5m"),
            ("[indicators]\nevery = \"1h\"\n",             "portolan.toml: indicators.every (1h) must lie between 10s and 5m"),
            ("[flowtable]\nlinger_seconds = 9999\n",    "portolan.toml: flowtable.linger_seconds (9999) must not exceed tcp_idle_seconds (1800)"),
        ];
        for (text, expected) in cases {
            let message = Config::from_toml(text, "portolan.toml").unwrap_err().message;
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn docker_is_asked_what_containers_use_where_that_is_wanted_and_as_often() {
        let every = |text: &str| Config::from_toml(text, "portolan.toml").unwrap().indicators.every();
        assert_eq!(every(""), None);
        assert_eq!(every("[indicators]\nevery = \"10s\"\n"), None);
        assert_eq!(every("[indicators]\nenabled = true\n"), Some(std::time::Duration::from_secs(60)));
        assert_eq!(
            every("[indicators]\nenabled = true\nevery = \"5m\"\n"),
            Some(std::time::Duration::from_secs(300))
        );
    }
}
