//! `portolan doctor`: what can be seen and named on this host, and what to do about the rest.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use portolan_capture::interfaces::inventory;
use portolan_capture::{LiveOptions, LiveTap};
use portolan_exporter::escape;
use portolan_identity::{FollowOptions, Picture, RosterBook, follow};
use serde::Serialize;

use crate::cli::DoctorArgs;
use crate::config::{Backend, Config};
use crate::error::Failure;
use crate::replay::Contracts;
use crate::report::{Align, Table};

/// Longest wait for Docker's listing and the matching of its containers.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time for the last containers to be matched once Docker has answered.
const SETTLING: Duration = Duration::from_millis(500);
/// Names printed of a list.
const NAMES_SHOWN: usize = 8;

/// How a check came out.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Ok,
    Note,
    Warn,
    Fail,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
struct Check {
    level: Level,
    subject: &'static str,
    text: String,
}

/// Examines this host.
///
/// # Errors
///
/// Returns that the answer cannot be written, or that the configuration is wrong.
pub fn doctor(args: &DoctorArgs, out: &mut impl Write) -> Result<u8, Failure> {
    let config = Config::load(&args.live)?;
    let mut checks = vec![packet_socket(&config), interfaces()];
    let picture = picture(&config)?;
    checks.push(docker(&config, &picture));
    checks.extend(identity(&picture));
    checks.push(contract(&config));
    checks.extend(kernel());
    checks.extend(
        crate::privileges::offered().into_iter().map(|(is_fine, subject, text)| {
            check(if is_fine { Level::Ok } else { Level::Note }, subject, text)
        }),
    );
    checks.extend(published(&picture));
    let unseen = match config.capture.tap {
        Backend::Ring => "destination MACs are not",
        Backend::Pcap => "VLAN tags and destination MACs are not",
    };
    checks.push(check(
        Level::Note,
        "limits",
        format!(
            "{unseen} seen on the socket that hears all interfaces; traffic inside one container (its loopback) \
             never is"
        ),
    ));
    let written = if args.json {
        serde_json::to_writer(&mut *out, &checks)
            .map_err(std::io::Error::from)
            .and_then(|()| out.write_all(b"\n"))
    } else {
        let mut table = Table::new(&[("", Align::Left), ("", Align::Left), ("", Align::Left)]);
        for check in &checks {
            let level = match check.level {
                Level::Ok => "ok",
                Level::Note => "note",
                Level::Warn => "warn",
                Level::Fail => "fail",
            };
            table.row(vec![level.to_owned(), check.subject.to_owned(), check.text.clone()]);
        }
        out.write_all(table.draw().as_bytes())
    };
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            return Err(Failure::error(format!("cannot write the answer: {error}")));
        }
        Ok(()) | Err(_) => {}
    }
    Ok(u8::from(checks.iter().any(|check| check.level == Level::Fail)))
}

fn check(level: Level, subject: &'static str, text: impl Into<String>) -> Check {
    Check { level, subject, text: text.into() }
}

fn packet_socket(config: &Config) -> Check {
    let options = LiveOptions {
        backend: config.capture.tap.into(),
        interface: Some(config.capture.interface.clone()).filter(|name| !name.is_empty()),
        snaplen: config.capture.snaplen,
        dns_snaplen: 0,
        ring_bytes: config.capture.ring_mib.saturating_mul(1 << 20),
        ..LiveOptions::default()
    };
    match LiveTap::open(&options) {
        Ok(_) => check(
            Level::Ok,
            "packet socket",
            format!(
                "CAP_NET_RAW, {} MiB ring, {} bytes of each frame",
                config.capture.ring_mib, config.capture.snaplen
            ),
        ),
        Err(error) => check(Level::Fail, "packet socket", error.to_string().replace("\n  ", "; ")),
    }
}

fn interfaces() -> Check {
    let all = inventory();
    let count = |prefix: &str| all.iter().filter(|interface| interface.name.starts_with(prefix)).count();
    let (veths, bridges) = (count("veth"), count("br-") + count("docker"));
    if veths + bridges == 0 {
        return check(
            Level::Warn,
            "interfaces",
            format!(
                "no container bridge and no veth among {}: in a container, run with --network host",
                all.len()
            ),
        );
    }
    check(Level::Ok, "interfaces", format!("{bridges} bridges and {veths} veths among {}", all.len()))
}

