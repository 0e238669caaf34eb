//! How long it takes from a SYN on the wire to the finding that rests on it on the API, with fifty containers.
//!
//! Prints figures and states none: `PORTOLAN_PROGRAM=target/release/portolan cargo test -p portolan-daemon --test lab latency
//! -- --ignored --nocapture`. `docs/findings.md` holds what it printed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use portolan_flowtable::Timestamp;

use crate::daemon::{Daemon, now, series};
use crate::engine::Lab;

const CONTAINERS: usize = 50;
/// Ports nobody documents, of each container; half of them for each tick.
const PORTS: [u16; 6] = [9001, 9002, 9003, 9004, 9005, 9006];
/// Between two calls, so that they fall anywhere in a tick; coprime to it.
const PAUSE: Duration = Duration::from_millis(37);

#[test]
#[ignore = "measures; needs root and Docker: scripts/prepare test"]
fn from_a_syn_to_its_finding_with_fifty_containers() {
    let lab = Lab::up();
    lab.build_image();
    let root = lab.directory().join("root.tar").to_string_lossy().into_owned();
    lab.docker(["import", "-c", "ENTRYPOINT [\"/peer\"]", "-c", "EXPOSE 80", &root, "lab/app:1.0"]);
    lab.docker(["network", "create", "net"]);
    let serves: Vec<String> =
        std::iter::once("tcp/80".to_owned()).chain(PORTS.iter().map(|port| format!("tcp/{port}"))).collect();
    for number in 0..CONTAINERS {
        let name = format!("app-{number}");
        let run = ["run", "-d", "--name", &name, "--network", "net", "lab/app:1.0", "serve"];
        lab.docker(run.into_iter().chain(serves.iter().map(String::as_str)));
    }
    lab.docker(["run", "-d", "--name", "caller", "--network", "net", "lab/peer:1.0", "wait"]);
    let caller = lab.container("caller");
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let addresses: Vec<String> = (0..CONTAINERS)
        .map(|number| lab.docker(["inspect", "-f", format, &format!("app-{number}")]))
        .collect();
    for (ports, arguments) in [(&PORTS[..3], &[][..]), (&PORTS[3..], &["--tick", "50ms"][..])] {
        let mut daemon = Daemon::beside(&lab.host(), &lab.docker_socket(), arguments);
        daemon.eventually("all are known", |daemon| {
            daemon.status()["vitals"]["containers_matched"].as_u64() >= Some(CONTAINERS as u64)
        });
        let total = ports.len() * addresses.len();
        let mut seen: BTreeMap<String, f64> = BTreeMap::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                for port in ports {
                    for address in &addresses {
                        let to: SocketAddr = format!("{address}:{port}").parse().expect("an address");
                        caller
                            .within(|| TcpStream::connect_timeout(&to, Duration::from_secs(1)))
                            .expect("it serves");
                        thread::sleep(PAUSE);
                    }
                }
            });
            let deadline = Instant::now() + Duration::from_secs(120);
            let mut known = BTreeSet::new();
            while seen.len() < total && Instant::now() < deadline {
                let answer = daemon.json("/api/v1/findings");
                let at = now();
                for finding in answer["findings"].as_array().expect("findings") {
                    let id = finding["id"].as_str().expect("an id");
                    if finding["kind"] == "undocumented_port" && known.insert(id.to_owned()) {
                        let first: Timestamp =
                            finding["first_at"].as_str().expect("a time").parse().expect("a time");
                        seen.insert(id.to_owned(), at.since(first) as f64 / 1e6);
                    }
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
        assert_eq!(seen.len(), total, "some calls were not found out");
        let mut latencies: Vec<f64> = seen.into_values().collect();
        latencies.sort_by(f64::total_cmp);
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share).round() as usize];
        println!(
            "tick {}: {total} findings, SYN to API in ms: p50 {:.0}, p90 {:.0}, p99 {:.0}, most {:.0}",
            arguments.get(1).unwrap_or(&"by default"),
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0),
        );
        let exposition = daemon.get("/metrics");
        for family in ["portolan_finding_latency_seconds_bucket", "process_cpu_seconds_total"] {
            for (labels, value) in series(&exposition, family) {
                println!("  {family} {labels:?} {value}");
            }
        }
        assert_eq!(daemon.end().code, Some(0));
    }
}
