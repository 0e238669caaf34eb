//! What the process gives up once everything is open, and what it keeps and why (docs/sandbox.md).
//!
//! In two steps. When the tap is open and no thread runs yet, capabilities go and files are enclosed: every thread
//! inherits that. When everything else is open too, system calls are sealed for all threads at once.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use portolan_capture::LiveTap;
use portolan_sys::sandbox::{self, Calls, Enclosed, Kept, OnDenied, Places};
use rustix::fs::{Access, CWD, accessat};
use serde::{Deserialize, Serialize};

use crate::cli::{LiveArgs, LookArgs, RecordArgs, RunArgs};
use crate::compose;
use crate::config::Config;
use crate::error::Failure;

/// Least form of Landlock that holds all files: truncation is among what it governs (Linux 6.2). TCP and signals,
/// which come with later forms, are held by the list of system calls too.
pub const LANDLOCK_WHOLE: u32 = 3;

/// How much is given up.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Sandbox {
    /// Nothing.
    Off,
    /// What the kernel offers.
    #[default]
    On,
    /// All of it, or no start; a call that is not allowed ends the process.
    Strict,
}

/// What a command gives up, and what became of it.
#[derive(Clone, Debug, Default)]
pub struct Privileges {
    sandbox: Sandbox,
    places: Places,
    /// What has to be reachable later, and how.
    wanted: Vec<(PathBuf, Access)>,
    tap: i32,
    /// Capabilities that are left, and what for; none where it is empty.
    held: String,
    enclosed: Enclosed,
    is_sealed: bool,
    missing: Vec<String>,
}

impl Privileges {
    /// Returns what `run` needs: its socket, its event file, its ports, and what it reads again.
    pub fn of_run(config: &Config, args: &RunArgs) -> Self {
        let mut privileges = Self::of_live(config, &args.live);
        privileges.places.ports = config
            .exporter
            .listen
            .iter()
            .filter_map(|address| address.parse::<std::net::SocketAddr>().ok())
            .map(|address| address.port())
            .collect();
        privileges.places.sockets.push(folder(&config.exporter.socket));
        for file in web_files(&config.exporter.web_config) {
            privileges.places.read.push(folder(&file));
            privileges.wanted.push((file, Access::READ_OK));
        }
        if let Some(snapshots) = config.snapshots.options() {
            privileges.wanted.push((snapshots.directory.clone(), Access::WRITE_OK));
            privileges.places.write.push(snapshots.directory);
        }
        for file in [&config.events.file, &config.baseline.file, &config.findings.file] {
            privileges.write(file);
        }
        privileges
    }

    /// Returns what `look` needs: the place of its result.
    pub fn of_look(config: &Config, args: &LookArgs) -> Self {
        let mut privileges = Self::of_live(config, &args.live);
        privileges.write(args.output.as_deref().unwrap_or(Path::new("")));
        privileges
    }

    /// Returns what `record` needs: the places of its recording, its events and its result.
    pub fn of_record(config: &Config, args: &RecordArgs) -> Self {
        let mut privileges = Self::of_live(config, &args.live);
        for file in [&*args.write, &config.events.file, args.output.as_deref().unwrap_or(Path::new(""))] {
            privileges.write(file);
        }
        privileges
    }

    fn of_live(config: &Config, live: &LiveArgs) -> Self {
        let mut places = Places { read: vec![config.identity.proc_root.clone()], ..Places::default() };
        // What an editor saves is another file in the same folder.
        // Where Docker keeps the namespaces of its containers, rootless or not: beside its socket. Before its first
        // container there is only the folder they will be in.
        let socket = config.identity.docker_socket.canonicalize().ok();
        for beside in
            [socket.map(|socket| folder(&socket)), Some(PathBuf::from("/run"))].into_iter().flatten()
        {
            let docker = beside.join("docker");
            let namespaces = Some(docker.join("netns")).filter(|it| it.is_dir());
            places.read.push(namespaces.unwrap_or(docker));
        }
        let mut wanted = vec![(config.identity.docker_socket.clone(), Access::WRITE_OK)];
        let compose: Vec<PathBuf> =
            config.policy.compose.iter().map(|given| compose::path_of(given)).collect();
        for file in
            live.config.iter().chain(&config.policy.contracts).chain(&config.policy.pending).chain(&compose)
        {
            wanted.push((file.clone(), Access::READ_OK));
            places.read.extend(
                [Some(file.clone()), file.canonicalize().ok()].iter().flatten().map(|file| folder(file)),
            );
        }
        places.read.extend(TIME_ZONES.map(PathBuf::from));
        Self { sandbox: config.daemon.sandbox, places, wanted, ..Self::default() }
    }