/// Follows links and Docker until both have answered, or patience ends.
fn picture(config: &Config) -> Result<Arc<Picture>, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::error(format!("cannot start a thread: {error}")))?;
    let book = RosterBook::new(&config.identity.bridges, &config.identity.proc_root);
    let mut pictures = book.subscribe();
    let options = FollowOptions {
        docker_socket: Some(config.identity.docker_socket.clone()),
        proc_root: config.identity.proc_root.clone(),
        ..FollowOptions::default()
    };
    runtime.spawn(follow(options, book));
    let latest = runtime.block_on(async {
        let is_answered = |picture: &Arc<Picture>| picture.docker.is_listed || picture.docker.stale.is_some();
        // Without an answer the latest picture says so.
        let _ = tokio::time::timeout(PATIENCE, pictures.wait_for(is_answered)).await;
        let is_matched = |picture: &Arc<Picture>| picture.counts.matched == picture.counts.observable;
        let _ = tokio::time::timeout(SETTLING, pictures.wait_for(is_matched)).await;
        Arc::clone(&pictures.borrow())
    });
    runtime.shutdown_background();
    Ok(latest)
}

fn docker(config: &Config, picture: &Picture) -> Check {
    let state = &picture.docker;
    let socket = config.identity.docker_socket.display();
    match (&state.stale, state.is_listed) {
        (None, true) => check(
            Level::Ok,
            "Docker",
            format!(
                "{}, API {}, {} containers, events flowing",
                escape::terminal(&state.version),
                escape::terminal(&state.api_version),
                picture.counts.containers
            ),
        ),
        (Some(reason), _) => check(
            Level::Fail,
            "Docker",
            format!(
                "{}; frames are counted all the same, and containers stay unnamed: start Docker, join the group \
                 docker, or name another socket with --docker-socket (now {socket})",
                escape::terminal(reason)
            ),
        ),
        (None, false) => check(Level::Fail, "Docker", format!("no answer at {socket} within 5 s")),
    }
}

fn identity(picture: &Picture) -> Vec<Check> {
    let counts = &picture.counts;
    let mut checks = Vec::new();
    if picture.docker.is_listed {
        let by = if counts.matched == 0 { String::new() } else { format!(" by {}", counts.identity_by) };
        let text =
            format!("{} of {} containers matched to their veth{by}", counts.matched, counts.observable);
        checks.push(if counts.matched == counts.observable {
            check(Level::Ok, "identity", text)
        } else {
            check(
                Level::Warn,
                "identity",
                format!("{text}; run as root, or in a container mount the host's /proc: -v /proc:/host/proc:ro --proc-root /host/proc"),
            )
        });
    }
    for (name, reason) in counts.unobservable.iter().take(NAMES_SHOWN) {
        checks.push(check(
            Level::Note,
            "not observable",
            format!(
                "{}, {}: its traffic is not on the host's veths",
                escape::terminal(name),
                escape::terminal(reason)
            ),
        ));
    }
    checks
}

fn contract(config: &Config) -> Check {
    match Contracts::read(&config.policy.contracts, &config.policy.compose)
        .map(|contracts| contracts.contract)
    {
        Ok(_) if config.policy.contracts.is_empty() => check(
            Level::Note,
            "contract",
            "none: documented ports come from images and published ports; nothing says who may call whom",
        ),
        Ok(contract) => check(Level::Ok, "contract", contract.title().unwrap_or_default()),
        Err(failure) => check(Level::Fail, "contract", failure.message.replace('\n', "; ")),
    }
}

fn kernel() -> Vec<Check> {
    let mut checks = Vec::new();
    match std::fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables") {
        Ok(text) if text.trim() == "1" => {
            checks.push(check(Level::Note, "br_netfilter", "on: same-bridge traffic passes iptables"));
        }
        Ok(_) => {
            checks.push(check(Level::Note, "br_netfilter", "off: iptables does not see same-bridge traffic"))
        }
        Err(_) => {}
    }
    checks
}

fn published(picture: &Picture) -> Vec<Check> {
    let mut checks = Vec::new();
    for port in
        picture.names.published.iter().filter(|port| port.host_address.is_unspecified()).take(NAMES_SHOWN)
    {
        let owner =
            picture.names.workloads.iter().find(|workload| workload.container_id == port.container_id);
        let Some(owner) = owner else { continue };
        let host = match port.host_address {
            std::net::IpAddr::V4(v4) => format!("{v4}:{}", port.host_port),
            std::net::IpAddr::V6(v6) => format!("[{v6}]:{}", port.host_port),
        };
        checks.push(check(
            Level::Warn,
            "published on all",
            format!(
                "{}:{}/{} -> {host} is reachable from outside whatever the host firewall's INPUT says; \
                 publish on 127.0.0.1 if that is not meant",
                escape::terminal(&owner.qualified()),
                port.container_port,
                port.protocol
            ),
        ));
    }
    checks
}
