//! What containers use, asked of a real engine from within the sandbox.

use crate::daemon::{Daemon, check_metrics, series};
use crate::engine::Lab;

/// Keeps so many bytes in memory for as long as it runs.
const HELD: u32 = 64 << 20;

fn of(daemon: &Daemon, family: &str, container: &str) -> Option<f64> {
    let all = series(&daemon.get("/metrics"), family);
    all.into_iter().find(|(labels, _)| labels["container"] == container).map(|(_, value)| value)
}

#[test]
#[ignore = "needs root and Docker: scripts/prepare test"]
fn a_container_s_memory_is_read_from_a_real_engine_within_the_sandbox() {
    let lab = Lab::up();
    lab.build_image();
    lab.docker(["network", "create", "net"]);
    let hold = format!(
        "(/busybox head -c {HELD} /dev/zero; exec /busybox sleep 1000) | /busybox tail -c {HELD} >/dev/null"
    );
    let run = |name: &str, command: &str| {
        let start =
            ["run", "-d", "--init=false", "--name", name, "--network", "net", "--entrypoint", "/busybox"];
        lab.docker(start.iter().copied().chain(["lab/peer:1.0", "sh", "-c", command]));
    };
    run("hog", &hold);
    run("idle", "exec /busybox sleep 1000");
    let socket = lab.docker_socket().to_string_lossy().into_owned();
    let configuration = "[indicators]\nenabled = true\nevery = \"10s\"\n";
    let arguments = ["--docker-socket", &*socket, "--sandbox", "strict"];
    let mut daemon = Daemon::spawn(&lab.host(), configuration, &arguments);
    daemon.wait_until("/-/ready");

    let held = f64::from(HELD);
    daemon.eventually("the memory of both is read", |daemon| {
        let used = |name: &str| of(daemon, "portolan_container_memory_bytes", name);
        used("hog").is_some_and(|bytes| bytes > held) && used("idle").is_some_and(|bytes| bytes < held / 4.0)
    });
    let [processes, seconds] = ["portolan_container_pids", "portolan_container_cpu_seconds_total"]
        .map(|family| of(&daemon, family, "hog").expect("an engine on Linux says it"));
    assert!(processes >= 3.0 && seconds > 0.0, "{processes} processes, {seconds} s");
    let states = series(&daemon.get("/metrics"), "portolan_indicators_containers");
    let said: Vec<(&str, f64)> =
        states.iter().map(|(labels, value)| (labels["state"].as_str(), *value)).collect();
    assert_eq!(said, [("read", 2.0), ("unanswered", 0.0), ("left_out", 0.0)]);
    check_metrics(&daemon.get("/metrics"));
    assert_eq!(daemon.end().code, Some(0));
}