    fn write(&mut self, file: &Path) {
        if file.as_os_str().is_empty() || file == Path::new("-") {
            return;
        }
        // A pipe or a device is opened again, but nothing is made beside it.
        self.wanted.push((file.to_owned(), Access::WRITE_OK));
        let is_special = file.metadata().is_ok_and(|there| !there.is_file());
        self.places.write.push(if is_special { file.to_owned() } else { folder(file) });
    }

    /// Gives up capabilities and files. To be called with the tap open and before there is any other thread.
    ///
    /// # Errors
    ///
    /// Returns what is not in force, where the sandbox has to be strict.
    pub(crate) fn shed(&mut self, tap: &LiveTap) -> Result<(), Failure> {
        self.tap = tap.as_fd().as_raw_fd();
        if self.sandbox == Sandbox::Off {
            return Ok(());
        }
        let foreign = self.foreign_place();
        let low_port = self.places.ports.iter().find(|port| **port != 0 && **port < low_ports_end());
        let kept = Kept { other_users_files: foreign.is_some(), low_ports: low_port.is_some() };
        if let Err(error) = sandbox::harden().and_then(|()| sandbox::shed(kept)) {
            self.missing.push(format!("capabilities are kept: {error}"));
        }
        let files = foreign.map(|place| format!("CAP_DAC_OVERRIDE for {}", place.display()));
        let port = low_port.map(|port| format!("CAP_NET_BIND_SERVICE for port {port}"));
        self.held = files.into_iter().chain(port).collect::<Vec<_>>().join(", ");
        match sandbox::enclose(&self.places) {
            Ok(enclosed) => self.enclosed = enclosed,
            Err(error) => self.missing.push(format!("Landlock: {error}")),
        }
        if self.enclosed.abi == 0 {
            self.missing.push("no Landlock here, files are not enclosed".to_owned());
        } else if self.enclosed.abi < LANDLOCK_WHOLE {
            let abi = self.enclosed.abi;
            self.missing.push(format!(
                "Landlock {abi} does not govern the truncation of files; {LANDLOCK_WHOLE} does, Linux 6.2"
            ));
        }
        let held = Some(self.held.clone()).filter(|held| !held.is_empty());
        self.refuse_half(held)
    }

    /// Gives up system calls, for all threads.
    ///
    /// # Errors
    ///
    /// Returns why that is not in force, where the sandbox has to be strict.
    pub(crate) fn seal(&mut self) -> Result<(), Failure> {
        let on_denied = match self.sandbox {
            Sandbox::Off => return Ok(()),
            Sandbox::On => OnDenied::Fail,
            Sandbox::Strict => OnDenied::Kill,
        };
        match sandbox::seal(Calls::Tap(self.tap), on_denied) {
            Ok(()) => self.is_sealed = true,
            Err(error) => self.missing.push(error.to_string()),
        }
        self.refuse_half(None)
    }

    /// A command that goes on without a part of the sandbox says so; `run` says it with its first lines.
    pub fn say_what_is_missing(&self) {
        if !self.missing.is_empty() {
            crate::say(&format!("portolan: sandbox: {}", self.missing.join("; ")));
        }
    }

    fn refuse_half(&self, held: Option<String>) -> Result<(), Failure> {
        let missing: Vec<String> = held.into_iter().chain(self.missing.iter().cloned()).collect();
        if self.sandbox != Sandbox::Strict || missing.is_empty() {
            return Ok(());
        }
        Err(Failure::error(format!(
            "the sandbox is to be strict and is not: {}\n  mend that, or say --sandbox=on",
            missing.join("; ")
        )))
    }

    /// Returns the first place that is needed and that the process reaches by its capabilities alone.
    fn foreign_place(&self) -> Option<PathBuf> {
        let Places { read, write, sockets, ports: _ } = &self.places;
        let wanted = (read.iter().map(|place| (place, Access::READ_OK)))
            .chain(write.iter().chain(sockets).map(|place| (place, Access::WRITE_OK)))
            .chain(self.wanted.iter().map(|(place, access)| (place, *access)));
        let is_open = |place: &Path, access| {
            accessat(CWD, place, access, rustix::fs::AtFlags::empty()) != Err(rustix::io::Errno::ACCESS)
        };
        let reached: Vec<_> = wanted.filter(|(place, access)| is_open(place, *access)).collect();
        sandbox::held_without(|| reached.into_iter().find(|(place, access)| !is_open(place, *access)))
            .ok()
            .flatten()
            .map(|(place, _)| place.clone())
    }
}

/// Holds a command that reads files from elsewhere: no socket, no other program. Files stay reachable, as whoever
/// calls may name any.
pub fn confine_reading() {
    // A kernel or a processor without such lists is no reason not to read a file.
    let _ = sandbox::seal(Calls::Files, OnDenied::Fail);
}

impl fmt::Display for Privileges {
    /// As in `on: no capability, Landlock, seccomp`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.sandbox {
            Sandbox::Off => return write!(out, "off: what was granted at the start is kept"),
            Sandbox::On => "on",
            Sandbox::Strict => "strict",
        };
        write!(out, "{mode}: {}", if self.held.is_empty() { "no capability" } else { &self.held })?;
        if self.enclosed.abi > 0 {
            write!(out, ", Landlock")?;
        }
        if self.is_sealed {
            write!(out, ", seccomp")?;
        }
        for missing in &self.missing {
            write!(out, "; {missing}")?;
        }
        Ok(())
    }
}

/// Returns what of the sandbox can be had here: whether all of it, the part, and how it stands. What cannot be looked
/// at is `not checked`.
pub(crate) fn offered() -> [(bool, &'static str, String); 4] {
    let capabilities = match sandbox::held() {
        Ok(held) => {
            (true, format!("{} held now; all are given up after the start", held.permitted.count_ones()))
        }
        Err(error) => (false, format!("not checked: {error}")),
    };
    let landlock = match sandbox::landlock_abi() {
        0 => (
            false,
            "none: the kernel or a container's profile does not offer it, files are not enclosed".to_owned(),
        ),
        abi if abi < LANDLOCK_WHOLE => (
            false,
            format!("form {abi}: truncation of files is not governed; form {LANDLOCK_WHOLE} is, Linux 6.2"),
        ),
        abi => (true, format!("form {abi}: files are enclosed")),
    };
    let seccomp = match sandbox::is_sealable() {
        Ok(true) => (true, "offered: system calls are held to a list".to_owned()),
        Ok(false) => (false, format!("none: no list for {}, or none enforced", std::env::consts::ARCH)),
        Err(error) => (false, format!("not checked: {error}")),
    };
    let privileges = match sandbox::has_no_new_privileges() {
        Ok(true) => (true, "set by whoever started this".to_owned()),
        Ok(false) => (true, "set after the start".to_owned()),
        Err(error) => (false, format!("not checked: {error}")),
    };
    let named = |name, (is_fine, text)| (is_fine, name, text);
    [
        named("capabilities", capabilities),
        named("Landlock", landlock),
        named("seccomp", seccomp),
        named("no-new-privs", privileges),
    ]
}

/// Where local time is looked up.
const TIME_ZONES: [&str; 3] = ["/etc/localtime", "/usr/share/zoneinfo", "/usr/share/lib/zoneinfo"];

/// Returns the first port that anybody may bind.
fn low_ports_end() -> u16 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    text.trim().parse().unwrap_or(1024)
}

/// Returns the web configuration and the files it names, which are looked at again while it runs. The exporter reads it
/// for what it means; here every line with a key that ends in `_file` counts.
fn web_files(web_config: &Path) -> Vec<PathBuf> {
    if web_config.as_os_str().is_empty() {
        return Vec::new();
    }
    let text = std::fs::read_to_string(web_config).unwrap_or_default();
    let named = text.lines().filter_map(|line| line.split_once("_file:")).map(|(_, value)| {
        let value = value.split(" #").next().unwrap_or_default();
        folder(web_config).join(value.trim().trim_matches(['"', '\'']))
    });
    std::iter::once(web_config.to_owned()).chain(named).collect()
}

fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_web_configuration_names_is_among_what_may_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yml");
        let text =
            "tls_server_config:\n  cert_file: \"tls/cert.pem\"\n  key_file: /keys/key.pem # mode 0600\n";
        std::fs::write(&path, text).unwrap();
        let expected = [path.clone(), folder.path().join("tls/cert.pem"), PathBuf::from("/keys/key.pem")];
        assert_eq!(web_files(&path), expected);
        assert!(web_files(Path::new("")).is_empty());
    }
}
